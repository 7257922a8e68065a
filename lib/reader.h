/*
 * reader.h - what a reader consists of; for reader.c and its neighbours.
 */
#ifndef SHMLOG_LIB_READER_H
#define SHMLOG_LIB_READER_H

#include "reader_feed.h"
#include "reader_merge.h"
#include "reader_source.h"
#include "shmlog_reader.h"

/* Held records go out, oldest first, beyond this. */
enum { READER_HELD_MAX = 64 * 1024 * 1024 };

struct held_page;

/* A record that is held back. The node is first: the merge hands out its address. */
struct held_record {
	struct merge_node node;
	struct held_page *page;
	struct reader_source *source;
	const void *payload; /* in the page, behind the record's header */
};

/* A page whose records are held, freed with the last of them. */
struct held_page {
	struct held_page *next;
	struct held_page *previous;
	struct held_page *twin; /* while the reader is duplicated: its copy */
	struct reader_page *page;
	size_t bytes;
	uint32_t held;
	uint32_t records_max;
	struct held_record records[];
};

struct shmlog_reader {
	struct shmlog_reader_options options;
	struct feed feed;
	struct source_table sources;
	struct merge merge;
	struct merge_queue in_order; /* of records that are not ordered by time */
	struct held_page *pages;
	struct held_record *shown;      /* handed out by the last call */
	struct reader_page *shown_page; /* the same of pages */
	struct reader_page *pending;    /* came, but what is held must go out first */
	size_t held_bytes;
	size_t held_bytes_max;
	uint64_t seen; /* no older record can come */
	uint64_t segment_id;
	int64_t last_page_ns;   /* CLOCK_MONOTONIC */
	int64_t last_sample_ns; /* CLOCK_REALTIME when that page was closed */
	int64_t poll_ns;
	bool pending_shown; /* by get_page: next_page goes on behind it */
	bool clockless;
	bool draining; /* everything that is held goes out */
	bool jumped;   /* SOURCE records of this file may not have been met */
	bool told_unrecovered;
};

/* A reader without a feed. 0; -EINVAL; -ENOMEM. */
int reader_new(const struct shmlog_reader_options *options, struct shmlog_reader **ret);

/* What a record without a stamp of its own is taken for: no older one follows it. */
static inline uint64_t reader_stamp(const struct page_header *page,
				    const struct record_header *record)
{
	return record->ticks != 0 ? record->ticks : page->seen;
}

/* reader_hold.c */

/* The page that waits comes in, once what must go out before it has gone. 0 or -ENOMEM. */
int reader_take_pending(struct shmlog_reader *reader);

/* The record whose turn it is; NULL: none, or an older one may still follow. */
struct held_record *reader_take_ready(struct shmlog_reader *reader);

/* What was handed out last is no longer needed. */
void reader_drop_shown(struct shmlog_reader *reader);
/* Forget all records that wait. */
void reader_drop_held(struct shmlog_reader *reader);

/* Room for @records of @page, which gets one more reference; NULL without memory. */
struct held_page *reader_hold_page(struct shmlog_reader *reader, struct reader_page *page,
				   uint32_t records);
void reader_drop_page(struct shmlog_reader *reader, struct held_page *page);

#endif
