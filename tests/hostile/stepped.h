/*
 * stepped.h - memory that changes between any two instructions of the writer. See stepped.c.
 */
#ifndef SHMLOG_TESTS_HOSTILE_STEPPED_H
#define SHMLOG_TESTS_HOSTILE_STEPPED_H

#include <stdint.h>

/* Take a lane, changed in turn in its headers and in its words, so many times. */
void stepped_run(uint64_t seed, unsigned passes);

#endif
