/*
 * reader_source.c - who the numbers in records stand for.
 *
 * Invariants: 1. a source is in its bucket exactly as long as it has references; 2. a source that
 * no SOURCE record named is never recognised again: it belongs to one number of one file.
 */
#include "reader_source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Records without a producer: the writer's own. */
static const struct source_payload writer_about = { .lane = UINT16_MAX };

static uint32_t bucket_of(const struct source_payload *about)
{
	uint64_t hash = about->pid * UINT64_C(0x9e3779b97f4a7c15);

	hash ^= (about->tid + about->start_time) * UINT64_C(0xc2b2ae3d27d4eb4f);
	hash ^= ((uint64_t)about->lane << 16 | about->owner) * UINT64_C(0x165667b19e3779f9);
	return (uint32_t)(hash >> 32) % SOURCE_BUCKETS;
}

static bool is_same_binding(const struct source_payload *a, const struct source_payload *b)
{
	return a->pid == b->pid && a->tid == b->tid && a->start_time == b->start_time &&
	       a->lane == b->lane && a->owner == b->owner &&
	       memcmp(a->name, b->name, sizeof(a->name)) == 0;
}

/* A new source with one reference, in its bucket. */
static struct reader_source *add_source(struct source_table *table,
					const struct source_payload *about, bool unknown)
{
	const uint32_t bucket = bucket_of(about);
	struct reader_source *source = calloc(1, sizeof(*source));

	if (source == NULL)
		return NULL;
	source->references = 1;
	source->bucket = bucket;
	source->unknown = unknown;
	source->about = *about;
	source->next = table->buckets[bucket];
	table->buckets[bucket] = source;
	return source;
}

static struct reader_source *recognise(const struct source_table *table,
				       const struct source_payload *about)
{
	struct reader_source *source = table->buckets[bucket_of(about)];

	while (source != NULL && (source->unknown || !is_same_binding(&source->about, about)))
		source = source->next;
	return source;
}

void source_get(struct reader_source *source)
{
	source->references++;
}

void source_put(struct source_table *table, struct reader_source *source)
{
	struct reader_source **link;

	assert(source->references > 0);
	if (--source->references > 0)
		return;
	assert(source->queue.head == NULL);
	link = &table->buckets[source->bucket];
	while (*link != source)
		link = &(*link)->next;
	*link = source->next;
	free(source);
}

static void map_free(struct source_table *table, struct source_map *map)
{
	for (uint32_t i = 0; i < map->count; i++)
		if (map->sources[i] != NULL)
			source_put(table, map->sources[i]);
	free(map->sources);
	*map = (struct source_map){ 0 };
}

/* Room for @number. */
static int map_grow(struct source_map *map, uint16_t number)
{
	const uint32_t wanted = (uint32_t)align_up((uint64_t)number + 1, 64);
	struct reader_source **sources;

	if (number < map->count)
		return 0;
	sources = realloc(map->sources, wanted * sizeof(struct reader_source *));
	if (sources == NULL)
		return -ENOMEM;
	memset(sources + map->count, 0, (wanted - map->count) * sizeof(struct reader_source *));
	map->sources = sources;
	map->count = wanted;
	return 0;
}

static void map_set(struct source_table *table, uint16_t number, struct reader_source *source)
{
	struct reader_source **place = &table->current.sources[number];

	if (*place != NULL)
		source_put(table, *place);
	*place = source;
}

void source_table_begin(struct source_table *table)
{
	map_free(table, &table->previous);
	table->previous = table->current;
	table->current = (struct source_map){ 0 };
}

int source_table_define(struct source_table *table, uint16_t number,
			const struct source_payload *about)
{
	struct source_payload clean = *about;
	struct reader_source *source;

	clean.name[sizeof(clean.name) - 1] = '\0';
	if (map_grow(&table->current, number) < 0)
		return -ENOMEM;
	source = recognise(table, &clean);
	if (source != NULL)
		source_get(source);
	else
		source = add_source(table, &clean, false);
	if (source == NULL)
		return -ENOMEM;
	map_set(table, number, source);
	return 0;
}

struct reader_source *source_table_find(struct source_table *table, uint16_t number)
{
	static const struct source_payload nobody = { .lane = UINT16_MAX, .name = "?" };
	struct reader_source *source;

	if (number < table->current.count && table->current.sources[number] != NULL)
		return table->current.sources[number];
	if (number == 0)
		return source_table_define(table, 0, &writer_about) < 0 ? NULL
									: table->current.sources[0];
	if (map_grow(&table->current, number) < 0)
		return NULL;
	source = add_source(table, &nobody, true);
	table->current.sources[number] = source;
	return source;
}

static int copy_map(const struct source_map *map, struct source_map *ret)
{
	if (map->count == 0)
		return 0;
	ret->sources = calloc(map->count, sizeof(struct reader_source *));
	if (ret->sources == NULL)
		return -ENOMEM;
	ret->count = map->count;
	for (uint32_t i = 0; i < map->count; i++) {
		if (map->sources[i] == NULL)
			continue;
		ret->sources[i] = map->sources[i]->twin;
		source_get(ret->sources[i]);
	}
	return 0;
}

static int copy_sources(const struct source_table *table, struct source_table *ret)
{
	for (size_t i = 0; i < SOURCE_BUCKETS; i++) {
		for (struct reader_source *s = table->buckets[i]; s != NULL; s = s->next) {
			s->twin = add_source(ret, &s->about, s->unknown);
			if (s->twin == NULL)
				return -ENOMEM;
			s->twin->queue.last_key = s->queue.last_key;
		}
	}
	return 0;
}

int source_table_copy(const struct source_table *table, struct source_table *ret)
{
	int r;

	*ret = (struct source_table){ 0 };
	r = copy_sources(table, ret);
	if (r == 0)
		r = copy_map(&table->current, &ret->current);
	if (r == 0)
		r = copy_map(&table->previous, &ret->previous);
	return r;
}

void source_table_settle(const struct source_table *table, struct source_table *copy)
{
	for (size_t i = 0; i < SOURCE_BUCKETS; i++)
		for (struct reader_source *s = table->buckets[i]; s != NULL; s = s->next)
			source_put(copy, s->twin);
}

void source_table_forget_stamps(struct source_table *table)
{
	for (size_t i = 0; i < SOURCE_BUCKETS; i++)
		for (struct reader_source *s = table->buckets[i]; s != NULL; s = s->next)
			s->queue.last_key = 0;
}

void source_table_free(struct source_table *table)
{
	map_free(table, &table->current);
	map_free(table, &table->previous);
	for (size_t i = 0; i < SOURCE_BUCKETS; i++) {
		while (table->buckets[i] != NULL) {
			struct reader_source *gone = table->buckets[i];

			table->buckets[i] = gone->next;
			free(gone);
		}
	}
}
