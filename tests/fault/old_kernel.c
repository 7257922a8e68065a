/*
 * old_kernel.c - to be preloaded: an io_uring as older kernels have it.
 *
 *	FAULT_URING_KNOWS     setup flags that are known, in hex; others are refused with EINVAL
 *	FAULT_URING_BUFFERS   "no": buffers cannot be registered (ENOMEM, as beyond RLIMIT_MEMLOCK)
 *	FAULT_URING_FEATURES  features that are shown, in hex
 *
 * What was asked for is told on standard error: "uring: setup FLAGS: ANSWER".
 */
#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
typedef int register_buffers(struct io_uring *ring, const struct iovec *buffers, unsigned count);

static unsigned limit(const char *name)
{
	const char *text = getenv(name);

	return text ? (unsigned)strtoul(text, NULL, 16) : ~0u;
}

__attribute__((visibility("default"))) int
io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	queue_init *real;
	int r = -EINVAL;

	*(void **)&real = dlsym(RTLD_NEXT, "io_uring_queue_init");
	if (!(flags & ~limit("FAULT_URING_KNOWS")))
		r = real(entries, ring, flags);
	if (r == 0)
		ring->features &= limit("FAULT_URING_FEATURES");
	(void)fprintf(stderr, "uring: setup %#x: %d\n", flags, r);
	return r;
}

__attribute__((visibility("default"))) int
io_uring_register_buffers(struct io_uring *ring, const struct iovec *buffers, unsigned count)
{
	register_buffers *real;
	const char *text = getenv("FAULT_URING_BUFFERS");
	int r = -ENOMEM;

	*(void **)&real = dlsym(RTLD_NEXT, "io_uring_register_buffers");
	if (!text || strcmp(text, "no") != 0)
		r = real(ring, buffers, count);
	(void)fprintf(stderr, "uring: buffers: %d\n", r);
	return r;
}
