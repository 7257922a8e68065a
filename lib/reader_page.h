/*
 * reader_page.h - one checked page in memory, shared by whoever still shows or holds it.
 *
 * The bytes never change once the page is made; only the count of references does.
 */
#ifndef SHMLOG_LIB_READER_PAGE_H
#define SHMLOG_LIB_READER_PAGE_H

#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "page.h"

struct reader_page {
	struct shared_u32 references; /* two readers of two threads may share a page */
	uint32_t length;
	uint64_t file_no; /* 0: of no directory */
	uint64_t volume_no;
	uint64_t offset;
	bool is_nameless; /* the first of a file whose FILE page is bad: it names no sources */
	_Alignas(16) uint8_t bytes[];
};

static inline const struct page_header *reader_page_header(const struct reader_page *page)
{
	return (const struct page_header *)(const void *)page->bytes;
}

/* A copy of a checked page with one reference; NULL without memory. */
static inline struct reader_page *reader_page_new(const void *bytes, uint32_t length)
{
	struct reader_page *page = malloc(sizeof(*page) + length);

	if (page == NULL)
		return NULL;
	*page = (struct reader_page){ .references = { 1 }, .length = length };
	memcpy(page->bytes, bytes, length);
	return page;
}

static inline struct reader_page *reader_page_get(struct reader_page *page)
{
	if (page != NULL)
		(void)add_seq_cst_u32(&page->references, 1); /* MO page_get:A -> page_put:A */
	return page;
}

static inline void reader_page_put(struct reader_page *page)
{
	/* MO page_put:A <- page_get:A */
	if (page != NULL && add_seq_cst_u32(&page->references, UINT32_MAX) == 1)
		free(page);
}

#endif
