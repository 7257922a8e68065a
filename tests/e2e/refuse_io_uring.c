/*
 * refuse_io_uring.c - run a program in a process where the three io_uring calls are refused.
 *
 *	refuse_io_uring EPERM|ENOSYS PROGRAM [ARGUMENT...]
 *
 * As the seccomp profiles of container runtimes do it (EPERM), and old kernels and gVisor (ENOSYS).
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int install(unsigned error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_setup, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_io_uring_register, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { .len = sizeof(filter) / sizeof(filter[0]),
					    .filter = filter };

	_Static_assert(SYS_io_uring_register == SYS_io_uring_setup + 2, "three in a row");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return fprintf(stderr, "usage: refuse_io_uring EPERM|ENOSYS PROGRAM ...\n"), 64;
	if (install(strcmp(argv[1], "ENOSYS") == 0 ? ENOSYS : EPERM) < 0)
		return perror("seccomp"), 71;
	execvp(argv[2], argv + 2);
	return perror(argv[2]), 72;
}
