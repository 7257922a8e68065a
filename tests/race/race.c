/*
 * race.c - producers, the writer and its second thread in one process, for ThreadSanitizer.
 *
 *	race DIRECTORY
 *
 * The real library and the real writer (session_run) over one mapping (one_mapping.c): threads
 * push, wait, claim, sync, unbind and come and go, in own lanes and in lane 0, while the ring is
 * drained into DIRECTORY. ThreadSanitizer reports what is not ordered; the journal is compared
 * besides.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "journal.h"
#include "program.h"
#include "session.h"
#include "shmlog.h"

enum {
	THREADS = 8, /* at a time; the ring has fewer lanes */
	LIVES = 6,   /* of each: a thread that ends, and another in its place */
	RECORDS = 2000,
	PRODUCERS = 2 * THREADS * LIVES, /* of the journal: a thread's two bindings are two */
	START_MS = 20000,
};

static char ring[64];
static struct journal *journal;
static struct shmlog *handle;
static pthread_barrier_t all_are_there;

/* ---- the writer ---- */

static void *be_writer(void *argument)
{
	static struct config config;
	const char *const argv[] = { "race",       "-r",     ring,   "-d",     argument,
				     "--max-file", "1M",     "--io", "pwrite", "--flush-interval",
				     "1ms",        "--sync", "page", NULL };
	const int argc = (int)(sizeof(argv) / sizeof(argv[0])) - 1;

	if (config_load(argc, (char **)(uintptr_t)argv, &config) != 0)
		broken("the writer's configuration");
	if (session_run(&config, &sys_real, io_open) < 0)
		violated("the writer ended: %s", reason_get());
	return NULL;
}

static bool has_writer(void *argument)
{
	(void)argument;
	return shmlog_sync(handle, SHMLOG_SYNC_WRITTEN, 0) != -ESRCH;
}

/* ---- producers ---- */

static void claim_one(unsigned producer)
{
	const uint32_t serial = journal_next(journal, producer);
	struct shmlog_claim claim;
	char text[JOURNAL_TEXT_MAX];
	const size_t size = journal_text(producer, serial, text);
	int r;

	journal_note(journal, producer, serial, JOURNAL_TRIED);
	r = shmlog_claim(handle, SHMLOG_INFO, sizeof(text), &claim);
	if (r == 0 && serial % 2) {
		shmlog_abort(handle, &claim);
		r = -ECANCELED;
	} else if (r == 0) {
		memcpy(claim.data, text, size);
		r = shmlog_commit(handle, &claim, size);
	}
	journal_note(journal, producer, serial, r == 0 ? JOURNAL_PUBLISHED : JOURNAL_DROPPED);
}

/* Every other producer never waits for the ring, but gives it time: so laps go round without the
 * words of a wait, whose own order would hide that another is missing. */
static void pace(unsigned producer, unsigned i)
{
	const struct timespec time = { .tv_nsec = 2000000 };

	if (producer % 2 && i % 100 == 99)
		nanosleep(&time, NULL);
	else if (producer % 2 == 0 && i % 100 == 50)
		(void)shmlog_sync(handle, SHMLOG_SYNC_DURABLE, -1);
}

static void *be_producer(void *argument)
{
	const unsigned producer = *(unsigned *)argument;
	unsigned binding = 2 * producer; /* order is promised within one */

	(void)pthread_barrier_wait(&all_are_there); /* they bind side by side */
	for (unsigned i = 0; i < RECORDS; i++) {
		if (i % 8 == 3)
			claim_one(binding);
		else
			(void)journal_push(journal, handle, binding, producer % 2 ? 0 : -1);
		pace(producer, i);
		if (i == RECORDS / 2 && producer % 3 == 0) {
			shmlog_unbind(handle);
			binding++;
		}
	}
	return NULL;
}

static void run_producers(unsigned life)
{
	static unsigned numbers[THREADS];
	pthread_t threads[THREADS];

	if (pthread_barrier_init(&all_are_there, NULL, THREADS) != 0)
		broken("a barrier");
	for (unsigned i = 0; i < THREADS; i++) {
		numbers[i] = life * THREADS + i;
		if (pthread_create(&threads[i], NULL, be_producer, &numbers[i]) != 0)
			broken("a thread");
	}
	for (unsigned i = 0; i < THREADS; i++)
		(void)pthread_join(threads[i], NULL);
	(void)pthread_barrier_destroy(&all_are_there);
}

/* ---- the run ---- */

static void attach(void)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;

	(void)snprintf(ring, sizeof(ring), "race.%d", (int)getpid());
	options.create = 1;
	options.lanes = 4;
	options.lane_size = 65536;
	if (shmlog_attach(ring, &options, &handle) < 0)
		broken("attach: %s", shmlog_reason());
}

static void compare(const char *directory)
{
	const char *const cat[] = { "shmlog-cat", "-o", "raw", directory, NULL };
	struct journal_totals totals;
	pid_t pid;
	FILE *records = program_read(cat, &pid);

	(void)journal_check(journal, records, DEMAND_PUBLISHED, &totals);
	if (program_close(records, pid) != 0)
		violated("shmlog-cat says that the log is damaged");
	(void)printf("race: %d threads, %llu records published, %llu dropped or aborted, %llu "
		     "found\n",
		     THREADS * LIVES, (unsigned long long)totals.published,
		     (unsigned long long)totals.dropped, (unsigned long long)totals.found);
}

int main(int argc, char **argv)
{
	const char *const remove[] = { "shmlog-ctl", "remove", "--force", ring, NULL };
	pthread_t writer;
	sigset_t all;

	if (argc != 2)
		broken("usage: race DIRECTORY");
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, NULL); /* TERM is for the writer's descriptor */
	attach();
	journal = journal_create(NULL, PRODUCERS, RECORDS);
	if (pthread_create(&writer, NULL, be_writer, argv[1]) != 0)
		broken("a thread");
	(void)program_wait_until(has_writer, NULL, START_MS, "the writer's start");
	for (unsigned life = 0; life < LIVES; life++)
		run_producers(life);
	(void)kill(getpid(), SIGTERM);
	(void)pthread_join(writer, NULL);
	shmlog_detach(&handle);
	compare(argv[1]);
	(void)program_run(remove, NULL, START_MS);
	return violations() ? 1 : 0;
}
