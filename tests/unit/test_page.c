/*
 * test_page.c - build, check and walk one page.
 */
#include "page.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static _Alignas(4096) uint8_t page[PAGE_MAX];
static const struct page_stamp stamp = { .page_no = 7,
					 .segment_id = 1,
					 .salt = 0x5a17,
					 .ticks_per_s = NS_PER_S,
					 .sample_ticks = 1000,
					 .sample_realtime_ns = 5000 };

static void add(struct page_builder *builder, uint8_t kind, uint64_t ticks, const char *text)
{
	const struct record_header header = {
		.length = (uint32_t)strlen(text), .source = 1, .kind = kind, .ticks = ticks
	};

	page_append(builder, &header, text);
}

/* Two DATA records and a note. */
static uint32_t build_small(void)
{
	struct page_builder builder;

	memset(page, 0xee, sizeof(page));
	page_begin(&builder, page, PAGE_DATA);
	add(&builder, RECORD_DATA, 300, "first");
	add(&builder, RECORD_NOTE, 900, "note");
	add(&builder, RECORD_DATA, 200, "second!");
	return page_finish(&builder, &stamp);
}

static uint32_t header_used(void)
{
	return ((const struct page_header *)(const void *)page)->used;
}

Test(page, what_was_built_is_whole_and_comes_back_in_order)
{
	const uint32_t length = build_small();
	const struct page_header *header = (const void *)page;
	struct page_cursor cursor = { 0 };
	struct record_header record;
	const void *payload;

	cr_assert_eq(length, 4096);
	cr_assert_eq(page_check(page, length, stamp.salt), 0);
	cr_expect_eq(header->records, 3);
	cr_expect_eq(header->first_ticks, 200);
	cr_expect_eq(header->last_ticks, 300);
	cr_expect_eq(header->page_no, 7);
	cr_assert_eq(page_next_record(page, &cursor, &record, &payload), 1);
	cr_expect_arr_eq(payload, "first", 5);
	cr_assert_eq(page_next_record(page, &cursor, &record, &payload), 1);
	cr_expect_eq(record.kind, RECORD_NOTE);
	cr_assert_eq(page_next_record(page, &cursor, &record, &payload), 1);
	cr_expect_eq(record.length, 7);
	cr_expect_arr_eq(payload, "second!", 7);
	cr_assert_eq(page_next_record(page, &cursor, &record, &payload), 0);
}

Test(page, every_byte_that_means_something_is_protected)
{
	const uint32_t length = build_small();
	const uint32_t used = header_used();

	for (uint32_t at = 0; at < used; at++) {
		page[at] ^= 0x10;
		cr_expect_neq(page_check(page, length, stamp.salt), 0, "byte %u", at);
		page[at] ^= 0x10;
	}
	cr_expect_eq(page_check(page, length, stamp.salt), 0);
}

Test(page, every_bit_of_the_header_is_protected)
{
	const uint32_t length = build_small();

	for (uint32_t bit = 0; bit < sizeof(struct page_header) * 8; bit++) {
		page[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cr_expect_neq(page_check(page, length, stamp.salt), 0, "bit %u", bit);
		page[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

/* ---- many records at a time ---- */

static _Alignas(4096) uint8_t run_page[PAGE_MAX];
static uint8_t payloads[8 * 1024];

/* Lengths around all multiples of 8, and some that are no piece; sources are longer than a piece.
 */
static uint32_t length_of(unsigned record)
{
	return record % 5 == 4 ? 100 + record * 37 % 3000 : record % (PAGE_RUN_PIECE + 1);
}

static struct record_header nth(unsigned record)
{
	return (struct record_header){ .length = length_of(record),
				       .source = (uint16_t)record,
				       .kind = RECORD_DATA,
				       .ticks = 1000 + record * 7919 % 500 };
}

/* A note, then records until the page is full; both pages begin with other bytes in memory. */
static unsigned fill_one_by_one(struct page_builder *builder)
{
	struct record_header header;
	unsigned record = 0;

	memset(page, 0xee, sizeof(page));
	page_begin(builder, page, PAGE_DATA);
	page_reserve(builder, 160);
	add(builder, RECORD_NOTE, 1, "note");
	while (header = nth(record), (int64_t)header.length <= page_room(builder, PAGE_RUN_PIECE)) {
		page_append(builder, &header, payloads + record % 64);
		record++;
	}
	return record;
}

static unsigned fill_by_run(struct page_builder *builder)
{
	struct record_header header;
	struct page_run run;
	unsigned record = 0;

	memset(run_page, 0x77, sizeof(run_page));
	page_begin(builder, run_page, PAGE_DATA);
	page_reserve(builder, 160);
	add(builder, RECORD_NOTE, 1, "note");
	page_run_begin(builder, &run);
	while (header = nth(record), page_run_has_room(&run, header.length)) {
		page_run_append(&run, &header, payloads + record % 64,
				header.length <= PAGE_RUN_PIECE);
		record++;
	}
	page_run_end(builder, &run);
	return record;
}

Test(page, a_run_of_records_is_what_each_for_itself_would_be)
{
	struct page_builder builder, by_run;
	uint32_t length;

	for (size_t i = 0; i < sizeof(payloads); i++)
		payloads[i] = (uint8_t)(i * 31 + 1);
	cr_assert_eq(fill_one_by_one(&builder), fill_by_run(&by_run));
	cr_assert_gt(builder.records, 400);
	length = page_finish(&builder, &stamp);
	cr_assert_eq(page_finish(&by_run, &stamp), length);
	cr_assert_arr_eq(page, run_page, length);
}

Test(page, a_run_without_a_record_changes_nothing)
{
	struct page_builder builder;
	struct page_run run;

	page_begin(&builder, page, PAGE_DATA);
	add(&builder, RECORD_DATA, 300, "one");
	page_run_begin(&builder, &run);
	page_run_end(&builder, &run);
	(void)page_finish(&builder, &stamp);
	cr_expect_eq(((const struct page_header *)(const void *)page)->records, 1);
	cr_expect_eq(((const struct page_header *)(const void *)page)->first_ticks, 300);
}

Test(page, another_files_salt_does_not_fit)
{
	const uint32_t length = build_small();

	cr_expect_eq(page_check(page, length, stamp.salt + 1), -EBADMSG);
}

Test(page, a_page_that_was_cut_off_is_bad)
{
	const uint32_t length = build_small();

	cr_expect_eq(page_check(page, length - 1, stamp.salt), -EBADMSG);
	cr_expect_eq(page_check(page, 128, stamp.salt), -EBADMSG);
	cr_expect_eq(page_check(page, 127, stamp.salt), -EBADMSG);
	cr_expect_eq(page_check(page, 0, stamp.salt), -EBADMSG);
}

Test(page, numbers_begin_with_1)
{
	const struct page_stamp unnumbered = { .salt = stamp.salt };
	struct page_builder builder;

	page_begin(&builder, page, PAGE_DATA);
	cr_expect_eq(page_check(page, page_finish(&builder, &unnumbered), stamp.salt), -EBADMSG);
}

Test(page, zeros_are_not_written_yet)
{
	memset(page, 0, 4096);
	cr_expect_eq(page_check(page, 4096, 0), -ENODATA);
}

Test(page, the_rest_behind_used_is_zero)
{
	const uint32_t length = build_small();

	for (uint32_t at = header_used(); at < length; at++)
		cr_assert_eq(page[at], 0, "byte %u", at);
}

Test(page, room_is_exact)
{
	static uint8_t payload[PAGE_MAX];
	struct record_header header = { .kind = RECORD_DATA };
	struct page_builder builder;

	page_begin(&builder, page, PAGE_DATA);
	header.length = (uint32_t)page_room(&builder, 0);
	cr_assert_eq(header.length, PAGE_MAX - 128 - 16);
	page_append(&builder, &header, payload);
	cr_expect_lt(page_room(&builder, 0), 0);
	cr_expect_eq(page_finish(&builder, &stamp), PAGE_MAX);
	cr_expect_eq(page_check(page, PAGE_MAX, stamp.salt), 0);
}

Test(page, reserved_room_is_kept_for_entries)
{
	const struct cursor_entry cursor_entry = {
		.header = { .type = ENTRY_CURSOR, .size = sizeof(cursor_entry), .lane = 3 },
		.position = 42
	};
	static uint8_t payload[PAGE_MAX];
	struct record_header header = { .kind = RECORD_DATA };
	const struct entry_header *entry;
	struct page_cursor cursor = { 0 };
	struct page_builder builder;
	uint32_t length;

	page_begin(&builder, page, PAGE_DATA);
	page_reserve(&builder, sizeof(cursor_entry));
	header.length = (uint32_t)page_room(&builder, 0);
	page_append(&builder, &header, payload);
	page_append_entry(&builder, &cursor_entry.header);
	length = page_finish(&builder, &stamp);
	cr_assert_eq(page_check(page, length, stamp.salt), 0);
	cr_assert_eq(page_next_entry(page, &cursor, &entry), 1);
	cr_expect_eq(((const struct cursor_entry *)(const void *)entry)->position, 42);
	cr_expect_eq(page_next_entry(page, &cursor, &entry), 0);
}

Test(page, a_page_without_entries_has_none)
{
	const struct entry_header *entry;
	struct page_cursor cursor = { 0 };

	(void)build_small();
	cr_expect_eq(page_next_entry(page, &cursor, &entry), 0);
}

Test(page, a_record_that_leaves_the_page_ends_the_walk)
{
	struct page_cursor cursor = { 0 };
	struct record_header record;
	const void *payload;
	const uint32_t huge = UINT32_MAX;

	(void)build_small();
	memcpy(page + 128, &huge, sizeof(huge));
	cr_expect_eq(page_next_record(page, &cursor, &record, &payload), -EBADMSG);
	cr_expect_eq(page_next_record(page, &cursor, &record, &payload), 0);
}

Test(page, walks_over_random_bytes_stay_inside_and_end)
{
	static _Alignas(8) uint8_t noise[8192];
	struct page_header *header = (void *)noise;
	struct record_header record;
	const struct entry_header *entry;
	const void *payload;

	srandom(1);
	for (int round = 0; round < 20000; round++) {
		struct page_cursor records = { 0 }, entries = { 0 };

		for (size_t i = 0; i < 512; i += sizeof(uint32_t))
			*(uint32_t *)(void *)(noise + i) = (uint32_t)random() & (uint32_t)random();
		header->length = 4096;
		header->kind = (uint8_t)(1 + round % 3);
		while (page_next_record(noise, &records, &record, &payload) == 1) {
			cr_assert_geq((const uint8_t *)payload, noise);
			cr_assert_leq((const uint8_t *)payload + record.length, noise + 4096);
		}
		while (page_next_entry(noise, &entries, &entry) == 1)
			cr_assert_leq((const uint8_t *)entry + entry->size, noise + 4096);
	}
}

Test(page, a_file_page_needs_no_salt_and_tells_its_own)
{
	const struct file_info info = { .format_major = FORMAT_MAJOR, .salt = 17, .ring = "r" };
	struct page_builder builder;
	struct page_cursor cursor = { 0 };
	struct record_header record;
	const void *payload;
	struct file_info read;
	uint32_t length;

	page_begin(&builder, page, PAGE_FILE);
	page_append_info(&builder, &info, sizeof(info));
	add(&builder, RECORD_DATA, 1, "x");
	length = page_finish(&builder, &stamp);
	cr_assert_eq(page_check(page, length, 12345), 0);
	cr_assert_eq(page_file_info(page, &read), 0);
	cr_expect_eq(read.salt, 17);
	cr_expect_str_eq(read.ring, "r");
	cr_assert_eq(page_next_record(page, &cursor, &record, &payload), 1);
	cr_expect_arr_eq(payload, "x", 1);
}

static int read_info(const struct file_info *info)
{
	struct page_builder builder;
	struct file_info read;

	page_begin(&builder, page, PAGE_FILE);
	page_append_info(&builder, info, sizeof(*info));
	(void)page_finish(&builder, &stamp);
	return page_file_info(page, &read);
}

Test(page, unknown_major_versions_and_features_are_refused_minor_ones_are_not)
{
	struct file_info info = { .format_major = FORMAT_MAJOR,
				  .format_minor = 9,
				  .compatible = 8 };

	cr_expect_eq(read_info(&info), 0);
	info.incompatible = 1;
	cr_expect_eq(read_info(&info), -EPROTO);
	info.incompatible = 0;
	info.format_major = FORMAT_MAJOR + 1;
	cr_expect_eq(read_info(&info), -EPROTO);
}

Test(page, a_data_page_holds_no_file_info)
{
	struct file_info info;

	(void)build_small();
	cr_expect_eq(page_file_info(page, &info), -EBADMSG);
}

Test(page, a_larger_header_is_skipped)
{
	uint32_t length = build_small();
	struct page_header *header = (void *)page;
	struct page_cursor cursor = { 0 };
	struct record_header record;
	const void *payload;

	memmove(page + 160, page + 128, header->used - 128);
	header->header_size = 160;
	header->used += 32;
	header->table_offset += 32;
	cr_expect_eq(page_header_check(header), 0);
	cr_assert_eq(page_next_record(page, &cursor, &record, &payload), 1);
	cr_expect_arr_eq(payload, "first", 5);
	(void)length;
}

Test(page, a_full_index_fits_a_seal_page)
{
	static struct index_entry index[FILE_PAGES_MAX];
	const struct seal_info info = { .pages = FILE_PAGES_MAX, .data_records = 3 };
	const struct index_entry *read_index;
	struct seal_trailer trailer;
	struct seal_info read;
	uint32_t length;

	index[FILE_PAGES_MAX - 1].page_no = 8006;
	length = page_build_seal(page, &info, index, 40960, &stamp);
	cr_assert_leq(length, PAGE_MAX);
	cr_assert_eq(page_check(page, length, stamp.salt), 0);
	cr_assert_eq(page_seal_info(page, &read, &read_index), 0);
	cr_expect_eq(read.pages, FILE_PAGES_MAX);
	cr_expect_eq(read_index[FILE_PAGES_MAX - 1].page_no, 8006);
	memcpy(&trailer, page + length - sizeof(trailer), sizeof(trailer));
	cr_expect_eq(trailer.magic, TRAILER_MAGIC);
	cr_expect_eq(trailer.seal_offset, 40960);
	cr_expect_eq(trailer.pages, FILE_PAGES_MAX);
}

Test(page, a_seal_that_counts_more_pages_than_it_holds_is_bad)
{
	struct seal_info info = { .pages = 2 };
	static const struct index_entry index[2];
	const struct index_entry *read_index;
	struct seal_info read;

	(void)page_build_seal(page, &info, index, 0, &stamp);
	info.pages = 4000;
	memcpy(page + sizeof(struct page_header), &info, sizeof(info));
	cr_expect_eq(page_seal_info(page, &read, &read_index), -EBADMSG);
	info.pages = UINT64_MAX;
	memcpy(page + sizeof(struct page_header), &info, sizeof(info));
	cr_expect_eq(page_seal_info(page, &read, &read_index), -EBADMSG);
}

Test(page, a_seal_holds_no_records)
{
	const struct seal_info info = { 0 };
	struct page_cursor cursor = { 0 };
	struct record_header record;
	const void *payload;

	(void)page_build_seal(page, &info, NULL, 0, &stamp);
	cr_expect_eq(page_next_record(page, &cursor, &record, &payload), 0);
}

Test(page, times_follow_from_the_sample_in_both_directions)
{
	struct page_header header = { .sample_ticks = 1000,
				      .sample_realtime_ns = 5000,
				      .ticks_per_s = 2 * UINT64_C(1000000000) };

	cr_expect_eq(page_realtime_ns(&header, 1000), 5000);
	cr_expect_eq(page_realtime_ns(&header, 0), 4500);
	cr_expect_eq(page_realtime_ns(&header, 3000), 6000);
	header.ticks_per_s = 0;
	cr_expect_eq(page_realtime_ns(&header, 1000), INT64_MIN);
}

Test(page, absurd_stamps_give_absurd_times_and_nothing_worse)
{
	const struct page_header header = { .sample_ticks = 1, .ticks_per_s = 1 };
	const struct page_header late = { .sample_ticks = UINT64_MAX, .ticks_per_s = 1 };

	cr_expect_eq(page_realtime_ns(&header, UINT64_MAX), INT64_MAX);
	cr_expect_eq(page_realtime_ns(&late, 0), INT64_MIN + 1);
}
