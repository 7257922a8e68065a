/*
 * verify.h - what shmlog_verify() consists of; for verify.c and verify_file.c.
 *
 * verify.c goes from file to file and compares neighbours; verify_file.c looks into one of them.
 */
#ifndef SHMLOG_LIB_VERIFY_H
#define SHMLOG_LIB_VERIFY_H

#include "logdir.h"
#include "scan.h"
#include "shmlog_reader.h"

/* What the last DATA page that was seen says of its segment's records up to it. */
struct totals {
	uint64_t segment_id; /* 0: nothing is known */
	uint64_t page_no;    /* or of the FILE page behind it */
	uint64_t records;
	uint64_t lost;
	uint64_t abandoned;
	bool is_new_file; /* a FILE page came since */
};

/* Where the log stands behind a file. */
struct standing {
	bool is_known; /* of the fields up to `checksum` */
	uint64_t log_id;
	uint64_t file_no;
	uint64_t page_next;
	uint64_t page_last; /* number and checksum of the last page that was seen; 0: none */
	uint64_t checksum;
	struct totals totals;
};

struct verify {
	const struct sys *sys;
	const char *path;
	int dir; /* -1: @path is a file */
	struct logdir_list list;
	void (*tell)(void *context, const char *finding);
	void *context;
	struct shmlog_verdict *verdict;
	struct standing standing;
	struct index_entry *index; /* FILE_PAGES_MAX: the pages of one file that were seen */
	uint8_t *buffer;           /* PAGE_MAX */
};

/* How much of a file has to be there. */
enum verify_state {
	VERIFY_SEALED, /* all, up to its SEAL page                                          */
	VERIFY_PASSED, /* open, and a newer file has begun: all up to that                   */
	VERIFY_HELD,   /* a writer is at it: up to the first page that is not there          */
	VERIFY_LEFT,   /* nobody is: it is not recovered                                    */
};

struct verify_file {
	struct scan scan;
	const char *path;
	struct logdir_file name; /* file_no 0: its name tells no number */
	enum verify_state state;
	uint64_t limit; /* number of the next file's FILE page; UINT64_MAX: not known */
	bool is_twin;   /* the same file was seen plain: it is not counted again      */
};

/* One more finding: counted, and told. */
void verify_tell(struct verify *verify, const char *format, ...) PRINTF(2, 3);

/* Is a hole behind file @file_no damage, or has retention passed by? */
bool verify_is_gap(struct verify *verify, uint64_t file_no);

/* Everything in one file; verify->standing moves behind it. 0 or -errno. */
int verify_file(struct verify *verify, struct verify_file *file);

#endif
