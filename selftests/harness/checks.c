/* SPDX-License-Identifier: MIT */
/* The checks behind ASSERT and EXPECT: compare, show both values, mark the case as failed. */
#include "selftests/harness/harness.h"

#include <ctype.h>
#include <stdio.h>
#include <unistd.h>

#include "selftests/harness/state.h"

static void fail(struct harness_at at)
{
	__atomic_store_n(&harness_shared->failed, true, __ATOMIC_RELAXED);
	if (at.fatal)
		harness_leave();
}

static int compare(struct harness_num a, struct harness_num b)
{
	if (a.negative != b.negative)
		return a.negative ? -1 : 1;
	return a.bits < b.bits ? -1 : a.bits > b.bits;
}

static bool holds(const char *op, int order)
{
	switch (op[0]) {
	case '=':
		return order == 0;
	case '!':
		return order != 0;
	case '<':
		return order < 0 || (op[1] == '=' && order == 0);
	default:
		return order > 0 || (op[1] == '=' && order == 0);
	}
}

static void num_text(char *buf, size_t len, struct harness_num n)
{
	if (n.negative)
		snprintf(buf, len, "%lld", (long long)n.bits);
	else if (n.bits < 10)
		snprintf(buf, len, "%llu", (unsigned long long)n.bits);
	else
		snprintf(buf, len, "%llu (%#llx)", (unsigned long long)n.bits,
			 (unsigned long long)n.bits);
}

void harness_cmp(struct harness_at at, const char *as, const char *op, const char *bs,
		 struct harness_num a, struct harness_num b)
{
	char at_text[64], bt_text[64];

	if (holds(op, compare(a, b)))
		return;
	num_text(at_text, sizeof(at_text), a);
	num_text(bt_text, sizeof(bt_text), b);
	harness_note("%s:%d: expected %s %s %s; they are %s and %s", at.file, at.line, as, op, bs,
		     at_text, bt_text);
	fail(at);
}

void harness_bool(struct harness_at at, const char *s, bool got, bool want)
{
	if (got == want)
		return;
	harness_note("%s:%d: expected %s to be %s", at.file, at.line, s, want ? "true" : "false");
	fail(at);
}

void harness_ok(struct harness_at at, const char *s, long got)
{
	const char *name = got < 0 && got > -4096 ? strerrorname_np((int)-got) : NULL;

	if (got == 0)
		return;
	harness_note("%s:%d: expected %s to be 0; it is %ld%s%s", at.file, at.line, s, got,
		     name ? " = -" : "", name ? name : "");
	fail(at);
}

void harness_streq(struct harness_at at, const char *as, const char *bs, const char *a, const char *b)
{
	if (a == b || (a && b && !strcmp(a, b)))
		return;
	harness_note("%s:%d: expected %s and %s to be the same string; they are", at.file, at.line,
		     as, bs);
	harness_note("  %s%s%s", a ? "\"" : "", a ? a : "NULL", a ? "\"" : "");
	harness_note("  %s%s%s", b ? "\"" : "", b ? b : "NULL", b ? "\"" : "");
	fail(at);
}

/* One line of at most 16 bytes from @from on, in hex and as text. */
static void dump(const char *label, const u8 *p, size_t from, size_t len)
{
	char line[128];
	size_t end = min(len, from + 16), n;

	n = (size_t)snprintf(line, sizeof(line), "  %s", label);
	for (size_t i = from; i < end; i++)
		n += (size_t)snprintf(line + n, sizeof(line) - n, " %02x", p[i]);
	n += (size_t)snprintf(line + n, sizeof(line) - n, "  ");
	for (size_t i = from; i < end; i++)
		line[n++] = isprint(p[i]) ? (char)p[i] : '.';
	line[n] = '\0';
	harness_note("%s", line);
}

static void differ(struct harness_at at, const char *as, const char *bs, const u8 *a, size_t a_len,
		   const u8 *b, size_t b_len)
{
	size_t i = 0, from;

	while (i < a_len && i < b_len && a[i] == b[i])
		i++;
	from = i < 4 ? 0 : i - 4;
	harness_note("%s:%d: expected %s (%zu bytes) and %s (%zu bytes) to be the same; "
		     "they differ from byte %zu on",
		     at.file, at.line, as, a_len, bs, b_len, i);
	dump("1st", a, from, a_len);
	dump("2nd", b, from, b_len);
	fail(at);
}

void harness_memeq(struct harness_at at, const char *as, const char *bs, const void *a,
		   const void *b, size_t len)
{
	if (len && memcmp(a, b, len))
		differ(at, as, bs, a, len, b, len);
}

void harness_vieweq(struct harness_at at, const char *vs, const char *bs, struct view v,
		    const char *b)
{
	if (!view_eq(v, view_of(b)))
		differ(at, vs, bs, (const u8 *)v.p, v.len, (const u8 *)b, strlen(b));
}
