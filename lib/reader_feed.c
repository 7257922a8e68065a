/*
 * reader_feed.c - from page to page, and what it means when the next one is not there.
 *
 * Never calls a page damaged that may still come: only when its file is sealed, or a newer file
 * has begun, or nobody holds the file any more and it is no open file.
 *
 * The writer begins a file only when every page before it is complete, and its fence lock on a
 * file falls only when no write to it is under way. So a page that is absent *after* the newer
 * file was seen, or the lock was seen free, is absent for good; what was absent *before* is looked
 * at once more.
 */
#include "reader_feed.h"

#include <errno.h>
#include <inttypes.h>

/* A look that came to no page and no error: the file has no more. */
enum { FILE_IS_OVER = 1 };

/* Where a file is put behind which nothing counts. */
#define BEYOND_EVERYTHING (UINT64_C(1) << 62)

static int hand_out(struct feed *feed, struct feed_file *file, struct reader_page **ret)
{
	const struct page_header *header = (const void *)feed->scratch;
	struct reader_page *page = reader_page_new(header, header->length);

	if (page == NULL) {
		logfile_seek(&file->log, file->log.offset - header->length, header->page_no);
		return -ENOMEM;
	}
	page->file_no = file->name.file_no;
	page->volume_no = file->name.volume_no;
	page->offset = file->log.offset - header->length;
	file->ended = header->kind == PAGE_SEAL;
	*ret = page;
	return 0;
}

static bool is_absent(int error)
{
	return error == -ENODATA || error == -EBADMSG;
}

int feed_look(struct feed *feed, struct feed_file *file, struct reader_page **ret)
{
	const struct page_header *header = (const void *)feed->scratch;
	const uint64_t offset = file->log.offset;
	const uint64_t page_next = file->log.page_next;
	const int r = logfile_next(&file->log, feed->scratch);

	if (r < 0)
		return r;
	if (header->kind == PAGE_SEAL || header->page_no < file->limit)
		return hand_out(feed, file, ret);
	logfile_seek(&file->log, offset, page_next);
	return -EBADMSG;
}

/* Pages [first, next) of the file are gone for good. */
static int report_lost(const struct feed *feed, const struct feed_file *file, uint64_t first,
		       uint64_t next)
{
	char buffer[FEED_PATH_SIZE];
	const char *path = feed_file_path(feed, file, buffer);

	if (next == UINT64_MAX)
		return reason_set(-EBADMSG,
				  "\"%s\": damaged or cut off from page %" PRIu64
				  " on; its later records are missing",
				  path, first);
	if (next - first == 1)
		return reason_set(-EBADMSG,
				  "\"%s\": page %" PRIu64
				  " is damaged or missing; reading goes on behind it",
				  path, first);
	return reason_set(-EBADMSG,
			  "\"%s\": pages %" PRIu64 " to %" PRIu64
			  " are damaged or missing; reading goes on behind them",
			  path, first, next - 1);
}

/* Step over what is bad: 0 there was nothing to miss; FILE_IS_OVER; -EBADMSG with the reason. */
static int step_over(struct feed *feed, struct feed_file *file)
{
	const uint64_t first = file->log.page_next;
	const bool found = logfile_resync(&file->log, file->limit, feed->scratch);

	if (found && file->log.page_next == first)
		return 0;
	if (!found) {
		file->ended = true;
		file->log.offset = BEYOND_EVERYTHING;
		file->log.page_next = file->limit != UINT64_MAX ? file->limit : first;
		return report_lost(feed, file, first, file->limit);
	}
	return report_lost(feed, file, first, file->log.page_next);
}

/* The file is open, nothing newer has begun, and nothing whole is at its place. */
static int settle_newest(struct feed *feed, struct feed_file *file, struct reader_page **ret)
{
	int r = logfile_is_held(&file->log);

	if (r < 0)
		return r;
	if (r == 1)
		return -ENODATA;
	r = feed_look(feed, file, ret); /* sealed, or completed, just before the lock fell */
	if (!is_absent(r))
		return r;
	r = feed_look_ahead(feed);
	if (r < 0 || feed->following != NULL)
		return r;
	feed->unrecovered = true;
	feed->unrecovered_no = file->name.file_no;
	return -ENODATA;
}

/*
 * Nothing whole is at the file's place: is it over, damaged, or only not written yet?
 * Return: 0 look again or, with *ret set, a page after all; FILE_IS_OVER; -ENODATA not yet;
 *         -EBADMSG damage; -errno.
 */
static int settle(struct feed *feed, struct feed_file *file, struct reader_page **ret)
{
	int r;

	if (file->log.page_next >= file->limit)
		return FILE_IS_OVER;
	if (file->sealed)
		return step_over(feed, file);
	r = feed_look_ahead(feed);
	if (r < 0)
		return r;
	if (feed->following == NULL)
		return settle_newest(feed, file, ret);
	r = feed_look(feed, file, ret);
	if (!is_absent(r))
		return r;
	if (file->log.page_next >= file->limit)
		return FILE_IS_OVER;
	return step_over(feed, file);
}

/* A writer cuts a file to its size before it gives it its final name. */
static int report_rest(const struct feed *feed, const struct feed_file *file)
{
	char path[FEED_PATH_SIZE];

	return reason_set(-EBADMSG, "\"%s\": what lies behind its SEAL page is no part of the log",
			  feed_file_path(feed, file, path));
}

/* Files may be concatenated: what lies behind a SEAL page begins another, or is the end. */
static int next_part(struct feed *feed, struct feed_file *file, struct reader_page **ret)
{
	char path[FEED_PATH_SIZE];
	const uint64_t expected = file->log.page_next;
	const uint64_t log_id = file->log.info.log_id;
	const uint64_t offset = file->log.offset;
	uint8_t probe;
	int r;

	if ((feed->kind == FEED_DIRECTORY && !file->sealed) ||
	    logfile_read(&file->log, &probe, 1, offset) <= 0)
		return FILE_IS_OVER;
	if (feed->kind == FEED_DIRECTORY)
		return report_rest(feed, file);
	logfile_restart(&file->log, offset);
	r = logfile_next(&file->log, feed->scratch);
	if (r < 0) {
		file->log.begun = true;
		return is_absent(r) || r == -EPROTO
			       ? reason_set(
					 -EBADMSG,
					 "\"%s\": what lies behind the SEAL page at byte %" PRIu64
					 " is no log file",
					 feed_file_path(feed, file, path), offset)
			       : r;
	}
	file->limit = UINT64_MAX;
	file->part_offset = offset;
	r = hand_out(feed, file, ret);
	if (r < 0 || file->log.info.log_id != log_id || file->log.page_first <= expected)
		return r;
	file->first = *ret;
	*ret = NULL;
	return reason_set(-EBADMSG, "\"%s\": pages %" PRIu64 " to %" PRIu64 " are missing",
			  feed->path, expected, file->log.page_first - 1);
}

/* A single file whose FILE page was not there when it was opened. */
static int begin_late(struct feed *feed, struct feed_file *file, struct reader_page **ret)
{
	char path[FEED_PATH_SIZE];
	uint8_t probe;
	int r = logfile_next(&file->log, feed->scratch);

	if (r == 0)
		return hand_out(feed, file, ret);
	if (!is_absent(r) || !file->sealed || logfile_read(&file->log, &probe, 1, 0) == 0)
		return is_absent(r) ? -ENODATA : r;
	file->ended = true;
	file->log.offset = BEYOND_EVERYTHING;
	return reason_set(-EBADMSG,
			  "\"%s\": its FILE page is damaged; none of its records can be read",
			  feed_file_path(feed, file, path));
}

static int next_of_file(struct feed *feed, struct feed_file *file, struct reader_page **ret)
{
	int r;

	*ret = file->first;
	file->first = NULL;
	if (!file->log.begun && !file->ended)
		return begin_late(feed, file, ret);
	while (*ret == NULL) {
		if (file->ended) {
			r = next_part(feed, file, ret);
			if (r == -EBADMSG && file->first == NULL)
				file->log.offset = BEYOND_EVERYTHING;
			return r;
		}
		feed_skip(feed, file);
		r = feed_look(feed, file, ret);
		if (is_absent(r))
			r = settle(feed, file, ret);
		if (r != 0)
			return r;
	}
	return 0;
}

static int next_of_memory(struct feed *feed, struct reader_page **ret)
{
	if (feed->page_at == feed->page_count)
		return -ENODATA;
	*ret = reader_page_get(feed->pages[feed->page_at++]);
	return 0;
}

int feed_next(struct feed *feed, struct reader_page **ret)
{
	struct reader_page *page = NULL;
	int r;

	if (feed->kind == FEED_MEMORY)
		return next_of_memory(feed, ret);
	if (feed->kind == FEED_SALVAGE)
		return salvage_next(feed->salvage, ret);
	feed->unrecovered = false;
	for (;;) {
		r = feed->current == NULL ? feed_advance(feed) : 0;
		if (r < 0)
			return r;
		r = next_of_file(feed, feed->current, &page);
		if (r == FILE_IS_OVER && feed->kind == FEED_FILE)
			return -ENODATA;
		if (r != FILE_IS_OVER)
			break;
		feed_leave(feed, feed->current->log.page_next);
	}
	if (r == 0)
		*ret = page;
	return r;
}

bool feed_is_live(const struct feed *feed)
{
	if (feed->kind == FEED_DIRECTORY)
		return true;
	return feed->kind == FEED_FILE && feed->current != NULL && !feed->current->sealed &&
	       !feed->current->ended;
}

bool feed_has_news(struct feed *feed)
{
	const struct feed_file *file = feed->current;
	struct page_header header;

	if (file != NULL && !file->ended &&
	    logfile_header(&file->log, file->log.offset, &header) != -ENODATA)
		return true;
	return feed_look_ahead(feed) < 0 || feed->following != NULL;
}
