/*
 * reader_index.c - what the SEAL page of a file says of its pages, and when.
 *
 * Decides what need not be read for the time that is asked for. Never passes by what may be of that
 * time: stamps in an index have no sample of their own page, so they are measured by both ends of
 * the file, and a second is left at either side: clocks are set, and records other than DATA, whose
 * stamps no index counts, lie near those of their page.
 */
#include "reader_feed.h"

#define DOUBT_NS (INT64_C(1) * NS_PER_S)

uint64_t feed_index_find(const struct feed_file *file, uint64_t page_no)
{
	uint64_t low = 0, high = file->sum.pages;

	while (low < high) {
		const uint64_t middle = low + (high - low) / 2;

		if (file->index[middle].page_no == page_no)
			return middle;
		if (file->index[middle].page_no < page_no)
			low = middle + 1;
		else
			high = middle;
	}
	return file->sum.pages;
}

static int64_t plus(int64_t time_ns, int64_t ns)
{
	int64_t sum;

	if (__builtin_add_overflow(time_ns, ns, &sum))
		return ns < 0 ? INT64_MIN : INT64_MAX;
	return sum;
}

/* One clock, and how far it has gone: at both pages. */
static bool have_clock(const struct page_header *begin, const struct page_header *end)
{
	return begin->ticks_per_s != 0 && end->ticks_per_s != 0 &&
	       begin->segment_id == end->segment_id;
}

int64_t feed_latest_between(const struct page_header *begin, const struct page_header *end,
			    uint64_t ticks)
{
	const int64_t by_begin = page_realtime_ns(begin, ticks);
	const int64_t by_end = page_realtime_ns(end, ticks);

	if (!have_clock(begin, end))
		return INT64_MAX;
	return plus(by_begin > by_end ? by_begin : by_end, DOUBT_NS);
}

static int64_t earliest_between(const struct page_header *begin, const struct page_header *end,
				uint64_t ticks)
{
	const int64_t by_begin = page_realtime_ns(begin, ticks);
	const int64_t by_end = page_realtime_ns(end, ticks);

	if (!have_clock(begin, end))
		return INT64_MIN;
	return plus(by_begin < by_end ? by_begin : by_end, -DOUBT_NS);
}

int64_t feed_latest(const struct feed_file *file, uint64_t last_ticks)
{
	if (file->seal == NULL)
		return INT64_MAX;
	return feed_latest_between(&file->head, reader_page_header(file->seal), last_ticks);
}

/* May DATA records with these stamps be of the time that is asked for? */
static bool is_of_time(const struct feed *feed, const struct feed_file *file, uint64_t first_ticks,
		       uint64_t last_ticks)
{
	const struct page_header *seal = reader_page_header(file->seal);

	return feed_latest(file, last_ticks) >= feed->since_ns &&
	       earliest_between(&file->head, seal, first_ticks) <= feed->until_ns;
}

bool feed_is_out_of_time(const struct feed *feed, const struct feed_file *file)
{
	return file->seal != NULL && file->sum.data_records > 0 &&
	       !is_of_time(feed, file, file->sum.first_ticks, file->sum.last_ticks);
}

/* Pages that bind sources are needed for those behind them, and those without a DATA record have no
 * time that could be out of it. */
static bool is_needed(const struct feed *feed, const struct feed_file *file,
		      const struct index_entry *entry)
{
	return entry->sources > 0 || entry->records == 0 ||
	       is_of_time(feed, file, entry->first_ticks, entry->last_ticks);
}

void feed_skip(const struct feed *feed, struct feed_file *file)
{
	const uint64_t pages = file->sum.pages;
	uint64_t at, offset, next;

	if (file->seal == NULL || (feed->since_ns == INT64_MIN && feed->until_ns == INT64_MAX))
		return;
	for (at = feed_index_find(file, file->log.page_next); at < pages; at++) {
		offset = (uint64_t)file->index[at].offset_pages * PAGE_ALIGN;
		next = at + 1 < pages ? (uint64_t)file->index[at + 1].offset_pages * PAGE_ALIGN
				      : file->seal->offset;
		if (file->index[at].page_no != file->log.page_next || offset != file->log.offset ||
		    next <= offset || is_needed(feed, file, &file->index[at]))
			return;
		logfile_seek(&file->log, next, file->log.page_next + 1);
	}
}
