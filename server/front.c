/* SPDX-License-Identifier: MIT */
#include "server/front.h"

#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "server/clock.h"
#include "server/fail.h"
#include "server/fpath.h"
#include "server/ftree.h"
#include "server/packer.h"

enum order_kind {
	ORDER_ROUTE,
	ORDER_LOOK,
	ORDER_CACHE,
	ORDER_MARK,
	ORDER_CLEAR,
	ORDER_SIZE,
	ORDER_RECHECK,
};

/* What one call asks for. Heap: its caller may give up before it is carried out. */
struct order {
	struct order *next;
	enum order_kind kind;
	u32 refs; /* under the lock */
	bool done;
	int result;
	enum method method;
	struct handler *handler; /* ORDER_ROUTE: owned until it is carried out */
	bool immutable;
	u64 number; /* in and out */
	size_t path_len;
	char path[];
};

/* Under the lock. */
static void order_put(struct order *o)
{
	if (--o->refs)
		return;
	handler_put(o->handler);
	free(o);
}

static struct fcache_now now(void)
{
	return (struct fcache_now){
		.ns = monotonic_ns(),
		.second = clock_ns(CLOCK_REALTIME) / NSEC_PER_SEC,
	};
}

/* --- building --- */

int front_init(struct front *f)
{
	struct fcache_limits limits = FCACHE_LIMITS_DEFAULT;
	pthread_condattr_t attr;
	int err;

	*f = (struct front){ .orders_end = &f->orders };
	err = fcache_init(&f->files, &limits);
	if (err)
		return err;
	/* What is read before there is a packer is to be its, too. */
	f->files.packs = PACKER_CODINGS;
	f->routes = route_table_new();
	err = f->routes ? froot_new(&f->named.any, "/", false) : -ENOMEM;
	if (err) {
		route_table_put(f->routes);
		fcache_fini(&f->files);
		return err;
	}
	f->named.any->plain = f->named.any->anywhere = true;
	f->named.files = &f->files;
	pthread_mutex_init(&f->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->carried_out, &attr);
	pthread_condattr_destroy(&attr);
	return 0;
}

void front_fini(struct front *f)
{
	struct order *next;

	for (struct order *o = f->orders; o; o = next) {
		next = o->next;
		order_put(o);
	}
	route_table_put(f->routes);
	fcache_fini(&f->files);
	for (u32 i = 0; i < f->nr_dirs; i++) {
		froot_put(f->dirs[i].root);
		free(f->dirs[i].path);
	}
	for (u32 i = 0; i < f->named.nr_sendfile; i++) {
		froot_put(f->named.sendfile[i].root);
		free(f->named.sendfile[i].dir);
		free(f->named.sendfile[i].real);
	}
	froot_put(f->named.any);
	pthread_cond_destroy(&f->carried_out);
	pthread_mutex_destroy(&f->lock);
}

/* Takes the handler over; NULL: memory is out. In place as long as nobody else reads the table. */
static int set_route(struct front *f, enum method method, struct view path, bool tree,
		     struct handler *handler)
{
	struct route_table *t;
	int err;

	if (!handler)
		return -ENOMEM;
	t = f->http ? route_table_copy(f->routes) : route_table_get(f->routes);
	if (!t) {
		handler_put(handler);
		return -ENOMEM;
	}
	err = tree ? route_add_tree(t, path, handler) : route_add(t, method, path, handler);
	if (err) {
		route_table_put(t);
		return err;
	}
	route_table_put(f->routes);
	f->routes = t;
	if (f->http)
		http_set_routes(f->http, t);
	return 0;
}

static int add_dir(struct front *f, const char *dir, struct froot *root)
{
	struct front_dir *d = &f->dirs[f->nr_dirs];

	if (f->nr_dirs == MAX_FRONT_DIRS)
		return -ENOSPC;
	d->path = realpath(dir, NULL);
	if (!d->path)
		return -errno;
	d->root = froot_get(root);
	f->nr_dirs++;
	return 0;
}

int front_add_tree(struct front *f, const struct front_tree *tree)
{
	struct ftree *t;
	struct froot *root;
	int err = froot_new(&root, tree->dir, tree->immutable);

	if (err)
		return err;
	if (tree->lines && strlen(tree->lines) <= FENTRY_LINES_MAX)
		root->lines = strdup(tree->lines);
	err = add_dir(f, tree->dir, root);
	t = ftree_new(&f->files, root, tree->fallthrough);
	if (!t || err) {
		ftree_free(t);
		return err ? err : -ENOMEM;
	}
	t->internal = tree->internal;
	return set_route(f, METHOD_GET, view_of(tree->prefix), true, handler_tree(t));
}

/* Without slashes at its end. */
static char *trimmed(const char *dir)
{
	size_t len = strlen(dir);
	char *copy;

	while (len && dir[len - 1] == '/')
		len--;
	copy = mem_zalloc(len + 1);
	if (copy)
		memcpy(copy, dir, len);
	return copy;
}

int front_add_sendfile_root(struct front *f, const char *dir)
{
	u32 i = f->named.nr_sendfile;
	struct froot *root;
	int err;

	if (i == MAX_SENDFILE_ROOTS)
		return -ENOSPC;
	err = froot_new(&root, dir, false);
	if (err)
		return err;
	root->plain = true;
	f->named.sendfile[i].root = root;
	f->named.sendfile[i].dir = trimmed(dir);
	f->named.sendfile[i].real = realpath(dir, NULL);
	f->named.nr_sendfile++;
	return f->named.sendfile[i].dir && f->named.sendfile[i].real ? 0 : -ENOMEM;
}

/* --- where a file is cached --- */

struct place {
	struct froot *root;
	struct view path; /* below it, with a slash */
};

/* The tree with the longest folder that it is in; none: by its absolute path. */
static struct place place_of(const struct front *f, struct view path, char real[PATH_MAX])
{
	struct place best = { f->named.any, path };
	char text[PATH_MAX];
	size_t best_len = 0;

	if (path.len >= sizeof(text))
		return best;
	memcpy(text, path.p, path.len);
	text[path.len] = '\0';
	if (!realpath(text, real))
		return best;
	for (u32 i = 0; i < f->nr_dirs; i++) {
		size_t len = strlen(f->dirs[i].path);

		if (strncmp(real, f->dirs[i].path, len) != 0 || real[len] != '/' ||
		    (best.root != f->named.any && len < best_len))
			continue;
		best = (struct place){ f->dirs[i].root, view_of(real + len) };
		best_len = len;
	}
	return best;
}

static u64 bytes_of(const struct fnode *n)
{
	return n->entries[CODING_IDENTITY] ? n->entries[CODING_IDENTITY]->body_len : 0;
}

static bool same_version(const struct fnode *n, const struct stamp *stamp)
{
	return n->entries[CODING_IDENTITY] && stamp_eq(&n->entries[CODING_IDENTITY]->stamp, stamp);
}

static int look(struct front *f, struct view path)
{
	char real[PATH_MAX];
	struct place at = place_of(f, path, real);
	struct fnode *n = fcache_peek(&f->files, at.root, at.path);
	struct stamp before;

	if (!n || n->redirect || !n->entries[CODING_IDENTITY])
		return FRONT_MISSING;
	before = n->entries[CODING_IDENTITY]->stamp;
	if (fcache_find(&f->files, at.root, at.path, now(), &n))
		return FRONT_MISSING;
	return same_version(n, &before) ? FRONT_OK : FRONT_STALE;
}

/* Others are not thrown out for what nobody may ask for. */
static bool is_full(const struct front *f, u64 bytes)
{
	const struct fcache *c = &f->files;

	if (bytes > FENTRY_SMALL)
		return c->nr_files >= c->limits.max_files;
	return c->bytes + bytes + 4 * KIB > c->limits.max_bytes;
}

static int cache(struct front *f, struct view path, bool immutable, u64 *bytes)
{
	char real[PATH_MAX];
	struct place at = place_of(f, path, real);
	struct fnode *n = fcache_peek(&f->files, at.root, at.path);
	int err;

	if (!n && is_full(f, *bytes))
		return -ENOSPC;
	if (n)
		fcache_forget(&f->files, n);
	err = fcache_find(&f->files, at.root, at.path, now(), &n);
	if (err)
		return err == -EAGAIN ? -ENOENT : err;
	if (n->redirect)
		return -ENOENT;
	if (immutable)
		fcache_mark(&f->files, n, true, now().ns);
	*bytes = bytes_of(n);
	return 0;
}

static int mark(struct front *f, struct view path, bool immutable)
{
	char real[PATH_MAX];
	struct place at = place_of(f, path, real);
	struct fnode *n = fcache_peek(&f->files, at.root, at.path);

	if (!n)
		return 0;
	fcache_mark(&f->files, n, immutable, now().ns);
	return 1;
}

/* --- orders --- */

static int carry_out(struct front *f, struct order *o)
{
	struct view path = { o->path, o->path_len };
	struct handler *handler = o->handler;

	o->handler = NULL;
	switch (o->kind) {
	case ORDER_ROUTE:
		return set_route(f, o->method, path, false, handler);
	case ORDER_LOOK:
		return look(f, path);
	case ORDER_CACHE:
		return cache(f, path, o->immutable, &o->number);
	case ORDER_MARK:
		return mark(f, path, o->immutable);
	case ORDER_CLEAR:
		fcache_clear(&f->files);
		return 0;
	case ORDER_SIZE:
		o->number = f->files.nr_nodes;
		return 0;
	case ORDER_RECHECK:
		if (o->number != UINT64_MAX)
			fcache_set_recheck(&f->files, o->number, now().ns);
		o->number = f->files.limits.recheck_ns;
		return 0;
	}
	return -EINVAL;
}

static struct order *order_new(enum order_kind kind, struct view path)
{
	struct order *o = mem_zalloc(sizeof(*o) + path.len);

	if (!o)
		return NULL;
	o->kind = kind;
	o->refs = 1;
	o->path_len = path.len;
	if (path.len)
		memcpy(o->path, path.p, path.len);
	return o;
}

static void add_order(struct front *f, struct order *o)
{
	o->refs++;
	*f->orders_end = o;
	f->orders_end = &o->next;
	__atomic_store_n(&f->nr_orders, f->nr_orders + 1, __ATOMIC_RELAXED);
}

static void wait_for(struct front *f, const struct order *o)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += FRONT_WAIT_MS / MSEC_PER_SEC;
	while (!o->done && !f->closed &&
	       pthread_cond_timedwait(&f->carried_out, &f->lock, &until) == 0)
		;
}

/* Takes the order over; its number goes to @number, which may be NULL. */
static int give(struct front *f, struct order *o, u64 *number)
{
	int result;

	pthread_mutex_lock(&f->lock);
	if (!f->shared || (f->open && pthread_equal(f->io_thread, pthread_self()))) {
		pthread_mutex_unlock(&f->lock);
		result = carry_out(f, o);
		pthread_mutex_lock(&f->lock);
	} else if (f->closed) {
		result = -ESHUTDOWN;
	} else {
		add_order(f, o);
		if (f->wake)
			f->wake(f->wake_arg);
		wait_for(f, o);
		result = o->done ? o->result : f->closed ? -ESHUTDOWN : -ETIMEDOUT;
	}
	if (number)
		*number = o->number;
	order_put(o);
	pthread_mutex_unlock(&f->lock);
	return result;
}

void front_share(struct front *f)
{
	pthread_mutex_lock(&f->lock);
	f->shared = true;
	pthread_mutex_unlock(&f->lock);
}

void front_open(struct front *f, struct http *http, void (*wake)(void *arg), void *arg)
{
	pthread_mutex_lock(&f->lock);
	f->http = http;
	f->io_thread = pthread_self();
	f->open = true;
	f->wake = wake;
	f->wake_arg = arg;
	pthread_mutex_unlock(&f->lock);
	front_carry_out(f);
}

/* Without the lock while it is at it: others only add to the list. */
void front_carry_out(struct front *f)
{
	struct order *o, *next;

	pthread_mutex_lock(&f->lock);
	o = f->orders;
	f->orders = NULL;
	f->orders_end = &f->orders;
	__atomic_store_n(&f->nr_orders, 0, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&f->lock);
	for (; o; o = next) {
		int result = carry_out(f, o);

		next = o->next;
		pthread_mutex_lock(&f->lock);
		o->result = result;
		o->done = true;
		order_put(o);
		pthread_cond_broadcast(&f->carried_out);
		pthread_mutex_unlock(&f->lock);
	}
}

void front_close(struct front *f)
{
	front_carry_out(f);
	pthread_mutex_lock(&f->lock);
	f->closed = true;
	f->wake = NULL;
	pthread_cond_broadcast(&f->carried_out);
	pthread_mutex_unlock(&f->lock);
}

/* --- calls --- */

int front_route(struct front *f, enum method method, struct view path, struct handler *handler)
{
	struct order *o = handler ? order_new(ORDER_ROUTE, path) : NULL;

	if (!o) {
		handler_put(handler);
		return -ENOMEM;
	}
	o->method = method;
	o->handler = handler;
	return give(f, o, NULL);
}

int front_look(struct front *f, struct view path)
{
	struct order *o = order_new(ORDER_LOOK, path);

	return o ? give(f, o, NULL) : -ENOMEM;
}

int front_cache(struct front *f, struct view path, bool immutable, u64 *bytes)
{
	struct order *o = order_new(ORDER_CACHE, path);

	if (!o)
		return -ENOMEM;
	o->immutable = immutable;
	o->number = *bytes;
	return give(f, o, bytes);
}

int front_mark(struct front *f, struct view path, bool immutable)
{
	struct order *o = order_new(ORDER_MARK, path);

	if (!o)
		return -ENOMEM;
	o->immutable = immutable;
	return give(f, o, NULL);
}

int front_clear(struct front *f)
{
	struct order *o = order_new(ORDER_CLEAR, VIEW(""));

	return o ? give(f, o, NULL) : -ENOMEM;
}

int front_size(struct front *f, u64 *nr_files)
{
	struct order *o = order_new(ORDER_SIZE, VIEW(""));

	return o ? give(f, o, nr_files) : -ENOMEM;
}

int front_recheck(struct front *f, u64 *ns)
{
	struct order *o = order_new(ORDER_RECHECK, VIEW(""));

	if (!o)
		return -ENOMEM;
	o->number = *ns;
	return give(f, o, ns);
}
