/*
 * io.h - the only door to the disk for pages: submit, reap. Two back ends, one contract.
 *
 * The drain owns one `struct io`. It submits writes of whole pages at explicit aligned offsets and
 * data syncs, and reaps results in any order; every submission comes back exactly once. Errors
 * that mean "again" (short write, EINTR, EAGAIN) are resubmitted inside and never come back.
 *
 *     result      meaning for the page, decided by pages.c
 *     0           complete, with its full length
 *     -ENOSPC     no room, also -EDQUOT: keep it, submit the same bytes at the same offset later
 *     -EFBIG      the file may not grow so far: roll
 *     other       the file is poisoned
 *
 * Every write goes through the descriptor whose open file description holds the file's fence lock:
 * the lock falls only when the kernel is done with the last of them, also after SIGKILL. Metadata
 * calls (create, rename, truncate) are never submitted here for the same reason.
 */
#ifndef SHMLOG_WRITER_IO_H
#define SHMLOG_WRITER_IO_H

#include "base.h"

enum io_backend { IO_NONE = 0, IO_URING = 1, IO_PWRITE = 2 };

enum {
	IO_BUFFERS = 24, /* pages in flight at most: docs/PERFORMANCE.md, "Writes in flight" */
	IO_BUFFER_SIZE = 256 * 1024,
};

struct io;

struct io_result {
	uint64_t tag; /* as submitted                                                        */
	int error;    /* 0 or -errno, as above                                               */
};

struct io_operations {
	void (*close)(struct io *io);
	int (*write)(struct io *io, int fd, unsigned buffer_index, uint32_t size, uint64_t offset,
		     uint64_t tag);
	int (*sync)(struct io *io, int fd, uint64_t tag);
	int (*reap)(struct io *io, struct io_result *results, unsigned max, int64_t timeout_ns);
};

/* Base of every back end; the back ends embed it first. */
struct io {
	const struct io_operations *operations;
	enum io_backend backend;
	uint8_t *buffers; /* IO_BUFFERS * IO_BUFFER_SIZE, 4096-aligned, the back end's         */
	unsigned in_flight;
};

/* What the command line asks for. */
enum io_choice { IO_CHOOSE_AUTO, IO_CHOOSE_URING, IO_CHOOSE_PWRITE };

/**
 * io_open() - a back end with its buffers.
 * @ret_why: for IO_CHOOSE_AUTO that fell back: one line for people that names the likely cause
 *           (seccomp profile, sysctl, old kernel); else NULL. A constant string or thread-local.
 * Return: 0; -ENOSYS or -EPERM with IO_CHOOSE_URING where io_uring is refused; -ENOMEM; -errno.
 */
int io_open(enum io_choice choice, struct io **ret, const char **ret_why);
int io_uring_open(struct io **ret);  /* io_uring.c  */
int io_pwrite_open(struct io **ret); /* io_pwrite.c */

/* Closes after the last submission was reaped (asserted). NULL is fine. */
void io_close(struct io **io);

static inline uint8_t *io_buffer(const struct io *io, unsigned index)
{
	assert(index < IO_BUFFERS);
	return io->buffers + (size_t)index * IO_BUFFER_SIZE;
}

/**
 * io_write() - write @size bytes of buffer @buffer_index at @offset of @fd.
 * @size, @offset: multiples of 4096. The buffer must not be touched until the result is reaped.
 * Return: 0 accepted; -errno not accepted (nothing will be reaped for it).
 */
int io_write(struct io *io, int fd, unsigned buffer_index, uint32_t size, uint64_t offset,
	     uint64_t tag);

/* fdatasync(@fd), covering the writes that were reaped before this call. @fd stays open until the
 * result is reaped: io_uring looks it up in a worker of its own, late. */
int io_sync(struct io *io, int fd, uint64_t tag);

/**
 * io_reap() - collect results, waiting for the first at most @timeout_ns.
 * @timeout_ns: 0 never waits; < 0 waits until one comes. With nothing in flight: returns 0 at once.
 * Return: number of results, 0 .. max; -errno. EINTR ends the wait with 0.
 */
int io_reap(struct io *io, struct io_result *results, unsigned max, int64_t timeout_ns);

#endif
