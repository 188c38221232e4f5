/* SPDX-License-Identifier: MIT */
#include "server/req.h"

#include "server/fail.h"
#include "server/h1_parse.h"
#include "server/http.h"
#include "server/route.h"

struct req *req_new(struct http *http, struct link *link)
{
	struct req *r = fail_alloc() ? NULL : slab_alloc(&http->reqs);

	if (!r)
		return NULL;
	memset(r, 0, offsetof(struct req, job));
	r->http = http;
	r->link = link;
	list_init(&r->order);
	list_init(&r->submit);
	list_init(&r->with_app);
	list_init(&r->lent_order);
	outq_init(&r->out, &http->out);
	arena_init(&r->arena, &http->arenas);
	r->times[REQ_T_START] = http->now_ns;
	return r;
}

void req_set_route(struct req *r, const struct route *route)
{
	r->route = route;
	if (route)
		r->routes = route_table_get(r->http->routes);
}

void req_clear_route(struct req *r)
{
	route_table_put(r->routes);
	r->routes = NULL;
	r->route = NULL;
}

static void req_free(struct req *r)
{
	struct http *http = r->http;

	list_del(&r->order);
	if (!list_empty(&r->submit))
		http->nr_submit--;
	list_del(&r->submit);
	body_drop(&r->body);
	outq_drop(&r->out);
	freply_drop(&r->file);
	req_clear_route(r);
	arena_reset(&r->arena);
	slab_free(&http->reqs, r);
}

void req_lend(struct req *r, struct answer *a)
{
	r->lent = a;
	r->lent_ns = r->http->now_ns;
	list_add_tail(&r->lent_order, &r->http->lent);
}

struct answer *req_take_lent(struct req *r)
{
	struct answer *a = r->lent;

	if (!a)
		return NULL;
	r->lent = NULL;
	list_del(&r->lent_order);
	answer_seal(a);
	return a;
}

/*
 * The app wants to know how it ended: its job goes there once more. The req
 * lives until that comes back.
 */
static void tell_app(struct req *r, bool sent)
{
	struct job *j = &r->job;

	j->kind = JOB_SENT;
	j->sent = sent || r->hijacked;
	j->unsent = 0;
	__atomic_store_n(&j->gone, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&j->state, JOB_QUEUED, __ATOMIC_RELAXED);
	r->link = NULL;
	list_del(&r->order);
	r->app = REQ_FOR_APP;
	list_add_tail(&r->submit, &r->http->submit);
	r->http->nr_submit++;
}

/* Its answer is over and its job is back. */
static void conclude(struct req *r, bool sent)
{
	if (r->has_job && r->job.token)
		tell_app(r, sent);
	else
		req_free(r);
}

static void req_done(struct mark *m, bool sent)
{
	struct req *r = container_of(m, struct req, mark);
	struct http *http = r->http;

	if (r->hijacked) {
		http->stats.hijacked++;
	} else if (sent) {
		r->times[REQ_T_SENT] = http->now_ns;
		http->stats.status[min(r->status / 100, 5)]++;
		http->stats.bytes_out += r->bytes_out;
	} else {
		http->stats.status[0]++;
	}
	if (http->done)
		http->done(http, r);
	r->ended = true;
	if (r->app != REQ_WITH_APP)
		conclude(r, sent && !r->forsaken);
}

void req_finish(struct req *r, struct outq *q)
{
	r->answered = true;
	r->times[REQ_T_ANSWER] = r->http->now_ns;
	outq_mark(q, &r->mark, req_done);
}

/* The app's answers have no way back any more. */
static void withdraw(struct req *r)
{
	struct answer *lent = req_take_lent(r);

	r->link = NULL;
	if (lent)
		answer_drop(lent);
	if (r->hijack)
		hijack_done(r->hijack, -1, NULL, 0);
	r->hijack = NULL;
	/* Not yet claimed: it comes back dropped. Else the app hears that nobody waits. */
	if (job_cancel(&r->job))
		r->http->nr_withdrawn++;
	else
		job_wake_producer(&r->job);
}

static void leave_submit(struct req *r)
{
	list_del(&r->submit);
	r->http->nr_submit--;
}

void req_forsake(struct req *r)
{
	if (r->app == REQ_WITH_APP) {
		r->forsaken = true;
		withdraw(r);
		return;
	}
	/* It has not got there: it still waited for its turn, or for its body's file. */
	if (!list_empty(&r->submit))
		leave_submit(r);
	r->app = REQ_NOT_FOR_APP;
	r->body_done = false;
}

void req_abort(struct req *r)
{
	if (r->app == REQ_WITH_APP) {
		list_del(&r->order);
		if (!r->forsaken)
			withdraw(r);
		else if (!r->answered)
			r->forsaken = false; /* no memory for that: there is nothing to wait for */
		outq_drop(&r->out);
		return;
	}
	if (r->answered) {
		struct outq q;

		/* Not its turn yet: the mark that ends it waits in its own queue. */
		outq_init(&q, &r->http->out);
		outq_move(&r->out, &q);
		outq_drop(&q);
		return;
	}
	req_done(&r->mark, false);
}

bool req_recall(struct req *r)
{
	if (r->app == REQ_WITH_APP) {
		r->recalled = job_recall(&r->job);
		r->http->nr_withdrawn += r->recalled;
		return r->recalled;
	}
	leave_submit(r);
	return true;
}

void req_submit_again(struct req *r)
{
	__atomic_store_n(&r->job.state, JOB_QUEUED, __ATOMIC_RELAXED);
	r->app = REQ_FOR_APP;
	list_add_tail(&r->submit, &r->http->submit);
	r->http->nr_submit++;
}

void req_move(struct req *r)
{
	list_del(&r->order);
	r->link = NULL;
	r->moved = true;
	if (r->app != REQ_WITH_APP)
		req_free(r);
}

void req_returned(struct req *r)
{
	r->app = REQ_NOT_FOR_APP;
	if (r->job.kind == JOB_SENT || r->moved)
		req_free(r);
	else if (!r->forsaken)
		req_done(&r->mark, false);
	else if (r->ended)
		conclude(r, false);
}

/* Where a view into @head lies in its copy at @copy. */
static struct view moved(struct view v, struct view head, const char *copy)
{
	if (v.p < head.p || v.p > head.p + head.len)
		return v; /* a constant, like the "/" of an absolute-form target without path */
	return (struct view){ copy + (v.p - head.p), v.len };
}

/* Takes note of a header that http->keep or the app's side wants to know. */
static void note_header(struct req *r, const struct header *h)
{
	const struct http *http = r->http;

	switch (h->name.len) {
	case 7:
		if (http->keep & KEEP_REFERER && view_ieq(h->name, VIEW("referer")))
			r->referer = h->value;
		break;
	case 10:
		if (http->keep & KEEP_AGENT && view_ieq(h->name, VIEW("user-agent")))
			r->user_agent = h->value;
		break;
	case 12:
		if (!http->ids || !view_ieq(h->name, VIEW("x-request-id")))
			break;
		/* Of two, who knows which is meant? The app would see a list. */
		r->request_id = r->request_id.p ? VIEW("") : h->value;
		break;
	}
}

/* Every request has one, where there are any. */
static int give_id(struct req *r, bool *made)
{
	char *p;

	*made = r->http->ids && !reqid_sane(r->request_id);
	if (!*made)
		return 0;
	p = arena_alloc(&r->arena, REQID_LEN);
	if (!p)
		return -ENOMEM;
	reqid_next(r->http->ids, p);
	r->request_id = (struct view){ p, REQID_LEN };
	return 0;
}

static int keep_view(struct req *r, struct view *v)
{
	return v->len ? arena_copy(&r->arena, *v, v) : 0;
}

int req_keep(struct req *r, const struct msg *m)
{
	u32 keep = r->http->keep;
	bool made;

	r->method_name = m->method_name;
	r->target = m->target;
	if (keep & (KEEP_ID | KEEP_REFERER | KEEP_AGENT))
		for (u32 i = 0; i < m->nr_headers; i++)
			note_header(r, &m->headers[i]);
	if (!(keep & KEEP_ID))
		r->request_id = VIEW("");
	if (keep_view(r, &r->method_name) || keep_view(r, &r->target) || keep_view(r, &r->referer) ||
	    keep_view(r, &r->user_agent) || keep_view(r, &r->request_id))
		return -ENOMEM;
	return keep & KEEP_ID ? give_id(r, &made) : 0;
}

int req_make_job(struct req *r, const struct msg *m, struct view head, const struct target *target)
{
	struct header *headers = arena_alloc(&r->arena, m->nr_headers * sizeof(*headers));
	char *copy = arena_alloc(&r->arena, head.len);
	struct job *j = &r->job;

	if (!copy || !headers)
		return -ENOMEM;
	memcpy(copy, head.p, head.len);
	r->head = (struct view){ copy, head.len };
	memset(j, 0, offsetof(struct job, route));
	for (u32 i = 0; i < m->nr_headers; i++) {
		headers[i].name = moved(m->headers[i].name, head, copy);
		headers[i].value = moved(m->headers[i].value, head, copy);
		note_header(r, &headers[i]);
		if (!target->authority.len && h1_known_header(headers[i].name) == HDR_HOST)
			j->authority = headers[i].value;
	}
	if (target->authority.len)
		j->authority = moved(target->authority, head, copy);
	j->method = m->method;
	j->version_minor = m->version_minor;
	j->headers = headers;
	j->nr_headers = m->nr_headers;
	j->method_name = r->method_name = moved(m->method_name, head, copy);
	j->target = r->target = moved(m->target, head, copy);
	j->path = moved(target->path, head, copy);
	j->query = moved(target->query, head, copy);
	j->has_query = target->has_query;
	j->body_fd = -1;
	if (give_id(r, &j->request_id_made))
		return -ENOMEM;
	j->request_id = r->request_id;
	j->start_ns = r->times[REQ_T_START];
	r->app = REQ_FOR_APP;
	r->has_job = true;
	return 0;
}

void req_submit(struct req *r)
{
	struct job *j = &r->job;

	j->body = r->body.p;
	j->body_len = r->body.len;
	j->body_fd = body_fd(&r->body);
	r->times[REQ_T_READY] = r->http->now_ns;
	list_add_tail(&r->submit, &r->http->submit);
	r->http->nr_submit++;
}
