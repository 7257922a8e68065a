/*
 * load.c - one run of records through a ring to the disk. See load.h.
 */
#include "load.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "atomic.h"
#include "ring_layout.h"
#include "segment.h"
#include "stage.h"

enum {
	MIB = 1024 * 1024,
	PROBE_LOOK_US = 20,
	PROBE_PAUSE_US = 500,
};

static const uint8_t payload[LOAD_SIZE_MAX];

const char *load_directory(const struct load *load)
{
	return load->in_memory ? memory_directory() : bench.directory;
}

static _Noreturn void produce(struct shmlog *log, uint32_t size, uint64_t records,
			      struct start_line *line)
{
	int r = shmlog_bind(log);

	start_line_wait(line);
	for (uint64_t i = 0; i < records && r == 0; i++)
		r = shmlog_push_wait(log, SHMLOG_INFO, payload, size, -1);
	if (r == 0)
		r = shmlog_sync(log, SHMLOG_SYNC_DURABLE, -1);
	_exit(r != 0);
}

/* The lane that this thread is bound to. */
static const struct lane_status *own_status(const struct segment_view *view)
{
	const uint32_t tid = (uint32_t)syscall(SYS_gettid);

	for (uint32_t i = 1; i < view_header(view)->lanes; i++)
		if (view_lane_page(view, i)->line.tid == tid)
			return view_lane_status(view, i);
	die("the probe has no lane", -EAGAIN);
}

/* From publish to written, again and again, in a lane of its own, until it is killed. @ret: in
 * shared memory. */
static _Noreturn void probe(const struct stage *stage, struct samples *ret, struct start_line *line)
{
	const struct lane_status *status;
	struct segment segment;
	struct segment_view view;

	(void)prctl(PR_SET_TIMERSLACK, 1);
	if (shmlog_bind(stage->log) < 0 ||
	    segment_open(&sys_real, stage->ring, O_RDONLY, &segment) < 0 ||
	    segment_view(&segment, &view) < 0)
		die("probe", -EIO);
	status = own_status(&view);
	start_line_wait(line);
	for (;;) {
		const uint64_t before = load_relaxed(&status->records_written);
		const uint64_t began = clock_monotonic_ns();

		if (shmlog_push_wait(stage->log, SHMLOG_INFO, payload, 40, -1) < 0)
			_exit(1);
		while (load_relaxed(&status->records_written) == before)
			nap_us(PROBE_LOOK_US);
		samples_add(ret, (double)(clock_monotonic_ns() - began) / NS_PER_US);
		nap_us(PROBE_PAUSE_US);
	}
}

static void open_ring(struct stage *stage, const struct load *load)
{
	const char *const options[] = { "--io", load->io, "--stop-timeout", "1m", NULL };
	const struct shmlog_options ring = { .lanes = load->producers + 3,
					     .lane_size = (uint64_t)load->lane_mib * MIB };

	stage_open_ring(stage, ring, load_directory(load));
	stage_start_writer(stage, options);
	stage_drain(stage);
}

static uint64_t records_of(const struct load *load)
{
	return load->records / load->producers * load->producers;
}

/* A probe's last record may have come through although it was killed before it took the time. */
static bool is_complete(const struct load *load, const struct samples *latencies,
			const struct stage_count *found)
{
	const uint64_t least = records_of(load) + (latencies ? latencies->count : 0);

	return found->lost == 0 && found->records >= least &&
	       found->records <= least + (latencies ? 1 : 0);
}

/* @latencies: NULL, or in shared memory: beside a probe. */
void run_load(const struct load *load, struct samples *latencies, struct load_result *ret)
{
	struct start_line *line = shared_memory(sizeof(*line));
	pid_t producers[LOAD_PRODUCERS_MAX], prober = 0;
	struct stage_count found;
	struct stage stage;
	uint64_t began;

	*ret = (struct load_result){ .is_sound = true };
	start_line_init(line);
	open_ring(&stage, load);
	if (latencies && (prober = bench_fork(bench.producer_cpu)) == 0)
		probe(&stage, latencies, line);
	for (unsigned i = 0; i < load->producers; i++) {
		producers[i] = bench_fork(bench.producer_cpu);
		if (producers[i] == 0)
			produce(stage.log, load->size, load->records / load->producers, line);
	}
	began = start_line_go(line, load->producers + (latencies ? 1 : 0));
	for (unsigned i = 0; i < load->producers; i++) {
		double cpu_s;

		ret->is_sound &= bench_wait(producers[i], 0, &cpu_s) == 0;
		ret->producer_cpu_s += cpu_s;
	}
	ret->seconds = seconds_since(began);
	if (prober)
		(void)bench_wait(prober, SIGKILL, NULL);
	stage_close(&stage, &found);
	ret->writer_cpu_s = found.writer_cpu_s;
	ret->bytes = found.bytes;
	ret->is_sound &= is_complete(load, latencies, &found);
	(void)munmap(line, sizeof(*line));
}
