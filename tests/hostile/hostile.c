/*
 * hostile.c - a broken producer, and a hostile member of the ring's group, beside healthy ones.
 *
 *	hostile [PART]    wild, shared, an act's name (member.c), starve, names, adopt, stepped
 *
 * wild: what a broken program can reach of the library's mappings costs it its own lane and nobody
 * else anything: the healthy producers' journal against the log. shared: the same in lane 0.
 * Acts: a member of the ring's group stores, truncates, punches, locks as it likes. Others may lose
 * by it. But the writer answers or ends as documented, stays small, writes only into its directory,
 * and what it wrote can be read; when the member is gone, all comes back by itself.
 * stepped: the writer's own code in single steps, and the lane changes between any two (stepped.c).
 * FULL=1: longer and more; SEED=n: that seed alone; SANITIZED: a share, under slower programs;
 * KEEP=1: what a breach was found in stays.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "member.h"
#include "mount.h"
#include "program.h"
#include "stepped.h"
#include "wild.h"

enum {
	LANES = 6,
	LANE_SIZE = 64 * 1024,
	WILD_RECORDS = 8000,
	WILD = SCENE_PRODUCERS - 2, /* the first broken one's number */
	ACT_MS = 250,
	SLACK_BYTES = 8 * 1024 * 1024, /* files, their pages, marks                */
};

struct plan {
	const char *only;
	uint64_t seed; /* 0: as many as there are */
	uint64_t seeds;
	uint64_t wild_seeds;
	unsigned passes; /* stepped */
	int act_ms;
};

static bool is_wanted(const struct plan *plan, const char *part)
{
	return !plan->only || strcmp(plan->only, part) == 0;
}

/* ---- a broken producer ---- */

/* Options of the writer that a round runs with. */
static const char *const *options_of(uint64_t seed)
{
	static const char *const options[][8] = {
		{ "--max-file", "1M", "--flush-interval", "5ms" },
		{ "--max-file", "1M", "--io", "pwrite" },
		{ "--max-file", "1M", "--release", "durable", "--sync", "20ms" },
		{ "--max-file", "1M", "--mode", "trigger" },
	};

	return options[seed % COUNT_OF(options)];
}

/* The ring is asked to write all, and does. */
static void check_flush(const struct scene *scene)
{
	const int code = scene_run(
		scene, NULL, 0, (const char *const[]){ "shmlog-ctl", "flush", scene->ring, NULL });

	if (code != 0)
		violated("%s: a flush ended with %d", scene->ring, code);
}

static void check_stopped(struct scene *scene)
{
	const int code = scene_stop_writer(scene);

	if (code != 0)
		violated("%s: the writer ended with %d", scene->ring, code);
}

/* Two broken ones before all others, so that nothing of the healthy lies in their lanes; then they
 * die, and healthy ones get what they leave. */
static void run_wild(uint64_t seed, uint32_t lanes)
{
	const bool is_shared = lanes == 3;
	struct scene scene;
	pid_t wild[2];

	scene_begin(&scene, is_shared ? "shared" : "wild", lanes, LANE_SIZE);
	(void)scene_start_writer(&scene, options_of(seed));
	if (is_shared) { /* healthy ones have all own lanes: the broken ones share lane 0 */
		scene_start_producer(&scene, 0, WILD_RECORDS, true);
		scene_start_producer(&scene, 1, WILD_RECORDS, true);
		scene_wait_first_push(&scene, 0);
		scene_wait_first_push(&scene, 1);
	}
	for (unsigned i = 0; i < 2; i++)
		wild[i] = wild_start(&scene, WILD + i, seed * 2 + i, i == 0 && seed < 2);
	for (unsigned i = 0; i < 2; i++)
		scene_wait_first_push(&scene, WILD + i);
	for (unsigned i = 2; !is_shared && i < 5; i++)
		scene_start_producer(&scene, i, WILD_RECORDS, true);
	check_flush(&scene);
	sleep_ms(100);
	for (unsigned i = 0; i < 2; i++)
		wild_end(wild[i]);
	for (unsigned i = 5; !is_shared && i < 8; i++)
		scene_start_producer(&scene, i, WILD_RECORDS, true);
	scene_wait_producers(&scene);
	check_flush(&scene);
	scene_check_healed(&scene, 8);
	check_stopped(&scene);
	scene_check_records(&scene, 0, 9);
	scene_end(&scene);
	__atomic_fetch_add(&figures->rounds, 1, __ATOMIC_RELAXED);
}

/* ---- a hostile member ---- */

static void end_child(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

/* What may happen to a writer meanwhile, and the tools beside it. */
static void meddle(struct scene *scene, const struct plan *plan, uint64_t seed)
{
	const int64_t deadline = now_ms() + plan->act_ms;

	scene_look(scene);
	if (violations())
		return;
	sleep_ms(plan->act_ms / 4);
	if (seed % 4 == 1)
		(void)scene_stop_writer(scene);
	if (seed % 4 == 2)
		scene_kill_writer(scene);
	if (scene_writer_is_gone(scene))
		(void)scene_start_writer(scene, options_of(seed));
	while (now_ms() < deadline) {
		if (!scene_writer_is_gone(scene))
			(void)kill(scene->writer, seed % 2 ? SIGUSR1 : SIGUSR2);
		scene_check_memory(scene);
		sleep_ms(plan->act_ms / 8);
	}
}

static bool answers(const struct scene *scene)
{
	return scene_run(scene, NULL, 0,
			 (const char *const[]){ "shmlog-ctl", "flush", scene->ring, NULL }) == 0;
}

/* Who holds the ring may still refuse it, and what was stored over its words may say that all is
 * written: it is at work when it has put a word right, and then answers. Until then: no writer, no
 * ring, a ring that is being replaced; or it has ended. */
static bool is_at_work(struct scene *scene)
{
	const int64_t deadline = now_ms() + HEAL_MS;

	scene->mark = 0;
	while (!scene_writer_is_gone(scene)) {
		if (scene_has_repaired(scene) && answers(scene))
			return true;
		if (now_ms() > deadline) {
			violated("%s: the writer does not answer", scene->ring);
			return true;
		}
		sleep_ms(20);
	}
	return false;
}

/* The writer may have ended, as documented; what it refuses to take must be removable. */
static void bring_writer_back(struct scene *scene, uint64_t seed)
{
	if (is_at_work(scene))
		return;
	if (scene_start_writer(scene, options_of(seed)) && is_at_work(scene))
		return;
	__atomic_fetch_add(&figures->refusals, 1, __ATOMIC_RELAXED);
	(void)scene_run(
		scene, NULL, 0,
		(const char *const[]){ "shmlog-ctl", "remove", "--force", scene->ring, NULL });
	if (!scene_start_writer(scene, options_of(seed)) || !is_at_work(scene))
		violated("%s: no writer can be started again", scene->ring);
}

static void run_act(const struct plan *plan, const struct act *act, uint64_t seed)
{
	const bool again = seed % 4 != 3;
	struct scene scene;
	char filler[256];
	uint64_t before;
	pid_t member;

	scene_begin(&scene, act->name, LANES, LANE_SIZE);
	(void)scene_start_writer(&scene, options_of(seed));
	for (unsigned i = 0; i < 8; i++)
		scene_start_producer(&scene, i, 0, false);
	sleep_ms(40);
	member = member_start(&scene, act, seed, again);
	meddle(&scene, plan, seed);
	end_child(member);
	member_filler_path(filler);
	(void)unlink(filler);
	scene_end_producers(&scene, true);
	if (violations()) {
		scene_abandon(&scene);
		return;
	}
	bring_writer_back(&scene, seed);
	journal_destroy(scene.journal); /* what they lost, they may lose */
	scene.journal = journal_create(NULL, SCENE_PRODUCERS, SCENE_RECORDS);
	before = scene_log_bytes(&scene);
	scene_check_quiet(&scene, before, 4 * LANES * LANE_SIZE + SLACK_BYTES);
	scene_check_healed(&scene, 9);
	scene_look(&scene);
	check_stopped(&scene);
	scene_check_records(&scene, 9, 1);
	scene_end(&scene);
	__atomic_fetch_add(&figures->rounds, 1, __ATOMIC_RELAXED);
}

/* The same on a small mount of shared memory, which is full. It goes with this process. */
static void run_starve(const struct plan *plan, uint64_t seed)
{
	char directory[64];

	(void)snprintf(directory, sizeof(directory), "/tmp/shmlog-hostile.%d.XXXXXX", getppid());
	if (!mkdtemp(directory))
		broken("%s: %s", directory, strerror(errno));
	if (!mount_small(directory)) {
		(void)rmdir(directory);
		printf("hostile: SKIPPED: starve: cannot mount a file system: %s\n",
		       strerror(errno));
		return;
	}
	(void)setenv("SHMLOG_SHM_DIR", directory, 1);
	(void)setenv("SHMLOG_LANES", "6", 1); /* of a ring that a writer makes */
	(void)setenv("SHMLOG_LANE_SIZE", "64K", 1);
	run_act(plan, &act_starve, seed);
	unmount_small(directory);
	(void)rmdir(directory);
}

/* ---- strangers under the ring's name ---- */

struct stranger {
	const char *name;
	void (*put)(const char *path);
};

static void put_nothing(const char *path)
{
	(void)path;
}

static void put_directory(const char *path)
{
	if (mkdir(path, 0700) < 0)
		broken("%s: %s", path, strerror(errno));
}

static void put_fifo(const char *path)
{
	if (mkfifo(path, 0600) < 0)
		broken("%s: %s", path, strerror(errno));
}

static void put_link(const char *path)
{
	if (symlink("/etc/passwd", path) < 0)
		broken("%s: %s", path, strerror(errno));
}

static int put_file(const char *path, off_t size, mode_t mode)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	if (fd < 0 || ftruncate(fd, size) < 0)
		broken("%s: %s", path, strerror(errno));
	return fd;
}

static void put_empty(const char *path)
{
	(void)close(put_file(path, 0, 0600));
}

static void put_sparse(const char *path)
{
	(void)close(put_file(path, (off_t)1 << 40, 0600));
}

/* A whole ring but for one field of its header. */
static void put_ring(const char *path, size_t offset, uint64_t value, uid_t owner)
{
	const char *name = strstr(path, "shmlog.") + strlen("shmlog.");
	const struct segment_options options = { .lanes = 2,
						 .lane_size = LANE_SIZE,
						 .group = (gid_t)-1 };
	int fd;

	if (segment_create(&sys_real, name, &options) < 0)
		broken("%s", shmlog_reason());
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (offset && pwrite(fd, &value, sizeof(value), (off_t)offset) != sizeof(value))
		broken("%s: %s", path, strerror(errno));
	if (fchown(fd, owner, (gid_t)-1) < 0)
		broken("%s: %s", path, strerror(errno));
	(void)close(fd);
}

static void put_other_ring(const char *path)
{
	put_ring(path, 0, 0, geteuid());
}

static void put_other_version(const char *path)
{
	put_ring(path, offsetof(struct ring_header, layout_version), 99, geteuid());
}

static void put_other_size(const char *path)
{
	put_ring(path, offsetof(struct ring_header, lanes), (uint64_t)1024 << 32 | 256, geteuid());
}

static void put_other_owner(const char *path)
{
	put_ring(path, 0, 0, 54321);
}

static const struct stranger strangers[] = {
	{ "nothing", put_nothing },
	{ "a directory", put_directory },
	{ "a fifo", put_fifo },
	{ "a symbolic link", put_link },
	{ "an empty file", put_empty },
	{ "a huge sparse file", put_sparse },
	{ "another ring", put_other_ring },
	{ "another version", put_other_version },
	{ "another size", put_other_size },
	{ "another owner's", put_other_owner },
};

static bool is_replaced(void *argument)
{
	const struct scene *scene = argument;
	char path[256], line[512];
	bool is_told = false;
	FILE *errors;

	scene_segment_path(scene, path);
	errors = fopen(scene->errors, "r");
	while (errors && fgets(line, sizeof(line), errors))
		is_told = is_told || strstr(line, scene->ring) || strstr(line, "made a new ring");
	if (errors)
		(void)fclose(errors);
	return is_told;
}

/* The name goes to a stranger under a running writer, then is free again; a writer that starts
 * meanwhile says what is there. */
static void run_stranger(const struct stranger *stranger, uint64_t seed)
{
	struct scene scene;
	char path[256];

	scene_begin(&scene, "names", LANES, LANE_SIZE);
	(void)scene_start_writer(&scene, options_of(seed));
	check_flush(&scene);
	scene_segment_path(&scene, path);
	(void)unlink(path);
	stranger->put(path);
	(void)program_wait_until(is_replaced, &scene, HEAL_MS, "a word about the name");
	scene_look(&scene);
	scene_check_memory(&scene);
	check_stopped(&scene);
	if (scene_start_writer(&scene, options_of(seed)))
		(void)scene_stop_writer(&scene);
	if (scene_writer_is_gone(&scene))
		(void)scene_run(&scene, NULL, 0,
				(const char *const[]){ "shmlog-ctl", "remove", "--force",
						       scene.ring, NULL });
	if (stranger->put == put_directory)
		(void)rmdir(path);
	if (!scene_start_writer(&scene, options_of(seed)))
		violated("%s: after %s under its name no writer can be started", scene.ring,
			 stranger->name);
	scene_check_healed(&scene, 9);
	check_stopped(&scene);
	scene_check_records(&scene, 9, 1);
	scene_end(&scene);
	__atomic_fetch_add(&figures->rounds, 1, __ATOMIC_RELAXED);
}

/* ---- a path that leads elsewhere ---- */

/* A killed writer's status, where a member has changed which log it names. */
static void set_log(const struct scene *scene, const char *path, uint64_t log_id)
{
	struct geometry geometry;
	struct writer_status *status;
	int fd;
	uint8_t *base = scene_map(scene, &geometry, &fd);

	if (!base)
		broken("cannot map the ring");
	status = (void *)(base + geometry.status_offset);
	memset(status->log_path, path ? 0 : 'A', sizeof(status->log_path));
	if (path)
		(void)strncpy(status->log_path, path, sizeof(status->log_path) - 1);
	else
		memset(status->reserved_latency, 'A',
		       geometry.owners_offset - geometry.status_offset -
			       offsetof(struct writer_status, reserved_latency));
	if (log_id)
		status->pending_log_id = log_id;
	(void)munmap(base, geometry.size);
	(void)close(fd);
}

/* Start a writer in another directory, which has to ask for the one that the status names. */
static int start_adopting(const struct scene *scene, bool adopts)
{
	char second[200];

	(void)snprintf(second, sizeof(second), "%s/second", scene->base);
	return program_run((const char *const[]){ "shmlog-writer", "-r", scene->ring, "-d", second,
						  "--once", adopts ? "--adopt" : NULL, NULL },
			   scene->errors, ANSWER_MS);
}

static void refuse_to_adopt(struct scene *scene, const char *path, uint64_t log_id)
{
	int code;

	set_log(scene, path, log_id);
	code = start_adopting(scene, false);
	if (code != EX_CONFIG)
		violated("another log is named, and the writer ended with %d", code);
	code = start_adopting(scene, true);
	if (code != EX_CONFIG && code != EX_NOPERM && code != EX_IOERR && code != EX_CANTCREAT &&
	    code != 0)
		violated("--adopt of %.60s ended with %d", path ? path : "AAA...", code);
}

static void run_adopt(uint64_t seed)
{
	static const char *const directories[] = { "outside", "log/../outside",
						   "outside/precious" };
	struct scene scene;
	char path[400];

	scene_begin(&scene, "adopt", LANES, LANE_SIZE);
	for (size_t i = 0; i < COUNT_OF(directories); i++) {
		(void)scene_start_writer(&scene, options_of(seed));
		scene_start_producer(&scene, (unsigned)i, 1000, false);
		scene_wait_producers(&scene);
		scene_kill_writer(&scene);
		(void)snprintf(path, sizeof(path), "%s/%s", scene.base, directories[i]);
		refuse_to_adopt(&scene, path, 4711);
		refuse_to_adopt(&scene, NULL, 4711);
		(void)scene_run(
			&scene, NULL, 0,
			(const char *const[]){ "shmlog-stat", "-j", "-r", scene.ring, NULL });
		(void)scene_run(&scene, NULL, 0,
				(const char *const[]){ "shmlog-ctl", "remove", "--force",
						       scene.ring, NULL });
	}
	scene_end(&scene);
	__atomic_fetch_add(&figures->rounds, 1, __ATOMIC_RELAXED);
}

/* ---- the run: rounds wait for the writer most of their time, so a few run beside each other ----
 */

enum { BESIDE = 3 };

struct running {
	unsigned children;
	unsigned failed;
};

static pid_t under_way[BESIDE]; /* rounds, for who ends early */

static void wait_one(struct running *running)
{
	int status;
	const pid_t pid = wait(&status);

	if (pid < 0)
		broken("wait: %s", strerror(errno));
	for (unsigned i = 0; i < BESIDE; i++)
		if (under_way[i] == pid)
			under_way[i] = 0;
	running->children--;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		exit(2);
	if (!WIFEXITED(status))
		broken("a round died of signal %d", WTERMSIG(status));
	running->failed += WEXITSTATUS(status) != 0;
}

/* True in a child, which runs one round and ends by end_round(). None is begun after a breach. */
static bool begin_round(struct running *running)
{
	pid_t pid;

	if (running->failed)
		return false;
	if (running->children == BESIDE)
		wait_one(running);
	(void)fflush(NULL);
	pid = fork();
	if (pid < 0)
		broken("fork: %s", strerror(errno));
	if (pid == 0) {
		memset(under_way, 0, sizeof(under_way));
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)signal(SIGTERM, SIG_DFL);
		(void)signal(SIGINT, SIG_DFL);
		return true;
	}
	for (unsigned i = 0; i < BESIDE; i++)
		if (under_way[i] == 0) {
			under_way[i] = pid;
			break;
		}
	running->children++;
	return false;
}

static _Noreturn void end_round(void)
{
	(void)fflush(NULL);
	_exit(violations() ? 1 : 0);
}

static void run_acts(const struct plan *plan, struct running *running)
{
	for (unsigned i = 0; i < act_count; i++)
		for (uint64_t s = 0; is_wanted(plan, acts[i].name) && s < plan->seeds; s++)
			if (begin_round(running)) {
				run_act(plan, &acts[i], plan->seed ? plan->seed : s + i);
				end_round();
			}
}

static void run_names(const struct plan *plan, struct running *running)
{
	for (uint64_t s = 0; is_wanted(plan, "starve") && s < plan->seeds; s++)
		if (begin_round(running)) {
			run_starve(plan, plan->seed + s);
			end_round();
		}
	for (unsigned i = 0; is_wanted(plan, "names") && i < COUNT_OF(strangers); i++)
		if (begin_round(running)) {
			run_stranger(&strangers[i], plan->seed + i);
			end_round();
		}
	if (is_wanted(plan, "adopt") && begin_round(running)) {
		run_adopt(plan->seed);
		end_round();
	}
}

static void run_stepped(const struct plan *plan, struct running *running)
{
	if (!is_wanted(plan, "stepped") || is_sanitized() || !begin_round(running))
		return;
	stepped_run(plan->seed, plan->passes);
	__atomic_fetch_add(&figures->rounds, 1, __ATOMIC_RELAXED);
	end_round();
}

static void run_broken(const struct plan *plan, struct running *running)
{
	for (uint64_t s = 0; s < plan->wild_seeds; s++) {
		if (is_wanted(plan, "wild") && begin_round(running)) {
			run_wild(plan->seed + s, 9);
			end_round();
		}
		if (is_wanted(plan, "shared") && s % 2 == 0 && begin_round(running)) {
			run_wild(plan->seed + s, 3);
			end_round();
		}
	}
}

static void tell(void)
{
	printf("hostile%s: %lu rounds, %lu writers started, %lu ended as documented, %lu tools "
	       "run; "
	       "%lu wild bursts of stores, %lu read-only pages tried\n"
	       "hostile%s: %lu records of healthy producers published, %lu found\n",
	       is_sanitized() ? " (sanitized)" : "", figures->rounds, figures->writers,
	       figures->writer_ends, figures->tools, figures->wild_stores / 200, figures->shielded,
	       is_sanitized() ? " (sanitized)" : "", figures->published, figures->found);
}

/* What rounds that were killed have left behind. Only the process that began them does it. */
static void sweep(void)
{
	char command[300];

	for (unsigned i = 0; i < BESIDE; i++)
		if (under_way[i] > 0)
			(void)kill(under_way[i], SIGKILL);
	sleep_ms(under_way[0] || under_way[1] || under_way[2]
			 ? 200
			 : 0); /* their writers die with them */
	(void)snprintf(command, sizeof(command),
		       "rm -rf %.100s/shmlog.hostile.%d.* \"${TMPDIR:-/tmp}\"/shmlog-hostile.%d.*",
		       segment_directory(), getpid(), getpid());
	if (!getenv("KEEP") && system(command) != 0)
		(void)fprintf(stderr, "hostile: could not sweep\n");
}

static void on_end(int number)
{
	exit(128 + number);
}

int main(int argc, char **argv)
{
	const bool is_full = getenv("FULL") && *getenv("FULL");
	const char *seed = getenv("SEED");
	struct running running = { 0 };
	struct plan plan = { .only = argc > 1 ? argv[1] : NULL, .act_ms = ACT_MS };

	plan.seed = seed ? strtoull(seed, NULL, 10) : 0;
	plan.seeds = plan.seed ? 1 : is_full ? 12 : plan.only ? 4 : 1;
	if (is_full)
		plan.act_ms *= 4;
	figures = mmap(NULL, sizeof(*figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (figures == MAP_FAILED)
		broken("no memory");
	plan.wild_seeds = plan.seed ? 1 : is_full ? 40 : is_sanitized() ? 2 : 6;
	plan.passes = is_full ? 400 : 40;
	(void)atexit(sweep);
	(void)signal(SIGTERM, on_end);
	(void)signal(SIGINT, on_end);
	run_broken(&plan, &running);
	run_acts(&plan, &running);
	run_names(&plan, &running);
	run_stepped(&plan, &running);
	while (running.children)
		wait_one(&running);
	if (figures->rounds == 0 && !running.failed)
		broken("there is no part %s", plan.only);
	tell();
	return running.failed ? 1 : 0;
}
