/*
 * drain_fixture.h - a real ring with a drain on it, and hands to publish what no producer would.
 *
 * The ring has a name of its own process and goes with the fixture. Everything asserts: a fixture
 * that cannot be made is no test.
 */
#ifndef SHMLOG_TESTS_DRAIN_FIXTURE_H
#define SHMLOG_TESTS_DRAIN_FIXTURE_H

#include "../../writer/drain.h"

enum { RING_LANES = 4, RING_LANE_SIZE = 64 * 1024, RING_BLOCKS = RING_LANE_SIZE / BLOCK_SIZE };

struct ring_fixture {
	char name[64];
	struct sys sys;                /* the drain's; a copy of the real one, to be changed  */
	struct segment segment;        /* the test's own open                                 */
	struct segment_view view;      /* of it, writable                                     */
	struct drain drain;            /* the writer under test                               */
	uint64_t position[RING_LANES]; /* where ring_put() goes on                            */
	uint64_t ticks;                /* stamp of the last record that was put               */
};

/* A ring of @lanes lanes of @lane_size bytes; 0: RING_LANES, RING_LANE_SIZE. */
void ring_begin(struct ring_fixture *ring, uint32_t lanes, uint64_t lane_size, uint32_t clock);
void ring_end(struct ring_fixture *ring);

/* A killed writer's successor: a new drain on the same ring, which the disk has told nothing yet.
 */
void ring_reopen(struct ring_fixture *ring);

/* ---- publishing by hand ---- */

struct lane ring_lane(const struct ring_fixture *ring, uint32_t lane);
struct lane_page *ring_lane_page(const struct ring_fixture *ring, uint32_t lane);
struct doorbell *ring_doorbell(const struct ring_fixture *ring);
struct producer_line *ring_owner_line(const struct ring_fixture *ring, uint32_t owner);

/* A READY record at the lane's next position; @owner: 0 but in lane 0. */
void ring_put(struct ring_fixture *ring, uint32_t lane, uint32_t owner, uint8_t kind,
	      const void *payload, uint32_t length);
void ring_data(struct ring_fixture *ring, uint32_t lane, const char *text);
void ring_source(struct ring_fixture *ring, uint32_t lane, const char *name, uint64_t drops_full);
/* A word of any state at the lane's next position. */
void ring_word(struct ring_fixture *ring, uint32_t lane, uint32_t blocks, uint32_t owner,
	       enum word_state state);

/* Hold lock byte @byte as a producer would: a descriptor, to be closed. */
int ring_hold(const struct ring_fixture *ring, int64_t byte);
/* Wait until nobody holds it: a killed process's locks fall a little after it. */
void ring_wait_unheld(const struct ring_fixture *ring, int64_t byte);

/* ---- what came out ---- */

/*
 * The records of a page: "1:text" DATA of source 1, "1=name" SOURCE, "1-3f" three records lost to
 * reason f (f s b n c w y: full, size, busy, no lane, corrupt, unwritten, unsynced), "(note)".
 */
void ring_page_text(const void *page, char *text, size_t size);

/* The entry of a lane or owner id in a page; NULL: none. */
const struct cursor_entry *ring_cursor(const void *page, uint32_t lane);
const struct marked_entry *ring_marked(const void *page, uint32_t lane, uint32_t owner);

/* What the segment says. */
const struct lane_status *ring_status(const struct ring_fixture *ring, uint32_t lane);
uint64_t ring_released(const struct ring_fixture *ring, uint32_t lane);
uint64_t ring_written(const struct ring_fixture *ring, uint32_t lane);
uint64_t ring_durable(const struct ring_fixture *ring, uint32_t lane);

#endif
