/*
 * moment.c - a point in time as people write and read it. Pure; the calendar is Gregorian.
 */
#include "moment.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "units.h"

enum { DAY_S = 86400, YEAR_FIRST = 1678, YEAR_LAST = 2261 };

/* Days since 1970-01-01. Years begin in March here, so that the leap day is the last one. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
	const int64_t y = month <= 2 ? year - 1 : year;
	const int64_t era = y / 400;
	const int64_t of_era = y - era * 400;
	const int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* The reverse, for days after the year 0. */
static void date_of(int64_t days, int *ret_year, int *ret_month, int *ret_day)
{
	const int64_t z = days + 719468;
	const int64_t era = z / 146097;
	const int64_t of_era = z - era * 146097;
	const int64_t year_of_era =
		(of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	const int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	const int64_t march_month = (5 * of_year + 2) / 153;

	*ret_day = (int)(of_year - (153 * march_month + 2) / 5 + 1);
	*ret_month = (int)(march_month < 10 ? march_month + 3 : march_month - 9);
	*ret_year = (int)(year_of_era + era * 400 + (*ret_month <= 2));
}

/* @digits decimal digits of @value at @text. */
static char *put_number(char *text, int64_t value, unsigned digits)
{
	for (unsigned i = digits; i > 0; i--) {
		text[i - 1] = (char)('0' + value % 10);
		value /= 10;
	}
	return text + digits;
}

static char *put_date(char *text, int64_t days)
{
	int year, month, day;

	date_of(days, &year, &month, &day);
	text = put_number(text, year, 4);
	*text++ = '-';
	text = put_number(text, month, 2);
	*text++ = '-';
	text = put_number(text, day, 2);
	*text++ = 'T';
	return text;
}

size_t moment_format(char text[MOMENT_SIZE], int64_t time_ns, unsigned digits)
{
	int64_t second = time_ns / NS_PER_S;
	int64_t fraction = time_ns % NS_PER_S;
	int64_t of_day, days;
	char *at;

	second -= fraction < 0;
	fraction += fraction < 0 ? NS_PER_S : 0;
	days = second / DAY_S - (second % DAY_S < 0);
	of_day = second - days * DAY_S;
	at = put_date(text, days);
	at = put_number(at, of_day / 3600, 2);
	*at++ = ':';
	at = put_number(at, of_day / 60 % 60, 2);
	*at++ = ':';
	at = put_number(at, of_day % 60, 2);
	if (digits > 0) {
		*at++ = '.';
		(void)put_number(at, fraction, 9);
		at += digits;
	}
	*at++ = 'Z';
	*at = '\0';
	return (size_t)(at - text);
}

/* Exactly @digits digits at *@text, stepped over. */
static bool take_number(const char **text, unsigned digits, int64_t *ret)
{
	int64_t value = 0;

	for (unsigned i = 0; i < digits; i++) {
		if ((*text)[i] < '0' || (*text)[i] > '9')
			return false;
		value = value * 10 + ((*text)[i] - '0');
	}
	*text += digits;
	*ret = value;
	return true;
}

static bool take_character(const char **text, char wanted)
{
	if (**text != wanted)
		return false;
	++*text;
	return true;
}

/* ".5" and the like; digits behind the ninth are cut. */
static bool take_fraction(const char **text, int64_t *ret_ns)
{
	int64_t digit, unit_ns = NS_PER_S / 10;

	*ret_ns = 0;
	if (!take_character(text, '.') && !take_character(text, ','))
		return true;
	if (!take_number(text, 1, &digit))
		return false;
	do {
		*ret_ns += digit * unit_ns;
		unit_ns /= 10;
	} while (take_number(text, 1, &digit));
	return true;
}

static bool take_date(const char **text, int64_t *ret_days)
{
	int64_t year, month, day, first;

	if (!take_number(text, 4, &year) || !take_character(text, '-') ||
	    !take_number(text, 2, &month) || !take_character(text, '-') ||
	    !take_number(text, 2, &day))
		return false;
	if (month < 1 || month > 12 || day < 1 || year < YEAR_FIRST || year > YEAR_LAST)
		return false;
	first = days_of(year, month, 1);
	if (day > days_of(month == 12 ? year + 1 : year, month == 12 ? 1 : month + 1, 1) - first)
		return false;
	*ret_days = first + day - 1;
	return true;
}

static bool take_clock(const char **text, int64_t *ret_s, int64_t *ret_ns)
{
	int64_t hour, minute, second = 0;

	*ret_ns = 0;
	if (!take_number(text, 2, &hour) || !take_character(text, ':') ||
	    !take_number(text, 2, &minute))
		return false;
	if (take_character(text, ':') &&
	    (!take_number(text, 2, &second) || !take_fraction(text, ret_ns)))
		return false;
	*ret_s = hour * 3600 + minute * 60 + second;
	return hour < 24 && minute < 60 && second <= 60;
}

/* "Z", "+01:00", or nothing: UTC. */
static bool take_offset(const char **text, int64_t *ret_s)
{
	const bool west = **text == '-';
	int64_t hours, minutes;

	*ret_s = 0;
	if (take_character(text, 'Z') || take_character(text, 'z') || **text == '\0')
		return true;
	if (!take_character(text, '+') && !take_character(text, '-'))
		return false;
	if (!take_number(text, 2, &hours) || !take_character(text, ':') ||
	    !take_number(text, 2, &minutes) || hours > 23 || minutes > 59)
		return false;
	*ret_s = (hours * 60 + minutes) * (west ? -60 : 60);
	return true;
}

static bool parse_calendar(const char *text, int64_t *ret_ns)
{
	int64_t days, second = 0, fraction_ns = 0, offset_s = 0;

	if (!take_date(&text, &days))
		return false;
	if (*text != '\0') {
		if (!take_character(&text, 'T') && !take_character(&text, 't') &&
		    !take_character(&text, ' '))
			return false;
		if (!take_clock(&text, &second, &fraction_ns) || !take_offset(&text, &offset_s))
			return false;
	}
	*ret_ns = (days * DAY_S + second - offset_s) * NS_PER_S + fraction_ns;
	return *text == '\0';
}

static bool parse_seconds(const char *text, int64_t *ret_ns)
{
	int64_t second = 0, digit, fraction_ns;
	const char *from = text;

	while (second < INT64_MAX / NS_PER_S / 10 - 1 && take_number(&text, 1, &digit))
		second = second * 10 + digit;
	if (text == from || !take_fraction(&text, &fraction_ns) || *text != '\0')
		return false;
	*ret_ns = second * NS_PER_S + fraction_ns;
	return true;
}

/* "-5m", "5m", "5m ago" */
static bool parse_ago(const char *text, int64_t now_ns, int64_t *ret_ns)
{
	char duration[32];
	size_t length;
	int64_t ago_ns;

	(void)take_character(&text, '-');
	length = strcspn(text, " ");
	if (length >= sizeof(duration) ||
	    (text[length] != '\0' && strcmp(text + length, " ago") != 0))
		return false;
	memcpy(duration, text, length);
	duration[length] = '\0';
	if (units_parse_time_ns(duration, &ago_ns) < 0)
		return false;
	return !__builtin_sub_overflow(now_ns, ago_ns, ret_ns);
}

int moment_parse(const char *text, int64_t now_ns, int64_t *ret_ns)
{
	if (text[0] == '@' ? parse_seconds(text + 1, ret_ns) : parse_calendar(text, ret_ns))
		return 0;
	if (parse_ago(text, now_ns, ret_ns))
		return 0;
	return reason_set(-EINVAL,
			  "\"%s\": no time (write 2026-11-20T10:00:00Z, \"2026-11-20 10:00:00\", "
			  "@1700000000, or -5m for five minutes ago)",
			  text);
}
