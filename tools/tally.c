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

/* Copy a foreign string: ends within @size, is UTF-8, steers no terminal. */
static void copy_printable(char *ret, const char *text, size_t size)
{
	size_t at = 0;

	memcpy(ret, text, size); /* once: it may change under us */
	ret[size - 1] = '\0';
	while (ret[at] != '\0') {
		const size_t length =
			utf8_shown_length((const uint8_t *)ret + at, strlen(ret + at));

		if (length == 0)
			ret[at] = '?';
		at += length == 0 ? 1 : length;
	}
}

static bool is_held(const struct segment *segment, int64_t lock_byte)
{
	return segment->sys->lock_query(segment->fd, lock_byte, 1) == 1;
}

static const char *state_name(uint32_t state, bool alive)
{
	if (state == WRITER_CLEAN)
		return "clean";
	if (!alive)
		return state == WRITER_NONE ? "none" : "killed";
	return state == WRITER_STALLED ? "stalled" : "running";
}

static void count_writer(const struct segment *segment, const struct segment_view *view,
			 struct tally_writer *ret)
{
	const struct writer_status *status = view_writer(view);
	const uint32_t io = load_relaxed_u32(&status->io_backend);

	ret->alive = is_held(segment, LOCK_BYTE_WRITER);
	ret->pid = ret->alive ? status->pid : 0;
	ret->io = ret->alive && io < COUNT_OF(io_names) ? io_names[io] : NULL;
	ret->state = state_name(load_relaxed_u32(&status->state), ret->alive);
	ret->pages = load_relaxed(&status->pages);
	ret->bytes = load_relaxed(&status->bytes);
	ret->files = load_relaxed(&status->files);
	ret->stalls = load_relaxed(&status->stalls);
	ret->io_errors = load_relaxed(&status->io_errors);
	copy_printable(ret->directory, status->log_path, sizeof(ret->directory));
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

/* What @source says was dropped before the binding that @line shows; 0 if it is another binding. */
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

/* Add the holder that @line shows, if there is or was one. @records are those of its slot. */
static struct tally_producer *add_producer(struct tally *tally, const struct producer_line *line,
					   const struct source_payload *source, bool alive,
					   uint64_t records)
{
	struct tally_producer *producer = &tally->producers[tally->producer_count];

	if (!alive && line->pid == 0)
		return NULL;
	tally->producer_count++;
	*producer = (struct tally_producer){ .pid = line->pid, .tid = line->tid, .alive = alive };
	producer->ended = load_relaxed_u32(&line->ended) != 0;
	producer->enqueued = above(records, load_relaxed(&line->records_before));
	producer->dropped = above(sum(line->drops), drops_before(line, source));
	copy_printable(producer->name, line->name, sizeof(producer->name));
	return producer;
}

static void count_owners(const struct segment *segment, const struct segment_view *view,
			 const struct ring_survey *survey, struct tally *tally)
{
	for (uint32_t owner = 1; owner < OWNER_IDS; owner++) {
		const struct producer_line *line = view_owner_line(view, owner);
		const struct owner_status *status = view_owner_status(view, owner);
		struct tally_producer *producer;

		add_drops(tally, line->drops);
		producer = add_producer(
			tally, line, &status->source, is_held(segment, LOCK_BYTE_OWNER(owner)),
			load_relaxed(&status->records_released) + survey->by_owner[owner]);
		if (producer)
			producer->owner = owner;
	}
}

static void count_own_lane(const struct segment *segment, const struct segment_view *view,
			   uint32_t lane, uint64_t records, struct tally *tally)
{
	const struct producer_line *line = &view_lane_page(view, lane)->line;
	struct tally_producer *producer;

	add_drops(tally, line->drops);
	producer = add_producer(tally, line, &view_lane_status(view, lane)->source,
				is_held(segment, LOCK_BYTE_LANE(lane)), records);
	if (producer)
		producer->lane = lane;
}

static void count_lane(const struct segment *segment, const struct segment_view *view,
		       uint32_t number, struct tally *tally)
{
	const struct lane_status *status = view_lane_status(view, number);
	struct ring_survey survey;
	struct lane lane;
	uint64_t records;

	tally->written += load_relaxed(&status->records_written);
	tally->durable += load_relaxed(&status->records_durable);
	view_lane(view, number, &lane);
	ring_survey(&lane, status, &survey);
	records = survey.records_released + survey.data_records;
	tally->enqueued += records;
	tally->abandoned += load_relaxed(&status->abandoned);
	tally->failed += load_relaxed(&status->failed);
	tally->dropped_by[LOSS_CORRUPT] += load_relaxed(&status->refused);
	tally->quarantined += load_relaxed_u32(&status->quarantine) != 0;
	if (number == 0)
		count_owners(segment, view, &survey, tally);
	else
		count_own_lane(segment, view, number, records, tally);
}

static void count_all(const struct segment *segment, const struct segment_view *view,
		      struct tally *tally)
{
	const uint32_t control = load_relaxed_u32(&view_header(view)->control);

	tally->level = control & CONTROL_LEVEL_MASK;
	tally->closed = control & CONTROL_CLOSED;
	count_writer(segment, view, &tally->writer);
	for (uint32_t lane = 0; lane < segment->geometry.lanes; lane++)
		count_lane(segment, view, lane, tally);
	add_drops(tally, view_doorbell(view)->drops);
	for (unsigned i = 0; i < LOSS_REASONS; i++)
		tally->dropped += tally->dropped_by[i];
	tally->pending = above(tally->enqueued, tally->written);
}

int tally_ring(const struct sys *sys, const char *name, struct tally *ret)
{
	struct segment segment;
	struct segment_view view;
	int error = segment_open(sys, name, O_RDONLY, &segment);

	if (error)
		return error;
	*ret = (struct tally){ .geometry = segment.geometry };
	memcpy(ret->name, segment.name, sizeof(ret->name));
	error = segment_view(&segment, &view);
	if (!error) {
		count_all(&segment, &view, ret);
		segment_view_close(&view);
	}
	segment_close(&segment);
	return error;
}
