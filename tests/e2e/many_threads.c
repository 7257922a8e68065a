/*
 * many_threads.c - more threads than lanes, all at once, and threads that come and go.
 *
 *	many_threads RING THREADS RECORDS ROUNDS
 *
 * In each round THREADS threads start, meet, publish RECORDS numbered records each ("THREAD
 *NUMBER", threads numbered through all rounds), meet again and end. Fails where a push fails.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "shmlog.h"

enum { THREADS_MAX = 256 };

struct worker {
	pthread_t thread;
	struct shmlog *log;
	pthread_barrier_t *meeting;
	int number;
	int records;
	int error;
};

static void *work(void *argument)
{
	struct worker *worker = argument;
	char line[64];

	pthread_barrier_wait(worker->meeting);
	for (int i = 0; i < worker->records && !worker->error; i++) {
		const int size = sprintf(line, "%d %d", worker->number, i);

		worker->error = shmlog_push_wait(worker->log, SHMLOG_INFO, line, (size_t)size, -1);
	}
	pthread_barrier_wait(worker->meeting);
	return NULL;
}

static int run_round(struct worker *workers, int threads, struct worker blank)
{
	pthread_barrier_t meeting;
	int failed = 0;

	pthread_barrier_init(&meeting, NULL, (unsigned)threads);
	blank.meeting = &meeting;
	for (int i = 0; i < threads; i++, blank.number++) {
		workers[i] = blank;
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			abort();
	}
	for (int i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		if (workers[i].error)
			fprintf(stderr, "many_threads: thread %d: %s\n", workers[i].number,
				shmlog_strerror(workers[i].error));
		failed |= workers[i].error != 0;
	}
	pthread_barrier_destroy(&meeting);
	return failed;
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS_MAX];
	const int threads = argc > 2 ? atoi(argv[2]) : 0;
	const int rounds = argc > 4 ? atoi(argv[4]) : 0;
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct worker blank = { 0 };
	int failed = 0;

	if (argc != 5 || threads < 1 || threads > THREADS_MAX)
		return fprintf(stderr, "usage: many_threads RING THREADS RECORDS ROUNDS\n"), 64;
	options.name = "many";
	if (shmlog_attach(argv[1], &options, &blank.log) < 0)
		return fprintf(stderr, "many_threads: %s\n", shmlog_reason()), 1;
	blank.records = atoi(argv[3]);
	for (int i = 0; i < rounds && !failed; i++, blank.number += threads)
		failed = run_round(workers, threads, blank);
	shmlog_detach(&blank.log);
	return failed;
}
