/* mount_fixture.c - see mount_fixture.h. Apart from ring_fixture.c, because the system's
 * <sys/mount.h> and ring_layout.h both know a BLOCK_SIZE. */
#include "mount_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static char directory[64];

static int mount_with(const char *size, unsigned long flags)
{
	char options[64];

	snprintf(options, sizeof(options), "size=%s", size);
	return mount("shmlog-unit", directory, "tmpfs", flags, options);
}

void mount_fixture_begin(const char *size)
{
	if (geteuid() != 0)
		cr_skip_test("only root may mount");
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		cr_skip_test("no mount namespace here: %s", strerror(errno));
	snprintf(directory, sizeof(directory), "/tmp/shmlog-unit-XXXXXX");
	cr_assert(mkdtemp(directory) != NULL);
	cr_assert(mount_with(size, 0) == 0, "%s", strerror(errno));
	cr_assert(setenv("SHMLOG_SHM_DIR", directory, 1) == 0);
}

void mount_fixture_resize(const char *size)
{
	cr_assert(mount_with(size, MS_REMOUNT) == 0, "%s", strerror(errno));
}

void mount_fixture_end(void)
{
	if (!*directory)
		return;
	(void)umount2(directory, MNT_DETACH);
	(void)rmdir(directory);
}
