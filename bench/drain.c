/*
 * drain.c - how fast records reach the disk, as a ratio to what the disk and a bare ring can do.
 *
 *	drain [-q] [-a] [-j] [-d DIR]		-a: all combinations, not the usual rows
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
#include <sys/mman.h>

#include "common.h"
#include "load.h"
#include "raw.h"
#include "record_layout.h"

enum {
	MIB = 1024 * 1024,
	ROUNDS = 3,
	QUICK_ROUNDS = 3,
};

#define GB 1e9

/* ---- sustained: beside the raw writer ---- */

struct sustained {
	struct load load;
	struct samples ratio, gb_s, raw_gb_s; /* of bytes on disk                            */
	struct samples cpu, raw_cpu;          /* the writers', seconds a GB                  */
	struct samples producer_cpu, copier_cpu;
	struct samples records_s;
	struct samples *latencies; /* us, from publish to written                            */
	bool is_sound;
};

static void sustain_once(struct sustained *row)
{
	struct raw_result raw;
	struct load_result ours;
	double gb;

	run_load(&row->load, NULL, &ours);
	gb = (double)ours.bytes / GB;
	raw_write(load_directory(&row->load), ours.bytes, row->load.size,
		  (uint64_t)row->load.lane_mib * MIB, &raw);
	row->is_sound &= ours.is_sound;
	samples_add(&row->gb_s, gb / ours.seconds);
	samples_add(&row->raw_gb_s, gb / raw.seconds);
	samples_add(&row->ratio, raw.seconds / ours.seconds);
	samples_add(&row->records_s, (double)row->load.records / ours.seconds / 1e6);
	samples_add(&row->cpu, ours.writer_cpu_s / gb);
	samples_add(&row->raw_cpu, raw.writer_cpu_s / gb);
	samples_add(&row->producer_cpu, ours.producer_cpu_s / gb);
	samples_add(&row->copier_cpu, raw.producer_cpu_s / gb);
}

static void print_sustained_head(void)
{
	printf("Sustained until durable, beside a raw writer of as many bytes: medians (10 %% .. "
	       "90 %% "
	       "of the rounds); CPU: seconds a GB on disk.\n"
	       "%6s %5s %5s %-7s %-6s %8s %-17s %7s %7s %9s | %6s %6s %8s %6s | %8s %8s %8s %6s\n",
	       "bytes", "prod.", "lane", "io", "on", "of raw", "", "GB/s", "raw", "records/s",
	       "writer", "raw", "producer", "copier", "p50 us", "p99", "p99.9", "n");
}

static void print_sustained(struct sustained *row)
{
	printf("%6u %5u %4uM %-7s %-6s", row->load.size, row->load.producers, row->load.lane_mib,
	       row->load.io, row->load.in_memory ? "memory" : "disk");
	print_spread(&row->ratio, 2);
	printf(" %7.2f %7.2f %8.2fM | %6.2f %6.2f %8.2f %6.2f | %8.0f %8.0f %8.0f %6zu%s\n",
	       samples_at(&row->gb_s, 0.5), samples_at(&row->raw_gb_s, 0.5),
	       samples_at(&row->records_s, 0.5), samples_at(&row->cpu, 0.5),
	       samples_at(&row->raw_cpu, 0.5), samples_at(&row->producer_cpu, 0.5),
	       samples_at(&row->copier_cpu, 0.5), samples_at(row->latencies, 0.5),
	       samples_at(row->latencies, 0.99), samples_at(row->latencies, 0.999),
	       row->latencies->count, row->is_sound ? "" : "  WRONG");
}

static void json_sustained(struct sustained *row)
{
	printf("{\"bench\":\"drain\",\"bytes\":%u,\"producers\":%u,\"lane_mib\":%u,\"io\":\"%s\""
	       ",\"on\":\"%s\",\"records\":%llu,\"complete\":%s",
	       row->load.size, row->load.producers, row->load.lane_mib, row->load.io,
	       row->load.in_memory ? "memory" : "disk", (unsigned long long)row->load.records,
	       row->is_sound ? "true" : "false");
	json_spread("ratio", &row->ratio);
	json_spread("gb_s", &row->gb_s);
	json_spread("raw_gb_s", &row->raw_gb_s);
	json_spread("million_records_s", &row->records_s);
	json_spread("writer_cpu_s_gb", &row->cpu);
	json_spread("raw_cpu_s_gb", &row->raw_cpu);
	json_spread("producer_cpu_s_gb", &row->producer_cpu);
	json_spread("copier_cpu_s_gb", &row->copier_cpu);
	json_percentiles("written_us", row->latencies);
	printf("}\n");
}

static void sustained_free(struct sustained *row)
{
	samples_free(&row->ratio);
	samples_free(&row->gb_s);
	samples_free(&row->raw_gb_s);
	samples_free(&row->records_s);
	samples_free(&row->cpu);
	samples_free(&row->raw_cpu);
	samples_free(&row->producer_cpu);
	samples_free(&row->copier_cpu);
	samples_free(row->latencies);
	(void)munmap(row->latencies, sizeof(*row->latencies));
}

static bool run_sustained(struct load load)
{
	struct sustained row = { .is_sound = true,
				 .latencies = shared_memory(sizeof(*row.latencies)) };
	struct load_result with_probe;

	load.records = (bench.is_quick ? 100 : 1000) * (uint64_t)MIB /
		       (load.size + sizeof(struct record_header));
	row.load = load;
	samples_reserve(row.latencies);
	for (unsigned i = 0; i < (bench.is_quick ? QUICK_ROUNDS : ROUNDS) && !bench_is_over(); i++)
		sustain_once(&row);
	if (!bench_is_over())
		run_load(&row.load, row.latencies, &with_probe);
	if (bench_is_over())
		return false;
	row.is_sound &= with_probe.is_sound;
	if (bench.is_json)
		json_sustained(&row);
	else
		print_sustained(&row);
	sustained_free(&row);
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
	struct samples million_s[RUNNERS], ratio[RUNNERS], cpu[RUNNERS];
	bool is_sound;
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
	samples_add(&race->million_s[runner], (double)race->records / ours.seconds / 1e6);
	samples_add(&race->cpu[runner], ours.writer_cpu_s / gb);
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
		samples_add(&race->ratio[i], seconds[BARE] / seconds[i]);
}

static void print_race(struct race *race)
{
	printf("%.4g million records of 40 bytes until synced%s\n", (double)race->records / 1e6,
	       race->is_sound ? "" : "  WRONG");
	printf("  %-30s %8s %-17s %8s %-17s %s\n", "", "of bare", "", "M/s", "",
	       "writer's CPU, s a GB of payload");
	for (unsigned i = 0; i < RUNNERS; i++) {
		printf("  %-30s", runner_names[i]);
		print_spread(&race->ratio[i], 2);
		print_spread(&race->million_s[i], 1);
		printf(" %.2f\n", samples_at(&race->cpu[i], 0.5));
	}
}

static void json_race(struct race *race)
{
	for (unsigned i = 0; i < RUNNERS; i++) {
		printf("{\"bench\":\"race\",\"runner\":\"%s\",\"records\":%llu,\"complete\":%s",
		       runner_names[i], (unsigned long long)race->records,
		       race->is_sound ? "true" : "false");
		json_spread("ratio", &race->ratio[i]);
		json_spread("million_records_s", &race->million_s[i]);
		json_spread("writer_cpu_s_gb", &race->cpu[i]);
		printf("}\n");
	}
}

static bool run_race(uint64_t records)
{
	struct race race = { .records = records, .is_sound = true };

	for (unsigned i = 0; i < (bench.is_quick ? QUICK_ROUNDS : ROUNDS) && !bench_is_over(); i++)
		race_round(&race, i);
	if (bench_is_over())
		return false;
	if (bench.is_json)
		json_race(&race);
	else
		print_race(&race);
	for (unsigned i = 0; i < RUNNERS; i++) {
		samples_free(&race.million_s[i]);
		samples_free(&race.ratio[i]);
		samples_free(&race.cpu[i]);
	}
	return race.is_sound;
}

int main(int argc, char **argv)
{
	bool is_good;

	bench_begin("drain", argc, argv);
	if (!bench.is_json)
		print_sustained_head();
	is_good = bench.is_all ? run_all() : run_usual();
	if (!bench_is_over())
		is_good &= run_race(bench.is_quick ? 1000000 : 10000000);
	if (!bench_is_over())
		is_good &= run_race(bench.is_quick ? 6250000 : 125000000); /* 5 GB of payload */
	return bench_end(is_good);
}
