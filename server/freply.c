/* SPDX-License-Identifier: MIT */
#include "server/freply.h"

#include <stdio.h>

#include "server/fentry.h"
#include "server/http.h"
#include "server/range.h"

#define BOUNDARY_LEN 32u

void freply_drop(struct freply *r)
{
	if (r->entry)
		fentry_put(r->entry);
	r->entry = NULL;
}

/* The queue holds the entry for as long as it may read from it. */
static struct hold *hold_for_queue(struct fentry *e)
{
	fentry_get(e);
	e->nr_queued++;
	return &e->hold;
}

static int put_bytes(struct fentry *e, u64 off, u64 len, struct outq *q)
{
	if (e->fd >= 0)
		return outq_file_version(q, e->fd, off, len, hold_for_queue(e), &e->stamp);
	if (len <= OUTQ_COPY_MAX)
		return outq_copy(q, fentry_body(e) + off, len);
	return outq_ref(q, fentry_body(e) + off, len, hold_for_queue(e));
}

/* A head whose lines are not those of the entry's own. */
static int put_start(struct outq *q, int status, const struct date *date)
{
	struct view reason = http_reason(status);
	char text[128];
	int n = snprintf(text, sizeof(text), "HTTP/1.1 %d %.*s\r\ndate: %s\r\n", status,
			 (int)reason.len, reason.p, date->text);

	return outq_copy(q, text, (size_t)n);
}

static int put_end(struct outq *q, enum persist persist)
{
	struct view line = persist_line(persist);
	int err = outq_copy(q, line.p, line.len);

	return err ? err : outq_copy(q, "\r\n", 2);
}

/*
 * 200. As one piece where nobody else reads the head while its Date is made
 * true; else the head is copied.
 */
static int put_whole(struct fentry *e, const struct date *date, struct outq *q, bool head_only,
		     enum persist persist)
{
	bool in_memory = e->fd < 0 && !head_only;
	size_t len = e->head_len + 2 + (in_memory ? e->body_len : 0);
	struct view line = persist_line(persist);
	bool fresh = e->date_second == date->second;
	char *p;
	int err;

	if (!fresh && !e->nr_queued) {
		fentry_set_date(e, date);
		fresh = true;
	}
	if (likely(fresh && persist == PERSIST_DEFAULT && in_memory)) {
		if (len > OUTQ_COPY_MAX)
			return outq_ref(q, e->bytes, len, hold_for_queue(e));
		return outq_copy(q, e->bytes, len);
	}
	p = outq_reserve(q, e->head_len + line.len + 2);
	if (!p)
		return -ENOMEM;
	memcpy(p, e->bytes, e->head_len);
	memcpy(p + e->date_off, date->text, DATE_LEN);
	memcpy(p + e->head_len, line.p, line.len);
	memcpy(p + e->head_len + line.len, "\r\n", 2);
	outq_commit(q, e->head_len + line.len + 2);
	err = 0;
	if (!head_only)
		err = put_bytes(e, 0, e->body_len, q);
	return err;
}

static int put_not_modified(struct fentry *e, const struct date *date, struct outq *q,
			    enum persist persist)
{
	int err = put_start(q, 304, date);

	if (!err)
		err = outq_copy(q, e->bytes + e->common_off, e->head_len - e->common_off);
	return err ? err : put_end(q, persist);
}

static int put_unsatisfiable(struct fentry *e, const struct date *date, struct outq *q,
			     enum persist persist)
{
	char text[128];
	int n = snprintf(text, sizeof(text), "content-length: 0\r\ncontent-range: bytes */%llu\r\n",
			 (unsigned long long)e->body_len);
	int err = put_start(q, 416, date);

	if (!err)
		err = outq_copy(q, text, (size_t)n);
	return err ? err : put_end(q, persist);
}

static int put_part(struct fentry *e, const struct range *r, const struct date *date,
		    struct outq *q, enum persist persist)
{
	char text[160];
	int n = snprintf(text, sizeof(text),
			 "content-length: %llu\r\ncontent-range: bytes %llu-%llu/%llu\r\n",
			 (unsigned long long)r->len, (unsigned long long)r->off,
			 (unsigned long long)(r->off + r->len - 1), (unsigned long long)e->body_len);
	int err = put_start(q, 206, date);

	if (!err)
		err = outq_copy(q, text, (size_t)n);
	if (!err)
		err = outq_copy(q, e->bytes + e->typed_off, e->head_len - e->typed_off);
	if (!err)
		err = put_end(q, persist);
	return err ? err : put_bytes(e, r->off, r->len, q);
}

/* --- multipart/byteranges (RFC 9110 14.6) --- */

struct multipart {
	struct fentry *entry;
	char boundary[BOUNDARY_LEN + 1];
	struct view typed; /* Content-Type and Content-Encoding of the parts */
};

static int part_head(const struct multipart *m, const struct range *r, char *p, size_t room)
{
	return snprintf(p, room, "\r\n--%s\r\n%.*scontent-range: bytes %llu-%llu/%llu\r\n\r\n",
			m->boundary, (int)m->typed.len, m->typed.p, (unsigned long long)r->off,
			(unsigned long long)(r->off + r->len - 1),
			(unsigned long long)m->entry->body_len);
}

/* Content-Encoding is of the whole message, not of a part: only the type line is taken. */
static struct view type_line(const struct fentry *e)
{
	const char *p = e->bytes + e->typed_off;
	const char *end = memchr(p, '\n', e->head_len - e->typed_off);

	return (struct view){ p, (size_t)(end - p) + 1 };
}

static void multipart_init(struct multipart *m, struct fentry *e, const struct date *date)
{
	/* Drawn from what nobody knows while the file is written: when it was done, when it is read. */
	u64 a = (date->second ^ e->stamp.ctime_ns) * 0x9e3779b97f4a7c15ull;
	u64 b = ((e->stamp.ino ^ e->stamp.mtime_ns) * 0xff51afd7ed558ccdull) ^ a >> 32;

	m->entry = e;
	m->typed = type_line(e);
	snprintf(m->boundary, sizeof(m->boundary), "%016llx%016llx", (unsigned long long)a,
		 (unsigned long long)b);
}

static u64 multipart_len(const struct multipart *m, const struct freply *r)
{
	u64 len = 2 + 2 + BOUNDARY_LEN + 2 + 2; /* CRLF -- boundary -- CRLF */

	for (int i = 0; i < r->nr_ranges; i++)
		len += (u64)part_head(m, &r->ranges[i], NULL, 0) + r->ranges[i].len;
	return len;
}

static int put_parts(const struct multipart *m, const struct freply *r, struct outq *q)
{
	char text[320];
	int n, err = 0;

	for (int i = 0; i < r->nr_ranges && !err; i++) {
		n = part_head(m, &r->ranges[i], text, sizeof(text));
		err = outq_copy(q, text, (size_t)n);
		if (!err)
			err = put_bytes(m->entry, r->ranges[i].off, r->ranges[i].len, q);
	}
	if (err)
		return err;
	n = snprintf(text, sizeof(text), "\r\n--%s--\r\n", m->boundary);
	return outq_copy(q, text, (size_t)n);
}

static int put_multipart(struct freply *r, const struct date *date, struct outq *q,
			 enum persist persist)
{
	struct fentry *e = r->entry;
	struct multipart m;
	char text[160];
	u32 rest_off;
	int n, err;

	multipart_init(&m, e, date);
	rest_off = e->typed_off + (u32)m.typed.len;
	n = snprintf(text, sizeof(text),
		     "content-length: %llu\r\ncontent-type: multipart/byteranges; boundary=%s\r\n",
		     (unsigned long long)multipart_len(&m, r), m.boundary);
	err = put_start(q, 206, date);
	if (!err)
		err = outq_copy(q, text, (size_t)n);
	if (!err)
		err = outq_copy(q, e->bytes + rest_off, e->head_len - rest_off);
	if (!err)
		err = put_end(q, persist);
	return err ? err : put_parts(&m, r, q);
}

static int put_redirect(const struct freply *r, const struct date *date, struct outq *q,
			enum persist persist)
{
	int err = put_start(q, 301, date);

	if (!err)
		err = outq_copy(q, "content-length: 0\r\nlocation: ", 29);
	if (!err)
		err = outq_copy(q, r->location.p, r->location.len);
	if (!err)
		err = outq_copy(q, "\r\n", 2);
	return err ? err : put_end(q, persist);
}

bool freply_from_file(const struct freply *r, bool head_only)
{
	return !head_only && (r->status == 200 || r->status == 206) && r->entry && r->entry->fd >= 0;
}

int freply_put(struct freply *r, const struct date *date, struct outq *q, bool head_only,
	       enum persist persist)
{
	switch (r->status) {
	case 206:
		return r->nr_ranges == 1 ? put_part(r->entry, &r->ranges[0], date, q, persist)
					 : put_multipart(r, date, q, persist);
	case 301:
		return put_redirect(r, date, q, persist);
	case 304:
		return put_not_modified(r->entry, date, q, persist);
	case 416:
		return put_unsatisfiable(r->entry, date, q, persist);
	default:
		return put_whole(r->entry, date, q, head_only, persist);
	}
}
