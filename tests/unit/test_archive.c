/*
 * test_archive.c - sealed files become archives, whatever happens in between.
 *
 * Files are made page by page (log_fixture.h) and compressed by the writer's own code; frames are
 * taken apart here by hand.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <lz4frame.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../writer/archive.h"
#include "../../writer/archiver.h"
#include "../../writer/hold.h"
#include "archive_map.h"
#include "input.h"
#include "log_fixture.h"
#include "logfile.h"

static struct fixture fixture;
static struct sys sys;
static struct archive_log archive_log;
static struct meter meter;
static char text[4096];

static void open_log(const char *path)
{
	archive_log = (struct archive_log){
		.sys = &sys,
		.dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.path = path,
	};
	cr_assert(archive_log.dir >= 0);
}

static void set_up(void)
{
	fixture_begin(&fixture);
	sys = sys_real;
	meter = (struct meter){ .sys = &sys_real };
	open_log(fixture.dir);
}

static void tear_down(void)
{
	close(archive_log.dir);
	fixture_end(&fixture);
}

TestSuite(archive, .init = set_up, .fini = tear_down, .timeout = 60);

/* ---- making a log ---- */

static uint64_t random_state = 1;

static uint8_t random_byte(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint8_t)(random_state >> 56);
}

/* A record of @size bytes that can be compressed, or cannot. */
static void put(struct fixture_file *file, uint32_t size, bool is_random)
{
	static uint8_t bytes[PAGE_MAX];

	for (uint32_t i = 0; i < size; i++)
		bytes[i] = is_random ? random_byte() : (uint8_t)('a' + i % 7);
	fixture_record(file, RECORD_DATA, 1, 10, bytes, size);
}

static void put_page(struct fixture_file *file, uint32_t size, bool is_random)
{
	put(file, size, is_random);
	fixture_page(file, 10);
}

/* A page of the largest size, as full as it can be. */
static void put_largest_page(struct fixture_file *file, bool is_random)
{
	int64_t room;

	while ((room = page_room(&file->builder, 0)) >= 0)
		put(file, (uint32_t)min_u64((uint64_t)room, 128 * 1024), is_random);
	fixture_page(file, 10);
}

/* A sealed file of three short records. */
static void make_file(uint64_t file_no, uint64_t page_no)
{
	static const char *const records[] = { "a", "b", "c" };
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, file_no, page_no, 1);
	for (size_t i = 0; i < COUNT_OF(records); i++) {
		fixture_data(&file, 1, 10 + i, records[i]);
		fixture_page(&file, 10 + i);
	}
	fixture_seal(&file);
	fixture_file_end(&file);
}

static void path_of(char path[160], uint64_t file_no, const char *suffix)
{
	fixture_path(&fixture, path, file_no, suffix);
}

static bool exists(uint64_t file_no, const char *suffix)
{
	char path[160];
	struct stat about;

	path_of(path, file_no, suffix);
	return lstat(path, &about) == 0;
}

static void run(const char *format, ...) PRINTF(1, 2);
static void run(const char *format, ...)
{
	char command[640];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	cr_assert_eq(system(command), 0, "%s", command);
}

/* Names and checksums of everything in the log. */
static void digest(const char *path, char ret[4096])
{
	char command[320];
	size_t size;
	FILE *pipe;

	(void)snprintf(command, sizeof(command),
		       "cd '%s' && find . | LC_ALL=C sort && find . -type f | LC_ALL=C sort | "
		       "xargs -r cksum",
		       path);
	pipe = popen(command, "re");
	cr_assert_not_null(pipe);
	size = fread(ret, 1, 4095, pipe);
	ret[size] = '\0';
	cr_assert_eq(pclose(pipe), 0);
}

/* What the log was before is what it is now. */
static void expect_untouched(const char before[4096])
{
	static char after[4096];

	digest(fixture.dir, after);
	cr_expect_str_eq(after, before);
}

static int archive(uint64_t file_no)
{
	const struct logdir_file name = { 1, file_no, LOGFILE_SEALED };

	return archive_file(&archive_log, &name, &meter);
}

static void expect_only_archive(uint64_t file_no)
{
	cr_expect(exists(file_no, ".shmlog.lz4"));
	cr_expect_not(exists(file_no, ".shmlog"));
	cr_expect_not(exists(file_no, ".shmlog.lz4.tmp"));
}

static void expect_only_original(uint64_t file_no)
{
	cr_expect(exists(file_no, ".shmlog"));
	cr_expect_not(exists(file_no, ".shmlog.lz4"));
	cr_expect_not(exists(file_no, ".shmlog.lz4.tmp"));
}

static uint8_t *read_whole(uint64_t file_no, const char *suffix, size_t *ret_size)
{
	struct stat about;
	char path[160];
	uint8_t *bytes;
	int fd;

	path_of(path, file_no, suffix);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(fstat(fd, &about), 0, "%s", path);
	*ret_size = (size_t)about.st_size;
	bytes = malloc(*ret_size + 1);
	cr_assert_not_null(bytes);
	cr_assert_eq(read(fd, bytes, *ret_size), about.st_size);
	close(fd);
	return bytes;
}

/* ---- the archive ---- */

Test(archive, replaces_its_original_and_holds_its_records)
{
	make_file(1, 1);
	cr_assert_eq(archive(1), ARCHIVE_MADE, "%s", reason_get());
	expect_only_archive(1);
	fixture_read_path(fixture.dir, text, sizeof(text));
	cr_expect_str_eq(text, "a b c");
}

Test(archive, is_as_old_as_its_original_and_has_its_mode)
{
	const struct timespec times[2] = { { 1, 2 }, { 1600000000, 123456789 } };
	struct stat about;
	char path[160];

	make_file(1, 1);
	path_of(path, 1, ".shmlog");
	cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0);
	cr_assert_eq(chmod(path, 0604), 0);
	cr_assert_eq(archive(1), ARCHIVE_MADE, "%s", reason_get());
	path_of(path, 1, ".shmlog.lz4");
	cr_assert_eq(stat(path, &about), 0);
	cr_expect_eq(about.st_mtim.tv_sec, times[1].tv_sec);
	cr_expect_eq(about.st_mtim.tv_nsec, times[1].tv_nsec);
	cr_expect_eq(about.st_mode & 07777, 0604);
}

static uid_t given_user;

static int give(int fd, uid_t user, gid_t group)
{
	(void)fd;
	(void)group;
	given_user = user;
	return user == 4711 ? 0 : -EPERM;
}

static int foreign_fstat(int fd, struct stat *ret)
{
	const int r = sys_real.fstat(fd, ret);

	ret->st_uid = given_user;
	return r;
}

static mode_t mode_of_archive_for(uid_t owner)
{
	struct stat about;
	char path[160];

	make_file(owner, owner);
	path_of(path, owner, ".shmlog");
	cr_assert_eq(chmod(path, 0666), 0);
	given_user = owner;
	sys.fstat = foreign_fstat;
	sys.fchown = give;
	cr_assert_eq(archive(owner), ARCHIVE_MADE, "%s", reason_get());
	cr_expect_eq(given_user, owner);
	path_of(path, owner, ".shmlog.lz4");
	cr_assert_eq(stat(path, &about), 0);
	return about.st_mode & 0777;
}

Test(archive, is_the_originals_owners_or_not_for_more_than_its_makers)
{
	cr_expect_eq(mode_of_archive_for(4711), 0666);
	cr_expect_eq(mode_of_archive_for(4712) & 0027, 0);
}

/* The blocks' sizes stand before them; the highest bit says that the bytes are as they were. */
static size_t expect_block(const uint8_t *at, const uint8_t *original, size_t size, size_t block)
{
	static uint8_t unpacked[PAGE_MAX];
	uint32_t word;
	int n;

	memcpy(&word, at, sizeof(word));
	if (word >> 31 != 0) {
		word &= INT32_MAX;
		cr_assert_eq(word, size, "block %zu", block);
		cr_assert_eq(memcmp(at + sizeof(word), original, size), 0, "block %zu", block);
		return sizeof(word) + word;
	}
	n = LZ4_decompress_safe((const char *)at + sizeof(word), (char *)unpacked, (int)word,
				PAGE_MAX);
	cr_assert_eq(n, size, "block %zu", block);
	cr_assert_eq(memcmp(unpacked, original, size), 0, "block %zu", block);
	return sizeof(word) + word;
}

static void load_map(const uint8_t *original, size_t size, struct archive_map *ret)
{
	struct seal_trailer trailer;
	void *seal = aligned_alloc(PAGE_ALIGN, PAGE_MAX);

	cr_assert_not_null(seal);
	memcpy(&trailer, original + size - sizeof(trailer), sizeof(trailer));
	memcpy(seal, original + trailer.seal_offset, size - trailer.seal_offset);
	cr_assert_eq(archive_map_build(seal, trailer.seal_offset, ret), 0);
	free(seal);
}

static size_t expect_frame_header(const uint8_t *frame, size_t size, uint64_t content_size)
{
	LZ4F_frameInfo_t about = { 0 };
	LZ4F_dctx *lz4;

	cr_assert(!LZ4F_isError(LZ4F_createDecompressionContext(&lz4, LZ4F_VERSION)));
	cr_assert(!LZ4F_isError(LZ4F_getFrameInfo(lz4, &about, frame, &size)));
	cr_expect_eq(about.blockMode, LZ4F_blockIndependent);
	cr_expect_eq(about.blockSizeID, LZ4F_max256KB);
	cr_expect_eq(about.contentSize, content_size);
	cr_expect_eq(about.contentChecksumFlag, LZ4F_contentChecksumEnabled);
	cr_expect_eq(about.frameType, LZ4F_frame);
	cr_expect_eq(about.dictID, 0);
	LZ4F_freeDecompressionContext(lz4);
	return size;
}

/* All sizes that a page can have: readers find a page by its number because of this. */
Test(archive, holds_one_block_for_each_page)
{
	struct archive_map map;
	struct fixture_file file;
	size_t size, packed_size, at;
	uint8_t *original, *packed;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	for (uint32_t pages = 1; pages < 62; pages += 4)
		put_page(&file, pages * PAGE_ALIGN, false);
	put_largest_page(&file, false);
	put_largest_page(&file, true);
	put_page(&file, 1, true);
	put_largest_page(&file, false);
	fixture_seal(&file);
	fixture_file_end(&file);
	original = read_whole(1, ".shmlog", &size);
	cr_assert_eq(archive(1), ARCHIVE_MADE, "%s", reason_get());
	packed = read_whole(1, ".shmlog.lz4", &packed_size);
	load_map(original, size, &map);
	cr_assert_eq(map.blocks, 1 + 16 + 4 + 1);
	at = expect_frame_header(packed, packed_size, size);
	for (size_t i = 0; i < map.blocks; i++)
		at += expect_block(packed + at, original + map.offsets[i],
				   map.offsets[i + 1] - map.offsets[i], i);
	cr_expect_eq(at + 2 * sizeof(uint32_t), packed_size, "end mark and checksum");
	archive_map_free(&map);
	free(original);
	free(packed);
}

Test(archive, may_be_one_of_a_file_without_records)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 0);
	fixture_seal(&file);
	fixture_file_end(&file);
	cr_assert_eq(archive(1), ARCHIVE_MADE, "%s", reason_get());
	expect_only_archive(1);
}

/* ---- what stays ---- */

static int no_archive_openat(int dir, const char *path, int flags, mode_t mode)
{
	if (flags & O_CREAT)
		cr_assert_fail("%s is made for nothing", path);
	return sys_real.openat(dir, path, flags, mode);
}

Test(archive, is_not_begun_for_what_cannot_be_compressed)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	for (unsigned i = 0; i < 4; i++)
		put_largest_page(&file, true);
	fixture_seal(&file);
	fixture_file_end(&file);
	sys.openat = no_archive_openat;
	cr_expect_eq(archive(1), ARCHIVE_STAYS);
	expect_only_original(1);
}

/* The sample looks good, the rest is not. */
Test(archive, that_saves_too_little_is_given_up)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	put_largest_page(&file, false);
	for (unsigned i = 0; i < 15; i++)
		put_largest_page(&file, true);
	put_page(&file, 1, false);
	for (unsigned i = 0; i < 5; i++)
		put_largest_page(&file, true);
	fixture_seal(&file);
	fixture_file_end(&file);
	cr_expect_eq(archive(1), ARCHIVE_STAYS);
	expect_only_original(1);
}

static void expect_stays(const char *what)
{
	static char before[4096];

	digest(fixture.dir, before);
	cr_expect_eq(archive(1), ARCHIVE_UNSOUND, "%s", what);
	cr_expect(strstr(reason_get(), "0000000001.shmlog\": not a ") != NULL, "%s: %s", what,
		  reason_get());
	expect_untouched(before);
}

Test(archive, is_none_of_a_file_that_was_not_sealed_soundly)
{
	static const uint64_t bad = UINT64_MAX;
	char path[160];

	make_file(1, 1);
	path_of(path, 1, ".shmlog");
	run("cp %s %s/good", path, fixture.dir);
	cr_assert_eq(truncate(path, 4 * PAGE_ALIGN), 0);
	expect_stays("without its SEAL page");
	cr_assert_eq(truncate(path, 0), 0);
	expect_stays("empty");
	run("cat %s/good %s/good >%s", fixture.dir, fixture.dir, path);
	expect_stays("two in one");
	run("cp %s/good %s; head -c 4096 /dev/zero >>%s", fixture.dir, path, path);
	expect_stays("with something behind its end");
	run("cp %s/good %s", fixture.dir, path);
	fixture_scribble(path, sizeof(struct page_header), &bad, sizeof(bad));
	expect_stays("with a bad FILE page");
	run("cp %s/good %s", fixture.dir, path);
	fixture_scribble(path, 5 * PAGE_ALIGN - sizeof(struct seal_trailer), &bad, sizeof(bad));
	expect_stays("with a trailer that leads nowhere");
	run("cp %s/good %s", fixture.dir, path);
	cr_assert_eq(archive(1), ARCHIVE_MADE, "that was the good one");
}

Test(archive, is_none_of_what_is_no_regular_file)
{
	char path[160];

	make_file(1, 1);
	path_of(path, 1, ".shmlog");
	run("mv %s %s/elsewhere; ln -s %s/elsewhere %s", path, fixture.dir, fixture.dir, path);
	expect_stays("a link");
	run("rm %s; mkfifo %s", path, path);
	expect_stays("a pipe");
	run("rm %s; mkdir %s", path, path);
	expect_stays("a directory");
}

Test(archive, a_file_that_is_gone_is_told_apart)
{
	make_file(1, 1);
	cr_expect_eq(archive(2), -ENOENT);
	expect_only_original(1);
}

/* ---- both are there ---- */

/* As a run leaves it that was killed before it removed the original. */
static void make_twins(void)
{
	char path[160];

	make_file(1, 1);
	path_of(path, 1, ".shmlog");
	run("cp -p %s %s/kept", path, fixture.dir);
	cr_assert_eq(archive(1), ARCHIVE_MADE, "%s", reason_get());
	run("mv %s/kept %s", fixture.dir, path);
}

Test(archive, beside_its_original_is_compared_and_the_original_goes)
{
	make_twins();
	cr_expect_eq(archive(1), ARCHIVE_MADE, "%s", reason_get());
	expect_only_archive(1);
}

static void expect_refused(const char *what)
{
	static char before[4096];

	digest(fixture.dir, before);
	cr_expect_eq(archive(1), -EBADMSG, "%s", what);
	cr_expect_not_null(strstr(reason_get(), "0000000001.shmlog.lz4\": "), "%s", reason_get());
	expect_untouched(before);
}

Test(archive, that_holds_something_else_is_left_with_the_original)
{
	char archived[160], original[160];

	make_twins();
	path_of(archived, 1, ".shmlog.lz4");
	path_of(original, 1, ".shmlog");
	run("cp %s %s/good", archived, fixture.dir);
	run("lz4 -qdc %s | tr a z | lz4 -qc >%s/other; mv %s/other %s", archived, fixture.dir,
	    fixture.dir, archived);
	expect_refused("one byte is another");
	run("head -c -4 %s/good >%s", fixture.dir, archived);
	expect_refused("without its checksum");
	run("head -c -12 %s/good >%s", fixture.dir, archived);
	expect_refused("without its last bytes");
	run("{ cat %s; echo; } | lz4 -qc >%s", original, archived);
	expect_refused("with a byte more");
	run("head -c 8192 %s | lz4 -qc >%s", original, archived);
	expect_refused("with less");
	run("echo text >%s", archived);
	expect_refused("not an archive");
	run(": >%s", archived);
	expect_refused("empty");
}

/* Whatever its blocks are. */
Test(archive, that_somebody_else_made_replaces_the_original_as_well)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	for (unsigned i = 0; i < 20; i++)
		put_largest_page(&file, i % 2);
	fixture_seal(&file);
	fixture_file_end(&file);
	run("lz4 -qc -B7 -BD %s >%s.lz4", file.path, file.path);
	cr_expect_eq(archive(1), ARCHIVE_MADE, "%s", reason_get());
	expect_only_archive(1);
}

Test(archive, name_of_what_is_no_file_is_told)
{
	char path[160];

	make_twins();
	path_of(path, 1, ".shmlog.lz4");
	run("rm %s; mkfifo %s", path, path);
	cr_expect_lt(archive(1), 0);
	cr_expect_not_null(strstr(reason_get(), "0000000001.shmlog.lz4\": "), "%s", reason_get());
	cr_expect(exists(1, ".shmlog"));
}

/* ---- failing calls ---- */

static int full_disk_after; /* bytes */

static ssize_t full_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	return offset + (off_t)size > full_disk_after ? -ENOSPC
						      : sys_real.pwrite(fd, bytes, size, offset);
}

Test(archive, half_of_one_does_not_stay_on_a_full_disk)
{
	make_file(1, 1);
	sys.pwrite = full_pwrite;
	full_disk_after = 200;
	cr_expect_eq(archive(1), -ENOSPC);
	cr_expect_not_null(strstr(reason_get(), "0000000001.shmlog.lz4.tmp\": write: No space"),
			   "%s", reason_get());
	expect_only_original(1);
	full_disk_after = INT32_MAX;
	cr_expect_eq(archive(1), ARCHIVE_MADE);
}

/* A disk that keeps one byte wrong, late in the file, and says nothing. */
static ssize_t lying_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	uint8_t other[PAGE_ALIGN];

	if (offset == 0 || size > sizeof(other) || size < 100)
		return sys_real.pwrite(fd, bytes, size, offset);
	memcpy(other, bytes, size);
	other[size - 50] ^= 0x20;
	return sys_real.pwrite(fd, other, size, offset);
}

Test(archive, that_reads_back_as_something_else_replaces_nothing)
{
	make_file(1, 1);
	sys.pwrite = lying_pwrite;
	cr_expect_eq(archive(1), -EBADMSG);
	cr_expect_not_null(strstr(reason_get(), "reads back"), "%s", reason_get());
	expect_only_original(1);
}

static unsigned calls, call_failing; /* the first call is 1 */
static bool is_dead;                 /* all calls behind the failing one fail, too */

static bool is_failing(void)
{
	calls++;
	return calls == call_failing || (is_dead && call_failing && calls > call_failing);
}

/* clang-format off */
#define FAILING(type, name, parameters, arguments) \
	static type failing_##name parameters { return is_failing() ? -EIO : sys_real.name arguments; }

FAILING(int, openat, (int at, const char *path, int flags, mode_t mode), (at, path, flags, mode))
FAILING(int, fstat, (int fd, struct stat *ret), (fd, ret))
FAILING(int, fstatat, (int at, const char *path, struct stat *ret, int flags), (at, path, ret, flags))
FAILING(int, unlinkat, (int at, const char *path, int flags), (at, path, flags))
FAILING(int, renameat, (int at, const char *from, int to_at, const char *to), (at, from, to_at, to))
FAILING(int, fsync, (int fd), (fd))
FAILING(int, fdatasync, (int fd), (fd))
FAILING(int, fchmod, (int fd, mode_t mode), (fd, mode))
FAILING(int, fchown, (int fd, uid_t user, gid_t group), (fd, user, group))
FAILING(int, futimens, (int fd, const struct timespec times[2]), (fd, times))
FAILING(ssize_t, pread, (int fd, void *data, size_t size, off_t at), (fd, data, size, at))
FAILING(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
/* clang-format on */

static void set_failing_calls(void)
{
	sys.openat = failing_openat;
	sys.fstat = failing_fstat;
	sys.fstatat = failing_fstatat;
	sys.unlinkat = failing_unlinkat;
	sys.renameat = failing_renameat;
	sys.fsync = failing_fsync;
	sys.fdatasync = failing_fdatasync;
	sys.fchmod = failing_fchmod;
	sys.fchown = failing_fchown;
	sys.futimens = failing_futimens;
	sys.pread = failing_pread;
	sys.pwrite = failing_pwrite;
}

static const struct archive_range all_volumes = { 0, UINT64_MAX };

/* Archive a copy of the log, failing at call @failing; nothing is lost or shown twice. Then again,
 * with nothing failing. *ret: what became of it. */
static bool archive_copy(unsigned failing, char ret[4096])
{
	struct archive_result result;
	char copy[96];
	bool failed;

	(void)snprintf(copy, sizeof(copy), "%s-copy", fixture.dir);
	run("cp -a '%s' '%s'", fixture.dir, copy);
	close(archive_log.dir);
	open_log(copy);
	calls = 0;
	call_failing = failing;
	failed = archive_volumes(&archive_log, all_volumes, false, &result) < 0 || result.failed;
	call_failing = 0;
	fixture_read_path(copy, text, sizeof(text));
	cr_assert_str_eq(text, "a b c a b c", "call %u", failing);
	if (failing)
		cr_assert_eq(archive_volumes(&archive_log, all_volumes, false, &result), 0);
	cr_assert_eq(result.failed, 0);
	digest(copy, ret);
	run("rm -rf '%s'", copy);
	return failed;
}

static void interrupt_everywhere(void)
{
	static char expected[4096], outcome[4096];
	unsigned failures = 0, total;

	make_file(1, 1);
	make_file(2, 5);
	set_failing_calls();
	cr_assert_not(archive_copy(0, expected));
	total = calls;
	for (unsigned i = 1; i <= total; i++) {
		failures += archive_copy(i, outcome);
		cr_assert_str_eq(outcome, expected, "call %u of %u", i, total);
	}
	cr_assert_gt(failures, total / 2, "of %u calls only %u mattered", total, failures);
}

Test(archive, is_made_again_after_any_failing_call)
{
	interrupt_everywhere();
}

Test(archive, is_made_again_after_a_kill_at_any_call)
{
	is_dead = true;
	interrupt_everywhere();
}

/* ---- in which order ---- */

static char steps[16];

static void note(char step)
{
	const size_t length = strlen(steps);

	cr_assert_lt(length, sizeof(steps) - 1);
	steps[length] = step;
}

static int noted_fdatasync(int fd)
{
	note('d');
	return sys_real.fdatasync(fd);
}

static int noted_fsync(int fd)
{
	note('s');
	return sys_real.fsync(fd);
}

static int noted_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	note('r');
	return sys_real.renameat(from_dir, from, to_dir, to);
}

static int noted_unlinkat(int dir, const char *path, int flags)
{
	if (strcmp(path, "0000000001/0000000001.shmlog") == 0)
		note('u');
	return sys_real.unlinkat(dir, path, flags);
}

static void note_steps(void)
{
	sys.fdatasync = noted_fdatasync;
	sys.fsync = noted_fsync;
	sys.renameat = noted_renameat;
	sys.unlinkat = noted_unlinkat;
}

Test(archive, and_its_name_are_on_the_disk_before_the_original_goes)
{
	make_file(1, 1);
	note_steps();
	cr_assert_eq(archive(1), ARCHIVE_MADE);
	cr_expect_str_eq(steps, "drsu");
}

Test(archive, that_was_there_is_synced_as_well)
{
	make_twins();
	note_steps();
	cr_assert_eq(archive(1), ARCHIVE_MADE);
	cr_expect_str_eq(steps, "dsu");
}

/* ---- volumes ---- */

/* Files 1 and 2 in volume 1, 3 in volume 2, 4 in volume 3. */
static void make_volumes(void)
{
	for (uint64_t i = 1; i <= 4; i++)
		make_file(i, 1 + 4 * (i - 1));
	run("cd '%s' && mkdir 0000000002 0000000003 && mv 0000000001/0000000003.shmlog 0000000002 "
	    "&& mv 0000000001/0000000004.shmlog 0000000003",
	    fixture.dir);
}

static bool has(const char *name)
{
	return faccessat(archive_log.dir, name, F_OK, 0) == 0;
}

Test(archive, of_volumes_in_a_range_and_no_others)
{
	struct archive_result result;

	make_volumes();
	cr_assert_eq(archive_volumes(&archive_log, (struct archive_range){ 2, 3 }, false, &result),
		     0);
	cr_expect(result.made == 1 && result.stay == 0 && result.failed == 0);
	cr_expect(has("0000000001/0000000001.shmlog") && has("0000000001/0000000002.shmlog"));
	cr_expect(has("0000000002/0000000003.shmlog.lz4"));
	cr_expect(has("0000000003/0000000004.shmlog"));
}

Test(archive, run_goes_on_behind_a_file_that_fails)
{
	struct archive_result result;
	char path[160];

	make_twins();
	make_file(2, 5);
	path_of(path, 1, ".shmlog.lz4");
	run("echo text >%s", path);
	cr_assert_eq(archive_volumes(&archive_log, all_volumes, false, &result), 0);
	cr_expect(result.made == 1 && result.stay == 0 && result.failed == 1);
	expect_only_archive(2);
}

static int vanishing_openat(int dir, const char *path, int flags, mode_t mode)
{
	if (strcmp(path, "0000000001/0000000001.shmlog") == 0)
		cr_assert_eq(sys_real.unlinkat(dir, path, 0), 0);
	return sys_real.openat(dir, path, flags, mode);
}

Test(archive, of_a_file_that_vanishes_is_not_missed)
{
	struct archive_result result;

	make_volumes();
	sys.openat = vanishing_openat;
	cr_assert_eq(archive_volumes(&archive_log, all_volumes, false, &result), 0);
	cr_expect(result.made == 3 && result.stay == 0 && result.failed == 0);
}

Test(archive, halves_are_cleared_away_and_nothing_else)
{
	struct archive_result result;

	make_file(1, 1);
	run("cd '%s/0000000001' && : >0000000007.shmlog.lz4.tmp && : >0000000001.shmlog.lz4.tmp && "
	    ": >0000000001.shmlog.open.torn && : >mine.lz4.tmp",
	    fixture.dir);
	cr_assert_eq(archive_volumes(&archive_log, all_volumes, false, &result), 0);
	expect_only_archive(1);
	cr_expect_not(exists(7, ".shmlog.lz4.tmp"));
	cr_expect(exists(1, ".shmlog.open.torn"));
	cr_expect(has("0000000001/mine.lz4.tmp"));
}

/* ---- by hand ---- */

static int archive_by_hand_in(const char *path)
{
	static struct config config;

	(void)snprintf(config.directory, sizeof(config.directory), "%s", path);
	return archive_by_hand(&config, &sys);
}

Test(archive, by_hand_leaves_the_newest_volume)
{
	make_volumes();
	cr_assert_eq(archive_by_hand_in(fixture.dir), 0, "%s", reason_get());
	cr_expect(has("0000000001/0000000001.shmlog.lz4") &&
		  has("0000000001/0000000002.shmlog.lz4"));
	cr_expect(has("0000000002/0000000003.shmlog.lz4"));
	cr_expect(has("0000000003/0000000004.shmlog"));
	cr_assert_eq(archive_by_hand_in(fixture.dir), 0, "again");
}

static int no_sleep(int64_t ns)
{
	(void)ns;
	return 0;
}

Test(archive, by_hand_is_refused_beside_a_writer)
{
	static char before[4096];
	int lock;

	make_volumes();
	cr_assert_eq(hold_open_directory(&sys, archive_log.dir, fixture.dir, "audit", &lock), 0);
	digest(fixture.dir, before);
	sys.sleep = no_sleep;
	cr_expect_eq(archive_by_hand_in(fixture.dir), -EAGAIN);
	cr_expect_not_null(strstr(reason_get(), "ring audit"), "%s", reason_get());
	expect_untouched(before);
	close(lock);
}

Test(archive, by_hand_makes_nothing_where_no_log_is)
{
	cr_expect_eq(archive_by_hand_in("/tmp/shmlog-unit-nowhere"), -ENOENT);
	cr_expect_eq(access("/tmp/shmlog-unit-nowhere", F_OK), -1);
	cr_expect_eq(archive_by_hand_in("/etc/passwd"), -ENOTDIR);
	cr_expect_eq(archive_by_hand_in(fixture.dir), -EBADMSG, "an empty directory");
	cr_expect_not(has("lock"));
}

Test(archive, by_hand_tells_of_a_file_that_failed)
{
	make_volumes();
	sys.pwrite = full_pwrite;
	cr_expect_eq(archive_by_hand_in(fixture.dir), 1);
	cr_expect(has("0000000001/0000000001.shmlog"));
}

/* ---- the child ---- */

/* archive_child() in a process of its own: its exit status. */
static int run_child(const char *parent, const char *before)
{
	char name[] = ARCHIVE_NAME, first[] = "0", show[] = "0", pid_text[24], last[24];
	char *arguments[] = { name, pid_text, first, last, show, fixture.dir, NULL };
	pid_t pid;
	int status;

	(void)snprintf(pid_text, sizeof(pid_text), "%s", parent);
	(void)snprintf(last, sizeof(last), "%s", before);
	pid = fork();
	if (pid == 0) {
		(void)dup2(archive_log.dir, ARCHIVE_DIR_FD);
		status = archive_child(ARCHIVE_ARGUMENTS, arguments);
		if (status < 64 &&
		    (getpriority(PRIO_PROCESS, 0) != 19 || sched_getscheduler(0) != SCHED_IDLE))
			status = 99;
		_exit(status);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

Test(archive, child_does_what_it_was_told)
{
	char parent[24];

	make_volumes();
	(void)snprintf(parent, sizeof(parent), "%d", getpid());
	cr_expect_eq(run_child(parent, "2"), 0);
	cr_expect(has("0000000001/0000000002.shmlog.lz4"));
	cr_expect(has("0000000002/0000000003.shmlog"));
}

Test(archive, child_without_its_parent_does_nothing)
{
	static char before[4096];

	make_volumes();
	digest(fixture.dir, before);
	cr_expect_eq(run_child("1", "9"), 1);
	cr_expect_eq(run_child("parent", "9"), 64);
	expect_untouched(before);
}

/* A pipe that nobody reads and that takes no byte more. */
static int full_pipe(void)
{
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	cr_assert_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	while (write(ends[1], "", 1) == 1)
		;
	cr_assert_eq(fcntl(ends[1], F_SETFL, 0), 0);
	return ends[1];
}

/* A parent whose child cannot end: it has something to say, and nobody listens. The reading end of
 * a pipe that the child alone holds. */
static int start_silenced_child(pid_t *ret_parent)
{
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	*ret_parent = fork();
	if (*ret_parent == 0) {
		char name[24];

		(void)dup2(full_pipe(), STDERR_FILENO);
		(void)snprintf(name, sizeof(name), "%d", getpid());
		_exit(run_child(name, "9"));
	}
	close(ends[1]);
	return ends[0];
}

Test(archive, child_dies_with_its_parent)
{
	pid_t parent;
	char path[160], end;
	int life;

	make_twins();
	make_file(2, 5);
	run(": >%s/0000000001/0000000001.shmlog.lz4", fixture.dir); /* its turn comes last */
	life = start_silenced_child(&parent);
	path_of(path, 2, ".shmlog.lz4");
	while (access(path, F_OK) != 0)
		(void)usleep(1000);
	cr_assert_eq(kill(parent, SIGKILL), 0);
	cr_assert_eq(waitpid(parent, NULL, 0), parent);
	cr_expect_eq(read(life, &end, 1), 0);
	close(life);
}

static char spawned[256];
static int spawned_fds[2];
static int killed;
static int polls;

static int note_spawn(const char *program, char *const arguments[], const int *descriptors,
		      size_t count)
{
	cr_assert(program == NULL && count == 2);
	spawned[0] = '\0';
	for (; *arguments; arguments++)
		(void)snprintf(spawned + strlen(spawned), sizeof(spawned) - strlen(spawned), "%s ",
			       *arguments);
	memcpy(spawned_fds, descriptors, sizeof(spawned_fds));
	return 4711;
}

static uint32_t pid_12(void)
{
	return 12;
}

static int note_kill(int pid, int signal)
{
	cr_assert_eq(pid, 4711);
	killed = signal;
	return 0;
}

/* Runs until asked for the third time; then it was killed, or has ended with 0. */
static int end_soon(int pid, int *ret_status)
{
	cr_assert_eq(pid, 4711);
	*ret_status = killed;
	return ++polls >= 3;
}

static void begin_archiver(struct archiver *archiver)
{
	sys.spawn = note_spawn;
	sys.getpid = pid_12;
	sys.kill = note_kill;
	sys.wait_child = end_soon;
	sys.sleep = no_sleep;
	*archiver = (struct archiver){ .log = { &sys, 5, "/the log" }, .lock = 6 };
	cr_assert_eq(archiver_poll(archiver), ARCHIVER_IDLE);
	cr_assert_eq(archiver_start(archiver, (struct archive_range){ 3, 8 }), 0);
}

Test(archive, child_gets_the_directory_and_its_lock)
{
	struct archiver archiver;

	begin_archiver(&archiver);
	cr_expect_str_eq(spawned, "shmlog-archive 12 3 8 0 /the log ");
	cr_expect(spawned_fds[0] == 5 && spawned_fds[1] == 6);
	cr_expect_eq(archiver_poll(&archiver), ARCHIVER_RUNS);
	cr_expect_eq(archiver_poll(&archiver), ARCHIVER_RUNS);
	cr_expect_eq(archiver_poll(&archiver), ARCHIVER_DONE);
	cr_expect_eq(archiver_poll(&archiver), ARCHIVER_IDLE);
}

Test(archive, child_is_killed_and_waited_for)
{
	struct archiver archiver;

	begin_archiver(&archiver);
	archiver_stop(&archiver);
	cr_expect_eq(killed, SIGKILL);
	cr_expect_eq(polls, 3);
	cr_expect_eq(archiver_poll(&archiver), ARCHIVER_IDLE);
	archiver_stop(&archiver);
	cr_expect_eq(polls, 3, "none runs");
}

Test(archive, child_that_was_killed_or_ends_badly_has_failed)
{
	struct archiver archiver;

	begin_archiver(&archiver);
	killed = SIGKILL;
	polls = 2;
	cr_expect_eq(archiver_poll(&archiver), ARCHIVER_FAILED);
	begin_archiver(&archiver);
	killed = W_EXITCODE(1, 0);
	cr_expect_eq(archiver_poll(&archiver), ARCHIVER_FAILED);
}
