/* SPDX-License-Identifier: MIT */
/* What a client sees of an exception while an app is being developed (error_page.rb). Needs the GVL. */
#ifndef HYPERION_RUBY_GLUE_ERROR_PAGE_H
#define HYPERION_RUBY_GLUE_ERROR_PAGE_H

#include <ruby.h>

/*
 * An array of two Strings, content type and text; Qnil: there is none, since
 * this is not the environment development, or @env or @error is none, or making
 * it failed. Raises nothing.
 */
VALUE glue_error_page(VALUE env, VALUE error);

#endif
