/* SPDX-License-Identifier: MIT */
/*
 * Objects of one size that never move. Freed objects are reused, last freed
 * first; memory goes back only with slab_fini(). One thread.
 */
#ifndef HYPERION_SERVER_SLAB_H
#define HYPERION_SERVER_SLAB_H

#include "server/base.h"

struct slab {
	size_t object_len;
	u32 per_chunk;
	u32 nr_used;
	void *free;
	void *chunks;
};

/* @object_len: at least a pointer; @per_chunk objects are allocated at a time. */
void slab_init(struct slab *s, size_t object_len, u32 per_chunk);
void slab_fini(struct slab *s);

int slab_grow(struct slab *s) __must_check;

/* Not zeroed; NULL when memory is out. */
static inline __must_check void *slab_alloc(struct slab *s)
{
	void *p;

	if (unlikely(!s->free) && slab_grow(s))
		return NULL;
	p = s->free;
	memcpy(&s->free, p, sizeof(void *));
	s->nr_used++;
	return p;
}

static inline void slab_free(struct slab *s, void *p)
{
	memcpy(p, &s->free, sizeof(void *));
	s->free = p;
	s->nr_used--;
}

#endif
