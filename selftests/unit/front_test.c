/* SPDX-License-Identifier: MIT */
/* Orders of other threads, and whose they are at the end; where files are cached. */
#include "selftests/harness/harness.h"
#include "server/front.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define NR_THREADS 4
#define NR_ROUTES 40

FIXTURE(front)
{
	struct front f;
	struct http http;
	struct limits limits;
	char dir[64];
	u32 nr_wakes; /* __atomic */
};

FIXTURE_SETUP(front)
{
	self->limits = LIMITS_DEFAULT;
	snprintf(self->dir, sizeof(self->dir), "/tmp/hyperion-front-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(self->dir));
	ASSERT_OK(front_init(&self->f));
	http_init(&self->http, &self->limits, self->f.routes);
}

FIXTURE_TEARDOWN(front)
{
	char command[96];

	http_fini(&self->http);
	front_fini(&self->f);
	snprintf(command, sizeof(command), "rm -r %s", self->dir);
	EXPECT_EQ(system(command), 0);
}

static void wake(void *arg)
{
	struct self_front *self = arg;

	__atomic_fetch_add(&self->nr_wakes, 1, __ATOMIC_RELAXED);
}

static struct handler *constant(int status)
{
	return handler_constant(status, VIEW("text/plain"), VIEW(""), VIEW("x"));
}

/* The status that answers in what the worker reads, 0 for none. */
static int found(const struct route_table *t, const char *path)
{
	u32 allow;
	const struct route *r = route_find(t, METHOD_GET, view_of(path), &allow);

	return r ? r->handler->status : 0;
}

static void put(const struct self_front *self, const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", self->dir, name);
	f = fopen(path, "w");
	ASSERT_NOT_NULL(f);
	fputs(text, f);
	ASSERT_OK(fclose(f));
}

TEST_F(front, before_there_is_a_worker_calls_act_at_once)
{
	ASSERT_OK(front_route(&self->f, METHOD_GET, VIEW("/a"), constant(201)));
	EXPECT_EQ(found(self->f.routes, "/a"), 201);
	ASSERT_OK(front_route(&self->f, METHOD_GET, VIEW("/a"), constant(202)));
	EXPECT_EQ(found(self->f.routes, "/a"), 202);
	EXPECT_EQ(front_route(&self->f, METHOD_GET, VIEW("a"), constant(200)), -EINVAL);
	EXPECT_EQ(front_route(&self->f, METHOD_GET, VIEW("/b"), NULL), -ENOMEM);
	EXPECT_FALSE(front_has_orders(&self->f));
}

TEST_F(front, the_io_thread_itself_does_not_wait)
{
	struct route_table *old = self->http.routes;

	front_share(&self->f);
	front_open(&self->f, &self->http, wake, self);
	ASSERT_OK(front_route(&self->f, METHOD_GET, VIEW("/a"), constant(201)));
	EXPECT_EQ(found(self->http.routes, "/a"), 201);
	EXPECT_TRUE(self->http.routes != old);
	EXPECT_EQ(self->nr_wakes, 0);
	front_close(&self->f);
}

struct giver {
	struct self_front *self;
	pthread_t thread;
	int number, nr_wrong;
};

static void *give_routes(void *arg)
{
	struct giver *g = arg;
	char path[32];

	for (int i = 0; i < NR_ROUTES; i++) {
		struct view v = { path, (size_t)snprintf(path, sizeof(path), "/%d/%d", g->number, i) };

		g->nr_wrong += front_route(&g->self->f, METHOD_GET, v, constant(200 + i)) != 0;
	}
	return NULL;
}

static u32 nr_found(const struct route_table *t)
{
	u32 nr = 0;

	for (int n = 0; n < NR_THREADS; n++) {
		for (int i = 0; i < NR_ROUTES; i++) {
			char path[32];

			snprintf(path, sizeof(path), "/%d/%d", n, i);
			nr += found(t, path) == 200 + i;
		}
	}
	return nr;
}

TEST_F(front, orders_of_many_threads_are_all_carried_out)
{
	struct giver givers[NR_THREADS];
	bool before = false;

	front_share(&self->f);
	for (int i = 0; i < NR_THREADS; i++) {
		givers[i] = (struct giver){ .self = self, .number = i };
		ASSERT_OK(pthread_create(&givers[i].thread, NULL, give_routes, &givers[i]));
	}
	/* Given before the worker stands: carried out when it does. */
	while (!before)
		before = front_has_orders(&self->f);
	front_open(&self->f, &self->http, wake, self);
	while (nr_found(self->http.routes) < NR_THREADS * NR_ROUTES)
		if (front_has_orders(&self->f))
			front_carry_out(&self->f);
	for (int i = 0; i < NR_THREADS; i++) {
		ASSERT_OK(pthread_join(givers[i].thread, NULL));
		EXPECT_EQ(givers[i].nr_wrong, 0);
	}
	EXPECT_GE(self->nr_wakes, 1);
	EXPECT_FALSE(front_has_orders(&self->f));
	front_close(&self->f);
}

static void *give_one(void *arg)
{
	struct giver *g = arg;

	g->nr_wrong = front_route(&g->self->f, METHOD_GET, VIEW("/late"), constant(200));
	return NULL;
}

TEST_F(front, who_waits_at_the_end_of_the_worker_is_told)
{
	struct giver g = { .self = self };

	front_share(&self->f);
	front_open(&self->f, &self->http, wake, self);
	front_close(&self->f);
	ASSERT_OK(pthread_create(&g.thread, NULL, give_one, &g));
	ASSERT_OK(pthread_join(g.thread, NULL));
	EXPECT_EQ(g.nr_wrong, -ESHUTDOWN);
	EXPECT_EQ(found(self->http.routes, "/late"), 0);
}

TEST_F(front, an_order_that_nobody_carries_out_has_an_end)
{
	struct giver g = { .self = self };

	time_limit(20);
	front_share(&self->f);
	front_open(&self->f, &self->http, wake, self);
	ASSERT_OK(pthread_create(&g.thread, NULL, give_one, &g));
	ASSERT_OK(pthread_join(g.thread, NULL));
	EXPECT_EQ(g.nr_wrong, -ETIMEDOUT);
	/* It is still in force, later. */
	front_carry_out(&self->f);
	EXPECT_EQ(found(self->http.routes, "/late"), 200);
	front_close(&self->f);
}

TEST_F(front, a_file_is_cached_where_it_is_served)
{
	struct front_tree tree = { .prefix = "/f", .dir = self->dir };
	char path[128], real[128];
	u64 bytes = 5, nr = 0;

	put(self, "a.txt", "hello");
	ASSERT_OK(front_add_tree(&self->f, &tree));
	snprintf(path, sizeof(path), "%s/./a.txt", self->dir);
	ASSERT_OK(front_cache(&self->f, view_of(path), false, &bytes));
	EXPECT_EQ(bytes, 5);
	snprintf(real, sizeof(real), "%s/a.txt", self->dir);
	EXPECT_EQ(front_look(&self->f, view_of(real)), FRONT_OK);
	EXPECT_NOT_NULL(fcache_peek(&self->f.files, self->f.dirs[0].root, VIEW("/a.txt")));
	ASSERT_OK(front_size(&self->f, &nr));
	EXPECT_EQ(nr, 1);
	/* Elsewhere: by its path as it was said. */
	EXPECT_EQ(front_look(&self->f, VIEW("/etc/hostname")), FRONT_MISSING);
	EXPECT_EQ(front_cache(&self->f, VIEW("/not/there"), false, &bytes), -ENOENT);
	EXPECT_EQ(front_cache(&self->f, view_of(self->dir), false, &bytes), -ENOENT);
	ASSERT_OK(front_clear(&self->f));
	EXPECT_EQ(front_look(&self->f, view_of(real)), FRONT_MISSING);
}

TEST_F(front, sendfile_roots_and_trees_have_to_be_there)
{
	struct front_tree tree = { .prefix = "/f", .dir = "/not/there" };

	EXPECT_EQ(front_add_tree(&self->f, &tree), -ENOENT);
	EXPECT_EQ(front_add_sendfile_root(&self->f, "/not/there"), -ENOENT);
	for (u32 i = 0; i < MAX_SENDFILE_ROOTS; i++)
		EXPECT_OK(front_add_sendfile_root(&self->f, "/tmp/"));
	EXPECT_EQ(front_add_sendfile_root(&self->f, "/tmp"), -ENOSPC);
	EXPECT_STREQ(self->f.named.sendfile[0].dir, "/tmp");
}
