/*
 * journal.c - producers and their journal for the scripts of this suite.
 *
 *	journal make FILE PRODUCERS RECORDS
 *	journal push FILE RING PRODUCER COUNT WAIT_MS   each waits so long for room; 0: tries
 *	journal stream FILE RING PRODUCER STOP          some at a time, until the file STOP exists
 *	journal check FILE                              the log's records on standard input
 *
 * check prints "published dropped found absent" as numbers, and tells breaches.
 */
#include "journal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

enum { AT_A_TIME = 50 };

static void nap_ms(long ms)
{
	const struct timespec time = { .tv_nsec = ms * 1000000 };

	(void)nanosleep(&time, NULL);
}

static struct shmlog *attach(const char *ring)
{
	struct shmlog *log;

	if (shmlog_attach(ring, NULL, &log) < 0)
		broken("%s", shmlog_reason());
	return log;
}

static int push(char **argv)
{
	struct journal *journal = journal_open(argv[0]);
	struct shmlog *log = attach(argv[1]);
	const unsigned producer = (unsigned)atoi(argv[2]);
	const int count = atoi(argv[3]);
	const int64_t wait_ns = (int64_t)atoi(argv[4]) * 1000000;

	for (int i = 0; i < count; i++)
		(void)journal_push(journal, log, producer, wait_ns);
	shmlog_detach(&log);
	return 0;
}

static int stream(char **argv)
{
	struct journal *journal = journal_open(argv[0]);
	struct shmlog *log = attach(argv[1]);
	const unsigned producer = (unsigned)atoi(argv[2]);

	while (access(argv[3], F_OK) < 0) {
		for (int i = 0; i < AT_A_TIME; i++)
			(void)journal_push(journal, log, producer, 0);
		nap_ms(1);
	}
	shmlog_detach(&log);
	return 0;
}

static int check(char **argv)
{
	struct journal_totals totals;

	(void)journal_check(journal_open(argv[0]), stdin, DEMAND_DURABLE, &totals);
	(void)printf("%llu %llu %llu %llu\n", (unsigned long long)totals.published,
		     (unsigned long long)totals.dropped, (unsigned long long)totals.found,
		     (unsigned long long)totals.absent);
	return violations() != 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "make") == 0)
		return journal_create(argv[2], (unsigned)atoi(argv[3]), (uint32_t)atoi(argv[4])) ==
		       NULL;
	if (argc == 7 && strcmp(argv[1], "push") == 0)
		return push(argv + 2);
	if (argc == 6 && strcmp(argv[1], "stream") == 0)
		return stream(argv + 2);
	if (argc == 3 && strcmp(argv[1], "check") == 0)
		return check(argv + 2);
	broken("usage: journal make|push|stream|check ...");
}
