/*
 * wait.c - the calls that may wait: push_wait and sync. And trigger, which asks and goes on.
 *
 * Who waits for room raises `waiters` of its lane, rings the doorbell, looks again and sleeps on
 * the lane's `moved`; who waits for the disk asks through the doorbell and sleeps on the answer.
 * Always in slices of at most 100 ms: the writer may have been killed between moving on and waking.
 */
#include <errno.h>
#include <string.h>

#include "doorbell.h"
#include "producer.h"

enum { SLICE_MS = 100 };

/* An absolute instant of CLOCK_MONOTONIC; < 0: never. */
static int64_t deadline_after(const struct sys *sys, int64_t timeout_ns)
{
	const int64_t now = sys->now(CLOCK_MONOTONIC);

	if (timeout_ns < 0 || timeout_ns > INT64_MAX - now)
		return -1;
	return now + timeout_ns;
}

static bool has_passed(const struct sys *sys, int64_t deadline_ns)
{
	return deadline_ns >= 0 && sys->now(CLOCK_MONOTONIC) >= deadline_ns;
}

/* Sleep until `moved` is no longer @seen, the deadline, or the slice's end. */
static void sleep_slice(const struct sys *sys, const struct lane_status *status, uint32_t seen,
			int64_t deadline_ns)
{
	int64_t until = sys->now(CLOCK_MONOTONIC) + SLICE_MS * (int64_t)NS_PER_MS;

	if (deadline_ns >= 0 && deadline_ns < until)
		until = deadline_ns;
	(void)sys->futex_wait(&status->moved.raw, seen, until);
}

static void waiters_add(struct lane_page *page, uint32_t change)
{
	(void)add_seq_cst_u32(&page->waiters, change); /* MO waiters:A -> waiters:B */
}

static uint32_t moved_now(const struct lane_status *status)
{
	return load_seq_cst_u32(&status->moved); /* MO moved:B <- moved:A */
}

/* ---- push_wait ---- */

/* One round: try, and if there is no room, sleep until there may be. The waiter is counted around
 * both, so that room made in between wakes it. The binding may change with each attempt. */
static int wait_round(uintptr_t token, const struct push *push, struct binding *binding,
		      int64_t deadline_ns)
{
	const struct sys *sys = binding->map->sys;
	struct lane_page *page = binding->page;
	const struct ring_map *map = binding->map;
	const uint32_t lane_no = binding->lane_no;
	struct binding *tried;
	uint32_t seen;
	int r;

	waiters_add(page, 1);
	seen = moved_now(binding->status);
	map_wake_writer(binding->map);
	r = producer_attempt(token, push, false, &tried);
	if (tried != binding || binding->map != map || binding->lane_no != lane_no)
		return r; /* another lane: the old one's page may be unmapped */
	if (r == -EAGAIN)
		sleep_slice(sys, binding->status, seen, deadline_ns);
	waiters_add(page, UINT32_MAX);
	return r;
}

/* Nothing could be bound: there is no lane whose progress could be waited for. */
static void wait_for_lane(int64_t deadline_ns)
{
	if (!has_passed(&sys_real, deadline_ns))
		(void)sys_real.sleep(NS_PER_MS);
}

static int push_waiting(uintptr_t token, const struct push *push, int64_t deadline_ns)
{
	struct binding *binding;
	int r = producer_attempt(token, push, false, &binding);

	if (r == -EAGAIN && binding && producer_is_busy(binding, push->frame))
		return r; /* inside another push, and counted: waiting would wait for itself */
	while (r == -EAGAIN && !has_passed(&sys_real, deadline_ns)) {
		if (binding)
			r = wait_round(token, push, binding, deadline_ns);
		else
			wait_for_lane(deadline_ns);
		if (r == -EAGAIN)
			r = producer_attempt(token, push, false, &binding);
	}
	if (r == -EAGAIN && binding)
		producer_drop(binding, LOSS_FULL);
	else if (r == -EAGAIN)
		producer_drop_unbound(token, LOSS_FULL);
	return r == -EAGAIN ? -ETIMEDOUT : r;
}

/* Sure to fit without a look: then waiting costs no more than trying. */
static bool fits_now(const struct binding *binding, size_t size)
{
	return binding && size <= binding->record_max && !binding->pending &&
	       load_relaxed(&binding->position) + record_blocks(size) <= binding->limit;
}

SHMLOG_API int shmlog_push_wait(struct shmlog *log, int level, const void *data, size_t size,
				int64_t timeout_ns)
{
	const struct push push = {
		.data = data, .size = size, .frame = this_frame(), .level = (uint8_t)level
	};

	if (timeout_ns == 0 || level < 0 || level > 7 ||
	    fits_now(binding_current(handle_token(log)), size))
		return shmlog_try_push_at(log, level, data, size);
	return push_waiting(handle_token(log), &push, deadline_after(&sys_real, timeout_ns));
}

/* ---- sync ---- */

/* One lane's position to wait for. */
struct target {
	const struct ring_map *map;
	uint32_t lane_no;
	uint64_t position;
	bool durable;
};

static bool target_reached(const struct target *target)
{
	const struct lane_status *status = map_lane_status(target->map, target->lane_no);
	const struct shared_u64 *word = target->durable ? &status->durable : &status->written;

	return load_seq_cst(word) >= target->position; /* MO progress:B <- progress:A */
}

/* Has the disk lost records of the lane since it was bound, or since that was last said? */
static bool take_failure(const struct target *target)
{
	struct shared_u64 *said = &target->map->process->lane_failures[target->lane_no];
	const uint64_t failed =
		load_relaxed(&map_lane_status(target->map, target->lane_no)->failed);
	const uint64_t old = load_relaxed(said);

	store_relaxed(said, failed);
	return failed != old;
}

/* Ask for what is missing and wait until the writer has answered, at most one slice: one that was
 * killed meanwhile has a successor who knows nothing of us. True: answered. */
static bool ask(const struct target *target, int64_t deadline_ns)
{
	struct doorbell *doorbell = target->map->doorbell;
	const struct writer_status *writer = target->map->writer;
	const struct sys *sys = target->map->sys;
	const struct doorbell_request request =
		target->durable ? doorbell_ask(sys, doorbell, writer, &doorbell->sync_requests,
					       &writer->sync_done)
				: doorbell_ask(sys, doorbell, writer, &doorbell->drain_requests,
					       &writer->drain_done);
	const int64_t slice_end = sys->now(CLOCK_MONOTONIC) + SLICE_MS * (int64_t)NS_PER_MS;
	const int64_t until = deadline_ns >= 0 && deadline_ns < slice_end ? deadline_ns : slice_end;

	for (;;) {
		const uint32_t done = load_seq_cst_u32(request.done); /* MO done:B <- done:A */

		if ((int32_t)(done - request.number) >= 0)
			return true;
		if (has_passed(sys, until))
			return false;
		(void)sys->futex_wait(&request.done->raw, done, until);
	}
}

static int target_failure(const struct target *target, int64_t deadline_ns)
{
	if (take_failure(target))
		return -EIO;
	if (map_is_closed(target->map))
		return -ESHUTDOWN;
	return has_passed(target->map->sys, deadline_ns) ? -ETIMEDOUT : 0;
}

static int wait_target(const struct target *target, int64_t deadline_ns)
{
	const struct lane_status *status = map_lane_status(target->map, target->lane_no);
	int r;

	while (!target_reached(target)) {
		const uint32_t seen = moved_now(status);
		const bool answered = ask(target, deadline_ns);

		if (target_reached(target))
			break; /* or passed over: what could not be kept is behind it, too */
		r = target_failure(target, deadline_ns);
		if (r < 0)
			return r;
		if (answered) /* behind an open claim, or the disk is full: no use asking at once */
			sleep_slice(target->map->sys, status, seen, deadline_ns);
	}
	return take_failure(target) ? -EIO : 0;
}

static int sync_binding(struct binding *binding, bool durable, int64_t deadline_ns)
{
	const struct target target = {
		.map = binding->map,
		.lane_no = binding->lane_no,
		.position = load_relaxed(&binding->position),
		.durable = durable,
	};

	return wait_target(&target, deadline_ns);
}

/* What all threads of the handle have published, as positions by lane. */
static void collect_positions(const struct process_state *process, uint64_t positions[LANES_MAX])
{
	memset(positions, 0, LANES_MAX * sizeof(*positions));
	for (size_t i = 0; i < BINDINGS_MAX; i++) {
		const struct binding *binding = &process->bindings[i];
		const bool is_bound =
			load_acquire_u32(&binding->tid) != 0; /* MO slot:B <- slot:A */

		if (!binding_was_used(binding))
			break;
		if (!is_bound || load_acquire(&binding->token) == 0) /* MO token:B <- token:A */
			continue;
		positions[binding->lane_no] =
			max_u64(positions[binding->lane_no], load_relaxed(&binding->position));
	}
	/* Last: who ends meanwhile leaves his end here before he is no longer found there. */
	for (uint32_t lane = 0; lane < LANES_MAX; lane++)
		positions[lane] =
			max_u64(positions[lane], load_relaxed(&process->lane_positions[lane]));
}

static int sync_all(const struct ring_map *map, bool durable, int64_t deadline_ns)
{
	uint64_t positions[LANES_MAX];
	int r = 0;

	collect_positions(map->process, positions);
	for (uint32_t lane = 0; r == 0 && lane < map->segment.geometry.lanes; lane++) {
		const struct target target = {
			.map = map, .lane_no = lane, .durable = durable, .position = positions[lane]
		};

		if (target.position != 0)
			r = wait_target(&target, deadline_ns);
	}
	return r;
}

SHMLOG_API int shmlog_sync(struct shmlog *log, int what, int64_t timeout_ns)
{
	const bool durable = what & SHMLOG_SYNC_DURABLE;
	const int64_t deadline_ns = deadline_after(&sys_real, timeout_ns);
	struct binding *binding = binding_current(handle_token(log));
	struct ring_map *map = attachment_acquire(handle_token(log));
	int r = 0;

	if (!map)
		return -EBADF;
	if (what & ~(SHMLOG_SYNC_DURABLE | SHMLOG_SYNC_ALL_THREADS))
		r = -EINVAL;
	else if (binding && !(what & SHMLOG_SYNC_ALL_THREADS))
		r = sync_binding(binding, durable, deadline_ns);
	else if (what & SHMLOG_SYNC_ALL_THREADS || binding_was_left(handle_token(log)))
		r = sync_all(map, durable, deadline_ns);
	attachment_release(map);
	return r;
}

SHMLOG_API int shmlog_trigger(struct shmlog *log)
{
	struct ring_map *map = attachment_acquire(handle_token(log));

	if (!map)
		return -EBADF;
	(void)add_seq_cst_u32(&map->doorbell->drain_requests, 1); /* MO request:A -> request:B */
	map_wake_writer(map);
	attachment_release(map);
	return 0;
}
