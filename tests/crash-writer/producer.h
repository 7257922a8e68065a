/*
 * producer.h - one process that publishes in all ways that the library offers, at random.
 *
 * It notes all in a journal, under several producers' numbers: one for each time that its thread is
 * bound, since order is promised within a binding, and as many for a child that it may fork, which
 * goes on with the handle it inherits. SIGTERM ends it; SIGKILL and SIGSTOP may come
 * whenever.
 */
#ifndef SHMLOG_TESTS_CRASH_WRITER_PRODUCER_H
#define SHMLOG_TESTS_CRASH_WRITER_PRODUCER_H

#include <stdint.h>

enum {
	PRODUCER_BINDINGS = 4,
	PRODUCER_NUMBERS = 2 * PRODUCER_BINDINGS,
	PRODUCER_RECORDS_MAX = 200000
};

/* Return: the exit status. */
int producer_run(const char *ring, const char *journal_path, unsigned producer, uint64_t seed);

#endif
