/*
 * raw.c - what shmlog is compared with on the way to the disk. See raw.h.
 */
#include "raw.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "atomic.h"
#include "common.h"
#include "record_layout.h"

#include <liburing.h> /* last: a kernel header of its makes BLOCK_SIZE a macro */

enum {
	PAGES = 16, /* in flight */
	PAGE_BYTES = 256 * 1024,
	HUGE_PAGE = 2 * 1024 * 1024,
	FILE_AHEAD = 256 * 1024 * 1024, /* preallocated at a time                            */
	WRITE_MAX = 1024 * 1024,        /* of the bare ring, at a time                       */
	GATHER = 64 * 1024,             /* it waits for so much, or the end                  */
	NAP_US = 50,
	PAYLOAD_MAX = 16 * 1024,
};

static const uint8_t payload[PAYLOAD_MAX];

/* In shared memory. The end is when all is synced: to close a file that has no name any more is to
 * free it, which takes its time and is nobody's write. */
struct run {
	struct start_line line;
	uint64_t ended_ns; /* CLOCK_MONOTONIC */
};

static int sync_and_stop(int fd, struct run *run)
{
	const int r = fdatasync(fd);

	run->ended_ns = clock_monotonic_ns();
	return r;
}

/* Both sides have ended; began_ns: as start_line_go() said. */
static double seconds_of(const struct run *run, uint64_t began_ns)
{
	return (double)(run->ended_ns - began_ns) / 1e9;
}

static int open_file(const char *directory, int flags)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/raw", directory);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | flags, 0600);
	if (fd < 0 && flags)
		return open_file(directory, 0);
	if (fd < 0)
		die(path, -errno);
	(void)unlink(path);
	return fd;
}

/* ---- pages, nothing else ---- */

struct pages {
	struct io_uring ring;
	uint8_t *buffers;
	int fd;
	uint64_t submitted;
	uint64_t allocated;
};

static void submit(struct pages *pages, unsigned buffer)
{
	uint8_t *data = pages->buffers + (size_t)buffer * PAGE_BYTES;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&pages->ring);

	if (pages->submitted >= pages->allocated) {
		(void)fallocate(pages->fd, 0, (off_t)pages->allocated, FILE_AHEAD);
		pages->allocated += FILE_AHEAD;
	}
	io_uring_prep_write_fixed(sqe, pages->fd, data, PAGE_BYTES, pages->submitted, (int)buffer);
	io_uring_sqe_set_data64(sqe, buffer);
	pages->submitted += PAGE_BYTES;
}

/* The number of the buffer that is free again. */
static unsigned await_page(struct pages *pages)
{
	struct io_uring_cqe *cqe;
	unsigned buffer;

	if (io_uring_submit_and_wait(&pages->ring, 1) < 0 ||
	    io_uring_wait_cqe(&pages->ring, &cqe) < 0)
		die("raw writer", -EIO);
	if (cqe->res != PAGE_BYTES)
		die("raw writer", cqe->res < 0 ? cqe->res : -EIO);
	buffer = (unsigned)cqe->user_data;
	io_uring_cqe_seen(&pages->ring, cqe);
	return buffer;
}

static void open_pages(struct pages *pages, const char *directory)
{
	struct iovec buffers[PAGES];
	int r;

	*pages = (struct pages){ .fd = open_file(directory, O_DIRECT),
				 .buffers = aligned_alloc(HUGE_PAGE, (size_t)PAGES * PAGE_BYTES) };
	if (!pages->buffers)
		die("memory", -ENOMEM);
	(void)madvise(pages->buffers, (size_t)PAGES * PAGE_BYTES, MADV_HUGEPAGE); /* as ours */
	memset(pages->buffers, 'x', (size_t)PAGES * PAGE_BYTES);
	for (size_t i = 0; i < PAGES; i++)
		buffers[i] = (struct iovec){ pages->buffers + i * PAGE_BYTES, PAGE_BYTES };
	r = io_uring_queue_init(PAGES, &pages->ring,
				IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	if (r == 0)
		r = io_uring_register_buffers(&pages->ring, buffers, PAGES);
	if (r < 0)
		die("io_uring", r);
}

static _Noreturn void write_pages(const char *directory, uint64_t bytes, struct run *run)
{
	struct pages pages;

	open_pages(&pages, directory);
	start_line_wait(&run->line);
	for (unsigned i = 0; i < PAGES && pages.submitted < bytes; i++)
		submit(&pages, i);
	for (uint64_t done = 0; done < bytes; done += PAGE_BYTES) {
		const unsigned buffer = await_page(&pages);

		if (pages.submitted < bytes)
			submit(&pages, buffer);
	}
	_exit(sync_and_stop(pages.fd, run) < 0);
}

/* As much work for the other processor and the memory as a producer makes; until it is killed. */
static _Noreturn void copy_for_nobody(uint32_t payload_size, uint64_t lane_size,
				      struct start_line *line)
{
	uint8_t *blocks = shared_memory(lane_size + PAYLOAD_MAX + sizeof(struct record_header));
	struct record_header header = { .length = payload_size, .kind = RECORD_DATA };
	const uint64_t step = align_up(sizeof(header) + payload_size, 64);

	start_line_wait(line);
	for (uint64_t offset = 0;; offset = (offset + step) & (lane_size - 1)) {
		header.ticks = clock_counter();
		memcpy(blocks + offset, &header, sizeof(header));
		memcpy(blocks + offset + sizeof(header), payload, payload_size);
		__asm__ volatile("" : : : "memory");
	}
}

static void must_end_well(const char *what, int status)
{
	if (status && !bench_is_over())
		die(what, -EIO);
}

void raw_write(const char *directory, uint64_t bytes, uint32_t payload_size, uint64_t lane_size,
	       struct raw_result *ret)
{
	struct run *run = shared_memory(sizeof(*run));
	pid_t copier, writer;
	uint64_t began;

	start_line_init(&run->line);
	copier = bench_fork(bench.producer_cpu);
	if (copier == 0)
		copy_for_nobody(payload_size, lane_size, &run->line);
	writer = bench_fork(bench.consumer_cpu);
	if (writer == 0)
		write_pages(directory, bytes, run);
	began = start_line_go(&run->line, 2);
	must_end_well("raw writer", bench_wait(writer, 0, &ret->writer_cpu_s));
	ret->seconds = seconds_of(run, began);
	(void)bench_wait(copier, SIGKILL, &ret->producer_cpu_s);
	(void)munmap(run, sizeof(*run));
}

/* ---- the same by fio ---- */

/* Its terse format, version 3: fields between semicolons; KiB written a second. */
enum { FIO_WRITE_KIB_S = 48 };

static double field_of(const char *line, unsigned number)
{
	for (unsigned i = 1; i < number && line; i++) {
		line = strchr(line, ';');
		line += line != NULL;
	}
	return line ? strtod(line, NULL) : 0;
}

double raw_fio(const char *directory, uint64_t bytes)
{
	char command[512], line[4096] = "";
	FILE *output;

	(void)snprintf(
		command, sizeof(command),
		"command -v fio >/dev/null && exec fio --output-format=terse --terse-version=3 "
		"--name=pages --filename='%s/fio' --unlink=1 --size=%llu --rw=write --bs=%d "
		"--ioengine=io_uring --iodepth=%d --direct=1 --fallocate=posix --end_fsync=1",
		directory, (unsigned long long)bytes, PAGE_BYTES, PAGES);
	output = popen(command, "r");
	if (!output)
		return 0;
	if (!fgets(line, sizeof(line), output))
		line[0] = '\0';
	(void)pclose(output);
	return field_of(line, FIO_WRITE_KIB_S) * 1024 / 1e9;
}

/* ---- a bare ring ---- */

struct bare {
	struct run run;
	_Alignas(128) struct shared_u64 head; /* the producer's                              */
	_Alignas(128) struct shared_u64 tail; /* the consumer's                              */
	_Alignas(128) struct shared_u64 is_over;
	uint64_t size; /* a multiple of a record's                                           */
	uint8_t *bytes;
};

static _Noreturn void fill(struct bare *bare, uint64_t records, uint32_t payload_size)
{
	struct record_header header = { .length = payload_size, .kind = RECORD_DATA };
	const uint64_t step = align_up(sizeof(header) + payload_size, 8);
	uint64_t head = 0, tail = 0, offset = 0;

	start_line_wait(&bare->run.line);
	for (uint64_t i = 0; i < records; i++) {
		uint8_t *at = bare->bytes + offset;

		while (head + step - tail > bare->size) {
			tail = load_acquire(&bare->tail);
			if (head + step - tail > bare->size)
				nap_us(NAP_US);
		}
		header.ticks = clock_counter();
		memcpy(at, &header, sizeof(header));
		memcpy(at + sizeof(header), payload, payload_size);
		head += step;
		offset = offset + step == bare->size ? 0 : offset + step;
		store_release(&bare->head, head);
	}
	store_release(&bare->is_over, 1);
	_exit(0);
}

static void write_all(int fd, const uint8_t *bytes, size_t size)
{
	while (size) {
		const ssize_t written = write(fd, bytes, size);

		if (written < 0)
			die("write", -errno);
		bytes += written;
		size -= (size_t)written;
	}
}

static _Noreturn void empty(struct bare *bare, const char *directory)
{
	const int fd = open_file(directory, 0);
	uint64_t tail = 0;

	start_line_wait(&bare->run.line);
	for (;;) {
		const bool is_over = load_acquire(&bare->is_over);
		const uint64_t there = load_acquire(&bare->head) - tail;
		const uint64_t size =
			min_u64(min_u64(there, bare->size - tail % bare->size), WRITE_MAX);

		if (there == 0 && is_over)
			break;
		if (there < GATHER && !is_over) {
			nap_us(NAP_US);
			continue;
		}
		write_all(fd, bare->bytes + tail % bare->size, size);
		tail += size;
		store_release(&bare->tail, tail);
	}
	_exit(sync_and_stop(fd, &bare->run) < 0);
}

void bare_ring(const char *directory, uint64_t records, uint32_t payload_size, uint64_t ring_size,
	       struct raw_result *ret)
{
	const uint64_t step = align_up(sizeof(struct record_header) + payload_size, 8);
	struct bare *bare = shared_memory(sizeof(*bare));
	pid_t producer, consumer;
	uint64_t began;

	start_line_init(&bare->run.line);
	bare->size = ring_size / step * step;
	bare->bytes = shared_memory(ring_size);
	producer = bench_fork(bench.producer_cpu);
	if (producer == 0)
		fill(bare, records, payload_size);
	consumer = bench_fork(bench.consumer_cpu);
	if (consumer == 0)
		empty(bare, directory);
	began = start_line_go(&bare->run.line, 2);
	must_end_well("bare ring", bench_wait(producer, 0, &ret->producer_cpu_s));
	must_end_well("bare ring", bench_wait(consumer, 0, &ret->writer_cpu_s));
	ret->seconds = seconds_of(&bare->run, began);
	(void)munmap(bare->bytes, ring_size);
	(void)munmap(bare, sizeof(*bare));
}
