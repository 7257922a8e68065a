/*
 * drain_fixture.c - a real ring with a drain on it.
 */
#include "drain_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Also with NDEBUG, unlike assert(). */
#define MUST(condition)                                                                       \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			(void)fprintf(stderr, "fixture: %s: %s\n", #condition, reason_get()); \
			abort();                                                              \
		}                                                                             \
	} while (0)

static void open_drain(struct ring_fixture *ring)
{
	struct segment segment;

	MUST(segment_open(&ring->sys, ring->name, O_RDWR, &segment) == 0);
	MUST(sys_real.lock(segment.fd, LOCK_BYTE_WRITER, 1) == 0);
	MUST(drain_open(&ring->drain, &segment) == 0);
}

static void unlink_ring(const struct ring_fixture *ring)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "%s/shmlog.%s", segment_directory(), ring->name);
	(void)unlink(path);
}

void ring_begin(struct ring_fixture *ring, uint32_t lanes, uint64_t lane_size, uint32_t clock)
{
	const struct segment_options options = { .lanes = lanes ? lanes : RING_LANES,
						 .lane_size =
							 lane_size ? lane_size : RING_LANE_SIZE,
						 .group = (gid_t)-1,
						 .clock = clock };
	void *base;

	memset(ring, 0, sizeof(*ring));
	ring->sys = sys_real;
	(void)snprintf(ring->name, sizeof(ring->name), "unit-drain-%d", getpid());
	unlink_ring(ring); /* of a crashed test whose pid we have */
	MUST(segment_create(&sys_real, ring->name, &options) == 0);
	MUST(segment_open(&sys_real, ring->name, O_RDWR, &ring->segment) == 0);
	MUST(segment_map(&ring->segment, ring->segment.fd, 0, ring->segment.geometry.size, true,
			 &base) == 0);
	ring->view = (struct segment_view){ .sys = &sys_real,
					    .geometry = &ring->segment.geometry,
					    .base = base };
	open_drain(ring);
	drain_restore_end(&ring->drain, false);
}

void ring_end(struct ring_fixture *ring)
{
	drain_close(&ring->drain);
	segment_view_close(&ring->view);
	segment_close(&ring->segment);
	unlink_ring(ring);
}

void ring_reopen(struct ring_fixture *ring)
{
	drain_close(&ring->drain);
	open_drain(ring);
}

struct lane ring_lane(const struct ring_fixture *ring, uint32_t lane)
{
	struct lane mapped;

	view_lane(&ring->view, lane, &mapped);
	return mapped;
}

/* The view is mapped writable here. */
static void *writable(const struct ring_fixture *ring, uint64_t offset)
{
	return (void *)((uintptr_t)ring->view.base + offset);
}

struct lane_page *ring_lane_page(const struct ring_fixture *ring, uint32_t lane)
{
	return writable(ring, geometry_lane_offset(&ring->segment.geometry, lane));
}

struct doorbell *ring_doorbell(const struct ring_fixture *ring)
{
	return writable(ring, ring->segment.geometry.doorbell_offset);
}

struct producer_line *ring_owner_line(const struct ring_fixture *ring, uint32_t owner)
{
	return writable(ring, ring->segment.geometry.owners_offset +
				      owner * sizeof(struct producer_line));
}

static uint64_t advance(struct ring_fixture *ring, uint32_t lane, uint32_t blocks)
{
	const uint64_t position = ring->position[lane];

	ring->position[lane] += blocks;
	return position;
}

void ring_put(struct ring_fixture *ring, uint32_t lane_no, uint32_t owner, uint8_t kind,
	      const void *payload, uint32_t length)
{
	const struct lane lane = ring_lane(ring, lane_no);
	const struct record_header header = {
		.length = length, .kind = kind, .level = 6, .ticks = ++ring->ticks
	};
	const uint32_t blocks = record_blocks(length);
	const uint64_t position = advance(ring, lane_no, blocks);

	ring_fill(&lane, position, &header, payload);
	ring_publish(&lane, position, blocks, owner);
}

void ring_data(struct ring_fixture *ring, uint32_t lane, const char *text)
{
	ring_put(ring, lane, 0, RECORD_DATA, text, (uint32_t)strlen(text));
}

void ring_source(struct ring_fixture *ring, uint32_t lane, const char *name, uint64_t drops_full)
{
	struct source_payload source = { .pid = 1, .drops = { [LOSS_FULL] = drops_full } };

	(void)snprintf(source.name, sizeof(source.name), "%s", name);
	ring_put(ring, lane, 0, RECORD_SOURCE, &source, sizeof(source));
}

void ring_word(struct ring_fixture *ring, uint32_t lane_no, uint32_t blocks, uint32_t owner,
	       enum word_state state)
{
	const struct lane lane = ring_lane(ring, lane_no);
	const uint64_t position = advance(ring, lane_no, blocks);

	store_release(lane_word(&lane, position),
		      word_make(lane_lap(&lane, position), blocks, owner, state));
}

int ring_hold(const struct ring_fixture *ring, int64_t byte)
{
	int fd;

	MUST(segment_reopen(&ring->segment, O_RDWR, &fd) == 0);
	MUST(sys_real.lock(fd, byte, 1) == 0);
	return fd;
}

void ring_wait_unheld(const struct ring_fixture *ring, int64_t byte)
{
	for (int i = 0; i < 10000 && sys_real.lock_query(ring->segment.fd, byte, 1) == 1; i++)
		(void)sys_real.sleep(NS_PER_MS);
	MUST(sys_real.lock_query(ring->segment.fd, byte, 1) == 0);
}

static int gap_text(char *text, size_t size, uint16_t source, const struct gap_payload *gap)
{
	static const char reasons[LOSS_REASONS + 1] = "fsbncwy?";
	int length = snprintf(text, size, "%u", source);

	for (size_t i = 0; i < LOSS_REASONS; i++)
		if (gap->lost[i])
			length += snprintf(text + length, size - (size_t)length, "-%llu%c",
					   (unsigned long long)gap->lost[i], reasons[i]);
	return length;
}

static int record_text(char *text, size_t size, const struct record_header *header,
		       const void *payload)
{
	const struct source_payload *source = payload;
	const int shown = (int)(header->length < 20 ? header->length : 20);

	switch (header->kind) {
	case RECORD_DATA:
		return snprintf(text, size, "%u:%.*s", header->source, shown,
				(const char *)payload);
	case RECORD_SOURCE:
		return snprintf(text, size, "%u=%s", header->source, source->name);
	case RECORD_GAP:
		return gap_text(text, size, header->source, payload);
	default:
		return snprintf(text, size, "(%.*s)", (int)header->length, (const char *)payload);
	}
}

void ring_page_text(const void *page, char *text, size_t size)
{
	struct page_cursor cursor = { 0 };
	struct record_header header;
	const void *payload;
	size_t at = 0;

	text[0] = '\0';
	while (page_next_record(page, &cursor, &header, &payload) > 0) {
		if (at > 0)
			text[at++] = ' ';
		at += (size_t)record_text(text + at, size - at, &header, payload);
		MUST(at < size - 1);
	}
}

static const void *find_entry(const void *page, uint16_t type, uint32_t lane, uint32_t owner)
{
	struct page_cursor cursor = { 0 };
	const struct entry_header *entry;

	while (page_next_entry(page, &cursor, &entry) > 0)
		if (entry->type == type && entry->lane == lane && entry->owner == owner)
			return entry;
	return NULL;
}

const struct cursor_entry *ring_cursor(const void *page, uint32_t lane)
{
	return find_entry(page, ENTRY_CURSOR, lane, 0);
}

const struct marked_entry *ring_marked(const void *page, uint32_t lane, uint32_t owner)
{
	return find_entry(page, ENTRY_MARKED, lane, owner);
}

const struct lane_status *ring_status(const struct ring_fixture *ring, uint32_t lane)
{
	return view_lane_status(&ring->view, lane);
}

uint64_t ring_released(const struct ring_fixture *ring, uint32_t lane)
{
	return load_acquire(&ring_status(ring, lane)->released);
}

uint64_t ring_written(const struct ring_fixture *ring, uint32_t lane)
{
	return load_acquire(&ring_status(ring, lane)->written);
}

uint64_t ring_durable(const struct ring_fixture *ring, uint32_t lane)
{
	return load_acquire(&ring_status(ring, lane)->durable);
}
