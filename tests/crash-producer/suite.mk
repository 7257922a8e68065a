# crash-producer: producers that are killed or stopped at every instruction. See crash_producer.c.

CRASH_PRODUCER := $(BUILD)/tests/crash-producer/crash_producer
CRASH_PRODUCER_PARTS := $(call objects,$(wildcard tests/crash-producer/*.c))
$(CRASH_PRODUCER_PARTS): ALL_CFLAGS += -Itests/support

$(CRASH_PRODUCER): $(CRASH_PRODUCER_PARTS) $(SUPPORT) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS)

PROOFS += crash-producer

.PHONY: crash-producer
crash-producer: all $(CRASH_PRODUCER) ## kill, stop a producer at its instructions; SCENARIO=name, MANNER=killed, BOUNDARY=k
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' FULL='$(FULL)' $(CRASH_PRODUCER) '$(SCENARIO)' '$(MANNER)' '$(BOUNDARY)'
