/* SPDX-License-Identifier: MIT */
#include "server/named.h"

#include "server/fpath.h"
#include "server/http.h"
#include "server/log.h"
#include "server/req.h"
#include "server/route.h"

#define SHOWN 200u /* bytes of a name in a line of the log */

static struct view path_of(const struct named *n)
{
	return (struct view){ n->path, n->len };
}

int named_find(struct req *r, const struct named *n)
{
	const struct http *http = r->http;
	const struct named_roots *roots = http->named;
	struct fcache_now now = { http->now_ns, http->date.second };
	struct stamp stamp = n->stamp;
	struct fnode *node;
	int err;

	if (!roots || !roots->files)
		return -ENOENT;
	err = fcache_find_version(roots->files, roots->any, path_of(n), &stamp, now, &node);
	if (err)
		return err;
	freply_drop(&r->file);
	r->file.entry = fentry_get(node->entries[CODING_IDENTITY]);
	return 0;
}

static int __cold refuse(struct req *r, const struct named *n, int status, const char *why)
{
	log_limited(LOG_LEVEL_ERROR, "http: %s: %s path=%.*s",
		    n->kind == NAMED_URI ? "X-Accel-Redirect" : "X-Sendfile", why,
		    (int)min(n->len, (size_t)SHOWN), n->path);
	r->file.status = (u16)status;
	return 0;
}

/* A segment that leads up, or none at all. */
static bool leads_up(struct view path)
{
	const char *p = path.p, *end = p + path.len;

	while (p < end) {
		const char *slash = memchr(p, '/', (size_t)(end - p)), *stop = slash ? slash : end;

		if (stop - p == 2 && p[0] == '.' && p[1] == '.')
			return true;
		p = stop + 1;
	}
	return false;
}

/* What follows @dir in @path, with its slash; empty: it is not below. */
static struct view below(struct view path, const char *dir)
{
	size_t len = strlen(dir);

	if (path.len <= len + 1 || memcmp(path.p, dir, len) != 0 || path.p[len] != '/')
		return VIEW("");
	return (struct view){ path.p + len, path.len - len };
}

/*
 * A request for the file as a tree would see it. What is not a GET, or not a
 * 200, has no conditions and no ranges.
 */
static void make_msg(struct msg *m, const struct req *r, u16 status)
{
	const struct job *j = &r->job;

	m->method = j->method == METHOD_HEAD ? METHOD_HEAD : METHOD_GET;
	m->version_minor = j->version_minor;
	m->method_name = j->method_name;
	m->target = j->target;
	m->nr_headers = 0;
	if (status != 200 || (j->method != METHOD_GET && j->method != METHOD_HEAD))
		return;
	m->nr_headers = min(j->nr_headers, (u32)MAX_HEADERS);
	memcpy(m->headers, j->headers, m->nr_headers * sizeof(*m->headers));
}

static int decide_below(struct req *r, const struct named *n, struct froot *root, struct view path,
			u16 status)
{
	const struct http *http = r->http;
	struct ftree tree = { .cache = http->named->files, .root = root };
	struct msg m; /* make_msg() fills what it counts */

	if (leads_up(path) || memchr(path.p, '\0', path.len) || path.p[path.len - 1] == '/')
		return refuse(r, n, 500, "no path of a file");
	make_msg(&m, r, status);
	return ftree_decide_file(&tree, &m, path, http->now_ns, &http->date, &r->arena, &r->file);
}

static int decide_sendfile(struct req *r, const struct named *n, u16 status)
{
	const struct named_roots *roots = r->http->named;

	for (u32 i = 0; i < roots->nr_sendfile; i++) {
		struct view path = below(path_of(n), roots->sendfile[i].dir);

		if (!path.len)
			path = below(path_of(n), roots->sendfile[i].real);
		if (path.len)
			return decide_below(r, n, roots->sendfile[i].root, path, status);
	}
	return refuse(r, n, 500, "not below a folder that sendfile_root names");
}

/* Only trees: what code of the app would answer, it can answer itself. */
static int decide_uri(struct req *r, const struct named *n, u16 status)
{
	const struct http *http = r->http;
	const struct route *route;
	struct view path = path_of(n), rest;
	const char *query = memchr(path.p, '?', path.len);
	struct ftree tree;
	u32 ignored;
	struct msg m; /* make_msg() fills what it counts */
	int err;

	if (query)
		path.len = (size_t)(query - path.p);
	route = route_find(http->routes, METHOD_GET, path, &ignored);
	if (!route || route->handler->kind != HANDLER_TREE)
		return refuse(r, n, 500, "no tree of files answers this path");
	tree = *route->handler->tree;
	tree.fallthrough = false;
	rest = (struct view){ path.p + route->path.len, path.len - route->path.len };
	make_msg(&m, r, status);
	err = ftree_decide(&tree, &m, path, rest, http->now_ns, &http->date, &r->arena, &r->file);
	if (r->file.status == 301)
		r->file.status = 404;
	return err;
}

/* Others say that there is less than all of it. */
static bool is_whole(u16 status)
{
	return status != 206 && status != 301 && status != 304 && status != 416;
}

int named_decide(struct req *r, const struct named *n, u16 status)
{
	int err;

	freply_drop(&r->file);
	r->file = (struct freply){ 0 };
	if (!r->http->named || !r->http->named->files)
		return refuse(r, n, 500, "this process has no files");
	err = n->kind == NAMED_URI ? decide_uri(r, n, status) : decide_sendfile(r, n, status);
	if (!err && r->file.status == 200 && is_whole(status))
		r->file.status = status;
	return err;
}
