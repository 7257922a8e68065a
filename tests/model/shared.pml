/*
 * shared.pml - lane 0: claims by compare-and-swap, owner ids, and the next holder of a dead one's.
 *
 * Threads of several processes take owner ids, bury what the id's last holder left, claim, fill and
 * publish. A process is killed as a whole, before any step of its threads; its locks fall later.
 * Whoever is not killed stays and does nothing, holding its id.
 *
 * THREADS: how many; PROCESS_OF(thread), FIRST(thread), LAST(thread): its records; IDS: owner ids.
 */
#ifndef N
#define N 4
#endif

/* Two processes of one thread, and a third that comes when an id is free. */
#if CONFIG == 1
#define THREADS 3
#define PROCESSES 3
#define IDS 2
#define PROCESS_OF(thread) (thread)
#define RECORDS 4
#define FIRST(thread) ((thread) == 0 -> 1 : ((thread) == 1 -> 2 : 4))
#define LAST(thread) ((thread) == 0 -> 1 : ((thread) == 1 -> 3 : 4))
#define THREAD_OF(record) ((record) == 1 -> 1 : ((record) <= 3 -> 6 : 8))
#ifndef SIZE
#define SIZE(record) (1 + (record) % 2)
#endif
#endif

/* A process of one thread; one of two threads, which take an id at the same time. */
#if CONFIG == 2
#define THREADS 3
#define PROCESSES 2
#define IDS 2
#define PROCESS_OF(thread) ((thread) == 0 -> 0 : 1)
#define RECORDS 3
#define FIRST(thread) ((thread) + 1)
#define LAST(thread) ((thread) + 1)
#define THREAD_OF(record) BIT(record)
#ifndef SIZE
#define SIZE(record) 1
#endif
#endif

/* A lane of two blocks: the next lap comes soon. */
#if CONFIG == 3
#define THREADS 3
#define PROCESSES 3
#define IDS 2
#define PROCESS_OF(thread) (thread)
#define RECORDS 4
#define FIRST(thread) ((thread) == 0 -> 1 : ((thread) == 1 -> 2 : 4))
#define LAST(thread) ((thread) == 0 -> 1 : ((thread) == 1 -> 3 : 4))
#define THREAD_OF(record) ((record) == 1 -> 1 : ((record) <= 3 -> 6 : 8))
#ifndef SIZE
#define SIZE(record) 1
#endif
#endif

/* Two threads of one process: one waits for room while the other goes round the lane. */
#if CONFIG == 4
#define THREADS 2
#define PROCESSES 1
#define IDS 1
#define PROCESS_OF(thread) 0
#define RECORDS 8
#define FIRST(thread) ((thread) == 0 -> 1 : 2)
#define LAST(thread) ((thread) == 0 -> 1 : 8)
#define THREAD_OF(record) ((record) == 1 -> 1 : 254)
#define SIZE(record) ((record) == 1 -> 2 : 1)
#define KILLS 0
#define WRITER_KILLS 0
#define STARTS(thread) ((thread) == 1 || (published & BIT(5)) != 0)
#endif

#include "lane.pml"

#ifndef STARTS
#define STARTS(thread) (thread == 0 || lock_was_taken[thread - 1])
#endif
bool lock_was_taken[THREADS];

byte tail_hint;
bool killed[PROCESSES];
byte living[PROCESSES];  /* threads that have not ended */
byte shown[PROCESSES];   /* holder->owner, shown; 0: not yet */
bool is_filling[PROCESSES];
byte lock_of[4];         /* by owner id: its process, from 1 on */

/* [walk_reload]: progress of the writer earns new steps. */
inline reload()
{
	if
	:: released != seen -> steps = 0
	:: else
	fi;
	seen = released;
	position = MAX(position, seen)
}

/* One load of a word. Too many of them without progress would be -EUCLEAN: never here. */
inline load_word()
{
	assert(steps <= 2 * N);
	steps++;
	word = words[INDEX(position)]
}

#define IS_AHEAD    (WORD_LAP(word) > LAP(position)) /* we are a lap behind: look again */
#define IS_FRONTIER (WORD_LAP(word) < LAP(position))

/* [walk_pass] */
inline pass()
{
	assert(WORD_BLOCKS(word) > 0 && WORD_BLOCKS(word) <= TO_END(position));
	position = position + WORD_BLOCKS(word)
}

/* [ring_bury]. Each `atomic` is one access: what follows it inside is private. */
inline bury()
{
	atomic { position = 0; seen = 0; steps = 0; reload() };
	do
	:: atomic {
		load_word();
		if
		:: IS_AHEAD -> is_behind = true
		:: IS_FRONTIER -> break
#ifndef BUG_NO_SKIP
		:: !IS_AHEAD && !IS_FRONTIER && WORD_STATE(word) == CLAIMED && WORD_OWNER(word) == owner ->
			is_swapping = true
		:: !IS_AHEAD && !IS_FRONTIER &&
		   !(WORD_STATE(word) == CLAIMED && WORD_OWNER(word) == owner) ->
#else
		:: !IS_AHEAD && !IS_FRONTIER ->
#endif
			pass();
			is_behind = (position - seen > N)
		fi }
		if
		:: is_behind -> atomic { reload(); assert(position - seen <= N); is_behind = false }
		/* [bury_one]: a swap from the exact word; if it fails, look again. */
		:: is_swapping -> atomic {
			if
#ifdef BUG_PLAIN_SKIP
			:: true ->
#else
			:: words[INDEX(position)] != word
			:: words[INDEX(position)] == word ->
#endif
				words[INDEX(position)] = word - CLAIMED + SKIP + DEAD;
				pass();
				is_behind = (position - seen > N)
			fi;
			is_swapping = false }
			if
			:: is_behind -> atomic { reload(); assert(position - seen <= N); is_behind = false }
			:: else
			fi
		:: else
		fi
	od;
	word = 0
}

/* [lock_owner_id] */
inline lock_owner()
{
	if
	:: !locked[1] -> owner = 1
	:: locked[1] && IDS > 1 && !locked[2] -> owner = 2
	fi;
	locked[owner] = true;
	lock_was_taken[number] = true;
	lock_of[owner] = me + 1
}

inline unlock_owner()
{
	locked[owner] = false;
	lock_of[owner] = 0;
	owner = 0
}

/* [holder_get]: the process's owner id, taken if there is none. */
inline get_owner()
{
	do
	:: atomic { shown[me] != 0 -> owner = shown[me]; break }
	:: atomic { shown[me] == 0 && !is_filling[me] -> lock_owner() }
#ifdef BUG_EARLY_ID
		if
		:: atomic { !is_filling[me] -> is_filling[me] = true; shown[me] = owner };
			bury();
			break
#else
		bury();
		if /* [holder_show] */
		:: atomic { !is_filling[me] -> is_filling[me] = true };
			shown[me] = owner;
			break
#endif
		:: atomic { is_filling[me] -> unlock_owner() } /* another thread was first */
		fi
	od
}

#define NEEDED(record) (SIZE(record) > TO_END(position) -> TO_END(position) : SIZE(record))

/* [ring_claim_shared]: `is_claimed`, or there is no room. */
inline claim(record)
{
	atomic { steps = 0; seen = 0; is_claimed = false; position = tail_hint };
	atomic { /* [walk_begin] */
		reload();
		if
		:: position - seen > N -> position = seen
		:: else
		fi
	}
	do
	:: atomic {
		load_word();
		if
		:: IS_AHEAD -> is_behind = true
		:: IS_FRONTIER -> size = NEEDED(record); lap = LAP(position)
		:: !IS_AHEAD && !IS_FRONTIER ->
			pass();
			size = 0;
			is_behind = (position - seen > N)
		fi }
		if
		:: is_behind -> atomic { reload(); assert(position - seen <= N); is_behind = false }
		/* [claim_at], [walk_has_room]: the writer is asked again before the answer is no. */
		:: !is_behind && size != 0 && position + size - seen > N -> atomic {
			before = position;
			reload();
			if
#ifndef BUG_ROOM_MOVES
			:: position != before -> size = 0 /* others and the writer went on: look again */
			:: position == before && position + size - seen > N -> break
			:: position == before && position + size - seen <= N
#else
			:: before + size - seen > N || before + size < seen -> break
			:: before + size - seen <= N && before + size >= seen
#endif
			fi }
		:: else
		fi;
		if
		:: size != 0 -> atomic { /* [try_swap] */
			if
#ifndef BUG_PLAIN_CLAIM
			:: words[INDEX(position)] != word
			:: words[INDEX(position)] == word ->
#else
			:: true ->
#endif
				assert(size <= TO_END(position) && lap == LAP(position));
				words[INDEX(position)] = WORD(lap, size, owner,
					(size == SIZE(record) -> CLAIMED : SKIP));
				is_claimed = (size == SIZE(record))
			fi;
			if
			:: is_claimed -> break
			:: else -> size = 0
			fi }
		:: else
		fi
	od
}

#define FORGET \
	position = 0; seen = 0; before = 0; steps = 0; size = 0; lap = 0; word = 0; \
	is_behind = false; is_swapping = false; is_claimed = false

proctype thread(byte number)
{
	byte me = PROCESS_OF(number);
	byte owner;
	byte position, seen, before, steps, size, lap, next, i;
	short word;
	bool is_behind, is_swapping, is_claimed;

	{
		STARTS(number); /* of several orders that differ in names only, one */
		get_owner();
		next = FIRST(number);
		do
		:: next <= LAST(number) ->
			claim(next);
			if
			:: atomic { !is_claimed -> next++; FORGET } /* -EAGAIN: dropped, or */
			:: atomic { !is_claimed && released != seen -> FORGET } /* waited for */
			:: atomic { is_claimed -> tail_hint = position + size; size = 0; lap = 0; seen = 0;
				steps = 0; before = 0; word = 0 };
				do
				:: atomic { i < SIZE(next) -> blocks[INDEX(position + i)] = next; i++ }
				:: i >= SIZE(next) -> break
				od;
				atomic { /* [ring_publish] */
					words[INDEX(position)] = WORD(LAP(position), SIZE(next), owner, READY);
					published = published | BIT(next);
					i = 0; next++; FORGET
				}
			fi
		:: next > LAST(number) -> break
		od;
		false
	} unless {
		killed[me]
	};
	/* All threads are gone: the locks fall. */
	atomic {
		owner = 0; next = 0; i = 0; FORGET;
		living[me]--;
		if
		:: living[me] == 0 ->
			i = 1;
			do
			:: i <= 3 ->
				if
				:: lock_of[i] == me + 1 -> locked[i] = false; lock_of[i] = 0
				:: else
				fi;
				i++
			:: else -> i = 0; break
			od
		:: else
		fi
	}
}

proctype killer()
{
	do
	:: atomic { kills_left > 0 && !killed[0] -> killed[0] = true; kills_left-- }
#if PROCESSES > 1
	:: atomic { kills_left > 0 && !killed[1] -> killed[1] = true; kills_left-- }
#endif
#if PROCESSES > 2
	:: atomic { kills_left > 0 && !killed[2] -> killed[2] = true; kills_left-- }
#endif
	:: atomic { writer_kills_left > 0 && !writer_killed -> writer_killed = true; writer_kills_left-- }
	:: break
	od
}

init
{
	byte i;

	atomic {
		do
		:: i < THREADS -> living[PROCESS_OF(i)]++; run thread(i); i++
		:: else -> break
		od;
		run writer();
		run killer()
	};
	timeout;
	assert(IS_DRAINED)
}
