/*
 * test_reader_catalog.c - logs of many files, which come, change their names, and go.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log_fixture.h"
#include "reader.h"

enum { PAGES = 3 };

static struct fixture fixture;
static struct sys sys;
static char text[65536];
static unsigned opened, read_bytes;
static const char *refused; /* names with this in them may not be opened */

/* While the volume is listed for the first time this one goes by a name of no file. */
static const char *hidden;

static void hide(const char *path)
{
	char from[160], to[160];

	(void)snprintf(from, sizeof(from), "%s/0000000001/%s", fixture.dir, hidden);
	(void)snprintf(to, sizeof(to), "%s/hidden", fixture.dir);
	if (strcmp(path, "0000000001") == 0) {
		cr_assert_eq(rename(from, to), 0);
		return;
	}
	cr_assert_eq(rename(to, from), 0);
	hidden = NULL;
}

static int sys_openat(int dir, const char *path, int flags, mode_t mode)
{
	if (hidden != NULL && strcmp(path, ".") != 0)
		hide(path);
	opened += strstr(path, ".shmlog") != NULL;
	if (refused != NULL && strstr(path, refused) != NULL)
		return -EACCES;
	return sys_real.openat(dir, path, flags, mode);
}

static ssize_t sys_pread(int fd, void *buffer, size_t size, off_t offset)
{
	read_bytes += (unsigned)size;
	return sys_real.pread(fd, buffer, size, offset);
}

static void set_up(void)
{
	fixture_begin(&fixture);
	sys = sys_real;
	sys.openat = sys_openat;
	sys.pread = sys_pread;
	refused = NULL;
}

static void tear_down(void)
{
	fixture_end(&fixture);
}

TestSuite(reader_catalog, .init = set_up, .fini = tear_down, .timeout = 60);

static uint64_t ticks_of(uint64_t page_no)
{
	return page_no * 10 * NS_PER_S;
}

/* File @file_no: FILE page 3 * @file_no - 2 and two with a record each, named by their numbers. */
static void make_file(struct fixture_file *file, uint64_t file_no)
{
	const uint64_t page_no = PAGES * (file_no - 1) + 1;
	char name[24];

	*file = (struct fixture_file){ .segment_id = FIXTURE_SEGMENT,
				       .ticks_per_s = NS_PER_S,
				       .sample_ticks = ticks_of(page_no) };
	fixture_file_begin_as(&fixture, file, file_no, page_no, 1);
	for (uint64_t i = 1; i < PAGES; i++) {
		(void)snprintf(name, sizeof(name), "%lu", page_no + i);
		fixture_data(file, 1, ticks_of(page_no + i), name);
		fixture_page(file, ticks_of(page_no + i));
	}
}

static void make_sealed(uint64_t file_no)
{
	struct fixture_file file;

	make_file(&file, file_no);
	fixture_seal(&file);
	fixture_file_end(&file);
}

static void make_archive(uint64_t file_no)
{
	struct fixture_file file;

	make_file(&file, file_no);
	fixture_seal(&file);
	fixture_file_end(&file);
	fixture_compress(&file, NULL);
}

static void make_many(uint64_t count)
{
	for (uint64_t i = 1; i <= count; i++) {
		if (i % 2 == 0)
			make_archive(i);
		else
			make_sealed(i);
	}
}

static void delete_file(uint64_t file_no, const char *suffix)
{
	char path[160];

	fixture_path(&fixture, path, file_no, suffix);
	cr_assert_eq(unlink(path), 0);
}

static struct shmlog_reader *open_log(bool follow)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader = NULL;

	options.follow = follow;
	cr_assert_eq(shmlog_reader_open(fixture.dir, &options, &reader), 0);
	reader->feed.sys = &sys;
	opened = read_bytes = 0;
	return reader;
}

static void expect_next(struct shmlog_reader *reader, const char *expected)
{
	struct shmlog_record record = { .size = sizeof(record) };

	cr_assert_eq(shmlog_reader_next(reader, &record), 0, "%s", shmlog_reason());
	(void)snprintf(text, sizeof(text), "%.*s", (int)record.length, (const char *)record.data);
	cr_expect_str_eq(text, expected);
}

static void expect_rest(struct shmlog_reader *reader, const char *expected)
{
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, expected);
}

static void expect_page(struct shmlog_reader *reader, uint64_t page_no)
{
	struct shmlog_page page = { .size = sizeof(page) };

	cr_assert_eq(shmlog_reader_get_page(reader, page_no, &page), 0, "page %lu: %s", page_no,
		     shmlog_reason());
	cr_expect_eq(page.page_no, page_no);
	cr_expect_eq(page.file_no, (page_no - 1) / PAGES + 1);
}

/* ---- jumps ---- */

Test(reader_catalog, a_jump_opens_one_file_however_many_there_are)
{
	struct shmlog_reader *reader;
	unsigned most = 0;

	make_many(200);
	reader = open_log(false);
	expect_page(reader, 77);
	cr_expect_leq(opened, 202, "each once, and the one with the page");
	for (unsigned i = 0; i < 500; i++) {
		opened = 0;
		expect_page(reader, 1 + (uint64_t)random() % (200 * PAGES));
		most = opened > most ? opened : most;
	}
	cr_expect_eq(most, 1);
	opened = 0;
	expect_page(reader, 100);
	expect_page(reader, 101);
	cr_expect_leq(opened, 1, "pages 100 and 101 are of one file");
	shmlog_reader_close(&reader);
}

Test(reader_catalog, a_time_is_found_by_opening_one_file)
{
	struct shmlog_reader *reader;
	unsigned most = 0;

	make_many(200);
	reader = open_log(false);
	cr_assert_eq(shmlog_reader_seek_time(reader, FIXTURE_EPOCH_NS), 0);
	for (unsigned i = 0; i < 500; i++) {
		const uint64_t page_no = (uint64_t)random() % 200 * PAGES + 2;

		opened = 0;
		cr_assert_eq(shmlog_reader_seek_time(reader,
						     FIXTURE_EPOCH_NS + (int64_t)ticks_of(page_no)),
			     0);
		most = opened > most ? opened : most;
		(void)snprintf(text + 100, 24, "%lu", page_no);
		expect_next(reader, text + 100);
	}
	cr_expect_eq(most, 1);
	shmlog_reader_close(&reader);
}

Test(reader_catalog, since_passes_by_what_is_older_with_one_look_at_each_file)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;

	make_many(100);
	options.since_ns = FIXTURE_EPOCH_NS + (int64_t)ticks_of(100 * PAGES);
	cr_assert_eq(shmlog_reader_open(fixture.dir, &options, &reader), 0);
	reader->feed.sys = &sys;
	opened = 0;
	expect_rest(reader, "300");
	cr_expect_leq(opened, 103);
	shmlog_reader_close(&reader);
}

Test(reader_catalog, the_headers_of_an_open_file_are_walked_once)
{
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_reader *reader;
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	for (unsigned i = 0; i < 60; i++) {
		fixture_data(&file, 1, 10 + i, "x");
		fixture_page(&file, 10 + i);
	}
	cr_assert_eq(sys_real.lock(file.fd, 0, 0), 0);
	reader = open_log(false);
	expect_page(reader, 1);
	cr_assert_eq(reader->feed.current->name.file_no, 1);
	reader->feed.current->log.sys = &sys;
	cr_assert_eq(shmlog_reader_get_page(reader, 61, &page), 0);
	cr_expect_gt(read_bytes, 60 * sizeof(struct page_header));
	for (uint64_t n = 2; n <= 61; n++) {
		read_bytes = 0;
		cr_assert_eq(shmlog_reader_get_page(reader, n, &page), 0);
		cr_expect_eq(page.page_no, n);
		cr_expect_leq(read_bytes, PAGE_ALIGN + 2 * sizeof(struct page_header));
	}
	fixture_data(&file, 1, 100, "new");
	fixture_page(&file, 100);
	cr_expect_eq(shmlog_reader_get_page(reader, 62, &page), 0, "it has grown");
	fixture_file_end(&file);
	shmlog_reader_close(&reader);
}

Test(reader_catalog, a_jump_finds_files_that_came_later)
{
	struct shmlog_reader *reader;

	make_many(3);
	reader = open_log(false);
	expect_page(reader, 9);
	make_sealed(4);
	make_archive(5);
	expect_page(reader, 15);
	expect_page(reader, 1);
	expect_rest(reader, "2 3 5 6 8 9 11 12 14 15");
	shmlog_reader_close(&reader);
}

Test(reader_catalog, a_jump_goes_back_over_volumes)
{
	struct shmlog_reader *reader;
	char from[160], to[160];

	make_many(6);
	for (unsigned volume = 2; volume <= 3; volume++) {
		(void)snprintf(to, sizeof(to), "%s/000000000%u", fixture.dir, volume);
		cr_assert_eq(mkdir(to, 0700), 0);
		for (unsigned i = 2 * volume - 1; i <= 2 * volume; i++) {
			const char *suffix = i % 2 == 0 ? ".shmlog.lz4" : ".shmlog";

			fixture_path(&fixture, from, i, suffix);
			(void)snprintf(to, sizeof(to), "%s/000000000%u/000000000%u%s", fixture.dir,
				       volume, i, suffix);
			cr_assert_eq(rename(from, to), 0);
		}
	}
	reader = open_log(false);
	expect_rest(reader, "2 3 5 6 8 9 11 12 14 15 17 18");
	expect_page(reader, 18);
	expect_rest(reader, "18");
	expect_page(reader, 3);
	expect_rest(reader, "3 5 6 8 9 11 12 14 15 17 18");
	shmlog_reader_close(&reader);
}

Test(reader_catalog, a_jump_finds_a_file_under_its_new_name)
{
	struct shmlog_reader *reader;
	struct fixture_file file;

	make_file(&file, 1);
	fixture_file_end(&file);
	make_sealed(2);
	make_sealed(3);
	reader = open_log(false);
	expect_page(reader, 8);
	expect_page(reader, 2);
	expect_page(reader, 8);
	fixture_path(&fixture, text, 1, ".shmlog.open");
	cr_assert_eq(unlink(text), 0);
	make_archive(1);
	fixture_path(&fixture, text, 2, ".shmlog");
	cr_assert_eq(unlink(text), 0);
	make_archive(2);
	expect_page(reader, 5);
	expect_page(reader, 2);
	expect_rest(reader, "2 3 5 6 8 9");
	shmlog_reader_close(&reader);
}

/* ---- deletion ---- */

Test(reader_catalog, what_retention_deletes_before_it_is_read_is_no_damage)
{
	struct shmlog_reader *reader;

	make_many(6);
	reader = open_log(false);
	expect_next(reader, "2");
	for (uint64_t i = 1; i <= 4; i++)
		delete_file(i, i % 2 == 0 ? ".shmlog.lz4" : ".shmlog");
	expect_rest(reader, "3 14 15 17 18");
	shmlog_reader_close(&reader);
}

Test(reader_catalog, a_hole_behind_a_file_that_is_still_there_is_told)
{
	struct shmlog_reader *reader;

	make_many(6);
	reader = open_log(false);
	expect_next(reader, "2");
	for (uint64_t i = 2; i <= 4; i++)
		delete_file(i, i % 2 == 0 ? ".shmlog.lz4" : ".shmlog");
	expect_rest(reader, "3 ! 14 15 17 18");
	cr_expect(strstr(shmlog_reason(), "4 to 12") != NULL, "%s", shmlog_reason());
	shmlog_reader_close(&reader);
}

Test(reader_catalog, a_duplicate_goes_on_where_files_were_deleted)
{
	struct shmlog_reader *reader, *twin;

	make_many(6);
	reader = open_log(false);
	expect_next(reader, "2");
	expect_next(reader, "3");
	expect_next(reader, "5");
	delete_file(1, ".shmlog");
	delete_file(2, ".shmlog.lz4");
	delete_file(3, ".shmlog");
	cr_assert_eq(shmlog_reader_duplicate(reader, &twin), 0);
	delete_file(4, ".shmlog.lz4");
	expect_rest(reader, "6 14 15 17 18");
	shmlog_reader_close(&reader);
	expect_rest(twin, "6 14 15 17 18");
	shmlog_reader_close(&twin);
}

Test(reader_catalog, a_follower_goes_on_where_files_were_deleted)
{
	struct shmlog_reader *reader;

	make_many(2);
	reader = open_log(true);
	expect_rest(reader, "2 3 5 6");
	make_many(4);
	delete_file(1, ".shmlog");
	delete_file(2, ".shmlog.lz4");
	delete_file(3, ".shmlog");
	make_sealed(5);
	cr_assert_eq(shmlog_reader_wait(reader, NS_PER_S), 0);
	expect_rest(reader, "11 12 14 15");
	shmlog_reader_close(&reader);
}

Test(reader_catalog, a_name_that_changes_while_it_is_listed_is_not_missed)
{
	struct shmlog_reader *reader;

	make_sealed(1);
	reader = open_log(true);
	expect_rest(reader, "2 3");
	make_archive(2);
	make_sealed(3);
	hidden = "0000000002.shmlog.lz4";
	expect_rest(reader, "5 6 8 9");
	cr_expect_null(hidden);
	shmlog_reader_close(&reader);
}

Test(reader_catalog, a_duplicate_between_two_files_knows_of_those_before)
{
	struct shmlog_reader *reader, *twin;

	make_many(2);
	reader = open_log(true);
	expect_rest(reader, "2 3 5 6");
	cr_assert_eq(shmlog_reader_duplicate(reader, &twin), 0);
	make_sealed(5);
	expect_rest(reader, "! 14 15");
	expect_rest(twin, "! 14 15");
	shmlog_reader_close(&reader);
	shmlog_reader_close(&twin);
}

Test(reader_catalog, a_volume_that_is_removed_is_passed)
{
	struct shmlog_reader *reader;
	char from[160], to[160];

	make_many(3);
	(void)snprintf(to, sizeof(to), "%s/0000000002", fixture.dir);
	cr_assert_eq(mkdir(to, 0700), 0);
	fixture_path(&fixture, from, 3, ".shmlog");
	(void)snprintf(to, sizeof(to), "%s/0000000002/0000000003.shmlog", fixture.dir);
	cr_assert_eq(rename(from, to), 0);
	reader = open_log(false);
	expect_next(reader, "2");
	delete_file(1, ".shmlog");
	delete_file(2, ".shmlog.lz4");
	(void)snprintf(to, sizeof(to), "%s/0000000001", fixture.dir);
	cr_assert_eq(rmdir(to), 0);
	expect_rest(reader, "3 8 9");
	shmlog_reader_close(&reader);
}

static void remove_log(void)
{
	fixture_end(&fixture);
}

/* Its file goes on to its end; then it is told, and nothing more is waited for. */
Test(reader_catalog, a_log_that_is_removed_is_told)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader, *follower;

	make_many(3);
	reader = open_log(false);
	follower = open_log(true);
	expect_next(reader, "2");
	expect_rest(follower, "2 3 5 6 8 9");
	remove_log();
	expect_next(reader, "3");
	cr_expect_eq(shmlog_reader_next(reader, &record), -EIO);
	cr_expect(strstr(shmlog_reason(), "removed") != NULL, "%s", shmlog_reason());
	cr_expect_eq(shmlog_reader_wait(follower, 10 * (int64_t)NS_PER_S), 0);
	cr_expect_eq(shmlog_reader_next(follower, &record), -EIO);
	shmlog_reader_close(&reader);
	shmlog_reader_close(&follower);
	fixture_begin(&fixture);
}

Test(reader_catalog, a_log_that_is_removed_under_an_open_file_is_told)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;
	struct fixture_file file;

	make_file(&file, 1);
	cr_assert_eq(sys_real.lock(file.fd, 0, 0), 0);
	reader = open_log(true);
	expect_next(reader, "2");
	remove_log();
	while (shmlog_reader_next(reader, &record) == 0)
		;
	cr_expect(strstr(shmlog_reason(), "removed") != NULL, "%s", shmlog_reason());
	fixture_file_end(&file);
	shmlog_reader_close(&reader);
	fixture_begin(&fixture);
}

/* ---- what does not belong there ---- */

Test(reader_catalog, a_file_that_may_not_be_opened_is_named_and_the_rest_is_read)
{
	struct shmlog_reader *reader;

	make_many(4);
	reader = open_log(false);
	refused = "0000000003";
	expect_rest(reader, "2 3 5 6 ! 11 12");
	cr_expect(strstr(shmlog_reason(), "0000000003.shmlog\": cannot be read: Perm") != NULL,
		  "%s", shmlog_reason());
	shmlog_reader_close(&reader);
}

Test(reader_catalog, two_files_of_one_number_are_named_and_one_is_read)
{
	char from[160], to[160];

	make_many(3);
	fixture_path(&fixture, from, 1, ".shmlog");
	(void)snprintf(to, sizeof(to), "%s/0000000002", fixture.dir);
	cr_assert_eq(mkdir(to, 0700), 0);
	(void)snprintf(to, sizeof(to), "%s/0000000002/0000000001.shmlog", fixture.dir);
	cr_assert_eq(link(from, to), 0);
	fixture_read_path(fixture.dir, text, sizeof(text));
	cr_expect_str_eq(text, "! 2 3 5 6 8 9");
	cr_expect(strstr(shmlog_reason(), "0000000002/0000000001") != NULL);
}

Test(reader_catalog, an_archive_of_something_else_is_named)
{
	char path[160];

	make_many(3);
	fixture_path(&fixture, path, 2, ".shmlog.lz4");
	fixture_scribble(path, 25, "something else than a page", 26);
	fixture_read_path(fixture.dir, text, sizeof(text));
	cr_expect_str_eq(text, "2 3 ! 8 9");
	cr_expect(strstr(shmlog_reason(), "0000000002.shmlog.lz4") != NULL);
	cr_assert_eq(truncate(path, 0), 0);
	fixture_read_path(fixture.dir, text, sizeof(text));
	cr_expect_str_eq(text, "2 3 ! 8 9");
}

Test(reader_catalog, a_damaged_block_of_an_archive_costs_its_page)
{
	static const uint8_t wrong[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uint32_t word;
	char path[160];
	int fd;

	make_archive(1);
	fixture_path(&fixture, path, 1, ".shmlog.lz4");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(pread(fd, &word, sizeof(word), 15), 4);
	close(fd);
	fixture_scribble(path, 15 + 4 + word + 4, wrong, sizeof(wrong));
	fixture_read_path(fixture.dir, text, sizeof(text));
	cr_expect_str_eq(text, "! 3");
}

/* ---- streams ---- */

Test(reader_catalog, archives_through_lz4_and_a_pipe_are_one_log)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;
	char command[256];
	FILE *stream;

	for (uint64_t i = 1; i <= 5; i++)
		make_archive(i);
	(void)snprintf(command, sizeof(command), "cat %s/*/*.lz4 | lz4 -dc", fixture.dir);
	for (unsigned some = 0; some < 2; some++) {
		stream = popen(command, "r");
		cr_assert_not_null(stream);
		options.since_ns = some ? FIXTURE_EPOCH_NS + (int64_t)ticks_of(6) : INT64_MIN;
		options.until_ns = some ? FIXTURE_EPOCH_NS + (int64_t)ticks_of(9) : INT64_MAX;
		cr_assert_eq(shmlog_reader_open_fd(fileno(stream), &options, &reader), 0);
		expect_rest(reader, some ? "6 8 9" : "2 3 5 6 8 9 11 12 14 15");
		shmlog_reader_close(&reader);
		cr_assert_eq(pclose(stream), 0);
	}
}
