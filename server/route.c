/* SPDX-License-Identifier: MIT */
#include "server/route.h"

#include <stdlib.h>

#include "server/fail.h"

#define NR_BUCKETS (MAX_ROUTES * 2) /* open addressing, at most half full */

struct route_table {
	u32 nr;
	struct route routes[MAX_ROUTES];
	u16 buckets[NR_BUCKETS]; /* id + 1; 0 = empty */
};

struct route_table *route_table_new(void)
{
	return mem_zalloc(sizeof(struct route_table));
}

void route_table_free(struct route_table *t)
{
	if (!t)
		return;
	for (u32 i = 0; i < t->nr; i++) {
		handler_free(t->routes[i].handler);
		free((void *)(uintptr_t)t->routes[i].path.p);
	}
	free(t);
}

/* FNV-1a over the path: all methods of one path share a run of buckets. */
static u32 hash(struct view path)
{
	u32 h = 2166136261u;

	for (size_t i = 0; i < path.len; i++)
		h = (h ^ (u8)path.p[i]) * 16777619u;
	return h ^ h >> 15;
}

static struct route *lookup(const struct route_table *t, enum method method, struct view path,
			    u32 *allow)
{
	for (u32 b = hash(path) % NR_BUCKETS; t->buckets[b]; b = (b + 1) % NR_BUCKETS) {
		const struct route *r = &t->routes[t->buckets[b] - 1];

		if (!view_eq(r->path, path))
			continue;
		if (r->method == method)
			return (struct route *)(uintptr_t)r;
		*allow |= 1u << r->method;
	}
	return NULL;
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
	return r;
}

static int insert(struct route_table *t, enum method method, struct view path, struct handler *handler)
{
	u32 ignored = 0, b;
	struct route *r = lookup(t, method, path, &ignored);
	char *copy;

	if (r) {
		handler_free(r->handler);
		r->handler = handler;
		return 0;
	}
	if (t->nr == MAX_ROUTES)
		return -ENOSPC;
	copy = mem_alloc(path.len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, path.p, path.len);
	r = &t->routes[t->nr];
	*r = (struct route){
		.id = (u16)t->nr, .method = method, .path = { copy, path.len }, .handler = handler
	};
	t->nr++;
	for (b = hash(path) % NR_BUCKETS; t->buckets[b]; b = (b + 1) % NR_BUCKETS)
		;
	t->buckets[b] = (u16)t->nr;
	return 0;
}

int route_add(struct route_table *t, enum method method, struct view path, struct handler *handler)
{
	int err = -EINVAL;

	if (path.len && path.p[0] == '/' && method != METHOD_OTHER && method != METHOD_CONNECT)
		err = insert(t, method, path, handler);
	if (err)
		handler_free(handler);
	return err;
}
