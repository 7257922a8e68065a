/*
 * say.c - the writer's lines on standard error. See say.h.
 */
#include "say.h"

#include <stdio.h>
#include <string.h>

void say(const char *text)
{
	(void)fprintf(stderr, "shmlog-writer: %s\n", text);
}

void say_news(struct told *told, const char *text)
{
	if (strncmp(text, told->text, sizeof(told->text) - 1) != 0)
		say(text);
	(void)snprintf(told->text, sizeof(told->text), "%s", text);
}
