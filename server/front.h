/* SPDX-License-Identifier: MIT */
/*
 * What one process answers without asking the app, or before: its routes and
 * its file cache. Built in the mold, so that workers share its memory and the
 * app's own calls find it; from front_open() on it belongs to the I/O thread,
 * and every other thread's calls become orders that this one carries out
 * between two batches.
 */
#ifndef HYPERION_SERVER_FRONT_H
#define HYPERION_SERVER_FRONT_H

#include <pthread.h>

#include "server/base.h"
#include "server/fcache.h"
#include "server/handler.h"
#include "server/http.h"
#include "server/msg.h"
#include "server/named.h"
#include "server/route.h"

#define FRONT_WAIT_MS 5000u /* for an order to be carried out */
#define MAX_FRONT_DIRS 64u

struct order;

/* The folder of a tree: what lies below it is cached there. */
struct front_dir {
	struct froot *root; /* held */
	char *path; /* resolved, without a slash at its end */
};

struct front {
	struct route_table *routes;
	struct fcache files;
	struct named_roots named; /* what the app may name */
	struct front_dir dirs[MAX_FRONT_DIRS];
	u32 nr_dirs;
	struct http *http; /* of the worker, once it is open */

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t carried_out;
	struct order *orders, **orders_end;
	u32 nr_orders; /* __atomic: the I/O thread looks without the lock */
	bool shared; /* others may not touch the above any more; set before there is another thread */
	bool open, closed;
	pthread_t io_thread; /* if open */
	void (*wake)(void *arg);
	void *wake_arg;
};

int front_init(struct front *f) __must_check;
void front_fini(struct front *f);

struct front_tree {
	const char *prefix, *dir;
	const char *lines; /* header lines for each file, at most FENTRY_LINES_MAX; NULL = none */
	bool immutable; /* its files never change */
	bool internal; /* only the app may name them (X-Accel-Redirect) */
	bool fallthrough; /* what is no file there is the app's */
};

/* While nothing is shared. 0 or -errno of opening the folder, -ENOSPC, -ENOMEM. */
int front_add_tree(struct front *f, const struct front_tree *tree) __must_check;

/* The app may name files below @dir by X-Sendfile. As above. */
int front_add_sendfile_root(struct front *f, const char *dir) __must_check;

/* --- the worker --- */

/* From here on calls of other threads wait for the I/O thread. Before it is started. */
void front_share(struct front *f);

/* The I/O thread: it carries out orders, from now on until front_close(). @wake: any thread. */
void front_open(struct front *f, struct http *http, void (*wake)(void *arg), void *arg);
void front_carry_out(struct front *f);
void front_close(struct front *f);

/* Between two batches: is there an order? */
static inline bool front_has_orders(const struct front *f)
{
	/* Relaxed: who gave it wakes the loop afterwards. */
	return unlikely(__atomic_load_n(&f->nr_orders, __ATOMIC_RELAXED));
}

/*
 * --- any thread; all but the I/O thread wait for it, at most FRONT_WAIT_MS ---
 *
 * What has returned is in force for every request that comes later. -ETIMEDOUT:
 * it still waits, and will be; -ESHUTDOWN: the worker is at its end.
 */

/* Takes the handler over. As route_add(). */
int front_route(struct front *f, enum method method, struct view path,
		struct handler *handler) __must_check;

/* What there is of a file in the cache. */
enum front_look { FRONT_MISSING, FRONT_OK, FRONT_STALE /* it was; it has been read again */ };

/* @path: absolute. enum front_look, or -errno as above. */
int front_look(struct front *f, struct view path) __must_check;

/* Into the cache, unless that is full: -ENOSPC. @bytes: of the file. -ENOENT: there is none. */
int front_cache(struct front *f, struct view path, bool immutable, u64 *bytes) __must_check;

/* It is not looked at again, or it is. 1; 0: it is not in the cache. */
int front_mark(struct front *f, struct view path, bool immutable) __must_check;

int front_clear(struct front *f) __must_check;
int front_size(struct front *f, u64 *nr_files) __must_check;
/* @ns: UINT64_MAX only asks. What it is then. */
int front_recheck(struct front *f, u64 *ns) __must_check;

/* --- front_preload.c --- */

struct preload {
	u32 nr_files, nr_left_out; /* the second: the cache is full */
	u64 bytes, ns;
};

/*
 * Every regular file below @dir into the cache; symbolic links are not followed.
 * @progress is called once a second, may be NULL. 0, -errno of opening @dir, or
 * as above.
 */
int front_preload(struct front *f, const char *dir, bool immutable,
		  void (*progress)(const char *dir, const struct preload *p),
		  struct preload *out) __must_check;

/* The same with its lines in the log; a folder that is not there is a warning. */
int front_preload_logged(struct front *f, const char *dir, bool immutable, struct preload *out);

#endif
