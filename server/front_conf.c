/* SPDX-License-Identifier: MIT */
#include "server/front_conf.h"

#include "server/log.h"

static int add_constant(struct front *f, struct view path, struct view body)
{
	struct handler *h = handler_constant(200, VIEW("text/plain"), VIEW(""), body);

	return front_route(f, METHOD_GET, path, h);
}

static int add_tree(struct front *f, const struct conf_tree *tree)
{
	struct front_tree t = {
		.prefix = tree->prefix,
		.dir = tree->dir,
		.immutable = tree->immutable,
		.internal = tree->internal,
	};
	int err = front_add_tree(f, &t);

	if (err)
		log_error("static: cannot open %s: %s", tree->dir, strerror(-err));
	return err;
}

static int add_sendfile_root(struct front *f, const char *dir)
{
	int err = front_add_sendfile_root(f, dir);

	if (err)
		log_error("static: cannot open sendfile_root %s: %s", dir, strerror(-err));
	return err;
}

int front_configure(struct front *f, const struct conf *conf)
{
	int err = add_constant(f, VIEW("/-/health"), VIEW("OK\n"));

	f->files.limits.recheck_ns = conf->static_recheck_ms * NSEC_PER_MSEC;
	for (u32 i = 0; !err && i < conf->nr_constants; i++) {
		const struct conf_constant *c = &conf->constants[i];

		err = add_constant(f, (struct view){ c->path, c->path_len }, view_of(c->body));
	}
	for (u32 i = 0; !err && i < conf->nr_trees; i++)
		err = add_tree(f, &conf->trees[i]);
	for (u32 i = 0; !err && i < conf->nr_sendfile_roots; i++)
		err = add_sendfile_root(f, conf->sendfile_roots[i]);
	return err;
}

void front_preload_configured(struct front *f, const struct conf *conf)
{
	struct preload p;

	for (u32 i = 0; !conf->no_preload_static && i < conf->nr_preloads; i++)
		front_preload_logged(f, conf->preloads[i].dir, conf->preloads[i].immutable, &p);
}
