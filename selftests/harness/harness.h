/* SPDX-License-Identifier: MIT */
/*
 * The test harness: each case runs in a process of its own, under a time limit, and answers in TAP.
 *
 *	TEST(name) { ASSERT_EQ(f(1), 2); }
 *
 *	FIXTURE(loop) { struct loop *l; };
 *	FIXTURE_VARIANT(loop) { bool uring; };	(optional: each case runs once per variant)
 *variant) VARIANT(loop, epoll) = { .uring = false }; VARIANT(loop, uring) = { .uring = true };
 *FIXTURE_SETUP(loop) { ASSERT_OK(loop_new(&self->l, variant->uring)); } FIXTURE_TEARDOWN(loop) {
 *loop_free(self->l); } TEST_F(loop, accepts) { ... self->l ... variant->uring ... }
 *
 * A fixture has both set-up and tear-down. ASSERT ends the case (the tear-down still runs, if the
 * set-up came to its end); EXPECT notes the failure and goes on. Threads other than the case's own
 * may use EXPECT only. stdout and stderr of a case become "# " lines.
 *
 * A program takes --list, or the names of cases ("loop[uring].accepts", * and ? work), exits 0 when
 * all passed, 1 when one failed, 4 when PROGRAM_NEEDS said that nothing can run here.
 * A reason to skip starts with the capability that lacks ("io_uring: EPERM from setup"): the runner
 * tries it, and fails what was skipped without need.
 *
 * HYPERION_SEED sets the seed (rng.h), HYPERION_TIME_SCALE multiplies the time limits.
 */
#ifndef HYPERION_SELFTESTS_HARNESS_H
#define HYPERION_SELFTESTS_HARNESS_H

#include "server/base.h"
#include "selftests/harness/fail.h"
#include "selftests/harness/guard.h"
#include "selftests/harness/rng.h"

#define TEST_SECONDS 10 /* unless the case says time_limit() */

/* --- cases --- */

#define TEST(id)                                                                                   \
	static void test_##id(void);                                                               \
	static void thunk_##id(void *self, const void *variant)                                    \
	{                                                                                          \
		(void)self, (void)variant;                                                         \
		test_##id();                                                                       \
	}                                                                                          \
	static struct harness_case case_##id = { .name = #id, .run = thunk_##id };                 \
	HARNESS_AT_START(case_##id)                                                                \
	{                                                                                          \
		harness_add_case(&case_##id);                                                      \
	}                                                                                          \
	static void test_##id(void)

#define FIXTURE(id)                                                                                \
	static struct harness_fixture fixture_##id = { .name = #id };                              \
	struct self_##id

#define FIXTURE_VARIANT(id) struct variant_##id

#define VARIANT(fid, vname)                                                                          \
	static const struct variant_##fid value_##fid##_##vname;                                     \
	static struct harness_variant variant_##fid##_##vname = { .name = #vname,                    \
								  .value = &value_##fid##_##vname }; \
	HARNESS_AT_START(variant_##fid##_##vname)                                                    \
	{                                                                                            \
		harness_add_variant(&fixture_##fid, &variant_##fid##_##vname);                       \
	}                                                                                            \
	static const struct variant_##fid value_##fid##_##vname

#define FIXTURE_SETUP(id)                                                                          \
	HARNESS_HALF(id, setup)                                                                    \
	HARNESS_AT_START(setup_##id)                                                               \
	{                                                                                          \
		fixture_##id.size = sizeof(struct self_##id);                                      \
		fixture_##id.setup = thunk_setup_##id;                                             \
	}                                                                                          \
	HARNESS_HALF_HEAD(id, setup)

#define FIXTURE_TEARDOWN(id)                                                                       \
	HARNESS_HALF(id, teardown)                                                                 \
	HARNESS_AT_START(teardown_##id)                                                            \
	{                                                                                          \
		fixture_##id.teardown = thunk_teardown_##id;                                       \
	}                                                                                          \
	HARNESS_HALF_HEAD(id, teardown)

#define TEST_F(fid, tname)                                                                         \
	HARNESS_HALF(fid, tname)                                                                   \
	static struct harness_case case_##fid##_##tname = { .name = #tname,                        \
							    .fixture = &fixture_##fid,             \
							    .run = thunk_##tname##_##fid };        \
	HARNESS_AT_START(case_##fid##_##tname)                                                     \
	{                                                                                          \
		harness_add_case(&case_##fid##_##tname);                                           \
	}                                                                                          \
	HARNESS_HALF_HEAD(fid, tname)

/* @fn: const char *(void), NULL when the whole program can run here, else the reason to skip it. */
#define PROGRAM_NEEDS(fn)                                                                          \
	HARNESS_AT_START(needs_##fn)                                                               \
	{                                                                                          \
		harness_needs(fn);                                                                 \
	}

/* Within a case or set-up: ends it as skipped; as printf. */
#define SKIP(...) harness_skip(__VA_ARGS__)
/* A line that is shown with the case; as printf. */
#define NOTE(...) harness_note(__VA_ARGS__)
/* Another limit for the case that calls it, counted from its start. */
void time_limit(unsigned int seconds);

/* --- checks: integers and pointers of any type, each side evaluated once --- */

#define ASSERT_EQ(a, b) HARNESS_CMP(true, a, #a, ==, b, #b)
#define ASSERT_NE(a, b) HARNESS_CMP(true, a, #a, !=, b, #b)
#define ASSERT_LT(a, b) HARNESS_CMP(true, a, #a, <, b, #b)
#define ASSERT_LE(a, b) HARNESS_CMP(true, a, #a, <=, b, #b)
#define ASSERT_GT(a, b) HARNESS_CMP(true, a, #a, >, b, #b)
#define ASSERT_GE(a, b) HARNESS_CMP(true, a, #a, >=, b, #b)
#define ASSERT_TRUE(x) HARNESS_BOOL(true, x, #x, true)
#define ASSERT_FALSE(x) HARNESS_BOOL(true, x, #x, false)
#define ASSERT_NULL(x) HARNESS_CMP(true, x, #x, ==, NULL, "NULL")
#define ASSERT_NOT_NULL(x) HARNESS_CMP(true, x, #x, !=, NULL, "NULL")
#define ASSERT_OK(x) harness_ok(HARNESS_AT(true), #x, (x)) /* 0, else shows -errno by name */
#define ASSERT_STREQ(a, b) harness_streq(HARNESS_AT(true), #a, #b, (a), (b))
#define ASSERT_MEMEQ(a, b, len) harness_memeq(HARNESS_AT(true), #a, #b, (a), (b), (len))
/* A struct view against a NUL-terminated string. */
#define ASSERT_VIEW_EQ(v, s) harness_vieweq(HARNESS_AT(true), #v, #s, (v), (s))

#define EXPECT_EQ(a, b) HARNESS_CMP(false, a, #a, ==, b, #b)
#define EXPECT_NE(a, b) HARNESS_CMP(false, a, #a, !=, b, #b)
#define EXPECT_LT(a, b) HARNESS_CMP(false, a, #a, <, b, #b)
#define EXPECT_LE(a, b) HARNESS_CMP(false, a, #a, <=, b, #b)
#define EXPECT_GT(a, b) HARNESS_CMP(false, a, #a, >, b, #b)
#define EXPECT_GE(a, b) HARNESS_CMP(false, a, #a, >=, b, #b)
#define EXPECT_TRUE(x) HARNESS_BOOL(false, x, #x, true)
#define EXPECT_FALSE(x) HARNESS_BOOL(false, x, #x, false)
#define EXPECT_NULL(x) HARNESS_CMP(false, x, #x, ==, NULL, "NULL")
#define EXPECT_NOT_NULL(x) HARNESS_CMP(false, x, #x, !=, NULL, "NULL")
#define EXPECT_OK(x) harness_ok(HARNESS_AT(false), #x, (x))
#define EXPECT_STREQ(a, b) harness_streq(HARNESS_AT(false), #a, #b, (a), (b))
#define EXPECT_MEMEQ(a, b, len) harness_memeq(HARNESS_AT(false), #a, #b, (a), (b), (len))
#define EXPECT_VIEW_EQ(v, s) harness_vieweq(HARNESS_AT(false), #v, #s, (v), (s))

/* True once a check of this case has failed: ends loops that would only repeat it. */
bool has_failed(void);

/* --- what the macros stand on --- */

struct harness_variant {
	const char *name;
	const void *value;
	struct harness_variant *next;
};

struct harness_fixture {
	const char *name;
	size_t size;
	void (*setup)(void *self, const void *variant);
	void (*teardown)(void *self, const void *variant);
	struct harness_variant *variants;
};

struct harness_case {
	const char *name;
	struct harness_fixture *fixture;
	void (*run)(void *self, const void *variant);
	struct harness_case *next;
};

struct harness_at {
	const char *file;
	int line;
	bool fatal;
};

/* Sign and magnitude kept apart, so that int and size_t compare as numbers do. */
struct harness_num {
	u64 bits;
	bool negative;
};

void harness_add_case(struct harness_case *c);
void harness_add_variant(struct harness_fixture *f, struct harness_variant *v);
void harness_needs(const char *(*fn)(void));
void harness_skip(const char *fmt, ...) __printf(1, 2) __attribute__((noreturn));
void harness_note(const char *fmt, ...) __printf(1, 2);
void harness_cmp(struct harness_at at, const char *as, const char *op, const char *bs,
		 struct harness_num a, struct harness_num b);
void harness_bool(struct harness_at at, const char *s, bool got, bool want);
void harness_ok(struct harness_at at, const char *s, long got);
void harness_streq(struct harness_at at, const char *as, const char *bs, const char *a,
		   const char *b);
void harness_memeq(struct harness_at at, const char *as, const char *bs, const void *a,
		   const void *b, size_t len);
void harness_vieweq(struct harness_at at, const char *vs, const char *bs, struct view v,
		    const char *b);

#define HARNESS_AT(is_fatal) ((struct harness_at){ __FILE__, __LINE__, (is_fatal) })
#define HARNESS_AT_START(id) __attribute__((constructor)) static void harness_at_start_##id(void)

#define HARNESS_SIGNED(x)                                                                          \
	_Generic((x), char : 1, signed char : 1, short : 1, int : 1, long : 1, long long : 1,      \
		 default : 0)
#define HARNESS_NUM(x)                                                                             \
	({                                                                                         \
		__auto_type harness_x = (x);                                                       \
		u64 harness_bits = (u64)harness_x;                                                 \
		(struct harness_num){ harness_bits,                                                \
				      HARNESS_SIGNED(harness_x) && harness_bits >> 63 };           \
	})
#define HARNESS_CMP(fatal, a, as, op, b, bs)                                                       \
	harness_cmp(HARNESS_AT(fatal), as, #op, bs, HARNESS_NUM(a), HARNESS_NUM(b))
#define HARNESS_BOOL(fatal, x, xs, want) harness_bool(HARNESS_AT(fatal), xs, !!(x), want)

/* A function with typed self and variant, behind a thunk that the harness can call. */
#define HARNESS_HALF_HEAD(id, half)                                                                \
	static void half_##half##_##id(struct self_##id *self __attribute__((unused)),             \
				       const struct variant_##id *variant __attribute__((unused)))
#define HARNESS_HALF(id, half)                                                                     \
	struct variant_##id;                                                                       \
	HARNESS_HALF_HEAD(id, half);                                                               \
	static void thunk_##half##_##id(void *self, const void *variant)                           \
	{                                                                                          \
		half_##half##_##id(self, variant);                                                 \
	}

#endif
