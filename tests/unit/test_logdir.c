/*
 * test_logdir.c - names of files, and their order.
 */
#include "logdir.h"
#include "log_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fixture fixture;
static int dir = -1;

static void set_up(void)
{
	fixture_begin(&fixture);
	dir = open(fixture.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void tear_down(void)
{
	close(dir);
	fixture_end(&fixture);
}

TestSuite(logdir, .init = set_up, .fini = tear_down);

static void make_dir(const char *name)
{
	cr_assert_eq(mkdirat(dir, name, 0700), 0);
}

static void make_file(const char *name)
{
	const int fd = openat(dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	cr_assert_geq(fd, 0);
	close(fd);
}

Test(logdir, names_have_ten_digits_and_say_their_state)
{
	const struct logdir_file open_file = { .volume_no = 3, .file_no = 17 };
	const struct logdir_file sealed = { .file_no = 9999999999, .state = LOGFILE_SEALED };
	const struct logdir_file archive = { .volume_no = 1,
					     .file_no = 2,
					     .state = LOGFILE_COMPRESSED };
	const struct logdir_file torn = { 1, 2, LOGFILE_TORN };
	const struct logdir_file half = { 1, 2, LOGFILE_ARCHIVE_TMP };
	char name[LOGDIR_NAME_SIZE];

	logdir_file_name(name, &open_file);
	cr_expect_str_eq(name, "0000000003/0000000017.shmlog.open");
	logdir_file_name(name, &sealed);
	cr_expect_str_eq(name, "9999999999.shmlog");
	logdir_file_name(name, &archive);
	cr_expect_str_eq(name, "0000000001/0000000002.shmlog.lz4");
	logdir_file_name(name, &torn);
	cr_expect_str_eq(name, "0000000001/0000000002.shmlog.open.torn");
	logdir_file_name(name, &half);
	cr_expect_str_eq(name, "0000000001/0000000002.shmlog.lz4.tmp");
	logdir_volume_name(name, 12);
	cr_expect_str_eq(name, "0000000012");
}

Test(logdir, a_name_comes_back_from_its_parse)
{
	struct logdir_file file;

	cr_assert(logdir_parse_file("0000000017.shmlog.open", &file));
	cr_expect_eq(file.file_no, 17);
	cr_expect_eq(file.state, LOGFILE_OPEN);
	cr_expect_eq(file.volume_no, 0);
	cr_assert(logdir_parse_file("1234567890.shmlog", &file));
	cr_expect_eq(file.file_no, 1234567890);
	cr_expect_eq(file.state, LOGFILE_SEALED);
	cr_assert(logdir_parse_file("0000000001.shmlog.lz4", &file));
	cr_expect_eq(file.state, LOGFILE_COMPRESSED);
}

Test(logdir, what_is_nearly_a_name_is_none)
{
	static const char *const names[] = {
		"",
		".",
		"0000000001",
		"0000000001.shmlo",
		"0000000001.shmlogs",
		"0000000001.shmlog.ope",
		"0000000001.shmlog.open.tmp",
		"0000000001.shmlog.open.torn",
		"0000000001.shmlog.lz4.tmp",
		"0000000001.shmlog.lz4~",
		"00000000001.shmlog",
		"000000001.shmlog",
		"+000000001.shmlog",
		" 000000001.shmlog",
		"000000000a.shmlog",
		"0000000000.shmlog",
		"0000000001.SHMLOG",
	};
	struct logdir_file file;
	uint64_t volume_no;

	for (size_t i = 0; i < COUNT_OF(names); i++)
		cr_expect_not(logdir_parse_file(names[i], &file), "%s", names[i]);
	cr_expect(logdir_parse_volume("0000000001", &volume_no));
	cr_expect_not(logdir_parse_volume("0000000000", &volume_no));
	cr_expect_not(logdir_parse_volume("00000000011", &volume_no));
	cr_expect_not(logdir_parse_volume("000000001", &volume_no));
	cr_expect_not(logdir_parse_volume("volume", &volume_no));
}

Test(logdir, files_of_one_number_are_listed_in_the_order_of_their_volumes)
{
	struct logdir_list list;

	make_dir("0000000002");
	make_dir("0000000001");
	make_file("0000000002/0000000007.shmlog.open");
	make_file("0000000001/0000000007.shmlog");
	cr_assert_eq(logdir_list(&sys_real, dir, &list), 0);
	cr_assert_eq(list.count, 2);
	cr_expect(list.files[0].volume_no == 1 && list.files[1].volume_no == 2);
	logdir_list_free(&list);
}

Test(logdir, a_log_is_listed_in_the_order_of_its_files)
{
	struct logdir_list list;

	make_dir("0000000002");
	make_dir("0000000001");
	make_dir("0000000003");
	make_file("0000000002/0000000010.shmlog.open");
	make_file("0000000002/0000000003.shmlog.lz4");
	make_file("0000000002/0000000003.shmlog");
	make_file("0000000001/0000000001.shmlog.lz4");
	make_file("0000000001/notes.txt");
	make_file("0000000001/0000000001.shmlog.lz4.tmp");
	make_file("README");
	make_file(".hidden");
	make_file("lock");
	cr_assert_eq(logdir_list(&sys_real, dir, &list), 0);
	cr_assert_eq(list.count, 4);
	cr_expect_eq(list.files[0].file_no, 1);
	cr_expect_eq(list.files[0].volume_no, 1);
	cr_expect_eq(list.files[1].file_no, 3);
	cr_expect_eq(list.files[1].state, LOGFILE_SEALED);
	cr_expect_eq(list.files[2].file_no, 3);
	cr_expect_eq(list.files[2].state, LOGFILE_COMPRESSED);
	cr_expect_eq(list.files[3].file_no, 10);
	cr_expect_eq(list.files[3].volume_no, 2);
	cr_expect_eq(list.foreign, 2);
	cr_expect(list.has_lock);
	cr_expect_eq(list.volume_last, 3);
	logdir_list_free(&list);
}

Test(logdir, side_files_are_listed_apart_and_are_not_foreign)
{
	struct logdir_list list;

	make_dir("0000000002");
	make_dir("0000000001");
	make_file("0000000002/0000000004.shmlog.lz4.tmp");
	make_file("0000000001/0000000003.shmlog.open.torn");
	make_file("0000000001/0000000003.shmlog");
	make_file("0000000001/0000000003.shmlog.torn");
	make_file("0000000001/0000000003.shmlog.lz4.tmp~");
	cr_assert_eq(logdir_list(&sys_real, dir, &list), 0);
	cr_expect_eq(list.count, 1);
	cr_assert_eq(list.side_count, 2);
	cr_expect_eq(list.sides[0].volume_no, 1);
	cr_expect_eq(list.sides[0].file_no, 3);
	cr_expect_eq(list.sides[0].state, LOGFILE_TORN);
	cr_expect_eq(list.sides[1].volume_no, 2);
	cr_expect_eq(list.sides[1].file_no, 4);
	cr_expect_eq(list.sides[1].state, LOGFILE_ARCHIVE_TMP);
	cr_expect_eq(list.foreign, 2);
	logdir_list_free(&list);
}

Test(logdir, one_volume_is_listed_by_itself)
{
	struct logdir_list list;
	int volume;

	make_dir("0000000001");
	make_file("0000000001/0000000001.shmlog");
	volume = openat(dir, "0000000001", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(logdir_list(&sys_real, volume, &list), 0);
	cr_assert_eq(list.count, 1);
	cr_expect_eq(list.files[0].volume_no, 0);
	logdir_list_free(&list);
	close(volume);
}

Test(logdir, earlier_volumes_can_be_left_out)
{
	struct logdir_list list;

	make_dir("0000000001");
	make_dir("0000000002");
	make_file("0000000001/0000000001.shmlog");
	make_file("0000000002/0000000002.shmlog");
	cr_assert_eq(logdir_list_from(&sys_real, dir, 2, &list), 0);
	cr_assert_eq(list.count, 1);
	cr_expect_eq(list.files[0].file_no, 2);
	cr_expect_eq(list.volume_last, 2);
	logdir_list_free(&list);
}

Test(logdir, a_file_named_like_a_volume_is_foreign)
{
	struct logdir_list list;

	make_file("0000000001");
	cr_assert_eq(logdir_list(&sys_real, dir, &list), 0);
	cr_expect_eq(list.count, 0);
	cr_expect_eq(list.foreign, 1);
	logdir_list_free(&list);
}

static int vanishing_openat(int at, const char *path, int flags, mode_t mode)
{
	return path[0] == '0' ? -ENOENT : sys_real.openat(at, path, flags, mode);
}

Test(logdir, a_volume_that_vanishes_is_no_error)
{
	struct sys sys = sys_real;
	struct logdir_list list;

	make_dir("0000000001");
	sys.openat = vanishing_openat;
	cr_assert_eq(logdir_list(&sys, dir, &list), 0);
	cr_expect_eq(list.count, 0);
	logdir_list_free(&list);
}

static int failing_openat(int at, const char *path, int flags, mode_t mode)
{
	return path[0] == '0' ? -EMFILE : sys_real.openat(at, path, flags, mode);
}

Test(logdir, other_errors_are_told)
{
	struct sys sys = sys_real;
	struct logdir_list list;

	make_dir("0000000001");
	sys.openat = failing_openat;
	cr_expect_eq(logdir_list(&sys, dir, &list), -EMFILE);
}
