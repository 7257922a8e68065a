/*
 * scenario.c - what the victims do. See scenario.h.
 *
 * Everything goes through shmlog.h, but for one thing: where a lane of all ends is read from the
 * segment, as a place to begin from, never as evidence.
 */
#include "scenario.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "program.h"
#include "segment.h"
#include "step.h"

enum {
	SHORT_SIZE = 24,  /* one block, copied in few pieces     */
	LONG_SIZE = 150,  /* three blocks                        */
	LAP_DISTANCE = 1, /* blocks before a lane's end          */
};

void complain(struct victim *victim, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(victim->report->complaint, COMPLAINT_SIZE, format, arguments);
	va_end(arguments);
	_exit(1);
}

static void expect(struct victim *victim, const char *what, int r, int want)
{
	if (r != want)
		complain(victim, "%s: %s", what, shmlog_strerror(r));
}

struct shmlog *scenario_attach(struct victim *victim)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log;

	options.name = victim->name;
	if (shmlog_attach(victim->ring, &options, &log) < 0)
		complain(victim, "attach: %s", shmlog_reason());
	return log;
}

/* ---- records ---- */

/* The producer's next serial whose record has @size bytes is tried; those before it are not. */
static void prepare(struct victim *victim, unsigned i, unsigned producer, size_t size)
{
	struct prepared *record = &victim->records[i];

	record->producer = producer;
	record->serial = journal_next(victim->journal, producer);
	for (;; record->serial++) {
		record->size = journal_text(producer, record->serial, record->text);
		if (record->size == size)
			break;
		journal_note(victim->journal, producer, record->serial, JOURNAL_PASSED_OVER);
	}
	journal_note(victim->journal, producer, record->serial, JOURNAL_TRIED);
	if (i == 0) {
		victim->report->producer = producer;
		victim->report->serial = record->serial;
	}
}

static void note(struct victim *victim, unsigned i, int r)
{
	const struct prepared *record = &victim->records[i];

	journal_note(victim->journal, record->producer, record->serial,
		     r == 0 ? JOURNAL_PUBLISHED : JOURNAL_DROPPED);
}

/* One more that the library has counted: a claim of lane 0 that found no room at its commit, say.
 */
static void note_loss(struct victim *victim)
{
	const uint32_t serial = journal_next(victim->journal, BY_VICTIM);

	journal_note(victim->journal, BY_VICTIM, serial, JOURNAL_DROPPED);
}

static int push_at(struct victim *victim, unsigned i, int level)
{
	const struct prepared *record = &victim->records[i];

	return shmlog_try_push_at(victim->log, level, record->text, record->size);
}

static int push(struct victim *victim, unsigned i)
{
	return shmlog_try_push(victim->log, victim->records[i].text, victim->records[i].size);
}

static void push_now(struct victim *victim, size_t size)
{
	int r;

	prepare(victim, RECORDS_PREPARED - 1, BY_VICTIM, size);
	r = push(victim, RECORDS_PREPARED - 1);
	note(victim, RECORDS_PREPARED - 1, r);
	expect(victim, "push", r, 0);
}

static void sync_now(struct victim *victim)
{
	expect(victim, "sync", shmlog_sync(victim->log, SHMLOG_SYNC_WRITTEN, DEADLINE_NS), 0);
}

/* A claim of our own to be refused is a record lost, and noted as one. */
static int try_claim(struct victim *victim, size_t size, struct shmlog_claim *ret)
{
	const uint32_t serial = journal_next(victim->journal, BY_VICTIM);
	int r;

	journal_note(victim->journal, BY_VICTIM, serial, JOURNAL_TRIED);
	r = shmlog_claim(victim->log, SHMLOG_INFO, size, ret);
	journal_note(victim->journal, BY_VICTIM, serial,
		     r == 0 ? JOURNAL_PASSED_OVER : JOURNAL_DROPPED);
	return r;
}

/* ---- where a lane is ---- */

/* What the ring promised: bound, and in a lane of its own wherever there is one. Who pushed in the
 * middle of giving a lane back took another one; the first is kept for the process's next thread.
 */
static void check_lane(const struct scenario *scenario, struct victim *victim)
{
	struct shmlog_stats stats = { .size = sizeof(stats) };
	const uint32_t lanes = scenario->traits & LANE0 ? 0 : 1;
	const uint32_t kept = victim->manner >= INTERRUPTED ? lanes : 0;

	expect(victim, "stats", shmlog_get_stats(victim->log, &stats), 0);
	if (stats.threads != 1 || stats.lanes < lanes || stats.lanes > lanes + kept)
		complain(victim, "holds %u lanes instead of %u: one was not given back",
			 stats.lanes, lanes);
}

/* In a lane of our own a claim tells its position. */
static uint64_t own_position(struct victim *victim)
{
	struct shmlog_claim claim;

	expect(victim, "claim", try_claim(victim, 0, &claim), 0);
	expect(victim, "abort", shmlog_abort(victim->log, &claim), 0);
	return claim.position + 1;
}

/* Their claim is given up; if there is no room for it now, there is soon. */
static void skip_blocks(struct victim *victim, uint64_t blocks)
{
	struct shmlog_claim claim;

	if (try_claim(victim, blocks * BLOCK_SIZE - sizeof(struct record_header), &claim) == 0)
		expect(victim, "abort", shmlog_abort(victim->log, &claim), 0);
}

/* An own lane's next record begins LAP_DISTANCE blocks before the lane's end. To ask takes a block,
 * too. */
static void go_to_own_end(struct victim *victim)
{
	const uint64_t most =
		(shmlog_record_max(victim->log) + sizeof(struct record_header)) / BLOCK_SIZE;
	uint64_t to_go;

	while ((to_go = LANE_BLOCKS - LAP_DISTANCE - own_position(victim) % LANE_BLOCKS) > 0) {
		if (to_go > 1)
			skip_blocks(victim, min_u64(to_go - 1, most));
		sync_now(victim);
	}
}

static uint64_t shared_position(struct victim *victim)
{
	struct segment segment;
	struct segment_view view;
	uint64_t position;

	if (segment_open(&sys_real, victim->ring, O_RDONLY, &segment) < 0 ||
	    segment_view(&segment, &view) < 0)
		complain(victim, "cannot look at the ring");
	position = load_relaxed(&view_lane_page(&view, 0)->tail_hint);
	segment_view_close(&view);
	segment_close(&segment);
	return position;
}

static void go_to_shared_end(struct victim *victim)
{
	uint64_t to_go;

	do {
		to_go = LANE_BLOCKS - LAP_DISTANCE - shared_position(victim) % LANE_BLOCKS;
		for (uint64_t i = 0; i < to_go / 3 && i < LANE_BLOCKS / 8; i++)
			(void)journal_push(victim->journal, victim->log, BY_VICTIM, DEADLINE_NS);
		if (to_go < 3)
			for (uint64_t i = 0; i < to_go; i++)
				push_now(victim, SHORT_SIZE);
		sync_now(victim);
	} while (to_go > 0);
}

/* Nothing that is long fits any more. */
static void fill(struct victim *victim)
{
	int r;

	while (journal_push(victim->journal, victim->log, BY_VICTIM, 0) == 0)
		;
	do {
		prepare(victim, RECORDS_PREPARED - 1, BY_VICTIM, LONG_SIZE);
		r = push(victim, RECORDS_PREPARED - 1);
		note(victim, RECORDS_PREPARED - 1, r);
	} while (r == 0);
}

/* ---- preparations ---- */

/* Behind what a dead predecessor left in the lane: it must not hold anything up. */
static void settle(struct victim *victim)
{
	push_now(victim, SHORT_SIZE);
	sync_now(victim);
}

static void prepare_short(struct victim *victim)
{
	settle(victim);
	prepare(victim, 0, BY_VICTIM, SHORT_SIZE);
}

static void prepare_long(struct victim *victim)
{
	settle(victim);
	prepare(victim, 0, BY_VICTIM, LONG_SIZE);
}

static void prepare_first(struct victim *victim)
{
	prepare(victim, 0, BY_VICTIM, SHORT_SIZE);
}

static void prepare_wrap(struct victim *victim)
{
	settle(victim);
	go_to_own_end(victim);
	prepare(victim, 0, BY_VICTIM, LONG_SIZE);
}

static void prepare_shared_wrap(struct victim *victim)
{
	settle(victim);
	go_to_shared_end(victim);
	prepare(victim, 0, BY_VICTIM, LONG_SIZE);
}

/* Claimed, and behind the claim nothing fits: it is the lane's own claim that keeps it full. */
static void prepare_full(struct victim *victim)
{
	settle(victim);
	prepare(victim, 1, BY_CLAIM, SHORT_SIZE);
	expect(victim, "claim", shmlog_claim(victim->log, SHMLOG_INFO, SHORT_SIZE, &victim->claim),
	       0);
	fill(victim);
	prepare(victim, 0, BY_VICTIM, LONG_SIZE);
}

static void prepare_filled(struct victim *victim)
{
	fill(victim);
	prepare(victim, 0, BY_VICTIM, LONG_SIZE);
}

/* Some were dropped, and now there is room again. */
static void prepare_gap(struct victim *victim)
{
	prepare_full(victim);
	note(victim, 0, push(victim, 0));
	expect(victim, "abort", shmlog_abort(victim->log, &victim->claim), 0);
	note(victim, 1, -EAGAIN);
	sync_now(victim);
	prepare(victim, 0, BY_VICTIM, SHORT_SIZE);
}

static void prepare_shared_gap(struct victim *victim)
{
	fill(victim);
	(void)kill(victim->writer, SIGCONT);
	sync_now(victim);
	prepare(victim, 0, BY_VICTIM, SHORT_SIZE);
}

static void prepare_claim(struct victim *victim)
{
	settle(victim);
	prepare(victim, 0, BY_CLAIM, LONG_SIZE);
	prepare(victim, 1, BY_VICTIM, SHORT_SIZE);
	prepare(victim, 2, BY_VICTIM, LONG_SIZE);
}

static void prepare_open(struct victim *victim)
{
	prepare_claim(victim);
	expect(victim, "claim", shmlog_claim(victim->log, SHMLOG_INFO, LONG_SIZE, &victim->claim),
	       0);
}

static void prepare_left(struct victim *victim)
{
	settle(victim);
	expect(victim, "unbind", shmlog_unbind(victim->log), 0);
	prepare(victim, 0, BY_VICTIM, SHORT_SIZE);
}

static void prepare_sync(struct victim *victim)
{
	settle(victim);
	push_now(victim, SHORT_SIZE);
}

/* Not by the victim's number: what is left out is no loss. */
static void prepare_level(struct victim *victim)
{
	settle(victim);
	prepare(victim, 0, BY_CLAIM, SHORT_SIZE);
}

static void prepare_nothing(struct victim *victim)
{
	(void)victim;
}

/* ---- operations ---- */

static void operate_push(struct victim *victim)
{
	note(victim, 0, push(victim, 0));
}

static void operate_wait(struct victim *victim)
{
	const struct prepared *record = &victim->records[0];

	note(victim, 0,
	     shmlog_push_wait(victim->log, SHMLOG_INFO, record->text, record->size, DEADLINE_NS));
}

/* Filtered: 0, and yet not in the log. */
static void operate_level(struct victim *victim)
{
	if (push_at(victim, 0, SHMLOG_DEBUG) == 0)
		note(victim, 0, -EAGAIN);
}

static void operate_size(struct victim *victim)
{
	static char too_large[LANE_SIZE];

	note(victim, 0, shmlog_try_push(victim->log, too_large, sizeof(too_large)));
}

static void operate_claim(struct victim *victim)
{
	const struct prepared *record = &victim->records[0];
	int r;

	if (shmlog_claim(victim->log, SHMLOG_INFO, LONG_SIZE + 100, &victim->claim) < 0)
		return;
	note(victim, 1, push(victim, 1));
	memcpy(victim->claim.data, record->text, record->size);
	note(victim, 2, push(victim, 2));
	r = shmlog_commit(victim->log, &victim->claim, record->size);
	note(victim, 0, r);
	if (r < 0)
		note_loss(victim);
}

static void operate_abort(struct victim *victim)
{
	const struct prepared *record = &victim->records[0];

	if (shmlog_claim(victim->log, SHMLOG_INFO, LONG_SIZE, &victim->claim) < 0)
		return;
	memcpy(victim->claim.data, record->text, record->size);
	note(victim, 1, push(victim, 1));
	if (shmlog_abort(victim->log, &victim->claim) == 0)
		note(victim, 0, -EAGAIN);
	note(victim, 2, push(victim, 2));
}

static void operate_open(struct victim *victim)
{
	note(victim, 1, push(victim, 1));
	note(victim, 2, push(victim, 2));
}

static void operate_detach(struct victim *victim)
{
	shmlog_detach(&victim->log);
	note(victim, 0, -EAGAIN);
}

static void operate_unbind(struct victim *victim)
{
	(void)shmlog_unbind(victim->log);
	note(victim, 0, -EAGAIN);
}

static void operate_sync(struct victim *victim)
{
	(void)shmlog_sync(victim->log, SHMLOG_SYNC_WRITTEN, DEADLINE_NS);
}

static void operate_attach(struct victim *victim)
{
	(void)shmlog_attach(victim->ring, NULL, &victim->second);
}

static void operate_prebind(struct victim *victim)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;

	options.prebind = 2;
	(void)shmlog_attach(victim->ring, &options, &victim->second);
}

static void operate_create(struct victim *victim)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	char ring[NAME_SIZE];

	scenario_ring_name(victim, ring);
	options.create = 1;
	options.lanes = 2;
	options.lane_size = LANE_SIZE;
	(void)shmlog_attach(ring, &options, &victim->second);
}

void scenario_ring_name(const struct victim *victim, char name[NAME_SIZE])
{
	(void)snprintf(name, NAME_SIZE, "%.40s.%.20s", victim->ring, victim->name);
}

/* ---- the table ---- */

const struct scenario scenarios[] = {
	{ "own", RECORD_SETTLES, prepare_short, operate_push },
	{ "long", RECORD_SETTLES, prepare_long, operate_push },
	{ "shared", LANE0 | RECORD_SETTLES, prepare_short, operate_push },
	{ "wrap", RECORD_SETTLES, prepare_wrap, operate_push },
	{ "shared-wrap", LANE0 | RECORD_SETTLES, prepare_shared_wrap, operate_push },
	{ "full", 0, prepare_full, operate_push },
	{ "shared-full", LANE0 | WRITER_STOPPED, prepare_filled, operate_push },
	{ "gap", RECORD_SETTLES, prepare_gap, operate_push },
	{ "shared-gap", LANE0 | WRITER_STOPPED | RECORD_SETTLES, prepare_shared_gap, operate_push },
	{ "size", 0, prepare_short, operate_size },
	{ "level", LEVEL_INFO, prepare_level, operate_level },
	{ "claim", RECORD_SETTLES, prepare_claim, operate_claim },
	{ "shared-claim", LANE0 | RECORD_SETTLES, prepare_claim, operate_claim },
	{ "abort", 0, prepare_claim, operate_abort },
	{ "open", 0, prepare_open, operate_open },
	{ "shared-open", LANE0, prepare_open, operate_open },
	{ "detach", BINDS, prepare_open, operate_detach },
	{ "shared-detach", LANE0 | BINDS, prepare_open, operate_detach },
	{ "unbind", BINDS, prepare_open, operate_unbind },
	{ "rebind", RECORD_SETTLES | BINDS, prepare_left, operate_push },
	{ "wait", WRITER_STOPPED | WAITS, prepare_filled, operate_wait },
	{ "shared-wait", LANE0 | WRITER_STOPPED | WAITS, prepare_filled, operate_wait },
	{ "sync", 0, prepare_sync, operate_sync },
	{ "first", BINDS, prepare_first, operate_push },
	{ "shared-first", LANE0 | BINDS, prepare_first, operate_push },
	{ "attach", UNATTACHED, prepare_nothing, operate_attach },
	{ "prebind", UNATTACHED, prepare_nothing, operate_prebind },
	{ "create", UNATTACHED | MAKES_RING, prepare_nothing, operate_create },
};
const unsigned scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);

/* ---- interrupted victims ---- */

static struct victim *interrupted_victim;
static sigjmp_buf behind_operation;

/* A drop is a loss of the victim's; what was refused for another reason is none. */
static void interrupt(int signal_no)
{
	struct victim *victim = interrupted_victim;
	const uint32_t serial = journal_next(victim->journal, BY_HANDLER);
	char text[JOURNAL_TEXT_MAX];
	int r;

	(void)signal_no;
	journal_note(victim->journal, BY_HANDLER, serial, JOURNAL_TRIED);
	r = shmlog_try_push(victim->log, text, journal_text(BY_HANDLER, serial, text));
	journal_note(victim->journal, BY_HANDLER, serial,
		     r == 0 ? JOURNAL_PUBLISHED : JOURNAL_PASSED_OVER);
	if (r == -EAGAIN)
		victim->handler_drops++;
	if (victim->manner == LEFT)
		siglongjmp(behind_operation, 1);
}

static void expect_signal(struct victim *victim)
{
	struct sigaction action = { .sa_handler = interrupt };

	interrupted_victim = victim;
	if (sigaction(SIGUSR1, &action, NULL) < 0)
		complain(victim, "sigaction: %s", strerror(errno));
}

/* As other calls do sooner or later: till then, a deeper push takes the one that was left for one
 * that is under way below it. */
static __attribute__((noinline)) void overwrite_stack(void)
{
	volatile char place[32768];

	for (size_t i = 0; i < sizeof(place); i++)
		place[i] = (char)i;
}

/* Whatever was interrupted: the thread pushes on, and holds one lane and no more. */
static void go_on(const struct scenario *scenario, struct victim *victim)
{
	int r;

	for (; victim->handler_drops > 0; victim->handler_drops--)
		note_loss(victim);
	if (!victim->log)
		return;
	overwrite_stack();
	(void)shmlog_abort(victim->log, &victim->claim); /* where one is open */
	r = journal_push(victim->journal, victim->log, BY_VICTIM, DEADLINE_NS);
	expect(victim, "push after an interruption", r, 0);
	sync_now(victim);
	expect(victim, "unbind", shmlog_unbind(victim->log), 0);
	r = journal_push(victim->journal, victim->log, BY_VICTIM, DEADLINE_NS);
	expect(victim, "push in a lane bound again", r, 0);
	sync_now(victim);
	check_lane(scenario, victim);
}

static void operate(const struct scenario *scenario, struct victim *victim)
{
	step_enter();
	scenario->operate(victim);
	step_leave();
}

void scenario_run(const struct scenario *scenario, struct victim *victim)
{
	step_be_traced();
	if (!(scenario->traits & UNATTACHED))
		victim->log = scenario_attach(victim);
	scenario->prepare(victim);
	if (victim->log && scenario->prepare != prepare_first && scenario->prepare != prepare_left)
		check_lane(scenario, victim);
	if (victim->manner < INTERRUPTED) {
		operate(scenario, victim);
		_exit(0);
	}
	expect_signal(victim);
	if (sigsetjmp(behind_operation, 1) == 0)
		operate(scenario, victim);
	go_on(scenario, victim);
	_exit(0);
}

void scenario_succeed(const struct scenario *scenario, struct victim *successor)
{
	int r;

	successor->log = scenario_attach(successor);
	if (shmlog_bind(successor->log) == 0) /* not where lane 0 is full */
		(void)journal_push(successor->journal, successor->log, BY_SUCCESSOR, 0);
	(void)kill(successor->writer, SIGCONT);
	r = journal_push(successor->journal, successor->log, BY_SUCCESSOR, DEADLINE_NS);
	expect(successor, "the successor's push", r, 0);
	sync_now(successor);
	check_lane(scenario, successor);
	_exit(0);
}
