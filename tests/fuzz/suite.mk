# Fuzzing: tests/fuzz/README.md.

FUZZ_TARGETS := $(sort $(patsubst tests/fuzz/target_%.c,%,$(wildcard tests/fuzz/target_*.c)))
FUZZ_SHARED := $(call objects,$(addprefix tests/fuzz/,fuzz.c image.c logbytes.c reading.c))
FUZZ_BUILD := build/fuzz

# The bounded share; FULL=1: a minute a target. T: seconds a target, TARGET: only this one.
FUZZ_SECONDS = $(or $(T),$(if $(FULL),60,5))
FUZZ_ONLY := $(or $(TARGET),$(FUZZ_TARGETS))
FUZZ_REPLAYERS := $(addprefix $(BUILD)/tests/fuzz/replay_,$(FUZZ_ONLY))
FUZZERS := $(addprefix $(BUILD)/tests/fuzz/fuzz_,$(FUZZ_ONLY))

CFLAGS_fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -Wno-conversion

$(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/target_%.o $(BUILD)/tests/fuzz/replay.o $(FUZZ_SHARED) \
		$(WRITER_PARTS) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS) $(WRITER_LIBS) $(TOOL_LIBS)

$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/target_%.o $(FUZZ_SHARED) $(WRITER_PARTS) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) -fsanitize=fuzzer $^ $(LIB_LIBS) $(WRITER_LIBS) $(TOOL_LIBS)

.PHONY: fuzz fuzzers fuzz-replay fuzz-replay-asan fuzz-minimise
fuzzers: $(FUZZERS)

fuzz: | $(FIRST) ## fuzz each target for T seconds (5), TARGET=name for one; needs clang
	$(Q)$(MAKE) --no-print-directory CC=clang VARIANT=fuzz BUILD='$(FUZZ_BUILD)' fuzzers
	$(Q)tests/fuzz/run.sh '$(FUZZ_BUILD)' '$(FUZZ_SECONDS)' $(FUZZ_ONLY)

fuzz-replay: $(FUZZ_REPLAYERS) ## the corpora of the fuzz targets again; a few seconds
	$(Q)tests/fuzz/replay.sh '$(BUILD)' $(FUZZ_ONLY)

fuzz-replay-asan: ## the same with the address and undefined-behaviour sanitizers
	$(Q)$(MAKE) --no-print-directory VARIANT=asan BUILD='$(BUILD)-asan' fuzz-replay

fuzz-minimise: ## take over what `make fuzz` found into the corpora, minimised
	$(Q)tests/fuzz/minimise.sh '$(FUZZ_BUILD)' $(FUZZ_ONLY)

PROOFS += fuzz
PROOF_PACKAGES += clang libclang-rt-14-dev
