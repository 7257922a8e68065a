/*
 * make.c - write the golden logs of format 1.0 into a directory. See README.md.
 *
 *	make DIR
 *
 * Everything is fixed: salts, ids, times. A log is built page by page through lib/page.h, as the
 * writer does, and lies wholly in memory until its files are written.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lz4_archive.h"
#include "page.h"

#define EPOCH_NS (INT64_C(1700000000) * NS_PER_S)

enum { FILE_BYTES_MAX = 128 * 1024, PAGES_MAX = 16, LOG_ID = 0x600d };

/* A log, and its file that is being made. */
struct maker {
	const char *directory;
	const char *log; /* name of its directory */
	uint64_t file_no;
	uint64_t page_no;
	uint64_t segment_id;
	uint64_t previous_file_no;
	uint64_t previous_checksum;
	uint64_t total_records;
	uint64_t total_lost;
	uint64_t seen;
	uint64_t base;  /* added to all ticks */
	uint8_t *bytes; /* of the file        */
	uint64_t size;
	struct page_builder builder;
	struct seal_info seal;
	struct index_entry index[PAGES_MAX];
};

static void must(bool condition, const char *what)
{
	if (condition)
		return;
	perror(what);
	exit(1);
}

/* ---- files ---- */

static void make_path(const struct maker *maker, const char *suffix, char path[512])
{
	(void)snprintf(path, 512, "%s/%s", maker->directory, maker->log);
	(void)mkdir(path, 0755);
	(void)snprintf(path, 512, "%s/%s/0000000001", maker->directory, maker->log);
	(void)mkdir(path, 0755);
	(void)snprintf(path, 512, "%s/%s/0000000001/%010u%s", maker->directory, maker->log,
		       (unsigned)maker->file_no, suffix);
}

static void write_file(const struct maker *maker, const char *suffix, const void *bytes,
		       size_t size)
{
	char path[512];
	int fd;

	make_path(maker, suffix, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0, path);
}

static void write_archive(const struct maker *maker)
{
	size_t size;
	uint8_t *archive = lz4_archive_make(maker->bytes, maker->size, &size);

	write_file(maker, ".shmlog.lz4", archive, size);
	free(archive);
}

/* ---- pages ---- */

static uint64_t salt_of(const struct maker *maker)
{
	return UINT64_C(0x5a17000000000000) + maker->file_no;
}

static struct page_stamp stamp_of(const struct maker *maker)
{
	return (struct page_stamp){ .page_no = maker->page_no,
				    .segment_id = maker->segment_id,
				    .salt = salt_of(maker),
				    .seen = maker->seen,
				    .sample_ticks = 1000000,
				    .sample_realtime_ns = EPOCH_NS + 1000000,
				    .ticks_per_s = NS_PER_S,
				    .total_records = maker->total_records,
				    .total_lost = maker->total_lost };
}

static void begin_page(struct maker *maker, int kind)
{
	page_begin(&maker->builder, maker->bytes + maker->size, (enum page_kind)kind);
}

static void note_page(struct maker *maker, const struct page_header *header)
{
	const struct page_builder *page = &maker->builder;
	struct seal_info *seal = &maker->seal;

	maker->index[seal->pages++] =
		(struct index_entry){ .first_ticks = header->first_ticks,
				      .last_ticks = header->last_ticks,
				      .page_no = header->page_no,
				      .offset_pages = (uint32_t)(maker->size / PAGE_ALIGN),
				      .records = (uint16_t)page->data_records,
				      .sources = (uint16_t)page->source_records };
	if (page->data_records == 0)
		return;
	if (seal->data_records == 0 || header->first_ticks < seal->first_ticks)
		seal->first_ticks = header->first_ticks;
	seal->last_ticks = max_u64(seal->last_ticks, header->last_ticks);
	seal->data_records += page->data_records;
}

/* @seen: no older record comes behind the page. */
static void end_page(struct maker *maker, uint64_t seen)
{
	const struct page_header *header = (const void *)(maker->bytes + maker->size);
	struct page_stamp stamp;
	uint32_t length;

	maker->total_records += maker->builder.data_records;
	maker->seen = maker->base + seen;
	stamp = stamp_of(maker);
	length = page_finish(&maker->builder, &stamp);
	note_page(maker, header);
	maker->previous_checksum = header->checksum;
	maker->page_no++;
	maker->size += length;
}

static void add_record(struct maker *maker, struct record_header header, const void *payload,
		       size_t length)
{
	header.length = (uint32_t)length;
	if (header.ticks != 0)
		header.ticks += maker->base;
	page_append(&maker->builder, &header, payload);
}

static void add_text(struct maker *maker, uint16_t source, uint8_t level, uint64_t ticks,
		     const char *text)
{
	const struct record_header header = {
		.source = source, .kind = RECORD_DATA, .level = level, .ticks = ticks
	};

	add_record(maker, header, text, strlen(text));
}

static void add_source(struct maker *maker, uint16_t number, uint16_t owner, const char *name)
{
	const struct record_header header = { .source = number, .kind = RECORD_SOURCE };
	struct source_payload about = { .pid = 1000u + number,
					.tid = 2000u + number,
					.start_time = 12345,
					.drops = { [LOSS_FULL] = 3 },
					.lane = owner != 0 ? 0 : number,
					.owner = owner };

	(void)snprintf(about.name, sizeof(about.name), "%s", name);
	add_record(maker, header, &about, sizeof(about));
}

static void add_entries(struct maker *maker, uint16_t lane)
{
	const struct cursor_entry cursor = { .header = { ENTRY_CURSOR, sizeof(cursor), lane, 0 },
					     .position = 64 * maker->page_no,
					     .records = maker->page_no };
	const struct marked_entry marked = { .header = { ENTRY_MARKED, sizeof(marked), lane, 0 },
					     .marked = { [LOSS_FULL] = maker->total_lost } };
	const struct entry_header unknown = { .type = 0x77, .size = sizeof(unknown) };

	page_reserve(&maker->builder, sizeof(cursor) + sizeof(marked) + sizeof(unknown));
	page_append_entry(&maker->builder, &cursor.header);
	page_append_entry(&maker->builder, &marked.header);
	page_append_entry(&maker->builder, &unknown);
}

static void begin_file(struct maker *maker, uint64_t file_no)
{
	struct file_info info = { .format_major = FORMAT_MAJOR,
				  .format_minor = FORMAT_MINOR,
				  .page_max = PAGE_MAX,
				  .salt = UINT64_C(0x5a17000000000000) + file_no,
				  .log_id = LOG_ID,
				  .file_no = file_no,
				  .volume_no = 1,
				  .previous_file_no = maker->previous_file_no,
				  .previous_checksum = maker->previous_checksum,
				  .created_boottime_ns = 77 * UINT64_C(1000000000),
				  .created_realtime_ns = EPOCH_NS,
				  .boot_id = "golden boot id",
				  .writer_pid = 4711,
				  .clock = 2,
				  .host = "host",
				  .writer_version = "golden",
				  .ring = "golden" };

	maker->file_no = maker->previous_file_no = file_no;
	maker->size = 0;
	maker->seal = (struct seal_info){ 0 };
	begin_page(maker, PAGE_FILE);
	page_append_info(&maker->builder, &info, sizeof(info));
	add_source(maker, 1, 0, "alpha");
	add_source(maker, 2, 3, "b\303\251ta");
	add_entries(maker, 1);
	end_page(maker, 0);
}

static void seal_file(struct maker *maker)
{
	struct page_stamp stamp = stamp_of(maker);

	if (maker->seal.recovered)
		stamp.ticks_per_s = 0;
	maker->size += page_build_seal(maker->bytes + maker->size, &maker->seal, maker->index,
				       maker->size, &stamp);
}

static void begin_log(struct maker *maker, const char *directory, const char *log)
{
	*maker = (struct maker){
		.directory = directory, .log = log, .page_no = 1, .segment_id = 0x5e6
	};
	maker->bytes = aligned_alloc(PAGE_ALIGN, FILE_BYTES_MAX + PAGE_MAX);
	must(maker->bytes != NULL, "memory");
	memset(maker->bytes, 0, FILE_BYTES_MAX + PAGE_MAX);
}

/* ---- the logs ---- */

/* Levels, bytes that are no text, an empty record, a kind of record that does not exist yet. */
static void add_first_page(struct maker *maker)
{
	const struct record_header odd = {
		.source = 1, .kind = RECORD_DATA, .level = 6, .ticks = 90
	};
	const struct record_header unknown = { .source = 1, .kind = 0x90, .ticks = 91 };
	const struct record_header note = { .kind = RECORD_NOTE, .level = 5, .ticks = 92 };
	char text[32];

	begin_page(maker, PAGE_DATA);
	for (uint8_t level = 0; level <= 7; level++) {
		(void)snprintf(text, sizeof(text), "level %u", level);
		add_text(maker, level % 2 != 0 ? 1 : 2, level, 10u + level, text);
	}
	add_record(maker, odd, "\377\000\033[31m\n", 8);
	add_record(maker, odd, "", 0);
	add_record(maker, unknown, "of a later version", 18);
	add_record(maker, note, "a note", 6);
	end_page(maker, 95);
}

/* Losses, a number that is bound anew, one that is not bound, a page that does not exist yet. */
static void add_odd_pages(struct maker *maker)
{
	const struct gap_payload gap = { .lost = { [LOSS_FULL] = 4, [LOSS_UNSYNCED] = 1 } };
	const struct record_header header = { .source = 2, .kind = RECORD_GAP, .ticks = 100 };
	const struct record_header old = { .source = 1, .kind = RECORD_GAP, .ticks = 101 };

	begin_page(maker, PAGE_DATA);
	add_record(maker, header, &gap, sizeof(gap));
	add_record(maker, old, &gap, 2 * sizeof(uint64_t));
	maker->total_lost += 4 + 1 + 4;
	add_text(maker, 1, 6, 105, "alpha's last");
	add_source(maker, 1, 0, "gamma");
	add_text(maker, 1, 6, 110, "gamma's first");
	add_text(maker, 9, 6, 111, "nobody's");
	add_entries(maker, 1);
	end_page(maker, 112);
	begin_page(maker, 0x85);
	page_append_info(&maker->builder, "of a later version", 18);
	end_page(maker, 112);
}

/* More than 4096 bytes, and records that come later than younger ones of another source. */
static void add_last_pages(struct maker *maker)
{
	static char large[4201];

	memset(large, 'x', sizeof(large) - 1);
	begin_page(maker, PAGE_DATA);
	add_text(maker, 1, 6, 130, large);
	add_text(maker, 1, 6, 140, "behind the large one");
	end_page(maker, 120);
	begin_page(maker, PAGE_DATA);
	add_text(maker, 2, 4, 125, "older, but later in the log");
	end_page(maker, 150);
}

static void make_whole(const char *directory, const char *log, bool is_compressed)
{
	struct maker maker;

	begin_log(&maker, directory, log);
	for (uint64_t file_no = 1; file_no <= 2; file_no++) {
		maker.base = file_no * 1000;
		begin_file(&maker, file_no);
		if (file_no == 1) {
			add_first_page(&maker);
			add_odd_pages(&maker);
		} else {
			add_last_pages(&maker);
		}
		seal_file(&maker);
		if (is_compressed)
			write_archive(&maker);
		else
			write_file(&maker, ".shmlog", maker.bytes, maker.size);
	}
	free(maker.bytes);
}

static void add_page(struct maker *maker, uint64_t ticks, const char *text)
{
	begin_page(maker, PAGE_DATA);
	add_text(maker, 1, 6, ticks, text);
	end_page(maker, ticks);
}

/* A file as far as a killed writer brought it: its last page but one is torn. The offset of that.
 */
static uint64_t make_torn(struct maker *maker, const char *prefix)
{
	uint64_t torn;

	begin_file(maker, maker->file_no + 1);
	if (prefix != NULL)
		add_page(maker, 200, prefix);
	torn = maker->size;
	add_page(maker, 210, "torn");
	memset(maker->bytes + torn + 140, 0, PAGE_ALIGN - 140);
	add_page(maker, 220, "whole, behind it");
	return torn;
}

/* As a killed writer leaves it: an open file of which zeros were allocated. */
static void make_left(const char *directory)
{
	struct maker maker;

	begin_log(&maker, directory, "left");
	(void)make_torn(&maker, "in the valid prefix");
	write_file(&maker, ".shmlog.open", maker.bytes, maker.size + PAGE_ALIGN);
	free(maker.bytes);
}

/* As the next writer leaves such a file: the prefix, a FILE page, is sealed, what was behind it is
 * kept beside; then the machine was booted, and another ring goes on. */
static void make_recovered(const char *directory)
{
	struct maker maker;
	uint64_t torn;
	uint8_t *cut;

	begin_log(&maker, directory, "recovered");
	torn = make_torn(&maker, NULL);
	cut = calloc(1, maker.size);
	must(cut != NULL, "memory");
	memcpy(cut + torn, maker.bytes + torn, maker.size - torn);
	write_file(&maker, ".shmlog.open.torn", cut, maker.size);
	free(cut);
	maker.previous_checksum = ((const struct page_header *)(void *)maker.bytes)->checksum;
	maker.size = torn;
	maker.page_no = 2;
	maker.seal = (struct seal_info){ .pages = 1, .recovered = 1 };
	seal_file(&maker);
	write_file(&maker, ".shmlog", maker.bytes, maker.size);
	maker.segment_id = 0x5e7;
	maker.total_records = 0;
	begin_file(&maker, 2);
	add_page(&maker, 20, "after the boot");
	seal_file(&maker);
	write_file(&maker, ".shmlog", maker.bytes, maker.size);
	free(maker.bytes);
}

int main(int argc, char **argv)
{
	must(argc == 2, "make DIR");
	make_whole(argv[1], "plain", false);
	make_whole(argv[1], "compressed", true);
	make_left(argv[1]);
	make_recovered(argv[1]);
	return 0;
}
