// SPDX-License-Identifier: MIT
/*
 * handshakes: a closed-loop client of which each request has a TLS connection of its own: connect,
 * handshake, GET, answer, close. One thread, epoll. Prints one JSON object.
 *
 *   handshakes --port N [--path P] [--connections N] [--seconds S]   full handshakes
 *   handshakes ... --resume   each connection resumes the session of the one before it
 *
 * An answer that is not 200 with as many bytes as it says is an error. "resumed" says how many
 * handshakes were: a server may refuse a ticket.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/latency.h"

#define ANSWER_MAX 4096 /* a whole answer must fit */
#define MAX_CLIENTS 1000

struct client {
	int fd;
	SSL *ssl;
	SSL_SESSION *session; /* of the connection before, once its ticket has come */
	bool shaken, asked;
	uint64_t started_ns;
	size_t len;
	char answer[ANSWER_MAX + 1];
};

static struct {
	struct sockaddr_in to;
	const char *path;
	int connections;
	double seconds;
	bool resume;
} opt = { .path = "/", .connections = 10, .seconds = 3 };

static struct client clients[MAX_CLIENTS];
static struct latency latency;
static SSL_CTX *ctx;
static int ep;
static char request[512];
static unsigned long long bytes, errors, resumed;

static void die(const char *what)
{
	fprintf(stderr, "handshakes: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A ticket has come: it is for the next connection. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct client *c = SSL_get_app_data(ssl);

	SSL_SESSION_free(c->session);
	c->session = session;
	return 1;
}

static void open_client(struct client *c)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	c->ssl = SSL_new(ctx);
	if (c->fd < 0 || !c->ssl || !SSL_set_fd(c->ssl, c->fd))
		die("socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	SSL_set_app_data(c->ssl, c);
	SSL_set_tlsext_host_name(c->ssl, "localhost");
	if (opt.resume && c->session)
		SSL_set_session(c->ssl, c->session);
	SSL_set_connect_state(c->ssl);
	c->shaken = c->asked = false;
	c->len = 0;
	c->started_ns = now_ns();
	if (connect(c->fd, (struct sockaddr *)&opt.to, sizeof(opt.to)) && errno != EINPROGRESS)
		die("connect");
	if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev))
		die("epoll_ctl");
}

static void close_client(struct client *c)
{
	/* Without it OpenSSL takes the session for broken, and would not resume it. */
	SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(c->ssl);
	close(c->fd);
}

/* Whether the answer is whole and right: 1, not yet: 0, or wrong: -1. */
static int judge(const struct client *c)
{
	const char *end = strstr(c->answer, "\r\n\r\n"), *p;

	if (!end)
		return c->len == ANSWER_MAX ? -1 : 0;
	p = strcasestr(c->answer, "\r\ncontent-length:");
	if (strncmp(c->answer, "HTTP/1.1 200", 12) || !p || p > end)
		return -1;
	return (size_t)(end + 4 - c->answer) + strtoull(p + 17, NULL, 10) == c->len;
}

/* As far as it goes without waiting: 1 when the answer is whole, 0 when not, -1 on errors. */
static int advance(struct client *c)
{
	int ret = 1, err;

	if (!c->shaken) {
		ret = SSL_do_handshake(c->ssl);
		c->shaken = ret == 1;
	}
	if (c->shaken && !c->asked) {
		ret = SSL_write(c->ssl, request, strlen(request));
		c->asked = ret > 0;
	}
	while (c->asked && ret > 0) {
		ret = SSL_read(c->ssl, c->answer + c->len, ANSWER_MAX - c->len);
		if (ret <= 0)
			break;
		c->len += ret;
		c->answer[c->len] = '\0';
		if (judge(c))
			return judge(c);
	}
	err = SSL_get_error(c->ssl, ret);
	return err == SSL_ERROR_WANT_READ || err == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static void on_event(struct client *c)
{
	int ret;

	ERR_clear_error();
	ret = advance(c);
	if (!ret)
		return;
	resumed += ret > 0 && SSL_session_reused(c->ssl);
	if (ret < 0) {
		errors++;
	} else {
		latency_add(&latency, now_ns() - c->started_ns);
		bytes += c->len;
	}
	close_client(c);
	open_client(c);
}

static void run(void)
{
	uint64_t begin = now_ns(), end = begin + opt.seconds * 1e9, t;
	struct epoll_event ev[64];
	int i, n;

	for (i = 0; i < opt.connections; i++)
		open_client(&clients[i]);
	while ((t = now_ns()) < end) {
		n = epoll_wait(ep, ev, 64, 10);
		for (i = 0; i < n; i++)
			on_event(ev[i].data.ptr);
	}
	printf("{\"seconds\":%.6f,\"requests\":%llu,\"errors\":%llu,\"bytes\":%llu,\"resumed\":%"
	       "llu,",
	       (t - begin) / 1e9, (unsigned long long)latency.count, errors, bytes, resumed);
	latency_print(&latency);
	printf("}\n");
	for (i = 0; i < opt.connections; i++) {
		close_client(&clients[i]);
		SSL_SESSION_free(clients[i].session);
	}
}

static void usage(void)
{
	fprintf(stderr, "usage: handshakes --port N [--host IPV4] [--path P] [--connections N]"
			" [--seconds S] [--resume]\n");
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
		{ "resume", no_argument, NULL, 'r' },
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
		else if (o == 'r')
			opt.resume = true;
		else
			usage();
	}
	opt.to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	if (port < 1 || port > 65535 || opt.seconds <= 0 || opt.connections < 1 ||
	    opt.connections > MAX_CLIENTS || inet_pton(AF_INET, host, &opt.to.sin_addr) != 1 ||
	    snprintf(request, sizeof(request),
		     "GET %s HTTP/1.1\r\nHost: %s:%d\r\nConnection: close\r\n\r\n", opt.path, host,
		     port) >= (int)sizeof(request))
		usage();
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	parse_options(argc, argv);
	ctx = SSL_CTX_new(TLS_client_method());
	ep = epoll_create1(EPOLL_CLOEXEC);
	if (!ctx || ep < 0)
		die("start");
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	if (opt.resume)
		SSL_CTX_sess_set_new_cb(ctx, keep_session);
	run();
	SSL_CTX_free(ctx);
	return errors > 0;
}
