/* SPDX-License-Identifier: MIT */
/*
 * The rules of request heads. Each row of the table is a fixture variant, so
 * that head[rule].how is a case of its own; each is fed to the parser with
 * vectors and to the one with tables, in a buffer that ends at a guard page.
 */
#include "selftests/unit/h1_parse_portable.h"
#include "selftests/harness/harness.h"

#include <ctype.h>
#include <stdio.h>

typedef ssize_t parse_fn(const char *buf, size_t len, size_t seen, struct msg *msg);

static parse_fn *const parsers[] = { h1_parse_head, portable_parse_head };

FIXTURE(head)
{
	char *buf;
};

/* Accepted: @want is "METHOD target 1.x", then "|name=value" each; @rest bytes lie behind it. */
FIXTURE_VARIANT(head)
{
	const char *rule;
	const char *in;
	size_t len;
	const char *want;
	size_t rest;
	enum h1_parse_err err;
};

#define IN(s) .in = (s), .len = sizeof(s) - 1
#define OK(id, input, wanted, ...)                                                                 \
	{                                                                                          \
		.rule = id, IN(input), .want = wanted, __VA_ARGS__                                 \
	}
#define BAD(id, input, e)                                                                          \
	{                                                                                          \
		.rule = id, IN(input "\r\n\r\n"), .err = H1_ERR_##e                                \
	}
#define GET "GET / HTTP/1.1\r\n"

static const struct variant_head rules[] = {
	/* the request line: what is right */
	OK("no_fields", GET "\r\n", "GET / 1.1"),
	OK("http_1_0", "GET / HTTP/1.0\r\n\r\n", "GET / 1.0"),
	OK("leading_crlf", "\r\n" GET "\r\n", "GET / 1.1"),
	OK("bytes_behind", GET "\r\nGET /2 HTTP/1.1\r\n", "GET / 1.1", .rest = 17),
	OK("lf_behind", GET "\r\n\n\r", "GET / 1.1", .rest = 2),
	OK("head", "HEAD / HTTP/1.1\r\n\r\n", "HEAD / 1.1"),
	OK("post", "POST / HTTP/1.1\r\n\r\n", "POST / 1.1"),
	OK("put", "PUT / HTTP/1.1\r\n\r\n", "PUT / 1.1"),
	OK("delete", "DELETE / HTTP/1.1\r\n\r\n", "DELETE / 1.1"),
	OK("patch", "PATCH / HTTP/1.1\r\n\r\n", "PATCH / 1.1"),
	OK("trace", "TRACE / HTTP/1.1\r\n\r\n", "TRACE / 1.1"),
	OK("options_asterisk", "OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS * 1.1"),
	OK("connect", "CONNECT a:1 HTTP/1.1\r\n\r\n", "CONNECT a:1 1.1"),
	OK("method_is_case_sensitive", "get / HTTP/1.1\r\n\r\n", "other:get / 1.1"),
	OK("method_unknown", "M-SEARCH / HTTP/1.1\r\n\r\n", "other:M-SEARCH / 1.1"),
	OK("method_prefix", "GE / HTTP/1.1\r\n\r\n", "other:GE / 1.1"),
	OK("method_longer", "GETS / HTTP/1.1\r\n\r\n", "other:GETS / 1.1"),
	OK("target_absolute", "GET http://a/b?c HTTP/1.1\r\n\r\n", "GET http://a/b?c 1.1"),
	OK("target_obs_text", "GET /\xc3\xbc\xff HTTP/1.1\r\n\r\n", "GET /\xc3\xbc\xff 1.1"),
	OK("target_long", "GET /0123456789abcdef0123456789abcdef0123456789 HTTP/1.1\r\n\r\n",
	   "GET /0123456789abcdef0123456789abcdef0123456789 1.1"),

	/* the request line: what is wrong */
	BAD("two_leading_crlf", "\r\n\r\n" GET, METHOD),
	BAD("leading_lf", "\n" GET, LINE_END),
	BAD("leading_cr", "\r" GET, LINE_END),
	BAD("leading_space", " " GET, METHOD),
	BAD("method_missing", " / HTTP/1.1", METHOD),
	BAD("method_not_a_token", "G(T / HTTP/1.1", METHOD),
	BAD("method_colon", "GET: / HTTP/1.1", METHOD),
	BAD("method_obs_text", "G\xc3\xa9T / HTTP/1.1", METHOD),
	BAD("method_nul", "GET\0/ HTTP/1.1", METHOD),
	BAD("method_then_tab", "GET\t/ HTTP/1.1", METHOD),
	BAD("method_alone", "GET", METHOD),
	BAD("method_then_lf", "GET\n", LINE_END),
	BAD("tls_hello", "\x16\x03\x01\x02\x01\x01", METHOD),
	BAD("two_spaces_before_target", "GET  / HTTP/1.1", TARGET),
	BAD("tab_before_target", "GET \t/ HTTP/1.1", TARGET),
	BAD("target_missing", "GET HTTP/1.1", VERSION_SYNTAX),
	BAD("target_nul", "GET /\0 HTTP/1.1", TARGET),
	BAD("target_control", "GET /\x01 HTTP/1.1", TARGET),
	BAD("target_tab", "GET /a\tb HTTP/1.1", TARGET),
	BAD("target_del", "GET /\x7f HTTP/1.1", TARGET),
	BAD("target_bare_cr", "GET /\ra HTTP/1.1", LINE_END),
	BAD("target_bare_lf", "GET /\na HTTP/1.1", LINE_END),
	BAD("target_space", "GET /a b HTTP/1.1", VERSION_SYNTAX),
	BAD("tab_before_version", "GET /\tHTTP/1.1", TARGET),
	BAD("two_spaces_before_version", "GET /  HTTP/1.1", VERSION_SYNTAX),
	BAD("http_0_9_style", "GET /", VERSION_SYNTAX),
	BAD("http_0_9_style_space", "GET / ", VERSION_SYNTAX),
	BAD("http_0_9_style_lf", "GET /\n", LINE_END),
	BAD("version_lower_case", "GET / http/1.1", VERSION_SYNTAX),
	BAD("version_other_name", "GET / HTTQ/1.1", VERSION_SYNTAX),
	BAD("version_no_minor", "GET / HTTP/1", VERSION_SYNTAX),
	BAD("version_empty_minor", "GET / HTTP/1.", VERSION_SYNTAX),
	BAD("version_two_digits", "GET / HTTP/1.10", VERSION_SYNTAX),
	BAD("version_two_digit_major", "GET / HTTP/11.1", VERSION_SYNTAX),
	BAD("version_leading_zero", "GET / HTTP/01.1", VERSION_SYNTAX),
	BAD("version_comma", "GET / HTTP/1,1", VERSION_SYNTAX),
	BAD("version_letter", "GET / HTTP/1.x", VERSION_SYNTAX),
	BAD("version_no_slash", "GET / HTTP1.1", VERSION_SYNTAX),
	BAD("version_then_space", "GET / HTTP/1.1 ", VERSION_SYNTAX),
	BAD("version_then_tab", "GET / HTTP/1.1\t", VERSION_SYNTAX),
	BAD("version_then_bare_lf", "GET / HTTP/1.1\nA: b", LINE_END),
	BAD("version_then_bare_cr", "GET / HTTP/1.1\rA: b", LINE_END),
	BAD("version_then_cr_cr_lf", "GET / HTTP/1.1\r", LINE_END),
	BAD("version_0_9", "GET / HTTP/0.9", VERSION),
	BAD("version_1_2", "GET / HTTP/1.2", VERSION),
	BAD("version_1_9", "GET / HTTP/1.9", VERSION),
	BAD("version_2_0", "GET / HTTP/2.0", VERSION),
	BAD("version_2_1", "GET / HTTP/2.1", VERSION),
	BAD("version_9_9", "GET / HTTP/9.9", VERSION),

	/* fields: what is right */
	OK("one_field", GET "Host: a\r\n\r\n", "GET / 1.1|Host=a"),
	OK("order_and_case_kept", GET "b: 2\r\nA: 1\r\nb: 3\r\n\r\n", "GET / 1.1|b=2|A=1|b=3"),
	OK("value_empty", GET "A:\r\n\r\n", "GET / 1.1|A="),
	OK("value_only_white_space", GET "A: \t \r\n\r\n", "GET / 1.1|A="),
	OK("value_without_space", GET "A:b\r\n\r\n", "GET / 1.1|A=b"),
	OK("value_outer_white_space", GET "A: \t b\t \r\n\r\n", "GET / 1.1|A=b"),
	OK("value_inner_white_space", GET "A: b \t c\r\n\r\n", "GET / 1.1|A=b \t c"),
	OK("value_colons", GET "A: b:c::\r\n\r\n", "GET / 1.1|A=b:c::"),
	OK("value_second_colon_first", GET "A::b\r\n\r\n", "GET / 1.1|A=:b"),
	OK("value_obs_text", GET "A: \x80\xff\r\n\r\n", "GET / 1.1|A=\x80\xff"),
	OK("value_long",
	   GET "A: 0123456789abcdef\t0123456789abcdef\xff"
	       "0123456789abcdef\r\n\r\n",
	   "GET / 1.1|A=0123456789abcdef\t0123456789abcdef\xff"
	   "0123456789abcdef"),
	OK("name_every_kind", GET "a!#$%&'*+-.^_`|~0Z: b\r\n\r\n", "GET / 1.1|a!#$%&'*+-.^_`|~0Z=b"),

	/* fields: what is wrong */
	BAD("name_empty", GET ": a", HEADER_NAME),
	BAD("name_no_colon", GET "Host", HEADER_NAME),
	BAD("name_no_colon_then_field", GET "Host\r\nA: b", HEADER_NAME),
	BAD("name_space_before_colon", GET "Host : a", HEADER_NAME),
	BAD("name_tab_before_colon", GET "Host\t: a", HEADER_NAME),
	BAD("name_inner_space", GET "Ho st: a", HEADER_NAME),
	BAD("name_nul", GET "Ho\0st: a", HEADER_NAME),
	BAD("name_control", GET "Ho\x0bst: a", HEADER_NAME),
	BAD("name_del", GET "Ho\x7fst: a", HEADER_NAME),
	BAD("name_obs_text", GET "H\xc3\xb6st: a", HEADER_NAME),
	BAD("name_separator", GET "Ho(st): a", HEADER_NAME),
	BAD("name_slash", GET "Ho/st: a", HEADER_NAME),
	BAD("name_bare_cr", GET "Ho\rst: a", HEADER_NAME),
	BAD("name_bare_lf", GET "Ho\nst: a", LINE_END),
	BAD("value_nul", GET "A: b\0c", HEADER_VALUE),
	BAD("value_nul_first", GET "A: \0", HEADER_VALUE),
	BAD("value_control", GET "A: b\x1b[1m", HEADER_VALUE),
	BAD("value_vertical_tab",
	    GET "A:\x0b"
		"b",
	    HEADER_VALUE),
	BAD("value_del", GET "A: b\x7f", HEADER_VALUE),
	BAD("value_bare_cr", GET "A: b\rc", LINE_END),
	BAD("value_bare_cr_smuggles", GET "A: b\rTransfer-Encoding: chunked", LINE_END),
	BAD("value_bare_lf", GET "A: b\nB: c", LINE_END),
	BAD("value_cr_cr_lf", GET "A: b\r", LINE_END),
	BAD("obs_fold_space", GET "A: b\r\n c", OBS_FOLD),
	BAD("obs_fold_tab", GET "A: b\r\n\tc", OBS_FOLD),
	BAD("obs_fold_only_white_space", GET "A: b\r\n ", OBS_FOLD),
	BAD("white_space_before_first_field", GET " A: b", OBS_FOLD),
	BAD("end_bare_lf", GET "A: b\r\n\n", LINE_END),
	BAD("end_bare_cr", GET "A: b\r\n\rB: c", LINE_END),
	BAD("lf_lf_is_no_end", "GET / HTTP/1.1\n\n", LINE_END),
};

static struct harness_variant rule_variants[ARRAY_SIZE(rules)];

HARNESS_AT_START(rules)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		rule_variants[i].name = rules[i].rule;
		rule_variants[i].value = &rules[i];
		harness_add_variant(&fixture_head, &rule_variants[i]);
	}
}

FIXTURE_SETUP(head)
{
	self->buf = guard_alloc(variant->len);
}

FIXTURE_TEARDOWN(head)
{
	guard_free(self->buf, variant->len);
}

static void show(const struct msg *msg, char *out, size_t size)
{
	static const char *const names[NR_METHODS] = {
		[METHOD_GET] = "GET",         [METHOD_HEAD] = "HEAD",
		[METHOD_POST] = "POST",       [METHOD_PUT] = "PUT",
		[METHOD_DELETE] = "DELETE",   [METHOD_PATCH] = "PATCH",
		[METHOD_TRACE] = "TRACE",     [METHOD_OPTIONS] = "OPTIONS",
		[METHOD_CONNECT] = "CONNECT",
	};
	const char *name = names[msg->method];
	int n = name ? snprintf(out, size, "%s", name)
		     : snprintf(out, size, "other:%.*s", (int)msg->method_name.len,
				msg->method_name.p);

	if (name)
		ASSERT_VIEW_EQ(msg->method_name, name);
	n += snprintf(out + n, size - (size_t)n, " %.*s 1.%u", (int)msg->target.len, msg->target.p,
		      msg->version_minor);
	for (u32 i = 0; i < msg->nr_headers; i++) {
		const struct header *h = &msg->headers[i];

		n += snprintf(out + n, size - (size_t)n, "|%.*s=%.*s", (int)h->name.len, h->name.p,
			      (int)h->value.len, h->value.p);
	}
}

/* The bytes so far always end at the guard page, so they move with each piece. */
static void feed_head(struct self_head *self, const struct variant_head *v, parse_fn *parse,
		      enum feeding how)
{
	size_t have = 0, seen = 0, piece, head_len = v->len - v->rest;
	ssize_t ret = -EAGAIN;
	struct msg msg;
	struct feed feed;
	struct rng rng;
	char text[1024];

	rng_init(&rng);
	feed_init(&feed, how, v->len, &rng);
	while (ret == -EAGAIN && (piece = feed_next(&feed))) {
		char *p = self->buf + v->len - have - piece;

		have += piece;
		memcpy(p, v->in, have);
		ret = parse(p, have, seen, &msg);
		seen = have;
		if (v->want)
			ASSERT_EQ(ret, have < head_len ? -EAGAIN : (ssize_t)head_len);
	}
	if (!v->want) {
		ASSERT_EQ(ret, -(ssize_t)v->err - H1_ERR_BASE);
		return;
	}
	ASSERT_EQ(ret, (ssize_t)head_len);
	show(&msg, text, sizeof(text));
	ASSERT_STREQ(text, v->want);
}

TEST_F(head, whole)
{
	for (size_t i = 0; i < ARRAY_SIZE(parsers); i++)
		feed_head(self, variant, parsers[i], FEED_WHOLE);
}

TEST_F(head, byte_by_byte)
{
	for (size_t i = 0; i < ARRAY_SIZE(parsers); i++)
		feed_head(self, variant, parsers[i], FEED_BYTES);
}

TEST_F(head, random_splits)
{
	for (size_t i = 0; i < ARRAY_SIZE(parsers); i++)
		for (int n = 0; n < 20; n++)
			feed_head(self, variant, parsers[i], FEED_RANDOM);
}

/* Without the memory of @seen, a prefix may only be incomplete or what the whole is. */
TEST_F(head, every_prefix)
{
	static struct msg msg;

	for (size_t i = 0; i < ARRAY_SIZE(parsers); i++) {
		bool decided = false;

		for (size_t have = 0; have <= variant->len; have++) {
			char *p = self->buf + variant->len - have;
			ssize_t ret;

			memcpy(p, variant->in, have);
			ret = parsers[i](p, have, 0, &msg);
			if (variant->want) {
				size_t head_len = variant->len - variant->rest;

				ASSERT_EQ(ret, have < head_len ? -EAGAIN : (ssize_t)head_len);
				continue;
			}
			if (ret != -EAGAIN || decided)
				ASSERT_EQ(ret, -(ssize_t)variant->err - H1_ERR_BASE);
			decided = ret != -EAGAIN;
		}
		ASSERT_EQ(decided, !variant->want);
	}
}

/* A head with @nr fields, in a guarded buffer. */
static ssize_t parse_fields(parse_fn *parse, int nr)
{
	size_t len = sizeof(GET) - 1 + 5 * (size_t)nr + 2;
	char *buf = guard_alloc(len), *p = buf;
	static struct msg msg;
	ssize_t ret;

	p = mempcpy(p, GET, sizeof(GET) - 1);
	for (int i = 0; i < nr; i++)
		p = mempcpy(p, "A:b\r\n", 5);
	memcpy(p, "\r\n", 2);
	ret = parse(buf, len, 0, &msg);
	if (ret > 0) {
		ASSERT_EQ(ret, len);
		ASSERT_EQ(msg.nr_headers, nr);
		ASSERT_VIEW_EQ(msg.headers[nr - 1].value, "b");
	}
	guard_free(buf, len);
	return ret;
}

TEST(as_many_headers_as_fit)
{
	for (size_t i = 0; i < ARRAY_SIZE(parsers); i++)
		ASSERT_GT(parse_fields(parsers[i], MAX_HEADERS), 0);
}

TEST(one_header_too_many)
{
	for (size_t i = 0; i < ARRAY_SIZE(parsers); i++)
		ASSERT_EQ(parse_fields(parsers[i], MAX_HEADERS + 1),
			  -H1_ERR_MANY_HEADERS - H1_ERR_BASE);
}

TEST(nothing_is_incomplete)
{
	char *buf = guard_alloc(1);
	static struct msg msg;

	for (size_t i = 0; i < ARRAY_SIZE(parsers); i++)
		ASSERT_EQ(parsers[i](buf + 1, 0, 0, &msg), -EAGAIN);
	guard_free(buf, 1);
}

/* The grammar of RFC 9110 5.6.2 and 5.5 once more, in other words than the table's. */
static bool is_tchar(int c)
{
	return c < 0x80 && (isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c)));
}

static bool is_value_byte(int c)
{
	return c == '\t' || (c >= 0x20 && c != 0x7f);
}

static bool is_target_byte(int c)
{
	return c > 0x20 && c != 0x7f;
}

/*
 * Puts each byte in each place of @before + filler + @after, so that it comes
 * into every lane of a vector and into the rest behind the last one.
 */
static void try_every_byte(const char *before, const char *after, bool (*allowed)(int c),
			   const char *except)
{
	const size_t filler = 40, b = strlen(before), a = strlen(after), len = b + filler + a;
	char *buf = guard_alloc(len);
	static struct msg msg;

	memcpy(buf, before, b);
	memcpy(buf + b + filler, after, a);
	for (size_t at = 0; at < filler; at++) {
		for (int c = 0; c < 256; c++) {
			if (c && strchr(except, c))
				continue;
			memset(buf + b, 'x', filler);
			buf[b + at] = (char)c;
			for (size_t i = 0; i < ARRAY_SIZE(parsers); i++) {
				ssize_t ret = parsers[i](buf, len, 0, &msg);

				ASSERT_EQ(ret > 0, allowed(c));
			}
		}
	}
	guard_free(buf, len);
}

TEST(every_byte_in_a_method)
{
	try_every_byte("", " / HTTP/1.1\r\n\r\n", is_tchar, " ");
}

TEST(every_byte_in_a_target)
{
	try_every_byte("GET ", " HTTP/1.1\r\n\r\n", is_target_byte, "");
}

TEST(every_byte_in_a_name)
{
	try_every_byte(GET "A", ":\r\n\r\n", is_tchar, ":");
}

TEST(every_byte_in_a_value)
{
	try_every_byte(GET "A:", "\r\n\r\n", is_value_byte, "");
}

/* A head of many kilobytes, fed byte by byte, is looked at twice: once for its end, once parsed. */
TEST(byte_by_byte_is_linear)
{
	static const char line[] = "Some-Name: some value that goes on for a while\r\n";
	const size_t nr = 100, len = sizeof(GET) - 1 + nr * (sizeof(line) - 1) + 2;
	char *buf = guard_alloc(len), *p = buf;
	static struct msg msg;
	ssize_t ret = -EAGAIN;

	p = mempcpy(p, GET, sizeof(GET) - 1);
	for (size_t i = 0; i < nr; i++)
		p = mempcpy(p, line, sizeof(line) - 1);
	memcpy(p, "\r\n", 2);
	portable_looked_at = 0;
	for (size_t have = 1; have <= len; have++) {
		ASSERT_EQ(ret, -EAGAIN);
		ret = portable_parse_head(buf, have, have - 1, &msg);
	}
	ASSERT_EQ(ret, len);
	ASSERT_GE(portable_looked_at, len);
	ASSERT_LE(portable_looked_at, 2 * len);
	guard_free(buf, len);
}

/* In pieces too, a client that ends its lines with LF is not waited for. */
TEST(bare_lf_is_refused_at_once)
{
	static const char in[] = "GET / HTTP/1.1\r\nHost: a\n";
	static struct msg msg;

	for (size_t i = 0; i < ARRAY_SIZE(parsers); i++) {
		for (size_t have = 1; have < sizeof(in) - 1; have++)
			ASSERT_EQ(parsers[i](in, have, have - 1, &msg), -EAGAIN);
		ASSERT_EQ(parsers[i](in, sizeof(in) - 1, sizeof(in) - 2, &msg),
			  -H1_ERR_LINE_END - H1_ERR_BASE);
	}
}

TEST(a_refusal_keeps_what_was_read)
{
	static const char in[] = "PUT /x HTTP/1.0\r\nA: b\r\nC : d\r\n\r\n";
	static struct msg msg;

	ASSERT_EQ(h1_parse_head(in, sizeof(in) - 1, 0, &msg), -H1_ERR_HEADER_NAME - H1_ERR_BASE);
	ASSERT_EQ(msg.method, METHOD_PUT);
	ASSERT_VIEW_EQ(msg.target, "/x");
	ASSERT_EQ(msg.nr_headers, 1);
	ASSERT_EQ(h1_parse_head("(", 1, 0, &msg), -H1_ERR_METHOD - H1_ERR_BASE);
	ASSERT_EQ(msg.method, METHOD_OTHER);
	ASSERT_EQ(msg.method_name.len, 0);
	ASSERT_EQ(msg.target.len, 0);
	ASSERT_EQ(msg.nr_headers, 0);
}

TEST(status_of_refusals)
{
	for (int e = H1_ERR_METHOD; e < NR_H1_ERRS; e++)
		EXPECT_EQ(h1_parse_status(e), e == H1_ERR_VERSION        ? 505
					      : e == H1_ERR_MANY_HEADERS ? 431
									 : 400);
}

TEST(each_refusal_has_its_text)
{
	for (int e = H1_ERR_METHOD; e < NR_H1_ERRS; e++) {
		ASSERT_EQ(h1_parse_err_of(h1_parse_refuse(e)), e);
		for (int other = H1_ERR_METHOD; other < e; other++)
			EXPECT_NE(strcmp(h1_parse_strerror(e), h1_parse_strerror(other)), 0);
	}
}
