/*
 * main.c - from the command line to a session or an archiving, and from its error to an exit
 * status.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "archive.h"
#include "bus.h"
#include "session.h"

static int exit_status(int error)
{
	switch (-error) {
	case 0:
		return EXIT_SUCCESS;
	case EPROTO:
	case EBADMSG:
		return EX_DATAERR;
	case ENOENT:
	case ESRCH:
		return EX_UNAVAILABLE;
	case ENOSPC:
	case ENOTDIR:
	case EROFS:
		return EX_CANTCREAT;
	case EAGAIN:
		return EX_TEMPFAIL;
	case EACCES:
	case EPERM:
		return EX_NOPERM;
	case EINVAL:
	case EEXIST:
	case EXDEV:
	case ENOSYS:
	case EOPNOTSUPP:
		return EX_CONFIG;
	default:
		return EX_IOERR;
	}
}

int main(int argc, char **argv)
{
	static struct config config;
	int r;

	if (argc > 0 && strcmp(argv[0], ARCHIVE_NAME) == 0)
		return archive_child(argc, argv);
	r = config_load(argc, argv, &config);
	if (r != 0 || config.done)
		return r;
	if (config.archive)
		r = archive_by_hand(&config, &sys_real);
	else
		r = session_run(&config, bus_guard(), io_open);
	if (r < 0)
		(void)fprintf(stderr, "shmlog-writer: %s\n", reason_get());
	return r > 0 ? EXIT_FAILURE : exit_status(r);
}
