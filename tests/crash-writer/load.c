/*
 * load.c - what the writer is given to do. See load.h.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "program.h"
#include "segment.h"
#include "shmlog.h"
#include "work.h"

enum { NAP_NS = 200 * 1000, START_MS = 20000, THREADS_MAX = 16 };

struct load_words {
	uint32_t threads;
	uint32_t batches_done; /* of all threads                              */
	uint32_t finished;     /* all are published                           */
	int32_t writer;        /* who gets signals; 0: nobody now             */
	uint32_t may_end;
	uint32_t waits_before; /* a batch, or the writer's end                */
	uint32_t arrived;      /* threads that have nothing left in the ring     */
	uint32_t has_failed;
};

struct thread {
	const struct load_plan *plan;
	struct journal *journal;
	struct load_words *words;
	struct shmlog *log;
	unsigned producer;
};

static void nap(void)
{
	const struct timespec time = { .tv_nsec = NAP_NS };

	nanosleep(&time, NULL);
}

static _Noreturn void fail(const char *what, const char *why)
{
	(void)fprintf(stderr, "load: %s: %s\n", what, why);
	_exit(1);
}

/* ... and have it look: it reads its signals when it wakes. */
static void signal_writer(const struct load_words *words, struct shmlog *log, int signal)
{
	const pid_t writer = __atomic_load_n(&words->writer, __ATOMIC_ACQUIRE);

	if (writer && kill(writer, signal) == 0)
		(void)shmlog_trigger(log);
}

/* Told at the end; until then the other threads and the writer go on. */
static void complain(const struct thread *thread, const char *what, int error)
{
	(void)fprintf(stderr, "load: producer %u: %s: %s\n", thread->producer, what,
		      shmlog_strerror(error));
	__atomic_store_n(&thread->words->has_failed, 1, __ATOMIC_RELEASE);
}

/* Until this batch is written; one thread may ask for more. */
static void wait_for_writer(const struct thread *thread)
{
	int r;

	if (thread->plan->rotates && thread->producer == 0)
		signal_writer(thread->words, thread->log, SIGUSR1);
	r = shmlog_sync(thread->log, SHMLOG_SYNC_WRITTEN, -1);
	if (r < 0)
		complain(thread, "sync", r);
}

static bool may_begin(const struct load_words *words, uint32_t batch)
{
	return batch < __atomic_load_n(&words->waits_before, __ATOMIC_ACQUIRE);
}

/* Until all have done as many batches: nobody's end lies far before the log's. */
static void wait_for_others(const struct thread *thread, unsigned batches)
{
	const uint32_t *done = &thread->words->batches_done;

	while (__atomic_load_n(done, __ATOMIC_ACQUIRE) < batches * thread->plan->threads)
		nap();
}

/* All that was published is written, and nothing is published before the ring is closed: nothing is
 * lost with it, whoever is killed then. */
static void remove_ring(const struct thread *thread)
{
	char path[WORK_PATH_SIZE];
	struct segment segment;
	struct segment_view view;

	if (segment_open(&sys_real, thread->plan->ring, O_RDONLY, &segment) < 0 ||
	    segment_view(&segment, &view) < 0)
		fail("the ring that is to be removed", shmlog_reason());
	work_ring_path(path, thread->plan->ring);
	if (__atomic_add_fetch(&thread->words->arrived, 1, __ATOMIC_ACQ_REL) ==
	    thread->plan->threads)
		(void)unlink(path);
	while (!(load_acquire_u32(&view_header(&view)->control) & CONTROL_CLOSED))
		nap();
	segment_view_close(&view);
	segment_close(&segment);
}

static void *publish(void *argument)
{
	const struct thread *thread = argument;
	const struct load_plan *plan = thread->plan;

	for (unsigned batch = 0; batch < plan->batches; batch++) {
		while (!may_begin(thread->words, batch))
			nap();
		if (batch > 0 && batch == plan->removes_ring)
			remove_ring(thread);
		for (unsigned i = 0; i < plan->batch; i++) {
			const int r =
				journal_push(thread->journal, thread->log, thread->producer, -1);

			if (r < 0)
				complain(thread, "push", r);
		}
		__atomic_add_fetch(&thread->words->batches_done, 1, __ATOMIC_ACQ_REL);
		if (plan->is_stepwise)
			wait_for_writer(thread);
		if (plan->is_in_step)
			wait_for_others(thread, batch + 1);
	}
	return NULL;
}

static struct shmlog *attach(const struct load_plan *plan)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log;
	int r;

	options.name = "load";
	options.create = !plan->ring_is_made;
	options.lanes = plan->lanes;
	options.lane_size = plan->lane_size;
	while ((r = shmlog_attach(plan->ring, &options, &log)) == -ENOENT && plan->ring_is_made)
		nap();
	if (r < 0)
		fail("attach", shmlog_reason());
	return log;
}

/* A second TERM would have a writer leave what it has not taken: each gets one. */
static void end_writers(const struct load_plan *plan, const struct load_words *words,
			struct shmlog *log)
{
	pid_t told = 0;

	while (!__atomic_load_n(&words->may_end, __ATOMIC_ACQUIRE)) {
		const pid_t writer = __atomic_load_n(&words->writer, __ATOMIC_ACQUIRE);

		if (may_begin(words, plan->batches)) {
			if (writer && writer != told)
				signal_writer(words, log, SIGTERM);
			told = writer;
		}
		nap();
	}
}

static _Noreturn void be_load(const struct load_plan *plan, struct journal *journal,
			      struct load_words *words)
{
	struct shmlog *log = attach(plan);
	struct thread threads[THREADS_MAX];
	pthread_t ids[THREADS_MAX];

	for (unsigned i = 0; i < plan->threads; i++) {
		threads[i] = (struct thread){ plan, journal, words, log, i };
		if (pthread_create(&ids[i], NULL, publish, &threads[i]) != 0)
			fail("thread", strerror(errno));
	}
	for (unsigned i = 0; i < plan->threads; i++)
		(void)pthread_join(ids[i], NULL);
	__atomic_store_n(&words->finished, 1, __ATOMIC_RELEASE);
	end_writers(plan, words, log);
	shmlog_detach(&log);
	_exit(words->has_failed ? 1 : 0);
}

static bool has_prefilled(void *argument)
{
	const struct load *load = argument;
	const uint32_t done = __atomic_load_n(&load->words->batches_done, __ATOMIC_ACQUIRE);

	return done >= load->words->threads;
}

void load_start(struct load *load, const struct load_plan *plan, struct journal *journal)
{
	const pid_t parent = getpid();
	void *words = mmap(NULL, sizeof(*load->words), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (words == MAP_FAILED || plan->threads > THREADS_MAX)
		broken("load: %s", strerror(errno));
	load->words = words;
	load->words->threads = plan->threads;
	load->words->waits_before = LOAD_GOES_ON;
	load->pid = fork();
	if (load->pid < 0)
		broken("fork: %s", strerror(errno));
	if (load->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		be_load(plan, journal, load->words);
	}
	if (!plan->ring_is_made)
		(void)program_wait_until(has_prefilled, load, START_MS, "the first batch");
}

void load_tell_writer(struct load *load, pid_t writer)
{
	__atomic_store_n(&load->words->writer, writer, __ATOMIC_RELEASE);
}

void load_wait_before(struct load *load, uint32_t batch)
{
	__atomic_store_n(&load->words->waits_before, batch, __ATOMIC_RELEASE);
}

bool load_has_finished(const struct load *load)
{
	return __atomic_load_n(&load->words->finished, __ATOMIC_ACQUIRE);
}

void load_end(struct load *load)
{
	int status;

	if (!load_has_finished(load)) { /* nobody is left to make room for it */
		violated("producers have not come to their end");
		(void)kill(load->pid, SIGKILL);
	}
	__atomic_store_n(&load->words->may_end, 1, __ATOMIC_RELEASE);
	status = program_wait(load->pid, START_MS);
	if (status != 0)
		violated("a producer failed: exit status %d", status);
	munmap(load->words, sizeof(*load->words));
	load->words = NULL;
}
