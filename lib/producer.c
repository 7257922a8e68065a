/*
 * producer.c - push, claim, commit, abort: what shmlog.h promises about records.
 *
 * The fast path (try_push) is a short record, an own lane and known room: compare, copy, one
 * release store; push_long() is the same for any size. All else is producer_attempt(): bind, renew,
 * tell source and gaps, pad, look at the writer's progress, drop.
 *
 * I1. A push or claim marks its binding busy before it looks at the position and unmarks it after;
 *     a push from a signal handler that finds it marked is a counted drop.
 * I2. A drop is counted before the push returns; the next record that fits is preceded by a GAP
 *     with all drops that no GAP has told.
 * I3. limit never passes the lane's end nor the last seen released + N: below it, a record fits,
 *     is contiguous, and lies in the lap of short_word.
 */
#include "producer.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

/* ---- room in an own lane ---- */

static uint64_t lap_end(const struct lane *lane, uint64_t position)
{
	return (position | (lane->block_count - 1)) + 1;
}

static void set_limit(struct binding *binding)
{
	const uint64_t position = load_relaxed(&binding->position);
	const uint64_t bound = min_u64(binding->released + binding->lane.block_count,
				       lap_end(&binding->lane, position));

	binding->limit = min_u64(bound, binding->look_at);
	binding->short_limit = binding->clock == RING_CLOCK_MONOTONIC ? 0 : binding->limit;
	binding->short_word = ring_ready_word(&binding->lane, position, 1, 0);
}

/* Look at the writer's progress; ask for it where a quarter of the lane or more waits. */
static void look(struct binding *binding)
{
	const uint64_t position = load_relaxed(&binding->position);
	const uint32_t blocks = binding->lane.block_count;

	binding->released = load_acquire(&binding->status->released); /* MO reuse:B <- release:A */
	binding->look_at = position + blocks / 2;
	if (position - binding->released >= blocks / 4)
		map_wake_writer(binding->map);
}

static bool is_quarantined(const struct binding *binding)
{
	return load_acquire_u32(&binding->status->quarantine) !=
	       0; /* MO quarantine:B <- quarantine:A */
}

/* None in a lane that is set aside: what is published there may never be drained. */
static bool has_room(struct binding *binding, uint64_t end)
{
	const uint64_t blocks = binding->lane.block_count;

	if (end - binding->released > blocks || end > binding->look_at) {
		look(binding);
		if (is_quarantined(binding))
			return false;
	}
	return end - binding->released <= blocks;
}

/* Where a record of @blocks would begin: behind the lane's end if it does not fit before it. */
static uint64_t place(const struct lane *lane, uint64_t position, uint32_t blocks)
{
	const uint64_t end = lap_end(lane, position);

	return position + blocks > end ? end : position;
}

/* Padding goes in as soon as it fits, even if the record then does not: else a lane that is full
 * up to its end could never take a record larger than the rest. */
static int pad(struct binding *binding, uint32_t blocks)
{
	const uint64_t position = load_relaxed(&binding->position);
	const uint64_t start = place(&binding->lane, position, blocks);

	if (start == position)
		return 0;
	if (!has_room(binding, start))
		return -EAGAIN;
	ring_skip(&binding->lane, position, (uint32_t)(start - position));
	store_relaxed(&binding->position, start);
	return 0;
}

/* Room for @blocks at the binding's position, padded there. 0 or -EAGAIN. */
static int reserve_own(struct binding *binding, uint32_t blocks)
{
	int r = pad(binding, blocks);

	if (r == 0 && !has_room(binding, load_relaxed(&binding->position) + blocks))
		r = -EAGAIN;
	return r;
}

static void publish_own(struct binding *binding, const struct record_header *header,
			const void *payload)
{
	const uint64_t position = load_relaxed(&binding->position);
	const uint32_t blocks = record_blocks(header->length);

	ring_fill(&binding->lane, position, header, payload);
	ring_publish(&binding->lane, position, blocks, 0);
	store_relaxed(&binding->position, position + blocks);
}

static int push_own(struct binding *binding, const struct record_header *header,
		    const void *payload)
{
	const int r = reserve_own(binding, record_blocks(header->length));

	if (r == 0)
		publish_own(binding, header, payload);
	return r;
}

/* Payload that shares its header's block: such a record is one block and one word. */
enum { SHORT_MAX = BLOCK_SIZE - sizeof(struct record_header) };

/* Stores wait for their lines in order, and few fit into the queue: so lines are asked for ahead
 * of time, and short payload is copied in few pieces, without a call. */
enum {
	BLOCKS_AHEAD = 16,
	WORDS_AHEAD = 32,
};

/* Pieces of sizes that the compiler knows; they overlap. */
static inline __attribute__((always_inline)) void copy_short(uint8_t *to, const uint8_t *from,
							     size_t size)
{
	if (size > 32) {
		memcpy(to, from, 32);
		memcpy(to + size - 16, from + size - 16, 16);
	} else if (size >= 16) {
		memcpy(to, from, 16);
		memcpy(to + size - 16, from + size - 16, 16);
	} else if (size >= 8) {
		memcpy(to, from, 8);
		memcpy(to + size - 8, from + size - 8, 8);
	} else {
		for (size_t i = 0; i < size; i++)
			to[i] = from[i];
	}
}

/* A record of one block. */
static inline __attribute__((always_inline)) void fill_short(const struct lane *lane,
							     uint64_t position,
							     const struct record_header *header,
							     const void *payload)
{
	uint8_t *block = lane_block(lane, position);

	prefetch_for_store(block + (size_t)BLOCKS_AHEAD * BLOCK_SIZE);
	prefetch_for_store(lane_word(lane, position) + WORDS_AHEAD);
	memcpy(block, header, sizeof(*header));
	copy_short(block + sizeof(*header), payload, header->length);
}

/* ---- lane 0 ---- */

static inline int push_lane0(const struct shared_lane *shared, const struct record_header *header,
			     const void *payload, uint64_t *ret_end)
{
	const uint32_t blocks = record_blocks(header->length);
	struct record_header stamped = *header;
	uint64_t position, ticks;
	const int r = ring_claim_shared(shared, blocks, &position, &ticks);

	if (r < 0)
		return r;
	stamped.ticks = ticks;
	if (blocks == 1)
		fill_short(&shared->lane, position, &stamped, payload);
	else
		ring_fill(&shared->lane, position, &stamped, payload);
	ring_publish(&shared->lane, position, blocks, shared->owner);
	*ret_end = position + blocks;
	return 0;
}

static struct shared_lane shared_lane(const struct ring_map *map, const struct lane *lane,
				      struct lane_page *page, uint32_t owner)
{
	return (struct shared_lane){
		.lane = *lane,
		.released = &map_lane_status(map, 0)->released,
		.tail_hint = &page->tail_hint,
		.owner = owner,
		.clock = map->segment.geometry.clock,
	};
}

static inline int push_shared(struct binding *binding, const struct record_header *header,
			      const void *payload)
{
	struct shared_lane shared =
		shared_lane(binding->map, &binding->lane, binding->page, binding->owner);
	uint64_t end;
	int r;

	shared.intent = &binding->intent;
	r = push_lane0(&shared, header, payload, &end);
	if (r == 0)
		store_relaxed(&binding->position, end);
	else
		map_wake_writer(binding->map);
	return r;
}

static bool is_own(const struct binding *binding)
{
	return binding->base != NULL;
}

static int push_any(struct binding *binding, struct record_header *header, const void *payload)
{
	if (!is_own(binding))
		return push_shared(binding, header, payload);
	header->ticks = clock_stamp(binding->clock);
	return push_own(binding, header, payload);
}

/* ---- SOURCE ---- */

static void make_source(struct source_payload *source, const struct producer_line *line,
			const uint64_t drops[LOSS_REASONS])
{
	*source = (struct source_payload){ .pid = line->pid,
					   .tid = line->tid,
					   .start_time = line->start_time };
	memcpy(source->drops, drops, sizeof(source->drops));
	memcpy(source->name, line->name, sizeof(source->name));
}

static const struct record_header source_header = { .length = sizeof(struct source_payload),
						    .kind = RECORD_SOURCE };

int producer_tell_source(struct binding *binding)
{
	struct record_header header = source_header;
	struct source_payload source;
	int r;

	make_source(&source, binding->line, binding->drops_before);
	r = push_any(binding, &header, &source);
	binding->is_source_told = r == 0;
	return r;
}

int producer_tell_shared_source(struct ring_map *map, struct shared_holder *holder)
{
	const struct shared_lane shared =
		shared_lane(map, &holder->lane, holder->page, holder->owner);
	struct record_header header = source_header;
	struct source_payload source;
	uint64_t end;
	int r;

	make_source(&source, holder->line, holder->drops_before);
	r = push_lane0(&shared, &header, &source, &end);
	if (r < 0)
		map_wake_writer(map);
	return r;
}

/* ---- drops and GAPs ---- */

void producer_drop(struct binding *binding, enum loss_reason reason)
{
	(void)add_release(&binding->line->drops[reason], 1); /* MO drop:A -> drop:B */
	(void)add_relaxed(&binding->map->process->drops[reason], 1);
	binding->pending = 1;
}

void producer_drop_unbound(uintptr_t token, enum loss_reason reason)
{
	struct ring_map *map = attachment_acquire(token);

	if (!map)
		return;
	(void)add_relaxed(&map->doorbell->drops[reason], 1);
	(void)add_relaxed(&map->process->drops[reason], 1);
	attachment_release(map);
}

/* What no GAP has told yet; told by now, unless gap_take_back(). In lane 0 other threads of the
 * handle tell the same counters: whoever swaps first tells. */
static uint64_t gap_take(struct binding *binding, struct gap_payload *ret)
{
	struct shared_holder *holder = &binding->map->process->holder;
	uint64_t total = 0;

	for (size_t i = 0; i < LOSS_REASONS; i++) {
		const uint64_t drops = load_relaxed(&binding->line->drops[i]);
		uint64_t told = binding->told[i];

		if (is_own(binding)) {
			binding->told[i] = drops;
		} else {
			told = load_relaxed(&holder->told[i]);
			if (drops < told || !swap_relaxed(&holder->told[i], told, drops))
				told = drops;
		}
		ret->lost[i] = drops - told;
		total += ret->lost[i];
	}
	return total;
}

static void gap_take_back(struct binding *binding, const struct gap_payload *gap)
{
	struct shared_holder *holder = &binding->map->process->holder;

	for (size_t i = 0; i < LOSS_REASONS; i++) {
		if (is_own(binding))
			binding->told[i] -= gap->lost[i];
		else
			(void)add_relaxed(&holder->told[i], -gap->lost[i]);
	}
	binding->pending = 1;
}

/* Does a GAP fit, and a record of @blocks behind it? An empty lane that is too small for both takes
 * the record alone (*ret_skip_gap): the GAP comes with a later one. */
static int check_gap_room(struct binding *binding, uint32_t blocks, bool *ret_skip_gap)
{
	const struct lane *lane = &binding->lane;
	const uint32_t gap_blocks = record_blocks(sizeof(struct gap_payload));
	const uint64_t position = load_relaxed(&binding->position);
	const uint64_t gap_end = place(lane, position, gap_blocks) + gap_blocks;
	const uint64_t end = place(lane, gap_end, blocks) + blocks;

	*ret_skip_gap = false;
	if (!is_own(binding) || has_room(binding, end))
		return 0;
	*ret_skip_gap = binding->released == position && !is_quarantined(binding);
	return *ret_skip_gap ? 0 : -EAGAIN;
}

/* The GAP that precedes a record of @blocks. 0, also if there is nothing to tell; -EAGAIN. */
static int tell_gap(struct binding *binding, uint32_t blocks)
{
	struct record_header header = { .length = sizeof(struct gap_payload), .kind = RECORD_GAP };
	struct gap_payload gap;
	bool skip_gap;
	int r = check_gap_room(binding, blocks, &skip_gap);

	if (r < 0 || skip_gap)
		return r;
	binding->pending = 0;
	signal_fence();
	if (gap_take(binding, &gap) == 0)
		return 0;
	r = push_any(binding, &header, &gap);
	if (r < 0)
		gap_take_back(binding, &gap);
	return r;
}

/* ---- one push ---- */

/* What must lie in the lane before a record of @blocks may. */
static int tell_first(struct binding *binding, uint32_t blocks)
{
	int r = 0;

	if (!binding->is_source_told)
		r = producer_tell_source(binding);
	if (r == 0 && binding->pending)
		r = tell_gap(binding, blocks);
	return r;
}

static int push_slowly(struct binding *binding, const struct push *push)
{
	struct record_header header = { .length = (uint32_t)push->size,
					.kind = RECORD_DATA,
					.level = push->level };
	int r = tell_first(binding, record_blocks(push->size));

	if (r == 0)
		r = push_any(binding, &header, push->data);
	if (is_own(binding))
		set_limit(binding);
	return r;
}

enum { LOOK_BACK_MAX = 1024 * 1024 }; /* bytes of stack; further away it may be no stack any more */

static uint64_t busy_frame(const struct binding *binding)
{
	return binding->busy & ((UINT64_C(1) << BUSY_RETURN_SHIFT) - 1);
}

/* Has somebody else's call taken the place of this frame? Never while it lives. The compilers of
 * these machines keep the return address beside the frame's address. */
static bool frame_is_overwritten(const struct binding *binding)
{
#if defined(__x86_64__) || defined(__aarch64__)
	return busy_mark(busy_frame(binding)) != binding->busy;
#else
	(void)binding;
	return false;
#endif
}

/*
 * Is the push that marked the binding still under way, below us? A handler that left it by
 * siglongjmp comes back in an older frame, or from a signal stack to the thread's own; or in a
 * deeper one, when other calls have been made over the old push's place.
 */
bool producer_is_busy(const struct binding *binding, uintptr_t frame)
{
	const uintptr_t outer = (uintptr_t)busy_frame(binding);
	const int kept = errno;
	stack_t stack = { 0 };
	bool outer_on_stack;

	if (outer == 0)
		return false;
	(void)sigaltstack(NULL, &stack);
	errno = kept;
	outer_on_stack = outer - (uintptr_t)stack.ss_sp < stack.ss_size;
	if (!!(stack.ss_flags & SS_ONSTACK) != outer_on_stack)
		return !outer_on_stack;
	return frame < outer && (outer - frame > LOOK_BACK_MAX || !frame_is_overwritten(binding));
}

/* The end of an own lane in which a push was left half way. An open claim is still being filled:
 * it stays, and is the only one then. Else one may have been left before its caller knew of it. */
static int find_frontier(const struct binding *binding, uint64_t *ret_frontier)
{
	struct ring_survey survey;
	uint64_t data;

	if (!binding->claim.open)
		return ring_bury(&binding->lane, &binding->status->released, 0, ret_frontier,
				 &data);
	ring_survey(&binding->lane, binding->status, &survey);
	*ret_frontier = survey.frontier;
	return survey.corrupt ? -EUCLEAN : 0;
}

/* ---- a push that was left half way in lane 0 ---- */

/* Somebody else of the handle who has said that he claims there, and is not known to have done. */
static bool may_be_anothers(const void *argument)
{
	const struct binding *left = argument;
	const struct binding *bindings = left->map->process->bindings;

	for (size_t i = 0; i < BINDINGS_MAX; i++) {
		if (!binding_was_used(&bindings[i]))
			break;
		if (&bindings[i] != left && /* MO intent:B <- intent:A */
		    load_acquire(&bindings[i].intent) == left->left)
			return true;
	}
	return false;
}

/* False: the claim there may be another thread's, who is between saying and claiming; or who left
 * his push, too, just there: he settles it. */
static bool settle_left(struct binding *binding)
{
	if (binding->left != 0 && !ring_bury_at(&binding->lane, binding->left - 1, binding->owner,
						may_be_anothers, binding))
		return false;
	binding->left = 0;
	return true;
}

/* What was intended is left now: others need not mind it any more. -EBUSY: an earlier one is not
 * settled yet. */
static int leave_shared(struct binding *binding)
{
	if (!settle_left(binding))
		return -EBUSY;
	binding->left = load_relaxed(&binding->intent);
	store_release(&binding->intent, 0); /* MO intent:A -> intent:B */
	unmark_busy(binding);
	return 0;
}

/* A fellow who is between saying and claiming needs to run once: about 20 ms. Where he does not,
 * nobody knows of the claim any more, if there is one: lane 0 waits for the process to end. */
enum { SETTLE_TRIES = 1000 };

void producer_settle(struct binding *binding)
{
	if (is_own(binding))
		return;
	for (int i = 0; i < SETTLE_TRIES; i++) {
		if (binding->busy)
			(void)leave_shared(binding);
		if (!binding->busy && settle_left(binding))
			break;
		(void)binding->map->sys->sleep(INT64_C(20) * NS_PER_US);
	}
	store_release(&binding->intent, 0); /* MO intent:A -> intent:B */
}

/* ---- one attempt ---- */

static int recover_own(struct binding *binding)
{
	uint64_t frontier;
	const int r = find_frontier(binding, &frontier);

	if (r < 0)
		return r;
	store_relaxed(&binding->position, frontier);
	binding->look_at = frontier;
	binding->limit = 0;
	binding->short_limit = 0;
	unmark_busy(binding);
	return 0;
}

/* A push was left half way: find the frontier again. What it had published stays. Marked until it
 * is done: pushes from handlers keep away, and who leaves this push, too, will recover again. */
static int recover_left_push(struct binding *binding, uintptr_t frame)
{
	mark_busy(binding, frame);
	return is_own(binding) ? recover_own(binding) : leave_shared(binding);
}

/* The ring is closed, or may have been replaced. -ERESTART: bind again, in the new one. */
static int move_on(uintptr_t token, struct binding *binding)
{
	const int r = attachment_renew(token, binding->map);

	return r == 0 && binding_drop_stale(token) ? -ERESTART : -ESHUTDOWN;
}

/* The lane refused; is it still the lane to use? -ERESTART: no, bind again. */
static int after_refusal(struct binding *binding, uintptr_t token, int r)
{
	if (is_own(binding) && is_quarantined(binding) && !binding->claim.open) {
		(void)binding_drop_stale(token);
		return -ERESTART;
	}
	return move_on(token, binding) == -ERESTART ? -ERESTART : r;
}

static int count_refusal(struct binding *binding, int r, bool count)
{
	if (count)
		producer_drop(binding, r == -EUCLEAN ? LOSS_CORRUPT : LOSS_FULL);
	return -EAGAIN;
}

/* First of all: while a push is under way below us its lane must stay. Counted here. */
static int check_busy(struct binding *binding, uintptr_t frame)
{
	if (!producer_is_busy(binding, frame))
		return 0;
	producer_drop(binding, LOSS_BUSY);
	return -EAGAIN;
}

/* May this be pushed at all? -ERESTART: the lane is set aside, bind again. -EAGAIN: a push that was
 * left cannot be settled yet. -EMSGSIZE, which no waiting cures, is counted here. */
static int check_push(struct binding *binding, size_t size, uintptr_t frame, bool count)
{
	const int r = binding->busy ? recover_left_push(binding, frame) : 0;

	if (r == -EUCLEAN && is_quarantined(binding) && !binding->claim.open) {
		(void)binding_drop_stale(load_relaxed(&binding->token));
		return -ERESTART;
	}
	if (r < 0 && count)
		producer_drop(binding, r == -EBUSY ? LOSS_BUSY : LOSS_CORRUPT);
	if (r < 0)
		return -EAGAIN;
	if (binding->left != 0)
		(void)settle_left(binding);
	if (size > binding->record_max) {
		producer_drop(binding, LOSS_SIZE);
		return -EMSGSIZE;
	}
	return 0;
}

static int push_marked(struct binding *binding, const struct push *push)
{
	int r;

	mark_busy(binding, push->frame);
	r = push_slowly(binding, push);
	unmark_busy(binding);
	return r;
}

static int attempt_bound(uintptr_t token, struct binding *binding, const struct push *push,
			 bool count)
{
	const uint32_t control = load_acquire_u32(binding->control); /* MO control:B <- control:A */
	int r;

	if (push->level > (control & CONTROL_LEVEL_MASK) && !(control & CONTROL_CLOSED))
		return 0;
	r = check_busy(binding, push->frame);
	if (r == 0 && (control & CONTROL_CLOSED))
		r = move_on(token, binding);
	if (r == 0)
		r = check_push(binding, push->size, push->frame, count);
	if (r < 0)
		return r;
	r = push_marked(binding, push);
	if (r == 0)
		return 0;
	r = after_refusal(binding, token, r);
	return r == -ERESTART ? r : count_refusal(binding, r, count);
}

/* A record that no binding could take, by the error of the bind. */
static void count_unbound(uintptr_t token, int error)
{
	if (error == -EAGAIN || error == -ENOBUFS)
		producer_drop_unbound(token, error == -EAGAIN ? LOSS_NO_LANE : LOSS_FULL);
}

COLD int producer_attempt(uintptr_t token, const struct push *push, bool count,
			  struct binding **ret_binding)
{
	int r = -ERESTART;

	*ret_binding = NULL;
	for (int tries = 0; r == -ERESTART && tries < 4; tries++) {
		r = binding_get(token, ret_binding);
		if (r == 0)
			r = attempt_bound(token, *ret_binding, push, count);
		else if (count)
			count_unbound(token, r);
	}
	if (r == -ENOBUFS)
		r = -EAGAIN;
	return r == -ERESTART ? -ESHUTDOWN : r;
}

static COLD int push_cold(uintptr_t token, int level, const void *data, size_t size,
			  uintptr_t frame)
{
	const struct push push = {
		.data = data, .size = size, .frame = frame, .level = (uint8_t)level
	};
	struct binding *binding;

	if (level < 0 || level > 7)
		return -EINVAL;
	return producer_attempt(token, &push, true, &binding);
}

/* Is there nothing to tell, and does the level pass? */
static inline bool is_fast(const struct binding *binding, int level)
{
	/* CLOSED makes the word negative: no level passes. */
	const int32_t control = (int32_t)load_relaxed_u32(binding->control);

	return level <= control && !binding->pending;
}

/* Lane 0, with nothing to settle and nothing to tell. False: the long way has to be gone. */
static bool push_shared_fast(struct binding *binding, int level, const void *data, size_t size)
{
	struct record_header header = { .length = (uint32_t)size,
					.kind = RECORD_DATA,
					.level = (uint8_t)level };

	return is_fast(binding, level) && binding->left == 0 && size <= binding->record_max &&
	       push_shared(binding, &header, data) == 0;
}

/* Any size, any clock, any lane. */
static __attribute__((noinline)) int push_long(struct binding *binding, int level, const void *data,
					       size_t size, uintptr_t frame)
{
	const uint32_t blocks = record_blocks(size);
	struct record_header header;
	uint64_t position;

	mark_busy(binding, frame);
	if (!is_own(binding) && push_shared_fast(binding, level, data, size)) {
		unmark_busy(binding);
		return 0;
	}
	position = load_relaxed(&binding->position);
	if (unlikely(!is_fast(binding, level) || size > binding->record_max ||
		     position + blocks > binding->limit)) {
		unmark_busy(binding);
		return push_cold(load_relaxed(&binding->token), level, data, size, frame);
	}
	header = (struct record_header){ .length = (uint32_t)size,
					 .kind = RECORD_DATA,
					 .level = (uint8_t)level,
					 .ticks = clock_stamp(binding->clock) };
	ring_fill(&binding->lane, position, &header, data);
	ring_publish(&binding->lane, position, blocks, 0);
	store_relaxed(&binding->position, position + blocks);
	unmark_busy(binding);
	return 0;
}

static inline __attribute__((always_inline)) void publish_short(struct binding *binding, int level,
								const void *data, size_t size)
{
	const uint64_t position = load_relaxed(&binding->position);
	const uint64_t ticks = likely(binding->clock == RING_CLOCK_TSC) ? clock_counter() : 0;
	const struct record_header header = { .length = (uint32_t)size,
					      .kind = RECORD_DATA,
					      .level = (uint8_t)level,
					      .ticks = ticks };

	fill_short(&binding->lane, position, &header, data);
	ring_publish_word(&binding->lane, position, binding->short_word);
	store_relaxed(&binding->position, position + 1);
}

/* The fast path: a short record, nothing to look at, nothing to tell. Marked before it looks: a
 * push from a signal handler moves the position, and must come before the look or be a drop. */
static inline __attribute__((always_inline)) int try_push(struct binding *binding, int level,
							  const void *data, size_t size)
{
	if (unlikely(binding->busy))
		return push_cold(load_relaxed(&binding->token), level, data, size, this_frame());
	mark_busy(binding, this_frame());
	if (unlikely(!is_fast(binding, level) || size > SHORT_MAX ||
		     load_relaxed(&binding->position) >= binding->short_limit)) {
		unmark_busy(binding);
		return push_long(binding, level, data, size, this_frame());
	}
	publish_short(binding, level, data, size);
	unmark_busy(binding);
	return 0;
}

SHMLOG_API int shmlog_try_push_at(struct shmlog *log, int level, const void *data, size_t size)
{
	struct binding *binding = binding_current(handle_token(log));

	if (unlikely(!binding || level < 0 || level > 7))
		return push_cold(handle_token(log), level, data, size, this_frame());
	return try_push(binding, level, data, size);
}

/* The first push of a thread: the binding knows the handle's level. */
static COLD int push_first(uintptr_t token, const void *data, size_t size, uintptr_t frame)
{
	struct binding *binding;

	if (binding_get(token, &binding) < 0)
		return push_cold(token, SHMLOG_INFO, data, size, frame); /* it says what is wrong */
	return push_cold(token, binding->level, data, size, frame);
}

SHMLOG_API int shmlog_try_push(struct shmlog *log, const void *data, size_t size)
{
	struct binding *binding = binding_current(handle_token(log));

	if (unlikely(!binding))
		return push_first(handle_token(log), data, size, this_frame());
	return try_push(binding, binding->level, data, size);
}

/* ---- claims ---- */

struct claim_request {
	int level;
	size_t size;
	uintptr_t frame; /* of the public function that was called */
	struct shmlog_claim *ret;
};

/* The private memory in which a claim of lane 0 is written. */
static int claim_memory(struct binding *binding)
{
	void *memory;
	int r;

	if (binding->claim.memory)
		return 0;
	r = binding->map->sys->map(NULL, binding->record_max, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &memory);
	if (r == 0)
		binding->claim.memory = memory;
	return r < 0 ? -EAGAIN : 0;
}

static int claim_own(struct binding *binding, uint32_t blocks)
{
	uint64_t position;
	int r = tell_first(binding, blocks);

	if (r == 0)
		r = reserve_own(binding, blocks);
	if (r < 0)
		return r;
	position = load_relaxed(&binding->position);
	ring_claim_own(&binding->lane, position, blocks);
	binding->claim.position = position;
	binding->claim.ticks = clock_stamp(binding->clock);
	store_relaxed(&binding->position, position + blocks);
	set_limit(binding);
	return 0;
}

static uint8_t *claim_data(const struct binding *binding)
{
	if (!is_own(binding))
		return binding->claim.memory;
	return lane_block(&binding->lane, binding->claim.position) + sizeof(struct record_header);
}

/* Open, once all is there to end it by: an abort reads the fields, a caller who left the call by
 * siglongjmp needs what it returned. */
static void claim_show(struct binding *binding, int level, size_t size, struct shmlog_claim *ret)
{
	struct open_claim *claim = &binding->claim;

	claim->level = (uint8_t)level;
	claim->blocks = record_blocks(size);
	claim->size = size;
	claim->serial++;
	*ret = (struct shmlog_claim){ .data = claim_data(binding),
				      .size = size,
				      .position = claim->position,
				      .serial = claim->serial };
	signal_fence();
	claim->open = true;
}

/* Marked until it is open: one that is left in between is buried by the next push. */
static int claim_marked(struct binding *binding, const struct claim_request *request)
{
	int r;

	mark_busy(binding, request->frame);
	if (is_own(binding))
		r = claim_own(binding, record_blocks(request->size));
	else
		r = claim_memory(binding);
	if (r == 0)
		claim_show(binding, request->level, request->size, request->ret);
	unmark_busy(binding);
	return r;
}

static int claim_bound(uintptr_t token, struct binding *binding,
		       const struct claim_request *request)
{
	int r = check_busy(binding, request->frame);

	if (r == 0 &&
	    (load_acquire_u32(binding->control) & CONTROL_CLOSED)) /* MO control:B <- control:A */
		r = move_on(token, binding);
	if (r == 0 && binding->claim.open)
		r = -EBUSY;
	if (r == 0)
		r = check_push(binding, request->size, request->frame, true);
	if (r < 0)
		return r;
	r = claim_marked(binding, request);
	if (r == 0)
		return 0;
	r = after_refusal(binding, token, r);
	return r == -ERESTART ? r : count_refusal(binding, r, true);
}

SHMLOG_API int shmlog_claim(struct shmlog *log, int level, size_t size,
			    struct shmlog_claim *ret_claim)
{
	const struct claim_request request = {
		.level = level, .size = size, .frame = this_frame(), .ret = ret_claim
	};
	const uintptr_t token = handle_token(log);
	struct binding *binding;
	int r = -ERESTART;

	if (level < 0 || level > 7 || !ret_claim)
		return -EINVAL;
	for (int tries = 0; r == -ERESTART && tries < 4; tries++) {
		r = binding_get(token, &binding);
		if (r == 0)
			r = claim_bound(token, binding, &request);
		else
			count_unbound(token, r);
	}
	if (r == -ENOBUFS)
		r = -EAGAIN;
	return r == -ERESTART ? -ESHUTDOWN : r;
}

/* The binding whose open claim this is, or NULL. Also one that the handle has moved on from: it
 * stays for its claim. */
static struct binding *claim_binding(struct shmlog *log, const struct shmlog_claim *claim)
{
	struct binding *binding = thread_bindings[token_slot(handle_token(log))];
	uint64_t token;

	if (!log || !claim || !binding || !binding->claim.open)
		return NULL;
	token = load_relaxed(&binding->token);
	if ((token != 0 && token != handle_token(log)) || binding->claim.serial != claim->serial ||
	    claim->data != claim_data(binding))
		return NULL;
	return binding;
}

/* The claim is settled: a binding that stayed only for it goes. 0; -EBADF its handle has ended. */
static int leave_if_stale(struct shmlog *log, const struct binding *binding)
{
	struct ring_map *map;

	if (load_relaxed(&binding->token) != 0)
		return 0;
	(void)binding_drop_stale(handle_token(log));
	map = attachment_acquire(handle_token(log));
	if (!map)
		return -EBADF;
	attachment_release(map);
	return 0;
}

/* The header lies before the payload that the caller has filled; its level decides only now. */
static void commit_own(struct binding *binding, size_t size)
{
	const struct open_claim *claim = &binding->claim;
	const struct record_header header = { .length = (uint32_t)size,
					      .kind = RECORD_DATA,
					      .level = claim->level,
					      .ticks = claim->ticks };

	memcpy(lane_block(&binding->lane, claim->position), &header, sizeof(header));
	ring_publish(&binding->lane, claim->position, claim->blocks, 0);
}

/*
 * No longer open before its word says so, and marked meanwhile. Who leaves by siglongjmp in between
 * leaves a push: the next one buries the claim, or finds it published. Were it still open then, an
 * abort would store into a block that may be another record's by now. The mark of a push that was
 * left earlier stays for the next one to see.
 */
static void end_own_claim(struct binding *binding, size_t size, bool is_published, uintptr_t frame)
{
	const uint64_t left = binding->busy;

	mark_busy(binding, frame);
	binding->claim.open = false;
	signal_fence();
	if (is_published)
		commit_own(binding, size);
	else
		ring_skip(&binding->lane, binding->claim.position, binding->claim.blocks);
	signal_fence();
	binding->busy = left;
}

/* The push may move the handle on to another ring, and unmap all that belongs to this one. */
static int commit_shared(struct shmlog *log, struct binding *binding, size_t size)
{
	const size_t memory_size = binding->record_max;
	uint8_t *const memory = binding->claim.memory;
	int r;

	binding->claim.memory = NULL;
	r = shmlog_try_push_at(log, binding->claim.level, memory, size);
	if (binding_current(handle_token(log)) == binding && !is_own(binding) &&
	    binding->record_max == memory_size && !binding->claim.memory)
		binding->claim.memory = memory;
	else
		(void)sys_real.unmap(memory, memory_size);
	return r;
}

SHMLOG_API int shmlog_commit(struct shmlog *log, struct shmlog_claim *claim, size_t size)
{
	struct binding *binding = claim_binding(log, claim);
	bool is_wanted;

	if (!binding)
		return -EBADF;
	if (size > binding->claim.size)
		return -EMSGSIZE;
	if (!is_own(binding)) {
		binding->claim.open = false;
		return commit_shared(log, binding, size);
	}
	is_wanted =
		binding->claim.level <= (load_relaxed_u32(binding->control) & CONTROL_LEVEL_MASK);
	end_own_claim(binding, size, is_wanted, this_frame());
	(void)leave_if_stale(log, binding);
	return 0;
}

void producer_abort_claim(struct binding *binding)
{
	if (binding->claim.open && is_own(binding))
		end_own_claim(binding, 0, false, this_frame());
	binding->claim.open = false;
}

SHMLOG_API int shmlog_abort(struct shmlog *log, struct shmlog_claim *claim)
{
	struct binding *binding = claim_binding(log, claim);

	if (!binding)
		return -EBADF;
	producer_abort_claim(binding);
	return leave_if_stale(log, binding);
}
