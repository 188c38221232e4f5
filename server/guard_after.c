/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/guard.h"
#include "server/guard_state.h"
#include "server/log.h"

#define BYE 'b'

/* Nothing of the supervisor's may live on in us: attachments least of all. */
static void keep_only(int fd)
{
	if (fd > 0)
		syscall(SYS_close_range, 0, fd - 1, 0);
	syscall(SYS_close_range, fd + 1, ~0u, 0);
}

static _Noreturn void wait_for_end(struct guard *g, int fd, pid_t owner)
{
	sigset_t all;
	ssize_t n;
	char c = 0;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	/* Who kills the group means the server. */
	setsid();
	keep_only(fd);
	do {
		n = read(fd, &c, 1);
	} while (n < 0 && errno == EINTR);
	if (n != 1 || c != BYE)
		guard_clean_up(g, owner);
	_exit(0);
}

int guard_after_start(struct guard *g, void (*forked)(void))
{
	int fds[2], closed[2], err = 0;
	pid_t owner = getpid();
	char c;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	if (pipe2(closed, O_CLOEXEC)) {
		err = -errno;
		goto err_pipe;
	}
	g->after_pid = fork();
	if (g->after_pid == 0) {
		if (forked)
			forked();
		wait_for_end(g, fds[0], owner);
	}
	err = g->after_pid < 0 ? -errno : 0;
	close(closed[1]);
	/* The end of file: it has let go of all that is ours. */
	while (!err && read(closed[0], &c, 1) < 0 && errno == EINTR)
		;
	close(closed[0]);
	if (err)
		goto err_pipe;
	close(fds[0]);
	g->after_fd = fds[1];
	return 0;

err_pipe:
	close(fds[0]);
	close(fds[1]);
	return err;
}

void guard_after_stop(struct guard *g)
{
	char bye = BYE;

	if (g->after_fd < 0)
		return;
	if (write(g->after_fd, &bye, 1) != 1)
		log_debug("guard: %s", strerror(errno));
	close(g->after_fd);
	g->after_fd = -1;
	/* Perhaps it was reaped with all others. */
	waitpid(g->after_pid, NULL, 0);
}
