/* SPDX-License-Identifier: MIT */
#include "ruby_glue/runtime.h"

#include <stdio.h>

#include "ruby_glue/internal.h"
#include "server/log.h"

#define LINE_MAX_LEN 900u /* of a message; log_line() adds to it and has an end, too */

bool glue_runtime_watched;

/* Internal.watch_requests(whether) */
static VALUE watch_requests(VALUE self, VALUE whether)
{
	(void)self;
	glue_runtime_watched = RTEST(whether);
	return Qnil;
}

/* Internal.log(level, text): one line, control characters shown. */
static VALUE internal_log(VALUE self, VALUE level, VALUE text)
{
	enum log_level lvl = (enum log_level)NUM2INT(level);
	char line[LINE_MAX_LEN + 8];
	size_t n = 0;

	(void)self;
	StringValue(text);
	for (long i = 0; i < RSTRING_LEN(text) && n < LINE_MAX_LEN; i++) {
		u8 c = (u8)RSTRING_PTR(text)[i];

		if (c >= 0x20 && c != 0x7f)
			line[n++] = (char)c;
		else
			n += (size_t)snprintf(line + n, 5, "\\x%02x", c);
	}
	line[n] = '\0';
	if (lvl >= LOG_LEVEL_DEBUG && lvl <= LOG_LEVEL_ERROR)
		log_line(lvl, "%s", line);
	return Qnil;
}

/* Internal.log_level: lines below it are not written. */
static VALUE internal_log_level(VALUE self)
{
	(void)self;
	return INT2FIX(log_level_get());
}

void glue_init_runtime(VALUE internal)
{
	rb_define_singleton_method(internal, "watch_requests", watch_requests, 1);
	rb_define_singleton_method(internal, "log", internal_log, 2);
	rb_define_singleton_method(internal, "log_level", internal_log_level, 0);
}

VALUE glue_request_started(VALUE env)
{
	return rb_funcall(glue_module(), rb_intern("request_started"), 1, env);
}

void glue_request_ended(VALUE request, VALUE env, VALUE answer, VALUE error)
{
	rb_funcall(glue_module(), rb_intern("request_ended"), 4, request, env, answer, error);
}
