/*
 * wild.c - a broken producer: everything that the library mapped in its process is scribbled over.
 *
 * It finds the mappings as an accident would, through /proc/self/maps, reads all of them and stores
 * into those that take it. The others must refuse: a child tries each page and has to die of it.
 */
#include "wild.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "program.h"
#include "scribble.h"
#include "shmlog.h"

enum { MAPPINGS_MAX = 32, BURST = 200 };

struct wild_mapping {
	uint8_t *base;
	size_t size;
	uint64_t offset; /* in the segment */
	bool is_writable;
};

struct wild {
	const struct scene *scene;
	struct geometry geometry;
	struct shmlog *log;
	struct dice dice;
	struct wild_mapping mappings[MAPPINGS_MAX];
	unsigned count;
};

static void find_mappings(struct wild *wild)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512], path[256], mode[8];

	wild->count = 0;
	scene_segment_path(wild->scene, path);
	while (maps && fgets(line, sizeof(line), maps)) {
		uintptr_t from, to;
		uint64_t offset;

		if (!strstr(line, path) ||
		    sscanf(line, "%lx-%lx %7s %lx", &from, &to, mode, &offset) != 4 ||
		    wild->count == MAPPINGS_MAX)
			continue;
		wild->mappings[wild->count++] =
			(struct wild_mapping){ (uint8_t *)from, to - from, offset, mode[1] == 'w' };
	}
	if (maps)
		(void)fclose(maps);
	if (wild->count < 2)
		broken("the broken producer finds no mappings");
}

/* One store, which nothing may survive. */
static void try_store(uint8_t *at)
{
	const pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		(void)signal(SIGSEGV, SIG_DFL);
		*(volatile uint8_t *)at = 1;
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		broken("fork");
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
		violated("a store went through a mapping that is read-only, at %p", (void *)at);
	__atomic_fetch_add(&figures->shielded, 1, __ATOMIC_RELAXED);
}

static void try_shields(const struct wild *wild)
{
	for (unsigned i = 0; i < wild->count; i++) {
		const struct wild_mapping *mapping = &wild->mappings[i];

		for (size_t at = 0; !mapping->is_writable && at < mapping->size; at += RING_PAGE)
			try_store(mapping->base + at);
	}
}

static void read_all(const struct wild *wild)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < wild->count; i++)
		for (size_t at = 0; at < wild->mappings[i].size; at += 8)
			sum += *(volatile uint64_t *)(void *)(wild->mappings[i].base + at);
	(void)sum;
}

/* What the mapping of header and status shows of the lane that ends @mapping. */
static uint64_t released_of(const struct wild *wild, const struct wild_mapping *mapping)
{
	const struct geometry *geometry = &wild->geometry;
	const uint64_t lane = mapping->offset + mapping->size - geometry->lane_stride;
	const uint32_t lane_no =
		(uint32_t)((lane - geometry->lanes_offset) / geometry->lane_stride);

	for (unsigned i = 0; i < wild->count; i++)
		if (!wild->mappings[i].is_writable && wild->mappings[i].offset == 0)
			return *(const volatile uint64_t
					 *)(const void *)(wild->mappings[i].base +
							  geometry_lane_status_offset(geometry,
										      lane_no));
	broken("header and status are not mapped");
}

static uint64_t *words_of(const struct wild *wild, const struct wild_mapping *mapping)
{
	const struct geometry *geometry = &wild->geometry;

	return (uint64_t *)(void *)(mapping->base + mapping->size - geometry->lane_stride +
				    geometry->words_offset);
}

/* A lane ends a mapping: words that look right are the worst that can lie there. */
static void scribble_mapping(struct wild *wild, const struct wild_mapping *mapping)
{
	if (mapping->size >= wild->geometry.lane_stride && dice_below(&wild->dice, 2))
		scribble_words(&wild->dice, words_of(wild, mapping), wild->geometry.blocks,
			       released_of(wild, mapping));
	else
		scribble(&wild->dice, mapping->base, mapping->size);
}

/* Nothing where the consumer is, but records ahead of it that nobody has published: who gets the
 * lane next must not stumble over them. */
static void mine(struct wild *wild)
{
	const uint32_t blocks = wild->geometry.blocks;

	for (unsigned i = 0; i < wild->count; i++) {
		const struct wild_mapping *mapping = &wild->mappings[i];
		uint64_t at;

		if (!mapping->is_writable || mapping->size < wild->geometry.lane_stride)
			continue;
		at = released_of(wild, mapping) + 64 + dice_below(&wild->dice, 64);
		for (uint64_t end = at + 400; at < end; at += 1 + dice_below(&wild->dice, 3))
			words_of(wild, mapping)[at & (blocks - 1)] = word_make(
				at / blocks + 1 + dice_below(&wild->dice, 2), 1, 0, WORD_READY);
	}
	(void)pause();
}

static _Noreturn void go_wild(struct wild *wild)
{
	unsigned long stores = 0;

	for (;;) {
		const struct wild_mapping *mapping =
			&wild->mappings[dice_below(&wild->dice, wild->count)];

		if (mapping->is_writable)
			scribble_mapping(wild, mapping);
		if (++stores % BURST)
			continue;
		__atomic_fetch_add(&figures->wild_stores, BURST, __ATOMIC_RELAXED);
		for (int i = 0; i < 5; i++)
			(void)shmlog_try_push(wild->log, "from the wild", 13);
		sleep_ms(1);
	}
}

static _Noreturn void be_wild(const struct scene *scene, unsigned number, uint64_t seed,
			      bool tries_shields)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct wild wild = { .scene = scene, .dice = dice_of(seed) };

	options.name = "wild";
	segment_geometry(&wild.geometry, scene->lanes, (uint32_t)(scene->lane_size / BLOCK_SIZE));
	if (shmlog_attach(scene->ring, &options, &wild.log) < 0)
		broken("wild: %s", shmlog_reason());
	(void)shmlog_try_push(wild.log, "still sane", 10);
	journal_note(scene->journal, number, 0, JOURNAL_PASSED_OVER); /* said, and not demanded */
	find_mappings(&wild);
	if (tries_shields)
		try_shields(&wild);
	if (violations())
		_exit(1);
	read_all(&wild);
	if (seed / 2 % 2)
		mine(&wild);
	go_wild(&wild);
}

pid_t wild_start(const struct scene *scene, unsigned number, uint64_t seed, bool tries_shields)
{
	const pid_t parent = getpid();
	const pid_t pid = fork();

	if (pid < 0)
		broken("fork");
	if (pid > 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	be_wild(scene, number, seed, tries_shields);
}

void wild_end(pid_t pid)
{
	int status;

	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	if (WIFEXITED(status))
		violated("the broken producer ended with %d", WEXITSTATUS(status));
}
