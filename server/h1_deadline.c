/* SPDX-License-Identifier: MIT */
/* Until when a link of HTTP/1.x waits, and what is done then. */
#include "server/h1_state.h"

/* How long a client that has shut its side down may wait for a thread of the app. */
#define HALF_CLOSED_MS 1000

/* How long the client may take over a request from its first byte. */
static u32 max_read_ms(const struct limits *limits)
{
	return limits->max_request_ms ? min(limits->max_request_read_ms, limits->max_request_ms)
				      : limits->max_request_read_ms;
}

/*
 * The request that waits longest for the end of its answer: the first in order,
 * since answered ones leave it from there. NULL when it is still being read.
 */
static struct req *longest_waiting(struct link *l)
{
	struct h1 *h = h1_of(l);
	struct req *r;

	if (list_empty(&h->order) || l->flags & LINK_DETACH)
		return NULL;
	r = list_first(&h->order, struct req, order);
	return h->phase == H1_BODY && r == h->req ? NULL : r;
}

/* max_request_ms of the answer that is due first. */
static void limit_answer(struct link *l)
{
	struct req *r = longest_waiting(l);
	u64 at;

	if (!r)
		return;
	at = r->times[REQ_T_START] + l->http->limits->max_request_ms * NSEC_PER_MSEC;
	l->deadline_ns = l->deadline_ns ? min(l->deadline_ns, at) : at;
}

void h1_settle(struct link *l)
{
	const struct limits *limits = l->http->limits;
	struct h1 *h = h1_of(l);

	l->flags &= ~(u32)LINK_PAUSED;
	switch (h->phase) {
	case H1_HEAD:
		if (h->start_ns)
			l->deadline_ns =
				h->start_ns +
				min(limits->read_timeout_ms, max_read_ms(limits)) * NSEC_PER_MSEC;
		else if (list_empty(&h->order))
			l->deadline_ns = h1_after_ms(l, limits->idle_keepalive_ms);
		else
			l->deadline_ns = 0;
		break;
	case H1_BODY:
		l->deadline_ns =
			min(h1_after_ms(l, limits->read_timeout_ms),
			    h->req->times[REQ_T_START] + max_read_ms(limits) * NSEC_PER_MSEC);
		break;
	case H1_DONE:
		l->deadline_ns = 0;
		if (list_empty(&h->order))
			l->flags |= LINK_CLOSE;
		else if (l->flags & LINK_EOF)
			l->deadline_ns = h1_after_ms(l, HALF_CLOSED_MS);
		break;
	}
	if (unlikely(limits->max_request_ms))
		limit_answer(l);
	if (l->flags & LINK_DETACH) {
		l->flags &= ~(u32)LINK_CLOSE;
		l->deadline_ns = 0;
	}
	if (h1_crowded(l))
		l->flags |= LINK_PAUSED;
}

/*
 * The client has shut its side down and waits for answers: most likely it is
 * gone. What runs may end, what still queues is given up.
 */
static void give_up_queued(struct link *l)
{
	struct h1 *h = h1_of(l);
	struct list *pos, *tmp;
	bool cut = false;

	/* An answer may not take the place of one before it: with one, all behind it go. */
	list_for_each_safe (pos, tmp, &h->order) {
		struct req *r = list_entry(pos, struct req, order);

		cut |= !r->answered && !(r->app == REQ_WITH_APP && job_claimed(&r->job));
		if (!cut)
			continue;
		h->nr_order--;
		req_abort(r);
	}
}

/* The app goes on with what it has begun, but not for this client. */
static bool any_overtime(struct link *l)
{
	u64 max_ns = l->http->limits->max_request_ms * NSEC_PER_MSEC;
	bool any = false;
	struct req *r;

	while (max_ns && (r = longest_waiting(l)) &&
	       r->times[REQ_T_START] + max_ns <= l->http->now_ns) {
		any = true;
		h1_end_overtime(l, r);
	}
	return any;
}

void h1_timeout(struct link *l)
{
	struct h1 *h = h1_of(l);
	struct req *r;

	if (any_overtime(l)) {
		h1_settle(l);
		/* What else is due has its turn next. */
		if (l->deadline_ns)
			l->deadline_ns = max(l->deadline_ns, h1_after_ms(l, 1));
		return;
	}
	if (h->phase == H1_DONE) {
		give_up_queued(l);
	} else if (h->phase == H1_BODY) {
		h1_refuse(l, h->req, 408, "the body did not come in time");
	} else if (h->phase == H1_HEAD && h->start_ns) {
		r = h1_begin(l);
		if (r)
			h1_refuse(l, r, 408, "the request head did not come in time");
	} else if (outq_empty(&l->out)) {
		h->phase = H1_DONE;
	}
	/* A client that still takes its answer is not idle: h1_settle() gives it as long again. */
	h1_settle(l);
}
