/*
 * config.h - what the writer was told to do.
 *
 * Owns the one option table, which feeds the command line, SHMLOG_* environment variables, the
 * configuration file, --help and --print-config. Prints errors and answers itself (it is the only
 * part of the writer that does so before main has a configuration); changes nothing in the system.
 *
 * Precedence: command line > environment > file > default. Each value remembers where it came from.
 */
#ifndef SHMLOG_WRITER_CONFIG_H
#define SHMLOG_WRITER_CONFIG_H

#include <limits.h>
#include <sys/types.h>

#include "io.h"
#include "ring_layout.h"

enum config_origin {
	ORIGIN_DEFAULT,
	ORIGIN_FILE,
	ORIGIN_ENVIRONMENT,
	ORIGIN_COMMAND_LINE,
};

/* In the order of the table in config.c, of --help and of --print-config. */
enum option_id {
	OPTION_RING,
	OPTION_DIRECTORY,
	OPTION_CONFIG,
	OPTION_LANES,
	OPTION_LANE_SIZE,
	OPTION_MODE_BITS,
	OPTION_GROUP,
	OPTION_CLOCK,
	OPTION_MAX_FILE,
	OPTION_ROLL_AGE,
	OPTION_MAX_VOLUME,
	OPTION_VOLUME_AGE,
	OPTION_COMPRESS,
	OPTION_MAX_TOTAL,
	OPTION_MAX_AGE,
	OPTION_MAX_FILES,
	OPTION_MIN_FREE,
	OPTION_ON_FULL,
	OPTION_IO,
	OPTION_MODE,
	OPTION_FLUSH_INTERVAL,
	OPTION_BATCH,
	OPTION_SYNC,
	OPTION_RELEASE,
	OPTION_CPU,
	OPTION_STOP_TIMEOUT,
	OPTION_ADOPT,
	OPTION_ONCE,
	OPTION_ARCHIVE,
	OPTION_PROGRESS,
	OPTION_PRINT_CONFIG,
	OPTION_CHECK_CONFIG,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_COUNT,
};

enum config_mode { MODE_LOOP, MODE_TRIGGER, MODE_MANUAL };

enum config_sync { SYNC_NONE, SYNC_PAGE, SYNC_INTERVAL };

enum config_on_full { ON_FULL_STALL, ON_FULL_DELETE_OLDEST };

/* config->min_free_percent where only a size is given. */
enum { ROOM_NO_SHARE = 100 };

enum config_release { RELEASE_WRITTEN, RELEASE_DURABLE };

struct config {
	char ring[RING_NAME_MAX + 1];
	char directory[PATH_MAX];
	char file[PATH_MAX]; /* the configuration file; "" = none                            */

	/* Of the ring, where it has to be made; see config_is_wish(). */
	uint32_t lanes;
	uint64_t lane_size;
	uint32_t mode_bits;
	gid_t group;    /* (gid_t)-1 = the caller's                                          */
	uint32_t clock; /* enum ring_clock; 0 = automatic                                    */

	uint64_t max_file;
	int64_t roll_age_ns; /* 0 = never                                                    */
	uint64_t max_volume;
	int64_t volume_age_ns; /* 0 = no limit                                               */

	bool compress;             /* full volumes                                           */
	uint64_t max_total;        /* bytes on disk, all files; 0 = no limit                 */
	int64_t max_age_ns;        /* since a file was sealed; 0 = no limit                  */
	uint32_t max_files;        /* 0 = no limit                                           */
	uint64_t min_free;         /* bytes to leave free; UINT64_MAX: only the share counts */
	uint32_t min_free_percent; /* of the file system; the smaller of both holds          */
	enum config_on_full on_full;

	enum io_choice io;
	enum config_mode mode;
	int64_t flush_interval_ns; /* 0 = look each millisecond while a lane is bound        */
	uint32_t batch_blocks;     /* in one lane, that end the wait early; 0 = half a lane  */
	enum config_sync sync;
	int64_t sync_interval_ns; /* with SYNC_INTERVAL                                      */
	enum config_release release;
	int cpu; /* to run on; -1 = any                                                      */
	int64_t stop_timeout_ns;

	bool adopt;
	bool once;
	bool archive;
	bool progress;
	bool done; /* help, version, print-config or check-config was answered: exit 0       */
	bool print_config;
	bool check_config;
	bool help;
	bool version;

	uint8_t origin[OPTION_COUNT]; /* enum config_origin                                  */
};

/* Was this value only wished for, so that an existing ring may differ with a warning? On the
 * command line it is a demand: another geometry there is refused with 78. */
static inline bool config_is_wish(const struct config *config, enum option_id option)
{
	return config->origin[option] != ORIGIN_COMMAND_LINE;
}

/**
 * config_load() - read command line, environment and file; check everything.
 * Errors are one line on standard error that begins with "shmlog-writer: ".
 * Return: 0: go on, unless ret->done; 64 the command line is wrong; 78 environment or file is.
 */
int config_load(int argc, char **argv, struct config *ret);

/**
 * config_reload() - read the file again and take over what may change while running: max-file,
 * roll-age, max-volume, volume-age, compress, max-total, max-age, max-files, min-free, on-full,
 * flush-interval, batch, sync. What the command line or the environment set
 * stays. Other values that differ now are named in one warning each and left alone.
 * Return: 0; 78 with an error printed, nothing changed.
 */
int config_reload(struct config *config);

/* "command line", "environment", "file", "default": for messages. */
const char *config_origin_text(enum config_origin origin);

/* The long name of an option without dashes. */
const char *config_option_name(enum option_id option);

#endif
