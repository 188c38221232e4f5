/* SPDX-License-Identifier: MIT */
/*
 * What the files of this folder share. Everything here needs the GVL; nothing
 * here raises: exceptions are reported on stderr and become -1.
 */
#ifndef HYPERION_RUBY_GLUE_INTERNAL_H
#define HYPERION_RUBY_GLUE_INTERNAL_H

#include <ruby.h>

#include "ruby_glue/glue.h"

/* Source files that the build turned into objects; @end is behind the last byte. */
struct glue_source {
	const char *name;
	const char *start, *end;
};

/* Hyperion::Internal. */
VALUE glue_module(void);

/* @fn(@arg) under rb_protect; an exception is reported. @result may be NULL. */
int glue_protect(VALUE (*fn)(VALUE arg), VALUE arg, VALUE *result) __must_check;

/* Hyperion::Internal.@method(@argv...), the same way. */
int glue_call(VALUE *result, const char *method, int argc, const VALUE *argv) __must_check;

/* Says on stderr what went wrong, as `ruby` would. */
void glue_report(VALUE error);

/* The app, nil before glue_load_app(); and what that was told. */
VALUE glue_app(void);
const struct glue_app *glue_app_settings(void);

/*
 * This is a process that the app's own code has forked within a worker (or the
 * mold): it must not go on with what its parent does for us.
 */
bool glue_forked_by_app(void);

/* Signal handlers as Ruby had them, for such a process. */
void glue_restore_signals(void);

/* Called once by glue_boot(), protected. */
void glue_init_config(VALUE module);
void glue_init_fork(VALUE module);
void glue_init_route(VALUE module);
void glue_init_server(VALUE module);

#endif
