/*
 * moment.h - a point in time as people write and read it. UTC throughout.
 */
#ifndef SHMLOG_LIB_MOMENT_H
#define SHMLOG_LIB_MOMENT_H

#include "base.h"

enum { MOMENT_SIZE = 40 };

/* RFC 3339 with @digits (0 .. 9) of the second's fraction: 2026-11-20T10:00:00.123456Z. Returns
 * the length. */
size_t moment_format(char text[MOMENT_SIZE], int64_t time_ns, unsigned digits);

/**
 * moment_parse() - nanoseconds since 1970 (UTC).
 * @text: RFC 3339; "YYYY-MM-DD HH:MM[:SS[.fraction]]" or "YYYY-MM-DD", UTC where no offset is
 *        given; "@seconds[.fraction]"; or so long ago: "-5m", "1h", "2d ago".
 * @now_ns: what "ago" refers to.
 * Return: 0; -EINVAL not a time, or not of the years 1678 to 2261. With a reason.
 */
int moment_parse(const char *text, int64_t now_ns, int64_t *ret_ns);

#endif
