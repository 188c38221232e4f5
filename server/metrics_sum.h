/* SPDX-License-Identifier: MIT */
/* One reading of the shared statistics, summed over all workers. */
#ifndef HYPERION_SERVER_METRICS_SUM_H
#define HYPERION_SERVER_METRICS_SUM_H

#include "bpf/abi.h"
#include "server/base.h"
#include "server/stats.h"

struct metrics_route {
	const struct stats_route *route;
	u64 requests, app_requests;
	u64 status[STATS_CLASSES], class_sum_ns[STATS_CLASSES];
	u64 bytes_in, bytes_out;
	u64 sum_ns[NR_STATS_TIMES];
	u64 by_bound[STATS_CLASSES][NR_STATS_BOUNDS + 1];
	__u64 hist[NR_STATS_TIMES][HIST_BUCKETS];
};

struct metrics_sum {
	const struct stats_header *header;
	u32 nr_slots;
	const struct stats_worker *rows; /* nr_slots, as they are */
	const struct stats_steer *steer; /* as many */
	struct stats_worker workers; /* the sum of their counters, and of what live ones have */
	u32 nr_serving, nr_draining, nr_uring;
	u64 requests, app_requests, static_requests;
	u64 sum_ns[NR_STATS_TIMES];
	__u64 hist[NR_STATS_TIMES][HIST_BUCKETS];
	u32 nr_routes; /* with at least one request */
	struct metrics_route routes[STATS_ROUTES];
};

/* NULL when memory is out. The maps have to outlive it. */
struct metrics_sum *metrics_sum_new(const struct stats_maps *maps) __must_check;
void metrics_sum_free(struct metrics_sum *sum);

/* "GET"; "-" for the routes that are always there. */
const char *metrics_method(const struct stats_route *r);

#endif
