/* SPDX-License-Identifier: MIT */
#include "selftests/io/site.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selftests/h1_rules.h"
#include "selftests/harness/harness.h"
#include "selftests/io/probe.h"
#include "server/h1.h"
#include "server/route.h"

#define START_MS 1000000

static bool set_up(struct site *s, struct loop *loop)
{
	*s = (struct site){ .client = -1, .loop = loop };
	s->routes = h1_rules_routes();
	if (!s->routes) {
		loop_free(loop);
		return false;
	}
	h1_rules_set_limits(&s->limits);
	http_init(&s->http, &s->limits, s->routes);
	s->http.now_ns = START_MS * NSEC_PER_MSEC;
	date_set(&s->http.date, 784111777);
	wheel_init(&s->wheel, START_MS);
	conns_init(&s->conns, s->loop, &s->http, &s->wheel);
	return true;
}

void site_init(struct site *s, enum loop_kind kind)
{
	ASSERT_TRUE(set_up(s, probe_loop(kind, NULL)));
}

bool site_try_init(struct site *s, enum loop_kind kind)
{
	struct loop_config config = { .kind = kind };
	struct loop *loop;

	return loop_new(&loop, &config) == 0 && set_up(s, loop);
}

void site_fini(struct site *s)
{
	site_close_client(s, false);
	conns_close(&s->conns);
	SITE_UNTIL(s, s->conns.nr == 0);
	EXPECT_EQ(s->http.reqs.nr_used, 0);
	EXPECT_EQ(wheel_next(&s->wheel), -1);
	loop_free(s->loop);
	conns_fini(&s->conns);
	http_fini(&s->http);
	route_table_put(s->routes);
	free(s->out);
}

int site_connect(struct site *s)
{
	int fds[2], one = 1;

	ASSERT_EQ(s->client, -1);
	tcp_pair(fds);
	s->client = fds[1];
	s->out_len = 0;
	s->out_eof = false;
	s->out_err = 0;
	ASSERT_OK(SYS(fcntl(fds[0], F_SETFL, O_NONBLOCK)));
	ASSERT_OK(SYS(fcntl(fds[1], F_SETFL, O_NONBLOCK)));
	/* So that each piece of the client's is a receive of its own. */
	ASSERT_OK(SYS(setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))));
	return conn_open(&s->conns, fds[0], &h1_proto);
}

void site_turn(struct site *s, int wait_ms)
{
	ASSERT_OK(loop_wait(s->loop, wait_ms * (s64)NSEC_PER_MSEC));
	conns_turn(&s->conns);
	loop_dispatch(s->loop);
	wheel_advance(&s->wheel, s->http.now_ns / NSEC_PER_MSEC);
	conns_flush(&s->conns);
}

void site_pass(struct site *s, u64 ms)
{
	while (ms) {
		u64 step = min(ms, (u64)MSEC_PER_SEC);

		s->http.now_ns += step * NSEC_PER_MSEC;
		ms -= step;
		site_turn(s, 0);
		site_turn(s, 0);
	}
}

size_t site_write(struct site *s, const char *p, size_t len)
{
	size_t off = 0;
	ssize_t n;

	if (s->client < 0)
		return 0;
	while (off < len && (n = send(s->client, p + off, len - off, MSG_NOSIGNAL)) > 0)
		off += (size_t)n;
	if (off < len && errno != EAGAIN)
		s->out_err = errno;
	return off;
}

void site_read(struct site *s)
{
	ssize_t n;

	if (s->client < 0)
		return;
	do {
		if (s->out_room - s->out_len < 65536) {
			s->out_room = s->out_room * 2 + 65536;
			s->out = realloc(s->out, s->out_room);
			ASSERT_NOT_NULL(s->out);
		}
		n = recv(s->client, s->out + s->out_len, s->out_room - s->out_len, 0);
		if (n > 0)
			s->out_len += (size_t)n;
	} while (n > 0);
	if (n == 0)
		s->out_eof = true;
	else if (errno != EAGAIN)
		s->out_err = errno;
}

void site_close_client(struct site *s, bool reset)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	if (s->client < 0)
		return;
	if (reset)
		setsockopt(s->client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(s->client);
	s->client = -1;
}
