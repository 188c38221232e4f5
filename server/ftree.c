/* SPDX-License-Identifier: MIT */
#include "server/ftree.h"

#include "server/cond.h"
#include "server/fail.h"
#include "server/fields.h"
#include "server/fpath.h"
#include "server/range.h"

struct ftree *ftree_new(struct fcache *cache, struct froot *root, bool fallthrough)
{
	struct ftree *t = mem_alloc(sizeof(*t));

	if (!t) {
		froot_put(root);
		return NULL;
	}
	*t = (struct ftree){ .cache = cache, .root = root, .fallthrough = fallthrough };
	return t;
}

void ftree_free(struct ftree *t)
{
	if (!t)
		return;
	froot_put(t->root);
	free(t);
}

static int redirect(struct view path, const struct msg *m, struct arena *arena, struct freply *out)
{
	const char *query = m->target.p + m->target.len;
	size_t query_len;
	char *p;

	/* What follows the path in the target, a "?" first. */
	if (path.p >= m->target.p && path.p + path.len <= query)
		query = path.p + path.len;
	query_len = (size_t)(m->target.p + m->target.len - query);
	p = arena_alloc(arena, path.len + 1 + query_len);
	if (!p)
		return -ENOMEM;
	memcpy(p, path.p, path.len);
	p[path.len] = '/';
	memcpy(p + path.len + 1, query, query_len);
	out->location = (struct view){ p, path.len + 1 + query_len };
	out->status = 301;
	return 0;
}

/* Ranges are for GET only (RFC 9110 14.2). */
static int decide_range(const struct fields *f, const struct validator *v, u64 now,
			struct arena *arena, struct freply *out)
{
	const struct view *value = field_one(f, FIELD_RANGE);
	struct range ranges[MAX_RANGES], *copy;
	int nr;

	if (!value || out->entry->packed || !cond_allows_range(f, v, now))
		return 0;
	nr = range_parse(*value, out->entry->body_len, ranges);
	if (nr == -ERANGE)
		out->status = 416;
	if (nr <= 0)
		return 0;
	copy = arena_alloc(arena, (size_t)nr * sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, ranges, (size_t)nr * sizeof(*copy));
	out->ranges = copy;
	out->nr_ranges = (u16)nr;
	out->status = 206;
	return 0;
}

/* The best that there is. What would be better is asked for, for the next time. */
static int choose_coding(struct fcache *c, struct fnode *n, const struct fields *f)
{
	const struct lines *accept = &f->of[FIELD_ACCEPT_ENCODING];
	u32 codings = fcache_codings(c, n);
	int coding;

	if (!field_seen(f, FIELD_ACCEPT_ENCODING))
		return CODING_IDENTITY;
	coding = coding_choose(accept, codings);
	if (coding < 0 || n->codings & 1u << coding)
		return coding;
	fcache_want(c, n, (enum coding)coding);
	return coding_choose(accept, n->codings);
}

static int decide_file(struct fcache *c, struct fnode *n, const struct msg *m,
		       const struct fields *f, u64 now, struct arena *arena, struct freply *out)
{
	int coding = choose_coding(c, n, f);
	struct validator v;

	if (coding < 0) {
		out->status = 406;
		return 0;
	}
	out->entry = fentry_get(n->entries[coding]);
	out->status = 200;
	if (likely(!(f->seen & ~(1u << FIELD_ACCEPT_ENCODING))))
		return 0;
	v = (struct validator){ .etag = out->entry->etag, .modified = out->entry->modified };
	switch (cond_check(f, &v)) {
	case COND_FAILED:
		freply_drop(out);
		out->status = 412;
		return 0;
	case COND_NOT_MODIFIED:
		out->status = 304;
		return 0;
	case COND_GO:
		break;
	}
	if (m->method == METHOD_GET && field_seen(f, FIELD_RANGE))
		return decide_range(f, &v, now, arena, out);
	return 0;
}

static u16 status_of(int err)
{
	/* A file that is being written all the time, or no descriptors: later, perhaps. */
	return err == -ENOENT ? 404 : err == -EIO ? 500 : 503;
}

int ftree_decide(const struct ftree *t, const struct msg *m, struct view path, struct view below,
		 u64 now_ns, const struct date *date, struct arena *arena, struct freply *out)
{
	char room[FPATH_MAX];
	struct fields fields;
	struct fnode *node;
	int err;

	if (m->method != METHOD_GET && m->method != METHOD_HEAD) {
		out->status = t->fallthrough ? 0 : 405;
		return 0;
	}
	err = fpath_decode(below, room, &below);
	if (!err)
		err = fcache_find(t->cache, t->root, below,
				  (struct fcache_now){ now_ns, date->second }, &node);
	if (err == -ENOMEM)
		return err;
	/* What a folder's address means is the app's to say, if it is asked at all. */
	if (!err && node->redirect && t->fallthrough)
		err = -ENOENT;
	if (err) {
		out->status = err == -ENOENT && t->fallthrough ? 0 : status_of(err);
		return 0;
	}
	if (node->redirect)
		return redirect(path, m, arena, out);
	fields_read(&fields, m);
	return decide_file(t->cache, node, m, &fields, date->second, arena, out);
}

int ftree_decide_file(const struct ftree *t, const struct msg *m, struct view below, u64 now_ns,
		      const struct date *date, struct arena *arena, struct freply *out)
{
	struct fields fields;
	struct fnode *node;
	int err = fcache_find(t->cache, t->root, below, (struct fcache_now){ now_ns, date->second },
			      &node);

	if (err == -ENOMEM)
		return err;
	if (err || node->redirect) {
		out->status = err ? status_of(err) : 404;
		return 0;
	}
	fields_read(&fields, m);
	return decide_file(t->cache, node, m, &fields, date->second, arena, out);
}
