/*
 * retain.c - delete the oldest files of the log. What it promises stands in retain.h.
 */
#include "retain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "logdir.h"
#include "point.h"

enum { STAT_BLOCK = 512 };

/* ---- the choice ---- */

static const char *const cause_option[] = {
	[RETAIN_TOTAL] = "--max-total",
	[RETAIN_AGE] = "--max-age",
	[RETAIN_FILES] = "--max-files",
	[RETAIN_ROOM] = "--on-full delete-oldest",
};

/* What is left of the log while files go. */
struct remains {
	uint64_t bytes;
	uint64_t files;
	uint64_t freed;
	uint64_t newest_sealed;
};

static struct remains count_all(const struct retain_file *files, size_t count)
{
	struct remains all = { 0 };

	for (size_t i = 0; i < count; i++) {
		all.bytes += files[i].bytes;
		all.files += files[i].state != RETAIN_SIDE;
		if (files[i].state == RETAIN_SEALED)
			all.newest_sealed = files[i].file_no;
	}
	return all;
}

static void count_out(struct remains *remains, const struct retain_file *file)
{
	remains->bytes -= file->bytes;
	remains->files -= file->state != RETAIN_SIDE;
	remains->freed += file->bytes;
}

/* Why the oldest file has to go. */
static enum retain_cause cause_of(const struct retain_file *oldest, const struct remains *remains,
				  const struct retain_limits *limits, int64_t now_ns)
{
	if (limits->max_total > 0 && remains->bytes > limits->max_total)
		return RETAIN_TOTAL;
	if (limits->max_age_ns > 0 && oldest->sealed_ns < now_ns - limits->max_age_ns)
		return RETAIN_AGE;
	if (limits->max_files > 0 && remains->files > limits->max_files)
		return RETAIN_FILES;
	return remains->freed < limits->room ? RETAIN_ROOM : RETAIN_KEPT;
}

size_t retain_choose(struct retain_file *files, size_t count, const struct retain_limits *limits,
		     uint64_t keep_from, int64_t now_realtime_ns)
{
	struct remains remains = count_all(files, count);

	for (size_t i = 0; i < count; i++) {
		struct retain_file *file = &files[i];

		assert(i == 0 || files[i - 1].file_no < file->file_no);
		if (file->file_no >= keep_from || file->file_no == remains.newest_sealed)
			return i;
		file->cause = cause_of(file, &remains, limits, now_realtime_ns);
		if (file->cause == RETAIN_KEPT)
			return i;
		count_out(&remains, file);
	}
	return count;
}

/* ---- looking ---- */

/* A name that is the log's, and what it takes. */
struct name {
	struct logdir_file file;
	uint64_t bytes;
	int64_t modified_ns;
};

struct retaining {
	const struct sys *sys;
	struct retain *retain;
	struct logdir_list list;
	struct name *names; /* by number, then in the order of their deletion                */
	size_t name_count;
	struct retain_file *files;
	size_t count;
	size_t due;             /* how many of them are to go                                */
	struct logdir_file odd; /* the first name that is left alone                         */
	size_t odd_count;
	int volume; /* the directory that is open; -1: none                                  */
	uint64_t volume_no;
};

static int failed(const struct retaining *retaining, const struct logdir_file *file,
		  const char *what, int error)
{
	char name[LOGDIR_NAME_SIZE];

	logdir_file_name(name, file);
	return reason_set(error, "%s/%s: cannot %s: %s; nothing newer is deleted until that works",
			  retaining->retain->path, name, what, strerror(-error));
}

static void leave_volume(struct retaining *retaining)
{
	if (retaining->volume >= 0)
		(void)retaining->sys->close(retaining->volume);
	retaining->volume = -1;
}

/* By its own name: a link would lead out of the log. */
static int enter_volume(struct retaining *retaining, uint64_t volume_no)
{
	char name[LOGDIR_NAME_SIZE];

	if (retaining->volume >= 0 && retaining->volume_no == volume_no)
		return 0;
	leave_volume(retaining);
	logdir_volume_name(name, volume_no);
	retaining->volume = retaining->sys->openat(
		retaining->retain->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	retaining->volume_no = volume_no;
	return retaining->volume < 0 ? retaining->volume : 0;
}

/* The name inside its volume. */
static void base_name(char name[LOGDIR_NAME_SIZE], const struct logdir_file *file)
{
	const struct logdir_file base = { .file_no = file->file_no, .state = file->state };

	logdir_file_name(name, &base);
}

/* 1: a file in a volume, and *ret; 0: no such file; -errno. */
static int look_at(struct retaining *retaining, const struct logdir_file *file, struct stat *ret)
{
	char name[LOGDIR_NAME_SIZE];
	int r;

	if (file->volume_no == 0)
		return 0;
	r = enter_volume(retaining, file->volume_no);
	if (r == -ENOTDIR || r == -ELOOP)
		return 0;
	if (r < 0)
		return r;
	base_name(name, file);
	r = retaining->sys->fstatat(retaining->volume, name, ret, AT_SYMLINK_NOFOLLOW);
	return r < 0 ? r : S_ISREG(ret->st_mode);
}

/* Whatever a file system says: 0 .. INT64_MAX. */
static int64_t modified_ns(const struct stat *about)
{
	if (about->st_mtim.tv_sec < 0)
		return 0;
	if (about->st_mtim.tv_sec >= INT64_MAX / NS_PER_S)
		return INT64_MAX;
	return (int64_t)about->st_mtim.tv_sec * NS_PER_S + about->st_mtim.tv_nsec;
}

static int add_names(struct retaining *retaining, const struct logdir_file *files, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct stat about;
		const int r = look_at(retaining, &files[i], &about);

		if (r == -ENOENT)
			continue;
		if (r < 0)
			return failed(retaining, &files[i], "look at it", r);
		if (r == 0 && retaining->odd_count++ == 0)
			retaining->odd = files[i];
		if (r > 0)
			retaining->names[retaining->name_count++] = (struct name){
				.file = files[i],
				.bytes = (uint64_t)about.st_blocks * STAT_BLOCK,
				.modified_ns = modified_ns(&about),
			};
	}
	return 0;
}

static int compare_names(const void *left, const void *right)
{
	const struct logdir_file *a = &((const struct name *)left)->file;
	const struct logdir_file *b = &((const struct name *)right)->file;

	if (a->file_no != b->file_no)
		return a->file_no < b->file_no ? -1 : 1;
	if (a->state != b->state)
		return a->state < b->state ? -1 : 1; /* I4 */
	return (a->volume_no > b->volume_no) - (a->volume_no < b->volume_no);
}

static enum retain_state state_of(enum logfile_state state)
{
	switch (state) {
	case LOGFILE_OPEN:
		return RETAIN_OPEN;
	case LOGFILE_SEALED:
	case LOGFILE_COMPRESSED:
		return RETAIN_SEALED;
	case LOGFILE_TORN:
	case LOGFILE_ARCHIVE_TMP:
		break;
	}
	return RETAIN_SIDE;
}

/* What the file is comes first, and what lies beside it does not tell when it was sealed. */
static void add_name(struct retain_file *file, const struct name *name)
{
	const enum retain_state state = state_of(name->file.state);

	file->bytes += name->bytes;
	if (state < file->state)
		return;
	file->state = state;
	if (name->modified_ns > file->sealed_ns)
		file->sealed_ns = name->modified_ns;
}

static void add_up(struct retaining *retaining)
{
	for (size_t i = 0; i < retaining->name_count; i++) {
		const struct name *name = &retaining->names[i];

		if (i == 0 || name[-1].file.file_no != name->file.file_no)
			retaining->files[retaining->count++] =
				(struct retain_file){ .file_no = name->file.file_no };
		add_name(&retaining->files[retaining->count - 1], name);
	}
}

/* What is there each time is said once. */
static void tell_odd(struct retaining *retaining)
{
	struct retain *retain = retaining->retain;
	char name[LOGDIR_NAME_SIZE];
	char line[sizeof(retain->told)] = "";

	if (retaining->odd_count > 0) {
		logdir_file_name(name, &retaining->odd);
		(void)snprintf(line, sizeof(line),
			       "%s/%s: a log file's name, but not a file in a volume (%zu such "
			       "names): left alone and not counted; move it away",
			       retain->path, name, retaining->odd_count);
	}
	if (line[0] != '\0' && strcmp(line, retain->told) != 0)
		retain->say(line);
	memcpy(retain->told, line, sizeof(line));
}

static int allocate(struct retaining *retaining)
{
	const size_t count = retaining->list.count + retaining->list.side_count;

	retaining->names = calloc(count + 1, sizeof(*retaining->names));
	retaining->files = calloc(count + 1, sizeof(*retaining->files));
	if (retaining->names && retaining->files)
		return 0;
	return reason_set(-ENOMEM, "%s: out of memory", retaining->retain->path);
}

static int look_at_all(struct retaining *retaining)
{
	const struct logdir_list *list = &retaining->list;
	int r = logdir_list(retaining->sys, retaining->retain->dir, &retaining->list);

	if (r < 0)
		return reason_set(r, "%s: cannot list it: %s", retaining->retain->path,
				  strerror(-r));
	r = allocate(retaining);
	if (r == 0)
		r = add_names(retaining, list->files, list->count);
	if (r == 0)
		r = add_names(retaining, list->sides, list->side_count);
	if (r < 0)
		return r;
	qsort(retaining->names, retaining->name_count, sizeof(struct name), compare_names);
	add_up(retaining);
	tell_odd(retaining);
	return 0;
}

static struct retaining beginning(struct retain *retain)
{
	return (struct retaining){ .sys = retain->sys, .retain = retain, .volume = -1 };
}

static int choose(struct retaining *retaining, const struct retain_limits *limits,
		  uint64_t keep_from, int64_t now_realtime_ns)
{
	const int r = look_at_all(retaining);

	if (r < 0)
		return r;
	retaining->due = retain_choose(retaining->files, retaining->count, limits, keep_from,
				       now_realtime_ns);
	return 0;
}

static void end(struct retaining *retaining)
{
	leave_volume(retaining);
	logdir_list_free(&retaining->list);
	free(retaining->names);
	free(retaining->files);
}

/* ---- deleting ---- */

/* One that has become empty, and is not where the next file goes. That it stays harms nobody:
 * foreign files may be in it. */
static void remove_volume(const struct retaining *retaining, uint64_t volume_no)
{
	char name[LOGDIR_NAME_SIZE];

	if (volume_no == 0 || volume_no == retaining->list.volume_last)
		return;
	logdir_volume_name(name, volume_no);
	if (retaining->sys->unlinkat(retaining->retain->dir, name, AT_REMOVEDIR) == 0)
		POINT(volume_deleted);
}

static void tell_deleted(const struct retaining *retaining, const struct name *name,
			 enum retain_cause cause)
{
	char path[LOGDIR_NAME_SIZE];
	char line[160];

	logdir_file_name(path, &name->file);
	(void)snprintf(line, sizeof(line), "deleted %s, %" PRIu64 " bytes (%s)", path, name->bytes,
		       cause_option[cause]);
	retaining->retain->say(line);
}

static void count_deleted(struct retain_result *result, const struct name *name,
			  enum retain_cause cause)
{
	result->files += result->file_no != name->file.file_no;
	result->bytes += name->bytes;
	result->file_no = name->file.file_no;
	result->cause = cause;
}

static int delete_name(struct retaining *retaining, const struct name *name,
		       enum retain_cause cause, struct retain_result *result)
{
	char base[LOGDIR_NAME_SIZE];
	int r = enter_volume(retaining, name->file.volume_no);

	base_name(base, &name->file);
	if (r == 0)
		r = retaining->sys->unlinkat(retaining->volume, base, 0);
	if (r == -ENOENT)
		return 0; /* somebody else was quicker */
	if (r < 0)
		return failed(retaining, &name->file, "delete it", r);
	POINT(file_deleted);
	tell_deleted(retaining, name, cause);
	count_deleted(result, name, cause);
	r = retaining->sys->fsync(retaining->volume); /* I3 */
	if (r < 0)
		return failed(retaining, &name->file, "sync its deletion", r);
	remove_volume(retaining, name->file.volume_no);
	return 0;
}

static int delete_oldest(struct retaining *retaining, struct retain_result *result)
{
	const struct retain_file *file = retaining->files;
	const struct retain_file *end = file + min_u64(retaining->due, RETAIN_BATCH);
	const struct name *name = retaining->names;
	int r = 0;

	/* Left empty where a kill or a power cut came before its own removal. */
	if (retaining->name_count > 0)
		remove_volume(retaining, name->file.volume_no - 1);
	for (size_t i = 0; i < retaining->name_count && r == 0; i++, name++) {
		file += name->file.file_no != file->file_no;
		if (file == end)
			break;
		r = delete_name(retaining, name, file->cause, result);
	}
	return r;
}

int retain_due(struct retain *retain, const struct retain_limits *limits, uint64_t keep_from,
	       int64_t now_realtime_ns)
{
	struct retaining retaining = beginning(retain);
	const int r = choose(&retaining, limits, keep_from, now_realtime_ns);
	const bool is_due = retaining.due > 0;

	end(&retaining);
	return r < 0 ? r : is_due;
}

int retain_run(struct retain *retain, const struct retain_limits *limits, uint64_t keep_from,
	       int64_t now_realtime_ns, struct retain_result *ret)
{
	struct retaining retaining = beginning(retain);
	int r = choose(&retaining, limits, keep_from, now_realtime_ns);

	*ret = (struct retain_result){ 0 };
	if (r == 0)
		r = delete_oldest(&retaining, ret);
	ret->more = r == 0 && retaining.due > RETAIN_BATCH;
	end(&retaining);
	return r;
}
