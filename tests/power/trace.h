/*
 * trace.h - a disk that remembers what it was asked for, in which order, and what it has promised.
 *
 * disk_sys and disk_open_io stand between a whole writer and a real directory. Calls pass through,
 * so the page cache is as it would be; what changes files or names is noted as an event, with its
 * bytes. Calls on anything but the traced tree pass by. Page writes and syncs complete late, and in
 * any order.
 *
 * Positions: a cut at t leaves what events [0, t) asked for. An event that completed when there
 * were d events has `done` d: a sync with index s covers it if d <= s, and holds after a cut at t
 * if its own `done` <= t. What no such sync covers may be on the disk, or in part, or not.
 *
 * A trace lies in shared memory: the writer that fills it may be killed at any event, by the trace
 * itself. Its two locks are robust; `count` moves last.
 */
#ifndef SHMLOG_TESTS_POWER_TRACE_H
#define SHMLOG_TESTS_POWER_TRACE_H

#include <pthread.h>

#include "io.h"
#include "segment.h"
#include "sys.h"

enum {
	TRACE_LANES = 5,
	TRACE_PRODUCERS = 4,
	TRACE_RECORDS = 1024, /* of each producer */
	TRACE_NAME_SIZE = 48,
	TRACE_NODES_MAX = 4096,
	TRACE_EVENTS_MAX = 32768,
	TRACE_SNAPSHOTS_MAX = 64,
};

#define TRACE_NEVER UINT32_MAX

/* The directory that holds the traced tree. */
enum { TRACE_ROOT = 0 };

enum event_kind {
	EVENT_WRITE,  /* bytes of a file                                                      */
	EVENT_SIZE,   /* the size of a file                                                   */
	EVENT_ADD,    /* `name` in `dir` leads to `node`                                      */
	EVENT_REMOVE, /* `name` in `dir` is gone                                              */
	EVENT_RENAME, /* `name` in `dir` becomes `new_name`, which leads to `node`            */
	EVENT_SYNC,   /* of a file or directory: begins                                       */
	EVENT_SYNCED, /* ... has ended: only a place for a cut                                */
};

struct event {
	enum event_kind kind;
	uint32_t node;
	uint32_t dir;
	uint32_t done; /* TRACE_NEVER: did not complete                                       */
	uint32_t gone; /* a later cut does not find it: whoever asked was killed before       */
	bool grows;    /* a write beyond the end: the size changes with it                    */
	uint64_t offset;
	uint64_t size;
	size_t data; /* of a write: where its bytes lie in the arena                          */
	char name[TRACE_NAME_SIZE];
	char new_name[TRACE_NAME_SIZE];
	uint64_t durable[TRACE_LANES]; /* records that the ring called durable before it      */
};

struct trace_node {
	uint64_t device, inode;
	bool is_dir;
};

/* The ring and the producers' knowledge at an instant at which no producer was inside a push. */
struct snapshot {
	uint32_t at;
	size_t segment; /* in the arena */
	uint32_t pushed[TRACE_PRODUCERS];
};

/* What the producers know: the position at which they knew it. TRACE_NEVER: not. */
struct known {
	uint32_t tried[TRACE_RECORDS];
	uint32_t published[TRACE_RECORDS];
	uint32_t durable[TRACE_RECORDS];
	uint32_t pushed; /* serials that are used */
	uint32_t pid;
};

struct trace {
	size_t size; /* of the whole mapping */
	pthread_mutex_t mutex;
	pthread_mutex_t world; /* held by a producer inside a push, and while a snapshot is taken */
	uint32_t count;
	uint32_t node_count;
	uint32_t snapshot_count;
	uint32_t snapshot_every; /* events; 0: none                                           */
	uint32_t kill_at;        /* the writer that makes this event dies instead             */
	uint32_t filled;         /* long records, so far                                      */
	uint64_t seed;
	size_t used; /* of the arena */
	struct segment_view view;
	struct trace_node nodes[TRACE_NODES_MAX];
	struct snapshot snapshots[TRACE_SNAPSHOTS_MAX];
	struct known known[TRACE_PRODUCERS];
	struct event events[TRACE_EVENTS_MAX];
	uint8_t arena[];
};

/* An empty trace of what happens below @root, where everything that is there now is durable. */
struct trace *trace_create(const char *root, uint64_t seed);
void trace_destroy(struct trace *trace);

/* What disk_sys and disk_open_io of this process and its children add to. @view: of the ring whose
 * words are noted and whose memory is kept; mapped, and so shared with the children. */
void trace_use(struct trace *trace, const struct segment_view *view);

/* The next process that uses the trace lets page writes end in another order. */
void trace_seed(struct trace *trace, uint64_t seed);

/* Whoever was writing has been killed: what he had under way does not come any more. */
void trace_writer_died(struct trace *trace);

uint32_t trace_count(const struct trace *trace);
void trace_lock(pthread_mutex_t *mutex);
void trace_unlock(pthread_mutex_t *mutex);

extern const struct sys disk_sys;
int disk_open_io(enum io_choice choice, struct io **ret, const char **ret_why);

/* A small generator of its own for each purpose: the same seed, the same numbers. */
uint64_t random_next(uint64_t *state);
uint32_t random_below(uint64_t *state, uint32_t bound);

#endif
