/*
 * image.h - what the disk may hold after a cut, and one such disk as a real directory.
 *
 * What a sync has covered is there. Of the rest, each may be there or not:
 * - each 4 KiB block of a write, also with only some of its sectors of 512 bytes;
 * - each change of a directory (add, remove, rename), independently of all others; a rename is
 *   there wholly or not at all;
 * - of the changes of one file's size the first few. Bytes beyond the size are not there, bytes
 *   below it that did not arrive are zeros.
 */
#ifndef SHMLOG_TESTS_POWER_IMAGE_H
#define SHMLOG_TESTS_POWER_IMAGE_H

#include "trace.h"

struct image;

/* The choices that a cut of @trace before event @cut leaves open; all of them taken as lost. */
struct image *image_new(const struct trace *trace, uint32_t cut);
void image_free(struct image *image);

/* How many choices of yes or no there are. */
uint32_t image_open_count(const struct image *image);

/**
 * image_choose() - make choice number @plan.
 * Where there are at most IMAGE_EXHAUSTIVE open choices, the first 2^n plans are all of them. Else
 * the first IMAGE_CORNERS are: nothing arrived, everything, all bytes and no names, all names and
 * no bytes, only the first block, only the last, all but one, all and one torn, only the last
 * change of a name or size. Those behind draw lots from @seed.
 */
void image_choose(struct image *image, uint32_t plan, uint64_t *seed);

enum { IMAGE_EXHAUSTIVE = 4, IMAGE_LAST_NAME = 8, IMAGE_CORNERS };

/* Two images of one trace with the same number are the same. */
uint64_t image_hash(const struct image *image);

/* Put it below @root, which is empty. */
void image_make(const struct image *image, const char *root);

#endif
