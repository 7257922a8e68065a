/*
 * replay.c - drive a fuzz target over files instead of libFuzzer: what once found a bug, and what
 * reaches much, again and deterministically.
 *
 *	replay_<target> DIRECTORY|FILE...
 *
 * Inputs run in a child that notes which one it is at. An input that crashes or does not end is a
 * breach; a directory without inputs is one, too.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"

enum { INPUT_SECONDS = 20, PATH_SIZE = 4096, INPUT_MAX = 1 << 20 };

struct progress {
	char path[PATH_SIZE];
	unsigned inputs;
};

static void run_file(struct progress *progress, const char *path)
{
	FILE *file = fopen(path, "re");
	uint8_t *buffer = malloc(INPUT_MAX);
	uint8_t *exact;
	size_t size;

	must(file != NULL && buffer != NULL, "%s: cannot read it", path);
	size = fread(buffer, 1, INPUT_MAX, file);
	(void)fclose(file);
	exact = malloc(size + 1); /* so that a sanitizer sees where it ends */
	must(exact != NULL, "%s: out of memory", path);
	memcpy(exact, buffer, size);
	free(buffer);
	(void)snprintf(progress->path, sizeof(progress->path), "%s", path);
	(void)alarm(INPUT_SECONDS);
	(void)LLVMFuzzerTestOneInput(exact, size);
	(void)alarm(0);
	progress->inputs++;
	free(exact);
}

static void run_directory(struct progress *progress, const char *path)
{
	struct dirent **names;
	char file[PATH_SIZE];
	const int count = scandir(path, &names, NULL, alphasort);

	must(count >= 0, "%s: cannot list it", path);
	for (int i = 0; i < count; i++) {
		(void)snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			run_file(progress, file);
		free(names[i]);
	}
	free(names);
}

static void run_all(struct progress *progress, char **paths)
{
	struct stat about;

	for (; *paths; paths++) {
		if (stat(*paths, &about) == 0 && S_ISDIR(about.st_mode))
			run_directory(progress, *paths);
		else
			run_file(progress, *paths);
	}
}

static int judge(const struct progress *progress, int status)
{
	if (WIFSIGNALED(status))
		(void)fprintf(stderr, "violated: %s: ended by signal %d (%s)\n", progress->path,
			      WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != 0)
		(void)fprintf(stderr, "violated: %s: a sanitizer ended it\n", progress->path);
	else if (progress->inputs == 0)
		(void)fprintf(stderr, "violated: nothing to replay: the corpus is empty\n");
	else
		return 0;
	return 1;
}

int main(int argc, char **argv)
{
	struct progress *progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0;
	pid_t child;

	must(argc > 1 && progress != MAP_FAILED, "replay: give a directory");
	child = fork();
	if (child == 0) {
		run_all(progress, argv + 1);
		exit(0);
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (judge(progress, status) != 0)
		return 1;
	printf("%u inputs\n", progress->inputs);
	return 0;
}
