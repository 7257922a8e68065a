/*
 * peer_spdlog.c - spdlog's asynchronous logger, through spdlog_glue.cc. See peers.h.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"
#include "peers.h"
#include "spdlog_glue.h"

enum { LINE_BYTES = 41 };

static struct spdlog_peer {
	char path[PATH_MAX];
	__typeof__(&spdlog_glue_log) log;
} peer;

static void *glue(const char *name)
{
	return peer_symbol("spdlog_glue.so", name);
}

static const char *spdlog_missing(void)
{
	return glue("spdlog_glue_open") ? NULL : "libspdlog-dev was not there when it was built";
}

static void spdlog_open(const char *directory, bool is_flood)
{
	__typeof__(&spdlog_glue_open) open_logger = glue("spdlog_glue_open");

	(void)is_flood;
	(void)snprintf(peer.path, sizeof(peer.path), "%s/spdlog", directory);
	peer.log = glue("spdlog_glue_log");
	if (open_logger(peer.path, bench.consumer_cpu) < 0)
		die("spdlog", -EIO);
}

static void spdlog_log(const void *data, size_t size)
{
	peer.log(data, size);
}

static void spdlog_finish(void)
{
	__typeof__(&spdlog_glue_finish) finish = glue("spdlog_glue_finish");
	const int fd = open(peer.path, O_RDONLY | O_CLOEXEC);

	finish();
	(void)fdatasync(fd);
	(void)close(fd);
}

static uint64_t spdlog_count(void)
{
	struct stat status;

	return stat(peer.path, &status) < 0 ? 0 : (uint64_t)status.st_size / LINE_BYTES;
}

static void spdlog_close(void)
{
	(void)unlink(peer.path);
}

const struct peer peer_spdlog = {
	.name = "spdlog async",
	.asked = "one thread, 262,144 slots, pattern %v, basic_file_sink; full: waits",
	.missing = spdlog_missing,
	.open = spdlog_open,
	.log = spdlog_log,
	.finish = spdlog_finish,
	.count = spdlog_count,
	.close = spdlog_close,
};
