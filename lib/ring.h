/*
 * ring.h - one lane: publish, claim, bury, look. Pure over memory: no system call, no lock.
 *
 * Works on any memory that has the shape of a lane, so tests, fuzzers and sanitizers run it on
 * plain arrays. docs/MEMORY_ORDER.md lists the pairs of ordered accesses by their MO labels.
 *
 * I1. The word of a position's first block is the only thing that says what lies there. It goes
 *     from an older lap to CLAIMED or straight to READY or SKIP, from CLAIMED to READY or SKIP,
 *     and then stays until a later lap.
 * I2. All claimed positions chain without a hole: p is claimed only after everything before it.
 *     So every position that a walk from `released` reaches is a record boundary, and the first
 *     word of an older lap is the frontier.
 * I3. Nobody stores into [released, frontier) but the claimer of a record into his own.
 * I4. Words come from others: every walk checks 1 <= blocks <= maximum and that the record stays
 *     in the lane, passes at most N blocks, and gives up (-EUCLEAN, TAKE_CORRUPT) otherwise.
 */
#ifndef SHMLOG_LIB_RING_H
#define SHMLOG_LIB_RING_H

#include <string.h>

#include "base.h"
#include "clock.h"
#include "ring_layout.h"

/* A mapped lane. The consumer and tools map it read-only and call only what says `look`. */
struct lane {
	struct shared_u64 *words;
	uint8_t *blocks;
	uint32_t mask;        /* N - 1                                     */
	uint32_t lap_shift;   /* log2(N)                                   */
	uint32_t block_count; /* N, a power of two                         */
	uint32_t blocks_max;  /* of one record                             */
};

/* @block_count is a power of two; @record_max in bytes of payload. */
void lane_init(struct lane *lane, void *words, void *blocks, uint32_t block_count,
	       uint32_t record_max);

/* Words. */
static inline uint64_t word_make(uint64_t lap, uint64_t blocks, uint64_t owner, uint64_t state)
{
	return lap << WORD_LAP_SHIFT | blocks << WORD_BLOCKS_SHIFT | owner << WORD_OWNER_SHIFT |
	       state;
}

static inline uint64_t word_lap(uint64_t word)
{
	return word >> WORD_LAP_SHIFT;
}

static inline uint32_t word_blocks(uint64_t word)
{
	return (uint32_t)(word >> WORD_BLOCKS_SHIFT) & WORD_BLOCKS_MAX;
}

static inline uint32_t word_owner(uint64_t word)
{
	return (uint32_t)(word >> WORD_OWNER_SHIFT) & (OWNER_IDS - 1);
}

static inline enum word_state word_state(uint64_t word)
{
	return (enum word_state)(word & 3);
}

/* A SKIP over a claim whose owner died, as opposed to padding and aborts. */
static inline bool word_is_dead(uint64_t word)
{
	return word >> WORD_DEAD_SHIFT & 1;
}

/* Positions. Laps wrap at 2^40: 139 years of a 4 MiB lane at 1 GB/s. */
static inline uint32_t lane_index(const struct lane *lane, uint64_t position)
{
	return (uint32_t)position & lane->mask;
}

static inline uint64_t lane_lap(const struct lane *lane, uint64_t position)
{
	return ((position >> lane->lap_shift) + 1) & (UINT64_MAX >> WORD_LAP_SHIFT);
}

static inline struct shared_u64 *lane_word(const struct lane *lane, uint64_t position)
{
	return &lane->words[lane_index(lane, position)];
}

static inline uint8_t *lane_block(const struct lane *lane, uint64_t position)
{
	return lane->blocks + (size_t)lane_index(lane, position) * BLOCK_SIZE;
}

/* Blocks of a record with @size bytes of payload. */
static inline uint32_t record_blocks(size_t size)
{
	return (uint32_t)((sizeof(struct record_header) + size + BLOCK_SIZE - 1) / BLOCK_SIZE);
}

/* The READY word of a record; the same for all records of a size in one lap. */
static inline uint64_t ring_ready_word(const struct lane *lane, uint64_t position, uint32_t blocks,
				       uint32_t owner)
{
	return word_make(lane_lap(lane, position), blocks, owner, WORD_READY);
}

/* Publish: the only place where a record becomes visible. */
static inline void ring_publish_word(const struct lane *lane, uint64_t position, uint64_t word)
{
	store_release(lane_word(lane, position), word); /* MO publish:A -> look:A */
}

static inline void ring_publish(const struct lane *lane, uint64_t position, uint32_t blocks,
				uint32_t owner)
{
	ring_publish_word(lane, position, ring_ready_word(lane, position, blocks, owner));
}

static inline void ring_fill(const struct lane *lane, uint64_t position,
			     const struct record_header *header, const void *payload)
{
	uint8_t *block = lane_block(lane, position);

	memcpy(block, header, sizeof(*header));
	if (likely(header->length))
		memcpy(block + sizeof(*header), payload, header->length);
}

/* A SKIP over @blocks from @position, stored by who holds the lane alone: padding or an abort. */
void ring_skip(const struct lane *lane, uint64_t position, uint32_t blocks);

/* A CLAIMED word, stored by who holds the lane alone. */
void ring_claim_own(const struct lane *lane, uint64_t position, uint32_t blocks);

/* A claimant's view of the shared lane. */
struct shared_lane {
	struct lane lane;
	const struct shared_u64 *released; /* in the writer's status                     */
	struct shared_u64 *tail_hint;      /* in the lane's page                         */
	/* Where this thread is going to claim, or claimed last, + 1; 0 = nowhere. Stored before the
	 * claim: who shares the owner id knows by it whose a claim may be. NULL: nobody asks. */
	struct shared_u64 *intent;
	uint32_t owner;
	enum ring_clock clock;
};

/**
 * ring_claim_shared() - claim @blocks contiguous blocks by compare-and-swap of their word.
 * @ret_position: where; fill it, then ring_publish() with the owner.
 * @ret_ticks: the clock, read between the last look and the swap: stamps grow with positions.
 *
 * Claiming and naming the claimer are one instruction, so no hole without an owner can exist. A
 * record that does not fit before the lane's end is preceded by a SKIP, claimed and committed by
 * one swap, which stays even if the record then finds no room.
 * Return: 0; -EAGAIN no room; -EUCLEAN the words make no sense.
 * Crash: a claim left behind is stepped over by the consumer once the owner's lock has fallen, and
 *        turned into SKIP by ring_bury() of the id's next holder.
 */
int ring_claim_shared(const struct shared_lane *shared, uint32_t blocks, uint64_t *ret_position,
		      uint64_t *ret_ticks);

/**
 * ring_bury() - walk from `released` to the frontier and turn every claim of @owner into SKIP.
 * @owner: an owner id in lane 0; 0 in an own lane.
 *
 * Called by who has just taken the lock of a lane or an owner id, before anything else: holding it
 * proves the predecessor dead. By compare-and-swap from the exact word: the consumer may have
 * stepped over the dead claim already, and the block may be somebody else's one lap later.
 * @ret_frontier: where the walk ended; @ret_data: READY DATA records seen (of @owner in lane 0).
 * Return: 0; -EUCLEAN.
 */
int ring_bury(const struct lane *lane, const struct shared_u64 *released, uint32_t owner,
	      uint64_t *ret_frontier, uint64_t *ret_data);

/**
 * ring_bury_at() - turn a claim of @owner at @position, which nobody will publish, into SKIP.
 * @may_be_anothers: is somebody else with that id perhaps at it? Asked when there is a claim.
 * Return: false: there is one, and it may be another's.
 */
bool ring_bury_at(const struct lane *lane, uint64_t position, uint32_t owner,
		  bool (*may_be_anothers)(const void *argument), const void *argument);

/**
 * ring_sweep() - take the words away that a broken predecessor left ahead of the frontier.
 *
 * Called by the holder of an own lane after ring_bury(). Ahead of it every word is of an older lap
 * than its position's; one that is not would be taken for a record, and the consumer would leave
 * the holder's chain there.
 */
void ring_sweep(const struct lane *lane, uint64_t frontier);

enum take {
	TAKE_EMPTY,   /* nothing published here yet                                       */
	TAKE_RECORD,  /* a record; its header is copied and checked, its payload is not   */
	TAKE_REFUSED, /* a sane word over a record that fails its checks                  */
	TAKE_SKIP,    /* nothing to deliver                                               */
	TAKE_CLAIMED, /* somebody is writing it, or died meanwhile: ask the lock          */
	TAKE_CORRUPT, /* the next boundary is unknown                                     */
};

struct taken {
	uint64_t word;
	uint32_t blocks;
	struct record_header header; /* private; length fits the blocks                     */
	const uint8_t *payload;      /* in the lane: copy once, then check the copy         */
};

/* What lies at @position, stored nowhere. The consumer's only look into a lane. */
static inline enum take ring_look(const struct lane *lane, uint64_t position, struct taken *ret)
{
	const uint64_t word = load_acquire(lane_word(lane, position)); /* MO look:A <- publish:A */
	const uint64_t lap = lane_lap(lane, position);
	const uint8_t *block = lane_block(lane, position);

	if (word_lap(word) != lap)
		return word_lap(word) < lap ? TAKE_EMPTY : TAKE_CORRUPT;
	ret->word = word;
	ret->blocks = word_blocks(word);
	if (ret->blocks == 0 || ret->blocks > lane->blocks_max ||
	    ret->blocks > lane->block_count - lane_index(lane, position))
		return TAKE_CORRUPT;
	if (word_state(word) == WORD_SKIP)
		return TAKE_SKIP;
	if (word_state(word) == WORD_CLAIMED)
		return TAKE_CLAIMED;
	if (unlikely(word_state(word) != WORD_READY))
		return TAKE_CORRUPT;
	/* Once: what is checked is what is used, whoever stores there meanwhile. */
	load_words(&ret->header, block, sizeof(ret->header) / 8);
	if (ret->header.length > ret->blocks * BLOCK_SIZE - sizeof(ret->header))
		return TAKE_REFUSED;
	ret->payload = block + sizeof(ret->header);
	return TAKE_RECORD;
}

/* May a producer have published this itself? */
bool record_is_admissible(const struct record_header *header);

/* What lies between `released` and the frontier, counted by who is neither producer nor writer. */
struct ring_survey {
	uint64_t released;
	uint64_t frontier;
	uint64_t records_released;    /* DATA records before `released`             */
	uint64_t data_records;        /* READY DATA records from there              */
	uint64_t by_owner[OWNER_IDS]; /* the same by the word's owner; [0] own lanes */
	bool corrupt;
};
void ring_survey(const struct lane *lane, const struct lane_status *status,
		 struct ring_survey *ret);

#endif
