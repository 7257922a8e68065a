/*
 * writers.c - programs that are upgraded under producers: the writer, and the library itself.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stage.h"

static void copy_file(const char *from, const char *to)
{
	const char *const argv[] = { "/bin/cp", from, to, NULL };

	if (program_run(argv, NULL, DEADLINE_MS) != 0)
		broken("cannot copy %s", from);
}

/* ---- one writer after the other ---- */

static void run_upgrade(struct stage *stage)
{
	char *const directories[2] = { strdup(getenv("SHMLOG_BIN")), stage->directory };
	char copy[PATH_MAX];
	struct shmlog *log;
	struct crew crew;

	(void)snprintf(copy, sizeof(copy), "%s/shmlog-writer", stage->directory);
	copy_file(program_path("shmlog-writer"), copy);
	stage_open(stage, 3);
	log = stage_attach(stage, NULL);
	crew_start(&crew, stage, log, 0, 4);
	for (unsigned i = 0; i < stage_count(stage, 10, 100); i++) {
		push_some(stage, log, 10, 20);
		if (i % 3 == 0)
			stage_kill_writer(stage);
		else
			stage_stop_writer(stage);
		nap_ms(i % 5);
		(void)setenv("SHMLOG_BIN", directories[(i + 1) % 2], 1);
		stage_start_writer(stage);
	}
	(void)setenv("SHMLOG_BIN", directories[0], 1);
	crew_stop(&crew);
	shmlog_detach(&log);
	stage_close(stage);
	free(directories[0]);
}

/* ---- several copies of the library in one process ---- */

struct library {
	void *handle;
	__typeof__(&shmlog_attach) attach;
	__typeof__(&shmlog_detach) detach;
	__typeof__(&shmlog_push_wait) push;
	struct shmlog *log;
};

static void *symbol(const struct library *library, const char *name)
{
	void *at = dlsym(library->handle, name);

	if (!at)
		broken("dlsym: %s", dlerror());
	return at;
}

/* A file of its own is a library of its own. */
static void load(const struct stage *stage, struct library *library, unsigned number)
{
	char from[PATH_MAX], to[PATH_MAX];

	(void)snprintf(from, sizeof(from), "%s/libshmlog.so.%d.%d.%d", getenv("SHMLOG_BIN"),
		       SHMLOG_VERSION_MAJOR, SHMLOG_VERSION_MINOR, SHMLOG_VERSION_PATCH);
	(void)snprintf(to, sizeof(to), "%s/libshmlog.%u.so", stage->directory, number);
	copy_file(from, to);
	library->handle = dlopen(to, RTLD_NOW | RTLD_LOCAL);
	if (!library->handle) { /* initial-exec storage of threads is scarce */
		violated("%s: %s", stage->scenario, dlerror());
		exit(1);
	}
	*(void **)&library->attach = symbol(library, "shmlog_attach");
	*(void **)&library->detach = symbol(library, "shmlog_detach");
	*(void **)&library->push = symbol(library, "shmlog_push_wait");
	if (library->attach(stage->ring, NULL, &library->log) < 0)
		violated("%s: copy %u cannot attach", stage->scenario, number);
}

enum { COPIES = 2 };

struct user {
	pthread_t thread;
	const struct stage *stage;
	const struct library *libraries;
	struct shmlog *log; /* of the library that this program is linked with */
	unsigned first;
};

static void push_by(const struct stage *stage, const struct library *library, unsigned producer)
{
	const uint32_t serial = journal_next(stage->journal, producer);
	char text[JOURNAL_TEXT_MAX];
	const size_t size = journal_text(producer, serial, text);
	int r;

	journal_note(stage->journal, producer, serial, JOURNAL_TRIED);
	r = library->push(library->log, SHMLOG_INFO, text, size, WAIT_NS);
	if (r < 0)
		violated("%s: producer %u cannot publish: %d", stage->scenario, producer, r);
	journal_note(stage->journal, producer, serial,
		     r == 0 ? JOURNAL_PUBLISHED : JOURNAL_DROPPED);
}

static void *use_all(void *argument)
{
	const struct user *user = argument;

	for (unsigned i = 0; !board_read(&user->stage->board->stop) || i < 100; i++) {
		for (unsigned k = 0; k < COPIES && i < RECORDS_MAX / 2; k++)
			push_by(user->stage, &user->libraries[k], user->first + k);
		if (i < RECORDS_MAX / 2)
			push_some(user->stage, user->log, user->first + COPIES, 1);
		if (i == 0)
			board_add(&user->stage->board->ready, 1);
		if (i % 8 == 0)
			nap_ms(1);
	}
	return NULL;
}

static void use_after_close(const struct stage *stage, struct shmlog *log, unsigned number)
{
	const struct library *libraries = (const struct library *)(const void *)log;

	for (unsigned i = 0; i < COPIES; i++)
		for (unsigned k = 0; k < 5; k++)
			push_by(stage, &libraries[i], number + i);
}

/* Loaded, used by all threads, and closed under them: it stays until the process ends. */
static void run_copies(struct stage *stage)
{
	enum { USERS = 3 };
	struct library libraries[COPIES] = { 0 };
	struct user users[USERS];

	stage_open(stage, 6); /* nine bindings: some share lane 0, under three ids */
	for (unsigned i = 0; i < COPIES; i++)
		load(stage, &libraries[i], i);
	for (unsigned i = 0; i < USERS; i++) {
		users[i] = (struct user){ .stage = stage,
					  .libraries = libraries,
					  .log = i ? users[0].log : stage_attach(stage, NULL),
					  .first = 10 * i };
		if (pthread_create(&users[i].thread, NULL, use_all, &users[i]) != 0)
			broken("pthread_create");
	}
	board_wait(&stage->board->ready, USERS, "the users");
	for (unsigned i = 0; i < COPIES; i++)
		(void)dlclose(libraries[i].handle);
	for (unsigned i = 0; i < stage_count(stage, 20, 300); i++)
		stage_join(stage, stage_fork(stage, use_after_close,
					     (struct shmlog *)(void *)libraries, 100 + 10 * i));
	board_add(&stage->board->stop, 1);
	for (unsigned i = 0; i < USERS; i++)
		pthread_join(users[i].thread, NULL);
	for (unsigned i = 0; i < COPIES; i++)
		libraries[i].detach(&libraries[i].log);
	shmlog_detach(&users[0].log);
	stage_close(stage);
}

const struct scenario writer_scenarios[] = {
	{ "writer-upgraded", run_upgrade },
	{ "copies-of-the-library", run_copies },
	{ 0 },
};
