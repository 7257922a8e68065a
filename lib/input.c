/*
 * input.c - the bytes of a log by their offset.
 *
 * Invariants of a window: it holds [start, start + filled) of the uncompressed bytes, and always
 * at least the last half of its capacity, so that stepping back by one page never leaves it.
 */
#include "input.h"

#include <errno.h>
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive_blocks.h"

enum {
	WINDOW_SIZE = 1024 * 1024,
	WINDOW_KEPT = WINDOW_SIZE / 2,
	SOURCE_SIZE = 64 * 1024, /* compressed bytes read at once */
	WORD_SIZE = 4,           /* before each block of a frame */
};

struct input {
	const struct sys *sys;
	int fd;
	enum input_kind kind;
	struct archive_blocks *blocks; /* NULL: read through the window                    */
	int ended;                     /* 0; 1 no more bytes; -errno why not               */
	uint64_t start;
	size_t filled;
	uint8_t *window;
	LZ4F_dctx *lz4;
	uint8_t *source;
	uint64_t source_offset; /* of the next compressed bytes to read */
	size_t source_at;
	size_t source_end;
	size_t wanted;   /* compressed bytes up to the end of the block            */
	bool is_full;    /* there is more of the block than was asked for          */
	bool frame_open; /* inside a frame: the end of the file is damage          */
};

/* What is read from its beginning needs room for what was read last. */
static int open_window(struct input *input)
{
	input->window = malloc(WINDOW_SIZE);
	if (input->kind == INPUT_LZ4)
		input->source = malloc(SOURCE_SIZE);
	if (input->window == NULL || (input->kind == INPUT_LZ4 && input->source == NULL))
		return -ENOMEM;
	if (input->kind == INPUT_LZ4 &&
	    LZ4F_isError(LZ4F_createDecompressionContext(&input->lz4, LZ4F_VERSION)))
		return -ENOMEM;
	return 0;
}

int input_open(const struct sys *sys, int fd, enum input_kind kind, struct input **ret)
{
	struct input *input = calloc(1, sizeof(*input));
	int r = 0;

	if (input == NULL)
		return -ENOMEM;
	*input = (struct input){ .sys = sys, .fd = fd, .kind = kind, .wanted = WORD_SIZE };
	if (kind == INPUT_LZ4)
		r = archive_blocks_open(sys, fd, &input->blocks);
	if (kind == INPUT_PIPE || r == -ENOTSUP)
		r = open_window(input);
	if (r < 0)
		input_close(&input);
	else
		*ret = input;
	return r;
}

void input_close(struct input **input)
{
	struct input *gone = *input;

	if (gone == NULL)
		return;
	archive_blocks_close(&gone->blocks);
	(void)LZ4F_freeDecompressionContext(gone->lz4);
	free(gone->source);
	free(gone->window);
	free(gone);
	*input = NULL;
}

static ssize_t read_file(const struct input *input, void *buffer, size_t size, uint64_t offset)
{
	return sys_read_fully(input->sys, input->fd, buffer, size, offset);
}

/* A pipe has no offset: the one call that is not in the table, since no fault is injected here. */
static ssize_t read_pipe(const struct input *input, void *buffer, size_t size)
{
	ssize_t n;

	do
		n = read(input->fd, buffer, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* 1: compressed bytes are there; 0: the end; -errno. */
static int refill_source(struct input *input)
{
	ssize_t n;

	if (input->source_at < input->source_end)
		return 1;
	n = read_file(input, input->source, SOURCE_SIZE, input->source_offset);
	if (n <= 0)
		return (int)n;
	input->source_offset += (uint64_t)n;
	input->source_at = 0;
	input->source_end = (size_t)n;
	return 1;
}

/*
 * One step: at most to the end of the block, and of one that did not fit into @buffer the rest. So
 * a damaged block never takes what was decompressed before with it.
 */
static ssize_t step_lz4(struct input *input, void *buffer, size_t size)
{
	const size_t left = input->source_end - input->source_at;
	size_t in = input->is_full ? 0 : (size_t)min_u64(left, input->wanted);
	size_t out = size;
	const size_t hint = LZ4F_decompress(input->lz4, buffer, &out,
					    input->source + input->source_at, &in, NULL);

	if (LZ4F_isError(hint))
		return -EBADMSG;
	input->is_full = out == size;
	input->frame_open = hint != 0;
	input->wanted = hint > WORD_SIZE ? hint - WORD_SIZE : WORD_SIZE;
	input->source_at += in;
	return (ssize_t)out;
}

/* Bytes decompressed; 0 at the end, which is damage inside a frame. */
static ssize_t read_lz4(struct input *input, void *buffer, size_t size)
{
	ssize_t n;
	int r;

	do {
		r = input->is_full ? 1 : refill_source(input);
		if (r <= 0)
			return r < 0 ? r : (input->frame_open ? -EBADMSG : 0);
		n = step_lz4(input, buffer, size);
	} while (n == 0);
	return n;
}

/* Append what comes next; the older half goes first when the window is full. */
static void fill(struct input *input)
{
	ssize_t n;

	if (input->filled == WINDOW_SIZE) {
		memmove(input->window, input->window + WINDOW_SIZE - WINDOW_KEPT, WINDOW_KEPT);
		input->start += WINDOW_SIZE - WINDOW_KEPT;
		input->filled = WINDOW_KEPT;
	}
	if (input->kind == INPUT_PIPE)
		n = read_pipe(input, input->window + input->filled, WINDOW_SIZE - input->filled);
	else
		n = read_lz4(input, input->window + input->filled, WINDOW_SIZE - input->filled);
	if (n > 0)
		input->filled += (size_t)n;
	else
		input->ended = n == 0 ? 1 : (int)n;
}

static void restart(struct input *input)
{
	LZ4F_resetDecompressionContext(input->lz4);
	input->start = input->source_offset = 0;
	input->filled = input->source_at = input->source_end = 0;
	input->frame_open = input->is_full = false;
	input->wanted = WORD_SIZE;
	input->ended = 0;
}

static ssize_t read_window(struct input *input, void *buffer, size_t size, uint64_t offset)
{
	size_t n;

	if (offset < input->start && input->kind == INPUT_PIPE)
		return -ESPIPE;
	if (offset < input->start)
		restart(input);
	while (input->start + input->filled < offset + size && input->ended == 0)
		fill(input);
	if (offset >= input->start + input->filled)
		return input->ended < 0 ? input->ended : 0;
	n = (size_t)min_u64(size, input->start + input->filled - offset);
	memcpy(buffer, input->window + (offset - input->start), n);
	return (ssize_t)n;
}

/* The archive turned out to be compressed otherwise. */
static int leave_blocks(struct input *input)
{
	archive_blocks_close(&input->blocks);
	input->ended = open_window(input);
	return input->ended;
}

ssize_t input_read(struct input *input, void *buffer, size_t size, uint64_t offset)
{
	ssize_t n;

	if (input->kind == INPUT_FILE)
		return read_file(input, buffer, size, offset);
	if (input->blocks != NULL) {
		n = archive_blocks_read(input->blocks, buffer, size, offset);
		if (n != -ENOTSUP)
			return n;
		n = leave_blocks(input);
		if (n < 0)
			return n;
	}
	return read_window(input, buffer, size, offset);
}

int input_size(struct input *input, uint64_t *ret)
{
	int r;

	if (input->blocks == NULL)
		return -ENOTSUP;
	r = archive_blocks_size(input->blocks, ret);
	if (r != -ENOTSUP)
		return r;
	r = leave_blocks(input);
	return r < 0 ? r : -ENOTSUP;
}
