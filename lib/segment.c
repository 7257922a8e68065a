/*
 * segment.c - creation, validation and removal of a ring's segment. See segment.h.
 *
 * Owns what the header says and who may be trusted with it. A segment appears under its name whole
 * (unnamed file, then link) and is otherwise immutable but for `control` here.
 */
#include "segment.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clock.h"
#include "ring.h"

#define SEGMENT_PREFIX "shmlog."

enum { PATH_SIZE = 512 };

const char *segment_directory(void)
{
	const char *directory = secure_getenv("SHMLOG_SHM_DIR");

	return directory && *directory ? directory : "/dev/shm";
}

static void segment_path(char path[PATH_SIZE], const char *name)
{
	(void)snprintf(path, PATH_SIZE, "%.300s/" SEGMENT_PREFIX "%s", segment_directory(), name);
}

static bool is_name_character(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

int segment_check_name(const char *name)
{
	const size_t length = name ? strlen(name) : 0;

	if (length == 0)
		return reason_set(-EINVAL,
				  "ring \"\": the name is empty; give 1 to %d characters of "
				  "A-Z a-z 0-9 . _ -",
				  RING_NAME_MAX);
	if (length > RING_NAME_MAX)
		return reason_set(-EINVAL,
				  "ring \"%.20s...\": the name has %zu characters; at most %d",
				  name, length, RING_NAME_MAX);
	if (name[0] == '.')
		return reason_set(-EINVAL, "ring \"%s\": the name begins with a dot; remove it",
				  name);
	for (size_t i = 0; i < length; i++)
		if (!is_name_character(name[i]))
			return reason_set(-EINVAL,
					  "ring \"%s\": the name may hold only A-Z a-z 0-9 . _ -",
					  name);
	return 0;
}

void segment_geometry(struct geometry *ret, uint32_t lanes, uint32_t blocks)
{
	const uint64_t status_size = sizeof(struct writer_status) +
				     OWNER_IDS * sizeof(struct owner_status) +
				     lanes * sizeof(struct lane_status);
	const uint64_t half_lane = (uint64_t)blocks / 2 * BLOCK_SIZE - sizeof(struct record_header);

	ret->lanes = lanes;
	ret->blocks = blocks;
	ret->record_max = (uint32_t)min_u64(half_lane, RING_RECORD_MAX);
	ret->doorbell_offset = RING_PAGE;
	ret->status_offset = ret->doorbell_offset + RING_PAGE;
	ret->owners_offset = ret->status_offset + align_up(status_size, RING_PAGE);
	ret->lanes_offset =
		ret->owners_offset + align_up(OWNER_IDS * sizeof(struct producer_line), RING_PAGE);
	ret->words_offset = RING_PAGE;
	ret->blocks_offset = ret->words_offset + align_up(blocks * sizeof(uint64_t), RING_PAGE);
	ret->lane_stride = ret->blocks_offset + (uint64_t)blocks * BLOCK_SIZE;
	ret->size = ret->lanes_offset + lanes * ret->lane_stride;
}

uint64_t geometry_lane_offset(const struct geometry *geometry, uint32_t lane)
{
	assert(lane < geometry->lanes);
	return geometry->lanes_offset + lane * geometry->lane_stride;
}

uint64_t geometry_owner_status_offset(const struct geometry *geometry, uint32_t owner)
{
	assert(owner < OWNER_IDS);
	return geometry->status_offset + sizeof(struct writer_status) +
	       owner * sizeof(struct owner_status);
}

uint64_t geometry_lane_status_offset(const struct geometry *geometry, uint32_t lane)
{
	assert(lane < geometry->lanes);
	return geometry->status_offset + sizeof(struct writer_status) +
	       OWNER_IDS * sizeof(struct owner_status) + lane * sizeof(struct lane_status);
}

/* ---- creation ---- */

static int check_options(const char *name, const struct segment_options *options,
			 uint32_t *ret_lanes, uint32_t *ret_blocks)
{
	const uint32_t lanes = options->lanes ? options->lanes : LANES_DEFAULT;
	const uint64_t blocks =
		options->lane_size ? options->lane_size / BLOCK_SIZE : LANE_BLOCKS_DEFAULT;

	if (lanes > LANES_MAX)
		return reason_set(-EINVAL, "ring \"%s\": %u lanes; give 1 to %d", name, lanes,
				  LANES_MAX);
	if (options->lane_size % BLOCK_SIZE || !is_power_of_two(blocks) ||
	    blocks < LANE_BLOCKS_MIN || blocks > LANE_BLOCKS_MAX)
		return reason_set(-EINVAL,
				  "ring \"%s\": a lane of %llu bytes; give a power of two "
				  "from 64K to 1G",
				  name, (unsigned long long)options->lane_size);
	if (options->mode_bits &&
	    ((options->mode_bits & 0600) != 0600 || (options->mode_bits & ~0666u)))
		return reason_set(-EINVAL,
				  "ring \"%s\": mode %04o; give 0600 to 0666: the owner reads and "
				  "writes, nobody executes",
				  name, options->mode_bits);
	*ret_lanes = lanes;
	*ret_blocks = (uint32_t)blocks;
	return 0;
}

static void read_boot_id(const struct sys *sys, uint8_t boot_id[16])
{
	char text[37] = "";
	const int fd = sys->open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC, 0);
	unsigned byte = 0;

	memset(boot_id, 0, 16);
	if (fd < 0)
		return;
	(void)sys->pread(fd, text, sizeof(text) - 1, 0);
	(void)sys->close(fd);
	for (const char *at = text; *at && byte < 16; at++) {
		unsigned value;

		/* NOLINTNEXTLINE(cert-err34-c): two digits cannot overflow */
		if (*at == '-' || sscanf(at, "%2x", &value) != 1)
			continue;
		boot_id[byte++] = (uint8_t)value;
		at++;
	}
}

static int make_header(const struct sys *sys, const struct geometry *geometry, uint32_t clock,
		       struct ring_header *ret)
{
	struct clock_sample sample;
	int r;

	*ret = (struct ring_header){
		.magic = RING_MAGIC,
		.layout_version = RING_LAYOUT_VERSION,
		.header_size = sizeof(struct ring_header),
		.lanes = geometry->lanes,
		.blocks = geometry->blocks,
		.record_max = geometry->record_max,
		.clock = clock ? clock : clock_best(),
		.size = geometry->size,
		.doorbell_offset = geometry->doorbell_offset,
		.status_offset = geometry->status_offset,
		.owners_offset = geometry->owners_offset,
		.lanes_offset = geometry->lanes_offset,
		.lane_stride = geometry->lane_stride,
		.words_offset = geometry->words_offset,
		.blocks_offset = geometry->blocks_offset,
	};
	store_relaxed_u32(&ret->control, 7);
	clock_sample(sys, ret->clock, &sample);
	ret->created_ticks = sample.ticks;
	ret->created_boottime_ns = sample.boottime_ns;
	ret->created_realtime_ns = sample.realtime_ns;
	read_boot_id(sys, ret->boot_id);
	do {
		r = sys->getrandom(&ret->segment_id, sizeof(ret->segment_id));
		if (r < 0)
			return r;
	} while (ret->segment_id == 0);
	return 0;
}

/* All that somebody reads without having bound it must have memory now, or a look at it could
 * raise SIGBUS on a full mount: everything but the blocks of own lanes. */
static int reserve(const struct sys *sys, int fd, const struct geometry *geometry)
{
	const uint64_t shared_end = geometry->lanes_offset + geometry->lane_stride;
	int r = sys->ftruncate(fd, (off_t)geometry->size);

	if (r == 0)
		r = sys->fallocate(fd, 0, 0, (off_t)shared_end);
	for (uint32_t lane = 1; r == 0 && lane < geometry->lanes; lane++)
		r = sys->fallocate(fd, 0, (off_t)geometry_lane_offset(geometry, lane),
				   (off_t)geometry->blocks_offset);
	return r;
}

static int fill_segment(const struct sys *sys, int fd, const struct segment_options *options,
			const struct geometry *geometry)
{
	struct ring_header header;
	int r = reserve(sys, fd, geometry);

	if (r < 0)
		return r;
	r = make_header(sys, geometry, options->clock, &header);
	if (r < 0)
		return r;
	if (sys->pwrite(fd, &header, sizeof(header), 0) != sizeof(header))
		return -EIO;
	if (options->group != (gid_t)-1) {
		r = sys->fchown(fd, (uid_t)-1, options->group);
		if (r < 0)
			return r;
	}
	return sys->fchmod(fd, options->mode_bits ? options->mode_bits : 0600);
}

/* Give an unnamed file its name. Through /proc where there is one; the other way wants a
 * capability. */
static int link_segment(const struct sys *sys, int fd, const char *path)
{
	char self[32];
	int r;

	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	r = sys->linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
	if (r == -ENOENT)
		r = sys->linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH);
	return r;
}

int segment_create(const struct sys *sys, const char *name, const struct segment_options *options)
{
	struct geometry geometry;
	char path[PATH_SIZE];
	uint32_t lanes = 0, blocks = 0;
	int fd;
	int r = segment_check_name(name);

	if (r == 0)
		r = check_options(name, options, &lanes, &blocks);
	if (r < 0)
		return r;
	segment_geometry(&geometry, lanes, blocks);
	segment_path(path, name);
	fd = sys->open(segment_directory(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return reason_set(fd, "ring \"%s\": cannot create it in %s: %s", name,
				  segment_directory(), strerror(-fd));
	r = fill_segment(sys, fd, options, &geometry);
	if (r == 0)
		r = link_segment(sys, fd, path);
	(void)sys->close(fd);
	if (r == -EEXIST)
		return reason_set(r, "ring \"%s\": exists already", name);
	if (r == -ENOSPC)
		return reason_set(
			r, "ring \"%s\": %s has no room for %u lanes; enlarge it or take fewer",
			name, segment_directory(), lanes);
	if (r < 0)
		return reason_set(r, "ring \"%s\": cannot create it: %s", name, strerror(-r));
	return 0;
}

/* ---- opening ---- */

static bool is_in_group(gid_t group)
{
	gid_t groups[256];
	const int count = getgroups(COUNT_OF(groups), groups);

	for (int i = 0; i < count; i++)
		if (groups[i] == group)
			return true;
	return getegid() == group;
}

/* Who could have scribbled into it must be somebody that the caller trusts anyway. */
static bool is_trusted(const struct stat *status, int flags)
{
	if (status->st_uid == geteuid() || status->st_uid == 0)
		return true;
	if ((flags & O_ACCMODE) == O_RDONLY && geteuid() == 0)
		return true;
	return (status->st_mode & 0020) && !(status->st_mode & 0007) && is_in_group(status->st_gid);
}

static int not_found(const struct sys *sys, const char *name)
{
	char have[200] = "";
	char **names = NULL;
	size_t count = 0;

	if (segment_names(sys, &names, &count) < 0)
		return reason_set(-ENOENT, "ring \"%s\": no such ring", name);
	for (size_t i = 0; i < count; i++) {
		const size_t used = strlen(have);

		(void)snprintf(have + used, sizeof(have) - used, "%s%s", i ? ", " : "", names[i]);
	}
	segment_names_free(names, count);
	return reason_set(-ENOENT,
			  "ring \"%s\": no such ring (have: %s); start its writer, or create it "
			  "with shmlog-ctl create",
			  name, *have ? have : "none");
}

static bool same_layout(const struct ring_header *header, const struct geometry *geometry)
{
	return header->record_max == geometry->record_max && header->size == geometry->size &&
	       header->doorbell_offset == geometry->doorbell_offset &&
	       header->status_offset == geometry->status_offset &&
	       header->owners_offset == geometry->owners_offset &&
	       header->lanes_offset == geometry->lanes_offset &&
	       header->lane_stride == geometry->lane_stride &&
	       header->words_offset == geometry->words_offset &&
	       header->blocks_offset == geometry->blocks_offset;
}

static int check_header(const char *name, const struct ring_header *header, uint64_t size,
			struct geometry *ret)
{
	if (header->magic != RING_MAGIC)
		return reason_set(-EBADMSG,
				  "ring \"%s\": not a shmlog ring; remove %s/" SEGMENT_PREFIX
				  "%s or choose another name",
				  name, segment_directory(), name);
	if (header->layout_version != RING_LAYOUT_VERSION || header->incompatible != 0)
		return reason_set(
			-EPROTO,
			"ring \"%s\": it has layout version %u (features %llx), this "
			"program knows version %d; use matching versions, or remove it with "
			"shmlog-ctl remove --force",
			name, header->layout_version, (unsigned long long)header->incompatible,
			RING_LAYOUT_VERSION);
	if (header->lanes < 1 || header->lanes > LANES_MAX || !is_power_of_two(header->blocks) ||
	    header->blocks < LANE_BLOCKS_MIN || header->blocks > LANE_BLOCKS_MAX ||
	    header->clock < RING_CLOCK_TSC || header->clock > RING_CLOCK_WRITER ||
	    header->segment_id == 0)
		return reason_set(-EBADMSG,
				  "ring \"%s\": its header is damaged; remove it with "
				  "shmlog-ctl remove --force",
				  name);
	segment_geometry(ret, header->lanes, header->blocks);
	/* Longer than it should be harms nobody; who may write to it could extend it at any time.
	 */
	if (!same_layout(header, ret) || size < ret->size)
		return reason_set(-EBADMSG,
				  "ring \"%s\": it is truncated or damaged (%llu bytes, %llu "
				  "expected); remove it with shmlog-ctl remove --force",
				  name, (unsigned long long)size, (unsigned long long)ret->size);
	ret->segment_id = header->segment_id;
	ret->clock = header->clock;
	ret->created_ticks = header->created_ticks;
	ret->created_boottime_ns = header->created_boottime_ns;
	ret->created_realtime_ns = header->created_realtime_ns;
	memcpy(ret->boot_id, header->boot_id, sizeof(ret->boot_id));
	return 0;
}

/* The checks that need the open file: what it is, whose it is, what its header says. */
static int validate(struct segment *segment, int flags)
{
	const struct sys *sys = segment->sys;
	struct ring_header header = { 0 };
	struct stat status;
	ssize_t got;
	int r = sys->fstat(segment->fd, &status);

	if (r < 0)
		return reason_set(r, "ring \"%s\": %s", segment->name, strerror(-r));
	if (!S_ISREG(status.st_mode))
		return reason_set(-EBADMSG,
				  "ring \"%s\": not a shmlog ring but another kind of file",
				  segment->name);
	if (!is_trusted(&status, flags))
		return reason_set(-EACCES,
				  "ring \"%s\": it belongs to user %u, who is not trusted; let "
				  "root or the same user create it, or share it by group",
				  segment->name, (unsigned)status.st_uid);
	got = sys_read_fully(sys, segment->fd, &header, sizeof(header), 0);
	if (got < 0)
		return reason_set((int)got, "ring \"%s\": cannot read it: %s", segment->name,
				  strerror((int)-got));
	if (got != sizeof(header))
		header.magic = 0;
	segment->device = status.st_dev;
	segment->inode = status.st_ino;
	return check_header(segment->name, &header, (uint64_t)status.st_size, &segment->geometry);
}

int segment_check(const struct segment *segment)
{
	const struct geometry *ours = &segment->geometry;
	struct ring_header header = { 0 };
	struct geometry theirs;
	struct stat status;
	ssize_t got;
	const int r = segment->sys->fstat(segment->fd, &status);

	if (r < 0)
		return r;
	if ((uint64_t)status.st_size < ours->size)
		return -ESTALE;
	got = sys_read_fully(segment->sys, segment->fd, &header, sizeof(header), 0);
	if (got < 0)
		return (int)got;
	if (got != sizeof(header))
		return -ESTALE;
	if (header.magic == 0 && header.segment_id == 0)
		return -ESTALE;
	if (check_header(segment->name, &header, ours->size, &theirs) < 0 ||
	    theirs.segment_id != ours->segment_id || theirs.lanes != ours->lanes ||
	    theirs.blocks != ours->blocks)
		return -EBADMSG;
	return 0;
}

int segment_open(const struct sys *sys, const char *name, int flags, struct segment *ret)
{
	struct segment segment = { .sys = sys, .fd = -1 };
	char path[PATH_SIZE];
	int r = segment_check_name(name);

	if (r < 0)
		return r;
	(void)snprintf(segment.name, sizeof(segment.name), "%s", name);
	segment_path(path, name);
	segment.fd = sys->open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
	if (segment.fd == -ENOENT)
		return not_found(sys, name);
	if (segment.fd == -ELOOP || segment.fd == -EISDIR)
		return reason_set(-EBADMSG,
				  "ring \"%s\": not a shmlog ring but another kind of file", name);
	if (segment.fd < 0)
		return reason_set(segment.fd, "ring \"%s\": cannot open it: %s", name,
				  strerror(-segment.fd));
	r = validate(&segment, flags);
	if (r < 0) {
		(void)sys->close(segment.fd);
		return r;
	}
	*ret = segment;
	return 0;
}

void segment_close(struct segment *segment)
{
	if (segment->fd >= 0)
		(void)segment->sys->close(segment->fd);
	segment->fd = -1;
}

int segment_reopen(const struct segment *segment, int flags, int *ret_fd)
{
	const struct sys *sys = segment->sys;
	char path[PATH_SIZE];
	struct stat status;
	int fd, r;

	segment_path(path, segment->name);
	fd = sys->open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	/* Not to know is not -ESTALE: that would end the ring. */
	r = sys->fstat(fd, &status);
	if (r == 0 && (status.st_dev != segment->device || status.st_ino != segment->inode))
		r = -ESTALE;
	if (r < 0) {
		(void)sys->close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int segment_map(const struct segment *segment, int fd, uint64_t offset, uint64_t size,
		bool writable, void **ret)
{
	return segment->sys->map(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ,
				 MAP_SHARED, fd, (off_t)offset, ret);
}

/* ---- the whole of it, read-only ---- */

int segment_view(const struct segment *segment, struct segment_view *ret)
{
	void *base;
	const int r = segment_map(segment, segment->fd, 0, segment->geometry.size, false, &base);

	if (r < 0)
		return r;
	*ret = (struct segment_view){ .sys = segment->sys,
				      .geometry = &segment->geometry,
				      .base = base };
	return 0;
}

void segment_view_close(struct segment_view *view)
{
	if (view->base)
		(void)view->sys->unmap((void *)(uintptr_t)view->base, view->geometry->size);
	view->base = NULL;
}

const struct ring_header *view_header(const struct segment_view *view)
{
	return (const void *)view->base;
}

const struct doorbell *view_doorbell(const struct segment_view *view)
{
	return (const void *)(view->base + view->geometry->doorbell_offset);
}

const struct writer_status *view_writer(const struct segment_view *view)
{
	return (const void *)(view->base + view->geometry->status_offset);
}

const struct owner_status *view_owner_status(const struct segment_view *view, uint32_t owner)
{
	return (const void *)(view->base + geometry_owner_status_offset(view->geometry, owner));
}

const struct lane_status *view_lane_status(const struct segment_view *view, uint32_t lane)
{
	return (const void *)(view->base + geometry_lane_status_offset(view->geometry, lane));
}

const struct producer_line *view_owner_line(const struct segment_view *view, uint32_t owner)
{
	assert(owner < OWNER_IDS);
	return (const void *)(view->base + view->geometry->owners_offset +
			      owner * sizeof(struct producer_line));
}

const struct lane_page *view_lane_page(const struct segment_view *view, uint32_t lane)
{
	return (const void *)(view->base + geometry_lane_offset(view->geometry, lane));
}

void view_lane(const struct segment_view *view, uint32_t lane, struct lane *ret)
{
	const struct geometry *geometry = view->geometry;
	const uintptr_t base = (uintptr_t)view->base + geometry_lane_offset(geometry, lane);

	lane_init(ret, (void *)(base + geometry->words_offset),
		  (void *)(base + geometry->blocks_offset), geometry->blocks, geometry->record_max);
}

/* ---- names ---- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(char ***names, size_t *count, const char *name)
{
	char **grown = realloc(*names, (*count + 1) * sizeof(**names));

	if (!grown)
		return -ENOMEM;
	*names = grown;
	grown[*count] = strdup(name);
	if (!grown[*count])
		return -ENOMEM;
	(*count)++;
	return 0;
}

int segment_names(const struct sys *sys, char ***ret_names, size_t *ret_count)
{
	const size_t prefix = strlen(SEGMENT_PREFIX);
	const struct dirent *entry;
	char **names = NULL;
	size_t count = 0;
	int r = 0;
	DIR *directory;

	(void)sys;
	directory = opendir(segment_directory());
	if (!directory)
		return reason_set(-errno, "%s: %s", segment_directory(), strerror(errno));
	while (r == 0 && (entry = readdir(directory)))
		if (!strncmp(entry->d_name, SEGMENT_PREFIX, prefix) && entry->d_name[prefix])
			r = add_name(&names, &count, entry->d_name + prefix);
	(void)closedir(directory);
	if (r < 0) {
		segment_names_free(names, count);
		return r;
	}
	if (count)
		qsort(names, count, sizeof(*names), compare_names);
	*ret_names = names;
	*ret_count = count;
	return 0;
}

void segment_names_free(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* ---- control and removal ---- */

static int map_header(const struct segment *segment, struct ring_header **ret)
{
	void *header;
	const int r = segment_map(segment, segment->fd, 0, RING_PAGE, true, &header);

	if (r == 0)
		*ret = header;
	return r;
}

/* Replace the bits of `mask` in `control` by `bits`. */
static int change_control(const struct segment *segment, uint32_t mask, uint32_t bits)
{
	struct ring_header *header = NULL;
	uint32_t old;
	const int r = map_header(segment, &header);

	if (r < 0)
		return r;
	do
		old = load_acquire_u32(&header->control); /* MO control:B <- control:A */
	while (!swap_acq_rel_u32(&header->control, old,
				 (old & ~mask) | bits)); /* MO control:A -> control:B */
	return segment->sys->unmap(header, RING_PAGE);
}

int segment_set_level(const struct segment *segment, unsigned level)
{
	assert(level <= 7);
	return change_control(segment, CONTROL_LEVEL_MASK, level);
}

int segment_set_closed(const struct segment *segment)
{
	return change_control(segment, CONTROL_CLOSED, CONTROL_CLOSED);
}

int segment_set_open(const struct segment *segment)
{
	return change_control(segment, CONTROL_CLOSED, 0);
}

static uint64_t count_undrained(const struct segment_view *view)
{
	uint64_t records = 0;

	for (uint32_t i = 0; i < view->geometry->lanes; i++) {
		struct ring_survey survey;
		struct lane lane;

		view_lane(view, i, &lane);
		ring_survey(&lane, view_lane_status(view, i), &survey);
		records += survey.data_records;
	}
	return records;
}

void segment_wake_all(const struct segment_view *view)
{
	(void)view->sys->futex_wake(&view_doorbell(view)->rings.raw);
	for (uint32_t lane = 0; lane < view->geometry->lanes; lane++)
		(void)view->sys->futex_wake(&view_lane_status(view, lane)->moved.raw);
}

/* All lock bytes are ours, or we don't ask: close, unlink, wake who sleeps. A name that may not be
 * unlinked (in a sticky directory only its owner can) leaves the ring open. */
static int close_and_unlink(const struct segment *segment, const struct segment_view *view)
{
	char path[PATH_SIZE];
	int r = segment_set_closed(segment);

	if (r == 0) {
		segment_path(path, segment->name);
		r = segment->sys->unlinkat(AT_FDCWD, path, 0);
		if (r < 0)
			(void)change_control(segment, CONTROL_CLOSED, 0);
		segment_wake_all(view);
	}
	return r < 0 ? reason_set(r, "ring \"%s\": cannot remove it: %s", segment->name,
				  strerror(-r))
		     : 0;
}

/* Somebody may have removed and made it anew since we opened it. */
static int check_still_named(const struct segment *segment)
{
	int fd;
	const int r = segment_reopen(segment, O_RDONLY, &fd);

	if (r < 0)
		return reason_set(r == -ESTALE ? -ENOENT : r,
				  "ring \"%s\": it was removed meanwhile", segment->name);
	(void)segment->sys->close(fd);
	return 0;
}

int segment_unlink(const struct segment *segment)
{
	char path[PATH_SIZE];
	int r = check_still_named(segment);

	if (r < 0)
		return r == -ENOENT || r == -ELOOP ? 0 : r;
	segment_path(path, segment->name);
	r = segment->sys->unlinkat(AT_FDCWD, path, 0);
	return r == -ENOENT ? 0 : r;
}

static int remove_open(struct segment *segment, bool force, uint64_t *ret_undrained)
{
	struct segment_view view;
	uint64_t undrained;
	int r = segment->sys->lock(segment->fd, LOCK_BYTE_WRITER, LOCK_BYTES);

	if (r < 0 && !force)
		return reason_set(-EBUSY,
				  "ring \"%s\": a writer or producers hold it; stop them, or "
				  "use --force",
				  segment->name);
	r = check_still_named(segment);
	if (r < 0)
		return r;
	r = segment_view(segment, &view);
	if (r < 0)
		return reason_set(r, "ring \"%s\": %s", segment->name, strerror(-r));
	undrained = count_undrained(&view);
	if (undrained && !force)
		r = reason_set(-ENOTEMPTY,
			       "ring \"%s\": %llu records are not drained; run shmlog-writer "
			       "--once, or lose them with --force",
			       segment->name, (unsigned long long)undrained);
	else
		r = close_and_unlink(segment, &view);
	segment_view_close(&view);
	if (r == 0)
		*ret_undrained = undrained;
	return r;
}

/* Something under the name that we cannot or may not open as a ring: another version's, or another
 * user's. The directory decides who may unlink it. */
static int remove_foreign(const struct sys *sys, const char *name)
{
	char path[PATH_SIZE];
	int r;

	segment_path(path, name);
	r = sys->unlinkat(AT_FDCWD, path, 0);
	return r < 0 ? reason_set(r, "ring \"%s\": cannot remove it: %s", name, strerror(-r)) : 0;
}

int segment_remove(const struct sys *sys, const char *name, bool force, uint64_t *ret_undrained)
{
	struct segment segment;
	int r = segment_open(sys, name, O_RDWR, &segment);

	if (force && (r == -EBADMSG || r == -EPROTO || r == -EACCES)) {
		r = remove_foreign(sys, name);
		if (r == 0)
			*ret_undrained = 0;
		return r;
	}
	if (r < 0)
		return r;
	r = remove_open(&segment, force, ret_undrained);
	segment_close(&segment);
	return r;
}
