/*
 * logfile.h - read the pages of one file, checked. Shared by the reader and by recovery.
 *
 * Never writes, never locks; asks F_OFD_GETLK whether a writer still holds an open file.
 */
#ifndef SHMLOG_LIB_LOGFILE_H
#define SHMLOG_LIB_LOGFILE_H

#include "input.h"
#include "page.h"
#include "sys.h"

struct logfile {
	const struct sys *sys;
	int fd;
	struct input *input;   /* NULL: read the descriptor itself; else borrowed         */
	uint64_t offset;       /* of the next page                                        */
	struct file_info info; /* valid once the FILE page was read                       */
	uint64_t page_first;   /* number of the FILE page                                 */
	uint64_t page_next;    /* number that the next FILE or DATA page must have        */
	uint64_t segment_id;   /* of the FILE page                                        */
	bool begun;            /* the FILE page was read                                  */
};

/* Take over @fd; nothing is read yet. */
void logfile_init(struct logfile *file, const struct sys *sys, int fd);
void logfile_close(struct logfile *file);

/**
 * logfile_next() - read and check the page at file->offset; on success step behind it.
 * @buffer: PAGE_MAX bytes, 8-aligned.
 *
 * A page that is not a FILE page in first place, repeats one later, or has another number than
 * page_next, is -EBADMSG. A SEAL page is returned like the others and ends the file.
 * Return: 0; -ENODATA the end of the file or a page not written yet (length 0); -EBADMSG damaged
 *         or foreign bytes; -EPROTO unknown format; other -errno of the read.
 */
int logfile_next(struct logfile *file, void *buffer);

/* The page at file->offset, checked, whatever its kind and number; nothing moves. 0; -ENODATA;
 * -EBADMSG; -errno of the read. */
int logfile_page(const struct logfile *file, void *buffer);

/* Forget the FILE page: the next page, at @offset, is to be another. */
void logfile_restart(struct logfile *file, uint64_t offset);

/* Bytes at @offset, whatever they are: the count, fewer only at the end, or -errno. */
ssize_t logfile_read(const struct logfile *file, void *buffer, size_t size, uint64_t offset);

/* The header at @offset, without its checksum: 0; -ENODATA; -EBADMSG; -errno of the read. */
int logfile_header(const struct logfile *file, uint64_t offset, struct page_header *ret);

/**
 * logfile_resync() - behind a bad place, stand before the next whole page of this file.
 * @limit:  pages from this number on are not this file's, but for its SEAL page.
 * @buffer: PAGE_MAX bytes, 8-aligned.
 * No payload can pass for a page: the checksums are salted.
 * Return: false: there is none, and nothing has changed.
 */
bool logfile_resync(struct logfile *file, uint64_t limit, void *buffer);

/* Go to a page whose offset and number are known (from an index). */
void logfile_seek(struct logfile *file, uint64_t offset, uint64_t page_no);

/**
 * logfile_seal() - the SEAL page of a sealed file, by the trailer in its last bytes.
 * @size: of the file. Its FILE page was read.
 * @buffer: PAGE_MAX bytes, 8-aligned.
 * On success the file stands behind the SEAL page.
 * Return: 0; -EBADMSG there is none, or it is damaged; -errno of the read.
 */
int logfile_seal(struct logfile *file, uint64_t size, void *buffer, uint64_t *ret_offset);

/* @error, with the reason why @path cannot be opened as a log. */
int logfile_refuse(const char *path, int error);

/* 1: a writer holds the file (its fence lock); 0: nobody does; -errno. */
int logfile_is_held(const struct logfile *file);

#endif
