/*
 * test_reader.c - records from directories, files and streams, sound and damaged.
 */
#include "log_fixture.h"
#include "reader.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <lz4frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fixture fixture;
static char text[65536];

static void set_up(void)
{
	fixture_begin(&fixture);
}

static void tear_down(void)
{
	fixture_end(&fixture);
}

TestSuite(reader, .init = set_up, .fini = tear_down, .timeout = 60);

/* A sealed file of two pages: a1 b2 | a3, stamped 100 times its page number + 10, 20, 30. */
static void make_sealed(struct fixture_file *file, uint64_t file_no, uint64_t page_no)
{
	const uint64_t at = page_no * 100;

	fixture_file_begin(&fixture, file, file_no, page_no, 2);
	fixture_data(file, 1, at + 10, "a1");
	fixture_data(file, 2, at + 20, "b2");
	fixture_page(file, at + 20);
	fixture_data(file, 1, at + 30, "a3");
	fixture_page(file, at + 30);
	fixture_seal(file);
	fixture_file_end(file);
}

static void expect_dir(const char *expected)
{
	fixture_read_path(fixture.dir, text, sizeof(text));
	cr_expect_str_eq(text, expected);
}

static struct shmlog_reader *open_dir(const struct shmlog_reader_options *options)
{
	struct shmlog_reader *reader = NULL;

	cr_assert_eq(shmlog_reader_open(fixture.dir, options, &reader), 0);
	return reader;
}

Test(reader, a_sealed_file_in_a_directory)
{
	struct fixture_file file;

	make_sealed(&file, 1, 1);
	expect_dir("a1 b2 a3");
}

Test(reader, a_volume_and_a_single_file)
{
	struct fixture_file file;
	char volume[160];

	make_sealed(&file, 1, 1);
	(void)snprintf(volume, sizeof(volume), "%s/0000000001", fixture.dir);
	fixture_read_path(volume, text, sizeof(text));
	cr_expect_str_eq(text, "a1 b2 a3");
	fixture_read_path(file.path, text, sizeof(text));
	cr_expect_str_eq(text, "a1 b2 a3");
}

Test(reader, all_that_a_record_says)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;
	struct fixture_file file;

	make_sealed(&file, 1, 5);
	reader = open_dir(NULL);
	cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	cr_expect_eq(record.kind, SHMLOG_DATA);
	cr_expect_eq(record.level, 6);
	cr_expect_eq(record.time_ns, FIXTURE_EPOCH_NS + 510);
	cr_expect_eq(record.ticks, 510);
	cr_expect_eq(record.page_no, 6);
	cr_expect_eq(record.pid, 101);
	cr_expect_eq(record.start_time, 5);
	cr_expect_str_eq(record.name, "s1");
	cr_expect_eq(record.lane, 1);
	shmlog_reader_close(&reader);
	cr_expect_null(reader);
}

Test(reader, files_follow_each_other_by_number)
{
	struct fixture_file file;

	for (uint64_t i = 0; i < 12; i++) {
		char name[8];

		fixture_file_begin(&fixture, &file, i + 1, i * 2 + 1, 1);
		(void)snprintf(name, sizeof(name), "f%u", (unsigned)i);
		fixture_data(&file, 1, 10 + i, name);
		fixture_page(&file, 10 + i);
		fixture_seal(&file);
		fixture_file_end(&file);
	}
	expect_dir("f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11");
}

Test(reader, a_directory_that_a_writer_has_just_taken_is_a_log)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;
	char lock[160];

	cr_expect_eq(shmlog_reader_open(fixture.dir, NULL, &reader), -EBADMSG);
	options.follow = 1;
	reader = open_dir(&options);
	shmlog_reader_close(&reader);
	(void)snprintf(lock, sizeof(lock), "%s/lock", fixture.dir);
	cr_assert_geq(open(lock, O_CREAT | O_WRONLY | O_CLOEXEC, 0600), 0);
	expect_dir("");
}

Test(reader, what_others_keep_is_no_log)
{
	struct shmlog_reader *reader;
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/holiday.jpg", fixture.dir);
	cr_assert_geq(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600), 0);
	cr_expect_eq(shmlog_reader_open(fixture.dir, NULL, &reader), -EBADMSG);
	cr_expect_eq(shmlog_reader_open(path, NULL, &reader), -EBADMSG);
	fixture_scribble(path, 0, "JFIF and so on", 14);
	cr_expect_eq(shmlog_reader_open(path, NULL, &reader), -EBADMSG);
	cr_expect_eq(shmlog_reader_open("/nonexistent", NULL, &reader), -ENOENT);
	cr_expect(strstr(shmlog_reason(), "/nonexistent") != NULL);
}

Test(reader, bytes_behind_a_seal_are_damage)
{
	struct fixture_file file;

	make_sealed(&file, 1, 1);
	make_sealed(&file, 2, 4);
	fixture_path(&fixture, text, 1, ".shmlog");
	cr_assert_eq(truncate(text, 1024 * 1024), 0);
	expect_dir("a1 b2 a3 ! a1 b2 a3");
}

Test(reader, a_newer_format_is_refused)
{
	struct shmlog_reader *reader;
	struct file_info info;
	struct page_stamp stamp = { .page_no = 1 };
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 0);
	info = (struct file_info){ .format_major = FORMAT_MAJOR + 1 };
	page_begin(&file.builder, file.buffer, PAGE_FILE);
	page_append_info(&file.builder, &info, sizeof(info));
	(void)page_finish(&file.builder, &stamp);
	fixture_scribble(file.path, 0, file.buffer, 4096);
	cr_expect_eq(shmlog_reader_open(fixture.dir, NULL, &reader), -EPROTO);
	cr_expect_eq(shmlog_reader_open(file.path, NULL, &reader), -EPROTO);
	fixture_file_end(&file);
}

Test(reader, sources_are_merged_by_time)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 3);
	fixture_data(&file, 1, 30, "30");
	fixture_data(&file, 1, 50, "50");
	fixture_data(&file, 2, 20, "20");
	fixture_data(&file, 2, 40, "40");
	fixture_page(&file, 15);
	fixture_data(&file, 3, 16, "16");
	fixture_data(&file, 3, 45, "45");
	fixture_page(&file, 50);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_dir("16 20 30 40 45 50");
}

Test(reader, the_order_of_a_source_holds_whatever_its_stamps_say)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 2);
	fixture_data(&file, 1, 50, "x");
	fixture_data(&file, 1, 10, "y");
	fixture_data(&file, 1, 40, "z");
	fixture_data(&file, 2, 45, "45");
	fixture_data(&file, 2, 60, "60");
	fixture_page(&file, 60);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_dir("45 x y z 60");
}

Test(reader, the_order_of_a_source_holds_across_files_that_number_it_differently)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 0);
	fixture_source(&file, 9, 500, "same");
	fixture_data(&file, 9, 100, "first");
	fixture_page(&file, 0);
	fixture_seal(&file);
	fixture_file_end(&file);
	fixture_file_begin(&fixture, &file, 2, 3, 0);
	fixture_source(&file, 9, 600, "other");
	fixture_source(&file, 4, 500, "same");
	/* The binding's identity includes its lane, which the fixture takes from the number. */
	fixture_data(&file, 9, 90, "other");
	fixture_page(&file, 100);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_dir("other first");
}

Test(reader, unmerged_is_the_order_of_the_pages)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 2);
	fixture_data(&file, 1, 30, "30");
	fixture_data(&file, 2, 20, "20");
	fixture_page(&file, 0);
	fixture_data(&file, 2, 10, "10");
	fixture_page(&file, 50);
	fixture_seal(&file);
	fixture_file_end(&file);
	options.unmerged = 1;
	reader = open_dir(&options);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "30 20 10");
	shmlog_reader_close(&reader);
}

Test(reader, a_ring_without_a_clock_keeps_the_order_of_the_drain)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;
	struct fixture_file file = { .segment_id = 5, .ticks_per_s = 0 };

	fixture_file_begin_as(&fixture, &file, 1, 1, 2);
	fixture_data(&file, 2, 0, "one");
	fixture_data(&file, 1, 0, "two");
	fixture_page(&file, 0);
	fixture_data(&file, 2, 0, "three");
	fixture_page(&file, 0);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_dir("one two three");
	reader = open_dir(NULL);
	cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	cr_expect_eq(record.time_ns, INT64_MIN);
	shmlog_reader_close(&reader);
}

Test(reader, nothing_is_held_across_a_change_of_segment)
{
	struct fixture_file file = { .segment_id = 1, .ticks_per_s = NS_PER_S };

	fixture_file_begin_as(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 1000, "old");
	fixture_page(&file, 0);
	fixture_seal(&file);
	fixture_file_end(&file);
	file = (struct fixture_file){ .segment_id = 2, .ticks_per_s = NS_PER_S };
	fixture_file_begin_as(&fixture, &file, 2, 3, 1);
	fixture_data(&file, 1, 5, "new");
	fixture_page(&file, 0);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_dir("old new");
}

/* A thread that has moved on to a ring with another clock. */
Test(reader, a_sources_stamps_of_one_segment_say_nothing_of_those_of_another)
{
	struct fixture_file file = { .segment_id = 1, .ticks_per_s = NS_PER_S };

	fixture_file_begin_as(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 1000, "old");
	fixture_page(&file, 0);
	fixture_seal(&file);
	fixture_file_end(&file);
	file = (struct fixture_file){ .segment_id = 2, .ticks_per_s = NS_PER_S };
	fixture_file_begin_as(&fixture, &file, 2, 3, 2);
	fixture_data(&file, 1, 5, "5");
	fixture_data(&file, 2, 7, "7");
	fixture_data(&file, 1, 9, "9");
	fixture_page(&file, 0);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_dir("old 5 7 9");
}

Test(reader, gaps_and_notes_are_content)
{
	const struct gap_payload gap = { .lost = { 10, 2 } };
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 10, "a");
	fixture_record(&file, RECORD_GAP, 1, 20, &gap, sizeof(gap));
	fixture_record(&file, RECORD_NOTE, 0, 30, "hello", 5);
	fixture_record(&file, 0x90, 1, 31, "unknown", 7);
	fixture_page(&file, 50);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_dir("a -12 (hello)");
	reader = open_dir(NULL);
	cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	cr_expect_eq(record.lost[SHMLOG_LOSS_FULL], 10);
	cr_expect_eq(record.lost[SHMLOG_LOSS_SIZE], 2);
	cr_expect_str_eq(record.name, "s1");
	cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	cr_expect_str_eq(record.name, "");
	cr_expect_eq(record.pid, 0);
	shmlog_reader_close(&reader);
}

Test(reader, a_record_without_its_source_is_shown_all_the_same)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 40000, 10, "whose");
	fixture_page(&file, 10);
	fixture_seal(&file);
	fixture_file_end(&file);
	reader = open_dir(NULL);
	cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	cr_expect_str_eq(record.name, "?");
	shmlog_reader_close(&reader);
}

Test(reader, since_and_until_include_their_ends)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 10, "10");
	fixture_data(&file, 1, 20, "20");
	fixture_data(&file, 1, 30, "30");
	fixture_data(&file, 1, 40, "40");
	fixture_page(&file, 40);
	fixture_seal(&file);
	fixture_file_end(&file);
	options.since_ns = FIXTURE_EPOCH_NS + 20;
	options.until_ns = FIXTURE_EPOCH_NS + 30;
	reader = open_dir(&options);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "20 30");
	shmlog_reader_close(&reader);
}

Test(reader, files_of_another_time_are_not_read)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;
	struct fixture_file file;
	char name[8];

	for (uint64_t i = 1; i <= 3; i++) {
		fixture_file_begin(&fixture, &file, i, i * 2, 1);
		(void)snprintf(name, sizeof(name), "f%u", (unsigned)i);
		fixture_data(&file, 1, i * 100 * NS_PER_S, name);
		fixture_page(&file, i * 100 * NS_PER_S);
		fixture_seal(&file);
		fixture_file_end(&file);
		/* Damage that would be reported if the page were read. */
		if (i != 2)
			fixture_scribble(file.path, 4096 + 140, "xx", 2);
	}
	options.since_ns = FIXTURE_EPOCH_NS + 150 * (int64_t)NS_PER_S;
	options.until_ns = FIXTURE_EPOCH_NS + 250 * (int64_t)NS_PER_S;
	reader = open_dir(&options);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "f2");
	shmlog_reader_close(&reader);
}

Test(reader, an_open_file_that_is_held_just_ends_for_now)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	cr_assert_eq(sys_real.lock(file.fd, 0, 0), 0);
	fixture_data(&file, 1, 10, "a");
	fixture_page(&file, 10);
	cr_assert_eq(ftruncate(file.fd, 1024 * 1024), 0);
	expect_dir("a");
	fixture_file_end(&file);
}

Test(reader, a_half_written_page_of_a_held_file_is_not_damage)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	cr_assert_eq(sys_real.lock(file.fd, 0, 0), 0);
	fixture_data(&file, 1, 10, "a");
	fixture_page(&file, 10);
	fixture_data(&file, 1, 20, "b");
	fixture_page(&file, 20);
	fixture_data(&file, 1, 30, "c");
	fixture_page(&file, 30);
	fixture_scribble(file.path, 8192 + 140, "xxxx", 4);
	expect_dir("a");
	fixture_file_end(&file);
}

Test(reader, after_a_kill_all_whole_pages_come_and_then_the_problem_once)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 10, "a");
	fixture_page(&file, 10);
	fixture_data(&file, 1, 20, "b");
	fixture_page(&file, 5);
	cr_assert_eq(ftruncate(file.fd, 1024 * 1024), 0);
	expect_dir("a b !");
	cr_expect(strstr(shmlog_reason(), "not recovered") != NULL);
	fixture_read_path(file.path, text, sizeof(text));
	cr_expect_str_eq(text, "a b !");
	fixture_file_end(&file);
}

Test(reader, after_a_kill_pages_behind_a_hole_do_not_count)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 10, "a");
	fixture_page(&file, 10);
	fixture_data(&file, 1, 20, "lost");
	fixture_lose_page(&file, 20);
	fixture_data(&file, 1, 30, "behind");
	fixture_page(&file, 30);
	expect_dir("a !");
	fixture_file_end(&file);
}

Test(reader, an_open_file_is_complete_when_the_next_has_begun_there)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 10, "a");
	fixture_page(&file, 10);
	cr_assert_eq(ftruncate(file.fd, 1024 * 1024), 0);
	fixture_file_end(&file);
	make_sealed(&file, 2, 3);
	expect_dir("a a1 b2 a3");
}

Test(reader, a_hole_before_a_newer_file_is_damage_and_reading_goes_on)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 5, "a");
	fixture_page(&file, 5);
	fixture_data(&file, 1, 6, "lost");
	fixture_lose_page(&file, 6);
	fixture_file_end(&file);
	make_sealed(&file, 2, 4);
	expect_dir("a ! a1 b2 a3");
}

Test(reader, whole_pages_behind_a_hole_are_read_where_the_file_is_finished)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 5, "a");
	fixture_page(&file, 5);
	fixture_data(&file, 1, 6, "lost");
	fixture_lose_page(&file, 6);
	fixture_data(&file, 1, 7, "c");
	fixture_page(&file, 7);
	fixture_file_end(&file);
	make_sealed(&file, 2, 5);
	expect_dir("a ! c a1 b2 a3");
}

Test(reader, a_file_ends_where_the_next_one_begins)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 5, "a");
	fixture_page(&file, 5);
	fixture_data(&file, 1, 6, "failed, then written again");
	fixture_page(&file, 6);
	fixture_data(&file, 1, 7, "so was this");
	fixture_page(&file, 7);
	fixture_file_end(&file);
	make_sealed(&file, 2, 3);
	expect_dir("a a1 b2 a3");
}

Test(reader, a_damaged_page_of_a_sealed_file_costs_itself_only)
{
	struct fixture_file file;

	make_sealed(&file, 1, 1);
	fixture_scribble(file.path, 4096 + 150, "xxxx", 4);
	expect_dir("! a3");
	cr_expect(strstr(shmlog_reason(), "page 2 ") != NULL);
	cr_expect(strstr(shmlog_reason(), "0000000001.shmlog") != NULL);
}

Test(reader, a_page_of_zeros_in_a_sealed_file_is_damage)
{
	static const char zeros[4096];
	struct fixture_file file;

	make_sealed(&file, 1, 1);
	fixture_scribble(file.path, 4096, zeros, sizeof(zeros));
	expect_dir("! a3");
}

Test(reader, what_has_a_files_name_and_is_none_costs_nobody_else)
{
	struct fixture_file file;
	char path[160];

	make_sealed(&file, 1, 1);
	make_sealed(&file, 6, 4);
	fixture_path(&fixture, path, 2, ".shmlog");
	cr_assert_eq(mkdir(path, 0700), 0);
	fixture_path(&fixture, path, 3, ".shmlog.open");
	cr_assert_eq(mkfifo(path, 0600), 0);
	fixture_path(&fixture, path, 4, ".shmlog");
	cr_assert_eq(symlink("nowhere", path), 0);
	fixture_path(&fixture, path, 5, ".shmlog.lz4");
	cr_assert_eq(symlink("0000000005.shmlog.lz4", path), 0);
	expect_dir("a1 b2 a3 ! ! ! a1 b2 a3");
}

Test(reader, a_damaged_file_page_costs_the_file)
{
	struct fixture_file file;

	make_sealed(&file, 1, 1);
	fixture_scribble(file.path, 200, "xxxx", 4);
	fixture_read_path(file.path, text, sizeof(text));
	cr_expect_str_eq(text, "!");
	make_sealed(&file, 2, 4);
	expect_dir("! a1 b2 a3");
}

Test(reader, a_cut_sealed_file_gives_what_it_has)
{
	struct fixture_file file;

	make_sealed(&file, 1, 1);
	cr_assert_eq(truncate(file.path, 4096 * 3), 0);
	expect_dir("a1 b2 a3 !");
	cr_assert_eq(truncate(file.path, 8192 + 100), 0);
	expect_dir("a1 b2 !");
	cr_assert_eq(truncate(file.path, 8192), 0);
	expect_dir("a1 b2 !");
	make_sealed(&file, 2, 4);
	expect_dir("a1 b2 ! a1 b2 a3");
}

Test(reader, an_empty_sealed_file_is_damage)
{
	struct fixture_file file;

	make_sealed(&file, 1, 1);
	cr_assert_eq(truncate(file.path, 0), 0);
	expect_dir("!");
}

Test(reader, a_file_made_ahead_is_passed_silently)
{
	struct fixture_file file;
	char path[160];
	int fd;

	make_sealed(&file, 1, 1);
	fixture_path(&fixture, path, 2, ".shmlog.open");
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	expect_dir("a1 b2 a3");
	cr_assert_eq(ftruncate(fd, 1024 * 1024), 0);
	expect_dir("a1 b2 a3");
	fixture_read_path(path, text, sizeof(text));
	cr_expect_str_eq(text, "");
	make_sealed(&file, 3, 4);
	expect_dir("a1 b2 a3 a1 b2 a3");
	close(fd);
}

Test(reader, numbers_missing_at_the_beginning_are_normal)
{
	struct fixture_file file;

	make_sealed(&file, 8, 100);
	expect_dir("a1 b2 a3");
}

Test(reader, numbers_missing_between_files_are_named_once)
{
	struct fixture_file file;

	make_sealed(&file, 1, 1);
	make_sealed(&file, 3, 9);
	expect_dir("a1 b2 a3 ! a1 b2 a3");
	cr_expect(strstr(shmlog_reason(), "4 to 8") != NULL);
}

Test(reader, a_seal_may_name_pages_that_are_missing_before_it)
{
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 5, "a");
	fixture_page(&file, 5);
	file.page_no = 9;
	fixture_seal(&file);
	fixture_file_end(&file);
	make_sealed(&file, 2, 9);
	expect_dir("a ! a1 b2 a3");
}

Test(reader, get_page_finds_every_page_and_goes_on_from_there)
{
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_reader *reader;
	struct fixture_file file;

	make_sealed(&file, 1, 1);
	make_sealed(&file, 2, 4);
	fixture_file_begin(&fixture, &file, 3, 7, 1);
	fixture_source(&file, 2, 202, "late");
	fixture_data(&file, 1, 750, "open");
	fixture_page(&file, 750);
	fixture_data(&file, 2, 760, "last");
	fixture_page(&file, 760);
	cr_assert_eq(sys_real.lock(file.fd, 0, 0), 0);
	reader = open_dir(NULL);
	for (uint64_t n = 9; n >= 1; n--) {
		cr_assert_eq(shmlog_reader_get_page(reader, n, &page), 0, "page %lu", n);
		cr_expect_eq(page.page_no, n);
		cr_expect_eq(page.file_no, (n + 2) / 3);
	}
	cr_expect_eq(shmlog_reader_get_page(reader, 10, &page), -ENOENT);
	cr_expect_eq(shmlog_reader_get_page(reader, 0, &page), -ENOENT);
	cr_assert_eq(shmlog_reader_get_page(reader, 6, &page), 0);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "a3 open last");
	shmlog_reader_close(&reader);
	fixture_file_end(&file);
}

Test(reader, after_a_jump_sources_are_still_known)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_reader *reader;
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_source(&file, 2, 202, "late");
	fixture_data(&file, 1, 50, "x");
	fixture_page(&file, 50);
	fixture_data(&file, 2, 60, "y");
	fixture_page(&file, 60);
	fixture_seal(&file);
	fixture_file_end(&file);
	reader = open_dir(NULL);
	cr_assert_eq(shmlog_reader_get_page(reader, 3, &page), 0);
	cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	cr_expect_str_eq(record.name, "late");
	shmlog_reader_close(&reader);
}

Test(reader, after_a_jump_a_number_means_who_was_bound_last)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_reader *reader;
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_source(&file, 1, 999, "second");
	fixture_data(&file, 1, 50, "x");
	fixture_page(&file, 50);
	fixture_data(&file, 1, 60, "y");
	fixture_source(&file, 1, 998, "third");
	fixture_data(&file, 1, 70, "z");
	fixture_page(&file, 70);
	fixture_seal(&file);
	fixture_file_end(&file);
	reader = open_dir(NULL);
	cr_assert_eq(shmlog_reader_get_page(reader, 3, &page), 0);
	cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	cr_expect_str_eq(record.name, "second");
	cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	cr_expect_str_eq(record.name, "third");
	shmlog_reader_close(&reader);
}

Test(reader, next_page_shows_every_page)
{
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_reader *reader;
	struct fixture_file file;
	const int kinds[] = { 1, 2, 2, 3, 1, 2, 2, 3 };

	make_sealed(&file, 1, 1);
	make_sealed(&file, 2, 4);
	reader = open_dir(NULL);
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		cr_assert_eq(shmlog_reader_next_page(reader, &page), 0);
		cr_expect_eq(page.kind, kinds[i]);
	}
	cr_expect_eq(shmlog_reader_next_page(reader, &page), -ENODATA);
	shmlog_reader_close(&reader);
}

Test(reader, seek_time_goes_to_the_first_page_of_that_time)
{
	struct shmlog_reader *reader;
	struct fixture_file file;

	make_sealed(&file, 1, 1);
	fixture_file_begin(&fixture, &file, 2, 4, 1);
	fixture_data(&file, 1, 500, "x");
	fixture_page(&file, 500);
	fixture_data(&file, 1, 600, "y");
	fixture_page(&file, 600);
	fixture_seal(&file);
	fixture_file_end(&file);
	reader = open_dir(NULL);
	cr_assert_eq(shmlog_reader_seek_time(reader, FIXTURE_EPOCH_NS + 125), 0);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "a3 x y");
	cr_assert_eq(shmlog_reader_seek_time(reader, FIXTURE_EPOCH_NS + 550), 0);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "y");
	cr_assert_eq(shmlog_reader_seek_time(reader, FIXTURE_EPOCH_NS + 999), 0);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "");
	shmlog_reader_close(&reader);
}

Test(reader, a_duplicate_goes_on_at_the_same_place_on_its_own)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader, *twin;
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 2);
	fixture_data(&file, 1, 30, "30");
	fixture_data(&file, 2, 10, "10");
	fixture_data(&file, 2, 40, "40");
	fixture_page(&file, 20);
	fixture_seal(&file);
	fixture_file_end(&file);
	make_sealed(&file, 2, 3);
	reader = open_dir(NULL);
	cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	cr_assert_eq(shmlog_reader_duplicate(reader, &twin), 0);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "30 40 a1 b2 a3");
	shmlog_reader_close(&reader);
	fixture_read_all(twin, text, sizeof(text));
	cr_expect_str_eq(text, "30 40 a1 b2 a3");
	shmlog_reader_close(&twin);
}

/* The sealed files 1 .. @count behind one another. */
static void concatenate(char path[160], uint64_t count)
{
	static char bytes[1024 * 1024];
	char from[160];
	int in, out;

	(void)snprintf(path, 160, "%s/all", fixture.dir);
	out = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
	for (uint64_t i = 1; i <= count; i++) {
		ssize_t n;

		fixture_path(&fixture, from, i, ".shmlog");
		in = open(from, O_RDONLY | O_CLOEXEC);
		n = read(in, bytes, sizeof(bytes));
		cr_assert_eq(write(out, bytes, (size_t)n), n);
		close(in);
	}
	close(out);
}

Test(reader, concatenated_files_are_one_log)
{
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_reader *reader;
	struct fixture_file file;
	char path[160];

	make_sealed(&file, 1, 1);
	make_sealed(&file, 2, 4);
	concatenate(path, 2);
	fixture_read_path(path, text, sizeof(text));
	cr_expect_str_eq(text, "a1 b2 a3 a1 b2 a3");
	cr_assert_eq(shmlog_reader_open(path, NULL, &reader), 0);
	cr_assert_eq(shmlog_reader_get_page(reader, 5, &page), 0);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "a1 b2 a3");
	shmlog_reader_close(&reader);
}

/* A pipe with the bytes of @path in it. */
static int pipe_of(const char *path)
{
	char command[256];
	FILE *stream;
	int fd;

	(void)snprintf(command, sizeof(command), "cat %s", path);
	stream = popen(command, "r");
	cr_assert_not_null(stream);
	fd = dup(fileno(stream));
	return fd;
}

Test(reader, a_pipe_is_read_in_order)
{
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_reader *reader;
	struct fixture_file file;
	char path[160];
	int fd;

	make_sealed(&file, 1, 1);
	make_sealed(&file, 2, 4);
	concatenate(path, 2);
	fd = pipe_of(path);
	cr_assert_eq(shmlog_reader_open_fd(fd, NULL, &reader), 0);
	cr_expect_eq(shmlog_reader_get_page(reader, 2, &page), -ENOTSUP);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "a1 b2 a3 a1 b2 a3");
	shmlog_reader_close(&reader);
	close(fd);
}

Test(reader, a_damaged_page_in_a_pipe_costs_itself_only)
{
	struct shmlog_reader *reader;
	struct fixture_file file;
	int fd;

	make_sealed(&file, 1, 1);
	fixture_scribble(file.path, 4096 + 150, "xxxx", 4);
	fd = pipe_of(file.path);
	cr_assert_eq(shmlog_reader_open_fd(fd, NULL, &reader), 0);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "! a3");
	shmlog_reader_close(&reader);
	close(fd);
}

Test(reader, what_follows_a_seal_and_is_no_file_is_named)
{
	struct fixture_file file;
	char path[160];

	make_sealed(&file, 1, 1);
	concatenate(path, 1);
	cr_assert_eq(truncate(path, 4096 * 5), 0);
	fixture_read_path(path, text, sizeof(text));
	cr_expect_str_eq(text, "a1 b2 a3 !");
}

/* Replace a sealed file by an archive of independent blocks, one a page, or of any other form. */
static void compress_file(const char *path, LZ4F_blockMode_t mode)
{
	static uint8_t bytes[1024 * 1024], frame[1024 * 1024];
	const LZ4F_preferences_t preferences = {
		.frameInfo = { .blockSizeID = LZ4F_max256KB,
			       .blockMode = mode,
			       .contentChecksumFlag = LZ4F_contentChecksumEnabled },
	};
	char archive[200];
	size_t size;
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	n = read(fd, bytes, sizeof(bytes));
	close(fd);
	size = LZ4F_compressFrame(frame, sizeof(frame), bytes, (size_t)n, &preferences);
	cr_assert(!LZ4F_isError(size));
	(void)snprintf(archive, sizeof(archive), "%s.lz4", path);
	fd = open(archive, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_eq(write(fd, frame, size), (ssize_t)size);
	close(fd);
	cr_assert_eq(unlink(path), 0);
}

Test(reader, archives_are_read_like_files)
{
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_reader *reader;
	struct fixture_file file;

	make_sealed(&file, 1, 1);
	compress_file(file.path, LZ4F_blockIndependent);
	make_sealed(&file, 2, 4);
	compress_file(file.path, LZ4F_blockLinked);
	make_sealed(&file, 3, 7);
	expect_dir("a1 b2 a3 a1 b2 a3 a1 b2 a3");
	reader = open_dir(NULL);
	cr_assert_eq(shmlog_reader_get_page(reader, 6, &page), 0);
	cr_assert_eq(shmlog_reader_get_page(reader, 5, &page), 0);
	cr_assert_eq(shmlog_reader_get_page(reader, 2, &page), 0);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "a1 b2 a3 a1 b2 a3 a1 b2 a3");
	shmlog_reader_close(&reader);
}

Test(reader, an_archive_beside_its_file_is_not_read_twice)
{
	struct fixture_file file;
	char copy[200];

	make_sealed(&file, 1, 1);
	(void)snprintf(copy, sizeof(copy), "%s.copy", file.path);
	cr_assert_eq(link(file.path, copy), 0);
	compress_file(file.path, LZ4F_blockIndependent);
	cr_assert_eq(rename(copy, file.path), 0);
	expect_dir("a1 b2 a3");
}

Test(reader, a_damaged_archive_is_named)
{
	struct fixture_file file;
	char archive[200];

	make_sealed(&file, 1, 1);
	compress_file(file.path, LZ4F_blockIndependent);
	(void)snprintf(archive, sizeof(archive), "%s.lz4", file.path);
	cr_assert_eq(truncate(archive, 60), 0);
	expect_dir("!");
}

Test(reader, a_follower_goes_on_across_files)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;
	struct fixture_file file, next;

	options.follow = 1;
	reader = open_dir(&options);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "");
	fixture_file_begin(&fixture, &file, 1, 1, 1);
	cr_assert_eq(sys_real.lock(file.fd, 0, 0), 0);
	fixture_data(&file, 1, 10, "a");
	fixture_page(&file, 10);
	cr_expect_eq(shmlog_reader_wait(reader, NS_PER_S), 0);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "a");
	cr_expect_eq(shmlog_reader_wait(reader, 60 * NS_PER_MS), -ETIMEDOUT);
	fixture_data(&file, 1, 20, "b");
	fixture_page(&file, 20);
	cr_expect_eq(shmlog_reader_wait(reader, NS_PER_S), 0);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "b");
	fixture_data(&file, 1, 30, "c");
	fixture_page(&file, 30);
	fixture_seal(&file);
	fixture_file_end(&file);
	fixture_file_begin(&fixture, &next, 2, 5, 1);
	cr_assert_eq(sys_real.lock(next.fd, 0, 0), 0);
	fixture_data(&next, 1, 40, "d");
	fixture_page(&next, 40);
	cr_expect_eq(shmlog_reader_wait(reader, NS_PER_S), 0);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "! c d" + 2, "page numbers are dense: 1 2 3 4 | 5");
	shmlog_reader_close(&reader);
	fixture_file_end(&next);
}

Test(reader, a_follower_keeps_waiting_where_a_writer_was_killed)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;
	struct fixture_file file;

	options.follow = 1;
	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 10, "a");
	fixture_page(&file, 10);
	reader = open_dir(&options);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "a");
	fixture_seal(&file);
	fixture_file_end(&file);
	make_sealed(&file, 2, 3);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "a1 b2 a3");
	shmlog_reader_close(&reader);
}

Test(reader, an_open_file_may_be_sealed_and_renamed_under_the_reader)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	cr_assert_eq(sys_real.lock(file.fd, 0, 0), 0);
	fixture_data(&file, 1, 10, "a");
	fixture_page(&file, 10);
	reader = open_dir(NULL);
	cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	fixture_data(&file, 1, 20, "b");
	fixture_page(&file, 20);
	fixture_seal(&file);
	fixture_file_end(&file);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "b");
	shmlog_reader_close(&reader);
}

Test(reader, files_that_vanish_between_list_and_open_are_passed)
{
	struct shmlog_reader *reader;
	struct fixture_file file;

	make_sealed(&file, 1, 1);
	make_sealed(&file, 2, 4);
	make_sealed(&file, 3, 7);
	reader = open_dir(NULL);
	fixture_path(&fixture, text, 2, ".shmlog");
	cr_assert_eq(unlink(text), 0);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "a1 b2 a3 ! a1 b2 a3");
	cr_expect(strstr(shmlog_reason(), "deleted before they were read") != NULL);
	shmlog_reader_close(&reader);
}

Test(reader, no_more_than_the_limit_is_held)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;
	struct fixture_file file;
	size_t most = 0;

	fixture_file_begin(&fixture, &file, 1, 1, 2);
	for (unsigned i = 0; i < 40; i++) {
		fixture_data(&file, 1, 1000 - i, "x");
		fixture_data(&file, 2, 1000 + i, "y");
		fixture_page(&file, 0);
	}
	fixture_seal(&file);
	fixture_file_end(&file);
	reader = open_dir(NULL);
	reader->held_bytes_max = 10 * 4096;
	while (shmlog_reader_next(reader, &record) == 0)
		most = most > reader->held_bytes ? most : reader->held_bytes;
	cr_expect_leq(most, 12 * 4096);
	shmlog_reader_close(&reader);
}

Test(reader, any_byte_of_a_sealed_log_may_be_wrong)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;
	struct fixture_file file;
	static uint8_t bytes[65536];
	ssize_t size;
	int fd;

	make_sealed(&file, 1, 1);
	fd = open(file.path, O_RDWR | O_CLOEXEC);
	size = read(fd, bytes, sizeof(bytes));
	for (ssize_t at = 0; at < size; at += at % 4096 < 640 ? 1 : 97) {
		const uint8_t wrong = (uint8_t)(bytes[at] ^ 0x81);
		int records = 0, r;

		cr_assert_eq(pwrite(fd, &wrong, 1, at), 1);
		r = shmlog_reader_open(fixture.dir, NULL, &reader);
		if (r == 0) {
			do {
				r = shmlog_reader_next(reader, &record);
				records += r == 0;
			} while (r == 0 || r == -EBADMSG);
			cr_expect_eq(r, -ENODATA, "byte %zd: %d", at, r);
			shmlog_reader_close(&reader);
		}
		cr_expect_leq(records, 3, "byte %zd", at);
		cr_assert_eq(pwrite(fd, &bytes[at], 1, at), 1);
	}
	close(fd);
	expect_dir("a1 b2 a3");
}

Test(reader, structs_of_another_size_are_refused)
{
	struct shmlog_reader_options options = { .size = 3 };
	struct shmlog_record record = { .size = 1 };
	struct shmlog_page page = { .size = 1 };
	struct shmlog_reader *reader;
	struct fixture_file file;

	cr_expect_eq(shmlog_reader_open(fixture.dir, &options, &reader), -EINVAL);
	make_sealed(&file, 1, 1);
	reader = open_dir(NULL);
	cr_expect_eq(shmlog_reader_next(reader, &record), -EINVAL);
	cr_expect_eq(shmlog_reader_next_page(reader, &page), -EINVAL);
	cr_expect_eq(shmlog_reader_get_page(reader, 1, &page), -EINVAL);
	shmlog_reader_close(&reader);
}

Test(reader, loss_reasons_have_words)
{
	cr_expect_str_eq(shmlog_loss_name(SHMLOG_LOSS_FULL), "full");
	cr_expect_str_eq(shmlog_loss_name(SHMLOG_LOSS_UNSYNCED), "unsynced");
	cr_expect_str_eq(shmlog_loss_name(7), "?");
	cr_expect_str_eq(shmlog_loss_name(-1), "?");
}
