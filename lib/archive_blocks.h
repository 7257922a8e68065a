/*
 * archive_blocks.h - bytes at any place of an archive whose blocks are cut by the rule of
 * archive_map.h.
 *
 * The first block is there at once. Whoever wants more pays for one walk over the blocks' sizes,
 * which are proven by the SEAL page in the last one; then each read decompresses one block. What is
 * compressed by another rule is refused: it can only be read from its beginning (input.h). Never
 * writes, trusts no size. The descriptor is borrowed.
 */
#ifndef SHMLOG_LIB_ARCHIVE_BLOCKS_H
#define SHMLOG_LIB_ARCHIVE_BLOCKS_H

#include "base.h"
#include "sys.h"

struct archive_blocks;

/* The frame's header and its first block: 0; -ENOTSUP no such frame; -ENOMEM; -errno of a read. */
int archive_blocks_open(const struct sys *sys, int fd, struct archive_blocks **ret);
void archive_blocks_close(struct archive_blocks **archive);

/* Bytes of what the archive holds: 0; -ENOTSUP; -ENOMEM; -errno of a read. */
int archive_blocks_size(struct archive_blocks *archive, uint64_t *ret);

/**
 * archive_blocks_read() - @size bytes at @offset, fewer only at the end.
 * Return: bytes read; -EBADMSG the block there is damaged, others may not be; -ENOTSUP the blocks
 *         are cut by another rule; -ENOMEM; other -errno of the read.
 */
ssize_t archive_blocks_read(struct archive_blocks *archive, void *buffer, size_t size,
			    uint64_t offset);

#endif
