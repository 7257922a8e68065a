/*
 * reader_hold.c - the records that are held back until no older one can follow.
 *
 * Takes pages apart: SOURCE records take effect, the others wait in the merge (reader_merge.h),
 * in their page's memory. Never looks for pages but to learn the sources after a jump.
 * Invariants:
 * 1. a record in the merge, or shown, has a reference of its source and counts in its page's
 *    `held`; a page goes with the last of them;
 * 2. pages of different segments, or without a clock, never meet in the merge.
 */
#include "reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void reader_drop_page(struct shmlog_reader *reader, struct held_page *page)
{
	*(page->previous != NULL ? &page->previous->next : &reader->pages) = page->next;
	if (page->next != NULL)
		page->next->previous = page->previous;
	reader->held_bytes -= page->bytes;
	reader_page_put(page->page);
	free(page);
}

static void drop_node(struct shmlog_reader *reader, struct held_record *record)
{
	source_put(&reader->sources, record->source);
	if (--record->page->held == 0)
		reader_drop_page(reader, record->page);
}

void reader_drop_shown(struct shmlog_reader *reader)
{
	if (reader->shown != NULL)
		drop_node(reader, reader->shown);
	reader->shown = NULL;
	reader_page_put(reader->shown_page);
	reader->shown_page = NULL;
}

void reader_drop_held(struct shmlog_reader *reader)
{
	while (merge_peek(&reader->merge) != NULL)
		drop_node(reader, (struct held_record *)merge_pop(&reader->merge));
	reader->draining = false;
}

/* Records that will be shown: DATA, GAP and NOTE, of the time that is asked for. */
static bool is_shown(const struct shmlog_reader *reader, const struct page_header *page,
		     const struct record_header *record)
{
	int64_t time_ns;

	if (record->kind != RECORD_DATA && record->kind != RECORD_GAP &&
	    record->kind != RECORD_NOTE)
		return false;
	if (reader->options.since_ns == INT64_MIN && reader->options.until_ns == INT64_MAX)
		return true;
	time_ns = page_realtime_ns(page, reader_stamp(page, record));
	return time_ns >= reader->options.since_ns && time_ns <= reader->options.until_ns;
}

static int define_source(struct shmlog_reader *reader, const struct record_header *record,
			 const void *payload)
{
	struct source_payload about;

	if (record->length < sizeof(about) || record->source == 0)
		return 0;
	memcpy(&about, payload, sizeof(about));
	return source_table_define(&reader->sources, record->source, &about);
}

static int see_sources(void *context, const struct page_header *page)
{
	struct shmlog_reader *reader = context;
	struct page_cursor cursor = { 0 };
	struct record_header record;
	const void *payload;
	int r = 0;

	while (r == 0 && page_next_record(page, &cursor, &record, &payload) == 1)
		if (record.kind == RECORD_SOURCE)
			r = define_source(reader, &record, payload);
	return r;
}

static int hold_record(struct shmlog_reader *reader, struct held_page *page,
		       const struct record_header *record, const void *payload)
{
	const struct page_header *header = reader_page_header(page->page);
	struct held_record *held = &page->records[page->held];
	struct reader_source *source = source_table_find(&reader->sources, record->source);
	const uint64_t ticks = reader_stamp(header, record);
	int r;

	if (source == NULL)
		return -ENOMEM;
	held->page = page;
	held->source = source;
	held->payload = payload;
	if (reader->options.unmerged || header->ticks_per_s == 0)
		r = merge_push(&reader->merge, &reader->in_order, &held->node, 0);
	else
		r = merge_push(&reader->merge, &source->queue, &held->node, ticks);
	if (r < 0)
		return r;
	source_get(source);
	page->held++;
	return 0;
}

static uint32_t count_shown(const struct shmlog_reader *reader, const struct page_header *page)
{
	struct page_cursor cursor = { 0 };
	struct record_header record;
	const void *payload;
	uint32_t count = 0;

	while (page_next_record(page, &cursor, &record, &payload) == 1)
		count += is_shown(reader, page, &record);
	return count;
}

struct held_page *reader_hold_page(struct shmlog_reader *reader, struct reader_page *page,
				   uint32_t records)
{
	const size_t size = sizeof(struct held_page) + records * sizeof(struct held_record);
	struct held_page *held = malloc(size);

	if (held == NULL)
		return NULL;
	*held = (struct held_page){ .page = reader_page_get(page),
				    .next = reader->pages,
				    .bytes = size + page->length,
				    .records_max = records };
	if (held->next != NULL)
		held->next->previous = held;
	reader->pages = held;
	reader->held_bytes += held->bytes;
	return held;
}

/* SOURCE records take effect, the others are held. */
static int hold_records(struct shmlog_reader *reader, struct held_page *held)
{
	const struct page_header *header = reader_page_header(held->page);
	struct page_cursor cursor = { 0 };
	struct record_header record;
	const void *payload;
	int r = 0;

	while (r == 0 && page_next_record(header, &cursor, &record, &payload) == 1) {
		if (record.kind == RECORD_SOURCE)
			r = define_source(reader, &record, payload);
		else if (is_shown(reader, header, &record))
			r = hold_record(reader, held, &record, payload);
	}
	return r;
}

/* A file begins with no numbers. After a jump they are what all pages before this one made them:
 * a number may be bound more than once in a file. */
static int prepare_sources(struct shmlog_reader *reader, const struct reader_page *page)
{
	const bool jumped = reader->jumped;

	reader->jumped = false;
	if (reader_page_header(page)->kind == PAGE_FILE || page->is_nameless)
		source_table_begin(&reader->sources);
	else if (jumped)
		return feed_rewalk(&reader->feed, page->offset, see_sources, reader);
	return 0;
}

static int take_page(struct shmlog_reader *reader, struct reader_page *page)
{
	const struct page_header *header = reader_page_header(page);
	struct held_page *held;
	int r;

	r = prepare_sources(reader, page);
	if (r < 0)
		return r;
	reader->segment_id = header->segment_id;
	reader->clockless = header->ticks_per_s == 0;
	reader->seen = max_u64(reader->seen, header->seen);
	held = reader_hold_page(reader, page, count_shown(reader, header));
	if (held == NULL)
		return -ENOMEM;
	r = hold_records(reader, held);
	if (held->held == 0)
		reader_drop_page(reader, held);
	return r;
}

/* Must everything that is held go out before this page's records come in? */
static bool is_barrier(const struct shmlog_reader *reader, const struct reader_page *page)
{
	const struct page_header *header = reader_page_header(page);

	return header->segment_id != reader->segment_id || reader->clockless ||
	       header->ticks_per_s == 0;
}

int reader_take_pending(struct shmlog_reader *reader)
{
	struct reader_page *page = reader->pending;
	int r;

	if (is_barrier(reader, page)) {
		if (merge_peek(&reader->merge) != NULL) {
			reader->draining = true;
			return 0;
		}
		reader->seen = 0;
		if (reader_page_header(page)->segment_id != reader->segment_id)
			source_table_forget_stamps(&reader->sources);
	}
	reader->pending = NULL;
	r = take_page(reader, page);
	reader_page_put(page); /* NOLINT(clang-analyzer-unix.Malloc): counted references */
	return r;
}

struct held_record *reader_take_ready(struct shmlog_reader *reader)
{
	const struct merge_node *node = merge_peek(&reader->merge);

	if (node == NULL) {
		reader->draining = false;
		return NULL;
	}
	if (!reader->draining && !reader->options.unmerged && !reader->clockless &&
	    node->key > reader->seen && reader->held_bytes <= reader->held_bytes_max)
		return NULL;
	return (struct held_record *)merge_pop(&reader->merge);
}
