/* SPDX-License-Identifier: MIT */
#include "selftests/io/office.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selftests/harness/harness.h"
#include "selftests/h1_answer.h"
#include "server/h1.h"
#include "server/req.h"

#define MAX_JOBS 256u

static void no_wake(void *arg)
{
	(void)arg; /* it takes its turn anyway */
}

static void request_done(struct http *http, struct req *r)
{
	(void)r;
	container_of(http, struct station, b.http)->nr_done++;
}

static void init_station(struct office *o, u32 i, enum loop_kind kind)
{
	struct station *s = &o->s[i];
	int fds[1 + INBOX_MAX];

	memset(s, 0, sizeof(*s));
	bed_init(&s->b, kind);
	s->b.http.now_ns = o->now_ns;
	wheel_advance(&s->b.wheel, o->now_ns / NSEC_PER_MSEC);
	s->b.http.has_app = true;
	s->b.http.max_waiting = MAX_JOBS;
	s->b.http.done = request_done;
	s->app = aligned_alloc(64, sizeof(*s->app));
	ASSERT_NOT_NULL(s->app);
	ASSERT_OK(app_init(s->app, 1, MAX_JOBS, no_wake, NULL));
	s->stats.maps = o->maps;
	s->stats.row = &o->maps.workers[i];
	s->stats.base = *s->stats.row;
	rebalance_init(&s->rb, i, &s->b.conns, s->app, &s->stats, &h1_proto, 10000);
	fds[0] = fcntl(o->boxes.in[i], F_DUPFD_CLOEXEC, 0);
	for (u32 j = 0; j < o->nr; j++)
		fds[1 + j] = fcntl(o->boxes.to[j], F_DUPFD_CLOEXEC, 0);
	rebalance_open(&s->rb, fds, 1 + o->nr);
	ASSERT_TRUE(s->rb.open);
}

void office_init(struct office *o, enum loop_kind kind, u32 nr)
{
	memset(o, 0, sizeof(*o));
	o->nr = nr;
	o->now_ns = 1000 * NSEC_PER_SEC;
	ASSERT_OK(inboxes_open(&o->boxes, nr));
	o->maps.header = calloc(1, sizeof(*o->maps.header));
	o->maps.workers = calloc(nr, sizeof(*o->maps.workers));
	o->maps.steer = calloc(nr, sizeof(*o->maps.steer));
	ASSERT_TRUE(o->maps.header && o->maps.workers && o->maps.steer);
	o->maps.header->nr_slots = nr;
	for (u32 i = 0; i < nr; i++)
		init_station(o, i, kind);
	office_turn(o);
}

/* What the I/O thread does with the app between two sleeps. */
static void exchange(struct station *s)
{
	struct http *http = &s->b.http;
	struct answer *a;

	while (!list_empty(&http->submit)) {
		struct req *r = list_first(&http->submit, struct req, submit);
		struct job *j = &r->job;

		list_del(&r->submit);
		http->nr_submit--;
		r->app = REQ_WITH_APP;
		ASSERT_EQ(app_submit(s->app, &j, 1, http->now_ns), 1);
	}
	while ((a = app_reap(s->app))) {
		struct req *r = container_of(a->job, struct req, job);

		http->nr_withdrawn -= !!(a->flags & ANSWER_DROPPED);
		if (r->link) {
			struct conn *c = conn_of_link(r->link);

			r->link->proto->answer(r->link, r, a);
			conn_touch(c);
			continue;
		}
		answer_drop(a);
		req_returned(r);
	}
	http->nr_waiting = ring_count(&s->app->jobs);
	http->nr_waiting -= min(http->nr_waiting, http->nr_withdrawn);
	conns_flush(&s->b.conns);
}

static void publish(struct office *o, u32 i)
{
	struct station *s = &o->s[i];
	struct stats_steer *row = &o->maps.steer[i];

	row->state = s->rb.stopped_ns ? STATS_WORKER_DRAINING : STATS_WORKER_SERVING;
	row->kept = s->b.conns.nr;
	row->nr_threads = 1;
	row->running = s->app->nr_running;
	row->running_ns = s->app->running_ns;
	row->waiting = s->b.http.nr_waiting;
	row->waiting_ns = app_waiting_ns(s->app);
}

static void turn_one(struct office *o, u32 i)
{
	struct station *s = &o->s[i];

	if (s->deaf)
		return;
	s->b.http.now_ns = o->now_ns;
	bed_turn(&s->b, 0);
	exchange(s);
	rebalance_turn(&s->rb);
	publish(o, i);
}

void office_turn(struct office *o)
{
	for (u32 n = 0; n < 3; n++)
		for (u32 i = 0; i < o->nr; i++)
			turn_one(o, i);
}

void office_wait(struct office *o, u32 ms)
{
	while (ms--) {
		o->now_ns += NSEC_PER_MSEC;
		office_turn(o);
	}
}

bool station_claim(struct office *o, u32 i)
{
	struct station *s = &o->s[i];

	ASSERT_NULL(s->running);
	s->running = app_next(s->app, o->now_ns);
	return s->running;
}

void station_answer(struct office *o, u32 i)
{
	struct station *s = &o->s[i];
	struct job *j = s->running;

	j->first = (struct answer){
		.job = j,
		.flags = ANSWER_HEAD | ANSWER_DATA | ANSWER_END,
		.status = 200,
		.content_length = 6,
		.head = VIEW("content-type: text/plain\r\n"),
		.data = VIEW("hello\n"),
		.fd = -1,
	};
	j->answered_ns = o->now_ns;
	s->running = NULL;
	ASSERT_OK(app_answer(s->app, &j->first));
	office_turn(o);
}

u32 station_serve(struct office *o, u32 i)
{
	u32 nr = 0;

	for (; station_claim(o, i); nr++)
		station_answer(o, i);
	office_turn(o);
	return nr;
}

int office_connect(struct office *o, u32 i)
{
	int peer = bed_connect(&o->s[i].b, &h1_proto), on = 1;

	/* As a listener gives it to its connections. */
	ASSERT_OK(SYS(setsockopt(bed_conn(&o->s[i].b)->io.fd, IPPROTO_TCP, TCP_NODELAY, &on,
				 sizeof(on))));
	office_turn(o);
	return peer;
}

bool office_got(struct office *o, int peer, u32 nr)
{
	char buf[8192];
	const char *p = buf;
	ssize_t n;

	office_turn(o);
	n = recv(peer, buf, sizeof(buf), MSG_DONTWAIT);
	for (; n > 0 && nr; nr--) {
		struct h1_answer a;

		if (h1_answer_read(&p, buf + n, false, &a) || a.status != 200 || a.body.len != 6)
			return false;
	}
	return !nr && (n < 0 ? errno == EAGAIN : p == buf + n);
}

/* As a process that ends: what is in its loop is closed, what its app has is lost. */
static void fini_station(struct office *o, u32 i)
{
	struct station *s = &o->s[i];

	/* What lies in its inbox is for the next one. */
	wheel_del(&s->b.wheel, &s->rb.look);
	if (!loop_cancel(s->b.l, &s->rb.inbox))
		BED_UNTIL(&s->b, !s->rb.inbox.inflight);
	s->rb.open = false;
	s->deaf = false;
	if (s->running)
		station_answer(o, i);
	s->deaf = true;
	conns_close(&s->b.conns);
	BED_UNTIL(&s->b, s->b.conns.nr == 0u);
	exchange(s);
	while (app_next(s->app, o->now_ns))
		ASSERT_TRUE(false);
	exchange(s);
	EXPECT_EQ(s->rb.nr_leaving, 0);
	EXPECT_EQ(s->b.http.nr_withdrawn, 0);
	EXPECT_EQ(s->b.http.reqs.nr_used, 0);
	bed_fini(&s->b);
	s->rb.open = true;
	rebalance_fini(&s->rb);
	app_fini(s->app);
	free(s->app);
	o->maps.workers[i].inbox = 0;
	o->maps.steer[i] = (struct stats_steer){ 0 };
}

void office_replace(struct office *o, u32 i, enum loop_kind kind)
{
	fini_station(o, i);
	init_station(o, i, kind);
	office_turn(o);
}

void office_fini(struct office *o)
{
	for (u32 i = 0; i < o->nr; i++)
		fini_station(o, i);
	inboxes_close(&o->boxes);
	free(o->maps.header);
	free(o->maps.workers);
	free(o->maps.steer);
}
