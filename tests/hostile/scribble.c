/*
 * scribble.c - what to store. See scribble.h. Stores are plain: a broken program's are.
 */
#include "scribble.h"

#include <string.h>

struct dice dice_of(uint64_t seed)
{
	return (struct dice){ seed * UINT64_C(0x9e3779b97f4a7c15) + 1 };
}

uint64_t dice_roll(struct dice *dice)
{
	uint64_t mixed = dice->state += UINT64_C(0x9e3779b97f4a7c15);

	mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
	return mixed ^ mixed >> 31;
}

uint64_t dice_below(struct dice *dice, uint64_t end)
{
	return dice_roll(dice) % end;
}

uint64_t evil_value(struct dice *dice, uint64_t old)
{
	static const uint64_t chosen[] = {
		0,         1,          2,          UINT64_MAX,           UINT64_MAX - 1,
		INT64_MAX, UINT32_MAX, INT32_MAX,  UINT64_C(1) << 63,    UINT64_C(1) << 62,
		4095,      4096,       0xffff,     240 * 1024,           240 * 1024 + 1,
		1024,      16384,      0x41414141, UINT64_C(1) << 40,    (UINT64_C(1) << 40) - 1,
		511,       512,        256,        UINT64_C(0xff) << 56, UINT64_C(0xffffffff) << 24,
	};
	const uint64_t kind = dice_below(dice, 8);

	switch (kind) {
	case 0:
		return dice_roll(dice);
	case 1:
		return old + 1;
	case 2:
		return old - 1;
	case 3:
		return old ^ UINT64_C(1) << dice_below(dice, 64);
	case 4:
		return old + (UINT64_C(1) << dice_below(dice, 64));
	default:
		return chosen[dice_below(dice, COUNT_OF(chosen))];
	}
}

static uint64_t load(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static void store(uint8_t *at, uint64_t value, size_t size)
{
	memcpy(at, &value, size);
}

void scribble(struct dice *dice, uint8_t *base, size_t size)
{
	const size_t words = size / 8;
	uint8_t *at = base + 8 * dice_below(dice, words);
	const size_t left = (size_t)(base + size - at);
	size_t run = 8 * (1 + dice_below(dice, 64));

	run = run < left ? run : left;
	switch (dice_below(dice, 8)) {
	case 0:
		memset(at, (int)dice_roll(dice), run);
		break;
	case 1:
		memmove(at, base + 8 * dice_below(dice, words - run / 8 + 1), run);
		break;
	case 2: /* one field of two or four bytes, or half of it */
		at += 2 * dice_below(dice, 3);
		store(at, evil_value(dice, load(at - 4 < base ? base : at - 4)), 2);
		break;
	case 3:
		at += 4 * dice_below(dice, 2);
		store(at, evil_value(dice, load(at - 4 < base ? base : at - 4)), 4);
		break;
	case 4: /* a structure of counters */
		for (size_t i = 0; i < run; i += 8)
			store(at + i, evil_value(dice, load(at + i)), 8);
		break;
	default:
		store(at, evil_value(dice, load(at)), 8);
	}
}

void scribble_words(struct dice *dice, uint64_t *words, uint32_t blocks, uint64_t near)
{
	const bool is_near = dice_below(dice, 2);
	const uint64_t lap =
		is_near ? near / blocks + 1 : words[dice_below(dice, blocks)] >> WORD_LAP_SHIFT;
	const uint64_t laps[] = { lap, lap, lap, lap + 1, lap - 1, 0, (UINT64_C(1) << 40) - 1 };
	const uint64_t sizes[] = { 1, 1, 2, 3, 0, 4095, blocks, blocks / 2 };
	const uint64_t states[] = { WORD_READY, WORD_READY, WORD_CLAIMED, WORD_SKIP, WORD_FREE };
	uint32_t at = (uint32_t)dice_below(dice, blocks);

	if (is_near)
		at = (uint32_t)(near + dice_below(dice, 4)) & (blocks - 1);
	for (uint64_t count = 1 + dice_below(dice, 64); count > 0 && at < blocks; count--)
		words[at++] = word_make(laps[dice_below(dice, COUNT_OF(laps))],
					sizes[dice_below(dice, COUNT_OF(sizes))],
					dice_below(dice, OWNER_IDS),
					states[dice_below(dice, COUNT_OF(states))]);
}

static void forge_record(struct dice *dice, uint8_t *block, uint64_t blocks)
{
	const uint8_t kinds[] = { RECORD_DATA, RECORD_SOURCE, RECORD_GAP, RECORD_NOTE, 0, 255 };
	const uint64_t room = blocks * BLOCK_SIZE - sizeof(struct record_header);
	const uint32_t lengths[] = { 0, (uint32_t)room, (uint32_t)room + 1, 152, 64, UINT32_MAX };
	const struct record_header header = {
		.length = lengths[dice_below(dice, COUNT_OF(lengths))],
		.source = (uint16_t)dice_roll(dice),
		.kind = kinds[dice_below(dice, COUNT_OF(kinds))],
		.level = (uint8_t)dice_roll(dice),
		.ticks = evil_value(dice, 1000),
	};

	memcpy(block, &header, sizeof(header));
}

void forge_chain(struct dice *dice, const struct geometry *geometry, uint8_t *lane,
		 uint64_t position)
{
	uint64_t *words = (uint64_t *)(void *)(lane + geometry->words_offset);
	uint8_t *blocks = lane + geometry->blocks_offset;
	const uint32_t most = record_blocks(geometry->record_max);
	const uint32_t states[] = { WORD_READY, WORD_READY, WORD_READY, WORD_SKIP, WORD_CLAIMED };

	for (uint64_t at = position, end = position + geometry->blocks; at < end;) {
		const uint32_t index = (uint32_t)at & (geometry->blocks - 1);
		uint64_t size = 1 + dice_below(dice, dice_below(dice, 16) ? 4 : most);

		if (size > geometry->blocks - index)
			size = geometry->blocks - index;
		forge_record(dice, blocks + (size_t)index * BLOCK_SIZE, size);
		words[index] = word_make(at / geometry->blocks + 1, size, dice_below(dice, 512),
					 states[dice_below(dice, COUNT_OF(states))]);
		at += size;
	}
}
