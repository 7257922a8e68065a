/*
 * text.h - a buffer that text is appended to, with foreign bytes made harmless.
 *
 * An append that finds no memory sets `failed` and appends nothing; so does every later one until
 * text_clear(). Callers look once, at the end.
 */
#ifndef SHMLOG_LIB_TEXT_H
#define SHMLOG_LIB_TEXT_H

#include "base.h"

/* Zero-initialised: empty. */
struct text {
	char *bytes; /* not NUL-terminated */
	size_t length;
	size_t capacity;
	bool failed;
};

void text_clear(struct text *text);
void text_free(struct text *text);

void text_add(struct text *text, const void *bytes, size_t size);
void text_add_string(struct text *text, const char *string);
void text_add_number(struct text *text, uint64_t number);
void text_add_format(struct text *text, const char *format, ...) PRINTF(2, 3);

/* For terminals: control characters, malformed UTF-8, and backslashes that would look like such an
 * escape, come out as \xHH of each byte. */
void text_add_shown(struct text *text, const void *bytes, size_t size);

/* A JSON string with its quotes. Malformed UTF-8 becomes U+FFFD. */
void text_add_json(struct text *text, const void *bytes, size_t size);

void text_add_base64(struct text *text, const void *bytes, size_t size);

#endif
