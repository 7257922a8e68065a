/*
 * stage.h - a ring, the shmlog-writer that drains it, and the log that is read back at the end.
 *
 * What was pushed and dropped is counted by whoever pushes; what came of it is what the reader
 * finds on disk when the writer has ended. At most STAGES_MAX are open at a time; those that a
 * benchmark leaves open when it ends are taken down at exit.
 */
#ifndef SHMLOG_BENCH_STAGE_H
#define SHMLOG_BENCH_STAGE_H

#include <sys/types.h>

#include "base.h"
#include "shmlog.h"

enum { STAGES_MAX = 8, STAGE_OPTIONS_MAX = 24 };

struct stage {
	char ring[64];
	char directory[256];
	struct shmlog *log;
	pid_t writer; /* 0: none                                                             */
};

/* What the log says when it is complete. */
struct stage_count {
	uint64_t records; /* of producers                                                    */
	uint64_t lost;    /* marked as dropped                                               */
	uint64_t bytes;   /* of all files, as they were sealed                               */
	double writer_cpu_s;
};

/* @options: of the ring; all but the fields that describe it are set here. @writer_options: of
 * shmlog-writer, behind those that all have; NULL-terminated. The writer runs, and sleeps. */
void stage_open(struct stage *stage, struct shmlog_options options,
		const char *const writer_options[]);

/* The same in two steps: a ring that nobody drains yet; its writer. @parent: of the log's
 * directory.
 */
void stage_open_ring(struct stage *stage, struct shmlog_options options, const char *parent);
void stage_start_writer(struct stage *stage, const char *const writer_options[]);

/* It drains the rest and ends; the log stays, for another. Returns its processor time. */
double stage_stop_writer(struct stage *stage);

/* The writer has taken and written what this thread has pushed, and sleeps again. */
void stage_drain(struct stage *stage);

/* What the calling thread has pushed is durable. */
void stage_sync(struct stage *stage);

/* The writer drains the rest and ends; the log is read; ring and log are removed. */
void stage_close(struct stage *stage, struct stage_count *ret);

/* The path of one of shmlog's programs, below the build directory that this one was built in. */
void find_program(const char *name, char *path, size_t size);

#endif
