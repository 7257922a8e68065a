/*
 * random.h - numbers that follow from a seed.
 */
#ifndef SHMLOG_TESTS_CRASH_WRITER_RANDOM_H
#define SHMLOG_TESTS_CRASH_WRITER_RANDOM_H

#include <stdint.h>

/* The next number; *state is not 0. */
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

/* One of 0 .. count - 1. */
static inline uint64_t random_below(uint64_t *state, uint64_t count)
{
	return random_next(state) % count;
}

/* A state from any seed. */
static inline uint64_t random_state(uint64_t seed)
{
	uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;

	(void)random_next(&state);
	return state;
}

#endif
