# ThreadSanitizer over producers and writer in one process and one mapping.
PROOFS += tsan

RACE := $(BUILD)-tsan/tests/race/race
RACE_OBJECTS := $(call objects,$(wildcard tests/race/*.c))
$(RACE_OBJECTS): ALL_CFLAGS += -Iwriter -Itests/support

$(BUILD)/tests/race/race: $(RACE_OBJECTS) $(SUPPORT) $(WRITER_PARTS) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) -Wl,--wrap=mmap,--wrap=munmap,--wrap=close,--wrap=fcntl $^ $(LIB_LIBS) $(WRITER_LIBS)

# Without address randomisation: ThreadSanitizer of gcc 12 does not know the layouts of new kernels.
.PHONY: tsan
tsan: all ## no data race between producers and writer
	$(Q)$(MAKE) --no-print-directory VARIANT=tsan BUILD=$(BUILD)-tsan $(RACE)
	$(Q)rm -rf $(BUILD)-tsan/log
	$(Q)setarch -R true 2>/dev/null || { echo 'SKIPPED: tsan: address randomisation cannot be switched off here'; exit 0; }; \
	TSAN_OPTIONS='exitcode=66 halt_on_error=0' SHMLOG_BIN='$(abspath $(BUILD))' \
		setarch -R $(RACE) $(BUILD)-tsan/log 2>$(BUILD)-tsan/race.err || \
		{ sed 's/^WARNING: ThreadSanitizer/violated: ThreadSanitizer/' $(BUILD)-tsan/race.err; exit 1; }
