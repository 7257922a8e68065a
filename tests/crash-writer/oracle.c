/*
 * oracle.c - what must be true of a log and its ring when all is over. See oracle.h.
 */
#include "oracle.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

enum { WALK_FILES = 16 };

/* As program_read(), its complaints into a file of their own. */
static FILE *read_apart(const char *const argv[], const char *complaints, pid_t *ret_pid)
{
	const int ours = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	const int theirs = open(complaints, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FILE *stream;

	if (ours < 0 || theirs < 0 || dup2(theirs, STDERR_FILENO) < 0)
		broken("%s: %s", complaints, strerror(errno));
	stream = program_read(argv, ret_pid);
	(void)dup2(ours, STDERR_FILENO);
	close(ours);
	close(theirs);
	return stream;
}

static void expect_silence(const char *complaints)
{
	char line[400];
	FILE *file = fopen(complaints, "re");

	if (!file)
		broken("%s: %s", complaints, strerror(errno));
	if (fgets(line, sizeof(line), file))
		violated("a sound log is complained about: %s", line);
	(void)fclose(file);
}

void oracle_compare(const struct journal *journal, const char *directory, const char *scratch,
		    struct journal_totals *ret)
{
	const char *const argv[] = { "shmlog-cat", "-o", "raw", directory, NULL };
	int status;
	pid_t pid;
	FILE *records = read_apart(argv, scratch, &pid);

	(void)journal_check(journal, records, DEMAND_PUBLISHED, ret);
	status = program_close(records, pid);
	if (status != 0)
		violated("shmlog-cat ended with %d", status);
	expect_silence(scratch);
}

uint64_t oracle_lost(const char *directory)
{
	static const char key[] = "\"lost\":";
	const char *const argv[] = { "shmlog-cat", "-o", "json", directory, NULL };
	uint64_t lost = 0;
	char line[2048];
	pid_t pid;
	FILE *records = program_read(argv, &pid);

	while (fgets(line, sizeof(line), records)) {
		const char *at = strstr(line, key);

		if (at)
			lost += strtoull(at + sizeof(key) - 1, NULL, 10);
	}
	(void)program_close(records, pid); /* its status was looked at by oracle_compare() */
	return lost;
}

void oracle_ring_is_empty(const char *ring)
{
	const char *const argv[] = { "shmlog-cat", "-o", "raw", "-r", ring, NULL };
	char line[200];
	int status;
	pid_t pid;
	FILE *records = program_read(argv, &pid);

	if (fgets(line, sizeof(line), records))
		violated("the ring still holds %.160s", line);
	status = program_close(records, pid);
	if (status != 0 && status != 128 + SIGPIPE)
		violated("shmlog-cat -r ended with %d", status);
}

static int look_at_name(const char *path, const struct stat *status, int type, struct FTW *unused)
{
	const size_t length = strlen(path);

	(void)status, (void)unused;
	if (type == FTW_F && length > 5 && strcmp(path + length - 5, ".open") == 0)
		violated("%s is left by a clean end", path);
	return 0;
}

void oracle_all_is_sealed(const char *directory)
{
	if (nftw(directory, look_at_name, WALK_FILES, FTW_PHYS) < 0)
		broken("%s: %s", directory, strerror(errno));
}
