/*
 * record_layout.h - the bytes of one record, the same in shared memory and on disk.
 *
 *     offset  0        4      6    7     8              16
 *            +--------+------+----+-----+--------------+---------- - -
 *            | length |source|kind|level| ticks        | payload
 *            +--------+------+----+-----+--------------+---------- - -
 *
 * In the ring a record begins at a block and `source` is 0; the writer gives it the number of its
 * source when it moves the record into a page, where records follow each other 8-aligned.
 * All integers are little-endian. Holds no code.
 */
#ifndef SHMLOG_LIB_RECORD_LAYOUT_H
#define SHMLOG_LIB_RECORD_LAYOUT_H

#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "shmlog's layouts are little-endian; this machine is not"
#endif

/* Kinds from 0x80 up are skipped, by length, by readers that don't know them; see FORMAT.md. */
enum record_kind {
	RECORD_DATA = 1,   /* what a producer pushed                                   */
	RECORD_SOURCE = 2, /* who pushes from here on (struct source_payload)          */
	RECORD_GAP = 3,    /* what was lost here (struct gap_payload)                  */
	RECORD_NOTE = 4,   /* the writer's own words, UTF-8                            */
	RECORD_SITE = 5,   /* reserved: format strings of call sites                   */
};

/* Why records were lost. The order is part of both layouts: only ever append. */
enum loss_reason {
	LOSS_FULL = 0,      /* no room in the lane                                      */
	LOSS_SIZE = 1,      /* larger than the ring's record maximum                    */
	LOSS_BUSY = 2,      /* pushed from a signal handler inside a push               */
	LOSS_NO_LANE = 3,   /* neither a lane nor an owner id could be bound            */
	LOSS_CORRUPT = 4,   /* the lane's words or the record made no sense             */
	LOSS_UNWRITTEN = 5, /* released by an earlier writer, but not in this log       */
	LOSS_UNSYNCED = 6,  /* released, then the disk failed to keep it                */
	LOSS_REASONS = 8,
};

struct record_header {
	uint32_t length; /* bytes of payload                                           */
	uint16_t source; /* 0 in the ring; on disk the source's number in its file      */
	uint8_t kind;    /* enum record_kind                                           */
	uint8_t level;   /* 0 emergency .. 7 debug, as in syslog                        */
	uint64_t ticks;  /* the producer's clock; 0 in rings without one                */
};

enum { SOURCE_NAME_SIZE = 64 }; /* 63 bytes and their end */

struct source_payload {
	uint32_t pid;
	uint32_t tid;
	uint64_t start_time; /* of the process, clock ticks since boot (proc(5), stat 22) */
	uint64_t drops[LOSS_REASONS]; /* of the lane or owner id, when its lock was taken */
	char name[SOURCE_NAME_SIZE]; /* NUL-terminated, zero-filled                               */
	uint16_t lane;               /* these two are the writer's words: it overwrites them      */
	uint16_t owner;              /* owner id in lane 0; 0 in other lanes                      */
	uint32_t reserved;
};

struct gap_payload {
	uint64_t lost[LOSS_REASONS]; /* records, by reason; positions of enum loss_reason */
};

_Static_assert(sizeof(struct record_header) == 16, "layout version 1");
_Static_assert(sizeof(struct source_payload) == 152, "layout version 1");
_Static_assert(sizeof(struct gap_payload) == 64, "layout version 1");

#endif
