/* SPDX-License-Identifier: MIT */
/*
 * Handlers that a route calls without the app: Hyperion::Server.handle. Each
 * has a number, by which jobs name it. Needs the GVL; may raise.
 */
#ifndef HYPERION_RUBY_GLUE_DIRECT_H
#define HYPERION_RUBY_GLUE_DIRECT_H

#include <ruby.h>

#include "server/job.h"

/* Once, when the app is loaded. */
void glue_direct_init(void);

/* A new number for @handler, which lives as long as the process. Not 0. */
u32 glue_direct_add(VALUE handler);

VALUE glue_direct_handler(u32 number);

/* A Hyperion::Request with all that it will ever say: the job may go before it. */
VALUE glue_direct_request(const struct job *job);

/* Tells observers of it. */
void glue_direct_started(VALUE request);

/* Its method and path, for the log. Does not raise. */
void glue_direct_line(VALUE request, VALUE *method, VALUE *path);

#endif
