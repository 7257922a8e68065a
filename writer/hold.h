/*
 * hold.h - what a writer must have alone: its ring and its directory.
 *
 * Owns the writer's lock byte on a segment and the lock of a log directory (the file DIR/lock).
 * Both fall with the process; both are tried for 2 s, since a killed writer's may fall late.
 */
#ifndef SHMLOG_WRITER_HOLD_H
#define SHMLOG_WRITER_HOLD_H

#include "config.h"
#include "drain.h"

#define HOLD_LOCK_NAME "lock"

/* Is there something under the ring's name? */
bool hold_ring_exists(const struct sys *sys, const struct config *config);

/**
 * hold_ring() - open the ring, or make it as configured, and become its writer.
 * @ret: heap memory; end with hold_release().
 * Return: 0; -ENOENT with --once and no ring; -EEXIST the geometry on the command line is another;
 *         -EAGAIN another writer has it (the reason names it); as segment_open() and
 *         segment_create(). With a reason.
 */
int hold_ring(const struct sys *sys, const struct config *config, struct drain **ret);

/* The name of @gone was removed: close it for its producers, make the ring again, hold it. Waits
 * for nobody: asked again later it may succeed. As hold_ring(). */
int hold_successor(const struct sys *sys, const struct config *config, const struct drain *gone,
		   struct drain **ret);

void hold_release(struct drain *drain);

/**
 * hold_directory() - open a log directory and lock it.
 * @create: make it if it is missing (not its parents).
 * @ret_lock: keep it open: it is the lock.
 * Return: 0; -EAGAIN another writer has it (the reason names it); -ENOENT, -ENOTDIR, -EACCES,
 *         -EROFS, -EOPNOTSUPP (NFS); other -errno. With a reason.
 */
int hold_directory(const struct sys *sys, const char *path, const char *ring, bool create,
		   int *ret_dir, int *ret_lock);

/* The second half: lock a log directory that is open. */
int hold_open_directory(const struct sys *sys, int dir, const char *path, const char *ring,
			int *ret_lock);

#endif
