/*
 * archive.c - compress one sealed file. See archive.h.
 *
 * The order of it, each step repeatable after a kill:
 *     written beside, with a temporary name -> synced -> read back and compared -> final name
 *     -> name synced -> original removed
 * A kill before the final name leaves half an archive, which the next run throws away. One behind
 * it leaves both: the next run begins with the sync.
 */
#include "archive.h"

#include <errno.h>
#include <lz4.h>
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>

#include "archive_map.h"
#include "logfile.h"
#include "point.h"

enum {
	FILE_MODE = 0640,
	SAMPLE_STEP = 16, /* one block in so many is looked at before the work            */
	SAVING_MIN = 16,  /* an archive that saves less than a 16th is not worth its while */
};

/* Independent blocks, one for each call of LZ4F_compressUpdate(). */
static const LZ4F_preferences_t preferences = {
	.frameInfo = { .blockSizeID = LZ4F_max256KB,
		       .blockMode = LZ4F_blockIndependent,
		       .contentChecksumFlag = LZ4F_contentChecksumEnabled },
	.autoFlush = 1,
};

struct archiving {
	const struct archive_log *log;
	const struct sys *sys; /* log->sys */
	struct logdir_file name;
	struct meter *meter;
	int original;
	int archive;        /* < 0: not open yet                                          */
	bool is_half;       /* it has its temporary name                                  */
	struct stat about;  /* of the original                                            */
	uint64_t written;   /* to the archive                                             */
	uint8_t *page;      /* PAGE_MAX bytes, 8-aligned: of the original                 */
	uint8_t *packed;    /* packed_size bytes, at least PAGE_MAX                       */
	size_t packed_size; /* whatever LZ4 makes of one block, with the frame's header or end */
};

static void name_of(const struct archiving *archiving, enum logfile_state state,
		    char name[LOGDIR_NAME_SIZE])
{
	struct logdir_file file = archiving->name;

	file.state = state;
	logdir_file_name(name, &file);
}

/* Keep the reason: which file, what was tried, what came of it. */
static int failed(const struct archiving *archiving, enum logfile_state state, const char *what,
		  int error)
{
	char name[LOGDIR_NAME_SIZE];

	name_of(archiving, state, name);
	return reason_set(error, "file \"%s/%s\": %s: %s", archiving->log->path, name, what,
			  strerror(-error));
}

static int unsound(const struct archiving *archiving, const char *what)
{
	char name[LOGDIR_NAME_SIZE];

	name_of(archiving, LOGFILE_SEALED, name);
	(void)reason_set(-EBADMSG, "file \"%s/%s\": %s, it stays as it is", archiving->log->path,
			 name, what);
	return ARCHIVE_UNSOUND;
}

static enum logfile_state archive_state(const struct archiving *archiving)
{
	return archiving->is_half ? LOGFILE_ARCHIVE_TMP : LOGFILE_COMPRESSED;
}

/* What has the name may be anything: a pipe would keep us waiting. -ELOOP: not a regular file. */
static int open_regular(const struct archiving *archiving, enum logfile_state state,
			struct stat *ret_about)
{
	const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
	char name[LOGDIR_NAME_SIZE];
	int fd, r;

	name_of(archiving, state, name);
	fd = archiving->sys->openat(archiving->log->dir, name, flags, 0);
	if (fd < 0)
		return fd;
	r = archiving->sys->fstat(fd, ret_about);
	if (r == 0 && !S_ISREG(ret_about->st_mode))
		r = -ELOOP;
	if (r < 0)
		(void)archiving->sys->close(fd);
	return r < 0 ? r : fd;
}

/* [offset, offset + size) of the original into archiving->page. */
static int read_original(const struct archiving *archiving, uint64_t offset, size_t size)
{
	const ssize_t n =
		sys_read_fully(archiving->sys, archiving->original, archiving->page, size, offset);

	if (n == (ssize_t)size)
		return 0;
	return failed(archiving, LOGFILE_SEALED, "read", n < 0 ? (int)n : -EIO);
}

/* ---- is it worth it? ---- */

/* Where its blocks begin: 0; ARCHIVE_UNSOUND: it was not sealed by a writer, or has decayed. */
static int read_map(const struct archiving *archiving, struct archive_map *ret)
{
	const uint64_t size = (uint64_t)archiving->about.st_size;
	uint64_t seal_offset = 0;
	struct logfile file;
	int r;

	logfile_init(&file, archiving->sys, archiving->original);
	r = logfile_next(&file, archiving->page);
	if (r == 0)
		r = logfile_seal(&file, size, archiving->page, &seal_offset);
	if (r == 0)
		r = file.offset == size ? archive_map_build(archiving->page, seal_offset, ret)
					: -EBADMSG;
	if (r == -ENODATA || r == -EBADMSG || r == -EPROTO)
		return unsound(archiving, "not a sound sealed file");
	return r < 0 ? failed(archiving, LOGFILE_SEALED, "read", r) : 0;
}

static size_t block_size(const struct archive_map *map, size_t block)
{
	return (size_t)(map->offsets[block + 1] - map->offsets[block]);
}

/* Bytes that the block in archiving->page becomes; as many as it has if it becomes no smaller. */
static size_t packed_alone(const struct archiving *archiving, size_t size)
{
	const int n = LZ4_compress_default((const char *)archiving->page, (char *)archiving->packed,
					   (int)size, (int)size);

	return n > 0 ? (size_t)n : size;
}

/* Some blocks, each by itself. There are two at least, and the first is the FILE page, which is
 * not like the others. */
static int sample(const struct archiving *archiving, const struct archive_map *map)
{
	uint64_t all = 0, packed = 0;

	for (size_t block = 1; block < map->blocks; block += SAMPLE_STEP) {
		const size_t size = block_size(map, block);
		const int r = read_original(archiving, map->offsets[block], size);

		if (r < 0)
			return r;
		all += size;
		packed += packed_alone(archiving, size);
	}
	return packed <= all - all / SAVING_MIN ? 0 : ARCHIVE_STAYS;
}

/* ---- writing ---- */

/* What LZ4F has put into archiving->packed, or its error. */
static int append(struct archiving *archiving, size_t size)
{
	int r = LZ4F_isError(size) ? -ENOMEM : 0;

	if (r == 0)
		r = sys_write_fully(archiving->sys, archiving->archive, archiving->packed, size,
				    archiving->written);
	if (r < 0)
		return failed(archiving, LOGFILE_ARCHIVE_TMP, "write", r);
	archiving->written += size;
	return 0;
}

static int write_blocks(struct archiving *archiving, const struct archive_map *map, LZ4F_cctx *lz4)
{
	const uint64_t size_max = map->offsets[map->blocks] / SAVING_MIN * (SAVING_MIN - 1);
	int r = 0;

	for (size_t block = 0; block < map->blocks && r == 0; block++) {
		const size_t size = block_size(map, block);

		r = read_original(archiving, map->offsets[block], size);
		if (r == 0)
			r = append(archiving, LZ4F_compressUpdate(lz4, archiving->packed,
								  archiving->packed_size,
								  archiving->page, size, NULL));
		if (r == 0 && archiving->written > size_max)
			return ARCHIVE_STAYS;
		meter_add(archiving->meter, size);
	}
	return r;
}

static int write_frame(struct archiving *archiving, const struct archive_map *map)
{
	LZ4F_preferences_t own = preferences;
	LZ4F_cctx *lz4;
	int r;

	own.frameInfo.contentSize = map->offsets[map->blocks];
	if (LZ4F_isError(LZ4F_createCompressionContext(&lz4, LZ4F_VERSION)))
		return failed(archiving, LOGFILE_SEALED, "compress", -ENOMEM);
	r = append(archiving,
		   LZ4F_compressBegin(lz4, archiving->packed, archiving->packed_size, &own));
	if (r == 0)
		r = write_blocks(archiving, map, lz4);
	if (r == 0)
		r = append(archiving,
			   LZ4F_compressEnd(lz4, archiving->packed, archiving->packed_size, NULL));
	LZ4F_freeCompressionContext(lz4);
	return r;
}

/* Who may read the original may read the archive, also if another user compresses it; and it is as
 * old. An owner that cannot be given is none to widen the mode for. */
static int look_alike(const struct archiving *archiving)
{
	const struct stat *about = &archiving->about;
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, about->st_mtim };
	int r = archiving->sys->fchown(archiving->archive, about->st_uid, about->st_gid);

	if (r == 0)
		r = archiving->sys->fchmod(archiving->archive, about->st_mode & 0777);
	if (r == 0 || r == -EPERM)
		r = archiving->sys->futimens(archiving->archive, times);
	if (r < 0)
		return failed(archiving, LOGFILE_ARCHIVE_TMP, "give it owner, mode and time", r);
	return 0;
}

static int remove_half(const struct archiving *archiving)
{
	char name[LOGDIR_NAME_SIZE];
	int r;

	name_of(archiving, LOGFILE_ARCHIVE_TMP, name);
	r = archiving->sys->unlinkat(archiving->log->dir, name, 0);
	return r == -ENOENT ? 0 : r;
}

static int create_half(struct archiving *archiving)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
	char name[LOGDIR_NAME_SIZE];
	int fd = remove_half(archiving);

	name_of(archiving, LOGFILE_ARCHIVE_TMP, name);
	if (fd == 0)
		fd = archiving->sys->openat(archiving->log->dir, name, flags, FILE_MODE);
	if (fd < 0)
		return failed(archiving, LOGFILE_ARCHIVE_TMP, "create", fd);
	archiving->archive = fd;
	archiving->is_half = true;
	return 0;
}

static int make_half(struct archiving *archiving)
{
	struct archive_map map;
	int r = read_map(archiving, &map);

	if (r != 0)
		return r;
	r = sample(archiving, &map);
	if (r == 0)
		r = create_half(archiving);
	if (r == 0)
		r = write_frame(archiving, &map);
	if (r == 0)
		r = look_alike(archiving);
	archive_map_free(&map);
	if (r == 0)
		POINT(archive_written);
	return r;
}

/* ---- what was written, or found, replaces the original ---- */

static int differs(const struct archiving *archiving)
{
	char name[LOGDIR_NAME_SIZE];

	name_of(archiving, archive_state(archiving), name);
	return reason_set(
		-EBADMSG,
		archiving->is_half
			? "file \"%s/%s\": reads back as something else than was written; "
			  "check the disk and the memory of this machine"
			: "file \"%s/%s\": holds something else than the sealed file "
			  "beside it; look at both, and remove the one that is bad",
		archiving->log->path, name);
}

/* An archive on its way through LZ4. */
struct unpacking {
	LZ4F_dctx *lz4;
	uint8_t *bytes;  /* PAGE_MAX */
	uint64_t offset; /* in the original, of what comes out next                       */
	size_t hint;     /* 0: the last frame has ended                                   */
};

static int compare_piece(const struct archiving *archiving, struct unpacking *unpacking,
			 size_t size)
{
	const uint64_t end = (uint64_t)archiving->about.st_size;
	int r;

	if (size > end - unpacking->offset)
		return differs(archiving);
	r = read_original(archiving, unpacking->offset, size);
	if (r == 0 && memcmp(archiving->page, unpacking->bytes, size) != 0)
		r = differs(archiving);
	unpacking->offset += size;
	return r;
}

/* @size compressed bytes in archiving->packed. */
static int compare_packed(const struct archiving *archiving, struct unpacking *unpacking,
			  size_t size)
{
	size_t at = 0, in, out;
	int r = 0;

	while (r == 0 && at < size) {
		in = size - at;
		out = PAGE_MAX;
		unpacking->hint = LZ4F_decompress(unpacking->lz4, unpacking->bytes, &out,
						  archiving->packed + at, &in, NULL);
		if (LZ4F_isError(unpacking->hint))
			return differs(archiving);
		r = compare_piece(archiving, unpacking, out);
		at += in;
	}
	return r;
}

static int compare_all(const struct archiving *archiving, struct unpacking *unpacking)
{
	uint64_t at = 0;
	ssize_t n;
	int r;

	while ((n = sys_read_fully(archiving->sys, archiving->archive, archiving->packed,
				   archiving->packed_size, at)) > 0) {
		r = compare_packed(archiving, unpacking, (size_t)n);
		if (r < 0)
			return r;
		at += (uint64_t)n;
		meter_add(archiving->meter, 0);
	}
	if (n < 0)
		return failed(archiving, archive_state(archiving), "read", (int)n);
	if (unpacking->hint != 0 || unpacking->offset != (uint64_t)archiving->about.st_size)
		return differs(archiving);
	return 0;
}

/* Is the archive the whole original, to the end of a sound frame? */
static int compare(const struct archiving *archiving)
{
	struct unpacking unpacking = { .bytes = malloc(PAGE_MAX), .hint = 1 };
	int r = -ENOMEM;

	if (unpacking.bytes &&
	    !LZ4F_isError(LZ4F_createDecompressionContext(&unpacking.lz4, LZ4F_VERSION)))
		r = compare_all(archiving, &unpacking);
	else
		(void)failed(archiving, archive_state(archiving), "unpack", r);
	(void)LZ4F_freeDecompressionContext(unpacking.lz4);
	free(unpacking.bytes);
	return r;
}

static int rename_half(struct archiving *archiving)
{
	char from[LOGDIR_NAME_SIZE];
	char to[LOGDIR_NAME_SIZE];
	int r;

	name_of(archiving, LOGFILE_ARCHIVE_TMP, from);
	name_of(archiving, LOGFILE_COMPRESSED, to);
	r = archiving->sys->renameat(archiving->log->dir, from, archiving->log->dir, to);
	if (r < 0)
		return failed(archiving, LOGFILE_ARCHIVE_TMP, "give it its final name", r);
	archiving->is_half = false;
	POINT(archive_renamed);
	return 0;
}

static int sync_volume(const struct archiving *archiving)
{
	char name[LOGDIR_NAME_SIZE];
	int fd, r;

	logdir_volume_name(name, archiving->name.volume_no);
	fd = archiving->sys->openat(archiving->log->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC,
				    0);
	r = fd < 0 ? fd : archiving->sys->fsync(fd);
	if (fd >= 0)
		(void)archiving->sys->close(fd);
	if (r < 0)
		return failed(archiving, LOGFILE_COMPRESSED, "sync its volume", r);
	POINT(archive_name_synced);
	return 0;
}

static int remove_original(const struct archiving *archiving)
{
	char name[LOGDIR_NAME_SIZE];
	int r;

	name_of(archiving, LOGFILE_SEALED, name);
	r = archiving->sys->unlinkat(archiving->log->dir, name, 0);
	if (r < 0 && r != -ENOENT)
		return failed(archiving, LOGFILE_SEALED, "remove it: its archive is there", r);
	POINT(original_removed);
	return 0;
}

static int replace_original(struct archiving *archiving)
{
	int r = archiving->sys->fdatasync(archiving->archive);

	if (r < 0)
		return failed(archiving, archive_state(archiving), "sync", r);
	POINT(archive_synced);
	r = compare(archiving);
	if (r < 0)
		return r;
	POINT(archive_compared);
	if (archiving->is_half)
		r = rename_half(archiving);
	if (r == 0)
		r = sync_volume(archiving);
	return r == 0 ? remove_original(archiving) : r;
}

/* ---- one file ---- */

/* The archive that an earlier run has left beside the original, or a new one. */
static int open_archive(struct archiving *archiving)
{
	struct stat unused;
	const int fd = open_regular(archiving, LOGFILE_COMPRESSED, &unused);

	if (fd == -ENOENT)
		return make_half(archiving);
	if (fd < 0)
		return failed(archiving, LOGFILE_COMPRESSED, "open", fd);
	archiving->archive = fd;
	return 0;
}

static int archive_opened(struct archiving *archiving)
{
	int r = open_archive(archiving);

	if (r == 0)
		r = replace_original(archiving);
	if (archiving->archive >= 0)
		(void)archiving->sys->close(archiving->archive);
	if (archiving->is_half)
		(void)remove_half(archiving);
	return r;
}

static int archive_with_buffers(struct archiving *archiving)
{
	int r;

	archiving->packed_size = LZ4F_compressBound(PAGE_MAX, &preferences) + LZ4F_HEADER_SIZE_MAX;
	archiving->page = aligned_alloc(PAGE_ALIGN, PAGE_MAX);
	archiving->packed = malloc(archiving->packed_size);
	if (archiving->page && archiving->packed)
		r = archive_opened(archiving);
	else
		r = failed(archiving, LOGFILE_SEALED, "compress", -ENOMEM);
	free(archiving->page);
	free(archiving->packed);
	return r;
}

int archive_file(const struct archive_log *log, const struct logdir_file *file, struct meter *meter)
{
	struct archiving archiving = {
		.log = log, .sys = log->sys, .name = *file, .meter = meter, .archive = -1
	};
	int r;

	assert(file->state == LOGFILE_SEALED);
	archiving.original = open_regular(&archiving, LOGFILE_SEALED, &archiving.about);
	if (archiving.original == -ELOOP)
		return unsound(&archiving, "not a regular file");
	if (archiving.original < 0)
		return failed(&archiving, LOGFILE_SEALED, "open", archiving.original);
	r = archive_with_buffers(&archiving);
	(void)log->sys->close(archiving.original);
	return r;
}
