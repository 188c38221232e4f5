/* SPDX-License-Identifier: MIT */
/* Connections that are promised to somebody, go out when all is sent, and come back to be served. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selftests/harness/harness.h"
#include "selftests/io/conn_bed.h"
#include "server/h1.h"
#include "server/job.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

FIXTURE(give)
{
	struct bed b;
	struct rng rng;
	struct hijack h;
	char *buf;
	int before; /* descriptors */
};
FIXTURE_VARIANT(give)
{
	enum loop_kind kind;
};
VARIANT(give, uring) = { .kind = LOOP_URING };
VARIANT(give, epoll) = { .kind = LOOP_EPOLL };

#define BUF_LEN (4 * MIB)

FIXTURE_SETUP(give)
{
	rng_init(&self->rng);
	self->buf = malloc(BUF_LEN);
	ASSERT_NOT_NULL(self->buf);
	rng_fill(&self->rng, self->buf, BUF_LEN);
	self->before = nr_open_fds();
	self->h.fd = -7;
	bed_init(&self->b, variant->kind);
}

FIXTURE_TEARDOWN(give)
{
	bed_fini(&self->b);
	if (self->h.fd >= 0)
		close(self->h.fd);
	free(self->h.rest);
	EXPECT_EQ(nr_open_fds(), self->before);
	free(self->buf);
}

/* What h1 does when the app asks for it. */
static void promise(struct bed *b, struct hijack *h)
{
	struct conn *c = bed_conn(b);

	c->link.hijack = h;
	c->link.flags |= LINK_DETACH | LINK_PAUSED;
	conn_touch(c);
}

/* So much that a send waits for the peer. */
static void fill_up(struct bed *b, const char *p)
{
	struct conn *c = bed_conn(b);

	ASSERT_OK(outq_copy(&c->link.out, p, BUF_LEN));
	conn_touch(c);
	bed_settle(b);
	ASSERT_FALSE(outq_empty(&c->link.out));
}

TEST_F(give, with_what_came_behind)
{
	int peer;

	self->b.take_max = 5;
	peer = bed_connect(&self->b, &bed_proto);
	bed_say(peer, "first and more");
	BED_UNTIL(&self->b, self->b.in_len == 5u);
	promise(&self->b, &self->h);
	BED_UNTIL(&self->b, self->h.done);
	ASSERT_GE(self->h.fd, 0);
	ASSERT_EQ(self->h.rest_len, 9);
	EXPECT_MEMEQ(self->h.rest, " and more", 9);
	EXPECT_EQ(self->b.conns.nr, 0);
	EXPECT_EQ(self->b.nr_close, 1);
	close(peer);
}

TEST_F(give, when_all_is_sent)
{
	int peer = bed_connect(&self->b, &bed_proto);
	char *got = malloc(BUF_LEN);

	fill_up(&self->b, self->buf);
	promise(&self->b, &self->h);
	bed_settle(&self->b);
	EXPECT_FALSE(self->h.done);
	/* Meanwhile it says something. */
	bed_say(peer, "impatient");
	ASSERT_EQ(bed_read(&self->b, peer, got, BUF_LEN), BUF_LEN);
	EXPECT_MEMEQ(got, self->buf, BUF_LEN);
	BED_UNTIL(&self->b, self->h.done);
	ASSERT_GE(self->h.fd, 0);
	/* Read already, or still in the socket: it is there once. */
	memcpy(got, self->h.rest ? self->h.rest : "", self->h.rest_len);
	EXPECT_EQ(self->h.rest_len + read_now(self->h.fd, got + self->h.rest_len, 100), 9);
	EXPECT_MEMEQ(got, "impatient", 9);
	free(got);
	close(peer);
}

TEST_F(give, reset_while_a_send_waits)
{
	struct linger hard = { .l_onoff = 1 };
	int peer = bed_connect(&self->b, &bed_proto);

	fill_up(&self->b, self->buf);
	promise(&self->b, &self->h);
	bed_settle(&self->b);
	ASSERT_OK(SYS(setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard))));
	close(peer);
	BED_UNTIL(&self->b, self->h.done);
	EXPECT_EQ(self->h.fd, -1);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
}

TEST_F(give, never_taken)
{
	int peer = bed_connect(&self->b, &bed_proto);

	fill_up(&self->b, self->buf);
	promise(&self->b, &self->h);
	bed_wait(&self->b, self->b.limits.send_timeout_ms + 1000);
	BED_UNTIL(&self->b, self->h.done);
	EXPECT_EQ(self->h.fd, -1);
	EXPECT_EQ(self->b.conns.nr, 0);
	close(peer);
}

TEST_F(give, cut_at_the_stop)
{
	int peer = bed_connect(&self->b, &bed_proto);

	fill_up(&self->b, self->buf);
	promise(&self->b, &self->h);
	conns_close(&self->b.conns);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	EXPECT_TRUE(self->h.done);
	EXPECT_EQ(self->h.fd, -1);
	close(peer);
}

/* The peer has finished before, at the same time, and while it is on its way out. */
TEST_F(give, with_an_end_of_file)
{
	for (int when = 0; when < 3 && !has_failed(); when++) {
		struct hijack h = { .fd = -7 };
		char c[16];
		int peer;

		self->b.in_len = 0;
		self->b.take_max = 4;
		peer = bed_connect(&self->b, &bed_proto);
		bed_say(peer, "lastwords");
		if (when == 0) {
			ASSERT_OK(SYS(shutdown(peer, SHUT_WR)));
			bed_settle(&self->b);
		}
		BED_UNTIL(&self->b, self->b.in_len == 4u);
		if (when == 1)
			ASSERT_OK(SYS(shutdown(peer, SHUT_WR)));
		promise(&self->b, &h);
		bed_turn(&self->b, 0);
		if (when == 2)
			ASSERT_OK(SYS(shutdown(peer, SHUT_WR)));
		BED_UNTIL(&self->b, h.done);
		ASSERT_GE(h.fd, 0);
		ASSERT_EQ(h.rest_len, 5);
		EXPECT_MEMEQ(h.rest, "words", 5);
		/* The new owner sees it, too, and can still answer. */
		EXPECT_EQ(recv(h.fd, c, sizeof(c), 0), 0);
		EXPECT_EQ(send(h.fd, "bye", 3, MSG_NOSIGNAL), 3);
		EXPECT_EQ(recv(peer, c, sizeof(c), 0), 3);
		free(h.rest);
		close(h.fd);
		close(peer);
		BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	}
}

/* --- and back --- */

static void expect_hello(struct bed *b, int peer, char *buf)
{
	u64 end = probe_clock_ms() + 5000 * probe_time_scale();
	size_t len = 0;

	while (probe_clock_ms() < end && !(len > 6 && !memcmp(buf + len - 6, "hello\n", 6))) {
		ssize_t n = recv(peer, buf + len, BUF_LEN - len, MSG_DONTWAIT);

		ASSERT_NE(n, 0);
		len += n > 0 ? (size_t)n : 0;
		bed_turn(b, n < 0);
	}
	ASSERT_GT(len, 17);
	EXPECT_MEMEQ(buf, "HTTP/1.1 200 OK\r\n", 17);
	EXPECT_MEMEQ(buf + len - 6, "hello\n", 6);
}

/* Read by whoever had it, a part of it, or nothing: the request is served, and the next one. */
TEST_F(give, back_in_any_part)
{
	size_t len = strlen(GET);

	for (size_t cut = 0; cut <= len && !has_failed(); cut += 1 + cut % 7) {
		struct hijack h = { .fd = -7 };
		int peer;

		self->b.take_max = 0;
		self->b.in_len = 0;
		peer = bed_connect(&self->b, &bed_proto);
		promise(&self->b, &h);
		BED_UNTIL(&self->b, h.done);
		ASSERT_GE(h.fd, 0);
		ASSERT_OK(conn_open_with(&self->b.conns, h.fd, &h1_proto, GET, cut));
		if (cut < len)
			bed_say(peer, GET + cut);
		expect_hello(&self->b, peer, self->buf);
		bed_say(peer, GET);
		expect_hello(&self->b, peer, self->buf);
		free(h.rest);
		close(peer);
		BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	}
}

TEST_F(give, back_with_nonsense)
{
	static const char nonsense[] = "\x16\x03\x01 no HTTP\r\n\r\n";
	int fds[2];

	tcp_pair(fds);
	ASSERT_OK(conn_open_with(&self->b.conns, fds[0], &h1_proto, nonsense, strlen(nonsense)));
	shutdown(fds[1], SHUT_WR);
	ASSERT_GT(bed_read(&self->b, fds[1], self->buf, BUF_LEN), 0);
	EXPECT_MEMEQ(self->buf, "HTTP/1.1 400 ", 13);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	close(fds[1]);
}

/* The client has gone meanwhile: what it had asked is answered into nothing. */
TEST_F(give, back_when_the_client_has_gone)
{
	int fds[2];

	tcp_pair(fds);
	close(fds[1]);
	ASSERT_OK(conn_open_with(&self->b.conns, fds[0], &h1_proto, GET GET, strlen(GET GET)));
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
}

static void come_back(void *arg)
{
	struct self_give *self = arg;
	int fds[2], err;
	ssize_t n;

	tcp_pair(fds);
	err = conn_open_with(&self->b.conns, fds[0], &h1_proto, GET, strlen(GET) - 2);
	if (!err)
		bed_say(fds[1], "\r\n");
	for (int i = 0; i < 20; i++)
		bed_turn(&self->b, 0);
	conns_close(&self->b.conns);
	BED_UNTIL(&self->b, self->b.conns.nr == 0u);
	/* Nobody holds the other end: bytes, and then it ends. */
	n = bed_read(&self->b, fds[1], self->buf, BUF_LEN);
	EXPECT_TRUE(n >= 0 || n == -ECONNRESET);
	close(fds[1]);
}

TEST_F(give, back_without_memory)
{
	come_back(self);
	EXPECT_GT(for_each_failing_alloc(come_back, self), 1);
}
