/* SPDX-License-Identifier: MIT */
#include "ruby_glue/env_key.h"

#include <ruby/encoding.h>

struct known {
	const char *header, *key;
	u32 flags;
};

#define STABLE(header, key)                                                                        \
	{                                                                                          \
		header, "HTTP_" key, KEY_STABLE                                                    \
	}
#define PLAIN(header, key)                                                                         \
	{                                                                                          \
		header, "HTTP_" key, 0                                                             \
	}

static const struct known known[] = {
	/* HTTP_HOST is the authority of the request (RFC 9112 3.2.2), not always this field. */
	{ "host", NULL, KEY_DROP },
	{ "content-type", "CONTENT_TYPE", 0 },
	{ "content-length", "CONTENT_LENGTH", KEY_LENGTH },
	/* The app sees the decoded body and its length. */
	{ "transfer-encoding", "CONTENT_LENGTH", KEY_LENGTH },
	{ "cookie", "HTTP_COOKIE", KEY_COOKIE },
	/* HTTP_PROXY would steer the HTTP clients of CGI children ("httpoxy"). */
	{ "proxy", NULL, KEY_DROP },
	STABLE("accept", "ACCEPT"),
	STABLE("accept-charset", "ACCEPT_CHARSET"),
	STABLE("accept-encoding", "ACCEPT_ENCODING"),
	STABLE("accept-language", "ACCEPT_LANGUAGE"),
	STABLE("cache-control", "CACHE_CONTROL"),
	STABLE("connection", "CONNECTION"),
	STABLE("dnt", "DNT"),
	STABLE("keep-alive", "KEEP_ALIVE"),
	STABLE("pragma", "PRAGMA"),
	STABLE("priority", "PRIORITY"),
	STABLE("sec-ch-ua", "SEC_CH_UA"),
	STABLE("sec-ch-ua-mobile", "SEC_CH_UA_MOBILE"),
	STABLE("sec-ch-ua-platform", "SEC_CH_UA_PLATFORM"),
	STABLE("sec-fetch-dest", "SEC_FETCH_DEST"),
	STABLE("sec-fetch-mode", "SEC_FETCH_MODE"),
	STABLE("sec-fetch-site", "SEC_FETCH_SITE"),
	STABLE("sec-fetch-user", "SEC_FETCH_USER"),
	STABLE("sec-gpc", "SEC_GPC"),
	STABLE("te", "TE"),
	STABLE("upgrade-insecure-requests", "UPGRADE_INSECURE_REQUESTS"),
	STABLE("x-forwarded-host", "X_FORWARDED_HOST"),
	STABLE("x-forwarded-port", "X_FORWARDED_PORT"),
	STABLE("x-forwarded-proto", "X_FORWARDED_PROTO"),
	PLAIN("authorization", "AUTHORIZATION"),
	PLAIN("date", "DATE"),
	PLAIN("expect", "EXPECT"),
	PLAIN("forwarded", "FORWARDED"),
	PLAIN("from", "FROM"),
	PLAIN("if-match", "IF_MATCH"),
	PLAIN("if-modified-since", "IF_MODIFIED_SINCE"),
	PLAIN("if-none-match", "IF_NONE_MATCH"),
	PLAIN("if-range", "IF_RANGE"),
	PLAIN("if-unmodified-since", "IF_UNMODIFIED_SINCE"),
	PLAIN("origin", "ORIGIN"),
	PLAIN("range", "RANGE"),
	PLAIN("referer", "REFERER"),
	PLAIN("upgrade", "UPGRADE"),
	PLAIN("user-agent", "USER_AGENT"),
	PLAIN("via", "VIA"),
	PLAIN("x-csrf-token", "X_CSRF_TOKEN"),
	PLAIN("x-forwarded-for", "X_FORWARDED_FOR"),
	PLAIN("x-real-ip", "X_REAL_IP"),
	PLAIN("x-request-id", "X_REQUEST_ID"),
	PLAIN("x-requested-with", "X_REQUESTED_WITH"),
};

_Static_assert(ARRAY_SIZE(known) <= ENV_KEYS_MAX, "an id is a bit of a u64");

#define PREFIX "HTTP_"
#define PREFIX_LEN (sizeof(PREFIX) - 1)
#define SPOTS 256u /* of each table */
#define SEEN_NAME_MAX 64u /* longer names are rare: not kept */

/* The names are the process's, as Ruby's own are. */
static struct {
	VALUE names[ARRAY_SIZE(known)];
	u8 spots[SPOTS]; /* index into known + 1, 0 = free; collisions go to the next spot */
	VALUE seen[SPOTS]; /* of other names the last one per spot; 0 = none */
} keys;

/* Four characters tell header names apart well enough. */
static u32 spot_of(struct view name)
{
	u32 first = ascii_lower((u8)name.p[0]), last = ascii_lower((u8)name.p[name.len - 1]);
	u32 middle = ascii_lower((u8)name.p[name.len / 2]);

	return ((u32)name.len * 31 + first * 7 + middle * 13 + last * 3) % SPOTS;
}

static void mark_seen(void *table)
{
	VALUE *seen = table;

	for (u32 i = 0; i < SPOTS; i++)
		if (seen[i])
			rb_gc_mark(seen[i]);
}

static const rb_data_type_t seen_type = {
	.wrap_struct_name = "hyperion/header_names",
	.function = { .dmark = mark_seen },
};

VALUE glue_fixed(const char *text)
{
	/* Source text is UTF-8: looking up a literal finds the very same object. */
	VALUE s = rb_enc_interned_str_cstr(text, rb_utf8_encoding());

	rb_gc_register_mark_object(s);
	return s;
}

void glue_env_key_init(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(known); i++) {
		u32 spot = spot_of(view_of(known[i].header));

		while (keys.spots[spot])
			spot = (spot + 1) % SPOTS;
		keys.spots[spot] = (u8)(i + 1);
		keys.names[i] = known[i].key ? glue_fixed(known[i].key) : 0;
	}
	rb_gc_register_mark_object(rb_data_typed_object_wrap(rb_cObject, keys.seen, &seen_type));
}

static char key_char(char c)
{
	if (c == '-')
		return '_';
	return c >= 'a' && c <= 'z' ? (char)(c - 0x20) : c;
}

static bool is_key_of(VALUE key, struct view name)
{
	const char *k = RSTRING_PTR(key) + PREFIX_LEN;

	if ((size_t)RSTRING_LEN(key) != PREFIX_LEN + name.len)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (k[i] != key_char(name.p[i]))
			return false;
	return true;
}

static VALUE new_key(struct view name)
{
	VALUE s = rb_enc_str_new(NULL, (long)(PREFIX_LEN + name.len), rb_utf8_encoding());
	char *p = RSTRING_PTR(s);

	memcpy(p, PREFIX, PREFIX_LEN);
	for (size_t i = 0; i < name.len; i++)
		p[PREFIX_LEN + i] = key_char(name.p[i]);
	return rb_str_to_interned_str(s);
}

static struct env_key other_key(struct view name, u32 spot)
{
	VALUE key = keys.seen[spot];

	/* "X_Forwarded_For" would pass for "X-Forwarded-For". */
	if (memchr(name.p, '_', name.len))
		return (struct env_key){ .flags = KEY_DROP, .id = ENV_KEYS_MAX };
	if (!key || !is_key_of(key, name)) {
		key = new_key(name);
		if (name.len <= SEEN_NAME_MAX)
			keys.seen[spot] = key;
	}
	return (struct env_key){ .name = key, .id = ENV_KEYS_MAX };
}

struct env_key glue_env_key(struct view name)
{
	u32 first = spot_of(name);

	for (u32 spot = first; keys.spots[spot]; spot = (spot + 1) % SPOTS) {
		u32 i = keys.spots[spot] - 1u;

		if (view_ieq(name, view_of(known[i].header)))
			return (struct env_key){ keys.names[i], known[i].flags, i };
	}
	return other_key(name, first);
}
