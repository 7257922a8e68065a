/*
 * meter.c - how far a long work has come. See meter.h.
 */
#include "meter.h"

#include <stdio.h>
#include <unistd.h>

#include "base.h"

enum { TERMINAL_MS = 200, LINE_MS = 10 * 1000 };

#define MEGABYTE 1e6

static int64_t step_ns(const struct meter *meter)
{
	return (meter->is_terminal ? TERMINAL_MS : LINE_MS) * (int64_t)NS_PER_MS;
}

void meter_begin(struct meter *meter, const struct sys *sys, bool wanted)
{
	const bool is_terminal = isatty(STDERR_FILENO);

	*meter = (struct meter){
		.sys = sys,
		.is_shown = wanted || is_terminal,
		.is_terminal = is_terminal,
		.begun_ns = sys->now(CLOCK_MONOTONIC),
	};
	meter->next_ns = meter->begun_ns + step_ns(meter);
}

static void show(const struct meter *meter, int64_t now_ns)
{
	const double seconds = (double)(now_ns - meter->begun_ns) / NS_PER_S;
	const double rate = seconds > 0 ? (double)meter->bytes / seconds : 0;
	const double rest = (double)(meter->bytes_all - meter->bytes);

	(void)fprintf(stderr, "%sshmlog-writer: %llu/%llu files, %.0f/%.0f MB",
		      meter->is_terminal ? "\r" : "", (unsigned long long)meter->files,
		      (unsigned long long)meter->files_all, (double)meter->bytes / MEGABYTE,
		      (double)meter->bytes_all / MEGABYTE);
	if (rate > 0)
		(void)fprintf(stderr, ", %.0f MB/s, %.0f s left", rate / MEGABYTE, rest / rate);
	(void)fputs(meter->is_terminal ? "\033[K" : "\n", stderr);
}

void meter_add(struct meter *meter, uint64_t bytes)
{
	int64_t now_ns;

	meter->bytes = min_u64(meter->bytes + bytes, meter->bytes_all);
	if (!meter->is_shown)
		return;
	now_ns = meter->sys->now(CLOCK_MONOTONIC);
	if (now_ns < meter->next_ns)
		return;
	meter->next_ns = now_ns + step_ns(meter);
	show(meter, now_ns);
}

void meter_say(struct meter *meter, const char *text)
{
	if (meter->is_terminal)
		(void)fputs("\r\033[K", stderr);
	(void)fprintf(stderr, "shmlog-writer: %s\n", text);
}

void meter_end(struct meter *meter)
{
	if (!meter->is_shown || meter->files_all == 0)
		return;
	show(meter, meter->sys->now(CLOCK_MONOTONIC));
	if (meter->is_terminal)
		(void)fputc('\n', stderr);
}
