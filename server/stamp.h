/* SPDX-License-Identifier: MIT */
/* By what one version of a file is told from the next. */
#ifndef HYPERION_SERVER_STAMP_H
#define HYPERION_SERVER_STAMP_H

#include <sys/stat.h>

#include "server/base.h"

struct stamp {
	u64 dev, ino, size;
	u64 mtime_ns, ctime_ns; /* since 1970 */
};

static inline struct stamp stamp_of(const struct stat *st)
{
	return (struct stamp){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.size = (u64)st->st_size,
		.mtime_ns = (u64)st->st_mtim.tv_sec * NSEC_PER_SEC + (u64)st->st_mtim.tv_nsec,
		.ctime_ns = (u64)st->st_ctim.tv_sec * NSEC_PER_SEC + (u64)st->st_ctim.tv_nsec,
	};
}

static inline bool stamp_eq(const struct stamp *a, const struct stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

#endif
