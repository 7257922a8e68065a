/*
 * lttng_provider.c - one LTTng-UST tracepoint behind a C function; a shared object, because loading
 * it registers the process with the session daemon, which must run by then.
 */
#define LTTNG_UST_TRACEPOINT_CREATE_PROBES
#define LTTNG_UST_TRACEPOINT_DEFINE
#include "lttng_provider.h"

__attribute__((visibility("default"))) void lttng_provider_log(const void *data, size_t size);

void lttng_provider_log(const void *data, size_t size)
{
	lttng_ust_tracepoint(shmlog_bench, record, data, size);
}
