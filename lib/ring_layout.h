/*
 * ring_layout.h - every byte of a ring's segment in shared memory. Holds no code.
 *
 *     offset
 *     0               struct ring_header     4096   constant but for `control`
 *     doorbell_offset struct doorbell        4096   whoever wants the writer
 *     status_offset   struct writer_status          the writer; all others read only
 *                     struct owner_status[512]
 *                     struct lane_status[lanes]
 *     owners_offset   struct producer_line[512]     the holder of each owner id
 *     lanes_offset    lane 0, lane 1, ...           lane_stride bytes each:
 *         0               struct lane_page   4096   the lane's holder(s)
 *         words_offset    u64 words[blocks]         one sequence word a block
 *         blocks_offset   blocks * 64 bytes         the records
 *
 * All offsets are multiples of 4096 and follow from (lanes, blocks) alone; segment.c computes them
 * and whoever attaches compares. Producers map header and status read-only, the doorbell writable,
 * and of the lanes only what they bind.
 *
 *     word  63                    24 23        12 11    10          2 1    0
 *          +------------------------+------------+------+------------+------+
 *          |          lap           |   blocks   | dead |   owner    | state|
 *          +------------------------+------------+------+------------+------+
 *
 * Position p (64 bits, never reset) is block p mod N, its lap p / N + 1; lap 0 = never used. The
 * word of a record's first block describes all its blocks; the words of the others are stale.
 * `dead` is set only together with SKIP: the claim's owner died before it published.
 *
 * Lock bytes are open-file-description locks on the segment, beyond its end. A held lock means
 * that somebody can still store through the mapping that pins it, and nothing else means that.
 */
#ifndef SHMLOG_LIB_RING_LAYOUT_H
#define SHMLOG_LIB_RING_LAYOUT_H

#include <stddef.h>

#include "atomic.h"
#include "record_layout.h"

#define RING_MAGIC          UINT64_C(0x474e49524c4d4853) /* "SHMLRING" */
#define RING_LAYOUT_VERSION 1

enum {
	RING_PAGE =
		4096, /* granularity of regions; a segment is refused where mappings can't match */
	BLOCK_SIZE = 64,
	LANES_MAX = 256,
	OWNER_IDS = 512, /* 1 .. 511 are used; 0 stands for "own lane" */
	LANE_BLOCKS_MIN = 64 * 1024 / BLOCK_SIZE,
	LANE_BLOCKS_MAX = 1024 * 1024 * 1024 / BLOCK_SIZE,
	RING_RECORD_MAX = 240 * 1024, /* payload bytes; lanes under 512K hold less */
	RING_NAME_MAX = 200,
};

/* Default geometry: 32 lanes of 1 MiB. */
enum { LANES_DEFAULT = 32, LANE_BLOCKS_DEFAULT = 1024 * 1024 / BLOCK_SIZE };

/* Lock bytes. */
#define LOCK_BYTE_WRITER       (INT64_C(1) << 40)
#define LOCK_BYTE_OWNER(owner) (LOCK_BYTE_WRITER + 64 + (owner))
#define LOCK_BYTE_LANE(lane)   (LOCK_BYTE_WRITER + 4096 + (lane))
#define LOCK_BYTES             8192 /* all of them, from LOCK_BYTE_WRITER on */

enum word_state { WORD_FREE = 0, WORD_CLAIMED = 1, WORD_READY = 2, WORD_SKIP = 3 };

enum {
	WORD_OWNER_SHIFT = 2,
	WORD_DEAD_SHIFT = 11,
	WORD_BLOCKS_SHIFT = 12,
	WORD_LAP_SHIFT = 24,
	WORD_BLOCKS_MAX = (1 << 12) - 1,
};

enum ring_clock {
	RING_CLOCK_TSC = 1,       /* the processor's constant time-stamp counter       */
	RING_CLOCK_MONOTONIC = 2, /* clock_gettime(CLOCK_MONOTONIC), nanoseconds       */
	RING_CLOCK_NONE = 3,      /* no stamps: order is the order of the drain         */
	RING_CLOCK_WRITER = 4,    /* stamped by the writer when it drains               */
};

/* `control`: the highest level that is recorded, in the low bits; CLOSED makes it negative. */
enum { CONTROL_LEVEL_MASK = 0xff };
#define CONTROL_CLOSED UINT32_C(0x80000000)

struct ring_header {
	uint64_t magic;
	uint32_t layout_version; /* another version is refused                           */
	uint32_t header_size;    /* sizeof(struct ring_header)                           */
	uint64_t incompatible;   /* feature bits: refuse unknown ones                    */
	uint64_t compatible;     /* feature bits: ignore unknown ones                    */
	uint64_t segment_id;     /* random, never 0                                      */
	uint32_t lanes;          /* 1 .. 256, lane 0 included                            */
	uint32_t blocks;         /* of each lane; a power of two                         */
	uint32_t record_max;     /* bytes of payload                                     */
	uint32_t clock;          /* enum ring_clock                                      */
	uint64_t size;           /* of the whole segment                                 */
	uint64_t doorbell_offset;
	uint64_t status_offset;
	uint64_t owners_offset;
	uint64_t lanes_offset;
	uint64_t lane_stride;
	uint64_t words_offset;  /* within a lane                                        */
	uint64_t blocks_offset; /* within a lane                                        */
	uint64_t created_ticks; /* one instant on three clocks: readers calibrate by it */
	uint64_t created_boottime_ns;
	int64_t created_realtime_ns;
	uint8_t boot_id[16];
	uint8_t reserved0[1888];
	struct shared_u32 control; /* offset 2048; shmlog-ctl and the writer             */
	uint8_t reserved1[2044];
};

/* Mapped writable by every producer: nothing here is trusted, nothing here loses a record. */
struct doorbell {
	struct shared_u32 rings;           /* +1 and a wake: "look at the ring"; futex   */
	struct shared_u32 drain_requests;  /* +1: write what is published now            */
	struct shared_u32 sync_requests;   /* +1: and make it durable                    */
	struct shared_u32 rotate_requests; /* +1: and roll the file                      */
	uint8_t reserved0[48];
	struct shared_u64 drops[LOSS_REASONS]; /* of threads that could bind nothing     */
	uint8_t reserved1[3968];
};

enum writer_state {
	WRITER_NONE = 0,
	WRITER_RUNNING = 1, /* or killed: its lock byte tells                            */
	WRITER_CLEAN = 2,   /* ended with everything that it took completed              */
	WRITER_ENDED = 4,   /* ended by itself with pages that it could not complete      */
	WRITER_STALLED = 3, /* running, but the disk takes nothing                       */
};

enum { WRITER_PATH_SIZE = 2048 };

/* Exports of the writer, read back by nobody for a decision but the next writer (the log's ids). */
struct writer_status {
	struct shared_u32 sleeping;   /* odd: waits on `rings`, wants a futex wake; +1 each turn */
	struct shared_u32 state;      /* enum writer_state                                  */
	struct shared_u32 drain_done; /* the last request that was answered               */
	struct shared_u32 sync_done;
	struct shared_u32 rotate_done;
	struct shared_u32 io_backend; /* enum io_backend (writer/io.h); 0 = none          */
	uint32_t pid;
	uint32_t reserved0;
	uint64_t start_time;
	uint64_t log_id;         /* the log that holds all before `released`; 0 = none      */
	uint64_t pending_log_id; /* the log whose pages may be under way; 0 = none are      */
	struct shared_u64 unbound_marked[LOSS_REASONS]; /* of doorbell.drops              */
	struct shared_u64 pages;                        /* completed by this writer       */
	struct shared_u64 bytes;
	struct shared_u64 files;
	struct shared_u64 stalls;         /* times the disk was full                           */
	struct shared_u64 io_errors;      /* failed writes and syncs                           */
	struct shared_u64 stall_began_ns; /* CLOCK_BOOTTIME; 0 = not stalled              */
	struct shared_u32 archiver_pid;   /* the child that compresses; 0 = none runs     */
	uint32_t reserved2;
	struct shared_u64 deleted_files; /* by retention                                  */
	struct shared_u64 deleted_bytes;
	uint8_t reserved1[1856];
	char log_path[WRITER_PATH_SIZE]; /* of that log: absolute, cut if longer          */
	uint8_t reserved_latency[16384]; /* room for latency and lag histograms           */
};

/* One for each lane; the writer's words, read by the lane's producers where their bound ends. */
struct lane_status {
	struct shared_u64 released;         /* blocks before it may be written over             */
	struct shared_u64 written;          /* records before it survive the writer             */
	struct shared_u64 durable;          /* ... and power loss                               */
	struct shared_u32 moved;            /* +1 whenever one of the three moves; futex        */
	struct shared_u32 quarantine;       /* 1: walks make no sense here; nobody may bind it  */
	struct shared_u64 records_released; /* DATA records before `released`             */
	struct shared_u64 records_written;
	struct shared_u64 records_durable;
	struct shared_u64 abandoned; /* dead claims stepped over                   */
	struct shared_u64 refused;   /* records that failed their checks           */
	struct shared_u64 failed;    /* records lost to a failed write or sync     */
	struct shared_u64 quarantines;
	struct shared_u64 failed_end; /* the last of `failed` lies before this DATA record */
	struct shared_u64 taken; /* he has copied what lies before it, and looks there no more */
	uint8_t reserved0[24];
	struct shared_u64 marked[LOSS_REASONS]; /* drops of own lanes that the log names  */
	struct source_payload source;           /* of the record before `released`        */
	uint8_t reserved1[168];
};

/* One for each owner id of lane 0; the writer's words. */
struct owner_status {
	struct shared_u64 marked[LOSS_REASONS];
	struct shared_u64 records_released;
	uint8_t reserved0[32];
	struct source_payload source;
};

/* Who holds a lane or an owner id. Shown, never trusted; drops outlive everybody and only grow. */
struct producer_line {
	struct shared_u64 drops[LOSS_REASONS];
	uint32_t pid;
	uint32_t tid;
	uint64_t start_time;
	struct shared_u64 records_before; /* DATA records of the lane or id before this binding */
	struct shared_u32 ended;          /* 1: its thread has ended, the lane is pooled        */
	uint32_t reserved0;
	char name[SOURCE_NAME_SIZE];
	uint64_t drops_before[LOSS_REASONS]; /* own lanes: `drops` when this binding began  */
	uint8_t reserved1[32];
};

struct lane_page {
	struct producer_line line; /* own lanes; unused in lane 0                       */
	struct shared_u32 waiters; /* threads that sleep on this lane's `moved`         */
	uint8_t reserved0[60];
	struct shared_u64 tail_hint; /* lane 0: where to look for the frontier            */
	uint8_t reserved1[56];
	struct shared_u64 begin; /* reserved: oldest position of overwrite rings      */
	uint8_t reserved2[56];
	uint8_t reserved3[3648];
};

_Static_assert(sizeof(struct ring_header) == RING_PAGE, "layout version 1");
_Static_assert(offsetof(struct ring_header, control) == 2048, "layout version 1");
_Static_assert(sizeof(struct doorbell) == RING_PAGE, "layout version 1");
_Static_assert(offsetof(struct doorbell, drops) == 64, "layout version 1");
_Static_assert(sizeof(struct writer_status) == 5 * RING_PAGE, "layout version 1");
_Static_assert(sizeof(struct lane_status) == 512, "layout version 1");
_Static_assert(offsetof(struct lane_status, marked) == 128, "layout version 1");
_Static_assert(sizeof(struct owner_status) == 256, "layout version 1");
_Static_assert(sizeof(struct producer_line) == 256, "layout version 1");
_Static_assert(sizeof(struct lane_page) == RING_PAGE, "layout version 1");
_Static_assert(offsetof(struct lane_page, tail_hint) == 320, "layout version 1");

#endif
