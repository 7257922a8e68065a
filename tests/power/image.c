/*
 * image.c - what the disk may hold after a cut. See image.h.
 */
#include "image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "program.h"

enum { IMAGE_BLOCK = 4096, SECTOR = 512, ALL_SECTORS = 0xff };

/* One 4 KiB block of a write. */
struct block {
	uint32_t event;
	uint32_t node;
	uint64_t offset; /* in the file */
	uint32_t size;
	const uint8_t *bytes;
	bool is_sure;
	uint8_t sectors; /* that arrive */
};

/* A change of a directory or of a size. */
struct change {
	uint32_t event;
	bool is_sure;
	bool is_there;
};

struct name {
	uint32_t dir;
	uint32_t node;
	const char *text;
};

struct image {
	const struct trace *trace;
	uint32_t cut;
	struct block *blocks;
	uint32_t block_count;
	struct change *changes;
	uint32_t change_count;
	uint32_t open_blocks;
	uint32_t open_changes;
	/* What the choice comes to. */
	uint64_t *sizes; /* of each node */
	struct name *names;
	uint32_t name_count;
};

static void *must(void *memory)
{
	if (!memory)
		broken("out of memory");
	return memory;
}

/* ---- what is open ---- */

static const struct event *event_at(const struct image *image, uint32_t index)
{
	return &image->trace->events[index];
}

/* Whose sync makes it sure. */
static uint32_t keeper_of(const struct event *event)
{
	const bool is_name = event->kind == EVENT_ADD || event->kind == EVENT_REMOVE ||
			     event->kind == EVENT_RENAME;

	return is_name ? event->dir : event->node;
}

/* Before the cut has a sync ended that began when the event had completed? @synced: of each node,
 * the latest begin of a sync that has ended. */
static bool is_sure(const struct image *image, uint32_t index, const uint32_t *synced)
{
	const struct event *event = event_at(image, index);
	const uint32_t begin = synced[keeper_of(event)];

	return begin != TRACE_NEVER && event->done != TRACE_NEVER && event->done <= begin;
}

static uint32_t *find_syncs(const struct image *image)
{
	uint32_t *synced = must(calloc(TRACE_NODES_MAX, sizeof(*synced)));

	memset(synced, 0xff, TRACE_NODES_MAX * sizeof(*synced));
	for (uint32_t i = 0; i < image->cut; i++) {
		const struct event *event = event_at(image, i);

		if (event->kind == EVENT_SYNC && event->node != TRACE_NEVER &&
		    event->done <= image->cut)
			synced[event->node] = i;
	}
	return synced;
}

static void add_blocks(struct image *image, uint32_t index, bool sure)
{
	const struct event *event = event_at(image, index);

	for (uint64_t at = 0; at < event->size; at += IMAGE_BLOCK) {
		const uint64_t left = event->size - at;

		image->blocks[image->block_count++] = (struct block){
			.event = index,
			.node = event->node,
			.offset = event->offset + at,
			.size = (uint32_t)(left < IMAGE_BLOCK ? left : IMAGE_BLOCK),
			.bytes = image->trace->arena + event->data + at,
			.is_sure = sure,
		};
		image->open_blocks += !sure;
	}
}

static void add_change(struct image *image, uint32_t index, bool sure)
{
	image->changes[image->change_count++] = (struct change){ .event = index, .is_sure = sure };
	image->open_changes += !sure;
}

static uint32_t count_blocks(const struct image *image)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < image->cut; i++)
		if (event_at(image, i)->kind == EVENT_WRITE)
			count += event_at(image, i)->size / IMAGE_BLOCK + 1;
	return (uint32_t)count;
}

struct image *image_new(const struct trace *trace, uint32_t cut)
{
	struct image *image = must(calloc(1, sizeof(*image)));
	uint32_t *synced;

	*image = (struct image){ .trace = trace, .cut = cut };
	image->blocks = must(calloc(count_blocks(image) + 1, sizeof(*image->blocks)));
	image->changes = must(calloc(cut + 1, sizeof(*image->changes)));
	image->names = must(calloc(cut + 1, sizeof(*image->names)));
	image->sizes = must(calloc(TRACE_NODES_MAX, sizeof(*image->sizes)));
	synced = find_syncs(image);
	for (uint32_t i = 0; i < cut; i++) {
		const struct event *event = event_at(image, i);
		const bool sure = event->kind < EVENT_SYNC && is_sure(image, i, synced);

		if (event->kind >= EVENT_SYNC || event->gone < cut)
			continue;
		if (event->kind == EVENT_WRITE)
			add_blocks(image, i, sure);
		if (event->kind != EVENT_WRITE || event->grows)
			add_change(image, i, sure);
	}
	free(synced);
	return image;
}

void image_free(struct image *image)
{
	free(image->blocks);
	free(image->changes);
	free(image->names);
	free(image->sizes);
	free(image);
}

uint32_t image_open_count(const struct image *image)
{
	return image->open_blocks + image->open_changes;
}

/* ---- choosing ---- */

static void set_all(struct image *image, bool bytes, bool changes)
{
	for (uint32_t i = 0; i < image->block_count; i++)
		image->blocks[i].sectors = image->blocks[i].is_sure || bytes ? ALL_SECTORS : 0;
	for (uint32_t i = 0; i < image->change_count; i++)
		image->changes[i].is_there = image->changes[i].is_sure || changes;
}

/* The open block number @which. */
static struct block *open_block(struct image *image, uint32_t which)
{
	for (uint32_t i = 0; i < image->block_count; i++)
		if (!image->blocks[i].is_sure && which-- == 0)
			return &image->blocks[i];
	return NULL;
}

static void set_one(struct image *image, uint32_t which, uint8_t sectors)
{
	struct block *block = open_block(image, which);

	if (block)
		block->sectors = sectors;
}

static void set_last_change(struct image *image)
{
	for (uint32_t i = image->change_count; i-- > 0;)
		if (!image->changes[i].is_sure) {
			image->changes[i].is_there = true;
			return;
		}
}

static void choose_exactly(struct image *image, uint32_t bits)
{
	set_all(image, false, false);
	for (uint32_t i = 0; i < image->block_count; i++)
		if (!image->blocks[i].is_sure) {
			image->blocks[i].sectors = bits & 1 ? ALL_SECTORS : 0;
			bits >>= 1;
		}
	for (uint32_t i = 0; i < image->change_count; i++)
		if (!image->changes[i].is_sure) {
			image->changes[i].is_there = bits & 1;
			bits >>= 1;
		}
}

static uint8_t some_sectors(uint64_t *seed)
{
	return (uint8_t)(1 + random_below(seed, ALL_SECTORS - 1));
}

static void draw_lots(struct image *image, uint64_t *seed)
{
	const uint32_t odds = 1 + random_below(seed, 7);

	set_all(image, false, false);
	for (uint32_t i = 0; i < image->block_count; i++) {
		struct block *block = &image->blocks[i];

		if (!block->is_sure && random_below(seed, 8) < odds)
			block->sectors =
				random_below(seed, 8) == 0 ? some_sectors(seed) : ALL_SECTORS;
	}
	for (uint32_t i = 0; i < image->change_count; i++)
		image->changes[i].is_there =
			image->changes[i].is_sure || random_below(seed, 8) < odds;
}

static void choose_corner(struct image *image, uint32_t corner, uint64_t *seed)
{
	const uint32_t count = image->open_blocks ? image->open_blocks : 1;
	const bool bytes = corner == 1 || corner == 2 || corner >= 6;
	const bool changes = corner == 1 || (corner >= 3 && corner < IMAGE_LAST_NAME);

	set_all(image, bytes, changes);
	if (corner == 4)
		set_one(image, 0, ALL_SECTORS);
	else if (corner == 5)
		set_one(image, count - 1, ALL_SECTORS);
	else if (corner == 6)
		set_one(image, random_below(seed, count), 0);
	else if (corner == 7)
		set_one(image, random_below(seed, count), some_sectors(seed));
	else if (corner == IMAGE_LAST_NAME)
		set_last_change(image);
}

/* ---- what the choice comes to ---- */

/* Sizes change in their order: a later change is there only if the earlier ones are. */
static void apply_size(struct image *image, struct change *change, bool *is_stopped)
{
	const struct event *event = event_at(image, change->event);
	uint64_t *size = &image->sizes[event->node];

	if (is_stopped[event->node])
		change->is_there = change->is_sure;
	if (!change->is_there) {
		is_stopped[event->node] = true;
		return;
	}
	if (event->kind == EVENT_SIZE)
		*size = event->size;
	else if (event->offset + event->size > *size)
		*size = event->offset + event->size;
}

static void drop_name(struct image *image, uint32_t dir, const char *text)
{
	for (uint32_t i = 0; i < image->name_count; i++)
		if (image->names[i].dir == dir && strcmp(image->names[i].text, text) == 0)
			image->names[i--] = image->names[--image->name_count];
}

static void apply_name(struct image *image, const struct event *event)
{
	const char *text = event->kind == EVENT_RENAME ? event->new_name : event->name;

	drop_name(image, event->dir, event->name);
	if (event->kind == EVENT_REMOVE)
		return;
	drop_name(image, event->dir, text);
	image->names[image->name_count++] = (struct name){ event->dir, event->node, text };
}

static void apply_changes(struct image *image)
{
	bool *is_stopped = must(calloc(TRACE_NODES_MAX, sizeof(*is_stopped)));

	memset(image->sizes, 0, TRACE_NODES_MAX * sizeof(*image->sizes));
	image->name_count = 0;
	for (uint32_t i = 0; i < image->change_count; i++) {
		struct change *change = &image->changes[i];
		const struct event *event = event_at(image, change->event);

		if (event->kind == EVENT_SIZE || event->kind == EVENT_WRITE)
			apply_size(image, change, is_stopped);
		else if (change->is_there)
			apply_name(image, event);
	}
	free(is_stopped);
}

void image_choose(struct image *image, uint32_t plan, uint64_t *seed)
{
	const uint32_t open = image_open_count(image);

	if (open <= IMAGE_EXHAUSTIVE && plan < 1u << open)
		choose_exactly(image, plan);
	else if (plan < IMAGE_CORNERS)
		choose_corner(image, plan, seed);
	else
		draw_lots(image, seed);
	apply_changes(image);
}

uint64_t image_hash(const struct image *image)
{
	XXH64_hash_t hash = XXH64(image->sizes, TRACE_NODES_MAX * sizeof(*image->sizes), 0);

	for (uint32_t i = 0; i < image->name_count; i++) {
		const struct name *name = &image->names[i];
		const uint32_t ids[] = { name->dir, name->node };

		hash = XXH64(ids, sizeof(ids), hash);
		hash = XXH64(name->text, strlen(name->text), hash);
	}
	for (uint32_t i = 0; i < image->block_count; i++) {
		const struct block *block = &image->blocks[i];
		const uint64_t ids[] = { block->event, block->offset, block->sectors };

		if (block->sectors && block->offset < image->sizes[block->node])
			hash = XXH64(ids, sizeof(ids), hash);
	}
	return hash;
}

/* ---- as a directory ---- */

static void put(int fd, const uint8_t *bytes, uint64_t size, uint64_t offset)
{
	if (pwrite(fd, bytes, size, (off_t)offset) != (ssize_t)size)
		broken("an image cannot be written: %s", strerror(errno));
}

static void put_block(int fd, const struct block *block, uint64_t file_size)
{
	if (block->sectors == ALL_SECTORS && block->offset + block->size <= file_size) {
		put(fd, block->bytes, block->size, block->offset);
		return;
	}
	for (uint32_t at = 0, i = 0; at < block->size; at += SECTOR, i++) {
		const uint64_t offset = block->offset + at;
		uint64_t size = block->size - at < SECTOR ? block->size - at : SECTOR;

		if (offset >= file_size || !(block->sectors >> i & 1))
			continue;
		if (offset + size > file_size)
			size = file_size - offset;
		put(fd, block->bytes + at, size, offset);
	}
}

static void make_file(const struct image *image, const char *path, uint32_t node)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	const uint64_t size = image->sizes[node];

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		broken("an image's file %s: %s", path, strerror(errno));
	for (uint32_t i = 0; i < image->block_count; i++)
		if (image->blocks[i].node == node)
			put_block(fd, &image->blocks[i], size);
	close(fd);
}

static void make_directory(const struct image *image, const char *path, uint32_t node)
{
	char below[4096];

	for (uint32_t i = 0; i < image->name_count; i++) {
		const struct name *name = &image->names[i];

		if (name->dir != node)
			continue;
		(void)snprintf(below, sizeof(below), "%s/%s", path, name->text);
		if (!image->trace->nodes[name->node].is_dir) {
			make_file(image, below, name->node);
			continue;
		}
		if (mkdir(below, 0750) < 0)
			broken("an image's directory %s: %s", below, strerror(errno));
		make_directory(image, below, name->node);
	}
}

void image_make(const struct image *image, const char *root)
{
	make_directory(image, root, TRACE_ROOT);
}
