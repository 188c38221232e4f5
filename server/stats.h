/* SPDX-License-Identifier: MIT */
/*
 * What a worker writes into the shared maps (bpf/abi.h): its row and its cells,
 * of which it is the only writer. Every store is relaxed: a reader may see a
 * request in one counter and not yet in the next.
 */
#ifndef HYPERION_SERVER_STATS_H
#define HYPERION_SERVER_STATS_H

#include "bpf/abi.h"
#include "server/base.h"
#include "server/route.h"
#include "server/stats_routes.h"

struct req;

/* The maps of one instance, mapped. */
struct stats_maps {
	struct stats_header *header;
	struct stats_route *routes;
	struct stats_worker *workers;
	struct stats_cell *cells;
	struct stats_own *own;
	struct stats_steer *steer;
	size_t len[NR_STATS_MAPS]; /* bytes that are mapped */
};

/* @fds in the order of enum stats_map_id. 0 or -errno; -EPROTO: not ours, or of another version. */
int stats_maps_open(struct stats_maps *m, const int fds[NR_STATS_MAPS]) __must_check;
void stats_maps_close(struct stats_maps *m);

/* Bytes of a map for @nr_slots workers, a whole number of pages. */
size_t stats_map_len(enum stats_map_id id, u32 nr_slots);

/* All of them, which are as long as @nr_slots workers need. 0 or -errno. */
int stats_maps_map(struct stats_maps *m, const int fds[NR_STATS_MAPS], u32 nr_slots) __must_check;

/* Once, before anybody else sees them, all bytes 0: @about says pid, workers, names and times. */
void stats_maps_init(struct stats_maps *m, u32 nr_slots, const struct stats_header *about);

struct stats {
	struct stats_maps maps;
	struct stats_worker *row; /* NULL: nobody counts */
	struct stats_steer *steer; /* ours; NULL with row */
	struct stats_cell *cells; /* STATS_ROUTES of them, ours */
	struct route_index index;
	u16 of_route[MAX_ROUTES]; /* the route of a struct route by its id; 0 = not yet asked */
	u64 process_at_ns; /* when to look at our own CPU time and memory again */
	int statm_fd; /* worker_stats.c: what the kernel says of our memory; -1 = nothing */
	struct stats_worker base; /* the row as it was when we came: counters go on from there */
};

/* @slot has no row when there are more workers than the maps have room for. */
void stats_init(struct stats *s, const struct stats_maps *maps, u32 slot, u64 now_ns);
void stats_fini(struct stats *s);

/* The routes that C answers have their names before clients can fill the table. */
void stats_claim(struct stats *s, const struct route_table *routes);

/* A request has ended: counts it, and its times. */
void stats_request(struct stats *s, const struct req *r);

/* A turn of the loop that began at @from_ns and ends now, after @events. */
void stats_turn(struct stats *s, u64 from_ns, u64 to_ns, u32 events);

/* A counter of ours, for which there is one writer. */
#define stats_add(counter, n) __atomic_store_n(&(counter), (counter) + (n), __ATOMIC_RELAXED)
#define stats_set(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELAXED)
#define stats_get(field) __atomic_load_n(&(field), __ATOMIC_RELAXED)

#endif
