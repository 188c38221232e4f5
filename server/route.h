/* SPDX-License-Identifier: MIT */
/*
 * Which handler answers which path: the exact one, or the tree with the longest
 * prefix. A table is built once, then only read; a new table replaces the old
 * one as a whole. Counted: the requests that one of its routes answers hold it,
 * and so all the bytes that a handler has lent to their answers.
 */
#ifndef HYPERION_SERVER_ROUTE_H
#define HYPERION_SERVER_ROUTE_H

#include "server/base.h"
#include "server/handler.h"
#include "server/msg.h"

#define MAX_ROUTES 256u

struct route {
	u16 id; /* index in the table */
	enum method method; /* of a tree: GET */
	bool tree; /* path is a prefix, without a slash at its end */
	struct view path; /* the table's own copy */
	struct handler *handler;
};

struct route_table;

/* The routes by their ids, from 0 on; NULL behind the last. */
const struct route *route_at(const struct route_table *t, u32 id);

/* Made with one reference. */
struct route_table *route_table_new(void) __must_check;

/* The same routes with the same handlers, to add to; NULL when memory is out. */
struct route_table *route_table_copy(const struct route_table *t) __must_check;

struct route_table *route_table_get(struct route_table *t);
void route_table_put(struct route_table *t); /* NULL is fine */

/*
 * Exact @method and @path. The table takes the handler over, also on errors:
 * -EINVAL (path without a leading '/', method OTHER or CONNECT), -ENOSPC,
 * -ENOMEM. The last registration wins. GET answers HEAD too.
 */
int route_add(struct route_table *t, enum method method, struct view path,
	      struct handler *handler) __must_check;

/*
 * Everything at and below @prefix ("/" and "" are the whole site) that has no
 * exact route. The rest is as above.
 */
int route_add_tree(struct route_table *t, struct view prefix, struct handler *handler) __must_check;

/*
 * The exact route, or the tree, which is asked about every method and path.
 * NULL: nobody answers this path with this method; then @allow is the set of
 * methods (1 << enum method) that somebody does answer there, 0 for none.
 */
const struct route *route_find(const struct route_table *t, enum method method, struct view path,
			       u32 *allow);

#endif
