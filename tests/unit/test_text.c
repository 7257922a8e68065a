/*
 * test_text.c - foreign bytes made harmless.
 */
#include "text.h"

#include <criterion/criterion.h>
#include <string.h>

#include "utf8.h"

static struct text text;

static void tear_down(void)
{
	text_free(&text);
}

TestSuite(text, .fini = tear_down);

static void expect(const char *wanted)
{
	cr_expect_eq(text.length, strlen(wanted));
	if (text.length > 0)
		cr_expect_arr_eq(text.bytes, wanted, strlen(wanted), "%.*s", (int)text.length,
				 text.bytes);
	text_clear(&text);
}

static void expect_shown(const char *bytes, const char *wanted)
{
	text_add_shown(&text, bytes, strlen(bytes));
	expect(wanted);
}

Test(text, what_may_be_shown_is_shown)
{
	expect_shown("plain text \"quoted\" 100% ~", "plain text \"quoted\" 100% ~");
	expect_shown("sch\303\266n \342\202\254 \360\237\230\200",
		     "sch\303\266n \342\202\254 \360\237\230\200");
	expect_shown("a\\b\\", "a\\b\\");
}

Test(text, what_steers_a_terminal_is_escaped)
{
	expect_shown("\033[31mred\r\n\t", "\\x1b[31mred\\x0d\\x0a\\x09");
	expect_shown("\177", "\\x7f");
	expect_shown("\302\233m", "\\xc2\\x9bm");
	expect_shown("\342\200\256abc", "\\xe2\\x80\\xaeabc");
	text_add_shown(&text, "a\0b", 3);
	expect("a\\x00b");
}

Test(text, what_is_not_utf8_is_escaped_byte_by_byte)
{
	expect_shown("\377a\200", "\\xffa\\x80");
	expect_shown("\303", "\\xc3");
	expect_shown("\300\257", "\\xc0\\xaf");
	expect_shown("\355\240\200", "\\xed\\xa0\\x80");
	expect_shown("\364\220\200\200", "\\xf4\\x90\\x80\\x80");
	expect_shown("\370\210\200\200\200", "\\xf8\\x88\\x80\\x80\\x80");
}

Test(text, what_looks_like_an_escape_is_escaped)
{
	expect_shown("\\x1b", "\\x5cx1b");
	expect_shown("\\n", "\\n");
}

Test(text, json_strings)
{
	text_add_json(&text, "a\"b\\c\n\t\001\303\266\377", 11);
	expect("\"a\\\"b\\\\c\\n\\u0009\\u0001\303\266\\ufffd\"");
	text_add_json(&text, "", 0);
	expect("\"\"");
}

Test(text, base64_of_every_remainder)
{
	text_add_base64(&text, "", 0);
	expect("");
	text_add_base64(&text, "f", 1);
	expect("Zg==");
	text_add_base64(&text, "fo", 2);
	expect("Zm8=");
	text_add_base64(&text, "foo", 3);
	expect("Zm9v");
	text_add_base64(&text, "\377\376\375\374", 4);
	expect("//79/A==");
}

Test(text, numbers)
{
	text_add_number(&text, 0);
	text_add_string(&text, " ");
	text_add_number(&text, UINT64_MAX);
	expect("0 18446744073709551615");
}

Test(text, it_grows)
{
	for (int i = 0; i < 10000; i++)
		text_add_string(&text, "0123456789");
	cr_expect_eq(text.length, 100000);
	cr_expect_not(text.failed);
}

Test(utf8, valid_and_not)
{
	cr_expect(utf8_is_valid((const uint8_t *)"", 0));
	cr_expect(utf8_is_valid((const uint8_t *)"\0\n", 2));
	cr_expect(utf8_is_valid((const uint8_t *)"\303\266", 2));
	cr_expect_not(utf8_is_valid((const uint8_t *)"\303\266", 1));
	cr_expect_not(utf8_is_valid((const uint8_t *)"a\200", 2));
	cr_expect_not(utf8_is_valid((const uint8_t *)"\360\200\200\200", 4));
}
