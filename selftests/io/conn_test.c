/* SPDX-License-Identifier: MIT */
/* Connections: closing without losing the answer, back-pressure, time, giving them away. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selftests/harness/harness.h"
#include "selftests/io/conn_bed.h"
#include "server/h1.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET_BIG "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"

FIXTURE(conn)
{
	struct bed b;
	struct rng rng;
	char *buf; /* 4 MiB */
	int before; /* descriptors */
};
FIXTURE_VARIANT(conn)
{
	enum loop_kind kind;
};
VARIANT(conn, uring) = { .kind = LOOP_URING };
VARIANT(conn, epoll) = { .kind = LOOP_EPOLL };

#define BUF_LEN (4 * MIB)

FIXTURE_SETUP(conn)
{
	rng_init(&self->rng);
	self->buf = malloc(BUF_LEN);
	ASSERT_NOT_NULL(self->buf);
	self->before = nr_open_fds();
	bed_init(&self->b, variant->kind);
}

FIXTURE_TEARDOWN(conn)
{
	bed_fini(&self->b);
	EXPECT_EQ(nr_open_fds(), self->before);
	free(self->buf);
}

static u32 count(const char *p, size_t len, const char *what)
{
	const char *end = p + len;
	u32 nr = 0;

	while ((p = memmem(p, (size_t)(end - p), what, strlen(what)))) {
		nr++;
		p += strlen(what);
	}
	return nr;
}

/* --- the end of a connection --- */

TEST_F(conn, answers_then_closes_when_asked)
{
	int peer = bed_connect(&self->b, &h1_proto);
	ssize_t n;

	bed_say(peer, GET "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
	n = bed_read(&self->b, peer, self->buf, BUF_LEN);
	ASSERT_GT(n, 0);
	EXPECT_EQ(count(self->buf, (size_t)n, "HTTP/1.1 200 OK\r\n"), 2);
	EXPECT_EQ(count(self->buf, (size_t)n, "hello\n"), 2);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	close(peer);
}

/* The client sends on while it is refused: it reads the whole answer, and no reset comes. */
TEST_F(conn, refused_while_still_sending)
{
	int peer = bed_connect(&self->b, &h1_proto), error = -1;
	socklen_t len = sizeof(error);
	ssize_t n;

	bed_say(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n");
	for (int i = 0; i < 300; i++) {
		send(peer, self->buf, 20000, MSG_DONTWAIT | MSG_NOSIGNAL);
		bed_turn(&self->b, 0);
	}
	n = bed_read(&self->b, peer, self->buf, BUF_LEN);
	ASSERT_GT(n, 0);
	EXPECT_EQ(count(self->buf, (size_t)n, "HTTP/1.1 413 "), 1);
	EXPECT_EQ(count(self->buf, (size_t)n, "max_body_bytes\n"), 1);
	/* It still takes what comes. */
	EXPECT_EQ(self->b.conns.nr, 1);
	EXPECT_EQ(bed_conn(&self->b)->state, CONN_LINGER);
	ASSERT_GT(send(peer, self->buf, 1000, MSG_NOSIGNAL), 0);
	bed_settle(&self->b);
	ASSERT_OK(SYS(getsockopt(peer, SOL_SOCKET, SO_ERROR, &error, &len)));
	EXPECT_EQ(error, 0);
	EXPECT_EQ(self->b.conns.nr, 1);
	/* The client has seen it and goes. */
	close(peer);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
}

static int refused(struct bed *b, char *buf)
{
	int peer = bed_connect(b, &h1_proto);

	bed_say(peer, "nonsense\r\n\r\n");
	ASSERT_GT(bed_read(b, peer, buf, BUF_LEN), 0);
	ASSERT_EQ(b->conns.nr, 1);
	ASSERT_EQ(bed_conn(b)->state, CONN_LINGER);
	return peer;
}

TEST_F(conn, linger_ends_when_it_is_quiet)
{
	int peer = refused(&self->b, self->buf);

	bed_wait(&self->b, 1900);
	EXPECT_EQ(self->b.conns.nr, 1);
	bed_wait(&self->b, 200);
	EXPECT_EQ(self->b.conns.nr, 0);
	close(peer);
}

TEST_F(conn, linger_goes_on_while_bytes_come_but_not_for_ever)
{
	int peer = refused(&self->b, self->buf);

	for (int i = 0; i < 6; i++) {
		bed_say(peer, "more");
		bed_settle(&self->b);
		bed_wait(&self->b, 1500);
		ASSERT_EQ(self->b.conns.nr, 1);
	}
	bed_say(peer, "more");
	bed_settle(&self->b);
	bed_wait(&self->b, 900);
	EXPECT_EQ(self->b.conns.nr, 1);
	bed_wait(&self->b, 200);
	EXPECT_EQ(self->b.conns.nr, 0);
	close(peer);
}

/* It has sent its requests and said so: all of them are answered before we close. */
TEST_F(conn, half_closed_with_requests_pending)
{
	int peer = bed_connect(&self->b, &h1_proto);
	ssize_t n;

	for (int i = 0; i < 50; i++)
		bed_say(peer, i % 10 ? GET : GET_BIG);
	ASSERT_OK(SYS(shutdown(peer, SHUT_WR)));
	n = bed_read(&self->b, peer, self->buf, BUF_LEN);
	ASSERT_GT(n, 0);
	EXPECT_EQ(count(self->buf, (size_t)n, "HTTP/1.1 200 OK\r\n"), 50);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	close(peer);
}

TEST_F(conn, half_closed_within_a_request)
{
	static const char *const parts[] = {
		"",
		"GET / HT",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
	};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		int peer = bed_connect(&self->b, &h1_proto);

		bed_say(peer, parts[i]);
		bed_settle(&self->b);
		ASSERT_OK(SYS(shutdown(peer, SHUT_WR)));
		EXPECT_EQ(bed_read(&self->b, peer, self->buf, BUF_LEN), 0);
		BED_UNTIL(&self->b, self->b.conns.nr == 0u);
		close(peer);
	}
}

TEST_F(conn, reset_by_the_peer)
{
	struct linger hard = { .l_onoff = 1 };

	for (int i = 0; i < 4; i++) {
		int peer = bed_connect(&self->b, i % 2 ? &h1_proto : &bed_proto);

		if (i / 2)
			bed_say(peer, "GET / HTTP/1.1\r\nHo");
		bed_settle(&self->b);
		EXPECT_EQ(self->b.conns.nr, 1);
		ASSERT_OK(SYS(setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard))));
		close(peer);
		BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	}
	EXPECT_EQ(self->b.nr_close, 2);
}

/* --- back-pressure --- */

TEST_F(conn, pause_leaves_the_rest_in_the_kernel)
{
	struct writer *w;
	char *from = malloc(BUF_LEN);
	struct conn *c;
	size_t kept;
	int peer;

	ASSERT_NOT_NULL(from);
	rng_fill(&self->rng, from, BUF_LEN);
	self->b.take_max = 1000;
	peer = bed_connect(&self->b, &bed_proto);
	c = bed_conn(&self->b);
	w = writer_start(peer, from, BUF_LEN, rng_next(&self->rng));
	BED_UNTIL(&self->b, self->b.in_len == 1000u);
	bed_settle(&self->b);
	EXPECT_FALSE(c->io.inflight & IO_RECV);
	/* What was under way when it paused, no more. */
	kept = c->in_len;
	EXPECT_LE(kept, 512 * KIB);
	bed_settle(&self->b);
	EXPECT_EQ(c->in_len, kept);
	/* In steps, paused at each; then the rest. */
	for (int i = 0; i < 20; i++) {
		self->b.take_max += 1 + (size_t)rng_below(&self->rng, 100 * 1000);
		c->link.flags &= ~(u32)LINK_PAUSED;
		conn_touch(c);
		BED_UNTIL(&self->b, self->b.in_len == self->b.take_max);
	}
	self->b.take_max = SIZE_MAX;
	c->link.flags &= ~(u32)LINK_PAUSED;
	conn_touch(c);
	BED_UNTIL(&self->b, self->b.in_len == BUF_LEN);
	writer_join(w);
	EXPECT_MEMEQ(self->b.in, from, BUF_LEN);
	EXPECT_NULL(c->in);
	close(peer);
	free(from);
}

/* The end of file comes while it is paused: the protocol hears of it behind the last byte. */
TEST_F(conn, eof_waits_for_the_rest)
{
	struct conn *c;
	int peer;

	self->b.take_max = 4;
	self->b.close_at_eof = LINK_CLOSE;
	peer = bed_connect(&self->b, &bed_proto);
	c = bed_conn(&self->b);
	bed_say(peer, "12345678");
	ASSERT_OK(SYS(shutdown(peer, SHUT_WR)));
	bed_settle(&self->b);
	EXPECT_EQ(self->b.in_len, 4);
	EXPECT_EQ(self->b.nr_eof, 0);
	self->b.take_max = 6;
	c->link.flags &= ~(u32)LINK_PAUSED;
	conn_touch(c);
	bed_settle(&self->b);
	EXPECT_EQ(self->b.in_len, 6);
	EXPECT_EQ(self->b.nr_eof, 0);
	self->b.take_max = SIZE_MAX;
	c->link.flags &= ~(u32)LINK_PAUSED;
	conn_touch(c);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	EXPECT_EQ(self->b.in_len, 8);
	EXPECT_EQ(self->b.nr_eof, 1);
	EXPECT_EQ(self->b.nr_close, 1);
	EXPECT_MEMEQ(self->b.in, "12345678", 8);
	close(peer);
}

/* A client that asks and does not read: what is queued for it stays bounded; then it gets all. */
TEST_F(conn, output_is_bounded)
{
	enum { NR = 20000 };
	size_t len = strlen(GET), off = 0, got = 0, want = SIZE_MAX;
	u32 max_out = 0, max_in = 0;
	char *requests = malloc(NR * len);
	int peer, size = 64 * KIB;
	struct conn *c;

	time_limit(30);
	ASSERT_NOT_NULL(requests);
	for (int i = 0; i < NR; i++)
		memcpy(requests + (size_t)i * len, GET, len);
	self->b.limits.max_out_bytes = 64 * KIB;
	peer = bed_connect(&self->b, &h1_proto);
	c = bed_conn(&self->b);
	ASSERT_OK(SYS(setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size))));
	ASSERT_OK(SYS(setsockopt(c->io.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size))));
	for (int i = 0; i < 2000; i++) {
		ssize_t n = send(peer, requests + off, NR * len - off, MSG_DONTWAIT);

		off += n > 0 ? (size_t)n : 0;
		bed_turn(&self->b, 0);
		max_out = max(max_out, (u32)outq_len(&c->link.out));
		max_in = max(max_in, c->in_len);
	}
	/* One more answer than the limit at most; the rest of its requests waits in the kernel. */
	EXPECT_GE(max_out, 64 * KIB);
	EXPECT_LE(max_out, 64 * KIB + 4 * KIB);
	EXPECT_LE(max_in, MIB);
	while (got < want && !has_failed()) {
		ssize_t n = 0;

		if (off < NR * len)
			n = send(peer, requests + off, NR * len - off, MSG_DONTWAIT);
		off += n > 0 ? (size_t)n : 0;
		n = recv(peer, self->buf + got, BUF_LEN - got, MSG_DONTWAIT);
		got += n > 0 ? (size_t)n : 0;
		bed_turn(&self->b, n < 0);
		if (want == SIZE_MAX && got > KIB) {
			char *end = memmem(self->buf, got, "hello\n", 6);

			/* They are all alike. */
			ASSERT_NOT_NULL(end);
			want = NR * (size_t)(end + 6 - self->buf);
			ASSERT_LT(want, BUF_LEN);
		}
	}
	EXPECT_EQ(got, want);
	EXPECT_EQ(count(self->buf, got, "hello\n"), NR);
	close(peer);
	free(requests);
}

/* --- time --- */

TEST_F(conn, idle_connection_is_closed)
{
	int peer = bed_connect(&self->b, &h1_proto);

	bed_say(peer, GET);
	bed_wait(&self->b, 4900);
	EXPECT_EQ(self->b.conns.nr, 1);
	/* A request starts the time anew. */
	bed_say(peer, GET);
	bed_wait(&self->b, 4900);
	EXPECT_EQ(self->b.conns.nr, 1);
	bed_wait(&self->b, 200);
	EXPECT_EQ(self->b.conns.nr, 0);
	EXPECT_EQ(count(self->buf, (size_t)bed_read(&self->b, peer, self->buf, BUF_LEN), "hello\n"),
		  2);
	close(peer);
}

TEST_F(conn, silent_connection_is_closed)
{
	int peer = bed_connect(&self->b, &h1_proto);

	bed_wait(&self->b, 29900);
	EXPECT_EQ(self->b.conns.nr, 1);
	bed_wait(&self->b, 200);
	EXPECT_EQ(self->b.conns.nr, 0);
	EXPECT_EQ(bed_read(&self->b, peer, self->buf, BUF_LEN), 0);
	close(peer);
}

/* Whether @text comes, and the connection lingers. */
static bool is_refused(struct bed *b, int peer, char *buf, const char *text)
{
	ssize_t n = bed_read(b, peer, buf, BUF_LEN);

	return n > 0 && count(buf, (size_t)n, text) == 1 && b->conns.nr == 1 &&
	       bed_conn(b)->state == CONN_LINGER;
}

TEST_F(conn, slow_head)
{
	int peer = bed_connect(&self->b, &h1_proto);

	bed_say(peer, "GET / HT");
	bed_wait(&self->b, 15000);
	/* A few bytes more do not buy more time. */
	bed_say(peer, "TP/1.1\r\nHos");
	bed_wait(&self->b, 14900);
	EXPECT_EQ(bed_conn(&self->b)->state, CONN_OPEN);
	bed_wait(&self->b, 200);
	EXPECT_TRUE(is_refused(&self->b, peer, self->buf, "HTTP/1.1 408 "));
	close(peer);
}

TEST_F(conn, slow_body)
{
	int peer = bed_connect(&self->b, &h1_proto);

	bed_say(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
	bed_wait(&self->b, 25000);
	bed_say(peer, "a piece");
	bed_wait(&self->b, 29900);
	EXPECT_EQ(bed_conn(&self->b)->state, CONN_OPEN);
	bed_wait(&self->b, 200);
	EXPECT_TRUE(is_refused(&self->b, peer, self->buf, "HTTP/1.1 408 "));
	close(peer);
}

TEST_F(conn, steady_but_endless_body)
{
	int peer = bed_connect(&self->b, &h1_proto);

	bed_say(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
	for (int i = 0; i < 59; i++) {
		bed_say(peer, "x");
		bed_wait(&self->b, 1000);
	}
	bed_wait(&self->b, 900);
	ASSERT_EQ(bed_conn(&self->b)->state, CONN_OPEN);
	bed_wait(&self->b, 200);
	EXPECT_TRUE(is_refused(&self->b, peer, self->buf, "HTTP/1.1 408 "));
	close(peer);
}

/* A client that takes nothing is cut, one that takes a little is not. */
TEST_F(conn, slow_reader)
{
	int peer = bed_connect(&self->b, &h1_proto);
	struct conn *c = bed_conn(&self->b);
	int size = 64 * KIB;
	u64 len;

	self->b.limits.max_out_bytes = 16 * MIB;
	ASSERT_OK(SYS(setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size))));
	ASSERT_OK(SYS(setsockopt(c->io.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size))));
	for (int i = 0; i < 100; i++)
		bed_say(peer, GET_BIG);
	bed_settle(&self->b);
	len = outq_len(&c->link.out);
	ASSERT_GT(len, MIB);
	for (int i = 0; i < 3; i++) {
		bed_wait(&self->b, 59000);
		ASSERT_EQ(self->b.conns.nr, 1);
		BED_UNTIL(&self->b,
			  (read_now(peer, self->buf, 256 * KIB), outq_len(&c->link.out) < len));
		/* Until the socket is full again. */
		bed_settle(&self->b);
		len = outq_len(&c->link.out);
		ASSERT_GT(len, 0);
	}
	bed_wait(&self->b, 60200);
	EXPECT_EQ(self->b.conns.nr, 0);
	close(peer);
}

TEST_F(conn, deadline_of_the_protocol)
{
	int peer = bed_connect(&self->b, &bed_proto);
	struct conn *c = bed_conn(&self->b);

	c->link.deadline_ns = self->b.http.now_ns + 5000 * NSEC_PER_MSEC;
	conn_touch(c);
	bed_wait(&self->b, 1000);
	/* Later, earlier: the last one counts. */
	c->link.deadline_ns = self->b.http.now_ns + 9000 * NSEC_PER_MSEC;
	conn_touch(c);
	bed_wait(&self->b, 5000);
	EXPECT_EQ(self->b.nr_timeout, 0);
	c->link.deadline_ns = self->b.http.now_ns + 1000 * NSEC_PER_MSEC;
	conn_touch(c);
	bed_wait(&self->b, 900);
	EXPECT_EQ(self->b.nr_timeout, 0);
	bed_wait(&self->b, 200);
	EXPECT_EQ(self->b.nr_timeout, 1);
	bed_wait(&self->b, 20000);
	EXPECT_EQ(self->b.nr_timeout, 1);
	close(peer);
}
