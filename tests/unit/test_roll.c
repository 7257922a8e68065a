/*
 * test_roll.c - files made, filled, sealed and taken over, against real directories.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../writer/roll.h"
#include "logdir.h"
#include "logfile.h"

enum { MIB = 1024 * 1024, PAGE = 4096 };

/* A log directory and a roll over it; removed by tear_down(). */
struct bench {
	char path[128];
	int dir;
	struct sys sys;
	struct roll roll;
};

static struct bench bench;

static void set_up_in(const char *parent)
{
	snprintf(bench.path, sizeof(bench.path), "%s/shmlog-test-roll-XXXXXX", parent);
	cr_assert(mkdtemp(bench.path) != NULL, "%s: %s", parent, strerror(errno));
	bench.dir = open(bench.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bench.sys = sys_real;
	cr_assert(roll_open(&bench.roll, &bench.sys, bench.dir, bench.path, false) == 0);
}

static void set_up(void)
{
	set_up_in("/tmp");
}

static void tear_down(void)
{
	char command[160];

	roll_close(&bench.roll);
	close(bench.dir);
	snprintf(command, sizeof(command), "rm -rf '%s'", bench.path);
	cr_assert(system(command) == 0);
}

static const struct roll_place first_place = { .volume_no = 1, .file_no = 1 };

static void name_in(char name[LOGDIR_NAME_SIZE], struct roll_place place, enum logfile_state state)
{
	const struct logdir_file file = { place.volume_no, place.file_no, state };

	logdir_file_name(name, &file);
}

static bool present(struct roll_place place, enum logfile_state state)
{
	char name[LOGDIR_NAME_SIZE];
	struct stat about;

	name_in(name, place, state);
	return fstatat(bench.dir, name, &about, 0) == 0;
}

static off_t size_of(struct roll_place place, enum logfile_state state)
{
	char name[LOGDIR_NAME_SIZE];
	struct stat about;

	name_in(name, place, state);
	cr_assert(fstatat(bench.dir, name, &about, 0) == 0);
	return about.st_size;
}

static int open_other(struct roll_place place, enum logfile_state state, int flags)
{
	char name[LOGDIR_NAME_SIZE];
	int fd;

	name_in(name, place, state);
	fd = openat(bench.dir, name, flags | O_CLOEXEC);
	cr_assert(fd >= 0, "%s: %s", name, strerror(errno));
	return fd;
}

static void leave_file(struct roll_place place, enum logfile_state state, const char *content)
{
	char name[LOGDIR_NAME_SIZE];
	int fd;

	logdir_volume_name(name, place.volume_no);
	mkdirat(bench.dir, name, 0700);
	name_in(name, place, state);
	fd = openat(bench.dir, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert(write(fd, content, strlen(content)) == (ssize_t)strlen(content));
	cr_assert(ftruncate(fd, 8 * PAGE) == 0);
	close(fd);
}

static struct wfile *made(struct roll_place place, uint64_t size)
{
	struct wfile *file = roll_take(&bench.roll);

	cr_assert(file != NULL);
	cr_assert(roll_make(&bench.roll, file, place, size, NULL) == 0, "%s", reason_get());
	return file;
}

/* Build a page, put it at file->offset by pwrite, account for it. */
static void put_page(struct wfile *file, enum page_kind kind, uint64_t page_no, uint64_t ticks)
{
	static uint8_t buffer[PAGE_MAX] __attribute__((aligned(4096)));
	const struct file_info info = { .format_major = FORMAT_MAJOR,
					.page_max = PAGE_MAX,
					.salt = file->salt,
					.log_id = 7,
					.file_no = file->place.file_no,
					.volume_no = file->place.volume_no };
	const struct record_header record = { .length = 5, .kind = RECORD_DATA, .ticks = ticks };
	const struct page_stamp stamp = { .page_no = page_no, .segment_id = 9, .salt = file->salt };
	struct page_builder builder;

	page_begin(&builder, buffer, kind);
	if (kind == PAGE_FILE)
		page_append_info(&builder, &info, sizeof(info));
	else
		page_append(&builder, &record, "hello");
	const uint32_t length = page_finish(&builder, &stamp);
	cr_assert(pwrite(file->fd, buffer, length, (off_t)file->offset) == (ssize_t)length);
	roll_add_page(file, (const struct page_header *)buffer, kind == PAGE_DATA, 0);
}

static struct wfile *made_with_pages(struct roll_place place, uint64_t page_first, unsigned pages)
{
	struct wfile *file = made(place, MIB);

	put_page(file, PAGE_FILE, page_first, 0);
	for (unsigned i = 1; i < pages; i++)
		put_page(file, PAGE_DATA, page_first + i, 1000 + i);
	return file;
}

static int seal(struct wfile *file)
{
	const struct page_stamp stamp = { .page_no = file->page_next, .segment_id = 9 };

	return roll_seal(&bench.roll, file, &stamp);
}

/* Read the sealed file as a reader does: FILE, DATA pages, SEAL with a true index, then the end. */
static void expect_sealed(struct roll_place place, unsigned pages, uint64_t missing)
{
	static uint8_t buffer[PAGE_MAX] __attribute__((aligned(4096)));
	struct logfile file;
	struct seal_info info;
	const struct index_entry *index;

	logfile_init(&file, &sys_real, open_other(place, LOGFILE_SEALED, O_RDONLY));
	for (unsigned i = 0; i < pages; i++)
		cr_assert(logfile_next(&file, buffer) == 0, "page %u", i);
	const uint64_t seal_offset = file.offset;
	cr_assert(logfile_next(&file, buffer) == 0);
	cr_assert(((struct page_header *)buffer)->kind == PAGE_SEAL);
	cr_assert(page_seal_info(buffer, &info, &index) == 0);
	cr_assert(info.pages == pages && info.data_records == pages - 1);
	cr_assert(info.missing == missing);
	cr_assert(info.first_ticks == 1001 && info.last_ticks == 1000 + pages - 1);
	cr_assert(index[pages - 1].offset_pages == pages - 1);
	cr_assert(seal_offset == (uint64_t)pages * PAGE);
	cr_assert(logfile_next(&file, buffer) == -ENODATA);
	logfile_close(&file);
	cr_assert(size_of(place, LOGFILE_SEALED) == (off_t)(seal_offset + PAGE));
}

TestSuite(roll, .timeout = 60);

/* --- Places ------------------------------------------------------------------------------- */

Test(place, the_first_file_is_one_in_volume_one)
{
	struct roll_volume volume = { 0 };
	const struct roll_place place = roll_next_place(&volume, 256, 1000);

	cr_assert(place.volume_no == 1 && place.file_no == 1);
}

Test(place, a_volume_is_full_when_the_next_file_would_exceed_it)
{
	struct roll_volume volume = { 0 };

	for (uint64_t i = 1; i <= 3; i++)
		cr_assert(roll_next_place(&volume, 300, 900).volume_no == 1);
	const struct roll_place place = roll_next_place(&volume, 300, 900);
	cr_assert(place.volume_no == 2 && place.file_no == 4);
	cr_assert(volume.bytes == 300);
}

Test(place, a_volume_takes_at_least_one_file)
{
	struct roll_volume volume = { 0 };

	for (uint64_t i = 1; i <= 3; i++)
		cr_assert(roll_next_place(&volume, 5000, 900).volume_no == i);
}

Test(place, a_file_that_became_smaller_makes_room)
{
	struct roll_volume volume = { 0 };

	roll_next_place(&volume, 600, 900);
	roll_settle(&volume, 1, 600, 100);
	cr_assert(roll_next_place(&volume, 600, 900).volume_no == 1);
	cr_assert(volume.bytes == 700);
}

Test(place, a_file_of_an_older_volume_settles_nothing)
{
	struct roll_volume volume = { 0 };

	roll_next_place(&volume, 600, 900);
	roll_next_place(&volume, 600, 900);
	roll_settle(&volume, 1, 600, 100);
	cr_assert(volume.volume_no == 2 && volume.bytes == 600);
}

Test(place, numbers_go_on_behind_what_recovery_found)
{
	struct roll_volume volume = { .volume_no = 7, .file_no = 41, .bytes = 100 };
	const struct roll_place place = roll_next_place(&volume, 100, UINT64_MAX);

	cr_assert(place.volume_no == 7 && place.file_no == 42);
}

/* --- Making ------------------------------------------------------------------------------- */

Test(roll, a_volume_that_is_over_takes_no_more_files)
{
	struct roll_volume volume = { .volume_no = 4, .file_no = 9, .bytes = 100, .is_over = true };

	cr_assert(roll_next_place(&volume, 100, 1000).volume_no == 5);
	cr_assert(volume.file_no == 10 && volume.bytes == 100);
	cr_assert(roll_next_place(&volume, 100, 1000).volume_no == 5);
}

Test(roll, a_made_file_has_its_name_and_room_and_has_not_begun, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made(first_place, 4 * MIB);
	uint32_t length = 1;
	struct stat about;

	cr_assert(present(first_place, LOGFILE_OPEN));
	cr_assert(fstat(file->fd, &about) == 0);
	cr_assert(about.st_size == 4 * MIB && about.st_blocks >= 4 * MIB / 512);
	cr_assert(pread(file->fd, &length, sizeof(length), 0) == sizeof(length) && length == 0);
	cr_assert(file->salt != 0 && file->pages == 0 && file->offset == 0);
	cr_assert((fcntl(file->fd, F_GETFD) & FD_CLOEXEC) != 0);
}

Test(roll, the_fence_is_held_until_the_file_is_closed, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made(first_place, MIB);
	const int other = open_other(first_place, LOGFILE_OPEN, O_RDWR);

	cr_assert(sys_real.lock_query(other, 0, 0) == 1);
	cr_assert(sys_real.lock_query(other, INT64_C(1) << 40, 1) == 1, "beyond the end too");
	cr_assert(sys_real.lock(other, 0, 0) == -EAGAIN);
	roll_drop(&bench.roll, file);
	cr_assert(sys_real.lock_query(other, 0, 0) == 0);
	close(other);
}

Test(roll, files_of_one_volume_get_different_salts, .init = set_up, .fini = tear_down)
{
	const struct roll_place second = { .volume_no = 1, .file_no = 2 };

	cr_assert(made(first_place, MIB)->salt != made(second, MIB)->salt);
}

static int fallocate_not_supported(int fd, int mode, off_t offset, off_t size)
{
	(void)fd, (void)mode, (void)offset, (void)size;
	return -EOPNOTSUPP;
}

Test(roll, sizes_are_cut_to_what_the_index_can_reach, .init = set_up, .fini = tear_down)
{
	const uint64_t reach = (uint64_t)(FILE_PAGES_MAX + 1) * PAGE_MAX;
	struct wfile *file = roll_take(&bench.roll);

	bench.sys.fallocate = fallocate_not_supported; /* 2 GiB, but sparse */
	cr_assert(roll_make(&bench.roll, file, first_place, reach * 4, NULL) == 0, "%s",
		  reason_get());
	cr_assert(file->size == reach);
}

Test(roll, a_leftover_that_has_not_begun_is_made_anew, .init = set_up, .fini = tear_down)
{
	leave_file(first_place, LOGFILE_OPEN, "");
	cr_assert(made(first_place, MIB)->size == MIB);
	cr_assert(size_of(first_place, LOGFILE_OPEN) == MIB);
}

Test(roll, a_leftover_that_has_begun_is_left_alone, .init = set_up, .fini = tear_down)
{
	struct wfile *file = roll_take(&bench.roll);

	leave_file(first_place, LOGFILE_OPEN, "page");
	cr_assert(roll_make(&bench.roll, file, first_place, MIB, NULL) == -EEXIST);
	cr_assert(size_of(first_place, LOGFILE_OPEN) == 8 * PAGE);
	cr_assert(file->fd < 0 && file->taken);
}

Test(roll, a_sealed_file_is_never_replaced, .init = set_up, .fini = tear_down)
{
	leave_file(first_place, LOGFILE_SEALED, "sealed");
	cr_assert(roll_make(&bench.roll, roll_take(&bench.roll), first_place, MIB, NULL) ==
		  -EEXIST);
	cr_assert(!present(first_place, LOGFILE_OPEN));
}

Test(roll, a_leftover_with_writes_under_way_is_not_touched, .init = set_up, .fini = tear_down)
{
	leave_file(first_place, LOGFILE_OPEN, "");
	const int other = open_other(first_place, LOGFILE_OPEN, O_RDWR);

	cr_assert(sys_real.lock(other, 0, 0) == 0);
	cr_assert(roll_make(&bench.roll, roll_take(&bench.roll), first_place, MIB, NULL) ==
		  -EAGAIN);
	cr_assert(present(first_place, LOGFILE_OPEN));
	close(other);
}

/* A disk of so many bytes, which goes with the test's process. */
static void use_disk(const char *size)
{
	char option[32];

	snprintf(option, sizeof(option), "size=%s", size);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", bench.path, "tmpfs", 0, option) < 0)
		cr_skip_test("needs the right to mount: %s", strerror(errno));
	bench.roll.dir = bench.dir = open(bench.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void leave_disk(void)
{
	roll_close(&bench.roll);
	umount2(bench.path, MNT_DETACH);
}

Test(roll, without_room_nothing_is_left, .init = set_up, .fini = tear_down)
{
	use_disk("512k");
	cr_assert(roll_make(&bench.roll, roll_take(&bench.roll), first_place, 4 * MIB, NULL) ==
		  -ENOSPC);
	cr_assert(!present(first_place, LOGFILE_OPEN));
	cr_assert(strstr(reason_get(), bench.path) != NULL);
	leave_disk();
}

Test(roll, with_little_room_the_file_is_smaller, .init = set_up, .fini = tear_down)
{
	uint64_t size;

	use_disk("3m");
	size = made(first_place, 16 * MIB)->size;
	cr_assert(size > 2 * MIB && size <= 3 * MIB && size % PAGE_ALIGN == 0, "%llu",
		  (unsigned long long)size);
	cr_assert((uint64_t)size_of(first_place, LOGFILE_OPEN) == size);
	leave_disk();
}

Test(roll, what_is_to_stay_free_stays_free, .init = set_up, .fini = tear_down)
{
	const struct roll_room leave = { .bytes = 5 * MIB, .percent = 100 };
	const struct roll_room too_much = { .bytes = UINT64_MAX, .percent = 99 };
	struct wfile *file = roll_take(&bench.roll);
	uint64_t spare;

	use_disk("8m");
	cr_assert(roll_make(&bench.roll, file, first_place, 16 * MIB, &leave) == 0);
	cr_assert(file->size > 2 * MIB && file->size <= 3 * MIB);
	cr_assert(roll_spare(&bench.sys, bench.dir, NULL, &spare) == 0 && spare >= 5 * MIB);
	cr_assert(roll_remove(&bench.roll, file) == 0);
	cr_assert(roll_make(&bench.roll, file, first_place, 16 * MIB, &too_much) == -ENOSPC);
	cr_assert(strstr(reason_get(), "--min-free") && strstr(reason_get(), bench.path));
	cr_assert(file->fd < 0 && !present(first_place, LOGFILE_OPEN));
	leave_disk();
}

Test(roll, of_size_and_share_the_smaller_stays_free, .init = set_up, .fini = tear_down)
{
	const struct roll_room size_wins = { .bytes = MIB, .percent = 50 };
	const struct roll_room share_wins = { .bytes = 7 * MIB, .percent = 25 };
	uint64_t all, spare;

	use_disk("8m");
	cr_assert(roll_spare(&bench.sys, bench.dir, NULL, &all) == 0);
	cr_assert(roll_spare(&bench.sys, bench.dir, &size_wins, &spare) == 0);
	cr_assert(spare == all - MIB);
	cr_assert(roll_spare(&bench.sys, bench.dir, &share_wins, &spare) == 0);
	cr_assert(spare == all - 2 * MIB);
	leave_disk();
}

Test(roll, without_reserving_the_size_alone_is_set, .init = set_up, .fini = tear_down)
{
	bench.sys.fallocate = fallocate_not_supported;
	made(first_place, 2 * MIB);
	cr_assert(size_of(first_place, LOGFILE_OPEN) == 2 * MIB);
}

static void limit_file_size(rlim_t size)
{
	const struct rlimit limit = { .rlim_cur = size, .rlim_max = size };

	signal(SIGXFSZ, SIG_IGN);
	cr_assert(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

Test(roll, a_limit_on_file_sizes_makes_smaller_files, .init = set_up, .fini = tear_down)
{
	limit_file_size(3 * MIB);
	cr_assert(made(first_place, 16 * MIB)->size == 2 * MIB);
	cr_assert(size_of(first_place, LOGFILE_OPEN) == 2 * MIB);
}

Test(roll, a_limit_below_the_smallest_file_is_an_error, .init = set_up, .fini = tear_down)
{
	limit_file_size(MIB / 2);
	cr_assert(roll_make(&bench.roll, roll_take(&bench.roll), first_place, 16 * MIB, NULL) ==
		  -EFBIG);
	cr_assert(!present(first_place, LOGFILE_OPEN));
}

Test(roll, all_slots_in_use_is_said, .init = set_up, .fini = tear_down)
{
	struct wfile *files[ROLL_FILES];

	for (unsigned i = 0; i < ROLL_FILES; i++)
		cr_assert((files[i] = roll_take(&bench.roll)) != NULL);
	cr_assert(roll_take(&bench.roll) == NULL);
	roll_give(files[2]);
	cr_assert(roll_take(&bench.roll) == files[2]);
}

/* --- Direct I/O ----------------------------------------------------------------------------- */

Test(roll, direct_where_the_file_system_takes_it, .init = set_up, .fini = tear_down)
{
	bench.roll.want_direct = true;
	const struct wfile *file = made(first_place, MIB);

	if (!file->direct)
		cr_skip_test("no direct I/O in /tmp");
	cr_assert((fcntl(file->fd, F_GETFL) & O_DIRECT) != 0);
	cr_assert(bench.roll.direct_works);
}

static int openat_refusing_direct(int dir, const char *path, int flags, mode_t mode)
{
	return flags & O_DIRECT ? -EINVAL : sys_real.openat(dir, path, flags, mode);
}

Test(roll, buffered_where_the_open_refuses_direct, .init = set_up, .fini = tear_down)
{
	bench.sys.openat = openat_refusing_direct;
	bench.roll.want_direct = true;
	cr_assert(!made(first_place, MIB)->direct);
	cr_assert(!bench.roll.want_direct);
}

static ssize_t pwrite_refusing_direct(int fd, const void *buffer, size_t size, off_t offset)
{
	return fcntl(fd, F_GETFL) & O_DIRECT ? -EINVAL : sys_real.pwrite(fd, buffer, size, offset);
}

Test(roll, buffered_where_the_first_write_refuses_direct, .init = set_up, .fini = tear_down)
{
	bench.sys.pwrite = pwrite_refusing_direct;
	bench.roll.want_direct = true;
	const struct wfile *file = made(first_place, MIB);

	cr_assert(!file->direct && !(fcntl(file->fd, F_GETFL) & O_DIRECT));
	cr_assert(!bench.roll.want_direct);
}

Test(roll, a_direct_file_is_sealed_like_any_other, .init = set_up, .fini = tear_down)
{
	bench.roll.want_direct = true;
	struct wfile *file = made_with_pages(first_place, 1, 5);

	cr_assert(seal(file) == 0, "%s", reason_get());
	expect_sealed(first_place, 5, 0);
}

/* --- Filling and sealing -------------------------------------------------------------------- */

Test(roll, a_file_page_and_the_largest_page_always_fit, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made(first_place, FILE_SIZE_MIN);
	const struct page_header page = { .length = PAGE_MAX, .page_no = 1 };

	cr_assert(roll_fits(file, PAGE_MAX));
	roll_add_page(file, &page, 0, 0);
	cr_assert(roll_fits(file, PAGE_MAX));
}

Test(roll, room_for_the_seal_page_is_kept, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made(first_place, MIB);
	struct page_header page = { .length = PAGE };

	while (roll_fits(file, PAGE)) {
		page.page_no++;
		roll_add_page(file, &page, 1, 0);
	}
	/* 128 + 48 + 32 each + 16: three pages of index for up to 378 entries. */
	cr_assert(file->pages == 256 - 3, "%u", file->pages);
	cr_assert(file->offset + 3 * PAGE == file->size);
}

Test(roll, a_file_ends_when_its_index_is_full, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made(first_place, 64 * MIB);
	struct page_header page = { .length = PAGE };

	while (roll_fits(file, PAGE)) {
		page.page_no++;
		roll_add_page(file, &page, 1, 0);
	}
	cr_assert(file->pages == FILE_PAGES_MAX);
	cr_assert(seal(file) == 0, "%s", reason_get());
}

Test(roll, a_sealed_file_holds_exactly_its_pages, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made_with_pages(first_place, 100, 8);

	cr_assert(file->page_first == 100 && file->page_next == 108);
	cr_assert(seal(file) == 0, "%s", reason_get());
	cr_assert(file->fd < 0 && file->size == 9 * PAGE);
	cr_assert(!present(first_place, LOGFILE_OPEN));
	expect_sealed(first_place, 8, 0);
	roll_give(file);
}

Test(roll, a_sealed_file_is_fenced_no_more, .init = set_up, .fini = tear_down)
{
	cr_assert(seal(made_with_pages(first_place, 1, 2)) == 0);
	const int other = open_other(first_place, LOGFILE_SEALED, O_RDWR);

	cr_assert(sys_real.lock_query(other, 0, 0) == 0);
	close(other);
}

Test(roll, what_lies_behind_the_seal_page_is_cut_off, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made_with_pages(first_place, 1, 3);
	char junk[2 * PAGE];

	memset(junk, 0x55, sizeof(junk));
	cr_assert(pwrite(file->fd, junk, sizeof(junk), 6 * PAGE) == sizeof(junk));
	cr_assert(seal(file) == 0);
	expect_sealed(first_place, 3, 0);
}

Test(roll, nothing_is_sealed_over_another_file, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made_with_pages(first_place, 1, 3);

	leave_file(first_place, LOGFILE_SEALED, "other");
	cr_assert(seal(file) == -EEXIST);
	cr_assert(size_of(first_place, LOGFILE_SEALED) == 8 * PAGE);
}

/* --- Every step of sealing fails once --------------------------------------------------------- */

static int calls_until_failure;

static bool fails_now(void)
{
	return calls_until_failure > 0 && --calls_until_failure == 0;
}

static ssize_t failing_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	return fails_now() ? -EIO : sys_real.pwrite(fd, buffer, size, offset);
}

static int failing_ftruncate(int fd, off_t size)
{
	return fails_now() ? -EIO : sys_real.ftruncate(fd, size);
}

static int failing_fdatasync(int fd)
{
	return fails_now() ? -EIO : sys_real.fdatasync(fd);
}

static int failing_fsync(int fd)
{
	return fails_now() ? -EIO : sys_real.fsync(fd);
}

static int failing_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	return fails_now() ? -EIO : sys_real.renameat(from_dir, from, to_dir, to);
}

static int failing_openat(int dir, const char *path, int flags, mode_t mode)
{
	return fails_now() ? -EIO : sys_real.openat(dir, path, flags, mode);
}

static int failing_mkdirat(int dir, const char *path, mode_t mode)
{
	return fails_now() ? -EIO : sys_real.mkdirat(dir, path, mode);
}

static int failing_fallocate(int fd, int mode, off_t offset, off_t size)
{
	return fails_now() ? -EIO : sys_real.fallocate(fd, mode, offset, size);
}

static int failing_lock(int fd, int64_t start, int64_t size)
{
	return fails_now() ? -EIO : sys_real.lock(fd, start, size);
}

static void fail_everything_once(void)
{
	bench.sys.pwrite = failing_pwrite;
	bench.sys.ftruncate = failing_ftruncate;
	bench.sys.fdatasync = failing_fdatasync;
	bench.sys.fsync = failing_fsync;
	bench.sys.renameat = failing_renameat;
	bench.sys.openat = failing_openat;
	bench.sys.mkdirat = failing_mkdirat;
	bench.sys.fallocate = failing_fallocate;
	bench.sys.lock = failing_lock;
}

Test(roll, a_failed_seal_can_be_repeated_from_any_step, .init = set_up, .fini = tear_down)
{
	int step = 1;

	for (;; step++) {
		const struct roll_place place = { .volume_no = 1, .file_no = (uint64_t)step };

		bench.sys = sys_real;
		struct wfile *file = made_with_pages(place, 1, 4);

		fail_everything_once();
		calls_until_failure = step;
		if (seal(file) == 0)
			break;
		cr_assert(file->fd >= 0, "the fence stays, step %d", step);
		cr_assert(seal(file) == 0, "step %d: %s", step, reason_get());
		expect_sealed(place, 4, 0);
		roll_give(file);
	}
	cr_assert(step == 7, "write, cut, sync, rename, open and sync the volume: %d", step - 1);
}

Test(roll, a_failed_make_leaves_no_file_and_can_be_repeated, .init = set_up, .fini = tear_down)
{
	struct wfile *file = roll_take(&bench.roll);
	int step = 1;

	for (;; step++) {
		const struct roll_place place = { .volume_no = (uint64_t)step, .file_no = 1 };

		fail_everything_once();
		calls_until_failure = step;
		if (roll_make(&bench.roll, file, place, MIB, NULL) == 0)
			break;
		cr_assert(file->fd < 0 && !present(place, LOGFILE_OPEN), "step %d", step);
		cr_assert(roll_make(&bench.roll, file, place, MIB, NULL) == 0, "step %d", step);
		roll_drop(&bench.roll, file);
	}
	cr_assert(step == 8, "mkdir, sync, create, lock, room, open and sync the volume: %d",
		  step - 1);
}

static int interrupted_pwrites;

/* Half a block at a time, and interruptions: what the loop must stand. */
static ssize_t slow_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	if (interrupted_pwrites++ % 2 == 0)
		return -EINTR;
	return sys_real.pwrite(fd, buffer, size > PAGE + 100 ? PAGE + 100 : size, offset);
}

Test(roll, short_and_interrupted_writes_are_gone_on_with, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made_with_pages(first_place, 1, 200);

	bench.sys.pwrite = slow_pwrite;
	const struct page_stamp stamp = { .page_no = 201, .segment_id = 9 };
	cr_assert(roll_seal(&bench.roll, file, &stamp) == 0, "%s", reason_get());
	cr_assert(size_of(first_place, LOGFILE_SEALED) == 202 * PAGE);
}

static ssize_t empty_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	(void)fd, (void)buffer, (void)size, (void)offset;
	return 0;
}

Test(roll, a_write_of_nothing_does_not_loop, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made_with_pages(first_place, 1, 2);

	bench.sys.pwrite = empty_pwrite;
	cr_assert(seal(file) == -EIO);
}

/* --- What a killed writer left ---------------------------------------------------------------- */

Test(roll, a_file_with_writes_under_way_is_not_taken_over, .init = set_up, .fini = tear_down)
{
	struct wfile *old = made_with_pages(first_place, 1, 3);
	struct wfile *file = roll_take(&bench.roll);

	cr_assert(roll_take_over(&bench.roll, file, first_place) == -EAGAIN);
	cr_assert(file->fd < 0);
	roll_drop(&bench.roll, old);
	cr_assert(roll_take_over(&bench.roll, file, first_place) == 0, "%s", reason_get());
	cr_assert(file->size == MIB && file->pages == 0);
}

Test(roll, a_file_taken_over_is_sealed_with_the_rebuilt_index, .init = set_up, .fini = tear_down)
{
	static uint8_t buffer[PAGE_MAX] __attribute__((aligned(4096)));
	struct wfile *file = roll_take(&bench.roll);
	struct logfile pages;

	roll_drop(&bench.roll, made_with_pages(first_place, 40, 6));
	cr_assert(roll_take_over(&bench.roll, file, first_place) == 0);
	logfile_init(&pages, &sys_real, open_other(first_place, LOGFILE_OPEN, O_RDONLY));
	for (unsigned i = 0; logfile_next(&pages, buffer) == 0; i++)
		roll_add_page(file, (const struct page_header *)buffer, i > 0, 0);
	file->salt = pages.info.salt;
	file->recovered = true;
	file->missing = 2;
	logfile_close(&pages);
	cr_assert(seal(file) == 0, "%s", reason_get());
	expect_sealed(first_place, 6, 2);
}

Test(roll, a_complete_seal_page_is_only_finished, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made_with_pages(first_place, 1, 4);

	bench.sys.renameat = failing_renameat;
	calls_until_failure = 1;
	cr_assert(seal(file) == -EIO); /* as if killed before the rename */
	roll_drop(&bench.roll, file);
	cr_assert(roll_take_over(&bench.roll, file, first_place) == 0);
	cr_assert(roll_finish(&bench.roll, file, 5 * PAGE) == 0, "%s", reason_get());
	expect_sealed(first_place, 4, 0);
}

Test(roll, a_missing_file_is_not_taken_over, .init = set_up, .fini = tear_down)
{
	cr_assert(roll_take_over(&bench.roll, roll_take(&bench.roll), first_place) == -ENOENT);
}

Test(roll, a_file_made_ahead_is_removed_with_its_empty_volume, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made(first_place, MIB);
	struct stat about;

	cr_assert(roll_remove(&bench.roll, file) == 0);
	cr_assert(file->fd < 0);
	cr_assert(fstatat(bench.dir, "0000000001", &about, 0) == -1 && errno == ENOENT);
}

static int refused_unlinkat(int dir, const char *path, int flags)
{
	(void)dir;
	(void)path;
	(void)flags;
	return -EROFS;
}

Test(roll, a_file_made_ahead_that_cannot_be_removed_is_left, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made(first_place, MIB);

	bench.sys.unlinkat = refused_unlinkat;
	cr_assert(roll_remove(&bench.roll, file) == -EROFS);
	roll_give(file); /* its slot is free again */
	cr_assert(present(first_place, LOGFILE_OPEN));
}

Test(roll, a_volume_with_other_files_stays, .init = set_up, .fini = tear_down)
{
	const struct roll_place second = { .volume_no = 1, .file_no = 2 };

	cr_assert(seal(made_with_pages(first_place, 1, 2)) == 0);
	cr_assert(roll_remove(&bench.roll, made(second, MIB)) == 0);
	cr_assert(present(first_place, LOGFILE_SEALED) && !present(second, LOGFILE_OPEN));
}

/* --- The directory ---------------------------------------------------------------------------- */

static int fstatfs_of_nfs(int fd, struct statfs *ret)
{
	const int error = sys_real.fstatfs(fd, ret);

	ret->f_type = 0x6969;
	return error;
}

Test(roll, nfs_is_refused_and_named, .init = set_up, .fini = tear_down)
{
	bench.sys.fstatfs = fstatfs_of_nfs;
	cr_assert(roll_check_directory(&bench.sys, bench.dir, bench.path) == -EOPNOTSUPP);
	cr_assert(strstr(reason_get(), "NFS") && strstr(reason_get(), bench.path));
}

Test(roll, a_local_file_system_is_taken, .init = set_up, .fini = tear_down)
{
	cr_assert(roll_check_directory(&bench.sys, bench.dir, bench.path) == 0);
}

Test(roll, free_space_is_in_bytes, .init = set_up, .fini = tear_down)
{
	uint64_t bytes = 0;

	cr_assert(roll_spare(&bench.sys, bench.dir, NULL, &bytes) == 0);
	cr_assert(bytes > MIB, "%llu", (unsigned long long)bytes);
}

/* --- The same on tmpfs ------------------------------------------------------------------------ */

static void set_up_in_memory(void)
{
	set_up_in("/dev/shm");
	bench.roll.want_direct = true;
}

Test(roll, tmpfs_takes_a_whole_life, .init = set_up_in_memory, .fini = tear_down)
{
	struct wfile *file = made_with_pages(first_place, 1, 4);

	cr_assert(seal(file) == 0, "%s", reason_get());
	expect_sealed(first_place, 4, 0);
}
