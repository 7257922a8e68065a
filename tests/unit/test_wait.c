/*
 * test_wait.c - push_wait and sync against a writer that a thread plays.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "attachment.h"
#include "ring_fixture.h"

static struct test_ring ring;
static struct shmlog *producer;
static struct seen seen[SEEN_MAX];

static void begin(void)
{
	test_ring_make(&ring, 3, LANE_MIN);
	producer = test_attach(&ring);
}

static void end(void)
{
	shmlog_detach(&producer);
	test_ring_sweep();
}

TestSuite(wait, .init = begin, .fini = end, .timeout = 30);

static const int64_t ever = -1;
static const int64_t soon = 20 * NS_PER_MS;

static int push_wait(const char *text, int64_t timeout_ns)
{
	return shmlog_push_wait(producer, SHMLOG_INFO, text, strlen(text), timeout_ns);
}

static int sync_for(int what, int64_t timeout_ns)
{
	return shmlog_sync(producer, what, timeout_ns);
}

/* ---- a writer ---- */

/* What the thread does when somebody asks through the doorbell, or waits. */
typedef void writer_act(void);

static struct {
	pthread_t thread;
	writer_act *act;
	struct shared_u32 stop;
	uint32_t acts;
} writer;

static uint32_t rings(void)
{
	return load_seq_cst_u32(&view_doorbell(&ring.view)->rings);
}

/* Once for each ring of the bell. */
static void *run_writer(void *unused)
{
	uint32_t seen_rings = *(uint32_t *)unused;

	free(unused);
	while (!load_seq_cst_u32(&writer.stop)) {
		if (rings() == seen_rings) {
			(void)sched_yield();
			continue;
		}
		seen_rings = rings();
		writer.act();
		writer.acts++;
	}
	return NULL;
}

/* A writer that acts on what is rung from here on. */
static void start_writer(writer_act *act)
{
	uint32_t *from = malloc(sizeof(*from));

	cr_assert(from != NULL);
	*from = rings();
	writer.act = act;
	cr_assert(pthread_create(&writer.thread, NULL, run_writer, from) == 0);
}

static void stop_writer(void)
{
	store_seq_cst_u32(&writer.stop, 1);
	cr_assert(pthread_join(writer.thread, NULL) == 0);
}

static void answer(void)
{
	const struct doorbell *doorbell = view_doorbell(&ring.view);
	struct writer_status *status = test_writer(&ring);

	store_seq_cst_u32(&status->drain_done, load_seq_cst_u32(&doorbell->drain_requests));
	store_seq_cst_u32(&status->sync_done, load_seq_cst_u32(&doorbell->sync_requests));
	(void)sys_real.futex_wake(&status->drain_done.raw);
	(void)sys_real.futex_wake(&status->sync_done.raw);
}

static void drain_and_answer(void)
{
	test_release_all(&ring);
	answer();
}

static void move(uint32_t lane)
{
	struct lane_status *status = test_lane_status(&ring, lane);

	(void)add_seq_cst_u32(&status->moved, 1);
	(void)sys_real.futex_wake(&status->moved.raw);
}

/* ---- push_wait ---- */

Test(wait, with_room_nobody_waits)
{
	cr_assert(push_wait("one", ever) == 0 && push_wait("two", 0) == 0);
	cr_assert(test_read_all(&ring, 1, seen, SEEN_MAX) == 3);
	expect_text(&seen[2], "two");
}

Test(wait, no_time_means_no_wait)
{
	(void)test_fill(producer, 10);
	cr_assert(push_wait("x", 0) == -EAGAIN);
	cr_assert(test_stats(producer).dropped_full == 2);
}

Test(wait, time_runs_out_and_is_counted_once)
{
	const int64_t before = sys_real.now(CLOCK_MONOTONIC);

	(void)test_fill(producer, 10);
	cr_assert(push_wait("x", soon) == -ETIMEDOUT);
	cr_assert(sys_real.now(CLOCK_MONOTONIC) - before >= soon);
	cr_assert(test_stats(producer).dropped_full == 2, "one of them by test_fill()");
	cr_assert(test_lane_page(&ring, 1)->waiters.raw == 0);
	test_release_all(&ring);
	test_push(producer, "after");
	cr_assert(test_read_all(&ring, 1, seen, SEEN_MAX) == 2);
	expect_gap(&seen[0], LOSS_FULL, 2);
}

Test(wait, what_waiting_cannot_cure_is_told_at_once)
{
	static const uint8_t large[RING_RECORD_MAX + 1];

	cr_assert(shmlog_push_wait(producer, SHMLOG_INFO, large, sizeof(large), ever) == -EMSGSIZE);
	cr_assert(test_stats(producer).dropped_size == 1);
}

Test(wait, room_that_is_made_ends_the_wait)
{
	(void)test_fill(producer, 10);
	start_writer(drain_and_answer);
	cr_assert(push_wait("waited", ever) == 0);
	stop_writer();
	cr_assert(test_lane_page(&ring, 1)->waiters.raw == 0);
	cr_assert(test_stats(producer).dropped == 1, "only test_fill()'s last");
}

static struct shared_u32 waiters_seen;

/* A writer looks whether anybody waits only after it has made room. */
static void release_when_waited_for(void)
{
	if (load_seq_cst_u32(&test_lane_page(&ring, 1)->waiters) != 1)
		return;
	store_relaxed_u32(&waiters_seen, 1);
	test_release_all(&ring);
}

Test(wait, who_waits_is_counted_in_the_lane_before_the_bell_rings)
{
	(void)test_fill(producer, 10);
	start_writer(release_when_waited_for);
	cr_assert(push_wait("waited", ever) == 0);
	stop_writer();
	cr_assert(load_relaxed_u32(&waiters_seen) == 1);
}

/* The wake may be lost with a writer that is killed between `released` and it. */
static void release_without_wake(void)
{
	store_release(&test_lane_status(&ring, 1)->released, test_frontier(&ring, 1));
}

Test(wait, a_lost_wake_costs_a_slice_and_no_more)
{
	(void)test_fill(producer, 10);
	start_writer(release_without_wake);
	cr_assert(push_wait("waited", ever) == 0);
	stop_writer();
}

static void remove_ring(void)
{
	test_remove(&ring);
}

Test(wait, the_removal_of_the_ring_ends_the_wait)
{
	(void)test_fill(producer, 10);
	start_writer(remove_ring);
	cr_assert(push_wait("x", ever) == -ESHUTDOWN);
	stop_writer();
}

/* Sets the lane aside while its thread is between "I wait" and its next look at the lane. Until
 * then the writer sleeps again as soon as it is woken. */
static int quarantine_when_waited_for(const uint32_t *word)
{
	(void)add_seq_cst_u32(&test_writer(&ring)->sleeping, 2);
	if (load_seq_cst_u32(&test_lane_page(&ring, 1)->waiters) == 1)
		store_relaxed_u32(&test_lane_status(&ring, 1)->quarantine, 1);
	return sys_real.futex_wake(word);
}

Test(wait, a_lane_that_is_set_aside_ends_the_wait_in_another_lane)
{
	static struct sys sys; /* the handle keeps it */
	struct ring_map *map;
	uintptr_t token;

	sys = sys_real;
	sys.futex_wake = quarantine_when_waited_for;
	shmlog_detach(&producer);
	cr_assert(attachment_map(&sys, ring.name, "tester", SHMLOG_INFO, &map) == 0);
	cr_assert(attachment_show(map, &token) == 0);
	producer = (struct shmlog *)token;
	(void)test_fill(producer, 10);
	store_seq_cst_u32(&test_writer(&ring)->sleeping, 1);
	cr_assert(push_wait("elsewhere", ever) == 0);
	cr_assert(test_read_all(&ring, 2, seen, SEEN_MAX) == 2);
	expect_text(&seen[1], "elsewhere");
	cr_assert(load_relaxed_u32(&test_lane_page(&ring, 2)->waiters) == 0,
		  "%u waiters in a lane that has none",
		  load_relaxed_u32(&test_lane_page(&ring, 2)->waiters));
}

static void *push_many(void *count)
{
	for (uintptr_t i = 0; i < (uintptr_t)count; i++)
		if (shmlog_push_wait(producer, SHMLOG_INFO, &i, sizeof(i), ever) != 0)
			return (void *)1;
	return NULL;
}

/* Three threads in two own lanes and lane 0, one writer that makes room only when it is asked. */
Test(wait, nothing_is_dropped_by_threads_that_wait)
{
	enum { THREADS = 3, EACH = 20000 };
	pthread_t threads[THREADS];

	start_writer(drain_and_answer);
	for (size_t i = 0; i < THREADS; i++)
		cr_assert(pthread_create(&threads[i], NULL, push_many, (void *)EACH) == 0);
	for (size_t i = 0; i < THREADS; i++) {
		void *r;

		cr_assert(pthread_join(threads[i], &r) == 0 && r == NULL);
	}
	stop_writer();
	cr_assert(test_stats(producer).dropped == 0);
	cr_assert(writer.acts > 10);
}

/* ---- sync ---- */

Test(wait, who_has_pushed_nothing_waits_for_nothing)
{
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN, ever) == 0);
	cr_assert(sync_for(SHMLOG_SYNC_DURABLE | SHMLOG_SYNC_ALL_THREADS, ever) == 0);
}

Test(wait, unknown_syncs_are_refused)
{
	cr_assert(sync_for(2, ever) == -EINVAL && sync_for(-1, ever) == -EINVAL);
}

Test(wait, sync_without_a_writer_times_out)
{
	test_push(producer, "x");
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN, soon) == -ETIMEDOUT);
	cr_assert(sync_for(SHMLOG_SYNC_DURABLE, 0) == -ETIMEDOUT);
}

Test(wait, sync_ends_when_all_is_written)
{
	test_push(producer, "x");
	start_writer(drain_and_answer);
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN, ever) == 0);
	stop_writer();
	cr_assert(load_relaxed(&test_lane_status(&ring, 1)->written) == test_frontier(&ring, 1));
}

static void write_only(void)
{
	store_seq_cst(&test_lane_status(&ring, 1)->written, test_frontier(&ring, 1));
	move(1);
	answer();
}

Test(wait, written_is_not_durable)
{
	test_push(producer, "x");
	start_writer(write_only);
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN, ever) == 0);
	cr_assert(sync_for(SHMLOG_SYNC_DURABLE, soon) == -ETIMEDOUT);
	stop_writer();
}

Test(wait, durability_is_asked_for)
{
	const struct doorbell *doorbell = view_doorbell(&ring.view);

	test_push(producer, "x");
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN, soon) == -ETIMEDOUT);
	cr_assert(load_relaxed_u32(&doorbell->drain_requests) > 0);
	cr_assert(load_relaxed_u32(&doorbell->sync_requests) == 0);
	cr_assert(sync_for(SHMLOG_SYNC_DURABLE, soon) == -ETIMEDOUT);
	cr_assert(load_relaxed_u32(&doorbell->sync_requests) > 0);
}

static void fail_only(void)
{
	(void)add_relaxed(&test_lane_status(&ring, 1)->failed, 1);
	answer();
	move(1);
}

Test(wait, records_that_the_disk_lost_are_an_error)
{
	test_push(producer, "x");
	start_writer(fail_only);
	cr_assert(sync_for(SHMLOG_SYNC_DURABLE, ever) == -EIO);
	stop_writer();
}

/* What could not be kept is released all the same: the positions move over it. */
static void fail_and_move_on(void)
{
	(void)add_relaxed(&test_lane_status(&ring, 1)->failed, 1);
	drain_and_answer();
}

Test(wait, records_that_the_disk_lost_are_an_error_also_when_the_writer_has_moved_on)
{
	test_push(producer, "x");
	start_writer(fail_and_move_on);
	cr_assert(sync_for(SHMLOG_SYNC_DURABLE, ever) == -EIO);
	stop_writer();
	cr_assert(sync_for(SHMLOG_SYNC_DURABLE, ever) == 0, "an old loss is not a new one");
}

Test(wait, a_lane_that_was_given_back_is_waited_for)
{
	test_push(producer, "x");
	cr_assert(shmlog_unbind(producer) == 0);
	cr_assert(sync_for(SHMLOG_SYNC_DURABLE, soon) == -ETIMEDOUT);
	start_writer(drain_and_answer);
	cr_assert(sync_for(SHMLOG_SYNC_DURABLE, ever) == 0);
	stop_writer();
}

Test(wait, a_loss_before_the_call_is_said_once)
{
	struct lane_status *status = test_lane_status(&ring, 1);

	test_push(producer, "x");
	(void)add_relaxed(&status->failed, 1);
	store_seq_cst(&status->durable, test_frontier(&ring, 1));
	cr_assert(sync_for(SHMLOG_SYNC_DURABLE, ever) == -EIO);
	cr_assert(sync_for(SHMLOG_SYNC_DURABLE, ever) == 0);
}

Test(wait, the_removal_of_the_ring_ends_a_sync)
{
	test_push(producer, "x");
	start_writer(remove_ring);
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN, ever) == -ESHUTDOWN);
	stop_writer();
}

static void *push_one(void *text)
{
	test_push(producer, text);
	return NULL;
}

static void run_thread(const char *text)
{
	pthread_t thread;

	cr_assert(pthread_create(&thread, NULL, push_one, (void *)(uintptr_t)text) == 0);
	cr_assert(pthread_join(thread, NULL) == 0);
}

Test(wait, ones_own_records_or_those_of_all_threads_even_of_ended_ones)
{
	run_thread("of a thread that has ended");
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN, soon) == 0, "not ours");
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN | SHMLOG_SYNC_ALL_THREADS, soon) == -ETIMEDOUT);
	test_release_all(&ring);
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN | SHMLOG_SYNC_ALL_THREADS, soon) == 0);
}

Test(wait, ended_threads_of_the_shared_lane_are_waited_for_too)
{
	shmlog_detach(&producer);
	test_ring_make(&ring, 1, LANE_MIN);
	producer = test_attach(&ring);
	run_thread("of a thread that has ended");
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN | SHMLOG_SYNC_ALL_THREADS, soon) == -ETIMEDOUT);
	test_release_all(&ring);
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN | SHMLOG_SYNC_ALL_THREADS, soon) == 0);
}

/* A slot whose last thread had a lane of its own, far along, must not make one of lane 0 wait. */
Test(wait, a_thread_in_the_shared_lane_waits_for_its_own_records_only)
{
	uint32_t lane;
	int fd;

	(void)test_fill(producer, 10);
	cr_assert(shmlog_bind(producer) == 0);
	store_relaxed_u32(&test_lane_status(&ring, 1)->quarantine, 1); /* not to be pooled */
	cr_assert(shmlog_unbind(producer) == 0);
	cr_assert(segment_reopen(&ring.segment, O_RDWR, &fd) == 0);
	for (lane = 1; lane < 3; lane++)
		cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(lane)) &&
			  sys_real.lock(fd, LOCK_BYTE_LANE(lane), 1) == 0);
	cr_assert(shmlog_bind(producer) == 0);
	test_release(&ring, 0, test_frontier(&ring, 0));
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN, soon) == 0);
	test_push(producer, "in lane 0");
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN, soon) == -ETIMEDOUT);
	test_release(&ring, 0, test_frontier(&ring, 0));
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN, soon) == 0);
	cr_assert(sys_real.close(fd) == 0);
}

Test(wait, a_sync_waits_behind_the_threads_open_claim)
{
	struct shmlog_claim claim;

	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 10, &claim) == 0);
	test_push(producer, "behind");
	test_release_all(&ring);
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN, soon) == -ETIMEDOUT);
	cr_assert(shmlog_abort(producer, &claim) == 0);
	test_release_all(&ring);
	cr_assert(sync_for(SHMLOG_SYNC_WRITTEN, soon) == 0);
}

/* ---- trigger ---- */

Test(wait, a_trigger_asks_and_goes_on)
{
	const uint32_t before = rings();

	cr_assert(shmlog_trigger(producer) == 0);
	cr_assert(load_relaxed_u32(&view_doorbell(&ring.view)->drain_requests) == 1);
	cr_assert(rings() == before + 1);
}
