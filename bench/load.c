// SPDX-License-Identifier: MIT
/*
 * load: a closed-loop HTTP client that keeps count per connection, which wrk does not. One thread,
 * epoll. Each connection has one request outstanding. Prints one JSON object.
 *
 *   load --port N [--path P] [--connections N] [--seconds S]   closed loop on kept connections
 *   load ... --new      a new connection for every request
 *   load ... --hold     one request on each connection, then hold them all until stdin ends
 *   load ... --rate R    open loop: R requests per second, whatever the server does
 *   load ... --timeout S   an answer that takes longer is an error
 *   load ... --beside N:PATH   N more connections that ask for PATH, counted on their own
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench/latency.h"

#define HEAD_MAX 2048 /* an answer's head must fit */
#define PER_SOURCE 20000 /* connections per 127.0.0.x source address, below the port range */
#define OPEN_AT_ONCE 256 /* --hold: connects in flight, below any backlog */
#define FLOWS_MAX 4 /* --path and what is beside it */
#define OPEN_LIMIT_S 60 /* --hold: give up opening after this long */

/* Connections that all ask for the same, and how they were answered. */
struct flow {
	const char *path;
	int nr_clients;
	char request[512];
	size_t request_len;
	uint64_t requests, errors, timeouts;
	uint64_t least, most; /* answers to one connection */
	struct latency latency;
};

struct client {
	struct flow *flow;
	int fd;
	bool holding; /* --hold: answered, nothing outstanding */
	bool idle; /* --rate: open, nothing outstanding */
	bool closes; /* the answer says that it is the last one */
	uint64_t answered; /* requests answered */
	uint64_t started_ns; /* when the outstanding request was sent */
	uint64_t body_left; /* bytes of the answer's body still to come */
	uint32_t head_len;
	char *head; /* the answer's head as far as it has come; HEAD_MAX long */
};

struct load {
	struct sockaddr_in to;
	struct client *clients;
	int nr_clients; /* of all flows */
	struct flow flows[FLOWS_MAX];
	int nr_flows;
	int ep;
	bool fresh; /* --new */
	bool hold;
	double seconds;
	double rate; /* --rate: requests per second of the first flow; 0 = closed loop */
	uint64_t due_ns; /* when its next request is to be sent */
	double timeout; /* --timeout; 0 = wait for ever */
	int nr_held, nr_failed;
};

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int send_request(struct client *c)
{
	const struct flow *f = c->flow;
	ssize_t n = send(c->fd, f->request, f->request_len, MSG_NOSIGNAL);

	return n == (ssize_t)f->request_len ? 0 : -1;
}

static void open_client(struct load *l, struct client *c)
{
	struct epoll_event ev = { .events = EPOLLOUT, .data.ptr = c };
	struct sockaddr_in from = { .sin_family = AF_INET };
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	if (l->nr_clients > PER_SOURCE) {
		from.sin_addr.s_addr =
			htonl(INADDR_LOOPBACK + 1 + (uint32_t)(c - l->clients) / PER_SOURCE);
		setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		if (bind(c->fd, (struct sockaddr *)&from, sizeof(from)))
			die("bind");
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->head_len = 0;
	c->body_left = 0;
	c->closes = false;
	c->idle = l->rate && c->flow == &l->flows[0];
	c->started_ns = now_ns();
	if (connect(c->fd, (struct sockaddr *)&l->to, sizeof(l->to)) && errno != EINPROGRESS)
		die("connect");
	/* On loopback the connect is over by now; EPOLLOUT is for when it is not. */
	if (c->idle || !send_request(c))
		ev.events = EPOLLIN;
	if (epoll_ctl(l->ep, EPOLL_CTL_ADD, c->fd, &ev))
		die("epoll_ctl");
}

static void reopen_client(struct load *l, struct client *c)
{
	close(c->fd);
	open_client(l, c);
}

static void fail_client(struct load *l, struct client *c)
{
	c->flow->errors++;
	if (l->hold) {
		l->nr_failed++;
		close(c->fd);
		c->fd = -1;
		l->nr_held -= c->holding;
		c->holding = false;
		return;
	}
	reopen_client(l, c);
}

static void count_answer(struct load *l, struct client *c)
{
	uint64_t took = now_ns() - c->started_ns;
	struct flow *f = c->flow;

	c->answered++;
	f->requests++;
	latency_add(&f->latency, took);
	if (l->hold) {
		c->holding = true;
		l->nr_held++;
		return;
	}
	if (l->fresh || c->closes) {
		reopen_client(l, c);
		return;
	}
	if (l->rate && f == &l->flows[0]) {
		c->idle = true;
		return;
	}
	c->started_ns = now_ns();
	if (send_request(c))
		fail_client(l, c);
}

/* The head is whole: 200 with a Content-Length, or it is an error. Returns the length or -1. */
static long long body_length(const char *head)
{
	const char *p = strcasestr(head, "\r\ncontent-length:");

	if (strncmp(head, "HTTP/1.1 200", 12) || !p)
		return -1;
	return strtoll(p + 17, NULL, 10);
}

/* Takes what came in; returns 1 when the answer is whole, 0 when not, -1 when it is wrong. */
static int take_bytes(struct client *c, const char *p, size_t len)
{
	char *end;
	long long body;
	size_t take, extra;

	if (c->body_left) {
		if (len > c->body_left)
			return -1;
		c->body_left -= len;
		return !c->body_left;
	}
	take = len < HEAD_MAX - 1 - c->head_len ? len : HEAD_MAX - 1 - c->head_len;
	memcpy(c->head + c->head_len, p, take);
	c->head_len += take;
	c->head[c->head_len] = '\0';
	end = memmem(c->head, c->head_len, "\r\n\r\n", 4);
	if (!end)
		return c->head_len == HEAD_MAX - 1 ? -1 : 0;
	body = body_length(c->head);
	c->closes = strcasestr(c->head, "\r\nconnection: close\r\n") != NULL;
	extra = c->head_len - (end + 4 - c->head) + (len - take);
	if (body < 0 || extra > (size_t)body)
		return -1;
	c->head_len = 0;
	c->body_left = body - extra;
	return !c->body_left;
}

static void on_readable(struct load *l, struct client *c)
{
	char buf[65536];
	ssize_t n = recv(c->fd, buf, sizeof(buf), 0);
	int ret;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (c->idle) { /* the server was tired of it */
		reopen_client(l, c);
		return;
	}
	if (n <= 0 || c->holding) {
		fail_client(l, c);
		return;
	}
	ret = take_bytes(c, buf, n);
	if (ret < 0)
		fail_client(l, c);
	else if (ret)
		count_answer(l, c);
}

static void on_event(struct load *l, const struct epoll_event *e)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = e->data.ptr };
	struct client *c = e->data.ptr;

	if (c->fd < 0)
		return;
	if (!(e->events & EPOLLOUT)) {
		on_readable(l, c);
		return;
	}
	if (send_request(c) || epoll_ctl(l->ep, EPOLL_CTL_MOD, c->fd, &ev))
		fail_client(l, c);
}

/*
 * --rate: sends what is due, on connections that are free. The time of a request begins when it was
 * due, so that a server that is late cannot hide it by taking fewer requests. Returns the ns until
 * the next one.
 */
static uint64_t send_due(struct load *l)
{
	uint64_t now = now_ns(), interval = 1e9 / l->rate;
	int i;

	for (i = 0; i < l->flows[0].nr_clients && l->due_ns <= now; i++) {
		struct client *c = &l->clients[i];

		if (!c->idle)
			continue;
		c->idle = false;
		c->started_ns = l->due_ns;
		l->due_ns += interval;
		if (send_request(c))
			fail_client(l, c);
	}
	return l->due_ns > now ? l->due_ns - now : 1000000;
}

static void turn(struct load *l, int timeout_ms)
{
	uint64_t wait_ns = timeout_ms * 1000000ull, due_in;
	struct epoll_event ev[256];
	struct timespec ts;
	int i, n;

	if (l->rate) {
		due_in = send_due(l);
		wait_ns = due_in < wait_ns ? due_in : wait_ns;
	}
	ts = (struct timespec){ .tv_nsec = wait_ns };
	n = epoll_pwait2(l->ep, ev, 256, &ts, NULL);

	for (i = 0; i < n; i++)
		on_event(l, &ev[i]);
}

/* What the connections of all flows have come to at @end_ns. */
static void sum_up(struct load *l, uint64_t end_ns)
{
	int i;

	for (i = 0; i < l->nr_flows; i++)
		l->flows[i].least = UINT64_MAX;
	for (i = 0; i < l->nr_clients; i++) {
		struct client *c = &l->clients[i];
		struct flow *f = c->flow;

		if (!c->idle &&
		    end_ns - c->started_ns > f->latency.max_ns) /* one never answered counts too */
			f->latency.max_ns = end_ns - c->started_ns;
		f->least = c->answered < f->least ? c->answered : f->least;
		f->most = c->answered > f->most ? c->answered : f->most;
	}
}

static void print_flow(const struct flow *f)
{
	printf("\"path\":\"%s\",\"connections\":%d,\"requests\":%llu,\"errors\":%llu,"
	       "\"timeouts\":%llu,\"least\":%llu,\"most\":%llu,",
	       f->path, f->nr_clients, (unsigned long long)f->requests,
	       (unsigned long long)f->errors, (unsigned long long)f->timeouts,
	       (unsigned long long)f->least, (unsigned long long)f->most);
	latency_print(&f->latency);
}

/* Gives up requests that have waited too long: each is an error, on a new connection it goes on. */
static void give_up_late(struct load *l)
{
	uint64_t now = now_ns();
	int i;

	for (i = 0; i < l->nr_clients; i++) {
		struct client *c = &l->clients[i];

		if (c->idle || now - c->started_ns < l->timeout * 1e9)
			continue;
		c->flow->timeouts++;
		latency_add(&c->flow->latency, now - c->started_ns);
		fail_client(l, c);
	}
}

static void run_loop(struct load *l)
{
	uint64_t begin = now_ns(), end = begin + l->seconds * 1e9, t, look = begin;
	int i;

	l->due_ns = begin;
	for (i = l->nr_clients; i-- > 0;) /* those beside first */
		open_client(l, &l->clients[i]);
	while ((t = now_ns()) < end) {
		turn(l, 10);
		if (l->timeout && t - look > 100000000) {
			give_up_late(l);
			look = t;
		}
	}
	sum_up(l, t);
	printf("{\"seconds\":%.6f,", (t - begin) / 1e9);
	print_flow(&l->flows[0]);
	printf(",\"beside\":[");
	for (i = 1; i < l->nr_flows; i++) {
		printf("%s{", i > 1 ? "," : "");
		print_flow(&l->flows[i]);
		printf("}");
	}
	printf("]}\n");
}

static void run_hold(struct load *l)
{
	uint64_t end = now_ns() + OPEN_LIMIT_S * 1000000000ull;
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	int opened = 0;

	while (l->nr_held + l->nr_failed < l->nr_clients && now_ns() < end) {
		while (opened < l->nr_clients && opened - l->nr_held - l->nr_failed < OPEN_AT_ONCE)
			open_client(l, &l->clients[opened++]);
		turn(l, 10);
	}
	printf("{\"held\":%d,\"errors\":%d}\n", l->nr_held, l->nr_failed);
	fflush(stdout);
	while (poll(&in, 1, 0) == 0)
		turn(l, 100);
	turn(l, 0);
	printf("{\"held\":%d,\"errors\":%d}\n", l->nr_held, l->nr_failed);
}

static void make_clients(struct load *l)
{
	struct rlimit rl;
	char *heads;
	int i, n, next = 0;

	for (i = 0; i < l->nr_flows; i++)
		l->nr_clients += l->flows[i].nr_clients;
	heads = calloc(l->nr_clients, HEAD_MAX);
	l->clients = calloc(l->nr_clients, sizeof(*l->clients));
	l->ep = epoll_create1(EPOLL_CLOEXEC);
	if (!heads || !l->clients || l->ep < 0)
		die("clients");
	for (i = 0; i < l->nr_clients; i++) {
		l->clients[i].fd = -1;
		l->clients[i].head = heads + (size_t)i * HEAD_MAX;
	}
	for (i = 0; i < l->nr_flows; i++)
		for (n = 0; n < l->flows[i].nr_clients; n++)
			l->clients[next++].flow = &l->flows[i];
	if (getrlimit(RLIMIT_NOFILE, &rl))
		die("getrlimit");
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	if (rl.rlim_cur < (rlim_t)l->nr_clients + 16) {
		errno = EMFILE;
		die("RLIMIT_NOFILE");
	}
}

static void usage(void)
{
	fprintf(stderr,
		"usage: load --port N [--host IPV4] [--path P] [--connections N]"
		" [--seconds S] [--new | --hold] [--rate R] [--timeout S] [--beside N:PATH]\n");
	exit(2);
}

static void write_request(struct load *l, struct flow *f, const char *host, int port)
{
	f->request_len =
		snprintf(f->request, sizeof(f->request), "GET %s HTTP/1.1\r\nHost: %s:%d\r\n%s\r\n",
			 f->path, host, port, l->fresh ? "Connection: close\r\n" : "");
	if (f->nr_clients < 1 || f->path[0] != '/' || f->request_len >= sizeof(f->request))
		usage();
}

/* N:PATH */
static void add_beside(struct load *l, char *arg)
{
	char *colon = strchr(arg, ':');

	if (!colon || l->nr_flows == FLOWS_MAX)
		usage();
	l->flows[l->nr_flows++] = (struct flow){ .path = colon + 1, .nr_clients = atoi(arg) };
}

static void parse_options(struct load *l, int argc, char **argv)
{
	static const struct option options[] = {
		{ "host", required_argument, NULL, 'h' },
		{ "port", required_argument, NULL, 'p' },
		{ "path", required_argument, NULL, 'P' },
		{ "connections", required_argument, NULL, 'c' },
		{ "seconds", required_argument, NULL, 's' },
		{ "new", no_argument, NULL, 'n' },
		{ "hold", no_argument, NULL, 'H' },
		{ "beside", required_argument, NULL, 'b' },
		{ "timeout", required_argument, NULL, 't' },
		{ "rate", required_argument, NULL, 'r' },
		{ NULL, 0, NULL, 0 },
	};
	const char *host = "127.0.0.1";
	int opt, i, port = 0;

	while ((opt = getopt_long(argc, argv, "h:p:P:c:s:nHb:t:r:", options, NULL)) != -1) {
		switch (opt) {
		case 'h':
			host = optarg;
			break;
		case 'p':
			port = atoi(optarg);
			break;
		case 'P':
			l->flows[0].path = optarg;
			break;
		case 'c':
			l->flows[0].nr_clients = atoi(optarg);
			break;
		case 's':
			l->seconds = atof(optarg);
			break;
		case 'n':
			l->fresh = true;
			break;
		case 'H':
			l->hold = true;
			break;
		case 'b':
			add_beside(l, optarg);
			break;
		case 'r':
			l->rate = atof(optarg);
			break;
		case 't':
			l->timeout = atof(optarg);
			break;
		default:
			usage();
		}
	}
	l->to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	if (port < 1 || port > 65535 || l->seconds <= 0 || l->rate < 0 ||
	    inet_pton(AF_INET, host, &l->to.sin_addr) != 1)
		usage();
	for (i = 0; i < l->nr_flows; i++)
		write_request(l, &l->flows[i], host, port);
}

int main(int argc, char **argv)
{
	struct load l = { .seconds = 3, .nr_flows = 1 };
	bool failed;

	l.flows[0] = (struct flow){ .path = "/", .nr_clients = 100 };

	signal(SIGPIPE, SIG_IGN);
	parse_options(&l, argc, argv);
	make_clients(&l);
	if (l.hold)
		run_hold(&l);
	else
		run_loop(&l);
	failed = l.nr_failed;
	for (int i = 0; i < l.nr_flows; i++)
		failed |= l.flows[i].errors > 0;
	free(l.clients[0].head);
	free(l.clients);
	return failed;
}
