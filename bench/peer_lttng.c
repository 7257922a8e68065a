/*
 * peer_lttng.c - LTTng-UST: a session daemon of our own, a session for each opening. See peers.h.
 *
 * The tracepoint is in lttng_provider.so, loaded when the daemon runs. A daemon that was there
 * before is used, and left running; ours ends with us, and what it leaves in /dev/shm is removed.
 */
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "peers.h"

#define SESSION "shmlog-bench"

enum { START_TRIES = 200, START_NAP_US = 50000 };

static struct lttng_peer {
	char path[PATH_MAX];
	pid_t daemon; /* ours; 0: none                                                       */
	void (*log)(const void *data, size_t size);
} peer;

/* ---- commands ---- */

static _Noreturn void execute(const char *const argv[], int output)
{
	const int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)dup2(output < 0 ? nowhere : output, STDOUT_FILENO);
	(void)dup2(nowhere, STDERR_FILENO);
	(void)execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* @output: where its standard output goes; -1: nowhere. */
static pid_t start(const char *const argv[], int output)
{
	const pid_t pid = bench_fork(bench.consumer_cpu);

	if (pid == 0)
		execute(argv, output);
	return pid;
}

/* Exit status. */
static int run(const char *const argv[])
{
	return bench_wait(start(argv, -1), 0, NULL);
}

#define RUN(...)   run((const char *const[]){ __VA_ARGS__, NULL })
#define LTTNG(...) must(RUN("lttng", "--no-sessiond", __VA_ARGS__))

static void must(int status)
{
	if (status && !bench_is_over())
		die("lttng", -EIO);
}

/* ---- the daemon ---- */

static void remove_leftovers(void)
{
	glob_t found;

	if (glob("/dev/shm/lttng-ust-wait-*", 0, NULL, &found) == 0)
		for (size_t i = 0; i < found.gl_pathc; i++)
			(void)unlink(found.gl_pathv[i]);
	globfree(&found);
}

static void stop_daemon(void)
{
	if (!peer.daemon)
		return;
	(void)bench_wait(peer.daemon, SIGTERM, NULL);
	remove_leftovers();
}

static bool is_daemon_there(void)
{
	return RUN("lttng", "--no-sessiond", "list") == 0;
}

static void start_daemon(void)
{
	static const char *const argv[] = { "lttng-sessiond", "--no-kernel", NULL };

	if (is_daemon_there())
		return;
	bench_at_exit(stop_daemon);
	peer.daemon = start(argv, -1);
	for (unsigned i = 0; i < START_TRIES && !is_daemon_there() && !bench_is_over(); i++)
		nap_us(START_NAP_US);
}

/* ---- the peer ---- */

static const char *lttng_missing(void)
{
	if (RUN("lttng", "--version") || RUN("lttng-sessiond", "--version"))
		return "no lttng-tools";
	if (RUN("babeltrace2", "--version"))
		return "no babeltrace2";
	start_daemon();
	peer.log = peer_symbol("lttng_provider.so", "lttng_provider_log");
	return peer.log ? NULL : "liblttng-ust-dev was not there when it was built";
}

static void lttng_open(const char *directory, bool is_flood)
{
	char output[PATH_MAX + 16];

	(void)is_flood;
	(void)snprintf(peer.path, sizeof(peer.path), "%s/lttng", directory);
	(void)snprintf(output, sizeof(output), "--output=%s", peer.path);
	LTTNG("create", SESSION, output);
	LTTNG("enable-channel", "-u", "-s", SESSION, "--discard", "--subbuf-size=4M",
	      "--num-subbuf=16", "channel");
	LTTNG("enable-event", "-u", "-s", SESSION, "-c", "channel", "shmlog_bench:record");
	LTTNG("start", SESSION);
}

static void lttng_log(const void *data, size_t size)
{
	peer.log(data, size);
}

/* Everything is in its files, and those on disk: it syncs nothing itself. */
static void lttng_finish(void)
{
	const int fd = open(peer.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	LTTNG("stop", SESSION);
	(void)syncfs(fd);
	(void)close(fd);
}

/* "123 Event messages", now and then, the last at the end; among others. */
static uint64_t last_count(FILE *output)
{
	char line[256], *words;
	uint64_t count = 0;

	while (output && fgets(line, sizeof(line), output)) {
		const uint64_t number = strtoull(line, &words, 10);

		if (strstr(words, " Event message"))
			count = number;
	}
	return count;
}

static uint64_t lttng_count(void)
{
	const char *const argv[] = { "babeltrace2", peer.path, "-c", "sink.utils.counter", NULL };
	uint64_t count;
	int ends[2];
	FILE *output;
	pid_t pid;

	LTTNG("destroy", SESSION);
	if (pipe2(ends, O_CLOEXEC) < 0)
		die("pipe", -errno);
	pid = start(argv, ends[1]);
	(void)close(ends[1]);
	output = fdopen(ends[0], "r");
	count = last_count(output);
	if (output)
		(void)fclose(output);
	must(bench_wait(pid, 0, NULL));
	return count;
}

static void lttng_close(void)
{
	remove_tree(peer.path);
}

const struct peer peer_lttng = {
	.name = "LTTng-UST",
	.asked = "one tracepoint, 16 sub-buffers of 4 MiB a processor, discard mode",
	.missing = lttng_missing,
	.open = lttng_open,
	.log = lttng_log,
	.finish = lttng_finish,
	.count = lttng_count,
	.close = lttng_close,
};
