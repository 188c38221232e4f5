/* SPDX-License-Identifier: MIT */
/*
 * Pipes through which a file goes into a socket without passing through user
 * space. A pool lends them, one for each transfer; it never has more than
 * @max, lent and free together, and belongs to one thread.
 */
#ifndef HYPERION_SERVER_PIPE_H
#define HYPERION_SERVER_PIPE_H

#include "server/base.h"

#define PIPE_LEN (256 * KIB) /* asked for; a user's pipe limits may grant less */

struct pipe {
	struct pipe *next; /* in the pool */
	int read_fd, write_fd; /* O_CLOEXEC, O_NONBLOCK */
	u32 len; /* bytes that it really holds */
};

struct pipe_pool {
	struct pipe *free;
	u32 nr_free, nr_lent, max;
};

/* Opens nothing yet. */
void pipe_pool_init(struct pipe_pool *pool, u32 max);

/* Closes the free ones; needs nr_lent == 0. */
void pipe_pool_fini(struct pipe_pool *pool);

/* An empty pipe. -EAGAIN: all are lent; -ENOMEM, -EMFILE, -ENFILE: none can be made. */
int pipe_get(struct pipe_pool *pool, struct pipe **out) __must_check;

/*
 * Gives it back; nothing of it may be in flight. @left: bytes still in it; the
 * next one must not get them, so only an empty pipe is kept.
 */
void pipe_put(struct pipe_pool *pool, struct pipe *p, size_t left);

#endif
