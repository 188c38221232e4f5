/* SPDX-License-Identifier: MIT */
/*
 * An application that takes too much at a time, or too long for it: 503 in its
 * place, in the order of the requests, and its own answer goes nowhere.
 */
#include "selftests/harness/fail.h"
#include "selftests/harness/harness.h"
#include "selftests/h1_answer.h"
#include "selftests/h1_owner.h"
#include "selftests/h1_rules.h"
#include "server/h1_answer.h"
#include "server/log.h"
#include "server/req.h"

#include <stdlib.h>

#define MAX_WORKS 8
#define MAX_REQUEST_MS 2000u

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define HEAD_DATA (ANSWER_HEAD | ANSWER_DATA)
#define WHOLE (HEAD_DATA | ANSWER_END)

static u32 nr_answers; /* not yet freed */

struct piece {
	struct answer a;
	char bytes[64];
};

static void put_piece(struct hold *h)
{
	nr_answers--;
	free(container_of(h, struct piece, a.hold));
}

/* The link, and what the application has, as it came. */
struct stage {
	struct owner o;
	struct req *works[MAX_WORKS];
	u32 nr_works;
	u32 nr_refused_late; /* counted as a request and as refused */
	const char *at; /* in what came out: behind the answers already looked at */
};

FIXTURE(in_flight)
{
	struct stage s;
};

static void no_touch(struct link *l)
{
	(void)l; /* the owner looks after every step */
}

FIXTURE_SETUP(in_flight)
{
	struct owner *o = &self->s.o;

	ASSERT_TRUE(owner_init(o));
	o->copy = COPY_TO_HEAP;
	o->http.has_app = true;
	o->http.max_waiting = 10000;
	o->http.touch = no_touch;
	log_level = LOG_LEVEL_ERROR;
}

/* What waits to be submitted goes to the application. */
static void take(struct stage *self)
{
	struct http *http = &self->o.http;

	while (!list_empty(&http->submit)) {
		struct req *r = list_first(&http->submit, struct req, submit);

		ASSERT_LT(self->nr_works, MAX_WORKS);
		list_del(&r->submit);
		http->nr_submit--;
		r->app = REQ_WITH_APP;
		self->o.nr_with_app++;
		self->works[self->nr_works++] = r;
	}
}

static void ask(struct stage *self, const char *text)
{
	owner_feed(&self->o, text, strlen(text));
	take(self);
}

static struct piece *new_piece(struct job *j, u32 flags, const char *text)
{
	struct piece *p = calloc(1, sizeof(*p));

	ASSERT_NOT_NULL(p);
	strcpy(p->bytes, text);
	p->a = (struct answer){
		.job = j,
		.hold.put = put_piece,
		.flags = flags,
		.status = 200,
		.content_length = flags & ANSWER_END ? (s64)strlen(text) : LENGTH_UNKNOWN,
		.head = VIEW("content-type: text/plain\r\n"),
		.data = { p->bytes, strlen(text) },
	};
	nr_answers++;
	return p;
}

/* The application says something about its @i-th job, as the worker would pass it on. */
static void say(struct stage *self, u32 i, u32 flags, const char *text)
{
	struct req *r = self->works[i];
	struct piece *p = new_piece(&r->job, flags, text);
	struct link *l = r->link;
	bool last = flags & ANSWER_LAST;

	if (last) {
		self->o.nr_with_app--;
		self->works[i] = NULL;
	}
	if (l) {
		l->proto->answer(l, r, &p->a);
		owner_flush(&self->o);
		take(self);
		return;
	}
	answer_drop(&p->a);
	if (last)
		req_returned(r);
}

/* The next answer that came out. */
static struct h1_answer next(struct stage *self)
{
	const struct bytes *out = &self->o.out;
	struct h1_answer a = { 0 };

	if (!self->at)
		self->at = out->p;
	EXPECT_STREQ(h1_answer_read(&self->at, out->p + out->len, false, &a), NULL);
	return a;
}

#define EXPECT_NOTHING_MORE(self) EXPECT_EQ((self)->at, (self)->o.out.p + (self)->o.out.len)

static void expect_503(struct stage *self)
{
	struct h1_answer a = next(self);

	EXPECT_EQ(a.status, 503);
	EXPECT_TRUE(h1_answer_has(&a, VIEW("retry-after: 1")));
	EXPECT_FALSE(a.close);
}

FIXTURE_TEARDOWN(in_flight)
{
	owner_cut(&self->s.o);
	for (u32 i = 0; i < self->s.nr_works; i++)
		if (self->s.works[i])
			say(&self->s, i,
			    job_claimed(&self->s.works[i]->job) ? ANSWER_ABORT : ANSWER_DROPPED, "");
	EXPECT_EQ(self->s.o.http.reqs.nr_used, 0);
	EXPECT_EQ(self->s.o.http.nr_submit, 0);
	EXPECT_EQ(nr_answers, 0);
	EXPECT_EQ(self->s.o.nr_done + self->s.nr_refused_late,
		  self->s.o.http.stats.requests + self->s.o.http.stats.refused);
	owner_fini(&self->s.o);
}

/* --- how many at a time --- */

TEST_F(in_flight, one_more_than_the_cap)
{
	self->s.o.limits.max_in_flight = 2;
	ask(&self->s, GET("/a") GET("/b") GET("/c") GET("/d"));
	EXPECT_EQ(self->s.nr_works, 2);
	EXPECT_EQ(self->s.o.http.stats.per_conn_rejections, 2);
	EXPECT_EQ(self->s.o.out.len, 0); /* theirs come first */
	say(&self->s, 0, WHOLE, "a");
	EXPECT_VIEW_EQ(next(&self->s).body, "a");
	EXPECT_NOTHING_MORE(&self->s);
	say(&self->s, 1, WHOLE, "b");
	EXPECT_VIEW_EQ(next(&self->s).body, "b");
	expect_503(&self->s);
	expect_503(&self->s);
	EXPECT_NOTHING_MORE(&self->s);
	EXPECT_FALSE(self->s.o.closed);
}

TEST_F(in_flight, an_answer_makes_room)
{
	self->s.o.limits.max_in_flight = 1;
	for (u32 i = 0; i < 4; i++) {
		ask(&self->s, GET("/a"));
		ASSERT_EQ(self->s.nr_works, i + 1);
		say(&self->s, i, WHOLE, "a");
		EXPECT_EQ(next(&self->s).status, 200);
	}
	EXPECT_EQ(self->s.o.http.stats.per_conn_rejections, 0);
}

TEST_F(in_flight, constants_do_not_count)
{
	self->s.o.limits.max_in_flight = 1;
	ask(&self->s, GET("/a") H1_NEXT H1_NEXT);
	say(&self->s, 0, WHOLE, "a");
	EXPECT_EQ(next(&self->s).status, 200);
	EXPECT_VIEW_EQ(next(&self->s).body, H1_NEXT_BODY);
	EXPECT_VIEW_EQ(next(&self->s).body, H1_NEXT_BODY);
	ask(&self->s, H1_NEXT GET("/b"));
	EXPECT_EQ(self->s.nr_works, 2);
	EXPECT_EQ(self->s.o.http.stats.per_conn_rejections, 0);
}

TEST_F(in_flight, without_a_cap_all_go)
{
	ask(&self->s, GET("/a") GET("/b") GET("/c") GET("/d"));
	EXPECT_EQ(self->s.nr_works, 4);
	EXPECT_EQ(self->s.o.http.stats.per_conn_rejections, 0);
}

TEST_F(in_flight, too_many_that_wait)
{
	self->s.o.http.max_waiting = 1;
	owner_feed(&self->s.o, GET("/a") GET("/b"), 2 * strlen(GET("/a")));
	take(&self->s);
	EXPECT_EQ(self->s.nr_works, 1);
	EXPECT_EQ(self->s.o.http.stats.pending_rejections, 1);
	say(&self->s, 0, WHOLE, "a");
	EXPECT_EQ(next(&self->s).status, 200);
	expect_503(&self->s);
}

/* --- how long --- */

/* Claimed, as all that the application says something about. */
static void ask_limited(struct stage *self, const char *text)
{
	self->o.limits.max_request_ms = MAX_REQUEST_MS;
	self->o.limits.idle_keepalive_ms = 60 * MSEC_PER_SEC;
	ask(self, text);
	for (u32 i = 0; i < self->nr_works; i++)
		if (self->works[i])
			job_claim(&self->works[i]->job);
}

TEST_F(in_flight, on_the_millisecond)
{
	ask_limited(&self->s, GET("/a"));
	owner_wait(&self->s.o, MAX_REQUEST_MS - 1);
	EXPECT_EQ(self->s.o.out.len, 0);
	EXPECT_FALSE(job_gone(&self->s.works[0]->job));
	owner_wait(&self->s.o, 1);
	expect_503(&self->s);
	EXPECT_TRUE(job_gone(&self->s.works[0]->job));
	EXPECT_EQ(self->s.o.http.stats.overtime, 1);
	EXPECT_EQ(self->s.o.nr_done, 1);
	EXPECT_TRUE(self->s.o.done[0].sent);
	EXPECT_EQ(self->s.o.done[0].status, 503);
	/* What it says now nobody hears, and the connection goes on. */
	say(&self->s, 0, ANSWER_HEAD | ANSWER_DATA, "late");
	say(&self->s, 0, ANSWER_DATA | ANSWER_END, "later");
	EXPECT_NOTHING_MORE(&self->s);
	EXPECT_EQ(self->s.o.nr_done, 1);
	EXPECT_EQ(self->s.o.http.reqs.nr_used, 0);
	ask(&self->s, H1_NEXT);
	EXPECT_VIEW_EQ(next(&self->s).body, H1_NEXT_BODY);
}

TEST_F(in_flight, in_time)
{
	ask_limited(&self->s, GET("/a"));
	owner_wait(&self->s.o, MAX_REQUEST_MS - 1);
	say(&self->s, 0, WHOLE, "a");
	EXPECT_EQ(next(&self->s).status, 200);
	owner_wait(&self->s.o, MAX_REQUEST_MS);
	EXPECT_EQ(self->s.o.http.stats.overtime, 0);
	EXPECT_FALSE(self->s.o.closed);
}

/* Nobody has begun it: it comes back unused. */
TEST_F(in_flight, still_queued)
{
	self->s.o.limits.max_request_ms = MAX_REQUEST_MS;
	ask(&self->s, GET("/a"));
	owner_wait(&self->s.o, MAX_REQUEST_MS);
	expect_503(&self->s);
	EXPECT_FALSE(job_claim(&self->s.works[0]->job));
	say(&self->s, 0, ANSWER_DROPPED, "");
	EXPECT_NOTHING_MORE(&self->s);
	EXPECT_EQ(self->s.o.http.reqs.nr_used, 0);
}

/* The application has no room for it yet. */
TEST_F(in_flight, not_yet_submitted)
{
	struct http *http = &self->s.o.http;

	self->s.o.limits.max_request_ms = MAX_REQUEST_MS;
	owner_feed(&self->s.o, GET("/a"), strlen(GET("/a")));
	EXPECT_EQ(http->nr_submit, 1);
	owner_wait(&self->s.o, MAX_REQUEST_MS);
	expect_503(&self->s);
	EXPECT_EQ(http->nr_submit, 0);
	EXPECT_TRUE(list_empty(&http->submit));
	EXPECT_EQ(http->reqs.nr_used, 0);
}

TEST_F(in_flight, a_begun_answer_is_cut)
{
	ask_limited(&self->s, GET("/a") GET("/b"));
	say(&self->s, 0, HEAD_DATA, "begin");
	owner_wait(&self->s.o, MAX_REQUEST_MS);
	EXPECT_TRUE(self->s.o.closed);
	EXPECT_TRUE(job_gone(&self->s.works[0]->job));
	EXPECT_EQ(self->s.o.http.stats.overtime, 1);
	/* A chunked body without its end. */
	EXPECT_VIEW_EQ(((struct view){ self->s.o.out.p + self->s.o.out.len - 10, 10 }),
		       "5\r\nbegin\r\n");
	say(&self->s, 0, ANSWER_DATA | ANSWER_END, "end");
}

TEST_F(in_flight, each_has_its_own_time)
{
	ask_limited(&self->s, GET("/a"));
	owner_wait(&self->s.o, 1000);
	ask_limited(&self->s, GET("/b"));
	owner_wait(&self->s.o, 1000);
	expect_503(&self->s);
	EXPECT_NOTHING_MORE(&self->s);
	owner_wait(&self->s.o, 999);
	say(&self->s, 1, WHOLE, "b");
	EXPECT_VIEW_EQ(next(&self->s).body, "b");
	EXPECT_EQ(self->s.o.http.stats.overtime, 1);
}

/* Those behind it have waited for their turn as long, and are complete. */
TEST_F(in_flight, answers_behind_it_follow)
{
	ask_limited(&self->s, GET("/a") GET("/b") GET("/c"));
	say(&self->s, 1, WHOLE, "b");
	EXPECT_EQ(self->s.o.out.len, 0);
	owner_wait(&self->s.o, MAX_REQUEST_MS);
	expect_503(&self->s);
	EXPECT_VIEW_EQ(next(&self->s).body, "b");
	expect_503(&self->s);
	EXPECT_EQ(self->s.o.http.stats.overtime, 2);
	EXPECT_FALSE(self->s.o.closed);
}

/* It is answered; that a client is slow to take it is another limit's business. */
TEST_F(in_flight, a_client_that_does_not_read)
{
	ask_limited(&self->s, GET("/a"));
	self->s.o.stopped = true;
	say(&self->s, 0, WHOLE, "a");
	owner_wait(&self->s.o, MAX_REQUEST_MS);
	EXPECT_EQ(self->s.o.http.stats.overtime, 0);
	EXPECT_FALSE(self->s.o.closed);
	self->s.o.stopped = false;
	owner_flush(&self->s.o);
	EXPECT_EQ(next(&self->s).status, 200);
}

/* The job comes back while the 503 is still on its way. */
TEST_F(in_flight, returned_before_the_503_left)
{
	ask_limited(&self->s, GET("/a"));
	self->s.o.stopped = true;
	owner_wait(&self->s.o, MAX_REQUEST_MS);
	EXPECT_EQ(self->s.o.nr_done, 0);
	say(&self->s, 0, WHOLE, "late");
	EXPECT_EQ(self->s.o.http.reqs.nr_used, 1);
	self->s.o.stopped = false;
	owner_flush(&self->s.o);
	expect_503(&self->s);
	EXPECT_EQ(self->s.o.nr_done, 1);
	EXPECT_EQ(self->s.o.http.reqs.nr_used, 0);
}

TEST_F(in_flight, the_client_goes_before_the_503_left)
{
	ask_limited(&self->s, GET("/a") GET("/b"));
	self->s.o.stopped = true;
	owner_wait(&self->s.o, MAX_REQUEST_MS);
	owner_cut(&self->s.o);
	EXPECT_EQ(self->s.o.nr_done, 2);
	EXPECT_FALSE(self->s.o.done[0].sent);
	EXPECT_EQ(self->s.o.http.reqs.nr_used, 2);
}

TEST_F(in_flight, a_slow_body_is_the_clients_fault)
{
	self->s.o.limits.max_request_ms = MAX_REQUEST_MS;
	ask(&self->s, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx");
	owner_wait(&self->s.o, MAX_REQUEST_MS);
	EXPECT_EQ(next(&self->s).status, 408);
	EXPECT_TRUE(self->s.o.closed);
	EXPECT_EQ(self->s.o.http.stats.overtime, 0);
	self->s.nr_refused_late = 1;
}

/* Both are due at once: the app's time for the first, the client's for the second. */
TEST_F(in_flight, beside_a_slow_head)
{
	ask_limited(&self->s, GET("/a") "GET /b");
	owner_wait(&self->s.o, MAX_REQUEST_MS + 1);
	expect_503(&self->s);
	EXPECT_EQ(next(&self->s).status, 408);
	EXPECT_TRUE(self->s.o.closed);
}

TEST_F(in_flight, the_server_stops)
{
	struct h1_answer a;

	ask_limited(&self->s, GET("/a"));
	owner_shutdown(&self->s.o);
	owner_wait(&self->s.o, MAX_REQUEST_MS);
	a = next(&self->s);
	EXPECT_EQ(a.status, 503);
	EXPECT_TRUE(a.close);
	EXPECT_TRUE(self->s.o.closed);
}

/* No memory for the 503: the connection ends, nothing is lost. */
TEST_F(in_flight, no_memory)
{
	ask_limited(&self->s, GET("/a") GET("/b"));
	fail_nth_alloc(1);
	owner_wait(&self->s.o, MAX_REQUEST_MS);
	fail_nth_alloc(0);
	EXPECT_TRUE(self->s.o.closed);
	EXPECT_EQ(self->s.o.out.len, 0);
	EXPECT_EQ(self->s.o.http.reqs.nr_used, 2); /* until the application gives them back */
}
