/* SPDX-License-Identifier: MIT */
#include "ktls/sni.h"

#include <stdlib.h>

#include "server/fail.h"

static int order(struct view a, struct view b)
{
	int c = memcmp(a.p, b.p, min(a.len, b.len));

	return c ?: (a.len > b.len) - (a.len < b.len);
}

static struct view view_of_name(const struct sni_name *n)
{
	return (struct view){ n->name, n->len };
}

/* By name, then in the order in which they were given. */
static int by_name(const void *a, const void *b)
{
	const struct sni_name *x = a, *y = b;

	return order(view_of_name(x), view_of_name(y)) ?: (x->cert > y->cert) - (x->cert < y->cert);
}

struct collecting {
	struct sni *s;
	u32 cert;
};

static int count(void *arg, const char *name)
{
	(void)name;
	++*(u32 *)arg;
	return 0;
}

static int collect(void *arg, const char *name)
{
	struct collecting *c = arg;
	struct sni_name *n = &c->s->names[c->s->nr_names];
	size_t len = strlen(name);

	n->name = mem_alloc(len);
	if (!n->name)
		return -ENOMEM;
	memcpy(n->name, name, len);
	n->len = (u32)len;
	n->cert = c->cert;
	c->s->nr_names++;
	return 0;
}

static int collect_all(struct sni *s, const struct cert *certs, u32 nr)
{
	struct collecting c = { .s = s };
	int err = 0;

	for (u32 i = 0; i < nr && !err; i++)
		err = cert_each_name(&certs[i], count, &s->max_names);
	if (err)
		return err;
	s->names = mem_zalloc((s->max_names + 1) * sizeof(*s->names));
	/* A name has one set, and there is the default's. */
	s->sets = mem_zalloc((s->max_names + 1) * sizeof(*s->sets));
	if (!s->names || !s->sets)
		return -ENOMEM;
	for (; c.cert < nr && !err; c.cert++)
		err = cert_each_name(&certs[c.cert], collect, &c);
	return err;
}

static void set_clear(struct sni_set *set)
{
	for (u32 i = 0; i < NR_CERT_KINDS; i++)
		set->cert[i] = -1;
}

static void set_add(struct sni_set *set, const struct cert *certs, u32 cert)
{
	s32 *at = &set->cert[certs[cert].kind];

	if (*at < 0)
		*at = (s32)cert;
}

static u32 set_find_or_add(struct sni *s, const struct sni_set *set)
{
	for (u32 i = 0; i < s->nr_sets; i++)
		if (memcmp(&s->sets[i], set, sizeof(*set)) == 0)
			return i;
	s->sets[s->nr_sets] = *set;
	return s->nr_sets++;
}

/* Those that share the first name of the first certificate, which has none in its way. */
static void add_default(struct sni *s, const struct cert *certs)
{
	struct sni_set set;
	struct view first = s->nr_names && s->names[0].cert == 0 ? view_of_name(&s->names[0])
								 : (struct view){ NULL, 0 };

	set_clear(&set);
	set_add(&set, certs, 0);
	for (u32 i = 0; i < s->nr_names; i++)
		if (view_eq(view_of_name(&s->names[i]), first))
			set_add(&set, certs, s->names[i].cert);
	set_find_or_add(s, &set);
}

/* Of equal names the first stays and stands for all. */
static void merge(struct sni *s, const struct cert *certs)
{
	u32 kept = 0;

	for (u32 i = 0, end; i < s->nr_names; i = end) {
		struct sni_name *n = &s->names[i];
		struct sni_set set;

		set_clear(&set);
		for (end = i; end < s->nr_names; end++) {
			struct sni_name *same = &s->names[end];

			if (!view_eq(view_of_name(n), view_of_name(same)))
				break;
			set_add(&set, certs, same->cert);
			if (end == i)
				continue;
			free(same->name);
			same->name = NULL;
		}
		n->set = set_find_or_add(s, &set);
		s->names[kept++] = *n;
	}
	s->nr_names = kept;
}

int sni_build(struct sni *s, const struct cert *certs, u32 nr)
{
	int err = collect_all(s, certs, nr);

	if (err)
		return err;
	add_default(s, certs);
	if (s->nr_names)
		qsort(s->names, s->nr_names, sizeof(*s->names), by_name);
	merge(s, certs);
	return 0;
}

void sni_fini(struct sni *s)
{
	for (u32 i = 0; i < s->nr_names; i++)
		free(s->names[i].name);
	free(s->names);
	free(s->sets);
}

static bool find(const struct sni *s, struct view name, u32 *set)
{
	u32 lo = 0, hi = s->nr_names;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;
		int c = order(name, view_of_name(&s->names[mid]));

		if (c == 0) {
			*set = s->names[mid].set;
			return true;
		}
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
}

bool sni_find(const struct sni *s, struct view name, u32 *set)
{
	char lower[1 + CERT_NAME_MAX];
	const char *dot;
	size_t len;

	if (name.len == 0 || name.len > CERT_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++)
		lower[1 + i] = (char)ascii_lower((u8)name.p[i]);
	if (find(s, (struct view){ lower + 1, name.len }, set))
		return true;
	dot = memchr(lower + 1, '.', name.len);
	if (!dot || dot == lower + 1)
		return false;
	/* "*" takes the place of the last byte of the label that it stands for. */
	len = (size_t)(lower + 1 + name.len - dot);
	lower[dot - lower - 1] = '*';
	return find(s, (struct view){ dot - 1, len + 1 }, set);
}
