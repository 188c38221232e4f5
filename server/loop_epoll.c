/* SPDX-License-Identifier: MIT */
/*
 * The loop on epoll. Connections are registered once, edge-triggered, for
 * both directions; what an edge leaves undone goes on a list of its own.
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/fail.h"
#include "server/loop_backend.h"

#define MAX_EVENTS 512
#define BUFFER_LEN (32 * KIB)
#define MAX_READS 4 /* of one connection in a row, so that the others have their turn */

struct epoll {
	int fd;
	int nr_events;
	u32 buffer_len;
	char *buffer;
	struct list again; /* ios to be tried without an event */
	struct epoll_event events[MAX_EVENTS];
};

static struct epoll *epoll_of(struct loop *l)
{
	return l->priv;
}

static int epoll_init(struct loop *l, const struct loop_config *config)
{
	struct epoll *e = mem_zalloc(sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->buffer_len = config->buffer_len ? config->buffer_len : (u32)BUFFER_LEN;
	e->buffer = mem_alloc(e->buffer_len);
	e->fd = e->buffer ? epoll_create1(EPOLL_CLOEXEC) : -1;
	if (e->fd < 0) {
		int err = e->buffer ? -errno : -ENOMEM;

		free(e->buffer);
		free(e);
		return err;
	}
	list_init(&e->again);
	l->priv = e;
	return 0;
}

static void epoll_fini(struct loop *l)
{
	struct epoll *e = epoll_of(l);

	close(e->fd);
	free(e->buffer);
	free(e);
}

static int control(struct loop *l, struct io *io, int op, u32 events)
{
	struct epoll_event ev = { .events = events, .data.u64 = io_name(io, 0) };

	return epoll_ctl(epoll_of(l)->fd, op, io->fd, &ev) ? -errno : 0;
}

static int epoll_fd(const struct loop *l)
{
	return ((const struct epoll *)l->priv)->fd;
}

static int epoll_add(struct loop *l, struct io *io, bool plain)
{
	if (plain) {
		struct stat st;

		io->level = true; /* registered when it is first polled */
		io->regular = fstat(io->fd, &st) == 0 && S_ISREG(st.st_mode);
		return 0;
	}
	return control(l, io, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

static void epoll_remove(struct loop *l, struct io *io)
{
	list_del(&io->ready);
	control(l, io, EPOLL_CTL_DEL, 0); /* ENOENT for a plain one: harmless */
}

static void epoll_close(struct loop *l, struct io *io)
{
	/* Explicitly: a copy of the descriptor elsewhere would keep it registered. */
	epoll_remove(l, io);
	close(io->fd);
}

static void try_again(struct loop *l, struct io *io)
{
	list_del(&io->ready);
	list_add_tail(&io->ready, &epoll_of(l)->again);
}

static void epoll_accept(struct loop *l, struct io *io)
{
	io->inflight |= IO_ACCEPT;
	try_again(l, io);
}

static void epoll_recv(struct loop *l, struct io *io)
{
	io->inflight |= IO_RECV;
	try_again(l, io);
}

static bool epoll_stop(struct loop *l, struct io *io, u8 op)
{
	(void)l;
	io->inflight &= (u8)~op;
	return true;
}

static ssize_t epoll_send(struct loop *l, struct io *io, const struct iovec *iov, int nr, bool more)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)nr };
	int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
	ssize_t n;

	(void)l;
	do
		n = nr == 1 ? send(io->fd, iov->iov_base, iov->iov_len, flags)
			    : sendmsg(io->fd, &msg, flags);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	if (errno != EAGAIN)
		return -errno;
	io->inflight |= IO_SEND; /* the edge of EPOLLOUT says when */
	return -EINPROGRESS;
}

static ssize_t epoll_wait_room(struct loop *l, struct io *io)
{
	struct pollfd pfd = { .fd = io->fd, .events = POLLOUT };

	io->inflight |= IO_SEND;
	/* The edge has passed already if there is room now: then it is looked at once more. */
	if (poll(&pfd, 1, 0) != 0) {
		io->waits_room = true;
		try_again(l, io);
	}
	return -EINPROGRESS;
}

static int epoll_poll(struct loop *l, struct io *io, int events)
{
	u32 want = (events & POLLIN ? (u32)EPOLLIN : 0) | (events & POLLOUT ? (u32)EPOLLOUT : 0);
	int err;

	want |= EPOLLONESHOT;
	err = control(l, io, EPOLL_CTL_MOD, want);
	if (err == -ENOENT)
		err = control(l, io, EPOLL_CTL_ADD, want);
	if (err)
		return err;
	io->inflight |= IO_POLL;
	return -EINPROGRESS;
}

static ssize_t epoll_write(struct loop *l, struct io *io, const void *p, size_t len)
{
	struct pollfd pfd = { .fd = io->fd, .events = POLLOUT };
	ssize_t n;

	/*
	 * A pipe here is not O_NONBLOCK (others share it), but a pipe that is
	 * writable takes PIPE_BUF bytes without waiting (pipe(7)).
	 */
	(void)l;
	if (poll(&pfd, 1, 0) == 0)
		return -EAGAIN;
	n = write(io->fd, p, io->regular ? len : min(len, (size_t)PIPE_BUF));
	return n < 0 ? -errno : n;
}

static ssize_t epoll_splice(struct loop *l, struct io *io, int fd_in, s64 off, size_t len)
{
	loff_t at = off;
	ssize_t n;

	(void)l;
	n = splice(fd_in, off < 0 ? NULL : &at, io->fd, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	return n < 0 ? -errno : n;
}

static bool epoll_cancel(struct loop *l, struct io *io)
{
	(void)l;
	list_del(&io->ready);
	io->inflight = 0;
	io->cancelled = false;
	io->waits_room = false;
	return true;
}

/* Everything was done when it was asked for. */
static void epoll_submit(struct loop *l)
{
	(void)l;
}

static int epoll_wait_events(struct loop *l, s64 timeout_ns)
{
	struct epoll *e = epoll_of(l);
	struct timespec ts, *timeout = NULL;

	if (!list_empty(&e->again))
		timeout_ns = 0;
	if (timeout_ns >= 0) {
		ts = (struct timespec){ timeout_ns / (s64)NSEC_PER_SEC,
					timeout_ns % (s64)NSEC_PER_SEC };
		timeout = &ts;
	}
	e->nr_events = epoll_pwait2(e->fd, e->events, MAX_EVENTS, timeout, NULL);
	if (e->nr_events >= 0)
		return 0;
	e->nr_events = 0;
	return errno == EINTR ? 0 : -errno;
}

/* Is it still the same io, and does it still want this? */
static bool alive(struct loop *l, struct io *io, u64 name, u8 op)
{
	return io_of(l, name) == io && (io->inflight & op);
}

static void do_accept(struct loop *l, struct io *io, u64 name)
{
	for (int i = 0; i < MAX_ACCEPTS && alive(l, io, name, IO_ACCEPT); i++) {
		int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0) {
			if (errno == EAGAIN)
				return;
			if (errno == EINTR)
				continue;
			fd = -errno;
			/* Out of descriptors: it would fail for ever. The owner asks again. */
			if (fd != -ECONNABORTED && fd != -EPROTO)
				io->inflight &= (u8)~IO_ACCEPT;
		} else if (io->single) {
			io->inflight &= (u8)~IO_ACCEPT;
		}
		io->ops->accepted(io, fd);
	}
	if (alive(l, io, name, IO_ACCEPT))
		try_again(l, io);
}

static void do_recv(struct loop *l, struct io *io, u64 name, bool ending)
{
	struct epoll *e = epoll_of(l);
	int reads = 0;

	while (alive(l, io, name, IO_RECV)) {
		ssize_t n;

		if (reads++ == MAX_READS) {
			try_again(l, io);
			return;
		}
		n = recv(io->fd, e->buffer, e->buffer_len, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			io->inflight &= (u8)~IO_RECV;
		io->ops->received(io, e->buffer, n < 0 ? -errno : n);
		/* A short read has drained it; what comes now makes a new edge. */
		if (n > 0 && (size_t)n < e->buffer_len && !ending)
			return;
	}
}

static void serve(struct loop *l, struct io *io, u64 name, u32 events)
{
	bool in = events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR);

	if (io->inflight & IO_POLL && io->level) {
		io->inflight &= (u8)~IO_POLL;
		io->ops->ready(io, (events & EPOLLOUT ? POLLOUT : 0) | (in ? POLLIN : 0));
		return;
	}
	if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP) && io->inflight & IO_SEND) {
		io->inflight &= (u8)~IO_SEND;
		io->waits_room = false;
		io->ops->sent(io, 0);
	}
	if (in && alive(l, io, name, IO_ACCEPT))
		do_accept(l, io, name);
	else if (in && alive(l, io, name, IO_RECV))
		do_recv(l, io, name, events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
}

static u32 epoll_dispatch(struct loop *l)
{
	struct epoll *e = epoll_of(l);
	struct list todo;
	u32 n = (u32)e->nr_events;

	list_init(&todo);
	list_splice_tail(&e->again, &todo);
	for (int i = 0; i < e->nr_events; i++) {
		u64 name = e->events[i].data.u64;
		struct io *io = io_of(l, name);

		if (io)
			serve(l, io, name, e->events[i].events);
	}
	e->nr_events = 0;
	while (!list_empty(&todo)) {
		struct io *io = list_first(&todo, struct io, ready);
		bool room;

		/*
		 * It may have closed or stopped meanwhile; then it wants
		 * nothing. RDHUP is not known here: read until nothing is left.
		 */
		list_del(&io->ready);
		room = io->waits_room;
		io->waits_room = false;
		serve(l, io, io_name(io, 0), EPOLLIN | EPOLLRDHUP | (room ? (u32)EPOLLOUT : 0));
		n++;
	}
	return n;
}

const struct loop_backend loop_epoll = {
	.name = "epoll",
	.init = epoll_init,
	.fini = epoll_fini,
	.fd = epoll_fd,
	.add = epoll_add,
	.remove = epoll_remove,
	.close = epoll_close,
	.accept = epoll_accept,
	.recv = epoll_recv,
	.stop = epoll_stop,
	.send = epoll_send,
	.wait_room = epoll_wait_room,
	.poll = epoll_poll,
	.write = epoll_write,
	.splice = epoll_splice,
	.cancel = epoll_cancel,
	.submit = epoll_submit,
	.wait = epoll_wait_events,
	.dispatch = epoll_dispatch,
};
