/*
 * reader_source.h - who the numbers in records stand for.
 *
 * Numbers are given anew in each file; the same binding is recognised across files by what its
 * SOURCE record says, so that its order holds across them. Number 0 is the writer. A source lives
 * as long as a number or a held record refers to it.
 */
#ifndef SHMLOG_LIB_READER_SOURCE_H
#define SHMLOG_LIB_READER_SOURCE_H

#include "reader_merge.h"
#include "record_layout.h"

enum { SOURCE_BUCKETS = 256 };

struct reader_source {
	struct merge_queue queue;
	struct reader_source *next; /* of the same bucket */
	struct reader_source *twin; /* while a reader is duplicated: its copy */
	uint32_t references;
	uint32_t bucket;
	bool unknown; /* no SOURCE record names it */
	struct source_payload about;
};

/* What each number stands for. */
struct source_map {
	struct reader_source **sources; /* holds a reference of each; NULL: not met yet */
	uint32_t count;
};

struct source_table {
	struct reader_source *buckets[SOURCE_BUCKETS];
	struct source_map current;
	struct source_map previous; /* of the file before, kept to recognise its bindings */
};

/* A new file begins: no number but 0 means anything now. */
void source_table_begin(struct source_table *table);

/* @number stands for @about from here on. 0 or -ENOMEM. */
int source_table_define(struct source_table *table, uint16_t number,
			const struct source_payload *about);

/* The source of @number, unknown or not; NULL without memory. */
struct reader_source *source_table_find(struct source_table *table, uint16_t number);

/* Copy all sources with empty queues; each source's `twin` is its copy until the next call. The
 * copies have a reference more until source_table_settle(). On failure free @ret as well. */
int source_table_copy(const struct source_table *table, struct source_table *ret);
void source_table_settle(const struct source_table *table, struct source_table *copy);

/* Other stamps follow, of another clock perhaps: none is measured by those before. No queue holds
 * anything. */
void source_table_forget_stamps(struct source_table *table);

void source_get(struct reader_source *source);
void source_put(struct source_table *table, struct reader_source *source);
void source_table_free(struct source_table *table);

#endif
