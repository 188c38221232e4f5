/* SPDX-License-Identifier: MIT */
#include "selftests/harness/harness.h"
#include "server/route.h"

#include <stdio.h>

FIXTURE(route)
{
	struct route_table *t;
};

FIXTURE_SETUP(route)
{
	self->t = route_table_new();
	ASSERT_NOT_NULL(self->t);
}

FIXTURE_TEARDOWN(route)
{
	route_table_put(self->t);
}

static struct handler *constant(int status)
{
	return handler_constant(status, VIEW("text/plain"), VIEW(""), VIEW("x"));
}

static int add(struct route_table *t, enum method method, const char *path, int status)
{
	return route_add(t, method, view_of(path), constant(status));
}

/* The status that answers, 0 for none. */
static int find(const struct route_table *t, enum method method, const char *path, u32 *allow)
{
	size_t len = strlen(path);
	char *p = guard_copy(path, len);
	const struct route *r = route_find(t, method, (struct view){ p, len }, allow);

	guard_free(p, len);
	return r ? r->handler->status : 0;
}

TEST_F(route, nothing_is_found_in_nothing)
{
	u32 allow = 99;

	EXPECT_EQ(find(self->t, METHOD_GET, "/", &allow), 0);
	EXPECT_EQ(allow, 0);
	EXPECT_EQ(find(self->t, METHOD_GET, "", &allow), 0);
}

TEST_F(route, exact_path_and_method)
{
	u32 allow;

	ASSERT_OK(add(self->t, METHOD_GET, "/a", 200));
	ASSERT_OK(add(self->t, METHOD_POST, "/a", 201));
	ASSERT_OK(add(self->t, METHOD_GET, "/a/b", 202));
	EXPECT_EQ(find(self->t, METHOD_GET, "/a", &allow), 200);
	EXPECT_EQ(find(self->t, METHOD_POST, "/a", &allow), 201);
	EXPECT_EQ(find(self->t, METHOD_GET, "/a/b", &allow), 202);
	EXPECT_EQ(find(self->t, METHOD_GET, "/a/", &allow), 0);
	EXPECT_EQ(allow, 0);
	EXPECT_EQ(find(self->t, METHOD_GET, "/A", &allow), 0);
	EXPECT_EQ(find(self->t, METHOD_GET, "/", &allow), 0);
}

TEST_F(route, get_answers_head)
{
	u32 allow;

	ASSERT_OK(add(self->t, METHOD_GET, "/a", 200));
	EXPECT_EQ(find(self->t, METHOD_HEAD, "/a", &allow), 200);
	ASSERT_OK(add(self->t, METHOD_HEAD, "/a", 204));
	EXPECT_EQ(find(self->t, METHOD_HEAD, "/a", &allow), 204);
	EXPECT_EQ(find(self->t, METHOD_GET, "/a", &allow), 200);
}

TEST_F(route, allowed_methods)
{
	u32 allow;

	ASSERT_OK(add(self->t, METHOD_GET, "/a", 200));
	ASSERT_OK(add(self->t, METHOD_DELETE, "/a", 200));
	ASSERT_OK(add(self->t, METHOD_POST, "/b", 200));
	EXPECT_EQ(find(self->t, METHOD_PUT, "/a", &allow), 0);
	EXPECT_EQ(allow, 1u << METHOD_GET | 1u << METHOD_HEAD | 1u << METHOD_DELETE);
	EXPECT_EQ(find(self->t, METHOD_OTHER, "/b", &allow), 0);
	EXPECT_EQ(allow, 1u << METHOD_POST);
	EXPECT_EQ(find(self->t, METHOD_HEAD, "/b", &allow), 0);
	EXPECT_EQ(allow, 1u << METHOD_POST);
}

TEST_F(route, the_last_registration_wins)
{
	u32 allow;

	ASSERT_OK(add(self->t, METHOD_GET, "/a", 200));
	ASSERT_OK(add(self->t, METHOD_GET, "/a", 404));
	EXPECT_EQ(find(self->t, METHOD_GET, "/a", &allow), 404);
}

/* The handler is taken over with these, too: the leak check of the sanitizer build sees to it. */
TEST_F(route, what_is_refused)
{
	EXPECT_EQ(add(self->t, METHOD_GET, "", 200), -EINVAL);
	EXPECT_EQ(add(self->t, METHOD_GET, "a", 200), -EINVAL);
	EXPECT_EQ(add(self->t, METHOD_OTHER, "/a", 200), -EINVAL);
	EXPECT_EQ(add(self->t, METHOD_CONNECT, "/a", 200), -EINVAL);
}

/* A full table finds each of its routes and nothing else. */
TEST_F(route, as_many_as_fit)
{
	char path[32];
	u32 allow;

	for (u32 i = 0; i < MAX_ROUTES; i++) {
		snprintf(path, sizeof(path), "/%x", i * 2654435761u);
		ASSERT_OK(add(self->t, METHOD_GET, path, 200 + (int)i));
	}
	EXPECT_EQ(add(self->t, METHOD_GET, "/one-more", 200), -ENOSPC);
	/* Replacing one that is there needs no room. */
	snprintf(path, sizeof(path), "/%x", 5 * 2654435761u);
	EXPECT_OK(add(self->t, METHOD_GET, path, 205));
	for (u32 i = 0; i < MAX_ROUTES; i++) {
		const struct route *r;

		snprintf(path, sizeof(path), "/%x", i * 2654435761u);
		r = route_find(self->t, METHOD_GET, view_of(path), &allow);
		ASSERT_NOT_NULL(r);
		EXPECT_EQ(r->handler->status, 200 + i);
		EXPECT_EQ(r->id, i);
		EXPECT_EQ(find(self->t, METHOD_POST, path, &allow), 0);
		EXPECT_EQ(allow, 1u << METHOD_GET | 1u << METHOD_HEAD);
	}
	EXPECT_EQ(find(self->t, METHOD_GET, "/one-more", &allow), 0);
}

TEST_F(route, the_table_has_its_own_copy_of_the_path)
{
	char path[] = "/abc";
	u32 allow;

	ASSERT_OK(add(self->t, METHOD_GET, path, 200));
	memset(path, 'x', sizeof(path) - 1);
	EXPECT_EQ(find(self->t, METHOD_GET, "/abc", &allow), 200);
}

static int add_tree(struct route_table *t, const char *prefix, int status)
{
	return route_add_tree(t, view_of(prefix), constant(status));
}

TEST_F(route, the_longest_prefix_that_ends_with_a_segment)
{
	static const struct {
		const char *path;
		int want;
	} cases[] = {
		{ "/a", 201 },     { "/a/", 201 },      { "/a/x/y", 201 }, { "/a/b", 202 },
		{ "/a/b/", 202 },  { "/a/b/c.d", 202 }, { "/a/bc", 201 },  { "/ab", 200 },
		{ "/a/exact", 1 }, { "/", 200 },        { "/x/a/b", 200 }, { "//a", 200 },
		{ "/a/b?c", 201 }, { "*", 0 },          { "", 0 },
	};
	u32 allow;

	ASSERT_OK(add_tree(self->t, "/a", 201));
	EXPECT_EQ(find(self->t, METHOD_GET, "/b", &allow), 0);
	EXPECT_EQ(find(self->t, METHOD_GET, "/", &allow), 0);
	ASSERT_OK(add_tree(self->t, "/", 200));
	ASSERT_OK(add_tree(self->t, "/a/b/", 202));
	ASSERT_OK(add(self->t, METHOD_GET, "/a/exact", 1));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (find(self->t, METHOD_GET, cases[i].path, &allow) != cases[i].want)
			NOTE("%s", cases[i].path);
		EXPECT_EQ(find(self->t, METHOD_GET, cases[i].path, &allow), cases[i].want);
	}
	/* Another method of an exact path is the tree's, too. */
	EXPECT_EQ(find(self->t, METHOD_POST, "/a/exact", &allow), 201);
	ASSERT_OK(add_tree(self->t, "/a/b", 203));
	EXPECT_EQ(find(self->t, METHOD_GET, "/a/b/c", &allow), 203);
	EXPECT_EQ(add_tree(self->t, "a", 200), -EINVAL);
}

TEST_F(route, a_copy_lives_on_its_own)
{
	struct route_table *copy;
	u32 allow;

	ASSERT_OK(add(self->t, METHOD_GET, "/a", 200));
	ASSERT_OK(add_tree(self->t, "/t", 201));
	copy = route_table_copy(self->t);
	ASSERT_NOT_NULL(copy);
	ASSERT_OK(add(copy, METHOD_GET, "/b", 202));
	ASSERT_OK(add(copy, METHOD_GET, "/a", 203));
	EXPECT_EQ(find(self->t, METHOD_GET, "/b", &allow), 0);
	EXPECT_EQ(find(self->t, METHOD_GET, "/a", &allow), 200);
	route_table_put(self->t);
	self->t = copy;
	EXPECT_EQ(find(self->t, METHOD_GET, "/a", &allow), 203);
	EXPECT_EQ(find(self->t, METHOD_GET, "/b", &allow), 202);
	EXPECT_EQ(find(self->t, METHOD_GET, "/t/x", &allow), 201);
}

static void build(void *arg)
{
	struct route_table *t = route_table_new();
	struct handler *h;

	(void)arg;
	if (!t)
		return;
	for (int i = 0; i < 3; i++) {
		h = constant(200);
		if (h)
			(void)!route_add(t, METHOD_GET, i ? VIEW("/b") : VIEW("/a"), h);
	}
	route_table_put(t);
}

TEST(memory_runs_out)
{
	/* The table, three handlers in two pieces each, two paths. */
	EXPECT_EQ(for_each_failing_alloc(build, NULL), 9);
}
