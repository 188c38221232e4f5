/* SPDX-License-Identifier: MIT */
/*
 * The loop on io_uring: multishot receive, one ring of receive buffers, one
 * enter per batch. A listener is only polled, and accept4(2) takes from it: a
 * thread that is killed runs the work of its ring once more, and an accept
 * there would take connections with it that others could have answered.
 */
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/fail.h"
#include "server/loop_backend.h"
#include "server/slab.h"

#define ENTRIES 1024u
#define CQ_ENTRIES 4096u
#define NR_BUFFERS 1024u
#define BUFFER_LEN 4096u
#define BUFFER_GROUP 0
#define MAX_PIECES 64

#define RING_FLAGS                                                                                 \
	(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |     \
	 IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL)

#define OP_IGNORE 0 /* its completion says nothing: cancel, close */
#define OP_TAKE 0x80 /* a no-op: the next turn goes on where MAX_ACCEPTS has stopped this one */

/* A send in several pieces needs these until it is complete. */
struct gather {
	struct msghdr msg;
	struct iovec iov[MAX_PIECES];
};

struct uring {
	struct io_uring ring;
	struct io_uring_buf_ring *buf_ring;
	size_t buf_ring_len;
	char *buffers;
	size_t buffers_len;
	u32 nr_buffers, buffer_len;
	struct slab gathers;
};

static struct uring *uring_of(struct loop *l)
{
	return l->priv;
}

static int buffers_init(struct uring *u, const struct loop_config *config)
{
	struct io_uring_buf_reg reg = { .bgid = BUFFER_GROUP };
	int err;

	u->nr_buffers = config->nr_buffers ? config->nr_buffers : NR_BUFFERS;
	u->buffer_len = config->buffer_len ? config->buffer_len : BUFFER_LEN;
	u->buf_ring_len = u->nr_buffers * sizeof(struct io_uring_buf);
	u->buffers_len = (size_t)u->nr_buffers * u->buffer_len;
	u->buf_ring = mmap(NULL, u->buf_ring_len, PROT_READ | PROT_WRITE,
			   MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	if (u->buf_ring == MAP_FAILED)
		return -errno;
	u->buffers = mmap(NULL, u->buffers_len, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE,
			  -1, 0);
	if (u->buffers == MAP_FAILED) {
		err = -errno;
		goto err_ring;
	}
	reg.ring_addr = (u64)(uintptr_t)u->buf_ring;
	reg.ring_entries = u->nr_buffers;
	err = io_uring_register_buf_ring(&u->ring, &reg, 0);
	if (err)
		goto err_buffers;
	io_uring_buf_ring_init(u->buf_ring);
	for (u32 i = 0; i < u->nr_buffers; i++)
		io_uring_buf_ring_add(u->buf_ring, u->buffers + (size_t)i * u->buffer_len,
				      u->buffer_len, (u16)i, io_uring_buf_ring_mask(u->nr_buffers),
				      (int)i);
	io_uring_buf_ring_advance(u->buf_ring, (int)u->nr_buffers);
	return 0;

err_buffers:
	munmap(u->buffers, u->buffers_len);
err_ring:
	munmap(u->buf_ring, u->buf_ring_len);
	return err;
}

static int ring_init(struct io_uring *ring, u32 entries)
{
	struct io_uring_params params = { .flags = RING_FLAGS, .cq_entries = CQ_ENTRIES };

	return io_uring_queue_init_params(entries, ring, &params);
}

static int uring_init(struct loop *l, const struct loop_config *config)
{
	struct uring *u = mem_zalloc(sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	err = ring_init(&u->ring, config->entries ? config->entries : ENTRIES);
	if (err)
		goto err_free;
	/* A child of the app must not keep our ring and its sockets alive. */
	err = io_uring_ring_dontfork(&u->ring);
	if (!err)
		err = buffers_init(u, config);
	if (err)
		goto err_ring;
	io_uring_register_ring_fd(&u->ring); /* saves a look-up per enter; older kernels: fine */
	slab_init(&u->gathers, sizeof(struct gather), 16);
	l->priv = u;
	return 0;

err_ring:
	io_uring_queue_exit(&u->ring);
err_free:
	free(u);
	return err;
}

static void uring_fini(struct loop *l)
{
	struct uring *u = uring_of(l);

	/* Closes that were asked for in the last batch. */
	io_uring_submit(&u->ring);
	io_uring_queue_exit(&u->ring);
	munmap(u->buffers, u->buffers_len);
	munmap(u->buf_ring, u->buf_ring_len);
	slab_fini(&u->gathers);
	free(u);
}

int loop_probe_uring(const char **why)
{
	const struct loop_config config = { .kind = LOOP_URING, .entries = 8, .nr_buffers = 8 };
	struct loop *l;
	int err = loop_new(&l, &config);

	switch (err) {
	case 0:
		loop_free(l);
		return 0;
	case -EPERM:
		*why = "refused: sysctl kernel.io_uring_disabled is set or a seccomp filter "
		       "forbids io_uring_setup";
		break;
	case -ENOSYS:
		*why = "refused: the kernel is built without io_uring or a seccomp filter hides it";
		break;
	case -EINVAL:
		*why = "the kernel lacks a part of it that is needed (Linux 6.1 has all)";
		break;
	case -ENOMEM:
		*why = "no memory for the ring: RLIMIT_MEMLOCK (ulimit -l) may be too low";
		break;
	default:
		*why = strerror(-err);
		break;
	}
	return err;
}

static struct io_uring_sqe *get_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	while (unlikely(!sqe)) {
		/* Full: hand over what is there. EBUSY/EAGAIN pass by themselves. */
		io_uring_submit(&u->ring);
		sqe = io_uring_get_sqe(&u->ring);
	}
	return sqe;
}

static void start(struct io_uring_sqe *sqe, struct io *io, u8 op)
{
	io_uring_sqe_set_data64(sqe, io_name(io, op));
	io->inflight |= op;
}

static int uring_fd(const struct loop *l)
{
	return ((const struct uring *)l->priv)->ring.ring_fd;
}

static int uring_add(struct loop *l, struct io *io, bool plain)
{
	(void)l;
	(void)io;
	(void)plain;
	return 0;
}

static void uring_remove(struct loop *l, struct io *io)
{
	(void)l;
	(void)io;
}

static void uring_close(struct loop *l, struct io *io)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(l));

	io_uring_prep_close(sqe, io->fd);
	io_uring_sqe_set_data64(sqe, OP_IGNORE);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
}

/*
 * Multishot, as arming anew costs 4 % of a short connection. Not exclusive: a
 * waiter that is killed or stopped would keep the wake-up for itself.
 */
static void uring_accept(struct loop *l, struct io *io)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(l));

	io->accept_err = 0;
	if (io->single)
		io_uring_prep_poll_add(sqe, io->fd, POLLIN);
	else
		io_uring_prep_poll_multishot(sqe, io->fd, POLLIN);
	start(sqe, io, IO_ACCEPT);
}

static void uring_recv(struct loop *l, struct io *io)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(l));

	io_uring_prep_recv_multishot(sqe, io->fd, NULL, 0, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
	sqe->buf_group = BUFFER_GROUP;
	start(sqe, io, IO_RECV);
}

static bool uring_stop(struct loop *l, struct io *io, u8 op)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(l));

	io_uring_prep_cancel64(sqe, io_name(io, op), 0);
	io_uring_sqe_set_data64(sqe, OP_IGNORE);
	io->stopping = true;
	return false;
}

/*
 * By name, one for each operation: cancelling by descriptor would walk every
 * request that the ring has pending, 25 ns for each idle connection.
 */
static bool uring_cancel(struct loop *l, struct io *io)
{
	for (u8 left = io->inflight; left; left &= (u8)(left - 1)) {
		struct io_uring_sqe *sqe = get_sqe(uring_of(l));

		io_uring_prep_cancel64(sqe, io_name(io, left & (u8)-left), 0);
		io_uring_sqe_set_data64(sqe, OP_IGNORE);
	}
	return false;
}

static ssize_t uring_send(struct loop *l, struct io *io, const struct iovec *iov, int nr, bool more)
{
	struct uring *u = uring_of(l);
	int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
	struct io_uring_sqe *sqe;
	struct gather *g;

	if (nr == 1) {
		sqe = get_sqe(u);
		io_uring_prep_send(sqe, io->fd, iov->iov_base, iov->iov_len, flags);
		start(sqe, io, IO_SEND);
		return -EINPROGRESS;
	}
	g = slab_alloc(&u->gathers);
	if (!g)
		return -ENOMEM;
	nr = min(nr, MAX_PIECES);
	memcpy(g->iov, iov, (size_t)nr * sizeof(*iov));
	g->msg = (struct msghdr){ .msg_iov = g->iov, .msg_iovlen = (size_t)nr };
	io->gather = g;
	sqe = get_sqe(u);
	io_uring_prep_sendmsg(sqe, io->fd, &g->msg, (u32)flags);
	start(sqe, io, IO_SEND);
	return -EINPROGRESS;
}

static ssize_t uring_wait_room(struct loop *l, struct io *io)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(l));

	io_uring_prep_poll_add(sqe, io->fd, POLLOUT);
	start(sqe, io, IO_SEND);
	io->waits_room = true;
	return -EINPROGRESS;
}

static int uring_poll(struct loop *l, struct io *io, int events)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(l));

	io_uring_prep_poll_add(sqe, io->fd, (u32)events);
	start(sqe, io, IO_POLL);
	return -EINPROGRESS;
}

static ssize_t uring_write(struct loop *l, struct io *io, const void *p, size_t len)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(l));

	io_uring_prep_write(sqe, io->fd, p, (u32)min(len, (size_t)INT32_MAX), (u64)-1);
	start(sqe, io, IO_WRITE);
	return -EINPROGRESS;
}

static ssize_t uring_splice(struct loop *l, struct io *io, int fd_in, s64 off, size_t len)
{
	struct io_uring_sqe *sqe = get_sqe(uring_of(l));

	io_uring_prep_splice(sqe, fd_in, off, io->fd, -1, (u32)min(len, (size_t)INT32_MAX),
			     SPLICE_F_MOVE);
	start(sqe, io, IO_SPLICE);
	return -EINPROGRESS;
}

static void uring_submit(struct loop *l)
{
	struct uring *u = uring_of(l);

	/* What it refuses now goes with the next wait. */
	if (io_uring_sq_ready(&u->ring))
		io_uring_submit(&u->ring);
}

static int uring_wait(struct loop *l, s64 timeout_ns)
{
	struct uring *u = uring_of(l);
	struct __kernel_timespec ts = { timeout_ns / (s64)NSEC_PER_SEC,
					timeout_ns % (s64)NSEC_PER_SEC };
	struct io_uring_cqe *cqe;
	int err;

	if (timeout_ns < 0)
		err = io_uring_submit_and_wait(&u->ring, 1);
	else if (timeout_ns == 0)
		err = io_uring_submit_and_get_events(&u->ring);
	else
		err = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
	/* EBUSY: completions have to be taken first, which is what comes next. */
	if (err >= 0 || err == -ETIME || err == -EINTR || err == -EBUSY || err == -EAGAIN)
		return 0;
	return err;
}

/* The next connection or -errno; errors of one connection are passed over. */
static int accept_next(const struct io *io)
{
	int fd;

	do
		fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO));
	return fd < 0 ? -errno : fd;
}

/* Nothing is armed: its poll was for one event. */
static void take_one(struct loop *l, struct io *io)
{
	int fd = accept_next(io);

	if (fd == -EAGAIN)
		uring_accept(l, io); /* another process was faster */
	else
		io->ops->accepted(io, fd);
}

static bool takes(struct loop *l, struct io *io, u64 name)
{
	return io_of(l, name) == io && io->inflight & IO_ACCEPT && !io->single && !io->stopping &&
	       !io->cancelled;
}

/* The poll stays armed, and says nothing of those that wait already. */
static void take_all(struct loop *l, struct io *io)
{
	u64 name = io_name(io, 0);
	struct io_uring_sqe *sqe;

	for (int i = 0; i < MAX_ACCEPTS && takes(l, io, name); i++) {
		int fd = accept_next(io);

		if (fd == -EAGAIN)
			return;
		if (fd < 0) {
			/* Out of descriptors: said at the end of the poll, which must not go on. */
			io->accept_err = fd;
			uring_stop(l, io, IO_ACCEPT);
			return;
		}
		io->ops->accepted(io, fd);
	}
	if (!takes(l, io, name))
		return;
	sqe = get_sqe(uring_of(l));
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data64(sqe, io_name(io, OP_TAKE));
}

static void may_accept(struct loop *l, struct io *io, int res, bool more)
{
	bool stopped = io->stopping;

	if (!more) {
		io->inflight &= (u8)~IO_ACCEPT;
		io->stopping = false;
	}
	if (!stopped && res >= 0) {
		if (io->single) {
			take_one(l, io);
			return;
		}
		if (!more)
			uring_accept(l, io);
		take_all(l, io);
	} else if (!more) {
		if (stopped)
			res = io->accept_err ? io->accept_err : -ECANCELED;
		io->ops->accepted(io, res);
	}
}

/* Is it still there, and does it not yet receive again, or close? */
static bool resting(struct loop *l, struct io *io, u64 name, u8 op)
{
	return io_of(l, name) == io && !io->cancelled && !(io->inflight & op);
}

static void received(struct loop *l, struct io *io, const char *p, int res, bool more)
{
	bool stopped = !more && io->stopping;
	u64 name = io_name(io, 0);

	if (!more) {
		io->inflight &= (u8)~IO_RECV;
		io->stopping = false;
	}
	if (likely(res > 0)) {
		io->ops->received(io, p, res);
		if (likely(more) || !resting(l, io, name, IO_RECV))
			return;
	}
	if (stopped)
		io->ops->received(io, NULL, -ECANCELED);
	else if (res > 0 || res == -ENOBUFS)
		uring_recv(l, io); /* buffers come back with the end of this batch */
	else
		io->ops->received(io, NULL, res);
}

static void complete(struct loop *l, struct io *io, u8 op, int res, const char *p, bool more)
{
	struct uring *u = uring_of(l);

	if (unlikely(op == OP_TAKE)) {
		if (takes(l, io, io_name(io, 0)))
			take_all(l, io);
		return;
	}
	if (op == IO_SEND && io->gather) {
		slab_free(&u->gathers, io->gather);
		io->gather = NULL;
	}
	if (unlikely(io->cancelled)) {
		if (!more) {
			io->inflight &= (u8)~op;
			io->stopping = io->waits_room = false;
		}
		if (!io->inflight) {
			io->cancelled = false;
			io->ops->quiet(io);
		}
		return;
	}
	switch (op) {
	case IO_ACCEPT:
		may_accept(l, io, res, more);
		return;
	case IO_RECV:
		received(l, io, p, res, more);
		return;
	default:
		break;
	}
	io->inflight &= (u8)~op;
	switch (op) {
	case IO_SEND:
		if (io->waits_room && res > 0)
			res = 0; /* poll's events, not bytes */
		io->waits_room = false;
		io->ops->sent(io, res);
		break;
	case IO_POLL:
		io->ops->ready(io, res < 0 ? POLLERR : res);
		break;
	case IO_WRITE:
		io->ops->wrote(io, res);
		break;
	case IO_SPLICE:
		io->ops->spliced(io, res);
		break;
	default:
		break;
	}
}

static u32 uring_dispatch(struct loop *l)
{
	struct uring *u = uring_of(l);
	struct io_uring_cqe *cqe;
	u32 n, ready = io_uring_cq_ready(&u->ring);
	int nr_back = 0;

	/*
	 * Only these: a callback that has to submit may bring completions at once, of
	 * receives that found no buffer, say, and the buffers go back behind the batch.
	 */
	for (n = 0; n < ready && io_uring_peek_cqe(&u->ring, &cqe) == 0; n++) {
		u64 name = cqe->user_data;
		u8 op = (u8)(name >> 56);
		u32 flags = cqe->flags;
		int res = cqe->res;
		char *p = NULL;
		u16 id = 0;
		struct io *io;

		/* Given back first: a callback that fills the submission queue needs room here. */
		io_uring_cq_advance(&u->ring, 1);
		if (flags & IORING_CQE_F_BUFFER) {
			id = (u16)(flags >> IORING_CQE_BUFFER_SHIFT);
			p = u->buffers + (size_t)id * u->buffer_len;
		}
		io = op == OP_IGNORE ? NULL : io_of(l, name);
		if (likely(io))
			complete(l, io, op, res, p, flags & IORING_CQE_F_MORE);
		if (p)
			io_uring_buf_ring_add(u->buf_ring, p, u->buffer_len, id,
					      io_uring_buf_ring_mask(u->nr_buffers), nr_back++);
	}
	io_uring_buf_ring_advance(u->buf_ring, nr_back);
	return n;
}

const struct loop_backend loop_uring = {
	.name = "io_uring",
	.init = uring_init,
	.fini = uring_fini,
	.fd = uring_fd,
	.add = uring_add,
	.remove = uring_remove,
	.close = uring_close,
	.accept = uring_accept,
	.recv = uring_recv,
	.stop = uring_stop,
	.send = uring_send,
	.wait_room = uring_wait_room,
	.poll = uring_poll,
	.write = uring_write,
	.splice = uring_splice,
	.cancel = uring_cancel,
	.submit = uring_submit,
	.wait = uring_wait,
	.dispatch = uring_dispatch,
};
