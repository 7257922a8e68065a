/*
 * text.c - a buffer that text is appended to, with foreign bytes made harmless.
 *
 * Invariant: length <= capacity, and bytes[0 .. length) were appended whole.
 */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

static const char hex_digits[] = "0123456789abcdef";

void text_clear(struct text *text)
{
	text->length = 0;
	text->failed = false;
}

void text_free(struct text *text)
{
	free(text->bytes);
	*text = (struct text){ 0 };
}

/* Room for @size more bytes; NULL without memory. The caller adds what it used to the length. */
static char *reserve(struct text *text, size_t size)
{
	size_t capacity = text->capacity < 256 ? 256 : text->capacity;
	char *bytes;

	if (text->failed)
		return NULL;
	if (text->capacity - text->length >= size)
		return text->bytes + text->length;
	while (capacity - text->length < size)
		capacity *= 2;
	bytes = realloc(text->bytes, capacity);
	if (bytes == NULL) {
		text->failed = true;
		return NULL;
	}
	text->bytes = bytes;
	text->capacity = capacity;
	return bytes + text->length;
}

void text_add(struct text *text, const void *bytes, size_t size)
{
	char *at = reserve(text, size);

	if (at == NULL || size == 0)
		return;
	memcpy(at, bytes, size);
	text->length += size;
}

void text_add_string(struct text *text, const char *string)
{
	text_add(text, string, strlen(string));
}

void text_add_number(struct text *text, uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	text_add(text, digits + at, sizeof(digits) - at);
}

void text_add_format(struct text *text, const char *format, ...)
{
	char line[512];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (length > 0)
		text_add(text, line, (size_t)min_u64((uint64_t)length, sizeof(line) - 1));
}

/* Bytes at the beginning that are plain ASCII, without @quote and backslash. */
static size_t plain_length(const uint8_t *bytes, size_t size, uint8_t quote)
{
	size_t n = 0;

	while (n < size && bytes[n] >= 0x20 && bytes[n] < 0x7f && bytes[n] != '\\' &&
	       bytes[n] != quote)
		n++;
	return n;
}

static char *put_hex(char *at, uint8_t byte)
{
	*at++ = '\\';
	*at++ = 'x';
	*at++ = hex_digits[byte >> 4];
	*at++ = hex_digits[byte & 15];
	return at;
}

/* What was escaped must not be mistaken for what was written so: "\x1b" as four characters. */
static bool looks_escaped(const uint8_t *bytes, size_t size)
{
	return size >= 2 && bytes[0] == '\\' && bytes[1] == 'x';
}

void text_add_shown(struct text *text, const void *bytes, size_t size)
{
	const uint8_t *from = bytes;
	size_t at = 0, n;
	char *to;

	while (at < size) {
		n = plain_length(from + at, size - at, '\\');
		if (n == 0 && !looks_escaped(from + at, size - at))
			n = utf8_shown_length(from + at, size - at);
		if (n > 0) {
			text_add(text, from + at, n);
			at += n;
			continue;
		}
		to = reserve(text, 4);
		if (to == NULL)
			return;
		(void)put_hex(to, from[at++]);
		text->length += 4;
	}
}

/* One character that a JSON string cannot hold as it is; returns how many bytes it took. */
static size_t add_json_escape(struct text *text, const uint8_t *bytes, size_t size)
{
	const size_t n = utf8_length(bytes, size);

	if (n == 0) {
		text_add_string(text, "\\ufffd");
		return 1;
	}
	if (bytes[0] == '"' || bytes[0] == '\\') {
		text_add_string(text, "\\");
		text_add(text, bytes, 1);
	} else if (bytes[0] == '\n') {
		text_add_string(text, "\\n");
	} else if (bytes[0] < 0x20 || bytes[0] == 0x7f) {
		text_add_format(text, "\\u%04x", bytes[0]);
	} else {
		text_add(text, bytes, n);
	}
	return n;
}

void text_add_json(struct text *text, const void *bytes, size_t size)
{
	const uint8_t *from = bytes;
	size_t at = 0, n;

	text_add(text, "\"", 1);
	while (at < size && !text->failed) {
		n = plain_length(from + at, size - at, '"');
		if (n > 0)
			text_add(text, from + at, n);
		else
			n = add_json_escape(text, from + at, size - at);
		at += n;
	}
	text_add(text, "\"", 1);
}

void text_add_base64(struct text *text, const void *bytes, size_t size)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *from = bytes;
	char *to = reserve(text, (size + 2) / 3 * 4);

	if (to == NULL)
		return;
	for (size_t at = 0; at < size; at += 3) {
		const uint32_t b = at + 1 < size ? from[at + 1] : 0;
		const uint32_t c = at + 2 < size ? from[at + 2] : 0;
		const uint32_t group = (uint32_t)from[at] << 16 | b << 8 | c;

		*to++ = digits[group >> 18];
		*to++ = digits[group >> 12 & 63];
		*to++ = (char)(at + 1 < size ? digits[group >> 6 & 63] : '=');
		*to++ = (char)(at + 2 < size ? digits[group & 63] : '=');
	}
	text->length += (size + 2) / 3 * 4;
}
