/*
 * limits.c - processes that are stopped, or lose what a first push needs: descriptors, memory,
 * privileges, the file system.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stage.h"

/* ---- stopped and continued ---- */

static void push_as_crew(const struct stage *stage, struct shmlog *log, unsigned number)
{
	struct crew crew;

	crew_start(&crew, stage, log, number, 2);
	crew_join(&crew);
}

static void run_stopped(struct stage *stage)
{
	struct shmlog *log;
	pid_t pid;
	int status;

	stage_open(stage, 5);
	log = stage_attach(stage, NULL);
	pid = stage_fork(stage, push_as_crew, log, 0);
	board_wait(&stage->board->ready, 2, "the first pushes");
	for (unsigned i = 0; i < stage_count(stage, 20, 300); i++) {
		kill(pid, SIGSTOP);
		if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
			broken("%s: it does not stop", stage->scenario);
		if (i % 5 == 4) { /* who is stopped may miss that the writer was another */
			stage_kill_writer(stage);
			stage_start_writer(stage);
		}
		push_some(stage, log, 10, RECORDS_MAX / 400);
		if (shmlog_sync(log, SHMLOG_SYNC_WRITTEN, WAIT_NS) < 0)
			violated("%s: a stopped process holds up another lane", stage->scenario);
		kill(pid, SIGCONT);
		nap_ms(3);
	}
	board_add(&stage->board->stop, 1);
	stage_join(stage, pid);
	shmlog_detach(&log);
	stage_close(stage);
}

/* ---- what a first push may find missing ---- */

struct first {
	pthread_t thread;
	const struct stage *stage;
	struct shmlog *log;
	unsigned producer;
	int result;
};

static void *push_first(void *argument)
{
	struct first *first = argument;

	first->result = journal_push(first->stage->journal, first->log, first->producer, 0);
	if (first->result == 0)
		push_some(first->stage, first->log, first->producer, 50);
	return NULL;
}

/* What another thread's first push says; 1 for "no thread can be made". */
static int push_in_thread(const struct stage *stage, struct shmlog *log, unsigned producer)
{
	struct first first = { .stage = stage, .log = log, .producer = producer };

	if (pthread_create(&first.thread, NULL, push_first, &first) != 0)
		return 1;
	pthread_join(first.thread, NULL);
	return first.result;
}

static void expect_result(const struct stage *stage, int got, int wanted, const char *when)
{
	if (got != wanted)
		violated("%s: a push %s: %s", stage->scenario, when, shmlog_strerror(got));
}

static void limit(int resource, rlim_t value, struct rlimit *ret_before)
{
	struct rlimit now;

	if (getrlimit(resource, ret_before) < 0)
		broken("getrlimit");
	now = *ret_before;
	now.rlim_cur = value;
	if (setrlimit(resource, &now) < 0)
		broken("setrlimit: %s", strerror(errno));
}

/* The main thread is bound, and goes on; another's first push is refused, and counted. */
static void lack_descriptors(const struct stage *stage, struct shmlog *log, unsigned number)
{
	struct rlimit before;
	struct shmlog *other = NULL;

	push_some(stage, log, number, 10);
	limit(RLIMIT_NOFILE, 0, &before);
	push_some(stage, log, number, 500);
	expect_result(stage, push_in_thread(stage, log, number + 1), -EAGAIN,
		      "without a descriptor");
	if (shmlog_attach(stage->ring, NULL, &other) != -EMFILE || other)
		violated("%s: attached without a descriptor", stage->scenario);
	push_some(stage, log, number, 500);
	(void)setrlimit(RLIMIT_NOFILE, &before);
	expect_result(stage, push_in_thread(stage, log, number + 2), 0, "with descriptors again");
	if (stage_dropped(log) != 1)
		violated("%s: %llu drops counted, not 1", stage->scenario,
			 (unsigned long long)stage_dropped(log));
}

/* ... and so for memory; here the main thread itself binds last. */
static void lack_memory(const struct stage *stage, struct shmlog *log, unsigned number)
{
	struct rlimit before;
	struct shmlog *other = NULL;
	int r;

	r = journal_push(stage->journal, log, number, 0);
	expect_result(stage, r, 0, "at first");
	(void)shmlog_unbind(log); /* the lane is pooled, and will serve again */
	limit(RLIMIT_AS, address_space() + 4096, &before);
	push_some(stage, log, number, 100);
	if (shmlog_attach(stage->ring, NULL, &other) >= 0)
		violated("%s: attached without memory", stage->scenario);
	(void)setrlimit(RLIMIT_AS, &before);
	if (shmlog_attach(stage->ring, NULL, &other) < 0) {
		violated("%s: attach with memory again: %s", stage->scenario, shmlog_reason());
		return;
	}
	limit(RLIMIT_AS, address_space() + 4096, &before);
	expect_result(stage, journal_push(stage->journal, other, number + 1, 0), -EAGAIN,
		      "without memory");
	push_some(stage, log, number, 100);
	(void)setrlimit(RLIMIT_AS, &before);
	push_some(stage, other, number + 1, 100);
	if (stage_dropped(other) != 1)
		violated("%s: %llu drops counted, not 1", stage->scenario,
			 (unsigned long long)stage_dropped(other));
	shmlog_detach(&other);
}

/* A daemon that closes all that it did not open, also after attach. */
static void close_all(const struct stage *stage, struct shmlog *log, unsigned number)
{
	struct crew crew;

	crew_start(&crew, stage, log, number, 2);
	push_some(stage, log, number + 5, 10);
	closefrom(0);
	push_some(stage, log, number + 5, 1000);
	expect_result(stage, push_in_thread(stage, log, number + 6), 0, "with no descriptor open");
	board_add(&stage->board->stop, 1);
	crew_join(&crew);
}

static void drop_privileges(const struct stage *stage, struct shmlog *log, unsigned number)
{
	struct crew crew;

	crew_start(&crew, stage, log, number, 2);
	push_some(stage, log, number + 5, 10);
	if (setgid(65534) < 0 || setuid(65534) < 0)
		broken("setuid: %s", strerror(errno));
	push_some(stage, log, number + 5, 1000);
	expect_result(stage, push_in_thread(stage, log, number + 6), -EAGAIN, "without the right");
	push_some(stage, log, number + 5, 10);
	board_add(&stage->board->stop, 1);
	crew_join(&crew);
}

static struct shmlog *attach_with_lanes(const struct stage *stage, unsigned lanes)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log;

	options.prebind = lanes;
	if (shmlog_attach(stage->ring, &options, &log) < 0)
		broken("%s: attach: %s", stage->scenario, shmlog_reason());
	return log;
}

/* What was taken ahead serves in a prison without /dev, /proc and rights. */
static void enter_prison(const struct stage *stage, struct shmlog *log, unsigned number)
{
	struct crew crew;

	log = attach_with_lanes(stage, 3);
	push_some(stage, log, number + 5, 10);
	if (chroot(stage->directory) < 0 || chdir("/") < 0 || setgid(65534) < 0 ||
	    setuid(65534) < 0)
		broken("chroot: %s", strerror(errno));
	crew_start(&crew, stage, log, number, 4); /* more than lanes: lane 0 was taken, too */
	push_some(stage, log, number + 5, 1000);
	board_add(&stage->board->stop, 1);
	crew_join(&crew);
	shmlog_detach(&log);
}

static void run_child(struct stage *stage, child_body *body)
{
	const unsigned rounds = stage_count(stage, 3, 30);
	struct shmlog *log;

	if (geteuid() != 0)
		stage_skip(stage, "needs root");
	stage_open(stage, 6);
	log = stage_attach(stage, NULL);
	for (unsigned i = 0; i < rounds; i++) {
		__atomic_store_n(&stage->board->stop, 0, __ATOMIC_SEQ_CST);
		stage_join(stage, stage_fork(stage, body, log, 10 * i));
	}
	shmlog_detach(&log);
	stage_close(stage);
}

static void run_no_descriptors(struct stage *stage)
{
	run_child(stage, lack_descriptors);
}

static void run_no_memory(struct stage *stage)
{
	run_child(stage, lack_memory);
}

static void run_close_all(struct stage *stage)
{
	run_child(stage, close_all);
}

static void run_privileges(struct stage *stage)
{
	run_child(stage, drop_privileges);
}

static void run_prison(struct stage *stage)
{
	run_child(stage, enter_prison);
}

const struct scenario limit_scenarios[] = {
	{ "stopped", run_stopped },
	{ "no-descriptors", run_no_descriptors },
	{ "no-memory", run_no_memory },
	{ "closefrom", run_close_all },
	{ "privileges-dropped", run_privileges },
	{ "chroot", run_prison },
	{ 0 },
};
