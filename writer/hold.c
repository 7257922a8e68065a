/*
 * hold.c - the writer's locks on ring and directory. See hold.h.
 */
#include "hold.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "point.h"
#include "roll.h"
#include "utf8.h"

enum { LOCK_TRIES = 200, LOCK_STEP_MS = 10 };

/* How long a ring that is held is asked for: by a writer that starts, by one at work. */
enum patience { PATIENT, AT_ONCE };

static int lock_patiently(const struct sys *sys, int fd, int64_t start, int64_t size)
{
	int r = sys->lock(fd, start, size);

	for (int i = 0; i < LOCK_TRIES && (r == -EAGAIN || r == -EACCES); i++) {
		(void)sys->sleep(LOCK_STEP_MS * (int64_t)NS_PER_MS);
		r = sys->lock(fd, start, size);
	}
	return r == -EACCES ? -EAGAIN : r;
}

/* ---- ring ---- */

static struct segment_options segment_options(const struct config *config)
{
	return (struct segment_options){
		.lanes = config->lanes,
		.lane_size = config->lane_size,
		.mode_bits = config->mode_bits,
		.group = config->group,
		.clock = config->clock,
	};
}

static int open_or_create(const struct sys *sys, const struct config *config, struct segment *ret)
{
	const struct segment_options options = segment_options(config);
	int r = segment_open(sys, config->ring, O_RDWR, ret);

	if (r != -ENOENT || config->once)
		return r;
	r = segment_create(sys, config->ring, &options);
	if (r < 0 && r != -EEXIST)
		return r;
	POINT(ring_created);
	return segment_open(sys, config->ring, O_RDWR, ret);
}

/* Does one number of the ring differ from the one wished for? A demand that is not met is refused,
 * a wish is only told. */
static int check_number(const struct config *config, enum option_id option, uint64_t wanted,
			uint64_t actual)
{
	const char *name = config_option_name(option);

	if (wanted == actual || config->origin[option] == ORIGIN_DEFAULT)
		return 0;
	if (!config_is_wish(config, option))
		return reason_set(-EEXIST,
				  "ring \"%s\": it has --%s %llu, not %llu; leave the option out, "
				  "or remove the ring with shmlog-ctl remove",
				  config->ring, name, (unsigned long long)actual,
				  (unsigned long long)wanted);
	(void)fprintf(stderr,
		      "shmlog-writer: ring \"%s\": it has %s %llu; the %llu from %s is not used\n",
		      config->ring, name, (unsigned long long)actual, (unsigned long long)wanted,
		      config_origin_text(config->origin[option]));
	return 0;
}

static int check_geometry(const struct config *config, const struct geometry *geometry)
{
	int r = check_number(config, OPTION_LANES, config->lanes, geometry->lanes);

	if (r == 0)
		r = check_number(config, OPTION_LANE_SIZE, config->lane_size,
				 (uint64_t)geometry->blocks * BLOCK_SIZE);
	if (r == 0 && config->clock)
		r = check_number(config, OPTION_CLOCK, config->clock, geometry->clock);
	return r;
}

/* Who has the ring? From the holder's own words: shown, not trusted. */
static int ring_is_held(const struct segment *segment)
{
	struct segment_view view;
	const struct writer_status *status;
	uint32_t pid;
	char path[256];

	if (segment_view(segment, &view) < 0)
		return reason_set(-EAGAIN, "ring \"%s\": another writer has it", segment->name);
	status = view_writer(&view);
	pid = status->pid;
	utf8_copy_shown(path, status->log_path, sizeof(path));
	segment_view_close(&view);
	return reason_set(-EAGAIN,
			  "ring \"%s\": writer with pid %u has it, writing to %s; stop it first",
			  segment->name, pid, path);
}

static int lock_ring(const struct segment *segment, enum patience patience)
{
	const int r = patience == PATIENT
			      ? lock_patiently(segment->sys, segment->fd, LOCK_BYTE_WRITER, 1)
			      : segment->sys->lock(segment->fd, LOCK_BYTE_WRITER, 1);

	if (r == -EAGAIN || r == -EACCES)
		return ring_is_held(segment);
	return r < 0 ? reason_set(r, "ring \"%s\": cannot lock it: %s", segment->name, strerror(-r))
		     : 0;
}

static int drain_segment(const struct segment *segment, const struct config *config,
			 struct drain **ret)
{
	struct drain *drain = malloc(sizeof(*drain));
	int r;

	if (!drain)
		return reason_set(-ENOMEM, "ring \"%s\": out of memory", segment->name);
	r = drain_open(drain, segment);
	if (r < 0) {
		free(drain);
		return r;
	}
	drain->release_durable = config->release == RELEASE_DURABLE;
	*ret = drain;
	return 0;
}

static int hold_segment(struct segment *segment, const struct config *config,
			enum patience patience, struct drain **ret)
{
	int r = check_geometry(config, &segment->geometry);

	if (r == 0)
		r = lock_ring(segment, patience);
	if (r < 0) {
		segment_close(segment);
		return r;
	}
	r = drain_segment(segment, config, ret);
	if (r == 0) { /* who holds the ring is said at once: others show it, and signal it */
		(*ret)->writer->pid = segment->sys->getpid();
		store_relaxed_u32(&(*ret)->writer->state, WRITER_RUNNING);
		POINT(ring_held);
	}
	return r;
}

bool hold_ring_exists(const struct sys *sys, const struct config *config)
{
	struct segment segment;
	const int r = segment_open(sys, config->ring, O_RDWR, &segment);

	if (r == 0)
		segment_close(&segment);
	return r != -ENOENT;
}

static int hold_by_name(const struct sys *sys, const struct config *config, enum patience patience,
			struct drain **ret)
{
	struct segment segment;
	const int r = open_or_create(sys, config, &segment);

	return r < 0 ? r : hold_segment(&segment, config, patience, ret);
}

int hold_ring(const struct sys *sys, const struct config *config, struct drain **ret)
{
	return hold_by_name(sys, config, PATIENT, ret);
}

int hold_successor(const struct sys *sys, const struct config *config, const struct drain *gone,
		   struct drain **ret)
{
	const struct geometry *geometry = &gone->segment.geometry;
	struct config same = *config;
	int r;

	same.lanes = geometry->lanes;
	same.lane_size = (uint64_t)geometry->blocks * BLOCK_SIZE;
	same.clock = geometry->clock;
	same.once = false;
	memset(same.origin, ORIGIN_DEFAULT, sizeof(same.origin));
	r = hold_by_name(sys, &same, AT_ONCE, ret);
	if (r < 0)
		return r;
	drain_restore_end(*ret, false);
	/* Only now: whoever sees it closed finds the new one. */
	if (segment_set_closed(&gone->segment) == 0) {
		POINT(ring_closed);
		segment_wake_all(&gone->view);
	}
	return 0;
}

void hold_release(struct drain *drain)
{
	drain_close(drain);
	free(drain);
}

/* ---- directory ---- */

static int directory_is_held(int fd, const struct sys *sys, const char *path)
{
	char holder[128] = "";
	const ssize_t size = sys->pread(fd, holder, sizeof(holder) - 1, 0);

	holder[size > 0 ? strcspn(holder, "\n") : 0] = '\0';
	return reason_set(-EAGAIN,
			  "directory \"%s\": another writer has it (%s); stop it first, or choose "
			  "another directory",
			  path, *holder ? holder : "unknown");
}

/* The holder's name for who comes second; nobody decides by it. */
static void name_holder(const struct sys *sys, int fd, const char *ring)
{
	char text[RING_NAME_MAX + 64];
	const int size = snprintf(text, sizeof(text), "pid %u, ring %s\n", sys->getpid(), ring);

	(void)sys->ftruncate(fd, 0);
	(void)sys->pwrite(fd, text, (size_t)size, 0);
}

static int lock_directory(const struct sys *sys, int dir, const char *path, const char *ring,
			  int *ret_lock)
{
	const int fd =
		sys->openat(dir, HOLD_LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	int r = fd;

	if (fd >= 0)
		r = lock_patiently(sys, fd, 0, 0);
	if (r == 0) {
		POINT(directory_held);
		name_holder(sys, fd, ring);
		*ret_lock = fd;
		return 0;
	}
	if (r == -EAGAIN)
		r = directory_is_held(fd, sys, path);
	else
		r = reason_set(r, "directory \"%s\": cannot lock it: %s", path, strerror(-r));
	if (fd >= 0)
		(void)sys->close(fd);
	return r;
}

/* The directory's own name reaches the disk: what lies in it is not durable before. Synced also if
 * it was there: whoever made it may not have come so far. A parent that cannot be opened or synced
 * (permissions, a read-only or special file system) holds names that are somebody else's care. */
static int sync_name(const struct sys *sys, int dir, const char *path)
{
	const int parent = sys->openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	int r;

	if (parent < 0)
		return 0;
	r = sys->fsync(parent);
	(void)sys->close(parent);
	if (r == -EIO || r == -ENOSPC || r == -EDQUOT)
		return reason_set(r, "directory \"%s\": cannot sync its name: %s", path,
				  strerror(-r));
	return 0;
}

int hold_open_directory(const struct sys *sys, int dir, const char *path, const char *ring,
			int *ret_lock)
{
	int r = roll_check_directory(sys, dir, path);

	if (r == 0)
		r = sync_name(sys, dir, path);
	return r < 0 ? r : lock_directory(sys, dir, path, ring, ret_lock);
}

int hold_directory(const struct sys *sys, const char *path, const char *ring, bool create,
		   int *ret_dir, int *ret_lock)
{
	int r = create ? sys->mkdirat(AT_FDCWD, path, 0777) : 0;
	int dir;

	if (r == -ENOENT)
		return reason_set(-ENOTDIR,
				  "directory \"%s\": cannot make it here; make its parent first",
				  path);
	if (r < 0 && r != -EEXIST)
		return reason_set(r, "directory \"%s\": cannot make it: %s", path, strerror(-r));
	dir = sys->open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (dir < 0)
		return reason_set(dir, "directory \"%s\": cannot open it: %s", path,
				  strerror(-dir));
	r = hold_open_directory(sys, dir, path, ring, ret_lock);
	if (r < 0) {
		(void)sys->close(dir);
		return r;
	}
	*ret_dir = dir;
	return 0;
}
