/*
 * archiver.h - the child process that compresses the files of full volumes.
 *
 * Owns the child, of which there is at most one. Never decides what is due. The child holds the
 * log's directory and its lock: a writer that starts after ours was killed waits until the child is
 * gone as well. It dies with the thread that started it.
 */
#ifndef SHMLOG_WRITER_ARCHIVER_H
#define SHMLOG_WRITER_ARCHIVER_H

#include "archive.h"

struct archiver {
	struct archive_log log;
	int lock;  /* of the directory; borrowed                                                 */
	bool show; /* have the child show how far it is                                          */
	int pid;   /* 0: none runs                                                               */
	bool is_killed; /* by us: its end is no failure                                      */
	struct archive_range range; /* of the child, or of the last one                          */
};

/* Have the files in @range compressed. None runs (asserted). 0 or -errno with a reason. */
int archiver_start(struct archiver *archiver, struct archive_range range);

enum archiver_state {
	ARCHIVER_IDLE, /* none runs                                                         */
	ARCHIVER_RUNS,
	ARCHIVER_DONE,   /* it has ended just now: all that can be compressed is              */
	ARCHIVER_FAILED, /* it has ended just now: some files failed, or it was killed        */
};

/* Without waiting. DONE and FAILED are told once. */
enum archiver_state archiver_poll(struct archiver *archiver);

/* Kill the child, if one runs. It is gone when archiver_poll() says IDLE: at the lowest priority
 * dying, too, may take its time. */
void archiver_kill(struct archiver *archiver);

/* ... and wait until it is gone: nothing but us changes the log from here on. What it
 * left half done the next one does again. */
void archiver_stop(struct archiver *archiver);

#endif
