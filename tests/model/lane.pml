/*
 * lane.pml - one lane of a ring and the writer that drains it. Included by own.pml and shared.pml.
 *
 * One step of the model is one access to memory that others touch, one answer of the kernel, or one
 * write of a page. What only the process itself sees is done together with the step before it. The
 * names in brackets are the functions of the sources. Ghosts are what no program can see: they say
 * what was promised, and what is on disk.
 *
 * A record is a number from 1 on; its blocks hold that number, each stored and copied by a step of
 * its own. Numbers grow in each thread, so order within a thread is checked by them.
 */

/* What must be given: N blocks, RECORDS, SIZE(record), THREAD_OF(record). */
#ifndef WRITER_KILLS
#define WRITER_KILLS 1
#endif
#ifndef KILLS
#define KILLS 1
#endif

/* ---- words (lib/ring_layout.h) ---- */

#define FREE    0
#define CLAIMED 1
#define READY   2
#define SKIP    3
#define DEAD    16

#define WORD(lap, blocks, owner, state) ((lap) * 128 + (blocks) * 32 + (owner) * 4 + (state))
#define WORD_LAP(word)    ((word) / 128)
#define WORD_BLOCKS(word) (((word) / 32) % 4)
#define WORD_OWNER(word)  (((word) / 4) % 4)
#define WORD_STATE(word)  ((word) % 4)

#define INDEX(position) ((position) % N)
#define LAP(position)   ((position) / N + 1)
#define TO_END(position) (N - (position) % N)
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define BIT(record) (1 << ((record) - 1))

short words[N];
byte blocks[N];   /* 0: never written */
byte released;    /* lane_status.released */
bool locked[4];   /* lock bytes: [0] the lane's, [o] owner id o's */

/* ---- ghosts ---- */

short published;  /* the push has stored READY */
short on_disk;
byte disk_position; /* of the last page's CURSOR entry */
byte kills_left = KILLS;
byte writer_kills_left = WRITER_KILLS;
bool writer_killed;

/* Records of the same thread with a larger number. */
#define LATER(record) (THREAD_OF(record) & ~(2 * BIT(record) - 1))

/* ---- the writer (writer/drain.c, writer/drain_ring.c) ---- */

/* [take_record]: the copy is whole, of a published record, in its thread's order, and not there yet. */
inline take(record, size)
{
	assert(record != 0);                           /* a block that was never written */
	assert(size == SIZE(record));                  /* ... or of another record */
	assert((published & BIT(record)) != 0);
	assert(((on_disk | page) & BIT(record)) == 0); /* doubled */
	assert(((on_disk | page) & LATER(record)) == 0);
	page = page | BIT(record)
}

proctype writer()
{
	byte taken;    /* lane->taken.position */
	byte written;  /* lane->written.position */
	short page;    /* the page being filled: its records */
	byte page_end; /* pages that are complete, not released: up to here; else 0 */
	short word;    /* ring_look() said CLAIMED; 0: it did not */
	bool is_dead;  /* ... and lock_query() said that nobody holds the lock */
	byte i, record;

start:
	{
		/* [drain_restore_page], [restore_lane]: the disk's word, or the ring's if that is further. */
		d_step {
#ifdef BUG_NO_DISK
			taken = released;
#else
			taken = MAX(released, disk_position);
#endif
			written = taken
		}
		released = taken; /* [release] */
		do
		:: word == 0 && WORD_LAP(words[INDEX(taken)]) != LAP(taken) &&
		   WORD_LAP(words[INDEX(taken)]) > LAP(taken) -> assert(false) /* TAKE_CORRUPT */
		:: atomic { /* [take_one]: ring_look() */
			word == 0 && WORD_LAP(words[INDEX(taken)]) == LAP(taken) ->
				word = words[INDEX(taken)];
				assert(WORD_BLOCKS(word) > 0 && WORD_BLOCKS(word) <= TO_END(taken));
				if
				:: WORD_STATE(word) == CLAIMED
				:: WORD_STATE(word) == SKIP ->
					taken = taken + WORD_BLOCKS(word); word = 0
				:: WORD_STATE(word) == READY
				fi
			}
			if
			:: WORD_STATE(word) != READY || word == 0
			:: word != 0 && WORD_STATE(word) == READY ->
#ifdef BUG_RELEASE_BEFORE_COPY
				released = taken + WORD_BLOCKS(word);
				written = released;
#endif
				/* page_append(): the copy, block by block; then the checks of the copy. */
				atomic { record = blocks[INDEX(taken)]; i = 1 };
				do
				:: atomic { i < WORD_BLOCKS(word) ->
					assert(blocks[INDEX(taken + i)] == record); /* torn */
					i++ }
				:: atomic { i >= WORD_BLOCKS(word) ->
					take(record, WORD_BLOCKS(word));
					taken = taken + WORD_BLOCKS(word);
					word = 0; i = 0; record = 0;
					break }
				od
#ifdef BUG_RELEASE_EARLY
				;
				atomic { released = taken; written = taken }
#endif
			fi
		/* [pass_claim]: is_claimer_alive() says yes: the lane is left, and looked at again. */
		:: atomic { word != 0 && !is_dead && words[INDEX(taken)] != word -> word = 0 }
		/* It says no. */
#ifdef BUG_NO_LOCK_QUERY
		:: atomic { word != 0 && !is_dead -> is_dead = true }
#else
		:: atomic { word != 0 && !is_dead && !locked[WORD_OWNER(word)] -> is_dead = true }
#endif
		:: atomic { word != 0 && is_dead -> /* look again */
			if
#ifdef BUG_NO_SECOND_LOOK
			:: true -> taken = taken + WORD_BLOCKS(word)
#else
			:: words[INDEX(taken)] == word -> taken = taken + WORD_BLOCKS(word)
			:: else
#endif
			fi;
			word = 0; is_dead = false }
#if WRITER_KILLS == 0
		/* Nobody sees the disk before the release: one step. */
		:: atomic { page != 0 -> on_disk = on_disk | page; page = 0; released = taken;
			written = taken }
#else
		/* The page is written: complete, but not released. */
		:: atomic { page != 0 -> on_disk = on_disk | page; disk_position = taken;
			page = 0; page_end = taken }
		/* [drain_release], [set_written] */
		:: atomic { page_end != 0 -> released = MAX(written, page_end); written = released; page_end = 0 }
#endif
		/* [drain_settle]: nothing to deliver, nothing under way. */
		:: atomic { page == 0 && page_end == 0 && taken != written -> released = taken; written = taken }
		od
	} unless {
		atomic { writer_killed ->
			writer_killed = false;
			taken = 0; written = 0; page = 0; page_end = 0; word = 0; is_dead = false;
			i = 0; record = 0 }
	};
	goto start
}

/* ---- the end: nobody can go on, nobody is killed any more ---- */

#define IS_DRAINED (on_disk == published)
