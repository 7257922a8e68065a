/*
 * test_producer.c - pushes, drops and their GAPs, levels, claims, pushes inside pushes.
 *
 * Nobody drains: each test reads the lanes back, and plays the writer where room is needed.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "attachment.h"
#include "producer.h"
#include "ring_fixture.h"

/* Two lanes: lane 1 belongs to the first thread that pushes. */
static struct test_ring ring;
static struct shmlog *producer;
static struct seen seen[SEEN_MAX];

static void begin(void)
{
	test_ring_make(&ring, 2, LANE_MIN);
	producer = test_attach(&ring);
}

static void end(void)
{
	shmlog_detach(&producer);
	test_ring_sweep();
}

TestSuite(producer, .init = begin, .fini = end, .timeout = 30);

/* The same with one lane, which all threads share. */
static void use_one_lane(void)
{
	shmlog_detach(&producer);
	test_ring_make(&ring, 1, LANE_MIN);
	producer = test_attach(&ring);
}

static size_t read_lane(uint32_t lane)
{
	return test_read_all(&ring, lane, seen, SEEN_MAX);
}

static int push_size(size_t size)
{
	static const uint8_t data[RING_RECORD_MAX + 1];

	return shmlog_try_push(producer, data, size);
}

/* ---- pushes ---- */

Test(producer, the_first_record_of_a_binding_says_who_pushes)
{
	struct source_payload source;

	test_lane_page(&ring, 1)->line.drops[LOSS_FULL].raw = 5;
	test_push(producer, "hello");
	cr_assert(read_lane(1) == 2);
	expect_source(&seen[0], "tester");
	memcpy(&source, seen[0].payload, sizeof(source));
	cr_assert(source.tid == sys_real.gettid());
	cr_assert(source.drops[LOSS_FULL] == 5 && source.drops[LOSS_SIZE] == 0);
	expect_text(&seen[1], "hello");
	cr_assert(seen[1].header.level == SHMLOG_INFO && seen[1].header.source == 0);
	cr_assert(seen[1].header.ticks >= seen[0].header.ticks && seen[0].header.ticks != 0);
	cr_assert(read_lane(0) == 0);
}

Test(producer, the_shared_lane_begins_with_a_source_too)
{
	use_one_lane();
	test_push(producer, "hello");
	cr_assert(read_lane(0) == 2);
	expect_source(&seen[0], "tester");
	expect_text(&seen[1], "hello");
	cr_assert(seen[0].owner == 1 && seen[1].owner == 1);
}

Test(producer, records_of_all_sizes_survive_many_laps)
{
	static uint8_t data[RING_RECORD_MAX];
	const size_t max = shmlog_record_max(producer);
	uint64_t position = 0;

	for (uint32_t i = 0; i < 3000; i++) {
		const size_t size = (size_t)i * 977 % (i % 10 ? 700 : max + 1);
		size_t count;

		memset(data, (int)i, size);
		cr_assert(shmlog_try_push(producer, data, size) == 0, "record %u", i);
		count = test_read(&ring, 1, position, seen, SEEN_MAX);
		cr_assert(count == (i == 0 ? 2 : 1), "record %u: %zu", i, count);
		cr_assert(seen[count - 1].header.length == size);
		cr_assert(!memcmp(seen[count - 1].payload, data, size), "record %u", i);
		position = seen[count - 1].position + seen[count - 1].blocks;
		test_release(&ring, 1, position);
	}
	cr_assert(position > 20 * LANE_BLOCKS_MIN);
}

Test(producer, an_empty_record_is_a_record)
{
	cr_assert(shmlog_try_push(producer, NULL, 0) == 0);
	cr_assert(shmlog_try_push(producer, NULL, 0) == 0);
	cr_assert(read_lane(1) == 3);
	cr_assert(seen[2].header.kind == RECORD_DATA && seen[2].header.length == 0);
}

Test(producer, the_largest_record_fits_and_one_byte_more_does_not)
{
	const size_t max = shmlog_record_max(producer);

	cr_assert(push_size(max) == 0);
	cr_assert(push_size(max + 1) == -EMSGSIZE);
	cr_assert(shmlog_try_push(producer, "", SIZE_MAX) == -EMSGSIZE);
	cr_assert(test_stats(producer).dropped_size == 2);
	test_push(producer, "after");
	cr_assert(read_lane(1) == 4);
	cr_assert(seen[1].header.length == max);
	expect_gap(&seen[2], LOSS_SIZE, 2);
	expect_text(&seen[3], "after");
}

Test(producer, pushes_keep_errno)
{
	struct shmlog_claim claim;

	errno = 1234;
	test_push(producer, "the first one binds");
	(void)push_size(RING_RECORD_MAX + 1);
	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 9, &claim) == 0);
	cr_assert(shmlog_commit(producer, &claim, 9) == 0);
	(void)test_fill(producer, 100);
	cr_assert(shmlog_unbind(producer) == 0 && shmlog_bind(producer) == 0);
	shmlog_detach(&producer);
	(void)shmlog_try_push(producer, "", 0);
	cr_assert(errno == 1234, "%d", errno);
}

/* ---- drops and GAPs ---- */

Test(producer, a_full_lane_drops_counts_and_says_so_where_it_happened)
{
	struct gap_payload gap;
	size_t pushed, count;

	pushed = test_fill(producer, 10);
	for (int i = 0; i < 4; i++)
		cr_assert(push_size(10) == -EAGAIN);
	cr_assert(push_size(RING_RECORD_MAX) == -EMSGSIZE);
	cr_assert(read_lane(1) == pushed + 1, "%zu and a source", pushed);
	cr_assert(test_stats(producer).dropped_full == 5 && test_stats(producer).dropped == 6);
	cr_assert(load_relaxed(&test_lane_page(&ring, 1)->line.drops[LOSS_FULL]) == 5);
	test_release_all(&ring);
	test_push(producer, "after");
	test_push(producer, "and on");
	count = read_lane(1);
	cr_assert(count == 3, "%zu", count);
	cr_assert(seen[0].header.kind == RECORD_GAP);
	memcpy(&gap, seen[0].payload, sizeof(gap));
	cr_assert(gap.lost[LOSS_FULL] == 5 && gap.lost[LOSS_SIZE] == 1);
	cr_assert(gap.lost[LOSS_BUSY] == 0 && gap.lost[LOSS_NO_LANE] == 0);
	expect_text(&seen[1], "after");
	expect_text(&seen[2], "and on");
}

Test(producer, the_shared_lane_drops_and_tells_alike)
{
	size_t count;

	use_one_lane();
	(void)test_fill(producer, 10);
	cr_assert(push_size(10) == -EAGAIN);
	test_release_all(&ring);
	test_push(producer, "after");
	count = read_lane(0);
	cr_assert(count == 2, "%zu", count);
	expect_gap(&seen[0], LOSS_FULL, 2);
	expect_text(&seen[1], "after");
}

/* Room for the GAP alone, or for the record alone, is no room: a GAP stands before its record. */
Test(producer, a_gap_goes_in_only_with_the_record_behind_it)
{
	(void)test_fill(producer, 10); /* one block each: the lane is full to the last */
	test_release(&ring, 1, 2);
	cr_assert(push_size(10) == -EAGAIN);
	cr_assert(test_read(&ring, 1, LANE_BLOCKS_MIN, seen, SEEN_MAX) == 0);
	test_release(&ring, 1, 4);
	cr_assert(push_size(10) == 0);
	cr_assert(test_read(&ring, 1, LANE_BLOCKS_MIN, seen, SEEN_MAX) == 2);
	expect_gap(&seen[0], LOSS_FULL, 2);
}

/* Each large record is refused once and accepted as soon as the lane is drained: padding, GAP and
 * the record together can need more than a lane. */
Test(producer, largest_and_small_records_in_turn_are_never_stuck)
{
	const size_t max = shmlog_record_max(producer);
	unsigned refused = 0;

	for (unsigned i = 0; i < 3000; i++) {
		const size_t size = i % 2 ? max : i % 61;

		if (push_size(size) == 0)
			continue;
		refused++;
		test_release_all(&ring);
		cr_assert(push_size(size) == 0, "record %u of %zu bytes", i, size);
	}
	cr_assert(refused > 100, "%u", refused);
	cr_assert(test_stats(producer).dropped_full == refused);
}

Test(producer, the_gaps_add_up_to_what_was_dropped)
{
	const size_t max = shmlog_record_max(producer);
	uint64_t told = 0, dropped;

	for (unsigned i = 0; i < 2000; i++) {
		if (push_size(i % 3 ? i % 997 : max) == 0)
			continue;
		for (size_t n = read_lane(1); n-- > 0;) {
			struct gap_payload gap;

			if (seen[n].header.kind != RECORD_GAP)
				continue;
			memcpy(&gap, seen[n].payload, sizeof(gap));
			told += gap.lost[LOSS_FULL];
		}
		test_release_all(&ring);
	}
	dropped = test_stats(producer).dropped_full;
	(void)push_size(1);
	(void)push_size(1);
	for (size_t n = read_lane(1); n-- > 0;) {
		struct gap_payload gap;

		memcpy(&gap, seen[n].payload, sizeof(gap));
		told += seen[n].header.kind == RECORD_GAP ? gap.lost[LOSS_FULL] : 0;
	}
	cr_assert(dropped > 10 && told == dropped, "%llu of %llu", (unsigned long long)told,
		  (unsigned long long)dropped);
}

Test(producer, a_full_lane_whose_words_are_senseless_counts_corrupt)
{
	struct lane lane;

	use_one_lane();
	test_push(producer, "x");
	test_lane(&ring, 0, &lane);
	store_relaxed(lane_word(&lane, test_frontier(&ring, 0)), UINT64_MAX);
	cr_assert(push_size(1) == -EAGAIN);
	cr_assert(test_stats(producer).dropped_corrupt == 1);
}

/* ---- the writer is asked only where it must be ---- */

Test(producer, the_doorbell_rings_at_half_a_lane_and_when_full)
{
	const struct shared_u32 *rings = &view_doorbell(&ring.view)->rings;
	uint32_t before;

	test_push(producer, "bound");
	before = load_relaxed_u32(rings);
	for (unsigned i = 0; i < LANE_BLOCKS_MIN / 4; i++)
		cr_assert(push_size(10) == 0);
	cr_assert(load_relaxed_u32(rings) == before, "rung %u times in a quarter of the lane",
		  load_relaxed_u32(rings) - before);
	(void)test_fill(producer, 10);
	cr_assert(load_relaxed_u32(rings) > before);
	cr_assert(load_relaxed_u32(rings) - before < 10);
}

/* ---- levels ---- */

Test(producer, what_is_above_the_threshold_is_neither_published_nor_counted)
{
	for (int level = 0; level <= 7; level++)
		cr_assert(shmlog_try_push_at(producer, level, "x", 1) == 0);
	cr_assert(segment_set_level(&ring.segment, SHMLOG_ERROR) == 0);
	for (int level = 0; level <= 7; level++)
		cr_assert(shmlog_try_push_at(producer, level, "x", 1) == 0);
	cr_assert(read_lane(1) == 1 + 8 + 4);
	for (unsigned i = 0; i < 12; i++)
		cr_assert(seen[1 + i].header.level == i % 8, "record %u", i);
	cr_assert(test_stats(producer).dropped == 0);
}

Test(producer, levels_that_are_none_are_refused)
{
	struct shmlog_claim claim;

	for (int bound = 0; bound < 2; bound++) {
		cr_assert(shmlog_try_push_at(producer, -1, "x", 1) == -EINVAL);
		cr_assert(shmlog_try_push_at(producer, 8, "x", 1) == -EINVAL);
		cr_assert(shmlog_push_wait(producer, 8, "x", 1, -1) == -EINVAL);
		cr_assert(shmlog_claim(producer, 8, 1, &claim) == -EINVAL);
		test_push(producer, "x");
	}
	cr_assert(test_stats(producer).dropped == 0);
}

Test(producer, the_handles_level_is_that_of_plain_pushes)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *debug;

	options.level = SHMLOG_DEBUG;
	cr_assert(shmlog_attach(ring.name, &options, &debug) == 0);
	test_push(debug, "the first one, too");
	test_push(debug, "x");
	cr_assert(read_lane(1) == 3);
	cr_assert(seen[1].header.level == SHMLOG_DEBUG && seen[2].header.level == SHMLOG_DEBUG);
	shmlog_detach(&debug);
}

/* ---- claims ---- */

static struct shmlog_claim must_claim(size_t size)
{
	struct shmlog_claim claim = { 0 };
	const int r = shmlog_claim(producer, SHMLOG_NOTICE, size, &claim);

	cr_assert(r == 0, "%s", shmlog_strerror(r));
	cr_assert(claim.data != NULL && claim.size == size && (uintptr_t)claim.data % 8 == 0);
	memset(claim.data, 'c', size);
	return claim;
}

static void expect_claimed(const struct seen *record, size_t size)
{
	cr_assert(record->header.kind == RECORD_DATA && record->header.length == size);
	cr_assert(record->header.level == SHMLOG_NOTICE && record->header.ticks != 0);
	for (size_t i = 0; i < size; i++)
		cr_assert(record->payload[i] == 'c');
}

static void check_commit(uint32_t lane)
{
	struct shmlog_claim claim = must_claim(200);

	cr_assert(read_lane(lane) == 1, "nothing but the source yet");
	cr_assert(shmlog_commit(producer, &claim, 150) == 0);
	cr_assert(read_lane(lane) == 2);
	expect_claimed(&seen[1], 150);
	test_push(producer, "behind");
	cr_assert(read_lane(lane) == 3);
	expect_text(&seen[2], "behind");
}

Test(producer, a_claim_is_published_as_far_as_it_was_used)
{
	check_commit(1);
}

Test(producer, a_claim_in_the_shared_lane_is_published_as_far_as_it_was_used)
{
	use_one_lane();
	check_commit(0);
}

Test(producer, the_largest_and_the_empty_claim_are_possible)
{
	const size_t max = shmlog_record_max(producer);
	struct shmlog_claim claim = must_claim(max);

	cr_assert(shmlog_commit(producer, &claim, max) == 0);
	claim = must_claim(0);
	cr_assert(shmlog_commit(producer, &claim, 0) == 0);
	cr_assert(read_lane(1) == 3);
	expect_claimed(&seen[1], max);
	expect_claimed(&seen[2], 0);
}

Test(producer, an_aborted_claim_leaves_nothing_to_read)
{
	struct shmlog_claim claim = must_claim(200);

	cr_assert(shmlog_abort(producer, &claim) == 0);
	test_push(producer, "behind");
	cr_assert(read_lane(1) == 2);
	expect_text(&seen[1], "behind");
	cr_assert(test_stats(producer).dropped == 0);
}

Test(producer, pushes_behind_an_open_claim_come_after_it)
{
	struct shmlog_claim claim = must_claim(100);

	test_push(producer, "one");
	test_push(producer, "two");
	cr_assert(read_lane(1) == 1 && test_read_stop(&ring, 1) == TAKE_CLAIMED);
	cr_assert(shmlog_commit(producer, &claim, 100) == 0);
	cr_assert(read_lane(1) == 4);
	expect_claimed(&seen[1], 100);
	expect_text(&seen[2], "one");
	expect_text(&seen[3], "two");
}

static void check_claim_errors(void)
{
	struct shmlog_claim claim = must_claim(100), other;

	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 1, &other) == -EBUSY);
	cr_assert(shmlog_commit(producer, &claim, 101) == -EMSGSIZE);
	cr_assert(shmlog_commit(producer, NULL, 1) == -EBADF);
	cr_assert(shmlog_abort(producer, NULL) == -EBADF);
	other = claim;
	other.serial++;
	cr_assert(shmlog_commit(producer, &other, 1) == -EBADF);
	other = claim;
	other.data = &other;
	cr_assert(shmlog_commit(producer, &other, 1) == -EBADF);
	cr_assert(shmlog_commit(producer, &claim, 100) == 0);
	cr_assert(shmlog_commit(producer, &claim, 100) == -EBADF);
	cr_assert(shmlog_abort(producer, &claim) == -EBADF);
	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 1, NULL) == -EINVAL);
	cr_assert(shmlog_claim(producer, SHMLOG_INFO, RING_RECORD_MAX + 1, &other) == -EMSGSIZE);
	cr_assert(test_stats(producer).dropped_size == 1);
	cr_assert(test_count_data(&ring) == 1);
}

Test(producer, a_claim_ends_once_and_only_as_what_it_is)
{
	check_claim_errors();
}

Test(producer, a_claim_in_the_shared_lane_ends_once_and_only_as_what_it_is)
{
	use_one_lane();
	check_claim_errors();
}

static void *commit_elsewhere(void *claim)
{
	const int before = shmlog_commit(producer, claim, 1);

	test_push(producer, "bound");
	return (void *)(intptr_t)(before == -EBADF ? shmlog_commit(producer, claim, 1) : before);
}

Test(producer, a_claim_of_another_thread_is_none)
{
	struct shmlog_claim claim = must_claim(10);
	pthread_t thread;
	void *r;

	cr_assert(pthread_create(&thread, NULL, commit_elsewhere, &claim) == 0);
	cr_assert(pthread_join(thread, &r) == 0);
	cr_assert((intptr_t)r == -EBADF);
	cr_assert(shmlog_commit(producer, &claim, 10) == 0);
}

Test(producer, claims_without_room_are_drops)
{
	struct shmlog_claim claim;

	(void)test_fill(producer, 10);
	cr_assert(shmlog_claim(producer, SHMLOG_INFO, 10, &claim) == -EAGAIN);
	cr_assert(test_stats(producer).dropped_full == 2);
	test_release_all(&ring);
	claim = must_claim(10);
	cr_assert(shmlog_commit(producer, &claim, 10) == 0);
	cr_assert(read_lane(1) == 2);
	expect_gap(&seen[0], LOSS_FULL, 2);
	expect_claimed(&seen[1], 10);
}

Test(producer, in_the_shared_lane_the_commit_is_the_drop)
{
	struct shmlog_claim claim;

	use_one_lane();
	claim = must_claim(10);
	(void)test_fill(producer, 10);
	cr_assert(shmlog_commit(producer, &claim, 10) == -EAGAIN);
	cr_assert(test_stats(producer).dropped_full == 2);
	cr_assert(shmlog_commit(producer, &claim, 10) == -EBADF);
}

static void check_claim_level(uint32_t lane)
{
	struct shmlog_claim claim = must_claim(10);

	cr_assert(segment_set_level(&ring.segment, SHMLOG_ERROR) == 0);
	cr_assert(shmlog_commit(producer, &claim, 10) == 0);
	cr_assert(read_lane(lane) == 1 && test_read_stop(&ring, lane) == TAKE_EMPTY);
	cr_assert(test_stats(producer).dropped == 0);
}

Test(producer, a_claim_above_the_threshold_is_left_out_at_its_commit)
{
	check_claim_level(1);
}

Test(producer, a_claim_above_the_threshold_is_left_out_of_the_shared_lane)
{
	use_one_lane();
	check_claim_level(0);
}

Test(producer, giving_the_lane_back_aborts_the_claim)
{
	struct shmlog_claim claim = must_claim(10);

	cr_assert(shmlog_unbind(producer) == 0);
	cr_assert(test_read_stop(&ring, 1) == TAKE_EMPTY);
	test_push(producer, "bound again");
	cr_assert(shmlog_commit(producer, &claim, 10) == -EBADF);
	cr_assert(read_lane(1) == 3 && test_read_stop(&ring, 1) == TAKE_EMPTY);
}

/* The ring goes between claim and commit, and a new one comes: the claim's private memory must
 * outlive the old ring. */
Test(producer, a_claim_in_the_shared_lane_moves_on_with_the_handle)
{
	struct shmlog_claim claim;
	struct test_ring fresh;

	use_one_lane();
	claim = must_claim(500);
	test_remove(&ring);
	test_ring_make_again(&fresh, &ring, 1);
	cr_assert(shmlog_commit(producer, &claim, 500) == 0);
	cr_assert(test_read_all(&fresh, 0, seen, SEEN_MAX) == 2);
	expect_claimed(&seen[1], 500);
	test_ring_close(&fresh);
}

/* ---- a push inside a push ---- */

/* Reading from here raises SIGSEGV inside the copy of a push, which goes on when the handler has
 * made it readable. */
static uint8_t *trap;
enum { TRAP_SIZE = 100 };

static void (*in_handler)(void);
static volatile sig_atomic_t handled;
static sigjmp_buf way_out;

static void open_trap(void)
{
	if (mprotect(trap, RING_PAGE, PROT_READ | PROT_WRITE) < 0)
		abort();
	memset(trap, 't', TRAP_SIZE);
}

static void on_trap(int signal_no)
{
	(void)signal_no;
	if (handled++)
		abort(); /* a real one */
	in_handler();
	open_trap();
}

static void set_trap(void (*handler)(void), int flags)
{
	const struct sigaction action = { .sa_handler = on_trap, .sa_flags = flags };

	trap = mmap(NULL, RING_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert(trap != MAP_FAILED);
	in_handler = handler;
	handled = 0;
	cr_assert(sigaction(SIGSEGV, &action, NULL) == 0);
}

static int push_trapped(void)
{
	return shmlog_try_push(producer, trap, TRAP_SIZE);
}

static void expect_trapped(const struct seen *record)
{
	cr_assert(record->header.kind == RECORD_DATA && record->header.length == TRAP_SIZE);
	for (size_t i = 0; i < TRAP_SIZE; i++)
		cr_assert(record->payload[i] == 't');
}

static int inner_result;

static void push_inner(void)
{
	inner_result = shmlog_try_push(producer, "inner", 5);
}

static void check_nested(uint32_t lane)
{
	size_t count;

	cr_assert(push_trapped() == 0);
	cr_assert(handled == 1 && inner_result == -EAGAIN, "%s", shmlog_strerror(inner_result));
	cr_assert(test_stats(producer).dropped_busy == 1);
	test_push(producer, "after");
	count = read_lane(lane);
	cr_assert(count >= 3);
	expect_trapped(&seen[count - 3]);
	expect_gap(&seen[count - 2], LOSS_BUSY, 1);
	expect_text(&seen[count - 1], "after");
}

Test(producer, a_push_inside_the_first_push_is_a_counted_drop)
{
	set_trap(push_inner, 0);
	check_nested(1);
}

Test(producer, a_push_inside_a_fast_push_is_a_counted_drop)
{
	test_push(producer, "one");
	test_push(producer, "two");
	set_trap(push_inner, 0);
	check_nested(1);
}

Test(producer, a_push_inside_a_push_to_the_shared_lane_is_a_counted_drop)
{
	use_one_lane();
	test_push(producer, "one");
	set_trap(push_inner, 0);
	check_nested(0);
}

static void wait_inner(void)
{
	inner_result = shmlog_push_wait(producer, SHMLOG_INFO, "inner", 5, -1);
}

Test(producer, waiting_inside_a_push_does_not_wait_for_itself)
{
	test_push(producer, "one");
	set_trap(wait_inner, 0);
	check_nested(1);
}

static void use_signal_stack(void)
{
	static uint8_t memory[64 * 1024];
	const stack_t stack = { .ss_sp = memory, .ss_size = sizeof(memory) };

	cr_assert(sigaltstack(&stack, NULL) == 0);
}

Test(producer, a_push_on_a_signal_stack_inside_a_push_is_a_counted_drop)
{
	test_push(producer, "one");
	use_signal_stack();
	set_trap(push_inner, SA_ONSTACK);
	check_nested(1);
}

static void leave(void)
{
	siglongjmp(way_out, 1);
}

static void leave_after_push(void)
{
	push_inner();
	siglongjmp(way_out, 1);
}

/* A push that was left by siglongjmp never happened; those before and after it did. */
static void check_left(uint32_t lane)
{
	test_push(producer, "before");
	if (sigsetjmp(way_out, 1) == 0) {
		(void)push_trapped();
		cr_assert(false, "the handler has left");
	}
	open_trap();
	for (int i = 0; i < 3; i++)
		test_push(producer, "after");

	const size_t count = read_lane(lane);

	expect_text(&seen[1], "before");
	for (size_t i = count - 3; i < count; i++)
		expect_text(&seen[i], "after");
	cr_assert(test_count_data(&ring) == 4, "%zu", test_count_data(&ring));
}

Test(producer, pushes_go_on_after_one_that_was_left_by_siglongjmp)
{
	set_trap(leave, 0);
	check_left(1);
	cr_assert(test_stats(producer).dropped == 0);
}

Test(producer, pushes_go_on_after_one_that_was_left_from_a_signal_stack)
{
	use_signal_stack();
	set_trap(leave, SA_ONSTACK);
	check_left(1);
	cr_assert(test_stats(producer).dropped == 0);
}

static void *words_page;

static void leave_words(int signal_no)
{
	(void)signal_no;
	if (mprotect(words_page, RING_PAGE, PROT_READ | PROT_WRITE) < 0)
		abort();
	siglongjmp(way_out, 1);
}

/* As if the last push had been left between its publication and the step over it. */
static struct binding *leave_after_publish(uint32_t blocks)
{
	struct binding *binding = thread_bindings[token_slot(handle_token(producer))];
	const uintptr_t deeper = (uintptr_t)__builtin_frame_address(0) - 2048;

	store_relaxed(&binding->position, load_relaxed(&binding->position) - blocks);
	binding->busy = busy_mark(deeper);
	return binding;
}

Test(producer, a_recovery_that_is_left_is_made_again)
{
	const struct sigaction action = { .sa_handler = leave_words };
	const struct binding *binding;

	test_push(producer, "before");
	test_push(producer, "left");
	binding = leave_after_publish(1);
	words_page = binding->lane.words;
	cr_assert(sigaction(SIGSEGV, &action, NULL) == 0);
	cr_assert(mprotect(words_page, RING_PAGE, PROT_NONE) == 0);
	if (sigsetjmp(way_out, 1) == 0) {
		(void)shmlog_try_push(producer, "never", 5);
		cr_assert(false, "the handler has left");
	}
	test_push(producer, "after");
	cr_assert(read_lane(1) == 4);
	expect_text(&seen[2], "left");
	expect_text(&seen[3], "after");
}

Test(producer, pushes_go_on_after_one_to_the_shared_lane_that_was_left_by_siglongjmp)
{
	use_one_lane();
	set_trap(leave, 0);
	check_left(0);
	cr_assert(test_stats(producer).dropped == 0);
}

Test(producer, giving_the_shared_lane_back_settles_a_push_that_was_left)
{
	use_one_lane();
	test_push(producer, "before");
	set_trap(leave, 0);
	if (sigsetjmp(way_out, 1) == 0)
		(void)push_trapped();
	open_trap();
	cr_assert(test_read_stop(&ring, 0) == TAKE_CLAIMED);
	cr_assert(shmlog_unbind(producer) == 0);
	cr_assert(test_read_stop(&ring, 0) == TAKE_EMPTY);
}

static void *push_another(void *unused)
{
	(void)unused;
	test_push(producer, "another");
	return NULL;
}

/* A fellow's claims bear the same owner id: his are left alone. */
static void push_from_thread(void)
{
	pthread_t thread;

	cr_assert(pthread_create(&thread, NULL, push_another, NULL) == 0);
	cr_assert(pthread_join(thread, NULL) == 0);
}

Test(producer, a_push_that_is_under_way_is_no_left_one_to_other_threads)
{
	use_one_lane();
	test_push(producer, "one");
	set_trap(push_from_thread, 0);
	cr_assert(push_trapped() == 0);
	test_push(producer, "after");

	const size_t count = read_lane(0);

	expect_trapped(&seen[count - 3]);
	expect_text(&seen[count - 2], "another");
	expect_text(&seen[count - 1], "after");
}

Test(producer, an_open_claim_stays_open_when_a_push_behind_it_is_left)
{
	struct shmlog_claim claim = must_claim(100);

	set_trap(leave, 0);
	if (sigsetjmp(way_out, 1) == 0)
		(void)push_trapped();
	open_trap();
	test_push(producer, "behind");
	cr_assert(test_read_stop(&ring, 1) == TAKE_CLAIMED);
	cr_assert(shmlog_commit(producer, &claim, 100) == 0);
	cr_assert(read_lane(1) == 3);
	expect_claimed(&seen[1], 100);
	expect_text(&seen[2], "behind");
}

Test(producer, pushes_go_on_after_one_inside_which_another_was_refused)
{
	set_trap(leave_after_push, 0);
	check_left(1);
	cr_assert(inner_result == -EAGAIN && test_stats(producer).dropped_busy == 1);
}

static sig_atomic_t volatile usr1_result;

static void push_on_signal(int signal_no)
{
	(void)signal_no;
	usr1_result = shmlog_try_push(producer, "handled", 7);
}

static void check_first_push_in_handler(int flags)
{
	const struct sigaction action = { .sa_handler = push_on_signal, .sa_flags = flags };

	usr1_result = 1;
	cr_assert(sigaction(SIGUSR1, &action, NULL) == 0 && raise(SIGUSR1) == 0);
	cr_assert(usr1_result == 0);
	test_push(producer, "after");
	cr_assert(read_lane(1) == 3);
	expect_source(&seen[0], "tester");
	expect_text(&seen[1], "handled");
	expect_text(&seen[2], "after");
}

Test(producer, the_first_push_may_come_from_a_handler)
{
	check_first_push_in_handler(0);
}

Test(producer, the_first_push_may_come_from_a_signal_stack)
{
	use_signal_stack();
	check_first_push_in_handler(SA_ONSTACK);
}

/* ---- signals while binding ---- */

static uint8_t *blocks_trapped;
static uint64_t blocks_trapped_size;

/* Maps an own lane so that the first store into its blocks, that of SOURCE, raises SIGSEGV. */
static int map_trapped(void *address, size_t size, int protection, int flags, int fd, off_t offset,
		       void **ret)
{
	const struct geometry *geometry = &ring.segment.geometry;
	const int r = sys_real.map(address, size, protection, flags, fd, offset, ret);

	if (r == 0 && (uint64_t)offset == geometry_lane_offset(geometry, 1) &&
	    (protection & PROT_WRITE)) {
		blocks_trapped = (uint8_t *)*ret + geometry->blocks_offset;
		blocks_trapped_size = size - geometry->blocks_offset;
		if (mprotect(blocks_trapped, blocks_trapped_size, PROT_READ) < 0)
			abort();
	}
	return r;
}

static void push_while_binding(void)
{
	if (mprotect(blocks_trapped, blocks_trapped_size, PROT_READ | PROT_WRITE) < 0)
		abort();
	push_inner();
}

Test(producer, a_push_inside_the_binding_of_its_thread_loses_nothing_published)
{
	static struct sys sys; /* the handle keeps it */
	struct ring_map *map;
	uintptr_t token;
	size_t count;

	sys = sys_real;
	sys.map = map_trapped;
	shmlog_detach(&producer);
	cr_assert(attachment_map(&sys, ring.name, "tester", SHMLOG_INFO, &map) == 0);
	cr_assert(attachment_show(map, &token) == 0);
	producer = (struct shmlog *)token;
	set_trap(push_while_binding, 0);
	test_push(producer, "outer");
	cr_assert(handled == 1);
	test_push(producer, "after");
	count = read_lane(1);
	expect_source(&seen[0], "tester");
	expect_text(&seen[count - 1], "after");
	cr_assert(test_count_data(&ring) == 2u + (inner_result == 0), "%zu published, %s",
		  test_count_data(&ring), inner_result ? "refused" : "all three accepted");
	cr_assert(test_stats(producer).dropped == (inner_result != 0));
}

/* ---- the ring goes while a push is under way ---- */

static struct test_ring fresh_ring;

static void replace_and_push(void)
{
	test_remove(&ring);
	test_ring_make_again(&fresh_ring, &ring, 2);
	push_inner();
}

Test(producer, a_push_inside_a_push_leaves_the_outer_ones_lane_alone_when_the_ring_moves)
{
	test_push(producer, "one");
	set_trap(replace_and_push, 0);
	cr_assert(push_trapped() == 0);
	cr_assert(inner_result == -EAGAIN);
	cr_assert(read_lane(1) == 3);
	expect_trapped(&seen[2]);
	test_push(producer, "moved on");
	cr_assert(test_count_data(&fresh_ring) == 1);
}

static void *detach_elsewhere(void *log)
{
	struct shmlog *copy = log;

	shmlog_detach(&copy);
	return NULL;
}

static void detach_and_push(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, detach_elsewhere, producer) != 0 ||
	    pthread_join(thread, NULL) != 0)
		abort();
	push_inner();
}

Test(producer, a_push_inside_a_push_leaves_the_outer_ones_lane_alone_when_the_handle_ends)
{
	test_push(producer, "one");
	set_trap(detach_and_push, 0);
	cr_assert(push_trapped() == 0);
	cr_assert(inner_result == -EBADF || inner_result == -EAGAIN);
	cr_assert(read_lane(1) == 3);
	expect_trapped(&seen[2]);
	cr_assert(shmlog_try_push(producer, "x", 1) == -EBADF);
	cr_assert(test_lock_falls(&ring, LOCK_BYTE_LANE(1)));
}
