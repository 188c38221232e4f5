/* SPDX-License-Identifier: MIT */
/* The loop: bytes in and out of sockets, in order and complete, and how that ends. */
#include "selftests/harness/harness.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selftests/io/probe.h"

#define LEN (1 * MIB)

FIXTURE(bytes)
{
	struct loop *l;
	struct rng rng;
	char *from, *to; /* LEN, random; LEN */
};
FIXTURE_VARIANT(bytes)
{
	enum loop_kind kind;
	struct loop_config config;
	bool tcp;
};
VARIANT(bytes, uring) = { .kind = LOOP_URING, .tcp = true };
VARIANT(bytes, uring_unix) = { .kind = LOOP_URING };
VARIANT(bytes, uring_tiny) = { .kind = LOOP_URING,
			       .config = { .entries = 8, .nr_buffers = 2, .buffer_len = 64 } };
VARIANT(bytes, epoll) = { .kind = LOOP_EPOLL, .tcp = true };
VARIANT(bytes, epoll_unix) = { .kind = LOOP_EPOLL };
VARIANT(bytes, epoll_tiny) = { .kind = LOOP_EPOLL, .config = { .buffer_len = 64 } };

FIXTURE_SETUP(bytes)
{
	self->l = probe_loop(variant->kind, &variant->config);
	rng_init(&self->rng);
	self->from = malloc(LEN);
	self->to = malloc(LEN);
	ASSERT_TRUE(self->from && self->to);
	rng_fill(&self->rng, self->from, LEN);
}

FIXTURE_TEARDOWN(bytes)
{
	loop_free(self->l);
	free(self->from);
	free(self->to);
}

/* The probe at one end; the descriptor of the other. */
static int probe_pair(struct probe *p, struct loop *l, bool tcp)
{
	int fds[2];

	if (tcp)
		tcp_pair(fds);
	else
		stream_pair(fds);
	probe_init(p, l, fds[0]);
	return fds[1];
}

/* --- receive --- */

TEST_F(bytes, arrive_in_order)
{
	struct writer *w;
	struct probe p;
	int peer = probe_pair(&p, self->l, variant->tcp);

	loop_recv(self->l, &p.io);
	w = writer_start(peer, self->from, LEN, rng_next(&self->rng));
	RUN_UNTIL(self->l, p.in_len >= LEN);
	writer_join(w);
	settle(self->l);
	EXPECT_EQ(p.in_len, LEN);
	EXPECT_MEMEQ(p.in, self->from, LEN);
	EXPECT_EQ(p.io.inflight, IO_RECV);
	close(peer);
	probe_fini(&p);
}

TEST_F(bytes, stop_and_resume_lose_nothing)
{
	u32 nr_stops = 0;
	struct writer *w;
	struct probe p;
	int peer = probe_pair(&p, self->l, variant->tcp);

	time_limit(30);
	loop_recv(self->l, &p.io);
	w = writer_start(peer, self->from, LEN, rng_next(&self->rng));
	while (p.in_len < LEN && !has_failed()) {
		size_t before;

		for (u64 i = rng_below(&self->rng, 4); i > 0; i--)
			turn(self->l, 1);
		if (!loop_recv_stop(self->l, &p.io))
			RUN_UNTIL(self->l, p.last == -ECANCELED);
		EXPECT_EQ(p.io.inflight, 0);
		before = p.in_len;
		for (u64 i = rng_below(&self->rng, 4); i > 0; i--)
			turn(self->l, 0);
		/* Stopped is stopped. */
		ASSERT_EQ(p.in_len, before);
		nr_stops++;
		p.last = 0;
		loop_recv(self->l, &p.io);
	}
	writer_join(w);
	NOTE("%u stops", nr_stops);
	EXPECT_EQ(p.in_len, LEN);
	EXPECT_MEMEQ(p.in, self->from, LEN);
	close(peer);
	probe_fini(&p);
}

/* Stopped and started again within one batch, in every state of the receive. */
TEST_F(bytes, stop_and_start_without_a_turn)
{
	struct probe p;
	int peer = probe_pair(&p, self->l, variant->tcp);
	size_t len = 0;

	for (int i = 0; i < 200; i++) {
		size_t n = 1 + (size_t)rng_below(&self->rng, 300);

		loop_recv(self->l, &p.io);
		if (i % 2)
			turn(self->l, 0);
		ASSERT_EQ(send(peer, self->from + len, n, 0), n);
		len += n;
		if (i % 3 == 0)
			turn(self->l, 0);
		if (!loop_recv_stop(self->l, &p.io)) {
			/* Asked twice is asked once. */
			EXPECT_FALSE(loop_recv_stop(self->l, &p.io));
			RUN_UNTIL(self->l, !p.io.inflight);
			EXPECT_EQ(p.last, -ECANCELED);
		}
	}
	loop_recv(self->l, &p.io);
	RUN_UNTIL(self->l, p.in_len >= len);
	EXPECT_EQ(p.in_len, len);
	EXPECT_MEMEQ(p.in, self->from, len);
	close(peer);
	probe_fini(&p);
}

/* More connections with more bytes than there are buffers: all get theirs. */
TEST_F(bytes, share_few_buffers)
{
	enum { NR = 16, EACH = 20000 };
	struct probe all[NR];
	int peers[NR];

	for (int i = 0; i < NR; i++) {
		peers[i] = probe_pair(&all[i], self->l, variant->tcp);
		ASSERT_EQ(send(peers[i], self->from + (size_t)i * EACH, EACH, 0), EACH);
	}
	for (int i = 0; i < NR; i++)
		loop_recv(self->l, &all[i].io);
	for (int i = 0; i < NR; i++)
		RUN_UNTIL(self->l, all[i].in_len == (size_t)EACH);
	for (int i = 0; i < NR; i++) {
		EXPECT_MEMEQ(all[i].in, self->from + (size_t)i * EACH, EACH);
		EXPECT_EQ(all[i].io.inflight, IO_RECV);
		close(peers[i]);
		probe_fini(&all[i]);
	}
}

TEST_F(bytes, end_of_file_comes_last_and_once)
{
	struct probe p;
	int peer = probe_pair(&p, self->l, variant->tcp);

	loop_recv(self->l, &p.io);
	turn(self->l, 0);
	ASSERT_EQ(send(peer, self->from, 10000, 0), 10000);
	ASSERT_OK(SYS(shutdown(peer, SHUT_WR)));
	RUN_UNTIL(self->l, p.nr_received && p.last == 0);
	EXPECT_EQ(p.in_len, 10000);
	EXPECT_MEMEQ(p.in, self->from, 10000);
	EXPECT_EQ(p.io.inflight, 0);
	p.nr_received = 0;
	settle(self->l);
	EXPECT_EQ(p.nr_received, 0);
	/* Asked again it says so again. */
	loop_recv(self->l, &p.io);
	RUN_UNTIL(self->l, p.nr_received == 1u);
	EXPECT_EQ(p.last, 0);
	close(peer);
	probe_fini(&p);
}

/* The end of file came while nobody received. */
TEST_F(bytes, end_of_file_while_stopped)
{
	struct probe p;
	int peer = probe_pair(&p, self->l, variant->tcp);

	loop_recv(self->l, &p.io);
	turn(self->l, 0);
	if (!loop_recv_stop(self->l, &p.io))
		RUN_UNTIL(self->l, !p.io.inflight);
	ASSERT_EQ(send(peer, self->from, 1000, 0), 1000);
	close(peer);
	settle(self->l);
	EXPECT_EQ(p.in_len, 0);
	loop_recv(self->l, &p.io);
	RUN_UNTIL(self->l, p.in_len == 1000u && p.last == 0);
	EXPECT_MEMEQ(p.in, self->from, 1000);
	probe_fini(&p);
}

TEST_F(bytes, reset_is_an_error)
{
	struct linger hard = { .l_onoff = 1, .l_linger = 0 };
	struct probe p;
	int fds[2];

	tcp_pair(fds);
	probe_init(&p, self->l, fds[0]);
	loop_recv(self->l, &p.io);
	settle(self->l);
	ASSERT_OK(SYS(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard))));
	close(fds[1]);
	RUN_UNTIL(self->l, p.nr_received == 1u);
	EXPECT_EQ(p.last, -ECONNRESET);
	EXPECT_EQ(p.io.inflight, 0);
	settle(self->l);
	EXPECT_EQ(p.nr_received, 1);
	probe_fini(&p);
}

/* --- send --- */

/*
 * Sends @len bytes in calls of at most @nr pieces of at most @each bytes while
 * the peer reads now and then. Returns how often the kernel took a part only.
 */
static u32 send_all(struct loop *l, struct probe *p, int peer, const char *from, size_t len,
		    char *to, u32 nr, size_t each, struct rng *rng)
{
	size_t off = 0, got = 0;
	u32 nr_short = 0;

	while (got < len && !has_failed()) {
		if (!p->io.inflight && off < len) {
			struct iovec iov[256];
			size_t at = off;
			u32 n = 0, before = p->nr_sent;
			ssize_t res;

			for (; n < nr && at < len; n++) {
				size_t piece = 1 + (size_t)rng_below(rng, each);

				piece = min(piece, len - at);
				iov[n] = (struct iovec){ (void *)(uintptr_t)(from + at), piece };
				at += piece;
			}
			res = loop_send(l, &p->io, iov, (int)n, at < len);
			memset(iov, 0xee, sizeof(iov)); /* it need not stay */
			while (res == -EINPROGRESS && p->nr_sent == before && got < len) {
				turn(l, 0);
				got += read_now(peer, to + got,
						min(len - got, (size_t)rng_below(rng, 30000)));
			}
			if (res == -EINPROGRESS)
				res = p->last;
			ASSERT_GE(res, 0);
			nr_short += (size_t)res < at - off;
			off += (size_t)res;
		}
		got += read_now(peer, to + got, min(len - got, (size_t)rng_below(rng, 30000)));
	}
	return nr_short;
}

static void small_buffer(int fd)
{
	int len = 4096;

	ASSERT_OK(SYS(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &len, sizeof(len))));
}

TEST_F(bytes, leave_in_order)
{
	struct probe p;
	int peer = probe_pair(&p, self->l, variant->tcp);
	u32 nr_short;

	time_limit(30);
	small_buffer(p.io.fd);
	nr_short = send_all(self->l, &p, peer, self->from, LEN, self->to, 1, LEN, &self->rng);
	EXPECT_GT(nr_short, 0);
	EXPECT_MEMEQ(self->to, self->from, LEN);
	close(peer);
	probe_fini(&p);
}

TEST_F(bytes, leave_in_pieces)
{
	static const u32 nr_pieces[] = { 2, 3, 63, 64, 65, 100, 256 };

	time_limit(30);
	for (size_t i = 0; i < ARRAY_SIZE(nr_pieces); i++) {
		size_t len = 200 * 1000;
		struct probe p;
		int peer = probe_pair(&p, self->l, variant->tcp);

		small_buffer(p.io.fd);
		memset(self->to, 0, LEN);
		send_all(self->l, &p, peer, self->from, len, self->to, nr_pieces[i], 700, &self->rng);
		ASSERT_MEMEQ(self->to, self->from, len);
		close(peer);
		probe_fini(&p);
	}
}

/* A full socket: the send waits, a callback tells of room, receiving goes on meanwhile. */
TEST_F(bytes, send_waits_while_receive_goes_on)
{
	struct iovec iov;
	struct probe p;
	int peer = probe_pair(&p, self->l, variant->tcp);
	size_t junk = fill(p.io.fd), got = 0;
	ssize_t n;

	iov = (struct iovec){ self->from, 5 };
	loop_recv(self->l, &p.io);
	ASSERT_EQ(loop_send(self->l, &p.io, &iov, 1, false), -EINPROGRESS);
	settle(self->l);
	EXPECT_EQ(p.nr_sent, 0);
	ASSERT_EQ(send(peer, "ping", 4, 0), 4);
	RUN_UNTIL(self->l, p.in_len == 4u);
	EXPECT_EQ(p.nr_sent, 0);
	while (!p.nr_sent && got + 4096 <= junk) {
		got += read_now(peer, self->to, 4096);
		turn(self->l, 0);
	}
	RUN_UNTIL(self->l, p.nr_sent == 1u);
	n = p.last;
	if (n == 0) { /* epoll says "try again" */
		n = loop_send(self->l, &p.io, &iov, 1, false);
		EXPECT_EQ(n, 5);
	}
	EXPECT_EQ(n, 5);
	while (got < junk) {
		n = recv(peer, self->to, min(junk - got, LEN), 0);
		ASSERT_GT(n, 0);
		got += (size_t)n;
	}
	EXPECT_EQ(recv(peer, self->to, 5, MSG_WAITALL), 5);
	EXPECT_MEMEQ(self->to, self->from, 5);
	close(peer);
	probe_fini(&p);
}

/* An error, not a signal. */
TEST_F(bytes, send_to_a_closed_peer)
{
	struct iovec iov[2] = { { self->from, 1000 }, { self->from, 1000 } };
	ssize_t n = 0;
	struct probe p;
	int peer = probe_pair(&p, self->l, variant->tcp);

	close(peer);
	/* TCP says it with the answer to the first bytes. */
	for (int i = 0; i < 10 && n >= 0; i++) {
		u32 before = p.nr_sent;

		n = loop_send(self->l, &p.io, iov, 1 + i % 2, false);
		if (n == -EINPROGRESS) {
			RUN_UNTIL(self->l, p.nr_sent > before);
			n = p.last;
		}
	}
	EXPECT_TRUE(n == -EPIPE || n == -ECONNRESET);
	EXPECT_EQ(p.io.inflight, 0);
	probe_fini(&p);
}

/* The peer goes while a send waits for it. */
TEST_F(bytes, send_waits_for_a_peer_that_goes)
{
	struct iovec iov = { self->from, 1000 };
	struct probe p;
	int peer = probe_pair(&p, self->l, variant->tcp);
	ssize_t n;

	fill(p.io.fd);
	n = loop_send(self->l, &p.io, &iov, 1, false);
	ASSERT_EQ(n, -EINPROGRESS);
	settle(self->l);
	close(peer);
	RUN_UNTIL(self->l, p.nr_sent == 1u);
	n = p.last;
	if (n == 0)
		n = loop_send(self->l, &p.io, &iov, 1, false);
	EXPECT_TRUE(n == -EPIPE || n == -ECONNRESET);
	probe_fini(&p);
}

/* --- cancel --- */

/* Receive and send in flight, bytes waiting at the same time: one quiet(), nothing else, ever. */
TEST_F(bytes, cancel_everything)
{
	for (int round = 0; round < 12; round++) {
		struct iovec iov[2] = { { self->from, 3000 }, { self->from, 3000 } };
		u32 events, quiet;
		struct probe p;
		int peer = probe_pair(&p, self->l, variant->tcp);

		fill(p.io.fd);
		if (round % 2)
			loop_recv(self->l, &p.io);
		ASSERT_EQ(loop_send(self->l, &p.io, iov, 1 + round % 3 % 2, false), -EINPROGRESS);
		if (round % 3)
			turn(self->l, 0);
		/* A stop may be under way, too. */
		if (round % 4 == 3 && loop_recv_stop(self->l, &p.io))
			EXPECT_FALSE(p.io.inflight & IO_RECV);
		ASSERT_EQ(send(peer, self->from, 5000, 0), 5000);
		if (round % 6 > 3)
			turn(self->l, 0);
		events = probe_events(&p);
		quiet = loop_cancel(self->l, &p.io) ? 0 : 1;
		if (quiet)
			RUN_UNTIL(self->l, p.nr_quiet == 1u);
		EXPECT_EQ(p.io.inflight, 0);
		read_now(peer, self->to, LEN);
		close(peer);
		settle(self->l);
		ASSERT_EQ(probe_events(&p), events + quiet);
		/* It is as new: nothing hangs on to it. */
		EXPECT_TRUE(loop_cancel(self->l, &p.io));
		probe_fini(&p);
	}
}

static void cancel_self(struct probe *p, enum io_op op, ssize_t n)
{
	(void)op;
	(void)n;
	p->hook = NULL;
	p->arg = p; /* it happened */
	if (loop_cancel(p->l, &p->io))
		p->nr_quiet = 1;
}

/* From within a callback, with more of the same batch to come. */
TEST_F(bytes, cancel_in_a_callback)
{
	for (int round = 0; round < 10; round++) {
		struct probe p;
		int peer = probe_pair(&p, self->l, variant->tcp);

		p.hook = cancel_self;
		loop_recv(self->l, &p.io);
		if (round % 2)
			turn(self->l, 0);
		ASSERT_GT(send(peer, self->from, LEN, MSG_DONTWAIT), 10000);
		RUN_UNTIL(self->l, p.nr_quiet == 1u);
		EXPECT_EQ(p.nr_received, 1);
		settle(self->l);
		EXPECT_EQ(p.nr_received, 1);
		EXPECT_EQ(p.nr_quiet, 1);
		close(peer);
		probe_fini(&p);
	}
}

/* Two users of one loop and one descriptor number in a row: the second has a clean start. */
TEST_F(bytes, reuse_after_cancel)
{
	struct probe p;
	int peer = probe_pair(&p, self->l, variant->tcp);

	loop_recv(self->l, &p.io);
	if (!loop_cancel(self->l, &p.io))
		RUN_UNTIL(self->l, p.nr_quiet == 1u);
	loop_recv(self->l, &p.io);
	ASSERT_EQ(send(peer, self->from, 100, 0), 100);
	RUN_UNTIL(self->l, p.in_len == 100u);
	EXPECT_MEMEQ(p.in, self->from, 100);
	close(peer);
	probe_fini(&p);
}

/* --- room --- */

TEST_F(bytes, room_is_told_once_there_is_some)
{
	struct probe p;
	int peer = probe_pair(&p, self->l, variant->tcp);

	/* It may take more already. */
	ASSERT_EQ(loop_wait_room(self->l, &p.io), -EINPROGRESS);
	RUN_UNTIL(self->l, p.nr_sent == 1u);
	EXPECT_EQ(p.last, 0);
	EXPECT_EQ(p.io.inflight, 0);
	/* Full: not before the peer has read; receiving does not disturb it. */
	fill(p.io.fd);
	loop_recv(self->l, &p.io);
	ASSERT_EQ(loop_wait_room(self->l, &p.io), -EINPROGRESS);
	ASSERT_EQ(send(peer, "ping", 4, 0), 4);
	RUN_UNTIL(self->l, p.in_len == 4u);
	settle(self->l);
	EXPECT_EQ(p.nr_sent, 1);
	for (int i = 0; i < 10000 && p.nr_sent == 1; i++) {
		read_now(peer, self->to, 65536);
		turn(self->l, 0);
	}
	EXPECT_EQ(p.nr_sent, 2);
	EXPECT_EQ(p.last, 0);
	EXPECT_EQ(p.io.inflight, IO_RECV);
	/* Cancelled while it waits. */
	fill(p.io.fd);
	ASSERT_EQ(loop_wait_room(self->l, &p.io), -EINPROGRESS);
	if (!loop_cancel(self->l, &p.io))
		RUN_UNTIL(self->l, p.nr_quiet == 1u);
	while (read_now(peer, self->to, LEN))
		;
	settle(self->l);
	EXPECT_EQ(p.nr_sent, 2);
	close(peer);
	probe_fini(&p);
}
