/* SPDX-License-Identifier: MIT */
/*
 * A connection that goes on in another worker: which may, with which bytes, and
 * that each of its requests is run once, wherever that is.
 */
#include "selftests/h1_answer.h"
#include "selftests/h1_owner.h"
#include "selftests/harness/fail.h"
#include "selftests/harness/harness.h"
#include "selftests/harness/rng.h"
#include "server/parcel.h"
#include "server/req.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_QUEUE 256
#define NR_REQUESTS 300
#define MAX_RUNNING 3

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST5(path) "POST " path " HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nbody!"

/* A worker: the link that it has, and the queue of its app. */
struct side {
	struct owner o;
	struct req *queue[MAX_QUEUE];
	u32 first, end; /* of the queue: what nobody has popped */
	struct req *running[MAX_QUEUE];
	u32 nr_running;
};

struct piece {
	struct answer a;
	char bytes[64];
};

static u32 nr_pieces;

static void no_touch(struct link *l)
{
	(void)l; /* the owner looks after every step */
}

static bool try_to_begin(struct side *s)
{
	*s = (struct side){ 0 };
	if (!owner_init(&s->o))
		return false;
	s->o.copy = COPY_TO_HEAP;
	s->o.http.has_app = true;
	s->o.http.max_waiting = 10000;
	s->o.http.touch = no_touch;
	s->o.limits.max_body_bytes = MIB;
	return true;
}

static void begin(struct side *s)
{
	ASSERT_TRUE(try_to_begin(s));
}

/* What waits to be submitted goes to the app's queue. */
static void hand_over(struct side *s)
{
	struct http *http = &s->o.http;

	while (!list_empty(&http->submit)) {
		struct req *r = list_first(&http->submit, struct req, submit);

		list_del(&r->submit);
		http->nr_submit--;
		r->app = REQ_WITH_APP;
		s->o.nr_with_app++;
		if (s->end == MAX_QUEUE) {
			s->end -= s->first;
			memmove(s->queue, s->queue + s->first, s->end * sizeof(s->queue[0]));
			s->first = 0;
		}
		ASSERT_LT(s->end, MAX_QUEUE);
		s->queue[s->end++] = r;
	}
}

static void feed(struct side *s, const char *text)
{
	owner_feed(&s->o, text, strlen(text));
	hand_over(s);
}

static void put_piece(struct hold *h)
{
	nr_pieces--;
	free(container_of(h, struct piece, a.hold));
}

static void give_back(struct side *s, struct req *r, struct answer *a)
{
	struct link *l = r->link;

	s->o.nr_with_app--;
	if (l) {
		l->proto->answer(l, r, a);
		owner_flush(&s->o);
	} else {
		answer_drop(a);
		req_returned(r);
	}
	hand_over(s);
}

/* The next job that nobody has taken back; the others return. NULL: none is there. */
static struct req *claim(struct side *s)
{
	while (s->first < s->end) {
		struct req *r = s->queue[s->first++];

		if (!r)
			continue;
		if (job_claim(&r->job)) {
			s->running[s->nr_running++] = r;
			return r;
		}
		r->job.first = (struct answer){ .job = &r->job, .flags = ANSWER_DROPPED, .fd = -1 };
		give_back(s, r, &r->job.first);
	}
	return NULL;
}

static void claim_all(struct side *s)
{
	while (claim(s))
		;
}

/* Its path is the answer. */
static void answer(struct side *s, u32 i)
{
	struct req *r = s->running[i];
	struct piece *p = calloc(1, sizeof(*p));
	size_t len = min(r->job.path.len, sizeof(p->bytes));

	memcpy(p->bytes, r->job.path.p, len);
	p->a = (struct answer){
		.job = &r->job,
		.hold.put = put_piece,
		.flags = ANSWER_HEAD | ANSWER_DATA | ANSWER_END,
		.status = 200,
		.content_length = (s64)len,
		.head = VIEW("content-type: text/plain\r\n"),
		.data = { p->bytes, len },
		.fd = -1,
	};
	nr_pieces++;
	s->running[i] = s->running[--s->nr_running];
	give_back(s, r, &p->a);
}

static int pack(struct side *s, struct parcel *p)
{
	if (!outq_empty(&s->o.link->out))
		return -EBUSY;
	return s->o.link->proto->pack(s->o.link, p);
}

/* As conn.c does when the descriptor is out. */
static void leave(struct side *s, struct parcel *p)
{
	ASSERT_TRUE(parcel_add(p, s->o.pending.p, s->o.pending.len));
	s->o.link->proto->packed(s->o.link);
	owner_cut(&s->o);
	ASSERT_TRUE(parcel_valid(p, PARCEL_HEAD_LEN + p->len));
}

static void arrive(struct side *s, const struct parcel *p)
{
	struct owner *o = &s->o;
	size_t n = o->link->proto->unpack(o->link, p);

	ASSERT_LE(n, p->len);
	owner_feed(o, p->bytes + n, p->len - n);
	hand_over(s);
}

static void end(struct side *s)
{
	claim_all(s);
	while (s->nr_running)
		answer(s, 0);
	owner_cut(&s->o);
	EXPECT_EQ(s->o.http.reqs.nr_used, 0);
	EXPECT_EQ(s->o.http.nr_submit, 0);
	EXPECT_EQ(nr_pieces, 0);
	owner_fini(&s->o);
}

FIXTURE(move)
{
	struct side a, b;
	struct parcel p;
	struct rng rng;
};

FIXTURE_SETUP(move)
{
	begin(&self->a);
	begin(&self->b);
	rng_init(&self->rng);
}

FIXTURE_TEARDOWN(move)
{
	end(&self->a);
	end(&self->b);
}

/* The answers to @paths, in this order, and nothing else. */
static void expect_answers(const struct side *s, const char *const *paths)
{
	const char *p = s->o.out.len ? s->o.out.p : "", *out_end = p + s->o.out.len;

	for (; *paths && !has_failed(); paths++) {
		struct h1_answer a;

		ASSERT_STREQ(h1_answer_read(&p, out_end, false, &a), NULL);
		EXPECT_EQ(a.status, 200);
		EXPECT_VIEW_EQ(a.body, *paths);
	}
	EXPECT_EQ(out_end - p, 0);
}

#define EXPECT_ANSWERS(s, ...) expect_answers(s, (const char *const[]){ __VA_ARGS__, NULL })

static void answer_all(struct side *s)
{
	while (claim(s))
		answer(s, 0);
}

/* --- the bytes --- */

static const struct {
	const char *in;
	u32 nr;
	const char *paths[4];
} inputs[] = {
	{ "", 0, { NULL } },
	{ GET("/a"), 1, { "/a" } },
	{ "\r\n" GET("/a"), 1, { "/a" } },
	{ POST5("/b"), 1, { "/b" } },
	{ POST5("/b") GET("/a") "\r\n" POST5("/c"), 3, { "/b", "/a", "/c" } },
	{ GET("/a") "GET /par", 1, { "/a" } },
	{ "GET /odd?q=%00 HTTP/1.0\r\nHost:a\r\nX-A:\t b  \r\nx-a: \xff\r\nConnection: "
	  "Keep-Alive\r\n\r\n",
	  1,
	  { "/odd" } },
	{ "GET http://a/abs HTTP/1.1\r\nHost: a\r\n\r\n", 1, { "/abs" } },
	{ "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 1, { "/last" } },
};

static void same_bytes(u32 i, enum feeding how, struct rng *rng)
{
	const char *in = inputs[i].in;
	size_t len = strlen(in), n, sum = 0;
	struct side a, b;
	struct parcel p;
	struct feed f;

	begin(&a);
	begin(&b);
	feed_init(&f, how, len, rng);
	for (const char *at = in; (n = feed_next(&f)); at += n) {
		owner_feed(&a.o, at, n);
		hand_over(&a);
	}
	ASSERT_OK(pack(&a, &p));
	leave(&a, &p);
	ASSERT_EQ(p.len, len);
	EXPECT_MEMEQ(p.bytes, in, len);
	ASSERT_EQ(p.nr_reqs, inputs[i].nr);
	for (u32 j = 0; j < p.nr_reqs; j++)
		sum += p.reqs[j].len;
	EXPECT_EQ(sum, p.start_ns ? (u64)(strstr(in, "GET /par") - in) : len);
	arrive(&b, &p);
	answer_all(&b);
	expect_answers(&b, inputs[i].paths);
	EXPECT_EQ(a.o.nr_done, 0);
	EXPECT_EQ(b.o.nr_done, inputs[i].nr);
	/* Each was counted once. */
	EXPECT_EQ(a.o.http.stats.requests, inputs[i].nr);
	EXPECT_EQ(b.o.http.stats.requests, 0);
	EXPECT_EQ(b.o.closed, !strncmp(in, "GET /last", 9));
	end(&a);
	end(&b);
}

TEST_F(move, the_same_bytes)
{
	for (u32 i = 0; i < ARRAY_SIZE(inputs) && !has_failed(); i++) {
		same_bytes(i, FEED_WHOLE, &self->rng);
		same_bytes(i, FEED_BYTES, &self->rng);
		for (int n = 0; n < 10; n++)
			same_bytes(i, FEED_RANDOM, &self->rng);
	}
}

/* What it has is given to the other; that one has all of it. */
static void move_over(struct side *from, struct side *to, struct parcel *p)
{
	ASSERT_OK(pack(from, p));
	leave(from, p);
	arrive(to, p);
}

TEST_F(move, before_it_was_handed_over)
{
	struct owner *o = &self->a.o;

	owner_feed(o, GET("/a") GET("/b"), strlen(GET("/a") GET("/b")));
	EXPECT_EQ(o->http.nr_submit, 2);
	move_over(&self->a, &self->b, &self->p);
	EXPECT_EQ(o->http.nr_submit, 0);
	EXPECT_EQ(o->http.reqs.nr_used, 0);
	answer_all(&self->b);
	EXPECT_ANSWERS(&self->b, "/a", "/b");
}

TEST_F(move, it_goes_on_with_what_comes_then)
{
	feed(&self->a, GET("/a") "GET /b HT");
	move_over(&self->a, &self->b, &self->p);
	feed(&self->b, "TP/1.1\r\nHost: a\r\n\r\n");
	answer_all(&self->b);
	feed(&self->b, GET("/c"));
	answer_all(&self->b);
	EXPECT_ANSWERS(&self->b, "/a", "/b", "/c");
}

/* The app learns nothing of what was taken from it. */
TEST_F(move, what_was_taken_is_not_run_here)
{
	feed(&self->a, GET("/a"));
	move_over(&self->a, &self->b, &self->p);
	EXPECT_NULL(claim(&self->a));
	EXPECT_EQ(self->a.o.nr_with_app, 0);
	EXPECT_EQ(self->a.o.http.reqs.nr_used, 0);
	EXPECT_EQ(self->a.o.nr_done, 0);
}

/* --- times --- */

TEST_F(move, its_times_go_along)
{
	struct owner *a = &self->a.o, *b = &self->b.o;
	u64 t0 = a->http.now_ns;
	struct req *r;

	feed(&self->a, "GET /a HTTP/1.1\r\n");
	owner_wait(a, 100);
	feed(&self->a, "Host: a\r\n\r\n");
	owner_wait(a, 100);
	feed(&self->a, "GET ");
	owner_wait(a, 100);
	b->http.now_ns = a->http.now_ns;
	move_over(&self->a, &self->b, &self->p);
	r = claim(&self->b);
	ASSERT_NOT_NULL(r);
	EXPECT_EQ(r->times[REQ_T_START], t0);
	EXPECT_EQ(r->job.start_ns, t0);
	EXPECT_EQ(r->times[REQ_T_READY], t0 + 100 * NSEC_PER_MSEC);
	answer(&self->b, 0);
	/* The head that was begun has what is left of its time. */
	EXPECT_EQ(b->link->deadline_ns,
		  t0 + 200 * NSEC_PER_MSEC + b->limits.read_timeout_ms * NSEC_PER_MSEC);
}

TEST_F(move, an_answer_that_is_late_is_late_there)
{
	self->a.o.limits.max_request_ms = self->b.o.limits.max_request_ms = 500;
	feed(&self->a, GET("/a"));
	owner_wait(&self->a.o, 400);
	self->b.o.http.now_ns = self->a.o.http.now_ns;
	move_over(&self->a, &self->b, &self->p);
	owner_wait(&self->b.o, 99);
	EXPECT_EQ(self->b.o.http.stats.overtime, 0);
	owner_wait(&self->b.o, 1);
	EXPECT_EQ(self->b.o.http.stats.overtime, 1);
}

TEST_F(move, an_idle_one_keeps_its_end)
{
	struct owner *a = &self->a.o, *b = &self->b.o;
	u64 end_ns;

	feed(&self->a, GET("/a"));
	answer_all(&self->a);
	end_ns = a->link->deadline_ns;
	EXPECT_EQ(end_ns, a->http.now_ns + a->limits.idle_keepalive_ms * NSEC_PER_MSEC);
	owner_wait(a, 1000);
	b->http.now_ns = a->http.now_ns;
	move_over(&self->a, &self->b, &self->p);
	EXPECT_EQ(b->link->deadline_ns, end_ns);
}

/* --- which stay --- */

static void expect_stays(struct side *s, int err)
{
	static struct parcel p;

	EXPECT_EQ(pack(s, &p), err);
}

TEST_F(move, not_what_was_begun)
{
	feed(&self->a, GET("/a") GET("/b"));
	ASSERT_NOT_NULL(claim(&self->a));
	expect_stays(&self->a, -EBUSY);
	answer(&self->a, 0);
	/* Now it may. */
	move_over(&self->a, &self->b, &self->p);
	answer_all(&self->b);
	EXPECT_ANSWERS(&self->a, "/a");
	EXPECT_ANSWERS(&self->b, "/b");
}

TEST_F(move, not_when_a_later_one_was_begun)
{
	feed(&self->a, GET("/a") GET("/b"));
	/* Out of turn, as with two threads. */
	ASSERT_TRUE(job_claim(&self->a.queue[1]->job));
	expect_stays(&self->a, -EBUSY);
	EXPECT_TRUE(job_queued(&self->a.queue[0]->job));
	self->a.running[self->a.nr_running++] = self->a.queue[1];
	self->a.end = 1;
	answer(&self->a, 0);
	expect_stays(&self->a, -EBUSY);
	answer_all(&self->a);
	EXPECT_ANSWERS(&self->a, "/a", "/b");
}

/* Between the first look and the swap a thread takes the second: the first is run here, once. */
TEST_F(move, a_thread_that_is_faster)
{
	struct req *first;

	feed(&self->a, GET("/a") GET("/b"));
	first = self->a.queue[0];
	ASSERT_TRUE(req_recall(first));
	ASSERT_TRUE(job_claim(&self->a.queue[1]->job));
	ASSERT_FALSE(req_recall(self->a.queue[1]));
	self->a.running[self->a.nr_running++] = self->a.queue[1];
	self->a.end = 1;
	/* It comes back as dropped and goes there again. */
	EXPECT_EQ(claim(&self->a), first);
	EXPECT_FALSE(job_gone(&first->job));
	answer(&self->a, 1);
	answer(&self->a, 0);
	EXPECT_ANSWERS(&self->a, "/a", "/b");
}

TEST_F(move, not_what_is_being_read)
{
	feed(&self->a, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nbod");
	expect_stays(&self->a, -EBUSY);
	feed(&self->a, "y!");
	move_over(&self->a, &self->b, &self->p);
	EXPECT_EQ(self->p.len, strlen(POST5("/a")));
}

TEST_F(move, not_what_is_not_kept_as_it_came)
{
	feed(&self->a, "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
		       "chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
	expect_stays(&self->a, -EBUSY);
	answer_all(&self->a);
	expect_stays(&self->a, 0);
}

TEST_F(move, not_with_an_answer_on_its_way)
{
	feed(&self->a,
	     "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
	feed(&self->a, "x");
	expect_stays(&self->a, -EBUSY);
	/* Not first: its interim answer waits. */
	feed(&self->b, GET("/a") "POST /b HTTP/1.1\r\nHost: a\r\nExpect: "
				 "100-continue\r\nContent-Length: 1\r\n\r\n");
	feed(&self->b, "x");
	expect_stays(&self->b, -EBUSY);
}

TEST_F(move, not_behind_a_constant_that_waits_for_its_turn)
{
	feed(&self->a, GET("/a") GET("/next") GET("/b"));
	expect_stays(&self->a, -EBUSY);
	ASSERT_NOT_NULL(claim(&self->a));
	answer(&self->a, 0);
	move_over(&self->a, &self->b, &self->p);
	answer_all(&self->b);
	EXPECT_ANSWERS(&self->a, "/a", "next\n");
	EXPECT_ANSWERS(&self->b, "/b");
}

TEST_F(move, not_more_bytes_than_fit)
{
	char head[128], *body = calloc(1, PARCEL_BYTES_MAX);
	int n = snprintf(head, sizeof(head),
			 "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %llu\r\n\r\n",
			 PARCEL_BYTES_MAX - 70);

	ASSERT_NOT_NULL(body);
	feed(&self->a, head);
	owner_feed(&self->a.o, body, PARCEL_BYTES_MAX - 70);
	hand_over(&self->a);
	EXPECT_LT(n, 70);
	feed(&self->a, GET("/b"));
	ASSERT_GT((u64)n + PARCEL_BYTES_MAX - 70 + strlen(GET("/b")), PARCEL_BYTES_MAX);
	expect_stays(&self->a, -EMSGSIZE);
	ASSERT_NOT_NULL(claim(&self->a));
	answer(&self->a, 0);
	expect_stays(&self->a, 0);
	free(body);
}

TEST_F(move, not_more_requests_than_fit)
{
	for (u32 i = 0; i < PARCEL_REQS_MAX + 1; i++)
		feed(&self->a, GET("/a"));
	expect_stays(&self->a, -EMSGSIZE);
	ASSERT_NOT_NULL(claim(&self->a));
	answer(&self->a, 0);
	expect_stays(&self->a, 0);
}

TEST_F(move, not_when_the_client_has_finished)
{
	feed(&self->a, GET("/a"));
	owner_eof(&self->a.o);
	expect_stays(&self->a, -EBUSY);
}

TEST_F(move, not_a_connection_at_its_end)
{
	feed(&self->a, "nonsense\r\n\r\n");
	expect_stays(&self->a, -EBUSY);
	feed(&self->b, GET("/a") "nonsense\r\n\r\n");
	expect_stays(&self->b, -EBUSY);
}

TEST_F(move, not_again_and_again)
{
	static struct side sides[PARCEL_MOVES_MAX + 1];

	for (u32 i = 0; i <= PARCEL_MOVES_MAX; i++)
		begin(&sides[i]);
	feed(&sides[0], GET("/a"));
	for (u32 i = 0; i < PARCEL_MOVES_MAX; i++) {
		move_over(&sides[i], &sides[i + 1], &self->p);
		EXPECT_EQ(self->p.moves, i + 1);
	}
	expect_stays(&sides[PARCEL_MOVES_MAX], -ELOOP);
	/* An answer that has left begins anew. */
	answer_all(&sides[PARCEL_MOVES_MAX]);
	feed(&sides[PARCEL_MOVES_MAX], GET("/b"));
	expect_stays(&sides[PARCEL_MOVES_MAX], 0);
	for (u32 i = 0; i <= PARCEL_MOVES_MAX; i++)
		end(&sides[i]);
}

/* --- the client goes meanwhile --- */

TEST_F(move, reset_on_its_way_out)
{
	feed(&self->a, GET("/a") POST5("/b"));
	ASSERT_OK(pack(&self->a, &self->p));
	/* One of them comes back before. */
	EXPECT_NULL(claim(&self->a));
	owner_cut(&self->a.o);
	EXPECT_EQ(self->a.o.nr_done, 2);
	EXPECT_EQ(self->a.o.http.stats.status[0], 2);
	EXPECT_EQ(self->a.o.http.reqs.nr_used, 0);
}

TEST_F(move, reset_before_the_app_gives_back)
{
	feed(&self->a, GET("/a") POST5("/b"));
	ASSERT_OK(pack(&self->a, &self->p));
	owner_cut(&self->a.o);
	EXPECT_NULL(claim(&self->a));
	EXPECT_EQ(self->a.o.nr_done, 2);
	EXPECT_EQ(self->a.o.http.reqs.nr_used, 0);
}

TEST_F(move, given_back_before_it_is_out)
{
	feed(&self->a, GET("/a") POST5("/b"));
	ASSERT_OK(pack(&self->a, &self->p));
	EXPECT_NULL(claim(&self->a));
	EXPECT_EQ(self->a.o.http.nr_submit, 0);
	leave(&self->a, &self->p);
	EXPECT_EQ(self->a.o.http.reqs.nr_used, 0);
	arrive(&self->b, &self->p);
	answer_all(&self->b);
	EXPECT_ANSWERS(&self->b, "/a", "/b");
}

/* --- a packet that is none --- */

TEST(parcel_is_checked)
{
	struct parcel p = { .nr_reqs = 2, .len = 10, .reqs = { { .len = 4 }, { .len = 6 } } };

	EXPECT_TRUE(parcel_valid(&p, PARCEL_HEAD_LEN + 10));
	EXPECT_FALSE(parcel_valid(&p, PARCEL_HEAD_LEN + 9));
	EXPECT_FALSE(parcel_valid(&p, PARCEL_HEAD_LEN - 1));
	EXPECT_FALSE(parcel_valid(&p, 0));
	p.reqs[1].len = 7;
	EXPECT_FALSE(parcel_valid(&p, PARCEL_HEAD_LEN + 10));
	p.reqs[1].len = UINT32_MAX;
	EXPECT_FALSE(parcel_valid(&p, PARCEL_HEAD_LEN + 10));
	p.nr_reqs = PARCEL_REQS_MAX + 1;
	EXPECT_FALSE(parcel_valid(&p, PARCEL_HEAD_LEN + 10));
}

/* --- memory --- */

static void move_once(void *arg)
{
	struct parcel *p = arg;
	struct side b;

	if (!try_to_begin(&b))
		return;
	arrive(&b, p);
	answer_all(&b);
	end(&b);
}

TEST_F(move, arrives_without_memory)
{
	feed(&self->a, GET("/a") POST5("/b") "GET /c");
	ASSERT_OK(pack(&self->a, &self->p));
	leave(&self->a, &self->p);
	move_once(&self->p);
	EXPECT_GT(for_each_failing_alloc(move_once, &self->p), 1);
}

/* --- a thread of the app takes at the same time --- */

struct thief {
	struct job *jobs[2];
	bool took[2];
	u32 round, saw, done; /* __atomic */
};

#define NR_RACES 600u

static void spin_for(u32 n)
{
	while (n--)
		__asm__ volatile("" ::: "memory");
}

/* Side by side, where there are two CPUs. */
static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void wait_for(const u32 *word, u32 value)
{
	for (u32 spin = 1; __atomic_load_n(word, __ATOMIC_ACQUIRE) != value; spin++)
		if (spin % 4096 == 0)
			sched_yield();
}

static void *thief_thread(void *arg)
{
	struct thief *t = arg;

	pin(1);
	for (u32 i = 1; i <= NR_RACES; i++) {
		wait_for(&t->round, i);
		__atomic_store_n(&t->saw, i, __ATOMIC_RELEASE);
		spin_for(i * 7 % 2048);
		/* Most often in their order, sometimes the later one alone. */
		t->took[0] = i % 3 && job_claim(t->jobs[0]);
		t->took[1] = job_claim(t->jobs[1]);
		__atomic_store_n(&t->done, i, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* What the thief has not got comes back from the queue, and is run then if it did not move. */
static void race_once(struct side *a, struct side *b, struct thief *t, u32 round, u32 *nr_moved)
{
	struct side *last = a;
	struct parcel p;
	int err;

	begin(a);
	begin(b);
	feed(a, GET("/a") GET("/b"));
	for (int i = 0; i < 2; i++)
		t->jobs[i] = &a->queue[i]->job;
	__atomic_store_n(&t->round, round, __ATOMIC_RELEASE);
	wait_for(&t->saw, round);
	spin_for(round % 512);
	err = pack(a, &p);
	wait_for(&t->done, round);
	if (err) {
		EXPECT_EQ(err, -EBUSY);
	} else {
		EXPECT_FALSE(t->took[0] || t->took[1]);
		leave(a, &p);
		arrive(b, &p);
		last = b;
		++*nr_moved;
	}
	for (int i = 0; i < 2; i++) {
		if (!t->took[i])
			continue;
		a->running[a->nr_running++] = a->queue[i];
		a->queue[i] = NULL;
	}
	claim_all(a);
	while (a->nr_running)
		answer(a, a->nr_running - 1);
	answer_all(b);
	EXPECT_ANSWERS(last, "/a", "/b");
	end(a);
	end(b);
}

TEST(a_thread_takes_at_the_same_time)
{
	static struct side a, b;
	struct thief t = { .round = 0 };
	pthread_t thread;
	u32 nr_moved = 0;

	pin(0);
	ASSERT_OK(-pthread_create(&thread, NULL, thief_thread, &t));
	for (u32 i = 1; i <= NR_RACES && !has_failed(); i++)
		race_once(&a, &b, &t, i, &nr_moved);
	NOTE("%u of %u moved", nr_moved, NR_RACES);
	if (!has_failed())
		pthread_join(thread, NULL);
}

/* --- a long conversation --- */

struct journey {
	struct rng rng;
	struct side *now, *before; /* what was taken from its queue returns there */
	char *in;
	size_t in_len, in_at;
	char *out;
	size_t out_len;
	u32 nr_moves, runs[NR_REQUESTS];
};

static void write_requests(struct journey *j)
{
	j->in = malloc(NR_REQUESTS * 100);
	j->out = malloc(NR_REQUESTS * 1000);
	ASSERT_TRUE(j->in && j->out);
	for (u32 i = 0; i < NR_REQUESTS; i++) {
		const char *how = rng_below(&j->rng, 2) ? GET("/r%u") : POST5("/r%u");

		j->in_len += (size_t)sprintf(j->in + j->in_len, how, i);
	}
}

static void one_side_less(struct side **s)
{
	if (!*s)
		return;
	end(*s);
	free(*s);
	*s = NULL;
}

static void keep_output(struct journey *j)
{
	if (j->now->o.out.len)
		memcpy(j->out + j->out_len, j->now->o.out.p, j->now->o.out.len);
	j->out_len += j->now->o.out.len;
}

static void try_to_move(struct journey *j)
{
	struct side *to;
	struct parcel p;

	if (pack(j->now, &p))
		return;
	to = malloc(sizeof(*to));
	ASSERT_NOT_NULL(to);
	begin(to);
	leave(j->now, &p);
	p.moves = 0;
	arrive(to, &p);
	keep_output(j);
	one_side_less(&j->before);
	j->before = j->now;
	j->now = to;
	j->nr_moves++;
}

/* "/r17": 17 */
static u32 number_of(struct view path)
{
	u32 n = 0;

	for (size_t i = 2; i < path.len; i++)
		n = n * 10 + (u32)(path.p[i] - '0');
	return n % NR_REQUESTS;
}

static void one_step(struct journey *j, u32 max_piece)
{
	struct side *s = j->now;
	struct req *r;
	size_t n;

	switch (rng_below(&j->rng, 5)) {
	case 0:
		if (s->o.nr_with_app > PARCEL_REQS_MAX)
			break;
		n = min(1 + rng_below(&j->rng, max_piece), j->in_len - j->in_at);
		owner_feed(&s->o, j->in + j->in_at, n);
		hand_over(s);
		j->in_at += n;
		break;
	case 1:
		if (s->nr_running < MAX_RUNNING && (r = claim(s)))
			j->runs[number_of(r->job.path)]++;
		break;
	case 2:
		if (s->nr_running)
			answer(s, (u32)rng_below(&j->rng, s->nr_running));
		break;
	case 3:
		if (j->before && rng_below(&j->rng, 4) == 0)
			EXPECT_NULL(claim(j->before));
		break;
	default:
		try_to_move(j);
	}
}

static void expect_each_once(const struct journey *j)
{
	const char *p = j->out;

	for (u32 i = 0; i < NR_REQUESTS && !has_failed(); i++) {
		struct h1_answer a;
		char want[16];

		snprintf(want, sizeof(want), "/r%u", i);
		ASSERT_STREQ(h1_answer_read(&p, j->out + j->out_len, false, &a), NULL);
		EXPECT_VIEW_EQ(a.body, want);
		EXPECT_EQ(j->runs[i], 1);
	}
	EXPECT_EQ(j->out + j->out_len - p, 0);
}

static void travel(u32 max_piece)
{
	struct journey j = { .nr_moves = 0 };

	rng_init(&j.rng);
	write_requests(&j);
	j.now = malloc(sizeof(*j.now));
	ASSERT_NOT_NULL(j.now);
	begin(j.now);
	for (u32 i = 0; i < 500000 && !has_failed(); i++) {
		one_step(&j, max_piece);
		if (j.in_at == j.in_len && !j.now->nr_running && j.now->first == j.now->end)
			break;
	}
	keep_output(&j);
	one_side_less(&j.before);
	one_side_less(&j.now);
	expect_each_once(&j);
	EXPECT_GT(j.nr_moves, 20);
	free(j.in);
	free(j.out);
}

TEST(each_is_run_once_byte_by_byte)
{
	travel(1);
}

TEST(each_is_run_once_random_splits)
{
	travel(100);
}
