/*
 * test_meter.c - how far a long work has come, as lines on standard error.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "../../writer/meter.h"
#include "base.h"

enum { STEP_MS = 50, SECOND_STEPS = 1000 / STEP_MS };

static struct sys sys;
static struct meter meter;
static int64_t now_ns;
static int output; /* the other end of what is standard error here */
static char text[16384];

static int64_t tick(clockid_t clock)
{
	(void)clock;
	return now_ns;
}

static void set_up(void)
{
	sys = sys_real;
	sys.now = tick;
	now_ns = 77 * (int64_t)NS_PER_S;
}

TestSuite(meter, .init = set_up, .timeout = 20);

static void say_to_pipe(void)
{
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	output = ends[0];
	cr_assert_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	close(ends[1]);
}

static void say_to_terminal(void)
{
	struct termios raw = { 0 };
	int terminal;

	output = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	cr_assert(output >= 0 && grantpt(output) == 0 && unlockpt(output) == 0);
	terminal = open(ptsname(output), O_RDWR | O_NOCTTY | O_CLOEXEC);
	cr_assert(terminal >= 0 && tcsetattr(terminal, TCSANOW, &raw) == 0);
	cr_assert_eq(dup2(terminal, STDERR_FILENO), STDERR_FILENO);
	close(terminal);
}

/* All of it: a terminal hands on by and by, so what ends it is said behind it. */
static const char *said(void)
{
	const char end = '\1';
	size_t size = 0;

	cr_assert_eq(write(STDERR_FILENO, &end, 1), 1);
	do {
		const ssize_t n = read(output, text + size, sizeof(text) - 1 - size);

		cr_assert(n > 0);
		size += (size_t)n;
	} while (text[size - 1] != end);
	text[size - 1] = '\0';
	return text;
}

static unsigned count(const char *all, char one)
{
	unsigned n = 0;

	for (; *all; all++)
		n += *all == one;
	return n;
}

/* @seconds of work: 4 MB a second, of 100 MB in 10 files. */
static void work(bool wanted, unsigned seconds)
{
	meter_begin(&meter, &sys, wanted);
	meter.files_all = 10;
	meter.bytes_all = 100 * 1000 * 1000;
	for (unsigned i = 0; i < seconds * SECOND_STEPS; i++) {
		now_ns += STEP_MS * (int64_t)NS_PER_MS;
		meter_add(&meter, 200 * 1000);
	}
}

Test(meter, shows_nothing_that_nobody_wants)
{
	say_to_pipe();
	work(false, 25);
	meter_end(&meter);
	cr_expect_str_eq(said(), "");
}

Test(meter, shows_a_line_every_ten_seconds)
{
	say_to_pipe();
	work(true, 22);
	cr_expect_str_eq(said(), "shmlog-writer: 0/10 files, 40/100 MB, 4 MB/s, 15 s left\n"
				 "shmlog-writer: 0/10 files, 80/100 MB, 4 MB/s, 5 s left\n");
	meter.files = 10;
	meter_add(&meter, 1000 * 1000 * 1000);
	meter_end(&meter);
	cr_expect_str_eq(said(), "shmlog-writer: 10/10 files, 100/100 MB, 5 MB/s, 0 s left\n");
}

Test(meter, draws_over_one_line_of_a_terminal_five_times_a_second)
{
	say_to_terminal();
	work(false, 4);
	cr_expect_eq(count(said(), '\r'), 20);
	cr_expect_eq(count(text, '\n'), 0);
	cr_expect_not_null(strstr(text, "\rshmlog-writer: 0/10 files, 16/100 MB"));
	meter_say(&meter, "something");
	cr_expect_str_eq(said(), "\r\033[Kshmlog-writer: something\n");
	meter_end(&meter);
	cr_expect_eq(count(said(), '\n'), 1);
}

Test(meter, of_no_work_shows_nothing)
{
	say_to_pipe();
	meter_begin(&meter, &sys, true);
	meter_end(&meter);
	cr_expect_str_eq(said(), "");
}
