/*
 * publish.c - what a push costs, as a ratio to the least that it could cost on this machine.
 *
 *	publish [-q] [-a] [-j] [-s] [-d DIR]		-a: all combinations, not the usual rows
 *
 * Beside the pushes of each row, in turns (A B A B ...) and in one process, runs the floor
 * (floor.h). In every other round each side is timed as a whole burst; in those between, call by
 * call, less an empty pair of clock reads. Rows with two producers have a third side: the same
 * pushes while a second thread or process publishes in bursts that begin at the same time, on the
 * writer's processor.
 *
 *	bursts		20, each 200 us, the program busy in between; 2,000, each 10 ms;
 *			or four lanes full at once ("flood"), which a lane cannot take
 *	writer		asleep: everything is taken between the bursts; awake: it looks each 100 us;
 *			stopped: SIGSTOP, the lane is full, each push is a drop; slow disk: each
 *page is synced beside a program that writes to the same disk as fast as it can caches
 *as they are; cold: before each burst 16 MiB of other memory are walked; first touch: the first
 *2,000 records of a ring that was just made and bound
 *
 * Exit 1: something failed, or what the log holds is not what was pushed, or what it marks as lost
 * not what was refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "atomic.h"
#include "common.h"
#include "floor.h"
#include "ring_layout.h"
#include "samples.h"
#include "stage.h"

enum {
	LANE_BYTES = 1024 * 1024,
	SIZE_MAX_BYTES = 4096,
	SMALL = 20,
	LARGE = 2000,
	SMALL_BURSTS = 10, /* in one turn, between two drains                                */
	SMALL_US = 200,
	LARGE_US = 10 * 1000,
	FLOOD_LANES = 4,
	NOISE_BYTES = 1024 * 1024,
	NOISE_FILE = 64, /* of them                                                          */
	ROUNDS_MIN = 4,
	ROUND_QUICK_MS = 400,
	ROUND_MS = 1500,
};

enum lane { OWN, SHARED };
enum burst { BURST_SMALL, BURST_LARGE, BURST_FLOOD };
enum writer { ASLEEP, AWAKE, STOPPED, SLOW_DISK };
enum stamp { BY_TSC, BY_WRITER, BY_NOBODY };
enum caches { AS_THEY_ARE, EVICTED, FIRST_TOUCH };
enum company { ALONE, THREAD, PROCESS };

static const char *const lane_names[] = { "own", "shared" };
static const char *const burst_names[] = { "20", "2000", "flood" };
static const char *const writer_names[] = { "asleep", "awake", "stopped", "slow disk" };
static const char *const stamp_names[] = { "tsc", "writer", "none" };
static const char *const cache_names[] = { "as they are", "cold", "first touch" };
static const char *const company_names[] = { "1", "2 threads", "2 processes" };
/* One row. */
struct setup {
	enum lane lane;
	uint32_t size;
	enum burst burst;
	enum writer writer;
	enum stamp stamp;
	enum caches caches;
	enum company company;
};

/* ---- one producer ---- */

struct tally {
	uint64_t pushed;
	uint64_t refused;
};

static const uint8_t payload[SIZE_MAX_BYTES] = "as many bytes of this as the row says";

static unsigned burst_count(const struct setup *setup)
{
	const uint32_t bytes =
		(uint32_t)align_up(setup->size + 16, BLOCK_SIZE); /* 16: the record's header */

	if (setup->burst == BURST_FLOOD)
		return FLOOD_LANES * LANE_BYTES / bytes;
	return setup->burst == BURST_SMALL ? SMALL : LARGE;
}

static unsigned bursts_of(const struct setup *setup)
{
	return setup->burst == BURST_SMALL ? SMALL_BURSTS : 1;
}

static __attribute__((noinline)) unsigned push_burst(struct shmlog *log, uint32_t size,
						     unsigned count)
{
	unsigned refused = 0;

	for (unsigned i = 0; i < count; i++)
		refused += shmlog_try_push(log, payload, size) != 0;
	return refused;
}

static void add(struct tally *tally, unsigned count, unsigned refused)
{
	tally->pushed += count - refused;
	tally->refused += refused;
}

static void pause_before(const struct setup *setup)
{
	if (setup->burst == BURST_SMALL)
		be_busy_us(SMALL_US);
	if (setup->caches == EVICTED)
		evict_caches();
}

/* ---- the second producer ---- */

/* In memory that both see. It publishes whole turns, each when it is told to. */
struct partner {
	struct setup setup;
	struct shmlog *log;
	sem_t go, done;
	struct shared_u64 arrived; /* at the start of a burst: of both, in all               */
	struct shared_u64 is_over;
	struct tally tally;
	pthread_t thread;
	pid_t process;
};

/* Both burst at the same time. */
static void meet(struct partner *partner)
{
	const uint64_t both = (add_relaxed(&partner->arrived, 1) / 2 + 1) * 2;

	while (load_relaxed(&partner->arrived) < both && !bench_is_over())
		;
}

static void *publish_beside(void *argument)
{
	struct partner *partner = argument;
	const struct setup *setup = &partner->setup;
	const unsigned count = burst_count(setup);

	run_on(bench.consumer_cpu);
	for (;;) {
		while (sem_wait(&partner->go) < 0)
			;
		if (load_relaxed(&partner->is_over))
			break;
		for (unsigned i = 0; i < bursts_of(setup); i++) {
			pause_before(setup);
			meet(partner);
			add(&partner->tally, count, push_burst(partner->log, setup->size, count));
		}
		(void)shmlog_sync(partner->log, SHMLOG_SYNC_WRITTEN, NS_PER_S);
		(void)sem_post(&partner->done);
	}
	(void)shmlog_unbind(partner->log);
	return NULL;
}

static struct partner *partner_start(const struct setup *setup, struct shmlog *log)
{
	struct partner *partner = shared_memory(sizeof(*partner));

	partner->setup = *setup;
	partner->log = log;
	(void)sem_init(&partner->go, 1, 0);
	(void)sem_init(&partner->done, 1, 0);
	if (setup->company == THREAD) {
		if (pthread_create(&partner->thread, NULL, publish_beside, partner))
			die("thread", -EAGAIN);
		return partner;
	}
	partner->process = bench_fork(bench.consumer_cpu);
	if (partner->process == 0) {
		(void)publish_beside(partner);
		_exit(0);
	}
	return partner;
}

static void partner_end(struct partner *partner)
{
	store_relaxed(&partner->is_over, 1);
	(void)sem_post(&partner->go);
	if (partner->process)
		(void)bench_wait(partner->process, 0, NULL);
	else
		(void)pthread_join(partner->thread, NULL);
}

/* ---- one row ---- */

enum side { FLOOR, PUSH, PUSH_BESIDE, SIDES };

struct row {
	struct setup setup;
	struct floor floor;
	struct stage stage;
	struct partner *partner; /* NULL: alone                                              */
	struct tally tally;
	struct stage_count found;
	pid_t noise;
	struct samples bursts[SIDES], calls[SIDES]; /* ns of one record                      */
	struct samples ratio, beside_ratio;         /* of one round                          */
};

/* Returns how many were refused. */
static unsigned copy_or_push(struct row *row, enum side side, unsigned count)
{
	if (side != FLOOR)
		return push_burst(row->stage.log, row->setup.size, count);
	floor_burst(&row->floor, payload, count);
	return 0;
}

/* Nanoseconds of one record, over the whole burst. */
static double time_burst(struct row *row, enum side side, unsigned count, unsigned *refused)
{
	const uint64_t began = clock_counter();

	*refused = copy_or_push(row, side, count);
	return ns_of_ticks(clock_counter() - began) / count;
}

static void time_calls(struct row *row, enum side side, unsigned count, unsigned *refused)
{
	*refused = 0;
	for (unsigned i = 0; i < count; i++) {
		const uint64_t began = ticks_in_order();
		const unsigned is_refused = copy_or_push(row, side, 1);

		samples_add(&row->calls[side], ns_of_call(ticks_in_order() - began));
		*refused += is_refused;
	}
}

static void drain(struct row *row, enum side side)
{
	if (side == FLOOR)
		floor_drain(&row->floor);
	else if (row->setup.writer != STOPPED && row->setup.caches != FIRST_TOUCH)
		stage_drain(&row->stage);
	if (side == PUSH_BESIDE)
		(void)wait_for(&row->partner->done);
	if (row->setup.burst == BURST_LARGE)
		nap_us(LARGE_US);
}

/* The bursts of one side between two drains. Returns the mean. */
static double take_turn(struct row *row, enum side side, bool by_call)
{
	const unsigned bursts = bursts_of(&row->setup), count = burst_count(&row->setup);
	unsigned refused;
	double sum = 0;

	if (side == PUSH_BESIDE)
		(void)sem_post(&row->partner->go);
	for (unsigned i = 0; i < bursts; i++) {
		pause_before(&row->setup);
		if (side == PUSH_BESIDE)
			meet(row->partner);
		if (by_call)
			time_calls(row, side, count, &refused);
		else
			sum += time_burst(row, side, count, &refused);
		if (side != FLOOR)
			add(&row->tally, count, refused);
	}
	drain(row, side);
	return sum / bursts;
}

/* Who begins changes with the round. */
static void take_round(struct row *row, unsigned round)
{
	const unsigned sides = row->partner ? SIDES : PUSH_BESIDE;
	const bool by_call = round % 2;
	double mean[SIDES] = { 0 };

	for (unsigned i = 0; i < sides; i++) {
		const enum side side = (enum side)((i + round / 2) % sides);

		mean[side] = take_turn(row, side, by_call);
	}
	if (by_call)
		return;
	for (unsigned i = 0; i < sides; i++)
		samples_add(&row->bursts[i], mean[i]);
	samples_add(&row->ratio, mean[PUSH] / mean[FLOOR]);
	if (row->partner)
		samples_add(&row->beside_ratio, mean[PUSH_BESIDE] / mean[PUSH]);
}

/* ---- its stage ---- */

/* Writes and syncs on the log's disk, for as long as it lives. */
static _Noreturn void make_noise(const char *directory)
{
	static _Alignas(4096) uint8_t data[NOISE_BYTES];
	char path[160];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/noise", directory);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_DIRECT, 0600);
	if (fd < 0)
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	for (unsigned i = 0; fd >= 0; i++) {
		if (pwrite(fd, data, sizeof(data), i % NOISE_FILE * (off_t)sizeof(data)) < 0)
			break;
		(void)fdatasync(fd);
	}
	_exit(1);
}

static struct shmlog_options ring_options(const struct setup *setup)
{
	static const enum shmlog_clock clocks[] = { SHMLOG_CLOCK_TSC, SHMLOG_CLOCK_WRITER,
						    SHMLOG_CLOCK_NONE };

	return (struct shmlog_options){
		.lanes = setup->lane == SHARED ? 1 : 4,
		.lane_size = LANE_BYTES,
		.clock = clocks[setup->stamp],
	};
}

static void open_stage(struct row *row)
{
	static const char *const asleep[] = { "--flush-interval", "1s", "--sync", "none", NULL };
	static const char *const awake[] = { "--flush-interval", "100us", "--sync", "none", NULL };
	static const char *const slow[] = { "--flush-interval", "1s",      "--sync", "page",
					    "--release",        "durable", NULL };
	static const char *const *const options[] = { asleep, awake, asleep, slow };

	stage_open(&row->stage, ring_options(&row->setup), options[row->setup.writer]);
}

/* The writer sleeps, is stopped there, and the lane is filled. */
static void fill_and_stop(struct row *row)
{
	(void)kill(row->stage.writer, SIGSTOP);
	add(&row->tally, LANE_BYTES / BLOCK_SIZE,
	    push_burst(row->stage.log, row->setup.size, LANE_BYTES / BLOCK_SIZE));
}

static void close_stage(struct row *row)
{
	struct stage_count found;

	if (row->setup.writer == STOPPED)
		(void)kill(row->stage.writer, SIGCONT);
	stage_close(&row->stage, &found);
	row->found.records += found.records;
	row->found.lost += found.lost;
}

static void row_open(struct row *row)
{
	floor_open(&row->floor, LANE_BYTES, row->setup.size, row->setup.stamp == BY_TSC);
	if (row->setup.caches == FIRST_TOUCH)
		return;
	open_stage(row);
	if (row->setup.writer == SLOW_DISK) {
		row->noise = bench_fork(bench.consumer_cpu);
		if (row->noise == 0)
			make_noise(bench.directory);
	}
	if (row->setup.writer == STOPPED)
		fill_and_stop(row);
	if (row->setup.company != ALONE)
		row->partner = partner_start(&row->setup, row->stage.log);
}

static void row_close(struct row *row)
{
	if (row->partner) {
		partner_end(row->partner);
		row->tally.pushed += row->partner->tally.pushed;
		row->tally.refused += row->partner->tally.refused;
		(void)munmap(row->partner, sizeof(*row->partner));
	}
	if (row->noise)
		(void)bench_wait(row->noise, SIGKILL, NULL);
	if (row->setup.caches != FIRST_TOUCH)
		close_stage(row);
	floor_close(&row->floor);
}

/* A ring of which nothing was touched but what binding touches, and a floor likewise. */
static void take_fresh_round(struct row *row, unsigned round)
{
	floor_close(&row->floor);
	floor_open(&row->floor, LANE_BYTES, row->setup.size, row->setup.stamp == BY_TSC);
	open_stage(row);
	take_round(row, round);
	close_stage(row);
}

static void measure(struct row *row)
{
	const uint64_t ms = bench.is_quick ? ROUND_QUICK_MS : ROUND_MS;
	const uint64_t end_ns = clock_monotonic_ns() + ms * NS_PER_MS;
	unsigned round = 0;

	do {
		if (row->setup.caches == FIRST_TOUCH)
			take_fresh_round(row, round++);
		else
			take_round(row, round++);
	} while (!bench_is_over() && (round < ROUNDS_MIN || clock_monotonic_ns() < end_ns));
}

/* ---- the report ---- */

static bool is_sound(const struct row *row)
{
	return row->found.records == row->tally.pushed && row->found.lost == row->tally.refused;
}

static void print_head(void)
{
	printf("A push beside the floor: medians (10 %% .. 90 %% of the rounds), ns of a record; "
	       "single "
	       "calls of all rounds, ns.\n"
	       "Two producers: beside the same pushes of one alone. dropped, on disk: counted by "
	       "the "
	       "producers, found in the log.\n"
	       "%-6s %5s %-5s %-9s %-6s %-11s %-11s %8s %-17s %8s %-17s %7s"
	       " | %6s %6s %6s %6s %7s %8s | %6s %6s | %9s %9s\n",
	       "lane", "bytes", "burst", "writer", "clock", "caches", "producers", "ratio", "",
	       "push", "", "floor", "p50", "p90", "p99", "p99.9", "p99.99", "max", "f.p50",
	       "f.99.9", "dropped", "on disk");
}

static void print_calls(struct row *row)
{
	static const double shares[] = { 0.5, 0.9, 0.99, 0.999 };
	struct samples *calls = &row->calls[row->partner ? PUSH_BESIDE : PUSH];

	printf(" |");
	for (size_t i = 0; i < COUNT_OF(shares); i++)
		printf(" %6.0f", samples_at(calls, shares[i]));
	printf(" %7.0f %8.0f", samples_at(calls, 0.9999), samples_at(calls, 1));
	printf(" | %6.0f %6.0f", samples_at(&row->calls[FLOOR], 0.5),
	       samples_at(&row->calls[FLOOR], 0.999));
}

static void print_row(struct row *row)
{
	const struct setup *setup = &row->setup;

	printf("%-6s %5u %-5s %-9s %-6s %-11s %-11s", lane_names[setup->lane], setup->size,
	       burst_names[setup->burst], writer_names[setup->writer], stamp_names[setup->stamp],
	       cache_names[setup->caches], company_names[setup->company]);
	print_spread(row->partner ? &row->beside_ratio : &row->ratio, 2);
	print_spread(&row->bursts[row->partner ? PUSH_BESIDE : PUSH], 1);
	printf(" %7.1f", samples_at(&row->bursts[row->partner ? PUSH : FLOOR], 0.5));
	print_calls(row);
	printf(" | %9llu %9llu%s\n", (unsigned long long)row->tally.refused,
	       (unsigned long long)row->found.records, is_sound(row) ? "" : "  WRONG");
}

static void print_json(struct row *row)
{
	const struct setup *setup = &row->setup;

	printf("{\"bench\":\"publish\",\"lane\":\"%s\",\"bytes\":%u,\"burst\":\"%s\",\"writer\":\"%"
	       "s\""
	       ",\"clock\":\"%s\",\"caches\":\"%s\",\"producers\":\"%s\"",
	       lane_names[setup->lane], setup->size, burst_names[setup->burst],
	       writer_names[setup->writer], stamp_names[setup->stamp], cache_names[setup->caches],
	       company_names[setup->company]);
	json_spread("ratio", &row->ratio);
	json_spread("push_ns", &row->bursts[PUSH]);
	json_spread("floor_ns", &row->bursts[FLOOR]);
	json_percentiles("call_ns", &row->calls[PUSH]);
	json_percentiles("floor_call_ns", &row->calls[FLOOR]);
	if (row->partner) {
		json_spread("beside_ratio", &row->beside_ratio);
		json_spread("beside_ns", &row->bursts[PUSH_BESIDE]);
		json_percentiles("beside_call_ns", &row->calls[PUSH_BESIDE]);
	}
	printf(",\"pushed\":%llu,\"dropped\":%llu,\"on_disk\":%llu,\"marked_lost\":%llu}\n",
	       (unsigned long long)row->tally.pushed, (unsigned long long)row->tally.refused,
	       (unsigned long long)row->found.records, (unsigned long long)row->found.lost);
}

/* True: the log holds what was pushed. */
static bool run_row(const struct setup *setup)
{
	struct row row = { .setup = *setup };

	row_open(&row);
	measure(&row);
	row_close(&row);
	if (bench_is_over())
		return false;
	if (bench.is_json)
		print_json(&row);
	else
		print_row(&row);
	for (unsigned i = 0; i < SIDES; i++) {
		samples_free(&row.bursts[i]);
		samples_free(&row.calls[i]);
	}
	samples_free(&row.ratio);
	samples_free(&row.beside_ratio);
	return is_sound(&row);
}

/* ---- which rows ---- */

#define ROW(...)                        \
	{                               \
		.size = 40, __VA_ARGS__ \
	}

static const struct setup usual[] = {
	ROW(.burst = BURST_SMALL),
	ROW(.burst = BURST_SMALL, .caches = EVICTED),
	ROW(.burst = BURST_LARGE, .caches = FIRST_TOUCH),
	ROW(.burst = BURST_SMALL, .stamp = BY_WRITER),
	ROW(.burst = BURST_SMALL, .stamp = BY_NOBODY),
	ROW(.burst = BURST_SMALL, .writer = AWAKE),
	ROW(.burst = BURST_SMALL, .writer = SLOW_DISK),
	ROW(.burst = BURST_SMALL, .writer = STOPPED),
	ROW(.burst = BURST_LARGE),
	ROW(.burst = BURST_LARGE, .stamp = BY_NOBODY),
	ROW(.burst = BURST_FLOOD, .writer = AWAKE),
	ROW(.burst = BURST_LARGE, .writer = STOPPED),
	{ .size = 8, .burst = BURST_SMALL },
	{ .size = 256, .burst = BURST_SMALL },
	{ .size = 1024, .burst = BURST_SMALL },
	{ .size = 4096, .burst = BURST_SMALL },
	ROW(.lane = SHARED, .burst = BURST_SMALL),
	ROW(.lane = SHARED, .burst = BURST_LARGE),
	ROW(.burst = BURST_LARGE, .company = THREAD),
	ROW(.burst = BURST_LARGE, .company = PROCESS),
	ROW(.lane = SHARED, .burst = BURST_LARGE, .company = THREAD),
	ROW(.lane = SHARED, .burst = BURST_LARGE, .company = PROCESS),
};

/* What cannot be: a first touch is one burst of one producer, a stopped writer drains for nobody.
 */
static bool is_possible(const struct setup *setup)
{
	if (setup->caches == FIRST_TOUCH &&
	    (setup->burst != BURST_LARGE || setup->writer != ASLEEP || setup->company != ALONE))
		return false;
	if (setup->writer == STOPPED && setup->company != ALONE)
		return false;
	return setup->company == ALONE || bench.producer_cpu != bench.consumer_cpu;
}

static bool run_usual(void)
{
	bool is_good = true;

	for (size_t i = 0; i < COUNT_OF(usual) && !bench_is_over(); i++)
		if (is_possible(&usual[i]))
			is_good &= run_row(&usual[i]);
	return is_good;
}

/* All of them, as digits of one number: the first counts fastest. */
static bool run_all(void)
{
	static const uint32_t sizes[] = { 8, 40, 256, 1024, SIZE_MAX_BYTES };
	const size_t count = 2 * COUNT_OF(sizes) * 3 * 4 * 3 * 3 * 3;
	bool is_good = true;

	for (size_t i = 0; i < count && !bench_is_over(); i++) {
		size_t rest = i;
		struct setup setup;

		setup.size = sizes[rest % COUNT_OF(sizes)], rest /= COUNT_OF(sizes);
		setup.stamp = (enum stamp)(rest % 3), rest /= 3;
		setup.burst = (enum burst)(rest % 3), rest /= 3;
		setup.caches = (enum caches)(rest % 3), rest /= 3;
		setup.writer = (enum writer)(rest % 4), rest /= 4;
		setup.company = (enum company)(rest % 3), rest /= 3;
		setup.lane = (enum lane)rest;
		if (is_possible(&setup))
			is_good &= run_row(&setup);
	}
	return is_good;
}

int main(int argc, char **argv)
{
	bool is_good;

	bench_begin("publish", argc, argv);
	if (!bench.is_json)
		print_head();
	is_good = bench.is_all ? run_all() : run_usual();
	return bench_end(is_good);
}
