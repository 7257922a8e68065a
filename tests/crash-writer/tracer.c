/*
 * tracer.c - run the writer under ptrace and kill it at an exact place. See tracer.h.
 *
 * The program is the leader of a process group of its own: waiting for that group sees its threads
 * and none of the suite's other children.
 */
#include "tracer.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

enum { DEADLINE_S = 30, TRAP = 0xcc };

struct tracing {
	const struct tracer *tracer;
	const struct points *points;
	struct traced_run *run;
	pid_t pid;
	uint64_t bias;      /* where it lies - where it was linked to */
	uint8_t first_byte; /* of the program's entry, under the trap */
	bool has_entered;
	bool is_dying;
	time_t deadline;
};

#if defined(__x86_64__)

const char *tracer_missing(void)
{
	return NULL;
}

static uint64_t program_counter(pid_t thread)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, thread, offsetof(struct user_regs_struct, rip), 0);
}

static void set_program_counter(pid_t thread, uint64_t address)
{
	(void)ptrace(PTRACE_POKEUSER, thread, offsetof(struct user_regs_struct, rip), address);
}

#else

const char *tracer_missing(void)
{
	return "breakpoints are known for x86-64 only";
}

static uint64_t program_counter(pid_t thread)
{
	return (void)thread, 0;
}

static void set_program_counter(pid_t thread, uint64_t address)
{
	(void)thread, (void)address;
}

#endif

/* ---- start ---- */

static void write_pid(const char *path)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		_exit(126);
	close(fd);
}

static _Noreturn void be_program(const struct tracer *tracer, const char *const argv[])
{
	const int errors = open(tracer->error_path, O_WRONLY | O_CREAT | O_APPEND, 0600);

	if (errors < 0 || dup2(errors, STDERR_FILENO) < 0 || setpgid(0, 0) < 0)
		_exit(126);
	close(errors);
	if (tracer->cgroup_procs)
		write_pid(tracer->cgroup_procs);
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
		_exit(126);
	(void)raise(SIGSTOP);
	execv(program_path(argv[0]), (char *const *)(uintptr_t)argv);
	_exit(127);
}

static void expect_stop(pid_t pid, int wanted)
{
	int status;

	if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status) || status >> 8 != wanted)
		broken("cannot trace a program: status %#x", (unsigned)status);
}

static uint64_t entry_address(pid_t pid)
{
	char path[40];
	Elf64_auxv_t entry;
	uint64_t address = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/auxv", (int)pid);
	file = fopen(path, "re");
	while (file && fread(&entry, sizeof(entry), 1, file) == 1)
		if (entry.a_type == AT_ENTRY)
			address = entry.a_un.a_val;
	if (!address)
		broken("%s: no entry", path);
	(void)fclose(file);
	return address;
}

static uint8_t poke_byte(pid_t pid, uint64_t address, uint8_t byte)
{
	const uint64_t at = address & ~(uint64_t)7;
	const unsigned shift = (unsigned)(address & 7) * 8;
	const uint64_t word = (uint64_t)ptrace(PTRACE_PEEKTEXT, pid, at, 0);
	const uint64_t changed = (word & ~((uint64_t)0xff << shift)) | (uint64_t)byte << shift;

	if (ptrace(PTRACE_POKETEXT, pid, at, changed) < 0)
		broken("cannot set a breakpoint: %s", strerror(errno));
	return (uint8_t)(word >> shift);
}

static void set_traps(struct tracing *tracing)
{
	const struct points *points = tracing->points;
	const uint64_t entry = entry_address(tracing->pid);

	tracing->bias = entry - points->entry;
	tracing->first_byte = poke_byte(tracing->pid, entry, TRAP);
	for (unsigned i = 0; i < points->sites_count; i++)
		(void)poke_byte(tracing->pid, points->sites[i].address + tracing->bias, TRAP);
}

static void start(struct tracing *tracing, const char *const argv[])
{
	const long options = PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD |
			     PTRACE_O_EXITKILL;

	tracing->pid = fork();
	if (tracing->pid < 0)
		broken("fork: %s", strerror(errno));
	if (tracing->pid == 0)
		be_program(tracing->tracer, argv);
	expect_stop(tracing->pid, SIGSTOP);
	if (ptrace(PTRACE_SETOPTIONS, tracing->pid, 0, options) < 0)
		broken("ptrace: %s", strerror(errno));
	(void)ptrace(PTRACE_CONT, tracing->pid, 0, 0);
	expect_stop(tracing->pid, SIGTRAP | PTRACE_EVENT_EXEC << 8);
	set_traps(tracing);
	(void)ptrace(PTRACE_CONT, tracing->pid, 0, 0);
}

/* ---- stops ---- */

__attribute__((format(printf, 2, 3))) static void die(struct tracing *tracing, const char *format,
						      ...)
{
	struct traced_run *run = tracing->run;
	va_list arguments;

	if (tracing->is_dying)
		return;
	va_start(arguments, format);
	(void)vsnprintf(run->where, sizeof(run->where), format, arguments);
	va_end(arguments);
	tracing->is_dying = true;
	(void)kill(tracing->pid, SIGKILL);
}

static void count_call(struct tracing *tracing)
{
	const struct kill_rule *rule = &tracing->tracer->rule;

	if (++tracing->run->calls != rule->n || rule->at != KILL_AT_CALL)
		return;
	tracing->run->was_killed = true;
	die(tracing, "boundary %llu", (unsigned long long)rule->n);
}

static void hit(struct tracing *tracing, unsigned point)
{
	const struct tracer *tracer = tracing->tracer;
	const char *name = tracing->points->names[point];
	const uint64_t n = ++tracing->run->hits[point];

	if (tracer->on_point && !tracing->is_dying)
		tracer->on_point(tracer->argument, tracing->pid, name);
	if (tracer->rule.at != KILL_AT_POINT || tracer->rule.point != (int)point ||
	    n != tracer->rule.n)
		return;
	tracing->run->was_killed = true;
	die(tracing, "%s, hit %llu", name, (unsigned long long)n);
}

/* The nop under the trap needs not be run; the instruction at the program's entry does. True: it
 * was one of ours. */
static bool take_trap(struct tracing *tracing, pid_t thread)
{
	const uint64_t address = program_counter(thread) - 1;
	const struct points *points = tracing->points;

	if (address - tracing->bias == points->entry) {
		(void)poke_byte(thread, address, tracing->first_byte);
		set_program_counter(thread, address);
		tracing->has_entered = true;
		return true;
	}
	for (unsigned i = 0; i < points->sites_count; i++) {
		if (points->sites[i].address != address - tracing->bias)
			continue;
		hit(tracing, points->sites[i].point);
		return true;
	}
	return false;
}

/* The signal to go on with. */
static int take_stop(struct tracing *tracing, pid_t thread, int status)
{
	const int signal = WSTOPSIG(status);

	if (signal == (SIGTRAP | 0x80))
		count_call(tracing);
	else if (status >> 16 != 0 || signal == SIGSTOP)
		return 0; /* a thread was begun, and begins */
	else if (signal != SIGTRAP || !take_trap(tracing, thread))
		return signal;
	return 0;
}

static void go_on(const struct tracing *tracing, pid_t thread, int signal)
{
	const struct tracer *tracer = tracing->tracer;
	const bool by_call =
		tracing->has_entered && (tracer->count_calls || tracer->rule.at == KILL_AT_CALL);

	/* It may be dead by now. */
	(void)ptrace(by_call ? PTRACE_SYSCALL : PTRACE_CONT, thread, 0, signal);
}

static void ring_alarm(int signal)
{
	(void)signal;
}

static void set_alarm(long s)
{
	const struct itimerval timer = { { s, 0 }, { s, 0 } };
	const struct sigaction action = { .sa_handler = ring_alarm };

	(void)sigaction(SIGALRM, &action, NULL);
	(void)setitimer(ITIMER_REAL, &timer, NULL);
}

static void look_at_clock(struct tracing *tracing)
{
	if (tracing->is_dying || time(NULL) < tracing->deadline)
		return;
	violated("the writer did not end within %d s", DEADLINE_S);
	die(tracing, "stalled");
}

static int status_of(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void tracer_run(const struct tracer *tracer, const struct points *points, const char *const argv[],
		struct traced_run *ret)
{
	struct tracing tracing = { .tracer = tracer, .points = points, .run = ret };
	int status;

	*ret = (struct traced_run){ 0 };
	start(&tracing, argv);
	tracing.deadline = time(NULL) + DEADLINE_S;
	set_alarm(1);
	for (;;) {
		const pid_t thread = waitpid(-tracing.pid, &status, __WALL);

		if (thread < 0 && errno == ECHILD)
			break;
		if (thread < 0)
			look_at_clock(&tracing);
		else if (WIFSTOPPED(status))
			go_on(&tracing, thread, take_stop(&tracing, thread, status));
		else if (thread == tracing.pid)
			ret->status = status_of(status);
	}
	set_alarm(0);
}
