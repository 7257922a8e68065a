/*
 * target_take.c - the writer takes from lanes whose bytes the input decides.
 *
 * The oracle walks the lanes by itself, from lib/ring_layout.h, and says which records must come
 * out; what a second drain restores from the pages alone must go on where the first one ended.
 * Where memory moves during the pass, only what must hold of any memory is checked.
 */
#include <stdlib.h>
#include <string.h>

#include "../../writer/drain.h"
#include "image.h"

enum { PAGES_MAX = 24, PASSES_MAX = 3, SALT = 4711, LAP_BITS = 40 };

static struct drain drain;
static uint8_t *pages[PAGES_MAX]; /* PAGE_MAX bytes each */
static struct page_builder closed[PAGES_MAX];
static uint32_t page_count;

/* ---- what must come out ---- */

struct expected {
	uint64_t hash;
	uint64_t records;
	uint64_t refused;
	uint64_t position[IMAGE_LANES]; /* where the pass must end */
	bool corrupt[IMAGE_LANES];
};

static uint64_t hash_record(uint64_t hash, uint32_t source, uint64_t level, uint64_t ticks,
			    const void *payload, uint32_t length)
{
	const uint64_t about[] = { source, level, ticks, length };

	return hash_bytes(hash_bytes(hash, about, sizeof(about)), payload, length);
}

static bool is_held(uint32_t lane, uint64_t owner)
{
	const uint64_t byte = lane == 0 ? 64 + owner : 4096 + lane;

	return image.held >> (byte & 63) & 1;
}

/* A READY word over @block. */
static void expect_record(struct expected *expected, uint32_t lane, uint64_t word,
			  const uint8_t *block, uint64_t blocks)
{
	const uint32_t source = lane == 0 ? 256 + (word >> 2 & 511) : lane;
	uint32_t length;
	uint64_t ticks;

	memcpy(&length, block, 4);
	memcpy(&ticks, block + 8, 8);
	if (length > blocks * 64 - 16 || block[6] < RECORD_DATA || block[6] > RECORD_GAP ||
	    (block[6] == RECORD_DATA && block[7] > 7) ||
	    (block[6] == RECORD_SOURCE && length != sizeof(struct source_payload)) ||
	    (block[6] == RECORD_GAP && length != sizeof(struct gap_payload))) {
		expected->refused++;
	} else if (block[6] == RECORD_DATA) {
		expected->hash =
			hash_record(expected->hash, source, block[7], ticks, block + 16, length);
		expected->records++;
	}
}

static void expect_lane(struct expected *expected, uint32_t lane_no)
{
	const uint8_t *lane = image.base + geometry_lane_offset(&image.geometry, lane_no);
	const uint64_t *words = (const void *)(lane + image.geometry.words_offset);
	const uint8_t *blocks = lane + image.geometry.blocks_offset;
	const uint64_t most = (16 + (uint64_t)image.geometry.record_max + 63) / 64;
	uint64_t at = drain.lanes[lane_no].taken.position;
	const uint64_t end = at + IMAGE_BLOCKS;

	while (!drain.lanes[lane_no].is_quarantined && at < end) {
		const uint64_t index = at % IMAGE_BLOCKS;
		const uint64_t word = words[index];
		const uint64_t lap = (at / IMAGE_BLOCKS + 1) % (UINT64_C(1) << LAP_BITS);
		const uint64_t size = word >> 12 & 4095;

		if (word >> 24 < lap)
			break;
		expected->corrupt[lane_no] = word >> 24 > lap || size == 0 || size > most ||
					     index + size > IMAGE_BLOCKS || word % 4 == WORD_FREE;
		if (expected->corrupt[lane_no])
			break;
		if (word % 4 == WORD_CLAIMED && is_held(lane_no, word >> 2 & 511))
			break;
		if (word % 4 == WORD_READY)
			expect_record(expected, lane_no, word, blocks + index * 64, size);
		at += size;
	}
	expected->position[lane_no] = at;
}

/* ---- what came out ---- */

static void count_records(const void *page, struct expected *seen)
{
	struct page_cursor cursor = { 0 };
	struct record_header header;
	const void *payload;
	int r;

	while ((r = page_next_record(page, &cursor, &header, &payload)) > 0) {
		if (header.kind != RECORD_DATA)
			continue;
		seen->hash = hash_record(seen->hash, header.source, header.level, header.ticks,
					 payload, header.length);
		seen->records++;
	}
	must(r == 0, "take: a page's records are broken");
}

static void close_page(struct page_builder *builder)
{
	struct page_stamp stamp = { .page_no = page_count + 1, .salt = SALT };
	uint32_t length;

	drain_close_page(&drain, builder);
	drain_stamp(&drain, &stamp);
	length = page_finish(builder, &stamp);
	must(page_check(builder->buffer, length, SALT) == 0, "take: a page that is none");
	closed[page_count++] = *builder;
}

static void begin_page(struct page_builder *builder)
{
	must(page_count < PAGES_MAX, "take: a pass does not end");
	page_begin(builder, pages[page_count], PAGE_DATA);
}

static void run_pass(void)
{
	struct page_builder builder;
	uint32_t was_full = 0;

	begin_page(&builder);
	drain_begin_pass(&drain);
	while (drain_continue(&drain, &builder) == DRAIN_FULL) {
		must(builder.records > 0, "take: an empty page has no room");
		must(++was_full < PAGES_MAX / PASSES_MAX, "take: more than a lane is taken");
		close_page(&builder);
		begin_page(&builder);
	}
	drain_mark(&drain, &builder);
	close_page(&builder);
}

static void check_pass(void)
{
	const uint32_t first = page_count;
	struct expected expected = { 0 }, seen = { 0 };

	for (uint32_t i = 0; i < IMAGE_LANES && !image.moving; i++)
		expect_lane(&expected, i);
	run_pass();
	if (image.moving)
		return;
	for (uint32_t i = first; i < page_count; i++)
		count_records(pages[i], &seen);
	must(seen.records == expected.records, "take: %llu records came out of %llu",
	     (unsigned long long)seen.records, (unsigned long long)expected.records);
	must(seen.hash == expected.hash, "take: the records that came out are others");
	for (uint32_t i = 0; i < IMAGE_LANES; i++) {
		must(drain.lanes[i].taken.position == expected.position[i],
		     "take: lane %u ends elsewhere", i);
		must(!expected.corrupt[i] || drain.lanes[i].is_quarantined,
		     "take: lane %u makes no sense and is not set aside", i);
	}
}

/* ---- a restart ---- */

/* In the upper half of all laps nobody has ever been: there the disk's word stands alone. */
static uint64_t believed_position(uint32_t lane)
{
	const uint64_t released = load_relaxed(&image_status(lane)->released);

	return released / IMAGE_BLOCKS < UINT64_C(1) << 39 ? released : 0;
}

static uint64_t restored_position(uint32_t lane)
{
	uint64_t position = 0;

	for (uint32_t i = 0; i < page_count; i++) {
		struct page_cursor cursor = { 0 };
		const struct entry_header *entry;

		while (page_next_entry(pages[i], &cursor, &entry) > 0) {
			const struct cursor_entry *of_lane = (const void *)entry;

			if (entry->type == ENTRY_CURSOR && entry->lane == lane)
				position = max_u64(position, of_lane->position);
		}
	}
	return max_u64(position, believed_position(lane));
}

/* The first drain is killed; what it had put into pages is all that its successor knows. */
static void restart(void)
{
	uint64_t position[IMAGE_LANES];
	struct segment segment;

	for (uint32_t i = 0; i < IMAGE_LANES; i++)
		position[i] = restored_position(i);
	image_segment(&segment);
	must(drain_open(&drain, &segment) == 0, "take: no restart");
	for (uint32_t i = 0; i < page_count; i++)
		drain_restore_page(&drain, pages[i]);
	drain_restore_end(&drain, true);
	for (uint32_t i = 0; i < IMAGE_LANES; i++)
		must(drain.lanes[i].taken.position == position[i],
		     "take: lane %u is restored elsewhere", i);
}

static void release_all(uint32_t from)
{
	for (uint32_t i = from; i < page_count; i++)
		drain_release(&drain, &closed[i]);
	drain_settle(&drain);
	drain_reset_lanes(&drain);
	for (uint32_t i = 0; i < IMAGE_LANES; i++)
		must(drain.lanes[i].written.position == drain.lanes[i].taken.position,
		     "take: lane %u is not released", i);
}

static void open_drain(void)
{
	struct segment segment;

	for (uint32_t i = 0; i < PAGES_MAX; i++)
		if (pages[i] == NULL)
			pages[i] = aligned_alloc(PAGE_ALIGN, PAGE_MAX);
	image_segment(&segment);
	must(drain_open(&drain, &segment) == 0, "take: it does not open");
	drain_restore_end(&drain, false);
}

static void fill_file_page(void)
{
	static uint8_t buffer[PAGE_MAX] __attribute__((aligned(4096)));
	const struct file_info info = { .format_major = FORMAT_MAJOR };
	struct page_stamp stamp = { .page_no = 1 };
	struct page_builder builder;
	uint32_t length;

	page_begin(&builder, buffer, PAGE_FILE);
	page_append_info(&builder, &info, sizeof(info));
	drain_fill_file_page(&drain, &builder);
	length = page_finish(&builder, &stamp);
	must(page_check(buffer, length, 0) == 0, "take: a FILE page that is none");
}

static void write_and_take(struct bytes *input, uint8_t mode)
{
	for (unsigned step = 0; step < 40 && input->left > 0; step++)
		image_step(input);
	image.moving = mode & 16 ? input : NULL;
	check_pass();
	image.moving = NULL;
	if (mode & 32) {
		release_all(0);
		page_count = 0;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes input = { data, size };
	const uint8_t mode = (uint8_t)take(&input, 1);
	uint32_t first;

	image_begin(NULL);
	image_place(&input);
	page_count = 0;
	for (unsigned i = mode & 7; i > 0; i--)
		image_step(&input); /* before there is a writer */
	open_drain();
	for (unsigned i = 0; i < (mode & 8 ? 2u : 1u); i++)
		write_and_take(&input, mode);
	fill_file_page();
	restart();
	first = page_count;
	check_pass();
	release_all(first);
	drain_close(&drain);
	return 0;
}
