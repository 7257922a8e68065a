/*
 * base.c - the thread's last reason.
 */
#include "base.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char last_reason[512];

void reason_keep(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(last_reason, sizeof(last_reason), format, arguments);
	va_end(arguments);
}

const char *reason_get(void)
{
	return last_reason;
}
