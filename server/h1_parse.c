/* SPDX-License-Identifier: MIT */
/*
 * The request head of HTTP/1.x. Every check goes from left to right and
 * decides on the earliest byte that can decide, so that a prefix of a head
 * gives -EAGAIN or what the whole gives, never anything else.
 */
#include "server/h1_parse.h"
#include "server/h1_scan.h"

#define T H1_TOKEN
#define V H1_VALUE
#define G (H1_VALUE | H1_TARGET)
#define R H1_REGNAME

const u8 h1_byte_class[256] = {
	['\t'] = V,
	[' '] = V,
	['!'] = T | G | R,
	['"'] = G,
	['#'] = T | G,
	['$'] = T | G | R,
	['%'] = T | G,
	['&' ... '\''] = T | G | R,
	['(' ... ')'] = G | R,
	['*' ... '+'] = T | G | R,
	[','] = G,
	['-' ... '.'] = T | G | R,
	['/'] = G,
	['0' ... '9'] = T | G | R,
	[':'] = G,
	[';'] = G | R,
	['<'] = G,
	['='] = G | R,
	['>' ... '@'] = G,
	['A' ... 'Z'] = T | G | R,
	['[' ... ']'] = G,
	['^'] = T | G,
	['_'] = T | G | R,
	['`'] = T | G,
	['a' ... 'z'] = T | G | R,
	['{'] = G,
	['|'] = T | G,
	['}'] = G,
	['~'] = T | G | R,
	[0x80 ... 0xff] = G,
};

#undef T
#undef V
#undef G
#undef R

static const struct {
	const char *text;
	int status;
} errs[NR_H1_ERRS] = {
	[H1_ERR_METHOD] = { "bad method", 400 },
	[H1_ERR_TARGET] = { "bad request target", 400 },
	[H1_ERR_VERSION_SYNTAX] = { "bad HTTP version", 400 },
	[H1_ERR_VERSION] = { "unsupported HTTP version", 505 },
	[H1_ERR_LINE_END] = { "bare CR or LF", 400 },
	[H1_ERR_HEADER_NAME] = { "bad field name", 400 },
	[H1_ERR_HEADER_VALUE] = { "control byte in a field value", 400 },
	[H1_ERR_OBS_FOLD] = { "folded field line", 400 },
	[H1_ERR_MANY_HEADERS] = { "too many fields", 431 },
	[H1_ERR_CHUNK_SIZE] = { "bad chunk size", 400 },
	[H1_ERR_CHUNK_EXT] = { "bad chunk extension", 400 },
	[H1_ERR_CHUNK_END] = { "chunk data without end", 400 },
	[H1_ERR_TRAILER] = { "bad trailer field", 400 },
};

int h1_parse_status(enum h1_parse_err err)
{
	return err > 0 && err < NR_H1_ERRS ? errs[err].status : 400;
}

const char *h1_parse_strerror(enum h1_parse_err err)
{
	return err > 0 && err < NR_H1_ERRS ? errs[err].text : "unknown error";
}

struct cursor {
	const char *p;
	const char *end;
};

/* @c stands before @p and on it is something that ends no line but @err. */
static ssize_t __cold refuse_at(char c, enum h1_parse_err err)
{
	return h1_parse_refuse(c == '\n' ? H1_ERR_LINE_END : err);
}

/* On CR or LF: takes CRLF. */
static inline ssize_t take_crlf(struct cursor *c)
{
	if (*c->p != '\r')
		return h1_parse_refuse(H1_ERR_LINE_END);
	if (unlikely(c->end - c->p < 2))
		return -EAGAIN;
	if (unlikely(c->p[1] != '\n'))
		return h1_parse_refuse(H1_ERR_LINE_END);
	c->p += 2;
	return 0;
}

#define IS(name, literal) (memcmp((name).p, literal, sizeof(literal) - 1) == 0)

static enum method method_of(struct view v)
{
	switch (v.len) {
	case 3:
		return IS(v, "GET") ? METHOD_GET : IS(v, "PUT") ? METHOD_PUT : METHOD_OTHER;
	case 4:
		return IS(v, "POST") ? METHOD_POST : IS(v, "HEAD") ? METHOD_HEAD : METHOD_OTHER;
	case 5:
		return IS(v, "PATCH") ? METHOD_PATCH : IS(v, "TRACE") ? METHOD_TRACE : METHOD_OTHER;
	case 6:
		return IS(v, "DELETE") ? METHOD_DELETE : METHOD_OTHER;
	case 7:
		return IS(v, "OPTIONS")   ? METHOD_OPTIONS
		       : IS(v, "CONNECT") ? METHOD_CONNECT
					  : METHOD_OTHER;
	}
	return METHOD_OTHER;
}

static inline ssize_t parse_method(struct cursor *c, struct msg *msg)
{
	const char *start = c->p;
	const char *p = h1_scan_token(start, c->end);

	if (unlikely(p == c->end))
		return -EAGAIN;
	if (unlikely(*p != ' ' || p == start))
		return refuse_at(*p, H1_ERR_METHOD);
	msg->method_name = (struct view){ start, (size_t)(p - start) };
	msg->method = method_of(msg->method_name);
	c->p = p + 1;
	return 0;
}

static inline ssize_t parse_target(struct cursor *c, struct msg *msg)
{
	const char *start = c->p;
	const char *p = h1_scan_target(start, c->end);
	ssize_t ret;

	if (unlikely(p == c->end))
		return -EAGAIN;
	if (unlikely(p == start))
		return refuse_at(*p, H1_ERR_TARGET);
	if (likely(*p == ' ')) {
		msg->target = (struct view){ start, (size_t)(p - start) };
		c->p = p + 1;
		return 0;
	}
	if (*p != '\r' && *p != '\n')
		return h1_parse_refuse(H1_ERR_TARGET);
	c->p = p; /* HTTP/0.9, or a bare line end */
	ret = take_crlf(c);
	return ret ? ret : h1_parse_refuse(H1_ERR_VERSION_SYNTAX);
}

/* Byte for byte: too short for one compare, or not a version of ours. */
static ssize_t __cold parse_version_slow(struct cursor *c, struct msg *msg)
{
	static const char form[] = "HTTP/0.0"; /* 0: any digit */
	const char *v = c->p;
	ssize_t ret;

	for (int i = 0; form[i]; i++, c->p++) {
		if (c->p == c->end)
			return -EAGAIN;
		if (form[i] == '0' ? !h1_is_digit(*c->p) : *c->p != form[i])
			return refuse_at(*c->p, H1_ERR_VERSION_SYNTAX);
	}
	if (c->p == c->end)
		return -EAGAIN;
	if (*c->p != '\r' && *c->p != '\n')
		return h1_parse_refuse(H1_ERR_VERSION_SYNTAX);
	ret = take_crlf(c);
	if (ret)
		return ret;
	if (v[5] != '1' || v[7] > '1')
		return h1_parse_refuse(H1_ERR_VERSION);
	msg->version_minor = (u8)(v[7] - '0');
	return 0;
}

static inline ssize_t parse_version(struct cursor *c, struct msg *msg)
{
	if (unlikely(c->end - c->p < 10 || memcmp(c->p, "HTTP/1.1\r\n", 10) != 0))
		return parse_version_slow(c, msg);
	msg->version_minor = 1;
	c->p += 10;
	return 0;
}

static inline bool is_ows(char c)
{
	return c == ' ' || c == '\t';
}

static inline ssize_t parse_header(struct cursor *c, struct header *h)
{
	const char *start = c->p;
	const char *p = h1_scan_token(start, c->end);

	if (unlikely(p == c->end))
		return -EAGAIN;
	if (unlikely(*p != ':' || p == start))
		return refuse_at(*p, H1_ERR_HEADER_NAME);
	h->name = (struct view){ start, (size_t)(p - start) };

	do
		p++;
	while (p < c->end && is_ows(*p));
	start = p;
	p = h1_scan_value(start, c->end);
	if (unlikely(p == c->end))
		return -EAGAIN;
	if (unlikely(*p != '\r'))
		return refuse_at(*p, H1_ERR_HEADER_VALUE);
	c->p = p;
	while (p > start && is_ows(p[-1]))
		p--;
	h->value = (struct view){ start, (size_t)(p - start) };
	return take_crlf(c);
}

static inline ssize_t parse_headers(struct cursor *c, struct msg *msg)
{
	ssize_t ret;

	for (;;) {
		if (unlikely(c->p == c->end))
			return -EAGAIN;
		if (*c->p == '\r' || *c->p == '\n')
			return take_crlf(c);
		if (unlikely(is_ows(*c->p)))
			return h1_parse_refuse(H1_ERR_OBS_FOLD);
		if (unlikely(msg->nr_headers == MAX_HEADERS))
			return h1_parse_refuse(H1_ERR_MANY_HEADERS);
		ret = parse_header(c, &msg->headers[msg->nr_headers]);
		if (unlikely(ret))
			return ret;
		msg->nr_headers++;
	}
}

/*
 * Could the bytes from @seen on have completed the head, or spoilt it? Looks
 * at line ends only: behind an LF the head ends if the line was empty, and is
 * bad if no CR stood before it.
 */
static bool worth_a_parse(const char *buf, size_t len, size_t seen)
{
	const char *p = buf + seen;
	const char *end = buf + len;

	while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
		if (p == buf || p[-1] != '\r')
			return true;
		if (p - buf >= 2 && p[-2] == '\n')
			return true;
		p++;
	}
	return false;
}

ssize_t h1_parse_head(const char *buf, size_t len, size_t seen, struct msg *msg)
{
	struct cursor c;
	ssize_t ret;

	msg->method = METHOD_OTHER;
	msg->version_minor = 0;
	msg->nr_headers = 0;
	msg->method_name = msg->target = (struct view){ buf, 0 };

	if (len == 0 || seen >= len || (seen && !worth_a_parse(buf, len, seen)))
		return -EAGAIN;
	c = (struct cursor){ buf, buf + len };
	if (unlikely(*buf == '\r' || *buf == '\n')) {
		ret = take_crlf(&c);
		if (ret)
			return ret;
	}
	ret = parse_method(&c, msg);
	if (unlikely(ret))
		return ret;
	ret = parse_target(&c, msg);
	if (unlikely(ret))
		return ret;
	ret = parse_version(&c, msg);
	if (unlikely(ret))
		return ret;
	ret = parse_headers(&c, msg);
	if (unlikely(ret))
		return ret;
	return c.p - buf;
}
