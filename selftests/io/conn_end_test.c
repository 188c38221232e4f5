/* SPDX-License-Identifier: MIT */
/* Connections: given away and cut in every state, and memory that runs out. */
#include <malloc.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selftests/harness/harness.h"
#include "selftests/io/conn_bed.h"
#include "server/h1.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET_BIG "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"

FIXTURE(end)
{
	struct bed b;
	struct rng rng;
	char *buf;
	int before; /* descriptors */
};
FIXTURE_VARIANT(end)
{
	enum loop_kind kind;
};
VARIANT(end, uring) = { .kind = LOOP_URING };
VARIANT(end, epoll) = { .kind = LOOP_EPOLL };

#define BUF_LEN (1 * MIB)

FIXTURE_SETUP(end)
{
	rng_init(&self->rng);
	self->buf = malloc(BUF_LEN);
	ASSERT_NOT_NULL(self->buf);
	rng_fill(&self->rng, self->buf, BUF_LEN);
	self->before = nr_open_fds();
	bed_init(&self->b, variant->kind);
}

FIXTURE_TEARDOWN(end)
{
	bed_fini(&self->b);
	EXPECT_EQ(nr_open_fds(), self->before);
	free(self->buf);
}

/* --- given away --- */

struct gift {
	u32 nr;
	int fd;
	char *rest;
	size_t len;
};

static void take_gift(void *arg, int fd, const char *rest, size_t len)
{
	struct gift *g = arg;

	g->nr++;
	g->fd = fd;
	g->len = len;
	if (len) {
		g->rest = malloc(len);
		ASSERT_NOT_NULL(g->rest);
		memcpy(g->rest, rest, len);
	}
}

/*
 * The descriptor is open and out of the loop. What the protocol took, what was
 * handed over and what is still in the socket are together what was sent.
 */
static void check_gift(struct bed *b, struct gift *g, int peer, const char *sent, size_t len)
{
	size_t taken = b->in_len, n;
	char *rest = malloc(len + 100);

	ASSERT_NOT_NULL(rest);
	EXPECT_EQ(g->nr, 1);
	ASSERT_GE(g->fd, 0);
	EXPECT_EQ(b->conns.nr, 0);
	EXPECT_EQ(b->nr_close, 1);
	EXPECT_MEMEQ(b->in, sent, taken);
	ASSERT_LE(taken + g->len, len);
	EXPECT_MEMEQ(g->rest, sent + taken, g->len);
	/* Nobody else reads from it. */
	ASSERT_EQ(send(peer, "and more", 8, MSG_NOSIGNAL), 8);
	bed_settle(b);
	n = read_now(g->fd, rest, len + 100);
	ASSERT_EQ(taken + g->len + n, len + 8);
	EXPECT_MEMEQ(rest, sent + taken + g->len, n - 8);
	EXPECT_MEMEQ(rest + n - 8, "and more", 8);
	ASSERT_EQ(send(g->fd, "bye", 3, MSG_NOSIGNAL), 3);
	EXPECT_EQ(recv(peer, rest, 100, 0), 3);
	close(g->fd);
	close(peer);
	free(g->rest);
	free(rest);
}

TEST_F(end, detached_idle)
{
	int peer = bed_connect(&self->b, &bed_proto);
	struct gift g = { 0 };

	bed_settle(&self->b);
	conn_detach(bed_conn(&self->b), take_gift, &g);
	BED_UNTIL(&self->b, g.nr);
	check_gift(&self->b, &g, peer, "", 0);
}

/* The first bytes of what the next owner speaks are there already. */
TEST_F(end, detached_with_bytes_kept)
{
	struct gift g = { 0 };
	int peer;

	self->b.take_max = 10;
	peer = bed_connect(&self->b, &bed_proto);
	ASSERT_EQ(send(peer, self->buf, 5000, 0), 5000);
	BED_UNTIL(&self->b, self->b.in_len == 10u);
	bed_settle(&self->b);
	EXPECT_EQ(bed_conn(&self->b)->in_len, 4990);
	conn_detach(bed_conn(&self->b), take_gift, &g);
	BED_UNTIL(&self->b, g.nr);
	EXPECT_EQ(g.len, 4990);
	check_gift(&self->b, &g, peer, self->buf, 5000);
}

/* More comes at every moment of the way out. */
TEST_F(end, detached_while_bytes_come)
{
	for (int round = 0; round < 24; round++) {
		size_t len = 0, pieces[4];
		struct gift g = { 0 };
		int peer;

		self->b.in_len = 0;
		self->b.nr_close = 0;
		self->b.take_max = round % 2 ? 7 : SIZE_MAX;
		peer = bed_connect(&self->b, &bed_proto);
		for (int i = 0; i < 4; i++)
			pieces[i] = 1 + (size_t)rng_below(&self->rng, 6000);
		for (int i = 0; i < 4; i++) {
			ASSERT_EQ(send(peer, self->buf + len, pieces[i], 0), pieces[i]);
			len += pieces[i];
			if (i == round / 2 % 4)
				conn_detach(bed_conn(&self->b), take_gift, &g);
			if (round / 8 == 0 || (round / 8 == 1 && i % 2))
				bed_turn(&self->b, 0);
		}
		BED_UNTIL(&self->b, g.nr);
		check_gift(&self->b, &g, peer, self->buf, len);
		if (has_failed())
			break;
	}
}

TEST_F(end, detached_after_eof)
{
	int peer = bed_connect(&self->b, &bed_proto);
	struct gift g = { 0 };
	char c;

	bed_say(peer, "last words");
	ASSERT_OK(SYS(shutdown(peer, SHUT_WR)));
	BED_UNTIL(&self->b, self->b.nr_eof == 1u);
	conn_detach(bed_conn(&self->b), take_gift, &g);
	BED_UNTIL(&self->b, g.nr);
	ASSERT_GE(g.fd, 0);
	EXPECT_EQ(g.len, 0);
	EXPECT_EQ(recv(g.fd, &c, 1, MSG_DONTWAIT), 0);
	close(g.fd);
	close(peer);
}

/* Cut before it could be handed over: the next owner is told. */
TEST_F(end, detached_and_cut)
{
	int peer = bed_connect(&self->b, &bed_proto);
	struct gift g = { 0 };

	bed_settle(&self->b);
	conn_detach(bed_conn(&self->b), take_gift, &g);
	conns_close(&self->b.conns);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	EXPECT_EQ(g.nr, 1);
	/* epoll has nothing to wait for, so there it was handed over at once. */
	if (variant->kind == LOOP_URING)
		EXPECT_EQ(g.fd, -1);
	else
		close(g.fd);
	EXPECT_EQ(self->b.nr_close, 1);
	close(peer);
}

/* --- cut in every state --- */

enum situation {
	JUST_OPENED,
	IDLE,
	IN_A_HEAD,
	IN_A_BODY,
	SENDING,
	PAUSED,
	LINGERING,
	NR_SITUATIONS,
};

/* A connection in that situation; the peer's end. */
static int bring_into(struct bed *b, enum situation what)
{
	int peer;

	b->take_max = 5;
	peer = bed_connect(b, what == PAUSED ? &bed_proto : &h1_proto);
	switch (what) {
	case JUST_OPENED:
	case NR_SITUATIONS:
		return peer;
	case IDLE:
		bed_say(peer, GET);
		break;
	case IN_A_HEAD:
		bed_say(peer, "GET / HTTP/1.1\r\nHo");
		break;
	case IN_A_BODY:
		bed_say(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc");
		break;
	case SENDING:
		for (int i = 0; i < 200; i++)
			bed_say(peer, GET_BIG);
		break;
	case PAUSED:
		bed_say(peer, "0123456789");
		break;
	case LINGERING:
		bed_say(peer, "nonsense\r\n\r\n");
		break;
	}
	bed_settle(b);
	EXPECT_EQ(bed_conn(b)->state, what == LINGERING ? CONN_LINGER : CONN_OPEN);
	EXPECT_EQ(!!(bed_conn(b)->io.inflight & IO_SEND), what == SENDING);
	EXPECT_EQ(!!(bed_conn(b)->io.inflight & IO_RECV), what != PAUSED && what != SENDING);
	return peer;
}

TEST_F(end, cut_in_every_state)
{
	self->b.limits.max_out_bytes = 8 * MIB;
	for (int what = 0; what < NR_SITUATIONS; what++) {
		int peer = bring_into(&self->b, what);

		conns_close(&self->b.conns);
		conns_close(&self->b.conns); /* twice is once */
		BED_UNTIL(&self->b, self->b.conns.nr == 0u);
		EXPECT_EQ(self->b.nr_close, what >= PAUSED);
		/* Bytes that were not read make it a reset. */
		EXPECT_NE(bed_read(&self->b, peer, self->buf, BUF_LEN), -ETIMEDOUT);
		close(peer);
	}
}

TEST_F(end, all_cut_at_once)
{
	int peers[NR_SITUATIONS * 4];

	for (size_t i = 0; i < ARRAY_SIZE(peers); i++)
		peers[i] = bring_into(&self->b, i % NR_SITUATIONS);
	EXPECT_EQ(self->b.conns.nr, ARRAY_SIZE(peers));
	conns_close(&self->b.conns);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	for (size_t i = 0; i < ARRAY_SIZE(peers); i++)
		close(peers[i]);
}

/* The peer goes in every state. */
TEST_F(end, peer_goes_in_every_state)
{
	for (int what = 0; what < NR_SITUATIONS; what++) {
		int peer = bring_into(&self->b, what);

		close(peer);
		/* A paused one is not looked at, so nobody sees it go. */
		if (what == PAUSED)
			conns_close(&self->b.conns);
		BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	}
}

/* A graceful stop: who is within a request gets its answer, the idle ones go by themselves. */
TEST_F(end, shutdown_lets_requests_finish)
{
	int idle = bring_into(&self->b, IDLE), head = bring_into(&self->b, IN_A_HEAD);
	int body = bring_into(&self->b, IN_A_BODY);
	char *p = self->buf;
	ssize_t n;

	self->b.http.draining = true;
	conns_shutdown(&self->b.conns);
	bed_settle(&self->b);
	EXPECT_EQ(self->b.conns.nr, 3);
	bed_say(head, "st: a\r\n\r\n");
	n = bed_read(&self->b, head, p, BUF_LEN);
	ASSERT_GT(n, 0);
	EXPECT_NOT_NULL(memmem(p, (size_t)n, "hello\n", 6));
	EXPECT_NOT_NULL(memmem(p, (size_t)n, "connection: close", 17));
	close(head);
	for (int i = 0; i < 997; i++)
		p[i] = 'x';
	ASSERT_EQ(send(body, p, 997, 0), 997);
	n = bed_read(&self->b, body, p, BUF_LEN);
	ASSERT_GT(n, 0);
	EXPECT_NOT_NULL(memmem(p, (size_t)n, "HTTP/1.1 405", 12));
	close(body);
	BED_UNTIL(&self->b, self->b.conns.nr == 1u);
	/* The idle one had been answered before; it may still ask, once. */
	bed_say(idle, GET);
	n = bed_read(&self->b, idle, p, BUF_LEN);
	ASSERT_GT(n, 0);
	EXPECT_NOT_NULL(memmem(p, (size_t)n, "connection: close", 17));
	close(idle);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
}

/* --- memory and descriptors --- */

/* An exchange of every kind; whatever could not be allocated, nothing is left behind. */
static void exchange(void *arg)
{
	struct bed *b = arg;
	int peers[4], nr = 0;

	for (; nr < 4; nr++) {
		int fds[2];

		tcp_pair(fds);
		peers[nr] = fds[1];
		if (conn_open(&b->conns, fds[0], nr == 3 ? &bed_proto : &h1_proto))
			continue;
		bed_say(fds[1],
			nr == 0   ? GET GET_BIG "GET / HTTP/1.1\r\nHo"
			: nr == 1 ? "nonsense\r\n\r\n"
				  : "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123");
		for (int i = 0; i < 3; i++)
			bed_turn(b, 0);
	}
	bed_settle(b);
	conns_close(&b->conns);
	BED_UNTIL(b, b->conns.nr == 0u);
	while (nr-- > 0)
		close(peers[nr]);
	bed_settle(b);
	/* Pools would hide allocations from the next round. */
	conns_fini(&b->conns);
	http_fini(&b->http);
	http_init(&b->http, &b->limits, b->routes);
	b->http.now_ns = b->wheel.now_ms * NSEC_PER_MSEC;
	conns_init(&b->conns, b->l, &b->http, &b->wheel);
}

TEST_F(end, any_allocation_may_fail)
{
	time_limit(30);
	self->b.take_max = 5;
	NOTE("%llu points of failure",
	     (unsigned long long)for_each_failing_alloc(exchange, &self->b));
}

/* Memory is out for a connection: its descriptor is closed, the others go on. */
TEST_F(end, no_memory_for_a_connection)
{
	int fds[2];
	char c;

	tcp_pair(fds);
	fail_nth_alloc(1);
	EXPECT_EQ(conn_open(&self->b.conns, fds[0], &h1_proto), -ENOMEM);
	fail_nth_alloc(0);
	EXPECT_EQ(recv(fds[1], &c, 1, 0), 0);
	EXPECT_EQ(self->b.conns.nr, 0);
	close(fds[1]);
}

TEST_F(end, a_thousand_connections_leave_nothing_behind)
{
	size_t memory;
	int before;

	time_limit(30);
	self->b.limits.max_out_bytes = 8 * MIB;
	for (int i = 0; i < 100; i++) {
		close(bring_into(&self->b, i % PAUSED));
		BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	}
	bed_settle(&self->b);
	before = nr_open_fds();
	memory = mallinfo2().uordblks;
	for (int i = 0; i < 1000; i++) {
		enum situation what = i % 4; /* those that keep no bytes */
		int peer;

		if (what == IN_A_HEAD)
			what = LINGERING;
		peer = bed_connect(&self->b, &h1_proto);
		if (what != JUST_OPENED)
			bed_say(peer, what == LINGERING ? "nonsense\r\n\r\n" : GET);
		bed_turn(&self->b, 0);
		close(peer);
		BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	}
	bed_settle(&self->b);
	EXPECT_EQ(nr_open_fds(), before);
	EXPECT_EQ(mallinfo2().uordblks, memory);
}
