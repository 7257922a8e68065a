/*
 * target_text.c - foreign bytes for terminals, JSON and base64 (lib/text.c, lib/utf8.c), each read
 * back by a second implementation.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "text.h"
#include "utf8.h"

static int digit_of(const char *digits, char c)
{
	const char *at = c != '\0' ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* What \xHH was made of. */
static void check_shown(const uint8_t *data, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	struct text text = { 0 };
	size_t at = 0;

	text_add_shown(&text, data, size);
	must(!text.failed, "fuzz: out of memory");
	must(utf8_is_valid((const uint8_t *)text.bytes, text.length), "text: shown is no UTF-8");
	for (size_t i = 0; i < size; i++) {
		uint8_t byte;

		must(at < text.length, "text: shown ends early");
		byte = (uint8_t)text.bytes[at];
		must(byte >= 0x20 && byte != 0x7f, "text: a control character is shown");
		if (byte == '\\' && at + 3 < text.length && text.bytes[at + 1] == 'x') {
			byte = (uint8_t)(digit_of(hex, text.bytes[at + 2]) * 16 +
					 digit_of(hex, text.bytes[at + 3]));
			at += 3;
		}
		must(byte == data[i], "text: shown is not what was given");
		at++;
	}
	must(at == text.length, "text: shown has more than was given");
	text_free(&text);
}

static void check_json(const uint8_t *data, size_t size)
{
	struct text text = { 0 };
	json_t *value;

	text_add_json(&text, data, size);
	must(!text.failed, "fuzz: out of memory");
	value = json_loadb(text.bytes, text.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	must(json_is_string(value), "text: JSON that is no string");
	if (utf8_is_valid(data, size))
		must(json_string_length(value) == size &&
			     memcmp(json_string_value(value), data, size) == 0,
		     "text: JSON is not what was given");
	json_decref(value);
	text_free(&text);
}

static void check_base64(const uint8_t *data, size_t size)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	struct text text = { 0 };

	text_add_base64(&text, data, size);
	must(text.length == (size + 2) / 3 * 4, "text: base64 of another length");
	for (size_t i = 0; i < size; i++) {
		const size_t bit = i * 8;
		const int high = digit_of(digits, text.bytes[bit / 6]);
		const int low = digit_of(digits, text.bytes[bit / 6 + 1]);
		const int byte = (high << 6 | low) >> (4 - bit % 6) & 255;

		must(high >= 0 && low >= 0 && byte == data[i],
		     "text: base64 is not what was given");
	}
	text_free(&text);
}

/* Decoded by the table of the Unicode standard (well-formed byte sequences). */
static size_t well_formed(const uint8_t *text, size_t size)
{
	static const struct {
		uint8_t first, last, low, high, length;
	} rows[] = {
		{ 0x00, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (text[0] < rows[i].first || text[0] > rows[i].last)
			continue;
		if (rows[i].length > size ||
		    (rows[i].length > 1 && (text[1] < rows[i].low || text[1] > rows[i].high)))
			return 0;
		for (size_t at = 2; at < rows[i].length; at++)
			if (text[at] < 0x80 || text[at] > 0xbf)
				return 0;
		return rows[i].length;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	must(utf8_length(data, size) == well_formed(data, size), "text: a character's length");
	must(utf8_shown_length(data, size) <= utf8_length(data, size), "text: shown is longer");
	check_shown(data, size);
	check_json(data, size);
	check_base64(data, size);
	return 0;
}
