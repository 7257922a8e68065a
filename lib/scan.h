/*
 * scan.h - everything in one file that can be proven to be a page, and where nothing can.
 *
 * For those who look at logs that may be damaged: whole pages are found by their checksums alone,
 * behind any bad place. Which numbers they should have, and what is missing, is the caller's
 * business. Never writes, never locks.
 *
 * A FILE page counts at offset 0 and right behind a SEAL page only: it brings its own salt, and
 * elsewhere could be a payload's. Where it is bad, the salt that it seems to name is tried: no page
 * verifies with a wrong one.
 */
#ifndef SHMLOG_LIB_SCAN_H
#define SHMLOG_LIB_SCAN_H

#include "logdir.h"
#include "logfile.h"

enum scan_kind {
	SCAN_PAGE, /* a whole page                                     */
	SCAN_BAD,  /* bytes that are none                              */
	SCAN_ZERO, /* nothing but zeros                                */
	SCAN_END
};

struct scan_piece {
	enum scan_kind kind;
	uint64_t offset;
	uint64_t length;
};

struct scan {
	struct logfile log;  /* log.begun: a FILE page was found, log.info is of the last one */
	struct input *input; /* NULL for plain files                                          */
	uint64_t size;       /* how far is gone on where the disk or an archive is bad        */
	bool may_begin;      /* at log.offset a FILE page counts                              */
};

/* Take over @fd, also when it fails: a file, or an archive, by its first bytes. 0; -ENOMEM; -errno.
 * A caller that knows the salt of a file without FILE page sets scan->log.info.salt. */
int scan_open(struct scan *scan, const struct sys *sys, int fd);

/* A file of a listed directory. -ENOENT; -EBADMSG what has its name is no file; -errno. */
int scan_open_listed(struct scan *scan, const struct sys *sys, int dir,
		     const struct logdir_file *name);
void scan_close(struct scan *scan);

/**
 * scan_next() - the next piece of the file; SCAN_END again and again at its end.
 * @buffer: PAGE_MAX bytes, 8-aligned: the page.
 * Return: 0; -EPROTO a FILE page of an unknown format, which the scan does not pass; -errno of the
 *         read.
 */
int scan_next(struct scan *scan, void *buffer, struct scan_piece *ret);

#endif
