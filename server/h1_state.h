/* SPDX-License-Identifier: MIT */
/*
 * What the parts of HTTP/1.x share: h1.c (order, answers), h1_read.c (heads
 * and bodies), h1_deadline.c (time) and h1_move.c (to another worker). Nobody else includes it.
 */
#ifndef HYPERION_SERVER_H1_STATE_H
#define HYPERION_SERVER_H1_STATE_H

#include "server/h1_parse.h"
#include "server/list.h"
#include "server/proto.h"
#include "server/req.h"

enum h1_phase {
	H1_HEAD, /* between requests, or in a head */
	H1_BODY, /* h1->req is being read */
	H1_DONE, /* the connection ends: what still comes is dropped */
};

struct h1 {
	struct list order; /* requests not yet answered, as they came */
	struct req *req; /* H1_BODY: the last of them */
	u64 start_ns; /* H1_HEAD: when the first byte of the head came, 0 = none yet */
	u64 body_left; /* H1_BODY with a Content-Length */
	u32 nr_order;
	u32 seen; /* H1_HEAD: bytes of the head already looked at */
	enum h1_phase phase;
	bool chunked; /* H1_BODY */
	bool behind; /* H1_DONE: bytes came that belong to no request, the app may want them */
	bool upgrade; /* what follows the last request may not be HTTP: it is not read yet */
	bool leaving; /* packed: the next call is packed() or close() */
	u8 moves; /* to other workers, since an answer last left here */
	struct h1_chunked chunks;
};

_Static_assert(sizeof(struct h1) <= LINK_STATE_LEN, "the state has to fit into a link");

static inline struct h1 *h1_of(struct link *l)
{
	return (struct h1 *)l->state;
}

static inline u64 h1_after_ms(const struct link *l, u32 ms)
{
	return l->http->now_ns + ms * NSEC_PER_MSEC;
}

/* --- h1.c --- */

/* No more input for now: the peer asks faster than it takes or than we answer. */
bool h1_crowded(struct link *l);

/* The link cannot go on at all: no memory to answer with. Frees the requests. */
void h1_give_up(struct link *l);

/* The queue for a request's answer: the link's own when it is its turn. */
struct outq *h1_answer_queue(struct link *l, struct req *r);

/* A new request, last in the order; NULL: memory is out and the link has given up. */
struct req *h1_begin(struct link *l) __must_check;

/* The protocol's own answer to what it does not take; the connection ends with it. */
void h1_refuse(struct link *l, struct req *r, int status, const char *why);

/* The whole request is here. */
void h1_dispatch(struct link *l, struct req *r);

/* The app goes on with @r, but not for this client: 503, or a cut. */
void h1_end_overtime(struct link *l, struct req *r);

/* For body_add(): the file of a body (arg is the req) has taken all bytes so far, or cannot. */
void h1_body_progress(void *arg, int err);

/* --- h1_read.c: how many bytes were taken; 0 = more are needed --- */

size_t h1_read_head(struct link *l, const char *p, size_t len);
size_t h1_read_body(struct link *l, const char *p, size_t len);

/* --- h1_deadline.c --- */

/* After every event: until when does this link wait, and for more input at all? */
void h1_settle(struct link *l);

/* For the protocol's table: the link's deadline is over. */
void h1_timeout(struct link *l);

/* --- h1_move.c --- */

/* For the protocol's table. */
int h1_pack(struct link *l, struct parcel *p);
void h1_packed(struct link *l);
size_t h1_unpack(struct link *l, const struct parcel *p);

/* The app gives a request back that was taken from it for a move. */
void h1_recalled(struct link *l, struct req *r);

#endif
