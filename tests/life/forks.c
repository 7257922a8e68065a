/*
 * forks.c - processes that come by fork, vfork, posix_spawn and system, while their parent pushes.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stage.h"

extern char **environ;

static void wait_for_all(const struct stage *stage, const pid_t *pids, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		stage_join(stage, pids[i]);
}

/* ---- parent and child push on with the same handle ---- */

enum { DEPTH = 3 };

/* Numbers of a tree: the root is 1, the children of n are 2n and 2n + 1. */
static void grow_family(const struct stage *stage, struct shmlog *log, unsigned number)
{
	pid_t children[2] = { 0 };

	push_some(stage, log, number, 20);
	for (unsigned i = 0; number < 1u << (DEPTH - 1) && i < 2; i++) {
		children[i] = stage_fork(stage, grow_family, log, 2 * number + i);
		push_some(stage, log, number, 50);
	}
	push_some(stage, log, number, 200);
	for (unsigned i = 0; i < 2; i++)
		if (children[i])
			stage_join(stage, children[i]);
	push_some(stage, log, number, 20);
	if (number % 2)
		shmlog_detach(&log); /* the others end without */
}

static void run_family(struct stage *stage)
{
	struct shmlog *log;

	stage_open(stage, 4); /* fewer than processes: some share lane 0 */
	log = stage_attach(stage, NULL);
	grow_family(stage, log, 1);
	stage_close(stage);
}

/* ---- children of a parent whose other threads push ---- */

static void push_at_once(const struct stage *stage, struct shmlog *log, unsigned number)
{
	push_some(stage, log, number, 5);
}

static void run_beside_threads(struct stage *stage)
{
	enum { THREADS = 3, TOGETHER = 4 };
	const unsigned rounds = stage_count(stage, 60, 1500);
	struct shmlog *log;
	struct crew crew;

	stage_open(stage, 6);
	log = stage_attach(stage, NULL);
	crew_start(&crew, stage, log, 0, THREADS);
	for (unsigned i = 0; i < rounds; i++) {
		pid_t pids[TOGETHER];

		for (unsigned k = 0; k < TOGETHER; k++)
			pids[k] = stage_fork(stage, push_at_once, log, 10 + i * TOGETHER + k);
		wait_for_all(stage, pids, TOGETHER);
	}
	crew_stop(&crew);
	shmlog_detach(&log);
	stage_close(stage);
}

/* ---- fork inside a claim ---- */

static struct shmlog_claim open_claim;

static void meet_claim(const struct stage *stage, struct shmlog *log, unsigned number)
{
	push_some(stage, log, number, 3);
	if (shmlog_commit(log, &open_claim, 1) != -EBADF)
		violated("%s: a child can commit its parent's claim", stage->scenario);
	if (shmlog_abort(log, &open_claim) != -EBADF)
		violated("%s: a child can abort its parent's claim", stage->scenario);
	push_some(stage, log, number, 3);
}

static void claim_and_fork(struct stage *stage, struct shmlog *log, unsigned round)
{
	const uint32_t serial = journal_next(stage->journal, 0);
	char text[JOURNAL_TEXT_MAX];
	const size_t size = journal_text(0, serial, text);

	(void)shmlog_sync(log, SHMLOG_SYNC_WRITTEN, WAIT_NS); /* so that there is room */
	if (shmlog_claim(log, SHMLOG_INFO, size, &open_claim) < 0) {
		violated("%s: no room for a claim", stage->scenario);
		return;
	}
	journal_note(stage->journal, 0, serial, JOURNAL_TRIED);
	stage_join(stage, stage_fork(stage, meet_claim, log, 1 + round));
	memcpy(open_claim.data, text, size);
	if (shmlog_commit(log, &open_claim, size) < 0)
		violated("%s: the parent cannot commit its claim", stage->scenario);
	journal_note(stage->journal, 0, serial, JOURNAL_PUBLISHED);
	push_some(stage, log, 0, 2);
}

static void run_in_claim(struct stage *stage, unsigned lanes)
{
	struct shmlog *log;

	stage_open(stage, lanes);
	log = stage_attach(stage, NULL);
	for (unsigned round = 0; round < stage_count(stage, 40, 400); round++)
		claim_and_fork(stage, log, round);
	shmlog_detach(&log);
	stage_close(stage);
}

static void run_in_own_claim(struct stage *stage)
{
	run_in_claim(stage, 4);
}

static void run_in_shared_claim(struct stage *stage)
{
	run_in_claim(stage, 1);
}

/* ---- fork in a signal handler that may have interrupted a push ---- */

enum { HANDLER_CHILDREN_MAX = 3000 };

static const struct stage *handler_stage;
static struct shmlog *handler_log;
static unsigned handler_children, handler_limit;
static pid_t handler_pids[HANDLER_CHILDREN_MAX];

/* The child never returns into what was interrupted: it pushes, and ends. */
static void fork_in_handler(int signal_no)
{
	const int kept = errno;
	pid_t pid;

	(void)signal_no;
	if (handler_children >= handler_limit)
		return;
	pid = handler_children % 2 ? _Fork() : fork();
	if (pid == 0) {
		const uint64_t before = violations();

		push_some(handler_stage, handler_log, 1 + handler_children, 3);
		_exit(violations() == before ? 0 : 1);
	}
	handler_pids[handler_children++] = pid;
	errno = kept;
}

static void run_in_handler(struct stage *stage)
{
	const struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
	const struct sigaction action = { .sa_handler = fork_in_handler, .sa_flags = SA_RESTART };

	stage_open(stage, 4);
	handler_stage = stage;
	handler_log = stage_attach(stage, NULL);
	handler_limit = stage_count(stage, 200, HANDLER_CHILDREN_MAX);
	(void)sigaction(SIGALRM, &action, NULL);
	(void)setitimer(ITIMER_REAL, &often, NULL);
	for (unsigned i = 0; handler_children < handler_limit && i < RECORDS_MAX - 8; i++) {
		push_some(stage, handler_log, 0, 1);
		if (i % 8 == 0) { /* from lane 0, order across it is only that of a sync */
			(void)shmlog_sync(handler_log, SHMLOG_SYNC_WRITTEN, WAIT_NS);
			(void)shmlog_unbind(handler_log);
		}
		if (i % 64 == 0)
			nap_ms(1);
	}
	(void)setitimer(ITIMER_REAL, &never, NULL);
	wait_for_all(stage, handler_pids, handler_children);
	stage->figures->lives += handler_children;
	shmlog_detach(&handler_log);
	stage_close(stage);
}

/* ---- a child keeps no lane of its parent's alive ---- */

struct binder {
	pthread_t thread;
	struct shmlog *log;
	const struct stage *stage;
	unsigned producer;
};

static void *bind_again_and_again(void *argument)
{
	const struct binder *binder = argument;

	for (unsigned i = 0; !board_read(&binder->stage->board->stop); i++) {
		if (i < RECORDS_MAX - 4)
			push_some(binder->stage, binder->log, binder->producer, 1);
		(void)shmlog_unbind(binder->log);
		if (i % 16 == 0)
			nap_ms(1);
	}
	return NULL;
}

static void stay(const struct stage *stage, struct shmlog *log, unsigned number)
{
	(void)log;
	(void)number;
	expect_no_descriptor("a forked child");
	if (count_mappings() > 4) /* header and doorbell, not the lanes */
		violated("a forked child has lanes mapped");
	board_add(&stage->board->ready, 1);
	board_wait(&stage->board->counted[0], 1, "the end of the parent's threads");
}

static void run_nothing_inherited(struct stage *stage)
{
	enum { BINDERS = 2 };
	const unsigned children = stage_count(stage, 60, 600);
	struct shmlog *log;
	struct binder binders[BINDERS];
	pid_t *pids = calloc(children, sizeof(*pids));

	stage_open(stage, 4);
	log = stage_attach(stage, NULL);
	for (unsigned i = 0; i < BINDERS; i++) {
		binders[i] = (struct binder){ .log = log, .stage = stage, .producer = i };
		if (pthread_create(&binders[i].thread, NULL, bind_again_and_again, &binders[i]))
			broken("pthread_create");
	}
	for (unsigned i = 0; i < children; i++)
		pids[i] = stage_fork(stage, stay, log, i);
	board_wait(&stage->board->ready, children, "the children");
	board_add(&stage->board->stop, 1);
	for (unsigned i = 0; i < BINDERS; i++)
		pthread_join(binders[i].thread, NULL);
	shmlog_detach(&log);
	/* The children live on, and hold nothing: the ring can go. */
	stage_close(stage);
	board_add(&stage->board->counted[0], 1);
	wait_for_all(stage, pids, children);
	free(pids);
}

/* ---- new programs ---- */

static void run_spawn(struct stage *stage)
{
	enum { THREADS = 2 };
	const unsigned rounds = stage_count(stage, 30, 300);
	const char *argv[8];
	struct shmlog *log;
	struct crew crew;

	stage_open(stage, 8);
	log = stage_attach(stage, NULL);
	crew_start(&crew, stage, log, 0, THREADS);
	for (unsigned i = 0; i < rounds; i++) {
		pid_t pid;

		probe_argv(stage, 10 + i, 3, true, argv);
		if (posix_spawn(&pid, self_path, NULL, NULL, (char *const *)(uintptr_t)argv,
				environ) != 0)
			broken("posix_spawn");
		stage_join(stage, pid);
		stage->figures->lives++;
	}
	crew_stop(&crew);
	shmlog_detach(&log);
	stage_close(stage);
}

static void run_system(struct stage *stage)
{
	enum { THREADS = 2 };
	const unsigned rounds = stage_count(stage, 20, 200);
	const char *argv[8];
	char command[3 * PATH_MAX];
	struct shmlog *log;
	struct crew crew;

	stage_open(stage, 8);
	log = stage_attach(stage, NULL);
	crew_start(&crew, stage, log, 0, THREADS);
	for (unsigned i = 0; i < rounds; i++) {
		probe_argv(stage, 10 + i, 3, true, argv);
		(void)snprintf(command, sizeof(command), "'%s' %s '%s' '%s' %s %s %s", argv[0],
			       argv[1], argv[2], argv[3], argv[4], argv[5], argv[6]);
		if (system(command) != 0)
			violated("%s: the command has failed", stage->scenario);
		stage->figures->lives++;
	}
	crew_stop(&crew);
	shmlog_detach(&log);
	stage_close(stage);
}

/* ---- vfork: a child in its parent's memory ---- */

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static void run_vfork_exec(struct stage *stage)
{
	enum { THREADS = 2 };
	const unsigned rounds = stage_count(stage, 30, 300);
	const char *argv[8];
	struct shmlog *log;
	struct crew crew;

	stage_open(stage, 8);
	log = stage_attach(stage, NULL);
	crew_start(&crew, stage, log, 0, THREADS);
	for (unsigned i = 0; i < rounds; i++) {
		pid_t pid;

		push_some(stage, log, 9, 2);
		probe_argv(stage, 10 + i, 3, true, argv);
		pid = vfork();
		if (pid == 0) {
			(void)execv(argv[0], (char *const *)(uintptr_t)argv);
			_exit(127);
		}
		push_some(stage, log, 9, 2);
		stage_join(stage, pid);
		stage->figures->lives++;
	}
	crew_stop(&crew);
	shmlog_detach(&log);
	stage_close(stage);
}

/* The thread is bound: the child pushes into its lane, as the thread itself would. */
static void run_vfork_push(struct stage *stage)
{
	struct shmlog *log;
	struct crew crew;

	stage_open(stage, 4);
	log = stage_attach(stage, NULL);
	crew_start(&crew, stage, log, 0, 2);
	push_some(stage, log, 9, 1);
	for (unsigned i = 0; i < stage_count(stage, 200, 3000); i++) {
		const pid_t pid = vfork();

		if (pid == 0)
			_exit(journal_push(stage->journal, log, 9, 0) == 0 ? 0 : 1);
		stage_join(stage, pid);
		push_some(stage, log, 9, 1);
		stage->figures->lives++;
	}
	crew_stop(&crew);
	shmlog_detach(&log);
	stage_close(stage);
}

/*
 * The thread is not bound: the child cannot bind it, for it is another process in the thread's
 * place, in which none of the thread's fellows seems to be alive. It is refused; the lanes of the
 * others are left alone, also one with an open claim.
 */
struct claimer {
	const struct stage *stage;
	struct shmlog *log;
	unsigned producer;
	uint32_t turn; /* odd: claimed, even: committed */
};

/* There is no claim that waits for room. */
static bool claim_at_last(const struct claimer *claimer, size_t size, struct shmlog_claim *claim)
{
	const int64_t deadline = clock_ms() + DEADLINE_MS;

	while (shmlog_claim(claimer->log, SHMLOG_INFO, size, claim) < 0) {
		if (clock_ms() > deadline)
			return false;
		nap_ms(1);
	}
	return true;
}

static void *claim_in_turns(void *argument)
{
	struct claimer *claimer = argument;
	struct journal *journal = claimer->stage->journal;
	char text[JOURNAL_TEXT_MAX];
	struct shmlog_claim claim;

	for (uint32_t turn = 1; turn < RECORDS_MAX; turn += 2) {
		const uint32_t serial = journal_next(journal, claimer->producer);
		const size_t size = journal_text(claimer->producer, serial, text);

		if (!claim_at_last(claimer, size, &claim))
			break;
		board_add(&claimer->turn, 1);
		board_wait(&claimer->turn, turn + 1, "the turn to commit");
		memcpy(claim.data, text, size);
		journal_note(journal, claimer->producer, serial, JOURNAL_TRIED);
		if (shmlog_commit(claimer->log, &claim, size) < 0)
			violated("%s: the commit was refused", claimer->stage->scenario);
		journal_note(journal, claimer->producer, serial, JOURNAL_PUBLISHED);
		push_some(claimer->stage, claimer->log, claimer->producer, 2);
		if (board_read(&claimer->stage->board->stop))
			return NULL;
		nap_ms(1);
	}
	violated("%s: no claim is possible", claimer->stage->scenario);
	return NULL;
}

static void push_first_in_vfork(struct stage *stage, struct shmlog *log)
{
	const pid_t pid = vfork();

	if (pid == 0) {
		(void)journal_push(stage->journal, log, 9, 0);
		_exit(0);
	}
	stage_join(stage, pid);
	stage->figures->lives++;
}

static void run_vfork_first_push(struct stage *stage)
{
	const unsigned rounds = stage_count(stage, 200, 3000);
	struct claimer claimer = { .stage = stage, .producer = 1 };
	struct shmlog *log;
	struct crew crew;
	pthread_t thread;

	stage_open(stage, 8);
	claimer.log = log = stage_attach(stage, NULL);
	if (pthread_create(&thread, NULL, claim_in_turns, &claimer) != 0)
		broken("pthread_create");
	board_wait(&claimer.turn, 1, "the first claim: it has the first slot");
	crew_start(&crew, stage, log, 20, 3);
	for (unsigned i = 0; i < rounds; i++) {
		board_wait(&claimer.turn, 2 * i + 1, "the claim");
		push_first_in_vfork(stage, log);
		if (i == rounds - 1)
			board_add(&stage->board->stop, 1);
		board_add(&claimer.turn, 1);
		push_some(stage, log, 9, 1);
		(void)shmlog_unbind(log);
	}
	pthread_join(thread, NULL);
	crew_join(&crew);
	shmlog_detach(&log);
	stage_close(stage);
}

const struct scenario fork_scenarios[] = {
	{ "fork-family", run_family },
	{ "fork-beside-threads", run_beside_threads },
	{ "fork-in-own-claim", run_in_own_claim },
	{ "fork-in-shared-claim", run_in_shared_claim },
	{ "fork-in-handler", run_in_handler },
	{ "fork-nothing-inherited", run_nothing_inherited },
	{ "posix-spawn", run_spawn },
	{ "system", run_system },
	{ "vfork-exec", run_vfork_exec },
	{ "vfork-push", run_vfork_push },
	{ "vfork-first-push", run_vfork_first_push },
	{ 0 },
};
