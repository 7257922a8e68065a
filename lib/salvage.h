/*
 * salvage.h - the pages that can be read of a log that is damaged, in the order of the log.
 *
 * Goes on behind bad places, also in files that are not recovered, and through what a recovery set
 * aside (.torn). A number is shown once: pages that a later file begins anew do not exist, copies
 * are passed by. Of what was set aside a page is shown unless a writer went on with the same ring
 * and found all its records there: they were written again. Never writes, never locks.
 */
#ifndef SHMLOG_LIB_SALVAGE_H
#define SHMLOG_LIB_SALVAGE_H

#include "reader_page.h"
#include "sys.h"

struct salvage;

/* A log directory, a volume, or one file. 0 or -errno with a reason, as shmlog_reader_open(). */
int salvage_open(const struct sys *sys, const char *path, struct salvage **ret);
void salvage_close(struct salvage **salvage);

/**
 * salvage_next() - the next page, checked; the caller gets the reference.
 * Return: 0; -ENODATA the end; -EBADMSG behind each file that has bad bytes, with a reason that
 *         counts them; other -errno.
 */
int salvage_next(struct salvage *salvage, struct reader_page **ret);

#endif
