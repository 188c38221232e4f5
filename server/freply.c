/* SPDX-License-Identifier: MIT */
#include "server/freply.h"

#include <stdio.h>

#include "server/fentry.h"
#include "server/http.h"
#include "server/range.h"

#define BOUNDARY_LEN 32u
#define TYPE_LINE_MAX 128u /* of the app's, in each part */

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

int freply_put_bytes(struct fentry *e, u64 off, u64 len, struct outq *q)
{
	if (e->fd >= 0)
		return outq_file_version(q, e->fd, off, len, hold_for_queue(e), &e->stamp);
	if (len <= OUTQ_COPY_MAX)
		return outq_copy(q, fentry_body(e) + off, len);
	return outq_ref(q, fentry_body(e) + off, len, hold_for_queue(e));
}

/* A head whose lines are not those of the entry's own. */
static int put_start(const struct freply *r, struct outq *q, int status, const struct date *date)
{
	struct view reason = http_reason(status);
	char text[128];
	int n = snprintf(text, sizeof(text), "HTTP/1.1 %d %.*s\r\n", status, (int)reason.len,
			 reason.p);

	if (!r->has_date)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "date: %s\r\n", date->text);
	return outq_copy(q, text, (size_t)n);
}

/* --- lines, each with its CRLF --- */

static bool next_line(struct view *rest, struct view *line)
{
	const char *end = rest->len ? memchr(rest->p, '\n', rest->len) : NULL;

	if (!end)
		return false;
	*line = (struct view){ rest->p, (size_t)(end - rest->p) + 1 };
	rest->p = end + 1;
	rest->len -= line->len;
	return true;
}

static struct view name_of_line(struct view line)
{
	const char *colon = memchr(line.p, ':', line.len);

	return (struct view){ line.p, colon ? (size_t)(colon - line.p) : line.len };
}

/* The line of that name; empty: there is none. */
static struct view find_line(struct view lines, struct view name)
{
	struct view line;

	while (next_line(&lines, &line))
		if (view_ieq(name_of_line(line), name))
			return line;
	return VIEW("");
}

/* Which of the app's lines go out. */
enum which_lines {
	LINES_ALL,
	LINES_BUT_TYPE, /* of the parts, not of the whole */
	LINES_BUT_BODY, /* there is none, and nothing to say about it */
};

static bool wanted(struct view line, enum which_lines which)
{
	struct view name = name_of_line(line);

	if (which == LINES_ALL)
		return true;
	return !view_ieq(name, VIEW("content-type")) &&
	       (which == LINES_BUT_TYPE || !view_ieq(name, VIEW("content-encoding")));
}

/* The file's lines from @from on, less those that the app has said itself, then the app's. */
static int put_lines(const struct freply *r, u32 from, enum which_lines which, struct outq *q)
{
	struct view own = { r->entry->bytes + from, r->entry->head_len - from };
	struct view app = r->lines, line;
	int err = 0;

	if (likely(!app.len))
		return outq_copy(q, own.p, own.len);
	while (!err && next_line(&own, &line))
		if (!find_line(r->lines, name_of_line(line)).len)
			err = outq_copy(q, line.p, line.len);
	while (!err && next_line(&app, &line))
		if (wanted(line, which))
			err = outq_copy(q, line.p, line.len);
	return err;
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
		err = freply_put_bytes(e, 0, e->body_len, q);
	return err;
}

/* The same between lines of the app, which may have given another status. */
static int put_whole_for_app(const struct freply *r, const struct date *date, struct outq *q,
			     bool head_only, enum persist persist)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "content-length: %llu\r\n",
			 (unsigned long long)r->entry->body_len);
	int err = put_start(r, q, r->status, date);

	if (!err)
		err = outq_copy(q, text, (size_t)n);
	if (!err)
		err = put_lines(r, r->entry->typed_off, LINES_ALL, q);
	if (!err)
		err = put_end(q, persist);
	if (!err && !head_only)
		err = freply_put_bytes(r->entry, 0, r->entry->body_len, q);
	return err;
}

static int put_not_modified(const struct freply *r, const struct date *date, struct outq *q,
			    enum persist persist)
{
	int err = put_start(r, q, 304, date);

	if (!err)
		err = put_lines(r, r->entry->common_off, LINES_BUT_BODY, q);
	return err ? err : put_end(q, persist);
}

static int put_unsatisfiable(const struct freply *r, const struct date *date, struct outq *q,
			     enum persist persist)
{
	const struct fentry *e = r->entry;
	char text[128];
	int n = snprintf(text, sizeof(text), "content-length: 0\r\ncontent-range: bytes */%llu\r\n",
			 (unsigned long long)e->body_len);
	int err = put_start(r, q, 416, date);

	if (!err)
		err = outq_copy(q, text, (size_t)n);
	if (!err)
		err = put_lines(r, e->head_len, LINES_BUT_BODY, q);
	return err ? err : put_end(q, persist);
}

static int put_part(const struct freply *reply, const struct date *date, struct outq *q,
		    enum persist persist)
{
	const struct range *r = &reply->ranges[0];
	struct fentry *e = reply->entry;
	char text[160];
	int n = snprintf(text, sizeof(text),
			 "content-length: %llu\r\ncontent-range: bytes %llu-%llu/%llu\r\n",
			 (unsigned long long)r->len, (unsigned long long)r->off,
			 (unsigned long long)(r->off + r->len - 1), (unsigned long long)e->body_len);
	int err = put_start(reply, q, 206, date);

	if (!err)
		err = outq_copy(q, text, (size_t)n);
	if (!err)
		err = put_lines(reply, e->typed_off, LINES_ALL, q);
	if (!err)
		err = put_end(q, persist);
	return err ? err : freply_put_bytes(e, r->off, r->len, q);
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
static struct view own_type_line(const struct fentry *e)
{
	const char *p = e->bytes + e->typed_off;
	const char *end = memchr(p, '\n', e->head_len - e->typed_off);

	return (struct view){ p, (size_t)(end - p) + 1 };
}

static struct view type_line(const struct freply *r)
{
	struct view of_app = find_line(r->lines, VIEW("content-type"));

	return of_app.len && of_app.len <= TYPE_LINE_MAX ? of_app : own_type_line(r->entry);
}

static void multipart_init(struct multipart *m, const struct freply *r, const struct date *date)
{
	struct fentry *e = r->entry;
	/* Drawn from what nobody knows while the file is written: when it was done, when it is read. */
	u64 a = (date->second ^ e->stamp.ctime_ns) * 0x9e3779b97f4a7c15ull;
	u64 b = ((e->stamp.ino ^ e->stamp.mtime_ns) * 0xff51afd7ed558ccdull) ^ a >> 32;

	m->entry = e;
	m->typed = type_line(r);
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
			err = freply_put_bytes(m->entry, r->ranges[i].off, r->ranges[i].len, q);
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

	multipart_init(&m, r, date);
	rest_off = e->typed_off + (u32)own_type_line(e).len;
	n = snprintf(text, sizeof(text),
		     "content-length: %llu\r\ncontent-type: multipart/byteranges; boundary=%s\r\n",
		     (unsigned long long)multipart_len(&m, r), m.boundary);
	err = put_start(r, q, 206, date);
	if (!err)
		err = outq_copy(q, text, (size_t)n);
	if (!err)
		err = put_lines(r, rest_off, LINES_BUT_TYPE, q);
	if (!err)
		err = put_end(q, persist);
	return err ? err : put_parts(&m, r, q);
}

static int put_redirect(const struct freply *r, const struct date *date, struct outq *q,
			enum persist persist)
{
	int err = put_start(r, q, 301, date);

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
		return r->nr_ranges == 1 ? put_part(r, date, q, persist)
					 : put_multipart(r, date, q, persist);
	case 301:
		return put_redirect(r, date, q, persist);
	case 304:
		return put_not_modified(r, date, q, persist);
	case 416:
		return put_unsatisfiable(r, date, q, persist);
	default:
		if (unlikely(r->lines.p))
			return put_whole_for_app(r, date, q, head_only, persist);
		return put_whole(r->entry, date, q, head_only, persist);
	}
}
