/* SPDX-License-Identifier: MIT */
/*
 * rack.input: nothing (one object for all requests), a StringIO, or a File on
 * the unlinked file that a large body went to. All are rewindable. Needs the
 * GVL; everything may raise.
 */
#ifndef HYPERION_RUBY_GLUE_INPUT_H
#define HYPERION_RUBY_GLUE_INPUT_H

#include <ruby.h>

#include "server/job.h"

void glue_input_init(void);

VALUE glue_input_empty(void);

/* @job has a body. */
VALUE glue_input_new(const struct job *job);

/* The request is over: the memory of a StringIO is the GC's, a File is closed now. */
void glue_input_done(VALUE input);

#endif
