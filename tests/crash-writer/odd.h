/*
 * odd.h - the writer is killed where it comes by only if somebody else has been at its files or its
 * ring. See odd.c.
 */
#ifndef SHMLOG_TESTS_CRASH_WRITER_ODD_H
#define SHMLOG_TESTS_CRASH_WRITER_ODD_H

#include "trial.h"

/* All cases, or the one of this configuration or point; a line for each. @is_reached: the points
 * that were met are marked. */
void odd_run(const struct points *points, const char *config, const char *point, bool *is_reached);

#endif
