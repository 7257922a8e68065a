/*
 * tally.h - what a ring's counters say, gathered once, for shmlog-stat and shmlog-ctl.
 *
 * Reads shared memory that others write meanwhile and that nobody vouches for: every number is
 * shown, none is trusted, and names and paths are made safe to print.
 */
#ifndef SHMLOG_TOOLS_TALLY_H
#define SHMLOG_TOOLS_TALLY_H

#include "segment.h"

/* Who holds a lane, or an owner id of lane 0, or held it last. */
struct tally_producer {
	uint32_t pid;
	uint32_t tid;
	uint32_t lane;
	uint32_t owner; /* 0 unless lane == 0                                              */
	bool alive;     /* its lock is held                                                */
	bool ended;     /* its thread has ended; the process keeps the lane for the next   */
	uint64_t enqueued;
	uint64_t dropped;
	char name[SOURCE_NAME_SIZE];
};

struct tally_writer {
	bool alive;
	uint32_t pid;      /* these two only while it is alive                           */
	const char *io;    /* "uring", "pwrite", or NULL                                 */
	const char *state; /* "none", "running", "killed", "clean", "stalled"            */
	uint64_t pages, bytes, files, stalls, io_errors;
	uint32_t archiver_pid;                 /* the child that compresses; 0 = none runs */
	uint64_t deleted_files, deleted_bytes; /* by retention                            */
	char directory[WRITER_PATH_SIZE];      /* of its log; "" = never had one                */
};

struct tally {
	struct geometry geometry;
	char name[RING_NAME_MAX + 1];
	unsigned level; /* threshold                                                       */
	bool closed;
	uint64_t enqueued, written, durable, pending; /* DATA records                      */
	uint64_t dropped, dropped_by[LOSS_REASONS];
	uint64_t abandoned;   /* claims whose owner died                                     */
	uint64_t failed;      /* records that the disk lost                                  */
	uint32_t quarantined; /* lanes                                                     */
	struct tally_writer writer;
	uint32_t producer_count;
	struct tally_producer producers[LANES_MAX + OWNER_IDS];
};

/**
 * tally_ring() - open a ring by name and count.
 * Return: 0; -errno as segment_open(), with a reason.
 */
int tally_ring(const struct sys *sys, const char *name, struct tally *ret);

/* "auto", "tsc", ... as the options of shmlog-ctl create name them; "?" for another number. */
const char *tally_clock_name(uint32_t clock);

/* The word for a reason of loss, as JSON and tables show it. */
const char *tally_loss_name(unsigned reason);

#endif
