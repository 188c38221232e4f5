/* SPDX-License-Identifier: MIT */
/*
 * A worker's listeners: accepts while it serves and has room, stops as it was
 * told. The descriptors are closed by the acceptor.
 */
#ifndef HYPERION_SERVER_ACCEPTOR_H
#define HYPERION_SERVER_ACCEPTOR_H

#include "bpf/abi.h"
#include "server/base.h"
#include "server/conn.h"
#include "server/loop.h"
#include "server/wheel.h"

#define ACCEPTOR_MAX 16u /* listeners */

enum acceptor_state {
	ACCEPTOR_ON,
	ACCEPTOR_DRAINING, /* takes what waits in the queues, then closes them */
	ACCEPTOR_OFF, /* closes them */
};

struct listener {
	struct io io;
	struct acceptor *acceptor;
	bool open;
	bool steered; /* one of a group (SO_REUSEPORT), of which each worker has its own */
};

struct acceptor {
	struct conns *conns;
	const struct proto *proto; /* of new connections */
	u32 worker, max_connections;
	enum acceptor_state state;
	bool paused; /* until again fires */
	struct timer again;
	u64 nr_errors; /* accepts that failed */
	int observe_fd; /* for observe_accepted(), with row; -1 = connections are not observed */
	struct stats_worker *row;
	u64 nr_steered; /* connections from listeners that are steered to */
	u32 nr;
	struct listener listeners[ACCEPTOR_MAX];
};

void acceptor_init(struct acceptor *a, struct conns *conns, const struct proto *proto, u32 worker,
		   u32 max_connections);

/* Begins to accept from one more descriptor. 0 or -errno. */
int acceptor_add(struct acceptor *a, int fd) __must_check;

/* From conns->closed: there may be room again. */
void acceptor_conn_closed(struct acceptor *a);

/* ACCEPTOR_DRAINING or ACCEPTOR_OFF. */
void acceptor_stop(struct acceptor *a, enum acceptor_state state);

/* After a stop: all listeners are closed. */
bool acceptor_closed(const struct acceptor *a);

#endif
