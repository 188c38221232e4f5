/* SPDX-License-Identifier: MIT */
/* What the app raised while it answered a request, as one entry in the log. Needs the GVL. */
#ifndef HYPERION_RUBY_GLUE_FAILURE_H
#define HYPERION_RUBY_GLUE_FAILURE_H

#include <ruby.h>

#include "server/base.h"

/*
 * "ruby: Class: message method=GET path=/x", then the backtrace, line by line,
 * written at once. @error may be nil: then @what says what happened. Control
 * characters are shown as \xNN. Raises nothing.
 */
void glue_log_failure(VALUE error, const char *what, struct view method, struct view path);

#endif
