/* SPDX-License-Identifier: MIT */
/*
 * What lies in the shared maps: written by the server, read by its own
 * /-/metrics and by tools that know nothing else of it. Fixed width, no
 * pointers; whoever changes a layout raises STATS_VERSION.
 *
 * Six arrays, pinned (or, without BPF, as files) under these names:
 * "header" of 1, "routes" of STATS_ROUTES, "workers" of header.nr_slots,
 * "cells" of nr_slots * STATS_ROUTES: the cell of a worker w and a route r has
 * the index w * STATS_ROUTES + r; "own" of nr_slots, the app's numbers; and
 * "steer" of nr_slots, by which bpf/steer.bpf.c picks a worker.
 *
 * A worker writes its own row and its own cells, nobody else does: relaxed
 * stores, no locks. Counters go on when a worker is replaced. A route is
 * claimed once for all workers, see server/stats_routes.h.
 */
#ifndef HYPERION_BPF_ABI_H
#define HYPERION_BPF_ABI_H

#include <linux/types.h>

#include "bpf/hist.h"

#define STATS_MAGIC 0x53707948u /* "HypS" */
#define STATS_VERSION 3u
#define STATS_ROUTES 256u
#define STATS_SPARE_SLOTS 8u /* beyond the workers that were asked for */
#define STATS_NAME_MAX 112u

enum stats_map_id {
	STATS_MAP_HEADER,
	STATS_MAP_ROUTES,
	STATS_MAP_WORKERS,
	STATS_MAP_CELLS,
	STATS_MAP_OWN,
	STATS_MAP_STEER,
	NR_STATS_MAPS
};

#define STATS_MAP_NAMES                                                                            \
	{                                                                                          \
		"header", "routes", "workers", "cells", "own", "steer"                             \
	}

struct stats_header {
	__u32 magic, version;
	__u32 nr_slots, nr_routes, nr_buckets;
	__u32 worker_len, route_len, cell_len; /* bytes of one element */
	__u32 pid; /* of the supervisor */
	__u32 nr_workers; /* as many as were asked for */
	__u64 start_ns; /* CLOCK_MONOTONIC */
	__u64 start_time; /* seconds since 1970 */
	char server[32]; /* its version, with NUL */
	char instance[64]; /* with NUL */
	__u32 nr_threads; /* Ruby threads per worker */
	__u32 steering; /* 1: bpf/steer.bpf.c picks the worker of a new connection */
	__u64 unsteered; /* new connections that it had to leave to the kernel's hash */
	__u64 steer_shut; /* times that a worker's listeners were shut, so that its queue moved ... */
	__u64 steer_back; /* ... and that they listened again */
	__u32 reserved[18];
};

/* --- routes --- */

enum stats_route_state {
	STATS_ROUTE_FREE,
	STATS_ROUTE_CLAIMED, /* its name is being written */
	STATS_ROUTE_READY,
};

enum stats_route_kind {
	STATS_ROUTE_SPECIAL, /* the ones below */
	STATS_ROUTE_STATIC, /* answered by C */
	STATS_ROUTE_TEMPLATE, /* the app's, named after its path */
	STATS_ROUTE_NAMED, /* the app's, named by it */
};

/* Routes that are always there. */
enum stats_route_id {
	STATS_OTHER, /* the table is full */
	STATS_NOT_FOUND, /* nobody has answered that path but with 404 */
	STATS_REFUSED, /* refused by the protocol: malformed, too large, too late */
	STATS_ROUTES_BEGIN, /* claimed ones */
};

struct stats_route {
	__u32 state; /* enum stats_route_state, __atomic */
	__u32 hash;
	__u8 kind; /* enum stats_route_kind */
	__u8 method; /* enum stats_method */
	__u16 name_len;
	__u32 reserved;
	char name[STATS_NAME_MAX]; /* printable ASCII, no NUL */
};

/* In the order of enum method of the server, which checks it. */
enum stats_method {
	STATS_METHOD_OTHER,
	STATS_METHOD_GET,
	STATS_METHOD_HEAD,
	STATS_METHOD_POST,
	STATS_METHOD_PUT,
	STATS_METHOD_DELETE,
	STATS_METHOD_PATCH,
	STATS_METHOD_OPTIONS,
	STATS_METHOD_CONNECT,
	STATS_METHOD_TRACE,
	NR_STATS_METHODS,
};

#define STATS_METHOD_NAMES                                                                         \
	{                                                                                          \
		"OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT",    \
			"TRACE"                                                                    \
	}

/* --- cells --- */

enum stats_time {
	STATS_TOTAL, /* first byte of the request ... last byte of the answer with the kernel */
	STATS_QUEUE, /* waited for a thread of the app */
	STATS_APP, /* in the app */
	STATS_SEND, /* the answer was complete ... its last byte with the kernel */
	NR_STATS_TIMES,
};

#define STATS_TIME_NAMES                                                                           \
	{                                                                                          \
		"total", "queue", "app", "send"                                                    \
	}

/* Status classes; 0 = cut off before the answer had left. */
#define STATS_CLASSES 6u

/* Upper bounds of what /-/metrics says of a class; the last count has none. */
#define STATS_BOUNDS_NS                                                                            \
	{                                                                                          \
		1000000ull, 2500000ull, 5000000ull, 10000000ull, 25000000ull, 50000000ull,         \
			100000000ull, 250000000ull, 500000000ull, 1000000000ull, 2500000000ull,    \
			5000000000ull, 10000000000ull                                              \
	}
#define NR_STATS_BOUNDS 13u

struct stats_cell {
	__u64 requests, app_requests; /* that the app has answered */
	__u64 status[STATS_CLASSES];
	__u64 bytes_in, bytes_out;
	__u64 sum_ns[NR_STATS_TIMES];
	__u64 class_sum_ns[STATS_CLASSES]; /* of the total times */
	__u64 reserved[6];
	__u32 by_bound[STATS_CLASSES][NR_STATS_BOUNDS + 1]; /* each counted once, not cumulated */
	__u32 hist[NR_STATS_TIMES][HIST_BUCKETS];
};

/* --- workers --- */

enum stats_worker_state {
	STATS_WORKER_NONE,
	STATS_WORKER_SERVING,
	STATS_WORKER_DRAINING,
};

#define STATS_WORKER_STATE_NAMES                                                                   \
	{                                                                                          \
		"none", "serving", "draining"                                                      \
	}

enum stats_conns {
	STATS_CONNS_OPEN,
	STATS_CONNS_LINGER, /* answered; what the client still sends is dropped */
	STATS_CONNS_CLOSING,
	NR_STATS_CONNS,
};

#define STATS_CONNS_NAMES                                                                          \
	{                                                                                          \
		"open", "lingering", "closing"                                                     \
	}

#define STATS_ACCEPT_LOW_SHIFT 10
#define STATS_ACCEPT_WAITS 26u
#define STATS_BATCHES 12u /* powers of two: 0, 1, 2-3, 4-7, ... 1024 and more */

struct stats_worker {
	__u32 state; /* enum stats_worker_state */
	__u32 pid;
	__u64 start_ns; /* CLOCK_MONOTONIC */
	__u64 seen_ns; /* its last batch */
	__u32 nr_starts; /* workers that this row has had */
	__u32 uses_uring;

	/* Now: */
	__u32 conns[NR_STATS_CONNS];
	__u32 threads_busy, nr_threads; /* of Ruby */
	__u32 queued; /* requests that wait for one */
	__u32 with_app; /* requests that the app has */
	__u32 has_gvl_wait; /* this Ruby can say how long threads wait for its lock */
	__u64 rss_bytes;

	/* Since the first worker of this row: */
	__u64 requests; /* heads that were complete */
	__u64 accepted;
	__u64 accept_errors;
	__u64 rejected_pending, rejected_per_conn; /* 503 of our own */
	__u64 refused; /* other answers of the protocol's own */
	__u64 hijacked;
	__u64 chunked_responses, chunked_writes, coalesced_writes;
	__u64 sendfile_responses;
	__u64 log_dropped; /* lines of the access log */
	__u64 cpu_ns;
	__u64 turns; /* of the loop */
	__u64 events;
	__u64 busy_ns; /* not asleep */
	__u64 stalls; /* turns of 2 ms and more */
	__u64 max_turn_ns;
	__u64 batches[STATS_BATCHES]; /* turns by events */
	__u64 routes_overflowed; /* requests counted under STATS_OTHER */
	__u64 gc_count, gc_ns, gvl_wait_ns; /* written by Ruby's threads */
	__u64 overtime; /* the app did not answer in time */
	__u64 moved_out, moved_in; /* connections, to and from other workers */
	__u64 moves_refused; /* that came back, as the other had no room for them */
	__u32 inbox; /* enum stats_inbox, or-ed */
	__u32 reserved0;
	/* SYN until accepted, of observed connections: powers of two from below 1 us to 16 s and more. */
	__u64 accept_wait_ns;
	__u32 accept_wait[STATS_ACCEPT_WAITS];
	__u64 reserved[18];
};

/* How a worker takes part in re-balancing. */
enum stats_inbox {
	STATS_INBOX_READS = 1, /* what is given to it is taken */
	STATS_INBOX_GIVES = 2, /* it may give to others */
};

#define STATS_STALL_NS 2000000ull

/* --- the app's own numbers --- */

#define STATS_OWN_TEXT 65504u

/*
 * Lines of fields between tabs: "#" family help, "c" (counter) or "g" (gauge) family labels
 * value, "h" (histogram) family labels sum bounds counts, the last two with spaces in between and
 * one more count than bounds, not cumulated. Labels as the exposition format writes them.
 */
struct stats_own {
	__u32 turn; /* __atomic: text[turn % 2] is the one to read, and whole while this stays */
	__u32 reserved0;
	__u64 dropped; /* values for which there was no room */
	__u32 len[2];
	__u32 reserved[10];
	char text[2][STATS_OWN_TEXT];
};

/* --- steering --- */

/* Why a connection was sent to a worker. */
enum steer_reason {
	STEER_LOAD, /* the least loaded of those looked at */
	STEER_ONLY, /* no other was there */
	STEER_STALLED, /* all were stalled: the least bad */
	STEER_MIGRATED, /* moved from a listener that was shut down */
	NR_STEER_REASONS,
};

#define STEER_REASON_NAMES                                                                         \
	{                                                                                          \
		"load", "only", "stalled", "migrated"                                              \
	}

/* Times are CLOCK_MONOTONIC, which is what bpf_ktime_get_ns() reads. */
struct stats_steer {
	/* One cache line that the BPF program owns; atomic adds. */
	__u64 picks; /* connections sent here, since the row's first worker */
	__u64 pick_ns; /* of the pick that found no other one unaccepted: the oldest is no older */
	__u64 by_reason[NR_STEER_REASONS];
	__u64 avoided; /* would have been picked by load, but it was stalled */
	__u64 is_in; /* the supervisor's: it has listeners to pick */
	/* One that the worker owns: at the end of each turn of its loop, before handlers run inline. */
	__u64 settled; /* picks accounted for: accepted, or known never to come; atomic adds */
	__u64 settled_ns; /* when that last moved */
	__u32 state; /* enum stats_worker_state; NONE and DRAINING are not picked */
	__u32 kept; /* open connections */
	__u32 running; /* jobs that the app's threads have claimed */
	__u32 waiting; /* jobs that nobody has claimed */
	__u32 nr_threads; /* how many can run side by side (1 for inline) */
	__u32 job_us; /* mean time of a job, see steer_job_us(); 0 = not known */
	__u64 running_ns; /* claim time of the oldest job that runs; 0 = none */
	__u64 waiting_ns; /* since when the oldest unclaimed job waits; 0 = none */
	__u64 reserved2;
};

_Static_assert(sizeof(struct stats_header) == 256, "layout");
_Static_assert(sizeof(struct stats_route) == 128, "layout");
_Static_assert(sizeof(struct stats_worker) == 640, "layout");
_Static_assert(sizeof(struct stats_cell) == 3904, "layout");
_Static_assert(sizeof(struct stats_own) == 131072, "layout");
_Static_assert(sizeof(struct stats_steer) == 128 &&
		       __builtin_offsetof(struct stats_steer, settled) == 64,
	       "layout");
/* Elements of a map are a multiple of 8 apart, and cells share no cache line. */
_Static_assert(sizeof(struct stats_worker) % 64 == 0 && sizeof(struct stats_cell) % 64 == 0,
	       "layout");

#endif
