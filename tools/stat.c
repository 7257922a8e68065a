/*
 * stat.c - shmlog-stat: show what rings count, as a table for people or as JSON for programs.
 *
 * Opens rings read-only, holds nothing and disturbs nobody; tally.c does the counting.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "tally.h"

enum { RINGS_MAX = 256, WATCH_MAX_S = 86400 };

struct stat_options {
	const char *rings[RINGS_MAX]; /* none: all there are */
	size_t ring_count;
	bool producers;
	bool json;
	int64_t watch_s; /* 0: once */
};

static const struct argp_option stat_options[] = {
	{ "ring", 'r', "RING", 0, "show this ring (may be repeated; default: all)", 0 },
	{ "producers", 'p', NULL, 0, "show who publishes", 0 },
	{ "watch", 'w', "SECONDS", OPTION_ARG_OPTIONAL, "again every SECONDS (default: 1)", 0 },
	{ "json", 'j', NULL, 0, "one JSON object (with -w: one a line)", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct stat_options *options = state->input;

	switch (key) {
	case 'r':
		if (options->ring_count == RINGS_MAX)
			cli_usage_error("more than %d rings named", RINGS_MAX);
		options->rings[options->ring_count++] = argument;
		return 0;
	case 'p':
		options->producers = true;
		return 0;
	case 'w':
		options->watch_s =
			argument ? (int64_t)cli_number("--watch", argument, 1, WATCH_MAX_S) : 1;
		return 0;
	case 'j':
		options->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp stat_argp = {
	.options = stat_options,
	.parser = parse_option,
	.doc = "Show the counters of shmlog rings.\v"
	       "ENQUEUED, WRITTEN and PENDING count records that producers published; DROPPED "
	       "those "
	       "that found no room. A record is PENDING until it survives the end of the writer.",
};

/* ---- JSON ---- */

static json_t *json_count(uint64_t count)
{
	return json_integer((json_int_t)count);
}

struct count {
	const char *name;
	uint64_t count;
};

static void set_counts(json_t *object, const struct count *counts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		json_object_set_new(object, counts[i].name, json_count(counts[i].count));
}

static json_t *json_drops(const struct tally *tally)
{
	json_t *drops = json_object();

	for (unsigned i = 0; i < LOSS_REASONS; i++) {
		if (i <= LOSS_CORRUPT)
			json_object_set_new(drops, tally_loss_name(i),
					    json_count(tally->dropped_by[i]));
	}
	return drops;
}

static json_t *json_pid(uint32_t pid)
{
	return pid ? json_count(pid) : json_null();
}

static json_t *json_writer(const struct tally_writer *writer)
{
	json_t *object = json_pack("{sb so ss? ss ss? so}", "alive", writer->alive, "pid",
				   json_pid(writer->pid), "io", writer->io, "state", writer->state,
				   "directory", writer->directory[0] ? writer->directory : NULL,
				   "archiver_pid", json_pid(writer->archiver_pid));
	const struct count counts[] = {
		{ "pages", writer->pages },
		{ "bytes", writer->bytes },
		{ "files", writer->files },
		{ "stalls", writer->stalls },
		{ "io_errors", writer->io_errors },
		{ "deleted_files", writer->deleted_files },
		{ "deleted_bytes", writer->deleted_bytes },
	};

	set_counts(object, counts, COUNT_OF(counts));
	return object;
}

static json_t *json_producer(const struct tally_producer *producer)
{
	return json_pack("{sI sI ss sI sI sb sb sI sI}", "pid", (json_int_t)producer->pid, "tid",
			 (json_int_t)producer->tid, "name", producer->name, "lane",
			 (json_int_t)producer->lane, "owner", (json_int_t)producer->owner, "alive",
			 producer->alive, "ended", producer->ended, "enqueued",
			 (json_int_t)producer->enqueued, "dropped", (json_int_t)producer->dropped);
}

static json_t *json_producers(const struct tally *tally)
{
	json_t *producers = json_array();

	for (uint32_t i = 0; i < tally->producer_count; i++)
		json_array_append_new(producers, json_producer(&tally->producers[i]));
	return producers;
}

static json_t *json_ring(const struct tally *tally)
{
	const struct geometry *geometry = &tally->geometry;
	json_t *ring = json_pack(
		"{ss sI sI sI ss ss sb}", "name", tally->name, "lanes", (json_int_t)geometry->lanes,
		"lane_size", (json_int_t)geometry->blocks * BLOCK_SIZE, "record_max",
		(json_int_t)geometry->record_max, "clock", tally_clock_name(geometry->clock),
		"level", cli_level_name((int)tally->level), "removed", tally->closed);
	const struct count counts[] = {
		{ "enqueued", tally->enqueued }, { "written", tally->written },
		{ "durable", tally->durable },   { "pending", tally->pending },
		{ "dropped", tally->dropped },   { "abandoned", tally->abandoned },
		{ "failed", tally->failed },     { "quarantined_lanes", tally->quarantined },
	};

	set_counts(ring, counts, COUNT_OF(counts));
	json_object_set_new(ring, "dropped_by", json_drops(tally));
	json_object_set_new(ring, "writer", json_writer(&tally->writer));
	json_object_set_new(ring, "producers", json_producers(tally));
	return ring;
}

/* ---- table ---- */

static void print_heading(void)
{
	printf("%-16s %9s %12s %12s %10s %10s %8s %-8s %s\n", "RING", "LANES", "ENQUEUED",
	       "WRITTEN", "PENDING", "DROPPED", "WRITER", "IO", "DIRECTORY");
}

/* "32x1M": lanes and their size. */
static void print_geometry(const struct geometry *geometry)
{
	const uint64_t size_kib = (uint64_t)geometry->blocks * BLOCK_SIZE / 1024;
	char text[32];

	if (size_kib % 1024 == 0)
		(void)snprintf(text, sizeof(text), "%ux%" PRIu64 "M", geometry->lanes,
			       size_kib / 1024);
	else
		(void)snprintf(text, sizeof(text), "%ux%" PRIu64 "K", geometry->lanes, size_kib);
	printf(" %9s", text);
}

static void print_losses(const struct tally *tally)
{
	const char *separator = "  dropped: ";

	for (unsigned i = 0; i < LOSS_REASONS; i++) {
		if (tally->dropped_by[i] == 0)
			continue;
		printf("%s%s %" PRIu64, separator, tally_loss_name(i), tally->dropped_by[i]);
		separator = ", ";
	}
	if (tally->dropped)
		putchar('\n');
	if (tally->abandoned || tally->failed || tally->quarantined)
		printf("  abandoned %" PRIu64 ", failed %" PRIu64 ", quarantined lanes %u\n",
		       tally->abandoned, tally->failed, tally->quarantined);
}

static const char *producer_state(const struct tally_producer *producer)
{
	if (!producer->alive)
		return "gone";
	return producer->ended ? "ended" : "alive";
}

static void print_producer(const struct tally_producer *producer)
{
	char lane[24];

	if (producer->owner)
		(void)snprintf(lane, sizeof(lane), "0/%u", producer->owner);
	else
		(void)snprintf(lane, sizeof(lane), "%u", producer->lane);
	printf("  %-20s %8u %8u %9s %12" PRIu64 " %10" PRIu64 " %s\n", producer->name,
	       producer->pid, producer->tid, lane, producer->enqueued, producer->dropped,
	       producer_state(producer));
}

/* Who is gone and left no trace is of no interest to people. */
static bool is_of_interest(const struct tally_producer *producer)
{
	return producer->alive || producer->enqueued || producer->dropped;
}

static void print_producers(const struct tally *tally)
{
	if (tally->producer_count == 0)
		return;
	printf("  %-20s %8s %8s %9s %12s %10s %s\n", "PRODUCER", "PID", "TID", "LANE", "ENQUEUED",
	       "DROPPED", "STATE");
	for (uint32_t i = 0; i < tally->producer_count; i++) {
		if (is_of_interest(&tally->producers[i]))
			print_producer(&tally->producers[i]);
	}
}

static void print_ring(const struct tally *tally, bool with_producers)
{
	const struct tally_writer *writer = &tally->writer;

	printf("%-16s", tally->name);
	print_geometry(&tally->geometry);
	printf(" %12" PRIu64 " %12" PRIu64 " %10" PRIu64 " %10" PRIu64, tally->enqueued,
	       tally->written, tally->pending, tally->dropped);
	if (writer->alive && strcmp(writer->state, "stalled") == 0)
		printf(" %8u %-8s", writer->pid, writer->state); /* no room on disk */
	else if (writer->alive)
		printf(" %8u %-8s", writer->pid, writer->io ? writer->io : "-");
	else
		printf(" %8s %-8s", "-", writer->state);
	printf(" %s\n", writer->directory[0] ? writer->directory : "-");
	print_losses(tally);
	if (with_producers)
		print_producers(tally);
}

/* ---- one round over the rings ---- */

struct round {
	const struct stat_options *options;
	struct tally *tally;
	json_t *rings; /* with --json */
	size_t shown;
	int exit_code;
};

/* @named: the user asked for this ring, so that its absence is an answer. */
static void show_ring(struct round *round, const char *name, bool named)
{
	const int error = tally_ring(&sys_real, name, round->tally);

	if (error == -ENOENT && !named)
		return; /* removed since we listed it */
	if (error) {
		const int exit_code = cli_fail_error(error, name, reason_get());

		if (named && round->exit_code == EX_OK)
			round->exit_code = exit_code;
		return;
	}
	if (round->rings)
		json_array_append_new(round->rings, json_ring(round->tally));
	else if (round->shown == 0)
		print_heading();
	if (!round->rings)
		print_ring(round->tally, round->options->producers);
	round->shown++;
}

static void show_all_rings(struct round *round)
{
	char **names;
	size_t count;
	const int error = segment_names(&sys_real, &names, &count);

	if (error) {
		round->exit_code = cli_fail_error(error, segment_directory(), reason_get());
		return;
	}
	for (size_t i = 0; i < count; i++)
		show_ring(round, names[i], false);
	segment_names_free(names, count);
	if (round->shown == 0 && !round->rings)
		printf("no rings in %s\n", segment_directory());
}

static void print_json(struct round *round)
{
	json_t *root =
		json_pack("{ss so}", "schema", "shmlog-stat/1", "rings", json_incref(round->rings));

	(void)json_dumpf(root, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(root);
	json_decref(round->rings);
}

static int show_round(const struct stat_options *options, struct tally *tally)
{
	struct round round = { .options = options, .tally = tally };

	if (options->json)
		round.rings = json_array();
	for (size_t i = 0; i < options->ring_count; i++)
		show_ring(&round, options->rings[i], true);
	if (options->ring_count == 0)
		show_all_rings(&round);
	if (round.rings)
		print_json(&round);
	return cli_finish(round.exit_code);
}

/* Until standard output fails or a signal ends us; a ring may come and go meanwhile. */
static int watch(const struct stat_options *options, struct tally *tally)
{
	const bool clear = !options->json && isatty(STDOUT_FILENO);

	for (;;) {
		if (clear)
			printf("\033[H\033[2J");
		if (show_round(options, tally) == EX_IOERR)
			return EX_IOERR;
		(void)sys_real.sleep(options->watch_s * NS_PER_S);
	}
}

int main(int argc, char **argv)
{
	struct stat_options options = { 0 };
	static struct tally tally;

	cli_begin();
	(void)argp_parse(&stat_argp, argc, argv, 0, NULL, &options);
	return options.watch_s ? watch(&options, &tally) : show_round(&options, &tally);
}
