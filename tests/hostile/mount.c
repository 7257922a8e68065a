/*
 * mount.c - see mount.h. A file of its own: <sys/mount.h> has a BLOCK_SIZE, too.
 */
#include "mount.h"

#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>

bool mount_small(const char *directory)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", directory, "tmpfs", 0, "size=2M") == 0;
}

void unmount_small(const char *directory)
{
	(void)umount2(directory, MNT_DETACH);
}
