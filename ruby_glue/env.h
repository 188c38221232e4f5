/* SPDX-License-Identifier: MIT */
/* A job as the env of Rack 3 (and of Rack 2). Needs the GVL. */
#ifndef HYPERION_RUBY_GLUE_ENV_H
#define HYPERION_RUBY_GLUE_ENV_H

#include <ruby.h>

#include "server/job.h"

struct glue_app;

/* Once, when the app is loaded. May raise. */
void glue_env_init(const struct glue_app *settings);

/*
 * A new env. What apps write into is theirs alone: PATH_INFO, a non-empty
 * QUERY_STRING, most headers. Frozen is what they only read: REQUEST_URI, what
 * names server and client, Host, Accept and their like. @file becomes
 * rack.input where that is a file, to be closed by glue_input_done(), else it
 * stays. May raise.
 */
VALUE glue_env_new(const struct job *job, VALUE *file);

#endif
