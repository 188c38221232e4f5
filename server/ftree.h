/* SPDX-License-Identifier: MIT */
/*
 * A folder served under a prefix: which answer a request gets (RFC 9110
 * sections 12-14), decided while its head is at hand, and put into the queue
 * when its turn has come.
 */
#ifndef HYPERION_SERVER_FTREE_H
#define HYPERION_SERVER_FTREE_H

#include "server/arena.h"
#include "server/base.h"
#include "server/date.h"
#include "server/fcache.h"
#include "server/handler.h"
#include "server/msg.h"
#include "server/outq.h"
#include "server/range.h"

struct ftree {
	struct fcache *cache;
	struct froot *root;
	bool fallthrough; /* what is not a file here is the app's */
};

/* The tree takes over a reference to the root, also when memory is out: NULL. */
struct ftree *ftree_new(struct fcache *cache, struct froot *root, bool fallthrough) __must_check;
void ftree_free(struct ftree *t);

/* The answer to one request. Zero it; drop it at the end. */
struct freply {
	u16 status;
	u16 nr_ranges;
	struct fentry *entry; /* 200, 206, 304, 416: held */
	const struct range *ranges; /* 206: in the request's arena */
	struct view location; /* 301: in the request's arena */
};

/*
 * @path: of the request, undecoded; @below: what of it follows the prefix.
 * Fills @out; its status 0 means that the request is the app's. Small memory
 * comes from @arena. 0 or -ENOMEM.
 */
int ftree_decide(const struct ftree *t, const struct msg *m, struct view path, struct view below,
		 u64 now_ns, const struct date *date, struct arena *arena,
		 struct freply *out) __must_check;

void freply_drop(struct freply *r);

/* Does freply_put() know its status? Others are answered as plain text. */
static inline bool freply_has_own(const struct freply *r)
{
	return r->entry || r->status == 301;
}

/* Queues the answer. 0 or -ENOMEM, then a part may be queued. */
int freply_put(struct freply *r, const struct date *date, struct outq *q, bool head_only,
	       enum persist persist) __must_check;

#endif
