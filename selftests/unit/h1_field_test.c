/* SPDX-License-Identifier: MIT */
/*
 * The rules of the fields that frame a request and of its target: value[rule]
 * is a case of its own. Values lie before and behind a guard page.
 */
#include "server/h1_parse.h"
#include "selftests/harness/harness.h"

#include <ctype.h>
#include <stdio.h>

/* Which function a value is for; @arg is its second argument. */
static int te(struct view v, const char *arg)
{
	return h1_check_te(v);
}

static int host(struct view v, const char *arg)
{
	return h1_check_host(v);
}

static int list(struct view v, const char *arg)
{
	return h1_list_has(v, view_of(arg));
}

/* @arg: the number, or NULL where none is to come out. */
static int length(struct view v, const char *arg)
{
	u64 n = 0;
	int ret = h1_parse_length(v, &n);
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	if (ret == 0)
		ASSERT_STREQ(text, arg);
	return ret;
}

/* @arg: "METHOD" or "METHOD form [authority] path[?query]". */
static int target(struct view v, const char *arg)
{
	static const char *const forms[] = {
		[TARGET_ORIGIN] = "origin",
		[TARGET_ABSOLUTE] = "absolute",
		[TARGET_AUTHORITY] = "authority",
		[TARGET_ASTERISK] = "asterisk",
	};
	enum method m = strncmp(arg, "OPTIONS", 7) == 0   ? METHOD_OPTIONS
			: strncmp(arg, "CONNECT", 7) == 0 ? METHOD_CONNECT
							  : METHOD_GET;
	struct target t;
	char text[512];
	int ret = h1_split_target(v, m, &t);

	if (ret)
		return ret;
	snprintf(text, sizeof(text), "%s [%.*s] %.*s%s%.*s", forms[t.form], (int)t.authority.len,
		 t.authority.p, (int)t.path.len, t.path.p, t.has_query ? "?" : "", (int)t.query.len,
		 t.query.p);
	ASSERT_STREQ(text, strchr(arg, ' ') + 1);
	return 0;
}

FIXTURE(value)
{
	char unused;
};

FIXTURE_VARIANT(value)
{
	const char *rule;
	int (*fn)(struct view v, const char *arg);
	const char *in;
	size_t len;
	const char *arg;
	int want;
};

#define ROW(fn, rule, input, result, argument)                                                     \
	{                                                                                          \
#fn "_" rule, fn, input, sizeof(input) - 1, argument, result                       \
	}
#define OK(fn, rule, input) ROW(fn, rule, input, 0, NULL)
#define BAD(fn, rule, input) ROW(fn, rule, input, -EINVAL, NULL)
#define HAS(rule, input, token) ROW(list, "has_" rule, input, 1, token)
#define HAS_NOT(rule, input, token) ROW(list, "has_not_" rule, input, 0, token)
#define LENGTH(rule, input) ROW(length, rule, input, 0, input)
#define TARGET(rule, input, m, parts) ROW(target, rule, input, 0, #m " " parts)
#define NO_TARGET(rule, input, m) ROW(target, rule, input, -EINVAL, #m)

static const struct variant_value rules[] = {
	LENGTH("zero", "0"),
	LENGTH("one_digit", "5"),
	LENGTH("max", "9223372036854775807"),
	ROW(length, "leading_zeros", "00000000000000000000005", 0, "5"),
	BAD(length, "empty", ""),
	BAD(length, "max_and_one", "9223372036854775808"),
	BAD(length, "overflow_64_bits", "18446744073709551621"),
	BAD(length, "overflow_product", "99999999999999999999"),
	BAD(length, "plus", "+5"),
	BAD(length, "minus", "-5"),
	BAD(length, "minus_zero", "-0"),
	BAD(length, "hex", "0x5"),
	BAD(length, "letter", "5a"),
	BAD(length, "list", "5, 5"),
	BAD(length, "space_before", " 5"),
	BAD(length, "space_behind", "5 "),
	BAD(length, "inner_space", "5 5"),
	BAD(length, "point", "5.0"),
	BAD(length, "nul", "5\0"),
	BAD(length, "obs_text", "\xb2"),

	OK(te, "chunked", "chunked"),
	OK(te, "chunked_any_case", "ChUnKeD"),
	OK(te, "chunked_in_white_space", " \tchunked\t "),
	ROW(te, "unknown", "gzip", -ENOTSUP, NULL),
	ROW(te, "identity", "identity", -ENOTSUP, NULL),
	ROW(te, "unknown_then_chunked", "gzip, chunked", -ENOTSUP, NULL),
	ROW(te, "unknown_like_chunked", "xchunked", -ENOTSUP, NULL),
	ROW(te, "unknown_chunked_prefix", "chunke", -ENOTSUP, NULL),
	BAD(te, "empty", ""),
	BAD(te, "white_space", " "),
	BAD(te, "comma", ","),
	BAD(te, "empty_element_first", ",chunked"),
	BAD(te, "empty_element_last", "chunked,"),
	BAD(te, "empty_element_inner", "gzip,,chunked"),
	BAD(te, "chunked_twice", "chunked, chunked"),
	BAD(te, "chunked_not_last", "chunked, gzip"),
	BAD(te, "chunked_in_the_middle", "gzip, chunked, gzip"),
	BAD(te, "chunked_with_parameter", "chunked;a=b"),
	BAD(te, "unknown_with_parameter", "gzip;q=1, chunked"),
	BAD(te, "semicolon", "chunked;"),
	BAD(te, "quoted", "\"chunked\""),
	BAD(te, "two_words", "chunked gzip"),
	BAD(te, "vertical_tab",
	    "\x0b"
	    "chunked"),
	BAD(te, "nul", "chunked\0"),
	BAD(te, "obs_text", "chunked\xa0"),

	HAS("only", "close", "close"),
	HAS("any_case", "CLOSE", "close"),
	HAS("first", "close, te", "close"),
	HAS("last", "te , \tclose", "close"),
	HAS("inner", "a,close,b", "close"),
	HAS("behind_empty_elements", ", ,close", "close"),
	HAS("in_white_space", "\t close ", "close"),
	HAS_NOT("empty", "", "close"),
	HAS_NOT("prefix", "clos", "close"),
	HAS_NOT("longer", "closed", "close"),
	HAS_NOT("part_of_name", "not-close", "close"),
	HAS_NOT("two_words", "close now", "close"),
	HAS_NOT("parameter", "close;a", "close"),
	HAS_NOT("other_separator", "te;close", "close"),
	HAS_NOT("only_commas", ",,", "close"),

	OK(host, "empty", ""),
	OK(host, "name", "example.com"),
	OK(host, "name_port", "example.com:8080"),
	OK(host, "one_letter", "a"),
	OK(host, "trailing_point", "example.com."),
	OK(host, "underscore", "my_app.local"),
	OK(host, "sub_delims", "a!$&'()*+;=~b"),
	OK(host, "percent", "a%2Fb%c3%BC"),
	OK(host, "ipv4", "127.0.0.1"),
	OK(host, "ipv4_port", "127.0.0.1:9292"),
	OK(host, "port_empty", "a:"),
	OK(host, "port_zero", "a:0"),
	OK(host, "port_max", "a:65535"),
	OK(host, "port_leading_zeros", "a:0000000080"),
	OK(host, "ipv6_loopback", "[::1]"),
	OK(host, "ipv6_port", "[::1]:9292"),
	OK(host, "ipv6_any", "[::]"),
	OK(host, "ipv6_whole", "[2001:0db8:0:0:0:0:0:1]"),
	OK(host, "ipv6_gap_inner", "[2001:db8::8:1]"),
	OK(host, "ipv6_gap_last", "[2001:db8::]"),
	OK(host, "ipv6_upper", "[2001:DB8::A]"),
	OK(host, "ipv6_gap_for_one", "[1:2:3:4:5:6:7::]"),
	OK(host, "ipv6_mapped", "[::ffff:192.0.2.1]"),
	OK(host, "ipv6_with_ipv4_whole", "[1:2:3:4:5:6:192.0.2.255]"),
	BAD(host, "userinfo", "user@example.com"),
	BAD(host, "userinfo_password", "user:pass@example.com"),
	BAD(host, "space", "a b"),
	BAD(host, "tab", "a\tb"),
	BAD(host, "comma", "a,b"),
	BAD(host, "two", "a, b"),
	BAD(host, "slash", "a/b"),
	BAD(host, "backslash", "a\\b"),
	BAD(host, "question_mark", "a?b"),
	BAD(host, "hash", "a#b"),
	BAD(host, "quote", "a\"b"),
	BAD(host, "angle", "a<b"),
	BAD(host, "scheme", "http://a"),
	BAD(host, "nul", "a\0b"),
	BAD(host, "control", "a\x01"),
	BAD(host, "del", "a\x7f"),
	BAD(host, "obs_text", "\xc3\xbc"),
	BAD(host, "percent_one_digit", "a%2"),
	BAD(host, "percent_no_digits", "a%"),
	BAD(host, "percent_not_hex", "a%g0"),
	BAD(host, "port_only", ":80"),
	BAD(host, "port_not_digits", "a:b"),
	BAD(host, "port_negative", "a:-1"),
	BAD(host, "port_too_large", "a:65536"),
	BAD(host, "port_wraps", "a:4294967376"),
	BAD(host, "port_twice", "a:80:80"),
	BAD(host, "port_space", "a:80 "),
	BAD(host, "ipv6_bare", "::1"),
	BAD(host, "ipv6_open", "[::1"),
	BAD(host, "ipv6_empty", "[]"),
	BAD(host, "ipv6_closed_only", "::1]"),
	BAD(host, "ipv6_then_letters", "[::1]a"),
	BAD(host, "ipv6_two_gaps", "[1::2::3]"),
	BAD(host, "ipv6_three_colons", "[:::]"),
	BAD(host, "ipv6_three_colons_inner", "[1:::2]"),
	BAD(host, "ipv6_colon_first", "[:1:2:3:4:5:6:7]"),
	BAD(host, "ipv6_colon_last", "[1:2:3:4:5:6:7:]"),
	BAD(host, "ipv6_colon_behind_eight", "[1:2:3:4:5:6:7:8:]"),
	BAD(host, "ipv6_colon_behind_gap", "[::1:]"),
	BAD(host, "ipv6_seven_groups", "[1:2:3:4:5:6:7]"),
	BAD(host, "ipv6_nine_groups", "[1:2:3:4:5:6:7:8:9]"),
	BAD(host, "ipv6_eight_and_gap", "[1:2:3:4:5:6:7:8::]"),
	BAD(host, "ipv6_five_digits", "[12345::]"),
	BAD(host, "ipv6_not_hex", "[::g]"),
	BAD(host, "ipv6_zone", "[fe80::1%25eth0]"),
	BAD(host, "ipv6_mapped_short", "[::ffff:192.0.2]"),
	BAD(host, "ipv6_mapped_large_octet", "[::ffff:192.0.2.256]"),
	BAD(host, "ipv6_mapped_leading_zero", "[::ffff:192.0.2.01]"),
	BAD(host, "ipv6_mapped_not_last", "[::192.0.2.1:1]"),
	BAD(host, "ipv6_mapped_nine_groups", "[1:2:3:4:5:6:7:192.0.2.1]"),
	BAD(host, "ipv6_point_first", "[::.1.2.3]"),
	BAD(host, "ipvfuture", "[v1.a]"),

	TARGET("root", "/", GET, "origin [] /"),
	TARGET("path", "/a/b", GET, "origin [] /a/b"),
	TARGET("query", "/a?b=c", GET, "origin [] /a?b=c"),
	TARGET("query_empty", "/?", GET, "origin [] /?"),
	TARGET("query_with_question_marks", "/a?b?c", GET, "origin [] /a?b?c"),
	TARGET("two_slashes_are_a_path", "//a/b", GET, "origin [] //a/b"),
	TARGET("path_like_a_url", "/http://a/", GET, "origin [] /http://a/"),
	TARGET("path_asterisk", "/*", GET, "origin [] /*"),
	TARGET("obs_text", "/\xc3\xbc", GET, "origin [] /\xc3\xbc"),
	TARGET("origin_options", "/a", OPTIONS, "origin [] /a"),
	TARGET("absolute", "http://a.b/c?d", GET, "absolute [a.b] /c?d"),
	TARGET("absolute_https", "https://a:443/c", GET, "absolute [a:443] /c"),
	TARGET("absolute_any_case", "HtTpS://a/c", GET, "absolute [a] /c"),
	TARGET("absolute_ipv6", "http://[::1]:80/", GET, "absolute [[::1]:80] /"),
	TARGET("absolute_no_path", "http://a", GET, "absolute [a] /"),
	TARGET("absolute_no_path_query", "http://a?b", GET, "absolute [a] /?b"),
	TARGET("absolute_no_path_port", "http://a:80", GET, "absolute [a:80] /"),
	TARGET("asterisk", "*", OPTIONS, "asterisk [] *"),
	TARGET("authority", "a.b:443", CONNECT, "authority [a.b:443] "),
	TARGET("authority_ipv6", "[::1]:443", CONNECT, "authority [[::1]:443] "),
	NO_TARGET("empty", "", GET),
	NO_TARGET("fragment", "/a#b", GET),
	NO_TARGET("fragment_empty", "/a#", GET),
	NO_TARGET("fragment_in_query", "/a?b#c", GET),
	NO_TARGET("fragment_absolute", "http://a/#b", GET),
	NO_TARGET("no_slash", "a/b", GET),
	NO_TARGET("query_only", "?a", GET),
	NO_TARGET("asterisk_get", "*", GET),
	NO_TARGET("asterisk_and_more", "*a", OPTIONS),
	NO_TARGET("asterisk_connect", "*", CONNECT),
	NO_TARGET("other_scheme", "ftp://a/", GET),
	NO_TARGET("scheme_only", "http:", GET),
	NO_TARGET("scheme_one_slash", "http:/a", GET),
	NO_TARGET("scheme_prefix", "http", GET),
	NO_TARGET("absolute_no_authority", "http:///a", GET),
	NO_TARGET("absolute_nothing", "http://", GET),
	NO_TARGET("absolute_port_only", "http://:80/", GET),
	NO_TARGET("absolute_userinfo", "http://u@a/", GET),
	NO_TARGET("absolute_backslash", "http://a\\b/", GET),
	NO_TARGET("absolute_comma", "http://a,b/", GET),
	NO_TARGET("absolute_bad_port", "http://a:x/", GET),
	NO_TARGET("authority_get", "a.b:443", GET),
	NO_TARGET("authority_no_port", "a.b", CONNECT),
	NO_TARGET("authority_empty_port", "a.b:", CONNECT),
	NO_TARGET("authority_ipv6_no_port", "[::1]", CONNECT),
	NO_TARGET("authority_userinfo", "u@a:443", CONNECT),
	NO_TARGET("connect_origin", "/a", CONNECT),
	NO_TARGET("connect_absolute", "http://a:80/", CONNECT),
};

static struct harness_variant rule_variants[ARRAY_SIZE(rules)];

HARNESS_AT_START(rules)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		rule_variants[i].name = rules[i].rule;
		rule_variants[i].value = &rules[i];
		harness_add_variant(&fixture_value, &rule_variants[i]);
	}
}

FIXTURE_SETUP(value)
{
}

FIXTURE_TEARDOWN(value)
{
}

TEST_F(value, at_the_end_of_memory)
{
	char *p = guard_copy(variant->in, variant->len);

	ASSERT_EQ(variant->fn((struct view){ p, variant->len }, variant->arg), variant->want);
	guard_free(p, variant->len);
}

TEST_F(value, at_the_start_of_memory)
{
	char *p = guard_alloc_before(variant->len + 1);

	memcpy(p, variant->in, variant->len);
	p[variant->len] = 'x';
	ASSERT_EQ(variant->fn((struct view){ p, variant->len }, variant->arg), variant->want);
	guard_free_before(p, variant->len + 1);
}

TEST(a_null_view_has_nothing)
{
	ASSERT_FALSE(h1_list_has((struct view){ NULL, 0 }, VIEW("close")));
	ASSERT_EQ(h1_check_te((struct view){ NULL, 0 }), -EINVAL);
	ASSERT_EQ(h1_check_host((struct view){ NULL, 0 }), 0);
}

static const struct {
	const char *name;
	enum known_header header;
} known[] = {
	{ "Host", HDR_HOST },
	{ "Connection", HDR_CONNECTION },
	{ "Content-Length", HDR_CONTENT_LENGTH },
	{ "Transfer-Encoding", HDR_TRANSFER_ENCODING },
	{ "Expect", HDR_EXPECT },
	{ "Upgrade", HDR_UPGRADE },
	{ "Keep-Alive", HDR_KEEP_ALIVE },
	{ "TE", HDR_TE },
	{ "Trailer", HDR_TRAILER },
	{ "HTTP2-Settings", HDR_HTTP2_SETTINGS },
	{ "Content-Type", HDR_CONTENT_TYPE },
	{ "Accept-Encoding", HDR_ACCEPT_ENCODING },
	{ "Range", HDR_RANGE },
	{ "If-Range", HDR_IF_RANGE },
	{ "If-Match", HDR_IF_MATCH },
	{ "If-None-Match", HDR_IF_NONE_MATCH },
	{ "If-Modified-Since", HDR_IF_MODIFIED_SINCE },
	{ "If-Unmodified-Since", HDR_IF_UNMODIFIED_SINCE },
};

static enum known_header classify(const char *name, size_t len)
{
	char *p = guard_copy(name, len);
	enum known_header h = h1_known_header((struct view){ p, len });

	guard_free(p, len);
	return h;
}

TEST(known_header_every_one)
{
	ASSERT_EQ(ARRAY_SIZE(known), NR_KNOWN_HEADERS - 1);
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		EXPECT_EQ(classify(known[i].name, strlen(known[i].name)), known[i].header);
}

TEST(known_header_any_case)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		size_t len = strlen(known[i].name);
		char upper[32], lower[32], mixed[32];

		for (size_t k = 0; k < len; k++) {
			upper[k] = (char)toupper(known[i].name[k]);
			lower[k] = (char)tolower(known[i].name[k]);
			mixed[k] = k % 2 ? upper[k] : lower[k];
		}
		EXPECT_EQ(classify(upper, len), known[i].header);
		EXPECT_EQ(classify(lower, len), known[i].header);
		EXPECT_EQ(classify(mixed, len), known[i].header);
	}
}

/* Each known name with each byte of it replaced by each token byte. */
TEST(known_header_one_byte_off)
{
	static const char tchars[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				     "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		size_t len = strlen(known[i].name);

		for (size_t at = 0; at < len; at++) {
			for (const char *c = tchars; *c; c++) {
				bool same = ascii_lower((u8)*c) == ascii_lower((u8)known[i].name[at]);
				char name[32];

				memcpy(name, known[i].name, len);
				name[at] = *c;
				ASSERT_EQ(h1_known_header((struct view){ name, len }),
					  same ? known[i].header : HDR_OTHER);
			}
		}
	}
}

TEST(known_header_prefix_or_longer)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		size_t len = strlen(known[i].name);
		char name[32];

		memcpy(name, known[i].name, len);
		name[len] = 's';
		EXPECT_EQ(classify(name, len + 1), HDR_OTHER);
		EXPECT_EQ(classify(name, len - 1), HDR_OTHER);
	}
}
