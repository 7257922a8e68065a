/*
 * log_id.pml - one ring, two directories: which log speaks for the ring, and who may go on.
 *
 * A user starts a writer in either directory, again and again, with --adopt where it is refused
 * without. Each may be killed before any store to the ring's status and before any page lands.
 * Pages and their order are writer.pml's matter: here a page takes all records up to some position.
 */
#ifndef SESSIONS
#define SESSIONS 4
#endif
#define RECORDS 3
#define NOBODY 2

/* The ring's status; path: a directory, or NOBODY. */
byte released, pending_log_id, log_id, log_path = NOBODY;
/* The two directories: id and position of the newest page; 0: no log yet. */
byte dir_log_id[2], dir_position[2];

byte ids;           /* random ones that were drawn */
byte sessions = SESSIONS;
bool killed;
byte logged;        /* ghost: records of all directories, in order, each once */

/* [is_foreign] */
#define IS_FOREIGN(dir) (pending_log_id != 0 && \
	!(dir_log_id[dir] == 0 && log_path == (dir)) && pending_log_id != dir_log_id[dir])

proctype writer()
{
	byte dir, id, taken, to;
	bool continues;

start:
	{
		atomic {
			sessions > 0 -> sessions--;
			dir = 0; id = 0; taken = 0; to = 0; continues = false;
			if
			:: dir = 0
			:: dir = 1
			fi;
			/* Nobody is locked out: the directory that the ring names is taken without --adopt. */
			assert(log_path == NOBODY || !IS_FOREIGN(log_path));
			id = dir_log_id[dir]; /* [recover_log_id] */
#ifndef BUG_NO_PENDING
			if /* [check_log] */
			:: IS_FOREIGN(dir) ->
				assert(log_path != NOBODY); /* refused, and sent nowhere */
				if
				:: true -> goto start /* refused */
				:: true -> taken = dir_position[log_path] /* [adopt] */
				fi
			:: else
			fi
#endif
			;
			taken = (dir_position[dir] > taken -> dir_position[dir] : taken); /* [recover_log] */
			continues = (id != 0 && id == log_id);
			if /* [new_log_id] */
			:: id == 0 && log_path == dir && pending_log_id != 0 -> id = pending_log_id
			:: id == 0 && !(log_path == dir && pending_log_id != 0) -> ids++; id = ids
			:: else
			fi;
			/* [restore_lane]: what the ring has released and its own log has not is missing. */
			assert(!(continues && released > taken));
			taken = (released > taken -> released : taken)
		}
		released = taken;
		/* [writer_enter_ring] */
#ifdef BUG_PATH_LAST
		pending_log_id = id;
		log_path = dir;
#else
		pending_log_id = 0;
		log_path = dir;
		pending_log_id = id;
#endif
		/* The FILE page: its table holds the lanes' positions. */
		atomic { dir_log_id[dir] = id; dir_position[dir] = taken };
		log_id = id; /* [complete_first] */
		do
		:: atomic { taken < RECORDS ->
			if
			:: to = taken + 1
			:: to = RECORDS
			fi }
			atomic { /* the page lands */
				assert(logged == taken); /* doubled, or lost */
				logged = to; dir_position[dir] = to; taken = to };
			released = taken
		:: break
		od;
		pending_log_id = 0 /* [end]: clean */
	} unless {
		killed -> killed = false
	};
	goto start
}

proctype killer()
{
	do
	:: atomic { sessions > 0 && !killed -> killed = true }
	od
}

init
{
	atomic { run writer(); run killer() }
}
