/*
 * tracer.h - run the writer under ptrace and kill it at an exact place.
 *
 * A place is the n-th time that any thread meets a named point (writer/point.h; an int3 takes the
 * place of the nop there), or the n-th boundary of a system call, entries and exits of all threads
 * counted from the program's entry on. At an entry the call is not made, at an exit it has been.
 * The kill is SIGKILL to the whole process; when tracer_run() returns nothing of it is left but
 * what the kernel still does on its account: submitted writes.
 *
 * The child that the writer starts to compress is traced as well, one at a time. Points count
 * wherever they are met; boundaries of the child's calls count apart. Either of the two is killed;
 * a child whose writer dies goes by itself.
 */
#ifndef SHMLOG_TESTS_CRASH_WRITER_TRACER_H
#define SHMLOG_TESTS_CRASH_WRITER_TRACER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "points.h"

enum kill_at {
	KILL_NEVER,
	KILL_AT_POINT,
	KILL_AT_CALL,
	KILL_AT_CHILD_CALL,
	KILL_CHILD_AT_POINT, /* the child alone; the writer goes on */
	KILL_CHILD_AT_CALL,  /* ... at a call of its own            */
};

struct kill_rule {
	enum kill_at at;
	int point;  /* of the two with points: its index */
	uint64_t n; /* from 1 on */
};

/* The child is slow: at the @call-th boundary of its calls it stands still until the point @until
 * was met @n times more. */
struct hold_rule {
	uint64_t call; /* 0: it is never held */
	int until;
	uint64_t n;
};

struct tracer {
	struct kill_rule rule;
	struct hold_rule hold;
	const char *error_path;   /* the program's standard error is appended there        */
	const char *cgroup_procs; /* NULL, or what its process id is written to first      */
	bool count_calls;         /* also without a rule about them                        */
	/* May be NULL: called at each hit, the program's threads run on until then; also with the
	 * names TRACER_CHILD_KILLED and TRACER_CHILD_HELD. */
	void (*on_point)(void *argument, pid_t pid, const char *point);
	void *argument;
};

#define TRACER_CHILD_KILLED "child killed"
#define TRACER_CHILD_HELD   "child held"

struct traced_run {
	bool was_killed;           /* by the rule; else it ended by itself      */
	int status;                /* exit status, or 128 + signal              */
	uint64_t calls;            /* boundaries, if they were counted          */
	uint64_t child_calls;      /* ... of all its children                   */
	uint64_t hits[POINTS_MAX]; /* of each point                             */
	char where[64];            /* of the kill, in words                     */
};

/* Why this machine cannot do it; NULL: it can. */
const char *tracer_missing(void);

/* Run the writer with these arguments; it has 30 seconds, or has stalled: violated(). */
void tracer_run(const struct tracer *tracer, const struct points *points, const char *const argv[],
		struct traced_run *ret);

#endif
