/*
 * seek.c - what a jump into a log costs, and what of it depends on how long the log is.
 *
 *	seek [-q]		-q: fewer rounds
 *
 * Makes four logs by hand: 100 and 10,000 small files (a FILE page, three DATA pages, a SEAL page),
 * plain and compressed as the writer does it. Then, on readers that have made a jump before, in
 * turns (100, 10,000, 100, ...) and in one process:
 *
 *	floor	open any file, read all of it, close it: what the kernel does for a jump
 *	page	shmlog_reader_get_page() of any page
 *	time	shmlog_reader_seek_time() to any time, and the first record from there
 *
 * and on new readers, which read each FILE page once:
 *
 *	open	the first shmlog_reader_get_page(), by the number of files
 *	since	the first record with since_ns near the end, the same way
 *
 * Prints medians of processor time over the rounds, and the ratio of 10,000 files to 100. That of
 * the floor is what the machine's caches make of more memory; the others should be no more. All is
 * in the page cache. Asserts no time. Exit 1: something failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <lz4frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "archive_map.h"
#include "page.h"
#include "shmlog_reader.h"

enum {
	SMALL = 100,
	LARGE = 10000,
	DATA_PAGES = 3,
	PAGES = 1 + DATA_PAGES,
	RECORDS = 20,
	FILE_ROOM = (PAGES + 1) * PAGE_ALIGN,
	JUMPS = 50, /* of which the time is taken at once */
	ROUNDS = 201,
	OPENS = 5,
};

#define EPOCH_NS (INT64_C(1700000000) * NS_PER_S)

/* A log in which page n holds records of second n. */
struct log {
	char path[64];
	uint64_t files;
	bool is_compressed;
	struct shmlog_reader *reader;
};

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "seek: %s: %s\n", what, shmlog_strerror(r));
	exit(1);
}

/* ---- making logs ---- */

static struct page_stamp stamp_of(uint64_t file_no, uint64_t page_no)
{
	return (struct page_stamp){ .page_no = page_no,
				    .segment_id = 1,
				    .salt = file_no,
				    .seen = page_no * NS_PER_S,
				    .sample_ticks = page_no * NS_PER_S,
				    .sample_realtime_ns = EPOCH_NS + (int64_t)page_no * NS_PER_S,
				    .ticks_per_s = NS_PER_S };
}

static void fill_page(struct page_builder *builder, uint64_t file_no, uint64_t page_no)
{
	const struct file_info info = { .format_major = FORMAT_MAJOR,
					.page_max = PAGE_MAX,
					.salt = file_no,
					.log_id = 1,
					.file_no = file_no,
					.volume_no = 1 };
	const struct record_header header = {
		.length = 60, .kind = RECORD_DATA, .level = 6, .ticks = page_no * NS_PER_S
	};
	char text[61];

	if (page_no % PAGES == 1) {
		page_append_info(builder, &info, sizeof(info));
		return;
	}
	(void)snprintf(text, sizeof(text), "%060llu", (unsigned long long)page_no);
	for (int i = 0; i < RECORDS; i++)
		page_append(builder, &header, text);
}

/* A sealed file in @bytes; how long it is. */
static uint32_t make_file(uint64_t file_no, uint8_t *bytes)
{
	const uint64_t first = (file_no - 1) * PAGES + 1;
	struct seal_info info = { .pages = PAGES, .data_records = DATA_PAGES * RECORDS };
	struct index_entry index[PAGES];
	struct page_builder builder;
	struct page_stamp stamp;
	uint32_t size = 0;

	for (uint64_t i = 0; i < PAGES; i++) {
		page_begin(&builder, bytes + size, i == 0 ? PAGE_FILE : PAGE_DATA);
		fill_page(&builder, file_no, first + i);
		index[i] = (struct index_entry){ .first_ticks = builder.first_ticks,
						 .last_ticks = builder.last_ticks,
						 .page_no = first + i,
						 .offset_pages = size / PAGE_ALIGN,
						 .records = (uint16_t)builder.data_records };
		stamp = stamp_of(file_no, first + i);
		size += page_finish(&builder, &stamp);
	}
	info.first_ticks = (first + 1) * NS_PER_S;
	info.last_ticks = (first + DATA_PAGES) * NS_PER_S;
	stamp = stamp_of(file_no, first + PAGES);
	return size + page_build_seal(bytes + size, &info, index, size, &stamp);
}

/* As the writer compresses: a block a page. */
static size_t compress_file(const uint8_t *bytes, uint32_t size, uint8_t *ret, size_t room)
{
	const LZ4F_preferences_t preferences = {
		.frameInfo = { .blockSizeID = LZ4F_max256KB,
			       .blockMode = LZ4F_blockIndependent,
			       .contentChecksumFlag = LZ4F_contentChecksumEnabled,
			       .contentSize = size },
		.autoFlush = 1,
	};
	LZ4F_cctx *context;
	size_t used;

	if (LZ4F_isError(LZ4F_createCompressionContext(&context, LZ4F_VERSION)))
		must(-ENOMEM, "lz4");
	used = LZ4F_compressBegin(context, ret, room, &preferences);
	for (uint32_t at = 0; at < size; at += PAGE_ALIGN)
		used += LZ4F_compressUpdate(context, ret + used, room - used, bytes + at,
					    PAGE_ALIGN, NULL);
	used += LZ4F_compressEnd(context, ret + used, room - used, NULL);
	(void)LZ4F_freeCompressionContext(context);
	return used;
}

static void name_file(char path[512], const struct log *log, uint64_t file_no)
{
	(void)snprintf(path, 512, "%s/0000000001/%010llu.shmlog%s", log->path,
		       (unsigned long long)file_no, log->is_compressed ? ".lz4" : "");
}

static void write_file(const struct log *log, uint64_t file_no, const void *bytes, size_t size)
{
	char path[512];
	int fd;

	name_file(path, log, file_no);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size || close(fd) < 0)
		must(-errno, path);
}

static void make_log(struct log *log, const char *parent)
{
	static _Alignas(PAGE_ALIGN) uint8_t bytes[PAGE_MAX + FILE_ROOM];
	static uint8_t archive[2 * PAGE_MAX];
	char volume[512];
	size_t size;

	(void)snprintf(log->path, sizeof(log->path), "%s/%llu%s", parent,
		       (unsigned long long)log->files, log->is_compressed ? ".lz4" : "");
	(void)snprintf(volume, sizeof(volume), "%s/0000000001", log->path);
	if (mkdir(log->path, 0700) < 0 || mkdir(volume, 0700) < 0)
		must(-errno, volume);
	for (uint64_t i = 1; i <= log->files; i++) {
		size = make_file(i, bytes);
		if (log->is_compressed)
			size = compress_file(bytes, (uint32_t)size, archive, sizeof(archive));
		write_file(log, i, log->is_compressed ? archive : bytes, size);
	}
}

/* ---- what is measured ---- */

/* Of this program alone: all is in memory, and others may be at work beside it. */
static uint64_t cpu_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t any_page(const struct log *log)
{
	return (uint64_t)random() % log->files * PAGES + 2 + (uint64_t)random() % DATA_PAGES;
}

static struct shmlog_reader *open_log(const struct log *log, int64_t since_ns)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader = NULL;

	options.since_ns = since_ns;
	must(shmlog_reader_open(log->path, &options, &reader), log->path);
	return reader;
}

static void jump_to_page(struct shmlog_reader *reader, uint64_t page_no)
{
	struct shmlog_page page = { .size = sizeof(page) };

	must(shmlog_reader_get_page(reader, page_no, &page), "get_page");
	if (page.page_no != page_no)
		must(-EBADMSG, "get_page: another page");
}

static void read_page(struct shmlog_reader *reader, uint64_t page_no)
{
	struct shmlog_record record = { .size = sizeof(record) };

	must(shmlog_reader_next(reader, &record), "next");
	if (record.page_no != page_no)
		must(-EBADMSG, "next: a record of another page");
}

/* Nanoseconds of what the kernel does for one jump: open any file, read it, close it. */
static double floor_of(const struct log *log, bool by_time)
{
	static uint8_t bytes[FILE_ROOM];
	const uint64_t began_ns = cpu_ns();
	struct stat about;
	char path[512];
	int fd;

	(void)by_time;
	for (int i = 0; i < JUMPS; i++) {
		name_file(path, log, (any_page(log) - 1) / PAGES + 1);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &about) < 0 ||
		    pread(fd, bytes, sizeof(bytes), 0) != about.st_size)
			must(-errno, path);
		(void)close(fd);
	}
	return (double)(cpu_ns() - began_ns) / JUMPS;
}

/* Nanoseconds of one jump to a page, or to a time. */
static double jump(const struct log *log, bool by_time)
{
	const uint64_t began_ns = cpu_ns();

	for (int i = 0; i < JUMPS; i++) {
		const uint64_t page_no = any_page(log);
		const int64_t time_ns = EPOCH_NS + (int64_t)page_no * NS_PER_S;

		if (!by_time) {
			jump_to_page(log->reader, page_no);
			continue;
		}
		must(shmlog_reader_seek_time(log->reader, time_ns), "seek_time");
		read_page(log->reader, page_no);
	}
	return (double)(cpu_ns() - began_ns) / JUMPS;
}

/* Nanoseconds a file until a new reader has made its first jump, or given its first record. */
static double open_new(const struct log *log, bool by_time)
{
	const uint64_t page_no = log->files * PAGES - 1;
	const uint64_t began_ns = cpu_ns();
	struct shmlog_reader *reader =
		open_log(log, by_time ? EPOCH_NS + (int64_t)page_no * NS_PER_S : INT64_MIN);

	if (by_time)
		read_page(reader, page_no);
	else
		jump_to_page(reader, page_no);
	shmlog_reader_close(&reader);
	return (double)(cpu_ns() - began_ns) / (double)log->files;
}

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Both logs in turns; the medians of both, and their ratio. */
static void measure(const char *name, struct log logs[2], double (*run)(const struct log *, bool),
		    bool by_time, int rounds)
{
	double times[2][ROUNDS];

	for (int i = 0; i < rounds; i++)
		for (int k = 0; k < 2; k++)
			times[k][i] = run(&logs[k], by_time);
	for (int k = 0; k < 2; k++)
		qsort(times[k], (size_t)rounds, sizeof(times[k][0]), compare);
	printf("%-24s %10.0f %10.0f %8.2f\n", name, times[0][rounds / 2], times[1][rounds / 2],
	       times[1][rounds / 2] / times[0][rounds / 2]);
}

static void measure_logs(struct log logs[2], const char *form, int rounds)
{
	const struct {
		const char *name;
		double (*run)(const struct log *, bool);
		bool by_time;
		int rounds;
	} cases[] = { { "floor", floor_of, false, rounds },
		      { "page", jump, false, rounds },
		      { "time", jump, true, rounds },
		      { "open, a file", open_new, false, OPENS },
		      { "since, a file", open_new, true, OPENS } };
	char name[64];

	for (int k = 0; k < 2; k++) {
		logs[k].reader = open_log(&logs[k], INT64_MIN);
		jump_to_page(logs[k].reader, 2);
	}
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		(void)snprintf(name, sizeof(name), "%s, %s", form, cases[i].name);
		measure(name, logs, cases[i].run, cases[i].by_time, cases[i].rounds);
	}
	for (int k = 0; k < 2; k++)
		shmlog_reader_close(&logs[k].reader);
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *walk)
{
	(void)about;
	(void)type;
	(void)walk;
	return remove(path);
}

static char parent[] = "/tmp/shmlog-seek-XXXXXX";

static void remove_logs(void)
{
	(void)nftw(parent, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(int argc, char **argv)
{
	const bool is_quick = argc == 2 && !strcmp(argv[1], "-q");
	struct log logs[4] = { { .files = SMALL },
			       { .files = LARGE },
			       { .files = SMALL, .is_compressed = true },
			       { .files = LARGE, .is_compressed = true } };

	if (argc > 2 || (argc == 2 && !is_quick)) {
		fprintf(stderr, "usage: seek [-q]\n");
		return 64;
	}
	if (mkdtemp(parent) == NULL)
		must(-errno, parent);
	(void)atexit(remove_logs);
	for (size_t i = 0; i < COUNT_OF(logs); i++)
		make_log(&logs[i], parent);
	printf("%-24s %10s %10s %8s\n", "ns", "100 files", "10000", "ratio");
	measure_logs(&logs[0], "plain", is_quick ? 21 : ROUNDS);
	measure_logs(&logs[2], "compressed", is_quick ? 21 : ROUNDS);
	return 0;
}
