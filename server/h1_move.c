/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.x on its way to another worker: the requests that nobody has begun go
 * as the bytes that they came in, and are read again there.
 */
#include <assert.h>

#include "server/h1_state.h"
#include "server/parcel.h"

/* Nothing of it was said or done, and its bytes are at hand as they came. */
static bool may_move(const struct req *r)
{
	if (r->answered || r->head_sent || r->stays || r->hijack || r->out.queued || r->route)
		return false;
	if (r->body.spill)
		return false;
	return r->app == REQ_WITH_APP ? job_queued(&r->job) : !list_empty(&r->submit);
}

static size_t raw_len(const struct req *r)
{
	return r->head.len + r->body.len;
}

/* 0: as far as can be seen, all of them may go together. */
static int check_all(struct link *l)
{
	const struct list *order = &h1_of(l)->order;
	size_t len = 0;

	for (const struct list *pos = order->next; pos != order; pos = pos->next) {
		const struct req *r = list_entry(pos, struct req, order);

		if (!may_move(r))
			return -EBUSY;
		len += raw_len(r);
	}
	return len > PARCEL_BYTES_MAX ? -EMSGSIZE : 0;
}

/* From here on no thread of the app begins one of them. */
static int recall_all(struct link *l)
{
	struct list *order = &h1_of(l)->order, *pos = order->next;

	while (pos != order && req_recall(list_entry(pos, struct req, order)))
		pos = pos->next;
	if (pos == order)
		return 0;
	/* A thread was faster with that one: those before it go on here, too. */
	while ((pos = pos->prev) != order) {
		struct req *r = list_entry(pos, struct req, order);

		if (!r->recalled)
			req_submit_again(r);
	}
	return -EBUSY;
}

static void add_req(struct parcel *p, const struct req *r)
{
	bool fits = parcel_add(p, r->head.p, r->head.len) && parcel_add(p, r->body.p, r->body.len);

	assert(fits); /* see check_all() */
	(void)fits;
	p->reqs[p->nr_reqs++] = (struct parcel_req){
		.start_ns = r->times[REQ_T_START],
		.ready_ns = r->times[REQ_T_READY],
		.len = (u32)raw_len(r),
	};
}

int h1_pack(struct link *l, struct parcel *p)
{
	struct h1 *h = h1_of(l);
	int err;

	if (h->phase == H1_BODY || (h->phase == H1_DONE && !h->nr_order) || h->behind ||
	    l->flags & (LINK_CLOSE | LINK_LINGER | LINK_EOF | LINK_DETACH))
		return -EBUSY;
	if (h->moves >= PARCEL_MOVES_MAX)
		return -ELOOP;
	if (h->nr_order > PARCEL_REQS_MAX)
		return -EMSGSIZE;
	err = check_all(l);
	if (!err)
		err = recall_all(l);
	if (err)
		return err;
	memset(p, 0, PARCEL_HEAD_LEN);
	p->moves = h->moves + 1u;
	p->start_ns = h->start_ns;
	p->deadline_ns = l->deadline_ns;
	for (struct list *pos = h->order.next; pos != &h->order; pos = pos->next)
		add_req(p, list_entry(pos, struct req, order));
	h->leaving = true;
	return 0;
}

void h1_packed(struct link *l)
{
	struct h1 *h = h1_of(l);

	while (!list_empty(&h->order))
		req_move(list_first(&h->order, struct req, order));
	h->nr_order = 0;
}

void h1_recalled(struct link *l, struct req *r)
{
	r->recalled = false;
	r->app = REQ_FOR_APP;
	if (!h1_of(l)->leaving)
		req_submit_again(r);
}

/* The bytes of one request. How many were taken. */
static size_t read_again(struct link *l, const char *p, const struct parcel_req *pr)
{
	struct h1 *h = h1_of(l);
	struct http *http = l->http;
	u64 counted = http->stats.requests;
	u32 before = h->nr_order;
	size_t n;

	h->start_ns = pr->start_ns;
	n = l->proto->input(l, p, pr->len);
	/* Whoever gave it away has counted it. */
	http->stats.requests = counted;
	if (h->nr_order > before)
		list_entry(h->order.prev, struct req, order)->times[REQ_T_READY] = pr->ready_ns;
	return n;
}

size_t h1_unpack(struct link *l, const struct parcel *p)
{
	struct h1 *h = h1_of(l);
	size_t off = 0;

	h->moves = (u8)min(p->moves, PARCEL_MOVES_MAX);
	for (u32 i = 0; i < p->nr_reqs; i++) {
		size_t n = read_again(l, p->bytes + off, &p->reqs[i]);

		off += n;
		if (n < p->reqs[i].len)
			return off;
	}
	h->start_ns = p->start_ns;
	if (off < p->len)
		off += l->proto->input(l, p->bytes + off, p->len - off);
	else
		h1_settle(l);
	if (!p->nr_reqs && !p->len)
		l->deadline_ns = p->deadline_ns;
	return off;
}
