/*
 * reader_copy.c - a second reader at the same place.
 *
 * Pages are shared, never copied: their bytes do not change and their references are counted
 * atomically, so the two readers may be used by two threads. What is held is held by each.
 */
#include "reader.h"

#include <errno.h>
#include <stdlib.h>

static int copy_pages(const struct shmlog_reader *reader, struct shmlog_reader *copy)
{
	for (struct held_page *page = reader->pages; page != NULL; page = page->next) {
		page->twin = reader_hold_page(copy, page->page, page->records_max);
		if (page->twin == NULL)
			return -ENOMEM;
	}
	return 0;
}

/* @queue belongs to the copy; @from to the reader. */
static int copy_queue(struct shmlog_reader *copy, struct merge_queue *queue,
		      const struct merge_queue *from)
{
	int r = 0;

	for (struct merge_node *node = from->head; r == 0 && node != NULL; node = node->next) {
		const struct held_record *record = (const struct held_record *)node;
		struct held_page *page = record->page->twin;
		struct held_record *twin = &page->records[record - record->page->records];

		twin->page = page;
		twin->source = record->source->twin;
		twin->payload = record->payload;
		r = merge_push_as(&copy->merge, queue, &twin->node, node->key, node->order);
		if (r < 0)
			break;
		source_get(twin->source);
		page->held++;
	}
	return r;
}

static int copy_queues(const struct shmlog_reader *reader, struct shmlog_reader *copy)
{
	int r = copy_queue(copy, &copy->in_order, &reader->in_order);

	for (size_t i = 0; i < SOURCE_BUCKETS; i++)
		for (struct reader_source *s = reader->sources.buckets[i]; s != NULL; s = s->next)
			if (r == 0)
				r = copy_queue(copy, &s->twin->queue, &s->queue);
	return r;
}

/* Pages of which only the record that was handed out last is left. */
static void drop_empty_pages(struct shmlog_reader *copy)
{
	struct held_page *next;

	for (struct held_page *page = copy->pages; page != NULL; page = next) {
		next = page->next;
		if (page->held == 0)
			reader_drop_page(copy, page);
	}
}

static int copy_held(const struct shmlog_reader *reader, struct shmlog_reader *copy)
{
	int r = source_table_copy(&reader->sources, &copy->sources);

	if (r == 0)
		r = copy_pages(reader, copy);
	if (r == 0)
		r = copy_queues(reader, copy);
	drop_empty_pages(copy);
	if (r == 0)
		source_table_settle(&reader->sources, &copy->sources);
	return r < 0 ? reason_set(r, "out of memory") : 0;
}

static void copy_state(const struct shmlog_reader *reader, struct shmlog_reader *copy)
{
	copy->merge.arrived = reader->merge.arrived;
	copy->in_order.last_key = reader->in_order.last_key;
	copy->pending = reader_page_get(reader->pending);
	copy->pending_shown = reader->pending_shown;
	copy->held_bytes_max = reader->held_bytes_max;
	copy->seen = reader->seen;
	copy->segment_id = reader->segment_id;
	copy->last_page_ns = reader->last_page_ns;
	copy->last_sample_ns = reader->last_sample_ns;
	copy->clockless = reader->clockless;
	copy->draining = reader->draining;
	copy->jumped = reader->jumped;
	copy->told_unrecovered = reader->told_unrecovered;
}

int shmlog_reader_duplicate(const struct shmlog_reader *reader, struct shmlog_reader **ret_reader)
{
	struct shmlog_reader *copy;
	int r = reader_new(&reader->options, &copy);

	if (r < 0)
		return r;
	r = feed_copy(&reader->feed, &copy->feed);
	if (r < 0) {
		free(copy);
		return r;
	}
	copy_state(reader, copy);
	r = copy_held(reader, copy);
	if (r < 0)
		shmlog_reader_close(&copy);
	else
		*ret_reader = copy;
	return r;
}
