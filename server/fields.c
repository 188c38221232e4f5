/* SPDX-License-Identifier: MIT */
#include "server/fields.h"

#include "server/h1_parse.h"

static int field_of(struct view name)
{
	switch (h1_known_header(name)) {
	case HDR_ACCEPT_ENCODING:
		return FIELD_ACCEPT_ENCODING;
	case HDR_IF_MATCH:
		return FIELD_IF_MATCH;
	case HDR_IF_NONE_MATCH:
		return FIELD_IF_NONE_MATCH;
	case HDR_IF_MODIFIED_SINCE:
		return FIELD_IF_MODIFIED_SINCE;
	case HDR_IF_UNMODIFIED_SINCE:
		return FIELD_IF_UNMODIFIED_SINCE;
	case HDR_IF_RANGE:
		return FIELD_IF_RANGE;
	case HDR_RANGE:
		return FIELD_RANGE;
	default:
		return -1;
	}
}

void fields_read(struct fields *f, const struct msg *m)
{
	f->seen = 0;
	for (u32 i = 0; i < m->nr_headers; i++) {
		int field = field_of(m->headers[i].name);
		struct lines *lines;

		if (field < 0)
			continue;
		lines = &f->of[field];
		if (!field_seen(f, (enum field)field))
			lines->nr = 0;
		f->seen |= 1u << field;
		if (lines->nr < MAX_LINES)
			lines->v[lines->nr++] = m->headers[i].value;
	}
}
