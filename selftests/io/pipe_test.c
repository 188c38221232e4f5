/* SPDX-License-Identifier: MIT */
/* The pool of pipes, and files that go through one into a socket. */
#include "server/pipe.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selftests/harness/harness.h"
#include "selftests/io/probe.h"

/* --- the pool --- */

TEST(pipe_is_as_promised)
{
	struct pipe_pool pool;
	struct pipe *p;
	size_t len;

	pipe_pool_init(&pool, 4);
	ASSERT_OK(pipe_get(&pool, &p));
	EXPECT_TRUE(fcntl(p->read_fd, F_GETFD) & FD_CLOEXEC);
	EXPECT_TRUE(fcntl(p->write_fd, F_GETFD) & FD_CLOEXEC);
	EXPECT_TRUE(fcntl(p->read_fd, F_GETFL) & O_NONBLOCK);
	EXPECT_TRUE(fcntl(p->write_fd, F_GETFL) & O_NONBLOCK);
	EXPECT_EQ(p->len, fcntl(p->write_fd, F_GETPIPE_SZ));
	/* What it says is what goes in. */
	len = fill(p->write_fd);
	EXPECT_EQ(len, p->len);
	pipe_put(&pool, p, len);
	pipe_pool_fini(&pool);
}

TEST(empty_pipe_is_lent_again)
{
	struct pipe_pool pool;
	struct pipe *p, *q;
	int before = nr_open_fds(), fds[2];

	pipe_pool_init(&pool, 4);
	EXPECT_EQ(nr_open_fds(), before);
	ASSERT_OK(pipe_get(&pool, &p));
	EXPECT_EQ(nr_open_fds(), before + 2);
	fds[0] = p->read_fd;
	fds[1] = p->write_fd;
	pipe_put(&pool, p, 0);
	EXPECT_EQ(pool.nr_free, 1);
	ASSERT_OK(pipe_get(&pool, &q));
	EXPECT_EQ(q->read_fd, fds[0]);
	EXPECT_EQ(q->write_fd, fds[1]);
	EXPECT_EQ(nr_open_fds(), before + 2);
	pipe_put(&pool, q, 0);
	pipe_pool_fini(&pool);
	EXPECT_EQ(nr_open_fds(), before);
}

TEST(pipe_with_bytes_is_closed)
{
	int before = nr_open_fds();
	struct pipe_pool pool;
	struct pipe *p;
	char c;

	pipe_pool_init(&pool, 4);
	ASSERT_OK(pipe_get(&pool, &p));
	ASSERT_EQ(write(p->write_fd, "secret", 6), 6);
	pipe_put(&pool, p, 6);
	EXPECT_EQ(pool.nr_free, 0);
	EXPECT_EQ(nr_open_fds(), before);
	ASSERT_OK(pipe_get(&pool, &p));
	EXPECT_EQ(read(p->read_fd, &c, 1), -1);
	EXPECT_EQ(errno, EAGAIN);
	pipe_put(&pool, p, 0);
	pipe_pool_fini(&pool);
	EXPECT_EQ(nr_open_fds(), before);
}

TEST(pool_is_bounded)
{
	int before = nr_open_fds();
	struct pipe_pool pool;
	struct pipe *p[4];

	pipe_pool_init(&pool, 3);
	for (int i = 0; i < 3; i++)
		ASSERT_OK(pipe_get(&pool, &p[i]));
	EXPECT_EQ(pipe_get(&pool, &p[3]), -EAGAIN);
	pipe_put(&pool, p[1], 0);
	ASSERT_OK(pipe_get(&pool, &p[1]));
	EXPECT_EQ(pipe_get(&pool, &p[3]), -EAGAIN);
	/* A place is free, whether the pipe survived or not. */
	pipe_put(&pool, p[0], 1);
	ASSERT_OK(pipe_get(&pool, &p[0]));
	for (int i = 0; i < 3; i++)
		pipe_put(&pool, p[i], 0);
	EXPECT_EQ(pool.nr_free, 3);
	EXPECT_EQ(nr_open_fds(), before + 6);
	pipe_pool_fini(&pool);
	EXPECT_EQ(nr_open_fds(), before);
}

TEST(out_of_descriptors)
{
	struct rlimit lim, tight;
	struct pipe_pool pool;
	struct pipe *p;
	int fd = dup(0), before = nr_open_fds();

	pipe_pool_init(&pool, 3);
	ASSERT_OK(SYS(getrlimit(RLIMIT_NOFILE, &lim)));
	tight = (struct rlimit){ (rlim_t)fd + 2, lim.rlim_max }; /* one of the two fits */
	ASSERT_OK(SYS(setrlimit(RLIMIT_NOFILE, &tight)));
	EXPECT_EQ(pipe_get(&pool, &p), -EMFILE);
	ASSERT_OK(SYS(setrlimit(RLIMIT_NOFILE, &lim)));
	EXPECT_EQ(pool.nr_lent, 0);
	EXPECT_EQ(nr_open_fds(), before);
	ASSERT_OK(pipe_get(&pool, &p));
	pipe_put(&pool, p, 0);
	pipe_pool_fini(&pool);
	close(fd);
}

static void get_and_put(void *arg)
{
	struct pipe_pool pool;
	struct pipe *p[2];
	int nr = 0, err;

	(void)arg;
	pipe_pool_init(&pool, 2);
	for (; nr < 2; nr++) {
		err = pipe_get(&pool, &p[nr]);
		if (err) {
			EXPECT_EQ(err, -ENOMEM);
			break;
		}
	}
	EXPECT_EQ(pool.nr_lent, nr);
	while (nr-- > 0)
		pipe_put(&pool, p[nr], 0);
	pipe_pool_fini(&pool);
}

TEST(any_allocation_may_fail)
{
	int before = nr_open_fds();

	EXPECT_EQ(for_each_failing_alloc(get_and_put, NULL), 2);
	EXPECT_EQ(nr_open_fds(), before);
}

/* --- file, pipe, socket --- */

#define LEN (4 * MIB)

FIXTURE(splice)
{
	struct loop *l;
	struct rng rng;
	struct pipe_pool pool;
	struct pipe *pipe;
	struct probe in, out; /* the pipe's write end; the socket */
	char *from, *to; /* LEN bytes: of the file, at the peer */
	int file, peer;
};
FIXTURE_VARIANT(splice)
{
	enum loop_kind kind;
	bool tcp;
};
VARIANT(splice, uring) = { .kind = LOOP_URING, .tcp = true };
VARIANT(splice, uring_unix) = { .kind = LOOP_URING };
VARIANT(splice, epoll) = { .kind = LOOP_EPOLL, .tcp = true };
VARIANT(splice, epoll_unix) = { .kind = LOOP_EPOLL };

FIXTURE_SETUP(splice)
{
	char path[] = "/tmp/hyperion-splice-XXXXXX";
	int fds[2], len = 64 * KIB;

	/* splice(2) has no MSG_NOSIGNAL. */
	signal(SIGPIPE, SIG_IGN);
	self->l = probe_loop(variant->kind, NULL);
	rng_init(&self->rng);
	self->from = malloc(LEN);
	self->to = calloc(1, LEN);
	ASSERT_TRUE(self->from && self->to);
	rng_fill(&self->rng, self->from, LEN);
	self->file = mkstemp(path);
	ASSERT_GE(self->file, 0);
	unlink(path);
	ASSERT_EQ(write(self->file, self->from, LEN), LEN);
	if (variant->tcp)
		tcp_pair(fds);
	else
		stream_pair(fds);
	ASSERT_OK(SYS(fcntl(fds[0], F_SETFL, O_NONBLOCK)));
	ASSERT_OK(SYS(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &len, sizeof(len))));
	self->peer = fds[1];
	pipe_pool_init(&self->pool, 4);
	ASSERT_OK(pipe_get(&self->pool, &self->pipe));
	/* The loop's io owns its descriptor, the pool owns the pipe's. */
	probe_init_plain(&self->in, self->l, dup(self->pipe->write_fd));
	probe_init(&self->out, self->l, fds[0]);
}

FIXTURE_TEARDOWN(splice)
{
	probe_fini(&self->in);
	probe_fini(&self->out);
	pipe_pool_fini(&self->pool);
	loop_free(self->l);
	close(self->file);
	close(self->peer);
	free(self->from);
	free(self->to);
}

/* The result of one splice, now or later. */
static ssize_t splice_once(struct probe *p, int fd_in, s64 off, size_t len)
{
	u32 before = p->nr_spliced;
	ssize_t n = loop_splice(p->l, &p->io, fd_in, off, len);

	if (n != -EINPROGRESS)
		return n;
	RUN_UNTIL(p->l, p->nr_spliced > before);
	return p->last;
}

static size_t read_some(struct self_splice *self, size_t got)
{
	return read_now(self->peer, self->to + got,
			min(LEN - got, (size_t)rng_below(&self->rng, 200 * 1000)));
}

/* Until the socket has room; the peer reads meanwhile. Returns what it has then. */
static size_t wait_room(struct self_splice *self, size_t got)
{
	u32 before = self->out.nr_sent;

	ASSERT_EQ(loop_wait_room(self->l, &self->out.io), -EINPROGRESS);
	for (int i = 0; i < 10000 && self->out.nr_sent == before; i++) {
		got += read_some(self, got);
		turn(self->l, 0);
	}
	EXPECT_EQ(self->out.nr_sent, before + 1);
	EXPECT_EQ(self->out.last, 0);
	return got;
}

TEST_F(splice, four_mib_arrive_as_they_are)
{
	size_t off = 0, in_pipe = 0, got = 0;
	u32 nr_full = 0, nr_waits = 0;
	ssize_t n;

	time_limit(60);
	while (got < LEN && !has_failed()) {
		if (off < LEN) {
			n = splice_once(&self->in, self->file, (s64)off, LEN - off);
			if (n == -EAGAIN) {
				EXPECT_GT(in_pipe, 0);
				nr_full++;
			} else {
				ASSERT_GT(n, 0);
				off += (size_t)n;
				in_pipe += (size_t)n;
			}
		}
		if (in_pipe) {
			n = splice_once(&self->out, self->pipe->read_fd, -1, in_pipe);
			if (n == -EAGAIN) {
				got = wait_room(self, got);
				nr_waits++;
			} else {
				ASSERT_GT(n, 0);
				in_pipe -= (size_t)n;
			}
		}
		got += read_some(self, got);
	}
	NOTE("%u times the pipe was full, %u times the socket", nr_full, nr_waits);
	EXPECT_EQ(off, LEN);
	EXPECT_EQ(in_pipe, 0);
	EXPECT_MEMEQ(self->to, self->from, LEN);
	/* Empty, so that the next one may have it. */
	pipe_put(&self->pool, self->pipe, in_pipe);
	EXPECT_EQ(self->pool.nr_free, 1);
}

TEST_F(splice, end_of_the_file_is_zero)
{
	char buf[8];

	EXPECT_EQ(splice_once(&self->in, self->file, LEN, 1000), 0);
	EXPECT_EQ(splice_once(&self->in, self->file, LEN - 3, 1000), 3);
	EXPECT_EQ(read(self->pipe->read_fd, buf, sizeof(buf)), 3);
	EXPECT_MEMEQ(buf, self->from + LEN - 3, 3);
	pipe_put(&self->pool, self->pipe, 0);
}

TEST_F(splice, empty_pipe_is_eagain)
{
	EXPECT_EQ(splice_once(&self->out, self->pipe->read_fd, -1, 1000), -EAGAIN);
	pipe_put(&self->pool, self->pipe, 0);
}

TEST_F(splice, peer_that_has_gone)
{
	ssize_t n = 0;

	close(self->peer);
	self->peer = -1;
	for (int i = 0; i < 10 && n >= 0; i++) {
		ASSERT_EQ(splice_once(&self->in, self->file, 0, 4096), 4096);
		n = splice_once(&self->out, self->pipe->read_fd, -1, 4096);
	}
	EXPECT_TRUE(n == -EPIPE || n == -ECONNRESET);
	pipe_put(&self->pool, self->pipe, 4096);
}

/* In flight with a receive on the same socket: one quiet(), and the loop is as new. */
TEST_F(splice, cancel)
{
	u32 events;

	ASSERT_EQ(splice_once(&self->in, self->file, 0, 65536), 65536);
	fill(self->out.io.fd);
	loop_recv(self->l, &self->out.io);
	if (loop_splice(self->l, &self->out.io, self->pipe->read_fd, -1, 65536) == -EAGAIN)
		ASSERT_EQ(loop_wait_room(self->l, &self->out.io), -EINPROGRESS);
	events = probe_events(&self->out);
	if (!loop_cancel(self->l, &self->out.io)) {
		RUN_UNTIL(self->l, self->out.nr_quiet == 1u);
		events++;
	}
	ASSERT_EQ(send(self->peer, "x", 1, 0), 1);
	settle(self->l);
	EXPECT_EQ(probe_events(&self->out), events);
	EXPECT_EQ(self->out.io.inflight, 0);
	pipe_put(&self->pool, self->pipe, 65536);
}
