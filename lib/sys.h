/*
 * sys.h - the table of operating-system calls that the library and the writer use.
 *
 * The only seam for faults below the library (the writer's disk has a second one, writer/io.h):
 * tests pass a table whose Nth call fails. Every function returns its result or -errno, never
 * touches the caller's errno, and otherwise behaves as the call of its name.
 */
#ifndef SHMLOG_LIB_SYS_H
#define SHMLOG_LIB_SYS_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>

struct sys {
	int (*open)(const char *path, int flags, mode_t mode);
	int (*openat)(int dir, const char *path, int flags, mode_t mode);
	int (*close)(int fd);
	int (*fstat)(int fd, struct stat *ret);
	int (*fstatat)(int dir, const char *path, struct stat *ret, int flags);
	int (*fstatfs)(int fd, struct statfs *ret);
	int (*ftruncate)(int fd, off_t size);
	int (*fallocate)(int fd, int mode, off_t offset, off_t size);
	int (*fchmod)(int fd, mode_t mode);
	int (*fchown)(int fd, uid_t user, gid_t group);
	int (*mkdirat)(int dir, const char *path, mode_t mode);
	int (*linkat)(int from_dir, const char *from, int to_dir, const char *to, int flags);
	int (*unlinkat)(int dir, const char *path, int flags);
	int (*renameat)(int from_dir, const char *from, int to_dir, const char *to);
	int (*fsync)(int fd);
	int (*fdatasync)(int fd);
	int (*futimens)(int fd, const struct timespec times[2]);
	ssize_t (*pread)(int fd, void *buffer, size_t size, off_t offset);
	ssize_t (*pwrite)(int fd, const void *buffer, size_t size, off_t offset);
	int (*map)(void *address, size_t size, int protection, int flags, int fd, off_t offset,
		   void **ret);
	int (*unmap)(void *address, size_t size);
	int (*advise)(void *address, size_t size, int advice);
	/* Exclusive open-file-description lock on [start, start + size); size 0 = to the end. */
	int (*lock)(int fd, int64_t start, int64_t size);
	int (*unlock)(int fd, int64_t start, int64_t size);
	/* 1: somebody else holds a write lock there; 0: nobody does. */
	int (*lock_query)(int fd, int64_t start, int64_t size);
	/* Sleep while *word == value, at most until @deadline_ns of CLOCK_MONOTONIC (< 0: for
	 * ever). */
	int (*futex_wait)(const uint32_t *word, uint32_t value, int64_t deadline_ns);
	int (*futex_wake)(const uint32_t *word);
	int (*getrandom)(void *buffer, size_t size);
	int64_t (*now)(clockid_t clock); /* nanoseconds; never fails */
	int (*sleep)(int64_t ns);
	/* 1: thread @tid of this process exists; 0: it is gone. */
	int (*thread_alive)(uint32_t tid);
	uint32_t (*gettid)(void);
	uint32_t (*getpid)(void);
	/* A child process that runs @program, or @program's own path if it is NULL, with
	 * @descriptors[i] as its descriptor 3 + i and no others but 0 to 2. The child's pid. */
	int (*spawn)(const char *program, char *const arguments[], const int *descriptors,
		     size_t count);
	/* 1: the child has ended, *ret_status as of waitpid(); 0: it runs. */
	int (*wait_child)(int pid, int *ret_status);
	int (*kill)(int pid, int signal);
};

/* pread() until @size bytes are there: the count, fewer only at the end of the file, or -errno. */
ssize_t sys_read_fully(const struct sys *sys, int fd, void *buffer, size_t size, uint64_t offset);

/* pwrite() until all @size bytes are written: 0 or -errno. */
int sys_write_fully(const struct sys *sys, int fd, const void *buffer, size_t size,
		    uint64_t offset);

/* The real calls. */
extern const struct sys sys_real;

#endif
