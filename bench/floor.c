/*
 * floor.c - the least that a push could cost. See floor.h.
 */
#include "floor.h"

#include <string.h>
#include <sys/mman.h>

#include "common.h"
#include "record_layout.h"
#include "ring_layout.h"

/* The size is a constant where this is inlined: the copy is as short as it can be. */
static inline __attribute__((always_inline)) void
copy_records(struct floor *floor, const void *payload, unsigned count, uint32_t size)
{
	const uint64_t step = align_up(sizeof(struct record_header) + size, BLOCK_SIZE);

	for (unsigned i = 0; i < count; i++) {
		const struct record_header header = { .length = size,
						      .kind = RECORD_DATA,
						      .level = 6,
						      .ticks = floor->is_stamped ? clock_counter()
										 : 0 };
		uint64_t offset = floor->position & (floor->size - 1);
		uint8_t *block;

		if (offset + step > floor->size) {
			floor->position += floor->size - offset;
			offset = 0;
		}
		block = floor->blocks + offset;
		memcpy(block, &header, sizeof(header));
		memcpy(block + sizeof(header), payload, size);
		floor->position += step;
	}
}

__attribute__((noinline)) void floor_burst(struct floor *floor, const void *payload, unsigned count)
{
	switch (floor->payload_size) {
	case 8:
		copy_records(floor, payload, count, 8);
		break;
	case 40:
		copy_records(floor, payload, count, 40);
		break;
	case 256:
		copy_records(floor, payload, count, 256);
		break;
	case 1024:
		copy_records(floor, payload, count, 1024);
		break;
	default:
		copy_records(floor, payload, count, floor->payload_size);
	}
}

static void *read_blocks(void *argument)
{
	struct floor *floor = argument;
	uint8_t block[BLOCK_SIZE];

	run_on(bench.consumer_cpu);
	for (;;) {
		(void)sem_wait(&floor->filled);
		if (floor->is_over)
			return NULL;
		/* At most one lap is there. */
		if (floor->position - floor->read_to > floor->size)
			floor->read_to = floor->position - floor->size;
		for (; floor->read_to < floor->position; floor->read_to += BLOCK_SIZE) {
			memcpy(block, floor->blocks + (floor->read_to & (floor->size - 1)),
			       BLOCK_SIZE);
			__asm__ volatile("" : : "r"(block) : "memory");
		}
		(void)sem_post(&floor->drained);
	}
}

void floor_open(struct floor *floor, size_t size, uint32_t payload_size, bool is_stamped)
{
	int r;

	*floor = (struct floor){ .size = size,
				 .payload_size = payload_size,
				 .is_stamped = is_stamped,
				 .blocks = shared_memory(size) };
	(void)sem_init(&floor->filled, 0, 0);
	(void)sem_init(&floor->drained, 0, 0);
	r = pthread_create(&floor->reader, NULL, read_blocks, floor);
	if (r)
		die("floor: thread", -r);
}

void floor_close(struct floor *floor)
{
	floor->is_over = true;
	(void)sem_post(&floor->filled);
	(void)pthread_join(floor->reader, NULL);
	(void)munmap(floor->blocks, floor->size);
}

void floor_drain(struct floor *floor)
{
	(void)sem_post(&floor->filled);
	while (sem_wait(&floor->drained) < 0)
		;
}
