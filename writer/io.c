/*
 * io.c - choosing a back end, and what all back ends do alike.
 *
 * Owns the buffers' memory, the count of what is in flight, and the judgement of answers (short,
 * again, no room). Never touches a descriptor itself.
 */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io_backend.h"

enum { HUGE_PAGE = 2 * 1024 * 1024 };

/* The first character of a small file, or '0' where it cannot be read. */
static char first_character(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	char value = '0';

	if (fd < 0)
		return value;
	if (read(fd, &value, 1) != 1)
		value = '0';
	close(fd);
	return value;
}

static const char *why_not_permitted(void)
{
	switch (first_character("/proc/sys/kernel/io_uring_disabled")) {
	case '1':
		return "io_uring is refused (EPERM): sysctl kernel.io_uring_disabled is 1, which "
		       "leaves it to CAP_SYS_ADMIN and kernel.io_uring_group; writing with pwrite";
	case '2':
		return "io_uring is refused (EPERM): sysctl kernel.io_uring_disabled is 2; writing "
		       "with pwrite";
	default:
		return "io_uring is refused (EPERM), probably by a seccomp profile such as "
		       "Docker's "
		       "default (allow io_uring_setup, io_uring_enter, io_uring_register); writing "
		       "with pwrite";
	}
}

static const char *why_refused(int error)
{
	switch (error) {
	case -EPERM:
		return why_not_permitted();
	case -EACCES:
		return "io_uring is refused (EACCES), probably by a security module such as "
		       "SELinux; "
		       "writing with pwrite";
	case -ENOMEM:
		return "io_uring is refused (ENOMEM), probably by the limit on locked memory "
		       "(ulimit "
		       "-l); writing with pwrite";
	case -ENOSYS:
		return "io_uring is missing (ENOSYS): a kernel before 5.11, one built without it, "
		       "or a "
		       "sandbox such as gVisor; writing with pwrite";
	case -EINVAL:
	case -EOPNOTSUPP:
		return "io_uring is refused (EINVAL): the kernel or sandbox knows it only in part; "
		       "writing with pwrite";
	default:
		return NULL;
	}
}

static int io_open_any(struct io **ret, const char **ret_why)
{
	const int error = io_uring_open(ret);
	const char *why = error ? why_refused(error) : NULL;

	if (error && !why)
		return error;
	if (error) {
		const int fallback = io_pwrite_open(ret);

		if (fallback)
			return fallback;
	}
	*ret_why = why;
	return 0;
}

int io_open(enum io_choice choice, struct io **ret, const char **ret_why)
{
	int error;

	if (choice == IO_CHOOSE_AUTO)
		return io_open_any(ret, ret_why);
	error = choice == IO_CHOOSE_URING ? io_uring_open(ret) : io_pwrite_open(ret);
	if (!error)
		*ret_why = NULL;
	return error;
}

void io_close(struct io **io)
{
	if (!*io)
		return;
	assert((*io)->in_flight == 0);
	(*io)->operations->close(*io);
	*io = NULL;
}

int io_write(struct io *io, int fd, unsigned buffer_index, uint32_t size, uint64_t offset,
	     uint64_t tag)
{
	int error;

	assert(buffer_index < IO_BUFFERS);
	assert(size > 0 && size <= IO_BUFFER_SIZE && size % IO_ALIGN == 0);
	assert(offset % IO_ALIGN == 0);

	if (io->in_flight == IO_OPERATIONS)
		return -EAGAIN;
	error = io->operations->write(io, fd, buffer_index, size, offset, tag);
	io->in_flight += !error;
	return error;
}

int io_sync(struct io *io, int fd, uint64_t tag)
{
	int error;

	if (io->in_flight == IO_OPERATIONS)
		return -EAGAIN;
	error = io->operations->sync(io, fd, tag);
	io->in_flight += !error;
	return error;
}

int io_reap(struct io *io, struct io_result *results, unsigned max, int64_t timeout_ns)
{
	int count;

	if (io->in_flight == 0 || max == 0)
		return 0;
	count = io->operations->reap(io, results, max, timeout_ns);
	if (count > 0) {
		assert((unsigned)count <= io->in_flight);
		io->in_flight -= (unsigned)count;
	}
	return count;
}

/* @size bytes that begin where a huge page may; NULL and errno. Room for one more is mapped, and
 * what lies before and behind is given back. */
static uint8_t *map_aligned(size_t size)
{
	uint8_t *memory = mmap(NULL, size + HUGE_PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before;

	if (memory == MAP_FAILED)
		return NULL;
	before = (size_t)(align_up((uintptr_t)memory, HUGE_PAGE) - (uintptr_t)memory);
	if (before)
		munmap(memory, before);
	munmap(memory + before + size, HUGE_PAGE - before);
	return memory + before;
}

/*
 * In huge pages where the kernel has some to give: a direct write then is one piece of memory
 * instead of 64. Without them, a virtual disk whose ring has 256 descriptors takes hardly more than
 * one page at a time, and lies idle until this processor is free to hand it the next. Not for
 * children: one that inherited the buffers could keep pinned pages alive, or split them off from
 * the ones that the kernel writes from.
 */
int io_map_buffers(struct io *io)
{
	const size_t size = (size_t)IO_BUFFERS * IO_BUFFER_SIZE;
	uint8_t *const memory = map_aligned(size);

	if (!memory)
		return -errno;
	(void)madvise(memory, size, MADV_HUGEPAGE);
	if (madvise(memory, size, MADV_DONTFORK) < 0) {
		const int error = -errno;

		munmap(memory, size);
		return error;
	}
	io->buffers = memory;
	return 0;
}

void io_unmap_buffers(struct io *io)
{
	if (io->buffers)
		munmap(io->buffers, (size_t)IO_BUFFERS * IO_BUFFER_SIZE);
	io->buffers = NULL;
}

static bool means_again(int answer)
{
	return answer == -EINTR || answer == -EAGAIN;
}

enum io_step io_progress_step(struct io_progress *progress, int answer, int *ret_error)
{
	const uint32_t before = progress->done;

	if (answer == 0 || (answer < 0 && !means_again(answer))) {
		/* Nothing written and no error would never end: that is a broken file system. */
		*ret_error = answer == 0 ? -EIO : answer == -EDQUOT ? -ENOSPC : answer;
		return IO_STEP_DONE;
	}
	if (answer > 0) {
		assert((uint32_t)answer <= progress->size - before);
		/* Direct I/O goes on at an aligned place: some bytes are written again, alike. */
		progress->done = (before + (uint32_t)answer) & ~(uint32_t)(IO_ALIGN - 1);
	}
	if (progress->done == progress->size) {
		*ret_error = 0;
		return IO_STEP_DONE;
	}
	progress->tries = progress->done > before ? 0 : progress->tries + 1;
	if (progress->tries < IO_TRIES_MAX)
		return IO_STEP_AGAIN;
	*ret_error = -EIO;
	return IO_STEP_DONE;
}

enum io_step io_sync_step(unsigned *tries, int answer, int *ret_error)
{
	if (means_again(answer) && ++*tries < IO_TRIES_MAX)
		return IO_STEP_AGAIN;
	*ret_error = means_again(answer) ? -EIO : answer == -EDQUOT ? -ENOSPC : answer;
	return IO_STEP_DONE;
}
