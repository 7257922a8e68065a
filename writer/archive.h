/*
 * archive.h - sealed files become archives: DIR/<volume>/<file>.shmlog -> .shmlog.lz4.
 *
 * Owns the making of archives and the removal of the originals. Never touches a file that is not
 * sealed, never decides which volumes are due; whoever calls holds the lock of the directory (a
 * child that archives keeps its writer's open).
 *
 * Invariants:
 * 1. An archive has its final name only once it is on the disk and was read back and compared.
 * 2. An original is removed only once the name of its archive is on the disk.
 * 3. All steps can be repeated after a kill between any two of them.
 * 4. An archive is one LZ4 frame whose blocks are those of lib/archive_map.h.
 */
#ifndef SHMLOG_WRITER_ARCHIVE_H
#define SHMLOG_WRITER_ARCHIVE_H

#include "config.h"
#include "logdir.h"
#include "meter.h"
#include "sys.h"

/* A log directory. All borrowed. */
struct archive_log {
	const struct sys *sys;
	int dir;
	const char *path; /* its name for people */
};

enum archive_outcome {
	ARCHIVE_MADE,    /* there is an archive, and no original any more                     */
	ARCHIVE_STAYS,   /* not compressible                                                  */
	ARCHIVE_UNSOUND, /* stays: not a regular file, or without a good FILE or SEAL page    */
};

/**
 * archive_file() - compress one sealed file.
 * @file: as listed; LOGFILE_SEALED.
 * If its archive is there as well, both are compared, and the original goes.
 * Return: enum archive_outcome, UNSOUND with a reason; -ENOENT the file is gone; -EBADMSG the
 * archive beside it holds something else (neither is touched); -ENOSPC; other -errno. With a
 * reason.
 */
int archive_file(const struct archive_log *log, const struct logdir_file *file,
		 struct meter *meter);

/* Remove the half archives in @list, which a killed run left. 0 or the last -errno, with a
 * reason. */
int archive_clear(const struct archive_log *log, const struct logdir_list *list);

/* Volumes: from the first on, as long as they are before the last. */
struct archive_range {
	uint64_t from;
	uint64_t before;
};

struct archive_result {
	unsigned made;
	unsigned stay;
	unsigned failed;
};

/**
 * archive_volumes() - compress all sealed files in @range, the newest first: they stay longest.
 * @show: how far it is, also where standard error is no terminal.
 * What keeps one file from being compressed is said in a line on standard error.
 * Return: 0, also with failed files; -errno the directory cannot be listed, with a reason.
 */
int archive_volumes(const struct archive_log *log, struct archive_range range, bool show,
		    struct archive_result *ret);

/* ---- whole programs; in archive_run.c ---- */

/* The first argument of a writer that is to be a child which archives: its whole name. The others
 * are: parent's pid, first volume, volume before which to stop, 1 to show progress or 0, and the
 * log's path for people. */
#define ARCHIVE_NAME "shmlog-archive"

enum {
	ARCHIVE_ARGUMENTS = 6,
	/* What the child gets: the log directory, and the lock of it, to be kept open. */
	ARCHIVE_DIR_FD = 3,
	ARCHIVE_LOCK_FD = 4,
};

/**
 * archive_child() - be that child, at the lowest priority, until done or the parent is gone.
 * Return: the exit status: 0; 1 some files failed, or the parent has died; 64 arguments; 74.
 */
int archive_child(int argc, char **argv);

/**
 * archive_by_hand() - `shmlog-writer --archive': all volumes of config->directory but the newest.
 * Return: 0; 1 some files failed; -EAGAIN a writer is at work there; -ENOENT, -ENOTDIR no such
 *         directory; -EBADMSG not a log's; other -errno. With a reason.
 */
int archive_by_hand(const struct config *config, const struct sys *sys);

#endif
