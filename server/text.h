/* SPDX-License-Identifier: MIT */
/* Text that grows on the heap while it is written; its owner frees it. */
#ifndef HYPERION_SERVER_TEXT_H
#define HYPERION_SERVER_TEXT_H

#include "server/base.h"

struct text {
	char *p;
	size_t len, cap;
	bool failed; /* memory was out: what is there is not whole */
};

/* Room for @n more bytes, NULL when memory is out. */
char *text_room(struct text *t, size_t n);

void text_put(struct text *t, struct view v);
void text_u64(struct text *t, u64 n);
/* Seconds with nine decimals, the last zeros left out: "0.0025", "3.0". */
void text_seconds(struct text *t, u64 ns);
void text_printf(struct text *t, const char *fmt, ...) __printf(2, 3);

static inline void text_str(struct text *t, const char *s)
{
	text_put(t, view_of(s));
}

void text_free(struct text *t);

#endif
