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

const char *feed_file_path(const struct feed *feed, const struct feed_file *file,
			   char buffer[FEED_PATH_SIZE])
{
	char name[LOGDIR_NAME_SIZE];

	if (file->name.file_no == 0)
		return feed->path;
	logdir_file_name(name, &file->name);
	(void)snprintf(buffer, FEED_PATH_SIZE, "%s/%s", feed->path, name);
	return buffer;
}

void feed_file_close(struct feed_file **file)
{
	struct feed_file *gone = *file;

	if (gone == NULL)
		return;
	reader_page_put(gone->first);
	reader_page_put(gone->seal);
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

static int size_of(const struct feed_file *file, uint64_t *ret)
{
	struct stat about;
	int r;

	if (file->input != NULL)
		return input_size(file->input, ret);
	r = file->log.sys->fstat(file->log.fd, &about);
	*ret = r < 0 ? 0 : (uint64_t)about.st_size;
	return r;
}

/* The offset of the SEAL page by the trailer in the last bytes; 0: there is none. In concatenated
 * files it is the offset in the last part, and leads to a page that does not end the file. */
static uint64_t find_seal(const struct feed_file *file, uint32_t *ret_length)
{
	struct seal_trailer trailer;
	uint64_t size;

	if (size_of(file, &size) < 0 || size < sizeof(trailer) ||
	    logfile_read(&file->log, &trailer, sizeof(trailer), size - sizeof(trailer)) !=
		    sizeof(trailer))
		return 0;
	if (trailer.magic != TRAILER_MAGIC || trailer.seal_offset % PAGE_ALIGN != 0 ||
	    trailer.seal_offset >= size || size - trailer.seal_offset > PAGE_MAX)
		return 0;
	*ret_length = (uint32_t)(size - trailer.seal_offset);
	return trailer.seal_offset;
}

/* A sealed file says where it ends and what is in it; one that doesn't is read without. */
static int load_seal(const struct feed *feed, struct feed_file *file)
{
	const struct page_header *header = (const void *)feed->scratch;
	const struct index_entry *index;
	struct seal_info sum;
	uint32_t length = 0;
	const uint64_t offset = find_seal(file, &length);
	ssize_t n;

	if (offset == 0)
		return 0;
	n = logfile_read(&file->log, feed->scratch, length, offset);
	if (n < 0 || page_check(header, (size_t)n, file->log.info.salt) < 0 ||
	    header->length != length || page_seal_info(header, &sum, &index) < 0)
		return 0;
	file->seal = reader_page_new(header, length);
	if (file->seal == NULL)
		return -ENOMEM;
	file->seal->offset = offset;
	(void)page_seal_info(file->seal->bytes, &file->sum, &file->index);
	file->limit = header->page_no;
	return 0;
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
	file->head = *header;
	return file->sealed ? load_seal(feed, file) : 0;
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

/* Who holds a directory that was removed finds it empty. */
static bool is_removed(const struct feed *feed)
{
	struct stat about;

	return feed->list.count == 0 && feed->sys->fstat(feed->dir, &about) == 0 &&
	       about.st_nlink == 0;
}

int feed_relist(struct feed *feed, uint64_t volume_no)
{
	struct logdir_list list;
	const int r = logdir_list_from(feed->sys, feed->dir, volume_no, &list);

	if (r < 0)
		return reason_set(r, "\"%s\": cannot be listed: %s", feed->path, strerror(-r));
	logdir_list_free(&feed->list);
	feed->list = list;
	feed->listed_from = volume_no;
	if (is_removed(feed))
		return reason_set(-EIO, "\"%s\": the log directory has been removed", feed->path);
	return 0;
}

static int report_bad(const struct feed *feed, const struct logdir_file *name, int error)
{
	const struct feed_file file = { .name = *name };
	char path[FEED_PATH_SIZE];

	if (error == -EPROTO)
		return reason_set(error,
				  "\"%s\": of another format version than this program knows; "
				  "a newer shmlog-cat reads it",
				  feed_file_path(feed, &file, path));
	if (error != -EBADMSG && error != -ENODATA)
		return reason_set(-EBADMSG, "\"%s\": cannot be read: %s",
				  feed_file_path(feed, &file, path), strerror(-error));
	return reason_set(-EBADMSG,
			  "\"%s\": its FILE page is damaged; none of its records can be read",
			  feed_file_path(feed, &file, path));
}

/* The first file in the list behind the one of number @after. */
static size_t first_behind(const struct logdir_list *list, uint64_t after)
{
	size_t low = 0, high = list->count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (list->files[middle].file_no <= after)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* As feed_file_find(), among the names that are listed; -ENOENT: one of them is gone. */
static int find_listed(const struct feed *feed, uint64_t after, struct feed_file **ret,
		       struct logdir_file *ret_bad)
{
	const struct logdir_list *list = &feed->list;
	int r;

	for (size_t i = first_behind(list, after); i < list->count; i++) {
		const struct logdir_file *name = &list->files[i];
		const bool twin =
			i + 1 < list->count && list->files[i + 1].file_no == name->file_no;

		r = feed_file_open(feed, name, ret);
		if (r == 0 || r == -ENOENT || feed_is_ours(r))
			return r;
		if (twin || (name->state == LOGFILE_OPEN && (r == -ENODATA || r == -EBADMSG)))
			continue; /* there is an archive of it, or it has not begun */
		*ret_bad = *name;
		return report_bad(feed, name, r);
	}
	return -ENODATA;
}

int feed_file_find(struct feed *feed, uint64_t after, struct feed_file **ret,
		   struct logdir_file *ret_bad)
{
	/* After a jump back the list may begin behind the place. */
	const bool is_short = feed->listed_from > feed->passed_volume_no;
	int r = is_short ? -ENODATA : find_listed(feed, after, ret, ret_bad);

	for (int tries = 0; tries < RELIST_MAX && (r == -ENOENT || (r == -ENODATA && tries == 0));
	     tries++) {
		r = feed_relist(feed, feed->passed_volume_no);
		if (r < 0)
			return r;
		r = find_listed(feed, after, ret, ret_bad);
	}
	if (r == -ENOENT || feed_is_ours(r))
		return reason_set(r, "\"%s\": its files cannot be opened: %s", feed->path,
				  strerror(-r));
	return r;
}

int feed_look_ahead(struct feed *feed)
{
	struct feed_file *current = feed->current;
	uint64_t after = feed->passed_no;
	struct logdir_file bad = { 0 };
	int r = -EBADMSG;

	if (feed->kind != FEED_DIRECTORY)
		return 0;
	while (feed->following == NULL && (r == -EBADMSG || r == -EPROTO)) {
		r = feed_file_find(feed, after, &feed->following, &bad);
		after = r == -EBADMSG || r == -EPROTO ? bad.file_no : after;
	}
	if (current != NULL && feed->following != NULL)
		current->limit = min_u64(current->limit, feed->following->log.page_first);
	return feed->following != NULL || r == -ENODATA ? 0 : r;
}

void feed_leave(struct feed *feed, uint64_t expected)
{
	feed->expected = expected;
	feed->left_no = feed->current->name.file_no;
	feed->expected_log_id = feed->current->log.info.log_id;
	feed->passed_volume_no = feed->current->name.volume_no;
	feed_file_close(&feed->current);
}

/* Pages are missing before the current file. Retention deletes the oldest first: where no file is
 * left up to the last one that was read, they were deleted. */
static int settle_gap(struct feed *feed, uint64_t first, uint64_t next)
{
	char path[FEED_PATH_SIZE];
	const int r = feed_relist(feed, 0);

	if (r < 0 || feed->list.count == 0 || feed->list.files[0].file_no > feed->left_no)
		return r;
	return reason_set(-EBADMSG,
			  "\"%s\": pages %" PRIu64 " to %" PRIu64 " are missing before \"%s\": "
			  "deleted before they were read, or lost",
			  feed->path, first, next - 1, feed_file_path(feed, feed->current, path));
}

/* The number of the current file twice: only one of them is read. */
static int check_number(const struct feed *feed)
{
	const struct logdir_file *name = &feed->current->name;
	const struct logdir_list *list = &feed->list;
	char path[FEED_PATH_SIZE];

	for (size_t i = first_behind(list, name->file_no - 1);
	     i < list->count && list->files[i].file_no == name->file_no; i++) {
		const struct feed_file other = { .name = list->files[i] };

		if (other.name.volume_no != name->volume_no)
			return reason_set(-EBADMSG,
					  "\"%s\": has the number of another file; it is not read",
					  feed_file_path(feed, &other, path));
	}
	return 0;
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
	assert(feed->following != NULL);
	feed->current = feed->following;
	feed->following = NULL;
	feed->passed_no = feed->current->name.file_no;
	return 0;
}

/* Where the current file ends; its SEAL page knows, or else the next file. */
static int learn_end(struct feed *feed)
{
	return feed->current->limit == UINT64_MAX ? feed_look_ahead(feed) : 0;
}

/* Are pages missing between the last file that was read and the current one? */
static bool has_gap(const struct feed *feed)
{
	const struct logfile *log = &feed->current->log;

	return feed->expected != 0 && log->info.log_id == feed->expected_log_id &&
	       log->page_first > feed->expected;
}

/* A name that changes while the directory is listed may be missing from the list: look once more
 * for what lies between the last file that was read and the current one. */
static int take_nearest(struct feed *feed)
{
	int r = take_following(feed);

	if (r < 0 || !has_gap(feed))
		return r;
	feed_file_close(&feed->current);
	feed->passed_no = feed->left_no;
	r = feed_relist(feed, feed->passed_volume_no);
	return r < 0 ? r : take_following(feed);
}

/* Nothing, or what is to be told before the current file is read. */
static int check_current(struct feed *feed)
{
	const uint64_t expected = feed->expected;
	const bool is_gap = has_gap(feed);
	int r = learn_end(feed);

	feed->expected = 0;
	if (r == 0 && is_gap)
		r = settle_gap(feed, expected, feed->current->log.page_first);
	return r < 0 ? r : check_number(feed);
}

int feed_advance(struct feed *feed)
{
	int r = feed->has_started ? 0 : feed_start(feed);

	while (r == 0) {
		r = take_nearest(feed);
		if (r == 0)
			r = check_current(feed);
		if (r < 0 || !feed_is_out_of_time(feed, feed->current))
			break;
		feed_leave(feed, feed->current->limit);
	}
	return r;
}
