/*
 * janitor.h - the second thread: everything about files that may block, one job after the other.
 *
 * Owns the thread, the job queue and the result queue. Never decides anything: each job is one
 * call, mostly of roll.h, and its error is handed back. The drain's thread submits and collects;
 * both are cheap and never wait (janitor_wait excepted).
 *
 * Invariants:
 * 1. Jobs run in the order of their submission; results come in the same order, each exactly once.
 * 2. job->file belongs to the janitor from janitor_submit() until its result was collected.
 * 3. At most JANITOR_JOBS are under way, results that wait to be collected included: a result
 *    always has room.
 * 4. All signals but SIGBUS are blocked in the thread.
 */
#ifndef SHMLOG_WRITER_JANITOR_H
#define SHMLOG_WRITER_JANITOR_H

#include "roll.h"

enum { JANITOR_JOBS = 16 };

enum janitor_kind {
	JANITOR_MAKE,   /* roll_make(file, place, size, leave)                               */
	JANITOR_SEAL,   /* roll_end(file, stamp)                                             */
	JANITOR_DROP,   /* roll_drop(file)                                                   */
	JANITOR_REMOVE, /* roll_remove(file)                                                 */
	JANITOR_CALL,   /* call(argument): whatever else may block                           */
};

struct janitor_job {
	enum janitor_kind kind;
	struct wfile *file;          /* a taken slot; NULL for CALL                              */
	struct roll_place place;     /* MAKE                                                     */
	uint64_t size;               /* MAKE: may grow to; SEAL: left alone, for roll_settle()    */
	struct roll_room leave;      /* MAKE                                                     */
	struct page_stamp stamp;     /* SEAL                                                     */
	int (*call)(void *argument); /* CALL                                                */
	void (*done)(void *argument); /* CALL: for who collects the result                   */
	void *argument;
	uint64_t tag;     /* the submitter's own, handed back                         */
	int error;        /* in results: what the call returned                       */
	char reason[256]; /* in results with an error: why, for people                */
};

struct janitor;

/**
 * janitor_start() - start the thread.
 * @roll: borrowed; all but roll_take, roll_give and the pure functions are the janitor's from now
 * on.
 * @wake: called in the janitor's thread after each result, to end the drain's sleep; may be NULL.
 * Return: 0; -ENOMEM; -EAGAIN no more threads.
 */
int janitor_start(struct roll *roll, void (*wake)(void *argument), void *argument,
		  struct janitor **ret);

/* Queue a copy of @job. 0; -EAGAIN JANITOR_JOBS are under way: collect results first. */
int janitor_submit(struct janitor *janitor, const struct janitor_job *job);

/* The next result, without waiting: 1 and *ret; 0 none yet. */
int janitor_poll(struct janitor *janitor, struct janitor_job *ret);

/* The next result, waiting at most @timeout_ns (< 0: as long as it takes): 1 and *ret; 0 none came
 * in time, or nothing is under way. */
int janitor_wait(struct janitor *janitor, struct janitor_job *ret, int64_t timeout_ns);

/* Jobs submitted whose results were not collected yet. */
unsigned janitor_pending(struct janitor *janitor);

/* Runs what is queued to its end, joins the thread, frees. Results not collected are lost: wait for
 * them first (janitor_wait until janitor_pending is 0). NULL is fine. */
void janitor_stop(struct janitor **janitor);

#endif
