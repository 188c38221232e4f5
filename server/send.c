/* SPDX-License-Identifier: MIT */
#include "server/send.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "server/fail.h"

#define MAX_PIPES 128u
#define PROBE_STEP (256 * KIB)
#define PROBE_STEP_TRUSTED MIB
#define COLD_STRETCH (16 * MIB) /* so much goes without another look */
#define LOOK_AHEAD (32 * MIB) /* further than any read-ahead */

/* A pipe on loan: filled by the loop, emptied into the socket. */
struct transfer {
	struct io io; /* the end that is written */
	struct pipe *pipe;
	struct file_send *owner;
	size_t left; /* bytes in the pipe */
	ssize_t err; /* of reading the file; 0 = none */
};

static const struct io_ops transfer_ops;

void sender_init(struct sender *s, struct loop *loop)
{
	*s = (struct sender){ .loop = loop, .can_wait = strcmp(loop_name(loop), "io_uring") == 0 };
	pipe_pool_init(&s->pipes, MAX_PIPES);
	slab_init(&s->transfers, sizeof(struct transfer), 16);
	list_init(&s->waiting);
	list_init(&s->later);
	sender_turn(s, false);
}

void sender_fini(struct sender *s)
{
	pipe_pool_fini(&s->pipes);
	slab_fini(&s->transfers);
}

void sender_turn(struct sender *s, bool shared)
{
	s->turn_len = s->turn_left = shared ? FILE_TURN_SHARED : FILE_TURN;
	while (!list_empty(&s->later)) {
		struct file_send *f = list_first(&s->later, struct file_send, waiting);

		list_del(&f->waiting);
		f->resume(f);
	}
}

/* A new range begins, or none. */
static void forget_range(struct file_send *f)
{
	f->warm_off = UINT64_MAX;
	f->warm_len = 0;
	f->cold_off = 0;
}

void file_send_init(struct file_send *f, struct sender *s)
{
	f->sender = s;
	f->transfer = NULL;
	f->corked = false;
	forget_range(f);
	list_init(&f->waiting);
}

/* One goes on for each pipe that is free; who then needs none hands the turn on. */
static void wake_next(struct sender *s)
{
	struct file_send *next;

	if (list_empty(&s->waiting) || s->pipes.nr_lent == s->pipes.max)
		return;
	next = list_first(&s->waiting, struct file_send, waiting);
	list_del(&next->waiting);
	next->resume(next);
}

static void give_back(struct file_send *f)
{
	struct transfer *t = f->transfer;
	struct sender *s = f->sender;

	loop_remove(s->loop, &t->io);
	pipe_put(&s->pipes, t->pipe, t->left);
	slab_free(&s->transfers, t);
	f->transfer = NULL;
	wake_next(s);
}

void file_send_fini(struct file_send *f)
{
	list_del(&f->waiting);
	if (f->transfer)
		give_back(f);
	else
		wake_next(f->sender);
}

bool file_send_cancel(struct file_send *f)
{
	list_del(&f->waiting);
	return !f->transfer || loop_cancel(f->sender->loop, &f->transfer->io);
}

bool file_send_busy(const struct file_send *f)
{
	return f->transfer && f->transfer->io.inflight;
}

/* 0, or -errno. A file that was only renamed or unlinked meanwhile is still the same. */
static int check_version(const struct seg *seg)
{
	struct stamp now;
	struct stat st;

	if (!seg->stamp)
		return 0;
	if (fstat(seg->fd, &st))
		return -errno;
	now = stamp_of(&st);
	return now.size == seg->stamp->size && now.mtime_ns == seg->stamp->mtime_ns ? 0 : -ESTALE;
}

static bool is_in_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/* Would reading this byte wait? Where the file system cannot say, it might. */
static bool is_cold(int fd, u64 off)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	ssize_t n = preadv2(fd, &iov, 1, (off_t)off, RWF_NOWAIT);

	if (n >= 0)
		return false; /* 0: it is shorter now, which sendfile will say */
	return errno == EAGAIN || !is_in_memory(fd);
}

/*
 * Readers go through files in order, so a stretch is as warm as its ends; where
 * the window begins the one before it has just ended.
 */
static bool is_window_cold(struct file_send *f, const struct seg *seg, size_t len)
{
	size_t step = f->warm_len >= FILE_TRUST ? PROBE_STEP_TRUSTED : PROBE_STEP;

	if (is_cold(seg->fd, seg->off + len - 1) ||
	    (f->warm_off != seg->off && is_cold(seg->fd, seg->off)))
		return true;
	for (size_t at = step; at < len; at += step)
		if (is_cold(seg->fd, seg->off + at))
			return true;
	return false;
}

/*
 * The kernel reads ahead, so that behind the first window of a cold file most are
 * in memory; but whoever reads them has to start the next read-ahead, which takes
 * milliseconds when it is long. That is left to the workers as well, until the
 * file is in memory further on than that.
 */
static bool stays_cold(const struct file_send *f, const struct seg *seg)
{
	if (seg->off < f->cold_off)
		return true;
	return f->cold_off && is_cold(seg->fd, seg->off + min(seg->len - 1, LOOK_AHEAD));
}

/*
 * sendfile() cannot say that more follows: without this each window would end
 * with a small segment. A socket that is not TCP has no use for it.
 */
static void cork(struct file_send *f, const struct io *sock, bool on)
{
	int value = on;

	if (f->corked == on)
		return;
	f->corked = on;
	(void)!setsockopt(sock->fd, IPPROTO_TCP, TCP_CORK, &value, sizeof(value));
}

/* -EINPROGRESS, or why no pipe can be had. */
static ssize_t start_transfer(struct file_send *f, const struct seg *seg, size_t len)
{
	struct sender *s = f->sender;
	struct transfer *t = f->transfer;
	struct pipe *pipe;
	int err;

	if (!t) {
		err = pipe_get(&s->pipes, &pipe);
		if (err == -EAGAIN) {
			list_add_tail(&f->waiting, &s->waiting);
			return -EINPROGRESS;
		}
		if (err)
			return err;
		t = fail_alloc() ? NULL : slab_alloc(&s->transfers);
		err = t ? loop_add_plain(s->loop, &t->io, pipe->write_fd, &transfer_ops) : -ENOMEM;
		if (err) {
			if (t)
				slab_free(&s->transfers, t);
			pipe_put(&s->pipes, pipe, 0);
			return err;
		}
		t->pipe = pipe;
		t->owner = f;
		t->left = 0;
		f->transfer = t;
	}
	t->err = 0;
	s->nr_cold++;
	return loop_splice(s->loop, &t->io, seg->fd, (s64)seg->off, min(len, (size_t)t->pipe->len));
}

/* From the pipe to the socket. */
static ssize_t drain(struct transfer *t, struct io *sock, const struct seg *seg)
{
	u32 flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (seg->len > t->left ? SPLICE_F_MORE : 0);
	ssize_t n = splice(t->pipe->read_fd, NULL, sock->fd, NULL, t->left, flags);

	if (n > 0)
		t->left -= (size_t)n;
	return n < 0 ? -errno : n;
}

/*
 * Behind the range's last byte nobody asks us again. And a client that does not
 * read keeps a pipe only while there are plenty: what is in it is in the page
 * cache as well, so the next window most likely needs none.
 */
static bool is_done_with_pipe(const struct file_send *f, ssize_t n, const struct seg *seg)
{
	const struct pipe_pool *pipes = &f->sender->pipes;

	return (n > 0 && (u64)n == seg->len) || pipes->nr_lent > pipes->max / 2;
}

/* Was that the last of it? */
static void end_range(struct file_send *f, const struct io *sock, const struct seg *seg, ssize_t n)
{
	if (n <= 0 || (u64)n < seg->len)
		return;
	forget_range(f);
	cork(f, sock, false);
}

/*
 * How much of the range may go in one call now. 0: it has to wait for the next
 * turn, as a call for the little that is left would cost too much.
 */
static size_t window_of(const struct file_send *f, const struct seg *seg)
{
	const struct sender *s = f->sender;
	size_t max = f->warm_len >= FILE_TRUST ? s->turn_left : min(s->turn_left, FILE_WINDOW);

	return s->turn_left < min(seg->len, FILE_TURN_SHARED) ? 0 : min(seg->len, max);
}

static void put_off(struct file_send *f)
{
	struct sender *s = f->sender;

	if (list_empty(&s->later))
		loop_wake(s->loop); /* nothing else may end the sleep */
	list_add_tail(&f->waiting, &s->later);
	s->nr_later++;
}

static void take_from_turn(struct sender *s, ssize_t n)
{
	if (n > 0)
		s->turn_left -= min(s->turn_left, (size_t)n);
}

static ssize_t send_window(struct file_send *f, const struct io *sock, const struct seg *seg,
			   size_t len, bool warm)
{
	off_t off = (off_t)seg->off;
	ssize_t n;

	if (seg->len > len)
		cork(f, sock, true);
	n = sendfile(sock->fd, seg->fd, &off, len);
	take_from_turn(f->sender, n);
	if (warm && n > 0) {
		f->warm_off = seg->off + (u64)n;
		f->warm_len += (u64)n;
	}
	end_range(f, sock, seg, n);
	if (n == 0)
		return -ENODATA;
	return n < 0 ? -errno : n;
}

ssize_t file_send_next(struct file_send *f, struct io *sock, const struct seg *seg)
{
	size_t len = window_of(f, seg);
	struct transfer *t = f->transfer;
	bool warm;
	ssize_t n;

	if ((t && t->io.inflight) || !list_empty(&f->waiting))
		return -EINPROGRESS;
	if (!len) {
		put_off(f);
		return -EINPROGRESS;
	}
	if (t && t->left) {
		n = drain(t, sock, seg);
		take_from_turn(f->sender, n);
		end_range(f, sock, seg, n);
		if (is_done_with_pipe(f, n, seg))
			give_back(f);
		return n;
	}
	if (t && t->err)
		return t->err;
	n = check_version(seg);
	if (n)
		return n;
	f->sender->nr_windows++;
	warm = !stays_cold(f, seg) && !is_window_cold(f, seg, len);
	if (!warm) {
		f->warm_off = UINT64_MAX;
		f->warm_len = 0;
		if (seg->off >= f->cold_off)
			f->cold_off = seg->off + COLD_STRETCH;
		n = f->sender->can_wait ? start_transfer(f, seg, len) : 0;
		if (n == -EINPROGRESS)
			return n;
		len = min(len, FILE_COLD);
	}
	if (f->transfer)
		give_back(f);
	else
		wake_next(f->sender);
	return send_window(f, sock, seg, len, warm);
}

static void transfer_spliced(struct io *io, ssize_t n)
{
	struct transfer *t = container_of(io, struct transfer, io);

	if (n > 0)
		t->left = (size_t)n;
	else
		t->err = n ? n : -ENODATA;
	t->owner->resume(t->owner);
}

static void transfer_quiet(struct io *io)
{
	struct transfer *t = container_of(io, struct transfer, io);

	t->left = 1; /* nobody knows what is in it */
	t->owner->quiet(t->owner);
}

static const struct io_ops transfer_ops = {
	.spliced = transfer_spliced,
	.quiet = transfer_quiet,
};
