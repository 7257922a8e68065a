/*
 * power.c - cut the power at every step of the writer's disk, and see what is left.
 *
 *	power [SCENARIO]
 *
 * Records a run of each scenario (record.h), then makes the disks that may exist after a cut
 * (image.h), recovers and reads each (check.h). FULL=1: every cut and more of its images. SEED=n:
 * another choice. SHMLOG_BIN: where the programs are.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "program.h"

enum {
	JOBS = 4,
	LOTS = 3, /* images of a cut by lot, behind the corners                              */
	FULL_LOTS = 24,
	AGAIN_STEP = 8, /* one image of so many is recovered twice, and read before          */
	CUT_STEP = 40,  /* ... its recovery is cut                                           */
	KILL_STEP = 4,  /* of those with the ring still there: the first recovery is killed  */
	SEEN_MAX = 1 << 20,
	BREACHES_MAX = 5,
};

#define KEEPS_ALL .is_archiving = false, .max_files = 0

static const struct scenario scenarios[] = {
	{ "page", "page", "written", true, 2, 3, 200, 0, 40 * NS_PER_MS, KEEPS_ALL },
	{ "interval", "15ms", "written", true, 2, 1, 240, 0, 30 * NS_PER_MS, KEEPS_ALL },
	{ "none", "none", "written", false, 2, 2, 240, 0, 25 * NS_PER_MS, KEEPS_ALL },
	{ "rolls", "20ms", "written", true, 1, 2, 240, 0, 6 * NS_PER_MS, KEEPS_ALL },
	{ "ahead", "20ms", "written", true, 1, 2, 400, 250, 0, KEEPS_ALL },
	{ "ahead-none", "none", "written", false, 2, 1, 400, 250, 0, KEEPS_ALL },
	{ "durable", "10ms", "durable", true, 2, 2, 240, 0, 30 * NS_PER_MS, KEEPS_ALL },
	{ "durable-page", "page", "durable", true, 1, 1, 160, 60, 50 * NS_PER_MS, KEEPS_ALL },
	{ "archive", "20ms", "written", true, 1, 1, 400, 250, 0, true, 0 },
	{ "retain", "20ms", "written", true, 1, 2, 700, 400, 0, false, 4 },
	{ "archive-retain", "page", "durable", true, 1, 1, 900, 500, 0, true, 5 },
};

struct hunt {
	struct recording recording;
	uint64_t seed;
	bool is_full;
	uint64_t number; /* of the image */
	uint64_t *seen;  /* hashes */
	uint32_t limit;  /* of images of this scenario */
	struct figures *figures;
};

static bool enough(const struct hunt *hunt)
{
	return violations() >= BREACHES_MAX ||
	       (!hunt->is_full && hunt->figures->images >= hunt->limit);
}

/* Seen before: then it was checked with a later cut, after which more was known. */
static bool is_new(struct hunt *hunt, uint64_t hash)
{
	uint64_t at = hash % SEEN_MAX;

	while (hunt->seen[at] && hunt->seen[at] != hash)
		at = (at + 1) % SEEN_MAX;
	if (hunt->seen[at] == hash)
		return false;
	hunt->seen[at] = hash;
	return true;
}

static uint32_t plans_of(const struct hunt *hunt, const struct image *image)
{
	const uint32_t open = image_open_count(image);

	if (open <= IMAGE_EXHAUSTIVE)
		return 1u << open;
	return IMAGE_CORNERS + (hunt->is_full ? FULL_LOTS : LOTS);
}

static void tell_place(const struct hunt *hunt, uint32_t cut, uint32_t plan, uint64_t breaches)
{
	if (violations() != breaches)
		(void)fprintf(stderr, "    scenario %s, cut at %u of %u, image %u\n",
			      hunt->recording.scenario->name, cut, hunt->recording.trace->count,
			      plan);
}

static void lost_ring(struct hunt *hunt, uint32_t cut, uint32_t plan, struct image *image)
{
	const uint64_t breaches = violations();
	unsigned what = 0;

	image_choose(image, plan, &hunt->seed);
	if (!is_new(hunt, image_hash(image)))
		return;
	if (hunt->number % AGAIN_STEP == 0)
		what |= CHECK_UNRECOVERED | CHECK_AGAIN;
	if (hunt->number % CUT_STEP == CUT_STEP / 2)
		what |= CHECK_CUT;
	hunt->number++;
	check_lost_ring(&hunt->recording, image, cut, what, &hunt->seed, hunt->figures);
	tell_place(hunt, cut, plan, breaches);
}

static void hunt_cut(struct hunt *hunt, uint32_t cut)
{
	struct image *image = image_new(hunt->recording.trace, cut);
	const uint32_t plans = plans_of(hunt, image);

	for (uint32_t plan = 0; plan < plans && !enough(hunt); plan++)
		lost_ring(hunt, cut, plan, image);
	image_free(image);
	hunt->figures->cuts++;
}

/* Has the ring called more records durable since the event before? */
static bool is_claim(const struct trace *trace, uint32_t cut)
{
	return cut < trace->count &&
	       memcmp(trace->events[cut].durable, trace->events[cut - 1].durable,
		      sizeof(trace->events[cut].durable)) != 0;
}

/* Was a name changed just now that had been on the disk? */
static bool is_renaming(const struct trace *trace, uint32_t cut)
{
	const enum event_kind kind = trace->events[cut - 1].kind;

	return kind == EVENT_RENAME || kind == EVENT_REMOVE;
}

static void hunt_plans(struct hunt *hunt, bool (*is_wanted)(const struct trace *, uint32_t),
		       const uint32_t *plans, size_t count)
{
	const struct trace *trace = hunt->recording.trace;

	for (uint32_t cut = trace->count; cut > 0 && !enough(hunt); cut--) {
		struct image *image;

		if (!is_wanted(trace, cut))
			continue;
		image = image_new(trace, cut);
		for (size_t i = 0; i < count; i++)
			lost_ring(hunt, cut, plans[i], image);
		image_free(image);
		hunt->figures->cuts++;
	}
}

/* The moments at which it is easiest to have promised too much: nothing arrives but what must, or
 * the last name alone. */
static void hunt_claims(struct hunt *hunt)
{
	static const uint32_t of_names[] = { 0, 3, IMAGE_LAST_NAME };
	static const uint32_t of_records[] = { 0, 3 };

	hunt_plans(hunt, is_renaming, of_names, COUNT_OF(of_names));
	hunt_plans(hunt, is_claim, of_records, COUNT_OF(of_records));
}

static void hunt_snapshot(struct hunt *hunt, const struct snapshot *snapshot)
{
	struct image *image = image_new(hunt->recording.trace, snapshot->at);
	const uint32_t plans = plans_of(hunt, image);

	for (uint32_t plan = 0; plan < plans && !enough(hunt); plan++) {
		const uint64_t breaches = violations();

		image_choose(image, plan, &hunt->seed);
		check_surviving_ring(&hunt->recording, image, snapshot,
				     hunt->number++ % KILL_STEP == 0 ? CHECK_KILL : 0, &hunt->seed,
				     hunt->figures);
		tell_place(hunt, snapshot->at, plan, breaches);
	}
	image_free(image);
	hunt->figures->cuts++;
}

/* In the bounded share the cuts are spread over the whole trace. */
static void hunt_all(struct hunt *hunt)
{
	const struct trace *trace = hunt->recording.trace;
	const uint32_t step = hunt->is_full ? 1 : 1 + trace->count * 8 / hunt->limit;
	const uint32_t snapshots = hunt->is_full ? 1 : 1 + trace->snapshot_count * 40 / hunt->limit;

	for (uint32_t i = 0; i < trace->snapshot_count && !enough(hunt); i += snapshots)
		hunt_snapshot(hunt, &trace->snapshots[i]);
	hunt_claims(hunt);
	for (uint32_t cut = trace->count; !enough(hunt); cut -= step) {
		hunt_cut(hunt, cut);
		if (cut < step)
			break;
	}
}

static void tell_recording(const struct recording *recording)
{
	struct record_counts counts;

	record_count(recording->trace, &counts);
	(void)printf("power: %s: %u events, %u snapshots, %u files compressed, %u deleted\n",
		     recording->scenario->name, recording->trace->count,
		     recording->trace->snapshot_count, counts.compressed, counts.deleted);
}

static void run_scenario(const struct scenario *scenario, uint64_t seed, const char *root,
			 struct figures *figures)
{
	struct hunt hunt = { .seed = seed, .figures = figures, .limit = 700 };

	hunt.is_full = getenv("FULL") && *getenv("FULL");
	hunt.seen = calloc(SEEN_MAX, sizeof(*hunt.seen));
	if (!hunt.seen)
		broken("out of memory");
	record(&hunt.recording, scenario, seed, root);
	figures->traces++;
	tell_recording(&hunt.recording);
	hunt_all(&hunt);
	record_end(&hunt.recording);
	free(hunt.seen);
}

/* ---- scenarios side by side ---- */

static pid_t start_scenario(const struct scenario *scenario, uint64_t seed, const char *work,
			    struct figures *figures)
{
	char root[64];
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)snprintf(root, sizeof(root), "%s/%s", work, scenario->name);
	if (mkdir(root, 0700) < 0)
		broken("%s: %s", root, strerror(errno));
	run_scenario(scenario, seed, root, figures);
	(void)fflush(stdout);
	_exit(violations() != 0);
}

static int wait_for_one(void)
{
	int status;

	if (wait(&status) < 0)
		broken("wait: %s", strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

static int worse(int a, int b)
{
	return a > b ? a : b;
}

static int run_all(const char *only, const char *work, struct figures *figures)
{
	const char *seed = getenv("SEED");
	unsigned running = 0;
	int result = 0;

	for (size_t i = 0; i < COUNT_OF(scenarios); i++) {
		if (only && strcmp(only, scenarios[i].name) != 0)
			continue;
		if (running == JOBS) {
			result = worse(result, wait_for_one());
			running--;
		}
		running += start_scenario(&scenarios[i], (seed ? strtoull(seed, NULL, 0) : 1) + i,
					  work, &figures[i]) > 0;
	}
	while (running-- > 0)
		result = worse(result, wait_for_one());
	return result;
}

static void print_figures(const struct figures *figures, int result)
{
	struct figures all = { 0 };

	for (size_t i = 0; i < COUNT_OF(scenarios); i++) {
		all.traces += figures[i].traces;
		all.cuts += figures[i].cuts;
		all.images += figures[i].images;
		all.recoveries += figures[i].recoveries;
		all.recovery_cuts += figures[i].recovery_cuts;
		all.surviving += figures[i].surviving;
		all.killed += figures[i].killed;
		all.named += figures[i].named;
		all.holes += figures[i].holes;
	}
	(void)printf("power: %llu traces, %llu cuts, %llu images (%llu with the ring still there, "
		     "%llu of a cut recovery), %llu recoveries (%llu killed)\n",
		     (unsigned long long)all.traces, (unsigned long long)all.cuts,
		     (unsigned long long)all.images, (unsigned long long)all.surviving,
		     (unsigned long long)all.recovery_cuts, (unsigned long long)all.recoveries,
		     (unsigned long long)all.killed);
	if (result == 0)
		(void)printf("power: durable records lost 0, doubled 0, losses not named 0 (%llu "
			     "records lost and marked, %llu logs with holes that are said)\n",
			     (unsigned long long)all.named, (unsigned long long)all.holes);
}

/* All that runs is a descendant of this process, and dies with it. */
static pid_t start_all(const char *only, const char *work, struct figures *figures)
{
	const pid_t pid = fork();

	if (pid < 0)
		broken("fork: %s", strerror(errno));
	if (pid > 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	exit(run_all(only, work, figures));
}

/* However it ends, by a signal to us, too. */
static int wait_for_all(pid_t pid, const sigset_t *signals)
{
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		const int got = sigwaitinfo(signals, NULL);

		if (got != SIGINT && got != SIGTERM)
			continue;
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return 128 + got;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

static void clean_up(const char *work)
{
	char command[64];

	remove_rings();
	(void)snprintf(command, sizeof(command), "rm -rf '%s'", work);
	if (system(command) != 0)
		broken("cannot remove %s", work);
}

int main(int argc, char **argv)
{
	char work[] = "/dev/shm/power-XXXXXX";
	struct figures *figures = mmap(NULL, sizeof(*figures) * COUNT_OF(scenarios),
				       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	sigset_t signals, before;
	int result;
	pid_t pid;

	(void)program_path("shmlog-cat"); /* says so at once if it is not set */
	(void)ring_prefix();
	if (figures == MAP_FAILED || !mkdtemp(work))
		broken("%s: %s", work, strerror(errno));
	pid = start_all(argc > 1 && *argv[1] ? argv[1] : NULL, work, figures);
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, &before);
	result = wait_for_all(pid, &signals);
	sigprocmask(SIG_SETMASK, &before, NULL);
	clean_up(work);
	print_figures(figures, result);
	return result;
}
