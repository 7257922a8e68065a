/*
 * threads.c - several threads of one process publish at once, each in a lane of its own.
 *
 *	threads RING [THREADS [RECORDS]]
 *
 * Every thread pushes numbered records and waits for room where there is none; every hundredth it
 * writes in place, by claim and commit. A claim never waits: one that
 * finds no room is a drop, and is printed.
 *
 *	cc -o threads threads.c $(pkg-config --cflags --libs shmlog) -pthread
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <shmlog.h>

enum { THREADS_MAX = 64, LINE_SIZE = 64, CLAIM_EVERY = 100 };

struct worker {
	pthread_t thread;
	struct shmlog *log;
	int number;
	long records;
	long published;
};

static int format_line(char *line, const struct worker *worker, long i)
{
	return snprintf(line, LINE_SIZE, "thread %d record %ld", worker->number, i);
}

/* The text goes from the formatter straight into shared memory. */
static int publish_in_place(const struct worker *worker, long i)
{
	struct shmlog_claim claim;
	const int error = shmlog_claim(worker->log, SHMLOG_NOTICE, LINE_SIZE, &claim);

	if (error)
		return error;
	return shmlog_commit(worker->log, &claim, (size_t)format_line(claim.data, worker, i));
}

/* The text is copied. Waits for room, for ever if need be. */
static int publish_copy(const struct worker *worker, long i)
{
	char line[LINE_SIZE];
	const int size = format_line(line, worker, i);

	return shmlog_push_wait(worker->log, SHMLOG_INFO, line, (size_t)size, -1);
}

static int publish(const struct worker *worker, long i)
{
	return i % CLAIM_EVERY == 0 ? publish_in_place(worker, i) : publish_copy(worker, i);
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	for (long i = 0; i < worker->records; i++) {
		const int error = publish(worker, i);

		if (error == 0) {
			worker->published++;
		} else if (error == -EAGAIN) {
			printf("dropped thread %d record %ld\n", worker->number, i);
		} else {
			fprintf(stderr, "thread %d: %s\n", worker->number, shmlog_strerror(error));
			break;
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS_MAX];
	const int threads = argc > 2 ? atoi(argv[2]) : 4;
	const long records = argc > 3 ? atol(argv[3]) : 10000;
	struct shmlog *log;

	if (argc < 2 || threads < 1 || threads > THREADS_MAX || records < 0)
		return fprintf(stderr, "usage: threads RING [THREADS [RECORDS]]\n"), 64;
	if (shmlog_attach(argv[1], NULL, &log) < 0)
		return fprintf(stderr, "threads: %s\n", shmlog_reason()), 69;
	for (int i = 0; i < threads; i++) {
		workers[i] = (struct worker){ .log = log, .number = i, .records = records };
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			abort();
	}
	for (int i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		printf("thread %d: %ld of %ld records published\n", i, workers[i].published,
		       records);
	}
	shmlog_detach(&log);
	return 0;
}
