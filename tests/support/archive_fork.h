/*
 * archive_fork.h - the child that archives as a fork of its writer, over the same table of calls.
 *
 * For the `spawn` of suites whose writer is no program of its own: what the child asks of the
 * system is noted, or fails, as what its writer asks. Otherwise it is as archive_child(): it has
 * the directory and its lock and no other descriptor, and dies with the thread that started it.
 */
#ifndef SHMLOG_TESTS_SUPPORT_ARCHIVE_FORK_H
#define SHMLOG_TESTS_SUPPORT_ARCHIVE_FORK_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "archive.h"

_Noreturn static inline void archive_fork_run(const struct sys *sys, char *const arguments[],
					      const int *descriptors)
{
	enum { ABOVE = 900 }; /* all that the writer has open lies below */
	const int dir = fcntl(descriptors[0], F_DUPFD_CLOEXEC, ABOVE);
	const int lock = fcntl(descriptors[1], F_DUPFD_CLOEXEC, dir + 1);
	const struct archive_log log = { sys, dir, arguments[ARCHIVE_ARGUMENTS - 1] };
	const struct archive_range range = { strtoull(arguments[2], NULL, 10),
					     strtoull(arguments[3], NULL, 10) };
	struct archive_result result;
	int r;

	if (lock < 0 || close_range(STDERR_FILENO + 1, (unsigned)dir - 1, 0) < 0)
		_exit(126);
	r = archive_volumes(&log, range, false, &result);
	if (r < 0)
		(void)fprintf(stderr, "shmlog-writer: %s\n", reason_get());
	_exit(r < 0 || result.failed > 0);
}

/* Arguments as for sys->spawn(). @begin: called first by the child; may be NULL. */
static inline int archive_fork(const struct sys *sys, char *const arguments[],
			       const int *descriptors, void (*begin)(void))
{
	const pid_t parent = getpid();
	const pid_t pid = fork();

	if (pid != 0)
		return pid < 0 ? -errno : pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	if (begin)
		begin();
	archive_fork_run(sys, arguments, descriptors);
}

#endif
