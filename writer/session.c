/*
 * session.c - hold the ring and the directory, recover, run. See session.h.
 */
#include "session.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hold.h"
#include "say.h"
#include "utf8.h"
#include "writer.h"

static int open_io(struct writer *writer, session_open_io *open)
{
	const char *why = NULL;
	const int r = open(writer->config->io, &writer->io, &why);

	if (r < 0 && writer->config->io == IO_CHOOSE_URING)
		return reason_set(-EOPNOTSUPP,
				  "--io uring: the kernel or a sandbox refuses it: %s; take "
				  "--io auto or pwrite",
				  strerror(-r));
	if (r < 0)
		return reason_set(r, "cannot open the disk back end: %s", strerror(-r));
	if (why)
		say(why);
	return 0;
}

/* ---- is this the log that the ring was drained into? ---- */

static bool is_same_path(const struct writer_status *status, const char *path)
{
	return strncmp(status->log_path, path, sizeof(status->log_path) - 1) == 0;
}

/* Pages of another log may have been under way when its writer was killed: what it had taken and
 * not released yet would be written twice. */
static bool is_foreign(const struct writer *writer, uint64_t log_id, const char *path)
{
	const struct writer_status *status = writer->ring->writer;

	if (status->pending_log_id == 0)
		return false;
	if (log_id == 0 && is_same_path(status, path))
		return false; /* killed before its first page, or the log was deleted */
	return status->pending_log_id != log_id;
}

/* The path that the ring's status names, for people. */
static void shown_path(const struct writer *writer, char path[WRITER_PATH_SIZE])
{
	utf8_copy_shown(path, writer->ring->writer->log_path, WRITER_PATH_SIZE);
}

/*
 * The path stands in memory that the ring's group may write, and locking and recovering a directory
 * changes files in it. So it must be proven first to be what the ring says, by looking alone: a
 * directory that nobody else may write, which holds the very log. 1: it holds no log at all.
 */
static int check_adopted(const struct writer *writer, int dir, const char *path)
{
	struct stat status;
	uint64_t log_id;
	int r = writer->sys->fstat(dir, &status);

	if (r < 0)
		return reason_set(r, "directory \"%s\": %s", path, strerror(-r));
	if ((status.st_uid != geteuid() && status.st_uid != 0) || (status.st_mode & 0022))
		return reason_set(-EACCES,
				  "directory \"%s\": --adopt takes only a log that nobody else may "
				  "write; drain the ring there (-d), then here",
				  path);
	r = recover_log_id(writer->sys, dir, &log_id);
	if (r < 0)
		return r;
	if (log_id == 0)
		return 1;
	if (log_id != writer->ring->writer->pending_log_id)
		return reason_set(-EXDEV,
				  "directory \"%s\": it does not hold the log that ring \"%s\" "
				  "speaks of; drain the ring where its log is, or remove it",
				  path, writer->config->ring);
	return 0;
}

static int recover_adopted(struct writer *writer, int dir, const char *path)
{
	struct recovery recovery;
	struct roll roll;
	int lock;
	int r = hold_open_directory(writer->sys, dir, path, writer->config->ring, &lock);

	if (r < 0)
		return r;
	r = roll_open(&roll, writer->sys, dir, path, false);
	if (r == 0) {
		r = recover_log(&roll, writer->ring, &recovery);
		roll_close(&roll);
	}
	(void)writer->sys->close(lock);
	return r;
}

static int tell_log_gone(const char *path)
{
	(void)fprintf(stderr,
		      "shmlog-writer: the ring's log %s is gone: going on without it; the last "
		      "records that it took may be written twice\n",
		      path);
	return 0;
}

/* --adopt: settle the other log, so that the ring knows what is in it. */
static int adopt(struct writer *writer)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
	char path[WRITER_PATH_SIZE];
	int dir;
	int r;

	shown_path(writer, path);
	dir = path[0] == '/' ? writer->sys->open(path, flags, 0) : -ENOENT;
	if (dir == -ENOENT)
		return tell_log_gone(path);
	if (dir < 0)
		return reason_set(dir, "directory \"%s\": cannot open it: %s", path,
				  strerror(-dir));
	r = check_adopted(writer, dir, path);
	if (r == 0)
		r = recover_adopted(writer, dir, path);
	else if (r > 0)
		r = tell_log_gone(path);
	(void)writer->sys->close(dir);
	return r;
}

/* 0: it is; 1: it is not, and the other is to be adopted; -EXDEV. */
static int check_log(const struct writer *writer, uint64_t log_id, const char *path)
{
	char other[WRITER_PATH_SIZE];

	if (!is_foreign(writer, log_id, path))
		return 0;
	if (writer->config->adopt)
		return 1;
	shown_path(writer, other);
	return reason_set(
		-EXDEV,
		"directory \"%s\": ring \"%s\" was last drained into %s, and that writer "
		"did not end cleanly; use that directory, or --adopt to recover it and go "
		"on here",
		path, writer->config->ring, other);
}

/* ---- start ---- */

static int new_log_id(const struct writer *writer, const char *path, uint64_t *ret)
{
	const struct writer_status *status = writer->ring->writer;
	int r = 0;

	*ret = is_same_path(status, path) ? status->pending_log_id : 0;
	while (r >= 0 && *ret == 0)
		r = writer->sys->getrandom(ret, sizeof(*ret));
	return r < 0 ? reason_set(r, "cannot draw an id for the log: %s", strerror(-r)) : 0;
}

static void tell_recovery(const struct recovery *recovery)
{
	if (recovery->sealed)
		(void)fprintf(stderr,
			      "shmlog-writer: recovered: sealed %u files, %llu bytes set aside, "
			      "%llu pages "
			      "missing\n",
			      recovery->sealed, (unsigned long long)recovery->cut,
			      (unsigned long long)recovery->missing);
}

/* A new log on a disk that takes not even one file is a mistake, to be told at once. One that goes
 * on, or a ring that holds something, waits for room. */
static int check_room(const struct writer *writer, const char *path)
{
	const struct roll_room leave = { writer->config->min_free,
					 writer->config->min_free_percent };
	uint64_t spare;

	if (drain_backlog(writer->ring) > 0 ||
	    roll_spare(writer->sys, writer->dir, &leave, &spare) < 0 || spare >= FILE_SIZE_MIN)
		return 0;
	return reason_set(-ENOSPC,
			  "directory \"%s\": no room for a log: %llu bytes may be taken, a file "
			  "needs %d; make room, or lower --min-free",
			  path, (unsigned long long)spare, FILE_SIZE_MIN);
}

static int recover(struct writer *writer, const char *path, struct recovery *recovery)
{
	bool continues, is_adopting, is_new;
	uint64_t log_id;
	int r = recover_log_id(writer->sys, writer->dir, &log_id);

	if (r < 0)
		return r;
	r = check_log(writer, log_id, path);
	if (r < 0)
		return r;
	is_adopting = r > 0;
	r = recover_log(&writer->roll, writer->ring, recovery);
	/* After our own: the ring was drained into it later, so what it says of the sources holds.
	 */
	if (r == 0 && is_adopting)
		r = adopt(writer);
	if (r < 0)
		return r;
	is_new = recovery->log_id == 0;
	if (is_new)
		r = new_log_id(writer, path, &recovery->log_id);
	if (r < 0)
		return r;
	/* Only the log that spoke for the ring so far can be missing something of it: also all,
	 * where the disk has kept no file of it. */
	continues = recovery->log_id == writer->ring->writer->log_id;
	drain_restore_end(writer->ring, continues);
	if (is_new)
		r = check_room(writer, path);
	if (r < 0)
		return r;
	writer_enter_ring(writer, writer->ring, recovery->log_id);
	tell_recovery(recovery);
	return 0;
}

static int run_in_directory(struct writer *writer, session_open_io *open, const char *path)
{
	struct recovery recovery;
	int r = open_io(writer, open);

	if (r < 0)
		return r;
	r = roll_open(&writer->roll, writer->sys, writer->dir, path,
		      writer->io->backend == IO_URING);
	if (r < 0)
		return reason_set(r, "out of memory");
	r = recover(writer, path, &recovery);
	if (r == 0)
		r = writer_run(writer, &recovery);
	roll_close(&writer->roll);
	io_close(&writer->io);
	return r;
}

static int hold_log(struct writer *writer)
{
	return hold_directory(writer->sys, writer->config->directory, writer->config->ring, true,
			      &writer->dir, &writer->dir_lock);
}

/* Whatever exists already is held first: what cannot be held leaves nothing new behind. */
static int hold_both(struct writer *writer)
{
	const bool is_ring_first =
		writer->config->once || hold_ring_exists(writer->sys, writer->config);
	int r = is_ring_first ? hold_ring(writer->sys, writer->config, &writer->ring)
			      : hold_log(writer);

	if (r < 0)
		return r;
	return is_ring_first ? hold_log(writer)
			     : hold_ring(writer->sys, writer->config, &writer->ring);
}

static int run_holding(struct writer *writer, session_open_io *open)
{
	char path[PATH_MAX];

	if (!realpath(writer->config->directory, path))
		(void)snprintf(path, sizeof(path), "%s", writer->config->directory);
	return run_in_directory(writer, open, path);
}

static void release_all(struct writer *writer)
{
	for (unsigned i = 0; i + 1 < writer->ring_count; i++)
		hold_release(writer->rings[i]);
	if (writer->ring)
		hold_release(writer->ring);
	if (writer->dir_lock >= 0)
		(void)writer->sys->close(writer->dir_lock);
	if (writer->dir >= 0)
		(void)writer->sys->close(writer->dir);
	if (writer->signals >= 0)
		(void)writer->sys->close(writer->signals);
}

static void pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		(void)fprintf(stderr, "shmlog-writer: --cpu %d: %s; running on any\n", cpu,
			      strerror(errno));
}

int session_run(struct config *config, const struct sys *sys, session_open_io *open)
{
	struct writer writer = {
		.sys = sys, .config = config, .dir = -1, .dir_lock = -1, .signals = -1
	};
	int r = writer_open_signals(&writer);

	pin(config->cpu);
	if (r == 0)
		r = hold_both(&writer);
	if (r == 0)
		r = run_holding(&writer, open);
	release_all(&writer);
	return r;
}
