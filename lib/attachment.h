/*
 * attachment.h - handles, and the mapped rings behind them.
 *
 * A handle (struct shmlog *) is a token: slot number and generation. It leads to a ring_map: the
 * parts of a segment that every thread of the process shares and that pin no lock. When the ring
 * is removed and made again, the handle moves on to a map of the new segment.
 *
 * I1. A ring_map's mappings exist while refs > 0: one for the handle that shows it, one for each
 *     thread that is bound through it, one for each call that is inside attachment_acquire().
 * I2. Slots and maps are static and never freed; what a late caller may still read is always
 *     memory, only its token no longer fits.
 * I3. struct process_state is wiped in a forked child: whatever says "bound" lies in there.
 */
#ifndef SHMLOG_LIB_ATTACHMENT_H
#define SHMLOG_LIB_ATTACHMENT_H

#include "../include/shmlog.h"
#include "doorbell.h"
#include "segment.h"

enum { HANDLES_MAX = 16, MAPS_MAX = 32 };

struct process_state; /* binding.h */

struct ring_map {
	struct shared_u32 refs; /* 0 = free                                              */
	const struct sys *sys;
	struct segment segment; /* without a descriptor                                  */
	const uint8_t *shown;   /* header .. status, read-only                           */
	const struct ring_header *header;
	const struct writer_status *writer;
	struct doorbell *doorbell;
	struct shared_u32 sleep_ended; /* see doorbell_ring()                           */
	_Alignas(8) char name[SOURCE_NAME_SIZE];
	int level;
	struct shared_u64 renew_after_ns;  /* when to look for a successor again       */
	struct shared_u64 closed_after_ns; /* ... once the ring is closed              */
	struct shared_u64 space_after_ns;  /* when lanes may be asked for memory again    */
	struct process_state *process;     /* mapped once, kept for the next user of this map */
};

static inline uintptr_t handle_token(const struct shmlog *log)
{
	return (uintptr_t)log;
}

static inline unsigned token_slot(uintptr_t token)
{
	return token % HANDLES_MAX;
}

static inline const struct lane_status *map_lane_status(const struct ring_map *map, uint32_t lane)
{
	return (const void *)(map->shown +
			      geometry_lane_status_offset(&map->segment.geometry, lane));
}

/* The writer is wanted. */
static inline void map_wake_writer(struct ring_map *map)
{
	doorbell_ring(map->sys, map->doorbell, map->writer, &map->sleep_ended);
}

static inline bool map_is_closed(const struct ring_map *map)
{
	return load_acquire_u32(&map->header->control) &
	       CONTROL_CLOSED; /* MO control:B <- control:A */
}

/* A new handle over @map, whose one reference it takes over. -EMFILE: all slots are in use. */
int attachment_show(struct ring_map *map, uintptr_t *ret_token);

/* Map a ring for the handle options; refs = 1. As shmlog_attach(). */
int attachment_map(const struct sys *sys, const char *ring, const char *name, int level,
		   struct ring_map **ret);

/* The handle's map with one more reference, or NULL: no such handle (any more). */
struct ring_map *attachment_acquire(uintptr_t token);
void attachment_release(struct ring_map *map);

/* End a handle: true for the one caller who did; he releases the returned map's reference. */
bool attachment_end(uintptr_t token, struct ring_map **ret_map);

/**
 * attachment_renew() - the ring behind @map is closed: move the handle on to the new one.
 * Return: 0 the handle shows another map now; -ESHUTDOWN there is none yet (asked at most each
 *         10 ms); other -errno.
 */
int attachment_renew(uintptr_t token, struct ring_map *map);

/* In the child of a fork: only what handles show is in use; what a bind of another thread had open
 * may have been copied. */
void attachment_forked(bool has_copied_a_bind);

#endif
