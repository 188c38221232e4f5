/* SPDX-License-Identifier: MIT */
/* How the supervisor starts processes: the mold by exec, workers without an app by fork. */
#ifndef HYPERION_SERVER_SPAWN_H
#define HYPERION_SERVER_SPAWN_H

#include <signal.h>

#include "server/base.h"
#include "server/conf.h"
#include "server/runas.h"
#include "server/worker.h"

/*
 * Executes this program again as the mold, as the run-as user. 0 or -errno;
 * @control_fd is our end, CLOEXEC.
 */
int spawn_mold(const struct runas *runas, char **argv, const sigset_t *mask, pid_t *pid,
	       int *control_fd) __must_check;

/*
 * Forks a worker that serves without Ruby. @params->control_fd is its end;
 * @keep are the descriptors it needs beside the standard ones, every other one
 * is closed.
 */
int spawn_worker(const struct runas *runas, const struct worker_params *params,
		 const sigset_t *mask, pid_t *pid) __must_check;

/*
 * In a worker: no signal of a terminal or of kill(1) to the group stops it,
 * that is the control socket's. Handlers rather than SIG_IGN, which children
 * inherit.
 */
void spawn_ignore_signals(void);

/*
 * Holds these signals back while a new mold has no handlers for them yet. They
 * come blocked out of spawn_mold().
 */
void spawn_release_signals(void);

/* Worker @id of all gets the CPU that is its turn among those we may use. */
void spawn_pin(u32 id);

#endif
