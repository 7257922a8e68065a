/*
 * drain_ring.c - the ring's side of the drain: open, move on, restart. See drain.h.
 *
 * The positions that producers and readers see are stored here, and put right in drain_guard.c.
 */
#include <errno.h>
#include <string.h>

#include "drain_private.h"
#include "point.h"

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

/* What the segment says. Marks in `kept` are the disk's from the beginning (drain_restore_page). */
static void init_source(struct drain *drain, const struct drain_slot *slot, struct slot_state *ret)
{
	ret->source = *status_source(drain, slot);
	ret->source.name[SOURCE_NAME_SIZE - 1] = '\0';
	ret->source.lane = slot->lane;
	ret->source.owner = slot->owner;
	ret->has_source = ret->source.pid != 0;
	if (slot->lane == 0)
		ret->records = load_relaxed(&owner_status_at(drain, slot->owner)->records_released);
}

static void init_slot(struct drain *drain, struct drain_slot *slot)
{
	slot->now = (struct slot_state){ 0 };
	if (slot->lane != LANE_UNBOUND)
		init_source(drain, slot, &slot->now);
	slot->kept = slot->now;
	copy_counters(slot->now.marked, status_marked(drain, slot));
	for (size_t i = 0; i < LOSS_REASONS; i++)
		drain->total_lost += slot->now.marked[i];
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
	drain->created =
		(struct clock_sample){ geometry->created_ticks, geometry->created_boottime_ns,
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

/* ---- moving on ---- */

/* Everybody who sleeps on the lane looks again. `waiters` may have been left by a dead thread: that
 * costs a futex call and nothing else. */
void drain_announce(struct drain *drain, struct drain_lane *lane)
{
	(void)add_seq_cst_u32(&lane->status->moved, 1);  /* MO moved:A -> moved:B */
	if (load_seq_cst_u32(&lane->page->waiters) != 0) /* MO waiters:B <- waiters:A */
		(void)drain->sys->futex_wake(&lane->status->moved.raw);
}

void drain_release_lane(struct drain_lane *lane, const struct progress *progress)
{
	store_relaxed(&lane->status->records_released, progress->records);
	store_release(&lane->status->released, progress->position); /* MO release:A -> reuse:B */
	POINT(lane_released);
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
	POINT(written_stored);
	if (!drain->release_durable)
		drain_release_lane(lane, progress);
	drain_announce(drain, lane);
}

static void set_durable(struct drain *drain, struct drain_lane *lane,
			const struct progress *progress)
{
	if (progress->position == lane->durable.position)
		return;
	lane->durable = *progress;
	store_relaxed(&lane->status->records_durable, progress->records);
	store_seq_cst(&lane->status->durable, progress->position); /* MO progress:A -> progress:B */
	POINT(durable_stored);
	if (drain->release_durable)
		drain_release_lane(lane, progress);
	drain_announce(drain, lane);
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

	if (!slot || entry->header.size < sizeof(*entry))
		return;
	memcpy(slot->kept.marked, entry->marked, sizeof(entry->marked));
	slot->kept.records = entry->records;
}

static void keep_source(struct drain *drain, const struct source_payload *source)
{
	struct drain_slot *slot = slot_named(drain, source->lane, source->owner);

	if (!slot || slot == &drain->unbound)
		return;
	slot->kept.source = *source;
	slot->kept.has_source = true;
}

/* Show others what is kept of a slot. */
static void export_slot(struct drain *drain, const struct drain_slot *slot)
{
	struct shared_u64 *marked = status_marked(drain, slot);

	for (size_t i = 0; i < LOSS_REASONS; i++)
		store_relaxed(&marked[i], slot->kept.marked[i]);
	if (slot->lane == 0)
		store_relaxed(&owner_status_at(drain, slot->owner)->records_released,
			      slot->kept.records);
	if (slot->kept.has_source)
		*status_source(drain, slot) = slot->kept.source;
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

static void release_slot(struct drain *drain, const struct marked_entry *entry)
{
	const struct drain_slot *slot = slot_named(drain, entry->header.lane, entry->header.owner);

	assert(slot != NULL); /* the entry is our own */
	keep_marked(drain, entry);
	export_slot(drain, slot);
}

static void keep_account(struct drain *drain, const struct page_header *header)
{
	drain->kept = (struct drain_account){ .seen = header->seen,
					      .total_records = header->total_records,
					      .total_lost = header->total_lost,
					      .total_abandoned = header->total_abandoned };
}

void drain_release(struct drain *drain, const struct page_builder *builder)
{
	const void *const page = builder->buffer;
	struct page_cursor cursor = { 0 };
	const struct entry_header *entry;

	keep_account(drain, page);
	if (builder->source_records)
		keep_sources(drain, page);
	while (page_next_entry(page, &cursor, &entry) > 0) {
		if (entry->type == ENTRY_CURSOR)
			release_cursor(drain, (const void *)entry);
		else if (entry->type == ENTRY_MARKED)
			release_slot(drain, (const void *)entry);
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

static void count_unsynced(struct drain *drain, struct drain_lane *lane,
			   const struct progress *until)
{
	const uint64_t lost = until->records - lane->durable.records;

	if (until->position <= lane->durable.position || lost == 0)
		return;
	lane->unsynced += lost;
	store_relaxed(&lane->status->failed_end, until->records);
	store_relaxed(&lane->status->failed, load_relaxed(&lane->status->failed) + lost);
	set_durable(drain, lane, until);
}

void drain_count_unsynced(struct drain *drain, const struct drain_snapshot *until)
{
	for (uint32_t i = 0; i < lane_count(drain); i++) {
		const struct progress end = until ? until->lanes[i] : drain->lanes[i].written;

		count_unsynced(drain, &drain->lanes[i], &end);
	}
}

/* ---- questions ---- */

void drain_wake_all(struct drain *drain)
{
	for (uint32_t i = 0; i < lane_count(drain); i++) {
		(void)add_seq_cst_u32(&drain->lanes[i].status->moved,
				      1); /* MO moved:A -> moved:B */
		(void)drain->sys->futex_wake(&drain->lanes[i].status->moved.raw);
	}
}

/* From our own position on: what the segment says of it is there for others. */
static uint64_t lane_backlog(const struct drain_lane *lane)
{
	uint64_t blocks = 0;
	struct taken taken;

	while (blocks < lane->lane.block_count) {
		const enum take look =
			ring_look(&lane->lane, lane->taken.position + blocks, &taken);

		if (look == TAKE_EMPTY || look == TAKE_CORRUPT)
			break;
		blocks += taken.blocks;
	}
	return blocks;
}

uint64_t drain_backlog(const struct drain *drain)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < lane_count(drain); i++)
		if (!drain->lanes[i].is_quarantined)
			most = max_u64(most, lane_backlog(&drain->lanes[i]));
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
	drain->lost_on_disk = header->total_lost;
	drain->seen_on_disk = header->seen;
	drain->total_records = max_u64(drain->total_records, header->total_records);
	drain->total_abandoned = max_u64(drain->total_abandoned, header->total_abandoned);
}

/*
 * The disk's word against the ring's own. What the log has named, it must still hold: a mark that
 * went with a lost page is made again. Another log has the ring's marks; they only grow. The rest
 * is the ring's where the disk is behind it in this lane.
 */
static void restore_slot(struct drain *drain, struct drain_slot *slot, bool is_disk_behind,
			 bool log_continues)
{
	const struct slot_state of_disk = slot->kept;
	const struct slot_state of_ring = slot->now;

	if (is_disk_behind)
		slot->kept = of_ring;
	for (size_t i = 0; i < LOSS_REASONS; i++)
		slot->kept.marked[i] = log_continues
					       ? of_disk.marked[i]
					       : max_u64(of_disk.marked[i], of_ring.marked[i]);
	slot->now = slot->kept;
	export_slot(drain, slot);
}

/* A position that the lane can have come to. Its laps wrap around at 2^40; half of that takes
 * decades, or somebody who stores into our words: then the disk's word stands. */
static bool is_position(const struct drain_lane *lane, uint64_t position)
{
	return position >> lane->lane.lap_shift < UINT64_C(1) << 39;
}

/* True: the disk is behind the ring in this lane. */
static bool restore_lane(struct drain *drain, struct drain_lane *lane, bool log_continues)
{
	const struct progress ring = { load_relaxed(&lane->status->released),
				       load_relaxed(&lane->status->records_released) };
	const bool is_disk_behind =
		ring.position > lane->taken.position && is_position(lane, ring.position);

	if (is_disk_behind) {
		if (log_continues && ring.records > lane->taken.records)
			lane->unwritten = ring.records - lane->taken.records;
		lane->taken = ring;
		lane->abandoned = load_relaxed(&lane->status->abandoned);
	}
	lane->abandoned_kept = lane->abandoned;
	lane->written = (struct progress){ UINT64_MAX, 0 }; /* unlike any: all words are stored */
	lane->durable = (struct progress){ UINT64_MAX, 0 };
	set_written(drain, lane, &lane->taken);
	set_durable(drain, lane, &lane->taken);
	drain_release_lane(lane, &lane->taken);
	return is_disk_behind;
}

/* Losses to a failed sync that the last writer had counted, but not named before its end. Those
 * that lie behind what the disk has are among the unwritten ones already: named once. */
static void restore_unsynced(struct drain *drain, struct drain_lane *lane)
{
	const uint64_t failed = load_relaxed(&lane->status->failed);
	const uint64_t failed_end = load_relaxed(&lane->status->failed_end);
	const uint64_t marked = slot_of(drain, lane->slot.lane, 0)->kept.marked[LOSS_UNSYNCED];
	const uint64_t on_disk = lane->taken.records - lane->unwritten;

	if (failed <= marked)
		return;
	lane->unsynced = failed - marked;
	if (failed_end > on_disk)
		lane->unwritten -=
			min_u64(lane->unwritten, min_u64(lane->unsynced, failed_end - on_disk));
}

/* I5: all pages from now on are behind the FILE page with the GAP. */
static void count_unwritten(struct drain *drain, const struct drain_lane *lane)
{
	struct drain_slot *slot = slot_of(drain, lane->slot.lane, 0);

	slot->now.marked[LOSS_UNWRITTEN] += lane->unwritten;
	slot->kept.marked[LOSS_UNWRITTEN] += lane->unwritten;
	drain->total_lost += lane->unwritten;
	export_slot(drain, slot);
}

void drain_restore_end(struct drain *drain, bool log_continues)
{
	const bool is_behind_in_0 = restore_lane(drain, &drain->lanes[0], log_continues);

	drain->total_lost = log_continues ? drain->lost_on_disk
					  : max_u64(drain->total_lost, drain->lost_on_disk);
	for (uint32_t owner = 0; owner < OWNER_IDS; owner++)
		restore_slot(drain, &drain->owners[owner], is_behind_in_0, log_continues);
	for (uint32_t i = 1; i < lane_count(drain); i++)
		restore_slot(drain, &drain->lanes[i].slot,
			     restore_lane(drain, &drain->lanes[i], log_continues), log_continues);
	restore_slot(drain, &drain->unbound, false, log_continues);
	for (uint32_t i = 0; i < lane_count(drain); i++) {
		restore_unsynced(drain, &drain->lanes[i]);
		drain_show_taken(&drain->lanes[i]);
		count_unwritten(drain, &drain->lanes[i]);
	}
	drain->kept = (struct drain_account){ .seen = drain->seen,
					      .total_records = drain->total_records,
					      .total_lost = drain->total_lost,
					      .total_abandoned = drain->total_abandoned };
	POINT(ring_restored);
	drain_wake_all(drain);
}
