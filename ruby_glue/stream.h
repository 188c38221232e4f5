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

/*
 * The call has returned, or raised @error (0: not an exception): then @fail, else
 * NULL, ends the answer if the stream is open. Waits for threads that write.
 */
void glue_stream_returned(VALUE stream, void (*fail)(struct reply *r), VALUE error);

#endif
