/*
 * inherited.c - let go of what a fork has copied by chance. See inherited.h.
 */
#include "inherited.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { DESCRIPTORS_MAX = 65536, LINE_SIZE = 128 };

static void close_all(const struct segment *segment)
{
	struct rlimit limit = { .rlim_cur = DESCRIPTORS_MAX };
	struct stat status;

	(void)getrlimit(RLIMIT_NOFILE, &limit);
	for (int fd = 0; fd < DESCRIPTORS_MAX && (rlim_t)fd < limit.rlim_cur; fd++)
		if (segment->sys->fstat(fd, &status) == 0 && status.st_dev == segment->device &&
		    status.st_ino == segment->inode)
			(void)segment->sys->close(fd);
}

/* A line of /proc/self/maps: "start-end perms offset major:minor inode path", all but one in hex.
 */
static void unmap_if_ours(const struct segment *segment, const char *line)
{
	char *at;
	const uint64_t start = strtoull(line, &at, 16);
	const uint64_t end = *at == '-' ? strtoull(at + 1, &at, 16) : 0;
	const char *behind_perms = *at == ' ' ? strchr(at + 1, ' ') : NULL;
	uint64_t offset, inode;
	unsigned major_no, minor_no;

	if (!behind_perms)
		return;
	offset = strtoull(behind_perms, &at, 16);
	major_no = (unsigned)strtoul(at, &at, 16);
	minor_no = *at == ':' ? (unsigned)strtoul(at + 1, &at, 16) : 0;
	inode = strtoull(at, &at, 10);
	if (inode == segment->inode && makedev(major_no, minor_no) == segment->device &&
	    offset >= segment->geometry.owners_offset && end > start)
		(void)segment->sys->unmap((void *)(uintptr_t)start, end - start);
}

/* What a line begins with is enough. */
static void unmap_all(const struct segment *segment)
{
	const int fd = segment->sys->open("/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
	char chunk[1024], line[LINE_SIZE];
	size_t length = 0;
	off_t offset = 0;
	ssize_t size;

	while (fd >= 0 && (size = segment->sys->pread(fd, chunk, sizeof(chunk), offset)) > 0) {
		offset += size;
		for (ssize_t i = 0; i < size; i++) {
			if (chunk[i] != '\n') {
				if (length < LINE_SIZE - 1)
					line[length++] = chunk[i];
				continue;
			}
			line[length] = '\0';
			length = 0;
			unmap_if_ours(segment, line);
		}
	}
	if (fd >= 0)
		(void)segment->sys->close(fd);
}

void inherited_drop(const struct segment *segment)
{
	const int kept = errno;

	close_all(segment);
	unmap_all(segment);
	errno = kept;
}
