/*
 * member.h - a hostile member of the ring's group: what it does. See member.c.
 */
#ifndef SHMLOG_TESTS_HOSTILE_MEMBER_H
#define SHMLOG_TESTS_HOSTILE_MEMBER_H

#include "scene.h"
#include "scribble.h"

struct member {
	const struct scene *scene;
	struct dice dice;
	struct geometry geometry;
	uint8_t *base; /* the whole segment, writable                                  */
	int fd;
};

struct act {
	const char *name;
	void (*once)(struct member *member);
	bool takes_memory; /* who has it mapped may die                                */
	bool may_replace;  /* ... or the writer makes another ring                     */
};

extern const struct act acts[];
extern const unsigned act_count;

/* Punches holes while nobody else gets memory: for a mount of its own, which it fills. */
extern const struct act act_starve;
void member_filler_path(char path[256]);

/* A child that does it: once, or again and again until killed. */
pid_t member_start(const struct scene *scene, const struct act *act, uint64_t seed, bool again);

#endif
