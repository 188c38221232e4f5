/* SPDX-License-Identifier: MIT */
#include "server/loop.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server/fail.h"
#include "server/loop_backend.h"

static int slots_grow(struct loop *l)
{
	u32 n = max(l->nr_slots * 2, 64u);
	struct io_slot *slots = fail_alloc() ? NULL : realloc(l->slots, n * sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	l->slots = slots;
	for (u32 i = n; i-- > l->nr_slots;) {
		slots[i] = (struct io_slot){ .next_free = l->free_slot };
		l->free_slot = i;
	}
	l->nr_slots = n;
	return 0;
}

static void slot_free(struct loop *l, struct io *io)
{
	struct io_slot *s = &l->slots[io->idx];

	s->io = NULL;
	s->gen = (s->gen + 1) & IO_GEN_MASK;
	s->next_free = l->free_slot;
	l->free_slot = io->idx;
	io->fd = -1;
}

static int add(struct loop *l, struct io *io, int fd, const struct io_ops *ops, bool plain)
{
	struct io_slot *s;
	int err;

	if (l->free_slot == IO_NONE) {
		err = slots_grow(l);
		if (err)
			return err;
	}
	s = &l->slots[l->free_slot];
	*io = (struct io){ .ops = ops, .fd = fd, .idx = l->free_slot, .gen = s->gen };
	list_init(&io->ready);
	l->free_slot = s->next_free;
	s->io = io;
	err = l->backend->add(l, io, plain);
	if (err)
		slot_free(l, io);
	return err;
}

int loop_add(struct loop *l, struct io *io, int fd, const struct io_ops *ops)
{
	return add(l, io, fd, ops, false);
}

int loop_add_plain(struct loop *l, struct io *io, int fd, const struct io_ops *ops)
{
	return add(l, io, fd, ops, true);
}

void loop_remove(struct loop *l, struct io *io)
{
	l->backend->remove(l, io);
	slot_free(l, io);
}

void loop_close(struct loop *l, struct io *io)
{
	l->backend->close(l, io);
	slot_free(l, io);
}

void loop_accept(struct loop *l, struct io *io)
{
	io->single = false;
	l->backend->accept(l, io);
}

void loop_accept_one(struct loop *l, struct io *io)
{
	io->single = true;
	l->backend->accept(l, io);
}

void loop_recv(struct loop *l, struct io *io)
{
	l->backend->recv(l, io);
}

static bool stop(struct loop *l, struct io *io, u8 op)
{
	if (!(io->inflight & op))
		return true;
	return !io->stopping && l->backend->stop(l, io, op);
}

bool loop_recv_stop(struct loop *l, struct io *io)
{
	return stop(l, io, IO_RECV);
}

bool loop_accept_stop(struct loop *l, struct io *io)
{
	return stop(l, io, IO_ACCEPT);
}

ssize_t loop_send(struct loop *l, struct io *io, const struct iovec *iov, int nr, bool more)
{
	return l->backend->send(l, io, iov, nr, more);
}

ssize_t loop_wait_room(struct loop *l, struct io *io)
{
	return l->backend->wait_room(l, io);
}

int loop_poll(struct loop *l, struct io *io, int events)
{
	return l->backend->poll(l, io, events);
}

ssize_t loop_write(struct loop *l, struct io *io, const void *p, size_t len)
{
	return l->backend->write(l, io, p, len);
}

ssize_t loop_splice(struct loop *l, struct io *io, int fd_in, s64 off, size_t len)
{
	return l->backend->splice(l, io, fd_in, off, len);
}

bool loop_cancel(struct loop *l, struct io *io)
{
	if (!io->inflight)
		return true;
	io->cancelled = true;
	return l->backend->cancel(l, io);
}

void loop_submit(struct loop *l)
{
	l->backend->submit(l);
}

int loop_wait(struct loop *l, s64 timeout_ns)
{
	return l->backend->wait(l, timeout_ns);
}

u32 loop_dispatch(struct loop *l)
{
	return l->backend->dispatch(l);
}

const char *loop_name(const struct loop *l)
{
	return l->backend->name;
}

int loop_fd(const struct loop *l)
{
	return l->backend->fd(l);
}

void loop_wake(struct loop *l)
{
	u64 one = 1;

	/* Full (2^64 - 2 wakes unseen) means awake as well. */
	if (write(l->wake.fd, &one, sizeof(one)) < 0)
		return;
}

static void woken(struct io *io, int revents)
{
	struct loop *l = container_of(io, struct loop, wake);
	u64 count;

	(void)revents;
	if (read(io->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	if (loop_poll(l, io, POLLIN) != -EINPROGRESS)
		abort(); /* only a broken ring or epoll set refuses */
}

static const struct io_ops wake_ops = { .ready = woken };

static int wake_init(struct loop *l)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), err;

	if (fd < 0)
		return -errno;
	err = loop_add_plain(l, &l->wake, fd, &wake_ops);
	if (!err) {
		err = loop_poll(l, &l->wake, POLLIN);
		if (err != -EINPROGRESS)
			loop_remove(l, &l->wake);
		else
			err = 0;
	}
	if (err)
		close(fd);
	return err;
}

int loop_new(struct loop **out, const struct loop_config *config)
{
	struct loop *l = mem_zalloc(sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->backend = config->kind == LOOP_URING ? &loop_uring : &loop_epoll;
	l->free_slot = IO_NONE;
	err = slots_grow(l);
	if (err)
		goto err_loop;
	err = l->backend->init(l, config);
	if (err)
		goto err_slots;
	err = wake_init(l);
	if (err)
		goto err_backend;
	*out = l;
	return 0;

err_backend:
	l->backend->fini(l);
err_slots:
	free(l->slots);
err_loop:
	free(l);
	return err;
}

void loop_free(struct loop *l)
{
	int wake_fd;

	if (!l)
		return;
	wake_fd = l->wake.fd;
	l->backend->fini(l);
	close(wake_fd);
	free(l->slots);
	free(l);
}
