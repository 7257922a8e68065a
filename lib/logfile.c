/*
 * logfile.c - read the pages of one file, checked.
 *
 * Invariants: once `begun`, info.salt is that of the FILE page behind which `offset` lies, and
 * page_next is one more than the number of the last page that was read or sought.
 */
#include "logfile.h"

#include <errno.h>
#include <string.h>

void logfile_init(struct logfile *file, const struct sys *sys, int fd)
{
	*file = (struct logfile){ .sys = sys, .fd = fd };
}

void logfile_close(struct logfile *file)
{
	if (file->fd >= 0)
		(void)file->sys->close(file->fd);
	file->fd = -1;
}

void logfile_restart(struct logfile *file, uint64_t offset)
{
	file->offset = offset;
	file->begun = false;
}

void logfile_seek(struct logfile *file, uint64_t offset, uint64_t page_no)
{
	file->offset = offset;
	file->page_next = page_no;
}

ssize_t logfile_read(const struct logfile *file, void *buffer, size_t size, uint64_t offset)
{
	if (file->input != NULL)
		return input_read(file->input, buffer, size, offset);
	return sys_read_fully(file->sys, file->fd, buffer, size, offset);
}

int logfile_header(const struct logfile *file, uint64_t offset, struct page_header *ret)
{
	struct page_header header = { 0 };
	const ssize_t n = logfile_read(file, &header, sizeof(header), offset);
	int r;

	if (n < 0)
		return (int)n;
	r = page_header_check(&header);
	if (r == -ENODATA || (r == 0 && n == sizeof(header)))
		*ret = header;
	return r == 0 && n < (ssize_t)sizeof(header) ? -EBADMSG : r;
}

/* Its smallest size first, which is often all. */
int logfile_page(const struct logfile *file, void *buffer)
{
	struct page_header *header = buffer;
	ssize_t n, rest = 0;
	int r;

	memset(header, 0, sizeof(*header));
	n = logfile_read(file, buffer, PAGE_ALIGN, file->offset);
	if (n < 0)
		return (int)n;
	r = page_header_check(header);
	if (r < 0)
		return r;
	if (n == PAGE_ALIGN && header->length > PAGE_ALIGN)
		rest = logfile_read(file, (uint8_t *)buffer + PAGE_ALIGN,
				    header->length - PAGE_ALIGN, file->offset + PAGE_ALIGN);
	if (rest < 0)
		return (int)rest;
	return page_check(buffer, (size_t)(n + rest), file->info.salt);
}

static int begin(struct logfile *file, const struct page_header *header)
{
	int r;

	if (header->kind != PAGE_FILE)
		return -EBADMSG;
	r = page_file_info(header, &file->info);
	if (r < 0)
		return r;
	file->begun = true;
	file->page_first = header->page_no;
	file->page_next = header->page_no + 1;
	file->segment_id = header->segment_id;
	return 0;
}

static int go_on(struct logfile *file, const struct page_header *header)
{
	if (header->kind == PAGE_FILE || header->page_no != file->page_next)
		return -EBADMSG;
	if (header->kind != PAGE_SEAL)
		file->page_next++;
	return 0;
}

int logfile_next(struct logfile *file, void *buffer)
{
	const struct page_header *header = buffer;
	int r = logfile_page(file, buffer);

	if (r < 0)
		return r;
	r = file->begun ? go_on(file, header) : begin(file, header);
	if (r == 0)
		file->offset += header->length;
	return r;
}

/* Is there a page at @offset that may follow what was read? Then stand before it. */
static bool stand_before(struct logfile *file, uint64_t offset, uint64_t limit, void *buffer)
{
	const uint64_t page_next = file->page_next;
	const uint64_t was_at = file->offset;
	struct page_header header = { 0 };

	if (logfile_header(file, offset, &header) != 0 || header.kind == PAGE_FILE ||
	    header.page_no < page_next || header.page_no > limit ||
	    (header.page_no == limit && header.kind != PAGE_SEAL))
		return false;
	logfile_seek(file, offset, header.page_no);
	if (logfile_next(file, buffer) == 0) {
		logfile_seek(file, offset, header.page_no);
		return true;
	}
	logfile_seek(file, was_at, page_next);
	return false;
}

/* Something is at @offset: bytes, or what was lost of an archive in the middle. */
static bool is_inside(const struct logfile *file, uint64_t offset)
{
	uint64_t size;
	uint8_t probe;
	const ssize_t n = logfile_read(file, &probe, 1, offset);

	return n == 1 || (n == -EBADMSG && file->input != NULL &&
			  input_size(file->input, &size) == 0 && offset < size);
}

bool logfile_resync(struct logfile *file, uint64_t limit, void *buffer)
{
	for (uint64_t at = file->offset; is_inside(file, at); at += PAGE_ALIGN)
		if (stand_before(file, at, limit, buffer))
			return true;
	return false;
}

int logfile_seal(struct logfile *file, uint64_t size, void *buffer, uint64_t *ret_offset)
{
	struct seal_trailer trailer = { 0 };
	struct page_header header = { 0 };
	ssize_t n;
	int r;

	if (size < sizeof(trailer))
		return -EBADMSG;
	n = logfile_read(file, &trailer, sizeof(trailer), size - sizeof(trailer));
	if (n < 0)
		return (int)n;
	if (n != sizeof(trailer) || trailer.magic != TRAILER_MAGIC || trailer.seal_offset >= size)
		return -EBADMSG;
	r = logfile_header(file, trailer.seal_offset, &header);
	if (r == 0) {
		logfile_seek(file, trailer.seal_offset, header.page_no);
		r = logfile_next(file, buffer);
	}
	if (r == 0 && header.kind != PAGE_SEAL)
		return -EBADMSG;
	*ret_offset = trailer.seal_offset;
	return r == -ENODATA ? -EBADMSG : r;
}

int logfile_is_held(const struct logfile *file)
{
	return file->sys->lock_query(file->fd, 0, 0);
}

int logfile_refuse(const char *path, int error)
{
	if (error == -EPROTO)
		return reason_set(error,
				  "\"%s\": of another format version than this program knows; "
				  "a newer shmlog-cat reads it",
				  path);
	if (error == -EBADMSG)
		return reason_set(error, "\"%s\": neither a log directory nor a file of one", path);
	return reason_set(error, "\"%s\": %s", path, strerror(-error));
}
