/*
 * test_janitor.c - the second thread: jobs in order, results once, nothing waits that must not.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../writer/janitor.h"

enum { MIB = 1024 * 1024, PAGE = 4096 };

struct bench {
	char path[64];
	int dir;
	struct sys sys;
	struct roll roll;
	struct janitor *janitor;
	int wakes[2]; /* a pipe: one byte for each wake */
};

static struct bench bench;
static sem_t gate; /* holds the janitor inside a sync of the log directory */

static void wake(void *argument)
{
	const struct bench *of = argument;

	cr_assert(write(of->wakes[1], "w", 1) == 1);
}

static void set_up(void)
{
	strcpy(bench.path, "/tmp/shmlog-test-janitor-XXXXXX");
	cr_assert(mkdtemp(bench.path) != NULL);
	bench.dir = open(bench.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bench.sys = sys_real;
	cr_assert(pipe2(bench.wakes, O_CLOEXEC) == 0);
	cr_assert(roll_open(&bench.roll, &bench.sys, bench.dir, bench.path, false) == 0);
	cr_assert(janitor_start(&bench.roll, wake, &bench, &bench.janitor) == 0);
}

static void tear_down(void)
{
	char command[96];

	janitor_stop(&bench.janitor);
	roll_close(&bench.roll);
	close(bench.dir);
	snprintf(command, sizeof(command), "rm -rf '%s'", bench.path);
	cr_assert(system(command) == 0);
}

static struct janitor_job make_job(uint64_t file_no)
{
	return (struct janitor_job){ .kind = JANITOR_MAKE,
				     .file = roll_take(&bench.roll),
				     .place = { .volume_no = 1, .file_no = file_no },
				     .size = MIB,
				     .tag = file_no };
}

static struct janitor_job wait_for_result(void)
{
	struct janitor_job result;

	cr_assert(janitor_wait(bench.janitor, &result, INT64_C(10) * NS_PER_S) == 1);
	return result;
}

static struct wfile *made(uint64_t file_no)
{
	const struct janitor_job job = make_job(file_no);

	cr_assert(janitor_submit(bench.janitor, &job) == 0);
	const struct janitor_job result = wait_for_result();
	cr_assert(result.error == 0, "%s", result.reason);
	return result.file;
}

static bool present(const char *name)
{
	struct stat about;

	return fstatat(bench.dir, name, &about, 0) == 0;
}

/* One page is enough for the janitor: it does not read them. */
static void begin_file(struct wfile *file, uint64_t page_no)
{
	const struct page_header page = { .length = PAGE, .page_no = page_no };

	roll_add_page(file, &page, 0, 0);
}

TestSuite(janitor, .timeout = 60);

Test(janitor, makes_a_file_ahead, .init = set_up, .fini = tear_down)
{
	const struct wfile *file = made(1);

	cr_assert(file->fd >= 0 && file->size == MIB && file->place.file_no == 1);
	cr_assert(present("0000000001/0000000001.shmlog.open"));
}

Test(janitor, seals_a_file, .init = set_up, .fini = tear_down)
{
	struct wfile *file = made(1);

	begin_file(file, 1);
	const struct janitor_job job = {
		.kind = JANITOR_SEAL, .file = file, .size = MIB, .stamp = { .page_no = 2 }
	};
	cr_assert(janitor_submit(bench.janitor, &job) == 0);
	const struct janitor_job result = wait_for_result();
	cr_assert(result.error == 0, "%s", result.reason);
	cr_assert(result.kind == JANITOR_SEAL && result.file == file);
	cr_assert(result.size == MIB && file->size == 2 * PAGE, "planned and real, to settle");
	cr_assert(present("0000000001/0000000001.shmlog"));
	roll_give(file);
}

Test(janitor, removes_and_drops, .init = set_up, .fini = tear_down)
{
	const struct janitor_job remove = { .kind = JANITOR_REMOVE, .file = made(1) };
	const struct janitor_job drop = { .kind = JANITOR_DROP, .file = made(2) };

	cr_assert(janitor_submit(bench.janitor, &remove) == 0);
	cr_assert(janitor_submit(bench.janitor, &drop) == 0);
	cr_assert(wait_for_result().error == 0);
	cr_assert(wait_for_result().error == 0);
	cr_assert(!present("0000000001/0000000001.shmlog.open"));
	cr_assert(present("0000000001/0000000002.shmlog.open"));
	cr_assert(remove.file->fd < 0 && drop.file->fd < 0);
}

Test(janitor, results_come_in_the_order_of_the_jobs, .init = set_up, .fini = tear_down)
{
	for (uint64_t i = 1; i <= ROLL_FILES; i++) {
		const struct janitor_job job = make_job(i);

		cr_assert(janitor_submit(bench.janitor, &job) == 0);
	}
	for (uint64_t i = 1; i <= ROLL_FILES; i++)
		cr_assert(wait_for_result().tag == i);
	cr_assert(janitor_pending(bench.janitor) == 0);
}

Test(janitor, a_failed_job_brings_its_reason, .init = set_up, .fini = tear_down)
{
	struct janitor_job job = make_job(1);

	cr_assert(mkdirat(bench.dir, "0000000001", 0700) == 0);
	close(openat(bench.dir, "0000000001/0000000001.shmlog", O_CREAT | O_WRONLY, 0600));
	cr_assert(janitor_submit(bench.janitor, &job) == 0);
	job = wait_for_result();
	cr_assert(job.error == -EEXIST);
	cr_assert(strstr(job.reason, "0000000001.shmlog.open") != NULL, "%s", job.reason);
	cr_assert(job.file->fd < 0 && job.file->taken, "the slot is the drain's again");
}

Test(janitor, each_result_wakes_the_drain, .init = set_up, .fini = tear_down)
{
	struct pollfd wakes = { .fd = bench.wakes[0], .events = POLLIN };
	struct janitor_job job = make_job(1);

	cr_assert(janitor_submit(bench.janitor, &job) == 0);
	cr_assert(poll(&wakes, 1, 10000) == 1);
	cr_assert(janitor_poll(bench.janitor, &job) == 1, "the result is there before the wake");
	cr_assert(janitor_poll(bench.janitor, &job) == 0, "and only once");
}

/* --- A disk that hangs ------------------------------------------------------------------------ */

static int fsync_behind_the_gate(int fd)
{
	sem_wait(&gate);
	return sys_real.fsync(fd);
}

static void set_up_hanging(void)
{
	sem_init(&gate, 0, 0);
	set_up();
	bench.sys.fsync = fsync_behind_the_gate;
}

static void open_gate(void)
{
	for (unsigned i = 0; i < 1000; i++)
		sem_post(&gate);
}

Test(janitor, the_drain_never_waits_for_a_disk_that_hangs, .init = set_up_hanging,
     .fini = tear_down)
{
	struct janitor_job job = make_job(1);

	cr_assert(janitor_submit(bench.janitor, &job) == 0);
	cr_assert(janitor_poll(bench.janitor, &job) == 0);
	cr_assert(janitor_wait(bench.janitor, &job, 20 * NS_PER_MS) == 0);
	cr_assert(janitor_pending(bench.janitor) == 1);
	open_gate();
	cr_assert(wait_for_result().error == 0);
}

Test(janitor, a_full_queue_is_said_until_results_are_collected, .init = set_up_hanging,
     .fini = tear_down)
{
	struct janitor_job drop = { .kind = JANITOR_DROP, .file = roll_take(&bench.roll) };
	const struct janitor_job make = make_job(1);

	cr_assert(janitor_submit(bench.janitor, &make) == 0);
	for (unsigned i = 1; i < JANITOR_JOBS; i++)
		cr_assert(janitor_submit(bench.janitor, &drop) == 0);
	cr_assert(janitor_submit(bench.janitor, &drop) == -EAGAIN);
	open_gate();
	for (unsigned i = 0; i < JANITOR_JOBS; i++)
		wait_for_result();
	cr_assert(janitor_submit(bench.janitor, &drop) == 0);
	wait_for_result();
}

Test(janitor, stopping_finishes_the_seals_that_are_queued, .init = set_up, .fini = tear_down)
{
	struct wfile *files[2] = { made(1), made(2) };

	for (uint64_t i = 0; i < 2; i++) {
		begin_file(files[i], i + 1);
		const struct janitor_job job = { .kind = JANITOR_SEAL,
						 .file = files[i],
						 .stamp = { .page_no = i + 2 } };
		cr_assert(janitor_submit(bench.janitor, &job) == 0);
	}
	janitor_stop(&bench.janitor);
	cr_assert(bench.janitor == NULL);
	cr_assert(present("0000000001/0000000001.shmlog"));
	cr_assert(present("0000000001/0000000002.shmlog"));
}

Test(janitor, waiting_with_nothing_under_way_returns, .init = set_up, .fini = tear_down)
{
	struct janitor_job job;

	cr_assert(janitor_wait(bench.janitor, &job, -1) == 0);
}

Test(janitor, stopping_nothing_is_fine)
{
	struct janitor *none = NULL;

	janitor_stop(&none);
}

static pthread_t signal_taker;

static void note_taker(int number)
{
	(void)number;
	signal_taker = pthread_self();
}

/* The only other thread holds TERM blocked too: were the janitor's mask open, it would take it. */
Test(janitor, signals_are_left_to_the_other_threads, .init = set_up, .fini = tear_down)
{
	const struct sigaction action = { .sa_handler = note_taker };
	sigset_t term;

	sigaction(SIGTERM, &action, NULL);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	cr_assert(pthread_sigmask(SIG_BLOCK, &term, NULL) == 0);
	cr_assert(kill(getpid(), SIGTERM) == 0);
	made(1);
	cr_assert(signal_taker == 0, "the janitor took the signal");
	cr_assert(pthread_sigmask(SIG_UNBLOCK, &term, NULL) == 0);
	cr_assert(pthread_equal(signal_taker, pthread_self()));
}
