/*
 * archive_map.c - where the blocks of an archive begin. See archive_map.h.
 */
#include "archive_map.h"

#include <errno.h>
#include <stdlib.h>

/* Offsets on their way into a map that has room for them. */
struct cutting {
	uint64_t *offsets;
	size_t count;
};

/* Blocks of [begin, end): one, or more where it is longer than a page can be. */
static void cut(struct cutting *cutting, uint64_t begin, uint64_t end)
{
	for (; begin < end; begin += PAGE_MAX)
		cutting->offsets[cutting->count++] = begin;
}

static uint64_t begin_of(const struct index_entry *entry)
{
	return (uint64_t)entry->offset_pages * PAGE_ALIGN;
}

/* Rising from 0 on, all before the SEAL page. */
static bool is_sane(const struct index_entry *index, uint64_t pages, uint64_t seal_offset)
{
	uint64_t from = 0;

	for (uint64_t i = 0; i < pages; i++) {
		if (begin_of(&index[i]) < from || (i == 0 && begin_of(&index[i]) > 0))
			return false;
		from = begin_of(&index[i]) + PAGE_ALIGN;
	}
	return pages > 0 && from <= seal_offset;
}

int archive_map_build(const void *seal, uint64_t seal_offset, struct archive_map *ret)
{
	const struct page_header *header = seal;
	const struct index_entry *index;
	struct cutting cutting = { 0 };
	struct seal_info info;
	int r = page_seal_info(seal, &info, &index);

	if (r < 0)
		return r;
	if (!is_sane(index, info.pages, seal_offset) || seal_offset > FILE_SIZE_MAX)
		return -EBADMSG;
	/* Every page begins a block, and every 256 KiB at most one more. */
	cutting.offsets = calloc(info.pages + seal_offset / PAGE_MAX + 3, sizeof(*cutting.offsets));
	if (cutting.offsets == NULL)
		return -ENOMEM;
	for (uint64_t i = 0; i < info.pages; i++)
		cut(&cutting, begin_of(&index[i]),
		    i + 1 < info.pages ? begin_of(&index[i + 1]) : seal_offset);
	cut(&cutting, seal_offset, seal_offset + header->length);
	cutting.offsets[cutting.count] = seal_offset + header->length;
	*ret = (struct archive_map){ .offsets = cutting.offsets, .blocks = cutting.count };
	return 0;
}

void archive_map_free(struct archive_map *map)
{
	free(map->offsets);
	*map = (struct archive_map){ 0 };
}

size_t archive_map_find(const struct archive_map *map, uint64_t offset)
{
	size_t low = 0, high = map->blocks;

	if (map->blocks == 0 || offset >= map->offsets[map->blocks])
		return map->blocks;
	while (high - low > 1) {
		const size_t middle = low + (high - low) / 2;

		if (map->offsets[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	return low;
}
