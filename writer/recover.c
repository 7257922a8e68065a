/*
 * recover.c - settle what an earlier writer left. See recover.h.
 */
#include "recover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "archive.h"
#include "logdir.h"
#include "logfile.h"
#include "point.h"

enum { FENCE_TRIES = 1000, FENCE_STEP_MS = 10 };

/* A file of the directory, as far as its first page tells. */
struct found {
	struct logdir_file name;
	struct wfile *file; /* taken over: an unsealed file that has begun; else NULL      */
	bool has_begun;
	uint64_t page_first;
	uint64_t segment_id;
	uint64_t log_id;
	int64_t created_ns; /* CLOCK_REALTIME */
};

struct recovering {
	const struct sys *sys;
	struct roll *roll;
	struct drain *ring;
	struct recovery *result;
	struct logdir_list list;
	struct found *found; /* one for each of list.files */
	uint8_t *buffer;     /* PAGE_MAX */
};

/* ---- looking ---- */

static int cannot_read(const struct recovering *recovering, const struct logdir_file *name,
		       int error)
{
	char path[LOGDIR_NAME_SIZE];

	logdir_file_name(path, name);
	if (error == -EPROTO)
		return reason_set(error,
				  "%s/%s: of another format version than this program knows; a "
				  "newer shmlog-writer goes on here",
				  recovering->roll->path, path);
	return reason_set(error, "%s/%s: cannot read it: %s", recovering->roll->path, path,
			  strerror(-error));
}

/* What has a file's name may be anything: a pipe would keep us waiting for whoever writes to it. */
static int open_to_read(const struct recovering *recovering, const struct logdir_file *name,
			struct logfile *ret)
{
	const struct sys *sys = recovering->sys;
	char path[LOGDIR_NAME_SIZE];
	struct stat about;
	int fd, r;

	logdir_file_name(path, name);
	fd = sys->openat(recovering->roll->dir, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
			 0);
	if (fd < 0)
		return reason_set(fd, "%s/%s: cannot open it: %s", recovering->roll->path, path,
				  strerror(-fd));
	r = sys->fstat(fd, &about);
	if (r == 0 && !S_ISREG(about.st_mode))
		r = reason_set(-EBADMSG, "%s/%s: has a log file's name and is none; move it away",
			       recovering->roll->path, path);
	else if (r < 0)
		r = cannot_read(recovering, name, r);
	logfile_init(ret, sys, fd);
	if (r == 0 && name->state == LOGFILE_COMPRESSED) {
		r = input_open(sys, fd, INPUT_LZ4, &ret->input);
		if (r < 0)
			(void)cannot_read(recovering, name, r);
	}
	if (r < 0)
		logfile_close(ret);
	return r;
}

static void close_read(struct logfile *file)
{
	input_close(&file->input);
	logfile_close(file);
}

/* @name: NULL: the log directory itself. */
static int cannot_sync(const struct recovering *recovering, const struct logdir_file *name,
		       int error)
{
	char path[LOGDIR_NAME_SIZE] = "";

	if (name)
		logdir_file_name(path, name);
	return reason_set(error, "%s/%s: cannot sync it: %s", recovering->roll->path, path,
			  strerror(-error));
}

/* 1: the file begins with a good FILE page; 0: it has not begun, or not wholly. */
static int read_first_page(struct recovering *recovering, struct found *found)
{
	struct logfile file;
	int r = open_to_read(recovering, &found->name, &file);

	if (r < 0)
		return r;
	r = logfile_next(&file, recovering->buffer);
	if (r == 0) {
		found->has_begun = true;
		found->page_first = file.page_first;
		found->segment_id = file.segment_id;
		found->log_id = file.info.log_id;
		found->created_ns = file.info.created_realtime_ns;
	}
	close_read(&file);
	if (r == -ENODATA || r == -EBADMSG)
		return 0;
	return r < 0 ? cannot_read(recovering, &found->name, r) : 1;
}

/* I1: wait until the last write of a killed writer has landed. */
static int take_over(struct recovering *recovering, struct found *found)
{
	const struct roll_place place = { found->name.volume_no, found->name.file_no };
	struct wfile *file = roll_take(recovering->roll);
	int r = -ENFILE;

	for (int i = 0; file && i < FENCE_TRIES; i++) {
		r = roll_take_over(recovering->roll, file, place);
		if (r != -EAGAIN)
			break;
		(void)recovering->sys->sleep(FENCE_STEP_MS * (int64_t)NS_PER_MS);
	}
	if (r == 0) {
		r = recovering->sys->fsync(file->fd); /* I2 */
		if (r < 0)
			(void)cannot_sync(recovering, &found->name, r);
	}
	if (r < 0) {
		if (file && file->fd >= 0)
			roll_drop(recovering->roll, file);
		if (file)
			roll_give(file);
		return r;
	}
	found->file = file;
	return 0;
}

static void give_back(struct recovering *recovering, struct found *found)
{
	if (!found->file)
		return;
	roll_drop(recovering->roll, found->file);
	roll_give(found->file);
	found->file = NULL;
}

/* ---- what is cut off ---- */

static bool is_all_zero(const uint8_t *bytes, size_t size)
{
	return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static int open_torn(const struct recovering *recovering, const struct logdir_file *name)
{
	const struct logdir_file side = { name->volume_no, name->file_no, LOGFILE_TORN };
	char torn[LOGDIR_NAME_SIZE];

	logdir_file_name(torn, &side);
	return recovering->sys->openat(recovering->roll->dir, torn,
				       O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

static int not_kept(const struct recovering *recovering, int error)
{
	return reason_set(error, "%s: cannot keep what is cut off a file: %s",
			  recovering->roll->path, strerror(-error));
}

/* Keep every byte that is not zero from @offset on, at its own offset, in <file>.torn. */
static int keep_torn(struct recovering *recovering, const struct found *found, uint64_t offset)
{
	const struct sys *sys = recovering->sys;
	struct logfile file;
	int torn = -1;
	ssize_t size = 0;
	int r = open_to_read(recovering, &found->name, &file);

	if (r < 0)
		return r;
	while (r == 0 && (size = logfile_read(&file, recovering->buffer, PAGE_MAX, offset)) > 0) {
		if (!is_all_zero(recovering->buffer, (size_t)size)) {
			if (torn < 0)
				torn = open_torn(recovering, &found->name);
			if (torn < 0 || sys->pwrite(torn, recovering->buffer, (size_t)size,
						    (off_t)offset) != size)
				r = not_kept(recovering, torn < 0 ? torn : -EIO);
			recovering->result->cut += (uint64_t)size;
		}
		offset += (uint64_t)size;
	}
	if (r == 0 && size < 0)
		r = not_kept(recovering, (int)size);
	if (r == 0 && torn >= 0 && sys->fsync(torn) < 0)
		r = not_kept(recovering, -EIO);
	if (torn >= 0) {
		POINT(recover_torn_kept);
		(void)sys->close(torn);
	}
	close_read(&file);
	return r;
}

/* ---- one unsealed file ---- */

static uint32_t count_kind(const void *page, enum record_kind kind)
{
	struct page_cursor cursor = { 0 };
	struct record_header header;
	const void *payload;
	uint32_t count = 0;

	while (page_next_record(page, &cursor, &header, &payload) > 0)
		count += header.kind == kind;
	return count;
}

/* The next valid page below @limit; in a file that is not the last also behind a bad place: what
 * lies there was complete when the next file began. 0, -ENODATA, -errno. */
static int next_valid(struct recovering *recovering, struct logfile *reading, uint64_t limit)
{
	int r = logfile_next(reading, recovering->buffer);

	if ((r == -ENODATA || r == -EBADMSG) && limit != UINT64_MAX &&
	    logfile_resync(reading, limit, recovering->buffer))
		r = logfile_next(reading, recovering->buffer);
	return r == -EBADMSG ? -ENODATA : r;
}

/* Read the valid pages below @limit into the file's index, as many as it holds. *ret_sealed: it has
 * its SEAL page. */
static int index_pages(struct recovering *recovering, struct found *found, uint64_t limit,
		       bool *ret_sealed)
{
	const struct page_header *header = (const void *)recovering->buffer;
	struct wfile *file = found->file;
	struct logfile reading;
	int r = open_to_read(recovering, &found->name, &reading);

	*ret_sealed = false;
	if (r < 0)
		return r;
	file->segment_id = found->segment_id;
	file->page_first = found->page_first;
	while ((r = next_valid(recovering, &reading, limit)) == 0) {
		*ret_sealed = header->kind == PAGE_SEAL;
		if (*ret_sealed || header->page_no >= limit || file->pages == FILE_PAGES_MAX)
			break;
		file->offset = reading.offset - header->length;
		roll_add_page(file, header, count_kind(header, RECORD_DATA),
			      count_kind(header, RECORD_SOURCE));
		recovering->result->previous_checksum = header->checksum;
	}
	file->salt = reading.info.salt;
	if (*ret_sealed)
		file->offset = reading.offset;
	close_read(&reading);
	if (r == -ENODATA)
		return 0;
	return r < 0 ? cannot_read(recovering, &found->name, r) : r;
}

static int seal(struct recovering *recovering, struct found *found, bool is_sealed, uint64_t limit)
{
	struct wfile *file = found->file;
	const struct page_stamp stamp = {
		.segment_id = found->segment_id,
		.page_no = limit == UINT64_MAX ? file->page_next : limit,
	};
	int r;

	if (is_sealed) {
		r = roll_finish(recovering->roll, file, file->offset);
	} else {
		file->recovered = true;
		file->missing = stamp.page_no - file->page_first - file->pages;
		recovering->result->missing += file->missing;
		r = keep_torn(recovering, found, file->offset);
		if (r == 0)
			r = roll_seal(recovering->roll, file, &stamp);
	}
	if (r < 0)
		return r;
	recovering->result->sealed++;
	found->name.state = LOGFILE_SEALED;
	POINT(recover_file_sealed);
	return 0;
}

/* @limit: the number of the next file's FILE page; UINT64_MAX for the last file. */
static int settle_file(struct recovering *recovering, struct found *found, uint64_t limit)
{
	bool is_sealed;
	int r = take_over(recovering, found);

	if (r == 0)
		r = index_pages(recovering, found, limit, &is_sealed);
	if (r == 0)
		r = seal(recovering, found, is_sealed, limit);
	give_back(recovering, found);
	return r;
}

/* A file whose FILE page never landed, or had its number taken by the next file's because its write
 * was said to have failed: nothing was released on its account. */
static int remove_not_begun(struct recovering *recovering, struct found *found)
{
	int r = take_over(recovering, found);

	if (r == 0)
		r = keep_torn(recovering, found, 0);
	if (r == 0)
		r = roll_remove(recovering->roll, found->file);
	if (r == 0) {
		roll_give(found->file);
		found->file = NULL;
		POINT(recover_file_removed);
	}
	give_back(recovering, found);
	return r;
}

/* ---- all files ---- */

static size_t first_open(const struct recovering *recovering)
{
	size_t i = 0;

	while (i < recovering->list.count && recovering->list.files[i].state != LOGFILE_OPEN)
		i++;
	return i;
}

/*
 * Look at all files from the first unsealed one on, and further back only until the newest that has
 * begun is found: of the log, and of the ring @segment_id (0: not asked for). A log may have many
 * thousands of files.
 */
static int look_back(struct recovering *recovering, size_t first, uint64_t segment_id)
{
	bool has_newest = false, has_of_ring = segment_id == 0;

	for (size_t i = recovering->list.count; i-- > 0;) {
		struct found *found = &recovering->found[i];
		int r;

		if (i < first && has_newest && has_of_ring)
			break;
		r = read_first_page(recovering, found);
		if (r < 0)
			return r;
		has_newest = has_newest || found->has_begun;
		has_of_ring = has_of_ring || (found->has_begun && found->segment_id == segment_id);
	}
	return 0;
}

/* 0: no log ever held the ring, so that at most the newest file can be its. */
static uint64_t sought_segment(const struct drain *ring)
{
	if (!ring || (ring->writer->log_id == 0 && ring->writer->pending_log_id == 0))
		return 0;
	return ring->segment.geometry.segment_id;
}

/* Only fenced files may be believed: look at the unsealed ones once nobody writes to them. */
static int wait_for_fences(struct recovering *recovering)
{
	for (size_t i = 0; i < recovering->list.count; i++) {
		struct found found = { .name = recovering->list.files[i] };
		int r;

		if (found.name.state != LOGFILE_OPEN)
			continue;
		r = take_over(recovering, &found);
		if (r < 0)
			return r;
		POINT(recover_fence_free);
		give_back(recovering, &found);
	}
	return 0;
}

static uint64_t next_first_page(const struct recovering *recovering, size_t i)
{
	for (i++; i < recovering->list.count; i++)
		if (recovering->found[i].has_begun)
			return recovering->found[i].page_first;
	return UINT64_MAX;
}

/* The log's first file left nothing that counts, but later ones went on with other numbers than the
 * first: what was in it is lost. */
static bool is_lost_beginning(const struct recovering *recovering, size_t i)
{
	const uint64_t next = next_first_page(recovering, i);

	if (recovering->found[i].name.file_no != 1)
		return false; /* perhaps one that was given up, with all before it deleted */
	for (size_t k = 0; k < i; k++)
		if (recovering->found[k].has_begun ||
		    recovering->found[k].name.state != LOGFILE_OPEN)
			return false;
	return !recovering->found[i].has_begun && next != UINT64_MAX && next > 1;
}

/* Numbers that are missing before the oldest file pass for deleted. So the file stays, as it is and
 * under a sealed name: readers call that damage. */
static int keep_lost_beginning(struct recovering *recovering, struct found *found, uint64_t next)
{
	int r = take_over(recovering, found);

	if (r == 0)
		r = roll_finish(recovering->roll, found->file, found->file->size);
	if (r == 0) {
		found->name.state = LOGFILE_SEALED;
		recovering->result->sealed++;
		recovering->result->missing += next - 1;
	}
	give_back(recovering, found);
	return r;
}

static int settle_all(struct recovering *recovering)
{
	for (size_t i = 0; i < recovering->list.count; i++) {
		struct found *found = &recovering->found[i];
		int r = 0;

		if (found->name.state != LOGFILE_OPEN)
			continue;
		if (found->has_begun && found->page_first < next_first_page(recovering, i))
			r = settle_file(recovering, found, next_first_page(recovering, i));
		else if (is_lost_beginning(recovering, i))
			r = keep_lost_beginning(recovering, found, next_first_page(recovering, i));
		else
			r = remove_not_begun(recovering, found);
		if (r < 0)
			return r;
	}
	return 0;
}

/* A page of a settled file, in the buffer: numbers for the log, positions for the ring. */
static void take_page(struct recovering *recovering, bool restore)
{
	const struct page_header *header = (const void *)recovering->buffer;

	recovering->result->page_next = header->page_no + 1;
	recovering->result->previous_checksum = header->checksum;
	if (restore)
		drain_restore_page(recovering->ring, header);
}

static int size_of(const struct recovering *recovering, const struct logfile *file, uint64_t *ret)
{
	struct stat status;
	int r;

	if (file->input)
		return input_size(file->input, ret);
	r = recovering->sys->fstat(file->fd, &status);
	*ret = (uint64_t)status.st_size;
	return r;
}

/* The SEAL page into the buffer. -EBADMSG: there is none. */
static int read_seal(struct recovering *recovering, struct logfile *file, uint64_t *ret_offset)
{
	uint64_t size = 0;
	const int r = size_of(recovering, file, &size);

	if (r < 0)
		return r == -ENOTSUP ? -EBADMSG : r;
	return logfile_seal(file, size, recovering->buffer, ret_offset);
}

/*
 * A sealed file was whole once: a page that is bad now has decayed, and does not end the log. The
 * pages behind it count, by the index, and so does the number that the SEAL page says comes next:
 * a smaller one would hide them from readers.
 */
static int read_behind_damage(struct recovering *recovering, struct logfile *file, bool restore)
{
	const uint64_t bad = file->page_next;
	const struct index_entry *unused;
	struct index_entry entry;
	struct seal_info info;
	uint64_t seal_offset, page_next, at;
	int r = read_seal(recovering, file, &seal_offset);

	if (r == 0)
		r = page_seal_info(recovering->buffer, &info, &unused);
	if (r != 0)
		return r;
	page_next = ((const struct page_header *)(const void *)recovering->buffer)->page_no;
	at = seal_offset + sizeof(struct page_header) + sizeof(info);
	for (uint64_t i = 0; i < info.pages; i++, at += sizeof(entry)) {
		if (logfile_read(file, &entry, sizeof(entry), at) != sizeof(entry))
			return -EIO;
		if (entry.page_no < bad)
			continue;
		logfile_seek(file, (uint64_t)entry.offset_pages * PAGE_ALIGN, entry.page_no);
		if (logfile_next(file, recovering->buffer) == 0)
			take_page(recovering, restore);
		else
			recovering->result->missing++;
	}
	recovering->result->page_next = page_next;
	return 0;
}

/* Read a settled file to its end. */
static int read_settled(struct recovering *recovering, const struct found *found, bool restore)
{
	const struct page_header *header = (const void *)recovering->buffer;
	struct logfile file;
	int r = open_to_read(recovering, &found->name, &file);

	if (r < 0)
		return r;
	while ((r = logfile_next(&file, recovering->buffer)) == 0) {
		if (header->kind == PAGE_SEAL) {
			recovering->result->page_next = header->page_no;
			break;
		}
		take_page(recovering, restore);
	}
	if (r == -ENODATA || r == -EBADMSG)
		r = read_behind_damage(recovering, &file, restore);
	close_read(&file);
	if (r == -ENODATA || r == -EBADMSG)
		return 0;
	return r < 0 ? cannot_read(recovering, &found->name, r) : 0;
}

static const struct found *newest_begun(const struct recovering *recovering, uint64_t segment_id)
{
	for (size_t i = recovering->list.count; i-- > 0;) {
		const struct found *found = &recovering->found[i];

		if (found->has_begun && (segment_id == 0 || found->segment_id == segment_id))
			return found;
	}
	return NULL;
}

/* The ring's file first, then the log's newest: usually the same. */
static int read_results(struct recovering *recovering)
{
	const struct drain *ring = recovering->ring;
	const uint64_t segment_id = ring ? ring->segment.geometry.segment_id : 0;
	const struct found *of_ring = ring ? newest_begun(recovering, segment_id) : NULL;
	const struct found *newest = newest_begun(recovering, 0);
	int r = 0;

	if (of_ring)
		r = read_settled(recovering, of_ring, true);
	if (r == 0 && newest && newest != of_ring)
		r = read_settled(recovering, newest, false);
	if (newest) {
		recovering->result->log_id = newest->log_id;
		recovering->result->previous_file_no = newest->name.file_no;
		recovering->result->keep_from =
			min_u64(newest->name.file_no, (of_ring ? of_ring : newest)->name.file_no);
	}
	return r;
}

static void count_volume(struct recovering *recovering)
{
	struct roll_volume *volume = &recovering->result->volume;

	volume->volume_no = recovering->list.volume_last;
	for (size_t i = 0; i < recovering->list.count; i++) {
		const struct logdir_file *name = &recovering->found[i].name;
		char path[LOGDIR_NAME_SIZE];
		struct stat status;

		volume->file_no = max_u64(volume->file_no, name->file_no);
		logdir_file_name(path, name);
		if (name->volume_no == volume->volume_no &&
		    recovering->sys->fstatat(recovering->roll->dir, path, &status, 0) == 0)
			volume->bytes += (uint64_t)status.st_size;
	}
}

/* The age of the newest volume counts from its first file; where that cannot be read, from now. */
static void date_volume(struct recovering *recovering)
{
	for (size_t i = 0; i < recovering->list.count; i++) {
		struct found *found = &recovering->found[i];

		if (found->name.volume_no != recovering->list.volume_last ||
		    found->name.state != LOGFILE_SEALED)
			continue; /* an open one had not begun, and is gone */
		if (found->has_begun || read_first_page(recovering, found) > 0)
			recovering->result->volume_began_ns = found->created_ns;
		return;
	}
}

/* What cannot be removed is told by who archives. */
static void clear_half_archives(const struct recovering *recovering)
{
	const struct archive_log log = { recovering->sys, recovering->roll->dir,
					 recovering->roll->path };

	(void)archive_clear(&log, &recovering->list);
}

static int recover_listed(struct recovering *recovering)
{
	int r = wait_for_fences(recovering);

	if (r < 0)
		return r;
	clear_half_archives(recovering);
	r = recovering->sys->fsync(recovering->roll->dir); /* I2 */
	if (r < 0)
		return cannot_sync(recovering, NULL, r);
	r = look_back(recovering, first_open(recovering), sought_segment(recovering->ring));
	if (r == 0)
		r = settle_all(recovering);
	if (r == 0)
		r = read_results(recovering);
	if (r < 0)
		return r;
	date_volume(recovering);
	count_volume(recovering);
	return 0;
}

/* Where an original and its archive are both there, as after a kill, the original counts. */
static void name_found(struct recovering *recovering)
{
	struct logdir_list *list = &recovering->list;
	size_t count = 0;

	for (size_t i = 0; i < list->count; i++) {
		const struct logdir_file *file = &list->files[i];
		const struct logdir_file *before = count > 0 ? &list->files[count - 1] : file;

		if (file->state == LOGFILE_COMPRESSED && before->state == LOGFILE_SEALED &&
		    before->file_no == file->file_no && before->volume_no == file->volume_no)
			continue;
		recovering->found[count].name = *file;
		list->files[count++] = *file;
	}
	list->count = count;
}

static int list_files(struct recovering *recovering)
{
	int r = logdir_list(recovering->sys, recovering->roll->dir, &recovering->list);

	if (r < 0)
		return reason_set(r, "%s: cannot list it: %s", recovering->roll->path,
				  strerror(-r));
	recovering->found = calloc(recovering->list.count + 1, sizeof(*recovering->found));
	recovering->buffer = aligned_alloc(PAGE_ALIGN, PAGE_MAX);
	if (recovering->found && recovering->buffer) {
		name_found(recovering);
		return 0;
	}
	return reason_set(-ENOMEM, "%s: out of memory", recovering->roll->path);
}

static void end_recovering(struct recovering *recovering)
{
	logdir_list_free(&recovering->list);
	free(recovering->found);
	free(recovering->buffer);
}

int recover_log(struct roll *roll, struct drain *ring, struct recovery *ret)
{
	struct recovering recovering = {
		.sys = roll->sys, .roll = roll, .ring = ring, .result = ret
	};
	int r;

	*ret = (struct recovery){ .page_next = 1 };
	r = list_files(&recovering);
	if (r == 0)
		r = recover_listed(&recovering);
	end_recovering(&recovering);
	return r;
}

int recover_log_id(const struct sys *sys, int dir, uint64_t *ret_log_id)
{
	struct recovery unused = { 0 };
	struct roll roll = { .sys = sys, .dir = dir, .path = "log" };
	struct recovering recovering = { .sys = sys, .roll = &roll, .result = &unused };
	const struct found *newest;
	int r = list_files(&recovering);

	if (r == 0)
		r = look_back(&recovering, recovering.list.count, 0);
	if (r == 0) {
		newest = newest_begun(&recovering, 0);
		*ret_log_id = newest ? newest->log_id : 0;
	}
	end_recovering(&recovering);
	return r;
}
