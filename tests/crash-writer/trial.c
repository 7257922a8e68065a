/*
 * trial.c - one ring, one log, one load, and writers that are killed. See trial.h.
 */
#include "trial.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

enum { END_MS = 30000, ARGUMENTS_MAX = TRIAL_OPTIONS_MAX + 8 };

struct trial_totals trial_totals;

static void tell(struct trial *trial, const char *where)
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
}

void trial_run(struct trial *trial, const struct kill_rule *rule, struct traced_run *ret)
{
	const struct tracer tracer = {
		.rule = *rule,
		.error_path = trial->errors,
		.cgroup_procs = trial->cgroup_procs,
		.count_calls = rule->at == KILL_NEVER,
		.on_point = trial->on_point ? trial->on_point : on_point,
		.argument = trial->on_point ? trial->argument : trial,
	};
	const char *argv[ARGUMENTS_MAX];

	fill_arguments(trial, argv, NULL);
	tracer_run(&tracer, trial->points, argv, ret);
	load_tell_writer(&trial->load, 0);
	trial_totals.starts++;
	trial_totals.kills += ret->was_killed;
	tell(trial, ret->was_killed ? ret->where : "ended");
	if (!ret->was_killed && ret->status != 0)
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
	tell(trial, where);
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

static void compare(struct trial *trial)
{
	struct journal_totals totals;
	uint64_t lost;

	oracle_compare(trial->journal, trial->directory, trial->scratch, &totals);
	trial_totals.records += totals.found;
	lost = oracle_lost(trial->directory);
	if (lost)
		violated("%llu records are marked as lost", (unsigned long long)lost);
	oracle_ring_is_empty(trial->ring);
	oracle_all_is_sealed(trial->directory);
}

static bool end(struct trial *trial)
{
	bool is_good;

	load_end(&trial->load);
	compare(trial);
	is_good = violations() == trial->violations_before;
	if (!is_good) {
		(void)fprintf(stderr, "crash-writer: configuration %s%s\n", trial->config->name,
			      trial->story);
		work_print(trial->errors);
	}
	journal_destroy(trial->journal);
	return is_good;
}

bool trial_end(struct trial *trial)
{
	if (load_has_finished(&trial->load))
		run_once(trial);
	else
		run_to_the_end(trial);
	return end(trial);
}

bool trial_end_traced(struct trial *trial)
{
	const struct kill_rule rule = { KILL_NEVER, 0, 0 };
	struct traced_run run;

	trial_run(trial, &rule, &run);
	return end(trial);
}
