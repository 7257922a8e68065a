/*
 * clock.c - which clock a ring can have, and how its stamps become time.
 */
#include "clock.h"

#include <fcntl.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

uint64_t clock_monotonic_ns(void)
{
	return (uint64_t)sys_real.now(CLOCK_MONOTONIC);
}

uint64_t clock_writer_stamp(enum ring_clock clock)
{
	if (clock == RING_CLOCK_WRITER)
		return clock_monotonic_ns();
	return clock_stamp(clock);
}

static bool counter_is_constant(void)
{
#if defined(__x86_64__)
	unsigned eax, ebx, ecx, edx;

	return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) && (edx & 1u << 8);
#elif defined(__aarch64__)
	return true; /* architected: one rate, all cores */
#else
	return false;
#endif
}

/*
 * The kernel watches the counter of all cores and stops using it when they disagree; a guest may
 * use the host's clock instead, which itself is built on the counter.
 */
static bool kernel_trusts_counter(void)
{
	static const char path[] =
		"/sys/devices/system/clocksource/clocksource0/current_clocksource";
	char name[32] = "";
	const int fd = sys_real.open(path, O_RDONLY | O_CLOEXEC, 0);

	if (fd < 0)
		return false;
	(void)sys_real.pread(fd, name, sizeof(name) - 1, 0);
	(void)sys_real.close(fd);
	return !strcmp(name, "tsc\n") || !strcmp(name, "kvm-clock\n") ||
	       !strcmp(name, "arch_sys_counter\n");
}

enum ring_clock clock_best(void)
{
	return counter_is_constant() && kernel_trusts_counter() ? RING_CLOCK_TSC
								: RING_CLOCK_MONOTONIC;
}

void clock_sample(const struct sys *sys, enum ring_clock clock, struct clock_sample *ret)
{
	ret->boottime_ns = (uint64_t)sys->now(CLOCK_BOOTTIME);
	ret->ticks = clock_writer_stamp(clock);
	ret->realtime_ns = sys->now(CLOCK_REALTIME);
}

uint64_t clock_ticks_per_s(enum ring_clock clock, const struct clock_sample *from,
			   const struct clock_sample *to)
{
	const uint64_t elapsed_ns = to->boottime_ns - from->boottime_ns;

	if (clock == RING_CLOCK_NONE)
		return 0;
	if (clock != RING_CLOCK_TSC || elapsed_ns < NS_PER_MS || to->ticks <= from->ticks ||
	    to->boottime_ns <= from->boottime_ns)
		return NS_PER_S;
	return (uint64_t)((unsigned __int128)(to->ticks - from->ticks) * NS_PER_S / elapsed_ns);
}

int64_t clock_realtime(uint64_t ticks, uint64_t sample_ticks, int64_t sample_realtime_ns,
		       uint64_t ticks_per_s)
{
	const __int128 behind = (__int128)sample_ticks - (__int128)ticks;

	if (ticks_per_s == 0)
		return INT64_MIN;
	return (int64_t)(sample_realtime_ns - behind * NS_PER_S / (__int128)ticks_per_s);
}
