/*
 * rings.c - rings that are removed under their producers, with a writer and without, and made anew.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stage.h"

static void ring_path(const struct stage *stage, char path[PATH_MAX])
{
	const char *directory = getenv("SHMLOG_SHM_DIR");

	(void)snprintf(path, PATH_MAX, "%s/shmlog.%s", directory ? directory : "/dev/shm",
		       stage->ring);
}

static ino_t ring_inode(const struct stage *stage)
{
	char path[PATH_MAX];
	struct stat status;

	ring_path(stage, path);
	return stat(path, &status) < 0 ? 0 : status.st_ino;
}

static void unlink_ring(const struct stage *stage)
{
	char path[PATH_MAX];

	ring_path(stage, path);
	if (unlink(path) < 0)
		broken("%s: %s: %s", stage->scenario, path, strerror(errno));
}

static void remove_by_force(const struct stage *stage)
{
	const char *const argv[] = { "shmlog-ctl", "remove", "--force", stage->ring, NULL };

	if (program_run(argv, stage->errors, DEADLINE_MS) != 0)
		violated("%s: it is not removed", stage->scenario);
}

/* ---- with a writer: it makes the ring again ---- */

static ino_t inode_before;

static bool is_made_again(void *argument)
{
	const ino_t now = ring_inode(argument);

	return now != 0 && now != inode_before;
}

/* Until the writer has made it again there is no ring: the push says so, and is tried again. */
static void push_through(const struct stage *stage, struct shmlog *log, unsigned producer)
{
	const int64_t deadline = clock_ms() + DEADLINE_MS;
	int r;

	do {
		r = journal_push(stage->journal, log, producer, WAIT_NS);
		if (r == -ESHUTDOWN)
			nap_ms(5);
	} while (r == -ESHUTDOWN && clock_ms() < deadline);
	if (r < 0)
		violated("%s: producer %u cannot publish: %s", stage->scenario, producer,
			 shmlog_strerror(r));
}

static void push_over_removals(const struct stage *stage, struct shmlog *log, unsigned number)
{
	push_through(stage, log, number);
	board_add(&stage->board->ready, 1);
	for (unsigned i = 0; !board_read(&stage->board->stop) && i < RECORDS_MAX / 8; i++) {
		for (unsigned k = 0; k < 4; k++)
			push_through(stage, log, number);
		nap_ms(1);
	}
	push_through(stage, log, number);
}

static void run_removed(struct stage *stage, void (*removal)(const struct stage *))
{
	enum { CHILDREN = 4 };
	struct shmlog *log;
	pid_t pids[CHILDREN];

	stage_open(stage, 4);
	log = stage_attach(stage, NULL);
	for (unsigned i = 0; i < CHILDREN; i++)
		pids[i] = stage_fork(stage, push_over_removals, log, i);
	board_wait(&stage->board->ready, CHILDREN, "the first pushes");
	for (unsigned i = 0; i < stage_count(stage, 3, 30); i++) {
		inode_before = ring_inode(stage);
		removal(stage);
		if (!program_wait_until(is_made_again, stage, DEADLINE_MS, "the new ring"))
			break;
		push_through(stage, log, 10);
		nap_ms(10);
	}
	board_add(&stage->board->stop, 1);
	for (unsigned i = 0; i < CHILDREN; i++)
		stage_join(stage, pids[i]);
	shmlog_detach(&log);
	stage_close(stage);
}

static void run_unlinked(struct stage *stage)
{
	run_removed(stage, unlink_ring);
}

static void run_forced(struct stage *stage)
{
	run_removed(stage, remove_by_force);
}

/* ---- without a writer ---- */

enum { THREADS = 3 };

struct survivor {
	pthread_t thread;
	const struct stage *stage;
	struct shmlog *log;
	unsigned producer;
	int first; /* what the first push that is refused must say */
};

/* The record may go with the ring: it is in doubt, whatever the push says. */
static int push_in_doubt(const struct survivor *survivor)
{
	struct journal *journal = survivor->stage->journal;
	const uint32_t serial = journal_next(journal, survivor->producer);
	char text[JOURNAL_TEXT_MAX];
	const size_t size = journal_text(survivor->producer, serial, text);
	int r;

	journal_note(journal, survivor->producer, serial, JOURNAL_TRIED);
	r = shmlog_try_push(survivor->log, text, size);
	if (r < 0)
		journal_note(journal, survivor->producer, serial, JOURNAL_DROPPED);
	return r;
}

/* Until the lane is full: where a long record is refused a short one may still have room, so all
 * sizes must be. Return: what the first refusal said. */
static int fill_lane(const struct survivor *survivor)
{
	int first = 0;

	for (unsigned i = 0, refused = 0; refused < JOURNAL_SIZES && i < LANE; i++) {
		const int r = push_in_doubt(survivor);

		if (first == 0)
			first = r;
		refused = r < 0 ? refused + 1 : 0;
	}
	return first;
}

static void wait_for_ring(const struct survivor *survivor)
{
	const int64_t deadline = clock_ms() + DEADLINE_MS;
	int r = -ESHUTDOWN;

	while (r < 0 && clock_ms() < deadline) {
		r = journal_push(survivor->stage->journal, survivor->log, survivor->producer, 0);
		if (r < 0)
			nap_ms(2);
	}
	if (r < 0)
		violated("%s: the new ring is not found: %s", survivor->stage->scenario,
			 shmlog_strerror(r));
}

static void *survive(void *argument)
{
	const struct survivor *survivor = argument;
	const struct stage *stage = survivor->stage;
	int first;

	push_some(stage, survivor->log, survivor->producer, 50);
	board_add(&stage->board->ready, 1);
	board_wait(&stage->board->counted[0], 1, "the removal");
	first = fill_lane(survivor);
	if (first != survivor->first)
		violated("%s: after the removal: %s", stage->scenario, shmlog_strerror(first));
	board_add(&stage->board->ready, 1);
	/* From now on nothing may be lost: a push finds the new ring, or says no. */
	wait_for_ring(survivor);
	push_some(stage, survivor->log, survivor->producer, 500);
	return NULL;
}

/* Another ring under the name: more lanes, or none but lane 0; larger ones; another clock. */
static void make_another(struct stage *stage, unsigned round)
{
	static const char *const lanes[] = { "8", "1", "2" };
	static const char *const sizes[] = { "128K", "64K", "256K" };
	static const char *const clocks[] = { "monotonic", "none", "writer" };
	const char *const argv[] = { "shmlog-ctl",      "create",      stage->ring,      "--lanes",
				     lanes[round % 3],  "--lane-size", sizes[round % 3], "--clock",
				     clocks[round % 3], NULL };

	if (program_run(argv, stage->errors, DEADLINE_MS) != 0)
		broken("%s: no other ring", stage->scenario);
}

static void run_without_writer(struct stage *stage, void (*removal)(const struct stage *),
			       int first)
{
	const unsigned rounds = stage_count(stage, 6, 60);

	stage_open(stage, 2);
	for (unsigned round = 0; round < rounds; round++) {
		struct survivor survivors[THREADS];
		struct shmlog *log = stage_attach(stage, NULL);
		const uint32_t ready = board_read(&stage->board->ready);

		__atomic_store_n(&stage->board->counted[0], 0, __ATOMIC_SEQ_CST);
		for (unsigned i = 0; i < THREADS; i++) {
			survivors[i] = (struct survivor){
				.stage = stage,
				.log = log,
				.producer = round * THREADS +
					    i, /* without a clock threads are not ordered */
				.first = first
			};
			if (pthread_create(&survivors[i].thread, NULL, survive, &survivors[i]) != 0)
				broken("pthread_create");
		}
		board_wait(&stage->board->ready, ready + THREADS, "the first pushes");
		stage_stop_writer(stage); /* all is written */
		removal(stage);
		board_add(&stage->board->counted[0], 1);
		board_wait(&stage->board->ready, ready + 2 * THREADS, "the refusals");
		make_another(stage, round);
		stage_start_writer(stage);
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(survivors[i].thread, NULL);
		shmlog_detach(&log);
	}
	if (count_mappings() != 0)
		violated("%s: %u mappings of old rings are left", stage->scenario,
			 count_mappings());
	stage_close(stage);
}

static void run_unlinked_alone(struct stage *stage)
{
	run_without_writer(stage, unlink_ring, -EAGAIN);
}

static void run_forced_alone(struct stage *stage)
{
	run_without_writer(stage, remove_by_force, -ESHUTDOWN);
}

const struct scenario ring_scenarios[] = {
	{ "ring-unlinked", run_unlinked },
	{ "ring-removed", run_forced },
	{ "ring-unlinked-no-writer", run_unlinked_alone },
	{ "ring-removed-no-writer", run_forced_alone },
	{ 0 },
};
