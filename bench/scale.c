/*
 * scale.c - what grows as there is more of something, and what stays as it is.
 *
 *	scale [-q] [-j] [-s] [-d DIR]
 *
 *	lanes bound	1 to 64, each by a thread that sleeps, but one. Its push beside the floor;
 *the writer's processor time to drain 2,000 records; then, with nothing to do, the writer's share
 *of a processor, wake-ups a second, memory processes	1 to 32 push as fast as there is room, all
 *on one processor: million records a second until durable; processor time of the writer and of all
 *producers, in seconds a million records lane, MiB	1 to 64, the same with one process log, GB
 *1 to 20, as far as the disk goes: the rate of the last step, the writer's memory, to open the log
 *and read a page of it, to start a writer on it ring, MiB	1 to 256, of four lanes: from the
 *fork of a process until its first record is published, and of that: until main(), to attach, to
 *bind and push
 *
 * Medians over the rounds, and where 8 of 10 lie. Exit 1: something failed, or is missing on disk.
 */
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common.h"
#include "floor.h"
#include "load.h"
#include "samples.h"
#include "shmlog_reader.h"
#include "stage.h"

enum {
	MIB = 1024 * 1024,
	BOUND_MAX = 64,
	BURST = 2000,
	SIZE = 40,
	RECORD_ON_DISK = 56, /* of 40 bytes                                                  */
	PAGE_BYTES = 256 * 1024,
};

#define GB UINT64_C(1000000000)

static const uint8_t payload[SIZE] = "forty bytes, as many as a short message";

static unsigned rounds(unsigned quick, unsigned full)
{
	return bench.is_quick ? quick : full;
}

/* ---- rows ---- */

/* One row: @n of what grows, and what that did. Empties the metrics. */
static void report(const char *grows, unsigned n, struct metric *metrics, size_t count)
{
	if (bench_is_over())
		return;
	if (n == 1)
		metrics_head("                         ", metrics, count);
	printf(bench.is_json ? "{\"bench\":\"scale\",\"grows\":\"%s\",\"n\":%u" : "%-20s %4u",
	       grows, n);
	metrics_print(metrics, count);
	printf(bench.is_json ? "}\n" : "\n");
}

/* ---- the writer, seen from outside ---- */

/* The number behind @field in /proc/PID/PATH; 0 if there is none. */
static uint64_t status_field(const char *path, const char *field)
{
	FILE *file = fopen(path, "re");
	uint64_t value = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, field, strlen(field)))
			(void)sscanf(line + strlen(field), ":%" SCNu64, &value);
	if (file)
		(void)fclose(file);
	return value;
}

static double memory_mib(pid_t pid)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	return (double)status_field(path, "VmRSS") / 1024;
}

/* Of all its threads. */
static uint64_t wake_ups(pid_t pid)
{
	uint64_t sum = 0;
	char pattern[64];
	glob_t tasks;

	(void)snprintf(pattern, sizeof(pattern), "/proc/%d/task/*/status", (int)pid);
	if (glob(pattern, 0, NULL, &tasks) == 0)
		for (size_t i = 0; i < tasks.gl_pathc; i++)
			sum += status_field(tasks.gl_pathv[i], "voluntary_ctxt_switches");
	globfree(&tasks);
	return sum;
}

/* ---- lanes ---- */

/* Threads that have a lane and do nothing. */
struct sleepers {
	struct shmlog *log;
	pthread_t threads[BOUND_MAX];
	unsigned count;
	sem_t bound, over;
};

static void *bind_and_sleep(void *argument)
{
	struct sleepers *sleepers = argument;

	if (shmlog_bind(sleepers->log) < 0)
		die("bind", -EAGAIN);
	(void)sem_post(&sleepers->bound);
	while (sem_wait(&sleepers->over) < 0)
		;
	return NULL;
}

static void sleepers_start(struct sleepers *sleepers, struct shmlog *log, unsigned count)
{
	*sleepers = (struct sleepers){ .log = log, .count = count };
	(void)sem_init(&sleepers->bound, 0, 0);
	(void)sem_init(&sleepers->over, 0, 0);
	for (unsigned i = 0; i < count; i++)
		if (pthread_create(&sleepers->threads[i], NULL, bind_and_sleep, sleepers))
			die("thread", -EAGAIN);
	for (unsigned i = 0; i < count; i++)
		(void)wait_for(&sleepers->bound);
}

static void sleepers_end(struct sleepers *sleepers)
{
	for (unsigned i = 0; i < sleepers->count; i++)
		(void)sem_post(&sleepers->over);
	for (unsigned i = 0; i < sleepers->count; i++)
		(void)pthread_join(sleepers->threads[i], NULL);
}

static double push_ns(struct shmlog *log)
{
	const uint64_t began = clock_counter();

	for (unsigned i = 0; i < BURST; i++)
		if (shmlog_try_push(log, payload, SIZE) < 0)
			die("push", -EAGAIN);
	return ns_of_ticks(clock_counter() - began);
}

static double floor_ns(struct floor *floor)
{
	const uint64_t began = clock_counter();

	floor_burst(floor, payload, BURST);
	return ns_of_ticks(clock_counter() - began);
}

static void lanes_at_work(struct stage *stage, struct samples *ratio, struct samples *drain_us)
{
	const unsigned count = rounds(10, 100);
	struct floor floor;

	floor_open(&floor, MIB, SIZE, true);
	for (unsigned i = 0; i < count && !bench_is_over(); i++) {
		const double cpu_s = cpu_seconds(stage->writer);
		const double ns = push_ns(stage->log);

		stage_drain(stage);
		samples_add(drain_us, (cpu_seconds(stage->writer) - cpu_s) * 1e6);
		samples_add(ratio, ns / floor_ns(&floor));
		floor_drain(&floor);
	}
	floor_close(&floor);
}

static void lanes_idle(const struct stage *stage, struct samples *share, struct samples *wakes)
{
	for (unsigned i = 0; i < rounds(3, 5) && !bench_is_over(); i++) {
		const double cpu_s = cpu_seconds(stage->writer);
		const uint64_t woken = wake_ups(stage->writer);
		const uint64_t began = clock_monotonic_ns();

		nap_us(1000 * 1000);
		samples_add(share,
			    (cpu_seconds(stage->writer) - cpu_s) / seconds_since(began) * 100);
		samples_add(wakes,
			    (double)(wake_ups(stage->writer) - woken) / seconds_since(began));
	}
}

static bool lanes(unsigned n)
{
	const struct shmlog_options options = { .lanes = n + 1, .lane_size = MIB };
	struct metric metrics[] = {
		{ .title = "x floor", .key = "push_ratio", .digits = 2 },
		{ .title = "drain us", .key = "drain_cpu_us", .digits = 0 },
		{ .title = "idle %", .key = "idle_percent", .digits = 3 },
		{ .title = "wakes/s", .key = "wake_ups_s", .digits = 1 },
		{ .title = "MiB", .key = "writer_mib", .digits = 1 },
	};
	struct sleepers sleepers;
	struct stage_count found;
	struct stage stage;

	stage_open(&stage, options, NULL);
	sleepers_start(&sleepers, stage.log, n - 1);
	lanes_at_work(&stage, &metrics[0].values, &metrics[1].values);
	lanes_idle(&stage, &metrics[2].values, &metrics[3].values);
	samples_add(&metrics[4].values, memory_mib(stage.writer));
	sleepers_end(&sleepers);
	stage_close(&stage, &found);
	report("lanes bound", n, metrics, COUNT_OF(metrics));
	return found.records == rounds(10, 100) * (uint64_t)BURST && found.lost == 0;
}

/* ---- processes, and the size of lanes ---- */

static bool loads(const char *grows, unsigned n, const struct load *load)
{
	struct metric metrics[] = {
		{ .title = "M/s", .key = "million_records_s", .digits = 2 },
		{ .title = "writer s", .key = "writer_cpu_s_million", .digits = 3 },
		{ .title = "producer", .key = "producer_cpu_s_million", .digits = 3 },
	};
	const double millions = (double)load->records / 1e6;
	struct load_result result;
	bool is_sound = true;

	for (unsigned i = 0; i < rounds(3, 5) && !bench_is_over(); i++) {
		run_load(load, NULL, &result);
		is_sound &= result.is_sound;
		samples_add(&metrics[0].values, millions / result.seconds);
		samples_add(&metrics[1].values, result.writer_cpu_s / millions);
		samples_add(&metrics[2].values, result.producer_cpu_s / millions);
	}
	report(grows, n, metrics, COUNT_OF(metrics));
	return is_sound;
}

static struct load some_load(void)
{
	return (struct load){ .size = SIZE,
			      .producers = 1,
			      .lane_mib = 1,
			      .io = "auto",
			      .records = bench.is_quick ? 500 * 1000 : 10 * 1000 * 1000 };
}

static bool processes(unsigned n)
{
	struct load load = some_load();

	load.producers = n;
	return loads("processes", n, &load);
}

static bool lane_mib(unsigned n)
{
	struct load load = some_load();

	load.lane_mib = n;
	return loads("lane, MiB", n, &load);
}

/* ---- the log ---- */

static bool has_room(uint64_t bytes)
{
	struct statvfs disk;

	return statvfs(bench.directory, &disk) == 0 && disk.f_bavail * disk.f_frsize > bytes;
}

/* Until durable, in seconds. */
static double push_bytes(struct stage *stage, uint64_t bytes, uint64_t *pushed)
{
	const uint64_t began = clock_monotonic_ns();

	for (uint64_t i = 0; i < bytes / RECORD_ON_DISK && !bench_is_over(); i++)
		*pushed += shmlog_push_wait(stage->log, SHMLOG_INFO, payload, SIZE, NS_PER_S) == 0;
	stage_sync(stage);
	return seconds_since(began);
}

static double read_page_ms(const struct stage *stage, uint64_t page_no)
{
	const uint64_t began = clock_monotonic_ns();
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_reader *reader;
	int r = shmlog_reader_open(stage->directory, NULL, &reader);

	if (r == 0) {
		r = shmlog_reader_get_page(reader, page_no, &page);
		shmlog_reader_close(&reader);
	}
	if (r < 0 && !bench_is_over())
		die(shmlog_reason(), r);
	return seconds_since(began) * 1e3;
}

/* Until it has recovered, and written a record that waited for it. */
static double restart_ms(struct stage *stage, uint64_t *pushed)
{
	uint64_t began;

	(void)stage_stop_writer(stage);
	*pushed += shmlog_try_push(stage->log, payload, SIZE) == 0;
	began = clock_monotonic_ns();
	stage_start_writer(stage, NULL);
	stage_sync(stage);
	return seconds_since(began) * 1e3;
}

static void log_step(struct stage *stage, unsigned n, uint64_t bytes, uint64_t *pushed)
{
	struct metric metrics[] = {
		{ .title = "GB/s", .key = "gb_s", .digits = 2 },
		{ .title = "MiB", .key = "writer_mib", .digits = 1 },
		{ .title = "page ms", .key = "read_page_ms", .digits = 2 },
		{ .title = "start ms", .key = "restart_ms", .digits = 0 },
	};
	const unsigned reads = rounds(3, 11);

	samples_add(&metrics[0].values, (double)bytes / 1e9 / push_bytes(stage, bytes, pushed));
	samples_add(&metrics[1].values, memory_mib(stage->writer));
	for (unsigned i = 0; i < reads && !bench_is_over(); i++)
		samples_add(
			&metrics[2].values,
			read_page_ms(stage, 1 + *pushed * RECORD_ON_DISK / PAGE_BYTES * i / reads));
	for (unsigned i = 0; i < rounds(1, 3) && !bench_is_over(); i++)
		samples_add(&metrics[3].values, restart_ms(stage, pushed));
	report(bench.is_quick ? "log, 10 MB" : "log, GB", n, metrics, COUNT_OF(metrics));
}

/* One log that grows. */
static bool logs(void)
{
	static const unsigned sizes[] = { 1, 2, 5, 10, 20 };
	const uint64_t unit = bench.is_quick ? GB / 100 : GB;
	const struct shmlog_options options = { .lanes = 2, .lane_size = 16 * MIB };
	uint64_t pushed = 0;
	struct stage_count found;
	struct stage stage;
	unsigned before = 0;

	stage_open(&stage, options, NULL);
	for (size_t i = 0; i < COUNT_OF(sizes) && !bench_is_over(); i++) {
		const uint64_t bytes = (sizes[i] - before) * unit;

		if (!has_room(2 * bytes + 2 * GB)) {
			(void)fprintf(stderr, "SKIPPED: a log of %u GB: no room on the disk\n",
				      sizes[i]);
			break;
		}
		log_step(&stage, sizes[i], bytes, &pushed);
		before = sizes[i];
	}
	stage_close(&stage, &found);
	return found.records == pushed;
}

/* ---- the first record ---- */

/* In us: until main(), to attach, to bind and push. */
static void start_one(const struct stage *stage, struct metric *metrics)
{
	uint64_t began, at[3];
	char path[PATH_MAX];
	int ends[2];
	FILE *output;
	pid_t pid;

	find_program("bench/first", path, sizeof(path));
	if (pipe2(ends, O_CLOEXEC) < 0)
		die("pipe", -errno);
	began = clock_monotonic_ns();
	pid = bench_fork(bench.producer_cpu);
	if (pid == 0) {
		(void)dup2(ends[1], STDOUT_FILENO);
		(void)execl(path, path, stage->ring, (char *)NULL);
		_exit(127);
	}
	(void)close(ends[1]);
	output = fdopen(ends[0], "r");
	if (!output ||
	    fscanf(output, "%" SCNu64 " %" SCNu64 " %" SCNu64, &at[0], &at[1], &at[2]) != 3)
		die(path, -EIO);
	(void)fclose(output);
	(void)bench_wait(pid, 0, NULL);
	samples_add(&metrics[0].values, (double)(at[2] - began) / NS_PER_US);
	samples_add(&metrics[1].values, (double)(at[0] - began) / NS_PER_US);
	samples_add(&metrics[2].values, (double)(at[1] - at[0]) / NS_PER_US);
	samples_add(&metrics[3].values, (double)(at[2] - at[1]) / NS_PER_US);
}

static bool starts(unsigned n)
{
	const struct shmlog_options options = { .lanes = 4, .lane_size = (uint64_t)n * MIB / 4 };
	struct metric metrics[] = {
		{ .title = "first us", .key = "first_us", .digits = 0 },
		{ .title = "main()", .key = "main_us", .digits = 0 },
		{ .title = "attach", .key = "attach_us", .digits = 0 },
		{ .title = "push", .key = "push_us", .digits = 0 },
	};
	const unsigned count = rounds(10, 100);
	struct stage_count found;
	struct stage stage;

	stage_open(&stage, options, NULL);
	for (unsigned i = 0; i < count && !bench_is_over(); i++)
		start_one(&stage, metrics);
	stage_close(&stage, &found);
	report("ring of 4 lanes, MiB", n, metrics, COUNT_OF(metrics));
	return found.records == count;
}

/* From 1 to @most by factors of four, and @most. */
static bool grow(bool (*row)(unsigned n), unsigned most)
{
	bool is_good = true;
	unsigned n = 1;

	while (!bench_is_over()) {
		is_good &= row(n);
		if (n == most)
			break;
		n = n * 4 < most ? n * 4 : most;
	}
	return is_good;
}

int main(int argc, char **argv)
{
	bool is_good;

	bench_begin("scale", argc, argv);
	is_good = grow(lanes, BOUND_MAX);
	is_good &= grow(processes, LOAD_PRODUCERS_MAX);
	is_good &= grow(lane_mib, 64);
	is_good &= bench_is_over() || logs();
	is_good &= grow(starts, 256);
	return bench_end(is_good);
}
