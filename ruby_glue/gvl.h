/* SPDX-License-Identifier: MIT */
/* How long Ruby's threads wait for the GVL, where Ruby (3.2 and later) says so. */
#ifndef HYPERION_RUBY_GLUE_GVL_H
#define HYPERION_RUBY_GLUE_GVL_H

#include "server/base.h"

/*
 * From now on each wait is added to @wait_ns, which outlives the process's
 * Ruby. false: this Ruby cannot tell.
 */
bool glue_gvl_watch(u64 *wait_ns);

#endif
