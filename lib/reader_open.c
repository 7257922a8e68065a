/*
 * reader_open.c - what a feed is opened from: a path, a descriptor, memory, another feed.
 *
 * Tells a log from what is none before anything is promised: a directory with only foreign names,
 * and a file whose first page is not ours, are refused here. Damage is not: it is found later.
 */
#include "reader_feed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* The struct with what every kind needs; @path is copied. */
static int init(struct feed *feed, const struct sys *sys, enum feed_kind kind, const char *path)
{
	*feed = (struct feed){
		.sys = sys, .kind = kind, .dir = -1, .since_ns = INT64_MIN, .until_ns = INT64_MAX
	};
	feed->path = strdup(path);
	feed->scratch = aligned_alloc(PAGE_ALIGN, PAGE_MAX);
	if (feed->path != NULL && feed->scratch != NULL)
		return 0;
	feed_close(feed);
	return reason_set(-ENOMEM, "\"%s\": out of memory", path);
}

void feed_close(struct feed *feed)
{
	feed_file_close(&feed->current);
	feed_file_close(&feed->following);
	salvage_close(&feed->salvage);
	logdir_list_free(&feed->list);
	feed_catalog_free(&feed->catalog);
	free(feed->places.items);
	for (size_t i = 0; i < feed->page_count; i++)
		reader_page_put(feed->pages[i]);
	free(feed->pages);
	if (feed->dir >= 0)
		(void)feed->sys->close(feed->dir);
	free(feed->path);
	free(feed->scratch);
	*feed = (struct feed){ .dir = -1 };
}

/* Is anything of ours there? A writer takes the lock before it makes its first volume; who follows
 * may also come before the writer. */
static bool is_log(const struct feed *feed, bool is_followed)
{
	return feed->list.count > 0 || feed->list.volume_last > 0 || feed->list.has_lock ||
	       (is_followed && feed->list.foreign == 0);
}

static int open_directory(struct feed *feed, int fd, bool is_followed)
{
	struct logdir_file bad;
	int r;

	feed->dir = fd;
	r = feed_relist(feed, 0);
	if (r < 0)
		return r;
	if (!is_log(feed, is_followed))
		return logfile_refuse(feed->path, -EBADMSG);
	r = feed_file_find(feed, 0, &feed->following, &bad);
	if (r == -EPROTO || r == 0)
		return r;
	return r == -ENODATA || r == -EBADMSG ? 0 : logfile_refuse(feed->path, r);
}

/* Is it a log at all? A page of ours that is damaged is one; nothing may become one if a writer
 * may still write there, and nothing on a pipe is no file at all. */
static int recognise(const struct feed *feed, struct feed_file *file, bool may_be_empty)
{
	const int r = feed_file_begin(feed, file);
	struct page_header header;

	if (r == -ENODATA)
		return may_be_empty ? 0 : -EBADMSG;
	if (r != -EBADMSG)
		return r;
	if (logfile_header(&file->log, 0, &header) == 0 && header.kind == PAGE_FILE)
		return 0;
	return file->sealed ? -EBADMSG : 0;
}

/* @fd is a file or a stream; it is taken over. @name NULL: none. */
static int open_stream(struct feed *feed, int fd, const char *name, bool seekable)
{
	uint32_t magic = 0;
	enum input_kind kind = seekable ? INPUT_FILE : INPUT_PIPE;
	int r;

	if (seekable && feed->sys->pread(fd, &magic, sizeof(magic), 0) == sizeof(magic) &&
	    magic == LZ4_FRAME_MAGIC)
		kind = INPUT_LZ4;
	r = feed_file_new(feed->sys, fd, kind, &feed->current);
	if (r < 0)
		return logfile_refuse(feed->path, r);
	if (name != NULL)
		feed->current->sealed = !logdir_is_open_name(name);
	else
		feed->current->sealed = !seekable || logfile_is_held(&feed->current->log) == 0;
	r = recognise(feed, feed->current, name == NULL || !feed->current->sealed);
	return r < 0 ? logfile_refuse(feed->path, r) : 0;
}

static int open_any(struct feed *feed, int fd, const char *name, bool is_followed)
{
	struct stat about;
	const int r = feed->sys->fstat(fd, &about);

	if (r < 0) {
		(void)feed->sys->close(fd);
		return logfile_refuse(feed->path, r);
	}
	if (S_ISDIR(about.st_mode)) {
		feed->kind = FEED_DIRECTORY;
		return open_directory(feed, fd, is_followed);
	}
	return open_stream(feed, fd, name, S_ISREG(about.st_mode) || S_ISBLK(about.st_mode));
}

int feed_open(struct feed *feed, const struct sys *sys, const char *path, bool is_followed)
{
	const int fd = sys->open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0);
	int r;

	if (fd < 0)
		return logfile_refuse(path, fd);
	r = init(feed, sys, FEED_FILE, path);
	if (r < 0) {
		(void)sys->close(fd);
		return r;
	}
	r = open_any(feed, fd, path, is_followed);
	if (r < 0)
		feed_close(feed);
	return r;
}

int feed_open_fd(struct feed *feed, const struct sys *sys, int fd)
{
	int r = init(feed, sys, FEED_FILE, fd == 0 ? "standard input" : "descriptor");
	int own;

	if (r < 0)
		return r;
	own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	r = own < 0 ? logfile_refuse(feed->path, -errno) : open_any(feed, own, NULL, false);
	if (r < 0)
		feed_close(feed);
	return r;
}

int feed_open_salvage(struct feed *feed, const struct sys *sys, const char *path)
{
	int r = init(feed, sys, FEED_SALVAGE, path);

	if (r < 0)
		return r;
	r = salvage_open(sys, path, &feed->salvage);
	if (r < 0)
		feed_close(feed);
	return r;
}

int feed_open_memory(struct feed *feed, const char *name, struct reader_page **pages, size_t count)
{
	const int r = init(feed, &sys_real, FEED_MEMORY, name);

	if (r < 0)
		return r;
	feed->pages = pages;
	feed->page_count = count;
	return 0;
}

static int copy_file(const struct feed_file *file, struct feed_file **ret)
{
	const enum input_kind kind = file->input != NULL ? INPUT_LZ4 : INPUT_FILE;
	struct feed_file *copy = NULL;
	struct logfile log;
	int fd, r;

	if (file->is_pipe)
		return reason_set(-ENOTSUP, "a pipe has one reader");
	fd = fcntl(file->log.fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	r = feed_file_new(file->log.sys, fd, kind, &copy);
	if (r < 0)
		return r;
	log = file->log;
	log.fd = copy->log.fd;
	log.input = copy->input;
	*ret = copy;
	*copy = *file;
	copy->log = log;
	copy->input = log.input;
	copy->first = reader_page_get(file->first);
	copy->seal = reader_page_get(file->seal);
	return 0;
}

static int copy_memory(const struct feed *feed, struct feed *ret)
{
	if (feed->page_count == 0)
		return 0;
	ret->pages = calloc(feed->page_count, sizeof(struct reader_page *));
	if (ret->pages == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < feed->page_count; i++)
		ret->pages[i] = reader_page_get(feed->pages[i]);
	ret->page_count = feed->page_count;
	return 0;
}

/* The list, the look ahead and what is known of the files are not copied: they are found again. */
int feed_copy(const struct feed *feed, struct feed *ret)
{
	int r;

	if (feed->kind == FEED_SALVAGE)
		return reason_set(-ENOTSUP, "what is salvaged has one reader");
	r = init(ret, feed->sys, feed->kind, feed->path);
	if (r < 0)
		return r;
	ret->passed_no = feed->passed_no;
	ret->passed_volume_no = feed->passed_volume_no;
	ret->left_no = feed->left_no;
	ret->has_started = feed->has_started;
	ret->expected = feed->expected;
	ret->expected_log_id = feed->expected_log_id;
	ret->since_ns = feed->since_ns;
	ret->until_ns = feed->until_ns;
	ret->page_at = feed->page_at;
	if (feed->dir >= 0) {
		ret->dir = fcntl(feed->dir, F_DUPFD_CLOEXEC, 3);
		r = ret->dir < 0 ? -errno : 0;
	}
	if (r == 0 && feed->current != NULL)
		r = copy_file(feed->current, &ret->current);
	if (r == 0)
		r = copy_memory(feed, ret);
	if (r < 0)
		feed_close(ret);
	return r;
}
