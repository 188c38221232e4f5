/* SPDX-License-Identifier: MIT */
/*
 * Files that the app names instead of sending them: by the path of a body
 * (to_path), by X-Sendfile or by X-Accel-Redirect. The I/O thread looks them up
 * in its cache.
 */
#ifndef HYPERION_SERVER_NAMED_H
#define HYPERION_SERVER_NAMED_H

#include "server/base.h"
#include "server/fcache.h"
#include "server/ftree.h"
#include "server/stamp.h"

struct req;

#define MAX_SENDFILE_ROOTS 8u

enum named_kind {
	NAMED_FILE, /* an absolute path; the head is the app's */
	NAMED_SENDFILE, /* an absolute path, below one of the roots */
	NAMED_URI, /* a path that a tree answers */
};

/* The data of an answer with ANSWER_NAMED; behind a head, so at any address. */
struct named {
	enum named_kind kind;
	struct stamp stamp; /* NAMED_FILE: the version that was there just now */
	size_t len;
	char path[];
} __attribute__((packed));

/* Of a worker. */
struct named_roots {
	struct fcache *files; /* NULL: nothing can be named */
	struct froot *any; /* absolute paths */
	u32 nr_sendfile;
	struct {
		struct froot *root; /* held */
		char *dir; /* as it was said, without a slash at its end */
		char *real; /* resolved */
	} sendfile[MAX_SENDFILE_ROOTS];
};

/*
 * NAMED_FILE: the entry goes to r->file, held. -ENOENT: it has gone meanwhile;
 * or as fcache_find().
 */
int named_find(struct req *r, const struct named *n) __must_check;

/*
 * The others: decides what @r gets of it, into r->file, as a tree would. @status: of
 * the app; only 200 is subject to conditions and ranges. 0 or -ENOMEM.
 */
int named_decide(struct req *r, const struct named *n, u16 status) __must_check;

#endif
