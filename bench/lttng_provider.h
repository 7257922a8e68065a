/*
 * lttng_provider.h - the tracepoint of lttng_provider.c: one record of bytes. Included more than
 * once, as lttng/tracepoint-event.h demands.
 */
#undef LTTNG_UST_TRACEPOINT_PROVIDER
#define LTTNG_UST_TRACEPOINT_PROVIDER shmlog_bench
#undef LTTNG_UST_TRACEPOINT_INCLUDE
#define LTTNG_UST_TRACEPOINT_INCLUDE "lttng_provider.h"

#if !defined(SHMLOG_BENCH_LTTNG_PROVIDER_H) || defined(LTTNG_UST_TRACEPOINT_HEADER_MULTI_READ)
#define SHMLOG_BENCH_LTTNG_PROVIDER_H

#include <lttng/tracepoint.h>
#include <stddef.h>

LTTNG_UST_TRACEPOINT_EVENT(shmlog_bench, record,
			   LTTNG_UST_TP_ARGS(const char *, data, size_t, size),
			   LTTNG_UST_TP_FIELDS(lttng_ust_field_sequence_text(char, message, data,
									     unsigned short, size)))

#endif

#include <lttng/tracepoint-event.h>
