/* SPDX-License-Identifier: MIT */
/*
 * Memory under HTTP/1.1: a warm request takes none from the heap, and where it
 * is out, a conversation ends clean. The linker sends malloc and its kin here.
 */
#include "selftests/harness/harness.h"
#include "selftests/h1_owner.h"
#include "selftests/h1_rules.h"
#include "selftests/harness/fail.h"
#include "server/fcache.h"
#include "server/ftree.h"
#include "server/reqid.h"
#include "server/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static u64 nr_heap;

void *__real_malloc(size_t len);
void *__real_calloc(size_t nr, size_t len);
void *__real_realloc(void *p, size_t len);
void *__real_aligned_alloc(size_t align, size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t nr, size_t len);
void *__wrap_realloc(void *p, size_t len);
void *__wrap_aligned_alloc(size_t align, size_t len);

void *__wrap_malloc(size_t len)
{
	nr_heap++;
	return __real_malloc(len);
}

void *__wrap_calloc(size_t nr, size_t len)
{
	nr_heap++;
	return __real_calloc(nr, len);
}

void *__wrap_realloc(void *p, size_t len)
{
	nr_heap++;
	return __real_realloc(p, len);
}

void *__wrap_aligned_alloc(size_t align, size_t len)
{
	nr_heap++;
	return __real_aligned_alloc(align, len);
}

#define HOST " HTTP/1.1\r\nHost: a\r\n"
#define POST "POST /post" HOST
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

FIXTURE(warm)
{
	struct owner o;
};

FIXTURE_VARIANT(warm)
{
	const char *in;
};

VARIANT(warm, get) = { H1_NEXT };
VARIANT(warm, get_big) = { "GET /big" HOST "\r\n" };
VARIANT(warm, head) = { "HEAD /" HOST "\r\n" };
VARIANT(warm, keep_alive_1_0) = { "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" };
VARIANT(warm, body) = { POST "Content-Length: 3\r\n\r\nabc" };
VARIANT(warm, chunks) = { CHUNKED "3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n" };
VARIANT(warm, expect) = { POST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\na" };
VARIANT(warm, not_found) = { "GET /x" HOST "\r\n" };
VARIANT(warm, not_allowed) = { "PUT /" HOST "\r\n" };
VARIANT(warm, pipelined) = { H1_NEXT H1_NEXT CHUNKED "0\r\n\r\n" H1_NEXT };

FIXTURE_SETUP(warm)
{
	ASSERT_TRUE(owner_init(&self->o));
	self->o.copy = COPY_NONE;
}

FIXTURE_TEARDOWN(warm)
{
	owner_fini(&self->o);
}

static void once(struct owner *o, const char *in, enum feeding how)
{
	struct feed f;
	size_t n;

	o->out.len = 0;
	feed_init(&f, how, strlen(in), NULL);
	for (; (n = feed_next(&f)); in += n)
		owner_feed(o, in, n);
}

TEST_F(warm, no_heap)
{
	struct owner *o = &self->o;
	struct reqid ids;

	/* With the log's views, which are in the request's arena. */
	o->http.keep = ~0u;
	reqid_seed(&ids, 1, (const u32[4]){ 1, 2, 3, 4 });
	o->http.ids = &ids;
	once(o, variant->in, FEED_WHOLE);
	once(o, variant->in, FEED_BYTES);
	ASSERT_GT(nr_heap, 0);
	nr_heap = 0;
	fail_nth_alloc(0);
	for (int i = 0; i < 100; i++) {
		once(o, variant->in, FEED_WHOLE);
		once(o, variant->in, FEED_BYTES);
	}
	EXPECT_EQ(nr_heap, 0);
	EXPECT_GE(o->nr_done, 202);
	EXPECT_FALSE(o->closed);
}

/* --- files --- */

#define TREE_GET "GET /tree/"
#define TAIL HOST "\r\n"

/* "/tree" with a file in memory (and a coding of it), an empty one, one that is sent in parts. */
static void make_tree(struct owner *o, struct fcache *files, const char *dir)
{
	const struct fcache_limits limits = FCACHE_LIMITS_DEFAULT;
	static const char *const names[] = { "a", "a.gz", "empty", "sub/index.html" };
	struct froot *root;
	char path[96];

	snprintf(path, sizeof(path), "%s/sub", dir);
	ASSERT_EQ(mkdir(path, 0755), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		FILE *f;

		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		f = fopen(path, "w");
		ASSERT_NOT_NULL(f);
		if (i != 2)
			fprintf(f, "%02000d", 7);
		fclose(f);
	}
	ASSERT_OK(fcache_init(files, &limits));
	ASSERT_OK(froot_new(&root, dir, true));
	ASSERT_OK(route_add_tree(o->routes, VIEW("/tree"),
				 handler_tree(ftree_new(files, root, false))));
	/* By then every file has settled. */
	date_set(&o->http.date, 1ull << 40);
}

TEST(no_heap_for_a_warm_file)
{
	static const char *const asked[] = {
		TREE_GET "a" TAIL,
		TREE_GET "empty" TAIL,
		TREE_GET "%61" TAIL,
		"HEAD /tree/a" TAIL,
		TREE_GET "a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		TREE_GET "a" HOST "Accept-Encoding: br, gzip;q=0.5\r\n\r\n",
		TREE_GET "a" HOST "If-None-Match: *\r\n\r\n",
		TREE_GET "a" HOST "If-Match: \"x\"\r\n\r\n",
		TREE_GET "a" HOST "Range: bytes=1-5\r\n\r\n",
		TREE_GET "a" HOST "Range: bytes=1-5,1900-,7-8\r\n\r\n",
		TREE_GET "a" HOST "Range: bytes=9999-\r\n\r\n",
		TREE_GET "a" HOST "Range: bytes=0-1\r\nContent-Length: 3\r\n\r\nabc",
		TREE_GET "sub" TAIL,
		TREE_GET "sub/" TAIL,
		"PUT /tree/a" TAIL,
		TREE_GET "a" TAIL TREE_GET "a" TAIL TREE_GET "a" TAIL,
	};
	char dir[] = "/tmp/hyperion-alloc-XXXXXX", command[96];
	struct fcache files;
	struct owner o;

	ASSERT_NOT_NULL(mkdtemp(dir));
	ASSERT_TRUE(owner_init(&o));
	o.copy = COPY_NONE;
	make_tree(&o, &files, dir);
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		once(&o, asked[i], FEED_WHOLE);
		once(&o, asked[i], FEED_BYTES);
	}
	nr_heap = 0;
	for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
		for (int k = 0; k < 20; k++) {
			/* The date moves: it is patched, not made anew. */
			date_set(&o.http.date, o.http.date.second + 1);
			once(&o, asked[i], FEED_WHOLE);
			once(&o, asked[i], FEED_BYTES);
		}
	EXPECT_EQ(nr_heap, 0);
	EXPECT_EQ(files.stats.misses, 4);
	EXPECT_FALSE(o.closed);
	owner_fini(&o);
	fcache_fini(&files);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	EXPECT_EQ(system(command), 0);
}

/* A connection that comes and goes takes nothing either, but for what its owner needs. */
TEST(no_heap_for_a_warm_connection)
{
	struct owner o;

	ASSERT_TRUE(owner_init(&o));
	o.copy = COPY_NONE;
	once(&o, H1_NEXT, FEED_WHOLE);
	nr_heap = 0;
	for (int i = 0; i < 100; i++) {
		link_close(o.link);
		link_open(o.link, o.link->proto, &o.http);
		once(&o, H1_NEXT, FEED_WHOLE);
	}
	EXPECT_EQ(nr_heap, 0);
	EXPECT_EQ(o.nr_done, 101);
	owner_fini(&o);
}

static const char conversation[] = H1_NEXT
	"GET /big" HOST "\r\n" POST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" CHUNKED
	"3\r\nabc\r\n0\r\nA: b\r\n\r\n"
	"GET /x" HOST "\r\n"
	"PUT /" HOST "\r\n"
	"HEAD /big" HOST "\r\n"
	"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" H1_NEXT "G\r\n\r\n" H1_NEXT;

struct talk {
	enum feeding how;
	size_t send_max;
	bool late, keep_views;
	struct bytes want; /* of a talk in which nothing failed */
	u32 nr_cut;
};

static void talk(void *arg)
{
	struct talk *t = arg;
	struct owner o;
	struct reqid ids;
	struct feed f;
	const char *p = conversation;
	size_t n;

	if (!owner_init(&o))
		return;
	o.send_max = t->send_max;
	o.stopped = t->late;
	o.http.keep = t->keep_views ? ~0u : 0;
	reqid_seed(&ids, 1, (const u32[4]){ 1, 2, 3, 4 });
	o.http.ids = t->keep_views ? &ids : NULL;
	feed_init(&f, t->how, sizeof(conversation) - 1, NULL);
	for (; (n = feed_next(&f)); p += n)
		owner_feed(&o, p, n);
	o.stopped = false;
	owner_flush(&o);
	/* It always ends: by the last answer, or because memory was out. */
	EXPECT_TRUE(o.closed);
	if (!t->want.p) {
		t->want = o.out;
		o.out = (struct bytes){ 0 };
	} else {
		/* What came out is right as far as it goes. */
		ASSERT_LE(o.out.len, t->want.len);
		EXPECT_MEMEQ(o.out.p, t->want.p, o.out.len);
		t->nr_cut += o.out.len < t->want.len;
	}
	owner_fini(&o);
}

FIXTURE(failing)
{
	char unused;
};

FIXTURE_VARIANT(failing)
{
	struct talk talk;
};

VARIANT(failing, whole) = { { .how = FEED_WHOLE, .send_max = SIZE_MAX } };
VARIANT(failing, byte_by_byte) = { { .how = FEED_BYTES, .send_max = SIZE_MAX } };
VARIANT(failing, small_sends) = { { .how = FEED_WHOLE, .send_max = 1, .keep_views = true } };
VARIANT(failing,
	late) = { { .how = FEED_BYTES, .send_max = SIZE_MAX, .late = true, .keep_views = true } };

FIXTURE_SETUP(failing)
{
}

FIXTURE_TEARDOWN(failing)
{
}

TEST_F(failing, each_allocation)
{
	struct talk t = variant->talk;
	u64 nr;

	fail_nth_alloc(0);
	talk(&t);
	ASSERT_NOT_NULL(t.want.p);
	nr = for_each_failing_alloc(talk, &t);
	/* The routes alone are dozens; some of the rest must have cut the conversation short. */
	EXPECT_GT(nr, 30);
	EXPECT_GT(t.nr_cut, 0);
	free(t.want.p);
}
