/*
 * meter.h - how far a long work has come, as a line on standard error.
 *
 * On a terminal one line that is drawn over, at most five times a second; elsewhere, and only if
 * that is wanted, a line at most every ten seconds. Never decides anything.
 */
#ifndef SHMLOG_WRITER_METER_H
#define SHMLOG_WRITER_METER_H

#include "sys.h"

struct meter {
	const struct sys *sys;
	bool is_shown;
	bool is_terminal; /* standard error */
	uint64_t files_all;
	uint64_t files;
	uint64_t bytes_all;
	uint64_t bytes;
	int64_t begun_ns;
	int64_t next_ns; /* not to be shown again before */
};

/* @wanted: also where standard error is no terminal. */
void meter_begin(struct meter *meter, const struct sys *sys, bool wanted);

/* So many bytes further: shows it if it is time to. */
void meter_add(struct meter *meter, uint64_t bytes);

/* One line about something else: "shmlog-writer: @text". */
void meter_say(struct meter *meter, const char *text);

/* Shows where it ended, if there was anything to do. */
void meter_end(struct meter *meter);

#endif
