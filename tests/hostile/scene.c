/*
 * scene.c - see scene.h.
 */
#include "scene.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "program.h"
#include "shmlog.h"

enum {
	LINES_MAX = 60,             /* that a writer may say in one scene      */
	PRIVATE_KB_MAX = 16 * 1024, /* that a writer may grow by               */
	PACE = 40,                  /* records between naps                    */
};

struct figures *figures;

bool is_sanitized(void)
{
	const char *share = getenv("SANITIZED");

	return share && share[0];
}

void sleep_ms(int ms)
{
	const struct timespec time = { ms / 1000, ms % 1000 * 1000000L };

	(void)nanosleep(&time, NULL);
}

int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- a tree's manifest ---- */

static uint64_t tree_sum; /* of nftw(3), which has no argument */

static uint64_t mix(uint64_t sum, const void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		sum = (sum ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
	return sum;
}

static uint64_t mix_content(uint64_t sum, const char *path)
{
	char bytes[4096];
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t size;

	while (fd >= 0 && (size = read(fd, bytes, sizeof(bytes))) > 0)
		sum = mix(sum, bytes, (size_t)size);
	if (fd >= 0)
		(void)close(fd);
	return sum;
}

static int mix_entry(const char *path, const struct stat *about, int type, struct FTW *where)
{
	(void)where;
	tree_sum = mix(tree_sum, path, strlen(path));
	tree_sum = mix(tree_sum, &about->st_mode, sizeof(about->st_mode));
	tree_sum = mix(tree_sum, &about->st_mtim, sizeof(about->st_mtim));
	if (type == FTW_F)
		tree_sum = mix_content(tree_sum, path);
	return 0;
}

static uint64_t manifest(const char *path)
{
	tree_sum = 1;
	if (nftw(path, mix_entry, 16, FTW_PHYS) != 0)
		broken("cannot walk %s", path);
	return tree_sum;
}

static int add_size(const char *path, const struct stat *about, int type, struct FTW *where)
{
	(void)path;
	(void)type;
	(void)where;
	tree_sum += (uint64_t)about->st_size;
	return 0;
}

static int remove_entry(const char *path, const struct stat *about, int type, struct FTW *where)
{
	(void)about;
	(void)type;
	(void)where;
	return remove(path);
}

uint64_t scene_log_bytes(const struct scene *scene)
{
	tree_sum = 0;
	(void)nftw(scene->log, add_size, 16, FTW_PHYS);
	return tree_sum;
}

/* ---- begin and end ---- */

static void make_file(const char *directory, const char *name, const char *content)
{
	char path[300];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "w");
	if (!file || fputs(content, file) < 0 || fclose(file) != 0)
		broken("%s: %s", path, strerror(errno));
}

void scene_segment_path(const struct scene *scene, char path[256])
{
	(void)snprintf(path, 256, "%s/shmlog.%s", segment_directory(), scene->ring);
}

static void make_directories(struct scene *scene)
{
	const char *root = getenv("TMPDIR");

	(void)snprintf(scene->base, sizeof(scene->base), "%.80s/shmlog-hostile.%d.XXXXXX",
		       root ? root : "/tmp", getppid());
	if (!mkdtemp(scene->base))
		broken("%s: %s", scene->base, strerror(errno));
	(void)snprintf(scene->log, sizeof(scene->log), "%s/log", scene->base);
	(void)snprintf(scene->outside, sizeof(scene->outside), "%s/outside", scene->base);
	(void)snprintf(scene->errors, sizeof(scene->errors), "%s/errors", scene->base);
	(void)snprintf(scene->noise, sizeof(scene->noise), "%s/noise", scene->base);
	if (mkdir(scene->outside, 0755) < 0)
		broken("%s: %s", scene->outside, strerror(errno));
	make_file(scene->outside, "lock", "somebody else's lock\n");
	make_file(scene->outside, "precious", "must not change\n");
	scene->manifest = manifest(scene->outside);
}

void scene_begin(struct scene *scene, const char *name, uint32_t lanes, uint64_t lane_size)
{
	const struct segment_options options = { .lanes = lanes,
						 .lane_size = lane_size,
						 .group = (gid_t)-1 };

	*scene = (struct scene){ .lanes = lanes, .lane_size = lane_size };
	(void)snprintf(scene->ring, sizeof(scene->ring), "hostile.%d.%d.%s", getppid(), getpid(),
		       name);
	make_directories(scene);
	if (segment_create(&sys_real, scene->ring, &options) < 0)
		broken("%s", shmlog_reason());
	scene->journal = journal_create(NULL, SCENE_PRODUCERS, SCENE_RECORDS);
}

/* Every line of the writer's is one of its own, and there are not too many. */
static void check_errors(const struct scene *scene)
{
	FILE *file = fopen(scene->errors, "r");
	unsigned lines = 0;
	char line[4096];

	while (file && fgets(line, sizeof(line), file)) {
		lines++;
		if (strncmp(line, "shmlog-writer: ", 15) != 0 && lines < LINES_MAX)
			violated("%s: the writer said: %.200s", scene->ring, line);
	}
	if (file)
		(void)fclose(file);
	if (lines > LINES_MAX)
		violated("%s: the writer said %u lines", scene->ring, lines);
}

static void check_outside(const struct scene *scene)
{
	if (manifest(scene->outside) != scene->manifest)
		violated("%s: something outside of the log was changed", scene->ring);
}

static bool is_of_base(const char *name)
{
	return !strcmp(name, "log") || !strcmp(name, "outside") || !strcmp(name, "errors") ||
	       !strcmp(name, "noise") || !strcmp(name, "records") || !strcmp(name, "second");
}

static int check_entry(const char *path, const struct stat *about, int type, struct FTW *where)
{
	(void)about;
	(void)type;
	if (where->level == 1 && !is_of_base(path + where->base))
		violated("there is a file that nobody should have made: %s", path);
	return 0;
}

static void remove_all(const struct scene *scene)
{
	char path[256];

	scene_segment_path(scene, path);
	(void)unlink(path);
	(void)rmdir(path);
	if (getenv("KEEP") && violations())
		return;
	(void)nftw(scene->base, remove_entry, 16, FTW_PHYS | FTW_DEPTH);
}

void scene_abandon(struct scene *scene)
{
	scene_kill_writer(scene);
	remove_all(scene);
}

void scene_end(struct scene *scene)
{
	if (scene->writer)
		(void)scene_stop_writer(scene);
	check_errors(scene);
	check_outside(scene);
	(void)nftw(scene->base, check_entry, 16, FTW_PHYS);
	journal_destroy(scene->journal);
	remove_all(scene);
}

/* ---- the writer ---- */

/* What proc(5) says of a process behind @key, a number to @base. */
static uint64_t proc_status(pid_t pid, const char *key, int base)
{
	char path[64], line[256];
	uint64_t value = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, key, strlen(key)) == 0)
			value = strtoull(line + strlen(key), NULL, base);
	if (file)
		(void)fclose(file);
	return value;
}

static uint64_t private_kb(pid_t pid)
{
	return proc_status(pid, "RssAnon:", 10);
}

/* Before it blocks them, a signal is its end. */
static bool takes_signals(pid_t pid)
{
	return proc_status(pid, "SigBlk:", 16) >> (SIGUSR2 - 1) & 1;
}

void scene_check_memory(const struct scene *scene)
{
	const uint64_t kb = scene->writer ? private_kb(scene->writer) : 0;

	if (!is_sanitized() && kb > scene->private_kb + PRIVATE_KB_MAX)
		violated("%s: the writer has grown from %lu to %lu KiB", scene->ring,
			 scene->private_kb, kb);
}

/* Exit codes of the README's table. */
static bool is_documented(int code)
{
	return code == 0 || code == EX_USAGE || code == EX_DATAERR || code == EX_UNAVAILABLE ||
	       code == EX_CANTCREAT || code == EX_IOERR || code == EX_TEMPFAIL ||
	       code == EX_NOPERM || code == EX_CONFIG;
}

static int check_end(struct scene *scene, int code)
{
	scene->writer = 0;
	(void)__atomic_fetch_add(&figures->writer_ends, 1, __ATOMIC_RELAXED);
	if (!is_documented(code))
		violated("%s: the writer ended with %d", scene->ring, code);
	return code;
}

bool scene_writer_is_gone(struct scene *scene)
{
	int status;

	if (scene->writer && waitpid(scene->writer, &status, WNOHANG) == scene->writer)
		(void)check_end(scene,
				WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	return scene->writer == 0;
}

/* Its status may be anything: a lock on the ring, or its end, says that it is at work. */
static bool is_held(const struct scene *scene)
{
	char path[256];
	int held = 0;
	int fd;

	scene_segment_path(scene, path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd >= 0) {
		held = sys_real.lock_query(fd, LOCK_BYTE_WRITER, 1);
		(void)close(fd);
	}
	return held == 1;
}

bool scene_start_writer(struct scene *scene, const char *const options[])
{
	const char *argv[24] = { "shmlog-writer", "-r", scene->ring, "-d", scene->log };
	const int64_t deadline = now_ms() + ANSWER_MS;

	for (unsigned i = 0; options && options[i]; i++)
		argv[5 + i] = options[i];
	scene->writer = program_start(argv, scene->errors);
	(void)__atomic_fetch_add(&figures->writers, 1, __ATOMIC_RELAXED);
	while (!scene_writer_is_gone(scene) && !(is_held(scene) && takes_signals(scene->writer))) {
		if (now_ms() > deadline) {
			violated("%s: the writer neither starts nor ends", scene->ring);
			break;
		}
		sleep_ms(2);
	}
	if (scene->writer)
		scene->private_kb = private_kb(scene->writer);
	return scene->writer != 0;
}

void scene_kill_writer(struct scene *scene)
{
	if (scene_writer_is_gone(scene))
		return;
	(void)kill(scene->writer, SIGKILL);
	(void)waitpid(scene->writer, NULL, 0);
	scene->writer = 0;
}

int scene_stop_writer(struct scene *scene)
{
	if (scene_writer_is_gone(scene))
		return 0;
	scene_check_memory(scene);
	(void)kill(scene->writer, SIGTERM);
	return check_end(scene, program_wait(scene->writer, ANSWER_MS));
}

/* ---- producers ---- */

static volatile sig_atomic_t is_told_to_end;

static void on_term(int number)
{
	(void)number;
	is_told_to_end = 1;
}

/* The ring may be gone for a while, or another one. */
static struct shmlog *attach(const struct scene *scene, unsigned number)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log = NULL;
	char name[16];

	(void)snprintf(name, sizeof(name), "p%u", number);
	options.name = name;
	while (!is_told_to_end && shmlog_attach(scene->ring, &options, &log) < 0)
		sleep_ms(10);
	return log;
}

static void sync_all(const struct scene *scene, struct shmlog *log, unsigned number)
{
	const int r = shmlog_sync(log, SHMLOG_SYNC_WRITTEN, ANSWER_MS * (int64_t)NS_PER_MS);

	if (r == 0)
		return;
	violated("%s: producer %u: a sync said: %s", scene->ring, number, shmlog_strerror(r));
	_exit(3);
}

static _Noreturn void produce(const struct scene *scene, unsigned number, uint32_t records,
			      bool syncs)
{
	struct shmlog *log = attach(scene, number);
	uint32_t published = 0;

	for (uint32_t i = 0; log && !is_told_to_end && i + 1 < SCENE_RECORDS; i++) {
		published += journal_push(scene->journal, log, number, 50 * NS_PER_MS) == 0;
		if (records && published == records)
			break;
		if (syncs && i % 1000 == 999)
			sync_all(scene, log, number);
		if (i % PACE == PACE - 1)
			sleep_ms(1);
	}
	if (syncs && log)
		sync_all(scene, log, number);
	shmlog_detach(&log);
	_exit(records && published != records);
}

void scene_start_producer(struct scene *scene, unsigned number, uint32_t records, bool syncs)
{
	const pid_t parent = getpid();
	const pid_t pid = fork();

	if (pid < 0)
		broken("fork: %s", strerror(errno));
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(126);
		(void)signal(SIGTERM, on_term);
		produce(scene, number, records, syncs);
	}
	scene->producers[number] = pid;
}

struct first_push {
	const struct scene *scene;
	unsigned number;
};

static bool has_pushed(void *argument)
{
	const struct first_push *first = argument;

	return journal_state(first->scene->journal, first->number, 0) > JOURNAL_TRIED;
}

void scene_wait_first_push(const struct scene *scene, unsigned number)
{
	struct first_push first = { scene, number };

	(void)program_wait_until(has_pushed, &first, ANSWER_MS, "a producer's first push");
}

static void wait_producer(struct scene *scene, unsigned number, bool may_die)
{
	const int code = program_wait(scene->producers[number], ANSWER_MS);

	scene->producers[number] = 0;
	if (code != 0 && (!may_die || code == 3))
		violated("%s: producer %u ended with %d", scene->ring, number, code);
}

void scene_end_producers(struct scene *scene, bool may_die)
{
	for (unsigned i = 0; i < SCENE_PRODUCERS; i++)
		if (scene->producers[i])
			(void)kill(scene->producers[i], SIGTERM);
	for (unsigned i = 0; i < SCENE_PRODUCERS; i++)
		if (scene->producers[i])
			wait_producer(scene, i, may_die);
}

void scene_wait_producers(struct scene *scene)
{
	for (unsigned i = 0; i < SCENE_PRODUCERS; i++)
		if (scene->producers[i])
			wait_producer(scene, i, false);
}

void scene_check_records(struct scene *scene, unsigned first, unsigned count)
{
	char path[200], name[16];
	struct journal_totals totals;
	FILE *all;

	(void)snprintf(path, sizeof(path), "%s/records", scene->base);
	(void)unlink(path);
	for (unsigned i = first; i < first + count; i++) {
		int code;

		(void)snprintf(name, sizeof(name), "p%u", i);
		code = scene_run(scene, path, 0,
				 (const char *const[]){ "shmlog-cat", "-o", "raw", "--source", name,
							scene->log, NULL });
		if (code != 0)
			violated("%s: the log cannot be read: shmlog-cat ended with %d",
				 scene->ring, code);
	}
	all = fopen(path, "r");
	if (!all)
		broken("%s: %s", path, strerror(errno));
	if (journal_check(scene->journal, all, DEMAND_PUBLISHED, &totals) > 0)
		violated("%s: KEEP=1 keeps what it was", scene->ring);
	(void)fclose(all);
	(void)__atomic_fetch_add(&figures->published, totals.published, __ATOMIC_RELAXED);
	(void)__atomic_fetch_add(&figures->found, totals.found, __ATOMIC_RELAXED);
}

/* ---- tools ---- */

int scene_run(const struct scene *scene, const char *out, int code, const char *const argv[])
{
	const char *line[24] = { "/bin/sh", "-c", "exec \"$@\" >>\"$0\"", out ? out : "/dev/null" };
	char program[256];
	int got;

	if (violations()) /* after a breach nothing more is asked: each could wait for long */
		return 0;

	(void)snprintf(program, sizeof(program), "%s", program_path(argv[0]));
	line[4] = program;
	for (unsigned i = 1; argv[i]; i++)
		line[4 + i] = argv[i];
	got = program_run(line, scene->noise, ANSWER_MS);
	(void)__atomic_fetch_add(&figures->tools, 1, __ATOMIC_RELAXED);
	if (!is_documented(got) && got != code)
		violated("%s: %s %s %s ended with %d", scene->ring, argv[0], argv[1],
			 argv[2] ? argv[2] : "", got);
	return got;
}

void scene_look(const struct scene *scene)
{
	const char *ring = scene->ring;

	(void)scene_run(scene, NULL, 0, (const char *const[]){ "shmlog-stat", "-r", ring, NULL });
	(void)scene_run(scene, NULL, 0,
			(const char *const[]){ "shmlog-stat", "-p", "-j", "-r", ring, NULL });
	(void)scene_run(scene, NULL, 0,
			(const char *const[]){ "shmlog-stat", "-p", "-r", ring, NULL });
	(void)scene_run(scene, NULL, 3, (const char *const[]){ "shmlog-cat", "-r", ring, NULL });
	(void)scene_run(scene, NULL, 3,
			(const char *const[]){ "shmlog-cat", "-o", "json", "-r", ring, NULL });
	(void)scene_run(scene, NULL, 0, (const char *const[]){ "shmlog-ctl", "list", NULL });
	(void)scene_run(scene, NULL, 0,
			(const char *const[]){ "shmlog-ctl", "remove", ring, NULL });
	(void)scene_run(scene, NULL, 3,
			(const char *const[]){ "shmlog-cat", "-o", "pages", scene->log, NULL });
}

/* ---- questions ---- */

uint8_t *scene_map(const struct scene *scene, struct geometry *ret_geometry, int *ret_fd)
{
	char path[256];
	void *base;
	int fd;

	segment_geometry(ret_geometry, scene->lanes, (uint32_t)(scene->lane_size / BLOCK_SIZE));
	scene_segment_path(scene, path);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return NULL;
	base = mmap(NULL, ret_geometry->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED) {
		(void)close(fd);
		return NULL;
	}
	*ret_fd = fd;
	return base;
}

void scene_check_quiet(struct scene *scene, uint64_t before, uint64_t most)
{
	const int64_t deadline = now_ms() + HEAL_MS;
	uint64_t last = scene_log_bytes(scene);
	int64_t since = now_ms();

	while (now_ms() - since < 600) {
		const uint64_t now = scene_log_bytes(scene);

		if (now != last)
			since = now_ms();
		last = now;
		if (now_ms() > deadline) {
			violated("%s: the log grows and grows: %lu bytes", scene->ring, now);
			return;
		}
		sleep_ms(20);
	}
	if (last > before + most)
		violated("%s: the log grew by %lu bytes, from a ring that holds %lu", scene->ring,
			 last - before, scene->lanes * scene->lane_size);
}

/* As the ring under the name says it now. */
static uint32_t count_quarantined(const struct scene *scene)
{
	struct geometry geometry;
	struct segment segment;
	struct segment_view view;
	uint32_t count = 0;

	if (segment_open(&sys_real, scene->ring, O_RDONLY, &segment) < 0)
		return UINT32_MAX;
	geometry = segment.geometry;
	if (segment_view(&segment, &view) < 0)
		broken("cannot map the ring");
	for (uint32_t lane = 0; lane < geometry.lanes; lane++)
		count += load_relaxed_u32(&view_lane_status(&view, lane)->quarantine) != 0;
	segment_view_close(&view);
	segment_close(&segment);
	return count;
}

static bool is_whole(void *argument)
{
	struct scene *scene = argument;

	return is_held(scene) && count_quarantined(scene) == 0;
}

/* The lie is further than the lane will ever get: the writer's next sync may bring the true word to
 * any position nearby. */
bool scene_has_repaired(struct scene *scene)
{
	struct segment segment;
	struct lane_status *status;
	uint64_t offset, now;
	void *base;

	if (segment_open(&sys_real, scene->ring, O_RDWR, &segment) < 0)
		return false;
	offset = geometry_lane_status_offset(&segment.geometry, scene->lanes - 1);
	if (segment_map(&segment, segment.fd, 0, segment.geometry.size, true, &base) < 0)
		broken("cannot map the ring");
	status = (void *)((uint8_t *)base + offset);
	now = load_relaxed(&status->durable);
	if (scene->mark == 0)
		store_relaxed(&status->durable, scene->mark = now += LIE_BLOCKS);
	(void)sys_real.unmap(base, segment.geometry.size);
	segment_close(&segment);
	return now != scene->mark;
}

static bool has_repaired(void *argument)
{
	return scene_has_repaired(argument);
}

void scene_check_healed(struct scene *scene, unsigned number)
{
	scene->mark = 0;
	if (!program_wait_until(has_repaired, scene, HEAL_MS, "the writer's look at its own words"))
		return;
	if (!program_wait_until(is_whole, scene, HEAL_MS,
				"a ring without quarantined lanes and with a writer"))
		return;
	/* What any member may set: who records what. */
	(void)scene_run(scene, NULL, 0,
			(const char *const[]){ "shmlog-ctl", "level", scene->ring, "debug", NULL });
	scene_start_producer(scene, number, 300, true);
	scene_wait_producers(scene);
	(void)scene_run(scene, NULL, 0,
			(const char *const[]){ "shmlog-ctl", "flush", scene->ring, NULL });
}
