/* SPDX-License-Identifier: MIT */
/* Addresses to listen on: how they are written, and what their sockets are like. */
#include "server/listen.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "selftests/harness/harness.h"
#include "selftests/io/probe.h"

static struct bind parse(const char *uri)
{
	const char *why = "nothing was said";
	struct bind b;
	int err = bind_parse(uri, &b, &why);

	if (err)
		NOTE("%s: %s", uri, why);
	ASSERT_OK(err);
	EXPECT_STREQ(b.text, uri);
	return b;
}

TEST(addresses_that_are_taken)
{
	struct bind b = parse("tcp://127.0.0.1:80");
	struct in6_addr six;

	EXPECT_EQ(b.addr.in.sin_family, AF_INET);
	EXPECT_EQ(b.addr.in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	EXPECT_EQ(b.addr.in.sin_port, htons(80));
	EXPECT_EQ(b.addr_len, sizeof(struct sockaddr_in));
	b = parse("tcp://0.0.0.0:65535");
	EXPECT_EQ(b.addr.in.sin_addr.s_addr, 0);
	EXPECT_EQ(b.addr.in.sin_port, htons(65535));
	b = parse("tcp://[::]:9292");
	EXPECT_EQ(b.addr.in6.sin6_family, AF_INET6);
	EXPECT_EQ(b.addr.in6.sin6_port, htons(9292));
	EXPECT_EQ(b.addr_len, sizeof(struct sockaddr_in6));
	b = parse("tcp://[fe80::1:2]:9292");
	inet_pton(AF_INET6, "fe80::1:2", &six);
	EXPECT_MEMEQ(&b.addr.in6.sin6_addr, &six, sizeof(six));
	b = parse("tcp://localhost:9292");
	EXPECT_TRUE(b.addr.any.sa_family == AF_INET || b.addr.any.sa_family == AF_INET6);
	EXPECT_EQ(b.addr.in.sin_port, htons(9292)); /* at the same place in both */
	b = parse("unix:///run/app.sock");
	EXPECT_TRUE(bind_is_unix(&b));
	EXPECT_STREQ(b.addr.un.sun_path, "/run/app.sock");
}

TEST(addresses_that_are_refused)
{
	static const char *const bad[] = {
		"",
		"tcp:",
		"tcp://",
		"tcp://127.0.0.1",
		"tcp://127.0.0.1:",
		"tcp://127.0.0.1:http",
		"tcp://127.0.0.1:-1",
		"tcp://127.0.0.1:+1",
		"tcp://127.0.0.1: 1",
		"tcp://127.0.0.1:0",
		"tcp://127.0.0.1:65536",
		"tcp://127.0.0.1:99999999999999999999",
		"tcp://127.0.0.1:80/",
		"tcp://:80",
		"tcp://256.0.0.1:80",
		"tcp://::1:80",
		"tcp://[::1]",
		"tcp://[::1:80",
		"tcp://[]:80",
		"tcp://[127.0.0.1]:80",
		"tcp://[localhost]:80",
		"udp://127.0.0.1:80",
		"http://127.0.0.1:80",
		"127.0.0.1:80",
		"unix:",
		"unix://",
		"unix://run/app.sock",
		"unix:///",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *why = NULL;
		struct bind b;
		int err = bind_parse(bad[i], &b, &why);

		if (err != -EINVAL || !why || !*why)
			NOTE("%s: %d, %s", bad[i], err, why ? why : "without a reason");
		EXPECT_EQ(err, -EINVAL);
		EXPECT_TRUE(why && *why);
	}
}

TEST(addresses_of_any_length)
{
	char uri[400];

	for (size_t len = 0; len < sizeof(uri) - 20; len++) {
		const char *why = NULL;
		struct bind b;
		int n = snprintf(uri, sizeof(uri), "unix:///%0*d", (int)len, 0);

		/* sun_path has 108 bytes, with its NUL. */
		EXPECT_EQ(bind_parse(uri, &b, &why), n - 7 <= 107 ? 0 : -EINVAL);
		snprintf(uri, sizeof(uri), "tcp://%0*d.example.invalid:80", (int)len, 0);
		if (len > 100)
			EXPECT_EQ(bind_parse(uri, &b, &why), -EINVAL);
	}
}

/* A free port, from the kernel. */
static struct bind local(void)
{
	struct bind b = parse("tcp://127.0.0.1:1");
	int fd = tcp_listen();
	socklen_t len = sizeof(b.addr);

	ASSERT_OK(SYS(getsockname(fd, &b.addr.any, &len)));
	close(fd);
	return b;
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	ASSERT_OK(SYS(getsockopt(fd, level, name, &value, &len)));
	return value;
}

TEST(socket_is_as_promised)
{
	struct bind b = local();
	int fd = bind_listen(&b, 1), client, conn;

	ASSERT_GE(fd, 0);
	EXPECT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	EXPECT_TRUE(fcntl(fd, F_GETFL) & O_NONBLOCK);
	EXPECT_EQ(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
	client = tcp_connect(fd);
	conn = accept(fd, NULL, NULL);
	ASSERT_GE(conn, 0);
	EXPECT_NE(option(conn, IPPROTO_TCP, TCP_NODELAY), 0);
	close(conn);
	close(client);
	close(fd);
}

TEST(congestion_control_of_an_address)
{
	char name[CONGESTION_LEN] = "";
	socklen_t len = sizeof(name);
	const char *why = "";
	/* reno is in every kernel. */
	struct bind b = parse("tcp://127.0.0.1:80?congestion=reno");
	int fd;

	EXPECT_STREQ(b.congestion, "reno");
	b = local();
	memcpy(b.congestion, "reno", 5);
	fd = bind_listen(&b, 1);
	ASSERT_GE(fd, 0);
	ASSERT_OK(SYS(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len)));
	EXPECT_STREQ(name, "reno");
	close(fd);
	EXPECT_EQ(bind_parse("tcp://127.0.0.1:80?congestion=none-such", &b, &why), -EINVAL);
	EXPECT_EQ(bind_parse("tcp://127.0.0.1:80?congestion=", &b, &why), -EINVAL);
	EXPECT_EQ(bind_parse("tcp://127.0.0.1:80?congestion=a-name-that-is-too-long", &b, &why),
		  -EINVAL);
	EXPECT_EQ(bind_parse("tcp://127.0.0.1:80?x=y", &b, &why), -EINVAL);
	EXPECT_EQ(bind_parse("tcp://127.0.0.1:80?", &b, &why), -EINVAL);
	EXPECT_EQ(bind_parse("tcp://127.0.0.1:?congestion=reno", &b, &why), -EINVAL);
	EXPECT_EQ(bind_parse("tcp://127.0.0.1?a:80", &b, &why), -EINVAL);
}

TEST(port_alone_and_shared)
{
	struct bind b = local();
	int first = bind_listen(&b, 1), second;

	ASSERT_GE(first, 0);
	EXPECT_EQ(bind_listen(&b, 1), -EADDRINUSE);
	EXPECT_EQ(bind_listen(&b, 2), -EADDRINUSE);
	close(first);
	first = bind_listen(&b, 2);
	second = bind_listen(&b, 2);
	EXPECT_GE(first, 0);
	EXPECT_GE(second, 0);
	EXPECT_EQ(bind_listen(&b, 1), -EADDRINUSE);
	close(first);
	close(second);
}

/* A restart does not wait for the connections of the last run. */
TEST(port_with_old_connections)
{
	struct bind b = local();
	int fd = bind_listen(&b, 1), client, conn;

	ASSERT_GE(fd, 0);
	client = tcp_connect(fd);
	conn = accept(fd, NULL, NULL);
	close(conn); /* first: TIME_WAIT is on our side */
	close(fd);
	close(client);
	fd = bind_listen(&b, 1);
	EXPECT_GE(fd, 0);
	close(fd);
}

TEST(nobody_has_that_address)
{
	struct bind b = parse("tcp://192.0.2.1:9292");
	int fds = nr_open_fds();

	EXPECT_EQ(bind_listen(&b, 1), -EADDRNOTAVAIL);
	EXPECT_EQ(nr_open_fds(), fds);
}

TEST(both_families_on_one_port)
{
	struct bind four = local(), six = parse("tcp://[::]:1");
	int a, b;

	six.addr.in6.sin6_port = four.addr.in.sin_port;
	four.addr.in.sin_addr.s_addr = 0;
	a = bind_listen(&four, 1);
	b = bind_listen(&six, 1);
	if (b == -EAFNOSUPPORT || b == -EADDRNOTAVAIL)
		SKIP("ipv6: %s", strerror(-b));
	EXPECT_GE(a, 0);
	EXPECT_GE(b, 0);
	close(a);
	close(b);
}

/* A listener on its way out: who is in its queue is served, nobody comes behind them. */
TEST(no_new_connections)
{
	struct bind b = local();
	int fd = bind_listen(&b, 2), first, late, conn, err;
	char buf[8];

	ASSERT_GE(fd, 0);
	first = tcp_connect(fd);
	err = bind_stop_new(fd);
	if (err == -EPERM)
		SKIP("bpf: SO_ATTACH_FILTER: EPERM");
	ASSERT_OK(err);
	late = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ASSERT_GE(late, 0);
	EXPECT_EQ(SYS(connect(late, &b.addr.any, b.addr_len)), -EINPROGRESS);
	conn = accept(fd, NULL, NULL);
	ASSERT_GE(conn, 0);
	EXPECT_EQ(SYS(accept(fd, NULL, NULL)), -EAGAIN);
	close(fd);
	/* The connection itself is as any other. */
	ASSERT_EQ(send(first, "ping", 4, 0), 4);
	ASSERT_EQ(recv(conn, buf, sizeof(buf), 0), 4);
	ASSERT_EQ(send(conn, "pong", 4, 0), 4);
	close(conn);
	ASSERT_EQ(recv(first, buf, sizeof(buf), 0), 4);
	EXPECT_EQ(recv(first, buf, sizeof(buf), 0), 0);
	/* The late one has sent nothing, and may try elsewhere. */
	EXPECT_EQ(SYS(send(late, "x", 1, MSG_NOSIGNAL)), -EAGAIN);
	close(first);
	close(late);
}

/* --- Unix sockets --- */

FIXTURE(path)
{
	char dir[64];
	struct bind bind;
};
FIXTURE_SETUP(path)
{
	char uri[100];

	snprintf(self->dir, sizeof(self->dir), "/tmp/hyperion-listen-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(self->dir));
	snprintf(uri, sizeof(uri), "unix://%s/s", self->dir);
	self->bind = parse(uri);
}
FIXTURE_TEARDOWN(path)
{
	unlink(self->bind.addr.un.sun_path);
	rmdir(self->dir);
}

static int try_connect(const struct bind *b)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	ASSERT_GE(fd, 0);
	if (connect(fd, &b->addr.any, b->addr_len) == 0)
		return fd;
	close(fd);
	return -errno;
}

TEST_F(path, serves_and_goes)
{
	const char *path = self->bind.addr.un.sun_path;
	int fd = bind_listen(&self->bind, 1), client;

	ASSERT_GE(fd, 0);
	client = try_connect(&self->bind);
	EXPECT_GE(client, 0);
	close(client);
	close(fd);
	EXPECT_EQ(access(path, F_OK), 0);
	bind_unlink(&self->bind);
	EXPECT_NE(access(path, F_OK), 0);
}

TEST_F(path, leftover_is_replaced)
{
	int fd = bind_listen(&self->bind, 1), client;

	ASSERT_GE(fd, 0);
	close(fd); /* as a crash leaves it */
	EXPECT_EQ(try_connect(&self->bind), -ECONNREFUSED);
	fd = bind_listen(&self->bind, 1);
	ASSERT_GE(fd, 0);
	client = try_connect(&self->bind);
	EXPECT_GE(client, 0);
	close(client);
	close(fd);
}

TEST_F(path, another_server_keeps_it)
{
	int fd = bind_listen(&self->bind, 1), client;

	ASSERT_GE(fd, 0);
	EXPECT_EQ(bind_listen(&self->bind, 1), -EADDRINUSE);
	client = try_connect(&self->bind);
	EXPECT_GE(client, 0);
	close(client);
	close(fd);
}

/* Its queue is full: it is alive all the same, and asking must not hang. */
TEST_F(path, another_server_that_is_busy_keeps_it)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), clients[64], nr = 0;

	ASSERT_GE(fd, 0);
	ASSERT_OK(SYS(bind(fd, &self->bind.addr.any, self->bind.addr_len)));
	ASSERT_OK(SYS(listen(fd, 1)));
	while (nr < 64 && (clients[nr] = try_connect(&self->bind)) >= 0)
		nr++;
	ASSERT_LT(nr, 64);
	EXPECT_EQ(clients[nr], -EAGAIN);
	EXPECT_EQ(bind_listen(&self->bind, 1), -EADDRINUSE);
	EXPECT_EQ(access(self->bind.addr.un.sun_path, F_OK), 0);
	while (nr-- > 0)
		close(clients[nr]);
	close(fd);
}

TEST_F(path, file_is_not_touched)
{
	const char *path = self->bind.addr.un.sun_path;
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(write(fd, "mine", 4), 4);
	close(fd);
	EXPECT_EQ(bind_listen(&self->bind, 1), -EADDRINUSE);
	EXPECT_EQ(access(path, F_OK), 0);
}

TEST_F(path, no_such_folder)
{
	struct bind b = parse("unix:///nonexistent/folder/s");

	EXPECT_EQ(bind_listen(&b, 1), -ENOENT);
}
