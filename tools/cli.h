/*
 * cli.h - what the programs share: how they complain, exit, and read option values.
 *
 * Every error is one line on standard error, `<program>: <object>: <reason and cure>`, and one
 * exit code of sysexits.h:
 *
 *     0   success                              73  EX_CANTCREAT    cannot create
 *     1   negative answer                      74  EX_IOERR        input or output failed
 *     64  EX_USAGE        options, values      75  EX_TEMPFAIL     locked: in use by somebody
 *     65  EX_DATAERR      foreign or bad data  77  EX_NOPERM       not permitted, not trusted
 *     69  EX_UNAVAILABLE  no ring, no writer   78  EX_CONFIG       configuration
 */
#ifndef SHMLOG_TOOLS_CLI_H
#define SHMLOG_TOOLS_CLI_H

#include <stdint.h>
#include <sysexits.h>

#include "base.h"

enum { EXIT_NEGATIVE = 1 };

/* First call of main(): exit codes and version of argp(3). */
void cli_begin(void);

/* `<program>: <text>` on standard error. */
void cli_complain(const char *format, ...) PRINTF(1, 2);

/* The same, and the code back: return cli_fail(EX_UNAVAILABLE, "..."). */
int cli_fail(int exit_code, const char *format, ...) PRINTF(2, 3);

/* The same with @reason (shmlog_reason() or reason_get()), or the errno's text where it is "". */
int cli_fail_error(int error, const char *object, const char *reason);

/* The exit code for a negative errno of the library. */
int cli_exit_code(int error);

/* Flush standard output: @exit_code, or 74 with a complaint where that fails. Last call of main. */
int cli_finish(int exit_code);

/*
 * Option values. On a bad one the program ends with 64 and one line that names the option, the
 * value and what to write instead.
 */
uint64_t cli_size(const char *option, const char *text);
int64_t cli_time_ns(const char *option, const char *text);
uint64_t cli_number(const char *option, const char *text, uint64_t min, uint64_t max);
int cli_level(const char *option, const char *text);
uint32_t cli_mode_bits(const char *option, const char *text);

/* A bad combination of options: one line and exit 64. */
_Noreturn void cli_usage_error(const char *format, ...) PRINTF(1, 2);

/* The name of a level, "?" beyond 0 .. 7. */
const char *cli_level_name(int level);

#endif
