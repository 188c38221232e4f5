/* SPDX-License-Identifier: MIT */
/*
 * The head parser once more, as portable_parse_head(): with tables where the
 * other has vectors, and with a count of the bytes that it looks at.
 */
#ifndef HYPERION_SELFTESTS_H1_PARSE_PORTABLE_H
#define HYPERION_SELFTESTS_H1_PARSE_PORTABLE_H

#define H1_SCAN_PORTABLE
#define h1_byte_class portable_byte_class
#define h1_parse_head portable_parse_head
#define h1_parse_status portable_parse_status
#define h1_parse_strerror portable_parse_strerror
#include "server/h1_parse.h"
#include "server/h1_scan.h"

static u64 portable_looked_at;

static inline const char *counted_scan(const char *p, const char *end, u8 class)
{
	const char *stop = h1_scan_table(p, end, class);

	portable_looked_at += (u64)(stop - p) + (stop < end);
	return stop;
}

static inline const char *counted_memchr(const char *p, int c, size_t len)
{
	const char *found = memchr(p, c, len);

	portable_looked_at += found ? (u64)(found - p) + 1 : len;
	return found;
}

#define h1_scan_token(p, end) counted_scan(p, end, H1_TOKEN)
#define h1_scan_value(p, end) counted_scan(p, end, H1_VALUE)
#define h1_scan_target(p, end) counted_scan(p, end, H1_TARGET)
#define memchr(p, c, len) counted_memchr(p, c, len)
#include "server/h1_parse.c"
#undef memchr
#undef h1_scan_target
#undef h1_scan_value
#undef h1_scan_token
#undef h1_parse_strerror
#undef h1_parse_status
#undef h1_parse_head
#undef h1_byte_class

ssize_t h1_parse_head(const char *buf, size_t len, size_t seen, struct msg *msg) __must_check;
int h1_parse_status(enum h1_parse_err err);
const char *h1_parse_strerror(enum h1_parse_err err);

#endif
