/*
 * upkeep.h - the writer, the child that compresses, and archiving by hand are killed while a log's
 * files are compressed and deleted.
 */
#ifndef SHMLOG_TESTS_CRASH_WRITER_UPKEEP_H
#define SHMLOG_TESTS_CRASH_WRITER_UPKEEP_H

#include "trial.h"

/* What to run; NULL: all. */
struct upkeep {
	const struct points *points;
	const char *scenario; /* upkeep, held, by-hand */
	const char *config;
	const char *point;
	bool is_full;
	bool is_reached[POINTS_MAX]; /* of the points: filled in */
};

/* All scenarios that are wanted, a line for each. */
void upkeep_run(struct upkeep *upkeep);

#endif
