/*
 * lz4_archive.h - compress a sealed file by the rule of lib/archive_map.h, in memory.
 */
#ifndef SHMLOG_TESTS_LZ4_ARCHIVE_H
#define SHMLOG_TESTS_LZ4_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>

/* One frame of the @size bytes of a sealed file: its bytes on the heap, *ret_size of them. Asserts.
 */
uint8_t *lz4_archive_make(const uint8_t *file, size_t size, size_t *ret_size);

#endif
