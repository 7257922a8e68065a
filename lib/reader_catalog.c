/*
 * reader_catalog.c - what is known of each file of a directory, whatever their number.
 *
 * The FILE page of a file never changes: it is read once, and says with which page the file begins
 * and, with the one behind it, until when its records were pushed. Names change; they are as of the
 * last listing.
 * Invariant: files[] rises by file number, and latest_max_ns never falls.
 */
#include "reader_feed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LOADS_MAX = 100 };

void feed_catalog_free(struct catalog *catalog)
{
	free(catalog->files);
	*catalog = (struct catalog){ 0 };
}

/* The header of its proven FILE page; -ENOENT the name is gone; other -errno. */
static int read_head(const struct feed *feed, const struct logdir_file *name,
		     struct page_header *ret)
{
	const struct page_header *header = (const void *)feed->scratch;
	struct feed_file *file;
	int r = feed_file_by_name(feed, name, &file);

	if (r < 0)
		return r;
	r = logfile_next(&file->log, feed->scratch);
	if (r == 0)
		*ret = *header;
	feed_file_close(&file);
	return r;
}

/* What the old catalog knew of @file_no; @at goes on from call to call. */
static const struct catalog_file *recall(const struct catalog *old, size_t *at, uint64_t file_no)
{
	while (*at < old->count && old->files[*at].name.file_no < file_no)
		(*at)++;
	if (*at == old->count || old->files[*at].name.file_no != file_no)
		return NULL;
	return &old->files[*at];
}

/* Each listed file that has begun. 0; -ESTALE some name is gone, list anew; other -errno. */
static int fill(const struct feed *feed, struct catalog *ret)
{
	const struct logdir_list *list = &feed->list;
	bool is_stale = false;
	size_t at = 0;
	int r;

	ret->files = calloc(list->count + 1, sizeof(*ret->files));
	if (ret->files == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < list->count; i++) {
		struct catalog_file *file = &ret->files[ret->count];
		const struct logdir_file *name = &list->files[i];
		const struct catalog_file *known = recall(&feed->catalog, &at, name->file_no);

		if (ret->count > 0 && file[-1].name.file_no == name->file_no)
			continue; /* a file beside its archive */
		file->latest_ns = INT64_MAX;
		r = known != NULL ? 0 : read_head(feed, name, &file->head);
		if (known != NULL)
			*file = *known;
		file->name = *name;
		ret->count += r == 0;
		is_stale = is_stale || r == -ENOENT;
		if (feed_is_ours(r))
			return r;
	}
	return is_stale ? -ESTALE : 0;
}

/* By its own SEAL page. */
static int64_t latest_by_seal(const struct feed *feed, const struct logdir_file *name)
{
	int64_t latest_ns = INT64_MAX;
	struct feed_file *file;

	if (feed_file_open(feed, name, &file) < 0)
		return INT64_MAX;
	if (file->sum.data_records > 0)
		latest_ns = feed_latest(file, file->sum.last_ticks);
	feed_file_close(&file);
	return latest_ns;
}

/* Whatever is in a file was pushed before the next one was begun; where that has another clock, or
 * does not say when, the SEAL page is asked. */
static int64_t latest_of(const struct feed *feed, const struct catalog_file *file)
{
	const struct page_header *begin = &file[0].head, *end = &file[1].head;
	int64_t latest_ns = INT64_MAX;

	if (end->sample_ticks > begin->sample_ticks)
		latest_ns = feed_latest_between(begin, end, end->sample_ticks);
	return latest_ns != INT64_MAX ? latest_ns : latest_by_seal(feed, &file->name);
}

static void set_times(const struct feed *feed, struct catalog *catalog)
{
	int64_t max_ns = INT64_MIN;

	for (size_t i = 0; i < catalog->count; i++) {
		struct catalog_file *file = &catalog->files[i];

		if (i + 1 < catalog->count && file->latest_ns == INT64_MAX)
			file->latest_ns = latest_of(feed, file);
		max_ns = file->latest_ns > max_ns ? file->latest_ns : max_ns;
		file->latest_max_ns = max_ns;
	}
}

int feed_catalog_load(struct feed *feed)
{
	struct catalog catalog;
	int r = -ESTALE;

	for (int tries = 0; tries < LOADS_MAX && r == -ESTALE; tries++) {
		r = feed_relist(feed, 0);
		if (r < 0)
			return r;
		catalog = (struct catalog){ 0 };
		r = fill(feed, &catalog);
		feed_catalog_free(&feed->catalog);
		feed->catalog = catalog;
	}
	set_times(feed, &feed->catalog);
	if (r < 0 && r != -ESTALE)
		return reason_set(r, "\"%s\": its files cannot be opened: %s", feed->path,
				  strerror(-r));
	return 0;
}

const struct catalog_file *feed_catalog_by_page(const struct catalog *catalog, uint64_t page_no)
{
	size_t low = 0, high = catalog->count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (catalog->files[middle].head.page_no <= page_no)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? &catalog->files[low - 1] : NULL;
}

size_t feed_catalog_by_time(const struct catalog *catalog, size_t at, int64_t time_ns)
{
	size_t low = at, high = catalog->count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (catalog->files[middle].latest_max_ns < time_ns)
			low = middle + 1;
		else
			high = middle;
	}
	while (low < catalog->count && catalog->files[low].latest_ns < time_ns)
		low++;
	return low;
}

int feed_start(struct feed *feed)
{
	const struct catalog *catalog = &feed->catalog;
	const struct logdir_file *before;
	size_t at;
	int r;

	feed->has_started = true;
	if (feed->since_ns == INT64_MIN)
		return 0;
	r = feed_catalog_load(feed);
	if (r < 0)
		return r;
	at = feed_catalog_by_time(catalog, 0, feed->since_ns);
	if (at == 0)
		return 0;
	before = &catalog->files[at - 1].name;
	if (feed->following != NULL && feed->following->name.file_no <= before->file_no)
		feed_file_close(&feed->following);
	feed->passed_no = before->file_no;
	feed->passed_volume_no = before->volume_no;
	return 0;
}
