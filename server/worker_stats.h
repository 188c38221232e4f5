/* SPDX-License-Identifier: MIT */
/* A worker's row of the shared statistics, brought up to date behind each batch. */
#ifndef HYPERION_SERVER_WORKER_STATS_H
#define HYPERION_SERVER_WORKER_STATS_H

#include "server/app.h"
#include "server/base.h"
#include "server/conn.h"
#include "server/stats.h"

struct worker_numbers {
	const struct conns *conns;
	const struct app *app; /* NULL = none */
	u32 nr_with_app;
	bool draining;
	u64 accept_errors;
	u64 log_dropped;
};

/* Opens the maps that came as @fds (NULL: none), and closes those. Without maps nothing is counted. */
void worker_stats_init(struct stats *s, const int *fds, u32 slot, u64 now_ns);
void worker_stats_fini(struct stats *s);

void worker_stats_publish(struct stats *s, const struct worker_numbers *n, u64 now_ns);

#endif
