/*
 * load.c - what shutdown.sh needs besides shmlog's programs.
 *
 *	load run RING JOURNAL		push and ask for durability, until killed
 *	load shutdown DIR		the file system that DIR is on loses its power
 *	load check JOURNAL MARKED	compare with the records on standard input: all that is
 *					durable is there; with a number for MARKED, no more are
 *					missing than that
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal.h"
#include "program.h"

/* XFS_IOC_GOINGDOWN and EXT4_IOC_SHUTDOWN are the same; 2: the log is not flushed before. */
#define IOC_SHUTDOWN _IOR('X', 125, uint32_t)

enum { PRODUCERS = 3, RECORDS_EACH = 1 << 20, SHUTDOWN_NO_FLUSH = 2, BURST = 20, NAP_US = 500 };

#define SYNC_TIMEOUT_NS INT64_C(2000000000)

_Noreturn static void produce(struct journal *journal, const char *ring, unsigned producer)
{
	struct shmlog *log;

	if (shmlog_attach(ring, NULL, &log) < 0)
		broken("attach: %s", shmlog_reason());
	for (unsigned burst = 0;; burst++) {
		for (unsigned i = 0; i <= (burst * 7 + producer) % BURST; i++)
			(void)journal_push(journal, log, producer, 0);
		(void)usleep(NAP_US);
		if (burst % (producer + 2) == 0 &&
		    shmlog_sync(log, SHMLOG_SYNC_DURABLE, SYNC_TIMEOUT_NS) == 0)
			journal_note_durable(journal, producer);
	}
}

static int run(const char *ring, const char *path)
{
	struct journal *journal = journal_create(path, PRODUCERS, RECORDS_EACH);

	for (unsigned i = 0; i < PRODUCERS; i++) {
		const pid_t pid = fork();

		if (pid < 0)
			broken("fork: %s", strerror(errno));
		if (pid > 0)
			continue;
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		produce(journal, ring, i);
	}
	(void)wait(NULL);
	broken("a producer has ended");
}

static int shut_down(const char *path)
{
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint32_t how = SHUTDOWN_NO_FLUSH;

	if (fd < 0 || ioctl(fd, IOC_SHUTDOWN, &how) < 0)
		broken("%s cannot be shut down: %s", path, strerror(errno));
	return 0;
}

static int check(const char *path, const char *marked)
{
	const struct journal *journal = journal_open(path);
	struct journal_totals totals;
	uint64_t durable = 0;

	(void)journal_check(journal, stdin, DEMAND_DURABLE, &totals);
	if (*marked && totals.absent > strtoull(marked, NULL, 10))
		violated("%llu records are missing, the marks say %s",
			 (unsigned long long)totals.absent, marked);
	for (unsigned producer = 0; producer < PRODUCERS; producer++)
		for (uint32_t serial = 0; journal_state(journal, producer, serial); serial++)
			durable += journal_state(journal, producer, serial) == JOURNAL_DURABLE;
	(void)printf("%llu published, %llu durable, %llu found, %llu absent\n",
		     (unsigned long long)totals.published, (unsigned long long)durable,
		     (unsigned long long)totals.found, (unsigned long long)totals.absent);
	return violations() != 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "run") == 0)
		return run(argv[2], argv[3]);
	if (argc == 3 && strcmp(argv[1], "shutdown") == 0)
		return shut_down(argv[2]);
	if (argc == 4 && strcmp(argv[1], "check") == 0)
		return check(argv[2], argv[3]);
	broken("usage: load run|shutdown|check ...");
}
