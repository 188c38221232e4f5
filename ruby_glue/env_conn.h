/* SPDX-License-Identifier: MIT */
/*
 * What stays the same from one request of a connection to the next: an env to
 * copy from, kept for connections that are seen again, in a bounded table.
 * Needs the GVL.
 */
#ifndef HYPERION_RUBY_GLUE_ENV_CONN_H
#define HYPERION_RUBY_GLUE_ENV_CONN_H

#include <ruby.h>

#include "server/job.h"

/* May raise. */
void glue_env_conn_init(void);

/* What differs from what is kept, and has to be stored over the copy. */
struct env_difference {
	u64 headers; /* bit i: header i */
	bool target;
};

/* A copy of what is kept for the job's connection, or 0. */
VALUE glue_env_conn_copy(const struct job *job, struct env_difference *diff);

/* Whether it pays to keep something for this connection. */
bool glue_env_conn_wants(const struct job *job);

/*
 * Keeps a copy of @env, which holds all of the job's headers and its target, and
 * nothing else of the request. Bit i of @fresh: header i is stored anew each
 * time, even if it did not change. May raise.
 */
void glue_env_conn_keep(const struct job *job, VALUE env, u64 fresh);

#endif
