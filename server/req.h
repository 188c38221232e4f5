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
#include "server/body.h"
#include "server/freply.h"
#include "server/handler.h"
#include "server/job.h"
#include "server/list.h"
#include "server/msg.h"
#include "server/outq.h"
#include "server/reqid.h"

struct http;
struct link;
struct route;
struct route_table;
struct target;

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

/* Where a request stands with the application. */
enum req_app {
	REQ_NOT_FOR_APP,
	REQ_FOR_APP, /* its body is being read, or it waits to be submitted */
	REQ_WITH_APP, /* the job belongs to the app until its last answer */
};

struct req {
	struct list order; /* among its link's unanswered requests, as they came */
	struct mark mark; /* behind the answer's last byte */
	struct http *http;
	struct link *link;
	struct outq out; /* the answer while earlier requests hold the link */
	struct arena arena;
	const struct route *route; /* NULL: none, or refused */
	struct route_table *routes; /* where it is from, held; NULL without a route */
	struct freply file; /* of a tree's route: what it answers */
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
	bool head_sent; /* the answer's head is in the queue */
	bool chunked_out; /* its body goes out chunked */
	bool has_job; /* job is filled */
	bool from_file; /* bytes of its body leave a file without a copy */
	bool hijacked; /* the app has taken the connection */
	bool forsaken; /* answered in the app's place, which still has the job */
	bool ended; /* forsaken, and its answer has left or was cut */
	bool body_done; /* the request's body is complete, its file is still being written */
	bool stays; /* its bytes are not kept as they came, or something of it was answered */
	bool recalled; /* taken back from the app, which has not yet given it back */
	bool moved; /* recalled, and another worker has it now */
	enum req_app app;
	struct view head; /* as it came, in the arena; empty without a job */
	/* In the arena, if http->keep wants them; method_name and target also for the app. */
	struct view method_name, target, referer, user_agent;
	struct view request_id; /* as client and app know it; also for the app */
	struct list submit; /* among those that wait to be handed to the app */
	struct list with_app; /* among those that it has */
	struct answer *lent; /* its producer still fills it; NULL = none */
	u64 lent_ns; /* since when */
	struct list lent_order; /* in http->lent */
	struct hijack *hijack; /* wants the connection when it is first; NULL = does not */
	struct body body;
	struct job job; /* last: filled only for the app */
};

static inline enum persist req_persist(const struct req *r)
{
	if (r->last)
		return PERSIST_CLOSE;
	return r->version_minor == 0 ? PERSIST_KEEP_ALIVE : PERSIST_DEFAULT;
}

/* @route may be NULL; a request has at most one in its life. */
void req_set_route(struct req *r, const struct route *route);

/* The request is not that route's after all. */
void req_clear_route(struct req *r);

/* NULL when memory is out. */
struct req *req_new(struct http *http, struct link *link) __must_check;

/* Completes the answer: sets the mark in @q. The req is gone once it fires. */
void req_finish(struct req *r, struct outq *q);

/*
 * The link is gone before the answer was complete. A req that is with the app
 * stays until req_returned(); every other one is freed here.
 */
void req_abort(struct req *r);

/* An answer that its producer still fills: kept until it is due or the next one comes. */
void req_lend(struct req *r, struct answer *a);

/* Sealed; NULL when there is none. */
struct answer *req_take_lent(struct req *r);

/*
 * The protocol answers in the app's place. What the app still says goes nowhere;
 * the req is freed when its answer is over and the job is back, whichever is last.
 */
void req_forsake(struct req *r);

/* The app has given the job of a req back whose link is gone: frees it. */
void req_returned(struct req *r);

/*
 * Takes a request that was submitted back, if nobody has begun it: true. What
 * had come to the app's queue returns all the same, as r->recalled; then, or at
 * once if it is not recalled, one of the next two.
 */
bool req_recall(struct req *r) __must_check;

/* It is submitted after all; the time that it has waited counts. */
void req_submit_again(struct req *r);

/* Recalled: another worker has it now, here it is not counted. Freed, at once or by req_returned(). */
void req_move(struct req *r);

/*
 * Fills the job from a head: everything is copied into the arena. @head is
 * where @m's views point into. 0 or -ENOMEM.
 */
int req_make_job(struct req *r, const struct msg *m, struct view head,
		 const struct target *target) __must_check;

/* What http->keep wants of the head of a request that is not for the app. 0 or -ENOMEM. */
int req_keep(struct req *r, const struct msg *m) __must_check;

/* The body is complete: to the end of those that wait to be submitted. */
void req_submit(struct req *r);

#endif
