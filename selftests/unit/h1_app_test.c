/* SPDX-License-Identifier: MIT */
/*
 * An application behind HTTP/1.1 that answers in any order and in pieces: the
 * client gets every answer, in the order of its requests, or a clean end.
 */
#include "selftests/harness/harness.h"
#include "selftests/h1_answer.h"
#include "selftests/h1_owner.h"
#include "selftests/h1_rules.h"
#include "server/h1_answer.h"
#include "server/log.h"
#include "server/req.h"

#include <stdio.h>
#include <stdlib.h>

#define NR_REQUESTS 120
#define MAX_PIPELINED 7

/* What the application says: an answer with its bytes behind it. */
struct reply {
	struct answer a;
	char bytes[];
};

static u32 nr_replies; /* not yet freed */

static void put_reply(struct hold *h)
{
	nr_replies--;
	free(container_of(h, struct reply, a.hold));
}

/* A job as the application has it. */
struct work {
	struct req *r;
	u64 number; /* of its path */
	u32 next; /* piece of the answer */
};

/* A link, its owner, a client with requests to make, and an application. */
struct stage {
	struct owner o;
	struct rng rng;
	struct work works[NR_REQUESTS];
	u32 nr_works;
	u32 abort_one_in; /* 0 = none */
	u32 wait_one_in; /* 0 = the clock stands */
	bool claims; /* at once */
	char *in;
	size_t in_len;
};

static void no_touch(struct link *l)
{
	(void)l; /* the owner looks after every step */
}

/* "/app/<i>" with a body for some, and constants in between. */
static void write_requests(struct stage *s)
{
	size_t n = 0;

	s->in = malloc(NR_REQUESTS * 200);
	ASSERT_NOT_NULL(s->in);
	for (int i = 0; i < NR_REQUESTS; i++) {
		char *p = s->in + n;

		switch (rng_below(&s->rng, 3)) {
		case 0:
			n += (size_t)sprintf(p, H1_NEXT);
			break;
		case 1:
			n += (size_t)sprintf(p, "GET /app/%d HTTP/1.1\r\nHost: a\r\n\r\n", i);
			break;
		default:
			n += (size_t)sprintf(p,
					     "POST /app/%d HTTP/1.1\r\nHost: a\r\n"
					     "Content-Length: 5\r\n\r\nbody!",
					     i);
		}
	}
	s->in_len = n;
}

static void stage_init(struct stage *s)
{
	*s = (struct stage){ 0 };
	ASSERT_TRUE(owner_init(&s->o));
	rng_init(&s->rng);
	s->o.copy = COPY_TO_HEAP;
	s->o.http.has_app = true;
	s->o.http.max_waiting = 10000;
	s->o.http.touch = no_touch;
	s->o.limits.max_pipelined = MAX_PIPELINED;
	s->claims = true;
	write_requests(s);
}

/* Takes what waits to be submitted. */
static void take_jobs(struct stage *s)
{
	struct http *http = &s->o.http;

	while (!list_empty(&http->submit)) {
		struct req *r = list_first(&http->submit, struct req, submit);
		struct work *w = &s->works[s->nr_works++];

		ASSERT_LE(s->nr_works, NR_REQUESTS);
		list_del(&r->submit);
		http->nr_submit--;
		r->app = REQ_WITH_APP;
		s->o.nr_with_app++;
		*w = (struct work){ .r = r };
		ASSERT_EQ(memcmp(r->job.path.p, "/app/", 5), 0);
		for (size_t i = 5; i < r->job.path.len; i++)
			w->number = w->number * 10 + (u64)(r->job.path.p[i] - '0');
		if (r->job.method == METHOD_POST) {
			ASSERT_EQ(r->job.body_len, 5);
			ASSERT_MEMEQ(r->job.body, "body!", 5);
		} else {
			ASSERT_EQ(r->job.body_len, 0);
		}
		if (s->claims)
			ASSERT_TRUE(job_claim(&r->job));
	}
}

static struct reply *new_reply(struct job *j, u32 flags, const char *text)
{
	size_t len = strlen(text);
	struct reply *reply = calloc(1, sizeof(*reply) + len);

	ASSERT_NOT_NULL(reply);
	memcpy(reply->bytes, text, len);
	reply->a = (struct answer){
		.job = j,
		.hold.put = put_reply,
		.flags = flags,
		.status = 200,
		.content_length = 2000,
		.head = VIEW("content-type: text/plain\r\n"),
		.data = { reply->bytes, flags & ANSWER_DATA ? len : 0 },
	};
	nr_replies++;
	return reply;
}

/* The next piece of an answer: its head, its number as a long line, its end. */
static struct reply *next_piece(struct stage *s, struct work *w)
{
	struct job *j = &w->r->job;
	char text[2001];

	if (!job_claimed(j) && !job_claim(j))
		return new_reply(j, ANSWER_DROPPED, "");
	if (s->abort_one_in && rng_below(&s->rng, s->abort_one_in) == 0)
		return new_reply(j, ANSWER_ABORT, "");
	memset(text, '.', sizeof(text) - 1);
	text[1999] = '\n';
	text[2000] = '\0';
	text[snprintf(text, 1000, "%llu", (unsigned long long)w->number)] = '.';
	switch (w->next++) {
	case 0:
		if (rng_below(&s->rng, 2))
			return new_reply(j, ANSWER_HEAD, "");
		w->next = 3;
		return new_reply(j, ANSWER_HEAD | ANSWER_DATA | ANSWER_END, text);
	case 1:
		if (rng_below(&s->rng, 2)) {
			w->next = 3;
			return new_reply(j, ANSWER_DATA | ANSWER_END, text);
		}
		text[900] = '\0';
		return new_reply(j, ANSWER_DATA, text);
	default:
		return new_reply(j, ANSWER_DATA | ANSWER_END, text + 900);
	}
}

/* The application says something about one of its jobs, as the worker would pass it on. */
static void say_something(struct stage *s)
{
	u32 i = (u32)rng_below(&s->rng, s->nr_works);
	struct work *w = &s->works[i];
	struct reply *reply = next_piece(s, w);
	struct link *l = w->r->link;
	struct req *r = w->r;
	bool last = reply->a.flags & ANSWER_LAST;

	if (last) {
		s->o.nr_with_app--;
		*w = s->works[--s->nr_works];
	}
	if (l) {
		l->proto->answer(l, r, &reply->a);
		owner_flush(&s->o);
		return;
	}
	answer_drop(&reply->a);
	if (last)
		req_returned(r);
}

static void stage_fini(struct stage *s)
{
	u64 nr_begun;

	/* The client goes; what the application still has comes back into nothing. */
	owner_cut(&s->o);
	while (s->nr_works)
		say_something(s);
	EXPECT_EQ(s->o.http.reqs.nr_used, 0);
	EXPECT_EQ(s->o.http.nr_submit, 0);
	EXPECT_EQ(nr_replies, 0);
	/* Every request that was begun has ended once. */
	nr_begun = s->o.http.stats.requests + s->o.http.stats.refused;
	EXPECT_EQ(s->o.nr_done, nr_begun);
	owner_fini(&s->o);
	free(s->in);
}

/* Client and application by turns, at most @steps of them, until neither has more to say. */
static void play(struct stage *s, enum feeding how, u32 steps)
{
	struct owner *o = &s->o;
	struct feed f;
	size_t n = 1, at = 0;

	feed_init(&f, how, s->in_len, &s->rng);
	for (u32 i = 0; i < steps && !o->closed && !has_failed(); i++) {
		o->stopped = rng_below(&s->rng, 3) == 0;
		if (s->wait_one_in && rng_below(&s->rng, s->wait_one_in) == 0)
			owner_wait(o, 100);
		if (n && (rng_below(&s->rng, 2) || !s->nr_works)) {
			n = feed_next(&f);
			owner_feed(o, s->in + at, n);
			at += n;
		} else if (s->nr_works) {
			say_something(s);
		} else {
			o->stopped = false;
		}
		owner_flush(o);
		take_jobs(s);
		/* What is late stays with the application and out of the order. */
		if (!s->wait_one_in)
			ASSERT_LE(s->nr_works, MAX_PIPELINED);
		if (!n && !s->nr_works && !o->pending.len)
			break;
	}
	o->stopped = false;
	owner_flush(o);
	take_jobs(s);
}

/*
 * What came out belongs to the requests in their order; returns how many
 * answers there were. The last may be cut if @may_be_cut.
 */
static u32 check_order(struct stage *s, bool may_be_cut)
{
	const char *p = s->o.out.len ? s->o.out.p : "", *end = p + s->o.out.len, *in = s->in;
	struct h1_answer a;
	u32 nr = 0;

	while (p < end && !has_failed()) {
		const char *wrong = h1_answer_read(&p, end, false, &a), *path;
		char want[24];

		if (wrong && may_be_cut)
			break;
		ASSERT_STREQ(wrong, NULL);
		ASSERT_LT((u64)(in - s->in), s->in_len);
		path = strchr(in, '/');
		if (!strncmp(path, "/next ", 6)) {
			EXPECT_VIEW_EQ(a.body, H1_NEXT_BODY);
		} else if (a.status == 200) {
			snprintf(want, sizeof(want), "%d.", atoi(path + 5));
			EXPECT_EQ(memcmp(a.body.p, want, strlen(want)), 0);
		} else {
			EXPECT_EQ(a.status, a.status == 503 && s->wait_one_in ? 503 : 500);
		}
		nr++;
		/* The next request: behind the empty line and the body. */
		in = strstr(in, "\r\n\r\n") + 4 + (*in == 'P' ? 5 : 0);
	}
	return nr;
}

static void all_in_order(struct stage *s, enum feeding how)
{
	play(s, how, UINT32_MAX);
	EXPECT_FALSE(s->o.closed);
	EXPECT_EQ(s->o.pending.len, 0);
	EXPECT_EQ(check_order(s, false), NR_REQUESTS);
	EXPECT_EQ(s->o.nr_done, NR_REQUESTS);
}

FIXTURE(app)
{
	struct stage s;
};

FIXTURE_SETUP(app)
{
	stage_init(&self->s);
}

FIXTURE_TEARDOWN(app)
{
	stage_fini(&self->s);
}

TEST_F(app, in_order_whole)
{
	all_in_order(&self->s, FEED_WHOLE);
}

TEST_F(app, in_order_byte_by_byte)
{
	all_in_order(&self->s, FEED_BYTES);
}

TEST_F(app, in_order_random_splits)
{
	all_in_order(&self->s, FEED_RANDOM);
}

TEST_F(app, in_order_with_little_room)
{
	self->s.o.limits.max_out_bytes = 1;
	self->s.o.send_max = 100;
	all_in_order(&self->s, FEED_RANDOM);
}

TEST_F(app, in_order_claimed_late)
{
	self->s.claims = false;
	all_in_order(&self->s, FEED_RANDOM);
}

/* An answer that was begun and is given up ends the connection, one that was not is a 500. */
TEST_F(app, some_answers_are_given_up)
{
	self->s.abort_one_in = 20;
	play(&self->s, FEED_RANDOM, UINT32_MAX);
	EXPECT_GT(check_order(&self->s, self->s.o.closed), 0);
}

/*
 * Some take too long: 503 or a cut in their place, at any point between their
 * submission and their last piece, while others come and go.
 */
TEST(the_app_is_late)
{
	u64 nr_late = 0, nr_cut = 0;

	log_level = LOG_LEVEL_ERROR;
	time_limit(30);
	for (u32 i = 0; i < 400 && !has_failed(); i++) {
		struct stage s;

		stage_init(&s);
		s.claims = i % 2;
		s.wait_one_in = 2;
		s.o.limits.max_request_ms = 100 + 100 * (i % 10);
		s.o.limits.idle_keepalive_ms = s.o.limits.read_timeout_ms = 600 * MSEC_PER_SEC;
		rng_init_seed(&s.rng, rng_run_seed() + i);
		play(&s, FEED_WHOLE, i % 3 ? UINT32_MAX : i);
		check_order(&s, s.o.closed || i % 3 == 0);
		nr_late += s.o.http.stats.overtime;
		nr_cut += s.o.closed;
		stage_fini(&s);
	}
	EXPECT_GT(nr_late, 400);
	EXPECT_GT(nr_cut, 20);
}

/* At any step the client goes away; see stage_fini() for what must hold then. */
TEST(the_client_vanishes)
{
	time_limit(30);
	for (u32 i = 0; i < 400 && !has_failed(); i++) {
		struct stage s;

		stage_init(&s);
		s.claims = i % 2;
		s.abort_one_in = i % 3 ? 0 : 10;
		rng_init_seed(&s.rng, rng_run_seed() + i);
		play(&s, FEED_RANDOM, i);
		check_order(&s, true);
		stage_fini(&s);
	}
}

/*
 * It shuts its side down and waits: what the application has begun it still
 * gets, what nobody has begun is given up, and never does an answer take the
 * place of another.
 */
TEST(the_client_finishes_early)
{
	time_limit(30);
	for (u32 i = 0; i < 400 && !has_failed(); i++) {
		struct stage s;

		stage_init(&s);
		s.claims = false;
		rng_init_seed(&s.rng, rng_run_seed() + i);
		play(&s, FEED_RANDOM, 1 + i / 4);
		owner_eof(&s.o);
		take_jobs(&s);
		for (u64 n = rng_below(&s.rng, 4); n && s.nr_works; n--)
			say_something(&s);
		owner_wait(&s.o, 5000);
		for (take_jobs(&s); s.nr_works; take_jobs(&s))
			say_something(&s);
		owner_wait(&s.o, 5000);
		EXPECT_TRUE(s.o.closed);
		check_order(&s, true);
		stage_fini(&s);
	}
}
