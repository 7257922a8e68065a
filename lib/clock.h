/*
 * clock.h - the stamp of a record, and what it means in seconds.
 */
#ifndef SHMLOG_LIB_CLOCK_H
#define SHMLOG_LIB_CLOCK_H

#include <time.h>

#include "base.h"
#include "ring_layout.h"
#include "sys.h"

/* The processor's counter, on every architecture that has one for users. */
static inline uint64_t clock_counter(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t counter;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(counter));
	return counter;
#else
	return 0;
#endif
}

/* CLOCK_MONOTONIC in nanoseconds; through the vDSO, safe in signal handlers. */
uint64_t clock_monotonic_ns(void);

/* What a producer stamps a record with. */
static inline uint64_t clock_stamp(enum ring_clock clock)
{
	if (likely(clock == RING_CLOCK_TSC))
		return clock_counter();
	return clock == RING_CLOCK_MONOTONIC ? clock_monotonic_ns() : 0;
}

/* The same for the writer, which also stamps for rings whose producers don't. */
uint64_t clock_writer_stamp(enum ring_clock clock);

/* RING_CLOCK_TSC where the counter is constant and the kernel trusts it, else _MONOTONIC. */
enum ring_clock clock_best(void);

/* One instant on the ring's clock, on CLOCK_BOOTTIME and on CLOCK_REALTIME. */
struct clock_sample {
	uint64_t ticks;
	uint64_t boottime_ns;
	int64_t realtime_ns;
};
void clock_sample(const struct sys *sys, enum ring_clock clock, struct clock_sample *ret);

/**
 * clock_ticks_per_s() - the rate of a ring's clock between two samples.
 * Return: ticks a second; 0 for rings without stamps. Samples less than 1 ms apart give nothing
 *         better than 1e9.
 */
uint64_t clock_ticks_per_s(enum ring_clock clock, const struct clock_sample *from,
			   const struct clock_sample *to);

/* CLOCK_REALTIME of a stamp, by a sample and a rate; INT64_MIN when the rate is 0. */
int64_t clock_realtime(uint64_t ticks, uint64_t sample_ticks, int64_t sample_realtime_ns,
		       uint64_t ticks_per_s);

#endif
