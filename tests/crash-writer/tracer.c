/*
 * tracer.c - run the writer under ptrace and kill it at an exact place. See tracer.h.
 *
 * The program is the leader of a process group of its own: waiting for that group sees its threads
 * and its child, and none of the suite's other children. Until it executes, the child has the
 * writer's memory, traps and all, but comes by none of them.
 */
#include "tracer.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

enum { DEADLINE_S = 30, TRAP = 0xcc };

struct traced {
	pid_t pid;          /* 0: there is none                       */
	uint64_t bias;      /* where it lies - where it was linked to */
	uint8_t first_byte; /* of the program's entry, under the trap */
	bool has_entered;
};

struct tracing {
	const struct tracer *tracer;
	const struct points *points;
	struct traced_run *run;
	struct traced writer;
	struct traced child; /* the last one                          */
	bool is_held;        /* the child                             */
	uint64_t hold_end;   /* hits of hold.until that let it go on  */
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

/* The child that compresses runs when nobody else wants the processor: beside a busy suite, hardly
 * ever. What is tested here is not its priority. */
static int refuse_idleness(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_setscheduler, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setpriority, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioprio_set, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]),
					    .filter = filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

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
	if (refuse_idleness() < 0 || ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
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
	if (file)
		(void)fclose(file);
	return address; /* 0: it is dead by now */
}

static uint8_t poke_byte(pid_t pid, uint64_t address, uint8_t byte)
{
	const uint64_t at = address & ~(uint64_t)7;
	const unsigned shift = (unsigned)(address & 7) * 8;
	const uint64_t word = (uint64_t)ptrace(PTRACE_PEEKTEXT, pid, at, 0);
	const uint64_t changed = (word & ~((uint64_t)0xff << shift)) | (uint64_t)byte << shift;

	if (ptrace(PTRACE_POKETEXT, pid, at, changed) < 0 && errno != ESRCH) /* as go_on() */
		broken("cannot set a breakpoint: %s", strerror(errno));
	return (uint8_t)(word >> shift);
}

/* It has just executed the program. */
static void set_traps(struct traced *traced, pid_t pid, const struct points *points)
{
	const uint64_t entry = entry_address(pid);

	*traced = (struct traced){ .pid = pid, .bias = entry - points->entry };
	traced->first_byte = poke_byte(pid, entry, TRAP);
	for (unsigned i = 0; i < points->sites_count; i++)
		(void)poke_byte(pid, points->sites[i].address + traced->bias, TRAP);
}

static void start(struct tracing *tracing, const char *const argv[])
{
	const long options = PTRACE_O_TRACECLONE | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
			     PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
	const pid_t pid = fork();

	if (pid < 0)
		broken("fork: %s", strerror(errno));
	if (pid == 0)
		be_program(tracing->tracer, argv);
	expect_stop(pid, SIGSTOP);
	if (ptrace(PTRACE_SETOPTIONS, pid, 0, options) < 0)
		broken("ptrace: %s", strerror(errno));
	(void)ptrace(PTRACE_CONT, pid, 0, 0);
	expect_stop(pid, SIGTRAP | PTRACE_EVENT_EXEC << 8);
	set_traps(&tracing->writer, pid, tracing->points);
	(void)ptrace(PTRACE_CONT, pid, 0, 0);
}

/* ---- stops ---- */

static bool is_child(const struct tracing *tracing, pid_t thread)
{
	return tracing->child.pid != 0 && thread == tracing->child.pid;
}

static bool kills_child(const struct kill_rule *rule)
{
	return rule->at == KILL_CHILD_AT_POINT || rule->at == KILL_CHILD_AT_CALL;
}

static bool is_about_point(const struct kill_rule *rule)
{
	return rule->at == KILL_AT_POINT || rule->at == KILL_CHILD_AT_POINT;
}

static bool is_about_child_call(const struct kill_rule *rule)
{
	return rule->at == KILL_AT_CHILD_CALL || rule->at == KILL_CHILD_AT_CALL;
}

static void tell(const struct tracing *tracing, const char *what)
{
	const struct tracer *tracer = tracing->tracer;

	if (tracer->on_point && !tracing->is_dying)
		tracer->on_point(tracer->argument, tracing->writer.pid, what);
}

static void end_writer(struct tracing *tracing)
{
	tracing->is_dying = true;
	(void)kill(tracing->writer.pid, SIGKILL);
}

__attribute__((format(printf, 2, 3))) static void strike(struct tracing *tracing,
							 const char *format, ...)
{
	const struct tracer *tracer = tracing->tracer;
	struct traced_run *run = tracing->run;
	va_list arguments;

	if (tracing->is_dying || run->was_killed)
		return;
	va_start(arguments, format);
	(void)vsnprintf(run->where, sizeof(run->where), format, arguments);
	va_end(arguments);
	run->was_killed = true;
	if (!kills_child(&tracer->rule)) {
		end_writer(tracing);
		return;
	}
	(void)kill(tracing->child.pid, SIGKILL);
	tell(tracing, TRACER_CHILD_KILLED);
}

static void count_call(struct tracing *tracing, pid_t thread)
{
	const struct kill_rule *rule = &tracing->tracer->rule;
	const bool by_child = is_child(tracing, thread);
	uint64_t *calls = by_child ? &tracing->run->child_calls : &tracing->run->calls;

	++*calls;
	if (*calls == rule->n && (by_child ? is_about_child_call(rule) : rule->at == KILL_AT_CALL))
		strike(tracing, "%sboundary %llu%s", by_child ? "the child's " : "",
		       (unsigned long long)rule->n, kills_child(rule) ? ", the child alone" : "");
}

/* True: the child, which is at a boundary, is not to go on yet. */
static bool is_to_wait(struct tracing *tracing, pid_t thread)
{
	const struct hold_rule *hold = &tracing->tracer->hold;

	if (!is_child(tracing, thread) || hold->call != tracing->run->child_calls)
		return false;
	tracing->hold_end = tracing->run->hits[hold->until] + hold->n;
	tracing->is_held = true;
	tell(tracing, TRACER_CHILD_HELD);
	return true;
}

static void let_go_on(struct tracing *tracing)
{
	if (tracing->is_held)
		(void)ptrace(PTRACE_CONT, tracing->child.pid, 0, 0);
	tracing->is_held = false;
}

/* A point is met. */
static void hit(struct tracing *tracing, unsigned point)
{
	const struct tracer *tracer = tracing->tracer;
	const char *name = tracing->points->names[point];
	const uint64_t n = ++tracing->run->hits[point];

	tell(tracing, name);
	if (tracer->hold.call && n == tracing->hold_end && (int)point == tracer->hold.until)
		let_go_on(tracing);
	if (is_about_point(&tracer->rule) && tracer->rule.point == (int)point &&
	    n == tracer->rule.n)
		strike(tracing, "%s, hit %llu%s", name, (unsigned long long)n,
		       kills_child(&tracer->rule) ? ", the child alone" : "");
}

/* The nop under the trap needs not be run; the instruction at the program's entry does. True: it
 * was one of ours. */
static bool take_trap(struct tracing *tracing, pid_t thread)
{
	struct traced *traced = is_child(tracing, thread) ? &tracing->child : &tracing->writer;
	const uint64_t address = program_counter(thread) - 1;
	const struct points *points = tracing->points;

	if (address - traced->bias == points->entry) {
		(void)poke_byte(thread, address, traced->first_byte);
		set_program_counter(thread, address);
		traced->has_entered = true;
		return true;
	}
	for (unsigned i = 0; i < points->sites_count; i++) {
		if (points->sites[i].address != address - traced->bias)
			continue;
		hit(tracing, points->sites[i].point);
		return true;
	}
	return false;
}

static void go_on(const struct tracing *tracing, pid_t thread, int signal)
{
	const struct tracer *tracer = tracing->tracer;
	const bool by_child = is_child(tracing, thread);
	const bool counts = tracer->count_calls ||
			    (by_child ? tracer->hold.call > 0 || is_about_child_call(&tracer->rule)
				      : tracer->rule.at == KILL_AT_CALL);
	const bool by_call =
		counts && (by_child ? tracing->child.has_entered : tracing->writer.has_entered);

	/* It may be dead by now. */
	(void)ptrace(by_call ? PTRACE_SYSCALL : PTRACE_CONT, thread, 0, signal);
}

/* The signal to go on with. */
static int take_stop(struct tracing *tracing, pid_t thread, int status)
{
	const int signal = WSTOPSIG(status);

	if (signal == (SIGTRAP | 0x80))
		count_call(tracing, thread);
	else if (status >> 16 == PTRACE_EVENT_EXEC)
		set_traps(&tracing->child, thread, tracing->points);
	else if (status >> 16 == 0 && signal != SIGSTOP && /* that: a thread or child begins */
		 (signal != SIGTRAP || !take_trap(tracing, thread)))
		return signal;
	return 0;
}

static void stopped(struct tracing *tracing, pid_t thread, int status)
{
	const int signal = take_stop(tracing, thread, status);

	if (WSTOPSIG(status) != (SIGTRAP | 0x80) || !is_to_wait(tracing, thread))
		go_on(tracing, thread, signal);
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
	(void)snprintf(tracing->run->where, sizeof(tracing->run->where), "stalled");
	end_writer(tracing);
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
		const pid_t thread = waitpid(-tracing.writer.pid, &status, __WALL);

		if (thread < 0 && errno == ECHILD)
			break;
		if (thread < 0)
			look_at_clock(&tracing);
		else if (WIFSTOPPED(status))
			stopped(&tracing, thread, status);
		else if (thread == tracing.writer.pid) {
			ret->status = status_of(status);
			let_go_on(&tracing);
		}
	}
	set_alarm(0);
}
