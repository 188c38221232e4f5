/* SPDX-License-Identifier: MIT */
#include "server/req.h"

#include "server/fail.h"
#include "server/http.h"

struct req *req_new(struct http *http, struct link *link)
{
	struct req *r = fail_alloc() ? NULL : slab_alloc(&http->reqs);

	if (!r)
		return NULL;
	*r = (struct req){ .http = http, .link = link };
	list_init(&r->order);
	outq_init(&r->out, &http->out);
	arena_init(&r->arena, &http->arenas);
	r->times[REQ_T_START] = http->now_ns;
	return r;
}

static void req_free(struct req *r)
{
	struct http *http = r->http;

	list_del(&r->order);
	outq_drop(&r->out);
	arena_reset(&r->arena);
	slab_free(&http->reqs, r);
}

static void req_done(struct mark *m, bool sent)
{
	struct req *r = container_of(m, struct req, mark);
	struct http *http = r->http;

	if (sent) {
		r->times[REQ_T_SENT] = http->now_ns;
		http->stats.status[min(r->status / 100, 5)]++;
		http->stats.bytes_out += r->bytes_out;
	} else {
		http->stats.status[0]++;
	}
	if (http->done)
		http->done(http, r);
	req_free(r);
}

void req_finish(struct req *r, struct outq *q)
{
	r->answered = true;
	r->times[REQ_T_ANSWER] = r->http->now_ns;
	outq_mark(q, &r->mark, req_done);
}

void req_abort(struct req *r)
{
	req_done(&r->mark, false);
}
