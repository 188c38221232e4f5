/* SPDX-License-Identifier: MIT */
#include "selftests/h1_answer.h"

#include <ctype.h>

/* What the fields of one head said so far. */
struct fields {
	int nr_dates, nr_lengths, nr_connections, nr_types;
	u64 length;
};

static bool is_digits(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isdigit((unsigned char)p[i]))
			return false;
	return len > 0;
}

/* A line without its CRLF; false when there is no whole line. */
static bool take_line(const char **p, const char *end, struct view *line)
{
	const char *lf = *p < end ? memchr(*p, '\n', (size_t)(end - *p)) : NULL;

	if (!lf || lf == *p || lf[-1] != '\r')
		return false;
	*line = (struct view){ *p, (size_t)(lf - 1 - *p) };
	*p = lf + 1;
	return true;
}

/* "HTTP/1.1 200 OK": the version is ours, whatever the request's was. */
static const char *read_status(struct view line, int *status)
{
	if (line.len < 14 || memcmp(line.p, "HTTP/1.1 ", 9) != 0 || line.p[12] != ' ')
		return "status line";
	if (!is_digits(line.p + 9, 3))
		return "status is not three digits";
	for (size_t i = 13; i < line.len; i++)
		if (line.p[i] < ' ' || line.p[i] > '~')
			return "control byte in the reason phrase";
	*status = (line.p[9] - '0') * 100 + (line.p[10] - '0') * 10 + (line.p[11] - '0');
	return *status >= 100 && *status < 600 ? NULL : "status out of range";
}

/* "Sun, 06 Nov 1994 08:49:37 GMT": x a letter, 9 a digit, the rest as it stands. */
static bool is_date(struct view v)
{
	static const char form[] = "xxx, 99 xxx 9999 99:99:99 GMT";

	if (v.len != sizeof(form) - 1)
		return false;
	for (size_t i = 0; i < v.len; i++) {
		unsigned char c = (unsigned char)v.p[i];

		if (form[i] == 'x' ? !isalpha(c) : form[i] == '9' ? !isdigit(c) : c != form[i])
			return false;
	}
	return true;
}

static const char *read_length(struct view v, struct fields *f)
{
	f->nr_lengths++;
	if (!is_digits(v.p, v.len) || v.len > 9)
		return "content-length is not a number";
	f->length = 0;
	for (size_t i = 0; i < v.len; i++)
		f->length = f->length * 10 + (u64)(v.p[i] - '0');
	return NULL;
}

static const char *read_field(struct view line, struct fields *f, struct h1_answer *a)
{
	const char *colon = memchr(line.p, ':', line.len);
	struct view name, value;

	if (!colon || colon == line.p)
		return "field line without a name";
	name = (struct view){ line.p, (size_t)(colon - line.p) };
	for (size_t i = 0; i < name.len; i++)
		if (!islower((unsigned char)name.p[i]) && name.p[i] != '-')
			return "field name is not of our spelling";
	if (line.len < name.len + 2 || colon[1] != ' ')
		return "no space behind the colon";
	value = (struct view){ colon + 2, line.len - name.len - 2 };
	for (size_t i = 0; i < value.len; i++)
		if ((unsigned char)value.p[i] < ' ' || value.p[i] == 0x7f)
			return "control byte in a field value";
	if (view_eq(name, VIEW("date")) && (f->nr_dates++, !is_date(value)))
		return "date";
	if (view_eq(name, VIEW("content-type")))
		f->nr_types++;
	if (view_eq(name, VIEW("transfer-encoding")))
		return "transfer-encoding, where every length is known";
	if (view_eq(name, VIEW("connection"))) {
		f->nr_connections++;
		a->close = view_eq(value, VIEW("close"));
		a->keep_alive = view_eq(value, VIEW("keep-alive"));
		if (!a->close && !a->keep_alive)
			return "connection";
	}
	return view_eq(name, VIEW("content-length")) ? read_length(value, f) : NULL;
}

static const char *check_fields(const struct fields *f, const struct h1_answer *a)
{
	if (a->status < 200) {
		return f->nr_lengths || f->nr_connections ? "an interim answer with a length" : NULL;
	}
	if (f->nr_dates != 1)
		return "not exactly one date";
	if (f->nr_connections > 1)
		return "connection more than once";
	if (a->status == 204)
		return f->nr_lengths ? "204 with a content-length" : NULL;
	if (f->nr_lengths != 1)
		return "not exactly one content-length";
	return f->nr_types != 1 ? "not exactly one content-type" : NULL;
}

const char *h1_answer_read(const char **p, const char *end, bool head_only, struct h1_answer *a)
{
	const char *at = *p, *wrong;
	struct fields f = { 0 };
	struct view line;

	*a = (struct h1_answer){ .head.p = at };
	if (!take_line(&at, end, &line))
		return "no status line";
	wrong = read_status(line, &a->status);
	if (wrong)
		return wrong;
	for (;;) {
		if (!take_line(&at, end, &line))
			return "no end of the head";
		if (line.len == 0)
			break;
		wrong = read_field(line, &f, a);
		if (wrong)
			return wrong;
	}
	a->head.len = (size_t)(line.p - a->head.p);
	wrong = check_fields(&f, a);
	if (wrong)
		return wrong;
	a->body = (struct view){ at, head_only || a->status < 200 ? 0 : f.length };
	if (a->body.len > (size_t)(end - at))
		return "the body is shorter than its content-length";
	*p = at + a->body.len;
	return NULL;
}

bool h1_answer_has(const struct h1_answer *a, struct view want)
{
	const char *p = a->head.p, *end = p + a->head.len;
	bool whole = memchr(want.p, ':', want.len);
	struct view line;

	while (take_line(&p, end, &line)) {
		if (whole ? view_eq(line, want)
			  : line.len > want.len && line.p[want.len] == ':' &&
				    memcmp(line.p, want.p, want.len) == 0)
			return true;
	}
	return false;
}
