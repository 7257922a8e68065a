/*
 * push.c - shmlog-push: publish each line of standard input as one record.
 *
 * A user of the public interface like any other. It reads into one buffer that holds the longest
 * record and pushes from there; a longer line is cut or dropped, never gathered.
 */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "shmlog.h"

enum { BUFFER_SIZE = 1024 * 1024 };

struct push {
	const char *ring;
	struct shmlog_options options;
	int level;
	bool wait;
	bool truncate;
	struct shmlog *log;
	size_t record_max;
	uint64_t records;
	uint64_t dropped_size;
	uint64_t dropped_other; /* no room, no lane */
};

enum { KEY_NAME = 256, KEY_CREATE, KEY_LEVEL, KEY_WAIT, KEY_TRUNCATE };

static const struct argp_option push_options[] = {
	{ "ring", 'r', "RING", 0, "publish into this ring (required)", 0 },
	{ "name", KEY_NAME, "NAME", 0, "of this source in the log (default: shmlog-push)", 0 },
	{ "create", KEY_CREATE, NULL, 0, "make the ring if there is none", 0 },
	{ "level", KEY_LEVEL, "LEVEL", 0, "0 .. 7 or emergency .. debug (default: info)", 0 },
	{ "wait", KEY_WAIT, NULL, 0, "wait for room instead of dropping records", 0 },
	{ "truncate", KEY_TRUNCATE, NULL, 0, "cut lines that are too long instead of dropping them",
	  0 },
	{ 0 },
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct push *push = state->input;

	switch (key) {
	case 'r':
		push->ring = argument;
		return 0;
	case KEY_NAME:
		push->options.name = argument;
		return 0;
	case KEY_CREATE:
		push->options.create = 1;
		return 0;
	case KEY_LEVEL:
		push->level = cli_level("--level", argument);
		return 0;
	case KEY_WAIT:
		push->wait = true;
		return 0;
	case KEY_TRUNCATE:
		push->truncate = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp push_argp = {
	.options = push_options,
	.parser = parse_option,
	.doc = "Publish each line of standard input as one record of a shmlog ring.\v"
	       "Exits with 1 at the end of the input if records were dropped.",
};

/* Name the first line that is too long; the others are only counted. */
static void complain_once(struct push *push)
{
	if (push->dropped_size++ == 0)
		cli_complain("line %llu: longer than the ring's largest record, %zu bytes: dropped "
			     "(--truncate cuts such lines)",
			     (unsigned long long)push->records, push->record_max);
}

/* 0, or an error that ends the program. */
static int push_line(struct push *push, const char *line, size_t size)
{
	int error;

	if (push->truncate && size > push->record_max)
		size = push->record_max;
	push->records++;
	if (push->wait)
		error = shmlog_push_wait(push->log, push->level, line, size, -1);
	else
		error = shmlog_try_push_at(push->log, push->level, line, size);
	if (likely(error == 0))
		return 0;
	if (error == -EMSGSIZE)
		complain_once(push);
	else if (error == -EAGAIN)
		push->dropped_other++;
	else
		return error;
	return 0;
}

/* What of the input has been read and not pushed yet. */
struct input {
	char *buffer;
	size_t used;
	bool skipping; /* inside the rest of a line that was cut */
};

/* Push all whole lines of @input and keep what follows them. */
static int push_lines(struct push *push, struct input *input)
{
	char *line = input->buffer;
	char *const end = input->buffer + input->used;
	char *newline;

	while ((newline = memchr(line, '\n', (size_t)(end - line)))) {
		const int error =
			input->skipping ? 0 : push_line(push, line, (size_t)(newline - line));

		if (error)
			return error;
		input->skipping = false;
		line = newline + 1;
	}
	input->used = (size_t)(end - line);
	memmove(input->buffer, line, input->used);
	return 0;
}

/* The buffer is full of one line, so it is longer than any record: push it as such, skip the rest.
 */
static int push_overlong(struct push *push, struct input *input)
{
	const int error = input->skipping ? 0 : push_line(push, input->buffer, input->used);

	input->skipping = true;
	input->used = 0;
	return error;
}

/* Push the whole of standard input. 0, an errno of the library, or -EIO with a complaint. */
static int push_input(struct push *push, struct input *input)
{
	for (;;) {
		const ssize_t got =
			read(STDIN_FILENO, input->buffer + input->used, BUFFER_SIZE - input->used);
		int error;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			cli_complain("standard input: %s", strerror(errno));
			return -EIO;
		}
		if (got == 0)
			break;
		input->used += (size_t)got;
		error = push_lines(push, input);
		if (!error && input->used == BUFFER_SIZE)
			error = push_overlong(push, input);
		if (error)
			return error;
	}
	if (input->used > 0 && !input->skipping)
		return push_line(push, input->buffer, input->used);
	return 0;
}

/* The line about drops, and the exit code for them. */
static int report_drops(const struct push *push)
{
	const uint64_t dropped = push->dropped_size + push->dropped_other;
	struct shmlog_stats stats = { .size = sizeof(stats) };
	uint64_t no_lane;

	if (dropped == 0)
		return EX_OK;
	(void)shmlog_get_stats(push->log, &stats);
	no_lane = min_u64(stats.dropped_no_lane, push->dropped_other);
	return cli_fail(EXIT_NEGATIVE,
			"%llu of %llu records were dropped (full %llu, size %llu, no_lane %llu)",
			(unsigned long long)dropped, (unsigned long long)push->records,
			(unsigned long long)(push->dropped_other - no_lane),
			(unsigned long long)push->dropped_size, (unsigned long long)no_lane);
}

static int run(struct push *push)
{
	static char buffer[BUFFER_SIZE];
	struct input input = { .buffer = buffer };
	int error = shmlog_attach(push->ring, &push->options, &push->log);
	int exit_code;

	if (error)
		return cli_fail_error(error, push->ring, shmlog_reason());
	push->record_max = shmlog_record_max(push->log);
	assert(push->record_max < BUFFER_SIZE);
	error = push_input(push, &input);
	if (error == -EIO)
		exit_code = EX_IOERR;
	else if (error)
		exit_code = cli_fail(cli_exit_code(error),
				     "ring \"%s\": record %llu could not be pushed: %s", push->ring,
				     (unsigned long long)push->records, shmlog_strerror(error));
	else
		exit_code = report_drops(push);
	shmlog_detach(&push->log);
	return exit_code;
}

int main(int argc, char **argv)
{
	struct push push = { .options = SHMLOG_OPTIONS_INIT, .level = SHMLOG_INFO };

	cli_begin();
	(void)argp_parse(&push_argp, argc, argv, 0, NULL, &push);
	if (!push.ring)
		cli_usage_error(
			"no ring named (give -r RING; shmlog-ctl list shows what there is)");
	return run(&push);
}
