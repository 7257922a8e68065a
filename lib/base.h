/*
 * base.h - the few helpers that every file shares.
 *
 * Holds no state but the thread's last reason. Depends on nothing of ours.
 */
#ifndef SHMLOG_LIB_BASE_H
#define SHMLOG_LIB_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHMLOG_VERSION_TEXT "0.1.0"

#define likely(x)        __builtin_expect(!!(x), 1)
#define unlikely(x)      __builtin_expect(!!(x), 0)
#define COLD             __attribute__((cold, noinline))
#define PRINTF(at, from) __attribute__((format(printf, at, from)))
#define COUNT_OF(array)  (sizeof(array) / sizeof((array)[0]))

/* The structure that contains @member at @pointer. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

enum {
	NS_PER_US = 1000,
	NS_PER_MS = 1000 * 1000,
	NS_PER_S = 1000 * 1000 * 1000,
};

/* This line will be stored to soon: have it here, and alone, by then. Any address will do. */
static inline void prefetch_for_store(const void *at)
{
#if defined(__x86_64__)
	/* The builtin gives it only with -mprfchw; where it is unknown it does nothing. */
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)at));
#else
	__builtin_prefetch(at, 1);
#endif
}

/* @alignment is a power of two. */
static inline uint64_t align_up(uint64_t value, uint64_t alignment)
{
	return (value + alignment - 1) & ~(alignment - 1);
}

static inline bool is_power_of_two(uint64_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/**
 * reason_set() - keep, for this thread, why the call that is about to fail does so.
 *
 * The text names the object, the reason and the cure in one line; the programs print it behind
 * their own name, and shmlog_reason() hands it to users of the library. Only cold paths (attach,
 * open, create, recover) set one; pushes never do.
 * Return: @error, so that a failing path is one statement: return reason_set(-EINVAL, "..."). A
 * macro, so that compilers and analysers see the value.
 */
#define reason_set(error, ...)                    \
	__extension__({                           \
		const int reason_error = (error); \
		reason_keep(__VA_ARGS__);         \
		(void)reason_error;               \
		reason_error;                     \
	})
void reason_keep(const char *format, ...) PRINTF(1, 2);

/* The last text that reason_set() kept in this thread; "" if there is none. Never NULL. */
const char *reason_get(void);

#endif
