/* SPDX-License-Identifier: MIT */
/*
 * What hyperion-top shows, made of one reading (everything since the start) or
 * of two (what happened between them): rows of routes and workers, sorted and
 * filtered. Knows no screen.
 */
#ifndef HYPERION_TOOLS_TOP_MODEL_H
#define HYPERION_TOOLS_TOP_MODEL_H

#include "tools/top_data.h"

/* Counts of a route, or of all, summed over workers. */
struct top_sum {
	__u64 requests, errors; /* 5xx and cut off */
	__u64 status[STATS_CLASSES];
	__u64 bytes_in, bytes_out;
	__u64 sum_ns[NR_STATS_TIMES];
	__u64 hist[NR_STATS_TIMES][HIST_BUCKETS];
};

struct top_times {
	__u64 count, mean_ns, p50_ns, p99_ns, p999_ns;
};

struct top_route {
	const struct stats_route *route;
	__u64 total; /* requests since the start */
	double rate, error_rate; /* per second */
	struct top_sum sum; /* in the interval */
	struct top_times times[NR_STATS_TIMES];
};

struct top_worker {
	__u32 slot;
	const struct stats_worker *now;
	double rate, cpu, busy; /* requests per second; parts of one CPU; of the I/O thread's time */
	__u64 requests, accepted, stalls; /* in the interval */
	__u64 picks, avoided, by_reason[NR_STEER_REASONS]; /* so, too: connections sent to it */
	__u64 unsettled; /* now: of these not accepted yet, nor given up */
	__u64 moved_out, moved_in, refused_moves; /* connections, to and from other workers */
	double batch; /* events per turn */
};

enum top_sort {
	TOP_BY_RATE,
	TOP_BY_P50,
	TOP_BY_P99,
	TOP_BY_P999,
	TOP_BY_ERRORS,
	TOP_BY_BYTES,
	TOP_BY_NAME,
	NR_TOP_SORTS
};

struct top_model {
	/* Wishes: */
	enum top_sort sort;
	bool reversed;
	char filter[64]; /* part of "METHOD NAME"; "" = all */

	/* Made by top_update(): */
	const struct top_reading *reading;
	const struct guard_reading *guard_before; /* NULL: since the start */
	const struct top_reading *tcp_before; /* NULL: since the start */
	double seconds; /* of the interval */
	__u64 uptime_ns;
	struct top_sum all;
	double rate, error_rate;
	struct top_times times[NR_STATS_TIMES];
	__u32 conns[NR_STATS_CONNS];
	__u32 threads_busy, threads, queued, with_app;
	__u64 log_dropped, routes_overflowed; /* since the start */
	__u32 nr_routes; /* that pass the filter */
	__u32 nr_workers;
	struct top_route routes[STATS_ROUTES];
	struct top_worker *workers; /* header.nr_slots of them */
	__u32 room; /* workers that fit */
};

/*
 * @before may be NULL: then since the start. It is ignored when it was read from
 * another server. 0 or -ENOMEM. @now has to outlive the model's use.
 */
int top_update(struct top_model *m, const struct top_reading *now, const struct top_reading *before);

void top_model_free(struct top_model *m);

const char *top_sort_name(enum top_sort sort);
const char *top_method(const struct stats_route *r);

#endif
