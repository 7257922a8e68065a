/*
 * input.h - the bytes of a log by their offset, from a file, a pipe, or an LZ4 archive.
 *
 * Files are read where they are asked, and so are archives whose blocks are cut by our rule
 * (archive_blocks.h). A pipe can only go forward, and any other archive is decompressed from its
 * beginning: both keep a window of the last bytes, so that a page may be looked at twice.
 * Never writes. Owns no descriptor but archive state; the descriptor is borrowed.
 */
#ifndef SHMLOG_LIB_INPUT_H
#define SHMLOG_LIB_INPUT_H

#include "base.h"
#include "sys.h"

struct input;

enum input_kind { INPUT_FILE, INPUT_PIPE, INPUT_LZ4 };

#define LZ4_FRAME_MAGIC UINT32_C(0x184d2204)

/* 0; -ENOMEM; -errno of a read. @fd is borrowed and stays open at least as long as the input. */
int input_open(const struct sys *sys, int fd, enum input_kind kind, struct input **ret);
void input_close(struct input **input);

/**
 * input_read() - @size bytes at @offset, fewer only at the end.
 * @size: at most 256 KiB but for files.
 * Return: bytes read, 0 at or beyond the end; -EBADMSG the archive is damaged here; -ESPIPE a pipe
 *         has passed @offset; other -errno of the read.
 */
ssize_t input_read(struct input *input, void *buffer, size_t size, uint64_t offset);

/* How many bytes there are, if the end can be read without all that is before it: 0; -ENOTSUP;
 * -errno. */
int input_size(struct input *input, uint64_t *ret);

#endif
