/*
 * scribble.h - random numbers that a seed repeats, and stores of what does most harm.
 */
#ifndef SHMLOG_TESTS_HOSTILE_SCRIBBLE_H
#define SHMLOG_TESTS_HOSTILE_SCRIBBLE_H

#include <stddef.h>
#include <stdint.h>

#include "ring.h"
#include "segment.h"

struct dice {
	uint64_t state;
};

struct dice dice_of(uint64_t seed);
uint64_t dice_roll(struct dice *dice);
uint64_t dice_below(struct dice *dice, uint64_t end);

/* A value to store where @old was: 0, 1, ~0, off by one, a bit more or less, a sign, anything. */
uint64_t evil_value(struct dice *dice, uint64_t old);

/* A few stores somewhere into @size bytes at @base: words, runs, copies of what lies elsewhere. */
void scribble(struct dice *dice, uint8_t *base, size_t size);

/* Sequence words of a lane that look right: laps around the present one, any size and owner; every
 * second time from the position @near on. */
void scribble_words(struct dice *dice, uint64_t *words, uint32_t blocks, uint64_t near);

/* A whole lane of records that follow each other, from @position on; headers say anything. */
void forge_chain(struct dice *dice, const struct geometry *geometry, uint8_t *lane,
		 uint64_t position);

#endif
