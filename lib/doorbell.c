/*
 * doorbell.c - wake the writer; wait for its answer.
 *
 * Why no wake is lost: we add to `rings`, then load `sleeping`; the writer stores `sleeping`, then
 * loads `rings` once more, and waits only on the value that it had loaded before its last pass. All
 * four are sequentially consistent, so at least one of the two sees the other's store: either we
 * see `sleeping` and wake it, or it sees our ring and does not sleep on it.
 *
 * Each sleep has its number. Once a process has made its wake, that sleep is over, whenever the
 * writer comes to run and to say so: until then the process only adds to `rings`. The writer looks
 * at those before it sleeps again, under another number.
 */
#include "doorbell.h"

#include <errno.h>

#include "base.h"

/* The writer may die without an answer, and its lock falls without a wake: look again this often.
 */
enum { ANSWER_SLICE_NS = 50 * NS_PER_MS };

void doorbell_ring(const struct sys *sys, struct doorbell *doorbell,
		   const struct writer_status *writer, struct shared_u32 *ended)
{
	uint32_t sleep;

	(void)add_seq_cst_u32(&doorbell->rings, 1);  /* MO doorbell_ring:A -> writer_sleep:B */
	sleep = load_seq_cst_u32(&writer->sleeping); /* MO doorbell_ring:B <- writer_sleep:A */
	if (sleep % 2 == 0 || (ended && load_relaxed_u32(ended) == sleep))
		return;
	(void)sys->futex_wake(&doorbell->rings.raw);
	if (ended)
		store_relaxed_u32(ended, sleep);
}

struct doorbell_request doorbell_ask(const struct sys *sys, struct doorbell *doorbell,
				     const struct writer_status *writer,
				     struct shared_u32 *requests, const struct shared_u32 *done)
{
	const uint32_t number = add_seq_cst_u32(requests, 1) + 1; /* MO request:A -> request:B */

	doorbell_ring(sys, doorbell, writer, NULL);
	return (struct doorbell_request){ .done = done, .number = number };
}

/* Numbers wrap around; a request is served when `done` is not behind it. */
static bool covers(uint32_t done, uint32_t number)
{
	return (int32_t)(done - number) >= 0;
}

static bool is_served(const struct doorbell_request *request)
{
	/* MO done:B <- done:A */
	return covers(load_acquire_u32(request->done), request->number);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int doorbell_wait(const struct sys *sys, int fd, const struct doorbell_request *request,
		  int64_t timeout_ns)
{
	const int64_t deadline =
		timeout_ns < 0 ? INT64_MAX : sys->now(CLOCK_MONOTONIC) + timeout_ns;

	for (;;) {
		const uint32_t done = load_acquire_u32(request->done); /* MO done:B <- done:A */
		const int64_t now = sys->now(CLOCK_MONOTONIC);
		int held;

		if (covers(done, request->number))
			return 0;
		if (now >= deadline)
			return -ETIMEDOUT;
		held = sys->lock_query(fd, LOCK_BYTE_WRITER, 1);
		if (held < 0)
			return held;
		if (held == 0) /* it may have answered just before it left */
			return is_served(request) ? 0 : -ESRCH;
		(void)sys->futex_wait(&request->done->raw, done,
				      earlier(now + ANSWER_SLICE_NS, deadline));
	}
}
