/*
 * drain.c - how fast records reach the disk, as a ratio to what the disk and a bare ring can do.
 *
 *	drain [-q] [-a] [-j] [-s] [-d DIR]		-a: all combinations, not the usual rows
 *
 * Sustained: producers push with shmlog_push_wait() as fast as there is room, until all is durable.
 * In turns with it a raw writer (raw.h) writes as many bytes in pages of the same size beside a
 * program that copies records for nobody. The ratio is that of bytes on disk a second. A third run
 * of shmlog has a second, slow producer that takes the time from each of its pushes until the
 * record is written.
 *
 * Race: so many records of 40 bytes until they are synced, through lanes of 16 MiB, lanes of the
 * default size, and a bare ring of 16 MiB with write(2), in turns.
 *
 * Everything is read back and counted. Exit 1: something failed, or is missing.
 */
#include <string.h>
#include <sys/mman.h>

#include "common.h"
#include "load.h"
#include "raw.h"
#include "record_layout.h"
#include "samples.h"

enum {
	MIB = 1024 * 1024,
	ROUNDS = 3,
	QUICK_ROUNDS = 3,
};

#define GB 1e9

static unsigned round_count(void)
{
	return bench.is_quick ? QUICK_ROUNDS : ROUNDS;
}

/* ---- sustained: beside the raw writer ---- */

/* The columns. CPU: seconds a GB on disk. */
enum {
	RATIO,
	GB_S,
	RAW_GB_S,
	MILLION_S,
	WRITER_CPU,
	RAW_CPU,
	PRODUCER_CPU,
	COPIER_CPU,
	WRITTEN_P50, /* us, from publish to written                                          */
	WRITTEN_P99,
	WRITTEN_P999,
	COLUMNS
};

static const struct metric columns[COLUMNS] = {
	[RATIO] = { .title = "of raw", .key = "ratio", .digits = 2 },
	[GB_S] = { .title = "GB/s", .key = "gb_s", .digits = 2, .is_narrow = true },
	[RAW_GB_S] = { .title = "raw", .key = "raw_gb_s", .digits = 2, .is_narrow = true },
	[MILLION_S] = { .title = "M rec/s",
			.key = "million_records_s",
			.digits = 2,
			.is_narrow = true },
	[WRITER_CPU] = { .title = "writer",
			 .key = "writer_cpu_s_gb",
			 .digits = 2,
			 .is_narrow = true },
	[RAW_CPU] = { .title = "raw", .key = "raw_cpu_s_gb", .digits = 2, .is_narrow = true },
	[PRODUCER_CPU] = { .title = "producer",
			   .key = "producer_cpu_s_gb",
			   .digits = 2,
			   .is_narrow = true },
	[COPIER_CPU] = { .title = "copier",
			 .key = "copier_cpu_s_gb",
			 .digits = 2,
			 .is_narrow = true },
	[WRITTEN_P50] = { .title = "p50 us", .key = "written_p50_us", .is_narrow = true },
	[WRITTEN_P99] = { .title = "p99", .key = "written_p99_us", .is_narrow = true },
	[WRITTEN_P999] = { .title = "p99.9", .key = "written_p999_us", .is_narrow = true },
};

struct sustained {
	struct load load;
	struct metric columns[COLUMNS];
	struct samples *latencies; /* in shared memory                                       */
	uint64_t bytes;            /* of the log, in the last round                          */
	bool is_sound;
};

static void add(struct sustained *row, unsigned column, double value)
{
	samples_add(&row->columns[column].values, value);
}

/* Returns the seconds. */
static double sustain_ours(struct sustained *row)
{
	struct load_result ours;
	double gb;

	run_load(&row->load, NULL, &ours);
	row->is_sound &= ours.is_sound;
	row->bytes = ours.bytes;
	gb = (double)ours.bytes / GB;
	add(row, GB_S, gb / ours.seconds);
	add(row, MILLION_S, (double)row->load.records / ours.seconds / 1e6);
	add(row, WRITER_CPU, ours.writer_cpu_s / gb);
	add(row, PRODUCER_CPU, ours.producer_cpu_s / gb);
	return ours.seconds / gb;
}

/* The same for as many bytes. */
static double sustain_raw(struct sustained *row)
{
	const double gb = (double)row->bytes / GB;
	struct raw_result raw;

	raw_write(load_directory(&row->load), row->bytes, row->load.size,
		  (uint64_t)row->load.lane_mib * MIB, &raw);
	add(row, RAW_GB_S, gb / raw.seconds);
	add(row, RAW_CPU, raw.writer_cpu_s / gb);
	add(row, COPIER_CPU, raw.producer_cpu_s / gb);
	return raw.seconds / gb;
}

/* Who begins changes with the round; in the first nobody knows yet how many bytes it will be. */
static void sustain_once(struct sustained *row, unsigned round)
{
	const bool raw_first = round % 2;
	double raw = raw_first ? sustain_raw(row) : 0;
	const double ours = sustain_ours(row);

	if (!raw_first)
		raw = sustain_raw(row);
	add(row, RATIO, raw / ours);
}

/* How long it takes for one record, under the same load. */
static void probe_latency(struct sustained *row)
{
	struct load_result result;

	run_load(&row->load, row->latencies, &result);
	row->is_sound &= result.is_sound;
	add(row, WRITTEN_P50, samples_at(row->latencies, 0.5));
	add(row, WRITTEN_P99, samples_at(row->latencies, 0.99));
	add(row, WRITTEN_P999, samples_at(row->latencies, 0.999));
}

static void print_fio(void)
{
	const double gb_s = raw_fio(bench.directory, (bench.is_quick ? 256 : 2048) * (uint64_t)MIB);

	if (bench.is_json)
		printf("{\"bench\":\"fio\",\"gb_s\":%.3g}\n", gb_s);
	else if (gb_s > 0)
		printf("fio, the raw writer's pages and nobody beside it: %.2f GB/s\n", gb_s);
	else
		printf("SKIPPED: fio is not installed\n");
}

static void print_head(void)
{
	if (bench.is_json)
		return;
	printf("Sustained until durable, beside a raw writer of as many bytes: medians (10 %% .. "
	       "90 %% of the rounds); processor time in seconds a GB on disk; from publish to "
	       "written\n");
	metrics_head(" bytes prod.  lane io      on    ", columns, COLUMNS);
}

static void print_sustained(struct sustained *row)
{
	const struct load *load = &row->load;
	const char *on = load->in_memory ? "memory" : "disk";

	if (bench.is_json) {
		printf("{\"bench\":\"drain\",\"bytes\":%u,\"producers\":%u,\"lane_mib\":%u,\"io\":"
		       "\"%s\",\"on\":\"%s\",\"complete\":%s",
		       load->size, load->producers, load->lane_mib, load->io, on,
		       row->is_sound ? "true" : "false");
		json_percentiles("written_us", row->latencies);
	} else {
		printf("%6u %5u %4uM %-7s %-6s", load->size, load->producers, load->lane_mib,
		       load->io, on);
	}
	metrics_print(row->columns, COLUMNS);
	printf("%s\n", bench.is_json ? "}" : row->is_sound ? "" : "  WRONG");
}

static bool run_sustained(struct load load)
{
	struct sustained row = { .is_sound = true,
				 .latencies = shared_memory(sizeof(*row.latencies)) };

	load.records = (bench.is_quick ? 100 : 1000) * (uint64_t)MIB /
		       (load.size + sizeof(struct record_header));
	row.load = load;
	memcpy(row.columns, columns, sizeof(columns));
	samples_reserve(row.latencies);
	for (unsigned i = 0; i < round_count() && !bench_is_over(); i++)
		sustain_once(&row, i);
	if (!bench_is_over())
		probe_latency(&row);
	if (!bench_is_over())
		print_sustained(&row);
	samples_free(row.latencies);
	(void)munmap(row.latencies, sizeof(*row.latencies));
	return row.is_sound;
}

static const struct load usual[] = {
	{ .size = 40, .producers = 1, .lane_mib = 1, .io = "uring" },
	{ .size = 40, .producers = 1, .lane_mib = 4, .io = "uring" },
	{ .size = 40, .producers = 1, .lane_mib = 16, .io = "uring" },
	{ .size = 40, .producers = 2, .lane_mib = 1, .io = "uring" },
	{ .size = 256, .producers = 1, .lane_mib = 1, .io = "uring" },
	{ .size = 256, .producers = 1, .lane_mib = 16, .io = "uring" },
	{ .size = 256, .producers = 2, .lane_mib = 1, .io = "uring" },
	{ .size = 256, .producers = 1, .lane_mib = 1, .io = "pwrite" },
	{ .size = 256, .producers = 1, .lane_mib = 1, .io = "uring", .in_memory = true },
	{ .size = 1024, .producers = 1, .lane_mib = 1, .io = "uring" },
	{ .size = 1024, .producers = 1, .lane_mib = 16, .io = "uring" },
	{ .size = 16384, .producers = 1, .lane_mib = 1, .io = "uring" },
	{ .size = 16384, .producers = 1, .lane_mib = 16, .io = "uring" },
};

static bool run_usual(void)
{
	bool is_good = true;

	for (size_t i = 0; i < COUNT_OF(usual) && !bench_is_over(); i++)
		is_good &= run_sustained(usual[i]);
	return is_good;
}

/* All of them, as digits of one number: the first counts fastest. */
static bool run_all(void)
{
	static const uint32_t sizes[] = { 40, 256, 1024, 16384 };
	static const unsigned lanes[] = { 1, 4, 16 };
	static const char *const ios[] = { "uring", "pwrite" };
	bool is_good = true;

	for (size_t i = 0; i < 4 * 3 * 2 * 2 * 2 && !bench_is_over(); i++)
		is_good &= run_sustained((struct load){ .size = sizes[i % 4],
							.lane_mib = lanes[i / 4 % 3],
							.producers = 1 + (unsigned)(i / 12 % 2),
							.io = ios[i / 24 % 2],
							.in_memory = i / 48 });
	return is_good;
}

/* ---- race: beside a bare ring ---- */

enum runner { WIDE_LANES, DEFAULT_LANES, BARE, RUNNERS };

static const char *const runner_names[] = { "shmlog, lanes of 16 MiB", "shmlog, lanes of 1 MiB",
					    "bare ring of 16 MiB, write(2)" };

struct race {
	uint64_t records;
	struct metric columns[RUNNERS][3];
	bool is_sound;
};

enum { OF_BARE, RACE_MILLION_S, RACE_CPU };

static const struct metric race_columns[] = {
	[OF_BARE] = { .title = "of bare", .key = "ratio", .digits = 2 },
	[RACE_MILLION_S] = { .title = "M rec/s", .key = "million_records_s", .digits = 1 },
	[RACE_CPU] = { .title = "writer", .key = "writer_cpu_s_gb", .digits = 2 },
};

/* Seconds. */
static double race_one(struct race *race, enum runner runner)
{
	const double gb = (double)race->records * 40 / GB;
	const struct load load = { .size = 40,
				   .producers = 1,
				   .lane_mib = runner == WIDE_LANES ? 16 : 1,
				   .io = "auto",
				   .records = race->records };
	struct load_result ours = { .is_sound = true };
	struct raw_result bare;

	if (runner == BARE) {
		bare_ring(bench.directory, race->records, 40, 16 * MIB, &bare);
		ours.seconds = bare.seconds;
		ours.writer_cpu_s = bare.writer_cpu_s;
	} else {
		run_load(&load, NULL, &ours);
	}
	race->is_sound &= ours.is_sound;
	samples_add(&race->columns[runner][RACE_MILLION_S].values,
		    (double)race->records / ours.seconds / 1e6);
	samples_add(&race->columns[runner][RACE_CPU].values, ours.writer_cpu_s / gb);
	return ours.seconds;
}

/* Who begins changes with the round. */
static void race_round(struct race *race, unsigned round)
{
	double seconds[RUNNERS];

	for (unsigned i = 0; i < RUNNERS && !bench_is_over(); i++) {
		const unsigned runner = (i + round) % RUNNERS;

		seconds[runner] = race_one(race, (enum runner)runner);
	}
	for (unsigned i = 0; i < RUNNERS && !bench_is_over(); i++)
		samples_add(&race->columns[i][OF_BARE].values, seconds[BARE] / seconds[i]);
}

static void print_race(struct race *race)
{
	if (!bench.is_json)
		printf("%.4g million records of 40 bytes until synced; processor time in seconds a "
		       "GB "
		       "of payload%s\n",
		       (double)race->records / 1e6, race->is_sound ? "" : "  WRONG");
	metrics_head("                              ", race_columns, COUNT_OF(race_columns));
	for (unsigned i = 0; i < RUNNERS; i++) {
		if (bench.is_json)
			printf("{\"bench\":\"race\",\"runner\":\"%s\",\"records\":%llu,"
			       "\"complete\":%s",
			       runner_names[i], (unsigned long long)race->records,
			       race->is_sound ? "true" : "false");
		else
			printf("%-30s", runner_names[i]);
		metrics_print(race->columns[i], COUNT_OF(race_columns));
		printf("%s\n", bench.is_json ? "}" : "");
	}
}

static bool run_race(uint64_t records)
{
	struct race race = { .records = records, .is_sound = true };

	for (unsigned i = 0; i < RUNNERS; i++)
		memcpy(race.columns[i], race_columns, sizeof(race_columns));
	for (unsigned i = 0; i < round_count() && !bench_is_over(); i++)
		race_round(&race, i);
	if (!bench_is_over())
		print_race(&race);
	return race.is_sound;
}

int main(int argc, char **argv)
{
	bool is_good;

	bench_begin("drain", argc, argv);
	print_fio();
	print_head();
	is_good = bench.is_all ? run_all() : run_usual();
	if (!bench_is_over())
		is_good &= run_race(bench.is_quick ? 1000000 : 10000000);
	if (!bench_is_over())
		is_good &= run_race(bench.is_quick ? 6250000 : 125000000); /* 5 GB of payload */
	return bench_end(is_good);
}
