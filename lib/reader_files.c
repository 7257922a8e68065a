/*
 * reader_files.c - from file to file: open, order, what is missing between two of them.
 *
 * A directory changes while it is read: the writer renames and adds files, retention deletes them.
 * A name that has vanished means that the list is old; files made ahead have no FILE page yet and
 * are passed by without a word.
 */
#include "reader_feed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RELIST_MAX = 1000 };

const char *feed_file_path(const struct feed *feed, const struct feed_file *file)
{
	static _Thread_local char path[4096];
	char name[LOGDIR_NAME_SIZE];

	if (file->name.file_no == 0)
		return feed->path;
	logdir_file_name(name, &file->name);
	(void)snprintf(path, sizeof(path), "%s/%s", feed->path, name);
	return path;
}

void feed_file_close(struct feed_file **file)
{
	struct feed_file *gone = *file;

	if (gone == NULL)
		return;
	reader_page_put(gone->first);
	input_close(&gone->input);
	logfile_close(&gone->log);
	free(gone);
	*file = NULL;
}

int feed_file_new(const struct sys *sys, int fd, enum input_kind kind, struct feed_file **ret)
{
	struct feed_file *file = calloc(1, sizeof(*file));
	int r = 0;

	if (file == NULL) {
		(void)sys->close(fd);
		return -ENOMEM;
	}
	logfile_init(&file->log, sys, fd);
	file->limit = UINT64_MAX;
	file->sealed_ns = INT64_MAX;
	file->first_ns = INT64_MIN;
	file->is_pipe = kind == INPUT_PIPE;
	if (kind != INPUT_FILE)
		r = input_open(sys, fd, kind, &file->input);
	file->log.input = file->input;
	if (r < 0)
		feed_file_close(&file);
	else
		*ret = file;
	return r;
}

/* The offset of the SEAL page by the trailer in the last bytes; 0: there is none. In concatenated
 * files it is the offset in the last part, and leads to a page that does not end the file. */
static uint64_t find_seal(const struct feed_file *file, uint32_t *ret_length)
{
	struct seal_trailer trailer;
	struct stat about;
	uint64_t size;

	if (file->input != NULL || file->log.sys->fstat(file->log.fd, &about) < 0)
		return 0;
	size = (uint64_t)about.st_size;
	if (size < sizeof(trailer) || logfile_read(&file->log, &trailer, sizeof(trailer),
						   size - sizeof(trailer)) != sizeof(trailer))
		return 0;
	if (trailer.magic != TRAILER_MAGIC || trailer.seal_offset % PAGE_ALIGN != 0 ||
	    trailer.seal_offset >= size || size - trailer.seal_offset > PAGE_MAX)
		return 0;
	*ret_length = (uint32_t)(size - trailer.seal_offset);
	return trailer.seal_offset;
}

/* A sealed file says where it ends and what times it spans; one that doesn't is read without. */
static void load_seal(const struct feed *feed, struct feed_file *file)
{
	const struct page_header *header = (const void *)feed->scratch;
	const struct index_entry *index;
	uint32_t length = 0;
	const uint64_t offset = find_seal(file, &length);
	struct seal_info info;
	ssize_t n;

	if (offset == 0)
		return;
	n = logfile_read(&file->log, feed->scratch, PAGE_MAX, offset);
	if (n < 0 || page_check(header, (size_t)n, file->log.info.salt) < 0 ||
	    header->length != length || page_seal_info(header, &info, &index) < 0)
		return;
	file->seal_offset = offset;
	file->limit = header->page_no;
	if (header->ticks_per_s == 0)
		return; /* no clock, or sealed by a later writer, which has no sample of then */
	file->sealed_ns = header->sample_realtime_ns;
	if (info.data_records > 0)
		file->first_ns = page_realtime_ns(header, info.first_ticks);
}

int feed_file_begin(const struct feed *feed, struct feed_file *file)
{
	const struct page_header *header = (const void *)feed->scratch;
	const int r = logfile_next(&file->log, feed->scratch);

	if (r < 0)
		return r;
	file->first = reader_page_new(header, header->length);
	if (file->first == NULL)
		return -ENOMEM;
	file->first->file_no = file->name.file_no;
	file->first->volume_no = file->name.volume_no;
	if (file->sealed)
		load_seal(feed, file);
	return 0;
}

/* A link that leads nowhere, or to itself: it stays so, unlike a file that was renamed. */
static bool is_dead_link(const struct feed *feed, const char *name, int error)
{
	struct stat about;

	if (error != -ENOENT && error != -ELOOP)
		return false;
	return feed->sys->fstatat(feed->dir, name, &about, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISLNK(about.st_mode);
}

/* -EBADMSG: the name is a file's, what has it is none: a directory, a pipe, a dead link. */
int feed_file_by_name(const struct feed *feed, const struct logdir_file *name,
		      struct feed_file **ret)
{
	const enum input_kind kind = name->state == LOGFILE_COMPRESSED ? INPUT_LZ4 : INPUT_FILE;
	char text[LOGDIR_NAME_SIZE];
	struct stat about;
	int fd, r;

	logdir_file_name(text, name);
	fd = feed->sys->openat(feed->dir, text, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
	if (fd < 0)
		return is_dead_link(feed, text, fd) ? -EBADMSG : fd;
	r = feed->sys->fstat(fd, &about);
	if (r == 0 && S_ISREG(about.st_mode))
		return feed_file_new(feed->sys, fd, kind, ret);
	(void)feed->sys->close(fd);
	return r < 0 ? r : -EBADMSG;
}

int feed_file_open(const struct feed *feed, const struct logdir_file *name, struct feed_file **ret)
{
	struct feed_file *file;
	int r = feed_file_by_name(feed, name, &file);

	if (r < 0)
		return r;
	file->name = *name;
	file->sealed = name->state != LOGFILE_OPEN;
	r = feed_file_begin(feed, file);
	if (r < 0)
		feed_file_close(&file);
	else
		*ret = file;
	return r;
}

int feed_relist(struct feed *feed)
{
	struct logdir_list list;
	const int r = logdir_list_from(feed->sys, feed->dir, feed->passed_volume_no, &list);

	if (r < 0)
		return reason_set(r, "\"%s\": cannot be listed: %s", feed->path, strerror(-r));
	logdir_list_free(&feed->list);
	feed->list = list;
	return 0;
}

static int report_bad(const struct feed *feed, const struct logdir_file *name, int error)
{
	const struct feed_file file = { .name = *name };

	if (error == -EPROTO)
		return reason_set(error,
				  "\"%s\": of another format version than this program knows; "
				  "a newer shmlog-cat reads it",
				  feed_file_path(feed, &file));
	return reason_set(-EBADMSG,
			  "\"%s\": its FILE page is damaged; none of its records can be read",
			  feed_file_path(feed, &file));
}

static bool is_unreadable(int error)
{
	return error == -EBADMSG || error == -EPROTO || error == -ENODATA;
}

/* As feed_file_find(), among the names that are listed; -ENOENT: one of them is gone. */
static int find_listed(const struct feed *feed, uint64_t after, struct feed_file **ret,
		       struct logdir_file *ret_bad)
{
	const struct logdir_list *list = &feed->list;
	int r;

	for (size_t i = 0; i < list->count; i++) {
		const struct logdir_file *name = &list->files[i];
		const bool twin =
			i + 1 < list->count && list->files[i + 1].file_no == name->file_no;

		if (name->file_no <= after)
			continue;
		r = feed_file_open(feed, name, ret);
		if (r == 0 || !is_unreadable(r))
			return r;
		if ((name->state == LOGFILE_OPEN && r != -EPROTO) || twin)
			continue; /* not begun, or there is an archive of it */
		*ret_bad = *name;
		return report_bad(feed, name, r);
	}
	return -ENODATA;
}

int feed_file_find(struct feed *feed, uint64_t after, struct feed_file **ret,
		   struct logdir_file *ret_bad)
{
	int r = find_listed(feed, after, ret, ret_bad);

	for (int tries = 0; tries < RELIST_MAX && (r == -ENOENT || (r == -ENODATA && tries == 0));
	     tries++) {
		r = feed_relist(feed);
		if (r < 0)
			return r;
		r = find_listed(feed, after, ret, ret_bad);
	}
	return r;
}

void feed_look_ahead(struct feed *feed)
{
	struct feed_file *current = feed->current;
	uint64_t after = feed->passed_no;
	struct logdir_file bad = { 0 };
	int r = -EBADMSG;

	if (feed->kind != FEED_DIRECTORY)
		return;
	while (feed->following == NULL && (r == -EBADMSG || r == -EPROTO)) {
		r = feed_file_find(feed, after, &feed->following, &bad);
		after = r == -EBADMSG || r == -EPROTO ? bad.file_no : after;
	}
	if (current != NULL && feed->following != NULL)
		current->limit = min_u64(current->limit, feed->following->log.page_first);
}

void feed_leave(struct feed *feed, uint64_t expected)
{
	feed->expected = expected;
	feed->expected_log_id = feed->current->log.info.log_id;
	feed->passed_volume_no = feed->current->name.volume_no;
	feed_file_close(&feed->current);
}

/* Is nothing in the file of the time that is asked for? */
static bool is_out_of_time(const struct feed *feed, const struct feed_file *file)
{
	return file->sealed_ns < feed->since_ns || file->first_ns > feed->until_ns;
}

static int report_gap(const struct feed *feed, uint64_t first, uint64_t next)
{
	return reason_set(-EBADMSG,
			  "\"%s\": pages %" PRIu64 " to %" PRIu64 " are missing before \"%s\": "
			  "deleted before they were read, or lost",
			  feed->path, first, next - 1, feed_file_path(feed, feed->current));
}

/* feed->following, or whatever file has begun behind those that are done with. */
static int take_following(struct feed *feed)
{
	struct logdir_file bad = { 0 };
	int r = 0;

	if (feed->following == NULL)
		r = feed_file_find(feed, feed->passed_no, &feed->following, &bad);
	if (r == -EBADMSG || r == -EPROTO) {
		feed->passed_no = bad.file_no;
		feed->expected = 0; /* what is missing is named already */
		return -EBADMSG;
	}
	if (r < 0)
		return r;
	feed->current = feed->following;
	feed->following = NULL;
	feed->passed_no = feed->current->name.file_no;
	return 0;
}

int feed_advance(struct feed *feed)
{
	uint64_t expected, first;
	bool same_log;
	int r;

	for (;;) {
		r = take_following(feed);
		if (r < 0)
			return r;
		expected = feed->expected;
		first = feed->current->log.page_first;
		same_log = feed->current->log.info.log_id == feed->expected_log_id;
		feed_look_ahead(feed);
		if (expected != 0 && same_log && first > expected)
			return report_gap(feed, expected, first);
		if (!is_out_of_time(feed, feed->current))
			return 0;
		feed_leave(feed, feed->current->limit);
	}
}
