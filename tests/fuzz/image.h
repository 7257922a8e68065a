/*
 * image.h - a ring's segment in plain memory, and a script that publishes into it, rightly or not.
 *
 * The image's table of system calls hands out this memory and asks the script who is alive, so the
 * writer's drain runs on it unchanged.
 */
#ifndef SHMLOG_TESTS_FUZZ_IMAGE_H
#define SHMLOG_TESTS_FUZZ_IMAGE_H

#include "fuzz.h"
#include "segment.h"

enum { IMAGE_LANES = 3, IMAGE_BLOCKS = LANE_BLOCKS_MIN };

struct image {
	struct sys sys;
	struct geometry geometry;
	uint8_t *base; /* geometry.size bytes                                              */
	uint64_t position[IMAGE_LANES]; /* where the script publishes next                  */
	uint64_t last[IMAGE_LANES];     /* where it did last                                */
	uint64_t serial;
	uint64_t held;        /* bit: lock bytes of lane or owner n mod 64 are held       */
	struct bytes *moving; /* not NULL: each question to the kernel spoils something   */
};

/* The image that the table of system calls works on. */
extern struct image image;

/* Zeros, with @base of the caller (geometry.size bytes) or, NULL, of the image's own. */
void image_begin(uint8_t *base);
/* An open segment of it, for drain_open(). */
void image_segment(struct segment *ret);
struct lane_status *image_status(uint32_t lane);
void image_lane(uint32_t lane, struct lane *ret);

/* Where lanes begin: positions in any lap, released so far. */
void image_place(struct bytes *input);
/* One step of the script: publish, spoil, kill. */
void image_step(struct bytes *input);

#endif
