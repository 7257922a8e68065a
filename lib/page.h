/*
 * page.h - build, check and walk one page, in plain memory. Makes no system call.
 *
 * A builder fills a buffer of PAGE_MAX bytes: page_begin, then records, then entries, then
 * page_finish, which writes header and checksum. The room for entries is reserved while records
 * are added, so that finishing cannot fail.
 * Checking trusts nothing: page_check() proves a page whole before anybody walks it, and the walk
 * checks every length again.
 */
#ifndef SHMLOG_LIB_PAGE_H
#define SHMLOG_LIB_PAGE_H

#include <string.h>

#include "base.h"
#include "page_layout.h"

struct page_builder {
	uint8_t *buffer;       /* PAGE_MAX bytes, 4096-aligned; borrowed                    */
	uint32_t used;         /* end of what was appended                                  */
	uint32_t reserved;     /* bytes kept free for entries                               */
	uint32_t table_offset; /* where the entries begin; 0 while records are added        */
	uint32_t records;
	uint32_t data_records;
	uint32_t source_records;
	uint64_t first_ticks;
	uint64_t last_ticks;
};

/* What page_finish() cannot know by itself. */
struct page_stamp {
	uint64_t page_no;
	uint64_t segment_id;
	uint64_t salt; /* of the file; ignored for FILE pages */
	uint64_t seen;
	uint64_t sample_ticks;
	int64_t sample_realtime_ns;
	uint64_t ticks_per_s;
	uint64_t total_records;
	uint64_t total_lost;
	uint64_t total_abandoned;
};

void page_begin(struct page_builder *builder, uint8_t *buffer, enum page_kind kind);

/* Bytes that a payload may have and still fit as one more record, after @reserve more bytes are
 * kept for entries; < 0: not even an empty one fits. */
int64_t page_room(const struct page_builder *builder, uint32_t reserve);

/* Keep @bytes free for entries. The caller has asked page_room(). */
void page_reserve(struct page_builder *builder, uint32_t bytes);

/* Append a record; @header->length bytes of @payload are copied. The caller has asked page_room().
 * A DATA record's ticks count for first_ticks and last_ticks. */
void page_append(struct page_builder *builder, const struct record_header *header,
		 const void *payload);

/* ---- many DATA records at a time ----
 * As page_append(), with the builder's counts in registers: bytes that are stored through a pointer
 * might be the builder's own, for all that a compiler knows. Begin, append, end; nothing else is
 * appended in between. */

struct page_run {
	uint8_t *at;
	const uint8_t *end; /* where the room that is kept for entries begins */
	uint64_t first_ticks;
	uint64_t last_ticks;
	uint32_t records;
};

/* Sources and targets of short payload may be touched so far, whatever its length. */
enum { PAGE_RUN_PIECE = 48 };

void page_run_begin(const struct page_builder *builder, struct page_run *run);
void page_run_end(struct page_builder *builder, const struct page_run *run);

static inline bool page_run_has_room(const struct page_run *run, uint32_t length)
{
	return (int64_t)sizeof(struct record_header) + (int64_t)align_up(length, 8) +
		       PAGE_RUN_PIECE <=
	       run->end - run->at;
}

/* @is_piece: PAGE_RUN_PIECE bytes can be read at @payload. The caller has asked for room. */
static inline void page_run_append(struct page_run *run, const struct record_header *header,
				   const uint8_t *payload, bool is_piece)
{
	uint8_t *const to = run->at + sizeof(*header);
	const size_t padded = align_up(header->length, 8);

	memcpy(run->at, header, sizeof(*header));
	if (likely(is_piece))
		memcpy(to, payload, PAGE_RUN_PIECE);
	else
		memcpy(to, payload, header->length);
	if (header->length != padded)
		memset(to + header->length, 0, 7);
	run->at = to + padded;
	run->first_ticks = min_u64(run->first_ticks, header->ticks);
	run->last_ticks = max_u64(run->last_ticks, header->ticks);
	run->records++;
}

/* Append the struct that follows the header of FILE and SEAL pages, before any record. */
void page_append_info(struct page_builder *builder, const void *info, uint32_t size);

/* Append an entry from reserved room, after the last record. @entry->size bytes. */
void page_append_entry(struct page_builder *builder, const struct entry_header *entry);

/**
 * page_finish() - header, zeros up to the next 4096 bytes, checksum.
 * Return: the page's length in bytes.
 */
uint32_t page_finish(struct page_builder *builder, const struct page_stamp *stamp);

/* The SEAL page of a file: its own builder, since its trailer ends the page. Returns the length. */
uint32_t page_build_seal(uint8_t *buffer, const struct seal_info *info,
			 const struct index_entry *index, uint64_t seal_offset,
			 const struct page_stamp *stamp);

/**
 * page_header_check() - may these 128 bytes begin a page?
 * Return: 0; -ENODATA length is 0: not written yet; -EBADMSG no page of ours.
 */
int page_header_check(const struct page_header *header);

/**
 * page_check() - is this a whole page, with sane offsets and the right checksum?
 * @page: @size bytes, of which the page may use fewer; 8-aligned.
 * @salt: of the file; ignored for FILE pages.
 * Return: 0; -ENODATA; -EBADMSG.
 */
int page_check(const void *page, size_t size, uint64_t salt);

/* The file_info of a checked FILE page: 0; -EBADMSG too short; -EPROTO a format that we don't know.
 */
int page_file_info(const void *page, struct file_info *ret);

/* The seal_info of a checked SEAL page and its index, inside the page. 0 or -EBADMSG. */
int page_seal_info(const void *page, struct seal_info *ret, const struct index_entry **ret_index);

/* CLOCK_REALTIME of a stamp, by the page's own sample; INT64_MIN: the page has no clock. */
int64_t page_realtime_ns(const struct page_header *header, uint64_t ticks);

/* A walk over a checked page. Zero-initialised: from the start. */
struct page_cursor {
	uint32_t offset;
};

/**
 * page_next_record() - the next record of a checked page.
 * @ret_payload: inside the page; header->length bytes.
 * Return: 1 there is one; 0 the end; -EBADMSG a length that leaves the page.
 */
int page_next_record(const void *page, struct page_cursor *cursor, struct record_header *ret_header,
		     const void **ret_payload);

/* The next entry: 1 with @ret inside the page (8-aligned), 0 the end, -EBADMSG. */
int page_next_entry(const void *page, struct page_cursor *cursor, const struct entry_header **ret);

#endif
