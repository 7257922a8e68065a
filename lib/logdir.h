/*
 * logdir.h - the names in a log directory, and their order.
 *
 *     DIR/lock                                     a writer holds it, or once did
 *     DIR/<volume:010>/<file:010>.shmlog.open      being written, or left by a killed writer
 *     DIR/<volume:010>/<file:010>.shmlog           sealed
 *     DIR/<volume:010>/<file:010>.shmlog.lz4       sealed and compressed
 *     DIR/<volume:010>/<file:010>.shmlog.open.torn what a recovery cut off a file
 *     DIR/<volume:010>/<file:010>.shmlog.lz4.tmp   an archive being made, or left by a kill
 *
 * The last two are the log's side files: nobody reads records from them. They are listed apart.
 * Volume and file numbers only grow; file numbers grow through the whole log, not per volume.
 * Both begin at 1. Nothing else in the directory is shmlog's; foreign names are passed by and
 * counted, those with a leading dot not even that.
 */
#ifndef SHMLOG_LIB_LOGDIR_H
#define SHMLOG_LIB_LOGDIR_H

#include "base.h"
#include "sys.h"

enum logfile_state {
	LOGFILE_OPEN,
	LOGFILE_SEALED,
	LOGFILE_COMPRESSED,
	LOGFILE_TORN, /* a side file, as the next */
	LOGFILE_ARCHIVE_TMP,
};

struct logdir_file {
	uint64_t volume_no; /* 0: the file lies in the listed directory itself */
	uint64_t file_no;
	enum logfile_state state;
};

/* Sorted by file number, then volume, then state. Heap memory of the list's own. */
struct logdir_list {
	struct logdir_file *files;
	size_t count;
	struct logdir_file *sides; /* side files, sorted likewise */
	size_t side_count;
	size_t foreign;       /* names that are none of ours */
	bool has_lock;        /* there is a lock file: a writer was here */
	uint64_t volume_last; /* largest volume number, also of empty volumes; 0 = none */
};

enum { LOGDIR_NAME_SIZE = 48 };

#define LOGDIR_LOCK_NAME "lock"

/* "<volume>/<file>.shmlog[...]", relative to the log directory. */
void logdir_file_name(char name[LOGDIR_NAME_SIZE], const struct logdir_file *file);
void logdir_volume_name(char name[LOGDIR_NAME_SIZE], uint64_t volume_no);

/* Parse a log file's name without its volume: true and *ret (volume_no 0), or false: not ours, or
 * of a side file. */
bool logdir_parse_file(const char *name, struct logdir_file *ret);
bool logdir_parse_volume(const char *name, uint64_t *ret_volume_no);

/* Does any path end as that of a file that is being written? */
bool logdir_is_open_name(const char *path);

/**
 * logdir_list() - all files of a log.
 * @dir: descriptor of the log directory (or of one volume); borrowed.
 * Return: 0; -ENOMEM; -errno of the failing call. A volume that vanishes meanwhile is no error.
 */
int logdir_list(const struct sys *sys, int dir, struct logdir_list *ret);

/* The same without the volumes below @volume_first: cheap for who follows a log. */
int logdir_list_from(const struct sys *sys, int dir, uint64_t volume_first,
		     struct logdir_list *ret);
void logdir_list_free(struct logdir_list *list);

#endif
