/* SPDX-License-Identifier: MIT */
#include "selftests/io/conn_bed.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/route.h"
#include "selftests/harness/harness.h"

#define BIG_LEN (100 * KIB)

static struct bed *bed_of(struct link *l)
{
	return container_of(l->http, struct bed, http);
}

static void bed_open(struct link *l)
{
	(void)l;
}

static size_t bed_input(struct link *l, const char *p, size_t len)
{
	struct bed *b = bed_of(l);
	size_t n = min(len, b->take_max - b->in_len);

	if (b->in_len + n > b->in_room) {
		b->in_room = max(b->in_len + n, b->in_room * 2);
		b->in = realloc(b->in, b->in_room);
		ASSERT_NOT_NULL(b->in);
	}
	memcpy(b->in + b->in_len, p, n);
	b->in_len += n;
	if (b->in_len == b->take_max)
		l->flags |= LINK_PAUSED;
	return n;
}

static void bed_eof(struct link *l)
{
	bed_of(l)->nr_eof++;
	l->flags |= LINK_EOF | bed_of(l)->close_at_eof;
}

static void bed_timeout(struct link *l)
{
	bed_of(l)->nr_timeout++;
	l->deadline_ns = 0;
}

static void bed_output(struct link *l)
{
	bed_of(l)->nr_output++;
}

static void bed_shutdown(struct link *l)
{
	bed_of(l)->nr_shutdown++;
}

static void bed_close(struct link *l)
{
	bed_of(l)->nr_close++;
}

const struct proto bed_proto = {
	.name = "test",
	.open = bed_open,
	.input = bed_input,
	.eof = bed_eof,
	.timeout = bed_timeout,
	.output = bed_output,
	.shutdown = bed_shutdown,
	.close = bed_close,
};

static void add_route(struct bed *b, struct view path, struct view body)
{
	struct handler *h = handler_constant(200, VIEW("text/plain"), VIEW(""), body);

	ASSERT_NOT_NULL(h);
	ASSERT_OK(route_add(b->routes, METHOD_GET, path, h));
}

void bed_init(struct bed *b, enum loop_kind kind)
{
	char *big = calloc(1, BIG_LEN);

	*b = (struct bed){ .limits = LIMITS_DEFAULT, .take_max = SIZE_MAX };
	b->l = probe_loop(kind, NULL);
	b->routes = route_table_new();
	ASSERT_TRUE(big && b->routes);
	add_route(b, VIEW("/"), VIEW("hello\n"));
	add_route(b, VIEW("/big"), (struct view){ big, BIG_LEN });
	free(big);
	http_init(&b->http, &b->limits, b->routes);
	b->http.now_ns = 1000 * NSEC_PER_SEC;
	date_set(&b->http.date, 1700000000);
	wheel_init(&b->wheel, b->http.now_ns / NSEC_PER_MSEC);
	conns_init(&b->conns, b->l, &b->http, &b->wheel);
}

void bed_fini(struct bed *b)
{
	conns_close(&b->conns);
	BED_UNTIL(b, b->conns.nr == 0u);
	EXPECT_TRUE(list_empty(&b->conns.dirty));
	EXPECT_EQ(wheel_next(&b->wheel), -1);
	loop_free(b->l);
	conns_fini(&b->conns);
	http_fini(&b->http);
	route_table_put(b->routes);
	free(b->in);
}

int bed_connect(struct bed *b, const struct proto *proto)
{
	int fds[2];

	tcp_pair(fds);
	ASSERT_OK(SYS(fcntl(fds[0], F_SETFL, O_NONBLOCK))); /* as the loop accepts them */
	ASSERT_OK(conn_open(&b->conns, fds[0], proto));
	return fds[1];
}

struct conn *bed_conn(struct bed *b)
{
	return list_empty(&b->conns.all) ? NULL : list_entry(b->conns.all.prev, struct conn, all);
}

void bed_turn(struct bed *b, int ms)
{
	ASSERT_OK(loop_wait(b->l, ms * (s64)NSEC_PER_MSEC));
	conns_turn(&b->conns);
	loop_dispatch(b->l);
	wheel_advance(&b->wheel, b->http.now_ns / NSEC_PER_MSEC);
	conns_flush(&b->conns);
}

void bed_settle(struct bed *b)
{
	for (int i = 0; i < 3; i++) {
		for (int j = 0; j < 6; j++)
			bed_turn(b, 0);
		bed_turn(b, 3);
	}
}

void bed_wait(struct bed *b, u64 ms)
{
	while (ms) {
		u64 step = min(ms, (u64)100);

		b->http.now_ns += step * NSEC_PER_MSEC;
		ms -= step;
		for (int i = 0; i < 3; i++)
			bed_turn(b, 0);
	}
	bed_settle(b);
}

void bed_say(int peer, const char *text)
{
	ASSERT_EQ(send(peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

ssize_t bed_read(struct bed *b, int peer, char *p, size_t room)
{
	u64 end = probe_clock_ms() + 5000 * probe_time_scale();
	size_t len = 0;

	while (len < room && probe_clock_ms() < end) {
		ssize_t n = recv(peer, p + len, room - len, MSG_DONTWAIT);

		if (n == 0)
			return (ssize_t)len;
		if (n > 0)
			len += (size_t)n;
		else if (errno != EAGAIN)
			return -errno;
		bed_turn(b, n < 0);
	}
	return len == room ? (ssize_t)len : -ETIMEDOUT;
}
