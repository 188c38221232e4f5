/* SPDX-License-Identifier: MIT */
/*
 * The fields that decide where a message ends, whom it is for and what
 * becomes of the connection, and the request target.
 */
#include "server/h1_parse.h"
#include "server/h1_scan.h"

int h1_parse_length(struct view v, u64 *out)
{
	u64 n = 0;

	if (v.len == 0)
		return -EINVAL;
	for (size_t i = 0; i < v.len; i++) {
		if (!h1_is_digit(v.p[i]) || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (u64)(v.p[i] - '0'), &n) || n > INT64_MAX)
			return -EINVAL;
	}
	*out = n;
	return 0;
}

static inline u64 lower8(const char *p)
{
	u64 w;

	memcpy(&w, p, sizeof(w));
	return w | 0x2020202020202020ull;
}

static inline u32 lower4(const char *p)
{
	u32 w;

	memcpy(&w, p, sizeof(w));
	return w | 0x20202020u;
}

/*
 * Does the token @p of @n bytes equal @lit, which is in lower case? In words,
 * the last of which may overlap. Setting bit 5 maps only letters onto
 * letters, and '-' and digits onto themselves, as long as @p is a token.
 */
static inline __attribute__((always_inline)) bool name_is(const char *p, const char *lit, size_t n)
{
	size_t i;

	if (n < 4) {
		for (i = 0; i < n; i++)
			if ((p[i] | 0x20) != lit[i])
				return false;
		return true;
	}
	if (n < 8)
		return lower4(p) == lower4(lit) && lower4(p + n - 4) == lower4(lit + n - 4);
	for (i = 0; i + 8 < n; i += 8)
		if (lower8(p + i) != lower8(lit + i))
			return false;
	return lower8(p + n - 8) == lower8(lit + n - 8);
}

#define IF_NAME(literal, header)                                                                   \
	if (name_is(name.p, literal, sizeof(literal) - 1))                                         \
	return header

enum known_header h1_known_header(struct view name)
{
	switch (name.len) {
	case 2:
		IF_NAME("te", HDR_TE);
		break;
	case 4:
		IF_NAME("host", HDR_HOST);
		break;
	case 5:
		IF_NAME("range", HDR_RANGE);
		break;
	case 6:
		IF_NAME("expect", HDR_EXPECT);
		break;
	case 7:
		IF_NAME("upgrade", HDR_UPGRADE);
		IF_NAME("trailer", HDR_TRAILER);
		break;
	case 8:
		IF_NAME("if-range", HDR_IF_RANGE);
		IF_NAME("if-match", HDR_IF_MATCH);
		break;
	case 10:
		IF_NAME("connection", HDR_CONNECTION);
		IF_NAME("keep-alive", HDR_KEEP_ALIVE);
		break;
	case 12:
		IF_NAME("content-type", HDR_CONTENT_TYPE);
		break;
	case 13:
		IF_NAME("if-none-match", HDR_IF_NONE_MATCH);
		break;
	case 14:
		IF_NAME("content-length", HDR_CONTENT_LENGTH);
		IF_NAME("http2-settings", HDR_HTTP2_SETTINGS);
		break;
	case 15:
		IF_NAME("accept-encoding", HDR_ACCEPT_ENCODING);
		break;
	case 17:
		IF_NAME("transfer-encoding", HDR_TRANSFER_ENCODING);
		IF_NAME("if-modified-since", HDR_IF_MODIFIED_SINCE);
		break;
	case 19:
		IF_NAME("if-unmodified-since", HDR_IF_UNMODIFIED_SINCE);
		break;
	}
	return HDR_OTHER;
}

static struct view trim(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	while (p < end && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return (struct view){ p, (size_t)(end - p) };
}

/* Cuts the next element off the comma list @rest; false behind the last one. */
static bool next_element(struct view *rest, struct view *element)
{
	const char *end, *comma;

	if (!rest->p)
		return false;
	end = rest->p + rest->len;
	comma = rest->len ? memchr(rest->p, ',', rest->len) : NULL;
	*element = trim(rest->p, comma ? comma : end);
	*rest = comma ? (struct view){ comma + 1, (size_t)(end - comma - 1) }
		      : (struct view){ NULL, 0 };
	return true;
}

bool h1_list_has(struct view value, struct view token)
{
	struct view element;

	while (next_element(&value, &element))
		if (view_ieq(element, token))
			return true;
	return false;
}

int h1_check_te(struct view v)
{
	bool chunked = false, unknown = false;
	struct view element;

	if (v.len == 0)
		return -EINVAL;
	while (next_element(&v, &element)) {
		const char *end = element.p + element.len;

		if (chunked || element.len == 0 || h1_scan_token(element.p, end) != end)
			return -EINVAL;
		if (view_ieq(element, VIEW("chunked")))
			chunked = true;
		else
			unknown = true;
	}
	return unknown ? -ENOTSUP : 0;
}

/* *DIGIT, at most 65535 */
static int check_port(const char *p, const char *end)
{
	u32 port = 0;

	for (; p < end; p++) {
		if (!h1_is_digit(*p))
			return -EINVAL;
		port = port * 10 + (u32)(*p - '0');
		if (port > 65535)
			return -EINVAL;
	}
	return 0;
}

/* Four decimal octets without leading zeros (RFC 3986 3.2.2). */
static bool is_ipv4(const char *p, const char *end)
{
	for (int octets = 0;;) {
		u32 n = 0;
		const char *start = p;

		for (; p < end && p - start < 3 && h1_is_digit(*p); p++)
			n = n * 10 + (u32)(*p - '0');
		if (p == start || n > 255 || (*start == '0' && p - start > 1))
			return false;
		if (++octets == 4)
			return p == end;
		if (p == end || *p++ != '.')
			return false;
	}
}

/*
 * Groups of up to four hex digits, eight of them, or fewer with one "::" in
 * their place; the last two may be an IPv4 address.
 */
static bool is_ipv6(const char *p, const char *end)
{
	bool gap = false;
	int groups = 0;

	if (end - p >= 2 && p[0] == ':' && p[1] == ':') {
		gap = true;
		p += 2;
	}
	while (p < end) {
		const char *start = p;

		while (p < end && p - start < 5 && h1_hex(*p) >= 0)
			p++;
		if (p < end && *p == '.') {
			groups += 2;
			if (!is_ipv4(start, end))
				return false;
			break;
		}
		if (p == start || p - start > 4 || ++groups > 8)
			return false;
		if (p == end)
			break;
		if (*p++ != ':' || p == end)
			return false;
		if (*p == ':') {
			if (gap)
				return false;
			gap = true;
			p++;
		}
	}
	return gap ? groups < 8 : groups == 8;
}

/* reg-name, which includes IPv4; returns behind it, or NULL. */
static const char *scan_regname(const char *p, const char *end)
{
	for (;;) {
		p = h1_scan_table(p, end, H1_REGNAME);
		if (p == end || *p != '%')
			return p;
		if (end - p < 3 || h1_hex(p[1]) < 0 || h1_hex(p[2]) < 0)
			return NULL;
		p += 3;
	}
}

/* @v is not empty. @has_port: is there a port that is not empty? */
static int check_authority(struct view v, bool *has_port)
{
	const char *end = v.p + v.len;
	const char *p;

	if (v.p[0] == '[') {
		p = memchr(v.p, ']', v.len);
		if (!p || !is_ipv6(v.p + 1, p))
			return -EINVAL;
		p++;
	} else {
		p = scan_regname(v.p, end);
		if (!p || p == v.p)
			return -EINVAL;
	}
	*has_port = end - p > 1;
	if (p == end)
		return 0;
	return *p == ':' ? check_port(p + 1, end) : -EINVAL;
}

int h1_check_host(struct view v)
{
	bool has_port;

	return v.len ? check_authority(v, &has_port) : 0;
}

static void split_query(struct view v, struct target *out)
{
	const char *q = v.len ? memchr(v.p, '?', v.len) : NULL;

	out->path = v;
	if (!q)
		return;
	out->has_query = true;
	out->path.len = (size_t)(q - v.p);
	out->query = (struct view){ q + 1, v.len - out->path.len - 1 };
}

static int split_absolute(struct view v, struct target *out)
{
	size_t scheme, i;
	bool has_port;

	if (v.len >= 7 && view_ieq((struct view){ v.p, 7 }, VIEW("http://")))
		scheme = 7;
	else if (v.len >= 8 && view_ieq((struct view){ v.p, 8 }, VIEW("https://")))
		scheme = 8;
	else
		return -EINVAL;
	for (i = scheme; i < v.len && v.p[i] != '/' && v.p[i] != '?'; i++)
		;
	out->form = TARGET_ABSOLUTE;
	out->authority = (struct view){ v.p + scheme, i - scheme };
	split_query((struct view){ v.p + i, v.len - i }, out);
	if (out->path.len == 0)
		out->path = VIEW("/");
	return out->authority.len ? check_authority(out->authority, &has_port) : -EINVAL;
}

int h1_split_target(struct view target, enum method m, struct target *out)
{
	bool has_port;

	*out = (struct target){ .form = TARGET_ORIGIN };
	if (target.len == 0 || memchr(target.p, '#', target.len))
		return -EINVAL;
	if (m == METHOD_CONNECT) {
		out->form = TARGET_AUTHORITY;
		out->authority = target;
		return check_authority(target, &has_port) || !has_port ? -EINVAL : 0;
	}
	if (target.p[0] == '/') {
		split_query(target, out);
		return 0;
	}
	if (view_eq(target, VIEW("*"))) {
		out->form = TARGET_ASTERISK;
		out->path = target;
		return m == METHOD_OPTIONS ? 0 : -EINVAL;
	}
	return split_absolute(target, out);
}
