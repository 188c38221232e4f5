/* SPDX-License-Identifier: MIT */
/*
 * Connections of a worker whose requests wait too long go to siblings that have
 * less to do: with complete requests that no thread of the app has begun, or
 * idle, before their next request comes. What each worker has to do stands in
 * the shared rows; the connections lie in an inbox until they are taken.
 */
#ifndef HYPERION_SERVER_REBALANCE_H
#define HYPERION_SERVER_REBALANCE_H

#include "server/app.h"
#include "server/base.h"
#include "server/conn.h"
#include "server/inbox.h"
#include "server/loop.h"
#include "server/stats.h"
#include "server/wheel.h"

#define REBALANCE_WAITING_NS                                                                       \
	(10 * NSEC_PER_MSEC) /* a request that waits so long may go elsewhere */
#define REBALANCE_STUCK_NS (100 * NSEC_PER_MSEC) /* no thread has come free: idle ones go, too */
#define REBALANCE_LOOK_MS 5u /* while requests wait */
#define REBALANCE_SLOW_MS 50u /* while the app has some */
#define REBALANCE_PER_LOOK 32u /* moves */
#define REBALANCE_PER_SECOND 1000u
#define REBALANCE_LEAVE_MS                                                                         \
	250u /* a worker that goes waits so long for others that may still give */

struct rebalance {
	u32 id; /* of the slot */
	struct loop *loop;
	struct conns *conns;
	struct app *app;
	struct stats *stats;
	const struct proto *proto;
	u32 max_connections;

	bool open; /* there are inboxes */
	bool polled; /* ours, for the next packet */
	bool full; /* of connections: ours is not read for now */
	u64 stopped_ns; /* since when nothing is given away any more; 0 = it is */
	struct io inbox;
	u32 nr;
	int to[INBOX_MAX]; /* by slot */

	struct timer look;
	bool looks_soon; /* the timer, within REBALANCE_LOOK_MS */
	u64 second_ns; /* begin of the second in which ... */
	u32 nr_second; /* ... so many were moved */
	u32 nr_leaving; /* not yet out of our loop */
	u64 nr_out, nr_in, nr_refused;
	struct parcel came;
};

/* @stats->row has to be there for more than this call to do anything. */
void rebalance_init(struct rebalance *rb, u32 id, struct conns *conns, struct app *app,
		    struct stats *stats, const struct proto *proto, u32 max_connections);

/* @fds: our end of our inbox, then those by which the others are reached. Takes them over. */
void rebalance_open(struct rebalance *rb, const int *fds, u32 nr);

/* At the end of a turn: when to look, and the numbers. */
void rebalance_turn(struct rebalance *rb);

/* Nothing is given away any more; what comes is still taken. */
void rebalance_stop(struct rebalance *rb);

/* After the stop: nothing will come any more, as far as can be known. */
bool rebalance_done(struct rebalance *rb);

/* In a child that the app has forked: closes what it has of the inboxes. */
void rebalance_forked(const struct rebalance *rb);

/* When the loop is gone. */
void rebalance_fini(struct rebalance *rb);

#endif
