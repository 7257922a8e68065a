/*
 * hostile.c - a broken producer, and a hostile member of the ring's group, beside healthy ones.
 *
 *	hostile [PART]    parts: wild, shared, an act's name (member.c), names, adopt
 *
 * wild: what a broken program can reach of the library's mappings costs it its own lane and nobody
 * else anything: the healthy producers' journal against the log. shared: the same in lane 0.
 * Acts: a member of the ring's group stores, truncates, punches, locks as it likes. Others may lose
 * by it. But the writer answers or ends as documented, stays small, writes only into its directory,
 * and what it wrote can be read; when the member is gone, all comes back by itself.
 * FULL=1: longer and more; SEED=n: that seed alone; SANITIZED: a share, under slower programs.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "member.h"
#include "program.h"
#include "wild.h"

enum {
	LANES = 6,
	LANE_SIZE = 64 * 1024,
	WILD_RECORDS = 8000,
	ACT_MS = 250,
	SLACK_BYTES = 8 * 1024 * 1024, /* files, their pages, marks                */
};

struct plan {
	const char *only;
	uint64_t seed; /* 0: as many as there are */
	uint64_t seeds;
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
		sleep_ms(30);
	}
	for (unsigned i = 0; i < 2; i++)
		wild[i] = wild_start(&scene, seed * 2 + i, i == 0 && seed < 2);
	sleep_ms(30);
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
	figures->rounds++;
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

/* Who holds the ring may still refuse it: only an answer says that it is at work. */
static bool answers(struct scene *scene)
{
	const int code = scene_run(
		scene, NULL, 0, (const char *const[]){ "shmlog-ctl", "flush", scene->ring, NULL });

	if (code == 0)
		return true;
	/* No writer, no ring, a ring that is being replaced: ask again, or it has ended. */
	sleep_ms(20);
	return false;
}

static bool is_at_work(struct scene *scene)
{
	const int64_t deadline = now_ms() + HEAL_MS;

	while (!scene_writer_is_gone(scene)) {
		if (answers(scene))
			return true;
		if (now_ms() > deadline) {
			violated("%s: the writer does not answer", scene->ring);
			return true;
		}
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
	figures->refusals++;
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
	scene_end_producers(&scene, true);
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
	figures->rounds++;
}

static void run_acts(const struct plan *plan)
{
	for (unsigned i = 0; i < act_count; i++)
		for (uint64_t s = 0; is_wanted(plan, acts[i].name) && s < plan->seeds; s++) {
			const uint64_t seed = plan->seed ? plan->seed : s + i;

			run_act(plan, &acts[i], seed);
		}
}

/* ---- the run ---- */

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

int main(int argc, char **argv)
{
	const bool is_full = getenv("FULL") && *getenv("FULL");
	const char *seed = getenv("SEED");
	struct plan plan = { .only = argc > 1 ? argv[1] : NULL, .act_ms = ACT_MS };

	plan.seed = seed ? strtoull(seed, NULL, 10) : 0;
	plan.seeds = plan.seed ? 1 : is_full ? 12 : plan.only ? 4 : 1;
	if (is_full)
		plan.act_ms *= 4;
	figures = mmap(NULL, sizeof(*figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (figures == MAP_FAILED)
		broken("no memory");
	for (uint64_t s = 0; s < (is_full ? 40 : is_sanitized() ? 1 : 4); s++) {
		if (is_wanted(&plan, "wild"))
			run_wild(plan.seed + s, 9);
		if (is_wanted(&plan, "shared") && s % 2 == 0)
			run_wild(plan.seed + s, 3);
	}
	run_acts(&plan);
	tell();
	return violations() ? 1 : 0;
}
