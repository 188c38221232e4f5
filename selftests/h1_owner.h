/* SPDX-License-Identifier: MIT */
/*
 * An owner of one HTTP/1.1 link without a socket: keeps the contract of
 * server/proto.h to the letter, and ends the program when the link breaks it.
 * Its clock stands until it is moved.
 */
#ifndef HYPERION_SELFTESTS_H1_OWNER_H
#define HYPERION_SELFTESTS_H1_OWNER_H

#include "server/base.h"
#include "server/http.h"
#include "server/proto.h"

#define OWNER_NR_DONE 256

/* A byte string that grows; without the allocator under test. */
struct bytes {
	char *p;
	size_t len, room;
};

/* What http->done said of a request. */
struct owner_done {
	int status;
	u64 body_len, bytes_out;
	bool sent;
};

/* In what the link is given its input. */
enum owner_copy {
	COPY_TO_GUARD, /* ends at a guard page */
	COPY_TO_HEAP, /* cheaper, for ASan to watch */
	COPY_NONE, /* as it lies */
};

struct owner {
	struct limits limits; /* may be changed until the link has seen a byte */
	struct http http;
	struct route_table *routes;
	struct link *link; /* on the heap, so that ASan guards its ends */
	struct bytes pending; /* offered, not taken */
	struct bytes out; /* sent so far */
	size_t send_max; /* bytes that one send takes */
	bool stopped; /* the peer reads nothing: nothing is sent */
	bool eof_waits; /* the peer has finished, but the link is paused */
	bool held; /* input was held back by a pause */
	u32 nr_with_app; /* kept by a test that plays the application */
	bool closed;
	bool detached; /* closed because it was given away */
	enum owner_copy copy;
	u64 nr_inputs, nr_sends, nr_timeouts;
	u64 nr_done;
	struct owner_done done[OWNER_NR_DONE]; /* the first of them */
};

/* With the routes and limits of h1_rules. False when memory is out. */
bool owner_init(struct owner *o);
void owner_fini(struct owner *o);

/* The peer sends @len bytes at once; then all that can be sent leaves. */
void owner_feed(struct owner *o, const char *p, size_t len);
void owner_eof(struct owner *o);

/* Time passes, in steps that stop at each deadline. */
void owner_wait(struct owner *o, u64 ms);

/* Sends while there is something and stopped is not set; closes the link if it wants that. */
void owner_flush(struct owner *o);

/* At most @max bytes leave, also when stopped; returns how many. */
size_t owner_send(struct owner *o, size_t max);

void owner_shutdown(struct owner *o);

/* The peer is gone. */
void owner_cut(struct owner *o);

#endif
