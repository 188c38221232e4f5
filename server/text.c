/* SPDX-License-Identifier: MIT */
#include "server/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/fail.h"

#define FIRST_CAP (16 * KIB)

char *text_room(struct text *t, size_t n)
{
	size_t cap = t->cap ? t->cap : FIRST_CAP;
	char *p;

	if (likely(t->cap - t->len >= n))
		return t->p + t->len;
	while (cap - t->len < n)
		cap *= 2;
	p = t->failed || fail_alloc() ? NULL : realloc(t->p, cap);
	if (!p) {
		t->failed = true;
		return NULL;
	}
	t->p = p;
	t->cap = cap;
	return p + t->len;
}

void text_put(struct text *t, struct view v)
{
	char *p = v.len ? text_room(t, v.len) : NULL;

	if (!p)
		return;
	memcpy(p, v.p, v.len);
	t->len += v.len;
}

void text_u64(struct text *t, u64 n)
{
	char digits[20];
	size_t i = sizeof(digits);

	do
		digits[--i] = (char)('0' + n % 10);
	while (n /= 10);
	text_put(t, (struct view){ digits + i, sizeof(digits) - i });
}

void text_seconds(struct text *t, u64 ns)
{
	u64 rest = ns % NSEC_PER_SEC;
	char tail[10] = ".000000000";
	size_t len = sizeof(tail);

	text_u64(t, ns / NSEC_PER_SEC);
	for (size_t i = sizeof(tail) - 1; i > 0; i--, rest /= 10)
		tail[i] = (char)('0' + rest % 10);
	while (len > 2 && tail[len - 1] == '0')
		len--;
	text_put(t, (struct view){ tail, len });
}

void text_printf(struct text *t, const char *fmt, ...)
{
	char line[512];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (n > 0)
		text_put(t, (struct view){ line, min((size_t)n, sizeof(line) - 1) });
}

void text_free(struct text *t)
{
	free(t->p);
	*t = (struct text){ 0 };
}
