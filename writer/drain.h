/*
 * drain.h - one ring as the writer sees it: take records into pages, move the ring on afterwards.
 *
 * Owns the writer's private positions and its words in the segment (struct *_status). Stores
 * nothing into a lane that anybody holds, trusts nothing that lies in one, never waits, never
 * touches the disk.
 *
 * I1. A lane's private position only moves past what was copied into the page being filled, or
 *     what holds nothing to deliver.
 * I2. What a page holds of a lane, its entries say; drain_release() of a page stores exactly that.
 *     Pages are released in their order, complete, and never before all earlier ones.
 * I3. `marked` grows by what GAP records in pages name, in the entries of the same page: a loss is
 *     named once, over restarts, too.
 * I4. Numbers of sources in pages are those of their slots: lane n is n, owner id o is 256 + o,
 *     0 is the writer. A SOURCE record gives the number a new meaning from there on.
 * I5. What a restart finds released, but not on disk, is named by GAPs in the first FILE page,
 * whose table takes the positions beyond it: a kill leaves both on disk, or neither.
 */
#ifndef SHMLOG_WRITER_DRAIN_H
#define SHMLOG_WRITER_DRAIN_H

#include "clock.h"
#include "page.h"
#include "ring.h"
#include "segment.h"

enum { SOURCE_OWNER_BASE = 256 };

/* Room that the entries of one record may need. */
enum {
	CURSOR_ROOM = sizeof(struct cursor_entry),
	MARKED_ROOM = sizeof(struct marked_entry),
};

/* How far something has come in a lane. */
struct progress {
	uint64_t position;
	uint64_t records; /* DATA */
};

struct slot_state {
	uint64_t marked[LOSS_REASONS]; /* I3                                                 */
	uint64_t records;              /* DATA; of owner ids                                 */
	bool has_source;
	struct source_payload source; /* of the next record                                  */
};

/* A lane, or an owner id of lane 0: whoever has a SOURCE and drop counters. */
struct drain_slot {
	uint16_t lane;
	uint16_t owner;
	bool is_touched;        /* has a MARKED entry in the page being filled               */
	struct slot_state now;  /* as of what was taken                                      */
	struct slot_state kept; /* as of the last released page                              */
};

struct drain_lane {
	struct lane lane;
	struct lane_status *status;
	const struct lane_page *page;
	struct drain_slot slot;  /* own lanes; in lane 0 the owners' are used             */
	struct progress taken;   /* I1                                                    */
	struct progress written; /* as of the last complete page                          */
	struct progress durable;
	uint64_t abandoned;
	uint64_t abandoned_kept;  /* as of the last complete page                          */
	uint32_t pages_under_way; /* that hold an entry of this lane and are not complete  */
	bool is_touched;          /* has a CURSOR entry in the page being filled           */
	bool is_quarantined;
	bool is_emptied;         /* the running pass has come to its end                  */
	uint64_t pass_end;       /* a pass takes no more than a full lane                 */
	uint64_t unsynced;       /* lost to failed syncs; not named yet                      */
	uint64_t unwritten;      /* I5: lost below the ring; in no complete FILE page yet    */
	bool is_unwritten_noted; /* a page will follow, so a file will begin                 */
};

/* What a page says of everything up to and with it. */
struct drain_account {
	uint64_t seen;
	uint64_t total_records;
	uint64_t total_lost;
	uint64_t total_abandoned;
};

struct drain {
	const struct sys *sys;
	struct segment segment; /* its descriptor holds the writer's lock byte               */
	struct segment_view view;
	struct writer_status *writer;
	struct doorbell *doorbell;
	struct drain_lane lanes[LANES_MAX];
	struct drain_slot owners[OWNER_IDS];
	struct drain_slot unbound;
	/* By number of source (I4): of its counters, when all of them were marked. */
	uint64_t marked_sums[SOURCE_OWNER_BASE + OWNER_IDS];
	struct clock_sample created;
	bool is_lost; /* its memory or header is not what it was: to be succeeded    */
	bool is_cut;  /* ... and some of it is gone                                  */
	bool is_loss_noted;
	unsigned closed_looks; /* in a row that found it closed under its name             */
	bool release_durable;  /* `released` follows `durable` instead of `written`           */
	uint32_t pass_lane;    /* where the running pass is                                   */
	uint64_t pass_began;
	uint64_t seen; /* when the last complete pass began                           */
	uint64_t total_records;
	uint64_t total_lost;
	uint64_t lost_on_disk; /* by the last page restored                                  */
	uint64_t seen_on_disk;
	uint64_t total_abandoned;
	struct drain_account kept; /* as of the last page released                           */
};

/**
 * drain_open() - map the ring of an open (O_RDWR, locked) segment; takes its descriptor over.
 * Positions start at what the segment says; recovery raises them by drain_restore_page().
 * Return: 0; -errno with a reason.
 */
int drain_open(struct drain *drain, const struct segment *segment);
void drain_close(struct drain *drain);

/* ---- restart: what the disk knows ---- */

/* Entries and SOURCE records of a page of this segment, in page order. */
void drain_restore_page(struct drain *drain, const void *page);

/**
 * drain_restore_end() - the disk has spoken: move the ring to where it is.
 * @log_continues: the pages were of the log that this ring was drained into last.
 * Where the ring is ahead of the disk although it was (a power cut under a surviving ring), the
 * difference is lost: I5. Losses that only pages had named which are gone are named again.
 */
void drain_restore_end(struct drain *drain, bool log_continues);

/* ---- taking ---- */

enum drain_result {
	DRAIN_DONE, /* every lane has come to its end                                        */
	DRAIN_FULL, /* the page has no room for what comes next: a new page, then go on      */
};

/* Begin a pass over all lanes. */
void drain_begin_pass(struct drain *drain);

/* Go on with the pass, into @page. */
enum drain_result drain_continue(struct drain *drain, struct page_builder *page);

/* Put losses that nobody else can announce any more into @page, as far as there is room. */
void drain_mark(struct drain *drain, struct page_builder *page);

/* The writer's own words. False: no room. */
bool drain_note(struct page_builder *page, const char *text);

/* The entries of everything touched, into their reserved room; nothing is touched any more. */
void drain_close_page(struct drain *drain, struct page_builder *page);

/* The FILE page's content: all SOURCEs and entries as of the last released page, GAPs of I5. */
void drain_fill_file_page(const struct drain *drain, struct page_builder *page);

/* It is complete. */
void drain_file_page_done(struct drain *drain);

/* The stamp of a page that is closed now. page_no and salt are the caller's. */
void drain_stamp(const struct drain *drain, struct page_stamp *ret);

/* The same for a page that goes before what was taken and is not released yet: FILE, SEAL. */
void drain_stamp_kept(const struct drain *drain, struct page_stamp *ret);

/* ---- moving on ---- */

/* A complete page (all earlier ones are): `written`, and `released` unless it follows `durable`. */
void drain_release(struct drain *drain, const struct page_builder *page);

/* What holds nothing to deliver needs no page: move over it where nothing is under way. */
void drain_settle(struct drain *drain);

/* All lanes' written positions, as a sync covers them. */
struct drain_snapshot {
	struct progress lanes[LANES_MAX];
};
void drain_snapshot(const struct drain *drain, struct drain_snapshot *ret);
void drain_set_durable(struct drain *drain, const struct drain_snapshot *snapshot);

/* Has anything been written that no sync has covered? */
bool drain_is_unsynced(const struct drain *drain);

/* A sync failed: what was written since the last good one, and no later than @until (NULL: now),
 * may be lost. Counted, and named by the next drain_mark(). */
void drain_count_unsynced(struct drain *drain, const struct drain_snapshot *until);

/* ---- what others may have done to the segment ---- */

/* Has a page of its memory been missing? Then zeros were read instead; see bus.h. */
bool drain_was_hit(const struct drain *drain);

/**
 * drain_check_memory() - is the segment of a ring whose writer we are whole, and its header what it
 * was?
 * If so, pages that were missing are mapped again: there was no memory for them then. If not,
 * is_lost is set, for the caller to succeed the ring, and drain_mark() says so in the log.
 */
void drain_check_memory(struct drain *drain);

/* Store the writer's words of all lanes again where somebody has changed them, and open the ring
 * if it stays closed although its name is there. True: it was opened. */
bool drain_repair(struct drain *drain);

/* Quarantined lanes whose users are gone come back; so does lane 0 where its hint leads astray. */
void drain_reset_lanes(struct drain *drain);

/* Wake every lane: a writer that was killed may have owed a wake. */
void drain_wake_all(struct drain *drain);

/* The largest number of blocks that wait in one lane. */
uint64_t drain_backlog(const struct drain *drain);

/* Does anybody hold a lane or an owner id? */
bool drain_has_users(const struct drain *drain);

/* 1: the segment's name is gone or leads elsewhere. */
bool drain_is_unlinked(const struct drain *drain);

#endif
