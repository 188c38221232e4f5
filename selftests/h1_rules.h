/* SPDX-License-Identifier: MIT */
/*
 * The rules of HTTP/1.1 on a connection, each with what goes in and what has
 * to come out. unit/ runs them through a link, io/ through a socket.
 */
#ifndef HYPERION_SELFTESTS_H1_RULES_H
#define HYPERION_SELFTESTS_H1_RULES_H

#include "server/base.h"
#include "server/http.h"

/* One answer. */
struct h1_want {
	int status; /* 0: no more of them */
	const char *body; /* NULL: any; but of a refusal always "<status> ..." and short */
	const char *has, *lacks; /* field lines, or names alone; '|' between them */
	u64 took; /* bytes of body that came with the request; of a refused one 0 = any */
	bool head_only; /* the request was HEAD */
};

/* What happens behind the last byte. */
enum h1_then {
	THEN_NOTHING,
	THEN_STALL, /* nothing more comes, until a limit on time has passed */
	THEN_EOF,
};

#define H1_MAX_WANTS 8

struct h1_rule {
	const char *name;
	struct view in; /* then nr_fill times fill, then tail */
	const char *fill;
	u32 nr_fill;
	struct view tail;
	enum h1_then then;
	bool closes; /* else the connection takes another request */
	bool unfinished; /* it stays open inside a request */
	bool talks_on; /* behind its last request, so that TCP may reset what it did not read yet */
	u32 nr_repeat; /* the only wanted answer comes that many times; 0 = once */
	struct h1_want want[H1_MAX_WANTS];
};

/* The tables; each ends with an entry without a name. */
extern const struct h1_rule h1_rules_taken[]; /* what is right */
extern const struct h1_rule h1_rules_refused[]; /* framing that is wrong */
extern const struct h1_rule h1_rules_limits[]; /* too long, too large, too slow */

extern const struct h1_rule *const h1_rule_tables[];
#define H1_NR_RULE_TABLES 3

/* The rules count on these. NULL when memory is out. */
void h1_rules_set_limits(struct limits *limits);
struct route_table *h1_rules_routes(void) __must_check;

/* All bytes of the rule's input; free() them. */
char *h1_rule_input(const struct h1_rule *rule, size_t *len);

/* Does @out hold the rule's answers and nothing else? NULL, or what is wrong, in words. */
const char *h1_rule_check(const struct h1_rule *rule, struct view out);

/* A request that every open connection answers with 200 and this body. */
#define H1_NEXT "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
#define H1_NEXT_BODY "next\n"

#define H1_BIG_LEN 5000u /* of the body of /big: longer than what is copied */

#endif
