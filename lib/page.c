/*
 * page.c - build, check and walk one page.
 *
 * Owns nothing but the bytes that it is given. Never makes a system call and never allocates.
 * Invariants of a builder:
 * 1. `used` and `reserved` are multiples of 8, and used + reserved <= PAGE_MAX;
 * 2. records come before entries; nothing is appended after page_finish().
 * The walks trust no header: every bound is the smallest of what the header claims and PAGE_MAX.
 */
#include "page.h"

#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
	RECORD_HEADER_SIZE = sizeof(struct record_header),
	CHECKSUM_OFFSET = offsetof(struct page_header, checksum),
	CHECKSUM_END = CHECKSUM_OFFSET + 8,
	PAGE_KIND_SKIPPED = 0x80, /* kinds from here up hold nothing for a reader that knows none */
};

/* The checksum field itself is left out; everything else that means something is in. */
static uint64_t checksum(const void *page, uint32_t used, uint64_t seed)
{
	XXH3_state_t state;

	XXH3_INITSTATE(&state);
	(void)XXH3_64bits_reset_withSeed(&state, seed);
	(void)XXH3_64bits_update(&state, page, CHECKSUM_OFFSET);
	(void)XXH3_64bits_update(&state, (const uint8_t *)page + CHECKSUM_END, used - CHECKSUM_END);
	return XXH3_64bits_digest(&state);
}

static uint64_t seed_of(uint8_t kind, uint64_t salt)
{
	return kind == PAGE_FILE ? 0 : salt;
}

void page_begin(struct page_builder *builder, uint8_t *buffer, enum page_kind kind)
{
	*builder = (struct page_builder){ .buffer = buffer, .used = sizeof(struct page_header) };
	memset(buffer, 0, sizeof(struct page_header));
	((struct page_header *)(void *)buffer)->kind = (uint8_t)kind;
}

int64_t page_room(const struct page_builder *builder, uint32_t reserve)
{
	const int64_t kept =
		(int64_t)builder->reserved + (int64_t)align_up(reserve, 8) + RECORD_HEADER_SIZE;

	return (int64_t)PAGE_MAX - (int64_t)builder->used - kept;
}

void page_reserve(struct page_builder *builder, uint32_t bytes)
{
	builder->reserved += (uint32_t)align_up(bytes, 8);
	assert(builder->used + builder->reserved <= PAGE_MAX);
}

/* Append @size bytes and zeros up to the next multiple of 8. */
static void append_padded(struct page_builder *builder, const void *bytes, uint32_t size)
{
	const uint32_t padded = (uint32_t)align_up(size, 8);

	assert(builder->used + padded + builder->reserved <= PAGE_MAX);
	if (size > 0)
		memcpy(builder->buffer + builder->used, bytes, size);
	memset(builder->buffer + builder->used + size, 0, padded - size);
	builder->used += padded;
}

static void count_data(struct page_builder *builder, uint64_t ticks)
{
	if (builder->data_records == 0 || ticks < builder->first_ticks)
		builder->first_ticks = ticks;
	builder->last_ticks = max_u64(builder->last_ticks, ticks);
	builder->data_records++;
}

void page_append(struct page_builder *builder, const struct record_header *header,
		 const void *payload)
{
	assert(builder->table_offset == 0);
	assert((int64_t)header->length <= page_room(builder, 0));
	append_padded(builder, header, sizeof(*header));
	append_padded(builder, payload, header->length);
	builder->records++;
	if (header->kind == RECORD_DATA)
		count_data(builder, header->ticks);
	builder->source_records += header->kind == RECORD_SOURCE;
}

void page_run_begin(const struct page_builder *builder, struct page_run *run)
{
	assert(builder->table_offset == 0);
	*run = (struct page_run){ .at = builder->buffer + builder->used,
				  .end = builder->buffer + PAGE_MAX - builder->reserved,
				  .first_ticks = UINT64_MAX };
}

void page_run_end(struct page_builder *builder, const struct page_run *run)
{
	assert(run->at <= run->end);
	if (run->records == 0)
		return;
	if (builder->data_records == 0 || run->first_ticks < builder->first_ticks)
		builder->first_ticks = run->first_ticks;
	builder->last_ticks = max_u64(builder->last_ticks, run->last_ticks);
	builder->data_records += run->records;
	builder->records += run->records;
	builder->used = (uint32_t)(run->at - builder->buffer);
}

void page_append_info(struct page_builder *builder, const void *info, uint32_t size)
{
	assert(builder->used == sizeof(struct page_header));
	append_padded(builder, info, size);
}

void page_append_entry(struct page_builder *builder, const struct entry_header *entry)
{
	assert(entry->size % 8 == 0 && entry->size <= builder->reserved);
	if (builder->table_offset == 0)
		builder->table_offset = builder->used;
	builder->reserved -= entry->size;
	append_padded(builder, entry, entry->size);
}

static void stamp_header(struct page_header *header, const struct page_stamp *stamp)
{
	header->magic = PAGE_MAGIC;
	header->header_size = sizeof(*header);
	header->page_no = stamp->page_no;
	header->segment_id = stamp->segment_id;
	header->seen = stamp->seen;
	header->sample_ticks = stamp->sample_ticks;
	header->sample_realtime_ns = stamp->sample_realtime_ns;
	header->ticks_per_s = stamp->ticks_per_s;
	header->total_records = stamp->total_records;
	header->total_lost = stamp->total_lost;
	header->total_abandoned = stamp->total_abandoned;
}

uint32_t page_finish(struct page_builder *builder, const struct page_stamp *stamp)
{
	struct page_header *header = (struct page_header *)(void *)builder->buffer;
	const uint32_t used = builder->used;
	const uint32_t length = (uint32_t)align_up(used, PAGE_ALIGN);

	stamp_header(header, stamp);
	header->length = length;
	header->used = used;
	header->records = builder->records;
	header->table_offset = builder->table_offset != 0 ? builder->table_offset : used;
	header->first_ticks = builder->first_ticks;
	header->last_ticks = builder->last_ticks;
	memset(builder->buffer + used, 0, length - used);
	header->checksum = checksum(header, used, seed_of(header->kind, stamp->salt));
	return length;
}

uint32_t page_build_seal(uint8_t *buffer, const struct seal_info *info,
			 const struct index_entry *index, uint64_t seal_offset,
			 const struct page_stamp *stamp)
{
	struct page_header *header = (struct page_header *)(void *)buffer;
	const struct seal_trailer trailer = { .seal_offset = seal_offset,
					      .magic = TRAILER_MAGIC,
					      .pages = (uint32_t)info->pages };
	const size_t index_size = info->pages * sizeof(*index);
	const size_t end = sizeof(*header) + sizeof(*info) + index_size;
	const uint32_t length = (uint32_t)align_up(end + sizeof(trailer), PAGE_ALIGN);

	assert(info->pages <= FILE_PAGES_MAX);
	memset(buffer, 0, length);
	stamp_header(header, stamp);
	header->kind = PAGE_SEAL;
	header->length = header->used = header->table_offset = length;
	header->first_ticks = info->first_ticks;
	header->last_ticks = info->last_ticks;
	memcpy(buffer + sizeof(*header), info, sizeof(*info));
	if (index_size > 0)
		memcpy(buffer + sizeof(*header) + sizeof(*info), index, index_size);
	memcpy(buffer + length - sizeof(trailer), &trailer, sizeof(trailer));
	header->checksum = checksum(header, length, stamp->salt);
	return length;
}

static bool kind_is_known(uint8_t kind)
{
	return (kind >= PAGE_FILE && kind <= PAGE_SEAL) || kind >= PAGE_KIND_SKIPPED;
}

static bool offsets_are_sane(const struct page_header *header)
{
	return header->header_size >= sizeof(*header) && header->header_size % 8 == 0 &&
	       header->header_size <= header->table_offset && header->table_offset % 8 == 0 &&
	       header->table_offset <= header->used && header->used % 8 == 0 &&
	       header->used <= header->length;
}

int page_header_check(const struct page_header *header)
{
	if (header->length == 0)
		return -ENODATA;
	if (header->magic != PAGE_MAGIC || !kind_is_known(header->kind) || header->page_no == 0)
		return -EBADMSG;
	if (header->length % PAGE_ALIGN != 0 || header->length > PAGE_MAX)
		return -EBADMSG;
	return offsets_are_sane(header) ? 0 : -EBADMSG;
}

int page_check(const void *page, size_t size, uint64_t salt)
{
	struct page_header header;
	int r;

	if (size < sizeof(header))
		return -EBADMSG;
	memcpy(&header, page, sizeof(header));
	r = page_header_check(&header);
	if (r < 0)
		return r;
	if (header.length > size)
		return -EBADMSG;
	if (checksum(page, header.used, seed_of(header.kind, salt)) != header.checksum)
		return -EBADMSG;
	return 0;
}

/* Text fields end where their array ends, whatever was written. */
static void end_texts(struct file_info *info)
{
	info->host[sizeof(info->host) - 1] = '\0';
	info->writer_version[sizeof(info->writer_version) - 1] = '\0';
	info->ring[sizeof(info->ring) - 1] = '\0';
}

int page_file_info(const void *page, struct file_info *ret)
{
	const struct page_header *header = page;
	struct file_info info;

	if (header->kind != PAGE_FILE || header->header_size + sizeof(info) > header->table_offset)
		return -EBADMSG;
	memcpy(&info, (const uint8_t *)page + header->header_size, sizeof(info));
	if (info.format_major != FORMAT_MAJOR || info.incompatible != 0)
		return -EPROTO;
	end_texts(&info);
	*ret = info;
	return 0;
}

int page_seal_info(const void *page, struct seal_info *ret, const struct index_entry **ret_index)
{
	const struct page_header *header = page;
	const uint8_t *bytes = page;
	const size_t begin = header->header_size + sizeof(*ret);
	struct seal_info info;

	if (header->kind != PAGE_SEAL || begin + sizeof(struct seal_trailer) > header->used)
		return -EBADMSG;
	memcpy(&info, bytes + header->header_size, sizeof(info));
	if (info.pages >
	    (header->used - sizeof(struct seal_trailer) - begin) / sizeof(struct index_entry))
		return -EBADMSG;
	*ret = info;
	*ret_index = (const struct index_entry *)(const void *)(bytes + begin);
	return 0;
}

int64_t page_realtime_ns(const struct page_header *header, uint64_t ticks)
{
	const __int128 elapsed_ticks = (__int128)ticks - (__int128)header->sample_ticks;
	__int128 time_ns;

	if (header->ticks_per_s == 0)
		return INT64_MIN;
	time_ns = header->sample_realtime_ns + elapsed_ticks * NS_PER_S / header->ticks_per_s;
	if (time_ns > INT64_MAX)
		return INT64_MAX;
	return time_ns <= INT64_MIN ? INT64_MIN + 1 : (int64_t)time_ns;
}

/* Records and entries of a page lie below this, whatever its header claims. */
static uint32_t bytes_end(const struct page_header *header)
{
	return (uint32_t)min_u64(min_u64(header->used, header->length), PAGE_MAX);
}

static uint32_t records_begin(const struct page_header *header)
{
	const uint32_t info_size = header->kind == PAGE_FILE ? sizeof(struct file_info) : 0;

	return (uint32_t)max_u64(header->header_size, sizeof(*header)) + info_size;
}

static bool has_records(const struct page_header *header)
{
	return header->kind == PAGE_FILE || header->kind == PAGE_DATA;
}

int page_next_record(const void *page, struct page_cursor *cursor, struct record_header *ret_header,
		     const void **ret_payload)
{
	const struct page_header *header = page;
	const uint8_t *bytes = page;
	const uint32_t end = (uint32_t)min_u64(bytes_end(header), header->table_offset);
	const uint32_t at = cursor->offset != 0 ? cursor->offset : records_begin(header);
	struct record_header record;

	if (at >= end || !has_records(header))
		return 0;
	cursor->offset = end;
	if (end - at < sizeof(record))
		return -EBADMSG;
	memcpy(&record, bytes + at, sizeof(record));
	if (record.length > end - at - sizeof(record))
		return -EBADMSG;
	cursor->offset = (uint32_t)align_up(at + sizeof(record) + record.length, 8);
	*ret_header = record;
	*ret_payload = bytes + at + sizeof(record);
	return 1;
}

int page_next_entry(const void *page, struct page_cursor *cursor, const struct entry_header **ret)
{
	const struct page_header *header = page;
	const uint8_t *bytes = page;
	const uint32_t end = bytes_end(header);
	const uint32_t at = cursor->offset != 0 ? cursor->offset : header->table_offset;
	const struct entry_header *entry;

	if (at >= end || !has_records(header))
		return 0;
	cursor->offset = end;
	if (at % 8 != 0 || end - at < sizeof(*entry))
		return -EBADMSG;
	entry = (const struct entry_header *)(const void *)(bytes + at);
	if (entry->size < sizeof(*entry) || entry->size % 8 != 0 || entry->size > end - at)
		return -EBADMSG;
	cursor->offset = at + entry->size;
	*ret = entry;
	return 1;
}
