/* SPDX-License-Identifier: MIT */
/* The config file: config.rb evaluates it, the settings leave through here. */
#include "ruby_glue/internal.h"

struct config {
	const char *(*set)(void *arg, const char *key, const char *value);
	void *arg;
};

static const struct config *reading; /* while glue_read_config() runs */

/* Internal.set(key, value): nil, or a text that says what is allowed. */
static VALUE internal_set(VALUE self, VALUE key, VALUE value)
{
	const char *k = StringValueCStr(key), *v = StringValueCStr(value), *why;

	(void)self;
	if (!reading)
		rb_raise(rb_eRuntimeError, "settings are read only once");
	why = reading->set(reading->arg, k, v);
	RB_GC_GUARD(key);
	RB_GC_GUARD(value);
	return why ? rb_utf8_str_new_cstr(why) : Qnil;
}

void glue_init_config(VALUE module)
{
	rb_define_singleton_method(module, "set", internal_set, 2);
}

static VALUE do_read(VALUE file)
{
	VALUE path = rb_external_str_new_cstr((const char *)file);

	return rb_funcall(glue_module(), rb_intern("read_config"), 1, path);
}

int glue_read_config(const char *file,
		     const char *(*set)(void *arg, const char *key, const char *value), void *arg)
{
	const struct config config = { set, arg };
	int err;

	reading = &config;
	err = glue_protect(do_read, (VALUE)file, NULL);
	reading = NULL;
	return err;
}
