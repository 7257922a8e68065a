/*
 * target_directory.c - log directories with any entries: files in order and out of it, directories,
 * links and odd names where files should be (lib/logdir.c, the reader, recovery).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../writer/recover.h"
#include "logdir.h"
#include "logbytes.h"
#include "reading.h"

enum { ENTRIES_MAX = 8, PATH_SIZE = 512 };

static struct log_bytes file;

static void take_name(struct bytes *input, char name[PATH_SIZE])
{
	static const char *const suffixes[] = { ".shmlog", ".shmlog.open", ".shmlog.lz4",
						"",        ".shmlog.torn", ".shmlo",
						"x",       ".lz4" };
	const uint8_t how = (uint8_t)take(input, 1);
	const unsigned long long volume = how & 64 ? take_odd(input, 4) : how >> 6;
	struct bytes odd;

	if (how % 64 == 63) {
		odd = take_bytes(input, 1 + take_below(input, 40));
		(void)snprintf(name, PATH_SIZE, "%.*s", (int)odd.left, (const char *)odd.at);
		for (char *at = name; *at != '\0'; at++)
			if (*at == '/' || *at == '.')
				*at = '_';
	} else if (volume == 0 && !(how & 64)) {
		(void)snprintf(name, PATH_SIZE, "%010u%s", how >> 3 & 7, suffixes[how & 7]);
	} else {
		(void)snprintf(name, PATH_SIZE, "%010llu/%010u%s", volume, how >> 3 & 7,
			       suffixes[how & 7]);
	}
}

static void add_file(struct bytes *input, const char *path, uint64_t *page_no, uint8_t how)
{
	log_build(input, &file, 1 + (how >> 4), how & 8 ? take(input, 1) : *page_no, how & 16);
	*page_no = file.page_next;
	if (how & 128)
		log_spoil(input, &file);
	(void)fuzz_try_write_file(path, file.bytes, file.size);
}

static void add_entry(struct bytes *input, uint64_t *page_no)
{
	const uint8_t how = (uint8_t)take(input, 1);
	char name[PATH_SIZE], path[2 * PATH_SIZE];

	take_name(input, name);
	(void)snprintf(path, sizeof(path), "%s/%s", fuzz_directory(), name);
	fuzz_make_parents(path);
	if ((how & 7) <= 3)
		add_file(input, path, page_no, how);
	else if ((how & 7) == 4)
		(void)fuzz_try_write_file(path, "", 0);
	else if ((how & 7) == 5)
		(void)mkdir(path, 0700);
	else if ((how & 7) == 6)
		(void)symlink(how & 8 ? "nowhere" : ".", path);
	else
		(void)mkfifo(path, 0600);
}

static void check_list(int dir)
{
	struct logdir_list list;

	if (logdir_list(&sys_real, dir, &list) < 0)
		return;
	for (size_t i = 0; i < list.count; i++) {
		const struct logdir_file *at = &list.files[i];
		char name[LOGDIR_NAME_SIZE];
		struct stat about;

		logdir_file_name(name, at);
		must(fstatat(dir, name, &about, AT_SYMLINK_NOFOLLOW) == 0,
		     "directory: %s is listed and not there", name);
		must(i == 0 || at[-1].file_no <= at->file_no, "directory: %s is out of order",
		     name);
	}
	logdir_list_free(&list);
}

static int recover(int dir, struct recovery *ret)
{
	static struct roll roll;
	int r;

	must(roll_open(&roll, &sys_real, dir, fuzz_directory(), false) == 0, "fuzz: out of memory");
	r = recover_log(&roll, NULL, ret);
	roll_close(&roll);
	return r;
}

static void check_recovery(int dir)
{
	struct recovery first, second;
	uint64_t hash;

	if (recover(dir, &first) < 0)
		return;
	hash = fuzz_hash_directory();
	must(recover(dir, &second) == 0, "directory: recovers only once: %s", reason_get());
	must(fuzz_hash_directory() == hash, "directory: a second recovery changes it");
	must(first.page_next == second.page_next && first.log_id == second.log_id,
	     "directory: goes on with page %llu of log %llu, then with %llu of %llu",
	     (unsigned long long)first.page_next, (unsigned long long)first.log_id,
	     (unsigned long long)second.page_next, (unsigned long long)second.log_id);
	/* The numbers of a file that had not begun, and of its volume, are free once they are gone.
	 */
	must(first.volume.file_no >= second.volume.file_no &&
		     first.volume.volume_no >= second.volume.volume_no,
	     "directory: goes on behind file %llu, then behind %llu",
	     (unsigned long long)first.volume.file_no, (unsigned long long)second.volume.file_no);
}

/* Odd entries are damage at most; whatever lies beside them is read. */
static void check_reader(struct bytes *input)
{
	struct reading seen;

	read_path(fuzz_directory(), (struct read_how){ .is_disordered = true }, input, &seen);
	must(seen.end == -ENODATA || seen.end == -EBADMSG || seen.end == -EPROTO,
	     "directory: the reader ends with %d: %s", seen.end, reason_get());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes input = { data, size };
	const unsigned entries = (unsigned)take(&input, 1) % (ENTRIES_MAX + 1);
	uint64_t page_no = 1;
	int dir;

	fuzz_clear_directory();
	for (unsigned i = 0; i < entries; i++)
		add_entry(&input, &page_no);
	dir = open(fuzz_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(dir >= 0, "fuzz: no directory");
	check_list(dir);
	check_reader(&input);
	check_recovery(dir);
	check_list(dir);
	check_reader(&input);
	(void)close(dir);
	return 0;
}
