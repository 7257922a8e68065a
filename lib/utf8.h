/*
 * utf8.h - foreign bytes as text: what is UTF-8, and what may go to a terminal.
 */
#ifndef SHMLOG_LIB_UTF8_H
#define SHMLOG_LIB_UTF8_H

#include "base.h"

/* Bytes of the well-formed character at @text, of which there are @size > 0; 0: there is none.
 * Overlong forms, surrogates and what lies above U+10FFFF are not well-formed. */
size_t utf8_length(const uint8_t *text, size_t size);

/* The same for a character that may be shown: no control character of either set, no line or
 * paragraph separator, nothing that turns the direction of the text. */
size_t utf8_shown_length(const uint8_t *text, size_t size);

/* Copy @size foreign bytes that should hold a string, once: they may change meanwhile. What comes
 * out ends within them, is UTF-8, and may be shown; '?' stands for bytes that may not. */
void utf8_copy_shown(char *ret, const char *text, size_t size);

bool utf8_is_valid(const uint8_t *text, size_t size);

#endif
