/*
 * config.c - the option table, and the three places that values come from.
 *
 * Every place hands (option, text) to take_value(), which checks each value and keeps it if nothing
 * of higher precedence set it before. So a wrong value is an error wherever it stands, and the
 * order in which the places are read does not matter, but for the file: its name comes from the
 * others.
 */
#include "config.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "option.h"
#include "page_layout.h"

#define PROGRAM       "shmlog-writer"
#define HOUR_NS       (UINT64_C(3600) * NS_PER_S)
#define FIELD(member) offsetof(struct config, member)

enum { LINE_SIZE = PATH_MAX + 64 }; /* of the file, and of what is said about it */

enum heading {
	HEADING_WHAT = 1,
	HEADING_RING,
	HEADING_FILES,
	HEADING_KEEP,
	HEADING_RUN,
	HEADING_OTHER
};

static const char *const headings[] = {
	[HEADING_WHAT] = "What to drain, and where to:",
	[HEADING_RING] = "The ring, where there is none yet:",
	[HEADING_FILES] = "The files:",
	[HEADING_KEEP] = "What is kept:",
	[HEADING_RUN] = "Running:",
	[HEADING_OTHER] = "Other:",
};

static const struct option_choice clock_choices[] = {
	{ "auto", 0 },
	{ "tsc", RING_CLOCK_TSC },
	{ "monotonic", RING_CLOCK_MONOTONIC },
	{ "none", RING_CLOCK_NONE },
	{ "writer", RING_CLOCK_WRITER },
	{ NULL, 0 },
};

static const struct option_choice io_choices[] = {
	{ "auto", IO_CHOOSE_AUTO },
	{ "uring", IO_CHOOSE_URING },
	{ "pwrite", IO_CHOOSE_PWRITE },
	{ NULL, 0 },
};

static const struct option_choice mode_choices[] = {
	{ "loop", MODE_LOOP },
	{ "trigger", MODE_TRIGGER },
	{ "manual", MODE_MANUAL },
	{ NULL, 0 },
};

static const struct option_choice on_full_choices[] = {
	{ "stall", ON_FULL_STALL },
	{ "delete-oldest", ON_FULL_DELETE_OLDEST },
	{ NULL, 0 },
};

static const struct option_choice release_choices[] = {
	{ "written", RELEASE_WRITTEN },
	{ "durable", RELEASE_DURABLE },
	{ NULL, 0 },
};

/* clang-format off */
static const struct option_spec table[OPTION_COUNT] = {
	[OPTION_RING] = {
		.name = "ring", .letter = 'r', .argument = "RING", .heading = HEADING_WHAT,
		.type = TYPE_RING, .offset = FIELD(ring),
		.help = "the ring to drain; made if there is none" },
	[OPTION_DIRECTORY] = {
		.name = "directory", .letter = 'd', .argument = "DIR", .heading = HEADING_WHAT,
		.type = TYPE_PATH, .offset = FIELD(directory),
		.help = "where the log lives" },
	[OPTION_CONFIG] = {
		.name = "config", .letter = 'c', .argument = "FILE", .heading = HEADING_WHAT,
		.type = TYPE_PATH, .offset = FIELD(file), .flags = OPTION_NO_FILE,
		.help = "read `name = value' lines from FILE, with the long names of these options" },
	[OPTION_LANES] = {
		.name = "lanes", .argument = "N", .heading = HEADING_RING,
		.type = TYPE_NUMBER, .offset = FIELD(lanes), .standard = "32",
		.min = 1, .max = LANES_MAX,
		.help = "lanes; each thread that logs takes one as long as there are any" },
	[OPTION_LANE_SIZE] = {
		.name = "lane-size", .argument = "SIZE", .heading = HEADING_RING,
		.type = TYPE_POWER, .offset = FIELD(lane_size), .standard = "1M",
		.min = (uint64_t)LANE_BLOCKS_MIN * BLOCK_SIZE,
		.max = (uint64_t)LANE_BLOCKS_MAX * BLOCK_SIZE,
		.help = "bytes of each lane, a power of two" },
	[OPTION_MODE_BITS] = {
		.name = "mode-bits", .argument = "OCTAL", .heading = HEADING_RING,
		.type = TYPE_MODE, .offset = FIELD(mode_bits), .standard = "0600",
		.help = "who may attach" },
	[OPTION_GROUP] = {
		.name = "group", .argument = "GROUP", .heading = HEADING_RING,
		.type = TYPE_GROUP, .offset = FIELD(group),
		.help = "the ring's group, by name or number; else the writer's" },
	[OPTION_CLOCK] = {
		.name = "clock", .argument = "auto|tsc|monotonic|none|writer",
		.heading = HEADING_RING, .type = TYPE_CHOICE, .offset = FIELD(clock),
		.standard = "auto", .choices = clock_choices,
		.help = "what stamps the records" },
	[OPTION_MAX_FILE] = {
		.name = "max-file", .argument = "SIZE", .heading = HEADING_FILES,
		.type = TYPE_SIZE, .offset = FIELD(max_file), .standard = "256M",
		.flags = OPTION_RELOADABLE, .min = FILE_SIZE_MIN, .max = UINT64_C(1) << 31,
		.help = "roll to a new file at this size" },
	[OPTION_ROLL_AGE] = {
		.name = "roll-age", .argument = "TIME", .heading = HEADING_FILES,
		.type = TYPE_TIME, .offset = FIELD(roll_age_ns), .standard = "0",
		.flags = OPTION_RELOADABLE, .max = UINT64_C(3650) * 24 * HOUR_NS,
		.help = "roll to a new file at this age; 0: never" },
	[OPTION_MAX_VOLUME] = {
		.name = "max-volume", .argument = "SIZE", .heading = HEADING_FILES,
		.type = TYPE_SIZE, .offset = FIELD(max_volume), .standard = "4G",
		.flags = OPTION_RELOADABLE, .min = FILE_SIZE_MIN, .max = UINT64_C(1) << 50,
		.help = "begin a new volume (subdirectory) at this size" },
	[OPTION_VOLUME_AGE] = {
		.name = "volume-age", .argument = "TIME", .heading = HEADING_FILES,
		.type = TYPE_TIME, .offset = FIELD(volume_age_ns), .standard = "0",
		.flags = OPTION_RELOADABLE, .max = UINT64_C(3650) * 24 * HOUR_NS,
		.help = "begin a new volume at this age; 0: never" },
	[OPTION_COMPRESS] = {
		.name = "compress", .heading = HEADING_KEEP,
		.type = TYPE_SWITCH, .offset = FIELD(compress), .standard = "yes",
		.flags = OPTION_RELOADABLE,
		.help = "compress the files of full volumes with LZ4, or leave them" },
	[OPTION_MAX_TOTAL] = {
		.name = "max-total", .argument = "SIZE", .heading = HEADING_KEEP,
		.type = TYPE_SIZE, .offset = FIELD(max_total), .standard = "0",
		.flags = OPTION_RELOADABLE, .max = UINT64_C(1) << 60,
		.help = "delete the oldest files when all take more room on the disk, the one being written "
			"and the one made ahead included; 0: no limit" },
	[OPTION_MAX_AGE] = {
		.name = "max-age", .argument = "TIME", .heading = HEADING_KEEP,
		.type = TYPE_TIME, .offset = FIELD(max_age_ns), .standard = "0",
		.flags = OPTION_RELOADABLE, .max = UINT64_C(36500) * 24 * HOUR_NS,
		.help = "delete files that were sealed longer ago than this; 0: no limit" },
	[OPTION_MAX_FILES] = {
		.name = "max-files", .argument = "N", .heading = HEADING_KEEP,
		.type = TYPE_NUMBER, .offset = FIELD(max_files), .standard = "0",
		.flags = OPTION_RELOADABLE, .max = 1000000000,
		.help = "delete the oldest files when there are more, the one being written and the one "
			"made ahead included; 0: no limit" },
	[OPTION_MIN_FREE] = {
		.name = "min-free", .argument = "SIZE|N%", .heading = HEADING_KEEP,
		.type = TYPE_ROOM, .standard = "1G,5%", .flags = OPTION_RELOADABLE,
		.max = UINT64_C(1) << 60,
		.help = "begin no file that would leave less free on the disk; of two, the smaller "
			"holds" },
	[OPTION_ON_FULL] = {
		.name = "on-full", .argument = "stall|delete-oldest", .heading = HEADING_KEEP,
		.type = TYPE_CHOICE, .offset = FIELD(on_full), .standard = "stall",
		.flags = OPTION_RELOADABLE, .choices = on_full_choices,
		.help = "with the disk full and nothing left to compress: wait for room, or make "
			"some" },
	[OPTION_IO] = {
		.name = "io", .argument = "auto|uring|pwrite", .heading = HEADING_RUN,
		.type = TYPE_CHOICE, .offset = FIELD(io), .standard = "auto",
		.choices = io_choices,
		.help = "how pages are written" },
	[OPTION_MODE] = {
		.name = "mode", .argument = "loop|trigger|manual", .heading = HEADING_RUN,
		.type = TYPE_CHOICE, .offset = FIELD(mode), .standard = "loop",
		.choices = mode_choices,
		.help = "when to drain: at the latest each flush interval; when a batch is there; or "
			"when asked" },
	[OPTION_FLUSH_INTERVAL] = {
		.name = "flush-interval", .argument = "TIME", .heading = HEADING_RUN,
		.type = TYPE_TIME, .offset = FIELD(flush_interval_ns), .standard = "100ms",
		.flags = OPTION_RELOADABLE, .max = HOUR_NS,
		.help = "from publishing a record to submitting its write, at most; 0: look each "
			"millisecond" },
	[OPTION_BATCH] = {
		.name = "batch", .argument = "N", .heading = HEADING_RUN,
		.type = TYPE_NUMBER, .offset = FIELD(batch_blocks), .standard = "0",
		.flags = OPTION_RELOADABLE, .max = LANE_BLOCKS_MAX,
		.help = "drain early when a lane holds so many blocks of 64 bytes; 0: half a lane" },
	[OPTION_SYNC] = {
		.name = "sync", .argument = "none|page|TIME", .heading = HEADING_RUN,
		.type = TYPE_SYNC, .standard = "1s",
		.flags = OPTION_RELOADABLE, .min = NS_PER_MS, .max = HOUR_NS,
		.help = "make written pages durable: at a roll only; after each page; or so often" },
	[OPTION_RELEASE] = {
		.name = "release", .argument = "written|durable", .heading = HEADING_RUN,
		.type = TYPE_CHOICE, .offset = FIELD(release), .standard = "written",
		.choices = release_choices,
		.help = "when a record may leave the ring" },
	[OPTION_CPU] = {
		.name = "cpu", .argument = "N", .heading = HEADING_RUN,
		.type = TYPE_CPU, .offset = FIELD(cpu), .max = CPU_SETSIZE - 1,
		.help = "run on this processor only" },
	[OPTION_STOP_TIMEOUT] = {
		.name = "stop-timeout", .argument = "TIME", .heading = HEADING_RUN,
		.type = TYPE_TIME, .offset = FIELD(stop_timeout_ns), .standard = "10s",
		.max = HOUR_NS,
		.help = "after TERM or INT, drain at most so long; the rest stays in the ring" },
	[OPTION_ADOPT] = {
		.name = "adopt", .heading = HEADING_OTHER,
		.type = TYPE_FLAG, .offset = FIELD(adopt), .flags = OPTION_COMMAND_ONLY,
		.help = "take over a ring that was drained into another log" },
	[OPTION_ONCE] = {
		.name = "once", .heading = HEADING_OTHER,
		.type = TYPE_FLAG, .offset = FIELD(once), .flags = OPTION_COMMAND_ONLY,
		.help = "drain what an existing ring holds, seal, exit" },
	[OPTION_ARCHIVE] = {
		.name = "archive", .heading = HEADING_OTHER,
		.type = TYPE_FLAG, .offset = FIELD(archive), .flags = OPTION_COMMAND_ONLY,
		.help = "compress the full volumes of DIR now, then exit; no ring is needed" },
	[OPTION_PROGRESS] = {
		.name = "progress", .heading = HEADING_OTHER,
		.type = TYPE_FLAG, .offset = FIELD(progress), .flags = OPTION_COMMAND_ONLY,
		.help = "show how far compressing is, also where standard error is no terminal" },
	[OPTION_PRINT_CONFIG] = {
		.name = "print-config", .heading = HEADING_OTHER,
		.type = TYPE_FLAG, .offset = FIELD(print_config), .flags = OPTION_COMMAND_ONLY,
		.help = "print the configuration that would hold, as a file for --config" },
	[OPTION_CHECK_CONFIG] = {
		.name = "check-config", .heading = HEADING_OTHER,
		.type = TYPE_FLAG, .offset = FIELD(check_config), .flags = OPTION_COMMAND_ONLY,
		.help = "check the configuration, do nothing" },
	[OPTION_HELP] = {
		.name = "help", .letter = 'h', .heading = HEADING_OTHER,
		.type = TYPE_FLAG, .offset = FIELD(help), .flags = OPTION_COMMAND_ONLY,
		.help = "this text" },
	[OPTION_VERSION] = {
		.name = "version", .letter = 'V', .heading = HEADING_OTHER,
		.type = TYPE_FLAG, .offset = FIELD(version), .flags = OPTION_COMMAND_ONLY,
		.help = "print the version" },
};
/* clang-format on */

const char *config_option_name(enum option_id option)
{
	return table[option].name;
}

const char *config_origin_text(enum config_origin origin)
{
	static const char *const texts[] = {
		[ORIGIN_DEFAULT] = "default",
		[ORIGIN_FILE] = "file",
		[ORIGIN_ENVIRONMENT] = "environment",
		[ORIGIN_COMMAND_LINE] = "command line",
	};

	return texts[origin];
}

/* One line for people, whatever control characters a value may bring along. */
static void complain(const char *format, ...) PRINTF(1, 2);
static void complain(const char *format, ...)
{
	char line[LINE_SIZE];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	for (char *at = line; *at; at++) {
		if (iscntrl((unsigned char)*at))
			*at = '?';
	}
	fprintf(stderr, "%s: %s\n", PROGRAM, line);
}

/* Check @text, keep the value unless a higher place has set one. 0 or -errno with a reason. */
static int take_value(struct config *config, enum option_id option, const char *text,
		      enum config_origin origin)
{
	struct config checked = *config;
	const int error = option_parse(&table[option], text, &checked);

	if (error || origin < config->origin[option])
		return error;
	checked.origin[option] = (uint8_t)origin;
	*config = checked;
	return 0;
}

static void set_default(struct config *config, enum option_id option)
{
	config->origin[option] = ORIGIN_DEFAULT;
	if (table[option].standard) {
		const int error =
			take_value(config, option, table[option].standard, ORIGIN_DEFAULT);

		assert(!error);
		(void)error;
	}
}

static void set_defaults(struct config *config)
{
	*config = (struct config){ .group = (gid_t)-1, .cpu = -1 };
	for (int i = 0; i < OPTION_COUNT; i++)
		set_default(config, (enum option_id)i);
}

/* --- Command line ------------------------------------------------------------------------- */

enum {
	KEY_BASE = 0x100,
	DOC_SIZE = 200,
	NO_NAME_SIZE = 24
}; /* keys beyond characters have no short option */

struct command_line {
	struct config *config;
	bool complained;
};

static int key_of(enum option_id option)
{
	return table[option].letter ? table[option].letter : KEY_BASE + (int)option;
}

/* Of the other word of a switch, --no-NAME. */
static int no_key_of(enum option_id option)
{
	return KEY_BASE + OPTION_COUNT + (int)option;
}

static bool is_key_of(enum option_id option, int key)
{
	return key == key_of(option) ||
	       (table[option].type == TYPE_SWITCH && key == no_key_of(option));
}

/* The value that an option on the command line stands for; @text: its argument. */
static const char *value_of(enum option_id option, int key, const char *text)
{
	if (table[option].type != TYPE_SWITCH)
		return text;
	return key == no_key_of(option) ? "no" : "yes";
}

/* The table as argp wants it, headings in between. */
struct argp_table {
	struct argp_option rows[(size_t)2 * OPTION_COUNT + COUNT_OF(headings) + 1];
	char docs[OPTION_COUNT][DOC_SIZE];
	char no_names[OPTION_COUNT][NO_NAME_SIZE];
};

static void fill_row(struct argp_table *argp, struct argp_option *row, enum option_id option)
{
	const struct option_spec *spec = &table[option];
	char *doc = argp->docs[option];
	const int length = spec->standard ? snprintf(doc, DOC_SIZE, "%s (default: %s)", spec->help,
						     spec->standard)
					  : snprintf(doc, DOC_SIZE, "%s", spec->help);

	assert(length < DOC_SIZE);
	(void)length;
	*row = (struct argp_option){
		.name = spec->name,
		.key = key_of(option),
		.arg = spec->argument,
		.doc = doc,
		.group = spec->heading,
	};
}

static void fill_no_row(struct argp_table *argp, struct argp_option *row, enum option_id option)
{
	char *name = argp->no_names[option];
	const int length = snprintf(name, NO_NAME_SIZE, "no-%s", table[option].name);

	assert(length < NO_NAME_SIZE);
	(void)length;
	*row = (struct argp_option){
		.name = name,
		.key = no_key_of(option),
		.flags = OPTION_ALIAS,
		.group = table[option].heading,
	};
}

static void fill_argp(struct argp_table *argp)
{
	size_t rows = 0;
	uint8_t heading = 0;

	memset(argp, 0, sizeof(*argp));
	for (int i = 0; i < OPTION_COUNT; i++) {
		if (table[i].heading != heading) {
			heading = table[i].heading;
			argp->rows[rows++] =
				(struct argp_option){ .doc = headings[heading], .group = heading };
		}
		fill_row(argp, &argp->rows[rows++], (enum option_id)i);
		if (table[i].type == TYPE_SWITCH)
			fill_no_row(argp, &argp->rows[rows++], (enum option_id)i);
	}
}

static const struct option_spec *find_spec(const char *name, size_t length)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (strlen(table[i].name) == length && strncmp(table[i].name, name, length) == 0)
			return &table[i];
	}
	return NULL;
}

static const struct option_spec *find_letter(char letter)
{
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (letter && table[i].letter == letter)
			return &table[i];
	}
	return NULL;
}

/* Say what is wrong with a long option that argp did not take. */
static void complain_long(const char *name)
{
	const size_t length = strcspn(name, "=");
	const struct option_spec *spec = find_spec(name, length);

	if (!spec)
		complain("--%.*s: no such option, or not the whole name of one; see --help",
			 (int)length, name);
	else if (spec->argument)
		complain("--%s: needs a value: --%s %s", spec->name, spec->name, spec->argument);
	else
		complain("--%s: takes no value", spec->name);
}

/* argp says only that the word before state->next, or the one there (a cluster of letters that is
 * not used up), cannot be taken. */
static void complain_option(const struct argp_state *state)
{
	const int at = state->next;
	const char *word = at > 0 ? state->argv[at - 1] : "";
	const struct option_spec *spec;

	if (strncmp(word, "--", 2) == 0) {
		complain_long(word + 2);
		return;
	}
	if (word[0] != '-' && at < state->argc)
		word = state->argv[at];
	for (word++; (spec = find_letter(*word)) && !spec->argument; word++)
		;
	if (spec)
		complain("-%c: needs a value: -%c %s", *word, *word, spec->argument);
	else
		complain("-%c: no such option; see --help", *word);
}

static error_t take_option(int key, char *text, struct argp_state *state)
{
	struct command_line *line = state->input;

	if (key == ARGP_KEY_ARG) {
		complain("\"%s\": an argument without an option; see --help", text);
		line->complained = true;
		return EINVAL;
	}
	if (key == ARGP_KEY_ERROR && !line->complained)
		complain_option(state);
	for (int i = 0; i < OPTION_COUNT; i++) {
		if (!is_key_of((enum option_id)i, key))
			continue;
		if (take_value(line->config, (enum option_id)i,
			       value_of((enum option_id)i, key, text), ORIGIN_COMMAND_LINE) == 0)
			return 0;
		complain("--%s: %s", table[i].name, reason_get());
		line->complained = true;
		return EINVAL;
	}
	return ARGP_ERR_UNKNOWN;
}

static int read_command_line(int argc, char **argv, const struct argp *argp, struct config *config)
{
	struct command_line line = { .config = config };
	const error_t error = argp_parse(argp, argc, argv,
					 ARGP_NO_HELP | ARGP_NO_EXIT | ARGP_NO_ERRS, NULL, &line);

	return error ? EX_USAGE : 0;
}

/* --- Environment -------------------------------------------------------------------------- */

enum { VARIABLE_SIZE = 40 };

static void variable_name(char name[VARIABLE_SIZE], const struct option_spec *spec)
{
	const int length = snprintf(name, VARIABLE_SIZE, "SHMLOG_%s", spec->name);

	assert(length < VARIABLE_SIZE);
	(void)length;
	for (char *at = name; *at; at++)
		*at = (char)(*at == '-' ? '_' : toupper((unsigned char)*at));
}

/* An empty variable counts as none: that is how scripts and containers pass "not set". */
static int read_environment(struct config *config)
{
	for (int i = 0; i < OPTION_COUNT; i++) {
		char name[VARIABLE_SIZE];
		const char *text;

		if (table[i].flags & OPTION_COMMAND_ONLY)
			continue;
		variable_name(name, &table[i]);
		text = getenv(name);
		if (!text || text[0] == '\0')
			continue;
		if (take_value(config, (enum option_id)i, text, ORIGIN_ENVIRONMENT)) {
			complain("environment: %s: %s", name, reason_get());
			return EX_CONFIG;
		}
	}
	return 0;
}

/* --- File --------------------------------------------------------------------------------- */

/* A file while it is read. The first error is printed and ends it. */
struct config_file {
	struct config *config;
	const char *path;
	FILE *stream;
	char *line; /* getline()'s */
	size_t line_size;
	unsigned line_no;
	bool failed;
	bool seen[OPTION_COUNT];
};

static void file_error(struct config_file *file, const char *format, ...) PRINTF(2, 3);
static void file_error(struct config_file *file, const char *format, ...)
{
	char what[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	if (!file->failed)
		complain("%s:%u: %s", file->path, file->line_no, what);
	file->failed = true;
}

/* fgets(3) for inih, but: lines are counted, and what inih would quietly mend is refused. */
static char *read_line(char *line, int size, void *stream)
{
	struct config_file *file = stream;
	const ssize_t length =
		file->failed ? -1 : getline(&file->line, &file->line_size, file->stream);
	const char *begin;

	if (length < 0)
		return NULL;
	file->line_no++;
	begin = file->line + strspn(file->line, " \t");
	if (length >= size)
		file_error(file, "the line is too long");
	else if (memchr(file->line, '\0', (size_t)length))
		file_error(file, "not text: the line holds a zero byte");
	else if (*begin == '[')
		file_error(file, "sections are not used; remove this line");
	if (file->failed)
		return NULL;
	return memcpy(line, file->line, (size_t)length + 1);
}

static int take_key(void *context, const char *section, const char *name, const char *text)
{
	struct config_file *file = context;
	const struct option_spec *spec = find_spec(name, strlen(name));
	const size_t option = spec ? (size_t)(spec - table) : 0;

	(void)section; /* there are none */
	if (!spec)
		file_error(file, "unknown key \"%s\"; see %s --help", name, PROGRAM);
	else if (spec->flags & (OPTION_COMMAND_ONLY | OPTION_NO_FILE))
		file_error(file, "\"%s\" cannot be set in a file; give it as option --%s", name,
			   name);
	else if (file->seen[option])
		file_error(file, "\"%s\" is set twice; remove one line", name);
	else if (take_value(file->config, (enum option_id)option, text, ORIGIN_FILE))
		file_error(file, "%s = %s", name, reason_get());
	if (spec)
		file->seen[option] = true;
	return !file->failed;
}

static void parse_file(struct config_file *file)
{
	int bad_line;

	/* The library's own knobs: an indented line is a line of its own, lines may be long. */
	ini_allow_multiline = false;
	ini_use_stack = true;
	ini_max_line = LINE_SIZE;
	ini_stop_on_first_error = true;
	bad_line = ini_parse_stream(read_line, file, take_key, file);
	if (bad_line)
		file_error(file, "not a line `name = value'");
	else if (ferror(file->stream))
		file_error(file, "%s", strerror(errno));
}

static int read_file(struct config *config)
{
	struct config_file file = { .config = config };
	char path[PATH_MAX];

	if (config->file[0] == '\0')
		return 0;
	memcpy(path, config->file, sizeof(path));
	file.path = path;
	file.stream = fopen(path, "re");
	if (!file.stream) {
		complain("configuration file \"%s\": %s", path, strerror(errno));
		return EX_CONFIG;
	}
	parse_file(&file);
	free(file.line);
	fclose(file.stream);
	return file.failed ? EX_CONFIG : 0;
}

/* --- Answers ------------------------------------------------------------------------------ */

static void print_config(const struct config *config)
{
	printf("# %s %s\n", PROGRAM, SHMLOG_VERSION_TEXT);
	for (int i = 0; i < OPTION_COUNT; i++) {
		char text[OPTION_TEXT_SIZE];
		const struct option_spec *spec = &table[i];

		if (spec->flags & (OPTION_COMMAND_ONLY | OPTION_NO_FILE))
			continue;
		if (option_format(spec, config, text))
			printf("%s = %s ; %s\n", spec->name, text,
			       config_origin_text(config->origin[i]));
		else
			printf("# %s is not set\n", spec->name);
	}
}

static int check_required(const struct config *config)
{
	if (config->ring[0] == '\0' && !config->archive) {
		complain("no ring: give -r RING (or SHMLOG_RING, or `ring' in the configuration "
			 "file)");
		return EX_USAGE;
	}
	if (config->directory[0] == '\0') {
		complain("no directory: give -d DIR (or SHMLOG_DIRECTORY, or `directory' in the "
			 "configuration file)");
		return EX_USAGE;
	}
	return 0;
}

/* Help and version need nothing else to be right; print-config shows what there is. */
static int read_rest(struct config *config)
{
	int status = read_environment(config);

	if (!status)
		status = read_file(config);
	if (!status && config->print_config)
		print_config(config);
	else if (!status)
		status = check_required(config);
	config->done = config->print_config || config->check_config;
	return status;
}

static void print_help(const struct argp *argp)
{
	char name[] = PROGRAM;

	argp_help(argp, stdout, ARGP_HELP_SHORT_USAGE | ARGP_HELP_LONG | ARGP_HELP_DOC, name);
}

static const char doc[] =
	"Drains a shared-memory ring into log files.\v"
	"SIZE: 4096, 64K, 256M, 2G. TIME: 500us, 100ms, 1s, 5m, 1h, 7d. Each option but those "
	"under "
	"`Other' can also stand in the environment (--lane-size as SHMLOG_LANE_SIZE) and in the "
	"configuration file (lane-size = 1M); an option beats the environment, that the file.\n"
	"Signals: TERM, INT stop; HUP reloads the file and rolls; USR1 flushes, rolls and syncs; "
	"USR2 prints the status.";

int config_load(int argc, char **argv, struct config *ret)
{
	struct argp_table options;
	const struct argp argp = { .options = options.rows,
				   .parser = take_option,
				   .args_doc = "-r RING -d DIR",
				   .doc = doc };
	struct config config;
	int status;

	fill_argp(&options);
	set_defaults(&config);
	status = read_command_line(argc, argv, &argp, &config);
	if (status)
		return status;
	if (config.help)
		print_help(&argp);
	else if (config.version)
		printf("%s %s\n", PROGRAM, SHMLOG_VERSION_TEXT);
	else
		status = read_rest(&config);
	config.done = config.done || config.help || config.version;
	if (!status)
		*ret = config;
	return status;
}

/* --- Reload ------------------------------------------------------------------------------- */

/* @to gets the value that @from has, with its origin. */
static void copy_value(struct config *to, const struct config *from, enum option_id option)
{
	char text[OPTION_TEXT_SIZE];
	int error;

	if (!option_format(&table[option], from, text))
		return;
	error = option_parse(&table[option], text, to);
	assert(!error);
	(void)error;
	to->origin[option] = from->origin[option];
}

static bool values_differ(const struct config *a, const struct config *b, enum option_id option)
{
	char text_a[OPTION_TEXT_SIZE];
	char text_b[OPTION_TEXT_SIZE];

	return option_format(&table[option], a, text_a) !=
		       option_format(&table[option], b, text_b) ||
	       strcmp(text_a, text_b) != 0;
}

/* As it was before the file was read. */
static void forget_file(struct config *config)
{
	struct config before;

	set_defaults(&before);
	for (int i = 0; i < OPTION_COUNT; i++) {
		if (config->origin[i] > ORIGIN_FILE)
			copy_value(&before, config, (enum option_id)i);
	}
	memcpy(before.file, config->file, sizeof(before.file));
	*config = before;
}

int config_reload(struct config *config)
{
	struct config fresh = *config;
	int status;

	forget_file(&fresh);
	status = read_file(&fresh);
	if (status)
		return status;
	for (int i = 0; i < OPTION_COUNT; i++) {
		if (!values_differ(config, &fresh, (enum option_id)i))
			continue;
		if (table[i].flags & OPTION_RELOADABLE)
			copy_value(config, &fresh, (enum option_id)i);
		else
			complain("%s: a new value of \"%s\" takes effect at the next start",
				 config->file, table[i].name);
	}
	return 0;
}
