/*
 * plan.c - the one planned fault. See plan.h.
 */
#include "plan.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

enum { UNSYNCED_MAX = 4096 };

/* A part of a file that no sync has covered. */
struct unsynced {
	uint64_t inode;
	uint64_t offset;
	uint64_t size;
};

struct plan {
	struct fault fault;
	uint32_t calls[CALL_COUNT];
	uint32_t reached;
	pthread_mutex_t mutex; /* of what follows */
	uint32_t unsynced_count;
	struct unsynced unsynced[UNSYNCED_MAX];
};

static struct plan *plan;

static const char *const names[CALL_COUNT] = {
	[CALL_NONE] = "nothing",          [CALL_OPEN] = "open",
	[CALL_OPENAT] = "openat",         [CALL_CLOSE] = "close",
	[CALL_FSTAT] = "fstat",           [CALL_FSTATAT] = "fstatat",
	[CALL_FSTATFS] = "fstatfs",       [CALL_FTRUNCATE] = "ftruncate",
	[CALL_FALLOCATE] = "fallocate",   [CALL_FCHMOD] = "fchmod",
	[CALL_FCHOWN] = "fchown",         [CALL_MKDIRAT] = "mkdirat",
	[CALL_LINKAT] = "linkat",         [CALL_UNLINKAT] = "unlinkat",
	[CALL_RENAMEAT] = "renameat",     [CALL_FSYNC] = "fsync",
	[CALL_FDATASYNC] = "fdatasync",   [CALL_PREAD] = "pread",
	[CALL_PWRITE] = "pwrite",         [CALL_MAP] = "mmap",
	[CALL_ADVISE] = "madvise",        [CALL_LOCK] = "lock",
	[CALL_UNLOCK] = "unlock",         [CALL_LOCK_QUERY] = "lock_query",
	[CALL_FUTEX_WAIT] = "futex_wait", [CALL_FUTEX_WAKE] = "futex_wake",
	[CALL_GETRANDOM] = "getrandom",   [CALL_SLEEP] = "sleep",
	[CALL_FUTIMENS] = "futimens",     [CALL_SPAWN] = "spawn",
	[CALL_IO_OPEN] = "io_open",       [CALL_IO_SUBMIT] = "io_submit",
	[CALL_IO_WRITE] = "io_write",     [CALL_IO_SYNC] = "io_sync",
	[CALL_IO_REAP] = "io_reap",
};

const char *plan_call_name(enum fault_call call)
{
	return names[call];
}

/* Anew for each run: the last one may have been killed while it held it. */
static void make_mutex(void)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&plan->mutex, &attributes);
}

/* Whoever held it may have been killed: the child that archives is. */
static void lock_mutex(void)
{
	if (pthread_mutex_lock(&plan->mutex) == EOWNERDEAD)
		pthread_mutex_consistent(&plan->mutex);
}

void plan_init(void)
{
	plan = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (plan == MAP_FAILED)
		broken("no memory for the plan");
}

void plan_set(const struct fault *fault)
{
	plan->fault = *fault;
	plan->reached = 0;
	make_mutex();
	memset(plan->calls, 0, sizeof(plan->calls));
}

void plan_forget_unsynced(void)
{
	plan->unsynced_count = 0;
}

bool plan_was_reached(void)
{
	return plan->reached != 0;
}

uint32_t plan_calls(enum fault_call call)
{
	return plan->calls[call];
}

int plan_strike(enum fault_call call)
{
	const struct fault *fault = &plan->fault;
	const uint32_t count = __atomic_add_fetch(&plan->calls[call], 1, __ATOMIC_RELAXED);

	if (call != fault->call || count < fault->nth || count - fault->nth >= fault->span)
		return 0;
	__atomic_store_n(&plan->reached, 1, __ATOMIC_RELAXED);
	if (fault->error == FAULT_KILL) {
		(void)kill(getpid(), SIGKILL);
		(void)pause();
	}
	return fault->error;
}

static uint64_t inode_of(int fd, uint64_t *ret_size)
{
	struct stat about;

	if (fstat(fd, &about) < 0)
		broken("fstat of a file that is being written");
	*ret_size = (uint64_t)about.st_size;
	return about.st_ino;
}

void plan_written(int fd, uint64_t offset, uint64_t size)
{
	uint64_t unused;
	const uint64_t inode = inode_of(fd, &unused);

	lock_mutex();
	if (plan->unsynced_count == UNSYNCED_MAX)
		broken("too many unsynced writes");
	plan->unsynced[plan->unsynced_count++] = (struct unsynced){ inode, offset, size };
	pthread_mutex_unlock(&plan->mutex);
}

/* As the kernel does after a failed writeback, once it needs the memory: it was never there. */
static void take_away(int fd, const struct unsynced *part, uint64_t file_size)
{
	static const char zeros[4096] __attribute__((aligned(4096)));
	const uint64_t end = part->offset + part->size;
	char path[64];
	int plain;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	plain = open(path, O_RDWR | O_CLOEXEC);
	if (plain < 0)
		broken("cannot open a file that is being written");
	for (uint64_t at = part->offset; at < end && at < file_size; at += sizeof(zeros))
		if (pwrite(plain, zeros, sizeof(zeros), (off_t)at) != sizeof(zeros))
			broken("cannot take data away");
	if (ftruncate(plain, (off_t)file_size) < 0)
		broken("cannot keep a file's size");
	(void)close(plain);
}

void plan_synced(int fd, int error)
{
	uint64_t size;
	const uint64_t inode = inode_of(fd, &size);
	uint32_t kept = 0;

	if (error == -EINTR || error == -EAGAIN)
		return;
	lock_mutex();
	for (uint32_t i = 0; i < plan->unsynced_count; i++) {
		const struct unsynced part = plan->unsynced[i];

		if (part.inode != inode)
			plan->unsynced[kept++] = part;
		else if (error && plan->fault.takes_data)
			take_away(fd, &part, size);
	}
	plan->unsynced_count = kept;
	pthread_mutex_unlock(&plan->mutex);
}
