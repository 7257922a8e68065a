/*
 * oracle.c - what must be true of a log and its ring when all is over. See oracle.h.
 */
#include "oracle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "logdir.h"
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

static void list(const char *directory, struct logdir_list *ret)
{
	const int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0 || logdir_list(&sys_real, dir, ret) < 0)
		broken("cannot list %s", directory);
	close(dir);
}

static bool is_twin(const struct logdir_list *list, size_t i)
{
	return i > 0 && list->files[i].file_no == list->files[i - 1].file_no;
}

void oracle_forgive_deleted(struct journal *journal, const char *directory, unsigned kept)
{
	const char *const argv[] = { "shmlog-cat", "-o", "raw", directory, NULL };
	struct logdir_list files;
	uint64_t deleted;
	unsigned count = 0;
	pid_t pid;
	FILE *records = program_read(argv, &pid);

	deleted = journal_forgive_deleted(journal, records);
	(void)program_close(records, pid); /* its status is looked at by oracle_compare() */
	list(directory, &files);
	for (size_t i = 0; i < files.count; i++)
		count += !is_twin(&files, i);
	logdir_list_free(&files);
	if (deleted > 0 && count < kept)
		violated("%llu records are deleted, and only %u files are left",
			 (unsigned long long)deleted, count);
}

/* A kill between the last deletion in a volume and its own leaves it, until the next deletion. */
static void expect_no_empty_volumes(const char *directory, uint64_t first)
{
	DIR *stream = opendir(directory);
	struct dirent *entry;
	unsigned count = 0;
	uint64_t volume_no;

	if (!stream)
		broken("%s: %s", directory, strerror(errno));
	while ((entry = readdir(stream)))
		count += logdir_parse_volume(entry->d_name, &volume_no) && volume_no < first;
	(void)closedir(stream);
	if (count > 1)
		violated("%u volumes are left without a file", count);
}

void oracle_is_tidy(const char *directory)
{
	struct logdir_list files;

	list(directory, &files);
	if (files.count > 0)
		expect_no_empty_volumes(directory, files.files[0].volume_no);
	for (size_t i = 0; i < files.count; i++) {
		const struct logdir_file *file = &files.files[i];

		if (is_twin(&files, i))
			violated("file %llu has two names", (unsigned long long)file->file_no);
		if (file->state == LOGFILE_SEALED && file->volume_no < files.volume_last)
			violated("file %llu is not compressed", (unsigned long long)file->file_no);
	}
	for (size_t i = 0; i < files.side_count; i++)
		if (files.sides[i].state == LOGFILE_ARCHIVE_TMP)
			violated("half an archive of file %llu is left",
				 (unsigned long long)files.sides[i].file_no);
	logdir_list_free(&files);
}

void oracle_numbers_rise(const char *directory)
{
	const char *const argv[] = { "shmlog-cat", "-o", "pages", directory, NULL };
	unsigned long long number, next = 0;
	char kind[8], line[400];
	pid_t pid;
	FILE *pages = program_read(argv, &pid);

	while (fgets(line, sizeof(line), pages)) {
		if (sscanf(line, "%llu %7s", &number, kind) != 2)
			broken("not a page: %s", line);
		if (next != 0 && number != next)
			violated("page %llu stands where page %llu should", number, next);
		next = number + (strcmp(kind, "SEAL") != 0);
	}
	(void)program_close(pages, pid); /* its status was looked at by oracle_compare() */
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
