/*
 * point.h - named points of the writer's work: statically defined tracepoints.
 *
 * A point costs one nop, and a note in the program that says where it is: perf and bpftrace can
 * trace it (docs/TRACING.md has the list), and tests/crash-writer kills the writer at it. Each is
 * named after the side effect that another process can see from there on.
 */
#ifndef SHMLOG_WRITER_POINT_H
#define SHMLOG_WRITER_POINT_H

#include <sys/sdt.h>

#define POINT(name) DTRACE_PROBE(shmlog, name)

#endif
