/* ring_fixture.c - see ring_fixture.h. */
#include "ring_fixture.h"

#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "attachment.h"

/* ---- names ---- */

static void sweep(const char *prefix)
{
	char **names;
	size_t count;
	char path[512];

	if (segment_names(&sys_real, &names, &count) < 0)
		return;
	for (size_t i = 0; i < count; i++) {
		if (strncmp(names[i], prefix, strlen(prefix)) != 0)
			continue;
		test_ring_path(names[i], path);
		(void)unlink(path);
	}
	segment_names_free(names, count);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
	char prefix[32];

	(void)stats;
	snprintf(prefix, sizeof(prefix), "unit-%d-", (int)getpid());
	sweep(prefix);
}

void test_ring_sweep(void)
{
	char prefix[48];

	snprintf(prefix, sizeof(prefix), "unit-%d-%d-", (int)getppid(), (int)getpid());
	sweep(prefix);
}

void test_ring_path(const char *name, char path[512])
{
	snprintf(path, 512, "%s/shmlog.%s", segment_directory(), name);
}

/* Criterion runs each test in a child of the runner. */
void test_ring_name(char name[64])
{
	static unsigned made;

	snprintf(name, 64, "unit-%d-%d-%u", (int)getppid(), (int)getpid(), made++);
}

/* ---- rings ---- */

static void make_named(struct test_ring *ring, uint32_t lanes, uint64_t lane_size)
{
	const struct segment_options options = { .lanes = lanes,
						 .lane_size = lane_size,
						 .group = (gid_t)-1 };
	char name[64];

	memcpy(name, ring->name, sizeof(name));
	cr_assert(segment_create(&sys_real, name, &options) == 0, "%s", reason_get());
	test_ring_open(ring, name);
}

void test_ring_make(struct test_ring *ring, uint32_t lanes, uint64_t lane_size)
{
	test_ring_name(ring->name);
	make_named(ring, lanes, lane_size);
}

void test_ring_make_again(struct test_ring *fresh, const struct test_ring *ring, uint32_t lanes)
{
	memcpy(fresh->name, ring->name, sizeof(fresh->name));
	make_named(fresh, lanes, LANE_MIN);
}

void test_ring_open(struct test_ring *ring, const char *name)
{
	void *memory;

	*ring = (struct test_ring){ 0 };
	snprintf(ring->name, sizeof(ring->name), "%s", name);
	cr_assert(segment_open(&sys_real, name, O_RDWR, &ring->segment) == 0, "%s", reason_get());
	cr_assert(segment_view(&ring->segment, &ring->view) == 0);
	cr_assert(segment_map(&ring->segment, ring->segment.fd, 0, ring->segment.geometry.size,
			      true, &memory) == 0);
	ring->writable = memory;
}

void test_ring_close(struct test_ring *ring)
{
	segment_view_close(&ring->view);
	cr_assert(sys_real.unmap(ring->writable, ring->segment.geometry.size) == 0);
	segment_close(&ring->segment);
}

void test_remove(const struct test_ring *ring)
{
	uint64_t undrained;

	cr_assert(segment_remove(&sys_real, ring->name, true, &undrained) == 0, "%s", reason_get());
}

/* ---- the writer's part ---- */

struct lane_status *test_lane_status(const struct test_ring *ring, uint32_t lane)
{
	const uint64_t at = geometry_lane_status_offset(&ring->segment.geometry, lane);

	return (struct lane_status *)(void *)(ring->writable + at);
}

struct writer_status *test_writer(const struct test_ring *ring)
{
	const uint64_t at = ring->segment.geometry.status_offset;

	return (struct writer_status *)(void *)(ring->writable + at);
}

struct lane_page *test_lane_page(const struct test_ring *ring, uint32_t lane)
{
	const uint64_t at = geometry_lane_offset(&ring->segment.geometry, lane);

	return (struct lane_page *)(void *)(ring->writable + at);
}

void test_lane(const struct test_ring *ring, uint32_t lane, struct lane *ret)
{
	const struct geometry *geometry = &ring->segment.geometry;
	uint8_t *base = ring->writable + geometry_lane_offset(geometry, lane);

	lane_init(ret, base + geometry->words_offset, base + geometry->blocks_offset,
		  geometry->blocks, geometry->record_max);
}

struct reading {
	uint64_t position;
	size_t count;
	size_t data;
	enum take stop;
};

static struct reading read_lane(const struct test_ring *ring, uint32_t lane_no, uint64_t from,
				struct seen *ret, size_t max)
{
	struct reading reading = { .position = from };
	struct taken taken;
	struct lane lane;

	view_lane(&ring->view, lane_no, &lane);
	while ((reading.stop = ring_look(&lane, reading.position, &taken)) == TAKE_RECORD ||
	       reading.stop == TAKE_SKIP) {
		if (reading.stop == TAKE_RECORD) {
			reading.data += taken.header.kind == RECORD_DATA;
			cr_assert(!ret || reading.count < max, "more records than expected");
			if (ret)
				ret[reading.count] = (struct seen){ .position = reading.position,
								    .blocks = taken.blocks,
								    .owner = word_owner(taken.word),
								    .header = taken.header,
								    .payload = taken.payload };
			reading.count++;
		}
		reading.position += taken.blocks;
		cr_assert(reading.position - from <= lane.block_count, "a lane holds N blocks");
	}
	return reading;
}

size_t test_read(const struct test_ring *ring, uint32_t lane, uint64_t from, struct seen *ret,
		 size_t max)
{
	return read_lane(ring, lane, from, ret, max).count;
}

static uint64_t released(const struct test_ring *ring, uint32_t lane)
{
	return load_relaxed(&test_lane_status(ring, lane)->released);
}

size_t test_read_all(const struct test_ring *ring, uint32_t lane, struct seen *ret, size_t max)
{
	return test_read(ring, lane, released(ring, lane), ret, max);
}

enum take test_read_stop(const struct test_ring *ring, uint32_t lane)
{
	return read_lane(ring, lane, released(ring, lane), NULL, 0).stop;
}

uint64_t test_frontier(const struct test_ring *ring, uint32_t lane)
{
	return read_lane(ring, lane, released(ring, lane), NULL, 0).position;
}

size_t test_count_data(const struct test_ring *ring)
{
	size_t data = 0;

	for (uint32_t lane = 0; lane < ring->segment.geometry.lanes; lane++)
		data += read_lane(ring, lane, released(ring, lane), NULL, 0).data;
	return data;
}

void test_release(const struct test_ring *ring, uint32_t lane, uint64_t position)
{
	struct lane_status *status = test_lane_status(ring, lane);

	store_release(&status->released, position);
	store_seq_cst(&status->written, position);
	store_seq_cst(&status->durable, position);
	(void)add_seq_cst_u32(&status->moved, 1);
	(void)sys_real.futex_wake(&status->moved.raw);
}

void test_release_all(const struct test_ring *ring)
{
	for (uint32_t lane = 0; lane < ring->segment.geometry.lanes; lane++)
		test_release(ring, lane, test_frontier(ring, lane));
}

/* ---- who is alive ---- */

bool test_lock_is_held(const struct test_ring *ring, int64_t byte)
{
	const int held = sys_real.lock_query(ring->segment.fd, byte, 1);

	cr_assert(held >= 0);
	return held == 1;
}

bool test_lock_falls(const struct test_ring *ring, int64_t byte)
{
	for (int i = 0; i < 5000; i++) {
		if (!test_lock_is_held(ring, byte))
			return true;
		(void)sys_real.sleep(NS_PER_MS);
	}
	return false;
}

uint32_t test_lanes_held(const struct test_ring *ring)
{
	uint32_t held = 0;

	for (uint32_t lane = 1; lane < ring->segment.geometry.lanes; lane++)
		held += test_lock_is_held(ring, LOCK_BYTE_LANE(lane));
	return held;
}

/* ---- producers ---- */

struct shmlog *test_attach(const struct test_ring *ring)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log = NULL;

	options.name = "tester";
	cr_assert(shmlog_attach(ring->name, &options, &log) == 0, "%s", shmlog_reason());
	return log;
}

void test_push(struct shmlog *log, const char *text)
{
	const int r = shmlog_try_push(log, text, strlen(text));

	cr_assert(r == 0, "\"%s\": %s", text, shmlog_strerror(r));
}

size_t test_fill(struct shmlog *log, size_t size)
{
	static uint8_t data[RING_RECORD_MAX];
	size_t pushed = 0;
	int r;

	while ((r = shmlog_try_push(log, data, size)) == 0)
		pushed++;
	cr_assert(r == -EAGAIN, "%s", shmlog_strerror(r));
	return pushed;
}

struct shmlog_stats test_stats(struct shmlog *log)
{
	struct shmlog_stats stats = { .size = sizeof(stats) };

	cr_assert(shmlog_get_stats(log, &stats) == 0);
	cr_assert(stats.dropped == stats.dropped_full + stats.dropped_size + stats.dropped_busy +
					   stats.dropped_no_lane + stats.dropped_corrupt);
	return stats;
}

/* ---- expectations ---- */

void expect_source(const struct seen *seen, const char *name)
{
	struct source_payload source;

	cr_assert(seen->header.kind == RECORD_SOURCE, "kind %u", seen->header.kind);
	cr_assert(seen->header.length == sizeof(source));
	memcpy(&source, seen->payload, sizeof(source));
	cr_assert(source.pid == (uint32_t)getpid(), "pid %u", source.pid);
	cr_assert(source.start_time != 0);
	cr_assert(!strcmp(source.name, name), "name %s", source.name);
}

void expect_text(const struct seen *seen, const char *text)
{
	cr_assert(seen->header.kind == RECORD_DATA, "kind %u, not \"%s\"", seen->header.kind, text);
	cr_assert(seen->header.length == strlen(text) && !memcmp(seen->payload, text, strlen(text)),
		  "\"%.*s\", not \"%s\"", (int)seen->header.length, (const char *)seen->payload,
		  text);
}

void expect_gap(const struct seen *seen, enum loss_reason reason, uint64_t lost)
{
	struct gap_payload gap;

	cr_assert(seen->header.kind == RECORD_GAP, "kind %u", seen->header.kind);
	cr_assert(seen->header.length == sizeof(gap));
	memcpy(&gap, seen->payload, sizeof(gap));
	for (unsigned i = 0; i < LOSS_REASONS; i++)
		cr_assert(gap.lost[i] == (i == reason ? lost : 0), "reason %u: %llu", i,
			  (unsigned long long)gap.lost[i]);
}

/* ---- what a process holds ---- */

unsigned count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	cr_assert(directory != NULL);
	while (readdir(directory))
		count++;
	(void)closedir(directory);
	return count;
}

unsigned count_ring_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[1024];
	unsigned count = 0;

	cr_assert(maps != NULL);
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, "/shmlog.unit-") != NULL;
	(void)fclose(maps);
	return count;
}
