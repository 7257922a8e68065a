/*
 * test_reader_merge.c - the order of several sources.
 */
#include "reader_merge.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct merge merge;
static struct merge_queue queues[8];
static struct merge_node nodes[4096];

static void push(unsigned queue, unsigned node, uint64_t ticks)
{
	cr_assert_eq(merge_push(&merge, &queues[queue], &nodes[node], ticks), 0);
}

static void tear_down(void)
{
	merge_free(&merge);
}

TestSuite(reader_merge, .fini = tear_down);

Test(reader_merge, an_empty_merge_has_nothing)
{
	cr_expect_null(merge_peek(&merge));
}

Test(reader_merge, the_smallest_stamp_comes_first)
{
	push(0, 0, 30);
	push(1, 1, 10);
	push(2, 2, 20);
	cr_expect_eq(merge_peek(&merge), &nodes[1]);
	cr_expect_eq(merge_pop(&merge), &nodes[1]);
	cr_expect_eq(merge_pop(&merge), &nodes[2]);
	cr_expect_eq(merge_pop(&merge), &nodes[0]);
	cr_expect_null(merge_peek(&merge));
}

Test(reader_merge, equal_stamps_come_as_they_arrived)
{
	push(2, 0, 5);
	push(0, 1, 5);
	push(1, 2, 5);
	for (unsigned i = 0; i < 3; i++)
		cr_expect_eq(merge_pop(&merge), &nodes[i]);
}

Test(reader_merge, a_source_keeps_its_order_against_its_stamps)
{
	push(0, 0, 50);
	push(0, 1, 10);
	push(1, 2, 40);
	push(1, 3, 55);
	cr_expect_eq(merge_pop(&merge), &nodes[2]);
	cr_expect_eq(merge_pop(&merge), &nodes[0]);
	cr_expect_eq(merge_pop(&merge), &nodes[1]);
	cr_expect_eq(merge_pop(&merge), &nodes[3]);
}

Test(reader_merge, a_source_keeps_its_order_after_it_was_empty)
{
	push(0, 0, 50);
	(void)merge_pop(&merge);
	push(0, 1, 10);
	push(1, 2, 40);
	cr_expect_eq(merge_pop(&merge), &nodes[2]);
	cr_expect_eq(merge_pop(&merge), &nodes[1]);
}

Test(reader_merge, any_mixture_comes_out_ordered_and_complete)
{
	uint64_t last_key = 0, popped = 0;

	srandom(7);
	for (unsigned i = 0; i < COUNT_OF(nodes); i++) {
		const unsigned queue = (unsigned)random() % COUNT_OF(queues);

		push(queue, i, (uint64_t)random() % 100000);
	}
	while (merge_peek(&merge) != NULL) {
		const struct merge_node *node = merge_pop(&merge);

		cr_assert_geq(node->key, last_key);
		last_key = node->key;
		popped++;
	}
	cr_expect_eq(popped, COUNT_OF(nodes));
}

Test(reader_merge, a_copied_node_keeps_its_key_and_order)
{
	cr_assert_eq(merge_push_as(&merge, &queues[0], &nodes[0], 7, 2), 0);
	cr_assert_eq(merge_push_as(&merge, &queues[1], &nodes[1], 7, 1), 0);
	cr_expect_eq(merge_pop(&merge), &nodes[1]);
	cr_expect_eq(merge_pop(&merge), &nodes[0]);
}
