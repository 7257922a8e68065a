/*
 * trial.h - one ring, one log, one load, and writers that are killed until the last one ends well.
 */
#ifndef SHMLOG_TESTS_CRASH_WRITER_TRIAL_H
#define SHMLOG_TESTS_CRASH_WRITER_TRIAL_H

#include "load.h"
#include "oracle.h"
#include "tracer.h"
#include "work.h"

enum { TRIAL_OPTIONS_MAX = 24 };

struct trial_config {
	const char *name;
	const char *options[TRIAL_OPTIONS_MAX]; /* of the writer, NULL-terminated */
	struct load_plan plan;                  /* its ring is the trial's        */
	unsigned kept; /* files, of a log whose oldest are deleted; 0: all are kept          */
};

struct trial {
	const struct trial_config *config;
	const struct points *points;
	const char *cgroup_procs; /* NULL, or where the killed writers run              */
	/* Who looks at a traced writer's points; the trial, unless it is told otherwise. */
	void (*on_point)(void *argument, pid_t pid, const char *point);
	void *argument;
	struct hold_rule hold;    /* of traced writers' children                        */
	unsigned archives_wanted; /* a traced writer is not ended before                */
	bool is_once;             /* traced writers end when the ring is empty                    */
	unsigned archives;        /* of the traced writer, so far                       */
	char ring[WORK_RING_SIZE];
	char directory[WORK_PATH_SIZE]; /* of the log    */
	char errors[WORK_PATH_SIZE];    /* of the writers */
	char scratch[WORK_PATH_SIZE];
	struct load_plan plan;
	struct journal *journal;
	struct load load;
	char story[600]; /* where its writers were killed                                   */
	uint64_t violations_before;
};

struct trial_totals {
	uint64_t trials;
	uint64_t starts;
	uint64_t kills;
	uint64_t records; /* compared */
};

extern struct trial_totals trial_totals;

/* What was added since @before, in a line. */
void trial_totals_print(const char *scenario, const char *config,
			const struct trial_totals *before);

void trial_begin(struct trial *trial, const struct trial_config *config,
		 const struct points *points);

/* A writer that is killed at the rule's place, or ends well without having come there. */
void trial_run(struct trial *trial, const struct kill_rule *rule, struct traced_run *ret);

/* A writer that runs untraced and is killed after so long. */
void trial_run_for(struct trial *trial, long us);

/* `shmlog-writer --archive' in @directory, which holds the trial's records: it ends well, they are
 * still there, and no file has two names. */
void trial_archive(struct trial *trial, const char *directory);

/* The same in the trial's log while it may not be recovered: only that it ends well is known. */
void trial_archive_unsettled(struct trial *trial);

/* The records of @directory are those of the trial's journal. */
void trial_compare(struct trial *trial, const char *directory);

/* The last writer ends well, and all is there. True: nothing was violated since the begin. */
bool trial_end(struct trial *trial);

/* The same in two steps: between them the log can be looked at once more. */
void trial_end_keeping(struct trial *trial);
bool trial_forget(struct trial *trial);

/* The same as trial_end(); the last writer is traced, too. */
bool trial_end_traced(struct trial *trial);

#endif
