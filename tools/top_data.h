/* SPDX-License-Identifier: MIT */
/*
 * Where hyperion-top gets its numbers: the pinned maps of an instance, by batch
 * look-ups on read-only descriptors, or the files of the same layout. The server
 * is not asked and does not notice.
 */
#ifndef HYPERION_TOOLS_TOP_DATA_H
#define HYPERION_TOOLS_TOP_DATA_H

#include <stdbool.h>
#include <stddef.h>

#include "bpf/abi.h"
#include "bpf/guard_read.h"
#include "bpf/observe_abi.h"

/* One reading of everything. */
struct top_reading {
	bool there; /* false: nothing of it is filled */
	__u64 when_ns; /* CLOCK_MONOTONIC */
	struct stats_header header;
	__u32 nr_routes; /* entries that are in use */
	struct stats_route routes[STATS_ROUTES];
	__u32 nr_slots; /* room in those below */
	struct stats_worker *workers; /* header.nr_slots */
	struct stats_steer *steer; /* as many */
	bool observed; /* the next is filled */
	struct observe_row *tcp; /* header.nr_slots */
	struct guard_reading guard; /* about.nr_ifaces 0: there is none */
	struct stats_cell *cells; /* of a worker w and a route r: [w * STATS_ROUTES + r] */
};

enum top_problem {
	TOP_FINE,
	TOP_NOBODY, /* no server of that name */
	TOP_DIED, /* it was killed, and left its maps behind */
	TOP_FORBIDDEN, /* its maps are not for us */
	TOP_VERSION, /* its maps are laid out in another way */
	TOP_BROKEN, /* anything else */
};

#define TOP_WHY_LEN 512u

/* Reads everything anew; what is wrong with a problem is in @why. */
enum top_problem top_read(struct top_reading *r, const char *instance, char why[TOP_WHY_LEN]);

void top_reading_free(struct top_reading *r);

static inline const struct stats_cell *top_cell(const struct top_reading *r, __u32 worker, __u32 route)
{
	return &r->cells[(size_t)worker * STATS_ROUTES + route];
}

#endif
