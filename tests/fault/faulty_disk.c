/*
 * faulty_disk.c - a disk under the test's control. See faulty_disk.h.
 *
 * An operation is carried out when its answer is delivered: what was submitted and not reaped has
 * not reached the disk when the process is killed. The judgement of short and repeated writes is
 * the product's own (io_backend.h).
 */
#include "faulty_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "io_backend.h"
#include "plan.h"
#include "program.h"

struct operation {
	bool is_sync;
	int fd;
	unsigned buffer_index;
	uint32_t size;
	uint64_t offset;
	uint64_t tag;
};

struct disk {
	struct io io; /* first */
	bool is_shuffled;
	uint64_t random;
	struct operation waiting[IO_OPERATIONS];
	unsigned count;
};

uint64_t faulty_disk_seed = 1;

static struct disk *of(struct io *io)
{
	return CONTAINER_OF(io, struct disk, io);
}

static uint64_t draw(struct disk *disk)
{
	disk->random ^= disk->random << 13;
	disk->random ^= disk->random >> 7;
	disk->random ^= disk->random << 17;
	return disk->random;
}

static int submit(struct io *io, const struct operation *operation)
{
	struct disk *disk = of(io);
	const int struck = plan_strike(CALL_IO_SUBMIT);

	if (struck)
		return struck;
	assert(disk->count < IO_OPERATIONS);
	disk->waiting[disk->count] = *operation;
	/* As the kernel: what is under way holds the file, whoever closes it. */
	disk->waiting[disk->count].fd = fcntl(operation->fd, F_DUPFD_CLOEXEC, 0);
	if (disk->waiting[disk->count].fd < 0)
		broken("cannot duplicate a descriptor");
	disk->count++;
	return 0;
}

static int disk_write(struct io *io, int fd, unsigned buffer_index, uint32_t size, uint64_t offset,
		      uint64_t tag)
{
	const struct operation operation = {
		.fd = fd,
		.buffer_index = buffer_index,
		.size = size,
		.offset = offset,
		.tag = tag,
	};

	return submit(io, &operation);
}

static int disk_sync(struct io *io, int fd, uint64_t tag)
{
	const struct operation operation = { .is_sync = true, .fd = fd, .tag = tag };

	return submit(io, &operation);
}

/* ---- carrying out ---- */

static int answer_to_write(int fd, const uint8_t *data, uint32_t size, uint64_t offset)
{
	const int struck = plan_strike(CALL_IO_WRITE);
	uint32_t wanted = size;
	ssize_t r;

	if (struck < 0)
		return struck;
	if (struck == FAULT_SHORT && size > IO_ALIGN)
		wanted = size / 2 + 512; /* in the middle of a block */
	r = pwrite(fd, data, wanted, (off_t)offset);
	if (r > 0)
		plan_written(fd, offset, (uint64_t)r);
	return r < 0 ? -errno : (int)r;
}

static int carry_out_write(struct disk *disk, const struct operation *operation)
{
	const uint8_t *data = io_buffer(&disk->io, operation->buffer_index);
	struct io_progress progress = { .size = operation->size };
	int error = 0;
	int answer;

	do
		answer = answer_to_write(operation->fd, data + progress.done,
					 operation->size - progress.done,
					 operation->offset + progress.done);
	while (io_progress_step(&progress, answer, &error) == IO_STEP_AGAIN);
	return error;
}

static int carry_out_sync(const struct operation *operation)
{
	unsigned tries = 0;
	int error = 0;
	int answer;

	do {
		const int struck = plan_strike(CALL_IO_SYNC);

		answer = struck ? struck : fdatasync(operation->fd) < 0 ? -errno : 0;
		plan_synced(operation->fd, answer);
	} while (io_sync_step(&tries, answer, &error) == IO_STEP_AGAIN);
	return error;
}

static void deliver(struct disk *disk, unsigned index, struct io_result *ret)
{
	const struct operation operation = disk->waiting[index];

	disk->count--;
	for (unsigned i = index; i < disk->count; i++)
		disk->waiting[i] = disk->waiting[i + 1];
	ret->tag = operation.tag;
	ret->error =
		operation.is_sync ? carry_out_sync(&operation) : carry_out_write(disk, &operation);
	(void)close(operation.fd);
}

static void nap(int64_t timeout_ns)
{
	const int64_t ns = timeout_ns < 0 || timeout_ns > 100000 ? 100000 : timeout_ns;
	const struct timespec time = { .tv_nsec = ns };

	(void)nanosleep(&time, NULL);
}

/* Whoever waits gets an answer, whoever only looks has to be lucky. */
static unsigned how_many(struct disk *disk, unsigned max, int64_t timeout_ns)
{
	unsigned count = disk->count < max ? disk->count : max;

	if (!disk->is_shuffled || count == 0)
		return count;
	count = (unsigned)(draw(disk) % (count + 1));
	if (count > 0 || timeout_ns == 0)
		return count;
	nap(timeout_ns);
	return 1;
}

static int disk_reap(struct io *io, struct io_result *results, unsigned max, int64_t timeout_ns)
{
	struct disk *disk = of(io);
	const int struck = plan_strike(CALL_IO_REAP);
	unsigned count;

	if (struck) {
		nap(timeout_ns);
		return struck;
	}
	count = how_many(disk, max, timeout_ns);
	for (unsigned i = 0; i < count; i++)
		deliver(disk, disk->is_shuffled ? (unsigned)(draw(disk) % disk->count) : 0,
			&results[i]);
	return (int)count;
}

/* ---- opening ---- */

static void disk_close(struct io *io)
{
	io_unmap_buffers(io);
	free(of(io));
}

static const struct io_operations disk_operations = {
	.close = disk_close,
	.write = disk_write,
	.sync = disk_sync,
	.reap = disk_reap,
};

static int open_disk(bool is_shuffled, struct io **ret)
{
	const int struck = plan_strike(CALL_IO_OPEN);
	struct disk *disk;
	int r;

	if (struck)
		return struck;
	disk = calloc(1, sizeof(*disk));
	if (!disk)
		return -ENOMEM;
	disk->io.operations = &disk_operations;
	disk->io.backend = is_shuffled ? IO_URING : IO_PWRITE; /* also: direct I/O */
	disk->is_shuffled = is_shuffled;
	disk->random = faulty_disk_seed;
	r = io_map_buffers(&disk->io);
	if (r < 0) {
		free(disk);
		return r;
	}
	*ret = &disk->io;
	return 0;
}

int faulty_disk_in_order(enum io_choice choice, struct io **ret, const char **ret_why)
{
	(void)choice;
	*ret_why = NULL;
	return open_disk(false, ret);
}

int faulty_disk_shuffled(enum io_choice choice, struct io **ret, const char **ret_why)
{
	(void)choice;
	*ret_why = NULL;
	return open_disk(true, ret);
}

int faulty_disk_real(enum io_choice choice, struct io **ret, const char **ret_why)
{
	const int struck = plan_strike(CALL_IO_OPEN);

	return struck ? struck : io_open(choice, ret, ret_why);
}
