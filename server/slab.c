/* SPDX-License-Identifier: MIT */
#include "server/slab.h"

#include <stdlib.h>

#include "server/fail.h"

#define CHUNK_HEADER 64u /* a cache line, so that objects keep their alignment */

void slab_init(struct slab *s, size_t object_len, u32 per_chunk)
{
	*s = (struct slab){
		.object_len = (max(object_len, sizeof(void *)) + 15) & ~(size_t)15,
		.per_chunk = per_chunk,
	};
}

void slab_fini(struct slab *s)
{
	void *chunk;

	while ((chunk = s->chunks)) {
		memcpy(&s->chunks, chunk, sizeof(void *));
		free(chunk);
	}
	s->free = NULL;
	s->nr_used = 0;
}

int slab_grow(struct slab *s)
{
	size_t len = CHUNK_HEADER + s->object_len * s->per_chunk;
	char *chunk = fail_alloc() ? NULL : aligned_alloc(64, (len + 63) & ~(size_t)63);

	if (!chunk)
		return -ENOMEM;
	memcpy(chunk, &s->chunks, sizeof(void *));
	s->chunks = chunk;
	/* Backwards, so that they are handed out in the order of their addresses. */
	for (u32 i = s->per_chunk; i-- > 0;) {
		char *p = chunk + CHUNK_HEADER + s->object_len * i;

		memcpy(p, &s->free, sizeof(void *));
		s->free = p;
	}
	return 0;
}
