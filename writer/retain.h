/*
 * retain.h - what is not kept: the oldest files of the log, once a limit says so.
 *
 * Owns the choice of what goes, and its deletion. Never reads a file, never touches one that is
 * written, and never decides when it is time: the second thread calls, a few files a call.
 *
 * I1. Oldest first, by number, and nothing is passed over: what is left is the log's end, without
 *     a hole. So the first file that may not go, or cannot, ends it.
 * I2. The newest sealed file stays, and whatever the caller names: from keep_from on. An open file
 *     below that was given up, its disk had failed: it goes in its turn. So keep_from is the newest
 *     file whose FILE page is complete, or less; and what is to be sealed below it was tried to be.
 * I3. Each deletion is durable before the next begins. What a power cut brings back is the newest
 *     of what was deleted, in front of what was kept: a reader sees a log that begins earlier. Were
 *     only the calls in order, a file system might keep the later of two: a hole, which readers
 *     call damage. A sync for each deletion is little beside the file that it ends; and where
 *     freed blocks return with the next commit only, it is what makes room.
 * I4. Under one number the sealed file goes before its archive, and both before what lies beside
 *     them: a kill in between leaves a file that can be read, or nothing that anybody reads, and
 *     nothing that would be compressed anew.
 * I5. Nothing goes that no writer made: the name is a log's, it lies in a volume, and it is a
 *     regular file, reached through no link. What only looks like one is left and not counted.
 *
 * Whoever renames in the log meanwhile may hide a file from a listing: under neither name. So while
 * an archive is being made of file N, keep_from is at most N, or the maker is stopped first.
 */
#ifndef SHMLOG_WRITER_RETAIN_H
#define SHMLOG_WRITER_RETAIN_H

#include "base.h"
#include "sys.h"

enum { RETAIN_BATCH = 8 }; /* files that one call deletes at most */

/* 0: no limit. */
struct retain_limits {
	uint64_t max_total; /* bytes on disk, of everything that is the log's                */
	int64_t max_age_ns; /* since a file was sealed: its mtime                            */
	uint32_t max_files; /* numbers; a file and its archive are one                       */
	uint64_t room;      /* bytes that are to become free on the file system              */
};

/* The limit that a file goes for. */
enum retain_cause { RETAIN_KEPT, RETAIN_TOTAL, RETAIN_AGE, RETAIN_FILES, RETAIN_ROOM };

/* What there is under a number; where there is more, the last of them. */
enum retain_state {
	RETAIN_SIDE,   /* nothing but what was cut off it, or half an archive                */
	RETAIN_SEALED, /* or compressed, or both                                             */
	RETAIN_OPEN,
};

/* One number of the log, under all its names. */
struct retain_file {
	uint64_t file_no;
	uint64_t bytes;    /* on disk                                                        */
	int64_t sealed_ns; /* CLOCK_REALTIME                                                 */
	enum retain_state state;
	enum retain_cause cause;
};

/**
 * retain_choose() - which files are to go, and for which limit. Pure.
 * @files: all of the log, by number; the cause of those that go is set.
 * @keep_from: no file of this number, and none behind it; below it nothing is written any more.
 * Return: how many, from the first on.
 */
size_t retain_choose(struct retain_file *files, size_t count, const struct retain_limits *limits,
		     uint64_t keep_from, int64_t now_realtime_ns);

struct retain {
	const struct sys *sys;
	int dir;                       /* the log directory; borrowed                       */
	const char *path;              /* its name for people; borrowed                     */
	void (*say)(const char *line); /* in the calling thread                             */
	char told[320];                /* of what is left alone: the last line; at first "" */
};

struct retain_result {
	uint32_t files; /* numbers of which something was deleted                            */
	uint64_t bytes;
	uint64_t file_no;        /* the last of them                                         */
	enum retain_cause cause; /* ... and why it went                                      */
	bool more;               /* RETAIN_BATCH are done, and more are to go: call again    */
};

/**
 * retain_due() - would retain_run() delete anything?
 * Return: 1, 0; -errno as retain_run().
 */
int retain_due(struct retain *retain, const struct retain_limits *limits, uint64_t keep_from,
	       int64_t now_realtime_ns);

/**
 * retain_run() - delete what the limits say, RETAIN_BATCH files at most, and volumes left empty.
 * A line is said for each name deleted, and one for what is left alone, once.
 * @ret: what was deleted, also on failure.
 * Return: 0; -errno of listing or looking (nothing was deleted), or of a file that cannot be
 *         deleted (those before it were, those behind it wait). With a reason.
 */
int retain_run(struct retain *retain, const struct retain_limits *limits, uint64_t keep_from,
	       int64_t now_realtime_ns, struct retain_result *ret);

#endif
