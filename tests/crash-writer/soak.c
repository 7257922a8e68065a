/*
 * soak.c - everything at once, at random, for as long as one likes: producers come, go, are stopped
 * and killed; the writer is killed, stopped, asked for things, and started again.
 *
 *	soak SECONDS SEED
 *
 * In rounds of a few seconds with a ring, a log and a journal of their own; after each all is
 * compared. In every other round no producer is killed: then drops are exact. What happens follows
 * from the seed, when it happens does not.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"
#include "producer.h"
#include "program.h"
#include "random.h"
#include "work.h"

enum {
	ROUND_MS = 5000,
	STEP_MAX_US = 12000,
	SOURCES_MAX = 7,  /* at a time                                                   */
	STARTS_MAX = 150, /* of producers in a round                                     */
	ASKERS_MAX = 8,   /* shmlog-ctl at a time                                        */
	END_MS = 30000,
};

struct process {
	pid_t pid; /* 0: none */
	bool is_stopped;
};

struct soak {
	char ring[WORK_RING_SIZE];
	char directory[WORK_PATH_SIZE];
	char errors[WORK_PATH_SIZE];
	char scratch[WORK_PATH_SIZE];
	char journal_path[WORK_PATH_SIZE];
	char program[WORK_PATH_SIZE]; /* of producers */
	struct journal *journal;
	uint64_t random;
	bool may_kill_producers;
	const char *const *options; /* of the writers of this round */
	struct process writer;
	struct process sources[SOURCES_MAX];
	struct process askers[ASKERS_MAX];
	unsigned started;
};

static struct {
	uint64_t rounds, exact_rounds, writers, writer_kills, sources, source_kills, stops,
		requests;
	uint64_t published, dropped, marked, records;
} totals;

static const char *const geometry[] = { "--lanes", "4", "--lane-size", "64K" };

static const char *const kinds_of_writers[][12] = {
	{ "--io", "uring", "--sync", "5ms", "--max-file", "1M" },
	{ "--io", "pwrite", "--sync", "none", "--max-file", "1M", "--roll-age", "300ms" },
	{ "--io", "uring", "--release", "durable", "--sync", "3ms", "--max-file", "2M" },
	{ "--io", "auto", "--sync", "page", "--max-file", "1M", "--mode", "trigger" },
	{ "--io", "pwrite", "--release", "durable", "--sync", "page", "--max-file", "1M",
	  "--flush-interval", "3ms" },
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t below(struct soak *soak, uint64_t count)
{
	return random_below(&soak->random, count);
}

static void nap(uint64_t us)
{
	const struct timespec time = { (time_t)(us / 1000000), (long)(us % 1000000) * 1000 };

	(void)nanosleep(&time, NULL);
}

/* ---- the writer ---- */

static void fill_arguments(const struct soak *soak, const char *argv[32], const char *last)
{
	unsigned count = 0;

	argv[count++] = "shmlog-writer";
	argv[count++] = "-r";
	argv[count++] = soak->ring;
	argv[count++] = "-d";
	argv[count++] = soak->directory;
	for (size_t i = 0; i < sizeof(geometry) / sizeof(geometry[0]); i++)
		argv[count++] = geometry[i];
	for (size_t i = 0; soak->options[i]; i++)
		argv[count++] = soak->options[i];
	argv[count++] = last;
	argv[count] = NULL;
}

static void start_writer(struct soak *soak)
{
	const char *argv[32];

	fill_arguments(soak, argv, NULL);
	soak->writer = (struct process){ .pid = program_start(argv, soak->errors) };
	totals.writers++;
}

static void kill_writer(struct soak *soak)
{
	int status;

	(void)kill(soak->writer.pid, SIGKILL);
	if (waitpid(soak->writer.pid, &status, 0) != soak->writer.pid)
		broken("waitpid: %s", strerror(errno));
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		violated("a writer ended by itself, with status %#x", (unsigned)status);
	soak->writer = (struct process){ 0 };
	totals.writer_kills++;
}

/* Sometimes again and again, while it still recovers. */
static void replace_writer(struct soak *soak)
{
	kill_writer(soak);
	while (below(soak, 3) == 0) {
		start_writer(soak);
		nap(below(soak, 8000));
		kill_writer(soak);
	}
	nap(below(soak, 4) ? 0 : below(soak, 100000));
	start_writer(soak);
}

/* ---- producers ---- */

static void start_source(struct soak *soak)
{
	const unsigned number = soak->started * PRODUCER_NUMBERS;
	const uint64_t seed = random_next(&soak->random);
	char texts[2][24];
	const char *const argv[] = { soak->program, soak->ring, soak->journal_path,
				     texts[0],      texts[1],   NULL };
	const unsigned at = (unsigned)below(soak, SOURCES_MAX);
	pid_t pid;

	if (soak->sources[at].pid || soak->started == STARTS_MAX)
		return;
	(void)snprintf(texts[0], sizeof(texts[0]), "%u", number);
	(void)snprintf(texts[1], sizeof(texts[1]), "%llu", (unsigned long long)seed);
	if (below(soak, 2)) {
		pid = program_start(argv, soak->errors);
	} else {
		pid = fork();
		if (pid == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(producer_run(soak->ring, soak->journal_path, number, seed));
		}
	}
	soak->sources[at] = (struct process){ .pid = pid };
	soak->started++;
	totals.sources++;
}

static struct process *any_source(struct soak *soak)
{
	struct process *source = &soak->sources[below(soak, SOURCES_MAX)];

	return source->pid ? source : NULL;
}

/* Told to end before it took signals: that ends it, too. */
static void reap_source(struct process *source, int status)
{
	if (status != 0 && status != 128 + SIGTERM)
		violated("a producer ended with %d", status);
	*source = (struct process){ 0 };
}

static void kill_source(struct soak *soak)
{
	struct process *source = any_source(soak);

	if (!source || !soak->may_kill_producers)
		return;
	(void)kill(source->pid, SIGKILL);
	(void)waitpid(source->pid, NULL, 0);
	*source = (struct process){ 0 };
	totals.source_kills++;
}

/* It may be waiting for room, behind one that is stopped: its end is looked for later. */
static void end_source(struct soak *soak)
{
	struct process *source = any_source(soak);

	if (!source)
		return;
	(void)kill(source->pid, SIGTERM);
}

static int exit_status(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void reap_sources(struct soak *soak)
{
	for (unsigned i = 0; i < SOURCES_MAX; i++) {
		struct process *source = &soak->sources[i];
		int status;

		if (source->pid && waitpid(source->pid, &status, WNOHANG) == source->pid)
			reap_source(source, exit_status(status));
	}
}

static void toggle_stop(struct process *process)
{
	if (!process || !process->pid)
		return;
	(void)kill(process->pid, process->is_stopped ? SIGCONT : SIGSTOP);
	process->is_stopped = !process->is_stopped;
	totals.stops++;
}

/* ---- requests ---- */

/* 0 done, 69 no writer was there. */
static void reap_asker(struct process *asker, int status)
{
	if (status != 0 && status != 69)
		violated("shmlog-ctl ended with %d", status);
	*asker = (struct process){ 0 };
}

static void reap_askers(struct soak *soak)
{
	for (unsigned i = 0; i < ASKERS_MAX; i++) {
		struct process *asker = &soak->askers[i];
		int status;

		if (asker->pid && waitpid(asker->pid, &status, WNOHANG) == asker->pid)
			reap_asker(asker, exit_status(status));
	}
}

static void ask(struct soak *soak)
{
	static const char *const requests[] = { "flush", "rotate" };
	static const int signals[] = { SIGUSR1, SIGHUP, SIGUSR2 };
	const char *const argv[] = { "shmlog-ctl", requests[below(soak, 2)], soak->ring, NULL };
	struct process *asker = &soak->askers[below(soak, ASKERS_MAX)];

	reap_askers(soak);
	totals.requests++;
	if (!asker->pid && below(soak, 2))
		asker->pid = program_start(argv, soak->scratch);
	else if (soak->writer.pid && program_writer_is_at_work(soak->ring, soak->writer.pid))
		(void)kill(soak->writer.pid, signals[below(soak, 3)]);
}

/* ---- a round ---- */

static void step(struct soak *soak)
{
	reap_sources(soak);
	switch (below(soak, 16)) {
	case 0:
	case 1:
		replace_writer(soak);
		break;
	case 2:
		toggle_stop(&soak->writer);
		break;
	case 3:
	case 4:
		toggle_stop(any_source(soak));
		break;
	case 5:
		kill_source(soak);
		break;
	case 6:
		end_source(soak);
		break;
	case 7:
	case 8:
		ask(soak);
		break;
	default:
		start_source(soak);
	}
}

static void go_on(struct process *process)
{
	if (process->pid && process->is_stopped)
		toggle_stop(process);
}

/* Children of producers that were killed are ours by now, and killed, too. */
static bool are_orphans_gone(void *unused)
{
	(void)unused;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

static void end_sources(struct soak *soak)
{
	for (unsigned i = 0; i < SOURCES_MAX; i++)
		go_on(&soak->sources[i]);
	for (unsigned i = 0; i < SOURCES_MAX; i++)
		if (soak->sources[i].pid)
			(void)kill(soak->sources[i].pid, SIGTERM);
	for (unsigned i = 0; i < SOURCES_MAX; i++)
		if (soak->sources[i].pid)
			reap_source(&soak->sources[i], program_wait(soak->sources[i].pid, END_MS));
	for (unsigned i = 0; i < ASKERS_MAX; i++)
		if (soak->askers[i].pid)
			reap_asker(&soak->askers[i], program_wait(soak->askers[i].pid, END_MS));
}

static bool is_writer_at_work(void *argument)
{
	const struct soak *soak = argument;

	return program_writer_is_at_work(soak->ring, soak->writer.pid);
}

/* The kernel may take a moment to drop a dead producer's locks: what the first writer could not
 * know yet the second one names. */
static void end_writers(struct soak *soak)
{
	const char *argv[32];
	int status;

	(void)program_wait_until(is_writer_at_work, soak, END_MS, "the last writer's start");
	(void)kill(soak->writer.pid, SIGTERM);
	status = program_wait(soak->writer.pid, END_MS);
	if (status != 0)
		violated("the writer ended with %d", status);
	soak->writer = (struct process){ 0 };
	(void)program_wait_until(are_orphans_gone, NULL, END_MS, "the end of orphans");
	fill_arguments(soak, argv, "--once");
	status = program_run(argv, soak->errors, END_MS);
	if (status != 0)
		violated("the last writer ended with %d", status);
	totals.writers += 1;
}

/* What the ring's counters say. */
static uint64_t counted_drops(const struct soak *soak)
{
	static const char key[] = "\"dropped\":";
	const char *const argv[] = { "shmlog-stat", "-j", "-r", soak->ring, NULL };
	char line[65536];
	pid_t pid;
	FILE *stream = program_read(argv, &pid);
	const char *at = fgets(line, sizeof(line), stream) ? strstr(line, key) : NULL;

	if (!at)
		broken("shmlog-stat does not name drops");
	(void)program_close(stream, pid);
	return strtoull(at + sizeof(key) - 1, NULL, 10);
}

/* A push that was killed on its way may have been a drop: it is one if it is not in the log. */
static void compare_drops(const struct soak *soak, const struct journal_totals *journal)
{
	const uint64_t unknown = journal->tried - (journal->found - journal->published);
	const uint64_t most = journal->dropped + unknown;
	const uint64_t counted = counted_drops(soak);
	const uint64_t marked = oracle_lost(soak->directory);

	if (marked != counted)
		violated("%llu drops are counted, %llu are marked in the log",
			 (unsigned long long)counted, (unsigned long long)marked);
	if (counted < journal->dropped || counted > most)
		violated("%llu drops are counted, producers know of %llu, at most %llu",
			 (unsigned long long)counted, (unsigned long long)journal->dropped,
			 (unsigned long long)most);
	totals.marked += marked;
}

static void compare(const struct soak *soak)
{
	struct journal_totals journal;

	oracle_compare(soak->journal, soak->directory, soak->scratch, &journal);
	if (violations() == 0)
		compare_drops(soak, &journal);
	oracle_ring_is_empty(soak->ring);
	oracle_all_is_sealed(soak->directory);
	totals.published += journal.published;
	totals.dropped += journal.dropped;
	totals.records += journal.found;
}

static void begin_round(struct soak *soak)
{
	work_begin(soak->ring, soak->directory);
	(void)unlink(soak->journal_path);
	(void)unlink(soak->errors);
	soak->journal = journal_create(soak->journal_path, STARTS_MAX * PRODUCER_NUMBERS,
				       PRODUCER_RECORDS_MAX);
	soak->options = kinds_of_writers[below(soak, sizeof(kinds_of_writers) /
							     sizeof(kinds_of_writers[0]))];
	soak->may_kill_producers = totals.rounds % 2;
	soak->started = 0;
	start_writer(soak);
	(void)program_wait_until(work_ring_exists, soak->ring, END_MS, "the ring");
}

static void run_round(struct soak *soak, int64_t until_ms)
{
	begin_round(soak);
	while (now_ms() < until_ms && violations() == 0) {
		step(soak);
		nap(below(soak, STEP_MAX_US));
	}
	go_on(&soak->writer);
	end_sources(soak);
	end_writers(soak);
	compare(soak);
	journal_destroy(soak->journal);
	totals.rounds++;
	totals.exact_rounds += !soak->may_kill_producers;
}

static void print_totals(void)
{
	printf("soak: %llu rounds; %llu writers, %llu killed; %llu producers, %llu killed; %llu "
	       "times "
	       "stopped or continued; %llu requests\n",
	       (unsigned long long)totals.rounds, (unsigned long long)totals.writers,
	       (unsigned long long)totals.writer_kills, (unsigned long long)totals.sources,
	       (unsigned long long)totals.source_kills, (unsigned long long)totals.stops,
	       (unsigned long long)totals.requests);
	printf("soak: %llu records published, %llu found; %llu dropped, %llu marked, exact in %llu "
	       "rounds; %llu violations\n",
	       (unsigned long long)totals.published, (unsigned long long)totals.records,
	       (unsigned long long)totals.dropped, (unsigned long long)totals.marked,
	       (unsigned long long)totals.exact_rounds, (unsigned long long)violations());
}

int main(int argc, char **argv)
{
	const int64_t start_ms = now_ms();
	struct soak soak = { 0 };
	int64_t end_ms;
	uint64_t seed;

	if (argc != 3)
		broken("usage: soak SECONDS SEED");
	seed = argv[2][0] ? strtoull(argv[2], NULL, 10) : (uint64_t)time(NULL);
	end_ms = start_ms + 1000 * strtoll(argv[1], NULL, 10);
	soak.random = random_state(seed);
	printf("soak: T=%s SEED=%llu\n", argv[1], (unsigned long long)seed);
	(void)fflush(stdout);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	work_open(NULL, "soak");
	work_ring_name(soak.ring);
	work_path(soak.directory, "log");
	work_path(soak.errors, "errors");
	work_path(soak.scratch, "scratch");
	work_path(soak.journal_path, "journal");
	(void)snprintf(soak.program, sizeof(soak.program), "%s",
		       program_path("tests/crash-writer/soak_producer"));
	while (now_ms() < end_ms && violations() == 0) {
		const int64_t round_end = now_ms() + ROUND_MS;

		run_round(&soak, round_end < end_ms ? round_end : end_ms);
	}
	if (violations())
		work_print(soak.errors);
	print_totals();
	return violations() ? 1 : 0;
}
