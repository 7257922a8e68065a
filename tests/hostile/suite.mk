# hostile: what a broken producer and a hostile member of the ring's group can do. See hostile.c.
# A part: make hostile ONLY=wild, ONLY=truncate; SEED=n for one seed; SANITIZED= for none of the
# share that runs under the sanitizers; KEEP=1: what a breach was found in stays in TMPDIR.

HOSTILE := $(BUILD)/tests/hostile/hostile
HOSTILE_OBJECTS := $(call objects,$(wildcard tests/hostile/*.c))
SANITIZED ?= 1
PROOFS += hostile

$(BUILD)/tests/hostile/%.o: ALL_CFLAGS += -Itests/support -Iwriter

$(HOSTILE): $(HOSTILE_OBJECTS) $(SUPPORT) $(WRITER_PARTS) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS) $(WRITER_LIBS)

.PHONY: hostile hostile-plain
hostile: hostile-plain ## wild stores by a broken producer, a hostile member of the group; a share under sanitizers
	$(Q)[ -z '$(SANITIZED)' ] || $(MAKE) --no-print-directory VARIANT=asan BUILD=$(BUILD)-asan all
	$(Q)[ -z '$(SANITIZED)' ] || SHMLOG_BIN='$(abspath $(BUILD))-asan' FULL='$(FULL)' SEED='$(SEED)' \
		SANITIZED=1 $(HOSTILE) $(ONLY)

hostile-plain: all $(HOSTILE)
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' FULL='$(FULL)' SEED='$(SEED)' $(HOSTILE) $(ONLY)
