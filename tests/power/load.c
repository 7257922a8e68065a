/*
 * load.c - what shutdown.sh needs besides shmlog's programs.
 *
 *	load run RING JOURNAL		push and ask for durability, until killed
 *	load shutdown DIR JOURNAL	the file system that DIR is on loses its power
 *	load check JOURNAL MARKED	compare with the records on standard input: all that was
 *					durable before is there; with a number for MARKED, no more
 *					are missing than that
 *
 * What counts as durable is what a producer knew before the call that cuts the power began: an
 * fdatasync() that is under way meanwhile may return 0 for what is lost (XFS and ext4 in Linux
 * 6.18; a plain loop of pwrite() and fdatasync() shows it, too). After a real cut nobody would see
 * its answer.
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
	int r;
	bool is_told = false; /* that something is lost: which records, only the log says */
	struct shmlog *log;

	if (shmlog_attach(ring, NULL, &log) < 0)
		broken("attach: %s", shmlog_reason());
	for (unsigned burst = 0;; burst++) {
		for (unsigned i = 0; i <= (burst * 7 + producer) % BURST; i++)
			(void)journal_push(journal, log, producer, 0);
		(void)usleep(NAP_US);
		if (burst % (producer + 2) != 0)
			continue;
		r = shmlog_sync(log, SHMLOG_SYNC_DURABLE, SYNC_TIMEOUT_NS);
		is_told |= r == -EIO;
		if (r == 0 && !is_told)
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

/* The journal as it is now, in <path>.before. */
static void keep_journal(const char *path)
{
	static char bytes[1 << 16];
	char before[4096];
	FILE *from = fopen(path, "r");
	FILE *to;
	size_t size;

	(void)snprintf(before, sizeof(before), "%s.before", path);
	to = fopen(before, "w");
	if (!from || !to)
		broken("%s: %s", before, strerror(errno));
	while ((size = fread(bytes, 1, sizeof(bytes), from)) > 0)
		(void)fwrite(bytes, 1, size, to);
	(void)fclose(from);
	if (fclose(to) != 0)
		broken("%s: %s", before, strerror(errno));
}

static int shut_down(const char *path, const char *journal)
{
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint32_t how = SHUTDOWN_NO_FLUSH;

	keep_journal(journal);
	if (fd < 0 || ioctl(fd, IOC_SHUTDOWN, &how) < 0)
		broken("%s cannot be shut down: %s", path, strerror(errno));
	return 0;
}

/* What was not durable before the cut need not be after it. Return: how many records were. */
static uint64_t forget_later(struct journal *journal, const char *path)
{
	char name[4096];
	struct journal *before;
	uint64_t durable = 0;

	(void)snprintf(name, sizeof(name), "%s.before", path);
	before = journal_open(name);
	for (unsigned producer = 0; producer < PRODUCERS; producer++)
		for (uint32_t serial = 0; journal_state(journal, producer, serial); serial++) {
			if (journal_state(before, producer, serial) == JOURNAL_DURABLE)
				durable++;
			else if (journal_state(journal, producer, serial) == JOURNAL_DURABLE)
				journal_note(journal, producer, serial, JOURNAL_PUBLISHED);
		}
	journal_destroy(before);
	return durable;
}

static int check(const char *path, const char *marked)
{
	struct journal *journal = journal_open(path);
	const uint64_t durable = forget_later(journal, path);
	struct journal_totals totals;

	(void)journal_check(journal, stdin, DEMAND_DURABLE, &totals);
	if (*marked && totals.absent > strtoull(marked, NULL, 10))
		violated("%llu records are missing, the marks say %s",
			 (unsigned long long)totals.absent, marked);
	(void)printf("%llu published, %llu durable, %llu found, %llu absent\n",
		     (unsigned long long)totals.published, (unsigned long long)durable,
		     (unsigned long long)totals.found, (unsigned long long)totals.absent);
	return violations() != 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "run") == 0)
		return run(argv[2], argv[3]);
	if (argc == 4 && strcmp(argv[1], "shutdown") == 0)
		return shut_down(argv[2], argv[3]);
	if (argc == 4 && strcmp(argv[1], "check") == 0)
		return check(argv[2], argv[3]);
	broken("usage: load run|shutdown|check ...");
}
