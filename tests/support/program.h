/*
 * program.h - start shmlog's programs as a user would, and end with them.
 *
 * The programs are those of the build directory that SHMLOG_BIN names. Every child is killed when
 * its parent dies. A wait has a deadline: whoever does not end in time has stalled, and that is a
 * breach, told as "violated: ...".
 */
#ifndef SHMLOG_TESTS_SUPPORT_PROGRAM_H
#define SHMLOG_TESTS_SUPPORT_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* A promise is broken: "violated: ..." on standard error; counted. */
void violated(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Of violated() so far: what a suite's exit status follows from. */
uint64_t violations(void);

/* The suite itself is broken, or the machine: "broken: ...", and exit with 2. */
_Noreturn void broken(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The full path of a program of the build directory, "shmlog-writer"; a static buffer. */
const char *program_path(const char *name);

/**
 * program_start() - fork and execute.
 * @argv: NULL-terminated; argv[0] is a name for program_path(), or a path with a slash.
 * @error_path: where its standard error is appended; NULL: ours.
 */
pid_t program_start(const char *const argv[], const char *error_path);

/* Its exit status, or 128 + signal. Later than @timeout_ms: violated(), killed, 137. */
int program_wait(pid_t pid, int timeout_ms);

/* Start, and wait. */
int program_run(const char *const argv[], const char *error_path, int timeout_ms);

/* Its standard output as a stream; end with program_close(), which returns as program_wait(). */
FILE *program_read(const char *const argv[], pid_t *ret_pid);
int program_close(FILE *stream, pid_t pid);

/* A writer of @ring into @directory with further options (NULL-terminated, may be NULL) runs, and
 * has said so in the ring's status. It may also have ended: then 0 is returned and it is reaped. */
pid_t program_start_writer(const char *ring, const char *directory, const char *const options[],
			   const char *error_path);

/* Does this writer hold the ring, and take signals? */
bool program_writer_is_at_work(const char *ring, pid_t writer);

/* Poll @condition each millisecond; false, and violated(@what), after @timeout_ms. */
bool program_wait_until(bool (*condition)(void *argument), void *argument, int timeout_ms,
			const char *what);

#endif
