/*
 * target_values.c - numbers, sizes, times and moments as people write them (lib/units.c,
 * lib/moment.c), ring names and file names; what is printed is read back the same.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fuzz.h"
#include "logdir.h"
#include "moment.h"
#include "segment.h"
#include "units.h"

#define NOW_NS (INT64_C(1763640000) * NS_PER_S)

static void check_units(const char *text)
{
	uint64_t number = 1, size;
	int64_t ns;
	char again[32];

	if (units_parse_size(text, &size) == 0) {
		must(size <= INT64_MAX, "values: a size beyond its limit");
		(void)snprintf(again, sizeof(again), "%" PRIu64, size);
		must(units_parse_size(again, &number) == 0 && number == size,
		     "values: a size is read back as another");
	}
	if (units_parse_time_ns(text, &ns) == 0) {
		int64_t same = -1;

		must(ns >= 0, "values: a time below zero");
		(void)snprintf(again, sizeof(again), "%" PRId64 "ns", ns);
		must(units_parse_time_ns(again, &same) == 0 && same == ns,
		     "values: a time is read back as another");
	}
	if (units_parse_number(text, 1000, &number) == 0)
		must(number <= 1000 && strtoull(text, NULL, 10) == number,
		     "values: another number");
}

/* The calendar of the C library. */
static void check_calendar(int64_t time_ns, const char *text)
{
	const time_t second = (time_t)(time_ns / NS_PER_S - (time_ns % NS_PER_S < 0));
	char calendar[64];
	struct tm parts;

	must(gmtime_r(&second, &parts) != NULL, "fuzz: no calendar");
	(void)strftime(calendar, sizeof(calendar), "%Y-%m-%dT%H:%M:%S", &parts);
	must(strncmp(calendar, text, strlen(calendar)) == 0, "values: %s is shown as %s", calendar,
	     text);
}

static void check_format(int64_t time_ns, unsigned digits)
{
	char text[MOMENT_SIZE];
	const size_t length = moment_format(text, time_ns, digits);
	int64_t same;

	must(length == strlen(text) && length < MOMENT_SIZE, "values: a moment's length");
	check_calendar(time_ns, text);
	if (digits < 9 || text[3] < '0' || strcmp(text, "1678-01-01") < 0 ||
	    strcmp(text, "2262") >= 0)
		return;
	must(moment_parse(text, NOW_NS, &same) == 0 && same == time_ns,
	     "values: %s is read back as another", text);
}

static void check_moment(const char *text)
{
	int64_t time_ns;

	if (moment_parse(text, NOW_NS, &time_ns) == 0)
		check_format(time_ns, 9);
}

static void check_names(const char *text)
{
	struct logdir_file file;
	uint64_t volume_no;
	char name[LOGDIR_NAME_SIZE];

	if (logdir_parse_file(text, &file)) {
		logdir_file_name(name, &file);
		must(strcmp(name, text) == 0, "values: a file's name is another");
	}
	if (logdir_parse_volume(text, &volume_no)) {
		logdir_volume_name(name, volume_no);
		must(strcmp(name, text) == 0, "values: a volume's name is another");
	}
	if (segment_check_name(text) == 0)
		must(strlen(text) <= RING_NAME_MAX && strchr(text, '/') == NULL && text[0] != '.',
		     "values: a ring's name that leaves its directory");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes input = { data, size };
	const uint8_t mode = (uint8_t)take(&input, 1);
	char *text;

	if (mode & 0x80) {
		check_format((int64_t)take_odd(&input, 8), mode % 10);
		return 0;
	}
	text = strndup((const char *)input.at, input.left);
	must(text != NULL, "fuzz: out of memory");
	check_units(text);
	check_moment(text);
	check_names(text);
	free(text);
	return 0;
}
