# The writer is killed everywhere: crash-writer, fence, soak.
CRASH_WRITER := $(addprefix $(BUILD)/tests/crash-writer/,crash_writer fence soak soak_producer)
CRASH_WRITER_SHARED := $(call objects,$(addprefix tests/crash-writer/,points.c tracer.c load.c odd.c \
	oracle.c producer.c trial.c upkeep.c work.c))

$(BUILD)/tests/crash-writer/%.o: ALL_CFLAGS += -Itests/support

$(CRASH_WRITER): %: %.o $(CRASH_WRITER_SHARED) $(SUPPORT) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS)

.PHONY: crash crash-writer fence soak soak-share
crash: crash-producer crash-writer ## producers and the writer killed at every instruction, point and call

crash-writer: all $(CRASH_WRITER) ## kill the writer at points and calls; SCENARIO=points CONFIG=uring POINT=page_placed FULL=1
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' FULL='$(FULL)' \
		$(BUILD)/tests/crash-writer/crash_writer '$(SCENARIO)' '$(CONFIG)' '$(POINT)'

fence: all $(CRASH_WRITER) ## a successor waits for a killed writer's writes; needs root
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' tests/crash-writer/fence.sh \
		'$(abspath $(BUILD))/tests/crash-writer/fence'

soak: all $(CRASH_WRITER) ## everything at once, at random; T=600 seconds, SEED=n
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' $(BUILD)/tests/crash-writer/soak '$(or $(T),60)' '$(SEED)'

# What CI runs of it.
soak-share:
	$(Q)$(MAKE) --no-print-directory soak T=$(if $(FULL),600,20) SEED=1

PROOFS += crash-writer fence soak-share
PROOF_PACKAGES += e2fsprogs util-linux
