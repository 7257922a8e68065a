/*
 * target_map.c - archive_map_build() over SEAL pages of any index.
 *
 * A SEAL page is built over an index that rises or not, is spoiled, and gets a right checksum
 * again. The oracle reads index and rule a second way, from docs/FORMAT.md and archive_map.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "archive_map.h"
#include "fuzz.h"

enum { SALT = 4711, PAGES_MAX = 200, INDEX_AT = 128 + 48 };

static uint8_t page[PAGE_MAX] __attribute__((aligned(4096)));

/* Fields of the header, of the seal info, and of the first index entries. */
static const uint16_t places[] = { 8,   10,  12,  40,  44,  128, 136, 176, 192,
				   200, 204, 206, 232, 236, 264, 268, 0 };

/* In steps of a page, or anything. *ret: where the SEAL page lies if they are taken seriously. */
static uint64_t build(struct bytes *input)
{
	static struct index_entry index[PAGES_MAX];
	const struct page_stamp stamp = { .page_no = 9, .salt = SALT };
	const struct seal_info info = { .pages = take_below(input, PAGES_MAX) };
	const uint32_t wild = (uint32_t)take(input, 1);
	uint64_t at = wild & 1 ? take(input, 1) : 0;

	for (uint64_t i = 0; i < info.pages; i++) {
		index[i] = (struct index_entry){ .page_no = i + 1,
						 .offset_pages = (uint32_t)at,
						 .records = (uint16_t)take(input, 1),
						 .sources = (uint16_t)take(input, 1) };
		at += wild & 2 ? take(input, 1) : 1 + take(input, 1) % 64;
		if (wild & 4 && i == wild >> 3)
			at = take_odd(input, 4);
	}
	at *= PAGE_ALIGN;
	(void)page_build_seal(page, &info, index, at, &stamp);
	return at;
}

static uint64_t field(size_t at, size_t width)
{
	uint64_t value = 0;

	memcpy(&value, page + at, width);
	return value;
}

static void correct(void)
{
	static uint8_t copy[PAGE_MAX];
	const uint64_t used = field(12, 4);
	uint64_t checksum;

	if (used < INDEX_AT || used > sizeof(page))
		return;
	memcpy(copy, page, 16);
	memcpy(copy + 16, page + 24, used - 24);
	checksum = XXH3_64bits_withSeed(copy, used - 8, SALT);
	memcpy(page + 16, &checksum, sizeof(checksum));
}

static uint64_t index_at(uint64_t i)
{
	return field(10, 2) + 48 + i * 32;
}

static uint64_t begin_of(uint64_t i)
{
	return field(index_at(i) + 24, 4) * PAGE_ALIGN;
}

/* Pages one behind the other, from 0 on, before the SEAL page. */
static bool makes_sense(uint64_t seal_offset)
{
	const uint64_t pages = field(field(10, 2), 8);
	uint64_t from = 0;

	if (page[8] != PAGE_SEAL || field(10, 2) + 48 + 16 > field(12, 4) ||
	    pages > (field(12, 4) - field(10, 2) - 48 - 16) / 32 || pages == 0 ||
	    seal_offset > FILE_SIZE_MAX)
		return false;
	for (uint64_t i = 0; i < pages; i++) {
		if (begin_of(i) < from || (i == 0 && begin_of(i) != 0))
			return false;
		from = begin_of(i) + PAGE_ALIGN;
	}
	return from <= seal_offset;
}

static bool begins_block(const struct archive_map *map, uint64_t offset)
{
	const size_t block = archive_map_find(map, offset);

	return block < map->blocks && map->offsets[block] == offset;
}

static void check(const struct archive_map *map, uint64_t seal_offset)
{
	const uint64_t end = seal_offset + field(0, 4);
	size_t named = 0;

	must(map->offsets[0] == 0 && map->offsets[map->blocks] == end, "map: not the whole file");
	for (size_t i = 0; i < map->blocks; i++) {
		must(map->offsets[i] < map->offsets[i + 1], "map: a block ends before it begins");
		must(map->offsets[i + 1] - map->offsets[i] <= PAGE_MAX, "map: too large a block");
	}
	for (uint64_t i = 0; i < field(field(10, 2), 8); i++, named++)
		must(begins_block(map, begin_of(i)), "map: a page begins no block");
	must(begins_block(map, seal_offset), "map: the SEAL page begins no block");
	must(map->blocks <= named + 1 + end / PAGE_MAX + 1, "map: more blocks than the rule has");
	must(archive_map_find(map, end) == map->blocks, "map: a block behind the end");
}

/* Some byte lies in the block that is found for it. */
static void check_find(const struct archive_map *map, uint64_t offset)
{
	const size_t block = archive_map_find(map, offset);

	if (offset >= map->offsets[map->blocks])
		must(block == map->blocks, "map: a byte behind the end is found");
	else
		must(map->offsets[block] <= offset && offset < map->offsets[block + 1],
		     "map: a byte is not in its block");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes input = { data, size };
	const uint8_t mode = (uint8_t)take(&input, 1);
	struct archive_map map;
	uint64_t seal_offset;
	int r;

	memset(page, 0, sizeof(page));
	seal_offset = build(&input);
	for (uint8_t spoils = mode & 3; spoils > 0; spoils--)
		(void)spoil(&input, page, (size_t)field(0, 4) % sizeof(page) + 1, places);
	if (mode & 3)
		correct();
	if (mode & 4)
		seal_offset = take_odd(&input, 8) / PAGE_ALIGN * PAGE_ALIGN;
	if (page_check(page, sizeof(page), SALT) != 0)
		return 0;
	r = archive_map_build(page, seal_offset, &map);
	must(r == (makes_sense(seal_offset) ? 0 : -EBADMSG), "map: answers %d", r);
	if (r == 0) {
		check(&map, seal_offset);
		check_find(&map, take_odd(&input, 8));
		archive_map_free(&map);
	}
	return 0;
}
