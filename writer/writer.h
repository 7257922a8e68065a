/*
 * writer.h - the loop: when to look, when to write, when to sync, when to end.
 *
 * Owns every decision that depends on time, on requests or on signals. What a page goes through is
 * pages.h; what a record goes through, drain.h. One thread; it never spins behind producers: it
 * lets records gather and takes them in bulk.
 */
#ifndef SHMLOG_WRITER_WRITER_H
#define SHMLOG_WRITER_WRITER_H

#include <pthread.h>

#include "pages.h"
#include "recover.h"
#include "say.h"
#include "tidy.h"

enum { RINGS_MAX = 4 };

/* One request counter of the doorbell, and how far it is served. */
struct request {
	uint32_t asked; /* the number that is being served             */
	bool is_active;
	uint64_t barrier; /* pages closed when it was taken up           */
	bool is_synced;   /* sync: one that covers the barrier is done   */
	bool is_rolled;   /* rotate: the file is to end, or there is none */
};

enum sync_phase {
	NO_SYNC,
	SYNC_IN_FLIGHT,
	SYNC_AWAITS_SEALS, /* it has succeeded, but an older file is not sealed yet           */
};

/* The sync of the current file that is under way, and what is durable by it. */
struct writer_sync {
	enum sync_phase phase;
	bool is_wanted;   /* somebody waits for the next one                             */
	int64_t next;     /* CLOCK_MONOTONIC                                             */
	uint64_t barrier; /* pages completed when it was submitted                      */
	unsigned seals;   /* seals submitted by then: they must be done, too            */
	struct drain_snapshot snapshots[RINGS_MAX]; /* of the writer's `rings`         */
};

struct writer {
	const struct sys *sys;
	struct config *config;
	struct io *io;
	struct roll roll;
	struct roll_volume volume;
	struct janitor *janitor;
	struct pages pages;
	struct tidy tidy;
	struct drain *ring; /* the ring by its name: the last of `rings`                     */
	struct drain *rings[RINGS_MAX]; /* before it: removed ones that are not drained yet  */
	unsigned ring_count;
	struct shared_u64 wake_address; /* the ring whose doorbell the second thread rings   */
	pthread_mutex_t wake_mutex;     /* held while it does                                */
	int dir;      /* the log directory                                            */
	int dir_lock; /* descriptor that holds its lock                               */
	int signals;  /* signalfd                                                     */
	struct request drain_request, sync_request, rotate_request;
	uint32_t rings_seen; /* doorbell at the last look                                   */
	uint32_t sleeps;     /* even; + 1 is the number of the next sleep on it             */
	bool is_rung;
	int64_t next_flush;  /* CLOCK_MONOTONIC                                             */
	int64_t answered;    /* CLOCK_MONOTONIC: the disk's last answer, or nothing was asked     */
	int64_t next_check;  /* of the ring's name, quarantined lanes                       */
	bool is_room_wanted; /* --release durable: somebody has rung since pages were idle   */
	struct writer_sync sync;
	int stop_signals; /* TERM and INT so far                                     */
	int64_t stop_deadline;
	struct told told_of_disk;
	struct told told_of_ring;
};

/* From now on the ring names this log and this writer: before the first page can be in flight. */
void writer_enter_ring(struct writer *writer, struct drain *ring, uint64_t log_id);

/**
 * writer_open_signals() - block what the loop reads, before anybody can see the writer.
 * Return: 0; -errno with a reason.
 */
int writer_open_signals(struct writer *writer);

/**
 * writer_run() - drain until told to stop.
 * @writer: set up by session.c: config, io, roll, ring, recovered.
 * Return: 0; -errno with a reason: what could not be written is in the ring.
 */
int writer_run(struct writer *writer, const struct recovery *recovery);

#endif
