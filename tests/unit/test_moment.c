/*
 * test_moment.c - points in time as text.
 */
#include "moment.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const int64_t now_ns = INT64_C(1700000000) * NS_PER_S;

static void expect_format(int64_t time_ns, unsigned digits, const char *wanted)
{
	char text[MOMENT_SIZE];

	cr_expect_eq(moment_format(text, time_ns, digits), strlen(wanted));
	cr_expect_str_eq(text, wanted);
}

static void expect_parse(const char *text, int64_t wanted)
{
	int64_t time_ns = 0;

	cr_expect_eq(moment_parse(text, now_ns, &time_ns), 0, "%s", text);
	cr_expect_eq(time_ns, wanted, "%s: %ld", text, time_ns);
}

static void expect_no_time(const char *text)
{
	int64_t time_ns;

	cr_expect_eq(moment_parse(text, now_ns, &time_ns), -EINVAL, "%s", text);
}

Test(moment, formats)
{
	expect_format(0, 0, "1970-01-01T00:00:00Z");
	expect_format(now_ns + 123456789, 9, "2023-11-14T22:13:20.123456789Z");
	expect_format(now_ns + 123456789, 6, "2023-11-14T22:13:20.123456Z");
	expect_format(-1, 9, "1969-12-31T23:59:59.999999999Z");
	expect_format(INT64_MAX, 9, "2262-04-11T23:47:16.854775807Z");
	expect_format(INT64_MIN + 1, 3, "1677-09-21T00:12:43.145Z");
}

Test(moment, agrees_with_the_c_library)
{
	char wanted[MOMENT_SIZE], text[MOMENT_SIZE];
	struct tm tm;

	srandom(3);
	for (int i = 0; i < 100000; i++) {
		const time_t second = (time_t)random() * 4 - (time_t)random() * 2;
		int64_t time_ns;

		cr_assert_not_null(gmtime_r(&second, &tm));
		cr_assert_gt(strftime(wanted, sizeof(wanted), "%Y-%m-%dT%H:%M:%SZ", &tm), 0);
		(void)moment_format(text, second * NS_PER_S, 0);
		cr_assert_str_eq(text, wanted);
		cr_assert_eq(moment_parse(text, 0, &time_ns), 0, "%s", text);
		cr_assert_eq(time_ns, second * NS_PER_S);
	}
}

Test(moment, calendar_times)
{
	expect_parse("2023-11-14T22:13:20Z", now_ns);
	expect_parse("2023-11-14t22:13:20.5z", now_ns + NS_PER_S / 2);
	expect_parse("2023-11-14 22:13:20", now_ns);
	expect_parse("2023-11-14 22:13:20.000000001", now_ns + 1);
	expect_parse("2023-11-14T23:13:20+01:00", now_ns);
	expect_parse("2023-11-14T16:43:20-05:30", now_ns);
	expect_parse("2023-11-14 22:13", now_ns - INT64_C(20) * NS_PER_S);
	expect_parse("1970-01-02", INT64_C(86400) * NS_PER_S);
	expect_parse("2024-02-29", INT64_C(1709164800) * NS_PER_S);
}

Test(moment, seconds_since_the_epoch)
{
	expect_parse("@1700000000", now_ns);
	expect_parse("@1700000000.25", now_ns + NS_PER_S / 4);
	expect_parse("@0", 0);
}

Test(moment, so_long_ago)
{
	expect_parse("-5m", now_ns - INT64_C(300) * NS_PER_S);
	expect_parse("1h", now_ns - INT64_C(3600) * NS_PER_S);
	expect_parse("2d ago", now_ns - INT64_C(172800) * NS_PER_S);
	expect_parse("-100ns", now_ns - 100);
}

Test(moment, what_is_no_time)
{
	expect_no_time("");
	expect_no_time("yesterday");
	expect_no_time("@");
	expect_no_time("@99999999999999999999");
	expect_no_time("2023-02-29");
	expect_no_time("2023-13-01");
	expect_no_time("2023-00-01");
	expect_no_time("2023-11-14T24:00:00Z");
	expect_no_time("2023-11-14T22:13:20Zjunk");
	expect_no_time("2023-11-14T22:13:20+1");
	expect_no_time("9999-01-01");
	expect_no_time("5");
	expect_no_time("5m later");
}
