/*
 * main.c - from the command line to a session, and from its error to an exit status.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

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
	int r = config_load(argc, argv, &config);

	if (r != 0 || config.done)
		return r;
	r = session_run(&config, bus_guard(), io_open);
	if (r < 0)
		(void)fprintf(stderr, "shmlog-writer: %s\n", reason_get());
	return exit_status(r);
}
