# Faults: system calls and disks that fail, simulated through the two seams, and real ones.
# Everything: make fault FULL=1. A part: make fault ONLY=live.io_write, ONLY=library, ONLY=real.
FAULT_PARTS := $(addprefix $(BUILD)/tests/fault/,plan.o faulty_sys.o faulty_disk.o scene.o client.o) $(SUPPORT)
FAULT_PROGRAMS := $(addprefix $(BUILD)/tests/fault/,faults)
PROOFS += fault

$(BUILD)/tests/fault/%.o: ALL_CFLAGS += -Iwriter -Itests/support

$(FAULT_PROGRAMS): $(BUILD)/%: $(BUILD)/%.o $(FAULT_PARTS) $(WRITER_PARTS) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS) $(WRITER_LIBS)

.PHONY: fault
fault: all $(FAULT_PROGRAMS) ## the Nth system call or disk access fails, for all N; real full and broken disks
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' BUILD='$(BUILD)' FULL='$(FULL)' MAKE='$(MAKE)' tests/fault/run.sh $(ONLY)
