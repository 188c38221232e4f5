/* SPDX-License-Identifier: MIT */
/* Where exactly the limits of HTTP/1.1 lie: the last byte, the last millisecond. */
#include "selftests/harness/harness.h"
#include "selftests/h1_owner.h"
#include "selftests/h1_rules.h"
#include "server/req.h"

#include <stdio.h>
#include <stdlib.h>

#define POST_HEAD "POST /post HTTP/1.1\r\nHost: a\r\n"

FIXTURE(limits)
{
	struct owner o;
};

FIXTURE_SETUP(limits)
{
	ASSERT_TRUE(owner_init(&self->o));
}

FIXTURE_TEARDOWN(limits)
{
	owner_fini(&self->o);
}

static void feed(struct owner *o, const char *s)
{
	owner_feed(o, s, strlen(s));
}

/* All that came out since the last call are these answers. */
static void expect(struct owner *o, struct h1_rule want)
{
	EXPECT_STREQ(h1_rule_check(&want, (struct view){ o->out.p, o->out.len }), NULL);
	EXPECT_EQ(o->closed, want.closes);
	o->out.len = 0;
}

#define EXPECT_OPEN(o, ...) expect(o, (struct h1_rule){ .want = { __VA_ARGS__ } })
#define EXPECT_CLOSED(o, ...) expect(o, (struct h1_rule){ .closes = true, .want = { __VA_ARGS__ } })
/* clang-format off */
#define NEXT { .status = 200, .body = H1_NEXT_BODY }
#define POSTED { .status = 200, .body = "posted\n" }
/* clang-format on */

/* A head of @len bytes, in pieces of each kind. */
static void try_head(size_t len, bool fits)
{
	static const char start[] = "GET /next HTTP/1.1\r\nHost: a\r\nA: ";
	char *buf = malloc(len);
	struct rng rng;

	ASSERT_NOT_NULL(buf);
	memset(buf, 'b', len);
	memcpy(buf, start, sizeof(start) - 1);
	memcpy(buf + len - 4, "\r\n\r\n", 4);
	rng_init(&rng);
	for (enum feeding how = FEED_WHOLE; how <= FEED_RANDOM; how++) {
		struct owner o;
		struct feed f;
		size_t n, at = 0;

		ASSERT_TRUE(owner_init(&o));
		feed_init(&f, how, len, &rng);
		for (; (n = feed_next(&f)); at += n)
			owner_feed(&o, buf + at, n);
		if (fits)
			EXPECT_OPEN(&o, NEXT);
		else
			EXPECT_CLOSED(&o, { .status = 431 });
		owner_fini(&o);
	}
	free(buf);
}

TEST(head_of_exactly_the_limit)
{
	try_head(2048, true);
}

TEST(head_one_byte_longer)
{
	try_head(2049, false);
}

TEST_F(limits, head_long_beside_pipelined_ones)
{
	struct owner *o = &self->o;
	char many[100 * sizeof(H1_NEXT)], *p = many;

	/* Together far beyond the limit of one head. */
	for (int i = 0; i < 100; i++)
		p = mempcpy(p, H1_NEXT, sizeof(H1_NEXT) - 1);
	owner_feed(o, many, (size_t)(p - many));
	expect(o, (struct h1_rule){ .nr_repeat = 100, .want = { NEXT } });
}

TEST_F(limits, slow_head_ends_on_the_millisecond)
{
	struct owner *o = &self->o;

	feed(o, "GET /ne");
	owner_wait(o, o->limits.read_timeout_ms - 1);
	EXPECT_OPEN(o, { .status = 0 });
	owner_wait(o, 1);
	EXPECT_CLOSED(o, { .status = 408 });
}

TEST_F(limits, slow_head_is_not_helped_by_more_bytes)
{
	struct owner *o = &self->o;
	const char *p = H1_NEXT;

	for (int i = 0; i < 29; i++) {
		owner_feed(o, p + i, 1);
		owner_wait(o, 1000);
	}
	EXPECT_OPEN(o, { .status = 0 });
	feed(o, "x");
	owner_wait(o, 1000);
	EXPECT_CLOSED(o, { .status = 408 });
}

TEST_F(limits, slow_head_within_the_limit)
{
	struct owner *o = &self->o;

	feed(o, "GET /next HTTP/1.1\r\nHo");
	owner_wait(o, o->limits.read_timeout_ms - 1);
	feed(o, "st: a\r\n\r\n");
	EXPECT_OPEN(o, NEXT);
}

TEST_F(limits, head_counts_from_its_own_first_byte)
{
	struct owner *o = &self->o;

	feed(o, H1_NEXT "G");
	EXPECT_OPEN(o, NEXT);
	owner_wait(o, o->limits.read_timeout_ms - 1);
	feed(o, "ET /next HTTP/1.1\r\nHost: a\r\n\r\nG");
	EXPECT_OPEN(o, NEXT);
	owner_wait(o, o->limits.read_timeout_ms - 1);
	EXPECT_OPEN(o, { .status = 0 });
	owner_wait(o, 1);
	EXPECT_CLOSED(o, { .status = 408 });
}

TEST_F(limits, slow_body_ends_on_the_millisecond)
{
	struct owner *o = &self->o;

	feed(o, POST_HEAD "Content-Length: 5\r\n\r\nab");
	owner_wait(o, o->limits.read_timeout_ms - 1);
	EXPECT_OPEN(o, { .status = 0 });
	owner_wait(o, 1);
	EXPECT_CLOSED(o, { .status = 408 });
}

TEST_F(limits, each_piece_of_a_body_gives_it_more_time)
{
	struct owner *o = &self->o;

	o->limits.max_request_read_ms = 10 * o->limits.read_timeout_ms;
	feed(o, POST_HEAD "Content-Length: 5\r\n\r\n");
	for (int i = 0; i < 5; i++) {
		owner_wait(o, o->limits.read_timeout_ms - 1);
		EXPECT_OPEN(o, { .status = 0 });
		feed(o, "x");
	}
	EXPECT_OPEN(o, POSTED);
}

TEST_F(limits, a_request_has_a_total)
{
	struct owner *o = &self->o;

	feed(o, POST_HEAD "Transfer-Encoding: chunked\r\n");
	owner_wait(o, 20 * MSEC_PER_SEC);
	feed(o, "\r\n");
	for (int i = 0; i < 39; i++) {
		feed(o, "1\r\nx\r\n");
		owner_wait(o, 1000);
	}
	feed(o, "1\r\nx\r\n");
	owner_wait(o, 999);
	EXPECT_OPEN(o, { .status = 0 });
	owner_wait(o, 1);
	EXPECT_CLOSED(o, { .status = 408 });
}

TEST_F(limits, the_total_counts_for_a_head_too)
{
	struct owner *o = &self->o;

	o->limits.max_request_read_ms = 1000;
	feed(o, "GET /next HTTP/1.1\r\n");
	owner_wait(o, 999);
	EXPECT_OPEN(o, { .status = 0 });
	owner_wait(o, 1);
	EXPECT_CLOSED(o, { .status = 408 });
}

TEST_F(limits, idle_closes_without_a_word)
{
	struct owner *o = &self->o;

	feed(o, H1_NEXT);
	EXPECT_OPEN(o, NEXT);
	owner_wait(o, o->limits.idle_keepalive_ms - 1);
	EXPECT_OPEN(o, { .status = 0 });
	owner_wait(o, 1);
	EXPECT_CLOSED(o, { .status = 0 });
}

TEST_F(limits, a_new_connection_has_longer)
{
	struct owner *o = &self->o;

	owner_wait(o, o->limits.read_timeout_ms - 1);
	EXPECT_OPEN(o, { .status = 0 });
	owner_wait(o, 1);
	EXPECT_CLOSED(o, { .status = 0 });
}

TEST_F(limits, a_first_byte_ends_idleness)
{
	struct owner *o = &self->o;

	feed(o, H1_NEXT);
	owner_wait(o, o->limits.idle_keepalive_ms - 1);
	feed(o, "G");
	owner_wait(o, o->limits.read_timeout_ms - 1);
	feed(o, "ET /next HTTP/1.1\r\nHost: a\r\n\r\n");
	expect(o, (struct h1_rule){ .want = { NEXT, NEXT } });
}

/* While the peer takes its answer, only send_timeout_ms (the owner's) may end it. */
TEST_F(limits, slow_reader_is_not_idle)
{
	struct owner *o = &self->o;

	o->stopped = true;
	feed(o, H1_NEXT);
	owner_wait(o, 10 * o->limits.idle_keepalive_ms);
	EXPECT_FALSE(o->link->flags & LINK_CLOSE);
	o->stopped = false;
	owner_flush(o);
	feed(o, H1_NEXT);
	EXPECT_OPEN(o, NEXT, NEXT);
	owner_wait(o, o->limits.idle_keepalive_ms);
	EXPECT_CLOSED(o, { .status = 0 });
}

TEST_F(limits, shutdown_ends_with_the_next_answer)
{
	struct owner *o = &self->o;

	feed(o, H1_NEXT);
	EXPECT_OPEN(o, NEXT);
	owner_shutdown(o);
	EXPECT_OPEN(o, { .status = 0 });
	feed(o, H1_NEXT H1_NEXT);
	EXPECT_CLOSED(o, NEXT);
}

TEST_F(limits, shutdown_finishes_what_was_begun)
{
	struct owner *o = &self->o;

	feed(o, POST_HEAD "Content-Length: 5\r\n\r\nab");
	owner_shutdown(o);
	EXPECT_OPEN(o, { .status = 0 });
	feed(o, "cde");
	EXPECT_CLOSED(o, POSTED);
}

TEST_F(limits, shutdown_of_an_idle_link_takes_its_deadline)
{
	struct owner *o = &self->o;

	owner_shutdown(o);
	owner_wait(o, o->limits.read_timeout_ms);
	EXPECT_CLOSED(o, { .status = 0 });
}
