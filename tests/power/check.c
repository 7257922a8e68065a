/*
 * check.c - recover, read back, compare. See check.h.
 *
 * What "named" means: a record that was published and is not in the log, although a later one of
 * the same producer is, was lost in the middle; then shmlog-cat says that something is missing and
 * ends with 3, or a mark says how many were lost there. Where the ring survived, the same holds for
 * the end: the marks count exactly what the ring had released and the disk has lost; what it had
 * not released is not lost at all. Where the ring is gone, too, an end is an end.
 *
 * Where old files are deleted, the beginning may be missing, and with it the marks that it held;
 * but never so much that fewer files are left than are to be kept.
 */
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>
#include <xxhash.h>

#include "journal.h"
#include "logdir.h"
#include "program.h"

enum {
	WRITER_MS = 60000,
	AFTER_RECORDS = 3, /* pushed into the new ring before the recovery                   */
	AFTER = PUSHERS,   /* ... by this producer                                           */
	CAT_DAMAGED = 3,
	RECOVERY_CUTS = 4,
	KILL_WITHIN = 40, /* events                                                            */
	NOT_KEPT = 2,     /* files that are counted when the oldest go, and may then go unused */
};

/* ---- directories ---- */

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *walk)
{
	(void)about;
	(void)type;
	return walk->level == 0 ? 0 : remove(path);
}

static void empty(const char *root)
{
	if (nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
		broken("cannot empty %s: %s", root, strerror(errno));
}

static uint64_t hash_file(const char *path, uint64_t hash)
{
	static uint8_t bytes[1 << 20];
	FILE *file = fopen(path, "r");
	size_t size;

	if (!file)
		broken("cannot read %s: %s", path, strerror(errno));
	while ((size = fread(bytes, 1, sizeof(bytes), file)) > 0)
		hash = XXH64(bytes, size, hash);
	(void)fclose(file);
	return hash;
}

static int is_listed(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
	       strcmp(entry->d_name, "lock") != 0;
}

/* Names and bytes of everything but the lock, which names its holder. */
static uint64_t hash_tree(const char *path, uint64_t hash)
{
	struct dirent **entries;
	const int count = scandir(path, &entries, is_listed, alphasort);
	char below[4096];

	if (count < 0)
		broken("cannot list %s: %s", path, strerror(errno));
	for (int i = 0; i < count; i++) {
		(void)snprintf(below, sizeof(below), "%s/%s", path, entries[i]->d_name);
		hash = XXH64(entries[i]->d_name, strlen(entries[i]->d_name), hash);
		hash = entries[i]->d_type == DT_DIR ? hash_tree(below, hash)
						    : hash_file(below, hash);
		free(entries[i]);
	}
	free(entries);
	return hash;
}

void tell_errors(const struct recording *recording)
{
	char line[512];
	FILE *file = fopen(recording->errors, "r");

	while (file && fgets(line, sizeof(line), file))
		(void)fprintf(stderr, "    %s", line);
	if (file)
		(void)fclose(file);
}

/* ---- reading back ---- */

struct reading {
	char *bytes;
	size_t size;
	int status;
};

/* What it says besides goes where the writers' words go. */
static FILE *start_cat(const struct recording *recording, const char *format, pid_t *ret_pid)
{
	const char *const argv[] = { "shmlog-cat", "-o", format, recording->log, NULL };
	const int errors = open(recording->errors, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	const int own = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	FILE *stream;

	if (errors < 0 || own < 0 || dup2(errors, STDERR_FILENO) < 0)
		broken("%s: %s", recording->errors, strerror(errno));
	stream = program_read(argv, ret_pid);
	(void)dup2(own, STDERR_FILENO);
	close(own);
	close(errors);
	return stream;
}

/* Without the lines that are nobody's. */
static void drop_fillers(struct reading *reading)
{
	char *to = reading->bytes;

	for (const char *line = reading->bytes, *end; *line; line = end) {
		const char *newline = strchr(line, '\n');

		end = newline ? newline + 1 : line + strlen(line);
		if (*line == FILLER)
			continue;
		memmove(to, line, (size_t)(end - line));
		to += end - line;
	}
	*to = '\0';
	reading->size = (size_t)(to - reading->bytes);
}

static void read_log(const struct recording *recording, const char *format, struct reading *ret)
{
	size_t capacity = 1 << 16;
	size_t n;
	pid_t pid;
	FILE *stream = start_cat(recording, format, &pid);

	*ret = (struct reading){ .bytes = malloc(capacity) };
	while (ret->bytes &&
	       (n = fread(ret->bytes + ret->size, 1, capacity - ret->size - 1, stream)) > 0) {
		ret->size += n;
		if (capacity - ret->size > 1)
			continue;
		capacity *= 2;
		ret->bytes = realloc(ret->bytes, capacity);
	}
	if (!ret->bytes)
		broken("out of memory");
	ret->bytes[ret->size] = '\0';
	ret->status = program_close(stream, pid);
	drop_fillers(ret);
}

static void check_status(const struct reading *reading, int also)
{
	if (reading->status != 0 && reading->status != CAT_DAMAGED && reading->status != also)
		violated("shmlog-cat ended with %d", reading->status);
}

static FILE *stream_of(const struct reading *reading)
{
	FILE *stream;

	if (reading->size == 0) /* fmemopen() refuses it */
		stream = fopen("/dev/null", "r");
	else
		stream = fmemopen(reading->bytes, reading->size, "r");
	if (!stream)
		broken("fmemopen: %s", strerror(errno));
	return stream;
}

/* Files that a reader finds, a file and its archive are one. */
static unsigned count_files(const struct recording *recording)
{
	const int dir = open(recording->log, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct logdir_list list;
	unsigned count = 0;

	if (dir < 0 || logdir_list(&sys_real, dir, &list) < 0)
		broken("cannot list %s", recording->log);
	for (size_t i = 0; i < list.count; i++)
		count += i == 0 || list.files[i].file_no != list.files[i - 1].file_no;
	logdir_list_free(&list);
	close(dir);
	return count;
}

static void forgive_deleted(const struct recording *recording, struct journal *journal,
			    const struct reading *reading)
{
	const unsigned kept = recording->scenario->max_files;
	FILE *stream;
	uint64_t deleted;

	if (kept == 0)
		return;
	stream = stream_of(reading);
	deleted = journal_forgive_deleted(journal, stream);
	(void)fclose(stream);
	if (deleted > 0 && count_files(recording) + NOT_KEPT < kept)
		violated("%llu records are deleted, and only %u files are left",
			 (unsigned long long)deleted, count_files(recording));
}

static void compare(const struct recording *recording, struct journal *journal,
		    const struct reading *reading, struct journal_totals *ret)
{
	FILE *stream;

	forgive_deleted(recording, journal, reading);
	stream = stream_of(reading);
	(void)journal_check(journal, stream, DEMAND_DURABLE, ret);
	(void)fclose(stream);
}

static bool is_published(const struct journal *journal, unsigned producer, uint32_t serial)
{
	const enum journal_state state = journal_state(journal, producer, serial);

	return state == JOURNAL_PUBLISHED || state == JOURNAL_DURABLE;
}

/* Published records of which a later one of the same producer was found, but they were not. */
static uint64_t count_holes(const struct journal *journal, const struct reading *reading)
{
	uint32_t next[PUSHERS + 1] = { 0 };
	uint64_t holes = 0;

	for (const char *line = reading->bytes; *line; line = strchr(line, '\n') + 1) {
		unsigned producer, serial;

		if (!strchr(line, '\n'))
			break;
		if (sscanf(line, "%u.%u ", &producer, &serial) != 2 || producer > PUSHERS)
			continue;
		for (uint32_t i = next[producer]; i < serial; i++)
			holes += is_published(journal, producer, i);
		if (serial >= next[producer])
			next[producer] = serial + 1;
	}
	return holes;
}

/* What one line, up to @end, says that the disk has lost of the producers' records. */
static uint64_t mark_of(const char *line, const char *end)
{
	static const char filler[] = "\"source\":\"" FILLER_NAME "\"";
	const char *at = memmem(line, (size_t)(end - line), "\"lost\":", 7);
	unsigned long long lost;
	char reason[16];

	if (!at || memmem(line, (size_t)(end - line), filler, sizeof(filler) - 1) ||
	    sscanf(at, "\"lost\":%llu,\"reason\":\"%15[a-z]\"", &lost, reason) != 2)
		return 0;
	return strcmp(reason, "unwritten") == 0 || strcmp(reason, "unsynced") == 0 ? lost : 0;
}

static uint64_t count_marks(const struct recording *recording)
{
	struct reading reading;
	uint64_t marks = 0;

	read_log(recording, "json", &reading);
	check_status(&reading, 0);
	for (const char *line = reading.bytes, *end; (end = strchr(line, '\n')); line = end + 1)
		marks += mark_of(line, end);
	free(reading.bytes);
	return marks;
}

/* ---- what was known ---- */

/* Records of the producer's lane that the ring's words called durable when event @cut came. */
static uint64_t durable_words(const struct recording *recording, unsigned producer, uint32_t cut)
{
	const struct trace *trace = recording->trace;
	const uint32_t lane = recording->lanes[producer];

	if (cut < trace->count)
		return trace->events[cut].durable[lane];
	return load_acquire(&view_lane_status(&recording->view, lane)->records_durable);
}

struct demand {
	uint32_t cut;
	const uint32_t *pushed; /* serials of each producer that were used; NULL: by their times */
	uint64_t kept[PUSHERS]; /* so many of the first records of each had left the ring         */
};

/* @ordinal: of the published records of the producer. */
static enum journal_state state_of(const struct recording *recording, const struct demand *demand,
				   unsigned producer, uint32_t serial, uint64_t ordinal)
{
	const struct known *known = &recording->trace->known[producer];
	const bool is_left = demand->pushed && ordinal >= demand->kept[producer];

	if (known->published[serial] == TRACE_NEVER)
		return JOURNAL_DROPPED;
	if (known->durable[serial] <= demand->cut ||
	    ordinal < durable_words(recording, producer, demand->cut) || is_left)
		return JOURNAL_DURABLE;
	if (demand->pushed || known->published[serial] <= demand->cut)
		return JOURNAL_PUBLISHED;
	return JOURNAL_TRIED;
}

static void know(const struct recording *recording, const struct demand *demand,
		 struct journal *journal, unsigned producer)
{
	const struct known *known = &recording->trace->known[producer];
	const uint32_t end = demand->pushed ? demand->pushed[producer] : known->pushed;
	uint64_t ordinal = 0;

	for (uint32_t serial = 0; serial < end; serial++) {
		if (!demand->pushed && known->tried[serial] > demand->cut)
			break;
		journal_note(journal, producer, serial,
			     state_of(recording, demand, producer, serial, ordinal));
		ordinal += known->published[serial] != TRACE_NEVER;
	}
}

static struct journal *know_all(const struct recording *recording, const struct demand *demand)
{
	struct journal *journal = journal_create(NULL, PUSHERS + 1, TRACE_RECORDS);

	for (unsigned producer = 0; producer < PUSHERS; producer++)
		know(recording, demand, journal, producer);
	return journal;
}

static void know_after(struct journal *journal, enum journal_state state)
{
	for (uint32_t serial = 0; serial < AFTER_RECORDS; serial++)
		journal_note(journal, AFTER, serial, state);
}

/* ---- recovery ---- */

static void recover(const struct recording *recording, const char *ring, uint32_t after,
		    bool is_traced, struct figures *figures)
{
	struct config config;
	int status;

	(void)truncate(recording->errors, 0);
	configure(recording, ring, true, &config);
	config.compress = false; /* of the disk as it was, no more and no less */
	config.max_files = 0;
	if (is_traced)
		status = program_wait(
			start_writer(recording, &config, &disk_sys, disk_open_io, after),
			WRITER_MS);
	else
		status = program_wait(start_writer(recording, &config, &sys_real, io_open, after),
				      WRITER_MS);
	figures->recoveries++;
	if (status == 0)
		return;
	violated("the recovery ended with %d", status);
	tell_errors(recording);
}

/* By the program as it is installed, with nothing to do. */
static void recover_again(const struct recording *recording, const char *ring,
			  struct figures *figures)
{
	const char *const argv[] = { "shmlog-writer", "--once", "-r", ring, "-d",
				     recording->log,  NULL };
	const uint64_t before = hash_tree(recording->log, 0);
	const int status = program_run(argv, recording->errors, WRITER_MS);

	figures->recoveries++;
	if (status != 0) {
		violated("the second recovery ended with %d", status);
		tell_errors(recording);
	}
	if (hash_tree(recording->log, 0) != before)
		violated("the second recovery changed something");
}

/* What a cut has left half done, the next run does: afterwards each file has one name. */
static void check_archiving(const struct recording *recording, struct journal *journal)
{
	const char *const argv[] = { "shmlog-writer", "--archive", "-d", recording->log, NULL };
	const int status = program_run(argv, recording->errors, WRITER_MS);
	const int dir = open(recording->log, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct logdir_list list;
	struct reading reading;

	if (status != 0) {
		violated("archiving by hand ended with %d", status);
		tell_errors(recording);
	}
	if (dir < 0 || logdir_list(&sys_real, dir, &list) < 0)
		broken("cannot list %s", recording->log);
	if (list.count != count_files(recording))
		violated("an archive and its original are both there");
	for (size_t i = 0; i < list.side_count; i++)
		if (list.sides[i].state == LOGFILE_ARCHIVE_TMP)
			violated("half an archive is left");
	logdir_list_free(&list);
	close(dir);
	read_log(recording, "raw", &reading);
	check_status(&reading, 0);
	compare(recording, journal, &reading, NULL);
	free(reading.bytes);
}

static void check_log(const struct recording *recording, struct journal *journal,
		      struct figures *figures)
{
	struct reading reading;
	uint64_t holes;

	read_log(recording, "raw", &reading);
	check_status(&reading, 0);
	compare(recording, journal, &reading, NULL);
	holes = count_holes(journal, &reading);
	if (holes && reading.status == 0)
		violated("%llu records are missing in the middle, and nothing says so",
			 (unsigned long long)holes);
	figures->holes += holes != 0;
	free(reading.bytes);
}

/* Whoever reads a log that is not recovered yet sees what is durable, and nothing twice. */
static void check_unrecovered(const struct recording *recording, struct journal *journal)
{
	struct stat about;
	struct reading reading;

	if (stat(recording->log, &about) < 0)
		return;
	read_log(recording, "raw", &reading);
	check_status(&reading, EX_DATAERR); /* not even a lock: no log */
	compare(recording, journal, &reading, NULL);
	free(reading.bytes);
}

static void new_ring(const struct recording *recording, char name[80], struct segment *segment,
		     struct segment_view *view)
{
	(void)snprintf(name, 80, "%s.new", recording->ring);
	make_ring(name, 2, segment, view);
}

/* ---- a cut inside the recovery ---- */

static void check_one_cut(const struct recording *recording, const struct trace *trace,
			  uint32_t cut, struct journal *journal, uint64_t *seed,
			  struct figures *figures)
{
	struct image *image = image_new(trace, cut);
	struct segment_view view;
	struct segment segment;
	char ring[80];

	empty(recording->root);
	image_choose(image, random_below(seed, IMAGE_CORNERS + 4), seed);
	image_make(image, recording->root);
	image_free(image);
	new_ring(recording, ring, &segment, &view);
	recover(recording, ring, 0, false, figures);
	check_log(recording, journal, figures);
	drop_ring(ring, &segment, &view);
	figures->images++;
	figures->recovery_cuts++;
}

/* Of the records that the recovering writer took. */
static void know_traced(const struct trace *trace, uint32_t cut, uint64_t at_end,
			struct journal *journal)
{
	uint64_t durable = 0;

	for (unsigned lane = 0; lane < TRACE_LANES; lane++)
		durable += cut < trace->count ? trace->events[cut].durable[lane] : 0;
	if (cut >= trace->count)
		durable = at_end;
	for (uint32_t serial = 0; serial < AFTER_RECORDS; serial++)
		journal_note(journal, AFTER, serial,
			     serial < durable ? JOURNAL_DURABLE : JOURNAL_TRIED);
}

static void cut_recovery(const struct recording *recording, struct journal *journal, uint64_t *seed,
			 struct figures *figures)
{
	struct trace *trace = trace_create(recording->root, random_next(seed));
	const uint32_t from = trace->count;
	struct segment_view view;
	struct segment segment;
	char ring[80];

	new_ring(recording, ring, &segment, &view);
	trace_use(trace, &view);
	recover(recording, ring, AFTER_RECORDS, true, figures);
	figures->traces++;
	for (unsigned i = 0; i < RECOVERY_CUTS; i++) {
		const uint32_t cut = from + random_below(seed, trace->count - from + 1);

		know_traced(trace, cut, AFTER_RECORDS, journal);
		check_one_cut(recording, trace, cut, journal, seed, figures);
	}
	trace_use(recording->trace, &recording->view);
	trace_destroy(trace);
	drop_ring(ring, &segment, &view);
}

/* ---- the two ends of a ring ---- */

void check_lost_ring(const struct recording *recording, const struct image *image, uint32_t cut,
		     unsigned what, uint64_t *seed, struct figures *figures)
{
	const struct demand demand = { .cut = cut };
	struct journal *journal = know_all(recording, &demand);
	struct segment_view view;
	struct segment segment;
	char ring[80];

	empty(recording->root);
	image_make(image, recording->root);
	if (what & CHECK_UNRECOVERED)
		check_unrecovered(recording, journal);
	if (what & CHECK_CUT) {
		cut_recovery(recording, journal, seed, figures);
		empty(recording->root);
		image_make(image, recording->root);
	}
	new_ring(recording, ring, &segment, &view);
	recover(recording, ring, AFTER_RECORDS, false, figures);
	know_after(journal, JOURNAL_DURABLE);
	check_log(recording, journal, figures);
	if (what & CHECK_AGAIN) {
		recover_again(recording, ring, figures);
		check_archiving(recording, journal);
	}
	drop_ring(ring, &segment, &view);
	journal_destroy(journal);
	figures->images++;
}

static void put_ring_back(const struct recording *recording, const struct snapshot *snapshot)
{
	const uint64_t size = recording->trace->view.geometry->size;
	char path[160];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/shmlog.%s", segment_directory(), recording->ring);
	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 ||
	    pwrite(fd, recording->trace->arena + snapshot->segment, size, 0) != (ssize_t)size)
		broken("cannot put the ring back: %s", strerror(errno));
	close(fd);
}

static struct journal *know_snapshot(const struct recording *recording,
				     const struct snapshot *snapshot)
{
	const struct segment_view then = { .geometry = recording->trace->view.geometry,
					   .base = recording->trace->arena + snapshot->segment };
	struct demand demand = { .cut = snapshot->at, .pushed = snapshot->pushed };

	for (unsigned i = 0; i < PUSHERS; i++) {
		const struct lane_status *status = view_lane_status(&then, recording->lanes[i]);

		demand.kept[i] = load_acquire(&status->records_released);
	}
	return know_all(recording, &demand);
}

static void check_marks(const struct recording *recording, struct journal *journal,
			struct figures *figures)
{
	const uint64_t marks = count_marks(recording);
	const bool is_cut_short = recording->scenario->max_files > 0;
	struct journal_totals totals;
	struct reading reading;

	read_log(recording, "raw", &reading);
	check_status(&reading, 0);
	compare(recording, journal, &reading, &totals);
	if (reading.status == 0 && (is_cut_short ? marks < totals.absent : marks != totals.absent))
		violated("%llu records are missing, the marks say %llu",
			 (unsigned long long)totals.absent, (unsigned long long)marks);
	if (reading.status != 0 && !is_cut_short && marks > totals.absent)
		violated("%llu records are missing, the marks say even %llu",
			 (unsigned long long)totals.absent, (unsigned long long)marks);
	figures->named += marks;
	free(reading.bytes);
}

/* A recovery, and what it goes on with, is killed at one of its first steps. */
static void recover_killed(const struct recording *recording, uint64_t *seed,
			   struct figures *figures)
{
	struct trace *trace = trace_create(recording->root, random_next(seed));
	const struct segment_view none = { 0 };
	struct config config;
	int status;

	trace->kill_at = trace->count + 1 + random_below(seed, KILL_WITHIN);
	trace_use(trace, &none);
	configure(recording, recording->ring, true, &config);
	status = program_wait(start_writer(recording, &config, &disk_sys, disk_open_io, 0),
			      WRITER_MS);
	if (status != 0 && status != 128 + SIGKILL)
		violated("a recovery ended with %d", status);
	figures->recoveries++;
	figures->killed += status != 0;
	trace_use(recording->trace, &recording->view);
	trace_destroy(trace);
}

void check_surviving_ring(const struct recording *recording, const struct image *image,
			  const struct snapshot *snapshot, unsigned what, uint64_t *seed,
			  struct figures *figures)
{
	struct journal *journal = know_snapshot(recording, snapshot);

	empty(recording->root);
	image_make(image, recording->root);
	put_ring_back(recording, snapshot);
	if (what & CHECK_KILL)
		recover_killed(recording, seed, figures);
	recover(recording, recording->ring, 0, false, figures);
	check_marks(recording, journal, figures);
	journal_destroy(journal);
	figures->images++;
	figures->surviving++;
}
