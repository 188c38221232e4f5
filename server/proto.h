/* SPDX-License-Identifier: MIT */
/*
 * A link is one connection as a protocol sees it: bytes in, bytes out, and a
 * few wishes (pause, wait until, close) that its owner grants. It knows no
 * socket, so a test can build one.
 *
 * The owner calls input, eof, timeout, output and shutdown, one at a time, and
 * after each looks at the flags, the deadline and the output queue.
 */
#ifndef HYPERION_SERVER_PROTO_H
#define HYPERION_SERVER_PROTO_H

#include "server/base.h"
#include "server/http.h"
#include "server/outq.h"

struct answer;
struct link;
struct parcel;
struct req;

/* Who is at the other end, found out when somebody asks. */
struct peer {
	bool known;
	char text[46]; /* an address, "" for a Unix socket */
	u16 port;
	u16 server_port; /* of our end; 0 for a Unix socket */
};

struct proto {
	const char *name;
	size_t state_len; /* <= LINK_STATE_LEN */

	void (*open)(struct link *l);

	/*
	 * Returns how many of the bytes it took. The rest is offered again, with
	 * what came behind it, unless LINK_PAUSED is set: then the owner waits
	 * until that is cleared.
	 */
	size_t (*input)(struct link *l, const char *p, size_t len);

	/* The peer will send no more. */
	void (*eof)(struct link *l);

	/* The deadline has passed. */
	void (*timeout)(struct link *l);

	/*
	 * The app's next answer for a request of this link. Memory and descriptor
	 * of it are taken over; after one of ANSWER_LAST the job is ours again.
	 */
	void (*answer)(struct link *l, struct req *r, struct answer *a);

	/* The answer that a request has on loan is due: it is sealed and goes out. */
	void (*due)(struct link *l, struct req *r);

	/* Output has drained below limits->max_out_bytes. */
	void (*output)(struct link *l);

	/* The server stops: finish what was begun, then LINK_CLOSE. */
	void (*shutdown)(struct link *l);

	/* The connection is gone: give up requests; the queue is dropped next. */
	void (*close)(struct link *l);

	/*
	 * To another worker, with what was asked and nobody has begun. 0: it is in @p,
	 * and packed() or close() is the next call; else -EBUSY (some of it was begun, or it
	 * is being read), -EMSGSIZE, -ELOOP (it has just come). The output queue is empty.
	 * NULL where a connection cannot go elsewhere.
	 */
	int (*pack)(struct link *l, struct parcel *p);
	/* It has gone, close() is next: what was packed is nobody's here. */
	void (*packed)(struct link *l);
	/* Just opened: takes what came. How many of the bytes it took, as input(). */
	size_t (*unpack)(struct link *l, const struct parcel *p);
};

enum link_flag {
	LINK_PAUSED = 1 << 0, /* takes no input for now */
	LINK_CLOSE = 1 << 1, /* close once the output queue is empty */
	LINK_LINGER = 1 << 2, /* ... but first let the peer finish, or it loses our answer */
	LINK_EOF = 1 << 3, /* the peer has finished */
	LINK_DETACH = 1 << 4, /* give the connection to l->hijack once the output queue is empty */
};

#define LINK_STATE_LEN 160u

struct link {
	const struct proto *proto;
	struct http *http;
	u32 flags;
	u64 deadline_ns; /* CLOCK_MONOTONIC; 0 = none */
	u32 idx, gen; /* names the connection */
	struct outq out;
	struct peer peer;
	struct hijack *hijack; /* LINK_DETACH */
	_Alignas(16) char state[LINK_STATE_LEN];
};

static inline void link_open(struct link *l, const struct proto *proto, struct http *http)
{
	l->proto = proto;
	l->http = http;
	l->flags = 0;
	l->deadline_ns = 0;
	l->idx = l->gen = 0;
	l->peer.known = false;
	l->hijack = NULL;
	outq_init(&l->out, &http->out);
	proto->open(l);
}

static inline const struct peer *link_peer(struct link *l)
{
	if (!l->peer.known && l->http->find_peer)
		l->http->find_peer(l);
	return &l->peer;
}

/* Who still waits for the connection learns that it is gone. */
void link_close(struct link *l);

#endif
