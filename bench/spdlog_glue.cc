/*
 * spdlog_glue.cc - spdlog's asynchronous logger behind three C functions. See spdlog_glue.h.
 */
#include "spdlog_glue.h"

#include <sched.h>
#include <spdlog/async.h>
#include <spdlog/sinks/basic_file_sink.h>

static constexpr size_t slots = 262144;

static std::shared_ptr<spdlog::details::thread_pool> pool;
static std::shared_ptr<spdlog::logger> logger;

static void run_on(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

int spdlog_glue_open(const char *path, int processor)
{
	try {
		auto sink = std::make_shared<spdlog::sinks::basic_file_sink_st>(path, true);

		pool = std::make_shared<spdlog::details::thread_pool>(
			slots, 1, [processor] { run_on(processor); });
		logger = std::make_shared<spdlog::async_logger>(
			"bench", sink, pool, spdlog::async_overflow_policy::block);
		logger->set_pattern("%v");
	} catch (const std::exception &) {
		return -1;
	}
	return 0;
}

void spdlog_glue_log(const void *data, size_t size)
{
	logger->info(spdlog::string_view_t(static_cast<const char *>(data), size));
}

void spdlog_glue_finish(void)
{
	logger->flush();
	logger.reset(); /* the sink goes with the last message that names it */
	pool.reset();   /* waits for its thread */
}
