/*
 * test_pages.c - from a filled page to a released one, over a disk that does what a test tells it.
 *
 * Real are the ring, the directory, the files and the second thread; the pages' writes and syncs go
 * to a fake that keeps them until the test completes them, with any result, in any order.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../writer/pages.h"
#include "../../writer/recover.h"
#include "drain_fixture.h"
#include "log_fixture.h"

enum { MIB = 1024 * 1024, SUBMISSIONS_MAX = 256 };

/* ---- a disk by hand ---- */

struct submission {
	bool is_open; /* not completed yet                                                   */
	bool is_sync;
	int fd;
	unsigned buffer;
	uint32_t size;
	uint64_t offset;
	uint64_t tag;
};

struct disk {
	struct io io; /* first */
	struct submission submissions[SUBMISSIONS_MAX];
	unsigned count;
	bool is_refusing; /* submissions                                                     */
};

static struct disk disk;
static uint8_t buffers[IO_BUFFERS * IO_BUFFER_SIZE] __attribute__((aligned(4096)));

static int keep(struct submission submission)
{
	if (disk.is_refusing)
		return -EAGAIN;
	cr_assert(disk.count < SUBMISSIONS_MAX);
	submission.is_open = true;
	disk.submissions[disk.count++] = submission;
	return 0;
}

static int disk_write(struct io *io, int fd, unsigned buffer, uint32_t size, uint64_t offset,
		      uint64_t tag)
{
	(void)io;
	return keep((struct submission){
		.fd = fd, .buffer = buffer, .size = size, .offset = offset, .tag = tag });
}

static int disk_sync(struct io *io, int fd, uint64_t tag)
{
	(void)io;
	return keep((struct submission){ .is_sync = true, .fd = fd, .tag = tag });
}

static const struct io_operations disk_operations = { .write = disk_write, .sync = disk_sync };

/* ---- a writer without its loop ---- */

static struct fixture dir;
static struct ring_fixture ring;
static struct config config;
static struct sys sys;
static struct roll roll;
static struct roll_volume volume;
static struct janitor *janitor;
static struct pages pages;
static int dir_fd;
static int64_t time_passed_ns;
static char text[4096];

static int64_t now_later(clockid_t clock)
{
	return sys_real.now(clock) + time_passed_ns;
}

static void start_pages(uint64_t page_next)
{
	pages = (struct pages){
		.sys = &sys,
		.config = &config,
		.io = &disk.io,
		.roll = &roll,
		.volume = &volume,
		.janitor = janitor,
		.ring = &ring.drain,
		.page_next = page_next,
		.log_id = 99,
	};
}

static void set_up(void)
{
	fixture_begin(&dir);
	ring_begin(&ring, 0, 0, RING_CLOCK_MONOTONIC);
	config = (struct config){ .max_file = MIB, .max_volume = UINT64_C(1) << 30 };
	sys = sys_real;
	sys.now = now_later;
	disk = (struct disk){ .io = { .operations = &disk_operations, .buffers = buffers } };
	dir_fd = open(dir.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(roll_open(&roll, &sys, dir_fd, dir.dir, false) == 0);
	cr_assert(janitor_start(&roll, NULL, NULL, &janitor) == 0);
	start_pages(1);
}

static void tear_down(void)
{
	janitor_stop(&janitor);
	roll_close(&roll);
	close(dir_fd);
	ring_end(&ring);
	fixture_end(&dir);
}

/* Everything that the second thread has to do is done. */
static void let_janitor_finish(void)
{
	while (janitor_pending(janitor) > 0)
		pages_wait(&pages, INT64_C(10) * NS_PER_S);
}

/* Pump until nothing more moves by itself. */
static void pump(void)
{
	unsigned before;

	do {
		before = disk.count;
		pages_pump(&pages);
		let_janitor_finish();
		pages_pump(&pages);
	} while (disk.count != before);
}

/* A page of one record, closed. */
static void close_page(const char *record)
{
	struct page_slot *slot;

	ring_data(&ring, 1, record);
	slot = pages_fill(&pages, &ring.drain);
	cr_assert(slot != NULL);
	drain_begin_pass(&ring.drain);
	cr_assert(drain_continue(&ring.drain, &slot->builder) == DRAIN_DONE);
	pages_close(&pages);
}

/* A page of one large record: three of them fill a file. */
static void close_large_page(const char *record)
{
	static char large[31 * 1024];

	memset(large, ' ', sizeof(large));
	memcpy(large, record, strlen(record));
	for (unsigned i = 0; i < 8; i++) {
		struct page_slot *slot;

		ring.position[1] = ring.drain.lanes[1].taken.position;
		if (lane_index(&ring.drain.lanes[1].lane, ring.position[1]) + 496 > RING_BLOCKS)
			ring_word(&ring, 1,
				  RING_BLOCKS -
					  lane_index(&ring.drain.lanes[1].lane, ring.position[1]),
				  0, WORD_SKIP);
		ring_put(&ring, 1, 0, RECORD_DATA, large, sizeof(large));
		slot = pages_fill(&pages, &ring.drain);
		cr_assert(slot != NULL);
		drain_begin_pass(&ring.drain);
		cr_assert(drain_continue(&ring.drain, &slot->builder) == DRAIN_DONE);
	}
	pages_close(&pages);
}

/* ---- completing ---- */

static const struct page_header *page_of(const struct submission *submission)
{
	return (const void *)(buffers + (size_t)submission->buffer * IO_BUFFER_SIZE);
}

/* The oldest open write of page @page_no; NULL: none. */
static struct submission *find_write(uint64_t page_no)
{
	for (unsigned i = 0; i < disk.count; i++) {
		struct submission *submission = &disk.submissions[i];

		if (submission->is_open && !submission->is_sync &&
		    page_of(submission)->page_no == page_no)
			return submission;
	}
	return NULL;
}

static struct submission *find_sync(void)
{
	for (unsigned i = 0; i < disk.count; i++)
		if (disk.submissions[i].is_open && disk.submissions[i].is_sync)
			return &disk.submissions[i];
	return NULL;
}

static bool is_kind(const struct submission *submission, enum page_kind kind)
{
	return submission && page_of(submission)->kind == kind;
}

static void land(const struct submission *submission)
{
	cr_assert(pwrite(submission->fd, page_of(submission), submission->size,
			 (off_t)submission->offset) == (ssize_t)submission->size);
}

static void answer(struct submission *submission, int error)
{
	cr_assert(submission != NULL);
	submission->is_open = false;
	disk.io.in_flight--;
	pages_written(&pages, (unsigned)submission->tag, error);
}

static void complete(uint64_t page_no)
{
	struct submission *submission = find_write(page_no);

	cr_assert(submission != NULL, "page %lu is not under way", (unsigned long)page_no);
	land(submission);
	answer(submission, 0);
}

static void fail(uint64_t page_no, int error)
{
	answer(find_write(page_no), error);
}

static unsigned count_open(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < disk.count; i++)
		count += disk.submissions[i].is_open;
	return count;
}

/* The disk takes everything from now on, until nothing is left to do. */
static void complete_all(void)
{
	pump();
	while (count_open() > 0) {
		for (unsigned i = 0; i < disk.count; i++) {
			struct submission *submission = &disk.submissions[i];

			if (!submission->is_open)
				continue;
			if (!submission->is_sync)
				land(submission);
			answer(submission, 0);
		}
		pump();
	}
	cr_assert(pages_is_idle(&pages));
}

/* ---- the whole log ---- */

static void expect_log(const char *expected)
{
	fixture_read_path(dir.dir, text, sizeof(text));
	cr_assert(strcmp(text, expected) == 0, "\"%s\", not \"%s\"", text, expected);
}

static void stop(void)
{
	if (pages.file)
		pages_seal(&pages);
	let_janitor_finish();
	pages_finish(&pages);
}

/* What the next writer makes of it. */
static struct recovery recover(void)
{
	struct recovery recovery;

	stop();
	cr_assert(recover_log(&roll, &ring.drain, &recovery) == 0, "%s", reason_get());
	return recovery;
}

/* The same for readers before and after the next writer has settled the directory. */
static void expect_log_twice(const char *expected)
{
	stop();
	expect_log(expected);
	cr_assert(recover().missing == 0);
	expect_log(expected);
}

static bool exists(uint64_t file_no, const char *suffix)
{
	char path[160];

	fixture_path(&dir, path, file_no, suffix);
	return access(path, F_OK) == 0;
}

static bool is_sealed(uint64_t file_no)
{
	return exists(file_no, ".shmlog") && !exists(file_no, ".shmlog.open");
}

static bool is_open(uint64_t file_no)
{
	return exists(file_no, ".shmlog.open");
}

/* ---- order ---- */

Test(order, a_file_begins_with_its_file_page, .init = set_up, .fini = tear_down)
{
	close_page("a");
	pump();
	cr_assert(is_kind(find_write(1), PAGE_FILE) && find_write(1)->offset == 0);
	cr_assert(is_kind(find_write(2), PAGE_DATA));
	cr_assert(find_write(2)->offset == page_of(find_write(1))->length);
	complete(2);
	cr_assert(ring_released(&ring, 1) == 0, "without its FILE page it is nothing");
	complete(1);
	cr_assert(ring_released(&ring, 1) == 1);
	expect_log_twice("a");
}

Test(order, pages_are_released_in_theirs_whichever_completes_first, .init = set_up,
     .fini = tear_down)
{
	close_page("a");
	close_page("b");
	close_page("c");
	pump();
	complete(1);
	complete(4);
	cr_assert(ring_released(&ring, 1) == 0);
	complete(3);
	cr_assert(ring_released(&ring, 1) == 0);
	complete(2);
	cr_assert(ring_released(&ring, 1) == 3);
	cr_assert(pages.completed_count == 3 && pages.closed_count == 3);
	expect_log_twice("a b c");
}

Test(order, when_all_buffers_are_busy_nothing_is_filled, .init = set_up, .fini = tear_down)
{
	char records[2 * IO_BUFFERS] = "";

	for (unsigned i = 0; i < IO_BUFFERS - 1; i++) {
		const char record[2] = { (char)('a' + i), '\0' };

		close_page(record);
		(void)strcat(strcat(records, i > 0 ? " " : ""), record);
	}
	cr_assert(pages_fill(&pages, &ring.drain) == NULL, "one is kept for the FILE page");
	pump();
	cr_assert(count_open() == IO_BUFFERS);
	complete(1);
	cr_assert(pages_fill(&pages, &ring.drain) == NULL);
	complete(2);
	cr_assert(pages_fill(&pages, &ring.drain) != NULL);
	complete_all();
	expect_log_twice(records);
}

Test(order, a_submission_that_is_refused_is_made_later, .init = set_up, .fini = tear_down)
{
	disk.is_refusing = true;
	close_page("a");
	pump();
	cr_assert(disk.count == 0);
	disk.is_refusing = false;
	time_passed_ns += NS_PER_S;
	complete_all();
	expect_log_twice("a");
}

Test(order, an_empty_page_is_never_written, .init = set_up, .fini = tear_down)
{
	cr_assert(pages_fill(&pages, &ring.drain) != NULL);
	pages_close(&pages);
	pump();
	cr_assert(disk.count == 0 && pages_is_idle(&pages));
	cr_assert(!pages_has_data(&pages));
}

/* ---- no room ---- */

static enum writer_state state(void)
{
	return load_relaxed_u32(&view_writer(&ring.view)->state);
}

Test(no_room, the_same_bytes_go_to_the_same_place_later, .init = set_up, .fini = tear_down)
{
	close_page("a");
	close_page("b");
	pump();
	complete(1);
	const struct submission first = *find_write(2);
	const uint64_t checksum = page_of(&first)->checksum;
	fail(2, -ENOSPC);
	complete(3);
	cr_assert(ring_released(&ring, 1) == 0);
	cr_assert(state() == WRITER_STALLED, "also if a page behind it found room");
	pump();
	cr_assert(find_write(2) == NULL, "not at once");

	time_passed_ns += NS_PER_S;
	pump();
	const struct submission *again = find_write(2);
	cr_assert(again && again->offset == first.offset && again->fd == first.fd);
	cr_assert(page_of(again)->checksum == checksum);
	complete(2);
	cr_assert(state() == WRITER_RUNNING);
	cr_assert(ring_released(&ring, 1) == 2);
	expect_log_twice("a b");
}

Test(no_room, is_told_and_counted_once, .init = set_up, .fini = tear_down)
{
	const struct writer_status *status = view_writer(&ring.view);

	close_page("a");
	pump();
	complete(1);
	for (unsigned i = 0; i < 3; i++) {
		fail(2, -ENOSPC);
		time_passed_ns += NS_PER_S;
		pump();
	}
	cr_assert(load_relaxed(&status->stalls) == 1);
	cr_assert(load_relaxed(&status->io_errors) == 0, "a full disk is no error");
	complete(2);
	cr_assert(strstr(pages.trouble, "room on disk again") != NULL);
}

Test(no_room, what_is_closed_meanwhile_waits_for_its_turn, .init = set_up, .fini = tear_down)
{
	close_page("a");
	pump();
	complete(1);
	fail(2, -ENOSPC);
	close_page("b");
	pump();
	cr_assert(count_open() == 0);
	time_passed_ns += NS_PER_S;
	complete_all();
	expect_log_twice("a b");
}

static int no_space(int fd, int mode, off_t offset, off_t size)
{
	(void)fd;
	(void)mode;
	(void)offset;
	(void)size;
	return -ENOSPC;
}

Test(no_room, for_a_file_stalls_until_there_is, .init = set_up, .fini = tear_down)
{
	sys.fallocate = no_space;
	close_page("a");
	pump();
	cr_assert(state() == WRITER_STALLED && disk.count == 0);
	cr_assert(pages.is_short);
	sys.fallocate = sys_real.fallocate;
	pump();
	cr_assert(disk.count == 0, "not at once");
	time_passed_ns += NS_PER_S;
	complete_all();
	cr_assert(state() == WRITER_RUNNING);
	cr_assert(!pages.is_short);
	expect_log_twice("a");
}

Test(no_room, nothing_is_begun_below_what_is_to_stay_free, .init = set_up, .fini = tear_down)
{
	config.min_free = UINT64_C(1) << 60;
	config.min_free_percent = ROOM_NO_SHARE;
	close_page("a");
	pump();
	cr_assert(state() == WRITER_STALLED && pages.is_short && disk.count == 0);
	cr_assert(strstr(pages.trouble, "--min-free") != NULL, "%s", pages.trouble);
	config.min_free = 0;
	time_passed_ns += NS_PER_S;
	complete_all();
	cr_assert(state() == WRITER_RUNNING && !pages.is_short);
	expect_log_twice("a");
}

Test(no_room, is_no_stall_before_the_oldest_could_make_some, .init = set_up, .fini = tear_down)
{
	config.on_full = ON_FULL_DELETE_OLDEST;
	sys.fallocate = no_space;
	close_page("a");
	pump();
	cr_assert(state() != WRITER_STALLED && pages.is_short && disk.count == 0);
	sys.fallocate = sys_real.fallocate;
	pages_try_again(&pages);
	complete_all();
	cr_assert(load_relaxed(&view_writer(&ring.view)->stalls) == 0);
	expect_log_twice("a");
}

Test(no_room, is_a_stall_if_the_oldest_make_none, .init = set_up, .fini = tear_down)
{
	config.on_full = ON_FULL_DELETE_OLDEST;
	sys.fallocate = no_space;
	close_page("a");
	pump();
	time_passed_ns += NS_PER_S;
	pump();
	cr_assert(state() == WRITER_STALLED);
	sys.fallocate = sys_real.fallocate;
	time_passed_ns += NS_PER_S;
	complete_all();
	cr_assert(state() == WRITER_RUNNING);
	expect_log_twice("a");
}

Test(no_room, for_the_next_file_does_not_hold_up_this_one, .init = set_up, .fini = tear_down)
{
	close_page("a");
	complete_all();
	sys.fallocate = no_space;
	close_large_page("b");
	close_large_page("c");
	pump(); /* past its middle: the next one is wanted */
	close_page("d");
	pump();
	cr_assert(count_open() == 3, "d, too, has its place in this file");
	complete_all();
	cr_assert(state() != WRITER_STALLED);
	cr_assert(load_relaxed(&view_writer(&ring.view)->stalls) == 0);

	for (uint64_t page_no = 6; page_no <= 7; page_no++) {
		close_large_page("e");
		time_passed_ns += NS_PER_S;
		pump();
		complete(page_no);
	}
	close_large_page("f");
	time_passed_ns += NS_PER_S;
	pump();
	cr_assert(state() == WRITER_STALLED, "now one is needed");
	sys.fallocate = sys_real.fallocate;
	time_passed_ns += NS_PER_S;
	complete_all();
	cr_assert(ring_released(&ring, 1) == ring.drain.lanes[1].taken.position);
}

/* ---- rolling ---- */

Test(roll, a_full_file_is_sealed_and_the_next_one_begins, .init = set_up, .fini = tear_down)
{
	for (unsigned i = 0; i < 5; i++) {
		close_large_page("x");
		complete_all();
	}
	cr_assert(pages.file->place.file_no == 2);
	let_janitor_finish();
	cr_assert(pages.seals_done == 1);
	cr_assert(is_sealed(1));
	stop();
	cr_assert(is_sealed(2));
}

Test(roll, a_volume_that_ends_takes_no_file_after_the_current, .init = set_up, .fini = tear_down)
{
	close_page("a");
	complete_all();
	const int64_t began = pages.volume_began;
	time_passed_ns += NS_PER_S;
	pages_end_volume(&pages);
	pages_end_volume(&pages); /* asked again each turn, until it has ended */
	complete_all();
	close_page("b");
	complete_all();
	cr_assert(pages.file->place.volume_no == 2 && pages.file->place.file_no == 2);
	cr_assert(pages.volume_began - began >= NS_PER_S);
	pages_roll(&pages);
	complete_all();
	close_page("c");
	complete_all();
	cr_assert(pages.file->place.volume_no == 2, "a new file is no new volume");
	expect_log_twice("a b c");
}

Test(roll, a_file_made_ahead_is_not_begun_in_a_volume_that_has_ended, .init = set_up,
     .fini = tear_down)
{
	close_large_page("a");
	close_large_page("b");
	close_large_page("c");
	complete_all();
	cr_assert(pages.is_ahead_ready && pages.ahead->place.volume_no == 1);
	pages_end_volume(&pages);
	complete_all();
	close_page("d");
	complete_all();
	cr_assert(pages.file->place.volume_no == 2 && pages.file->place.file_no == 3);
	let_janitor_finish();
	cr_assert(!is_open(2) && !is_sealed(2), "its number is left out");
	cr_assert(volume.bytes == pages.file->size, "it does not count for its volume");
	stop();
	cr_assert(recover().missing == 0);
}

Test(roll, a_file_is_settled_when_its_file_page_is_complete, .init = set_up, .fini = tear_down)
{
	close_page("a");
	pump();
	cr_assert(pages.settled.file_no == 0);
	complete(2);
	cr_assert(pages.settled.file_no == 0);
	complete(1);
	cr_assert(pages.settled.file_no == 1 && pages.settled.volume_no == 1);
}

Test(roll, the_next_file_page_waits_for_all_pages_before, .init = set_up, .fini = tear_down)
{
	for (unsigned i = 0; i < 5; i++)
		close_large_page("x");
	pump();
	complete(1);
	for (uint64_t page_no = 3; page_no <= 5; page_no++)
		complete(page_no);
	pump();
	cr_assert(find_write(6) == NULL);
	complete(2);
	pump();
	cr_assert(is_kind(find_write(6), PAGE_FILE));
	const struct cursor_entry *cursor = ring_cursor(page_of(find_write(6)), 1);
	cr_assert(cursor->position == ring_released(&ring, 1), "its table is the state as of them");
	complete_all();
}

Test(roll, a_file_page_counts_nothing_of_what_comes_behind_it, .init = set_up, .fini = tear_down)
{
	close_page("a");
	complete_all();
	const uint64_t seen = pages.ring->seen;
	pages_roll(&pages);
	drain_begin_pass(&ring.drain);
	close_page("b");
	drain_begin_pass(&ring.drain);
	close_page("c");
	pump();
	const struct page_header *header = page_of(find_write(3));
	cr_assert(is_kind(find_write(3), PAGE_FILE));
	cr_assert(header->total_records == 1, "%lu", (unsigned long)header->total_records);
	cr_assert(header->seen <= seen, "b and c are still to come");
	complete_all();
	cr_assert(pages.ring->kept.total_records == 3);
}

Test(roll, ends_the_file_behind_what_is_under_way, .init = set_up, .fini = tear_down)
{
	close_page("a");
	pump();
	pages_roll(&pages);
	close_page("b"); /* load that never pauses */
	pump();
	cr_assert(find_write(3) == NULL, "it goes to the next file");
	complete(1);
	complete(2);
	pump();
	cr_assert(!pages.is_rolling && is_sealed(1));
	cr_assert(is_kind(find_write(3), PAGE_FILE));
	complete_all();
	expect_log_twice("a b");
}

Test(roll, of_a_quiet_file_needs_no_page_behind, .init = set_up, .fini = tear_down)
{
	close_page("a");
	complete_all();
	pages_roll(&pages);
	pump();
	cr_assert(!pages.is_rolling && pages.file == NULL && is_sealed(1));
}

/* A worker of the kernel may not have looked its descriptor up yet. */
Test(roll, waits_for_a_sync_of_the_file, .init = set_up, .fini = tear_down)
{
	close_page("a");
	complete_all();
	pages_sync_begun(&pages);
	pages_roll(&pages);
	close_page("b");
	pump();
	cr_assert(pages.is_rolling && pages.file && is_open(1));
	pages_sync_done(&pages, true);
	pump();
	cr_assert(is_sealed(1));
	complete_all();
	expect_log_twice("a b");
}

Test(roll, without_a_file_there_is_nothing_to_end, .init = set_up, .fini = tear_down)
{
	pages_roll(&pages);
	cr_assert(!pages.is_rolling);
	pump();
	cr_assert(pages.seals_submitted == 0);
}

Test(roll, a_new_ring_begins_a_new_file, .init = set_up, .fini = tear_down)
{
	close_page("a");
	complete_all();
	ring.drain.segment.geometry.segment_id++;
	close_page("b");
	pump();
	cr_assert(is_kind(find_write(3), PAGE_FILE));
	cr_assert(page_of(find_write(3))->segment_id == ring.drain.segment.geometry.segment_id);
	complete_all();
	expect_log_twice("a b");
}

Test(roll, a_removed_rings_pages_go_to_files_of_their_own, .init = set_up, .fini = tear_down)
{
	static struct drain fresh;

	close_page("a");
	complete_all();
	fresh = ring.drain; /* stands for the ring that is made anew */
	fresh.segment.geometry.segment_id++;
	pages.ring = &fresh;
	pages.file->segment_id++; /* the current file is the new ring's */
	close_page("b");
	pump();
	cr_assert(is_kind(find_write(3), PAGE_FILE));
	cr_assert(page_of(find_write(3))->segment_id == ring.drain.segment.geometry.segment_id);
	pages.ring = &ring.drain;
	complete_all();
}

/* ---- errors ---- */

Test(error, a_failed_page_and_all_behind_it_go_to_the_next_file, .init = set_up, .fini = tear_down)
{
	close_page("a");
	close_page("b");
	close_page("c");
	pump();
	complete(1);
	complete(2);
	fail(3, -EIO);
	pump();
	cr_assert(ring_released(&ring, 1) == 1);
	cr_assert(disk.count == 4, "one is still under way in the file");
	complete(4);
	pump();
	cr_assert(ring_released(&ring, 1) == 1, "c is complete, but behind b");
	answer(find_sync(), 0);
	pump();
	cr_assert(is_kind(find_write(3), PAGE_FILE), "the number of the first not complete");
	cr_assert(is_kind(find_write(4), PAGE_DATA) && is_kind(find_write(5), PAGE_DATA));
	complete_all();
	cr_assert(ring_released(&ring, 1) == 3);
	expect_log_twice("a b c");
}

Test(error, pages_before_the_failed_one_count_when_they_complete_first, .init = set_up,
     .fini = tear_down)
{
	close_page("a");
	close_page("b");
	pump();
	complete(1);
	fail(3, -EIO);
	complete(2);
	complete_all();
	cr_assert(ring_released(&ring, 1) == 2);
	expect_log_twice("a b");
}

Test(error, although_the_data_has_landed_nothing_is_read_twice, .init = set_up, .fini = tear_down)
{
	close_page("a");
	close_page("b");
	pump();
	complete(1);
	land(find_write(2));
	land(find_write(3));
	fail(3, -EIO);
	fail(2, -EIO);
	complete_all();
	expect_log_twice("a b");
}

Test(error, of_a_file_page_makes_the_next_file_take_its_number, .init = set_up, .fini = tear_down)
{
	close_page("a");
	pump();
	fail(1, -EIO);
	complete(2);
	cr_assert(ring_released(&ring, 1) == 0);
	pump();
	cr_assert(is_kind(find_write(1), PAGE_FILE) && is_kind(find_write(2), PAGE_DATA));
	complete_all();
	expect_log_twice("a");
}

Test(error, of_a_file_page_that_has_landed_leaves_two_of_one_number, .init = set_up,
     .fini = tear_down)
{
	close_page("a");
	pump();
	land(find_write(1));
	land(find_write(2));
	fail(1, -EIO);
	complete(2);
	complete_all();
	close_page("b");
	complete_all();
	expect_log_twice("a b");
	cr_assert(ring_released(&ring, 1) == 2);
}

Test(error, the_file_is_left_to_the_next_writer, .init = set_up, .fini = tear_down)
{
	close_page("a");
	complete_all();
	close_page("b");
	pump();
	fail(3, -EIO);
	complete_all();
	cr_assert(!is_sealed(1));
	cr_assert(load_relaxed(&view_writer(&ring.view)->io_errors) == 1);
	const struct recovery recovery = recover();
	cr_assert(recovery.sealed == 1 && is_sealed(1));
	expect_log("a b");
}

Test(error, what_is_complete_in_the_file_is_synced_before_it_is_left, .init = set_up,
     .fini = tear_down)
{
	close_page("a");
	complete_all();
	const int fd = pages.file->fd;
	close_page("b");
	pump();
	fail(3, -EIO);
	pump();
	const struct submission *sync = find_sync();
	cr_assert(sync && sync->fd == fd, "no later sync would cover a");
	cr_assert(find_write(3) == NULL, "the next file waits for it");
	complete_all();
	expect_log_twice("a b");
}

Test(error, of_that_sync_counts_what_may_be_lost, .init = set_up, .fini = tear_down)
{
	close_page("a");
	complete_all();
	close_page("b");
	pump();
	fail(3, -EIO);
	pump();
	answer(find_sync(), -EIO);
	complete_all();
	cr_assert(load_relaxed(&ring_status(&ring, 1)->failed) == 1, "a, but not b");
	cr_assert(ring.drain.lanes[1].unsynced == 1);
}

Test(error, a_poisoned_file_takes_nothing_more, .init = set_up, .fini = tear_down)
{
	close_page("a");
	complete_all();
	close_page("b");
	pump();
	pages_poison(&pages, "a sync failed");
	complete(3);
	cr_assert(ring_released(&ring, 1) == 1, "b goes to a file that is known to be good");
	close_page("c");
	complete_all();
	cr_assert(ring_released(&ring, 1) == 3);
	cr_assert(pages.file->place.file_no == 2);
	expect_log_twice("a b c");
}

Test(error, a_poisoned_file_is_kept_while_a_sync_of_it_is_under_way, .init = set_up,
     .fini = tear_down)
{
	close_page("a");
	pump();
	pages_sync_begun(&pages);
	complete(1);
	fail(2, -EIO);
	pump();
	cr_assert(pages.file && pages.file->place.file_no == 1);
	pages_sync_done(&pages, true);
	pump();
	cr_assert(pages.file && pages.file->place.file_no == 2);
	complete_all();
	expect_log_twice("a");
}

/* The second thread stands in its sync until the gate is opened. */
static struct shared_u32 gate;

static int sync_behind_gate(int fd)
{
	while (load_acquire_u32(&gate) == 0)
		(void)sys_real.sleep(NS_PER_MS);
	return sys_real.fdatasync(fd);
}

Test(error, behind_the_next_file_no_third_begins_before_that_is_durable, .init = set_up,
     .fini = tear_down)
{
	close_page("a");
	pump();
	complete(1);
	fail(2, -EIO);
	complete_all();
	for (unsigned i = 0; i < 3; i++)
		close_large_page("x");
	complete_all();
	cr_assert(pages.file->place.file_no == 2 && pages.is_ahead_ready);
	sys.fdatasync = sync_behind_gate;
	pages_roll(&pages);
	close_page("c");
	pages_pump(&pages);
	pages_pump(&pages);
	cr_assert(pages.seals_submitted == 1 && pages.file == NULL);
	store_release_u32(&gate, 1);
	complete_all();
	cr_assert(pages.file->place.file_no == 3);
}

Test(error, without_a_page_under_way_numbers_go_on, .init = set_up, .fini = tear_down)
{
	close_page("a");
	complete_all();
	pages_poison(&pages, "a sync failed");
	complete_all();
	cr_assert(pages.file == NULL);
	close_page("b");
	pump();
	cr_assert(is_kind(find_write(3), PAGE_FILE));
	complete_all();
	expect_log_twice("a b");
}

Test(error, five_files_in_a_row_that_take_nothing_are_the_end, .init = set_up, .fini = tear_down)
{
	close_page("a");
	for (unsigned i = 0; i < 5; i++) {
		cr_assert(pages.fatal == 0, "after %u", i);
		time_passed_ns += NS_PER_S;
		pump();
		complete(i + 1);
		fail(i + 2, -EIO);
		pump();
		if (i > 0) { /* its FILE page voids what landed in the file before */
			answer(find_sync(), 0);
			pump();
		}
	}
	cr_assert(pages.fatal == -EIO);
	cr_assert(ring_released(&ring, 1) == 0, "what was published waits in the ring");
	pump();
	cr_assert(count_open() == 0);
}

Test(error, one_complete_page_starts_the_count_anew, .init = set_up, .fini = tear_down)
{
	uint64_t page = 2;

	for (unsigned i = 0; i < 8; i++) {
		close_page("a");
		close_page("b");
		time_passed_ns += NS_PER_S;
		pump();
		complete(page - 1);
		complete(page);
		fail(page + 1, -EIO);
		pump();
		answer(find_sync(), 0);
		time_passed_ns += NS_PER_S;
		pump();
		complete(page + 1);
		complete(page + 2);
		pages_roll(&pages);
		pump();
		page += 4;
	}
	cr_assert(pages.fatal == 0);
}

Test(error, a_limit_below_one_page_is_the_end, .init = set_up, .fini = tear_down)
{
	close_page("a");
	pump();
	fail(1, -EFBIG);
	complete(2);
	cr_assert(pages.fatal == -EFBIG);
}

static int read_only(int dirfd, const char *path, mode_t mode)
{
	(void)dirfd;
	(void)path;
	(void)mode;
	return -EROFS;
}

Test(error, a_directory_that_takes_no_file_is_the_end_when_one_is_needed, .init = set_up,
     .fini = tear_down)
{
	sys.mkdirat = read_only;
	close_page("a");
	pump();
	cr_assert(pages.fatal == -EROFS);
}

static int cannot_rename(int from_dir, const char *from, int to_dir, const char *to)
{
	(void)from_dir;
	(void)from;
	(void)to_dir;
	(void)to;
	return -EIO;
}

/* Only its name is wrong: what is in it was synced. */
Test(error, a_file_that_cannot_be_renamed_is_left_and_loses_nothing, .init = set_up,
     .fini = tear_down)
{
	close_page("a");
	complete_all();
	sys.renameat = cannot_rename;
	pages_roll(&pages);
	pump();
	cr_assert(pages.seals_done == 1 && pages.seals_submitted == 1);
	cr_assert(load_relaxed(&ring_status(&ring, 1)->failed) == 0);
	cr_assert(!drain_is_unsynced(&ring.drain));
	sys.renameat = sys_real.renameat;
	close_page("b");
	complete_all();
	expect_log_twice("a b");
}

static int cannot_sync(int fd)
{
	(void)fd;
	return -EIO;
}

/* What a later file holds is not lost with it. */
Test(error, a_file_whose_last_sync_fails_counts_what_is_in_it, .init = set_up, .fini = tear_down)
{
	close_page("a");
	complete_all();
	sys.fdatasync = cannot_sync;
	pages_roll(&pages);
	pages_pump(&pages);
	cr_assert(pages.seals_submitted == 1 && pages.seals_done == 0);
	close_page("b");
	pump();
	cr_assert(pages.seals_done == 1);
	cr_assert(load_relaxed(&ring_status(&ring, 1)->failed) == 1);
	sys.fdatasync = sys_real.fdatasync;
	complete_all();
	cr_assert(load_relaxed(&ring_status(&ring, 1)->failed) == 1);
}

Test(error, a_seal_makes_what_lies_before_it_durable, .init = set_up, .fini = tear_down)
{
	close_page("a");
	complete_all();
	cr_assert(drain_is_unsynced(&ring.drain));
	pages_roll(&pages);
	pump();
	cr_assert(pages.seals_done == 1);
	cr_assert(!drain_is_unsynced(&ring.drain));
}

/* ---- --release durable ---- */

static void set_up_durable(void)
{
	set_up();
	config.release = RELEASE_DURABLE;
	ring.drain.release_durable = true;
}

Test(durable, a_complete_page_is_released_by_a_sync_that_began_after_it, .init = set_up_durable,
     .fini = tear_down)
{
	close_page("a");
	close_page("b");
	pump();
	complete(1);
	complete(2);
	cr_assert(ring_released(&ring, 1) == 0);
	cr_assert(pages_await_sync(&pages));
	pages_sync_begun(&pages);
	complete(3);
	pages_sync_done(&pages, true);
	cr_assert(ring_released(&ring, 1) == 1, "a, but not b: it was complete too late");
	cr_assert(load_relaxed(&ring_status(&ring, 1)->durable) == 1);
	pages_sync_begun(&pages);
	pages_sync_done(&pages, true);
	cr_assert(ring_released(&ring, 1) == 2);
	expect_log_twice("a b");
}

Test(durable, a_failed_sync_loses_nothing, .init = set_up_durable, .fini = tear_down)
{
	close_page("a");
	pump();
	complete(1);
	complete(2);
	pages_sync_begun(&pages);
	pages_sync_done(&pages, true);
	close_page("b");
	pump();
	complete(3);
	pages_sync_begun(&pages);
	pages_sync_done(&pages, false);
	pages_poison(&pages, "the sync failed");
	pump();
	cr_assert(is_kind(find_write(3), PAGE_FILE), "b is written again, under another number");
	complete(3);
	complete(4);
	cr_assert(ring_released(&ring, 1) == 1);
	pages_sync_begun(&pages);
	pages_sync_done(&pages, true);
	cr_assert(ring_released(&ring, 1) == 2);
	cr_assert(load_relaxed(&ring_status(&ring, 1)->failed) == 0);
	expect_log_twice("a b");
}

Test(durable, a_full_file_presses_for_a_sync, .init = set_up_durable, .fini = tear_down)
{
	for (unsigned i = 0; i < 5; i++)
		close_large_page("x");
	pump();
	for (uint64_t page_no = 1; find_write(page_no); page_no++)
		complete(page_no);
	cr_assert(pages_press_for_sync(&pages), "the fifth waits for the next file");
	pages_sync_begun(&pages);
	pages_sync_done(&pages, true);
	pump();
	cr_assert(pages.file->place.file_no == 2);
}

/* ---- the end ---- */

Test(finish, a_file_made_ahead_is_removed, .init = set_up, .fini = tear_down)
{
	for (unsigned i = 0; i < 3; i++)
		close_large_page("x");
	complete_all();
	cr_assert(pages.ahead && pages.is_ahead_ready && is_open(2));
	stop();
	cr_assert(is_sealed(1) && !is_open(2));
}
