/*
 * test_drain.c - from a real ring into pages, and the ring's own progress.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drain_fixture.h"
#include "shmlog.h"

enum { PAGES = 8 };

static struct ring_fixture ring;
static uint8_t pages[PAGES][PAGE_MAX] __attribute__((aligned(4096)));
static struct page_builder builder;
static struct page_builder closed[PAGES]; /* as end_page() left them */
static char text[4096];

static void set_up(void)
{
	ring_begin(&ring, 0, 0, RING_CLOCK_MONOTONIC);
}

/* One own lane: whoever binds one gets lane 1. */
static void set_up_two_lanes(void)
{
	ring_begin(&ring, 2, 0, RING_CLOCK_MONOTONIC);
}

static void tear_down(void)
{
	ring_end(&ring);
}

/* ---- passes and pages ---- */

static void begin_page(unsigned page)
{
	page_begin(&builder, pages[page], PAGE_DATA);
}

static const void *end_page(unsigned page)
{
	struct page_stamp stamp = { 0 };

	drain_close_page(&ring.drain, &builder);
	drain_stamp(&ring.drain, &stamp);
	stamp.page_no = page + 1;
	stamp.salt = 1;
	(void)page_finish(&builder, &stamp);
	closed[page] = builder;
	cr_assert(page_check(pages[page], PAGE_MAX, 1) == 0);
	return pages[page];
}

/* One pass into one page, which it must fit; what came of it in `text`. */
static const void *take(unsigned page)
{
	begin_page(page);
	drain_begin_pass(&ring.drain);
	cr_assert(drain_continue(&ring.drain, &builder) == DRAIN_DONE);
	(void)end_page(page);
	ring_page_text(pages[page], text, sizeof(text));
	return pages[page];
}

/* The writer's own marks alone. */
static const void *mark(unsigned page)
{
	begin_page(page);
	drain_mark(&ring.drain, &builder);
	(void)end_page(page);
	ring_page_text(pages[page], text, sizeof(text));
	return pages[page];
}

static void expect(const char *expected)
{
	cr_assert(strcmp(text, expected) == 0, "\"%s\", not \"%s\"", text, expected);
}

static void expect_taken(unsigned page, const char *expected)
{
	(void)take(page);
	expect(expected);
}

static void expect_marks(unsigned page, const char *expected)
{
	(void)mark(page);
	expect(expected);
}

static void release(unsigned page)
{
	drain_release(&ring.drain, &closed[page]);
}

/* A page that a pass has left empty was never closed with anything under way. */
static void expect_nothing(unsigned page)
{
	expect_taken(page, "");
	cr_assert(((struct page_header *)pages[page])->records == 0);
}

static void make_durable(void)
{
	static struct drain_snapshot snapshot;

	drain_snapshot(&ring.drain, &snapshot);
	drain_set_durable(&ring.drain, &snapshot);
}

/* ---- records ---- */

Test(records, carry_the_numbers_of_their_lanes_and_owners, .init = set_up, .fini = tear_down)
{
	ring_data(&ring, 2, "c");
	ring_data(&ring, 1, "a");
	ring_data(&ring, 1, "b");
	ring_put(&ring, 0, 5, RECORD_DATA, "d", 1);
	expect_taken(0, "261:d 1:a 1:b 2:c");
}

/* What follows the first record of a lane and of an owner id is taken in a run. */
Test(records, of_several_owners_in_a_row_are_accounted_to_each, .init = set_up, .fini = tear_down)
{
	ring_put(&ring, 0, 5, RECORD_DATA, "a", 1);
	ring_put(&ring, 0, 5, RECORD_DATA, "b", 1);
	ring_put(&ring, 0, 6, RECORD_DATA, "c", 1);
	ring_put(&ring, 0, 5, RECORD_DATA, "d", 1);
	ring_put(&ring, 0, 6, RECORD_DATA, "e", 1);
	ring_put(&ring, 0, 6, RECORD_DATA, "f", 1);
	expect_taken(0, "261:a 261:b 262:c 261:d 262:e 262:f");
	cr_assert(ring_cursor(pages[0], 0)->position == 6 &&
		  ring_cursor(pages[0], 0)->records == 6);
	cr_assert(ring_marked(pages[0], 0, 5)->records == 3);
	cr_assert(ring_marked(pages[0], 0, 6)->records == 3);
}

Test(records, of_other_kinds_between_them_stay_in_their_places, .init = set_up, .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	ring_data(&ring, 1, "b");
	ring_source(&ring, 1, "me", 0);
	ring_data(&ring, 1, "c");
	ring_put(&ring, 1, 0, 99, "none of ours", 12);
	ring_data(&ring, 1, "d");
	expect_taken(0, "1:a 1:b 1=me 1:c 1-1c 1:d");
	cr_assert(ring_cursor(pages[0], 1)->records == 4);
}

Test(records, entries_say_how_far_each_lane_was_taken, .init = set_up, .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	ring_put(&ring, 1, 0, RECORD_DATA, text, 100);
	ring_put(&ring, 0, 5, RECORD_DATA, "d", 1);
	const void *page = take(0);
	cr_assert(ring_cursor(page, 1)->position == 3 && ring_cursor(page, 1)->records == 2);
	cr_assert(ring_cursor(page, 0)->position == 1 && ring_cursor(page, 0)->records == 1);
	cr_assert(ring_cursor(page, 2) == NULL, "nothing of it is in the page");
	cr_assert(ring_marked(page, 0, 5)->records == 1);
	cr_assert(ring_marked(page, 0, 4) == NULL);
}

Test(records, levels_and_stamps_of_producers_are_kept, .init = set_up, .fini = tear_down)
{
	struct page_cursor cursor = { 0 };
	struct record_header header;
	const void *payload;

	ring.ticks = 776;
	ring_data(&ring, 1, "a");
	cr_assert(page_next_record(take(0), &cursor, &header, &payload) == 1);
	cr_assert(header.ticks == 777 && header.level == 6 && header.kind == RECORD_DATA);
}

Test(records, sources_say_who_publishes_from_there_on, .init = set_up, .fini = tear_down)
{
	const struct source_payload *source = &ring_status(&ring, 1)->source;

	ring_source(&ring, 1, "first", 0);
	ring_data(&ring, 1, "a");
	ring_source(&ring, 1, "second", 0);
	expect_taken(0, "1=first 1:a 1=second");
	cr_assert(source->name[0] == '\0', "the ring's word follows the disk");
	release(0);
	cr_assert(strcmp(source->name, "second") == 0 && source->lane == 1);
}

Test(records, totals_count_data_losses_and_dead_claims, .init = set_up, .fini = tear_down)
{
	const struct page_header *header = (const void *)pages[1];
	const struct gap_payload gap = { { 3 } };

	ring_data(&ring, 1, "a");
	(void)take(0);
	ring_data(&ring, 2, "b");
	ring_put(&ring, 2, 0, RECORD_GAP, &gap, sizeof(gap));
	ring_word(&ring, 1, 1, 0, WORD_CLAIMED);
	(void)take(1);
	cr_assert(header->total_records == 2);
	cr_assert(header->total_lost == 3);
	cr_assert(header->total_abandoned == 1);
	cr_assert(header->segment_id == ring.segment.geometry.segment_id);
}

/* ---- full pages ---- */

static void set_up_large_lanes(void)
{
	ring_begin(&ring, 2, 512 * 1024, RING_CLOCK_MONOTONIC);
}

Test(full_page, the_next_page_goes_on_in_the_middle_of_the_lane, .init = set_up_large_lanes,
     .fini = tear_down)
{
	static uint8_t large[20000];
	enum { RECORDS = 20 };
	const uint32_t blocks = record_blocks(sizeof(large));

	for (unsigned i = 0; i < RECORDS; i++) {
		large[0] = (uint8_t)('a' + i);
		ring_put(&ring, 1, 0, RECORD_DATA, large, sizeof(large));
	}
	begin_page(0);
	drain_begin_pass(&ring.drain);
	cr_assert(drain_continue(&ring.drain, &builder) == DRAIN_FULL);
	const uint64_t first = ring_cursor(end_page(0), 1)->records;
	cr_assert(first == PAGE_MAX / (sizeof(large) + sizeof(struct record_header)));
	cr_assert(ring_cursor(pages[0], 1)->position == first * blocks);
	ring_page_text(pages[0], text, sizeof(text));
	cr_assert(text[strlen(text) - 1] == (char)('a' + first - 1));

	begin_page(1);
	cr_assert(drain_continue(&ring.drain, &builder) == DRAIN_DONE);
	cr_assert(ring_cursor(end_page(1), 1)->records == RECORDS);
	ring_page_text(pages[1], text, sizeof(text));
	cr_assert(text[2] == (char)('a' + first), "no record twice, none left out: %s", text);
}

Test(full_page, the_largest_record_fits_an_empty_page, .init = set_up_large_lanes,
     .fini = tear_down)
{
	static uint8_t largest[RING_RECORD_MAX];

	cr_assert(ring.segment.geometry.record_max == sizeof(largest));
	ring_put(&ring, 1, 0, RECORD_DATA, largest, sizeof(largest));
	cr_assert(ring_cursor(take(0), 1)->records == 1);
}

/* ---- release ---- */

Test(release, nothing_moves_before_the_page_is_complete, .init = set_up, .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	(void)take(0);
	expect_nothing(1);
	cr_assert(ring_released(&ring, 1) == 0 && ring_written(&ring, 1) == 0);
	release(0);
	cr_assert(ring_released(&ring, 1) == 1 && ring_written(&ring, 1) == 1);
	cr_assert(ring_durable(&ring, 1) == 0);
}

Test(release, each_page_moves_the_ring_as_far_as_it_says, .init = set_up, .fini = tear_down)
{
	const struct lane_status *status = ring_status(&ring, 1);

	ring_data(&ring, 1, "a");
	(void)take(0);
	ring_data(&ring, 1, "b");
	ring_data(&ring, 2, "c");
	(void)take(1);
	release(0);
	cr_assert(ring_released(&ring, 1) == 1 && ring_released(&ring, 2) == 0);
	cr_assert(load_relaxed(&status->records_released) == 1);
	release(1);
	cr_assert(ring_released(&ring, 1) == 2 && ring_released(&ring, 2) == 1);
	cr_assert(load_relaxed(&status->records_written) == 2);
}

Test(release, whoever_waits_for_the_lane_is_told, .init = set_up, .fini = tear_down)
{
	const struct shared_u32 *moved = &ring_status(&ring, 1)->moved;
	const uint32_t before = load_relaxed_u32(moved);

	ring_data(&ring, 1, "a");
	(void)take(0);
	release(0);
	const uint32_t written = load_relaxed_u32(moved);
	cr_assert(written != before);
	make_durable();
	cr_assert(load_relaxed_u32(moved) != written);
}

Test(release, durable_is_what_the_snapshot_of_the_sync_covers, .init = set_up, .fini = tear_down)
{
	static struct drain_snapshot snapshot;

	ring_data(&ring, 1, "a");
	(void)take(0);
	ring_data(&ring, 1, "b");
	(void)take(1);
	release(0);
	drain_snapshot(&ring.drain, &snapshot); /* a sync begins */
	release(1);
	drain_set_durable(&ring.drain, &snapshot);
	cr_assert(ring_durable(&ring, 1) == 1 && ring_written(&ring, 1) == 2);
	cr_assert(drain_is_unsynced(&ring.drain));
	make_durable();
	cr_assert(ring_durable(&ring, 1) == 2 && !drain_is_unsynced(&ring.drain));
}

Test(release, an_older_snapshot_moves_durable_back_nowhere, .init = set_up, .fini = tear_down)
{
	static struct drain_snapshot older;

	drain_snapshot(&ring.drain, &older);
	ring_data(&ring, 1, "a");
	(void)take(0);
	release(0);
	make_durable();
	drain_set_durable(&ring.drain, &older);
	cr_assert(ring_durable(&ring, 1) == 1);
}

Test(release, released_follows_durable_if_so_configured, .init = set_up, .fini = tear_down)
{
	ring.drain.release_durable = true;
	ring_data(&ring, 1, "a");
	(void)take(0);
	release(0);
	cr_assert(ring_written(&ring, 1) == 1 && ring_released(&ring, 1) == 0);
	make_durable();
	cr_assert(ring_released(&ring, 1) == 1);
	cr_assert(load_relaxed(&ring_status(&ring, 1)->records_released) == 1);
}

/* ---- what holds nothing to deliver ---- */

Test(skips, alone_move_all_three_words_without_a_page, .init = set_up, .fini = tear_down)
{
	ring_word(&ring, 1, 7, 0, WORD_SKIP);
	ring_word(&ring, 1, 1, 0, WORD_SKIP);
	expect_nothing(0);
	cr_assert(ring_released(&ring, 1) == 8);
	cr_assert(ring_written(&ring, 1) == 8);
	cr_assert(ring_durable(&ring, 1) == 8);
	cr_assert(load_relaxed(&ring_status(&ring, 1)->abandoned) == 0, "padding is no loss");
}

Test(skips, behind_a_page_under_way_move_with_it, .init = set_up, .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	(void)take(0);
	ring_word(&ring, 1, 7, 0, WORD_SKIP);
	expect_nothing(1);
	cr_assert(ring_released(&ring, 1) == 0);
	release(0);
	cr_assert(ring_released(&ring, 1) == 8);
	cr_assert(ring_durable(&ring, 1) == 0, "what lies before them is not durable");
}

Test(skips, and_records_that_were_copied_show_how_far, .init = set_up, .fini = tear_down)
{
	const struct lane_status *status = view_lane_status(&ring.view, 1);

	ring_data(&ring, 1, "a");
	ring_data(&ring, 1, "b");
	(void)take(0);
	cr_assert(load_relaxed(&status->taken) == 2 && load_relaxed(&status->released) == 0);
	ring_reopen(&ring);
	drain_restore_end(&ring.drain, true);
	cr_assert(load_relaxed(&status->taken) == 0, "a restart takes them again");
}

Test(skips, behind_what_is_not_durable_become_durable_with_the_next_sync, .init = set_up,
     .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	(void)take(0);
	release(0);
	ring_word(&ring, 1, 7, 0, WORD_SKIP);
	expect_nothing(1);
	cr_assert(ring_written(&ring, 1) == 8 && ring_durable(&ring, 1) == 0);
	cr_assert(drain_is_unsynced(&ring.drain), "somebody may wait for it");
	make_durable();
	cr_assert(ring_durable(&ring, 1) == 8);
}

Test(skips, move_released_where_it_follows_durable, .init = set_up, .fini = tear_down)
{
	ring.drain.release_durable = true;
	ring_word(&ring, 1, 7, 0, WORD_SKIP);
	expect_nothing(0);
	cr_assert(ring_released(&ring, 1) == 7);
	ring_data(&ring, 1, "a");
	(void)take(1);
	release(1);
	ring_word(&ring, 1, 7, 0, WORD_SKIP);
	expect_nothing(2);
	cr_assert(ring_released(&ring, 1) == 7, "not past what is not durable");
	make_durable();
	cr_assert(ring_released(&ring, 1) == 15);
}

Test(skips, aborted_claims_never_fill_the_lane, .init = set_up_two_lanes, .fini = tear_down)
{
	struct shmlog_claim claim;
	struct shmlog *log;

	cr_assert(shmlog_attach(ring.name, NULL, &log) == 0);
	for (unsigned i = 0; i < 3 * RING_BLOCKS / 64; i++) {
		cr_assert(shmlog_claim(log, 6, 60 * BLOCK_SIZE, &claim) == 0, "claim %u", i);
		cr_assert(shmlog_abort(log, &claim) == 0);
		(void)take(0);
		release(0);
	}
	cr_assert(ring_released(&ring, 1) > 2 * RING_BLOCKS);
	cr_assert(ring.drain.total_abandoned == 0);
	shmlog_detach(&log);
}

/* ---- claims ---- */

Test(claim, of_somebody_alive_holds_its_lane_only, .init = set_up, .fini = tear_down)
{
	const int holder = ring_hold(&ring, LOCK_BYTE_LANE(1));

	ring_data(&ring, 1, "a");
	ring_word(&ring, 1, 2, 0, WORD_CLAIMED);
	ring_data(&ring, 1, "behind");
	ring_data(&ring, 2, "c");
	expect_taken(0, "1:a 2:c");
	release(0);
	expect_nothing(1);
	cr_assert(ring_released(&ring, 1) == 1);
	close(holder);
}

Test(claim, that_was_committed_is_taken_with_what_lies_behind, .init = set_up_two_lanes,
     .fini = tear_down)
{
	struct shmlog_claim claim;
	struct shmlog *log;

	cr_assert(shmlog_attach(ring.name,
				&(struct shmlog_options){ .size = sizeof(struct shmlog_options),
							  .name = "me" },
				&log) == 0);
	cr_assert(shmlog_claim(log, 6, 5, &claim) == 0);
	cr_assert(shmlog_try_push(log, "behind", 6) == 0);
	expect_taken(0, "1=me");
	memcpy(claim.data, "claim", 5);
	cr_assert(shmlog_commit(log, &claim, 5) == 0);
	expect_taken(1, "1:claim 1:behind");
	shmlog_detach(&log);
}

Test(claim, of_a_dead_lane_is_stepped_over_and_counted_once, .init = set_up, .fini = tear_down)
{
	ring_word(&ring, 1, 2, 0, WORD_CLAIMED);
	ring_data(&ring, 1, "behind");
	expect_taken(0, "1:behind");
	cr_assert(ring_cursor(pages[0], 1)->abandoned == 1);
	release(0);
	expect_nothing(1);
	cr_assert(load_relaxed(&ring_status(&ring, 1)->abandoned) == 1);
	cr_assert(ring.drain.total_abandoned == 1);
}

Test(claim, of_a_dead_owner_holds_up_nobody_in_lane_0, .init = set_up, .fini = tear_down)
{
	const int holder = ring_hold(&ring, LOCK_BYTE_OWNER(INT64_C(7)));

	ring_word(&ring, 0, 1, 5, WORD_CLAIMED);
	ring_put(&ring, 0, 7, RECORD_DATA, "a", 1);
	ring_word(&ring, 0, 1, 7, WORD_CLAIMED);
	ring_put(&ring, 0, 7, RECORD_DATA, "b", 1);
	expect_taken(0, "263:a");
	cr_assert(ring.drain.total_abandoned == 1);
	close(holder);
	expect_taken(1, "263:b");
	cr_assert(ring.drain.total_abandoned == 2);
}

/* The claim is published between the look and the question, then its owner dies. */
static int publish_then_die(int fd, int64_t start, int64_t size)
{
	(void)fd;
	(void)start;
	(void)size;
	ring.position[1] = 0;
	ring_data(&ring, 1, "just in time");
	return 0;
}

Test(claim, published_by_one_who_dies_meanwhile_is_taken, .init = set_up, .fini = tear_down)
{
	ring_word(&ring, 1, 1, 0, WORD_CLAIMED);
	ring.sys.lock_query = publish_then_die;
	expect_taken(0, "1:just in time");
	cr_assert(ring.drain.total_abandoned == 0);
}

static int cannot_tell(int fd, int64_t start, int64_t size)
{
	(void)fd;
	(void)start;
	(void)size;
	return -ENOLCK;
}

Test(claim, of_an_owner_that_cannot_be_asked_about_is_waited_for, .init = set_up, .fini = tear_down)
{
	ring_word(&ring, 1, 1, 0, WORD_CLAIMED);
	ring_data(&ring, 1, "behind");
	ring.sys.lock_query = cannot_tell;
	expect_nothing(0);
}

/* A child that claims in lane 1, publishes behind it, and is killed. */
static void leave_claim_of_killed_child(void)
{
	const pid_t child = fork();

	if (child == 0) {
		struct shmlog_claim claim;
		struct shmlog *log;

		if (shmlog_attach(ring.name,
				  &(struct shmlog_options){ .size = sizeof(struct shmlog_options),
							    .name = "child" },
				  &log) < 0 ||
		    shmlog_claim(log, 6, 10, &claim) < 0 || shmlog_try_push(log, "behind", 6) < 0)
			_exit(1);
		(void)raise(SIGKILL);
	}
	int status;

	cr_assert(waitpid(child, &status, 0) == child);
	cr_assert(WIFSIGNALED(status), "the child could not claim");
	ring_wait_unheld(&ring, LOCK_BYTE_LANE(1));
}

Test(claim, of_a_killed_process_is_counted_once, .init = set_up_two_lanes, .fini = tear_down)
{
	leave_claim_of_killed_child();
	expect_taken(0, "1=child 1:behind");
	cr_assert(ring.drain.total_abandoned == 1);
	expect_nothing(1);
	cr_assert(ring.drain.total_abandoned == 1);
}

Test(claim, that_a_new_binding_has_buried_is_counted_once, .init = set_up_two_lanes,
     .fini = tear_down)
{
	struct shmlog *log;

	leave_claim_of_killed_child();
	cr_assert(shmlog_attach(ring.name,
				&(struct shmlog_options){ .size = sizeof(struct shmlog_options),
							  .name = "heir" },
				&log) == 0);
	cr_assert(shmlog_try_push(log, "mine", 4) == 0);
	expect_taken(0, "1=child 1:behind 1=heir 1:mine");
	cr_assert(ring.drain.total_abandoned == 1);
	release(0);
	cr_assert(load_relaxed(&ring_status(&ring, 1)->abandoned) == 1);
	shmlog_detach(&log);
}

/* ---- drops and marks ---- */

static struct shmlog *attach(const char *name)
{
	const struct shmlog_options options = { .size = sizeof(options), .name = name };
	struct shmlog *log;

	cr_assert(shmlog_attach(ring.name, &options, &log) == 0);
	return log;
}

/* Push records of 30 KiB until @drops were dropped. */
static void push_until_dropped(struct shmlog *log, unsigned drops)
{
	static char large[30 * 1024];

	while (drops > 0)
		drops -= shmlog_try_push(log, large, sizeof(large)) == -EAGAIN;
}

static void drop_in_child(unsigned drops)
{
	const pid_t child = fork();
	int status;

	if (child == 0) {
		push_until_dropped(attach("child"), drops);
		(void)raise(SIGKILL);
	}
	cr_assert(waitpid(child, &status, 0) == child);
	cr_assert(WIFSIGNALED(status));
	ring_wait_unheld(&ring, LOCK_BYTE_LANE(1));
}

/* A process that fills the lane to the last block, if it is not full, and drops one. */
static void fill_in_child(const char *name)
{
	const pid_t child = fork();
	int status;

	if (child == 0) {
		struct shmlog *log = attach(name);

		for (int dropped = 0; !dropped;)
			dropped = shmlog_try_push(log, "", 0) == -EAGAIN;
		(void)raise(SIGKILL);
	}
	cr_assert(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
	ring_wait_unheld(&ring, LOCK_BYTE_LANE(1));
}

static uint64_t marked_full(void)
{
	return load_relaxed(&ring_status(&ring, 1)->marked[LOSS_FULL]);
}

Test(marks, gaps_of_the_producer_raise_them, .init = set_up_two_lanes, .fini = tear_down)
{
	struct shmlog *log = attach("me");

	push_until_dropped(log, 3);
	(void)take(0);
	release(0);
	cr_assert(marked_full() == 0);
	cr_assert(shmlog_try_push(log, "a", 1) == 0);
	expect_taken(1, "1-3f 1:a");
	release(1);
	cr_assert(marked_full() == 3);
	expect_marks(2, "");
	shmlog_detach(&log);
	expect_marks(3, "");
}

Test(marks, of_a_living_producer_are_its_own, .init = set_up_two_lanes, .fini = tear_down)
{
	struct shmlog *log = attach("me");

	push_until_dropped(log, 3);
	(void)take(0);
	release(0);
	expect_marks(1, "");
	shmlog_detach(&log);
}

Test(marks, of_a_dead_producer_are_made_once, .init = set_up_two_lanes, .fini = tear_down)
{
	drop_in_child(3);
	expect_marks(0, "");
	(void)take(1);
	expect_marks(2, "1-3f");
	expect_marks(3, "");
	release(1);
	release(2);
	cr_assert(marked_full() == 3);
	expect_marks(4, "");
}

Test(marks, of_a_dead_producer_come_before_its_heir, .init = set_up_two_lanes, .fini = tear_down)
{
	drop_in_child(3);
	(void)take(0);
	release(0);
	struct shmlog *log = attach("heir");
	cr_assert(shmlog_try_push(log, "a", 1) == 0);
	expect_taken(1, "1-3f 1=heir 1:a");
	expect_marks(2, "");
	shmlog_detach(&log);
	expect_marks(3, "");
}

Test(marks, of_a_producer_that_found_no_room_for_its_name_bear_its_name, .init = set_up_two_lanes,
     .fini = tear_down)
{
	fill_in_child("first");
	fill_in_child("second");
	(void)take(0);
	expect_marks(1, "1-1f 1=second 1-1f");
	expect_marks(2, "");
}

/* The stamp of the first record of @kind in a page. */
static uint64_t stamp_of(unsigned page, enum record_kind kind)
{
	struct page_cursor cursor = { 0 };
	struct record_header header;
	const void *payload;

	while (page_next_record(pages[page], &cursor, &header, &payload) == 1)
		if (header.kind == kind)
			return header.ticks;
	cr_assert(false, "no such record");
	return 0;
}

/* Else all that an heir with the same name pushed before the drain came would stand behind it. */
Test(marks, bear_no_stamp_later_than_what_is_not_taken, .init = set_up_two_lanes, .fini = tear_down)
{
	struct shmlog *log;

	drop_in_child(3);
	(void)take(0);
	release(0);
	log = attach("heir");
	cr_assert(shmlog_try_push(log, "a", 1) == 0);
	expect_taken(1, "1-3f 1=heir 1:a");
	cr_assert(stamp_of(1, RECORD_GAP) <= stamp_of(1, RECORD_DATA));
	shmlog_detach(&log);
}

Test(marks, are_not_made_again_when_an_heir_comes, .init = set_up_two_lanes, .fini = tear_down)
{
	drop_in_child(3);
	(void)take(0);
	release(0);
	expect_marks(1, "1-3f");
	struct shmlog *log = attach("heir");
	cr_assert(shmlog_try_push(log, "a", 1) == 0);
	expect_taken(2, "1=heir 1:a");
	shmlog_detach(&log);
}

Test(marks, of_lane_0_belong_to_the_owner, .init = set_up, .fini = tear_down)
{
	struct producer_line *line = ring_owner_line(&ring, 9);

	store_relaxed(&line->drops[LOSS_SIZE], 4);
	const void *page = mark(0);
	expect("265-4s");
	cr_assert(ring_marked(page, 0, 9)->marked[LOSS_SIZE] == 4);
	expect_marks(1, "");
}

Test(marks, of_lane_0_wait_for_what_is_published_there, .init = set_up, .fini = tear_down)
{
	store_relaxed(&ring_owner_line(&ring, 9)->drops[LOSS_SIZE], 4);
	ring_put(&ring, 0, 9, RECORD_DATA, "a", 1);
	expect_marks(0, "");
	(void)take(1);
	expect_marks(2, "265-4s");
}

Test(marks, of_who_could_bind_nothing_are_the_writers, .init = set_up, .fini = tear_down)
{
	struct doorbell *doorbell = ring_doorbell(&ring);
	const struct shared_u64 *marked = view_writer(&ring.view)->unbound_marked;

	store_relaxed(&doorbell->drops[LOSS_NO_LANE], 4);
	expect_marks(0, "0-4n");
	store_relaxed(&doorbell->drops[LOSS_NO_LANE], 5);
	expect_marks(1, "0-1n");
	expect_marks(2, "");
	cr_assert(ring_marked(pages[1], LANE_UNBOUND, 0)->marked[LOSS_NO_LANE] == 5);
	release(0);
	release(1);
	cr_assert(load_relaxed(&marked[LOSS_NO_LANE]) == 5);
}

Test(marks, counters_that_go_back_make_none, .init = set_up, .fini = tear_down)
{
	struct doorbell *doorbell = ring_doorbell(&ring);

	store_relaxed(&doorbell->drops[LOSS_NO_LANE], 4);
	expect_marks(0, "0-4n");
	store_relaxed(&doorbell->drops[LOSS_NO_LANE], 1);
	expect_marks(1, "");
}

Test(marks, that_find_no_room_come_in_the_next_page, .init = set_up, .fini = tear_down)
{
	struct record_header header = { .kind = RECORD_DATA };

	store_relaxed(&ring_doorbell(&ring)->drops[LOSS_NO_LANE], 4);
	begin_page(0);
	header.length = (uint32_t)page_room(&builder, 0) - 64;
	page_append(&builder, &header, pages[PAGES - 1]);
	drain_mark(&ring.drain, &builder);
	cr_assert(ring_marked(end_page(0), LANE_UNBOUND, 0) == NULL);
	expect_marks(1, "0-4n");
}

/* ---- restart ---- */

Test(restart, a_complete_page_that_was_not_released_is_not_taken_again, .init = set_up,
     .fini = tear_down)
{
	ring_source(&ring, 1, "me", 0);
	ring_data(&ring, 1, "a");
	ring_word(&ring, 1, 1, 0, WORD_CLAIMED);
	(void)take(0);
	ring_data(&ring, 1, "b");
	ring_reopen(&ring);
	drain_restore_page(&ring.drain, pages[0]);
	drain_restore_end(&ring.drain, true);
	cr_assert(ring_released(&ring, 1) == ring_cursor(pages[0], 1)->position);
	cr_assert(ring_durable(&ring, 1) == ring_released(&ring, 1), "recovery has synced it");
	cr_assert(ring.drain.total_abandoned == 1);
	expect_taken(1, "1:b");
	cr_assert(ring.drain.total_records == 2);
	cr_assert(strcmp(ring.drain.lanes[1].slot.now.source.name, "me") == 0);
}

Test(restart, a_page_that_never_landed_is_taken_again, .init = set_up, .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	(void)take(0);
	ring_reopen(&ring);
	drain_restore_end(&ring.drain, true);
	expect_taken(1, "1:a");
	cr_assert(ring.drain.total_records == 1);
}

Test(restart, pages_of_another_ring_move_nothing, .init = set_up, .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	(void)take(0);
	((struct page_header *)pages[0])->segment_id++;
	ring_reopen(&ring);
	drain_restore_page(&ring.drain, pages[0]);
	drain_restore_end(&ring.drain, true);
	expect_taken(1, "1:a");
}

Test(restart, a_mark_on_disk_is_not_made_again, .init = set_up_two_lanes, .fini = tear_down)
{
	drop_in_child(3);
	(void)take(0);
	release(0);
	store_relaxed(&ring_doorbell(&ring)->drops[LOSS_NO_LANE], 4);
	expect_marks(1, "1-3f 0-4n");
	ring_reopen(&ring);
	drain_restore_page(&ring.drain, pages[0]);
	drain_restore_page(&ring.drain, pages[1]);
	drain_restore_end(&ring.drain, true);
	expect_marks(2, "");
	cr_assert(ring.drain.total_lost == 7);
}

Test(restart, a_mark_that_never_landed_is_not_forgotten, .init = set_up_two_lanes,
     .fini = tear_down)
{
	drop_in_child(3);
	(void)take(0);
	release(0);
	expect_marks(1, "1-3f");
	ring_reopen(&ring);
	drain_restore_page(&ring.drain, pages[0]);
	drain_restore_end(&ring.drain, true);
	expect_marks(2, "1-3f");
}

Test(restart, a_gap_on_disk_is_not_marked_again, .init = set_up_two_lanes, .fini = tear_down)
{
	struct shmlog *log = attach("me");

	push_until_dropped(log, 3);
	(void)take(0);
	release(0);
	cr_assert(shmlog_try_push(log, "a", 1) == 0);
	shmlog_detach(&log);
	expect_taken(1, "1-3f 1:a");
	ring_reopen(&ring);
	drain_restore_page(&ring.drain, pages[1]);
	drain_restore_end(&ring.drain, true);
	expect_marks(2, "");
}

/* What the next FILE page would hold, into pages[@page]. */
static void fill_file_page(unsigned page)
{
	const struct page_stamp stamp = { .segment_id = ring.segment.geometry.segment_id,
					  .total_lost = ring.drain.total_lost };
	struct file_info info = { 0 };

	page_begin(&builder, pages[page], PAGE_FILE);
	page_append_info(&builder, &info, sizeof(info));
	drain_fill_file_page(&ring.drain, &builder);
	(void)page_finish(&builder, &stamp);
	ring_page_text(pages[page], text, sizeof(text));
}

Test(restart, the_file_page_alone_restores_all, .init = set_up, .fini = tear_down)
{
	ring_source(&ring, 1, "me", 0);
	ring_data(&ring, 1, "a");
	ring_put(&ring, 0, 5, RECORD_DATA, "b", 1);
	store_relaxed(&ring_owner_line(&ring, 9)->drops[LOSS_SIZE], 4);
	store_relaxed(&ring_doorbell(&ring)->drops[LOSS_NO_LANE], 2);
	(void)take(0);
	expect_marks(1, "265-4s 0-2n");
	release(0);
	release(1);
	ring_data(&ring, 1, "later");
	expect_taken(2, "1:later"); /* under way: not in the table */

	fill_file_page(3);
	expect("1=me");
	/* As if the segment knew nothing. */
	for (uint32_t lane = 0; lane < 2; lane++)
		memset(&ring.drain.lanes[lane].status->released, 0, 3 * sizeof(uint64_t));
	ring_reopen(&ring);
	drain_restore_page(&ring.drain, pages[3]);
	drain_restore_end(&ring.drain, true);
	expect_taken(4, "1:later");
	expect_marks(5, "");
	cr_assert(ring.drain.owners[5].now.records == 1);
	cr_assert(strcmp(ring.drain.lanes[1].slot.now.source.name, "me") == 0);
}

/* The segment says that more was released than the disk holds. */
static void lose_page_below_ring(void)
{
	for (unsigned i = 0; i < 5; i++)
		ring_data(&ring, 1, "a");
	(void)take(0);
	release(0);
	ring_reopen(&ring);
}

#define NOTE_OF_5 \
	"(5 records of lane 1 were released by an earlier writer, and are not in this log)"

Test(restart, what_the_ring_is_ahead_of_its_log_is_named_by_the_first_file_page, .init = set_up,
     .fini = tear_down)
{
	lose_page_below_ring();
	drain_restore_end(&ring.drain, true);
	cr_assert(ring_released(&ring, 1) == 5, "never back");
	cr_assert(ring.drain.total_lost == 5);
	expect_marks(1, NOTE_OF_5);
	expect_marks(2, "");
	fill_file_page(3);
	expect("1-5w");
	fill_file_page(3);
	expect("1-5w"); /* the one before did not come to the disk */
	drain_file_page_done(&ring.drain);
	fill_file_page(4);
	expect("");
	expect_nothing(5);
}

Test(restart, that_file_page_and_its_loss_are_on_disk_together, .init = set_up, .fini = tear_down)
{
	lose_page_below_ring();
	drain_restore_end(&ring.drain, true);
	fill_file_page(3);
	ring_reopen(&ring); /* killed before it was on disk */
	drain_restore_end(&ring.drain, true);
	fill_file_page(4);
	expect("1-5w");
	ring_reopen(&ring); /* killed behind it */
	drain_restore_page(&ring.drain, pages[4]);
	drain_restore_end(&ring.drain, true);
	cr_assert(ring.drain.total_lost == 5);
	expect_marks(5, "");
	fill_file_page(6);
	expect("");
}

Test(restart, a_mark_that_went_with_a_lost_page_is_made_again, .init = set_up_two_lanes,
     .fini = tear_down)
{
	drop_in_child(3);
	(void)take(0);
	release(0);
	expect_marks(1, "1-3f");
	release(1);
	ring_reopen(&ring);
	drain_restore_page(&ring.drain, pages[0]);
	drain_restore_end(&ring.drain, true);
	expect_marks(2, "1-3f");
	release(2);
	ring_reopen(&ring);
	drain_restore_end(&ring.drain, false);
	expect_marks(3, ""); /* another log: the ring's word that it was named */
}

Test(restart, what_another_log_holds_is_not_marked, .init = set_up, .fini = tear_down)
{
	lose_page_below_ring();
	drain_restore_end(&ring.drain, false);
	expect_marks(1, "");
	expect_nothing(2);
}

Test(restart, every_sleeper_is_woken, .init = set_up, .fini = tear_down)
{
	uint32_t before[RING_LANES];

	for (uint32_t lane = 0; lane < RING_LANES; lane++)
		before[lane] = load_relaxed_u32(&ring_status(&ring, lane)->moved);
	ring_reopen(&ring);
	drain_restore_end(&ring.drain, true);
	for (uint32_t lane = 0; lane < RING_LANES; lane++)
		cr_assert(load_relaxed_u32(&ring_status(&ring, lane)->moved) != before[lane]);
}

/* ---- a failed sync ---- */

Test(failed_sync, counts_and_marks_what_was_released_since_the_last, .init = set_up,
     .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	(void)take(0);
	release(0);
	make_durable();
	ring_data(&ring, 1, "b");
	ring_data(&ring, 1, "c");
	(void)take(1);
	release(1);
	drain_count_unsynced(&ring.drain, NULL);
	cr_assert(load_relaxed(&ring_status(&ring, 1)->failed) == 2);
	cr_assert(load_relaxed(&ring_status(&ring, 2)->failed) == 0);
	expect_marks(2, "1-2y");
	expect_marks(3, "");
	drain_count_unsynced(&ring.drain, NULL);
	expect_marks(4, "");
}

Test(failed_sync, that_a_killed_writer_had_not_named_is_named_by_the_next, .init = set_up,
     .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	ring_data(&ring, 1, "b");
	(void)take(0);
	release(0);
	drain_count_unsynced(&ring.drain, NULL);
	ring_reopen(&ring);
	drain_restore_page(&ring.drain, pages[0]);
	drain_restore_end(&ring.drain, true);
	expect_marks(1, "1-2y");
	ring_reopen(&ring);
	drain_restore_page(&ring.drain, pages[0]);
	drain_restore_page(&ring.drain, pages[1]);
	drain_restore_end(&ring.drain, true);
	expect_marks(2, "");
}

/* The next start finds missing on the disk what the writer had counted: one loss, one name. */
Test(failed_sync, that_the_disk_lost_indeed_is_named_once, .init = set_up, .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	(void)take(0);
	release(0);
	make_durable();
	ring_data(&ring, 1, "b");
	ring_data(&ring, 1, "c");
	(void)take(1);
	release(1);
	drain_count_unsynced(&ring.drain, NULL);
	ring_reopen(&ring);
	drain_restore_page(&ring.drain, pages[0]);
	drain_restore_end(&ring.drain, true);
	expect_marks(2, "1-2y");
}

/* ---- records and words that make no sense ---- */

Test(refused, a_record_costs_itself_only, .init = set_up, .fini = tear_down)
{
	const struct lane lane = ring_lane(&ring, 1);

	ring_data(&ring, 1, "a");
	ring_put(&ring, 1, 0, 99, "kind", 4);
	ring_put(&ring, 1, 0, RECORD_NOTE, "forged", 6);
	ring_put(&ring, 1, 0, RECORD_GAP, "short", 5);
	ring_data(&ring, 1, "long");
	((struct record_header *)(void *)lane_block(&lane, 4))->length = BLOCK_SIZE - 15;
	ring_data(&ring, 1, "b");
	expect_taken(0, "1:a 1-1c 1-1c 1-1c 1-1c 1:b");
	cr_assert(load_relaxed(&ring_status(&ring, 1)->refused) == 4);
	cr_assert(ring.drain.total_lost == 4);
	expect_marks(1, "");
}

Test(refused, in_lane_0_it_is_a_loss_of_its_owner, .init = set_up, .fini = tear_down)
{
	ring_put(&ring, 0, 5, 99, "kind", 4);
	expect_taken(0, "261-1c");
	expect_marks(1, "");
}

Test(refused, does_not_hide_a_drop_that_the_producer_counts, .init = set_up, .fini = tear_down)
{
	ring_put(&ring, 1, 0, 99, "kind", 4);
	expect_taken(0, "1-1c");
	store_relaxed(&ring_lane_page(&ring, 1)->line.drops[LOSS_CORRUPT], 1);
	expect_marks(1, "1-1c");
}

struct nonsense {
	const char *what;
	uint64_t lap;
	uint32_t blocks;
	enum word_state state;
};

static const struct nonsense nonsense[] = {
	{ "no blocks", 1, 0, WORD_READY },
	{ "more than a record may have", 1, RING_BLOCKS / 2 + 1, WORD_READY },
	{ "a lap from the future", 2, 1, WORD_READY },
	{ "the last lap of all", (UINT64_C(1) << 40) - 1, 1, WORD_READY },
	{ "free, but of this lap", 1, 1, WORD_FREE },
	{ "a claim of nothing", 1, 0, WORD_CLAIMED },
	{ "a skip of nothing", 1, 0, WORD_SKIP },
};

static void put_nonsense(const struct nonsense *bad, uint32_t lane_no, uint64_t position)
{
	const struct lane lane = ring_lane(&ring, lane_no);

	store_release(lane_word(&lane, position), word_make(bad->lap, bad->blocks, 0, bad->state));
}

static bool is_quarantined(uint32_t lane)
{
	return load_acquire_u32(&ring_status(&ring, lane)->quarantine) == 1;
}

static void expect_quarantine(uint64_t position, const char *what)
{
	char expected[256];

	(void)take(0);
	snprintf(expected, sizeof(expected),
		 "1:a (lane 1 makes no sense at position %llu: set aside until its users are gone)"
		 " 1-1c 2:b",
		 (unsigned long long)position);
	cr_assert(strcmp(text, expected) == 0, "%s: \"%s\"", what, text);
	cr_assert(is_quarantined(1), "%s", what);
	release(0);
	expect_nothing(1);
}

Test(quarantine, each_kind_of_nonsense_costs_its_lane_only, .init = set_up, .fini = tear_down)
{
	for (size_t i = 0; i < COUNT_OF(nonsense); i++) {
		ring_data(&ring, 1, "a");
		put_nonsense(&nonsense[i], 1, 1);
		ring_data(&ring, 2, "b");
		expect_quarantine(1, nonsense[i].what);
		cr_assert(load_relaxed(&ring_status(&ring, 1)->quarantines) == 1);
		tear_down();
		set_up();
	}
}

Test(quarantine, a_record_across_the_lanes_end_makes_no_sense, .init = set_up, .fini = tear_down)
{
	ring_word(&ring, 1, RING_BLOCKS / 2, 0, WORD_SKIP);
	ring_word(&ring, 1, RING_BLOCKS / 2 - 2, 0, WORD_SKIP);
	ring_data(&ring, 1, "a");
	ring_word(&ring, 1, 2, 0, WORD_READY);
	ring_data(&ring, 2, "b");
	expect_quarantine(RING_BLOCKS - 1, "across the end");
}

Test(quarantine, lasts_until_the_lanes_users_are_gone, .init = set_up, .fini = tear_down)
{
	const int holder = ring_hold(&ring, LOCK_BYTE_LANE(1));

	put_nonsense(&nonsense[0], 1, 0);
	(void)take(0);
	release(0);
	drain_reset_lanes(&ring.drain);
	cr_assert(is_quarantined(1));
	close(holder);
	drain_reset_lanes(&ring.drain);
	cr_assert(!is_quarantined(1));
}

static struct lane_status *own_words(uint32_t lane)
{
	return ring.drain.lanes[lane].status;
}

Test(quarantine, ends_also_where_somebody_has_moved_the_position, .init = set_up, .fini = tear_down)
{
	put_nonsense(&nonsense[0], 1, 0);
	(void)take(0);
	release(0);
	store_relaxed(&own_words(1)->released, 4711);
	drain_reset_lanes(&ring.drain);
	cr_assert(!is_quarantined(1));
	cr_assert(ring_released(&ring, 1) == 0);
}

Test(quarantine, of_lane_0_ends_a_hint_that_leads_astray, .init = set_up, .fini = tear_down)
{
	struct lane_page *page = ring_lane_page(&ring, 0);
	const int holder = ring_hold(&ring, LOCK_BYTE_OWNER(7));

	store_relaxed(&page->tail_hint, 5);
	drain_reset_lanes(&ring.drain);
	cr_assert(load_relaxed(&page->tail_hint) == 5, "somebody may just be claiming");
	close(holder);
	drain_reset_lanes(&ring.drain);
	cr_assert(load_relaxed(&page->tail_hint) == 0);
	store_relaxed(&page->tail_hint, 1);
	ring_put(&ring, 0, 7, RECORD_DATA, "a", 1);
	drain_reset_lanes(&ring.drain);
	cr_assert(load_relaxed(&page->tail_hint) == 1, "a record lies there");
}

/* ---- what others store over the writer's words ---- */

Test(repair, positions_and_marks_are_stored_again, .init = set_up, .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	(void)take(0);
	release(0);
	make_durable();
	store_relaxed(&own_words(1)->released, 0);
	store_relaxed(&own_words(2)->written, UINT64_MAX);
	store_relaxed(&own_words(3)->durable, 77);
	store_relaxed_u32(&own_words(3)->quarantine, 1);
	cr_assert(!drain_repair(&ring.drain));
	cr_assert(ring_released(&ring, 1) == 1 && ring_written(&ring, 2) == 0);
	cr_assert(ring_durable(&ring, 3) == 0 && !is_quarantined(3));
}

Test(repair, a_ring_that_stays_closed_under_its_name_is_opened, .init = set_up, .fini = tear_down)
{
	cr_assert(segment_set_closed(&ring.segment) == 0);
	cr_assert(!drain_repair(&ring.drain), "it may be about to be removed");
	cr_assert(drain_repair(&ring.drain));
	cr_assert(!(load_acquire_u32(&view_header(&ring.view)->control) & CONTROL_CLOSED));
}

Test(repair, a_removed_ring_stays_closed, .init = set_up, .fini = tear_down)
{
	cr_assert(segment_set_closed(&ring.segment) == 0);
	cr_assert(segment_unlink(&ring.segment) == 0);
	for (int i = 0; i < 3; i++)
		cr_assert(!drain_repair(&ring.drain));
}

Test(repair, a_position_that_cannot_be_is_not_believed_by_a_restart, .init = set_up,
     .fini = tear_down)
{
	const uint64_t insane[] = { UINT64_MAX, UINT64_C(1) << 63, UINT64_C(1) << 50 };

	for (size_t i = 0; i < COUNT_OF(insane); i++) {
		store_relaxed(&own_words(1)->released, insane[i]);
		ring_reopen(&ring);
		drain_restore_end(&ring.drain, true);
		cr_assert(ring.drain.lanes[1].taken.position == 0);
		cr_assert(ring_released(&ring, 1) == 0);
	}
}

static void show_writer(void)
{
	ring.drain.writer->pid = 1;
}

Test(memory, that_is_whole_is_nothing_to_talk_about, .init = set_up, .fini = tear_down)
{
	show_writer();
	drain_check_memory(&ring.drain);
	cr_assert(!ring.drain.is_lost && !drain_was_hit(&ring.drain));
}

Test(memory, that_was_cut_is_a_loss_and_noted_once, .init = set_up, .fini = tear_down)
{
	show_writer();
	cr_assert(ftruncate(ring.drain.segment.fd, (off_t)ring.drain.segment.geometry.size - 1) ==
		  0);
	drain_check_memory(&ring.drain);
	cr_assert(ring.drain.is_lost && ring.drain.is_cut);
	begin_page(0);
	drain_mark(&ring.drain, &builder);
	ring_page_text(end_page(0), text, sizeof(text));
	cr_assert(strstr(text, "memory was taken away") && strstr(text, "-1c"), "\"%s\"", text);
	begin_page(1);
	drain_mark(&ring.drain, &builder);
	cr_assert(builder.records == 0);
}

Test(memory, whose_header_was_written_over_costs_no_record, .init = set_up, .fini = tear_down)
{
	const uint64_t other = 1;

	show_writer();
	cr_assert(pwrite(ring.segment.fd, &other, 8, 40) == 8);
	drain_check_memory(&ring.drain);
	cr_assert(ring.drain.is_lost && !ring.drain.is_cut);
	begin_page(0);
	drain_mark(&ring.drain, &builder);
	ring_page_text(end_page(0), text, sizeof(text));
	cr_assert(strstr(text, "header was written over") && !strstr(text, "-1c"), "%s", text);
}

Test(memory, that_was_wiped_is_known_by_who_the_writer_is, .init = set_up, .fini = tear_down)
{
	show_writer();
	ring.drain.writer->pid = 0;
	store_relaxed_u32(&ring.drain.writer->state, WRITER_NONE);
	drain_check_memory(&ring.drain);
	cr_assert(ring.drain.is_lost && ring.drain.is_cut);
}

/* ---- quarantine, again ---- */

Test(quarantine, does_not_end_before_what_was_taken_is_released, .init = set_up, .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	put_nonsense(&nonsense[0], 1, 1);
	(void)take(0);
	drain_reset_lanes(&ring.drain);
	cr_assert(is_quarantined(1), "a binder walks from `released`, over what is zero then");
	release(0);
	drain_reset_lanes(&ring.drain);
	cr_assert(!is_quarantined(1));
}

Test(quarantine, does_not_end_before_what_was_written_is_durable, .init = set_up, .fini = tear_down)
{
	ring.drain.release_durable = true;
	ring_data(&ring, 1, "a");
	put_nonsense(&nonsense[0], 1, 1);
	(void)take(0);
	release(0);
	drain_reset_lanes(&ring.drain);
	cr_assert(is_quarantined(1));
	make_durable();
	drain_reset_lanes(&ring.drain);
	cr_assert(!is_quarantined(1));
}

Test(quarantine, afterwards_positions_go_on, .init = set_up_two_lanes, .fini = tear_down)
{
	ring_data(&ring, 1, "a");
	ring_data(&ring, 1, "b");
	put_nonsense(&nonsense[3], 1, 2);
	put_nonsense(&nonsense[3], 1, 5);
	(void)take(0);
	release(0);
	drain_reset_lanes(&ring.drain);
	struct shmlog *log = attach("next");
	cr_assert(shmlog_try_push(log, "c", 1) == 0);
	expect_taken(1, "1=next 1:c");
	cr_assert(ring_cursor(pages[1], 1)->position == 2 + 3 + 1);
	cr_assert(ring_cursor(pages[1], 1)->records == 3);
	shmlog_detach(&log);
}

Test(quarantine, no_thread_binds_the_lane_meanwhile, .init = set_up_two_lanes, .fini = tear_down)
{
	put_nonsense(&nonsense[0], 1, 0);
	(void)take(0);
	struct shmlog *log = attach("other");
	cr_assert(shmlog_try_push(log, "a", 1) == 0);
	expect_taken(1, "257=other 257:a");
	shmlog_detach(&log);
}

Test(quarantine, of_lane_0_lasts_until_all_its_owners_are_gone, .init = set_up, .fini = tear_down)
{
	const int holder = ring_hold(&ring, LOCK_BYTE_OWNER(INT64_C(5)));
	struct lane_page *page = ring_lane_page(&ring, 0);
	const struct lane lane = ring_lane(&ring, 0);
	const struct shared_lane shared = { .lane = lane,
					    .released = &ring_status(&ring, 0)->released,
					    .tail_hint = &page->tail_hint,
					    .owner = 6,
					    .clock = RING_CLOCK_MONOTONIC };
	uint64_t position, ticks;

	ring_put(&ring, 0, 5, RECORD_DATA, "a", 1);
	put_nonsense(&nonsense[2], 0, 1);
	store_relaxed(&page->tail_hint, UINT64_MAX);
	(void)take(0);
	release(0);
	drain_reset_lanes(&ring.drain);
	cr_assert(is_quarantined(0));
	close(holder);
	drain_reset_lanes(&ring.drain);
	cr_assert(!is_quarantined(0));
	cr_assert(load_relaxed(&page->tail_hint) == 0);
	cr_assert(ring_claim_shared(&shared, 1, &position, &ticks) == 0);
	cr_assert(position == 1, "positions go on");
}

Test(quarantine, is_completed_by_a_starting_writer, .init = set_up, .fini = tear_down)
{
	put_nonsense(&nonsense[0], 1, 0);
	(void)take(0);
	release(0);
	ring_reopen(&ring);
	drain_restore_end(&ring.drain, true);
	expect_nothing(1);
	drain_reset_lanes(&ring.drain);
	cr_assert(!is_quarantined(1));
	ring_data(&ring, 1, "a");
	expect_taken(2, "1:a");
}

Test(quarantine, what_waits_behind_it_is_no_backlog, .init = set_up, .fini = tear_down)
{
	put_nonsense(&nonsense[4], 1, 0); /* which a survey's walk passes */
	ring.position[1] = 1;
	ring_data(&ring, 1, "a");
	(void)take(0);
	cr_assert(is_quarantined(1));
	cr_assert(drain_backlog(&ring.drain) == 0, "nobody would ever drain it");
}

/* ---- passes ---- */

/* The holder of the last claim publishes a whole lap more, without asking for room. */
static int publish_a_lap(int fd, int64_t start, int64_t size)
{
	(void)fd;
	(void)start;
	(void)size;
	for (unsigned i = 0; i < RING_BLOCKS - 1; i++)
		ring_data(&ring, 1, "x");
	return 0;
}

Test(pass, ends_although_a_hostile_producer_publishes_for_ever, .init = set_up, .fini = tear_down)
{
	for (unsigned i = 0; i < RING_BLOCKS - 1; i++)
		ring_data(&ring, 1, "x");
	ring_word(&ring, 1, 1, 0, WORD_CLAIMED);
	ring.sys.lock_query = publish_a_lap;
	begin_page(0);
	drain_begin_pass(&ring.drain);
	cr_assert(drain_continue(&ring.drain, &builder) == DRAIN_DONE);
	cr_assert(ring_cursor(end_page(0), 1)->position == RING_BLOCKS);
}

Test(pass, seen_is_when_the_last_whole_pass_began, .init = set_up_large_lanes, .fini = tear_down)
{
	static uint8_t large[200000];
	const uint64_t before = clock_monotonic_ns();
	const struct page_header *first = (const void *)pages[0];
	const struct page_header *second = (const void *)pages[1];

	(void)take(0);
	cr_assert(first->seen >= before && first->seen <= clock_monotonic_ns());
	const uint64_t seen = first->seen;

	ring_put(&ring, 1, 0, RECORD_DATA, large, sizeof(large));
	ring_put(&ring, 1, 0, RECORD_DATA, large, sizeof(large));
	begin_page(0);
	drain_begin_pass(&ring.drain);
	const uint64_t began = clock_monotonic_ns();
	cr_assert(drain_continue(&ring.drain, &builder) == DRAIN_FULL);
	(void)end_page(0);
	cr_assert(first->seen == seen, "the pass has not come to its end");
	begin_page(1);
	cr_assert(drain_continue(&ring.drain, &builder) == DRAIN_DONE);
	(void)end_page(1);
	cr_assert(second->seen > seen && second->seen <= began);
}

Test(pass, backlog_is_the_most_that_waits_in_one_lane, .init = set_up, .fini = tear_down)
{
	cr_assert(drain_backlog(&ring.drain) == 0);
	ring_data(&ring, 1, "a");
	for (unsigned i = 0; i < 3; i++)
		ring_data(&ring, 2, "b");
	cr_assert(drain_backlog(&ring.drain) == 3);
	(void)take(0);
	cr_assert(drain_backlog(&ring.drain) == 0, "taken, if not released");
}

/* ---- clocks ---- */

static struct page_header *take_of_clock(uint32_t clock, uint64_t *ret_ticks)
{
	struct page_cursor cursor = { 0 };
	struct record_header header;
	const void *payload;

	ring_begin(&ring, 0, 0, clock);
	ring_data(&ring, 1, "a");
	cr_assert(page_next_record(take(0), &cursor, &header, &payload) == 1);
	*ret_ticks = header.ticks;
	ring_end(&ring);
	return (void *)pages[0];
}

Test(clock, of_the_producers_is_kept)
{
	uint64_t ticks;
	const struct page_header *page = take_of_clock(RING_CLOCK_MONOTONIC, &ticks);

	cr_assert(ticks == 1 && page->first_ticks == 1 && page->last_ticks == 1);
	cr_assert(page->ticks_per_s == NS_PER_S && page->sample_ticks > 0);
	page = take_of_clock(RING_CLOCK_TSC, &ticks);
	cr_assert(ticks == 1 && page->ticks_per_s > 0 && page->sample_ticks > 0);
}

Test(clock, of_the_writer_stamps_at_the_drain)
{
	const uint64_t before = clock_monotonic_ns();
	uint64_t ticks;
	const struct page_header *page = take_of_clock(RING_CLOCK_WRITER, &ticks);

	cr_assert(ticks >= before && ticks <= clock_monotonic_ns());
	cr_assert(page->ticks_per_s == NS_PER_S);
	cr_assert(page->seen >= page->last_ticks, "no reader need hold it back");
}

Test(clock, none_says_so)
{
	uint64_t ticks;

	cr_assert(take_of_clock(RING_CLOCK_NONE, &ticks)->ticks_per_s == 0);
}

/* ---- the ring's name ---- */

static int (*real_open)(const char *path, int flags, mode_t mode);

static int out_of_descriptors(const char *path, int flags, mode_t mode)
{
	(void)path;
	(void)flags;
	(void)mode;
	return -EMFILE;
}

Test(name, a_ring_that_has_it_is_linked, .init = set_up, .fini = tear_down)
{
	cr_assert(!drain_is_unlinked(&ring.drain));
}

Test(name, one_that_cannot_be_looked_up_is_not_gone, .init = set_up, .fini = tear_down)
{
	real_open = ring.sys.open;
	ring.sys.open = out_of_descriptors;
	cr_assert(!drain_is_unlinked(&ring.drain));
	ring.sys.open = real_open;
}

Test(name, that_is_gone_or_another_rings_means_unlinked, .init = set_up, .fini = tear_down)
{
	const struct segment_options options = { .lanes = 1, .lane_size = RING_LANE_SIZE };
	uint64_t undrained;

	cr_assert(segment_remove(&sys_real, ring.name, true, &undrained) == 0);
	cr_assert(drain_is_unlinked(&ring.drain));
	cr_assert(segment_create(&sys_real, ring.name, &options) == 0);
	cr_assert(drain_is_unlinked(&ring.drain));
}

Test(users, are_holders_of_lanes_and_owner_ids, .init = set_up, .fini = tear_down)
{
	cr_assert(!drain_has_users(&ring.drain), "the writer itself is none");
	const int lane = ring_hold(&ring, LOCK_BYTE_LANE(3));
	cr_assert(drain_has_users(&ring.drain));
	close(lane);
	const int owner = ring_hold(&ring, LOCK_BYTE_OWNER(INT64_C(511)));
	cr_assert(drain_has_users(&ring.drain));
	close(owner);
	cr_assert(!drain_has_users(&ring.drain));
}
