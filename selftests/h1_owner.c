/* SPDX-License-Identifier: MIT */
#include "selftests/h1_owner.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "selftests/h1_rules.h"
#include "selftests/harness/guard.h"
#include "server/h1.h"
#include "server/job.h"
#include "server/req.h"
#include "server/route.h"

#define START_NS (1000 * NSEC_PER_SEC)
#define IOV_MAX_PIECES 16

/* Where link, owner and test disagree about the contract. */
#define INSIST(x)                                                                                  \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #x);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static void bytes_add(struct bytes *b, const void *p, size_t len)
{
	if (len > b->room - b->len) {
		b->room = b->room * 2 + len + 4096;
		b->p = realloc(b->p, b->room);
		INSIST(b->p);
	}
	if (len)
		memcpy(b->p + b->len, p, len);
	b->len += len;
}

static void bytes_take(struct bytes *b, size_t len)
{
	b->len -= len;
	if (b->len)
		memmove(b->p, b->p + len, b->len);
}

static void note_done(struct http *http, struct req *r)
{
	struct owner *o = container_of(http, struct owner, http);

	if (o->nr_done < OWNER_NR_DONE)
		o->done[o->nr_done] = (struct owner_done){
			.status = r->status,
			.body_len = r->body_len,
			.bytes_out = r->bytes_out,
			.sent = r->times[REQ_T_SENT] != 0,
		};
	o->nr_done++;
}

bool owner_init(struct owner *o)
{
	*o = (struct owner){ .send_max = SIZE_MAX };
	o->routes = h1_rules_routes();
	if (!o->routes)
		return false;
	h1_rules_set_limits(&o->limits);
	http_init(&o->http, &o->limits, o->routes);
	o->http.now_ns = START_NS;
	o->http.done = note_done;
	date_set(&o->http.date, 784111777);
	o->link = malloc(sizeof(*o->link));
	INSIST(o->link);
	memset(o->link, 0xa5, sizeof(*o->link));
	link_open(o->link, &h1_proto, &o->http);
	INSIST(o->link->deadline_ns > START_NS);
	return true;
}

void owner_cut(struct owner *o)
{
	if (o->closed)
		return;
	o->closed = true;
	link_close(o->link);
	INSIST(outq_empty(&o->link->out));
	/* Nothing of it may be left: every request was given back, but those with the app or on the way. */
	INSIST(o->http.reqs.nr_used == o->nr_with_app + o->http.nr_submit);
}

void owner_fini(struct owner *o)
{
	if (!o->routes)
		return;
	owner_cut(o);
	free(o->link);
	http_fini(&o->http);
	route_table_put(o->routes);
	free(o->pending.p);
	free(o->out.p);
	*o = (struct owner){ 0 };
}

static char *copy_of(const struct owner *o, size_t len)
{
	char *p = o->pending.p;

	if (o->copy == COPY_TO_GUARD)
		return guard_copy(p, len);
	if (o->copy == COPY_NONE)
		return p;
	p = malloc(len);
	INSIST(p);
	return memcpy(p, o->pending.p, len);
}

/* Gives the link what it has not taken. */
static void offer(struct owner *o)
{
	size_t len = o->pending.len, n;
	char *p;

	if (o->closed)
		return;
	o->held = false;
	if (!len)
		return;
	o->held = o->link->flags & LINK_PAUSED;
	if (o->held)
		return;
	p = copy_of(o, len);
	o->nr_inputs++;
	n = o->link->proto->input(o->link, p, len);
	if (o->copy == COPY_TO_GUARD)
		guard_free(p, len);
	else if (o->copy == COPY_TO_HEAP)
		free(p);
	INSIST(n <= len);
	bytes_take(&o->pending, n);
	o->held = o->link->flags & LINK_PAUSED;
	if (o->held) {
		/* Only what will drain or be answered may stop it, or it would be for ever. */
		INSIST(outq_len(&o->link->out) >= o->limits.max_out_bytes || o->nr_with_app ||
		       o->http.nr_submit);
		return;
	}
	/* It may wait for the rest of a head, but not for more than a head. */
	INSIST(o->pending.len <= o->limits.max_header_bytes);
}

size_t owner_send(struct owner *o, size_t max)
{
	struct outq *q = &o->link->out;
	struct iovec iov[IOV_MAX_PIECES];
	size_t n = 0;
	bool more;
	int nr;

	if (o->closed)
		return 0;
	nr = outq_iov(q, iov, IOV_MAX_PIECES, &more);
	INSIST(nr > 0 || outq_len(q) == 0);
	for (int i = 0; i < nr && n < max; i++) {
		size_t len = min(iov[i].iov_len, max - n);

		INSIST(len > 0);
		bytes_add(&o->out, iov[i].iov_base, len);
		n += len;
	}
	o->nr_sends += n > 0;
	INSIST(n <= outq_len(q));
	outq_sent(q, n);
	return n;
}

/* To whom the link has promised the connection: a descriptor that is none, and what it has not read. */
static void give_away(struct owner *o)
{
	struct hijack *h = o->link->hijack;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	INSIST(h && fd >= 0 && o->link->flags & LINK_PAUSED);
	o->link->hijack = NULL;
	o->detached = true;
	owner_cut(o);
	hijack_done(h, fd, o->pending.p, o->pending.len);
}

/* After each event: is there room again, is there input that waits, is it the end? */
static bool go_on(struct owner *o)
{
	struct link *l = o->link;

	if (o->closed)
		return false;
	if (l->flags & LINK_PAUSED && outq_len(&l->out) < o->limits.max_out_bytes) {
		l->proto->output(l);
		INSIST(!(l->flags & LINK_PAUSED) || o->nr_with_app || o->http.nr_submit);
	}
	if (o->held && !(l->flags & LINK_PAUSED)) {
		offer(o);
		return true;
	}
	if (o->eof_waits && !(l->flags & LINK_PAUSED) && !(l->flags & LINK_CLOSE)) {
		o->eof_waits = false;
		l->proto->eof(l);
		INSIST(l->flags & LINK_EOF);
		return true;
	}
	if (l->flags & LINK_DETACH && outq_empty(&l->out))
		give_away(o);
	else if (l->flags & LINK_CLOSE && outq_empty(&l->out))
		owner_cut(o);
	return false;
}

void owner_flush(struct owner *o)
{
	bool again = true;

	while (again && !o->closed) {
		again = false;
		if (!o->stopped)
			while (!outq_empty(&o->link->out))
				owner_send(o, o->send_max);
		again = go_on(o);
	}
}

void owner_feed(struct owner *o, const char *p, size_t len)
{
	if (o->closed)
		return;
	bytes_add(&o->pending, p, len);
	offer(o);
	owner_flush(o);
}

void owner_eof(struct owner *o)
{
	if (o->closed)
		return;
	o->eof_waits = true;
	owner_flush(o);
}

void owner_wait(struct owner *o, u64 ms)
{
	u64 until = o->http.now_ns + ms * NSEC_PER_MSEC, before = 0;

	while (!o->closed && o->link->deadline_ns && o->link->deadline_ns <= until) {
		/* A deadline that has passed has to end or to move. */
		INSIST(o->link->deadline_ns > before);
		before = o->link->deadline_ns;
		o->http.now_ns = max(o->http.now_ns, before);
		o->nr_timeouts++;
		o->link->proto->timeout(o->link);
		owner_flush(o);
	}
	o->http.now_ns = until;
}

void owner_shutdown(struct owner *o)
{
	if (o->closed)
		return;
	o->http.draining = true;
	o->link->proto->shutdown(o->link);
	owner_flush(o);
}
