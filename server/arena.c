/* SPDX-License-Identifier: MIT */
#include "server/arena.h"

#include <stdlib.h>

#include "server/fail.h"

struct arena_chunk {
	struct arena_chunk *next;
	size_t len; /* of the whole chunk */
	_Alignas(16) char bytes[];
};

void arena_pool_init(struct arena_pool *pool)
{
	pool->free = NULL;
	pool->nr_free = 0;
}

void arena_pool_fini(struct arena_pool *pool)
{
	struct arena_chunk *c;

	while ((c = pool->free)) {
		pool->free = c->next;
		free(c);
	}
	pool->nr_free = 0;
}

static struct arena_chunk *chunk_get(struct arena_pool *pool, size_t len)
{
	struct arena_chunk *c = pool->free;

	if (len == ARENA_CHUNK_LEN && c) {
		pool->free = c->next;
		pool->nr_free--;
		return c;
	}
	c = mem_alloc(len);
	if (c)
		c->len = len;
	return c;
}

static void chunk_put(struct arena_pool *pool, struct arena_chunk *c)
{
	if (c->len != ARENA_CHUNK_LEN || pool->nr_free >= ARENA_POOL_MAX) {
		free(c);
		return;
	}
	c->next = pool->free;
	pool->free = c;
	pool->nr_free++;
}

void *arena_alloc_slow(struct arena *a, size_t len)
{
	size_t n = (len + 15) & ~(size_t)15, whole;
	struct arena_chunk *c;
	bool alone;

	if (len == 0)
		return arena_alloc(a, 1);
	if (n < len || __builtin_add_overflow(n, sizeof(*c), &whole))
		return NULL;
	alone = whole > ARENA_CHUNK_LEN;
	c = chunk_get(a->pool, alone ? whole : ARENA_CHUNK_LEN);
	if (!c)
		return NULL;
	if (alone && a->chunks) {
		/* Behind the newest, whose rest is still good for small pieces. */
		c->next = a->chunks->next;
		a->chunks->next = c;
		return c->bytes;
	}
	c->next = a->chunks;
	a->chunks = c;
	a->p = c->bytes + n;
	a->end = (char *)c + c->len;
	return c->bytes;
}

void *arena_rest(struct arena *a, u32 min, u32 *len)
{
	char *p = arena_alloc(a, min);

	if (!p)
		return NULL;
	if (p + ((min + 15) & ~15u) == a->p)
		a->p = a->end;
	*len = a->p == a->end ? (u32)(a->end - p) : min;
	return p;
}

int arena_copy(struct arena *a, struct view v, struct view *out)
{
	char *p = arena_alloc(a, v.len);

	if (!p)
		return -ENOMEM;
	if (v.len)
		memcpy(p, v.p, v.len);
	*out = (struct view){ p, v.len };
	return 0;
}

void arena_reset(struct arena *a)
{
	struct arena_chunk *c;

	while ((c = a->chunks)) {
		a->chunks = c->next;
		chunk_put(a->pool, c);
	}
	a->p = a->end = NULL;
}
