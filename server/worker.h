/* SPDX-License-Identifier: MIT */
/*
 * One worker process: a loop, its connections, its share of the listeners.
 * Everything that a worker has is reached from its struct; there are no
 * globals beside the log level.
 */
#ifndef HYPERION_SERVER_WORKER_H
#define HYPERION_SERVER_WORKER_H

#include "server/base.h"
#include "server/conf.h"

struct worker_params {
	u32 id;
	const struct conf *conf;
	enum { WORKER_URING, WORKER_EPOLL } backend;
	const int *listeners; /* conf->nr_binds descriptors, one per address */
	int control_fd; /* see control.h */
};

/* Serves until told to stop over the control socket; the exit status. */
int worker_run(const struct worker_params *params);

#endif
