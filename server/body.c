/* SPDX-License-Identifier: MIT */
#include "server/body.h"

#include <stdlib.h>

#include "server/fail.h"

static int grow(struct body *b, u64 need, u64 hint)
{
	u64 cap = max(b->cap * 2, 4 * KIB);
	char *p;

	cap = max(cap, need);
	cap = max(cap, hint); /* at most BODY_MEMORY_MAX, else it would be a file */
	p = fail_alloc() ? NULL : realloc(b->p, cap);
	if (!p)
		return -ENOMEM;
	b->p = p;
	b->cap = cap;
	return 0;
}

/* What is in memory goes first into the file. */
static int begin_spill(struct body *b, const struct spill_ops *ops, void *priv,
		       void (*progress)(void *arg, int err), void *arg)
{
	int err;

	b->spill = ops->open(priv, progress, arg);
	if (!b->spill)
		return -errno;
	b->ops = ops;
	err = b->len ? ops->write(b->spill, b->p, b->len) : 0;
	free(b->p);
	b->p = NULL;
	b->cap = 0;
	return err;
}

int body_add(struct body *b, const char *p, size_t len, u64 hint, const struct spill_ops *ops,
	     void *priv, void (*progress)(void *arg, int err), void *arg)
{
	int err = 0;

	if (!len)
		return 0;
	if (!b->spill && max(b->len + len, hint) > BODY_MEMORY_MAX)
		err = begin_spill(b, ops, priv, progress, arg);
	if (!err && b->spill)
		err = b->ops->write(b->spill, p, len);
	else if (!err && b->len + len > b->cap)
		err = grow(b, b->len + len, hint);
	if (err)
		return err;
	if (!b->spill)
		memcpy(b->p + b->len, p, len);
	b->len += len;
	return 0;
}

void body_drop(struct body *b)
{
	free(b->p);
	if (b->spill)
		b->ops->close(b->spill);
	*b = (struct body){ 0 };
}
