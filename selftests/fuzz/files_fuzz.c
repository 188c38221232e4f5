/* SPDX-License-Identifier: MIT */
/*
 * What a request for a file brings: its path, Range, Accept-Encoding and the
 * conditions, one to a line: path, then Range, Accept-Encoding, If-None-Match,
 * If-Match, If-Range, If-Modified-Since, If-Unmodified-Since. Aborts when a
 * path or a range leads outside, or a choice is none of those that there were.
 */
#include <stdio.h>
#include <stdlib.h>

#include "server/coding.h"
#include "server/cond.h"
#include "server/fpath.h"
#include "server/mime.h"
#include "server/range.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static const struct view names[] = {
	VIEW("range"),    VIEW("accept-encoding"),   VIEW("if-none-match"),       VIEW("if-match"),
	VIEW("if-range"), VIEW("if-modified-since"), VIEW("if-unmodified-since"),
};

/* A copy of its own, so that a sanitizer sees what is read behind it. */
static struct view next_line(const u8 **p, const u8 *end)
{
	const u8 *nl = memchr(*p, '\n', (size_t)(end - *p));
	size_t len = (size_t)((nl ? nl : end) - *p);
	char *copy = malloc(len ? len : 1);

	MUST(copy);
	memcpy(copy, *p, len);
	*p = nl ? nl + 1 : end;
	return (struct view){ copy, len };
}

static void check_path(struct view raw)
{
	char room[FPATH_MAX];
	struct view path;

	if (fpath_decode(raw, room, &path) || !fpath_allowed(path))
		return;
	MUST(path.len < FPATH_MAX);
	MUST(path.len == 0 || path.p[0] == '/');
	for (size_t i = 0; i < path.len; i++) {
		MUST(path.p[i] != '\0');
		/* No segment is empty but the last, none is "." or "..". */
		if (path.p[i] == '/' && i + 1 < path.len) {
			MUST(path.p[i + 1] != '/');
			MUST(path.p[i + 1] != '.' || (i == 0 && path.len >= 12));
		}
	}
	MUST(mime_of(path)->type);
}

static void check_range(struct view v)
{
	static const u64 sizes[] = { 0, 1, 10, 1000, UINT64_MAX / 2 };
	struct range out[MAX_RANGES];

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		int nr = range_parse(v, sizes[i], out);

		MUST(nr == -ERANGE || (nr >= 0 && nr <= MAX_RANGES));
		for (int k = 0; k < nr; k++)
			MUST(out[k].len && out[k].off < sizes[i] &&
			     out[k].len <= sizes[i] - out[k].off);
	}
}

static void check_coding(const struct fields *f)
{
	bool there = field_seen(f, FIELD_ACCEPT_ENCODING);

	for (u32 available = 1; available < 1u << NR_CODINGS; available += 2) {
		int c = coding_choose(there ? &f->of[FIELD_ACCEPT_ENCODING] : NULL, available);

		MUST(c == -ENOENT || (c >= 0 && c < NR_CODINGS && available & 1u << c));
	}
}

static void check_conditions(const struct fields *f)
{
	const struct validator v = { VIEW("\"a\""), 784111777 };
	enum cond_result r = cond_check(f, &v);

	MUST(r == COND_GO || r == COND_NOT_MODIFIED || r == COND_FAILED);
	if (!field_seen(f, FIELD_IF_MATCH) && !field_seen(f, FIELD_IF_UNMODIFIED_SINCE))
		MUST(r != COND_FAILED);
	(void)cond_allows_range(f, &v, v.modified + 1);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	const u8 *end = data + len;
	struct msg m = { .nr_headers = 0 };
	struct view path = next_line(&data, end);
	struct fields f;

	check_path(path);
	for (size_t i = 0; i < ARRAY_SIZE(names) && data < end; i++)
		m.headers[m.nr_headers++] = (struct header){ names[i], next_line(&data, end) };
	fields_read(&f, &m);
	if (m.nr_headers)
		check_range(m.headers[0].value);
	check_coding(&f);
	check_conditions(&f);
	free((void *)(uintptr_t)path.p);
	for (u32 i = 0; i < m.nr_headers; i++)
		free((void *)(uintptr_t)m.headers[i].value.p);
	return 0;
}
