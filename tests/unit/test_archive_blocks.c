/*
 * test_archive_blocks.c - bytes of an archive by their place, whoever has compressed it.
 */
#include "archive_blocks.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "input.h"
#include "log_fixture.h"

enum { PAGES = 9, WORDS = 20000 };

static struct fixture fixture;
static struct fixture_file file;
static uint8_t *plain;
static uint64_t plain_size;
static int fd = -1;
static uint64_t bytes_read;

static ssize_t counting_pread(int from, void *buffer, size_t size, off_t offset)
{
	bytes_read += size;
	return sys_real.pread(from, buffer, size, offset);
}

static struct sys counting;

/* A sealed file with pages of one block of 4096, and of many; some do not compress. */
static void set_up(void)
{
	static uint8_t noise[WORDS * 8];
	const struct seal_trailer *trailer;

	srandom(1);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)random();
	fixture_begin(&fixture);
	fixture_file_begin(&fixture, &file, 1, 1, 1);
	for (unsigned i = 1; i < PAGES; i++) {
		fixture_record(&file, RECORD_DATA, 1, i, noise, i % 3 == 0 ? sizeof(noise) : i);
		fixture_page(&file, i);
	}
	fixture_seal(&file);
	plain_size = file.offset;
	plain = malloc(plain_size);
	cr_assert_eq(pread(file.fd, plain, plain_size, 0), (ssize_t)plain_size);
	trailer = (const void *)(plain + plain_size - sizeof(*trailer));
	cr_assert_eq(trailer->magic, TRAILER_MAGIC);
	counting = sys_real;
	counting.pread = counting_pread;
}

static void tear_down(void)
{
	if (fd >= 0)
		(void)close(fd);
	free(plain);
	fixture_file_end(&file);
	fixture_end(&fixture);
}

TestSuite(archive_blocks, .init = set_up, .fini = tear_down, .timeout = 60);

static int compress(const struct fixture_frame *frame)
{
	fixture_compress(&file, frame);
	fd = open(file.path, O_RDWR | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	return fd;
}

/* Whether the archive is read by its blocks or not, it holds the same bytes. */
static void expect_same_bytes(void)
{
	static uint8_t buffer[PAGE_MAX];
	struct input *input;

	cr_assert_eq(input_open(&sys_real, fd, INPUT_LZ4, &input), 0);
	for (unsigned i = 0; i < 300; i++) {
		const uint64_t offset = (uint64_t)random() % (plain_size + 9);
		const size_t size = (size_t)random() % (i % 2 == 0 ? 300 : PAGE_MAX);
		const size_t want =
			offset >= plain_size ? 0 : (size_t)min_u64(size, plain_size - offset);

		cr_assert_eq(input_read(input, buffer, size, offset), (ssize_t)want, "%lu + %zu",
			     offset, size);
		cr_assert_eq(memcmp(buffer, plain + (offset < plain_size ? offset : 0), want), 0,
			     "%lu + %zu", offset, size);
	}
	input_close(&input);
	cr_assert_null(input);
}

static int size_by_blocks(void)
{
	struct archive_blocks *archive = NULL;
	uint64_t size = 0;
	int r = archive_blocks_open(&sys_real, fd, &archive);

	if (r == 0)
		r = archive_blocks_size(archive, &size);
	if (r == 0)
		cr_assert_eq(size, plain_size);
	archive_blocks_close(&archive);
	return r;
}

Test(archive_blocks, what_the_writer_compresses_is_read_block_by_block)
{
	struct archive_blocks *archive;
	uint8_t page[PAGE_ALIGN];
	uint64_t size;

	compress(NULL);
	cr_expect_eq(size_by_blocks(), 0);
	cr_assert_eq(archive_blocks_open(&counting, fd, &archive), 0);
	cr_assert_eq(archive_blocks_size(archive, &size), 0);
	bytes_read = 0;
	cr_assert_eq(archive_blocks_read(archive, page, sizeof(page), PAGE_ALIGN), PAGE_ALIGN);
	cr_expect_eq(memcmp(page, plain + PAGE_ALIGN, sizeof(page)), 0);
	cr_expect_lt(bytes_read, 1000, "one block");
	bytes_read = 0;
	cr_assert_eq(archive_blocks_read(archive, page, 100, PAGE_ALIGN + 5), 100);
	cr_expect_eq(bytes_read, 0, "it is kept");
	archive_blocks_close(&archive);
	expect_same_bytes();
}

Test(archive_blocks, the_first_page_costs_no_walk)
{
	struct archive_blocks *archive;
	uint8_t page[PAGE_ALIGN];

	compress(NULL);
	bytes_read = 0;
	cr_assert_eq(archive_blocks_open(&counting, fd, &archive), 0);
	cr_assert_eq(archive_blocks_read(archive, page, sizeof(page), 0), PAGE_ALIGN);
	cr_expect_eq(memcmp(page, plain, sizeof(page)), 0);
	cr_expect_lt(bytes_read, 1000);
	archive_blocks_close(&archive);
}

/* By its frame's header already. */
static void expect_refused(void)
{
	struct archive_blocks *archive = NULL;

	cr_expect_eq(archive_blocks_open(&sys_real, fd, &archive), -ENOTSUP);
	cr_expect_null(archive);
	expect_same_bytes();
}

Test(archive_blocks, blocks_that_are_linked_are_left_to_others)
{
	compress(&(struct fixture_frame){ .is_linked = true });
	expect_refused();
}

Test(archive_blocks, blocks_with_checksums_are_left_to_others)
{
	compress(&(struct fixture_frame){ .has_block_checksums = true });
	expect_refused();
}

Test(archive_blocks, a_frame_that_does_not_say_its_size_is_left_to_others)
{
	compress(&(struct fixture_frame){ .has_no_size = true });
	expect_refused();
}

Test(archive_blocks, other_cuts_are_left_to_others)
{
	const uint64_t cuts[] = { 0, 100, 70000, 200000 };

	compress(&(struct fixture_frame){ .cuts = cuts, .cut_count = 4 });
	cr_expect_eq(size_by_blocks(), -ENOTSUP);
	expect_same_bytes();
}

/* Two pages in one block, and the SEAL page in the last. */
Test(archive_blocks, fewer_cuts_are_left_to_others)
{
	uint64_t cuts[PAGES];

	for (size_t i = 0; i < PAGES - 1; i++)
		cuts[i] = (uint64_t)file.index[i + (i > 0)].offset_pages * PAGE_ALIGN;
	cuts[1] = PAGE_ALIGN;
	cuts[PAGES - 1] = plain_size - PAGE_ALIGN;
	compress(&(struct fixture_frame){ .cuts = cuts, .cut_count = PAGES });
	cr_expect_eq(size_by_blocks(), -ENOTSUP);
	expect_same_bytes();
}

/* As many blocks as the rule makes, and the SEAL page the last of them. */
Test(archive_blocks, other_cuts_that_look_like_ours_are_found_out)
{
	uint64_t cuts[PAGES + 1];

	for (size_t i = 0; i < PAGES; i++)
		cuts[i] = (uint64_t)file.index[i].offset_pages * PAGE_ALIGN + (i == 2 ? 512 : 0);
	cuts[PAGES] = plain_size - PAGE_ALIGN;
	compress(&(struct fixture_frame){ .cuts = cuts, .cut_count = PAGES + 1 });
	cr_expect_eq(size_by_blocks(), 0);
	expect_same_bytes();
}

Test(archive_blocks, what_lies_behind_the_frame_is_left_to_others)
{
	uint8_t byte = 0;
	off_t end;

	compress(NULL);
	end = lseek(fd, 0, SEEK_END);
	cr_assert_eq(pwrite(fd, &byte, 1, end), 1);
	cr_expect_eq(size_by_blocks(), -ENOTSUP);
}

/* The place of block @block's size word. */
static off_t place_of(unsigned block)
{
	uint32_t word;
	off_t place = 15; /* the frame's header with a content size */

	for (unsigned i = 0; i < block; i++) {
		cr_assert_eq(pread(fd, &word, sizeof(word), place), 4);
		place += 4 + (off_t)(word & 0x7fffffff);
	}
	return place;
}

Test(archive_blocks, a_damaged_block_costs_itself_only)
{
	static const uint8_t wrong[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct archive_blocks *archive;
	uint8_t page[PAGE_ALIGN];

	compress(NULL);
	cr_assert_eq(pwrite(fd, wrong, sizeof(wrong), place_of(1) + 4), (ssize_t)sizeof(wrong));
	cr_assert_eq(archive_blocks_open(&sys_real, fd, &archive), 0);
	cr_expect_eq(archive_blocks_read(archive, page, sizeof(page), PAGE_ALIGN), -EBADMSG);
	cr_expect_eq(archive_blocks_read(archive, page, sizeof(page), 2 * PAGE_ALIGN), PAGE_ALIGN);
	cr_expect_eq(memcmp(page, plain + 2 * PAGE_ALIGN, sizeof(page)), 0);
	cr_expect_eq(archive_blocks_read(archive, page, sizeof(page), PAGE_ALIGN - 96), 96);
	archive_blocks_close(&archive);
}

/* A block that decompresses, but not to its length. */
Test(archive_blocks, a_block_of_another_length_costs_itself_only)
{
	static const uint8_t shorter[] = { 0x10, 'x' };
	const uint32_t raw = 0x80000000;
	struct archive_blocks *archive;
	uint8_t page[PAGE_ALIGN];
	uint32_t word;
	off_t place;

	compress(NULL);
	place = place_of(1);
	cr_assert_eq(pread(fd, &word, sizeof(word), place), 4);
	word |= raw;
	cr_assert_eq(pwrite(fd, &word, sizeof(word), place), 4);
	cr_assert_eq(pwrite(fd, shorter, sizeof(shorter), place + 4), (ssize_t)sizeof(shorter));
	cr_assert_eq(archive_blocks_open(&sys_real, fd, &archive), 0);
	cr_expect_eq(archive_blocks_read(archive, page, sizeof(page), PAGE_ALIGN), -EBADMSG);
	cr_expect_eq(archive_blocks_read(archive, page, sizeof(page), 2 * PAGE_ALIGN), PAGE_ALIGN);
	cr_expect_eq(memcmp(page, plain + 2 * PAGE_ALIGN, sizeof(page)), 0);
	archive_blocks_close(&archive);
}

/* Also of what can only be read from its beginning: all that lies before. */
Test(archive_blocks, damage_takes_nothing_with_it_that_lies_before)
{
	static const uint8_t wrong[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static uint8_t buffer[PAGE_MAX];
	const uint64_t end = (uint64_t)file.index[4].offset_pages * PAGE_ALIGN;
	struct input *input;

	compress(&(struct fixture_frame){ .is_linked = true });
	cr_assert_eq(pwrite(fd, wrong, sizeof(wrong), place_of(4) + 4), (ssize_t)sizeof(wrong));
	cr_assert_eq(input_open(&sys_real, fd, INPUT_LZ4, &input), 0);
	cr_assert_eq(input_read(input, buffer, end, 0), (ssize_t)end);
	cr_expect_eq(memcmp(buffer, plain, end), 0);
	cr_expect_eq(input_read(input, buffer, 1, end), -EBADMSG);
	input_close(&input);
}

static void read_whatever(void)
{
	static uint8_t buffer[PAGE_MAX];
	struct input *input;

	cr_assert_eq(input_open(&sys_real, fd, INPUT_LZ4, &input), 0);
	for (uint64_t offset = 0; offset < plain_size; offset += PAGE_MAX)
		(void)input_read(input, buffer, sizeof(buffer), offset);
	cr_assert_leq(input_read(input, buffer, sizeof(buffer), plain_size + 2 * PAGE_MAX), 0);
	input_close(&input);
}

Test(archive_blocks, any_byte_may_be_wrong)
{
	uint8_t byte, wrong;
	off_t end;

	compress(NULL);
	end = lseek(fd, 0, SEEK_END);
	for (off_t at = 4; at < end; at += at < 2000 || end - at < 200 ? 1 : 4999) {
		cr_assert_eq(pread(fd, &byte, 1, at), 1);
		for (unsigned bit = 0; bit < 8; bit += 7) {
			wrong = (uint8_t)(byte ^ 1u << bit);
			cr_assert_eq(pwrite(fd, &wrong, 1, at), 1);
			read_whatever();
		}
		cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
	}
	expect_same_bytes();
	cr_assert_eq(ftruncate(fd, end - 1), 0);
	read_whatever();
	cr_assert_eq(ftruncate(fd, 5), 0);
	read_whatever();
}
