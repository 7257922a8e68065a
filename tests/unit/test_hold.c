/*
 * test_hold.c - one writer a ring, one writer a directory, and who is told what.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../writer/hold.h"
#include "log_fixture.h"

static struct fixture dir;
static struct config config;
static struct sys sys;
static struct drain *first, *second;
static int64_t slept_ns;
static int lock_fd = -1;

static int only_count(int64_t ns)
{
	slept_ns += ns;
	return 0;
}

static void unlink_ring(void)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/shmlog.%s", segment_directory(), config.ring);
	(void)unlink(path);
}

static void set_up(void)
{
	fixture_begin(&dir);
	config = (struct config){ .lanes = 2, .lane_size = 64 * 1024, .group = (gid_t)-1 };
	snprintf(config.ring, sizeof(config.ring), "unit-hold-%d", getpid());
	sys = sys_real;
	sys.sleep = only_count;
	unlink_ring(); /* of a crashed test whose pid we have */
}

static void tear_down(void)
{
	if (first)
		hold_release(first);
	if (second)
		hold_release(second);
	unlink_ring();
	fixture_end(&dir);
}

static void hold_first(void)
{
	cr_assert(hold_ring(&sys, &config, &first) == 0, "%s", reason_get());
}

static bool reason_has(const char *part)
{
	return strstr(reason_get(), part) != NULL;
}

/* ---- ring ---- */

Test(ring, is_made_as_configured, .init = set_up, .fini = tear_down)
{
	config.clock = RING_CLOCK_NONE;
	config.mode_bits = 0640;
	hold_first();
	const struct geometry *geometry = &first->segment.geometry;
	struct stat about;

	cr_assert(geometry->lanes == 2 && geometry->blocks == 1024);
	cr_assert(geometry->clock == RING_CLOCK_NONE);
	cr_assert(fstat(first->segment.fd, &about) == 0 && (about.st_mode & 0777) == 0640);
}

Test(ring, that_exists_is_taken_as_it_is, .init = set_up, .fini = tear_down)
{
	hold_first();
	const uint64_t segment_id = first->segment.geometry.segment_id;
	hold_release(first);
	hold_first();
	cr_assert(first->segment.geometry.segment_id == segment_id);
}

Test(ring, a_second_writer_is_refused_by_name_after_two_seconds, .init = set_up, .fini = tear_down)
{
	hold_first();
	first->writer->pid = 4711;
	snprintf(first->writer->log_path, sizeof(first->writer->log_path), "/var/log/orders");
	cr_assert(hold_ring(&sys, &config, &second) == -EAGAIN);
	cr_assert(reason_has("4711") && reason_has("/var/log/orders") && reason_has(config.ring),
		  "%s", reason_get());
	cr_assert(slept_ns == INT64_C(2) * NS_PER_S);
	cr_assert(second == NULL);
}

static int release_first(int64_t ns)
{
	slept_ns += ns;
	if (slept_ns == 3 * ns) {
		hold_release(first);
		first = NULL;
	}
	return 0;
}

Test(ring, a_killed_writers_lock_may_fall_late, .init = set_up, .fini = tear_down)
{
	hold_first();
	sys.sleep = release_first;
	cr_assert(hold_ring(&sys, &config, &second) == 0);
}

Test(ring, another_geometry_demanded_is_refused_naming_both, .init = set_up, .fini = tear_down)
{
	hold_first();
	hold_release(first);
	first = NULL;
	config.lanes = 3;
	config.origin[OPTION_LANES] = ORIGIN_COMMAND_LINE;
	cr_assert(hold_ring(&sys, &config, &first) == -EEXIST);
	cr_assert(reason_has("--lanes 2, not 3"), "%s", reason_get());
	cr_assert(slept_ns == 0, "before any lock is waited for");

	config.lanes = 2;
	config.lane_size = 128 * 1024;
	config.origin[OPTION_LANE_SIZE] = ORIGIN_COMMAND_LINE;
	cr_assert(hold_ring(&sys, &config, &first) == -EEXIST);
	cr_assert(reason_has("--lane-size 65536, not 131072"), "%s", reason_get());
}

Test(ring, the_geometry_demanded_may_be_what_it_has, .init = set_up, .fini = tear_down)
{
	hold_first();
	hold_release(first);
	config.origin[OPTION_LANES] = ORIGIN_COMMAND_LINE;
	config.origin[OPTION_LANE_SIZE] = ORIGIN_COMMAND_LINE;
	hold_first();
}

Test(ring, another_geometry_wished_for_is_not_used, .init = set_up, .fini = tear_down)
{
	hold_first();
	hold_release(first);
	config.lanes = 3;
	config.origin[OPTION_LANES] = ORIGIN_ENVIRONMENT;
	hold_first();
	cr_assert(first->segment.geometry.lanes == 2);
}

Test(ring, another_geometry_by_default_is_nothing_to_talk_about, .init = set_up, .fini = tear_down)
{
	hold_first();
	hold_release(first);
	config.lanes = 32;
	config.lane_size = 1024 * 1024;
	hold_first();
	cr_assert(first->segment.geometry.lanes == 2);
}

Test(ring, once_makes_none, .init = set_up, .fini = tear_down)
{
	config.once = true;
	cr_assert(hold_ring(&sys, &config, &first) == -ENOENT);
	cr_assert(hold_ring(&sys, &config, &first) == -ENOENT, "the first has made none");
}

Test(ring, once_takes_one_that_exists, .init = set_up, .fini = tear_down)
{
	hold_first();
	hold_release(first);
	config.once = true;
	hold_first();
}

Test(ring, release_follows_the_configuration, .init = set_up, .fini = tear_down)
{
	config.release = RELEASE_DURABLE;
	hold_first();
	cr_assert(first->release_durable);
}

/* ---- a removed ring ---- */

static void remove_name(void)
{
	hold_first();
	unlink_ring();
}

Test(successor, is_made_alike_and_the_removed_ring_is_closed, .init = set_up, .fini = tear_down)
{
	const struct config other = { .lanes = 5, .lane_size = 1024 * 1024, .once = true };

	config.clock = RING_CLOCK_NONE;
	remove_name();
	struct config now = other;
	memcpy(now.ring, config.ring, sizeof(now.ring));
	now.group = (gid_t)-1;
	cr_assert(hold_successor(&sys, &now, first, &second) == 0, "%s", reason_get());
	cr_assert(second->segment.geometry.lanes == 2 && second->segment.geometry.blocks == 1024);
	cr_assert(second->segment.geometry.clock == RING_CLOCK_NONE);
	cr_assert(second->segment.geometry.segment_id != first->segment.geometry.segment_id);
	cr_assert(load_acquire_u32(&view_header(&first->view)->control) & CONTROL_CLOSED);
	cr_assert(!(load_acquire_u32(&view_header(&second->view)->control) & CONTROL_CLOSED));
}

Test(successor, that_somebody_else_has_made_is_taken, .init = set_up, .fini = tear_down)
{
	const struct segment_options options = { .lanes = 7,
						 .lane_size = 64 * 1024,
						 .group = (gid_t)-1 };

	remove_name();
	cr_assert(segment_create(&sys_real, config.ring, &options) == 0);
	config.origin[OPTION_LANES] = ORIGIN_COMMAND_LINE;
	cr_assert(hold_successor(&sys, &config, first, &second) == 0, "%s", reason_get());
	cr_assert(second->segment.geometry.lanes == 7);
}

Test(successor, releases_as_the_removed_ring_did, .init = set_up, .fini = tear_down)
{
	config.release = RELEASE_DURABLE;
	remove_name();
	cr_assert(hold_successor(&sys, &config, first, &second) == 0);
	cr_assert(second->release_durable);
}

/* ---- directory ---- */

static int hold_path(const char *path, const char *ring, bool create)
{
	int dir_fd;
	const int r = hold_directory(&sys, path, ring, create, &dir_fd, &lock_fd);

	if (r == 0)
		close(dir_fd);
	return r;
}

Test(directory, is_made_with_its_lock, .init = set_up, .fini = tear_down)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/log", dir.dir);
	cr_assert(hold_path(path, "orders", false) == -ENOENT);
	cr_assert(hold_path(path, "orders", true) == 0);
	close(lock_fd);
	cr_assert(hold_path(path, "orders", false) == 0);
	close(lock_fd);
}

static uint64_t synced_inode;

static int note_synced(int fd)
{
	struct stat about;

	cr_assert(fstat(fd, &about) == 0);
	synced_inode = about.st_ino;
	return fsync(fd);
}

static int fail_sync(int fd)
{
	(void)fd;
	return -EIO;
}

Test(directory, its_own_name_is_synced, .init = set_up, .fini = tear_down)
{
	struct stat parent;
	char path[80];

	snprintf(path, sizeof(path), "%s/log", dir.dir);
	cr_assert(stat(dir.dir, &parent) == 0);
	sys.fsync = note_synced;
	cr_assert(hold_path(path, "orders", true) == 0);
	cr_assert(synced_inode == parent.st_ino);
	close(lock_fd);
	synced_inode = 0;
	cr_assert(hold_path(path, "orders", true) == 0);
	cr_assert(synced_inode == parent.st_ino, "also if somebody else has made it");
	close(lock_fd);
	sys.fsync = fail_sync;
	cr_assert(hold_path(path, "orders", true) == -EIO && reason_has(path));
}

Test(directory, its_parents_are_not_made, .init = set_up, .fini = tear_down)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/no/log", dir.dir);
	cr_assert(hold_path(path, "orders", true) == -ENOTDIR);
	cr_assert(reason_has(path), "%s", reason_get());
}

Test(directory, a_second_writer_is_refused_by_name_after_two_seconds, .init = set_up,
     .fini = tear_down)
{
	char pid[32];

	cr_assert(hold_path(dir.dir, "orders", true) == 0);
	const int held = lock_fd;
	cr_assert(hold_path(dir.dir, "audit", true) == -EAGAIN);
	snprintf(pid, sizeof(pid), "pid %d", getpid());
	cr_assert(reason_has(pid) && reason_has("orders") && reason_has(dir.dir), "%s",
		  reason_get());
	cr_assert(slept_ns == INT64_C(2) * NS_PER_S);
	close(held);
	cr_assert(hold_path(dir.dir, "audit", true) == 0);
	close(lock_fd);
}

Test(directory, a_longer_name_of_the_last_holder_leaves_nothing, .init = set_up, .fini = tear_down)
{
	char expected[64], content[64];

	cr_assert(hold_path(dir.dir, "a-ring-with-a-long-name", true) == 0);
	close(lock_fd);
	cr_assert(hold_path(dir.dir, "short", true) == 0);
	const int length = snprintf(expected, sizeof(expected), "pid %d, ring short\n", getpid());
	cr_assert(pread(lock_fd, content, sizeof(content), 0) == length);
	cr_assert(memcmp(content, expected, (size_t)length) == 0);
	close(lock_fd);
}

Test(directory, a_file_is_none, .init = set_up, .fini = tear_down)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/file", dir.dir);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	cr_assert(hold_path(path, "orders", true) == -ENOTDIR);
}

Test(directory, a_lock_that_is_a_link_is_not_followed, .init = set_up, .fini = tear_down)
{
	char path[80], target[80];

	snprintf(path, sizeof(path), "%s/" HOLD_LOCK_NAME, dir.dir);
	snprintf(target, sizeof(target), "%s/elsewhere", dir.dir);
	cr_assert(symlink(target, path) == 0);
	cr_assert(hold_path(dir.dir, "orders", true) == -ELOOP);
	cr_assert(access(target, F_OK) < 0);
}

static int on_nfs(int fd, struct statfs *ret)
{
	const int r = sys_real.fstatfs(fd, ret);

	ret->f_type = 0x6969;
	return r;
}

Test(directory, on_nfs_is_refused_before_a_lock_is_made, .init = set_up, .fini = tear_down)
{
	char path[80];

	sys.fstatfs = on_nfs;
	cr_assert(hold_path(dir.dir, "orders", true) == -EOPNOTSUPP);
	snprintf(path, sizeof(path), "%s/" HOLD_LOCK_NAME, dir.dir);
	cr_assert(access(path, F_OK) < 0);
}
