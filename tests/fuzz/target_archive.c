/*
 * target_archive.c - .lz4 archives of any bytes through the reader.
 *
 * An archive that nobody spoiled shows what its file does, whether its blocks are cut as the writer
 * does it, one a page, or in another way.
 */
#include <errno.h>
#include <lz4frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "logbytes.h"
#include "reading.h"

enum { ARCHIVE_MAX = 2 * LOG_SIZE_MAX };

static struct log_bytes file;
static uint8_t *archive;

/* A block from each page to the next, as far as they still rise. */
static size_t compress_pages(void)
{
	const LZ4F_preferences_t preferences = {
		.frameInfo = { .blockSizeID = LZ4F_max256KB,
			       .blockMode = LZ4F_blockIndependent,
			       .contentChecksumFlag = LZ4F_contentChecksumEnabled,
			       .contentSize = file.size },
		.autoFlush = 1,
	};
	static LZ4F_cctx *context;
	size_t from = 0, size;

	must(context != NULL ||
		     !LZ4F_isError(LZ4F_createCompressionContext(&context, LZ4F_VERSION)),
	     "fuzz: out of memory");
	size = LZ4F_compressBegin(context, archive, ARCHIVE_MAX, &preferences);
	for (uint32_t i = 1; i <= file.pages; i++) {
		const size_t to = i < file.pages ? file.offset[i] : file.size;

		if (to <= from || to > file.size)
			continue;
		size += LZ4F_compressUpdate(context, archive + size, ARCHIVE_MAX - size,
					    file.bytes + from, to - from, NULL);
		from = to;
	}
	size += LZ4F_compressEnd(context, archive + size, ARCHIVE_MAX - size, NULL);
	must(size <= ARCHIVE_MAX, "fuzz: cannot compress");
	return size;
}

static size_t compress(struct bytes *input)
{
	const uint8_t how = (uint8_t)take(input, 1);
	const LZ4F_preferences_t preferences = {
		.frameInfo = { .blockSizeID = how & 1 ? LZ4F_max64KB : LZ4F_max4MB,
			       .blockMode = how & 2 ? LZ4F_blockIndependent : LZ4F_blockLinked,
			       .contentChecksumFlag = how & 4 ? LZ4F_contentChecksumEnabled
							      : LZ4F_noContentChecksum,
			       .blockChecksumFlag =
				       how & 8 ? LZ4F_blockChecksumEnabled : LZ4F_noBlockChecksum,
			       .contentSize = how & 16 ? file.size : 0 },
	};
	/* In one frame, or in two, as `lz4` after `cat` would have it. */
	const size_t split = how & 32 ? file.size / 2 : file.size;
	size_t size;

	if (how & 64)
		return compress_pages();
	size = LZ4F_compressFrame(archive, ARCHIVE_MAX, file.bytes, split,
				  how & 16 && split < file.size ? NULL : &preferences);
	must(!LZ4F_isError(size), "fuzz: cannot compress");
	if (split < file.size)
		size += LZ4F_compressFrame(archive + size, ARCHIVE_MAX - size, file.bytes + split,
					   file.size - split, NULL);
	return size;
}

/* Of the frame's header, and of the first block's size. */
static const uint16_t places[] = { 4, 5, 6, 7, 8, 11, 15, 16, 19, 0 };

static void read_as(const char *name, bool by_descriptor, struct bytes *input, const void *bytes,
		    size_t size, struct reading *ret)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", fuzz_directory(), name);
	fuzz_write_file(path, bytes, size);
	read_path(path, (struct read_how){ .by_descriptor = by_descriptor }, input, ret);
}

/* In a directory, where the name says what it is. */
static void read_directory(struct bytes *input, size_t size)
{
	char path[128];
	struct reading seen;

	fuzz_clear_directory();
	(void)snprintf(path, sizeof(path), "%s/0000000001/0000000001.shmlog.lz4", fuzz_directory());
	fuzz_write_file(path, archive, size);
	read_path(fuzz_directory(), (struct read_how){ 0 }, input, &seen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes input = { data, size };
	const uint8_t mode = (uint8_t)take(&input, 1);
	struct reading of_file, of_archive;
	size_t length;

	if (archive == NULL)
		archive = malloc(ARCHIVE_MAX);
	must(archive != NULL, "fuzz: out of memory");
	if (mode & 0x80) {
		length = min_u64(input.left, ARCHIVE_MAX);
		memcpy(archive, input.at, length);
	} else {
		log_build(&input, &file, 1, 1, true);
		for (uint8_t spoils = mode & 3; spoils > 0; spoils--)
			log_spoil(&input, &file);
		length = compress(&input);
		read_as("file.shmlog", false, &input, file.bytes, file.size, &of_file);
	}
	for (uint8_t spoils = mode >> 2 & 3; spoils > 0; spoils--)
		(void)spoil(&input, archive, length + 1, places);
	read_as("archive.shmlog.lz4", mode & 0x40, &input, archive, length, &of_archive);
	if (!(mode & 0x8f))
		must(of_archive.records == of_file.records && of_archive.hash == of_file.hash &&
			     of_archive.end == of_file.end && of_archive.bad == 0,
		     "archive: shows %llu records (%d), its file %llu (%d)",
		     (unsigned long long)of_archive.records, of_archive.end,
		     (unsigned long long)of_file.records, of_file.end);
	read_directory(&input, length);
	return 0;
}
