/*
 * oracle.h - the log against what everybody noted: records, and losses in their places.
 */
#ifndef SHMLOG_TESTS_ORACLE_H
#define SHMLOG_TESTS_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include "journal.h"
#include "scenario.h"

/* What one source has pushed, by one producer's number in the journal: [first, end). */
struct span {
	char name[NAME_SIZE];
	unsigned producer;
	uint32_t first;
	uint32_t end;
	uint32_t next; /* behind what was found of it */
	uint64_t lost; /* told since then             */
	bool is_known; /* the log names it            */
	bool is_loose; /* losses came at a place that it does not know itself: their sum counts */
};

struct oracle {
	const struct journal *journal;
	const char *directory;
	struct span *spans;
	unsigned span_count;
	uint64_t losses;  /* that the log tells, found by the check                */
	uint64_t unbound; /* of those, of nobody: who could not even say who he is */
	uint64_t unknown_dropped, unknown_tried; /* by sources that the log does not name */
};

/*
 * Every record once and whole, nothing else; and between two records of a source that are there,
 * the log tells exactly as many lost as were refused there (or, of those whose push did not
 * return, may have been). Losses of a source that could not bind, because lane 0 was full, or
 * because it was in the middle of binding, bear no name; their sum is known. Breaches are told by
 * violated().
 * @found: if not NULL, of BY_VICTIM and BY_CLAIM: is the record in the log? One flag a serial.
 */
void oracle_check(struct oracle *oracle, bool *found[PRODUCERS]);

#endif
