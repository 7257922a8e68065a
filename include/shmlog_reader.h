/*
 * shmlog_reader.h - read a shmlog log: a directory, one file, a stream, or a ring.
 *
 *	struct shmlog_reader *reader;
 *	struct shmlog_record record = { .size = sizeof(record) };
 *	if (shmlog_reader_open("/var/log/orders", NULL, &reader) < 0)
 *		...
 *	while (shmlog_reader_next(reader, &record) == 0)
 *		fwrite(record.data, 1, record.length, stdout);
 *	shmlog_reader_close(&reader);
 *
 * A reader needs no writer and disturbs none: it opens everything read-only and takes no lock. It
 * may read a log that is being written; what is there is whole or not there yet. Bytes from the
 * log are checked before they are believed: damage is reported, never a crash.
 * All functions return 0 or a negative errno. A reader is used by one thread at a time.
 */
#ifndef SHMLOG_READER_H
#define SHMLOG_READER_H

#include <stddef.h>
#include <stdint.h>

#include "shmlog.h"

#ifdef __cplusplus
extern "C" {
#endif

struct shmlog_reader;

struct shmlog_reader_options {
	size_t size;      /* sizeof(struct shmlog_reader_options)                            */
	int unmerged;     /* nonzero: the order of the pages, not of time                     */
	int follow;       /* nonzero: at the end of a live log wait for more, see _next       */
	int salvage;      /* nonzero: also what lies behind damage; of paths only, see _open   */
	int64_t since_ns; /* CLOCK_REALTIME; records stamped before are left out; INT64_MIN = all */
	int64_t until_ns; /* records stamped after are left out; INT64_MAX = all             */
	/* Files and pages that hold nothing of that time are passed by without being read, by
	 * shmlog_reader_next_page() as well. */
};

#ifdef __cplusplus
#define SHMLOG_READER_OPTIONS_INIT                                                  \
	{                                                                           \
		sizeof(struct shmlog_reader_options), 0, 0, 0, INT64_MIN, INT64_MAX \
	}
#else
#define SHMLOG_READER_OPTIONS_INIT                                                   \
	{                                                                            \
		.size = sizeof(struct shmlog_reader_options), .since_ns = INT64_MIN, \
		.until_ns = INT64_MAX                                                \
	}
#endif

enum shmlog_kind {
	SHMLOG_DATA = 1, /* a producer's record                                              */
	SHMLOG_GAP = 3,  /* records that were lost here: lost[], lost_total                  */
	SHMLOG_NOTE = 4  /* the writer's own words                                           */
};

/* Reasons of losses: indexes into lost[]. */
enum shmlog_loss {
	SHMLOG_LOSS_FULL = 0,
	SHMLOG_LOSS_SIZE = 1,
	SHMLOG_LOSS_BUSY = 2,
	SHMLOG_LOSS_NO_LANE = 3,
	SHMLOG_LOSS_CORRUPT = 4,
	SHMLOG_LOSS_UNWRITTEN = 5,
	SHMLOG_LOSS_UNSYNCED = 6,
	SHMLOG_LOSS_REASONS = 8
};

/* The word for a reason ("full", "size", ...); "?" for an index without one. */
SHMLOG_API const char *shmlog_loss_name(int reason);

/* One record. `data` and `name` stay valid until the next call on the same reader. */
struct shmlog_record {
	size_t size;      /* sizeof(struct shmlog_record), set by the caller                */
	int kind;         /* enum shmlog_kind                                               */
	int level;        /* 0 .. 7                                                         */
	const void *data; /* payload of DATA and NOTE; NULL for GAP                         */
	size_t length;
	int64_t time_ns;  /* CLOCK_REALTIME; INT64_MIN: the ring has no clock               */
	uint64_t ticks;   /* as the producer stamped it                                     */
	uint64_t page_no; /* 0 when read from a ring                                        */
	uint32_t pid;     /* of the producer, as it saw itself; 0 unknown or the writer     */
	uint32_t tid;
	uint64_t start_time; /* of that process, clock ticks since boot                      */
	const char *name;    /* of the producer; "" for the writer, "?" if it is unknown       */
	uint32_t lane;       /* 0 .. 255; 65535: none                                          */
	uint64_t lost_total;
	uint64_t lost[SHMLOG_LOSS_REASONS];
};

/**
 * shmlog_reader_open() - open a log directory or one log file.
 * @path: directory of a log, one of its volumes, or a file of it (.open, sealed, or .lz4).
 * Return: 0; -ENOENT; -EACCES; -EBADMSG neither a log nor a file of one; -EPROTO a format version
 *         that this reader does not know; -ENOMEM; other -errno. shmlog_reason() tells more.
 *
 * With `salvage`, _next and _next_page bring every whole page that can be found, also in files that
 * are not recovered and, of a directory, in what a recovery set aside; and -EBADMSG behind each
 * file that has bad bytes, with a reason that counts them. Such a reader goes forward only:
 * _get_page, _seek_time and _duplicate are -ENOTSUP.
 */
SHMLOG_API int shmlog_reader_open(const char *path, const struct shmlog_reader_options *options,
				  struct shmlog_reader **ret_reader);

/* The same for a descriptor, which is borrowed: a file, read from its beginning, or a pipe of
 * concatenated sealed files, of which the first page is read at once. */
SHMLOG_API int shmlog_reader_open_fd(int fd, const struct shmlog_reader_options *options,
				     struct shmlog_reader **ret_reader);

/**
 * shmlog_reader_open_ring() - read what a ring holds now; consumes nothing, needs no writer.
 *
 * Takes a copy when it opens: records that the writer releases meanwhile may be missing, none is
 * torn. Return: as shmlog_attach().
 */
SHMLOG_API int shmlog_reader_open_ring(const char *ring,
				       const struct shmlog_reader_options *options,
				       struct shmlog_reader **ret_reader);

/* A second reader of the same source at the same place, with options of its own state. Cheap. */
SHMLOG_API int shmlog_reader_duplicate(const struct shmlog_reader *reader,
				       struct shmlog_reader **ret_reader);

SHMLOG_API void shmlog_reader_close(struct shmlog_reader **reader);

/**
 * shmlog_reader_next() - the next record, merged by time over all sources.
 *
 * The order within one source always holds. A record is held back until no older one can follow.
 * Files that are compressed or renamed under the reader, or deleted by retention, are no damage.
 * Return: 0; -ENODATA the end (of a live log: the end for now); -EAGAIN only with `follow`: nothing
 *         now, call shmlog_reader_wait(); -EBADMSG something of the log is damaged, missing or not
 *         recovered yet: shmlog_reason() names it, the next call goes on behind it; -EIO the log
 *         directory itself has been removed; other -errno.
 */
SHMLOG_API int shmlog_reader_next(struct shmlog_reader *reader, struct shmlog_record *record);

/* Wait until there may be more, at most @timeout_ns (< 0: for ever). 0; -ETIMEDOUT; -EINTR. */
SHMLOG_API int shmlog_reader_wait(struct shmlog_reader *reader, int64_t timeout_ns);

/* One page as it is on disk. Valid until the next call on the same reader. */
struct shmlog_page {
	size_t size; /* sizeof(struct shmlog_page), set by the caller                */
	uint64_t page_no;
	int kind; /* 1 FILE, 2 DATA, 3 SEAL                                       */
	const void *bytes;
	size_t length;
	uint32_t records; /* of any kind                                                  */
	uint64_t file_no;
	uint64_t volume_no;
	uint64_t offset;  /* in its file, uncompressed                                    */
	int64_t first_ns; /* smallest and largest time of its DATA records; INT64_MIN: none */
	int64_t last_ns;
	uint64_t total_records; /* DATA records of the ring's life up to and with this page  */
	uint64_t total_lost;
	uint64_t total_abandoned;
};

/**
 * shmlog_reader_get_page() - page @page_no of the log; then _next goes on with its first record.
 * The first jump of a reader reads the first page of each file; after that one file is opened and
 * one page read, however many there are. Return: 0; -ENOENT no such page (yet, or any more);
 * -ENOTSUP on a pipe; -EBADMSG damaged.
 */
SHMLOG_API int shmlog_reader_get_page(struct shmlog_reader *reader, uint64_t page_no,
				      struct shmlog_page *page);

/* The next page in order, FILE and SEAL pages included. Returns as shmlog_reader_next(). */
SHMLOG_API int shmlog_reader_next_page(struct shmlog_reader *reader, struct shmlog_page *page);

/* Go on with the first page that may hold records stamped at @time_ns or later. 0; -ENOTSUP. */
SHMLOG_API int shmlog_reader_seek_time(struct shmlog_reader *reader, int64_t time_ns);

/* What a log holds, and whether it is whole. What producers lost and GAP records name is content.
 */
struct shmlog_verdict {
	size_t size;      /* sizeof(struct shmlog_verdict), set by the caller                */
	uint64_t files;   /* that have begun                                                 */
	uint64_t pages;   /* whole ones: FILE, DATA, and kinds that this version does not know */
	uint64_t records; /* DATA                                                            */
	uint64_t lost[SHMLOG_LOSS_REASONS]; /* as marked in the log                           */
	uint64_t missing_pages; /* damaged, lost, or not there, as far as numbers tell       */
	uint64_t bad_bytes;     /* where a page should be and none is; of archives, decompressed */
	uint64_t unread;        /* files that could not be read at all: among the findings    */
	uint64_t findings;      /* 0: the log is sound                                       */
};

/**
 * shmlog_verify() - is a log, or one file of it, whole?
 * @path: as for shmlog_reader_open().
 * @tell: called for each finding with one line that names the object, what is wrong, and the cure;
 *        the text is valid during the call. May be NULL.
 *
 * Reads every byte: pages, their chain over all files, indexes, sums, names, archives. May run
 * beside a writer: what is being written counts as far as it is there, and files that are renamed,
 * compressed or deleted by retention meanwhile are no findings.
 * Return: 0, sound or not: see @ret_verdict; -ENOENT; -EACCES; -EBADMSG neither a log nor a file of
 *         one; -EPROTO of a version that this library does not know; -ENOMEM; other -errno. Then
 *         shmlog_reason() tells more.
 */
SHMLOG_API int shmlog_verify(const char *path, void (*tell)(void *context, const char *finding),
			     void *context, struct shmlog_verdict *ret_verdict);

#ifdef __cplusplus
}
#endif

#endif
