/*
 * archive_blocks.c - bytes at any place of an archive.
 *
 * Invariants: 1. block k of the frame has its size word at places[k] and ends at places[k + 1];
 * 2. once it is mapped, block k holds, if it is sound, the bytes [offsets[k], offsets[k + 1]) of
 * the file; 3. a kept block is whole; until it is mapped, kept[0] is the first one.
 */
#include "archive_blocks.h"

#include <errno.h>
#include <lz4.h>
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>

#include "archive_map.h"

enum {
	WORD_SIZE = 4,     /* before each block, and the frame's end: 0           */
	CHECKSUM_SIZE = 4, /* behind the end, if the frame's header says so       */
	KEPT = 2,          /* blocks: a page, and another beside it               */
	BLOCKS_MAX = 2 * (FILE_PAGES_MAX + 1) + 2,
};

/* The high bit of a block's size word: its bytes are stored as they are. */
#define RAW_BIT UINT32_C(0x80000000)

struct kept_block {
	size_t block; /* SIZE_MAX: none */
	size_t size;
	uint8_t *bytes; /* PAGE_MAX */
};

struct archive_blocks {
	const struct sys *sys;
	int fd;
	uint64_t content_size; /* by the frame's header */
	bool has_checksum;
	bool is_measured; /* a block that is not as the map says is damaged */
	uint64_t *places; /* blocks + 1 */
	size_t blocks;    /* found so far */
	size_t capacity;
	struct archive_map map; /* no blocks: not mapped yet */
	uint8_t *source;        /* a size word and its compressed bytes */
	struct kept_block kept[KEPT];
	unsigned oldest; /* of kept */
};

void archive_blocks_close(struct archive_blocks **archive)
{
	struct archive_blocks *gone = *archive;

	if (gone == NULL)
		return;
	archive_map_free(&gone->map);
	for (size_t i = 0; i < KEPT; i++)
		free(gone->kept[i].bytes);
	free(gone->source);
	free(gone->places);
	free(gone);
	*archive = NULL;
}

/* All @size bytes at @offset: 0; -ENODATA the file ends before; -errno. */
static int read_all(const struct archive_blocks *archive, void *buffer, size_t size,
		    uint64_t offset)
{
	const ssize_t n = sys_read_fully(archive->sys, archive->fd, buffer, size, offset);

	if (n < 0)
		return (int)n;
	return (size_t)n == size ? 0 : -ENODATA;
}

/* ---- where the blocks lie ---- */

/* Only what can be read block by block: independent, without a dictionary or block checksums. */
static bool is_fit(const LZ4F_frameInfo_t *frame)
{
	return frame->frameType == LZ4F_frame && frame->blockMode == LZ4F_blockIndependent &&
	       frame->blockChecksumFlag == LZ4F_noBlockChecksum && frame->dictID == 0 &&
	       frame->contentSize > 0 && frame->contentSize <= FILE_SIZE_MAX;
}

/* What the frame's header says, and where it ends. */
static int read_frame_header(struct archive_blocks *archive, uint64_t *ret_end)
{
	uint8_t bytes[LZ4F_HEADER_SIZE_MAX];
	const ssize_t n = sys_read_fully(archive->sys, archive->fd, bytes, sizeof(bytes), 0);
	size_t size = n < 0 ? 0 : (size_t)n;
	LZ4F_frameInfo_t frame = { 0 };
	LZ4F_dctx *context;
	size_t hint;

	if (n < 0)
		return (int)n;
	if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)))
		return -ENOMEM;
	hint = LZ4F_getFrameInfo(context, &frame, bytes, &size);
	(void)LZ4F_freeDecompressionContext(context);
	if (LZ4F_isError(hint) || !is_fit(&frame))
		return -ENOTSUP;
	archive->content_size = frame.contentSize;
	archive->has_checksum = frame.contentChecksumFlag == LZ4F_contentChecksumEnabled;
	*ret_end = size;
	return 0;
}

/* The place of the next block, or of the end behind the last one. */
static int add_place(struct archive_blocks *archive, size_t count, uint64_t place)
{
	const size_t wanted = archive->capacity == 0 ? 64 : archive->capacity * 2;
	uint64_t *places;

	if (count > BLOCKS_MAX)
		return -ENOTSUP;
	if (count == archive->capacity) {
		places = realloc(archive->places, wanted * sizeof(*places));
		if (places == NULL)
			return -ENOMEM;
		archive->places = places;
		archive->capacity = wanted;
	}
	archive->places[count] = place;
	return 0;
}

/* One block more: 0; -ENODATA the frame ends here; -ENOTSUP; -ENOMEM; -errno. */
static int find_block(struct archive_blocks *archive)
{
	const uint64_t place = archive->places[archive->blocks];
	uint32_t word;
	int r = read_all(archive, &word, sizeof(word), place);

	if (r < 0)
		return r == -ENODATA ? -ENOTSUP : r;
	if (word == 0)
		return -ENODATA;
	if ((word & ~RAW_BIT) > PAGE_MAX)
		return -ENOTSUP;
	r = add_place(archive, archive->blocks + 1, place + WORD_SIZE + (word & ~RAW_BIT));
	archive->blocks += r == 0;
	return r;
}

/* From size word to size word to the end of the frame, which must be that of the file. */
static int find_blocks(struct archive_blocks *archive)
{
	uint8_t beyond;
	int r;

	do
		r = find_block(archive);
	while (r == 0);
	if (r != -ENODATA)
		return r;
	r = read_all(archive, &beyond, sizeof(beyond),
		     archive->places[archive->blocks] + WORD_SIZE +
			     (archive->has_checksum ? CHECKSUM_SIZE : 0));
	if (r == 0)
		return -ENOTSUP;
	return r == -ENODATA ? 0 : r;
}

/* ---- one block ---- */

/* @block into @ret: 0; -EBADMSG; -errno. */
static int decompress(const struct archive_blocks *archive, size_t block, struct kept_block *ret)
{
	const uint64_t place = archive->places[block];
	const size_t size = (size_t)(archive->places[block + 1] - place) - WORD_SIZE;
	const uint8_t *source = archive->source + WORD_SIZE;
	const int r = read_all(archive, archive->source, WORD_SIZE + size, place);
	uint32_t word;
	int n = (int)size;

	ret->block = SIZE_MAX;
	if (r < 0)
		return r == -ENODATA ? -EBADMSG : r;
	memcpy(&word, archive->source, sizeof(word));
	if (word & RAW_BIT)
		memcpy(ret->bytes, source, size);
	else
		n = LZ4_decompress_safe((const char *)source, (char *)ret->bytes, n, PAGE_MAX);
	if (n < 0)
		return -EBADMSG;
	ret->size = (size_t)n;
	ret->block = block;
	return 0;
}

static size_t mapped_size(const struct archive_blocks *archive, size_t block)
{
	return (size_t)(archive->map.offsets[block + 1] - archive->map.offsets[block]);
}

/*
 * A block is not as long as the SEAL page says. It is damaged, and costs itself only; or somebody
 * has cut all of them in another way: then they are sound, and together as long as the file.
 */
static bool is_cut_otherwise(struct archive_blocks *archive)
{
	struct kept_block *scratch = &archive->kept[0];
	uint64_t sum = 0;

	if (archive->is_measured)
		return false;
	archive->is_measured = true;
	for (size_t block = 0; block < archive->blocks; block++) {
		if (decompress(archive, block, scratch) < 0)
			return false;
		sum += scratch->size;
	}
	scratch->block = SIZE_MAX;
	return sum == archive->content_size;
}

/* @block, decompressed now or before. */
static int take_block(struct archive_blocks *archive, size_t block, const uint8_t **ret)
{
	struct kept_block *kept = archive->kept;
	int r;

	if (kept->block != block && kept[1].block != block) {
		kept += archive->oldest;
		r = decompress(archive, block, kept);
		if (r == 0 && kept->size != mapped_size(archive, block)) {
			kept->block = SIZE_MAX;
			r = is_cut_otherwise(archive) ? -ENOTSUP : -EBADMSG;
		}
		if (r < 0)
			return r;
	} else if (kept->block != block) {
		kept++;
	}
	archive->oldest = kept == archive->kept;
	*ret = kept->bytes;
	return 0;
}

/* ---- the map ---- */

/* A SEAL page that fills the last block and ends the file; its checksum is for who knows the salt.
 */
static bool is_seal(const struct archive_blocks *archive, const struct kept_block *last)
{
	struct seal_trailer trailer;
	struct page_header header;

	if (last->size < sizeof(header) + sizeof(trailer) || last->size > archive->content_size)
		return false;
	memcpy(&header, last->bytes, sizeof(header));
	memcpy(&trailer, last->bytes + last->size - sizeof(trailer), sizeof(trailer));
	return page_header_check(&header) == 0 && header.kind == PAGE_SEAL &&
	       header.length == last->size && header.used == last->size &&
	       trailer.magic == TRAILER_MAGIC &&
	       trailer.seal_offset == archive->content_size - last->size;
}

/* By the SEAL page in the last block. */
static int map_blocks(struct archive_blocks *archive)
{
	struct kept_block *last = &archive->kept[1];
	int r = find_blocks(archive);

	if (r == 0)
		r = decompress(archive, archive->blocks - 1, last);
	if (r == 0 && !is_seal(archive, last))
		r = -ENOTSUP;
	if (r == 0)
		r = archive_map_build(last->bytes, archive->content_size - last->size,
				      &archive->map);
	if (r < 0)
		return r == -EBADMSG ? -ENOTSUP : r;
	if (archive->map.blocks == archive->blocks &&
	    archive->kept[0].size == mapped_size(archive, 0))
		return 0;
	archive_map_free(&archive->map);
	return -ENOTSUP;
}

int archive_blocks_size(struct archive_blocks *archive, uint64_t *ret)
{
	const int r = archive->map.blocks == 0 ? map_blocks(archive) : 0;

	*ret = archive->content_size;
	return r;
}

/* From the block at @offset, at most up to its end. */
static ssize_t read_block(struct archive_blocks *archive, uint8_t *to, size_t size, uint64_t offset)
{
	const size_t block = archive_map_find(&archive->map, offset);
	const uint8_t *bytes = NULL;
	uint64_t within;
	size_t n;
	int r;

	if (block == archive->map.blocks)
		return 0;
	r = take_block(archive, block, &bytes);
	if (r < 0)
		return r;
	within = offset - archive->map.offsets[block];
	n = (size_t)min_u64(size, mapped_size(archive, block) - within);
	memcpy(to, bytes + within, n);
	return (ssize_t)n;
}

ssize_t archive_blocks_read(struct archive_blocks *archive, void *buffer, size_t size,
			    uint64_t offset)
{
	const struct kept_block *first = &archive->kept[0];
	size_t done = 0;
	uint64_t end;
	ssize_t n;
	int r;

	if (archive->map.blocks == 0 && size <= first->size && offset <= first->size - size) {
		memcpy(buffer, first->bytes + offset, size);
		return (ssize_t)size;
	}
	r = archive_blocks_size(archive, &end);
	if (r < 0)
		return r;
	do {
		n = read_block(archive, (uint8_t *)buffer + done, size - done, offset + done);
		done += n > 0 ? (size_t)n : 0;
	} while (n > 0 && done < size);
	/* What lies before a damaged block is there. */
	return n == -EBADMSG && done > 0 ? (ssize_t)done : (n < 0 ? n : (ssize_t)done);
}

/* ---- open ---- */

static int get_memory(struct archive_blocks *archive)
{
	archive->source = malloc(WORD_SIZE + PAGE_MAX);
	for (size_t i = 0; i < KEPT; i++) {
		archive->kept[i] =
			(struct kept_block){ .block = SIZE_MAX, .bytes = malloc(PAGE_MAX) };
		if (archive->kept[i].bytes == NULL)
			return -ENOMEM;
	}
	return archive->source == NULL ? -ENOMEM : 0;
}

static int begin(struct archive_blocks *archive)
{
	uint64_t place = 0;
	int r = read_frame_header(archive, &place);

	if (r == 0)
		r = get_memory(archive);
	if (r == 0)
		r = add_place(archive, 0, place);
	if (r == 0)
		r = find_block(archive);
	if (r == 0)
		r = decompress(archive, 0, &archive->kept[0]);
	return r == -ENODATA || r == -EBADMSG ? -ENOTSUP : r;
}

int archive_blocks_open(const struct sys *sys, int fd, struct archive_blocks **ret)
{
	struct archive_blocks *archive = calloc(1, sizeof(*archive));
	int r;

	if (archive == NULL)
		return -ENOMEM;
	*archive = (struct archive_blocks){ .sys = sys, .fd = fd };
	r = begin(archive);
	if (r < 0)
		archive_blocks_close(&archive);
	else
		*ret = archive;
	return r;
}
