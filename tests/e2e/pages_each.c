/*
 * pages_each.c - records that each take a page of their own.
 *
 *	pages_each RING N    N times: push "1", "2", ..., and wait until it is written
 */
#include <stdio.h>
#include <stdlib.h>

#include "shmlog.h"

#define DEADLINE_NS (10 * INT64_C(1000000000))

static int push_alone(struct shmlog *log, int i)
{
	char line[16];
	const int size = sprintf(line, "%d", i);
	const int error = shmlog_push_wait(log, SHMLOG_INFO, line, (size_t)size, DEADLINE_NS);

	return error ? error : shmlog_sync(log, SHMLOG_SYNC_WRITTEN, DEADLINE_NS);
}

int main(int argc, char **argv)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log;
	int error = 0;

	if (argc != 3)
		return fprintf(stderr, "usage: pages_each RING N\n"), 64;
	options.name = "pages";
	if (shmlog_attach(argv[1], &options, &log) < 0)
		return fprintf(stderr, "pages_each: %s\n", shmlog_reason()), 1;
	for (int i = 1; i <= atoi(argv[2]) && !error; i++)
		error = push_alone(log, i);
	if (error)
		fprintf(stderr, "pages_each: %s\n", shmlog_strerror(error));
	return error != 0;
}
