/* SPDX-License-Identifier: MIT */
/*
 * What Ruby says of itself in the worker's row of the shared statistics: runs
 * of the garbage collector, waits for the GVL; and the app's own numbers
 * (metrics_own.rb). Needs the GVL.
 */
#ifndef HYPERION_RUBY_GLUE_STATS_H
#define HYPERION_RUBY_GLUE_STATS_H

#include <ruby.h>

#include "server/base.h"

/* Runs of the GC that the row knows of. */
extern size_t glue_gc_seen;

void glue_gc_changed(void);

/* Behind each request; two loads when there is no news. */
static inline void glue_gc_look(void)
{
	if (unlikely(rb_gc_count() != glue_gc_seen))
		glue_gc_changed();
}

/* Before the first line of Ruby. May raise. */
void glue_init_stats(VALUE internal);

#endif
