/*
 * test_retain.c - which files go, in which order, and what is never touched.
 *
 * The choice is tested over arrays, the deletion against real directories.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../writer/retain.h"
#include "log_fixture.h"
#include "logdir.h"

enum { UNIT = 64 * 1024 }; /* bytes of each file that is made, on disk, too */

static const int64_t now_ns = INT64_C(1000000) * NS_PER_S;

/* ---- the choice ---- */

/* Ten files, 1 to 10, each of 100 bytes, sealed 10, 9, ... 1 s ago. */
static struct retain_file files[10];

static void ten_sealed(void)
{
	for (unsigned i = 0; i < 10; i++)
		files[i] = (struct retain_file){ .file_no = i + 1,
						 .bytes = 100,
						 .sealed_ns = now_ns - (10 - (int64_t)i) * NS_PER_S,
						 .state = RETAIN_SEALED };
}

static size_t chosen_of(size_t count, const struct retain_limits *limits, uint64_t keep_from)
{
	return retain_choose(files, count, limits, keep_from, now_ns);
}

static size_t chosen(const struct retain_limits *limits)
{
	return chosen_of(10, limits, UINT64_MAX);
}

TestSuite(retain_choose, .init = ten_sealed);

Test(retain_choose, without_limits_all_is_kept)
{
	cr_expect_eq(chosen(&(struct retain_limits){ 0 }), 0);
}

Test(retain_choose, as_many_go_as_are_too_many_bytes)
{
	cr_expect_eq(chosen(&(struct retain_limits){ .max_total = 1000 }), 0);
	cr_expect_eq(chosen(&(struct retain_limits){ .max_total = 999 }), 1);
	cr_expect_eq(chosen(&(struct retain_limits){ .max_total = 601 }), 4);
	cr_expect_eq(files[0].cause, RETAIN_TOTAL);
	cr_expect_eq(files[3].cause, RETAIN_TOTAL);
}

Test(retain_choose, what_was_sealed_too_long_ago_goes)
{
	cr_expect_eq(chosen(&(struct retain_limits){ .max_age_ns = INT64_C(10) * NS_PER_S }), 0);
	cr_expect_eq(chosen(&(struct retain_limits){ .max_age_ns = INT64_C(7) * NS_PER_S }), 3);
	cr_expect_eq(files[2].cause, RETAIN_AGE);
}

Test(retain_choose, a_young_file_keeps_the_old_ones_behind_it)
{
	files[1].sealed_ns = now_ns;
	cr_expect_eq(chosen(&(struct retain_limits){ .max_age_ns = INT64_C(3) * NS_PER_S }), 1);
}

Test(retain_choose, files_from_the_future_are_young)
{
	files[0].sealed_ns = INT64_MAX;
	cr_expect_eq(chosen(&(struct retain_limits){ .max_age_ns = 1 }), 0);
	ten_sealed();
	cr_expect_eq(retain_choose(files, 10,
				   &(struct retain_limits){ .max_age_ns = INT64_MAX / 2 },
				   UINT64_MAX, 0),
		     0);
}

Test(retain_choose, as_many_go_as_are_too_many_files)
{
	cr_expect_eq(chosen(&(struct retain_limits){ .max_files = 10 }), 0);
	cr_expect_eq(chosen(&(struct retain_limits){ .max_files = 7 }), 3);
	cr_expect_eq(files[2].cause, RETAIN_FILES);
}

Test(retain_choose, as_many_go_as_make_room)
{
	cr_expect_eq(chosen(&(struct retain_limits){ .room = 100 }), 1);
	cr_expect_eq(chosen(&(struct retain_limits){ .room = 101 }), 2);
	cr_expect_eq(files[1].cause, RETAIN_ROOM);
}

Test(retain_choose, each_file_goes_for_the_limit_that_it_breaks)
{
	const struct retain_limits limits = {
		.max_total = 850, .max_age_ns = INT64_C(6) * NS_PER_S, .max_files = 4, .room = 650
	};

	cr_assert_eq(chosen(&limits), 7);
	cr_expect_eq(files[1].cause, RETAIN_TOTAL);
	cr_expect_eq(files[2].cause, RETAIN_AGE);
	cr_expect_eq(files[4].cause, RETAIN_FILES);
	cr_expect_eq(files[6].cause, RETAIN_ROOM);
}

Test(retain_choose, the_newest_sealed_file_stays)
{
	const struct retain_limits limits = { .room = UINT64_MAX };

	cr_expect_eq(chosen(&limits), 9);
	files[9].state = RETAIN_OPEN;
	cr_expect_eq(chosen(&limits), 8);
	cr_expect_eq(chosen_of(1, &limits, UINT64_MAX), 0);
}

Test(retain_choose, an_open_file_that_may_be_written_stays)
{
	const struct retain_limits limits = { .room = UINT64_MAX };

	files[4].state = RETAIN_OPEN;
	cr_expect_eq(chosen_of(10, &limits, 5), 4);
	files[0].state = RETAIN_OPEN;
	cr_expect_eq(chosen_of(10, &limits, 1), 0);
}

Test(retain_choose, a_file_that_was_given_up_goes_in_its_turn)
{
	files[4].state = RETAIN_OPEN;
	cr_expect_eq(chosen_of(10, &(struct retain_limits){ .room = 401 }, 6), 5);
	cr_expect_eq(chosen_of(10, &(struct retain_limits){ .room = UINT64_MAX }, 7), 6);
	cr_expect_eq(chosen_of(10, &(struct retain_limits){ .max_files = 4 }, 9), 6);
	ten_sealed();
	files[0].state = RETAIN_OPEN;
	cr_expect_eq(
		chosen_of(10, &(struct retain_limits){ .max_age_ns = INT64_C(9) * NS_PER_S }, 2),
		1);
}

Test(retain_choose, a_file_that_was_given_up_is_not_the_newest_sealed_one)
{
	files[8].state = RETAIN_OPEN;
	cr_expect_eq(chosen_of(9, &(struct retain_limits){ .room = UINT64_MAX }, 10), 7);
}

Test(retain_choose, what_the_caller_wants_to_keep_stays)
{
	const struct retain_limits limits = { .room = UINT64_MAX };

	cr_expect_eq(chosen_of(10, &limits, 4), 3);
	cr_expect_eq(chosen_of(10, &limits, 1), 0);
	cr_expect_eq(chosen_of(10, &limits, 0), 0);
}

Test(retain_choose, what_lies_beside_no_file_goes_in_its_turn_and_is_none)
{
	files[0].state = RETAIN_SIDE;
	cr_expect_eq(chosen(&(struct retain_limits){ .max_files = 9 }), 0);
	cr_expect_eq(chosen(&(struct retain_limits){ .max_files = 8 }), 2);
	cr_expect_eq(chosen(&(struct retain_limits){ .max_total = 999 }), 1);
	files[9].state = RETAIN_SIDE;
	cr_expect_eq(chosen(&(struct retain_limits){ .room = UINT64_MAX }), 8);
}

Test(retain_choose, of_no_file_none_goes)
{
	cr_expect_eq(chosen_of(0, &(struct retain_limits){ .room = 1 }, UINT64_MAX), 0);
}

/* ---- the deletion ---- */

static struct fixture fixture;
static int dir = -1;
static struct sys sys;
static struct retain retain;
static struct retain_result result;
static char said[4096];

static void say(const char *line)
{
	(void)snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s\n", line);
}

static void set_up(void)
{
	fixture_begin(&fixture);
	dir = open(fixture.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(dir, 0);
	sys = sys_real;
	retain = (struct retain){ .sys = &sys, .dir = dir, .path = fixture.dir, .say = say };
}

static void tear_down(void)
{
	close(dir);
	fixture_end(&fixture);
}

TestSuite(retain, .init = set_up, .fini = tear_down);

/* @name in DIR, UNIT bytes, sealed @age_s ago; its directory is made, too. */
static void make_aged(const char *name, int64_t age_s)
{
	const struct timespec times[2] = { { 0 }, { .tv_sec = now_ns / NS_PER_S - age_s } };
	char volume[LOGDIR_NAME_SIZE];
	int fd;

	(void)snprintf(volume, sizeof(volume), "%s", name);
	if (strchr(volume, '/')) {
		*strchr(volume, '/') = '\0';
		(void)mkdirat(dir, volume, 0700);
	}
	fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0, "%s: %s", name, strerror(errno));
	cr_assert_eq(posix_fallocate(fd, 0, UNIT), 0);
	cr_assert_eq(futimens(fd, times), 0);
	close(fd);
}

static void make(const char *name)
{
	make_aged(name, 0);
}

/* Volumes of three files: files 1 .. @count, sealed. */
static void make_log(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char name[LOGDIR_NAME_SIZE];

		(void)snprintf(name, sizeof(name), "%010u/%010u.shmlog", i / 3 + 1, i + 1);
		make(name);
	}
}

static bool is_there(const char *name)
{
	struct stat about;

	return fstatat(dir, name, &about, AT_SYMLINK_NOFOLLOW) == 0;
}

static void make_link(const char *target, const char *name)
{
	cr_assert_eq(symlinkat(target, dir, name), 0);
}

static int run(const struct retain_limits *limits)
{
	said[0] = '\0';
	return retain_run(&retain, limits, UINT64_MAX, now_ns, &result);
}

static const struct retain_limits all_that_may_go = { .room = UINT64_MAX };

static void run_all(void)
{
	cr_assert_eq(run(&all_that_may_go), 0, "%s", reason_get());
}

Test(retain, the_oldest_go_and_each_is_told)
{
	make_log(5);
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 3 }), 0);
	cr_expect_not(is_there("0000000001/0000000001.shmlog"));
	cr_expect_not(is_there("0000000001/0000000002.shmlog"));
	cr_expect(is_there("0000000001/0000000003.shmlog"));
	cr_expect_str_eq(said, "deleted 0000000001/0000000001.shmlog, 65536 bytes (--max-files)\n"
			       "deleted 0000000001/0000000002.shmlog, 65536 bytes (--max-files)\n");
	cr_expect_eq(result.files, 2);
	cr_expect_eq(result.bytes, 2 * UNIT);
	cr_expect_eq(result.file_no, 2);
	cr_expect_eq(result.cause, RETAIN_FILES);
	cr_expect_not(result.more);
}

Test(retain, a_second_run_finds_nothing_to_do)
{
	make_log(5);
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 3 }), 0);
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 3 }), 0);
	cr_expect_eq(result.files, 0);
	cr_expect_eq(result.bytes, 0);
	cr_expect_str_eq(said, "");
	cr_expect(is_there("0000000001/0000000003.shmlog"));
}

Test(retain, the_total_is_of_all_that_is_the_logs)
{
	make("0000000001/0000000001.shmlog.lz4");
	make("0000000001/0000000001.shmlog.open.torn");
	make("0000000001/0000000002.shmlog");
	make("0000000001/0000000003.shmlog");
	make("0000000001/0000000003.shmlog.lz4.tmp");
	make("0000000001/0000000004.shmlog.open");
	make("0000000001/notes.txt");
	make("lock");
	cr_assert_eq(run(&(struct retain_limits){ .max_total = 6 * UNIT }), 0);
	cr_expect_eq(result.files, 0);
	cr_assert_eq(run(&(struct retain_limits){ .max_total = 6 * UNIT - 1 }), 0);
	cr_expect_eq(result.files, 1);
	cr_expect_eq(result.bytes, 2 * UNIT);
	cr_expect(is_there("0000000001/0000000002.shmlog"));
}

Test(retain, all_that_a_number_has_goes_and_nothing_else)
{
	make("0000000001/0000000001.shmlog");
	make("0000000001/0000000001.shmlog.lz4");
	make("0000000001/0000000001.shmlog.lz4.tmp");
	make("0000000001/0000000001.shmlog.open.torn");
	make("0000000001/0000000001.shmlog.bak");
	make("0000000001/0000000001.shmlog.lz4.tmp.tmp");
	make("0000000001/0000000002.shmlog");
	run_all();
	cr_expect_eq(result.files, 1);
	cr_expect_eq(result.bytes, 4 * UNIT);
	cr_expect_not(is_there("0000000001/0000000001.shmlog"));
	cr_expect_not(is_there("0000000001/0000000001.shmlog.lz4"));
	cr_expect_not(is_there("0000000001/0000000001.shmlog.lz4.tmp"));
	cr_expect_not(is_there("0000000001/0000000001.shmlog.open.torn"));
	cr_expect(is_there("0000000001/0000000001.shmlog.bak"));
	cr_expect(is_there("0000000001/0000000001.shmlog.lz4.tmp.tmp"));
	cr_expect(is_there("0000000001/0000000002.shmlog"));
}

Test(retain, a_file_that_was_given_up_is_deleted_in_its_turn)
{
	make("0000000001/0000000001.shmlog");
	make("0000000001/0000000002.shmlog.open");
	make("0000000001/0000000003.shmlog");
	make("0000000001/0000000004.shmlog");
	make("0000000001/0000000005.shmlog.open");
	make("0000000001/0000000006.shmlog.open");
	cr_assert_eq(retain_run(&retain, &all_that_may_go, 5, now_ns, &result), 0);
	cr_expect_eq(result.files, 3);
	cr_expect_not(is_there("0000000001/0000000002.shmlog.open"));
	cr_expect(is_there("0000000001/0000000004.shmlog"));
	cr_expect(is_there("0000000001/0000000005.shmlog.open"));
	cr_expect(is_there("0000000001/0000000006.shmlog.open"));
}

Test(retain, a_file_and_its_archive_are_one_file)
{
	make("0000000001/0000000001.shmlog");
	make("0000000001/0000000001.shmlog.lz4");
	make("0000000001/0000000002.shmlog.lz4");
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 2 }), 0);
	cr_expect_eq(result.files, 0);
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 1 }), 0);
	cr_expect_eq(result.files, 1);
}

Test(retain, a_file_and_its_archive_are_as_old_as_the_younger)
{
	make_aged("0000000001/0000000001.shmlog", 5);
	make_aged("0000000001/0000000001.shmlog.lz4", 10);
	make("0000000001/0000000002.shmlog");
	cr_assert_eq(run(&(struct retain_limits){ .max_age_ns = INT64_C(5) * NS_PER_S }), 0);
	cr_expect_eq(result.files, 0);
	cr_assert_eq(run(&(struct retain_limits){ .max_age_ns = INT64_C(4) * NS_PER_S }), 0);
	cr_expect_eq(result.files, 1);
}

Test(retain, age_counts_from_the_sealing)
{
	make_aged("0000000001/0000000001.shmlog.lz4", 10);
	make_aged("0000000001/0000000001.shmlog.lz4.tmp", 1);
	make_aged("0000000001/0000000001.shmlog.open.torn", 1);
	make_aged("0000000001/0000000002.shmlog", 5);
	make_aged("0000000001/0000000003.shmlog", 0);
	cr_assert_eq(run(&(struct retain_limits){ .max_age_ns = INT64_C(10) * NS_PER_S }), 0);
	cr_expect_eq(result.files, 0);
	cr_assert_eq(run(&(struct retain_limits){ .max_age_ns = INT64_C(9) * NS_PER_S }), 0);
	cr_expect_eq(result.files, 1);
	cr_expect_eq(result.cause, RETAIN_AGE);
	cr_expect(is_there("0000000001/0000000002.shmlog"));
}

Test(retain, what_is_beside_no_file_has_an_age_of_its_own)
{
	make_aged("0000000001/0000000001.shmlog.open.torn", 5);
	make_aged("0000000001/0000000002.shmlog", 9);
	make("0000000001/0000000003.shmlog");
	cr_assert_eq(run(&(struct retain_limits){ .max_age_ns = INT64_C(6) * NS_PER_S }), 0);
	cr_expect_eq(result.files, 0);
	cr_assert_eq(run(&(struct retain_limits){ .max_age_ns = INT64_C(4) * NS_PER_S }), 0);
	cr_expect_eq(result.files, 2);
}

/* Of the first file. */
static time_t odd_time;

static int odd_fstatat(int at, const char *path, struct stat *ret, int flags)
{
	const int r = sys_real.fstatat(at, path, ret, flags);

	if (strcmp(path, "0000000001.shmlog") == 0)
		ret->st_mtim.tv_sec = odd_time;
	return r;
}

Test(retain, times_that_no_clock_shows_are_very_old_or_very_young)
{
	const struct retain_limits limits = { .max_age_ns = NS_PER_S };

	make_log(2);
	sys.fstatat = odd_fstatat;
	odd_time = INT64_MAX;
	cr_assert_eq(run(&limits), 0);
	cr_expect_eq(result.files, 0);
	odd_time = INT64_C(-10000000000);
	cr_assert_eq(run(&limits), 0);
	cr_expect_eq(result.files, 1);
}

Test(retain, files_without_a_byte_are_files)
{
	int fd;

	make_log(3);
	for (int i = 1; i <= 2; i++) {
		char name[LOGDIR_NAME_SIZE];

		(void)snprintf(name, sizeof(name), "0000000001/%010d.shmlog", i);
		fd = openat(dir, name, O_WRONLY | O_TRUNC | O_CLOEXEC);
		cr_assert_geq(fd, 0);
		close(fd);
	}
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 2 }), 0);
	cr_expect_eq(result.files, 1);
	cr_expect_eq(result.bytes, 0);
	cr_expect_eq(result.file_no, 1);
}

Test(retain, numbers_that_were_left_out_are_no_files)
{
	make("0000000001/0000000003.shmlog");
	make("0000000001/0000000009.shmlog");
	make("0000000007/9999999998.shmlog.lz4");
	make("0000000007/9999999999.shmlog");
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 2 }), 0);
	cr_expect_eq(result.files, 2);
	cr_expect_eq(result.file_no, 9);
	cr_expect_not(is_there("0000000001"));
	cr_expect(is_there("0000000007/9999999998.shmlog.lz4"));
}

Test(retain, a_number_in_two_volumes_is_one_file)
{
	make("0000000002/0000000001.shmlog");
	make("0000000001/0000000001.shmlog.lz4");
	make("0000000001/0000000002.shmlog");
	make("0000000002/0000000003.shmlog");
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 2 }), 0);
	cr_expect_eq(result.files, 1);
	cr_expect_eq(result.bytes, 2 * UNIT);
	cr_expect_not(is_there("0000000002/0000000001.shmlog"));
	cr_expect_not(is_there("0000000001/0000000001.shmlog.lz4"));
	cr_expect(is_there("0000000001/0000000002.shmlog"));
}

Test(retain, a_call_deletes_a_batch_and_says_that_there_is_more)
{
	make_log(2 * RETAIN_BATCH + 1);
	run_all();
	cr_expect_eq(result.files, RETAIN_BATCH);
	cr_expect_eq(result.file_no, RETAIN_BATCH);
	cr_expect(result.more);
	run_all();
	cr_expect_eq(result.files, RETAIN_BATCH);
	cr_expect_eq(result.file_no, 2 * RETAIN_BATCH);
	cr_expect_not(result.more);
	run_all();
	cr_expect_eq(result.files, 0);
}

Test(retain, being_asked_deletes_nothing)
{
	make_log(4);
	cr_expect_eq(retain_due(&retain, &all_that_may_go, UINT64_MAX, now_ns), 1);
	cr_expect_eq(retain_due(&retain, &all_that_may_go, 1, now_ns), 0);
	cr_expect_eq(
		retain_due(&retain, &(struct retain_limits){ .max_files = 4 }, UINT64_MAX, now_ns),
		0);
	cr_expect(is_there("0000000001/0000000001.shmlog"));
	cr_expect_str_eq(said, "");
}

/* ---- volumes ---- */

Test(retain, a_volume_goes_with_its_last_file)
{
	make_log(7);
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 5 }), 0);
	cr_expect(is_there("0000000001"));
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 4 }), 0);
	cr_expect_not(is_there("0000000001"));
	cr_expect(is_there("0000000002"));
}

Test(retain, a_volume_with_foreign_files_stays)
{
	make_log(7);
	make("0000000001/notes.txt");
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 4 }), 0);
	cr_expect_eq(result.files, 3);
	cr_expect(is_there("0000000001/notes.txt"));
}

Test(retain, the_newest_volume_stays_when_it_is_empty)
{
	make("0000000002/0000000001.shmlog");
	make("0000000001/0000000002.shmlog");
	run_all();
	cr_expect_eq(result.file_no, 1);
	cr_expect(is_there("0000000002"));
}

Test(retain, a_volume_that_was_left_empty_goes_with_the_next_run)
{
	make_log(4);
	cr_assert_eq(unlinkat(dir, "0000000001/0000000001.shmlog", 0), 0);
	cr_assert_eq(unlinkat(dir, "0000000001/0000000002.shmlog", 0), 0);
	cr_assert_eq(unlinkat(dir, "0000000001/0000000003.shmlog", 0), 0);
	run_all();
	cr_expect_eq(result.files, 0);
	cr_expect_not(is_there("0000000001"));
}

/* ---- what is not ours ---- */

Test(retain, a_directory_named_like_a_file_is_left_and_told_once)
{
	make_log(5);
	cr_assert_eq(unlinkat(dir, "0000000001/0000000002.shmlog", 0), 0);
	cr_assert_eq(mkdirat(dir, "0000000001/0000000002.shmlog", 0700), 0);
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 3 }), 0);
	cr_expect_eq(result.files, 1);
	cr_expect(strstr(said, "0000000001/0000000002.shmlog: a log file's name") != NULL, "%s",
		  said);
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 2 }), 0);
	cr_expect_eq(result.file_no, 3);
	cr_expect(is_there("0000000001/0000000002.shmlog"));
	cr_expect(strstr(said, "a log file's name") == NULL, "%s", said);
}

Test(retain, what_is_left_alone_is_told_anew_when_it_is_something_else)
{
	make_log(3);
	cr_assert_eq(mkdirat(dir, "0000000001/0000000007.shmlog", 0700), 0);
	run_all();
	cr_assert_eq(mkdirat(dir, "0000000001/0000000006.shmlog", 0700), 0);
	run_all();
	cr_expect(strstr(said, "0000000006.shmlog: a log file's name") != NULL, "%s", said);
	cr_expect(strstr(said, "(2 such names)") != NULL, "%s", said);
}

Test(retain, links_are_neither_followed_nor_deleted)
{
	make("notes.txt");
	make_log(3);
	cr_assert_eq(unlinkat(dir, "0000000001/0000000001.shmlog", 0), 0);
	make_link("../notes.txt", "0000000001/0000000001.shmlog");
	run_all();
	cr_expect_eq(result.file_no, 2);
	cr_expect(is_there("0000000001/0000000001.shmlog"));
	cr_expect(is_there("notes.txt"));
}

Test(retain, a_link_to_another_logs_volume_is_left)
{
	make("elsewhere/0000000001.shmlog");
	make_link("elsewhere", "0000000001");
	make("0000000002/0000000002.shmlog");
	make("0000000002/0000000003.shmlog");
	run_all();
	cr_expect_eq(result.files, 1);
	cr_expect_eq(result.file_no, 2);
	cr_expect(is_there("elsewhere/0000000001.shmlog"));
	cr_expect(is_there("0000000001"));
}

Test(retain, a_file_beside_the_volumes_is_left)
{
	make("0000000001.shmlog");
	make("0000000001/0000000002.shmlog");
	make("0000000001/0000000003.shmlog");
	run_all();
	cr_expect_eq(result.file_no, 2);
	cr_expect(is_there("0000000001.shmlog"));
	cr_expect(strstr(said, "/0000000001.shmlog: a log file's name") != NULL, "%s", said);
}

Test(retain, what_is_left_alone_counts_for_no_limit)
{
	make_log(3);
	make("0000000005.shmlog");
	cr_assert_eq(mkdirat(dir, "0000000001/0000000007.shmlog", 0700), 0);
	make_link("0000000001", "0000000002");
	cr_assert_eq(run(&(struct retain_limits){ .max_total = 3 * UNIT, .max_files = 3 }), 0);
	cr_expect_eq(result.files, 0);
}

/* ---- order ---- */

/* What was called, in order: "-name" for a file, "-/name" for a directory, "s" for a sync. */
static char calls[1024];

static int noting_unlinkat(int at, const char *path, int flags)
{
	const int r = sys_real.unlinkat(at, path, flags);

	if (r == 0)
		(void)snprintf(calls + strlen(calls), sizeof(calls) - strlen(calls), "-%s%s ",
			       flags ? "/" : "", path);
	return r;
}

static int noting_fsync(int fd)
{
	struct stat about;

	cr_assert_eq(fstat(fd, &about), 0);
	cr_assert(S_ISDIR(about.st_mode));
	(void)snprintf(calls + strlen(calls), sizeof(calls) - strlen(calls), "s ");
	return sys_real.fsync(fd);
}

Test(retain, each_deletion_is_durable_before_the_next)
{
	make("0000000001/0000000001.shmlog.open.torn");
	make("0000000001/0000000001.shmlog.lz4.tmp");
	make("0000000001/0000000001.shmlog.lz4");
	make("0000000001/0000000001.shmlog");
	make("0000000002/0000000002.shmlog.lz4");
	make("0000000002/0000000003.shmlog");
	sys.unlinkat = noting_unlinkat;
	sys.fsync = noting_fsync;
	run_all();
	cr_expect_str_eq(calls, "-0000000001.shmlog s -0000000001.shmlog.lz4 s "
				"-0000000001.shmlog.open.torn s -0000000001.shmlog.lz4.tmp s "
				"-/0000000001 -0000000002.shmlog.lz4 s ");
}

/* ---- failures ---- */

static int failure;
static const char *victim;

static int refusing_unlinkat(int at, const char *path, int flags)
{
	return strstr(path, victim) ? failure : sys_real.unlinkat(at, path, flags);
}

Test(retain, what_cannot_be_deleted_keeps_all_that_is_newer)
{
	static const int failures[] = { -EACCES, -EPERM, -EROFS, -EISDIR };

	make_log(2 * RETAIN_BATCH);
	sys.unlinkat = refusing_unlinkat;
	victim = "0000000002.shmlog";
	for (size_t i = 0; i < COUNT_OF(failures); i++) {
		failure = failures[i];
		cr_expect_eq(run(&all_that_may_go), failure);
		cr_expect_eq(result.files, i == 0);
		cr_expect_not(result.more);
		cr_expect(strstr(reason_get(),
				 "0000000001/0000000002.shmlog: cannot delete it: ") != NULL,
			  "%s", reason_get());
		cr_expect_str_eq(said, i ? ""
					 : "deleted 0000000001/0000000001.shmlog, 65536 bytes "
					   "(--on-full delete-oldest)\n");
	}
	cr_expect(is_there("0000000001/0000000002.shmlog"));
	cr_expect(is_there("0000000001/0000000003.shmlog"));
}

Test(retain, a_volume_that_cannot_be_removed_is_no_failure)
{
	make_log(5);
	sys.unlinkat = refusing_unlinkat;
	victim = "0000000001";
	failure = -EBUSY;
	cr_assert_eq(unlinkat(dir, "0000000001/0000000001.shmlog", 0), 0);
	run_all();
	cr_expect_eq(result.files, 3);
	cr_expect(is_there("0000000001"));
}

static int failing_fsync(int fd)
{
	(void)fd;
	return -EIO;
}

Test(retain, a_deletion_that_is_not_durable_is_the_last)
{
	make_log(4);
	sys.fsync = failing_fsync;
	cr_expect_eq(run(&all_that_may_go), -EIO);
	cr_expect_eq(result.files, 1);
	cr_expect_eq(result.bytes, UNIT);
	cr_expect(strstr(reason_get(), "0000000001.shmlog: cannot sync its deletion") != NULL, "%s",
		  reason_get());
	cr_expect(is_there("0000000001/0000000002.shmlog"));
}

static int failing_fstatat(int at, const char *path, struct stat *ret, int flags)
{
	return strstr(path, victim) ? failure : sys_real.fstatat(at, path, ret, flags);
}

Test(retain, what_cannot_be_looked_at_keeps_everything)
{
	make_log(4);
	sys.fstatat = failing_fstatat;
	victim = "0000000003.shmlog";
	failure = -EIO;
	cr_expect_eq(run(&all_that_may_go), -EIO);
	cr_expect(strstr(reason_get(), "0000000001/0000000003.shmlog: cannot look at it") != NULL,
		  "%s", reason_get());
	cr_expect_eq(result.files, 0);
	cr_expect(is_there("0000000001/0000000001.shmlog"));
	cr_expect_eq(retain_due(&retain, &all_that_may_go, UINT64_MAX, now_ns), -EIO);
}

static int failing_openat(int at, const char *path, int flags, mode_t mode)
{
	return strstr(path, victim) ? failure : sys_real.openat(at, path, flags, mode);
}

Test(retain, an_unreadable_volume_keeps_everything)
{
	make_log(7);
	sys.openat = failing_openat;
	victim = "0000000002";
	failure = -EACCES;
	cr_expect_eq(run(&all_that_may_go), -EACCES);
	cr_expect(strstr(reason_get(), "cannot list it") != NULL, "%s", reason_get());
	cr_expect(is_there("0000000001/0000000001.shmlog"));
}

/* ---- what changes under it ---- */

/* Delete @victim when it is looked at, or is to be deleted. */
static int late_fstatat(int at, const char *path, struct stat *ret, int flags)
{
	if (strcmp(path, victim) == 0)
		cr_assert_eq(unlinkat(at, path, 0), 0);
	return sys_real.fstatat(at, path, ret, flags);
}

static int late_unlinkat(int at, const char *path, int flags)
{
	if (strcmp(path, victim) == 0)
		cr_assert_eq(unlinkat(at, path, 0), 0);
	return sys_real.unlinkat(at, path, flags);
}

Test(retain, a_file_that_vanished_before_it_was_looked_at_is_none)
{
	make_log(4);
	sys.fstatat = late_fstatat;
	victim = "0000000002.shmlog";
	cr_assert_eq(run(&(struct retain_limits){ .max_files = 3 }), 0);
	cr_expect_eq(result.files, 0);
}

Test(retain, a_file_that_somebody_else_deletes_is_not_counted)
{
	make_log(4);
	sys.unlinkat = late_unlinkat;
	victim = "0000000002.shmlog";
	run_all();
	cr_expect_eq(result.files, 2);
	cr_expect_eq(result.bytes, 2 * UNIT);
	cr_expect(strstr(said, victim) == NULL, "%s", said);
	cr_expect_not(is_there("0000000001/0000000003.shmlog"));
}

/* The volume is listed, and gone when its files are looked at. */
static int vanishing_openat(int at, const char *path, int flags, mode_t mode)
{
	return strcmp(path, "0000000001") == 0 && (flags & O_NOFOLLOW)
		       ? -ENOENT
		       : sys_real.openat(at, path, flags, mode);
}

Test(retain, a_volume_that_vanished_is_passed_by)
{
	make_log(7);
	sys.openat = vanishing_openat;
	run_all();
	cr_expect_eq(result.files, 3);
	cr_expect_eq(result.file_no, 6);
}

Test(retain, in_a_log_directory_that_was_removed_there_is_nothing_to_do)
{
	cr_assert_eq(rmdir(fixture.dir), 0);
	run_all();
	cr_expect_eq(result.files, 0);
	cr_expect_str_eq(said, "");
	cr_assert_eq(mkdir(fixture.dir, 0700), 0);
}

static unsigned count_descriptors(void)
{
	DIR *stream = opendir("/proc/self/fd");
	unsigned count = 0;

	cr_assert(stream != NULL);
	while (readdir(stream))
		count++;
	closedir(stream);
	return count;
}

Test(retain, no_descriptor_is_left_behind)
{
	unsigned before;

	make_log(7);
	make_link("0000000002", "0000000009");
	before = count_descriptors();
	run_all();
	cr_assert_eq(retain_due(&retain, &all_that_may_go, UINT64_MAX, now_ns), 0);
	sys.fstatat = failing_fstatat;
	victim = "0000000007.shmlog";
	failure = -EIO;
	cr_assert_eq(run(&all_that_may_go), -EIO);
	cr_expect_eq(count_descriptors(), before);
}

/* The Nth call fails; from then on all are real again. */
static int calls_until_fault;

static bool fails_now(void)
{
	return --calls_until_fault == 0;
}

static int faulty_openat(int at, const char *path, int flags, mode_t mode)
{
	return fails_now() ? -EMFILE : sys_real.openat(at, path, flags, mode);
}

static int faulty_fstatat(int at, const char *path, struct stat *ret, int flags)
{
	return fails_now() ? -EIO : sys_real.fstatat(at, path, ret, flags);
}

static int faulty_unlinkat(int at, const char *path, int flags)
{
	return fails_now() ? -EPERM : sys_real.unlinkat(at, path, flags);
}

static int faulty_fsync(int fd)
{
	return fails_now() ? -EIO : sys_real.fsync(fd);
}

/* The first of files 1 .. @count that is there, and behind it there is no hole. */
static unsigned first_left(unsigned count)
{
	unsigned first = 0;

	for (unsigned i = 1; i <= count; i++) {
		char name[LOGDIR_NAME_SIZE];

		(void)snprintf(name, sizeof(name), "%010u/%010u.shmlog", (i - 1) / 3 + 1, i);
		if (first == 0 && is_there(name))
			first = i;
		cr_assert_eq(is_there(name), first > 0, "call %d: %s", calls_until_fault, name);
	}
	return first;
}

Test(retain, whatever_call_fails_what_is_left_is_the_end_of_the_log)
{
	int faults = 0;

	sys.openat = faulty_openat;
	sys.fstatat = faulty_fstatat;
	sys.unlinkat = faulty_unlinkat;
	sys.fsync = faulty_fsync;
	for (int nth = 1;; nth++) {
		const unsigned before = count_descriptors();
		int r;

		make_log(7);
		calls_until_fault = nth;
		r = run(&all_that_may_go);
		cr_assert_eq(count_descriptors(), before, "call %d", nth);
		cr_assert(first_left(7) == result.files + 1, "call %d", nth);
		faults += r < 0;
		if (calls_until_fault > 0)
			break;
		calls_until_fault = 0;
		run_all();
		cr_assert_eq(first_left(7), 7, "call %d", nth);
		cr_assert_eq(unlinkat(dir, "0000000003/0000000007.shmlog", 0), 0);
	}
	/* What may fail without harm: the removal of a volume. */
	cr_assert(faults >= 20, "%d faults", faults);
}
