/*
 * mount.h - a small shared-memory file system of this process and its children alone.
 */
#ifndef SHMLOG_TESTS_HOSTILE_MOUNT_H
#define SHMLOG_TESTS_HOSTILE_MOUNT_H

#include <stdbool.h>

/* 2 MiB of it at @directory; false, with errno: not permitted here. */
bool mount_small(const char *directory);
void unmount_small(const char *directory);

#endif
