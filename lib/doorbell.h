/*
 * doorbell.h - the one way to wake the writer, and to wait for what it was asked.
 *
 * Whoever wants the writer adds 1 to `rings` and wakes it if it sleeps. A request (drain, sync,
 * rotate) is a counter beside it, raised before the ring; the writer answers by storing the number
 * that it has served into the counter's partner in its status.
 */
#ifndef SHMLOG_LIB_DOORBELL_H
#define SHMLOG_LIB_DOORBELL_H

#include "ring_layout.h"
#include "sys.h"

/**
 * doorbell_ring() - make the writer look at the ring now, if it sleeps or is about to.
 * @ended: the last sleep that this process has ended, 0 at first; one futex wake a sleep is enough.
 *         NULL: nobody keeps that, a wake each time.
 * Context: any thread or signal handler; at most one futex wake; without a writer it does nothing.
 */
void doorbell_ring(const struct sys *sys, struct doorbell *doorbell,
		   const struct writer_status *writer, struct shared_u32 *ended);

/* A request, and where its answer comes. */
struct doorbell_request {
	const struct shared_u32 *done; /* in the writer's status                            */
	uint32_t number;               /* what `done` reaches when the request was served   */
};

/* Raise one of the doorbell's request counters and ring. The answer comes in @done. */
struct doorbell_request doorbell_ask(const struct sys *sys, struct doorbell *doorbell,
				     const struct writer_status *writer,
				     struct shared_u32 *requests, const struct shared_u32 *done);

/**
 * doorbell_wait() - wait until the request was served.
 * @fd:         the open segment, asked whether anybody is the writer.
 * @timeout_ns: < 0 waits as long as there is a writer.
 * Return: 0; -ETIMEDOUT; -ESRCH nobody is the writer (any more); other -errno.
 */
int doorbell_wait(const struct sys *sys, int fd, const struct doorbell_request *request,
		  int64_t timeout_ns);

#endif
