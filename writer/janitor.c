/*
 * janitor.c - the second thread. What it promises stands in janitor.h.
 *
 * One array serves as job queue and result queue: three counters run through it, and
 * collected <= finished <= submitted <= collected + JANITOR_JOBS.
 */
#include "janitor.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct janitor {
	struct roll *roll;
	void (*wake)(void *argument);
	void *argument;
	pthread_t thread;
	pthread_mutex_t mutex; /* of all below                                               */
	pthread_cond_t work;   /* submitted moved, or stop                                   */
	pthread_cond_t result; /* finished moved                                             */
	uint64_t submitted;
	uint64_t finished;
	uint64_t collected;
	bool stop;
	struct janitor_job jobs[JANITOR_JOBS]; /* [finished] is the thread's while it runs   */
};

static struct janitor_job *slot_of(struct janitor *janitor, uint64_t count)
{
	return &janitor->jobs[count % JANITOR_JOBS];
}

static int run(struct roll *roll, const struct janitor_job *job)
{
	switch (job->kind) {
	case JANITOR_MAKE:
		return roll_make(roll, job->file, job->place, job->size, &job->leave);
	case JANITOR_SEAL:
		return roll_end(roll, job->file, &job->stamp);
	case JANITOR_DROP:
		roll_drop(roll, job->file);
		return 0;
	case JANITOR_REMOVE:
		return roll_remove(roll, job->file);
	case JANITOR_CALL:
		return job->call(job->argument);
	}
	assert(!"unknown kind of job");
	return -EINVAL;
}

/* The job that is next, or NULL: stopped and nothing left. Called with the mutex held. */
static struct janitor_job *next_job(struct janitor *janitor)
{
	while (janitor->finished == janitor->submitted) {
		if (janitor->stop)
			return NULL;
		pthread_cond_wait(&janitor->work, &janitor->mutex);
	}
	return slot_of(janitor, janitor->finished);
}

static void *janitor_main(void *argument)
{
	struct janitor *janitor = argument;
	struct janitor_job *job;

	pthread_mutex_lock(&janitor->mutex);
	while ((job = next_job(janitor))) {
		pthread_mutex_unlock(&janitor->mutex);
		job->error = run(janitor->roll, job);
		snprintf(job->reason, sizeof(job->reason), "%s", job->error ? reason_get() : "");
		pthread_mutex_lock(&janitor->mutex);
		janitor->finished++;
		pthread_cond_signal(&janitor->result);
		pthread_mutex_unlock(&janitor->mutex);
		if (janitor->wake)
			janitor->wake(janitor->argument);
		pthread_mutex_lock(&janitor->mutex);
	}
	pthread_mutex_unlock(&janitor->mutex);
	return NULL;
}

/* Signals are the main thread's: the new one inherits a full mask. But a fault is its own: a ring
 * that it wakes may have lost its memory, and SIGBUS kills where it is blocked. See bus.h. */
static int start_thread(struct janitor *janitor)
{
	sigset_t all;
	sigset_t before;
	int error;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	error = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (error)
		return -error;
	error = pthread_create(&janitor->thread, NULL, janitor_main, janitor);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return -error;
	pthread_setname_np(janitor->thread, "shmlog-janitor");
	return 0;
}

/* Deadlines are of the monotonic clock: nobody sets it back. */
static void make_conditions(struct janitor *janitor)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&janitor->work, &attributes);
	pthread_cond_init(&janitor->result, &attributes);
	pthread_condattr_destroy(&attributes);
	pthread_mutex_init(&janitor->mutex, NULL);
}

static void release(struct janitor *janitor)
{
	pthread_cond_destroy(&janitor->work);
	pthread_cond_destroy(&janitor->result);
	pthread_mutex_destroy(&janitor->mutex);
	free(janitor);
}

int janitor_start(struct roll *roll, void (*wake)(void *argument), void *argument,
		  struct janitor **ret)
{
	struct janitor *janitor = calloc(1, sizeof(*janitor));
	int error;

	if (!janitor)
		return -ENOMEM;
	janitor->roll = roll;
	janitor->wake = wake;
	janitor->argument = argument;
	make_conditions(janitor);
	error = start_thread(janitor);
	if (error) {
		release(janitor);
		return error;
	}
	*ret = janitor;
	return 0;
}

int janitor_submit(struct janitor *janitor, const struct janitor_job *job)
{
	int error = -EAGAIN;

	assert(job->kind == JANITOR_CALL || (job->file && job->file->taken));
	pthread_mutex_lock(&janitor->mutex);
	assert(!janitor->stop);
	if (janitor->submitted - janitor->collected < JANITOR_JOBS) {
		*slot_of(janitor, janitor->submitted++) = *job;
		pthread_cond_signal(&janitor->work);
		error = 0;
	}
	pthread_mutex_unlock(&janitor->mutex);
	return error;
}

/* Called with the mutex held. */
static int collect(struct janitor *janitor, struct janitor_job *ret)
{
	if (janitor->collected == janitor->finished)
		return 0;
	*ret = *slot_of(janitor, janitor->collected++);
	return 1;
}

int janitor_poll(struct janitor *janitor, struct janitor_job *ret)
{
	int count;

	pthread_mutex_lock(&janitor->mutex);
	count = collect(janitor, ret);
	pthread_mutex_unlock(&janitor->mutex);
	return count;
}

/* Called with the mutex held. False: the time is over. */
static bool wait_result(struct janitor *janitor, const struct timespec *deadline)
{
	if (!deadline)
		return pthread_cond_wait(&janitor->result, &janitor->mutex) == 0;
	return pthread_cond_timedwait(&janitor->result, &janitor->mutex, deadline) == 0;
}

static struct timespec deadline_after(int64_t timeout_ns)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	now.tv_sec += timeout_ns / NS_PER_S;
	now.tv_nsec += timeout_ns % NS_PER_S;
	if (now.tv_nsec >= NS_PER_S) {
		now.tv_sec++;
		now.tv_nsec -= NS_PER_S;
	}
	return now;
}

int janitor_wait(struct janitor *janitor, struct janitor_job *ret, int64_t timeout_ns)
{
	const struct timespec deadline = deadline_after(timeout_ns < 0 ? 0 : timeout_ns);
	int count;

	pthread_mutex_lock(&janitor->mutex);
	while ((count = collect(janitor, ret)) == 0 && janitor->collected < janitor->submitted) {
		if (wait_result(janitor, timeout_ns < 0 ? NULL : &deadline))
			continue;
		count = collect(janitor, ret);
		break;
	}
	pthread_mutex_unlock(&janitor->mutex);
	return count;
}

unsigned janitor_pending(struct janitor *janitor)
{
	unsigned count;

	pthread_mutex_lock(&janitor->mutex);
	count = (unsigned)(janitor->submitted - janitor->collected);
	pthread_mutex_unlock(&janitor->mutex);
	return count;
}

void janitor_stop(struct janitor **janitor)
{
	if (!*janitor)
		return;
	pthread_mutex_lock(&(*janitor)->mutex);
	(*janitor)->stop = true;
	pthread_cond_signal(&(*janitor)->work);
	pthread_mutex_unlock(&(*janitor)->mutex);
	pthread_join((*janitor)->thread, NULL);
	release(*janitor);
	*janitor = NULL;
}
