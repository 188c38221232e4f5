/* SPDX-License-Identifier: MIT */
/* Constant and plain answers, read back as a client does. */
#include "selftests/harness/harness.h"
#include "selftests/h1_answer.h"
#include "server/handler.h"
#include "server/http.h"
#include "server/msg.h"
#include "server/plain.h"

#include <stdlib.h>

#define SECOND 784111777u

FIXTURE(answer)
{
	struct outq_pool pool;
	struct outq q;
	struct date date;
	char *text; /* all that was queued */
	size_t len;
};

FIXTURE_SETUP(answer)
{
	outq_pool_init(&self->pool);
	outq_init(&self->q, &self->pool);
	date_set(&self->date, SECOND);
}

FIXTURE_TEARDOWN(answer)
{
	outq_drop(&self->q);
	outq_pool_fini(&self->pool);
	free(self->text);
}

/* Empties the queue into text; returns in how many pieces it lay. */
static int collect(struct self_answer *self)
{
	struct iovec iov[64];
	bool more;
	int nr = outq_iov(&self->q, iov, 64, &more);

	ASSERT_FALSE(more);
	free(self->text);
	self->text = malloc(outq_len(&self->q) + 1);
	ASSERT_NOT_NULL(self->text);
	self->len = 0;
	for (int i = 0; i < nr; i++) {
		memcpy(self->text + self->len, iov[i].iov_base, iov[i].iov_len);
		self->len += iov[i].iov_len;
	}
	ASSERT_EQ(self->len, outq_len(&self->q));
	outq_sent(&self->q, self->len);
	return nr;
}

/* What was queued is one answer. */
static struct h1_answer read_one(struct self_answer *self, bool head_only)
{
	struct h1_answer a;
	const char *p = self->text;

	ASSERT_STREQ(h1_answer_read(&p, p + self->len, head_only, &a), NULL);
	ASSERT_EQ((u64)(p - self->text), self->len);
	return a;
}

static struct handler *constant(size_t body_len)
{
	char *body = malloc(body_len + 1);
	struct handler *h;

	ASSERT_NOT_NULL(body);
	for (size_t i = 0; i < body_len; i++)
		body[i] = (char)('a' + i % 26);
	h = handler_constant(200, VIEW("text/plain"), VIEW("x-a: b\r\nx-c: d\r\n"),
			     (struct view){ body, body_len });
	free(body);
	ASSERT_NOT_NULL(h);
	return h;
}

/* Every way to answer, with bodies around what is copied and what is referenced. */
TEST_F(answer, all_kinds)
{
	static const size_t lens[] = { 0,    1,    500,  700,  800,  850,  900,   1020,
				       1021, 1022, 1023, 1024, 1025, 5000, 100000 };

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		struct handler *h = constant(lens[i]);

		for (int head_only = 0; head_only < 2; head_only++) {
			for (enum persist p = PERSIST_DEFAULT; p <= PERSIST_CLOSE; p++) {
				struct h1_answer a;
				int nr;

				ASSERT_OK(handler_answer(h, &self->date, &self->q, head_only, p));
				nr = collect(self);
				a = read_one(self, head_only);
				EXPECT_EQ(a.status, 200);
				EXPECT_EQ(a.close, p == PERSIST_CLOSE);
				EXPECT_EQ(a.keep_alive, p == PERSIST_KEEP_ALIVE);
				EXPECT_TRUE(h1_answer_has(
					&a, VIEW("date: Sun, 06 Nov 1994 08:49:37 GMT")));
				EXPECT_TRUE(h1_answer_has(&a, VIEW("x-a: b")));
				EXPECT_TRUE(h1_answer_has(&a, VIEW("x-c: d")));
				EXPECT_EQ(a.body.len, head_only ? 0 : lens[i]);
				for (size_t at = 0; at < a.body.len; at++)
					ASSERT_EQ(a.body.p[at], 'a' + at % 26);
				/* A long body lies in place, with the line end before it. */
				EXPECT_EQ(nr, !head_only && 2 + lens[i] > OUTQ_COPY_MAX ? 2 : 1);
			}
		}
		handler_put(h);
	}
}

TEST_F(answer, the_date_follows_the_clock)
{
	struct handler *h = constant(5000);
	struct h1_answer a;
	const char *p;

	/* Two answers queued in different seconds: each keeps its own. */
	ASSERT_OK(handler_answer(h, &self->date, &self->q, false, PERSIST_DEFAULT));
	date_set(&self->date, SECOND + 1);
	ASSERT_OK(handler_answer(h, &self->date, &self->q, false, PERSIST_DEFAULT));
	date_set(&self->date, SECOND);
	ASSERT_OK(handler_answer(h, &self->date, &self->q, true, PERSIST_DEFAULT));
	collect(self);
	p = self->text;
	ASSERT_STREQ(h1_answer_read(&p, self->text + self->len, false, &a), NULL);
	EXPECT_TRUE(h1_answer_has(&a, VIEW("date: Sun, 06 Nov 1994 08:49:37 GMT")));
	ASSERT_STREQ(h1_answer_read(&p, self->text + self->len, false, &a), NULL);
	EXPECT_TRUE(h1_answer_has(&a, VIEW("date: Sun, 06 Nov 1994 08:49:38 GMT")));
	ASSERT_STREQ(h1_answer_read(&p, self->text + self->len, true, &a), NULL);
	EXPECT_TRUE(h1_answer_has(&a, VIEW("date: Sun, 06 Nov 1994 08:49:37 GMT")));
	handler_put(h);
}

TEST_F(answer, no_content)
{
	struct handler *h =
		handler_constant(204, VIEW("text/plain"), VIEW("x-a: b\r\n"), VIEW("ignored"));
	struct h1_answer a;

	ASSERT_NOT_NULL(h);
	ASSERT_OK(handler_answer(h, &self->date, &self->q, false, PERSIST_DEFAULT));
	collect(self);
	a = read_one(self, false);
	EXPECT_EQ(a.status, 204);
	EXPECT_FALSE(h1_answer_has(&a, VIEW("content-length")));
	EXPECT_FALSE(h1_answer_has(&a, VIEW("content-type")));
	EXPECT_TRUE(h1_answer_has(&a, VIEW("x-a: b")));
	handler_put(h);
}

TEST_F(answer, persist_lines)
{
	EXPECT_VIEW_EQ(persist_line(PERSIST_DEFAULT), "");
	EXPECT_VIEW_EQ(persist_line(PERSIST_KEEP_ALIVE), "connection: keep-alive\r\n");
	EXPECT_VIEW_EQ(persist_line(PERSIST_CLOSE), "connection: close\r\n");
}

TEST_F(answer, plain_of_every_status)
{
	for (int status = 400; status < 600; status++) {
		struct plain plain = { .status = status, .why = "because", .persist = PERSIST_CLOSE };
		struct h1_answer a;

		ASSERT_OK(plain_answer(&plain, &self->date, &self->q));
		EXPECT_EQ(collect(self), 1);
		a = read_one(self, false);
		EXPECT_EQ(a.status, status);
		EXPECT_TRUE(a.close);
		EXPECT_TRUE(h1_answer_has(&a, VIEW("content-type: text/plain")));
		EXPECT_TRUE(memmem(a.body.p, a.body.len, ": because\n", 10) != NULL);
	}
}

/* All that a plain answer can say, at its longest: nothing is cut, nothing overflows. */
TEST_F(answer, plain_at_its_longest)
{
	char why[300];
	struct plain plain = {
		.status = 431,
		.why = why,
		.allow = (1u << NR_METHODS) - 2,
		.retry_after = UINT32_MAX,
		.persist = PERSIST_KEEP_ALIVE,
	};
	struct h1_answer a;

	memset(why, 'w', sizeof(why) - 1);
	why[sizeof(why) - 1] = '\0';
	ASSERT_OK(plain_answer(&plain, &self->date, &self->q));
	collect(self);
	a = read_one(self, false);
	EXPECT_TRUE(h1_answer_has(&a, VIEW("retry-after: 4294967295")));
	EXPECT_TRUE(h1_answer_has(
		&a, VIEW("allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, CONNECT, TRACE")));
	EXPECT_EQ(a.body.p[a.body.len - 1], '\n');
	plain.head_only = true;
	ASSERT_OK(plain_answer(&plain, &self->date, &self->q));
	collect(self);
	read_one(self, true);
}

TEST_F(answer, plain_without_reasons)
{
	struct plain plain = { .status = 404 };
	struct h1_answer a;

	ASSERT_OK(plain_answer(&plain, &self->date, &self->q));
	collect(self);
	a = read_one(self, false);
	EXPECT_VIEW_EQ(a.body, "404 Not Found\n");
	EXPECT_FALSE(h1_answer_has(&a, VIEW("allow")));
	EXPECT_FALSE(h1_answer_has(&a, VIEW("retry-after")));
	EXPECT_FALSE(h1_answer_has(&a, VIEW("connection")));
}

TEST(reasons)
{
	for (int status = 100; status < 600; status++) {
		struct view v = http_reason(status);

		EXPECT_GT(v.len, 1);
		EXPECT_LE(v.len, 32); /* plain_answer() counts on a bound */
	}
	EXPECT_VIEW_EQ(http_reason(200), "OK");
	EXPECT_VIEW_EQ(http_reason(299), "Unknown");
	EXPECT_VIEW_EQ(http_reason(-1), "Unknown");
}

static void build_and_answer(void *arg)
{
	struct handler *h = handler_constant(200, VIEW("a/b"), VIEW(""), VIEW("0123456789"));
	struct plain plain = { .status = 404 };
	struct date date = { 0 };
	struct outq_pool pool;
	struct outq q;

	(void)arg;
	if (!h)
		return;
	date_set(&date, SECOND);
	outq_pool_init(&pool);
	outq_init(&q, &pool);
	for (enum persist p = PERSIST_DEFAULT; p <= PERSIST_CLOSE; p++)
		(void)!handler_answer(h, &date, &q, false, p);
	(void)!plain_answer(&plain, &date, &q);
	outq_drop(&q);
	outq_pool_fini(&pool);
	handler_put(h);
}

TEST(memory_runs_out)
{
	EXPECT_EQ(for_each_failing_alloc(build_and_answer, NULL), 3);
}
