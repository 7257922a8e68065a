/*
 * own.pml - a lane that one thread has for itself, and the next holder of the lane after it.
 *
 * Each holder pushes and claims its records in any mixture: an open claim is filled, committed or
 * aborted behind later pushes. Then it ends, or stays and does nothing. Anybody may be killed
 * before any step; the kernel drops a dead holder's lock later.
 */
#ifndef N
#define N 4
#endif
#define HOLDERS 2
#ifndef EACH
#define EACH 3 /* records of each holder */
#endif
#define RECORDS (HOLDERS * EACH)

/* Sizes mix, so that records need padding before the lane's end. */
#ifndef SIZE
#define SIZE(record) (1 + (record) % 2)
#endif
#define THREAD_OF(record) (((record) <= EACH) -> ((1 << EACH) - 1) : (((1 << EACH) - 1) << EACH))

#include "lane.pml"

bool killed[HOLDERS];

/* [has_room]: the limit is private; the writer is asked again before the answer is no. */
inline look_for_room(end)
{
	if
	:: end - seen > N -> seen = released
	:: else
	fi
}

/* ring_fill(), block by block. */
inline fill(at, record)
{
	do
	:: atomic { i < SIZE(record) -> blocks[INDEX(at + i)] = record; i++ }
	:: atomic { i >= SIZE(record) -> i = 0; break }
	od
}

/* [ring_bury] with owner 0: every claim is a predecessor's. A new holder is alone. */
inline bury()
{
	position = released;
	do
	:: WORD_LAP(words[INDEX(position)]) < LAP(position) -> break
	/* [walk_look]: a lap behind: the writer has gone on. */
	:: WORD_LAP(words[INDEX(position)]) > LAP(position) ->
		assert(released > position);
		position = released
	:: WORD_LAP(words[INDEX(position)]) == LAP(position) ->
		atomic {
			word = words[INDEX(position)];
			if
#ifndef BUG_NO_SKIP
			:: WORD_STATE(word) == CLAIMED
#endif
			:: else -> position = position + WORD_BLOCKS(word); word = 0
			fi
		};
		if
		:: atomic { word != 0 && words[INDEX(position)] == word ->
			words[INDEX(position)] = word - CLAIMED + SKIP + DEAD;
			position = position + WORD_BLOCKS(word);
			word = 0 }
		:: atomic { word != 0 && words[INDEX(position)] != word -> word = 0 }
		:: word == 0
		fi
	od
}

/* [pad], [reserve_own]: room for a record at the position, or `is_full`. */
inline reserve(record)
{
	is_full = false;
	if
	:: SIZE(record) > TO_END(position) ->
		look_for_room(position + TO_END(position));
		if
		:: position + TO_END(position) - seen > N -> is_full = true
		:: else -> atomic { /* [ring_skip] */
			words[INDEX(position)] = WORD(LAP(position), TO_END(position), 0, SKIP);
			position = position + TO_END(position) }
		fi
	:: else
	fi;
	if
	:: !is_full ->
		look_for_room(position + SIZE(record));
		is_full = (position + SIZE(record) - seen > N)
	:: else
	fi
}

proctype holder(byte me)
{
	byte position;       /* binding->position */
	byte seen;           /* binding->released */
	byte next, last;     /* records to push */
	byte claimed;        /* the record of the open claim; 0: none */
	byte claim_position;
	short word;
	byte i;
	bool is_full;
	bool is_holding;

	{
		/* [lock_drained_lane]: the lock is free, and now ours. */
		atomic { !locked[0] -> locked[0] = true; is_holding = true;
			next = me * EACH + 1; last = me * EACH + EACH };
		bury(); /* [own_lane_enter] */
		seen = released;
		do
		:: next <= last ->
			reserve(next);
			if
			:: is_full -> next++ /* -EAGAIN: dropped, or */
			:: atomic { is_full && released != seen -> skip } /* waited for */
			:: !is_full ->
				/* [publish_own] */
#ifdef BUG_PUBLISH_FIRST
				atomic { words[INDEX(position)] = WORD(LAP(position), SIZE(next), 0, READY);
					published = published | BIT(next) };
				fill(position, next);
#else
				fill(position, next);
				atomic { words[INDEX(position)] = WORD(LAP(position), SIZE(next), 0, READY);
					published = published | BIT(next) };
#endif
				atomic { position = position + SIZE(next); next++ }
			:: !is_full && claimed == 0 -> atomic { /* [ring_claim_own] */
				words[INDEX(position)] = WORD(LAP(position), SIZE(next), 0, CLAIMED);
				claimed = next; claim_position = position;
				position = position + SIZE(next); next++ }
			fi
		:: claimed != 0 -> /* [commit_own] */
			fill(claim_position, claimed);
			atomic {
				words[INDEX(claim_position)] =
					WORD(LAP(claim_position), SIZE(claimed), 0, READY);
				published = published | BIT(claimed);
				claimed = 0; claim_position = 0 }
		:: claimed != 0 -> atomic { /* [producer_abort_claim] */
			words[INDEX(claim_position)] = WORD(LAP(claim_position), SIZE(claimed), 0, SKIP);
			claimed = 0; claim_position = 0 }
		:: claimed == 0 && next > last -> break
		od;
		if
		:: true          /* the thread ends, or */
		:: true -> false /* it stays until it is killed */
		fi
	} unless {
		killed[me]
	};
	/* The last mapping is gone. */
	atomic {
		if
		:: is_holding -> locked[0] = false
		:: else
		fi;
		is_holding = false; position = 0; seen = 0; claimed = 0; claim_position = 0; word = 0;
		i = 0; is_full = false; next = 0; last = 0
	}
}

proctype killer()
{
end:
	do
	:: atomic { kills_left > 0 && !killed[0] -> killed[0] = true; kills_left-- }
	:: atomic { kills_left > 0 && !killed[1] -> killed[1] = true; kills_left-- }
	:: atomic { writer_kills_left > 0 && !writer_killed -> writer_killed = true; writer_kills_left-- }
	:: break
	od
}

init
{
	atomic { run holder(0); run holder(1); run writer(); run killer() };
	timeout;
	assert(IS_DRAINED)
}
