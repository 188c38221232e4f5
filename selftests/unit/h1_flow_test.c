/* SPDX-License-Identifier: MIT */
/* How bytes flow through an HTTP/1.1 link: pauses, pieces, ends, and what is counted. */
#include "selftests/harness/harness.h"
#include "selftests/h1_answer.h"
#include "selftests/h1_owner.h"
#include "selftests/h1_rules.h"
#include "server/req.h"
#include "server/route.h"

#include <stdio.h>
#include <stdlib.h>

#define GET_BIG "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"
#define HEAD_BIG "HEAD /big HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST_FIVE "POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde"

FIXTURE(flow)
{
	struct owner o;
	struct rng rng;
};

FIXTURE_SETUP(flow)
{
	ASSERT_TRUE(owner_init(&self->o));
	rng_init(&self->rng);
}

FIXTURE_TEARDOWN(flow)
{
	owner_fini(&self->o);
}

/* @nr times @one. */
static char *repeat(const char *one, u32 nr, size_t *len)
{
	struct h1_rule rule = { .fill = one, .nr_fill = nr };

	return h1_rule_input(&rule, len);
}

/* How many answers of status 200 are in @out, and nothing else; -1 = something else. */
static int count_answers(struct view out)
{
	const char *p = out.p, *end = p + out.len;
	struct h1_answer a;
	int nr = 0;

	while (p < end) {
		const char *wrong = h1_answer_read(&p, end, false, &a);

		if (wrong || a.status != 200) {
			NOTE("answer %d: %s", nr + 1, wrong ? wrong : "not 200");
			return -1;
		}
		nr++;
	}
	return nr;
}

static struct view out_of(const struct owner *o)
{
	return (struct view){ o->out.p, o->out.len };
}

TEST_F(flow, answers_of_one_receive_are_one_piece)
{
	struct owner *o = &self->o;
	struct iovec iov[8];
	bool more;
	size_t len;
	char *in = repeat(H1_NEXT, 16, &len);

	o->stopped = true;
	owner_feed(o, in, len);
	EXPECT_EQ(outq_iov(&o->link->out, iov, 8, &more), 1);
	EXPECT_FALSE(more);
	EXPECT_EQ(iov[0].iov_len, outq_len(&o->link->out));
	EXPECT_EQ(o->nr_inputs, 1);
	o->stopped = false;
	owner_flush(o);
	EXPECT_EQ(o->nr_sends, 1);
	EXPECT_EQ(count_answers(out_of(o)), 16);
	free(in);
}

/* Whatever stops the input, all is answered in the end, and the queue stays bounded. */
static void pause_and_go(struct self_flow *self, enum feeding how)
{
	const u32 nr = 60;
	size_t len, n, at = 0;
	char *in = repeat(GET_BIG, nr, &len);
	struct owner *o = &self->o;
	struct feed f;

	o->limits.max_out_bytes = 3 * H1_BIG_LEN;
	o->stopped = true;
	feed_init(&f, how, len, &self->rng);
	for (; (n = feed_next(&f)); at += n)
		owner_feed(o, in + at, n);
	EXPECT_TRUE(o->link->flags & LINK_PAUSED);
	EXPECT_GE(outq_len(&o->link->out), 3 * H1_BIG_LEN);
	EXPECT_LT(outq_len(&o->link->out), 4 * H1_BIG_LEN + 1000);
	EXPECT_EQ(o->nr_done, 0);
	o->send_max = 1 + rng_below(&self->rng, 3000);
	o->stopped = false;
	owner_flush(o);
	EXPECT_FALSE(o->link->flags & LINK_PAUSED);
	EXPECT_EQ(o->pending.len, 0);
	EXPECT_EQ(count_answers(out_of(o)), nr);
	EXPECT_EQ(o->nr_done, nr);
	free(in);
}

TEST_F(flow, pause_whole)
{
	pause_and_go(self, FEED_WHOLE);
}

TEST_F(flow, pause_byte_by_byte)
{
	pause_and_go(self, FEED_BYTES);
}

TEST_F(flow, pause_random_splits)
{
	pause_and_go(self, FEED_RANDOM);
}

TEST_F(flow, pause_in_a_body)
{
	static const char in[] = "POST /post HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
				 "Content-Length: 2\r\n\r\nab";
	struct owner *o = &self->o;

	o->limits.max_out_bytes = 10;
	o->stopped = true;
	/* The interim answer alone fills the queue. */
	owner_feed(o, in, sizeof(in) - 1);
	EXPECT_TRUE(o->link->flags & LINK_PAUSED);
	EXPECT_EQ(o->pending.len, 2);
	o->stopped = false;
	owner_flush(o);
	EXPECT_EQ(o->pending.len, 0);
	EXPECT_EQ(o->nr_done, 1);
	EXPECT_EQ(o->done[0].body_len, 2);
}

TEST_F(flow, eof_waits_until_all_is_taken)
{
	struct owner *o = &self->o;
	size_t len;
	char *in = repeat(GET_BIG, 10, &len);

	o->limits.max_out_bytes = 1;
	o->stopped = true;
	owner_feed(o, in, len);
	owner_eof(o);
	o->stopped = false;
	owner_flush(o);
	EXPECT_TRUE(o->closed);
	EXPECT_EQ(count_answers(out_of(o)), 10);
	free(in);
}

/* The peer goes away after @cut bytes of the answers: each request ends once, as it should. */
static u64 cut_at(const char *in, size_t len, size_t cut, const u64 *ends, u32 nr)
{
	struct owner o;
	u64 nr_sent = 0, nr_whole = 0, total;

	ASSERT_TRUE(owner_init(&o));
	o.stopped = true;
	owner_feed(&o, in, len);
	total = outq_len(&o.link->out);
	for (size_t left = cut, n; left && (n = owner_send(&o, left)); left -= n)
		;
	for (u32 i = 0; i < nr; i++)
		nr_whole += ends[i] <= cut;
	EXPECT_EQ(o.nr_done, nr_whole);
	link_close(o.link);
	o.closed = true;
	EXPECT_EQ(o.nr_done, nr);
	for (u32 i = 0; i < nr; i++)
		nr_sent += o.done[i].sent;
	EXPECT_EQ(nr_sent, nr_whole);
	EXPECT_EQ(o.http.stats.status[2], nr_whole);
	EXPECT_EQ(o.http.stats.status[0], nr - nr_whole);
	EXPECT_EQ(o.http.reqs.nr_used, 0);
	owner_fini(&o);
	return total;
}

TEST_F(flow, every_request_ends_once)
{
	static const char in[] = H1_NEXT POST_FIVE H1_NEXT HEAD_BIG H1_NEXT;
	const u32 nr = 5;
	u64 ends[5], at = 0, total;
	struct owner *o = &self->o;

	owner_feed(o, in, sizeof(in) - 1);
	ASSERT_EQ(o->nr_done, nr);
	for (u32 i = 0; i < nr; i++)
		ends[i] = at += o->done[i].bytes_out;
	EXPECT_EQ(at, o->out.len);
	EXPECT_EQ(o->http.stats.bytes_out, o->out.len);
	total = cut_at(in, sizeof(in) - 1, 0, ends, nr);
	EXPECT_EQ(total, at);
	for (size_t cut = 1; cut <= total && !has_failed(); cut++)
		cut_at(in, sizeof(in) - 1, cut, ends, nr);
}

TEST_F(flow, ten_thousand_requests)
{
	static const char *const kinds[] = { H1_NEXT, GET_BIG, POST_FIVE };
	struct owner *o = &self->o;
	u64 nr = 0;

	time_limit(30);
	o->copy = COPY_NONE;
	while (nr < 10000 && !has_failed()) {
		u32 batch = 1 + (u32)rng_below(&self->rng, 20);
		size_t len, n, at = 0;
		char *in = repeat(kinds[rng_below(&self->rng, 3)], batch, &len);
		struct feed f;

		feed_init(&f, FEED_RANDOM, len, &self->rng);
		for (; (n = feed_next(&f)); at += n)
			owner_feed(o, in + at, n);
		EXPECT_EQ(count_answers(out_of(o)), batch);
		o->out.len = 0;
		nr += batch;
		free(in);
	}
	EXPECT_EQ(o->nr_done, nr);
	EXPECT_EQ(o->http.stats.requests, nr);
	EXPECT_EQ(o->http.reqs.nr_used, 0);
	EXPECT_FALSE(o->closed);
}

TEST_F(flow, what_is_counted)
{
	static const char in[] = H1_NEXT "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
					 "PUT / HTTP/1.1\r\nHost: a\r\n\r\n" H1_NEXT "G\r\n\r\n";
	struct owner *o = &self->o;
	const struct http_stats *stats = &o->http.stats;

	owner_feed(o, in, sizeof(in) - 1);
	EXPECT_EQ(stats->requests, 4);
	EXPECT_EQ(stats->refused, 1);
	EXPECT_EQ(stats->status[2], 2);
	EXPECT_EQ(stats->status[4], 3);
	EXPECT_EQ(stats->status[0], 0);
	EXPECT_EQ(stats->bytes_out, o->out.len);
	EXPECT_EQ(o->nr_done, 5);
}

struct note {
	struct owner *o;
	char line[128];
	u64 times[NR_REQ_TIMES];
	const struct route *route;
};

static struct note note; /* http->done has no place for a pointer of ours */

static void note_views(struct http *http, struct req *r)
{
	(void)http;
	snprintf(note.line, sizeof(note.line), "%.*s %.*s %u %u", (int)r->method_name.len,
		 r->method_name.p, (int)r->target.len, r->target.p, r->version_minor, r->status);
	memcpy(note.times, r->times, sizeof(note.times));
	note.route = r->route;
}

TEST_F(flow, what_the_log_is_given)
{
	struct owner *o = &self->o;
	u64 start = o->http.now_ns;

	o->http.done = note_views;
	o->http.keep = ~0u;
	o->stopped = true;
	owner_feed(o, "M-X /put?a HTTP/1.0\r\nContent-Length: 1\r\n", 40);
	owner_wait(o, 10);
	owner_feed(o, "\r\n", 2);
	owner_wait(o, 20);
	owner_feed(o, "x", 1);
	owner_wait(o, 30);
	o->stopped = false;
	owner_flush(o);
	EXPECT_STREQ(note.line, "M-X /put?a 0 405");
	EXPECT_NULL(note.route);
	EXPECT_EQ(note.times[REQ_T_START], start);
	EXPECT_EQ(note.times[REQ_T_HEAD], start + 10 * NSEC_PER_MSEC);
	EXPECT_EQ(note.times[REQ_T_READY], start + 30 * NSEC_PER_MSEC);
	EXPECT_EQ(note.times[REQ_T_ANSWER], start + 30 * NSEC_PER_MSEC);
	EXPECT_EQ(note.times[REQ_T_SENT], start + 60 * NSEC_PER_MSEC);
}

TEST_F(flow, the_date_is_that_of_the_clock)
{
	struct owner *o = &self->o;
	struct h1_rule want = { .want = { { .status = 200,
					    .has = "date: Sun, 06 Nov 1994 08:49:38 GMT" } } };

	owner_feed(o, H1_NEXT, sizeof(H1_NEXT) - 1);
	o->out.len = 0;
	date_set(&o->http.date, 784111778);
	owner_feed(o, H1_NEXT, sizeof(H1_NEXT) - 1);
	EXPECT_STREQ(h1_rule_check(&want, out_of(o)), NULL);
}
