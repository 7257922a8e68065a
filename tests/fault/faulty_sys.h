/*
 * faulty_sys.h - the table of system calls with the planned fault in it.
 */
#ifndef SHMLOG_TESTS_FAULT_FAULTY_SYS_H
#define SHMLOG_TESTS_FAULT_FAULTY_SYS_H

#include "sys.h"

/* CLOCK_MONOTONIC runs faster there, so that a pause of half a second is one of milliseconds. */
enum { TIME_FACTOR = 20 };

extern const struct sys faulty_sys;

/* The library takes the real table: put the planned fault into that one, in this process. Time
 * runs as it does. */
void faulty_sys_install(void);

#endif
