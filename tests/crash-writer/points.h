/*
 * points.h - where a program's named points are: from the notes that sys/sdt.h leaves in it.
 */
#ifndef SHMLOG_TESTS_CRASH_WRITER_POINTS_H
#define SHMLOG_TESTS_CRASH_WRITER_POINTS_H

#include <stdint.h>

enum { POINTS_MAX = 96, POINT_SITES_MAX = 192, POINT_NAME_SIZE = 40 };

struct point_site {
	uint64_t address; /* as linked: add the difference of where the program lies */
	unsigned point;   /* index of its name                                       */
};

struct points {
	uint64_t entry; /* the program's first instruction, as linked */
	unsigned count;
	char names[POINTS_MAX][POINT_NAME_SIZE];
	unsigned sites_count; /* a point may be compiled into several places */
	struct point_site sites[POINT_SITES_MAX];
};

/* Of provider "shmlog" in the program at @path; ends with 2 when it has none. */
void points_read(const char *path, struct points *ret);

/* The index of a name, or -1. */
int points_find(const struct points *points, const char *name);

#endif
