/* SPDX-License-Identifier: MIT */
#include "server/route.h"

#include <stdlib.h>

#include "server/fail.h"

#define NR_BUCKETS (MAX_ROUTES * 2) /* open addressing, at most half full */

struct route_table {
	u32 refs;
	u32 nr, nr_trees;
	struct route routes[MAX_ROUTES];
	u16 buckets[NR_BUCKETS]; /* id + 1; 0 = empty */
	u16 trees[NR_BUCKETS];
};

struct route_table *route_table_new(void)
{
	struct route_table *t = mem_zalloc(sizeof(*t));

	if (t)
		t->refs = 1;
	return t;
}

struct route_table *route_table_get(struct route_table *t)
{
	t->refs++;
	return t;
}

void route_table_put(struct route_table *t)
{
	if (!t || --t->refs)
		return;
	for (u32 i = 0; i < t->nr; i++) {
		handler_put(t->routes[i].handler);
		free((void *)(uintptr_t)t->routes[i].path.p);
	}
	free(t);
}

const struct route *route_at(const struct route_table *t, u32 id)
{
	return id < t->nr ? &t->routes[id] : NULL;
}

/* FNV-1a over the path: all methods of one path share a run of buckets. */
#define HASH_START 2166136261u

static u32 hash_byte(u32 h, char c)
{
	return (h ^ (u8)c) * 16777619u;
}

static u32 bucket_of(u32 h)
{
	return (h ^ h >> 15) % NR_BUCKETS;
}

static u32 hash(struct view path)
{
	u32 h = HASH_START;

	for (size_t i = 0; i < path.len; i++)
		h = hash_byte(h, path.p[i]);
	return bucket_of(h);
}

static struct route *lookup(const struct route_table *t, enum method method, struct view path,
			    u32 *allow)
{
	for (u32 b = hash(path); t->buckets[b]; b = (b + 1) % NR_BUCKETS) {
		const struct route *r = &t->routes[t->buckets[b] - 1];

		if (!view_eq(r->path, path))
			continue;
		if (r->method == method)
			return (struct route *)(uintptr_t)r;
		*allow |= 1u << r->method;
	}
	return NULL;
}

static struct route *tree_at(const struct route_table *t, struct view prefix, u32 bucket)
{
	for (u32 b = bucket; t->trees[b]; b = (b + 1) % NR_BUCKETS) {
		const struct route *r = &t->routes[t->trees[b] - 1];

		if (view_eq(r->path, prefix))
			return (struct route *)(uintptr_t)r;
	}
	return NULL;
}

/* The longest prefix that ends where a segment does, in one pass. */
static const struct route *find_tree(const struct route_table *t, struct view path)
{
	const struct route *best = NULL;
	u32 h = HASH_START;

	if (!path.len || path.p[0] != '/')
		return NULL;
	for (size_t i = 0; i <= path.len; i++) {
		if (i == path.len || path.p[i] == '/') {
			const struct route *r = tree_at(t, (struct view){ path.p, i }, bucket_of(h));

			if (r)
				best = r;
		}
		if (i < path.len)
			h = hash_byte(h, path.p[i]);
	}
	return best;
}

const struct route *route_find(const struct route_table *t, enum method method, struct view path,
			       u32 *allow)
{
	const struct route *r;

	*allow = 0;
	r = lookup(t, method, path, allow);
	if (!r && method == METHOD_HEAD)
		r = lookup(t, METHOD_GET, path, allow);
	if (*allow & 1u << METHOD_GET)
		*allow |= 1u << METHOD_HEAD;
	return r || !t->nr_trees ? r : find_tree(t, path);
}

static void enter(u16 *buckets, u32 b, u16 value)
{
	while (buckets[b])
		b = (b + 1) % NR_BUCKETS;
	buckets[b] = value;
}

/* @r: the route that is there already, or NULL. */
static int insert(struct route_table *t, struct route *r, struct route what)
{
	char *copy;

	if (r) {
		handler_put(r->handler);
		r->handler = what.handler;
		return 0;
	}
	if (t->nr == MAX_ROUTES)
		return -ENOSPC;
	copy = mem_alloc(max(what.path.len, (size_t)1));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, what.path.p, what.path.len);
	what.path.p = copy;
	what.id = (u16)t->nr;
	t->routes[t->nr++] = what;
	t->nr_trees += what.tree;
	enter(what.tree ? t->trees : t->buckets, hash(what.path), (u16)t->nr);
	return 0;
}

int route_add(struct route_table *t, enum method method, struct view path, struct handler *handler)
{
	struct route what = { .method = method, .path = path, .handler = handler };
	int err = -EINVAL;
	u32 ignored = 0;

	if (path.len && path.p[0] == '/' && method != METHOD_OTHER && method != METHOD_CONNECT)
		err = insert(t, lookup(t, method, path, &ignored), what);
	if (err)
		handler_put(handler);
	return err;
}

int route_add_tree(struct route_table *t, struct view prefix, struct handler *handler)
{
	struct route what = { .method = METHOD_GET, .tree = true, .handler = handler };
	int err = -EINVAL;

	while (prefix.len && prefix.p[prefix.len - 1] == '/')
		prefix.len--;
	what.path = prefix;
	if (!prefix.len || prefix.p[0] == '/')
		err = insert(t, tree_at(t, prefix, hash(prefix)), what);
	if (err)
		handler_put(handler);
	return err;
}

struct route_table *route_table_copy(const struct route_table *t)
{
	struct route_table *copy = route_table_new();

	for (u32 i = 0; copy && i < t->nr; i++) {
		struct route what = t->routes[i];

		handler_get(what.handler);
		if (insert(copy, NULL, what)) {
			handler_put(what.handler);
			route_table_put(copy);
			return NULL;
		}
	}
	return copy;
}
