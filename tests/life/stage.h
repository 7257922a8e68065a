/*
 * stage.h - what the lives of processes are played on: a ring, its writer, a journal, children.
 *
 * Each scenario runs in a process of its own, the first one of a process group that is killed when
 * it ends. It uses shmlog.h and the programs, and nothing else of the library.
 */
#ifndef SHMLOG_TESTS_LIFE_STAGE_H
#define SHMLOG_TESTS_LIFE_STAGE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "journal.h"
#include "program.h"
#include "shmlog.h"

enum {
	PRODUCERS_MAX = 8192,
	RECORDS_MAX = 16384,
	LANE = 65536,        /* bytes: small, so that lanes are used again and again */
	DEADLINE_MS = 30000, /* whoever is not done by then has stalled             */
	EXIT_SKIPPED = 77,
};

#define WAIT_NS (INT64_C(20) * 1000 * 1000 * 1000)

/* What the processes of a scenario tell each other. */
struct board {
	uint32_t ready;
	uint32_t stop;
	uint32_t counted[6]; /* as the scenario says */
};

struct figures {
	uint64_t published;
	uint64_t tried;
	uint64_t dropped;
	uint64_t lives; /* processes and threads that lived and ended, jumps, signals: see `life` */
};

struct stage {
	const char *scenario;
	char ring[96];
	char directory[PATH_MAX - 64]; /* of the scenario                                */
	char log[PATH_MAX];
	char errors[PATH_MAX];
	struct journal *journal;
	struct board *board;
	struct figures *figures; /* shared with who runs the scenarios                     */
	pid_t writer;
	uint64_t seed;
	bool full; /* full counts are asked for                                       */
};

struct scenario {
	const char *name;
	void (*run)(struct stage *stage);
};

extern const struct scenario fork_scenarios[], exec_scenarios[], thread_scenarios[],
	signal_scenarios[], owner_scenarios[], handle_scenarios[], ring_scenarios[],
	writer_scenarios[], limit_scenarios[], space_scenarios[];

/* The bounded or the full count. */
unsigned stage_count(const struct stage *stage, unsigned bounded, unsigned full);

/* Cannot be played on this machine: says so, and ends the scenario. */
_Noreturn void stage_skip(const struct stage *stage, const char *why);

/* A ring of so many lanes of 64 KiB; @stage->ring or another name. */
void stage_make_ring(struct stage *stage, const char *ring, unsigned lanes);
void stage_start_writer(struct stage *stage);
void stage_stop_writer(struct stage *stage); /* TERM, and it drains */
void stage_kill_writer(struct stage *stage);

/* A ring and its writer. */
void stage_open(struct stage *stage, unsigned lanes);

/* Stop the writer, compare the log with the journal, remove the ring: nobody may hold any of it. */
void stage_close(struct stage *stage);
/* The same but for the ring, and without a writer that runs. */
void stage_check_log(struct stage *stage, const char *log);
void stage_remove_ring(struct stage *stage);

/* The sum of all gap marks of the log. */
uint64_t stage_lost(const struct stage *stage);

/* Drops that the handle has counted in this process. */
uint64_t stage_dropped(struct shmlog *log);

/* A handle under @name; NULL: "life". */
struct shmlog *stage_attach(const struct stage *stage, const char *name);

/* Push the producer's next records; each must be published within the deadline. */
void push_some(const struct stage *stage, struct shmlog *log, unsigned producer, unsigned count);
/* Push on until the board says stop; counts itself as ready with its first record. */
void push_until_stopped(const struct stage *stage, struct shmlog *log, unsigned producer);

/* Threads of this process that push until stopped. */
struct crew {
	const struct stage *stage;
	struct shmlog *log;
	unsigned first;
	unsigned count;
	struct crew_member *members;
};
void crew_start(struct crew *crew, const struct stage *stage, struct shmlog *log, unsigned first,
		unsigned count);
void crew_join(struct crew *crew); /* once the board says stop */
void crew_stop(struct crew *crew); /* the board says so now   */

/* A forked child that runs @body and ends by _exit(); violations make its status 1. */
typedef void child_body(const struct stage *stage, struct shmlog *log, unsigned number);
pid_t stage_fork(const struct stage *stage, child_body *body, struct shmlog *log, unsigned number);
void stage_join(const struct stage *stage, pid_t pid);               /* must end well           */
void stage_expect(const struct stage *stage, pid_t pid, int status); /* must end with that     */

void board_wait(const uint32_t *word, uint32_t at_least, const char *what);
uint32_t board_read(const uint32_t *word);
uint32_t board_add(uint32_t *word, uint32_t by);

/* No descriptor of this process leads to a ring. */
void expect_no_descriptor(const char *who);
/* Mappings of this process that lead to rings; bytes of address space. */
unsigned count_mappings(void);
uint64_t address_space(void);

void nap_ms(unsigned ms);
int64_t clock_ms(void);

/* The program itself, for exec: argv[0] of the process that runs the scenarios. */
extern const char *self_path;
/* argv for a program that attaches, binds and pushes @count records of @producer: see probe(). */
void probe_argv(const struct stage *stage, unsigned producer, unsigned count, bool wants_own,
		const char *ret_argv[8]);
int probe(char **argv);

#endif
