/* SPDX-License-Identifier: MIT */
#include "selftests/io/probe.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "selftests/harness/harness.h"

static struct probe *probe_of(struct io *io)
{
	return container_of(io, struct probe, io);
}

static void say(struct probe *p, u32 *count, enum io_op op, ssize_t n)
{
	++*count;
	p->last = n;
	if (p->hook)
		p->hook(p, op, n);
}

static void accepted(struct io *io, int fd)
{
	struct probe *p = probe_of(io);

	if (fd >= 0) {
		ASSERT_LT(p->nr_fds, PROBE_FDS);
		p->fds[p->nr_fds++] = fd;
	}
	say(p, &p->nr_accepted, IO_ACCEPT, fd);
}

static void received(struct io *io, const char *from, ssize_t n)
{
	struct probe *p = probe_of(io);

	if (n > 0) {
		size_t need = p->in_len + (size_t)n;

		if (need > p->in_room) {
			p->in_room = max(need, p->in_room * 2);
			p->in = realloc(p->in, p->in_room);
			ASSERT_NOT_NULL(p->in);
		}
		memcpy(p->in + p->in_len, from, (size_t)n);
		p->in_len = need;
	}
	say(p, &p->nr_received, IO_RECV, n);
}

static void sent(struct io *io, ssize_t n)
{
	say(probe_of(io), &probe_of(io)->nr_sent, IO_SEND, n);
}

static void ready(struct io *io, int revents)
{
	say(probe_of(io), &probe_of(io)->nr_ready, IO_POLL, revents);
}

static void wrote(struct io *io, ssize_t n)
{
	say(probe_of(io), &probe_of(io)->nr_wrote, IO_WRITE, n);
}

static void spliced(struct io *io, ssize_t n)
{
	say(probe_of(io), &probe_of(io)->nr_spliced, IO_SPLICE, n);
}

static void quiet(struct io *io)
{
	struct probe *p = probe_of(io);

	p->nr_quiet++;
	EXPECT_EQ(io->inflight, 0);
	if (p->quiet)
		p->quiet(p);
}

static const struct io_ops probe_ops = {
	.accepted = accepted,
	.received = received,
	.sent = sent,
	.ready = ready,
	.wrote = wrote,
	.spliced = spliced,
	.quiet = quiet,
};

struct loop *probe_loop(enum loop_kind kind, const struct loop_config *config)
{
	struct loop_config c = config ? *config : (struct loop_config){ 0 };
	const char *why;
	struct loop *l;

	c.kind = kind;
	if (kind == LOOP_URING && loop_probe_uring(&why))
		SKIP("io_uring: %s", why);
	ASSERT_OK(loop_new(&l, &c));
	return l;
}

void probe_init(struct probe *p, struct loop *l, int fd)
{
	*p = (struct probe){ .l = l };
	ASSERT_OK(loop_add(l, &p->io, fd, &probe_ops));
}

void probe_init_plain(struct probe *p, struct loop *l, int fd)
{
	*p = (struct probe){ .l = l };
	ASSERT_OK(loop_add_plain(l, &p->io, fd, &probe_ops));
}

void probe_fini(struct probe *p)
{
	p->hook = NULL;
	p->quiet = NULL;
	if (!loop_cancel(p->l, &p->io)) {
		u32 before = p->nr_quiet;

		RUN_UNTIL(p->l, p->nr_quiet > before);
	}
	loop_close(p->l, &p->io);
	for (u32 i = 0; i < p->nr_fds; i++)
		close(p->fds[i]);
	free(p->in);
	p->in = NULL;
}

u32 probe_events(const struct probe *p)
{
	return p->nr_accepted + p->nr_received + p->nr_sent + p->nr_ready + p->nr_wrote +
	       p->nr_spliced + p->nr_quiet;
}

void turn(struct loop *l, int ms)
{
	ASSERT_OK(loop_wait(l, ms * (s64)NSEC_PER_MSEC));
	loop_dispatch(l);
}

void settle(struct loop *l)
{
	/* Loopback and socket pairs deliver at once; the sleeps are for io_uring's own workers. */
	for (int i = 0; i < 4; i++) {
		for (int j = 0; j < 8; j++)
			turn(l, 0);
		turn(l, 5);
	}
}

u64 probe_clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * MSEC_PER_SEC + (u64)ts.tv_nsec / NSEC_PER_MSEC;
}

u64 probe_time_scale(void)
{
	const char *scale = getenv("HYPERION_TIME_SCALE");

	return scale && atoi(scale) > 0 ? (u64)atoi(scale) : 1;
}

void stream_pair(int fds[2])
{
	ASSERT_OK(SYS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)));
}

int tcp_listen(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	ASSERT_GE(fd, 0);
	ASSERT_OK(SYS(bind(fd, (struct sockaddr *)&sin, sizeof(sin))));
	ASSERT_OK(SYS(listen(fd, PROBE_FDS)));
	return fd;
}

int tcp_connect(int listener)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);

	ASSERT_GE(fd, 0);
	ASSERT_OK(SYS(getsockname(listener, (struct sockaddr *)&sin, &len)));
	ASSERT_OK(SYS(connect(fd, (struct sockaddr *)&sin, len)));
	return fd;
}

void tcp_pair(int fds[2])
{
	int listener = tcp_listen(), on = 1;

	fds[1] = tcp_connect(listener);
	fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ASSERT_GE(fds[0], 0);
	close(listener);
	/* Small pieces arrive as they are sent. */
	ASSERT_OK(SYS(setsockopt(fds[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))));
}

struct writer {
	pthread_t thread;
	int fd;
	const char *p;
	size_t len;
	struct rng rng;
};

static void *write_all(void *arg)
{
	struct writer *w = arg;
	size_t off = 0;

	while (off < w->len) {
		size_t want = min(w->len - off, 1 + rng_below(&w->rng, 20000));
		ssize_t n = send(w->fd, w->p + off, want, MSG_NOSIGNAL);

		EXPECT_GT(n, 0);
		if (n <= 0)
			break;
		off += (size_t)n;
		if (rng_below(&w->rng, 4) == 0)
			sched_yield();
	}
	return NULL;
}

struct writer *writer_start(int fd, const void *p, size_t len, u64 seed)
{
	struct writer *w = calloc(1, sizeof(*w));

	ASSERT_NOT_NULL(w);
	*w = (struct writer){ .fd = fd, .p = p, .len = len };
	rng_init_seed(&w->rng, seed);
	ASSERT_OK(-pthread_create(&w->thread, NULL, write_all, w));
	return w;
}

void writer_join(struct writer *w)
{
	ASSERT_OK(-pthread_join(w->thread, NULL));
	free(w);
}

size_t read_now(int fd, char *p, size_t room)
{
	size_t len = 0;
	ssize_t n;

	while (len < room && (n = recv(fd, p + len, room - len, MSG_DONTWAIT)) > 0)
		len += (size_t)n;
	return len;
}

size_t fill(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	static char junk[4096];
	size_t len = 0;
	ssize_t n;

	ASSERT_OK(SYS(fcntl(fd, F_SETFL, flags | O_NONBLOCK)));
	while ((n = write(fd, junk, sizeof(junk))) > 0)
		len += (size_t)n;
	/* What a page does not fit into, a byte may. */
	while ((n = write(fd, junk, 1)) > 0)
		len += (size_t)n;
	ASSERT_OK(SYS(fcntl(fd, F_SETFL, flags)));
	return len;
}

int nr_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int nr = 0;

	ASSERT_NOT_NULL(dir);
	while (readdir(dir))
		nr++;
	closedir(dir);
	return nr;
}
