/*
 * test_recover.c - directories as killed writers leave them, and what the next one makes of them.
 *
 * Files are made by the writer's own parts (roll.h, page.h) and then left, damaged, or interrupted.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../writer/archive.h"
#include "../../writer/recover.h"
#include "drain_fixture.h"
#include "log_fixture.h"

enum { MIB = 1024 * 1024, LOG_ID = 99 };

static struct fixture dir;
static struct ring_fixture ring;
static struct sys sys;
static struct roll roll;
static struct recovery recovery;
static int dir_fd;
static char text[4096];

/* Of the log that is made. */
static uint64_t page_no;    /* of the next page                                              */
static uint64_t position;   /* of lane 1 behind the last page                                */
static uint64_t segment_id; /* of the files that are made                                    */

static void open_roll(const char *path)
{
	dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(dir_fd >= 0);
	cr_assert(roll_open(&roll, &sys, dir_fd, path, false) == 0);
}

static void close_roll(void)
{
	roll_close(&roll);
	close(dir_fd);
}

static void set_up(void)
{
	fixture_begin(&dir);
	ring_begin(&ring, 0, 0, RING_CLOCK_MONOTONIC);
	sys = sys_real;
	open_roll(dir.dir);
	page_no = 1;
	position = 0;
	segment_id = ring.segment.geometry.segment_id;
}

static void tear_down(void)
{
	close_roll();
	ring_end(&ring);
	fixture_end(&dir);
}

/* ---- making a log ---- */

static uint8_t buffer[PAGE_MAX] __attribute__((aligned(4096)));

static void append_cursor(struct page_builder *builder)
{
	const struct cursor_entry entry = {
		.header = { .type = ENTRY_CURSOR, .size = sizeof(entry), .lane = 1 },
		.position = position,
		.records = position,
	};

	page_reserve(builder, sizeof(entry));
	page_append_entry(builder, &entry.header);
}

static uint32_t finish_page(struct page_builder *builder, const struct wfile *file)
{
	const struct page_stamp stamp = { .page_no = page_no++,
					  .segment_id = segment_id,
					  .salt = file->salt,
					  .sample_realtime_ns = FIXTURE_EPOCH_NS,
					  .ticks_per_s = NS_PER_S };

	return page_finish(builder, &stamp);
}

static void write_page(struct wfile *file, uint32_t length)
{
	cr_assert(pwrite(file->fd, buffer, length, (off_t)file->offset) == (ssize_t)length);
}

static void account_page(struct wfile *file, bool is_data)
{
	roll_add_page(file, (const void *)buffer, is_data, 0);
}

static struct wfile *make_in(uint64_t volume_no, uint64_t file_no)
{
	struct wfile *file = roll_take(&roll);

	cr_assert(file != NULL);
	cr_assert(roll_make(&roll, file, (struct roll_place){ volume_no, file_no }, MIB, NULL) == 0,
		  "%s", reason_get());
	return file;
}

static void build_file_page(const struct wfile *file, uint16_t format_major)
{
	const struct file_info info = { .format_major = format_major,
					.page_max = PAGE_MAX,
					.salt = file->salt,
					.log_id = LOG_ID,
					.file_no = file->place.file_no,
					.volume_no = file->place.volume_no,
					.created_realtime_ns =
						FIXTURE_EPOCH_NS + (int64_t)file->place.file_no };
	struct page_builder builder;

	page_begin(&builder, buffer, PAGE_FILE);
	page_append_info(&builder, &info, sizeof(info));
	append_cursor(&builder);
	(void)finish_page(&builder, file);
}

static struct wfile *begin_in(uint64_t volume_no, uint64_t file_no)
{
	struct wfile *file = make_in(volume_no, file_no);

	build_file_page(file, FORMAT_MAJOR);
	write_page(file, ((struct page_header *)buffer)->length);
	account_page(file, false);
	return file;
}

static struct wfile *begin(uint64_t file_no)
{
	return begin_in(1, file_no);
}

/* The next page, of one record, in `buffer`. */
static uint32_t build_page(const struct wfile *file, const char *record)
{
	const struct record_header header = { .length = (uint32_t)strlen(record),
					      .source = 1,
					      .kind = RECORD_DATA,
					      .ticks = 1000 + position };
	struct page_builder builder;

	page_begin(&builder, buffer, PAGE_DATA);
	page_append(&builder, &header, record);
	position++;
	append_cursor(&builder);
	return finish_page(&builder, file);
}

static void put(struct wfile *file, const char *record)
{
	write_page(file, build_page(file, record));
	account_page(file, true);
}

/* A page that never lands. */
static void put_hole(struct wfile *file, const char *record)
{
	(void)build_page(file, record);
	account_page(file, true);
}

/* A page of which one byte did not land. */
static void put_torn(struct wfile *file, const char *record)
{
	const uint32_t length = build_page(file, record);

	((struct page_header *)buffer)->total_lost ^= 1;
	write_page(file, length);
	account_page(file, true);
}

static int seal(struct wfile *file)
{
	const struct page_stamp stamp = { .page_no = page_no, .segment_id = segment_id };

	return roll_seal(&roll, file, &stamp);
}

/* As a killed writer leaves it. */
static void leave(struct wfile *file)
{
	roll_drop(&roll, file);
	roll_give(file);
}

static void seal_and_leave(struct wfile *file)
{
	cr_assert(seal(file) == 0);
	leave(file);
}

static void archive(uint64_t volume_no, uint64_t file_no)
{
	const struct archive_log log = { &sys_real, dir_fd, dir.dir };
	const struct logdir_file name = { volume_no, file_no, LOGFILE_SEALED };
	struct meter meter = { .sys = &sys_real };

	cr_assert(archive_file(&log, &name, &meter) == ARCHIVE_MADE, "%s", reason_get());
}

static void leave_empty(const char *name)
{
	const int fd = openat(dir_fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

	cr_assert(fd >= 0);
	close(fd);
}

/* ---- recovering ---- */

static int try_recover(void)
{
	ring_reopen(&ring);
	return recover_log(&roll, &ring.drain, &recovery);
}

static void recover(void)
{
	cr_assert(try_recover() == 0, "%s", reason_get());
	drain_restore_end(&ring.drain, true);
}

static void expect_log(const char *expected)
{
	fixture_read_path(dir.dir, text, sizeof(text));
	cr_assert(strcmp(text, expected) == 0, "\"%s\", not \"%s\"", text, expected);
}

static bool exists(uint64_t file_no, const char *suffix)
{
	char path[160];

	fixture_path(&dir, path, file_no, suffix);
	return access(path, F_OK) == 0;
}

static bool is_sealed(uint64_t file_no)
{
	return exists(file_no, ".shmlog") && !exists(file_no, ".shmlog.open");
}

/* Names and checksums of everything below @path. */
static void digest(const char *path, char *ret, size_t size)
{
	char command[512];
	FILE *pipe;
	size_t length;

	snprintf(command, sizeof(command),
		 "cd '%s' && find . | LC_ALL=C sort && find . -type f | LC_ALL=C sort | xargs -r "
		 "cksum",
		 path);
	pipe = popen(command, "r");
	cr_assert(pipe != NULL);
	length = fread(ret, 1, size - 1, pipe);
	ret[length] = '\0';
	cr_assert(pclose(pipe) == 0 && length < size - 1);
}

static void expect_same(const char *before, const char *what)
{
	static char after[8192];

	digest(dir.dir, after, sizeof(after));
	cr_assert(strcmp(before, after) == 0, "%s:\n%s\nnot\n%s", what, after, before);
}

TestSuite(interrupted, .timeout = 60);

/* ---- nothing, or nearly ---- */

Test(empty, directory_is_the_beginning_of_a_log, .init = set_up, .fini = tear_down)
{
	recover();
	cr_assert(recovery.log_id == 0 && recovery.page_next == 1);
	cr_assert(recovery.volume.volume_no == 0 && recovery.volume.file_no == 0);
	cr_assert(recovery.previous_file_no == 0 && recovery.previous_checksum == 0);
}

Test(empty, without_a_ring_the_directory_alone_is_settled, .init = set_up, .fini = tear_down)
{
	struct wfile *file = begin(1);

	put(file, "a");
	leave(file);
	cr_assert(recover_log(&roll, NULL, &recovery) == 0);
	cr_assert(recovery.sealed == 1 && recovery.page_next == 3);
	expect_log("a");
}

Test(empty, a_file_that_has_not_begun_is_removed, .init = set_up, .fini = tear_down)
{
	leave(make_in(1, 1));
	recover();
	cr_assert(!exists(1, ".shmlog.open") && !exists(1, ".shmlog.open.torn"));
	cr_assert(recovery.log_id == 0 && recovery.page_next == 1 && recovery.cut == 0);
	cr_assert(recovery.volume.file_no == 1, "its number is not used again");
}

Test(empty, a_file_page_that_is_torn_is_kept_aside, .init = set_up, .fini = tear_down)
{
	struct wfile *file = make_in(1, 1);

	build_file_page(file, FORMAT_MAJOR);
	((struct page_header *)buffer)->total_lost ^= 1;
	write_page(file, PAGE_ALIGN);
	leave(file);
	recover();
	cr_assert(!exists(1, ".shmlog.open") && exists(1, ".shmlog.open.torn"));
	cr_assert(recovery.log_id == 0 && recovery.cut > 0);
}

/* ---- the last file ---- */

Test(last_file, its_pages_move_the_ring_and_it_is_sealed, .init = set_up, .fini = tear_down)
{
	struct wfile *file = begin(1);

	put(file, "a");
	put(file, "b");
	const uint64_t checksum = ((struct page_header *)buffer)->checksum;
	leave(file);
	recover();
	cr_assert(ring_released(&ring, 1) == 2 && ring_durable(&ring, 1) == 2);
	cr_assert(recovery.page_next == 4 && recovery.log_id == LOG_ID);
	cr_assert(recovery.previous_file_no == 1 && recovery.previous_checksum == checksum);
	cr_assert(recovery.sealed == 1 && recovery.missing == 0 && recovery.cut == 0);
	cr_assert(is_sealed(1) && !exists(1, ".shmlog.open.torn"));
	expect_log("a b");
}

Test(last_file, a_torn_page_is_cut_off_and_kept, .init = set_up, .fini = tear_down)
{
	struct wfile *file = begin(1);

	put(file, "a");
	put_torn(file, "b");
	leave(file);
	recover();
	cr_assert(ring_released(&ring, 1) == 1, "b is still in the ring");
	cr_assert(recovery.page_next == 3 && recovery.cut > 0);
	cr_assert(is_sealed(1) && exists(1, ".shmlog.open.torn"));
	expect_log("a");
}

Test(last_file, a_good_page_behind_a_hole_does_not_count, .init = set_up, .fini = tear_down)
{
	struct wfile *file = begin(1);
	static uint8_t kept[PAGE_ALIGN];
	char path[160];
	uint64_t offset;

	put(file, "a");
	put_hole(file, "b");
	offset = file->offset;
	put(file, "c");
	leave(file);
	recover();
	cr_assert(ring_released(&ring, 1) == 1);
	cr_assert(recovery.page_next == 3 && recovery.missing == 0);
	expect_log("a");

	fixture_path(&dir, path, 1, ".shmlog.open.torn");
	const int torn = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert(pread(torn, kept, sizeof(kept), (off_t)offset) == PAGE_ALIGN);
	cr_assert(memcmp(kept, buffer, sizeof(kept)) == 0, "c, at its own offset");
	close(torn);
}

Test(last_file, that_is_sealed_is_left_as_it_is, .init = set_up, .fini = tear_down)
{
	static char before[8192];
	struct wfile *file = begin(1);

	put(file, "a");
	seal_and_leave(file);
	digest(dir.dir, before, sizeof(before));
	recover();
	cr_assert(ring_released(&ring, 1) == 1 && recovery.page_next == 3);
	cr_assert(recovery.sealed == 0);
	expect_same(before, "a clean end");
}

Test(last_file, of_one_page_begins_the_next_with_its_table, .init = set_up, .fini = tear_down)
{
	position = 17;
	leave(begin(1));
	recover();
	cr_assert(ring_released(&ring, 1) == 17 && recovery.page_next == 2);
	cr_assert(is_sealed(1));
}

Test(last_file, the_ring_never_goes_back, .init = set_up, .fini = tear_down)
{
	struct wfile *file = begin(1);

	put(file, "a");
	leave(file);
	store_relaxed(&ring.drain.lanes[1].status->released, 5);
	store_relaxed(&ring.drain.lanes[1].status->records_released, 5);
	recover();
	cr_assert(ring_released(&ring, 1) == 5);
	cr_assert(ring.drain.lanes[1].unwritten == 4);
}

static void make_sealed_with_decayed_page(off_t at)
{
	struct wfile *file = begin(1);
	const uint64_t zero = 0;
	char path[160];

	put(file, "a");
	put(file, "b");
	put(file, "c");
	seal_and_leave(file);
	fixture_path(&dir, path, 1, ".shmlog");
	fixture_scribble(path, (uint64_t)at, &zero, sizeof(zero));
}

Test(decayed, a_page_of_a_sealed_file_does_not_end_the_log, .init = set_up, .fini = tear_down)
{
	make_sealed_with_decayed_page(2 * PAGE_ALIGN + sizeof(struct page_header));
	recover();
	cr_assert(ring_released(&ring, 1) == 3, "c behind it says so");
	cr_assert(recovery.page_next == 5, "or the next file would hide c");
	cr_assert(recovery.missing == 1 && recovery.sealed == 0 && recovery.cut == 0);
	expect_log("! a c");
}

Test(decayed, a_length_of_zero_does_not_either, .init = set_up, .fini = tear_down)
{
	make_sealed_with_decayed_page(2 * PAGE_ALIGN);
	recover();
	cr_assert(ring_released(&ring, 1) == 3 && recovery.page_next == 5);
}

Test(decayed, a_seal_page_leaves_the_pages_before_it, .init = set_up, .fini = tear_down)
{
	make_sealed_with_decayed_page(4 * PAGE_ALIGN);
	recover();
	cr_assert(ring_released(&ring, 1) == 3 && recovery.page_next == 5);
}

Test(decayed, a_trailer_that_leads_nowhere_does_not_stop_recovery, .init = set_up,
     .fini = tear_down)
{
	const uint64_t nowhere = UINT64_MAX;
	char path[160];

	make_sealed_with_decayed_page(2 * PAGE_ALIGN + sizeof(struct page_header));
	fixture_path(&dir, path, 1, ".shmlog");
	fixture_scribble(path, 5 * PAGE_ALIGN - sizeof(struct seal_trailer), &nowhere,
			 sizeof(nowhere));
	recover();
	cr_assert(ring_released(&ring, 1) == 1 && recovery.page_next == 3, "as far as it is known");
}

/* ---- what no writer leaves ---- */

Test(odd, a_pipe_with_a_files_name_is_refused_and_named, .init = set_up, .fini = tear_down,
     .timeout = 20)
{
	struct wfile *file = begin(1);
	char path[160];

	put(file, "a");
	leave(file);
	fixture_path(&dir, path, 2, ".shmlog");
	cr_assert(mkfifo(path, 0600) == 0);
	cr_assert(try_recover() == -EBADMSG);
	cr_assert(strstr(reason_get(), "/0000000002.shmlog: ") != NULL, "%s", reason_get());
	cr_assert(unlink(path) == 0);
	recover();
	expect_log("a");
}

/* Good pages, more than the index of a file holds. */
Test(odd, a_file_of_too_many_pages_is_cut, .init = set_up, .fini = tear_down)
{
	struct wfile *file = begin(1);

	for (unsigned i = 0; i < FILE_PAGES_MAX; i++) {
		write_page(file, build_page(file, "x"));
		file->offset += PAGE_ALIGN;
	}
	leave(file);
	recover();
	cr_assert(recovery.page_next == FILE_PAGES_MAX + 1 && recovery.cut > 0);
	cr_assert(is_sealed(1) && exists(1, ".shmlog.open.torn"));
}

/* ---- killed while sealing ---- */

static int no_call(int fd)
{
	(void)fd;
	return -EIO;
}

static int no_truncation(int fd, off_t size)
{
	(void)fd;
	(void)size;
	return -EIO;
}

static int no_rename(int from_dir, const char *from, int to_dir, const char *to)
{
	(void)from_dir;
	(void)from;
	(void)to_dir;
	(void)to;
	return -EIO;
}

/* A file whose sealing ended at the call that @fault lets fail. */
static void seal_with(void (*fault)(void))
{
	struct wfile *file = begin(1);

	put(file, "a");
	put(file, "b");
	fault();
	cr_assert(seal(file) < 0);
	leave(file);
	sys = sys_real;
}

static void fault_truncation(void)
{
	sys.ftruncate = no_truncation;
}

static void fault_sync(void)
{
	sys.fdatasync = no_call;
}

static void fault_rename(void)
{
	sys.renameat = no_rename;
}

static void fault_name_sync(void)
{
	sys.fsync = no_call;
}

static void expect_sealed_after(void (*fault)(void))
{
	seal_with(fault);
	recover();
	cr_assert(is_sealed(1) && !exists(1, ".shmlog.open.torn"));
	cr_assert(ring_released(&ring, 1) == 2 && recovery.page_next == 4);
	cr_assert(recovery.cut == 0 && recovery.missing == 0);
	expect_log("a b");
}

Test(sealing, interrupted_before_the_cut, .init = set_up, .fini = tear_down)
{
	expect_sealed_after(fault_truncation);
}

Test(sealing, interrupted_before_the_sync, .init = set_up, .fini = tear_down)
{
	expect_sealed_after(fault_sync);
}

Test(sealing, interrupted_before_the_rename, .init = set_up, .fini = tear_down)
{
	expect_sealed_after(fault_rename);
}

Test(sealing, interrupted_before_the_names_sync, .init = set_up, .fini = tear_down)
{
	expect_sealed_after(fault_name_sync);
}

/* ---- several files ---- */

Test(files, a_sealed_and_an_open_one, .init = set_up, .fini = tear_down)
{
	struct wfile *first = begin(1), *second;

	put(first, "a");
	seal_and_leave(first);
	second = begin(2);
	put(second, "b");
	leave(second);
	recover();
	cr_assert(is_sealed(1) && is_sealed(2) && recovery.sealed == 1);
	cr_assert(ring_released(&ring, 1) == 2 && recovery.page_next == 5);
	expect_log("a b");
}

Test(files, an_earlier_one_left_open_is_sealed_whole, .init = set_up, .fini = tear_down)
{
	struct wfile *first = begin(1), *second;

	put(first, "a");
	put(first, "b");
	leave(first);
	second = begin(2);
	put(second, "c");
	leave(second);
	recover();
	cr_assert(is_sealed(1) && is_sealed(2) && recovery.sealed == 2);
	cr_assert(recovery.missing == 0 && recovery.cut == 0);
	expect_log("a b c");
}

Test(files, numbers_missing_from_an_earlier_one_are_counted, .init = set_up, .fini = tear_down)
{
	struct wfile *first = begin(1), *second;

	put(first, "a");
	put_hole(first, "b");
	put_hole(first, "c");
	leave(first);
	second = begin(2);
	put(second, "d");
	leave(second);
	recover();
	cr_assert(recovery.missing == 2);
	cr_assert(ring_released(&ring, 1) == 4, "the next FILE page says what was complete");
	cr_assert(recovery.page_next == 7);
}

Test(files, what_lies_behind_a_hole_of_an_earlier_one_stays, .init = set_up, .fini = tear_down)
{
	struct wfile *first = begin(1), *second;

	put(first, "a");
	put_hole(first, "b");
	put(first, "c");
	leave(first);
	second = begin(2);
	put(second, "d");
	leave(second);
	recover();
	cr_assert(is_sealed(1) && recovery.missing == 1 && recovery.cut == 0);
	expect_log("! a c d"); /* and what is missing is said */
}

Test(files, pages_from_the_next_ones_number_on_do_not_exist, .init = set_up, .fini = tear_down)
{
	struct wfile *first = begin(1), *second;

	put(first, "a");
	put(first, "b"); /* failed, or so the disk said */
	put(first, "c");
	leave(first);
	page_no = 3;
	position = 1;
	second = begin(2);
	put(second, "b");
	put(second, "c");
	leave(second);
	expect_log("a b c !"); /* the last file is not recovered yet */
	recover();
	cr_assert(is_sealed(1) && exists(1, ".shmlog.open.torn"));
	cr_assert(recovery.missing == 0 && recovery.page_next == 6);
	cr_assert(ring_released(&ring, 1) == 3);
	expect_log("a b c");
}

Test(files, a_file_page_whose_number_the_next_one_has_taken_is_none, .init = set_up,
     .fini = tear_down)
{
	struct wfile *first = begin(1), *second, *third;

	put(first, "a");
	seal_and_leave(first);
	second = begin(2); /* said to have failed */
	put(second, "b");
	leave(second);
	page_no = 3;
	position = 1;
	third = begin(3);
	put(third, "b");
	leave(third);
	expect_log("a b !"); /* the last file is not recovered yet */
	recover();
	cr_assert(!exists(2, ".shmlog") && !exists(2, ".shmlog.open"));
	cr_assert(exists(2, ".shmlog.open.torn") && is_sealed(3));
	cr_assert(recovery.page_next == 5 && recovery.previous_file_no == 3);
	expect_log("a b");
}

Test(files, a_lost_first_one_is_not_taken_for_deleted, .init = set_up, .fini = tear_down)
{
	struct wfile *first = make_in(1, 1), *second;

	build_file_page(first, FORMAT_MAJOR); /* never lands, but what is behind it does */
	account_page(first, false);
	put(first, "a");
	leave(first);
	second = begin(2);
	put(second, "b");
	leave(second);
	recover();
	cr_assert(is_sealed(1) && is_sealed(2) && recovery.missing == 2);
	expect_log("! b"); /* and what is missing is said */
	recover();
	cr_assert(recovery.sealed == 0);
	expect_log("! b");
}

Test(files, one_made_ahead_is_removed, .init = set_up, .fini = tear_down)
{
	struct wfile *file = begin(1);

	put(file, "a");
	leave(make_in(1, 2));
	leave(file);
	recover();
	cr_assert(!exists(2, ".shmlog.open") && is_sealed(1));
	cr_assert(recovery.previous_file_no == 1 && recovery.volume.file_no == 2);
	expect_log("a");
}

Test(files, the_newest_volume_is_counted_as_it_lies_on_disk, .init = set_up, .fini = tear_down)
{
	struct wfile *file = begin_in(1, 1);

	put(file, "a");
	seal_and_leave(file);
	file = begin_in(2, 2);
	put(file, "b");
	seal_and_leave(file);
	file = begin_in(2, 3);
	put(file, "c");
	leave(file);
	recover();
	cr_assert(recovery.volume.volume_no == 2 && recovery.volume.file_no == 3);
	cr_assert(recovery.volume.bytes == 2 * 3 * PAGE_ALIGN, "as sealed, not as planned: %lu",
		  (unsigned long)recovery.volume.bytes);
}

/* ---- other rings ---- */

Test(rings, pages_of_another_one_move_nothing, .init = set_up, .fini = tear_down)
{
	struct wfile *file;

	segment_id++;
	file = begin(1);
	put(file, "a");
	leave(file);
	recover();
	cr_assert(ring_released(&ring, 1) == 0);
	cr_assert(recovery.page_next == 3 && recovery.log_id == LOG_ID,
		  "it is the log all the same");
	expect_log("a");
}

Test(rings, ours_counts_although_the_newest_file_is_anothers, .init = set_up, .fini = tear_down)
{
	struct wfile *file = begin(1);

	put(file, "a");
	put(file, "b");
	leave(file);
	segment_id++;
	position = 40;
	file = begin(2);
	put(file, "c");
	leave(file);
	recover();
	cr_assert(ring_released(&ring, 1) == 2);
	cr_assert(recovery.page_next == 6 && recovery.previous_file_no == 2);
}

/* ---- archives ---- */

static void make_archive(uint64_t file_no)
{
	struct wfile *file = begin(file_no);

	put(file, "a");
	put(file, "b");
	seal_and_leave(file);
	archive(1, file_no);
}

static void expect_goes_on_behind_archive(void)
{
	uint64_t log_id = 0;

	cr_assert(recover_log_id(&sys, dir_fd, &log_id) == 0 && log_id == LOG_ID);
	recover();
	cr_assert(ring_released(&ring, 1) == 2);
	cr_assert(recovery.page_next == 4 && recovery.previous_file_no == 1);
	cr_assert(recovery.log_id == LOG_ID && recovery.sealed == 0);
	cr_assert(recovery.previous_checksum == ((const struct page_header *)buffer)->checksum);
	expect_log("a b");
}

Test(archives, the_newest_file_may_be_one, .init = set_up, .fini = tear_down)
{
	make_archive(1);
	expect_goes_on_behind_archive();
	cr_assert(exists(1, ".shmlog.lz4") && !exists(1, ".shmlog"));
}

Test(archives, beside_their_originals_change_nothing, .init = set_up, .fini = tear_down)
{
	static char before[8192];
	char path[160];

	make_archive(1);
	fixture_path(&dir, path, 1, ".shmlog");
	(void)snprintf(text, sizeof(text), "lz4 -dqc %s.lz4 >%s", path, path);
	cr_assert(system(text) == 0);
	digest(dir.dir, before, sizeof(before));
	expect_goes_on_behind_archive();
	expect_same(before, "both");
	cr_assert(recovery.volume.bytes == 4 * PAGE_ALIGN, "one of them goes");
}

/* What is read is the original, which nobody has compared with yet. */
Test(archives, beside_their_originals_need_not_be_good, .init = set_up, .fini = tear_down)
{
	char path[160];

	make_archive(1);
	fixture_path(&dir, path, 1, ".shmlog");
	(void)snprintf(text, sizeof(text), "lz4 -dqc %s.lz4 >%s; echo bad >%s.lz4", path, path,
		       path);
	cr_assert(system(text) == 0);
	expect_goes_on_behind_archive();
}

Test(archives, halves_are_removed_and_nothing_else, .init = set_up, .fini = tear_down)
{
	static char before[8192];

	make_archive(1);
	leave_empty("0000000001/0000000001.shmlog.open.torn");
	leave_empty("0000000001/mine.shmlog.lz4.tmp");
	digest(dir.dir, before, sizeof(before));
	leave_empty("0000000001/0000000001.shmlog.lz4.tmp");
	leave_empty("0000000001/0000000009.shmlog.lz4.tmp");
	recover();
	expect_same(before, "halves");
}

/* Its last page is bad: whatever else the frame holds is found or not, but this page is not. */
Test(archives, that_have_decayed_do_not_stop_recovery, .init = set_up, .fini = tear_down)
{
	char path[160];

	make_archive(1);
	fixture_path(&dir, path, 1, ".shmlog.lz4");
	cr_assert(truncate(path, 600) == 0);
	recover();
	cr_assert(recovery.log_id == LOG_ID && recovery.page_next >= 2);
}

static unsigned opened;

static int counted_openat(int at, const char *path, int flags, mode_t mode)
{
	opened += strstr(path, ".shmlog") != NULL;
	return sys_real.openat(at, path, flags, mode);
}

/* @count archives of the ring, then one of another. */
static void make_many_archives(uint64_t count)
{
	struct wfile *file;

	for (uint64_t i = 1; i <= count; i++)
		make_archive(i);
	segment_id++;
	file = begin(count + 1);
	put(file, "c");
	seal_and_leave(file);
	archive(1, count + 1);
	sys.openat = counted_openat;
}

Test(archives, are_looked_at_from_the_newest_back_as_far_as_needed, .init = set_up,
     .fini = tear_down)
{
	uint64_t log_id;

	make_many_archives(20);
	cr_assert(recover_log_id(&sys, dir_fd, &log_id) == 0 && log_id == LOG_ID);
	cr_assert(opened == 1, "%u", opened);
	opened = 0;
	ring.drain.writer->log_id = LOG_ID;
	recover();
	cr_assert(ring_released(&ring, 1) == 40, "the ring's newest is the one before the last");
	cr_assert(opened == 4, "each to look at it, and to read it: %u", opened);
}

Test(archives, are_not_searched_for_a_ring_that_no_log_held, .init = set_up, .fini = tear_down)
{
	make_many_archives(20);
	recover();
	cr_assert(ring_released(&ring, 1) == 0 && recovery.page_next == 63);
	cr_assert(opened == 2, "%u", opened);
}

/* ---- what goes on from there ---- */

static void leave_sealed(uint64_t file_no)
{
	struct wfile *file = begin(file_no);

	put(file, "x");
	seal_and_leave(file);
}

Test(results, the_newest_file_of_the_log_and_of_the_ring_are_to_be_kept, .init = set_up,
     .fini = tear_down)
{
	leave_sealed(1);
	leave_sealed(2);
	recover();
	cr_assert(recovery.keep_from == 2);
	ring.drain.writer->log_id = LOG_ID;
	segment_id++;
	leave_sealed(3);
	recover();
	cr_assert(recovery.previous_file_no == 3);
	cr_assert(recovery.keep_from == 2, "the ring's own is an older one");
}

Test(results, a_volume_is_as_old_as_its_first_file, .init = set_up, .fini = tear_down)
{
	recover();
	cr_assert(recovery.volume_began_ns == 0);
	leave_sealed(1);
	leave_sealed(2);
	recover();
	cr_assert(recovery.volume_began_ns == FIXTURE_EPOCH_NS + 1);
}

/* ---- what is not ours ---- */

static void leave_foreign(const char *name)
{
	const int fd = openat(dir_fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

	cr_assert(fd >= 0 && write(fd, "mine", 4) == 4);
	close(fd);
}

Test(foreign, files_are_left_alone, .init = set_up, .fini = tear_down)
{
	static char before[8192];
	struct wfile *file = begin(1);

	put(file, "a");
	seal_and_leave(file);
	cr_assert(mkdirat(dir_fd, "0000000001x", 0700) == 0);
	leave_foreign("notes.txt");
	leave_foreign(".hidden");
	leave_foreign("0000000001x/0000000002.shmlog.open");
	leave_foreign("0000000001/0000000002.shmlog.open.torn");
	leave_foreign("0000000001/2.shmlog.open");
	digest(dir.dir, before, sizeof(before));
	recover();
	expect_same(before, "foreign files");
	cr_assert(recovery.volume.file_no == 1);
}

Test(foreign, a_format_of_the_future_is_refused_and_not_touched, .init = set_up, .fini = tear_down)
{
	static char before[8192];
	struct wfile *file = make_in(1, 1);

	build_file_page(file, FORMAT_MAJOR + 1);
	write_page(file, PAGE_ALIGN);
	leave(file);
	digest(dir.dir, before, sizeof(before));
	cr_assert(try_recover() == -EPROTO);
	expect_same(before, "another format");
}

/* ---- the fence ---- */

static int fence = -1;
static unsigned sleeps;

static int lift_fence_soon(int64_t ns)
{
	(void)ns;
	if (++sleeps == 3) {
		/* The killed writer's last write lands, and only then its lock falls. */
		cr_assert(pwrite(fence, buffer, PAGE_ALIGN, 2 * PAGE_ALIGN) == PAGE_ALIGN);
		close(fence);
	}
	return 0;
}

static int only_count(int64_t ns)
{
	(void)ns;
	sleeps++;
	return 0;
}

static void hold_fence(void)
{
	char path[160];

	fixture_path(&dir, path, 1, ".shmlog.open");
	fence = open(path, O_RDWR | O_CLOEXEC);
	cr_assert(fence >= 0 && sys_real.lock(fence, 0, 0) == 0);
}

Test(fence, nothing_is_read_before_the_last_write_has_landed, .init = set_up, .fini = tear_down)
{
	struct wfile *file = begin(1);

	put(file, "a");
	put_hole(file, "b"); /* still on its way; its bytes are in `buffer` */
	static uint8_t late[PAGE_ALIGN];
	memcpy(late, buffer, sizeof(late));
	leave(file);
	hold_fence();
	memcpy(buffer, late, sizeof(late));
	sys.sleep = lift_fence_soon;
	recover();
	cr_assert(sleeps == 3);
	cr_assert(ring_released(&ring, 1) == 2);
	expect_log("a b");
}

Test(fence, that_never_falls_is_given_up_after_ten_seconds, .init = set_up, .fini = tear_down)
{
	static char before[8192];
	struct wfile *file = begin(1);

	put(file, "a");
	leave(file);
	hold_fence();
	sys.sleep = only_count;
	digest(dir.dir, before, sizeof(before));
	cr_assert(try_recover() == -EAGAIN);
	cr_assert(sleeps == 1000);
	expect_same(before, "fenced");
	close(fence);
}

/* ---- the log's id ---- */

Test(log_id, is_that_of_the_newest_begun_file, .init = set_up, .fini = tear_down)
{
	static char before[8192];
	struct wfile *file = begin(1);
	uint64_t log_id = 1;

	put(file, "a");
	put_torn(file, "b");
	leave(make_in(1, 2));
	leave(file);
	digest(dir.dir, before, sizeof(before));
	cr_assert(recover_log_id(&sys, dir_fd, &log_id) == 0 && log_id == LOG_ID);
	expect_same(before, "only the id was asked for");
}

Test(log_id, of_an_empty_directory_is_none, .init = set_up, .fini = tear_down)
{
	uint64_t log_id = 1;

	cr_assert(recover_log_id(&sys, dir_fd, &log_id) == 0 && log_id == 0);
}

/* ---- recovery that is itself interrupted ---- */

static unsigned calls, call_failing; /* the first call is 1 */
static bool is_dead;                 /* all calls behind the failing one fail, too */

static bool is_failing(void)
{
	calls++;
	return calls == call_failing || (is_dead && calls > call_failing && call_failing);
}

/* clang-format off */
#define FAILING(type, name, parameters, arguments) \
	static type failing_##name parameters { return is_failing() ? -EIO : sys_real.name arguments; }

FAILING(int, openat, (int at, const char *path, int flags, mode_t mode), (at, path, flags, mode))
FAILING(int, fstat, (int fd, struct stat *ret), (fd, ret))
FAILING(int, fstatat, (int at, const char *path, struct stat *ret, int flags), (at, path, ret, flags))
FAILING(int, ftruncate, (int fd, off_t size), (fd, size))
FAILING(int, unlinkat, (int at, const char *path, int flags), (at, path, flags))
FAILING(int, renameat, (int at, const char *from, int to_at, const char *to), (at, from, to_at, to))
FAILING(int, fsync, (int fd), (fd))
FAILING(int, fdatasync, (int fd), (fd))
FAILING(ssize_t, pread, (int fd, void *data, size_t size, off_t at), (fd, data, size, at))
FAILING(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
FAILING(int, lock, (int fd, int64_t start, int64_t size), (fd, start, size))
/* clang-format on */

static void set_failing_calls(void)
{
	sys.openat = failing_openat;
	sys.fstat = failing_fstat;
	sys.fstatat = failing_fstatat;
	sys.ftruncate = failing_ftruncate;
	sys.unlinkat = failing_unlinkat;
	sys.renameat = failing_renameat;
	sys.fsync = failing_fsync;
	sys.fdatasync = failing_fdatasync;
	sys.pread = failing_pread;
	sys.pwrite = failing_pwrite;
	sys.lock = failing_lock;
}

/* A directory with something of everything to settle. */
static void make_damaged_log(void)
{
	struct wfile *file = begin(1);

	put(file, "a");
	seal_and_leave(file);
	archive(1, 1);
	leave_empty("0000000001/0000000001.shmlog.lz4.tmp");
	file = begin(2);
	put(file, "b");
	put(file, "c");
	leave(file);
	page_no--;
	position--;
	file = begin_in(2, 3);
	put(file, "c");
	put_hole(file, "d");
	put(file, "e");
	leave(make_in(2, 4));
	leave(file);
}

static void remove_tree(const char *path)
{
	char command[160];

	snprintf(command, sizeof(command), "rm -rf '%s'", path);
	cr_assert(system(command) == 0);
}

static void copy_tree(const char *from, const char *to)
{
	char command[256];

	snprintf(command, sizeof(command), "cp -a --sparse=always '%s' '%s'", from, to);
	cr_assert(system(command) == 0);
}

/* Everything that the next part of the writer goes by. */
struct outcome {
	uint64_t page_next, log_id, previous_file_no, previous_checksum, released;
	struct roll_volume volume;
	char digest[8192];
};

static void note_outcome(const char *path, struct outcome *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->page_next = recovery.page_next;
	ret->log_id = recovery.log_id;
	ret->previous_file_no = recovery.previous_file_no;
	ret->previous_checksum = recovery.previous_checksum;
	ret->released = ring_released(&ring, 1);
	ret->volume.volume_no = recovery.volume.volume_no;
	ret->volume.bytes = recovery.volume.bytes;
	digest(path, ret->digest, sizeof(ret->digest));
}

/* Recover a copy, failing at call @failing, then again with nothing failing. */
static int recover_copy(unsigned failing, struct outcome *ret)
{
	char copy[96];
	int r;

	(void)snprintf(copy, sizeof(copy), "%s-copy", dir.dir);
	copy_tree(dir.dir, copy);
	close_roll();
	open_roll(copy);
	store_relaxed(&ring.drain.lanes[1].status->released, 0);
	set_failing_calls();
	calls = 0;
	call_failing = failing;
	r = try_recover();
	call_failing = 0;
	if (failing)
		recover();
	else
		drain_restore_end(&ring.drain, true);
	note_outcome(copy, ret);
	remove_tree(copy);
	return r;
}

static void interrupt_everywhere(bool dead)
{
	static struct outcome expected, outcome;
	unsigned failures = 0, total;

	make_damaged_log();
	is_dead = dead;
	cr_assert(recover_copy(0, &expected) == 0, "%s", reason_get());
	cr_assert(expected.released == 3 && expected.page_next == 7);
	total = calls;
	for (unsigned i = 1; i <= total; i++) {
		failures += recover_copy(i, &outcome) < 0;
		cr_assert(memcmp(&outcome, &expected, sizeof(expected)) == 0,
			  "call %u of %u: next page %lu, released %lu\n%s\nnot\n%s", i, total,
			  (unsigned long)outcome.page_next, (unsigned long)outcome.released,
			  outcome.digest, expected.digest);
	}
	cr_assert(failures > total / 2, "of %u calls only %u mattered", total, failures);
}

Test(interrupted, by_one_failing_call_it_comes_to_the_same_later, .init = set_up, .fini = tear_down)
{
	interrupt_everywhere(false);
}

Test(interrupted, by_a_kill_at_any_call_it_comes_to_the_same_later, .init = set_up,
     .fini = tear_down)
{
	interrupt_everywhere(true);
}

Test(interrupted, a_second_recovery_changes_nothing, .init = set_up, .fini = tear_down)
{
	static struct outcome once, twice;

	make_damaged_log();
	recover();
	note_outcome(dir.dir, &once);
	recover();
	note_outcome(dir.dir, &twice);
	cr_assert(memcmp(&once, &twice, sizeof(once)) == 0, "%s\nnot\n%s", twice.digest,
		  once.digest);
	cr_assert(recovery.sealed == 0 && recovery.cut == 0);
}
