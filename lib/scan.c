/*
 * scan.c - from whole page to whole page. See scan.h.
 *
 * Invariant: everything before log.offset was handed out, as a page or as bad.
 */
#include "scan.h"

#include <errno.h>
#include <string.h>

enum {
	FRAME_HAS_SIZE = 0x08, /* in the flags, byte 4 of an LZ4 frame */
	FRAME_SIZE_AT = 6,
	SALT_AT = sizeof(struct page_header) + offsetof(struct file_info, salt),
};

/* What the frame's header claims, within reason; 0: nothing. */
static uint64_t claimed_size(const struct sys *sys, int fd)
{
	uint8_t header[FRAME_SIZE_AT + sizeof(uint64_t)];
	uint64_t size = 0;

	if (sys_read_fully(sys, fd, header, sizeof(header), 0) == sizeof(header) &&
	    (header[4] & FRAME_HAS_SIZE) != 0)
		memcpy(&size, header + FRAME_SIZE_AT, sizeof(size));
	return min_u64(size, FILE_SIZE_MAX);
}

static int open_as(struct scan *scan, enum input_kind kind)
{
	const struct sys *sys = scan->log.sys;
	struct stat about;
	int r;

	if (kind == INPUT_FILE) {
		r = sys->fstat(scan->log.fd, &about);
		scan->size = r == 0 ? (uint64_t)about.st_size : 0;
		return r;
	}
	scan->size = claimed_size(sys, scan->log.fd);
	r = input_open(sys, scan->log.fd, kind, &scan->input);
	scan->log.input = scan->input;
	return r;
}

static int open_kind(struct scan *scan, const struct sys *sys, int fd, enum input_kind kind)
{
	int r;

	*scan = (struct scan){ .may_begin = true };
	logfile_init(&scan->log, sys, fd);
	r = open_as(scan, kind);
	if (r < 0)
		scan_close(scan);
	return r;
}

int scan_open(struct scan *scan, const struct sys *sys, int fd)
{
	uint32_t magic = 0;
	const bool is_archive =
		sys_read_fully(sys, fd, &magic, sizeof(magic), 0) == sizeof(magic) &&
		magic == LZ4_FRAME_MAGIC;

	return open_kind(scan, sys, fd, is_archive ? INPUT_LZ4 : INPUT_FILE);
}

int scan_open_listed(struct scan *scan, const struct sys *sys, int dir,
		     const struct logdir_file *name)
{
	const enum input_kind kind = name->state == LOGFILE_COMPRESSED ? INPUT_LZ4 : INPUT_FILE;
	char text[LOGDIR_NAME_SIZE];
	struct stat about;
	int fd, r;

	logdir_file_name(text, name);
	fd = sys->openat(dir, text, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	r = sys->fstat(fd, &about);
	if (r == 0 && S_ISREG(about.st_mode))
		return open_kind(scan, sys, fd, kind);
	(void)sys->close(fd);
	return r < 0 ? r : -EBADMSG;
}

void scan_close(struct scan *scan)
{
	input_close(&scan->input);
	logfile_close(&scan->log);
}

/* The FILE page in place is bad, or there is none. */
static void try_salt(struct scan *scan)
{
	uint64_t salt = 0;

	scan->log.begun = false;
	if (logfile_read(&scan->log, &salt, sizeof(salt), scan->log.offset + SALT_AT) ==
		    sizeof(salt) &&
	    salt != 0)
		scan->log.info.salt = salt;
}

static int begin(struct scan *scan, const struct page_header *header)
{
	struct file_info info;
	const int r = page_file_info(header, &info);

	if (r < 0)
		return r == -EPROTO ? r : 0;
	scan->log.info = info;
	scan->log.page_first = header->page_no;
	scan->log.segment_id = header->segment_id;
	scan->log.begun = true;
	return 1;
}

static bool is_absent(int error)
{
	return error == -ENODATA || error == -EBADMSG || error == -EIO;
}

/* 1: a whole page stands here; 0: none; -errno. */
static int look(struct scan *scan, void *buffer)
{
	const struct page_header *header = buffer;
	const int r = logfile_page(&scan->log, buffer);

	if (r < 0)
		return is_absent(r) ? 0 : r;
	if (header->kind == PAGE_FILE)
		return scan->may_begin ? begin(scan, header) : 0;
	return scan->log.info.salt != 0; /* which no file has: anybody can make pages with it */
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* The next 4096 bytes, or what is left of them: SCAN_ZERO, SCAN_BAD or SCAN_END. What cannot be
 * read is there all the same. */
static int look_bad(const struct scan *scan, uint8_t *bytes, struct scan_piece *ret)
{
	const ssize_t n = logfile_read(&scan->log, bytes, PAGE_ALIGN, scan->log.offset);
	const bool is_bad = n == -EIO || (n == -EBADMSG && scan->input != NULL);

	if (n < 0 && !is_bad)
		return (int)n;
	ret->offset = scan->log.offset;
	ret->length = is_bad ? PAGE_ALIGN : (uint64_t)n;
	if (n == 0 || (is_bad && scan->log.offset >= scan->size))
		*ret = (struct scan_piece){ SCAN_END, scan->log.offset, 0 };
	else
		ret->kind = !is_bad && is_zero(bytes, (size_t)n) ? SCAN_ZERO : SCAN_BAD;
	return 0;
}

/* Up to where a whole page stands, or bytes of another kind. */
static int pass_bad(struct scan *scan, void *buffer, struct scan_piece *ret)
{
	struct scan_piece more;
	int r = look_bad(scan, buffer, ret);

	if (r < 0 || ret->kind == SCAN_END)
		return r;
	if (scan->may_begin)
		try_salt(scan);
	scan->may_begin = false;
	scan->log.offset += ret->length;
	while ((r = look(scan, buffer)) == 0) {
		r = look_bad(scan, buffer, &more);
		if (r < 0 || more.kind != ret->kind)
			return r;
		ret->length += more.length;
		scan->log.offset += more.length;
	}
	return r < 0 ? r : 0;
}

int scan_next(struct scan *scan, void *buffer, struct scan_piece *ret)
{
	const struct page_header *header = buffer;
	const int r = look(scan, buffer);

	if (r < 0)
		return r;
	if (r == 0)
		return pass_bad(scan, buffer, ret);
	*ret = (struct scan_piece){ SCAN_PAGE, scan->log.offset, header->length };
	scan->log.offset += header->length;
	scan->may_begin = header->kind == PAGE_SEAL;
	return 0;
}
