/*
 * work.c - where a suite works. See work.h.
 */
#include "work.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

enum { WALK_FILES = 16 };

static char work[WORK_PATH_SIZE / 2];
static char name_of_suite[32];
static char path_of_ring[WORK_PATH_SIZE];
static pid_t owner;

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *unused)
{
	(void)status, (void)type, (void)unused;
	return remove(path);
}

static void remove_tree(const char *path)
{
	(void)nftw(path, remove_one, WALK_FILES, FTW_DEPTH | FTW_PHYS);
}

void work_ring_path(char path[WORK_PATH_SIZE], const char *ring)
{
	const char *directory = getenv("SHMLOG_SHM_DIR");

	(void)snprintf(path, WORK_PATH_SIZE, "%.100s/shmlog.%.60s",
		       directory ? directory : "/dev/shm", ring);
}

static void work_close(void)
{
	char ring[WORK_RING_SIZE];

	work_ring_name(ring);
	work_begin(ring, work);
}

/* A child that ends with broken() leaves it to its parent. */
static void close_ours(void)
{
	if (getpid() == owner && !getenv("KEEP"))
		work_close();
}

/* The children go with us; a shell removes what they worked on, a moment later. */
static void interrupted(int signal)
{
	const char *const argv[] = { "sh", "-c",         "sleep 1; exec rm -rf \"$0\" \"$1\"",
				     work, path_of_ring, NULL };

	if (getpid() == owner && fork() == 0)
		(void)execv("/bin/sh", (char *const *)(uintptr_t)argv);
	_exit(128 + signal);
}

static void clean_up_when_interrupted(void)
{
	struct sigaction action = { .sa_handler = interrupted };
	char ring[WORK_RING_SIZE];

	(void)sigfillset(
		&action.sa_mask); /* the shell inherits it: a second signal does not end it */
	work_ring_name(ring);
	work_ring_path(path_of_ring, ring);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGHUP, &action, NULL);
}

void work_open(const char *under, const char *suite)
{
	const char *temporary = getenv("TMPDIR");

	if (!under)
		under = temporary ? temporary : "/tmp";
	(void)snprintf(name_of_suite, sizeof(name_of_suite), "%.31s", suite);
	(void)snprintf(work, sizeof(work), "%.60s/%.20s.XXXXXX", under, suite);
	if (!mkdtemp(work))
		broken("%s: %s", work, strerror(errno));
	owner = getpid();
	(void)atexit(close_ours);
	clean_up_when_interrupted();
}

void work_ring_name(char ring[WORK_RING_SIZE])
{
	(void)snprintf(ring, WORK_RING_SIZE, "%.31s.%d", name_of_suite, (int)getpid());
}

void work_path(char path[WORK_PATH_SIZE], const char *name)
{
	(void)snprintf(path, WORK_PATH_SIZE, "%s/%s", work, name);
}

void work_begin(const char *ring, const char *directory)
{
	char path[WORK_PATH_SIZE];

	work_ring_path(path, ring);
	(void)unlink(path);
	remove_tree(directory);
}

bool work_ring_exists(void *ring)
{
	char path[WORK_PATH_SIZE];

	work_ring_path(path, ring);
	return access(path, F_OK) == 0;
}

void work_print(const char *path)
{
	char line[400];
	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof(line), file))
		(void)fprintf(stderr, "    %s", line);
	if (file)
		(void)fclose(file);
}
