/* SPDX-License-Identifier: MIT */
/* Conditional requests (RFC 9110 section 13), evaluated in the order of 13.2.2. */
#ifndef HYPERION_SERVER_COND_H
#define HYPERION_SERVER_COND_H

#include "server/base.h"
#include "server/fields.h"

/* What the selected representation is known by. */
struct validator {
	struct view etag; /* with its quotes, and W/ before them if it is weak */
	u64 modified; /* Last-Modified, seconds since 1970 */
};

enum cond_result {
	COND_GO,
	COND_NOT_MODIFIED, /* 304 */
	COND_FAILED, /* 412 */
};

/* For GET and HEAD of a representation that exists. */
enum cond_result cond_check(const struct fields *f, const struct validator *v);

/*
 * May Range be honoured, as far as If-Range is concerned? @now in seconds: a
 * Last-Modified of this very second is no strong validator (8.8.2.2).
 */
bool cond_allows_range(const struct fields *f, const struct validator *v, u64 now);

#endif
