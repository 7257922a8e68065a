/*
 * image.c - see image.h.
 */
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct image image;

/* ---- system calls ---- */

static int image_map(void *address, size_t size, int protection, int flags, int fd, off_t offset,
		     void **ret)
{
	(void)address;
	(void)protection;
	(void)flags;
	(void)fd;
	must((uint64_t)offset + size <= image.geometry.size, "image: a mapping leaves it");
	*ret = image.base + offset;
	return 0;
}

static int image_unmap(void *address, size_t size)
{
	(void)address;
	(void)size;
	return 0;
}

static int image_close(int fd)
{
	(void)fd;
	return 0;
}

static int image_lock(int fd, int64_t start, int64_t size)
{
	(void)fd;
	(void)start;
	(void)size;
	return image.held == 0 ? 0 : -EAGAIN;
}

static int image_unlock(int fd, int64_t start, int64_t size)
{
	(void)fd;
	(void)start;
	(void)size;
	return 0;
}

static int image_lock_query(int fd, int64_t start, int64_t size)
{
	(void)fd;
	(void)size;
	if (image.moving && image.moving->left > 0)
		image_step(image.moving);
	return image.held >> (start & 63) & 1;
}

static int image_wake(const uint32_t *word)
{
	(void)word;
	return 0;
}

static ssize_t image_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	(void)fd;
	must((uint64_t)offset + size <= image.geometry.size, "image: a write leaves it");
	memcpy(image.base + offset, buffer, size);
	return (ssize_t)size;
}

/* ---- the image ---- */

void image_begin(uint8_t *base)
{
	static uint8_t *own;

	memset(&image, 0, sizeof(image));
	segment_geometry(&image.geometry, IMAGE_LANES, IMAGE_BLOCKS);
	image.geometry.segment_id = 77;
	image.geometry.clock = RING_CLOCK_MONOTONIC;
	image.sys = sys_real;
	image.sys.map = image_map;
	image.sys.unmap = image_unmap;
	image.sys.close = image_close;
	image.sys.lock = image_lock;
	image.sys.unlock = image_unlock;
	image.sys.lock_query = image_lock_query;
	image.sys.futex_wake = image_wake;
	image.sys.pwrite = image_pwrite;
	if (base == NULL && own == NULL)
		own = malloc(image.geometry.size);
	image.base = base != NULL ? base : own;
	must(image.base != NULL, "fuzz: out of memory");
	if (base == NULL)
		memset(own, 0, image.geometry.size);
}

void image_segment(struct segment *ret)
{
	*ret = (struct segment){
		.sys = &image.sys, .name = "image", .fd = 1 << 20, .geometry = image.geometry
	};
}

struct lane_status *image_status(uint32_t lane)
{
	return (void *)(image.base + geometry_lane_status_offset(&image.geometry, lane));
}

void image_lane(uint32_t lane, struct lane *ret)
{
	uint8_t *base = image.base + geometry_lane_offset(&image.geometry, lane);

	lane_init(ret, base + image.geometry.words_offset, base + image.geometry.blocks_offset,
		  IMAGE_BLOCKS, image.geometry.record_max);
}

void image_place(struct bytes *input)
{
	for (uint32_t i = 0; i < IMAGE_LANES; i++) {
		const uint8_t how = (uint8_t)take(input, 1);
		uint64_t at = how & 0x3f;

		if (how & 0x40)
			at = (IMAGE_BLOCKS - at) % IMAGE_BLOCKS;
		if (how & 0x80)
			at += take_odd(input, 5) * IMAGE_BLOCKS;
		image.position[i] = at;
		store_relaxed(&image_status(i)->released, at);
	}
}

/* ---- the script ---- */

static void fill_source(struct source_payload *source, struct bytes *input)
{
	*source = (struct source_payload){ .pid = (uint32_t)take(input, 1), .lane = 9 };
	memset(source->name, 'n', take_below(input, SOURCE_NAME_SIZE + 1));
	source->drops[take_below(input, LOSS_REASONS)] = take_odd(input, 8);
}

static uint32_t fill_payload(uint8_t *payload, uint8_t kind, struct bytes *input)
{
	struct gap_payload gap = { 0 };
	uint32_t length = (uint32_t)take(input, 1);

	switch (kind) {
	case RECORD_SOURCE:
		fill_source((struct source_payload *)(void *)payload, input);
		return sizeof(struct source_payload);
	case RECORD_GAP:
		gap.lost[take_below(input, LOSS_REASONS)] = take_odd(input, 8);
		memcpy(payload, &gap, sizeof(gap));
		return sizeof(gap);
	default:
		if (length >= 0xf0)
			length = (uint32_t)take(input, 2) % (image.geometry.record_max + 1);
		memset(payload, (int)(image.serial & 0xff), length);
		return length;
	}
}

/* Where @blocks fit before the lane's end; a SKIP before it, as a producer would. */
static uint64_t advance(const struct lane *lane, uint32_t lane_no, uint32_t blocks)
{
	const uint32_t to_end = IMAGE_BLOCKS - lane_index(lane, image.position[lane_no]);

	if (blocks > to_end) {
		ring_skip(lane, image.position[lane_no], to_end);
		image.position[lane_no] += to_end;
	}
	image.last[lane_no] = image.position[lane_no];
	image.position[lane_no] += blocks;
	return image.last[lane_no];
}

static void publish(struct bytes *input, uint32_t lane_no)
{
	static uint8_t payload[RING_RECORD_MAX] __attribute__((aligned(8)));
	const uint8_t how = (uint8_t)take(input, 1);
	const uint32_t owner = lane_no == 0 ? (uint32_t)take(input, 1) : 0;
	struct record_header header = { .kind = how & 7, .level = how >> 3, .ticks = image.serial };
	struct lane lane;
	uint64_t position;
	uint32_t blocks;

	image.serial++;
	if (header.kind < RECORD_DATA || header.kind > RECORD_SITE)
		header.kind = RECORD_DATA;
	header.length = fill_payload(payload, header.kind, input);
	blocks = record_blocks(header.length);
	image_lane(lane_no, &lane);
	position = advance(&lane, lane_no, blocks);
	ring_fill(&lane, position, &header, payload);
	ring_publish(&lane, position, blocks, owner);
}

/* A word of any kind. */
static void put_word(struct bytes *input, uint32_t lane_no)
{
	const uint64_t state = take(input, 1);
	const uint64_t owner = lane_no == 0 ? take(input, 1) : 0;
	uint64_t blocks = state & 4 ? take_odd(input, 2) & WORD_BLOCKS_MAX : take(input, 1) % 4 + 1;
	struct lane lane;
	uint64_t lap;

	image_lane(lane_no, &lane);
	image.last[lane_no] = image.position[lane_no];
	lap = lane_lap(&lane, image.last[lane_no]) + (state & 8 ? take_odd(input, 5) : 0);
	store_relaxed(lane_word(&lane, image.last[lane_no]),
		      word_make(lap, blocks, owner, state & 3) | (state & 16) << 7);
	image.position[lane_no] += blocks;
}

/* The header under the last word. */
static void spoil_record(struct bytes *input, uint32_t lane_no)
{
	static const uint16_t places[] = { 0, 0 };
	struct lane lane;

	image_lane(lane_no, &lane);
	(void)spoil(input, lane_block(&lane, image.last[lane_no]), sizeof(struct record_header),
		    take(input, 1) & 1 ? places : NULL);
}

static void spoil_anything(struct bytes *input, uint32_t lane_no)
{
	const struct geometry *geometry = &image.geometry;
	const uint64_t lane = geometry_lane_offset(geometry, lane_no);
	const struct {
		uint64_t offset, size;
	} regions[] = {
		{ lane, RING_PAGE },
		{ lane + geometry->words_offset, IMAGE_BLOCKS * sizeof(uint64_t) },
		{ lane + geometry->blocks_offset, IMAGE_BLOCKS * BLOCK_SIZE },
		{ geometry->doorbell_offset, RING_PAGE },
		{ geometry->status_offset, sizeof(struct writer_status) },
		{ geometry_lane_status_offset(geometry, lane_no), sizeof(struct lane_status) },
		{ geometry_owner_status_offset(geometry, 0), 4 * sizeof(struct owner_status) },
		{ geometry->owners_offset, 4 * sizeof(struct producer_line) },
	};
	const uint32_t which = take_below(input, COUNT_OF(regions));

	(void)spoil(input, image.base + regions[which].offset, regions[which].size, NULL);
}

/* Drops that only the writer can still announce. */
static void drop(struct bytes *input, uint32_t lane_no)
{
	const uint32_t owner = lane_no == 0 ? 1 + take_below(input, 3) : 0;
	const uint64_t offset =
		lane_no ? geometry_lane_offset(&image.geometry, lane_no)
			: image.geometry.owners_offset + owner * sizeof(struct producer_line);
	struct producer_line *line = (void *)(image.base + offset);

	store_relaxed(&line->drops[take_below(input, LOSS_REASONS)], take_odd(input, 8));
}

void image_step(struct bytes *input)
{
	const uint8_t what = (uint8_t)take(input, 1);
	const uint32_t lane_no = what >> 4 & 3 ? (what >> 4 & 3) - 1u : 1;

	switch (what & 7) {
	case 0:
	case 1:
	case 2:
		publish(input, lane_no);
		break;
	case 3:
		put_word(input, lane_no);
		break;
	case 4:
		spoil_record(input, lane_no);
		break;
	case 5:
		spoil_anything(input, lane_no);
		break;
	case 6:
		drop(input, lane_no);
		break;
	default:
		image.held = take(input, 1) * UINT64_C(0x0101010101010101);
		break;
	}
}
