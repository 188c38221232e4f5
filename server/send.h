/* SPDX-License-Identifier: MIT */
/*
 * File ranges into sockets, without passing through user space and without
 * the loop waiting for a disk. A window that is found to be in memory goes by
 * sendfile at once; any other is first read into a pipe by io_uring's
 * workers. On epoll, or without a pipe, nobody can wait in our place: there a cold
 * file is read by sendfile on the loop, a little in one turn.
 *
 * Few large calls are the cheapest: the kernel then finds the socket's buffer
 * full and sends the rest from the acknowledgements, instead of in the call. But
 * a turn of the loop ends late by what it has sent, so the files of all connections
 * share one budget for a turn, a small one while others get short answers.
 */
#ifndef HYPERION_SERVER_SEND_H
#define HYPERION_SERVER_SEND_H

#include "server/base.h"
#include "server/list.h"
#include "server/loop.h"
#include "server/outq.h"
#include "server/pipe.h"
#include "server/slab.h"

#define FILE_TURN (4 * MIB) /* the files of a turn; as much as a socket's buffer usually takes */
#define FILE_TURN_SHARED (256 * KIB) /* the same beside short answers */
#define FILE_WINDOW MIB /* in one call, for a file of which little is known yet */
#define FILE_COLD (256 * KIB) /* in one call, where the loop itself waits for the disk */
#define FILE_TRUST (4 * MIB) /* after so much of it in memory a call may take the turn's budget */

struct transfer;

/* What all connections of a worker share. */
struct sender {
	struct loop *loop;
	bool can_wait; /* the loop splices on its own */
	struct pipe_pool pipes;
	struct slab transfers;
	struct list waiting; /* for a pipe */
	struct list later; /* for the next turn, longest first */
	size_t turn_len, turn_left; /* bytes: this turn's budget, and what is left of it */
	u64 nr_windows, nr_cold; /* of them went through a pipe */
	u64 nr_later; /* were put off to the next turn */
};

/* Embedded in a connection. */
struct file_send {
	struct sender *sender;
	struct transfer *transfer; /* NULL when no pipe is lent */
	struct list waiting; /* in one of the sender's */
	bool corked; /* the socket keeps partial segments back */
	u64 warm_off; /* up to where the range was found in memory */
	u64 warm_len; /* so many bytes in a row */
	u64 cold_off; /* up to where it goes by the pipe; 0 = all was in memory */
	void (*resume)(struct file_send *f); /* after -EINPROGRESS that was not the socket's */
	void (*quiet)(struct file_send *f); /* after file_send_cancel() */
};

void sender_init(struct sender *s, struct loop *loop);
void sender_fini(struct sender *s);

/*
 * A turn of the loop begins; to be called before its events are looked at.
 * @shared: short answers are waiting for the end of turns as well.
 */
void sender_turn(struct sender *s, bool shared);

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
