/* SPDX-License-Identifier: MIT */
/*
 * The event loop of one I/O thread: readiness or completion, io_uring or
 * epoll, behind one interface. An io is one descriptor in the loop; whoever
 * embeds it owns it. The loop must be created, run and freed on one thread;
 * only loop_wake() may come from elsewhere.
 *
 * Every operation is at most once in flight per io. Operations that return
 * -EINPROGRESS call back later; any other value is the result, at once, and
 * no callback follows. Callbacks run inside loop_dispatch() only.
 */
#ifndef HYPERION_SERVER_LOOP_H
#define HYPERION_SERVER_LOOP_H

#include <sys/uio.h>

#include "server/base.h"
#include "server/list.h"

struct loop;
struct io;

enum loop_kind { LOOP_URING, LOOP_EPOLL };

/* What is in flight on an io. */
enum io_op {
	IO_ACCEPT = 1 << 0,
	IO_RECV = 1 << 1,
	IO_SEND = 1 << 2,
	IO_POLL = 1 << 3,
	IO_WRITE = 1 << 4,
	IO_SPLICE = 1 << 5,
};

struct io_ops {
	/* A connection, CLOEXEC and NONBLOCK, or -errno. Goes on after errors of one connection. */
	void (*accepted)(struct io *io, int fd);
	/*
	 * @n bytes that are the callee's until it returns; 0 = end of file;
	 * -errno. After n <= 0 nothing is armed any more.
	 */
	void (*received)(struct io *io, const char *p, ssize_t n);
	/* Bytes that left, 0 = there is room again, -errno. */
	void (*sent)(struct io *io, ssize_t n);
	void (*ready)(struct io *io, int revents);
	void (*wrote)(struct io *io, ssize_t n);
	void (*spliced)(struct io *io, ssize_t n);
	/* After loop_cancel(): nothing is in flight any more. */
	void (*quiet)(struct io *io);
};

struct io {
	const struct io_ops *ops;
	int fd;
	u32 idx, gen; /* the loop's name for it */
	u8 inflight; /* enum io_op */
	bool cancelled;
	bool stopping; /* io_uring: the end of an accept or a receive was asked for */
	bool waits_room; /* io_uring: IO_SEND is a poll, its result no bytes; epoll: there is room */
	bool level; /* epoll: registered level-triggered */
	bool single; /* accept: one connection each time it is asked for */
	bool regular; /* epoll: a file that takes any write at once */
	int accept_err; /* io_uring: why the accept that is being stopped ends */
	struct list ready; /* epoll: to be tried again without an event */
	struct gather *gather; /* io_uring: what a send in several pieces points to */
};

struct loop_config {
	enum loop_kind kind;
	u32 entries; /* submission queue; 0 = default */
	u32 nr_buffers; /* receive buffers, a power of two; 0 = default */
	u32 buffer_len; /* 0 = default */
};

/* 0 or -errno; io_uring fails as a whole where a part that it needs is missing. */
int loop_new(struct loop **out, const struct loop_config *config) __must_check;
void loop_free(struct loop *l);

/* Can io_uring be used here? 0, or -errno and why, in words for an operator. */
int loop_probe_uring(const char **why);

const char *loop_name(const struct loop *l);

/* The descriptor of the ring or the epoll set. */
int loop_fd(const struct loop *l);

/* The loop knows the descriptor from here to loop_close() or loop_remove(). */
int loop_add(struct loop *l, struct io *io, int fd, const struct io_ops *ops) __must_check;

/* A descriptor that is only polled, written or spliced. */
int loop_add_plain(struct loop *l, struct io *io, int fd, const struct io_ops *ops) __must_check;

/* Needs inflight == 0. The descriptor stays open and is the caller's again. */
void loop_remove(struct loop *l, struct io *io);

/* Needs inflight == 0. Closes the descriptor too. */
void loop_close(struct loop *l, struct io *io);

/* Until stopped: every connection that comes. */
void loop_accept(struct loop *l, struct io *io);

/* The next connection only; nothing is armed when it is delivered. */
void loop_accept_one(struct loop *l, struct io *io);

/* Until stopped, end of file or an error: every byte that comes. */
void loop_recv(struct loop *l, struct io *io);

/*
 * true: stopped. false: what is already on its way is still delivered, then
 * received() or accepted() brings -ECANCELED (or another end).
 */
bool loop_recv_stop(struct loop *l, struct io *io) __must_check;
bool loop_accept_stop(struct loop *l, struct io *io) __must_check;

/*
 * Sends the pieces in order; may be short. The bytes must stay in place until
 * the result is there, @iov need not. @more: further bytes follow at once.
 */
ssize_t loop_send(struct loop *l, struct io *io, const struct iovec *iov, int nr,
		  bool more) __must_check;

/* -EINPROGRESS: sent() with 0 follows when the socket has room for more. */
ssize_t loop_wait_room(struct loop *l, struct io *io) __must_check;

/* One shot: ready() when one of @events (POLLIN, POLLOUT) holds. */
int loop_poll(struct loop *l, struct io *io, int events) __must_check;

/* Appends to the file or pipe of @io, never waits for a full pipe. */
ssize_t loop_write(struct loop *l, struct io *io, const void *p, size_t len) __must_check;

/*
 * Moves up to @len bytes from @fd_in to the descriptor of @io, of which one
 * has to be a pipe; @off is the place in a file, -1 for a pipe. Both have to be
 * O_NONBLOCK; -EAGAIN: the pipe is full or empty, or the socket has no room.
 * There is no MSG_NOSIGNAL for it: SIGPIPE has to be ignored or blocked.
 */
ssize_t loop_splice(struct loop *l, struct io *io, int fd_in, s64 off, size_t len) __must_check;

/*
 * Ends all that is in flight. true: nothing is left. false: quiet() follows;
 * no other callback does.
 */
bool loop_cancel(struct loop *l, struct io *io) __must_check;

/* Hands to the kernel what was asked for and does not wait. */
void loop_submit(struct loop *l);

/*
 * Hands to the kernel what was asked for and sleeps until something happened,
 * at most @timeout_ns (-1 = for ever, 0 = not at all). 0 or -errno.
 */
int loop_wait(struct loop *l, s64 timeout_ns) __must_check;

/* Runs the callbacks for what has happened; how many events there were. */
u32 loop_dispatch(struct loop *l);

/* From any thread: lets loop_wait() return. */
void loop_wake(struct loop *l);

#endif
