/* SPDX-License-Identifier: MIT */
/*
 * What a worker lends to its links: limits, routes, the clock of the current
 * batch, pools and counters. It belongs to one I/O thread and outlives every
 * link and request.
 */
#ifndef HYPERION_SERVER_HTTP_H
#define HYPERION_SERVER_HTTP_H

#include "server/arena.h"
#include "server/base.h"
#include "server/date.h"
#include "server/list.h"
#include "server/outq.h"
#include "server/slab.h"

struct answer;
struct link;
struct named_roots;
struct req;
struct route_table;

struct limits {
	u32 max_header_bytes; /* of one request head; more: 414 or 431 */
	u64 max_body_bytes; /* more: 413 */
	u32 read_timeout_ms; /* a head, or the next piece of a body: 408 */
	u32 max_request_read_ms; /* a whole request from its first byte: 408 */
	u32 idle_keepalive_ms; /* between two requests: closed without a word */
	u32 send_timeout_ms; /* a client that takes nothing: cut */
	u32 max_pipelined; /* requests of one connection not yet answered */
	u32 max_out_bytes; /* queued output above which no more input is taken */
	u32 max_in_flight; /* requests of one connection that are with the app; more: 503. 0 = any */
	u32 max_request_ms; /* from the first byte until the answer is complete: 503. 0 = any */
};

#define LIMITS_DEFAULT                                                                             \
	((struct limits){                                                                          \
		.max_header_bytes = 64 * KIB,                                                      \
		.max_body_bytes = 16 * MIB,                                                        \
		.read_timeout_ms = 30 * MSEC_PER_SEC,                                              \
		.max_request_read_ms = 60 * MSEC_PER_SEC,                                          \
		.idle_keepalive_ms = 5 * MSEC_PER_SEC,                                             \
		.send_timeout_ms = 60 * MSEC_PER_SEC,                                              \
		.max_pipelined = 32,                                                               \
		.max_out_bytes = 256 * KIB,                                                        \
	})

struct http_stats {
	u64 requests; /* heads that were complete and well-formed */
	u64 refused; /* answered by the protocol itself: 4xx and 5xx of its own */
	u64 status[6]; /* answers sent whole, by class; [0] = cut off */
	u64 bytes_out;
	u64 hijacked; /* requests that took their connection */
	u64 chunked_responses, chunked_writes; /* heads; pieces of their bodies that went out */
	u64 coalesced_writes; /* pieces of the app that went out together with others */
	u64 pending_rejections; /* 503: too many waited for the app */
	u64 per_conn_rejections; /* 503: too many of one connection were with the app */
	u64 file_responses; /* of which the kernel has sent (a part of) the body from a file */
	u64 overtime; /* 503, or cut: the app did not answer within max_request_ms */
};

/* What requests keep of their heads for the access log. */
enum http_keep {
	KEEP_LINE = 1 << 0, /* method and target */
	KEEP_ID = 1 << 1, /* the request id, also of those that C answers */
	KEEP_PEER = 1 << 2, /* link->peer is known */
	KEEP_REFERER = 1 << 3,
	KEEP_AGENT = 1 << 4,
};

struct reqid;
struct spill_ops;

enum page_result {
	PAGE_NOW, /* the answer is filled */
	PAGE_LATER, /* it comes over the link's protocol, like the app's */
	PAGE_NOT_FOUND, /* 404: not for this client */
	PAGE_BUSY, /* 503 */
};

struct http {
	const struct limits *limits;
	struct route_table *routes; /* held */
	u64 now_ns; /* CLOCK_MONOTONIC, read once per batch */
	struct date date;
	bool draining; /* every further answer is the last of its connection */
	u32 keep; /* enum http_keep */
	struct reqid *ids; /* makes request ids; NULL: requests have none */
	struct outq_pool out;
	struct arena_pool arenas;
	struct slab reqs;
	struct http_stats stats;
	void (*done)(struct http *http, struct req *req); /* sent or cut; may be NULL */

	/* Pages of the server's own (HANDLER_PAGE); the request's job is filled. */
	enum page_result (*page)(struct http *http, struct req *r, struct answer *answer);
	u16 admin_port; /* where nothing but them is served; 0 = none */

	/* The application; what no route answers goes there. */
	bool has_app;
	struct list submit; /* requests that wait to be handed over, as they were complete */
	u32 nr_submit;
	struct list lent; /* requests with an answer that its producer still fills, oldest first */
	u32 nr_waiting; /* handed over and not yet begun, as of the last batch */
	u32 max_waiting; /* more of both: 503 */
	u32 nr_withdrawn; /* handed over, taken back unbegun and not yet returned */
	const struct named_roots *named; /* what it may name; NULL = nothing */
	const struct spill_ops *spill_ops; /* for bodies; NULL without an app */
	void *spill_priv;

	/* The link changed outside its owner's calls: look at it at the end of the batch. */
	void (*touch)(struct link *l);
	/* Fills link->peer. */
	void (*find_peer)(struct link *l);
};

/* Holds the table. */
void http_init(struct http *http, const struct limits *limits, struct route_table *routes);
void http_fini(struct http *http);

/* From the next request on; those before it keep the table that they have. Holds it. */
void http_set_routes(struct http *http, struct route_table *routes);

/* How long a small piece of body may wait for others. */
#define HTTP_LENT_NS NSEC_PER_MSEC

/* Lent answers that are due go to their links. */
void http_flush_lent(struct http *http);

/* When the next one is due, CLOCK_MONOTONIC; 0 = none. */
u64 http_lent_due_ns(const struct http *http);

/* "Not Found"; "Unknown" for a status without a registered phrase. */
struct view http_reason(int status);

#endif
