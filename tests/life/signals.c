/*
 * signals.c - handlers that push first, push inside pushes, and leave pushes by siglongjmp.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "stage.h"

/* ---- storms: several signals a thread, each at a high rate ---- */

enum { SIGNALS = 3, STORM_NS = 150 * 1000, JUMP_NS = 40 * 1000, STORMS_MAX = 4 };

struct storm {
	timer_t timers[SIGNALS];
};

/* To the calling thread. */
static void storm_begin(struct storm *storm, long period_ns)
{
	for (int i = 0; i < SIGNALS; i++) {
		struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID,
					  .sigev_signo = SIGRTMIN + 1 + i };
		const long period = period_ns + i * 7919;
		const struct itimerspec often = { { 0, period }, { 0, period } };

		event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
		if (timer_create(CLOCK_MONOTONIC, &event, &storm->timers[i]) < 0 ||
		    timer_settime(storm->timers[i], 0, &often, NULL) < 0)
			broken("timer: %s", strerror(errno));
	}
}

static void storm_end(const struct storm *storm)
{
	for (int i = 0; i < SIGNALS; i++)
		(void)timer_delete(storm->timers[i]);
}

static void on_storm(void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

	for (int i = 0; i < SIGNALS; i++)
		(void)sigaddset(&action.sa_mask, SIGRTMIN + 1 + i);
	for (int i = 0; i < SIGNALS; i++)
		(void)sigaction(SIGRTMIN + 1 + i, &action, NULL);
}

/* ---- pushes inside pushes ---- */

static const struct stage *storm_stage;
static struct shmlog *storm_log;
static _Thread_local unsigned handler_producer;
static _Thread_local unsigned handler_refused;

/* The journal of handlers is the handlers' own: what they interrupt has another number. */
static void push_in_handler(int signal_no)
{
	const int kept = errno;
	const uint32_t serial = journal_next(storm_stage->journal, handler_producer);

	(void)signal_no;
	if (serial < RECORDS_MAX - 1 &&
	    journal_push(storm_stage->journal, storm_log, handler_producer, 0) < 0)
		handler_refused++;
	errno = kept;
}

/* All that a thread may be at when the handler comes. */
static void do_something(unsigned producer, unsigned step)
{
	struct journal *journal = storm_stage->journal;
	const uint32_t serial = journal_next(journal, producer);
	char text[JOURNAL_TEXT_MAX];
	const size_t size = journal_text(producer, serial, text);
	struct shmlog_claim claim;
	int r;

	if (step % 64 == 63)
		(void)shmlog_unbind(storm_log);
	if (step % 64 == 31)
		(void)shmlog_sync(storm_log, SHMLOG_SYNC_WRITTEN, WAIT_NS);
	if (step % 4 != 3) {
		push_some(storm_stage, storm_log, producer, 1);
		return;
	}
	journal_note(journal, producer, serial, JOURNAL_TRIED);
	r = shmlog_claim(storm_log, SHMLOG_INFO, size, &claim);
	if (r == 0) {
		memcpy(claim.data, text, size);
		r = step % 8 == 7 ? shmlog_abort(storm_log, &claim)
				  : shmlog_commit(storm_log, &claim, size);
		if (step % 8 == 7)
			r = -ECANCELED;
	}
	journal_note(journal, producer, serial, r == 0 ? JOURNAL_PUBLISHED : JOURNAL_DROPPED);
	if (r == -EAGAIN)
		handler_refused++;
}

struct sailor {
	pthread_t thread;
	unsigned number;
	unsigned steps;
};

static void *sail(void *argument)
{
	const struct sailor *sailor = argument;
	struct storm storm;

	handler_producer = 2 * sailor->number + 1;
	handler_refused = 0;
	storm_begin(&storm, STORM_NS); /* the first push may be the handler's */
	for (unsigned i = 0; i < sailor->steps; i++) {
		do_something(2 * sailor->number, i);
		if (i % 32 == 0)
			nap_ms(1);
	}
	storm_end(&storm);
	board_add(&storm_stage->board->counted[0], handler_refused);
	return NULL;
}

static void sail_all(struct stage *stage, unsigned rounds)
{
	struct sailor sailors[STORMS_MAX];

	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < STORMS_MAX; i++) {
			sailors[i] =
				(struct sailor){ .number = round * STORMS_MAX + i, .steps = 1000 };
			if (pthread_create(&sailors[i].thread, NULL, sail, &sailors[i]) != 0)
				broken("pthread_create");
		}
		for (unsigned i = 0; i < STORMS_MAX; i++)
			pthread_join(sailors[i].thread, NULL);
		stage->figures->lives += STORMS_MAX;
	}
}

/* Each refused push was counted once, and the log names each. */
static void expect_drops(struct stage *stage, uint64_t dropped, uint64_t refused)
{
	uint64_t lost;

	if (dropped != refused)
		violated("%s: %llu pushes were refused, %llu counted", stage->scenario,
			 (unsigned long long)refused, (unsigned long long)dropped);
	stage_stop_writer(stage);
	stage_check_log(stage, stage->log);
	stage_remove_ring(stage);
	lost = stage_lost(stage);
	if (lost != dropped)
		violated("%s: %llu dropped, the log names %llu", stage->scenario,
			 (unsigned long long)dropped, (unsigned long long)lost);
}

static void run_storm(struct stage *stage, unsigned lanes)
{
	uint64_t dropped;

	stage_open(stage, lanes);
	storm_stage = stage;
	storm_log = stage_attach(stage, NULL);
	on_storm(push_in_handler);
	sail_all(stage, stage_count(stage, 2, 40));
	dropped = stage_dropped(storm_log);
	shmlog_detach(&storm_log);
	expect_drops(stage, dropped, board_read(&stage->board->counted[0]));
}

static void run_storm_own(struct stage *stage)
{
	run_storm(stage, 8);
}

static void run_storm_shared(struct stage *stage)
{
	run_storm(stage, 1);
}

/* Handles that come and go under the handlers. */
static void run_storm_detach(struct stage *stage)
{
	struct storm storm;

	stage_open(stage, 4);
	storm_stage = stage;
	storm_log = stage_attach(stage, NULL);
	handler_producer = 1;
	on_storm(push_in_handler);
	storm_begin(&storm, STORM_NS);
	for (unsigned i = 0; i < stage_count(stage, 400, 3000); i++) {
		struct shmlog *old = storm_log;
		struct shmlog *fresh = stage_attach(stage, NULL);

		push_some(stage, storm_log, 0, 2);
		storm_log = fresh;
		push_some(stage, storm_log, 0, 2);
		shmlog_detach(&old);
		push_some(stage, storm_log, 0, 1);
		if (i % 4 == 0)
			nap_ms(1);
	}
	storm_end(&storm);
	shmlog_detach(&storm_log);
	stage_close(stage);
}

/* ---- the first push of many threads is a handler's ---- */

static void *wait_for_signal(void *argument)
{
	const struct sailor *sailor = argument;
	sigset_t none;

	handler_producer = sailor->number;
	board_add(&storm_stage->board->ready, 1);
	(void)sigemptyset(&none);
	while (journal_state(storm_stage->journal, handler_producer, 0) == JOURNAL_NONE)
		nap_ms(1);
	return NULL;
}

static void run_first_push(struct stage *stage)
{
	enum { TOGETHER = 8 };
	struct sailor sailors[TOGETHER];
	const unsigned rounds = stage_count(stage, 40, 600);

	stage_open(stage, 5);
	storm_stage = stage;
	storm_log = stage_attach(stage, NULL);
	on_storm(push_in_handler);
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < TOGETHER; i++) {
			sailors[i] = (struct sailor){ .number = round * TOGETHER + i };
			if (pthread_create(&sailors[i].thread, NULL, wait_for_signal, &sailors[i]))
				broken("pthread_create");
		}
		board_wait(&stage->board->ready, (round + 1) * TOGETHER, "the threads");
		for (unsigned i = 0; i < TOGETHER; i++)
			(void)pthread_kill(sailors[i].thread, SIGRTMIN + 1);
		for (unsigned i = 0; i < TOGETHER; i++)
			pthread_join(sailors[i].thread, NULL);
	}
	stage->figures->lives += (uint64_t)rounds * TOGETHER;
	if (stage_dropped(storm_log) != 0)
		violated("%s: %llu first pushes were dropped", stage->scenario,
			 (unsigned long long)stage_dropped(storm_log));
	shmlog_detach(&storm_log);
	stage_close(stage);
}

/* ---- siglongjmp out of a handler that interrupted a push ---- */

static _Thread_local sigjmp_buf way_out;
static _Thread_local sig_atomic_t volatile may_leave;
static _Thread_local sig_atomic_t volatile times_left;

static void leave(int signal_no)
{
	(void)signal_no;
	if (!may_leave)
		return;
	may_leave = 0;
	times_left++;
	siglongjmp(way_out, 1);
}

/* Pushes, and nothing else, are left: what the journal calls is no place to leave. */
static void push_and_be_left(unsigned producer)
{
	struct journal *journal = storm_stage->journal;
	const uint32_t serial = journal_next(journal, producer);
	char text[JOURNAL_TEXT_MAX];
	const size_t size = journal_text(producer, serial, text);
	int r;

	journal_note(journal, producer, serial, JOURNAL_TRIED);
	if (sigsetjmp(way_out, 1) != 0)
		return;
	may_leave = 1;
	r = shmlog_try_push(storm_log, text, size);
	may_leave = 0;
	journal_note(journal, producer, serial, r == 0 ? JOURNAL_PUBLISHED : JOURNAL_DROPPED);
	if (r == -EAGAIN)
		nap_ms(1);
}

static void *jump(void *argument)
{
	const struct sailor *sailor = argument;
	struct storm storm;

	push_some(storm_stage, storm_log, sailor->number, 1); /* bound by nobody's leave */
	times_left = 0;
	storm_begin(&storm, JUMP_NS);
	for (unsigned i = 0; i < sailor->steps; i++)
		push_and_be_left(sailor->number);
	storm_end(&storm);
	push_some(storm_stage, storm_log, sailor->number, 5);
	if (shmlog_sync(storm_log, SHMLOG_SYNC_WRITTEN, WAIT_NS) < 0)
		violated("%s: the lane does not move on", storm_stage->scenario);
	board_add(&storm_stage->board->counted[1], (uint32_t)times_left);
	return NULL;
}

/* A neighbour of another process, in the same lane where there is but one. */
static void push_beside(const struct stage *stage, struct shmlog *log, unsigned number)
{
	push_until_stopped(stage, log, number);
	if (shmlog_sync(log, SHMLOG_SYNC_WRITTEN, WAIT_NS) < 0)
		violated("%s: a neighbour's records do not reach the disk", stage->scenario);
}

static void run_jumps(struct stage *stage, unsigned lanes)
{
	enum { JUMPERS = 3 };
	struct sailor sailors[JUMPERS];
	uint64_t dropped, lost;
	pid_t neighbour;

	stage_open(stage, lanes);
	storm_stage = stage;
	storm_log = stage_attach(stage, NULL);
	on_storm(leave);
	neighbour = stage_fork(stage, push_beside, storm_log, 100);
	board_wait(&stage->board->ready, 1, "the neighbour");
	for (unsigned i = 0; i < JUMPERS; i++) {
		sailors[i] = (struct sailor){ .number = i, .steps = RECORDS_MAX - 100 };
		if (pthread_create(&sailors[i].thread, NULL, jump, &sailors[i]) != 0)
			broken("pthread_create");
	}
	for (unsigned i = 0; i < JUMPERS; i++)
		pthread_join(sailors[i].thread, NULL);
	board_add(&stage->board->stop, 1);
	stage_join(stage, neighbour);
	stage->figures->lives += board_read(&stage->board->counted[1]);
	if (board_read(&stage->board->counted[1]) == 0)
		broken("%s: no push was left", stage->scenario);
	dropped = stage_dropped(storm_log);
	shmlog_detach(&storm_log);
	stage_stop_writer(stage);
	stage_check_log(stage, stage->log);
	stage_remove_ring(stage);
	/* A push that was left may have been dropped, and be counted in one place but not the
	 * other. */
	lost = stage_lost(stage);
	if (lost < dropped || lost > dropped + board_read(&stage->board->counted[1]))
		violated("%s: %llu dropped, the log names %llu", stage->scenario,
			 (unsigned long long)dropped, (unsigned long long)lost);
}

static void run_jumps_own(struct stage *stage)
{
	run_jumps(stage, 8);
}

static void run_jumps_shared(struct stage *stage)
{
	run_jumps(stage, 1);
}

const struct scenario signal_scenarios[] = {
	{ "storm-own", run_storm_own },
	{ "storm-shared", run_storm_shared },
	{ "storm-detach", run_storm_detach },
	{ "first-push-in-handler", run_first_push },
	{ "siglongjmp-own", run_jumps_own },
	{ "siglongjmp-shared", run_jumps_shared },
	{ 0 },
};
