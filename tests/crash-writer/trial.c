/*
 * trial.c - one ring, one log, one load, and writers that are killed. See trial.h.
 */
#include "trial.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

enum { END_MS = 30000, ARGUMENTS_MAX = TRIAL_OPTIONS_MAX + 8 };

struct trial_totals trial_totals;

void trial_totals_print(const char *scenario, const char *config, const struct trial_totals *before)
{
	printf("crash-writer: %-8s %-18s %5llu kills, %5llu starts\n", scenario, config,
	       (unsigned long long)(trial_totals.kills - before->kills),
	       (unsigned long long)(trial_totals.starts - before->starts));
	(void)fflush(stdout);
}

static void add_to_story(struct trial *trial, const char *where)
{
	const size_t length = strlen(trial->story);

	(void)snprintf(trial->story + length, sizeof(trial->story) - length, "; %s", where);
}

void trial_begin(struct trial *trial, const struct trial_config *config,
		 const struct points *points)
{
	*trial = (struct trial){ .config = config, .points = points, .plan = config->plan };
	trial->violations_before = violations();
	work_ring_name(trial->ring);
	work_path(trial->directory, "log");
	work_path(trial->errors, "errors");
	work_path(trial->scratch, "scratch");
	work_begin(trial->ring, trial->directory);
	(void)unlink(trial->errors);
	trial->plan.ring = trial->ring;
	trial->journal = journal_create(NULL, trial->plan.threads,
					trial->plan.batches * trial->plan.batch + 1);
	load_start(&trial->load, &trial->plan, trial->journal);
	trial_totals.trials++;
}

static void fill_arguments(const struct trial *trial, const char *argv[ARGUMENTS_MAX],
			   const char *last)
{
	unsigned count = 0;

	argv[count++] = "shmlog-writer";
	argv[count++] = "-r";
	argv[count++] = trial->ring;
	argv[count++] = "-d";
	argv[count++] = trial->directory;
	for (unsigned i = 0; trial->config->options[i]; i++)
		argv[count++] = trial->config->options[i];
	argv[count++] = last;
	argv[count] = NULL;
}

/* Once it has the ring it takes signals, too: blocked and read when it is ready. */
static void on_point(void *argument, pid_t pid, const char *point)
{
	struct trial *trial = argument;

	if (strcmp(point, "ring_held") == 0)
		load_tell_writer(&trial->load, pid);
	trial->archives += strcmp(point, "original_removed") == 0;
	if (trial->archives >= trial->archives_wanted || strcmp(point, TRACER_CHILD_KILLED) == 0)
		load_wait_before(&trial->load, LOAD_GOES_ON);
}

static bool kills_writer(const struct kill_rule *rule)
{
	return rule->at != KILL_CHILD_AT_POINT && rule->at != KILL_CHILD_AT_CALL;
}

void trial_run(struct trial *trial, const struct kill_rule *rule, struct traced_run *ret)
{
	const struct tracer tracer = {
		.rule = *rule,
		.hold = trial->hold,
		.error_path = trial->errors,
		.cgroup_procs = trial->cgroup_procs,
		.count_calls = rule->at == KILL_NEVER,
		.on_point = trial->on_point ? trial->on_point : on_point,
		.argument = trial->on_point ? trial->argument : trial,
	};
	const char *argv[ARGUMENTS_MAX];

	fill_arguments(trial, argv, trial->is_once ? "--once" : NULL);
	trial->archives = 0;
	load_wait_before(&trial->load,
			 trial->archives_wanted > 0 ? trial->plan.batches : LOAD_GOES_ON);
	tracer_run(&tracer, trial->points, argv, ret);
	load_tell_writer(&trial->load, 0);
	load_wait_before(&trial->load, LOAD_GOES_ON);
	trial_totals.starts++;
	trial_totals.kills += ret->was_killed;
	add_to_story(trial, ret->was_killed ? ret->where : "ended");
	if ((!ret->was_killed || !kills_writer(rule)) && ret->status != 0)
		violated("a writer ended with %d", ret->status);
}

static pid_t start_writer(struct trial *trial)
{
	const pid_t pid = program_start_writer(trial->ring, trial->directory,
					       trial->config->options, trial->errors);

	trial_totals.starts++;
	if (!pid)
		violated("a writer did not start");
	return pid;
}

void trial_run_for(struct trial *trial, long us)
{
	const struct timespec time = { us / 1000000, us % 1000000 * 1000 };
	const char *argv[ARGUMENTS_MAX];
	char where[40];
	pid_t pid;

	fill_arguments(trial, argv, NULL);
	pid = program_start(argv, trial->errors);
	(void)nanosleep(&time, NULL);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	(void)snprintf(where, sizeof(where), "after %ld us", us);
	add_to_story(trial, where);
	trial_totals.starts++;
	trial_totals.kills++;
}

/* All is published: what there is is drained by a writer that then ends by itself. */
static void run_once(struct trial *trial)
{
	const char *argv[ARGUMENTS_MAX];
	int status;

	fill_arguments(trial, argv, "--once");
	status = program_run(argv, trial->errors, END_MS);
	trial_totals.starts++;
	if (status != 0)
		violated("the last writer, --once, ended with %d", status);
}

static void run_to_the_end(struct trial *trial)
{
	const pid_t pid = start_writer(trial);
	int status;

	if (!pid)
		return;
	load_tell_writer(&trial->load, pid);
	status = program_wait(pid, END_MS);
	load_tell_writer(&trial->load, 0);
	if (status != 0)
		violated("the last writer ended with %d", status);
}

void trial_compare(struct trial *trial, const char *directory)
{
	struct journal_totals totals;

	if (trial->config->kept > 0)
		oracle_forgive_deleted(trial->journal, directory, trial->config->kept);
	oracle_compare(trial->journal, directory, trial->scratch, &totals);
	trial_totals.records += totals.found;
}

static void archive(const struct trial *trial, const char *directory)
{
	const char *const argv[] = { "shmlog-writer", "--archive", "-d", directory, NULL };
	const int status = program_run(argv, trial->errors, END_MS);

	if (status != 0)
		violated("archiving by hand ended with %d", status);
}

void trial_archive_unsettled(struct trial *trial)
{
	archive(trial, trial->directory);
	add_to_story(trial, "by hand");
}

void trial_archive(struct trial *trial, const char *directory)
{
	archive(trial, directory);
	trial_compare(trial, directory);
	oracle_is_tidy(directory);
}

static void compare(struct trial *trial)
{
	uint64_t lost;

	trial_compare(trial, trial->directory);
	lost = oracle_lost(trial->directory);
	if (lost)
		violated("%llu records are marked as lost", (unsigned long long)lost);
	oracle_ring_is_empty(trial->ring);
	oracle_all_is_sealed(trial->directory);
}

static void end(struct trial *trial)
{
	load_end(&trial->load);
	compare(trial);
}

static bool tell(struct trial *trial)
{
	const bool is_good = violations() == trial->violations_before;

	if (!is_good) {
		(void)fprintf(stderr, "crash-writer: configuration %s%s\n", trial->config->name,
			      trial->story);
		work_print(trial->errors);
	}
	return is_good;
}

void trial_end_keeping(struct trial *trial)
{
	if (load_has_finished(&trial->load))
		run_once(trial);
	else
		run_to_the_end(trial);
	end(trial);
}

bool trial_forget(struct trial *trial)
{
	const bool is_good = tell(trial);

	journal_destroy(trial->journal);
	return is_good;
}

bool trial_end(struct trial *trial)
{
	trial_end_keeping(trial);
	return trial_forget(trial);
}

bool trial_end_traced(struct trial *trial)
{
	const struct kill_rule rule = { KILL_NEVER, 0, 0 };
	struct traced_run run;

	trial_run(trial, &rule, &run);
	end(trial);
	return trial_forget(trial);
}
