/*
 * segment.h - a ring's segment: name, creation, validation, lock bytes, removal.
 *
 * Knows geometry and names; never touches a lane's content (ring.c) and holds no lock that means
 * "alive" (binding.c). Everything that comes out of the mapped header is checked once, copied into
 * private memory (struct geometry), and never read again.
 */
#ifndef SHMLOG_LIB_SEGMENT_H
#define SHMLOG_LIB_SEGMENT_H

#include "base.h"
#include "ring.h"
#include "ring_layout.h"
#include "sys.h"

/* A private, checked copy of the constant part of the header. */
struct geometry {
	uint64_t segment_id;
	uint32_t lanes;
	uint32_t blocks; /* of each lane; a power of two */
	uint32_t record_max;
	enum ring_clock clock;
	uint64_t size;
	uint64_t doorbell_offset;
	uint64_t status_offset;
	uint64_t owners_offset;
	uint64_t lanes_offset;
	uint64_t lane_stride;
	uint64_t words_offset;
	uint64_t blocks_offset;
	uint64_t created_ticks;
	uint64_t created_boottime_ns;
	int64_t created_realtime_ns;
	uint8_t boot_id[16];
};

/* What a new ring shall be. */
struct segment_options {
	uint32_t lanes;     /* 0 = LANES_DEFAULT                    */
	uint64_t lane_size; /* bytes; 0 = 1 MiB                     */
	uint32_t mode_bits; /* 0 = 0600                             */
	gid_t group;        /* (gid_t)-1 = the caller's             */
	uint32_t clock;     /* enum ring_clock; 0 = automatic       */
};

/* An open segment. */
struct segment {
	const struct sys *sys;
	char name[RING_NAME_MAX + 1];
	int fd; /* as opened; -1 once closed                    */
	uint64_t device, inode;
	struct geometry geometry;
};

/* The directory that holds all segments, "/dev/shm" unless SHMLOG_SHM_DIR says otherwise. */
const char *segment_directory(void);

/* 0; -EINVAL with a reason: empty, too long, bad character, leading dot. */
int segment_check_name(const char *name);

/* All offsets from (lanes, blocks). */
void segment_geometry(struct geometry *ret, uint32_t lanes, uint32_t blocks);

/**
 * segment_create() - make a ring, whole or not at all.
 * Return: 0; -EEXIST; -EINVAL name or options; -ENOSPC; -EACCES; other -errno. With a reason.
 */
int segment_create(const struct sys *sys, const char *name, const struct segment_options *options);

/**
 * segment_open() - open and validate a ring by name.
 * @flags: O_RDONLY or O_RDWR.
 * Return: 0; -EINVAL name; -ENOENT (the reason lists what there is); -EACCES not permitted or not
 *         trusted; -EPROTO another layout version; -EBADMSG not a ring. With a reason.
 */
int segment_open(const struct sys *sys, const char *name, int flags, struct segment *ret);
void segment_close(struct segment *segment);

/* Another descriptor of the same segment. -ENOENT the name is gone; -ESTALE it leads elsewhere. */
int segment_reopen(const struct segment *segment, int flags, int *ret_fd);

/* Map [offset, offset + size) of an open segment. */
int segment_map(const struct segment *segment, int fd, uint64_t offset, uint64_t size,
		bool writable, void **ret);

/* The whole segment, read-only, with its parts by name: for tools, readers and the writer. */
struct segment_view {
	const struct sys *sys;
	const struct geometry *geometry; /* of the segment, borrowed */
	const uint8_t *base;
};
int segment_view(const struct segment *segment, struct segment_view *ret);
void segment_view_close(struct segment_view *view);

const struct ring_header *view_header(const struct segment_view *view);
const struct doorbell *view_doorbell(const struct segment_view *view);
const struct writer_status *view_writer(const struct segment_view *view);
const struct owner_status *view_owner_status(const struct segment_view *view, uint32_t owner);
const struct lane_status *view_lane_status(const struct segment_view *view, uint32_t lane);
const struct producer_line *view_owner_line(const struct segment_view *view, uint32_t owner);
const struct lane_page *view_lane_page(const struct segment_view *view, uint32_t lane);

/* A lane of the view as ring.h wants it; only its looking functions may be called on it. */
void view_lane(const struct segment_view *view, uint32_t lane, struct lane *ret);

/* Offsets of the parts in the segment, for who maps less than all. */
uint64_t geometry_lane_offset(const struct geometry *geometry, uint32_t lane);
uint64_t geometry_lane_status_offset(const struct geometry *geometry, uint32_t lane);
uint64_t geometry_owner_status_offset(const struct geometry *geometry, uint32_t owner);

/* Names of all rings, sorted. Heap memory; free with segment_names_free(). */
int segment_names(const struct sys *sys, char ***ret_names, size_t *ret_count);
void segment_names_free(char **names, size_t count);

/**
 * segment_remove() - close and unlink a ring.
 * @force: also while locks are held or records are undrained.
 * @ret_undrained: published records that are lost by it; set on success.
 * Return: 0; -ENOENT; -EBUSY a producer or a writer holds it; -ENOTEMPTY undrained; other -errno.
 *         With a reason.
 */
int segment_remove(const struct sys *sys, const char *name, bool force, uint64_t *ret_undrained);

/**
 * segment_check() - is an open segment still as it was when it was opened?
 * Return: 0; -ESTALE it is smaller than it was, or its header is zeros; -EBADMSG its header is
 *         another; other -errno.
 */
int segment_check(const struct segment *segment);

/* Unlink the name of an open segment, if it still leads to it. 0: it does not (any more). */
int segment_unlink(const struct segment *segment);

/* Change the `control` word of an open (O_RDWR) segment: level threshold 0 .. 7, or CLOSED. */
int segment_set_level(const struct segment *segment, unsigned level);
int segment_set_closed(const struct segment *segment);
int segment_set_open(const struct segment *segment);

/* Wake everybody who sleeps on the doorbell or on a lane. */
void segment_wake_all(const struct segment_view *view);

#endif
