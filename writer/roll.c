/*
 * roll.c - begin, account and seal the files of the log. What it promises stands in roll.h.
 *
 * Order of a file's life, each step repeatable after a kill:
 *     volume directory, synced -> name, exclusively -> fence -> room -> name synced
 *     -> pages (not here) -> SEAL page -> cut -> data synced -> final name -> name synced
 * A kill before the first page leaves a file whose first length is 0: nothing of value.
 */
#include "roll.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "logdir.h"
#include "point.h"

enum {
	FILE_MODE = 0640,
	VOLUME_MODE = 0750,
	EINTR_TRIES_MAX = 1000,
};

/* File systems whose locks are emulated or whose server may hold writes back. */
static const struct {
	long magic;
	const char *name;
} refused_file_systems[] = {
	{ 0x6969, "NFS" },
};

int roll_check_directory(const struct sys *sys, int dir, const char *path)
{
	struct statfs about;
	const int error = sys->fstatfs(dir, &about);

	if (error)
		return reason_set(error, "directory \"%s\": statfs: %s", path, strerror(-error));
	for (size_t i = 0; i < COUNT_OF(refused_file_systems); i++) {
		if ((long)about.f_type == refused_file_systems[i].magic)
			return reason_set(
				-EOPNOTSUPP,
				"directory \"%s\" is on %s, whose locks cannot fence off a "
				"killed writer; use a local file system",
				path, refused_file_systems[i].name);
	}
	return 0;
}

/* What there is: bytes that an unprivileged process may still write, and of these what stays. */
static int ask_space(const struct sys *sys, int dir, const struct roll_room *leave,
		     uint64_t *ret_free, uint64_t *ret_left)
{
	struct statfs about;
	uint64_t block_size;
	const int error = sys->fstatfs(dir, &about);

	if (error)
		return error;
	block_size = (uint64_t)(about.f_frsize > 0 ? about.f_frsize : about.f_bsize);
	*ret_free = (uint64_t)about.f_bavail * block_size;
	*ret_left = leave ? leave->bytes : 0;
	if (leave && leave->percent < 100)
		*ret_left = min_u64(*ret_left,
				    (uint64_t)about.f_blocks * leave->percent / 100 * block_size);
	return 0;
}

int roll_lack(const struct sys *sys, int dir, const struct roll_room *leave, uint64_t size,
	      uint64_t *ret_bytes)
{
	uint64_t spare, left;
	const int error = ask_space(sys, dir, leave, &spare, &left);

	if (!error)
		*ret_bytes = left + size > spare ? left + size - spare : 0;
	return error;
}

int roll_spare(const struct sys *sys, int dir, const struct roll_room *leave, uint64_t *ret_bytes)
{
	uint64_t spare, left;
	const int error = ask_space(sys, dir, leave, &spare, &left);

	if (!error)
		*ret_bytes = spare > left ? spare - left : 0;
	return error;
}

static void slot_clear(struct wfile *file)
{
	struct index_entry *index = file->index;
	const bool taken = file->taken;

	*file = (struct wfile){ .fd = -1, .taken = taken, .index = index };
}

int roll_open(struct roll *roll, const struct sys *sys, int dir, const char *path, bool want_direct)
{
	*roll = (struct roll){ .sys = sys, .dir = dir, .path = path, .want_direct = want_direct };
	roll->scratch = aligned_alloc(PAGE_ALIGN, PAGE_MAX);
	if (!roll->scratch)
		return -ENOMEM;
	memset(roll->scratch, 0, PAGE_MAX);
	for (size_t i = 0; i < ROLL_FILES; i++) {
		roll->files[i].fd = -1;
		roll->files[i].index = calloc(FILE_PAGES_MAX, sizeof(struct index_entry));
		if (!roll->files[i].index) {
			roll_close(roll);
			return -ENOMEM;
		}
	}
	return 0;
}

void roll_close(struct roll *roll)
{
	for (size_t i = 0; i < ROLL_FILES; i++) {
		/* A slot that roll_open() did not reach has neither. */
		if (!roll->files[i].index)
			continue;
		roll_drop(roll, &roll->files[i]);
		free(roll->files[i].index);
		roll->files[i].index = NULL;
	}
	free(roll->scratch);
	roll->scratch = NULL;
}

struct wfile *roll_take(struct roll *roll)
{
	for (size_t i = 0; i < ROLL_FILES; i++) {
		struct wfile *file = &roll->files[i];

		if (file->taken)
			continue;
		file->taken = true;
		slot_clear(file);
		return file;
	}
	return NULL;
}

void roll_give(struct wfile *file)
{
	assert(file->taken);
	assert(file->fd < 0);
	file->taken = false;
}

struct roll_place roll_next_place(struct roll_volume *volume, uint64_t size,
				  uint64_t volume_size_max)
{
	const bool full = volume->bytes > 0 && (volume->bytes > volume_size_max ||
						size > volume_size_max - volume->bytes);

	if (volume->volume_no == 0 || volume->is_over || full) {
		volume->volume_no++;
		volume->bytes = 0;
		volume->is_over = false;
	}
	volume->file_no++;
	volume->bytes += size;
	return (struct roll_place){ .volume_no = volume->volume_no, .file_no = volume->file_no };
}

void roll_unplace(struct roll_volume *volume, struct roll_place place)
{
	if (volume->file_no == place.file_no)
		volume->file_no--;
}

void roll_settle(struct roll_volume *volume, uint64_t volume_no, uint64_t planned, uint64_t real)
{
	if (volume_no != volume->volume_no)
		return;
	assert(volume->bytes >= planned);
	volume->bytes = volume->bytes - planned + real;
}

static void name_of(char name[LOGDIR_NAME_SIZE], struct roll_place place, enum logfile_state state)
{
	const struct logdir_file file = { .volume_no = place.volume_no,
					  .file_no = place.file_no,
					  .state = state };

	logdir_file_name(name, &file);
}

/* Keep the reason: which file, what was tried, what came of it. */
static int failed(const struct roll *roll, struct roll_place place, const char *what, int error)
{
	char name[LOGDIR_NAME_SIZE];

	name_of(name, place, LOGFILE_OPEN);
	return reason_set(error, "file \"%s/%s\": %s: %s", roll->path, name, what,
			  strerror(-error));
}

/* The directory entries of a volume reach the disk. */
static int sync_volume(const struct roll *roll, struct roll_place place)
{
	char name[LOGDIR_NAME_SIZE];
	int error;
	int fd;

	logdir_volume_name(name, place.volume_no);
	fd = roll->sys->openat(roll->dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd < 0)
		return failed(roll, place, "open its volume", fd);
	error = roll->sys->fsync(fd);
	roll->sys->close(fd);
	return error ? failed(roll, place, "sync its volume", error) : 0;
}

/* Synced also if it was there: whoever made it may have been killed before the sync. */
static int make_volume(const struct roll *roll, struct roll_place place)
{
	char name[LOGDIR_NAME_SIZE];
	int error;

	logdir_volume_name(name, place.volume_no);
	error = roll->sys->mkdirat(roll->dir, name, VOLUME_MODE);
	if (error && error != -EEXIST)
		return failed(roll, place, "make its volume", error);
	error = roll->sys->fsync(roll->dir);
	POINT(volume_made);
	return error ? failed(roll, place, "sync the log directory", error) : 0;
}

static bool exists(const struct roll *roll, struct roll_place place, enum logfile_state state)
{
	char name[LOGDIR_NAME_SIZE];
	struct stat about;

	name_of(name, place, state);
	return roll->sys->fstatat(roll->dir, name, &about, AT_SYMLINK_NOFOLLOW) == 0;
}

static int open_file(const struct roll *roll, struct roll_place place, int flags)
{
	char name[LOGDIR_NAME_SIZE];

	name_of(name, place, LOGFILE_OPEN);
	return roll->sys->openat(roll->dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags,
				 FILE_MODE);
}

static void unlink_open_file(const struct roll *roll, struct roll_place place)
{
	char name[LOGDIR_NAME_SIZE];

	name_of(name, place, LOGFILE_OPEN);
	(void)roll->sys->unlinkat(roll->dir, name, 0);
}

static int take_fence(const struct roll *roll, int fd)
{
	const int error = roll->sys->lock(fd, 0, 0);

	return error == -EACCES ? -EAGAIN : error;
}

/* Unlink a file of this name if it has not begun and nobody's writes are under way.
 * Return: 0 it is gone; -EEXIST it has begun; -EAGAIN; other -errno. */
static int clear_leftover(const struct roll *roll, struct roll_place place)
{
	uint32_t length = 0;
	ssize_t size;
	int error;
	const int fd = open_file(roll, place, 0);

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	error = take_fence(roll, fd);
	if (!error) {
		size = roll->sys->pread(fd, &length, sizeof(length), 0);
		error = size < 0 ? (int)size : length != 0 ? -EEXIST : 0;
	}
	if (!error)
		unlink_open_file(roll, place);
	POINT(leftover_cleared);
	roll->sys->close(fd);
	return error;
}

/* A descriptor of a new, empty file, or -errno. */
static int create_file(const struct roll *roll, struct roll_place place, int flags)
{
	int error;
	int fd;

	/* A rename to the final name would silently replace such a file. */
	if (exists(roll, place, LOGFILE_SEALED) || exists(roll, place, LOGFILE_COMPRESSED))
		return -EEXIST;
	fd = open_file(roll, place, O_CREAT | O_EXCL | flags);
	if (fd != -EEXIST)
		return fd;
	error = clear_leftover(roll, place);
	return error ? error : open_file(roll, place, O_CREAT | O_EXCL | flags);
}

/* Room with the size, so that later writes neither allocate nor change it. Where the file system
 * cannot reserve, the size alone: a full disk then shows at the write. */
static int reserve(const struct roll *roll, int fd, uint64_t size)
{
	unsigned tries = 0;
	int error;

	do
		error = roll->sys->fallocate(fd, 0, 0, (off_t)size);
	while (error == -EINTR && ++tries < EINTR_TRIES_MAX);
	if (error == -EOPNOTSUPP || error == -ENOSYS)
		error = roll->sys->ftruncate(fd, (off_t)size);
	return error == -EDQUOT ? -ENOSPC : error;
}

/* A limit on file sizes, or little room on the disk, makes the file smaller, as long as it is worth
 * having: what room there is is used, and the next file is asked for when this one is full. */
static int reserve_what_fits(const struct roll *roll, struct wfile *file, uint64_t size)
{
	for (;;) {
		const int error = reserve(roll, file->fd, size);
		const uint64_t half = size / 2 / PAGE_ALIGN * PAGE_ALIGN;

		if (!error)
			file->size = size;
		if ((error != -EFBIG && error != -ENOSPC) || half < FILE_SIZE_MIN)
			return error;
		size = half;
	}
}

/* Some file systems take O_DIRECT at open and refuse the write. Zeros leave the file not begun. */
static int try_direct(struct roll *roll, const struct wfile *file)
{
	ssize_t written;

	if (!file->direct || roll->direct_works)
		return 0;
	memset(roll->scratch, 0, PAGE_ALIGN);
	written = roll->sys->pwrite(file->fd, roll->scratch, PAGE_ALIGN, 0);
	if (written < 0)
		return written == -EDQUOT ? -ENOSPC : (int)written;
	if (written != PAGE_ALIGN)
		return -EINVAL;
	roll->direct_works = true;
	return 0;
}

static uint64_t random_salt(const struct sys *sys)
{
	uint64_t salt = 0;

	/* Without randomness a clock still differs from file to file. */
	if (sys->getrandom(&salt, sizeof(salt)) != (int)sizeof(salt))
		salt = (uint64_t)sys->now(CLOCK_REALTIME);
	return salt ? salt : 1;
}

static int fill_new_file(struct roll *roll, struct wfile *file, uint64_t size)
{
	int error = take_fence(roll, file->fd);

	if (error)
		return failed(roll, file->place, "lock", error);
	POINT(file_fenced);
	error = reserve_what_fits(roll, file, size);
	if (error)
		return failed(roll, file->place, "reserve its room", error);
	POINT(file_reserved);
	error = try_direct(roll, file);
	if (error)
		return failed(roll, file->place, "write directly", error);
	return sync_volume(roll, file->place);
}

static int make_file(struct roll *roll, struct wfile *file, struct roll_place place, uint64_t size)
{
	const bool direct = roll->want_direct;
	const int fd = create_file(roll, place, direct ? O_DIRECT : 0);
	int error;

	if (fd < 0)
		return failed(roll, place, "create", fd);
	POINT(file_made);
	slot_clear(file);
	file->fd = fd;
	file->direct = direct;
	file->place = place;
	file->salt = random_salt(roll->sys);
	error = fill_new_file(roll, file, size);
	if (error) {
		unlink_open_file(roll, place);
		roll_drop(roll, file);
	}
	return error;
}

/* As much of *size as may be taken. */
static int find_room(const struct roll *roll, const struct roll_room *leave, uint64_t *size)
{
	uint64_t spare;
	const int error = roll_spare(roll->sys, roll->dir, leave, &spare);

	if (error)
		return reason_set(error, "directory \"%s\": cannot ask for free space: %s",
				  roll->path, strerror(-error));
	if (spare < FILE_SIZE_MIN)
		return reason_set(-ENOSPC,
				  "directory \"%s\": %" PRIu64
				  " bytes may still be taken, a file needs %d; make room, or lower "
				  "--min-free",
				  roll->path, spare, FILE_SIZE_MIN);
	*size = min_u64(*size, spare) / PAGE_ALIGN * PAGE_ALIGN;
	return 0;
}

int roll_make(struct roll *roll, struct wfile *file, struct roll_place place, uint64_t size,
	      const struct roll_room *leave)
{
	uint64_t wanted = min_u64(size, FILE_SIZE_MAX);
	int error;

	assert(file->taken && file->fd < 0);
	assert(size >= FILE_SIZE_MIN);

	error = find_room(roll, leave, &wanted);
	if (error)
		return error;
	error = make_volume(roll, place);
	if (error)
		return error;
	error = make_file(roll, file, place, wanted);
	if (error != -EINVAL || !roll->want_direct)
		return error;
	roll->want_direct = false;
	return make_file(roll, file, place, wanted);
}

int roll_take_over(struct roll *roll, struct wfile *file, struct roll_place place)
{
	const int fd = open_file(roll, place, 0);
	struct stat about;
	int error;

	assert(file->taken && file->fd < 0);
	if (fd < 0)
		return failed(roll, place, "open", fd);
	error = take_fence(roll, fd);
	if (!error)
		error = roll->sys->fstat(fd, &about);
	if (error) {
		roll->sys->close(fd);
		return failed(roll, place, "take its fence", error);
	}
	slot_clear(file);
	file->fd = fd;
	file->place = place;
	file->size = (uint64_t)about.st_size;
	return 0;
}

static uint64_t seal_length(uint32_t pages)
{
	return align_up(sizeof(struct page_header) + sizeof(struct seal_info) +
				(uint64_t)pages * sizeof(struct index_entry) +
				sizeof(struct seal_trailer),
			PAGE_ALIGN);
}

bool roll_fits(const struct wfile *file, uint32_t length)
{
	return file->pages < FILE_PAGES_MAX &&
	       file->offset + length + seal_length(file->pages + 1) <= file->size;
}

static void widen_ticks(struct wfile *file, const struct page_header *page)
{
	if (file->data_records == 0) {
		file->first_ticks = page->first_ticks;
		file->last_ticks = page->last_ticks;
		return;
	}
	file->first_ticks = min_u64(file->first_ticks, page->first_ticks);
	file->last_ticks = max_u64(file->last_ticks, page->last_ticks);
}

void roll_add_page(struct wfile *file, const struct page_header *page, uint32_t data_records,
		   uint32_t source_records)
{
	assert(file->pages < FILE_PAGES_MAX);
	assert(page->length > 0 && page->length % PAGE_ALIGN == 0);
	assert(file->pages == 0 || page->page_no >= file->page_next);

	if (file->pages == 0)
		file->page_first = page->page_no;
	file->page_next = page->page_no + 1;
	file->index[file->pages++] = (struct index_entry){
		.first_ticks = page->first_ticks,
		.last_ticks = page->last_ticks,
		.page_no = page->page_no,
		.offset_pages = (uint32_t)(file->offset / PAGE_ALIGN),
		.records = (uint16_t)data_records,
		.sources = (uint16_t)source_records,
	};
	if (data_records > 0)
		widen_ticks(file, page);
	file->data_records += data_records;
	file->offset += page->length;
}

static int write_all(const struct roll *roll, const struct wfile *file, uint32_t size)
{
	unsigned tries = 0;
	uint32_t done = 0;

	while (done < size) {
		const ssize_t written = roll->sys->pwrite(
			file->fd, roll->scratch + done, size - done, (off_t)(file->offset + done));

		if (written == 0)
			return -EIO;
		if (written < 0 && written != -EINTR && written != -EAGAIN)
			return written == -EDQUOT ? -ENOSPC : (int)written;
		if (++tries == EINTR_TRIES_MAX)
			return -EIO;
		/* Whole blocks only: direct I/O goes on at an aligned place. */
		if (written > 0)
			done = (done + (uint32_t)written) / PAGE_ALIGN * PAGE_ALIGN;
	}
	return 0;
}

/* The length of the SEAL page, now on its way to the disk behind the last page; or -errno. */
static int write_seal(const struct roll *roll, const struct wfile *file,
		      const struct page_stamp *stamp)
{
	const struct seal_info info = {
		.pages = file->pages,
		.data_records = file->data_records,
		.first_ticks = file->first_ticks,
		.last_ticks = file->last_ticks,
		.missing = file->missing,
		.recovered = file->recovered,
	};
	struct page_stamp own = *stamp;
	uint32_t length;
	int error;

	own.salt = file->salt;
	length = page_build_seal(roll->scratch, &info, file->index, file->offset, &own);
	assert(length == seal_length(file->pages));
	error = write_all(roll, file, length);
	POINT(seal_written);
	return error ? error : (int)length;
}

int roll_seal(struct roll *roll, struct wfile *file, const struct page_stamp *stamp)
{
	int length;

	assert(file->fd >= 0 && file->pages > 0);
	assert(stamp->page_no >= file->page_next);

	length = write_seal(roll, file, stamp);
	if (length < 0)
		return failed(roll, file->place, "write its SEAL page", length);
	return roll_finish(roll, file, file->offset + (uint64_t)length);
}

/* Done before: the name was changed, then the sync of the volume failed or we were killed. */
static int rename_sealed(const struct roll *roll, struct roll_place place)
{
	char from[LOGDIR_NAME_SIZE];
	char to[LOGDIR_NAME_SIZE];

	name_of(from, place, LOGFILE_OPEN);
	name_of(to, place, LOGFILE_SEALED);
	if (exists(roll, place, LOGFILE_SEALED))
		return exists(roll, place, LOGFILE_OPEN) ? -EEXIST : 0;
	return roll->sys->renameat(roll->dir, from, roll->dir, to);
}

int roll_finish(struct roll *roll, struct wfile *file, uint64_t size)
{
	int error;

	assert(file->fd >= 0);
	error = roll->sys->ftruncate(file->fd, (off_t)size);
	if (error)
		return failed(roll, file->place, "cut to its size", error);
	POINT(file_cut);
	error = roll->sys->fdatasync(file->fd);
	if (error) {
		file->poisoned = true;
		return failed(roll, file->place, "sync", error);
	}
	POINT(seal_synced);
	error = rename_sealed(roll, file->place);
	if (error)
		return failed(roll, file->place, "give it its final name", error);
	POINT(file_renamed);
	error = sync_volume(roll, file->place);
	if (error)
		return error;
	POINT(file_sealed);
	file->size = size;
	roll_drop(roll, file);
	return 0;
}

/* The kernel tells of a failed sync once: a second one, which succeeds, would mean nothing. */
int roll_end(struct roll *roll, struct wfile *file, const struct page_stamp *stamp)
{
	const int error = roll_seal(roll, file, stamp);

	if (error && !file->poisoned)
		file->poisoned = roll->sys->fdatasync(file->fd) < 0;
	roll_drop(roll, file);
	return error;
}

void roll_drop(struct roll *roll, struct wfile *file)
{
	if (file->fd >= 0)
		(void)roll->sys->close(file->fd);
	file->fd = -1;
}

/* The volume goes too if this was its only file: an empty one would tell nobody anything. */
int roll_remove(struct roll *roll, struct wfile *file)
{
	char name[LOGDIR_NAME_SIZE];
	int error;

	if (file->fd < 0)
		return 0;
	assert(file->pages == 0);
	name_of(name, file->place, LOGFILE_OPEN);
	roll_drop(roll, file);
	error = roll->sys->unlinkat(roll->dir, name, 0);
	if (error && error != -ENOENT)
		return failed(roll, file->place, "remove", error);
	POINT(file_removed);
	logdir_volume_name(name, file->place.volume_no);
	(void)roll->sys->unlinkat(roll->dir, name, AT_REMOVEDIR);
	return 0;
}
