/*
 * writer.c - the writer's loop. See writer.h.
 */
#include "writer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "doorbell.h"
#include "hold.h"
#include "point.h"

enum {
	POLL_US = 500,     /* between looks while the disk is at work                    */
	NAP_MAX_MS = 100,  /* between looks at the signals                               */
	CHECK_MS = 1000,   /* between looks at what changes rarely                       */
	HANG_MS = 10000,   /* without any answer of the disk when stopping               */
	REFUSED_MS = 2000, /* without a submission that is taken: --once gives up       */
};

static int64_t now_ns(const struct writer *writer)
{
	return writer->sys->now(CLOCK_MONOTONIC);
}

/* ---- passes ---- */

/* One pass over one ring. False: all buffers are busy, it has not come to its end. */
static bool pass_ring(struct writer *writer, struct drain *drain)
{
	struct pages *pages = &writer->pages;

	drain_begin_pass(drain);
	for (;;) {
		struct page_slot *slot = pages_fill(pages, drain);

		if (!slot)
			return false;
		if (drain_continue(drain, &slot->builder) == DRAIN_DONE)
			return true;
		pages_close(pages);
		pages_pump(pages);
	}
}

static void note_age(struct writer *writer)
{
	struct pages *pages = &writer->pages;

	if (pages->filling && pages->filling->builder.records && !pages->filling_since)
		pages->filling_since = now_ns(writer);
}

/* All rings, the removed ones first: their records are older. */
static bool pass(struct writer *writer)
{
	bool is_whole = true;

	for (unsigned i = 0; i < writer->ring_count; i++)
		is_whole = pass_ring(writer, writer->rings[i]) && is_whole;
	note_age(writer);
	return is_whole;
}

static void mark(struct writer *writer)
{
	for (unsigned i = 0; i < writer->ring_count; i++) {
		struct page_slot *slot = pages_fill(&writer->pages, writer->rings[i]);

		if (slot)
			drain_mark(writer->rings[i], &slot->builder);
	}
	note_age(writer);
}

/* ---- requests ---- */

/* Take up what was asked since: the pass that follows covers it. True: there is something new. */
static bool take_up(struct request *request, const struct shared_u32 *requests,
		    const struct shared_u32 *done)
{
	const uint32_t asked = load_seq_cst_u32(requests); /* MO request:B <- request:A */

	if (request->is_active || asked == load_relaxed_u32(done))
		return false;
	request->asked = asked;
	request->is_active = true;
	request->barrier = UINT64_MAX; /* not covered yet */
	request->is_synced = false;
	request->is_rolled = false;
	return true;
}

static bool take_up_requests(struct writer *writer)
{
	const struct doorbell *doorbell = writer->ring->doorbell;
	const struct writer_status *status = writer->ring->writer;
	const bool drain =
		take_up(&writer->drain_request, &doorbell->drain_requests, &status->drain_done);
	const bool sync =
		take_up(&writer->sync_request, &doorbell->sync_requests, &status->sync_done);
	const bool rotate =
		take_up(&writer->rotate_request, &doorbell->rotate_requests, &status->rotate_done);

	return drain || sync || rotate;
}

static void set_barrier(struct writer *writer, struct request *request)
{
	if (request->is_active && request->barrier == UINT64_MAX)
		request->barrier = writer->pages.closed_count;
}

static bool is_any_uncovered(const struct writer *writer)
{
	return (writer->drain_request.is_active && writer->drain_request.barrier == UINT64_MAX) ||
	       (writer->sync_request.is_active && writer->sync_request.barrier == UINT64_MAX) ||
	       (writer->rotate_request.is_active && writer->rotate_request.barrier == UINT64_MAX);
}

static void answer(struct writer *writer, struct request *request, struct shared_u32 *done)
{
	request->is_active = false;
	store_seq_cst_u32(done, request->asked); /* MO done:A -> done:B */
	POINT(request_answered);
	(void)writer->sys->futex_wake(&done->raw);
}

static void serve_sync(struct writer *writer)
{
	struct request *request = &writer->sync_request;

	if (!request->is_active || writer->pages.completed_count < request->barrier)
		return;
	if (request->is_synced || !drain_is_unsynced(writer->ring))
		answer(writer, request, &writer->ring->writer->sync_done);
	else
		writer->sync.is_wanted = true;
}

/* Rolled when the old file is sealed: then it bears its final name. */
static void serve_rotate(struct writer *writer)
{
	struct request *request = &writer->rotate_request;
	struct pages *pages = &writer->pages;

	if (!request->is_active || pages->completed_count < request->barrier)
		return;
	if (!request->is_rolled && pages_has_data(pages)) {
		pages_roll(pages);
		pages_pump(pages);
	}
	request->is_rolled = true;
	if (pages->is_rolling || !pages_is_sealed(pages))
		return;
	answer(writer, request, &writer->ring->writer->rotate_done);
}

static void serve_requests(struct writer *writer)
{
	struct request *drain = &writer->drain_request;

	if (drain->is_active && writer->pages.completed_count >= drain->barrier)
		answer(writer, drain, &writer->ring->writer->drain_done);
	serve_sync(writer);
	serve_rotate(writer);
}

/* ---- sync ---- */

/* The tags of page writes are their buffers' numbers. */
enum { TAG_SYNC = IO_BUFFERS };

/* With --release durable nothing is answered, rolled or ended before a sync. */
static bool is_sync_pressing(const struct writer *writer)
{
	return pages_press_for_sync(&writer->pages) ||
	       (pages_await_sync(&writer->pages) &&
		(writer->stop_signals || writer->is_room_wanted ||
		 writer->drain_request.is_active || writer->sync_request.is_active ||
		 writer->rotate_request.is_active));
}

static bool is_sync_due(const struct writer *writer)
{
	const struct config *config = writer->config;

	if (writer->sync.is_wanted || is_sync_pressing(writer))
		return true;
	if (config->sync == SYNC_NONE)
		return false;
	return config->sync == SYNC_PAGE || now_ns(writer) >= writer->sync.next;
}

static bool is_anything_unsynced(const struct writer *writer)
{
	for (unsigned i = 0; i < writer->ring_count; i++)
		if (drain_is_unsynced(writer->rings[i]))
			return true;
	return false;
}

static void take_snapshots(struct writer *writer)
{
	for (unsigned i = 0; i < writer->ring_count; i++)
		drain_snapshot(writer->rings[i], &writer->sync.snapshots[i]);
}

static void set_durable(struct writer *writer)
{
	for (unsigned i = 0; i < writer->ring_count; i++)
		drain_set_durable(writer->rings[i], &writer->sync.snapshots[i]);
}

static void apply_snapshot(struct writer *writer)
{
	if (writer->sync.phase != SYNC_AWAITS_SEALS ||
	    (int)(writer->pages.seals_done - writer->sync.seals) < 0)
		return;
	writer->sync.phase = NO_SYNC;
	if (writer->sync.barrier >= writer->sync_request.barrier)
		writer->sync_request.is_synced = true;
	set_durable(writer);
}

static bool may_sync(const struct writer *writer)
{
	return writer->sync.phase == NO_SYNC && !writer->pages.is_poisoned;
}

/* What is complete now is durable when this sync is, and the files before are sealed. */
static void begin_sync(struct writer *writer)
{
	struct pages *pages = &writer->pages;

	if (!may_sync(writer) || !is_sync_due(writer))
		return;
	if (!is_anything_unsynced(writer) && !pages_await_sync(pages) && !writer->sync.is_wanted)
		return;
	take_snapshots(writer);
	writer->sync.barrier = pages->completed_count;
	writer->sync.seals = pages->seals_submitted;
	writer->sync.is_wanted = false;
	writer->sync.next = now_ns(writer) + writer->config->sync_interval_ns;
	if (!pages->file) { /* nothing but sealed files */
		writer->sync.phase = SYNC_AWAITS_SEALS;
		apply_snapshot(writer);
		return;
	}
	if (pages_submit_sync(pages, TAG_SYNC) == 0)
		writer->sync.phase = SYNC_IN_FLIGHT;
	POINT(sync_submitted);
}

static void synced(struct writer *writer, int error)
{
	writer->sync.phase = error == 0 ? SYNC_AWAITS_SEALS : NO_SYNC;
	POINT(sync_done);
	pages_sync_done(&writer->pages, error == 0);
	if (error == 0) {
		apply_snapshot(writer);
		return;
	}
	/* The kernel may have dropped what it could not write: asking again would say yes to
	 * nothing. The file is given up. */
	if (writer->config->release != RELEASE_DURABLE)
		for (unsigned i = 0; i < writer->ring_count; i++)
			drain_count_unsynced(writer->rings[i], NULL);
	pages_poison(&writer->pages, strerror(-error));
}

/* ---- the disk's answers ---- */

static void reap(struct writer *writer, int64_t timeout_ns)
{
	struct io_result results[IO_BUFFERS + 1];
	const int count = io_reap(writer->io, results, COUNT_OF(results), timeout_ns);

	if (count > 0 || writer->io->in_flight == 0)
		writer->answered = now_ns(writer);
	for (int i = 0; i < count; i++) {
		if (results[i].tag == TAG_SYNC)
			synced(writer, results[i].error);
		else
			pages_written(&writer->pages, (unsigned)results[i].tag, results[i].error);
	}
}

static void tell_trouble(struct writer *writer)
{
	struct pages *pages = &writer->pages;

	if (!pages->trouble[0])
		return;
	say_news(&writer->told_of_disk, pages->trouble);
	pages->trouble[0] = '\0';
}

static bool is_older(const struct writer *writer, int64_t began, int64_t age_ns)
{
	return age_ns > 0 && now_ns(writer) - began >= age_ns;
}

static void roll_by_age(struct writer *writer)
{
	struct pages *pages = &writer->pages;

	if (!pages_has_data(pages))
		return;
	if (is_older(writer, pages->volume_began, writer->config->volume_age_ns))
		pages_end_volume(pages);
	else if (is_older(writer, pages->file_began, writer->config->roll_age_ns))
		pages_roll(pages);
}

/* Everything that goes on without a look at the ring. */
static void turn(struct writer *writer, int64_t timeout_ns)
{
	reap(writer, timeout_ns);
	pages_collect(&writer->pages);
	pages_pump(&writer->pages);
	apply_snapshot(writer);
	serve_requests(writer);
	begin_sync(writer);
	roll_by_age(writer);
	tidy_turn(&writer->tidy);
	tell_trouble(writer);
}

/* ---- the ring's life ---- */

static void write_log_path(const struct writer *writer, struct writer_status *status)
{
	(void)snprintf(status->log_path, sizeof(status->log_path), "%.*s",
		       (int)sizeof(status->log_path) - 1, writer->roll.path);
}

/* An id without its path would lock everybody out, one with another's path lead them astray. Until
 * both are there the ring names no log: it needs none, all that there was has been recovered. */
static void name_log(const struct writer *writer, struct writer_status *status, uint64_t log_id)
{
	status->pending_log_id = 0;
	write_log_path(writer, status);
	POINT(log_path_stored);
	status->pending_log_id = log_id;
	POINT(pending_log_id_stored);
}

void writer_enter_ring(struct writer *writer, struct drain *ring, uint64_t log_id)
{
	struct writer_status *status = ring->writer;

	store_relaxed_u32(&status->state, WRITER_RUNNING);
	status->pid = writer->sys->getpid();
	name_log(writer, status, log_id);
	store_relaxed_u32(&status->io_backend, (uint32_t)writer->io->backend);
	store_relaxed(&status->stall_began_ns, 0);
	writer->sleeps = (load_relaxed_u32(&status->sleeping) | 1) + 1;
	store_relaxed_u32(&status->sleeping, writer->sleeps);
	writer->ring = ring;
	writer->rings[writer->ring_count++] = ring;
	store_release(&writer->wake_address,
		      (uintptr_t)ring); /* MO wake_address:A -> wake_address:B */
}

static void open_successor(struct writer *writer)
{
	struct drain *fresh = NULL;

	if (writer->ring_count == RINGS_MAX || writer->sync.phase != NO_SYNC)
		return; /* asked again soon */
	if (hold_successor(writer->sys, writer->config, writer->ring, &fresh) < 0) {
		say_news(&writer->told_of_ring, reason_get());
		return;
	}
	writer_enter_ring(writer, fresh, writer->pages.log_id);
	writer->pages.ring = fresh;
	writer->drain_request = (struct request){ 0 };
	writer->sync_request = (struct request){ 0 };
	writer->rotate_request = (struct request){ 0 };
	say("the ring's name was removed: made a new ring, draining both");
}

/* A removed ring goes when nobody can store into it and nothing is left of it. */
static bool is_over(const struct writer *writer, const struct drain *old)
{
	return !drain_has_users(old) && drain_backlog(old) == 0 &&
	       !pages_hold(&writer->pages, old) && pages_is_sealed(&writer->pages);
}

/* The second thread may still be about to ring a doorbell that it looked up before. */
static void await_wake(struct writer *writer)
{
	(void)pthread_mutex_lock(&writer->wake_mutex);
	(void)pthread_mutex_unlock(&writer->wake_mutex);
}

/* Nobody is left who could announce them: what @old lost is named before it goes. True: it is. */
static bool mark_last(struct writer *writer, struct drain *old)
{
	struct page_slot *slot = pages_fill(&writer->pages, old);

	if (!slot)
		return false;
	drain_mark(old, &slot->builder);
	if (slot->builder.records == 0)
		return true;
	pages_close(&writer->pages);
	return false;
}

static void close_old(struct writer *writer)
{
	if (writer->sync.phase != NO_SYNC)
		return; /* the snapshots are in the order of the rings */
	for (unsigned i = 0; i + 1 < writer->ring_count; i++) {
		struct drain *old = writer->rings[i];

		if (writer->pages.filling && writer->pages.filling->drain == old)
			pages_close(&writer->pages); /* it need not wait for a flush */
		if (writer->pages.file_ring == old)
			pages_roll(&writer->pages); /* a file is one ring's */
		if (!is_over(writer, old) || !mark_last(writer, old))
			continue;
		writer->ring_count--;
		memmove(&writer->rings[i], &writer->rings[i + 1],
			(writer->ring_count - i) * sizeof(*writer->rings));
		await_wake(writer);
		hold_release(old);
		POINT(ring_left);
		return;
	}
}

/* Is its memory whole? One that is not is told of once, and its name makes room for another. */
static void check_memory(struct writer *writer, struct drain *ring)
{
	const bool was_lost = ring->is_lost;
	char text[320];

	drain_check_memory(ring);
	if (!ring->is_lost || was_lost)
		return;
	(void)snprintf(text, sizeof(text), "ring \"%s\": %s; it is replaced by a new one",
		       ring->segment.name,
		       ring->is_cut ? "its memory was taken away, what lay in it is lost"
				    : "its header was written over");
	say_news(&writer->told_of_ring, text);
}

static void remove_lost(struct writer *writer)
{
	const int r = segment_unlink(&writer->ring->segment);
	char text[320];

	if (r == 0)
		return;
	(void)snprintf(text, sizeof(text),
		       "ring \"%s\": it is damaged, and its name cannot be removed: %s; remove it, "
		       "and a new one is made",
		       writer->ring->segment.name, strerror(-r));
	say_news(&writer->told_of_ring, text);
}

/* Whoever may write to the segment may have written over what others read there of us. */
static void repair(struct writer *writer, struct drain *ring)
{
	struct writer_status *status = ring->writer;

	status->pid = writer->sys->getpid();
	/* Only what differs: half written, a path would lead the next writer astray. */
	if (strncmp(status->log_path, writer->roll.path, sizeof(status->log_path) - 1) != 0)
		write_log_path(writer, status);
	if (status->pending_log_id != writer->pages.log_id)
		status->pending_log_id = writer->pages.log_id;
	if (drain_repair(ring))
		say_news(&writer->told_of_ring,
			 "the ring was closed, but not removed: opened it again");
}

static void check_rarely(struct writer *writer)
{
	if (now_ns(writer) < writer->next_check)
		return;
	writer->next_check = now_ns(writer) + CHECK_MS * (int64_t)NS_PER_MS;
	for (unsigned i = 0; i < writer->ring_count; i++) {
		check_memory(writer, writer->rings[i]);
		repair(writer, writer->rings[i]);
	}
	if (writer->ring->is_lost)
		remove_lost(writer);
	else
		drain_reset_lanes(writer->ring);
	close_old(writer);
	if (drain_is_unlinked(writer->ring))
		open_successor(writer);
}

/* Zeros were read where memory was missing: before anything else is read there. */
static void face_faults(struct writer *writer)
{
	for (unsigned i = 0; i < writer->ring_count; i++)
		if (!writer->rings[i]->is_lost && drain_was_hit(writer->rings[i]))
			check_memory(writer, writer->rings[i]);
}

/* ---- signals ---- */

static void print_status(const struct writer *writer)
{
	const struct pages *pages = &writer->pages;
	const struct writer_status *status = writer->ring->writer;

	(void)fprintf(stderr,
		      "shmlog-writer: ring %s, %llu records taken, %llu lost, %llu abandoned; %llu "
		      "pages, "
		      "%llu bytes, %llu files written; %u pages under way; %s\n",
		      writer->ring->segment.name, (unsigned long long)writer->ring->total_records,
		      (unsigned long long)writer->ring->total_lost,
		      (unsigned long long)writer->ring->total_abandoned,
		      (unsigned long long)load_relaxed(&status->pages),
		      (unsigned long long)load_relaxed(&status->bytes),
		      (unsigned long long)load_relaxed(&status->files), pages->order_count,
		      pages->is_stalled ? "stalled, no room on disk" : "running");
}

/* As if somebody had asked through the doorbell. */
static void ask_self(struct writer *writer, bool sync)
{
	struct doorbell *doorbell = writer->ring->doorbell;

	if (sync)
		(void)add_seq_cst_u32(&doorbell->sync_requests, 1); /* MO request:A -> request:B */
	(void)add_seq_cst_u32(&doorbell->rotate_requests, 1);       /* MO request:A -> request:B */
}

static void stop(struct writer *writer)
{
	if (writer->stop_signals++ == 0)
		writer->stop_deadline = now_ns(writer) + writer->config->stop_timeout_ns;
	else
		writer->stop_deadline = now_ns(writer);
}

static void take_signals(struct writer *writer)
{
	struct signalfd_siginfo info;

	while (read(writer->signals, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGTERM:
		case SIGINT:
			stop(writer);
			break;
		case SIGHUP:
			(void)config_reload(writer->config);
			tidy_hurry(&writer->tidy);
			ask_self(writer, false);
			break;
		case SIGUSR1:
			ask_self(writer, true);
			break;
		default:
			print_status(writer);
		}
	}
}

/* ---- waiting ---- */

static uint32_t rings_now(const struct writer *writer)
{
	return load_seq_cst_u32(
		&writer->ring->doorbell->rings); /* MO writer_sleep:B <- doorbell_ring:A */
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Until when may we sleep, if nobody rings? */
static int64_t wake_time(const struct writer *writer)
{
	const struct pages *pages = &writer->pages;
	int64_t until = now_ns(writer) + NAP_MAX_MS * (int64_t)NS_PER_MS;

	if (writer->config->mode == MODE_LOOP || pages->filling_since)
		until = earlier(until, writer->next_flush);
	if (writer->config->sync == SYNC_INTERVAL && may_sync(writer) &&
	    (is_anything_unsynced(writer) || pages_await_sync(pages)))
		until = earlier(until, writer->sync.next);
	if (pages->retry_at && pages->order_count > 0)
		until = earlier(until, pages->retry_at);
	return until;
}

static void sleep_on_doorbell(struct writer *writer, int64_t until)
{
	struct shared_u32 *sleeping = &writer->ring->writer->sleeping;

	store_seq_cst_u32(sleeping, writer->sleeps + 1); /* MO writer_sleep:A -> doorbell_ring:B */
	if (rings_now(writer) == writer->rings_seen)
		(void)writer->sys->futex_wait(&writer->ring->doorbell->rings.raw,
					      writer->rings_seen, until);
	writer->sleeps += 2;
	store_relaxed_u32(sleeping, writer->sleeps);
}

/* Let records gather. While the disk is at work, its answers end the wait, too. */
static void wait_for_work(struct writer *writer)
{
	const int64_t until = wake_time(writer);
	const int64_t now = now_ns(writer);
	int64_t nap_ns = POLL_US * (int64_t)NS_PER_US;

	if (until <= now)
		return;
	if (writer->io->in_flight == 0) {
		sleep_on_doorbell(writer, until);
		return;
	}
	nap_ns = earlier(nap_ns, until - now);
	turn(writer, nap_ns);
}

/* Has somebody rung since the last look? */
static void hear_doorbell(struct writer *writer)
{
	const uint32_t rings = rings_now(writer);

	writer->is_rung = rings != writer->rings_seen;
	writer->rings_seen = rings;
}

/* ---- one round ---- */

/* A ring means "look" in loop mode; in the others, only if enough waits in one lane. */
static bool is_worth_a_pass(struct writer *writer)
{
	const uint32_t blocks = writer->ring->segment.geometry.blocks;
	const uint32_t batch = writer->config->batch_blocks;

	if (writer->config->mode == MODE_LOOP)
		return true;
	if (!writer->is_rung)
		return false;
	if (writer->config->mode == MODE_TRIGGER && batch)
		return drain_backlog(writer->ring) >= min_u64(batch, blocks / 4);
	return drain_backlog(writer->ring) >=
	       (writer->config->mode == MODE_TRIGGER ? blocks / 4 : blocks / 2);
}

static bool is_flush_due(const struct writer *writer)
{
	return now_ns(writer) >= writer->next_flush;
}

static void set_next_flush(struct writer *writer)
{
	const int64_t interval = writer->config->flush_interval_ns;

	writer->next_flush = now_ns(writer) + (interval ? interval : NS_PER_MS);
}

/*
 * Look at the ring. A page that is not full is closed when it is old enough, or when somebody
 * waits: for room (he rang), or for an answer. A second pass right before makes its `seen` later
 * than its records, so that readers need not hold them back.
 */
static void look(struct writer *writer, bool must_close)
{
	const bool is_due = is_flush_due(writer);
	bool is_whole = pass(writer);

	if (is_due)
		mark(writer);
	if (is_due || must_close || writer->is_rung) {
		is_whole = pass(writer) && is_whole;
		pages_close(&writer->pages);
	}
	if (is_due)
		set_next_flush(writer);
	if (must_close && is_whole) {
		set_barrier(writer, &writer->drain_request);
		set_barrier(writer, &writer->sync_request);
		set_barrier(writer, &writer->rotate_request);
	}
	if (writer->is_rung)
		writer->is_room_wanted = true;
	else if (pages_is_idle(&writer->pages))
		writer->is_room_wanted = false;
}

static void round_trip(struct writer *writer)
{
	bool asked;

	take_signals(writer);
	hear_doorbell(writer);
	asked = take_up_requests(writer) || is_any_uncovered(writer);
	if (asked || is_worth_a_pass(writer) ||
	    (writer->pages.filling_since && is_flush_due(writer)))
		look(writer, asked);
	face_faults(writer);
	turn(writer, 0);
	check_rarely(writer);
}

/* ---- the end ---- */

static bool is_time_up(const struct writer *writer)
{
	return now_ns(writer) >= writer->stop_deadline;
}

/* For the disk, for the second thread, or, on a full disk, for time to pass. */
static void wait_a_little(struct writer *writer)
{
	const int64_t nap_ns = POLL_US * (int64_t)NS_PER_US;

	if (writer->io->in_flight > 0)
		turn(writer, nap_ns);
	else if (janitor_pending(writer->janitor) > 0)
		pages_wait(&writer->pages, nap_ns);
	else
		(void)writer->sys->sleep(nap_ns);
}

static int64_t hang_deadline(const struct writer *writer)
{
	return writer->answered + HANG_MS * (int64_t)NS_PER_MS;
}

static bool is_refused(const struct writer *writer)
{
	const int64_t since = writer->pages.refused_since;

	return since != 0 && now_ns(writer) - since >= REFUSED_MS * (int64_t)NS_PER_MS;
}

/* --once where the disk takes nothing: nobody waits for better times. */
static bool is_hopeless(const struct writer *writer)
{
	const struct pages *pages = &writer->pages;

	return writer->config->once &&
	       (pages->is_stalled || pages->is_fileless || is_refused(writer) ||
		now_ns(writer) >= hang_deadline(writer));
}

/* Everything that is in pages reaches the disk. */
static void finish_pages(struct writer *writer)
{
	while (!pages_is_idle(&writer->pages) && !is_time_up(writer) && !writer->pages.fatal) {
		pages_close(&writer->pages);
		turn(writer, 0);
		take_signals(writer);
		if (is_hopeless(writer))
			break;
		if (!pages_is_idle(&writer->pages))
			wait_a_little(writer);
	}
}

/* What was published before the signal: a whole pass that begins after it takes all of that. */
static void drain_rest(struct writer *writer)
{
	while (!is_time_up(writer) && !writer->pages.fatal) {
		const bool is_whole = pass(writer);

		mark(writer);
		pages_close(&writer->pages);
		turn(writer, 0);
		take_signals(writer);
		if (is_whole || is_hopeless(writer))
			break;
		wait_a_little(writer);
	}
	finish_pages(writer);
}

/* Submitted writes end, or the disk hangs: then there is nothing more to do here, and the fence of
 * the file keeps the next writer waiting for them. */
static void reap_all(struct writer *writer)
{
	while (writer->io->in_flight > 0 && now_ns(writer) < hang_deadline(writer))
		turn(writer, POLL_US * (int64_t)NS_PER_US);
	if (writer->io->in_flight == 0)
		return;
	say("the disk does not answer; what was published waits in the ring");
	_exit(EX_IOERR);
}

static void seal_last(struct writer *writer)
{
	struct pages *pages = &writer->pages;

	reap_all(writer);
	if (pages->file && pages->order_count == 0 && !pages->is_poisoned)
		pages_seal(pages);
	while (!pages_is_sealed(pages))
		pages_wait(pages, -1);
	tell_trouble(writer);
}

/* Sealed files are synced: all that is written is durable. */
static void finish_durable(struct writer *writer)
{
	take_snapshots(writer);
	set_durable(writer);
	serve_requests(writer);
}

static int end(struct writer *writer)
{
	struct pages *pages = &writer->pages;
	bool is_clean;

	drain_rest(writer);
	seal_last(writer);
	is_clean = pages_is_idle(pages) && !pages->file && !pages->fatal;
	if (is_clean)
		finish_durable(writer);
	pages_finish(pages);
	store_relaxed_u32(&writer->ring->writer->io_backend, IO_NONE);
	if (is_clean)
		writer->ring->writer->pending_log_id = 0;
	store_relaxed_u32(&writer->ring->writer->state, is_clean ? WRITER_CLEAN : WRITER_ENDED);
	POINT(writer_ended);
	if (pages->fatal)
		return reason_set(pages->fatal, "%s: %s; what was published waits in the ring",
				  writer->config->directory, writer->told_of_disk.text);
	if (pages->is_stalled)
		return reason_set(-ENOSPC,
				  "%s: no room on disk; what was published waits in the ring",
				  writer->config->directory);
	if (!pages_is_idle(pages))
		return reason_set(-EIO,
				  "%s: the disk has not taken everything%s%s; what was published "
				  "waits in the ring",
				  writer->config->directory, *writer->told_of_disk.text ? ": " : "",
				  writer->told_of_disk.text);
	return 0;
}

/* ---- start ---- */

static void wake(void *argument)
{
	struct writer *writer = argument;
	const struct drain *ring;

	(void)pthread_mutex_lock(&writer->wake_mutex);
	ring = (const void *)(uintptr_t)load_acquire(
		&writer->wake_address); /* MO wake_address:B <- wake_address:A */
	doorbell_ring(writer->sys, ring->doorbell, ring->writer, NULL);
	(void)pthread_mutex_unlock(&writer->wake_mutex);
}

int writer_open_signals(struct writer *writer)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGUSR1);
	(void)sigaddset(&set, SIGUSR2);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == 0)
		writer->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return writer->signals < 0 ? reason_set(-errno, "cannot take signals: %s", strerror(errno))
				   : 0;
}

/* A clock that was set back makes a volume young, not older than anything. */
static int64_t volume_began(const struct writer *writer, const struct recovery *recovery)
{
	const int64_t age_ns = writer->sys->now(CLOCK_REALTIME) - recovery->volume_began_ns;

	return now_ns(writer) - (recovery->volume_began_ns && age_ns > 0 ? age_ns : 0);
}

static void start_pages(struct writer *writer, const struct recovery *recovery)
{
	writer->volume = recovery->volume;
	writer->pages = (struct pages){
		.sys = writer->sys,
		.config = writer->config,
		.io = writer->io,
		.roll = &writer->roll,
		.volume = &writer->volume,
		.janitor = writer->janitor,
		.ring = writer->ring,
		.begun_volume_no = recovery->volume.volume_no,
		.volume_began = volume_began(writer, recovery),
		.page_next = recovery->page_next,
		.log_id = recovery->log_id,
		.previous_file_no = recovery->previous_file_no,
		.previous_checksum = recovery->previous_checksum,
	};
}

int writer_run(struct writer *writer, const struct recovery *recovery)
{
	int r;

	(void)pthread_mutex_init(&writer->wake_mutex, NULL);
	r = janitor_start(&writer->roll, wake, writer, &writer->janitor);
	if (r < 0)
		return reason_set(r, "cannot start the second thread: %s", strerror(-r));
	start_pages(writer, recovery);
	tidy_begin(&writer->tidy, &writer->pages, writer->dir_lock, recovery->keep_from);
	writer->sync.next = writer->answered = now_ns(writer);
	if (writer->config->once) {
		stop(writer);
		writer->stop_deadline = INT64_MAX; /* all of it, however long; TERM ends it */
	}
	while (!writer->stop_signals && !writer->pages.fatal) {
		round_trip(writer);
		wait_for_work(writer);
	}
	r = end(writer);
	janitor_stop(&writer->janitor);
	tidy_end(&writer->tidy);
	return r;
}
