# Benchmarks: ratios of this machine. docs/PERFORMANCE.md says what each does. None asserts a time;
# each fails where the log does not hold what was pushed. BENCH_OPTIONS: -q small, -a all, -d DIR.
BENCHES := $(addprefix $(BUILD)/bench/,publish drain peers scale)
BENCH_COMMON := $(call objects,bench/common.c bench/samples.c bench/stage.c bench/floor.c)
BENCH_PACKAGES := lttng-tools liblttng-ust-dev babeltrace2 libspdlog-dev fio gnuplot-nox jq

$(BUILD)/bench/drain: $(call objects,bench/raw.c bench/load.c)
$(BUILD)/bench/drain: BENCH_LIBS := -luring
$(BUILD)/bench/scale: $(BUILD)/bench/load.o
$(BUILD)/bench/peers: $(call objects,bench/peer_own.c bench/peer_lttng.c bench/peer_spdlog.c)

$(BUILD)/bench/first $(BENCHES): $(BUILD)/bench/%: $(BUILD)/bench/%.o $(BENCH_COMMON) $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS) $(BENCH_LIBS)

# Over logs, not over records: programs of one file each.
LOG_BENCHES := $(addprefix $(BUILD)/bench/,life seek)

$(LOG_BENCHES): $(BUILD)/bench/%: $(BUILD)/bench/%.o $(LIB_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) $^ $(LIB_LIBS)

# What needs the headers of others; where they are missing, peers says so and goes on without.
BENCH_PEERS := $(if $(wildcard /usr/include/lttng/tracepoint.h /usr/include/*/lttng/tracepoint.h),$(BUILD)/bench/lttng_provider.so) \
	$(if $(wildcard /usr/include/spdlog/async.h),$(BUILD)/bench/spdlog_glue.so)

# Theirs are not written for our warnings.
$(BUILD)/bench/lttng_provider.so: bench/lttng_provider.c bench/lttng_provider.h
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -Ibench -fPIC -shared -o $@ $< -llttng-ust -ldl

$(BUILD)/bench/spdlog_glue.so: bench/spdlog_glue.cc bench/spdlog_glue.h
	$(call say,CXX,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) $(CFLAGS) -fPIC -shared -o $@ $< $$(pkg-config --cflags --libs spdlog) -lpthread

.PHONY: bench bench-drain bench-scale bench-peers bench-seek bench-life bench-deps
bench: all $(BUILD)/bench/publish ## what a push costs beside the floor; a quick table
	$(Q)$(BUILD)/bench/publish -q

bench-drain: all $(BUILD)/bench/drain ## how fast records reach the disk, beside the disk alone; minutes
	$(Q)$(BUILD)/bench/drain $(BENCH_OPTIONS)

bench-scale: all $(BUILD)/bench/scale $(BUILD)/bench/first ## what grows with lanes, processes, sizes; minutes
	$(Q)$(BUILD)/bench/scale $(BENCH_OPTIONS)

bench-peers: all $(BUILD)/bench/peers $(BENCH_PEERS) ## the same records through other loggers; minutes
	$(Q)$(BUILD)/bench/peers $(BENCH_OPTIONS)

bench-seek: all $(BUILD)/bench/seek ## what a jump to a page or a time costs in logs of 100 and of 10,000 files
	$(Q)$(BUILD)/bench/seek

bench-life: all $(BUILD)/bench/life ## what compression and deletion cost the drain, some minutes; MB=3000, RATE=200, ROUNDS=3
	$(Q)SHMLOG_BIN='$(abspath $(BUILD))' MB='$(MB)' RATE='$(RATE)' ROUNDS='$(ROUNDS)' bench/life.sh

bench-deps: | $(FIRST) ## install the loggers to compare with, and what draws the report
	$(Q)$(call install_missing,$(BENCH_PACKAGES))

.PHONY: bench-all bench-report
bench-all: all $(BENCHES) $(BUILD)/bench/first $(BENCH_PEERS) ## all of them in full, one after the other
	$(Q)for bench in $(BENCHES); do $$bench $(BENCH_OPTIONS) || exit 1; done

bench-report: all $(BENCHES) $(BUILD)/bench/first $(BENCH_PEERS) ## ... as one page with pictures, build/bench/report.html
	$(Q)REDRAW='$(REDRAW)' bench/report.sh $(BUILD)/bench build/bench $(BENCH_OPTIONS)
