/* SPDX-License-Identifier: MIT */
/*
 * Files below roots, by their paths: what was found there the last time, kept
 * within bounds, looked at again now and then. Nothing is kept of what does
 * not exist. Belongs to one I/O thread; everything here runs on it.
 *
 * A file's times are those of the last tick of a clock: what was read within
 * it may be half of one version and half of the next. So a file that was
 * written within the last two seconds is read again when it has settled; and
 * one that is seen to be written in place is kept as it was, for as long.
 */
#ifndef HYPERION_SERVER_FCACHE_H
#define HYPERION_SERVER_FCACHE_H

#include "server/base.h"
#include "server/coding.h"
#include "server/fentry.h"
#include "server/list.h"

struct fcache_limits {
	u64 max_bytes; /* of memory, all told */
	u32 max_files; /* open descriptors */
	u64 recheck_ns; /* how long an entry is believed */
};

#define FCACHE_LIMITS_DEFAULT                                                                      \
	((struct fcache_limits){                                                                   \
		.max_bytes = 64 * MIB,                                                             \
		.max_files = 512,                                                                  \
		.recheck_ns = 5 * NSEC_PER_SEC,                                                    \
	})

/* A folder that is served; counted: trees and nodes hold it. */
struct froot {
	u32 refs;
	int fd;
	char *lines; /* for the head of each file, owned; NULL = none */
	bool immutable; /* its files never change */
	bool plain; /* paths are the app's: any name, as it is, without siblings in other codings */
	bool anywhere; /* symbolic links may lead out */
};

/* 0, or -errno of opening @dir. */
int froot_new(struct froot **out, const char *dir, bool immutable) __must_check;
void froot_put(struct froot *root);

static inline struct froot *froot_get(struct froot *root)
{
	root->refs++;
	return root;
}

/* What a path leads to. */
struct fnode {
	struct fnode *next; /* in its bucket */
	struct list lru, lru_files; /* the second if it has a descriptor */
	struct froot *root;
	u32 hash;
	bool immutable; /* not looked at again, once it has settled */
	bool young; /* written so shortly before that its times may not tell versions apart */
	bool redirect; /* a folder with an index, asked for without the slash: no entries */
	u64 look_ns, used_ns; /* when it is looked at again; when it was asked for */
	u64 changing_ns; /* since when it is seen being written; 0 = it is not */
	bool packs; /* compressing it would pay */
	u32 codings; /* 1 << enum coding; which entries there are */
	u32 asked; /* ... and which were asked of the packer */
	u32 nr_files;
	size_t cost; /* bytes, entries included */
	struct fentry *entries[NR_CODINGS];
	size_t path_len;
	char path[]; /* decoded, below the root; NUL-terminated */
};

struct fcache_stats {
	u64 hits, misses, rechecks, changed, kept, evicted;
};

struct packer;

struct fcache {
	/*
	 * Who compresses: told once for each node and coding (false: ask again).
	 * @packs: 1 << enum coding that it can make, 0 = nobody compresses.
	 */
	bool (*want)(struct fcache *c, struct fnode *n, enum coding coding);
	struct packer *packer;
	u32 packs;
	struct fcache_limits limits;
	struct fnode **buckets;
	struct list lru, lru_files; /* the longest unused first */
	u64 bytes;
	u32 nr_nodes, nr_files;
	struct fcache_stats stats;
};

int fcache_init(struct fcache *c, const struct fcache_limits *limits) __must_check;
void fcache_fini(struct fcache *c);

/* The time of a call. */
struct fcache_now {
	u64 ns; /* CLOCK_MONOTONIC */
	u64 second; /* since 1970 */
};

/*
 * What @path (decoded, with its leading slash; a folder means its index.html)
 * leads to below @root. The node stays until the next call here; its entries
 * stay while they are held. -ENOENT: nothing that may be served; -EAGAIN: it
 * is being written just now; -EMFILE, -ENFILE, -ENOMEM, -EIO.
 */
int fcache_find(struct fcache *c, struct froot *root, struct view path, struct fcache_now now,
		struct fnode **out) __must_check;

/*
 * The same for a plain root, when somebody has just seen that the file is at
 * @stamp: another version is not believed, whatever its age.
 */
int fcache_find_version(struct fcache *c, struct froot *root, struct view path,
			const struct stamp *stamp, struct fcache_now now,
			struct fnode **out) __must_check;

/* It is not looked at again, or it is, from the next time on. */
void fcache_mark(struct fcache *c, struct fnode *node, bool immutable, u64 now_ns);

/* How long entries are believed, those that are there included. */
void fcache_set_recheck(struct fcache *c, u64 recheck_ns, u64 now_ns);

/* Is it there already? NULL: no. Nothing is looked at on the disk. */
struct fnode *fcache_peek(const struct fcache *c, const struct froot *root, struct view path);

/* Who asks would rather have @coding, which is not there: perhaps later. */
void fcache_want(struct fcache *c, struct fnode *n, enum coding coding);

/* Which codings of it there are or could be. */
static inline u32 fcache_codings(const struct fcache *c, const struct fnode *n)
{
	return n->packs && !n->young ? n->codings | (c->packs & ~n->asked) : n->codings;
}

/* Takes in what was made of the identity entry; the bytes stay the caller's. */
void fcache_add_packed(struct fcache *c, struct fnode *n, enum coding coding, const char *p,
		       size_t len);

/* Forgets one node, or all. Entries that are held stay until they are put. */
void fcache_forget(struct fcache *c, struct fnode *node);
void fcache_clear(struct fcache *c);

#endif
