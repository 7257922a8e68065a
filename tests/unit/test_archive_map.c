/*
 * test_archive_map.c - where the blocks of an archive begin.
 */
#include "archive_map.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

enum { SEAL_AT = 40, ENTRIES = 3 };

static _Alignas(4096) uint8_t page[PAGE_MAX];
static struct index_entry entries[ENTRIES];
static struct archive_map map;

static void set_up(void)
{
	static const uint32_t offsets[ENTRIES] = { 0, 1, 33 };

	for (size_t i = 0; i < ENTRIES; i++)
		entries[i] = (struct index_entry){ .page_no = i + 1, .offset_pages = offsets[i] };
}

static void tear_down(void)
{
	archive_map_free(&map);
}

TestSuite(archive_map, .init = set_up, .fini = tear_down);

/* Of a file whose SEAL page lies @seal_pages * 4096 bytes behind its beginning. */
static int build(uint64_t pages, uint64_t seal_pages)
{
	const struct seal_info info = { .pages = pages };
	const struct page_stamp stamp = { .page_no = 9, .salt = 1 };

	(void)page_build_seal(page, &info, entries, seal_pages * PAGE_ALIGN, &stamp);
	return archive_map_build(page, seal_pages * PAGE_ALIGN, &map);
}

static void expect_blocks(const uint64_t *offsets, size_t blocks)
{
	cr_assert_eq(map.blocks, blocks);
	for (size_t i = 0; i <= blocks; i++)
		cr_expect_eq(map.offsets[i], offsets[i] * PAGE_ALIGN, "block %zu", i);
}

Test(archive_map, each_page_is_a_block_and_the_seal_page_is_the_last)
{
	static const uint64_t offsets[] = { 0, 1, 33, SEAL_AT, SEAL_AT + 1 };

	cr_assert_eq(build(ENTRIES, SEAL_AT), 0);
	expect_blocks(offsets, 4);
}

Test(archive_map, a_page_of_the_largest_size_is_one_block)
{
	static const uint64_t offsets[] = { 0, 1, 65, 66 };

	cr_assert_eq(build(2, 65), 0);
	expect_blocks(offsets, 3);
}

Test(archive_map, what_lies_between_is_cut_each_256_kib)
{
	static const uint64_t offsets[] = { 0, 1, 65, 129, 130, 131 };

	cr_assert_eq(build(2, 130), 0);
	expect_blocks(offsets, 5);
}

Test(archive_map, a_byte_is_found_in_its_block)
{
	cr_assert_eq(build(ENTRIES, SEAL_AT), 0);
	cr_expect_eq(archive_map_find(&map, 0), 0);
	cr_expect_eq(archive_map_find(&map, PAGE_ALIGN - 1), 0);
	cr_expect_eq(archive_map_find(&map, PAGE_ALIGN), 1);
	cr_expect_eq(archive_map_find(&map, 33 * PAGE_ALIGN - 1), 1);
	cr_expect_eq(archive_map_find(&map, 33 * PAGE_ALIGN), 2);
	cr_expect_eq(archive_map_find(&map, (SEAL_AT + 1) * PAGE_ALIGN - 1), 3);
	cr_expect_eq(archive_map_find(&map, (SEAL_AT + 1) * PAGE_ALIGN), map.blocks);
	cr_expect_eq(archive_map_find(&map, UINT64_MAX), map.blocks);
}

Test(archive_map, of_nothing_holds_nothing)
{
	const struct archive_map none = { 0 };

	cr_expect_eq(archive_map_find(&none, 0), 0);
}

Test(archive_map, an_index_that_makes_no_sense_is_refused)
{
	cr_expect_eq(build(0, SEAL_AT), -EBADMSG, "no page at all");
	cr_expect_eq(build(ENTRIES, 33), -EBADMSG, "a page behind the SEAL page");
	cr_expect_eq(build(ENTRIES, FILE_SIZE_MAX / PAGE_ALIGN + 1), -EBADMSG,
		     "no file is as long");
	entries[2].offset_pages = 1;
	cr_expect_eq(build(ENTRIES, SEAL_AT), -EBADMSG, "two pages in one place");
	set_up();
	entries[0].offset_pages = 1;
	entries[1].offset_pages = 2;
	cr_expect_eq(build(ENTRIES, SEAL_AT), -EBADMSG, "nothing at the beginning");
	set_up();
	memset(page, 0, sizeof(page));
	cr_expect_eq(archive_map_build(page, 0, &map), -EBADMSG, "no SEAL page");
}
