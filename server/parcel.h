/* SPDX-License-Identifier: MIT */
/*
 * A connection on its way from one worker to another: what its link has to
 * say, as it crosses between processes of one program. The descriptor goes
 * beside it. Times are CLOCK_MONOTONIC, which all of them share.
 */
#ifndef HYPERION_SERVER_PARCEL_H
#define HYPERION_SERVER_PARCEL_H

#include "server/base.h"

#define PARCEL_BYTES_MAX (16 * KIB) /* a connection that has asked for more stays */
#define PARCEL_REQS_MAX 8u
#define PARCEL_MOVES_MAX 2u /* of a connection, since an answer last left on it */

/* A complete request that nobody has begun. */
struct parcel_req {
	u64 start_ns, ready_ns; /* its first byte; it was complete */
	u32 len; /* bytes of head and body */
	u32 reserved;
};

struct parcel {
	u32 nr_reqs;
	u32 moves; /* this one included */
	u32 len; /* of bytes */
	u32 from; /* the worker that gives it away */
	u64 start_ns; /* first byte of a head behind the requests; 0 = there is none */
	u64 deadline_ns; /* without any request: when an idle connection ends */
	struct parcel_req reqs[PARCEL_REQS_MAX];
	char bytes[PARCEL_BYTES_MAX]; /* the requests as they came, and what else was read */
};

#define PARCEL_HEAD_LEN offsetof(struct parcel, bytes)

/* What came as @len bytes: does it hold what it says? */
static inline bool parcel_valid(const struct parcel *p, size_t len)
{
	u64 sum = 0;

	if (len < PARCEL_HEAD_LEN || len - PARCEL_HEAD_LEN != p->len || p->len > PARCEL_BYTES_MAX ||
	    p->nr_reqs > PARCEL_REQS_MAX)
		return false;
	for (u32 i = 0; i < p->nr_reqs; i++)
		sum += p->reqs[i].len;
	return sum <= p->len;
}

/* @len more bytes; false: they do not fit. */
static inline __must_check bool parcel_add(struct parcel *p, const char *bytes, size_t len)
{
	if (len > PARCEL_BYTES_MAX - p->len)
		return false;
	if (len)
		memcpy(p->bytes + p->len, bytes, len);
	p->len += (u32)len;
	return true;
}

#endif
