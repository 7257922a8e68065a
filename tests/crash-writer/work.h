/*
 * work.h - where a suite works: a directory of its own, and the name of its ring.
 */
#ifndef SHMLOG_TESTS_CRASH_WRITER_WORK_H
#define SHMLOG_TESTS_CRASH_WRITER_WORK_H

#include <stdbool.h>

enum { WORK_PATH_SIZE = 200, WORK_RING_SIZE = 64 };

/* A fresh directory under @under (NULL: TMPDIR, or /tmp); rings are named "@suite.PID". Both
 * are gone when the program has ended, unless KEEP is in the environment. */
void work_open(const char *under, const char *suite);

void work_ring_name(char ring[WORK_RING_SIZE]);
void work_path(char path[WORK_PATH_SIZE], const char *name);

void work_ring_path(char path[WORK_PATH_SIZE], const char *ring);

/* Neither the ring nor the log is there. */
void work_begin(const char *ring, const char *directory);

/* For program_wait_until(): the ring of that name is there. */
bool work_ring_exists(void *ring);

/* A file of complaints, to standard error. */
void work_print(const char *path);

#endif
