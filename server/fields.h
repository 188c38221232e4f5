/* SPDX-License-Identifier: MIT */
/*
 * The fields of a request that choose a representation and what of it is sent
 * (RFC 9110 sections 12-14), gathered in one pass over the head.
 */
#ifndef HYPERION_SERVER_FIELDS_H
#define HYPERION_SERVER_FIELDS_H

#include "server/base.h"
#include "server/msg.h"

enum field {
	FIELD_ACCEPT_ENCODING,
	FIELD_IF_MATCH,
	FIELD_IF_NONE_MATCH,
	FIELD_IF_MODIFIED_SINCE,
	FIELD_IF_UNMODIFIED_SINCE,
	FIELD_IF_RANGE,
	FIELD_RANGE,
	NR_FIELDS,
};

#define MAX_LINES 4u /* of one field; what comes behind them is not seen */

/* The lines of one field as they came; together they are one list. */
struct lines {
	u32 nr;
	struct view v[MAX_LINES];
};

struct fields {
	u32 seen; /* 1 << enum field; only the lines of these are filled */
	struct lines of[NR_FIELDS];
};

/* Views are those of @m. */
void fields_read(struct fields *f, const struct msg *m);

static inline bool field_seen(const struct fields *f, enum field field)
{
	return f->seen & 1u << field;
}

/* The value of a field that may come only once; NULL when it did not, or more often. */
static inline const struct view *field_one(const struct fields *f, enum field field)
{
	return field_seen(f, field) && f->of[field].nr == 1 ? &f->of[field].v[0] : NULL;
}

#endif
