/*
 * test_logfile.c - the pages of one file, checked.
 */
#include "logfile.h"
#include "log_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static struct fixture fixture;
static struct fixture_file made;
static struct logfile file;
static _Alignas(4096) uint8_t buffer[PAGE_MAX];

/* FILE page 5, DATA pages 6 and 7. */
static void set_up(void)
{
	fixture_begin(&fixture);
	fixture_file_begin(&fixture, &made, 1, 5, 1);
	fixture_data(&made, 1, 10, "a");
	fixture_page(&made, 10);
	fixture_data(&made, 1, 20, "b");
	fixture_page(&made, 20);
	logfile_init(&file, &sys_real, open(made.path, O_RDWR | O_CLOEXEC));
}

static void tear_down(void)
{
	logfile_close(&file);
	fixture_file_end(&made);
	fixture_end(&fixture);
}

TestSuite(logfile, .init = set_up, .fini = tear_down);

static const struct page_header *header(void)
{
	return (const struct page_header *)(const void *)buffer;
}

Test(logfile, pages_come_in_order_until_the_end)
{
	cr_assert_eq(logfile_next(&file, buffer), 0);
	cr_expect_eq(header()->kind, PAGE_FILE);
	cr_expect(file.begun);
	cr_expect_eq(file.page_first, 5);
	cr_expect_eq(file.segment_id, FIXTURE_SEGMENT);
	cr_expect_eq(file.info.log_id, FIXTURE_LOG);
	cr_assert_eq(logfile_next(&file, buffer), 0);
	cr_expect_eq(header()->page_no, 6);
	cr_assert_eq(logfile_next(&file, buffer), 0);
	cr_expect_eq(header()->page_no, 7);
	cr_expect_eq(file.page_next, 8);
	cr_expect_eq(logfile_next(&file, buffer), -ENODATA);
	cr_expect_eq(logfile_next(&file, buffer), -ENODATA, "again");
}

Test(logfile, a_seal_page_is_the_last)
{
	fixture_seal(&made);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(logfile_next(&file, buffer), 0);
	cr_expect_eq(header()->kind, PAGE_SEAL);
	cr_expect_eq(header()->page_no, 8);
	cr_expect_eq(file.page_next, 8);
	cr_expect_eq(logfile_next(&file, buffer), -ENODATA);
}

Test(logfile, nothing_moves_when_a_page_is_bad)
{
	cr_assert_eq(logfile_next(&file, buffer), 0);
	fixture_scribble(made.path, 4096 + 140, "x", 1);
	cr_expect_eq(logfile_next(&file, buffer), -EBADMSG);
	cr_expect_eq(file.offset, 4096);
	cr_expect_eq(file.page_next, 6);
	fixture_scribble(made.path, 4096 + 140, "\0", 1);
	cr_expect_eq(logfile_next(&file, buffer), 0, "it was only not there yet");
}

Test(logfile, a_first_page_of_another_kind_is_bad)
{
	file.info.salt = made.salt;
	file.offset = 4096;
	cr_expect_eq(logfile_next(&file, buffer), -EBADMSG);
	cr_expect_not(file.begun);
}

Test(logfile, a_file_page_in_the_middle_is_bad)
{
	uint8_t first[4096];

	cr_assert_eq(pread(file.fd, first, sizeof(first), 0), 4096);
	fixture_scribble(made.path, 4096, first, sizeof(first));
	cr_assert_eq(logfile_next(&file, buffer), 0);
	cr_expect_eq(logfile_next(&file, buffer), -EBADMSG);
}

Test(logfile, a_page_with_another_number_is_bad)
{
	uint8_t page[4096];

	cr_assert_eq(pread(file.fd, page, sizeof(page), 8192), 4096);
	fixture_scribble(made.path, 4096, page, sizeof(page));
	cr_assert_eq(logfile_next(&file, buffer), 0);
	cr_expect_eq(logfile_next(&file, buffer), -EBADMSG);
}

Test(logfile, a_file_that_is_cut_inside_a_page_is_bad_there)
{
	cr_assert_eq(ftruncate(file.fd, 8192 + 50), 0);
	cr_assert_eq(logfile_next(&file, buffer), 0);
	cr_assert_eq(logfile_next(&file, buffer), 0);
	cr_expect_eq(logfile_next(&file, buffer), -EBADMSG);
}

Test(logfile, an_empty_file_is_not_begun)
{
	cr_assert_eq(ftruncate(file.fd, 0), 0);
	cr_expect_eq(logfile_next(&file, buffer), -ENODATA);
	cr_assert_eq(ftruncate(file.fd, 1024 * 1024), 0);
	cr_expect_eq(logfile_next(&file, buffer), -ENODATA);
}

Test(logfile, a_page_is_found_where_an_index_says)
{
	cr_assert_eq(logfile_next(&file, buffer), 0);
	logfile_seek(&file, 8192, 7);
	cr_assert_eq(logfile_next(&file, buffer), 0);
	cr_expect_eq(header()->page_no, 7);
	logfile_seek(&file, 4096, 7);
	cr_expect_eq(logfile_next(&file, buffer), -EBADMSG);
}

Test(logfile, headers_can_be_read_alone)
{
	struct page_header read;

	cr_assert_eq(logfile_header(&file, 4096, &read), 0);
	cr_expect_eq(read.page_no, 6);
	cr_expect_eq(logfile_header(&file, 4096 + 64, &read), -EBADMSG);
	cr_expect_eq(logfile_header(&file, 1 << 20, &read), -ENODATA);
}

Test(logfile, a_writers_lock_is_seen_and_a_readers_is_not)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	cr_expect_eq(logfile_is_held(&file), 0);
	cr_assert_eq(fcntl(made.fd, F_OFD_SETLK, &lock), 0);
	cr_expect_eq(logfile_is_held(&file), 0);
	lock.l_type = F_WRLCK;
	cr_assert_eq(fcntl(made.fd, F_OFD_SETLK, &lock), 0);
	cr_expect_eq(logfile_is_held(&file), 1);
	fixture_file_end(&made);
	cr_expect_eq(logfile_is_held(&file), 0);
}

static unsigned interruptions;

/* A few bytes at a time, and interrupted at first. */
static ssize_t slow_pread(int fd, void *bytes, size_t size, off_t offset)
{
	if (interruptions++ % 2 == 0)
		return -EINTR;
	return sys_real.pread(fd, bytes, size < 1000 ? size : 1000, offset);
}

Test(logfile, short_and_interrupted_reads_go_on)
{
	static struct sys sys;

	sys = sys_real;
	sys.pread = slow_pread;
	file.sys = &sys;
	for (int i = 0; i < 3; i++)
		cr_expect_eq(logfile_next(&file, buffer), 0);
}

static ssize_t failing_pread(int fd, void *bytes, size_t size, off_t offset)
{
	return offset < 4096 ? sys_real.pread(fd, bytes, size, offset) : -EIO;
}

Test(logfile, a_read_that_fails_is_told)
{
	static struct sys sys;

	sys = sys_real;
	sys.pread = failing_pread;
	file.sys = &sys;
	cr_assert_eq(logfile_next(&file, buffer), 0);
	cr_expect_eq(logfile_next(&file, buffer), -EIO);
}
