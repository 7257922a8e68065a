/*
 * page_layout.h - every byte of a log file. docs/FORMAT.md says it in prose. Holds no code.
 *
 *     file  = FILE page, DATA pages, SEAL page (once sealed); each 4096-aligned, at most 256 KiB
 *     page  = struct page_header | kind's own struct | records ... | entries ... | zeros
 *
 *     0            128                          table_offset     used          length
 *     +------------+---------------+------------+----------------+-------------+
 *     | header     | file_info or  | records,   | entries,       | zeros       |
 *     |            | seal_info     | 8-aligned  | 8-aligned      |             |
 *     +------------+---------------+------------+----------------+-------------+
 *
 * FILE and DATA pages are numbered densely through the whole log. A SEAL page carries the number
 * that follows: its file holds the pages from its FILE page's number up to, not including, that.
 * All integers are little-endian.
 */
#ifndef SHMLOG_LIB_PAGE_LAYOUT_H
#define SHMLOG_LIB_PAGE_LAYOUT_H

#include <stddef.h>

#include "record_layout.h"

enum {
	PAGE_ALIGN = 4096,
	PAGE_MAX = 256 * 1024,
	FILE_PAGES_MAX = 8000, /* the index of a file fits one SEAL page */
	FILE_SIZE_MIN = 1024 * 1024,
};

/* All that a file's index can point to, and its SEAL page. */
#define FILE_SIZE_MAX ((uint64_t)(FILE_PAGES_MAX + 1) * PAGE_MAX)

#define PAGE_MAGIC    UINT32_C(0x504c4853) /* "SHLP" */
#define TRAILER_MAGIC UINT32_C(0x534c4853) /* "SHLS" */

enum { FORMAT_MAJOR = 1, FORMAT_MINOR = 0 };

enum page_kind { PAGE_FILE = 1, PAGE_DATA = 2, PAGE_SEAL = 3 };

struct page_header {
	uint32_t length;       /* bytes in the file, a multiple of 4096; 0 = not written yet   */
	uint32_t magic;        /* PAGE_MAGIC                                                   */
	uint8_t kind;          /* enum page_kind                                               */
	uint8_t flags;         /* 0                                                            */
	uint16_t header_size;  /* 128; what follows begins there                               */
	uint32_t used;         /* bytes that mean something; the rest up to length is zero     */
	uint64_t checksum;     /* XXH3-64 of [0,16) and [24,used), seeded with the file's salt */
	uint64_t page_no;      /* of the log                                                   */
	uint64_t segment_id;   /* the ring that the records came through                       */
	uint32_t records;      /* of any kind in this page                                     */
	uint32_t table_offset; /* where the entries begin; == used if there are none           */
	uint64_t first_ticks;  /* smallest stamp of a DATA record; 0 if the page has none      */
	uint64_t last_ticks;   /* largest                                                      */
	uint64_t seen;         /* no record stamped before this is still to come, see FORMAT.md */
	uint64_t sample_ticks; /* one instant on two clocks, when the page was closed          */
	int64_t sample_realtime_ns;
	uint64_t ticks_per_s;     /* of this segment's clock, as known then; 0 = no stamps        */
	uint64_t total_records;   /* DATA records of this segment up to and with this page        */
	uint64_t total_lost;      /* records that GAPs of this segment have named                 */
	uint64_t total_abandoned; /* claims whose owner died before publishing                   */
	uint64_t reserved;
};

/* Follows the header of a FILE page. A FILE page's checksum has seed 0: it brings the salt. */
struct file_info {
	uint16_t format_major; /* another major version is refused                             */
	uint16_t format_minor; /* larger: read on, unknown kinds and entries are skipped       */
	uint32_t incompatible; /* feature bits: refuse unknown ones                            */
	uint32_t compatible;   /* feature bits: ignore unknown ones                            */
	uint32_t page_max;     /* PAGE_MAX when written                                        */
	uint64_t salt;         /* random; seed of all other checksums of this file             */
	uint64_t log_id;       /* random; the same in all files of a directory, never 0        */
	uint64_t file_no;
	uint64_t volume_no;
	uint64_t previous_file_no;  /* 0 = none                                                */
	uint64_t previous_checksum; /* of the last page before this one; 0 = none              */
	uint64_t created_ticks;
	uint64_t created_boottime_ns;
	int64_t created_realtime_ns;
	uint8_t boot_id[16];
	uint32_t writer_pid;
	uint32_t clock; /* enum ring_clock (ring_layout.h)                                      */
	char host[64];
	char writer_version[32];
	char ring[208];
};

/* Follows the header of a SEAL page. Then come one index_entry a page of the file, in order. */
struct seal_info {
	uint64_t pages;        /* entries that follow                                          */
	uint64_t data_records; /* in this file                                                 */
	uint64_t first_ticks;  /* smallest and largest stamp of its DATA records; 0, 0 if none */
	uint64_t last_ticks;
	uint64_t missing;   /* pages of this file known to be lost, see FORMAT.md                */
	uint32_t recovered; /* 1: sealed by a later writer after an unclean end                */
	uint32_t reserved;
};

struct index_entry {
	uint64_t first_ticks;
	uint64_t last_ticks;
	uint64_t page_no;
	uint32_t offset_pages; /* offset in the file / 4096                                    */
	uint16_t records;      /* DATA records                                                 */
	uint16_t sources;      /* SOURCE records: who jumps behind the page has to read those  */
};

/* The last 16 bytes of a sealed file; part of the SEAL page, whose `used` equals its length. */
struct seal_trailer {
	uint64_t seal_offset;
	uint32_t magic; /* TRAILER_MAGIC */
	uint32_t pages;
};

/* Entries: what a writer needs in order to go on. Readers skip them. Sizes are multiples of 8. */
enum entry_type {
	ENTRY_CURSOR = 1, /* struct cursor_entry: one lane's position after this page          */
	ENTRY_MARKED = 2, /* struct marked_entry: losses of one lane or owner id named so far  */
};

struct entry_header {
	uint16_t type;
	uint16_t size;  /* with this header */
	uint16_t lane;  /* 0: lane 0, then `owner` tells whose */
	uint16_t owner; /* 0 in cursor entries and for own lanes */
};

struct cursor_entry {
	struct entry_header header;
	uint64_t position; /* everything before it is in this page or in earlier ones          */
	uint64_t records;  /* DATA records of the lane up to there                             */
	uint64_t abandoned;
};

/* lane = LANE_UNBOUND stands for producers that could bind nothing. */
enum { LANE_UNBOUND = 0xffff };

struct marked_entry {
	struct entry_header header;
	uint64_t marked[LOSS_REASONS];
	uint64_t records; /* DATA records of the owner id so far; 0 for own lanes               */
};

_Static_assert(sizeof(struct page_header) == 128, "format version 1");
_Static_assert(offsetof(struct page_header, checksum) == 16, "format version 1");
_Static_assert(offsetof(struct page_header, page_no) == 24, "format version 1");
_Static_assert(sizeof(struct file_info) == 416, "format version 1");
_Static_assert(sizeof(struct seal_info) == 48, "format version 1");
_Static_assert(sizeof(struct index_entry) == 32, "format version 1");
_Static_assert(sizeof(struct seal_trailer) == 16, "format version 1");
_Static_assert(sizeof(struct cursor_entry) == 32, "format version 1");
_Static_assert(sizeof(struct marked_entry) == 80, "format version 1");

/* A FILE page holds every lane's and every owner id's SOURCE and entries. */
_Static_assert(128 + 416 + 256 * (16 + 152 + 32 + 80) + 511 * (16 + 152 + 80) <= 256 * 1024,
	       "format version 1");
/* A SEAL page holds the whole index of a file. */
_Static_assert(128 + 48 + 8000 * 32 + 16 <= 256 * 1024, "format version 1");
/* An index entry counts every record of a page. */
_Static_assert(256 * 1024 / 16 <= UINT16_MAX, "format version 1");
/* A DATA page holds the largest record with the entries that it may need. */
_Static_assert(128 + 16 + 240 * 1024 + (16 + 152) + (16 + 64) + 32 + 80 <= 256 * 1024,
	       "format version 1");

#endif
