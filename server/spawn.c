/* SPDX-License-Identifier: MIT */
#include "server/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bpf/abi.h"
#include "server/control.h"
#include "server/log.h"
#include "server/mold.h"
#include "server/privileges.h"
#include "server/title.h"

#define FIRST_FREE_FD 3

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU };

static void nothing(int sig)
{
	(void)sig;
}

void spawn_ignore_signals(void)
{
	struct sigaction sa = { .sa_handler = nothing, .sa_flags = SA_RESTART };

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &sa, NULL);
	/* A log that nobody reads any more must not end us. */
	sigaction(SIGPIPE, &sa, NULL);
}

static void mask_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	sigprocmask(how, &set, NULL);
}

void spawn_release_signals(void)
{
	mask_signals(SIG_UNBLOCK);
}

void spawn_pin(u32 id)
{
	cpu_set_t have, want;
	u32 left;

	if (sched_getaffinity(0, sizeof(have), &have) || CPU_COUNT(&have) == 0)
		return;
	left = id % (u32)CPU_COUNT(&have);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &have) || left--)
			continue;
		CPU_ZERO(&want);
		CPU_SET(cpu, &want);
		sched_setaffinity(0, sizeof(want), &want);
		return;
	}
}

static _Noreturn void exec_mold(const struct runas *runas, char **argv, int fd)
{
	char text[16];
	int err = runas_become(runas);

	if (err) {
		log_error("spawn: cannot become user=%s: %s", runas->user, strerror(-err));
		_exit(1);
	}
	/* Ambient ones would survive exec(); root's come back by it, see mold_run(). */
	err = runas->powers ? 0 : privileges_drop();
	if (err) {
		log_error("spawn: cannot give capabilities up: %s", strerror(-err));
		_exit(1);
	}
	snprintf(text, sizeof(text), "%d", fd);
	setenv(MOLD_ENV, text, 1);
	fcntl(fd, F_SETFD, 0);
	execv("/proc/self/exe", argv);
	log_error("spawn: cannot execute myself as user=%s: %s; may that user execute the file?",
		  runas->user, strerror(errno));
	_exit(1);
}

int spawn_mold(const struct runas *runas, char **argv, const sigset_t *mask, pid_t *pid,
	       int *control_fd)
{
	int pair[2], err = control_pair(pair);

	if (err)
		return err;
	*pid = fork();
	if (*pid < 0) {
		err = -errno;
		close(pair[0]);
		close(pair[1]);
		return err;
	}
	if (*pid == 0) {
		sigprocmask(SIG_SETMASK, mask, NULL);
		mask_signals(SIG_BLOCK);
		exec_mold(runas, argv, pair[1]);
	}
	close(pair[1]);
	*control_fd = pair[0];
	return 0;
}

/* Everything of the supervisor's that a worker has no business with. */
static void close_others(const struct worker_params *params)
{
	int keep[MAX_BINDS + NR_STATS_MAPS + 5], nr = 0, from = FIRST_FREE_FD;

	keep[nr++] = params->control_fd;
	keep[nr++] = params->log_fd;
	keep[nr++] = params->error_fd;
	keep[nr++] = log_fd();
	keep[nr++] = params->observe_fd;
	for (u32 b = 0; b < params->conf->nr_binds; b++)
		keep[nr++] = params->listeners[b];
	for (u32 i = 0; params->stats_fds && i < NR_STATS_MAPS; i++)
		keep[nr++] = params->stats_fds[i];
	for (;;) {
		int next = INT32_MAX;

		for (int i = 0; i < nr; i++)
			if (keep[i] >= from && keep[i] < next)
				next = keep[i];
		if (next == INT32_MAX) {
			syscall(SYS_close_range, from, ~0u, 0);
			return;
		}
		if (next > from)
			syscall(SYS_close_range, from, next - 1, 0);
		from = next + 1;
	}
}

int spawn_worker(const struct runas *runas, const struct worker_params *params,
		 const sigset_t *mask, pid_t *pid)
{
	int err;

	*pid = fork();
	if (*pid < 0)
		return -errno;
	if (*pid > 0)
		return 0;
	close_others(params);
	log_use(params->error_fd, params->conf->error_log[0]);
	spawn_ignore_signals();
	sigprocmask(SIG_SETMASK, mask, NULL);
	err = runas_become(runas);
	if (err) {
		log_error("spawn: cannot become user=%s: %s", runas->user, strerror(-err));
		exit(1);
	}
	err = privileges_drop();
	if (err) {
		log_error("spawn: cannot give capabilities up: %s", strerror(-err));
		exit(1);
	}
	if (params->conf->pin)
		spawn_pin(params->id);
	title_set("worker %u", params->id);
	exit(worker_run(params));
}
