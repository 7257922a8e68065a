# Benchmarks: ratios of this machine. docs/PERFORMANCE.md says what each does. None asserts a time;
# each fails where the log does not hold what was pushed.
BENCHES := $(addprefix $(BUILD)/bench/,publish drain)
BENCH_COMMON := $(call objects,bench/common.c bench/stage.c bench/floor.c)
$(BUILD)/bench/drain: $(BUILD)/bench/raw.o
$(BUILD)/bench/drain: BENCH_LIBS := -luring

$(BENCHES): $(BUILD)/bench/%: $(BUILD)/bench/%.o $(BENCH_COMMON) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS) $(BENCH_LIBS)

.PHONY: bench bench-all
bench: all $(BUILD)/bench/publish ## what a push costs beside the floor; a quick table
	$(Q)$(BUILD)/bench/publish -q

bench-drain: all $(BUILD)/bench/drain ## how fast records reach the disk, beside the disk alone; minutes
	$(Q)$(BUILD)/bench/drain $(BENCH_OPTIONS)
