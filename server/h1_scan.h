/* SPDX-License-Identifier: MIT */
/*
 * Classes of bytes in HTTP/1.x (RFC 9110 5.6, RFC 3986) and the three scans
 * that the parsers are made of. Each scan returns the first byte of [p, end)
 * that is not of the class, or end; it never reads outside of [p, end).
 * Private to h1_*.c and their tests.
 */
#ifndef HYPERION_SERVER_H1_SCAN_H
#define HYPERION_SERVER_H1_SCAN_H

#include "server/base.h"

enum {
	H1_TOKEN = 1 << 0, /* tchar */
	H1_VALUE = 1 << 1, /* HTAB, SP, VCHAR, obs-text */
	H1_TARGET = 1 << 2, /* VCHAR, obs-text */
	H1_REGNAME = 1 << 3, /* unreserved and sub-delims, but no comma: lists are joined by it */
};

extern const u8 h1_byte_class[256];

static inline bool h1_is(char c, u8 class)
{
	return h1_byte_class[(u8)c] & class;
}

static inline bool h1_is_digit(char c)
{
	return (u8)(c - '0') < 10;
}

/* 0..15, or -1 */
static inline int h1_hex(char c)
{
	u8 letter = (u8)(c | 0x20) - 'a';

	if (h1_is_digit(c))
		return c - '0';
	return letter < 6 ? letter + 10 : -1;
}

static inline const char *h1_scan_table(const char *p, const char *end, u8 class)
{
	while (p < end && h1_is(*p, class))
		p++;
	return p;
}

/* Names are short: vectors gain nothing to rely on here (bench/micro/h1_parse.c). */
static inline const char *h1_scan_token(const char *p, const char *end)
{
	return h1_scan_table(p, end, H1_TOKEN);
}

/* H1_SCAN_PORTABLE forces the tables, so that a test can compare. */
#if defined(__SSE2__) && !defined(H1_SCAN_PORTABLE)
#include <emmintrin.h>

/* 0xff where lo <= v < lo + nr, unsigned: one subtraction moves the range to 0. */
static inline __m128i h1_in_range(__m128i v, char lo, char nr)
{
	__m128i off = _mm_sub_epi8(v, _mm_set1_epi8(lo));

	return _mm_cmpeq_epi8(_mm_min_epu8(off, _mm_set1_epi8((char)(nr - 1))), off);
}

static inline const char *h1_scan_value(const char *p, const char *end)
{
	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)p);
		__m128i bad = h1_in_range(v, 0, 0x20);
		u32 stop;

		bad = _mm_andnot_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\t')), bad);
		bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
		stop = (u32)_mm_movemask_epi8(bad);
		if (stop)
			return p + __builtin_ctz(stop);
		p += 16;
	}
	return h1_scan_table(p, end, H1_VALUE);
}

static inline const char *h1_scan_target(const char *p, const char *end)
{
	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)p);
		__m128i bad = h1_in_range(v, 0, 0x21);
		u32 stop;

		bad = _mm_or_si128(bad, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
		stop = (u32)_mm_movemask_epi8(bad);
		if (stop)
			return p + __builtin_ctz(stop);
		p += 16;
	}
	return h1_scan_table(p, end, H1_TARGET);
}

#else

static inline const char *h1_scan_value(const char *p, const char *end)
{
	return h1_scan_table(p, end, H1_VALUE);
}

static inline const char *h1_scan_target(const char *p, const char *end)
{
	return h1_scan_table(p, end, H1_TARGET);
}

#endif
#endif
