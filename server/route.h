/* SPDX-License-Identifier: MIT */
/*
 * Which handler answers which path. A table is built once, then only read; a
 * new table replaces the old one as a whole. The table owns its routes.
 */
#ifndef HYPERION_SERVER_ROUTE_H
#define HYPERION_SERVER_ROUTE_H

#include "server/base.h"
#include "server/handler.h"
#include "server/msg.h"

#define MAX_ROUTES 256u

struct route {
	u16 id; /* index in the table */
	enum method method;
	struct view path; /* the table's own copy */
	struct handler *handler;
};

struct route_table;

struct route_table *route_table_new(void) __must_check;
void route_table_free(struct route_table *t);

/*
 * Exact @method and @path. The table takes the handler over, also on errors:
 * -EINVAL (path without a leading '/', method OTHER or CONNECT), -ENOSPC,
 * -ENOMEM. The last registration wins. GET answers HEAD too.
 */
int route_add(struct route_table *t, enum method method, struct view path,
	      struct handler *handler) __must_check;

/*
 * NULL: nobody answers this path with this method; then @allow is the set of
 * methods (1 << enum method) that somebody does answer there, 0 for none.
 */
const struct route *route_find(const struct route_table *t, enum method method, struct view path,
			       u32 *allow);

#endif
