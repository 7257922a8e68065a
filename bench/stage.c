/*
 * stage.c - rings, their writers, their logs. See stage.h.
 */
#include "stage.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common.h"
#include "shmlog_reader.h"

enum { SYNC_TIMEOUT_S = 60, PAUSE_US = 300 };

static struct stage *stages[STAGES_MAX];

/* ---- the end ---- */

static void unlink_ring(const struct stage *stage)
{
	char name[sizeof(stage->ring) + 16];

	(void)snprintf(name, sizeof(name), "/shmlog.%s", stage->ring);
	(void)shm_unlink(name);
}

static void forget(const struct stage *stage)
{
	for (size_t i = 0; i < STAGES_MAX; i++)
		if (stages[i] == stage)
			stages[i] = NULL;
}

static void take_down(void)
{
	for (size_t i = 0; i < STAGES_MAX; i++) {
		if (!stages[i])
			continue;
		if (stages[i]->writer)
			(void)bench_wait(stages[i]->writer, SIGKILL, NULL);
		unlink_ring(stages[i]);
	}
}

static void remember(struct stage *stage)
{
	bench_at_exit(take_down);
	for (size_t i = 0; i < STAGES_MAX; i++) {
		if (stages[i])
			continue;
		stages[i] = stage;
		return;
	}
	die("too many rings at a time", -ENOSPC);
}

/* ---- the writer ---- */

void find_program(const char *name, char *path, size_t size)
{
	const ssize_t length = readlink("/proc/self/exe", path, size - 1);

	if (length < 0)
		die("/proc/self/exe", -errno);
	path[length] = '\0';
	for (int i = 0; i < 2 && strrchr(path, '/'); i++)
		*strrchr(path, '/') = '\0';
	if (strlen(path) + 1 + strlen(name) + 1 > size)
		die(name, -ENAMETOOLONG);
	(void)strcat(strcat(path, "/"), name);
	if (access(path, X_OK) < 0)
		die(path, -errno);
}

static _Noreturn void exec_writer(const struct stage *stage, const char *const writer_options[])
{
	char path[PATH_MAX], cpu[16];
	const char *argv[STAGE_OPTIONS_MAX + 1] = {
		"shmlog-writer",  "-r",    stage->ring, "-d",
		stage->directory, "--cpu", cpu,         "--no-compress"
	};
	size_t count = 8;

	(void)snprintf(cpu, sizeof(cpu), "%d", bench.consumer_cpu);
	for (size_t i = 0; writer_options && writer_options[i] && count < STAGE_OPTIONS_MAX; i++)
		argv[count++] = writer_options[i];
	find_program("shmlog-writer", path, sizeof(path));
	execv(path, (char *const *)(uintptr_t)argv);
	_exit(127);
}

void stage_start_writer(struct stage *stage, const char *const writer_options[])
{
	const pid_t pid = bench_fork(bench.consumer_cpu);

	if (pid == 0)
		exec_writer(stage, writer_options);
	stage->writer = pid;
}

double stage_stop_writer(struct stage *stage)
{
	double cpu_s = 0;

	if (stage->writer && bench_wait(stage->writer, SIGTERM, &cpu_s) && !bench_is_over())
		die("shmlog-writer did not end well", -EIO);
	stage->writer = 0;
	return cpu_s;
}

/* ---- the ring ---- */

void stage_open_ring(struct stage *stage, struct shmlog_options options, const char *parent)
{
	static unsigned number;
	int r;

	*stage = (struct stage){ .writer = 0 };
	(void)snprintf(stage->ring, sizeof(stage->ring), "bench-%d-%u", (int)getpid(), ++number);
	(void)snprintf(stage->directory, sizeof(stage->directory), "%s/log-%u", parent, number);
	options.size = sizeof(options);
	options.name = "bench";
	options.create = 1;
	remember(stage);
	r = shmlog_attach(stage->ring, &options, &stage->log);
	if (r < 0)
		die(shmlog_reason(), r);
}

void stage_open(struct stage *stage, struct shmlog_options options,
		const char *const writer_options[])
{
	stage_open_ring(stage, options, bench.directory);
	stage_start_writer(stage, writer_options);
	if (shmlog_bind(stage->log) < 0)
		die("bind", -EAGAIN);
	stage_drain(stage);
}

static void sync_or_die(struct stage *stage, int what)
{
	int r = -ETIMEDOUT;

	for (int i = 0; i < SYNC_TIMEOUT_S && r == -ETIMEDOUT && !bench_is_over(); i++)
		r = shmlog_sync(stage->log, what, NS_PER_S);
	if (r < 0 && !bench_is_over())
		die("sync", r);
}

void stage_drain(struct stage *stage)
{
	sync_or_die(stage, SHMLOG_SYNC_WRITTEN);
	nap_us(PAUSE_US);
}

void stage_sync(struct stage *stage)
{
	sync_or_die(stage, SHMLOG_SYNC_DURABLE);
}

/* ---- the log ---- */

static uint64_t tree_bytes;

static int add_size(const char *path, const struct stat *status, int type, struct FTW *at)
{
	(void)path;
	(void)at;
	if (type == FTW_F)
		tree_bytes += (uint64_t)status->st_size;
	return 0;
}

static void count_log(const char *directory, struct stage_count *ret)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;
	int r;

	options.unmerged = 1;
	*ret = (struct stage_count){ 0 };
	r = shmlog_reader_open(directory, &options, &reader);
	if (r < 0)
		die(shmlog_reason(), r);
	while (!bench_is_over() && (r = shmlog_reader_next(reader, &record)) == 0) {
		ret->records += record.kind == SHMLOG_DATA;
		ret->lost += record.lost_total;
	}
	shmlog_reader_close(&reader);
	if (r < 0 && r != -ENODATA)
		die(shmlog_reason(), r);
	tree_bytes = 0;
	(void)nftw(directory, add_size, 16, FTW_PHYS);
	ret->bytes = tree_bytes;
}

void stage_close(struct stage *stage, struct stage_count *ret)
{
	double cpu_s;

	shmlog_detach(&stage->log);
	cpu_s = stage_stop_writer(stage);
	count_log(stage->directory, ret);
	ret->writer_cpu_s = cpu_s;
	unlink_ring(stage);
	forget(stage);
	remove_tree(stage->directory);
}
