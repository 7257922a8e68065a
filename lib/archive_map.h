/*
 * archive_map.h - where the blocks of an archive begin in the sealed file that it holds.
 *
 * An archive is one LZ4 frame of independent blocks. Frames have no index; but who compresses cuts
 * the file by this rule, which needs only its SEAL page: at each page that the index names, at the
 * SEAL page, and each 256 KiB in whatever lies between. So block k of the frame holds the bytes
 * [offsets[k], offsets[k + 1]) of the file, and one page is found by one look and one block.
 * A reader must not rely on it: others compress, too. Pure; never believes the index.
 */
#ifndef SHMLOG_LIB_ARCHIVE_MAP_H
#define SHMLOG_LIB_ARCHIVE_MAP_H

#include <stddef.h>

#include "page.h"

struct archive_map {
	uint64_t
		*offsets; /* blocks + 1, rising; the last is the file's size; heap, the map's own */
	size_t blocks;
};

/**
 * archive_map_build() - the blocks of a sealed file.
 * @seal: a checked SEAL page; @seal_offset: where it lies in the file.
 * Return: 0; -EBADMSG its index makes no sense; -ENOMEM.
 */
int archive_map_build(const void *seal, uint64_t seal_offset, struct archive_map *ret);
void archive_map_free(struct archive_map *map);

/* The block that holds byte @offset; map->blocks: none does. */
size_t archive_map_find(const struct archive_map *map, uint64_t offset);

#endif
