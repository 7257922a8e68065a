/*
 * fence.c - a writer is killed with direct writes under way that take seconds to land; what lands
 * is counted from outside, and none may land after its successor believes that all have.
 *
 *	fence DIRECTORY CGROUP-PROCS
 *
 * The directory is on a device to which processes of that control group write slowly.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "program.h"
#include "trial.h"

enum {
	FILE_SIZE = 8 * 1024 * 1024,
	BLOCK = 4096,
	PAGES = 7,          /* submitted when the writer is killed                         */
	WAITING_CALL = 350, /* a boundary that a successor comes to while it waits         */
	LOOKS = 20,         /* for what lands late, each LOOK_MS                            */
	LOOK_MS = 100,
};

static const struct trial_config configs[] = {
	{ "written",
	  { "--io", "uring", "--sync", "none", "--max-file", "8M" },
	  .plan = { .lanes = 3,
		    .lane_size = 1024 * 1024,
		    .threads = 3,
		    .batches = 2,
		    .batch = 3600 } },
	{ "durable",
	  { "--io", "uring", "--release", "durable", "--sync", "page", "--max-file", "8M" },
	  .plan = { .lanes = 3,
		    .lane_size = 1024 * 1024,
		    .threads = 3,
		    .batches = 2,
		    .batch = 3600 } },
};

/* Files that hold three large pages. */
static const struct trial_config small_files = {
	"rolling",
	{ "--io", "uring", "--sync", "none", "--max-file", "1M" },
	.plan = { .lanes = 3, .lane_size = 1024 * 1024, .threads = 3, .batches = 2, .batch = 3600 }
};

enum { ROLL_PAGES = 6 }; /* a file's pages, the next one's FILE page, and one behind it */

/* What the successor is seen to do. */
struct watch {
	struct trial *trial;
	unsigned landed; /* when it held the fence to be free */
	int64_t at_ms;
	bool is_over;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Pages of the log's first file that are on the device, wherever they lie: each begins a block with
 * its magic. Read around the page cache. */
static unsigned count_landed(const struct trial *trial)
{
	static uint8_t bytes[FILE_SIZE] __attribute__((aligned(BLOCK)));
	char path[WORK_PATH_SIZE + 64];
	unsigned landed = 0;
	ssize_t size;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/0000000001/0000000001.shmlog.open",
		       trial->directory);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		broken("%s: %s", path, strerror(errno));
	size = read(fd, bytes, sizeof(bytes));
	close(fd);
	for (ssize_t at = 0; at + BLOCK <= size; at += BLOCK)
		landed += memcmp(bytes + at + 4, "SHLP", 4) == 0;
	return landed;
}

/* The successor stands still meanwhile. */
static void look_for_late_ones(struct watch *watch)
{
	const struct timespec time = { .tv_nsec = LOOK_MS * 1000000L };

	for (unsigned i = 0; i < LOOKS && watch->landed < PAGES; i++) {
		const unsigned landed = count_landed(watch->trial);

		if (landed > watch->landed) {
			violated("%u pages had landed when the successor went on, then %u",
				 watch->landed, landed);
			return;
		}
		(void)nanosleep(&time, NULL);
	}
}

static void on_point(void *argument, pid_t pid, const char *point)
{
	struct watch *watch = argument;

	if (strcmp(point, "ring_held") == 0)
		load_tell_writer(&watch->trial->load, pid);
	if (strcmp(point, "recover_fence_free") != 0 || watch->is_over)
		return;
	watch->is_over = true;
	watch->at_ms = now_ms();
	watch->landed = count_landed(watch->trial);
	look_for_late_ones(watch);
}

/* One that is killed while it waits, which must do no harm, and one that goes on to the end. */
static void watch_successors(struct trial *trial, unsigned landed_at_kill)
{
	const struct kill_rule rule = { KILL_AT_CALL, 0, WAITING_CALL };
	struct watch watch = { .trial = trial };
	const int64_t start_ms = now_ms();
	struct traced_run run;
	unsigned landed;

	trial->on_point = on_point;
	trial->argument = &watch;
	trial_run(trial, &rule, &run);
	if (watch.is_over)
		violated("the successor did not wait: %u of %d pages had landed", watch.landed,
			 PAGES);
	landed = watch.is_over ? PAGES : count_landed(trial);
	(void)trial_end_traced(trial);
	printf("fence: %-7s of %d pages %u had landed when the writer was dead, %u when a "
	       "successor "
	       "was killed that waited for them, %u when the next went on, after %lld ms\n",
	       trial->config->name, PAGES, landed_at_kill, landed, watch.landed,
	       (long long)(watch.at_ms - start_ms));
}

static void run(const struct trial_config *config, const struct points *points,
		const char *cgroup_procs)
{
	const struct kill_rule in_flight = { KILL_AT_POINT, points_find(points, "page_submitted"),
					     PAGES };
	struct traced_run killed;
	struct trial trial;
	unsigned landed;

	trial_begin(&trial, config, points);
	trial.cgroup_procs = cgroup_procs;
	trial_run(&trial, &in_flight, &killed);
	trial.cgroup_procs = NULL;
	if (!killed.was_killed)
		broken("the writer was not killed with writes under way");
	landed = count_landed(&trial);
	if (landed == PAGES)
		broken("all writes had landed: this device is not slow");
	watch_successors(&trial, landed);
}

/* Where writes take long, a new file is begun in spite of that only when all before it is there:
 * its table is believed. Killed right before and behind that. */
static void run_rolling(const struct points *points, const char *cgroup_procs)
{
	for (uint64_t n = ROLL_PAGES - 2; n <= ROLL_PAGES; n++) {
		const struct kill_rule rule = { KILL_AT_POINT,
						points_find(points, "page_submitted"), n };
		struct traced_run killed;
		struct trial trial;

		trial_begin(&trial, &small_files, points);
		trial.cgroup_procs = cgroup_procs;
		trial_run(&trial, &rule, &killed);
		trial.cgroup_procs = NULL;
		if (!killed.was_killed)
			broken("the writer did not come to its page %llu", (unsigned long long)n);
		(void)trial_end(&trial);
	}
	printf("fence: %s: killed around the begin of a file while writes were slow\n",
	       small_files.name);
}

int main(int argc, char **argv)
{
	struct points points;

	if (argc != 3)
		broken("usage: fence DIRECTORY CGROUP-PROCS");
	if (tracer_missing()) {
		printf("SKIPPED: fence: %s\n", tracer_missing());
		return 0;
	}
	points_read(program_path("shmlog-writer"), &points);
	work_open(argv[1], "fence");
	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++)
		run(&configs[i], &points, argv[2]);
	run_rolling(&points, argv[2]);
	printf("fence: %llu writers, %llu killed, %llu records compared; %llu violations\n",
	       (unsigned long long)trial_totals.starts, (unsigned long long)trial_totals.kills,
	       (unsigned long long)trial_totals.records, (unsigned long long)violations());
	return violations() ? 1 : 0;
}
