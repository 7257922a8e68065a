/*
 * shmlog.h - publish records into a shared-memory ring; never wait for it.
 *
 * A process attaches a ring by name and pushes records from any thread. A push copies the record
 * into memory that shmlog-writer drains, or drops and counts it. As long as there is room it makes
 * no system call but, at most once each half lane, one futex wake of a sleeping writer; a refused
 * push wakes the writer, and looks at most each 10 ms whether the ring was made anew. "Published"
 * means that the push returned 0: from then on the death of this process, or of the writer, loses
 * nothing.
 *
 *	struct shmlog *log;
 *	int r = shmlog_attach("orders", NULL, &log);
 *	if (r < 0)
 *		return fprintf(stderr, "orders: %s\n", shmlog_reason()), 1;
 *	shmlog_try_push(log, "hello", 5);
 *	shmlog_detach(&log);
 *
 * C++: a structure and an enumeration share their name with a function (struct shmlog_claim,
 * enum shmlog_sync); write the `struct` or `enum` before it there, too.
 *
 * All functions return 0 or a negative errno, print nothing and never exit. One handle serves all
 * threads of a process and stays usable in the child of a fork (the child binds lanes of its own
 * at its first push). A child that is forked inside a signal handler that interrupted a push may
 * push, too, but must not return from the handler. A vforked child may push in the place of a
 * thread that is bound; it cannot bind: -EAGAIN.
 *
 * A handler may leave a push by siglongjmp(): then the record is in the log, whole, or it is not,
 * and a drop may be counted or not. Where the thread shares lane 0, what others publish there
 * behind it arrives only after a next push of the thread (perhaps the one after that, where others
 * push at that instant), its shmlog_unbind() or its end. Leave nothing else
 * of this library: what a first push or shmlog_bind() were taking (a lane, an owner id, a
 * descriptor) stays taken until the process ends, and a claim that nobody knows of stays open.
 *
 * C11, C++11 and up.
 */
#ifndef SHMLOG_H
#define SHMLOG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SHMLOG_VERSION_MAJOR 0
#define SHMLOG_VERSION_MINOR 1
#define SHMLOG_VERSION_PATCH 0

#if defined(__GNUC__)
#define SHMLOG_API __attribute__((visibility("default")))
#else
#define SHMLOG_API
#endif

/* A handle: a token, not an address. A handle that was detached is recognised, never followed. */
struct shmlog;

/* Levels, as in syslog: the smaller, the more urgent. */
enum shmlog_level {
	SHMLOG_EMERGENCY = 0,
	SHMLOG_ALERT = 1,
	SHMLOG_CRITICAL = 2,
	SHMLOG_ERROR = 3,
	SHMLOG_WARNING = 4,
	SHMLOG_NOTICE = 5,
	SHMLOG_INFO = 6,
	SHMLOG_DEBUG = 7
};

/* What stamps the records of a ring; chosen when the ring is created. */
enum shmlog_clock {
	SHMLOG_CLOCK_AUTO = 0, /* the TSC where it is constant, else CLOCK_MONOTONIC  */
	SHMLOG_CLOCK_TSC = 1,
	SHMLOG_CLOCK_MONOTONIC = 2, /* clock_gettime(2): tens of nanoseconds a push        */
	SHMLOG_CLOCK_NONE = 3,      /* nothing to pay; readers see the order of the drain  */
	SHMLOG_CLOCK_WRITER = 4     /* nothing to pay; stamped when the writer drains      */
};

/* Begin with SHMLOG_OPTIONS_INIT: attach an existing ring, level info, all defaults. NULL is the
 * same. */
struct shmlog_options {
	size_t size;      /* sizeof(struct shmlog_options)                                */
	const char *name; /* of this process in the log, cut to 63 bytes; NULL: its command name */
	int level;        /* of shmlog_try_push(), 1 .. 7; 0 = info                        */
	int create;       /* nonzero: make the ring if there is none, with what follows   */
	uint32_t lanes;   /* 1 .. 256; 0 = 32. With 1 all threads share it: total order   */
	uint64_t lane_size; /* bytes, a power of two of at least 65536; 0 = 1 MiB          */
	uint32_t mode_bits; /* permission bits of a ring that is made, 0600 .. 0666; 0 = 0600 */
	enum shmlog_clock clock; /* of a ring that is made                                 */
	unsigned prebind; /* lanes (as many as are free) and an owner id to take now: before chroot,
			   * setuid, seccomp */
};

#ifdef __cplusplus
#define SHMLOG_OPTIONS_INIT                                                              \
	{                                                                                \
		sizeof(struct shmlog_options), NULL, 0, 0, 0, 0, 0, SHMLOG_CLOCK_AUTO, 0 \
	}
#else
#define SHMLOG_OPTIONS_INIT                           \
	{                                             \
		.size = sizeof(struct shmlog_options) \
	}
#endif

/**
 * shmlog_attach() - map a ring and make a handle for all threads of this process.
 * @ring:    name, [A-Za-z0-9._-]{1,200}, no leading dot; borrowed.
 * @options: NULL for defaults (SHMLOG_OPTIONS_INIT); borrowed.
 * @ret_log: the handle, set on success only; end it with shmlog_detach().
 * Return: 0; -EINVAL bad name or option; -ENOENT no such ring (and create not asked for);
 *         -EACCES not permitted, or the ring belongs to somebody who is not trusted;
 *         -EPROTO a ring of another layout version; -EBADMSG not a ring; -ENOSPC no memory for a
 *         new ring; -EMFILE 16 handles are attached already, or no descriptor; other -errno.
 *         shmlog_reason() tells more.
 * Context: any thread; not a signal handler.
 * Crash:   a ring is created whole or not at all.
 */
SHMLOG_API int shmlog_attach(const char *ring, const struct shmlog_options *options,
			     struct shmlog **ret_log);

/**
 * shmlog_detach() - end the handle; what was published stays published.
 * @log: address of the handle, which is set to NULL; NULL or *log == NULL do nothing.
 *
 * Aborts the caller's open claim and gives its lane back. Other threads may be pushing: from now
 * on they get -EBADF, and give their lanes back then, or when they end.
 * Context: any thread; not a signal handler.
 */
SHMLOG_API void shmlog_detach(struct shmlog **log);

/**
 * shmlog_bind() - take a lane for the calling thread now, rather than at its first push.
 *
 * Opens, locks and maps the lane and touches its pages: 100 to 200 microseconds that a real-time
 * thread wants behind it. Binds the shared lane 0 if no other is free.
 * Return: 0, also if bound already; -EAGAIN no lane and no owner id is free, the shared lane is
 *         full, or called inside a push; -ESHUTDOWN the ring was removed and there is no new one;
 * -EBADF. Context: any thread or signal handler; keeps errno.
 */
SHMLOG_API int shmlog_bind(struct shmlog *log);

/**
 * shmlog_unbind() - give the calling thread's lane back; its next push binds again.
 * An open claim is aborted. Order is promised within a lane: what the thread has published in the
 * shared lane behind a thread that is stopped inside a push may be shown after what it publishes
 * from now on, unless shmlog_sync() says that it is written.
 * Return: 0, also if not bound; -EBADF no such handle.
 * Context: any thread; not a signal handler.
 */
SHMLOG_API int shmlog_unbind(struct shmlog *log);

/**
 * shmlog_try_push() - copy one record into the ring, or drop it; never waits.
 * @log:   attached handle; borrowed.
 * @data:  record bytes, copied before return; the caller keeps them; may be NULL if size is 0.
 * @size:  bytes, 0 .. shmlog_record_max(log).
 *
 * The level is the handle's. A thread's first push binds it (see shmlog_bind).
 * Return: 0 published, or its level is above the ring's threshold; -EAGAIN dropped and counted: no
 *         room, no lane, a lane whose words make no sense, or called from a signal handler inside
 *         another push; -EMSGSIZE too large, counted; -ESHUTDOWN the ring was removed and there is
 *         no new one (or a claim is open in the old one), counted nowhere; -EBADF no such handle.
 * Context: any thread or signal handler; keeps errno.
 * Crash:   killed before the record's READY store: it never existed; after it: it reaches the disk
 *          exactly once.
 */
SHMLOG_API int shmlog_try_push(struct shmlog *log, const void *data, size_t size);

/* The same with a level of its own, 0 .. 7; -EINVAL beyond. Above the threshold: 0, counted
 * nowhere. */
SHMLOG_API int shmlog_try_push_at(struct shmlog *log, int level, const void *data, size_t size);

/**
 * shmlog_push_wait() - the same, but wait for room.
 * @timeout_ns: at most so long; < 0 for ever; 0 as shmlog_try_push_at().
 *
 * Return: as shmlog_try_push_at(), and -ETIMEDOUT: no room came in time, dropped and counted;
 *         -EAGAIN only inside another push of the thread.
 * Context: any thread; in a signal handler only with timeout 0.
 */
SHMLOG_API int shmlog_push_wait(struct shmlog *log, int level, const void *data, size_t size,
				int64_t timeout_ns);

/* A record that is written in place. Its fields but `data` are the library's. */
struct shmlog_claim {
	void *data; /* size bytes to fill, 8-aligned */
	size_t size;
	uint64_t position;
	uint64_t serial;
};

/**
 * shmlog_claim() - room for one record, to fill in place.
 * @size: the most that may be committed, 0 .. shmlog_record_max(log).
 *
 * One claim a thread and handle may be open; it ends by shmlog_commit() or shmlog_abort() in the
 * same thread. In a lane of the thread's own the claim keeps its place: what the thread pushes
 * meanwhile is published at once but reaches the disk behind it. In the shared lane the room is
 * private memory, and commit pushes it. The level is compared with the ring's threshold at commit.
 * A ring that is removed meanwhile keeps the claim until it is committed, which still counts; the
 * thread's other pushes get -ESHUTDOWN until then.
 * Return: 0; -EAGAIN as shmlog_try_push(), counted; -EMSGSIZE, counted; -EBUSY a claim is open;
 *         -EINVAL; -ESHUTDOWN; -EBADF.
 * Context: any thread; not a signal handler.
 * Crash:   a claim whose thread or process ended is stepped over; what lies behind it arrives.
 */
SHMLOG_API int shmlog_claim(struct shmlog *log, int level, size_t size,
			    struct shmlog_claim *ret_claim);

/**
 * shmlog_commit() - publish the first @size bytes of a claim.
 * Return: 0 published, or its level is above the threshold; in the shared lane as
 *         shmlog_try_push(); -EMSGSIZE more than was claimed (the claim stays open); -EBADF not an
 * open claim of this thread (opened before a fork, or ended). Context: the thread that claimed.
 */
SHMLOG_API int shmlog_commit(struct shmlog *log, struct shmlog_claim *claim, size_t size);

/* Give a claim up; nothing is published or counted. 0 or -EBADF, as shmlog_commit(). */
SHMLOG_API int shmlog_abort(struct shmlog *log, struct shmlog_claim *claim);

enum shmlog_sync {
	SHMLOG_SYNC_WRITTEN = 0,     /* survives the end of this process and of the writer */
	SHMLOG_SYNC_DURABLE = 1,     /* survives power loss                                */
	SHMLOG_SYNC_ALL_THREADS = 16 /* |: what all threads of this handle have published  */
};

/**
 * shmlog_sync() - wait until what this thread has published is written, or durable.
 * @what:       enum shmlog_sync.
 * @timeout_ns: < 0 waits for ever.
 * Return: 0; -ETIMEDOUT; -EIO records of this lane were lost to a failed write or sync since the
 *         thread was bound, said once; -ESHUTDOWN the ring was removed; -EINVAL; -EBADF.
 * Context: any thread; not a signal handler. Waits behind an open claim of the thread. A
 *          thread that has given its lane back waits for all lanes of the handle. What lies in a
 *          ring that was removed and made anew is no longer asked for.
 */
SHMLOG_API int shmlog_sync(struct shmlog *log, int what, int64_t timeout_ns);

/* Ask the writer to drain now; returns at once. 0 or -EBADF. Any thread or signal handler. */
SHMLOG_API int shmlog_trigger(struct shmlog *log);

/* What this process lost through the handle, in records, since it attached (or was forked). */
struct shmlog_stats {
	size_t size;      /* sizeof(struct shmlog_stats), set by the caller           */
	uint64_t dropped; /* the sum of those that follow                             */
	uint64_t dropped_full;
	uint64_t dropped_size;
	uint64_t dropped_busy;
	uint64_t dropped_no_lane;
	uint64_t dropped_corrupt;
	uint32_t lanes;   /* own lanes held now, pooled ones included                 */
	uint32_t threads; /* threads bound now                                        */
};

/**
 * shmlog_get_stats() - what pushes through this handle have dropped, by all its threads.
 * Return: 0; -EINVAL stats->size is unknown; -EBADF.
 * Context: any thread; not a signal handler.
 */
SHMLOG_API int shmlog_get_stats(struct shmlog *log, struct shmlog_stats *stats);

/* The largest record, in bytes; 0 for a handle that is none. */
SHMLOG_API size_t shmlog_record_max(struct shmlog *log);

/* A fixed English text for a negative errno that a shmlog function returned. Never NULL. */
SHMLOG_API const char *shmlog_strerror(int error);

/* Why the calling thread's last attach or reader call failed: object, reason, cure. Never NULL. */
SHMLOG_API const char *shmlog_reason(void);

#ifdef __cplusplus
}
#endif

#endif
