/*
 * reader_merge.h - put the records of several sources into the order of time.
 *
 * Each source has a queue, and its own order always holds: a record's key is its stamp, but never
 * less than the key before it in its queue. A heap over the queues gives the smallest key; equal
 * keys come in the order of arrival. Records are nodes that the caller owns; nothing is copied,
 * and memory is needed only when the number of queues grows.
 */
#ifndef SHMLOG_LIB_READER_MERGE_H
#define SHMLOG_LIB_READER_MERGE_H

#include "base.h"

struct merge_node {
	struct merge_node *next;
	uint64_t key;
	uint64_t order; /* of arrival */
};

/* Zero-initialised: empty, nothing came yet. */
struct merge_queue {
	struct merge_node *head;
	struct merge_node *tail;
	uint64_t last_key;
};

struct merge {
	struct merge_queue **heap; /* the queues that hold something; smallest head first */
	size_t count;
	size_t capacity;
	uint64_t arrived;
};

/* Behind the others of @queue. 0 or -ENOMEM: nothing was changed. */
int merge_push(struct merge *merge, struct merge_queue *queue, struct merge_node *node,
	       uint64_t ticks);

/* The same with a key and an order that another merge gave; @queue's last_key is the caller's. */
int merge_push_as(struct merge *merge, struct merge_queue *queue, struct merge_node *node,
		  uint64_t key, uint64_t order);

/* The record whose turn it is; NULL: none is held. */
static inline struct merge_node *merge_peek(const struct merge *merge)
{
	return merge->count > 0 ? merge->heap[0]->head : NULL;
}

/* Take that record out. There is one. */
struct merge_node *merge_pop(struct merge *merge);

/* Forget everything; the nodes are the caller's. */
void merge_free(struct merge *merge);

#endif
