/*
 * target_file.c - data files of any bytes: the reader, and recovery.
 *
 * Recovery must end, leave a directory that recovers to the same once more, and keep of a file that
 * was open exactly its good pages. The oracle reads the bytes by itself (logbytes.c).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../writer/recover.h"
#include "logbytes.h"
#include "reading.h"

enum { FILES_MAX = 3, PATH_SIZE = 128 };

static struct log_bytes files[FILES_MAX];

static void write_file(uint32_t which, bool sealed)
{
	char path[PATH_SIZE];

	(void)snprintf(path, sizeof(path), "%s/0000000001/%010u.shmlog%s", fuzz_directory(),
		       which + 1, sealed ? "" : ".open");
	fuzz_write_file(path, files[which].bytes, files[which].size);
}

static void read_single(struct bytes *input, uint8_t mode)
{
	char path[PATH_SIZE];
	struct log_content expected;
	struct reading seen;

	(void)snprintf(path, sizeof(path), "%s/single.shmlog%s", fuzz_directory(),
		       mode & 1 ? "" : ".open");
	fuzz_write_file(path, files[0].bytes, files[0].size);
	read_path(path, (struct read_how){ .by_descriptor = mode & 2 }, input, &seen);
	(void)unlink(path);
	if (files[0].spoiled)
		return;
	log_expect(&files[0], &expected);
	must(seen.end == -ENODATA && seen.records == expected.records &&
		     seen.hash == expected.hash && seen.pages == expected.pages,
	     "file: %llu records of %llu, %llu pages of %llu are shown, end %d",
	     (unsigned long long)seen.records, (unsigned long long)expected.records,
	     (unsigned long long)seen.pages, (unsigned long long)expected.pages, seen.end);
}

/* Through a pipe, which only goes forward. */
static void read_pipe(void)
{
	struct shmlog_reader *reader;
	struct log_content expected;
	struct reading seen;
	int ends[2];

	must(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0, "fuzz: no pipe");
	if (fcntl(ends[0], F_SETPIPE_SZ, LOG_SIZE_MAX) < LOG_SIZE_MAX ||
	    write(ends[1], files[0].bytes, files[0].size) != (ssize_t)files[0].size)
		files[0].size = 0; /* no room: nothing is compared */
	(void)close(ends[1]);
	log_expect(&files[0], &expected);
	if (shmlog_reader_open_fd(ends[0], NULL, &reader) == 0) {
		read_records(reader, &seen);
		shmlog_reader_close(&reader);
		must(files[0].spoiled || files[0].size == 0 ||
			     (seen.records == expected.records && seen.hash == expected.hash),
		     "file: %llu records of %llu come through a pipe",
		     (unsigned long long)seen.records, (unsigned long long)expected.records);
	}
	(void)close(ends[0]);
}

static int recover(struct recovery *ret)
{
	static struct roll roll;
	const char *path = fuzz_directory();
	const int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	must(dir >= 0 && roll_open(&roll, &sys_real, dir, path, false) == 0,
	     "fuzz: cannot open the log");
	(void)reason_set(0, "%s", "");
	r = recover_log(&roll, NULL, ret);
	must(r == 0 || reason_get()[0] != '\0', "file: recovery fails with %d, no word", r);
	roll_close(&roll);
	(void)close(dir);
	return r;
}

/* One open file: what was good of it is what the log holds now. */
static void check_kept(const struct recovery *recovery, const struct reading *seen)
{
	struct log_content expected;

	log_expect(&files[0], &expected);
	if (expected.pages == 0)
		return;
	must(seen->end == -ENODATA && seen->bad == 0, "file: damaged after recovery: %s",
	     reason_get());
	must(seen->records == expected.records && seen->hash == expected.hash,
	     "file: %llu records after recovery, of %llu", (unsigned long long)seen->records,
	     (unsigned long long)expected.records);
	must(recovery->page_next == expected.page_next || expected.sealed,
	     "file: goes on with page %llu, not %llu", (unsigned long long)recovery->page_next,
	     (unsigned long long)expected.page_next);
}

static void recover_twice(struct bytes *input, bool one_open)
{
	struct recovery first, second;
	struct reading seen;
	uint64_t hash;

	if (recover(&first) < 0)
		return;
	hash = fuzz_hash_directory();
	must(recover(&second) == 0, "file: recovers only once: %s", reason_get());
	must(fuzz_hash_directory() == hash && second.sealed == 0 && second.cut == 0,
	     "file: a second recovery changes the directory");
	must(first.log_id == second.log_id && first.page_next == second.page_next &&
		     first.previous_file_no == second.previous_file_no &&
		     first.previous_checksum == second.previous_checksum,
	     "file: a second recovery says otherwise: page %llu, then %llu",
	     (unsigned long long)first.page_next, (unsigned long long)second.page_next);
	read_path(fuzz_directory(), (struct read_how){ 0 }, input, &seen);
	if (one_open)
		check_kept(&first, &seen);
}

static uint32_t build_files(struct bytes *input, uint8_t mode, uint8_t sealed)
{
	const uint32_t count = 1 + (mode >> 2 & 3u) % FILES_MAX;
	uint64_t page_no = 1;

	if (mode & 0x40) {
		log_raw(input, &files[0], mode & 0x80);
		return 1;
	}
	for (uint32_t i = 0; i < count; i++) {
		log_build(input, &files[i], i + 1, page_no, sealed >> i & 1);
		page_no = files[i].page_next;
	}
	for (uint8_t spoils = mode >> 4 & 3; spoils > 0; spoils--)
		log_spoil(input, &files[take_below(input, count)]);
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes input = { data, size };
	const uint8_t mode = (uint8_t)take(&input, 1);
	const uint8_t sealed = (uint8_t)take(&input, 1);
	const uint32_t count = build_files(&input, mode, sealed);

	fuzz_clear_directory();
	read_single(&input, mode);
	for (uint32_t i = 0; i < count; i++)
		write_file(i, sealed >> (4 + i) & 1);
	recover_twice(&input, count == 1 && !(sealed >> 4 & 1));
	if (mode & 0x80)
		read_pipe();
	return 0;
}
