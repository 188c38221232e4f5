/* SPDX-License-Identifier: MIT */
/*
 * Compresses files for the cache, on a thread of its own that starts when it
 * is first needed. Whoever asks first gets the file as it is; the coding is
 * there for those who come later. All calls are the I/O thread's.
 */
#ifndef HYPERION_SERVER_PACKER_H
#define HYPERION_SERVER_PACKER_H

#include <pthread.h>

#include "server/base.h"
#include "server/fcache.h"
#include "server/list.h"

#define PACKER_CODINGS (1u << CODING_GZIP | 1u << CODING_BR)

struct packer {
	struct fcache *cache;
	void (*wake)(void *arg); /* from the thread: something is done */
	void *arg;
	bool started;
	u32 nr_open;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t more;
	struct list waiting, done;
	bool stop;
	u32 nr_done; /* __atomic: a look without the lock */
};

/* Makes the cache ask for gzip and brotli. */
void packer_init(struct packer *p, struct fcache *cache, void (*wake)(void *arg), void *arg);

/* Waits for what is being compressed. Before fcache_fini(). */
void packer_fini(struct packer *p);

void packer_reap_slow(struct packer *p);

/* What is done goes into the cache. */
static inline void packer_reap(struct packer *p)
{
	/* Pairs with the thread's release. */
	if (unlikely(__atomic_load_n(&p->nr_done, __ATOMIC_ACQUIRE)))
		packer_reap_slow(p);
}

#endif
