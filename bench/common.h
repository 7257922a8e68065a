/*
 * common.h - what all benchmarks share: options, processors, time, the end.
 *
 * A benchmark is one process that begins with bench_begin() and leaves through bench_end(). The
 * only state is `bench`, which nobody changes in between. Whatever ends the process (the end,
 * die(), Ctrl-C) removes the directory that it worked in, and what bench_at_exit() was told of.
 * Nothing here asserts a time.
 */
#ifndef SHMLOG_BENCH_COMMON_H
#define SHMLOG_BENCH_COMMON_H

#include <semaphore.h>
#include <stdio.h>
#include <sys/types.h>

#include "base.h"
#include "clock.h"

struct bench {
	const char *name;
	bool is_quick;       /* -q: small, to see that it works                             */
	bool is_all;         /* -a                                                          */
	bool is_json;        /* -j: one object a line                                       */
	bool is_swapped;     /* -s: producers on the second processor, readers on the first */
	char directory[128]; /* for everything that is written; below -d DIR                */
	int producer_cpu;    /* -1 is never there; the same as the other where there is one */
	int consumer_cpu;
	double ns_per_tick;
	uint64_t pair_ticks; /* two ordered reads of the counter with nothing in between    */
	double line_ns;      /* one line from processor to processor, at the begin           */
};
extern struct bench bench;

/* Options -q -a -j -s -d DIR; pins the caller to bench.producer_cpu. Exits with 64 on others. */
void bench_begin(const char *name, int argc, char **argv);

/* Says what the machine was like, before and after. Returns the exit status. */
int bench_end(bool is_good);

/* Ctrl-C, TERM, nobody reads on: children get a TERM, loops end, the programs go on to bench_end().
 */
bool bench_is_over(void);

/* "bench: what: why" and exit with 1; in a child of fork() only that one ends. */
_Noreturn void die(const char *what, int error);

/* Called, once, at exit of the benchmark's own process, the last first; before the directory goes.
 */
void bench_at_exit(void (*function)(void));

void remove_tree(const char *path);

/* A directory in memory (/dev/shm), made when it is first asked for, removed at exit. */
const char *memory_directory(void);

/* ---- processes and processors ---- */

void run_on(int processor);

/* A child that dies with its parent and runs on @processor; to be waited for with bench_wait(). */
pid_t bench_fork(int processor);

/* @signal_no is sent (0: none), and the end awaited. Its exit status, or 128 + signal.
 * @ret_cpu_s: the processor time of its whole life; may be NULL. */
int bench_wait(pid_t pid, int signal_no, double *ret_cpu_s);

/* Seconds of processor time that a living process has used so far. */
double cpu_seconds(pid_t pid);

/* Until somebody posts it; false: it is over. Not for children, who die by themselves. */
bool wait_for(sem_t *semaphore);

/* Children get ready, then begin together. In shared memory. */
struct start_line {
	sem_t ready, go;
};
void start_line_init(struct start_line *line);
void start_line_wait(struct start_line *line);                   /* a child */
uint64_t start_line_go(struct start_line *line, unsigned count); /* clock_monotonic_ns() */

/* Memory that parent and children share; zeroed, touched. */
void *shared_memory(size_t size);

/* Nanoseconds that one line takes from one processor to the other; 0 where there is only one. */
double line_latency_ns(void);

/* ---- time ---- */

void nap_us(unsigned us);
void be_busy_us(unsigned us); /* and push other things out of the first caches            */
void evict_caches(void);      /* walk more memory than a processor has second-level cache  */

/* The counter, read neither before what comes earlier nor after what comes later. */
static inline uint64_t ticks_in_order(void)
{
	uint64_t ticks;

#if defined(__x86_64__)
	__builtin_ia32_lfence();
	ticks = clock_counter();
	__builtin_ia32_lfence();
#else
	__asm__ volatile("isb" : : : "memory");
	ticks = clock_counter();
	__asm__ volatile("isb" : : : "memory");
#endif
	return ticks;
}

double ns_of_ticks(uint64_t ticks);
double ns_of_call(uint64_t ticks);       /* ... less an empty pair of reads                */
double seconds_since(uint64_t began_ns); /* of clock_monotonic_ns() */

#endif
