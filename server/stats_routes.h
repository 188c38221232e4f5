/* SPDX-License-Identifier: MIT */
/*
 * The names of routes: a table in shared memory, filled from its start, in
 * which an entry is claimed once for all workers and never given back; and each
 * worker's own index of it. Any number of workers may find and claim at the same
 * time; nobody waits for one that died while it wrote a name. A miss in a full
 * table costs as much as a hit.
 */
#ifndef HYPERION_SERVER_STATS_ROUTES_H
#define HYPERION_SERVER_STATS_ROUTES_H

#include "bpf/abi.h"
#include "server/base.h"

struct route_name {
	enum stats_route_kind kind;
	enum stats_method method;
	struct view name; /* printable ASCII, at most STATS_NAME_MAX bytes */
};

#define ROUTE_INDEX_LEN (STATS_ROUTES * 4)

struct route_index {
	struct stats_route *routes;
	u32 nr_seen; /* entries of the table that are in the index, or were given up */
	u16 buckets[ROUTE_INDEX_LEN]; /* index in the table + 1; 0 = empty */
};

/* Once, before anybody else sees the table: the routes that are always there. */
void stats_routes_init(struct stats_route routes[STATS_ROUTES]);

void route_index_init(struct route_index *x, struct stats_route routes[STATS_ROUTES]);

/*
 * The route of that method and name, whatever its kind. With @claim it is
 * entered if it is not there. STATS_OTHER: it is not there, or the table is full.
 */
u32 route_index_find(struct route_index *x, const struct route_name *name, bool claim);

#endif
