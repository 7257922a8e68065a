/*
 * target_verify.c - shmlog_verify() and salvage over log directories of spoiled files: sealed,
 * open, archived, set aside.
 *
 * What is called sound is read without a word, and salvage shows the same. A log that nobody
 * spoiled is sound.
 */
#include <errno.h>
#include <lz4frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "logbytes.h"
#include "reading.h"

enum { FILES_MAX = 3, PATH_SIZE = 128, ARCHIVE_MAX = 2 * LOG_SIZE_MAX };

static struct log_bytes file;
static uint8_t *archive;

static size_t compress(void)
{
	const LZ4F_preferences_t preferences = {
		.frameInfo = { .blockSizeID = LZ4F_max256KB,
			       .blockMode = LZ4F_blockIndependent,
			       .contentChecksumFlag = LZ4F_contentChecksumEnabled,
			       .contentSize = file.size },
	};
	size_t size;

	if (archive == NULL)
		archive = malloc(ARCHIVE_MAX);
	must(archive != NULL, "fuzz: out of memory");
	size = LZ4F_compressFrame(archive, ARCHIVE_MAX, file.bytes, file.size, &preferences);
	must(!LZ4F_isError(size), "fuzz: cannot compress");
	return size;
}

/* True: the log is one that a writer leaves behind. */
static bool add_file(struct bytes *input, uint64_t file_no, uint64_t *page_no)
{
	static const char *const suffixes[] = { "", ".open", ".lz4", ".open.torn" };
	const uint8_t how = (uint8_t)take(input, 1);
	const unsigned kind = how & 3;
	const uint64_t first = how & 4 ? take(input, 1) : *page_no;
	char path[PATH_SIZE];
	size_t size;

	log_build(input, &file, file_no, first, !(how & 8));
	*page_no = file.page_next;
	for (uint8_t spoils = how >> 4 & 3; spoils > 0; spoils--)
		log_spoil(input, &file);
	(void)snprintf(path, sizeof(path), "%s/0000000001/%010u.shmlog%s", fuzz_directory(),
		       (unsigned)(how & 64 ? file_no + 1 : file_no), suffixes[kind]);
	if (kind == 2) {
		size = compress();
		if (how & 128)
			(void)spoil(input, archive, size, NULL);
		fuzz_write_file(path, archive, size);
	} else {
		fuzz_write_file(path, file.bytes, file.size);
	}
	return file_no == 1 && (kind == 0 || kind == 2) && !(how & 0xfc);
}

static int read_as(bool salvage, struct reading *ret)
{
	struct shmlog_reader_options options = SHMLOG_READER_OPTIONS_INIT;
	struct shmlog_reader *reader;
	int r;

	options.salvage = salvage;
	*ret = (struct reading){ 0 };
	r = shmlog_reader_open(fuzz_directory(), &options, &reader);
	if (r < 0)
		return r;
	read_records(reader, ret);
	shmlog_reader_close(&reader);
	return 0;
}

static void count_finding(void *context, const char *finding)
{
	must(finding[0] != '\0' && strchr(finding, '\n') == NULL, "verify: not one line");
	++*(uint64_t *)context;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct shmlog_verdict verdict = { .size = sizeof(verdict) };
	struct bytes input = { data, size };
	const unsigned files = 1 + (unsigned)take(&input, 1) % FILES_MAX;
	struct reading seen, salvaged;
	uint64_t page_no = 1, told = 0;
	bool is_good = true;
	int r;

	fuzz_clear_directory();
	for (unsigned i = 0; i < files; i++)
		is_good = add_file(&input, i + 1, &page_no) && is_good;
	r = shmlog_verify(fuzz_directory(), count_finding, &told, &verdict);
	must(r == 0 || shmlog_reason()[0] != '\0', "verify: fails with %d, no word", r);
	must(told == verdict.findings, "verify: %llu findings are told, %llu counted",
	     (unsigned long long)told, (unsigned long long)verdict.findings);
	must(!is_good || (r == 0 && told == 0), "verify: a good log is not sound");
	must(read_as(true, &salvaged) == 0 || r < 0, "salvage: refuses what verify took: %s",
	     shmlog_reason());
	if (r < 0 || told > 0)
		return 0;
	must(read_as(false, &seen) == 0 && seen.bad == 0 && seen.end == -ENODATA,
	     "verify: calls sound what the reader does not: %s", shmlog_reason());
	/* What was set aside is no part of the log, and may be bad. */
	must(salvaged.records >= seen.records, "salvage: %llu records of %llu",
	     (unsigned long long)salvaged.records, (unsigned long long)seen.records);
	return 0;
}
