/* SPDX-License-Identifier: MIT */
/*
 * One request from its first byte until its answer was sent or cut. The
 * protocol owns it while it is read, the application while it is pending; a
 * mark behind the last byte of the answer ends it: *sent* and *freed* are one
 * event.
 */
#ifndef HYPERION_SERVER_REQ_H
#define HYPERION_SERVER_REQ_H

#include "server/arena.h"
#include "server/base.h"
#include "server/list.h"
#include "server/msg.h"
#include "server/outq.h"

struct http;
struct link;
struct route;

/* When a request came to a point; ns of CLOCK_MONOTONIC, 0 = it did not. */
enum req_time {
	REQ_T_START, /* first byte of the head */
	REQ_T_HEAD, /* head complete */
	REQ_T_READY, /* body complete: may be answered */
	REQ_T_CLAIM, /* a Ruby thread took it */
	REQ_T_ANSWER, /* the answer is complete */
	REQ_T_SENT, /* its last byte is with the kernel */
	NR_REQ_TIMES,
};

struct req {
	struct list order; /* among its link's unanswered requests, as they came */
	struct mark mark; /* behind the answer's last byte */
	struct http *http;
	struct link *link;
	struct outq out; /* the answer while earlier requests hold the link */
	struct arena arena;
	const struct route *route; /* NULL: none, or refused */
	u64 times[NR_REQ_TIMES];
	u64 body_len; /* bytes of body received, decoded */
	u64 bytes_out; /* of the answer */
	u32 stream_id;
	u32 allow; /* without a route: the methods that its path has */
	u16 status;
	u8 version_minor;
	enum method method;
	bool answered; /* the answer is complete, its mark is set */
	bool last; /* the connection ends with this answer */
	struct view method_name, target; /* in the arena, if http->keep_views */
};

/* NULL when memory is out. */
struct req *req_new(struct http *http, struct link *link) __must_check;

/* Completes the answer: sets the mark in @q. The req is gone once it fires. */
void req_finish(struct req *r, struct outq *q);

/* For a req whose answer was never begun. */
void req_abort(struct req *r);

#endif
