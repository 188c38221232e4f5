/* SPDX-License-Identifier: MIT */
/* Backtraces of all threads: glue_trace() asks, the main thread writes them. */
#ifndef HYPERION_RUBY_GLUE_TRACE_H
#define HYPERION_RUBY_GLUE_TRACE_H

/* The main thread, with the GVL: carries out what was asked for, if anything was. */
void glue_trace_pending(void);

/* The main thread returns from its wait soon, and calls that. Any thread. */
void glue_wake_main(void);

#endif
