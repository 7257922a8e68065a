/*
 * reader.c - the public reader: records in the order of time, pages, waiting.
 *
 * Knows nothing of files and holds nothing itself: the feed (reader_feed.h) brings checked pages,
 * reader_hold.c keeps their records until no older one can follow.
 * Invariant: what was handed out last (`shown`, `shown_page`) stays until the next call.
 */
#include "reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_NS     (INT64_C(1) * NS_PER_S)
#define POLL_MIN_NS (INT64_C(1) * NS_PER_MS)
#define POLL_MAX_NS (INT64_C(50) * NS_PER_MS)

/* Is the last page so old that nothing older than what it held is likely to come? */
static bool is_idle(const struct shmlog_reader *reader)
{
	const struct sys *sys = reader->feed.sys;

	return sys->now(CLOCK_MONOTONIC) - reader->last_page_ns >= IDLE_NS ||
	       sys->now(CLOCK_REALTIME) - reader->last_sample_ns >= IDLE_NS;
}

/* The end, or the end for now: 0 something held goes out; else what the caller is told. */
static int at_end(struct shmlog_reader *reader)
{
	const bool waits = reader->options.follow && feed_is_live(&reader->feed);
	const struct feed *feed = &reader->feed;
	char path[FEED_PATH_SIZE];

	if (merge_peek(&reader->merge) != NULL) {
		if (waits && !is_idle(reader))
			return -EAGAIN;
		reader->draining = true;
		return 0;
	}
	if (waits)
		return -EAGAIN;
	if (!feed->unrecovered || reader->told_unrecovered)
		return -ENODATA;
	reader->told_unrecovered = true;
	return reason_set(-EBADMSG,
			  "\"%s\": no writer holds this file and it is not recovered yet; "
			  "start shmlog-writer on its directory",
			  feed_file_path(feed, feed->current, path));
}

/* One more page comes in: 0; or what the caller is told. */
static int bring_page(struct shmlog_reader *reader)
{
	struct reader_page *page;
	int r;

	if (reader->pending != NULL)
		return reader_take_pending(reader);
	r = feed_next(&reader->feed, &page);
	if (r == -ENODATA)
		return at_end(reader);
	if (r < 0)
		return r;
	reader->pending = page;
	reader->pending_shown = false;
	reader->told_unrecovered = false;
	reader->last_page_ns = reader->feed.sys->now(CLOCK_MONOTONIC);
	reader->last_sample_ns = reader_page_header(page)->sample_realtime_ns;
	reader->poll_ns = POLL_MIN_NS;
	return reader_take_pending(reader);
}

static void fill_loss(struct shmlog_record *record, const void *payload, size_t length)
{
	struct gap_payload gap = { 0 };

	memcpy(&gap, payload, (size_t)min_u64(length, sizeof(gap)));
	for (size_t i = 0; i < COUNT_OF(gap.lost); i++) {
		record->lost[i] = gap.lost[i];
		if (__builtin_add_overflow(record->lost_total, gap.lost[i], &record->lost_total))
			record->lost_total = UINT64_MAX;
	}
	record->data = NULL;
	record->length = 0;
}

static void fill_record(struct shmlog_record *record, const struct held_record *held)
{
	const struct page_header *page = reader_page_header(held->page->page);
	const struct source_payload *about = &held->source->about;
	struct record_header header;

	memcpy(&header, (const uint8_t *)held->payload - sizeof(header), sizeof(header));
	*record = (struct shmlog_record){
		.size = sizeof(*record),
		.kind = header.kind,
		.level = header.level & 7,
		.data = held->payload,
		.length = header.length,
		.time_ns = page_realtime_ns(page, reader_stamp(page, &header)),
		.ticks = header.ticks,
		.page_no = page->page_no,
		.pid = about->pid,
		.tid = about->tid,
		.start_time = about->start_time,
		.name = about->name,
		.lane = about->lane,
	};
	if (header.kind == RECORD_GAP)
		fill_loss(record, held->payload, header.length);
}

int shmlog_reader_next(struct shmlog_reader *reader, struct shmlog_record *record)
{
	struct held_record *held;
	int r = 0;

	if (record->size != sizeof(*record))
		return reason_set(-EINVAL, "shmlog_record.size: of another version of the library");
	reader_drop_shown(reader);
	for (;;) {
		held = reader_take_ready(reader);
		if (held != NULL)
			break;
		r = bring_page(reader);
		if (r < 0)
			return r;
	}
	reader->shown = held;
	fill_record(record, held);
	return 0;
}

int shmlog_reader_wait(struct shmlog_reader *reader, int64_t timeout_ns)
{
	const struct sys *sys = reader->feed.sys;
	const int64_t deadline_ns = sys->now(CLOCK_MONOTONIC) + (timeout_ns < 0 ? 0 : timeout_ns);
	int64_t left_ns;
	int r;

	while (feed_is_live(&reader->feed)) {
		left_ns = timeout_ns < 0 ? INT64_MAX : deadline_ns - sys->now(CLOCK_MONOTONIC);
		if (left_ns <= 0)
			return -ETIMEDOUT;
		r = sys->sleep(left_ns < reader->poll_ns ? left_ns : reader->poll_ns);
		if (r < 0)
			return r;
		if (reader->poll_ns < POLL_MAX_NS)
			reader->poll_ns *= 2;
		if (feed_has_news(&reader->feed))
			return 0;
		if (merge_peek(&reader->merge) != NULL && is_idle(reader))
			return 0;
	}
	return 0; /* _next says that nothing comes any more */
}

static void fill_page(struct shmlog_page *view, const struct reader_page *page)
{
	const struct page_header *header = reader_page_header(page);
	const bool has_data = header->last_ticks != 0;

	*view = (struct shmlog_page){
		.size = sizeof(*view),
		.page_no = header->page_no,
		.kind = header->kind,
		.bytes = page->bytes,
		.length = page->length,
		.records = header->records,
		.file_no = page->file_no,
		.volume_no = page->volume_no,
		.offset = page->offset,
		.first_ns = has_data ? page_realtime_ns(header, header->first_ticks) : INT64_MIN,
		.last_ns = has_data ? page_realtime_ns(header, header->last_ticks) : INT64_MIN,
		.total_records = header->total_records,
		.total_lost = header->total_lost,
		.total_abandoned = header->total_abandoned,
	};
}

/* After a jump nothing that is held, no number of a source, and no stamp of it means anything. */
static void land(struct shmlog_reader *reader, struct reader_page *page)
{
	reader_drop_held(reader);
	source_table_forget_stamps(&reader->sources);
	reader_page_put(reader->pending);
	reader->pending = reader_page_get(page);
	reader->segment_id = reader_page_header(page)->segment_id;
	reader->seen = 0;
	reader->told_unrecovered = false;
	source_table_begin(&reader->sources);
	reader->jumped = true;
}

static int cannot_jump(const struct shmlog_reader *reader)
{
	return reason_set(-ENOTSUP, "\"%s\": what is salvaged comes in its order only",
			  reader->feed.path);
}

int shmlog_reader_get_page(struct shmlog_reader *reader, uint64_t page_no, struct shmlog_page *page)
{
	struct reader_page *found;
	int r;

	if (page->size != sizeof(*page))
		return reason_set(-EINVAL, "shmlog_page.size: of another version of the library");
	if (reader->feed.kind == FEED_SALVAGE)
		return cannot_jump(reader);
	reader_drop_shown(reader);
	r = feed_seek_page(&reader->feed, page_no, &found);
	if (r < 0)
		return r;
	land(reader, found);
	reader->pending_shown = true;
	reader->shown_page = found;
	fill_page(page, found);
	return 0;
}

/* The page that waits, unless it was shown already; else the next of the feed. */
static int next_page(struct shmlog_reader *reader, struct reader_page **ret)
{
	struct reader_page *page = reader->pending;

	reader->pending = NULL;
	if (page != NULL && !reader->pending_shown) {
		*ret = page;
		return 0;
	}
	reader_page_put(page);
	return feed_next(&reader->feed, ret);
}

int shmlog_reader_next_page(struct shmlog_reader *reader, struct shmlog_page *page)
{
	struct reader_page *found;
	int r;

	if (page->size != sizeof(*page))
		return reason_set(-EINVAL, "shmlog_page.size: of another version of the library");
	reader_drop_shown(reader);
	reader_drop_held(reader);
	r = next_page(reader, &found);
	reader->pending_shown = false;
	if (r == -ENODATA)
		return at_end(reader);
	if (r < 0)
		return r;
	if (!reader->jumped)
		source_table_begin(&reader->sources);
	reader->jumped = true;
	reader->shown_page = found;
	fill_page(page, found);
	return 0;
}

int shmlog_reader_seek_time(struct shmlog_reader *reader, int64_t time_ns)
{
	struct reader_page *found;
	int r;

	if (reader->feed.kind == FEED_SALVAGE)
		return cannot_jump(reader);
	reader_drop_shown(reader);
	r = feed_seek_time(&reader->feed, time_ns, &found);
	if (r == -ENODATA) {
		reader_drop_held(reader);
		reader_page_put(reader->pending);
		reader->pending = NULL;
		return 0;
	}
	if (r < 0)
		return r;
	land(reader, found);
	reader->pending_shown = false;
	reader_page_put(found);
	return 0;
}

static int check_options(const struct shmlog_reader_options *options)
{
	if (options == NULL)
		return 0;
	if (options->size != sizeof(*options))
		return reason_set(-EINVAL,
				  "shmlog_reader_options.size: of another version of the library");
	if (options->salvage && options->follow)
		return reason_set(-EINVAL,
				  "shmlog_reader_options.salvage: what is damaged does not grow; "
				  "not with follow");
	return 0;
}

int reader_new(const struct shmlog_reader_options *options, struct shmlog_reader **ret)
{
	static const struct shmlog_reader_options defaults = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;
	const int r = check_options(options);

	if (r < 0)
		return r;
	reader = calloc(1, sizeof(*reader));
	if (reader == NULL)
		return reason_set(-ENOMEM, "out of memory");
	reader->options = options != NULL ? *options : defaults;
	reader->held_bytes_max = READER_HELD_MAX;
	reader->poll_ns = POLL_MIN_NS;
	*ret = reader;
	return 0;
}

/* The feed's result decides: the reader is handed out or freed. */
static int finish_open(struct shmlog_reader *reader, int result, struct shmlog_reader **ret)
{
	if (result < 0) {
		free(reader);
		return result;
	}
	reader->feed.since_ns = reader->options.since_ns;
	reader->feed.until_ns = reader->options.until_ns;
	*ret = reader;
	return 0;
}

int shmlog_reader_open(const char *path, const struct shmlog_reader_options *options,
		       struct shmlog_reader **ret_reader)
{
	struct shmlog_reader *reader;
	int r = reader_new(options, &reader);

	if (r < 0)
		return r;
	if (reader->options.salvage)
		r = feed_open_salvage(&reader->feed, &sys_real, path);
	else
		r = feed_open(&reader->feed, &sys_real, path, reader->options.follow != 0);
	return finish_open(reader, r, ret_reader);
}

int shmlog_reader_open_fd(int fd, const struct shmlog_reader_options *options,
			  struct shmlog_reader **ret_reader)
{
	struct shmlog_reader *reader;
	const int r = reader_new(options, &reader);

	return r < 0 ? r
		     : finish_open(reader, feed_open_fd(&reader->feed, &sys_real, fd), ret_reader);
}

void shmlog_reader_close(struct shmlog_reader **reader)
{
	struct shmlog_reader *gone;

	if (reader == NULL || *reader == NULL)
		return;
	gone = *reader;
	reader_drop_shown(gone);
	reader_drop_held(gone);
	reader_page_put(gone->pending);
	merge_free(&gone->merge);
	source_table_free(&gone->sources);
	feed_close(&gone->feed);
	free(gone);
	*reader = NULL;
}

const char *shmlog_loss_name(int reason)
{
	static const char *const names[] = {
		[LOSS_FULL] = "full",         [LOSS_SIZE] = "size",
		[LOSS_BUSY] = "busy",         [LOSS_NO_LANE] = "no_lane",
		[LOSS_CORRUPT] = "corrupt",   [LOSS_UNWRITTEN] = "unwritten",
		[LOSS_UNSYNCED] = "unsynced",
	};

	if (reason < 0 || (size_t)reason >= COUNT_OF(names))
		return "?";
	return names[reason];
}
