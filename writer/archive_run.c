/*
 * archive_run.c - the archiving of whole volumes, by a child of the writer or by hand. See
 * archive.h.
 *
 * The child may be killed at any time, and is where its writer goes first: everything that it does
 * can be done again.
 */
#include <errno.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sysexits.h>
#include <unistd.h>

#include "archive.h"
#include "hold.h"
#include "point.h"
#include "units.h"

/* ---- volumes ---- */

int archive_clear(const struct archive_log *log, const struct logdir_list *list)
{
	char name[LOGDIR_NAME_SIZE];
	int result = 0;

	for (size_t i = 0; i < list->side_count; i++) {
		int r;

		if (list->sides[i].state != LOGFILE_ARCHIVE_TMP)
			continue;
		logdir_file_name(name, &list->sides[i]);
		r = log->sys->unlinkat(log->dir, name, 0);
		if (r == 0)
			POINT(half_archive_removed);
		else if (r != -ENOENT)
			result =
				reason_set(r, "file \"%s/%s\": remove what an earlier run left: %s",
					   log->path, name, strerror(-r));
	}
	return result;
}

/* Volume 0 would be a file that lies beside the volumes. */
static bool is_due(const struct logdir_file *file, struct archive_range range)
{
	return file->state == LOGFILE_SEALED && file->volume_no > 0 &&
	       file->volume_no < range.before;
}

static uint64_t size_of(const struct archive_log *log, const struct logdir_file *file)
{
	char name[LOGDIR_NAME_SIZE];
	struct stat about;

	logdir_file_name(name, file);
	if (log->sys->fstatat(log->dir, name, &about, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return (uint64_t)about.st_size;
}

static void archive_one(const struct archive_log *log, const struct logdir_file *file,
			struct meter *meter, struct archive_result *result)
{
	const uint64_t end = meter->bytes + size_of(log, file);
	const int r = archive_file(log, file, meter);
	const bool has_failed = r < 0 && r != -ENOENT; /* that would be retention's doing */

	result->made += r == ARCHIVE_MADE;
	result->stay += r == ARCHIVE_STAYS || r == ARCHIVE_UNSOUND;
	result->failed += has_failed;
	if (has_failed || r == ARCHIVE_UNSOUND)
		meter_say(meter, reason_get());
	meter->files++;
	meter_add(meter, end > meter->bytes ? end - meter->bytes : 0);
}

static void archive_listed(const struct archive_log *log, const struct logdir_list *list,
			   struct archive_range range, struct meter *meter,
			   struct archive_result *result)
{
	for (size_t i = 0; i < list->count; i++) {
		if (!is_due(&list->files[i], range))
			continue;
		meter->files_all++;
		meter->bytes_all += size_of(log, &list->files[i]);
	}
	for (size_t i = list->count; i-- > 0;) {
		if (is_due(&list->files[i], range))
			archive_one(log, &list->files[i], meter, result);
	}
}

int archive_volumes(const struct archive_log *log, struct archive_range range, bool show,
		    struct archive_result *ret)
{
	struct meter meter;
	struct logdir_list list;
	int r = logdir_list_from(log->sys, log->dir, range.from, &list);

	*ret = (struct archive_result){ 0 };
	if (r < 0)
		return reason_set(r, "directory \"%s\": cannot list it: %s", log->path,
				  strerror(-r));
	meter_begin(&meter, log->sys, show);
	if (archive_clear(log, &list) < 0)
		meter_say(&meter, reason_get());
	archive_listed(log, &list, range, &meter, ret);
	meter_end(&meter);
	logdir_list_free(&list);
	return 0;
}

/* ---- the child ---- */

/* Only what nobody else wants. What the system refuses of it is not missed. */
static void step_back(void)
{
	const struct sched_param param = { 0 };

	(void)setpriority(PRIO_PROCESS, 0, 19);
	(void)sched_setscheduler(0, SCHED_IDLE, &param);
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		      IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

/* False: the parent was gone before it could be followed. */
static bool end_with(uint64_t parent)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && (uint64_t)getppid() == parent;
}

static int run_child(struct archive_range range, bool show, const char *path)
{
	const struct archive_log log = { &sys_real, ARCHIVE_DIR_FD, path };
	struct archive_result result;
	const int r = archive_volumes(&log, range, show, &result);

	if (r < 0)
		(void)fprintf(stderr, "shmlog-writer: %s\n", reason_get());
	if (r < 0)
		return EX_IOERR;
	return result.failed > 0;
}

int archive_child(int argc, char **argv)
{
	uint64_t parent, show;
	struct archive_range range;

	if (argc != ARCHIVE_ARGUMENTS || units_parse_number(argv[1], INT32_MAX, &parent) < 0 ||
	    units_parse_number(argv[2], INT64_MAX, &range.from) < 0 ||
	    units_parse_number(argv[3], INT64_MAX, &range.before) < 0 ||
	    units_parse_number(argv[4], 1, &show) < 0) {
		(void)fputs(ARCHIVE_NAME ": is run by shmlog-writer; by hand: shmlog-writer "
					 "--archive -d DIR\n",
			    stderr);
		return EX_USAGE;
	}
	(void)prctl(PR_SET_NAME, ARCHIVE_NAME); /* else it is shown as "exe" */
	step_back();
	if (!end_with(parent))
		return EXIT_FAILURE;
	return run_child(range, show, argv[5]);
}

/* ---- by hand ---- */

/* Is it a log? Before anything is made in it. *ret: its newest volume. */
static int look_for_log(const struct archive_log *log, uint64_t *ret_volume_last)
{
	struct logdir_list list;
	bool is_log;
	const int r = logdir_list_from(log->sys, log->dir, UINT64_MAX, &list);

	if (r < 0)
		return reason_set(r, "directory \"%s\": cannot list it: %s", log->path,
				  strerror(-r));
	*ret_volume_last = list.volume_last;
	is_log = list.has_lock || list.volume_last > 0;
	logdir_list_free(&list);
	return is_log ? 0 : reason_set(-EBADMSG, "directory \"%s\": holds no log", log->path);
}

static int archive_directory(const struct archive_log *log, const struct config *config)
{
	struct archive_result result = { 0 };
	struct archive_range range = { 0 };
	int lock;
	int r = look_for_log(log, &range.before);

	if (r < 0)
		return r;
	r = hold_open_directory(log->sys, log->dir, log->path, "none: it archives", &lock);
	if (r < 0)
		return r;
	r = archive_volumes(log, range, config->progress, &result);
	(void)log->sys->close(lock);
	return r < 0 ? r : result.failed > 0;
}

int archive_by_hand(const struct config *config, const struct sys *sys)
{
	struct archive_log log = { .sys = sys, .path = config->directory };
	int r;

	log.dir = sys->open(log.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (log.dir < 0)
		return reason_set(log.dir, "directory \"%s\": cannot open it: %s", log.path,
				  strerror(-log.dir));
	r = archive_directory(&log, config);
	(void)sys->close(log.dir);
	return r;
}
