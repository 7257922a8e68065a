/*
 * sys.c - the real operating-system calls, as one table.
 *
 * Each wrapper turns errno into a negative result and leaves errno as it was: pushes promise that.
 */
#include "sys.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The value of @call, or -errno; errno keeps what it held. */
#define KEEP_ERRNO(type, call)           \
	do {                             \
		const int kept = errno;  \
		type result = (call);    \
		if (result < 0)          \
			result = -errno; \
		errno = kept;            \
		return result;           \
	} while (0)

static int real_open(const char *path, int flags, mode_t mode)
{
	KEEP_ERRNO(int, open(path, flags, mode));
}

static int real_openat(int dir, const char *path, int flags, mode_t mode)
{
	KEEP_ERRNO(int, openat(dir, path, flags, mode));
}

static int real_close(int fd)
{
	KEEP_ERRNO(int, close(fd));
}

static int real_fstat(int fd, struct stat *ret)
{
	KEEP_ERRNO(int, fstat(fd, ret));
}

static int real_fstatat(int dir, const char *path, struct stat *ret, int flags)
{
	KEEP_ERRNO(int, fstatat(dir, path, ret, flags));
}

static int real_fstatfs(int fd, struct statfs *ret)
{
	KEEP_ERRNO(int, fstatfs(fd, ret));
}

static int real_ftruncate(int fd, off_t size)
{
	KEEP_ERRNO(int, ftruncate(fd, size));
}

static int real_fallocate(int fd, int mode, off_t offset, off_t size)
{
	KEEP_ERRNO(int, fallocate(fd, mode, offset, size));
}

static int real_fchmod(int fd, mode_t mode)
{
	KEEP_ERRNO(int, fchmod(fd, mode));
}

static int real_fchown(int fd, uid_t user, gid_t group)
{
	KEEP_ERRNO(int, fchown(fd, user, group));
}

static int real_mkdirat(int dir, const char *path, mode_t mode)
{
	KEEP_ERRNO(int, mkdirat(dir, path, mode));
}

static int real_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	KEEP_ERRNO(int, linkat(from_dir, from, to_dir, to, flags));
}

static int real_unlinkat(int dir, const char *path, int flags)
{
	KEEP_ERRNO(int, unlinkat(dir, path, flags));
}

static int real_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	KEEP_ERRNO(int, renameat(from_dir, from, to_dir, to));
}

static int real_fsync(int fd)
{
	KEEP_ERRNO(int, fsync(fd));
}

static int real_fdatasync(int fd)
{
	KEEP_ERRNO(int, fdatasync(fd));
}

static ssize_t real_pread(int fd, void *buffer, size_t size, off_t offset)
{
	KEEP_ERRNO(ssize_t, pread(fd, buffer, size, offset));
}

static ssize_t real_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	KEEP_ERRNO(ssize_t, pwrite(fd, buffer, size, offset));
}

static int real_map(void *address, size_t size, int protection, int flags, int fd, off_t offset,
		    void **ret)
{
	const int kept = errno;
	void *mapping = mmap(address, size, protection, flags, fd, offset);
	int result = 0;

	if (mapping == MAP_FAILED)
		result = -errno;
	else
		*ret = mapping;
	errno = kept;
	return result;
}

static int real_unmap(void *address, size_t size)
{
	KEEP_ERRNO(int, munmap(address, size));
}

static int real_advise(void *address, size_t size, int advice)
{
	KEEP_ERRNO(int, madvise(address, size, advice));
}

static struct flock lock_range(short type, int64_t start, int64_t size)
{
	return (struct flock){
		.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = size
	};
}

static int real_lock(int fd, int64_t start, int64_t size)
{
	struct flock range = lock_range(F_WRLCK, start, size);

	KEEP_ERRNO(int, fcntl(fd, F_OFD_SETLK, &range));
}

static int real_unlock(int fd, int64_t start, int64_t size)
{
	struct flock range = lock_range(F_UNLCK, start, size);

	KEEP_ERRNO(int, fcntl(fd, F_OFD_SETLK, &range));
}

/* A reader may hold F_RDLCK on any byte of a file that it can open: only a write lock counts. */
static int real_lock_query(int fd, int64_t start, int64_t size)
{
	struct flock range = lock_range(F_RDLCK, start, size);
	const int kept = errno;
	int result = fcntl(fd, F_OFD_GETLK, &range);

	if (result < 0)
		result = -errno;
	else
		result = range.l_type == F_WRLCK;
	errno = kept;
	return result;
}

static int real_futex_wait(const uint32_t *word, uint32_t value, int64_t deadline_ns)
{
	const struct timespec deadline = { .tv_sec = deadline_ns / 1000000000,
					   .tv_nsec = deadline_ns % 1000000000 };

	KEEP_ERRNO(int,
		   (int)syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value,
				deadline_ns < 0 ? NULL : &deadline, NULL, FUTEX_BITSET_MATCH_ANY));
}

static int real_futex_wake(const uint32_t *word)
{
	KEEP_ERRNO(int, (int)syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0));
}

static int real_getrandom(void *buffer, size_t size)
{
	KEEP_ERRNO(int, (int)getrandom(buffer, size, 0));
}

static int64_t real_now(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now); /* cannot fail with a clock that exists */
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int real_sleep(int64_t ns)
{
	const struct timespec time = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	const int kept = errno;
	const int result = -clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);

	errno = kept;
	return result;
}

static int real_thread_alive(uint32_t tid)
{
	const int kept = errno;
	const int gone = syscall(SYS_tgkill, getpid(), tid, 0) < 0 && errno == ESRCH;

	errno = kept;
	return !gone;
}

static uint32_t real_gettid(void)
{
	return (uint32_t)syscall(SYS_gettid);
}

static uint32_t real_getpid(void)
{
	return (uint32_t)getpid();
}

/* Descriptors on their way to their numbers lie up here, out of each other's way. */
enum { DESCRIPTOR_FIRST = 3, DESCRIPTOR_ASIDE = 512 };

static int plan_descriptors(posix_spawn_file_actions_t *actions, const int *descriptors,
			    size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		r = posix_spawn_file_actions_adddup2(actions, descriptors[i],
						     DESCRIPTOR_ASIDE + (int)i);
	for (size_t i = 0; i < count && r == 0; i++)
		r = posix_spawn_file_actions_adddup2(actions, DESCRIPTOR_ASIDE + (int)i,
						     DESCRIPTOR_FIRST + (int)i);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(actions,
							     DESCRIPTOR_FIRST + (int)count);
	return r;
}

/* Whatever the calling thread blocks or ignores, the child begins as from a shell. */
static int plan_signals(posix_spawnattr_t *attributes)
{
	sigset_t none, all;
	int r;

	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	r = posix_spawnattr_setsigmask(attributes, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(attributes, &all);
	if (r == 0)
		r = posix_spawnattr_setflags(attributes,
					     POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	return r;
}

static int real_spawn(const char *program, char *const arguments[], const int *descriptors,
		      size_t count)
{
	const char *path = program != NULL ? program : "/proc/self/exe";
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	pid_t pid = 0;
	int r = posix_spawn_file_actions_init(&actions);

	if (r != 0)
		return -r;
	r = posix_spawnattr_init(&attributes);
	if (r == 0) {
		r = plan_descriptors(&actions, descriptors, count);
		if (r == 0)
			r = plan_signals(&attributes);
		if (r == 0)
			r = posix_spawn(&pid, path, &actions, &attributes, arguments, environ);
		(void)posix_spawnattr_destroy(&attributes);
	}
	(void)posix_spawn_file_actions_destroy(&actions);
	return r != 0 ? -r : (int)pid;
}

static int real_wait_child(int pid, int *ret_status)
{
	const int kept = errno;
	int status = 0, r;

	do
		r = (int)waitpid(pid, &status, WNOHANG);
	while (r < 0 && errno == EINTR);
	if (r > 0)
		*ret_status = status;
	r = r < 0 ? -errno : r > 0;
	errno = kept;
	return r;
}

static int real_kill(int pid, int signal)
{
	KEEP_ERRNO(int, kill(pid, signal));
}

static int real_futimens(int fd, const struct timespec times[2])
{
	KEEP_ERRNO(int, futimens(fd, times));
}

ssize_t sys_read_fully(const struct sys *sys, int fd, void *buffer, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		const ssize_t n = sys->pread(fd, (uint8_t *)buffer + done, size - done,
					     (off_t)(offset + done));

		if (n == -EINTR)
			continue;
		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int sys_write_fully(const struct sys *sys, int fd, const void *buffer, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		const ssize_t n = sys->pwrite(fd, (const uint8_t *)buffer + done, size - done,
					      (off_t)(offset + done));

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		done += (size_t)n;
	}
	return 0;
}

const struct sys sys_real = {
	.open = real_open,
	.openat = real_openat,
	.close = real_close,
	.fstat = real_fstat,
	.fstatat = real_fstatat,
	.fstatfs = real_fstatfs,
	.ftruncate = real_ftruncate,
	.fallocate = real_fallocate,
	.fchmod = real_fchmod,
	.fchown = real_fchown,
	.mkdirat = real_mkdirat,
	.linkat = real_linkat,
	.unlinkat = real_unlinkat,
	.renameat = real_renameat,
	.fsync = real_fsync,
	.fdatasync = real_fdatasync,
	.futimens = real_futimens,
	.pread = real_pread,
	.pwrite = real_pwrite,
	.map = real_map,
	.unmap = real_unmap,
	.advise = real_advise,
	.lock = real_lock,
	.unlock = real_unlock,
	.lock_query = real_lock_query,
	.futex_wait = real_futex_wait,
	.futex_wake = real_futex_wake,
	.getrandom = real_getrandom,
	.now = real_now,
	.sleep = real_sleep,
	.thread_alive = real_thread_alive,
	.gettid = real_gettid,
	.getpid = real_getpid,
	.spawn = real_spawn,
	.wait_child = real_wait_child,
	.kill = real_kill,
};
