/*
 * drain_guard.c - what others have done to the segment, and how it is put right. See drain.h.
 *
 * Whoever may write to the ring may take its memory away, store over what the writer tells there,
 * or leave words in a lane that make no sense. None of that may harm the writer.
 */
#include <errno.h>
#include <sys/mman.h>

#include "bus.h"
#include "drain_private.h"
#include "point.h"

/* ---- what others have done to the segment ---- */

bool drain_was_hit(const struct drain *drain)
{
	return bus_was_hit(drain->view.base) || bus_was_hit(drain->writer) ||
	       bus_was_hit(drain->doorbell);
}

static int map_part_again(struct drain *drain, void *at, uint64_t offset, uint64_t size,
			  int protection)
{
	void *base;

	return drain->sys->map(at, size, protection, MAP_SHARED | MAP_FIXED, drain->segment.fd,
			       (off_t)offset, &base);
}

/* At the same addresses: whoever points into it need not know. */
static int map_again(struct drain *drain)
{
	const struct geometry *geometry = &drain->segment.geometry;
	int r = map_part_again(drain, (void *)(uintptr_t)drain->view.base, 0, geometry->size,
			       PROT_READ);

	if (r == 0)
		r = map_part_again(drain, drain->writer, geometry->status_offset,
				   geometry->owners_offset - geometry->status_offset,
				   PROT_READ | PROT_WRITE);
	if (r == 0)
		r = map_part_again(drain, drain->doorbell, geometry->doorbell_offset, RING_PAGE,
				   PROT_READ | PROT_WRITE);
	return r;
}

/* Cut and grown again, it may be zeros without a fault: also where a writer always says who it is.
 */
static bool is_wiped(const struct writer_status *status)
{
	return load_relaxed_u32(&status->state) == WRITER_NONE && status->pid == 0 &&
	       status->pending_log_id == 0 && status->log_path[0] == '\0';
}

void drain_check_memory(struct drain *drain)
{
	const bool was_hit = drain_was_hit(drain);
	const int r = segment_check(&drain->segment);

	if (drain->is_lost)
		return;
	if (r == 0 && was_hit && map_again(drain) < 0)
		drain->is_lost = drain->is_cut = true;
	if (r == -ESTALE || r == -EBADMSG || is_wiped(drain->writer)) {
		drain->is_lost = true;
		drain->is_cut = r != -EBADMSG;
	}
}

/* The position before which producers may write over what was drained. */
static uint64_t released_position(const struct drain *drain, const struct drain_lane *lane)
{
	return drain->release_durable ? lane->durable.position : lane->written.position;
}

static void repair_lane(struct drain *drain, struct drain_lane *lane)
{
	struct lane_status *status = lane->status;
	const uint64_t released = released_position(drain, lane);

	drain_show_taken(lane);
	if (load_relaxed(&status->released) == released &&
	    load_relaxed(&status->written) == lane->written.position &&
	    load_relaxed(&status->durable) == lane->durable.position &&
	    load_relaxed_u32(&status->quarantine) == lane->is_quarantined)
		return;
	store_relaxed(&status->records_written, lane->written.records);
	store_seq_cst(&status->written, lane->written.position); /* MO progress:A -> progress:B */
	store_relaxed(&status->records_durable, lane->durable.records);
	store_seq_cst(&status->durable, lane->durable.position); /* MO progress:A -> progress:B */
	store_release_u32(&status->quarantine,
			  lane->is_quarantined); /* MO quarantine:A -> quarantine:B */
	drain_release_lane(lane, drain->release_durable ? &lane->durable : &lane->written);
	drain_announce(drain, lane);
}

/* Not to know is no: a ring without a name must stay closed. */
static bool is_named(const struct drain *drain)
{
	int fd;

	if (segment_reopen(&drain->segment, O_RDONLY, &fd) < 0)
		return false;
	(void)drain->sys->close(fd);
	return true;
}

/* Who removes a ring closes it and then unlinks it at once: two looks are a second apart. */
static bool open_again(struct drain *drain)
{
	const uint32_t control = load_acquire_u32(
		&view_header(&drain->view)->control); /* MO control:B <- control:A */

	if (!(control & CONTROL_CLOSED) || !is_named(drain)) {
		drain->closed_looks = 0;
		return false;
	}
	if (drain->closed_looks++ == 0)
		return false;
	drain->closed_looks = 0;
	return segment_set_open(&drain->segment) == 0;
}

bool drain_repair(struct drain *drain)
{
	for (uint32_t i = 0; i < lane_count(drain); i++)
		repair_lane(drain, &drain->lanes[i]);
	return !drain->is_lost && open_again(drain);
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

/* Lane 0's hint is a place to look for the frontier from: one beyond it, while nobody is there to
 * claim, leads claimers past positions that nobody will ever fill. */
static bool is_led_astray(const struct drain_lane *lane)
{
	const uint64_t hint = load_relaxed(&lane->page->tail_hint);
	struct taken taken;

	return lane->slot.lane == 0 && hint > lane->taken.position &&
	       ring_look(&lane->lane, lane->taken.position, &taken) == TAKE_EMPTY;
}

/* Under all locks of the lane nobody can store into it: its words start anew, positions go on. */
static void reset_lane(struct drain *drain, uint32_t lane_no)
{
	struct drain_lane *lane = &drain->lanes[lane_no];
	const int64_t byte =
		lane_no ? LOCK_BYTE_LANE((int64_t)lane_no) : LOCK_BYTE_OWNER(INT64_C(0));
	const int64_t bytes = lane_no ? 1 : OWNER_IDS;

	if (drain->sys->lock(drain->segment.fd, byte, bytes) < 0)
		return;
	if ((lane->is_quarantined || is_led_astray(lane)) && zero_words(drain, lane_no) == 0) {
		lane->is_quarantined = false;
		drain_release_lane(lane, drain->release_durable ? &lane->durable : &lane->written);
		store_release_u32(&lane->status->quarantine,
				  0); /* MO quarantine:A -> quarantine:B */
		POINT(lane_reset);
	}
	(void)drain->sys->unlock(drain->segment.fd, byte, bytes);
}

void drain_reset_lanes(struct drain *drain)
{
	for (uint32_t i = 0; i < lane_count(drain); i++) {
		const struct drain_lane *lane = &drain->lanes[i];

		if ((lane->is_quarantined || is_led_astray(lane)) && !lane->pages_under_way &&
		    !lane->is_touched && released_position(drain, lane) == lane->taken.position)
			reset_lane(drain, i);
	}
}
