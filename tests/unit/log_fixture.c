/*
 * log_fixture.c - make log directories by hand.
 */
#include "log_fixture.h"

#include "archive_map.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <lz4frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Also with NDEBUG, unlike assert(). */
#define MUST(condition)                                                                          \
	do {                                                                                     \
		if (!(condition)) {                                                              \
			(void)fprintf(stderr, "fixture: %s: %s\n", #condition, strerror(errno)); \
			abort();                                                                 \
		}                                                                                \
	} while (0)

void fixture_begin(struct fixture *fixture)
{
	*fixture = (struct fixture){ 0 };
	(void)snprintf(fixture->dir, sizeof(fixture->dir), "/tmp/shmlog-unit-XXXXXX");
	MUST(mkdtemp(fixture->dir) != NULL);
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *walk)
{
	(void)about;
	(void)type;
	(void)walk;
	return remove(path);
}

void fixture_end(struct fixture *fixture)
{
	MUST(nftw(fixture->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

void fixture_path(const struct fixture *fixture, char path[160], uint64_t file_no,
		  const char *suffix)
{
	(void)snprintf(path, 160, "%s/0000000001/%010" PRIu64 "%s", fixture->dir, file_no, suffix);
}

static void write_at(const struct fixture_file *file, uint32_t length)
{
	MUST(pwrite(file->fd, file->buffer, length, (off_t)file->offset) == (ssize_t)length);
}

static struct page_stamp stamp_of(const struct fixture_file *file, uint64_t seen)
{
	return (struct page_stamp){ .page_no = file->page_no,
				    .segment_id = file->segment_id,
				    .salt = file->salt,
				    .seen = seen,
				    .sample_ticks = file->sample_ticks,
				    .sample_realtime_ns = FIXTURE_EPOCH_NS +
							  (int64_t)file->sample_ticks +
							  file->clock_ns,
				    .ticks_per_s = file->ticks_per_s,
				    .total_records = file->fixture->total_records,
				    .total_lost = file->fixture->total_lost };
}

static void index_page(struct fixture_file *file)
{
	const struct page_header *header = (const void *)file->buffer;

	MUST(file->pages < FIXTURE_PAGES_MAX);
	file->index[file->pages++] =
		(struct index_entry){ .first_ticks = header->first_ticks,
				      .last_ticks = header->last_ticks,
				      .page_no = header->page_no,
				      .offset_pages = (uint32_t)(file->offset / PAGE_ALIGN),
				      .records = (uint16_t)file->builder.data_records,
				      .sources = (uint16_t)file->builder.source_records };
	if (file->builder.data_records == 0)
		return;
	if (file->data_records == 0 || header->first_ticks < file->first_ticks)
		file->first_ticks = header->first_ticks;
	file->last_ticks = max_u64(file->last_ticks, header->last_ticks);
	file->data_records += file->builder.data_records;
}

static void end_page(struct fixture_file *file, uint64_t seen, bool lost)
{
	const struct page_header *header = (const void *)file->buffer;
	struct page_stamp stamp;
	uint32_t length;

	file->fixture->total_records += file->builder.data_records;
	stamp = stamp_of(file, seen);
	length = page_finish(&file->builder, &stamp);
	file->fixture->previous_checksum = header->checksum;
	if (!lost) {
		write_at(file, length);
		index_page(file);
	}
	file->offset += length;
	file->page_no++;
	page_begin(&file->builder, file->buffer, PAGE_DATA);
}

void fixture_page(struct fixture_file *file, uint64_t seen)
{
	end_page(file, seen, false);
}

void fixture_lose_page(struct fixture_file *file, uint64_t seen)
{
	end_page(file, seen, true);
}

void fixture_file_begin(struct fixture *fixture, struct fixture_file *file, uint64_t file_no,
			uint64_t page_no, uint16_t sources)
{
	*file = (struct fixture_file){ .segment_id = FIXTURE_SEGMENT, .ticks_per_s = NS_PER_S };
	fixture_file_begin_as(fixture, file, file_no, page_no, sources);
}

void fixture_file_begin_as(struct fixture *fixture, struct fixture_file *file, uint64_t file_no,
			   uint64_t page_no, uint16_t sources)
{
	struct file_info info = { .format_major = FORMAT_MAJOR,
				  .page_max = PAGE_MAX,
				  .salt = 1000 + file_no,
				  .log_id = FIXTURE_LOG,
				  .file_no = file_no,
				  .volume_no = 1,
				  .previous_file_no = fixture->previous_file_no,
				  .previous_checksum = fixture->previous_checksum };
	char name[16];

	file->fixture = fixture;
	fixture->previous_file_no = file_no;

	(void)snprintf(file->path, sizeof(file->path), "%s/0000000001", fixture->dir);
	(void)mkdir(file->path, 0700);
	fixture_path(fixture, file->path, file_no, ".shmlog.open");
	file->fd = open(file->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	MUST(file->fd >= 0);
	file->buffer = aligned_alloc(PAGE_ALIGN, PAGE_MAX);
	MUST(file->buffer != NULL);
	file->page_first = file->page_no = page_no;
	file->salt = info.salt;
	page_begin(&file->builder, file->buffer, PAGE_FILE);
	page_append_info(&file->builder, &info, sizeof(info));
	for (uint16_t source = 1; source <= sources; source++) {
		(void)snprintf(name, sizeof(name), "s%u", source);
		fixture_source(file, source, 100u + source, name);
	}
	fixture_page(file, 0);
}

void fixture_file_end(struct fixture_file *file)
{
	free(file->buffer);
	file->buffer = NULL;
	if (file->fd >= 0)
		MUST(close(file->fd) == 0);
	file->fd = -1;
}

static void count_losses(struct fixture *fixture, const void *payload, uint32_t length)
{
	struct gap_payload gap = { 0 };

	memcpy(&gap, payload, (size_t)min_u64(length, sizeof(gap)));
	for (size_t i = 0; i < COUNT_OF(gap.lost); i++)
		fixture->total_lost += gap.lost[i];
}

void fixture_record(struct fixture_file *file, uint8_t kind, uint16_t source, uint64_t ticks,
		    const void *payload, uint32_t length)
{
	const struct record_header header = {
		.length = length, .source = source, .kind = kind, .level = 6, .ticks = ticks
	};

	page_append(&file->builder, &header, payload);
	if (kind == RECORD_GAP)
		count_losses(file->fixture, payload, length);
}

void fixture_source(struct fixture_file *file, uint16_t source, uint32_t pid, const char *name)
{
	struct source_payload about = { .pid = pid, .tid = pid, .start_time = 5, .lane = source };

	(void)snprintf(about.name, sizeof(about.name), "%s", name);
	fixture_record(file, RECORD_SOURCE, source, 0, &about, sizeof(about));
}

void fixture_data(struct fixture_file *file, uint16_t source, uint64_t ticks, const char *text)
{
	fixture_record(file, RECORD_DATA, source, ticks, text, (uint32_t)strlen(text));
}

void fixture_seal(struct fixture_file *file)
{
	const struct seal_info info = { .pages = file->pages,
					.data_records = file->data_records,
					.first_ticks = file->first_ticks,
					.last_ticks = file->last_ticks,
					.missing = file->page_no - file->page_first - file->pages };
	struct page_stamp stamp = stamp_of(file, 0);
	char sealed[160];
	uint32_t length;

	stamp.sample_realtime_ns += (int64_t)(file->last_ticks - stamp.sample_ticks);
	stamp.sample_ticks = file->last_ticks;
	length = page_build_seal(file->buffer, &info, file->index, file->offset, &stamp);
	write_at(file, length);
	file->offset += length;
	MUST(ftruncate(file->fd, (off_t)file->offset) == 0);
	(void)snprintf(sealed, sizeof(sealed), "%s", file->path);
	sealed[strlen(sealed) - strlen(".open")] = '\0';
	MUST(rename(file->path, sealed) == 0);
	(void)snprintf(file->path, sizeof(file->path), "%s", sealed);
}

/* All that @path holds. */
static uint8_t *read_whole(const char *path, size_t *ret_size)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat about;
	uint8_t *bytes;

	MUST(fd >= 0 && fstat(fd, &about) == 0);
	*ret_size = (size_t)about.st_size;
	bytes = aligned_alloc(8, align_up(*ret_size, 8));
	MUST(bytes != NULL && read(fd, bytes, *ret_size) == (ssize_t)*ret_size);
	MUST(close(fd) == 0);
	return bytes;
}

/* One frame, a block from each of @cuts (count + 1) to the next. */
static size_t make_frame(const uint8_t *bytes, const struct archive_map *cuts,
			 const struct fixture_frame *frame, uint8_t *ret)
{
	const LZ4F_preferences_t preferences = {
		.frameInfo = { .blockSizeID = LZ4F_max256KB,
			       .blockMode =
				       frame->is_linked ? LZ4F_blockLinked : LZ4F_blockIndependent,
			       .contentChecksumFlag = LZ4F_contentChecksumEnabled,
			       .blockChecksumFlag = frame->has_block_checksums
							    ? LZ4F_blockChecksumEnabled
							    : LZ4F_noBlockChecksum,
			       .contentSize =
				       frame->has_no_size ? 0 : cuts->offsets[cuts->blocks] },
		.autoFlush = 1,
	};
	const size_t room = LZ4F_compressBound(PAGE_MAX, &preferences);
	LZ4F_cctx *context;
	size_t size, n;

	MUST(!LZ4F_isError(LZ4F_createCompressionContext(&context, LZ4F_VERSION)));
	size = LZ4F_compressBegin(context, ret, room, &preferences);
	for (size_t i = 0; i < cuts->blocks; i++) {
		n = LZ4F_compressUpdate(context, ret + size, room, bytes + cuts->offsets[i],
					cuts->offsets[i + 1] - cuts->offsets[i], NULL);
		MUST(!LZ4F_isError(n));
		size += n;
	}
	n = LZ4F_compressEnd(context, ret + size, room, NULL);
	MUST(!LZ4F_isError(n));
	(void)LZ4F_freeCompressionContext(context);
	return size + n;
}

void fixture_compress(struct fixture_file *file, const struct fixture_frame *frame)
{
	static const struct fixture_frame ours;
	struct archive_map cuts = { 0 };
	struct seal_trailer trailer;
	uint8_t *bytes, *archive;
	size_t size;
	int fd;

	frame = frame != NULL ? frame : &ours;
	bytes = read_whole(file->path, &size);
	memcpy(&trailer, bytes + size - sizeof(trailer), sizeof(trailer));
	if (frame->cuts == NULL) {
		MUST(archive_map_build(bytes + trailer.seal_offset, trailer.seal_offset, &cuts) ==
		     0);
	} else {
		cuts.offsets = calloc(frame->cut_count + 1, sizeof(*cuts.offsets));
		MUST(cuts.offsets != NULL);
		memcpy(cuts.offsets, frame->cuts, frame->cut_count * sizeof(*cuts.offsets));
		cuts.offsets[frame->cut_count] = size;
		cuts.blocks = frame->cut_count;
	}
	archive = malloc(2 * size + 2 * PAGE_MAX);
	MUST(archive != NULL);
	size = make_frame(bytes, &cuts, frame, archive);
	MUST(unlink(file->path) == 0);
	(void)strcat(file->path, ".lz4");
	fd = open(file->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	MUST(fd >= 0 && write(fd, archive, size) == (ssize_t)size && close(fd) == 0);
	archive_map_free(&cuts);
	free(archive);
	free(bytes);
}

void fixture_scribble(const char *path, uint64_t offset, const void *bytes, size_t size)
{
	const int fd = open(path, O_RDWR | O_CLOEXEC);

	MUST(fd >= 0);
	MUST(pwrite(fd, bytes, size, (off_t)offset) == (ssize_t)size);
	MUST(close(fd) == 0);
}

void fixture_read_all(struct shmlog_reader *reader, char *text, size_t size)
{
	struct shmlog_record record = { .size = sizeof(record) };
	size_t at = 0;
	int r;

	text[0] = '\0';
	while ((r = shmlog_reader_next(reader, &record)) == 0 || r == -EBADMSG) {
		const int length = (int)record.length;
		const char *space = at > 0 ? " " : "";

		MUST(at < size);
		if (r == -EBADMSG)
			at += (size_t)snprintf(text + at, size - at, "%s!", space);
		else if (record.kind == SHMLOG_GAP)
			at += (size_t)snprintf(text + at, size - at, "%s-%" PRIu64, space,
					       record.lost_total);
		else
			at += (size_t)snprintf(text + at, size - at,
					       record.kind == SHMLOG_NOTE ? "%s(%.*s)" : "%s%.*s",
					       space, length, (const char *)record.data);
	}
	MUST(r == -ENODATA || r == -EAGAIN);
}

void fixture_read_path(const char *path, char *text, size_t size)
{
	struct shmlog_reader *reader;

	MUST(shmlog_reader_open(path, NULL, &reader) == 0);
	fixture_read_all(reader, text, size);
	shmlog_reader_close(&reader);
}
