/*
 * test_tidy.c - when the log is looked after, and what is done then.
 *
 * Real are the directory, its files and the second thread; the child that compresses is one that a
 * test tells what to do.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../writer/tidy.h"
#include "drain_fixture.h"
#include "log_fixture.h"

enum { CHILD = 4711, FILE_SIZE = 64 * 1024 };

/* ---- a child by hand ---- */

static struct {
	unsigned started;
	bool runs;
	bool lingers; /* after a kill                                                        */
	int status;   /* as of waitpid(), when it does not run */
	int refusal;
	unsigned kills;
	unsigned files_at_kill;
	uint64_t from, before;
} child;

static struct fixture dir;
static struct ring_fixture ring;
static struct config config;
static struct sys sys;
static struct roll roll;
static struct pages pages;
static struct tidy tidy;
static struct wfile current;
static int dir_fd;
static int64_t time_passed_ns;

static bool exists(uint64_t volume_no, uint64_t file_no)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/%010lu/%010lu.shmlog", dir.dir,
		       (unsigned long)volume_no, (unsigned long)file_no);
	return access(path, F_OK) == 0;
}

static int spawn_by_hand(const char *program, char *const arguments[], const int *descriptors,
			 size_t count)
{
	(void)program;
	(void)descriptors;
	(void)count;
	if (child.refusal)
		return child.refusal;
	child.started++;
	child.runs = true;
	child.from = strtoul(arguments[2], NULL, 10);
	child.before = strtoul(arguments[3], NULL, 10);
	return CHILD;
}

static int wait_by_hand(int pid, int *ret_status)
{
	cr_assert(pid == CHILD);
	*ret_status = child.status;
	return !child.runs;
}

static int kill_by_hand(int pid, int signal)
{
	cr_assert(pid == CHILD && signal == SIGKILL);
	child.kills++;
	child.files_at_kill = exists(1, 1);
	child.runs = child.lingers;
	child.status = SIGKILL;
	return 0;
}

static void child_ends(int code)
{
	child.runs = false;
	child.status = code << 8;
}

/* ---- a log of small files, two in a volume ---- */

static int64_t now_later(clockid_t clock)
{
	return sys_real.now(clock) + time_passed_ns;
}

static void put_file(uint64_t file_no)
{
	char volume[128], path[160];
	static const char zeros[FILE_SIZE];
	FILE *stream;

	(void)snprintf(volume, sizeof(volume), "%s/%010lu", dir.dir,
		       (unsigned long)(file_no + 1) / 2);
	(void)mkdir(volume, 0700);
	(void)snprintf(path, sizeof(path), "%s/%010lu.shmlog", volume, (unsigned long)file_no);
	stream = fopen(path, "we");
	cr_assert(stream && fwrite(zeros, 1, sizeof(zeros), stream) == sizeof(zeros));
	cr_assert(fclose(stream) == 0);
}

static void set_up(void)
{
	fixture_begin(&dir);
	ring_begin(&ring, 0, 0, RING_CLOCK_MONOTONIC);
	memset(&child, 0, sizeof(child));
	time_passed_ns = 0;
	config = (struct config){ .max_file = FILE_SIZE_MIN, .compress = true };
	sys = sys_real;
	sys.now = now_later;
	sys.spawn = spawn_by_hand;
	sys.wait_child = wait_by_hand;
	sys.kill = kill_by_hand;
	dir_fd = open(dir.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(roll_open(&roll, &sys, dir_fd, dir.dir, false) == 0);
	pages = (struct pages){
		.sys = &sys, .config = &config, .roll = &roll, .ring = &ring.drain, .file = &current
	};
	cr_assert(janitor_start(&roll, NULL, NULL, &pages.janitor) == 0);
	for (uint64_t file_no = 1; file_no <= 6; file_no++)
		put_file(file_no);
	tidy_begin(&tidy, &pages, dir_fd, 4);
}

static void tear_down(void)
{
	tidy_end(&tidy);
	janitor_stop(&pages.janitor);
	roll_close(&roll);
	close(dir_fd);
	ring_end(&ring);
	fixture_end(&dir);
}

TestSuite(tidy, .init = set_up, .fini = tear_down);

static void settle(uint64_t file_no)
{
	pages.settled = (struct roll_place){ .volume_no = (file_no + 1) / 2, .file_no = file_no };
}

/* One look, if it is due. */
static bool turn(void)
{
	tidy_turn(&tidy);
	if (!tidy.is_under_way)
		return false;
	while (tidy.is_under_way)
		pages_wait(&pages, INT64_C(10) * NS_PER_S);
	return true;
}

/* A look now: whatever the last one said about the next. */
static void look(void)
{
	time_passed_ns += INT64_C(3600) * NS_PER_S;
	cr_assert(turn());
}

static uint32_t child_shown(void)
{
	return load_relaxed_u32(&view_writer(&ring.view)->archiver_pid);
}

/* ---- what a restart needs ---- */

Test(tidy, before_a_file_is_settled_what_recovery_found_stays)
{
	config.max_files = 1;
	look();
	cr_assert(!exists(2, 3) && exists(2, 4) && exists(3, 6));
	cr_assert(child.started == 0, "nothing is compressed either");
}

Test(tidy, nothing_goes_from_the_settled_file_on)
{
	config.max_files = 1;
	settle(3);
	look();
	cr_assert(!exists(1, 2) && exists(2, 3) && exists(3, 6));
}

/* ---- the child ---- */

Test(tidy, full_volumes_are_compressed_once)
{
	settle(5);
	look();
	cr_assert(child.started == 1 && child.from == 1 && child.before == 3);
	cr_assert(child_shown() == CHILD);
	look();
	cr_assert(child.started == 1, "one at a time");
	child_ends(0);
	look();
	look();
	cr_assert(child.started == 1, "it has been through them");
	cr_assert(child_shown() == 0);
	settle(7);
	look();
	cr_assert(child.started == 2 && child.from == 3 && child.before == 4);
}

Test(tidy, before_the_first_volume_is_full_there_is_no_child)
{
	settle(1);
	look();
	cr_assert(child.started == 0);
	settle(3);
	look();
	cr_assert(child.started == 1);
}

Test(tidy, a_child_that_fails_is_followed_by_another_much_later)
{
	settle(5);
	look();
	child_ends(1);
	time_passed_ns += INT64_C(2) * NS_PER_S;
	cr_assert(turn());
	cr_assert(child.started == 1);
	time_passed_ns += INT64_C(120) * NS_PER_S;
	cr_assert(turn());
	cr_assert(child.started == 1);
	look();
	cr_assert(child.started == 2 && child.from == 1);
}

Test(tidy, a_child_that_cannot_be_started_is_tried_again_much_later)
{
	settle(5);
	child.refusal = -EAGAIN;
	look();
	child.refusal = 0;
	time_passed_ns += INT64_C(120) * NS_PER_S;
	cr_assert(turn());
	cr_assert(child.started == 0);
	look();
	cr_assert(child.started == 1);
}

Test(tidy, nothing_is_compressed_if_not_wanted)
{
	config.compress = false;
	settle(5);
	look();
	cr_assert(child.started == 0);
}

Test(tidy, a_child_is_stopped_when_compressing_is_no_longer_wanted)
{
	settle(5);
	look();
	config.compress = false;
	tidy_hurry(&tidy);
	look();
	cr_assert(child.kills == 1 && child_shown() == 0);
}

Test(tidy, what_a_child_may_be_at_is_not_deleted_beside_it)
{
	settle(5);
	look();
	config.max_files = 5;
	look();
	cr_assert(child.kills == 1 && exists(1, 1), "first the child goes");
	look();
	cr_assert(!exists(1, 1) && exists(1, 2));
	cr_assert(child.started == 2 && child.from == 2, "and the next leaves that volume out");
}

Test(tidy, a_child_that_is_slow_to_die_is_not_waited_for)
{
	settle(5);
	look();
	config.max_files = 5;
	child.lingers = true;
	look();
	look();
	cr_assert(child.runs && exists(1, 1));
	child.runs = false;
	look();
	cr_assert(!exists(1, 1) && child.started == 2, "and its end was no failure");
	child.lingers = false;
}

Test(tidy, what_lies_before_a_childs_files_is_deleted_beside_it)
{
	settle(3);
	look();
	child_ends(0);
	look();
	settle(5);
	look();
	cr_assert(child.started == 2 && child.from == 2);
	config.max_files = 4;
	look();
	cr_assert(!exists(1, 1) && !exists(1, 2) && exists(2, 3));
	cr_assert(child.kills == 0 && child.runs);
	config.max_files = 3;
	look();
	cr_assert(exists(2, 3) && child.kills == 1);
	look();
	cr_assert(!exists(2, 3) && exists(2, 4));
}

Test(tidy, where_nothing_is_to_go_the_child_is_left_alone)
{
	settle(5);
	config.max_files = 6;
	look();
	look();
	cr_assert(child.kills == 0 && child.runs);
}

Test(tidy, the_child_goes_with_the_writer)
{
	settle(5);
	look();
	tidy_end(&tidy);
	cr_assert(child.kills == 1 && child_shown() == 0);
}

/* ---- room ---- */

/* No disk has so much room: all goes that may. */
static void be_short_of_room(void)
{
	config.min_free = UINT64_C(1) << 60;
	config.min_free_percent = ROOM_NO_SHARE;
	pages.is_short = true;
	settle(5);
}

Test(tidy, without_room_nothing_is_deleted_unless_told_to)
{
	be_short_of_room();
	pages.file = NULL;
	look();
	cr_assert(exists(1, 1));
	cr_assert(child.runs, "but compressed");
}

Test(tidy, for_room_what_can_be_compressed_is_before_anything_is_deleted)
{
	be_short_of_room();
	config.on_full = ON_FULL_DELETE_OLDEST;
	look();
	cr_assert(child.runs && exists(1, 1), "there is still room in the current file");
	child_ends(0);
	look();
	cr_assert(!exists(2, 4) && exists(3, 5));
}

Test(tidy, a_file_that_no_page_waits_for_is_not_needed_now)
{
	be_short_of_room();
	config.on_full = ON_FULL_DELETE_OLDEST;
	pages.file = NULL;
	look();
	cr_assert(child.runs && exists(1, 1));
}

Test(tidy, for_a_file_that_is_needed_now_the_oldest_go_at_once)
{
	be_short_of_room();
	config.on_full = ON_FULL_DELETE_OLDEST;
	pages.file = NULL;
	pages.order_count = 1;
	pages.make_at = pages.retry_at = INT64_MAX;
	look();
	cr_assert(!exists(2, 4) && exists(3, 5));
	cr_assert(pages.make_at == 0 && pages.retry_at == 0, "and the file is tried again");
}

Test(tidy, with_room_enough_nothing_is_deleted_for_it)
{
	be_short_of_room();
	config.on_full = ON_FULL_DELETE_OLDEST;
	config.min_free = 0;
	pages.file = NULL;
	pages.order_count = 1;
	look();
	cr_assert(exists(1, 1));
}

/* ---- when ---- */

Test(tidy, a_sealed_file_is_a_reason_to_look)
{
	look();
	time_passed_ns += NS_PER_S;
	cr_assert(!turn());
	pages.seals_done++;
	cr_assert(turn());
	time_passed_ns += NS_PER_S;
	cr_assert(!turn());
}

Test(tidy, a_settled_file_is_a_reason_to_look)
{
	look();
	time_passed_ns += NS_PER_S;
	settle(5);
	cr_assert(turn());
	cr_assert(child.started == 1, "the volumes before it are full");
	child_ends(0);
	look();
	time_passed_ns += NS_PER_S;
	cr_assert(!turn());
}

Test(tidy, a_full_disk_is_a_reason_to_look)
{
	look();
	time_passed_ns += NS_PER_S;
	pages.is_short = true;
	cr_assert(turn());
	time_passed_ns += NS_PER_S;
	cr_assert(turn(), "and to look again soon");
}

Test(tidy, files_grow_old_without_anybody_doing_anything)
{
	config.max_age_ns = INT64_C(300) * NS_PER_S;
	config.compress = false;
	settle(5);
	cr_assert(turn());
	cr_assert(exists(1, 1));
	time_passed_ns += INT64_C(301) * NS_PER_S;
	cr_assert(turn());
	cr_assert(!exists(1, 1) && !exists(2, 4) && exists(3, 5));
}

Test(tidy, most_of_the_second_threads_time_is_left_to_files)
{
	look();
	tidy.rest_until = now_later(CLOCK_MONOTONIC) + NS_PER_S;
	pages.seals_done++;
	cr_assert(!turn());
	time_passed_ns += NS_PER_S;
	cr_assert(turn());
	tidy.rest_until = now_later(CLOCK_MONOTONIC) + NS_PER_S;
	pages.seals_done++;
	pages.is_fileless = true;
	cr_assert(turn(), "but where none can be made there is nothing else to do");
}

static int slow_fsync(int fd)
{
	time_passed_ns += NS_PER_S;
	return sys_real.fsync(fd);
}

Test(tidy, after_a_deletion_nobody_rests)
{
	sys.fsync = slow_fsync;
	config.compress = false;
	config.max_files = 4;
	settle(6);
	look();
	cr_assert(!exists(1, 2) && exists(2, 3));
	config.max_files = 3;
	pages.seals_done++;
	cr_assert(turn());
	cr_assert(!exists(2, 3));
}

Test(tidy, more_than_a_batch_goes_without_a_pause)
{
	for (uint64_t file_no = 7; file_no <= 40; file_no++)
		put_file(file_no);
	settle(40);
	config.compress = false;
	config.max_files = 2;
	look();
	cr_assert(exists(5, 9));
	time_passed_ns += NS_PER_S;
	cr_assert(turn());
	cr_assert(!exists(8, 16));
}

Test(tidy, what_was_deleted_is_counted)
{
	const struct writer_status *status = view_writer(&ring.view);

	config.max_files = 4;
	settle(6);
	look();
	cr_assert(load_relaxed(&status->deleted_files) == 2);
	cr_assert(load_relaxed(&status->deleted_bytes) == 2 * FILE_SIZE);
}
