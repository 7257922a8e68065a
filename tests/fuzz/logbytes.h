/*
 * logbytes.h - the bytes of a log file from a script: built whole, then spoiled, with checksums
 * that are right again where the script says so.
 */
#ifndef SHMLOG_TESTS_FUZZ_LOGBYTES_H
#define SHMLOG_TESTS_FUZZ_LOGBYTES_H

#include "fuzz.h"
#include "page.h"

enum { LOG_PAGES_MAX = 12, LOG_SIZE_MAX = 1024 * 1024, LOG_ID = 99, LOG_SEGMENT = 77 };

struct log_bytes {
	uint8_t *bytes; /* LOG_SIZE_MAX; kept from file to file                             */
	size_t size;
	uint64_t salt;
	uint64_t page_first;
	uint64_t page_next;
	uint32_t pages;
	size_t offset[LOG_PAGES_MAX];
	uint32_t length[LOG_PAGES_MAX];
	struct index_entry index[LOG_PAGES_MAX];
	uint64_t total_records;
	uint64_t total_lost;
	bool sealed;
	bool spoiled;
};

/* A good file that begins with page @page_first. */
void log_build(struct bytes *input, struct log_bytes *log, uint64_t file_no, uint64_t page_first,
	       bool sealed);
/* One step of spoiling. */
void log_spoil(struct bytes *input, struct log_bytes *log);
/* Its bytes are the rest of the input as they are; checksums are made right if @correct. */
void log_raw(struct bytes *input, struct log_bytes *log, bool correct);

/* What the file holds up to its first bad page, by docs/FORMAT.md. */
struct log_content {
	uint64_t pages;   /* FILE and DATA                                                   */
	uint64_t records; /* DATA, GAP and NOTE                                              */
	uint64_t hash;    /* of them, in any order                                           */
	uint64_t end;     /* offset behind the last good page                                */
	uint64_t page_next;
	bool sealed;
};
void log_expect(const struct log_bytes *log, struct log_content *ret);

/* The same sum over what a reader shows. */
uint64_t log_hash_record(uint64_t kind, const void *payload, uint64_t length);

#endif
