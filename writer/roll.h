/*
 * roll.h - the files of the log as the writer makes them: begin, account, seal.
 *
 * Owns the fixed pool of file slots (struct wfile with its index) and every metadata call on data
 * files. Never decides when to roll (writer.c), never writes FILE or DATA pages (io.h does, through
 * wfile->fd), never deletes a file that has begun.
 *
 * Invariants:
 * 1. A wfile belongs to one thread at a time: the drain's, or the janitor's from the submission of
 * a job to its result. Slots are taken and given back by the drain's thread only.
 * 2. While wfile->fd is open, its open file description holds the fence: an exclusive lock on the
 *    whole file. Nothing else duplicates it, so the lock falls when the last write is
 *    gone.
 * 3. All steps can be repeated after a kill between any two of them.
 * 4. A file always has room for its SEAL page: roll_fits() keeps it.
 */
#ifndef SHMLOG_WRITER_ROLL_H
#define SHMLOG_WRITER_ROLL_H

#include "page.h"
#include "sys.h"

enum {
	ROLL_FILES = 6, /* open at once: the current one, one ahead, those being sealed */
};

/* Where a file lies. */
struct roll_place {
	uint64_t volume_no;
	uint64_t file_no;
};

/* The drain's own account of the newest volume; zero-initialised: no volume, no file yet. */
struct roll_volume {
	uint64_t volume_no; /* largest so far                                                */
	uint64_t file_no;   /* largest so far                                                */
	uint64_t bytes;     /* of the files in it: planned until settled, then real          */
	bool is_over;       /* the next file begins another, whatever room this one has      */
};

/* A file from its creation to its sealed name. fd < 0: the slot holds no file. */
struct wfile {
	int fd;
	bool taken;     /* the slot is in use                                            */
	bool direct;    /* fd is O_DIRECT: aligned buffers, offsets and lengths only     */
	bool recovered; /* goes into the SEAL page; set by recovery                      */
	bool poisoned;  /* a sync of it failed: its pages may not be durable             */
	struct roll_place place;
	uint64_t size;       /* may grow to; preallocated where the file system can          */
	uint64_t salt;       /* random, never 0; of a left file: set by recovery             */
	uint64_t segment_id; /* of its pages; the writer's word                              */
	uint64_t offset;     /* of the next page                                             */
	uint64_t page_first; /* number of its FILE page; 0 before the first page             */
	uint64_t page_next;  /* behind the last page added                                   */
	uint32_t pages;      /* entries in index                                             */
	uint64_t data_records;
	uint64_t first_ticks; /* smallest and largest of its DATA records; 0, 0 if none      */
	uint64_t last_ticks;
	uint64_t missing;          /* pages known to be lost; recovery counts them           */
	struct index_entry *index; /* FILE_PAGES_MAX, the slot's, recycled                   */
};

struct roll {
	const struct sys *sys;
	int dir;           /* the log directory; borrowed                                     */
	const char *path;  /* its name for people; borrowed                                   */
	bool want_direct;  /* direct I/O asked for and not refused yet; roll_make's own       */
	bool direct_works; /* a direct write was taken here before; roll_make's own          */
	uint8_t *scratch;  /* PAGE_MAX bytes, 4096-aligned: SEAL pages; of roll_seal's thread */
	struct wfile files[ROLL_FILES];
};

/**
 * roll_check_directory() - may a log live here?
 * Return: 0; -EOPNOTSUPP locks are emulated here (NFS); other -errno. With a reason.
 */
int roll_check_directory(const struct sys *sys, int dir, const char *path);

/* What stays free on the file system: of the two the smaller. */
struct roll_room {
	uint64_t bytes;   /* UINT64_MAX: only the share counts                             */
	uint32_t percent; /* 100 and above: only the bytes count                           */
};

/* Bytes that have to become free before the log may take @size more; 0: it may. */
int roll_lack(const struct sys *sys, int dir, const struct roll_room *leave, uint64_t size,
	      uint64_t *ret_bytes);

/**
 * roll_spare() - bytes that the log may still take.
 * @leave: what has to stay free; NULL: nothing.
 */
int roll_spare(const struct sys *sys, int dir, const struct roll_room *leave, uint64_t *ret_bytes);

/**
 * roll_open() - memory for all slots; no file yet.
 * @want_direct: try O_DIRECT; where the file system refuses it, files are buffered.
 * Return: 0; -ENOMEM.
 */
int roll_open(struct roll *roll, const struct sys *sys, int dir, const char *path,
	      bool want_direct);

/* Frees the memory. Files still open are closed as they are. */
void roll_close(struct roll *roll);

/* A free slot, now taken; NULL: all ROLL_FILES are in use, wait until one is sealed. */
struct wfile *roll_take(struct roll *roll);

/* The slot is free again. Its file is closed (asserted): sealed, dropped or removed. */
void roll_give(struct wfile *file);

/**
 * roll_next_place() - where the next file goes, and count it. Pure.
 * @size: planned for the file. A volume takes at least one file.
 */
struct roll_place roll_next_place(struct roll_volume *volume, uint64_t size,
				  uint64_t volume_size_max);

/* The place was not used. Pure. */
void roll_unplace(struct roll_volume *volume, struct roll_place place);

/* A file is sealed (or gone: @real 0): its volume counts @real bytes instead of @planned. Pure. */
void roll_settle(struct roll_volume *volume, uint64_t volume_no, uint64_t planned, uint64_t real);

/**
 * roll_make() - make the file of @place: volume, name, fence, room; first length still 0.
 * @size: up to which it may grow; >= FILE_SIZE_MIN. Smaller afterwards (file->size) where a limit
 *        (RLIMIT_FSIZE, the file system's, the room) is lower but still >= FILE_SIZE_MIN.
 * A file of that name that has not begun (left by a killed writer) is made anew.
 * @leave: what has to stay free on the file system; NULL: nothing.
 * Return: 0; -ENOSPC no room (the file is gone again); -EEXIST a file that has begun or is sealed
 *         lies there; -EFBIG a limit below FILE_SIZE_MIN; -EAGAIN fenced by another writer;
 *         other -errno. With a reason. On failure the slot holds no file, but stays taken.
 */
int roll_make(struct roll *roll, struct wfile *file, struct roll_place place, uint64_t size,
	      const struct roll_room *leave);

/**
 * roll_take_over() - open a file that a killed writer left, and take its fence.
 * @file: taken slot. Index, salt, offset, numbers are empty: recovery fills them from the pages.
 * Return: 0; -EAGAIN writes of the killed writer are still on their way: ask again; -ENOENT;
 *         other -errno. With a reason.
 */
int roll_take_over(struct roll *roll, struct wfile *file, struct roll_place place);

/**
 * roll_fits() - may a page of @length go into this file next, with the SEAL page behind it?
 * False: seal it and go on in the next file. The FILE page and one DATA page always fit.
 */
bool roll_fits(const struct wfile *file, uint32_t length);

/**
 * roll_add_page() - account for a FILE or DATA page at file->offset, and step behind it.
 * @page: the finished header; its first_ticks, last_ticks, page_no and length are taken.
 * @data_records, @source_records: how many of each kind are in it.
 */
void roll_add_page(struct wfile *file, const struct page_header *page, uint32_t data_records,
		   uint32_t source_records);

/**
 * roll_seal() - SEAL page, exact size, sync, final name, sync of the name; closes on success.
 * @stamp: of the SEAL page; page_no is the number that the next FILE page takes (the salt is the
 *         file's own, whatever stamp says).
 * All pages before file->offset are complete. Whatever lies behind the SEAL page is cut off.
 * file->size is the sealed size afterwards.
 * Return: 0; -errno of the step that failed, with a reason: call it again, or roll_drop().
 */
int roll_seal(struct roll *roll, struct wfile *file, const struct page_stamp *stamp);

/**
 * roll_end() - roll_seal(), and where that fails a sync of what is there; closes in any case.
 * file->poisoned afterwards: its pages may not be durable. Left without its seal it is recovery's.
 * Return: as roll_seal().
 */
int roll_end(struct roll *roll, struct wfile *file, const struct page_stamp *stamp);

/* roll_seal() from the cut on, for a file whose SEAL page was found complete; @size: its end. */
int roll_finish(struct roll *roll, struct wfile *file, uint64_t size);

/* Close and leave the file as it is, for recovery. For slots without a file: nothing. */
void roll_drop(struct roll *roll, struct wfile *file);

/* Unlink a file that has not begun, then close it. */
int roll_remove(struct roll *roll, struct wfile *file);

#endif
