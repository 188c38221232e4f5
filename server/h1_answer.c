/* SPDX-License-Identifier: MIT */
#include "server/h1_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/fail.h"
#include "server/handler.h"
#include "server/http.h"
#include "server/named.h"

struct file_hold {
	struct hold hold;
	int fd;
};

static void put_file(struct hold *h)
{
	struct file_hold *f = container_of(h, struct file_hold, hold);

	close(f->fd);
	free(f);
}

static void put_memory(struct answer *a)
{
	if (a->hold.put)
		a->hold.put(&a->hold);
}

static bool has_no_body(const struct req *r)
{
	return r->method == METHOD_HEAD || r->status == 204 || r->status == 304;
}

/* RFC 9112 6.3: how the other side will know where the body ends. */
static void delimit(struct req *r, const struct answer *a)
{
	r->chunked_out = false;
	if (a->raw || a->content_length >= 0 || has_no_body(r))
		return;
	if (r->version_minor >= 1)
		r->chunked_out = true;
	else
		r->last = true;
}

static char *put_text(char *p, const char *text, size_t len)
{
	memcpy(p, text, len);
	return p + len;
}

static char *put_u64(char *p, u64 n)
{
	char digits[20];
	int i = sizeof(digits);

	do
		digits[--i] = (char)('0' + n % 10);
	while (n /= 10);
	return put_text(p, digits + i, sizeof(digits) - (size_t)i);
}

/* At most 100 bytes. */
static char *put_status(char *p, u16 status, struct view reason)
{
	p = put_text(p, "HTTP/1.1 ", 9);
	p = put_u64(p, status);
	*p++ = ' ';
	p = put_text(p, reason.p, reason.len);
	return put_text(p, "\r\n", 2);
}

/* The status line and Date: at most 150 bytes. */
static char *put_start(char *p, const struct answer *a, const struct date *date)
{
	p = put_status(p, a->status, http_reason(a->status));
	if (!a->has_date) {
		p = put_text(p, "date: ", 6);
		p = put_text(p, date->text, DATE_LEN);
		p = put_text(p, "\r\n", 2);
	}
	return p;
}

/* How the body is delimited, how the connection goes on, the empty line: at most 100 bytes. */
static char *put_end(char *p, const struct req *r, const struct answer *a, bool given_away)
{
	struct view line = persist_line(req_persist(r));

	if (!a->raw && a->content_length >= 0 && r->status != 204) {
		p = put_text(p, "content-length: ", 16);
		p = put_u64(p, (u64)a->content_length);
		p = put_text(p, "\r\n", 2);
	} else if (r->chunked_out) {
		p = put_text(p, "transfer-encoding: chunked\r\n", 28);
	}
	/* A connection that is given away goes on as the app has said. */
	if (!given_away)
		p = put_text(p, line.p, line.len);
	return put_text(p, "\r\n", 2);
}

/* At most REQID_MAX + 16 bytes. */
static char *put_request_id(char *p, const struct req *r, const struct answer *a)
{
	if (!r->request_id.len || a->has_request_id)
		return p;
	p = put_text(p, "x-request-id: ", 14);
	p = put_text(p, r->request_id.p, r->request_id.len);
	return put_text(p, "\r\n", 2);
}

/* The app has chosen another id: it is what the client knows, and so the log. */
static void take_request_id(struct req *r, struct view head)
{
	const char *p = head.p, *end = p + head.len, *lf;

	for (; (lf = memchr(p, '\n', (size_t)(end - p))); p = lf + 1) {
		struct view id;

		if (lf - p < 15 || !view_ieq((struct view){ p, 14 }, VIEW("x-request-id: ")))
			continue;
		id = (struct view){ p + 14, (size_t)(lf - p) - 15 };
		if (view_eq(id, r->request_id))
			return;
		id.len = min(id.len, (size_t)REQID_MAX);
		if (arena_copy(&r->arena, id, &r->request_id))
			r->request_id = VIEW(""); /* not worth an answer */
		return;
	}
}

#define START_MAX (160u + REQID_MAX + 16u)
#define END_MAX 112u

static int put_head(struct req *r, const struct answer *a, const struct date *date, struct outq *q,
		    bool given_away)
{
	char *p = outq_reserve(q, START_MAX);
	int err;

	if (!p)
		return -ENOMEM;
	r->status = a->status;
	r->last |= a->close;
	r->head_sent = true;
	delimit(r, a);
	outq_commit(q, (size_t)(put_request_id(put_start(p, a, date), r, a) - p));
	if (a->has_request_id && r->http->keep & KEEP_ID)
		take_request_id(r, a->head);
	err = outq_copy(q, a->head.p, a->head.len);
	if (err)
		return err;
	p = outq_reserve(q, END_MAX);
	if (!p)
		return -ENOMEM;
	outq_commit(q, (size_t)(put_end(p, r, a, given_away) - p));
	r->http->stats.chunked_responses += r->chunked_out;
	return 0;
}

#define COPIED_MAX                                                                                 \
	(16 * KIB) /* bytes that wait in a queue; behind more of them nothing is copied */

/*
 * Small data is copied behind the head, so that one piece leaves; and gives its
 * producer the credit back at once. So where the client does not take what is
 * there, it is not.
 */
static int put_data(struct answer *a, struct outq *q)
{
	int err;

	if (a->data.len > OUTQ_COPY_MAX || (a->hold.put && outq_len(q) > COPIED_MAX))
		return outq_ref(q, a->data.p, a->data.len, a->hold.put ? &a->hold : NULL);
	err = outq_copy(q, a->data.p, a->data.len);
	put_memory(a);
	return err;
}

static int put_range(struct answer *a, struct outq *q)
{
	struct file_hold *f = mem_alloc(sizeof(*f));
	int err;

	if (!f) {
		close(a->fd);
		put_memory(a);
		return -ENOMEM;
	}
	*f = (struct file_hold){ .hold.put = put_file, .fd = a->fd };
	err = outq_file(q, a->fd, a->off, a->len, &f->hold);
	put_memory(a);
	return err;
}

static int put_chunk_size(struct outq *q, u64 len)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%llx\r\n", (unsigned long long)len);

	return outq_copy(q, text, (size_t)n);
}

static void count_write(struct req *r, const struct answer *a)
{
	struct http_stats *stats = &r->http->stats;

	if (!(a->flags & ANSWER_DATA))
		return;
	stats->chunked_writes++;
	stats->coalesced_writes += a->pieces > 1 ? a->pieces : 0;
}

static int put_body(struct req *r, struct answer *a, struct outq *q)
{
	u64 len = a->flags & ANSWER_FILE ? a->len : a->flags & ANSWER_DATA ? a->data.len : 0;
	bool chunk = r->chunked_out && len;
	int err = 0;

	if (!len || has_no_body(r)) {
		answer_drop(a);
		return 0;
	}
	if (chunk) {
		err = put_chunk_size(q, len);
		count_write(r, a);
	}
	if (err) {
		answer_drop(a);
		return err;
	}
	if (a->flags & ANSWER_FILE && !r->from_file) {
		r->from_file = true;
		r->http->stats.file_responses++;
	}
	err = a->flags & ANSWER_FILE ? put_range(a, q) : put_data(a, q);
	return err || !chunk ? err : outq_copy(q, "\r\n", 2);
}

/* RFC 9110 15.2: HTTP/1.0 knows none. */
static int put_interim(struct req *r, struct answer *a, struct outq *q)
{
	struct view reason = http_reason(a->status);
	int err = 0;
	char *p;

	if (r->version_minor >= 1 && !r->head_sent) {
		p = outq_reserve(q, START_MAX);
		if (!p)
			return -ENOMEM;
		outq_commit(q, (size_t)(put_status(p, a->status, reason) - p));
		err = outq_copy(q, a->head.p, a->head.len);
		if (!err)
			err = outq_copy(q, "\r\n", 2);
	}
	return err;
}

int h1_put_answer(struct req *r, struct answer *a, const struct date *date, struct outq *q)
{
	u32 flags = a->flags; /* the answer may be freed with its bytes */
	int err = 0;

	a->flags &= ~(u32)ANSWER_HIJACK; /* the caller has taken it */
	if (flags & ANSWER_INFORM) {
		err = put_interim(r, a, q);
		answer_drop(a);
		return err;
	}
	if (flags & ANSWER_HEAD)
		err = put_head(r, a, date, q, flags & ANSWER_HIJACK);
	if (err) {
		answer_drop(a);
		return err;
	}
	err = put_body(r, a, q);
	if (!err && flags & ANSWER_END && r->chunked_out)
		err = outq_copy(q, "0\r\n\r\n", 5);
	return err;
}

/* The head is the app's, but for the length. */
static int put_named_file(struct req *r, const struct named *n, struct answer *a,
			  const struct date *date, struct outq *q)
{
	const struct fentry *e;
	int err = named_find(r, n);

	if (err) {
		r->file.status = err == -ENOENT || err == -EIO ? 500 : 503;
		return err == -ENOMEM ? err : -ENOENT;
	}
	e = r->file.entry;
	a->content_length = (s64)e->body_len;
	err = put_head(r, a, date, q, false);
	if (err || !e->body_len || has_no_body(r))
		return err;
	return freply_put_bytes(r->file.entry, 0, e->body_len, q);
}

static int put_decided(struct req *r, const struct named *n, const struct answer *a,
		       const struct date *date, struct outq *q)
{
	int err = named_decide(r, n, a->status);

	if (err || !freply_has_own(&r->file))
		return err ? err : -ENOENT;
	r->status = r->file.status;
	r->last |= a->close;
	r->head_sent = true;
	r->file.lines = a->head;
	r->file.has_date = a->has_date;
	return freply_put(&r->file, date, q, r->method == METHOD_HEAD, req_persist(r));
}

int h1_put_named(struct req *r, struct answer *a, const struct date *date, struct outq *q)
{
	const struct named *n = (const struct named *)a->data.p;
	int err = n->kind == NAMED_FILE ? put_named_file(r, n, a, date, q)
					: put_decided(r, n, a, date, q);

	r->file.lines = VIEW(""); /* they go with the answer */
	answer_drop(a);
	return err;
}
