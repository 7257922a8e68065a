# Golden files: logs of earlier versions, which every later one reads. tests/golden/README.md.

GOLDEN_MAKE := $(BUILD)/tests/golden/make
$(BUILD)/tests/golden/%.o: ALL_CFLAGS += -Itests/support

$(GOLDEN_MAKE): $(BUILD)/tests/golden/make.o $(SUPPORT) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS)

.PHONY: golden
golden: all $(GOLDEN_MAKE) ## logs of format 1.0 are read as ever, and written byte by byte alike
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' tests/golden/golden.sh '$(abspath $(GOLDEN_MAKE))'
	$(call say,TEST,golden)
