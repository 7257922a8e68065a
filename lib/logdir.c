/*
 * logdir.c - the names in a log directory, and their order.
 *
 * Lists and parses names; never opens a log file and never believes a name's length or number
 * beyond what its ten digits can say.
 * Invariants: a listed file's numbers are 1 .. 9999999999; its volume_no is 0 only where the
 * listed directory is itself a volume.
 */
#include "logdir.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_DIGITS = 10 };

static const char *const state_suffix[] = {
	[LOGFILE_OPEN] = ".shmlog.open",
	[LOGFILE_SEALED] = ".shmlog",
	[LOGFILE_COMPRESSED] = ".shmlog.lz4",
	/* Side files. */
	[LOGFILE_TORN] = ".shmlog.open.torn",
	[LOGFILE_ARCHIVE_TMP] = ".shmlog.lz4.tmp",
};

void logdir_file_name(char name[LOGDIR_NAME_SIZE], const struct logdir_file *file)
{
	const char *suffix = state_suffix[file->state];

	if (file->volume_no == 0)
		(void)snprintf(name, LOGDIR_NAME_SIZE, "%010" PRIu64 "%s", file->file_no, suffix);
	else
		(void)snprintf(name, LOGDIR_NAME_SIZE, "%010" PRIu64 "/%010" PRIu64 "%s",
			       file->volume_no, file->file_no, suffix);
}

void logdir_volume_name(char name[LOGDIR_NAME_SIZE], uint64_t volume_no)
{
	(void)snprintf(name, LOGDIR_NAME_SIZE, "%010" PRIu64, volume_no);
}

/* Exactly ten digits, not all zero. */
static bool parse_number(const char *name, uint64_t *ret)
{
	uint64_t number = 0;

	for (int i = 0; i < NUMBER_DIGITS; i++) {
		if (name[i] < '0' || name[i] > '9')
			return false;
		number = number * 10 + (uint64_t)(name[i] - '0');
	}
	if (number == 0)
		return false;
	*ret = number;
	return true;
}

static bool is_side(const struct logdir_file *file)
{
	return file->state == LOGFILE_TORN || file->state == LOGFILE_ARCHIVE_TMP;
}

/* A log file's name, or a side file's. */
static bool parse_any(const char *name, struct logdir_file *ret)
{
	uint64_t number;

	if (!parse_number(name, &number))
		return false;
	for (unsigned state = 0; state < COUNT_OF(state_suffix); state++) {
		if (strcmp(name + NUMBER_DIGITS, state_suffix[state]) != 0)
			continue;
		*ret = (struct logdir_file){ .file_no = number,
					     .state = (enum logfile_state)state };
		return true;
	}
	return false;
}

bool logdir_parse_file(const char *name, struct logdir_file *ret)
{
	struct logdir_file file;

	if (!parse_any(name, &file) || is_side(&file))
		return false;
	*ret = file;
	return true;
}

bool logdir_parse_volume(const char *name, uint64_t *ret_volume_no)
{
	uint64_t number;

	if (!parse_number(name, &number) || name[NUMBER_DIGITS] != '\0')
		return false;
	*ret_volume_no = number;
	return true;
}

bool logdir_is_open_name(const char *path)
{
	static const char suffix[] = ".open";
	const size_t length = strlen(path);

	return length >= strlen(suffix) && strcmp(path + length - strlen(suffix), suffix) == 0;
}

/* What one walk over the names of a directory needs. */
struct walk {
	struct logdir_list *list;
	size_t capacity;
	size_t side_capacity;
	uint64_t *volumes;
	size_t volume_count;
	size_t volume_capacity;
	uint64_t volume_first; /* volumes with a smaller number are passed by */
};

/* Make room for one more element of @size bytes. */
static int grow(void **array, size_t count, size_t *capacity, size_t size)
{
	const size_t wanted = *capacity == 0 ? 64 : *capacity * 2;
	void *grown;

	if (count < *capacity)
		return 0;
	grown = realloc(*array, wanted * size);
	if (grown == NULL)
		return -ENOMEM;
	*array = grown;
	*capacity = wanted;
	return 0;
}

static int append(struct logdir_file **files, size_t *count, size_t *capacity,
		  const struct logdir_file *file)
{
	void *array = *files;
	const int r = grow(&array, *count, capacity, sizeof(*file));

	if (r < 0)
		return r;
	*files = array;
	(*files)[(*count)++] = *file;
	return 0;
}

static int add_file(struct walk *walk, struct logdir_file file, uint64_t volume_no)
{
	struct logdir_list *list = walk->list;

	file.volume_no = volume_no;
	if (is_side(&file))
		return append(&list->sides, &list->side_count, &walk->side_capacity, &file);
	return append(&list->files, &list->count, &walk->capacity, &file);
}

static int add_volume(struct walk *walk, uint64_t volume_no)
{
	void *volumes = walk->volumes;
	int r;

	walk->list->volume_last = max_u64(walk->list->volume_last, volume_no);
	if (volume_no < walk->volume_first)
		return 0;
	r = grow(&volumes, walk->volume_count, &walk->volume_capacity, sizeof(volume_no));
	if (r < 0)
		return r;
	walk->volumes = volumes;
	walk->volumes[walk->volume_count++] = volume_no;
	return 0;
}

static int add_name(struct walk *walk, const char *name, uint64_t volume_no)
{
	struct logdir_file file;
	uint64_t number;

	if (parse_any(name, &file))
		return add_file(walk, file, volume_no);
	if (volume_no == 0 && logdir_parse_volume(name, &number))
		return add_volume(walk, number);
	if (volume_no == 0 && strcmp(name, LOGDIR_LOCK_NAME) == 0)
		walk->list->has_lock = true;
	else if (name[0] != '.')
		walk->list->foreign++;
	return 0;
}

/* A stream of its own: the caller's descriptor keeps its place. */
static int open_stream(const struct sys *sys, int dir, const char *name, DIR **ret)
{
	const int fd = sys->openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	if (fd < 0)
		return fd;
	*ret = fdopendir(fd);
	if (*ret == NULL) {
		(void)sys->close(fd);
		return -ENOMEM;
	}
	return 0;
}

/* All names of @dir/@name; @volume_no 0 is the log directory itself. */
static int walk_names(const struct sys *sys, int dir, const char *name, uint64_t volume_no,
		      struct walk *walk)
{
	struct dirent *entry;
	DIR *stream;
	int r = open_stream(sys, dir, name, &stream);

	if (r < 0)
		return r;
	for (;;) {
		errno = 0;
		entry = readdir(stream);
		if (entry == NULL) {
			r = -errno;
			break;
		}
		r = add_name(walk, entry->d_name, volume_no);
		if (r < 0)
			break;
	}
	(void)closedir(stream);
	return r;
}

static int walk_volumes(const struct sys *sys, int dir, struct walk *walk)
{
	char name[LOGDIR_NAME_SIZE];
	int r;

	for (size_t i = 0; i < walk->volume_count; i++) {
		logdir_volume_name(name, walk->volumes[i]);
		r = walk_names(sys, dir, name, walk->volumes[i], walk);
		if (r == -ENOTDIR)
			walk->list->foreign++;
		else if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

static int compare_files(const void *left, const void *right)
{
	const struct logdir_file *a = left;
	const struct logdir_file *b = right;

	if (a->file_no != b->file_no)
		return a->file_no < b->file_no ? -1 : 1;
	if (a->volume_no != b->volume_no)
		return a->volume_no < b->volume_no ? -1 : 1;
	return (int)a->state - (int)b->state;
}

static void sort(struct logdir_file *files, size_t count)
{
	if (count > 0)
		qsort(files, count, sizeof(files[0]), compare_files);
}

int logdir_list_from(const struct sys *sys, int dir, uint64_t volume_first, struct logdir_list *ret)
{
	struct logdir_list list = { 0 };
	struct walk walk = { .list = &list, .volume_first = volume_first };
	int r = walk_names(sys, dir, ".", 0, &walk);

	if (r == 0)
		r = walk_volumes(sys, dir, &walk);
	free(walk.volumes);
	if (r < 0) {
		logdir_list_free(&list);
		return r;
	}
	sort(list.files, list.count);
	sort(list.sides, list.side_count);
	*ret = list;
	return 0;
}

int logdir_list(const struct sys *sys, int dir, struct logdir_list *ret)
{
	return logdir_list_from(sys, dir, 0, ret);
}

void logdir_list_free(struct logdir_list *list)
{
	free(list->files);
	free(list->sides);
	*list = (struct logdir_list){ 0 };
}
