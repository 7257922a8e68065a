/*
 * journal.c - what producers know themselves. See journal.h.
 *
 * The states are bytes that only one producer stores, each after what it tells of has happened; a
 * reader looks when that producer is dead or has been waited for. A compiler fence keeps a note in
 * its place among the calls around it.
 */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

enum { TOLD_MAX = 10, LINE_SIZE = 4096 };

struct header {
	uint64_t size; /* of the mapping */
	uint32_t producers;
	uint32_t records_each;
};

struct journal {
	struct header header;
	uint8_t states[];
};

static struct journal *map(int fd, size_t size)
{
	const int flags = MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0);
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);

	if (at == MAP_FAILED)
		broken("journal of %zu bytes: %s", size, strerror(errno));
	return at;
}

struct journal *journal_create(const char *path, unsigned producers, uint32_t records_each)
{
	const size_t size = sizeof(struct header) + (size_t)producers * records_each;
	struct journal *journal;
	int fd = -1;

	if (path) {
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
			broken("journal %s: %s", path, strerror(errno));
	}
	journal = map(fd, size);
	if (fd >= 0)
		close(fd);
	journal->header = (struct header){ size, producers, records_each };
	return journal;
}

struct journal *journal_open(const char *path)
{
	const int fd = open(path, O_RDWR | O_CLOEXEC);
	struct journal *journal;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		broken("journal %s: %s", path, strerror(errno));
	journal = map(fd, (size_t)st.st_size);
	close(fd);
	return journal;
}

void journal_destroy(struct journal *journal)
{
	munmap(journal, journal->header.size);
}

size_t journal_text(unsigned producer, uint32_t serial, char *text)
{
	const size_t letters = (serial * 37u + producer) % JOURNAL_SIZES;
	size_t length = (size_t)snprintf(text, JOURNAL_TEXT_MAX, "%u.%u ", producer, serial);

	for (size_t i = 0; i < letters; i++)
		text[length++] = (char)('a' + (serial + producer + i * 7) % 26);
	return length;
}

static uint8_t *state_at(struct journal *journal, unsigned producer, uint32_t serial)
{
	const struct header *header = &journal->header;

	if (producer >= header->producers || serial >= header->records_each)
		broken("journal: producer %u, record %u: full", producer, serial);
	return &journal->states[(size_t)producer * header->records_each + serial];
}

enum journal_state journal_state(const struct journal *journal, unsigned producer, uint32_t serial)
{
	return *state_at((struct journal *)(uintptr_t)journal, producer, serial);
}

void journal_note(struct journal *journal, unsigned producer, uint32_t serial,
		  enum journal_state state)
{
	volatile uint8_t *at = state_at(journal, producer, serial);

	__asm__ volatile("" ::: "memory");
	*at = (uint8_t)state;
	__asm__ volatile("" ::: "memory");
}

/* How many serials were noted: they are used from 0 on without a hole, so by bisection. */
static uint32_t end_of(const struct journal *journal, unsigned producer)
{
	uint32_t low = 0, high = journal->header.records_each;

	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;

		if (journal_state(journal, producer, middle) == JOURNAL_NONE)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

uint32_t journal_next(const struct journal *journal, unsigned producer)
{
	const uint32_t next = end_of(journal, producer);

	if (next == journal->header.records_each)
		broken("journal: producer %u: full", producer);
	return next;
}

void journal_note_durable(struct journal *journal, unsigned producer)
{
	const uint32_t end = end_of(journal, producer);

	for (uint32_t serial = end; serial-- > 0;) {
		const enum journal_state state = journal_state(journal, producer, serial);

		if (state == JOURNAL_DURABLE)
			return; /* and all before it */
		if (state == JOURNAL_PUBLISHED)
			journal_note(journal, producer, serial, JOURNAL_DURABLE);
	}
}

int journal_push(struct journal *journal, struct shmlog *log, unsigned producer, int64_t timeout_ns)
{
	const uint32_t serial = journal_next(journal, producer);
	char text[JOURNAL_TEXT_MAX];
	const size_t size = journal_text(producer, serial, text);
	int r;

	journal_note(journal, producer, serial, JOURNAL_TRIED);
	r = timeout_ns == 0 ? shmlog_try_push(log, text, size)
			    : shmlog_push_wait(log, SHMLOG_INFO, text, size, timeout_ns);
	journal_note(journal, producer, serial, r == 0 ? JOURNAL_PUBLISHED : JOURNAL_DROPPED);
	return r;
}

/* ---- the comparison ---- */

struct check {
	const struct journal *journal;
	enum journal_demand demand;
	uint32_t *next; /* of each producer: the serial behind the last one found */
	uint64_t breaches;
	struct journal_totals totals;
};

__attribute__((format(printf, 2, 3))) static void breach(struct check *check, const char *format,
							 ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (check->breaches++ < TOLD_MAX)
		violated("%s", text);
}

static bool is_published(enum journal_state state)
{
	return state == JOURNAL_PUBLISHED || state == JOURNAL_DURABLE;
}

/* Records of @producer from @from to before @to are not in the log. */
static void pass_over(struct check *check, unsigned producer, uint32_t from, uint32_t to)
{
	for (uint32_t serial = from; serial < to; serial++) {
		const enum journal_state state = journal_state(check->journal, producer, serial);

		if (!is_published(state))
			continue;
		check->totals.absent++;
		if (state == JOURNAL_DURABLE || check->demand == DEMAND_PUBLISHED)
			breach(check, "record %u.%u, %s, is missing", producer, serial,
			       state == JOURNAL_DURABLE ? "durable" : "published");
	}
}

static void take_record(struct check *check, unsigned producer, uint32_t serial)
{
	const enum journal_state state = journal_state(check->journal, producer, serial);

	if (state == JOURNAL_NONE || state == JOURNAL_PASSED_OVER)
		breach(check, "record %u.%u was never pushed", producer, serial);
	if (state == JOURNAL_DROPPED)
		breach(check, "record %u.%u is there although it was dropped", producer, serial);
	if (serial < check->next[producer]) {
		breach(check, "record %u.%u is doubled or out of order, after %u.%u", producer,
		       serial, producer, check->next[producer] - 1);
		return;
	}
	pass_over(check, producer, check->next[producer], serial);
	check->next[producer] = serial + 1;
}

static void take_line(struct check *check, const char *line, size_t size)
{
	const struct header *header = &check->journal->header;
	char text[JOURNAL_TEXT_MAX];
	unsigned producer, serial;

	check->totals.found++;
	if (sscanf(line, "%u.%u ", &producer, &serial) != 2 || producer >= header->producers ||
	    serial >= header->records_each) {
		breach(check, "a record of nobody: %.60s", line);
		return;
	}
	if (journal_text(producer, serial, text) != size || memcmp(text, line, size) != 0)
		breach(check, "record %u.%u is torn: %.160s", producer, serial, line);
	take_record(check, producer, serial);
}

static void count_states(struct check *check, unsigned producer, uint32_t end)
{
	for (uint32_t serial = 0; serial < end; serial++) {
		const enum journal_state state = journal_state(check->journal, producer, serial);

		check->totals.published += is_published(state);
		check->totals.tried += state == JOURNAL_TRIED;
		check->totals.dropped += state == JOURNAL_DROPPED;
	}
}

static uint64_t forgive_before(struct journal *journal, unsigned producer, uint32_t first)
{
	uint64_t count = 0;

	while (first-- > 0) {
		if (!is_published(journal_state(journal, producer, first)))
			continue;
		journal_note(journal, producer, first, JOURNAL_PASSED_OVER);
		count++;
	}
	return count;
}

uint64_t journal_forgive_deleted(struct journal *journal, FILE *records)
{
	bool *is_seen = calloc(journal->header.producers, sizeof(*is_seen));
	unsigned producer, serial;
	char line[LINE_SIZE];
	uint64_t count = 0;

	if (!is_seen)
		broken("out of memory");
	while (fgets(line, sizeof(line), records)) {
		if (sscanf(line, "%u.%u ", &producer, &serial) != 2 ||
		    producer >= journal->header.producers ||
		    serial >= journal->header.records_each || is_seen[producer])
			continue;
		is_seen[producer] = true;
		count += forgive_before(journal, producer, serial);
	}
	free(is_seen);
	return count;
}

uint64_t journal_check(const struct journal *journal, FILE *records, enum journal_demand demand,
		       struct journal_totals *ret)
{
	const unsigned producers = journal->header.producers;
	struct check check = { .journal = journal, .demand = demand };
	char line[LINE_SIZE];

	check.next = calloc(producers, sizeof(*check.next));
	if (!check.next)
		broken("out of memory");
	while (fgets(line, sizeof(line), records)) {
		const size_t size = strcspn(line, "\n");

		line[size] = '\0';
		take_line(&check, line, size);
	}
	for (unsigned producer = 0; producer < producers; producer++) {
		const uint32_t end = end_of(journal, producer);

		if (check.next[producer] < end)
			pass_over(&check, producer, check.next[producer], end);
		count_states(&check, producer, end);
	}
	free(check.next);
	if (check.breaches > TOLD_MAX)
		violated("... and %llu more", (unsigned long long)(check.breaches - TOLD_MAX));
	if (ret)
		*ret = check.totals;
	return check.breaches;
}
