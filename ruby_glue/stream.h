/* SPDX-License-Identifier: MIT */
/*
 * Hyperion::Stream: what a body that answers `call` writes into. It may go on
 * after the call has returned, from any thread of the app; close() ends the
 * answer, exactly once. Needs the GVL; everything may raise.
 */
#ifndef HYPERION_RUBY_GLUE_STREAM_H
#define HYPERION_RUBY_GLUE_STREAM_H

#include <ruby.h>

#include "ruby_glue/reply.h"

/* Once, when the app is loaded. */
void glue_stream_init(void);

/*
 * Sends the head and calls @body with a stream, which takes @r over (r->stream).
 * @body is closed when the stream is.
 */
void glue_stream_call(struct reply *r, VALUE body);

/* The reply of a stream, to fail it; NULL once it is closed. */
struct reply *glue_stream_reply(VALUE stream);

/* The call has returned or raised: what is left to do. */
void glue_stream_returned(VALUE stream, bool raised);

#endif
