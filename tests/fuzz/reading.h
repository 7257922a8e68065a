/*
 * reading.h - use a reader in every way that its interface has, and sum up what it shows.
 */
#ifndef SHMLOG_TESTS_FUZZ_READING_H
#define SHMLOG_TESTS_FUZZ_READING_H

#include "fuzz.h"
#include "shmlog_reader.h"

struct reading {
	uint64_t records;
	uint64_t hash;  /* of the records, in any order; as log_hash_record() */
	uint64_t pages; /* FILE and DATA                                       */
	uint64_t bad;   /* times that damage was told                          */
	int end;        /* -ENODATA, or what else ended it                     */
};

/* By records, by pages. Ends the target where they do not end. */
void read_records(struct shmlog_reader *reader, struct reading *ret);
void read_pages(struct shmlog_reader *reader, struct reading *ret);

/* What a path holds, read in all ways and compared. */
struct read_how {
	bool by_descriptor;
	bool is_disordered; /* volumes do not grow with files: a second reader may pass some by */
};

/* By records, by pages, then with jumps that @input says and a second reader from there on. */
void read_path(const char *path, struct read_how how, struct bytes *input, struct reading *ret);

#endif
