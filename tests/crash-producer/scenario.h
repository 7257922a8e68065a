/*
 * scenario.h - what the victims do: one row for each operation of shmlog.h that may be cut off.
 *
 * A victim is a forked child. It prepares (not stepped), enters, operates, leaves, and ends. It
 * notes in the journal what it is about to do and what came of it. Whatever goes wrong in it is a
 * complaint, which its parent tells.
 */
#ifndef SHMLOG_TESTS_SCENARIO_H
#define SHMLOG_TESTS_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "journal.h"

/* Who is who in the journal. Claims have a number of their own: their order is that of their
 * commits in one kind of lane and that of the claims in the other, and an abort is no loss. */
enum { BY_VICTIM, BY_NEIGHBOUR, BY_CLAIM, BY_SUCCESSOR, BY_HANDLER, PRODUCERS };

/* What befalls a victim. */
enum manner {
	KILLED,
	REUSED, /* killed, and its lane bound before the writer sees that it is dead              */
	STOPPED,
	INTERRUPTED, /* by a signal handler that pushes                                          */
	LEFT,        /* ... and then leaves by siglongjmp()                                      */
	MANNERS
};

enum {
	LANE_SIZE = 65536,
	LANE_BLOCKS = LANE_SIZE / 64,
	RECORDS_PREPARED = 4,
	NAME_SIZE = 64,
	COMPLAINT_SIZE = 256,
};

/* What a victim tells its parent, in memory that they share. */
struct report {
	unsigned producer; /* of the record that is operated on */
	uint32_t serial;
	char complaint[COMPLAINT_SIZE];
};

#define DEADLINE_NS (10 * INT64_C(1000000000))

/* One record that is ready to be pushed, and noted. */
struct prepared {
	unsigned producer;
	uint32_t serial;
	size_t size;
	char text[JOURNAL_TEXT_MAX];
};

struct victim {
	const char *ring;
	enum manner manner;
	char name[NAME_SIZE]; /* of the source: tells the boundary */
	struct journal *journal;
	pid_t writer;
	struct report *report;
	struct shmlog *log;
	struct shmlog *second; /* of operations that attach */
	struct shmlog_claim claim;
	struct prepared records[RECORDS_PREPARED];
	unsigned handler_drops;
};

enum scenario_trait {
	LANE0 = 1,           /* the ring has one lane, which all share                        */
	WRITER_STOPPED = 2,  /* ... by SIGSTOP while the victim prepares and operates         */
	WAITS = 4,           /* the operation waits until the writer goes on                  */
	UNATTACHED = 8,      /* the victim has no handle before it operates; nobody interrupts */
	LEVEL_INFO = 16,     /* the ring leaves out what is less urgent                       */
	RECORD_SETTLES = 32, /* records[0] is found from one boundary on, and not before      */
	MAKES_RING = 64,     /* the operation makes a ring: scenario_ring_name()              */
	BINDS = 128,         /* ... takes a lane or gives one back                            */
};

struct scenario {
	const char *name;
	unsigned traits;
	void (*prepare)(struct victim *victim);
	void (*operate)(struct victim *victim);
};

extern const struct scenario scenarios[];
extern const unsigned scenario_count;

/* In the child: all of it; does not return. */
_Noreturn void scenario_run(const struct scenario *scenario, struct victim *victim);

/* In a child that is not stepped: who binds what the victim held. It pushes, lets the writer go
 * on, pushes, syncs, ends. */
_Noreturn void scenario_succeed(const struct scenario *scenario, struct victim *successor);

/* The ring that a victim makes. */
void scenario_ring_name(const struct victim *victim, char name[NAME_SIZE]);

/* Attach, or complain and end. */
struct shmlog *scenario_attach(struct victim *victim);

_Noreturn void complain(struct victim *victim, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
