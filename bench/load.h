/*
 * load.h - one run: producers push so many records as fast as there is room, until all is durable.
 *
 * Producers are processes on bench.producer_cpu that wait for room (shmlog_push_wait); the writer
 * runs on bench.consumer_cpu. The log is read back, counted and removed.
 */
#ifndef SHMLOG_BENCH_LOAD_H
#define SHMLOG_BENCH_LOAD_H

#include "common.h"
#include "samples.h"

enum { LOAD_PRODUCERS_MAX = 32, LOAD_SIZE_MAX = 16 * 1024 };

struct load {
	uint32_t size; /* of a record, LOAD_SIZE_MAX at most                                 */
	unsigned producers;
	unsigned lane_mib;
	const char *io;   /* --io                                                            */
	bool in_memory;   /* the log, in /dev/shm                                            */
	uint64_t records; /* of all producers                                                */
};

struct load_result {
	double seconds;        /* until everything is durable                                */
	double producer_cpu_s; /* of all                                                     */
	double writer_cpu_s;   /* of its life, sealing included                              */
	uint64_t bytes;        /* of the log                                                 */
	bool is_sound;         /* the log holds what was pushed                              */
};

/* Where its log lies. */
const char *load_directory(const struct load *load);

/* @latencies: NULL; or in shared memory, reserved: a further, slow producer takes the time from
 * each of its pushes until the record is written, in us, 20 us at a time. */
void run_load(const struct load *load, struct samples *latencies, struct load_result *ret);

#endif
