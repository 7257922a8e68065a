/*
 * life.c - the lives of processes: each way to fork, end, be interrupted or lose something that
 * could break the library's promises, as a scenario with a name.
 *
 *	life [-f] [-v] [SCENARIO]       -f: full counts; -v: a line for each
 *
 * Exit status: 0; 1 a promise is broken; 2 the suite is.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stage.h"

enum { SCENARIO_MS = 120000, FULL_FACTOR = 10, SEED = 42 };

static const struct scenario *const all[] = {
	fork_scenarios,   exec_scenarios, thread_scenarios, signal_scenarios, owner_scenarios,
	handle_scenarios, ring_scenarios, writer_scenarios, limit_scenarios,  space_scenarios,
};

struct tally {
	unsigned played, violated, broken, skipped;
	struct figures *figures;
	bool full, verbose;
};

static void *share(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		broken("mmap: %s", strerror(errno));
	return at;
}

static void stage_set(struct stage *stage, const struct scenario *scenario, struct tally *tally)
{
	const char *tmp = getenv("TMPDIR");
	char path[PATH_MAX];

	*stage = (struct stage){ .scenario = scenario->name,
				 .figures = tally->figures,
				 .full = tally->full,
				 .seed = SEED };
	(void)snprintf(stage->ring, sizeof(stage->ring), "life.%d.%s", (int)getpid(),
		       scenario->name);
	(void)snprintf(stage->directory, sizeof(stage->directory), "%s/shmlog-life.XXXXXX",
		       tmp ? tmp : "/tmp");
	if (!mkdtemp(stage->directory))
		broken("%s: %s", stage->directory, strerror(errno));
	(void)snprintf(stage->log, sizeof(stage->log), "%s/log", stage->directory);
	(void)snprintf(stage->errors, sizeof(stage->errors), "%s/errors", stage->directory);
	(void)snprintf(path, sizeof(path), "%s/journal", stage->directory);
	stage->journal = journal_create(path, PRODUCERS_MAX, RECORDS_MAX);
	stage->board = share(sizeof(*stage->board));
}

static void show_errors(const struct stage *stage)
{
	char line[512];
	FILE *errors = fopen(stage->errors, "re");

	for (unsigned i = 0; errors && i < 20 && fgets(line, sizeof(line), errors); i++)
		(void)fprintf(stderr, "    %s", line);
	if (errors)
		(void)fclose(errors);
}

/* What is left of a scenario that failed, too. */
static void stage_clear(struct stage *stage)
{
	char command[PATH_MAX + 256];

	(void)snprintf(command, sizeof(command),
		       "rm -rf '%s' \"${SHMLOG_SHM_DIR:-/dev/shm}\"/shmlog.'%s'*", stage->directory,
		       stage->ring);
	if (system(command) != 0)
		broken("%s: cannot clear up", stage->scenario);
	journal_destroy(stage->journal);
	(void)munmap(stage->board, sizeof(*stage->board));
}

static int play(struct stage *stage, const struct scenario *scenario)
{
	const pid_t pid = fork();
	int status;

	if (pid < 0)
		broken("fork: %s", strerror(errno));
	if (pid == 0) {
		const uint64_t before = violations();

		(void)setpgid(0, 0);
		scenario->run(stage);
		exit(violations() == before ? 0 : 1);
	}
	(void)setpgid(pid, pid);
	status = program_wait(pid, stage->full ? SCENARIO_MS * FULL_FACTOR : SCENARIO_MS);
	/* A writer that lives a moment longer would make a removed ring again. */
	for (int i = 0; i < 5000 && kill(-pid, SIGKILL) == 0; i++)
		nap_ms(1);
	return status;
}

static void tell(struct tally *tally, const struct stage *stage, int status, int64_t ms,
		 const struct figures *before)
{
	tally->played++;
	tally->skipped += status == EXIT_SKIPPED;
	tally->broken += status == 2;
	tally->violated += status != 0 && status != EXIT_SKIPPED && status != 2;
	if (status != 0 && status != EXIT_SKIPPED && status != 2) {
		violated("scenario %s (exit %d)", stage->scenario, status);
		show_errors(stage);
	}
	if (status == 2)
		show_errors(stage);
	if (tally->verbose)
		printf("life: %-28s %4lld ms, published %llu, lives %llu, exit %d\n",
		       stage->scenario, (long long)ms,
		       (unsigned long long)(tally->figures->published - before->published),
		       (unsigned long long)(tally->figures->lives - before->lives), status);
	(void)fflush(stdout);
}

static void play_one(struct tally *tally, const struct scenario *scenario)
{
	const struct figures before = *tally->figures;
	const int64_t began = clock_ms();
	struct stage stage;
	int status;

	stage_set(&stage, scenario, tally);
	(void)fflush(NULL);
	status = play(&stage, scenario);
	tell(tally, &stage, status, clock_ms() - began, &before);
	stage_clear(&stage);
}

static void play_all(struct tally *tally, const char *only)
{
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		for (const struct scenario *scenario = all[i]; scenario->name; scenario++)
			if (!only || strcmp(only, scenario->name) == 0)
				play_one(tally, scenario);
	if (tally->played == 0)
		broken("no scenario %s", only ? only : "");
}

int main(int argc, char **argv)
{
	static char path[PATH_MAX];
	struct tally tally = { .figures = share(sizeof(struct figures)) };
	int option;

	if (argc == 7 && strcmp(argv[1], "--probe") == 0)
		return probe(argv + 2);
	self_path = realpath("/proc/self/exe", path);
	while ((option = getopt(argc, argv, "fv")) != -1) {
		tally.full |= option == 'f';
		tally.verbose |= option == 'v';
	}
	play_all(&tally, argv[optind]);
	printf("life: %u scenarios, %llu lives; %llu records published, %llu in doubt, %llu "
	       "dropped and counted; %u scenarios violated, %u skipped\n",
	       tally.played, (unsigned long long)tally.figures->lives,
	       (unsigned long long)tally.figures->published,
	       (unsigned long long)tally.figures->tried, (unsigned long long)tally.figures->dropped,
	       tally.violated, tally.skipped);
	if (tally.broken)
		return 2;
	return violations() || tally.violated ? 1 : 0;
}
