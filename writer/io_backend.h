/*
 * io_backend.h - what the back ends of io.h share. Included by io*.c only.
 */
#ifndef SHMLOG_WRITER_IO_BACKEND_H
#define SHMLOG_WRITER_IO_BACKEND_H

#include "io.h"

enum {
	IO_ALIGN = 4096,
	IO_OPERATIONS = 2 * IO_BUFFERS, /* in flight at most: a write a buffer, and syncs    */
	IO_TRIES_MAX = 10000,           /* without progress, before "again" becomes -EIO     */
};

/* Map io->buffers: private, aligned, not inherited by a fork. 0 or -errno. */
int io_map_buffers(struct io *io);
void io_unmap_buffers(struct io *io);

/* One write as far as it has come. */
struct io_progress {
	uint32_t size;
	uint32_t done;  /* complete from the start on; a multiple of 4096                      */
	unsigned tries; /* since done moved last                                               */
};

enum io_step { IO_STEP_AGAIN, IO_STEP_DONE };

/**
 * io_progress_step() - judge one answer of the system to the part from progress->done on.
 * @answer: bytes written or -errno.
 * Return: IO_STEP_AGAIN: issue the rest; IO_STEP_DONE with *ret_error: 0 or -errno as io.h defines.
 */
enum io_step io_progress_step(struct io_progress *progress, int answer, int *ret_error);

/* The same for a sync, which is complete with answer 0. */
enum io_step io_sync_step(unsigned *tries, int answer, int *ret_error);

#endif
