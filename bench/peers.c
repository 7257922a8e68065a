/*
 * peers.c - the same records through shmlog and through others.
 *
 *	peers [-q] [-j] [-s] [-d DIR]
 *
 * Bursts: 20 records of 40 bytes each 200 us, the program busy in between; all peers are open, and
 * take turns of ten bursts. Every other round is timed call by call, less an empty pair of clock
 * reads. Flood: ten million of them, as fast as the peer takes them, until they are in a synced
 * file; one peer after the other, again and again. Lost: tried, less what is found in the file.
 *
 * They promise different things (docs/PERFORMANCE.md); "asked" says what each was asked to do. Who
 * is not installed is named, and left out. Exit 1: something failed.
 */
#include "peers.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "samples.h"

enum {
	SIZE = 40,
	BURST = 20,
	BURSTS = 10,
	BUSY_US = 200,
	REST_US = 1000, /* for who reads, between two turns                                   */
	QUICK_ROUNDS = 40,
	ROUNDS = 400,
	QUICK_FLOOD = 200 * 1000,
	FLOOD = 10 * 1000 * 1000,
	QUICK_FLOODS = 3,
	FLOODS = 3,
};

static const struct peer *const all[] = { &peer_shmlog, &peer_lttng, &peer_spdlog, &peer_datagram,
					  &peer_write };

struct result {
	const struct peer *peer; /* NULL: it is missing                                      */
	struct samples burst, burst_ratio, calls; /* ns of a record                          */
	struct samples flood, flood_ratio;        /* million records a second, in the file   */
	uint64_t burst_tried, burst_lost;
	uint64_t flood_tried, flood_lost;
};

static const uint8_t payload[SIZE] = "forty bytes, as many as a short message";

void *peer_symbol(const char *object, const char *name)
{
	char path[PATH_MAX];
	const ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	void *handle;

	if (length < 0)
		return NULL;
	path[length] = '\0';
	if (!strrchr(path, '/') || (size_t)length + strlen(object) >= sizeof(path))
		return NULL;
	(void)strcpy(strrchr(path, '/') + 1, object);
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	return handle ? dlsym(handle, name) : NULL;
}

/* ---- bursts ---- */

/* Nanoseconds of a record. */
static double time_burst(const struct peer *peer)
{
	const uint64_t began = clock_counter();

	for (unsigned i = 0; i < BURST; i++)
		peer->log(payload, SIZE);
	return ns_of_ticks(clock_counter() - began) / BURST;
}

static void time_calls(struct result *result)
{
	for (unsigned i = 0; i < BURST; i++) {
		const uint64_t began = ticks_in_order();

		result->peer->log(payload, SIZE);
		samples_add(&result->calls, ns_of_call(ticks_in_order() - began));
	}
}

static double take_turn(struct result *result, bool by_call)
{
	double sum = 0;

	for (unsigned i = 0; i < BURSTS; i++) {
		be_busy_us(BUSY_US);
		if (by_call)
			time_calls(result);
		else
			sum += time_burst(result->peer);
	}
	result->burst_tried += BURST * BURSTS;
	nap_us(REST_US);
	return sum / BURSTS;
}

/* Who begins changes with the round. */
static void burst_round(struct result *results, unsigned round)
{
	double mean[COUNT_OF(all)];

	for (size_t i = 0; i < COUNT_OF(all); i++) {
		const size_t at = (i + round) % COUNT_OF(all);

		if (results[at].peer)
			mean[at] = take_turn(&results[at], round % 2);
	}
	for (size_t i = 0; i < COUNT_OF(all) && round % 2 == 0; i++) {
		if (!results[i].peer)
			continue;
		samples_add(&results[i].burst, mean[i]);
		samples_add(&results[i].burst_ratio, mean[i] / mean[0]);
	}
}

/* In a directory of its own. */
static void open_peer(const struct peer *peer, size_t number, bool is_flood)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%zu", bench.directory, number);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		die(path, -errno);
	peer->open(path, is_flood);
}

static void burst_all(struct result *results)
{
	for (size_t i = 0; i < COUNT_OF(all); i++)
		if (results[i].peer)
			open_peer(results[i].peer, i, false);
	for (unsigned i = 0; i < (bench.is_quick ? QUICK_ROUNDS : ROUNDS) && !bench_is_over(); i++)
		burst_round(results, i);
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		if (!results[i].peer)
			continue;
		results[i].peer->finish();
		results[i].burst_lost = results[i].burst_tried - results[i].peer->count();
		results[i].peer->close();
	}
}

/* ---- floods ---- */

/* Seconds a record that is in the file. */
static double flood_one(struct result *result, size_t number)
{
	const uint64_t tried = bench.is_quick ? QUICK_FLOOD : FLOOD;
	uint64_t began, count;
	double seconds;

	open_peer(result->peer, number, true);
	began = clock_monotonic_ns();
	for (uint64_t i = 0; i < tried && !bench_is_over(); i++)
		result->peer->log(payload, SIZE);
	result->peer->finish();
	seconds = seconds_since(began);
	count = result->peer->count();
	result->peer->close();
	result->flood_tried += tried;
	result->flood_lost += tried - count;
	samples_add(&result->flood, (double)count / seconds / 1e6);
	return seconds / (double)count;
}

static void flood_round(struct result *results, unsigned round)
{
	double each[COUNT_OF(all)];

	for (size_t i = 0; i < COUNT_OF(all) && !bench_is_over(); i++) {
		const size_t at = (i + round) % COUNT_OF(all);

		if (results[at].peer)
			each[at] = flood_one(&results[at], at);
	}
	for (size_t i = 0; i < COUNT_OF(all) && !bench_is_over(); i++)
		if (results[i].peer)
			samples_add(&results[i].flood_ratio, each[0] / each[i]);
}

/* ---- the report ---- */

static void print_head(void)
{
	printf("Bursts of %d records of %d bytes each %d us; a flood of %d until synced: medians "
	       "(10 %% .. 90 %% of the rounds)\n"
	       "%-13s %8s %-17s %8s %-17s %7s %7s %8s %7s | %8s %-17s %8s %-17s %9s\n",
	       BURST, SIZE, BUSY_US, bench.is_quick ? QUICK_FLOOD : FLOOD, "", "x shmlog", "",
	       "burst ns", "", "p50", "p99", "p99.9", "lost", "of shmlog", "", "M/s", "", "lost");
}

static void print_result(struct result *result)
{
	printf("%-13s", result->peer->name);
	print_spread(&result->burst_ratio, 1);
	print_spread(&result->burst, 0);
	printf(" %7.0f %7.0f %8.0f %7llu |", samples_at(&result->calls, 0.5),
	       samples_at(&result->calls, 0.99), samples_at(&result->calls, 0.999),
	       (unsigned long long)result->burst_lost);
	print_spread(&result->flood_ratio, 3);
	print_spread(&result->flood, 2);
	printf(" %9llu\n", (unsigned long long)result->flood_lost);
}

static void json_result(struct result *result)
{
	printf("{\"bench\":\"peers\",\"peer\":\"%s\",\"asked\":\"%s\",\"burst_lost\":%llu,\"flood_"
	       "tried\""
	       ":%llu,\"flood_lost\":%llu",
	       result->peer->name, result->peer->asked, (unsigned long long)result->burst_lost,
	       (unsigned long long)result->flood_tried, (unsigned long long)result->flood_lost);
	json_spread("burst_ratio", &result->burst_ratio);
	json_spread("burst_ns", &result->burst);
	json_percentiles("call_ns", &result->calls);
	json_spread("flood_ratio", &result->flood_ratio);
	json_spread("flood_million_s", &result->flood);
	printf("}\n");
}

static void report(struct result *results)
{
	if (!bench.is_json)
		print_head();
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		if (!results[i].peer)
			continue;
		if (bench.is_json)
			json_result(&results[i]);
		else
			print_result(&results[i]);
	}
	for (size_t i = 0; i < COUNT_OF(all) && !bench.is_json; i++)
		if (results[i].peer)
			printf("%-13s %s\n", results[i].peer->name, results[i].peer->asked);
}

static void find_peers(struct result *results)
{
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		const char *missing = all[i]->missing();

		if (missing)
			(void)fprintf(stderr, "SKIPPED: %s: %s; make bench-deps installs it\n",
				      all[i]->name, missing);
		else
			results[i].peer = all[i];
	}
}

int main(int argc, char **argv)
{
	static struct result results[COUNT_OF(all)];

	bench_begin("peers", argc, argv);
	find_peers(results);
	burst_all(results);
	for (unsigned i = 0; i < (bench.is_quick ? QUICK_FLOODS : FLOODS) && !bench_is_over(); i++)
		flood_round(results, i);
	if (!bench_is_over())
		report(results);
	return bench_end(true);
}
