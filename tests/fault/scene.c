/*
 * scene.c - the whole writer under one fault, and what its log holds afterwards. See scene.h.
 */
#include "scene.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

#include "faulty_sys.h"
#include "program.h"
#include "segment.h"

enum {
	RECORDS_MAX = 4096,
	BURST = 25,
	FLOOD = 900, /* more than the smallest lane takes */
	SYNC_NS = 40 * NS_PER_MS,
	PATIENCE_MS = 250, /* before the second TERM */
};

static char root[64];

/* ---- where it all lies ---- */

const char *scene_root(void)
{
	return root;
}

void scene_enter(void)
{
	(void)snprintf(root, sizeof(root), "/dev/shm/shmlog-fault.%d", (int)getpid());
	if (mkdir(root, 0700) < 0)
		broken("%s: %s", root, strerror(errno));
	if (setenv("SHMLOG_SHM_DIR", root, 1) < 0)
		broken("setenv");
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *where)
{
	(void)about;
	(void)where;
	return (type == FTW_DP ? rmdir(path) : unlink(path)) < 0 ? -1 : 0;
}

static void remove_tree(const char *path)
{
	if (access(path, F_OK) == 0 && nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
		broken("cannot remove %s: %s", path, strerror(errno));
}

void scene_leave(void)
{
	remove_tree(root);
}

/* ---- counting ---- */

unsigned scene_count_descriptors(void)
{
	DIR *stream = opendir("/proc/self/fd");
	unsigned count = 0;

	if (!stream)
		broken("/proc/self/fd: %s", strerror(errno));
	while (readdir(stream))
		count++;
	(void)closedir(stream);
	return count;
}

unsigned scene_count_ring_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned count = 0;

	if (!maps)
		broken("/proc/self/maps: %s", strerror(errno));
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "/shmlog.") != NULL;
	(void)fclose(maps);
	return count;
}

static bool has_leaked(void)
{
#if defined(__SANITIZE_ADDRESS__)
	return __lsan_do_recoverable_leak_check() != 0;
#else
	return false;
#endif
}

/* ---- begin and end ---- */

static void make_ring(const struct scene *scene)
{
	const struct segment_options options = {
		.lanes = 4,
		.lane_size = (uint64_t)LANE_BLOCKS_MIN * BLOCK_SIZE,
		.group = (gid_t)-1,
	};

	if (segment_create(&sys_real, scene->ring, &options) < 0)
		broken("%s", reason_get());
}

void scene_begin(struct scene *scene, const struct setting *setting, const char *label)
{
	static struct report *report;

	if (!report) {
		report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (report == MAP_FAILED)
			broken("no memory");
	}
	*scene = (struct scene){ .setting = setting, .label = label, .report = report };
	(void)snprintf(scene->ring, sizeof(scene->ring), "fault.%d", (int)getpid());
	(void)snprintf(scene->directory, sizeof(scene->directory), "%s/log.%d", root,
		       (int)getpid());
	(void)snprintf(scene->errors, sizeof(scene->errors), "%s/errors.%d", root, (int)getpid());
	scene->journal = journal_create(NULL, 2, RECORDS_MAX);
	plan_forget_unsynced();
	if (!setting->makes_ring)
		make_ring(scene);
}

void scene_end(struct scene *scene)
{
	char path[SCENE_PATH_SIZE + 80];

	journal_destroy(scene->journal);
	(void)snprintf(path, sizeof(path), "%s/shmlog.%s", root, scene->ring);
	(void)unlink(path);
	(void)unlink(scene->errors);
	remove_tree(scene->directory);
}

void scene_tell_errors(const struct scene *scene)
{
	FILE *errors = fopen(scene->errors, "re");
	char line[512];

	(void)fprintf(stderr, "    in %s\n", scene->label);
	while (errors && fgets(line, sizeof(line), errors))
		(void)fprintf(stderr, "    | %s", line);
	if (errors)
		(void)fclose(errors);
}

/* ---- the writer ---- */

void scene_redirect_errors(const struct scene *scene)
{
	const int fd = open(scene->errors, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(2);
	(void)close(fd);
}

static void load_config(const struct scene *scene, bool once, struct config *config)
{
	const char *argv[SCENE_OPTIONS_MAX + 12] = { "shmlog-writer" };
	const char *const *option = scene->setting->options;
	int argc = 1;

	argv[argc++] = "-r";
	argv[argc++] = scene->ring;
	argv[argc++] = "-d";
	argv[argc++] = scene->directory;
	while (*option)
		argv[argc++] = *option++;
	if (once)
		argv[argc++] = "--once";
	if (config_load(argc, (char **)(uintptr_t)argv, config) != 0)
		_exit(2);
}

void scene_report_begin(struct scene *scene)
{
	scene->report->descriptors_before = scene_count_descriptors();
	scene->report->mappings_before = scene_count_ring_mappings();
	(void)reason_set(0, "%s", "");
}

void scene_report_end(struct scene *scene)
{
	struct report *report = scene->report;

	(void)snprintf(report->reason, sizeof(report->reason), "%s", reason_get());
	report->descriptors_after = scene_count_descriptors();
	report->mappings_after = scene_count_ring_mappings();
	report->has_leaked = has_leaked();
	report->has_ended = true;
}

_Noreturn static void run_writer(struct scene *scene, bool is_faulty, bool once)
{
	static struct config config;
	struct report *report = scene->report;

	scene_redirect_errors(scene);
	load_config(scene, once, &config);
	scene_report_begin(scene);
	if (!is_faulty) { /* it has no program to compress with, and all is to be compared */
		config.compress = false;
		config.max_files = 0;
	}
	if (is_faulty)
		report->result = session_run(&config, &faulty_sys, scene->setting->open_io);
	else
		report->result = session_run(&config, &sys_real, io_open);
	scene_report_end(scene);
	_exit(0);
}

pid_t scene_start_writer(struct scene *scene, bool is_faulty, bool once)
{
	sigset_t signals, before;
	pid_t pid;

	*scene->report = (struct report){ 0 };
	/* A TERM that comes before the writer listens is not to kill it. */
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGHUP);
	(void)sigaddset(&signals, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &signals, &before);
	(void)fflush(stdout);
	pid = fork();
	if (pid < 0)
		broken("fork: %s", strerror(errno));
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		run_writer(scene, is_faulty, once);
	}
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

/* What a run must leave as it found it, and say. */
static void check_report(const struct scene *scene)
{
	const struct report *report = scene->report;

	if (report->descriptors_after != report->descriptors_before)
		violated("%s: %u descriptors before, %u after", scene->label,
			 report->descriptors_before, report->descriptors_after);
	if (report->mappings_after != report->mappings_before)
		violated("%s: %u mappings of rings before, %u after", scene->label,
			 report->mappings_before, report->mappings_after);
	if (report->has_leaked)
		violated("%s: memory is leaked", scene->label);
	if (report->result > 0 || report->result < -4095)
		violated("%s: returned %d", scene->label, report->result);
	if (report->result < 0 && (!*report->reason || strchr(report->reason, '\n')))
		violated("%s: returned %d (%s), with the reason \"%s\"", scene->label,
			 report->result, strerror(-report->result), report->reason);
}

int scene_wait_writer(struct scene *scene, pid_t pid)
{
	const int status = program_wait(pid, SCENE_DEADLINE_MS);

	if (status == 128 + SIGKILL && plan_was_reached())
		return 1;
	if (status == 74 && plan_was_reached())
		return 2;
	if (status != 0 || !scene->report->has_ended) {
		violated("%s: the writer ended with %d", scene->label, status);
		return 0;
	}
	check_report(scene);
	return scene->report->result;
}

static bool has_exited(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == pid;
}

static void nap_ms(long ms)
{
	const struct timespec time = { .tv_nsec = ms * 1000000 };

	(void)nanosleep(&time, NULL);
}

void scene_stop_writer(pid_t pid)
{
	(void)kill(pid, SIGTERM);
	for (int i = 0; i < PATIENCE_MS; i++) {
		if (has_exited(pid))
			return;
		nap_ms(1);
	}
	(void)kill(pid, SIGTERM);
}

/* ---- the producer ---- */

/* There is a ring, or the writer has ended without one. */
static bool attach(const struct scene *scene, pid_t pid, struct shmlog **ret)
{
	for (int i = 0; i < SCENE_DEADLINE_MS; i++) {
		if (shmlog_attach(scene->ring, NULL, ret) == 0)
			return true;
		if (pid == 0 || has_exited(pid))
			return shmlog_attach(scene->ring, NULL, ret) == 0;
		nap_ms(1);
	}
	violated("%s: neither a ring nor an end: %s", scene->label, shmlog_reason());
	return false;
}

static void push_many(const struct scene *scene, struct shmlog *log, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		(void)journal_push(scene->journal, log, 0, 0);
}

/* A sync that says -EIO speaks of what came before it, once: the next one of what comes after. */
static void sync_all(struct scene *scene, struct shmlog *log, int what)
{
	const int r = shmlog_sync(log, what, SYNC_NS);
	const uint32_t next = journal_next(scene->journal, 0);

	if (r == -EIO)
		scene->durable_from = next;
	if (r < 0 || what != SHMLOG_SYNC_DURABLE)
		return;
	for (uint32_t i = scene->durable_from; i < next; i++)
		if (journal_state(scene->journal, 0, i) == JOURNAL_PUBLISHED)
			journal_note(scene->journal, 0, i, JOURNAL_DURABLE);
}

static void sync_durable(struct scene *scene, struct shmlog *log)
{
	sync_all(scene, log, SHMLOG_SYNC_DURABLE);
}

void scene_produce(struct scene *scene, pid_t pid)
{
	struct shmlog *log;

	if (!attach(scene, pid, &log))
		return;
	push_many(scene, log, BURST);
	sync_durable(scene, log);
	push_many(scene, log, BURST);
	if (pid)
		(void)kill(pid, SIGUSR1);
	sync_durable(scene, log);
	push_many(scene, log, BURST);
	if (pid)
		(void)kill(pid, SIGHUP);
	for (unsigned i = 0; i < BURST; i++)
		(void)journal_push(scene->journal, log, 0, NS_PER_MS);
	sync_all(scene, log, SHMLOG_SYNC_WRITTEN);
	push_many(scene, log, FLOOD);
	sync_durable(scene, log);
	push_many(scene, log, BURST);
	shmlog_detach(&log);
}

/* ---- the verdict ---- */

/* Its complaints are for who reads about a breach. */
static FILE *read_quietly(const struct scene *scene, const char *const argv[], pid_t *ret_pid)
{
	const int ours = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
	FILE *stream;

	scene_redirect_errors(scene);
	stream = program_read(argv, ret_pid);
	if (ours < 0 || dup2(ours, STDERR_FILENO) < 0)
		_exit(2);
	(void)close(ours);
	return stream;
}

struct marks {
	uint64_t of_disk; /* unsynced, unwritten */
	uint64_t unwritten;
	uint64_t of_ring; /* what producers were told */
};

static void read_marks(const struct scene *scene, struct marks *ret)
{
	const char *const argv[] = { "shmlog-cat", "-o", "json", scene->directory, NULL };
	static char line[8192];
	pid_t pid;
	FILE *stream = read_quietly(scene, argv, &pid);

	*ret = (struct marks){ 0 };
	while (fgets(line, sizeof(line), stream)) {
		const char *at = strstr(line, ",\"lost\":");
		char reason[32];
		unsigned long long count;

		if (!at || sscanf(at, ",\"lost\":%llu,\"reason\":\"%31[a-z_]", &count, reason) != 2)
			continue;
		if (strcmp(reason, "unwritten") == 0)
			ret->unwritten += count;
		if (strcmp(reason, "unsynced") == 0 || strcmp(reason, "unwritten") == 0)
			ret->of_disk += count;
		else
			ret->of_ring += count;
	}
	(void)program_close(stream, pid);
}

static void read_log(const struct scene *scene, enum journal_demand demand, bool may_be_damaged,
		     struct journal_totals *ret)
{
	const char *const argv[] = { "shmlog-cat", "-o", "raw", scene->directory, NULL };
	pid_t pid;
	FILE *stream = read_quietly(scene, argv, &pid);
	int status;

	(void)journal_check(scene->journal, stream, demand, ret);
	status = program_close(stream, pid);
	if (status != 0 && !(may_be_damaged && status == 3))
		violated("%s: shmlog-cat ended with %d", scene->label, status);
}

/* The oldest files may be deleted: what they held is not looked for. */
static uint64_t forgive_deleted(const struct scene *scene)
{
	const char *const argv[] = { "shmlog-cat", "-o", "raw", scene->directory, NULL };
	pid_t pid;
	FILE *stream = read_quietly(scene, argv, &pid);
	const uint64_t count = journal_forgive_deleted(scene->journal, stream);

	(void)program_close(stream, pid);
	return count;
}

void scene_compare_deleted(const struct scene *scene)
{
	struct journal_totals totals;

	(void)forgive_deleted(scene);
	read_log(scene, DEMAND_PUBLISHED, false, &totals);
}

/* Records that no sync has vouched for. */
static uint64_t unconfirmed(const struct scene *scene)
{
	const uint32_t end = journal_next(scene->journal, 0);
	uint64_t count = 0;

	for (uint32_t i = 0; i < end; i++)
		count += journal_state(scene->journal, 0, i) == JOURNAL_PUBLISHED;
	return count;
}

/* @is_marked: what is lost is named in the log; else the ring's count is enough. */
static void compare(const struct scene *scene, bool may_lose, bool takes_data, bool is_marked)
{
	struct journal_totals totals;
	struct marks marks;
	uint64_t unknown = may_lose ? unconfirmed(scene) : 0;

	if (scene->setting->deletes) /* what is named may be among that */
		unknown += forgive_deleted(scene);
	read_log(scene, may_lose ? DEMAND_DURABLE : DEMAND_PUBLISHED, takes_data, &totals);
	read_marks(scene, &marks);
	if (scene->counted > marks.of_disk && !is_marked)
		marks.of_disk = scene->counted; /* a later failure took the mark itself */
	if (totals.absent > marks.of_disk)
		violated("%s: %llu published records are missing, %llu are named", scene->label,
			 (unsigned long long)totals.absent, (unsigned long long)marks.of_disk);
	/* Who is told that records may be lost may also find them, but no sync vouched for them. */
	if (is_marked && marks.of_disk > unknown)
		violated(
			"%s: %llu records are named as lost to the disk (%llu unwritten), %llu are",
			scene->label, (unsigned long long)marks.of_disk,
			(unsigned long long)marks.unwritten, (unsigned long long)totals.absent);
	/* A mark is a record like others: it goes with its page, and with its file. */
	if (takes_data || scene->setting->deletes ? marks.of_ring > totals.dropped
						  : marks.of_ring != totals.dropped)
		violated("%s: %llu records were dropped, %llu are marked", scene->label,
			 (unsigned long long)totals.dropped, (unsigned long long)marks.of_ring);
}

static bool has_ring(const struct scene *scene)
{
	char path[SCENE_PATH_SIZE + 80];

	(void)snprintf(path, sizeof(path), "%s/shmlog.%s", root, scene->ring);
	return access(path, F_OK) == 0;
}

/* What the ring says that was lost below it, over all its writers. */
static uint64_t count_failed(const struct scene *scene)
{
	struct segment segment;
	struct segment_view view;
	uint64_t count = 0;

	if (segment_open(&sys_real, scene->ring, O_RDONLY, &segment) < 0 ||
	    segment_view(&segment, &view) < 0)
		broken("%s", reason_get());
	for (uint32_t lane = 0; lane < segment.geometry.lanes; lane++)
		count += load_relaxed(&view_lane_status(&view, lane)->failed);
	segment_view_close(&view);
	segment_close(&segment);
	return count;
}

void scene_judge(struct scene *scene, bool may_lose, bool takes_data, bool is_marked)
{
	static const struct fault none;
	int r;

	if (!has_ring(scene))
		return; /* the writer was to make it, and nobody can have published */
	plan_set(&none);
	r = scene_wait_writer(scene, scene_start_writer(scene, false, true));
	if (r != 0)
		violated("%s: the clean run after it: %d, %s", scene->label, r,
			 scene->report->reason);
	scene->counted = count_failed(scene);
	compare(scene, may_lose, takes_data, is_marked);
}
