/* SPDX-License-Identifier: MIT */
/*
 * What a line of the access log looks like: a name (text, json, common,
 * combined) or a template such as "{method} {path} {status} {total_ms}", where
 * {{ and }} stand for the braces themselves. All of them are templates inside,
 * compiled once into a table of steps: a literal, then a field.
 *
 * Values cannot end a line or a quoted string: other bytes than visible ASCII
 * become \xHH. What is missing is "-". A template that starts with {{ is JSON:
 * other bytes become \u00HH, a missing number is null, a missing text empty.
 */
#ifndef HYPERION_SERVER_ACCESS_FORMAT_H
#define HYPERION_SERVER_ACCESS_FORMAT_H

#include "server/base.h"
#include "server/req.h"

#define ACCESS_LINE_MAX 2048u /* with its end; what the client has sent is cut to fit */
#define ACCESS_STEPS_MAX 48u
#define ACCESS_TEXT_MAX 512u /* of all literals */

struct access_step {
	u16 text_at, text_len; /* the literal in front of the field */
	u16 after; /* bytes that all further steps may need */
	u8 field;
};

struct access_format {
	bool json;
	u32 keep; /* enum http_keep: what requests have to keep for it */
	u32 nr_steps;
	struct access_step steps[ACCESS_STEPS_MAX];
	char text[ACCESS_TEXT_MAX];
};

/* The time of day, rendered once a second. */
struct access_clock {
	u64 realtime_ns; /* what to add to CLOCK_MONOTONIC */
	u64 second; /* which is rendered here: */
	char iso[24]; /* 2026-11-23T05:02:29 */
	char ncsa[28]; /* 23/Nov/2026:05:02:29 +0000 */
};

/* Takes the offset of the time of day anew: somebody may have set it. */
void access_clock_sync(struct access_clock *c);

/* 0, or -EINVAL; then @why says what is allowed. */
int access_format_compile(struct access_format *f, const char *format, const char **why) __must_check;

/* Writes the line of @r, at most ACCESS_LINE_MAX bytes; its length. */
size_t access_format_line(const struct access_format *f, struct access_clock *c, u32 worker,
			  const struct req *r, char *p);

#endif
