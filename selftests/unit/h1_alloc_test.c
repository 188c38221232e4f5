/* SPDX-License-Identifier: MIT */
/*
 * Memory under HTTP/1.1: a warm request takes none from the heap, and where it
 * is out, a conversation ends clean. The linker sends malloc and its kin here.
 */
#include "selftests/harness/harness.h"
#include "selftests/h1_owner.h"
#include "selftests/h1_rules.h"
#include "selftests/harness/fail.h"
#include "server/reqid.h"

#include <stdlib.h>

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
