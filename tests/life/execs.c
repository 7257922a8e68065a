/*
 * execs.c - programs that are executed over one that is attached.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "stage.h"

/* One lane beside lane 0: the new program finds it free, or it has been kept. */
static void exec_probe(const struct stage *stage, struct shmlog *log, unsigned number)
{
	const char *argv[8];

	push_some(stage, log, number, 5);
	probe_argv(stage, number + 1, 5, true, argv);
	(void)execv(argv[0], (char *const *)(uintptr_t)argv);
	violated("%s: execv: %s", stage->scenario, strerror(errno));
}

static void run_exec(struct stage *stage)
{
	struct shmlog *log;

	stage_open(stage, 2);
	log = stage_attach(stage, NULL);
	for (unsigned i = 0; i < stage_count(stage, 40, 400); i++)
		stage_join(stage, stage_fork(stage, exec_probe, log, 2 * i));
	shmlog_detach(&log);
	stage_close(stage);
}

/* With a claim open in an own lane, and behind it records. */
static void exec_in_claim(const struct stage *stage, struct shmlog *log, unsigned number)
{
	struct shmlog_claim claim;

	push_some(stage, log, number, 2);
	if (shmlog_claim(log, SHMLOG_INFO, 300, &claim) < 0)
		violated("%s: no room for a claim", stage->scenario);
	exec_probe(stage, log, number);
}

static void run_exec_in_claim(struct stage *stage)
{
	struct shmlog *log;

	stage_open(stage, 2);
	log = stage_attach(stage, NULL);
	for (unsigned i = 0; i < stage_count(stage, 40, 400); i++)
		stage_join(stage, stage_fork(stage, exec_in_claim, log, 2 * i));
	shmlog_detach(&log);
	stage_close(stage);
}

/* ---- from a thread, while all others push ---- */

enum { THREADS = 3 };

struct executor {
	const struct stage *stage;
	unsigned number;
};

static void *execute(void *argument)
{
	const struct executor *executor = argument;
	const char *argv[8];

	probe_argv(executor->stage, executor->number + THREADS, 5, true, argv);
	(void)execv(argv[0], (char *const *)(uintptr_t)argv);
	violated("%s: execv: %s", executor->stage->scenario, strerror(errno));
	return NULL;
}

/* What the others have published when they end is in the log; what they were at may be. */
static void exec_from_thread(const struct stage *stage, struct shmlog *log, unsigned number)
{
	struct executor executor = { stage, number };
	struct crew crew;
	pthread_t thread;

	crew_start(&crew, stage, log, number, THREADS);
	if (pthread_create(&thread, NULL, execute, &executor) != 0)
		broken("pthread_create");
	pthread_join(thread, NULL);
}

static void run_exec_from_thread(struct stage *stage)
{
	struct shmlog *log;

	stage_open(stage, 1 + THREADS);
	log = stage_attach(stage, NULL);
	for (unsigned i = 0; i < stage_count(stage, 30, 300); i++)
		stage_join(stage, stage_fork(stage, exec_from_thread, log, (THREADS + 1) * i));
	shmlog_detach(&log);
	stage_close(stage);
}

const struct scenario exec_scenarios[] = {
	{ "exec", run_exec },
	{ "exec-in-claim", run_exec_in_claim },
	{ "exec-from-thread", run_exec_from_thread },
	{ 0 },
};
