/*
 * journal.h - what producers know themselves, in memory that outlives them: the oracle's one side.
 *
 * A journal is a shared mapping with one byte for each record of each producer. A producer notes
 * TRIED before a push and its outcome after it; whoever kills it reads what it had come to. The
 * bytes of a record follow from its producer's number and its serial, so nothing else need be kept:
 * "PRODUCER.SERIAL LETTERS", one line of text without its end, 0 to 160 letters.
 *
 * The other side, what shmlog-cat reads back, is compared by journal_check().
 */
#ifndef SHMLOG_TESTS_SUPPORT_JOURNAL_H
#define SHMLOG_TESTS_SUPPORT_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "shmlog.h"

enum {
	JOURNAL_TEXT_MAX = 192,
	JOURNAL_SIZES = 161, /* so many records of one producer on end have every size there is */
};

enum journal_state {
	JOURNAL_NONE = 0,
	JOURNAL_TRIED,       /* may be in the log, once                                       */
	JOURNAL_DROPPED,     /* the push said no, or the claim was aborted: is not in the log */
	JOURNAL_PUBLISHED,   /* the push said yes: is in the log, once                        */
	JOURNAL_DURABLE,     /* ... and a sync after it did: is there after a power cut, too  */
	JOURNAL_PASSED_OVER, /* nobody tried: is not in the log, and no loss                */
};

struct journal;

/**
 * journal_create() - a fresh journal.
 * @path: a file that other programs can open with journal_open(); NULL: for forked children only.
 * Ends the program with 2 and a line when it cannot.
 */
struct journal *journal_create(const char *path, unsigned producers, uint32_t records_each);
struct journal *journal_open(const char *path);
void journal_destroy(struct journal *journal); /* unmaps; the file is its maker's */

/* The bytes of one record; @text holds JOURNAL_TEXT_MAX. Return: their number. */
size_t journal_text(unsigned producer, uint32_t serial, char *text);

/* The next serial of a producer that nothing was noted about; journal full: ends with 2. */
uint32_t journal_next(const struct journal *journal, unsigned producer);

void journal_note(struct journal *journal, unsigned producer, uint32_t serial,
		  enum journal_state state);
enum journal_state journal_state(const struct journal *journal, unsigned producer, uint32_t serial);

/* A sync that began after they were published has succeeded: PUBLISHED becomes DURABLE. */
void journal_note_durable(struct journal *journal, unsigned producer);

/* Push the producer's next record, waiting at most @timeout_ns for room (0: try), and note it.
 * Return: as shmlog_push_wait(). */
int journal_push(struct journal *journal, struct shmlog *log, unsigned producer,
		 int64_t timeout_ns);

struct journal_totals {
	uint64_t published; /* by the journal: PUBLISHED or DURABLE                           */
	uint64_t tried;     /* whose push did not return                                      */
	uint64_t dropped;
	uint64_t found;  /* records of the log                                             */
	uint64_t absent; /* PUBLISHED, not found; allowed only after a power cut           */
};

/**
 * journal_forgive_deleted() - the log's oldest files are deleted, as they may be.
 * What was published before the first record of each producer in @records is PASSED_OVER from here
 * on; of whom no record is there, nothing. So a hole behind the first record stays one.
 * Return: how many records.
 */
uint64_t journal_forgive_deleted(struct journal *journal, FILE *records);

/* What must be found. */
enum journal_demand { DEMAND_PUBLISHED, DEMAND_DURABLE };

/**
 * journal_check() - compare with the records of the log, one a line, as shmlog-cat -o raw prints.
 * Each producer's records are in order, whole, none doubled; nothing is there that was not pushed;
 * nothing is missing that @demand names. The first few breaches are told on standard error, each
 * as a line "violated: ...".
 * Return: the number of breaches.
 */
uint64_t journal_check(const struct journal *journal, FILE *records, enum journal_demand demand,
		       struct journal_totals *ret);

#endif
