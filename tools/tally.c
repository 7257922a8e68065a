/*
 * tally.c - count what a ring's shared memory says.
 *
 * Order matters in one place: what was written is read before what was published, so that with
 * both growing meanwhile `pending` never comes out negative.
 */
#include "tally.h"

#include <string.h>

#include "ring.h"
#include "shmlog_reader.h"
#include "utf8.h"

/* Of enum io_backend, writer/io.h: the numbers stand in shared memory. */
static const char *const io_names[] = { NULL, "uring", "pwrite" };
static const char *const clock_names[] = { "auto", "tsc", "monotonic", "none", "writer" };

const char *tally_clock_name(uint32_t clock)
{
	return clock < COUNT_OF(clock_names) ? clock_names[clock] : "?";
}

const char *tally_loss_name(unsigned reason)
{
	return shmlog_loss_name((int)reason);
}

/* One count under way. */
struct count {
	const struct segment *segment;
	const struct segment_view *view;
	struct tally *tally;
	/* Of the lane that is counted: */
	struct ring_survey survey;
	struct source_payload sources[OWNER_IDS]; /* the last of each owner; own lanes: [0] */
};

static bool is_held(const struct segment *segment, int64_t lock_byte)
{
	return segment->sys->lock_query(segment->fd, lock_byte, 1) == 1;
}

static const char *state_name(uint32_t state, bool alive)
{
	if (!alive && state == WRITER_CLEAN)
		return "clean";
	if (!alive && state == WRITER_ENDED)
		return "ended";
	if (!alive)
		return state == WRITER_NONE ? "none" : "killed";
	return state == WRITER_STALLED ? "stalled" : "running";
}

static void count_writer(const struct count *count, struct tally_writer *ret)
{
	const struct writer_status *status = view_writer(count->view);
	const uint32_t io = load_relaxed_u32(&status->io_backend);

	ret->alive = is_held(count->segment, LOCK_BYTE_WRITER);
	ret->pid = ret->alive ? status->pid : 0;
	ret->io = ret->alive && io < COUNT_OF(io_names) ? io_names[io] : NULL;
	ret->state = state_name(load_relaxed_u32(&status->state), ret->alive);
	ret->pages = load_relaxed(&status->pages);
	ret->bytes = load_relaxed(&status->bytes);
	ret->files = load_relaxed(&status->files);
	ret->stalls = load_relaxed(&status->stalls);
	ret->io_errors = load_relaxed(&status->io_errors);
	ret->archiver_pid = ret->alive ? load_relaxed_u32(&status->archiver_pid) : 0;
	ret->deleted_files = load_relaxed(&status->deleted_files);
	ret->deleted_bytes = load_relaxed(&status->deleted_bytes);
	utf8_copy_shown(ret->directory, status->log_path, sizeof(ret->directory));
}

static uint64_t sum(const struct shared_u64 *counters)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < LOSS_REASONS; i++)
		total += load_relaxed(&counters[i]);
	return total;
}

static void add_drops(struct tally *tally, const struct shared_u64 *counters)
{
	for (unsigned i = 0; i < LOSS_REASONS; i++)
		tally->dropped_by[i] += load_relaxed(&counters[i]);
}

/* No more than a full lane, whatever the words in shared memory made of the survey. */
static uint64_t find_end(const struct lane *lane, const struct ring_survey *survey)
{
	const uint64_t behind = survey->frontier - survey->released;

	return survey->released + (behind < lane->block_count ? behind : lane->block_count);
}

/* The last SOURCE of each owner: what the writer knows, and what lies before it still. */
static void find_sources(struct count *count, uint32_t number, const struct lane *lane)
{
	const struct ring_survey *survey = &count->survey;
	struct taken taken;

	count->sources[0] = view_lane_status(count->view, number)->source;
	for (uint32_t owner = 1; number == 0 && owner < OWNER_IDS; owner++)
		count->sources[owner] = view_owner_status(count->view, owner)->source;
	for (uint64_t at = survey->released, end = find_end(lane, survey); at < end;
	     at += taken.blocks) {
		const enum take take = ring_look(lane, at, &taken);

		if (take == TAKE_EMPTY || take == TAKE_CORRUPT)
			return; /* written over under us: what we have must do */
		if (take == TAKE_RECORD && taken.header.kind == RECORD_SOURCE &&
		    taken.header.length == sizeof(struct source_payload))
			memcpy(&count->sources[word_owner(taken.word)], taken.payload,
			       sizeof(struct source_payload));
	}
}

/* What @source says was dropped before the binding that @line shows; 0 if it is another's. */
static uint64_t drops_before(const struct producer_line *line, const struct source_payload *source)
{
	uint64_t total = 0;

	if (source->pid != line->pid || source->tid != line->tid ||
	    source->start_time != line->start_time)
		return 0;
	for (unsigned i = 0; i < LOSS_REASONS; i++)
		total += source->drops[i];
	return total;
}

/* Differences of counters that others write: never below nothing. */
static uint64_t above(uint64_t count, uint64_t base)
{
	return count > base ? count - base : 0;
}

/* Count the drops of @line's slot, and show its holder if there is or was one. @records: all that
 * were published through the slot. */
static void add_producer(struct count *count, const struct producer_line *line, uint32_t lane,
			 uint32_t owner, uint64_t records)
{
	const int64_t lock_byte = lane ? LOCK_BYTE_LANE(lane) : LOCK_BYTE_OWNER(owner);
	const bool alive = is_held(count->segment, lock_byte);
	struct tally_producer *producer = &count->tally->producers[count->tally->producer_count];

	add_drops(count->tally, line->drops);
	if (!alive && line->pid == 0)
		return;
	count->tally->producer_count++;
	*producer = (struct tally_producer){
		.pid = line->pid,
		.tid = line->tid,
		.lane = lane,
		.owner = owner,
		.alive = alive,
		.ended = load_relaxed_u32(&line->ended) != 0,
		.enqueued = above(records, load_relaxed(&line->records_before)),
		.dropped = above(sum(line->drops), drops_before(line, &count->sources[owner])),
	};
	utf8_copy_shown(producer->name, line->name, sizeof(producer->name));
}

/* Those who share lane 0. */
static void count_owners(struct count *count)
{
	for (uint32_t owner = 1; owner < OWNER_IDS; owner++) {
		const struct owner_status *status = view_owner_status(count->view, owner);

		add_producer(count, view_owner_line(count->view, owner), 0, owner,
			     load_relaxed(&status->records_released) +
				     count->survey.by_owner[owner]);
	}
}

static void count_lane(struct count *count, uint32_t number)
{
	const struct lane_status *status = view_lane_status(count->view, number);
	struct tally *tally = count->tally;
	struct lane lane;
	uint64_t records;

	tally->written += load_relaxed(&status->records_written);
	tally->durable += load_relaxed(&status->records_durable);
	view_lane(count->view, number, &lane);
	ring_survey(&lane, status, &count->survey);
	find_sources(count, number, &lane);
	records = count->survey.records_released + count->survey.data_records;
	tally->enqueued += records;
	tally->abandoned += load_relaxed(&status->abandoned);
	tally->failed += load_relaxed(&status->failed);
	tally->dropped_by[LOSS_CORRUPT] += load_relaxed(&status->refused);
	tally->quarantined += load_relaxed_u32(&status->quarantine) != 0;
	if (number == 0)
		count_owners(count);
	else
		add_producer(count, &view_lane_page(count->view, number)->line, number, 0, records);
}

static void count_all(struct count *count)
{
	const uint32_t control = load_relaxed_u32(&view_header(count->view)->control);
	struct tally *tally = count->tally;

	tally->level = control & CONTROL_LEVEL_MASK;
	tally->closed = control & CONTROL_CLOSED;
	count_writer(count, &tally->writer);
	for (uint32_t lane = 0; lane < tally->geometry.lanes; lane++)
		count_lane(count, lane);
	add_drops(tally, view_doorbell(count->view)->drops);
	for (unsigned i = 0; i < LOSS_REASONS; i++)
		tally->dropped += tally->dropped_by[i];
	tally->pending = above(tally->enqueued, tally->written);
}

int tally_ring(const struct sys *sys, const char *name, struct tally *ret)
{
	struct segment segment;
	struct segment_view view;
	struct count count = { .segment = &segment, .view = &view, .tally = ret };
	int error = segment_open(sys, name, O_RDONLY, &segment);

	if (error)
		return error;
	*ret = (struct tally){ .geometry = segment.geometry };
	memcpy(ret->name, segment.name, sizeof(ret->name));
	error = segment_view(&segment, &view);
	if (!error) {
		count_all(&count);
		segment_view_close(&view);
	}
	segment_close(&segment);
	return error;
}
