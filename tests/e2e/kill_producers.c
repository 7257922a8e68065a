/*
 * kill_producers.c - producers that are killed by SIGKILL, one after the other, at any instruction.
 *
 *	kill_producers RING COUNT SEED
 *
 * Each child publishes numbered records ("CHILD NUMBER PADDING") as fast as it can and notes in
 * memory that outlives it how many pushes returned 0. Prints "CHILD PUBLISHED" for each: of child c
 * the log must hold the records 0 .. PUBLISHED - 1, in order, once, and perhaps one more, whose
 *push was killed on its way back.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shmlog.h"

enum { LINE_MAX_SIZE = 256, DEADLINE_MS = 10000 };

/* How a child publishes. */
enum manner { PUSH, CLAIM_COMMIT, CLAIM_LEFT_OPEN, CLAIM_ABORT, MANNERS };

static int format_line(char *line, unsigned child, uint64_t number)
{
	const int padding = (int)(number * 37 % 150);
	int length = sprintf(line, "%u %llu ", child, (unsigned long long)number);

	memset(line + length, 'x', (size_t)padding);
	return length + padding;
}

static int claim_and_commit(struct shmlog *log, const char *line, size_t size)
{
	struct shmlog_claim claim;
	int error = shmlog_claim(log, SHMLOG_INFO, LINE_MAX_SIZE, &claim);

	if (error)
		return error;
	memcpy(claim.data, line, size);
	return shmlog_commit(log, &claim, size);
}

static void claim_and_abort(struct shmlog *log)
{
	struct shmlog_claim claim;

	if (shmlog_claim(log, SHMLOG_INFO, 1000, &claim) == 0)
		shmlog_abort(log, &claim);
}

static int publish(struct shmlog *log, enum manner manner, unsigned child, uint64_t number)
{
	char line[LINE_MAX_SIZE];
	const size_t size = (size_t)format_line(line, child, number);

	if (manner == CLAIM_ABORT && number % 5 == 0)
		claim_and_abort(log);
	if (manner == CLAIM_COMMIT && claim_and_commit(log, line, size) == 0)
		return 0;
	return shmlog_push_wait(log, SHMLOG_INFO, line, size, -1);
}

static _Noreturn void be_child(const char *ring, unsigned child, volatile uint64_t *published)
{
	const enum manner manner = child % MANNERS;
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog_claim left_open;
	struct shmlog *log;

	options.name = "victim";
	if (shmlog_attach(ring, &options, &log) < 0) {
		fprintf(stderr, "kill_producers: child %u: %s\n", child, shmlog_reason());
		_exit(1);
	}
	if (manner == CLAIM_LEFT_OPEN)
		(void)shmlog_claim(log, SHMLOG_INFO, 1000, &left_open);
	for (uint64_t number = 0;; number++) {
		const int error = publish(log, manner, child, number);

		if (error) {
			fprintf(stderr, "kill_producers: child %u: record %llu: %s\n", child,
				(unsigned long long)number, shmlog_strerror(error));
			_exit(1);
		}
		*published = number + 1;
	}
}

static void sleep_us(long us)
{
	const struct timespec time = { .tv_nsec = us * 1000 };

	nanosleep(&time, NULL);
}

/* Every other child is killed after it has published something, the rest at any moment. */
static int wait_for_first(unsigned child, volatile const uint64_t *published)
{
	if (child % 2)
		return 0;
	for (int i = 0; i < DEADLINE_MS * 20 && *published == 0; i++)
		sleep_us(50);
	if (*published == 0)
		return fprintf(stderr, "kill_producers: child %u: published nothing\n", child), 1;
	return 0;
}

static int kill_one(const char *ring, unsigned child, volatile uint64_t *published)
{
	int status, failed;
	const pid_t pid = fork();

	if (pid < 0)
		return perror("fork"), 1;
	if (pid == 0)
		be_child(ring, child, published);
	failed = wait_for_first(child, published);
	sleep_us(random() % 1000);
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
		return 1;
	printf("%u %llu\n", child, (unsigned long long)*published);
	return failed;
}

int main(int argc, char **argv)
{
	const unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
	uint64_t *published;
	int failed = 0;

	if (argc != 4)
		return fprintf(stderr, "usage: kill_producers RING COUNT SEED\n"), 64;
	srandom((unsigned)atoi(argv[3]));
	published = mmap(NULL, (count + 1) * sizeof(*published), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (published == MAP_FAILED)
		return perror("mmap"), 71;
	for (unsigned child = 0; child < count && !failed; child++)
		failed = kill_one(argv[1], child, &published[child]);
	return failed;
}
