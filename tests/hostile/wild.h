/*
 * wild.h - a broken producer. See wild.c.
 */
#ifndef SHMLOG_TESTS_HOSTILE_WILD_H
#define SHMLOG_TESTS_HOSTILE_WILD_H

#include "scene.h"

/* A child that pushes, notes it as @number's first push, then scribbles until wild_end(). */
pid_t wild_start(const struct scene *scene, unsigned number, uint64_t seed, bool tries_shields);
void wild_end(pid_t pid);

#endif
