/* SPDX-License-Identifier: MIT */
/* Connections that go from one worker to another: which, when, how many, and that none is lost. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selftests/harness/fail.h"
#include "selftests/harness/harness.h"
#include "selftests/io/office.h"

#define GET "GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
#define WAITING_MS ((u32)(REBALANCE_WAITING_NS / NSEC_PER_MSEC))
#define STUCK_MS ((u32)(REBALANCE_STUCK_NS / NSEC_PER_MSEC))
#define MAX_PEERS 200

FIXTURE(rebalance)
{
	struct office *o;
	int peers[MAX_PEERS];
	u32 nr_peers;
	int before; /* descriptors */
};
FIXTURE_VARIANT(rebalance)
{
	enum loop_kind kind;
};
VARIANT(rebalance, uring) = { .kind = LOOP_URING };
VARIANT(rebalance, epoll) = { .kind = LOOP_EPOLL };

FIXTURE_SETUP(rebalance)
{
	self->before = nr_open_fds();
	self->o = calloc(1, sizeof(*self->o));
	ASSERT_NOT_NULL(self->o);
	office_init(self->o, variant->kind, OFFICE_MAX);
}

FIXTURE_TEARDOWN(rebalance)
{
	office_fini(self->o);
	for (u32 i = 0; i < self->nr_peers; i++)
		close(self->peers[i]);
	free(self->o);
	EXPECT_EQ(nr_open_fds(), self->before);
}

static int come(struct self_rebalance *self, u32 i)
{
	int peer = office_connect(self->o, i);

	ASSERT_LT(self->nr_peers, MAX_PEERS);
	return self->peers[self->nr_peers++] = peer;
}

/* A connection of that worker whose request is in its app's only thread. */
static int hang(struct self_rebalance *self, u32 i)
{
	int peer = come(self, i);

	bed_say(peer, GET);
	office_turn(self->o);
	ASSERT_TRUE(station_claim(self->o, i));
	office_turn(self->o);
	return peer;
}

static void expect_moves(const struct office *o, u32 i, u32 out, u32 in)
{
	EXPECT_EQ(o->maps.workers[i].moved_out, out);
	EXPECT_EQ(o->maps.workers[i].moved_in, in);
}

TEST_F(rebalance, a_request_that_waits_is_served_elsewhere)
{
	struct office *o = self->o;
	int hung, peer;

	(void)variant;
	hung = hang(self, 0);
	peer = come(self, 0);
	bed_say(peer, GET "GET /par");
	office_turn(o);
	office_wait(o, WAITING_MS - 1);
	expect_moves(o, 0, 0, 0);
	office_wait(o, REBALANCE_LOOK_MS + 1);
	expect_moves(o, 0, 1, 0);
	EXPECT_EQ(o->maps.workers[1].moved_in + o->maps.workers[2].moved_in, 1);
	EXPECT_EQ(o->s[0].b.conns.nr, 1);
	EXPECT_EQ(station_serve(o, 1) + station_serve(o, 2), 1);
	EXPECT_TRUE(office_got(o, peer, 1));
	/* There it stays, with what it had said of the next. */
	bed_say(peer, "t HTTP/1.1\r\nHost: a\r\n\r\n" GET);
	office_turn(o);
	EXPECT_EQ(station_serve(o, 1) + station_serve(o, 2), 2);
	EXPECT_TRUE(office_got(o, peer, 2));
	station_answer(o, 0);
	EXPECT_TRUE(office_got(o, hung, 1));
	EXPECT_EQ(o->s[0].nr_done, 1);
	EXPECT_EQ(o->s[1].nr_done + o->s[2].nr_done, 3);
	expect_moves(o, 0, 1, 0);
}

/* What one thread has begun is not for another, whatever waits behind it. */
TEST_F(rebalance, not_behind_one_that_was_begun)
{
	struct office *o = self->o;
	int hung;

	(void)variant;
	hung = hang(self, 0);
	bed_say(hung, GET);
	office_turn(o);
	office_wait(o, 3 * STUCK_MS);
	expect_moves(o, 0, 0, 0);
	station_answer(o, 0);
	EXPECT_EQ(station_serve(o, 0), 1);
	EXPECT_TRUE(office_got(o, hung, 2));
}

TEST_F(rebalance, to_the_one_that_has_least_to_do)
{
	struct office *o = self->o;
	int peer;

	(void)variant;
	/* As long as ours: no reason to think that it will be free before. */
	hang(self, 1);
	hang(self, 0);
	peer = come(self, 0);
	bed_say(peer, GET);
	office_turn(o);
	office_wait(o, WAITING_MS + REBALANCE_LOOK_MS);
	expect_moves(o, 0, 1, 0);
	expect_moves(o, 2, 0, 1);
	EXPECT_EQ(station_serve(o, 2), 1);
	EXPECT_TRUE(office_got(o, peer, 1));
}

TEST_F(rebalance, to_nobody_who_cannot)
{
	struct office *o = self->o;
	int peer;

	(void)variant;
	hang(self, 0);
	/* One is stopped, one has no row that says that it reads. */
	rebalance_stop(&o->s[1].rb);
	o->s[2].deaf = true;
	o->maps.workers[2].inbox = 0;
	peer = come(self, 0);
	bed_say(peer, GET);
	office_turn(o);
	office_wait(o, 2 * STUCK_MS);
	expect_moves(o, 0, 0, 0);
	station_answer(o, 0);
	EXPECT_EQ(station_serve(o, 0), 1);
	EXPECT_TRUE(office_got(o, peer, 1));
}

TEST_F(rebalance, many_are_shared_out)
{
	struct office *o = self->o;
	u32 first, nr;

	(void)variant;
	hang(self, 0);
	first = self->nr_peers;
	for (u32 i = 0; i < 10; i++)
		bed_say(come(self, 0), GET);
	office_turn(o);
	/* Some at each look, as the others have served what they got. */
	for (nr = 0; nr < 10 && o->now_ns < 1001 * NSEC_PER_SEC;) {
		office_wait(o, 1);
		nr += station_serve(o, 1) + station_serve(o, 2);
	}
	EXPECT_EQ(nr, 10);
	for (u32 i = first; i < self->nr_peers; i++)
		EXPECT_TRUE(office_got(o, self->peers[i], 1));
	EXPECT_EQ(o->maps.workers[0].moved_out, 10);
	EXPECT_GE(o->maps.workers[1].moved_in, 3);
	EXPECT_GE(o->maps.workers[2].moved_in, 3);
	EXPECT_EQ(o->s[0].nr_done, 0);
}

TEST_F(rebalance, idle_ones_go_before_they_ask)
{
	struct office *o = self->o;
	u32 first;

	(void)variant;
	hang(self, 0);
	first = self->nr_peers;
	for (u32 i = 0; i < 20; i++)
		come(self, 0);
	come(self, 1);
	come(self, 1);
	office_wait(o, STUCK_MS - 1);
	expect_moves(o, 0, 0, 0);
	office_wait(o, REBALANCE_SLOW_MS + 1);
	expect_moves(o, 0, 20, 0);
	/* Evenly, with those that they had. */
	EXPECT_EQ(o->s[0].b.conns.nr, 1);
	EXPECT_EQ(o->s[1].b.conns.nr, 11);
	EXPECT_EQ(o->s[2].b.conns.nr, 11);
	for (u32 i = 0; i < 20; i++)
		bed_say(self->peers[first + i], GET);
	office_turn(o);
	EXPECT_EQ(station_serve(o, 1) + station_serve(o, 2), 20);
	for (u32 i = 0; i < 20; i++)
		EXPECT_TRUE(office_got(o, self->peers[first + i], 1));
}

/* Their time to idle is that of the client, not of the worker. */
TEST_F(rebalance, an_idle_one_ends_when_it_would_have)
{
	struct office *o = self->o;
	u32 left_ms = o->s[0].b.limits.read_timeout_ms - STUCK_MS - REBALANCE_SLOW_MS;
	int peer;
	char c;

	(void)variant;
	peer = come(self, 0);
	hang(self, 0);
	office_wait(o, STUCK_MS + REBALANCE_SLOW_MS);
	expect_moves(o, 0, 1, 0);
	for (u32 i = 0; i < OFFICE_MAX; i++)
		o->s[i].deaf = false;
	o->now_ns += (left_ms - 5) * NSEC_PER_MSEC;
	office_turn(o);
	EXPECT_EQ(recv(peer, &c, 1, MSG_DONTWAIT), -1);
	office_wait(o, 10);
	OFFICE_UNTIL(o, recv(peer, &c, 1, MSG_DONTWAIT) == 0);
}

TEST_F(rebalance, not_too_many_at_once)
{
	struct office *o = self->o;

	(void)variant;
	for (u32 i = 0; i < REBALANCE_PER_LOOK + 10; i++)
		come(self, 0);
	hang(self, 0);
	office_wait(o, STUCK_MS - 1);
	while (!o->maps.workers[0].moved_out && o->now_ns < 1001 * NSEC_PER_SEC)
		office_wait(o, 1);
	expect_moves(o, 0, REBALANCE_PER_LOOK, 0);
	office_wait(o, REBALANCE_SLOW_MS);
	expect_moves(o, 0, REBALANCE_PER_LOOK + 10, 0);
}

TEST_F(rebalance, not_too_many_in_a_second)
{
	struct office *o = self->o;

	(void)variant;
	for (u32 i = 0; i < 20; i++)
		come(self, 0);
	hang(self, 0);
	o->s[0].rb.second_ns = o->now_ns;
	o->s[0].rb.nr_second = REBALANCE_PER_SECOND - 5;
	office_wait(o, 500);
	expect_moves(o, 0, 5, 0);
	office_wait(o, 600);
	expect_moves(o, 0, 20, 0);
}

/* Its inbox is full: what does not fit comes back, and is served where it was. */
TEST_F(rebalance, comes_back_when_there_is_no_room)
{
	struct office *o = self->o;
	u64 moved, refused;
	u32 first;

	(void)variant;
	o->s[1].deaf = o->s[2].deaf = true;
	hang(self, 0);
	first = self->nr_peers;
	/* Of 8 KiB each, so that it is soon full. */
	for (u32 i = 0; i < 60; i++) {
		static char long_head[8 * KIB];

		memset(long_head, 'x', sizeof(long_head) - 1);
		bed_say(come(self, 0), "GET /a HTTP/1.1\r\nHost: a\r\nX-Y: ");
		bed_say(self->peers[self->nr_peers - 1], long_head);
		bed_say(self->peers[self->nr_peers - 1], "\r\n\r\n");
	}
	office_turn(o);
	for (u32 i = 0; i < 100; i++) {
		o->maps.steer[1].waiting = o->maps.steer[2].waiting = 0;
		o->maps.steer[1].running = o->maps.steer[2].running = 0;
		office_wait(o, REBALANCE_LOOK_MS);
	}
	moved = o->maps.workers[0].moved_out;
	refused = o->maps.workers[0].moves_refused;
	EXPECT_GT(moved, 5);
	EXPECT_LT(moved, 60);
	EXPECT_GT(refused, 0);
	/* Each comes back a few times and stays then. */
	EXPECT_LE(refused, 2 * (60 - moved));
	station_answer(o, 0);
	EXPECT_EQ(station_serve(o, 0), 60 - moved);
	o->s[1].deaf = o->s[2].deaf = false;
	office_turn(o);
	EXPECT_EQ(station_serve(o, 1) + station_serve(o, 2), moved);
	for (u32 i = first; i < self->nr_peers; i++)
		EXPECT_TRUE(office_got(o, self->peers[i], 1));
}

/* The worker dies with connections in its inbox: whoever takes its place serves them. */
TEST_F(rebalance, the_inbox_outlives_its_worker)
{
	struct office *o = self->o;
	u32 first, nr = 0;

	hang(self, 0);
	first = self->nr_peers;
	o->s[1].deaf = o->s[2].deaf = true;
	for (u32 i = 0; i < 4; i++)
		bed_say(come(self, 0), GET);
	for (u32 i = 0; i < 10; i++) {
		o->maps.steer[1].waiting = o->maps.steer[2].waiting = 0;
		office_wait(o, REBALANCE_LOOK_MS);
	}
	expect_moves(o, 0, 4, 0);
	for (u32 i = 1; i < 3; i++) {
		EXPECT_EQ(o->maps.workers[i].moved_in, 0);
		office_replace(o, i, variant->kind);
		EXPECT_EQ(o->maps.workers[i].moved_in, 2);
		nr += station_serve(o, i);
	}
	EXPECT_EQ(nr, 4);
	for (u32 i = first; i < self->nr_peers; i++)
		EXPECT_TRUE(office_got(o, self->peers[i], 1));
}

TEST_F(rebalance, whoever_is_full_is_left_alone)
{
	struct office *o = self->o;
	int peer;

	(void)variant;
	o->s[1].rb.max_connections = o->s[2].rb.max_connections = 256;
	hang(self, 0);
	/* Not yet known: they are given one, which waits. */
	peer = come(self, 0);
	bed_say(peer, GET);
	office_wait(o, WAITING_MS + REBALANCE_LOOK_MS);
	expect_moves(o, 0, 1, 0);
	EXPECT_EQ(o->maps.workers[1].moved_in + o->maps.workers[2].moved_in, 0);
	come(self, 0);
	o->maps.workers[1].inbox &= ~(u32)STATS_INBOX_READS;
	o->maps.workers[2].inbox &= ~(u32)STATS_INBOX_READS;
	o->s[1].deaf = o->s[2].deaf = true;
	office_wait(o, 3 * STUCK_MS);
	expect_moves(o, 0, 1, 0);
	/* There is room again. */
	o->s[1].rb.max_connections = o->s[2].rb.max_connections = 10000;
	o->s[1].deaf = o->s[2].deaf = false;
	office_wait(o, REBALANCE_SLOW_MS);
	EXPECT_EQ(station_serve(o, 1) + station_serve(o, 2), 1);
	EXPECT_TRUE(office_got(o, peer, 1));
}

/* --- the end --- */

TEST_F(rebalance, whoever_goes_waits_for_those_who_may_give)
{
	struct office *o = self->o;
	int peer;

	(void)variant;
	rebalance_stop(&o->s[1].rb);
	EXPECT_FALSE(o->maps.workers[1].inbox & STATS_INBOX_READS);
	/* One had seen it before, and gives only now. */
	EXPECT_FALSE(rebalance_done(&o->s[1].rb));
	o->maps.workers[1].inbox |= STATS_INBOX_READS;
	o->maps.workers[2].inbox &= ~(u32)STATS_INBOX_READS;
	o->s[1].deaf = o->s[2].deaf = true;
	o->maps.steer[1].state = STATS_WORKER_SERVING;
	hang(self, 0);
	peer = come(self, 0);
	bed_say(peer, GET);
	office_wait(o, WAITING_MS + REBALANCE_LOOK_MS);
	expect_moves(o, 0, 1, 0);
	rebalance_stop(&o->s[0].rb);
	rebalance_stop(&o->s[2].rb);
	/* All have said that they give nothing more: what lies there is to be taken first. */
	EXPECT_FALSE(rebalance_done(&o->s[1].rb));
	o->s[1].deaf = o->s[2].deaf = false;
	office_turn(o);
	EXPECT_TRUE(rebalance_done(&o->s[1].rb));
	expect_moves(o, 1, 0, 1);
	EXPECT_EQ(station_serve(o, 1), 1);
	EXPECT_TRUE(office_got(o, peer, 1));
}

TEST_F(rebalance, not_for_ever)
{
	struct office *o = self->o;

	(void)variant;
	rebalance_stop(&o->s[1].rb);
	office_wait(o, REBALANCE_LEAVE_MS - 1);
	EXPECT_FALSE(rebalance_done(&o->s[1].rb));
	office_wait(o, 1);
	EXPECT_TRUE(rebalance_done(&o->s[1].rb));
}

TEST_F(rebalance, nothing_is_given_after_the_stop)
{
	struct office *o = self->o;
	int peer;

	(void)variant;
	hang(self, 0);
	peer = come(self, 0);
	bed_say(peer, GET);
	office_turn(o);
	rebalance_stop(&o->s[0].rb);
	office_wait(o, 3 * STUCK_MS);
	expect_moves(o, 0, 0, 0);
	station_answer(o, 0);
	EXPECT_EQ(station_serve(o, 0), 1);
	EXPECT_TRUE(office_got(o, peer, 1));
}

/* --- clients that go --- */

TEST_F(rebalance, a_client_that_resets_on_the_way)
{
	struct office *o = self->o;
	struct linger hard = { .l_onoff = 1 };
	int peer;

	(void)variant;
	o->s[1].deaf = o->s[2].deaf = true;
	hang(self, 0);
	peer = come(self, 0);
	bed_say(peer, GET);
	office_turn(o);
	office_wait(o, WAITING_MS + REBALANCE_LOOK_MS);
	expect_moves(o, 0, 1, 0);
	ASSERT_OK(SYS(setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard))));
	close(peer);
	self->nr_peers--;
	o->s[1].deaf = o->s[2].deaf = false;
	OFFICE_UNTIL(o, o->maps.workers[1].moved_in + o->maps.workers[2].moved_in == 1u);
	OFFICE_UNTIL(o, o->s[1].b.conns.nr + o->s[2].b.conns.nr == 0u);
}

TEST_F(rebalance, a_client_that_goes_on_talking)
{
	struct office *o = self->o;
	int peer;

	(void)variant;
	hang(self, 0);
	peer = come(self, 0);
	bed_say(peer, GET);
	office_turn(o);
	for (u32 i = 0; i < 40; i++) {
		bed_say(peer, i % 2 ? "\r\nHost: a\r\n\r\n" : "GET /b HTTP/1.1");
		office_wait(o, 1);
		station_serve(o, 1);
		station_serve(o, 2);
	}
	expect_moves(o, 0, 1, 0);
	EXPECT_TRUE(office_got(o, peer, 21));
}

/* --- memory --- */

/* An answer, or the end; no silence. */
static bool has_an_end(struct office *o, int peer)
{
	char c[4096];
	ssize_t n;

	office_turn(o);
	n = recv(peer, c, sizeof(c), MSG_DONTWAIT);
	return n >= 0 || errno != EAGAIN;
}

/* 0: that was the last allocation to fail. */
static u64 move_with_failing(struct self_rebalance *self, u64 nth)
{
	struct office *o = self->o;
	u64 nr;
	u32 served, first;

	hang(self, 0);
	first = self->nr_peers;
	for (u32 i = 0; i < 3; i++)
		bed_say(come(self, 0), GET);
	office_turn(o);
	fail_nth_alloc(nth);
	office_wait(o, STUCK_MS);
	served = station_serve(o, 1) + station_serve(o, 2);
	nr = alloc_count();
	fail_nth_alloc(0);
	station_answer(o, 0);
	served += station_serve(o, 0);
	EXPECT_LE(served, 3);
	EXPECT_GE(served, 2);
	for (u32 i = first; i < self->nr_peers; i++)
		EXPECT_TRUE(has_an_end(o, self->peers[i]));
	while (self->nr_peers)
		close(self->peers[--self->nr_peers]);
	for (u32 i = 0; i < OFFICE_MAX; i++)
		OFFICE_UNTIL(o, o->s[i].b.conns.nr == 0u);
	return nr >= nth;
}

TEST_F(rebalance, without_memory)
{
	u64 nth = 1;

	(void)variant;
	while (move_with_failing(self, nth) && !has_failed())
		nth++;
	EXPECT_GT(nth, 3);
}
