/*
 * drain.c - from the ring into pages, and the ring's own progress. See drain.h.
 */
#include "drain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Room that the entries of one record may need. */
enum {
	CURSOR_ROOM = sizeof(struct cursor_entry),
	MARKED_ROOM = sizeof(struct marked_entry),
};

/* ---- open ---- */

static int map_words(struct drain *drain)
{
	const struct geometry *geometry = &drain->segment.geometry;
	const int fd = drain->segment.fd;
	void *status, *doorbell;
	int r = segment_view(&drain->segment, &drain->view);

	if (r < 0)
		return r;
	r = segment_map(&drain->segment, fd, geometry->status_offset,
			geometry->owners_offset - geometry->status_offset, true, &status);
	if (r < 0)
		return r;
	drain->writer = status;
	r = segment_map(&drain->segment, fd, geometry->doorbell_offset, RING_PAGE, true, &doorbell);
	if (r == 0)
		drain->doorbell = doorbell;
	return r;
}

static struct lane_status *lane_status_at(struct drain *drain, uint32_t lane)
{
	const uint64_t offset = geometry_lane_status_offset(&drain->segment.geometry, lane) -
				drain->segment.geometry.status_offset;

	return (void *)((uint8_t *)drain->writer + offset);
}

static struct owner_status *owner_status_at(struct drain *drain, uint32_t owner)
{
	const uint64_t offset = geometry_owner_status_offset(&drain->segment.geometry, owner) -
				drain->segment.geometry.status_offset;

	return (void *)((uint8_t *)drain->writer + offset);
}

/* Where others see a slot's marks. */
static struct shared_u64 *status_marked(struct drain *drain, const struct drain_slot *slot)
{
	if (slot->lane == LANE_UNBOUND)
		return drain->writer->unbound_marked;
	if (slot->lane == 0)
		return owner_status_at(drain, slot->owner)->marked;
	return drain->lanes[slot->lane].status->marked;
}

static struct source_payload *status_source(struct drain *drain, const struct drain_slot *slot)
{
	return slot->lane ? &drain->lanes[slot->lane].status->source :
			    &owner_status_at(drain, slot->owner)->source;
}

static void copy_counters(uint64_t to[LOSS_REASONS], const struct shared_u64 from[LOSS_REASONS])
{
	for (size_t i = 0; i < LOSS_REASONS; i++)
		to[i] = load_relaxed(&from[i]);
}

/* What the segment says is a start; what the disk says comes on top (drain_restore_page). */
static void init_slot(struct drain *drain, struct drain_slot *slot)
{
	copy_counters(slot->kept.marked, status_marked(drain, slot));
	for (size_t i = 0; i < LOSS_REASONS; i++)
		drain->total_lost += slot->kept.marked[i];
	if (slot->lane == LANE_UNBOUND)
		return;
	slot->kept.source = *status_source(drain, slot);
	slot->kept.source.name[SOURCE_NAME_SIZE - 1] = '\0';
	slot->kept.source.lane = slot->lane;
	slot->kept.source.owner = slot->owner;
	slot->kept.has_source = slot->kept.source.pid != 0;
	if (slot->lane == 0)
		slot->kept.records =
			load_relaxed(&owner_status_at(drain, slot->owner)->records_released);
}

static void init_lane(struct drain *drain, uint32_t lane_no)
{
	struct drain_lane *lane = &drain->lanes[lane_no];

	view_lane(&drain->view, lane_no, &lane->lane);
	lane->status = lane_status_at(drain, lane_no);
	lane->page = view_lane_page(&drain->view, lane_no);
	lane->slot.lane = (uint16_t)lane_no;
	lane->is_quarantined = load_relaxed_u32(&lane->status->quarantine) != 0;
	drain->total_records += load_relaxed(&lane->status->records_released);
	drain->total_abandoned += load_relaxed(&lane->status->abandoned);
	if (lane_no)
		init_slot(drain, &lane->slot);
}

int drain_open(struct drain *drain, const struct segment *segment)
{
	const struct geometry *geometry = &segment->geometry;
	int r;

	*drain = (struct drain){ .sys = segment->sys, .segment = *segment };
	r = map_words(drain);
	if (r < 0) {
		drain_close(drain);
		return reason_set(r, "ring \"%s\": cannot map it: %s", segment->name, strerror(-r));
	}
	drain->created = (struct clock_sample){ geometry->created_ticks,
						geometry->created_boottime_ns,
						geometry->created_realtime_ns };
	for (uint32_t lane = 0; lane < geometry->lanes; lane++)
		init_lane(drain, lane);
	for (uint32_t owner = 0; owner < OWNER_IDS; owner++) {
		drain->owners[owner].owner = (uint16_t)owner;
		init_slot(drain, &drain->owners[owner]);
	}
	drain->unbound.lane = LANE_UNBOUND;
	init_slot(drain, &drain->unbound);
	return 0;
}

void drain_close(struct drain *drain)
{
	const struct geometry *geometry = &drain->segment.geometry;

	if (drain->view.base)
		segment_view_close(&drain->view);
	if (drain->writer)
		(void)drain->sys->unmap(drain->writer,
					geometry->owners_offset - geometry->status_offset);
	if (drain->doorbell)
		(void)drain->sys->unmap(drain->doorbell, RING_PAGE);
	drain->writer = NULL;
	drain->doorbell = NULL;
	segment_close(&drain->segment);
}

static uint32_t lane_count(const struct drain *drain)
{
	return drain->segment.geometry.lanes;
}

/* ---- slots ---- */

/* Who publishes in @lane under a word of @owner: the lane's slot, or the owner id's in lane 0. */
static struct drain_slot *slot_of(struct drain *drain, uint32_t lane, uint32_t owner)
{
	return lane == 0 ? &drain->owners[owner] : &drain->lanes[lane].slot;
}

static uint16_t slot_source_no(const struct drain_slot *slot)
{
	if (slot->lane == LANE_UNBOUND)
		return 0;
	return slot->lane ? slot->lane : (uint16_t)(SOURCE_OWNER_BASE + slot->owner);
}

/* The slot that an entry or a SOURCE of a page names; NULL if there is none such. */
static struct drain_slot *slot_named(struct drain *drain, uint32_t lane, uint32_t owner)
{
	if (lane == LANE_UNBOUND)
		return &drain->unbound;
	if (lane >= lane_count(drain) || owner >= OWNER_IDS)
		return NULL;
	return slot_of(drain, lane, owner);
}

/* ---- room ---- */

/* Bytes of entries that a record of this slot in this lane would be the first to need. */
static uint32_t entry_room(const struct drain_lane *lane, const struct drain_slot *slot)
{
	const uint32_t cursor = lane && !lane->is_touched ? CURSOR_ROOM : 0;
	const uint32_t marked = slot->is_touched ? 0 : MARKED_ROOM;

	return cursor + marked;
}

/* Keep that room; false: the page cannot take @payload bytes more with it. */
static bool touch(struct page_builder *page, struct drain_lane *lane, struct drain_slot *slot,
		  uint32_t payload)
{
	const uint32_t room = entry_room(lane, slot);

	if (page_room(page, room) < (int64_t)payload)
		return false;
	page_reserve(page, room);
	slot->is_touched = true;
	if (lane)
		lane->is_touched = true;
	return true;
}

/* ---- losses ---- */

static bool is_zero(const uint64_t counters[LOSS_REASONS])
{
	uint64_t any = 0;

	for (size_t i = 0; i < LOSS_REASONS; i++)
		any |= counters[i];
	return any == 0;
}

static void count_marked(struct drain *drain, struct drain_slot *slot,
			 const uint64_t lost[LOSS_REASONS])
{
	for (size_t i = 0; i < LOSS_REASONS; i++) {
		slot->now.marked[i] += lost[i];
		drain->total_lost += lost[i];
	}
}

/* A GAP of the writer's own: @lost records of @slot. False: no room. */
static bool append_gap(struct drain *drain, struct page_builder *page, struct drain_lane *lane,
		       struct drain_slot *slot, const uint64_t lost[LOSS_REASONS])
{
	const struct record_header header = {
		.length = sizeof(struct gap_payload),
		.source = slot_source_no(slot),
		.kind = RECORD_GAP,
		.ticks = clock_writer_stamp(drain->segment.geometry.clock),
	};
	struct gap_payload gap;

	if (is_zero(lost))
		return true;
	if (!touch(page, lane, slot, sizeof(gap)))
		return false;
	memcpy(gap.lost, lost, sizeof(gap.lost));
	page_append(page, &header, &gap);
	count_marked(drain, slot, lost);
	return true;
}

/* What @drops says beyond what is marked. Counters of others may say anything: never below zero. */
static void unmarked(const struct drain_slot *slot, const uint64_t drops[LOSS_REASONS],
		     uint64_t ret_lost[LOSS_REASONS])
{
	for (size_t i = 0; i < LOSS_REASONS; i++)
		ret_lost[i] = drops[i] > slot->now.marked[i] ? drops[i] - slot->now.marked[i] : 0;
}

/* ---- taking one record ---- */

static bool take_data(struct drain *drain, struct page_builder *page, struct drain_lane *lane,
		      struct drain_slot *slot, struct taken *taken)
{
	if (!touch(page, lane, slot, taken->header.length))
		return false;
	taken->header.source = slot_source_no(slot);
	if (drain->segment.geometry.clock == RING_CLOCK_WRITER)
		taken->header.ticks = drain->pass_began;
	page_append(page, &taken->header, taken->payload);
	lane->taken.records++;
	slot->now.records++;
	drain->total_records++;
	return true;
}

/* Drops of the binding before this one, that it could no longer announce itself, come first. */
static bool mark_before_source(struct drain *drain, struct page_builder *page,
			       struct drain_lane *lane, struct drain_slot *slot,
			       const struct source_payload *source)
{
	uint64_t lost[LOSS_REASONS];

	unmarked(slot, source->drops, lost);
	return append_gap(drain, page, lane, slot, lost);
}

static bool take_source(struct drain *drain, struct page_builder *page, struct drain_lane *lane,
			struct drain_slot *slot, struct taken *taken)
{
	struct source_payload source;

	memcpy(&source, taken->payload, sizeof(source));
	source.name[SOURCE_NAME_SIZE - 1] = '\0';
	source.lane = slot->lane;
	source.owner = slot->owner;
	source.reserved = 0;
	if (!mark_before_source(drain, page, lane, slot, &source) ||
	    !touch(page, lane, slot, sizeof(source)))
		return false;
	taken->header.source = slot_source_no(slot);
	page_append(page, &taken->header, &source);
	slot->now.source = source;
	slot->now.has_source = true;
	return true;
}

static bool take_gap(struct drain *drain, struct page_builder *page, struct drain_lane *lane,
		     struct drain_slot *slot, struct taken *taken)
{
	struct gap_payload gap;

	memcpy(&gap, taken->payload, sizeof(gap));
	if (!touch(page, lane, slot, sizeof(gap)))
		return false;
	taken->header.source = slot_source_no(slot);
	page_append(page, &taken->header, &gap);
	count_marked(drain, slot, gap.lost);
	return true;
}

/* A record that fails its checks costs itself only: it is a loss of its source. */
static bool take_refused(struct drain *drain, struct page_builder *page, struct drain_lane *lane,
			 struct drain_slot *slot)
{
	const uint64_t lost[LOSS_REASONS] = { [LOSS_CORRUPT] = 1 };

	if (!append_gap(drain, page, lane, slot, lost))
		return false;
	/* The producer's own counter does not know of it. */
	slot->now.marked[LOSS_CORRUPT]--;
	store_relaxed(&lane->status->refused, load_relaxed(&lane->status->refused) + 1);
	return true;
}

/* False: the page has no room; nothing has happened. */
static bool take_record(struct drain *drain, struct page_builder *page, struct drain_lane *lane,
			struct taken *taken)
{
	struct drain_slot *slot = slot_of(drain, lane->slot.lane, word_owner(taken->word));

	taken->header.level &= 7;
	switch (taken->header.kind) {
	case RECORD_DATA:
		return take_data(drain, page, lane, slot, taken);
	case RECORD_SOURCE:
		return take_source(drain, page, lane, slot, taken);
	default:
		return take_gap(drain, page, lane, slot, taken);
	}
}

/* ---- one lane ---- */

static bool is_claimer_alive(const struct drain *drain, const struct drain_lane *lane, uint64_t word)
{
	const uint32_t lane_no = lane->slot.lane;
	const int64_t byte = lane_no == 0 ? LOCK_BYTE_OWNER((int64_t)word_owner(word)) :
					    LOCK_BYTE_LANE((int64_t)lane_no);

	/* Not to know is to wait: never step over somebody who may still publish. */
	return drain->sys->lock_query(drain->segment.fd, byte, 1) != 0;
}

static void step(struct drain *drain, struct drain_lane *lane, const struct taken *taken)
{
	lane->taken.position += taken->blocks;
	drain->pass_blocks += taken->blocks;
}

static void count_abandoned(struct drain *drain, struct drain_lane *lane)
{
	lane->abandoned++;
	drain->total_abandoned++;
}

/*
 * A claim that is open. Its owner alive: leave the lane for now. Dead: he may have published and
 * died between our look and the question, so look again, and step over only what is unchanged:
 * whoever let go of the lock stored nothing after that. True: go on with the lane.
 */
static bool pass_claim(struct drain *drain, struct drain_lane *lane, const struct taken *taken)
{
	struct taken again;

	if (is_claimer_alive(drain, lane, taken->word))
		return false;
	if (ring_look(&lane->lane, lane->taken.position, &again) != TAKE_CLAIMED ||
	    again.word != taken->word)
		return true;
	count_abandoned(drain, lane);
	step(drain, lane, taken);
	return true;
}

static void quarantine(struct drain_lane *lane)
{
	lane->is_quarantined = true;
	store_release_u32(&lane->status->quarantine, 1); /* MO quarantine:A -> quarantine:B */
	store_relaxed(&lane->status->quarantines, load_relaxed(&lane->status->quarantines) + 1);
}

/* The next boundary is unknown: what lies behind it is lost, by a count that nobody knows. */
static bool enter_quarantine(struct drain *drain, struct page_builder *page, struct drain_lane *lane)
{
	const uint64_t lost[LOSS_REASONS] = { [LOSS_CORRUPT] = 1 };
	char text[128];

	(void)snprintf(text, sizeof(text),
		       "lane %u makes no sense at position %llu: set aside until its users are gone",
		       lane->slot.lane, (unsigned long long)lane->taken.position);
	if (page_room(page, CURSOR_ROOM + MARKED_ROOM + 512) < 0 || !drain_note(page, text) ||
	    !append_gap(drain, page, lane, slot_of(drain, lane->slot.lane, 0), lost))
		return false;
	slot_of(drain, lane->slot.lane, 0)->now.marked[LOSS_CORRUPT]--;
	quarantine(lane);
	return true;
}

enum lane_step { LANE_GO_ON, LANE_EMPTIED, LANE_NO_ROOM };

static enum lane_step take_one(struct drain *drain, struct page_builder *page,
			       struct drain_lane *lane)
{
	struct taken taken;
	enum take look = ring_look(&lane->lane, lane->taken.position, &taken);

	if (look == TAKE_RECORD && !record_is_admissible(&taken.header))
		look = TAKE_REFUSED;
	switch (look) {
	case TAKE_EMPTY:
		return LANE_EMPTIED;
	case TAKE_SKIP:
		if (word_is_dead(taken.word))
			count_abandoned(drain, lane);
		break;
	case TAKE_RECORD:
		if (!take_record(drain, page, lane, &taken))
			return LANE_NO_ROOM;
		break;
	case TAKE_REFUSED:
		if (!take_refused(drain, page, lane,
				  slot_of(drain, lane->slot.lane, word_owner(taken.word))))
			return LANE_NO_ROOM;
		break;
	case TAKE_CLAIMED:
		return pass_claim(drain, lane, &taken) ? LANE_GO_ON : LANE_EMPTIED;
	case TAKE_CORRUPT:
		return enter_quarantine(drain, page, lane) ? LANE_EMPTIED : LANE_NO_ROOM;
	}
	step(drain, lane, &taken);
	return LANE_GO_ON;
}

/* A pass takes at most a full lane: what was published before it began lies within. */
static enum drain_result take_lane(struct drain *drain, struct page_builder *page,
				   struct drain_lane *lane)
{
	while (!lane->is_emptied) {
		enum lane_step next = LANE_EMPTIED;

		if (!lane->is_quarantined && lane->taken.position < lane->pass_end)
			next = take_one(drain, page, lane);
		if (next == LANE_NO_ROOM)
			return DRAIN_FULL;
		lane->is_emptied = next == LANE_EMPTIED;
	}
	return DRAIN_DONE;
}

/* ---- passes ---- */

void drain_begin_pass(struct drain *drain)
{
	drain->pass_lane = 0;
	drain->pass_blocks = 0;
	drain->pass_began = clock_writer_stamp(drain->segment.geometry.clock);
	for (uint32_t i = 0; i < lane_count(drain); i++) {
		struct drain_lane *lane = &drain->lanes[i];

		lane->is_emptied = false;
		lane->pass_end = lane->taken.position + lane->lane.block_count;
	}
}

enum drain_result drain_continue(struct drain *drain, struct page_builder *page)
{
	for (; drain->pass_lane < lane_count(drain); drain->pass_lane++)
		if (take_lane(drain, page, &drain->lanes[drain->pass_lane]) == DRAIN_FULL)
			return DRAIN_FULL;
	drain->seen = drain->pass_began;
	drain_settle(drain);
	return DRAIN_DONE;
}

/* ---- losses that nobody else can announce ---- */

static const struct producer_line *slot_line(const struct drain *drain, const struct drain_slot *slot)
{
	return slot->lane ? &drain->lanes[slot->lane].page->line :
			    view_owner_line(&drain->view, slot->owner);
}

/* Can the slot's holder no longer announce anything? Its thread ended, or its lock has fallen. */
static bool is_silent(const struct drain *drain, const struct drain_slot *slot)
{
	const int64_t byte = slot->lane ? LOCK_BYTE_LANE((int64_t)slot->lane) :
					  LOCK_BYTE_OWNER((int64_t)slot->owner);

	if (load_acquire_u32(&slot_line(drain, slot)->ended)) /* MO ended:B <- ended:A */
		return true;
	return drain->sys->lock_query(drain->segment.fd, byte, 1) == 0;
}

/*
 * The order matters: read the counters, then see that their holder is silent, then see that
 * everything published before is taken. A binding that begins in between brings a SOURCE with the
 * same counters, and is met there.
 */
static bool mark_slot(struct drain *drain, struct page_builder *page, struct drain_slot *slot)
{
	struct drain_lane *lane = &drain->lanes[slot->lane];
	uint64_t drops[LOSS_REASONS], lost[LOSS_REASONS];
	struct taken taken;

	copy_counters(drops, slot_line(drain, slot)->drops);
	unmarked(slot, drops, lost);
	if (is_zero(lost) || lane->is_quarantined || !is_silent(drain, slot) ||
	    ring_look(&lane->lane, lane->taken.position, &taken) != TAKE_EMPTY)
		return true;
	return append_gap(drain, page, lane, slot, lost);
}

static bool mark_unbound(struct drain *drain, struct page_builder *page)
{
	uint64_t drops[LOSS_REASONS], lost[LOSS_REASONS];

	copy_counters(drops, drain->doorbell->drops);
	unmarked(&drain->unbound, drops, lost);
	return append_gap(drain, page, NULL, &drain->unbound, lost);
}

/* What a lane lost below the ring: released, but not (or no longer) on disk. */
static bool mark_missing(struct drain *drain, struct page_builder *page, struct drain_lane *lane)
{
	if (!append_gap(drain, page, lane, slot_of(drain, lane->slot.lane, 0), lane->missing))
		return false;
	memset(lane->missing, 0, sizeof(lane->missing));
	return true;
}

void drain_mark(struct drain *drain, struct page_builder *page)
{
	for (uint32_t lane = 0; lane < lane_count(drain); lane++)
		if (!mark_missing(drain, page, &drain->lanes[lane]))
			return;
	for (uint32_t lane = 1; lane < lane_count(drain); lane++)
		if (!mark_slot(drain, page, &drain->lanes[lane].slot))
			return;
	for (uint32_t owner = 1; owner < OWNER_IDS; owner++)
		if (!mark_slot(drain, page, &drain->owners[owner]))
			return;
	(void)mark_unbound(drain, page);
}

bool drain_note(struct page_builder *page, const char *text)
{
	const struct record_header header = { .length = (uint32_t)strlen(text),
					      .kind = RECORD_NOTE, .level = 5 };

	if (page_room(page, 0) < (int64_t)header.length)
		return false;
	page_append(page, &header, text);
	return true;
}

/* ---- pages ---- */

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
		.header = { .type = ENTRY_MARKED, .size = sizeof(entry), .lane = slot->lane,
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

void drain_fill_file_page(const struct drain *drain, struct page_builder *page)
{
	for (uint32_t i = 1; i < lane_count(drain); i++)
		append_source(page, &drain->lanes[i].slot);
	for (uint32_t owner = 0; owner < OWNER_IDS; owner++)
		append_source(page, &drain->owners[owner]);
	page_reserve(page, lane_count(drain) * (CURSOR_ROOM + MARKED_ROOM) + OWNER_IDS * MARKED_ROOM);
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

/* ---- moving on ---- */

/* Everybody who sleeps on the lane looks again. `waiters` may have been left by a dead thread: that
 * costs a futex call and nothing else. */
static void announce(struct drain *drain, struct drain_lane *lane)
{
	(void)add_seq_cst_u32(&lane->status->moved, 1); /* MO moved:A -> moved:B */
	if (load_seq_cst_u32(&lane->page->waiters) != 0) /* MO waiters:B <- waiters:A */
		(void)drain->sys->futex_wake(&lane->status->moved.raw);
}

static void release(struct drain_lane *lane, const struct progress *progress)
{
	store_relaxed(&lane->status->records_released, progress->records);
	store_release(&lane->status->released, progress->position); /* MO release:A -> reuse:B */
}

static void set_written(struct drain *drain, struct drain_lane *lane,
			const struct progress *progress)
{
	if (progress->position == lane->written.position)
		return;
	lane->written = *progress;
	store_relaxed(&lane->status->records_written, progress->records);
	store_relaxed(&lane->status->abandoned, lane->abandoned_kept);
	store_seq_cst(&lane->status->written, progress->position); /* MO progress:A -> progress:B */
	if (!drain->release_durable)
		release(lane, progress);
	announce(drain, lane);
}

static void set_durable(struct drain *drain, struct drain_lane *lane,
			const struct progress *progress)
{
	if (progress->position == lane->durable.position)
		return;
	lane->durable = *progress;
	store_relaxed(&lane->status->records_durable, progress->records);
	store_seq_cst(&lane->status->durable, progress->position); /* MO progress:A -> progress:B */
	if (drain->release_durable)
		release(lane, progress);
	announce(drain, lane);
}

static void release_cursor(struct drain *drain, const struct cursor_entry *entry)
{
	struct drain_lane *lane = &drain->lanes[entry->header.lane];
	const struct progress progress = { entry->position, entry->records };

	assert(lane->pages_under_way > 0);
	lane->pages_under_way--;
	lane->abandoned_kept = entry->abandoned;
	set_written(drain, lane, &progress);
}

static void keep_marked(struct drain *drain, const struct marked_entry *entry)
{
	struct drain_slot *slot = slot_named(drain, entry->header.lane, entry->header.owner);
	struct shared_u64 *marked;

	if (!slot || entry->header.size < sizeof(*entry))
		return;
	memcpy(slot->kept.marked, entry->marked, sizeof(entry->marked));
	slot->kept.records = entry->records;
	marked = status_marked(drain, slot);
	for (size_t i = 0; i < LOSS_REASONS; i++)
		store_relaxed(&marked[i], entry->marked[i]);
	if (slot->lane == 0)
		store_relaxed(&owner_status_at(drain, slot->owner)->records_released, entry->records);
}

static void keep_source(struct drain *drain, const struct source_payload *source)
{
	struct drain_slot *slot = slot_named(drain, source->lane, source->owner);

	if (!slot || slot == &drain->unbound)
		return;
	slot->kept.source = *source;
	slot->kept.has_source = true;
	*status_source(drain, slot) = *source;
}

/* SOURCE records of a page of our own, in order. */
static void keep_sources(struct drain *drain, const void *page)
{
	struct page_cursor cursor = { 0 };
	struct record_header header;
	struct source_payload source;
	const void *payload;

	while (page_next_record(page, &cursor, &header, &payload) > 0) {
		if (header.kind != RECORD_SOURCE || header.length != sizeof(source))
			continue;
		memcpy(&source, payload, sizeof(source));
		keep_source(drain, &source);
	}
}

void drain_release(struct drain *drain, const void *page)
{
	struct page_cursor cursor = { 0 };
	const struct entry_header *entry;

	keep_sources(drain, page);
	while (page_next_entry(page, &cursor, &entry) > 0) {
		if (entry->type == ENTRY_CURSOR)
			release_cursor(drain, (const void *)entry);
		else if (entry->type == ENTRY_MARKED)
			keep_marked(drain, (const void *)entry);
	}
	drain_settle(drain);
}

void drain_settle(struct drain *drain)
{
	for (uint32_t i = 0; i < lane_count(drain); i++) {
		struct drain_lane *lane = &drain->lanes[i];
		const bool is_durable = lane->durable.position == lane->written.position;

		if (lane->is_touched || lane->pages_under_way ||
		    lane->taken.position == lane->written.position)
			continue;
		lane->abandoned_kept = lane->abandoned;
		set_written(drain, lane, &lane->taken);
		if (is_durable)
			set_durable(drain, lane, &lane->taken);
	}
}

void drain_snapshot(const struct drain *drain, struct drain_snapshot *ret)
{
	for (uint32_t i = 0; i < lane_count(drain); i++)
		ret->lanes[i] = drain->lanes[i].written;
}

void drain_set_durable(struct drain *drain, const struct drain_snapshot *snapshot)
{
	for (uint32_t i = 0; i < lane_count(drain); i++)
		if (snapshot->lanes[i].position > drain->lanes[i].durable.position)
			set_durable(drain, &drain->lanes[i], &snapshot->lanes[i]);
	drain_settle(drain);
}

bool drain_is_unsynced(const struct drain *drain)
{
	for (uint32_t i = 0; i < lane_count(drain); i++)
		if (drain->lanes[i].durable.position != drain->lanes[i].written.position)
			return true;
	return false;
}

void drain_count_unsynced(struct drain *drain)
{
	for (uint32_t i = 0; i < lane_count(drain); i++) {
		struct drain_lane *lane = &drain->lanes[i];
		const uint64_t lost = lane->written.records - lane->durable.records;

		if (lost == 0)
			continue;
		lane->missing[LOSS_UNSYNCED] += lost;
		store_relaxed(&lane->status->failed, load_relaxed(&lane->status->failed) + lost);
		set_durable(drain, lane, &lane->written);
	}
}

/* ---- quarantine ---- */

static int zero_words(struct drain *drain, uint32_t lane_no)
{
	static const uint8_t zeros[RING_PAGE];
	const struct geometry *geometry = &drain->segment.geometry;
	const uint64_t lane = geometry_lane_offset(geometry, lane_no);
	const uint64_t end = lane + geometry->blocks_offset;
	const uint64_t hint = lane + offsetof(struct lane_page, tail_hint);
	int r = 0;

	if (drain->sys->pwrite(drain->segment.fd, zeros, 8, (off_t)hint) != 8)
		return -EIO;
	for (uint64_t at = lane + geometry->words_offset; r == 0 && at < end; at += RING_PAGE)
		if (drain->sys->pwrite(drain->segment.fd, zeros, RING_PAGE, (off_t)at) != RING_PAGE)
			r = -EIO;
	return r;
}

/* Under all locks of the lane nobody can store into it: its words start anew, positions go on. */
static void reset_lane(struct drain *drain, uint32_t lane_no)
{
	struct drain_lane *lane = &drain->lanes[lane_no];
	const int64_t byte = lane_no ? LOCK_BYTE_LANE((int64_t)lane_no) : LOCK_BYTE_OWNER(INT64_C(0));
	const int64_t bytes = lane_no ? 1 : OWNER_IDS;

	if (drain->sys->lock(drain->segment.fd, byte, bytes) < 0)
		return;
	if (zero_words(drain, lane_no) == 0) {
		lane->is_quarantined = false;
		store_release_u32(&lane->status->quarantine, 0); /* MO quarantine:A -> quarantine:B */
	}
	(void)drain->sys->unlock(drain->segment.fd, byte, bytes);
}

void drain_reset_lanes(struct drain *drain)
{
	for (uint32_t i = 0; i < lane_count(drain); i++) {
		const struct drain_lane *lane = &drain->lanes[i];

		if (lane->is_quarantined && !lane->pages_under_way && !lane->is_touched &&
		    load_relaxed(&lane->status->released) == lane->taken.position)
			reset_lane(drain, i);
	}
}

/* ---- questions ---- */

void drain_wake_all(struct drain *drain)
{
	for (uint32_t i = 0; i < lane_count(drain); i++) {
		(void)add_seq_cst_u32(&drain->lanes[i].status->moved, 1); /* MO moved:A -> moved:B */
		(void)drain->sys->futex_wake(&drain->lanes[i].status->moved.raw);
	}
}

uint64_t drain_backlog(const struct drain *drain)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < lane_count(drain); i++) {
		const struct drain_lane *lane = &drain->lanes[i];
		struct ring_survey survey;

		if (lane->is_quarantined)
			continue;
		ring_survey(&lane->lane, lane->status, &survey);
		if (survey.frontier > lane->taken.position)
			most = max_u64(most, survey.frontier - lane->taken.position);
	}
	return most;
}

bool drain_has_users(const struct drain *drain)
{
	const int64_t from = LOCK_BYTE_WRITER + 1;

	return drain->sys->lock_query(drain->segment.fd, from, LOCK_BYTES - 1) != 0;
}

bool drain_is_unlinked(const struct drain *drain)
{
	int fd;
	const int r = segment_reopen(&drain->segment, O_RDONLY, &fd);

	if (r == 0)
		(void)drain->sys->close(fd);
	/* Not to know (no descriptor, no permission) is to go on: a closed ring stays closed. */
	return r == -ENOENT || r == -ESTALE || r == -ELOOP;
}

/* ---- restart ---- */

static void restore_cursor(struct drain *drain, const struct cursor_entry *entry)
{
	struct drain_lane *lane;

	if (entry->header.size < sizeof(*entry) || entry->header.lane >= lane_count(drain))
		return;
	lane = &drain->lanes[entry->header.lane];
	if (entry->position < lane->taken.position)
		return;
	lane->taken = (struct progress){ entry->position, entry->records };
	lane->abandoned = entry->abandoned;
}

void drain_restore_page(struct drain *drain, const void *page)
{
	const struct page_header *header = page;
	struct page_cursor cursor = { 0 };
	const struct entry_header *entry;

	if (header->segment_id != drain->segment.geometry.segment_id)
		return;
	keep_sources(drain, page);
	while (page_next_entry(page, &cursor, &entry) > 0) {
		if (entry->type == ENTRY_CURSOR)
			restore_cursor(drain, (const void *)entry);
		else if (entry->type == ENTRY_MARKED)
			keep_marked(drain, (const void *)entry);
	}
	drain->total_records = header->total_records;
	drain->total_lost = header->total_lost;
	drain->total_abandoned = header->total_abandoned;
}

static void restore_lane(struct drain *drain, struct drain_lane *lane, bool log_continues)
{
	const struct progress ring = { load_relaxed(&lane->status->released),
				       load_relaxed(&lane->status->records_released) };

	if (ring.position > lane->taken.position) {
		if (log_continues && ring.records > lane->taken.records)
			lane->missing[LOSS_UNWRITTEN] = ring.records - lane->taken.records;
		lane->taken = ring;
		lane->abandoned = load_relaxed(&lane->status->abandoned);
	}
	lane->abandoned_kept = lane->abandoned;
	lane->written = (struct progress){ UINT64_MAX, 0 }; /* unlike any: all words are stored */
	lane->durable = (struct progress){ UINT64_MAX, 0 };
	set_written(drain, lane, &lane->taken);
	set_durable(drain, lane, &lane->taken);
	release(lane, &lane->taken);
}

void drain_restore_end(struct drain *drain, bool log_continues)
{
	for (uint32_t i = 0; i < lane_count(drain); i++) {
		restore_lane(drain, &drain->lanes[i], log_continues);
		drain->lanes[i].slot.now = drain->lanes[i].slot.kept;
	}
	for (uint32_t owner = 0; owner < OWNER_IDS; owner++)
		drain->owners[owner].now = drain->owners[owner].kept;
	drain->unbound.now = drain->unbound.kept;
	drain_wake_all(drain);
}
