/*
 * record.h - one run of producers and writers over the traced disk: what is cut afterwards.
 *
 * The producers push and ask for durability; the writer, a whole session in a child process, is
 * killed and stopped and started again on the way.
 */
#ifndef SHMLOG_TESTS_POWER_RECORD_H
#define SHMLOG_TESTS_POWER_RECORD_H

#include "config.h"
#include "session.h"
#include "trace.h"

/* Records that begin with FILLER are nobody's: they only fill files. */
enum { PUSHERS = 3, FILLER = '#' };

#define FILLER_NAME "filler"

struct scenario {
	const char *name;
	const char *sync;
	const char *release;
	bool is_asking;   /* the producers call shmlog_sync(DURABLE)                          */
	unsigned kills;   /* of the writer, and as many clean ends                            */
	unsigned volumes; /* files in each volume                                             */
	unsigned records; /* of each producer                                                 */
	unsigned fillers; /* long records, so that files come to their end by their size      */
	int64_t roll_age_ns;
	bool is_archiving;  /* a child compresses full volumes                                */
	unsigned max_files; /* 0: none is deleted                                             */
};

struct recording {
	const struct scenario *scenario;
	struct trace *trace;
	struct segment segment;
	struct segment_view view;
	uint32_t lanes[PUSHERS];
	char ring[64];
	char root[64]; /* a directory of its own; the log is below it                        */
	char log[80];
	char errors[80]; /* what the writers say                                              */
};

/* Run @scenario in @root, which is empty. */
void record(struct recording *ret, const struct scenario *scenario, uint64_t seed,
	    const char *root);
void record_end(struct recording *recording);

struct record_counts {
	uint32_t compressed; /* files */
	uint32_t deleted;    /* ... for their age or number, compressed or not */
};

void record_count(const struct trace *trace, struct record_counts *ret);

/* What the names of all rings of this run begin with: called first by the oldest process. */
const char *ring_prefix(void);
void remove_rings(void);

/* A ring for this suite; an old one of the name goes. */
void make_ring(const char *name, uint32_t lanes, struct segment *ret,
	       struct segment_view *ret_view);
void drop_ring(const char *name, struct segment *segment, struct segment_view *view);

/* The writer's configuration for @ring and this log. */
void configure(const struct recording *recording, const char *ring, bool once, struct config *ret);

/**
 * start_writer() - a whole writer in a child.
 * @after: so many records of producer PUSHERS are pushed by the child before, and its fate follows.
 * It ends with 0, or with 1 and a line in recording->errors.
 */
pid_t start_writer(const struct recording *recording, const struct config *config,
		   const struct sys *sys, session_open_io *open, uint32_t after);

#endif
