/*
 * lz4_archive.c - see lz4_archive.h.
 */
#include "lz4_archive.h"

#include <lz4frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive_map.h"

/* Also with NDEBUG, unlike assert(). */
static void must(int condition, const char *what)
{
	if (condition)
		return;
	(void)fprintf(stderr, "archive: %s\n", what);
	abort();
}

static void map_file(const uint8_t *file, size_t size, struct archive_map *ret)
{
	struct seal_trailer trailer;

	must(size > sizeof(trailer), "no sealed file");
	memcpy(&trailer, file + size - sizeof(trailer), sizeof(trailer));
	must(trailer.seal_offset < size, "no sealed file");
	must(archive_map_build(file + trailer.seal_offset, trailer.seal_offset, ret) == 0,
	     "an index without sense");
	must(ret->offsets[ret->blocks] == size, "more than a sealed file");
}

uint8_t *lz4_archive_make(const uint8_t *file, size_t size, size_t *ret_size)
{
	const LZ4F_preferences_t preferences = {
		.frameInfo = { .blockSizeID = LZ4F_max256KB,
			       .blockMode = LZ4F_blockIndependent,
			       .contentChecksumFlag = LZ4F_contentChecksumEnabled,
			       .contentSize = size },
		.autoFlush = 1,
	};
	struct archive_map map;
	LZ4F_cctx *lz4;
	uint8_t *frame;
	size_t room, at, more;

	map_file(file, size, &map);
	room = (map.blocks + 2) * LZ4F_compressBound(PAGE_MAX, &preferences);
	frame = malloc(room);
	must(frame != NULL, "out of memory");
	must(!LZ4F_isError(LZ4F_createCompressionContext(&lz4, LZ4F_VERSION)), "out of memory");
	at = LZ4F_compressBegin(lz4, frame, room, &preferences);
	for (size_t i = 0; i < map.blocks && !LZ4F_isError(at); i++) {
		more = LZ4F_compressUpdate(lz4, frame + at, room - at, file + map.offsets[i],
					   map.offsets[i + 1] - map.offsets[i], NULL);
		must(!LZ4F_isError(more), "cannot be compressed");
		at += more;
	}
	more = LZ4F_compressEnd(lz4, frame + at, room - at, NULL);
	must(!LZ4F_isError(at) && !LZ4F_isError(more), "cannot be compressed");
	(void)LZ4F_freeCompressionContext(lz4);
	archive_map_free(&map);
	*ret_size = at + more;
	return frame;
}
