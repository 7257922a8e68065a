/*
 * test_verify.c - what shmlog_verify() finds, and what it must not; what salvage brings.
 */
#include "lz4_archive.h"
#include "log_fixture.h"
#include "sys.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fixture fixture;
static struct shmlog_verdict verdict;
static char findings[65536];
static char text[65536];

static void set_up(void)
{
	fixture_begin(&fixture);
}

static void tear_down(void)
{
	fixture_end(&fixture);
}

TestSuite(verify, .init = set_up, .fini = tear_down, .timeout = 60);
TestSuite(salvage, .init = set_up, .fini = tear_down, .timeout = 60);

/* ---- logs ---- */

/* FILE page and two DATA pages, "<n>a <n>b | <n>c", each page 4096 bytes long; not sealed. */
static void make_open(struct fixture_file *file, uint64_t file_no)
{
	const uint64_t page_no = (file_no - 1) * 3 + 1, at = page_no * 100;
	char record[16];

	fixture_file_begin(&fixture, file, file_no, page_no, 2);
	(void)snprintf(record, sizeof(record), "%ua", (unsigned)file_no);
	fixture_data(file, 1, at + 10, record);
	record[1] = 'b';
	fixture_data(file, 2, at + 20, record);
	fixture_page(file, at + 20);
	record[1] = 'c';
	fixture_data(file, 1, at + 30, record);
	fixture_page(file, at + 30);
}

static void make_sealed(uint64_t file_no)
{
	struct fixture_file file;

	make_open(&file, file_no);
	fixture_seal(&file);
	fixture_file_end(&file);
}

/* Three sealed files: pages 1 to 9, records 1a to 3c. */
static void make_log(void)
{
	for (uint64_t file_no = 1; file_no <= 3; file_no++)
		make_sealed(file_no);
}

static const char *sealed(uint64_t file_no)
{
	static char path[160];

	fixture_path(&fixture, path, file_no, ".shmlog");
	return path;
}

static void spoil(uint64_t file_no, uint64_t offset)
{
	const uint8_t byte = 0x5a;

	fixture_scribble(sealed(file_no), offset, &byte, 1);
}

static void move(uint64_t from, uint64_t to)
{
	char path[160];

	fixture_path(&fixture, path, to, ".shmlog");
	cr_assert_eq(rename(sealed(from), path), 0);
}

static uint8_t *read_whole(const char *path, size_t *ret_size)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat about;
	uint8_t *bytes;

	cr_assert_geq(fd, 0);
	cr_assert_eq(fstat(fd, &about), 0);
	bytes = aligned_alloc(PAGE_ALIGN, align_up((uint64_t)about.st_size + 1, PAGE_ALIGN));
	cr_assert_eq(read(fd, bytes, (size_t)about.st_size), about.st_size);
	(void)close(fd);
	*ret_size = (size_t)about.st_size;
	return bytes;
}

static void write_whole(const char *path, const void *bytes, size_t size)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	(void)close(fd);
}

static void copy(uint64_t from, uint64_t to)
{
	char path[160];
	size_t size;
	uint8_t *bytes = read_whole(sealed(from), &size);

	fixture_path(&fixture, path, to, ".shmlog");
	write_whole(path, bytes, size);
	free(bytes);
}

/* The archive beside a sealed file, with byte @spoiled changed (SIZE_MAX: none). */
static void compress(uint64_t file_no, size_t spoiled)
{
	char path[160];
	size_t size, archived;
	uint8_t *bytes = read_whole(sealed(file_no), &size);
	uint8_t *archive = lz4_archive_make(bytes, size, &archived);

	if (spoiled != SIZE_MAX)
		archive[spoiled < archived ? spoiled : archived - 1] ^= 0x11;
	fixture_path(&fixture, path, file_no, ".shmlog.lz4");
	write_whole(path, archive, archived);
	free(archive);
	free(bytes);
}

/* The same with a byte changed in the block that holds page @which of the file. */
static void compress_bad_block(uint64_t file_no, unsigned which)
{
	char path[160];
	size_t size, at = 4 + 1 + 1 + 8 + 1;
	uint8_t *archive;
	uint32_t block;

	compress(file_no, SIZE_MAX);
	fixture_path(&fixture, path, file_no, ".shmlog.lz4");
	archive = read_whole(path, &size);
	for (unsigned i = 0; i < which; i++) {
		memcpy(&block, archive + at, sizeof(block));
		at += sizeof(block) + (block & INT32_MAX);
	}
	memset(archive + at + 4, 0xff, 8);
	write_whole(path, archive, size);
	free(archive);
	cr_assert_eq(unlink(sealed(file_no)), 0);
}

/* ---- verdicts ---- */

static void keep_finding(void *context, const char *finding)
{
	char *all = context;
	const size_t length = strlen(all);

	cr_expect_null(strchr(finding, '\n'), "one line: %s", finding);
	(void)snprintf(all + length, sizeof(findings) - length, "%s\n", finding);
}

static int verify_path(const char *path)
{
	findings[0] = '\0';
	verdict = (struct shmlog_verdict){ .size = sizeof(verdict) };
	return shmlog_verify(path, keep_finding, findings, &verdict);
}

static void expect_sound(uint64_t files, uint64_t pages, uint64_t records)
{
	cr_assert_eq(verify_path(fixture.dir), 0, "%s", shmlog_reason());
	cr_expect_eq(verdict.findings, 0, "%s", findings);
	cr_expect_eq(verdict.files, files);
	cr_expect_eq(verdict.pages, pages);
	cr_expect_eq(verdict.records, records);
	cr_expect(verdict.missing_pages == 0 && verdict.bad_bytes == 0 && verdict.unread == 0);
}

/* Exactly one finding, which says @what. */
static void expect_finding(const char *what, uint64_t missing, uint64_t bad)
{
	cr_assert_eq(verify_path(fixture.dir), 0, "%s", shmlog_reason());
	cr_expect_eq(verdict.findings, 1, "%s", findings);
	cr_expect_not_null(strstr(findings, what), "\"%s\" lacks \"%s\"", findings, what);
	cr_expect_eq(verdict.missing_pages, missing);
	cr_expect_eq(verdict.bad_bytes, bad);
}

static struct shmlog_reader *open_salvage(const char *path)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader = NULL;

	options.salvage = 1;
	cr_assert_eq(shmlog_reader_open(path, &options, &reader), 0, "%s", shmlog_reason());
	return reader;
}

static void expect_salvaged(const char *expected)
{
	struct shmlog_reader *reader = open_salvage(fixture.dir);

	fixture_read_all(reader, text, sizeof(text));
	shmlog_reader_close(&reader);
	cr_expect_str_eq(text, expected);
}

Test(verify, a_sound_log)
{
	make_log();
	expect_sound(3, 9, 9);
}

Test(verify, marked_losses_and_what_this_version_does_not_know_are_content)
{
	const struct gap_payload gap = { .lost = { [LOSS_FULL] = 5, [LOSS_BUSY] = 2 } };
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_record(&file, RECORD_GAP, 1, 10, &gap, sizeof(gap));
	fixture_record(&file, 0x90, 1, 10, "new", 3);
	fixture_record(&file, RECORD_NOTE, 0, 10, "note", 4);
	fixture_page(&file, 10);
	page_begin(&file.builder, file.buffer, (enum page_kind)0x85);
	fixture_page(&file, 10);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_sound(1, 3, 0);
	cr_expect(verdict.lost[LOSS_FULL] == 5 && verdict.lost[LOSS_BUSY] == 2);
}

Test(verify, the_oldest_files_may_be_gone)
{
	make_log();
	cr_assert_eq(unlink(sealed(1)), 0);
	expect_sound(2, 6, 6);
}

Test(verify, another_ring_begins_with_other_sums)
{
	struct fixture_file file = { .segment_id = 2, .ticks_per_s = NS_PER_S };

	make_sealed(1);
	fixture.total_records = 0;
	fixture_file_begin_as(&fixture, &file, 2, 4, 1);
	fixture_data(&file, 1, 10, "x");
	fixture_page(&file, 10);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_sound(2, 5, 4);
}

Test(verify, a_spoiled_byte)
{
	make_log();
	spoil(2, 4096 + 130);
	expect_finding("0000000002.shmlog\": bytes 4096 to 8191 are damaged: page 5 is lost", 1,
		       4096);
}

Test(verify, a_page_of_zeros)
{
	static const uint8_t zeros[4096];

	make_log();
	fixture_scribble(sealed(2), 4096, zeros, sizeof(zeros));
	expect_finding("0000000002.shmlog\": bytes 4096 to 8191 are damaged: page 5 is lost", 1,
		       4096);
}

Test(verify, a_spoiled_file_page_whose_salt_is_whole)
{
	make_log();
	spoil(2, 600);
	expect_finding("0000000002.shmlog\": bytes 0 to 4095 are damaged: page 4 is lost", 1, 4096);
}

Test(verify, a_file_page_without_its_salt)
{
	make_log();
	spoil(2, 128 + 16);
	expect_finding("0000000002.shmlog\": bytes 0 to 16383 are damaged: pages 4 to 6 are lost, "
		       "no page in it can be proven",
		       3, 16384);
}

Test(verify, a_file_that_is_cut_off)
{
	make_log();
	cr_assert_eq(truncate(sealed(2), 8192), 0);
	expect_finding("0000000002.shmlog\": cut off: page 6 is lost, and its SEAL page", 1, 0);
	cr_assert_eq(truncate(sealed(3), 8192 + 100), 0);
	cr_assert_eq(verify_path(fixture.dir), 0);
	cr_expect_eq(verdict.findings, 2);
	cr_expect_not_null(strstr(findings, "0000000003.shmlog\": bytes 8192 to 8291 are damaged"),
			   "%s", findings);
}

Test(verify, an_empty_file_under_a_sealed_name)
{
	make_log();
	cr_assert_eq(truncate(sealed(2), 0), 0);
	expect_finding(
		"0000000002.shmlog\": cut off: pages 4 to 6 are lost, no page in it can be proven",
		3, 0);
}

Test(verify, a_spoiled_seal_page)
{
	make_log();
	spoil(2, 12288 + 150);
	expect_finding("0000000002.shmlog\": bytes 12288 to 16383 are damaged: its SEAL page is "
		       "lost, and no other",
		       0, 4096);
	spoil(2, 12288 + 150);
	spoil(3, 12288 + 150);
	cr_assert_eq(verify_path(fixture.dir), 0);
	cr_expect_not_null(strstr(findings, "its SEAL page is lost, and perhaps pages before it"));
}

Test(verify, bytes_behind_the_seal_page)
{
	make_log();
	fixture_scribble(sealed(2), 16384, "rest", 4);
	expect_finding(
		"0000000002.shmlog\": bytes 16384 to 16387 are damaged: what lies behind its "
		"SEAL page is no part of the log",
		0, 4);
}

Test(verify, a_file_in_the_middle_that_is_gone)
{
	make_log();
	cr_assert_eq(unlink(sealed(2)), 0);
	expect_finding("0000000003.shmlog\": pages 4 to 6 are missing before it: lost, or a file "
		       "behind file 1 was removed",
		       3, 0);
}

Test(verify, two_files_with_each_others_names)
{
	make_log();
	move(2, 9);
	move(3, 2);
	move(9, 3);
	cr_assert_eq(verify_path(fixture.dir), 0);
	cr_expect_eq(verdict.findings, 2, "%s", findings);
	cr_expect_not_null(strstr(findings, "0000000002.shmlog\": is file 3 of volume 1"));
	cr_expect_not_null(strstr(findings, "0000000003.shmlog\": is file 2 of volume 1"));
}

Test(verify, a_copy_under_another_number)
{
	make_log();
	copy(2, 4);
	expect_finding(
		"0000000004.shmlog\": is file 2 of volume 1 by its FILE page; name it so, or "
		"remove it if it is a copy",
		0, 0);
}

Test(verify, a_copy_under_its_number_in_another_volume)
{
	char path[160];

	make_log();
	(void)snprintf(path, sizeof(path), "%s/0000000002", fixture.dir);
	cr_assert_eq(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/0000000002/0000000002.shmlog", fixture.dir);
	cr_assert_eq(link(sealed(2), path), 0);
	expect_finding("0000000002/0000000002.shmlog\": is file 2 of volume 1", 0, 0);
}

Test(verify, a_file_of_another_log)
{
	struct fixture_file file;

	make_sealed(1);
	fixture.previous_checksum ^= 1;
	make_open(&file, 2);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_finding("0000000002.shmlog\": continues another page than page 3 of file 1", 0, 0);
}

Test(verify, a_file_with_another_logs_id)
{
	struct file_info info = { 0 };
	struct fixture_file file;
	struct page_builder builder;
	const struct page_stamp stamp = { .page_no = 4, .segment_id = 3 };

	make_sealed(1);
	make_open(&file, 2);
	info = (struct file_info){ .format_major = FORMAT_MAJOR,
				   .salt = file.salt,
				   .log_id = FIXTURE_LOG + 1,
				   .file_no = 2,
				   .volume_no = 1 };
	page_begin(&builder, file.buffer, PAGE_FILE);
	page_append_info(&builder, &info, sizeof(info));
	(void)page_finish(&builder, &stamp);
	fixture_scribble(file.path, 0, file.buffer, PAGE_ALIGN);
	file.index[0].sources = 0;
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_finding("0000000002.shmlog\": is of another log than file 1; move it away", 0, 0);
}

Test(verify, a_file_that_begins_too_early)
{
	struct fixture_file file;

	make_log();
	fixture_file_begin(&fixture, &file, 4, 8, 1);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_finding("0000000004.shmlog\": begins with page 8, which the files before it hold", 0,
		       0);
}

/* ---- what no writer makes, with checksums that are right ---- */

Test(verify, sums_that_are_not_those_of_the_records)
{
	struct fixture_file file;

	make_open(&file, 1);
	fixture.total_records += 7;
	fixture_data(&file, 1, 200, "x");
	fixture_page(&file, 200);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_finding("page 4 counts other records than the page before it and its own", 0, 0);
}

Test(verify, sums_that_shrink_over_a_new_file)
{
	make_sealed(1);
	fixture.total_records -= 2;
	make_sealed(2);
	expect_finding("page 5 counts other records than the page before it and its own", 0, 0);
}

/* A writer that was killed had counted what it had taken; the next one goes on from there. */
Test(verify, sums_that_are_ahead_after_a_new_file)
{
	make_sealed(1);
	fixture.total_records += 100;
	fixture.total_lost += 10;
	make_sealed(2);
	expect_sound(2, 6, 6);
}

Test(verify, an_index_that_lies)
{
	struct fixture_file file;

	make_open(&file, 1);
	file.index[1].records++;
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_finding("its SEAL page has page 2 otherwise in its index", 0, 0);
}

Test(verify, an_index_that_names_no_sources)
{
	struct fixture_file file;

	make_open(&file, 1);
	file.index[0].sources = 0;
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_finding("its SEAL page has page 1 otherwise in its index", 0, 0);
}

Test(verify, a_seal_that_counts_wrong)
{
	struct fixture_file file;

	make_open(&file, 1);
	file.data_records++;
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_finding("its SEAL page counts other records than the file holds", 0, 0);
}

/* The SEAL page of @file as it should be, but for @seal_offset and @missing. */
static void seal_wrong(struct fixture_file *file, uint64_t seal_offset, uint64_t missing)
{
	const struct seal_info info = { .pages = file->pages,
					.data_records = file->data_records,
					.first_ticks = file->first_ticks,
					.last_ticks = file->last_ticks,
					.missing = missing };
	const struct page_stamp stamp = { .page_no = file->page_no,
					  .salt = file->salt,
					  .segment_id = file->segment_id };
	const uint32_t length =
		page_build_seal(file->buffer, &info, file->index, seal_offset, &stamp);

	write_whole(sealed(1), "", 0);
	cr_assert_eq(rename(file->path, sealed(1)), 0);
	fixture_scribble(sealed(1), file->offset, file->buffer, length);
	fixture_file_end(file);
}

Test(verify, a_trailer_that_leads_astray)
{
	struct fixture_file file;

	make_open(&file, 1);
	seal_wrong(&file, file.offset - PAGE_ALIGN, 0);
	expect_finding("its SEAL page ends in a trailer that does not lead to it", 0, 0);
}

Test(verify, a_seal_that_misses_pages_that_are_there)
{
	struct fixture_file file;

	make_open(&file, 1);
	seal_wrong(&file, file.offset, 5);
	expect_finding("its SEAL page does not account for all pages of the file", 0, 0);
}

Test(verify, a_header_that_counts_wrong)
{
	struct fixture_file file;

	make_open(&file, 1);
	fixture_data(&file, 1, 200, "x");
	file.builder.records++;
	fixture_page(&file, 200);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_finding("the header of page 4 says otherwise than its records", 0, 0);
}

Test(verify, a_page_that_never_reached_the_disk)
{
	struct fixture_file file;

	make_open(&file, 1);
	fixture_data(&file, 1, 200, "x");
	fixture_lose_page(&file, 200);
	fixture_data(&file, 1, 210, "y");
	fixture_page(&file, 210);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_finding("bytes 12288 to 16383 are damaged: page 4 is lost", 1, 4096);
}

/* ---- open files ---- */

Test(verify, an_open_file_that_a_writer_holds)
{
	struct fixture_file file;

	make_sealed(1);
	make_open(&file, 2);
	cr_assert_eq(sys_real.lock(file.fd, 0, 0), 0);
	fixture_scribble(file.path, file.offset + 4096, "in flight", 9);
	expect_sound(2, 6, 6);
	fixture_file_end(&file);
}

Test(verify, an_open_file_that_nobody_holds)
{
	struct fixture_file file;

	make_sealed(1);
	make_open(&file, 2);
	fixture_scribble(file.path, file.offset + 4096, "torn", 4);
	fixture_file_end(&file);
	expect_finding(
		"0000000002.shmlog.open\": not recovered: no writer holds it, and 4 bytes lie "
		"behind its last good page",
		0, 0);
}

Test(verify, a_file_page_that_is_torn)
{
	struct fixture_file file;

	make_sealed(1);
	make_open(&file, 2);
	cr_assert_eq(ftruncate(file.fd, 512), 0);
	fixture_file_end(&file);
	expect_finding("0000000002.shmlog.open\": not recovered: no writer holds it, and 512 bytes "
		       "have no whole FILE page before them",
		       0, 0);
}

Test(verify, a_file_made_ahead)
{
	struct fixture_file file;
	char path[160];

	make_sealed(1);
	make_open(&file, 2);
	fixture_path(&fixture, path, 3, ".shmlog.open");
	write_whole(path, "", 0);
	cr_assert_eq(truncate(path, 100000), 0);
	cr_assert_eq(sys_real.lock(file.fd, 0, 0), 0);
	expect_sound(2, 6, 6);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_sound(2, 6, 6);
}

Test(verify, an_open_file_behind_which_a_newer_has_begun)
{
	struct fixture_file first, second;

	make_open(&first, 1);
	make_open(&second, 2);
	cr_assert_eq(sys_real.lock(second.fd, 0, 0), 0);
	expect_sound(2, 6, 6);
	fixture_scribble(first.path, 8192, "bad", 3);
	expect_finding("0000000001.shmlog.open\": bytes 8192 to 12287 are damaged: page 3 is lost",
		       1, 4096);
	fixture_file_end(&first);
	fixture_file_end(&second);
}

/* The disk had failed behind page 2: the next file begins with page 3. */
Test(verify, pages_that_were_written_again)
{
	struct fixture_file file;
	uint64_t checksum;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	fixture_data(&file, 1, 10, "a");
	fixture_page(&file, 10);
	checksum = fixture.previous_checksum;
	fixture_data(&file, 1, 20, "b");
	fixture_page(&file, 20);
	fixture_file_end(&file);
	fixture.previous_checksum = checksum;
	fixture.total_records--;
	fixture_file_begin(&fixture, &file, 2, 3, 1);
	fixture_data(&file, 1, 20, "b");
	fixture_page(&file, 20);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_sound(2, 4, 2);
	expect_salvaged("a b");
}

/* Not even its FILE page was said to have reached the disk: all of it was written again. */
Test(verify, a_file_that_was_given_up)
{
	struct fixture_file file;

	make_open(&file, 1);
	fixture_file_end(&file);
	fixture.previous_checksum = fixture.total_records = 0;
	fixture_file_begin(&fixture, &file, 2, 1, 1);
	fixture_data(&file, 1, 20, "again");
	fixture_page(&file, 20);
	fixture_seal(&file);
	fixture_file_end(&file);
	expect_sound(1, 2, 1);
	expect_salvaged("again");
}

/* ---- archives ---- */

Test(verify, an_archive_and_one_beside_its_file)
{
	make_log();
	compress(1, SIZE_MAX);
	compress(2, SIZE_MAX);
	cr_assert_eq(unlink(sealed(1)), 0);
	expect_sound(3, 9, 9);
}

Test(verify, an_archive_with_a_wrong_checksum)
{
	make_log();
	compress(2, SIZE_MAX - 1);
	cr_assert_eq(unlink(sealed(2)), 0);
	expect_finding("0000000002.shmlog.lz4\": its pages are whole, but its LZ4 frame is damaged",
		       0, 0);
}

Test(verify, a_bad_block_of_an_archive)
{
	make_log();
	compress_bad_block(2, 1);
	expect_finding("0000000002.shmlog.lz4\": bytes 4096 to 8191 are damaged: page 5 is lost", 1,
		       4096);
}

Test(verify, an_archive_of_another_file)
{
	char path[160];

	make_log();
	compress(3, SIZE_MAX);
	cr_assert_eq(unlink(sealed(3)), 0);
	fixture_path(&fixture, path, 2, ".shmlog.lz4");
	fixture_path(&fixture, text, 3, ".shmlog.lz4");
	cr_assert_eq(rename(text, path), 0);
	expect_finding("0000000002.shmlog.lz4\": is file 3 of volume 1", 0, 0);
}

Test(verify, an_archive_that_is_none)
{
	char path[160];

	make_log();
	cr_assert_eq(unlink(sealed(2)), 0);
	fixture_path(&fixture, path, 2, ".shmlog.lz4");
	write_whole(path, "no frame at all", 15);
	cr_assert_eq(verify_path(fixture.dir), 0);
	cr_expect_eq(verdict.findings, 1, "%s", findings);
	cr_expect_eq(verdict.missing_pages, 3);
	cr_expect_not_null(strstr(findings, "0000000002.shmlog.lz4\": "), "%s", findings);
}

/* ---- what is no log ---- */

Test(verify, what_has_a_files_name_and_is_none)
{
	char path[160];

	make_log();
	fixture_path(&fixture, path, 4, ".shmlog");
	cr_assert_eq(mkdir(path, 0700), 0);
	expect_finding("0000000004.shmlog\": cannot be read: has a log file's name and is none", 0,
		       0);
	cr_expect_eq(verdict.unread, 1);
	cr_assert_eq(rmdir(path), 0);
	cr_assert_eq(symlink("nowhere", path), 0);
	expect_finding("0000000004.shmlog\": cannot be read: a link that leads nowhere", 0, 0);
}

Test(verify, one_file)
{
	struct fixture_file file;

	make_log();
	cr_expect_eq(verify_path(sealed(2)), 0);
	cr_expect(verdict.findings == 0 && verdict.pages == 3 && verdict.records == 3, "%s",
		  findings);
	make_open(&file, 4);
	fixture_file_end(&file);
	cr_expect_eq(verify_path(file.path), 0);
	cr_expect_not_null(strstr(findings, "not recovered"), "%s", findings);
}

Test(verify, files_one_behind_the_other)
{
	char path[160];
	uint8_t *bytes, *all = malloc(65536);
	size_t size, at = 0;

	make_log();
	for (uint64_t file_no = 1; file_no <= 3; file_no += 2) {
		bytes = read_whole(sealed(file_no), &size);
		memcpy(all + at, bytes, size);
		at += size;
		free(bytes);
	}
	(void)snprintf(path, sizeof(path), "%s/all", fixture.dir);
	write_whole(path, all, at);
	free(all);
	cr_expect_eq(verify_path(path), 0);
	cr_expect_eq(verdict.pages, 6);
	cr_expect_eq(verdict.missing_pages, 3);
	cr_expect_eq(verdict.findings, 1, "%s", findings);
}

Test(verify, what_is_no_log)
{
	char path[160];

	cr_expect_eq(verify_path(fixture.dir), -EBADMSG);
	cr_expect_eq(verify_path("/nowhere"), -ENOENT);
	(void)snprintf(path, sizeof(path), "%s/text", fixture.dir);
	write_whole(path, "text", 4);
	cr_expect_eq(verify_path(path), -EBADMSG);
	cr_expect_not_null(strstr(shmlog_reason(), "neither a log directory nor a file of one"));
	verdict.size = 1;
	cr_expect_eq(shmlog_verify(path, NULL, NULL, &verdict), -EINVAL);
}

/* ---- salvage ---- */

Test(salvage, a_sound_log)
{
	make_log();
	expect_salvaged("1a 1b 1c 2a 2b 2c 3a 3b 3c");
}

Test(salvage, behind_a_bad_page)
{
	make_log();
	spoil(2, 4096 + 130);
	expect_salvaged("1a 1b 1c 2c ! 3a 3b 3c");
}

/* The salt stands in it all the same; the names do not, and those of the file before are not its.
 */
Test(salvage, behind_a_bad_file_page)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;

	make_log();
	spoil(2, 600);
	expect_salvaged("1a 1b 1c 2a 2b 2c ! 3a 3b 3c");
	reader = open_salvage(fixture.dir);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	cr_expect_eq(memcmp(record.data, "2a", 2), 0);
	cr_expect_str_eq(record.name, "?");
	shmlog_reader_close(&reader);
}

/* Anybody who pushes can make pages that verify with it. */
Test(salvage, a_salt_of_0_proves_nothing)
{
	static const uint8_t zeros[4096];
	struct fixture_file file;

	make_sealed(1);
	fixture_file_begin(&fixture, &file, 2, 4, 1);
	file.salt = 0;
	fixture_data(&file, 1, 1000, "forged");
	fixture_page(&file, 1000);
	fixture_seal(&file);
	fixture_file_end(&file);
	fixture_scribble(sealed(2), 0, zeros, sizeof(zeros));
	expect_salvaged("1a 1b 1c !");
}

Test(salvage, without_a_salt_nothing_is_proven)
{
	make_log();
	spoil(2, 128 + 16);
	expect_salvaged("1a 1b 1c ! 3a 3b 3c");
}

Test(salvage, a_file_that_is_cut_off)
{
	make_log();
	cr_assert_eq(truncate(sealed(2), 8192 + 100), 0);
	expect_salvaged("1a 1b 1c 2a 2b ! 3a 3b 3c");
}

Test(salvage, files_in_the_order_of_their_pages_and_once)
{
	make_log();
	copy(2, 7);
	move(2, 9);
	move(3, 2);
	move(9, 3);
	expect_salvaged("1a 1b 1c 2a 2b 2c 3a 3b 3c");
}

Test(salvage, behind_the_prefix_of_a_file_that_is_not_recovered)
{
	struct fixture_file file;

	make_sealed(1);
	make_open(&file, 2);
	fixture_file_end(&file);
	fixture_scribble(file.path, 4096 + 130, "x", 1);
	expect_salvaged("1a 1b 1c 2c !");
}

Test(salvage, a_page_that_never_came_in_a_file_that_is_not_recovered)
{
	struct fixture_file file;

	make_open(&file, 1);
	fixture_data(&file, 1, 200, "x");
	fixture_lose_page(&file, 200);
	fixture_data(&file, 1, 210, "y");
	fixture_page(&file, 210);
	cr_assert_eq(ftruncate(file.fd, 65536), 0);
	fixture_file_end(&file);
	expect_salvaged("1a 1b 1c y !");
}

Test(salvage, what_a_writer_holds_is_only_not_there_yet)
{
	struct fixture_file file;

	make_sealed(1);
	make_open(&file, 2);
	cr_assert_eq(sys_real.lock(file.fd, 0, 0), 0);
	fixture_scribble(file.path, file.offset, "in flight", 9);
	expect_salvaged("1a 1b 1c 2a 2b 2c");
	fixture_file_end(&file);
}

/* What stands in a payload is no page, not even a FILE page that verifies. */
Test(salvage, a_log_in_a_payload_is_no_log)
{
	struct fixture_file file;
	uint8_t *bytes, *payload = calloc(1, 65536);
	size_t size;

	make_sealed(1);
	bytes = read_whole(sealed(1), &size);
	/* At a multiple of 4096 in the file: behind the FILE page, a header, a record's header. */
	memcpy(payload + 4096 - 144, bytes, size);
	fixture_file_begin(&fixture, &file, 2, 4, 1);
	fixture_record(&file, RECORD_DATA, 1, 1000, payload, 4096 - 144 + (uint32_t)size);
	fixture_page(&file, 1000);
	fixture_data(&file, 1, 1100, "behind");
	fixture_page(&file, 1100);
	fixture_seal(&file);
	fixture_file_end(&file);
	spoil(2, 4096 + 20);
	expect_salvaged("1a 1b 1c behind !");
	free(payload);
	free(bytes);
}

/* A kill between two pages: page 5 is torn, page 6 is whole, both are cut off. */
static void make_torn(uint64_t next_segment)
{
	struct fixture_file file, next = { .segment_id = next_segment, .ticks_per_s = NS_PER_S };
	char torn[200];
	uint8_t *bytes;
	size_t size;

	make_sealed(1);
	make_open(&file, 2);
	bytes = read_whole(file.path, &size);
	(void)snprintf(torn, sizeof(torn), "%s.torn", file.path);
	memset(bytes, 0, 4096);
	memset(bytes + 4096 + 2048, 0, 2048);
	bytes[4096 + 130] ^= 1;
	write_whole(torn, bytes, size);
	free(bytes);
	file.pages = 1;
	file.data_records = 0;
	file.first_ticks = file.last_ticks = 0;
	file.page_no = 5;
	file.offset = 4096;
	fixture_seal(&file);
	fixture_file_end(&file);
	fixture_file_begin_as(&fixture, &next, 3, 5, 1);
	fixture_data(&next, 1, 2000, "3a");
	fixture_page(&next, 2000);
	fixture_seal(&next);
	fixture_file_end(&next);
}

/* The ring held the records of what was cut off. */
Test(salvage, what_was_cut_off_and_written_again)
{
	make_torn(FIXTURE_SEGMENT);
	expect_salvaged("1a 1b 1c 3a");
}

/* The ring was gone: what was cut off stands nowhere else. */
Test(salvage, what_was_cut_off_and_is_nowhere_else)
{
	make_torn(2);
	expect_salvaged("1a 1b 1c 2c ! 3a");
}

Test(salvage, an_archive)
{
	make_log();
	compress(2, SIZE_MAX);
	cr_assert_eq(unlink(sealed(2)), 0);
	expect_salvaged("1a 1b 1c 2a 2b 2c 3a 3b 3c");
}

Test(salvage, behind_a_bad_block_of_an_archive)
{
	make_log();
	compress_bad_block(2, 1);
	expect_salvaged("1a 1b 1c 2c ! 3a 3b 3c");
}

Test(salvage, an_archive_beside_its_damaged_file)
{
	make_log();
	compress(2, SIZE_MAX);
	cr_assert_eq(truncate(sealed(2), 8192), 0);
	expect_salvaged("1a 1b 1c 2a 2b 2c 3a 3b 3c");
}

Test(salvage, by_pages_and_only_forward)
{
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_reader *reader, *twin;
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	unsigned pages = 0;

	make_log();
	reader = open_salvage(fixture.dir);
	cr_expect_eq(shmlog_reader_get_page(reader, 1, &page), -ENOTSUP);
	cr_expect_eq(shmlog_reader_seek_time(reader, 0), -ENOTSUP);
	cr_expect_eq(shmlog_reader_duplicate(reader, &twin), -ENOTSUP);
	while (shmlog_reader_next_page(reader, &page) == 0)
		pages++;
	cr_expect_eq(pages, 12);
	shmlog_reader_close(&reader);
	options.salvage = options.follow = 1;
	cr_expect_eq(shmlog_reader_open(fixture.dir, &options, &reader), -EINVAL);
}

Test(salvage, what_is_no_log)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;

	options.salvage = 1;
	cr_expect_eq(shmlog_reader_open(fixture.dir, &options, &reader), -EBADMSG);
	cr_expect_eq(shmlog_reader_open("/nowhere", &options, &reader), -ENOENT);
}
