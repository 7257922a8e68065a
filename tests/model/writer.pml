/*
 * writer.pml - pages, files and restarts of the writer: what is on disk, and what it says of that.
 *
 * Two lanes of R0 and R1 records, published from the start: how many of them a page takes is open. The
 * disk completes writes in any order. A step of the model is one store to the ring's status, one
 * write that lands, or one call that changes the disk; what the writer does in its own memory goes
 * with the step before it. It may be killed before any step, also inside recovery; what it had in
 * flight then lands later, or never. The names in brackets are the functions of the sources.
 *
 * One process: a set of guarded steps. What a kill takes away is reset by forget().
 */
/* Records of each lane, at most 3. */
#ifndef R0
#define R0 2
#endif
#ifndef R1
#define R1 1
#endif
#ifndef FILES
#define FILES 4
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef ERRORS
#define ERRORS 0 /* writes that are said to have failed, whether they landed or not */
#endif
#ifndef POWER
#define POWER 0 /* power cuts */
#endif
#define DATA_MAX 2           /* DATA pages that fit into a file */
#define SLOTS (DATA_MAX + 2) /* FILE, DATA.., SEAL */
#define ORDER 3              /* pages under way */
#define NOWHERE 255
#define NO_LIMIT 15

/* ---- pages: kind, number, and per lane from which position up to which ---- */

#define FILE_PAGE 1
#define DATA_PAGE 2
#define SEAL_PAGE 3
#define PAGE(kind, no, to0, to1, from0, from1) \
	((kind) + (no) * 4 + (to0) * 64 + (to1) * 256 + (from0) * 1024 + (from1) * 4096)
#define KIND(page)  ((page) % 4)
#define NO(page)    (((page) / 4) % 16)
#define TO0(page)   (((page) / 64) % 4)
#define TO1(page)   (((page) / 256) % 4)
#define FROM0(page) (((page) / 1024) % 4)
#define FROM1(page) (((page) / 4096) % 4)
#define RENUMBERED(page, no) ((page) - NO(page) * 4 + (no) * 4)

/* ---- the disk ---- */

#define GONE   0
#define OPEN   1
#define SEALED 2 /* by its name */
byte name[FILES];
short disk[FILES * SLOTS];    /* valid pages that have landed; 0: none */
short flying[FILES * SLOTS];  /* submitted, not landed */
bool synced[FILES * SLOTS];
#define AT(file, slot) ((file) * SLOTS + (slot))

/* ---- the ring's status ---- */

byte released0, released1, durable0, durable1;

/* ---- the writer's own memory ---- */

#define START   0 /* recovery: fences */
#define SETTLE  1
#define RESULTS 2
#define RUNNING 3
#define OVER    4 /* after a power cut: what is there was looked at */
byte phase;

#define CLOSED    1
#define IN_FLIGHT 2
#define COMPLETE  3
#define FAILED    4
byte state[ORDER];   /* pages->order[]: 0 behind the last */
short order[ORDER];
byte place[ORDER];
byte taken0, taken1;
byte written0, written1;
byte file = NOWHERE; /* pages->file */
byte slot;           /* its next page */
byte page_next;
byte file_next;
bool is_lane1_owed;  /* released0 is stored, released1 not yet */
bool is_poisoned;
bool is_dropping;    /* sync_last() has been done */
bool void_next, void_before;

bool is_syncing;
byte sync_of;         /* the file in which the sync began */
byte covered;        /* slots of the file that had landed when the sync began */
byte snapshot0, snapshot1;
bool is_held;        /* is_snapshot_held */
byte sync_seals, seals_submitted, seals_done;

byte job_file = NOWHERE, job_slot, job_no, job_step; /* the second thread's */
byte job2_file = NOWHERE, job2_slot, job2_no;        /* ... and the next */

byte at_file, at_slot, at_no, at_step;               /* recovery's */

/* ---- ghosts ---- */

byte kills_left = KILLS, errors_left = ERRORS, cuts_left = POWER;
bool is_cut;

/* Scratch of d_steps, zero in between. */
byte f, s, limit, log0, log1, c, d;
short page;

#define IS_BEGUN(file, only_synced) \
	(name[file] != GONE && KIND(disk[AT(file, 0)]) == FILE_PAGE && (!(only_synced) || synced[AT(file, 0)]))

/* The number of the first page of the next file that has begun. */
inline find_limit(after, only_synced)
{
	limit = NO_LIMIT;
	d = after + 1;
	do
	:: d < FILES && IS_BEGUN(d, only_synced) -> limit = NO(disk[AT(d, 0)]); break
	:: d < FILES && !IS_BEGUN(d, only_synced) -> d++
	:: d >= FILES -> break
	od;
	d = 0
}

/*
 * What a reader finds, and what recovery would: log0, log1. Asserts that it is each lane's records
 * once, in order, without a hole. @only_synced: what a power cut would leave at the least.
 */
inline read_log(only_synced)
{
	log0 = 0; log1 = 0; f = 0;
	do
	:: f >= FILES -> break
	:: f < FILES ->
		if
		:: IS_BEGUN(f, only_synced) ->
			find_limit(f, only_synced);
			s = 1;
			do
			:: s >= SLOTS || NO(disk[AT(f, 0)]) >= limit -> break
			:: s < SLOTS && NO(disk[AT(f, 0)]) < limit ->
				page = disk[AT(f, s)];
				if
				:: KIND(page) == SEAL_PAGE -> break
				:: page == 0 || (only_synced && !synced[AT(f, s)]) ->
					if
					:: limit == NO_LIMIT && name[f] == OPEN -> break
					:: else
					fi
				:: else ->
					if
					:: NO(page) >= limit -> break
					:: else
					fi;
					if
					:: FROM0(page) == log0 && FROM1(page) == log1 ->
						log0 = TO0(page); log1 = TO1(page)
					:: else -> /* a power cut may have left a hole */
						assert(only_synced || is_cut); /* lost, or out of order */
						assert(FROM0(page) >= log0 && FROM1(page) >= log1) /* doubled */
					fi
				fi;
				s++
			od
		:: else
		fi;
		f++
	od;
	page = 0; f = 0; s = 0; limit = 0
}

inline check_released()
{
	read_log(false);
	assert(released0 <= log0 && released1 <= log1); /* released, not written */
	log0 = 0; log1 = 0
}

inline check_durable()
{
	read_log(true);
	assert(durable0 <= log0 && durable1 <= log1); /* confirmed, not synced */
	log0 = 0; log1 = 0
}

inline forget()
{
	phase = START;
	c = 0;
	do
	:: c < ORDER -> state[c] = 0; order[c] = 0; place[c] = 0; c++
	:: else -> break
	od;
	c = 0;
	taken0 = 0; taken1 = 0; written0 = 0; written1 = 0;
	file = NOWHERE; slot = 0; page_next = 0; file_next = 0;
	is_lane1_owed = false; is_poisoned = false; is_dropping = false; void_next = false; void_before = false;
	is_syncing = false; sync_of = 0; covered = 0; snapshot0 = 0; snapshot1 = 0; is_held = false;
	sync_seals = 0; seals_submitted = 0; seals_done = 0;
	job_file = NOWHERE; job_slot = 0; job_no = 0; job_step = 0;
	job2_file = NOWHERE; job2_slot = 0; job2_no = 0;
	at_file = 0; at_slot = 0; at_no = 0; at_step = 0
}

inline sync_file(which)
{
	c = 0;
	do
	:: c < SLOTS -> synced[AT(which, c)] = synced[AT(which, c)] || disk[AT(which, c)] != 0; c++
	:: else -> break
	od;
	c = 0
}

/* Cut off what lies behind the SEAL page. */
inline cut_file(which, seal_slot)
{
	c = seal_slot + 1;
	do
	:: c < SLOTS -> disk[AT(which, c)] = 0; synced[AT(which, c)] = false; c++
	:: else -> break
	od;
	c = 0
}

inline submit_seal(which, at, no)
{
	if
	:: job_file == NOWHERE -> job_file = which; job_slot = at; job_no = no
	:: else -> job2_file = which; job2_slot = at; job2_no = no
	fi;
	seals_submitted++
}

inline pop_order()
{
	c = 0;
	do
	:: c < ORDER - 1 -> state[c] = state[c + 1]; order[c] = order[c + 1]; place[c] = place[c + 1]; c++
	:: else -> break
	od;
	state[c] = 0; order[c] = 0; place[c] = 0; c = 0
}

#define IS_FLYING(file) (flying[AT(file, 0)] != 0 || flying[AT(file, 1)] != 0 || flying[AT(file, 2)] != 0)
#define IS_UNDER_WAY(i) (state[i] >= IN_FLIGHT)
#define ANY_UNDER_WAY (IS_UNDER_WAY(0) || IS_UNDER_WAY(1) || IS_UNDER_WAY(2))
#define ANY_IN_FLIGHT (state[0] == IN_FLIGHT || state[1] == IN_FLIGHT || state[2] == IN_FLIGHT)
#define HAS_MORE (taken0 < R0 || taken1 < R1)
#define ANY_CLOSED (state[0] == CLOSED || state[1] == CLOSED || state[2] == CLOSED)
#define HAS_WORK (HAS_MORE || ANY_CLOSED)
#define IS_FULL (slot > DATA_MAX)
#define IS_UNSYNCED (durable0 != written0 || durable1 != written1)

/* [place], [submit]: order[i] goes to the current file's next slot. */
inline place_page(i)
{
	order[i] = RENUMBERED(order[i], page_next);
	page_next++;
	place[i] = AT(file, slot);
	flying[place[i]] = order[i];
	slot++;
	state[i] = IN_FLIGHT
}

/* ---- the disk's steps ---- */

#define LAND(at) \
	:: d_step { flying[at] != 0 -> disk[at] = flying[at]; synced[at] = false; flying[at] = 0; \
		read_log(false); log0 = 0; log1 = 0 } \
	:: d_step { flying[at] != 0 && phase != RUNNING -> flying[at] = 0 }
#define LAND_FILE(file) LAND(AT(file, 0)) LAND(AT(file, 1)) LAND(AT(file, 2))

/* [page_written]: an answer of the disk, in any order. */
#define REAP(i) \
	:: d_step { phase == RUNNING && state[i] == IN_FLIGHT && flying[place[i]] == 0 -> \
		state[i] = COMPLETE } \
	:: atomic { phase == RUNNING && errors_left > 0 && state[i] == IN_FLIGHT && flying[place[i]] != 0 -> \
		errors_left--; \
		if \
		:: true -> disk[place[i]] = flying[place[i]]; synced[place[i]] = false \
		:: true -> skip \
		fi; \
		flying[place[i]] = 0; state[i] = FAILED; is_poisoned = true }

/* Choose a page's content: more of either lane. */
inline choose(i)
{
	page = 0; c = taken0; d = taken1;
	do
	:: c < R0 -> c++
	:: d < R1 -> d++
	:: c > taken0 || d > taken1 -> break
	od;
	order[i] = PAGE(DATA_PAGE, 0, c, d, taken0, taken1);
	taken0 = c; taken1 = d; c = 0; d = 0
}

init
{
	do
	/* ---- the disk ---- */
	LAND_FILE(0)
	LAND_FILE(1)
#if FILES > 2
	LAND_FILE(2)
#endif
#if FILES > 3
	LAND_FILE(3)
#endif
#if FILES > 4
	LAND_FILE(4)
#endif

	/* ---- the running writer ---- */
	REAP(0)
	REAP(1)
	REAP(2)

	/* [prepare_file]: a full file, or an old one, ends when nothing is under way in it. */
	:: atomic { phase == RUNNING && !is_poisoned && HAS_WORK && file != NOWHERE && slot > 1 &&
#ifdef BUG_FILE_PAGE_EARLY
		state[1] == 0 && state[2] == 0 &&
#else
		!ANY_UNDER_WAY &&
#endif
		job2_file == NOWHERE ->
		submit_seal(file, slot, page_next); /* [pages_seal] */
		file = NOWHERE }
	/* [begin_file]: it was made ahead; [place_file_page]: its table is the state as of `written`. */
	:: atomic { phase == RUNNING && !is_poisoned && HAS_WORK && file == NOWHERE && !is_lane1_owed &&
#ifdef BUG_FILE_PAGE_EARLY
		state[1] == 0 && state[2] == 0 &&
#else
		!ANY_UNDER_WAY && state[2] == 0 &&
#endif
#ifndef BUG_VOID_BY_NUMBER
		(!void_before || seals_done == seals_submitted) &&
#endif
		file_next < FILES ->
		void_before = void_next; void_next = false;
		file = file_next; file_next++; slot = 0;
		name[file] = OPEN;
		/* Before all pages that wait. */
		c = ORDER - 1;
		do
		:: c > 0 -> state[c] = state[c - 1]; order[c] = order[c - 1]; place[c] = place[c - 1]; c--
		:: else -> break
		od;
		order[0] = PAGE(FILE_PAGE, 0, written0, written1, written0, written1);
		place_page(0) }
	/* [pages_close], [place]: a new page; or one that has waited since its file was given up. */
	:: atomic { phase == RUNNING && !is_poisoned && file != NOWHERE && !IS_FULL && !ANY_CLOSED && HAS_MORE &&
		state[2] == 0 ->
		if
		:: state[0] == 0 -> choose(0); place_page(0)
		:: state[0] != 0 && state[1] == 0 -> choose(1); place_page(1)
		:: state[0] != 0 && state[1] != 0 -> choose(2); place_page(2)
		fi
#ifdef BUG_RELEASE_AT_SUBMIT
		;
		released0 = taken0; released1 = taken1;
		d_step { check_released() }
#endif
		}
	:: atomic { phase == RUNNING && !is_poisoned && file != NOWHERE && !IS_FULL && ANY_CLOSED ->
		if
		:: state[0] == CLOSED -> place_page(0)
		:: state[0] != CLOSED && state[1] == CLOSED -> place_page(1)
		:: state[0] != CLOSED && state[1] != CLOSED -> place_page(2)
		fi }

	/* [complete_first]: the first in order, and one lane after the other. */
	:: d_step { phase == RUNNING && !is_poisoned && !is_lane1_owed && state[0] == COMPLETE ->
		if
		:: KIND(order[0]) == DATA_PAGE ->
			written0 = TO0(order[0]); written1 = TO1(order[0]);
			released0 = written0;
			is_lane1_owed = (released1 != written1)
		:: else
		fi;
		pop_order();
		check_released() }
	:: d_step { phase == RUNNING && is_lane1_owed -> released1 = written1; is_lane1_owed = false;
		check_released() }
#ifdef BUG_RELEASE_ANY
	:: d_step { phase == RUNNING && !is_lane1_owed && state[1] == COMPLETE && KIND(order[1]) == DATA_PAGE ->
		released0 = TO0(order[1]); released1 = TO1(order[1]); check_released() }
#endif

	/* [begin_sync] */
	:: d_step { phase == RUNNING && !is_syncing && !is_held && !is_poisoned && !is_lane1_owed && file != NOWHERE &&
		IS_UNSYNCED ->
		is_syncing = true; sync_of = file;
		snapshot0 = written0; snapshot1 = written1;
		sync_seals = seals_submitted;
		c = 0;
		do
		:: c < SLOTS -> covered = covered + (disk[AT(file, c)] != 0 -> 1 << c : 0); c++
		:: else -> break
		od;
		c = 0 }
	/* ... and with nothing but sealed files. */
	:: d_step { phase == RUNNING && !is_syncing && !is_held && !is_poisoned && !is_lane1_owed && file == NOWHERE &&
		IS_UNSYNCED ->
		snapshot0 = written0; snapshot1 = written1; sync_seals = seals_submitted; is_held = true }
	/* [synced]: of the file in which it began, which may be another's by now. */
	:: d_step { phase == RUNNING && is_syncing ->
		c = 0;
		do
		:: c < SLOTS ->
			if
			:: ((covered >> c) & 1) != 0 && disk[AT(sync_of, c)] != 0 -> synced[AT(sync_of, c)] = true
			:: else
			fi;
			c++
		:: else -> break
		od;
		c = 0; covered = 0; sync_of = 0;
#ifdef BUG_SNAPSHOT_LATE
		snapshot0 = written0; snapshot1 = written1; sync_seals = seals_submitted;
#endif
		is_syncing = false; is_held = true }
	/* [apply_snapshot] */
	:: d_step { phase == RUNNING && is_held &&
#ifndef BUG_NO_SEALS
		seals_done >= sync_seals &&
#endif
		true ->
		is_held = false;
		if
		:: snapshot0 > durable0 -> durable0 = snapshot0
		:: else
		fi;
		if
		:: snapshot1 > durable1 -> durable1 = snapshot1
		:: else
		fi;
		snapshot0 = 0; snapshot1 = 0; sync_seals = 0;
		check_durable() }

	/* [give_file_up]: nothing is in flight; what was complete is synced before. */
	:: d_step { phase == RUNNING && is_poisoned && !ANY_IN_FLIGHT && !is_lane1_owed && !is_dropping ->
		/* [sync_last] */
#ifndef BUG_NO_LAST_SYNC
		if
		:: IS_UNSYNCED || (void_before && KIND(order[0]) != FILE_PAGE) -> sync_file(file)
		:: else
		fi;
#endif
		is_dropping = true }
	:: d_step { phase == RUNNING && is_dropping ->
		is_dropping = false; is_poisoned = false; void_next = true;
#ifndef BUG_NUMBERS_GO_ON
		page_next = NO(order[0]);
#endif
		if
		:: KIND(order[0]) == FILE_PAGE -> pop_order()
		:: else
		fi;
		c = 0;
		do
		:: c < ORDER -> place[c] = 0; state[c] = (order[c] != 0 -> CLOSED : 0); c++
		:: else -> break
		od;
		c = 0;
		file = NOWHERE; slot = 0 }

	/* ---- the second thread: [roll_seal], [roll_finish] ---- */
	:: d_step { job_file != NOWHERE && job_step == 0 ->
		disk[AT(job_file, job_slot)] = PAGE(SEAL_PAGE, job_no, 0, 0, 0, 0);
		synced[AT(job_file, job_slot)] = false; job_step = 1 }
	:: d_step { job_file != NOWHERE && job_step == 1 -> cut_file(job_file, job_slot); job_step = 2 }
	:: d_step { job_file != NOWHERE && job_step == 2 -> sync_file(job_file); job_step = 3 }
	:: d_step { job_file != NOWHERE && job_step == 3 -> name[job_file] = SEALED; job_step = 4 }
	:: d_step { job_file != NOWHERE && job_step == 4 ->
		seals_done++; job_step = 0;
		job_file = job2_file; job_slot = job2_slot; job_no = job2_no;
		job2_file = NOWHERE; job2_slot = 0; job2_no = 0 }

	/* ---- recovery ---- */
	/* [wait_for_fences]: files are locked while anything is in flight to them; then synced. */
	:: d_step { phase == START &&
#ifndef BUG_NO_FENCE
		!IS_FLYING(0) && !IS_FLYING(1) &&
#if FILES > 2
		!IS_FLYING(2) &&
#endif
#if FILES > 3
		!IS_FLYING(3) &&
#endif
#if FILES > 4
		!IS_FLYING(4) &&
#endif
#endif
		true ->
		f = 0;
		do
		:: f < FILES ->
			if
			:: name[f] == OPEN -> sync_file(f)
			:: else
			fi;
			if
			:: name[f] != GONE -> file_next = f + 1
			:: else
			fi;
			f++
		:: else -> break
		od;
		f = 0; at_file = 0; phase = SETTLE }
	:: d_step { phase == SETTLE && at_file < FILES && name[at_file] != OPEN -> at_file++ }
	/* [settle_file]: the file's valid pages; the first step tears what the SEAL page is written over. */
	:: d_step { phase == SETTLE && at_step == 0 && at_file < FILES && name[at_file] == OPEN ->
		find_limit(at_file, false);
		if
		:: IS_BEGUN(at_file, false) && NO(disk[AT(at_file, 0)]) < limit ->
			s = 1; at_slot = 1; at_no = NO(disk[AT(at_file, 0)]) + 1; at_step = 1;
			do /* [index_pages] */
			:: s >= SLOTS -> break
			:: s < SLOTS ->
				page = disk[AT(at_file, s)];
				if
				:: KIND(page) == SEAL_PAGE -> at_slot = s; at_step = 3; break
				:: page == 0 && limit == NO_LIMIT ->
#ifndef BUG_NOT_ONLY_PREFIX
					break
#else
					skip
#endif
				:: page == 0 && limit != NO_LIMIT
				:: page != 0 && KIND(page) != SEAL_PAGE ->
					if
					:: NO(page) >= limit -> break
					:: else -> at_slot = s + 1; at_no = NO(page) + 1
					fi
				fi;
				s++
			od;
			if
			:: limit != NO_LIMIT -> at_no = limit
			:: else
			fi;
			if
			:: at_step == 1 -> disk[AT(at_file, at_slot)] = 0; synced[AT(at_file, at_slot)] = false
			:: else
			fi
		:: else -> /* [remove_not_begun] */
			name[at_file] = GONE;
			c = 0;
			do
			:: c < SLOTS -> disk[AT(at_file, c)] = 0; synced[AT(at_file, c)] = false; c++
			:: else -> break
			od;
			c = 0
		fi;
		page = 0; s = 0; limit = 0 }
	:: d_step { phase == SETTLE && at_step == 1 ->
		disk[AT(at_file, at_slot)] = PAGE(SEAL_PAGE, at_no, 0, 0, 0, 0); at_step = 3 }
	:: d_step { phase == SETTLE && at_step == 3 -> cut_file(at_file, at_slot); at_step = 4 }
	:: d_step { phase == SETTLE && at_step == 4 -> sync_file(at_file); at_step = 5 }
	:: d_step { phase == SETTLE && at_step == 5 ->
		name[at_file] = SEALED; at_step = 0; at_slot = 0; at_no = 0; at_file++ }
	/* [read_results]: of the newest file that has begun. */
	:: d_step { phase == SETTLE && at_file >= FILES ->
		page_next = 1; f = FILES;
		do
		:: f > 0 && !IS_BEGUN(f - 1, false) -> f--
		:: f > 0 && IS_BEGUN(f - 1, false) ->
			s = 0;
			do
			:: s < SLOTS ->
				page = disk[AT(f - 1, s)];
				if
				:: KIND(page) == SEAL_PAGE -> page_next = NO(page); break
				:: page == 0
				:: else ->
					taken0 = TO0(page); taken1 = TO1(page);
					page_next = NO(page) + 1
				fi;
				s++
			:: else -> break
			od;
			break
		:: f == 0 -> break
		od;
		f = 0; s = 0; page = 0; at_file = 0;
		read_log(false);
		assert(is_cut || (taken0 == log0 && taken1 == log1)); /* recovery believes what a reader sees */
		assert(!is_cut || (durable0 <= log0 && durable1 <= log1)); /* confirmed, lost by the power cut */
		assert(is_cut || (released0 <= log0 && released1 <= log1));
		log0 = 0; log1 = 0;
		phase = (is_cut -> OVER : RESULTS) }
	/* [drain_restore_end] */
	:: d_step { phase == RESULTS ->
#ifdef BUG_NO_DISK
		taken0 = released0; taken1 = released1;
#endif
		written0 = taken0; written1 = taken1;
		durable0 = taken0; released0 = taken0;
		check_durable();
		is_lane1_owed = (released1 != written1 || durable1 != written1);
		phase = RUNNING + 2 }
	:: d_step { phase == RUNNING + 2 -> durable1 = taken1; released1 = taken1; is_lane1_owed = false;
		check_durable();
		phase = RUNNING }

	/* ---- kills and power cuts ---- */
	:: d_step { kills_left > 0 && phase != OVER -> kills_left--; forget() }
	:: atomic { cuts_left > 0 && phase != OVER -> cuts_left--; is_cut = true; kills_left = 0; errors_left = 0;
		d_step { forget() };
		f = 0;
		do
		:: f < FILES * SLOTS && disk[f] != 0 && !synced[f] -> disk[f] = 0; flying[f] = 0; f++
		:: f < FILES * SLOTS -> flying[f] = 0; f++
		:: f >= FILES * SLOTS -> break
		od;
		f = 0 }

	/* ---- the end: nobody can go on ---- */
	:: timeout -> break
	od;
	assert(phase == OVER || (released0 == R0 && released1 == R1)); /* stalled */
	assert(phase == OVER || (durable0 == R0 && durable1 == R1));
	d_step { read_log(false) };
	assert(phase == OVER || (log0 == R0 && log1 == R1)) /* lost */
}
