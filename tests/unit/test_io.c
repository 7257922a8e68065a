/*
 * test_io.c - the two back ends behind io.h, against real files.
 *
 * Each scenario runs with both where it makes sense. Where io_uring is refused (a sandbox), its
 * half is skipped loudly.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../writer/io.h"
#include "../../writer/io_backend.h"

enum { PAGE = 4096 };

static int temporary_file(const char *directory, int flags)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/shmlog-test-io-XXXXXX", directory);
	fd = mkostemp(path, O_CLOEXEC);
	cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
	if (flags) {
		close(fd);
		fd = open(path, O_RDWR | O_CLOEXEC | flags);
	}
	unlink(path);
	return fd;
}

static struct io *open_or_skip(enum io_choice choice)
{
	struct io *io = NULL;
	const char *why;
	const int error = io_open(choice, &io, &why);

	if (error && choice == IO_CHOOSE_URING)
		cr_skip_test("io_uring is refused here: %s", strerror(-error));
	cr_assert(error == 0, "%s", strerror(-error));
	return io;
}

static void fill(struct io *io, unsigned index, uint8_t value, size_t size)
{
	memset(io_buffer(io, index), value, size);
}

static struct io_result reap_one(struct io *io)
{
	struct io_result result = { 0 };
	const int count = io_reap(io, &result, 1, INT64_C(10) * NS_PER_S);

	cr_assert(count == 1, "reaped %d", count);
	return result;
}

static void expect_bytes(int fd, uint64_t offset, uint8_t value, size_t size)
{
	static uint8_t data[IO_BUFFER_SIZE] __attribute__((aligned(4096)));

	cr_assert(pread(fd, data, size, (off_t)offset) == (ssize_t)size);
	for (size_t i = 0; i < size; i++)
		cr_assert(data[i] == value, "byte %zu is %u, not %u", i, data[i], value);
}

static void check_write_and_sync(enum io_choice choice)
{
	struct io *io = open_or_skip(choice);
	const int fd = temporary_file("/tmp", 0);

	fill(io, 3, 0xab, 2 * PAGE);
	cr_assert(io_write(io, fd, 3, 2 * PAGE, 5 * PAGE, 77) == 0);
	struct io_result result = reap_one(io);
	cr_assert(result.tag == 77 && result.error == 0, "%s", strerror(-result.error));
	cr_assert(io_sync(io, fd, 78) == 0);
	result = reap_one(io);
	cr_assert(result.tag == 78 && result.error == 0, "%s", strerror(-result.error));
	expect_bytes(fd, 5 * PAGE, 0xab, 2 * PAGE);
	cr_assert(io->in_flight == 0);
	io_close(&io);
	cr_assert(io == NULL);
}

TestSuite(io, .timeout = 60);

/* The kernel looks a sync's descriptor up when a worker of its own comes to it. A file that is
 * sealed and closed meanwhile would leave it none, or that of the next file. */
static void check_sync_of_closed(enum io_choice choice)
{
	struct io *io = open_or_skip(choice);

	for (unsigned i = 0; i < 2000; i++) {
		const int fd = temporary_file("/dev/shm", 0);

		cr_assert(pwrite(fd, "x", 1, 0) == 1);
		cr_assert(io_sync(io, fd, 1) == 0);
		close(fd);
		const struct io_result result = reap_one(io);
		cr_assert(result.error == 0, "sync %u: %s", i, strerror(-result.error));
	}
	io_close(&io);
}

Test(io, uring_syncs_what_is_closed_meanwhile)
{
	check_sync_of_closed(IO_CHOOSE_URING);
}

Test(io, pwrite_syncs_what_is_closed_meanwhile)
{
	check_sync_of_closed(IO_CHOOSE_PWRITE);
}

Test(io, uring_writes_where_it_is_told_and_syncs)
{
	check_write_and_sync(IO_CHOOSE_URING);
}

Test(io, pwrite_writes_where_it_is_told_and_syncs)
{
	check_write_and_sync(IO_CHOOSE_PWRITE);
}

static void submit_all_buffers(struct io *io, int fd)
{
	for (unsigned i = 0; i < IO_BUFFERS; i++) {
		fill(io, i, (uint8_t)(i + 1), IO_BUFFER_SIZE);
		cr_assert(io_write(io, fd, i, IO_BUFFER_SIZE, (uint64_t)i * IO_BUFFER_SIZE, i) ==
			  0);
	}
}

/* All buffers in flight at once, reaped a few at a time, each exactly once. */
static void check_many(enum io_choice choice, int flags)
{
	struct io *io = open_or_skip(choice);
	const int fd = temporary_file("/tmp", flags);
	bool seen[IO_BUFFERS] = { false };
	unsigned reaped = 0;

	cr_assert(fd >= 0);
	submit_all_buffers(io, fd);
	while (reaped < IO_BUFFERS) {
		struct io_result results[3];
		const int count = io_reap(io, results, 3, INT64_C(10) * NS_PER_S);

		cr_assert(count > 0 && count <= 3);
		for (int i = 0; i < count; i++) {
			cr_assert(results[i].error == 0, "%s", strerror(-results[i].error));
			cr_assert(!seen[results[i].tag]);
			seen[results[i].tag] = true;
		}
		reaped += (unsigned)count;
	}
	for (unsigned i = 0; i < IO_BUFFERS; i++)
		expect_bytes(fd, (uint64_t)i * IO_BUFFER_SIZE, (uint8_t)(i + 1), IO_BUFFER_SIZE);
	io_close(&io);
}

Test(io, uring_keeps_all_buffers_in_flight)
{
	check_many(IO_CHOOSE_URING, 0);
}

Test(io, uring_keeps_all_buffers_in_flight_directly)
{
	check_many(IO_CHOOSE_URING, O_DIRECT);
}

Test(io, pwrite_keeps_all_results)
{
	check_many(IO_CHOOSE_PWRITE, 0);
}

Test(io, pwrite_writes_directly)
{
	check_many(IO_CHOOSE_PWRITE, O_DIRECT);
}

static void check_reap_without_work(enum io_choice choice)
{
	struct io *io = open_or_skip(choice);
	struct io_result result;

	cr_assert(io_reap(io, &result, 1, -1) == 0, "with nothing in flight no wait ends");
	cr_assert(io_reap(io, &result, 1, 0) == 0);
	io_close(&io);
}

Test(io, uring_reap_with_nothing_in_flight_returns)
{
	check_reap_without_work(IO_CHOOSE_URING);
}

Test(io, pwrite_reap_with_nothing_in_flight_returns)
{
	check_reap_without_work(IO_CHOOSE_PWRITE);
}

static void check_refuses_when_full(enum io_choice choice)
{
	struct io *io = open_or_skip(choice);
	const int fd = temporary_file("/tmp", 0);
	struct io_result results[IO_OPERATIONS];
	int left = IO_OPERATIONS;

	for (unsigned i = 0; i < IO_OPERATIONS; i++)
		cr_assert(io_sync(io, fd, i) == 0);
	cr_assert(io_sync(io, fd, 99) == -EAGAIN);
	cr_assert(io_write(io, fd, 0, PAGE, 0, 99) == -EAGAIN);
	while (left > 0)
		left -= io_reap(io, results, IO_OPERATIONS, -1);
	cr_assert(left == 0);
	cr_assert(io_sync(io, fd, 100) == 0);
	cr_assert(reap_one(io).tag == 100);
	io_close(&io);
}

Test(io, uring_takes_no_more_than_it_can_track)
{
	check_refuses_when_full(IO_CHOOSE_URING);
}

Test(io, pwrite_takes_no_more_than_it_can_track)
{
	check_refuses_when_full(IO_CHOOSE_PWRITE);
}

/* A pipe nobody reads takes no write of a page once it is full: the wait must end by its deadline.
 */
Test(io, uring_wait_ends_at_its_deadline)
{
	struct io *io = open_or_skip(IO_CHOOSE_URING);
	struct io_result result;
	struct timespec before, after;
	int ends[2];

	cr_assert(pipe(ends) == 0);
	cr_assert(fcntl(ends[1], F_SETPIPE_SZ, PAGE) == PAGE);
	cr_assert(io_write(io, ends[1], 0, PAGE, 0, 1) == 0);
	cr_assert(reap_one(io).tag == 1);
	cr_assert(io_write(io, ends[1], 0, PAGE, 0, 2) == 0);
	clock_gettime(CLOCK_MONOTONIC, &before);
	cr_assert(io_reap(io, &result, 1, 50 * NS_PER_MS) == 0);
	clock_gettime(CLOCK_MONOTONIC, &after);
	const int64_t waited_ns = (after.tv_sec - before.tv_sec) * INT64_C(1000000000) +
				  after.tv_nsec - before.tv_nsec;
	cr_assert(waited_ns >= 49 * NS_PER_MS, "%lld", (long long)waited_ns);
	close(ends[0]); /* ends the write with EPIPE */
	signal(SIGPIPE, SIG_IGN);
	cr_assert(reap_one(io).error == -EPIPE);
	io_close(&io);
}

static void ignore_signal(int number)
{
	(void)number;
}

Test(io, uring_wait_ends_when_a_signal_comes)
{
	struct io *io = open_or_skip(IO_CHOOSE_URING);
	const struct sigaction action = { .sa_handler = ignore_signal };
	struct io_result result;
	int ends[2];

	cr_assert(pipe(ends) == 0);
	cr_assert(fcntl(ends[1], F_SETPIPE_SZ, PAGE) == PAGE);
	cr_assert(io_write(io, ends[1], 0, PAGE, 0, 1) == 0);
	cr_assert(reap_one(io).tag == 1);
	cr_assert(io_write(io, ends[1], 0, PAGE, 0, 2) == 0);
	sigaction(SIGALRM, &action, NULL);
	ualarm(50000, 0);
	cr_assert(io_reap(io, &result, 1, -1) == 0);
	signal(SIGPIPE, SIG_IGN);
	close(ends[0]);
	cr_assert(reap_one(io).tag == 2);
	io_close(&io);
}

/* A tmpfs of one page in a mount namespace of its own: gone with the test's process. */
static int file_on_full_disk(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/mnt", "tmpfs", 0, "size=64k") < 0)
		cr_skip_test("needs the right to mount: %s", strerror(errno));
	return temporary_file("/mnt", 0);
}

static void check_full_disk(enum io_choice choice)
{
	const int fd = file_on_full_disk();
	struct io *io = open_or_skip(choice);

	fill(io, 0, 0x11, 128 * 1024);
	cr_assert(io_write(io, fd, 0, 128 * 1024, 0, 1) == 0);
	struct io_result result = reap_one(io);
	cr_assert(result.error == -ENOSPC, "%s", strerror(-result.error));
	/* Room again: the same bytes at the same place. */
	cr_assert(mount("none", "/mnt", "tmpfs", MS_REMOUNT, "size=1m") == 0);
	cr_assert(io_write(io, fd, 0, 128 * 1024, 0, 2) == 0);
	result = reap_one(io);
	cr_assert(result.error == 0, "%s", strerror(-result.error));
	expect_bytes(fd, 0, 0x11, 128 * 1024);
	io_close(&io);
}

Test(io, uring_full_disk_is_no_room_and_can_be_repeated)
{
	check_full_disk(IO_CHOOSE_URING);
}

Test(io, pwrite_full_disk_is_no_room_and_can_be_repeated)
{
	check_full_disk(IO_CHOOSE_PWRITE);
}

static void check_limit(enum io_choice choice)
{
	const struct rlimit limit = { .rlim_cur = 8 * PAGE, .rlim_max = 8 * PAGE };
	const int fd = temporary_file("/tmp", 0);
	struct io *io = open_or_skip(choice);

	signal(SIGXFSZ, SIG_IGN);
	cr_assert(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	cr_assert(io_write(io, fd, 0, 16 * PAGE, 0, 1) == 0);
	const struct io_result result = reap_one(io);
	cr_assert(result.error == -EFBIG, "%s", strerror(-result.error));
	io_close(&io);
}

Test(io, uring_file_size_limit_is_its_own_answer)
{
	check_limit(IO_CHOOSE_URING);
}

Test(io, pwrite_file_size_limit_is_its_own_answer)
{
	check_limit(IO_CHOOSE_PWRITE);
}

static void check_bad_descriptor(enum io_choice choice)
{
	struct io *io = open_or_skip(choice);
	const int fd = temporary_file("/tmp", 0);

	close(fd);
	cr_assert(io_write(io, fd, 0, PAGE, 0, 1) == 0);
	cr_assert(reap_one(io).error == -EBADF);
	cr_assert(io_sync(io, fd, 2) == 0);
	cr_assert(reap_one(io).error == -EBADF);
	io_close(&io);
}

Test(io, uring_other_errors_come_back)
{
	check_bad_descriptor(IO_CHOOSE_URING);
}

Test(io, pwrite_other_errors_come_back)
{
	check_bad_descriptor(IO_CHOOSE_PWRITE);
}

/* Refuse system call @number with @error from now on, as a container's profile does. */
static void refuse_system_call(unsigned number, unsigned error)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog filter = { .len = COUNT_OF(program), .filter = program };

	cr_assert(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	cr_assert(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "%s", strerror(errno));
}

static void check_fallback(unsigned number, unsigned error, const char *word)
{
	struct io *io = NULL;
	const char *why = NULL;

	refuse_system_call(number, error);
	cr_assert(io_open(IO_CHOOSE_AUTO, &io, &why) == 0);
	cr_assert(io->backend == IO_PWRITE);
	cr_assert(why && strstr(why, word), "%s", why ? why : "no reason");
	io_close(&io);
}

Test(io, auto_falls_back_where_seccomp_refuses_the_setup)
{
	check_fallback(SYS_io_uring_setup, EPERM, "seccomp");
}

Test(io, auto_falls_back_where_seccomp_refuses_the_use)
{
	check_fallback(SYS_io_uring_enter, EPERM, "EPERM");
}

Test(io, auto_falls_back_where_the_kernel_has_none)
{
	check_fallback(SYS_io_uring_setup, ENOSYS, "ENOSYS");
}

Test(io, uring_is_refused_with_its_own_error)
{
	struct io *io = NULL;
	const char *why = NULL;

	refuse_system_call(SYS_io_uring_setup, EPERM);
	cr_assert(io_open(IO_CHOOSE_URING, &io, &why) == -EPERM);
	cr_assert(io == NULL);
}

Test(io, uring_works_where_registering_is_refused)
{
	refuse_system_call(SYS_io_uring_register, EPERM);
	check_many(IO_CHOOSE_URING, 0);
}

Test(io, uring_leaves_nothing_open)
{
	const int before = dup(0);

	close(before);
	for (unsigned i = 0; i < 50; i++) {
		struct io *io = open_or_skip(IO_CHOOSE_URING);

		io_close(&io);
	}
	const int after = dup(0);
	cr_assert(before == after, "%d, then %d", before, after);
}

/* --- The judgement of answers: what neither back end can be made to show at will. --- */

Test(io_progress, a_short_write_goes_on_at_an_aligned_place)
{
	struct io_progress progress = { .size = 4 * PAGE };
	int error = 1;

	cr_assert(io_progress_step(&progress, 2 * PAGE + 100, &error) == IO_STEP_AGAIN);
	cr_assert(progress.done == 2 * PAGE);
	cr_assert(io_progress_step(&progress, 2 * PAGE, &error) == IO_STEP_DONE);
	cr_assert(error == 0);
}

Test(io_progress, again_is_repeated_but_not_for_ever)
{
	struct io_progress progress = { .size = PAGE };
	int error = 0;
	unsigned tries = 0;

	while (io_progress_step(&progress, tries % 2 ? -EAGAIN : -EINTR, &error) == IO_STEP_AGAIN)
		tries++;
	cr_assert(tries == IO_TRIES_MAX - 1);
	cr_assert(error == -EIO);
}

Test(io_progress, nothing_written_without_an_error_is_an_error)
{
	struct io_progress progress = { .size = PAGE };
	int error = 0;

	cr_assert(io_progress_step(&progress, 0, &error) == IO_STEP_DONE);
	cr_assert(error == -EIO);
}

Test(io_progress, a_quota_counts_as_no_room)
{
	struct io_progress progress = { .size = PAGE };
	unsigned tries = 0;
	int error = 0;

	cr_assert(io_progress_step(&progress, -EDQUOT, &error) == IO_STEP_DONE && error == -ENOSPC);
	cr_assert(io_sync_step(&tries, -EDQUOT, &error) == IO_STEP_DONE && error == -ENOSPC);
}

Test(io_progress, an_interrupted_sync_is_repeated)
{
	unsigned tries = 0;
	int error = 1;

	cr_assert(io_sync_step(&tries, -EINTR, &error) == IO_STEP_AGAIN);
	cr_assert(io_sync_step(&tries, 0, &error) == IO_STEP_DONE && error == 0);
}
