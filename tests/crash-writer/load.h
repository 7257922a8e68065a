/*
 * load.h - what the writer is given to do: a process whose threads publish what a journal knows.
 *
 * Each thread is one producer of the journal. The first batch is in the ring before a writer is
 * started; the others come while it runs, so the rest of a run differs a little each time. When all
 * is published the process ends the writer that it was last told of with SIGTERM.
 */
#ifndef SHMLOG_TESTS_CRASH_WRITER_LOAD_H
#define SHMLOG_TESTS_CRASH_WRITER_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "journal.h"

struct load_plan {
	const char *ring;
	unsigned lanes; /* with `lanes` threads the last to bind shares lane 0        */
	uint64_t lane_size;
	unsigned threads;
	unsigned batches;
	unsigned batch;        /* records; a batch of each thread must fit into its lane      */
	bool is_stepwise;      /* each batch is written before the next                         */
	bool is_in_step;       /* ... of anybody begins                                         */
	bool rotates;          /* ... and the file ends behind it (SIGUSR1: flush, roll, sync)  */
	unsigned removes_ring; /* before this batch its name is removed, and they wait until it is
				  closed; 0: never                                          */
	bool ring_is_made;     /* the writer makes the ring: nothing is there before it       */
};

#define LOAD_GOES_ON UINT32_MAX

struct load_words; /* shared with the process */

struct load {
	pid_t pid;
	struct load_words *words;
};

/* Start it; the first batch is published when this returns, unless plan->ring_is_made. */
void load_start(struct load *load, const struct load_plan *plan, struct journal *journal);

/* This writer can be sent signals from now on; 0: it is gone. */
void load_tell_writer(struct load *load, pid_t writer);

/* It waits before this batch (of each thread), counted from 0; plan->batches: before it ends its
 * writer; LOAD_GOES_ON: nowhere, as at the start. */
void load_wait_before(struct load *load, uint32_t batch);

/* Is everything published? */
bool load_has_finished(const struct load *load);

/* Let it end, and wait for that; violated() if it had failed. */
void load_end(struct load *load);

#endif
