/*
 * odd.c - somebody else has been at the writer's files or its ring. See odd.h.
 *
 * Each case brings about one thing that no writer does by itself, and that costs no record; the
 * writer that meets it runs to its end, then is killed at each point that it comes by only then.
 */
#include "odd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "program.h"
#include "segment.h"

enum {
	HITS_MAX = 4,
	JUNK_SIZE = 4096,
	JUNK_OFFSET = 512 * 1024,
	SIZE_LIMIT = 16 * 1024, /* a FILE page fits, the pages of a batch do not              */
	ASTRAY_BLOCKS = 1000000,
};

struct case_trial {
	const struct odd *odd;
	struct trial trial;
	struct traced_run run;
	bool is_done; /* what the case is about was brought about */
};

/* ---- the cases ---- */

static void path_of_file(const struct trial *trial, uint64_t file_no, char path[WORK_PATH_SIZE])
{
	(void)snprintf(path, WORK_PATH_SIZE, "%.150s/0000000001/%010llu.shmlog.open",
		       trial->directory, (unsigned long long)file_no);
}

/* Behind the pages of a killed writer's file lies what is none. */
static void tear(struct case_trial *of)
{
	char path[WORK_PATH_SIZE], junk[JUNK_SIZE];
	int fd;

	memset(junk, 'j', sizeof(junk));
	path_of_file(&of->trial, 1, path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, junk, sizeof(junk), JUNK_OFFSET) != sizeof(junk))
		broken("%s: %s", path, strerror(errno));
	close(fd);
}

/* Lane 0's hint leads beyond the frontier: nobody has come there yet. */
static void lead_astray(struct case_trial *of)
{
	struct segment segment;
	struct lane_page *page;
	uint64_t offset;
	void *base;

	if (segment_open(&sys_real, of->trial.ring, O_RDWR, &segment) < 0)
		broken("the ring: %s", reason_get());
	offset = geometry_lane_offset(&segment.geometry, 0);
	if (segment_map(&segment, segment.fd, 0, segment.geometry.size, true, &base) < 0)
		broken("the ring: %s", reason_get());
	page = (void *)((uint8_t *)base + offset);
	store_relaxed(&page->tail_hint, ASTRAY_BLOCKS);
	(void)sys_real.unmap(base, segment.geometry.size);
	segment_close(&segment);
}

/* The name of the file after the one that was just made is taken. */
static void take_next_name(struct case_trial *of, pid_t writer)
{
	char path[WORK_PATH_SIZE];
	uint64_t file_no = 1;
	int fd;

	(void)writer;
	do
		path_of_file(&of->trial, ++file_no, path);
	while (access(path, F_OK) == 0);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		broken("%s: %s", path, strerror(errno));
	close(fd);
}

static void limit_size(pid_t writer, rlim_t size)
{
	const struct rlimit limit = { size, RLIM_INFINITY };

	if (prlimit(writer, RLIMIT_FSIZE, &limit, NULL) < 0)
		broken("prlimit: %s", strerror(errno));
}

/* No page more fits into the file, until it is given up. */
static void refuse_writes(struct case_trial *of, pid_t writer)
{
	(void)of;
	limit_size(writer, SIZE_LIMIT);
}

static void admit_writes(struct case_trial *of, pid_t writer)
{
	(void)of;
	limit_size(writer, RLIM_INFINITY);
}

#define OPTIONS(io, sync)                                          \
	{                                                          \
		"--io", (io), "--sync", (sync), "--max-file", "1M" \
	}
#define PLAN(...)                         \
	.plan = { .lanes = 3,             \
		  .lane_size = 64 * 1024, \
		  .batches = 4,           \
		  .batch = 60,            \
		  .is_stepwise = true,    \
		  __VA_ARGS__ }

static const struct odd {
	struct trial_config config;
	const char *points[2]; /* what is met then, in this order                            */
	void (*prepare)(struct case_trial *of); /* before the writer starts                  */
	const char *when;                       /* the point at which ... is done, once      */
	void (*act)(struct case_trial *of, pid_t writer);
	void (*undo)(struct case_trial *of, pid_t writer); /* at the first of `points`       */
} odds[] = {
	{ .config = { "torn", OPTIONS("uring", "page"), PLAN(.threads = 3) },
	  .points = { "recover_torn_kept", NULL },
	  .prepare = tear },
	{ .config = { "astray", OPTIONS("pwrite", "page"), PLAN(.threads = 2) },
	  .points = { "lane_reset", NULL },
	  .prepare = lead_astray },
	{ .config = { "name-taken", OPTIONS("uring", "2ms"), PLAN(.threads = 3, .rotates = true) },
	  .points = { "leftover_cleared", NULL },
	  .when = "file_made",
	  .act = take_next_name },
	{ .config = { "refused", OPTIONS("pwrite", "page"), PLAN(.threads = 3) },
	  .points = { "file_given_up", NULL },
	  .when = "page_released",
	  .act = refuse_writes,
	  .undo = admit_writes },
	{ .config = { "ring-removed", OPTIONS("uring", "page"),
		      PLAN(.threads = 3, .removes_ring = 2) },
	  .points = { "ring_closed", "ring_left" } },
};

/* ---- a trial ---- */

static const char *last_point(const struct odd *odd)
{
	return odd->points[1] ? odd->points[1] : odd->points[0];
}

/* The writer is not ended before it has met what the case is about. */
static void on_point(void *argument, pid_t pid, const char *point)
{
	struct case_trial *of = argument;
	const struct odd *odd = of->odd;
	struct load *load = &of->trial.load;

	if (strcmp(point, "ring_held") == 0) {
		load_tell_writer(load, pid);
		load_wait_before(load, of->trial.plan.batches);
	}
	if (odd->when && !of->is_done && strcmp(point, odd->when) == 0) {
		of->is_done = true;
		odd->act(of, pid);
	}
	if (odd->undo && strcmp(point, odd->points[0]) == 0)
		odd->undo(of, pid);
	if (strcmp(point, last_point(odd)) == 0)
		load_wait_before(load, LOAD_GOES_ON);
}

static void run_case(const struct points *points, const struct odd *odd,
		     const struct kill_rule *rule, struct traced_run *ret)
{
	const struct kill_rule first = { KILL_AT_POINT, points_find(points, "page_released"), 1 };
	struct case_trial of = { .odd = odd };

	trial_begin(&of.trial, &odd->config, points);
	trial_run(&of.trial, &first, &of.run); /* it leaves a file */
	if (odd->prepare)
		odd->prepare(&of);
	of.trial.on_point = on_point;
	of.trial.argument = &of;
	trial_run(&of.trial, rule, &of.run);
	(void)trial_end(&of.trial);
	*ret = of.run;
}

static void kill_at_point(const struct points *points, const struct odd *odd, const char *name)
{
	const struct kill_rule never = { KILL_NEVER, 0, 0 };
	const int point = points_find(points, name);
	struct traced_run whole, run;

	if (point < 0)
		broken("there is no point %s", name);
	run_case(points, odd, &never, &whole);
	if (whole.hits[point] == 0)
		violated("%s: no writer came by %s", odd->config.name, name);
	for (uint64_t n = 1; n <= whole.hits[point] && n <= HITS_MAX && !violations(); n++) {
		const struct kill_rule rule = { KILL_AT_POINT, point, n };

		run_case(points, odd, &rule, &run);
	}
}

void odd_run(const struct points *points, const char *config, const char *point, bool *is_reached)
{
	for (size_t i = 0; i < COUNT_OF(odds); i++) {
		const struct odd *odd = &odds[i];
		const struct trial_totals before = trial_totals;

		if (config && strcmp(config, odd->config.name) != 0)
			continue;
		for (unsigned k = 0; k < COUNT_OF(odd->points) && odd->points[k]; k++) {
			if (point && strcmp(point, odd->points[k]) != 0)
				continue;
			kill_at_point(points, odd, odd->points[k]);
			is_reached[points_find(points, odd->points[k])] = true;
		}
		trial_totals_print("odd", odd->config.name, &before);
	}
}
