/* SPDX-License-Identifier: MIT */
#include "server/fcache.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "server/fail.h"
#include "server/fpath.h"
#include "server/mime.h"

#define NR_BUCKETS 16384u
#define TOUCH_NS (100 * NSEC_PER_MSEC) /* how exact "longest unused" is */
#define SETTLE_S 2u /* a file's times are believed when they are this old */
#define SETTLE_NS (SETTLE_S * NSEC_PER_SEC)
#define YOUNG_LOOK_NS (500 * NSEC_PER_MSEC) /* until then it is looked at this often */
#define PACK_MIN KIB /* bytes: less is not worth a coding */
#define PACK_MAX (8 * MIB)
#define MAX_TRIES 4 /* to read a file that changes while it is read */
#define INDEX "index.html"
#define NAME_MAX_LEN (FPATH_MAX + sizeof(INDEX) + 8)

int froot_new(struct froot **out, const char *dir, bool immutable)
{
	struct froot *root = mem_alloc(sizeof(*root));
	int fd;

	if (!root)
		return -ENOMEM;
	fd = fpath_open_root(dir);
	if (fd < 0) {
		free(root);
		return fd;
	}
	*root = (struct froot){ .refs = 1, .fd = fd, .immutable = immutable };
	*out = root;
	return 0;
}

void froot_put(struct froot *root)
{
	if (--root->refs)
		return;
	close(root->fd);
	free(root->lines);
	free(root);
}

int fcache_init(struct fcache *c, const struct fcache_limits *limits)
{
	*c = (struct fcache){ .limits = *limits };
	list_init(&c->lru);
	list_init(&c->lru_files);
	c->buckets = mem_zalloc(NR_BUCKETS * sizeof(*c->buckets));
	return c->buckets ? 0 : -ENOMEM;
}

void fcache_fini(struct fcache *c)
{
	if (!c->buckets)
		return;
	fcache_clear(c);
	free(c->buckets);
	c->buckets = NULL;
}

static u32 hash_of(const struct froot *root, struct view path)
{
	u32 h = 2166136261u ^ (u32)root->fd;

	for (size_t i = 0; i < path.len; i++)
		h = (h ^ (u8)path.p[i]) * 16777619u;
	return h ^ h >> 15;
}

static void free_node(struct fnode *n)
{
	for (int c = 0; c < NR_CODINGS; c++)
		if (n->entries[c])
			fentry_put(n->entries[c]);
	froot_put(n->root);
	free(n);
}

static void link_node(struct fcache *c, struct fnode *n)
{
	struct fnode **bucket = &c->buckets[n->hash % NR_BUCKETS];

	n->next = *bucket;
	*bucket = n;
	list_add_tail(&n->lru, &c->lru);
	if (n->nr_files)
		list_add_tail(&n->lru_files, &c->lru_files);
	c->bytes += n->cost;
	c->nr_files += n->nr_files;
	c->nr_nodes++;
}

void fcache_forget(struct fcache *c, struct fnode *n)
{
	struct fnode **p = &c->buckets[n->hash % NR_BUCKETS];

	while (*p != n)
		p = &(*p)->next;
	*p = n->next;
	list_del(&n->lru);
	list_del(&n->lru_files);
	c->bytes -= n->cost;
	c->nr_files -= n->nr_files;
	c->nr_nodes--;
	free_node(n);
}

void fcache_clear(struct fcache *c)
{
	while (!list_empty(&c->lru))
		fcache_forget(c, list_first(&c->lru, struct fnode, lru));
}

static struct fnode *lookup(const struct fcache *c, const struct froot *root, struct view path,
			    u32 hash)
{
	struct fnode *n = c->buckets[hash % NR_BUCKETS];

	while (n && (n->hash != hash || n->root != root || n->path_len != path.len ||
		     memcmp(n->path, path.p, path.len) != 0))
		n = n->next;
	return n;
}

struct fnode *fcache_peek(const struct fcache *c, const struct froot *root, struct view path)
{
	return lookup(c, root, path, hash_of(root, path));
}

/* --- from the disk --- */

/* The file that a path means: relative, "index.html" behind a folder's slash. */
static void name_of(struct view path, enum coding coding, char out[NAME_MAX_LEN])
{
	bool folder = path.len && path.p[path.len - 1] == '/';

	snprintf(out, NAME_MAX_LEN, "%.*s%s%s", path.len ? (int)path.len - 1 : 0, path.p + 1,
		 folder ? INDEX : "", coding_suffixes[coding]);
	if (!out[0])
		memcpy(out, ".", 2); /* the root itself */
}

static bool is_folder(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A folder without its slash: worth a redirect if there is an index in it. */
static int find_index(struct fnode *n, struct view path)
{
	char with_slash[FPATH_MAX + 1], name[NAME_MAX_LEN];
	bool folder;
	int fd;

	memcpy(with_slash, path.p, path.len);
	with_slash[path.len] = '/';
	name_of((struct view){ with_slash, path.len + 1 }, CODING_IDENTITY, name);
	fd = fpath_open(n->root->fd, name);
	if (fd < 0)
		return fd;
	folder = is_folder(fd);
	close(fd);
	if (folder)
		return -ENOENT;
	n->redirect = true;
	return 0;
}

static int open_name(const struct froot *root, const char *name)
{
	return root->anywhere ? fpath_open_any(root->fd, name) : fpath_open(root->fd, name);
}

/* Files for each coding of @path; how many, or -errno. They end in @fds, -1 = none. */
static int open_codings(const struct froot *root, struct view path, int fds[NR_CODINGS])
{
	char name[NAME_MAX_LEN];
	int nr = 0;

	for (int c = 0; c < NR_CODINGS; c++) {
		name_of(path, (enum coding)c, name);
		fds[c] = c == CODING_IDENTITY || !root->plain ? open_name(root, name) : -1;
		if (c == CODING_IDENTITY && fds[c] < 0)
			return fds[c];
		if (c == CODING_IDENTITY && is_folder(fds[c])) {
			close(fds[c]);
			return -EISDIR;
		}
		if (fds[c] >= 0 && is_folder(fds[c])) {
			close(fds[c]);
			fds[c] = -1;
		}
		nr += fds[c] >= 0;
	}
	return nr;
}

/* @packs: what could be made of it besides. */
static int load_entries(struct fnode *n, struct view path, int fds[NR_CODINGS], u32 packs)
{
	bool vary = false;
	struct stat st;
	char name[NAME_MAX_LEN];
	const struct mime *mime;
	int err = 0;

	name_of(path, CODING_IDENTITY, name);
	mime = mime_of(view_of(name));
	n->packs = packs && mime->packs && fstat(fds[CODING_IDENTITY], &st) == 0 &&
		   st.st_size >= (off_t)PACK_MIN && st.st_size <= (off_t)PACK_MAX;
	for (int c = CODING_IDENTITY + 1; c < NR_CODINGS; c++)
		vary |= fds[c] >= 0;
	for (int c = 0; c < NR_CODINGS; c++) {
		struct fentry_params params = {
			.fd = fds[c],
			.type = mime->type,
			.lines = n->root->lines,
			.coding = (enum coding)c,
			.vary = vary || n->packs,
			.immutable = n->immutable,
		};

		if (fds[c] < 0)
			continue;
		if (err) {
			close(fds[c]);
			continue;
		}
		err = fentry_new(&params, &n->entries[c]);
		if (err)
			continue;
		n->codings |= 1u << c;
		n->cost += n->entries[c]->cost;
		n->nr_files += n->entries[c]->fd >= 0;
	}
	return err;
}

static int load(struct fnode *n, struct view path, u32 packs)
{
	int fds[NR_CODINGS] = { -1, -1, -1, -1 };
	int nr = open_codings(n->root, path, fds);

	if (nr == -EISDIR && n->root->plain)
		return -ENOENT;
	if (nr == -EISDIR)
		return path.len && path.p[path.len - 1] == '/' ? -ENOENT : find_index(n, path);
	return nr < 0 ? nr : load_entries(n, path, fds, packs);
}

/* Was one of its files written so shortly before? */
static bool is_young(const struct fnode *n, u64 second)
{
	for (int c = 0; c < NR_CODINGS; c++) {
		const struct fentry *e = n->entries[c];

		if (e && (e->stamp.ctime_ns / NSEC_PER_SEC + SETTLE_S > second ||
			  e->stamp.mtime_ns / NSEC_PER_SEC + SETTLE_S > second))
			return true;
	}
	return false;
}

static void look_later(const struct fcache *c, struct fnode *n, u64 now_ns)
{
	u64 wait_ns = c->limits.recheck_ns;

	if (n->young || n->changing_ns)
		wait_ns = min(wait_ns, YOUNG_LOOK_NS);
	else if (n->immutable)
		wait_ns = UINT64_MAX - now_ns;
	n->look_ns = now_ns + wait_ns;
}

static int new_node(const struct fcache *c, struct froot *root, struct view path, u32 hash,
		    struct fcache_now now, struct fnode **out)
{
	struct fnode *n;
	int err;

	if (path.len >= FPATH_MAX || (!root->plain && !fpath_allowed(path)))
		return -ENOENT;
	n = mem_zalloc(sizeof(*n) + path.len + 1);
	if (!n)
		return -ENOMEM;
	list_init(&n->lru);
	list_init(&n->lru_files);
	n->root = froot_get(root);
	n->hash = hash;
	n->immutable = root->immutable;
	n->used_ns = now.ns;
	n->cost = sizeof(*n) + path.len + 1;
	n->path_len = path.len;
	memcpy(n->path, path.p, path.len);
	err = load(n, path, root->plain ? 0 : c->packs);
	if (err) {
		free_node(n);
		return err;
	}
	n->young = is_young(n, now.second);
	look_later(c, n, now.ns);
	*out = n;
	return 0;
}

/* Room for @n: those unused for longest go. */
static void evict(struct fcache *c, const struct fnode *n)
{
	while (c->nr_files + n->nr_files > c->limits.max_files && !list_empty(&c->lru_files)) {
		fcache_forget(c, list_first(&c->lru_files, struct fnode, lru_files));
		c->stats.evicted++;
	}
	while (c->bytes + n->cost > c->limits.max_bytes && !list_empty(&c->lru)) {
		fcache_forget(c, list_first(&c->lru, struct fnode, lru));
		c->stats.evicted++;
	}
}

enum look { LOOK_SAME, LOOK_CHANGED, LOOK_BEING_WRITTEN };

/* One entry, and what its name leads to now; @e is NULL when there was no file. */
static enum look look_at(const struct fnode *n, const struct fentry *e, enum coding coding, u64 second)
{
	char name[NAME_MAX_LEN];
	struct stamp now;
	struct stat st;
	bool there;

	name_of((struct view){ n->path, n->path_len }, coding, name);
	there = fstatat(n->root->fd, name, &st, 0) == 0 && S_ISREG(st.st_mode);
	if (e && e->packed)
		e = NULL; /* there was no such file */
	if (!e || !there)
		return there == (e != NULL) ? LOOK_SAME : LOOK_CHANGED;
	now = stamp_of(&st);
	if (stamp_eq(&now, &e->stamp))
		return LOOK_SAME;
	/* By rename there is another inode, complete. And of a descriptor no old bytes are left. */
	if (now.dev == e->stamp.dev && now.ino == e->stamp.ino && e->fd < 0 &&
	    now.mtime_ns / NSEC_PER_SEC + SETTLE_S > second)
		return LOOK_BEING_WRITTEN;
	return LOOK_CHANGED;
}

/* Is what it came from still what its names lead to? */
static enum look look_again(const struct fnode *n, u64 second)
{
	enum look look = LOOK_SAME;

	if (n->redirect)
		return LOOK_CHANGED; /* cheap to find again */
	for (int c = 0; c < (n->root->plain ? 1 : NR_CODINGS) && look != LOOK_CHANGED; c++)
		look = max(look, look_at(n, n->entries[c], (enum coding)c, second));
	return look;
}

/* Are the open ones still what they were? Else their heads lie. */
static bool are_files_current(const struct fnode *n)
{
	for (int c = 0; c < NR_CODINGS; c++) {
		const struct fentry *e = n->entries[c];
		struct stamp now;
		struct stat st;

		if (!e || e->fd < 0)
			continue;
		if (fstat(e->fd, &st))
			return false;
		now = stamp_of(&st);
		if (!stamp_eq(&now, &e->stamp))
			return false;
	}
	return true;
}

/* It is time to look at it again. true: it may be used on. */
static bool recheck(struct fcache *c, struct fnode *n, struct fcache_now now)
{
	enum look look = look_again(n, now.second);

	c->stats.rechecks++;
	if (look == LOOK_SAME && !n->young) {
		n->changing_ns = 0;
		look_later(c, n, now.ns);
		return true;
	}
	if (look == LOOK_BEING_WRITTEN && (!n->changing_ns || now.ns - n->changing_ns < SETTLE_NS)) {
		if (!n->changing_ns)
			n->changing_ns = now.ns;
		c->stats.kept++;
		look_later(c, n, now.ns);
		return true;
	}
	c->stats.changed++;
	return false;
}

static void touch(struct fcache *c, struct fnode *n, u64 now_ns)
{
	if (now_ns - n->used_ns < TOUCH_NS)
		return;
	n->used_ns = now_ns;
	list_del(&n->lru);
	list_add_tail(&n->lru, &c->lru);
	if (n->nr_files) {
		list_del(&n->lru_files);
		list_add_tail(&n->lru_files, &c->lru_files);
	}
}

static int find_anew(struct fcache *c, struct froot *root, struct view path, u32 hash,
		     struct fcache_now now, struct fnode **out)
{
	int err, tries = 0;

	c->stats.misses++;
	do
		err = new_node(c, root, path, hash, now, out);
	while (err == -EAGAIN && ++tries < MAX_TRIES);
	if (err)
		return err;
	evict(c, *out);
	link_node(c, *out);
	return 0;
}

int fcache_find(struct fcache *c, struct froot *root, struct view path, struct fcache_now now,
		struct fnode **out)
{
	u32 hash = hash_of(root, path);
	struct fnode *n = lookup(c, root, path, hash);

	if (unlikely(!n))
		return find_anew(c, root, path, hash, now, out);
	if (unlikely(now.ns >= n->look_ns || (n->nr_files && !are_files_current(n))) &&
	    !recheck(c, n, now)) {
		bool immutable = n->immutable;
		int err;

		fcache_forget(c, n);
		err = find_anew(c, root, path, hash, now, out);
		if (!err && (*out)->immutable != immutable) {
			(*out)->immutable = immutable;
			look_later(c, *out, now.ns);
		}
		return err;
	}
	c->stats.hits++;
	touch(c, n, now.ns);
	*out = n;
	return 0;
}

void fcache_want(struct fcache *c, struct fnode *n, enum coding coding)
{
	if (c->want(c, n, coding))
		n->asked |= 1u << coding;
}

void fcache_add_packed(struct fcache *c, struct fnode *n, enum coding coding, const char *p,
		       size_t len)
{
	struct fentry_params params = {
		.lines = n->root->lines,
		.coding = coding,
		.vary = true,
		.immutable = n->immutable,
	};
	char name[NAME_MAX_LEN];
	struct fentry *e;

	name_of((struct view){ n->path, n->path_len }, CODING_IDENTITY, name);
	params.type = mime_of(view_of(name))->type;
	e = fentry_new_packed(n->entries[CODING_IDENTITY], &params, p, len);
	if (!e)
		return;
	n->entries[coding] = e;
	n->codings |= 1u << coding;
	n->cost += e->cost;
	c->bytes += e->cost;
	/* The others go first. */
	list_del(&n->lru);
	list_add_tail(&n->lru, &c->lru);
	while (c->bytes > c->limits.max_bytes && c->lru.next != &n->lru) {
		fcache_forget(c, list_first(&c->lru, struct fnode, lru));
		c->stats.evicted++;
	}
}

int fcache_find_version(struct fcache *c, struct froot *root, struct view path,
			const struct stamp *stamp, struct fcache_now now, struct fnode **out)
{
	u32 hash = hash_of(root, path);
	struct fnode *n = lookup(c, root, path, hash);

	if (likely(n && !n->young && n->entries[0] && stamp_eq(&n->entries[0]->stamp, stamp))) {
		c->stats.hits++;
		touch(c, n, now.ns);
		*out = n;
		return 0;
	}
	if (n)
		fcache_forget(c, n);
	return find_anew(c, root, path, hash, now, out);
}

void fcache_mark(struct fcache *c, struct fnode *n, bool immutable, u64 now_ns)
{
	n->immutable = immutable;
	if (immutable)
		look_later(c, n, now_ns);
	else
		n->look_ns = now_ns;
}

void fcache_set_recheck(struct fcache *c, u64 recheck_ns, u64 now_ns)
{
	struct list *pos;

	c->limits.recheck_ns = recheck_ns;
	for (pos = c->lru.next; pos != &c->lru; pos = pos->next) {
		struct fnode *n = list_entry(pos, struct fnode, lru);

		if (n->young || n->changing_ns || !n->immutable)
			n->look_ns = min(n->look_ns, now_ns + recheck_ns);
	}
}
