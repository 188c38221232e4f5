/* SPDX-License-Identifier: MIT */
#include "server/metrics_own.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/fail.h"

#define MAX_BOUNDS 64u
#define MAX_FIELDS 6u
#define NUMBER_LEN 64u
#define TRIES 4 /* a writer that turns more often than that while we copy does not exist */

struct line {
	char kind; /* '#', 'c', 'g', 'h' */
	u32 slot;
	struct view family, labels; /* labels: the help of a '#' */
	struct view value; /* the sum of a histogram */
	struct view bounds, counts;
};

struct lines {
	struct line *p;
	size_t nr, cap;
	bool failed;
};

/* --- reading --- */

/* The text of a slot, whole, into @to; its length. */
static u32 copy_text(struct stats_own *own, char *to)
{
	for (int i = 0; i < TRIES; i++) {
		/* Acquire pairs with the release of the writer's turn. */
		u32 turn = __atomic_load_n(&own->turn, __ATOMIC_ACQUIRE);
		u32 len = __atomic_load_n(&own->len[turn % 2], __ATOMIC_RELAXED);

		if (len > STATS_OWN_TEXT)
			return 0;
		memcpy(to, own->text[turn % 2], len);
		/* Acquire and release: what was read comes before the second look. */
		if (__atomic_fetch_add(&own->turn, 0, __ATOMIC_ACQ_REL) == turn)
			return len;
	}
	return 0;
}

static u32 split(struct view v, char by, struct view *fields, u32 max)
{
	const char *p = v.p, *end = v.p + v.len;
	u32 nr = 0;

	while (nr < max) {
		const char *stop = memchr(p, by, (size_t)(end - p));

		fields[nr++] = (struct view){ p, (size_t)((stop ? stop : end) - p) };
		if (!stop)
			return nr;
		p = stop + 1;
	}
	return max + 1;
}

static bool parse(struct view text, struct line *l)
{
	struct view f[MAX_FIELDS];
	u32 nr = split(text, '\t', f, MAX_FIELDS);

	if (nr < 3 || f[0].len != 1 || !f[1].len)
		return false;
	l->kind = f[0].p[0];
	l->family = f[1];
	l->labels = f[2];
	if (l->kind == '#')
		return nr == 3;
	if (nr < 4)
		return false;
	l->value = f[3];
	if (l->kind != 'h')
		return nr == 4 && (l->kind == 'c' || l->kind == 'g');
	l->bounds = nr == 6 ? f[4] : VIEW("");
	l->counts = nr == 6 ? f[5] : VIEW("");
	return nr == 6;
}

static struct line *new_line(struct lines *all)
{
	size_t cap = all->cap ? 2 * all->cap : 256;
	struct line *p;

	if (all->nr < all->cap)
		return &all->p[all->nr++];
	p = fail_alloc() ? NULL : realloc(all->p, cap * sizeof(*p));
	if (!p) {
		all->failed = true;
		return NULL;
	}
	all->p = p;
	all->cap = cap;
	return &all->p[all->nr++];
}

static void take_text(struct lines *all, u32 slot, bool alive, struct view text)
{
	const char *p = text.p, *end = text.p + text.len, *stop;

	for (; p < end && (stop = memchr(p, '\n', (size_t)(end - p))); p = stop + 1) {
		struct line l = { .slot = slot }, *to;

		if (!parse((struct view){ p, (size_t)(stop - p) }, &l) || (l.kind == 'g' && !alive))
			continue;
		to = new_line(all);
		if (!to)
			return;
		*to = l;
	}
}

static int view_cmp(struct view a, struct view b)
{
	int c = memcmp(a.p, b.p, min(a.len, b.len));

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* By family, its help before all; then by labels and worker. */
static int line_cmp(const void *left, const void *right)
{
	const struct line *a = left, *b = right;
	int c = view_cmp(a->family, b->family);

	if (!c)
		c = (b->kind == '#') - (a->kind == '#');
	if (!c && a->kind != '#')
		c = view_cmp(a->labels, b->labels);
	return c ? c : (a->slot > b->slot) - (a->slot < b->slot);
}

/* --- writing --- */

static double number(struct view v)
{
	char text[NUMBER_LEN];
	size_t len = min(v.len, sizeof(text) - 1);

	memcpy(text, v.p, len);
	text[len] = '\0';
	return strtod(text, NULL);
}

/* The shortest of the two that is read back as the same. */
static void put_number(struct text *t, double n)
{
	char text[NUMBER_LEN];

	if (isnan(n) || isinf(n)) {
		text_put(t, isnan(n) ? VIEW("NaN") : n > 0 ? VIEW("+Inf") : VIEW("-Inf"));
		return;
	}
	snprintf(text, sizeof(text), "%.15g", n);
	if (strtod(text, NULL) < n || strtod(text, NULL) > n)
		snprintf(text, sizeof(text), "%.17g", n);
	text_str(t, text);
}

/* name_suffix{labels,more} and the space before the value. */
static void put_name(struct text *t, const struct line *l, struct view suffix, struct view more)
{
	text_put(t, l->family);
	text_put(t, suffix);
	if (l->labels.len || more.len) {
		text_put(t, VIEW("{"));
		text_put(t, l->labels);
		if (l->labels.len && more.len)
			text_put(t, VIEW(","));
		text_put(t, more);
		text_put(t, VIEW("}"));
	}
	text_put(t, VIEW(" "));
}

static void put_sample(struct text *t, const struct line *l, struct view suffix, struct view more,
		       double n)
{
	put_name(t, l, suffix, more);
	put_number(t, n);
	text_put(t, VIEW("\n"));
}

static void put_counter(struct text *t, const struct line *l, size_t nr)
{
	double sum = 0;

	for (size_t i = 0; i < nr; i++)
		sum += l[i].kind == 'c' ? number(l[i].value) : 0;
	put_sample(t, l, VIEW("_total"), VIEW(""), sum);
}

static void put_gauges(struct text *t, const struct line *l, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		char worker[32];
		int len = snprintf(worker, sizeof(worker), "worker=\"%u\"", l[i].slot);

		if (l[i].kind == 'g')
			put_sample(t, &l[i], VIEW(""), (struct view){ worker, (size_t)len },
				   number(l[i].value));
	}
}

static bool add_counts(double *counts, const struct line *l, u32 nr)
{
	struct view parts[MAX_BOUNDS + 1];

	if (split(l->counts, ' ', parts, nr) != nr)
		return false;
	for (u32 i = 0; i < nr; i++)
		counts[i] += number(parts[i]);
	return true;
}

static void put_histogram(struct text *t, const struct line *l, size_t nr)
{
	struct view bounds[MAX_BOUNDS];
	double counts[MAX_BOUNDS + 1] = { 0 }, sum = 0, below = 0;
	u32 nr_bounds = split(l->bounds, ' ', bounds, MAX_BOUNDS);

	if (!l->bounds.len || nr_bounds > MAX_BOUNDS)
		return;
	for (size_t i = 0; i < nr; i++)
		if (l[i].kind == 'h' && view_eq(l[i].bounds, l->bounds) &&
		    add_counts(counts, &l[i], nr_bounds + 1))
			sum += number(l[i].value);
	for (u32 i = 0; i <= nr_bounds; i++) {
		struct view bound = i < nr_bounds ? bounds[i] : VIEW("+Inf");
		char le[NUMBER_LEN + 8];
		int len = snprintf(le, sizeof(le), "le=\"%.*s\"",
				   (int)min(bound.len, (size_t)NUMBER_LEN), bound.p);

		below += counts[i];
		put_sample(t, l, VIEW("_bucket"), (struct view){ le, (size_t)len }, below);
	}
	put_sample(t, l, VIEW("_sum"), VIEW(""), sum);
	put_sample(t, l, VIEW("_count"), VIEW(""), below);
}

static void put_head(struct text *t, const struct line *l, char kind, bool open)
{
	struct view suffix = kind == 'c' && !open ? VIEW("_total") : VIEW("");

	if (l->kind == '#') {
		text_put(t, VIEW("# HELP "));
		text_put(t, l->family);
		text_put(t, suffix);
		text_put(t, VIEW(" "));
		text_put(t, l->labels);
		text_put(t, VIEW("\n"));
	}
	text_put(t, VIEW("# TYPE "));
	text_put(t, l->family);
	text_put(t, suffix);
	text_put(t, kind == 'c'   ? VIEW(" counter\n")
		    : kind == 'g' ? VIEW(" gauge\n")
				  : VIEW(" histogram\n"));
}

/* @nr lines of one family. What kind it is says the lowest worker that has it. */
static void put_family(struct text *t, const struct line *l, size_t nr, bool open)
{
	const struct line *first = NULL;
	size_t n;

	for (size_t i = 0; i < nr; i++)
		if (l[i].kind != '#' && (!first || l[i].slot < first->slot))
			first = &l[i];
	if (!first)
		return;
	put_head(t, l, first->kind, open);
	for (size_t i = 0; i < nr; i += n) {
		n = 1;
		if (l[i].kind != first->kind)
			continue;
		while (i + n < nr && view_eq(l[i + n].labels, l[i].labels))
			n++;
		if (first->kind == 'c')
			put_counter(t, &l[i], n);
		else if (first->kind == 'g')
			put_gauges(t, &l[i], n);
		else
			put_histogram(t, &l[i], n);
	}
}

static void put_all(struct text *t, struct lines *all, bool open)
{
	size_t n;

	if (all->nr)
		qsort(all->p, all->nr, sizeof(*all->p), line_cmp);
	for (size_t i = 0; i < all->nr; i += n) {
		for (n = 1; i + n < all->nr && view_eq(all->p[i + n].family, all->p[i].family);)
			n++;
		put_family(t, &all->p[i], n, open);
	}
}

void metrics_own(struct text *out, const struct stats_maps *maps, bool open)
{
	u32 nr_slots = maps->header->nr_slots;
	struct lines all = { 0 };
	char *texts = mem_alloc((size_t)nr_slots * STATS_OWN_TEXT), *p = texts;

	for (u32 w = 0; texts && w < nr_slots; w++) {
		u32 state = __atomic_load_n(&maps->workers[w].state, __ATOMIC_RELAXED);
		u32 len = copy_text(&maps->own[w], p);

		take_text(&all, w, state != STATS_WORKER_NONE, (struct view){ p, len });
		p += len;
	}
	if (texts && !all.failed)
		put_all(out, &all, open);
	out->failed |= !texts || all.failed;
	free(all.p);
	free(texts);
}
