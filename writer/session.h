/*
 * session.h - one run of the writer, from its configuration to its end.
 *
 * Owns the order in which a writer takes what it must have alone (ring, directory), settles what an
 * earlier one left, and runs. Its two parameters besides the configuration are the seams: tests run
 * the whole writer over a table of system calls and a disk of their own.
 */
#ifndef SHMLOG_WRITER_SESSION_H
#define SHMLOG_WRITER_SESSION_H

#include "config.h"
#include "io.h"
#include "sys.h"

typedef int session_open_io(enum io_choice choice, struct io **ret, const char **ret_why);

/**
 * session_run() - be the writer of config->ring until told to stop.
 * @open: io_open(), or a test's.
 * Return: 0; -errno with a reason.
 */
int session_run(struct config *config, const struct sys *sys, session_open_io *open);

#endif
