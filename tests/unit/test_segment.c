/*
 * test_segment.c - names, creation whole or not at all, whom to trust, removal.
 *
 * What needs root (other users, a mount of its own) is skipped loudly without it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount_fixture.h"
#include "ring_fixture.h"

enum { STRANGER = 54321, CALLER = 54322, GROUP = 54323 };

TestSuite(segment, .fini = test_ring_sweep, .timeout = 30);

static int create(const char *name, uint32_t lanes, uint64_t lane_size)
{
	const struct segment_options options = { .lanes = lanes,
						 .lane_size = lane_size,
						 .group = (gid_t)-1 };

	return segment_create(&sys_real, name, &options);
}

static int open_ring(const char *name, int flags)
{
	struct segment segment;
	const int r = segment_open(&sys_real, name, flags, &segment);

	if (r == 0)
		segment_close(&segment);
	return r;
}

static bool exists(const char *name)
{
	char path[512];

	test_ring_path(name, path);
	return access(path, F_OK) == 0;
}

static void skip_unless_root(void)
{
	if (geteuid() != 0)
		cr_skip_test("only root can play other users");
}

/* ---- names and geometry ---- */

Test(segment, names_that_are_none_are_refused_with_a_reason)
{
	char long_name[RING_NAME_MAX + 2];
	const char *const bad[] = { "",    ".",   "..",  ".hidden",  "a/b",     "../x", "a b",
				    "a\n", "a\t", "a*b", "\xc3\xa4", long_name, "a:b",  "a\\b" };

	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		(void)reason_set(0, "-");
		cr_assert(segment_check_name(bad[i]) == -EINVAL, "\"%s\"", bad[i]);
		cr_assert(strlen(reason_get()) > 10, "\"%s\" has no reason", bad[i]);
		cr_assert(create(bad[i], 1, LANE_MIN) == -EINVAL);
		cr_assert(open_ring(bad[i], O_RDONLY) == -EINVAL);
	}
	cr_assert(segment_check_name(NULL) == -EINVAL);
}

Test(segment, names_of_all_allowed_characters_and_lengths_are_taken)
{
	char long_name[RING_NAME_MAX + 1];

	memset(long_name, 'z', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	cr_assert(segment_check_name("a") == 0);
	cr_assert(segment_check_name("-_09azAZ.") == 0);
	cr_assert(segment_check_name(long_name) == 0);
}

Test(segment, parts_are_aligned_and_do_not_overlap)
{
	static const uint32_t lanes[] = { 1, 2, 32, LANES_MAX };
	static const uint32_t blocks[] = { LANE_BLOCKS_MIN, LANE_BLOCKS_DEFAULT, LANE_BLOCKS_MAX };

	for (size_t i = 0; i < COUNT_OF(lanes) * COUNT_OF(blocks); i++) {
		struct geometry g;
		const uint32_t n = lanes[i % COUNT_OF(lanes)], b = blocks[i / COUNT_OF(lanes)];

		segment_geometry(&g, n, b);
		cr_assert((g.doorbell_offset | g.status_offset | g.owners_offset | g.lanes_offset |
			   g.lane_stride | g.words_offset | g.blocks_offset | g.size) %
				  RING_PAGE ==
			  0);
		cr_assert(g.doorbell_offset >= sizeof(struct ring_header));
		cr_assert(g.status_offset >= g.doorbell_offset + sizeof(struct doorbell));
		cr_assert(geometry_owner_status_offset(&g, 0) >=
			  g.status_offset + sizeof(struct writer_status));
		cr_assert(geometry_lane_status_offset(&g, 0) >=
			  geometry_owner_status_offset(&g, OWNER_IDS - 1) +
				  sizeof(struct owner_status));
		cr_assert(g.owners_offset >=
			  geometry_lane_status_offset(&g, n - 1) + sizeof(struct lane_status));
		cr_assert(g.lanes_offset >=
			  g.owners_offset + OWNER_IDS * sizeof(struct producer_line));
		cr_assert(g.blocks_offset >= g.words_offset + b * sizeof(uint64_t));
		cr_assert(g.lane_stride >= g.blocks_offset + (uint64_t)b * BLOCK_SIZE);
		cr_assert(g.size == geometry_lane_offset(&g, n - 1) + g.lane_stride);
		cr_assert(record_blocks(g.record_max) <= b / 2 &&
			  record_blocks(g.record_max) <= WORD_BLOCKS_MAX);
	}
}

Test(segment, the_record_maximum_is_half_a_lane_or_240_kib)
{
	struct geometry geometry;

	segment_geometry(&geometry, 1, LANE_BLOCKS_MIN);
	cr_assert(geometry.record_max == 32 * 1024 - sizeof(struct record_header));
	segment_geometry(&geometry, 1, LANE_BLOCKS_DEFAULT);
	cr_assert(geometry.record_max == 240 * 1024);
}

Test(segment, sizes_beyond_the_limits_are_refused_and_leave_nothing)
{
	static const struct {
		uint32_t lanes;
		uint64_t lane_size;
	} bad[] = {
		{ LANES_MAX + 1, LANE_MIN }, { UINT32_MAX, LANE_MIN },
		{ 1, LANE_MIN / 2 },         { 1, LANE_MIN + 1 },
		{ 1, LANE_MIN + 64 },        { 1, 3 * LANE_MIN },
		{ 1, UINT64_C(1) << 31 },    { 1, UINT64_C(1) << 38 },
		{ 1, UINT64_MAX },           { 1, 1 },
	};
	char name[64];

	test_ring_name(name);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		cr_assert(create(name, bad[i].lanes, bad[i].lane_size) == -EINVAL, "%zu", i);
		cr_assert(!exists(name));
	}
}

/* ---- creation ---- */

Test(segment, a_new_ring_is_empty_open_and_private)
{
	struct test_ring ring;
	struct stat status;

	test_ring_make(&ring, 3, LANE_MIN);
	cr_assert(fstat(ring.segment.fd, &status) == 0);
	cr_assert((status.st_mode & 07777) == 0600, "%o", status.st_mode);
	cr_assert((uint64_t)status.st_size == ring.segment.geometry.size);
	cr_assert(ring.segment.geometry.lanes == 3 &&
		  ring.segment.geometry.blocks == LANE_BLOCKS_MIN);
	cr_assert(ring.segment.geometry.segment_id != 0);
	cr_assert(load_relaxed_u32(&view_header(&ring.view)->control) == 7);
	for (uint32_t lane = 0; lane < 3; lane++)
		cr_assert(test_read_stop(&ring, lane) == TAKE_EMPTY);
	test_ring_close(&ring);
}

Test(segment, defaults_are_32_lanes_of_1_mib)
{
	struct test_ring ring;

	test_ring_make(&ring, 0, 0);
	cr_assert(ring.segment.geometry.lanes == 32);
	cr_assert((uint64_t)ring.segment.geometry.blocks * BLOCK_SIZE == 1024 * 1024);
	test_ring_close(&ring);
}

Test(segment, all_that_is_looked_at_unbound_has_its_memory_from_the_start)
{
	struct test_ring ring;
	struct stat status;
	uint64_t needed;

	test_ring_make(&ring, 4, LANE_MIN);
	needed = ring.segment.geometry.lanes_offset + ring.segment.geometry.lane_stride +
		 3 * ring.segment.geometry.blocks_offset;
	cr_assert(fstat(ring.segment.fd, &status) == 0);
	cr_assert((uint64_t)status.st_blocks * 512 == needed, "%llu of %llu bytes",
		  (unsigned long long)status.st_blocks * 512, (unsigned long long)needed);
	test_ring_close(&ring);
}

Test(segment, two_rings_have_different_ids)
{
	struct test_ring a, b;

	test_ring_make(&a, 1, LANE_MIN);
	test_ring_make(&b, 1, LANE_MIN);
	cr_assert(a.segment.geometry.segment_id != b.segment.geometry.segment_id);
	test_ring_close(&a);
	test_ring_close(&b);
}

Test(segment, a_ring_that_exists_is_left_alone)
{
	struct test_ring ring, again;

	test_ring_make(&ring, 2, LANE_MIN);
	cr_assert(create(ring.name, 5, LANE_MIN) == -EEXIST);
	test_ring_open(&again, ring.name);
	cr_assert(again.segment.geometry.segment_id == ring.segment.geometry.segment_id);
	test_ring_close(&ring);
	test_ring_close(&again);
}

static void *create_one(void *name)
{
	return (void *)(intptr_t)create(name, 1, LANE_MIN);
}

Test(segment, of_many_creators_one_wins)
{
	pthread_t threads[8];
	char name[64];
	int winners = 0;

	test_ring_name(name);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		cr_assert(pthread_create(&threads[i], NULL, create_one, name) == 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		void *r;

		cr_assert(pthread_join(threads[i], &r) == 0);
		cr_assert(r == NULL || (intptr_t)r == -EEXIST);
		winners += r == NULL;
	}
	cr_assert(winners == 1, "%d", winners);
	cr_assert(open_ring(name, O_RDWR) == 0);
}

Test(segment, mode_and_group_are_as_asked_for_whatever_the_umask)
{
	const struct segment_options options = {
		.lanes = 1, .lane_size = LANE_MIN, .mode_bits = 0660, .group = GROUP
	};
	struct stat status;
	char name[64], path[512];

	skip_unless_root();
	(void)umask(0077);
	test_ring_name(name);
	test_ring_path(name, path);
	cr_assert(segment_create(&sys_real, name, &options) == 0, "%s", reason_get());
	cr_assert(stat(path, &status) == 0);
	cr_assert((status.st_mode & 07777) == 0660 && status.st_gid == GROUP);
}

Test(segment, a_full_mount_refuses_the_ring_and_keeps_nothing, .fini = mount_fixture_end)
{
	char **names;
	size_t count;
	unsigned before;

	mount_fixture_begin("256k");
	before = count_descriptors();
	cr_assert(create("large", 4, LANE_MIN) == -ENOSPC);
	cr_assert(strstr(reason_get(), "no room") != NULL, "%s", reason_get());
	cr_assert(count_descriptors() == before);
	cr_assert(segment_names(&sys_real, &names, &count) == 0 && count == 0);
	segment_names_free(names, count);
}

Test(segment, what_a_full_mount_refused_leaves_room_for_a_smaller_one, .fini = mount_fixture_end)
{
	mount_fixture_begin("640k");
	cr_assert(create("large", 200, LANE_MIN) == -ENOSPC);
	cr_assert(create("small", 1, LANE_MIN) == 0, "%s", reason_get());
	cr_assert(open_ring("small", O_RDWR) == 0);
}

Test(segment, a_directory_that_is_not_there_is_named)
{
	cr_assert(setenv("SHMLOG_SHM_DIR", "/nonexistent", 1) == 0);
	cr_assert(create("x", 1, LANE_MIN) == -ENOENT);
	cr_assert(strstr(reason_get(), "/nonexistent") != NULL, "%s", reason_get());
}

/* ---- opening ---- */

Test(segment, a_ring_that_is_missing_is_told_with_those_that_are_there)
{
	struct test_ring ring;
	char name[64];

	test_ring_make(&ring, 1, LANE_MIN);
	test_ring_name(name);
	cr_assert(open_ring(name, O_RDWR) == -ENOENT);
	cr_assert(strstr(reason_get(), "no such ring") != NULL, "%s", reason_get());
	test_ring_close(&ring);
}

Test(segment, names_are_sorted_and_only_those_of_rings)
{
	char **names;
	size_t count;
	size_t ours = 0;
	char name[64];

	for (int i = 0; i < 3; i++) {
		test_ring_name(name);
		cr_assert(create(name, 1, LANE_MIN) == 0);
	}
	cr_assert(segment_names(&sys_real, &names, &count) == 0);
	for (size_t i = 0; i < count; i++) {
		cr_assert(i == 0 || strcmp(names[i - 1], names[i]) < 0);
		ours += !strncmp(names[i], name, strlen(name) - 1);
	}
	cr_assert(ours == 3, "%zu", ours);
	segment_names_free(names, count);
}

static void write_file(const char *name, const void *data, size_t size)
{
	char path[512];
	FILE *file;

	test_ring_path(name, path);
	file = fopen(path, "we");
	cr_assert(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

Test(segment, files_that_are_no_rings_are_refused)
{
	static uint8_t bytes[64 * 1024];
	const size_t sizes[] = { 0, 1, sizeof(struct ring_header) - 1, sizeof(bytes) };
	char name[64];

	test_ring_name(name);
	for (size_t i = 0; i < 2 * COUNT_OF(sizes); i++) {
		memset(bytes, i % 2 ? 'x' : 0, sizeof(bytes));
		write_file(name, bytes, sizes[i / 2]);
		cr_assert(open_ring(name, O_RDWR) == -EBADMSG, "%zu", i);
		cr_assert(open_ring(name, O_RDONLY) == -EBADMSG, "%zu", i);
	}
}

static void expect_bad_kind(const char *name)
{
	const unsigned before = count_descriptors();

	cr_assert(open_ring(name, O_RDWR) == -EBADMSG, "%s", reason_get());
	cr_assert(open_ring(name, O_RDONLY) == -EBADMSG, "%s", reason_get());
	cr_assert(count_descriptors() == before);
}

Test(segment, a_directory_is_no_ring)
{
	char name[64], path[512];

	test_ring_name(name);
	test_ring_path(name, path);
	cr_assert(mkdir(path, 0700) == 0);
	expect_bad_kind(name);
	cr_assert(rmdir(path) == 0);
}

Test(segment, a_symlink_is_no_ring_even_if_it_leads_to_one)
{
	struct test_ring ring;
	char name[64], path[512], target[512];

	test_ring_make(&ring, 1, LANE_MIN);
	test_ring_path(ring.name, target);
	test_ring_name(name);
	test_ring_path(name, path);
	cr_assert(symlink(target, path) == 0);
	expect_bad_kind(name);
	test_ring_close(&ring);
}

Test(segment, a_fifo_is_no_ring_and_holds_nobody_up)
{
	char name[64], path[512];

	test_ring_name(name);
	test_ring_path(name, path);
	cr_assert(mkfifo(path, 0600) == 0);
	expect_bad_kind(name);
}

/* A ring whose header was changed: 4 bytes at @offset. */
static int open_changed(size_t offset, uint32_t value)
{
	struct test_ring ring;
	uint32_t before;
	int r;

	test_ring_make(&ring, 2, LANE_MIN);
	memcpy(&before, ring.writable + offset, sizeof(before));
	cr_assert(before != value, "nothing would change");
	memcpy(ring.writable + offset, &value, sizeof(value));
	r = open_ring(ring.name, O_RDWR);
	test_ring_close(&ring);
	return r;
}

Test(segment, another_layout_version_is_told_with_both_versions)
{
	cr_assert(open_changed(offsetof(struct ring_header, layout_version), 99) == -EPROTO);
	cr_assert(strstr(reason_get(), "99") != NULL && strstr(reason_get(), "version 1") != NULL,
		  "%s", reason_get());
}

Test(segment, an_unknown_incompatible_feature_is_refused)
{
	cr_assert(open_changed(offsetof(struct ring_header, incompatible), 1) == -EPROTO);
	cr_assert(open_changed(offsetof(struct ring_header, incompatible) + 4, 1u << 31) ==
		  -EPROTO);
}

Test(segment, an_unknown_compatible_feature_is_ignored)
{
	cr_assert(open_changed(offsetof(struct ring_header, compatible), 1) == 0);
}

Test(segment, every_damaged_field_of_the_header_is_found)
{
	static const struct {
		size_t offset;
		uint32_t value;
	} bad[] = {
		{ offsetof(struct ring_header, magic), 0 },
		{ offsetof(struct ring_header, lanes), 0 },
		{ offsetof(struct ring_header, lanes), 3 },
		{ offsetof(struct ring_header, lanes), LANES_MAX + 1 },
		{ offsetof(struct ring_header, blocks), 0 },
		{ offsetof(struct ring_header, blocks), LANE_BLOCKS_MIN + 1 },
		{ offsetof(struct ring_header, blocks), LANE_BLOCKS_MIN / 2 },
		{ offsetof(struct ring_header, blocks), 1u << 31 },
		{ offsetof(struct ring_header, record_max), UINT32_MAX },
		{ offsetof(struct ring_header, clock), 0 },
		{ offsetof(struct ring_header, clock), RING_CLOCK_WRITER + 1 },
		{ offsetof(struct ring_header, size), 4096 },
		{ offsetof(struct ring_header, doorbell_offset), 0 },
		{ offsetof(struct ring_header, status_offset), 0 },
		{ offsetof(struct ring_header, owners_offset), 0 },
		{ offsetof(struct ring_header, lanes_offset), UINT32_MAX },
		{ offsetof(struct ring_header, lane_stride), 4096 },
		{ offsetof(struct ring_header, words_offset), 0 },
		{ offsetof(struct ring_header, blocks_offset), 0 },
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++)
		cr_assert(open_changed(bad[i].offset, bad[i].value) == -EBADMSG, "field at %zu",
			  bad[i].offset);
}

static void spoil(const struct test_ring *ring, size_t offset, uint64_t value)
{
	cr_assert(pwrite(ring->segment.fd, &value, sizeof(value), (off_t)offset) == sizeof(value));
}

Test(segment, an_open_ring_is_checked_against_what_it_was)
{
	static const uint8_t zeros[RING_PAGE];
	struct test_ring ring;
	off_t size;

	test_ring_make(&ring, 2, LANE_MIN);
	size = (off_t)ring.segment.geometry.size;
	cr_assert(segment_check(&ring.segment) == 0);
	cr_assert(ftruncate(ring.segment.fd, size + 1) == 0);
	cr_assert(segment_check(&ring.segment) == 0);
	spoil(&ring, offsetof(struct ring_header, segment_id), 1);
	cr_assert(segment_check(&ring.segment) == -EBADMSG, "another ring");
	spoil(&ring, offsetof(struct ring_header, segment_id), ring.segment.geometry.segment_id);
	cr_assert(segment_check(&ring.segment) == 0);
	spoil(&ring, 0, 1);
	cr_assert(segment_check(&ring.segment) == -EBADMSG, "no ring");
	cr_assert(pwrite(ring.segment.fd, zeros, sizeof(zeros), 0) == sizeof(zeros));
	cr_assert(segment_check(&ring.segment) == -ESTALE, "wiped");
	cr_assert(ftruncate(ring.segment.fd, size - 1) == 0);
	cr_assert(segment_check(&ring.segment) == -ESTALE, "cut");
}

Test(segment, only_its_own_name_is_unlinked)
{
	struct test_ring ring, other;
	char path[512];

	test_ring_make(&ring, 2, LANE_MIN);
	test_ring_path(ring.name, path);
	cr_assert(segment_unlink(&ring.segment) == 0);
	cr_assert(access(path, F_OK) < 0);
	test_ring_make_again(&other, &ring, 2);
	cr_assert(segment_unlink(&ring.segment) == 0);
	cr_assert(access(path, F_OK) == 0, "another ring has the name");
}

Test(segment, a_ring_that_is_shorter_than_its_header_says_is_refused)
{
	struct test_ring ring;
	const unsigned before = count_descriptors();
	char path[512];
	off_t size;

	test_ring_make(&ring, 2, LANE_MIN);
	size = (off_t)ring.segment.geometry.size;
	test_ring_path(ring.name, path);
	test_ring_close(&ring);
	cr_assert(truncate(path, size - 1) == 0);
	cr_assert(open_ring(ring.name, O_RDWR) == -EBADMSG);
	cr_assert(truncate(path, RING_PAGE) == 0);
	cr_assert(open_ring(ring.name, O_RDWR) == -EBADMSG);
	cr_assert(truncate(path, size + RING_PAGE) == 0);
	cr_assert(open_ring(ring.name, O_RDWR) == 0, "who may write to it can extend it any time");
	cr_assert(truncate(path, size) == 0);
	cr_assert(open_ring(ring.name, O_RDWR) == 0, "%s", reason_get());
	cr_assert(count_descriptors() == before);
}

/* ---- whom to trust ---- */

/* A ring of @owner and GROUP with @mode, opened by @user, who is in GROUP. */
static int open_of(uid_t owner, mode_t mode, uid_t user, int flags)
{
	const gid_t group = GROUP;
	struct test_ring ring;
	int r;

	test_ring_make(&ring, 1, LANE_MIN);
	cr_assert(fchown(ring.segment.fd, owner, GROUP) == 0);
	cr_assert(fchmod(ring.segment.fd, mode) == 0);
	test_ring_close(&ring);
	cr_assert(setgroups(1, &group) == 0 && seteuid(user) == 0);
	r = open_ring(ring.name, flags);
	cr_assert(seteuid(0) == 0 && setgroups(0, NULL) == 0);
	return r;
}

Test(segment, rings_of_strangers_are_refused)
{
	skip_unless_root();
	cr_assert(open_of(STRANGER, 0666, CALLER, O_RDWR) == -EACCES);
	cr_assert(strstr(reason_get(), "54321") != NULL, "%s", reason_get());
	cr_assert(open_of(STRANGER, 0666, CALLER, O_RDONLY) == -EACCES);
	cr_assert(open_of(STRANGER, 0662, CALLER, O_RDWR) == -EACCES);
	cr_assert(open_of(STRANGER, 0664, CALLER, O_RDWR) == -EACCES);
	cr_assert(open_of(STRANGER, 0606, CALLER, O_RDWR) == -EACCES);
}

Test(segment, rings_of_ones_own_and_of_root_are_trusted)
{
	skip_unless_root();
	cr_assert(open_of(CALLER, 0600, CALLER, O_RDWR) == 0, "%s", reason_get());
	cr_assert(open_of(0, 0660, CALLER, O_RDWR) == 0, "%s", reason_get());
	cr_assert(open_of(0, 0600, CALLER, O_RDWR) == -EACCES);
}

Test(segment, a_ring_that_is_shared_with_ones_group_alone_is_trusted)
{
	skip_unless_root();
	cr_assert(open_of(STRANGER, 0660, CALLER, O_RDWR) == 0, "%s", reason_get());
	cr_assert(open_of(STRANGER, 0640, CALLER, O_RDONLY) == -EACCES);
}

Test(segment, root_reads_any_ring_but_writes_none_of_strangers)
{
	skip_unless_root();
	cr_assert(open_of(STRANGER, 0600, 0, O_RDONLY) == 0, "%s", reason_get());
	cr_assert(open_of(STRANGER, 0600, 0, O_RDWR) == -EACCES);
}

/* ---- reopening ---- */

Test(segment, a_second_descriptor_leads_to_the_same_ring_or_nowhere)
{
	struct test_ring ring, fresh;
	char path[512];
	int fd = -1;

	test_ring_make(&ring, 1, LANE_MIN);
	test_ring_path(ring.name, path);
	cr_assert(segment_reopen(&ring.segment, O_RDWR, &fd) == 0);
	cr_assert(close(fd) == 0);
	cr_assert(unlink(path) == 0);
	cr_assert(segment_reopen(&ring.segment, O_RDWR, &fd) == -ENOENT);
	test_ring_make_again(&fresh, &ring, 1);
	cr_assert(segment_reopen(&ring.segment, O_RDWR, &fd) == -ESTALE);
	test_ring_close(&ring);
	test_ring_close(&fresh);
}

/* ---- level and CLOSED ---- */

static uint32_t control(const struct test_ring *ring)
{
	return load_relaxed_u32(&view_header(&ring->view)->control);
}

Test(segment, the_level_changes_alone)
{
	struct test_ring ring;

	test_ring_make(&ring, 1, LANE_MIN);
	for (unsigned level = 0; level <= 7; level++) {
		cr_assert(segment_set_level(&ring.segment, level) == 0);
		cr_assert(control(&ring) == level);
	}
	cr_assert(segment_set_closed(&ring.segment) == 0);
	cr_assert(control(&ring) == (CONTROL_CLOSED | 7));
	cr_assert(segment_set_level(&ring.segment, 3) == 0);
	cr_assert(control(&ring) == (CONTROL_CLOSED | 3));
	test_ring_close(&ring);
}

/* ---- removal ---- */

static int removal(const char *name, bool force, uint64_t *ret_undrained)
{
	return segment_remove(&sys_real, name, force, ret_undrained);
}

/* @count records of a dead producer, half of them in lane 0. */
static void leave_records(const struct test_ring *ring, uint32_t lanes, uint32_t count)
{
	const struct record_header header = { .kind = RECORD_DATA };

	for (uint32_t i = 0; i < count; i++) {
		struct lane lane;

		test_lane(ring, i % lanes, &lane);
		ring_fill(&lane, i / lanes, &header, "");
		ring_publish(&lane, i / lanes, 1, 0);
	}
}

Test(segment, an_idle_empty_ring_is_removed_and_closed)
{
	struct test_ring ring;
	uint64_t undrained = 77;

	test_ring_make(&ring, 2, LANE_MIN);
	cr_assert(removal(ring.name, false, &undrained) == 0, "%s", reason_get());
	cr_assert(undrained == 0 && !exists(ring.name));
	cr_assert(control(&ring) & CONTROL_CLOSED);
	cr_assert(removal(ring.name, false, &undrained) == -ENOENT);
	test_ring_close(&ring);
}

static void expect_busy(int64_t byte)
{
	struct test_ring ring;
	uint64_t undrained;
	int fd;

	test_ring_make(&ring, 2, LANE_MIN);
	cr_assert(segment_reopen(&ring.segment, O_RDWR, &fd) == 0);
	cr_assert(sys_real.lock(fd, byte, 1) == 0);
	cr_assert(removal(ring.name, false, &undrained) == -EBUSY);
	cr_assert(exists(ring.name) && !(control(&ring) & CONTROL_CLOSED));
	cr_assert(removal(ring.name, true, &undrained) == 0);
	cr_assert(!exists(ring.name) && (control(&ring) & CONTROL_CLOSED));
	cr_assert(close(fd) == 0);
	test_ring_close(&ring);
}

Test(segment, a_ring_that_somebody_holds_is_removed_by_force_only)
{
	expect_busy(LOCK_BYTE_WRITER);
	expect_busy(LOCK_BYTE_OWNER(1));
	expect_busy(LOCK_BYTE_OWNER(OWNER_IDS - 1));
	expect_busy(LOCK_BYTE_LANE(1));
	expect_busy(LOCK_BYTE_LANE(LANES_MAX - 1));
}

Test(segment, undrained_records_are_removed_by_force_only_and_counted)
{
	struct test_ring ring;
	uint64_t undrained = 77;

	test_ring_make(&ring, 2, LANE_MIN);
	leave_records(&ring, 2, 7);
	test_release(&ring, 1, 1);
	cr_assert(removal(ring.name, false, &undrained) == -ENOTEMPTY);
	cr_assert(undrained == 77 && exists(ring.name) && !(control(&ring) & CONTROL_CLOSED));
	cr_assert(removal(ring.name, true, &undrained) == 0);
	cr_assert(undrained == 6 && !exists(ring.name));
	test_ring_close(&ring);
}

Test(segment, a_refused_removal_holds_nothing_afterwards)
{
	struct test_ring ring;
	const unsigned before = count_descriptors();
	uint64_t undrained;

	test_ring_make(&ring, 2, LANE_MIN);
	leave_records(&ring, 1, 1);
	cr_assert(removal(ring.name, false, &undrained) == -ENOTEMPTY);
	cr_assert(!test_lock_is_held(&ring, LOCK_BYTE_LANE(1)));
	test_ring_close(&ring);
	cr_assert(count_descriptors() == before);
}

Test(segment, what_is_no_ring_is_removed_by_force_only)
{
	uint64_t undrained = 77;
	char name[64];

	test_ring_name(name);
	write_file(name, "nonsense", 8);
	cr_assert(removal(name, false, &undrained) == -EBADMSG && exists(name));
	cr_assert(removal(name, true, &undrained) == 0 && !exists(name) && undrained == 0);
}

/* Somebody else removes the ring and makes it anew just before our lock. */
static struct test_ring *replaced;

static int lock_after_replacement(int fd, int64_t start, int64_t size)
{
	if (replaced) {
		char path[512];

		test_ring_path(replaced->name, path);
		cr_assert(unlink(path) == 0 && create(replaced->name, 1, LANE_MIN) == 0);
		replaced = NULL;
	}
	return sys_real.lock(fd, start, size);
}

Test(segment, a_removal_never_takes_a_ring_that_it_has_not_looked_at)
{
	struct sys sys = sys_real;
	struct test_ring ring;
	uint64_t undrained;

	sys.lock = lock_after_replacement;
	test_ring_make(&ring, 1, LANE_MIN);
	replaced = &ring;
	cr_assert(segment_remove(&sys, ring.name, false, &undrained) == -ENOENT);
	cr_assert(exists(ring.name), "the new ring has gone");
	test_ring_close(&ring);
}

/* ---- faults ---- */

/* The call that fails, counted down; all below it fail with what such calls fail with. */
static int calls_until_fault;

static bool fails_now(void)
{
	return calls_until_fault > 0 && --calls_until_fault == 0;
}

#define FAULTY(name, error, parameters, ...)                               \
	static int faulty_##name parameters                                \
	{                                                                  \
		return fails_now() ? (error) : sys_real.name(__VA_ARGS__); \
	}

FAULTY(open, -EMFILE, (const char *path, int flags, mode_t mode), path, flags, mode)
FAULTY(fstat, -EIO, (int fd, struct stat *ret), fd, ret)
FAULTY(ftruncate, -EFBIG, (int fd, off_t size), fd, size)
FAULTY(fallocate, -ENOSPC, (int fd, int mode, off_t offset, off_t size), fd, mode, offset, size)
FAULTY(fchmod, -EPERM, (int fd, mode_t mode), fd, mode)
FAULTY(fchown, -EPERM, (int fd, uid_t user, gid_t group), fd, user, group)
FAULTY(linkat, -EMLINK, (int from_dir, const char *from, int to_dir, const char *to, int flags),
       from_dir, from, to_dir, to, flags)
FAULTY(unlinkat, -EPERM, (int dir, const char *path, int flags), dir, path, flags)
FAULTY(getrandom, -ENOSYS, (void *buffer, size_t size), buffer, size)
FAULTY(map, -ENOMEM,
       (void *address, size_t size, int protection, int flags, int fd, off_t offset, void **ret),
       address, size, protection, flags, fd, offset, ret)

static ssize_t faulty_pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	return fails_now() ? 7 : sys_real.pwrite(fd, buffer, size, offset);
}

static struct sys faulty_sys(void)
{
	struct sys sys = sys_real;

	sys.open = faulty_open;
	sys.fstat = faulty_fstat;
	sys.ftruncate = faulty_ftruncate;
	sys.fallocate = faulty_fallocate;
	sys.fchmod = faulty_fchmod;
	sys.fchown = faulty_fchown;
	sys.linkat = faulty_linkat;
	sys.unlinkat = faulty_unlinkat;
	sys.getrandom = faulty_getrandom;
	sys.map = faulty_map;
	sys.pwrite = faulty_pwrite;
	return sys;
}

Test(segment, whatever_call_fails_a_ring_is_made_whole_or_not_at_all)
{
	const struct segment_options options = { .lanes = 2,
						 .lane_size = LANE_MIN,
						 .group = getegid() };
	const struct sys sys = faulty_sys();
	const unsigned before = count_descriptors();
	int faults = 0;

	for (int nth = 1;; nth++) {
		char name[64];
		int r;

		test_ring_name(name);
		calls_until_fault = nth;
		r = segment_create(&sys, name, &options);
		cr_assert(count_descriptors() == before, "call %d", nth);
		if (calls_until_fault > 0)
			break;
		faults += r < 0;
		cr_assert(exists(name) == (r == 0), "call %d: %d", nth, r);
		cr_assert(r < 0 || open_ring(name, O_RDWR) == 0, "call %d: %s", nth, reason_get());
	}
	/* What may fail without harm: the boot id. */
	cr_assert(faults >= 8, "%d faults", faults);
}

Test(segment, whatever_call_fails_opening_leaks_nothing)
{
	const struct sys sys = faulty_sys();
	unsigned before;
	struct test_ring ring;

	test_ring_make(&ring, 1, LANE_MIN);
	before = count_descriptors();
	for (int nth = 1;; nth++) {
		struct segment segment;
		int r;

		calls_until_fault = nth;
		r = segment_open(&sys, ring.name, O_RDWR, &segment);
		if (calls_until_fault > 0) {
			cr_assert(r == 0 && nth > 2);
			segment_close(&segment);
			break;
		}
		cr_assert(r < 0, "call %d", nth);
		cr_assert(count_descriptors() == before, "call %d", nth);
	}
	test_ring_close(&ring);
}

Test(segment, whatever_call_fails_a_ring_that_was_not_removed_is_not_closed)
{
	const struct sys sys = faulty_sys();
	unsigned before;
	struct test_ring ring;
	uint64_t undrained;

	test_ring_make(&ring, 1, LANE_MIN);
	before = count_descriptors();
	for (int nth = 1;; nth++) {
		int r;

		calls_until_fault = nth;
		r = segment_remove(&sys, ring.name, false, &undrained);
		cr_assert(count_descriptors() == before, "call %d", nth);
		if (r == 0)
			break;
		cr_assert(exists(ring.name), "call %d", nth);
		cr_assert(!test_lock_is_held(&ring, LOCK_BYTE_WRITER), "call %d", nth);
		cr_assert(!(control(&ring) & CONTROL_CLOSED), "call %d: closed, but there", nth);
	}
	test_ring_close(&ring);
}
