/* SPDX-License-Identifier: MIT */
/* The loop: poll, write, wake, and what must hold when ios come and go. */
#include "selftests/harness/harness.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selftests/io/probe.h"

FIXTURE(loop)
{
	struct loop *l;
};
FIXTURE_VARIANT(loop)
{
	enum loop_kind kind;
};
VARIANT(loop, uring) = { .kind = LOOP_URING };
VARIANT(loop, epoll) = { .kind = LOOP_EPOLL };

FIXTURE_SETUP(loop)
{
	self->l = probe_loop(variant->kind, NULL);
}

FIXTURE_TEARDOWN(loop)
{
	loop_free(self->l);
}

/* --- poll --- */

TEST_F(loop, polls_once_each_time)
{
	struct probe p;
	u64 one = 1;

	probe_init_plain(&p, self->l, eventfd(0, EFD_CLOEXEC));
	ASSERT_EQ(loop_poll(self->l, &p.io, POLLIN), -EINPROGRESS);
	settle(self->l);
	EXPECT_EQ(p.nr_ready, 0);
	ASSERT_EQ(write(p.io.fd, &one, sizeof(one)), 8);
	RUN_UNTIL(self->l, p.nr_ready == 1u);
	EXPECT_TRUE(p.last & POLLIN);
	EXPECT_EQ(p.io.inflight, 0);
	settle(self->l);
	/* Still readable, but nobody asks. */
	EXPECT_EQ(p.nr_ready, 1);
	ASSERT_EQ(loop_poll(self->l, &p.io, POLLIN | POLLOUT), -EINPROGRESS);
	RUN_UNTIL(self->l, p.nr_ready == 2u);
	EXPECT_TRUE(p.last & POLLIN);
	EXPECT_TRUE(p.last & POLLOUT);
	probe_fini(&p);
}

TEST_F(loop, polls_a_full_pipe_for_room)
{
	struct probe p;
	char buf[65536];
	int fds[2];

	ASSERT_OK(SYS(pipe2(fds, O_CLOEXEC)));
	fill(fds[1]);
	probe_init_plain(&p, self->l, fds[1]);
	ASSERT_EQ(loop_poll(self->l, &p.io, POLLOUT), -EINPROGRESS);
	settle(self->l);
	EXPECT_EQ(p.nr_ready, 0);
	ASSERT_GT(read(fds[0], buf, sizeof(buf)), 0);
	RUN_UNTIL(self->l, p.nr_ready == 1u);
	EXPECT_TRUE(p.last & POLLOUT);
	/* The reader goes: that is news for whoever waits for room, too. */
	fill(fds[1]);
	ASSERT_EQ(loop_poll(self->l, &p.io, POLLOUT), -EINPROGRESS);
	settle(self->l);
	EXPECT_EQ(p.nr_ready, 1);
	close(fds[0]);
	RUN_UNTIL(self->l, p.nr_ready == 2u);
	EXPECT_NE(p.last, 0);
	probe_fini(&p);
}

TEST_F(loop, polls_a_pipe_whose_writer_goes)
{
	struct probe p;
	int fds[2];

	ASSERT_OK(SYS(pipe2(fds, O_CLOEXEC)));
	probe_init_plain(&p, self->l, fds[0]);
	ASSERT_EQ(loop_poll(self->l, &p.io, POLLIN), -EINPROGRESS);
	settle(self->l);
	EXPECT_EQ(p.nr_ready, 0);
	close(fds[1]);
	RUN_UNTIL(self->l, p.nr_ready == 1u);
	EXPECT_NE(p.last, 0);
	probe_fini(&p);
}

/* @already: they complete as soon as they are asked for, more of them than the completion ring holds. */
static void poll_six_thousand(struct loop *l, enum loop_kind kind, bool already)
{
	enum { NR = 6000 };
	struct probe *all = calloc(NR, sizeof(*all));
	u64 one = 1;
	int fd = eventfd(0, EFD_CLOEXEC);
	u32 nr = 0;

	ASSERT_NOT_NULL(all);
	/* epoll takes a file twice only by different descriptors. */
	if (kind == LOOP_EPOLL) {
		struct rlimit lim;

		ASSERT_OK(SYS(getrlimit(RLIMIT_NOFILE, &lim)));
		lim.rlim_cur = lim.rlim_max;
		ASSERT_OK(SYS(setrlimit(RLIMIT_NOFILE, &lim)));
	}
	if (already)
		ASSERT_EQ(write(fd, &one, sizeof(one)), 8);
	for (int i = 0; i < NR; i++) {
		probe_init_plain(&all[i], l, kind == LOOP_EPOLL ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : fd);
		ASSERT_GE(all[i].io.fd, 0);
		ASSERT_EQ(loop_poll(l, &all[i].io, POLLIN), -EINPROGRESS);
	}
	turn(l, 0);
	if (!already)
		ASSERT_EQ(write(fd, &one, sizeof(one)), 8);
	for (int round = 0; round < 1000 && nr < NR; round++) {
		turn(l, 10);
		nr = 0;
		for (int i = 0; i < NR; i++)
			nr += all[i].nr_ready;
	}
	EXPECT_EQ(nr, NR);
	for (int i = 0; i < NR; i++) {
		ASSERT_EQ(all[i].nr_ready, 1);
		if (kind == LOOP_EPOLL)
			probe_fini(&all[i]);
		else
			loop_remove(l, &all[i].io);
	}
	close(fd);
	free(all);
}

TEST_F(loop, polls_six_thousand_at_once)
{
	poll_six_thousand(self->l, variant->kind, false);
}

TEST_F(loop, polls_six_thousand_that_are_ready)
{
	poll_six_thousand(self->l, variant->kind, true);
}

/* --- write --- */

/* Writes all of it, waiting for room where the pipe is full, and reads it at the other end. */
TEST_F(loop, writes_through_a_full_pipe)
{
	enum { LEN = 300 * 1000 };
	char *from = malloc(LEN), *to = malloc(LEN);
	size_t off = 0, got = 0;
	struct rng rng;
	struct probe p;
	int fds[2];

	ASSERT_TRUE(from && to);
	rng_init(&rng);
	rng_fill(&rng, from, LEN);
	/* Not O_NONBLOCK: stdout is shared with others, so that nobody may set it. */
	ASSERT_OK(SYS(pipe2(fds, O_CLOEXEC)));
	ASSERT_OK(SYS(fcntl(fds[0], F_SETFL, O_NONBLOCK)));
	probe_init_plain(&p, self->l, fds[1]);
	for (int i = 0; i < 100000 && got < LEN; i++) {
		u32 nr_wrote = p.nr_wrote;
		ssize_t n;

		if (!p.io.inflight && off < LEN) {
			n = loop_write(self->l, &p.io, from + off, LEN - off);
			if (n == -EAGAIN)
				ASSERT_EQ(loop_poll(self->l, &p.io, POLLOUT), -EINPROGRESS);
			else if (n != -EINPROGRESS)
				ASSERT_GT(n, 0);
			off += n > 0 ? (size_t)n : 0;
		}
		turn(self->l, 0);
		if (p.nr_wrote > nr_wrote) {
			ASSERT_GT(p.last, 0);
			off += (size_t)p.last;
		}
		n = read(fds[0], to + got, min((size_t)LEN - got, (size_t)rng_below(&rng, 5000)));
		got += n > 0 ? (size_t)n : 0;
	}
	EXPECT_EQ(got, LEN);
	EXPECT_MEMEQ(from, to, LEN);
	close(fds[0]);
	probe_fini(&p);
	free(from);
	free(to);
}

TEST_F(loop, write_to_a_full_pipe_waits_without_blocking)
{
	struct probe p;
	int fds[2];
	ssize_t n;

	ASSERT_OK(SYS(pipe2(fds, O_CLOEXEC)));
	fill(fds[1]);
	probe_init_plain(&p, self->l, fds[1]);
	n = loop_write(self->l, &p.io, "x", 1);
	ASSERT_EQ(n, variant->kind == LOOP_URING ? -EINPROGRESS : -EAGAIN);
	settle(self->l);
	EXPECT_EQ(p.nr_wrote, 0);
	/* Nor does the end: cancelled, it is quiet. */
	if (!loop_cancel(self->l, &p.io))
		RUN_UNTIL(self->l, p.nr_quiet == 1u);
	EXPECT_EQ(p.nr_wrote, 0);
	close(fds[0]);
	probe_fini(&p);
}

TEST_F(loop, writes_append_to_a_file)
{
	char path[] = "/tmp/hyperion-loop-XXXXXX", buf[16] = "";
	int fd = mkstemp(path);
	struct probe p;

	ASSERT_GE(fd, 0);
	unlink(path);
	probe_init_plain(&p, self->l, fd);
	for (int i = 0; i < 3; i++) {
		ssize_t n = loop_write(self->l, &p.io, "abc", 3);

		if (n == -EINPROGRESS) {
			u32 before = p.nr_wrote;

			RUN_UNTIL(self->l, p.nr_wrote > before);
			n = p.last;
		}
		EXPECT_EQ(n, 3);
	}
	EXPECT_EQ(pread(fd, buf, sizeof(buf), 0), 9);
	EXPECT_STREQ(buf, "abcabcabc");
	probe_fini(&p);
}

/* --- wake --- */

static void *wake_it(void *l)
{
	loop_wake(l);
	return NULL;
}

TEST_F(loop, wake_from_another_thread)
{
	for (int i = 0; i < 50; i++) {
		pthread_t thread;

		ASSERT_OK(-pthread_create(&thread, NULL, wake_it, self->l));
		/* Without a wake-up the case's time limit ends it. */
		ASSERT_OK(loop_wait(self->l, -1));
		EXPECT_GE(loop_dispatch(self->l), 1);
		pthread_join(thread, NULL);
	}
	/* Many wakes are one, and none is left over. */
	for (int i = 0; i < 10; i++)
		loop_wake(self->l);
	turn(self->l, 100);
	settle(self->l);
	ASSERT_OK(loop_wait(self->l, NSEC_PER_MSEC));
	EXPECT_EQ(loop_dispatch(self->l), 0);
}

/* --- ios come and go --- */

static void close_and_free(struct probe *p)
{
	loop_close(p->l, &p->io);
	free(p->in);
	free(p);
}

static void close_self(struct probe *p, enum io_op op, ssize_t n)
{
	(void)op;
	(void)n;
	++*(int *)p->arg;
	p->hook = NULL;
	p->quiet = close_and_free;
	if (loop_cancel(p->l, &p->io))
		close_and_free(p);
}

/* More is waiting when the callback closes its own io; ASan sees what still touches it. */
TEST_F(loop, callback_closes_its_own_io)
{
	static char junk[256 * KIB];
	int nr_closed = 0, before;

	turn(self->l, 0);
	before = nr_open_fds();
	for (int i = 0; i < 50; i++) {
		struct probe *p = malloc(sizeof(*p));
		int fds[2];

		ASSERT_NOT_NULL(p);
		stream_pair(fds);
		probe_init(p, self->l, fds[0]);
		p->hook = close_self;
		p->arg = &nr_closed;
		ASSERT_GT(send(fds[1], junk, sizeof(junk), MSG_DONTWAIT), 4096);
		loop_recv(self->l, &p->io);
		RUN_UNTIL(self->l, nr_closed == i + 1);
		close(fds[1]);
	}
	settle(self->l);
	EXPECT_EQ(nr_open_fds(), before);
}

struct pair {
	struct probe a, b, c;
	int peer[2], c_peer;
	int first; /* which of a and b was called first, and closed the other */
	bool replaced;
};

/* A new io gets the memory, the slot and the descriptor number of the closed one. */
static void replace(struct probe *victim)
{
	struct pair *pair = victim->arg;
	int old_fd = victim->io.fd, fds[2];
	u32 old_idx = victim->io.idx, old_gen = victim->io.gen;

	loop_close(victim->l, &victim->io);
	free(victim->in);
	stream_pair(fds);
	probe_init(victim, victim->l, fds[0]);
	victim->arg = pair;
	pair->c_peer = fds[1];
	pair->replaced = true;
	EXPECT_EQ(victim->io.idx, old_idx);
	EXPECT_NE(victim->io.gen, old_gen);
	/* io_uring closes with the next submission, so there the number is another one. */
	if (strcmp(loop_name(victim->l), "epoll") == 0)
		EXPECT_EQ(victim->io.fd, old_fd);
	loop_recv(victim->l, &victim->io);
}

static void close_other(struct probe *p, enum io_op op, ssize_t n)
{
	struct pair *pair = p->arg;
	struct probe *other = p == &pair->a ? &pair->b : &pair->a;

	(void)op;
	(void)n;
	p->hook = other->hook = NULL;
	pair->first = p == &pair->a ? 1 : 2;
	other->quiet = replace;
	if (loop_cancel(other->l, &other->io))
		replace(other);
}

/* Both are readable in one batch; the first callback closes the other one and reuses all of it. */
TEST_F(loop, stale_names_reach_nobody)
{
	for (int round = 0; round < 20; round++) {
		struct pair pair = { 0 };
		struct probe *other;
		int fds[2];

		stream_pair(fds);
		probe_init(&pair.a, self->l, fds[0]);
		pair.peer[0] = fds[1];
		stream_pair(fds);
		probe_init(&pair.b, self->l, fds[0]);
		pair.peer[1] = fds[1];
		pair.a.arg = pair.b.arg = &pair;
		pair.a.hook = pair.b.hook = close_other;
		loop_recv(self->l, &pair.a.io);
		loop_recv(self->l, &pair.b.io);
		turn(self->l, 0);
		ASSERT_EQ(send(pair.peer[0], "aaaa", 4, 0), 4);
		ASSERT_EQ(send(pair.peer[1], "bbbb", 4, 0), 4);
		RUN_UNTIL(self->l, pair.replaced);
		other = pair.first == 1 ? &pair.b : &pair.a;
		settle(self->l);
		EXPECT_EQ(other->nr_received, 0);
		ASSERT_EQ(send(pair.c_peer, "new", 3, 0), 3);
		RUN_UNTIL(self->l, other->in_len == 3u);
		EXPECT_MEMEQ(other->in, "new", 3);
		probe_fini(&pair.a);
		probe_fini(&pair.b);
		close(pair.peer[0]);
		close(pair.peer[1]);
		close(pair.c_peer);
	}
}

/* One life of an io with all that it may do. */
static void live_and_die(struct loop *l, struct probe *p, int round)
{
	struct iovec iov[2] = { { (void *)(uintptr_t) "hello ", 6 },
				{ (void *)(uintptr_t) "world", 5 } };
	char buf[16];
	int fds[2];
	ssize_t n;

	stream_pair(fds);
	probe_init(p, l, fds[0]);
	loop_recv(l, &p->io);
	if (round % 3) {
		ASSERT_EQ(send(fds[1], "ping", 4, 0), 4);
		RUN_UNTIL(l, p->in_len == 4u);
	}
	n = loop_send(l, &p->io, iov, 2, false);
	if (n == -EINPROGRESS && round % 2) {
		RUN_UNTIL(l, p->nr_sent == 1u);
		n = p->last;
	}
	if (n != -EINPROGRESS) {
		ASSERT_EQ(n, 11);
		ASSERT_EQ(recv(fds[1], buf, sizeof(buf), 0), 11);
		ASSERT_MEMEQ(buf, "hello world", 11);
	}
	if (round % 5 == 0)
		close(fds[1]);
	probe_fini(p);
	if (round % 5)
		close(fds[1]);
}

TEST_F(loop, a_thousand_ios_leave_nothing_behind)
{
	struct probe p;
	int before;

	time_limit(30);
	for (int i = 0; i < 50; i++)
		live_and_die(self->l, &p, i);
	settle(self->l);
	before = nr_open_fds();
	fail_nth_alloc(0);
	for (int i = 0; i < 1000; i++)
		live_and_die(self->l, &p, i);
	settle(self->l);
	EXPECT_EQ(nr_open_fds(), before);
	/* What the loop needs it has by now: slots, gathers, buffers. */
	EXPECT_EQ(alloc_count(), 0);
}

TEST_F(loop, close_takes_the_descriptor_with_it)
{
	struct probe p;
	int fds[2], before;
	char c;

	turn(self->l, 0);
	before = nr_open_fds();
	stream_pair(fds);
	probe_init(&p, self->l, fds[0]);
	loop_close(self->l, &p.io);
	turn(self->l, 0);
	EXPECT_EQ(recv(fds[1], &c, 1, 0), 0);
	close(fds[1]);
	/* Asked for and never waited for: the end of the loop does it. */
	stream_pair(fds);
	probe_init(&p, self->l, fds[0]);
	loop_close(self->l, &p.io);
	loop_free(self->l);
	EXPECT_EQ(recv(fds[1], &c, 1, MSG_DONTWAIT), 0);
	close(fds[1]);
	self->l = probe_loop(variant->kind, NULL);
	turn(self->l, 0);
	EXPECT_EQ(nr_open_fds(), before);
}

TEST_F(loop, remove_leaves_the_descriptor_open)
{
	struct probe p;
	char buf[8];
	int fds[2];

	stream_pair(fds);
	probe_init(&p, self->l, fds[0]);
	loop_recv(self->l, &p.io);
	if (!loop_recv_stop(self->l, &p.io))
		RUN_UNTIL(self->l, p.nr_received && p.last == -ECANCELED);
	loop_remove(self->l, &p.io);
	ASSERT_EQ(send(fds[1], "still", 5, 0), 5);
	settle(self->l);
	ASSERT_EQ(recv(fds[0], buf, sizeof(buf), MSG_DONTWAIT), 5);
	EXPECT_MEMEQ(buf, "still", 5);
	close(fds[0]);
	close(fds[1]);
}

static void make_and_break(void *kind)
{
	struct loop_config config = { .kind = *(const enum loop_kind *)kind, .nr_buffers = 8 };
	static const struct io_ops none;
	struct io ios[70]; /* more than the first slots */
	struct loop *l;
	int nr = 0, err = loop_new(&l, &config);

	if (err) {
		EXPECT_EQ(err, -ENOMEM);
		return;
	}
	while (nr < 70 && !err) {
		int fds[2];

		stream_pair(fds);
		close(fds[1]);
		err = loop_add(l, &ios[nr], fds[0], &none);
		if (err)
			close(fds[0]);
		else
			nr++;
	}
	EXPECT_TRUE(!err || err == -ENOMEM);
	for (int i = 0; i < nr; i++)
		loop_close(l, &ios[i]);
	EXPECT_OK(loop_wait(l, 0));
	loop_dispatch(l);
	loop_free(l);
}

TEST_F(loop, any_allocation_may_fail)
{
	enum loop_kind kind = variant->kind;
	int before = nr_open_fds();

	EXPECT_GE(for_each_failing_alloc(make_and_break, &kind), 3);
	EXPECT_EQ(nr_open_fds(), before);
}
