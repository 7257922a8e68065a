/*
 * faulty_sys.c - every call is counted; the planned one fails. See faulty_sys.h.
 *
 * A call that fails has not happened, with two exceptions: close() gives the descriptor back
 * whatever it answers, and a short transfer has transferred its half.
 */
#include "faulty_sys.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "archive_fork.h"
#include "plan.h"
#include "program.h"

/* The calls below, also once the table that bears this name holds these here. */
static struct sys real;

__attribute__((constructor)) static void keep_real(void)
{
	real = sys_real;
}

/* A call that fails as a whole. */
#define PASS(call, function, ...)                     \
	do {                                          \
		const int struck = plan_strike(call); \
		if (struck)                           \
			return struck;                \
		return real.function(__VA_ARGS__);    \
	} while (0)

static int faulty_open(const char *path, int flags, mode_t mode)
{
	PASS(CALL_OPEN, open, path, flags, mode);
}

static int faulty_openat(int dir, const char *path, int flags, mode_t mode)
{
	PASS(CALL_OPENAT, openat, dir, path, flags, mode);
}

static int faulty_fstat(int fd, struct stat *ret)
{
	PASS(CALL_FSTAT, fstat, fd, ret);
}

static int faulty_fstatat(int dir, const char *path, struct stat *ret, int flags)
{
	PASS(CALL_FSTATAT, fstatat, dir, path, ret, flags);
}

static int faulty_fstatfs(int fd, struct statfs *ret)
{
	PASS(CALL_FSTATFS, fstatfs, fd, ret);
}

static int faulty_ftruncate(int fd, off_t size)
{
	PASS(CALL_FTRUNCATE, ftruncate, fd, size);
}

static int faulty_fallocate(int fd, int mode, off_t offset, off_t size)
{
	PASS(CALL_FALLOCATE, fallocate, fd, mode, offset, size);
}

static int faulty_fchmod(int fd, mode_t mode)
{
	PASS(CALL_FCHMOD, fchmod, fd, mode);
}

static int faulty_fchown(int fd, uid_t user, gid_t group)
{
	PASS(CALL_FCHOWN, fchown, fd, user, group);
}

static int faulty_mkdirat(int dir, const char *path, mode_t mode)
{
	PASS(CALL_MKDIRAT, mkdirat, dir, path, mode);
}

static int faulty_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	PASS(CALL_LINKAT, linkat, from_dir, from, to_dir, to, flags);
}

static int faulty_unlinkat(int dir, const char *path, int flags)
{
	PASS(CALL_UNLINKAT, unlinkat, dir, path, flags);
}

static int faulty_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	PASS(CALL_RENAMEAT, renameat, from_dir, from, to_dir, to);
}

static int faulty_map(void *address, size_t size, int protection, int flags, int fd, off_t offset,
		      void **ret)
{
	PASS(CALL_MAP, map, address, size, protection, flags, fd, offset, ret);
}

static int faulty_advise(void *address, size_t size, int advice)
{
	PASS(CALL_ADVISE, advise, address, size, advice);
}

static int faulty_lock(int fd, int64_t start, int64_t size)
{
	PASS(CALL_LOCK, lock, fd, start, size);
}

static int faulty_unlock(int fd, int64_t start, int64_t size)
{
	PASS(CALL_UNLOCK, unlock, fd, start, size);
}

static int faulty_lock_query(int fd, int64_t start, int64_t size)
{
	PASS(CALL_LOCK_QUERY, lock_query, fd, start, size);
}

static int faulty_futex_wake(const uint32_t *word)
{
	PASS(CALL_FUTEX_WAKE, futex_wake, word);
}

static int faulty_getrandom(void *buffer, size_t size)
{
	PASS(CALL_GETRANDOM, getrandom, buffer, size);
}

/* Linux has given the descriptor back in any case. */
static int faulty_close(int fd)
{
	const int struck = plan_strike(CALL_CLOSE);
	const int r = real.close(fd);

	return struck ? struck : r;
}

static int faulty_fsync(int fd)
{
	const int struck = plan_strike(CALL_FSYNC);
	const int r = struck ? struck : real.fsync(fd);

	plan_synced(fd, r);
	return r;
}

static int faulty_fdatasync(int fd)
{
	const int struck = plan_strike(CALL_FDATASYNC);
	const int r = struck ? struck : real.fdatasync(fd);

	plan_synced(fd, r);
	return r;
}

static ssize_t faulty_pread(int fd, void *buffer, size_t size, off_t offset)
{
	const int struck = plan_strike(CALL_PREAD);

	if (struck < 0)
		return struck;
	return real.pread(fd, buffer, struck == FAULT_SHORT && size > 1 ? size / 2 : size, offset);
}

static ssize_t faulty_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	const int struck = plan_strike(CALL_PWRITE);
	ssize_t r = struck;

	if (struck >= 0)
		r = real.pwrite(fd, buffer, struck == FAULT_SHORT && size > 1 ? size / 2 : size,
				offset);
	if (r > 0)
		plan_written(fd, (uint64_t)offset, (uint64_t)r);
	return r;
}

/* ---- time ---- */

static int64_t time_factor = TIME_FACTOR;

static int64_t faulty_now(clockid_t clock)
{
	const int64_t now = real.now(clock);

	return clock == CLOCK_MONOTONIC ? now * time_factor : now;
}

static int faulty_futex_wait(const uint32_t *word, uint32_t value, int64_t deadline_ns)
{
	const int struck = plan_strike(CALL_FUTEX_WAIT);

	if (struck)
		return struck;
	return real.futex_wait(word, value,
			       deadline_ns < 0 ? deadline_ns : deadline_ns / time_factor);
}

static int faulty_sleep(int64_t ns)
{
	const int struck = plan_strike(CALL_SLEEP);

	return struck ? struck : real.sleep(ns / time_factor);
}

/* ---- calls that cannot fail, or whose failure nobody could tell from success ---- */

static int faulty_unmap(void *address, size_t size)
{
	return real.unmap(address, size);
}

static int faulty_thread_alive(uint32_t tid)
{
	return real.thread_alive(tid);
}

static uint32_t faulty_gettid(void)
{
	return real.gettid();
}

static uint32_t faulty_getpid(void)
{
	return real.getpid();
}

static int faulty_futimens(int fd, const struct timespec times[2])
{
	PASS(CALL_FUTIMENS, futimens, fd, times);
}

static int faulty_spawn(const char *program, char *const arguments[], const int *descriptors,
			size_t count)
{
	const int struck = plan_strike(CALL_SPAWN);

	(void)program;
	(void)count;
	return struck ? struck : archive_fork(&faulty_sys, arguments, descriptors, NULL);
}

static int faulty_wait_child(int pid, int *ret_status)
{
	return real.wait_child(pid, ret_status);
}

static int faulty_kill(int pid, int signal)
{
	return real.kill(pid, signal);
}

const struct sys faulty_sys = {
	.open = faulty_open,
	.openat = faulty_openat,
	.close = faulty_close,
	.fstat = faulty_fstat,
	.fstatat = faulty_fstatat,
	.fstatfs = faulty_fstatfs,
	.ftruncate = faulty_ftruncate,
	.fallocate = faulty_fallocate,
	.fchmod = faulty_fchmod,
	.fchown = faulty_fchown,
	.mkdirat = faulty_mkdirat,
	.linkat = faulty_linkat,
	.unlinkat = faulty_unlinkat,
	.renameat = faulty_renameat,
	.fsync = faulty_fsync,
	.fdatasync = faulty_fdatasync,
	.futimens = faulty_futimens,
	.pread = faulty_pread,
	.pwrite = faulty_pwrite,
	.map = faulty_map,
	.unmap = faulty_unmap,
	.advise = faulty_advise,
	.lock = faulty_lock,
	.unlock = faulty_unlock,
	.lock_query = faulty_lock_query,
	.futex_wait = faulty_futex_wait,
	.futex_wake = faulty_futex_wake,
	.getrandom = faulty_getrandom,
	.now = faulty_now,
	.sleep = faulty_sleep,
	.thread_alive = faulty_thread_alive,
	.gettid = faulty_gettid,
	.getpid = faulty_getpid,
	.spawn = faulty_spawn,
	.wait_child = faulty_wait_child,
	.kill = faulty_kill,
};

void faulty_sys_install(void)
{
	const uintptr_t page = (uintptr_t)&sys_real & ~(uintptr_t)4095;
	const uintptr_t end = (uintptr_t)(&sys_real + 1);

	if (mprotect((void *)page, end - page, PROT_READ | PROT_WRITE) < 0)
		broken("cannot change the table of system calls");
	time_factor = 1;
	memcpy((void *)(uintptr_t)&sys_real, &faulty_sys, sizeof(faulty_sys));
}
