/*
 * salvage.c - from file to file, by what they say of themselves. See salvage.h.
 *
 * Two passes: the first looks for the first whole page of each file, since a name may be wrong and
 * a FILE page may be bad; the second shows them.
 * Invariant: within one log no page is shown whose number is below shown_next.
 */
#include "salvage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"

enum { PATH_SIZE = 4096 };

/* A file, as far as its first whole page tells. */
struct found {
	struct logdir_file name; /* file_no 0: the file that was asked for  */
	uint64_t file_no;        /* by its FILE page; if that is bad, its name */
	uint64_t page_first;     /* 0: it has no whole page                 */
	uint64_t segment_id;
	uint64_t log_id; /* 0: its FILE page is bad */
	uint64_t salt;
};

struct salvage {
	const struct sys *sys;
	char *path;
	int dir; /* -1: one file */
	struct found *found;
	size_t count;
	size_t at; /* the file that is read, or the next one */
	struct scan scan;
	bool is_open;
	bool is_held;  /* a writer is at it: it ends at the first page that is not there */
	bool is_shown; /* a page of the file came                                        */
	uint64_t bad_bytes;
	uint64_t zeros; /* of an open file; bad if a page follows */
	uint64_t shown_next;
	uint64_t log_id;   /* of shown_next */
	uint64_t named_no; /* file whose numbers of sources hold */
	bool has_successor;
	uint8_t *successor; /* PAGE_MAX: its FILE page */
	uint8_t *buffer;    /* PAGE_MAX                */
};

/* ---- which files there are ---- */

static bool is_torn(const struct found *found)
{
	return found->name.state == LOGFILE_TORN;
}

/* A file may have got its next name since it was listed. */
static int open_found(const struct salvage *salvage, struct found *found, struct scan *ret)
{
	int r, fd;

	if (salvage->dir < 0) {
		fd = salvage->sys->open(salvage->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
					0);
		return fd < 0 ? fd : scan_open(ret, salvage->sys, fd);
	}
	for (;;) {
		r = scan_open_listed(ret, salvage->sys, salvage->dir, &found->name);
		if (r != -ENOENT || found->name.state >= LOGFILE_COMPRESSED)
			return r;
		found->name.state++;
	}
}

static int look_at(const struct salvage *salvage, struct found *found)
{
	const struct page_header *header = (const void *)salvage->buffer;
	struct scan_piece piece;
	struct scan scan;
	int r = open_found(salvage, found, &scan);

	if (r < 0)
		return r;
	if (found->salt != 0)
		scan.log.info.salt = found->salt;
	do
		r = scan_next(&scan, salvage->buffer, &piece);
	while (r == 0 && piece.kind != SCAN_PAGE && piece.kind != SCAN_END);
	if (r == 0 && piece.kind == SCAN_PAGE) {
		found->page_first = header->page_no;
		found->segment_id = header->segment_id;
		if (scan.log.begun) {
			found->log_id = scan.log.info.log_id;
			found->file_no = scan.log.info.file_no;
		}
		found->salt = scan.log.info.salt;
	}
	scan_close(&scan);
	return r;
}

/* What was cut off a file has its salt, and its place in the order. */
static void take_from_file(const struct salvage *salvage, struct found *torn)
{
	for (size_t i = 0; i < salvage->count; i++) {
		const struct found *file = &salvage->found[i];

		if (file->name.file_no != torn->name.file_no ||
		    file->name.volume_no != torn->name.volume_no || file->page_first == 0)
			continue;
		*torn = *file;
		torn->name.state = LOGFILE_TORN;
		return;
	}
}

static int compare(const void *left, const void *right)
{
	const struct found *a = left, *b = right;

	if (a->file_no != b->file_no)
		return a->file_no < b->file_no ? -1 : 1;
	return (int)a->name.state - (int)b->name.state;
}

static int look_at_all(struct salvage *salvage, const struct logdir_list *list)
{
	salvage->found = calloc(list->count + list->side_count + 1, sizeof(*salvage->found));
	if (salvage->found == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < list->count; i++) {
		struct found *found = &salvage->found[salvage->count];

		*found =
			(struct found){ .name = list->files[i], .file_no = list->files[i].file_no };
		if (look_at(salvage, found) != -ENOENT)
			salvage->count++;
	}
	for (size_t i = 0; i < list->side_count; i++) {
		struct found *found = &salvage->found[salvage->count];

		if (list->sides[i].state != LOGFILE_TORN)
			continue;
		*found =
			(struct found){ .name = list->sides[i], .file_no = list->sides[i].file_no };
		take_from_file(salvage, found);
		if (found->page_first == 0)
			(void)look_at(salvage, found);
		salvage->count++;
	}
	qsort(salvage->found, salvage->count, sizeof(*salvage->found), compare);
	return 0;
}

/* ---- which pages count ---- */

/* The file with which a writer went on with the ring of @torn; NULL: none did. */
static const struct found *find_successor(const struct salvage *salvage, const struct found *torn)
{
	const struct found *next = NULL;

	for (size_t i = 0; i < salvage->count; i++) {
		const struct found *file = &salvage->found[i];

		if (!is_torn(file) && file->page_first != 0 && file->file_no > torn->file_no &&
		    file->segment_id == torn->segment_id &&
		    (next == NULL || file->file_no < next->file_no))
			next = file;
	}
	return next;
}

/* Its FILE page says from where on it took each lane's records; if it is bad, nobody knows. */
static int load_successor(struct salvage *salvage)
{
	const struct found *next = find_successor(salvage, &salvage->found[salvage->at]);
	struct found copy;
	struct scan scan;
	int r;

	if (next == NULL)
		return 0;
	copy = *next;
	r = open_found(salvage, &copy, &scan);
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	salvage->has_successor = logfile_next(&scan.log, salvage->successor) == 0;
	scan_close(&scan);
	return 0;
}

/* Where the successor took up a lane; 0: it does not say. */
static uint64_t taken_up_at(const struct salvage *salvage, uint16_t lane)
{
	struct page_cursor cursor = { 0 };
	const struct entry_header *entry;
	struct cursor_entry at;

	while (page_next_entry(salvage->successor, &cursor, &entry) == 1) {
		if (entry->type != ENTRY_CURSOR || entry->lane != lane || entry->size < sizeof(at))
			continue;
		memcpy(&at, entry, sizeof(at));
		return at.position;
	}
	return 0;
}

/* Were all records of a page that was set aside taken from the ring again? Not those of a lane that
 * was taken up behind them. */
static bool is_rewritten(const struct salvage *salvage, const struct page_header *header)
{
	struct page_cursor cursor = { 0 };
	const struct entry_header *entry;
	struct cursor_entry end;

	if (!salvage->has_successor)
		return false;
	while (header->kind == PAGE_DATA && page_next_entry(header, &cursor, &entry) == 1) {
		if (entry->type != ENTRY_CURSOR || entry->size < sizeof(end))
			continue;
		memcpy(&end, entry, sizeof(end));
		if (end.position <= taken_up_at(salvage, entry->lane))
			return false;
	}
	return true;
}

/* The number that the next file of the log begins with. */
static uint64_t find_limit(const struct salvage *salvage, const struct found *found)
{
	for (size_t i = salvage->at + 1; i < salvage->count; i++) {
		const struct found *next = &salvage->found[i];

		if (!is_torn(next) && next->page_first != 0 && next->file_no > found->file_no &&
		    (next->log_id == found->log_id || next->log_id == 0 || found->log_id == 0))
			return next->page_first;
	}
	return UINT64_MAX;
}

static bool is_wanted(const struct salvage *salvage, const struct page_header *header)
{
	const struct found *found = &salvage->found[salvage->at];

	if (is_torn(found))
		return !is_rewritten(salvage, header);
	if (header->kind == PAGE_SEAL)
		return salvage->is_shown;
	return header->page_no >= salvage->shown_next &&
	       header->page_no < find_limit(salvage, found);
}

/* ---- pages ---- */

static const char *path_of(const struct salvage *salvage, char buffer[PATH_SIZE])
{
	char name[LOGDIR_NAME_SIZE];

	if (salvage->dir < 0)
		return salvage->path;
	logdir_file_name(name, &salvage->found[salvage->at].name);
	(void)snprintf(buffer, PATH_SIZE, "%s/%s", salvage->path, name);
	return buffer;
}

static int tell_unread(const struct salvage *salvage, int error)
{
	char buffer[PATH_SIZE];
	const char *path = path_of(salvage, buffer);

	if (error == -EPROTO)
		return reason_set(-EBADMSG,
				  "\"%s\": of another format version than this program knows; "
				  "a newer shmlog-cat reads it",
				  path);
	return reason_set(-EBADMSG, "\"%s\": cannot be read: %s", path, strerror(-error));
}

static int tell_bad(const struct salvage *salvage)
{
	char buffer[PATH_SIZE];

	return reason_set(-EBADMSG, "\"%s\": %" PRIu64 " bytes are damaged; %s",
			  path_of(salvage, buffer), salvage->bad_bytes,
			  salvage->is_shown ? "what can be read beside them was shown"
					    : "nothing else is in it");
}

static int begin_file(struct salvage *salvage)
{
	struct found *found = &salvage->found[salvage->at];
	int r;

	salvage->has_successor = false;
	r = is_torn(found) ? load_successor(salvage) : 0;
	if (r == 0)
		r = open_found(salvage, found, &salvage->scan);
	if (r < 0)
		return r;
	salvage->is_open = true;
	salvage->is_shown = false;
	salvage->is_held =
		found->name.state == LOGFILE_OPEN && logfile_is_held(&salvage->scan.log) == 1;
	salvage->scan.log.info.salt = found->salt;
	if (found->log_id != 0 && found->log_id != salvage->log_id) {
		salvage->log_id = found->log_id;
		salvage->shown_next = 0;
	}
	return 0;
}

/* 0 or, where something of it was bad, -EBADMSG with the reason. */
static int end_file(struct salvage *salvage, int error)
{
	int r = 0;

	if (error < 0 && error != -ENOENT)
		r = error == -ENOMEM ? error : tell_unread(salvage, error);
	else if (salvage->bad_bytes > 0 && (salvage->is_shown || !salvage->has_successor))
		r = tell_bad(salvage); /* else a write was cut short, and done again */
	if (salvage->is_open)
		scan_close(&salvage->scan);
	salvage->is_open = false;
	salvage->bad_bytes = salvage->zeros = 0;
	salvage->at++;
	return r;
}

static int hand_out(struct salvage *salvage, const struct scan_piece *piece,
		    struct reader_page **ret)
{
	const struct page_header *header = (const void *)salvage->buffer;
	const struct found *found = &salvage->found[salvage->at];
	struct reader_page *page = reader_page_new(header, header->length);

	if (page == NULL)
		return -ENOMEM;
	page->file_no = found->name.file_no;
	page->volume_no = found->name.volume_no;
	page->offset = piece->offset;
	page->is_nameless = header->kind != PAGE_FILE && !salvage->is_shown &&
			    salvage->named_no != found->name.file_no;
	salvage->named_no = found->name.file_no;
	salvage->is_shown = true;
	if (!is_torn(found) && header->kind != PAGE_SEAL)
		salvage->shown_next = header->page_no + 1;
	*ret = page;
	return 0;
}

/* Open files end in zeros, and what was set aside begins with some; elsewhere they are as bad as
 * others. */
static void count_bad(struct salvage *salvage, const struct scan_piece *piece)
{
	const enum logfile_state state = salvage->found[salvage->at].name.state;

	if (piece->kind == SCAN_PAGE)
		salvage->bad_bytes += salvage->zeros;
	salvage->zeros = 0;
	if (piece->kind == SCAN_ZERO && state == LOGFILE_OPEN)
		salvage->zeros = piece->length;
	else if (piece->kind == SCAN_BAD || (piece->kind == SCAN_ZERO && state != LOGFILE_TORN))
		salvage->bad_bytes += piece->length;
}

/* 1: *ret is a page; 0: the file is over; -errno. */
static int next_of_file(struct salvage *salvage, struct reader_page **ret)
{
	struct scan_piece piece;
	int r;

	while ((r = scan_next(&salvage->scan, salvage->buffer, &piece)) == 0) {
		if (piece.kind == SCAN_END || (piece.kind != SCAN_PAGE && salvage->is_held))
			return 0;
		count_bad(salvage, &piece);
		if (piece.kind != SCAN_PAGE || !is_wanted(salvage, (const void *)salvage->buffer))
			continue;
		r = hand_out(salvage, &piece, ret);
		return r < 0 ? r : 1;
	}
	return r;
}

int salvage_next(struct salvage *salvage, struct reader_page **ret)
{
	int r;

	while (salvage->at < salvage->count) {
		r = salvage->is_open ? 0 : begin_file(salvage);
		if (r == 0)
			r = next_of_file(salvage, ret);
		if (r == 1)
			return 0;
		r = end_file(salvage, r);
		if (r < 0)
			return r;
	}
	return -ENODATA;
}

/* ---- opening ---- */

static int open_directory(struct salvage *salvage, int fd)
{
	struct logdir_list list;
	int r;

	salvage->dir = fd;
	r = logdir_list(salvage->sys, fd, &list);
	if (r < 0)
		return r;
	if (list.count + list.side_count == 0 && list.volume_last == 0 && !list.has_lock)
		r = -EBADMSG;
	else
		r = look_at_all(salvage, &list);
	logdir_list_free(&list);
	return r;
}

/* One file: any that has a page of ours, or would have one if it were whole. */
static int open_file(struct salvage *salvage, int fd)
{
	struct found *found = calloc(1, sizeof(*found));
	int r;

	(void)salvage->sys->close(fd);
	if (found == NULL)
		return -ENOMEM;
	salvage->found = found;
	salvage->count = 1;
	found->name.state = LOGFILE_SEALED;
	if (logdir_is_open_name(salvage->path))
		found->name.state = LOGFILE_OPEN;
	r = look_at(salvage, found);
	return r == 0 && found->page_first == 0 ? -EBADMSG : r;
}

static int open_any(struct salvage *salvage, int fd)
{
	struct stat about;
	const int r = salvage->sys->fstat(fd, &about);

	salvage->successor = aligned_alloc(PAGE_ALIGN, PAGE_MAX);
	salvage->buffer = salvage->successor != NULL ? aligned_alloc(PAGE_ALIGN, PAGE_MAX) : NULL;
	if (r == 0 && salvage->buffer != NULL && S_ISDIR(about.st_mode))
		return open_directory(salvage, fd);
	if (r == 0 && salvage->buffer != NULL && S_ISREG(about.st_mode))
		return open_file(salvage, fd);
	(void)salvage->sys->close(fd);
	if (r < 0)
		return r;
	return salvage->buffer == NULL ? -ENOMEM : -EBADMSG;
}

int salvage_open(const struct sys *sys, const char *path, struct salvage **ret)
{
	struct salvage *salvage = calloc(1, sizeof(*salvage));
	int fd, r;

	if (salvage == NULL)
		return logfile_refuse(path, -ENOMEM);
	*salvage = (struct salvage){ .sys = sys, .dir = -1, .path = strdup(path) };
	fd = sys->open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
	r = fd;
	if (salvage->path == NULL && fd >= 0) {
		(void)sys->close(fd);
		r = -ENOMEM;
	}
	if (r >= 0)
		r = open_any(salvage, fd);
	if (r < 0) {
		salvage_close(&salvage);
		return logfile_refuse(path, r);
	}
	*ret = salvage;
	return 0;
}

void salvage_close(struct salvage **salvage)
{
	struct salvage *gone = *salvage;

	if (gone == NULL)
		return;
	if (gone->is_open)
		scan_close(&gone->scan);
	if (gone->dir >= 0)
		(void)gone->sys->close(gone->dir);
	free(gone->found);
	free(gone->successor);
	free(gone->buffer);
	free(gone->path);
	free(gone);
	*salvage = NULL;
}
