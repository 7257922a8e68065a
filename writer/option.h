/*
 * option.h - one option: its row in the table, its value from text and back.
 *
 * Holds no table and prints nothing; config.c does both. A value that option_format() wrote is
 * parsed back to the same value.
 */
#ifndef SHMLOG_WRITER_OPTION_H
#define SHMLOG_WRITER_OPTION_H

#include "config.h"

enum option_type {
	TYPE_NUMBER, /* uint32_t                                                             */
	TYPE_CPU,    /* int                                                                  */
	TYPE_SIZE,   /* uint64_t, bytes                                                      */
	TYPE_POWER,  /* uint64_t, bytes, a power of two                                      */
	TYPE_TIME,   /* int64_t, ns                                                          */
	TYPE_MODE,   /* uint32_t, permission bits                                            */
	TYPE_GROUP,  /* gid_t                                                                */
	TYPE_CHOICE, /* enum, by name                                                        */
	TYPE_SYNC,   /* config->sync and config->sync_interval_ns                            */
	TYPE_RING,   /* char[], a ring's name                                                */
	TYPE_PATH,   /* char[PATH_MAX]                                                       */
	TYPE_FLAG,   /* bool, without an argument                                            */
	TYPE_SWITCH, /* bool; --NAME, --no-NAME; in environment and file yes or no           */
	TYPE_ROOM,   /* config->min_free, config->min_free_percent                           */
};

enum option_flags {
	OPTION_RELOADABLE = 1,   /* may change while the writer runs                         */
	OPTION_COMMAND_ONLY = 2, /* neither environment nor file may set it                  */
	OPTION_NO_FILE = 4,      /* the file may not                                         */
};

struct option_choice {
	const char *name; /* NULL: the end */
	uint32_t value;
};

struct option_spec {
	const char *name; /* long option, key of the file; SHMLOG_<NAME> in the environment  */
	char letter;      /* short option; 0 = none                                          */
	uint8_t heading;  /* where --help shows it                                           */
	uint8_t flags;    /* enum option_flags                                               */
	enum option_type type;
	size_t offset;        /* in struct config                                          */
	const char *argument; /* in --help; NULL for TYPE_FLAG                             */
	const char *standard; /* default as text; NULL = unset                             */
	uint64_t min;         /* numbers, sizes, times                                     */
	uint64_t max;
	const struct option_choice *choices;
	const char *help;
};

enum { OPTION_TEXT_SIZE = PATH_MAX + 16 };

/**
 * option_parse() - put @text's value into @config.
 * Return: 0; -EINVAL or -ERANGE, nothing changed, with a reason that names value and range.
 */
int option_parse(const struct option_spec *spec, const char *text, struct config *config);

/* The value as text that option_parse() takes; false: unset. */
bool option_format(const struct option_spec *spec, const struct config *config,
		   char text[OPTION_TEXT_SIZE]);

#endif
