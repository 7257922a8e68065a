/* test_doorbell.c - rings wake a sleeping writer; requests are answered, or nobody is there. */
#include <criterion/criterion.h>
#include <errno.h>

#include "doorbell.h"

static struct doorbell doorbell;
static struct writer_status writer;

static int wakes;
static int held;
static int held_calls_until_answer; /* the answer comes with this query */
static int64_t clock_ns;

static int fake_wake(const uint32_t *word)
{
	cr_assert_eq(word, &doorbell.rings.raw);
	wakes++;
	return 1;
}

static int fake_query(int fd, int64_t start, int64_t size)
{
	cr_assert(fd == 7 && start == LOCK_BYTE_WRITER && size == 1);
	if (--held_calls_until_answer == 0)
		store_release_u32(&writer.sync_done, load_relaxed_u32(&doorbell.sync_requests));
	return held;
}

static int fake_wait(const uint32_t *word, uint32_t value, int64_t deadline_ns)
{
	cr_assert_eq(word, &writer.sync_done.raw);
	if (value != writer.sync_done.raw)
		return -EAGAIN;
	cr_assert_gt(deadline_ns, clock_ns);
	cr_assert_leq(deadline_ns - clock_ns, 100000000, "slices of at most 100 ms");
	clock_ns = deadline_ns;
	return -ETIMEDOUT;
}

static int64_t fake_now(clockid_t clock)
{
	cr_assert_eq(clock, CLOCK_MONOTONIC);
	return clock_ns;
}

static const struct sys fake = {
	.futex_wake = fake_wake,
	.futex_wait = fake_wait,
	.lock_query = fake_query,
	.now = fake_now,
};

static struct doorbell_request ask_sync(void)
{
	return doorbell_ask(&fake, &doorbell, &writer, &doorbell.sync_requests, &writer.sync_done);
}

Test(doorbell, a_writer_that_is_awake_is_not_woken)
{
	store_seq_cst_u32(&writer.sleeping, 6);
	doorbell_ring(&fake, &doorbell, &writer, NULL);
	cr_assert_eq(load_relaxed_u32(&doorbell.rings), 1);
	cr_assert_eq(wakes, 0);
}

Test(doorbell, a_sleeping_writer_is_woken)
{
	store_seq_cst_u32(&writer.sleeping, 1);
	doorbell_ring(&fake, &doorbell, &writer, NULL);
	cr_assert_eq(load_relaxed_u32(&doorbell.rings), 1);
	cr_assert_eq(wakes, 1);
}

/* It may take its time until it runs and says that it is awake. */
Test(doorbell, a_process_ends_each_sleep_once)
{
	struct shared_u32 ended = { 0 };

	store_seq_cst_u32(&writer.sleeping, 1);
	doorbell_ring(&fake, &doorbell, &writer, &ended);
	doorbell_ring(&fake, &doorbell, &writer, &ended);
	cr_assert_eq(wakes, 1);
	store_seq_cst_u32(&writer.sleeping, 2);
	doorbell_ring(&fake, &doorbell, &writer, &ended);
	cr_assert_eq(wakes, 1);
	store_seq_cst_u32(&writer.sleeping, 3);
	doorbell_ring(&fake, &doorbell, &writer, &ended);
	cr_assert_eq(wakes, 2);
	cr_assert_eq(load_relaxed_u32(&doorbell.rings), 4, "the writer hears of each");
}

Test(doorbell, a_request_is_raised_before_the_bell_rings)
{
	const struct doorbell_request request = ask_sync();

	cr_assert_eq(request.number, 1);
	cr_assert_eq(load_relaxed_u32(&doorbell.sync_requests), 1);
	cr_assert_eq(load_relaxed_u32(&doorbell.rings), 1);
}

Test(doorbell, waiting_ends_with_the_answer)
{
	const struct doorbell_request request = ask_sync();

	held = 1;
	held_calls_until_answer = 3;
	cr_assert_eq(doorbell_wait(&fake, 7, &request, -1), 0);
}

Test(doorbell, without_a_writer_waiting_ends_at_once)
{
	const struct doorbell_request request = ask_sync();

	cr_assert_eq(doorbell_wait(&fake, 7, &request, -1), -ESRCH);
	cr_assert_eq(clock_ns, 0);
}

Test(doorbell, an_answer_just_before_the_writer_left_counts)
{
	const struct doorbell_request request = ask_sync();

	held_calls_until_answer = 1;
	cr_assert_eq(doorbell_wait(&fake, 7, &request, -1), 0);
}

Test(doorbell, a_writer_that_does_not_answer_times_out)
{
	const struct doorbell_request request = ask_sync();

	held = 1;
	cr_assert_eq(doorbell_wait(&fake, 7, &request, 130000000), -ETIMEDOUT);
	cr_assert_eq(clock_ns, 130000000);
}

Test(doorbell, numbers_wrap_around)
{
	struct doorbell_request request;

	store_relaxed_u32(&doorbell.sync_requests, UINT32_MAX);
	store_relaxed_u32(&writer.sync_done, UINT32_MAX);
	request = ask_sync();
	cr_assert_eq(request.number, 0);
	cr_assert_eq(doorbell_wait(&fake, 7, &request, -1), -ESRCH, "not answered yet");
	store_release_u32(&writer.sync_done, 2);
	cr_assert_eq(doorbell_wait(&fake, 7, &request, -1), 0, "a later number answers it too");
}
