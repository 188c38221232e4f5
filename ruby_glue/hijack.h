/* SPDX-License-Identifier: MIT */
/*
 * What an app may do with the connection while it handles a request:
 * rack.hijack (take it), rack.early_hints (say something before the answer), and
 * give a taken one back. One object each serves all requests: it knows the
 * request from the thread that calls it. Needs the GVL.
 */
#ifndef HYPERION_RUBY_GLUE_HIJACK_H
#define HYPERION_RUBY_GLUE_HIJACK_H

#include <ruby.h>

#include "ruby_glue/reply.h"

/* Once, when the app is loaded. May raise. */
void glue_hijack_init(void);

/* Callables for env. */
VALUE glue_hijack_callable(void);
VALUE glue_early_hints_callable(void);

/* The request that this thread handles from now on; NULL = none. Returns the one before. */
struct reply *glue_hijack_enter(struct reply *r);

/*
 * The connection of @r as an IO, after the head that is written (@with_head). May
 * raise IOError: the client is gone.
 */
VALUE glue_hijack_take(struct reply *r, bool with_head);

#endif
