/*
 * producer.c - one process that publishes in all ways that the library offers. See producer.h.
 */
#include "producer.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "journal.h"
#include "random.h"

enum { BURST_MAX = 120, NAP_MAX_US = 6000, CHANCES = 1000 };

struct producer {
	const char *ring;
	struct journal *journal;
	struct shmlog *log;
	unsigned number; /* of this binding */
	unsigned bindings_left;
	uint64_t random;
	bool is_child;
	pid_t child;
};

static volatile sig_atomic_t is_told_to_end;

static void take_signal(int signal)
{
	(void)signal;
	is_told_to_end = 1;
}

static bool has_chance(struct producer *producer, unsigned of_thousand)
{
	return random_below(&producer->random, CHANCES) < of_thousand;
}

static int attach(struct producer *producer)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	int r;

	options.name = producer->is_child ? "forked" : "soak";
	r = shmlog_attach(producer->ring, &options, &producer->log);
	if (r < 0)
		(void)fprintf(stderr, "producer %u: attach: %s\n", producer->number,
			      shmlog_reason());
	return r;
}

/* A claim that is given up was never counted: its serial is used for the next record. */
static int claim(struct producer *producer, bool is_aborted)
{
	const uint32_t serial = journal_next(producer->journal, producer->number);
	struct shmlog_claim claim;
	char text[JOURNAL_TEXT_MAX];
	const size_t size = journal_text(producer->number, serial, text);
	int r;

	journal_note(producer->journal, producer->number, serial, JOURNAL_TRIED);
	r = shmlog_claim(producer->log, SHMLOG_INFO, sizeof(text), &claim);
	if (r == 0 && is_aborted) {
		r = shmlog_abort(producer->log, &claim);
		journal_note(producer->journal, producer->number, serial, JOURNAL_NONE);
		return r;
	}
	if (r == 0) {
		memcpy(claim.data, text, size);
		r = shmlog_commit(producer->log, &claim, size);
	}
	journal_note(producer->journal, producer->number, serial,
		     r == 0 ? JOURNAL_PUBLISHED : JOURNAL_DROPPED);
	return r;
}

/* Whether a drop or not, is noted; anything else is an error. */
static bool publish(struct producer *producer)
{
	static const int64_t timeouts[] = { 0, 0, 0, 0, -1, -1, 1000000 };
	const unsigned way = (unsigned)random_below(&producer->random, 10);
	int r;

	if (way < 2)
		r = claim(producer, way == 0);
	else
		r = journal_push(producer->journal, producer->log, producer->number,
				 timeouts[random_below(&producer->random, 7)]);
	if (r == 0 || r == -EAGAIN || r == -ETIMEDOUT)
		return true;
	(void)fprintf(stderr, "producer %u: push: %s\n", producer->number, shmlog_strerror(r));
	return false;
}

static void nap(struct producer *producer)
{
	const struct timespec time = {
		.tv_nsec = (long)random_below(&producer->random, NAP_MAX_US) * 1000
	};

	(void)nanosleep(&time, NULL);
}

static bool is_full(const struct producer *producer)
{
	return journal_next(producer->journal, producer->number) + BURST_MAX + 1 >=
	       PRODUCER_RECORDS_MAX;
}

static bool publish_until_told(struct producer *producer);

/* The child is a producer of its own, with the handle of its parent. */
static bool fork_one(struct producer *producer)
{
	const pid_t parent = getpid();
	struct producer forked = *producer;

	producer->child = fork();
	if (producer->child != 0)
		return producer->child > 0;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	forked.is_child = true;
	forked.number += forked.bindings_left + 1;
	forked.bindings_left = PRODUCER_BINDINGS - 1;
	forked.random = random_state(forked.random + forked.number);
	_exit(publish_until_told(&forked) ? 0 : 1);
}

/* The handle's, or the thread's: what it publishes from now on is in another lane's order. */
static bool bind_anew(struct producer *producer)
{
	producer->bindings_left--;
	producer->number++;
	if (has_chance(producer, CHANCES / 2))
		return shmlog_unbind(producer->log) == 0;
	shmlog_detach(&producer->log);
	return attach(producer) == 0;
}

/* What happens between two bursts, now and then. */
static bool live_on(struct producer *producer)
{
	if (producer->bindings_left && has_chance(producer, 30))
		return bind_anew(producer);
	if (has_chance(producer, 20))
		(void)shmlog_sync(producer->log, SHMLOG_SYNC_WRITTEN, 50000000);
	if (!producer->is_child && !producer->child && has_chance(producer, 30))
		return fork_one(producer);
	nap(producer);
	return true;
}

static bool publish_until_told(struct producer *producer)
{
	while (!is_told_to_end && !is_full(producer)) {
		const uint64_t burst = random_below(&producer->random, BURST_MAX) + 1;

		for (uint64_t i = 0; i < burst; i++)
			if (!publish(producer))
				return false;
		if (!live_on(producer))
			return false;
	}
	return true;
}

static bool end_child(const struct producer *producer)
{
	int status;

	if (!producer->child)
		return true;
	(void)kill(producer->child, SIGTERM);
	return waitpid(producer->child, &status, 0) == producer->child && status == 0;
}

int producer_run(const char *ring, const char *journal_path, unsigned producer, uint64_t seed)
{
	struct producer self = { .ring = ring,
				 .journal = journal_open(journal_path),
				 .number = producer,
				 .bindings_left = PRODUCER_BINDINGS - 1,
				 .random = random_state(seed) };
	const struct sigaction action = { .sa_handler = take_signal, .sa_flags = SA_RESTART };
	bool is_good;

	(void)sigaction(SIGTERM, &action, NULL);
	if (attach(&self) < 0)
		return 1;
	is_good = publish_until_told(&self);
	is_good = end_child(&self) && is_good;
	shmlog_detach(&self.log);
	return is_good ? 0 : 1;
}
