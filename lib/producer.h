/*
 * producer.h - what binding.c and wait.c need of producer.c.
 */
#ifndef SHMLOG_LIB_PRODUCER_H
#define SHMLOG_LIB_PRODUCER_H

#include "binding.h"

/* Tell the log who pushes here: the first record of a binding. 0; -EAGAIN no room yet. */
int producer_tell_source(struct binding *binding);

/* The same for a new holder of lane 0. */
int producer_tell_shared_source(struct ring_map *map, struct shared_holder *holder);

/* A frame and what it returns to in one word, so that one store marks: a push from a signal handler
 * between two of them would leave its own return address beside our frame. Stacks lie below 2^48.
 */
enum { BUSY_RETURN_SHIFT = 48 };

static inline __attribute__((no_sanitize_address)) uint64_t busy_mark(uint64_t frame)
{
	return frame ^ (uint64_t)((const uintptr_t *)frame)[1] << BUSY_RETURN_SHIFT;
}

static inline void mark_busy(struct binding *binding, uintptr_t frame)
{
	binding->busy = busy_mark(frame);
	signal_fence();
}

static inline void unmark_busy(struct binding *binding)
{
	signal_fence();
	binding->busy = 0;
}

/* Is a push of this thread under way in @binding, below the signal handler that calls from @frame?
 */
bool producer_is_busy(const struct binding *binding, uintptr_t frame);

/* Abort the binding's open claim, if there is one. */
void producer_abort_claim(struct binding *binding);

/* The binding ends, or its thread has: settle what a push left half way in lane 0. */
void producer_settle(struct binding *binding);

/* One record on its way into the ring. */
struct push {
	const void *data;
	size_t size;
	uintptr_t frame; /* of the public function that was called                       */
	uint8_t level;
};

static inline __attribute__((always_inline)) uintptr_t this_frame(void)
{
#if defined(__x86_64__)
	return (uintptr_t)__builtin_dwarf_cfa() - 16; /* the same, but it costs no frame pointer */
#else
	return (uintptr_t)__builtin_frame_address(0);
#endif
}

/**
 * producer_attempt() - try once, with everything that a push may have to do first.
 * @ret_binding: the binding that was tried, also when the ring had no room.
 * @count: count what waiting can cure, too: no room, no lane.
 * Return: as shmlog_try_push_at().
 */
int producer_attempt(uintptr_t token, const struct push *push, bool count,
		     struct binding **ret_binding);

/* Count one dropped record; the next that fits is preceded by a GAP. */
void producer_drop(struct binding *binding, enum loss_reason reason);

/* The same for a thread that could bind nothing. */
void producer_drop_unbound(uintptr_t token, enum loss_reason reason);

#endif
