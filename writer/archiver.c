/*
 * archiver.c - the child process that compresses. See archiver.h.
 */
#include "archiver.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "point.h"

enum { NUMBER_SIZE = 24, GONE_STEP_US = 500 };

int archiver_start(struct archiver *archiver, struct archive_range range)
{
	const int descriptors[] = { archiver->log.dir, archiver->lock };
	char name[] = ARCHIVE_NAME, parent[NUMBER_SIZE], from[NUMBER_SIZE], before[NUMBER_SIZE];
	char show[] = { archiver->show ? '1' : '0', '\0' };
	char path[PATH_MAX];
	char *const arguments[] = { name, parent, from, before, show, path, NULL };
	int pid;

	assert(archiver->pid == 0);
	(void)snprintf(parent, sizeof(parent), "%" PRIu32, archiver->log.sys->getpid());
	(void)snprintf(from, sizeof(from), "%" PRIu64, range.from);
	(void)snprintf(before, sizeof(before), "%" PRIu64, range.before);
	(void)snprintf(path, sizeof(path), "%s", archiver->log.path);
	pid = archiver->log.sys->spawn(NULL, arguments, descriptors, COUNT_OF(descriptors));
	if (pid < 0)
		return reason_set(pid, "cannot start a process that compresses: %s",
				  strerror(-pid));
	archiver->pid = pid;
	archiver->is_killed = false;
	archiver->range = range;
	POINT(archiver_started);
	return 0;
}

enum archiver_state archiver_poll(struct archiver *archiver)
{
	int status = 0;
	int r;

	if (archiver->pid == 0)
		return ARCHIVER_IDLE;
	r = archiver->log.sys->wait_child(archiver->pid, &status);
	if (r == 0)
		return ARCHIVER_RUNS;
	archiver->pid = 0;
	if (archiver->is_killed)
		return ARCHIVER_IDLE;
	return r > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? ARCHIVER_DONE
								      : ARCHIVER_FAILED;
}

void archiver_kill(struct archiver *archiver)
{
	if (archiver->pid == 0)
		return;
	archiver->is_killed = true;
	(void)archiver->log.sys->kill(archiver->pid, SIGKILL);
}

void archiver_stop(struct archiver *archiver)
{
	archiver_kill(archiver);
	while (archiver_poll(archiver) == ARCHIVER_RUNS)
		(void)archiver->log.sys->sleep(GONE_STEP_US * (int64_t)NS_PER_US);
}
