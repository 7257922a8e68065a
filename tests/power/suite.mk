# Power cuts: tests/power/README.md.
PROOFS += power
PROOF_PACKAGES += xfsprogs e2fsprogs

POWER := $(BUILD)/tests/power/power
POWER_PARTS := $(call objects,$(addprefix tests/power/,trace.c disk_io.c image.c record.c check.c))

$(BUILD)/tests/power/%.o: ALL_CFLAGS += -Iwriter -Itests/support

$(BUILD)/tests/power/power: $(BUILD)/tests/power/power.o $(POWER_PARTS) $(SUPPORT) $(WRITER_PARTS) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS) $(WRITER_LIBS)

.PHONY: power
power: all $(POWER) ## power cuts, on a traced disk and on real file systems; SCENARIO=page for one, FULL=1
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' FULL='$(FULL)' $(BUILD)/tests/power/power $(SCENARIO)
