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
};

struct oracle {
	const struct journal *journal;
	const char *directory;
	struct span *spans;
	unsigned span_count;
	uint64_t losses; /* that the log tells, found by the check */
};

/*
 * Every record once and whole, nothing else; and between two records of a source that are there,
 * the log tells exactly as many lost as were refused there (or, of those whose push did not
 * return, may have been). Breaches are told by violated().
 * @found: if not NULL, of BY_VICTIM and BY_CLAIM: is the record in the log? One flag a serial.
 */
void oracle_check(struct oracle *oracle, bool *found[PRODUCERS]);

#endif
