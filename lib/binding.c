/*
 * binding.c - taking, keeping and giving back lanes. See binding.h.
 */
#include "binding.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "producer.h"

_Thread_local struct binding *thread_bindings[HANDLES_MAX];

/* Threads that are between taking a lock and closing its descriptor: a child forked just then would
 * inherit the descriptor, and keep the lock until it ends. And how many binds have ever begun. */
static struct shared_u32 binds_under_way;
static struct shared_u32 binds_begun;

/* The same as this thread, which forks, saw them before. */
static _Thread_local uint32_t under_way_before_fork, begun_before_fork;

/* In this order, and looked at in the other: none is missed. */
void binding_open_begin(void)
{
	(void)add_seq_cst_u32(&binds_under_way, 1);
	(void)add_seq_cst_u32(&binds_begun, 1);
}

void binding_open_end(void)
{
	(void)add_seq_cst_u32(&binds_under_way, UINT32_MAX);
}

enum pin { PIN_UNKNOWN = 0, PIN_WORKS = 1, PIN_FAILS = 2 };
static struct shared_u32 mapping_pins_lock;

static pthread_key_t thread_end_key;
static bool has_thread_end_key;

/* ---- locks ---- */

/* Does a mapping keep the lock when its descriptor is closed, as on Linux? Asked once a process. */
static bool lock_survives_close(const struct ring_map *map, int64_t byte)
{
	int fd, held;

	if (segment_reopen(&map->segment, O_RDONLY, &fd) < 0)
		return false; /* no answer: the next bind asks again */
	held = map->sys->lock_query(fd, byte, 1);
	(void)map->sys->close(fd);
	if (held >= 0)
		store_relaxed_u32(&mapping_pins_lock, held ? PIN_WORKS : PIN_FAILS);
	return held == 1;
}

/*
 * Leave the lock to the mapping. Returns the descriptor that must stay open, -1 for none, or
 * -EAGAIN: the self-test dropped the lock and somebody else took it. Where mappings pin nothing,
 * an inherited descriptor may keep a dead process's lane; it never gives a living one's away.
 */
static int settle_lock(const struct ring_map *map, int fd, int64_t byte)
{
	int again;

	if (load_relaxed_u32(&mapping_pins_lock) == PIN_FAILS)
		return fd;
	(void)map->sys->close(fd);
	if (load_relaxed_u32(&mapping_pins_lock) == PIN_WORKS || lock_survives_close(map, byte))
		return -1;
	if (segment_reopen(&map->segment, O_RDWR, &again) < 0)
		return -EAGAIN;
	if (map->sys->lock(again, byte, 1) == 0)
		return again;
	(void)map->sys->close(again);
	return -EAGAIN;
}

static int map_held(const struct ring_map *map, int fd, uint64_t offset, uint64_t size,
		    uint8_t **ret)
{
	void *base;
	const int r = segment_map(&map->segment, fd, offset, size, true, &base);

	if (r < 0)
		return r;
	(void)map->sys->advise(base, size, MADV_DONTFORK);
	(void)map->sys->advise(base, size, MADV_POPULATE_WRITE); /* only spares page faults later */
	*ret = base;
	return 0;
}

static void unmap_held(const struct ring_map *map, uint8_t **base, int *fd, uint64_t size)
{
	if (!*base)
		return;
	(void)map->sys->unmap(*base, size);
	if (*fd >= 0)
		(void)map->sys->close(*fd);
	*base = NULL;
	*fd = -1;
}

/* ---- who we are ---- */

/* Field 22 of /proc/self/stat, behind the command name, which may hold anything. No heap. */
static uint64_t read_start_time(const struct sys *sys)
{
	char text[1024];
	const int fd = sys->open("/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
	const ssize_t size = fd < 0 ? -1 : sys->pread(fd, text, sizeof(text) - 1, 0);
	uint64_t value = 0;
	const char *at;

	if (fd >= 0)
		(void)sys->close(fd);
	if (size <= 0)
		return 0;
	text[size] = '\0';
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	for (at = at ? at + 1 : ""; *at >= '0' && *at <= '9'; at++)
		value = value * 10 + (uint64_t)(*at - '0');
	return value;
}

void binding_own_process(struct ring_map *map)
{
	store_relaxed_u32(&map->process->pid, map->sys->getpid());
}

/* See I5. Where the C library was not asked to fork, nobody has told yet whose memory this is. */
bool binding_is_vforked(struct ring_map *map)
{
	const uint32_t owner = load_relaxed_u32(&map->process->pid);

	if (owner == 0)
		binding_own_process(map);
	return owner != 0 && owner != map->sys->getpid();
}

/* Read once; threads that bind side by side for the first time read and store the same. */
static uint64_t own_start_time(const struct ring_map *map)
{
	struct shared_u64 *known = &map->process->start_time;
	uint64_t value = load_relaxed(known);

	if (value == 0) {
		value = read_start_time(map->sys);
		store_relaxed(known, value);
	}
	return value;
}

static void fill_line(const struct ring_map *map, struct producer_line *line)
{
	struct {
		uint32_t pid, tid;
		uint64_t start_time;
	} who;

	who.pid = map->sys->getpid();
	who.tid = map->sys->gettid();
	who.start_time = own_start_time(map);
	store_words(&line->pid, &who, sizeof(who) / 8);
	store_words(line->name, map->name, sizeof(line->name) / 8);
	store_release_u32(&line->ended, 0); /* MO ended:A -> ended:B */
}

static void read_drops(const struct producer_line *line, uint64_t drops[LOSS_REASONS])
{
	for (size_t i = 0; i < LOSS_REASONS; i++)
		drops[i] = load_relaxed(&line->drops[i]);
}

/* ---- slots ---- */

/* The slot that this thread is setting up, where no tid tells a signal handler to leave it alone.
 */
static _Thread_local struct binding *slot_being_taken;

/* The slot that this thread is leaving: its tid is ours, but a push from a signal handler must not
 * take it over, since it is given to everybody in a moment. */
static _Thread_local struct binding *slot_being_left;

static bool is_in_use_here(const struct binding *binding)
{
	for (unsigned slot = 0; slot < HANDLES_MAX; slot++)
		if (thread_bindings[slot] == binding)
			return true;
	return binding == slot_being_taken || binding == slot_being_left;
}

/* Keep in the process what sync still asks for. */
static void remember_position(const struct binding *binding)
{
	struct shared_u64 *end = &binding->map->process->lane_positions[binding->lane_no];
	const uint64_t position = load_relaxed(&binding->position);
	uint64_t seen;

	do
		seen = load_relaxed(end);
	while (seen < position && !swap_relaxed(end, seen, position));
}

/* From here on, sync reports what the disk loses of this lane. */
static void remember_failures(const struct ring_map *map, uint32_t lane_no)
{
	store_relaxed(&map->process->lane_failures[lane_no],
		      load_relaxed(&map_lane_status(map, lane_no)->failed));
}

/* A slot is free for @tid when nobody, a thread that is gone, or an earlier thread with the same
 * tid holds it: that one cannot be alive either. */
static bool slot_take(const struct ring_map *map, struct binding *binding, uint32_t tid)
{
	const uint32_t holder = load_acquire_u32(&binding->tid); /* MO slot:B <- slot:A */
	struct binding *const outer = slot_being_taken;

	if (holder == tid ? is_in_use_here(binding) : holder != 0 && map->sys->thread_alive(holder))
		return false;
	slot_being_taken = binding;
	signal_fence();
	if (!swap_seq_cst_u32(&binding->tid, holder, tid)) { /* MO slot:A -> slot:B */
		slot_being_taken = outer;
		return false;
	}
	store_relaxed_u32(&binding->was_used, 1);
	if (holder != 0 && binding->map) {
		producer_settle(binding);
		remember_position(binding);
		store_release(&binding->token, 0); /* MO token:A -> token:B */
		attachment_release(binding->map);  /* the reference of who is gone */
	}
	return true;
}

/* One with a lane that its thread has left, or one without. */
static struct binding *slot_find(struct ring_map *map, uint32_t tid, bool want_lane)
{
	for (size_t i = 0; i < BINDINGS_MAX; i++) {
		struct binding *binding = &map->process->bindings[i];

		if (want_lane && !binding_was_used(binding))
			break;
		if (want_lane != (load_relaxed_u32(&binding->has_lane) != 0))
			continue;
		if (slot_take(map, binding, tid))
			return binding;
	}
	return NULL;
}

static void slot_free(struct binding *binding)
{
	store_release(&binding->token, 0);   /* MO token:A -> token:B */
	store_release_u32(&binding->tid, 0); /* MO slot:A -> slot:B */
}

/* ---- own lanes ---- */

static bool is_quarantined(const struct ring_map *map, uint32_t lane_no)
{
	return load_acquire_u32(&map_lane_status(map, lane_no)->quarantine) !=
	       0; /* MO quarantine:B <- quarantine:A */
}

static void lane_at(const struct ring_map *map, uint8_t *base, struct lane *ret)
{
	const struct geometry *geometry = &map->segment.geometry;

	lane_init(ret, base + geometry->words_offset, base + geometry->blocks_offset,
		  geometry->blocks, geometry->record_max);
}

/* How far the writer has copied. A broken holder may have wiped words that led there: who began at
 * the frontier that is left would publish where nobody looks any more. */
static uint64_t taken_position(const struct ring_map *map, uint32_t lane_no)
{
	return load_acquire(&map_lane_status(map, lane_no)->taken); /* MO taken:B <- taken:A */
}

/* Published blocks that wait in a lane, seen without holding it; UINT64_MAX: better not. */
static uint64_t lane_backlog(const struct ring_map *map, int fd, uint32_t lane_no)
{
	const struct geometry *geometry = &map->segment.geometry;
	struct ring_survey survey;
	struct lane lane;
	void *base;

	if (segment_map(&map->segment, fd, geometry_lane_offset(geometry, lane_no),
			geometry->lane_stride, false, &base) < 0)
		return UINT64_MAX;
	lane_at(map, base, &lane);
	ring_survey(&lane, map_lane_status(map, lane_no), &survey);
	(void)map->sys->unmap(base, geometry->lane_stride);
	if (survey.corrupt || survey.frontier < taken_position(map, lane_no))
		return UINT64_MAX;
	return survey.frontier - survey.released;
}

/* Is the word at `released` an old one, and was it never another? One read, no mapping. */
static bool lane_is_drained(const struct ring_map *map, int fd, uint32_t lane_no)
{
	const struct geometry *geometry = &map->segment.geometry;
	const uint64_t released = load_relaxed(&map_lane_status(map, lane_no)->released);
	const uint64_t index = released & (geometry->blocks - 1);
	const uint64_t offset = geometry_lane_offset(geometry, lane_no) + geometry->words_offset;
	uint64_t word;

	if (taken_position(map, lane_no) > released ||
	    map->sys->pread(fd, &word, sizeof(word), (off_t)(offset + index * sizeof(word))) !=
		    sizeof(word))
		return false;
	return word_lap(word) <= released / geometry->blocks;
}

/* Lock the first lane that holds nothing undrained. Its number, or -EAGAIN. */
static int lock_drained_lane(const struct ring_map *map, int fd)
{
	for (uint32_t lane_no = 1; lane_no < map->segment.geometry.lanes; lane_no++)
		if (!is_quarantined(map, lane_no) && lane_is_drained(map, fd, lane_no) &&
		    map->sys->lock(fd, LOCK_BYTE_LANE(lane_no), 1) == 0)
			return (int)lane_no;
	return -EAGAIN;
}

/* Lock the free lane with the smallest backlog: dead producers' records wait for a writer there. */
static int lock_emptiest_lane(const struct ring_map *map, int fd)
{
	uint64_t least = UINT64_MAX;
	uint32_t best = 0;

	for (uint32_t lane_no = 1; lane_no < map->segment.geometry.lanes; lane_no++) {
		uint64_t backlog;

		if (is_quarantined(map, lane_no) ||
		    map->sys->lock_query(fd, LOCK_BYTE_LANE(lane_no), 1) != 0)
			continue;
		backlog = lane_backlog(map, fd, lane_no);
		if (backlog < least) {
			least = backlog;
			best = lane_no;
		}
	}
	if (best == 0 || map->sys->lock(fd, LOCK_BYTE_LANE(best), 1) < 0)
		return -EAGAIN;
	return (int)best;
}

/* The lane's lock is ours: settle what its last holder left, and say who we are. */
static int own_lane_enter(struct binding *binding)
{
	uint64_t frontier, data;
	int r;

	r = ring_bury(&binding->lane, &binding->status->released, 0, &frontier, &data);
	if (r == 0 && frontier < taken_position(binding->map, binding->lane_no))
		r = -EUCLEAN;
	if (r < 0)
		return r;
	ring_sweep(&binding->lane, frontier);
	read_drops(binding->line, binding->drops_before);
	memcpy(binding->told, binding->drops_before, sizeof(binding->told));
	store_words(binding->line->drops_before, binding->drops_before, LOSS_REASONS);
	store_relaxed(&binding->line->records_before,
		      load_relaxed(&binding->status->records_released) + data);
	fill_line(binding->map, binding->line);
	store_relaxed(&binding->position, frontier);
	binding->released = load_acquire(&binding->status->released); /* MO reuse:B <- release:A */
	binding->limit = 0;
	binding->short_limit = 0;
	binding->look_at = frontier;
	binding->is_source_told = false;
	remember_failures(binding->map, binding->lane_no);
	return 0;
}

static void drop_lane(const struct ring_map *map, struct binding *binding)
{
	store_relaxed_u32(&binding->has_lane, 0);
	unmap_held(map, &binding->base, &binding->fd, map->segment.geometry.lane_stride);
}

static int own_lane_map(struct binding *binding, int fd, uint32_t lane_no)
{
	struct ring_map *map = binding->map;
	const struct geometry *geometry = &map->segment.geometry;
	const uint64_t offset = geometry_lane_offset(geometry, lane_no);
	int r;

	r = map->sys->fallocate(fd, 0, (off_t)(offset + geometry->blocks_offset),
				(off_t)(geometry->lane_stride - geometry->blocks_offset));
	if (r == 0)
		r = map_held(map, fd, offset, geometry->lane_stride, &binding->base);
	if (r < 0)
		return r;
	store_relaxed_u32(&binding->has_lane, 1);
	lane_at(map, binding->base, &binding->lane);
	binding->lane_no = lane_no;
	binding->owner = 0;
	binding->page = (struct lane_page *)(void *)binding->base;
	binding->line = &binding->page->line;
	binding->status = map_lane_status(map, lane_no);
	return 0;
}

/* From here on the descriptor is the mapping's or closed. */
static int own_lane_take(struct binding *binding, int fd, uint32_t lane_no)
{
	struct ring_map *map = binding->map;
	int r;

	/* Looked at with the lock held: who removes the ring or quarantines the lane marks first
	 * and then takes the lock. */
	if (map_is_closed(map))
		r = -ESHUTDOWN;
	else if (is_quarantined(map, lane_no))
		r = -EAGAIN;
	else
		r = own_lane_map(binding, fd, lane_no);
	if (r < 0) {
		(void)map->sys->close(fd);
		return r;
	}
	r = settle_lock(map, fd, LOCK_BYTE_LANE(lane_no));
	binding->fd = r >= 0 ? r : -1;
	if (r != -EAGAIN)
		r = own_lane_enter(binding);
	if (r < 0)
		drop_lane(map, binding);
	return r;
}

static bool space_is_due(const struct ring_map *map)
{
	return clock_monotonic_ns() >= load_relaxed(&map->space_after_ns);
}

static bool holder_is_shown(const struct shared_holder *holder)
{
	return load_acquire_u32(&holder->state) == HOLDER_SHOWN; /* MO holder:B <- holder:A */
}

static int bind_own(struct binding *binding)
{
	struct ring_map *map = binding->map;
	int lane_no, fd;
	int r;

	if (map->segment.geometry.lanes == 1 || !space_is_due(map))
		return -EAGAIN;
	r = segment_reopen(&map->segment, O_RDWR, &fd);
	if (r == -ENOENT && holder_is_shown(&map->process->holder))
		return -EAGAIN; /* after a chroot, say: what was taken ahead serves on */
	if (r < 0)
		return r == -ESTALE || r == -ENOENT ? -ESHUTDOWN : -EAGAIN;
	lane_no = lock_drained_lane(map, fd);
	if (lane_no < 0)
		lane_no = lock_emptiest_lane(map, fd);
	if (lane_no < 0) {
		(void)map->sys->close(fd);
		return -EAGAIN;
	}
	r = own_lane_take(binding, fd, (uint32_t)lane_no);
	if (r == -ENOSPC)
		store_relaxed(&map->space_after_ns, clock_monotonic_ns() + NS_PER_S);
	return r == 0 || r == -ESHUTDOWN ? r : -EAGAIN;
}

/* ---- lane 0 ---- */

static uint64_t holder_size(const struct geometry *geometry)
{
	return geometry->lanes_offset - geometry->owners_offset + geometry->lane_stride;
}

static int lock_owner_id(const struct ring_map *map, int fd)
{
	for (int owner = 1; owner < OWNER_IDS; owner++)
		if (map->sys->lock(fd, LOCK_BYTE_OWNER(owner), 1) == 0)
			return owner;
	return -EAGAIN;
}

static void holder_unmap(const struct ring_map *map, struct shared_holder *holder)
{
	unmap_held(map, &holder->base, &holder->fd, holder_size(&map->segment.geometry));
}

/* Settle the claims that the id's last holder left, then say who we are. */
static int holder_enter(struct ring_map *map, struct shared_holder *holder)
{
	const struct lane_status *status = map_lane_status(map, 0);
	uint64_t frontier, data;
	int r;

	r = ring_bury(&holder->lane, &status->released, holder->owner, &frontier, &data);
	if (r < 0)
		return r;
	read_drops(holder->line, holder->drops_before);
	for (size_t i = 0; i < LOSS_REASONS; i++)
		store_relaxed(&holder->told[i], holder->drops_before[i]);
	store_relaxed(&holder->line->records_before, data);
	fill_line(map, holder->line);
	r = producer_tell_shared_source(map, holder);
	return r == -EAGAIN ? -ENOBUFS : r; /* lane 0 is there, but full */
}

static int holder_map(const struct ring_map *map, int fd, struct shared_holder *holder)
{
	const struct geometry *geometry = &map->segment.geometry;
	uint8_t *lane_base;
	int r;

	r = map_held(map, fd, geometry->owners_offset, holder_size(geometry), &holder->base);
	if (r < 0)
		return r;
	lane_base = holder->base + (geometry->lanes_offset - geometry->owners_offset);
	lane_at(map, lane_base, &holder->lane);
	holder->page = (struct lane_page *)(void *)lane_base;
	holder->line = (struct producer_line *)(void *)holder->base + holder->owner;
	return 0;
}

static int holder_take(struct ring_map *map, struct shared_holder *holder)
{
	int fd, owner;
	int r = segment_reopen(&map->segment, O_RDWR, &fd);

	if (r < 0)
		return r == -ESTALE || r == -ENOENT ? -ESHUTDOWN : -EAGAIN;
	owner = lock_owner_id(map, fd);
	r = owner < 0 ? owner : 0;
	holder->owner = owner < 0 ? 0 : (uint32_t)owner;
	if (r == 0 && map_is_closed(map))
		r = -ESHUTDOWN;
	if (r == 0 && is_quarantined(map, 0))
		r = -EAGAIN;
	if (r == 0)
		r = holder_map(map, fd, holder);
	if (r < 0) {
		(void)map->sys->close(fd);
		return r;
	}
	r = settle_lock(map, fd, LOCK_BYTE_OWNER(owner));
	holder->fd = r >= 0 ? r : -1;
	if (r != -EAGAIN)
		r = holder_enter(map, holder);
	if (r < 0)
		holder_unmap(map, holder);
	return r;
}

/* One of several threads that took an id at once shows his; the others give theirs back. */
static bool holder_show(struct shared_holder *shown, const struct shared_holder *mine)
{
	if (!swap_acq_rel_u32(&shown->state, HOLDER_NONE,
			      HOLDER_FILLING)) /* MO holder:A -> holder:B */
		return false;
	shown->fd = mine->fd;
	shown->base = mine->base;
	shown->owner = mine->owner;
	shown->line = mine->line;
	shown->page = mine->page;
	shown->lane = mine->lane;
	memcpy(shown->drops_before, mine->drops_before, sizeof(shown->drops_before));
	memcpy(shown->told, mine->told, sizeof(shown->told));
	store_release_u32(&shown->state, HOLDER_SHOWN); /* MO holder:A -> holder:B */
	return true;
}

/* The id is shown to the handle's other threads only after the walk, with SOURCE published: a
 * thread that claimed with it during the walk would have its claim buried. */
static int holder_get(struct ring_map *map, struct shared_holder **ret)
{
	struct shared_holder *shown = &map->process->holder;
	struct shared_holder mine = { .fd = -1 };
	int r;

	*ret = shown;
	if (holder_is_shown(shown))
		return 0;
	r = holder_take(map, &mine);
	if (r < 0) /* memory, descriptors, words that make no sense: no lane for now, counted */
		return r == -ESHUTDOWN || r == -ENOBUFS ? r : -EAGAIN;
	if (holder_show(shown, &mine)) {
		remember_failures(map, 0);
		return 0;
	}
	holder_unmap(map, &mine);
	for (int i = 0; i < 1000 && !holder_is_shown(shown); i++)
		(void)sched_yield();
	return holder_is_shown(shown) ? 0 : -EAGAIN;
}

static int bind_shared(struct binding *binding)
{
	struct shared_holder *holder;
	const int r = holder_get(binding->map, &holder);

	if (r < 0)
		return r;
	binding->lane = holder->lane;
	binding->lane_no = 0;
	binding->owner = holder->owner;
	binding->page = holder->page;
	binding->line = holder->line;
	binding->status = map_lane_status(binding->map, 0);
	store_relaxed(&binding->position, 0); /* nothing pushed here yet */
	binding->limit = 0;
	binding->short_limit = 0;
	binding->is_source_told = true;
	return 0;
}

/* ---- bind ---- */

static void binding_init(struct binding *binding, struct ring_map *map)
{
	uint8_t *const base = binding->base;
	const int fd = base ? binding->fd : -1;
	const uint32_t lane_no = base ? binding->lane_no : 0;
	uint8_t *const claim_memory = binding->claim.memory;
	const uint64_t serial = binding->claim.serial;

	/* All but the tid, which says that this slot is ours. */
	binding->busy = 0;
	binding->pending = 0;
	store_release(&binding->intent, 0); /* MO intent:A -> intent:B */
	binding->left = 0;
	binding->claim = (struct open_claim){ .memory = claim_memory, .serial = serial };
	binding->map = map;
	binding->base = base;
	binding->fd = fd;
	binding->lane_no = lane_no;
	binding->control = &map->header->control;
	binding->record_max = map->segment.geometry.record_max;
	binding->clock = (uint8_t)map->segment.geometry.clock;
	binding->level = (int16_t)map->level;
}

/* A lane of an ended thread is still locked and mapped: only its last holder's traces to settle. */
static int adopt_pooled(struct ring_map *map, uint32_t tid, struct binding **ret)
{
	struct binding *binding = slot_find(map, tid, true);
	int r;

	if (!binding)
		return -EAGAIN;
	binding_init(binding, map);
	r = -EAGAIN;
	if (binding->base && !is_quarantined(map, binding->lane_no))
		r = own_lane_enter(binding);
	if (r == 0) {
		*ret = binding;
		return 0;
	}
	drop_lane(map, binding);
	slot_free(binding);
	return -EAGAIN;
}

static int bind_fresh(struct ring_map *map, uint32_t tid, struct binding **ret)
{
	struct binding *binding = slot_find(map, tid, false);
	int r;

	if (!binding)
		return -EAGAIN;
	if (binding->base) /* its thread ended after we had looked for pooled lanes */
		drop_lane(map, binding);
	binding_init(binding, map);
	r = bind_own(binding);
	if (r == -EAGAIN)
		r = bind_shared(binding);
	if (r < 0) {
		slot_free(binding);
		return r;
	}
	*ret = binding;
	return 0;
}

static int bind_any(struct ring_map *map, struct binding **ret)
{
	struct binding *const outer = slot_being_taken;
	const uint32_t tid = map->sys->gettid();
	int r;

	if (binding_is_vforked(map))
		return -EAGAIN;
	binding_open_begin();
	r = adopt_pooled(map, tid, ret);
	if (r == -EAGAIN)
		r = bind_fresh(map, tid, ret);
	binding_open_end();
	slot_being_taken = outer;
	return r;
}

static bool handle_shows(uintptr_t token, const struct ring_map *map)
{
	struct ring_map *shown = attachment_acquire(token);

	if (shown)
		attachment_release(shown);
	return shown == map;
}

/* The binding takes over the caller's reference to @map. */
static int bind_thread(uintptr_t token, struct ring_map *map, struct binding **ret)
{
	struct binding *binding;
	const int r = bind_any(map, &binding);

	if (r < 0)
		return r;
	*ret = binding_current(token);
	if (*ret) { /* a signal handler has bound this thread meanwhile */
		binding_end(binding);
		return 0;
	}
	/* A push from a signal handler must not come between SOURCE and its publication. */
	mark_busy(binding, this_frame());
	store_seq_cst(&binding->token, token); /* MO token:A -> token:B */
	thread_bindings[token_slot(token)] = binding;
	if (has_thread_end_key)
		(void)pthread_setspecific(thread_end_key, thread_bindings);
	if (binding->base)
		(void)producer_tell_source(binding); /* or with the first push that finds room */
	unmark_busy(binding);
	/* Who ended the handle or moved it on meanwhile may have looked for bindings before this
	 * one was there: it serves the push at hand and no other. */
	if (!handle_shows(token, map))
		store_relaxed(&binding->token, 0);
	*ret = binding;
	return 0;
}

static int bind_or_renew(uintptr_t token, struct ring_map *map, struct binding **ret)
{
	int r = map_is_closed(map) ? -ESHUTDOWN : bind_thread(token, map, ret);

	if (r == -ESHUTDOWN)
		r = attachment_renew(token, map) == 0 ? -ERESTART : -ESHUTDOWN;
	return r;
}

/* A push of this thread is under way below us, through a handle that has ended or moved on
 * meanwhile: its lane must stay mapped. */
static bool is_inside_push(uintptr_t token, uintptr_t frame)
{
	const struct binding *binding = thread_bindings[token_slot(token)];

	return binding && producer_is_busy(binding, frame);
}

int binding_get(uintptr_t token, struct binding **ret)
{
	for (int tries = 0; tries < 3; tries++) {
		struct ring_map *map;
		int r;

		*ret = binding_current(token);
		if (*ret)
			return 0;
		if (is_inside_push(token, this_frame()))
			return -EAGAIN;
		map = attachment_acquire(token);
		if (!binding_drop_stale(token)) {
			if (map)
				attachment_release(map);
			return map ? -ESHUTDOWN : -EBADF;
		}
		if (!map)
			return -EBADF;
		r = bind_or_renew(token, map, ret);
		if (r == 0)
			return 0; /* the binding keeps the reference */
		attachment_release(map);
		if (r != -ERESTART)
			return r;
	}
	return -ESHUTDOWN;
}

/* ---- unbind ---- */

static size_t count_pooled(const struct process_state *process)
{
	size_t pooled = 0;

	for (size_t i = 0; i < BINDINGS_MAX; i++) {
		const struct binding *binding = &process->bindings[i];

		if (!binding_was_used(binding))
			break;
		pooled += load_relaxed_u32(&binding->tid) == 0 &&
			  load_relaxed_u32(&binding->has_lane);
	}
	return pooled;
}

static void end_own_lane(struct binding *binding)
{
	const struct ring_map *map = binding->map;

	if (load_relaxed(&binding->token) != 0 && !map_is_closed(map) &&
	    !is_quarantined(map, binding->lane_no) && count_pooled(map->process) < POOLED_MAX) {
		store_release_u32(&binding->line->ended, 1); /* MO ended:A -> ended:B */
		return;
	}
	drop_lane(map, binding);
}

void binding_end(struct binding *binding)
{
	struct ring_map *map = binding->map;

	producer_abort_claim(binding);
	producer_settle(binding);
	remember_position(binding);
	if (binding->base)
		end_own_lane(binding);
	slot_free(binding);
	attachment_release(map);
}

/* Handles under which this thread has given a lane back, by slot: sync asks for those lanes, too.
 */
static _Thread_local uintptr_t tokens_left[HANDLES_MAX];

bool binding_was_left(uintptr_t token)
{
	return tokens_left[token_slot(token)] == token;
}

void binding_leave(unsigned slot)
{
	struct binding *const binding = thread_bindings[slot];
	struct binding *const outer = slot_being_left;

	slot_being_left = binding;
	signal_fence();
	thread_bindings[slot] = NULL;
	/* In a forked child the slot is wiped: nothing is held, nothing to give back. */
	if (binding && load_relaxed_u32(&binding->tid) == sys_real.gettid())
		binding_end(binding);
	signal_fence();
	slot_being_left = outer;
}

bool binding_drop_stale(uintptr_t token)
{
	struct binding *binding = thread_bindings[token_slot(token)];

	if (!binding)
		return true;
	if (load_relaxed(&binding->token) != 0 && load_relaxed(&binding->token) != token)
		return true; /* it is @token that is stale: the slot serves another handle by now */
	if (binding->claim.open)
		return false; /* the caller fills it: it must stay mapped until he is done */
	tokens_left[token_slot(token)] = token;
	binding_leave(token_slot(token));
	return true;
}

int binding_prebind(uintptr_t token, unsigned count)
{
	struct ring_map *map = attachment_acquire(token);
	struct shared_holder *holder;
	struct binding *binding;
	int r = 0;

	if (!map)
		return -EBADF;
	binding_open_begin();
	r = binding_is_vforked(map) ? -EAGAIN : holder_get(map, &holder);
	for (unsigned i = 0; r == 0 && i < count && i < map->segment.geometry.lanes - 1; i++) {
		r = bind_fresh(map, map->sys->gettid(), &binding);
		if (r == 0 && binding->base)
			store_release_u32(&binding->line->ended, 1); /* MO ended:A -> ended:B */
		if (r == 0)
			slot_free(binding);
	}
	binding_open_end();
	attachment_release(map);
	return r;
}

/* ---- the end of handles and maps ---- */

/* Not a slot of this thread: it may stand below us. */
static bool is_left(const struct ring_map *map, const struct binding *binding, uint32_t tid)
{
	const uint32_t holder = load_acquire_u32(&binding->tid); /* MO slot:B <- slot:A */

	return holder == 0 ? load_relaxed_u32(&binding->has_lane) != 0
			   : holder != tid && !map->sys->thread_alive(holder);
}

void binding_close_all(struct ring_map *map)
{
	struct binding *const outer = slot_being_taken;
	const uint32_t tid = map->sys->gettid();
	const bool may_take = !binding_is_vforked(map);

	for (size_t i = 0; i < BINDINGS_MAX; i++) {
		struct binding *binding = &map->process->bindings[i];

		if (!binding_was_used(binding))
			break;
		store_seq_cst(&binding->token, 0); /* MO token:A -> token:B */
		if (!may_take || !is_left(map, binding, tid) || !slot_take(map, binding, tid))
			continue;
		drop_lane(map, binding);
		slot_free(binding);
	}
	slot_being_taken = outer;
}

void binding_unmap_all(struct ring_map *map)
{
	struct process_state *process = map->process;

	for (size_t i = 0; i < BINDINGS_MAX; i++) {
		struct binding *binding = &process->bindings[i];

		if (!binding_was_used(binding))
			break;
		drop_lane(map, binding);
		if (binding->claim.memory)
			(void)map->sys->unmap(binding->claim.memory, binding->record_max);
		binding->claim.memory = NULL;
	}
	if (holder_is_shown(&process->holder))
		holder_unmap(map, &process->holder);
	memset(process, 0, offsetof(struct process_state, bindings));
}

/* ---- threads and forks ---- */

static void thread_ended(void *bindings)
{
	(void)bindings;
	for (unsigned slot = 0; slot < HANDLES_MAX; slot++)
		binding_leave(slot);
}

/* At most 1 ms: a bind that is stuck in a handler must not stop the fork. */
static void before_fork(void)
{
	for (int i = 0; i < 100 && load_seq_cst_u32(&binds_under_way) != 0; i++)
		(void)sys_real.sleep(INT64_C(10) * NS_PER_US);
	begun_before_fork = load_seq_cst_u32(&binds_begun);
	under_way_before_fork = load_seq_cst_u32(&binds_under_way);
}

/* Was another thread at a bind when descriptors and mappings were copied? */
static bool has_copied_a_bind(void)
{
	return under_way_before_fork != 0 || load_seq_cst_u32(&binds_begun) != begun_before_fork;
}

/* The slots that this thread points to are wiped, and free for any thread of the child. */
static void after_fork_in_child(void)
{
	memset(thread_bindings, 0, sizeof(thread_bindings));
	slot_being_taken = NULL;
	slot_being_left = NULL;
	attachment_forked(has_copied_a_bind());
	store_seq_cst_u32(&binds_under_way, 0);
}

/* The C library keeps the values of its first 32 keys in the thread itself; those behind are
 * allocated at first use, which a signal handler must not do. Without a key the tid tells, only
 * later, that a thread has ended. */
enum { KEYS_WITHOUT_HEAP = 32 };

static int watch_result;

static void watch_process(void)
{
	watch_result = -pthread_atfork(before_fork, NULL, after_fork_in_child);
	if (watch_result == 0 && pthread_key_create(&thread_end_key, thread_ended) == 0)
		has_thread_end_key = thread_end_key < KEYS_WITHOUT_HEAP;
}

int binding_watch_process(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, watch_process);
	return watch_result;
}
