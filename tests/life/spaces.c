/*
 * spaces.c - process namespaces: the same pid may be many processes, and /proc another's. Who is
 * alive is the kernel's answer about locks, which knows no namespaces.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stage.h"

/* A container's two namespaces; children are born into the first. */
static void enter_container(const struct stage *stage)
{
	if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
		stage_skip(stage, "namespaces cannot be made");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		broken("mount: %s", strerror(errno));
}

static void use_own_proc(void)
{
	if (mount("proc", "/proc", "proc", 0, NULL) < 0)
		broken("mount: %s", strerror(errno));
}

/* ---- producers with equal pids ---- */

enum { SPACES = 3, THREADS = 3 };

/* Process 1 of its namespace, its threads 2 to 4. */
static void push_as_first(const struct stage *stage, struct shmlog *log, unsigned number)
{
	struct crew crew;
	char name[16];

	use_own_proc();
	(void)snprintf(name, sizeof(name), "space%u", number);
	log = stage_attach(stage, name);
	if (getpid() != 1)
		broken("%s: pid %d in a new namespace", stage->scenario, (int)getpid());
	crew_start(&crew, stage, log, number * THREADS, THREADS);
	crew_join(&crew);
	shmlog_detach(&log);
}

static void live_in_container(const struct stage *stage, struct shmlog *log, unsigned number)
{
	int status;

	enter_container(stage);
	status = program_wait(stage_fork(stage, push_as_first, log, number), 2 * DEADLINE_MS);
	if (status != 0 && status != 128 + SIGKILL)
		violated("%s: a container ended with %d", stage->scenario, status);
}

/* The first process of a namespace is killed with all in it when its parent is. */
static void run_equal_pids(struct stage *stage)
{
	pid_t pids[SPACES];
	unsigned number = 0;

	if (geteuid() != 0)
		stage_skip(stage, "needs root");
	stage_open(stage, 6); /* not enough for all: lane 0 serves several with pid 1 */
	for (; number < SPACES; number++)
		pids[number] = stage_fork(stage, live_in_container, NULL, number);
	board_wait(&stage->board->ready, SPACES * THREADS, "the first pushes");
	for (unsigned i = 0; i < stage_count(stage, 9, 90); i++, number++) {
		const uint32_t ready = board_read(&stage->board->ready);
		char command[64];

		/* A child of the one that we know: all of the namespace goes with it. */
		(void)snprintf(command, sizeof(command), "/proc/%d/task/%d/children",
			       (int)pids[i % SPACES], (int)pids[i % SPACES]);
		FILE *children = fopen(command, "re");
		int child = 0;

		if (!children || fscanf(children, "%d", &child) != 1)
			broken("%s: %s", stage->scenario, command);
		(void)fclose(children);
		kill(child, SIGKILL);
		stage_join(stage, pids[i % SPACES]);
		pids[i % SPACES] = stage_fork(stage, live_in_container, NULL, number);
		board_wait(&stage->board->ready, ready + THREADS, "the threads of a new namespace");
	}
	board_add(&stage->board->stop, 1);
	for (unsigned i = 0; i < SPACES; i++)
		stage_join(stage, pids[i]);
	stage_close(stage);
}

/* ---- a writer in a container, producers outside and in another one ---- */

static void write_as_first(const struct stage *stage, struct shmlog *log, unsigned number)
{
	const char *const argv[] = { "shmlog-writer",    "-r",  stage->ring, "-d", stage->log,
				     "--flush-interval", "2ms", NULL };
	const int errors = open(stage->errors, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	(void)log;
	(void)number;
	use_own_proc();
	(void)dup2(errors, STDERR_FILENO);
	(void)execv(program_path("shmlog-writer"), (char *const *)(uintptr_t)argv);
	_exit(127);
}

static void write_in_container(const struct stage *stage, struct shmlog *log, unsigned number)
{
	pid_t pid;

	enter_container(stage);
	pid = stage_fork(stage, write_as_first, log, number);
	board_wait(&stage->board->counted[0], number + 1, "the order to end");
	kill(pid, number % 2 ? SIGTERM : SIGKILL);
	stage_expect(stage, pid, number % 2 ? 0 : 137);
}

static void run_writer_inside(struct stage *stage)
{
	struct shmlog *log;
	struct crew crew;
	pid_t producers;

	if (geteuid() != 0)
		stage_skip(stage, "needs root");
	stage_make_ring(stage, stage->ring, 8);
	log = stage_attach(stage, NULL);
	producers = stage_fork(stage, live_in_container, NULL, 10);
	crew_start(&crew, stage, log, 0, 3);
	for (unsigned i = 0; i < stage_count(stage, 6, 60); i++) {
		const pid_t pid = stage_fork(stage, write_in_container, NULL, i);

		push_some(stage, log, 5, 20);
		if (shmlog_sync(log, SHMLOG_SYNC_DURABLE, WAIT_NS) < 0)
			violated("%s: the writer inside does not write", stage->scenario);
		board_add(&stage->board->counted[0], 1);
		stage_join(stage, pid);
	}
	board_wait(&stage->board->ready, 3 + THREADS, "the producers inside");
	stage_start_writer(stage); /* outside */
	crew_stop(&crew);
	stage_join(stage, producers);
	shmlog_detach(&log);
	stage_close(stage);
}

const struct scenario space_scenarios[] = {
	{ "equal-pids", run_equal_pids },
	{ "writer-in-container", run_writer_inside },
	{ 0 },
};
