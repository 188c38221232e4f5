/* SPDX-License-Identifier: MIT */
#include "ruby_glue/error_page.h"

#include <string.h>

#include "ruby_glue/internal.h"

static VALUE make_page(VALUE arg)
{
	const VALUE *argv = (const VALUE *)arg;
	VALUE page = rb_funcallv(glue_module(), rb_intern("error_page"), 2, argv);

	Check_Type(page, T_ARRAY);
	for (long i = 0; i < 2; i++) {
		VALUE text = rb_ary_entry(page, i);

		Check_Type(text, T_STRING);
	}
	return page;
}

VALUE glue_error_page(VALUE env, VALUE error)
{
	VALUE argv[2] = { env, error }, page;
	int state = 0;

	if (strcmp(glue_app_settings()->environment, "development") != 0 || !RTEST(env) ||
	    !RTEST(rb_obj_is_kind_of(error, rb_eException)))
		return Qnil;
	page = rb_protect(make_page, (VALUE)argv, &state);
	if (!state)
		return page;
	/* The log has the exception already. */
	rb_set_errinfo(Qnil);
	return Qnil;
}
