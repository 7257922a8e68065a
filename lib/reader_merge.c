/*
 * reader_merge.c - put the records of several sources into the order of time.
 *
 * Invariants: 1. heap[0 .. count) are exactly the queues with a head; 2. no head comes before the
 * head of its parent, (i - 1) / 2; 3. keys never fall within a queue.
 */
#include "reader_merge.h"

#include <errno.h>
#include <stdlib.h>

static bool comes_before(const struct merge_queue *a, const struct merge_queue *b)
{
	if (a->head->key != b->head->key)
		return a->head->key < b->head->key;
	return a->head->order < b->head->order;
}

static void sift_up(struct merge *merge, size_t at)
{
	struct merge_queue *queue = merge->heap[at];

	while (at > 0 && comes_before(queue, merge->heap[(at - 1) / 2])) {
		merge->heap[at] = merge->heap[(at - 1) / 2];
		at = (at - 1) / 2;
	}
	merge->heap[at] = queue;
}

static void sift_down(struct merge *merge, size_t at)
{
	struct merge_queue *queue = merge->heap[at];
	size_t child;

	for (;;) {
		child = at * 2 + 1;
		if (child >= merge->count)
			break;
		if (child + 1 < merge->count &&
		    comes_before(merge->heap[child + 1], merge->heap[child]))
			child++;
		if (!comes_before(merge->heap[child], queue))
			break;
		merge->heap[at] = merge->heap[child];
		at = child;
	}
	merge->heap[at] = queue;
}

static int make_room(struct merge *merge)
{
	const size_t wanted = merge->capacity == 0 ? 16 : merge->capacity * 2;
	struct merge_queue **heap;

	if (merge->count < merge->capacity)
		return 0;
	heap = realloc(merge->heap, wanted * sizeof(struct merge_queue *));
	if (heap == NULL)
		return -ENOMEM;
	merge->heap = heap;
	merge->capacity = wanted;
	return 0;
}

int merge_push_as(struct merge *merge, struct merge_queue *queue, struct merge_node *node,
		  uint64_t key, uint64_t order)
{
	if (queue->head == NULL && make_room(merge) < 0)
		return -ENOMEM;
	*node = (struct merge_node){ .key = key, .order = order };
	if (queue->head != NULL) {
		queue->tail->next = node;
		queue->tail = node;
		return 0;
	}
	queue->head = queue->tail = node;
	merge->heap[merge->count++] = queue;
	sift_up(merge, merge->count - 1);
	return 0;
}

int merge_push(struct merge *merge, struct merge_queue *queue, struct merge_node *node,
	       uint64_t ticks)
{
	const uint64_t key = max_u64(queue->last_key, ticks);
	const int r = merge_push_as(merge, queue, node, key, merge->arrived);

	if (r < 0)
		return r;
	queue->last_key = key;
	merge->arrived++;
	return 0;
}

struct merge_node *merge_pop(struct merge *merge)
{
	struct merge_queue *queue = merge->heap[0];
	struct merge_node *node = queue->head;

	assert(merge->count > 0);
	queue->head = node->next;
	if (queue->head == NULL)
		merge->heap[0] = merge->heap[--merge->count];
	if (merge->count > 0)
		sift_down(merge, 0);
	return node;
}

void merge_free(struct merge *merge)
{
	free(merge->heap);
	*merge = (struct merge){ 0 };
}
