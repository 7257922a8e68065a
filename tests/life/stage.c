/*
 * stage.c - rings, writers, children of one scenario. See stage.h.
 */
#include "stage.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *self_path;

unsigned stage_count(const struct stage *stage, unsigned bounded, unsigned full)
{
	return stage->full ? full : bounded;
}

void stage_skip(const struct stage *stage, const char *why)
{
	printf("SKIPPED: life %s: %s\n", stage->scenario, why);
	(void)fflush(stdout);
	_exit(EXIT_SKIPPED);
}

/* ---- rings and writers ---- */

void stage_make_ring(struct stage *stage, const char *ring, unsigned lanes)
{
	char count[16];
	const char *const argv[] = { "shmlog-ctl", "create",      ring,  "--lanes",
				     count,        "--lane-size", "64K", NULL };

	(void)snprintf(count, sizeof(count), "%u", lanes);
	if (program_run(argv, stage->errors, DEADLINE_MS) != 0)
		broken("%s: the ring %s cannot be made", stage->scenario, ring);
}

void stage_start_writer(struct stage *stage)
{
	static const char *const options[] = { "--flush-interval", "2ms", "--sync", "none", NULL };

	stage->writer = program_start_writer(stage->ring, stage->log, options, stage->errors);
	if (stage->writer == 0)
		broken("%s: the writer did not start: see %s", stage->scenario, stage->errors);
}

void stage_stop_writer(struct stage *stage)
{
	int status;

	kill(stage->writer, SIGTERM);
	status = program_wait(stage->writer, DEADLINE_MS);
	if (status != 0)
		violated("%s: the writer ended with %d", stage->scenario, status);
	stage->writer = 0;
}

void stage_kill_writer(struct stage *stage)
{
	kill(stage->writer, SIGKILL);
	(void)program_wait(stage->writer, DEADLINE_MS);
	stage->writer = 0;
}

void stage_open(struct stage *stage, unsigned lanes)
{
	stage_make_ring(stage, stage->ring, lanes);
	stage_start_writer(stage);
}

void stage_check_log(struct stage *stage, const char *log)
{
	const char *const records[] = { "shmlog-cat", "-o", "raw", log, NULL };
	struct journal_totals totals;
	pid_t pid;
	FILE *stream = program_read(records, &pid);
	int status;

	(void)journal_check(stage->journal, stream, DEMAND_PUBLISHED, &totals);
	status = program_close(stream, pid);
	if (status != 0)
		violated("%s: shmlog-cat ended with %d over a sound log", stage->scenario, status);
	stage->figures->published += totals.published;
	stage->figures->tried += totals.tried;
	stage->figures->dropped += totals.dropped;
}

/* Without --force it says whether somebody holds a lane, or something was left in one. */
void stage_remove_ring(struct stage *stage)
{
	const char *const argv[] = { "shmlog-ctl", "remove", stage->ring, NULL };

	if (program_run(argv, stage->errors, DEADLINE_MS) != 0)
		violated("%s: the ring is still held, or not drained", stage->scenario);
}

void stage_close(struct stage *stage)
{
	stage_stop_writer(stage);
	stage_check_log(stage, stage->log);
	stage_remove_ring(stage);
}

uint64_t stage_lost(const struct stage *stage)
{
	const char *const argv[] = { "shmlog-cat", "-o", "json", stage->log, NULL };
	uint64_t lost = 0;
	char line[4096];
	pid_t pid;
	FILE *stream = program_read(argv, &pid);

	while (fgets(line, sizeof(line), stream)) {
		const char *at = strstr(line, "\"lost\":");

		if (at)
			lost += strtoull(at + 7, NULL, 10);
	}
	(void)program_close(stream, pid);
	return lost;
}

uint64_t stage_dropped(struct shmlog *log)
{
	struct shmlog_stats stats = { .size = sizeof(stats) };

	if (shmlog_get_stats(log, &stats) < 0)
		broken("shmlog_get_stats");
	return stats.dropped;
}

struct shmlog *stage_attach(const struct stage *stage, const char *name)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log;

	options.name = name ? name : "life";
	if (shmlog_attach(stage->ring, &options, &log) < 0)
		broken("%s: attach: %s", stage->scenario, shmlog_reason());
	return log;
}

/* ---- time and the board ---- */

void nap_ms(unsigned ms)
{
	struct timespec end;

	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += (long)ms * 1000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	/* By the clock, not by what is left: in a storm of signals that never comes to its end. */
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
		;
}

int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

uint32_t board_read(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

uint32_t board_add(uint32_t *word, uint32_t by)
{
	const uint32_t sum = __atomic_add_fetch(word, by, __ATOMIC_SEQ_CST);

	(void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	return sum;
}

/* Asleep, not by naps: hundreds of napping processes leave nobody else time to run. */
static bool board_sleep(const uint32_t *word, uint32_t at_least, int64_t deadline)
{
	uint32_t seen;

	while ((seen = board_read(word)) < at_least) {
		const int64_t left = deadline - clock_ms(); /* ms */
		const struct timespec time = { left / 1000, left % 1000 * 1000000 };

		if (left <= 0)
			return false;
		(void)syscall(SYS_futex, word, FUTEX_WAIT, seen, &time, NULL, 0);
	}
	return true;
}

void board_wait(const uint32_t *word, uint32_t at_least, const char *what)
{
	if (!board_sleep(word, at_least, clock_ms() + DEADLINE_MS))
		violated("waited in vain: %s (%u of %u)", what, board_read(word), at_least);
}

/* ---- pushing ---- */

void push_some(const struct stage *stage, struct shmlog *log, unsigned producer, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const int r = journal_push(stage->journal, log, producer, WAIT_NS);

		if (r < 0) {
			violated("%s: producer %u cannot publish: %s", stage->scenario, producer,
				 shmlog_strerror(r));
			return;
		}
	}
}

void push_until_stopped(const struct stage *stage, struct shmlog *log, unsigned producer)
{
	push_some(stage, log, producer, 1);
	board_add(&stage->board->ready, 1);
	/* Short naps: two processors are shared, and a journal holds only so many. */
	for (unsigned i = 0; !board_read(&stage->board->stop) && i < RECORDS_MAX / 20; i++) {
		push_some(stage, log, producer, 16);
		nap_ms(1);
	}
	(void)board_sleep(&stage->board->stop, 1, INT64_MAX);
	push_some(stage, log, producer, 1);
}

struct crew_member {
	pthread_t thread;
	const struct crew *crew;
	unsigned producer;
};

static void *work(void *argument)
{
	const struct crew_member *member = argument;

	push_until_stopped(member->crew->stage, member->crew->log, member->producer);
	return NULL;
}

void crew_start(struct crew *crew, const struct stage *stage, struct shmlog *log, unsigned first,
		unsigned count)
{
	const uint32_t ready = board_read(&stage->board->ready);

	*crew = (struct crew){ .stage = stage, .log = log, .first = first, .count = count };
	crew->members = calloc(count, sizeof(*crew->members));
	for (unsigned i = 0; i < count; i++) {
		crew->members[i] = (struct crew_member){ .crew = crew, .producer = first + i };
		if (pthread_create(&crew->members[i].thread, NULL, work, &crew->members[i]) != 0)
			broken("pthread_create");
	}
	board_wait(&stage->board->ready, ready + count, "the first push of each thread");
}

void crew_stop(struct crew *crew)
{
	board_add(&crew->stage->board->stop, 1);
	crew_join(crew);
}

void crew_join(struct crew *crew)
{
	for (unsigned i = 0; i < crew->count; i++)
		pthread_join(crew->members[i].thread, NULL);
	crew->stage->figures->lives += crew->count;
	free(crew->members);
}

/* ---- children ---- */

pid_t stage_fork(const struct stage *stage, child_body *body, struct shmlog *log, unsigned number)
{
	const pid_t pid = fork();

	if (pid < 0)
		broken("fork: %s", strerror(errno));
	if (pid == 0) {
		const uint64_t before = violations();

		body(stage, log, number);
		_exit(violations() == before ? 0 : 1);
	}
	__atomic_add_fetch(&stage->figures->lives, 1, __ATOMIC_RELAXED);
	return pid;
}

void stage_expect(const struct stage *stage, pid_t pid, int status)
{
	const int got = program_wait(pid, DEADLINE_MS);

	if (got != status)
		violated("%s: a process ended with %d, not %d", stage->scenario, got, status);
}

void stage_join(const struct stage *stage, pid_t pid)
{
	stage_expect(stage, pid, 0);
}

/* ---- what a process holds ---- */

void expect_no_descriptor(const char *who)
{
	DIR *directory = opendir("/proc/self/fd");
	const struct dirent *entry;

	if (!directory)
		broken("/proc/self/fd: %s", strerror(errno));
	while ((entry = readdir(directory))) {
		char target[512];
		const ssize_t size =
			readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);

		if (size <= 0)
			continue;
		target[size] = '\0';
		if (strstr(target, "/shmlog."))
			violated("%s has descriptor %s of %s", who, entry->d_name, target);
	}
	(void)closedir(directory);
}

unsigned count_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned count = 0;
	char line[1024];

	if (!maps)
		broken("/proc/self/maps: %s", strerror(errno));
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "/shmlog.") != NULL;
	(void)fclose(maps);
	return count;
}

uint64_t address_space(void)
{
	FILE *statm = fopen("/proc/self/statm", "re");
	unsigned long pages = 0;

	if (!statm || fscanf(statm, "%lu", &pages) != 1)
		broken("/proc/self/statm");
	(void)fclose(statm);
	return (uint64_t)pages * 4096;
}

/* ---- a program of its own ---- */

void probe_argv(const struct stage *stage, unsigned producer, unsigned count, bool wants_own,
		const char *ret_argv[8])
{
	static char path[PATH_MAX], number[16], records[16];

	(void)snprintf(path, sizeof(path), "%s/journal", stage->directory);
	(void)snprintf(number, sizeof(number), "%u", producer);
	(void)snprintf(records, sizeof(records), "%u", count);
	ret_argv[0] = self_path;
	ret_argv[1] = "--probe";
	ret_argv[2] = stage->ring;
	ret_argv[3] = path;
	ret_argv[4] = number;
	ret_argv[5] = records;
	ret_argv[6] = wants_own ? "own" : "any";
	ret_argv[7] = NULL;
}

/* --probe RING JOURNAL PRODUCER RECORDS own|any: nothing is inherited, and a lane is to be had. */
int probe(char **argv)
{
	struct journal *journal = journal_open(argv[1]);
	const unsigned producer = (unsigned)atoi(argv[2]);
	struct shmlog_stats stats = { .size = sizeof(stats) };
	struct shmlog *log;

	expect_no_descriptor("a new program");
	if (count_mappings() != 0)
		violated("a new program has mappings of a ring");
	if (shmlog_attach(argv[0], NULL, &log) < 0)
		broken("probe: %s", shmlog_reason());
	for (int i = 0; i < atoi(argv[3]); i++)
		if (journal_push(journal, log, producer, WAIT_NS) < 0)
			violated("a new program cannot publish");
	if (strcmp(argv[4], "own") == 0 && shmlog_get_stats(log, &stats) == 0 && stats.lanes != 1)
		violated("the lane of the program before was not free");
	shmlog_detach(&log);
	return violations() ? 1 : 0;
}
