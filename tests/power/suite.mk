# Power cuts: tests/power/README.md.
PROOFS += power
PROOF_PACKAGES += xfsprogs e2fsprogs

POWER_PARTS := $(call objects,$(addprefix tests/power/,trace.c disk_io.c image.c record.c check.c))

$(BUILD)/tests/power/%.o: ALL_CFLAGS += -Iwriter -Itests/support

$(BUILD)/tests/power/power: $(BUILD)/tests/power/power.o $(POWER_PARTS) $(SUPPORT) $(WRITER_PARTS) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS) $(WRITER_LIBS)

$(BUILD)/tests/power/load: $(BUILD)/tests/power/load.o $(SUPPORT) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS)

.PHONY: power power-traced power-real
power: power-traced power-real ## power cuts, on a traced disk and on real file systems; FULL=1

power-traced: all $(BUILD)/tests/power/power ## ... the traced disk alone; SCENARIO=page for one
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' FULL='$(FULL)' $(BUILD)/tests/power/power $(SCENARIO)

power-real: all $(BUILD)/tests/power/load ## ... file systems in a loop device that are shut down
	$(Q)for fs in xfs ext4; do \
		SHMLOG_BIN='$(abspath $(BUILD))' FULL='$(FULL)' tests/power/shutdown.sh $$fs; \
		status=$$?; [ $$status = 0 ] || [ $$status = 77 ] || exit $$status; done
