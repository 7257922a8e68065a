/*
 * oracle.h - what must be true of a log and its ring when all is over, whoever was killed.
 *
 * All but names is asked of shmlog-cat, as a user would, and compared with the producers' journal.
 */
#ifndef SHMLOG_TESTS_CRASH_WRITER_ORACLE_H
#define SHMLOG_TESTS_CRASH_WRITER_ORACLE_H

#include <stdint.h>

#include "journal.h"

/* The log holds what the journal says, in order, once; nothing is damaged, missing, or told to be
 * so. Each breach: violated(). @scratch: a path for a file that may be overwritten. */
void oracle_compare(const struct journal *journal, const char *directory, const char *scratch,
		    struct journal_totals *ret);

/* The oldest files may be deleted: what they held is not looked for. violated() if something is,
 * and fewer than @kept files are left. */
void oracle_forgive_deleted(struct journal *journal, const char *directory, unsigned kept);

/* No file has two names, no archive is half done, no file of a full volume is left uncompressed, no
 * row of empty volumes before the first. */
void oracle_is_tidy(const char *directory);

/* FILE and DATA pages are numbered through the log without a hole, wherever it begins. */
void oracle_numbers_rise(const char *directory);

/* Records that the log's marks name as lost. */
uint64_t oracle_lost(const char *directory);

/* No record waits in the ring. */
void oracle_ring_is_empty(const char *ring);

/* A clean end: every file is sealed, and none was left that had been made ahead. */
void oracle_all_is_sealed(const char *directory);

#endif
