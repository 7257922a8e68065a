/*
 * peer_own.c - the peers that need nothing but this tree and the kernel: shmlog, write(2), and a
 * datagram socket with a reader behind it, as syslog has. See peers.h.
 */
#include "peers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common.h"
#include "stage.h"

enum { RECORD_BYTES = 40, LINE_BYTES = RECORD_BYTES + 1, LANE_BYTES = 16 * 1024 * 1024 };

static const char *nothing_missing(void)
{
	return NULL;
}

/* ---- shmlog ---- */

static struct shmlog_peer {
	struct stage stage;
	struct stage_count found;
	bool may_wait;
} ours;

static void shmlog_open(const char *directory, bool is_flood)
{
	const struct shmlog_options options = { .lanes = 2, .lane_size = LANE_BYTES };

	(void)directory;
	ours.may_wait = is_flood;
	stage_open(&ours.stage, options, NULL);
}

static void shmlog_log(const void *data, size_t size)
{
	int r;

	if (!ours.may_wait) {
		(void)shmlog_try_push(ours.stage.log, data, size);
		return;
	}
	do
		r = shmlog_push_wait(ours.stage.log, SHMLOG_INFO, data, size, NS_PER_S);
	while (r == -ETIMEDOUT && !bench_is_over());
}

static void shmlog_finish(void)
{
	stage_sync(&ours.stage);
}

static uint64_t shmlog_count(void)
{
	stage_close(&ours.stage, &ours.found);
	return ours.found.records;
}

static void shmlog_close(void)
{
}

const struct peer peer_shmlog = {
	.name = "shmlog",
	.asked = "own lane of 16 MiB, TSC stamp, O_DIRECT; flood: waits for room",
	.missing = nothing_missing,
	.open = shmlog_open,
	.log = shmlog_log,
	.finish = shmlog_finish,
	.count = shmlog_count,
	.close = shmlog_close,
};

/* ---- a file of lines ---- */

struct line_file {
	char path[PATH_MAX];
	int fd;
};

static void lines_open(struct line_file *file, const char *directory)
{
	(void)snprintf(file->path, sizeof(file->path), "%s/lines", directory);
	file->fd = open(file->path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (file->fd < 0)
		die(file->path, -errno);
}

static uint64_t lines_count(const struct line_file *file)
{
	struct stat status;

	return fstat(file->fd, &status) < 0 ? 0 : (uint64_t)status.st_size / LINE_BYTES;
}

static void lines_close(const struct line_file *file)
{
	(void)close(file->fd);
	(void)unlink(file->path);
}

/* ---- write(2) ---- */

static struct line_file appended;

static void write_open(const char *directory, bool is_flood)
{
	(void)is_flood;
	lines_open(&appended, directory);
}

static void write_log(const void *data, size_t size)
{
	char line[LINE_BYTES];

	memcpy(line, data, size);
	line[size] = '\n';
	if (write(appended.fd, line, size + 1) < 0)
		die(appended.path, -errno);
}

static void write_finish(void)
{
	(void)fdatasync(appended.fd);
}

static uint64_t write_count(void)
{
	return lines_count(&appended);
}

static void write_close(void)
{
	lines_close(&appended);
}

const struct peer peer_write = {
	.name = "write(2)",
	.asked = "O_APPEND, one call a record, no stamp",
	.missing = nothing_missing,
	.open = write_open,
	.log = write_log,
	.finish = write_finish,
	.count = write_count,
	.close = write_close,
};

/* ---- datagrams ---- */

static struct datagram_peer {
	struct line_file file;
	int socket;   /* the sender's end                                                    */
	pid_t reader; /* at the other                                                        */
} sent;

/* Lines into the file until an empty datagram comes. */
static _Noreturn void read_datagrams(int socket)
{
	FILE *file = fdopen(sent.file.fd, "a");
	char data[RECORD_BYTES];
	ssize_t size;

	while (file && (size = recv(socket, data, sizeof(data), 0)) > 0) {
		(void)fwrite(data, 1, (size_t)size, file);
		(void)fputc('\n', file);
	}
	_exit(!file || fflush(file) || fdatasync(sent.file.fd) < 0);
}

static void datagram_open(const char *directory, bool is_flood)
{
	int ends[2];

	(void)is_flood;
	lines_open(&sent.file, directory);
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) < 0)
		die("socketpair", -errno);
	sent.reader = bench_fork(bench.consumer_cpu);
	if (sent.reader == 0) {
		(void)close(ends[0]);
		read_datagrams(ends[1]);
	}
	(void)close(ends[1]);
	sent.socket = ends[0];
}

static void datagram_log(const void *data, size_t size)
{
	if (send(sent.socket, data, size, MSG_NOSIGNAL) < 0 && !bench_is_over())
		die("datagram", -errno);
}

static void datagram_finish(void)
{
	(void)send(sent.socket, "", 0, MSG_NOSIGNAL);
	if (bench_wait(sent.reader, 0, NULL) && !bench_is_over())
		die("the datagrams' reader", -EIO);
	(void)close(sent.socket);
}

static uint64_t datagram_count(void)
{
	return lines_count(&sent.file);
}

static void datagram_close(void)
{
	lines_close(&sent.file);
}

const struct peer peer_datagram = {
	.name = "datagrams",
	.asked = "AF_UNIX, one a record, blocking as syslog(3); a reader writes lines",
	.missing = nothing_missing,
	.open = datagram_open,
	.log = datagram_log,
	.finish = datagram_finish,
	.count = datagram_count,
	.close = datagram_close,
};
