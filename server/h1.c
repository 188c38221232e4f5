/* SPDX-License-Identifier: MIT */
#include "server/h1.h"

#include "server/h1_answer.h"
#include "server/h1_state.h"
#include "server/log.h"
#include "server/plain.h"
#include "server/route.h"

#define TARGET_SHOWN 200u /* bytes of a request's target in a line of the log */

static void h1_open(struct link *l)
{
	const struct limits *limits = l->http->limits;
	struct h1 *h = h1_of(l);
	u32 ms = limits->read_timeout_ms;

	memset(h, 0, sizeof(*h));
	list_init(&h->order);
	/* A client that connects and says nothing. */
	if (l->http->draining)
		ms = min(ms, limits->idle_keepalive_ms);
	l->deadline_ns = h1_after_ms(l, ms);
}

/* The app may still take the connection, and with it what came behind the last request. */
static bool may_be_hijacked(const struct h1 *h)
{
	const struct req *last;

	if (list_empty(&h->order))
		return false;
	last = list_entry(h->order.prev, struct req, order);
	return last->app != REQ_NOT_FOR_APP && !last->head_sent;
}

bool h1_crowded(struct link *l)
{
	const struct limits *limits = l->http->limits;
	struct h1 *h = h1_of(l);

	if (l->flags & LINK_DETACH)
		return true;
	if (h->phase == H1_DONE)
		return h->behind && may_be_hijacked(h);
	if (h->phase == H1_HEAD && h->upgrade && h->nr_order)
		return true;
	if (h->phase == H1_BODY ? body_crowded(&h->req->body) : h->nr_order >= limits->max_pipelined)
		return true;
	return outq_len(&l->out) >= limits->max_out_bytes;
}

/* Nobody in the order gets an answer any more. */
static void drop_order(struct link *l)
{
	struct h1 *h = h1_of(l);

	while (!list_empty(&h->order))
		req_abort(list_first(&h->order, struct req, order));
	h->nr_order = 0;
	h->phase = H1_DONE;
}

void h1_give_up(struct link *l)
{
	/* The queue stays: earlier answers are whole, and the kernel may be reading from it. */
	drop_order(l);
	l->flags |= LINK_CLOSE;
}

struct outq *h1_answer_queue(struct link *l, struct req *r)
{
	return h1_of(l)->order.next == &r->order ? &l->out : &r->out;
}

/* The first request takes the connection: nobody behind it gets an answer. */
static void hand_out(struct link *l, struct req *r)
{
	struct h1 *h = h1_of(l);

	while (r->order.next != &h->order) {
		req_abort(list_entry(r->order.next, struct req, order));
		h->nr_order--;
	}
	l->hijack = r->hijack;
	r->hijack = NULL;
	r->hijacked = true;
	h->phase = H1_HEAD;
	l->flags |= LINK_DETACH;
}

/* The answer of the first request is complete: those behind it have their turn. */
static void advance(struct link *l)
{
	struct h1 *h = h1_of(l);

	while (!list_empty(&h->order)) {
		struct req *r = list_first(&h->order, struct req, order);
		bool answered = r->answered, last = r->last;

		if (answered) {
			list_del(&r->order);
			h->nr_order--;
			h->moves = 0;
		}
		if (r->out.queued || r->out.marks)
			outq_move(&r->out, &l->out);
		if (!answered) {
			if (r->hijack)
				hand_out(l, r);
			break;
		}
		/* Its answer said that it is the last, or was cut short: nothing may follow. */
		if (last)
			drop_order(l);
	}
}

/* The answer is in @q, which had taken @before bytes until then. */
static void finish(struct link *l, struct req *r, struct outq *q, u64 before)
{
	r->bytes_out += q->queued - before;
	req_finish(r, q);
	if (q == &l->out)
		advance(l);
}

struct req *h1_begin(struct link *l)
{
	struct h1 *h = h1_of(l);
	struct req *r = req_new(l->http, l);

	if (!r) {
		h1_give_up(l);
		return NULL;
	}
	r->times[REQ_T_START] = h->start_ns;
	r->version_minor = 1;
	h->start_ns = 0;
	h->seen = 0;
	list_add_tail(&r->order, &h->order);
	h->nr_order++;
	return r;
}

static void answer_plain(struct link *l, struct req *r, int status, const char *why)
{
	struct outq *q = h1_answer_queue(l, r);
	u64 before = q->queued;
	struct plain plain = {
		.status = status,
		.why = why,
		.allow = status == 405 ? r->allow : 0,
		.retry_after = status == 503 ? 1 : 0,
		.head_only = r->method == METHOD_HEAD,
		.persist = req_persist(r),
	};

	r->status = (u16)status;
	if (plain_answer(&plain, &l->http->date, q))
		h1_give_up(l);
	else
		finish(l, r, q, before);
}

void h1_refuse(struct link *l, struct req *r, int status, const char *why)
{
	h1_of(l)->phase = H1_DONE;
	/* The rest of the request is on its way: closing now would reset the answer. */
	l->flags |= LINK_LINGER;
	l->http->stats.refused++;
	r->last = true;
	answer_plain(l, r, status, why);
}

/* Requests of this connection that the app has, or is about to get. At most max_pipelined. */
static u32 nr_in_flight(struct link *l)
{
	const struct list *order = &h1_of(l)->order;
	u32 nr = 0;

	for (const struct list *pos = order->next; pos != order; pos = pos->next) {
		const struct req *r = list_entry(pos, struct req, order);

		nr += r->app == REQ_WITH_APP || !list_empty(&r->submit);
	}
	return nr;
}

/* The body is complete and, if it went to a file, written. */
static void submit(struct link *l, struct req *r)
{
	struct http *http = l->http;
	const struct peer *peer;
	struct job *j = &r->job;

	if (unlikely(http->nr_submit + http->nr_waiting >= http->max_waiting)) {
		http->stats.pending_rejections++;
		r->app = REQ_NOT_FOR_APP;
		answer_plain(l, r, 503, "too many requests wait for the application");
		return;
	}
	if (unlikely(http->limits->max_in_flight && nr_in_flight(l) >= http->limits->max_in_flight)) {
		http->stats.per_conn_rejections++;
		r->app = REQ_NOT_FOR_APP;
		answer_plain(l, r, 503, "too many requests of this connection are being answered");
		return;
	}
	peer = link_peer(l);
	/* The connection may end before the app looks at it. */
	if (arena_copy(&r->arena, view_of(peer->text), &j->peer)) {
		h1_give_up(l);
		return;
	}
	j->room = arena_rest(&r->arena, JOB_ROOM_MIN, &j->room_len);
	if (!j->room) {
		h1_give_up(l);
		return;
	}
	j->conn_idx = l->idx;
	j->conn_gen = l->gen;
	j->peer_port = peer->port;
	j->server_port = peer->server_port;
	req_submit(r);
}

static void answer_file(struct link *l, struct req *r)
{
	struct outq *q = h1_answer_queue(l, r);
	u64 before = q->queued;

	if (!freply_has_own(&r->file)) {
		answer_plain(l, r, r->file.status, NULL);
		return;
	}
	r->status = r->file.status;
	r->from_file = freply_from_file(&r->file, r->method == METHOD_HEAD);
	l->http->stats.file_responses += r->from_file;
	if (freply_put(&r->file, &l->http->date, q, r->method == METHOD_HEAD, req_persist(r)))
		h1_give_up(l);
	else
		finish(l, r, q, before);
}

static void answer_route(struct link *l, struct req *r)
{
	struct handler *handler = r->route->handler;
	struct outq *q = h1_answer_queue(l, r);
	u64 before = q->queued;

	r->status = handler->status;
	if (handler_answer(handler, &l->http->date, q, r->method == METHOD_HEAD, req_persist(r)))
		h1_give_up(l);
	else
		finish(l, r, q, before);
}

static void take_answer(struct link *l, struct req *r, struct answer *a);

static void close_if_draining(struct link *l, struct req *r)
{
	if (likely(!l->http->draining))
		return;
	/* Those behind it were taken and get their answers; and a head cannot be changed. */
	if (r->head_sent || r->order.next != &h1_of(l)->order)
		return;
	r->last = true;
	l->flags |= LINK_LINGER;
}

static void answer_page(struct link *l, struct req *r)
{
	struct answer *a = &r->job.first;

	a->job = &r->job;
	switch (l->http->page(l->http, r, a)) {
	case PAGE_NOW:
		take_answer(l, r, a);
		break;
	case PAGE_LATER:
		r->app = REQ_WITH_APP;
		break;
	case PAGE_NOT_FOUND:
		answer_plain(l, r, 404, NULL);
		break;
	case PAGE_BUSY:
		answer_plain(l, r, 503, "too many scrapes at a time");
		break;
	}
}

void h1_dispatch(struct link *l, struct req *r)
{
	r->times[REQ_T_READY] = l->http->now_ns;
	close_if_draining(l, r);
	h1_of(l)->phase = r->last ? H1_DONE : H1_HEAD;
	if (r->file.status)
		answer_file(l, r);
	else if (likely(r->route && r->route->handler->kind == HANDLER_CONSTANT))
		answer_route(l, r);
	else if (r->route)
		answer_page(l, r);
	else if (r->app == REQ_NOT_FOR_APP)
		answer_plain(l, r, r->method == METHOD_CONNECT ? 501 : r->allow ? 405 : 404, NULL);
	else if (body_busy(&r->body))
		r->body_done = true; /* h1_body_progress() goes on */
	else
		submit(l, r);
}

void h1_body_progress(void *arg, int err)
{
	struct req *r = arg;
	struct link *l = r->link;
	bool done = r->body_done;

	r->body_done = false;
	if (err && !r->answered)
		h1_refuse(l, r, err == -ENOSPC ? 507 : 500, "the body could not be stored");
	else if (done)
		submit(l, r);
	h1_settle(l);
	l->http->touch(l);
}

static size_t h1_input(struct link *l, const char *p, size_t len)
{
	struct h1 *h = h1_of(l);
	size_t off = 0, n = 1;

	while (off < len && n && !h1_crowded(l)) {
		switch (h->phase) {
		case H1_HEAD:
			n = h1_read_head(l, p + off, len - off);
			break;
		case H1_BODY:
			n = h1_read_body(l, p + off, len - off);
			break;
		case H1_DONE:
			/* Unread bytes would turn our close into a reset. */
			l->flags |= LINK_LINGER;
			h->behind = true;
			n = may_be_hijacked(h) ? 0 : len - off;
			break;
		}
		off += n;
	}
	h1_settle(l);
	return off;
}

static void h1_eof(struct link *l)
{
	struct h1 *h = h1_of(l);

	l->flags |= LINK_EOF;
	if (h->phase == H1_BODY) {
		/* It will never be complete, and nobody waits for an answer. */
		h->nr_order--;
		req_abort(h->req);
	}
	h->phase = H1_DONE;
	h1_settle(l);
}

/* A body cut short and a closed connection are how the client sees it. */
static void cut_answer(struct link *l, struct req *r, struct outq *q)
{
	r->last = true;
	h1_of(l)->phase = H1_DONE;
	finish(l, r, q, q->queued);
}

void h1_end_overtime(struct link *l, struct req *r)
{
	struct outq *q = h1_answer_queue(l, r);

	l->http->stats.overtime++;
	log_limited(
		LOG_LEVEL_WARN,
		"http: the app took longer than max_request_seconds, %s method=%.*s target=%.*s",
		r->head_sent ? "its answer is cut" : "answered 503", (int)r->method_name.len,
		r->method_name.p, (int)min(r->target.len, TARGET_SHOWN), r->target.p);
	req_forsake(r);
	close_if_draining(l, r);
	if (r->head_sent)
		cut_answer(l, r, q);
	else
		answer_plain(l, r, 503, "the application did not answer in time");
}

/* It will never be complete. */
static void abort_answer(struct link *l, struct req *r)
{
	struct outq *q = h1_answer_queue(l, r);

	if (!r->head_sent) {
		answer_plain(l, r, 500, NULL);
		return;
	}
	cut_answer(l, r, q);
}

/* With a head: that goes out before. */
static void hijack(struct link *l, struct req *r, struct answer *a, struct outq *q)
{
	u64 before = q->queued;

	r->hijack = a->hijack;
	if (h1_put_answer(r, a, &l->http->date, q)) {
		h1_give_up(l);
		return;
	}
	r->bytes_out += q->queued - before;
	if (q == &l->out)
		hand_out(l, r);
}

/* Complete as it is. */
static void take_answer(struct link *l, struct req *r, struct answer *a)
{
	u32 flags = a->flags; /* the answer may be gone with its bytes */
	struct outq *q = h1_answer_queue(l, r);
	u64 before = q->queued;
	int err = 0;

	if (flags & ANSWER_HIJACK) {
		hijack(l, r, a, q);
		return;
	}
	if (flags & ANSWER_LAST)
		r->app = REQ_NOT_FOR_APP;
	close_if_draining(l, r);
	if (flags & (ANSWER_ABORT | ANSWER_DROPPED))
		answer_drop(a);
	else if (unlikely(flags & ANSWER_NAMED))
		err = h1_put_named(r, a, &l->http->date, q);
	else
		err = h1_put_answer(r, a, &l->http->date, q);
	if (r->last)
		h1_of(l)->phase = H1_DONE;
	if (unlikely(err == -ENOENT))
		answer_plain(l, r, r->file.status, NULL);
	else if (err)
		h1_give_up(l);
	else if (flags & (ANSWER_ABORT | ANSWER_DROPPED))
		abort_answer(l, r);
	else if (flags & ANSWER_END)
		finish(l, r, q, before);
	else
		r->bytes_out += q->queued - before;
}

static void h1_due(struct link *l, struct req *r)
{
	take_answer(l, r, req_take_lent(r));
	h1_settle(l);
}

static void h1_answer(struct link *l, struct req *r, struct answer *a)
{
	struct answer *lent = req_take_lent(r);

	if (unlikely(r->recalled)) {
		h1_recalled(l, r);
		return;
	}
	if (lent)
		take_answer(l, r, lent);
	if (unlikely(lent && r->link != l)) {
		/* No memory for that one: the link has given up, and with it this request. */
		bool last = a->flags & ANSWER_LAST;

		answer_drop(a);
		if (last)
			req_returned(r);
	} else if (a->fill) {
		req_lend(r, a);
	} else {
		take_answer(l, r, a);
	}
	h1_settle(l);
}

static void h1_output(struct link *l)
{
	h1_settle(l);
}

static void h1_shutdown(struct link *l)
{
	struct h1 *h = h1_of(l);

	/* http->draining makes the next answer the last; who has none to come may not stay. */
	if (h->phase == H1_HEAD && !h->start_ns && list_empty(&h->order))
		l->deadline_ns =
			min(l->deadline_ns, h1_after_ms(l, l->http->limits->idle_keepalive_ms));
}

static void h1_close(struct link *l)
{
	drop_order(l);
}

const struct proto h1_proto = {
	.name = "HTTP/1.1",
	.state_len = sizeof(struct h1),
	.open = h1_open,
	.input = h1_input,
	.eof = h1_eof,
	.timeout = h1_timeout,
	.answer = h1_answer,
	.due = h1_due,
	.output = h1_output,
	.shutdown = h1_shutdown,
	.close = h1_close,
	.pack = h1_pack,
	.packed = h1_packed,
	.unpack = h1_unpack,
};
