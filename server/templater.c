/* SPDX-License-Identifier: MIT */
#include "server/templater.h"

#define TOKEN_HEX_MIN 16u /* hexadecimal digits that make a token */
#define TOKEN_MIN 24u /* letters, digits, '-', '_' that do if there are digits among them */
#define EXTENSION_MAX 5u

/* What a byte is. */
enum {
	DIGIT = 1 << 0,
	HEX = 1 << 1, /* a letter up to f */
	LETTER = 1 << 2,
	DASH = 1 << 3, /* - or _ */
	OTHER = 1 << 4,
	STRANGE = 1 << 5, /* not printable ASCII */
};

/* clang-format off */
#define D DIGIT
#define H HEX
#define L LETTER
#define M DASH
#define O OTHER
#define S STRANGE
static const u8 kinds[256] = {
	S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S,
	S, O, O, O, O, O, O, O, O, O, O, O, O, M, O, O, D, D, D, D, D, D, D, D, D, D, O, O, O, O, O, O,
	O, H, H, H, H, H, H, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, M,
	O, H, H, H, H, H, H, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, S,
	S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S,
	S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S,
	S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S,
	S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S,
};
/* clang-format on */

static u32 kinds_of(struct view s)
{
	u32 all = 0;

	for (size_t i = 0; i < s.len; i++)
		all |= kinds[(u8)s.p[i]];
	return all;
}

/* 8-4-4-4-12 (RFC 9562). */
static bool is_uuid(struct view s)
{
	if (s.len != 36)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? s.p[i] != '-' : !(kinds[(u8)s.p[i]] & (DIGIT | HEX)))
			return false;
	}
	return true;
}

/* The placeholder for a value whose bytes are of these kinds; empty for what is a name. */
static struct view placeholder(struct view s, u32 all)
{
	if (all == DIGIT)
		return VIEW(":id");
	if (!(all & DIGIT) || all & (OTHER | STRANGE))
		return VIEW("");
	if (is_uuid(s))
		return VIEW(":uuid");
	if ((!(all & (LETTER | DASH)) && s.len >= TOKEN_HEX_MIN) || s.len >= TOKEN_MIN)
		return VIEW(":token");
	return VIEW("");
}

/* The short suffix with its dot, for "123.json"; empty when there is none. */
static struct view extension(struct view s)
{
	size_t from = s.len > EXTENSION_MAX + 1 ? s.len - EXTENSION_MAX - 1 : 1;

	for (size_t i = s.len; i > from; i--)
		if (s.p[i - 1] == '.')
			return i == s.len ? VIEW("") : (struct view){ s.p + i - 1, s.len - i + 1 };
	return VIEW("");
}

static void clean(char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (kinds[(u8)p[i]] & STRANGE)
			p[i] = '?';
}

/* What stands for a segment with digits, at most @room bytes; 0 = it does not fit, or stays. */
static size_t put_value(char *out, size_t room, struct view s, u32 all)
{
	struct view ext = VIEW(""), value = placeholder(s, all);

	if (!value.len && all & OTHER) {
		ext = extension(s);
		s.len -= ext.len;
		if (ext.len)
			value = placeholder(s, kinds_of(s));
	}
	if (!value.len || value.len + ext.len > room)
		return 0;
	memcpy(out, value.p, value.len);
	memcpy(out + value.len, ext.p, ext.len);
	if (all & STRANGE)
		clean(out + value.len, ext.len);
	return value.len + ext.len;
}

/* Copied while it is looked at: most segments are names. */
size_t template_path(struct view path, char *out, size_t room)
{
	const char *p = path.p, *end = path.p + path.len;
	size_t n = 0;

	while (p < end) {
		struct view s = { p, 0 };
		size_t at = n, len = 0;
		bool slash;
		u32 all = 0;

		for (; p < end && *p != '/'; p++) {
			all |= kinds[(u8)*p];
			if (at < room)
				out[at++] = *p;
		}
		s.len = (size_t)(p - s.p);
		slash = p < end;
		p += slash;
		if (all == DIGIT && n + 3 <= room) {
			memcpy(out + n, ":id", 3);
			len = 3;
		} else if (all & DIGIT) {
			len = put_value(out + n, room - n, s, all);
		}
		if (!len) {
			len = s.len;
			if (unlikely(all & STRANGE))
				clean(out + n, at - n);
		}
		/* A byte stays free for the star of a segment that does not fit. */
		if (n + len + slash >= room) {
			out[n++] = '*';
			return n;
		}
		n += len;
		if (slash)
			out[n++] = '/';
	}
	return n;
}

size_t template_name(struct view name, char *out, size_t room)
{
	size_t n = min(name.len, room);

	memcpy(out, name.p, n);
	clean(out, n);
	if (name.len > room)
		out[n - 1] = '*';
	return n;
}
