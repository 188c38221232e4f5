/* SPDX-License-Identifier: MIT */
/*
 * A request's body on its way in: memory up to BODY_MEMORY_MAX, then an
 * unlinked file that somebody else writes (struct spill_ops), because writing
 * may block.
 */
#ifndef HYPERION_SERVER_BODY_H
#define HYPERION_SERVER_BODY_H

#include "server/base.h"

#define BODY_MEMORY_MAX (64 * KIB)
#define BODY_QUEUE_MAX (256 * KIB) /* bytes waiting to be written, then reading pauses */

struct spill;

/* The writer of body files; one per worker. */
struct spill_ops {
	/* NULL with errno. @progress is called whenever everything so far is written or failed. */
	struct spill *(*open)(void *priv, void (*progress)(void *arg, int err), void *arg);
	/* Copies. 0 or -errno. */
	int (*write)(struct spill *s, const char *p, size_t len);
	/* Bytes not yet written. */
	size_t (*queued)(const struct spill *s);
	/* Positioned anywhere; belongs to the spill. */
	int (*fd)(const struct spill *s);
	/* Any time; the file is gone with it. */
	void (*close)(struct spill *s);
};

struct body {
	char *p; /* NULL once it is in the file */
	u64 len; /* bytes so far, wherever they are */
	u64 cap;
	struct spill *spill;
	const struct spill_ops *ops;
};

/* @hint: how long the whole will be, 0 = unknown. 0 or -errno. */
int body_add(struct body *b, const char *p, size_t len, u64 hint, const struct spill_ops *ops,
	     void *priv, void (*progress)(void *arg, int err), void *arg) __must_check;

/* Is it still being written? */
static inline bool body_busy(const struct body *b)
{
	return b->spill && b->ops->queued(b->spill) > 0;
}

/* Should no more be read for now? */
static inline bool body_crowded(const struct body *b)
{
	return b->spill && b->ops->queued(b->spill) >= BODY_QUEUE_MAX;
}

/* -1 when it is in memory. */
static inline int body_fd(const struct body *b)
{
	return b->spill ? b->ops->fd(b->spill) : -1;
}

void body_drop(struct body *b);

#endif
