/*
 * ctl.c - shmlog-ctl: make, list and remove rings; ask their writer to flush or roll.
 *
 * One table of subcommands. Each has its options, the number of its arguments, and one function.
 */
#include <argp.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "doorbell.h"
#include "segment.h"
#include "tally.h"
#include "units.h"

enum { ARGUMENTS_MAX = 2 };

struct request {
	const struct command *command;
	const char *arguments[ARGUMENTS_MAX]; /* RING, LEVEL */
	unsigned argument_count;
	struct segment_options options;
	bool force;
};

struct command {
	const char *name;
	const char *arguments; /* as --help shows them */
	const char *summary;
	unsigned argument_count;
	const struct argp_option *options;
	int (*run)(const struct request *request);
};

/* ---- options ---- */

enum { KEY_LANES = 256, KEY_LANE_SIZE, KEY_MODE_BITS, KEY_GROUP, KEY_CLOCK, KEY_FORCE };

static const struct argp_option create_options[] = {
	{ "lanes", KEY_LANES, "N", 0, "1 .. 256 (default: 32); 1: all share it, in total order",
	  0 },
	{ "lane-size", KEY_LANE_SIZE, "SIZE", 0, "a power of two of at least 64K (default: 1M)",
	  0 },
	{ "mode-bits", KEY_MODE_BITS, "OCTAL", 0, "permissions (default: 0600)", 0 },
	{ "group", KEY_GROUP, "GROUP", 0, "name or number (default: the caller's)", 0 },
	{ "clock", KEY_CLOCK, "CLOCK", 0, "auto, tsc, monotonic, none, writer (default: auto)", 0 },
	{ 0 },
};

static const struct argp_option remove_options[] = {
	{ "force", KEY_FORCE, NULL, 0,
	  "also while it is in use, or holds records: without a writer they are lost", 0 },
	{ 0 },
};

static const struct argp_option no_options[] = { { 0 } };

static gid_t parse_group(const char *text)
{
	const struct group *group = getgrnam(text);
	uint64_t number;

	if (group)
		return group->gr_gid;
	if (units_parse_number(text, UINT32_MAX - 1, &number) < 0)
		cli_usage_error("--group \"%s\": no such group (write a name or a number)", text);
	return (gid_t)number;
}

static uint32_t parse_clock(const char *text)
{
	for (uint32_t clock = 0; clock <= RING_CLOCK_WRITER; clock++) {
		if (strcmp(text, tally_clock_name(clock)) == 0)
			return clock;
	}
	cli_usage_error(
		"--clock \"%s\": no such clock (write auto, tsc, monotonic, none or writer)", text);
}

static uint64_t parse_lane_size(const char *text)
{
	const uint64_t size = cli_size("--lane-size", text);

	if (size == 0)
		cli_usage_error("--lane-size \"%s\": too small (at least 64K)", text);
	return size;
}

static uint32_t parse_mode_bits(const char *text)
{
	const uint32_t bits = cli_mode_bits("--mode-bits", text);

	if (bits == 0)
		cli_usage_error("--mode-bits \"%s\": nobody could use the ring (write 0600, 0660)",
				text);
	return bits;
}

static error_t take_argument(struct request *request, const char *argument)
{
	if (request->argument_count == request->command->argument_count)
		cli_usage_error("\"%s\": one argument too many (usage: shmlog-ctl %s %s)", argument,
				request->command->name, request->command->arguments);
	request->arguments[request->argument_count++] = argument;
	return 0;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct request *request = state->input;

	switch (key) {
	case KEY_LANES:
		request->options.lanes = (uint32_t)cli_number("--lanes", argument, 1, LANES_MAX);
		return 0;
	case KEY_LANE_SIZE:
		request->options.lane_size = parse_lane_size(argument);
		return 0;
	case KEY_MODE_BITS:
		request->options.mode_bits = parse_mode_bits(argument);
		return 0;
	case KEY_GROUP:
		request->options.group = parse_group(argument);
		return 0;
	case KEY_CLOCK:
		request->options.clock = parse_clock(argument);
		return 0;
	case KEY_FORCE:
		request->force = true;
		return 0;
	case ARGP_KEY_ARG:
		return take_argument(request, argument);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* ---- create, list, remove, level ---- */

static int run_create(const struct request *request)
{
	const int error = segment_create(&sys_real, request->arguments[0], &request->options);

	return error ? cli_fail_error(error, request->arguments[0], reason_get()) : EX_OK;
}

static int run_list(const struct request *request)
{
	char **names;
	size_t count;
	const int error = segment_names(&sys_real, &names, &count);

	(void)request;
	if (error)
		return cli_fail_error(error, segment_directory(), reason_get());
	for (size_t i = 0; i < count; i++)
		puts(names[i]);
	segment_names_free(names, count);
	return EX_OK;
}

static int run_remove(const struct request *request)
{
	static struct tally tally;
	const char *ring = request->arguments[0];
	const bool counted = tally_ring(&sys_real, ring, &tally) == 0;
	uint64_t undrained = 0;
	const int error = segment_remove(&sys_real, ring, request->force, &undrained);

	if (error)
		return cli_fail_error(error, ring, reason_get());
	if (undrained > 0 && counted && tally.writer.alive)
		cli_complain("ring \"%s\": removed; its writer goes on with the %" PRIu64
			     " records in it",
			     ring, undrained);
	else if (undrained > 0)
		cli_complain("ring \"%s\": removed; %" PRIu64
			     " records were not written and are lost",
			     ring, undrained);
	return EX_OK;
}

static int run_level(const struct request *request)
{
	const int level = cli_level("LEVEL", request->arguments[1]);
	struct segment segment;
	int error = segment_open(&sys_real, request->arguments[0], O_RDWR, &segment);

	if (error)
		return cli_fail_error(error, request->arguments[0], reason_get());
	error = segment_set_level(&segment, (unsigned)level);
	segment_close(&segment);
	return error ? cli_fail_error(error, request->arguments[0], reason_get()) : EX_OK;
}

/* ---- flush, rotate ---- */

/* The doorbell, writable, and the writer's answers. */
struct bell {
	struct segment segment;
	struct segment_view view;
	struct doorbell *doorbell;
};

static int bell_open(const char *ring, struct bell *ret)
{
	void *doorbell;
	int error = segment_open(&sys_real, ring, O_RDWR, &ret->segment);

	if (error)
		return error;
	error = segment_view(&ret->segment, &ret->view);
	if (error)
		goto close_segment;
	error = segment_map(&ret->segment, ret->segment.fd, ret->segment.geometry.doorbell_offset,
			    RING_PAGE, true, &doorbell);
	if (error)
		goto close_view;
	ret->doorbell = doorbell;
	return 0;

close_view:
	segment_view_close(&ret->view);
close_segment:
	segment_close(&ret->segment);
	return error;
}

static void bell_close(struct bell *bell)
{
	(void)sys_real.unmap(bell->doorbell, RING_PAGE);
	segment_view_close(&bell->view);
	segment_close(&bell->segment);
}

/* Is what was asked for no longer asked for? Whoever may write to the ring may have set the counter
 * back, and the writer answers only what it finds. */
static bool is_forgotten(const struct doorbell_request *asked, const struct shared_u32 *requests)
{
	const uint32_t now = load_seq_cst_u32(requests); /* MO request:B <- request:A */

	return (int32_t)(now - asked->number) < 0;
}

/* Wait as long as there is a writer, but say so where it cannot go on. */
static int bell_wait(struct bell *bell, struct doorbell_request *asked, struct shared_u32 *requests)
{
	const struct writer_status *writer = view_writer(&bell->view);
	bool complained = false;
	int error;

	while ((error = doorbell_wait(&sys_real, bell->segment.fd, asked, NS_PER_S)) ==
	       -ETIMEDOUT) {
		if (is_forgotten(asked, requests))
			*asked = doorbell_ask(&sys_real, bell->doorbell, writer, requests,
					      asked->done);
		if (!complained && load_relaxed_u32(&writer->state) == WRITER_STALLED) {
			cli_complain("ring \"%s\": its writer is stalled, the disk takes nothing; "
				     "waiting",
				     bell->segment.name);
			complained = true;
		}
	}
	return error;
}

static int bell_fail(const struct bell *bell, int error)
{
	if (error == -ESRCH)
		return cli_fail(EX_UNAVAILABLE,
				"ring \"%s\": no writer (start shmlog-writer -r %s -d DIR)",
				bell->segment.name, bell->segment.name);
	return cli_fail(cli_exit_code(error), "ring \"%s\": %s", bell->segment.name,
			strerror(-error));
}

/* Raise a request and see it answered. */
static int bell_ask(struct bell *bell, struct shared_u32 *requests, const struct shared_u32 *done)
{
	const int held = sys_real.lock_query(bell->segment.fd, LOCK_BYTE_WRITER, 1);
	struct doorbell_request asked;
	int error = held < 0 ? held : held == 0 ? -ESRCH : 0;

	if (!error) {
		asked = doorbell_ask(&sys_real, bell->doorbell, view_writer(&bell->view), requests,
				     done);
		error = bell_wait(bell, &asked, requests);
	}
	return error ? bell_fail(bell, error) : EX_OK;
}

/* Records that the disk has lost so far. */
static uint64_t bell_failed(const struct bell *bell)
{
	uint64_t failed = 0;

	for (uint32_t lane = 0; lane < bell->segment.geometry.lanes; lane++)
		failed += load_relaxed(&view_lane_status(&bell->view, lane)->failed);
	return failed;
}

/* An answer says that everything is durable, but for what the disk has lost meanwhile. */
static int say_failed(const char *ring, uint64_t records)
{
	if (records == 0)
		return EX_OK;
	cli_complain("ring \"%s\": the disk may have lost %" PRIu64
		     " records meanwhile, see the writer's messages",
		     ring, records);
	return EX_IOERR;
}

static int ask_writer(const struct request *request, bool rotate)
{
	struct bell bell;
	const int error = bell_open(request->arguments[0], &bell);
	const struct writer_status *writer;
	uint64_t failed;
	int exit_code = EX_OK;

	if (error)
		return cli_fail_error(error, request->arguments[0], reason_get());
	writer = view_writer(&bell.view);
	failed = bell_failed(&bell);
	if (rotate)
		exit_code = bell_ask(&bell, &bell.doorbell->rotate_requests, &writer->rotate_done);
	if (exit_code == EX_OK)
		exit_code = bell_ask(&bell, &bell.doorbell->sync_requests, &writer->sync_done);
	if (exit_code == EX_OK)
		exit_code = say_failed(request->arguments[0], bell_failed(&bell) - failed);
	bell_close(&bell);
	return exit_code;
}

static int run_flush(const struct request *request)
{
	return ask_writer(request, false);
}

static int run_rotate(const struct request *request)
{
	return ask_writer(request, true);
}

/* ---- the table ---- */

static const struct command commands[] = {
	{ "create", "RING", "make a ring", 1, create_options, run_create },
	{ "list", "", "names of all rings, one a line", 0, no_options, run_list },
	{ "remove", "RING", "remove a ring that is drained and unused", 1, remove_options,
	  run_remove },
	{ "flush", "RING", "have what is published now made durable, and wait for it", 1,
	  no_options, run_flush },
	{ "rotate", "RING", "the same, and begin a new file", 1, no_options, run_rotate },
	{ "level", "RING LEVEL", "record only this level and more urgent ones", 2, no_options,
	  run_level },
};

static void print_usage(FILE *stream)
{
	fprintf(stream, "Usage: shmlog-ctl COMMAND ...\n\n");
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		char synopsis[32];

		(void)snprintf(synopsis, sizeof(synopsis), "%s %s", commands[i].name,
			       commands[i].arguments);
		fprintf(stream, "  %-18s %s\n", synopsis, commands[i].summary);
	}
	fprintf(stream, "\nshmlog-ctl COMMAND --help shows the options of a command.\n");
}

static int run_command(const struct command *command, int argc, char **argv)
{
	char program[64];
	struct request request = { .command = command, .options = { .group = (gid_t)-1 } };
	const struct argp argp = { .options = command->options,
				   .parser = parse_option,
				   .args_doc = command->arguments,
				   .doc = command->summary };

	(void)snprintf(program, sizeof(program), "shmlog-ctl %s", command->name);
	argv[0] = program; /* what --help calls us */
	(void)argp_parse(&argp, argc, argv, 0, NULL, &request);
	if (request.argument_count < command->argument_count)
		cli_usage_error("%s: an argument is missing (usage: %s %s)", command->name, program,
				command->arguments);
	return cli_finish(command->run(&request));
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	cli_begin();
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
		puts(argp_program_version);
		return cli_finish(EX_OK);
	}
	if (strcmp(name, "--help") == 0 || strcmp(name, "-?") == 0) {
		print_usage(stdout);
		return cli_finish(EX_OK);
	}
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		if (strcmp(name, commands[i].name) == 0)
			return run_command(&commands[i], argc - 1, argv + 1);
	}
	cli_usage_error("\"%s\": no such command (create, list, remove, flush, rotate, level)",
			name);
}
