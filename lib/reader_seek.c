/*
 * reader_seek.c - jump to a page by its number, or by time.
 *
 * A sealed file answers from its index: one look and one read. Others are walked by their headers
 * once, 128 bytes a page. Numbers and times in headers lead to a place; the page found there is
 * checked as always. A jump that fails leaves the feed where it was.
 */
#include "reader_feed.h"

#include <errno.h>
#include <stdlib.h>

enum { SEARCHES_MAX = 100 };

/* What a jump looks for, and where it was found. */
struct spot {
	bool by_time;
	uint64_t page_no;
	int64_t time_ns;
	uint64_t offset;
	uint64_t part_offset; /* of the FILE page that it belongs to */
};

static bool is_wanted(const struct spot *spot, const struct page_header *header)
{
	if (header->kind == PAGE_SEAL)
		return false;
	if (!spot->by_time)
		return header->page_no == spot->page_no;
	return header->last_ticks != 0 &&
	       page_realtime_ns(header, header->last_ticks) >= spot->time_ns;
}

/* From header to header. -ENOENT: not here. */
static int find_by_walk(const struct feed_file *file, struct spot *spot)
{
	struct page_header header;
	uint64_t offset = 0, part_offset = 0;
	int r;

	for (;;) {
		r = logfile_header(&file->log, offset, &header);
		if (r < 0)
			return r == -ENODATA || r == -EBADMSG ? -ENOENT : r;
		if (header.kind == PAGE_FILE)
			part_offset = offset;
		if (is_wanted(spot, &header))
			break;
		offset += header.length;
	}
	spot->page_no = header.page_no;
	spot->offset = offset;
	spot->part_offset = part_offset;
	return header.page_no < file->limit ? 0 : -ENOENT;
}

static const struct index_entry *search_index(const struct index_entry *index, uint64_t count,
					      uint64_t page_no)
{
	uint64_t low = 0, high = count;

	while (low < high) {
		const uint64_t middle = low + (high - low) / 2;

		if (index[middle].page_no == page_no)
			return &index[middle];
		if (index[middle].page_no < page_no)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static int find_by_index(const struct feed *feed, const struct feed_file *file, struct spot *spot)
{
	const ssize_t n = logfile_read(&file->log, feed->scratch, PAGE_MAX, file->seal_offset);
	const struct index_entry *index, *entry;
	struct seal_info info;

	if (n < 0)
		return (int)n;
	if (page_check(feed->scratch, (size_t)n, file->log.info.salt) < 0 ||
	    page_seal_info(feed->scratch, &info, &index) < 0)
		return -EBADMSG;
	entry = search_index(index, info.pages, spot->page_no);
	if (entry == NULL)
		return -ENOENT;
	spot->offset = (uint64_t)entry->offset_pages * PAGE_ALIGN;
	spot->part_offset = 0;
	return 0;
}

static int find_spot(const struct feed *feed, const struct feed_file *file, struct spot *spot)
{
	if (file->seal_offset != 0 && !spot->by_time)
		return find_by_index(feed, file, spot);
	return find_by_walk(file, spot);
}

/* Read the page at @spot; the file goes on behind it. */
static int take_spot(struct feed *feed, struct feed_file *file, const struct spot *spot,
		     struct reader_page **ret)
{
	struct reader_page *page = NULL;
	int r = 0;

	if (!file->log.begun || file->part_offset != spot->part_offset ||
	    spot->offset == spot->part_offset) {
		logfile_restart(&file->log, spot->part_offset);
		r = feed_look(feed, file, &page);
		file->part_offset = spot->part_offset;
	}
	if (r == 0 && spot->offset != spot->part_offset) {
		reader_page_put(page); /* the FILE page was read for its salt only */
		logfile_seek(&file->log, spot->offset, spot->page_no);
		r = feed_look(feed, file, &page);
	}
	if (r < 0)
		return r == -ENODATA ? -ENOENT : r;
	if (reader_page_header(page)->page_no != spot->page_no) {
		reader_page_put(page); /* an index that does not tell the truth */
		return -EBADMSG;
	}
	reader_page_put(file->first);
	file->first = NULL;
	*ret = page;
	return 0;
}

/* From now on the feed reads @file. */
static void enter(struct feed *feed, struct feed_file *file)
{
	if (file == feed->current)
		return;
	feed_file_close(&feed->current);
	feed_file_close(&feed->following);
	feed->current = file;
	feed->passed_no = file->name.file_no;
	feed->passed_volume_no = file->name.volume_no;
	feed->expected = 0;
	feed_look_ahead(feed);
}

/* Look in one file, and enter it if the page is there; else close it. */
static int try_file(struct feed *feed, struct feed_file *file, struct spot *spot,
		    struct reader_page **ret)
{
	const struct feed_file was = *file;
	int r = find_spot(feed, file, spot);

	if (r == 0)
		r = take_spot(feed, file, spot, ret);
	if (r == 0)
		enter(feed, file);
	else if (file == feed->current)
		*file = was;
	else
		feed_file_close(&file);
	return r;
}

/* The number in the first header of a file, unproven. */
static int probe(const struct feed *feed, const struct logdir_file *name, uint64_t *ret)
{
	struct page_header header;
	struct feed_file *file;
	int r = feed_file_by_name(feed, name, &file);

	if (r != 0)
		return r;
	r = logfile_header(&file->log, 0, &header);
	if (r == 0)
		*ret = header.page_no;
	feed_file_close(&file);
	return r;
}

/* The last file of the list that begins at @page_no or before. -ENOENT none; -ESTALE list anew. */
static int search_list(const struct feed *feed, uint64_t page_no, struct logdir_file *ret)
{
	const struct logdir_file *files = feed->list.files;
	size_t low = 0, high = feed->list.count, at, middle;
	uint64_t first = 0;
	int r, found = -ENOENT;

	while (low < high) {
		middle = low + (high - low) / 2;
		r = -ENOENT;
		for (at = middle + 1; r < 0 && at > low; at--) {
			r = probe(feed, &files[at - 1], &first);
			if (r == -ENOENT)
				return -ESTALE;
		}
		if (r < 0) {
			low = middle + 1;
		} else if (first <= page_no) {
			*ret = files[at];
			found = 0;
			low = middle + 1;
		} else {
			high = at;
		}
	}
	return found;
}

static int relist_all(struct feed *feed)
{
	const uint64_t volume_no = feed->passed_volume_no;
	int r;

	feed->passed_volume_no = 0;
	r = feed_relist(feed);
	feed->passed_volume_no = volume_no;
	return r;
}

static int seek_in_directory(struct feed *feed, struct spot *spot, struct reader_page **ret)
{
	struct logdir_file name;
	struct feed_file *file;
	int r = -ESTALE;

	for (int tries = 0; tries < SEARCHES_MAX && r == -ESTALE; tries++) {
		r = relist_all(feed);
		if (r == 0)
			r = search_list(feed, spot->page_no, &name);
		if (r < 0)
			continue;
		r = feed_file_open(feed, &name, &file);
		if (r == -ENOENT)
			r = -ESTALE;
		if (r == 0)
			return try_file(feed, file, spot, ret);
	}
	return r == -ENODATA || r == -ESTALE ? -ENOENT : r;
}

/* Is it sure that the current file holds the page, if any does? */
static bool is_in_current(struct feed *feed, uint64_t page_no)
{
	const struct feed_file *file = feed->current;

	if (feed->kind != FEED_DIRECTORY)
		return true;
	if (file == NULL || page_no < file->log.page_first)
		return false;
	if (file->limit == UINT64_MAX)
		feed_look_ahead(feed);
	return page_no < file->limit && feed->following != NULL;
}

static int reason_of_seek(const struct feed *feed, int error, uint64_t page_no)
{
	const unsigned long long number = page_no;

	if (error == -ENOENT)
		return reason_set(error, "\"%s\": holds no page %llu (any more, or yet)",
				  feed->path, number);
	if (error == -EBADMSG)
		return reason_set(error, "\"%s\": page %llu is damaged", feed->path, number);
	return error;
}

int feed_seek_page(struct feed *feed, uint64_t page_no, struct reader_page **ret)
{
	struct spot spot = { .page_no = page_no };
	int r;

	if (feed->kind == FEED_MEMORY || (feed->current != NULL && feed->current->is_pipe))
		return reason_set(-ENOTSUP, "\"%s\": pages come in their order only", feed->path);
	assert(feed->kind == FEED_DIRECTORY || feed->current != NULL);
	if (is_in_current(feed, page_no))
		r = try_file(feed, feed->current, &spot, ret);
	else
		r = seek_in_directory(feed, &spot, ret);
	return reason_of_seek(feed, r, page_no);
}

static int time_in_directory(struct feed *feed, struct spot *spot, struct reader_page **ret)
{
	struct feed_file *file;
	struct logdir_file bad;
	uint64_t after = 0;
	int r = relist_all(feed);

	while (r == 0) {
		r = feed_file_find(feed, after, &file, &bad);
		if (r == -EBADMSG || r == -EPROTO) {
			after = bad.file_no;
			r = 0;
			continue;
		}
		if (r < 0)
			break;
		after = file->name.file_no;
		if (file->sealed_ns < spot->time_ns) {
			feed_file_close(&file);
			continue;
		}
		r = try_file(feed, file, spot, ret);
		if (r == 0)
			return 0;
		r = r == -ENOENT ? 0 : r;
	}
	return r == -ENODATA ? -ENOENT : r;
}

/* Nothing so late: stand behind the last page. */
static int go_to_end(struct feed *feed)
{
	struct reader_page *page;
	int r;

	do {
		r = feed_next(feed, &page);
		if (r == 0)
			reader_page_put(page);
	} while (r == 0 || r == -EBADMSG);
	return r;
}

int feed_seek_time(struct feed *feed, int64_t time_ns, struct reader_page **ret)
{
	struct spot spot = { .by_time = true, .time_ns = time_ns };
	int r;

	if (feed->kind == FEED_MEMORY || (feed->current != NULL && feed->current->is_pipe))
		return reason_set(-ENOTSUP, "\"%s\": pages come in their order only", feed->path);
	assert(feed->kind == FEED_DIRECTORY || feed->current != NULL);
	if (feed->kind == FEED_DIRECTORY)
		r = time_in_directory(feed, &spot, ret);
	else
		r = try_file(feed, feed->current, &spot, ret);
	return r == -ENOENT ? go_to_end(feed) : r;
}

int feed_rewalk(struct feed *feed, uint64_t end_offset,
		int (*see)(void *context, const struct page_header *page), void *context)
{
	const struct feed_file *file = feed->current;
	struct logfile walk;
	void *buffer;
	int r = 0;

	if (file == NULL || file->is_pipe)
		return 0;
	buffer = aligned_alloc(PAGE_ALIGN, PAGE_MAX);
	if (buffer == NULL)
		return -ENOMEM;
	walk = file->log;
	logfile_restart(&walk, file->part_offset);
	while (r == 0 && walk.offset < end_offset && logfile_next(&walk, buffer) == 0)
		r = see(context, buffer);
	free(buffer);
	return r;
}
