/*
 * upkeep.c - compressing and deleting, killed everywhere. See upkeep.h.
 *
 * upkeep: the writer is killed at the points of both processes and at boundaries of the child's
 * calls; there the child alone is, too.
 *
 * held: the child stands still at boundaries of its calls, as one may that waits for a disk; the
 * writer deletes and ends all the same.
 *
 * by-hand: `shmlog-writer --archive' is killed at boundaries of its calls; and the writer is before
 * files that are then compressed by hand, down to its newest.
 *
 * Each trial ends with archiving by hand: afterwards no file has two names.
 */
#include "upkeep.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "program.h"

enum {
	HITS_MAX = 2, /* of each point and configuration */
	HITS_FULL = 10,
	CALLS_MAX = 24, /* boundaries; FULL: all         */
	HOLDS_MAX = 16,
	BATCHES_BEFORE_HOLD = 4, /* each a file and a volume: nothing is deleted yet */
	DELETED_IN_HOLD = 3,
	HANDS_MAX = 80,
	CP_MS = 20000,
	BREACHES_MAX = 5,
};

#define VOLUMES "--max-file", "1M", "--max-volume", "1M"
/* A file for each batch of the first thread, each in a volume of its own. */
#define PLAN(count)                       \
	.plan = { .lanes = 3,             \
		  .lane_size = 64 * 1024, \
		  .threads = 3,           \
		  .batches = (count),     \
		  .batch = 60,            \
		  .is_stepwise = true,    \
		  .is_in_step = true,     \
		  .rotates = true }

static const struct trial_config configs[] = {
	{ "archive", { "--io", "pwrite", "--sync", "2ms", VOLUMES }, PLAN(4) },
	{ "retain",
	  { "--io", "uring", "--sync", "page", VOLUMES, "--max-files", "5" },
	  PLAN(8),
	  .kept = 3 },
	{ "retain-total",
	  { "--io", "uring", "--release", "durable", "--sync", "2ms", VOLUMES, "--max-total",
	    "2130K" },
	  PLAN(8),
	  .kept = 1 },
};

static const struct trial_config slow_child = {
	"retain",
	{ "--io", "uring", "--sync", "page", VOLUMES, "--max-files", "5" },
	PLAN(12),
	.kept = 3,
};

static const struct trial_config by_hand = {
	"by-hand", { "--io", "pwrite", "--sync", "2ms", VOLUMES, "--no-compress" }, PLAN(4)
};

/* Others are met by crash_writer.c's scenarios, and one more by kill_after_half(). */
static const struct {
	const char *name;
	bool is_childs;
} of_upkeep[] = {
	{ "archiver_started", false }, { "file_deleted", false },
	{ "volume_deleted", false },   { "archive_written", true },
	{ "archive_synced", true },    { "archive_compared", true },
	{ "archive_renamed", true },   { "archive_name_synced", true },
	{ "original_removed", true },
};

static const struct kill_rule never = { KILL_NEVER, 0, 0 };

static bool is_enough(void)
{
	return violations() >= BREACHES_MAX;
}

static void note_points(struct upkeep *upkeep, const struct traced_run *run)
{
	for (unsigned i = 0; i < upkeep->points->count; i++)
		upkeep->is_reached[i] |= run->hits[i] > 0;
}

/* ---- a writer with its child ---- */

static void end_trial(struct trial *trial)
{
	trial_end_keeping(trial);
	trial_archive(trial, trial->directory);
	oracle_numbers_rise(trial->directory);
	(void)trial_forget(trial);
}

/* A writer that compresses, and perhaps deletes, until it is killed or some archives are made. */
static void kill_once(struct upkeep *upkeep, const struct trial_config *config,
		      const struct kill_rule *rule, struct traced_run *ret)
{
	struct trial trial;

	trial_begin(&trial, config, upkeep->points);
	trial.archives_wanted = config->kept ? 1 : 2;
	trial_run(&trial, rule, ret);
	end_trial(&trial);
	note_points(upkeep, ret);
}

static void kill_at_point(struct upkeep *upkeep, const struct trial_config *config, unsigned which,
			  uint64_t hits)
{
	const int point = points_find(upkeep->points, of_upkeep[which].name);
	const uint64_t most = upkeep->is_full || upkeep->point ? HITS_FULL : HITS_MAX;
	struct traced_run run;

	for (uint64_t n = 1; n <= hits && n <= most && !is_enough(); n++) {
		const struct kill_rule rule = { KILL_AT_POINT, point, n };
		const struct kill_rule alone = { KILL_CHILD_AT_POINT, point, n };

		kill_once(upkeep, config, &rule, &run);
		if (of_upkeep[which].is_childs)
			kill_once(upkeep, config, &alone, &run);
	}
}

/* Every other time the child alone. */
static void kill_at_calls(struct upkeep *upkeep, const struct trial_config *config, uint64_t calls)
{
	const uint64_t count = upkeep->is_full || calls < CALLS_MAX ? calls : CALLS_MAX;

	for (uint64_t i = 0; i < count && !is_enough(); i++) {
		const enum kill_at at = i % 2 ? KILL_CHILD_AT_CALL : KILL_AT_CHILD_CALL;
		const struct kill_rule rule = { at, 0, i * calls / count + 1 };
		struct traced_run run;

		kill_once(upkeep, config, &rule, &run);
	}
}

/* What a killed child has left is removed by the next writer, which is killed then. */
static void kill_after_half(struct upkeep *upkeep, const struct trial_config *config)
{
	const struct points *points = upkeep->points;
	const struct kill_rule first = { KILL_AT_POINT, points_find(points, "archive_written"), 1 };
	const struct kill_rule then = { KILL_AT_POINT, points_find(points, "half_archive_removed"),
					1 };
	struct traced_run run;
	struct trial trial;

	trial_begin(&trial, config, points);
	trial.archives_wanted = 1;
	trial_run(&trial, &first, &run);
	trial.archives_wanted = 0;
	trial_run(&trial, &then, &run);
	end_trial(&trial);
	note_points(upkeep, &run);
}

static void sweep_upkeep(struct upkeep *upkeep, const struct trial_config *config)
{
	struct traced_run whole;

	kill_once(upkeep, config, &never, &whole);
	for (unsigned i = 0; i < sizeof(of_upkeep) / sizeof(of_upkeep[0]); i++) {
		const int point = points_find(upkeep->points, of_upkeep[i].name);

		if (point < 0)
			broken("there is no point %s", of_upkeep[i].name);
		if (!upkeep->point || strcmp(upkeep->point, of_upkeep[i].name) == 0)
			kill_at_point(upkeep, config, i, whole.hits[point]);
	}
	if (upkeep->point)
		return;
	kill_after_half(upkeep, config);
	kill_at_calls(upkeep, config, whole.child_calls);
}

/* ---- a child that is slow ---- */

struct slow_child {
	struct trial trial;
	struct traced_run run;
	uint64_t calls; /* until the first archive was made */
	bool is_let_on; /* ... or the child stands still: the rest may come */
};

/* A batch begins when the file of the one before it is sealed: each has its own. The first one's
 * may end before the writer takes signals. */
static void pace(struct slow_child *slow)
{
	const struct trial *trial = &slow->trial;
	const uint64_t *hits = slow->run.hits;
	const uint64_t sealed = hits[points_find(trial->points, "file_sealed")];
	const uint32_t last = slow->is_let_on ? trial->plan.batches : BATCHES_BEFORE_HOLD;

	if (slow->is_let_on && hits[trial->hold.until] >= trial->hold.n)
		load_wait_before(&slow->trial.load, LOAD_GOES_ON);
	else
		load_wait_before(&slow->trial.load,
				 sealed + 2 < last ? (uint32_t)sealed + 2 : last);
}

/* There are files to compress, and none to delete, until the child has come to its boundary; then
 * the rest comes, and the writer is not ended before files are deleted. */
static void on_point(void *argument, pid_t pid, const char *point)
{
	struct slow_child *slow = argument;

	if (strcmp(point, "ring_held") == 0)
		load_tell_writer(&slow->trial.load, pid);
	if (strcmp(point, "original_removed") == 0 && slow->calls == 0)
		slow->calls = slow->run.child_calls;
	slow->is_let_on |= strcmp(point, TRACER_CHILD_HELD) == 0 ||
			   (slow->trial.hold.call == 0 && slow->calls > 0);
	pace(slow);
}

/* 0: it is not held. The boundaries of its calls at which it may be. */
static uint64_t hold_at(struct upkeep *upkeep, const struct trial_config *config, uint64_t call)
{
	struct slow_child slow = { 0 };
	struct trial *trial = &slow.trial;

	trial_begin(trial, config, upkeep->points);
	trial->on_point = on_point;
	trial->argument = &slow;
	trial->hold = (struct hold_rule){ call, points_find(upkeep->points, "file_deleted"),
					  DELETED_IN_HOLD };
	trial_run(trial, &never, &slow.run);
	if (!slow.is_let_on)
		violated("no child came to boundary %llu of its calls", (unsigned long long)call);
	end_trial(trial);
	note_points(upkeep, &slow.run);
	return slow.calls;
}

static void sweep_held(struct upkeep *upkeep, const struct trial_config *config)
{
	const uint64_t calls = hold_at(upkeep, config, 0);
	const uint64_t count = upkeep->is_full || calls < HOLDS_MAX ? calls : HOLDS_MAX;

	for (uint64_t i = 0; i < count && violations() == 0; i++) /* it may take a while to fail */
		(void)hold_at(upkeep, config, i * calls / count + 1);
}

/* ---- by hand ---- */

static void copy(const char *from, const char *to)
{
	const char *const remove[] = { "/bin/rm", "-rf", to, NULL };
	const char *const argv[] = { "/bin/cp", "-a", from, to, NULL };

	if (program_run(remove, NULL, CP_MS) != 0 || program_run(argv, NULL, CP_MS) != 0)
		broken("cannot copy %s", from);
}

/* It is killed in a copy of the log; then it runs there to its end. */
static void kill_by_hand(struct upkeep *upkeep, struct trial *trial, const struct kill_rule *rule,
			 struct traced_run *ret)
{
	const struct tracer tracer = {
		.rule = *rule,
		.error_path = trial->errors,
		.count_calls = rule->at == KILL_NEVER,
	};
	char directory[WORK_PATH_SIZE];
	const char *const argv[] = { "shmlog-writer", "--archive", "-d", directory, NULL };
	const uint64_t before = violations();

	work_path(directory, "copy");
	copy(trial->directory, directory);
	tracer_run(&tracer, upkeep->points, argv, ret);
	trial_totals.starts++;
	trial_totals.kills += ret->was_killed;
	if (!ret->was_killed && ret->status != 0)
		violated("archiving by hand ended with %d", ret->status);
	trial_compare(trial, directory);
	trial_archive(trial, directory);
	if (violations() != before)
		(void)fprintf(stderr, "crash-writer: by hand, killed at %s\n", ret->where);
	note_points(upkeep, ret);
}

static void kill_at_calls_by_hand(struct upkeep *upkeep)
{
	struct traced_run whole, run;
	struct trial trial;
	uint64_t count;

	trial_begin(&trial, &by_hand, upkeep->points);
	trial_end_keeping(&trial);
	kill_by_hand(upkeep, &trial, &never, &whole);
	count = upkeep->is_full || whole.calls < HANDS_MAX ? whole.calls : HANDS_MAX;
	for (uint64_t i = 0; i < count && !is_enough(); i++) {
		const struct kill_rule rule = { KILL_AT_CALL, 0, i * whole.calls / count + 1 };

		kill_by_hand(upkeep, &trial, &rule, &run);
	}
	(void)trial_forget(&trial);
}

/* Behind a writer that has ended lies an empty volume, as one leaves that is killed while it makes
 * the next file: so even the newest file is compressed. The writers after it go on from there. */
static void go_on_from_archive(struct upkeep *upkeep)
{
	struct traced_run run;
	struct trial trial;
	char volume[WORK_PATH_SIZE];

	trial_begin(&trial, &by_hand, upkeep->points);
	trial.is_once = true;
	trial_run(&trial, &never, &run);
	work_path(volume, "log/0000000009");
	if (mkdir(volume, 0700) < 0)
		broken("%s: %s", volume, strerror(errno));
	trial_archive_unsettled(&trial);
	end_trial(&trial);
	note_points(upkeep, &run);
}

static void sweep_by_hand(struct upkeep *upkeep, const struct trial_config *config)
{
	(void)config;
	kill_at_calls_by_hand(upkeep);
	go_on_from_archive(upkeep);
}

/* ---- all of them ---- */

static const struct scenario {
	const char *name;
	void (*run)(struct upkeep *upkeep, const struct trial_config *config);
	const struct trial_config *configs;
	unsigned count;
} scenarios[] = {
	{ "upkeep", sweep_upkeep, configs, 3 },
	{ "held", sweep_held, &slow_child, 1 },
	{ "by-hand", sweep_by_hand, &by_hand, 1 },
};

static void run_scenario(struct upkeep *upkeep, const struct scenario *scenario)
{
	for (unsigned i = 0; i < scenario->count && !is_enough(); i++) {
		const struct trial_config *config = &scenario->configs[i];
		const struct trial_totals before = trial_totals;

		if (upkeep->config && strcmp(upkeep->config, config->name) != 0)
			continue;
		scenario->run(upkeep, config);
		trial_totals_print(scenario->name, config->name, &before);
	}
}

void upkeep_run(struct upkeep *upkeep)
{
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		if (!upkeep->scenario || strcmp(upkeep->scenario, scenarios[i].name) == 0)
			run_scenario(upkeep, &scenarios[i]);
}
