/*
 * disk.h - between trace.c, which knows events, and disk_io.c, which lets page writes wait.
 */
#ifndef SHMLOG_TESTS_POWER_DISK_H
#define SHMLOG_TESTS_POWER_DISK_H

#include "trace.h"

/* A write is asked for: its index. It lands when it ends, or never. */
uint32_t disk_begin_write(int fd, const void *bytes, size_t size, uint64_t offset);
void disk_end_write(int fd, uint32_t index);

/* The same by a process that is about to die, inside the lock. */
void disk_land(int fd, uint32_t index);

uint32_t disk_begin_sync(int fd);
void disk_end_sync(uint32_t index);

void disk_io_seed(uint64_t seed);

/* The process is killed: some of its writes under way land, the others never do. */
void disk_io_scatter(void);

/* A fork of it has none. */
void disk_io_forget(void);

#endif
