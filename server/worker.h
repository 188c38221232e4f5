/* SPDX-License-Identifier: MIT */
/*
 * The I/O side of one worker process: a loop, its connections, its share of
 * the listeners. Everything that a worker has is reached from its struct;
 * there are no globals beside the log level.
 */
#ifndef HYPERION_SERVER_WORKER_H
#define HYPERION_SERVER_WORKER_H

#include "server/app.h"
#include "server/base.h"
#include "server/conf.h"
#include "server/front.h"

struct rebalance;

enum worker_backend { WORKER_URING, WORKER_EPOLL };

struct worker_params {
	u32 id;
	const struct conf *conf;
	enum worker_backend backend;
	const int *listeners; /* conf->nr_binds descriptors, one per address */
	int control_fd; /* see control.h */
	int log_fd; /* for the access log; keeps this number for good */
	int error_fd; /* for the error log; with an app it is in use already */
	const int *stats_fds; /* NR_STATS_MAPS of them, or NULL */
	int observe_fd; /* -1 = connections are not observed */
	bool has_app;
	/*
	 * With an app, on the I/O thread: the hand-over stands and may be served by
	 * the app's threads until the call of stopped().
	 */
	void (*started)(void *arg, struct app *app, int loop_fd, const struct rebalance *rb);
	void (*stopped)(void *arg);
	struct front *front; /* made in the mold; NULL: by the settings */
	const struct app_ops *app_ops; /* for threads 0 */
	void *arg;
};

/*
 * Serves until told to stop over the control socket; the exit status. On the
 * thread that calls it, which becomes the I/O thread.
 */
int worker_run(const struct worker_params *params);

#endif
