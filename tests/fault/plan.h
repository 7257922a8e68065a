/*
 * plan.h - which call fails, how, and for how long: one fault, planned by the driver and struck in
 * the process under test.
 *
 * Lies in shared memory: the driver reads how many calls there were, and whether the fault was
 * reached, when that process is gone. Also remembered there: what has been written to which file
 * and not been synced. A sync that fails may take that away, as a kernel does.
 */
#ifndef SHMLOG_TESTS_FAULT_PLAN_H
#define SHMLOG_TESTS_FAULT_PLAN_H

#include <stdbool.h>
#include <stdint.h>

enum fault_call {
	CALL_NONE,
	/* of struct sys */
	CALL_OPEN,
	CALL_OPENAT,
	CALL_CLOSE,
	CALL_FSTAT,
	CALL_FSTATAT,
	CALL_FSTATFS,
	CALL_FTRUNCATE,
	CALL_FALLOCATE,
	CALL_FCHMOD,
	CALL_FCHOWN,
	CALL_MKDIRAT,
	CALL_LINKAT,
	CALL_UNLINKAT,
	CALL_RENAMEAT,
	CALL_FSYNC,
	CALL_FDATASYNC,
	CALL_PREAD,
	CALL_PWRITE,
	CALL_MAP,
	CALL_ADVISE,
	CALL_LOCK,
	CALL_UNLOCK,
	CALL_LOCK_QUERY,
	CALL_FUTEX_WAIT,
	CALL_FUTEX_WAKE,
	CALL_GETRANDOM,
	CALL_SLEEP,
	CALL_FUTIMENS,
	CALL_SPAWN,
	/* of struct io */
	CALL_IO_OPEN,
	CALL_IO_SUBMIT, /* io_write() or io_sync() is not accepted                          */
	CALL_IO_WRITE,  /* an answer of the system to a write                               */
	CALL_IO_SYNC,   /* ... to a sync                                                    */
	CALL_IO_REAP,
	CALL_COUNT
};

/* Instead of an -errno. */
enum {
	FAULT_SHORT = 1, /* half of what was asked for                                      */
	FAULT_KILL = 2,  /* SIGKILL, before the call                                        */
};

struct fault {
	enum fault_call call;
	uint32_t nth;    /* from 1 on */
	uint32_t span;   /* calls in a row; UINT32_MAX: from then on                        */
	int error;       /* -errno, or one of the above                                     */
	bool takes_data; /* a failed sync loses what it was to make durable                 */
};

/* Maps the shared memory; once, before any fork. */
void plan_init(void);

/* The fault of the next process; counts start anew. What is unsynced stays known. */
void plan_set(const struct fault *fault);
void plan_forget_unsynced(void);

bool plan_was_reached(void);
uint32_t plan_calls(enum fault_call call);

/* Count a call: 0, or what it is to answer instead (an -errno or FAULT_SHORT). */
int plan_strike(enum fault_call call);

void plan_written(int fd, uint64_t offset, uint64_t size);
/* @error: what the sync has come to. */
void plan_synced(int fd, int error);

const char *plan_call_name(enum fault_call call);

#endif
