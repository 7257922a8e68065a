/*
 * reader_seek.c - jump to a page by its number, or by time.
 *
 * The catalog names the file, and a sealed file answers from its index: one file opened, one page
 * read. Others are walked by their headers once, 128 bytes a page. Numbers and times in headers
 * lead to a place; the page found there is checked as always. A jump that fails leaves the feed
 * where it was.
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

/* ---- in a file without an index ---- */

static int64_t last_of(const struct page_header *header)
{
	return header->last_ticks == 0 ? INT64_MIN : page_realtime_ns(header, header->last_ticks);
}

static int add_place(struct feed_places *places, const struct page_header *header)
{
	const size_t wanted = places->capacity == 0 ? 64 : places->capacity * 2;
	struct feed_place *items = places->items;

	if (places->count == places->capacity) {
		items = realloc(items, wanted * sizeof(*items));
		if (items == NULL)
			return -ENOMEM;
		places->items = items;
		places->capacity = wanted;
	}
	if (places->count > 0 && header->page_no <= items[places->count - 1].page_no)
		places->is_disordered = true;
	items[places->count++] = (struct feed_place){ .page_no = header->page_no,
						      .offset = places->end,
						      .part_offset = places->part_offset,
						      .last_ns = last_of(header) };
	return 0;
}

/* One more page: 0; -ENOENT there is none (yet); -ENOMEM; -errno. */
static int walk_on(struct feed_places *places, const struct feed_file *file)
{
	struct page_header header;
	int r;

	do {
		r = logfile_header(&file->log, places->end, &header);
		if (r < 0)
			return r == -ENODATA || r == -EBADMSG ? -ENOENT : r;
		if (header.kind == PAGE_FILE)
			places->part_offset = places->end;
		if (header.kind != PAGE_SEAL)
			r = add_place(places, &header);
		places->end += r == 0 ? header.length : 0;
	} while (r == 0 && header.kind == PAGE_SEAL);
	return r;
}

static bool is_wanted(const struct spot *spot, const struct feed_place *place)
{
	return spot->by_time ? place->last_ns >= spot->time_ns : place->page_no == spot->page_no;
}

/* Where to begin to look: numbers that only grow are searched in halves. */
static size_t search_places(const struct feed_places *places, const struct spot *spot)
{
	size_t low = 0, high = places->count;

	if (spot->by_time || places->is_disordered)
		return 0;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (places->items[middle].page_no < spot->page_no)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void forget_places(struct feed_places *places)
{
	free(places->items);
	*places = (struct feed_places){ 0 };
}

/* By the headers, each of which is read once. -ENOENT: not here. */
static int find_by_walk(struct feed *feed, const struct feed_file *file, struct spot *spot)
{
	struct feed_places *places = &feed->places;
	const struct feed_place *place;
	size_t at;
	int r = 0;

	if (places->file_no != file->name.file_no)
		forget_places(places);
	places->file_no = file->name.file_no;
	for (at = search_places(places, spot); r == 0; at++) {
		if (at == places->count)
			r = walk_on(places, file);
		if (r == 0 && is_wanted(spot, &places->items[at]))
			break;
	}
	if (r < 0)
		return r;
	assert(at < places->count && places->items != NULL);
	place = &places->items[at];
	spot->page_no = place->page_no;
	spot->offset = place->offset;
	spot->part_offset = place->part_offset;
	return place->page_no < file->limit ? 0 : -ENOENT;
}

/* ---- in a file with an index ---- */

/* A page is of a time by its own sample, not by that of the index: its header is asked. */
static int is_late_enough(const struct feed_file *file, uint64_t at, int64_t time_ns)
{
	const struct index_entry *entry = &file->index[at];
	struct page_header header;
	int r;

	if (entry->records == 0 || feed_latest(file, entry->last_ticks) < time_ns)
		return 0;
	r = logfile_header(&file->log, (uint64_t)entry->offset_pages * PAGE_ALIGN, &header);
	if (r == -ENODATA || r == -EBADMSG)
		return 0;
	return r < 0 ? r : last_of(&header) >= time_ns;
}

static uint64_t find_time(const struct feed_file *file, int64_t time_ns, int *ret_error)
{
	uint64_t at = 0;
	int r = 0;

	if (file->sum.data_records == 0 || feed_latest(file, file->sum.last_ticks) < time_ns)
		return file->sum.pages;
	while (r == 0 && at < file->sum.pages) {
		r = is_late_enough(file, at, time_ns);
		at += r == 0;
	}
	*ret_error = r < 0 ? r : 0;
	return at;
}

static int find_by_index(const struct feed_file *file, struct spot *spot)
{
	uint64_t at;
	int r = 0;

	if (spot->by_time)
		at = find_time(file, spot->time_ns, &r);
	else
		at = feed_index_find(file, spot->page_no);
	if (r < 0)
		return r;
	if (at == file->sum.pages)
		return -ENOENT;
	spot->page_no = file->index[at].page_no;
	spot->offset = (uint64_t)file->index[at].offset_pages * PAGE_ALIGN;
	spot->part_offset = 0;
	return 0;
}

static int find_spot(struct feed *feed, const struct feed_file *file, struct spot *spot)
{
	return file->seal != NULL ? find_by_index(file, spot) : find_by_walk(feed, file, spot);
}

/* ---- the page itself ---- */

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
	assert(page != NULL); /* one of both looks has found it */
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
	feed->has_started = true;
	if (file == feed->current)
		return;
	feed_file_close(&feed->current);
	feed_file_close(&feed->following);
	feed->current = file;
	feed->passed_no = file->name.file_no;
	feed->passed_volume_no = file->name.volume_no;
	feed->expected = 0;
	if (file->limit == UINT64_MAX)
		(void)feed_look_ahead(feed); /* what fails will fail again, and be told */
}

/* Look in one file, and enter it if the page is there; else close it. */
static int try_file(struct feed *feed, struct feed_file *file, struct spot *spot,
		    struct reader_page **ret)
{
	const struct feed_file was = *file;
	int r = find_spot(feed, file, spot);

	if (r == 0) {
		r = take_spot(feed, file, spot, ret);
		if (r < 0)
			forget_places(&feed->places); /* they may have been another file's */
	}
	if (r == 0)
		enter(feed, file);
	else if (file == feed->current)
		*file = was;
	else
		feed_file_close(&file);
	return r;
}

/* The same by name. -ESTALE: it is gone, list anew. Of one that can no longer be read there is
 * nothing. */
static int try_name(struct feed *feed, const struct logdir_file *name, struct spot *spot,
		    struct reader_page **ret)
{
	struct feed_file *file = feed->current;
	int r;

	if (file == NULL || file->name.file_no != name->file_no) {
		r = feed_file_open(feed, name, &file);
		if (r == -ENOENT)
			return -ESTALE;
		if (r < 0)
			return r == -EBADMSG || r == -EPROTO || r == -ENODATA ? -ENOENT : r;
	}
	return try_file(feed, file, spot, ret);
}

static int look_for_page(struct feed *feed, struct spot *spot, struct reader_page **ret)
{
	const struct catalog_file *file = feed_catalog_by_page(&feed->catalog, spot->page_no);

	return file == NULL ? -ENOENT : try_name(feed, &file->name, spot, ret);
}

static int look_for_time(struct feed *feed, struct spot *spot, struct reader_page **ret)
{
	const struct catalog *catalog = &feed->catalog;
	size_t at = 0;
	int r = -ENOENT;

	while (r == -ENOENT) {
		at = feed_catalog_by_time(catalog, at, spot->time_ns);
		if (at == catalog->count)
			return -ENOENT;
		r = try_name(feed, &catalog->files[at++].name, spot, ret);
	}
	return r;
}

/* With what is known of the files; then with what is there now. */
static int seek_in_directory(struct feed *feed, struct spot *spot, struct reader_page **ret)
{
	int (*const look)(struct feed *, struct spot *, struct reader_page **) =
		spot->by_time ? look_for_time : look_for_page;
	int r = feed->catalog.count > 0 ? look(feed, spot, ret) : -ESTALE;

	if (r == -ENOENT)
		r = -ESTALE;
	for (int tries = 0; tries < SEARCHES_MAX && r == -ESTALE; tries++) {
		r = feed_catalog_load(feed);
		if (r == 0)
			r = look(feed, spot, ret);
	}
	return r == -ESTALE ? -ENOENT : r;
}

/* Is it sure that the current file holds the page, if any does? */
static bool is_in_current(const struct feed *feed, uint64_t page_no)
{
	const struct feed_file *file = feed->current;

	if (feed->kind != FEED_DIRECTORY)
		return true;
	return file != NULL && page_no >= file->log.page_first && file->limit != UINT64_MAX &&
	       page_no < file->limit;
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

/* Nothing so late: stand behind the last page. */
static int go_to_end(struct feed *feed)
{
	const struct catalog *catalog = &feed->catalog;
	struct feed_file *last;
	struct reader_page *page;
	int r = -ENOENT;

	if (catalog->count > 0)
		r = feed_file_open(feed, &catalog->files[catalog->count - 1].name, &last);
	if (r == 0)
		enter(feed, last);
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
		r = seek_in_directory(feed, &spot, ret);
	else
		r = try_file(feed, feed->current, &spot, ret);
	return r == -ENOENT ? go_to_end(feed) : reason_of_seek(feed, r, spot.page_no);
}

/* Whom the pages are shown to, and where they are read. */
struct rewalk {
	int (*see)(void *context, const struct page_header *page);
	void *context;
	void *buffer;
};

/* The pages that the index says bind sources; one that is damaged is told when it is read. */
static int rewalk_index(const struct feed_file *file, struct logfile *walk, uint64_t end_offset,
			const struct rewalk *rewalk)
{
	int r = 0;

	for (uint64_t at = 0; r == 0 && at < file->sum.pages; at++) {
		const struct index_entry *entry = &file->index[at];
		const uint64_t offset = (uint64_t)entry->offset_pages * PAGE_ALIGN;

		if (entry->sources == 0 || offset == 0)
			continue;
		if (offset >= end_offset)
			break;
		logfile_seek(walk, offset, entry->page_no);
		if (logfile_next(walk, rewalk->buffer) == 0)
			r = rewalk->see(rewalk->context, rewalk->buffer);
	}
	return r;
}

static int rewalk_all(struct logfile *walk, uint64_t end_offset, const struct rewalk *rewalk)
{
	int r = 0;

	while (r == 0 && walk->offset < end_offset && logfile_next(walk, rewalk->buffer) == 0)
		r = rewalk->see(rewalk->context, rewalk->buffer);
	return r;
}

int feed_rewalk(struct feed *feed, uint64_t end_offset,
		int (*see)(void *context, const struct page_header *page), void *context)
{
	struct rewalk rewalk = { .see = see, .context = context };
	const struct feed_file *file = feed->current;
	struct logfile walk;
	int r;

	if (file == NULL || file->is_pipe)
		return 0;
	rewalk.buffer = aligned_alloc(PAGE_ALIGN, PAGE_MAX);
	if (rewalk.buffer == NULL)
		return -ENOMEM;
	walk = file->log;
	logfile_restart(&walk, file->part_offset);
	/* The FILE page brings the salt; it may be all that there is. */
	r = rewalk_all(&walk, min_u64(end_offset, file->part_offset + 1), &rewalk);
	if (r == 0 && walk.begun && file->seal != NULL)
		r = rewalk_index(file, &walk, end_offset, &rewalk);
	else if (r == 0 && walk.begun)
		r = rewalk_all(&walk, end_offset, &rewalk);
	free(rewalk.buffer);
	return r;
}
