/*
 * cat.c - shmlog-cat: print the records of a log, or of a ring.
 *
 * Stands on the public reader interface alone. Each record is formatted into one buffer, which is
 * written out when it is large and at every live end; with -n it is cut into the last N pieces
 * instead. Never trusts what it prints: text is made harmless for terminals, JSON stays JSON.
 */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"
#include "moment.h"
#include "shmlog_reader.h"
#include "text.h"
#include "utf8.h"

enum {
	EXIT_DAMAGED = 3,
	WRITE_SIZE = 256 * 1024,
	SOURCES_MAX = 64,
};

/* With -n and -f: how long the records that the reader holds back may take to come out. */
#define SETTLE_NS (INT64_C(1500) * NS_PER_MS)

/* What is to be done with the logs. */
enum task { TASK_PRINT, TASK_SALVAGE, TASK_VERIFY };

enum output { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_RAW, OUTPUT_PAGES };

/* The last pieces of output, for -n. */
struct tail {
	struct text *pieces;
	uint64_t max;
	uint64_t count; /* that ever came */
	bool active;
};

struct cat {
	const char *ring;
	char **paths;
	int path_count;
	enum task task;
	enum output output;
	bool follow;
	uint64_t last; /* UINT64_MAX: all */
	uint64_t page_no;
	bool has_page_no;
	int64_t since_ns;
	int64_t until_ns;
	const char *sources[SOURCES_MAX];
	size_t source_count;
	int level;
	struct shmlog_reader *reader;
	struct text out;
	struct tail tail;
	int exit_code;
	bool closed; /* nobody reads our output any more */
};

static volatile sig_atomic_t stop_wanted;

enum {
	KEY_SINCE = 256,
	KEY_UNTIL,
	KEY_PAGE,
	KEY_SOURCE,
	KEY_LEVEL,
	KEY_VERIFY,
	KEY_SALVAGE,
};

static const struct argp_option cat_options[] = {
	{ "ring", 'r', "RING", 0, "print what this ring holds now; nothing is consumed", 0 },
	{ "follow", 'f', NULL, 0, "wait for more, across files and restarts of the writer", 0 },
	{ "output", 'o', "FORMAT", 0, "text (default), json, raw, or pages", 0 },
	{ "last", 'n', "N", 0, "only the last N", 0 },
	{ "since", KEY_SINCE, "TIME", 0, "records stamped at TIME or later", 0 },
	{ "until", KEY_UNTIL, "TIME", 0, "records stamped at TIME or before", 0 },
	{ "page", KEY_PAGE, "N", 0, "only the records of page N", 0 },
	{ "source", KEY_SOURCE, "NAME|PID", 0, "only of this source (may be repeated)", 0 },
	{ "level", KEY_LEVEL, "LEVEL", 0, "records of LEVEL or more urgent: 0 .. 7, or their names",
	  0 },
	{ "verify", KEY_VERIFY, NULL, 0,
	  "print no records: say whether every byte is as it should be", 0 },
	{ "salvage", KEY_SALVAGE, NULL, 0,
	  "also what lies behind damage, in files that are not recovered, and beside them", 0 },
	{ 0 },
};

static enum output parse_output(const char *text)
{
	static const char *const names[] = { "text", "json", "raw", "pages" };

	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (strcmp(text, names[i]) == 0)
			return (enum output)i;
	cli_usage_error("--output \"%s\": no such format (write text, json, raw, or pages)", text);
}

static int64_t parse_time(const char *option, const char *text)
{
	struct timespec now;
	int64_t time_ns;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (moment_parse(text, (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec, &time_ns) < 0)
		cli_usage_error("%s %s", option, reason_get());
	return time_ns;
}

static void add_source(struct cat *cat, const char *source)
{
	if (cat->source_count == SOURCES_MAX)
		cli_usage_error("--source: at most %d of them", SOURCES_MAX);
	cat->sources[cat->source_count++] = source;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct cat *cat = state->input;

	switch (key) {
	case 'r':
		cat->ring = argument;
		return 0;
	case 'f':
		cat->follow = true;
		return 0;
	case 'o':
		cat->output = parse_output(argument);
		return 0;
	case 'n':
		cat->last = cli_number("--last", argument, 0, UINT64_C(100000000));
		return 0;
	case KEY_SINCE:
		cat->since_ns = parse_time("--since", argument);
		return 0;
	case KEY_UNTIL:
		cat->until_ns = parse_time("--until", argument);
		return 0;
	case KEY_PAGE:
		cat->page_no = cli_number("--page", argument, 0, UINT64_MAX);
		cat->has_page_no = true;
		return 0;
	case KEY_SOURCE:
		add_source(cat, argument);
		return 0;
	case KEY_LEVEL:
		cat->level = cli_level("--level", argument);
		return 0;
	case KEY_VERIFY:
		cat->task = TASK_VERIFY;
		return 0;
	case KEY_SALVAGE:
		cat->task = TASK_SALVAGE;
		return 0;
	case ARGP_KEY_ARGS:
		cat->paths = state->argv + state->next;
		cat->path_count = state->argc - state->next;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp cat_argp = {
	.options = cat_options,
	.parser = parse_option,
	.args_doc = "DIR|FILE|-...\n-r RING\n--verify|--salvage DIR|FILE...",
	.doc = "Print the records of shmlog logs, in the order of time.\v"
	       "A path is a log directory, one of its volumes, or a file; - is standard input: "
	       "sealed files, one after the other. TIME is 2026-11-20T10:00:00Z, "
	       "\"2026-11-20 10:00:00\" (UTC), @1700000000, or -5m for five minutes ago.\n\n"
	       "text is for people: control characters and what is not UTF-8 are printed as \\xHH, "
	       "also into a pipe. raw is each record's bytes and a newline, nothing else. json is "
	       "one object a line. pages is one line a page.\n\n"
	       "--verify prints one line a log, and one on standard error for each thing that is "
	       "wrong; records that are marked as lost are not. It ends with 0, with 1 if "
	       "something "
	       "could not be read, or with 3. --salvage may show records twice that a writer which "
	       "was killed wrote again.\n\n"
	       "Exit codes: 0; 3 something is damaged, missing, or not recovered yet (each is "
	       "named on standard error); 64 usage; 65 not a log; 69 no such ring; 74 no such "
	       "path, or input or output failed; 77 not permitted.",
};

/* What stopped us from reading at all outweighs what is damaged; else the first one stays. */
static void set_exit_code(struct cat *cat, int code)
{
	if (cat->exit_code == 0 || cat->exit_code == EXIT_DAMAGED)
		cat->exit_code = code;
}

static void write_out(struct cat *cat)
{
	size_t done = 0;

	while (done < cat->out.length && !cat->closed) {
		const ssize_t n =
			write(STDOUT_FILENO, cat->out.bytes + done, cat->out.length - done);

		if (n >= 0) {
			done += (size_t)n;
		} else if (errno == EPIPE) {
			cat->closed = true;
		} else if (errno == EINTR) {
			cat->closed = stop_wanted; /* who reads us may never go on */
		} else {
			set_exit_code(cat,
				      cli_fail(EX_IOERR, "standard output: %s", strerror(errno)));
			cat->closed = true;
		}
	}
	text_clear(&cat->out);
}

/* One record or page is formatted in cat->out: keep it for later, or write when there is enough. */
static void end_piece(struct cat *cat)
{
	struct tail *tail = &cat->tail;
	struct text *piece;

	if (cat->out.failed) {
		set_exit_code(cat, cli_fail(EX_IOERR, "out of memory"));
		cat->closed = true;
	}
	if (!tail->active) {
		if (cat->out.length >= WRITE_SIZE)
			write_out(cat);
		return;
	}
	if (tail->max > 0) {
		piece = &tail->pieces[tail->count++ % tail->max];
		text_clear(piece);
		text_add(piece, cat->out.bytes, cat->out.length);
	}
	text_clear(&cat->out);
}

static void begin_tail(struct cat *cat)
{
	cat->tail = (struct tail){ .max = cat->last, .active = cat->last != UINT64_MAX };
	if (!cat->tail.active || cat->last == 0)
		return;
	cat->tail.pieces = calloc(cat->last, sizeof(struct text));
	if (cat->tail.pieces == NULL)
		exit(cli_fail(EX_IOERR, "--last %llu: out of memory",
			      (unsigned long long)cat->last));
}

/* Everything was seen: what is kept goes out, and later pieces go out as they come. */
static void end_tail(struct cat *cat)
{
	struct tail *tail = &cat->tail;
	const uint64_t kept = min_u64(tail->count, tail->max);

	if (!tail->active)
		return;
	tail->active = false;
	for (uint64_t i = tail->count - kept; i < tail->count; i++) {
		struct text *piece = &tail->pieces[i % tail->max];

		text_add(&cat->out, piece->bytes, piece->length);
		end_piece(cat);
	}
	for (uint64_t i = 0; i < kept; i++)
		text_free(&tail->pieces[i]);
	free(tail->pieces);
	tail->pieces = NULL;
}

static void add_time(struct text *out, int64_t time_ns, unsigned digits)
{
	char time[MOMENT_SIZE];

	if (time_ns == INT64_MIN)
		text_add_string(out, "-");
	else
		text_add(out, time, moment_format(time, time_ns, digits));
}

static void add_source_name(struct text *out, const struct shmlog_record *record)
{
	if (record->pid == 0 && record->name[0] == '\0') {
		text_add_string(out, "shmlog-writer");
		return;
	}
	text_add_shown(out, record->name, strlen(record->name));
	text_add_string(out, "[");
	text_add_number(out, record->pid);
	text_add_string(out, "]");
}

static void format_losses(struct text *out, const struct shmlog_record *record)
{
	const char *separator = " (";

	text_add_string(out, "-- ");
	text_add_number(out, record->lost_total);
	text_add_string(out, " records lost");
	for (int i = 0; i < SHMLOG_LOSS_REASONS; i++) {
		if (record->lost[i] == 0)
			continue;
		text_add_format(out, "%s%s %llu", separator, shmlog_loss_name(i),
				(unsigned long long)record->lost[i]);
		separator = ", ";
	}
	text_add_string(out, separator[0] == ',' ? ") by " : " by ");
	add_source_name(out, record);
	text_add_string(out, ", ");
	add_time(out, record->time_ns, 6);
	text_add_string(out, "\n");
}

static void format_text(struct text *out, const struct shmlog_record *record)
{
	if (record->kind == SHMLOG_GAP) {
		format_losses(out, record);
		return;
	}
	add_time(out, record->time_ns, 6);
	text_add_string(out, " ");
	text_add_string(out, cli_level_name(record->level));
	text_add_string(out, " ");
	add_source_name(out, record);
	text_add_string(out, ": ");
	text_add_shown(out, record->data, record->length);
	text_add_string(out, "\n");
}

static void json_begin(struct text *out, const struct shmlog_record *record)
{
	char time[MOMENT_SIZE];

	text_add_string(out, "{\"time\":");
	if (record->time_ns == INT64_MIN)
		text_add_string(out, "null");
	else
		text_add_json(out, time, moment_format(time, record->time_ns, 9));
}

static void json_source(struct text *out, const struct shmlog_record *record)
{
	text_add_string(out, ",\"source\":");
	text_add_json(out, record->name, strlen(record->name));
	text_add_string(out, ",\"pid\":");
	text_add_number(out, record->pid);
	text_add_string(out, ",\"tid\":");
	text_add_number(out, record->tid);
}

/* "key":"text", or "key_base64" where the bytes are no text. */
static void json_payload(struct text *out, const char *key, const struct shmlog_record *record)
{
	text_add_string(out, ",\"");
	text_add_string(out, key);
	if (utf8_is_valid(record->data, record->length)) {
		text_add_string(out, "\":");
		text_add_json(out, record->data, record->length);
		return;
	}
	text_add_string(out, "_base64\":\"");
	text_add_base64(out, record->data, record->length);
	text_add_string(out, "\"");
}

/* One object for each reason. */
static void json_losses(struct text *out, const struct shmlog_record *record)
{
	for (int i = 0; i < SHMLOG_LOSS_REASONS; i++) {
		if (record->lost[i] == 0)
			continue;
		json_begin(out, record);
		json_source(out, record);
		text_add_format(out, ",\"lost\":%llu,\"reason\":\"%s\"}\n",
				(unsigned long long)record->lost[i], shmlog_loss_name(i));
	}
}

static void format_json(struct text *out, const struct shmlog_record *record)
{
	if (record->kind == SHMLOG_GAP) {
		json_losses(out, record);
		return;
	}
	json_begin(out, record);
	if (record->kind == SHMLOG_NOTE) {
		json_payload(out, "note", record);
	} else {
		json_source(out, record);
		text_add_string(out, ",\"level\":\"");
		text_add_string(out, cli_level_name(record->level));
		text_add_string(out, "\"");
		json_payload(out, "message", record);
	}
	text_add_string(out, "}\n");
}

static void format_raw(struct text *out, const struct shmlog_record *record)
{
	text_add(out, record->data, record->length);
	text_add(out, "\n", 1);
}

static void format_page(struct text *out, const struct shmlog_page *page)
{
	static const char *const kinds[] = { "?", "FILE", "DATA", "SEAL" };

	text_add_format(out, "%llu %s %010llu %llu %zu %u ", (unsigned long long)page->page_no,
			page->kind < (int)COUNT_OF(kinds) ? kinds[page->kind] : "?",
			(unsigned long long)page->file_no, (unsigned long long)page->offset,
			page->length, page->records);
	add_time(out, page->first_ns, 6);
	text_add_string(out, " ");
	add_time(out, page->last_ns, 6);
	text_add_string(out, "\n");
}

static bool is_of_source(const struct shmlog_record *record, const char *source)
{
	char pid[16];

	(void)snprintf(pid, sizeof(pid), "%u", record->pid);
	return strcmp(record->name, source) == 0 || strcmp(pid, source) == 0;
}

/* Losses and the writer's notes have no level that could be too low. */
static bool is_wanted(const struct cat *cat, const struct shmlog_record *record)
{
	bool wanted = cat->source_count == 0;

	if (record->kind == SHMLOG_DATA && record->level > cat->level)
		return false;
	if (record->kind != SHMLOG_DATA && cat->output == OUTPUT_RAW)
		return false;
	for (size_t i = 0; i < cat->source_count && !wanted; i++)
		wanted = is_of_source(record, cat->sources[i]);
	return wanted;
}

static void print_record(struct cat *cat, const struct shmlog_record *record)
{
	if (!is_wanted(cat, record))
		return;
	if (cat->output == OUTPUT_RAW)
		format_raw(&cat->out, record);
	else if (cat->output == OUTPUT_JSON)
		format_json(&cat->out, record);
	else
		format_text(&cat->out, record);
	end_piece(cat);
}

static void print_page(struct cat *cat, const struct shmlog_page *page)
{
	if (page->last_ns != INT64_MIN &&
	    (page->last_ns < cat->since_ns || page->first_ns > cat->until_ns))
		return;
	format_page(&cat->out, page);
	end_piece(cat);
}

/* The next record or page is printed: 0 or what the reader said. */
static int print_next(struct cat *cat)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_page page = { .size = sizeof(page) };
	int r;

	if (cat->output == OUTPUT_PAGES) {
		r = shmlog_reader_next_page(cat->reader, &page);
		if (r == 0)
			print_page(cat, &page);
		return r;
	}
	r = shmlog_reader_next(cat->reader, &record);
	if (r == 0)
		print_record(cat, &record);
	return r;
}

static int64_t monotonic_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* At the live end. What is kept for -n waits until the reader has nothing more held back. */
static int wait_for_more(struct cat *cat, int64_t *settled_ns)
{
	if (*settled_ns == 0)
		*settled_ns = monotonic_ns() + SETTLE_NS;
	if (monotonic_ns() >= *settled_ns)
		end_tail(cat);
	write_out(cat);
	return shmlog_reader_wait(cat->reader, cat->tail.active ? SETTLE_NS / 10 : NS_PER_S);
}

static void print_all(struct cat *cat)
{
	int64_t settled_ns = 0;
	int r = 0;

	while (!cat->closed && !stop_wanted) {
		r = print_next(cat);
		if (r == -EAGAIN)
			r = wait_for_more(cat, &settled_ns);
		if (r == 0 || r == -ETIMEDOUT || r == -EINTR)
			continue;
		if (r == -ENODATA)
			break;
		if (r != -EBADMSG) {
			set_exit_code(cat, cli_fail_error(r, "log", shmlog_reason()));
			break;
		}
		cli_complain("%s", shmlog_reason());
		if (cat->exit_code == 0)
			cat->exit_code = EXIT_DAMAGED;
	}
}

/* --page: what lies behind the page, sound or not, is none of our business. */
static void print_one_page(struct cat *cat)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_page page = { .size = sizeof(page) };
	int r = shmlog_reader_get_page(cat->reader, cat->page_no, &page);

	if (r == -ENOENT || r == -EBADMSG) {
		cli_complain("%s", shmlog_reason());
		cat->exit_code = cat->exit_code == 0 ? EXIT_DAMAGED : cat->exit_code;
		return;
	}
	if (r < 0) {
		r = r == -ENOTSUP ? -EINVAL : r; /* a pipe has no page to jump to: usage */
		set_exit_code(cat, cli_fail_error(r, "log", shmlog_reason()));
		return;
	}
	if (cat->output == OUTPUT_PAGES) {
		print_page(cat, &page);
		return;
	}
	while (!cat->closed && shmlog_reader_next(cat->reader, &record) == 0 &&
	       record.page_no == cat->page_no)
		print_record(cat, &record);
}

static int open_reader(struct cat *cat, const char *path)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;

	options.follow = cat->follow;
	options.salvage = cat->task == TASK_SALVAGE;
	options.unmerged = cat->has_page_no;
	options.since_ns = cat->since_ns;
	options.until_ns = cat->until_ns;
	if (cat->ring != NULL)
		return shmlog_reader_open_ring(cat->ring, &options, &cat->reader);
	if (strcmp(path, "-") == 0)
		return shmlog_reader_open_fd(STDIN_FILENO, &options, &cat->reader);
	return shmlog_reader_open(path, &options, &cat->reader);
}

static void print_source(struct cat *cat, const char *path)
{
	const int r = open_reader(cat, path);
	int code;

	if (r < 0) {
		code = cli_fail_error(r, path, shmlog_reason());
		/* 69 is for rings, 64 for what is wrong on the command line */
		set_exit_code(cat, r == -ENOENT && cat->ring == NULL ? EX_IOERR : code);
		return;
	}
	if (cat->has_page_no)
		print_one_page(cat);
	else
		print_all(cat);
	shmlog_reader_close(&cat->reader);
}

/* ---- --verify ---- */

static void print_finding(void *context, const char *finding)
{
	(void)context;
	cli_complain("%s", finding);
}

static void format_verdict(struct text *out, const char *path, const struct shmlog_verdict *verdict)
{
	const char *separator = " (";
	uint64_t lost = 0;

	for (int i = 0; i < SHMLOG_LOSS_REASONS; i++)
		lost += verdict->lost[i];
	text_add_shown(out, path, strlen(path));
	text_add_format(out, ": %s: %llu files, %llu pages, %llu records, %llu marked lost",
			verdict->findings == 0 ? "sound" : "not sound",
			(unsigned long long)verdict->files, (unsigned long long)verdict->pages,
			(unsigned long long)verdict->records, (unsigned long long)lost);
	for (int i = 0; i < SHMLOG_LOSS_REASONS; i++) {
		if (verdict->lost[i] == 0)
			continue;
		text_add_format(out, "%s%s %llu", separator, shmlog_loss_name(i),
				(unsigned long long)verdict->lost[i]);
		separator = ", ";
	}
	text_add_format(out, "%s, %llu pages missing, %llu bytes bad\n", lost > 0 ? ")" : "",
			(unsigned long long)verdict->missing_pages,
			(unsigned long long)verdict->bad_bytes);
}

static void verify_log(struct cat *cat, const char *path)
{
	struct shmlog_verdict verdict = { .size = sizeof(verdict) };
	const int r = shmlog_verify(path, print_finding, NULL, &verdict);

	if (r < 0) {
		set_exit_code(cat, EXIT_NEGATIVE);
		cli_complain("%s", shmlog_reason());
		return;
	}
	if (verdict.unread > 0)
		set_exit_code(cat, EXIT_NEGATIVE);
	else if (verdict.findings > 0 && cat->exit_code == 0)
		cat->exit_code = EXIT_DAMAGED;
	format_verdict(&cat->out, path, &verdict);
	end_piece(cat);
}

static void check_task(const struct cat *cat)
{
	const char *option = cat->task == TASK_VERIFY ? "--verify" : "--salvage";

	if (cat->task == TASK_PRINT)
		return;
	if (cat->ring != NULL || cat->follow || cat->has_page_no)
		cli_usage_error("%s: not with --ring, --follow, or --page", option);
	for (int i = 0; i < cat->path_count; i++)
		if (strcmp(cat->paths[i], "-") == 0)
			cli_usage_error("%s: give directories or files, not standard input",
					option);
}

static void check_usage(const struct cat *cat)
{
	check_task(cat);
	if ((cat->ring == NULL) == (cat->path_count == 0))
		cli_usage_error("give log directories or files, or one ring with -r");
	if (cat->follow && (cat->ring != NULL || cat->path_count > 1))
		cli_usage_error("--follow: follows one log directory or file");
	if (cat->has_page_no && cat->ring != NULL)
		cli_usage_error("--page: a ring has no pages");
	if (cat->follow && cat->has_page_no)
		cli_usage_error("--follow: a page does not grow; give --page alone");
}

static void want_stop(int signal)
{
	(void)signal;
	stop_wanted = 1;
}

/* A follower ends well when it is told to; everybody ends quietly when nobody reads any more. */
static void catch_signals(const struct cat *cat)
{
	struct sigaction action = { .sa_handler = want_stop };

	(void)signal(SIGPIPE, SIG_IGN);
	if (!cat->follow)
		return;
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
}

int main(int argc, char **argv)
{
	struct cat cat = {
		.last = UINT64_MAX, .since_ns = INT64_MIN, .until_ns = INT64_MAX, .level = 7
	};

	cli_begin();
	(void)argp_parse(&cat_argp, argc, argv, 0, NULL, &cat);
	check_usage(&cat);
	catch_signals(&cat);
	begin_tail(&cat);
	if (cat.ring != NULL)
		print_source(&cat, cat.ring);
	for (int i = 0; i < cat.path_count && !cat.closed; i++)
		if (cat.task == TASK_VERIFY)
			verify_log(&cat, cat.paths[i]);
		else
			print_source(&cat, cat.paths[i]);
	end_tail(&cat);
	write_out(&cat);
	text_free(&cat.out);
	return stop_wanted ? 0 : cat.exit_code;
}
