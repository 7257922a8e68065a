/*
 * test_config.c - where values come from, which are refused, and what is said about it.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../writer/config.h"

static struct config config;
static char said[4096]; /* standard error of the last call */
static char printed[16384];
static char file_path[64];

static void tear_down(void)
{
	if (file_path[0])
		unlink(file_path);
}

TestSuite(config, .fini = tear_down);

static void write_file(const char *text)
{
	if (!file_path[0]) {
		strcpy(file_path, "/tmp/shmlog-test-config-XXXXXX");
		close(mkstemp(file_path));
	}
	FILE *file = fopen(file_path, "w");
	cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

/* Swap descriptor @fd for an empty temporary file; end_capture() reads it. */
static int begin_capture(int fd)
{
	char path[] = "/tmp/shmlog-test-output-XXXXXX";
	const int temporary = mkstemp(path);
	const int kept = dup(fd);

	unlink(path);
	cr_assert(temporary >= 0 && dup2(temporary, fd) == fd);
	close(temporary);
	return kept;
}

static void end_capture(int fd, int kept, char *text, size_t size)
{
	ssize_t length;

	fflush(stdout);
	fflush(stderr);
	length = pread(fd, text, size - 1, 0);
	cr_assert(length >= 0);
	text[length] = '\0';
	dup2(kept, fd);
	close(kept);
}

enum { ARGUMENTS_MAX = 24 };

/* Load with these arguments, up to a NULL. */
static int load(const char *first, ...)
{
	char *arguments[ARGUMENTS_MAX] = { strdup("shmlog-writer") };
	int count = 1;
	va_list list;

	va_start(list, first);
	for (const char *at = first; at; at = va_arg(list, const char *))
		arguments[count++] = strdup(at);
	va_end(list);
	const int error_fd = begin_capture(2);
	const int output_fd = begin_capture(1);
	const int status = config_load(count, arguments, &config);
	end_capture(1, output_fd, printed, sizeof(printed));
	end_capture(2, error_fd, said, sizeof(said));
	for (int i = 0; i < count; i++)
		free(arguments[i]);
	return status;
}

static int reload(void)
{
	const int error_fd = begin_capture(2);
	const int status = config_reload(&config);

	end_capture(2, error_fd, said, sizeof(said));
	return status;
}

static void expect_said(const char *part)
{
	const char *newline = strchr(said, '\n');

	cr_assert(strstr(said, part) != NULL, "\"%s\" is not in: %s", part, said);
	cr_assert(strncmp(said, "shmlog-writer: ", 15) == 0, "%s", said);
	cr_assert(newline && newline[1] == '\0', "one line: %s", said);
}

#define WHERE "-r", "audit", "-d", "/var/log/audit"

/* --- Precedence ----------------------------------------------------------------------------- */

Test(config, defaults_are_those_of_the_manual)
{
	cr_assert(load(WHERE, NULL) == 0, "%s", said);
	cr_assert(strcmp(config.ring, "audit") == 0);
	cr_assert(strcmp(config.directory, "/var/log/audit") == 0);
	cr_assert(config.lanes == 32 && config.lane_size == 1 << 20);
	cr_assert(config.mode_bits == 0600 && config.group == (gid_t)-1 && config.clock == 0);
	cr_assert(config.max_file == 256 << 20 && config.max_volume == UINT64_C(4) << 30);
	cr_assert(config.roll_age_ns == 0 && config.io == IO_CHOOSE_AUTO);
	cr_assert(config.mode == MODE_LOOP && config.release == RELEASE_WRITTEN);
	cr_assert(config.flush_interval_ns == 100 * NS_PER_MS && config.batch_blocks == 0);
	cr_assert(config.sync == SYNC_INTERVAL && config.sync_interval_ns == NS_PER_S);
	cr_assert(config.cpu == -1 && config.stop_timeout_ns == INT64_C(10) * NS_PER_S);
	cr_assert(!config.adopt && !config.once && !config.done);
	cr_assert(config.origin[OPTION_LANES] == ORIGIN_DEFAULT);
	cr_assert(config.origin[OPTION_RING] == ORIGIN_COMMAND_LINE);
}

Test(config, all_options_are_taken)
{
	cr_assert(load(WHERE, "--lanes=4", "--lane-size=64K", "--mode-bits=0660", "--group=0",
		       "--clock=monotonic", "--max-file=1M", "--roll-age=1h", "--max-volume=16M",
		       "--io=pwrite", "--mode=trigger", "--flush-interval=0", "--batch=100",
		       "--sync=page", "--release=durable", "--cpu=1", "--adopt", "--once",
		       NULL) == 0,
		  "%s", said);
	cr_assert(config.lanes == 4 && config.lane_size == 65536 && config.mode_bits == 0660);
	cr_assert(config.group == 0 && config.clock == RING_CLOCK_MONOTONIC);
	cr_assert(config.max_file == 1 << 20 && config.max_volume == 16 << 20);
	cr_assert(config.roll_age_ns == INT64_C(3600) * NS_PER_S);
	cr_assert(config.io == IO_CHOOSE_PWRITE && config.mode == MODE_TRIGGER);
	cr_assert(config.flush_interval_ns == 0 && config.batch_blocks == 100);
	cr_assert(config.sync == SYNC_PAGE && config.release == RELEASE_DURABLE);
	cr_assert(config.cpu == 1 && config.adopt && config.once);
}

Test(config, the_file_beats_the_default)
{
	write_file("# a comment\n\n  lanes = 5\nsync=none ; another\n");
	cr_assert(load(WHERE, "-c", file_path, NULL) == 0, "%s", said);
	cr_assert(config.lanes == 5 && config.origin[OPTION_LANES] == ORIGIN_FILE);
	cr_assert(config.sync == SYNC_NONE);
}

Test(config, the_environment_beats_the_file)
{
	write_file("lane-size = 128K\n");
	setenv("SHMLOG_LANE_SIZE", "256K", 1);
	cr_assert(load(WHERE, "-c", file_path, NULL) == 0, "%s", said);
	cr_assert(config.lane_size == 256 << 10);
	cr_assert(config.origin[OPTION_LANE_SIZE] == ORIGIN_ENVIRONMENT);
	cr_assert(config_is_wish(&config, OPTION_LANE_SIZE));
}

Test(config, the_command_line_beats_them_all)
{
	write_file("lane-size = 128K\n");
	setenv("SHMLOG_LANE_SIZE", "256K", 1);
	cr_assert(load(WHERE, "-c", file_path, "--lane-size", "512K", NULL) == 0, "%s", said);
	cr_assert(config.lane_size == 512 << 10);
	cr_assert(!config_is_wish(&config, OPTION_LANE_SIZE));
}

Test(config, the_last_of_two_equal_options_counts)
{
	cr_assert(load(WHERE, "--lanes=4", "--lanes=6", NULL) == 0);
	cr_assert(config.lanes == 6);
}

Test(config, an_empty_variable_counts_as_none)
{
	setenv("SHMLOG_LANES", "", 1);
	cr_assert(load(WHERE, NULL) == 0, "%s", said);
	cr_assert(config.lanes == 32);
}

Test(config, ring_and_directory_may_come_from_anywhere)
{
	write_file("ring = web\n");
	setenv("SHMLOG_CONFIG", file_path, 1);
	setenv("SHMLOG_DIRECTORY", "/srv/log", 1);
	cr_assert(load(NULL) == 0, "%s", said);
	cr_assert(strcmp(config.ring, "web") == 0 && strcmp(config.directory, "/srv/log") == 0);
}

/* --- Refusals: command line --------------------------------------------------------------------
 */

static void refused(const char *option, const char *value, const char *part)
{
	const int status = load(WHERE, option, value, NULL);

	cr_assert(status == 64, "%s %s: %d", option, value, status);
	expect_said(option);
	expect_said(part);
}

Test(config, lanes_out_of_range)
{
	refused("--lanes", "0", "too small (1 .. 256)");
	refused("--lanes", "257", "too large");
	refused("--lanes", "-1", "not a whole number");
	refused("--lanes", "four", "not a whole number");
	refused("--lanes", "", "not a whole number");
	refused("--lanes", "99999999999999999999999", "too large");
}

Test(config, lane_sizes_out_of_range)
{
	refused("--lane-size", "32K", "too small (64K .. 1G)");
	refused("--lane-size", "2G", "too large (64K .. 1G)");
	refused("--lane-size", "100K", "not a power of two");
	refused("--lane-size", "1MB", "not a size");
	refused("--lane-size", "-64K", "not a size");
}

Test(config, modes_that_make_no_sense)
{
	refused("--mode-bits", "0400", "the owner reads and writes");
	refused("--mode-bits", "0777", "nobody executes");
	refused("--mode-bits", "rw", "not an octal mode");
	refused("--mode-bits", "0680", "not an octal mode");
	refused("--mode-bits", "7777777777777777777600", "not an octal mode");
}

Test(config, groups_that_are_none)
{
	refused("--group", "no-such-group-here", "no such group");
	refused("--group", "4294967295", "too large");
}

Test(config, words_that_are_none)
{
	refused("--clock", "sundial", "auto, tsc, monotonic, none, writer");
	refused("--io", "mmap", "auto, uring, pwrite");
	refused("--mode", "Loop", "loop, trigger, manual");
	refused("--release", "soon", "written, durable");
	refused("--sync", "often", "none, page or a time");
}

Test(config, file_and_volume_sizes_out_of_range)
{
	refused("--max-file", "4096", "too small (1M .. 2G)");
	refused("--max-file", "3G", "too large (1M .. 2G)");
	refused("--max-file", "0", "too small");
	refused("--max-volume", "1023K", "too small");
	refused("--max-volume", "99999999T", "too large");
}

Test(config, times_out_of_range)
{
	refused("--flush-interval", "2h", "too large (0 .. 1h)");
	refused("--flush-interval", "10", "not a time");
	refused("--flush-interval", "-1s", "not a time");
	refused("--sync", "0", "too small (1ms .. 1h)");
	refused("--sync", "1us", "too small");
	refused("--stop-timeout", "1d", "too large");
	refused("--roll-age", "99999999999d", "too long");
}

Test(config, numbers_out_of_range)
{
	refused("--cpu", "1024", "too large");
	refused("--cpu", "x", "not a whole number");
	refused("--batch", "-5", "not a whole number");
}

Test(config, ring_names_that_are_none)
{
	refused("--ring", "a/b", "only A-Z a-z 0-9");
	refused("--ring", ".a", "dot");
	refused("--ring", "", "empty");
}

Test(config, paths_that_are_none)
{
	char path[PATH_MAX + 1];

	memset(path, 'x', PATH_MAX);
	path[PATH_MAX] = '\0';
	refused("--directory", path, "too long");
	refused("--directory", "", "empty");
	refused("--directory", "a\nb", "control characters");
	refused("--directory", "a ;b", "cannot stand in a configuration");
}

Test(config, what_is_kept_is_said_by_limits)
{
	cr_assert(load(WHERE, "--no-compress", "--max-total=1G", "--max-age=1d", "--max-files=3",
		       "--volume-age=2h", "--on-full=delete-oldest", NULL) == 0,
		  "%s", said);
	cr_assert(!config.compress && config.max_total == 1 << 30 && config.max_files == 3);
	cr_assert(config.max_age_ns == INT64_C(86400) * NS_PER_S);
	cr_assert(config.volume_age_ns == INT64_C(7200) * NS_PER_S);
	cr_assert(config.on_full == ON_FULL_DELETE_OLDEST);
	cr_assert(load(WHERE, NULL) == 0 && config.compress && config.max_total == 0);
}

Test(config, a_switch_has_two_words_and_the_last_holds)
{
	cr_assert(load(WHERE, "--no-compress", "--compress", NULL) == 0 && config.compress);
	cr_assert(load(WHERE, "--compress", "--no-compress", NULL) == 0 && !config.compress);
	cr_assert(load(WHERE, "--no-compress=3", NULL) == 64);
	write_file("compress = no\n");
	cr_assert(load(WHERE, "-c", file_path, NULL) == 0 && !config.compress, "%s", said);
	cr_assert(load(WHERE, "-c", file_path, "--compress", NULL) == 0 && config.compress);
	write_file("compress = 1\n");
	cr_assert(load(WHERE, "-c", file_path, NULL) == 78);
	expect_said("yes or no");
	cr_assert(load(WHERE, "--no-once", NULL) == 64);
}

Test(config, room_to_leave_free_is_a_size_a_share_or_both)
{
	cr_assert(load(WHERE, NULL) == 0);
	cr_assert(config.min_free == 1 << 30 && config.min_free_percent == 5);
	cr_assert(load(WHERE, "--min-free", "64M", NULL) == 0);
	cr_assert(config.min_free == 64 << 20 && config.min_free_percent == ROOM_NO_SHARE);
	cr_assert(load(WHERE, "--min-free", "7%", NULL) == 0);
	cr_assert(config.min_free == UINT64_MAX && config.min_free_percent == 7);
	cr_assert(load(WHERE, "--min-free", "0", NULL) == 0 && config.min_free == 0);
	cr_assert(load(WHERE, "--min-free", "2T,9%", "--print-config", NULL) == 0);
	cr_assert(strstr(printed, "min-free = 2T,9% ; command line\n") != NULL, "%s", printed);
	refused("--min-free", "100%", "not a share");
	refused("--min-free", "%", "not a share");
	refused("--min-free", "1G,", "not a share");
	refused("--min-free", ",5%", "not a size");
	refused("--min-free", "5%,1G", "not a size");
	refused("--min-free", "9999999T", "too large");
	refused("--min-free", "123456789012345678901234567890,5%", "not a size");
}

Test(config, unknown_letters_are_named_also_in_clusters)
{
	cr_assert(load(WHERE, "-z", NULL) == 64);
	expect_said("-z: no such option");
	cr_assert(load("-zr", "audit", NULL) == 64);
	expect_said("-z: no such option");
	cr_assert(load("-r", "audit", "-Vz", NULL) == 64);
	expect_said("-z: no such option");
}

Test(config, a_missing_or_needless_value_is_said)
{
	cr_assert(load("-d", "/x", "-r", NULL) == 64);
	expect_said("-r: needs a value: -r RING");
	cr_assert(load(WHERE, "--lanes", NULL) == 64);
	expect_said("--lanes: needs a value: --lanes N");
	cr_assert(load(WHERE, "--once=yes", NULL) == 64);
	expect_said("--once: takes no value");
}

Test(config, an_ambiguous_short_form_is_refused)
{
	cr_assert(load(WHERE, "--lane", "4", NULL) == 64);
	expect_said("--lane: no such option, or not the whole name of one");
}

Test(config, an_argument_without_option_is_refused)
{
	cr_assert(load(WHERE, "what", NULL) == 64);
	expect_said("\"what\": an argument without an option");
}

Test(config, ring_and_directory_are_required)
{
	cr_assert(load("-d", "/x", NULL) == 64);
	expect_said("no ring: give -r RING");
	cr_assert(load("-r", "audit", NULL) == 64);
	expect_said("no directory: give -d DIR");
}

Test(config, archiving_needs_no_ring)
{
	cr_assert(load("--archive", "-d", "/x", NULL) == 0 && config.archive);
	cr_assert(load("--archive", NULL) == 64);
	expect_said("no directory: give -d DIR");
}

/* --- Refusals: environment and file ------------------------------------------------------------
 */

Test(config, a_wrong_variable_is_named)
{
	setenv("SHMLOG_LANES", "many", 1);
	cr_assert(load(WHERE, NULL) == 78);
	expect_said("SHMLOG_LANES: \"many\": not a whole number");
}

Test(config, a_wrong_variable_is_wrong_also_if_something_beats_it)
{
	setenv("SHMLOG_LANES", "many", 1);
	cr_assert(load(WHERE, "--lanes=4", NULL) == 78);
}

static void file_refused(const char *text, const char *part)
{
	char place[96];

	write_file(text);
	cr_assert(load(WHERE, "-c", file_path, NULL) == 78, "%s", text);
	expect_said(part);
	snprintf(place, sizeof(place), "%s:3: ", file_path);
	expect_said(place);
}

Test(config, a_wrong_line_is_named_with_its_number)
{
	file_refused("\nmode = loop\nlanes = 0\n", "lanes = \"0\": too small (1 .. 256)");
	file_refused("\n# x\ncompact = yes\nlanes = 0\n", "unknown key \"compact\"");
	file_refused("\n\nLanes = 3\n", "unknown key \"Lanes\"");
	file_refused("\n\nlanes\n", "not a line");
	file_refused("\n\n[writer]\nlanes = 3\n", "sections are not used");
	file_refused("\nlanes = 3\nlanes = 3\n", "\"lanes\" is set twice");
	file_refused("\n\nonce = 1\n", "\"once\" cannot be set in a file");
	file_refused("\n\nconfig = /other\n", "\"config\" cannot be set in a file");
	file_refused("\n\nlanes =\n", "not a whole number");
}

Test(config, a_key_twice_is_found_also_if_something_beats_it)
{
	write_file("lanes = 3\nlanes = 4\n");
	cr_assert(load(WHERE, "--lanes=5", "-c", file_path, NULL) == 78);
	expect_said("set twice");
}

Test(config, a_line_too_long_is_not_read_as_two)
{
	char text[6000];

	memset(text, 'x', sizeof(text));
	memcpy(text, "\n\ndirectory = /", 15);
	strcpy(text + sizeof(text) - 2, "\n");
	file_refused(text, "too long");
}

Test(config, a_long_directory_is_taken_whole)
{
	char text[3100];

	memset(text, 'x', sizeof(text));
	memcpy(text, "directory = /", 13);
	strcpy(text + 3013, "\n");
	write_file(text);
	cr_assert(load("-r", "audit", "-c", file_path, NULL) == 0, "%s", said);
	cr_assert(strlen(config.directory) == 3001);
}

Test(config, a_zero_byte_is_not_text)
{
	write_file("");
	const int fd = open(file_path, O_WRONLY);

	cr_assert(write(fd, "lanes = 3\0002\n", 12) == 12);
	close(fd);
	cr_assert(load(WHERE, "-c", file_path, NULL) == 78);
	expect_said(":1: not text");
}

Test(config, a_file_without_a_last_newline_is_fine)
{
	write_file("lanes = 7");
	cr_assert(load(WHERE, "-c", file_path, NULL) == 0, "%s", said);
	cr_assert(config.lanes == 7);
}

Test(config, a_missing_file_is_named)
{
	cr_assert(load(WHERE, "-c", "/nonexistent/shmlog.conf", NULL) == 78);
	expect_said("\"/nonexistent/shmlog.conf\": No such file");
}

Test(config, a_directory_is_no_file)
{
	cr_assert(load(WHERE, "-c", "/tmp", NULL) == 78);
	expect_said("/tmp");
}

/* --- Answers ------------------------------------------------------------------------------------
 */

Test(config, what_is_printed_reads_back_to_the_same)
{
	char first[sizeof(printed)];
	char *comment;

	cr_assert(load(WHERE, "--lanes=7", "--mode-bits=660", "--group=5", "--sync=1500us",
		       "--flush-interval=90s", "--cpu=3", "--max-file=1025K", "--clock=none",
		       "--roll-age=2d", "--print-config", NULL) == 0,
		  "%s", said);
	cr_assert(config.done);
	cr_assert(strstr(printed, "lanes = 7 ; command line\n") != NULL, "%s", printed);
	cr_assert(strstr(printed, "flush-interval = 90s ; ") != NULL, "%s", printed);
	cr_assert(strstr(printed, "sync = 1500us ; ") != NULL, "%s", printed);
	cr_assert(strstr(printed, "max-volume = 4G ; default\n") != NULL, "%s", printed);
	strcpy(first, printed);
	write_file(printed);
	cr_assert(load("-c", file_path, "--print-config", NULL) == 0, "%s", said);
	while ((comment = strstr(first, "; command line")) ||
	       (comment = strstr(first, "; default"))) {
		char *end = strchr(comment, '\n');

		memcpy(comment, "; file", 6);
		memmove(comment + 6, end, strlen(end) + 1);
	}
	cr_assert(strcmp(first, printed) == 0, "%s\n%s", first, printed);
}

Test(config, print_config_needs_no_ring)
{
	cr_assert(load("--print-config", NULL) == 0, "%s", said);
	cr_assert(strstr(printed, "# ring is not set\n") != NULL);
}

Test(config, check_config_is_silent_when_all_is_well)
{
	cr_assert(load(WHERE, "--check-config", NULL) == 0);
	cr_assert(config.done && said[0] == '\0' && printed[0] == '\0');
}

Test(config, check_config_tells_what_is_wrong)
{
	write_file("lanes = 0\n");
	cr_assert(load(WHERE, "-c", file_path, "--check-config", NULL) == 78);
	cr_assert(load("-r", "audit", "--check-config", NULL) == 64);
}

Test(config, help_names_every_option)
{
	cr_assert(load("-h", NULL) == 0);
	cr_assert(config.done && said[0] == '\0');
	for (int i = 0; i < OPTION_COUNT; i++) {
		char option[40];

		snprintf(option, sizeof(option), "--%s", config_option_name((enum option_id)i));
		cr_assert(strstr(printed, option) != NULL, "%s is not in: %s", option, printed);
	}
	cr_assert(strstr(printed, "(default: 256M)") != NULL, "%s", printed);
}

Test(config, version_is_one_line)
{
	cr_assert(load("--version", NULL) == 0);
	cr_assert(config.done);
	cr_assert(strcmp(printed, "shmlog-writer " SHMLOG_VERSION_TEXT "\n") == 0, "%s", printed);
}

/* --- Reload
 * --------------------------------------------------------------------------------------- */

Test(config, a_reload_takes_what_may_change)
{
	write_file("max-file = 4M\nsync = 2s\n");
	cr_assert(load(WHERE, "-c", file_path, NULL) == 0, "%s", said);
	write_file("max-file = 8M\nsync = page\nroll-age = 1h\nmax-volume = 1G\n"
		   "flush-interval = 5ms\nbatch = 9\n");
	cr_assert(reload() == 0, "%s", said);
	cr_assert(said[0] == '\0', "%s", said);
	cr_assert(config.max_file == 8 << 20 && config.sync == SYNC_PAGE);
	cr_assert(config.roll_age_ns == INT64_C(3600) * NS_PER_S);
	cr_assert(config.max_volume == 1 << 30 && config.batch_blocks == 9);
	cr_assert(config.flush_interval_ns == 5 * NS_PER_MS);
}

Test(config, a_line_that_is_gone_means_the_default)
{
	write_file("max-file = 4M\n");
	cr_assert(load(WHERE, "-c", file_path, NULL) == 0, "%s", said);
	write_file("\n");
	cr_assert(reload() == 0, "%s", said);
	cr_assert(config.max_file == 256 << 20);
}

Test(config, a_reload_keeps_what_the_command_line_said)
{
	write_file("max-file = 4M\n");
	cr_assert(load(WHERE, "-c", file_path, "--max-file=16M", NULL) == 0, "%s", said);
	write_file("max-file = 8M\n");
	cr_assert(reload() == 0, "%s", said);
	cr_assert(config.max_file == 16 << 20);
}

Test(config, a_wrong_file_changes_nothing)
{
	write_file("max-file = 4M\n");
	cr_assert(load(WHERE, "-c", file_path, NULL) == 0, "%s", said);
	write_file("max-file = 8M\nsync = never\n");
	cr_assert(reload() == 78);
	expect_said(":2: sync = \"never\"");
	cr_assert(config.max_file == 4 << 20 && config.sync == SYNC_INTERVAL);
}

Test(config, what_needs_a_restart_is_named_and_left)
{
	write_file("lanes = 4\n");
	cr_assert(load(WHERE, "-c", file_path, NULL) == 0, "%s", said);
	write_file("lanes = 8\nmax-file = 8M\n");
	cr_assert(reload() == 0);
	expect_said("\"lanes\" takes effect at the next start");
	cr_assert(config.lanes == 4 && config.max_file == 8 << 20);
}

Test(config, without_a_file_a_reload_is_nothing)
{
	cr_assert(load(WHERE, NULL) == 0);
	cr_assert(reload() == 0 && said[0] == '\0');
}
