/*
 * logbytes.c - see logbytes.h.
 */
#include "logbytes.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { NS = 1000000000 };

static const uint16_t places[] = { 4,  8,  10,  12,  16,  24,  32,  40,  44,  48,  56,  64,  72, 80,
				   88, 96, 128, 132, 134, 136, 144, 152, 160, 176, 184, 208, 0 };

/* ---- building ---- */

static uint8_t *page_at_end(struct log_bytes *log)
{
	return log->bytes + log->size;
}

static void add_page(struct log_bytes *log, const struct page_builder *page, uint32_t length,
		     bool counts)
{
	must(log->pages < LOG_PAGES_MAX, "fuzz: too many pages");
	log->index[log->pages] =
		(struct index_entry){ .first_ticks = page->first_ticks,
				      .last_ticks = page->last_ticks,
				      .page_no = log->page_next,
				      .offset_pages = (uint32_t)(log->size / PAGE_ALIGN),
				      .records = (uint16_t)page->data_records,
				      .sources = (uint16_t)page->source_records };
	log->offset[log->pages] = log->size;
	log->length[log->pages++] = length;
	log->size += length;
	log->page_next += counts;
}

static struct page_stamp stamp_of(const struct log_bytes *log, uint64_t seen)
{
	return (struct page_stamp){ .page_no = log->page_next,
				    .segment_id = LOG_SEGMENT,
				    .salt = log->salt,
				    .seen = seen,
				    .sample_ticks = 1000,
				    .sample_realtime_ns = INT64_C(1700000000) * NS,
				    .ticks_per_s = NS,
				    .total_records = log->total_records,
				    .total_lost = log->total_lost };
}

static void add_source(struct page_builder *builder, uint16_t number)
{
	const struct source_payload about = { .pid = number, .lane = number, .name = "s" };
	const struct record_header header = { .length = sizeof(about),
					      .source = number,
					      .kind = RECORD_SOURCE };

	page_append(builder, &header, &about);
}

/* The losses that it names. */
static uint64_t add_record(struct bytes *input, struct page_builder *builder)
{
	static const uint8_t kinds[] = { RECORD_DATA, RECORD_DATA, RECORD_GAP, RECORD_NOTE, 0x90 };
	static uint8_t payload[8192];
	struct record_header header = { .kind = kinds[take_below(input, COUNT_OF(kinds))] };

	header.source = (uint16_t)(take(input, 1) % 5);
	header.ticks = take(input, 1);
	header.length = (uint32_t)take(input, 1);
	if (header.length > 0xf0)
		header.length = (header.length - 0xf0) * 512;
	if (header.kind == RECORD_GAP)
		header.length = sizeof(struct gap_payload);
	memset(payload, (int)header.ticks, header.length);
	page_append(builder, &header, payload);
	return header.kind == RECORD_GAP
		       ? LOSS_REASONS * (header.ticks & 0xff) * UINT64_C(0x0101010101010101)
		       : 0;
}

static void add_cursor(struct page_builder *builder, uint64_t position)
{
	const struct cursor_entry entry = { .header = { ENTRY_CURSOR, sizeof(entry), 1, 0 },
					    .position = position,
					    .records = position };

	page_append_entry(builder, &entry.header);
}

static void add_file_page(struct bytes *input, struct log_bytes *log, uint64_t file_no)
{
	const struct file_info info = { .format_major = FORMAT_MAJOR,
					.page_max = PAGE_MAX,
					.salt = log->salt,
					.log_id = LOG_ID,
					.file_no = file_no,
					.volume_no = 1 };
	const struct page_stamp stamp = stamp_of(log, 0);
	struct page_builder builder;

	page_begin(&builder, page_at_end(log), PAGE_FILE);
	page_append_info(&builder, &info, sizeof(info));
	for (uint16_t i = (uint16_t)(take(input, 1) % 4); i > 0; i--)
		add_source(&builder, i);
	add_page(log, &builder, page_finish(&builder, &stamp), true);
}

static void add_data_page(struct bytes *input, struct log_bytes *log)
{
	const uint8_t records = (uint8_t)take(input, 1) % 9;
	const uint64_t seen = take(input, 1);
	struct page_builder builder;
	struct page_stamp stamp;

	page_begin(&builder, page_at_end(log), PAGE_DATA);
	page_reserve(&builder, sizeof(struct cursor_entry));
	for (uint8_t i = 0; i < records; i++)
		log->total_lost += add_record(input, &builder);
	log->total_records += builder.data_records;
	add_cursor(&builder, log->page_next);
	stamp = stamp_of(log, seen);
	add_page(log, &builder, page_finish(&builder, &stamp), true);
}

static void add_seal(struct log_bytes *log)
{
	const struct page_builder none = { 0 };
	const struct page_stamp stamp = stamp_of(log, 0);
	struct seal_info info = { .pages = log->pages };

	for (uint32_t i = 0; i < log->pages; i++) {
		const struct index_entry *page = &log->index[i];

		if (page->records > 0 &&
		    (info.data_records == 0 || page->first_ticks < info.first_ticks))
			info.first_ticks = page->first_ticks;
		info.last_ticks = max_u64(info.last_ticks, page->last_ticks);
		info.data_records += page->records;
	}
	add_page(log, &none,
		 page_build_seal(page_at_end(log), &info, log->index, log->size, &stamp), false);
	log->sealed = true;
}

static void begin(struct log_bytes *log)
{
	uint8_t *bytes = log->bytes;

	if (bytes == NULL)
		bytes = aligned_alloc(PAGE_ALIGN, LOG_SIZE_MAX + PAGE_MAX);
	must(bytes != NULL, "fuzz: out of memory");
	*log = (struct log_bytes){ .bytes = bytes };
}

void log_build(struct bytes *input, struct log_bytes *log, uint64_t file_no, uint64_t page_first,
	       bool sealed)
{
	begin(log);
	log->salt = 1000 + file_no;
	log->page_first = log->page_next = page_first;
	add_file_page(input, log, file_no);
	for (uint8_t i = (uint8_t)take(input, 1) % 6; i > 0; i--)
		add_data_page(input, log);
	if (sealed)
		add_seal(log);
}

/* ---- spoiling ---- */

static void correct(uint8_t *page, size_t size, uint64_t salt)
{
	static uint8_t copy[PAGE_MAX];
	struct page_header header;

	memcpy(&header, page, sizeof(header));
	if (header.used < sizeof(header) || header.used > min_u64(size, PAGE_MAX))
		return;
	memcpy(copy, page, 16);
	memcpy(copy + 16, page + 24, header.used - 24);
	header.checksum =
		XXH3_64bits_withSeed(copy, header.used - 8, header.kind == PAGE_FILE ? 0 : salt);
	memcpy(page + offsetof(struct page_header, checksum), &header.checksum, 8);
}

static void spoil_page(struct bytes *input, struct log_bytes *log, uint32_t which, bool is_right)
{
	uint8_t *page = log->bytes + log->offset[which];
	const size_t size = log->length[which];

	(void)spoil(input, page, size, places);
	if (is_right)
		correct(page, size, log->salt);
}

static void spoil_table(struct bytes *input, struct log_bytes *log, uint32_t which)
{
	uint8_t *page = log->bytes + log->offset[which];
	const struct page_header *header = (const void *)page;
	const size_t table = min_u64(header->table_offset, log->length[which] - 64);

	(void)spoil(input, page + table, 64, NULL);
	correct(page, log->length[which], log->salt);
}

static void copy_page(struct bytes *input, struct log_bytes *log, uint32_t which)
{
	const uint32_t other = take_below(input, log->pages);
	const size_t size = min_u64(log->length[which], log->length[other]);

	memmove(log->bytes + log->offset[which], log->bytes + log->offset[other], size);
}

/* The last 16 bytes, which a SEAL page's checksum covers. */
static void spoil_end(struct bytes *input, struct log_bytes *log, bool is_right)
{
	const uint32_t last = log->pages - 1;

	if (log->size < 16)
		return;
	(void)spoil(input, log->bytes + log->size - 16, 16, NULL);
	if (is_right && log->offset[last] + log->length[last] == log->size)
		correct(log->bytes + log->offset[last], log->length[last], log->salt);
}

static void append(struct bytes *input, struct log_bytes *log)
{
	const size_t size = take_below(input, 2 * PAGE_ALIGN);

	if (log->size + size > LOG_SIZE_MAX)
		return;
	memset(log->bytes + log->size, (int)take(input, 1), size);
	log->size += size;
}

void log_spoil(struct bytes *input, struct log_bytes *log)
{
	const uint8_t how = (uint8_t)take(input, 1);
	const uint32_t which = (how >> 3) % log->pages;

	log->spoiled = true;
	switch (how & 7) {
	case 0:
	case 1:
	case 2:
		spoil_page(input, log, which, (how & 7) > 0);
		break;
	case 3:
		spoil_table(input, log, which);
		break;
	case 4:
		copy_page(input, log, which);
		break;
	case 5:
		memset(log->bytes + log->offset[which], 0, log->length[which]);
		break;
	case 6:
		spoil_end(input, log, how & 8);
		break;
	default:
		if (how & 8)
			append(input, log);
		else
			log->size -= take_below(input, (uint32_t)log->size);
		break;
	}
}

void log_raw(struct bytes *input, struct log_bytes *log, bool is_right)
{
	struct page_header header;

	begin(log);
	log->spoiled = true;
	log->size = min_u64(input->left, LOG_SIZE_MAX);
	memcpy(log->bytes, input->at, log->size);
	for (size_t at = 0; is_right && at + sizeof(header) <= log->size;) {
		memcpy(&header, log->bytes + at, sizeof(header));
		correct(log->bytes + at, log->size - at, 0);
		at += align_up(min_u64(header.length, PAGE_MAX) + 1, PAGE_ALIGN);
	}
}

/* ---- what is there ---- */

uint64_t log_hash_record(uint64_t kind, const void *payload, uint64_t length)
{
	return hash_bytes(kind, payload, length) + length;
}

static void expect_records(const uint8_t *page, uint32_t begins, uint32_t ends,
			   struct log_content *content)
{
	uint32_t length;

	for (uint32_t at = begins; at + 16 <= ends; at += 16 + (length + 7) / 8 * 8) {
		memcpy(&length, page + at, 4);
		if (length > ends - at - 16)
			return;
		if (page[at + 6] != RECORD_DATA && page[at + 6] != RECORD_GAP &&
		    page[at + 6] != RECORD_NOTE)
			continue;
		content->records++;
		content->hash += log_hash_record(page[at + 6], page + at + 16,
						 page[at + 6] == RECORD_GAP ? 0 : length);
	}
}

/* True: a page that follows what was read. */
static bool expect_page(const struct log_bytes *log, struct log_content *content, uint64_t *salt)
{
	const uint8_t *page = log->bytes + content->end;
	const struct page_header *header = (const void *)page;
	struct file_info info;
	uint32_t begins;

	if (content->end >= log->size || page_check(page, log->size - content->end, *salt) < 0)
		return false;
	if ((header->kind == PAGE_FILE) != (content->pages == 0) ||
	    (content->pages > 0 && header->page_no != content->page_next))
		return false;
	if (header->kind == PAGE_FILE && page_file_info(page, &info) < 0)
		return false;
	content->end += header->length;
	content->sealed = header->kind == PAGE_SEAL;
	if (content->sealed)
		return false;
	content->pages++;
	content->page_next = header->page_no + 1;
	*salt = header->kind == PAGE_FILE ? info.salt : *salt;
	begins = header->header_size + (header->kind == PAGE_FILE ? 416u : 0u);
	if (header->kind <= PAGE_DATA)
		expect_records(page, begins, header->table_offset, content);
	return true;
}

void log_expect(const struct log_bytes *log, struct log_content *ret)
{
	uint64_t salt = 0;

	*ret = (struct log_content){ .page_next = log->page_first };
	while (expect_page(log, ret, &salt))
		;
}
