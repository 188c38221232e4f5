// SPDX-License-Identifier: MIT
/*
 * floor: the least an HTTP responder can cost here. It counts request heads and answers each with
 * one fixed answer; no routing, no header parsing beyond "Connection: close", no time-outs.
 *
 * Shape: one thread, one ring (DEFER_TASKRUN), multishot accept, one provided-buffer ring, at most
 * one send in flight per connection, one io_uring_enter per batch of completions. The first receive
 * of a connection is a single one: a connection that closes after its first answer then has nothing
 * left to cancel. A second request arms the multishot receive.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define SQ_ENTRIES 2048
#define CQ_ENTRIES 8192
#define NR_BUFS 256 /* power of two; small enough to stay in the second-level cache */
#define BUF_LEN 2048
#define BUF_GROUP 0
#define MAX_COPIES 256 /* answers in one send */
#define MAX_BATCH 512 /* completions looked at between two enters */
#define LINE_KEEP 20 /* as much of a line as decides whether it is "Connection: close" */
#define MAX_CONNS 65536u
#define MAX_BODY 4096

enum op { OP_ACCEPT, OP_RECV, OP_SEND, OP_CLOSE };

struct conn {
	uint64_t owed; /* answer bytes not yet accepted by the kernel, of ordinary answers */
	uint32_t phase; /* how far into one answer the next byte to send is */
	uint32_t fin_off; /* bytes of the closing answer sent */
	uint8_t line_len;
	bool second; /* the first, single receive has ended: from now on multishot */
	bool used;
	bool receiving; /* a receive is in flight */
	bool sending; /* a send is in flight */
	bool dirty; /* on the dirty list */
	bool want_close; /* the peer asked for it: send the closing answer, then close */
	bool dead; /* end of file or an error: close as soon as nothing is in flight */
	bool in_head; /* at least one non-empty line of the current head was seen */
	char line[LINE_KEEP]; /* start of a line that a receive cut */
};

struct floor {
	struct io_uring ring;
	struct io_uring_buf_ring *br;
	char *bufs;
	int listen_fd;
	struct conn *conns; /* indexed by descriptor */
	uint32_t max_conns;
	int *dirty;
	unsigned int nr_dirty;
	char *answers; /* MAX_COPIES copies, so that any run of answers is one plain send */
	uint32_t answer_len;
	char fin[256]; /* the answer that announces the close */
	uint32_t fin_len;
};

static const char answer_head[] = "HTTP/1.1 200 OK\r\n"
				  "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
				  "Content-Type: text/plain\r\n";

static void die(const char *what, int err)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

static struct io_uring_sqe *get_sqe(struct floor *f)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&f->ring);

	while (!sqe) {
		int ret = io_uring_submit(&f->ring);

		if (ret < 0 && ret != -EBUSY && ret != -EAGAIN && ret != -EINTR)
			die("submit", ret);
		sqe = io_uring_get_sqe(&f->ring);
	}
	return sqe;
}

static void tag(struct io_uring_sqe *sqe, enum op op, int fd)
{
	io_uring_sqe_set_data64(sqe, (uint64_t)op << 32 | (uint32_t)fd);
}

static void arm_accept(struct floor *f)
{
	struct io_uring_sqe *sqe = get_sqe(f);

	io_uring_prep_multishot_accept(sqe, f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	tag(sqe, OP_ACCEPT, f->listen_fd);
}

static void arm_recv(struct floor *f, int fd)
{
	struct io_uring_sqe *sqe = get_sqe(f);

	if (f->conns[fd].second) {
		io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	} else {
		io_uring_prep_recv(sqe, fd, NULL, BUF_LEN, 0);
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST; /* its request is still on the way */
	}
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = BUF_GROUP;
	tag(sqe, OP_RECV, fd);
	f->conns[fd].receiving = true;
}

static void arm_send(struct floor *f, int fd)
{
	struct conn *c = &f->conns[fd];
	struct io_uring_sqe *sqe = get_sqe(f);

	if (c->owed) {
		uint64_t room = (uint64_t)MAX_COPIES * f->answer_len - c->phase;

		io_uring_prep_send(sqe, fd, f->answers + c->phase, c->owed < room ? c->owed : room,
				   MSG_NOSIGNAL);
	} else {
		io_uring_prep_send(sqe, fd, f->fin + c->fin_off, f->fin_len - c->fin_off,
				   MSG_NOSIGNAL);
	}
	tag(sqe, OP_SEND, fd);
	c->sending = true;
}

static void mark_dirty(struct floor *f, int fd)
{
	if (f->conns[fd].dirty)
		return;
	f->conns[fd].dirty = true;
	f->dirty[f->nr_dirty++] = fd;
}

static bool is_close_line(const char *p, size_t len)
{
	static const char want[] = "connection: close\r";

	return len == sizeof(want) - 1 && !strncasecmp(p, want, sizeof(want) - 1);
}

/* One whole line without its LF. An empty one ends a head, which is a request. */
static void take_line(struct floor *f, struct conn *c, const char *p, size_t len)
{
	if (len == 1 && p[0] == '\r') {
		if (c->in_head && c->want_close)
			c->dead = true; /* the closing answer is the last one */
		else if (c->in_head)
			c->owed += f->answer_len;
		c->in_head = false;
		return;
	}
	c->in_head = true;
	if ((p[0] | 0x20) == 'c' && is_close_line(p, len))
		c->want_close = true;
}

static void take_bytes(struct floor *f, struct conn *c, const char *p, size_t len)
{
	const char *end = p + len;

	while (p < end && !c->dead) {
		const char *lf = memchr(p, '\n', end - p);
		size_t n = (lf ? lf : end) - p;

		if (lf && !c->line_len) {
			if (n)
				take_line(f, c, p, n);
		} else {
			size_t room = LINE_KEEP - c->line_len;

			memcpy(c->line + c->line_len, p, n < room ? n : room);
			c->line_len += n < room ? n : room;
			if (lf) {
				take_line(f, c, c->line, c->line_len);
				c->line_len = 0;
			}
		}
		p += n + 1;
	}
}

static void on_accept(struct floor *f, const struct io_uring_cqe *cqe)
{
	if (cqe->res >= 0 && (uint32_t)cqe->res < f->max_conns) {
		f->conns[cqe->res] = (struct conn){ .used = true };
		arm_recv(f, cqe->res);
	} else if (cqe->res >= 0) {
		close(cqe->res);
	}
	if (!(cqe->flags & IORING_CQE_F_MORE))
		arm_accept(f);
}

static void on_recv(struct floor *f, int fd, const struct io_uring_cqe *cqe)
{
	struct conn *c = &f->conns[fd];

	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		c->receiving = false;
		c->second = true;
	}
	if (cqe->flags & IORING_CQE_F_BUFFER) {
		unsigned short bid = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
		char *buf = f->bufs + (size_t)bid * BUF_LEN;

		if (cqe->res > 0)
			take_bytes(f, c, buf, cqe->res);
		io_uring_buf_ring_add(f->br, buf, BUF_LEN, bid, io_uring_buf_ring_mask(NR_BUFS), 0);
		io_uring_buf_ring_advance(f->br, 1);
	}
	if (cqe->res == 0) {
		c->dead = true; /* what is owed still goes out: the peer may read on */
	} else if (cqe->res < 0 && cqe->res != -ENOBUFS) {
		c->owed = 0;
		c->fin_off = f->fin_len;
		c->dead = true;
	}
	mark_dirty(f, fd);
}

static void on_send(struct floor *f, int fd, int res)
{
	struct conn *c = &f->conns[fd];

	c->sending = false;
	if (res < 0) {
		c->owed = 0;
		c->fin_off = f->fin_len;
		c->want_close = c->dead = true;
	} else if (c->owed) {
		/* owed can have been dropped by an error while this send was in flight */
		c->owed -= (uint64_t)res < c->owed ? (uint64_t)res : c->owed;
		c->phase = (c->phase + res) % f->answer_len;
	} else {
		c->fin_off += res;
	}
	if (c->owed || c->dead)
		mark_dirty(f, fd);
}

/* Decides what one connection does next; the only place that arms a send, a re-arm or a close. */
static void settle(struct floor *f, int fd)
{
	struct conn *c = &f->conns[fd];
	struct io_uring_sqe *sqe;
	bool fin_due = c->dead && c->want_close && c->fin_off < f->fin_len;

	c->dirty = false;
	if (!c->dead && !c->receiving)
		arm_recv(f, fd);
	if (!c->sending && (c->owed || fin_due)) {
		arm_send(f, fd);
		return;
	}
	if (!c->dead || c->sending || !c->used)
		return;
	if (c->receiving) {
		shutdown(fd, SHUT_RDWR); /* the multishot receive ends with 0 and comes back here */
		return;
	}
	c->used = false;
	sqe = get_sqe(f);
	io_uring_prep_close(sqe, fd);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	tag(sqe, OP_CLOSE, fd);
}

static void dispatch(struct floor *f, const struct io_uring_cqe *cqe)
{
	int fd = (int)(cqe->user_data & 0xffffffff);

	switch ((enum op)(cqe->user_data >> 32)) {
	case OP_ACCEPT:
		on_accept(f, cqe);
		break;
	case OP_RECV:
		on_recv(f, fd, cqe);
		break;
	case OP_SEND:
		on_send(f, fd, cqe->res);
		break;
	case OP_CLOSE:
		break;
	}
}

static void serve(struct floor *f)
{
	struct io_uring_cqe *cqes[MAX_BATCH];

	arm_accept(f);
	for (;;) {
		unsigned int nr, i;
		int ret = io_uring_submit_and_wait(&f->ring, 1);

		if (ret < 0 && ret != -EINTR && ret != -EAGAIN && ret != -EBUSY)
			die("enter", ret);
		nr = io_uring_peek_batch_cqe(&f->ring, cqes, MAX_BATCH);
		for (i = 0; i < nr; i++)
			dispatch(f, cqes[i]);
		io_uring_cq_advance(&f->ring, nr);
		for (i = 0; i < f->nr_dirty; i++)
			settle(f, f->dirty[i]);
		f->nr_dirty = 0;
	}
}

static int open_listener(const char *host, int port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	if (fd < 0)
		die("socket", errno);
	if (inet_pton(AF_INET, host, &sa.sin_addr) != 1)
		die("--host (an IPv4 address)", EINVAL);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* accepted sockets inherit it */
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 4096))
		die("bind", errno);
	return fd;
}

/* @body_len: 0 = the three bytes that all peers answer. */
static void make_answers(struct floor *f, int body_len)
{
	char one[256 + MAX_BODY];
	uint32_t i;

	f->answer_len = snprintf(one, sizeof(one), "%sContent-Length: %d\r\n\r\nOK\n", answer_head,
				 body_len ? body_len : 3);
	if (body_len) {
		f->answer_len -= 3;
		memset(one + f->answer_len, 'x', body_len);
		f->answer_len += body_len;
	}
	f->fin_len = snprintf(f->fin, sizeof(f->fin),
			      "%sContent-Length: 3\r\nConnection: close\r\n\r\nOK\n", answer_head);
	f->answers = malloc((size_t)MAX_COPIES * f->answer_len);
	if (!f->answers)
		die("answers", ENOMEM);
	for (i = 0; i < MAX_COPIES; i++)
		memcpy(f->answers + (size_t)i * f->answer_len, one, f->answer_len);
}

static void make_conns(struct floor *f)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl))
		die("getrlimit", errno);
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
	f->max_conns = rl.rlim_cur < MAX_CONNS ? rl.rlim_cur : MAX_CONNS;
	f->conns = calloc(f->max_conns, sizeof(*f->conns));
	f->dirty = calloc(f->max_conns, sizeof(*f->dirty));
	if (!f->conns || !f->dirty)
		die("connections", ENOMEM);
}

static void make_ring(struct floor *f)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_COOP_TASKRUN | IORING_SETUP_CQSIZE,
		.cq_entries = CQ_ENTRIES,
	};
	struct io_uring_buf_reg reg = { .ring_entries = NR_BUFS, .bgid = BUF_GROUP };
	int i, ret = io_uring_queue_init_params(SQ_ENTRIES, &f->ring, &p);

	if (ret)
		die("io_uring (needs Linux 6.1 and permission)", ret);
	f->br = mmap(NULL, NR_BUFS * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
		     MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	f->bufs = mmap(NULL, (size_t)NR_BUFS * BUF_LEN, PROT_READ | PROT_WRITE,
		       MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	if (f->br == MAP_FAILED || f->bufs == MAP_FAILED)
		die("buffers", ENOMEM);
	reg.ring_addr = (uintptr_t)f->br;
	ret = io_uring_register_buf_ring(&f->ring, &reg, 0);
	if (ret)
		die("buffer ring", ret);
	io_uring_buf_ring_init(f->br);
	for (i = 0; i < NR_BUFS; i++)
		io_uring_buf_ring_add(f->br, f->bufs + (size_t)i * BUF_LEN, BUF_LEN, i,
				      io_uring_buf_ring_mask(NR_BUFS), i);
	io_uring_buf_ring_advance(f->br, NR_BUFS);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "host", required_argument, NULL, 'h' },
		{ "port", required_argument, NULL, 'p' },
		{ "body", required_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	const char *host = "127.0.0.1";
	struct floor f = { 0 };
	int opt, port = 9292, body_len = 0;

	while ((opt = getopt_long(argc, argv, "h:p:", options, NULL)) != -1) {
		if (opt == 'h') {
			host = optarg;
		} else if (opt == 'p' && atoi(optarg) > 0 && atoi(optarg) < 65536) {
			port = atoi(optarg);
		} else if (opt == 'n' && atoi(optarg) > 0 && atoi(optarg) <= MAX_BODY) {
			body_len = atoi(optarg);
		} else {
			fprintf(stderr, "usage: floor [--host IPV4] [--port N] [--body BYTES]\n");
			return 2;
		}
	}
	signal(SIGPIPE, SIG_IGN);
	make_conns(&f);
	make_answers(&f, body_len);
	f.listen_fd = open_listener(host, port);
	make_ring(&f);
	serve(&f);
}
