/* SPDX-License-Identifier: MIT */
/* What a file tree answers to one request, and its bytes in a queue. */
#ifndef HYPERION_SERVER_FREPLY_H
#define HYPERION_SERVER_FREPLY_H

#include "server/base.h"
#include "server/date.h"
#include "server/handler.h"
#include "server/outq.h"

struct fentry;
struct range;

/* Zero it; drop it at the end. */
struct freply {
	u16 status;
	u16 nr_ranges;
	struct fentry *entry; /* 200, 206, 304, 416: held */
	const struct range *ranges; /* 206: in the request's arena */
	struct view location; /* 301: in the request's arena */
	struct view lines; /* of the app's head; they go before the file's own */
	bool has_date; /* among those lines */
};

void freply_drop(struct freply *r);

/* Does freply_put() know its status? Others are answered as plain text. */
static inline bool freply_has_own(const struct freply *r)
{
	return r->entry || r->status == 301;
}

/* Will the kernel send its body from a file? Else it has none, or from memory. */
bool freply_from_file(const struct freply *r, bool head_only);

/* The bytes of a file's body. 0 or -ENOMEM. */
int freply_put_bytes(struct fentry *e, u64 off, u64 len, struct outq *q) __must_check;

/* Queues the answer. 0 or -ENOMEM, then a part may be queued. */
int freply_put(struct freply *r, const struct date *date, struct outq *q, bool head_only,
	       enum persist persist) __must_check;

#endif
