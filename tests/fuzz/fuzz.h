/*
 * fuzz.h - what the fuzz targets share: bytes of an input as values, a breach, a directory.
 *
 * A target's input is a script: small numbers that build something valid and then spoil it, so that
 * plain mutation gets past checksums and words. Each target is one file with
 * LLVMFuzzerTestOneInput(); libFuzzer drives it, or replay.c over the corpus.
 */
#ifndef SHMLOG_TESTS_FUZZ_H
#define SHMLOG_TESTS_FUZZ_H

#include "base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the input as values; zeros behind its end ---- */

struct bytes {
	const uint8_t *at;
	size_t left;
};

uint64_t take(struct bytes *input, unsigned size); /* 1 .. 8 bytes, little-endian */
uint32_t take_below(struct bytes *input, uint32_t limit);
/* The next @size bytes, fewer at the end. */
struct bytes take_bytes(struct bytes *input, size_t size);
/* A number of @size bytes that is likely to matter: a limit, a neighbour of one, or anything. */
uint64_t take_odd(struct bytes *input, unsigned size);

/* Spoil @target: an offset, a width and a value from the input. @offsets: places that matter, of
 * which one byte chooses, 0 ends the list; NULL: none. Return: the offset. */
size_t spoil(struct bytes *input, uint8_t *target, size_t size, const uint16_t *offsets);

/* ---- oracles ---- */

/* A promise is broken: "violated: ..." and abort(). */
#define must(condition, ...)                 \
	do {                                 \
		if (unlikely(!(condition)))  \
			breach(__VA_ARGS__); \
	} while (0)
_Noreturn void breach(const char *format, ...) PRINTF(1, 2);

uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size);

/* ---- files ---- */

/* An empty directory on a tmpfs, of this process; made once, removed at exit. */
const char *fuzz_directory(void);
/* Remove everything in it. */
void fuzz_clear_directory(void);
/* The directories that lead to @path, which is below fuzz_directory(). */
void fuzz_make_parents(const char *path);
/* Its parents are made. */
void fuzz_write_file(const char *path, const void *bytes, size_t size);
/* The same where something else may lie there; false: it cannot be written. */
bool fuzz_try_write_file(const char *path, const void *bytes, size_t size);
/* One number for all names and contents below it. */
uint64_t fuzz_hash_directory(void);

#endif
