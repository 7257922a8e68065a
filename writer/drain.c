/*
 * drain.c - from the ring into pages: what lies in a lane, and what is lost of it. See drain.h.
 */
#include <stdio.h>
#include <string.h>

#include "drain_private.h"

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

static void count_marked(struct drain *drain, struct drain_slot *slot,
			 const uint64_t lost[LOSS_REASONS])
{
	for (size_t i = 0; i < LOSS_REASONS; i++) {
		slot->now.marked[i] += lost[i];
		drain->total_lost += lost[i];
	}
}

/*
 * A stamp for what has no record of its own: not later than that of anything that is not taken yet.
 * A later one would put all that follows in the lane behind it, and behind what others pushed
 * meanwhile: a source's own order holds whatever its stamps say.
 */
static uint64_t stamp_before_rest(const struct drain *drain)
{
	if (drain->segment.geometry.clock != RING_CLOCK_NONE && drain->seen != 0)
		return drain->seen;
	return clock_writer_stamp(drain->segment.geometry.clock);
}

/* A GAP of the writer's own: @lost records of @slot. False: no room. */
static bool append_gap(struct drain *drain, struct page_builder *page, struct drain_slot *slot,
		       const uint64_t lost[LOSS_REASONS], uint64_t ticks)
{
	struct drain_lane *lane = slot->lane == LANE_UNBOUND ? NULL : &drain->lanes[slot->lane];
	const struct record_header header = {
		.length = sizeof(struct gap_payload),
		.source = slot_source_no(slot),
		.kind = RECORD_GAP,
		.ticks = ticks,
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

/* What a lane lost below the ring: released, but no longer on disk. */
static bool mark_unsynced(struct drain *drain, struct page_builder *page, struct drain_lane *lane)
{
	const uint64_t lost[LOSS_REASONS] = { [LOSS_UNSYNCED] = lane->unsynced };

	if (!append_gap(drain, page, slot_of(drain, lane->slot.lane, 0), lost,
			stamp_before_rest(drain)))
		return false;
	lane->unsynced = 0;
	return true;
}

/* Its GAP stands in the next FILE page; this gives that page a reason to be written. */
static bool note_unwritten(struct page_builder *page, struct drain_lane *lane)
{
	char text[128];

	if (lane->unwritten == 0 || lane->is_unwritten_noted)
		return true;
	(void)snprintf(text, sizeof(text),
		       "%llu records of lane %u were released by an earlier writer, and are not in "
		       "this log",
		       (unsigned long long)lane->unwritten, lane->slot.lane);
	lane->is_unwritten_noted = drain_note(page, text);
	return lane->is_unwritten_noted;
}

/* Drops of the binding before this one, that it could no longer announce itself, come first. */
static bool mark_before_source(struct drain *drain, struct page_builder *page,
			       struct drain_slot *slot, const struct source_payload *source,
			       uint64_t ticks)
{
	uint64_t lost[LOSS_REASONS];

	unmarked(slot, source->drops, lost);
	return append_gap(drain, page, slot, lost, ticks);
}

static bool take_source(struct drain *drain, struct page_builder *page, struct drain_lane *lane,
			struct drain_slot *slot, struct taken *taken)
{
	const uint64_t ticks = taken->header.ticks ? taken->header.ticks : stamp_before_rest(drain);
	struct source_payload source;

	memcpy(&source, taken->payload, sizeof(source));
	source.name[SOURCE_NAME_SIZE - 1] = '\0';
	source.lane = slot->lane;
	source.owner = slot->owner;
	source.reserved = 0;
	if (!mark_unsynced(drain, page, lane) ||
	    !mark_before_source(drain, page, slot, &source, ticks) ||
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

	if (!append_gap(drain, page, slot, lost, stamp_before_rest(drain)))
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

static bool is_claimer_alive(const struct drain *drain, const struct drain_lane *lane,
			     uint64_t word)
{
	const uint32_t lane_no = lane->slot.lane;
	const int64_t byte = lane_no == 0 ? LOCK_BYTE_OWNER((int64_t)word_owner(word))
					  : LOCK_BYTE_LANE((int64_t)lane_no);

	/* Not to know is to wait: never step over somebody who may still publish. */
	return drain->sys->lock_query(drain->segment.fd, byte, 1) != 0;
}

static void step(struct drain_lane *lane, const struct taken *taken)
{
	lane->taken.position += taken->blocks;
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
	step(lane, taken);
	return true;
}

static void quarantine(struct drain_lane *lane)
{
	lane->is_quarantined = true;
	store_release_u32(&lane->status->quarantine, 1); /* MO quarantine:A -> quarantine:B */
	store_relaxed(&lane->status->quarantines, load_relaxed(&lane->status->quarantines) + 1);
}

/* The next boundary is unknown: what lies behind it is lost, by a count that nobody knows. */
static bool enter_quarantine(struct drain *drain, struct page_builder *page,
			     struct drain_lane *lane)
{
	const uint64_t lost[LOSS_REASONS] = { [LOSS_CORRUPT] = 1 };
	char text[128];

	(void)snprintf(
		text, sizeof(text),
		"lane %u makes no sense at position %llu: set aside until its users are gone",
		lane->slot.lane, (unsigned long long)lane->taken.position);
	if (page_room(page, CURSOR_ROOM + MARKED_ROOM + 512) < 0 || !drain_note(page, text) ||
	    !append_gap(drain, page, slot_of(drain, lane->slot.lane, 0), lost,
			stamp_before_rest(drain)))
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
	step(lane, &taken);
	return LANE_GO_ON;
}

/* Blocks of the DATA record at @position that went into the page; 0: something else has to be done
 * first. */
static inline uint32_t take_usual(struct drain *drain, const struct lane *lane, uint32_t lane_no,
				  uint64_t position, struct page_run *run)
{
	struct drain_slot *slot;
	struct taken taken;

	if (ring_look(lane, position, &taken) != TAKE_RECORD || taken.header.kind != RECORD_DATA ||
	    taken.header.level > 7 || !page_run_has_room(run, taken.header.length))
		return 0;
	slot = slot_of(drain, lane_no, word_owner(taken.word));
	if (!slot->is_touched)
		return 0;
	taken.header.source = slot_source_no(slot);
	if (drain->segment.geometry.clock == RING_CLOCK_WRITER)
		taken.header.ticks = drain->pass_began;
	page_run_append(run, &taken.header, taken.payload, taken.blocks == 1);
	slot->now.records++;
	return taken.blocks;
}

/*
 * What a lane is full of as a rule: DATA of whom the page knows already. It does what take_one()
 * would, with all that it needs at hand; whatever is not so simple is left to that.
 */
static void take_run(struct drain *drain, struct page_builder *page, struct drain_lane *lane)
{
	const struct lane words = lane->lane;
	const uint32_t lane_no = lane->slot.lane;
	uint64_t position = lane->taken.position;
	struct page_run run;
	uint32_t blocks;

	if (!lane->is_touched || lane->is_quarantined)
		return;
	page_run_begin(page, &run);
	while (position < lane->pass_end &&
	       (blocks = take_usual(drain, &words, lane_no, position, &run)) > 0)
		position += blocks;
	page_run_end(page, &run);
	drain->total_records += run.records;
	lane->taken.position = position;
	lane->taken.records += run.records;
}

/* A pass takes at most a full lane: what was published before it began lies within. */
static enum drain_result take_lane(struct drain *drain, struct page_builder *page,
				   struct drain_lane *lane)
{
	enum lane_step next = LANE_GO_ON;

	while (!lane->is_emptied && next != LANE_NO_ROOM) {
		take_run(drain, page, lane);
		next = LANE_EMPTIED;
		if (!lane->is_quarantined && lane->taken.position < lane->pass_end)
			next = take_one(drain, page, lane);
		lane->is_emptied = next == LANE_EMPTIED;
	}
	drain_show_taken(lane);
	return next == LANE_NO_ROOM ? DRAIN_FULL : DRAIN_DONE;
}

/* ---- passes ---- */

void drain_begin_pass(struct drain *drain)
{
	drain->pass_lane = 0;
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

static const struct producer_line *slot_line(const struct drain *drain,
					     const struct drain_slot *slot)
{
	return slot->lane ? &drain->lanes[slot->lane].page->line
			  : view_owner_line(&drain->view, slot->owner);
}

/* Can the slot's holder no longer announce anything? Its thread ended, or its lock has fallen. */
static bool is_silent(const struct drain *drain, const struct drain_slot *slot)
{
	const int64_t byte = slot->lane ? LOCK_BYTE_LANE((int64_t)slot->lane)
					: LOCK_BYTE_OWNER((int64_t)slot->owner);

	if (load_acquire_u32(&slot_line(drain, slot)->ended)) /* MO ended:B <- ended:A */
		return true;
	return drain->sys->lock_query(drain->segment.fd, byte, 1) == 0;
}

static void read_holder(const struct producer_line *line, struct source_payload *ret)
{
	*ret = (struct source_payload){ 0 };
	load_words(&ret->pid, &line->pid, 2); /* and tid, start_time */
	load_words(ret->drops, line->drops_before, LOSS_REASONS);
	load_words(ret->name, line->name, sizeof(ret->name) / 8);
	ret->name[sizeof(ret->name) - 1] = '\0';
}

static bool is_named(const struct drain_slot *slot, const struct source_payload *holder)
{
	const struct source_payload *source = &slot->now.source;

	return slot->now.has_source && source->pid == holder->pid && source->tid == holder->tid &&
	       source->start_time == holder->start_time &&
	       strncmp(source->name, holder->name, sizeof(holder->name)) == 0;
}

/* A lane so full that its last holder's SOURCE never went in: it is said for him, lest his losses
 * stand under his predecessor's name. */
static bool name_holder(struct drain *drain, struct page_builder *page, struct drain_slot *slot,
			const struct source_payload *holder)
{
	struct taken taken = { .header = { .length = sizeof(*holder),
					   .kind = RECORD_SOURCE,
					   .ticks = stamp_before_rest(drain) },
			       .payload = (const void *)holder };

	if (slot->lane == 0 || holder->pid == 0 || is_named(slot, holder))
		return true;
	return take_source(drain, page, &drain->lanes[slot->lane], slot, &taken);
}

/*
 * The order matters: read the counters, then see that their holder is silent, then see that
 * everything published before is taken. A binding that begins in between brings a SOURCE with the
 * same counters, and is met there; one that shows in the line by now will.
 */
static bool mark_slot(struct drain *drain, struct page_builder *page, struct drain_slot *slot)
{
	struct drain_lane *lane = &drain->lanes[slot->lane];
	uint64_t drops[LOSS_REASONS], lost[LOSS_REASONS];
	struct source_payload holder, again;
	struct taken taken;

	read_holder(slot_line(drain, slot), &holder);
	copy_counters(drops, slot_line(drain, slot)->drops);
	unmarked(slot, drops, lost);
	if (is_zero(lost) || lane->is_quarantined || !is_silent(drain, slot) ||
	    ring_look(&lane->lane, lane->taken.position, &taken) != TAKE_EMPTY)
		return true;
	read_holder(slot_line(drain, slot), &again);
	if (memcmp(&holder, &again, sizeof(holder)) != 0)
		return true;
	if (!name_holder(drain, page, slot, &holder))
		return false;
	unmarked(slot, drops, lost);
	return append_gap(drain, page, slot, lost, stamp_before_rest(drain));
}

static bool mark_unbound(struct drain *drain, struct page_builder *page)
{
	uint64_t drops[LOSS_REASONS], lost[LOSS_REASONS];

	copy_counters(drops, drain->doorbell->drops);
	unmarked(&drain->unbound, drops, lost);
	return append_gap(drain, page, &drain->unbound, lost, stamp_before_rest(drain));
}

/* How much was in it nobody can tell. */
static bool note_loss(struct drain *drain, struct page_builder *page)
{
	const uint64_t lost[LOSS_REASONS] = { [LOSS_CORRUPT] = drain->is_cut };

	if (!drain->is_lost || drain->is_loss_noted)
		return true;
	if (page_room(page, CURSOR_ROOM + MARKED_ROOM + 512) < 0 ||
	    !drain_note(page, drain->is_cut
				      ? "the ring's memory was taken away: what lay in it is lost"
				      : "the ring's header was written over: it is replaced") ||
	    !append_gap(drain, page, slot_of(drain, 0, 0), lost, stamp_before_rest(drain)))
		return false;
	/* As of a lane that is set aside: no producer's counter knows of it. */
	slot_of(drain, 0, 0)->now.marked[LOSS_CORRUPT] -= drain->is_cut;
	drain->is_loss_noted = true;
	return true;
}

/* Has this lane, or this owner id of lane 0, dropped anything since all was marked? There are
 * hundreds, and hardly anything is in the caches when nobody logs: one line of memory for each. */
static bool has_news(struct drain *drain, uint32_t lane, uint32_t owner)
{
	const struct producer_line *line =
		lane ? &drain->lanes[lane].page->line : view_owner_line(&drain->view, owner);
	uint64_t *marked_sum = &drain->marked_sums[lane ? lane : SOURCE_OWNER_BASE + owner];
	uint64_t counters[LOSS_REASONS], lost[LOSS_REASONS], sum = 0;

	for (size_t i = 0; i < LOSS_REASONS; i++)
		sum += load_relaxed(&line->drops[i]);
	if (sum == *marked_sum)
		return false;
	copy_counters(counters, line->drops);
	unmarked(slot_of(drain, lane, owner), counters, lost);
	if (is_zero(lost))
		*marked_sum = sum;
	return !is_zero(lost);
}

void drain_mark(struct drain *drain, struct page_builder *page)
{
	if (!note_loss(drain, page))
		return;
	for (uint32_t lane = 0; lane < lane_count(drain); lane++)
		if (!mark_unsynced(drain, page, &drain->lanes[lane]) ||
		    !note_unwritten(page, &drain->lanes[lane]))
			return;
	for (uint32_t lane = 1; lane < lane_count(drain); lane++)
		if (has_news(drain, lane, 0) && !mark_slot(drain, page, &drain->lanes[lane].slot))
			return;
	for (uint32_t owner = 1; owner < OWNER_IDS; owner++)
		if (has_news(drain, 0, owner) && !mark_slot(drain, page, &drain->owners[owner]))
			return;
	(void)mark_unbound(drain, page);
}

bool drain_note(struct page_builder *page, const char *text)
{
	const struct record_header header = { .length = (uint32_t)strlen(text),
					      .kind = RECORD_NOTE,
					      .level = 5 };

	if (page_room(page, 0) < (int64_t)header.length)
		return false;
	page_append(page, &header, text);
	return true;
}
