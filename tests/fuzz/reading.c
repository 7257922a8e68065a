/*
 * reading.c - see reading.h.
 */
#include "reading.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "logbytes.h"

enum { STEPS_MAX = 1 << 17 };

static void see_record(const struct shmlog_record *record, struct reading *reading)
{
	must(record->kind == SHMLOG_DATA || record->kind == SHMLOG_GAP ||
		     record->kind == SHMLOG_NOTE,
	     "reader: a record of kind %d", record->kind);
	must(record->level >= 0 && record->level <= 7, "reader: level %d", record->level);
	must(strlen(record->name) < SOURCE_NAME_SIZE, "reader: a name that does not end");
	reading->records++;
	reading->hash += log_hash_record((uint64_t)record->kind, record->data, record->length);
}

void read_records(struct shmlog_reader *reader, struct reading *ret)
{
	struct shmlog_record record = { .size = sizeof(record) };
	unsigned steps = 0;

	*ret = (struct reading){ 0 };
	for (;;) {
		must(++steps < STEPS_MAX, "reader: records do not end");
		ret->end = shmlog_reader_next(reader, &record);
		if (ret->end == 0)
			see_record(&record, ret);
		else if (ret->end == -EBADMSG)
			ret->bad++;
		else
			return;
	}
}

/* Records as the page has them. */
static void see_page(const struct shmlog_page *page, struct reading *reading)
{
	struct page_cursor cursor = { 0 };
	struct record_header header;
	const void *payload;

	reading->pages += page->kind != PAGE_SEAL;
	(void)hash_bytes(0, page->bytes, page->length);
	while (page_next_record(page->bytes, &cursor, &header, &payload) > 0) {
		if (header.kind != RECORD_DATA && header.kind != RECORD_GAP &&
		    header.kind != RECORD_NOTE)
			continue;
		reading->records++;
		reading->hash += log_hash_record(header.kind, payload,
						 header.kind == RECORD_GAP ? 0 : header.length);
	}
}

void read_pages(struct shmlog_reader *reader, struct reading *ret)
{
	struct shmlog_page page = { .size = sizeof(page) };
	unsigned steps = 0;

	*ret = (struct reading){ 0 };
	for (;;) {
		must(++steps < STEPS_MAX, "reader: pages do not end");
		ret->end = shmlog_reader_next_page(reader, &page);
		if (ret->end == 0)
			see_page(&page, ret);
		else if (ret->end == -EBADMSG)
			ret->bad++;
		else
			return;
	}
}

/* A second reader shows what the first one does. Damage it may tell otherwise: a bad file whose
 * pages nobody misses is met only by who has not looked ahead behind it. */
static void read_twice(struct shmlog_reader *reader, struct read_how how)
{
	struct shmlog_reader *twin;
	struct reading first, second;

	if (shmlog_reader_duplicate(reader, &twin) < 0)
		return;
	read_records(reader, &first);
	read_records(twin, &second);
	shmlog_reader_close(&twin);
	if (how.is_disordered)
		return;
	must(first.records == second.records && first.hash == second.hash &&
		     first.end == second.end,
	     "reader: its duplicate shows %llu records and ends with %d, not %llu and %d",
	     (unsigned long long)second.records, second.end, (unsigned long long)first.records,
	     first.end);
}

static void jump(struct shmlog_reader *reader, struct bytes *input)
{
	struct shmlog_page page = { .size = sizeof(page) };
	struct shmlog_record record = { .size = sizeof(record) };
	const uint8_t how = (uint8_t)take(input, 1);
	uint64_t page_no = how >> 3;

	switch (how & 7) {
	case 0:
	case 1:
		if ((how & 7) == 1)
			page_no = take_odd(input, 8);
		if (shmlog_reader_get_page(reader, page_no, &page) == 0)
			must(page.page_no == page_no, "reader: another page");
		break;
	case 2:
		(void)shmlog_reader_seek_time(reader, (int64_t)take_odd(input, 8));
		break;
	case 3:
		(void)shmlog_reader_seek_time(reader, INT64_C(1699999999999999000) +
							      (int64_t)(how >> 3) * 8);
		break;
	case 4:
		(void)shmlog_reader_next_page(reader, &page);
		break;
	default:
		(void)shmlog_reader_next(reader, &record);
		break;
	}
}

static void read_jumping(struct shmlog_reader *reader, struct read_how how, struct bytes *input)
{
	for (unsigned i = 0; i < 8 && input->left > 0; i++)
		jump(reader, input);
	read_twice(reader, how);
}

static int open_between(const char *path, struct read_how how,
			const struct shmlog_reader_options *options, struct shmlog_reader **ret)
{
	int fd, r;

	if (!how.by_descriptor)
		return shmlog_reader_open(path, options, ret);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(fd >= 0, "fuzz: cannot open %s", path);
	r = shmlog_reader_open_fd(fd, options, ret);
	(void)close(fd);
	return r;
}

static int open_one(const char *path, struct read_how how, struct shmlog_reader **ret)
{
	return open_between(path, how, NULL, ret);
}

/* What is of a time is no more than all, whatever is passed by without being read. */
static void read_time(const char *path, struct read_how how, struct bytes *input,
		      const struct reading *all)
{
	const int64_t base_ns = INT64_C(1699999999999999000);
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;
	struct reading some;

	options.since_ns =
		base_ns + (int64_t)take(input, 1) * 8 - NS_PER_S * (int64_t)take(input, 1);
	options.until_ns = options.since_ns + (int64_t)take_odd(input, 8) % NS_PER_S;
	must(open_between(path, how, &options, &reader) == 0, "reader: opens only once");
	read_records(reader, &some);
	shmlog_reader_close(&reader);
	must(how.is_disordered || some.records <= all->records,
	     "reader: %llu records of a time, %llu in all", (unsigned long long)some.records,
	     (unsigned long long)all->records);
}

void read_path(const char *path, struct read_how how, struct bytes *input, struct reading *ret)
{
	struct shmlog_reader *reader;
	struct reading pages;

	*ret = (struct reading){ .end = open_one(path, how, &reader) };
	if (ret->end < 0)
		return;
	read_records(reader, ret);
	shmlog_reader_close(&reader);
	must(open_one(path, how, &reader) == 0, "reader: opens only once");
	read_pages(reader, &pages);
	shmlog_reader_close(&reader);
	must(ret->records == pages.records && ret->hash == pages.hash && ret->bad == pages.bad &&
		     ret->end == pages.end,
	     "reader: %llu records (%llu bad, %d) one by one, %llu (%llu bad, %d) by pages",
	     (unsigned long long)ret->records, (unsigned long long)ret->bad, ret->end,
	     (unsigned long long)pages.records, (unsigned long long)pages.bad, pages.end);
	ret->pages = pages.pages;
	must(open_one(path, how, &reader) == 0, "reader: opens only once");
	read_jumping(reader, how, input);
	shmlog_reader_close(&reader);
	read_time(path, how, input, ret);
}
