/*
 * atomic.h - the only user of atomic operations; the memory order is in each wrapper's name.
 *
 * Words that several threads or processes touch have a type of their own, so that a plain access
 * does not compile. The types are plain integers inside: they mean the same in every process that
 * maps them, and need no C11 <stdatomic.h>, which C++ could not read. Fences exist only as the
 * named helpers at the end, where no ordered access will do; ThreadSanitizer cannot see them.
 *
 * Every ordered access ends in a label "MO a <- b" or "MO a -> b"; docs/MEMORY_ORDER.md lists the
 * pairs with what each is for.
 */
#ifndef SHMLOG_LIB_ATOMIC_H
#define SHMLOG_LIB_ATOMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shared_u64 {
	uint64_t raw;
};

struct shared_u32 {
	uint32_t raw;
};

_Static_assert(sizeof(struct shared_u64) == 8, "shared words are plain words");
_Static_assert(__atomic_always_lock_free(8, 0), "64-bit atomics work across processes");

static inline uint64_t load_relaxed(const struct shared_u64 *word)
{
	return __atomic_load_n(&word->raw, __ATOMIC_RELAXED);
}

static inline uint64_t load_acquire(const struct shared_u64 *word)
{
	return __atomic_load_n(&word->raw, __ATOMIC_ACQUIRE);
}

static inline uint64_t load_seq_cst(const struct shared_u64 *word)
{
	return __atomic_load_n(&word->raw, __ATOMIC_SEQ_CST);
}

static inline void store_relaxed(struct shared_u64 *word, uint64_t value)
{
	__atomic_store_n(&word->raw, value, __ATOMIC_RELAXED);
}

static inline void store_release(struct shared_u64 *word, uint64_t value)
{
	__atomic_store_n(&word->raw, value, __ATOMIC_RELEASE);
}

static inline void store_seq_cst(struct shared_u64 *word, uint64_t value)
{
	__atomic_store_n(&word->raw, value, __ATOMIC_SEQ_CST);
}

static inline uint64_t add_relaxed(struct shared_u64 *word, uint64_t value)
{
	return __atomic_fetch_add(&word->raw, value, __ATOMIC_RELAXED);
}

static inline uint64_t add_release(struct shared_u64 *word, uint64_t value)
{
	return __atomic_fetch_add(&word->raw, value, __ATOMIC_RELEASE);
}

/* True: the word was @expected and is @desired now. No order either way. */
static inline bool swap_relaxed(struct shared_u64 *word, uint64_t expected, uint64_t desired)
{
	return __atomic_compare_exchange_n(&word->raw, &expected, desired, false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED);
}

/* Acquires what the releaser of @expected stored; releases our stores to who reads @desired. */
static inline bool swap_acq_rel(struct shared_u64 *word, uint64_t expected, uint64_t desired)
{
	return __atomic_compare_exchange_n(&word->raw, &expected, desired, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

static inline bool swap_seq_cst(struct shared_u64 *word, uint64_t expected, uint64_t desired)
{
	return __atomic_compare_exchange_n(&word->raw, &expected, desired, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
}

/* Plain memory that others may be storing to, or reading, just now: whole words of 8 bytes, in no
 * order; both sides are 8-aligned. */
typedef uint64_t __attribute__((may_alias)) any_word;

static inline void load_words(void *to, const void *from, size_t words)
{
	any_word *const target = to;
	const any_word *const source = from;

	for (size_t i = 0; i < words; i++)
		target[i] = __atomic_load_n(&source[i], __ATOMIC_RELAXED);
}

static inline void store_words(void *to, const void *from, size_t words)
{
	any_word *const target = to;
	const any_word *const source = from;

	for (size_t i = 0; i < words; i++)
		__atomic_store_n(&target[i], source[i], __ATOMIC_RELAXED);
}

static inline uint32_t load_relaxed_u32(const struct shared_u32 *word)
{
	return __atomic_load_n(&word->raw, __ATOMIC_RELAXED);
}

static inline uint32_t load_acquire_u32(const struct shared_u32 *word)
{
	return __atomic_load_n(&word->raw, __ATOMIC_ACQUIRE);
}

static inline uint32_t load_seq_cst_u32(const struct shared_u32 *word)
{
	return __atomic_load_n(&word->raw, __ATOMIC_SEQ_CST);
}

static inline void store_relaxed_u32(struct shared_u32 *word, uint32_t value)
{
	__atomic_store_n(&word->raw, value, __ATOMIC_RELAXED);
}

static inline void store_release_u32(struct shared_u32 *word, uint32_t value)
{
	__atomic_store_n(&word->raw, value, __ATOMIC_RELEASE);
}

static inline void store_seq_cst_u32(struct shared_u32 *word, uint32_t value)
{
	__atomic_store_n(&word->raw, value, __ATOMIC_SEQ_CST);
}

static inline uint32_t add_seq_cst_u32(struct shared_u32 *word, uint32_t value)
{
	return __atomic_fetch_add(&word->raw, value, __ATOMIC_SEQ_CST);
}

static inline bool swap_acq_rel_u32(struct shared_u32 *word, uint32_t expected, uint32_t desired)
{
	return __atomic_compare_exchange_n(&word->raw, &expected, desired, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

static inline bool swap_seq_cst_u32(struct shared_u32 *word, uint32_t expected, uint32_t desired)
{
	return __atomic_compare_exchange_n(&word->raw, &expected, desired, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
}

/* Keeps the compiler from moving stores across, for a signal handler of the same thread. */
static inline void signal_fence(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/*
 * Orders a plain copy from a record before the second look at `released` by who reads a ring
 * beside the writer, or counts what is in it: an acquire load cannot order loads that come before
 * it.
 */
static inline void copy_before_recheck_fence(void)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
}

#endif
