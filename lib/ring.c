/*
 * ring.c - the parts of a lane's protocol that are not on an own lane's hot path. See ring.h.
 */
#include "ring.h"

#include <errno.h>

void lane_init(struct lane *lane, void *words, void *blocks, uint32_t block_count,
	       uint32_t record_max)
{
	assert(is_power_of_two(block_count));
	assert(record_blocks(record_max) <= block_count / 2);
	*lane = (struct lane){
		.words = words,
		.blocks = blocks,
		.mask = block_count - 1,
		.block_count = block_count,
		.lap_shift = (uint32_t)__builtin_ctz(block_count),
		.blocks_max = record_blocks(record_max),
	};
}

void ring_skip(const struct lane *lane, uint64_t position, uint32_t blocks)
{
	const uint64_t word = word_make(lane_lap(lane, position), blocks, 0, WORD_SKIP);

	store_release(lane_word(lane, position), word); /* MO skip:A -> look:A */
}

void ring_claim_own(const struct lane *lane, uint64_t position, uint32_t blocks)
{
	const uint64_t word = word_make(lane_lap(lane, position), blocks, 0, WORD_CLAIMED);

	store_release(lane_word(lane, position), word); /* MO claim:A -> look:A */
}

/* A walk along the words from `released`; see I4. */
struct walk {
	const struct lane *lane;
	const struct shared_u64 *released_word;
	uint64_t released; /* as last loaded        */
	uint64_t position;
	uint32_t steps;
	uint32_t turns; /* times that new steps were earned */
};

/* Nobody honest laps a walk as often as this. */
enum { TURNS_MAX = 4096 };

/* Progress of the consumer earns new steps: others may go round the lane while we are preempted. */
static void walk_reload(struct walk *walk)
{
	const uint64_t released = load_acquire(walk->released_word); /* MO reuse:B <- release:A */

	if (released != walk->released && walk->turns < TURNS_MAX) {
		walk->turns++;
		walk->steps = 0;
	}
	walk->released = released;
	walk->position = max_u64(walk->position, released);
}

static void walk_begin(struct walk *walk, const struct lane *lane,
		       const struct shared_u64 *released_word, uint64_t hint)
{
	*walk = (struct walk){ .lane = lane, .released_word = released_word, .position = hint };
	walk_reload(walk);
	/* A hint is only a place to look from: one beyond a full lane is nonsense. */
	if (walk->position - walk->released > lane->block_count)
		walk->position = walk->released;
}

/*
 * Step to the next position whose word is of this lap (1: *ret_word) or to the frontier (0).
 * The caller moves on from a word by walk_pass(). -EUCLEAN: nonsense, or too many steps.
 */
static int walk_look(struct walk *walk, uint64_t *ret_word)
{
	for (;;) {
		const struct shared_u64 *at = lane_word(walk->lane, walk->position);
		const uint64_t lap = lane_lap(walk->lane, walk->position);
		const uint64_t word = load_acquire(at); /* MO look:A <- publish:A */

		/* Who loses the race for a word looks at it twice. */
		if (walk->steps++ > 2 * walk->lane->block_count)
			return -EUCLEAN;
		*ret_word = word;
		if (word_lap(word) == lap)
			return 1;
		if (word_lap(word) < lap)
			return 0;
		walk_reload(walk); /* a lap behind: the consumer and others have gone on */
	}
}

static int walk_pass(struct walk *walk, uint64_t word)
{
	const struct lane *lane = walk->lane;
	const uint32_t blocks = word_blocks(word);

	/* What the consumer would set the lane aside for, nobody may build on. */
	if (word_state(word) == WORD_FREE || blocks == 0 || blocks > lane->blocks_max ||
	    blocks > lane->block_count - lane_index(lane, walk->position))
		return -EUCLEAN;
	walk->position += blocks;
	if (walk->position - walk->released > lane->block_count)
		walk_reload(walk);
	return walk->position - walk->released > lane->block_count ? -EUCLEAN : 0;
}

/*
 * Is there room for @blocks at the walk's position? Asks the writer again before it says no. 1, or
 * -EAGAIN. 0: look again. He and others have gone on beyond the position since its word was loaded,
 * and the walk stands elsewhere now: that word and what followed from it say nothing there.
 */
static int walk_has_room(struct walk *walk, uint32_t blocks)
{
	const uint64_t position = walk->position;
	const uint64_t end = position + blocks;

	if (end - walk->released > walk->lane->block_count)
		walk_reload(walk);
	if (walk->position != position)
		return 0;
	return end - walk->released <= walk->lane->block_count ? 1 : -EAGAIN;
}

static bool try_swap(const struct lane *lane, uint64_t position, uint64_t seen, uint64_t word)
{
	return swap_relaxed(lane_word(lane, position), seen, word);
}

/* At the frontier: claim there. 1 done, 0 look again, -EAGAIN no room. */
static int claim_at(const struct shared_lane *shared, struct walk *walk, uint64_t seen,
		    uint32_t blocks, uint64_t *ret_ticks)
{
	const struct lane *lane = &shared->lane;
	const uint64_t lap = lane_lap(lane, walk->position);
	const uint32_t to_end = lane->block_count - lane_index(lane, walk->position);
	int r;

	r = walk_has_room(walk, blocks > to_end ? to_end : blocks);
	if (r <= 0)
		return r;
	if (blocks > to_end) {
		(void)try_swap(lane, walk->position, seen,
			       word_make(lap, to_end, shared->owner, WORD_SKIP));
		return 0;
	}
	if (shared->intent)
		store_release(shared->intent, walk->position + 1); /* MO intent:A -> intent:B */
	*ret_ticks = clock_stamp(shared->clock);
	return swap_acq_rel(lane_word(lane, walk->position), seen, /* MO mine:A -> mine:B */
			    word_make(lap, blocks, shared->owner, WORD_CLAIMED));
}

int ring_claim_shared(const struct shared_lane *shared, uint32_t blocks, uint64_t *ret_position,
		      uint64_t *ret_ticks)
{
	const uint64_t hint = load_acquire(shared->tail_hint); /* MO hint:B <- hint:A */
	struct walk walk;
	uint64_t word;
	int r;

	walk_begin(&walk, &shared->lane, shared->released, hint);
	for (;;) {
		r = walk_look(&walk, &word);
		if (r > 0)
			r = walk_pass(&walk, word);
		else if (r == 0)
			r = claim_at(shared, &walk, word, blocks, ret_ticks);
		if (r < 0 && shared->intent)
			store_release(shared->intent, 0); /* MO intent:A -> intent:B */
		if (r < 0)
			return r;
		if (r > 0)
			break;
	}
	store_release(shared->tail_hint, walk.position + blocks); /* MO hint:A -> hint:B */
	*ret_position = walk.position;
	return 0;
}

static bool is_ready_data(const struct lane *lane, uint64_t position, uint64_t word)
{
	struct record_header header;

	if (word_state(word) != WORD_READY)
		return false;
	memcpy(&header, lane_block(lane, position), sizeof(header));
	return header.kind == RECORD_DATA;
}

/* In an own lane every claim is a predecessor's, whatever owner a broken one may have written. */
static bool is_of(uint64_t word, uint32_t owner)
{
	return owner == 0 || word_owner(word) == owner;
}

/* True: the word is settled, the walk may pass it. */
static bool bury_one(const struct lane *lane, uint64_t position, uint64_t word, uint32_t owner)
{
	const uint64_t dead = UINT64_C(1) << WORD_DEAD_SHIFT;

	if (word_state(word) != WORD_CLAIMED || !is_of(word, owner))
		return true;
	return try_swap(lane, position, word, word | dead | WORD_SKIP);
}

bool ring_bury_at(const struct lane *lane, uint64_t position, uint32_t owner,
		  bool (*may_be_anothers)(const void *argument), const void *argument)
{
	const uint64_t word = load_acquire(lane_word(lane, position)); /* MO mine:B <- mine:A */

	if (word_lap(word) != lane_lap(lane, position) || word_state(word) != WORD_CLAIMED ||
	    word_owner(word) != owner)
		return true;
	if (may_be_anothers(argument))
		return false;
	(void)bury_one(lane, position, word, owner);
	return true;
}

int ring_bury(const struct lane *lane, const struct shared_u64 *released, uint32_t owner,
	      uint64_t *ret_frontier, uint64_t *ret_data)
{
	struct walk walk;
	uint64_t data = 0;
	uint64_t word;
	int r;

	walk_begin(&walk, lane, released, 0);
	while ((r = walk_look(&walk, &word)) > 0) {
		if (!bury_one(lane, walk.position, word, owner))
			continue;
		data += is_of(word, owner) && is_ready_data(lane, walk.position, word);
		r = walk_pass(&walk, word);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	*ret_frontier = walk.position;
	*ret_data = data;
	return 0;
}

void ring_sweep(const struct lane *lane, uint64_t frontier)
{
	for (uint32_t i = 0; i < lane->block_count; i++) {
		struct shared_u64 *word = lane_word(lane, frontier + i);

		if (unlikely(word_lap(load_relaxed(word)) >= lane_lap(lane, frontier + i)))
			store_relaxed(word, 0);
	}
}

bool record_is_admissible(const struct record_header *header)
{
	switch (header->kind) {
	case RECORD_DATA:
		return header->level <= 7;
	case RECORD_SOURCE:
		return header->length == sizeof(struct source_payload);
	case RECORD_GAP:
		return header->length == sizeof(struct gap_payload);
	default:
		return false;
	}
}

static void survey_walk(const struct lane *lane, const struct lane_status *status,
			struct ring_survey *survey)
{
	struct walk walk;
	uint64_t word;
	int r;

	walk_begin(&walk, lane, &status->released, 0);
	survey->released = walk.released;
	survey->records_released = load_relaxed(&status->records_released);
	while ((r = walk_look(&walk, &word)) > 0) {
		if (is_ready_data(lane, walk.position, word)) {
			survey->data_records++;
			survey->by_owner[word_owner(word)]++;
		}
		r = walk_pass(&walk, word);
		if (r < 0)
			break;
	}
	survey->corrupt = r < 0;
	survey->frontier = walk.position;
}

/* The writer releases what is being counted: count again, a few times, when it did. */
void ring_survey(const struct lane *lane, const struct lane_status *status, struct ring_survey *ret)
{
	for (unsigned i = 0; i < 8; i++) {
		*ret = (struct ring_survey){ 0 };
		survey_walk(lane, status, ret);
		copy_before_recheck_fence();
		if (load_acquire(&status->released) == ret->released) /* MO survey:A <- release:A */
			return;
	}
}
