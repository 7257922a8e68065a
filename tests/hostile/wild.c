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

		if (!strstr(line, path) || sscanf(line, "%lx-%lx %7s", &from, &to, mode) != 3 ||
		    wild->count == MAPPINGS_MAX)
			continue;
		wild->mappings[wild->count++] =
			(struct wild_mapping){ (uint8_t *)from, to - from, mode[1] == 'w' };
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

/* A lane ends a mapping: words that look right are the worst that can lie there. */
static void scribble_mapping(struct wild *wild, const struct wild_mapping *mapping)
{
	const struct geometry *geometry = &wild->geometry;
	uint8_t *lane;

	if (mapping->size >= geometry->lane_stride && dice_below(&wild->dice, 2)) {
		lane = mapping->base + mapping->size - geometry->lane_stride;
		scribble_words(&wild->dice, (uint64_t *)(void *)(lane + geometry->words_offset),
			       geometry->blocks);
	} else {
		scribble(&wild->dice, mapping->base, mapping->size);
	}
}

static void go_wild(struct wild *wild)
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

static _Noreturn void be_wild(const struct scene *scene, uint64_t seed, bool tries_shields)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct wild wild = { .scene = scene, .dice = dice_of(seed) };

	options.name = "wild";
	segment_geometry(&wild.geometry, scene->lanes, (uint32_t)(scene->lane_size / BLOCK_SIZE));
	if (shmlog_attach(scene->ring, &options, &wild.log) < 0)
		broken("wild: %s", shmlog_reason());
	(void)shmlog_try_push(wild.log, "still sane", 10);
	find_mappings(&wild);
	if (tries_shields)
		try_shields(&wild);
	if (violations())
		_exit(1);
	for (;;) {
		read_all(&wild);
		go_wild(&wild);
	}
}

pid_t wild_start(const struct scene *scene, uint64_t seed, bool tries_shields)
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
	be_wild(scene, seed, tries_shields);
}

void wild_end(pid_t pid)
{
	int status;

	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	if (WIFEXITED(status))
		violated("the broken producer ended with %d", WEXITSTATUS(status));
}
