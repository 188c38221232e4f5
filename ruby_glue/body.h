/* SPDX-License-Identifier: MIT */
/*
 * The app's body as answers: an array at once, a file by its descriptor, what
 * can only be enumerated piece by piece as far as the client takes it, a callable
 * by a stream, or by the connection itself. Needs the GVL, releases it to wait;
 * may raise.
 */
#ifndef HYPERION_RUBY_GLUE_BODY_H
#define HYPERION_RUBY_GLUE_BODY_H

#include <ruby.h>

#include "ruby_glue/reply.h"

/* Once, when the app is loaded. @rack_3: to_ary closes the body. */
void glue_body_init(bool rack_3);

/*
 * Sends the head that @r holds, and @body, up to the last answer. @closed is set
 * when the body has been closed on the way.
 */
void glue_body_send(struct reply *r, VALUE body, bool *closed);

/* A 101 whose body takes the connection. */
bool glue_body_upgrades(u16 status, VALUE body);

/* The app frames its chunks itself where its head says chunked. May raise. */
bool glue_body_framed(void);

/* If @body can be closed. */
bool glue_body_closable(VALUE body);
void glue_body_close(VALUE body);

#endif
