/*
 * spdlog_glue.h - what peer_spdlog.c calls of spdlog_glue.cc, which is a shared object.
 */
#ifndef SHMLOG_BENCH_SPDLOG_GLUE_H
#define SHMLOG_BENCH_SPDLOG_GLUE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 0 or -1. Its thread runs on @processor. */
__attribute__((visibility("default"))) int spdlog_glue_open(const char *path, int processor);
__attribute__((visibility("default"))) void spdlog_glue_log(const void *data, size_t size);

/* All is in the file, and closed. */
__attribute__((visibility("default"))) void spdlog_glue_finish(void);

#ifdef __cplusplus
}
#endif

#endif
