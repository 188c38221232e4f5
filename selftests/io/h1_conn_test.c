/* SPDX-License-Identifier: MIT */
/* HTTP/1.1 over connections: slow and vanishing clients, any state, memory that runs out. */
#include "selftests/harness/harness.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selftests/h1_answer.h"
#include "selftests/h1_rules.h"
#include "selftests/io/probe.h"
#include "selftests/io/site.h"

#define GET_BIG "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"
#define BAD "GET / HTTP/1.1\r\nA : b\r\n\r\n"
#define POST_HEAD "POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n"

FIXTURE(conn)
{
	struct site s;
};

FIXTURE_VARIANT(conn)
{
	enum loop_kind kind;
};

VARIANT(conn, uring) = { .kind = LOOP_URING };
VARIANT(conn, epoll) = { .kind = LOOP_EPOLL };

FIXTURE_SETUP(conn)
{
	site_init(&self->s, variant->kind);
}

FIXTURE_TEARDOWN(conn)
{
	site_fini(&self->s);
}

static void write_all(struct site *s, const char *p)
{
	ASSERT_EQ(site_write(s, p, strlen(p)), strlen(p));
}

static struct conn *only_conn(struct site *s)
{
	ASSERT_EQ(s->conns.nr, 1);
	return list_first(&s->conns.all, struct conn, all);
}

/* Requests for much, without reading: until the answers wait in the server. */
static void stuff(struct site *s)
{
	for (u32 i = 0; i < 3000 && site_write(s, GET_BIG, sizeof(GET_BIG) - 1); i++)
		site_turn(s, 0);
	ASSERT_GT(outq_len(&only_conn(s)->link.out), 0);
}

/* How many whole answers of 200 the client has read; fails the case at anything else. */
static u32 nr_answers(const struct site *s)
{
	const char *p = s->out, *end = p + s->out_len;
	struct h1_answer a;
	u32 nr = 0;

	while (p < end && !h1_answer_read(&p, end, false, &a)) {
		EXPECT_EQ(a.status, 200);
		nr++;
	}
	EXPECT_TRUE(p == end);
	return nr;
}

static void expect(struct site *s, struct h1_rule want)
{
	SITE_UNTIL(s, !h1_rule_check(&want, (struct view){ s->out, s->out_len }) || s->out_err ||
			      (s->out_eof && want.closes));
	EXPECT_STREQ(h1_rule_check(&want, (struct view){ s->out, s->out_len }), NULL);
	s->out_len = 0;
}

/* clang-format off */
#define NEXT { .status = 200, .body = H1_NEXT_BODY }
/* clang-format on */
#define EXPECT_NEXT(s) expect(s, (struct h1_rule){ .want = { NEXT } })
#define EXPECT_LAST(s, ...) expect(s, (struct h1_rule){ .closes = true, .want = { __VA_ARGS__ } })

/* A client that asks and does not read is held back, and gets all of it when it does. */
TEST_F(conn, back_pressure)
{
	static const char get_big[] = GET_BIG;
	const size_t len = sizeof(get_big) - 1;
	struct site *s = &self->s;
	u64 asked = 0, in = 0;
	const u32 nr = 4000;
	struct conn *c;

	time_limit(30);
	ASSERT_OK(site_connect(s));
	c = only_conn(s);
	for (int idle = 0; idle < 100 && asked < nr * len;) {
		size_t n = site_write(s, get_big + asked % len, len - asked % len);

		asked += n;
		idle = n ? 0 : idle + 1;
		site_turn(s, 0);
		ASSERT_LT(outq_len(&c->link.out), s->limits.max_out_bytes + H1_BIG_LEN + 1000);
		in = max(in, (u64)c->in_len);
	}
	EXPECT_TRUE(c->link.flags & LINK_PAUSED);
	EXPECT_GE(outq_len(&c->link.out), s->limits.max_out_bytes);
	/* What was received before receiving stopped is kept, and no more. */
	EXPECT_LT(in, MIB);
	while (asked < nr * len) {
		asked += site_write(s, get_big + asked % len, len - asked % len);
		site_turn(s, 0);
		site_read(s);
		ASSERT_EQ(s->out_err, 0);
	}
	SITE_UNTIL(s, s->http.stats.status[2] == nr && s->out_len == s->http.stats.bytes_out);
	EXPECT_EQ(nr_answers(s), nr);
	EXPECT_FALSE(c->link.flags & LINK_PAUSED);
	EXPECT_NULL(c->in);
}

TEST_F(conn, a_client_that_takes_nothing_is_cut)
{
	struct site *s = &self->s;

	ASSERT_OK(site_connect(s));
	stuff(s);
	site_pass(s, s->limits.send_timeout_ms - 2000);
	EXPECT_EQ(s->conns.nr, 1);
	site_pass(s, 3000);
	SITE_UNTIL(s, s->conns.nr == 0);
	EXPECT_GT(s->http.stats.status[0], 0);
}

TEST_F(conn, the_client_vanishes_in_an_answer)
{
	struct site *s = &self->s;

	for (int reset = 0; reset < 2; reset++) {
		ASSERT_OK(site_connect(s));
		stuff(s);
		/* Closing with unread bytes resets, too. */
		site_close_client(s, reset);
		SITE_UNTIL(s, s->conns.nr == 0);
		EXPECT_EQ(s->http.reqs.nr_used, 0);
	}
}

TEST_F(conn, the_client_vanishes_in_a_request)
{
	static const char *const starts[] = {
		"", "G", H1_NEXT, "GET / HTTP/1.1\r\nHost: a\r\n", POST_HEAD, POST_HEAD "abc", BAD
	};
	struct site *s = &self->s;

	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		for (int reset = 0; reset < 2; reset++) {
			ASSERT_OK(site_connect(s));
			write_all(s, starts[i]);
			site_turn(s, 0);
			site_close_client(s, reset);
			SITE_UNTIL(s, s->conns.nr == 0);
		}
	}
}

/* The body is refused by its length, comes all the same, and yet the answer arrives. */
TEST_F(conn, too_large_in_a_flood)
{
	static const char flood[65536];
	struct site *s = &self->s;

	ASSERT_OK(site_connect(s));
	write_all(s, "POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
	for (int i = 0; i < 50; i++) {
		site_write(s, flood, sizeof(flood));
		site_turn(s, 0);
	}
	SITE_UNTIL(s, s->out_eof || s->out_err);
	EXPECT_EQ(s->out_err, 0);
	EXPECT_LAST(s, { .status = 413 });
}

TEST_F(conn, shutdown_lets_the_next_answer_be_the_last)
{
	struct site *s = &self->s;

	ASSERT_OK(site_connect(s));
	write_all(s, H1_NEXT);
	EXPECT_NEXT(s);
	s->http.draining = true;
	conns_shutdown(&s->conns);
	site_turn(s, 0);
	EXPECT_EQ(s->conns.nr, 1);
	write_all(s, H1_NEXT H1_NEXT);
	EXPECT_LAST(s, NEXT);
	SITE_UNTIL(s, s->out_eof);
	EXPECT_EQ(s->out_err, 0);
}

TEST_F(conn, shutdown_ends_idle_ones_in_their_time)
{
	struct site *s = &self->s;

	ASSERT_OK(site_connect(s));
	site_turn(s, 0);
	s->http.draining = true;
	conns_shutdown(&s->conns);
	site_pass(s, s->limits.idle_keepalive_ms - 1000);
	EXPECT_EQ(s->conns.nr, 1);
	site_pass(s, 2000);
	SITE_UNTIL(s, s->conns.nr == 0);
}

TEST_F(conn, closing_all_in_any_state)
{
	static const char *const starts[] = { "", "G", H1_NEXT, POST_HEAD, BAD };
	struct site *s = &self->s;

	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		for (int turns = 0; turns < 3; turns++) {
			ASSERT_OK(site_connect(s));
			write_all(s, starts[i]);
			for (int t = 0; t < turns; t++)
				site_turn(s, 0);
			conns_close(&s->conns);
			conns_close(&s->conns);
			SITE_UNTIL(s, s->conns.nr == 0);
			site_close_client(s, false);
		}
	}
	ASSERT_OK(site_connect(s));
	stuff(s);
	conns_close(&s->conns);
	SITE_UNTIL(s, s->conns.nr == 0);
}

/* An idle connection holds no buffer, whatever was in it before. */
TEST_F(conn, idle_ones_hold_no_memory)
{
	struct site *s = &self->s;

	ASSERT_OK(site_connect(s));
	write_all(s, "GET /next HTT");
	SITE_UNTIL(s, only_conn(s)->in_len == 13);
	write_all(s, "P/1.1\r\nHost: a\r\n\r\n");
	EXPECT_NEXT(s);
	EXPECT_NULL(only_conn(s)->in);
	EXPECT_NULL(only_conn(s)->link.out.head);
	EXPECT_EQ(s->http.reqs.nr_used, 0);
}

struct gift {
	int fd;
	char rest[64];
	size_t len;
};

static void take_gift(void *arg, int fd, const char *rest, size_t len)
{
	struct gift *g = arg;

	g->fd = fd;
	g->len = min(len, sizeof(g->rest));
	memcpy(g->rest, rest, g->len);
}

TEST_F(conn, detached_with_what_was_read)
{
	struct gift g = { .fd = -1 };
	struct site *s = &self->s;
	char buf[8];

	ASSERT_OK(site_connect(s));
	write_all(s, "GET /next HTT");
	SITE_UNTIL(s, only_conn(s)->in_len == 13);
	conn_detach(only_conn(s), take_gift, &g);
	SITE_UNTIL(s, g.fd >= 0);
	EXPECT_EQ(s->conns.nr, 0);
	EXPECT_EQ(g.len, 13);
	EXPECT_MEMEQ(g.rest, "GET /next HTT", 13);
	/* It is an ordinary descriptor again. */
	write_all(s, "more");
	EXPECT_EQ(recv(g.fd, buf, sizeof(buf), 0), 4);
	close(g.fd);
}

/* A talk over a socket in which the n-th allocation fails: it ends, and nothing is left behind. */
struct talk {
	enum loop_kind kind;
	u32 nr_whole, nr_cut;
};

static void talk(void *arg)
{
	static const char in[] = GET_BIG H1_NEXT POST_HEAD;
	struct talk *t = arg;
	struct site s;

	if (!site_try_init(&s, t->kind))
		return;
	if (site_connect(&s) == 0) {
		/* A head in two pieces, so that it is kept in between. */
		site_write(&s, in, 40);
		site_turn(&s, 0);
		site_write(&s, in + 40, sizeof(in) - 41);
		for (int i = 0; i < 200 && s.http.stats.status[2] < 2 && s.conns.nr; i++)
			site_turn(&s, 1);
		site_read(&s);
		if (s.http.stats.status[2] == 2)
			t->nr_whole++;
		else
			t->nr_cut++;
	}
	site_fini(&s);
}

TEST_F(conn, memory_runs_out)
{
	struct talk t = { .kind = variant->kind };
	u64 nr;

	time_limit(60);
	nr = for_each_failing_alloc(talk, &t);
	EXPECT_GT(nr, 30);
	EXPECT_GT(t.nr_cut, 0);
	EXPECT_GT(t.nr_whole, 0);
}
