/*
 * one_mapping.c - every mapping of a segment at one address, so that ThreadSanitizer sees them
 * meet.
 *
 * Producers and the writer map the same pages at different addresses; to ThreadSanitizer these are
 * different memory, and nothing ever races. Linked with --wrap, the calls below map each segment
 * once, whole, and hand out addresses inside. The mapping that was asked for is made as well, and
 * only kept: it pins the lock that its file description holds, as the library wants it.
 *
 * The kernel's file locks order what their holders do, which ThreadSanitizer does not know either:
 * giving one up (the last unmap, a close) releases, getting one, or hearing that nobody has it,
 * acquires. One token stands for all of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

enum { SEGMENTS_MAX = 8, PINS_MAX = 512 };

void __tsan_acquire(void *at);
void __tsan_release(void *at);

void *__real_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t size);
int __real_close(int fd);
int __real_fcntl(int fd, int command, ...);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t size);
int __wrap_close(int fd);
int __wrap_fcntl(int fd, int command, ...);

struct whole {
	dev_t device;
	ino_t inode;
	char *base;
};

struct pin {
	void *shown; /* inside a whole; NULL = free */
	void *pin;
	size_t size;
	pthread_t thread; /* that mapped it */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct whole wholes[SEGMENTS_MAX];
static struct pin pins[PINS_MAX];
static char locks; /* the token */

static char *whole_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		broken("fstat of a mapping");
	for (unsigned i = 0; i < SEGMENTS_MAX; i++) {
		struct whole *whole = &wholes[i];

		if (whole->base && (whole->device != st.st_dev || whole->inode != st.st_ino))
			continue;
		if (!whole->base) {
			char path[64];
			int again;

			(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
			again = open(path, O_RDWR | O_CLOEXEC);
			*whole = (struct whole){ st.st_dev, st.st_ino, NULL };
			whole->base = __real_mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE,
						  MAP_SHARED, again, 0);
			if (again < 0 || whole->base == MAP_FAILED)
				broken("mapping a whole segment");
			(void)__real_close(again);
		}
		return whole->base;
	}
	broken("too many segments");
}

static void *show(void *pinned, size_t size, char *shown)
{
	for (unsigned i = 0; i < PINS_MAX; i++) {
		if (pins[i].shown)
			continue;
		pins[i] = (struct pin){ shown, pinned, size, pthread_self() };
		return shown;
	}
	broken("too many mappings");
}

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
	void *mapped = __real_mmap(at, size, protection, flags, fd, offset);

	if (mapped == MAP_FAILED || fd < 0 || !(flags & MAP_SHARED))
		return mapped;
	if (at)
		broken("a segment is mapped at a fixed address");
	pthread_mutex_lock(&mutex);
	mapped = show(mapped, size, whole_of(fd) + offset);
	pthread_mutex_unlock(&mutex);
	return mapped;
}

/* Threads that take an owner id at once map the same pages, and pin a lock of their own each: who
 * gives his back unmaps what he has mapped. */
static struct pin *pin_of(const void *shown, size_t size)
{
	struct pin *found = NULL;

	for (unsigned i = 0; i < PINS_MAX; i++) {
		if (pins[i].shown != shown || pins[i].size != size)
			continue;
		found = &pins[i];
		if (pthread_equal(found->thread, pthread_self()))
			break;
	}
	return found;
}

int __wrap_munmap(void *at, size_t size)
{
	struct pin *pin;
	void *mapped = at;

	__tsan_release(&locks);
	pthread_mutex_lock(&mutex);
	pin = pin_of(at, size);
	if (pin) {
		mapped = pin->pin;
		pin->shown = NULL;
	}
	pthread_mutex_unlock(&mutex);
	return __real_munmap(mapped, size);
}

int __wrap_close(int fd)
{
	__tsan_release(&locks);
	return __real_close(fd);
}

int __wrap_fcntl(int fd, int command, ...)
{
	va_list arguments;
	void *argument;
	int r;

	va_start(arguments, command);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	if (command == F_OFD_SETLK)
		__tsan_release(&locks); /* also when it is an unlock */
	r = __real_fcntl(fd, command, argument);
	if (command == F_OFD_SETLK || command == F_OFD_GETLK)
		__tsan_acquire(&locks);
	return r;
}
