/*
 * fuzz.c - see fuzz.h.
 */
#include "fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

uint64_t take(struct bytes *input, unsigned size)
{
	const struct bytes taken = take_bytes(input, size);
	uint64_t value = 0;

	memcpy(&value, taken.at, taken.left);
	return value;
}

uint32_t take_below(struct bytes *input, uint32_t limit)
{
	return (uint32_t)take(input, limit <= 256 ? 1 : 4) % limit;
}

struct bytes take_bytes(struct bytes *input, size_t size)
{
	static const uint8_t none[1];
	const struct bytes taken = { input->left > 0 ? input->at : none,
				     (size_t)min_u64(size, input->left) };

	input->at += taken.left;
	input->left -= taken.left;
	return taken;
}

uint64_t take_odd(struct bytes *input, unsigned size)
{
	static const uint64_t odd[] = { 0,         1,      UINT64_MAX, INT64_MAX,  UINT32_MAX,
					INT32_MAX, 0xffff, 0x8000,     64,         128,
					4096,      8192,   256 * 1024, 240 * 1024, 152,
					16,        8,      544,        1024,       1u << 24 };
	const uint8_t choice = (uint8_t)take(input, 1);

	if (choice >= 4 * COUNT_OF(odd))
		return take(input, size);
	return odd[choice / 4] + choice % 4 - 1;
}

size_t spoil(struct bytes *input, uint8_t *target, size_t size, const uint16_t *offsets)
{
	const uint8_t choice = (uint8_t)take(input, 1);
	const unsigned width = 1u << (choice & 3);
	size_t known = 0, at;
	uint64_t value;

	while (offsets != NULL && offsets[known] != 0)
		known++;
	at = choice >> 2 < known ? offsets[choice >> 2] : (size_t)take(input, 4) % size;
	value = take_odd(input, width);
	memcpy(target + at, &value, (size_t)min_u64(width, size - at));
	return at;
}

void breach(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)fputs("violated: ", stderr);
	(void)vfprintf(stderr, format, arguments);
	(void)fputc('\n', stderr);
	va_end(arguments);
	abort();
}

/* FNV-1a. */
uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* ---- files ---- */

static char directory[64];

static int remove_below(const char *path, const struct stat *about, int type, struct FTW *walk)
{
	(void)about;
	(void)type;
	return walk->level == 0 ? 0 : remove(path);
}

void fuzz_clear_directory(void)
{
	must(nftw(fuzz_directory(), remove_below, 16, FTW_DEPTH | FTW_PHYS) == 0,
	     "fuzz: cannot clear %s", directory);
}

static void remove_directory(void)
{
	fuzz_clear_directory();
	(void)rmdir(directory);
}

/* The runner names one and removes it, also after a crash. */
const char *fuzz_directory(void)
{
	const char *given = getenv("FUZZ_DIRECTORY");

	if (directory[0] != '\0')
		return directory;
	(void)snprintf(directory, sizeof(directory), "%.40s/XXXXXX", given ? given : "/dev/shm");
	must(mkdtemp(directory) != NULL, "fuzz: cannot make %s", directory);
	(void)atexit(remove_directory);
	return directory;
}

void fuzz_make_parents(const char *path)
{
	char parent[4096];

	(void)snprintf(parent, sizeof(parent), "%s", path);
	for (char *slash = parent + strlen(fuzz_directory()); (slash = strchr(slash + 1, '/'));) {
		*slash = '\0';
		(void)mkdir(parent, 0700);
		*slash = '/';
	}
}

bool fuzz_try_write_file(const char *path, const void *bytes, size_t size)
{
	bool is_written;
	int fd;

	fuzz_make_parents(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	is_written = write(fd, bytes, size) == (ssize_t)size;
	(void)close(fd);
	return is_written;
}

void fuzz_write_file(const char *path, const void *bytes, size_t size)
{
	(void)unlink(path);
	must(fuzz_try_write_file(path, bytes, size), "fuzz: cannot write %s", path);
}

static uint64_t hash_file(uint64_t hash, const char *path, size_t size)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	void *bytes =
		size > 0 && fd >= 0 ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;

	if (bytes != MAP_FAILED) {
		hash = hash_bytes(hash, bytes, size);
		(void)munmap(bytes, size);
	}
	if (fd >= 0)
		(void)close(fd);
	return hash;
}

static uint64_t tree_hash;

/* Names come in any order: their numbers are added. */
static int hash_one(const char *path, const struct stat *about, int type, struct FTW *walk)
{
	uint64_t hash = hash_bytes(1, path, strlen(path));

	(void)walk;
	if (type == FTW_F && S_ISREG(about->st_mode))
		hash = hash_file(hash, path, (size_t)about->st_size);
	tree_hash += hash;
	return 0;
}

uint64_t fuzz_hash_directory(void)
{
	tree_hash = 0;
	must(nftw(fuzz_directory(), hash_one, 16, FTW_PHYS) == 0, "fuzz: cannot walk %s",
	     directory);
	return tree_hash;
}
