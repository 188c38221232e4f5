/* SPDX-License-Identifier: MIT */
/*
 * rack.response_finished: what the app has asked to be told when its answer has
 * left, to the last byte, or never will. Such a request's job comes a second
 * time (JOB_SENT), with the token that was handed out here. Needs the GVL;
 * raises nothing.
 */
#ifndef HYPERION_RUBY_GLUE_FINISHED_H
#define HYPERION_RUBY_GLUE_FINISHED_H

#include "ruby_glue/reply.h"

/* Once, when the app is loaded. May raise. */
void glue_finished_init(void);

/* Just before the last answer of @r: a token for it, 0 when nobody wants to be told. */
u64 glue_finished_token(const struct reply *r);

/* The body is closed, or there is none to close: from now on the callables may run. */
void glue_finished_ready(u64 token);

/* In the token of a last answer: the same, for a body that nobody will close any more. */
#define FINISHED_ALONE (1ull << 63)

/* @error (0 = none) is why it never will be complete, for a token handed out before that. */
void glue_finished_failed(u64 token, VALUE error);

/* It has left (@sent), or not: runs the callables, or leaves that to glue_finished_ready(). */
void glue_finished_sent(u64 token, bool sent);

#endif
