/* SPDX-License-Identifier: MIT */
/* What the rules run against, and how an output is held against one. The tables: h1_rules_*.c. */
#include "selftests/h1_rules.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "selftests/h1_answer.h"
#include "server/handler.h"
#include "server/route.h"

const struct h1_rule *const h1_rule_tables[H1_NR_RULE_TABLES] = { h1_rules_taken, h1_rules_refused,
								  h1_rules_limits };

void h1_rules_set_limits(struct limits *limits)
{
	*limits = LIMITS_DEFAULT;
	limits->max_header_bytes = 2048;
	limits->max_body_bytes = 64;
}

static const struct {
	enum method method;
	const char *path, *body;
} constants[] = {
	{ METHOD_GET, "/", "root\n" },
	{ METHOD_GET, "/1", "one\n" },
	{ METHOD_GET, "/2", "two\n" },
	{ METHOD_GET, "/next", H1_NEXT_BODY },
	{ METHOD_POST, "/post", "posted\n" },
	{ METHOD_PUT, "/put", "put\n" },
	{ METHOD_DELETE, "/put", "deleted\n" },
	{ METHOD_PATCH, "/put", "patched\n" },
	{ METHOD_OPTIONS, "/put", "options\n" },
	{ METHOD_TRACE, "/put", "traced\n" },
	{ METHOD_GET, "/empty", "" },
};

static int add(struct route_table *t, enum method method, struct view path, struct view body)
{
	struct handler *h =
		handler_constant(200, VIEW("text/plain"), VIEW("x-route: constant\r\n"), body);

	return h ? route_add(t, method, path, h) : -ENOMEM;
}

struct route_table *h1_rules_routes(void)
{
	struct route_table *t = route_table_new();
	char big[H1_BIG_LEN];
	int err = 0;

	if (!t)
		return NULL;
	memset(big, 'b', sizeof(big));
	for (size_t i = 0; i < ARRAY_SIZE(constants) && !err; i++)
		err = add(t, constants[i].method, view_of(constants[i].path),
			  view_of(constants[i].body));
	if (!err)
		err = add(t, METHOD_GET, VIEW("/big"), (struct view){ big, sizeof(big) });
	if (!err)
		return t;
	route_table_put(t);
	return NULL;
}

char *h1_rule_input(const struct h1_rule *rule, size_t *len)
{
	size_t n = rule->fill ? strlen(rule->fill) : 0;
	char *buf = malloc(rule->in.len + n * rule->nr_fill + rule->tail.len + 1), *p = buf;

	if (!buf)
		abort();
	if (rule->in.len)
		p = mempcpy(p, rule->in.p, rule->in.len);
	for (u32 i = 0; i < rule->nr_fill; i++)
		p = mempcpy(p, rule->fill, n);
	if (rule->tail.len)
		p = mempcpy(p, rule->tail.p, rule->tail.len);
	*len = (size_t)(p - buf);
	return buf;
}

static char complaint[512]; /* a test program checks one output at a time */

static __printf(1, 2) const char *complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(complaint, sizeof(complaint), fmt, ap);
	va_end(ap);
	return complaint;
}

/* Calls for each of the lines in @list; the first that is (not) there, or NULL. */
static const char *check_lines(const struct h1_answer *a, const char *list, bool wanted)
{
	while (list && *list) {
		size_t n = strcspn(list, "|");

		if (h1_answer_has(a, (struct view){ list, n }) != wanted)
			return complain("%s field \"%.*s\"", wanted ? "lacks the" : "has the",
					(int)n, list);
		list += n + (list[n] == '|');
	}
	return NULL;
}

/* Refusals say in a short text what they are. */
static const char *check_text(const struct h1_answer *a)
{
	char start[16];

	snprintf(start, sizeof(start), "%d ", a->status);
	if (a->body.len < 8 || a->body.len > 192 || memcmp(a->body.p, start, 4) != 0)
		return complain("the body of the %d is not a short text", a->status);
	return a->body.p[a->body.len - 1] == '\n' ? NULL : complain("the text has no line end");
}

static const char *check_answer(const struct h1_want *want, const struct h1_answer *a)
{
	const char *wrong;

	if (a->status != want->status)
		return complain("is %d, not %d", a->status, want->status);
	wrong = check_lines(a, want->has, true);
	if (!wrong)
		wrong = check_lines(a, want->lacks, false);
	if (wrong)
		return wrong;
	if (want->body && !view_eq(a->body, view_of(want->body)))
		return complain("has the body \"%.*s\"", (int)min(a->body.len, (size_t)80),
				a->body.p);
	return a->status >= 400 && !want->head_only ? check_text(a) : NULL;
}

static u32 nr_wanted(const struct h1_rule *rule)
{
	u32 nr = 0;

	if (rule->nr_repeat)
		return rule->nr_repeat;
	while (nr < H1_MAX_WANTS && rule->want[nr].status)
		nr++;
	return nr;
}

const char *h1_rule_check(const struct h1_rule *rule, struct view out)
{
	const char *p = out.len ? out.p : "", *end = p + out.len, *wrong;
	u32 nr = nr_wanted(rule);

	for (u32 i = 0; i < nr; i++) {
		const struct h1_want *want = &rule->want[rule->nr_repeat ? 0 : i];
		bool last = i == nr - 1 && rule->closes && rule->then != THEN_EOF;
		struct h1_answer a;

		wrong = h1_answer_read(&p, end, want->head_only, &a);
		if (!wrong)
			wrong = check_answer(want, &a);
		/* An idle connection ends without a word, all others say so. */
		if (!wrong && a.close != (last && (rule->then != THEN_STALL || a.status == 408)))
			wrong = a.close ? "says connection: close" : "lacks connection: close";
		if (wrong) {
			char text[sizeof(complaint)];

			snprintf(text, sizeof(text), "%s", wrong);
			return complain("answer %u: %.200s; at \"%.*s\"", i + 1, text,
					(int)min((size_t)(end - p), (size_t)120), p);
		}
	}
	if (p != end)
		return complain("%zu bytes behind the last answer: \"%.*s\"", (size_t)(end - p),
				(int)min((size_t)(end - p), (size_t)120), p);
	return NULL;
}
