/*
 * test_reader_index.c - what is read of a log for a time that is asked for: not more than is
 * needed, and never less than who reads everything would find.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log_fixture.h"
#include "reader.h"

enum { FILES = 4, PAGES = 60, STEP_NS = 200 * NS_PER_MS };

/* What a file is when it is read. */
enum form { FORM_OPEN, FORM_SEALED, FORM_ARCHIVE };

static struct fixture fixture;
static char text[65536];

/* Records, one a line. */
struct lines {
	char line[4000][64];
	size_t count;
};

static struct lines found, expected;
/* How far from its page's DATA a GAP may be stamped: then the order is no longer the same, since a
 * source's records never go before one that was shown. */
static unsigned spread;

static void set_up(void)
{
	fixture_begin(&fixture);
	spread = 0;
}

static void tear_down(void)
{
	fixture_end(&fixture);
}

TestSuite(reader_index, .init = set_up, .fini = tear_down, .timeout = 120);

/* Every page: DATA of three sources; now and then a new binding, a NOTE, and a GAP,
 * which may be stamped a little before or after them. */
static void fill_page(struct fixture_file *file, uint64_t ticks)
{
	const struct gap_payload gap = { .lost = { (uint64_t)random() % 9 + 1 } };
	const uint16_t source = (uint16_t)(random() % 3 + 1);
	const uint64_t off = (uint64_t)random() % (2 * spread + 1);
	const uint64_t gap_at = ticks + STEP_NS / 2 + off * STEP_NS - spread * (uint64_t)STEP_NS;
	char name[32];

	for (unsigned i = 0; i < 3; i++) {
		(void)snprintf(name, sizeof(name), "%lu.%u", file->page_no, i);
		fixture_data(file, (uint16_t)(i + 1), ticks + i * (STEP_NS / 4), name);
	}
	if (random() % 4 == 0) {
		(void)snprintf(name, sizeof(name), "n%lu", file->page_no);
		fixture_source(file, source, (uint32_t)file->page_no, name);
		fixture_data(file, source, ticks + STEP_NS - 1, "bound");
	}
	if (random() % 4 == 0)
		fixture_record(file, RECORD_GAP, source, gap_at, &gap, sizeof(gap));
	if (random() % 4 == 0)
		fixture_record(file, RECORD_NOTE, 0, 0, "note", 4);
}

/* FILES files; the wall clock is set by @set_ns in the middle of the second. */
static void make_log(enum form form, int64_t set_ns)
{
	uint64_t page_no = 1, ticks = NS_PER_S;
	int64_t clock_ns = 0;

	srandom(7);
	for (uint64_t file_no = 1; file_no <= FILES; file_no++) {
		struct fixture_file file = { .segment_id = FIXTURE_SEGMENT,
					     .ticks_per_s = NS_PER_S,
					     .sample_ticks = ticks,
					     .clock_ns = clock_ns };

		fixture_file_begin_as(&fixture, &file, file_no, page_no, 3);
		for (unsigned i = 0; i < PAGES; i++, ticks += STEP_NS) {
			clock_ns += file_no == 2 && i == PAGES / 2 ? set_ns : 0;
			file.clock_ns = clock_ns;
			fill_page(&file, ticks);
			file.sample_ticks = ticks + STEP_NS;
			fixture_page(&file, ticks);
		}
		page_no = file.page_no;
		if (form != FORM_OPEN)
			fixture_seal(&file);
		if (form == FORM_ARCHIVE)
			fixture_compress(&file, NULL);
		fixture_file_end(&file);
	}
}

static struct shmlog_reader *open_log(int64_t since_ns, int64_t until_ns)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader = NULL;

	options.since_ns = since_ns;
	options.until_ns = until_ns;
	cr_assert_eq(shmlog_reader_open(fixture.dir, &options, &reader), 0);
	return reader;
}

static void add(struct lines *to, const struct shmlog_record *record)
{
	(void)snprintf(to->line[to->count++], sizeof(to->line[0]), "%s %d %.*s %lu", record->name,
		       record->kind, (int)record->length,
		       record->data == NULL ? "" : (const char *)record->data, record->lost_total);
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* All records of the time, by whoever chooses: the reader, or we. */
static void read_between(struct lines *to, int64_t since_ns, int64_t until_ns, bool by_reader)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader =
		by_reader ? open_log(since_ns, until_ns) : open_log(INT64_MIN, INT64_MAX);
	int r;

	to->count = 0;
	while ((r = shmlog_reader_next(reader, &record)) == 0 || r == -EBADMSG)
		if (r == 0 && record.time_ns >= since_ns && record.time_ns <= until_ns)
			add(to, &record);
	cr_assert_eq(r, -ENODATA);
	shmlog_reader_close(&reader);
	if (spread > 0)
		qsort(to->line, to->count, sizeof(to->line[0]), compare_lines);
}

static int64_t any_below(int64_t limit)
{
	return (random() << 31 | random()) % limit;
}

/* Ranges that begin and end anywhere, also before and behind everything. */
static void expect_all_ranges(void)
{
	const int64_t length_ns = (int64_t)FILES * PAGES * STEP_NS;

	for (unsigned i = 0; i < 150; i++) {
		const int64_t since_ns =
			FIXTURE_EPOCH_NS + any_below(length_ns + 4 * (int64_t)NS_PER_S);
		const int64_t until_ns = since_ns + any_below(i % 2 == 0 ? NS_PER_S : length_ns);
		const int64_t from_ns = i % 5 == 0 ? INT64_MIN : since_ns;
		const int64_t to_ns = i % 5 == 1 ? INT64_MAX : until_ns;

		read_between(&expected, from_ns, to_ns, false);
		read_between(&found, from_ns, to_ns, true);
		cr_assert_eq(found.count, expected.count, "since %ld until %ld", from_ns, to_ns);
		for (size_t k = 0; k < found.count; k++)
			cr_assert_str_eq(found.line[k], expected.line[k]);
	}
}

Test(reader_index, of_open_files_a_time_is_what_the_records_say)
{
	make_log(FORM_OPEN, 0);
	expect_all_ranges();
}

Test(reader_index, of_sealed_files_a_time_is_what_the_records_say)
{
	make_log(FORM_SEALED, 0);
	expect_all_ranges();
}

Test(reader_index, of_archives_a_time_is_what_the_records_say)
{
	make_log(FORM_ARCHIVE, 0);
	expect_all_ranges();
}

Test(reader_index, losses_a_little_before_or_behind_their_page_are_found)
{
	spread = 4;
	make_log(FORM_SEALED, 0);
	expect_all_ranges();
}

Test(reader_index, a_clock_that_was_set_forward_hides_nothing)
{
	make_log(FORM_SEALED, 10 * (int64_t)NS_PER_S);
	expect_all_ranges();
}

Test(reader_index, a_clock_that_was_set_back_hides_nothing)
{
	make_log(FORM_SEALED, -6 * (int64_t)NS_PER_S);
	expect_all_ranges();
}

static struct sys counting;
static unsigned reads;

static ssize_t counting_pread(int fd, void *buffer, size_t size, off_t offset)
{
	reads++;
	return sys_real.pread(fd, buffer, size, offset);
}

/* How often the disk is asked for all that lies between. */
static unsigned count_reads(int64_t since_ns, int64_t until_ns)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader = open_log(since_ns, until_ns);

	counting = sys_real;
	counting.pread = counting_pread;
	reader->feed.sys = &counting;
	reads = 0;
	while (shmlog_reader_next(reader, &record) == 0)
		;
	shmlog_reader_close(&reader);
	return reads;
}

Test(reader_index, pages_of_another_time_are_not_read)
{
	const int64_t third_ns = FIXTURE_EPOCH_NS + NS_PER_S + 2 * PAGES * (int64_t)STEP_NS;
	unsigned all, some;

	make_log(FORM_SEALED, 0);
	all = count_reads(INT64_MIN, INT64_MAX);
	some = count_reads(third_ns + 2 * (int64_t)NS_PER_S, third_ns + 2 * (int64_t)NS_PER_S + 1);
	cr_expect_gt(all, (FILES - 1) * PAGES);
	/* Of the third file a second around it, and what binds sources: some of them. */
	cr_expect_lt(some, all / 5, "%u of %u", some, all);
}

Test(reader_index, a_damaged_page_of_another_time_is_none_of_our_business)
{
	struct shmlog_reader *reader;
	struct fixture_file file;
	char path[160];

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	for (uint64_t i = 1; i <= 9; i++) {
		fixture_data(&file, 1, i * 10 * NS_PER_S, "x");
		fixture_page(&file, i * 10 * NS_PER_S);
	}
	fixture_seal(&file);
	fixture_file_end(&file);
	fixture_path(&fixture, path, 1, ".shmlog");
	for (uint64_t i = 1; i <= 9; i++)
		if (i != 5)
			fixture_scribble(path, i * 4096 + 150, "damage", 6);
	reader = open_log(FIXTURE_EPOCH_NS + 50 * (int64_t)NS_PER_S,
			  FIXTURE_EPOCH_NS + 50 * (int64_t)NS_PER_S);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "x");
	shmlog_reader_close(&reader);
}

/* The index passes by pages, not by holes between them. */
Test(reader_index, pages_that_are_missing_are_told_whatever_the_time)
{
	struct shmlog_reader *reader;
	struct fixture_file file;

	fixture_file_begin(&fixture, &file, 1, 1, 1);
	for (uint64_t i = 1; i <= 9; i++) {
		fixture_data(&file, 1, i * 10 * NS_PER_S, "x");
		if (i == 3)
			fixture_lose_page(&file, i);
		else
			fixture_page(&file, i * 10 * NS_PER_S);
	}
	fixture_seal(&file);
	fixture_file_end(&file);
	reader = open_log(FIXTURE_EPOCH_NS + 80 * (int64_t)NS_PER_S, INT64_MAX);
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, "! x x");
	shmlog_reader_close(&reader);
}

/* Records from @reader on, in their order: what @at and later has. */
Test(reader_index, seeking_a_time_finds_its_first_page_in_every_form)
{
	const enum form forms[] = { FORM_OPEN, FORM_SEALED, FORM_ARCHIVE };
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;
	char path[160];

	for (size_t form = 0; form < COUNT_OF(forms); form++) {
		make_log(forms[form], 0);
		reader = open_log(INT64_MIN, INT64_MAX);
		for (unsigned i = 0; i < 200; i++) {
			const unsigned k = (unsigned)random() % (FILES * PAGES);
			const uint64_t page_no = k + 2 + k / PAGES;
			const int64_t time_ns = FIXTURE_EPOCH_NS + NS_PER_S + (int64_t)k * STEP_NS;

			cr_assert_eq(shmlog_reader_seek_time(reader, time_ns), 0);
			cr_assert_eq(shmlog_reader_next(reader, &record), 0);
			cr_assert_eq(record.page_no, page_no, "%u", k);
			cr_assert_eq(shmlog_reader_get_page(reader, page_no, &page), 0);
			cr_assert_eq(page.page_no, page_no);
			cr_assert_eq(shmlog_reader_next(reader, &record), 0);
			cr_assert(record.kind == SHMLOG_NOTE || strcmp(record.name, "?") != 0);
		}
		shmlog_reader_close(&reader);
		for (unsigned i = 1; i <= FILES && forms[form] != FORM_ARCHIVE; i++) {
			fixture_path(&fixture, path, i,
				     forms[form] == FORM_OPEN ? ".shmlog.open" : ".shmlog");
			cr_assert_eq(unlink(path), 0);
		}
	}
}

/* Names as they are by reading from the beginning, and after a jump to each page. */
Test(reader_index, after_a_jump_every_record_has_its_name)
{
	static char names[FILES * (PAGES + 1) + 1][64];
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_reader *reader;

	make_log(FORM_ARCHIVE, 0);
	reader = open_log(INT64_MIN, INT64_MAX);
	reader->options.unmerged = 1;
	while (shmlog_reader_next(reader, &record) == 0)
		if (names[record.page_no][0] == '\0')
			(void)snprintf(names[record.page_no], sizeof(names[0]), "%s", record.name);
	for (uint64_t i = FILES * (PAGES + 1); i > 0; i--) {
		cr_assert_eq(shmlog_reader_get_page(reader, i, &page), 0);
		if (page.kind == PAGE_FILE)
			continue;
		cr_assert_eq(shmlog_reader_next(reader, &record), 0);
		cr_assert_eq(record.page_no, i);
		cr_assert_str_eq(record.name, names[i], "page %lu", i);
	}
	shmlog_reader_close(&reader);
}
