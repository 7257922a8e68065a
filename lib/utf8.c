/*
 * utf8.c - foreign bytes as text. Pure.
 */
#include "utf8.h"

#include <string.h>

/* By the first byte's high nibble; 0: it begins no character of several bytes. */
static const uint8_t sequence_length[16] = { [0xc] = 2, [0xd] = 2, [0xe] = 3, [0xf] = 4 };

/* The smallest code point that needs so many bytes. */
static const uint32_t smallest[5] = { 0, 0, 0x80, 0x800, 0x10000 };

/* A character that is not ASCII: its bytes, 0 if it is malformed. */
static size_t decode(const uint8_t *text, size_t size, uint32_t *ret_point)
{
	const size_t length = sequence_length[text[0] >> 4];
	uint32_t point;

	if (length == 0 || length > size)
		return 0;
	point = text[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (text[i] & 0x3fu);
	}
	/* Of four bytes only the first five values of the first one lie within Unicode. */
	if (point < smallest[length] || point > 0x10ffff || text[0] > 0xf4 ||
	    (point >= 0xd800 && point < 0xe000))
		return 0;
	*ret_point = point;
	return length;
}

size_t utf8_length(const uint8_t *text, size_t size)
{
	uint32_t point;

	return text[0] < 0x80 ? 1 : decode(text, size, &point);
}

static bool steers(uint32_t point)
{
	return point < 0xa0 || point == 0x61c || (point >= 0x200e && point <= 0x200f) ||
	       (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
}

size_t utf8_shown_length(const uint8_t *text, size_t size)
{
	uint32_t point = 0;
	size_t length;

	if (text[0] < 0x80)
		return text[0] >= 0x20 && text[0] != 0x7f ? 1 : 0;
	length = decode(text, size, &point);
	return steers(point) ? 0 : length;
}

void utf8_copy_shown(char *ret, const char *text, size_t size)
{
	size_t at = 0;

	memcpy(ret, text, size);
	ret[size - 1] = '\0';
	while (ret[at] != '\0') {
		const size_t length =
			utf8_shown_length((const uint8_t *)ret + at, strlen(ret + at));

		if (length == 0)
			ret[at] = '?';
		at += length == 0 ? 1 : length;
	}
}

bool utf8_is_valid(const uint8_t *text, size_t size)
{
	size_t at = 0;

	while (at < size) {
		const size_t length = utf8_length(text + at, size - at);

		if (length == 0)
			return false;
		at += length;
	}
	return true;
}
