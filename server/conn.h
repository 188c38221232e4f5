/* SPDX-License-Identifier: MIT */
/*
 * Connections: a descriptor in the loop, a link on top of it. A conn is born
 * when it is accepted, never moves, and dies when it is closing and nothing
 * of it is in flight. Closing has one order: state CLOSING, cancel, wait until
 * it is quiet, close, free.
 */
#ifndef HYPERION_SERVER_CONN_H
#define HYPERION_SERVER_CONN_H

#include "server/base.h"
#include "server/http.h"
#include "server/list.h"
#include "server/loop.h"
#include "server/proto.h"
#include "server/send.h"
#include "server/slab.h"
#include "server/wheel.h"

enum conn_state {
	CONN_OPEN,
	CONN_LINGER, /* our side is shut down; what comes is read and dropped */
	CONN_DETACHING, /* receiving is being stopped; then the descriptor is given away */
	CONN_CLOSING, /* waits until nothing is in flight */
};
#define NR_CONN_STATES (CONN_CLOSING + 1)

struct conns;
struct parcel;

/*
 * A connection given away: the descriptor and what was read but not taken; @fd
 * is -1 when it was reset or closed before.
 */
typedef void (*conn_detached_fn)(void *arg, int fd, const char *rest, size_t len);

struct conn {
	struct io io;
	struct conns *conns;
	struct link link;
	struct file_send file; /* of the queue's file ranges */
	enum conn_state state;
	bool eof; /* the peer has finished; the protocol hears of it once it took the rest */
	bool leaving; /* CONN_DETACHING to another worker */
	u32 in_len, in_cap; /* bytes */
	char *in; /* received, not yet taken by the protocol; NULL when there are none */
	u64 send_deadline_ns; /* while a send waits for the peer; 0 = none does */
	u64 linger_deadline_ns, linger_end_ns;
	struct timer timer;
	struct list all, dirty;
	conn_detached_fn detached;
	void *detached_arg;
};

/* All connections of one worker. */
struct conns {
	struct loop *loop;
	struct http *http;
	struct wheel *wheel;
	struct sender sender;
	struct slab slab;
	struct list all, dirty;
	u32 nr;
	u32 nr_in[NR_CONN_STATES];
	u64 nr_accepted; /* not those that came back, or from another worker */
	u64 shared_until_ns; /* somebody gets short answers */
	void (*closed)(struct conns *cs); /* one is gone; may be NULL */
};

void conns_init(struct conns *cs, struct loop *loop, struct http *http, struct wheel *wheel);
void conns_fini(struct conns *cs); /* needs nr == 0 */

/* Takes the descriptor over, also on errors. */
int conn_open(struct conns *cs, int fd, const struct proto *proto) __must_check;

/* The same for one that was given away before and comes back, with bytes already read. */
int conn_open_with(struct conns *cs, int fd, const struct proto *proto, const char *p,
		   size_t len) __must_check;

/* Its link changed outside of the loop's callbacks: the next flush looks at it. */
void conn_touch(struct conn *c);

/* Before the events of a batch; http->now_ns is its time. */
void conns_turn(struct conns *cs);

/* Once per batch: sends, closes, pauses and resumes what the batch has touched. */
void conns_flush(struct conns *cs);

/* Graceful: tells every link; idle ones go by their own deadline. */
void conns_shutdown(struct conns *cs);

/* For http->find_peer. */
void conn_find_peer(struct link *l);

/* Cuts every connection. They are gone once nr is 0. */
void conns_close(struct conns *cs);

/*
 * Gives the connection away: stops receiving, waits for what is in flight,
 * then calls @detached with the descriptor (out of the loop, open) and the
 * bytes that the protocol has not taken. Queued output has to be empty; the
 * link is closed before the call.
 */
void conn_detach(struct conn *c, conn_detached_fn detached, void *arg);

/*
 * The same towards another worker: @p says what was asked on it and nobody has
 * begun; its rest comes with @detached. 0, or why it stays (see pack() in proto.h)
 * and nothing has happened.
 */
int conn_leave(struct conn *c, struct parcel *p, conn_detached_fn detached, void *arg) __must_check;

/*
 * One that has left there, or here: then @rest is what came with @detached. Takes the descriptor
 * over, also on errors.
 */
int conn_arrive(struct conns *cs, int fd, const struct proto *proto, const struct parcel *p,
		const char *rest, size_t len) __must_check;

static inline struct conn *conn_of_link(struct link *l)
{
	return container_of(l, struct conn, link);
}

#endif
