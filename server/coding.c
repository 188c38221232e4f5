/* SPDX-License-Identifier: MIT */
#include "server/coding.h"

#define Q_MAX 1000u /* a weight of 1 */
#define Q_ABSENT UINT32_MAX

const char *const coding_names[NR_CODINGS] = {
	[CODING_IDENTITY] = "identity",
	[CODING_GZIP] = "gzip",
	[CODING_ZSTD] = "zstd",
	[CODING_BR] = "br",
};

const char *const coding_suffixes[NR_CODINGS] = {
	[CODING_IDENTITY] = "",
	[CODING_GZIP] = ".gz",
	[CODING_ZSTD] = ".zst",
	[CODING_BR] = ".br",
};

struct weights {
	u32 of[NR_CODINGS];
	u32 any; /* "*" */
};

static struct view trim(struct view v)
{
	while (v.len && (v.p[0] == ' ' || v.p[0] == '\t'))
		v.p++, v.len--;
	while (v.len && (v.p[v.len - 1] == ' ' || v.p[v.len - 1] == '\t'))
		v.len--;
	return v;
}

/* Up to @c, which is taken away with it. */
static struct view cut(struct view *rest, char c)
{
	const char *p = rest->len ? memchr(rest->p, c, rest->len) : NULL;
	struct view v = *rest;

	if (!p) {
		rest->p += rest->len;
		rest->len = 0;
		return trim(v);
	}
	v.len = (size_t)(p - v.p);
	rest->p += v.len + 1;
	rest->len -= v.len + 1;
	return trim(v);
}

/* A qvalue in thousandths; one that is malformed counts as 1. */
static u32 parse_q(struct view v)
{
	u32 q, scale = 100;

	if (!v.len || (v.p[0] != '0' && v.p[0] != '1') || v.len > 5 || (v.len > 1 && v.p[1] != '.'))
		return Q_MAX;
	q = v.p[0] == '1' ? Q_MAX : 0;
	for (size_t i = 2; i < v.len; i++, scale /= 10) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return Q_MAX;
		q += (u32)(v.p[i] - '0') * scale;
	}
	return min(q, Q_MAX);
}

static u32 weight_of(struct view params)
{
	u32 q = Q_MAX;

	while (params.len) {
		struct view param = cut(&params, ';');

		if (param.len >= 2 && ascii_lower((u8)param.p[0]) == 'q' && param.p[1] == '=')
			q = parse_q((struct view){ param.p + 2, param.len - 2 });
	}
	return q;
}

static void read_line(struct weights *w, struct view line)
{
	while (line.len) {
		struct view element = cut(&line, ','), name = cut(&element, ';');
		u32 q = weight_of(element);

		if (view_eq(name, VIEW("*")))
			w->any = q;
		else if (view_ieq(name, VIEW("x-gzip")))
			w->of[CODING_GZIP] = q;
		for (int c = 0; c < NR_CODINGS; c++)
			if (view_ieq(name, view_of(coding_names[c])))
				w->of[c] = q;
	}
}

int coding_choose(const struct lines *accept, u32 available)
{
	struct weights w = { .any = Q_ABSENT };
	int best = -ENOENT;
	u32 best_q = 0;

	if (!accept)
		return CODING_IDENTITY;
	for (int c = 0; c < NR_CODINGS; c++)
		w.of[c] = Q_ABSENT;
	for (u32 i = 0; i < accept->nr; i++)
		read_line(&w, accept->v[i]);
	for (int c = 0; c < NR_CODINGS; c++) {
		u32 q = w.of[c] != Q_ABSENT ? w.of[c] : w.any;

		/* What is not named is not taken, but identity is unless it is ruled out. */
		if (c == CODING_IDENTITY && w.of[c] == Q_ABSENT)
			q = w.any ? 1 : 0;
		else if (q == Q_ABSENT)
			q = 0;
		if (available & 1u << c && q && q >= best_q) {
			best = c;
			best_q = q;
		}
	}
	return best;
}
