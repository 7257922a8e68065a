/*
 * reader_feed.h - the pages of a log one after the other, wherever they lie.
 *
 * A feed follows a directory through all its files, or reads one file or stream, in which files
 * may be concatenated, or hands out pages that were made in memory, or salvaged (salvage.h). It
 * decides what is damage and what is only not there yet. It knows nothing of records, sources and
 * time order.
 *
 * reader_open.c opens feeds; reader_files.c goes from file to file, reader_feed.c from page to
 * page; reader_seek.c jumps, by what reader_catalog.c knows of the files and reader_index.c of
 * their pages.
 */
#ifndef SHMLOG_LIB_READER_FEED_H
#define SHMLOG_LIB_READER_FEED_H

#include <errno.h>

#include "logdir.h"
#include "logfile.h"
#include "reader_page.h"
#include "salvage.h"

enum feed_kind { FEED_DIRECTORY, FEED_FILE, FEED_MEMORY, FEED_SALVAGE };

/* One file that is read; its FILE page is proven. */
struct feed_file {
	struct logfile log;
	struct input *input;       /* owned; NULL for plain files                            */
	struct logdir_file name;   /* file_no 0: not of a directory                          */
	struct reader_page *first; /* the FILE page until it is handed out                   */
	struct page_header head;   /* of the FILE page                                       */
	struct reader_page *seal;  /* the SEAL page; NULL: none that is known                */
	struct seal_info sum;      /* what it says, if it is known, and its entries:         */
	const struct index_entry *index; /* sum.pages, in @seal                              */
	uint64_t part_offset; /* of the FILE page; > 0 in concatenated files            */
	uint64_t limit;       /* pages from this number on do not exist; UINT64_MAX     */
	bool sealed;          /* by its name: what is bad or absent stays so            */
	bool ended;           /* the SEAL page was handed out                           */
	bool is_pipe;
};

/* Where a page lies in a file that has no index, by its header. */
struct feed_place {
	uint64_t page_no;
	uint64_t offset;
	uint64_t part_offset; /* of the FILE page that it belongs to                         */
	int64_t last_ns;      /* largest time of its DATA records; INT64_MIN: it has none    */
};

/* What was walked of the last such file: its headers are read once. */
struct feed_places {
	uint64_t file_no;
	struct feed_place *items;
	size_t count;
	size_t capacity;
	uint64_t end; /* of the next header to read */
	uint64_t part_offset;
	bool is_disordered; /* numbers do not only grow */
};

/* A file of the directory, by its FILE page. */
struct catalog_file {
	struct logdir_file name;
	struct page_header head;
	int64_t latest_ns;     /* no record of it is of a later time; INT64_MAX: not known      */
	int64_t latest_max_ns; /* nor of those before it                                       */
};

/* All files that have begun, in the order of their numbers. */
struct catalog {
	struct catalog_file *files;
	size_t count;
};

enum { FEED_PATH_SIZE = 4096 };

struct feed {
	const struct sys *sys;
	enum feed_kind kind;
	char *path; /* for people */
	int dir;    /* FEED_DIRECTORY; else -1 */
	struct logdir_list list;
	uint64_t listed_from; /* the volume that the list begins with                        */
	struct catalog catalog;
	struct feed_places places;
	struct feed_file *current;   /* NULL: between files                                  */
	struct feed_file *following; /* the next begun file, as far as it is known           */
	uint64_t passed_no;          /* files up to this number are done with                */
	uint64_t passed_volume_no;
	uint64_t left_no;  /* the last file that was read                                   */
	uint64_t expected; /* number of the next file's FILE page; 0 = any         */
	uint64_t expected_log_id;
	uint64_t unrecovered_no; /* file that no writer holds any more                   */
	bool unrecovered;        /* it is where the log ends now                         */
	int64_t since_ns;        /* what lies before or behind these is passed by        */
	int64_t until_ns;
	bool has_started; /* files before since_ns have been passed by                     */
	struct reader_page **pages; /* FEED_MEMORY                                          */
	size_t page_count;
	size_t page_at;
	struct salvage *salvage; /* FEED_SALVAGE                                        */
	uint8_t *scratch;        /* PAGE_MAX bytes */
};

/* reader_open.c */

/* A directory or a file by its path; who follows may open a directory that is still empty. 0 or
 * -errno with a reason, as shmlog_reader_open(). */
int feed_open(struct feed *feed, const struct sys *sys, const char *path, bool is_followed);
/* A borrowed descriptor; a pipe is read up to its first page. */
int feed_open_fd(struct feed *feed, const struct sys *sys, int fd);
/* What can be read of a damaged log; such a feed goes forward only. */
int feed_open_salvage(struct feed *feed, const struct sys *sys, const char *path);
/* Take over @pages, a heap array of @count references. 0 or -ENOMEM: they are still the caller's.
 */
int feed_open_memory(struct feed *feed, const char *name, struct reader_page **pages, size_t count);
/* A second feed at the same place; -ENOTSUP for a pipe. */
int feed_copy(const struct feed *feed, struct feed *ret);
void feed_close(struct feed *feed);

/* reader_files.c */

/* A file that is not begun; @fd is taken over, also when it fails. 0 or -errno. */
int feed_file_new(const struct sys *sys, int fd, enum input_kind kind, struct feed_file **ret);
/* Read its FILE page, and the SEAL page of a sealed file. As logfile_next(). */
int feed_file_begin(const struct feed *feed, struct feed_file *file);
void feed_file_close(struct feed_file **file);
/* "<path>/<volume>/<file>" for a reason. */
const char *feed_file_path(const struct feed *feed, const struct feed_file *file,
			   char buffer[FEED_PATH_SIZE]);

/* List the directory anew, from @volume_no on. 0 or -errno with a reason. */
int feed_relist(struct feed *feed, uint64_t volume_no);

/* What failed was our part, not the file's. */
static inline bool feed_is_ours(int error)
{
	return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -EINTR;
}

/* A file of the directory, opened and not read yet. 0 or -errno. */
int feed_file_by_name(const struct feed *feed, const struct logdir_file *name,
		      struct feed_file **ret);

/* Open @name and read its FILE page. -ENODATA not begun; -EBADMSG; -EPROTO; -ENOENT; -errno. */
int feed_file_open(const struct feed *feed, const struct logdir_file *name, struct feed_file **ret);

/* The next file that has begun behind the one of number @after. -ENODATA: none (yet); -EBADMSG or
 * -EPROTO with a reason: a sealed file, *ret_bad, that cannot be read; -errno. */
int feed_file_find(struct feed *feed, uint64_t after, struct feed_file **ret,
		   struct logdir_file *ret_bad);

/* The next file becomes the current one: 0; -ENODATA; -EBADMSG once for missing pages (call
 * again); -errno. */
int feed_advance(struct feed *feed);

/* Learn the next begun file, if there is one, and where the current one ends by it. 0; -errno with
 * a reason if the directory cannot be listed any more. */
int feed_look_ahead(struct feed *feed);

/* Drop the current file; whatever comes next begins with @expected (0: any). */
void feed_leave(struct feed *feed, uint64_t expected);

/* reader_feed.c */

/**
 * feed_next() - the next page, checked; the caller gets the reference.
 * Return: 0; -ENODATA the end, or the end for now; -EBADMSG damage with a reason, once: the next
 *         call goes on behind it; other -errno.
 */
int feed_next(struct feed *feed, struct reader_page **ret);

/* The page at the file's place: 0 handed out; -ENODATA, -EBADMSG nothing that counts; -errno. */
int feed_look(struct feed *feed, struct feed_file *file, struct reader_page **ret);

/* More may come without anybody touching the feed. */
bool feed_is_live(const struct feed *feed);

/* Cheap: feed_next() may have something now that it had not before. */
bool feed_has_news(struct feed *feed);

/* reader_index.c */

/* The index entry of page @page_no; sum.pages: there is none. */
uint64_t feed_index_find(const struct feed_file *file, uint64_t page_no);

/* No record with stamps up to @ticks, from between two pages of a log, is of a later time;
 * INT64_MAX: not known. */
int64_t feed_latest_between(const struct page_header *begin, const struct page_header *end,
			    uint64_t ticks);

/* The same for records of one file. */
int64_t feed_latest(const struct feed_file *file, uint64_t last_ticks);

/* Is nothing in the file of the time that is asked for? */
bool feed_is_out_of_time(const struct feed *feed, const struct feed_file *file);

/* Step over the pages of which the index says so. */
void feed_skip(const struct feed *feed, struct feed_file *file);

/* reader_catalog.c */

/* List the directory anew, and read the FILE pages that were not known before. 0 or -errno with a
 * reason. */
int feed_catalog_load(struct feed *feed);
void feed_catalog_free(struct catalog *catalog);

/* The last file that begins with @page_no or before; NULL: none. */
const struct catalog_file *feed_catalog_by_page(const struct catalog *catalog, uint64_t page_no);

/* The first file from @at on that may hold a record of @time_ns or later; catalog->count: none. */
size_t feed_catalog_by_time(const struct catalog *catalog, size_t at, int64_t time_ns);

/* Begin with the first file that may hold something of the time that is asked for. 0 or -errno. */
int feed_start(struct feed *feed);

/* reader_seek.c */

/* Page @page_no; feed_next() goes on behind it. -ENOENT; -ENOTSUP; -EBADMSG; -errno. */
int feed_seek_page(struct feed *feed, uint64_t page_no, struct reader_page **ret);

/* The first page with a DATA record at @time_ns or later, the same way; -ENODATA: none, and the
 * feed stands at the end. */
int feed_seek_time(struct feed *feed, int64_t time_ns, struct reader_page **ret);

/* Call @see for each page of the current file (of its current part) before @end_offset that may
 * hold SOURCE records: without an index all of them up to the first bad one. 0 or -errno. */
int feed_rewalk(struct feed *feed, uint64_t end_offset,
		int (*see)(void *context, const struct page_header *page), void *context);

#endif
