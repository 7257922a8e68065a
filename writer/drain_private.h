/*
 * drain_private.h - what the files of the drain share: drain.c takes records into pages,
 * drain_page.c writes entries and FILE pages, drain_ring.c opens a ring and moves it on,
 * drain_guard.c puts right what others have done to it.
 */
#ifndef SHMLOG_WRITER_DRAIN_PRIVATE_H
#define SHMLOG_WRITER_DRAIN_PRIVATE_H

#include "drain.h"

static inline uint32_t lane_count(const struct drain *drain)
{
	return drain->segment.geometry.lanes;
}

/* Who publishes in @lane under a word of @owner: the lane's slot, or the owner id's in lane 0. */
static inline struct drain_slot *slot_of(struct drain *drain, uint32_t lane, uint32_t owner)
{
	return lane == 0 ? &drain->owners[owner] : &drain->lanes[lane].slot;
}

static inline uint16_t slot_source_no(const struct drain_slot *slot)
{
	if (slot->lane == LANE_UNBOUND)
		return 0;
	return slot->lane ? slot->lane : (uint16_t)(SOURCE_OWNER_BASE + slot->owner);
}

/* The slot that an entry or a SOURCE of a page names; NULL if there is none such. */
static inline struct drain_slot *slot_named(struct drain *drain, uint32_t lane, uint32_t owner)
{
	if (lane == LANE_UNBOUND)
		return &drain->unbound;
	if (lane >= lane_count(drain) || owner >= OWNER_IDS)
		return NULL;
	return slot_of(drain, lane, owner);
}

static inline struct lane_status *lane_status_at(struct drain *drain, uint32_t lane)
{
	const uint64_t offset = geometry_lane_status_offset(&drain->segment.geometry, lane) -
				drain->segment.geometry.status_offset;

	return (void *)((uint8_t *)drain->writer + offset);
}

static inline struct owner_status *owner_status_at(struct drain *drain, uint32_t owner)
{
	const uint64_t offset = geometry_owner_status_offset(&drain->segment.geometry, owner) -
				drain->segment.geometry.status_offset;

	return (void *)((uint8_t *)drain->writer + offset);
}

/* Where others see a slot's marks. */
static inline struct shared_u64 *status_marked(struct drain *drain, const struct drain_slot *slot)
{
	if (slot->lane == LANE_UNBOUND)
		return drain->writer->unbound_marked;
	if (slot->lane == 0)
		return owner_status_at(drain, slot->owner)->marked;
	return drain->lanes[slot->lane].status->marked;
}

static inline struct source_payload *status_source(struct drain *drain,
						   const struct drain_slot *slot)
{
	return slot->lane ? &drain->lanes[slot->lane].status->source
			  : &owner_status_at(drain, slot->owner)->source;
}

static inline void copy_counters(uint64_t to[LOSS_REASONS],
				 const struct shared_u64 from[LOSS_REASONS])
{
	for (size_t i = 0; i < LOSS_REASONS; i++)
		to[i] = load_acquire(&from[i]); /* MO drop:B <- drop:A */
}

static inline bool is_zero(const uint64_t counters[LOSS_REASONS])
{
	uint64_t any = 0;

	for (size_t i = 0; i < LOSS_REASONS; i++)
		any |= counters[i];
	return any == 0;
}

/* Whoever binds the lane next must not begin before it. */
static inline void drain_show_taken(struct drain_lane *lane)
{
	struct shared_u64 *taken = &lane->status->taken;

	if (load_relaxed(taken) != lane->taken.position)
		store_release(taken, lane->taken.position); /* MO taken:A -> taken:B */
}

/* drain_ring.c */

/* Producers may write over what lies before @progress. */
void drain_release_lane(struct drain_lane *lane, const struct progress *progress);
/* ... and who waits for that, or for what is written or durable, is woken. */
void drain_announce(struct drain *drain, struct drain_lane *lane);

#endif
