/*
 * test_handle.c - attach, detach, stale handles, options, words for errors.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

TestSuite(handle, .init = begin, .fini = end, .timeout = 30);

/* ---- attach ---- */

Test(handle, a_ring_that_is_missing_is_told_and_not_made)
{
	struct shmlog *log = (struct shmlog *)77;
	char name[64];

	test_ring_name(name);
	cr_assert(shmlog_attach(name, NULL, &log) == -ENOENT);
	cr_assert(log == (struct shmlog *)77, "set although nothing was attached");
	cr_assert(strstr(shmlog_reason(), name) != NULL, "%s", shmlog_reason());
}

Test(handle, a_ring_is_made_as_asked_for_if_it_is_missing)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log, *again;
	struct test_ring made;
	struct stat status;
	char name[64];

	test_ring_name(name);
	options.create = 1;
	options.lanes = 2;
	options.lane_size = LANE_MIN;
	options.mode_bits = 0640;
	options.clock = SHMLOG_CLOCK_NONE;
	cr_assert(shmlog_attach(name, &options, &log) == 0, "%s", shmlog_reason());
	options.lanes = 7;
	cr_assert(shmlog_attach(name, &options, &again) == 0, "%s", shmlog_reason());
	test_ring_open(&made, name);
	cr_assert(made.segment.geometry.lanes == 2);
	cr_assert(made.segment.geometry.clock == RING_CLOCK_NONE);
	cr_assert(fstat(made.segment.fd, &status) == 0 && (status.st_mode & 07777) == 0640);
	test_push(log, "x");
	cr_assert(test_read_all(&made, 1, seen, SEEN_MAX) == 2);
	cr_assert(seen[1].header.ticks == 0);
	shmlog_detach(&log);
	shmlog_detach(&again);
	test_ring_close(&made);
}

Test(handle, options_that_make_no_sense_are_refused_with_a_reason)
{
	const struct shmlog_options fine = SHMLOG_OPTIONS_INIT;
	struct shmlog_options bad[8];
	struct shmlog *log = NULL;
	char name[64];

	test_ring_name(name);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		bad[i] = fine;
		bad[i].create = 1;
	}
	bad[0].size = 3;
	bad[1].size = 5000;
	bad[2].level = 8;
	bad[3].level = -1;
	bad[4].lanes = 257;
	bad[5].lane_size = 1000;
	bad[6].mode_bits = 01000;
	bad[7].clock = (enum shmlog_clock)9;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		(void)reason_set(0, "-");
		cr_assert(shmlog_attach(name, &bad[i], &log) == -EINVAL, "%zu", i);
		cr_assert(strlen(shmlog_reason()) > 10, "%zu: %s", i, shmlog_reason());
	}
	cr_assert(shmlog_attach("a/b", NULL, &log) == -EINVAL);
	cr_assert(shmlog_attach(NULL, NULL, &log) == -EINVAL);
	cr_assert(shmlog_attach(ring.name, NULL, NULL) == -EINVAL);
	cr_assert(log == NULL);
}

Test(handle, options_of_an_older_caller_are_taken)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log;

	options.size = offsetof(struct shmlog_options, prebind);
	options.prebind = 99; /* not the caller's memory */
	cr_assert(shmlog_attach(ring.name, &options, &log) == 0, "%s", shmlog_reason());
	cr_assert(test_stats(log).lanes == 0);
	shmlog_detach(&log);
}

static void expect_name(const char *given, const char *shown)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log;
	size_t count;

	options.name = given;
	cr_assert(shmlog_attach(ring.name, &options, &log) == 0);
	test_push(log, "x");
	count = test_read_all(&ring, 1, seen, SEEN_MAX);
	expect_source(&seen[count - 2], shown);
	shmlog_detach(&log);
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
	test_release_all(&ring);
}

Test(handle, sources_bear_the_given_name_or_the_programs_cut_to_63_bytes)
{
	char name[100];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	expect_name("orders", "orders");
	expect_name("", "");
	expect_name(NULL, program_invocation_short_name);
	name[63] = '\0';
	expect_name(name, name);
	name[63] = 'n';
	name[64] = '\0';

	char cut[64];

	memcpy(cut, name, 63);
	cut[63] = '\0';
	expect_name(name, cut);
	expect_name("short after long", "short after long");
}

Test(handle, sixteen_handles_are_possible_and_no_more)
{
	struct shmlog *logs[HANDLES_MAX];
	struct shmlog *beyond = NULL;
	const unsigned before = count_ring_mappings();
	unsigned descriptors;

	for (size_t i = 0; i < HANDLES_MAX - 1; i++)
		logs[i] = test_attach(&ring);
	descriptors = count_descriptors();
	cr_assert(shmlog_attach(ring.name, NULL, &beyond) == -EMFILE && beyond == NULL);
	cr_assert(strlen(shmlog_reason()) > 10);
	cr_assert(count_descriptors() == descriptors);
	shmlog_detach(&logs[7]);
	cr_assert(shmlog_attach(ring.name, NULL, &logs[7]) == 0);
	for (size_t i = 0; i < HANDLES_MAX - 1; i++)
		shmlog_detach(&logs[i]);
	cr_assert(count_ring_mappings() == before);
}

Test(handle, handles_can_be_made_and_ended_for_ever)
{
	const unsigned mappings = count_ring_mappings();
	const unsigned descriptors = count_descriptors();

	for (int i = 0; i < 300; i++) {
		struct shmlog *log = test_attach(&ring);

		test_push(log, "x");
		shmlog_detach(&log);
		test_release_all(&ring);
	}
	cr_assert(count_ring_mappings() == mappings && count_descriptors() == descriptors);
}

Test(handle, attaching_costs_no_descriptor)
{
	const unsigned before = count_descriptors();
	struct shmlog *log = test_attach(&ring);

	test_push(log, "x");
	cr_assert(count_descriptors() == before);
	shmlog_detach(&log);
}

/* ---- handles that are none ---- */

static void expect_no_handle(struct shmlog *log)
{
	struct shmlog_stats stats = { .size = sizeof(stats) };
	struct shmlog_claim claim = { 0 };

	cr_assert(shmlog_try_push(log, "x", 1) == -EBADF);
	cr_assert(shmlog_try_push_at(log, 0, "x", 1) == -EBADF);
	cr_assert(shmlog_push_wait(log, 0, "x", 1, 0) == -EBADF);
	cr_assert(shmlog_push_wait(log, 0, "x", 1, -1) == -EBADF);
	cr_assert(shmlog_claim(log, 0, 1, &claim) == -EBADF);
	cr_assert(shmlog_commit(log, &claim, 1) == -EBADF);
	cr_assert(shmlog_abort(log, &claim) == -EBADF);
	cr_assert(shmlog_bind(log) == -EBADF && shmlog_unbind(log) == -EBADF);
	cr_assert(shmlog_sync(log, SHMLOG_SYNC_WRITTEN, -1) == -EBADF);
	cr_assert(shmlog_trigger(log) == -EBADF);
	cr_assert(shmlog_get_stats(log, &stats) == -EBADF);
	cr_assert(shmlog_record_max(log) == 0);
	shmlog_detach(&log);
}

Test(handle, what_was_never_attached_is_no_handle)
{
	expect_no_handle(NULL);
	expect_no_handle((struct shmlog *)1);
	expect_no_handle((struct shmlog *)UINTPTR_MAX);
	expect_no_handle((struct shmlog *)&ring);
	test_push(producer, "and the real one works");
}

Test(handle, a_detached_handle_is_none_also_when_its_slot_is_used_again)
{
	struct shmlog *const old = producer;
	struct shmlog_claim claim;

	test_push(producer, "x");
	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 10, &claim) == 0);
	shmlog_detach(&producer);
	cr_assert(producer == NULL);
	expect_no_handle(old);
	producer = test_attach(&ring);
	expect_no_handle(old);
	test_push(producer, "x");
	expect_no_handle(old);
	cr_assert(shmlog_commit(producer, &claim, 10) == -EBADF);
}

Test(handle, pushes_through_a_stale_handle_leave_the_threads_binding_alone)
{
	struct shmlog *const old = producer;
	struct shmlog_claim claim;

	shmlog_detach(&producer);
	producer = test_attach(&ring);
	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 10, &claim) == 0);
	cr_assert(shmlog_try_push(old, "x", 1) == -EBADF);
	cr_assert(shmlog_try_push(NULL, "x", 1) == -EBADF);
	cr_assert(shmlog_commit(producer, &claim, 10) == 0);
	cr_assert(test_read_all(&ring, 1, seen, SEEN_MAX) == 2, "bound twice");
}

Test(handle, detaching_nothing_or_twice_does_nothing)
{
	struct shmlog *copy = producer, *other;

	shmlog_detach(NULL);
	shmlog_detach(&producer);
	shmlog_detach(&producer);
	other = test_attach(&ring);
	shmlog_detach(&copy);
	test_push(other, "x");
	shmlog_detach(&other);
}

static pthread_barrier_t barrier;
static int result_of_null;

static void *push_null_after_detach(void *unused)
{
	test_push(producer, "bound");
	(void)pthread_barrier_wait(&barrier);
	(void)pthread_barrier_wait(&barrier);
	result_of_null = shmlog_try_push(producer, "x", 1); /* NULL by now */
	return unused;
}

/* Two threads share one variable, as globals are; one detaches, which sets it to NULL. */
Test(handle, a_handle_that_became_null_is_none_in_a_bound_thread_either)
{
	pthread_t thread;

	cr_assert(pthread_barrier_init(&barrier, NULL, 2) == 0);
	cr_assert(pthread_create(&thread, NULL, push_null_after_detach, NULL) == 0);
	(void)pthread_barrier_wait(&barrier);
	shmlog_detach(&producer);
	(void)pthread_barrier_wait(&barrier);
	cr_assert(pthread_join(thread, NULL) == 0);
	cr_assert(result_of_null == -EBADF, "%s", shmlog_strerror(result_of_null));
	cr_assert(test_count_data(&ring) == 1);
}

Test(handle, detaching_aborts_the_callers_claim)
{
	struct shmlog_claim claim;

	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 10, &claim) == 0);
	cr_assert(test_read_stop(&ring, 1) == TAKE_CLAIMED);
	shmlog_detach(&producer);
	cr_assert(test_read_stop(&ring, 1) == TAKE_EMPTY);
}

/* ---- bind ---- */

Test(handle, binding_takes_the_lane_now_and_unbinding_gives_it_back)
{
	cr_assert(shmlog_bind(producer) == 0 && shmlog_bind(producer) == 0);
	cr_assert(test_lock_is_held(&ring, LOCK_BYTE_LANE(1)));
	cr_assert(test_read_all(&ring, 1, seen, SEEN_MAX) == 1);
	expect_source(&seen[0], "tester");
	cr_assert(test_stats(producer).threads == 1);
	cr_assert(shmlog_unbind(producer) == 0 && shmlog_unbind(producer) == 0);
	cr_assert(test_stats(producer).threads == 0);
	test_push(producer, "binds again");
	cr_assert(test_read_all(&ring, 1, seen, SEEN_MAX) == 3);
}

Test(handle, lanes_taken_ahead_are_locked_and_an_owner_id_with_them)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log;

	options.prebind = 100;
	cr_assert(shmlog_attach(ring.name, &options, &log) == 0, "%s", shmlog_reason());
	cr_assert(test_lanes_held(&ring) == 2 && test_stats(log).lanes == 2);
	cr_assert(test_lock_is_held(&ring, LOCK_BYTE_OWNER(1)));
	shmlog_detach(&log);
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(2)));
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_OWNER(1)));
}

/* ---- counters and words ---- */

Test(handle, statistics_of_an_unknown_size_are_refused)
{
	struct shmlog_stats stats = { .size = sizeof(stats) - 1, .dropped = 77 };

	cr_assert(shmlog_get_stats(producer, &stats) == -EINVAL && stats.dropped == 77);
}

Test(handle, the_record_maximum_is_that_of_the_ring)
{
	cr_assert(shmlog_record_max(producer) == ring.segment.geometry.record_max);
}

Test(handle, every_error_has_a_text_of_its_own)
{
	static const int errors[] = { 0,       -EAGAIN,  -EMSGSIZE, -ESHUTDOWN, -EBADF,  -EBUSY,
				      -EPROTO, -EBADMSG, -ENOENT,   -ETIMEDOUT, -EINVAL, -99999 };

	for (size_t i = 0; i < COUNT_OF(errors); i++) {
		cr_assert(strlen(shmlog_strerror(errors[i])) > 3);
		for (size_t j = 0; j < i; j++)
			cr_assert(strcmp(shmlog_strerror(errors[i]), shmlog_strerror(errors[j])) !=
					  0,
				  "%d and %d", errors[i], errors[j]);
	}
}
