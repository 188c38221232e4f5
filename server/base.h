/* SPDX-License-Identifier: MIT */
/*
 * What every file starts from: fixed-width types, bounds helpers, byte views.
 * Level 0: includes nothing of ours.
 */
#ifndef HYPERION_SERVER_BASE_H
#define HYPERION_SERVER_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#define HYPERION_VERSION "0.1.0"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

#define __must_check __attribute__((warn_unused_result))
#define __cold __attribute__((cold, noinline))
#define __printf(a, b) __attribute__((format(printf, a, b)))
#define __cacheline_aligned __attribute__((aligned(64)))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Each argument is evaluated once; the names are unique so that calls can nest. */
#define __paste(a, b) a##b
#define __unique(name, n) __paste(name, n)
#define __pick(op, a, b, x, y)                                                                     \
	({                                                                                         \
		__typeof__(a) x = (a);                                                             \
		__typeof__(b) y = (b);                                                             \
		x op y ? x : y;                                                                    \
	})
#define min(a, b) __pick(<, a, b, __unique(_min_a, __COUNTER__), __unique(_min_b, __COUNTER__))
#define max(a, b) __pick(>, a, b, __unique(_max_a, __COUNTER__), __unique(_max_b, __COUNTER__))

#define NSEC_PER_USEC 1000ull
#define NSEC_PER_MSEC 1000000ull
#define NSEC_PER_SEC 1000000000ull
#define MSEC_PER_SEC 1000ull

#define KIB (1024ull)
#define MIB (1024ull * KIB)

/* Bytes somebody else owns; never NUL-terminated. */
struct view {
	const char *p;
	size_t len;
};

#define VIEW(literal) ((struct view){ (literal), sizeof(literal) - 1 })

static inline struct view view_of(const char *s)
{
	return (struct view){ s, strlen(s) };
}

static inline bool view_eq(struct view a, struct view b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline u8 ascii_lower(u8 c)
{
	return (u8)(c - 'A') < 26 ? c | 0x20 : c;
}

/* Equal but for the case of ASCII letters. */
static inline bool view_ieq(struct view a, struct view b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (ascii_lower((u8)a.p[i]) != ascii_lower((u8)b.p[i]))
			return false;
	return true;
}

#endif
