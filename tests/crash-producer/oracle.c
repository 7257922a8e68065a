/*
 * oracle.c - the log against what everybody noted. See oracle.h.
 */
#include "oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

static void check_records(const struct oracle *oracle)
{
	const char *const argv[] = { "shmlog-cat", "-o", "raw", oracle->directory, NULL };
	pid_t pid;
	FILE *records = program_read(argv, &pid);
	int status;

	(void)journal_check(oracle->journal, records, DEMAND_PUBLISHED, NULL);
	status = program_close(records, pid);
	if (status != 0)
		violated("shmlog-cat -o raw ended with %d", status);
}

/* ---- losses in their places ---- */

/* Behind "key": in a line of JSON. */
static const char *value_of(const char *line, const char *key)
{
	char pattern[32];
	const char *at;

	(void)snprintf(pattern, sizeof(pattern), "\"%s\":", key);
	at = strstr(line, pattern);
	return at ? at + strlen(pattern) : NULL;
}

static struct span *find_span(const struct oracle *oracle, const char *line)
{
	const char *name = value_of(line, "source");
	const size_t size = name ? strcspn(name + 1, "\"") : 0;

	for (unsigned i = 0; name && i < oracle->span_count; i++) {
		struct span *span = &oracle->spans[i];

		if (strlen(span->name) == size && memcmp(span->name, name + 1, size) == 0)
			return span;
	}
	return NULL;
}

/* The next record of @span that is there has this serial, or there is none before it. */
static void close_gap(struct oracle *oracle, struct span *span, uint32_t serial)
{
	uint64_t dropped = 0, tried = 0;

	for (uint32_t i = span->next; i < serial; i++) {
		const enum journal_state state = journal_state(oracle->journal, span->producer, i);

		dropped += state == JOURNAL_DROPPED;
		tried += state == JOURNAL_TRIED;
	}
	if (!span->is_known || (span->is_loose && span->lost < dropped)) {
		oracle->unknown_dropped += dropped - span->lost;
		oracle->unknown_tried += tried;
	} else if (span->lost < dropped || span->lost > dropped + tried)
		violated("%s: %" PRIu64 " records marked as lost between %u.%" PRIu32
			 " and %u.%" PRIu32 ", where %" PRIu64 " were (and %" PRIu64
			 " may have been)",
			 span->name, span->lost, span->producer, span->next, span->producer, serial,
			 dropped, tried);
	span->next = serial + 1;
	span->lost = 0;
}

static void take_loss(struct oracle *oracle, struct span *span, const char *line)
{
	const uint64_t lost = strtoull(value_of(line, "lost"), NULL, 10);

	oracle->losses += lost;
	if (span)
		span->lost += lost;
	else if (strncmp(value_of(line, "source"), "\"\"", 2) == 0)
		oracle->unbound += lost;
	else
		violated("losses of nobody: %.150s", line);
}

static void take_message(struct oracle *oracle, struct span *span, const char *line,
			 bool *found[PRODUCERS])
{
	unsigned producer;
	uint32_t serial;

	if (sscanf(value_of(line, "message"), "\"%u.%" SCNu32 " ", &producer, &serial) != 2 ||
	    producer >= PRODUCERS)
		return; /* told by check_records() */
	if (found[producer])
		found[producer][serial] = true;
	if (!span)
		violated("a record of an unknown source: %.150s", line);
	else if (producer == span->producer && (serial < span->first || serial >= span->end))
		violated("%s: record %u.%" PRIu32 " is not its own", span->name, producer, serial);
	else if (producer == span->producer && serial >= span->next && !span->is_loose)
		close_gap(oracle, span, serial);
}

static void check_losses(struct oracle *oracle, bool *found[PRODUCERS])
{
	const char *const argv[] = { "shmlog-cat", "-o", "json", oracle->directory, NULL };
	pid_t pid;
	FILE *records = program_read(argv, &pid);
	char *line = NULL;
	size_t room = 0;
	int status;

	for (unsigned i = 0; i < oracle->span_count; i++) {
		oracle->spans[i].next = oracle->spans[i].first;
		oracle->spans[i].lost = 0;
		oracle->spans[i].is_known = false;
	}
	while (getline(&line, &room, records) > 0) {
		struct span *span = find_span(oracle, line);

		if (span)
			span->is_known = true;
		if (value_of(line, "lost"))
			take_loss(oracle, span, line);
		else if (value_of(line, "message"))
			take_message(oracle, span, line, found);
	}
	free(line);
	status = program_close(records, pid);
	if (status != 0)
		violated("shmlog-cat -o json ended with %d", status);
	for (unsigned i = 0; i < oracle->span_count; i++)
		close_gap(oracle, &oracle->spans[i], oracle->spans[i].end);
	if (oracle->unbound < oracle->unknown_dropped ||
	    oracle->unbound > oracle->unknown_dropped + oracle->unknown_tried)
		violated("%" PRIu64 " losses of nobody, where %" PRIu64 " were (and %" PRIu64
			 " may have been)",
			 oracle->unbound, oracle->unknown_dropped, oracle->unknown_tried);
}

void oracle_check(struct oracle *oracle, bool *found[PRODUCERS])
{
	check_records(oracle);
	check_losses(oracle, found);
}
