/* SPDX-License-Identifier: MIT */
/*
 * Runs its arguments as a program to which the kernel refuses io_uring, the way a container's
 * seccomp profile does: each of the three calls returns EPERM. Exits 125 when it cannot.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXIT_CANNOT 125

#if SYS_io_uring_enter != SYS_io_uring_setup + 1 || SYS_io_uring_register != SYS_io_uring_setup + 2
#error "the filter takes the three numbers for a range"
#endif

static int refuse_io_uring(void)
{
	/* The numbers are the same on every architecture, so its field need not be looked at. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_setup, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_io_uring_register, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		return -errno;
	return 0;
}

int main(int argc, char **argv)
{
	int err;

	if (argc < 2) {
		fprintf(stderr, "usage: %s program [arguments]\n", argv[0]);
		return EXIT_CANNOT;
	}
	err = refuse_io_uring();
	if (err) {
		fprintf(stderr, "%s: seccomp: %s\n", argv[0], strerror(-err));
		return EXIT_CANNOT;
	}
	execvp(argv[1], argv + 1);
	fprintf(stderr, "%s: %s: %s\n", argv[0], argv[1], strerror(errno));
	return EXIT_CANNOT;
}
