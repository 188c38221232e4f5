/* SPDX-License-Identifier: MIT */
/*
 * Bump allocation for what lives as long as one request. An arena owns its
 * chunks until arena_reset() gives them back to the pool; the pool belongs to
 * one thread and keeps a bounded number of free chunks.
 */
#ifndef HYPERION_SERVER_ARENA_H
#define HYPERION_SERVER_ARENA_H

#include "server/base.h"

#define ARENA_CHUNK_LEN 4096u /* with its header; larger pieces get a chunk of their own */
#define ARENA_POOL_MAX 1024u /* free chunks kept: 4 MiB */

struct arena_chunk;

struct arena_pool {
	struct arena_chunk *free;
	u32 nr_free;
};

struct arena {
	struct arena_pool *pool;
	struct arena_chunk *chunks; /* newest first */
	char *p, *end;
};

void arena_pool_init(struct arena_pool *pool);
void arena_pool_fini(struct arena_pool *pool);

/* Costs nothing until the first allocation. */
static inline void arena_init(struct arena *a, struct arena_pool *pool)
{
	a->pool = pool;
	a->chunks = NULL;
	a->p = a->end = NULL;
}

void *arena_alloc_slow(struct arena *a, size_t len) __must_check;

/* @len bytes aligned for any type, or NULL. Not NULL for 0 bytes either. */
static inline __must_check void *arena_alloc(struct arena *a, size_t len)
{
	size_t n = (len + 15) & ~(size_t)15;
	char *p = a->p;

	/* One less than each: 0 is for the slow path, and so is a length that wrapped to it. */
	if (unlikely(n - 1 >= (size_t)(a->end - p)))
		return arena_alloc_slow(a, len);
	a->p = p + n;
	return p;
}

/*
 * All that is left of the current chunk, at least @min bytes (of a fresh chunk
 * if need be); NULL when memory is out. @len says how much it is.
 */
void *arena_rest(struct arena *a, u32 min, u32 *len) __must_check;

/* A copy of @v in the arena; 0 or -ENOMEM. */
int arena_copy(struct arena *a, struct view v, struct view *out) __must_check;

void arena_reset(struct arena *a);

#endif
