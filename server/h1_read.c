/* SPDX-License-Identifier: MIT */
/* Heads and bodies of HTTP/1.x requests, as they come in pieces. */
#include "server/framing.h"
#include "server/ftree.h"
#include "server/h1_state.h"
#include "server/route.h"

static void begin_body(struct link *l, struct req *r, const struct framing *f)
{
	struct h1 *h = h1_of(l);

	h->req = r;
	h->phase = H1_BODY;
	h->chunked = f->chunked;
	h->chunks = (struct h1_chunked){ 0 };
	h->body_left = f->length;
	r->stays = f->chunked || f->expect;
	/* Without Expect the body is on its way already. */
	if (f->expect && outq_copy(h1_answer_queue(l, r), "HTTP/1.1 100 Continue\r\n\r\n", 25))
		h1_give_up(l);
}

/* The route is a tree: what it answers is decided now, as the head's bytes do not stay. */
static int ask_tree(struct req *r, const struct msg *m, struct view path)
{
	const struct route *route = r->route;
	struct view below = { path.p + route->path.len, path.len - route->path.len };
	struct http *http = r->http;
	int err;

	if (route->handler->tree->internal) {
		r->file.status = 404;
		return 0;
	}
	err = ftree_decide(route->handler->tree, m, path, below, http->now_ns, &http->date,
			   &r->arena, &r->file);
	if (r->file.status == 405)
		r->allow |= 1u << METHOD_GET | 1u << METHOD_HEAD;
	if (!err && !r->file.status)
		req_clear_route(r);
	return err;
}

static bool is_page(const struct route *route)
{
	return route && unlikely(route->handler->kind == HANDLER_PAGE);
}

static bool at_admin_port(struct link *l)
{
	return link_peer(l)->server_port == l->http->admin_port;
}

/* No constant. @direct: the handler of the app that is to be called. */
static int ask_handler(struct req *r, const struct msg *m, struct view path, u32 *direct)
{
	const struct handler *h = r->route->handler;

	if (h->kind == HANDLER_TREE)
		return ask_tree(r, m, path);
	if (h->kind == HANDLER_PAGE)
		return 0;
	*direct = h->direct;
	req_clear_route(r);
	return 0;
}

/* A head of correct syntax. */
static void take_head(struct link *l, struct req *r, const struct msg *m, struct view head)
{
	struct http *http = l->http;
	const char *why = NULL;
	struct framing f;
	u32 direct = 0;
	int status, err = 0;
	bool for_app;

	r->method = m->method;
	r->version_minor = m->version_minor;
	r->times[REQ_T_HEAD] = http->now_ns;
	if (http->keep & KEEP_PEER)
		link_peer(l);
	status = framing_read(m, &f, &why);
	if (!status && f.length > http->limits->max_body_bytes) {
		status = 413;
		why = "the body is longer than max_body_bytes";
	}
	if (unlikely(status)) {
		if (http->keep && req_keep(r, m))
			h1_give_up(l);
		else
			h1_refuse(l, r, status, why);
		return;
	}
	http->stats.requests++;
	r->last = !f.persistent;
	req_set_route(r, route_find(http->routes, r->method, f.target.path, &r->allow));
	for_app = http->has_app && r->method != METHOD_CONNECT;
	if (unlikely(http->admin_port) && !is_page(r->route) && at_admin_port(l)) {
		req_clear_route(r);
		for_app = false;
	}
	if (r->route && r->route->handler->kind != HANDLER_CONSTANT)
		err = ask_handler(r, m, f.target.path, &direct);
	for_app = for_app && !r->route;
	if (!err && (for_app || is_page(r->route))) {
		err = req_make_job(r, m, head, &f.target);
		r->job.direct = direct;
	} else if (!err && http->keep) {
		err = req_keep(r, m);
	}
	if (err) {
		h1_give_up(l);
		return;
	}
	if (!for_app)
		r->app = REQ_NOT_FOR_APP;
	h1_of(l)->upgrade = f.upgrade && r->app == REQ_FOR_APP;
	if (f.chunked || f.length)
		begin_body(l, r, &f);
	else
		h1_dispatch(l, r);
}

/* The first @len bytes of a head, at most max_header_bytes, are wrong, or they are too long. */
static void __cold refuse_head(struct link *l, const char *p, size_t len)
{
	struct req *r = h1_begin(l);
	struct msg msg;
	ssize_t n;

	if (!r)
		return;
	/* From the start: a call that was given @seen may have judged less than all of it. */
	n = h1_parse_head(p, len, 0, &msg);
	r->method = msg.method;
	if (n == -EAGAIN) {
		bool line = len > 2 && memchr(p + 2, '\n', len - 2);

		h1_refuse(l, r, line ? 431 : 414, "the request head is longer than max_header_bytes");
	} else {
		enum h1_parse_err err = h1_parse_err_of(n);

		h1_refuse(l, r, h1_parse_status(err), h1_parse_strerror(err));
	}
}

size_t h1_read_head(struct link *l, const char *p, size_t len)
{
	/* Never more than the limit, so that it does not matter in which pieces a head comes. */
	size_t n_max = min(len, (size_t)l->http->limits->max_header_bytes);
	struct h1 *h = h1_of(l);
	struct msg msg; /* not initialised: the parser fills what it counts */
	struct req *r;
	ssize_t n;

	if (!h->start_ns)
		h->start_ns = l->http->now_ns;
	n = h1_parse_head(p, n_max, h->seen, &msg);
	if (n == -EAGAIN && n_max == len) {
		h->seen = (u32)len;
		return 0;
	}
	if (unlikely(n < 0)) {
		refuse_head(l, p, n_max);
		return len;
	}
	r = h1_begin(l);
	if (!r)
		return len;
	take_head(l, r, &msg, (struct view){ p, (size_t)n });
	return (size_t)n;
}

/* false: it could not be kept, the request is refused. */
static bool keep_body(struct link *l, struct req *r, const char *p, size_t len)
{
	struct http *http = l->http;
	int err;

	r->body_len += len;
	if (r->app == REQ_NOT_FOR_APP)
		return true;
	err = body_add(&r->body, p, len, h1_of(l)->chunked ? 0 : h1_of(l)->body_left + len,
		       http->spill_ops, http->spill_priv, h1_body_progress, r);
	if (err)
		h1_refuse(l, r, err == -ENOSPC ? 507 : 500, "the body could not be stored");
	return !err;
}

static size_t read_chunked(struct link *l, const char *p, size_t len)
{
	struct h1 *h = h1_of(l);
	struct req *r = h->req;
	size_t off = 0;
	bool done = false;

	while (off < len && !done && !body_crowded(&r->body)) {
		struct view data = { NULL, 0 };
		ssize_t n = h1_chunked_next(&h->chunks, p + off, len - off, &data, &done);

		if (n < 0) {
			enum h1_parse_err err = h1_parse_err_of(n);

			h1_refuse(l, r, h1_parse_status(err), h1_parse_strerror(err));
			return len;
		}
		off += (size_t)n;
		if (!keep_body(l, r, data.p, data.len))
			return len;
		/*
		 * What a chunk promises counts before it comes, but only from its first byte
		 * on: until then the size may still turn out to be malformed.
		 */
		if (data.len && r->body_len + h->chunks.left > l->http->limits->max_body_bytes) {
			h1_refuse(l, r, 413, "the body is longer than max_body_bytes");
			return len;
		}
	}
	if (done)
		h1_dispatch(l, r);
	return off;
}

size_t h1_read_body(struct link *l, const char *p, size_t len)
{
	struct h1 *h = h1_of(l);

	if (h->chunked)
		return read_chunked(l, p, len);
	len = min(len, h->body_left);
	h->body_left -= len;
	if (!keep_body(l, h->req, p, len))
		return len;
	if (!h->body_left)
		h1_dispatch(l, h->req);
	return len;
}
