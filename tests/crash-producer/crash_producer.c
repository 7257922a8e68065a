/*
 * crash_producer.c - kill or stop a producer at every single instruction of what it does.
 *
 *	crash_producer [SCENARIO [MANNER [BOUNDARY]]]
 *
 * For each boundary between two instructions of an operation a fresh victim is taken there, and
 *
 *	killed   killed; then a neighbour pushes and syncs, and the next victim has its lane
 *	reused   killed while the writer stands still; a successor binds its lane before the writer
 *	         comes to see it
 *	stopped  stopped; its neighbours push and sync; then it goes on to its end
 *	interrupted  by a signal, whose handler pushes, too
 *	left     the same, and the handler leaves the operation by siglongjmp()
 *
 * What all of them noted is compared with the log. A ring serves some hundred boundaries, then all
 * its lanes or owner ids must be free, and the log is checked as a whole.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"
#include "program.h"
#include "scenario.h"
#include "segment.h"
#include "step.h"

static const char *const manner_names[] = { "killed", "reused", "stopped", "interrupted", "left" };

enum {
	MOST_SHARE = 250, /* boundaries of one operation and manner */
	MOST_FULL = 10000,
	BOUNDARIES_A_RING = 300,
	RECORDS_MAX = 4 * 1024 * 1024,
	OWN_LANES = 4, /* 0, the neighbour's, the victim's, and one more for who takes two */
	STALLED_S = 60,
	WAIT_MS = 10000,
	BIND_MS = 3000,
	OWNERS = 511,
	HANDLES = 16,
	TOLD_BREACHES = 20,
	LONG_S = 5, /* for a boundary: with a breach, somebody waits in vain */
};

/* One ring, its writer, its log, and who uses it. */
struct arena {
	char ring[NAME_SIZE];
	char directory[64];
	pid_t writer;
	struct shmlog *neighbour;
	struct journal *journal;
	struct span spans[2 * BOUNDARIES_A_RING + 1];
	unsigned span_count;
};

/* One boundary of a sweep. */
struct visit {
	uint32_t k;
	enum step_end end;
	unsigned producer; /* of the record that was operated on */
	uint32_t serial;
	unsigned span; /* of its victim */
	bool is_found;
};

struct sweep {
	const struct scenario *scenario;
	enum manner manner;
	struct step_trace trace;
	struct visit *visits;
	uint32_t visit_count;
};

static struct arena arena;
static struct report *report;
static uint64_t losses; /* told by the logs */
static char work[48];
static pid_t suite;
static bool is_full;
static bool has_stalled; /* all that follows would only wait, too */

/* ---- the end ---- */

static void remove_tree(const char *path)
{
	char entry[PATH_MAX];
	struct dirent *item;
	DIR *directory = opendir(path);

	while (directory && (item = readdir(directory))) {
		if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
			continue;
		(void)snprintf(entry, sizeof(entry), "%s/%s", path, item->d_name);
		if (unlink(entry) < 0)
			remove_tree(entry);
	}
	if (directory)
		closedir(directory);
	(void)rmdir(path);
}

static void remove_rings(void)
{
	char prefix[NAME_SIZE + 8], path[PATH_MAX];
	DIR *directory = opendir(segment_directory());
	struct dirent *item;

	(void)snprintf(prefix, sizeof(prefix), "shmlog.crash-producer.%d.", (int)suite);
	while (directory && (item = readdir(directory))) {
		if (strncmp(item->d_name, prefix, strlen(prefix)) != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", segment_directory(), item->d_name);
		(void)unlink(path);
	}
	if (directory)
		closedir(directory);
}

static void watch_expired(int signal_no)
{
	(void)signal_no;
	violated("nothing has moved for %d s", STALLED_S);
	_exit(1);
}

static pid_t suite_child;

static void pass_on(int signal_no)
{
	if (suite_child > 0)
		(void)kill(suite_child, signal_no);
}

/* However the suite ends, its rings and files go. */
static int clean_up_after(pid_t child)
{
	const struct sigaction action = { .sa_handler = pass_on };
	int status;

	suite_child = child;
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	while (waitpid(child, &status, 0) != child)
		if (errno != EINTR)
			broken("waitpid: %s", strerror(errno));
	remove_rings();
	remove_tree(work);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A child that does not outlive us. */
static pid_t fork_child(void)
{
	const pid_t parent = getpid();
	const pid_t child = fork();

	if (child < 0)
		broken("fork: %s", strerror(errno));
	if (child == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
		_exit(126);
	return child;
}

/* A boundary's address as addr2line(1) wants it; beyond this program: as it is. */
static uint64_t place_of(const struct sweep *sweep, uint32_t k)
{
	extern const char __executable_start[], etext[];
	const uint64_t at = k < sweep->trace.count ? sweep->trace.at[k] : 0;

	if (at < (uintptr_t)__executable_start || at >= (uintptr_t)etext)
		return at;
	return at - (uintptr_t)__executable_start;
}

/* ---- the writer ---- */

static void stop_writer(void)
{
	int status;

	(void)kill(arena.writer, SIGSTOP);
	if (waitpid(arena.writer, &status, WUNTRACED) != arena.writer || !WIFSTOPPED(status)) {
		violated("the writer has ended");
		exit(1);
	}
}

static void continue_writer(void)
{
	(void)kill(arena.writer, SIGCONT);
}

/* ---- arenas ---- */

static void run_ctl(const char *command, const char *argument)
{
	const char *const argv[] = { "shmlog-ctl", command, arena.ring, argument, NULL };

	if (program_run(argv, NULL, WAIT_MS) != 0)
		violated("shmlog-ctl %s failed", command);
}

static struct shmlog *attach(const char *ring, const char *name, int create)
{
	struct shmlog_options options = SHMLOG_OPTIONS_INIT;
	struct shmlog *log;

	options.name = name;
	options.create = create;
	options.lane_size = LANE_SIZE;
	options.lanes = create ? 2 : 0;
	if (shmlog_attach(ring, &options, &log) < 0) {
		violated("attach: %s", shmlog_reason());
		exit(1);
	}
	return log;
}

static struct span *add_span(const char *name, unsigned producer)
{
	struct span *span = &arena.spans[arena.span_count++];

	*span = (struct span){ .producer = producer };
	(void)snprintf(span->name, sizeof(span->name), "%s", name);
	span->first = journal_next(arena.journal, producer);
	return span;
}

static void arena_open(const struct scenario *scenario)
{
	static unsigned number;
	static const char *const options[] = { "--sync", "none", "--roll-age", "1h", NULL };
	char errors[64];
	struct shmlog_options ring = SHMLOG_OPTIONS_INIT;
	struct shmlog *maker;

	arena = (struct arena){ 0 };
	(void)snprintf(arena.ring, sizeof(arena.ring), "crash-producer.%d.%u", (int)suite,
		       ++number);
	(void)snprintf(arena.directory, sizeof(arena.directory), "%s/%u", work, number);
	(void)snprintf(errors, sizeof(errors), "%s/errors", work);
	ring.create = 1;
	ring.lane_size = LANE_SIZE;
	ring.lanes = scenario->traits & LANE0 ? 1 : OWN_LANES;
	if (shmlog_attach(arena.ring, &ring, &maker) < 0)
		broken("attach: %s", shmlog_reason());
	shmlog_detach(&maker);
	arena.writer = program_start_writer(arena.ring, arena.directory, options, errors);
	if (arena.writer == 0)
		broken("the writer does not start: see its words in %s", errors);
	arena.journal = journal_create(NULL, PRODUCERS, RECORDS_MAX);
	(void)add_span("neighbour", BY_NEIGHBOUR);
	if (scenario->traits & LEVEL_INFO)
		run_ctl("level", "info");
	arena.neighbour = attach(arena.ring, "neighbour", 0);
	if (shmlog_bind(arena.neighbour) < 0)
		broken("bind: the ring is fresh");
}

/* ---- everything that was held can be had again ---- */

/* Lane 0 takes what a new user says of itself only when it has room: the writer makes some. */
static int bind_within_deadline(struct shmlog *log)
{
	const struct timespec nap = { .tv_nsec = 1000000 };
	int r = shmlog_bind(log);

	for (int i = 0; r == -EAGAIN && i < BIND_MS; i++) {
		(void)nanosleep(&nap, NULL);
		r = shmlog_bind(log);
	}
	return r;
}

/* In a child: that many handles, or until none binds. Those that count hold what they should. */
static unsigned bind_all(unsigned wanted, unsigned own_lanes)
{
	struct shmlog_stats stats = { .size = sizeof(stats) };
	struct shmlog *log;
	unsigned bound = 0;

	for (unsigned i = 0; i < wanted; i++) {
		if (shmlog_attach(arena.ring, NULL, &log) < 0 || bind_within_deadline(log) < 0)
			break;
		if (shmlog_get_stats(log, &stats) < 0 || stats.lanes != own_lanes)
			break;
		bound++;
	}
	return bound;
}

/* Children, as many as needed, each with its handles; they hold them until all are counted. */
static unsigned count_bindable(unsigned wanted, unsigned own_lanes)
{
	pid_t children[OWNERS / HANDLES + 1];
	unsigned bound = 0, count = 0;
	int ends[2], status;

	if (pipe(ends) < 0)
		broken("pipe: %s", strerror(errno));
	for (unsigned left = wanted; left > 0;) {
		unsigned mine = left < HANDLES ? left : HANDLES;

		left -= mine;
		children[count] = fork_child();
		if (children[count] == 0) {
			shmlog_detach(&arena.neighbour); /* a handle's place in the child */
			mine = bind_all(mine, own_lanes);
			if (write(ends[1], &mine, sizeof(mine)) != sizeof(mine))
				_exit(1);
			for (;;)
				pause();
		}
		count++;
		if (read(ends[0], &mine, sizeof(mine)) != sizeof(mine))
			broken("a child that binds: %s", strerror(errno));
		bound += mine;
	}
	while (count > 0) {
		(void)kill(children[--count], SIGKILL);
		(void)waitpid(children[count], &status, 0);
	}
	close(ends[0]);
	close(ends[1]);
	return bound;
}

static void check_nothing_leaked(const struct scenario *scenario)
{
	const bool shared = scenario->traits & LANE0;
	const unsigned wanted = shared ? OWNERS - 1 : OWN_LANES - 2;
	const unsigned bound = count_bindable(wanted, shared ? 0 : 1);

	if (bound < wanted)
		violated("%u of %u %s can be bound after the sweep", bound, wanted,
			 shared ? "owner ids" : "lanes");
}

/* ---- the check of an arena ---- */

/* Where it happened, for whoever looks into it. */
static void tell_missing(const struct sweep *sweep, const struct visit *visit, const bool *found)
{
	const struct span *span = &arena.spans[visit->span];

	for (uint32_t serial = span->first; serial < span->end; serial++)
		if (journal_state(arena.journal, BY_VICTIM, serial) == JOURNAL_PUBLISHED &&
		    !found[serial])
			fprintf(stderr,
				"    %u.%" PRIu32 ": in %s, %s, boundary %" PRIu32 " at %#" PRIx64
				"\n",
				BY_VICTIM, serial, sweep->scenario->name,
				manner_names[sweep->manner], visit->k, place_of(sweep, visit->k));
}

static void arena_check(struct sweep *sweep, uint32_t from)
{
	struct oracle oracle = { .journal = arena.journal,
				 .directory = arena.directory,
				 .spans = arena.spans,
				 .span_count = arena.span_count };
	bool *found[PRODUCERS] = { 0 };

	for (unsigned producer = 0; producer < PRODUCERS; producer++)
		found[producer] = calloc(RECORDS_MAX, sizeof(bool));
	if (!found[PRODUCERS - 1])
		broken("out of memory");
	oracle_check(&oracle, found);
	losses += oracle.losses;
	for (uint32_t i = from; i < sweep->visit_count; i++) {
		struct visit *visit = &sweep->visits[i];

		visit->is_found = found[visit->producer][visit->serial];
	}
	for (uint32_t i = from; i < sweep->visit_count; i++)
		tell_missing(sweep, &sweep->visits[i], found[BY_VICTIM]);
	for (unsigned producer = 0; producer < PRODUCERS; producer++)
		free(found[producer]);
}

static void arena_close(struct sweep *sweep, uint32_t from)
{
	const uint64_t before = violations();
	int status;

	if (has_stalled)
		exit(1);
	alarm(STALLED_S);
	arena.spans[0].end = journal_next(arena.journal, BY_NEIGHBOUR);
	check_nothing_leaked(sweep->scenario);
	run_ctl("flush", NULL);
	arena_check(sweep, from);
	if (violations() != before && sweep->visit_count > from)
		fprintf(stderr, "    in %s, %s, boundaries %u to %u\n", sweep->scenario->name,
			manner_names[sweep->manner], sweep->visits[from].k,
			sweep->visits[sweep->visit_count - 1].k);
	shmlog_detach(&arena.neighbour);
	(void)kill(arena.writer, SIGTERM);
	status = program_wait(arena.writer, WAIT_MS);
	if (status != 0)
		violated("the writer ended with %d", status);
	arena.writer = 0;
	journal_destroy(arena.journal);
	remove_rings();
	remove_tree(arena.directory);
	alarm(0);
}

/* ---- one boundary ---- */

static void complained(const char *who, int status)
{
	violated("%s has ended (status %x): %s", who, (unsigned)status, report->complaint);
}

static struct victim make_victim(const char *kind)
{
	struct victim victim = { .ring = arena.ring,
				 .journal = arena.journal,
				 .writer = arena.writer,
				 .report = report };

	(void)snprintf(victim.name, sizeof(victim.name), "%s%u", kind, arena.span_count);
	*report = (struct report){ 0 };
	return victim;
}

static void neighbour_pushes(int64_t timeout_ns)
{
	const int r = journal_push(arena.journal, arena.neighbour, BY_NEIGHBOUR, timeout_ns);

	if (r < 0 && !(r == -EAGAIN && timeout_ns == 0))
		violated("a neighbour's push: %s", shmlog_strerror(r));
}

static void neighbour_syncs(void)
{
	const int r = shmlog_sync(arena.neighbour, SHMLOG_SYNC_WRITTEN, DEADLINE_NS);

	if (r < 0)
		violated("a neighbour's sync: %s", shmlog_strerror(r));
}

/* While somebody is stopped: in another lane nothing is felt; in the same lane pushes go on, up to
 * a full lane. */
static void live_beside(const struct scenario *scenario, uint32_t k)
{
	const bool shared = scenario->traits & LANE0;
	const int pushes = !shared ? 3 : k % 16 == 0 ? LANE_BLOCKS + 10 : 5;

	for (int i = 0; i < pushes; i++)
		neighbour_pushes(shared ? 0 : DEADLINE_NS);
	if (!shared)
		neighbour_syncs();
}

/* A ring is made whole or not at all, and whoever comes next has one. */
static void check_made_ring(const struct victim *victim, bool to_remove)
{
	struct shmlog_options plain = SHMLOG_OPTIONS_INIT;
	char name[NAME_SIZE], path[PATH_MAX];
	struct shmlog *log;
	int r;

	scenario_ring_name(victim, name);
	r = shmlog_attach(name, &plain, &log);
	if (r == 0)
		shmlog_detach(&log);
	else if (r != -ENOENT)
		violated("a ring that was being made: %s", shmlog_reason());
	log = attach(name, "next", 1);
	r = shmlog_try_push(log, "x", 1);
	if (r < 0)
		violated("a push into a ring that was being made: %s", shmlog_strerror(r));
	shmlog_detach(&log);
	(void)snprintf(path, sizeof(path), "%s/shmlog.%s", segment_directory(), name);
	if (to_remove && unlink(path) < 0)
		violated("a ring that was made is not there");
}

static void stop_and_go_on(const struct sweep *sweep, const struct victim *victim, pid_t child,
			   uint32_t k)
{
	int status;

	step_stop(child);
	continue_writer();
	live_beside(sweep->scenario, k);
	if (sweep->scenario->traits & MAKES_RING)
		check_made_ring(victim, false);
	(void)kill(child, SIGCONT);
	status = program_wait(child, WAIT_MS);
	if (status != 0)
		complained("who was stopped", status);
}

static void interrupt_and_go_on(pid_t child)
{
	int status;

	step_interrupt(child, SIGUSR1);
	continue_writer();
	status = program_wait(child, WAIT_MS);
	if (status != 0)
		complained("who was interrupted", status);
}

/* The writer stands still from before the death until the successor lets it go on. */
static void kill_and_succeed(const struct sweep *sweep, pid_t child)
{
	struct victim successor;
	struct span *span;
	int status;
	pid_t pid;

	if (!(sweep->scenario->traits & WRITER_STOPPED))
		stop_writer();
	step_kill(child);
	successor = make_victim("s");
	span = add_span(successor.name, BY_SUCCESSOR);
	pid = fork_child();
	if (pid == 0)
		scenario_succeed(sweep->scenario, &successor);
	status = program_wait(pid, 2 * WAIT_MS);
	continue_writer();
	if (status != 0)
		complained("a successor", status);
	span->end = journal_next(arena.journal, BY_SUCCESSOR);
}

static pid_t start_victim(const struct scenario *scenario, struct victim *victim)
{
	int status;
	pid_t child;

	if (scenario->traits & WRITER_STOPPED)
		stop_writer();
	child = fork_child();
	if (child == 0)
		scenario_run(scenario, victim);
	if (step_await(child, &status))
		return child;
	complained("a victim", status);
	continue_writer();
	return 0;
}

static void end_victim(const struct sweep *sweep, const struct victim *victim, pid_t child,
		       uint32_t k)
{
	switch (sweep->manner) {
	case KILLED:
		step_kill(child);
		continue_writer();
		break;
	case REUSED:
		kill_and_succeed(sweep, child);
		break;
	case STOPPED:
		stop_and_go_on(sweep, victim, child, k);
		break;
	default:
		interrupt_and_go_on(child);
	}
	if (sweep->scenario->traits & MAKES_RING)
		check_made_ring(victim, true);
}

/* A victim goes to boundary @k; @record: to its end, step by step. */
static void visit_boundary(struct sweep *sweep, uint32_t k, bool record)
{
	struct visit *visit = &sweep->visits[sweep->visit_count];
	const struct scenario *scenario = sweep->scenario;
	struct step_patience patience = { scenario->traits & WAITS ? continue_writer : NULL,
					  false };
	struct victim victim = make_victim("v");
	struct span *span = add_span(victim.name, BY_VICTIM);
	pid_t child;

	victim.manner = sweep->manner;
	span->is_loose = sweep->manner >= INTERRUPTED;
	child = start_victim(scenario, &victim);

	alarm(STALLED_S);
	span->end = journal_next(arena.journal, BY_VICTIM);
	if (child == 0)
		return;
	*visit = (struct visit){ .k = k,
				 .producer = report->producer,
				 .serial = report->serial,
				 .span = (unsigned)(span - arena.spans) };
	visit->end = record ? step_record(child, &sweep->trace, &patience)
			    : step_go(child, &sweep->trace, k, &patience);
	if (visit->end == STEP_DIED) {
		complained("a victim in its operation", 0);
		continue_writer();
		return;
	}
	sweep->visit_count++;
	neighbour_pushes(0);
	end_victim(sweep, &victim, child, k);
	neighbour_pushes(DEADLINE_NS);
	neighbour_syncs();
	span->end = journal_next(arena.journal, BY_VICTIM);
}

/* ---- a sweep ---- */

/* A record that was operated on is in the log from one boundary on, and not before. Only where the
 * run was the recorded one does a boundary say how far it had come. */
static void check_settled(const struct sweep *sweep)
{
	const struct visit *first = NULL;

	for (uint32_t i = 0; i < sweep->visit_count; i++) {
		const struct visit *visit = &sweep->visits[i];

		if (visit->end != STEP_ARRIVED)
			continue;
		if (visit->is_found && !first)
			first = visit;
		if (!visit->is_found && first)
			violated("%s, %s: a record is in the log if its producer dies at boundary "
				 "%" PRIu32 ", and not if it dies later, at %" PRIu32,
				 sweep->scenario->name, manner_names[sweep->manner], first->k,
				 visit->k);
	}
}

static bool is_enough(void)
{
	return has_stalled || violations() >= TOLD_BREACHES;
}

static void visit_and_tell(struct sweep *sweep, uint32_t k, bool record)
{
	const uint64_t before = violations();
	const time_t begun = time(NULL);

	visit_boundary(sweep, k, record);
	if (violations() == before)
		return;
	has_stalled = time(NULL) - begun >= LONG_S;
	fprintf(stderr, "    in %s, %s, boundary %" PRIu32 " at %#" PRIx64 "\n",
		sweep->scenario->name, manner_names[sweep->manner], k, place_of(sweep, k));
}

static void sweep_boundaries(struct sweep *sweep, const uint32_t *ks, uint32_t count)
{
	for (uint32_t i = 0; i < count && !is_enough();) {
		const uint32_t from = sweep->visit_count;
		const uint32_t end = count - i < BOUNDARIES_A_RING ? count : i + BOUNDARIES_A_RING;

		arena_open(sweep->scenario);
		for (; i < end && !is_enough(); i++)
			visit_and_tell(sweep, ks[i], false);
		arena_close(sweep, from);
	}
	if (sweep->scenario->traits & RECORD_SETTLES && sweep->manner < STOPPED)
		check_settled(sweep);
}

static void record_run(struct sweep *sweep)
{
	struct visit visits[2];

	sweep->visits = visits;
	arena_open(sweep->scenario);
	visit_and_tell(sweep, 0, true);
	if (has_stalled)
		exit(1);
	step_trace_free(&sweep->trace); /* the second one finds what is there once and for all */
	visit_and_tell(sweep, 0, true);
	arena_close(sweep, 0);
	sweep->visits = NULL;
	sweep->visit_count = 0;
}

/* Which boundaries: all up to a number; of longer operations that many, evenly, of those before an
 * instruction that was not executed before. */
static uint32_t choose(const struct step_trace *trace, uint32_t *ks)
{
	const uint64_t most = is_full ? MOST_FULL : MOST_SHARE;
	uint64_t news = 0, seen = 0;
	uint32_t count = 0;

	for (uint32_t k = 0; k < trace->count; k++)
		news += trace->anchor[k] == k;
	for (uint32_t k = 0; k <= trace->count; k++) {
		const bool is_new = k < trace->count && trace->anchor[k] == k;
		const bool is_due =
			is_new && (news <= most || seen * most / news != (seen + 1) * most / news);

		seen += is_new;
		if (trace->count <= most || is_due || k == trace->count)
			ks[count++] = k;
	}
	return count;
}

/* Who leaves a bind by siglongjmp() keeps what it had taken until its process ends. */
static bool is_possible(const struct scenario *scenario, enum manner manner)
{
	if (manner >= INTERRUPTED && scenario->traits & UNATTACHED)
		return false;
	return manner != LEFT || !(scenario->traits & BINDS);
}

static void run_scenario(const struct scenario *scenario, const char *manner, const char *boundary,
			 uint64_t totals[MANNERS])
{
	struct sweep sweep = { .scenario = scenario };
	uint64_t counts[MANNERS] = { 0 };
	uint32_t count = 1;
	uint32_t *ks;

	record_run(&sweep);
	if (!sweep.trace.anchor || is_enough())
		return; /* told */
	ks = calloc(sweep.trace.count + 1, sizeof(*ks));
	sweep.visits = calloc(sweep.trace.count + 1, sizeof(*sweep.visits));
	if (!ks || !sweep.visits)
		broken("out of memory");
	if (boundary)
		ks[0] = (uint32_t)atoi(boundary);
	else
		count = choose(&sweep.trace, ks);
	for (sweep.manner = 0; sweep.manner < MANNERS; sweep.manner++) {
		if (manner && strcmp(manner, manner_names[sweep.manner]) != 0)
			continue;
		if (!is_possible(scenario, sweep.manner))
			continue;
		sweep.visit_count = 0;
		sweep_boundaries(&sweep, ks, count);
		counts[sweep.manner] = sweep.visit_count;
		totals[sweep.manner] += sweep.visit_count;
	}
	printf("  %-13s %6u instructions; boundaries:", scenario->name, sweep.trace.count);
	for (unsigned i = 0; i < MANNERS; i++)
		printf(" %5" PRIu64 " %s%s", counts[i], manner_names[i],
		       i + 1 < MANNERS ? "," : "\n");
	fflush(stdout);
	free(ks);
	free(sweep.visits);
	step_trace_free(&sweep.trace);
}

static void set_up(void)
{
	const char *full = getenv("FULL");

	is_full = full && *full;
	suite = getpid();
	(void)snprintf(work, sizeof(work), "/tmp/shmlog-crash-producer.XXXXXX");
	if (!mkdtemp(work))
		broken("%s: %s", work, strerror(errno));
	report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (report == MAP_FAILED)
		broken("mmap: %s", strerror(errno));
}

static int run_scenarios(const char *wanted, const char *manner, const char *boundary)
{
	const struct sigaction action = { .sa_handler = watch_expired };
	uint64_t totals[MANNERS] = { 0 };
	unsigned run = 0;

	(void)sigaction(SIGALRM, &action, NULL);
	for (unsigned i = 0; i < scenario_count && !is_enough(); i++) {
		if (wanted && strcmp(wanted, scenarios[i].name) != 0)
			continue;
		run++;
		run_scenario(&scenarios[i], manner, boundary, totals);
	}
	if (run == 0)
		broken("no scenario \"%s\"", wanted);
	printf("crash-producer: %u operations; boundaries:", run);
	for (unsigned i = 0; i < MANNERS; i++)
		printf(" %" PRIu64 " %s,", totals[i], manner_names[i]);
	printf(" %" PRIu64 " losses in their places; violations: %" PRIu64 "\n", losses,
	       violations());
	return violations() != 0;
}

static const char *argument(int argc, char **argv, int i)
{
	return i < argc && *argv[i] ? argv[i] : NULL;
}

int main(int argc, char **argv)
{
	const char *why;
	pid_t child;

	if (!step_is_possible(&why)) {
		printf("SKIPPED: crash-producer: %s\n", why);
		return 0;
	}
	set_up();
	child = fork_child();
	if (child > 0)
		return clean_up_after(child);
	exit(run_scenarios(argument(argc, argv, 1), argument(argc, argv, 2),
			   argument(argc, argv, 3)));
}
