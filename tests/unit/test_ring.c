/*
 * test_ring.c - the protocol of one lane on plain arrays: what is claimed, published and buried is
 * what a look finds, at every lap, and nonsense ends every walk after a bounded number of steps.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "ring.h"

enum {
	N = 16,
	BLOCKS_MAX = N / 2,
	PAYLOAD_MAX = BLOCKS_MAX * BLOCK_SIZE - (int)sizeof(struct record_header),
	ME = 5,
	OTHER = 6,
};

static struct {
	struct lane lane;
	struct shared_u64 words[N];
	uint8_t blocks[N * BLOCK_SIZE];
	struct lane_status status;
	struct shared_u64 tail_hint;
} arena;

static void begin_at(uint64_t released)
{
	memset(&arena, 0, sizeof(arena));
	lane_init(&arena.lane, arena.words, arena.blocks, N, PAYLOAD_MAX);
	store_relaxed(&arena.status.released, released);
}

static void begin(void)
{
	begin_at(0);
}

TestSuite(ring, .init = begin, .timeout = 30);

static struct shared_lane shared_as(uint32_t owner)
{
	return (struct shared_lane){ .lane = arena.lane,
				     .released = &arena.status.released,
				     .tail_hint = &arena.tail_hint,
				     .owner = owner,
				     .clock = RING_CLOCK_MONOTONIC };
}

/* Claims @blocks as @owner. */
static int claim_as(uint32_t owner, uint32_t blocks, uint64_t *ret_position)
{
	const struct shared_lane shared = shared_as(owner);
	uint64_t ticks = 0;

	return ring_claim_shared(&shared, blocks, ret_position, &ticks);
}

static uint64_t must_claim(uint32_t owner, uint32_t blocks)
{
	uint64_t position = 0;
	const int r = claim_as(owner, blocks, &position);

	cr_assert(r == 0, "claim of %u blocks: %d", blocks, r);
	return position;
}

static void publish_kind(uint64_t position, uint32_t blocks, uint32_t owner, uint8_t kind)
{
	uint8_t payload[PAYLOAD_MAX];
	const struct record_header header = {
		.length = blocks * BLOCK_SIZE - (uint32_t)sizeof(header),
		.kind = kind,
		.ticks = position,
	};

	memset(payload, (int)(position * 7 + blocks), sizeof(payload));
	ring_fill(&arena.lane, position, &header, payload);
	ring_publish(&arena.lane, position, blocks, owner);
}

static void publish(uint64_t position, uint32_t blocks, uint32_t owner)
{
	publish_kind(position, blocks, owner, RECORD_DATA);
}

static void expect_record(uint64_t position, uint32_t blocks, uint32_t owner)
{
	struct taken taken;

	cr_assert(ring_look(&arena.lane, position, &taken) == TAKE_RECORD);
	cr_assert(taken.blocks == blocks && word_owner(taken.word) == owner);
	cr_assert(taken.header.ticks == position && taken.header.kind == RECORD_DATA);
	cr_assert(taken.header.length == blocks * BLOCK_SIZE - sizeof(taken.header));
	for (uint32_t i = 0; i < taken.header.length; i++)
		cr_assert(taken.payload[i] == (uint8_t)(position * 7 + blocks), "byte %u", i);
}

static enum take look_at(uint64_t position, uint32_t *ret_blocks)
{
	struct taken taken = { 0 };
	const enum take take = ring_look(&arena.lane, position, &taken);

	*ret_blocks = taken.blocks;
	return take;
}

static void expect_take(uint64_t position, enum take take, uint32_t blocks)
{
	uint32_t found;
	const enum take got = look_at(position, &found);

	cr_assert(got == take, "position %llu: %d, not %d", (unsigned long long)position, got,
		  take);
	cr_assert(take == TAKE_EMPTY || take == TAKE_CORRUPT || found == blocks);
}

static void set_word(uint64_t position, uint64_t word)
{
	store_relaxed(lane_word(&arena.lane, position), word);
}

static uint64_t get_word(uint64_t position)
{
	return load_relaxed(lane_word(&arena.lane, position));
}

static uint64_t word_at(uint64_t position, uint64_t blocks, uint64_t owner, uint64_t state)
{
	return word_make(lane_lap(&arena.lane, position), blocks, owner, state);
}

static void release(uint64_t position)
{
	store_release(&arena.status.released, position);
}

/* ---- publish and look ---- */

Test(ring, a_lane_that_was_never_used_is_empty_everywhere)
{
	for (uint64_t position = 0; position < N; position++)
		expect_take(position, TAKE_EMPTY, 0);
}

Test(ring, a_published_record_is_seen_whole)
{
	publish(0, 3, 0);
	expect_record(0, 3, 0);
	expect_take(3, TAKE_EMPTY, 0);
}

Test(ring, a_record_without_payload_takes_one_block)
{
	const struct record_header header = { .kind = RECORD_DATA };
	struct taken taken;

	cr_assert(record_blocks(0) == 1);
	ring_fill(&arena.lane, 0, &header, "");
	ring_publish(&arena.lane, 0, 1, 0);
	cr_assert(ring_look(&arena.lane, 0, &taken) == TAKE_RECORD && taken.header.length == 0);
}

Test(ring, blocks_of_a_record_grow_where_it_no_longer_fits)
{
	cr_assert(record_blocks(BLOCK_SIZE - sizeof(struct record_header)) == 1);
	cr_assert(record_blocks(BLOCK_SIZE - sizeof(struct record_header) + 1) == 2);
	cr_assert(record_blocks(PAYLOAD_MAX) == BLOCKS_MAX);
}

Test(ring, a_record_of_the_lap_before_is_not_there)
{
	publish(2, 1, 0);
	expect_record(2, 1, 0);
	expect_take(2 + N, TAKE_EMPTY, 0);
}

Test(ring, a_record_of_the_next_lap_under_an_old_position_is_corrupt)
{
	publish(2 + N, 1, 0);
	expect_take(2, TAKE_CORRUPT, 0);
}

Test(ring, padding_and_aborts_are_stepped_over)
{
	ring_skip(&arena.lane, N - 3, 3);
	expect_take(N - 3, TAKE_SKIP, 3);
}

Test(ring, an_own_claim_is_seen_until_it_is_published)
{
	ring_claim_own(&arena.lane, 4, 2);
	expect_take(4, TAKE_CLAIMED, 2);
	publish(4, 2, 0);
	expect_record(4, 2, 0);
}

/* Every shape that a word can have and should not, at a position five blocks before the end. */
Test(ring, a_look_refuses_every_senseless_word)
{
	const uint64_t position = N - 5;
	const struct {
		uint64_t blocks, state;
	} bad[] = {
		{ 0, WORD_READY },   { 0, WORD_SKIP },
		{ 0, WORD_CLAIMED }, { BLOCKS_MAX + 1, WORD_READY },
		{ 6, WORD_READY },   { 6, WORD_SKIP },
		{ 6, WORD_CLAIMED }, { WORD_BLOCKS_MAX, WORD_SKIP },
		{ 1, WORD_FREE },
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		set_word(position, word_at(position, bad[i].blocks, 0, bad[i].state));
		expect_take(position, TAKE_CORRUPT, 0);
	}
	set_word(position, word_at(position + N, 1, 0, WORD_READY));
	expect_take(position, TAKE_CORRUPT, 0);
	set_word(position, word_at(position, 5, 0, WORD_SKIP));
	expect_take(position, TAKE_SKIP, 5);
}

/* What the consumer would set a lane aside for, a new holder does not take it over with. */
Test(ring, burying_refuses_what_a_look_refuses)
{
	struct shared_u64 released = { 0 };
	uint64_t frontier, data;

	publish(0, 1, 0);
	set_word(1, word_at(1, 1, 0, WORD_FREE));
	cr_assert(ring_bury(&arena.lane, &released, 0, &frontier, &data) == -EUCLEAN);
}

Test(ring, a_new_holder_sweeps_away_what_looks_published_ahead_of_it)
{
	publish(0, 1, 0);
	set_word(1, word_at(1, 1, 0, WORD_READY));
	set_word(N - 1, word_at(N - 1, 1, 0, WORD_READY));
	set_word(2, word_at(2 + N, 1, 0, WORD_READY));
	set_word(0, word_at(N, 1, 0, WORD_READY));
	set_word(3, word_at(3, 1, 0, WORD_FREE));
	ring_sweep(&arena.lane, 1);
	for (uint64_t at = 1; at < N; at++)
		expect_take(at, TAKE_EMPTY, 0);
	expect_take(N, TAKE_EMPTY, 0);
}

Test(ring, sweeping_leaves_older_laps_alone)
{
	publish(0, 1, 0);
	publish(1, 2, 0);
	ring_sweep(&arena.lane, N + 1); /* one lap later, before the first of them is released */
	expect_take(0, TAKE_RECORD, 1);
	expect_take(1, TAKE_RECORD, 2);
	ring_sweep(&arena.lane, 3);
	expect_take(0, TAKE_RECORD, 1);
	expect_take(1, TAKE_RECORD, 2);
}

Test(ring, a_length_beyond_its_blocks_costs_only_that_record)
{
	struct record_header header = { .length = 2 * BLOCK_SIZE - sizeof(header) + 1,
					.kind = RECORD_DATA };

	memcpy(lane_block(&arena.lane, 0), &header, sizeof(header));
	ring_publish(&arena.lane, 0, 2, 0);
	expect_take(0, TAKE_REFUSED, 2);
	header.length = UINT32_MAX;
	memcpy(lane_block(&arena.lane, 0), &header, sizeof(header));
	expect_take(0, TAKE_REFUSED, 2);
	header.length = 2 * BLOCK_SIZE - sizeof(header);
	memcpy(lane_block(&arena.lane, 0), &header, sizeof(header));
	expect_take(0, TAKE_RECORD, 2);
}

Test(ring, producers_may_publish_data_sources_and_gaps_of_the_right_size)
{
	struct record_header header = { .kind = RECORD_DATA, .level = 7, .length = 9 };

	cr_assert(record_is_admissible(&header));
	header.level = 8;
	cr_assert(!record_is_admissible(&header));
	header = (struct record_header){ .kind = RECORD_SOURCE,
					 .length = sizeof(struct source_payload) };
	cr_assert(record_is_admissible(&header));
	header.length--;
	cr_assert(!record_is_admissible(&header));
	header = (struct record_header){ .kind = RECORD_GAP, .length = sizeof(struct gap_payload) };
	cr_assert(record_is_admissible(&header));
	header.length++;
	cr_assert(!record_is_admissible(&header));
	for (int kind = 0; kind < 256; kind++) {
		header = (struct record_header){ .kind = (uint8_t)kind };
		cr_assert(record_is_admissible(&header) == (kind == RECORD_DATA), "kind %d", kind);
	}
}

/* ---- claims in the shared lane ---- */

Test(ring, shared_claims_follow_each_other)
{
	cr_assert(must_claim(ME, 2) == 0);
	cr_assert(must_claim(OTHER, 3) == 2);
	expect_take(0, TAKE_CLAIMED, 2);
	expect_take(2, TAKE_CLAIMED, 3);
	publish(2, 3, OTHER);
	publish(0, 2, ME);
	expect_record(0, 2, ME);
	expect_record(2, 3, OTHER);
}

Test(ring, a_shared_claim_tells_its_owner)
{
	const uint64_t position = must_claim(OTHER, 2);

	cr_assert(get_word(position) == word_at(position, 2, OTHER, WORD_CLAIMED));
}

Test(ring, stamps_of_shared_claims_grow_with_positions)
{
	const struct shared_lane shared = shared_as(ME);
	uint64_t before = 0;

	for (int i = 0; i < N; i++) {
		uint64_t position, ticks;

		cr_assert(ring_claim_shared(&shared, 1, &position, &ticks) == 0);
		cr_assert(position == (uint64_t)i && ticks >= before && ticks != 0);
		before = ticks;
	}
}

Test(ring, a_full_lane_refuses_until_something_is_released)
{
	uint64_t position;

	for (int i = 0; i < 4; i++)
		publish(must_claim(ME, 4), 4, ME);
	cr_assert(claim_as(ME, 1, &position) == -EAGAIN);
	release(4);
	cr_assert(claim_as(ME, 5, &position) == -EAGAIN);
	cr_assert(must_claim(ME, 4) == N);
	cr_assert(claim_as(ME, 1, &position) == -EAGAIN);
	expect_record(4, 4, ME);
}

Test(ring, a_shared_record_that_does_not_fit_before_the_end_is_padded_to_it)
{
	publish(must_claim(ME, 7), 7, ME);
	publish(must_claim(ME, 7), 7, ME);
	release(7);
	cr_assert(must_claim(ME, 5) == N);
	expect_take(N - 2, TAKE_SKIP, 2);
	expect_take(N, TAKE_CLAIMED, 5);
}

Test(ring, padding_stays_where_the_record_then_finds_no_room)
{
	uint64_t position;

	publish(must_claim(ME, 7), 7, ME);
	publish(must_claim(ME, 7), 7, ME);
	cr_assert(claim_as(ME, 8, &position) == -EAGAIN);
	expect_take(N - 2, TAKE_SKIP, 2);
	expect_take(N, TAKE_EMPTY, 0);
	release(14);
	cr_assert(must_claim(ME, 8) == N);
}

/*
 * The writer and others go on between two looks of one claim: the page of the word and that of
 * `released` fault, one after the other, and what happens meanwhile happens in the handler.
 */
static struct {
	struct shared_u64 *words;
	struct shared_u64 *released;
	bool is_word_loaded;
} between;

static void others_go_on(void)
{
	for (uint64_t position = 24; position < 30; position++)
		ring_publish(&arena.lane, position, 1, OTHER);
	store_relaxed(between.released, 30);
}

static void on_fault(int signal_no)
{
	(void)signal_no;
	if (between.is_word_loaded) {
		(void)mprotect(between.released, RING_PAGE, PROT_READ | PROT_WRITE);
		others_go_on();
		return;
	}
	between.is_word_loaded = true;
	(void)mprotect(between.words, RING_PAGE, PROT_READ | PROT_WRITE);
	(void)mprotect(between.released, RING_PAGE, PROT_NONE);
}

static struct shared_u64 *map_page(void)
{
	void *page =
		mmap(NULL, RING_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert(page != MAP_FAILED);
	return page;
}

Test(ring, a_claim_that_was_overtaken_while_it_asked_for_room_looks_again)
{
	struct shared_lane shared = shared_as(ME);
	uint64_t position, ticks;

	between.words = map_page();
	between.released = map_page();
	arena.lane.words = between.words;
	shared.lane.words = between.words;
	shared.released = between.released;
	for (position = 0; position < 24; position++)
		ring_publish(&arena.lane, position, 1, OTHER);
	store_relaxed(between.released, 8); /* full up to 24 */
	store_relaxed(&arena.tail_hint, 24);
	cr_assert(signal(SIGSEGV, on_fault) != SIG_ERR);
	cr_assert(mprotect(between.words, RING_PAGE, PROT_NONE) == 0);
	cr_assert(ring_claim_shared(&shared, 6, &position, &ticks) == 0);
	/* Two blocks are left before the lane's end: they are padding. */
	cr_assert(position == 32);
	expect_take(30, TAKE_SKIP, 2);
	expect_take(32, TAKE_CLAIMED, 6);
}

Test(ring, a_claim_left_by_another_lap_is_no_obstacle)
{
	must_claim(OTHER, 8);
	must_claim(OTHER, 8);
	release(N);
	cr_assert(must_claim(ME, 3) == N);
}

/* One lap after another with all sizes: claimed, published, found, released. */
static void go_round(uint64_t from, unsigned laps)
{
	uint64_t expected = from;
	uint32_t blocks = 1;

	begin_at(from);
	while (expected < from + (uint64_t)laps * N) {
		const uint32_t to_end = N - lane_index(&arena.lane, expected);
		const uint64_t at = must_claim(ME, blocks);

		if (blocks > to_end) {
			expect_take(expected, TAKE_SKIP, to_end);
			expected += to_end;
		}
		cr_assert(at == expected, "claimed %llu, not %llu", (unsigned long long)at,
			  (unsigned long long)expected);
		publish(at, blocks, ME);
		expect_record(at, blocks, ME);
		expected += blocks;
		release(expected);
		expect_take(expected, TAKE_EMPTY, 0);
		blocks = blocks % BLOCKS_MAX + 1;
	}
}

Test(ring, records_of_all_sizes_go_round_the_lane)
{
	go_round(0, 40);
}

Test(ring, positions_pass_32_bits)
{
	go_round((UINT64_C(1) << 32) - 3 * N - 5, 8);
}

Test(ring, laps_pass_32_bits)
{
	go_round(((UINT64_C(1) << 32) - 3) * N - 5, 8);
}

Test(ring, laps_go_up_to_40_bits)
{
	go_round(((UINT64_C(1) << 40) - 9) * N, 7);
	cr_assert(word_lap(get_word(0)) > (UINT64_C(1) << 40) - 5);
}

Test(ring, a_senseless_hint_only_costs_steps)
{
	const uint64_t from = 10 * N + 3;
	const uint64_t hints[] = { 0,          from - 1,      from + N + 1, from + 7 * N,
				   UINT64_MAX, UINT64_MAX - N };

	for (size_t i = 0; i < COUNT_OF(hints); i++) {
		begin_at(from);
		publish(must_claim(ME, 2), 2, ME);
		store_relaxed(&arena.tail_hint, hints[i]);
		cr_assert(must_claim(ME, 3) == from + 2, "hint %zu", i);
	}
}

/* ---- bury ---- */

static int bury(uint32_t owner, uint64_t *ret_frontier, uint64_t *ret_data)
{
	return ring_bury(&arena.lane, &arena.status.released, owner, ret_frontier, ret_data);
}

static void expect_buried(uint32_t owner, uint64_t frontier, uint64_t data)
{
	uint64_t got_frontier = 0, got_data = 0;
	const int r = bury(owner, &got_frontier, &got_data);

	cr_assert(r == 0, "%d", r);
	cr_assert(got_frontier == frontier, "%llu", (unsigned long long)got_frontier);
	cr_assert(got_data == data, "%llu", (unsigned long long)got_data);
}

Test(ring, burying_an_empty_lane_finds_its_frontier_at_released)
{
	begin_at(3 * N + 4);
	expect_buried(0, 3 * N + 4, 0);
}

Test(ring, a_dead_claim_in_an_own_lane_becomes_a_skip)
{
	publish(0, 2, 0);
	ring_claim_own(&arena.lane, 2, 3);
	publish(5, 1, 0);
	expect_buried(0, 6, 2);
	expect_take(2, TAKE_SKIP, 3);
	cr_assert(word_is_dead(get_word(2)));
	expect_record(0, 2, 0);
	expect_record(5, 1, 0);
}

Test(ring, padding_is_not_a_dead_claim)
{
	ring_skip(&arena.lane, N - 2, 2);
	cr_assert(!word_is_dead(get_word(N - 2)));
}

Test(ring, in_the_shared_lane_only_the_own_ids_claims_are_buried)
{
	publish(must_claim(ME, 1), 1, ME);
	must_claim(ME, 2);
	must_claim(OTHER, 3);
	publish(must_claim(OTHER, 1), 1, OTHER);
	must_claim(ME, 1);
	expect_buried(ME, 8, 1);
	expect_take(1, TAKE_SKIP, 2);
	expect_take(3, TAKE_CLAIMED, 3);
	expect_take(7, TAKE_SKIP, 1);
	cr_assert(word_owner(get_word(1)) == ME && word_is_dead(get_word(1)));
}

/* In a lane of one's own nobody else can be alive, whatever a broken predecessor has written. */
Test(ring, in_an_own_lane_every_claim_is_buried)
{
	set_word(0, word_at(0, 2, OTHER, WORD_CLAIMED));
	expect_buried(0, 2, 0);
	expect_take(0, TAKE_SKIP, 2);
}

Test(ring, only_data_records_are_counted)
{
	publish_kind(0, 3, 0, RECORD_SOURCE);
	publish_kind(3, 2, 0, RECORD_GAP);
	publish(5, 1, 0);
	expect_buried(0, 6, 1);
}

Test(ring, what_lies_before_released_is_left_alone)
{
	must_claim(ME, 2);
	must_claim(ME, 2);
	release(2);
	expect_buried(ME, 4, 0);
	cr_assert(word_state(get_word(0)) == WORD_CLAIMED);
	cr_assert(word_state(get_word(2)) == WORD_SKIP);
}

Test(ring, a_full_lane_is_buried_up_to_its_end_and_no_further)
{
	for (uint64_t position = 0; position < N; position++)
		ring_claim_own(&arena.lane, position, 1);
	expect_buried(0, N, 0);
	for (uint64_t position = 0; position < N; position++)
		expect_take(position, TAKE_SKIP, 1);
}

/* ---- nonsense ---- */

static struct ring_survey survey(void)
{
	struct ring_survey result;

	ring_survey(&arena.lane, &arena.status, &result);
	return result;
}

static void expect_all_walks_give_up(const char *what)
{
	uint64_t position, data;

	store_relaxed(&arena.tail_hint, 0);
	cr_assert(claim_as(ME, 1, &position) == -EUCLEAN, "claim: %s", what);
	cr_assert(bury(ME, &position, &data) == -EUCLEAN, "bury: %s", what);
	cr_assert(bury(0, &position, &data) == -EUCLEAN, "bury an own lane: %s", what);
	cr_assert(survey().corrupt, "survey: %s", what);
}

Test(ring, every_walk_gives_up_on_senseless_words)
{
	const struct {
		const char *what;
		uint64_t word; /* at position 4, behind a record of 4 */
	} hostile[] = {
		{ "no blocks", word_make(1, 0, 0, WORD_READY) },
		{ "no blocks, claimed by me", word_make(1, 0, ME, WORD_CLAIMED) },
		{ "too many blocks", word_make(1, BLOCKS_MAX + 1, 0, WORD_SKIP) },
		{ "all blocks there are", word_make(1, WORD_BLOCKS_MAX, 0, WORD_READY) },
		{ "the next lap", word_make(2, 1, 0, WORD_READY) },
		{ "the last lap", word_make((UINT64_C(1) << 40) - 1, 1, 0, WORD_READY) },
		{ "all ones", UINT64_MAX },
	};

	for (size_t i = 0; i < COUNT_OF(hostile); i++) {
		begin();
		publish(0, 4, ME);
		set_word(4, hostile[i].word);
		expect_all_walks_give_up(hostile[i].what);
	}
}

Test(ring, every_walk_gives_up_on_a_record_past_the_end)
{
	publish(0, 7, ME);
	publish(7, 7, ME);
	set_word(14, word_at(14, 3, 0, WORD_READY));
	expect_all_walks_give_up("past the end");
}

/* A walker that believed these would go round for ever. */
Test(ring, every_walk_gives_up_where_all_words_are_of_the_next_lap)
{
	for (uint64_t position = 0; position < N; position++)
		set_word(position, word_at(position + N, 1, ME, WORD_READY));
	expect_all_walks_give_up("all a lap ahead");
}

/* From the middle of the lane on, this lap's words chain into a whole lap of the next one. */
Test(ring, every_walk_gives_up_where_more_than_the_lane_is_claimed)
{
	begin_at(N / 2);
	for (uint64_t position = N / 2; position < N; position++)
		set_word(position, word_at(position, 1, ME, WORD_READY));
	for (uint64_t position = N; position < N + N / 2 - 1; position++)
		set_word(position, word_at(position, 1, ME, WORD_READY));
	set_word(N + N / 2 - 1, word_at(N + N / 2 - 1, 2, ME, WORD_READY));
	expect_all_walks_give_up("a record over released + N");
}

Test(ring, a_survey_tells_what_waits_and_whose_it_is)
{
	store_relaxed(&arena.status.records_released, 100);
	publish(must_claim(ME, 1), 1, ME);
	publish(must_claim(OTHER, 2), 2, OTHER);
	publish(must_claim(ME, 3), 3, ME);
	publish_kind(must_claim(ME, 3), 3, ME, RECORD_SOURCE);
	must_claim(OTHER, 1);

	const struct ring_survey result = survey();

	cr_assert(!result.corrupt && result.released == 0 && result.frontier == 10);
	cr_assert(result.records_released == 100 && result.data_records == 3);
	cr_assert(result.by_owner[ME] == 2 && result.by_owner[OTHER] == 1);
	cr_assert(result.by_owner[0] == 0);
}

/* ---- many threads ---- */

enum { THREADS = 4, RECORDS_EACH = 20000, HAMMER_MAX = 300 };

struct hammer_record {
	uint32_t thread;
	uint32_t number;
	uint8_t fill[HAMMER_MAX];
};

static size_t hammer_size(uint32_t thread, uint32_t number)
{
	return offsetof(struct hammer_record, fill) + (thread * 37 + number * 11) % HAMMER_MAX;
}

/* Hints are only hints: this thread loses them, so that the others must walk. */
static struct shared_u32 stop_losing_hints;

static void *lose_hints(void *unused)
{
	(void)unused;
	while (!load_relaxed_u32(&stop_losing_hints)) {
		store_relaxed(&arena.tail_hint, 0);
		(void)sched_yield();
	}
	return NULL;
}

static char senseless[] = "a claim found the words senseless";

/* NULL if all went well. */
static void *hammer(void *argument)
{
	const uint32_t thread = (uint32_t)(uintptr_t)argument;
	const struct shared_lane shared = shared_as(thread + 1);

	for (uint32_t number = 0; number < RECORDS_EACH; number++) {
		struct hammer_record record = { .thread = thread, .number = number };
		struct record_header header = { .length = (uint32_t)hammer_size(thread, number),
						.kind = RECORD_DATA };
		const uint32_t blocks = record_blocks(header.length);
		uint64_t position;
		int r;

		memset(record.fill, (int)(thread + number), sizeof(record.fill));
		while ((r = ring_claim_shared(&shared, blocks, &position, &header.ticks)) ==
		       -EAGAIN)
			(void)sched_yield();
		if (r < 0)
			return senseless;
		ring_fill(&shared.lane, position, &header, &record);
		ring_publish(&shared.lane, position, blocks, shared.owner);
	}
	return NULL;
}

static void check_hammered(const struct taken *taken, uint32_t next[THREADS], uint64_t *last_ticks)
{
	struct hammer_record record;

	cr_assert(taken->header.length <= sizeof(record));
	memcpy(&record, taken->payload, taken->header.length);
	cr_assert(record.thread < THREADS && word_owner(taken->word) == record.thread + 1);
	cr_assert(record.number == next[record.thread], "thread %u: %u, not %u", record.thread,
		  record.number, next[record.thread]);
	cr_assert(taken->header.length == hammer_size(record.thread, record.number));
	for (size_t i = 0; i < taken->header.length - offsetof(struct hammer_record, fill); i++)
		cr_assert(record.fill[i] == (uint8_t)(record.thread + record.number), "torn");
	cr_assert(taken->header.ticks >= *last_ticks, "stamps fall");
	*last_ticks = taken->header.ticks;
	next[record.thread]++;
}

static void consume(uint32_t total)
{
	uint32_t next[THREADS] = { 0 };
	uint64_t position = load_relaxed(&arena.status.released);
	uint64_t last_ticks = 0;

	for (uint32_t seen = 0; seen < total;) {
		struct taken taken;
		const enum take take = ring_look(&arena.lane, position, &taken);

		if (take == TAKE_EMPTY || take == TAKE_CLAIMED) {
			(void)sched_yield();
			continue;
		}
		cr_assert(take == TAKE_RECORD || take == TAKE_SKIP, "take %d", take);
		if (take == TAKE_RECORD) {
			check_hammered(&taken, next, &last_ticks);
			seen++;
		}
		position += taken.blocks;
		release(position);
	}
	for (uint32_t thread = 0; thread < THREADS; thread++)
		cr_assert(next[thread] == RECORDS_EACH);
	expect_take(position, TAKE_EMPTY, 0);
}

static void run_hammer(bool with_hints)
{
	pthread_t threads[THREADS], loser;

	/* Just before positions that don't fit 32 bits. */
	begin_at((UINT64_C(1) << 32) - 5 * N);
	if (!with_hints)
		cr_assert(pthread_create(&loser, NULL, lose_hints, NULL) == 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert(pthread_create(&threads[i], NULL, hammer, (void *)i) == 0);
	consume(THREADS * RECORDS_EACH);
	for (size_t i = 0; i < THREADS; i++) {
		void *problem;

		cr_assert(pthread_join(threads[i], &problem) == 0);
		cr_assert(problem == NULL, "%s", (const char *)problem);
	}
	store_relaxed_u32(&stop_losing_hints, 1);
	if (!with_hints)
		cr_assert(pthread_join(loser, NULL) == 0);
}

Test(ring, threads_that_share_a_lane_lose_tear_and_double_nothing)
{
	run_hammer(true);
}

Test(ring, threads_that_share_a_lane_do_so_without_hints)
{
	run_hammer(false);
}

/* ---- many threads, nobody who drains ---- */

enum { ROUNDS = 3000 };

static pthread_barrier_t barrier;

static void *fill_rounds(void *argument)
{
	const uint32_t owner = (uint32_t)(uintptr_t)argument + 1;
	char *problem = NULL;

	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t position;
		int r;

		(void)pthread_barrier_wait(&barrier);
		while ((r = claim_as(owner, 1, &position)) == 0)
			publish(position, 1, owner);
		if (r != -EAGAIN)
			problem = senseless;
		(void)pthread_barrier_wait(&barrier);
	}
	return problem;
}

/* Who loses every race for a block looks at each twice; that is not a senseless lane. */
Test(ring, threads_that_fill_a_lane_together_find_it_full_not_senseless)
{
	pthread_t threads[THREADS];

	cr_assert(pthread_barrier_init(&barrier, NULL, THREADS + 1) == 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert(pthread_create(&threads[i], NULL, fill_rounds, (void *)i) == 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		release((uint64_t)round * N);
		store_relaxed(&arena.tail_hint, 0);
		(void)pthread_barrier_wait(&barrier);
		(void)pthread_barrier_wait(&barrier);
	}
	for (size_t i = 0; i < THREADS; i++) {
		void *problem;

		cr_assert(pthread_join(threads[i], &problem) == 0);
		cr_assert(problem == NULL, "%s", (const char *)problem);
	}
}
