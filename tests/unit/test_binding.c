/*
 * test_binding.c - which lane a thread gets, and when it comes back: ends of threads, processes,
 * rings and handles; forks; faults.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attachment.h"
#include "binding.h"
#include "inherited.h"
#include "mount_fixture.h"
#include "ring_fixture.h"

static struct test_ring ring;
static struct shmlog *producer;
static struct seen seen[SEEN_MAX];

static void use_lanes(uint32_t lanes)
{
	shmlog_detach(&producer);
	test_ring_make(&ring, lanes, LANE_MIN);
	producer = test_attach(&ring);
}

static void end(void)
{
	shmlog_detach(&producer);
	mount_fixture_end();
	test_ring_sweep();
}

TestSuite(binding, .fini = end, .timeout = 30);

static size_t read_lane(uint32_t lane)
{
	return test_read_all(&ring, lane, seen, SEEN_MAX);
}

/* ---- threads that are told what to do ---- */

enum { CREW_MAX = 16 };

static struct {
	pthread_t threads[CREW_MAX];
	int results[CREW_MAX];
	pthread_barrier_t bound;
	pthread_barrier_t end;
	size_t count;
} crew;

static void *crew_run(void *argument)
{
	int *result = argument;

	*result = shmlog_try_push(producer, "crew", 4);
	(void)pthread_barrier_wait(&crew.bound);
	(void)pthread_barrier_wait(&crew.end);
	return NULL;
}

/* Threads that have pushed one record each and wait. */
static void crew_bind(size_t count)
{
	crew.count = count;
	cr_assert(pthread_barrier_init(&crew.bound, NULL, (unsigned)count + 1) == 0);
	cr_assert(pthread_barrier_init(&crew.end, NULL, (unsigned)count + 1) == 0);
	for (size_t i = 0; i < count; i++)
		cr_assert(pthread_create(&crew.threads[i], NULL, crew_run, &crew.results[i]) == 0);
	(void)pthread_barrier_wait(&crew.bound);
	for (size_t i = 0; i < count; i++)
		cr_assert(crew.results[i] == 0, "%s", shmlog_strerror(crew.results[i]));
}

static void crew_end(void)
{
	(void)pthread_barrier_wait(&crew.end);
	for (size_t i = 0; i < crew.count; i++)
		cr_assert(pthread_join(crew.threads[i], NULL) == 0);
}

static void run_thread(void *(*start)(void *), void *argument)
{
	pthread_t thread;

	cr_assert(pthread_create(&thread, NULL, start, argument) == 0);
	cr_assert(pthread_join(thread, NULL) == 0);
}

static void *push_one(void *text)
{
	test_push(producer, text);
	return NULL;
}

/* Ends without any destructor, as threads of other runtimes may. */
static void *push_and_vanish(void *text)
{
	test_push(producer, text);
	(void)syscall(SYS_exit, 0);
	return NULL;
}

/* ---- which lane ---- */

Test(binding, each_thread_has_a_lane_of_its_own)
{
	use_lanes(6);
	test_push(producer, "main");
	crew_bind(4);
	cr_assert(test_lanes_held(&ring) == 5);
	for (uint32_t lane = 1; lane < 6; lane++) {
		cr_assert(read_lane(lane) == 2);
		expect_source(&seen[0], "tester");
		expect_text(&seen[1], lane == 1 ? "main" : "crew");
	}
	cr_assert(read_lane(0) == 0 && !test_lock_is_held(&ring, LOCK_BYTE_OWNER(1)));
	cr_assert(test_stats(producer).threads == 5 && test_stats(producer).lanes == 5);
	crew_end();
}

static unsigned owners_held(void)
{
	unsigned held = 0;

	for (int owner = 1; owner < OWNER_IDS; owner++)
		held += test_lock_is_held(&ring, LOCK_BYTE_OWNER(owner));
	return held;
}

/* Of threads that take an id at once, all but one give theirs back, with a SOURCE left behind. */
Test(binding, threads_beyond_the_lanes_share_lane_0_under_one_id)
{
	uint32_t owner = 0;
	size_t data = 0;

	use_lanes(3);
	test_push(producer, "main");
	crew_bind(5);
	for (size_t i = read_lane(0); i-- > 0;) {
		if (seen[i].header.kind != RECORD_DATA)
			continue;
		cr_assert(owner == 0 || seen[i].owner == owner);
		owner = seen[i].owner;
		data++;
	}
	cr_assert(data == 4, "%zu", data);
	for (int i = 0; i < 5000 && owners_held() > 1; i++)
		(void)sys_real.sleep(NS_PER_MS);
	cr_assert(owners_held() == 1 && test_lock_is_held(&ring, LOCK_BYTE_OWNER(owner)));
	crew_end();
	shmlog_detach(&producer);
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_OWNER(owner)));
}

Test(binding, two_handles_have_two_ids_in_lane_0)
{
	struct shmlog *other;

	use_lanes(1);
	other = test_attach(&ring);
	test_push(producer, "a");
	test_push(other, "b");
	test_push(producer, "c");
	cr_assert(read_lane(0) == 5);
	cr_assert(seen[1].owner == 1 && seen[3].owner == 2 && seen[4].owner == 1);
	expect_source(&seen[2], "tester");
	shmlog_detach(&other);
}

Test(binding, a_drained_lane_is_preferred_to_one_with_a_dead_threads_records)
{
	use_lanes(3);
	test_push(producer, "left in lane 1");
	shmlog_detach(&producer);
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
	producer = test_attach(&ring);
	test_push(producer, "in lane 2");
	cr_assert(read_lane(2) == 2);
	expect_text(&seen[1], "in lane 2");
}

Test(binding, without_a_drained_lane_the_emptiest_is_taken)
{
	use_lanes(3);
	crew_bind(2);
	test_push(producer, "in lane 0");
	crew_end();
	shmlog_detach(&producer);
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(2)));

	struct lane lane;

	test_lane(&ring, 1, &lane);
	ring_skip(&lane, test_frontier(&ring, 1), 100);
	producer = test_attach(&ring);
	test_push(producer, "behind");
	cr_assert(read_lane(2) == 4);
	expect_text(&seen[3], "behind");
}

Test(binding, a_quarantined_lane_is_not_bound)
{
	use_lanes(3);
	store_relaxed_u32(&test_lane_status(&ring, 1)->quarantine, 1);
	test_push(producer, "x");
	cr_assert(read_lane(1) == 0 && read_lane(2) == 2);
}

/* A broken holder wiped the words of records that the writer has copied: the lane looks empty. */
Test(binding, a_lane_that_ends_before_what_was_taken_is_not_bound)
{
	use_lanes(3);
	store_relaxed(&test_lane_status(&ring, 1)->taken, 5);
	test_push(producer, "x");
	cr_assert(read_lane(1) == 0 && read_lane(2) == 2);
	shmlog_detach(&producer);
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(2)));
	store_relaxed(&test_lane_status(&ring, 2)->taken, 9);
	producer = test_attach(&ring);
	test_push(producer, "y");
	cr_assert(read_lane(1) == 0 && read_lane(2) == 2 && read_lane(0) == 2);
}

Test(binding, a_full_quarantined_lane_is_left)
{
	use_lanes(3);
	(void)test_fill(producer, 1000);
	store_relaxed_u32(&test_lane_status(&ring, 1)->quarantine, 1);
	test_push(producer, "x");
	cr_assert(read_lane(2) == 2);
	expect_text(&seen[1], "x");
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
	cr_assert(test_stats(producer).dropped_full == 1);
}

/* Where the thread looks at `released` anyway, long before the lane is full. */
Test(binding, a_quarantined_lane_is_left_within_half_a_lane)
{
	use_lanes(3);
	test_push(producer, "in lane 1");
	store_relaxed_u32(&test_lane_status(&ring, 1)->quarantine, 1);
	for (unsigned i = 0; i < LANE_BLOCKS_MIN / 2 + 3; i++)
		cr_assert(shmlog_try_push(producer, "x", 1) == 0);
	cr_assert(read_lane(2) >= 2, "still in lane 1");
}

Test(binding, a_lane_whose_blocks_find_no_memory_is_not_taken)
{
	char size[32];

	mount_fixture_begin("1m");
	test_ring_make(&ring, 3, LANE_MIN);
	snprintf(size, sizeof(size), "%lluk",
		 (unsigned long long)(ring.segment.geometry.size - 2 * LANE_MIN) / 1024 + 16);
	mount_fixture_resize(size); /* what is reserved, and a few pages */
	producer = test_attach(&ring);
	test_push(producer, "in lane 0");
	cr_assert(read_lane(0) == 2);
	expect_text(&seen[1], "in lane 0");
	cr_assert(test_lanes_held(&ring) == 0);
	cr_assert(test_stats(producer).dropped == 0);
}

Test(binding, nothing_to_bind_is_a_counted_drop)
{
	int fd;

	use_lanes(2);
	cr_assert(segment_reopen(&ring.segment, O_RDWR, &fd) == 0);
	cr_assert(sys_real.lock(fd, LOCK_BYTE_WRITER, LOCK_BYTES) == 0);
	cr_assert(shmlog_bind(producer) == -EAGAIN);
	cr_assert(shmlog_try_push(producer, "x", 1) == -EAGAIN);
	cr_assert(test_stats(producer).dropped_no_lane == 1);
	cr_assert(load_relaxed(&view_doorbell(&ring.view)->drops[LOSS_NO_LANE]) == 1);
	cr_assert(close(fd) == 0);
	test_push(producer, "now");
}

/* ---- the end of a thread ---- */

Test(binding, an_ended_threads_lane_goes_to_the_next_one_with_a_source)
{
	use_lanes(3);
	run_thread(push_one, (char[]){ "first" });
	cr_assert(load_relaxed_u32(&test_lane_page(&ring, 1)->line.ended) == 1);
	cr_assert(test_lock_is_held(&ring, LOCK_BYTE_LANE(1)), "not pooled");
	run_thread(push_one, (char[]){ "second" });
	cr_assert(read_lane(1) == 4 && read_lane(2) == 0);
	(void)read_lane(1);
	expect_source(&seen[0], "tester");
	expect_text(&seen[1], "first");
	expect_source(&seen[2], "tester");
	expect_text(&seen[3], "second");
	cr_assert(memcmp(seen[0].payload, seen[2].payload, sizeof(struct source_payload)) != 0,
		  "both name the same thread");
}

Test(binding, a_pooled_lane_says_that_its_thread_has_ended_only_while_it_has)
{
	use_lanes(2);
	run_thread(push_one, (char[]){ "x" });
	test_push(producer, "adopts");
	cr_assert(load_relaxed_u32(&test_lane_page(&ring, 1)->line.ended) == 0);
}

Test(binding, at_most_four_ended_lanes_are_kept)
{
	use_lanes(10);
	crew_bind(8);
	cr_assert(test_lanes_held(&ring) == 8);
	crew_end();
	cr_assert(test_stats(producer).lanes == POOLED_MAX && test_stats(producer).threads == 0);
	for (int i = 0; i < 5000 && test_lanes_held(&ring) > POOLED_MAX; i++)
		(void)sys_real.sleep(NS_PER_MS);
	cr_assert(test_lanes_held(&ring) == POOLED_MAX);
}

static void *claim_and_end(void *unused)
{
	struct shmlog_claim claim;

	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 100, &claim) == 0);
	test_push(producer, "behind the claim");
	return unused;
}

Test(binding, the_end_of_a_thread_aborts_its_claim)
{
	use_lanes(2);
	run_thread(claim_and_end, NULL);
	cr_assert(read_lane(1) == 2 && test_read_stop(&ring, 1) == TAKE_EMPTY);
	expect_text(&seen[1], "behind the claim");
}

Test(binding, a_lane_of_a_thread_that_vanished_is_found_again)
{
	use_lanes(2);
	run_thread(push_and_vanish, (char[]){ "first" });
	test_push(producer, "second");
	cr_assert(read_lane(1) == 4 && read_lane(0) == 0);
	expect_text(&seen[3], "second");
	cr_assert(test_stats(producer).threads == 1);
}

static void *claim_and_vanish(void *unused)
{
	struct shmlog_claim claim;

	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 100, &claim) == 0);
	(void)syscall(SYS_exit, 0);
	return unused;
}

Test(binding, a_claim_of_a_thread_that_vanished_holds_up_nobody)
{
	use_lanes(2);
	run_thread(claim_and_vanish, NULL);
	test_push(producer, "behind");
	cr_assert(read_lane(1) == 3 && test_read_stop(&ring, 1) == TAKE_EMPTY);
	expect_text(&seen[2], "behind");
}

Test(binding, threads_that_vanished_keep_nothing_once_the_handle_ends)
{
	unsigned before;

	use_lanes(4);
	shmlog_detach(&producer);
	before = count_ring_mappings();
	producer = test_attach(&ring);
	run_thread(push_and_vanish, (char[]){ "first" });
	shmlog_detach(&producer);
	cr_assert(count_ring_mappings() == before);
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
}

static void *drop_three(void *vanish)
{
	(void)test_fill(producer, 1000);
	(void)shmlog_try_push(producer, "", 1000);
	(void)shmlog_try_push(producer, "", RING_RECORD_MAX + 1);
	if (vanish)
		(void)syscall(SYS_exit, 0);
	return NULL;
}

Test(binding, drops_of_ended_and_vanished_threads_stay_in_the_statistics)
{
	use_lanes(3);
	run_thread(drop_three, NULL);
	cr_assert(test_stats(producer).dropped == 3);
	test_release_all(&ring);
	run_thread(drop_three, (char[]){ "" });
	cr_assert(test_stats(producer).dropped == 6);
	test_release_all(&ring);
	test_push(producer, "takes the lane over");
	cr_assert(test_stats(producer).dropped == 6);
	cr_assert(test_stats(producer).dropped_full == 4 && test_stats(producer).dropped_size == 2);
}

Test(binding, drops_before_this_process_came_are_not_its_own)
{
	use_lanes(2);
	test_lane_page(&ring, 1)->line.drops[LOSS_FULL].raw = 1000;
	test_push(producer, "x");
	cr_assert(test_stats(producer).dropped == 0);
}

static struct shared_u32 stop;

static void *ask_for_statistics(void *unused)
{
	while (!load_relaxed_u32(&stop))
		(void)test_stats(producer);
	return unused;
}

/* Lanes beyond the pool are unmapped as their threads end, while another thread adds up. */
Test(binding, statistics_may_be_asked_for_while_threads_end)
{
	pthread_t asker;

	use_lanes(10);
	cr_assert(pthread_create(&asker, NULL, ask_for_statistics, NULL) == 0);
	for (int round = 0; round < 150; round++) {
		crew_bind(8);
		crew_end();
		test_release_all(&ring);
	}
	store_relaxed_u32(&stop, 1);
	cr_assert(pthread_join(asker, NULL) == 0);
}

/* ---- processes ---- */

/* Runs @child in a fork; its result is the exit status. */
static pid_t fork_to(int (*child)(void))
{
	const pid_t pid = fork();

	cr_assert(pid >= 0);
	if (pid == 0)
		_exit(child());
	return pid;
}

static int wait_for(pid_t pid)
{
	int status;

	cr_assert(waitpid(pid, &status, 0) == pid);
	cr_assert(WIFEXITED(status), "killed by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

static struct shmlog_claim open_claim;

#define CHILD_EXPECTS(condition)               \
	do {                                   \
		if (!(condition))              \
			return __LINE__ % 256; \
	} while (0)

static int push_as_child(void)
{
	CHILD_EXPECTS(shmlog_commit(producer, &open_claim, 10) == -EBADF);
	CHILD_EXPECTS(shmlog_try_push(NULL, "x", 1) == -EBADF);
	CHILD_EXPECTS(test_stats(producer).dropped == 0 && test_stats(producer).threads == 0);
	CHILD_EXPECTS(shmlog_trigger(producer) == 0);
	CHILD_EXPECTS(shmlog_try_push(producer, "child", 5) == 0);
	CHILD_EXPECTS(test_stats(producer).threads == 1 && test_stats(producer).lanes == 1);
	return 0;
}

Test(binding, a_forked_child_binds_a_lane_of_its_own)
{
	uint32_t requests;
	struct source_payload source;

	use_lanes(3);
	(void)test_fill(producer, 1000);
	test_release_all(&ring);
	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 10, &open_claim) == 0);
	requests = load_relaxed_u32(&view_doorbell(&ring.view)->drain_requests);

	const pid_t child = fork_to(push_as_child);
	const int line = wait_for(child);

	cr_assert(line == 0, "line %d of this file (modulo 256)", line);
	cr_assert(load_relaxed_u32(&view_doorbell(&ring.view)->drain_requests) == requests + 1);
	cr_assert(read_lane(2) == 2);
	memcpy(&source, seen[0].payload, sizeof(source));
	cr_assert(source.pid == (uint32_t)child);
	expect_text(&seen[1], "child");
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(2)));
	cr_assert(test_lock_is_held(&ring, LOCK_BYTE_LANE(1)));
	cr_assert(shmlog_commit(producer, &open_claim, 10) == 0);
	cr_assert(read_lane(1) == 2 && seen[1].header.length == 10);
}

static int push_in_shared_lane(void)
{
	CHILD_EXPECTS(shmlog_try_push(producer, "child", 5) == 0);
	return 0;
}

/* As a fork beside another thread's bind leaves it: descriptor and mapping of a lane. */
Test(binding, what_a_child_has_copied_of_a_bind_is_let_go)
{
	const unsigned descriptors = count_descriptors();
	const struct geometry *geometry;
	unsigned mappings;
	void *lane;
	int fd;

	use_lanes(2);
	mappings = count_ring_mappings();
	geometry = &ring.segment.geometry;
	cr_assert(segment_reopen(&ring.segment, O_RDWR, &fd) == 0);
	cr_assert(segment_map(&ring.segment, fd, geometry_lane_offset(geometry, 1),
			      geometry->lane_stride, true, &lane) == 0);
	inherited_drop(&ring.segment);
	cr_assert(count_descriptors() <= descriptors + 1 && fcntl(fd, F_GETFD) < 0);
	cr_assert(count_ring_mappings() <= mappings);
	test_push(producer, "all the same");
}

Test(binding, a_forked_child_takes_an_id_of_its_own_in_the_shared_lane)
{
	use_lanes(1);
	test_push(producer, "parent");
	cr_assert(wait_for(fork_to(push_in_shared_lane)) == 0);
	test_push(producer, "parent");
	cr_assert(read_lane(0) == 5);
	cr_assert(seen[1].owner == 1 && seen[3].owner == 2 && seen[4].owner == 1);
	expect_text(&seen[3], "child");
}

static int detach_as_child(void)
{
	shmlog_detach(&producer);
	return 0;
}

Test(binding, a_forked_child_that_detaches_takes_nothing_from_its_parent)
{
	use_lanes(2);
	test_push(producer, "one");
	cr_assert(wait_for(fork_to(detach_as_child)) == 0);
	test_push(producer, "two");
	cr_assert(read_lane(1) == 3);
}

static void *push_and_stay(void *barrier)
{
	test_push(producer, "child's thread");
	(void)pthread_barrier_wait(barrier);
	(void)pthread_barrier_wait(barrier);
	return NULL;
}

/* A thread of the child is there first; the thread that forked must not take its lane for its own.
 */
static int push_as_second_thread(void)
{
	pthread_barrier_t barrier;
	pthread_t thread;

	CHILD_EXPECTS(pthread_barrier_init(&barrier, NULL, 2) == 0);
	CHILD_EXPECTS(pthread_create(&thread, NULL, push_and_stay, &barrier) == 0);
	(void)pthread_barrier_wait(&barrier);
	CHILD_EXPECTS(shmlog_try_push(producer, "child's main", 12) == 0);
	(void)pthread_barrier_wait(&barrier);
	CHILD_EXPECTS(pthread_join(thread, NULL) == 0);
	return 0;
}

Test(binding, threads_of_a_forked_child_have_a_lane_each)
{
	use_lanes(4);
	test_push(producer, "parent");
	cr_assert(wait_for(fork_to(push_as_second_thread)) == 0);
	cr_assert(read_lane(2) == 2);
	expect_text(&seen[1], "child's thread");
	cr_assert(read_lane(3) == 2);
	expect_text(&seen[1], "child's main");
}

Test(binding, a_vforked_child_may_push)
{
	pid_t child;

	use_lanes(2);
	test_push(producer, "parent");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	child = vfork();
#pragma GCC diagnostic pop
	if (child == 0)
		_exit(shmlog_try_push(producer, "child", 5) == 0 ? 0 : 1);
	cr_assert(wait_for(child) == 0);
	test_push(producer, "parent");
	cr_assert(read_lane(1) == 4 && read_lane(0) == 0);
}

/* NULL: the child of this unbound thread was refused. */
static void *push_first_in_vforked_child(void *unused)
{
	pid_t child;

	(void)unused;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	child = vfork();
#pragma GCC diagnostic pop
	if (child == 0)
		_exit(shmlog_try_push(producer, "child", 5) == -EAGAIN ? 0 : 1);
	return (void *)(intptr_t)wait_for(child);
}

Test(binding, a_vforked_child_binds_nothing_and_takes_nothing_from_its_parents_threads)
{
	struct shmlog_claim claim;
	pthread_t thread;
	void *result;

	use_lanes(4);
	test_push(producer, "before");
	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 5, &claim) == 0);
	cr_assert(pthread_create(&thread, NULL, push_first_in_vforked_child, NULL) == 0);
	cr_assert(pthread_join(thread, &result) == 0 && result == NULL);
	memcpy(claim.data, "claim", 5);
	cr_assert(shmlog_commit(producer, &claim, 5) == 0);
	cr_assert(read_lane(1) == 3);
	expect_text(&seen[2], "claim");
	cr_assert(test_stats(producer).dropped_no_lane == 1);
}

/* A child that has claimed and pushed, and says so through the pipe. */
static pid_t fork_claimer(int pipe_ends[2])
{
	pid_t child;
	char byte;

	cr_assert(pipe2(pipe_ends, O_CLOEXEC) == 0);
	child = fork();
	cr_assert(child >= 0);
	if (child == 0) {
		struct shmlog_claim claim;

		if (shmlog_try_push(producer, "child", 5) == 0 &&
		    shmlog_claim(producer, SHMLOG_INFO, 100, &claim) == 0 &&
		    shmlog_try_push(producer, "behind", 6) == 0 && write(pipe_ends[1], "x", 1) == 1)
			(void)pause();
		_exit(1);
	}
	cr_assert(read(pipe_ends[0], &byte, 1) == 1);
	return child;
}

Test(binding, a_killed_process_loses_its_claim_and_nothing_else)
{
	int pipe_ends[2];
	pid_t child;

	use_lanes(2);
	child = fork_claimer(pipe_ends);
	cr_assert(read_lane(1) == 2 && test_read_stop(&ring, 1) == TAKE_CLAIMED);
	cr_assert(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
	test_push(producer, "parent");
	cr_assert(read_lane(1) == 5);
	expect_text(&seen[2], "behind");
	expect_source(&seen[3], "tester");
	expect_text(&seen[4], "parent");
}

Test(binding, a_stopped_process_keeps_its_lane)
{
	int pipe_ends[2];
	pid_t child;
	int status;

	use_lanes(2);
	child = fork_claimer(pipe_ends);
	cr_assert(kill(child, SIGSTOP) == 0 && waitpid(child, &status, WUNTRACED) == child);
	cr_assert(WIFSTOPPED(status));
	cr_assert(test_lock_is_held(&ring, LOCK_BYTE_LANE(1)));
	test_push(producer, "elsewhere");
	cr_assert(read_lane(0) == 2);
	cr_assert(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
}

Test(binding, exec_gives_the_lane_back)
{
	int alive[2], told[2];
	pid_t child;
	char byte;

	use_lanes(2);
	cr_assert(pipe2(alive, O_CLOEXEC) == 0 && pipe2(told, O_CLOEXEC) == 0);
	child = fork();
	cr_assert(child >= 0);
	if (child == 0) {
		test_push(producer, "child");
		(void)dup2(alive[0], STDIN_FILENO);
		(void)execl("/bin/cat", "cat", (char *)NULL);
		_exit(1);
	}
	cr_assert(close(told[1]) == 0 && read(told[0], &byte, 1) == 0, "not executed");
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
	cr_assert(kill(child, 0) == 0, "and it lives on");
	cr_assert(close(alive[1]) == 0);
	cr_assert(wait_for(child) == 0);
}

/* ---- the end of a handle ---- */

static struct shmlog *shared_handle;
static struct shared_u32 pushers_ready;

/* NULL: pushed until told that the handle has gone. */
static void *push_until_detached(void *unused)
{
	struct shmlog *log = shared_handle;
	int r = 0;

	(void)unused;
	(void)add_seq_cst_u32(&pushers_ready, 1);
	while (r == 0 || r == -EAGAIN)
		r = shmlog_try_push(log, "push", 4);
	return (void *)(intptr_t)(r == -EBADF ? 0 : r);
}

Test(binding, detaching_while_others_push_ends_all_of_them)
{
	enum { PUSHERS = 3, ROUNDS = 400 };
	unsigned before;

	use_lanes(4);
	shmlog_detach(&producer);
	before = count_ring_mappings();
	for (unsigned round = 0; round < ROUNDS; round++) {
		pthread_t threads[PUSHERS];

		shared_handle = test_attach(&ring);
		store_relaxed_u32(&pushers_ready, 0);
		for (size_t i = 0; i < PUSHERS; i++)
			cr_assert(pthread_create(&threads[i], NULL, push_until_detached, NULL) ==
				  0);
		/* Sometimes before all push, sometimes in the middle of it. */
		while (load_seq_cst_u32(&pushers_ready) < round % (PUSHERS + 1))
			(void)sched_yield();
		shmlog_detach(&shared_handle);
		for (size_t i = 0; i < PUSHERS; i++) {
			void *r;

			cr_assert(pthread_join(threads[i], &r) == 0);
			cr_assert(r == NULL, "%s", shmlog_strerror((int)(intptr_t)r));
		}
		test_release_all(&ring);
	}
	cr_assert(count_ring_mappings() == before, "%u mappings are left",
		  count_ring_mappings() - before);
}

Test(binding, detaching_gives_back_what_threads_and_pool_held)
{
	unsigned mappings, descriptors;

	use_lanes(8);
	shmlog_detach(&producer);
	mappings = count_ring_mappings();
	descriptors = count_descriptors();
	producer = test_attach(&ring);
	crew_bind(7);
	crew_end();
	test_push(producer, "x");
	shmlog_detach(&producer);
	cr_assert(count_ring_mappings() == mappings && count_descriptors() == descriptors);
	for (uint32_t lane = 1; lane < 8; lane++)
		cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(lane)));
}

/* ---- what happens while a thread binds ---- */

static void (*while_binding)(void);

/* The lane's lock is taken, its mapping is not yet made. */
static int map_and_meanwhile(void *address, size_t size, int protection, int flags, int fd,
			     off_t offset, void **ret)
{
	void (*const meanwhile)(void) = while_binding;

	if (meanwhile && (uint64_t)offset == geometry_lane_offset(&ring.segment.geometry, 1)) {
		while_binding = NULL;
		meanwhile();
	}
	return sys_real.map(address, size, protection, flags, fd, offset, ret);
}

static void attach_with_hook(void (*hook)(void))
{
	static struct sys sys; /* the handle keeps it */
	struct ring_map *map;
	uintptr_t token;

	sys = sys_real;
	sys.map = map_and_meanwhile;
	while_binding = hook;
	test_ring_make(&ring, 3, LANE_MIN);
	cr_assert(attachment_map(&sys, ring.name, "tester", SHMLOG_INFO, &map) == 0);
	cr_assert(attachment_show(map, &token) == 0);
	producer = (struct shmlog *)token;
}

static void *detach_copy(void *log)
{
	struct shmlog *copy = log;

	shmlog_detach(&copy);
	return NULL;
}

static void detach_meanwhile(void)
{
	run_thread(detach_copy, producer);
}

Test(binding, a_handle_that_ends_while_a_thread_binds_is_none_afterwards)
{
	unsigned before;

	attach_with_hook(detach_meanwhile);
	before = count_ring_mappings() - 2; /* status and doorbell */
	(void)shmlog_try_push(producer, "x", 1);
	cr_assert(while_binding == NULL, "no lane was mapped");
	cr_assert(shmlog_try_push(producer, "x", 1) == -EBADF);
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
	cr_assert(count_ring_mappings() == before);
}

static struct test_ring fresh_ring;

static void replace_meanwhile(void)
{
	test_remove(&ring);
	test_ring_make_again(&fresh_ring, &ring, 3);
	run_thread(push_one, (char[]){ "elsewhere" });
}

Test(binding, a_ring_that_is_replaced_while_a_thread_binds_is_left)
{
	attach_with_hook(replace_meanwhile);
	cr_assert(shmlog_try_push(producer, "one", 3) == 0);
	cr_assert(while_binding == NULL, "no lane was mapped");
	cr_assert(shmlog_try_push(producer, "two", 3) == 0);
	cr_assert(test_count_data(&fresh_ring) == 3 && test_count_data(&ring) == 0);
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
	test_ring_close(&fresh_ring);
}

/* ---- lanes taken ahead ---- */

Test(binding, lanes_taken_ahead_serve_threads_when_nothing_can_be_opened_any_more)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;

	use_lanes(8);
	shmlog_detach(&producer);
	options.prebind = 5;
	options.name = "tester";
	cr_assert(shmlog_attach(ring.name, &options, &producer) == 0, "%s", shmlog_reason());
	cr_assert(test_lanes_held(&ring) == 5, "%u", test_lanes_held(&ring));
	cr_assert(test_lock_is_held(&ring, LOCK_BYTE_OWNER(1)));
	cr_assert(setenv("SHMLOG_SHM_DIR", "/nonexistent", 1) == 0);
	crew_bind(5);
	cr_assert(test_lanes_held(&ring) == 5);
	test_push(producer, "the sixth goes to lane 0");
	crew_end();
	cr_assert(unsetenv("SHMLOG_SHM_DIR") == 0);
	for (uint32_t lane = 1; lane <= 5; lane++)
		cr_assert(read_lane(lane) == 2, "lane %u", lane);
	cr_assert(read_lane(0) == 2);
}

/* ---- the end of a ring ---- */

/* A new ring is looked for every 10 ms. */
static void push_into_new_ring(const char *text)
{
	int r = -ESHUTDOWN;

	for (int i = 0; i < 5000 && r == -ESHUTDOWN; i++) {
		r = shmlog_try_push(producer, text, strlen(text));
		if (r == -ESHUTDOWN)
			(void)sys_real.sleep(NS_PER_MS);
	}
	cr_assert(r == 0, "%s", shmlog_strerror(r));
}

Test(binding, an_open_claim_keeps_its_lane_when_the_ring_is_made_anew)
{
	struct shmlog_claim claim;
	struct test_ring fresh;

	use_lanes(2);
	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 8, &claim) == 0);
	test_remove(&ring);
	test_ring_make_again(&fresh, &ring, 2);
	cr_assert(shmlog_try_push(producer, "other", 5) == -ESHUTDOWN);
	cr_assert(shmlog_try_push(producer, "other", 5) == -ESHUTDOWN, "also once it has moved on");
	memcpy(claim.data, "filled", 6);
	cr_assert(shmlog_commit(producer, &claim, 6) == 0);
	cr_assert(read_lane(1) == 2);
	expect_text(&seen[1], "filled");
	push_into_new_ring("new");
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)), "the old lane is given back");
	cr_assert(test_read_all(&fresh, 1, seen, SEEN_MAX) == 2);
	test_ring_close(&fresh);
}

Test(binding, detach_aborts_the_callers_claim)
{
	struct shmlog_claim claim;
	struct shmlog *copy;

	use_lanes(2);
	copy = producer;
	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 8, &claim) == 0);
	shmlog_detach(&producer);
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
	cr_assert(shmlog_commit(copy, &claim, 1) == -EBADF);
	cr_assert(read_lane(1) == 1, "SOURCE alone");
}

Test(binding, a_removed_ring_is_told_and_a_new_one_taken_up)
{
	struct test_ring fresh;

	use_lanes(2);
	test_push(producer, "old");
	test_remove(&ring);
	cr_assert(shmlog_try_push(producer, "lost", 4) == -ESHUTDOWN);
	cr_assert(shmlog_bind(producer) == 0 || shmlog_bind(producer) == -ESHUTDOWN);
	test_ring_make_again(&fresh, &ring, 2);
	push_into_new_ring("new");
	cr_assert(read_lane(1) == 2);
	cr_assert(test_read_all(&fresh, 1, seen, SEEN_MAX) == 2);
	expect_source(&seen[0], "tester");
	expect_text(&seen[1], "new");
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
	test_ring_close(&fresh);
}

Test(binding, statistics_outlive_the_ring)
{
	struct test_ring fresh;

	use_lanes(2);
	(void)test_fill(producer, 1000);
	test_remove(&ring);
	test_ring_make_again(&fresh, &ring, 2);
	push_into_new_ring("new");
	cr_assert(test_stats(producer).dropped_full == 1);
	(void)test_fill(producer, 1000);
	cr_assert(test_stats(producer).dropped_full == 2);
	test_ring_close(&fresh);
}

Test(binding, a_name_that_was_taken_away_is_noticed_when_the_lane_is_full)
{
	struct test_ring fresh;
	char path[512];

	use_lanes(2);
	test_push(producer, "old");
	test_ring_path(ring.name, path);
	cr_assert(unlink(path) == 0);
	test_ring_make_again(&fresh, &ring, 2);
	for (unsigned i = 0; i < 2 * LANE_BLOCKS_MIN && test_count_data(&fresh) == 0; i++)
		cr_assert(shmlog_try_push(producer, "x", 1) == 0, "push %u", i);
	cr_assert(test_count_data(&fresh) == 1);
	test_ring_close(&fresh);
}

Test(binding, all_threads_move_on_to_the_new_ring_and_keep_nothing_of_the_old)
{
	struct test_ring fresh;
	unsigned before;

	use_lanes(8);
	shmlog_detach(&producer);
	before = count_ring_mappings();
	producer = test_attach(&ring);
	crew_bind(5);
	test_remove(&ring);
	test_ring_make_again(&fresh, &ring, 8);
	test_push(producer, "main");
	crew_end();
	run_thread(push_one, (char[]){ "later" });
	cr_assert(test_count_data(&fresh) == 2);
	shmlog_detach(&producer);
	test_ring_close(&fresh);
	cr_assert(count_ring_mappings() == before);
}

/* ---- faults ---- */

static int calls_until_fault;

static bool nothing_can_be_mapped;

static int map_nothing(void *address, size_t size, int protection, int flags, int fd, off_t offset,
		       void **ret)
{
	if (nothing_can_be_mapped)
		return -ENOMEM;
	return sys_real.map(address, size, protection, flags, fd, offset, ret);
}

Test(binding, without_memory_for_the_shared_lane_a_push_is_a_counted_drop)
{
	struct sys sys = sys_real;
	struct ring_map *map;
	struct shmlog *log;
	uintptr_t token;

	sys.map = map_nothing;
	test_ring_make(&ring, 1, LANE_MIN);
	cr_assert(attachment_map(&sys, ring.name, "tester", SHMLOG_INFO, &map) == 0);
	cr_assert(attachment_show(map, &token) == 0);
	log = (struct shmlog *)token;
	nothing_can_be_mapped = true;
	cr_assert(shmlog_try_push(log, "lost", 4) == -EAGAIN);
	cr_assert(test_stats(log).dropped == 1);
	nothing_can_be_mapped = false;
	test_push(log, "kept");
	shmlog_detach(&log);
}

static bool fails_now(void)
{
	return calls_until_fault > 0 && --calls_until_fault == 0;
}

#define FAULTY(name, error, parameters, ...)                               \
	static int faulty_##name parameters                                \
	{                                                                  \
		return fails_now() ? (error) : sys_real.name(__VA_ARGS__); \
	}

FAULTY(open, -EMFILE, (const char *path, int flags, mode_t mode), path, flags, mode)
FAULTY(fstat, -EIO, (int fd, struct stat *ret), fd, ret)
FAULTY(fallocate, -ENOSPC, (int fd, int mode, off_t offset, off_t size), fd, mode, offset, size)
FAULTY(advise, -EINVAL, (void *address, size_t size, int advice), address, size, advice)
FAULTY(lock, -EAGAIN, (int fd, int64_t start, int64_t size), fd, start, size)
FAULTY(lock_query, -EINVAL, (int fd, int64_t start, int64_t size), fd, start, size)
FAULTY(map, -ENOMEM,
       (void *address, size_t size, int protection, int flags, int fd, off_t offset, void **ret),
       address, size, protection, flags, fd, offset, ret)

static ssize_t faulty_pread(int fd, void *buffer, size_t size, off_t offset)
{
	return fails_now() ? -EIO : sys_real.pread(fd, buffer, size, offset);
}

static const struct sys *faulty_sys(void)
{
	static struct sys sys;

	sys = sys_real;
	sys.open = faulty_open;
	sys.fstat = faulty_fstat;
	sys.fallocate = faulty_fallocate;
	sys.advise = faulty_advise;
	sys.lock = faulty_lock;
	sys.lock_query = faulty_lock_query;
	sys.map = faulty_map;
	sys.pread = faulty_pread;
	return &sys;
}

/* Attach, push and detach with the @nth call failing; false: there was no such call. */
static bool push_with_fault(int nth)
{
	struct ring_map *map;
	struct shmlog *log;
	uintptr_t token;
	int r;

	calls_until_fault = nth;
	r = attachment_map(faulty_sys(), ring.name, "tester", SHMLOG_INFO, &map);
	if (r < 0)
		return true;
	cr_assert(attachment_show(map, &token) == 0);
	log = (struct shmlog *)token;
	r = shmlog_try_push(log, "faulty", 6);
	cr_assert(r == 0 || r == -EAGAIN, "call %d: %s", nth, shmlog_strerror(r));
	cr_assert(r != 0 || test_count_data(&ring) == 1, "call %d", nth);
	if (calls_until_fault == 0) {
		calls_until_fault = 0;
		r = shmlog_try_push(log, "sound", 5);
		cr_assert(r == 0, "call %d leaves the thread without a lane: %s", nth,
			  shmlog_strerror(r));
	}
	shmlog_detach(&log);
	if (calls_until_fault == 0)
		return true;
	calls_until_fault = 0;
	return false;
}

static int refused_map(void *address, size_t size, int protection, int flags, int fd, off_t offset,
		       void **ret)
{
	(void)address, (void)size, (void)protection, (void)flags, (void)fd, (void)offset, (void)ret;
	return -ENOMEM;
}

Test(binding, a_push_without_memory_for_any_lane_is_dropped_and_counted)
{
	static struct sys sys;
	struct ring_map *map;
	struct shmlog *log;
	uintptr_t token;

	test_ring_make(&ring, 3, LANE_MIN);
	cr_assert(binding_watch_process() == 0);
	sys = sys_real;
	cr_assert(attachment_map(&sys, ring.name, "tester", SHMLOG_INFO, &map) == 0);
	cr_assert(attachment_show(map, &token) == 0);
	log = (struct shmlog *)token;
	sys.map = refused_map;
	cr_assert(shmlog_try_push(log, "lost", 4) == -EAGAIN);
	cr_assert(test_stats(log).dropped_no_lane == 1);
	sys.map = sys_real.map;
	cr_assert(shmlog_try_push(log, "kept", 4) == 0);
	shmlog_detach(&log);
}

static void check_faults(uint32_t lanes)
{
	unsigned descriptors, mappings;
	int nth = 0;
	bool failed;

	test_ring_make(&ring, lanes, LANE_MIN);
	cr_assert(binding_watch_process() == 0);
	descriptors = count_descriptors();
	mappings = count_ring_mappings();
	do {
		failed = push_with_fault(++nth);
		cr_assert(count_descriptors() == descriptors, "call %d: %u descriptors leak", nth,
			  count_descriptors() - descriptors);
		cr_assert(count_ring_mappings() == mappings, "call %d: a mapping leaks", nth);
		for (uint32_t lane = 1; lane < lanes; lane++)
			cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(lane)), "call %d", nth);
		cr_assert(test_lock_falls(&ring, LOCK_BYTE_OWNER(1)), "call %d", nth);
		test_release_all(&ring);
	} while (failed);
	cr_assert(nth > 12, "only %d calls", nth);
}

Test(binding, whatever_call_fails_once_a_thread_finds_a_lane_and_nothing_leaks)
{
	check_faults(3);
}

Test(binding, whatever_call_fails_once_a_thread_finds_the_shared_lane_and_nothing_leaks)
{
	check_faults(1);
}
