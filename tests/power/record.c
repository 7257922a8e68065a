/*
 * record.c - producers and writers over the traced disk. See record.h.
 */
#include "record.h"
#include "check.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "journal.h"
#include "program.h"

enum {
	LANE_SIZE = 64 * 1024,
	FILLER_SIZE = 24 * 1024,
	FILLER_US = 1500,
	SYNC_EVERY = 40,   /* records of a producer                                          */
	RUN_MAX_S = 60,    /* a recording that takes longer has stalled                      */
	KILL_STEP = 60,    /* events between two ends of a writer, at least                  */
	SNAPSHOT_STEP = 7, /* events                                                         */
};

#define SYNC_TIMEOUT_NS (30 * (int64_t)NS_PER_S)

static void nap_us(int64_t us)
{
	(void)sys_real.sleep(us * (int64_t)NS_PER_US);
}

/* ---- rings and writers ---- */

const char *ring_prefix(void)
{
	static char prefix[32];

	if (!*prefix)
		(void)snprintf(prefix, sizeof(prefix), "power.%d", (int)getpid());
	return prefix;
}

static void remove_ring(const char *name)
{
	uint64_t undrained;

	(void)segment_remove(&sys_real, name, true, &undrained);
}

void make_ring(const char *name, uint32_t lanes, struct segment *ret, struct segment_view *ret_view)
{
	const struct segment_options options = { .lanes = lanes, .lane_size = LANE_SIZE };

	remove_ring(name);
	if (segment_create(&sys_real, name, &options) < 0 ||
	    segment_open(&sys_real, name, O_RDONLY, ret) < 0 || segment_view(ret, ret_view) < 0)
		broken("ring: %s", reason_get());
}

void drop_ring(const char *name, struct segment *segment, struct segment_view *view)
{
	segment_view_close(view);
	segment_close(segment);
	remove_ring(name);
}

void configure(const struct recording *recording, const char *ring, bool once, struct config *ret)
{
	char *argv[] = { (char[]){ "writer" },
			 (char[]){ "--io" },
			 (char[]){ "pwrite" },
			 (char[]){ "--flush-interval" },
			 (char[]){ "2ms" },
			 (char[]){ "-r" },
			 (char *)(uintptr_t)ring,
			 (char[]){ "-d" },
			 (char *)(uintptr_t)recording->log,
			 (char[]){ "--sync" },
			 (char *)(uintptr_t)recording->scenario->sync,
			 (char[]){ "--release" },
			 (char *)(uintptr_t)recording->scenario->release,
			 NULL };

	if (config_load((int)COUNT_OF(argv) - 1, argv, ret) != 0)
		broken("the configuration");
	ret->max_file = UINT64_C(1) << 20;
	ret->max_volume = recording->scenario->volumes * ret->max_file;
	ret->roll_age_ns = recording->scenario->roll_age_ns;
	ret->compress = recording->scenario->is_archiving;
	ret->max_files = recording->scenario->max_files;
	ret->once = once;
}

static void push_after(const char *ring, uint32_t count)
{
	char text[JOURNAL_TEXT_MAX];
	struct shmlog *log;

	if (shmlog_attach(ring, NULL, &log) < 0)
		broken("attach: %s", shmlog_reason());
	for (uint32_t serial = 0; serial < count; serial++)
		if (shmlog_try_push(log, text, journal_text(PUSHERS, serial, text)) < 0)
			broken("the push after");
	shmlog_detach(&log);
}

pid_t start_writer(const struct recording *recording, const struct config *config,
		   const struct sys *sys, session_open_io *open_io, uint32_t after)
{
	struct config own = *config;
	sigset_t term, before;
	pid_t pid;
	int r;

	/* A signal before the writer takes its signals would be lost. */
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	pid = fork();
	if (pid != 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		if (pid < 0)
			broken("fork: %s", strerror(errno));
		return pid;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!freopen(recording->errors, "a", stderr))
		_exit(126);
	(void)setvbuf(stderr, NULL, _IONBF, 0); /* what is said is there, however this ends */
	if (after)
		push_after(own.ring, after);
	r = session_run(&own, sys, open_io);
	if (r < 0)
		(void)fprintf(stderr, "writer: %s\n", reason_get());
	_exit(r < 0);
}

/* ---- producers ---- */

/* What was published before the call is durable now, and he knows it. */
static void ask(struct trace *trace, struct known *known, struct shmlog *log)
{
	const int r = shmlog_sync(log, SHMLOG_SYNC_DURABLE, SYNC_TIMEOUT_NS);
	const uint32_t now = trace_count(trace);

	if (r == -ETIMEDOUT)
		violated("a producer waited in vain for its records to be durable");
	for (uint32_t serial = 0; r == 0 && serial < known->pushed; serial++)
		if (known->published[serial] != TRACE_NEVER &&
		    known->durable[serial] == TRACE_NEVER)
			known->durable[serial] = now;
}

static void push_one(struct trace *trace, unsigned producer, struct shmlog *log)
{
	struct known *known = &trace->known[producer];
	const uint32_t serial = known->pushed;
	char text[JOURNAL_TEXT_MAX];
	int r;

	trace_lock(&trace->world);
	known->tried[serial] = trace_count(trace);
	known->pushed++;
	r = shmlog_try_push(log, text, journal_text(producer, serial, text));
	if (r == 0)
		known->published[serial] = trace_count(trace);
	trace_unlock(&trace->world);
	if (r < 0)
		nap_us(1000);
}

/* ... of the files' filling. Where the oldest go, somebody's last records are not among them. */
static bool is_ahead(const struct recording *recording, uint32_t pushed)
{
	const struct scenario *scenario = recording->scenario;
	const uint64_t filled = __atomic_load_n(&recording->trace->filled, __ATOMIC_RELAXED);

	return filled * scenario->records < (uint64_t)pushed * scenario->fillers;
}

_Noreturn static void produce(const struct recording *recording, unsigned producer, uint64_t seed)
{
	struct trace *trace = recording->trace;
	struct known *known = &trace->known[producer];
	struct shmlog *log;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	seed += producer;
	known->pid = (uint32_t)getpid();
	if (shmlog_attach(recording->ring, NULL, &log) < 0)
		broken("attach: %s", shmlog_reason());
	while (known->pushed < recording->scenario->records) {
		while (is_ahead(recording, known->pushed))
			nap_us(FILLER_US);
		push_one(trace, producer, log);
		nap_us(random_below(&seed, 1200));
		if (recording->scenario->is_asking && random_below(&seed, SYNC_EVERY) == 0)
			ask(trace, known, log);
	}
	if (recording->scenario->is_asking)
		ask(trace, known, log);
	shmlog_detach(&log);
	_exit(violations() != 0);
}

/* Long records of no interest: so many come into the ring, and some are dropped besides. */
_Noreturn static void fill(const struct recording *recording)
{
	static char text[FILLER_SIZE];
	const struct shmlog_options options = { .size = sizeof(options), .name = FILLER_NAME };
	uint32_t *filled = &recording->trace->filled;
	struct shmlog *log;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	memset(text, FILLER, sizeof(text));
	if (shmlog_attach(recording->ring, &options, &log) < 0)
		broken("attach: %s", shmlog_reason());
	while (*filled < recording->scenario->fillers) {
		if (shmlog_try_push(log, text, sizeof(text)) == 0)
			__atomic_store_n(filled, *filled + 1, __ATOMIC_RELAXED);
		nap_us(FILLER_US);
	}
	shmlog_detach(&log);
	_exit(0);
}

/* ---- the run ---- */

struct run {
	struct recording *recording;
	uint64_t seed;
	pid_t writer;
	unsigned producers; /* that have not ended */
	unsigned ends;      /* of writers, so far   */
	uint32_t stop_at;   /* a clean end of the writer is asked for at this event */
	bool is_stopping;   /* it has been: asked twice, a writer leaves what is not written yet */
	bool is_last;
	int64_t deadline;
};

static bool is_kill(const struct run *run)
{
	return run->ends % 2 == 0;
}

static void stop_writer(struct run *run)
{
	if (!run->is_stopping)
		(void)kill(run->writer, SIGTERM);
	run->is_stopping = true;
}

static void begin_writer(struct run *run)
{
	struct trace *trace = run->recording->trace;
	const uint32_t until = trace->count + KILL_STEP + random_below(&run->seed, 2 * KILL_STEP);
	const bool is_more = run->ends < 2 * run->recording->scenario->kills && !run->is_last;
	struct config config;

	trace->kill_at = is_more && is_kill(run) ? until : TRACE_NEVER;
	run->stop_at = is_more && !is_kill(run) ? until : TRACE_NEVER;
	trace_seed(trace, random_next(&run->seed));
	configure(run->recording, run->recording->ring, run->is_last, &config);
	run->is_stopping = false;
	run->writer = start_writer(run->recording, &config, &disk_sys, disk_open_io, 0);
}

static void writer_ended(struct run *run, int status)
{
	run->writer = 0;
	run->ends++;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		trace_writer_died(run->recording->trace);
	else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		violated("a writer ended with wait status %d", status);
		tell_errors(run->recording);
	}
	if (!run->is_last || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		begin_writer(run);
}

static bool has_name_end(const char *name, const char *end)
{
	const char *at = strstr(name, end);

	return at && strlen(at) == strlen(end);
}

/* Has the file of this event an archive? */
static bool is_compressed(const struct trace *trace, uint32_t count, const struct event *of)
{
	const size_t length = strlen(of->name);

	for (uint32_t i = 0; i < count; i++) {
		const struct event *event = &trace->events[i];

		if (event->kind == EVENT_RENAME && event->dir == of->dir &&
		    strncmp(event->new_name, of->name, length) == 0 &&
		    strcmp(event->new_name + length, ".lz4") == 0)
			return true;
	}
	return false;
}

void record_count(const struct trace *trace, struct record_counts *ret)
{
	const uint32_t count = trace_count(trace);

	*ret = (struct record_counts){ 0 };
	for (uint32_t i = 0; i < count; i++) {
		const struct event *event = &trace->events[i];

		if (event->kind == EVENT_RENAME && has_name_end(event->new_name, ".lz4"))
			ret->compressed++;
		if (event->kind == EVENT_REMOVE &&
		    (has_name_end(event->name, ".lz4") ||
		     (has_name_end(event->name, ".shmlog") && !is_compressed(trace, count, event))))
			ret->deleted++;
	}
}

/* All that the scenario is about? */
static bool is_recorded(const struct recording *recording)
{
	struct record_counts counts;

	record_count(recording->trace, &counts);
	return (counts.compressed > 0 || !recording->scenario->is_archiving) &&
	       (counts.deleted > 0 || recording->scenario->max_files == 0);
}

static void end_last_writer(struct run *run)
{
	run->is_last = true;
	run->recording->trace->kill_at = TRACE_NEVER;
	stop_writer(run);
}

static void wait_or_nap(struct run *run)
{
	int status;
	const pid_t pid = waitpid(-1, &status, WNOHANG);

	if (pid == run->writer) {
		writer_ended(run, status);
	} else if (pid > 0) {
		if (status != 0)
			violated("a producer ended with wait status %d", status);
		run->producers--;
	} else {
		if (trace_count(run->recording->trace) >= run->stop_at)
			stop_writer(run);
		if (run->producers == 0 && !run->is_last && is_recorded(run->recording))
			end_last_writer(run);
		nap_us(500);
	}
}

static void run_all(struct run *run)
{
	run->deadline = sys_real.now(CLOCK_MONOTONIC) + RUN_MAX_S * (int64_t)NS_PER_S;
	begin_writer(run);
	for (unsigned i = 0; i <= PUSHERS; i++) {
		const uint64_t seed = random_next(&run->seed);
		const pid_t pid = fork();

		if (pid < 0)
			broken("fork: %s", strerror(errno));
		if (pid == 0 && i == PUSHERS)
			fill(run->recording);
		if (pid == 0)
			produce(run->recording, i, seed);
		run->producers++;
	}
	while (run->writer && sys_real.now(CLOCK_MONOTONIC) < run->deadline)
		wait_or_nap(run);
	if (run->writer)
		violated("producers and writer did not end within %d s", RUN_MAX_S);
}

/* Who had which lane: nobody shares one here. */
static void find_lanes(struct recording *recording)
{
	for (unsigned i = 0; i < PUSHERS; i++) {
		for (uint32_t lane = 1; lane <= PUSHERS + 1; lane++)
			if (view_lane_page(&recording->view, lane)->line.pid ==
			    recording->trace->known[i].pid)
				recording->lanes[i] = lane;
		if (recording->lanes[i] == 0)
			broken("producer %u has no lane of its own", i);
	}
}

void record(struct recording *ret, const struct scenario *scenario, uint64_t seed, const char *root)
{
	struct run run = { .recording = ret, .seed = seed };

	*ret = (struct recording){ .scenario = scenario };
	(void)snprintf(ret->ring, sizeof(ret->ring), "%s.%s", ring_prefix(), scenario->name);
	(void)snprintf(ret->root, sizeof(ret->root), "%s", root);
	(void)snprintf(ret->log, sizeof(ret->log), "%s/log", root);
	(void)snprintf(ret->errors, sizeof(ret->errors), "%s.errors", root);
	make_ring(ret->ring, PUSHERS + 2, &ret->segment, &ret->view);
	ret->trace = trace_create(root, seed);
	ret->trace->snapshot_every = SNAPSHOT_STEP;
	trace_use(ret->trace, &ret->view);
	run_all(&run);
	find_lanes(ret);
}

void remove_rings(void)
{
	const size_t length = strlen(ring_prefix());
	char **names;
	size_t count;

	if (segment_names(&sys_real, &names, &count) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		if (strncmp(names[i], ring_prefix(), length) == 0 && names[i][length] == '.')
			remove_ring(names[i]);
	segment_names_free(names, count);
}

void record_end(struct recording *recording)
{
	trace_destroy(recording->trace);
	drop_ring(recording->ring, &recording->segment, &recording->view);
	(void)unlink(recording->errors);
}
