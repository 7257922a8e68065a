/*
 * raw.h - what shmlog is compared with on the way to the disk; each is a program of its own.
 *
 * raw_write(): pages of 256 KiB, as many in flight as shmlog-writer has, through io_uring with
 * registered buffers, O_DIRECT where the file system takes it; no records, no checksums. Beside it,
 * on the other processor, somebody copies records as a producer does, for nobody.
 *
 * bare_ring(): one producer, one consumer, indices in shared memory, write(2) of all that is there,
 * fdatasync at the end. What is in the ring or the page cache when somebody dies is lost.
 */
#ifndef SHMLOG_BENCH_RAW_H
#define SHMLOG_BENCH_RAW_H

#include "base.h"

struct raw_result {
	double seconds; /* until all is synced                                               */
	double producer_cpu_s;
	double writer_cpu_s;
};

/* fio's figure for such pages on a file system, GB a second, where nobody copies; 0: no fio. */
double raw_fio(const char *directory, uint64_t bytes);

/* @bytes to a file in @directory, beside copies of @payload_size bytes into @lane_size. */
void raw_write(const char *directory, uint64_t bytes, uint32_t payload_size, uint64_t lane_size,
	       struct raw_result *ret);

/* @records of @payload_size bytes through a ring of @ring_size bytes. */
void bare_ring(const char *directory, uint64_t records, uint32_t payload_size, uint64_t ring_size,
	       struct raw_result *ret);

#endif
