# shmlog: one Makefile for everything; objects under build/<variant>/. `make help` lists the targets.
# V=1 shows the commands; WERROR=1 makes warnings errors (CI does).

VERSION := 0.1.0
SOVERSION := 0

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
DESTDIR ?=

VARIANT ?= release
BUILD ?= build/$(VARIANT)

CFLAGS ?= -O2 -g
CFLAGS_release :=
CFLAGS_cover := -O0 --coverage -fprofile-update=atomic
CFLAGS_tsan := -O1 -fsanitize=thread -fno-omit-frame-pointer -Wno-tsan
CFLAGS_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
	-Wcast-qual -Wvla -Wundef -Wformat=2 -Wwrite-strings -Wimplicit-fallthrough
WERROR ?=
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -Iinclude -Ilib -fPIC -fvisibility=hidden -fno-common \
	-ftls-model=initial-exec $(WARNINGS) $(if $(WERROR),-Werror) $(CFLAGS) $(CFLAGS_$(VARIANT)) -MMD -MP

V ?=
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' '$(1)' '$(2)')

LIB_LIBS := -llz4 -lxxhash -lpthread
WRITER_LIBS := -luring -linih
TOOL_LIBS := -ljansson
TEST_LIBS := -lcriterion

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
LIB_OBJECTS := $(call objects,$(wildcard lib/*.c))
WRITER_OBJECTS := $(call objects,$(wildcard writer/*.c))
WRITER_PARTS := $(filter-out $(BUILD)/writer/main.o,$(WRITER_OBJECTS))
TOOL_PARTS := $(addprefix $(BUILD)/tools/,cli.o tally.o)

PROGRAMS := $(addprefix $(BUILD)/shmlog-,writer push cat stat ctl)
LIBRARIES := $(BUILD)/libshmlog.a $(BUILD)/libshmlog.so.$(VERSION)
HEADERS := $(wildcard include/*.h)
SONAMES := libshmlog.so.$(SOVERSION) libshmlog.so
EXAMPLES := $(patsubst %.c,$(BUILD)/%,$(wildcard docs/examples/*.c))
HELPERS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/e2e/*.c))
UNIT_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c))
# What several suites use.
SUPPORT := $(call objects,$(wildcard tests/support/*.c))
UNIT_SHARED := $(SUPPORT) $(call objects,$(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c)))

# Asked for together with other targets, `deps` comes first, also with -j.
FIRST := $(filter deps,$(MAKECMDGOALS))

.PHONY: all
all: $(LIBRARIES) $(PROGRAMS) $(EXAMPLES) ## build the library, the programs and the examples

$(BUILD)/%.o: %.c | $(FIRST)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/tests/unit/%.o: ALL_CFLAGS += -Iwriter -Itools -Itests/support

# One object with every internal symbol localised: two copies in one process, or a program with a
# function of the same name, do not meet.
$(BUILD)/libshmlog.a: $(LIB_OBJECTS)
	$(call say,AR,$@)
	$(Q)$(LD) -r -o $(BUILD)/libshmlog.o $^
	$(Q)objcopy --localize-hidden $(BUILD)/libshmlog.o
	$(Q)rm -f $@ && $(AR) rcs $@ $(BUILD)/libshmlog.o

LINK = $(CC) $(CFLAGS) $(CFLAGS_$(VARIANT)) $(LDFLAGS) -o $@

$(BUILD)/libshmlog.so.$(VERSION): $(LIB_OBJECTS) lib/shmlog.map
	$(call say,LD,$@)
	$(Q)$(LINK) -shared -Wl,-soname,libshmlog.so.$(SOVERSION) -Wl,--version-script=lib/shmlog.map \
		-Wl,-z,nodelete -Wl,-z,now -Wl,--no-undefined $(LIB_OBJECTS) $(LIB_LIBS)

$(BUILD)/shmlog-writer: $(WRITER_OBJECTS) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS) $(WRITER_LIBS)

$(BUILD)/shmlog-%: $(BUILD)/tools/%.o $(TOOL_PARTS) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS) $(TOOL_LIBS)

# Unit tests link the objects, not the archive: they test what the archive hides.
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(UNIT_SHARED) $(WRITER_PARTS) $(TOOL_PARTS) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS) $(WRITER_LIBS) $(TOOL_LIBS) $(TEST_LIBS)

# Examples and test helpers are users of the library: they get what users get.
$(EXAMPLES) $(HELPERS): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libshmlog.a
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS)

.PHONY: check unit e2e headers style asan demo
check: unit fuzz-replay golden headers style e2e ## everything below but asan, demo and bench; under two minutes

unit: $(UNIT_TESTS) ## unit tests
	$(Q)for test in $(UNIT_TESTS); do \
		printf '  %-6s %s\n' TEST "$${test##*/}"; \
		$$test >$$test.log 2>&1 || { cat $$test.log; exit 1; }; done

e2e: all $(HELPERS) ## tests over the real programs; FULL=1 for full counts, ONLY=30 for one script
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' FULL='$(FULL)' MAKE='$(MAKE)' tests/e2e/run.sh $(ONLY)

headers: | $(FIRST) ## compile the public headers as C11 and C++11 .. C++20
	$(Q)for header in $(HEADERS); do \
		$(CC) -std=c11 -Wall -Wextra -pedantic -Werror -fsyntax-only -x c $$header || exit 1; \
		for std in 11 14 17 20; do $(CXX) -std=c++$$std -Wall -Wextra -pedantic -Werror \
			-fsyntax-only -x c++ $$header || exit 1; done; done
	$(call say,TEST,headers)

style: | $(FIRST) ## formatting, shellcheck and the rules of docs/ARCHITECTURE.md
	$(Q)tests/style.sh
	$(call say,TEST,style)

asan: ## unit tests and fuzz corpora with the address and undefined-behaviour sanitizers
	$(Q)$(MAKE) VARIANT=asan BUILD=$(BUILD)-asan unit fuzz-replay

demo: all ## the main job on real text: publish, write, read back, compare; under 30 seconds
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' tests/demo.sh

# ---- the proof suites: each has its rules beside its files, and adds itself to PROOFS ----

# PROOFS_ASAN: what they want with sanitizers; built before, since two suites run at a time.
PROOFS :=
PROOFS_ASAN :=
PROOF_PACKAGES := patch
include $(sort $(wildcard tests/*/suite.mk)) bench/bench.mk

.PHONY: proof proof-asan bugs
proof: all proof-asan ## all proof suites, as CI runs them; FULL=1 for full counts; docs/TESTING.md says how long
	$(Q)$(MAKE) --no-print-directory -k -j2 -O $(sort $(PROOFS))

proof-asan: | $(FIRST)
	$(Q)$(MAKE) --no-print-directory VARIANT=asan BUILD=$(BUILD)-asan all $(PROOFS_ASAN)

bugs: all ## each planted bug of tests/bugs/ is found by its suite; ONLY=name for one
	$(Q)MAKE='$(MAKE)' BUILD='$(BUILD)' tests/bugs/run.sh '$(ONLY)'

.PHONY: format clean
format: ## lay out all C files as .clang-format says
	$(Q)clang-format -i $(wildcard include/*.h lib/*.[ch] writer/*.[ch] tools/*.[ch] \
		docs/examples/*.c bench/*.[ch] bench/*.cc tests/*/*.[ch])

clean: ## remove what was built
	$(Q)rm -rf build

.PHONY: install
install: $(LIBRARIES) $(PROGRAMS) ## into DESTDIR and PREFIX (/usr/local)
	$(Q)install -d $(addprefix '$(DESTDIR)',$(BINDIR) $(LIBDIR)/pkgconfig $(INCLUDEDIR) $(MANDIR)/man1)
	$(Q)install -m 755 $(PROGRAMS) '$(DESTDIR)$(BINDIR)'
	$(Q)install -m 644 $(LIBRARIES) '$(DESTDIR)$(LIBDIR)'
	$(Q)for name in $(SONAMES); do ln -sf libshmlog.so.$(VERSION) '$(DESTDIR)$(LIBDIR)'/$$name; done
	$(Q)install -m 644 $(HEADERS) '$(DESTDIR)$(INCLUDEDIR)'
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
		-e 's|@VERSION@|$(VERSION)|' -e 's|@LIBS@|$(LIB_LIBS)|' packaging/shmlog.pc.in \
		>'$(DESTDIR)$(LIBDIR)/pkgconfig/shmlog.pc'
	$(Q)for page in $(wildcard docs/man/*.1); do install -m 644 $$page '$(DESTDIR)$(MANDIR)/man1'; done

# Debian 12. Nothing here may need more than a shell, dpkg and apt: it runs before all else exists.
PACKAGES := gcc g++ libc6-dev pkg-config clang-format shellcheck jq lz4 liburing-dev liblz4-dev \
	libxxhash-dev libinih-dev libjansson-dev libcriterion-dev systemtap-sdt-dev

# $(call install_missing,packages)
install_missing = missing=; for package in $(1); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || \
			missing="$$missing $$package"; done; \
	[ -n "$$missing" ] || exit 0; \
	echo "$@: installing$$missing"; \
	root=; [ "$$(id -u)" = 0 ] || root=sudo; \
	$$root apt-get -q -o DPkg::Lock::Timeout=120 update >/dev/null && \
	$$root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 install \
		--no-install-recommends $$missing >/dev/null

.PHONY: deps proof-deps
deps: ## install what is missing from Debian 12 (needs root or sudo)
	$(Q)$(call install_missing,$(PACKAGES))

proof-deps: | $(FIRST) ## ... and what the proof suites need besides
	$(Q)$(call install_missing,$(PROOF_PACKAGES))

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' Makefile tests/*/suite.mk bench/bench.mk | expand -t 18

-include $(wildcard $(BUILD)/*/*.d $(BUILD)/*/*/*.d)
.SECONDARY:
