/* SPDX-License-Identifier: MIT */
#include "server/outq.h"

#include <stdlib.h>

#include "server/fail.h"

#define CHUNK_ROOM (OUTQ_CHUNK_LEN - sizeof(struct seg))

void outq_pool_init(struct outq_pool *pool)
{
	pool->free_chunks = NULL;
	pool->nr_free = 0;
	slab_init(&pool->segs, sizeof(struct seg), 64);
}

void outq_pool_fini(struct outq_pool *pool)
{
	struct seg *s;

	while ((s = pool->free_chunks)) {
		pool->free_chunks = s->next;
		free(s);
	}
	pool->nr_free = 0;
	slab_fini(&pool->segs);
}

void outq_init(struct outq *q, struct outq_pool *pool)
{
	*q = (struct outq){ .pool = pool };
	q->marks_end = &q->marks;
}

static void seg_append(struct outq *q, struct seg *s)
{
	s->next = NULL;
	if (q->tail)
		q->tail->next = s;
	else
		q->head = s;
	q->tail = s;
}

static void seg_put(struct outq_pool *pool, struct seg *s)
{
	if (s->kind == SEG_CHUNK) {
		if (pool->nr_free >= OUTQ_POOL_MAX) {
			free(s);
			return;
		}
		s->next = pool->free_chunks;
		pool->free_chunks = s;
		pool->nr_free++;
		return;
	}
	if (s->hold)
		s->hold->put(s->hold);
	slab_free(&pool->segs, s);
}

int outq_reserve_slow(struct outq *q, size_t len)
{
	struct seg *s = q->pool->free_chunks;

	if (len > CHUNK_ROOM)
		return -EMSGSIZE;
	if (s) {
		q->pool->free_chunks = s->next;
		q->pool->nr_free--;
	} else {
		s = mem_alloc(OUTQ_CHUNK_LEN);
		if (!s)
			return -ENOMEM;
		s->kind = SEG_CHUNK;
		s->hold = NULL;
	}
	s->p = q->room = (char *)(s + 1);
	s->len = 0;
	q->room_end = (char *)s + OUTQ_CHUNK_LEN;
	seg_append(q, s);
	return 0;
}

int outq_copy(struct outq *q, const void *p, size_t len)
{
	const char *from = p;

	while (len) {
		size_t n = min(len, (size_t)(q->room_end - q->room));

		if (n == 0) {
			int err = outq_reserve_slow(q, 1);

			if (err)
				return err;
			continue;
		}
		memcpy(q->room, from, n);
		outq_commit(q, n);
		from += n;
		len -= n;
	}
	return 0;
}

static int add_seg(struct outq *q, struct seg what)
{
	struct seg *s;

	if (what.len == 0) {
		if (what.hold)
			what.hold->put(what.hold);
		return 0;
	}
	s = fail_alloc() ? NULL : slab_alloc(&q->pool->segs);
	if (!s) {
		if (what.hold)
			what.hold->put(what.hold);
		return -ENOMEM;
	}
	*s = what;
	seg_append(q, s);
	q->room = q->room_end = NULL;
	q->queued += what.len;
	return 0;
}

int outq_ref(struct outq *q, const void *p, size_t len, struct hold *hold)
{
	return add_seg(q, (struct seg){ .kind = SEG_REF, .p = p, .len = len, .hold = hold });
}

int outq_file(struct outq *q, int fd, u64 off, u64 len, struct hold *hold)
{
	return outq_file_version(q, fd, off, len, hold, NULL);
}

int outq_file_version(struct outq *q, int fd, u64 off, u64 len, struct hold *hold,
		      const struct stamp *stamp)
{
	return add_seg(q, (struct seg){ .kind = SEG_FILE,
					.fd = fd,
					.off = off,
					.len = len,
					.hold = hold,
					.stamp = stamp });
}

void outq_mark(struct outq *q, struct mark *m, void (*done)(struct mark *m, bool sent))
{
	m->next = NULL;
	m->at = q->queued;
	m->done = done;
	*q->marks_end = m;
	q->marks_end = &m->next;
}

void outq_move(struct outq *from, struct outq *to)
{
	for (struct mark *m = from->marks; m; m = m->next)
		m->at += to->queued - from->sent;
	if (from->marks) {
		*to->marks_end = from->marks;
		to->marks_end = from->marks_end;
	}
	if (from->head) {
		if (to->tail)
			to->tail->next = from->head;
		else
			to->head = from->head;
		to->tail = from->tail;
		to->room = from->room;
		to->room_end = from->room_end;
	}
	to->queued += outq_len(from);
	outq_init(from, from->pool);
}

int outq_iov(const struct outq *q, struct iovec *iov, int max, bool *more)
{
	const struct seg *s = q->head;
	int n = 0;

	for (; s && n < max && s->kind != SEG_FILE; s = s->next)
		if (s->len)
			iov[n++] = (struct iovec){ (void *)(uintptr_t)s->p, s->len };
	*more = s != NULL;
	return n;
}

static void fire_marks(struct outq *q)
{
	struct mark *m;

	while ((m = q->marks) && m->at <= q->sent) {
		q->marks = m->next;
		if (!q->marks)
			q->marks_end = &q->marks;
		m->done(m, true);
	}
}

void outq_sent(struct outq *q, u64 n)
{
	struct seg *s;

	q->sent += n;
	while ((s = q->head) && n >= s->len) {
		n -= s->len;
		q->head = s->next;
		if (!q->head) {
			q->tail = NULL;
			q->room = q->room_end = NULL;
		}
		seg_put(q->pool, s);
	}
	if (n) {
		s->len -= n;
		if (s->kind == SEG_FILE)
			s->off += n;
		else
			s->p += n;
	}
	fire_marks(q);
}

void outq_drop(struct outq *q)
{
	struct seg *s;
	struct mark *m;

	while ((s = q->head)) {
		q->head = s->next;
		seg_put(q->pool, s);
	}
	while ((m = q->marks)) {
		q->marks = m->next;
		m->done(m, false);
	}
	outq_init(q, q->pool);
}
