/*
 * crash_writer.c - the writer is killed everywhere: at each named point, at each boundary of its
 * system calls, during its recovery, and at random moments; then all must be there, once.
 *
 *	crash_writer [points|calls|recovery|moments|odd|upkeep|held|by-hand [CONFIGURATION [POINT]]]
 *
 * FULL=1: every boundary of every configuration, and more hits of each point. One point alone gets
 * as many, too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "odd.h"
#include "program.h"
#include "trial.h"
#include "upkeep.h"

enum {
	HITS_MAX = 5, /* of each point and configuration                     */
	HITS_FULL = 40,
	CALLS_MAX = 80, /* of each configuration; FULL: all                    */
	MOMENTS = 25,   /* trials of each configuration; FULL: 400             */
	MOMENT_KILLS = 4,
	MOMENT_MAX_US = 12000,
	BREACHES_MAX = 5, /* then it is enough */
};

#define SMALL(...)                        \
	.plan = { .lanes = 3,             \
		  .lane_size = 64 * 1024, \
		  .threads = 3,           \
		  .batches = 4,           \
		  .batch = 60,            \
		  .is_stepwise = true,    \
		  .rotates = true,        \
		  __VA_ARGS__ }
#define BULK(...)                           \
	.plan = { .lanes = 3,               \
		  .lane_size = 1024 * 1024, \
		  .threads = 3,             \
		  .batches = 2,             \
		  .batch = 3600,            \
		  __VA_ARGS__ }
/* Bursts of some pages: files end in the midst of them. */
#define PACED(...)                          \
	.plan = { .lanes = 2,               \
		  .lane_size = 1024 * 1024, \
		  .threads = 2,             \
		  .batches = 3,             \
		  .batch = 5700,            \
		  .is_stepwise = true,      \
		  __VA_ARGS__ }
#define FILES "--max-file", "1M", "--max-volume", "2M", "--no-compress"

static const struct trial_config configs[] = {
	{ "uring", { "--io", "uring", "--sync", "page", FILES }, SMALL(0) },
	{ "pwrite", { "--io", "pwrite", "--sync", "2ms", FILES }, SMALL(0) },
	{ "uring-durable",
	  { "--io", "uring", "--release", "durable", "--sync", "2ms", FILES },
	  SMALL(0) },
	{ "pwrite-durable",
	  { "--io", "pwrite", "--release", "durable", "--sync", "page", FILES },
	  SMALL(0) },
	{ "first-start",
	  { "--io", "uring", "--sync", "none", "--lanes", "3", "--lane-size", "64K", FILES },
	  SMALL(.ring_is_made = true) },
	{ "uring-bulk", { "--io", "uring", "--sync", "1ms", FILES }, BULK(0) },
	{ "uring-paced", { "--io", "uring", "--sync", "3ms", FILES }, PACED(0) },
	{ "pwrite-bulk", { "--io", "pwrite", "--sync", "none", FILES }, BULK(0) },
	{ "uring-durable-bulk",
	  { "--io", "uring", "--release", "durable", "--sync", "page", FILES },
	  BULK(0) },
};

struct sweep {
	const struct points *points;
	const struct trial_config *config;
	const char *only_point; /* NULL: all */
	bool is_full;
	uint64_t random;
	uint64_t hits[POINTS_MAX]; /* of runs that were not killed */
	bool is_reached[POINTS_MAX];
};

static uint64_t next_random(struct sweep *sweep)
{
	sweep->random ^= sweep->random << 13;
	sweep->random ^= sweep->random >> 7;
	sweep->random ^= sweep->random << 17;
	return sweep->random;
}

static bool is_enough(void)
{
	return violations() >= BREACHES_MAX;
}

static bool is_bulk(const struct trial_config *config)
{
	return !config->plan.rotates;
}

/* ---- one trial: something to recover, the kill, perhaps a second one, the end ---- */

/* A first writer leaves an unsealed file with pages. */
static void leave_something(const struct sweep *sweep, struct trial *trial)
{
	const struct kill_rule rule = { KILL_AT_POINT, points_find(sweep->points, "page_released"),
					1 };
	struct traced_run run;

	if (!trial->plan.ring_is_made)
		trial_run(trial, &rule, &run);
}

static void kill_once(struct sweep *sweep, const struct kill_rule *rule, uint64_t recovery_call,
		      struct traced_run *ret)
{
	const struct kill_rule second = { KILL_AT_CALL, 0, recovery_call };
	struct traced_run run;
	struct trial trial;

	trial_begin(&trial, sweep->config, sweep->points);
	leave_something(sweep, &trial);
	trial_run(&trial, rule, ret);
	if (recovery_call)
		trial_run(&trial, &second, &run);
	(void)trial_end(&trial);
	for (unsigned i = 0; i < sweep->points->count; i++)
		sweep->is_reached[i] |= ret->hits[i] > 0;
}

/* How long is a run, and what does it meet? */
static uint64_t measure(struct sweep *sweep)
{
	const struct kill_rule rule = { KILL_NEVER, 0, 0 };
	struct traced_run run;

	kill_once(sweep, &rule, 0, &run);
	memcpy(sweep->hits, run.hits, sizeof(sweep->hits));
	return run.calls;
}

/* ---- the sweeps ---- */

/* Of each point the first hits, and some between there and the last. */
static void sweep_points(struct sweep *sweep)
{
	const uint64_t most = sweep->is_full || sweep->only_point ? HITS_FULL : HITS_MAX;

	(void)measure(sweep);
	for (unsigned point = 0; point < sweep->points->count; point++) {
		const uint64_t hits = sweep->hits[point];

		if (sweep->only_point &&
		    strcmp(sweep->only_point, sweep->points->names[point]) != 0)
			continue;
		for (uint64_t i = 0; i < most && i < hits && !is_enough(); i++) {
			const uint64_t n = i < 3 || hits <= most ? i + 1 : i * hits / most + 1;
			const struct kill_rule rule = { KILL_AT_POINT, (int)point, n };
			struct traced_run run;

			kill_once(sweep, &rule, 0, &run);
		}
	}
}

static void sweep_calls(struct sweep *sweep)
{
	const uint64_t calls = measure(sweep);
	const uint64_t count = sweep->is_full || calls < CALLS_MAX ? calls : CALLS_MAX;

	for (uint64_t i = 0; i < count && !is_enough(); i++) {
		const struct kill_rule rule = { KILL_AT_CALL, 0, i * calls / count + 1 };
		struct traced_run run;

		/* Every third time the successor is killed, too. */
		kill_once(sweep, &rule, i % 3 ? 0 : next_random(sweep) % 200 + 1, &run);
	}
}

/* One log: its recovery is killed at its first, second, ... boundary, until one writer ends. */
static void sweep_recovery(struct sweep *sweep)
{
	struct traced_run run = { .was_killed = true };
	struct trial trial;

	trial_begin(&trial, sweep->config, sweep->points);
	for (unsigned i = 0; i < 3; i++)
		leave_something(sweep, &trial);
	for (uint64_t n = 1; run.was_killed && !is_enough(); n++) {
		const struct kill_rule rule = { KILL_AT_CALL, 0, n };

		trial_run(&trial, &rule, &run);
	}
	(void)trial_end(&trial);
}

/* Writes are under way at moments that no boundary tells of. */
static void sweep_moments(struct sweep *sweep)
{
	const unsigned count = sweep->is_full ? 400 : MOMENTS;

	for (unsigned i = 0; i < count && !is_enough(); i++) {
		struct trial trial;

		trial_begin(&trial, sweep->config, sweep->points);
		for (unsigned k = 0; k < MOMENT_KILLS; k++)
			trial_run_for(&trial, (long)(next_random(sweep) % MOMENT_MAX_US));
		(void)trial_end(&trial);
	}
}

static const struct scenario {
	const char *name;
	void (*run)(struct sweep *sweep);
	bool with_small;
	bool with_bulk;
} scenarios[] = {
	{ "points", sweep_points, true, true },
	{ "calls", sweep_calls, true, false },
	{ "recovery", sweep_recovery, true, false },
	{ "moments", sweep_moments, false, true },
};

/* ---- all of them ---- */

static void run_scenario(struct sweep *sweep, const struct scenario *scenario, const char *only)
{
	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]) && !is_enough(); i++) {
		const struct trial_config *config = &configs[i];
		const struct trial_totals before = trial_totals;

		if ((only && strcmp(only, config->name) != 0) ||
		    !(is_bulk(config) ? scenario->with_bulk : scenario->with_small))
			continue;
		sweep->config = config;
		scenario->run(sweep);
		trial_totals_print(scenario->name, config->name, &before);
	}
}

/* A list of points that no run met is a list of what was not proven. */
static void print_unreached(const struct sweep *sweep)
{
	const char *separator = "crash-writer: points that no run met: ";

	for (unsigned i = 0; i < sweep->points->count; i++) {
		if (sweep->is_reached[i])
			continue;
		printf("%s%s", separator, sweep->points->names[i]);
		separator = " ";
	}
	if (separator[1] == '\0')
		printf("\n");
}

int main(int argc, char **argv)
{
	const char *scenario = argc > 1 && argv[1][0] ? argv[1] : NULL;
	const char *config = argc > 2 && argv[2][0] ? argv[2] : NULL;
	const char *point = argc > 3 && argv[3][0] ? argv[3] : NULL;
	const char *full = getenv("FULL");
	struct sweep sweep = { .only_point = point,
			       .is_full = full && *full,
			       .random = UINT64_C(88172645463325252) };
	struct points points;
	struct upkeep upkeep = { .points = &points,
				 .scenario = scenario,
				 .config = config,
				 .point = point,
				 .is_full = full && *full };

	if (tracer_missing()) {
		printf("SKIPPED: crash-writer: %s\n", tracer_missing());
		return 0;
	}
	points_read(program_path("shmlog-writer"), &points);
	sweep.points = &points;
	work_open(NULL, "crash-writer");
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		if (!scenario || strcmp(scenario, scenarios[i].name) == 0)
			run_scenario(&sweep, &scenarios[i], config);
	if (!scenario || strcmp(scenario, "odd") == 0)
		odd_run(&points, config, point, sweep.is_reached);
	upkeep_run(&upkeep);
	for (unsigned i = 0; i < points.count; i++)
		sweep.is_reached[i] |= upkeep.is_reached[i];
	if (!scenario && !config)
		print_unreached(&sweep);
	printf("crash-writer: %llu kills of %llu writers in %llu logs; %llu records compared; %llu "
	       "violations\n",
	       (unsigned long long)trial_totals.kills, (unsigned long long)trial_totals.starts,
	       (unsigned long long)trial_totals.trials, (unsigned long long)trial_totals.records,
	       (unsigned long long)violations());
	if (trial_totals.starts == 0)
		broken("nothing was run: no such scenario or configuration");
	return violations() ? 1 : 0;
}
