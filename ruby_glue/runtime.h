/* SPDX-License-Identifier: MIT */
/* Observers of requests and the log, as Hyperion::Runtime (runtime.rb) has them. Needs the GVL. */
#ifndef HYPERION_RUBY_GLUE_RUNTIME_H
#define HYPERION_RUBY_GLUE_RUNTIME_H

#include <ruby.h>

#include "server/base.h"

/* Is there an observer? Written and read under the GVL only. */
extern bool glue_runtime_watched;

/* Before the first line of Ruby. May raise. */
void glue_init_runtime(VALUE internal);

/* Tells observers that the app is about to be called: a Hyperion::Request. May raise. */
VALUE glue_request_started(VALUE env);

/* ... and how it went; @answer and @error may be nil. May raise. */
void glue_request_ended(VALUE request, VALUE env, VALUE answer, VALUE error);

#endif
