/*
 * claims.c - claims that are left open, and claims that are given up.
 *
 *	claims RING left-open    claim, push 100 records behind the claim, die by SIGKILL
 *	claims RING abort        100 times: claim the maximum, give it up, sync; then push and sync
 *	claims RING abort-burst  the same without a sync in between: what is full becomes free
 *
 * Prints each record that was published, so that the log can be compared with it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shmlog.h"

#define DEADLINE_NS (10 * INT64_C(1000000000))

enum { ROUNDS = 100 };

static int fail(const char *what, int error)
{
	fprintf(stderr, "claims: %s: %s\n", what, shmlog_strerror(error));
	return 1;
}

static int push_number(struct shmlog *log, int i)
{
	char line[32];
	const int size = sprintf(line, "record %d", i);
	const int error = shmlog_try_push(log, line, (size_t)size);

	if (error == 0)
		puts(line);
	return error;
}

static int leave_open(struct shmlog *log)
{
	struct shmlog_claim claim;
	int error = shmlog_claim(log, SHMLOG_INFO, 100, &claim);

	if (error)
		return fail("claim", error);
	memset(claim.data, '!', claim.size);
	for (int i = 0; i < ROUNDS; i++) {
		error = push_number(log, i);
		if (error)
			return fail("push behind a claim", error);
	}
	fflush(stdout);
	raise(SIGKILL);
	return 1;
}

/* Aborted claims take room until the writer has passed them: it must, also with nothing to write.
 */
static int claim_maximum(struct shmlog *log, struct shmlog_claim *ret)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int error = -EAGAIN;

	for (int i = 0; i < 10000 && error == -EAGAIN; i++) {
		error = shmlog_claim(log, SHMLOG_INFO, shmlog_record_max(log), ret);
		if (error == -EAGAIN)
			nanosleep(&pause, NULL);
	}
	return error;
}

static int claim_and_abort(struct shmlog *log, int with_sync)
{
	struct shmlog_claim claim;
	int error = claim_maximum(log, &claim);

	if (error)
		return fail("claim of the maximum", error);
	memset(claim.data, '!', claim.size);
	error = shmlog_abort(log, &claim);
	if (error)
		return fail("abort", error);
	if (with_sync)
		error = shmlog_sync(log, SHMLOG_SYNC_WRITTEN, DEADLINE_NS);
	return error ? fail("sync behind an abort", error) : 0;
}

static int give_up(struct shmlog *log, int with_sync)
{
	int error;

	for (int i = 0; i < ROUNDS; i++) {
		if (claim_and_abort(log, with_sync))
			return 1;
	}
	error = shmlog_push_wait(log, SHMLOG_INFO, "behind", 6, DEADLINE_NS);
	if (!error)
		error = shmlog_sync(log, SHMLOG_SYNC_DURABLE, DEADLINE_NS);
	if (error)
		return fail("push and sync behind aborts", error);
	puts("behind");
	return 0;
}

int main(int argc, char **argv)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log;

	if (argc != 3)
		return fprintf(stderr, "usage: claims RING left-open|abort|abort-burst\n"), 64;
	options.name = "claims";
	if (shmlog_attach(argv[1], &options, &log) < 0)
		return fprintf(stderr, "claims: %s\n", shmlog_reason()), 1;
	if (strcmp(argv[2], "left-open") == 0)
		return leave_open(log);
	return give_up(log, strcmp(argv[2], "abort") == 0);
}
