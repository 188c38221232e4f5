// SPDX-License-Identifier: MIT
/*
 * echo: a closed-loop WebSocket client: each connection sends a message and waits until it has come
 * back. One thread, epoll. Prints one JSON object.
 *
 *   echo --port N [--path P] [--connections N] [--seconds S] [--bytes N]
 *
 * What comes back has to be the message, in one frame of its kind; all else is an error.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/latency.h"

#define MAX_CLIENTS 4096
#define MAX_BYTES 60000
#define BUF_LEN (MAX_BYTES + 2048)

struct client {
	int fd;
	bool open; /* the handshake is done */
	uint64_t started_ns;
	size_t len; /* of what has come */
	char *buf;
};

static struct {
	struct sockaddr_in to;
	const char *path;
	int connections;
	double seconds;
	size_t bytes;
} opt = { .path = "/", .connections = 100, .seconds = 3, .bytes = 125 };

static struct client *clients;
static struct latency latency;
static int ep;
static unsigned long long errors, bytes;
static char handshake[512];
static char frame[MAX_BYTES + 16], expected[MAX_BYTES + 16];
static size_t frame_len, expected_len;

static void die(const char *what)
{
	fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A text frame of letters: masked for the server, unmasked as it has to come back. */
static size_t make_frame(char *to, bool masked)
{
	static const unsigned char mask[4] = { 0x12, 0x34, 0x56, 0x78 };
	size_t n = 0, i;

	to[n++] = (char)0x81;
	if (opt.bytes < 126) {
		to[n++] = (char)(opt.bytes | (masked ? 0x80 : 0));
	} else {
		to[n++] = (char)(126 | (masked ? 0x80 : 0));
		to[n++] = (char)(opt.bytes >> 8);
		to[n++] = (char)opt.bytes;
	}
	if (masked) {
		memcpy(to + n, mask, 4);
		n += 4;
	}
	for (i = 0; i < opt.bytes; i++)
		to[n++] = (char)(('a' + i % 26) ^ (masked ? mask[i % 4] : 0));
	return n;
}

static void open_client(struct client *c)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->open = false;
	c->len = 0;
	c->started_ns = now_ns();
	if (connect(c->fd, (struct sockaddr *)&opt.to, sizeof(opt.to)))
		die("connect");
	if (send(c->fd, handshake, strlen(handshake), MSG_NOSIGNAL) < 0 ||
	    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev))
		die("handshake");
}

/* 1 when something whole and right has come, 0 when not yet, -1 when it is wrong. */
static int judge(struct client *c)
{
	char *end;

	if (!c->open) {
		c->buf[c->len] = '\0';
		end = strstr(c->buf, "\r\n\r\n");
		if (!end)
			return c->len > 2000 ? -1 : 0;
		c->open = true;
		return !strncmp(c->buf, "HTTP/1.1 101", 12) && end + 4 == c->buf + c->len ? 1 : -1;
	}
	if (c->len > expected_len || memcmp(c->buf, expected, c->len))
		return -1;
	return c->len == expected_len;
}

static void say(struct client *c)
{
	c->len = 0;
	c->started_ns = now_ns();
	/* One message is outstanding: there is room for it. */
	if (send(c->fd, frame, frame_len, MSG_NOSIGNAL) != (ssize_t)frame_len)
		errors++;
}

static void on_readable(struct client *c)
{
	bool was_open = c->open;
	ssize_t n = recv(c->fd, c->buf + c->len, BUF_LEN - 1 - c->len, MSG_DONTWAIT);
	int ret;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	c->len += n > 0 ? n : 0;
	ret = n > 0 ? judge(c) : -1;
	if (ret < 0) {
		errors++;
		close(c->fd);
		open_client(c);
	} else if (ret) {
		if (was_open) {
			latency_add(&latency, now_ns() - c->started_ns);
			bytes += c->len;
		}
		say(c);
	}
}

static void run(void)
{
	uint64_t begin = now_ns(), end = begin + opt.seconds * 1e9, t;
	struct epoll_event ev[256];
	int i, n;

	for (i = 0; i < opt.connections; i++)
		open_client(&clients[i]);
	while ((t = now_ns()) < end) {
		n = epoll_wait(ep, ev, 256, 10);
		for (i = 0; i < n; i++)
			on_readable(ev[i].data.ptr);
	}
	printf("{\"seconds\":%.6f,\"requests\":%llu,\"errors\":%llu,\"bytes\":%llu,",
	       (t - begin) / 1e9, (unsigned long long)latency.count, errors, bytes);
	latency_print(&latency);
	printf("}\n");
}

static void usage(void)
{
	fprintf(stderr, "usage: echo --port N [--host IPV4] [--path P] [--connections N]"
			" [--seconds S] [--bytes N]\n");
	exit(2);
}

static void parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "host", required_argument, NULL, 'h' },
		{ "port", required_argument, NULL, 'p' },
		{ "path", required_argument, NULL, 'P' },
		{ "connections", required_argument, NULL, 'c' },
		{ "seconds", required_argument, NULL, 's' },
		{ "bytes", required_argument, NULL, 'b' },
		{ NULL, 0, NULL, 0 },
	};
	const char *host = "127.0.0.1";
	int o, port = 0;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'h')
			host = optarg;
		else if (o == 'p')
			port = atoi(optarg);
		else if (o == 'P')
			opt.path = optarg;
		else if (o == 'c')
			opt.connections = atoi(optarg);
		else if (o == 's')
			opt.seconds = atof(optarg);
		else if (o == 'b')
			opt.bytes = strtoul(optarg, NULL, 10);
		else
			usage();
	}
	opt.to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	if (port < 1 || port > 65535 || opt.seconds <= 0 || opt.connections < 1 ||
	    opt.connections > MAX_CLIENTS || opt.bytes < 1 || opt.bytes > MAX_BYTES ||
	    inet_pton(AF_INET, host, &opt.to.sin_addr) != 1 ||
	    snprintf(handshake, sizeof(handshake),
		     "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: "
		     "Upgrade\r\n"
		     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
		     "bGFiLWVjaG8tY2xpZW50IQ==\r\n\r\n",
		     opt.path, host, port) >= (int)sizeof(handshake))
		usage();
}

int main(int argc, char **argv)
{
	char *bufs;
	int i;

	signal(SIGPIPE, SIG_IGN);
	parse_options(argc, argv);
	clients = calloc(opt.connections, sizeof(*clients));
	bufs = calloc(opt.connections, BUF_LEN);
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (!clients || !bufs || ep < 0)
		die("start");
	for (i = 0; i < opt.connections; i++)
		clients[i].buf = bufs + (size_t)i * BUF_LEN;
	frame_len = make_frame(frame, true);
	expected_len = make_frame(expected, false);
	run();
	free(bufs);
	free(clients);
	return errors > 0;
}
