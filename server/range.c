/* SPDX-License-Identifier: MIT */
#include "server/range.h"

#define MAX_SPECS 64 /* looked at, also those that cannot be satisfied */

struct cursor {
	const char *p, *end;
};

static bool at(const struct cursor *c, char ch)
{
	return c->p < c->end && *c->p == ch;
}

static bool at_digit(const struct cursor *c)
{
	return c->p < c->end && *c->p >= '0' && *c->p <= '9';
}

static bool at_space(const struct cursor *c)
{
	return at(c, ' ') || at(c, '\t');
}

/* Digits; a number beyond u64 is as good as the largest. */
static u64 number(struct cursor *c)
{
	u64 n = 0;

	for (; at_digit(c); c->p++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (u64)(*c->p - '0'), &n))
			n = UINT64_MAX;
	return n;
}

/* One range-spec. 1: @out is filled, 0: it cannot be satisfied, -EINVAL. */
static int read_spec(struct cursor *c, u64 size, struct range *out)
{
	u64 first, last = UINT64_MAX;

	if (at(c, '-')) {
		c->p++;
		if (!at_digit(c))
			return -EINVAL;
		last = number(c);
		*out = (struct range){ size - min(last, size), min(last, size) };
		return last != 0;
	}
	if (!at_digit(c))
		return -EINVAL;
	first = number(c);
	if (!at(c, '-'))
		return -EINVAL;
	c->p++;
	if (at_digit(c)) {
		last = number(c);
		if (last < first)
			return -EINVAL;
	}
	if (first >= size)
		return 0;
	*out = (struct range){ first, min(last, size - 1) - first + 1 };
	return 1;
}

/* Commas, empty elements and white space before the next spec; false: no comma where one must be. */
static bool skip_commas(struct cursor *c, bool need)
{
	for (; at(c, ',') || at_space(c); c->p++)
		need &= *c->p != ',';
	return !need || c->p == c->end;
}

static bool overlap(const struct range *a, const struct range *b)
{
	return a->off < b->off + b->len && b->off < a->off + a->len;
}

/* RFC 9110 14.2: sets that nobody needs, or that are meant to cost us. */
static bool absurd(const struct range *r, int nr, u64 size)
{
	int overlapping = 0;
	u64 left = size;

	for (int i = 0; i < nr; i++) {
		bool hit = false;

		for (int k = 0; k < nr; k++)
			hit |= k != i && overlap(&r[i], &r[k]);
		overlapping += hit;
		if (r[i].len > left)
			return true;
		left -= r[i].len;
	}
	return overlapping > 2;
}

int range_parse(struct view v, u64 size, struct range out[MAX_RANGES])
{
	struct cursor c = { v.p + 6, v.p + v.len };
	int nr = 0, nr_specs = 0;

	if (v.len < 6 || !view_ieq((struct view){ v.p, 6 }, VIEW("bytes=")))
		return 0;
	skip_commas(&c, false);
	while (c.p < c.end) {
		struct range r;
		int got = read_spec(&c, size, &r);

		if (got < 0 || ++nr_specs > MAX_SPECS || (got && nr == MAX_RANGES))
			return 0;
		if (got)
			out[nr++] = r;
		if (!skip_commas(&c, true))
			return 0;
	}
	if (nr_specs == 0)
		return 0;
	if (nr == 0)
		return -ERANGE;
	/* A suffix of nothing is satisfiable, but there are no bytes to name. */
	return size == 0 || absurd(out, nr, size) ? 0 : nr;
}
