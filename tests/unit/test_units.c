/* test_units.c - sizes, times and numbers as people write them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base.h"
#include "units.h"

Test(units, sizes_are_bytes_or_powers_of_1024)
{
	static const struct {
		const char *text;
		uint64_t size;
	} good[] = {
		{ "0", 0 },
		{ "1", 1 },
		{ "4096", 4096 },
		{ "64K", 65536 },
		{ "256M", 1 << 28 },
		{ "2G", UINT64_C(2) << 30 },
		{ "1T", UINT64_C(1) << 40 },
		{ "0K", 0 },
		{ "007", 7 },
		{ "9223372036854775807", INT64_MAX },
	};

	for (size_t i = 0; i < COUNT_OF(good); i++) {
		uint64_t size = 99;

		cr_assert_eq(units_parse_size(good[i].text, &size), 0, "%s", good[i].text);
		cr_assert_eq(size, good[i].size, "%s", good[i].text);
	}
}

Test(units, what_is_no_size_is_refused_and_leaves_the_result_alone)
{
	static const char *const bad[] = { "",    "-1",   "+1",   " 1",    "1 ",  "K",
					   "1k",  "1KB",  "1.5M", "0x10",  "1e3", "M1",
					   "ten", "1K\n", "64KK", "1,000", "--" };

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		uint64_t size = 99;

		cr_assert_eq(units_parse_size(bad[i], &size), -EINVAL, "'%s'", bad[i]);
		cr_assert_eq(size, 99);
		cr_assert_not_null(strstr(reason_get(), bad[i]), "%s", reason_get());
		cr_assert_not_null(strstr(reason_get(), "256M"), "the reason names the cure");
	}
}

Test(units, sizes_beyond_63_bits_are_refused)
{
	static const char *const bad[] = { "9223372036854775808", "18446744073709551616",
					   "8388608T", "99999999999999999999999999",
					   "99999999999999999999G" };

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		uint64_t size = 99;

		cr_assert_eq(units_parse_size(bad[i], &size), -ERANGE, "'%s'", bad[i]);
		cr_assert_eq(size, 99);
		cr_assert_not_null(strstr(reason_get(), bad[i]));
	}
}

Test(units, times_need_a_unit_unless_they_are_nothing)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {
		{ "0", 0 },
		{ "0s", 0 },
		{ "1ns", 1 },
		{ "500us", 500 * 1000 },
		{ "100ms", 100 * 1000000 },
		{ "1s", NS_PER_S },
		{ "5m", 300 * (int64_t)NS_PER_S },
		{ "1h", 3600 * (int64_t)NS_PER_S },
		{ "7d", 7 * INT64_C(86400) * NS_PER_S },
		{ "106751d", 106751 * INT64_C(86400) * NS_PER_S },
	};

	for (size_t i = 0; i < COUNT_OF(good); i++) {
		int64_t ns = 99;

		cr_assert_eq(units_parse_time_ns(good[i].text, &ns), 0, "%s", good[i].text);
		cr_assert_eq(ns, good[i].ns, "%s", good[i].text);
	}
}

Test(units, what_is_no_time_is_refused)
{
	static const char *const bad[] = { "",     "1",   "-1s",  "s",     "1S",
					   "1.5s", "1 s", "1sec", "1m30s", "1w" };

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		int64_t ns = 99;

		cr_assert_eq(units_parse_time_ns(bad[i], &ns), -EINVAL, "'%s'", bad[i]);
		cr_assert_eq(ns, 99);
		cr_assert_not_null(strstr(reason_get(), "100ms"));
	}
}

Test(units, times_beyond_63_bits_are_refused)
{
	int64_t ns = 99;

	cr_assert_eq(units_parse_time_ns("106752d", &ns), -ERANGE);
	cr_assert_eq(units_parse_time_ns("99999999999999999999s", &ns), -ERANGE);
	cr_assert_eq(ns, 99);
}

Test(units, numbers_are_digits_up_to_their_limit)
{
	uint64_t number = 99;

	cr_assert_eq(units_parse_number("256", 256, &number), 0);
	cr_assert_eq(number, 256);
	cr_assert_eq(units_parse_number("257", 256, &number), -ERANGE);
	cr_assert_eq(units_parse_number("18446744073709551616", UINT64_MAX, &number), -ERANGE);
	cr_assert_eq(units_parse_number("", 256, &number), -EINVAL);
	cr_assert_eq(units_parse_number("-1", 256, &number), -EINVAL);
	cr_assert_eq(units_parse_number("1K", 256, &number), -EINVAL);
	cr_assert_eq(number, 256);
}
