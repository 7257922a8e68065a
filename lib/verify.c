/*
 * verify.c - is a log whole? From file to file. See shmlog_verify() in shmlog_reader.h.
 *
 * Safe beside a writer, its archiver and retention: a file that is open is judged by what was there
 * when nobody could have changed it any more; one that has got another name is opened by that; one
 * that is gone is passed by. What begins while the log is gone through is not looked at.
 */
#include "verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FINDING_SIZE = 8192, PATH_SIZE = 4096 };

void verify_tell(struct verify *verify, const char *format, ...)
{
	char text[FINDING_SIZE];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	verify->verdict->findings++;
	if (verify->tell != NULL)
		verify->tell(verify->context, text);
}

/* ---- the listing ---- */

static int list_anew(struct verify *verify)
{
	struct logdir_list list;
	const int r = logdir_list(verify->sys, verify->dir, &list);

	if (r < 0)
		return reason_set(r, "\"%s\": cannot be listed: %s", verify->path, strerror(-r));
	logdir_list_free(&verify->list);
	verify->list = list;
	return 0;
}

/* By number, volume, state, as they are listed. */
static bool is_behind(const struct logdir_file *a, const struct logdir_file *b)
{
	if (a->file_no != b->file_no)
		return a->file_no > b->file_no;
	if (a->volume_no != b->volume_no)
		return a->volume_no > b->volume_no;
	return a->state > b->state;
}

/* The first listed file behind @done; NULL: there is none. */
static const struct logdir_file *next_listed(const struct verify *verify,
					     const struct logdir_file *done)
{
	const struct logdir_file *files = verify->list.files;
	size_t low = 0, high = verify->list.count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (is_behind(&files[middle], done))
			high = middle;
		else
			low = middle + 1;
	}
	return low < verify->list.count ? &files[low] : NULL;
}

static bool is_same(const struct logdir_file *a, const struct logdir_file *b)
{
	return a->file_no == b->file_no && a->volume_no == b->volume_no && a->state == b->state;
}

static bool is_listed(const struct verify *verify, const struct logdir_file *name)
{
	for (size_t i = 0; i < verify->list.count; i++)
		if (is_same(&verify->list.files[i], name))
			return true;
	return false;
}

bool verify_is_gap(struct verify *verify, uint64_t file_no)
{
	if (verify->dir < 0 || list_anew(verify) < 0)
		return true;
	return verify->list.count > 0 && verify->list.files[0].file_no <= file_no;
}

/* ---- one file of the directory ---- */

/* The number of a file's FILE page, into *ret: 0; -ENODATA it has not begun, or cannot tell. */
static int peek(struct verify *verify, const struct logdir_file *name, uint64_t *ret)
{
	struct scan scan;
	int r = scan_open_listed(&scan, verify->sys, verify->dir, name);

	if (r < 0)
		return -ENODATA;
	r = logfile_next(&scan.log, verify->buffer);
	if (r == 0)
		*ret = scan.log.page_first;
	scan_close(&scan);
	return r == 0 ? 0 : -ENODATA;
}

/* Where the file ends: the number of the first page behind it in the log; UINT64_MAX: not known. */
static uint64_t find_limit(struct verify *verify, const struct logdir_file *name)
{
	struct logdir_file at = *name;
	const struct logdir_file *next;
	uint64_t first;

	while ((next = next_listed(verify, &at)) != NULL) {
		at = *next;
		if (next->file_no != name->file_no && peek(verify, next, &first) == 0)
			return first;
	}
	return UINT64_MAX;
}

/* Nobody's hand is on an open file that is free, still has its name after that, and is the last
 * that has begun: then what is not there is not going to come. -ENOENT: it has got another name. */
static int judge(struct verify *verify, struct verify_file *file)
{
	int held, r;

	if (file->name.state != LOGFILE_OPEN) {
		file->state = VERIFY_SEALED;
		file->limit = find_limit(verify, &file->name);
		return 0;
	}
	held = logfile_is_held(&file->scan.log);
	if (held < 0)
		return held;
	r = list_anew(verify);
	if (r < 0)
		return r;
	if (!is_listed(verify, &file->name))
		return -ENOENT;
	file->limit = find_limit(verify, &file->name);
	file->state = held == 1 ? VERIFY_HELD : VERIFY_LEFT;
	if (file->limit != UINT64_MAX)
		file->state = VERIFY_PASSED;
	return 0;
}

/* The archive of a file that is there itself: the same pages, which do not count again. */
static int verify_twin(struct verify *verify, struct verify_file *file)
{
	const struct standing plain = verify->standing;
	const uint64_t findings = verify->verdict->findings;
	int r;

	verify->standing = (struct standing){ 0 };
	r = verify_file(verify, file);
	if (r == 0 && verify->verdict->findings == findings &&
	    (verify->standing.page_last != plain.page_last ||
	     verify->standing.checksum != plain.checksum))
		verify_tell(verify, "\"%s\": is not of the file beside it; remove one of them",
			    file->path);
	verify->standing = plain;
	return r;
}

static bool is_twin(const struct logdir_file *name, const struct logdir_file *done)
{
	return name->file_no == done->file_no && name->volume_no == done->volume_no &&
	       name->state == LOGFILE_COMPRESSED && done->state == LOGFILE_SEALED;
}

static void make_path(const struct verify *verify, const struct logdir_file *name,
		      char path[PATH_SIZE])
{
	char text[LOGDIR_NAME_SIZE];

	logdir_file_name(text, name);
	(void)snprintf(path, PATH_SIZE, "%s/%s", verify->path, text);
}

static int tell_unread(struct verify *verify, const char *path, int error)
{
	const char *why = strerror(-error);

	if (error == -ENOMEM)
		return reason_set(error, "\"%s\": out of memory", path);
	if (error == -EPROTO)
		why = "of another format version than this program knows; a newer shmlog-cat does";
	else if (error == -EBADMSG)
		why = "has a log file's name and is none; move it away";
	else if (error == -ENOENT)
		why = "a link that leads nowhere; remove it";
	verify->verdict->unread++;
	verify_tell(verify, "\"%s\": cannot be read: %s", path, why);
	verify->standing.is_known = false;
	return 0;
}

/* 0; -ENOENT: it is gone, or was renamed; -errno with a reason. */
static int verify_listed(struct verify *verify, const struct logdir_file *name,
			 const struct logdir_file *done, enum verify_state *ret_state)
{
	char path[PATH_SIZE];
	struct verify_file file = { .path = path, .name = *name, .is_twin = is_twin(name, done) };
	int r = scan_open_listed(&file.scan, verify->sys, verify->dir, name);

	make_path(verify, name, path);
	if (r == 0) {
		r = judge(verify, &file);
		if (r == 0)
			r = file.is_twin ? verify_twin(verify, &file) : verify_file(verify, &file);
		scan_close(&file.scan);
	}
	*ret_state = file.state;
	return r == 0 || r == -ENOENT ? r : tell_unread(verify, path, r);
}

/* What could not be opened by its name has another one now, or is gone; else it leads nowhere. */
static int settle_name(struct verify *verify, const struct logdir_file *name,
		       struct logdir_file *done)
{
	char path[PATH_SIZE];
	const int r = list_anew(verify);

	if (r < 0 || !is_listed(verify, name))
		return r;
	*done = *name;
	make_path(verify, name, path);
	return tell_unread(verify, path, -ENOENT);
}

/* A file may have been renamed while it was listed, and so be missing in the list. */
static int list_at_hole(struct verify *verify, const struct logdir_file *name)
{
	uint64_t first;

	if (!verify->standing.is_known || peek(verify, name, &first) < 0 ||
	    first <= verify->standing.page_next)
		return 0;
	return list_anew(verify);
}

static bool is_log(const struct verify *verify)
{
	return verify->list.count > 0 || verify->list.volume_last > 0 || verify->list.has_lock;
}

static int verify_directory(struct verify *verify)
{
	struct logdir_file done = { 0 }, name;
	const struct logdir_file *next;
	enum verify_state state = VERIFY_SEALED;
	int r = list_anew(verify);

	if (r == 0 && !is_log(verify))
		return logfile_refuse(verify->path, -EBADMSG);
	while (r == 0 && state != VERIFY_HELD && (next = next_listed(verify, &done)) != NULL) {
		name = *next;
		r = list_at_hole(verify, &name);
		next = next_listed(verify, &done);
		if (r < 0 || next == NULL || !is_same(next, &name))
			continue;
		r = verify_listed(verify, &name, &done, &state);
		if (r == 0)
			done = name;
		else if (r == -ENOENT)
			r = settle_name(verify, &name, &done);
	}
	return r;
}

/* ---- one file ---- */

/* What "<volume>/<file>" at the end of the path says. */
static void name_of_path(const char *path, struct logdir_file *ret)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash != NULL ? slash + 1 : path;
	char volume[LOGDIR_NAME_SIZE] = "";

	if (!logdir_parse_file(base, ret))
		*ret = (struct logdir_file){ .state = logdir_is_open_name(base) ? LOGFILE_OPEN
										: LOGFILE_SEALED };
	if (ret->file_no == 0 || base - path < 11 || (base - path > 11 && base[-12] != '/'))
		return;
	memcpy(volume, base - 11, 10);
	(void)logdir_parse_volume(volume, &ret->volume_no);
}

/* A name that is none of ours: then at least its first page must be. */
static bool is_log_file(const struct verify_file *file)
{
	struct page_header header;

	return file->name.file_no != 0 ||
	       (logfile_header(&file->scan.log, 0, &header) == 0 && header.kind == PAGE_FILE);
}

static int verify_one(struct verify *verify, int fd)
{
	struct verify_file file = { .path = verify->path, .limit = UINT64_MAX };
	int r = scan_open(&file.scan, verify->sys, fd);

	if (r < 0)
		return logfile_refuse(verify->path, r);
	name_of_path(verify->path, &file.name);
	file.state = VERIFY_SEALED;
	if (file.name.state == LOGFILE_OPEN) {
		r = logfile_is_held(&file.scan.log);
		file.state = r == 1 ? VERIFY_HELD : VERIFY_LEFT;
	}
	if (r >= 0)
		r = is_log_file(&file) ? verify_file(verify, &file) : -EBADMSG;
	scan_close(&file.scan);
	return r < 0 ? logfile_refuse(verify->path, r) : 0;
}

/* ---- all ---- */

static int verify_opened(struct verify *verify, int fd)
{
	struct stat about;
	const int r = verify->sys->fstat(fd, &about);

	if (r == 0 && S_ISREG(about.st_mode))
		return verify_one(verify, fd);
	if (r == 0 && S_ISDIR(about.st_mode)) {
		verify->dir = fd;
		return verify_directory(verify);
	}
	(void)verify->sys->close(fd);
	return logfile_refuse(verify->path, r < 0 ? r : -EBADMSG);
}

static int verify_path(struct verify *verify)
{
	const int fd =
		verify->sys->open(verify->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);

	if (fd < 0)
		return logfile_refuse(verify->path, fd);
	verify->index = calloc(FILE_PAGES_MAX, sizeof(*verify->index));
	verify->buffer = aligned_alloc(PAGE_ALIGN, PAGE_MAX);
	if (verify->index != NULL && verify->buffer != NULL)
		return verify_opened(verify, fd);
	(void)verify->sys->close(fd);
	return logfile_refuse(verify->path, -ENOMEM);
}

int shmlog_verify(const char *path, void (*tell)(void *context, const char *finding), void *context,
		  struct shmlog_verdict *ret_verdict)
{
	struct verify verify = {
		.sys = &sys_real, .path = path, .dir = -1, .tell = tell, .context = context
	};
	int r;

	if (ret_verdict->size != sizeof(*ret_verdict))
		return reason_set(-EINVAL,
				  "shmlog_verdict.size: of another version of the library");
	*ret_verdict = (struct shmlog_verdict){ .size = sizeof(*ret_verdict) };
	verify.verdict = ret_verdict;
	r = verify_path(&verify);
	if (verify.dir >= 0)
		(void)verify.sys->close(verify.dir);
	logdir_list_free(&verify.list);
	free(verify.index);
	free(verify.buffer);
	return r;
}
