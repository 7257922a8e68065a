/*
 * target_config.c - the writer's configuration from a file, the environment and the command line
 * (writer/config.c, writer/option.c). What --print-config prints is a file that gives the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../writer/config.h"
#include "fuzz.h"

enum { ARGUMENTS_MAX = 8, PATH_SIZE = 128 };

/* What the function prints goes into @ret_text (heap) instead. */
static int load_printing(int argc, char **argv, struct config *ret, char **ret_text)
{
	FILE *const was_out = stdout;
	FILE *const was_err = stderr;
	char *errors = NULL;
	size_t size;
	int status;

	stdout = open_memstream(ret_text, &size);
	stderr = open_memstream(&errors, &size);
	must(stdout != NULL && stderr != NULL, "fuzz: out of memory");
	status = config_load(argc, argv, ret);
	(void)fclose(stdout);
	(void)fclose(stderr);
	stdout = was_out;
	stderr = was_err;
	must(status == 0 || (errors[0] != '\0' && strchr(errors, '\n') != NULL),
	     "config: refused without a word");
	free(errors);
	return status;
}

/* Values without where they came from, which --print-config says behind " ;". */
static void strip_origins(char *text)
{
	char *to = text;

	for (char *line = text; *line != '\0';) {
		char *end = line + strcspn(line, "\n");
		char *keep = end;

		if (*line != '#')
			while (keep > line && !(keep[0] == ' ' && keep[1] == ';'))
				keep--;
		memmove(to, line, (size_t)(keep - line));
		to += keep - line;
		*to++ = '\n';
		line = *end != '\0' ? end + 1 : end;
	}
	*to = '\0';
}

static void path_of(char path[PATH_SIZE], const char *name)
{
	(void)snprintf(path, PATH_SIZE, "%s/%s", fuzz_directory(), name);
}

static void print_again(char *text)
{
	char path[PATH_SIZE], program[] = "writer", print[] = "--print-config", file[] = "-c";
	char *argv[] = { program, print, file, path, NULL };
	struct config config;
	char *again = NULL;

	path_of(path, "again");
	fuzz_write_file(path, text, strlen(text));
	must(load_printing(4, argv, &config, &again) == 0,
	     "config: what was printed is refused:\n%s", text);
	strip_origins(text);
	strip_origins(again);
	must(strcmp(text, again) == 0, "config: printed as\n%s\nand read back as\n%s", text, again);
	free(again);
}

static void check(int argc, char **argv)
{
	struct config config;
	char *text = NULL;

	if (load_printing(argc, argv, &config, &text) == 0 && config.print_config && !config.help &&
	    !config.version) {
		unsetenv("SHMLOG_MAX_FILE");
		unsetenv("SHMLOG_SYNC");
		unsetenv("SHMLOG_DIRECTORY");
		print_again(text);
	}
	free(text);
}

static void set_variables(struct bytes *input, uint8_t mode)
{
	static const char *const names[] = { "SHMLOG_MAX_FILE", "SHMLOG_SYNC", "SHMLOG_DIRECTORY" };

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct bytes value = take_bytes(input, mode >> i & 1 ? take(input, 1) : 0);
		char *text = strndup((const char *)value.at, value.left);

		must(text != NULL && setenv(names[i], text, 1) == 0, "fuzz: out of memory");
		free(text);
	}
}

/* The rest of the input, as lines, is words of the command line. */
static int take_words(struct bytes *input, char **words)
{
	char *text = strndup((const char *)input->at, input->left);
	int count = 0;

	must(text != NULL, "fuzz: out of memory");
	words[ARGUMENTS_MAX] = text; /* to be freed */
	for (char *word = strtok(text, "\n"); word && count < ARGUMENTS_MAX;
	     word = strtok(NULL, "\n"))
		words[count++] = word;
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes input = { data, size };
	const uint8_t mode = (uint8_t)take(&input, 1);
	char path[PATH_SIZE], program[] = "writer", print[] = "--print-config", file[] = "-c";
	char *argv[4 + ARGUMENTS_MAX + 1] = { program, print, file, path };
	char *words[ARGUMENTS_MAX + 1] = { NULL };
	int argc = 4;

	set_variables(&input, mode);
	path_of(path, "config");
	if (mode & 8) {
		const int count = take_words(&input, words);

		argc = mode & 16 ? 2 : 1;
		memcpy(argv + argc, words, (size_t)count * sizeof(*words));
		argc += count;
		argv[argc] = NULL;
	} else {
		fuzz_write_file(path, input.at, input.left);
	}
	check(argc, argv);
	free(words[ARGUMENTS_MAX]);
	return 0;
}
