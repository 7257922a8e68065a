/*
 * first.c - a process that publishes one record, and says when it got where.
 *
 *	first RING
 *
 * Three times of CLOCK_MONOTONIC in ns: main() begins, the ring is attached, the record is
 * published. For scale.c.
 */
#include <stdio.h>

#include "clock.h"
#include "shmlog.h"

int main(int argc, char **argv)
{
	const uint64_t began = clock_monotonic_ns();
	struct shmlog *log;
	uint64_t attached;

	if (argc != 2 || shmlog_attach(argv[1], NULL, &log) < 0)
		return 1;
	attached = clock_monotonic_ns();
	if (shmlog_try_push(log, "the first", 9) < 0)
		return 1;
	printf("%llu %llu %llu\n", (unsigned long long)began, (unsigned long long)attached,
	       (unsigned long long)clock_monotonic_ns());
	return 0;
}
