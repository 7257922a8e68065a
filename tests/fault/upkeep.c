/*
 * upkeep.c - compressing and deleting, while a call fails. See upkeep.h.
 *
 * All calls of a run follow from the log alone: the Nth is the same one each time. What must hold
 * after it, whatever failed: what is left is the log's end, without a hole, and readable; the files
 * that were to be kept are among it; no half archive lies about, unless removing failed.
 */
#include "upkeep.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "archive.h"
#include "faulty_sys.h"
#include "logdir.h"
#include "program.h"
#include "retain.h"

enum {
	FILES = 7,       /* at least; each in a volume of its own                            */
	BATCH = 60,      /* records of a file, and a little more                             */
	KEEP_FROM = 4,   /* no file from here on is deleted, ...                             */
	FILES_FIRST = 6, /* ... and first only down to so many                               */
	FILES_LAST = 1,
	RECORDS_MAX = 4096, /* as the scene's journal */
};

struct upkeep {
	char directory[SCENE_PATH_SIZE];
	struct journal *journal;
	uint64_t last; /* number of the newest file, and of its volume */
};

/* What a run says, beside its report; in shared memory. */
struct outcome {
	int archived; /* of archive_volumes() */
	int retained; /* of the last retain_run() */
	struct archive_result result;
};

static struct outcome *outcome;

/* ---- listing ---- */

struct listing {
	uint64_t first, last; /* file numbers; what is between them is there */
	unsigned halves;      /* archives with their temporary name          */
	unsigned twins;       /* files beside their archives                 */
	unsigned originals;
	uint64_t volume_last;
};

static void look(const struct scene *scene, const char *directory, struct listing *ret)
{
	const int dir = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct logdir_list list;

	*ret = (struct listing){ 0 };
	if (dir < 0 || logdir_list(&sys_real, dir, &list) < 0 || list.count == 0)
		broken("%s: cannot list %s", scene->label, directory);
	ret->first = list.files[0].file_no;
	ret->last = list.files[list.count - 1].file_no;
	ret->volume_last = list.volume_last;
	for (size_t i = 0; i < list.count; i++) {
		ret->originals += list.files[i].state == LOGFILE_SEALED;
		if (i == 0)
			continue;
		ret->twins += list.files[i].file_no == list.files[i - 1].file_no;
		if (list.files[i].file_no > list.files[i - 1].file_no + 1)
			violated("%s: file %llu is gone, older ones are not", scene->label,
				 (unsigned long long)list.files[i].file_no - 1);
	}
	for (size_t i = 0; i < list.side_count; i++)
		ret->halves += list.sides[i].state == LOGFILE_ARCHIVE_TMP;
	logdir_list_free(&list);
	(void)close(dir);
}

/* ---- the log that all runs begin with ---- */

static void push_files(const struct scene *scene, pid_t writer)
{
	struct shmlog *log;

	if (shmlog_attach(scene->ring, NULL, &log) < 0)
		broken("%s", shmlog_reason());
	for (unsigned i = 0; i < FILES; i++) {
		for (unsigned k = 0; k < BATCH; k++)
			(void)journal_push(scene->journal, log, 0, NS_PER_S);
		(void)kill(writer, SIGUSR1); /* roll */
		(void)shmlog_trigger(log);
		if (shmlog_sync(log, SHMLOG_SYNC_DURABLE, 10 * (int64_t)NS_PER_S) < 0)
			broken("%s: a clean writer does not write", scene->label);
	}
	shmlog_detach(&log);
}

struct upkeep *upkeep_prepare(struct scene *scene)
{
	struct upkeep *upkeep = calloc(1, sizeof(*upkeep));
	struct listing listing;
	pid_t pid;

	outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (!upkeep || outcome == MAP_FAILED)
		broken("no memory");
	pid = scene_start_writer(scene, false, false);
	push_files(scene, pid);
	scene_stop_writer(pid);
	if (scene_wait_writer(scene, pid) != 0)
		broken("%s: a clean writer failed: %s", scene->label, scene->report->reason);
	(void)snprintf(upkeep->directory, sizeof(upkeep->directory), "%s/upkeep.%d", scene_root(),
		       (int)getpid());
	if (rename(scene->directory, upkeep->directory) < 0)
		broken("%s: %s", upkeep->directory, strerror(errno));
	look(scene, upkeep->directory, &listing);
	if (listing.last < FILES_FIRST || listing.last != listing.volume_last)
		broken("%llu files in %llu volumes", (unsigned long long)listing.last,
		       (unsigned long long)listing.volume_last);
	upkeep->last = listing.last;
	upkeep->journal = scene->journal;
	scene->journal = journal_create(NULL, 1, 1); /* for scene_end() */
	return upkeep;
}

/* The copy of a scene, and of what is known about it: some of that is forgiven later. */
static void copy(struct scene *scene, const struct upkeep *upkeep)
{
	const char *const argv[] = { "/bin/cp", "-a", upkeep->directory, scene->directory, NULL };
	const uint32_t end = journal_next(upkeep->journal, 0);

	if (program_run(argv, NULL, SCENE_DEADLINE_MS) != 0)
		broken("cannot copy %s", upkeep->directory);
	for (uint32_t i = 0; i < end; i++)
		journal_note(scene->journal, 0, i, journal_state(upkeep->journal, 0, i));
}

/* ---- a run ---- */

static void say_line(const char *line)
{
	(void)fprintf(stderr, "shmlog-writer: %s\n", line);
}

static int delete_down_to(const struct sys *sys, int dir, uint32_t files)
{
	struct retain retain = { .sys = sys, .dir = dir, .path = "log", .say = say_line };
	const struct retain_limits limits = { .max_files = files };
	struct retain_result result;
	int r;

	do
		r = retain_run(&retain, &limits, KEEP_FROM, sys->now(CLOCK_REALTIME), &result);
	while (r == 0 && result.more);
	return r;
}

/* The first that fails ends it, as the second thread's job would; the next part begins anew. */
static void compress_and_delete(const struct sys *sys, int dir, uint64_t before)
{
	const struct archive_log log = { sys, dir, "log" };
	const struct archive_range range = { .from = 0, .before = before };

	outcome->archived = archive_volumes(&log, range, false, &outcome->result);
	if (outcome->archived < 0)
		say_line(reason_get());
	outcome->retained = delete_down_to(sys, dir, FILES_FIRST);
	if (outcome->retained == 0)
		outcome->retained = delete_down_to(sys, dir, FILES_LAST);
	if (outcome->retained < 0)
		say_line(reason_get());
}

_Noreturn static void run(struct scene *scene, const struct sys *sys, uint64_t before)
{
	int dir;

	scene_redirect_errors(scene);
	dir = open(scene->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		broken("%s: %s", scene->directory, strerror(errno));
	scene_report_begin(scene);
	compress_and_delete(sys, dir, before);
	scene_report_end(scene);
	scene->report->result = outcome->archived < 0 ? outcome->archived : outcome->retained;
	(void)close(dir);
	_exit(0);
}

static int run_in_child(struct scene *scene, const struct sys *sys, uint64_t before)
{
	pid_t pid;

	*scene->report = (struct report){ 0 };
	*outcome = (struct outcome){ 0 };
	(void)fflush(stdout);
	pid = fork();
	if (pid < 0)
		broken("fork: %s", strerror(errno));
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		run(scene, sys, before);
	}
	return scene_wait_writer(scene, pid);
}

/* What failed is said, and keeps nothing else from being done. */
static void check_outcome(const struct scene *scene, const struct upkeep *upkeep)
{
	const struct archive_result *result = &outcome->result;
	const uint64_t files = result->made + result->stay + result->failed;
	struct stat errors;

	if (outcome->archived == 0 && files != upkeep->last - 1)
		violated("%s: of %llu files %llu were looked at", scene->label,
			 (unsigned long long)upkeep->last - 1, (unsigned long long)files);
	if ((result->failed > 0 || outcome->archived < 0 || outcome->retained < 0) &&
	    (stat(scene->errors, &errors) < 0 || errors.st_size == 0))
		violated("%s: something failed, and nothing is said", scene->label);
}

static void check_log(struct scene *scene, const struct upkeep *upkeep, struct listing *ret)
{
	look(scene, scene->directory, ret);
	if (ret->last != upkeep->last)
		violated("%s: the newest file is gone", scene->label);
	if (ret->first > KEEP_FROM)
		violated("%s: file %d was to be kept", scene->label, KEEP_FROM);
	scene_compare_deleted(scene);
}

int upkeep_run(struct scene *scene, const struct upkeep *upkeep, const struct fault *fault)
{
	struct listing listing;
	int r;

	copy(scene, upkeep);
	plan_set(fault);
	r = run_in_child(scene, &faulty_sys, upkeep->last);
	check_outcome(scene, upkeep);
	check_log(scene, upkeep, &listing);
	if (listing.halves > 0 && fault->call != CALL_UNLINKAT)
		violated("%s: half an archive is left", scene->label);
	return r;
}

void upkeep_judge(struct scene *scene, const struct upkeep *upkeep)
{
	static const struct fault none;
	struct listing listing;
	int r;

	plan_set(&none);
	r = run_in_child(scene, &sys_real, upkeep->last);
	if (r != 0 || outcome->result.failed > 0)
		violated("%s: the clean run after it: %d, %s", scene->label, r,
			 scene->report->reason);
	check_log(scene, upkeep, &listing);
	if (listing.first != KEEP_FROM)
		violated("%s: files are kept from %llu on, not from %d", scene->label,
			 (unsigned long long)listing.first, KEEP_FROM);
	if (listing.halves || listing.twins || listing.originals != 1)
		violated("%s: %u halves, %u twins, %u originals are left", scene->label,
			 listing.halves, listing.twins, listing.originals);
}
