/*
 * units.c - sizes and times as people write them.
 *
 * Every value goes through one scanner for digits, which strtoull(3) is not: that takes signs,
 * leading spaces and wraps "-1" around.
 */
#include "units.h"

#include <errno.h>
#include <string.h>

#include "base.h"

struct unit {
	const char *suffix;
	uint64_t factor;
};

static const struct unit size_units[] = {
	{ "", 1 },
	{ "K", UINT64_C(1) << 10 },
	{ "M", UINT64_C(1) << 20 },
	{ "G", UINT64_C(1) << 30 },
	{ "T", UINT64_C(1) << 40 },
};

static const struct unit time_units[] = {
	{ "ns", 1 },
	{ "us", NS_PER_US },
	{ "ms", NS_PER_MS },
	{ "s", NS_PER_S },
	{ "m", UINT64_C(60) * NS_PER_S },
	{ "h", UINT64_C(3600) * NS_PER_S },
	{ "d", UINT64_C(86400) * NS_PER_S },
};

/* The digits at @text; @ret_rest is what follows them. -EINVAL none; -ERANGE more than 64 bits. */
static int scan_digits(const char *text, uint64_t *ret_number, const char **ret_rest)
{
	uint64_t number = 0;
	bool fits = true;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++)
		fits = fits && !__builtin_mul_overflow(number, 10u, &number) &&
		       !__builtin_add_overflow(number, (uint64_t)(*at - '0'), &number);
	if (at == text)
		return -EINVAL;
	*ret_number = number;
	*ret_rest = at;
	return fits ? 0 : -ERANGE;
}

static const struct unit *find_unit(const struct unit *units, size_t count, const char *suffix)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(units[i].suffix, suffix) == 0)
			return &units[i];
	}
	return NULL;
}

/* A number with one of @units behind it. -EINVAL, -ERANGE without a reason yet. */
static int scan_quantity(const char *text, const struct unit *units, size_t count, uint64_t *ret)
{
	uint64_t number;
	const char *rest;
	const struct unit *unit;
	int error = scan_digits(text, &number, &rest);

	if (error == -EINVAL)
		return error;
	unit = find_unit(units, count, rest);
	if (!unit && *rest == '\0' && error == 0 && number == 0)
		unit = &units[0]; /* nothing of any unit is nothing */
	if (!unit)
		return -EINVAL;
	if (error || __builtin_mul_overflow(number, unit->factor, &number) || number > INT64_MAX)
		return -ERANGE;
	*ret = number;
	return 0;
}

int units_parse_size(const char *text, uint64_t *ret_size)
{
	const int error = scan_quantity(text, size_units, COUNT_OF(size_units), ret_size);

	if (error == -ERANGE)
		return reason_set(error, "\"%s\": too large for a size (at most 8388607T)", text);
	if (error)
		return reason_set(error,
				  "\"%s\": not a size (write whole bytes, or K, M, G or T behind "
				  "the number: 4096, 64K, 256M)",
				  text);
	return 0;
}

int units_parse_time_ns(const char *text, int64_t *ret_ns)
{
	uint64_t ns;
	const int error = scan_quantity(text, time_units, COUNT_OF(time_units), &ns);

	if (error == -ERANGE)
		return reason_set(error, "\"%s\": too long for a time (at most 106751d)", text);
	if (error)
		return reason_set(error,
				  "\"%s\": not a time (write a whole number and ns, us, ms, s, m, "
				  "h or d: 500us, 100ms, 1s, 7d)",
				  text);
	*ret_ns = (int64_t)ns;
	return 0;
}

int units_parse_number(const char *text, uint64_t max, uint64_t *ret_number)
{
	uint64_t number;
	const char *rest;
	const int error = scan_digits(text, &number, &rest);

	if (error == -EINVAL || *rest != '\0')
		return reason_set(-EINVAL, "\"%s\": not a whole number (write 0 .. %llu)", text,
				  (unsigned long long)max);
	if (error || number > max)
		return reason_set(-ERANGE, "\"%s\": too large (at most %llu)", text,
				  (unsigned long long)max);
	*ret_number = number;
	return 0;
}
