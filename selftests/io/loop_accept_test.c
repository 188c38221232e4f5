/* SPDX-License-Identifier: MIT */
/* The loop: connections from a listener, all of them or one at a time, until it is stopped. */
#include "selftests/harness/harness.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "selftests/io/probe.h"

FIXTURE(accept)
{
	struct loop *l;
};
FIXTURE_VARIANT(accept)
{
	enum loop_kind kind;
};
VARIANT(accept, uring) = { .kind = LOOP_URING };
VARIANT(accept, epoll) = { .kind = LOOP_EPOLL };

FIXTURE_SETUP(accept)
{
	self->l = probe_loop(variant->kind, NULL);
}

FIXTURE_TEARDOWN(accept)
{
	loop_free(self->l);
}

TEST_F(accept, many)
{
	struct probe lis;
	int clients[100];

	probe_init(&lis, self->l, tcp_listen());
	loop_accept(self->l, &lis.io);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 100; i++)
			clients[i] = tcp_connect(lis.io.fd);
		RUN_UNTIL(self->l, lis.nr_fds == 100u);
		for (u32 i = 0; i < lis.nr_fds; i++) {
			EXPECT_TRUE(fcntl(lis.fds[i], F_GETFD) & FD_CLOEXEC);
			close(lis.fds[i]);
			close(clients[i]);
		}
		lis.nr_fds = 0;
	}
	settle(self->l);
	EXPECT_EQ(lis.nr_accepted, 200);
	EXPECT_EQ(lis.io.inflight, IO_ACCEPT);
	probe_fini(&lis);
}

static void stop_accepting(struct probe *lis)
{
	u32 before = lis->nr_accepted;

	if (loop_accept_stop(lis->l, &lis->io))
		return;
	RUN_UNTIL(lis->l, lis->nr_accepted > before && lis->last == -ECANCELED);
}

TEST_F(accept, stopped_leaves_the_queue_alone)
{
	struct probe lis;
	int clients[8];

	probe_init(&lis, self->l, tcp_listen());
	loop_accept(self->l, &lis.io);
	settle(self->l);
	stop_accepting(&lis);
	EXPECT_EQ(lis.io.inflight, 0);
	for (int i = 0; i < 5; i++)
		clients[i] = tcp_connect(lis.io.fd);
	settle(self->l);
	EXPECT_EQ(lis.nr_fds, 0);
	/* They wait for another accept, of whomever. */
	for (int i = 0; i < 2; i++) {
		int fd = accept4(lis.io.fd, NULL, NULL, SOCK_CLOEXEC);

		ASSERT_GE(fd, 0);
		close(fd);
	}
	for (int i = 5; i < 8; i++)
		clients[i] = tcp_connect(lis.io.fd);
	loop_accept(self->l, &lis.io);
	RUN_UNTIL(self->l, lis.nr_fds == 6u);
	for (int i = 0; i < 8; i++)
		close(clients[i]);
	probe_fini(&lis);
}

/* Stopped while connections come: each is delivered or still in the queue, none is lost. */
TEST_F(accept, stop_loses_no_connection)
{
	for (int round = 0; round < 20; round++) {
		u32 nr_left = 0;
		struct probe lis;
		int clients[40], fd;

		probe_init(&lis, self->l, tcp_listen());
		loop_accept(self->l, &lis.io);
		if (round % 2)
			turn(self->l, 0);
		for (int i = 0; i < 20; i++)
			clients[i] = tcp_connect(lis.io.fd);
		if (round % 4 < 2)
			turn(self->l, 0);
		for (int i = 20; i < 40; i++)
			clients[i] = tcp_connect(lis.io.fd);
		stop_accepting(&lis);
		while ((fd = accept4(lis.io.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
			nr_left++;
			close(fd);
		}
		ASSERT_EQ(lis.nr_fds + nr_left, 40);
		for (int i = 0; i < 40; i++)
			close(clients[i]);
		probe_fini(&lis);
	}
}

/* A cancelled listener takes none of those that come later. */
TEST_F(accept, cancelled_with_connections_waiting)
{
	struct probe lis;
	int clients[3], fd;

	probe_init(&lis, self->l, tcp_listen());
	loop_accept(self->l, &lis.io);
	turn(self->l, 0);
	for (int i = 0; i < 3; i++)
		clients[i] = tcp_connect(lis.io.fd);
	if (!loop_cancel(self->l, &lis.io))
		RUN_UNTIL(self->l, lis.nr_quiet == 1u);
	settle(self->l);
	EXPECT_EQ(lis.nr_accepted, 0);
	for (int i = 0; i < 3; i++) {
		fd = accept4(lis.io.fd, NULL, NULL, SOCK_CLOEXEC);
		EXPECT_GE(fd, 0);
		close(fd);
		close(clients[i]);
	}
	probe_fini(&lis);
}

TEST_F(accept, out_of_descriptors)
{
	struct rlimit lim, tight;
	struct probe lis;
	int clients[2];

	probe_init(&lis, self->l, tcp_listen());
	loop_accept(self->l, &lis.io);
	clients[0] = tcp_connect(lis.io.fd);
	clients[1] = tcp_connect(lis.io.fd);
	ASSERT_OK(SYS(getrlimit(RLIMIT_NOFILE, &lim)));
	tight = (struct rlimit){ (rlim_t)clients[1] + 1, lim.rlim_max };
	ASSERT_OK(SYS(setrlimit(RLIMIT_NOFILE, &tight)));
	RUN_UNTIL(self->l, lis.nr_accepted > 0u);
	EXPECT_EQ(lis.last, -EMFILE);
	settle(self->l);
	/* Said once; then the owner has to ask again, and nobody was lost. */
	EXPECT_EQ(lis.nr_accepted, 1);
	EXPECT_EQ(lis.io.inflight, 0);
	ASSERT_OK(SYS(setrlimit(RLIMIT_NOFILE, &lim)));
	loop_accept(self->l, &lis.io);
	RUN_UNTIL(self->l, lis.nr_fds == 2u);
	close(clients[0]);
	close(clients[1]);
	probe_fini(&lis);
}

/* One at a time, for who has to count: the others stay in the queue. */
TEST_F(accept, one_at_a_time)
{
	struct probe lis;
	int clients[5], fd;

	probe_init(&lis, self->l, tcp_listen());
	loop_accept_one(self->l, &lis.io);
	turn(self->l, 0);
	for (int i = 0; i < 5; i++)
		clients[i] = tcp_connect(lis.io.fd);
	RUN_UNTIL(self->l, lis.nr_fds == 1u);
	EXPECT_EQ(lis.io.inflight, 0);
	settle(self->l);
	EXPECT_EQ(lis.nr_accepted, 1);
	/* They wait already. */
	loop_accept_one(self->l, &lis.io);
	RUN_UNTIL(self->l, lis.nr_fds == 2u);
	settle(self->l);
	EXPECT_EQ(lis.nr_accepted, 2);
	/* Stopped before it could: nobody is taken, or one and then the word. */
	loop_accept_one(self->l, &lis.io);
	stop_accepting(&lis);
	EXPECT_LE(lis.nr_fds, 3);
	EXPECT_EQ(lis.io.inflight, 0);
	for (u32 i = lis.nr_fds; i < 5; i++) {
		fd = accept4(lis.io.fd, NULL, NULL, SOCK_CLOEXEC);
		ASSERT_GE(fd, 0);
		close(fd);
	}
	/* And back to all of them. */
	loop_accept(self->l, &lis.io);
	for (int i = 0; i < 5; i++) {
		u32 before = lis.nr_fds;

		close(clients[i]);
		clients[i] = tcp_connect(lis.io.fd);
		RUN_UNTIL(self->l, lis.nr_fds == before + 1);
	}
	for (int i = 0; i < 5; i++)
		close(clients[i]);
	probe_fini(&lis);
}

/* A process that accepts from @listener in a loop of its own; asleep in there by now. */
static pid_t start_other(enum loop_kind kind, int listener)
{
	int ready[2];
	pid_t pid;
	char c;

	ASSERT_OK(SYS(pipe2(ready, O_CLOEXEC)));
	pid = fork();
	ASSERT_OK(SYS(pid));
	if (pid == 0) {
		struct loop *l = probe_loop(kind, NULL);
		struct probe lis;

		probe_init(&lis, l, listener);
		loop_accept(l, &lis.io);
		turn(l, 0);
		if (write(ready[1], "", 1) == 1)
			turn(l, 20000);
		_exit(0);
	}
	close(ready[1]);
	ASSERT_EQ(read(ready[0], &c, 1), 1);
	close(ready[0]);
	usleep(2000);
	return pid;
}

/*
 * A process is killed while it sleeps in its loop: from then on it takes nothing, neither by the
 * work that the kernel does as it dies, nor by a wake-up that comes to what is left of it.
 */
TEST_F(accept, what_comes_after_the_kill_is_for_others)
{
	for (int round = 0; round < 20; round++) {
		int listener = tcp_listen(), clients[41], status;
		pid_t other = start_other(variant->kind, listener);
		struct probe lis;
		char c;

		ASSERT_OK(SYS(kill(other, SIGKILL)));
		for (int i = 0; i < 40; i++) {
			clients[i] = tcp_connect(listener);
			c = (char)i;
			ASSERT_EQ(write(clients[i], &c, 1), 1);
		}
		ASSERT_EQ(waitpid(other, &status, 0), other);
		ASSERT_TRUE(WIFSIGNALED(status));
		probe_init(&lis, self->l, listener);
		loop_accept(self->l, &lis.io);
		RUN_UNTIL(self->l, lis.nr_fds == 40u);
		clients[40] = tcp_connect(listener);
		c = 40;
		ASSERT_EQ(write(clients[40], &c, 1), 1);
		RUN_UNTIL(self->l, lis.nr_fds == 41u);
		for (int i = 0; i < 41; i++) {
			ASSERT_EQ(read(lis.fds[i], &c, 1), 1);
			EXPECT_EQ(c, i);
			close(lis.fds[i]);
			close(clients[i]);
		}
		probe_fini(&lis);
	}
}

/* The owner changes its mind within callbacks: three, three one by one, three, no more. */
static void from_within(struct probe *p, enum io_op op, ssize_t n)
{
	bool stopped = n == -ECANCELED;

	(void)op;
	if (p->nr_fds == 3 && !stopped)
		stopped = loop_accept_stop(p->l, &p->io);
	if (p->nr_fds == 3 ? stopped : p->nr_fds > 3 && p->nr_fds < 6)
		loop_accept_one(p->l, &p->io);
	else if (p->nr_fds == 6)
		loop_accept(p->l, &p->io);
	else if (p->nr_fds == 9)
		p->nr_quiet += loop_cancel(p->l, &p->io);
}

TEST_F(accept, stopped_armed_and_cancelled_within_a_callback)
{
	int clients[12], fd;
	struct probe lis;

	probe_init(&lis, self->l, tcp_listen());
	lis.hook = from_within;
	for (int i = 0; i < 12; i++)
		clients[i] = tcp_connect(lis.io.fd);
	loop_accept(self->l, &lis.io);
	RUN_UNTIL(self->l, lis.nr_quiet == 1u);
	settle(self->l);
	EXPECT_EQ(lis.nr_fds, 9);
	EXPECT_EQ(lis.io.inflight, 0);
	for (int i = 0; i < 3; i++) {
		fd = accept4(lis.io.fd, NULL, NULL, SOCK_CLOEXEC);
		ASSERT_GE(fd, 0);
		close(fd);
	}
	for (int i = 0; i < 12; i++)
		close(clients[i]);
	probe_fini(&lis);
}

/* More than one turn takes: the rest comes without another connection. */
TEST_F(accept, more_than_a_batch)
{
	struct probe lis;
	int clients[200];

	probe_init(&lis, self->l, tcp_listen());
	loop_accept(self->l, &lis.io);
	settle(self->l);
	for (int i = 0; i < 200; i++)
		clients[i] = tcp_connect(lis.io.fd);
	turn(self->l, 0);
	EXPECT_LT(lis.nr_fds, 200);
	RUN_UNTIL(self->l, lis.nr_fds == 200u);
	for (int i = 0; i < 200; i++)
		close(clients[i]);
	probe_fini(&lis);
}

/* A listener that is shut says so, and takes again once it listens again. */
TEST_F(accept, shut_and_back)
{
	struct probe lis;
	int client;

	probe_init(&lis, self->l, tcp_listen());
	loop_accept(self->l, &lis.io);
	settle(self->l);
	ASSERT_OK(SYS(shutdown(lis.io.fd, SHUT_RD)));
	RUN_UNTIL(self->l, lis.nr_accepted == 1u);
	EXPECT_EQ(lis.last, -EINVAL);
	EXPECT_EQ(lis.io.inflight, 0);
	ASSERT_OK(SYS(listen(lis.io.fd, 8)));
	loop_accept(self->l, &lis.io);
	settle(self->l);
	client = tcp_connect(lis.io.fd);
	RUN_UNTIL(self->l, lis.nr_fds == 1u);
	close(client);
	probe_fini(&lis);
}
