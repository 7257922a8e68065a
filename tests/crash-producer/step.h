/*
 * step.h - drive a traced child to any instruction of an operation.
 *
 * The child brackets the operation with step_enter() and step_leave(). Boundary k lies before the
 * operation's instruction k, boundary `count` behind the last one. One run is recorded step by
 * step; later runs go to the nearest instruction that the recorded one came to for the first time
 * by a breakpoint, and only from there in single steps.
 */
#ifndef SHMLOG_TESTS_STEP_H
#define SHMLOG_TESTS_STEP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Can this machine do it at all? Else *ret_why says why not. */
bool step_is_possible(const char **ret_why);

/* ---- in the child ---- */

/* Before the operation is prepared. */
void step_be_traced(void);

void step_enter(void);
void step_leave(void);

/* ---- in its parent ---- */

/* The instructions of one run, by address. */
struct step_trace {
	uint64_t *at;
	uint32_t *anchor; /* of each boundary: the last one before it that was new to the run */
	uint32_t count;
	uint32_t room;
};

/* What lets a child go on that waits, or is about to wait, for a futex. Called once a run. */
struct step_patience {
	void (*unblock)(void); /* NULL: nobody waits */
	bool is_over;
};

enum step_end {
	STEP_ARRIVED, /* at the boundary                                                  */
	STEP_STRAYED, /* so many steps were taken, but they led elsewhere                 */
	STEP_LEFT,    /* the operation was over before                                    */
	STEP_DIED,    /* so is the child; it is reaped                                    */
};

/* A fresh child; true once it stands at its operation's first instruction, false: it has ended. */
bool step_await(pid_t child, int *ret_status);

/* Record the run of a child that step_await() has seen; it then stands at the end. STEP_LEFT, or
 * STEP_DIED. */
enum step_end step_record(pid_t child, struct step_trace *ret, struct step_patience *patience);
void step_trace_free(struct step_trace *trace);

/* Take such a child to boundary @k of @trace. */
enum step_end step_go(pid_t child, const struct step_trace *trace, uint32_t k,
		      struct step_patience *patience);

/* The child at hand is killed, and reaped. */
void step_kill(pid_t child);

/* The child is let go, and a signal is what it meets first. */
void step_interrupt(pid_t child, int signal_no);

/* The child is let go, and stopped by SIGSTOP: its next instruction comes after SIGCONT. */
void step_stop(pid_t child);

#endif
