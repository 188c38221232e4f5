/* SPDX-License-Identifier: MIT */
/*
 * What a link still has to send, in order: memory and file ranges. Small
 * pieces are copied together into chunks, large ones are referenced and kept
 * alive by a hold. A mark fires when all bytes queued before it were sent, or
 * when the queue is dropped. One thread.
 */
#ifndef HYPERION_SERVER_OUTQ_H
#define HYPERION_SERVER_OUTQ_H

#include <sys/uio.h>

#include "server/base.h"
#include "server/slab.h"
#include "server/stamp.h"

#define OUTQ_CHUNK_LEN 4096u /* a chunk with its header */
#define OUTQ_COPY_MAX 1024u /* above this, referencing costs less than copying */
#define OUTQ_POOL_MAX 512u /* free chunks kept: 2 MiB */

/* Keeps referenced bytes or a file alive; put() is called exactly once. */
struct hold {
	void (*put)(struct hold *h);
};

struct mark {
	struct mark *next;
	u64 at; /* position in the queue's stream of bytes */
	void (*done)(struct mark *m, bool sent); /* sent = false: the queue was dropped */
};

enum seg_kind { SEG_CHUNK, SEG_REF, SEG_FILE };

struct seg {
	struct seg *next;
	enum seg_kind kind;
	int fd; /* SEG_FILE */
	u64 off; /* SEG_FILE: where the rest starts in the file */
	const char *p; /* SEG_CHUNK, SEG_REF: the rest */
	u64 len; /* of the rest, bytes */
	struct hold *hold; /* SEG_REF, SEG_FILE; may be NULL */
	const struct stamp *stamp; /* SEG_FILE: the version that is meant; NULL = any */
};

struct outq_pool {
	struct seg *free_chunks;
	u32 nr_free;
	struct slab segs; /* SEG_REF and SEG_FILE */
};

struct outq {
	struct outq_pool *pool;
	struct seg *head, *tail;
	char *room, *room_end; /* behind the tail, if that is a chunk */
	struct mark *marks, **marks_end;
	u64 queued, sent; /* bytes since the start */
};

void outq_pool_init(struct outq_pool *pool);
void outq_pool_fini(struct outq_pool *pool);

void outq_init(struct outq *q, struct outq_pool *pool);

static inline u64 outq_len(const struct outq *q)
{
	return q->queued - q->sent;
}

/* Bytes or marks still to go? A mark without bytes in front fires at outq_sent(). */
static inline bool outq_empty(const struct outq *q)
{
	return !q->head && !q->marks;
}

int outq_reserve_slow(struct outq *q, size_t len) __must_check;

/*
 * Room for 0 < @len <= OUTQ_COPY_MAX contiguous bytes to be written by the caller
 * and made part of the queue by outq_commit(); NULL when memory is out.
 */
static inline __must_check char *outq_reserve(struct outq *q, size_t len)
{
	if (unlikely(len > (size_t)(q->room_end - q->room)) && outq_reserve_slow(q, len))
		return NULL;
	return q->room;
}

static inline void outq_commit(struct outq *q, size_t len)
{
	q->room += len;
	q->tail->len += len;
	q->queued += len;
}

/* Any length, copied. 0 or -ENOMEM, then nothing or a part was queued: close the link. */
int outq_copy(struct outq *q, const void *p, size_t len) __must_check;

/* The queue takes the hold over, also when it returns -ENOMEM. */
int outq_ref(struct outq *q, const void *p, size_t len, struct hold *hold) __must_check;
int outq_file(struct outq *q, int fd, u64 off, u64 len, struct hold *hold) __must_check;

/* As outq_file(), of one version of the file, @stamp, which lives as long as the hold. */
int outq_file_version(struct outq *q, int fd, u64 off, u64 len, struct hold *hold,
		      const struct stamp *stamp) __must_check;

void outq_mark(struct outq *q, struct mark *m, void (*done)(struct mark *m, bool sent));

/* Everything of @from, marks too, goes behind what @to holds. Same pool. */
void outq_move(struct outq *from, struct outq *to);

/*
 * The leading memory, at most @max pieces; 0 when a file range leads or
 * nothing is queued. @more is set when something follows them.
 */
int outq_iov(const struct outq *q, struct iovec *iov, int max, bool *more);

/* @n bytes have left; fires the marks they reach. @n may be 0. */
void outq_sent(struct outq *q, u64 n);

/* Frees all, fires the marks as not sent. */
void outq_drop(struct outq *q);

#endif
