/*
 * publish.c - what a push costs, as a ratio to the least that it could cost on this machine.
 *
 *	publish [-q]		-q: about 3 s instead of 12
 *
 * The floor: read the time-stamp counter, store a record header (16 bytes) and copy 40 bytes into
 * a plain buffer of the lane's size, walked as a ring of 64-byte blocks. Beside it, in turns (A B
 * A B ...) and in one process:
 *
 *	own lane, 2000	shmlog_try_push() of 40 bytes, 2,000 at once
 *	own lane, 20	20 at once, the program busy for 200 us in between
 *	lane 0, 2000	a ring with one lane, which all threads would share
 *	full lane	the same push, dropped
 *	no clock, 2000	a ring without stamps, beside the copy without the counter
 *
 * Each ring is drained by a shmlog-writer of its own on the other processor (but the full one: by
 * nobody). Between two bursts shmlog_sync() and a pause let it take everything and go to sleep, so
 * that no burst runs against the consumer. The floor's buffer is read by a thread on that same
 * processor between its bursts: both sides find their lines equally cold.
 *
 * Prints medians over the rounds, and where 8 of 10 rounds lie. The result is the ratio; other
 * programs on the machine move all of it. Asserts no time. Exit 1: something failed, or a push was
 * dropped where there was room.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic.h"
#include "base.h"
#include "clock.h"
#include "record_layout.h"
#include "shmlog.h"

enum {
	PAYLOAD = 40,
	BURST = 2000,
	SMALL_BURST = 20,
	SMALL_BURSTS = 10, /* between two syncs                                          */
	BUSY_US = 200,
	PAUSE_US = 300, /* the writer goes to sleep                                      */
	LANE_BYTES = 1024 * 1024,
	FULL_LANE_BYTES = 64 * 1024,
	ROUNDS_MAX = 4096,
	BOUNCES = 500, /* of which the time is taken at once                             */
	BOUNCE_TIMES = 101,
	SYNC_TIMEOUT_S = 10,
};

static volatile sig_atomic_t stop_wanted;

static void stop(int signal_no)
{
	(void)signal_no;
	stop_wanted = 1;
}

static void fail(const char *what, int error)
{
	fprintf(stderr, "publish: %s: %s\n", what, shmlog_strerror(error));
}

/* ---- processors ---- */

struct processors {
	int producer;
	int consumer;
};

/* The first two that we may run on; the same one twice where there is only one. */
static struct processors find_processors(void)
{
	struct processors found = { -1, -1 };
	cpu_set_t set;

	(void)sched_getaffinity(0, sizeof(set), &set);
	for (unsigned i = 0; i < CPU_SETSIZE && found.consumer < 0; i++) {
		if (!CPU_ISSET(i, &set))
			continue;
		if (found.producer < 0)
			found.producer = (int)i;
		else
			found.consumer = (int)i;
	}
	if (found.consumer < 0)
		found.consumer = found.producer;
	return found;
}

static void run_on(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)processor, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

/* ---- time ---- */

static double ns_per_tick;

static void measure_clock(void)
{
	const uint64_t ns = clock_monotonic_ns();
	const uint64_t ticks = clock_counter();

	while (clock_monotonic_ns() - ns < 50 * NS_PER_MS)
		;
	ns_per_tick = (double)(clock_monotonic_ns() - ns) / (double)(clock_counter() - ticks);
}

static void be_busy(uint64_t us)
{
	static uint8_t work[256 * 1024]; /* what a program does pushes others out of the cache */
	const uint64_t end = clock_monotonic_ns() + us * NS_PER_US;

	do {
		for (size_t i = 0; i < sizeof(work); i += 64)
			work[i]++;
	} while (clock_monotonic_ns() < end);
}

/* ---- the floor ---- */

/* A plain buffer beside the ring, and who reads it as the writer reads the ring. */
struct floor {
	uint8_t *blocks;
	uint64_t position;
	uint64_t read_to;
	pthread_t reader;
	int processor;
	sem_t filled;
	sem_t drained;
	bool is_over;
};

static uint8_t *floor_block(const struct floor *floor, uint64_t position)
{
	return floor->blocks + position % (LANE_BYTES / BLOCK_SIZE) * BLOCK_SIZE;
}

static __attribute__((noinline)) void floor_stamped(struct floor *floor, const void *payload,
						    unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct record_header header = {
			.length = PAYLOAD, .kind = RECORD_DATA, .level = 6, .ticks = clock_counter()
		};
		uint8_t *block = floor_block(floor, floor->position++);

		memcpy(block, &header, sizeof(header));
		memcpy(block + sizeof(header), payload, PAYLOAD);
	}
}

static __attribute__((noinline)) void floor_bare(struct floor *floor, const void *payload,
						 unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct record_header header = { .length = PAYLOAD,
						      .kind = RECORD_DATA,
						      .level = 6 };
		uint8_t *block = floor_block(floor, floor->position++);

		memcpy(block, &header, sizeof(header));
		memcpy(block + sizeof(header), payload, PAYLOAD);
	}
}

static void *read_floor(void *argument)
{
	struct floor *floor = argument;
	uint8_t page[BLOCK_SIZE];

	run_on(floor->processor);
	for (;;) {
		(void)sem_wait(&floor->filled);
		if (floor->is_over)
			return NULL;
		for (; floor->read_to < floor->position; floor->read_to++) {
			memcpy(page, floor_block(floor, floor->read_to), BLOCK_SIZE);
			__asm__ volatile("" : : "r"(page) : "memory");
		}
		(void)sem_post(&floor->drained);
	}
}

static int floor_open(struct floor *floor, int processor)
{
	void *memory = mmap(NULL, LANE_BYTES, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		return -errno;
	floor->blocks = memory;
	floor->processor = processor;
	(void)sem_init(&floor->filled, 0, 0);
	(void)sem_init(&floor->drained, 0, 0);
	return -pthread_create(&floor->reader, NULL, read_floor, floor);
}

static void floor_close(struct floor *floor)
{
	if (!floor->blocks)
		return;
	floor->is_over = true;
	(void)sem_post(&floor->filled);
	(void)pthread_join(floor->reader, NULL);
	(void)munmap(floor->blocks, LANE_BYTES);
}

static void floor_drain(struct floor *floor)
{
	(void)sem_post(&floor->filled);
	while (sem_wait(&floor->drained) < 0)
		;
}

/* ---- rings and their writers ---- */

struct ring {
	char name[64];
	struct shmlog *log;
	pid_t writer; /* 0: none                                                         */
};

/* The directory that holds everything that we write. */
static char directory[64];

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)status;
	(void)type;
	(void)at;
	return remove(path);
}

static void remove_directory(void)
{
	if (directory[0])
		(void)nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static int make_directory(void)
{
	(void)snprintf(directory, sizeof(directory), "/tmp/shmlog-bench.XXXXXX");
	if (mkdtemp(directory))
		return 0;
	directory[0] = '\0';
	return -errno;
}

/* bench/publish lies below the directory in which the programs were built. */
static int find_writer(char *path, size_t size)
{
	const ssize_t length = readlink("/proc/self/exe", path, size - 1);
	char *end;

	if (length < 0)
		return -errno;
	path[length] = '\0';
	for (int i = 0; i < 2; i++) {
		end = strrchr(path, '/');
		if (!end)
			return -ENOENT;
		*end = '\0';
	}
	if ((size_t)(end - path) + sizeof("/shmlog-writer") > size)
		return -ENAMETOOLONG;
	(void)strcpy(end, "/shmlog-writer");
	return access(path, X_OK) < 0 ? -errno : 0;
}

static _Noreturn void exec_writer(const char *path, const char *ring, int processor)
{
	char log[128], cpu[16];

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)snprintf(log, sizeof(log), "%s/%s", directory, ring);
	(void)snprintf(cpu, sizeof(cpu), "%d", processor);
	(void)execl(path, path, "-r", ring, "-d", log, "--cpu", cpu, "--flush-interval", "1s",
		    "--sync", "none", "--max-file", "64M", (char *)NULL);
	(void)execl(path, path, "-r", ring, "-d", log, (char *)NULL);
	_exit(127);
}

static int start_writer(struct ring *ring, int processor)
{
	char path[4096];
	int r = find_writer(path, sizeof(path));

	if (r < 0)
		return r;
	ring->writer = fork();
	if (ring->writer == 0)
		exec_writer(path, ring->name, processor);
	if (ring->writer < 0) {
		ring->writer = 0;
		return -errno;
	}
	r = shmlog_try_push(ring->log, "warm", 4);
	return r < 0 ? r
		     : shmlog_sync(ring->log, SHMLOG_SYNC_WRITTEN,
				   SYNC_TIMEOUT_S * (int64_t)NS_PER_S);
}

static int ring_open(struct ring *ring, const char *suffix, struct shmlog_options options)
{
	options.name = "bench";
	options.create = 1;
	(void)snprintf(ring->name, sizeof(ring->name), "bench-%d-%s", (int)getpid(), suffix);
	return shmlog_attach(ring->name, &options, &ring->log);
}

static void ring_close(struct ring *ring)
{
	char name[sizeof(ring->name) + 16];

	if (ring->writer) {
		(void)kill(ring->writer, SIGTERM);
		(void)waitpid(ring->writer, NULL, 0);
	}
	if (!ring->log)
		return;
	shmlog_detach(&ring->log);
	(void)strcat(strcpy(name, "/shmlog."), ring->name);
	(void)shm_unlink(name);
}

/* The writer takes everything, and sleeps again. */
static int ring_drain(struct ring *ring)
{
	int r;

	if (!ring->writer)
		return 0;
	r = shmlog_sync(ring->log, SHMLOG_SYNC_WRITTEN, SYNC_TIMEOUT_S * (int64_t)NS_PER_S);
	(void)usleep(PAUSE_US);
	return r;
}

/* ---- one burst of each side ---- */

struct samples {
	double ns[ROUNDS_MAX]; /* of one record                                          */
};

struct comparison {
	const char *title;
	struct ring *ring;
	void (*floor)(struct floor *floor, const void *payload, unsigned count);
	unsigned burst;
	unsigned bursts; /* before the consumer's turn                                 */
	int expected;    /* of each push                                               */
	struct samples floors, pushes, ratios;
};

static const uint8_t payload[PAYLOAD] = "forty bytes, as many as a short message";

static __attribute__((noinline)) int push_burst(struct shmlog *log, unsigned count, int expected)
{
	int wrong = 0;

	for (unsigned i = 0; i < count; i++)
		wrong |= shmlog_try_push(log, payload, PAYLOAD) ^ expected;
	return wrong ? -EIO : 0;
}

static double ns_each(uint64_t ticks, unsigned count)
{
	return (double)ticks * ns_per_tick / count;
}

static double time_floor(const struct comparison *comparison, struct floor *floor)
{
	uint64_t ticks = 0;

	for (unsigned i = 0; i < comparison->bursts; i++) {
		uint64_t began;

		if (comparison->bursts > 1)
			be_busy(BUSY_US);
		began = clock_counter();
		comparison->floor(floor, payload, comparison->burst);
		ticks += clock_counter() - began;
	}
	floor_drain(floor);
	(void)usleep(PAUSE_US);
	return ns_each(ticks, comparison->burst * comparison->bursts);
}

static int time_pushes(const struct comparison *comparison, double *ret_ns)
{
	uint64_t ticks = 0;
	int r = 0;

	for (unsigned i = 0; i < comparison->bursts && r == 0; i++) {
		uint64_t began;

		if (comparison->bursts > 1)
			be_busy(BUSY_US);
		began = clock_counter();
		r = push_burst(comparison->ring->log, comparison->burst, comparison->expected);
		ticks += clock_counter() - began;
	}
	*ret_ns = ns_each(ticks, comparison->burst * comparison->bursts);
	return r < 0 ? r : ring_drain(comparison->ring);
}

/* Who begins changes with the round. */
static int compare_once(struct comparison *comparison, struct floor *floor, unsigned round)
{
	double floor_ns = 0, push_ns;
	int r;

	if (round % 2)
		floor_ns = time_floor(comparison, floor);
	r = time_pushes(comparison, &push_ns);
	if (!(round % 2))
		floor_ns = time_floor(comparison, floor);
	comparison->floors.ns[round] = floor_ns;
	comparison->pushes.ns[round] = push_ns;
	comparison->ratios.ns[round] = push_ns / floor_ns;
	return r;
}

static int compare_doubles(const void *left, const void *right)
{
	const double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

/* ---- two processors and one line ---- */

struct bounce {
	_Alignas(128) struct shared_u64 ball;
	int processor;
};

static void *bounce_back(void *argument)
{
	struct bounce *bounce = argument;

	run_on(bounce->processor);
	for (uint64_t i = 0; i < (uint64_t)BOUNCES * BOUNCE_TIMES; i++) {
		while (load_relaxed(&bounce->ball) != 2 * i + 1)
			;
		store_relaxed(&bounce->ball, 2 * i + 2);
	}
	return NULL;
}

static double time_bounces(struct bounce *bounce)
{
	const uint64_t first = load_relaxed(&bounce->ball);
	const uint64_t began = clock_counter();

	for (uint64_t ball = first; ball < first + 2 * BOUNCES; ball += 2) {
		store_relaxed(&bounce->ball, ball + 1);
		while (load_relaxed(&bounce->ball) != ball + 2)
			;
	}
	return ns_each(clock_counter() - began, 2 * BOUNCES);
}

/* One way, in nanoseconds, the median; 0 with a single processor. */
static double measure_bounce(const struct processors *processors)
{
	static struct bounce bounce;
	double times[BOUNCE_TIMES];
	pthread_t other;

	if (processors->producer == processors->consumer)
		return 0;
	store_relaxed(&bounce.ball, 0);
	bounce.processor = processors->consumer;
	if (pthread_create(&other, NULL, bounce_back, &bounce))
		return 0;
	for (size_t i = 0; i < BOUNCE_TIMES; i++)
		times[i] = time_bounces(&bounce);
	(void)pthread_join(other, NULL);
	qsort(times, BOUNCE_TIMES, sizeof(*times), compare_doubles);
	return times[BOUNCE_TIMES / 2];
}

/* ---- the report ---- */

static double quantile(const struct samples *sorted, unsigned count, unsigned percent)
{
	return sorted->ns[(count - 1) * percent / 100];
}

static void print_samples(struct samples *samples, unsigned count, int digits)
{
	qsort(samples->ns, count, sizeof(*samples->ns), compare_doubles);
	printf("  %8.*f (%.*f .. %.*f)", digits, quantile(samples, count, 50), digits,
	       quantile(samples, count, 10), digits, quantile(samples, count, 90));
}

static void print_comparison(struct comparison *comparison, unsigned rounds)
{
	printf("%-16s", comparison->title);
	print_samples(&comparison->ratios, rounds, 2);
	print_samples(&comparison->pushes, rounds, 1);
	print_samples(&comparison->floors, rounds, 1);
	printf("\n");
}

static void print_report(struct comparison *comparisons, size_t count, unsigned rounds)
{
	printf("%u rounds, %d bytes a record; median (10 %% .. 90 %% of the rounds)\n", rounds,
	       PAYLOAD);
	printf("%-16s  %-24s%-26s%s\n", "", "push / floor", "push, ns", "floor, ns");
	for (size_t i = 0; i < count; i++)
		print_comparison(&comparisons[i], rounds);
}

/* ---- the run ---- */

enum { RING_OWN, RING_SHARED, RING_FULL, RING_BARE, RINGS };

static int open_rings(struct ring rings[RINGS], const struct processors *processors)
{
	const struct shmlog_options base = {
		.size = sizeof(base), .lanes = 2, .lane_size = LANE_BYTES, .clock = SHMLOG_CLOCK_TSC
	};
	struct shmlog_options shared = base, full = base, bare = base;
	int r;

	shared.lanes = 1;
	full.lane_size = FULL_LANE_BYTES;
	bare.clock = SHMLOG_CLOCK_NONE;
	r = ring_open(&rings[RING_OWN], "own", base);
	if (r == 0)
		r = ring_open(&rings[RING_SHARED], "shared", shared);
	if (r == 0)
		r = ring_open(&rings[RING_FULL], "full", full);
	if (r == 0)
		r = ring_open(&rings[RING_BARE], "bare", bare);
	for (size_t i = 0; r == 0 && i < RINGS; i++)
		if (i != RING_FULL)
			r = start_writer(&rings[i], processors->consumer);
	for (unsigned i = 0; r == 0 && i < FULL_LANE_BYTES / BLOCK_SIZE; i++)
		(void)shmlog_try_push(rings[RING_FULL].log, payload, PAYLOAD);
	return r;
}

static int run_rounds(struct comparison *comparisons, size_t count, struct floor *floor,
		      uint64_t end_ns, unsigned *ret_rounds)
{
	unsigned round = 0;
	int r = 0;

	while (r == 0 && !stop_wanted && round < ROUNDS_MAX && clock_monotonic_ns() < end_ns) {
		for (size_t i = 0; i < count && r == 0; i++) {
			r = compare_once(&comparisons[i], floor, round);
			if (r < 0)
				fail(comparisons[i].title, r);
		}
		round += r == 0;
	}
	*ret_rounds = round;
	return r;
}

static int measure(struct ring rings[RINGS], struct floor *floor,
		   const struct processors *processors, uint64_t seconds)
{
	static struct comparison comparisons[] = {
		{ .title = "own lane, 2000", .floor = floor_stamped, .burst = BURST, .bursts = 1 },
		{ .title = "own lane, 20",
		  .floor = floor_stamped,
		  .burst = SMALL_BURST,
		  .bursts = SMALL_BURSTS },
		{ .title = "lane 0, 2000", .floor = floor_stamped, .burst = BURST, .bursts = 1 },
		{ .title = "full lane",
		  .floor = floor_stamped,
		  .burst = BURST,
		  .bursts = 1,
		  .expected = -EAGAIN },
		{ .title = "no clock, 2000", .floor = floor_bare, .burst = BURST, .bursts = 1 },
	};
	static const uint8_t ring_of[] = { RING_OWN, RING_OWN, RING_SHARED, RING_FULL, RING_BARE };
	const double before = measure_bounce(processors);
	unsigned rounds;
	int r;

	for (size_t i = 0; i < COUNT_OF(comparisons); i++)
		comparisons[i].ring = &rings[ring_of[i]];
	r = run_rounds(comparisons, COUNT_OF(comparisons), floor,
		       clock_monotonic_ns() + seconds * NS_PER_S, &rounds);
	if (rounds)
		print_report(comparisons, COUNT_OF(comparisons), rounds);
	printf("one line from processor %d to %d: %.0f ns before, %.0f ns after\n",
	       processors->producer, processors->consumer, before, measure_bounce(processors));
	return r;
}

int main(int argc, char **argv)
{
	const struct sigaction action = { .sa_handler = stop };
	const struct processors processors = find_processors();
	const bool is_quick = argc == 2 && !strcmp(argv[1], "-q");
	static struct ring rings[RINGS];
	static struct floor floor;
	int r;

	if (argc > 2 || (argc == 2 && !is_quick)) {
		fprintf(stderr, "usage: publish [-q]\n");
		return 64;
	}
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	run_on(processors.producer);
	measure_clock();
	r = make_directory();
	if (r == 0)
		r = open_rings(rings, &processors);
	if (r == 0)
		r = floor_open(&floor, processors.consumer);
	if (r < 0)
		fail("cannot begin", r);
	else
		r = measure(rings, &floor, &processors, is_quick ? 2 : 11);
	floor_close(&floor);
	for (size_t i = 0; i < RINGS; i++)
		ring_close(&rings[i]);
	remove_directory();
	return r < 0 || stop_wanted;
}
