/*
 * log_fixture.h - make log directories by hand, page by page, as a writer would or never would.
 *
 * Everything asserts: a fixture that cannot be made is no test. The clock counts nanoseconds:
 * ticks t is CLOCK_REALTIME FIXTURE_EPOCH_NS + t.
 */
#ifndef SHMLOG_TESTS_LOG_FIXTURE_H
#define SHMLOG_TESTS_LOG_FIXTURE_H

#include "page.h"
#include "shmlog_reader.h"

#define FIXTURE_EPOCH_NS (INT64_C(1700000000) * NS_PER_S)

enum { FIXTURE_PAGES_MAX = 64, FIXTURE_SEGMENT = 77, FIXTURE_LOG = 99 };

/* A directory under /tmp that is removed with everything in it. */
struct fixture {
	char dir[64];
	uint64_t previous_file_no; /* files name what was made before them */
	uint64_t previous_checksum;
	uint64_t total_records;
	uint64_t total_lost;
};

/* A file that is being written. */
struct fixture_file {
	struct fixture *fixture;
	char path[160]; /* of the .open */
	int fd;
	uint64_t page_first;
	uint64_t page_no; /* of the next page */
	uint64_t offset;  /* of the next page */
	uint64_t salt;
	uint64_t segment_id;
	uint64_t ticks_per_s;
	uint64_t sample_ticks; /* when pages are closed                             */
	int64_t clock_ns;      /* how far the wall clock has been set since ticks 0 */
	struct page_builder builder;
	uint8_t *buffer;
	struct index_entry index[FIXTURE_PAGES_MAX];
	uint32_t pages;
	uint64_t data_records;
	uint64_t first_ticks;
	uint64_t last_ticks;
};

void fixture_begin(struct fixture *fixture);
void fixture_end(struct fixture *fixture);

/* DIR/<volume>/<file>.shmlog.open with its FILE page, which names sources 1 .. @sources. */
void fixture_file_begin(struct fixture *fixture, struct fixture_file *file, uint64_t file_no,
			uint64_t page_no, uint16_t sources);
/* The same for what the caller has set in @file: segment_id, ticks_per_s, sample_ticks,
 * clock_ns. */
void fixture_file_begin_as(struct fixture *fixture, struct fixture_file *file, uint64_t file_no,
			   uint64_t page_no, uint16_t sources);
void fixture_file_end(struct fixture_file *file);

/* Records of the page that is written next. */
void fixture_source(struct fixture_file *file, uint16_t source, uint32_t pid, const char *name);
void fixture_record(struct fixture_file *file, uint8_t kind, uint16_t source, uint64_t ticks,
		    const void *payload, uint32_t length);
void fixture_data(struct fixture_file *file, uint16_t source, uint64_t ticks, const char *text);
void fixture_page(struct fixture_file *file, uint64_t seen);
/* A page that never reaches the disk: its place stays empty. */
void fixture_lose_page(struct fixture_file *file, uint64_t seen);

/* SEAL page, exact size, final name. */
void fixture_seal(struct fixture_file *file);

/* How an archive is made: by the rule of archive_map.h, or in another way. */
struct fixture_frame {
	const uint64_t *cuts; /* where blocks begin, from 0; NULL: by the rule          */
	size_t cut_count;
	bool is_linked;
	bool has_block_checksums;
	bool has_no_size;
};

/* The sealed file goes, its archive is there; file->path names it. @frame NULL: as the writer does.
 */
void fixture_compress(struct fixture_file *file, const struct fixture_frame *frame);

/* Change @size bytes at @offset of a finished or open file. */
void fixture_scribble(const char *path, uint64_t offset, const void *bytes, size_t size);
void fixture_path(const struct fixture *fixture, char path[160], uint64_t file_no,
		  const char *suffix);

/* All records from the reader as "text text ...", losses as "-N", notes as "(note)", problems as
 * "!", until it has no more. */
void fixture_read_all(struct shmlog_reader *reader, char *text, size_t size);
/* The same for a path that is opened and closed. */
void fixture_read_path(const char *path, char *text, size_t size);

#endif
