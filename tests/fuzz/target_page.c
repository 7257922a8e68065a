/*
 * target_page.c - page_check() and the walks over a page's records and entries (lib/page.h).
 *
 * A page is built, spoiled, and gets a right checksum again. It lies in memory of exactly its size.
 * The oracle walks it a second way, from docs/FORMAT.md.
 */
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "fuzz.h"
#include "page.h"

enum { SALT = 4711, RECORDS_MAX = 64 };

static uint8_t page[PAGE_MAX + PAGE_ALIGN] __attribute__((aligned(4096)));

/* Fields of the header. */
static const uint16_t places[] = { 4,  8,  9,  10, 12,  16,  24,  40,  44,  48,  56, 64,
				   72, 80, 88, 96, 104, 128, 132, 134, 136, 144, 0 };

static uint32_t build(struct bytes *input)
{
	static const uint8_t payload[256];
	const struct page_stamp stamp = { .page_no = 2, .salt = SALT, .ticks_per_s = 1000 };
	const enum page_kind kind = take(input, 1) % 4 == 1 ? PAGE_FILE : PAGE_DATA;
	const struct file_info info = { .format_major = FORMAT_MAJOR, .salt = SALT };
	struct marked_entry entry = { .header = { ENTRY_MARKED, sizeof(entry), 1, 0 } };
	const uint32_t records = take_below(input, RECORDS_MAX);
	const uint32_t entries = take_below(input, 8);
	struct page_builder builder;

	page_begin(&builder, page, kind);
	if (kind == PAGE_FILE)
		page_append_info(&builder, &info, sizeof(info));
	page_reserve(&builder, entries * sizeof(entry));
	for (uint32_t i = 0; i < records; i++) {
		const struct record_header header = { .length = (uint32_t)take(input, 1),
						      .kind = (uint8_t)(take(input, 1) % 6),
						      .ticks = i };
		page_append(&builder, &header, payload);
	}
	for (uint32_t i = 0; i < entries; i++)
		page_append_entry(&builder, &entry.header);
	return page_finish(&builder, &stamp);
}

static uint32_t build_seal(struct bytes *input)
{
	static struct index_entry index[256];
	const struct page_stamp stamp = { .page_no = 9, .salt = SALT };
	const struct seal_info info = { .pages = take(input, 1) };

	return page_build_seal(page, &info, index, take(input, 2), &stamp);
}

static uint64_t right_checksum(uint8_t *bytes, uint32_t used, bool salted)
{
	static uint8_t copy[PAGE_MAX];

	memcpy(copy, bytes, 16);
	memcpy(copy + 16, bytes + 24, used - 24);
	return XXH3_64bits_withSeed(copy, used - 8, salted ? SALT : 0);
}

static void correct(uint8_t *bytes, size_t size)
{
	struct page_header header;

	memcpy(&header, bytes, sizeof(header));
	if (header.used < sizeof(header) || header.used > min_u64(size, PAGE_MAX))
		return;
	header.checksum = right_checksum(bytes, header.used, header.kind != PAGE_FILE);
	memcpy(bytes + offsetof(struct page_header, checksum), &header.checksum, 8);
}

static uint32_t field(const uint8_t *bytes, size_t at, size_t width)
{
	uint32_t value = 0;

	memcpy(&value, bytes + at, width);
	return value;
}

/* Where the next record must be by FORMAT.md; 0: none; UINT32_MAX: it is broken. */
static uint32_t step_record(const uint8_t *bytes, uint32_t at, uint32_t end)
{
	if (at >= end)
		return 0;
	if (end - at < 16 || field(bytes, at, 4) > end - at - 16)
		return UINT32_MAX;
	return at + 16 + (field(bytes, at, 4) + 7) / 8 * 8;
}

static void check_records(const uint8_t *bytes, uint32_t length)
{
	const uint8_t kind = bytes[8];
	uint32_t at = field(bytes, 10, 2) + (kind == PAGE_FILE ? 416 : 0);
	const uint32_t end = kind <= PAGE_DATA ? field(bytes, 44, 4) : 0;
	struct page_cursor cursor = { 0 };
	struct record_header header;
	const void *payload;
	uint32_t steps = 0, next;
	int r;

	while ((r = page_next_record(bytes, &cursor, &header, &payload)) > 0) {
		const uint8_t *from = payload;

		next = step_record(bytes, at, end);
		must(next != 0 && next != UINT32_MAX, "page: a record where none can be");
		must(from == bytes + at + 16 && header.length == field(bytes, at, 4),
		     "page: a record that is not there");
		must(from + header.length <= bytes + length, "page: a record leaves its page");
		must(++steps <= PAGE_MAX / 16, "page: its records do not end");
		(void)hash_bytes(0, payload, header.length);
		at = next;
	}
	must(step_record(bytes, at, end) == (r < 0 ? UINT32_MAX : 0), "page: a record is missing");
}

static void check_entries(const uint8_t *bytes, uint32_t length)
{
	struct page_cursor cursor = { 0 };
	const struct entry_header *entry;
	uint32_t steps = 0, at = field(bytes, 44, 4);

	while (page_next_entry(bytes, &cursor, &entry) > 0) {
		const uint8_t *from = (const uint8_t *)entry;

		must(from == bytes + at && from + entry->size <= bytes + length,
		     "page: an entry leaves its page");
		must(++steps <= PAGE_MAX / 8, "page: its entries do not end");
		(void)hash_bytes(0, entry, entry->size);
		at += entry->size;
	}
}

static void check_infos(const uint8_t *bytes, uint32_t length)
{
	const struct index_entry *index;
	struct file_info file;
	struct seal_info seal;

	if (page_file_info(bytes, &file) == 0)
		must(strlen(file.host) < sizeof(file.host) && strlen(file.ring) < sizeof(file.ring),
		     "page: a text of the FILE page does not end");
	if (page_seal_info(bytes, &seal, &index) < 0)
		return;
	must((const uint8_t *)(index + seal.pages) <= bytes + length,
	     "page: the index leaves its page");
	(void)hash_bytes(0, index, seal.pages * sizeof(*index));
}

static void check_times(struct bytes *input, const uint8_t *bytes)
{
	struct page_header header;
	int64_t time_ns;

	memcpy(&header, bytes, sizeof(header));
	time_ns = page_realtime_ns(&header, take_odd(input, 8));
	must((time_ns == INT64_MIN) == (header.ticks_per_s == 0), "page: a time without a clock");
}

static void check(struct bytes *input, const uint8_t *bytes, size_t size)
{
	uint32_t length;

	if (page_check(bytes, size, SALT) < 0)
		return;
	length = field(bytes, 0, 4);
	must(length <= size && length <= PAGE_MAX && length % PAGE_ALIGN == 0,
	     "page: a length of %u", length);
	check_records(bytes, length);
	check_entries(bytes, length);
	check_infos(bytes, length);
	check_times(input, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes input = { data, size };
	const uint8_t mode = (uint8_t)take(&input, 1);
	uint32_t length;
	uint8_t *exact;

	memset(page, 0, PAGE_ALIGN);
	if (mode & 1) {
		const struct bytes raw = take_bytes(&input, PAGE_ALIGN);

		memcpy(page, raw.at, raw.left);
		length = PAGE_ALIGN;
	} else {
		length = mode & 2 ? build_seal(&input) : build(&input);
		must(page_check(page, length, SALT) == 0, "page: a good page is refused");
	}
	for (uint8_t spoils = mode >> 4; spoils > 0; spoils--)
		(void)spoil(&input, page, length, places);
	if (mode & 8)
		length -= (uint32_t)take(&input, 2) % (length + 1);
	exact = malloc(length + 1);
	must(exact != NULL, "fuzz: out of memory");
	memcpy(exact, page, length);
	if (mode & 4 && length >= sizeof(struct page_header))
		correct(exact, length);
	check(&input, exact, length);
	free(exact);
	return 0;
}
