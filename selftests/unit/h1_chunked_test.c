/* SPDX-License-Identifier: MIT */
/*
 * The rules of chunked bodies: chunked[rule].how is a case of its own. Pieces
 * end at a guard page, and what comes out must not depend on the pieces.
 */
#include "server/h1_parse.h"
#include "selftests/harness/harness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

FIXTURE(chunked)
{
	char *buf;
};

/* @want: the data that comes out before the end, the refusal or the end of input. */
FIXTURE_VARIANT(chunked)
{
	const char *rule;
	const char *in;
	size_t len;
	const char *want;
	size_t rest; /* bytes behind the body that it must leave */
	bool unfinished;
	enum h1_parse_err err;
};

#define IN(s) .in = (s), .len = sizeof(s) - 1
#define OK(name, input, wanted, ...)                                                               \
	{                                                                                          \
		.rule = name, IN(input), .want = wanted, __VA_ARGS__                               \
	}
#define BAD(name, input, wanted, e)                                                                \
	{                                                                                          \
		.rule = name, IN(input), .want = wanted, .err = H1_ERR_##e                         \
	}
#define END "0\r\n\r\n"

static const struct variant_chunked rules[] = {
	OK("empty", END, ""),
	OK("one_chunk", "5\r\nhello\r\n" END, "hello"),
	OK("two_chunks", "5\r\nhello\r\n6\r\n world\r\n" END, "hello world"),
	OK("hex_lower", "a\r\n0123456789\r\n" END, "0123456789"),
	OK("hex_upper", "A\r\n0123456789\r\n" END, "0123456789"),
	OK("hex_two_digits", "1a\r\n0123456789abcdef0123456789\r\n" END, "0123456789abcdef0123456789"),
	OK("leading_zeros", "0000000000000001\r\nx\r\n" END, "x"),
	OK("zeros_end", "0000000000000000\r\n\r\n", ""),
	OK("data_with_crlf", "4\r\n\r\n\r\n\r\n" END, "\r\n\r\n"),
	OK("data_like_an_end", "5\r\n" END "\r\n" END, END),
	OK("leaves_what_is_behind", "1\r\nx\r\n" END "GET / HTTP/1.1", "x", .rest = 14),
	OK("leaves_crlf_behind", END "\r\n", "", .rest = 2),
	OK("unfinished_size", "1", "", .unfinished = true),
	OK("unfinished_data", "5\r\nhel", "hel", .unfinished = true),
	OK("unfinished_data_end", "5\r\nhello\r", "hello", .unfinished = true),
	OK("unfinished_end", "1\r\nx\r\n0\r\n", "x", .unfinished = true),
	OK("unfinished_end_cr", "1\r\nx\r\n0\r\n\r", "x", .unfinished = true),
	OK("unfinished_trailer", "0\r\nA: b\r\n", "", .unfinished = true),
	OK("size_max", "7fffffffffffffff\r\nx", "x", .unfinished = true),

	OK("ext_name", "1;a\r\nx\r\n" END, "x"),
	OK("ext_value", "1;a=b\r\nx\r\n" END, "x"),
	OK("ext_several", "1;a=b;c;d=e\r\nx\r\n" END, "x"),
	OK("ext_on_last", "0;a=b\r\n\r\n", ""),
	OK("ext_quoted", "1;a=\"b c\t(d)\xff\"\r\nx\r\n" END, "x"),
	OK("ext_quoted_empty", "1;a=\"\"\r\nx\r\n" END, "x"),
	OK("ext_quoted_semicolon", "1;a=\";b\";c\r\nx\r\n" END, "x"),
	OK("ext_quoted_escape", "1;a=\"\\\"\\\\b\"\r\nx\r\n" END, "x"),
	OK("trailer_one", "1\r\nx\r\n0\r\nA: b\r\n\r\n", "x"),
	OK("trailer_two", "0\r\nA: b\r\nC:\td\r\n\r\n", ""),
	OK("trailer_empty_value", "0\r\nA:\r\n\r\n", ""),
	OK("trailer_framing_names", "0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n", ""),

	BAD("size_none", "\r\n\r\n", "", CHUNK_SIZE),
	BAD("size_none_ext", ";a\r\n\r\n", "", CHUNK_SIZE),
	BAD("size_not_hex", "g\r\n", "", CHUNK_SIZE),
	BAD("size_not_hex_behind", "1g\r\nx\r\n", "", CHUNK_SIZE),
	BAD("size_plus", "+1\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_minus", "-1\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_0x", "0x1\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_underscore", "1_0\r\n0123456789abcdef\r\n" END, "", CHUNK_SIZE),
	BAD("size_space_before", " 1\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_tab_before", "\t1\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_space_behind", "1 \r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_tab_behind", "1\t\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_vertical_tab", "1\x0b\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_comma", "1,1\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_point", "1.0\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_nul", "1\0\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_obs_text", "1\xb1\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_too_large", "8000000000000000\r\n", "", CHUNK_SIZE),
	BAD("size_all_ones", "ffffffffffffffff\r\n", "", CHUNK_SIZE),
	BAD("size_wraps", "10000000000000001\r\nx\r\n", "", CHUNK_SIZE),
	BAD("size_too_many_zeros", "00000000000000001\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("size_of_second", "1\r\nx\r\n-1\r\n", "x", CHUNK_SIZE),
	BAD("size_bare_lf", "1\nx\r\n" END, "", LINE_END),
	BAD("size_bare_cr", "1\rx\r\n" END, "", LINE_END),
	BAD("size_cr_cr_lf", "1\r\r\nx\r\n" END, "", LINE_END),
	BAD("size_first_lf", "\n1\r\nx\r\n" END, "", LINE_END),
	BAD("last_bare_lf", "0\n\r\n", "", LINE_END),

	BAD("ext_space_before", "1 ;a\r\nx\r\n" END, "", CHUNK_SIZE),
	BAD("ext_space_behind_semicolon", "1; a\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_space_before_equals", "1;a =b\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_space_behind_equals", "1;a= b\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_space_at_end", "1;a=b \r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_empty", "1;\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_empty_second", "1;a;;b\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_empty_value", "1;a=\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_name_not_a_token", "1;a(b\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_value_not_a_token", "1;a=b,c\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_two_equals", "1;a=b=c\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_quote_in_token", "1;a=b\"c\"\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_quoted_then_token", "1;a=\"b\"c\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_quoted_crlf", "1;a=\"b\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_quoted_nul", "1;a=\"b\0\"\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_quoted_escaped_cr", "1;a=\"b\\\r\n\"\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_quoted_control", "1;a=\"\x7f\"\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_nul", "1;a\0\r\nx\r\n" END, "", CHUNK_EXT),
	BAD("ext_bare_lf", "1;a\nx\r\n" END, "", LINE_END),
	BAD("ext_quoted_bare_lf", "1;a=\"b\"\nx\r\n" END, "", LINE_END),
	BAD("ext_bare_cr", "1;a\rx\r\n" END, "", LINE_END),

	BAD("data_too_long", "1\r\nxy\r\n" END, "x", CHUNK_END),
	BAD("data_end_other_then_lf", "1\r\nxy\n" END, "x", CHUNK_END),
	BAD("data_end_bare_lf", "1\r\nx\n" END, "x", CHUNK_END),
	BAD("data_end_bare_cr", "1\r\nx\r0\r\n\r\n", "x", CHUNK_END),
	BAD("data_end_none", "1\r\nx" END, "x", CHUNK_END),

	BAD("trailer_name_empty", "0\r\n: b\r\n\r\n", "", TRAILER),
	BAD("trailer_no_colon", "0\r\nA\r\n\r\n", "", TRAILER),
	BAD("trailer_space_before_colon", "0\r\nA : b\r\n\r\n", "", TRAILER),
	BAD("trailer_name_not_a_token", "0\r\nA(: b\r\n\r\n", "", TRAILER),
	BAD("trailer_value_nul", "0\r\nA: \0\r\n\r\n", "", TRAILER),
	BAD("trailer_value_control", "0\r\nA: \x01\r\n\r\n", "", TRAILER),
	BAD("trailer_obs_fold", "0\r\nA: b\r\n c\r\n\r\n", "", TRAILER),
	BAD("trailer_white_space_first", "0\r\n A: b\r\n\r\n", "", TRAILER),
	BAD("trailer_bare_lf", "0\r\nA: b\n\r\n", "", LINE_END),
	BAD("trailer_bare_cr", "0\r\nA: b\rc\r\n\r\n", "", LINE_END),
	BAD("end_bare_lf", "0\r\n\n", "", LINE_END),
	BAD("end_bare_cr", "0\r\n\rG", "", LINE_END),
};

static struct harness_variant rule_variants[ARRAY_SIZE(rules)];

HARNESS_AT_START(rules)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		rule_variants[i].name = rules[i].rule;
		rule_variants[i].value = &rules[i];
		harness_add_variant(&fixture_chunked, &rule_variants[i]);
	}
}

FIXTURE_SETUP(chunked)
{
	self->buf = guard_alloc(variant->len);
}

FIXTURE_TEARDOWN(chunked)
{
	guard_free(self->buf, variant->len);
}

/* What came out of a body so far. */
struct sink {
	struct h1_chunked c;
	char *data;
	size_t size;
	size_t len;
	size_t taken;
	bool done;
};

/* Feeds one piece; 0, or the refusal. Checks what must hold for every call. */
static ssize_t feed_piece(struct sink *s, const char *p, size_t len)
{
	const char *end = p + len;

	while (p < end && !s->done) {
		struct view data;
		ssize_t n = h1_chunked_next(&s->c, p, (size_t)(end - p), &data, &s->done);

		if (n < 0)
			return n;
		ASSERT_GT(n, 0);
		ASSERT_LE(n, end - p);
		ASSERT_TRUE(data.p >= p && data.p + data.len <= p + n);
		ASSERT_LE(s->len + data.len, s->size);
		memcpy(s->data + s->len, data.p, data.len);
		s->len += data.len;
		s->taken += (size_t)n;
		ASSERT_EQ(s->c.total, s->len);
		p += n;
	}
	return 0;
}

/* Feeds all of @in in pieces that end at the end of @buf. */
static ssize_t feed_all(struct sink *s, char *buf, const char *in, size_t len, enum feeding how)
{
	size_t off = 0, piece;
	ssize_t ret = 0;
	struct feed feed;
	struct rng rng;

	rng_init(&rng);
	feed_init(&feed, how, len, &rng);
	while (ret == 0 && !s->done && (piece = feed_next(&feed))) {
		char *p = buf + len - piece;

		memcpy(p, in + off, piece);
		off += piece;
		ret = feed_piece(s, p, piece);
	}
	return ret;
}

static void feed_rule(struct self_chunked *self, const struct variant_chunked *v, enum feeding how)
{
	char out[256];
	struct sink s = { .data = out, .size = sizeof(out) };
	ssize_t ret = feed_all(&s, self->buf, v->in, v->len, how);
	struct view data;
	bool done;

	ASSERT_EQ(ret, v->err ? -(ssize_t)v->err - H1_ERR_BASE : 0);
	ASSERT_EQ(s.len, strlen(v->want));
	ASSERT_MEMEQ(out, v->want, s.len);
	ASSERT_EQ(s.done, !v->err && !v->unfinished);
	if (!v->err)
		ASSERT_EQ(s.taken, v->len - v->rest);

	/* Whatever comes now: a refusal stays one, an end stays the end. */
	if (v->unfinished)
		return;
	ret = h1_chunked_next(&s.c, "0\r\n\r\n", 5, &data, &done);
	ASSERT_EQ(ret, v->err ? -(ssize_t)v->err - H1_ERR_BASE : 0);
	ASSERT_EQ(done, s.done);
	ASSERT_EQ(data.len, 0);
}

TEST_F(chunked, whole)
{
	feed_rule(self, variant, FEED_WHOLE);
}

TEST_F(chunked, byte_by_byte)
{
	feed_rule(self, variant, FEED_BYTES);
}

TEST_F(chunked, random_splits)
{
	for (int n = 0; n < 20; n++)
		feed_rule(self, variant, FEED_RANDOM);
}

/* Decodes the string @in (freed here) whole; 0 if it was a whole body, else the refusal. */
static ssize_t decode(char *in)
{
	static char out[64 * KIB];
	size_t len = strlen(in);
	char *buf = guard_alloc(len);
	struct sink s = { .data = out, .size = sizeof(out) };
	ssize_t ret = feed_all(&s, buf, in, len, FEED_WHOLE);

	ASSERT_TRUE(ret < 0 || s.done);
	guard_free(buf, len);
	free(in);
	return ret;
}

static char *format(const char *fmt, ...) __printf(1, 2);

static char *format(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		abort();
	va_end(ap);
	return s;
}

/* @nr letters, to use up a limit. */
static const char *letters(size_t nr)
{
	static char s[64 * KIB];

	memset(s, 'a', nr);
	s[nr] = 0;
	return s;
}

#define REFUSED(e) (-(ssize_t)H1_ERR_##e - H1_ERR_BASE)

TEST(ext_as_long_as_allowed)
{
	ASSERT_EQ(decode(format("1;%s\r\nx\r\n" END, letters(CHUNK_EXT_MAX - 1))), 0);
}

TEST(ext_one_byte_too_long)
{
	ASSERT_EQ(decode(format("1;%s\r\nx\r\n" END, letters(CHUNK_EXT_MAX))), REFUSED(CHUNK_EXT));
}

TEST(ext_quoted_one_byte_too_long)
{
	ASSERT_EQ(decode(format("1;a=\"%s\"\r\nx\r\n" END, letters(CHUNK_EXT_MAX - 4))),
		  REFUSED(CHUNK_EXT));
}

TEST(trailer_as_long_as_allowed)
{
	/* "A:" CRLF and the last CRLF are six more. */
	ASSERT_EQ(decode(format("0\r\nA:%s\r\n\r\n", letters(CHUNK_TRAILER_MAX - 6))), 0);
}

TEST(trailer_one_byte_too_long)
{
	ASSERT_EQ(decode(format("0\r\nA:%s\r\n\r\n", letters(CHUNK_TRAILER_MAX - 5))),
		  REFUSED(TRAILER));
}

/* Chunks of @data bytes, each with @ext bytes of extension, until one is refused. */
static int chunks_until_refused(size_t data, size_t ext, int max)
{
	static char out[128 * KIB];
	struct sink s = { .data = out, .size = sizeof(out) };
	char *line = format("%zx;%s\r\n", data, letters(ext - 1));
	int i;

	for (i = 0; i < max && feed_piece(&s, line, strlen(line)) == 0; i++) {
		ASSERT_EQ(feed_piece(&s, letters(data), data), 0);
		ASSERT_EQ(feed_piece(&s, "\r\n", 2), 0);
	}
	free(line);
	return i;
}

/* Small chunks with large extensions: the free bytes and one per byte of data are used up. */
TEST(ext_flood)
{
	ASSERT_EQ(chunks_until_refused(1, 101, 1000), (CHUNK_EXT_FREE - 101) / 100 + 1);
}

/* Extensions that do not outweigh the data may go on for ever. */
TEST(ext_on_every_large_chunk)
{
	ASSERT_EQ(chunks_until_refused(100, 100, 1000), 1000);
}

/* A random body in random chunks: what went in comes out, however it is cut. */
TEST(random_bodies)
{
	static char body[8 * KIB], in[64 * KIB], out[8 * KIB];
	struct rng rng;

	rng_init(&rng);
	for (int round = 0; round < 100; round++) {
		size_t left = rng_below(&rng, sizeof(body)), total = left, len = 0, off = 0;
		struct sink s = { .data = out, .size = sizeof(out) };
		char *buf;

		rng_fill(&rng, body, total);
		while (left) {
			size_t n = 1 + rng_below(&rng, min(left, (size_t)1000));

			len += (size_t)sprintf(
				in + len, rng_below(&rng, 2) ? "%zx\r\n" : "0%zX;a=\"\\;\"\r\n", n);
			memcpy(in + len, body + off, n);
			len += n + (size_t)sprintf(in + len + n, "\r\n");
			off += n;
			left -= n;
		}
		len += (size_t)sprintf(in + len, "0\r\nA: b\r\n\r\n");
		buf = guard_alloc(len);
		ASSERT_EQ(feed_all(&s, buf, in, len, round % 3), 0);
		ASSERT_TRUE(s.done);
		ASSERT_EQ(s.taken, len);
		ASSERT_EQ(s.len, total);
		ASSERT_MEMEQ(out, body, total);
		guard_free(buf, len);
	}
}

TEST(nothing_in_nothing_out)
{
	struct h1_chunked c = { .left = 0 };
	char *p = guard_alloc(1);
	struct view data;
	bool done;

	ASSERT_EQ(h1_chunked_next(&c, p + 1, 0, &data, &done), 0);
	ASSERT_EQ(data.len, 0);
	ASSERT_FALSE(done);
	guard_free(p, 1);
}
