/*
 * floor.h - the least that a push could cost: read the counter, copy header and record into a ring.
 *
 * A plain buffer of the lane's size, walked in blocks of 64 bytes as a lane is. Between two bursts
 * a thread on the writer's processor reads it, as the writer reads a lane: both find their lines
 * equally cold. Nothing is published, nothing can be full.
 */
#ifndef SHMLOG_BENCH_FLOOR_H
#define SHMLOG_BENCH_FLOOR_H

#include <pthread.h>
#include <semaphore.h>

#include "base.h"

struct floor {
	uint8_t *blocks;
	size_t size; /* of the buffer                                                        */
	uint32_t payload_size;
	bool is_stamped; /* false: without the counter, where producers read no clock either  */
	uint64_t position;
	uint64_t read_to;
	pthread_t reader;
	sem_t filled;
	sem_t drained;
	bool is_over;
};

void floor_open(struct floor *floor, size_t size, uint32_t payload_size, bool is_stamped);
void floor_close(struct floor *floor);

/* Copy @count records. */
void floor_burst(struct floor *floor, const void *payload, unsigned count);

/* The reader reads what was copied. */
void floor_drain(struct floor *floor);

#endif
