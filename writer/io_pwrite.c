/*
 * io_pwrite.c - the back end for where io_uring is refused: plain pwrite and fdatasync.
 *
 * Each submission is carried out at once, in the caller's thread; its result waits in a queue for
 * io_reap(). The fence holds by itself: a system call ends before its task is gone.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "io_backend.h"

struct io_pwrite {
	struct io io; /* first */
	struct io_result results[IO_OPERATIONS];
	unsigned first; /* oldest result */
	unsigned count;
};

static struct io_pwrite *of(struct io *io)
{
	return CONTAINER_OF(io, struct io_pwrite, io);
}

static void keep_result(struct io_pwrite *backend, uint64_t tag, int error)
{
	assert(backend->count < IO_OPERATIONS);
	backend->results[(backend->first + backend->count) % IO_OPERATIONS] =
		(struct io_result){ .tag = tag, .error = error };
	backend->count++;
}

static int write_all(int fd, const uint8_t *data, uint32_t size, uint64_t offset)
{
	struct io_progress progress = { .size = size };
	int error = 0;
	ssize_t answer;

	do {
		answer = pwrite(fd, data + progress.done, size - progress.done,
				(off_t)(offset + progress.done));
		if (answer < 0)
			answer = -errno;
	} while (io_progress_step(&progress, (int)answer, &error) == IO_STEP_AGAIN);
	return error;
}

static int pwrite_write(struct io *io, int fd, unsigned buffer_index, uint32_t size,
			uint64_t offset, uint64_t tag)
{
	keep_result(of(io), tag, write_all(fd, io_buffer(io, buffer_index), size, offset));
	return 0;
}

static int pwrite_sync(struct io *io, int fd, uint64_t tag)
{
	unsigned tries = 0;
	int error = 0;
	int answer;

	do
		answer = fdatasync(fd) < 0 ? -errno : 0;
	while (io_sync_step(&tries, answer, &error) == IO_STEP_AGAIN);
	keep_result(of(io), tag, error);
	return 0;
}

static int pwrite_reap(struct io *io, struct io_result *results, unsigned max, int64_t timeout_ns)
{
	struct io_pwrite *backend = of(io);
	unsigned taken = 0;

	(void)timeout_ns; /* results are there as soon as something is in flight */
	for (; taken < max && backend->count > 0; taken++) {
		results[taken] = backend->results[backend->first];
		backend->first = (backend->first + 1) % IO_OPERATIONS;
		backend->count--;
	}
	return (int)taken;
}

static void pwrite_close(struct io *io)
{
	io_unmap_buffers(io);
	free(of(io));
}

static const struct io_operations pwrite_operations = {
	.close = pwrite_close,
	.write = pwrite_write,
	.sync = pwrite_sync,
	.reap = pwrite_reap,
};

int io_pwrite_open(struct io **ret)
{
	struct io_pwrite *backend = calloc(1, sizeof(*backend));
	int error;

	if (!backend)
		return -ENOMEM;
	backend->io.operations = &pwrite_operations;
	backend->io.backend = IO_PWRITE;
	error = io_map_buffers(&backend->io);
	if (error) {
		free(backend);
		return error;
	}
	*ret = &backend->io;
	return 0;
}
