/* SPDX-License-Identifier: MIT */
/*
 * The name under which a request is counted, where the app knows a better one
 * than its path: env['hyperion.route'], else the pattern that Rails has matched,
 * else what the path_templater of the config file makes of the path.
 */
#ifndef HYPERION_RUBY_GLUE_ROUTE_H
#define HYPERION_RUBY_GLUE_ROUTE_H

#include <ruby.h>

#include "server/job.h"

/* May raise. */
void glue_route_init(void);

/* Before the job's last answer. Raises nothing. */
void glue_route_note(struct job *job, VALUE env);

#endif
