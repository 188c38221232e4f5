// SPDX-License-Identifier: MIT
/*
 * arrivals: an open-loop HTTP client. So many connections begin in each second, whatever became of
 * those before; each asks once and is counted by its end. Times are from when it was due. One JSON object.
 *
 *   arrivals --port N --rate R --seconds S [--path P] [--every MS:PATH]
 *
 * --every: besides, one request for PATH every MS milliseconds, which is not counted.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LATE_NS 10000000000ull /* who has no answer by then will not get one */
#define TICK_MS 1
#define EVENTS 256

enum end {
	ANSWERED,
	REFUSED, /* no connection */
	RESET, /* before a byte of the answer */
	CUT, /* within it, or closed without it */
	LATE,
	NR_ENDS
};

static const char *const end_names[NR_ENDS] = { "answered", "refused", "reset", "cut", "late" };

struct client {
	int fd; /* -1 = not begun, or ended */
	bool counts, sent, has_bytes;
	const char *path;
	uint64_t due_ns;
};

struct arrivals {
	struct sockaddr_in to;
	int epoll;
	uint32_t nr, nr_open, nr_times;
	struct client *clients;
	uint64_t ends[NR_ENDS], *times;
	uint64_t looked_ns;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void end(struct arrivals *a, struct client *c, enum end how)
{
	close(c->fd);
	c->fd = -1;
	a->nr_open--;
	if (!c->counts)
		return;
	a->ends[how]++;
	if (how == ANSWERED)
		a->times[a->nr_times++] = now_ns() - c->due_ns;
}

static void begin(struct arrivals *a, struct client *c)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0) {
		perror("arrivals: socket");
		exit(1);
	}
	a->nr_open++;
	if ((connect(c->fd, (struct sockaddr *)&a->to, sizeof(a->to)) && errno != EINPROGRESS) ||
	    epoll_ctl(a->epoll, EPOLL_CTL_ADD, c->fd, &ev))
		end(a, c, REFUSED);
}

/* The connection stands: asks. false: it does not. */
static bool ask(struct client *c)
{
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", c->path);

	c->sent = send(c->fd, text, (size_t)n, MSG_NOSIGNAL) == n;
	return c->sent;
}

static void go_on(struct arrivals *a, struct client *c, uint32_t events)
{
	char bytes[16384];
	ssize_t n;

	if (c->fd < 0)
		return;
	if (!c->sent && !ask(c)) {
		if (errno != EAGAIN || events & (EPOLLERR | EPOLLHUP))
			end(a, c, errno == ECONNRESET ? RESET : REFUSED);
		return;
	}
	while ((n = recv(c->fd, bytes, sizeof(bytes), 0)) > 0) {
		if (!c->has_bytes && strncmp(bytes, "HTTP/1.1 200", 12) != 0) {
			end(a, c, CUT);
			return;
		}
		c->has_bytes = true;
	}
	if (n == 0)
		end(a, c, c->has_bytes ? ANSWERED : CUT);
	else if (errno != EAGAIN)
		end(a, c, c->has_bytes ? CUT : RESET);
}

static void wait_and_go(struct arrivals *a)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(a->epoll, events, EVENTS, TICK_MS);

	for (int i = 0; i < n; i++)
		go_on(a, events[i].data.ptr, events[i].events);
}

/* Looks through all of them, and so not often. */
static void give_up(struct arrivals *a)
{
	uint64_t now = now_ns();

	if (now - a->looked_ns < 1000000000ull)
		return;
	a->looked_ns = now;
	for (uint32_t i = 0; i < a->nr; i++)
		if (a->clients[i].fd >= 0 && now - a->clients[i].due_ns > LATE_NS)
			end(a, &a->clients[i], LATE);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double quantile_us(const struct arrivals *a, uint32_t per_mille)
{
	uint64_t i = (uint64_t)a->nr_times * per_mille / 1000;

	return a->nr_times ? (double)a->times[i < a->nr_times ? i : a->nr_times - 1] / 1e3 : 0;
}

static void say(struct arrivals *a)
{
	qsort(a->times, a->nr_times, sizeof(*a->times), compare);
	printf("{");
	for (int i = 0; i < NR_ENDS; i++)
		printf("\"%s\":%llu,", end_names[i], (unsigned long long)a->ends[i]);
	printf("\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f}\n",
	       quantile_us(a, 500), quantile_us(a, 990), quantile_us(a, 999), quantile_us(a, 1000));
}

/* In the order in which they are due: those that count, and the others in between. */
static void plan(struct arrivals *a, double rate, double seconds, const char *path,
		 uint32_t every_ms, const char *beside)
{
	uint64_t from = now_ns() + 10000000, step = (uint64_t)(1e9 / rate), next = from;
	uint32_t counted = (uint32_t)(rate * seconds);

	a->clients = calloc(counted + (every_ms ? (uint32_t)(seconds * 1e3 / every_ms) + 1 : 0) + 1,
			    sizeof(*a->clients));
	a->times = calloc(counted + 1, sizeof(*a->times));
	if (!a->clients || !a->times)
		exit(1);
	for (uint32_t i = 0; i < counted; i++) {
		uint64_t due = from + i * step;

		if (every_ms && due >= next) {
			a->clients[a->nr++] =
				(struct client){ .fd = -1, .path = beside, .due_ns = next };
			next += every_ms * 1000000ull;
		}
		a->clients[a->nr++] =
			(struct client){ .fd = -1, .path = path, .counts = true, .due_ns = due };
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "port", 1, NULL, 'p' }, { "rate", 1, NULL, 'r' },  { "seconds", 1, NULL, 's' },
		{ "path", 1, NULL, 'P' }, { "every", 1, NULL, 'e' }, { NULL, 0, NULL, 0 },
	};
	struct arrivals a = { .to.sin_family = AF_INET };
	const char *path = "/", *beside = "/";
	double rate = 0, seconds = 0;
	uint32_t every_ms = 0, begun = 0;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'p')
			a.to.sin_port = htons((uint16_t)atoi(optarg));
		else if (o == 'r')
			rate = atof(optarg);
		else if (o == 's')
			seconds = atof(optarg);
		else if (o == 'P')
			path = optarg;
		else if (o == 'e' && strchr(optarg, ':'))
			every_ms = (uint32_t)atoi(optarg), beside = strchr(optarg, ':') + 1;
		else
			return 2;
	}
	if (!a.to.sin_port || rate < 1 || seconds <= 0 || strlen(path) > 400)
		return 2;
	a.to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.epoll = epoll_create1(EPOLL_CLOEXEC);
	plan(&a, rate, seconds, path, every_ms, beside);
	while (begun < a.nr || a.nr_open) {
		while (begun < a.nr && a.clients[begun].due_ns <= now_ns())
			begin(&a, &a.clients[begun++]);
		wait_and_go(&a);
		if (a.nr_open)
			give_up(&a);
	}
	say(&a);
	return 0;
}
