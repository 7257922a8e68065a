/*
 * units.h - sizes and times as people write them: 64K, 256M, 500us, 7d.
 *
 * For option values and configuration files. Whole numbers only: no sign, no fraction, no space.
 */
#ifndef SHMLOG_LIB_UNITS_H
#define SHMLOG_LIB_UNITS_H

#include <stdint.h>

/**
 * units_parse_size() - bytes: a number, or a number with K, M, G or T behind it (powers of 1024).
 * Return: 0; -EINVAL not a size; -ERANGE beyond 2^63 - 1 bytes. With a reason that names the
 *         value and what to write instead.
 */
int units_parse_size(const char *text, uint64_t *ret_size);

/**
 * units_parse_time_ns() - a number with ns, us, ms, s, m, h or d behind it; 0 needs no unit.
 * Return: 0; -EINVAL not a time; -ERANGE beyond 2^63 - 1 ns (292 years). With a reason.
 */
int units_parse_time_ns(const char *text, int64_t *ret_ns);

/**
 * units_parse_number() - digits and nothing else, at most @max.
 * Return: 0; -EINVAL not a whole number; -ERANGE beyond @max. With a reason.
 */
int units_parse_number(const char *text, uint64_t max, uint64_t *ret_number);

#endif
