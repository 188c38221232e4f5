/* SPDX-License-Identifier: MIT */
/*
 * The app's status and headers as lines of HTTP, checked: no CR, LF or NUL
 * leaves in a name or a value. Needs the GVL; everything may raise.
 */
#ifndef HYPERION_RUBY_GLUE_HEAD_H
#define HYPERION_RUBY_GLUE_HEAD_H

#include <ruby.h>

#include "ruby_glue/reply.h"

/* Once, when the app is loaded. @rack_2: a value may be several, separated by LF. */
void glue_head_init(bool rack_2);

/* 100..599, or raises Hyperion::ResponseError. */
u16 glue_status(VALUE status);

/*
 * Writes the lines of @headers, and into @r what they say of the answer:
 * has_date, close, content_length as the app declares it. Left out is what the
 * connection decides on its own (Connection, Keep-Alive, Transfer-Encoding).
 */
void glue_head_write(struct reply *r, VALUE headers);

/* Raises Hyperion::ResponseError. */
void glue_bad_response(const char *fmt, ...) __printf(1, 2) __attribute__((noreturn));

#endif
