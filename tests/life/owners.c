/*
 * owners.c - more processes than there are lanes or owner ids, over time: each id and lane is used
 * again and again, by whoever comes, and each record stands in the log under the right name.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stage.h"

enum { TOGETHER = 20 };

static struct shmlog *attach_by_number(const struct stage *stage, unsigned number)
{
	char name[16];

	(void)snprintf(name, sizeof(name), "p%u", number);
	return stage_attach(stage, name);
}

/* Each comes, says who it is, and ends in its own way. */
static void live_shortly(const struct stage *stage, struct shmlog *log, unsigned number)
{
	struct shmlog_claim claim;

	log = attach_by_number(stage, number);
	push_some(stage, log, number, 3);
	switch (number % 5) {
	case 0:
		shmlog_detach(&log);
		return;
	case 1:
		return; /* by _exit() */
	case 2:
		(void)shmlog_claim(log, SHMLOG_INFO, 100, &claim);
		push_some(stage, log, number, 1);
		break;
	case 3:
		break;
	default:
		push_some(stage, log, number, RECORDS_MAX / 64); /* killed meanwhile */
		for (;;)
			pause();
	}
	(void)raise(SIGKILL);
}

static void end_life(const struct stage *stage, pid_t pid, unsigned number)
{
	if (number % 5 == 4)
		kill(pid, SIGKILL);
	stage_expect(stage, pid, number % 5 < 2 ? 0 : 137);
}

/* The name beside a record is that of its producer: "source":"p12" with "message":"12.3 ...". */
static void check_name(const struct stage *stage, const char *line)
{
	const char *name = strstr(line, "\"source\":\"p");
	const char *message = strstr(line, "\"message\":\"");
	unsigned by_name, by_record;

	if (!message)
		return; /* a gap, say */
	if (!name || sscanf(name + 11, "%u", &by_name) != 1 ||
	    sscanf(message + 11, "%u.", &by_record) != 1 || by_name != by_record)
		violated("%s: a record under the wrong name: %.200s", stage->scenario, line);
}

static void check_names(const struct stage *stage)
{
	const char *const argv[] = { "shmlog-cat", "-o", "json", stage->log, NULL };
	uint64_t checked = 0;
	char line[4096];
	pid_t pid;
	FILE *stream = program_read(argv, &pid);

	while (fgets(line, sizeof(line), stream) && violations() < 10) {
		check_name(stage, line);
		checked++;
	}
	(void)program_close(stream, pid);
	if (checked == 0)
		violated("%s: no record", stage->scenario);
}

static void run_lives(struct stage *stage, unsigned lanes, unsigned lives)
{
	pid_t pids[TOGETHER];

	stage_open(stage, lanes);
	for (unsigned number = 0; number < lives + TOGETHER; number++) {
		if (number >= TOGETHER)
			end_life(stage, pids[number % TOGETHER], number - TOGETHER);
		if (number < lives)
			pids[number % TOGETHER] = stage_fork(stage, live_shortly, NULL, number);
		if (number == lives / 3) {
			stage_kill_writer(stage);
			stage_start_writer(stage);
		}
	}
	stage_close(stage);
	check_names(stage);
}

static void run_owner_ids(struct stage *stage)
{
	run_lives(stage, 1, stage_count(stage, 1200, 6000));
}

static void run_lanes(struct stage *stage)
{
	run_lives(stage, 6, stage_count(stage, 600, 6000));
}

const struct scenario owner_scenarios[] = {
	{ "owner-ids-used-again", run_owner_ids },
	{ "lanes-used-again", run_lanes },
	{ 0 },
};
