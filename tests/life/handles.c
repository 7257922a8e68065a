/*
 * handles.c - handles that come and go beside pushes; many of them, and several of one ring.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "stage.h"

struct pusher {
	pthread_t thread;
	const struct stage *stage;
	struct shmlog *log;
	unsigned producer;
	int result;
};

/* ---- detach under pushes ---- */

static void *push_until_detached(void *argument)
{
	struct pusher *pusher = argument;
	int r = 0;

	for (unsigned i = 0; r == 0 || r == -EAGAIN || r == -ETIMEDOUT; i++) {
		r = journal_push(pusher->stage->journal, pusher->log, pusher->producer,
				 i % 2 ? 0 : WAIT_NS);
		if (i == 0)
			board_add(&pusher->stage->board->ready, 1);
		if (i > RECORDS_MAX / 4) /* who detaches waits for a processor: fill no journal */
			nap_ms(1);
	}
	pusher->result = r;
	return NULL;
}

static void run_detach(struct stage *stage)
{
	enum { PUSHERS = 3 };
	const unsigned rounds = stage_count(stage, 150, 1500);
	struct pusher pushers[PUSHERS];

	stage_open(stage, 3);
	for (unsigned round = 0; round < rounds; round++) {
		struct shmlog *log = stage_attach(stage, NULL);

		for (unsigned i = 0; i < PUSHERS; i++) {
			pushers[i] = (struct pusher){ .stage = stage,
						      .log = log,
						      .producer = round * PUSHERS + i };
			if (pthread_create(&pushers[i].thread, NULL, push_until_detached,
					   &pushers[i]) != 0)
				broken("pthread_create");
		}
		board_wait(&stage->board->ready, (round + 1) * PUSHERS, "the first pushes");
		shmlog_detach(&log);
		for (unsigned i = 0; i < PUSHERS; i++) {
			pthread_join(pushers[i].thread, NULL);
			if (pushers[i].result != -EBADF)
				violated("%s: after the detach: %s", stage->scenario,
					 shmlog_strerror(pushers[i].result));
		}
	}
	stage->figures->lives += rounds * PUSHERS;
	if (count_mappings() != 0)
		violated("%s: %u mappings are left", stage->scenario, count_mappings());
	stage_close(stage);
}

/* ---- attach and detach beside pushes ---- */

static void run_beside(struct stage *stage)
{
	struct shmlog *log, *other;
	struct crew crew;

	stage_open(stage, 6);
	log = stage_attach(stage, NULL);
	crew_start(&crew, stage, log, 0, 3);
	for (unsigned i = 0; i < stage_count(stage, 500, 5000); i++) {
		other = stage_attach(stage, "other");
		push_some(stage, other, 10, 1);
		push_some(stage, log, 11, 1);
		push_some(stage, other, 10, 1);
		shmlog_detach(&other);
		push_some(stage, log, 11, 1);
	}
	crew_stop(&crew);
	shmlog_detach(&log);
	stage_close(stage);
}

/* ---- sixteen rings at once, and one twice ---- */

enum { RINGS = 16 };

static void *push_into_all(void *argument)
{
	const struct pusher *pusher = argument;
	struct shmlog *const *logs = (struct shmlog *const *)(void *)pusher->log;

	for (unsigned i = 0; i < 30; i++)
		for (unsigned k = 0; k < RINGS; k++)
			push_some(pusher->stage, logs[k], pusher->producer * RINGS + k, 1);
	return NULL;
}

static struct shmlog *attach_named(const char *ring)
{
	struct shmlog *log = NULL;

	if (shmlog_attach(ring, NULL, &log) < 0)
		violated("attach %s: %s", ring, shmlog_reason());
	return log;
}

static void write_once(struct stage *stage, const char *ring, unsigned number)
{
	const char *argv[] = { "shmlog-writer", "--once", "-r", ring, "-d", NULL, NULL };
	char log[PATH_MAX + 16];

	(void)snprintf(log, sizeof(log), "%s.%02u", stage->log, number);
	argv[5] = log;
	if (program_run(argv, stage->errors, DEADLINE_MS) != 0)
		violated("%s: %s is not drained", stage->scenario, ring);
}

static void check_all_logs(struct stage *stage)
{
	char command[PATH_MAX + 128];
	const char *const argv[] = { "/bin/sh", "-ec", command, NULL };
	struct journal_totals totals;
	pid_t pid;
	FILE *stream;

	(void)snprintf(command, sizeof(command),
		       "for log in '%s'.*; do \"$SHMLOG_BIN/shmlog-cat\" -o raw \"$log\"; done",
		       stage->log);
	stream = program_read(argv, &pid);
	(void)journal_check(stage->journal, stream, DEMAND_PUBLISHED, &totals);
	if (program_close(stream, pid) != 0)
		violated("%s: a log cannot be read", stage->scenario);
	stage->figures->published += totals.published;
}

static void run_sixteen(struct stage *stage)
{
	enum { PUSHERS = 4 };
	struct shmlog *logs[RINGS], *one_more;
	struct pusher pushers[PUSHERS];
	char rings[RINGS][128];

	for (unsigned i = 0; i < RINGS; i++) {
		(void)snprintf(rings[i], sizeof(rings[i]), "%s.%02u", stage->ring, i);
		stage_make_ring(stage, rings[i], 1 + i % 6);
		logs[i] = attach_named(rings[i]);
	}
	if (shmlog_attach(rings[0], NULL, &one_more) != -EMFILE)
		violated("%s: a seventeenth handle", stage->scenario);
	for (unsigned i = 0; i < PUSHERS; i++) {
		pushers[i] = (struct pusher){ .stage = stage,
					      .log = (struct shmlog *)(void *)logs,
					      .producer = i };
		if (pthread_create(&pushers[i].thread, NULL, push_into_all, &pushers[i]) != 0)
			broken("pthread_create");
	}
	for (unsigned i = 0; i < PUSHERS; i++)
		pthread_join(pushers[i].thread, NULL);
	for (unsigned i = 0; i < RINGS; i++)
		shmlog_detach(&logs[i]);
	for (unsigned i = 0; i < RINGS; i++)
		write_once(stage, rings[i], i);
	check_all_logs(stage);
}

static void *push_into_both(void *argument)
{
	const struct pusher *pusher = argument;
	struct shmlog *const *logs = (struct shmlog *const *)(void *)pusher->log;

	for (unsigned i = 0; i < 2000; i++)
		push_some(pusher->stage, logs[i % 2], pusher->producer + i % 2, 1);
	return NULL;
}

static void run_twice(struct stage *stage)
{
	enum { PUSHERS = 4 };
	struct pusher pushers[PUSHERS];
	struct shmlog *logs[2];

	stage_open(stage, 5); /* for eight: some share lane 0, under two ids */
	for (unsigned i = 0; i < 2; i++)
		logs[i] = stage_attach(stage, i ? "two" : "one");
	for (unsigned i = 0; i < PUSHERS; i++) {
		pushers[i] = (struct pusher){ .stage = stage,
					      .log = (struct shmlog *)(void *)logs,
					      .producer = 2 * i };
		if (pthread_create(&pushers[i].thread, NULL, push_into_both, &pushers[i]) != 0)
			broken("pthread_create");
	}
	for (unsigned i = 0; i < PUSHERS; i++)
		pthread_join(pushers[i].thread, NULL);
	for (unsigned i = 0; i < 2; i++)
		shmlog_detach(&logs[i]);
	stage_close(stage);
}

const struct scenario handle_scenarios[] = {
	{ "detach-under-pushes", run_detach },
	{ "attach-beside-pushes", run_beside },
	{ "sixteen-rings", run_sixteen },
	{ "one-ring-twice", run_twice },
	{ 0 },
};
