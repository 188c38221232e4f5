/* SPDX-License-Identifier: MIT */
#include "server/conn.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/fail.h"
#include "server/job.h"
#include "server/parcel.h"

#define MAX_PIECES 64
#define LINGER_QUIET_MS 2000 /* without a byte: the peer has seen our answer */
#define LINGER_MS 10000 /* in all */
#define IN_MIN 1024u
#define SHARED_NS (10 * NSEC_PER_MSEC) /* so long a short answer says that there will be more */

static const struct io_ops conn_ops;

void conns_init(struct conns *cs, struct loop *loop, struct http *http, struct wheel *wheel)
{
	*cs = (struct conns){ .loop = loop, .http = http, .wheel = wheel };
	sender_init(&cs->sender, loop);
	slab_init(&cs->slab, sizeof(struct conn), 32);
	list_init(&cs->all);
	list_init(&cs->dirty);
}

void conns_fini(struct conns *cs)
{
	assert(cs->nr == 0);
	slab_fini(&cs->slab);
	sender_fini(&cs->sender);
}

static void set_state(struct conn *c, enum conn_state state)
{
	c->conns->nr_in[c->state]--;
	c->conns->nr_in[state]++;
	c->state = state;
}

static void mark_dirty(struct conn *c)
{
	if (list_empty(&c->dirty))
		list_add_tail(&c->dirty, &c->conns->dirty);
}

void conn_touch(struct conn *c)
{
	if (c->state == CONN_OPEN)
		mark_dirty(c);
}

static void free_conn(struct conn *c)
{
	struct conns *cs = c->conns;

	wheel_del(cs->wheel, &c->timer);
	list_del(&c->dirty);
	list_del(&c->all);
	free(c->in);
	cs->nr--;
	cs->nr_in[c->state]--;
	slab_free(&cs->slab, c);
	if (cs->closed)
		cs->closed(cs);
}

static void close_quiet(struct conn *c)
{
	/* Not before: the kernel may still read from memory of the queue and its requests. */
	file_send_fini(&c->file);
	link_close(&c->link);
	if (c->detached)
		c->detached(c->detached_arg, -1, NULL, 0);
	loop_close(c->conns->loop, &c->io);
	free_conn(c);
}

static void close_conn(struct conn *c)
{
	bool file_quiet;

	if (c->state == CONN_CLOSING)
		return;
	set_state(c, CONN_CLOSING);
	wheel_del(c->conns->wheel, &c->timer);
	list_del(&c->dirty);
	/* Both, before either calls back. */
	file_quiet = file_send_cancel(&c->file);
	if (loop_cancel(c->conns->loop, &c->io) && file_quiet)
		close_quiet(c);
}

/* A file of its queue was being read. */
static void conn_file_quiet(struct file_send *f)
{
	struct conn *c = container_of(f, struct conn, file);

	if (!c->io.inflight)
		close_quiet(c);
}

static void finish_detach(struct conn *c)
{
	conn_detached_fn detached = c->detached;
	void *arg = c->detached_arg;
	char *rest = c->in;
	size_t len = c->in_len;
	int fd = c->io.fd;

	if (c->leaving)
		c->link.proto->packed(&c->link);
	link_close(&c->link);
	loop_remove(c->conns->loop, &c->io);
	c->in = NULL;
	free_conn(c);
	detached(arg, fd, rest, len);
	free(rest);
}

static void conn_quiet(struct io *io)
{
	struct conn *c = container_of(io, struct conn, io);

	if (!file_send_busy(&c->file))
		close_quiet(c);
}

static void conn_file_resume(struct file_send *f)
{
	conn_touch(container_of(f, struct conn, file));
}

/* The earliest time at which something has to happen by itself; 0 = none. */
static u64 deadline_of(const struct conn *c)
{
	u64 a = c->link.deadline_ns, b = c->send_deadline_ns;

	if (c->state == CONN_LINGER)
		return c->linger_deadline_ns;
	return !a ? b : !b ? a : min(a, b);
}

/*
 * A deadline that moved away is left to the timer's old time, which then looks
 * again: requests move it all the time.
 */
static void arm_timer(struct conn *c)
{
	u64 at = deadline_of(c), at_ms = (at + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC;

	if (at && (!c->timer.pending || c->timer.when_ms > at_ms))
		wheel_add(c->conns->wheel, &c->timer, at_ms);
}

static void timer_fired(struct timer *t)
{
	struct conn *c = container_of(t, struct conn, timer);
	u64 at = deadline_of(c), now = c->conns->http->now_ns;

	if (at && at <= now) {
		if (c->state == CONN_LINGER || (c->send_deadline_ns && c->send_deadline_ns <= now)) {
			close_conn(c);
			return;
		}
		if (c->state == CONN_OPEN) {
			c->link.proto->timeout(&c->link);
			mark_dirty(c);
		}
	}
	arm_timer(c);
}

static int open_conn(struct conns *cs, int fd, const struct proto *proto, struct conn **out)
{
	struct conn *c = fail_alloc() ? NULL : slab_alloc(&cs->slab);
	int err = -ENOMEM;

	if (!c)
		goto err_fd;
	err = loop_add(cs->loop, &c->io, fd, &conn_ops);
	if (err)
		goto err_slab;
	c->conns = cs;
	c->state = CONN_OPEN;
	c->eof = false;
	c->in = NULL;
	c->in_len = c->in_cap = 0;
	c->send_deadline_ns = 0;
	c->leaving = false;
	c->detached = NULL;
	file_send_init(&c->file, &cs->sender);
	c->file.resume = conn_file_resume;
	c->file.quiet = conn_file_quiet;
	timer_init(&c->timer, timer_fired);
	list_init(&c->dirty);
	list_add_tail(&c->all, &cs->all);
	cs->nr++;
	cs->nr_in[CONN_OPEN]++;
	link_open(&c->link, proto, cs->http);
	c->link.idx = c->io.idx;
	c->link.gen = c->io.gen;
	loop_recv(cs->loop, &c->io);
	arm_timer(c);
	*out = c;
	return 0;

err_slab:
	slab_free(&cs->slab, c);
err_fd:
	close(fd);
	return err;
}

int conn_open(struct conns *cs, int fd, const struct proto *proto)
{
	struct conn *c;
	int err = open_conn(cs, fd, proto, &c);

	cs->nr_accepted += !err;
	return err;
}

/* Keeps bytes that the protocol did not take. 0 or -ENOMEM. */
static int keep(struct conn *c, const char *p, size_t len)
{
	size_t need = c->in_len + len;

	if (need > c->in_cap) {
		size_t cap = max((size_t)IN_MIN, (size_t)c->in_cap * 2);
		char *in;

		while (cap < need)
			cap *= 2;
		in = fail_alloc() ? NULL : realloc(c->in, cap);
		if (!in)
			return -ENOMEM;
		c->in = in;
		c->in_cap = (u32)cap;
	}
	memcpy(c->in + c->in_len, p, len);
	c->in_len = (u32)need;
	return 0;
}

/* Bytes of a connection that has just been opened. */
static int begin_with(struct conn *c, const char *p, size_t len)
{
	int err = len ? keep(c, p, len) : 0;

	if (err)
		close_conn(c);
	else
		mark_dirty(c);
	return err;
}

int conn_open_with(struct conns *cs, int fd, const struct proto *proto, const char *p, size_t len)
{
	struct conn *c;
	int err = open_conn(cs, fd, proto, &c);

	return err ? err : begin_with(c, p, len);
}

int conn_arrive(struct conns *cs, int fd, const struct proto *proto, const struct parcel *p,
		const char *rest, size_t len)
{
	struct conn *c;
	int err = open_conn(cs, fd, proto, &c);
	size_t taken;

	if (err)
		return err;
	taken = proto->unpack(&c->link, p);
	err = begin_with(c, p->bytes + taken, p->len - taken);
	return err ? err : begin_with(c, rest, len);
}

static void drop_kept(struct conn *c, size_t taken)
{
	c->in_len -= (u32)taken;
	if (c->in_len) {
		memmove(c->in, c->in + taken, c->in_len);
		return;
	}
	free(c->in);
	c->in = NULL;
	c->in_cap = 0;
}

static void input(struct conn *c, const char *p, size_t len)
{
	struct link *l = &c->link;
	size_t n;

	mark_dirty(c);
	if (likely(!c->in_len)) {
		n = l->flags & LINK_PAUSED ? 0 : l->proto->input(l, p, len);
		if (n < len && keep(c, p + n, len - n))
			close_conn(c);
		return;
	}
	if (keep(c, p, len)) {
		close_conn(c);
		return;
	}
	if (!(l->flags & LINK_PAUSED))
		drop_kept(c, l->proto->input(l, c->in, c->in_len));
}

static void conn_received(struct io *io, const char *p, ssize_t n)
{
	struct conn *c = container_of(io, struct conn, io);

	switch (c->state) {
	case CONN_OPEN:
		if (likely(n > 0)) {
			input(c, p, (size_t)n);
		} else if (n == 0) {
			c->eof = true;
			mark_dirty(c);
		} else if (n == -ECANCELED) {
			mark_dirty(c); /* paused; perhaps resumed by now */
		} else {
			close_conn(c);
		}
		break;
	case CONN_LINGER:
		if (n > 0)
			c->linger_deadline_ns =
				min(c->linger_end_ns,
				    c->conns->http->now_ns + LINGER_QUIET_MS * NSEC_PER_MSEC);
		else if (n == -ECANCELED)
			loop_recv(c->conns->loop, io); /* it had been paused */
		else
			close_conn(c);
		break;
	case CONN_DETACHING:
		if (n > 0 ? keep(c, p, (size_t)n) != 0 : n != -ECANCELED && n != 0)
			close_conn(c);
		else if (!c->io.inflight)
			finish_detach(c);
		break;
	case CONN_CLOSING:
		break;
	}
}

static void after_send(struct conn *c, u64 n)
{
	struct link *l = &c->link;

	c->send_deadline_ns = 0;
	outq_sent(&l->out, n);
	if (l->flags & LINK_PAUSED)
		l->proto->output(l);
}

static void conn_sent(struct io *io, ssize_t n)
{
	struct conn *c = container_of(io, struct conn, io);

	if (n < 0) {
		close_conn(c);
		return;
	}
	after_send(c, (u64)n);
	mark_dirty(c);
}

/*
 * A file range leads the queue: it goes to the socket without passing through
 * here, a window in one turn so that others have theirs. 0: the range has left,
 * on with what follows it.
 */
static ssize_t send_file(struct conn *c)
{
	const struct seg *s = c->link.out.head;
	ssize_t n, left = (ssize_t)s->len;

	n = file_send_next(&c->file, &c->io, s);
	if (n < 0 && n != -EAGAIN && n != -EINTR)
		return n;
	if (n > 0)
		after_send(c, (u64)n);
	return n == left ? 0 : loop_wait_room(c->conns->loop, &c->io);
}

static ssize_t send_next(struct conn *c)
{
	struct iovec iov[MAX_PIECES];
	struct outq *q = &c->link.out;
	bool more;
	int nr = outq_iov(q, iov, MAX_PIECES, &more);

	if (nr && q->tail->kind != SEG_FILE)
		c->conns->shared_until_ns = c->conns->http->now_ns + SHARED_NS;
	if (nr)
		return loop_send(c->conns->loop, &c->io, iov, nr, more);
	return q->head && q->head->kind == SEG_FILE ? send_file(c) : 0;
}

/* false: the connection is gone. */
static bool send_some(struct conn *c)
{
	struct http *http = c->conns->http;

	while (!outq_empty(&c->link.out) && !(c->io.inflight & IO_SEND)) {
		ssize_t n = send_next(c);

		if (n == -EINPROGRESS) {
			c->send_deadline_ns =
				http->now_ns + http->limits->send_timeout_ms * NSEC_PER_MSEC;
			break;
		}
		if (n < 0) {
			close_conn(c);
			return false;
		}
		after_send(c, (u64)n);
	}
	return true;
}

/* Everything is sent and the protocol has nothing more to say. */
static void finish_conn(struct conn *c)
{
	u64 now = c->conns->http->now_ns;

	if (!(c->link.flags & LINK_LINGER) || c->eof || shutdown(c->io.fd, SHUT_WR)) {
		close_conn(c);
		return;
	}
	set_state(c, CONN_LINGER);
	c->linger_end_ns = now + LINGER_MS * NSEC_PER_MSEC;
	c->linger_deadline_ns = now + LINGER_QUIET_MS * NSEC_PER_MSEC;
	if (!(c->io.inflight & IO_RECV))
		loop_recv(c->conns->loop, &c->io);
	arm_timer(c);
}

/* Receiving follows the link's wish. */
static void update_recv(struct conn *c)
{
	struct loop *loop = c->conns->loop;
	bool want = !(c->link.flags & LINK_PAUSED) && !c->eof;
	bool armed = c->io.inflight & IO_RECV;

	if (want && !armed)
		loop_recv(loop, &c->io);
	else if (!want && armed && !loop_recv_stop(loop, &c->io))
		return; /* received() says when */
}

/* What was kept while the link was paused, and then the end of file. */
static void input_kept(struct conn *c)
{
	struct link *l = &c->link;
	u32 before = c->in_len;

	if (l->flags & (LINK_PAUSED | LINK_CLOSE))
		return;
	if (before)
		drop_kept(c, l->proto->input(l, c->in, c->in_len));
	if (c->eof && !(l->flags & (LINK_PAUSED | LINK_EOF)))
		l->proto->eof(l);
	/* Answers to it go out with the next round of this flush. */
	if (c->in_len != before)
		mark_dirty(c);
}

static void hijacked(void *arg, int fd, const char *rest, size_t len)
{
	hijack_done(arg, fd, rest, len);
}

/* To whom the link has promised the connection. */
static void give_away(struct conn *c)
{
	struct hijack *h = c->link.hijack;

	c->link.hijack = NULL;
	conn_detach(c, hijacked, h);
}

static void flush(struct conn *c)
{
	struct link *l = &c->link;

	if (c->state != CONN_OPEN || !send_some(c))
		return;
	if (c->in_len || c->eof)
		input_kept(c);
	if (l->flags & LINK_DETACH && outq_empty(&l->out)) {
		give_away(c);
		return;
	}
	if (l->flags & LINK_CLOSE && outq_empty(&l->out)) {
		finish_conn(c);
		return;
	}
	update_recv(c);
	arm_timer(c);
}

void conns_turn(struct conns *cs)
{
	sender_turn(&cs->sender, cs->http->now_ns < cs->shared_until_ns);
}

void conns_flush(struct conns *cs)
{
	while (!list_empty(&cs->dirty)) {
		struct conn *c = list_first(&cs->dirty, struct conn, dirty);

		list_del(&c->dirty);
		flush(c);
	}
}

void conns_shutdown(struct conns *cs)
{
	struct list *pos, *tmp;

	list_for_each_safe (pos, tmp, &cs->all) {
		struct conn *c = list_entry(pos, struct conn, all);

		if (c->state != CONN_OPEN)
			continue;
		c->link.proto->shutdown(&c->link);
		mark_dirty(c);
	}
}

void conns_close(struct conns *cs)
{
	struct list *pos, *tmp;

	list_for_each_safe (pos, tmp, &cs->all)
		close_conn(list_entry(pos, struct conn, all));
}

void conn_detach(struct conn *c, conn_detached_fn detached, void *arg)
{
	assert(c->state == CONN_OPEN && outq_empty(&c->link.out));
	set_state(c, CONN_DETACHING);
	c->detached = detached;
	c->detached_arg = arg;
	wheel_del(c->conns->wheel, &c->timer);
	list_del(&c->dirty);
	if (loop_recv_stop(c->conns->loop, &c->io) && !c->io.inflight)
		finish_detach(c);
}

int conn_leave(struct conn *c, struct parcel *p, conn_detached_fn detached, void *arg)
{
	struct link *l = &c->link;
	int err;

	if (!l->proto->pack)
		return -EOPNOTSUPP;
	if (c->state != CONN_OPEN || c->eof || !outq_empty(&l->out) || file_send_busy(&c->file) ||
	    c->io.inflight & ~IO_RECV)
		return -EBUSY;
	if (c->in_len > PARCEL_BYTES_MAX)
		return -EMSGSIZE;
	err = l->proto->pack(l, p);
	if (err)
		return err;
	c->leaving = true;
	conn_detach(c, detached, arg);
	return 0;
}

static const struct io_ops conn_ops = {
	.received = conn_received,
	.sent = conn_sent,
	.quiet = conn_quiet,
};
