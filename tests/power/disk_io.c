/*
 * disk_io.c - the back end of io.h over the traced disk: everything waits, and ends in any order.
 *
 * A reap that may not wait ends about half of what is under way, one that may wait at least one,
 * chosen by the seed. So writes overtake each other, and syncs overtake writes.
 */
#include <errno.h>
#include <stdlib.h>

#include "disk.h"
#include "io_backend.h"
#include "program.h"

struct waiting {
	bool is_sync;
	int fd;
	uint32_t index; /* of its event */
	uint64_t tag;
};

struct disk_io {
	struct io io; /* first */
	struct waiting waiting[IO_OPERATIONS];
	unsigned count;
};

static struct disk_io *current;
static uint64_t random_state;

void disk_io_seed(uint64_t seed)
{
	random_state = seed;
}

static struct disk_io *of(struct io *io)
{
	return CONTAINER_OF(io, struct disk_io, io);
}

static int disk_write(struct io *io, int fd, unsigned buffer_index, uint32_t size, uint64_t offset,
		      uint64_t tag)
{
	struct disk_io *disk = of(io);
	const uint32_t index = disk_begin_write(fd, io_buffer(io, buffer_index), size, offset);

	disk->waiting[disk->count++] = (struct waiting){ false, fd, index, tag };
	return 0;
}

static int disk_sync(struct io *io, int fd, uint64_t tag)
{
	struct disk_io *disk = of(io);

	disk->waiting[disk->count++] = (struct waiting){ true, fd, disk_begin_sync(fd), tag };
	return 0;
}

static struct io_result end_one(struct disk_io *disk)
{
	const unsigned which = random_below(&random_state, disk->count);
	const struct waiting ended = disk->waiting[which];

	if (ended.is_sync)
		disk_end_sync(ended.index);
	else
		disk_end_write(ended.fd, ended.index);
	disk->waiting[which] = disk->waiting[--disk->count];
	return (struct io_result){ .tag = ended.tag };
}

static int disk_reap(struct io *io, struct io_result *results, unsigned max, int64_t timeout_ns)
{
	struct disk_io *disk = of(io);
	unsigned taken = 0;

	if (timeout_ns != 0) {
		(void)sys_real.sleep(100 * (int64_t)NS_PER_US);
		results[taken++] = end_one(disk);
	}
	while (taken < max && disk->count > 0 && random_below(&random_state, 3) == 0)
		results[taken++] = end_one(disk);
	return (int)taken;
}

static void disk_close(struct io *io)
{
	io_unmap_buffers(io);
	current = NULL;
	free(of(io));
}

void disk_io_scatter(void)
{
	for (unsigned i = 0; current && i < current->count; i++) {
		const struct waiting *waiting = &current->waiting[i];

		if (!waiting->is_sync && random_below(&random_state, 2))
			disk_land(waiting->fd, waiting->index);
	}
}

void disk_io_forget(void)
{
	current = NULL;
}

static const struct io_operations disk_operations = {
	.close = disk_close,
	.write = disk_write,
	.sync = disk_sync,
	.reap = disk_reap,
};

int disk_open_io(enum io_choice choice, struct io **ret, const char **ret_why)
{
	struct disk_io *disk = calloc(1, sizeof(*disk));

	(void)choice;
	if (!disk || io_map_buffers(&disk->io) < 0)
		broken("out of memory");
	disk->io.operations = &disk_operations;
	disk->io.backend = IO_PWRITE;
	current = disk;
	*ret = &disk->io;
	*ret_why = NULL;
	return 0;
}
