# Faults: system calls and disks that fail, simulated through the two seams, and real ones.
# A part: make fault ONLY=live.io_write, ONLY=library, ONLY=real, ONLY=real.full_ext4.
FAULT_PARTS := $(addprefix $(BUILD)/tests/fault/,plan.o faulty_sys.o faulty_disk.o scene.o upkeep.o client.o) $(SUPPORT)
FAULT_HELPERS := $(BUILD)/tests/fault/journal $(BUILD)/tests/fault/old_kernel.so
PROOFS += fault
PROOFS_ASAN += $(BUILD)-asan/tests/fault/faults
PROOF_PACKAGES += e2fsprogs util-linux

$(BUILD)/tests/fault/%.o: ALL_CFLAGS += -Iwriter -Itests/support

$(BUILD)/tests/fault/faults: $(BUILD)/tests/fault/faults.o $(FAULT_PARTS) $(WRITER_PARTS) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS) $(WRITER_LIBS)

$(BUILD)/tests/fault/journal: $(BUILD)/tests/fault/journal.o $(SUPPORT) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS)

$(BUILD)/tests/fault/old_kernel.so: $(BUILD)/tests/fault/old_kernel.o
	$(call say,LD,$@)
	$(Q)$(LINK) -shared $^ -ldl

.PHONY: fault
fault: all $(HELPERS) $(BUILD)/tests/fault/faults $(FAULT_HELPERS) ## the Nth system call or disk access fails, for all N; full and broken disks; ONLY=live.io_sync
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' BUILD='$(BUILD)' FULL='$(FULL)' MAKE='$(MAKE)' tests/fault/run.sh $(ONLY)
