/*
 * attachment.c - handles and the maps behind them. See attachment.h.
 */
#include "attachment.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "binding.h"
#include "inherited.h"

/* A handle slot's word: generation << 8 | map index + 1; the low byte is 0 while it is closed. */
static struct shared_u64 handles[HANDLES_MAX];
static struct ring_map maps[MAPS_MAX];

/* refs of a map that is being unmapped: neither free nor to be had. */
#define REFS_ENDING UINT32_C(0x80000000)

enum { RENEW_INTERVAL_MS = 10 };

static uint64_t handle_word(uint64_t generation, const struct ring_map *map)
{
	return generation << 8 | (uint64_t)(map - maps + 1);
}

static uintptr_t token_make(uint64_t word, unsigned slot)
{
	return (uintptr_t)(word >> 8) * HANDLES_MAX + slot;
}

static struct ring_map *word_map(uint64_t word)
{
	return word & 0xff ? &maps[(word & 0xff) - 1] : NULL;
}

/* ---- maps ---- */

static bool map_try_ref(struct ring_map *map)
{
	uint32_t refs = load_relaxed_u32(&map->refs);

	while (refs != 0 && !(refs & REFS_ENDING)) {
		if (swap_acq_rel_u32(&map->refs, refs, refs + 1)) /* MO ref:A <- unref:A */
			return true;
		refs = load_relaxed_u32(&map->refs);
	}
	return false;
}

static void map_unmap(struct ring_map *map)
{
	assert(map != NULL);
	if (map->process)
		binding_unmap_all(map);
	if (map->shown)
		(void)map->sys->unmap((void *)(uintptr_t)map->shown,
				      map->segment.geometry.owners_offset);
	if (map->doorbell)
		(void)map->sys->unmap(map->doorbell, RING_PAGE);
	map->shown = NULL;
	map->doorbell = NULL;
}

void attachment_release(struct ring_map *map)
{
	uint32_t refs;

	do {
		refs = load_relaxed_u32(&map->refs);
		assert(refs != 0 && !(refs & REFS_ENDING));
	} while (!swap_acq_rel_u32(&map->refs, refs,
				   refs == 1 ? REFS_ENDING : refs - 1)); /* MO unref:A -> ref:A */
	if (refs > 1)
		return;
	map_unmap(map);
	store_release_u32(&map->refs, 0); /* MO unref:A -> ref:A */
}

static struct ring_map *map_take(void)
{
	for (size_t i = 0; i < MAPS_MAX; i++)
		if (swap_acq_rel_u32(&maps[i].refs, 0, 1)) /* MO ref:A <- unref:A */
			return &maps[i];
	return NULL;
}

/* Kept with the map for ever: late readers of a stale binding must still find memory. */
static int map_process_state(struct ring_map *map)
{
	void *memory;
	int r;

	if (map->process)
		return 0;
	r = map->sys->map(NULL, sizeof(struct process_state), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, &memory);
	if (r < 0)
		return r;
	r = map->sys->advise(memory, sizeof(struct process_state), MADV_WIPEONFORK);
	if (r < 0) {
		(void)map->sys->unmap(memory, sizeof(struct process_state));
		return r;
	}
	map->process = memory;
	return 0;
}

static int map_part(struct ring_map *map, int fd, uint64_t size, bool writable, void **ret)
{
	const uint64_t offset = writable ? map->segment.geometry.doorbell_offset : 0;
	const int r = segment_map(&map->segment, fd, offset, size, writable, ret);

	(void)map->sys->close(fd);
	return r;
}

/* The doorbell through one open; header and status through a read-only one, so that no stray store
 * can reach them. Neither holds a lock. */
static int map_segment(struct ring_map *map, const char *ring)
{
	void *memory;
	int fd;
	int r = segment_open(map->sys, ring, O_RDWR, &map->segment);

	if (r < 0)
		return r;
	fd = map->segment.fd;
	map->segment.fd = -1;
	r = map_part(map, fd, RING_PAGE, true, &memory);
	if (r < 0)
		return r;
	map->doorbell = memory;
	store_relaxed_u32(&map->sleep_ended, 0);
	r = segment_reopen(&map->segment, O_RDONLY, &fd);
	if (r < 0)
		return reason_set(r, "ring \"%s\": it vanished meanwhile; try again", ring);
	r = map_part(map, fd, map->segment.geometry.owners_offset, false, &memory);
	if (r < 0)
		return r;
	map->shown = memory;
	map->header = memory;
	map->writer = (const void *)(map->shown + map->segment.geometry.status_offset);
	return 0;
}

int attachment_map(const struct sys *sys, const char *ring, const char *name, int level,
		   struct ring_map **ret)
{
	struct ring_map *map = map_take();
	int r;

	if (!map)
		return reason_set(-EMFILE, "ring \"%s\": this process has %d rings mapped already",
				  ring, MAPS_MAX);
	map->sys = sys;
	map->level = level;
	strncpy(map->name, name, sizeof(map->name) - 1);
	store_relaxed(&map->renew_after_ns, 0);
	store_relaxed(&map->closed_after_ns, 0);
	store_relaxed(&map->space_after_ns, 0);
	r = map_segment(map, ring);
	if (r == 0)
		r = map_process_state(map);
	if (r < 0) {
		attachment_release(map);
		return r;
	}
	binding_own_process(map);
	*ret = map;
	return 0;
}

/* ---- handles ---- */

int attachment_show(struct ring_map *map, uintptr_t *ret_token)
{
	for (unsigned slot = 0; slot < HANDLES_MAX; slot++) {
		const uint64_t old = load_relaxed(&handles[slot]);
		const uint64_t word = handle_word((old >> 8) + 1, map);

		if (word_map(old) ||
		    !swap_acq_rel(&handles[slot], old, word)) /* MO handle:A -> handle:B */
			continue;
		*ret_token = token_make(word, slot);
		return 0;
	}
	return reason_set(-EMFILE, "this process has %d handles attached already", HANDLES_MAX);
}

/* The slot's word, if @token is what it stands for. */
static bool handle_look(uintptr_t token, uint64_t *ret_word)
{
	const uint64_t word =
		load_seq_cst(&handles[token_slot(token)]); /* MO handle:B <- handle:A */

	if (!word_map(word) || token_make(word, token_slot(token)) != token)
		return false;
	*ret_word = word;
	return true;
}

struct ring_map *attachment_acquire(uintptr_t token)
{
	uint64_t word, again;

	while (handle_look(token, &word)) {
		struct ring_map *map = word_map(word);

		if (!map_try_ref(map))
			continue;
		if (handle_look(token, &again) && again == word)
			return map;
		attachment_release(map); /* the handle moved on between the two looks */
	}
	return NULL;
}

bool attachment_end(uintptr_t token, struct ring_map **ret_map)
{
	uint64_t word;

	while (handle_look(token, &word)) {
		if (!swap_seq_cst(&handles[token_slot(token)], word,
				  word & ~UINT64_C(0xff))) /* MO handle:A -> handle:B */
			continue;
		*ret_map = word_map(word);
		return true;
	}
	return false;
}

/* Whoever found no successor need not ask again at once. A ring that is closed has a time of its
 * own: its successor exists by then, although a moment ago, when a lane was full, there was none.
 */
static struct shared_u64 *renew_after(struct ring_map *map)
{
	return map_is_closed(map) ? &map->closed_after_ns : &map->renew_after_ns;
}

/* Is there another ring under the name now? No heap: pushes in signal handlers come here too. */
static bool has_successor(const struct ring_map *map)
{
	int fd, r;

	binding_open_begin();
	r = segment_reopen(&map->segment, O_RDONLY, &fd);
	if (r == 0)
		(void)map->sys->close(fd);
	binding_open_end();
	return r == -ESTALE;
}

int attachment_renew(uintptr_t token, struct ring_map *map)
{
	struct shared_u64 *after;
	struct ring_map *fresh;
	uint64_t word, now;
	int r;

	if (!handle_look(token, &word))
		return -EBADF;
	if (word_map(word) != map)
		return 0; /* another thread did it */
	after = renew_after(map);
	now = clock_monotonic_ns();
	if (now < load_relaxed(after))
		return -ESHUTDOWN;
	if (binding_is_vforked(map))
		return -ESHUTDOWN; /* it binds nothing, and its parent's slots are its parent's */
	if (!has_successor(map)) {
		store_relaxed(after, now + RENEW_INTERVAL_MS * (uint64_t)NS_PER_MS);
		return -ESHUTDOWN;
	}
	r = attachment_map(map->sys, map->segment.name, map->name, map->level, &fresh);
	if (r < 0)
		return r == -ENOENT ? -ESHUTDOWN : r;
	/* Its process is the old map's, whoever is asking: see I5 of binding.h. */
	store_relaxed_u32(&fresh->process->pid, load_relaxed_u32(&map->process->pid));
	for (size_t i = 0; i < LOSS_REASONS; i++) /* statistics are the handle's */
		store_relaxed(&fresh->process->drops[i], load_relaxed(&map->process->drops[i]));
	if (!swap_seq_cst(&handles[token_slot(token)], word,
			  handle_word(word >> 8, fresh))) { /* MO handle:A -> handle:B */
		attachment_release(fresh);
		return 0;
	}
	binding_close_all(map);
	attachment_release(map);
	return 0;
}

void attachment_forked(bool has_copied_a_bind)
{
	for (size_t i = 0; i < MAPS_MAX; i++) {
		uint32_t refs = 0;

		if (has_copied_a_bind && maps[i].shown)
			inherited_drop(&maps[i].segment);

		for (unsigned slot = 0; slot < HANDLES_MAX; slot++)
			refs += word_map(load_relaxed(&handles[slot])) == &maps[i];
		store_relaxed_u32(&maps[i].refs, refs);
		if (refs > 0)
			binding_own_process(&maps[i]);
	}
}
