/* SPDX-License-Identifier: MIT */
/*
 * File ranges into sockets, without passing through user space and without
 * the loop waiting for a disk. A window that is found to be in memory goes by
 * sendfile at once; any other is first read into a pipe by io_uring's
 * workers. On epoll nobody can wait in our place: there a cold file is read
 * by sendfile, on the loop.
 */
#ifndef HYPERION_SERVER_SEND_H
#define HYPERION_SERVER_SEND_H

#include "server/base.h"
#include "server/list.h"
#include "server/loop.h"
#include "server/outq.h"
#include "server/pipe.h"
#include "server/slab.h"

#define FILE_WINDOW MIB /* in one call, and at most one in a turn: fewer calls are cheaper */

struct transfer;

/* What all connections of a worker share. */
struct sender {
	struct loop *loop;
	bool can_wait; /* the loop splices on its own */
	struct pipe_pool pipes;
	struct slab transfers;
	struct list waiting; /* for a pipe */
	u64 nr_windows, nr_cold; /* of them went through a pipe */
};

/* Embedded in a connection. */
struct file_send {
	struct sender *sender;
	struct transfer *transfer; /* NULL when no pipe is lent */
	struct list waiting;
	bool corked; /* the socket keeps partial segments back */
	u64 warm_off; /* up to where the range was found in memory */
	void (*resume)(struct file_send *f); /* after -EINPROGRESS that was not the socket's */
	void (*quiet)(struct file_send *f); /* after file_send_cancel() */
};

void sender_init(struct sender *s, struct loop *loop);
void sender_fini(struct sender *s);

void file_send_init(struct file_send *f, struct sender *s);

/*
 * The next piece of the file range @seg to @sock. Bytes that left (> 0);
 * -EAGAIN: wait for room in the socket; -EINPROGRESS: resume() follows;
 * -ENODATA: the file is shorter than it was, -ESTALE: it has changed.
 */
ssize_t file_send_next(struct file_send *f, struct io *sock, const struct seg *seg) __must_check;

/* Ends what is in flight. true: nothing is left. false: quiet() follows. */
bool file_send_cancel(struct file_send *f) __must_check;

/* Is something in flight? */
bool file_send_busy(const struct file_send *f);

/* Gives the pipe back; nothing may be in flight. */
void file_send_fini(struct file_send *f);

#endif
