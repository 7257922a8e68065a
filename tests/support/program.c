/*
 * program.c - start shmlog's programs as a user would. See program.h.
 */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "segment.h"

enum { START_MS = 20000, NAP_NS = 1000000, OPTIONS_MAX = 40 };

static uint64_t violation_count;

void violated(const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	(void)fprintf(stderr, "violated: %s\n", text);
	violation_count++;
}

uint64_t violations(void)
{
	return violation_count;
}

void broken(const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	(void)fprintf(stderr, "broken: %s\n", text);
	exit(2);
}

const char *program_path(const char *name)
{
	static char path[PATH_MAX];
	const char *directory = getenv("SHMLOG_BIN");

	if (!directory)
		broken("SHMLOG_BIN is not set: run it through make");
	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void append_errors_to(const char *path)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(126);
}

static pid_t start(const char *const argv[], const char *error_path, int output)
{
	const pid_t parent = getpid();
	const char *path = strchr(argv[0], '/') ? argv[0] : program_path(argv[0]);
	const pid_t pid = fork();

	if (pid < 0)
		broken("fork: %s", strerror(errno));
	if (pid > 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	if (error_path)
		append_errors_to(error_path);
	if (output >= 0 && dup2(output, STDOUT_FILENO) < 0)
		_exit(126);
	execv(path, (char *const *)(uintptr_t)argv);
	_exit(127);
}

pid_t program_start(const char *const argv[], const char *error_path)
{
	return start(argv, error_path, -1);
}

static int status_of(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void nap(void)
{
	const struct timespec time = { .tv_nsec = NAP_NS };

	nanosleep(&time, NULL);
}

int program_wait(pid_t pid, int timeout_ms)
{
	const int64_t deadline = now_ms() + timeout_ms;
	int status;

	for (;;) {
		const pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return status_of(status);
		if (got < 0 && errno != EINTR)
			broken("waitpid(%d): %s", (int)pid, strerror(errno));
		if (now_ms() >= deadline)
			break;
		nap();
	}
	violated("process %d did not end within %d ms", (int)pid, timeout_ms);
	kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	return 137;
}

int program_run(const char *const argv[], const char *error_path, int timeout_ms)
{
	return program_wait(program_start(argv, error_path), timeout_ms);
}

FILE *program_read(const char *const argv[], pid_t *ret_pid)
{
	int ends[2];
	FILE *stream;

	if (pipe2(ends, O_CLOEXEC) < 0)
		broken("pipe: %s", strerror(errno));
	*ret_pid = start(argv, NULL, ends[1]);
	close(ends[1]);
	stream = fdopen(ends[0], "r");
	if (!stream)
		broken("fdopen: %s", strerror(errno));
	return stream;
}

int program_close(FILE *stream, pid_t pid)
{
	int status;

	(void)fclose(stream);
	if (waitpid(pid, &status, 0) != pid)
		broken("waitpid(%d): %s", (int)pid, strerror(errno));
	return status_of(status);
}

bool program_wait_until(bool (*condition)(void *argument), void *argument, int timeout_ms,
			const char *what)
{
	const int64_t deadline = now_ms() + timeout_ms;

	while (!condition(argument)) {
		if (now_ms() >= deadline) {
			violated("waited %d ms in vain: %s", timeout_ms, what);
			return false;
		}
		nap();
	}
	return true;
}

/* ---- a writer at work ---- */

struct writer_start {
	const char *ring;
	pid_t pid;
	bool has_ended;
};

/* As the segment's status says, which the writer stores when it has recovered. */
bool program_writer_is_at_work(const char *ring, pid_t writer)
{
	struct segment segment;
	struct segment_view view;
	bool is = false;

	if (segment_open(&sys_real, ring, O_RDONLY, &segment) < 0)
		return false;
	if (segment_view(&segment, &view) == 0) {
		const struct writer_status *status = view_writer(&view);

		is = load_relaxed_u32(&status->state) == WRITER_RUNNING &&
		     status->pid == (uint32_t)writer;
		segment_view_close(&view);
	}
	segment_close(&segment);
	return is;
}

static bool has_started(void *argument)
{
	struct writer_start *start = argument;
	siginfo_t info = { .si_pid = 0 };

	if (program_writer_is_at_work(start->ring, start->pid))
		return true;
	if (waitid(P_PID, (id_t)start->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	    info.si_pid == start->pid)
		start->has_ended = true;
	return start->has_ended;
}

pid_t program_start_writer(const char *ring, const char *directory, const char *const options[],
			   const char *error_path)
{
	const char *argv[OPTIONS_MAX] = { "shmlog-writer", "-r", ring, "-d", directory };
	struct writer_start start = { .ring = ring };

	for (size_t i = 0; options && options[i]; i++) {
		if (5 + i + 1 >= OPTIONS_MAX)
			broken("too many options");
		argv[5 + i] = options[i];
	}
	start.pid = program_start(argv, error_path);
	(void)program_wait_until(has_started, &start, START_MS, "the writer's start");
	if (!start.has_ended)
		return start.pid;
	(void)waitpid(start.pid, NULL, 0);
	return 0;
}
