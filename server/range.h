/* SPDX-License-Identifier: MIT */
/* Which bytes a Range field asks for (RFC 9110 14.1-14.2). */
#ifndef HYPERION_SERVER_RANGE_H
#define HYPERION_SERVER_RANGE_H

#include "server/base.h"

#define MAX_RANGES 16 /* of one request; with more the field is ignored */

struct range {
	u64 off, len; /* len > 0 */
};

/*
 * The ranges of a representation of @size bytes that @v asks for, in its
 * order, without those that lie behind the end. How many there are; 0: the
 * field is to be ignored (malformed, another unit, too many, more bytes than
 * there are, more than two that overlap); -ERANGE: none can be satisfied, 416.
 */
int range_parse(struct view v, u64 size, struct range out[MAX_RANGES]) __must_check;

#endif
