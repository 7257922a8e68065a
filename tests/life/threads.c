/*
 * threads.c - threads that come and go, that are too many, that end in odd ways.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stage.h"

struct worker {
	pthread_t thread;
	const struct stage *stage;
	struct shmlog *log;
	unsigned producer;
	unsigned records;
	uint32_t meet; /* so many are ready, before it ends: all are bound at once */
};

static void start_worker(struct worker *worker, void *(*work)(void *), size_t stack_size)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	if (stack_size)
		(void)pthread_attr_setstacksize(&attributes, stack_size);
	if (pthread_create(&worker->thread, &attributes, work, worker) != 0)
		broken("pthread_create");
	pthread_attr_destroy(&attributes);
}

static void *push_and_end(void *argument)
{
	const struct worker *worker = argument;

	push_some(worker->stage, worker->log, worker->producer, worker->records);
	board_add(&worker->stage->board->ready, 1);
	board_wait(&worker->stage->board->ready, worker->meet, "the other threads");
	return NULL;
}

/* ---- by the thousand ---- */

static void run_rounds(struct stage *stage, struct shmlog *log, unsigned rounds, unsigned together)
{
	struct worker workers[16];

	for (unsigned round = 0; round < rounds; round++) {
		const uint32_t meet = board_read(&stage->board->ready) + together;

		for (unsigned i = 0; i < together; i++) {
			workers[i] = (struct worker){ .stage = stage,
						      .log = log,
						      .producer = i,
						      .records = 2,
						      .meet = meet };
			start_worker(&workers[i], push_and_end, 0);
		}
		for (unsigned i = 0; i < together; i++)
			pthread_join(workers[i].thread, NULL);
	}
	stage->figures->lives += (uint64_t)rounds * together;
}

static void run_thousands(struct stage *stage)
{
	enum { TOGETHER = 8, WARM_UP = 20 };
	const unsigned rounds = stage_count(stage, 400, 4000);
	struct shmlog_stats stats = { .size = sizeof(stats) };
	struct shmlog *log;
	uint64_t space;
	unsigned mappings;

	stage_open(stage, 1 + TOGETHER);
	log = stage_attach(stage, NULL);
	run_rounds(stage, log, WARM_UP, TOGETHER);
	space = address_space();
	mappings = count_mappings();
	run_rounds(stage, log, rounds, TOGETHER);
	/* Pooled lanes, 4 at most, are 64 KiB each and come and go. */
	if (address_space() > space + 8 * 2 * LANE || count_mappings() > mappings + 5)
		violated("%s: %u threads have left %llu bytes and %d mappings", stage->scenario,
			 rounds * TOGETHER, (unsigned long long)(address_space() - space),
			 (int)(count_mappings() - mappings));
	(void)shmlog_get_stats(log, &stats);
	if (stats.threads != 0 || stats.lanes > 4 || stats.dropped != 0)
		violated("%s: %u threads, %u lanes, %llu dropped when all have ended",
			 stage->scenario, stats.threads, stats.lanes,
			 (unsigned long long)stats.dropped);
	shmlog_detach(&log);
	stage_close(stage);
}

/* ---- threads that end without the C library's knowledge ---- */

static void *push_and_vanish(void *argument)
{
	const struct worker *worker = argument;

	push_some(worker->stage, worker->log, worker->producer, worker->records);
	board_add(&worker->stage->board->ready, 1);
	(void)syscall(SYS_exit, 0); /* no destructor runs; joining works all the same */
	return NULL;
}

static void run_vanish(struct stage *stage)
{
	const unsigned rounds = stage_count(stage, 200, 3000);
	struct worker worker;
	struct shmlog *log;

	stage_open(stage, 3);
	log = stage_attach(stage, NULL);
	for (unsigned i = 0; i < rounds; i++) {
		worker = (struct worker){
			.stage = stage, .log = log, .producer = i % 4, .records = 2
		};
		start_worker(&worker, i % 3 ? push_and_vanish : push_and_end, 0);
		pthread_join(worker.thread, NULL);
	}
	stage->figures->lives += rounds;
	shmlog_detach(&log);
	stage_close(stage);
}

/* ---- more than lanes, and some die ---- */

enum { CROWD = 16 };

static void push_as_crowd(const struct stage *stage, struct shmlog *log, unsigned number)
{
	struct crew crew;

	crew_start(&crew, stage, log, number * CROWD, CROWD);
	crew_join(&crew);
}

/* Processes of 16 threads each; some are killed at any instruction, others take their places. */
static void run_crowd(struct stage *stage, unsigned lanes)
{
	enum { CROWDS = 4 };
	const unsigned deaths = stage_count(stage, 12, 200);
	struct shmlog *log;
	pid_t pids[CROWDS];
	unsigned number = 0;

	stage_open(stage, lanes);
	log = stage_attach(stage, NULL);
	for (; number < CROWDS; number++)
		pids[number] = stage_fork(stage, push_as_crowd, log, number);
	board_wait(&stage->board->ready, CROWDS * CROWD, "all threads of all processes");
	for (unsigned i = 0; i < deaths; i++, number++) {
		const uint32_t ready = board_read(&stage->board->ready);

		nap_ms(1 + i % 7);
		kill(pids[i % CROWDS], SIGKILL);
		stage_expect(stage, pids[i % CROWDS], 137);
		pids[i % CROWDS] = stage_fork(stage, push_as_crowd, log, number);
		board_wait(&stage->board->ready, ready + CROWD, "the threads of a new process");
	}
	board_add(&stage->board->stop, 1);
	for (unsigned i = 0; i < CROWDS; i++)
		stage_join(stage, pids[i]);
	shmlog_detach(&log);
	stage_close(stage);
}

static void run_crowd_of_8(struct stage *stage)
{
	run_crowd(stage, 8);
}

static void run_crowd_of_1(struct stage *stage)
{
	run_crowd(stage, 1);
}

/* ---- the smallest stack ---- */

/* Nothing of the journal on this stack: the texts are made before. */
static void *push_on_small_stack(void *argument)
{
	static char text[JOURNAL_TEXT_MAX];
	static size_t size;
	struct worker *worker = argument;

	size = journal_text(worker->producer, worker->records, text);
	worker->records = shmlog_push_wait(worker->log, SHMLOG_INFO, text, size, WAIT_NS) == 0;
	return NULL;
}

static void run_small_stack(struct stage *stage)
{
	enum { STACK = 16384 };
	struct worker worker;
	struct shmlog *log;
	struct crew crew;

	stage_open(stage, 3);
	log = stage_attach(stage, NULL);
	for (unsigned i = 0; i < stage_count(stage, 50, 500); i++) {
		const uint32_t serial = journal_next(stage->journal, 0);

		/* All lanes are taken: from here on they bind lane 0, with the walk over it. */
		if (i == 10)
			crew_start(&crew, stage, log, 1, 2);
		worker = (struct worker){ .stage = stage, .log = log, .records = serial };
		journal_note(stage->journal, 0, serial, JOURNAL_TRIED);
		start_worker(&worker, push_on_small_stack, STACK);
		pthread_join(worker.thread, NULL);
		if (!worker.records)
			violated("%s: the push was refused", stage->scenario);
		journal_note(stage->journal, 0, serial, JOURNAL_PUBLISHED);
		stage->figures->lives++;
	}
	crew_stop(&crew);
	shmlog_detach(&log);
	stage_close(stage);
}

/* ---- pushes when all is nearly over ---- */

static const struct stage *late_stage;
static struct shmlog *late_log;
static pthread_key_t early_key, late_key;

static void push_at_thread_end(void *value)
{
	push_some(late_stage, late_log, (unsigned)(uintptr_t)value, 1);
}

static void *push_and_leave_values(void *argument)
{
	const struct worker *worker = argument;

	push_some(worker->stage, worker->log, worker->producer, 2);
	(void)pthread_setspecific(early_key, (void *)(uintptr_t)worker->producer);
	(void)pthread_setspecific(late_key, (void *)(uintptr_t)worker->producer);
	return NULL;
}

/* Keys made before and after the library's own: their destructors push before and after it has
 * given the lane back. */
static void run_key_destructors(struct stage *stage)
{
	const unsigned rounds = stage_count(stage, 300, 3000);
	struct shmlog_stats stats = { .size = sizeof(stats) };
	struct shmlog *log;

	(void)pthread_key_create(&early_key, push_at_thread_end);
	stage_open(stage, 4);
	log = stage_attach(stage, NULL);
	(void)pthread_key_create(&late_key, push_at_thread_end);
	late_stage = stage;
	late_log = log;
	for (unsigned i = 0; i < rounds; i++) {
		struct worker worker = { .stage = stage, .log = log, .producer = 1 + i % 4 };

		start_worker(&worker, push_and_leave_values, 0);
		pthread_join(worker.thread, NULL);
	}
	stage->figures->lives += rounds;
	(void)shmlog_get_stats(log, &stats);
	if (stats.threads > 1 || stats.lanes > 4)
		violated("%s: %u threads and %u lanes are still bound", stage->scenario,
			 stats.threads, stats.lanes);
	shmlog_detach(&log);
	stage_close(stage);
}

static void push_at_exit(void)
{
	push_some(late_stage, late_log, 1, 10);
}

static void end_by_exit(const struct stage *stage, struct shmlog *log, unsigned number)
{
	const uint64_t before = violations();
	struct crew crew;

	(void)number;
	late_stage = stage;
	late_log = log;
	(void)atexit(push_at_exit);
	crew_start(&crew, stage, log, 2, 3);
	push_some(stage, log, 1, 10);
	exit(violations() == before ? 0 : 1); /* while the crew pushes */
}

static void run_atexit(struct stage *stage)
{
	struct shmlog *log;

	stage_open(stage, 3);
	log = stage_attach(stage, NULL);
	for (unsigned i = 0; i < stage_count(stage, 20, 200); i++)
		stage_join(stage, stage_fork(stage, end_by_exit, log, i));
	shmlog_detach(&log);
	stage_close(stage);
}

const struct scenario thread_scenarios[] = {
	{ "threads-by-the-thousand", run_thousands },
	{ "threads-that-vanish", run_vanish },
	{ "crowd-on-8-lanes", run_crowd_of_8 },
	{ "crowd-on-1-lane", run_crowd_of_1 },
	{ "small-stack", run_small_stack },
	{ "key-destructors", run_key_destructors },
	{ "atexit", run_atexit },
	{ 0 },
};
