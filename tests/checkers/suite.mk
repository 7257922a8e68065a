# What other programs say about the code: analysers, valgrind, coverage.
PROOFS += analyze valgrind
PROOF_PACKAGES += clang-tidy cppcheck valgrind gcovr

PRODUCT := $(wildcard lib/*.c writer/*.c tools/*.c)

.PHONY: analyze tidy cppcheck gcc-analyzer
analyze: gcc-analyzer cppcheck tidy ## gcc -fanalyzer, cppcheck and clang-tidy find nothing in lib, writer and tools

tidy:
	$(call say,CHECK,clang-tidy)
	$(Q)printf '%s\n' $(PRODUCT) | xargs -P 2 -n 1 sh -c 'clang-tidy --quiet "$$@" -- \
		-std=gnu11 -D_GNU_SOURCE -Iinclude -Ilib 2>$(BUILD)/tidy.$$$$.log || \
		{ cat $(BUILD)/tidy.$$$$.log; exit 255; }' sh

cppcheck:
	$(call say,CHECK,cppcheck)
	$(Q)cppcheck --enable=warning,performance,portability --std=c11 -D_GNU_SOURCE -Iinclude -Ilib \
		--inline-suppr --quiet --error-exitcode=1 -j2 $(PRODUCT)

# Left out: gcc 12 loses track of memory behind pointers in arrays, and of structures that were
# copied whole. LeakSanitizer, valgrind and clang's analyser watch these.
gcc-analyzer:
	$(call say,CHECK,gcc -fanalyzer)
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)-analyzer WERROR=1 V= \
		CFLAGS='-O1 -fanalyzer -Wno-analyzer-malloc-leak -Wno-analyzer-use-of-uninitialized-value' \
		$(patsubst %.c,$(BUILD)-analyzer/%.o,$(PRODUCT)) >$(BUILD)/analyzer.log 2>&1 || \
		{ cat $(BUILD)/analyzer.log; exit 1; }

# End-to-end scripts whose programs all run under valgrind; a complaint ends a program with 99.
VALGRIND_SCRIPTS ?= 21 31 51
VALGRIND := $(BUILD)-valgrind

.PHONY: valgrind
valgrind: all $(HELPERS) ## end-to-end scripts with all programs under valgrind
	$(Q)rm -rf $(VALGRIND) && mkdir -p $(VALGRIND)
	$(Q)ln -s $(abspath $(BUILD))/tests $(abspath $(BUILD))/docs $(VALGRIND)
	$(Q)for program in $(notdir $(PROGRAMS)); do \
		printf '#!/bin/sh\nexec valgrind -q --error-exitcode=99 --leak-check=full \
		--show-leak-kinds=definite %s "$$@"\n' $(abspath $(BUILD))/$$program \
		>$(VALGRIND)/$$program && chmod +x $(VALGRIND)/$$program; done
	$(Q)SHMLOG_BIN='$(abspath $(VALGRIND))' MAKE='$(MAKE)' tests/e2e/run.sh $(VALGRIND_SCRIPTS)

# gcc's counters; programs that are killed leave none behind. Not 80-install: what others link against
# the library knows nothing of them.
.PHONY: cover
cover: ## lines and branches that unit and end-to-end tests reach, as text and as build/cover/index.html
	$(Q)$(MAKE) --no-print-directory VARIANT=cover BUILD=build/cover unit
	$(Q)$(MAKE) --no-print-directory VARIANT=cover BUILD=build/cover e2e ONLY='1 2 3 4 5 6 7'
	$(Q)gcovr --root . --filter lib/ --filter writer/ --filter tools/ --exclude-unreachable-branches \
		--html-details build/cover/index.html --txt build/cover/summary.txt build/cover
	$(Q)tail -n 4 build/cover/summary.txt
