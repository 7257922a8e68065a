/*
 * reader_ring.c - what a ring holds now, as pages in memory.
 *
 * A guest beside the writer: maps everything read-only, stores nothing, takes no lock. Each record
 * is copied, then `released` is loaded again: what the writer has released meanwhile may have been
 * written over, so that copy is thrown away. Words and records come from producers and are
 * believed no further than ring_look() checks them; of a lane at most as many blocks are passed as
 * it has, in at most as many steps: the copy is no larger than the ring.
 */
#include "reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "ring.h"
#include "segment.h"

enum { SOURCE_ROOM = sizeof(struct record_header) + sizeof(struct source_payload) };

/* Whose records follow, and the number that they got; 0: none yet. */
struct attribution {
	struct source_payload about;
	uint16_t number;
};

struct snapshot {
	struct segment_view view;
	struct page_stamp stamp;
	struct page_builder builder;
	uint8_t *buffer;
	struct reader_page **pages;
	size_t page_count;
	size_t page_capacity;
	uint16_t numbers;
	struct attribution lane; /* of the own lane that is being read */
	struct attribution owners[OWNER_IDS];
};

/* One lane's walk. */
struct lane_walk {
	struct lane lane;
	const struct lane_status *status;
	uint32_t lane_no;
	uint64_t position;
	uint64_t passed; /* blocks so far */
};

static int grow_pages(struct snapshot *shot)
{
	const size_t wanted = shot->page_capacity == 0 ? 64 : shot->page_capacity * 2;
	struct reader_page **pages;

	if (shot->page_count < shot->page_capacity)
		return 0;
	pages = realloc(shot->pages, wanted * sizeof(struct reader_page *));
	if (pages == NULL)
		return -ENOMEM;
	shot->pages = pages;
	shot->page_capacity = wanted;
	return 0;
}

/* The page that is being filled, if it holds anything, joins the others. */
static int close_page(struct snapshot *shot)
{
	struct reader_page **page;
	uint32_t length;

	if (shot->builder.records == 0)
		return 0;
	if (grow_pages(shot) < 0)
		return -ENOMEM;
	length = page_finish(&shot->builder, &shot->stamp);
	page = &shot->pages[shot->page_count];
	*page = reader_page_new(shot->buffer, length);
	if (*page == NULL)
		return -ENOMEM;
	shot->page_count++;
	page_begin(&shot->builder, shot->buffer, PAGE_DATA);
	return 0;
}

static int make_room(struct snapshot *shot, uint32_t length)
{
	if (page_room(&shot->builder, SOURCE_ROOM) >= (int64_t)length)
		return 0;
	return close_page(shot);
}

static struct attribution *attribution_of(struct snapshot *shot, const struct lane_walk *walk,
					  const struct taken *taken)
{
	return walk->lane_no == 0 ? &shot->owners[word_owner(taken->word)] : &shot->lane;
}

/* A binding begins; its SOURCE record is written once a record needs it. */
static void begin_binding(struct snapshot *shot, const struct lane_walk *walk,
			  const struct taken *taken, const struct source_payload *about)
{
	struct attribution *whose = attribution_of(shot, walk, taken);

	whose->about = *about;
	whose->about.lane = (uint16_t)walk->lane_no;
	whose->about.owner = (uint16_t)word_owner(taken->word);
	whose->number = 0;
}

static void name_source(struct snapshot *shot, struct attribution *whose)
{
	struct record_header header = { .length = sizeof(whose->about), .kind = RECORD_SOURCE };

	if (whose->number != 0)
		return;
	if (shot->numbers < UINT16_MAX)
		shot->numbers++;
	whose->number = header.source = shot->numbers;
	if (whose->about.pid == 0 && whose->about.name[0] == '\0')
		whose->about.name[0] = '?';
	page_append(&shot->builder, &header, &whose->about);
}

/* Start, or start again, where the writer stands: its status says whose records come first. */
static void stand_at(struct snapshot *shot, struct lane_walk *walk, uint64_t position)
{
	walk->position = position;
	shot->lane = (struct attribution){ .about = walk->status->source };
	shot->lane.about.lane = (uint16_t)walk->lane_no;
	for (uint32_t owner = 1; walk->lane_no == 0 && owner < OWNER_IDS; owner++) {
		shot->owners[owner] = (struct attribution){
			.about = view_owner_status(&shot->view, owner)->source
		};
		shot->owners[owner].about.lane = 0;
		shot->owners[owner].about.owner = (uint16_t)owner;
	}
}

/* Has the writer released this position? Then what was read there may be anything. */
static bool was_overtaken(struct snapshot *shot, struct lane_walk *walk)
{
	uint64_t released;

	copy_before_recheck_fence();
	released = load_acquire(&walk->status->released); /* MO recheck:A <- release:A */
	if (released <= walk->position)
		return false;
	stand_at(shot, walk, released);
	return true;
}

static void pass(struct lane_walk *walk, uint32_t blocks)
{
	walk->position += blocks;
	walk->passed += blocks;
}

static int take_source(struct snapshot *shot, struct lane_walk *walk, const struct taken *taken)
{
	struct source_payload about;

	memcpy(&about, taken->payload, sizeof(about));
	if (was_overtaken(shot, walk))
		return 0;
	pass(walk, taken->blocks);
	begin_binding(shot, walk, taken, &about);
	return 0;
}

/* DATA or GAP. The copy goes straight into the page, and out again if it came too late. */
static int take_payload(struct snapshot *shot, struct lane_walk *walk, const struct taken *taken)
{
	struct attribution *whose = attribution_of(shot, walk, taken);
	struct record_header header = taken->header;
	struct page_builder before;

	if (make_room(shot, header.length) < 0)
		return -ENOMEM;
	name_source(shot, whose);
	before = shot->builder;
	header.source = whose->number;
	page_append(&shot->builder, &header, taken->payload);
	if (was_overtaken(shot, walk))
		shot->builder = before;
	else
		pass(walk, taken->blocks);
	return 0;
}

/* 1: go on; 0: the lane's end; -ENOMEM. */
static int step(struct snapshot *shot, struct lane_walk *walk)
{
	struct taken taken;
	int r = 0;

	switch (ring_look(&walk->lane, walk->position, &taken)) {
	case TAKE_RECORD:
		if (!record_is_admissible(&taken.header))
			pass(walk, taken.blocks);
		else if (taken.header.kind == RECORD_SOURCE)
			r = take_source(shot, walk, &taken);
		else
			r = take_payload(shot, walk, &taken);
		return r < 0 ? r : 1;
	case TAKE_SKIP:
	case TAKE_CLAIMED:
	case TAKE_REFUSED:
		pass(walk, taken.blocks);
		return 1;
	case TAKE_EMPTY:
	case TAKE_CORRUPT:
		break;
	}
	return was_overtaken(shot, walk) ? 1 : 0;
}

static int read_lane(struct snapshot *shot, uint32_t lane_no)
{
	const struct geometry *geometry = shot->view.geometry;
	struct lane_walk walk = { .status = view_lane_status(&shot->view, lane_no),
				  .lane_no = lane_no };
	int r = 1;

	if (load_relaxed_u32(&walk.status->quarantine) != 0)
		return 0;
	view_lane(&shot->view, lane_no, &walk.lane);
	stand_at(shot, &walk, load_acquire(&walk.status->released)); /* MO recheck:A <- release:A */
	for (uint32_t steps = 0; steps < geometry->blocks && r == 1; steps++)
		r = walk.passed < geometry->blocks ? step(shot, &walk) : 0;
	return r < 0 ? r : 0;
}

/* What the stamps mean now; stamps that the writer would give are not there yet. */
static void read_clock(struct snapshot *shot)
{
	const struct geometry *geometry = shot->view.geometry;
	const struct clock_sample created = { .ticks = geometry->created_ticks,
					      .boottime_ns = geometry->created_boottime_ns,
					      .realtime_ns = geometry->created_realtime_ns };
	struct clock_sample now;

	clock_sample(shot->view.sys, geometry->clock, &now);
	shot->stamp = (struct page_stamp){ .segment_id = geometry->segment_id,
					   .sample_ticks = now.ticks,
					   .sample_realtime_ns = now.realtime_ns };
	if (geometry->clock != RING_CLOCK_WRITER)
		shot->stamp.ticks_per_s = clock_ticks_per_s(geometry->clock, &created, &now);
}

static int read_ring(struct snapshot *shot)
{
	int r = 0;

	read_clock(shot);
	page_begin(&shot->builder, shot->buffer, PAGE_DATA);
	for (uint32_t lane = 0; r == 0 && lane < shot->view.geometry->lanes; lane++)
		r = read_lane(shot, lane);
	return r == 0 ? close_page(shot) : r;
}

static void drop_pages(struct snapshot *shot)
{
	for (size_t i = 0; i < shot->page_count; i++)
		reader_page_put(shot->pages[i]);
	free(shot->pages);
}

/* All of the ring into shot->pages. */
static int take_snapshot(const char *ring, struct snapshot *shot)
{
	struct segment segment;
	int r = segment_open(&sys_real, ring, O_RDONLY, &segment);

	if (r < 0)
		return r;
	r = segment_view(&segment, &shot->view);
	if (r == 0) {
		shot->buffer = aligned_alloc(PAGE_ALIGN, PAGE_MAX);
		r = shot->buffer == NULL ? reason_set(-ENOMEM, "out of memory") : read_ring(shot);
		free(shot->buffer);
		segment_view_close(&shot->view);
	}
	segment_close(&segment);
	return r;
}

int shmlog_reader_open_ring(const char *ring, const struct shmlog_reader_options *options,
			    struct shmlog_reader **ret_reader)
{
	struct snapshot *shot = calloc(1, sizeof(*shot));
	struct shmlog_reader *reader = NULL;
	int r = shot == NULL ? reason_set(-ENOMEM, "out of memory") : reader_new(options, &reader);

	if (r == 0)
		r = take_snapshot(ring, shot);
	if (r == 0)
		r = feed_open_memory(&reader->feed, ring, shot->pages, shot->page_count);
	if (r < 0) {
		if (shot != NULL)
			drop_pages(shot);
		free(reader);
	} else {
		reader->held_bytes_max = SIZE_MAX; /* it is all in memory already */
		*ret_reader = reader;
	}
	free(shot);
	return r;
}
