/*
 * common.c - options, processors, time, the end. See common.h.
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "samples.h"
#include "shmlog.h"

enum {
	CALIBRATION_MS = 50,
	PAIRS = 10001,
	BOUNCES = 500, /* of which the time is taken at once                                 */
	BOUNCE_TIMES = 101,
	BUSY_BYTES = 256 * 1024,
	EVICT_BYTES = 16 * 1024 * 1024,
	AT_EXIT_MAX = 4,
	CHILDREN_MAX = 64,
	LOOK_MS = 100, /* is it over?                                                        */
};

struct bench bench;

static pid_t main_process;
static char in_memory[64];
static void (*at_exit[AT_EXIT_MAX])(void);
static volatile sig_atomic_t stop_wanted;
static volatile sig_atomic_t children[CHILDREN_MAX]; /* pids; 0: none */

/* ---- begin and end ---- */

/* Nobody is left waiting for a child that goes on. */
static void stop(int signal_no)
{
	(void)signal_no;
	stop_wanted = 1;
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (children[i])
			(void)kill(children[i], SIGTERM);
}

bool bench_is_over(void)
{
	return stop_wanted;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)status;
	(void)type;
	(void)at;
	return remove(path);
}

void remove_tree(const char *path)
{
	(void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void clean(void)
{
	if (getpid() != main_process)
		return;
	for (size_t i = AT_EXIT_MAX; i-- > 0;)
		if (at_exit[i])
			at_exit[i]();
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (children[i])
			(void)bench_wait(children[i], SIGKILL, NULL);
	if (bench.directory[0])
		remove_tree(bench.directory);
	if (in_memory[0])
		remove_tree(in_memory);
}

void bench_at_exit(void (*function)(void))
{
	size_t i = 0;

	while (i < AT_EXIT_MAX - 1 && at_exit[i] && at_exit[i] != function)
		i++;
	assert(!at_exit[i] || at_exit[i] == function);
	at_exit[i] = function;
}

void die(const char *what, int error)
{
	if (!stop_wanted)
		(void)fprintf(stderr, "%s: %s: %s\n", bench.name, what, shmlog_strerror(error));
	if (getpid() != main_process)
		_exit(1);
	exit(1);
}

static void make_directory(const char *parent, char *path, size_t size)
{
	(void)snprintf(path, size, "%s/shmlog-bench.XXXXXX", parent);
	if (mkdtemp(path))
		return;
	path[0] = '\0';
	die(parent, -errno);
}

const char *memory_directory(void)
{
	if (!in_memory[0])
		make_directory("/dev/shm", in_memory, sizeof(in_memory));
	return in_memory;
}

/* The first two that we may run on. */
static void find_processors(void)
{
	cpu_set_t set;

	bench.producer_cpu = bench.consumer_cpu = -1;
	(void)sched_getaffinity(0, sizeof(set), &set);
	for (int i = 0; i < CPU_SETSIZE && bench.consumer_cpu < 0; i++) {
		if (!CPU_ISSET((unsigned)i, &set))
			continue;
		if (bench.producer_cpu < 0)
			bench.producer_cpu = i;
		else
			bench.consumer_cpu = i;
	}
	if (bench.consumer_cpu < 0)
		bench.consumer_cpu = bench.producer_cpu;
	if (bench.is_swapped) {
		const int first = bench.producer_cpu;

		bench.producer_cpu = bench.consumer_cpu;
		bench.consumer_cpu = first;
	}
}

static void measure_clock(void)
{
	const uint64_t ns = clock_monotonic_ns();
	const uint64_t ticks = clock_counter();

	while (clock_monotonic_ns() - ns < CALIBRATION_MS * NS_PER_MS)
		;
	bench.ns_per_tick = (double)(clock_monotonic_ns() - ns) / (double)(clock_counter() - ticks);
}

static void measure_pair(void)
{
	struct samples pairs = { 0 };

	for (unsigned i = 0; i < PAIRS; i++) {
		const uint64_t began = ticks_in_order();

		samples_add(&pairs, (double)(ticks_in_order() - began));
	}
	bench.pair_ticks = (uint64_t)samples_at(&pairs, 0.5);
	samples_free(&pairs);
}

static const char *take_options(int argc, char **argv)
{
	const char *parent = "/var/tmp"; /* a disk; /tmp may be memory */
	int option;

	while ((option = getopt(argc, argv, "qajsd:")) != -1) {
		if (option == '?') {
			(void)fprintf(stderr, "usage: %s [-q] [-a] [-j] [-s] [-d DIR]\n",
				      bench.name);
			exit(64);
		}
		bench.is_quick |= option == 'q';
		bench.is_all |= option == 'a';
		bench.is_json |= option == 'j';
		bench.is_swapped |= option == 's';
		parent = option == 'd' ? optarg : parent;
	}
	return parent;
}

void bench_begin(const char *name, int argc, char **argv)
{
	const struct sigaction action = { .sa_handler = stop };
	const char *parent;

	bench.name = name;
	main_process = getpid();
	parent = take_options(argc, argv);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGPIPE, &action, NULL); /* whoever reads our table has seen enough */
	(void)atexit(clean);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	make_directory(parent, bench.directory, sizeof(bench.directory));
	find_processors();
	run_on(bench.producer_cpu);
	measure_clock();
	measure_pair();
	bench.line_ns = line_latency_ns();
}

static const char *processor_model(char *line, size_t size)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char *colon = NULL;

	while (file && fgets(line, (int)size, file))
		if (!strncmp(line, "model name", 10) && (colon = strchr(line, ':')))
			break;
	if (file)
		(void)fclose(file);
	line[strcspn(line, "\n")] = '\0';
	return colon ? colon + 2 : "?";
}

int bench_end(bool is_good)
{
	const double after = line_latency_ns();
	const time_t now = time(NULL);
	char date[32], line[256];
	struct utsname kernel;
	double load = 0;

	(void)uname(&kernel);
	(void)getloadavg(&load, 1);
	(void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", gmtime(&now));
	printf(bench.is_json
		       ? "{\"bench\":\"%s\",\"machine\":\"%s, %ld processors, Linux %s\",\"date\":"
			 "\"%s\",\"load\":%.1f,\"line_ns\":[%.0f,%.0f]}\n"
		       : "%s: %s, %ld processors, Linux %s, %s, load %.1f; one line between the "
			 "processors: %.0f ns before, %.0f ns after\n",
	       bench.name, processor_model(line, sizeof(line)), sysconf(_SC_NPROCESSORS_ONLN),
	       kernel.release, date, load, bench.line_ns, after);
	return !is_good || stop_wanted;
}

/* ---- processes and processors ---- */

void run_on(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)processor, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

static void replace_child(pid_t old, pid_t new)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++) {
		if (children[i] != old)
			continue;
		children[i] = new;
		return;
	}
}

static void begin_child(pid_t parent, int processor)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	(void)signal(SIGPIPE, SIG_DFL);
	run_on(processor);
}

pid_t bench_fork(int processor)
{
	const pid_t parent = getpid();
	pid_t pid;

	(void)fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork", -errno);
	if (pid == 0)
		begin_child(parent, processor);
	else
		replace_child(0, pid);
	return pid;
}

static double seconds_of(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

int bench_wait(pid_t pid, int signal_no, double *ret_cpu_s)
{
	struct rusage used = { 0 };
	int status = 0;

	if (signal_no)
		(void)kill(pid, signal_no);
	while (wait4(pid, &status, 0, &used) < 0 && errno == EINTR)
		;
	replace_child(pid, 0);
	if (ret_cpu_s)
		*ret_cpu_s = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void start_line_init(struct start_line *line)
{
	(void)sem_init(&line->ready, 1, 0);
	(void)sem_init(&line->go, 1, 0);
}

void start_line_wait(struct start_line *line)
{
	(void)sem_post(&line->ready);
	while (sem_wait(&line->go) < 0)
		;
}

bool wait_for(sem_t *semaphore)
{
	struct timespec until;

	while (!bench_is_over()) {
		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += LOOK_MS * NS_PER_MS;
		until.tv_sec += until.tv_nsec / NS_PER_S;
		until.tv_nsec %= NS_PER_S;
		if (sem_timedwait(semaphore, &until) == 0)
			return true;
	}
	return false;
}

uint64_t start_line_go(struct start_line *line, unsigned count)
{
	uint64_t began;

	for (unsigned i = 0; i < count; i++)
		(void)wait_for(&line->ready);
	began = clock_monotonic_ns();
	for (unsigned i = 0; i < count; i++)
		(void)sem_post(&line->go);
	return began;
}

double cpu_seconds(pid_t pid)
{
	struct timespec used = { 0 };
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) == 0)
		(void)clock_gettime(clock, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / NS_PER_S;
}

void *shared_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		die("memory", -errno);
	return memory;
}

struct bounce {
	_Alignas(128) struct shared_u64 ball;
};

static void *bounce_back(void *argument)
{
	struct bounce *bounce = argument;

	run_on(bench.consumer_cpu);
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
	return ns_of_ticks(clock_counter() - began) / (2 * BOUNCES);
}

double line_latency_ns(void)
{
	struct samples times = { 0 };
	struct bounce bounce = { 0 };
	double median;
	pthread_t other;

	if (bench.producer_cpu == bench.consumer_cpu)
		return 0;
	if (pthread_create(&other, NULL, bounce_back, &bounce))
		return 0;
	for (size_t i = 0; i < BOUNCE_TIMES; i++)
		samples_add(&times, time_bounces(&bounce));
	(void)pthread_join(other, NULL);
	median = samples_at(&times, 0.5);
	samples_free(&times);
	return median;
}

/* ---- time ---- */

void nap_us(unsigned us)
{
	const struct timespec time = { .tv_sec = us / 1000000,
				       .tv_nsec = (long)(us % 1000000) * NS_PER_US };

	(void)nanosleep(&time, NULL);
}

static void walk(uint8_t *memory, size_t size)
{
	for (size_t i = 0; i < size; i += 64)
		memory[i]++;
	__asm__ volatile("" : : "r"(memory) : "memory");
}

void be_busy_us(unsigned us)
{
	static uint8_t work[BUSY_BYTES];
	const uint64_t end = clock_monotonic_ns() + (uint64_t)us * NS_PER_US;

	do
		walk(work, sizeof(work));
	while (clock_monotonic_ns() < end);
}

void evict_caches(void)
{
	static uint8_t work[EVICT_BYTES];

	walk(work, sizeof(work));
}

double ns_of_ticks(uint64_t ticks)
{
	return (double)ticks * bench.ns_per_tick;
}

double ns_of_call(uint64_t ticks)
{
	return ns_of_ticks(ticks > bench.pair_ticks ? ticks - bench.pair_ticks : 0);
}

double seconds_since(uint64_t began_ns)
{
	return (double)(clock_monotonic_ns() - began_ns) / NS_PER_S;
}
