/*
 * step.c - drive a traced child to any instruction of an operation. See step.h.
 *
 * The child is a fork, so its code lies where ours does. It tells by a trap instruction that the
 * operation begins; that it ends is seen by the address of step_leave(), or by the trap in there
 * when the child came by in full run.
 */
#include "step.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

#if defined(__x86_64__)

enum {
	STEPS_MAX = 4 * 1000 * 1000,
	ANCHOR_WORTH = 12, /* steps that a breakpoint costs as much as */
	NAP_US = 100,
	PATIENCE_NAPS = 30,
	TRAP_INSTRUCTION = 0xcc,
	SYSCALL_INSTRUCTION = 0x050f,
	FUTEX_FLAGS = FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME,
};

/* Shared with the child: step_leave() is to trap. */
static bool *is_traced;

static void trap(void)
{
	__asm__ volatile("int3" ::: "memory");
}

/* ---- in the child ---- */

void step_be_traced(void)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(126);
}

void step_enter(void)
{
	trap();
}

__attribute__((noinline)) void step_leave(void)
{
	if (*(volatile bool *)is_traced)
		trap();
}

/* ---- in the parent ---- */

static bool can_trace(void)
{
	int status;
	const pid_t child = fork();

	if (child < 0)
		return false;
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
			trap();
		_exit(0);
	}
	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		return false;
	step_kill(child);
	return true;
}

bool step_is_possible(const char **ret_why)
{
	if (!is_traced)
		is_traced = mmap(NULL, sizeof(*is_traced), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (is_traced == MAP_FAILED)
		broken("mmap: %s", strerror(errno));
	*is_traced = true;
	*ret_why = "ptrace(2) is not permitted here";
	return can_trace();
}

static uint64_t leave_address(void)
{
	return (uint64_t)(uintptr_t)step_leave;
}

static uint64_t get_register(pid_t child, size_t offset)
{
	errno = 0;
	const long value = ptrace(PTRACE_PEEKUSER, child, offset, NULL);

	if (errno)
		broken("ptrace(PEEKUSER): %s", strerror(errno));
	return (uint64_t)value;
}

static uint64_t get_ip(pid_t child)
{
	return get_register(child, offsetof(struct user, regs.rip));
}

static void set_ip(pid_t child, uint64_t ip)
{
	if (ptrace(PTRACE_POKEUSER, child, offsetof(struct user, regs.rip), ip) < 0)
		broken("ptrace(POKEUSER): %s", strerror(errno));
}

static void end_patience(struct step_patience *patience)
{
	if (!patience->unblock || patience->is_over)
		return;
	patience->is_over = true;
	patience->unblock();
}

/* A child in full run that has met no breakpoint for a while may wait for what we hold up. */
static void wait_for_stop(pid_t child, struct step_patience *patience)
{
	const struct timespec nap = { .tv_nsec = NAP_US * 1000 };
	siginfo_t info = { .si_pid = 0 };

	for (int i = 0; i < PATIENCE_NAPS && patience->unblock && !patience->is_over; i++) {
		if (waitid(P_PID, (id_t)child, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) < 0 ||
		    info.si_pid == child)
			return;
		(void)nanosleep(&nap, NULL);
	}
	end_patience(patience);
}

/* Go on by @request until the next trap; other signals are delivered. False: it has ended. */
static bool run(pid_t child, enum __ptrace_request request, struct step_patience *patience)
{
	int status;
	long signal_no = 0;

	for (;;) {
		if (ptrace(request, child, NULL, signal_no) < 0)
			broken("ptrace(%d): %s", (int)request, strerror(errno));
		if (request == PTRACE_CONT)
			wait_for_stop(child, patience);
		if (waitpid(child, &status, 0) != child)
			broken("waitpid: %s", strerror(errno));
		if (!WIFSTOPPED(status))
			return false;
		if (WSTOPSIG(status) == SIGTRAP)
			return true;
		signal_no = WSTOPSIG(status);
	}
}

static bool is_futex_wait(pid_t child, uint64_t ip)
{
	const long text = ptrace(PTRACE_PEEKTEXT, child, ip, NULL);
	uint64_t operation;

	if ((text & 0xffff) != SYSCALL_INSTRUCTION ||
	    get_register(child, offsetof(struct user, regs.rax)) != SYS_futex)
		return false;
	operation = get_register(child, offsetof(struct user, regs.rsi)) & ~(uint64_t)FUTEX_FLAGS;
	return operation == FUTEX_WAIT || operation == FUTEX_WAIT_BITSET;
}

static bool step(pid_t child, struct step_patience *patience)
{
	if (patience->unblock && !patience->is_over && is_futex_wait(child, get_ip(child)))
		end_patience(patience);
	return run(child, PTRACE_SINGLESTEP, patience);
}

bool step_await(pid_t child, int *ret_status)
{
	*is_traced = true;
	if (waitpid(child, ret_status, 0) != child)
		broken("waitpid: %s", strerror(errno));
	while (WIFSTOPPED(*ret_status) && WSTOPSIG(*ret_status) != SIGTRAP) {
		if (ptrace(PTRACE_CONT, child, NULL, (long)WSTOPSIG(*ret_status)) < 0 ||
		    waitpid(child, ret_status, 0) != child)
			broken("ptrace(CONT): %s", strerror(errno));
	}
	return WIFSTOPPED(*ret_status);
}

void step_kill(pid_t child)
{
	int status;

	(void)kill(child, SIGKILL);
	do {
		if (waitpid(child, &status, 0) != child)
			broken("waitpid: %s", strerror(errno));
	} while (WIFSTOPPED(status));
}

void step_interrupt(pid_t child, int signal_no)
{
	*is_traced = false;
	if (ptrace(PTRACE_DETACH, child, NULL, (long)signal_no) < 0)
		broken("ptrace(DETACH): %s", strerror(errno));
}

void step_stop(pid_t child)
{
	int status;

	step_interrupt(child, SIGSTOP);
	if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status))
		broken("a child does not stop");
}

/* ---- a recorded run ---- */

static void append(struct step_trace *trace, uint64_t ip)
{
	if (trace->count == STEPS_MAX)
		broken("an operation of more than %d instructions", STEPS_MAX);
	if (trace->count == trace->room) {
		trace->room = trace->room ? 2 * trace->room : 4096;
		trace->at = realloc(trace->at, trace->room * sizeof(*trace->at));
		if (!trace->at)
			broken("out of memory");
	}
	trace->at[trace->count++] = ip;
}

static int compare_steps(const void *a, const void *b, void *argument)
{
	const uint64_t *at = argument;
	const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	if (at[left] != at[right])
		return at[left] < at[right] ? -1 : 1;
	return left < right ? -1 : left > right;
}

/* Mark in `anchor` the first step at each address, then give every boundary its last mark. */
static void find_anchors(struct step_trace *trace)
{
	uint32_t *order = malloc((trace->count + 1) * sizeof(*order));
	uint32_t last = 0;

	trace->anchor = calloc(trace->count + 1, sizeof(*trace->anchor));
	if (!order || !trace->anchor)
		broken("out of memory");
	for (uint32_t i = 0; i < trace->count; i++)
		order[i] = i;
	qsort_r(order, trace->count, sizeof(*order), compare_steps, trace->at);
	for (uint32_t i = 0; i < trace->count; i++)
		if (i == 0 || trace->at[order[i]] != trace->at[order[i - 1]])
			trace->anchor[order[i]] = order[i];
	free(order);
	for (uint32_t i = 0; i <= trace->count; i++) {
		last = trace->anchor[i] > last ? trace->anchor[i] : last;
		trace->anchor[i] = last;
	}
}

enum step_end step_record(pid_t child, struct step_trace *ret, struct step_patience *patience)
{
	uint64_t ip;

	*ret = (struct step_trace){ 0 };
	while ((ip = get_ip(child)) != leave_address()) {
		append(ret, ip);
		if (!step(child, patience))
			return STEP_DIED;
	}
	find_anchors(ret);
	return STEP_LEFT;
}

void step_trace_free(struct step_trace *trace)
{
	free(trace->at);
	free(trace->anchor);
	*trace = (struct step_trace){ 0 };
}

/* ---- to a boundary ---- */

/* Run to a breakpoint at @ip. STEP_STRAYED: none can be set there. */
static enum step_end run_to(pid_t child, uint64_t ip, struct step_patience *patience)
{
	long text;

	errno = 0;
	text = ptrace(PTRACE_PEEKTEXT, child, ip, NULL);
	if (errno || ptrace(PTRACE_POKETEXT, child, ip, (text & ~0xffL) | TRAP_INSTRUCTION) < 0)
		return STEP_STRAYED;
	if (!run(child, PTRACE_CONT, patience))
		return STEP_DIED;
	if (ptrace(PTRACE_POKETEXT, child, ip, text) < 0)
		broken("ptrace(POKETEXT): %s", strerror(errno));
	if (get_ip(child) != ip + 1)
		return STEP_LEFT;
	set_ip(child, ip);
	return STEP_ARRIVED;
}

enum step_end step_go(pid_t child, const struct step_trace *trace, uint32_t k,
		      struct step_patience *patience)
{
	const uint32_t anchor = trace->anchor[k];
	enum step_end end = STEP_STRAYED;
	uint32_t from;

	if (anchor > ANCHOR_WORTH)
		end = run_to(child, trace->at[anchor], patience);
	if (end == STEP_DIED || end == STEP_LEFT)
		return end;
	for (from = end == STEP_ARRIVED ? anchor : 0; from < k; from++) {
		if (get_ip(child) == leave_address())
			return STEP_LEFT;
		if (!step(child, patience))
			return STEP_DIED;
	}
	return get_ip(child) == (k < trace->count ? trace->at[k] : leave_address()) ? STEP_ARRIVED
										    : STEP_STRAYED;
}

#else /* another machine: its trap instruction and its registers */

bool step_is_possible(const char **ret_why)
{
	*ret_why = "single steps are taken on x86-64 only";
	return false;
}

void step_be_traced(void)
{
}

void step_enter(void)
{
}

void step_leave(void)
{
}

bool step_await(pid_t child, int *ret_status)
{
	(void)child;
	(void)ret_status;
	return false;
}

enum step_end step_record(pid_t child, struct step_trace *ret, struct step_patience *patience)
{
	(void)child;
	(void)ret;
	(void)patience;
	return STEP_DIED;
}

void step_trace_free(struct step_trace *trace)
{
	(void)trace;
}

enum step_end step_go(pid_t child, const struct step_trace *trace, uint32_t k,
		      struct step_patience *patience)
{
	(void)child;
	(void)trace;
	(void)k;
	(void)patience;
	return STEP_DIED;
}

void step_kill(pid_t child)
{
	(void)child;
}

void step_interrupt(pid_t child, int signal_no)
{
	(void)child;
	(void)signal_no;
}

void step_stop(pid_t child)
{
	(void)child;
}

#endif
