/* SPDX-License-Identifier: MIT */
/*
 * A folder served under a prefix: which answer a request gets (RFC 9110
 * sections 12-14), decided while its head is at hand, and put into the queue
 * when its turn has come.
 */
#ifndef HYPERION_SERVER_FTREE_H
#define HYPERION_SERVER_FTREE_H

#include "server/arena.h"
#include "server/base.h"
#include "server/date.h"
#include "server/fcache.h"
#include "server/freply.h"
#include "server/msg.h"

struct ftree {
	struct fcache *cache;
	struct froot *root;
	bool fallthrough; /* what is not a file here is the app's */
	bool internal; /* only the app may name its files */
};

/* The tree takes over a reference to the root, also when memory is out: NULL. */
struct ftree *ftree_new(struct fcache *cache, struct froot *root, bool fallthrough) __must_check;
void ftree_free(struct ftree *t);

/*
 * @path: of the request, undecoded; @below: what of it follows the prefix.
 * Fills @out; its status 0 means that the request is the app's. Small memory
 * comes from @arena. 0 or -ENOMEM.
 */
int ftree_decide(const struct ftree *t, const struct msg *m, struct view path, struct view below,
		 u64 now_ns, const struct date *date, struct arena *arena,
		 struct freply *out) __must_check;

/* The same for a path that is decoded already: of a file below the tree's root. */
int ftree_decide_file(const struct ftree *t, const struct msg *m, struct view below, u64 now_ns,
		      const struct date *date, struct arena *arena, struct freply *out) __must_check;

#endif
