/*
 * test_reader_ring.c - what a ring holds, seen beside the writer.
 */
#include "log_fixture.h"
#include "ring.h"
#include "segment.h"
#include "shmlog.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct fixture fixture;
static struct shmlog *ring_log;
static char text[65536];

/* A ring of its own in a directory of its own. */
static void set_up(void)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;

	fixture_begin(&fixture);
	cr_assert_eq(setenv("SHMLOG_SHM_DIR", fixture.dir, 1), 0);
	options.create = 1;
	options.lanes = 4;
	options.lane_size = 65536;
	options.name = "unit";
	cr_assert_eq(shmlog_attach("r", &options, &ring_log), 0, "%s", shmlog_reason());
}

static void tear_down(void)
{
	shmlog_detach(&ring_log);
	fixture_end(&fixture);
}

TestSuite(reader_ring, .init = set_up, .fini = tear_down, .timeout = 60);

static void push(const char *record)
{
	cr_assert_eq(shmlog_try_push_at(ring_log, 6, record, strlen(record)), 0);
}

static void *push_from_thread(void *record)
{
	push(record);
	return NULL;
}

static void push_elsewhere(const char *record)
{
	static char copy[64];
	pthread_t thread;

	(void)strncpy(copy, record, sizeof(copy) - 1);
	cr_assert_eq(pthread_create(&thread, NULL, push_from_thread, copy), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
}

static void expect_ring(const char *expected)
{
	struct shmlog_reader *reader;

	cr_assert_eq(shmlog_reader_open_ring("r", NULL, &reader), 0, "%s", shmlog_reason());
	fixture_read_all(reader, text, sizeof(text));
	cr_expect_str_eq(text, expected);
	shmlog_reader_close(&reader);
}

/* The lanes of the ring, writable: what a scribbler could do. */
static uint8_t *map_ring(struct segment *segment, uint64_t *ret_size)
{
	void *base;

	cr_assert_eq(segment_open(&sys_real, "r", O_RDWR, segment), 0);
	cr_assert_eq(segment_map(segment, segment->fd, 0, segment->geometry.size, true, &base), 0);
	*ret_size = segment->geometry.size;
	return base;
}

Test(reader_ring, an_empty_ring_holds_nothing)
{
	expect_ring("");
}

Test(reader_ring, records_of_several_threads_by_time)
{
	push("one");
	push_elsewhere("two");
	push("three");
	expect_ring("one two three");
	expect_ring("one two three");
}

Test(reader_ring, records_tell_who_and_when)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;
	const int64_t now_ns = sys_real.now(CLOCK_REALTIME);

	push("one");
	cr_assert_eq(shmlog_reader_open_ring("r", NULL, &reader), 0);
	cr_assert_eq(shmlog_reader_next(reader, &record), 0);
	cr_expect_str_eq(record.name, "unit");
	cr_expect_eq(record.pid, (uint32_t)getpid());
	cr_expect_eq(record.level, 6);
	cr_expect_eq(record.page_no, 0);
	cr_expect_gt(record.time_ns, now_ns - INT64_C(5) * NS_PER_S);
	cr_expect_lt(record.time_ns, now_ns + INT64_C(60) * NS_PER_S);
	shmlog_reader_close(&reader);
}

Test(reader_ring, large_and_many_records)
{
	static char record[20000];
	size_t records = 0, bytes = 0;
	struct shmlog_record read = { .size = sizeof(read) };
	struct shmlog_reader *reader;

	memset(record, 'x', sizeof(record));
	while (shmlog_try_push_at(ring_log, 6, record, sizeof(record)) == 0)
		records++;
	cr_expect_geq(records, 3);
	cr_assert_eq(shmlog_reader_open_ring("r", NULL, &reader), 0);
	while (shmlog_reader_next(reader, &read) == 0)
		bytes += read.length;
	cr_expect_eq(bytes, records * sizeof(record));
	shmlog_reader_close(&reader);
}

Test(reader_ring, what_the_writer_has_released_is_not_shown)
{
	struct lane_status *status;
	struct segment segment;
	struct segment_view view;
	uint64_t size;
	uint8_t *base = map_ring(&segment, &size);

	push("one");
	push("two");
	cr_assert_eq(segment_view(&segment, &view), 0);
	for (uint32_t lane = 0; lane < segment.geometry.lanes; lane++) {
		/* SOURCE takes three blocks, each of the records one. */
		status = (void *)(base + geometry_lane_status_offset(&segment.geometry, lane));
		store_release(&status->released, lane == 0 ? 0 : 4);
	}
	expect_ring("two");
	segment_view_close(&view);
	(void)sys_real.unmap(base, size);
	segment_close(&segment);
}

Test(reader_ring, any_words_and_bytes_are_survived)
{
	struct segment segment;
	uint64_t size;
	uint8_t *base = map_ring(&segment, &size);
	const uint64_t lanes = segment.geometry.lanes_offset;

	push("one");
	srandom(5);
	for (int round = 0; round < 200; round++) {
		struct shmlog_record record = { .size = sizeof(record) };
		struct shmlog_reader *reader;

		for (int i = 0; i < 2000; i++) {
			const uint64_t lane = (uint64_t)random() % segment.geometry.lanes;
			const uint64_t at = lanes + lane * segment.geometry.lane_stride +
					    segment.geometry.words_offset +
					    (uint64_t)random() % 1024 * 8;
			const uint64_t word =
				word_make((uint64_t)random() % 3, (uint64_t)random() % 8,
					  (uint64_t)random() % OWNER_IDS, (uint64_t)random() % 4);

			memcpy(base + at, &word, sizeof(word));
			base[lanes + lane * segment.geometry.lane_stride +
			     segment.geometry.blocks_offset + (uint64_t)random() % 65536] =
				(uint8_t)(random() % 6);
		}
		cr_assert_eq(shmlog_reader_open_ring("r", NULL, &reader), 0);
		while (shmlog_reader_next(reader, &record) == 0)
			;
		shmlog_reader_close(&reader);
	}
	(void)sys_real.unmap(base, size);
	segment_close(&segment);
}

Test(reader_ring, a_ring_that_is_not_there)
{
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_reader *reader;

	cr_expect_eq(shmlog_reader_open_ring("none", NULL, &reader), -ENOENT);
	cr_expect(strstr(shmlog_reason(), "none") != NULL);
	cr_expect_eq(shmlog_reader_open_ring("../r", NULL, &reader), -EINVAL);
	cr_assert_eq(shmlog_reader_open_ring("r", NULL, &reader), 0);
	cr_expect_eq(shmlog_reader_get_page(reader, 1, &page), -ENOTSUP);
	shmlog_reader_close(&reader);
}
