# life: the lives of processes. See life.c.

LIFE_OBJECTS := $(call objects,$(wildcard tests/life/*.c))
$(BUILD)/tests/life/%.o: ALL_CFLAGS += -Itests/support

$(BUILD)/tests/life/life: $(LIFE_OBJECTS) $(SUPPORT) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS) -ldl

.PHONY: life
life: all $(BUILD)/tests/life/life ## lives of processes: fork, exec, signals, threads, limits; FULL=1, ONLY=scenario
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' $(BUILD)/tests/life/life $(if $(FULL),-f) $(if $(ONLY),-v) $(ONLY)
PROOFS += life
