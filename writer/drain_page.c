/*
 * drain_page.c - how far a page brings each lane: its entries, and the table of a FILE page.
 */
#include <string.h>

#include "drain_private.h"

static void append_cursor(struct page_builder *page, const struct drain_lane *lane,
			  const struct progress *progress, uint64_t abandoned)
{
	const struct cursor_entry entry = {
		.header = { .type = ENTRY_CURSOR, .size = sizeof(entry), .lane = lane->slot.lane },
		.position = progress->position,
		.records = progress->records,
		.abandoned = abandoned,
	};

	page_append_entry(page, &entry.header);
}

static void append_marked(struct page_builder *page, const struct drain_slot *slot,
			  const struct slot_state *state)
{
	struct marked_entry entry = {
		.header = { .type = ENTRY_MARKED,
			    .size = sizeof(entry),
			    .lane = slot->lane,
			    .owner = slot->owner },
		.records = state->records,
	};

	memcpy(entry.marked, state->marked, sizeof(entry.marked));
	page_append_entry(page, &entry.header);
}

static void close_slot(struct page_builder *page, struct drain_slot *slot)
{
	if (slot->is_touched)
		append_marked(page, slot, &slot->now);
	slot->is_touched = false;
}

static void close_lane(struct page_builder *page, struct drain_lane *lane)
{
	if (lane->is_touched) {
		append_cursor(page, lane, &lane->taken, lane->abandoned);
		lane->pages_under_way++;
	}
	lane->is_touched = false;
}

void drain_close_page(struct drain *drain, struct page_builder *page)
{
	for (uint32_t i = 0; i < lane_count(drain); i++) {
		close_lane(page, &drain->lanes[i]);
		close_slot(page, &drain->lanes[i].slot);
	}
	for (uint32_t owner = 0; owner < OWNER_IDS; owner++)
		close_slot(page, &drain->owners[owner]);
	close_slot(page, &drain->unbound);
}

static void append_source(struct page_builder *page, const struct drain_slot *slot)
{
	const struct record_header header = { .length = sizeof(slot->kept.source),
					      .source = slot_source_no(slot),
					      .kind = RECORD_SOURCE };

	if (slot->kept.has_source)
		page_append(page, &header, &slot->kept.source);
}

static void append_unwritten(struct page_builder *page, const struct drain *drain,
			     const struct drain_lane *lane)
{
	const struct gap_payload gap = { .lost = { [LOSS_UNWRITTEN] = lane->unwritten } };
	const bool has_stamps = drain->segment.geometry.clock != RING_CLOCK_NONE;
	const struct record_header header = {
		.length = sizeof(gap),
		.source = slot_source_no(lane->slot.lane ? &lane->slot : &drain->owners[0]),
		.kind = RECORD_GAP,
		.ticks = has_stamps ? drain->seen_on_disk
				    : 0, /* before all that is still in the ring */
	};

	if (lane->unwritten)
		page_append(page, &header, &gap);
}

void drain_fill_file_page(const struct drain *drain, struct page_builder *page)
{
	for (uint32_t i = 1; i < lane_count(drain); i++)
		append_source(page, &drain->lanes[i].slot);
	for (uint32_t owner = 0; owner < OWNER_IDS; owner++)
		append_source(page, &drain->owners[owner]);
	for (uint32_t i = 0; i < lane_count(drain); i++)
		append_unwritten(page, drain, &drain->lanes[i]);
	page_reserve(page,
		     lane_count(drain) * (CURSOR_ROOM + MARKED_ROOM) + OWNER_IDS * MARKED_ROOM);
	for (uint32_t i = 0; i < lane_count(drain); i++) {
		const struct drain_lane *lane = &drain->lanes[i];

		append_cursor(page, lane, &lane->written, lane->abandoned_kept);
		if (i > 0)
			append_marked(page, &lane->slot, &lane->slot.kept);
	}
	for (uint32_t i = 0; i < OWNER_IDS; i++) {
		const struct drain_slot *owner = &drain->owners[i];

		if (owner->kept.has_source || !is_zero(owner->kept.marked))
			append_marked(page, owner, &owner->kept);
	}
	append_marked(page, &drain->unbound, &drain->unbound.kept);
}

void drain_file_page_done(struct drain *drain)
{
	for (uint32_t i = 0; i < lane_count(drain); i++)
		drain->lanes[i].unwritten = 0;
}

void drain_stamp(const struct drain *drain, struct page_stamp *ret)
{
	const enum ring_clock clock = drain->segment.geometry.clock;
	struct clock_sample now;

	clock_sample(drain->sys, clock, &now);
	ret->segment_id = drain->segment.geometry.segment_id;
	ret->seen = drain->seen;
	ret->sample_ticks = now.ticks;
	ret->sample_realtime_ns = now.realtime_ns;
	ret->ticks_per_s = clock_ticks_per_s(clock, &drain->created, &now);
	ret->total_records = drain->total_records;
	ret->total_lost = drain->total_lost;
	ret->total_abandoned = drain->total_abandoned;
}

void drain_stamp_kept(const struct drain *drain, struct page_stamp *ret)
{
	drain_stamp(drain, ret);
	ret->seen = drain->kept.seen;
	ret->total_records = drain->kept.total_records;
	ret->total_lost = drain->kept.total_lost;
	ret->total_abandoned = drain->kept.total_abandoned;
}
