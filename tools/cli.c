/*
 * cli.c - how the programs complain, exit, and read option values.
 */
#include "cli.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "units.h"
#include "utf8.h"

/* argp(3) prints it for --version: its variable, so it must find ours. */
__attribute__((visibility("default"))) const char *argp_program_version =
	"shmlog " SHMLOG_VERSION_TEXT;

static const char *const level_names[] = { "emergency", "alert",  "critical", "error",
					   "warning",   "notice", "info",     "debug" };

static const struct {
	int error;
	int exit_code;
} exit_codes[] = {
	{ EINVAL, EX_USAGE },       { ENAMETOOLONG, EX_USAGE },    { ENOENT, EX_UNAVAILABLE },
	{ ESRCH, EX_UNAVAILABLE },  { ESHUTDOWN, EX_UNAVAILABLE }, { EPROTO, EX_DATAERR },
	{ EBADMSG, EX_DATAERR },    { EEXIST, EX_CANTCREAT },      { ENOSPC, EX_CANTCREAT },
	{ EROFS, EX_CANTCREAT },    { EBUSY, EX_TEMPFAIL },        { EAGAIN, EX_TEMPFAIL },
	{ ENOTEMPTY, EX_TEMPFAIL }, { EACCES, EX_NOPERM },         { EPERM, EX_NOPERM },
};

/* A ring's memory may be taken away by who may write to it. Only calls that a handler may make. */
static void on_bus_error(int number)
{
	static const char text[] = ": the ring's memory was taken away (truncated?)\n";

	(void)number;
	(void)!write(STDERR_FILENO, program_invocation_short_name,
		     strlen(program_invocation_short_name));
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(EX_DATAERR);
}

void cli_begin(void)
{
	argp_err_exit_status = EX_USAGE;
	(void)signal(SIGBUS, on_bus_error);
}

/* Names come from the command line and from shared memory: they break no line, steer no terminal.
 */
static void make_printable(char *text)
{
	while (*text != '\0') {
		const size_t length = utf8_shown_length((const uint8_t *)text, strlen(text));

		if (length == 0)
			*text = '?';
		text += length == 0 ? 1 : length;
	}
}

static void complain(const char *format, va_list arguments)
{
	char text[1024];

	(void)vsnprintf(text, sizeof(text), format, arguments);
	make_printable(text);
	/* One write: lines of several processes on one terminal do not mix. */
	(void)fprintf(stderr, "%s: %s\n", program_invocation_short_name, text);
}

void cli_complain(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	complain(format, arguments);
	va_end(arguments);
}

int cli_fail(int exit_code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	complain(format, arguments);
	va_end(arguments);
	return exit_code;
}

int cli_fail_error(int error, const char *object, const char *reason)
{
	if (reason && *reason)
		cli_complain("%s", reason);
	else
		cli_complain("%s: %s", object, strerror(-error));
	return cli_exit_code(error);
}

int cli_exit_code(int error)
{
	for (size_t i = 0; i < COUNT_OF(exit_codes); i++) {
		if (exit_codes[i].error == -error)
			return exit_codes[i].exit_code;
	}
	return EX_IOERR;
}

int cli_finish(int exit_code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return exit_code;
	return cli_fail(EX_IOERR, "standard output: %s", strerror(errno));
}

_Noreturn void cli_usage_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	complain(format, arguments);
	va_end(arguments);
	exit(EX_USAGE);
}

uint64_t cli_size(const char *option, const char *text)
{
	uint64_t size;

	if (units_parse_size(text, &size) < 0)
		cli_usage_error("%s %s", option, reason_get());
	return size;
}

int64_t cli_time_ns(const char *option, const char *text)
{
	int64_t ns;

	if (units_parse_time_ns(text, &ns) < 0)
		cli_usage_error("%s %s", option, reason_get());
	return ns;
}

uint64_t cli_number(const char *option, const char *text, uint64_t min, uint64_t max)
{
	uint64_t number;

	if (units_parse_number(text, max, &number) < 0)
		cli_usage_error("%s %s", option, reason_get());
	if (number < min)
		cli_usage_error("%s \"%s\": too small (at least %llu)", option, text,
				(unsigned long long)min);
	return number;
}

int cli_level(const char *option, const char *text)
{
	for (size_t i = 0; i < COUNT_OF(level_names); i++) {
		const char digit[] = { (char)('0' + i), '\0' };

		if (strcmp(text, level_names[i]) == 0 || strcmp(text, digit) == 0)
			return (int)i;
	}
	cli_usage_error("%s \"%s\": no such level (write 0 .. 7 or emergency, alert, critical, "
			"error, warning, notice, info, debug)",
			option, text);
}

uint32_t cli_mode_bits(const char *option, const char *text)
{
	uint32_t bits = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '7' && bits <= 0777; at++)
		bits = bits * 8 + (uint32_t)(*at - '0');
	if (at == text || *at != '\0' || bits > 0777)
		cli_usage_error("%s \"%s\": no permission bits (write three octal digits: 0600, "
				"0660)",
				option, text);
	return bits;
}

const char *cli_level_name(int level)
{
	return level >= 0 && level < (int)COUNT_OF(level_names) ? level_names[level] : "?";
}
