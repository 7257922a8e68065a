/*
 * ring_fixture.h - rings for tests, and a writer that does only what a test tells it.
 *
 * Names hold the test runner's pid: what a crashed test leaves behind goes when the runner ends.
 * Everything asserts: a fixture that cannot be made is no test.
 */
#ifndef SHMLOG_TESTS_RING_FIXTURE_H
#define SHMLOG_TESTS_RING_FIXTURE_H

#include "ring.h"
#include "segment.h"
#include "shmlog.h"

enum { LANE_MIN = LANE_BLOCKS_MIN * BLOCK_SIZE, SEEN_MAX = 4096 };

/* A ring, mapped as its writer would: everything to be read, and written by who plays the writer.
 */
struct test_ring {
	char name[64];
	struct segment segment;
	struct segment_view view;
	uint8_t *writable;
};

/* A record as it lies in a lane; its payload is valid until its blocks are released. */
struct seen {
	uint64_t position;
	uint32_t blocks;
	uint32_t owner;
	struct record_header header;
	const uint8_t *payload;
};

void test_ring_name(char name[64]);
void test_ring_path(const char *name, char path[512]);
void test_ring_make(struct test_ring *ring, uint32_t lanes, uint64_t lane_size);
/* Another one under the same name; @ring's must have gone. */
void test_ring_make_again(struct test_ring *fresh, const struct test_ring *ring, uint32_t lanes);
void test_ring_open(struct test_ring *ring, const char *name);
void test_ring_close(struct test_ring *ring);
/* Unlink every ring of this test; the names that its children have made go with the runner. */
void test_ring_sweep(void);

/* The writer's words, writable. */
struct lane_status *test_lane_status(const struct test_ring *ring, uint32_t lane);
struct writer_status *test_writer(const struct test_ring *ring);
struct lane_page *test_lane_page(const struct test_ring *ring, uint32_t lane);
void test_lane(const struct test_ring *ring, uint32_t lane, struct lane *ret);

/* Records of @lane from @from on up to the first position that holds none. */
size_t test_read(const struct test_ring *ring, uint32_t lane, uint64_t from, struct seen *ret,
		 size_t max);
/* The same from `released`. */
size_t test_read_all(const struct test_ring *ring, uint32_t lane, struct seen *ret, size_t max);
/* What ring_look() says where test_read_all() stops. */
enum take test_read_stop(const struct test_ring *ring, uint32_t lane);
uint64_t test_frontier(const struct test_ring *ring, uint32_t lane);
/* DATA records in all lanes. */
size_t test_count_data(const struct test_ring *ring);

/* Release, write and make durable what lies before @position, and wake who waits for it. */
void test_release(const struct test_ring *ring, uint32_t lane, uint64_t position);
void test_release_all(const struct test_ring *ring);

/* Is somebody alive who holds @byte? Waits: a lock falls a little after its holder. */
bool test_lock_falls(const struct test_ring *ring, int64_t byte);
bool test_lock_is_held(const struct test_ring *ring, int64_t byte);
uint32_t test_lanes_held(const struct test_ring *ring);

/* Remove the ring by force, as shmlog-ctl would. */
void test_remove(const struct test_ring *ring);

struct shmlog *test_attach(const struct test_ring *ring);
void test_push(struct shmlog *log, const char *text);
/* Push records of @size until one is refused; how many went in. */
size_t test_fill(struct shmlog *log, size_t size);
struct shmlog_stats test_stats(struct shmlog *log);

void expect_source(const struct seen *seen, const char *name);
void expect_text(const struct seen *seen, const char *text);
void expect_gap(const struct seen *seen, enum loss_reason reason, uint64_t lost);

unsigned count_descriptors(void);
/* Mappings of this process that lead to files of rings. */
unsigned count_ring_mappings(void);

#endif
