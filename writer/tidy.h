/*
 * tidy.h - the log's upkeep: what is compressed, what is deleted, and when to look.
 *
 * Owns the child that compresses, and all deletion. Two halves meet in one job at a time:
 * tidy_turn(), of the drain's thread, decides when to look and by which limits; the job, in the
 * second thread, looks at the directory and acts. Neither ever waits for the child's work.
 *
 * I1. Nothing is compressed or deleted from the file on from which a restart would go on: that is
 *     pages->settled, and before this run's first FILE page is complete what recovery has found.
 * I2. Beside a child only files before its own are deleted: it might be compressing that very one.
 *     Where the first of its own is to go, the child is stopped, and the next one leaves that
 *     volume out: it is about to go. Each child begins with the newest. So one that is slower than
 *     the log comes to its ends all the same, with what is kept longest.
 * I3. With less room than --min-free wants, what can be compressed is. The oldest are deleted for
 *     room only if --on-full says so, and then if a page waits for a file, or nothing is left
 *     to compress.
 */
#ifndef SHMLOG_WRITER_TIDY_H
#define SHMLOG_WRITER_TIDY_H

#include "archiver.h"
#include "pages.h"
#include "retain.h"
#include "say.h"

/* What the job is to do; written before it is submitted. */
struct tidy_order {
	struct retain_limits limits;
	uint64_t keep_from;      /* file number                                              */
	uint64_t archive_before; /* volume number; 0: nothing is to be compressed            */
	uint64_t room;           /* bytes that a file needs; 0: nothing is deleted for room  */
	struct roll_room leave;  /* ... beside those                                         */
	bool may_wait_for_room;  /* as long as the child may make some                       */
};

/* What came of it; read once it is collected. */
struct tidy_result {
	struct retain_result retained;
	uint32_t child_pid; /* 0: none runs                                                  */
	int64_t took_ns;
};

struct tidy {
	const struct sys *sys;
	const struct config *config;
	struct pages *pages;

	/* Of the drain's thread. */
	uint64_t keep_from; /* of recovery: until a file of this run is settled              */
	bool is_under_way;
	unsigned seals_seen;
	uint64_t settled_seen; /* file number                                                */
	bool was_short;
	int64_t next;       /* CLOCK_MONOTONIC: look at least then                           */
	int64_t rest_until; /* ... and not before this                                       */

	/* The job's from its submission until its result is collected. */
	struct tidy_order order;
	struct tidy_result result;
	struct retain retain;
	struct archiver archiver;
	struct told told;
	uint64_t archived_before; /* volume: those before it were gone through, or left out  */
	struct logdir_file child_first; /* the oldest file that the child may touch           */
	int64_t archive_at; /* CLOCK_MONOTONIC: no child before, since one has failed  */
};

/**
 * tidy_begin() - nothing is started yet.
 * @dir_lock: descriptor of the directory's lock; borrowed. The child holds it, too.
 * @keep_from: file number from which on a restart needs what there is.
 */
void tidy_begin(struct tidy *tidy, struct pages *pages, int dir_lock, uint64_t keep_from);

/* Submit a job if it is time for one. Cheap: call it often. */
void tidy_turn(struct tidy *tidy);

/* The limits have changed: look soon. */
void tidy_hurry(struct tidy *tidy);

/* The end: the child goes. No job is under way. */
void tidy_end(struct tidy *tidy);

#endif
