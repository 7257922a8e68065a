/*
 * say.h - the writer's lines on standard error.
 */
#ifndef SHMLOG_WRITER_SAY_H
#define SHMLOG_WRITER_SAY_H

/* What was said last about something that may come again and again; at first "". */
struct told {
	char text[320];
};

/* "shmlog-writer: <text>", one line, in one call: lines of two threads do not mix. */
void say(const char *text);

/* The same, unless it is what was said last. */
void say_news(struct told *told, const char *text);

#endif
