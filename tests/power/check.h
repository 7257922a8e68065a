/*
 * check.h - after the cut: recover for real, read back, and compare with what was known before it.
 */
#ifndef SHMLOG_TESTS_POWER_CHECK_H
#define SHMLOG_TESTS_POWER_CHECK_H

#include "image.h"
#include "record.h"

/* Counted by all checks of a process. */
struct figures {
	uint64_t traces;
	uint64_t cuts;
	uint64_t images;
	uint64_t recoveries;
	uint64_t recovery_cuts; /* of the images: of a recovery that was cut itself          */
	uint64_t surviving;     /* of the images: with the ring still there                  */
	uint64_t killed;        /* recoveries that were killed                               */
	uint64_t named;         /* records that were lost and said to be                     */
	uint64_t holes;         /* places in the middle of a log that are said to be missing */
};

/* What a check does besides. */
enum {
	CHECK_UNRECOVERED = 1, /* reads the log before it is recovered, too                  */
	CHECK_AGAIN = 2, /* ... by the program, which changes nothing; then archives by hand */
	CHECK_CUT = 4,   /* cuts the recovery                                          */
	CHECK_KILL = 8,  /* kills the recovery first, without a cut                    */
};

/**
 * check_lost_ring() - the machine lost its power: shared memory is empty.
 * The image is made in the recording's directory, with a new ring that has some records.
 */
void check_lost_ring(const struct recording *recording, const struct image *image, uint32_t cut,
		     unsigned what, uint64_t *seed, struct figures *figures);

/* The disk alone lost its power: the ring is as it was in @snapshot. */
void check_surviving_ring(const struct recording *recording, const struct image *image,
			  const struct snapshot *snapshot, unsigned what, uint64_t *seed,
			  struct figures *figures);

/* What writers and tools of the recording have said, to standard error. */
void tell_errors(const struct recording *recording);

#endif
