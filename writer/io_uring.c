/*
 * io_uring.c - the back end that keeps many page writes in flight from one thread.
 *
 * Owns the ring, and one slot for each operation in flight. All calls come from the thread that
 * opened it (SINGLE_ISSUER, DEFER_TASKRUN). No polling thread, no links, no drains, no metadata
 * operations, no registered files: a slot of a registered file would hold the fence as well, but
 * outlive the close of its descriptor.
 *
 * Invariants:
 * 1. A slot has exactly one submission in the ring or the kernel, or it is on the free list.
 * 2. The ring has more entries than there are slots: a submission always finds one.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "io_backend.h"

enum { RING_ENTRIES = 64 };
_Static_assert((int)RING_ENTRIES > (int)IO_OPERATIONS, "invariant 2");

enum operation_kind { OPERATION_WRITE, OPERATION_SYNC };

struct operation {
	enum operation_kind kind;
	int fd;
	unsigned buffer_index;
	uint64_t offset;
	uint64_t tag;
	struct io_progress progress;
	struct operation *next_free;
};

struct uring {
	struct io io; /* first */
	struct io_uring ring;
	bool registered; /* the buffers are */
	struct operation operations[IO_OPERATIONS];
	struct operation *free;
};

static struct uring *of(struct io *io)
{
	return CONTAINER_OF(io, struct uring, io);
}

static void prepare_write(struct uring *uring, struct io_uring_sqe *sqe,
			  const struct operation *operation)
{
	const struct io_progress *progress = &operation->progress;
	const uint8_t *data = io_buffer(&uring->io, operation->buffer_index) + progress->done;
	const unsigned size = progress->size - progress->done;
	const uint64_t offset = operation->offset + progress->done;

	if (uring->registered)
		io_uring_prep_write_fixed(sqe, operation->fd, data, size, offset,
					  (int)operation->buffer_index);
	else
		io_uring_prep_write(sqe, operation->fd, data, size, offset);
}

/* Put the operation, or what is left of it, into the ring; the kernel sees it with the next enter.
 */
static void issue(struct uring *uring, struct operation *operation)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

	assert(sqe); /* invariant 2 */
	if (operation->kind == OPERATION_WRITE)
		prepare_write(uring, sqe, operation);
	else
		io_uring_prep_fsync(sqe, operation->fd, IORING_FSYNC_DATASYNC);
	io_uring_sqe_set_data(sqe, operation);
}

/* A refused enter leaves the entries in the ring; io_reap() enters again and reports what stays. */
static int submit(struct uring *uring, const struct operation *what)
{
	struct operation *operation = uring->free;

	if (!operation)
		return -EAGAIN;
	uring->free = operation->next_free;
	*operation = *what;
	issue(uring, operation);
	(void)io_uring_submit(&uring->ring);
	return 0;
}

static int uring_write(struct io *io, int fd, unsigned buffer_index, uint32_t size, uint64_t offset,
		       uint64_t tag)
{
	const struct operation operation = {
		.kind = OPERATION_WRITE,
		.fd = fd,
		.buffer_index = buffer_index,
		.offset = offset,
		.tag = tag,
		.progress = { .size = size },
	};

	return submit(of(io), &operation);
}

static void close_own(const struct operation *operation)
{
	if (operation->kind == OPERATION_SYNC && operation->fd >= 0)
		(void)close(operation->fd);
}

/*
 * A sync is done by a worker of the kernel, which looks its descriptor up only when it comes to it.
 * By then the file may be sealed and closed, and its number another file's: the sync has a
 * descriptor of its own until it is over.
 */
static int uring_sync(struct io *io, int fd, uint64_t tag)
{
	const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	const struct operation operation = { .kind = OPERATION_SYNC, .fd = own, .tag = tag };
	int error;

	if (own < 0 && errno != EBADF)
		return -EAGAIN; /* no more descriptors for the moment; a bad one is the kernel's
				   word */
	error = submit(of(io), &operation);
	if (error)
		close_own(&operation);
	return error;
}

/* True and *ret: the operation is over; false: issued again. */
static bool settle(struct uring *uring, struct operation *operation, int answer,
		   struct io_result *ret)
{
	enum io_step step;
	int error = 0;

	if (operation->kind == OPERATION_WRITE)
		step = io_progress_step(&operation->progress, answer, &error);
	else
		step = io_sync_step(&operation->progress.tries, answer, &error);
	if (step == IO_STEP_AGAIN) {
		issue(uring, operation);
		return false;
	}
	close_own(operation);
	*ret = (struct io_result){ .tag = operation->tag, .error = error };
	operation->next_free = uring->free;
	uring->free = operation;
	return true;
}

static unsigned collect(struct uring *uring, struct io_result *results, unsigned max)
{
	struct io_uring_cqe *cqes[IO_OPERATIONS];
	const unsigned wanted = max < IO_OPERATIONS ? max : IO_OPERATIONS;
	const unsigned count = io_uring_peek_batch_cqe(&uring->ring, cqes, wanted);
	unsigned taken = 0;

	for (unsigned i = 0; i < count; i++) {
		struct operation *operation = io_uring_cqe_get_data(cqes[i]);

		taken += settle(uring, operation, cqes[i]->res, &results[taken]);
	}
	io_uring_cq_advance(&uring->ring, count);
	return taken;
}

/* Enter the kernel, with what is queued, until one completion is there or the time is over.
 * Return: 0 look again; -ETIME over; other -errno. */
static int wait_one(struct uring *uring, int64_t timeout_ns)
{
	struct __kernel_timespec timeout = { .tv_sec = timeout_ns / NS_PER_S,
					     .tv_nsec = timeout_ns % NS_PER_S };
	struct io_uring_cqe *cqe;
	int error;

	if (timeout_ns < 0)
		error = io_uring_submit_and_wait(&uring->ring, 1);
	else
		error = io_uring_submit_and_wait_timeout(&uring->ring, &cqe, 1, &timeout, NULL);
	/* Busy with completions, or short of memory for a moment: they come, look again. */
	return error >= 0 || error == -EAGAIN || error == -EBUSY ? 0 : error;
}

static int64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* A completion that only led to a new submission is no result: the wait goes on, to its deadline.
 */
static int reap_waiting(struct uring *uring, struct io_result *results, unsigned max,
			int64_t timeout_ns)
{
	const int64_t deadline_ns = timeout_ns < 0 ? -1 : now_ns() + timeout_ns;

	for (;;) {
		const int64_t left_ns = deadline_ns < 0 ? -1 : deadline_ns - now_ns();
		int error = 0;
		unsigned count;

		if (deadline_ns >= 0 && left_ns <= 0)
			return 0;
		error = wait_one(uring, left_ns);
		count = collect(uring, results, max);
		if (count > 0)
			return (int)count;
		if (error)
			return error == -EINTR || error == -ETIME ? 0 : error;
	}
}

static int uring_reap(struct io *io, struct io_result *results, unsigned max, int64_t timeout_ns)
{
	struct uring *uring = of(io);
	const unsigned count = collect(uring, results, max);

	/* What was issued again must not wait for the next call. */
	if (io_uring_sq_ready(&uring->ring) > 0)
		(void)io_uring_submit(&uring->ring);
	if (count > 0 || timeout_ns == 0)
		return (int)count;
	return reap_waiting(uring, results, max, timeout_ns);
}

static void uring_close(struct io *io)
{
	struct uring *uring = of(io);

	io_uring_queue_exit(&uring->ring);
	io_unmap_buffers(io);
	free(uring);
}

static const struct io_operations uring_operations = {
	.close = uring_close,
	.write = uring_write,
	.sync = uring_sync,
	.reap = uring_reap,
};

/* The best that this kernel takes: 6.1, then 5.19, then any. */
static int open_ring(struct io_uring *ring)
{
	static const unsigned ladder[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
			IORING_SETUP_SUBMIT_ALL,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
		0,
	};
	int error = -EINVAL;

	for (size_t i = 0; i < COUNT_OF(ladder) && error == -EINVAL; i++)
		error = io_uring_queue_init(RING_ENTRIES, ring, ladder[i]);
	return error;
}

/* Some sandboxes let a ring be set up and refuse its use: better known now. */
static int try_ring(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int error;

	if (!(ring->features & IORING_FEAT_EXT_ARG))
		return -ENOSYS; /* before 5.11: waiting with a deadline would take timeout entries
				 */
	io_uring_prep_nop(io_uring_get_sqe(ring));
	do
		error = io_uring_submit_and_wait(ring, 1);
	while (error == -EINTR);
	if (error < 0)
		return error;
	error = io_uring_wait_cqe(ring, &cqe);
	if (!error)
		io_uring_cqe_seen(ring, cqe);
	return error;
}

/* Locked memory may be short (RLIMIT_MEMLOCK) or registering refused: works without, a bit slower.
 */
static bool register_buffers(struct uring *uring)
{
	struct iovec buffers[IO_BUFFERS];

	for (unsigned i = 0; i < IO_BUFFERS; i++)
		buffers[i] = (struct iovec){ .iov_base = io_buffer(&uring->io, i),
					     .iov_len = IO_BUFFER_SIZE };
	return io_uring_register_buffers(&uring->ring, buffers, IO_BUFFERS) == 0;
}

static int uring_init(struct uring *uring)
{
	int error = io_map_buffers(&uring->io);

	if (error)
		return error;
	error = open_ring(&uring->ring);
	if (error)
		goto unmap;
	error = try_ring(&uring->ring);
	if (error)
		goto exit_ring;
	(void)io_uring_ring_dontfork(&uring->ring);
	(void)io_uring_register_ring_fd(&uring->ring); /* saves a lookup for each enter */
	uring->registered = register_buffers(uring);
	return 0;
exit_ring:
	io_uring_queue_exit(&uring->ring);
unmap:
	io_unmap_buffers(&uring->io);
	return error;
}

int io_uring_open(struct io **ret)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	int error;

	if (!uring)
		return -ENOMEM;
	uring->io.operations = &uring_operations;
	uring->io.backend = IO_URING;
	for (unsigned i = 0; i < IO_OPERATIONS; i++) {
		uring->operations[i].next_free = uring->free;
		uring->free = &uring->operations[i];
	}
	error = uring_init(uring);
	if (error) {
		free(uring);
		return error;
	}
	*ret = &uring->io;
	return 0;
}
