/* SPDX-License-Identifier: MIT */
/* Which names the paths of requests get as routes. */
#include "server/templater.h"

#include "selftests/harness/harness.h"

#define ROOM 112u

struct row {
	const char *path, *name;
};

static const struct row rows[] = {
	{ "/", "/" },
	{ "", "" },
	{ "*", "*" },
	{ "/users", "/users" },
	{ "/users/123", "/users/:id" },
	{ "/users/123/", "/users/:id/" },
	{ "/users/123/posts/4", "/users/:id/posts/:id" },
	{ "/users/0", "/users/:id" },
	{ "//7//", "//:id//" },
	{ "/users/12a", "/users/12a" },
	{ "/v1/users", "/v1/users" },
	{ "/2024/11/23", "/:id/:id/:id" },
	{ "/users/123.json", "/users/:id.json" },
	{ "/users/123.", "/users/123." },
	{ "/.well-known/x", "/.well-known/x" },
	{ "/a.tar.gz", "/a.tar.gz" },
	{ "/o/550e8400-e29b-41d4-a716-446655440000", "/o/:uuid" },
	{ "/o/550E8400-E29B-41D4-A716-446655440000.pdf", "/o/:uuid.pdf" },
	/* Digits are needed, and the dashes where they belong. */
	{ "/o/550e8400e-29b-41d4-a716-446655440000", "/o/:token" },
	{ "/o/550e8400-e29b-41d4-a716-44665544000g", "/o/:token" },
	{ "/t/0123456789abcdef", "/t/:token" },
	{ "/t/0123456789abcde", "/t/0123456789abcde" },
	{ "/t/abcdefabcdefabcdef", "/t/abcdefabcdefabcdef" },
	{ "/t/eyJhbGciOiJIUzI1NiIsInR5", "/t/:token" },
	{ "/t/eyJhbGciOiJIUzI1NiIsInR", "/t/eyJhbGciOiJIUzI1NiIsInR" },
	{ "/how-to-write-a-good-commit-message", "/how-to-write-a-good-commit-message" },
	{ "/assets/app-0123456789abcdef0123456789abcdef.css", "/assets/:token.css" },
	{ "/a%20b", "/a%20b" },
	{ "/a b\"\\\x01\xc3\xb6", "/a?b\"\\???" },
};

TEST(table)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char out[ROOM];
		size_t n = template_path(view_of(rows[i].path), out, sizeof(out));

		EXPECT_VIEW_EQ(((struct view){ out, n }), rows[i].name);
	}
}

/* Whatever comes: never more than there is room, and a star where something is missing. */
TEST(long_paths_are_cut_at_a_segment)
{
	char path[400], out[16];
	size_t n;

	memset(path, 'a', sizeof(path));
	path[0] = path[5] = '/';
	n = template_path((struct view){ path, sizeof(path) }, out, sizeof(out));
	EXPECT_VIEW_EQ(((struct view){ out, n }), "/aaaa/*");
	n = template_path(VIEW("/abc/defghijklmno"), out, sizeof(out));
	EXPECT_VIEW_EQ(((struct view){ out, n }), "/abc/*");
	n = template_path(VIEW("/abc/defghijklm"), out, sizeof(out));
	EXPECT_VIEW_EQ(((struct view){ out, n }), "/abc/defghijklm");
	n = template_path(VIEW("/1/2/3/4/5/6/7/8/9"), out, sizeof(out));
	EXPECT_VIEW_EQ(((struct view){ out, n }), "/:id/:id/:id/*");
}

TEST(never_beyond_the_room)
{
	static const char bytes[] = "//./0123456789abcdef-_%\xff ";
	struct rng rng;

	rng_init(&rng);
	for (int round = 0; round < 20000; round++) {
		char path[300], out[ROOM + 1];
		size_t len = rng_below(&rng, sizeof(path)), room = 16 + rng_below(&rng, ROOM - 15), n;

		for (size_t i = 0; i < len; i++)
			path[i] = bytes[rng_below(&rng, sizeof(bytes) - 1)];
		memset(out, '#', sizeof(out));
		n = template_path((struct view){ path, len }, out, room);
		ASSERT_LE(n, room);
		ASSERT_EQ(out[room], '#');
		for (size_t i = 0; i < n; i++)
			ASSERT_TRUE(out[i] > 0x20 && out[i] < 0x7f);
	}
}

TEST(given_names)
{
	char out[16];
	size_t n = template_name(VIEW("users#show"), out, sizeof(out));

	EXPECT_VIEW_EQ(((struct view){ out, n }), "users#show");
	n = template_name(VIEW("a\nb"), out, sizeof(out));
	EXPECT_VIEW_EQ(((struct view){ out, n }), "a?b");
	n = template_name(VIEW("0123456789abcdef"), out, sizeof(out));
	EXPECT_VIEW_EQ(((struct view){ out, n }), "0123456789abcdef");
	n = template_name(VIEW("0123456789abcdefg"), out, sizeof(out));
	EXPECT_VIEW_EQ(((struct view){ out, n }), "0123456789abcde*");
}
