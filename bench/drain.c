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
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "atomic.h"
#include "common.h"
#include "raw.h"
#include "record_layout.h"
#include "ring_layout.h"
#include "segment.h"
#include "stage.h"

enum {
	MIB = 1024 * 1024,
	PRODUCERS_MAX = 2,
	PROBE_LANE = 1,
	PROBE_LOOK_US = 20,
	PROBE_PAUSE_US = 500,
	PAYLOAD_MAX = 16 * 1024,
	ROUNDS = 3,
	QUICK_ROUNDS = 2,
};

#define GB 1e9

/* What is sent through a ring in one run. */
struct load {
	uint32_t size;
	unsigned producers;
	unsigned lane_mib;
	const char *io;
	bool in_memory; /* the log, in /dev/shm                                              */
	uint64_t records;
};

struct result {
	double seconds; /* until everything is durable                                       */
	double producer_cpu_s, writer_cpu_s;
	uint64_t bytes; /* of the log                                                        */
	bool is_sound;
};

static const uint8_t payload[PAYLOAD_MAX];

static const char *directory_of(const struct load *load)
{
	return load->in_memory ? memory_directory() : bench.directory;
}

/* ---- shmlog ---- */

static _Noreturn void produce(struct shmlog *log, uint32_t size, uint64_t records,
			      struct start_line *line)
{
	int r = shmlog_bind(log);

	start_line_wait(line);
	for (uint64_t i = 0; i < records && r == 0; i++)
		r = shmlog_push_wait(log, SHMLOG_INFO, payload, size, -1);
	if (r == 0)
		r = shmlog_sync(log, SHMLOG_SYNC_DURABLE, -1);
	_exit(r != 0);
}

/* The lane that this thread is bound to. */
static const struct lane_status *own_status(const struct segment_view *view)
{
	const uint32_t tid = (uint32_t)syscall(SYS_gettid);

	for (uint32_t i = 1; i < view_header(view)->lanes; i++)
		if (view_lane_page(view, i)->line.tid == tid)
			return view_lane_status(view, i);
	die("the probe has no lane", -EAGAIN);
}

/* From publish to written, again and again, in a lane of its own, until it is killed. @ret: in
 * shared memory. */
static _Noreturn void probe(const struct stage *stage, struct samples *ret)
{
	const struct lane_status *status;
	struct segment segment;
	struct segment_view view;

	(void)prctl(PR_SET_TIMERSLACK, 1);
	if (shmlog_bind(stage->log) < 0 ||
	    segment_open(&sys_real, stage->ring, O_RDONLY, &segment) < 0 ||
	    segment_view(&segment, &view) < 0)
		die("probe", -EIO);
	status = own_status(&view);
	for (;;) {
		const uint64_t before = load_relaxed(&status->records_written);
		const uint64_t began = clock_monotonic_ns();

		if (shmlog_push_wait(stage->log, SHMLOG_INFO, payload, 40, -1) < 0)
			_exit(1);
		while (load_relaxed(&status->records_written) == before)
			nap_us(PROBE_LOOK_US);
		samples_add(ret, (double)(clock_monotonic_ns() - began) / NS_PER_US);
		nap_us(PROBE_PAUSE_US);
	}
}

static void open_ring(struct stage *stage, const struct load *load)
{
	const char *const options[] = { "--io", load->io, "--stop-timeout", "1m", NULL };
	const struct shmlog_options ring = { .lanes = 2 + PRODUCERS_MAX,
					     .lane_size = (uint64_t)load->lane_mib * MIB };

	stage_open_ring(stage, ring, directory_of(load));
	stage_start_writer(stage, options);
	stage_drain(stage);
}

static uint64_t records_of(const struct load *load)
{
	return load->records / load->producers * load->producers;
}

/* A probe's last record may have come through although it was killed before it took the time. */
static bool is_complete(const struct load *load, const struct samples *latencies,
			const struct stage_count *found)
{
	const uint64_t least = records_of(load) + (latencies ? latencies->count : 0);

	return found->lost == 0 && found->records >= least &&
	       found->records <= least + (latencies ? 1 : 0);
}

/* @latencies: NULL, or in shared memory: beside a probe. */
static void run_shmlog(const struct load *load, struct samples *latencies, struct result *ret)
{
	struct start_line *line = shared_memory(sizeof(*line));
	pid_t producers[PRODUCERS_MAX], prober = 0;
	struct stage_count found;
	struct stage stage;
	uint64_t began;

	*ret = (struct result){ .is_sound = true };
	start_line_init(line);
	open_ring(&stage, load);
	if (latencies && (prober = bench_fork(bench.producer_cpu)) == 0)
		probe(&stage, latencies);
	for (unsigned i = 0; i < load->producers; i++) {
		producers[i] = bench_fork(bench.producer_cpu);
		if (producers[i] == 0)
			produce(stage.log, load->size, load->records / load->producers, line);
	}
	began = start_line_go(line, load->producers);
	for (unsigned i = 0; i < load->producers; i++) {
		double cpu_s;

		ret->is_sound &= bench_wait(producers[i], 0, &cpu_s) == 0;
		ret->producer_cpu_s += cpu_s;
	}
	ret->seconds = seconds_since(began);
	if (prober)
		(void)bench_wait(prober, SIGKILL, NULL);
	stage_close(&stage, &found);
	ret->writer_cpu_s = found.writer_cpu_s;
	ret->bytes = found.bytes;
	ret->is_sound &= is_complete(load, latencies, &found);
	(void)munmap(line, sizeof(*line));
}

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
	struct result ours;
	double gb;

	run_shmlog(&row->load, NULL, &ours);
	gb = (double)ours.bytes / GB;
	raw_write(directory_of(&row->load), ours.bytes, row->load.size,
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
	struct result with_probe;

	load.records = (bench.is_quick ? 100 : 2000) * (uint64_t)MIB /
		       (load.size + sizeof(struct record_header));
	row.load = load;
	samples_reserve(row.latencies);
	for (unsigned i = 0; i < (bench.is_quick ? QUICK_ROUNDS : ROUNDS) && !bench_is_over(); i++)
		sustain_once(&row);
	if (!bench_is_over())
		run_shmlog(&row.load, row.latencies, &with_probe);
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
	struct result ours = { .is_sound = true };
	struct raw_result bare;

	if (runner == BARE) {
		bare_ring(bench.directory, race->records, 40, 16 * MIB, &bare);
		ours.seconds = bare.seconds;
		ours.writer_cpu_s = bare.writer_cpu_s;
	} else {
		run_shmlog(&load, NULL, &ours);
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
	printf("%llu million records of 40 bytes until synced%s\n",
	       (unsigned long long)race->records / 1000000, race->is_sound ? "" : "  WRONG");
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
