/*
 * pages.h - the way of a page: filled, placed in a file, written, complete, released.
 *
 *     FREE -> FILLING -> CLOSED -> PLACED -> IN_FLIGHT -> COMPLETE -> FREE
 *
 * Owns the page buffers, their order, page numbers and the current file. Decides when a file ends
 * because a page does not fit, and what an error of the disk means for the pages. Never waits: what
 * cannot go on now goes on when pages_pump() is called again.
 *
 * I1. Pages are placed, and released, in the order in which they were closed. Page k is released
 *     only when it and every page before it are complete.
 * I2. A page's number and offset, once it may have been submitted, change only when its file is
 *     given up; the FILE page of the next file then takes the number of the first page that was
 *     not complete, and readers ignore that number and those above in the file before.
 * I3. A FILE page is placed only when every page before it is complete. Its table is the state as
 *     of the last of them.
 * I4. One buffer is kept for FILE pages.
 * I5. A file is left only sealed, or after a sync of what is complete in it: so a sync of the
 * current file makes everything before it durable, too.
 * I6. With --release durable a page that is complete keeps its buffer and its place in the order
 *     until a sync that began after it has succeeded: if that fails, it goes to the next file.
 * I7. A file behind one that was given up is durable before the next begins: pages that landed in
 *     the one given up are void by its number alone. If the power fails and it is gone, they count,
 *     and nothing may be on disk that holds their records once more. (Where that sync fails, too,
 *     and the power then, they can be there twice.)
 * I8. A file is left only when no sync of it is under way. io_uring hands a sync to a worker, which
 *     looks the descriptor up when it gets to it: closed by then, it would be no file's, or
 *     another's.
 */
#ifndef SHMLOG_WRITER_PAGES_H
#define SHMLOG_WRITER_PAGES_H

#include "config.h"
#include "drain.h"
#include "janitor.h"

enum page_state {
	PAGE_FREE,
	PAGE_FILLING,
	PAGE_CLOSED,
	PAGE_PLACED,
	PAGE_IN_FLIGHT,
	PAGE_COMPLETE
};

enum last_sync { LAST_SYNC_NONE, LAST_SYNC_IN_FLIGHT, LAST_SYNC_DONE };

struct page_slot {
	enum page_state state;
	bool is_file_page;
	struct page_builder builder;
	struct page_stamp stamp;
	bool is_covered;     /* complete when the sync that is under way began               */
	bool is_synced;      /* ... and that succeeded                                       */
	struct drain *drain; /* whose records it holds                                       */
	uint64_t offset;     /* in the current file, once placed                             */
	uint32_t length;
};

struct pages {
	const struct sys *sys;
	const struct config *config;
	struct io *io;
	struct roll *roll;
	struct roll_volume *volume;
	uint64_t begun_volume_no;  /* of the newest file that has begun                       */
	int64_t volume_began;      /* ... when that volume's first did, CLOCK_MONOTONIC       */
	struct roll_place settled; /* newest file of `ring` whose FILE page is complete; 0, 0 */
	struct janitor *janitor;
	struct drain *ring;      /* the newest: its status shows the disk's state            */
	struct drain *file_ring; /* whose the current file is                                */
	struct page_slot slots[IO_BUFFERS];
	struct page_slot *order[IO_BUFFERS]; /* CLOSED and later, oldest first               */
	unsigned order_count;
	struct page_slot *filling;
	int64_t filling_since; /* CLOCK_MONOTONIC of its first record; 0 = empty             */
	struct wfile *file;    /* being written; NULL = the next page begins one             */
	struct wfile *ahead;   /* made, or being made                                        */
	bool is_ahead_ready;
	int64_t file_began; /* CLOCK_MONOTONIC                                           */
	uint64_t page_next; /* number that the next page placed will have                */
	uint64_t log_id;
	uint64_t previous_file_no;
	uint64_t previous_checksum;
	uint64_t closed_count;    /* DATA pages closed and completed, ever: barriers for     */
	uint64_t completed_count; /* who waits for what was published before               */
	bool is_in_sync; /* a sync of the current file is under way, begun by the writer    */
	unsigned seals_submitted;
	unsigned seals_done;
	struct drain_snapshot sealing[ROLL_FILES]; /* by file slot: what is durable with its seal */
	bool is_stalled;  /* no room: the first page waits until `retry_at`                 */
	bool is_fileless; /* there is no file, and the last try to make one has failed      */
	bool is_short;    /* the last file made, or not made, has found less room than wanted */
	bool is_poisoned; /* the file is to be given up as soon as nothing is in flight     */
	enum last_sync last_sync; /* ... after one sync of what is complete in it            */
	bool is_rolling;  /* the file is to end as soon as nothing is under way              */
	bool void_before; /* I7: the file before the current, or the last sealed, one was given up
			   */
	bool void_next;   /* ... the file before the next one                                */
	int64_t refused_since; /* CLOCK_MONOTONIC: no submission was taken since then; 0      */
	unsigned failures;     /* files given up in a row without one complete page              */
	int fatal;             /* -errno: no file can be written at all                          */
	int64_t retry_at;      /* CLOCK_MONOTONIC                                                */
	int64_t make_at;       /* CLOCK_MONOTONIC; no file is made before: there was no room     */
	char trouble[320];     /* the last trouble in words, "" once told                        */
};

/* A page to fill for @drain, the one being filled if it has room; NULL: all buffers are busy. */
struct page_slot *pages_fill(struct pages *pages, struct drain *drain);

/* Close the page being filled, if there is anything in it. */
void pages_close(struct pages *pages);

/* Do what can be done now: place and submit pages, begin and seal files. */
void pages_pump(struct pages *pages);

/* --release durable: is a complete page held back until it is synced, and should that be soon? */
bool pages_await_sync(const struct pages *pages);
bool pages_press_for_sync(const struct pages *pages);

/* The current file's sync is to begin: a submission like a page's. 0; -errno it was refused. */
int pages_submit_sync(struct pages *pages, uint64_t tag);

/* It has begun; it has come to its end. */
void pages_sync_begun(struct pages *pages);
void pages_sync_done(struct pages *pages, bool is_good);

/* Take the result of a submission of pages_pump(). @tag: a slot's number, or another above
 * IO_BUFFERS; @error as io.h says. */
void pages_written(struct pages *pages, unsigned tag, int error);

/* There may be room now: do not wait until the next try is due. */
void pages_try_again(struct pages *pages);

/* Take the results of the second thread; pages_wait() waits for one, at most @timeout_ns. */
void pages_collect(struct pages *pages);
void pages_wait(struct pages *pages, int64_t timeout_ns);

/* The current file is to take nothing more: a sync failed. */
void pages_poison(struct pages *pages, const char *why);

/* End the current file here: stop. Nothing is in order; it holds pages. */
void pages_seal(struct pages *pages);

/* End the current file behind what is under way, however much comes behind: roll, rotate. Done when
 * pages->is_rolling is false. */
void pages_roll(struct pages *pages);

/* ... and go on in another volume. */
void pages_end_volume(struct pages *pages);

/* Is there a DATA page in the current file? */
bool pages_has_data(const struct pages *pages);

/* Does any page hold something of this ring, or is the current file its own? */
bool pages_hold(const struct pages *pages, const struct drain *drain);

/* Nothing is filled, closed or under way. */
bool pages_is_idle(const struct pages *pages);

/* All seals that were asked for have come to their end. */
bool pages_is_sealed(const struct pages *pages);

/* The end: give up a file made ahead. Everything is sealed. */
void pages_finish(struct pages *pages);

#endif
