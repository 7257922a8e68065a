/*
 * target_ring.c - the reader of rings (lib/reader_ring.c) over a segment whose bytes the input
 * decides.
 *
 * The ring is a real one, in a directory of the target's own; its content is replaced each time.
 * The oracle walks the lanes by itself and says how many records there are, and which.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "shmlog_reader.h"

static uint8_t *memory;
static uint8_t header[RING_PAGE];

static void make_ring(void)
{
	const struct segment_options options = { .lanes = IMAGE_LANES,
						 .lane_size = IMAGE_BLOCKS * BLOCK_SIZE,
						 .group = (gid_t)-1,
						 .clock = RING_CLOCK_MONOTONIC };
	struct segment segment;
	void *base;

	must(setenv("SHMLOG_SHM_DIR", fuzz_directory(), 1) == 0, "fuzz: no environment");
	must(segment_create(&sys_real, "image", &options) == 0, "fuzz: %s", reason_get());
	must(segment_open(&sys_real, "image", O_RDWR, &segment) == 0, "fuzz: %s", reason_get());
	must(segment_map(&segment, segment.fd, 0, segment.geometry.size, true, &base) == 0,
	     "fuzz: cannot map the ring");
	memory = base;
	memcpy(header, memory, sizeof(header));
	segment_close(&segment);
}

static uint64_t hash_record(uint64_t level, uint64_t ticks, const void *payload, size_t length)
{
	const uint64_t about[] = { level, ticks, length };

	return hash_bytes(hash_bytes(1, about, sizeof(about)), payload, length);
}

struct content {
	uint64_t data, gaps, hash;
	bool is_unknown; /* positions beyond what any ring can come to: the order of two is open */
};

static void expect_record(struct content *content, const uint8_t *block, uint64_t blocks)
{
	uint32_t length;
	uint64_t ticks;

	memcpy(&length, block, 4);
	memcpy(&ticks, block + 8, 8);
	if (length > blocks * 64 - 16)
		return;
	content->gaps += block[6] == RECORD_GAP && length == sizeof(struct gap_payload);
	if (block[6] != RECORD_DATA || block[7] > 7)
		return;
	content->hash += hash_record(block[7], ticks, block + 16, length);
	content->data++;
}

static void expect_lane(struct content *content, uint32_t lane_no)
{
	const uint8_t *lane = image.base + geometry_lane_offset(&image.geometry, lane_no);
	const uint64_t *words = (const void *)(lane + image.geometry.words_offset);
	const uint64_t most = (16 + (uint64_t)image.geometry.record_max + 63) / 64;
	const uint64_t released = load_relaxed(&image_status(lane_no)->released);
	uint64_t at = released;

	content->is_unknown |= at > INT64_MAX;
	if (load_relaxed_u32(&image_status(lane_no)->quarantine) != 0)
		return;
	while (at - released <
	       IMAGE_BLOCKS) { /* no more than a lane holds, whatever its words say */
		const uint64_t index = at % IMAGE_BLOCKS;
		const uint64_t word = words[index];
		const uint64_t lap = (at / IMAGE_BLOCKS + 1) % (UINT64_C(1) << 40);
		const uint64_t size = word >> 12 & 4095;

		if (word >> 24 != lap || size == 0 || size > most || index + size > IMAGE_BLOCKS ||
		    word % 4 == WORD_FREE)
			break;
		if (word % 4 == WORD_READY)
			expect_record(content, lane + image.geometry.blocks_offset + index * 64,
				      size);
		at += size;
	}
}

static void read_ring(struct content *content)
{
	struct shmlog_record record = { .size = sizeof(record) };
	struct shmlog_reader *reader;
	int r = shmlog_reader_open_ring("image", NULL, &reader);

	must(r == 0, "ring: it does not open: %s", reason_get());
	while ((r = shmlog_reader_next(reader, &record)) == 0) {
		(void)hash_bytes(0, record.name, strlen(record.name));
		content->gaps += record.kind == SHMLOG_GAP;
		if (record.kind != SHMLOG_DATA)
			continue;
		content->hash += hash_record((uint64_t)record.level, record.ticks, record.data,
					     record.length);
		content->data++;
	}
	must(r == -ENODATA, "ring: ends with %d", r);
	shmlog_reader_close(&reader);
}

/* Whatever its header says: refused, or read without a crash. */
static void read_spoiled_header(struct bytes *input)
{
	static const uint16_t places[] = { 8,  12, 16, 32, 36, 40, 44,  48,
					   56, 64, 72, 80, 88, 96, 104, 0 };
	struct shmlog_reader *reader;

	(void)spoil(input, memory, sizeof(header), places);
	if (shmlog_reader_open_ring("image", NULL, &reader) == 0)
		shmlog_reader_close(&reader);
	memcpy(memory, header, sizeof(header));
}

static void compare(void)
{
	struct content expected = { 0 }, seen = { 0 };

	for (uint32_t i = 0; i < IMAGE_LANES; i++)
		expect_lane(&expected, i);
	read_ring(&seen);
	if (expected.is_unknown)
		return;
	must(seen.data == expected.data && seen.gaps == expected.gaps,
	     "ring: %llu records and %llu gaps came out of %llu and %llu",
	     (unsigned long long)seen.data, (unsigned long long)seen.gaps,
	     (unsigned long long)expected.data, (unsigned long long)expected.gaps);
	must(seen.hash == expected.hash, "ring: the records that came out are others");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes input = { data, size };
	uint8_t mode;

	if (memory == NULL)
		make_ring();
	mode = (uint8_t)take(&input, 1);
	image_begin(memory);
	memset(memory + RING_PAGE, 0, image.geometry.size - RING_PAGE);
	image_place(&input);
	for (unsigned step = 0; step < 40 && input.left > 0; step++)
		image_step(&input);
	compare();
	if (mode & 1)
		read_spoiled_header(&input);
	return 0;
}
