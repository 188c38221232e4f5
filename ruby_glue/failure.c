/* SPDX-License-Identifier: MIT */
#include "ruby_glue/failure.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/log.h"

#define TEXT_MAX (64 * KIB) /* of an entry; the rest of the backtrace is left out */
#define MESSAGE_MAX (8 * KIB)
#define PATH_MAX_LEN (2 * KIB)
#define LINES_MAX 200 /* of a backtrace: enough for any framework, not for endless recursion */
#define CAUSES_MAX 4

struct text {
	char *p;
	size_t len;
	VALUE error;
	const char *what;
	struct view method, path;
};

static void add(struct text *t, const char *p, size_t len)
{
	len = min(len, TEXT_MAX - t->len);
	memcpy(t->p + t->len, p, len);
	t->len += len;
}

static void add_word(struct text *t, const char *word)
{
	add(t, word, strlen(word));
}

/* One line, whatever the client or the app has put into it. */
static void add_shown(struct text *t, const char *p, size_t len, size_t limit)
{
	char code[8];

	for (size_t i = 0; i < min(len, limit); i++) {
		u8 c = (u8)p[i];

		if (c >= 0x20 && c != 0x7f)
			add(t, &p[i], 1);
		else
			add(t, code, (size_t)snprintf(code, sizeof(code), "\\x%02x", c));
	}
	if (len > limit)
		add_word(t, "...");
}

static void add_string(struct text *t, VALUE s, size_t limit)
{
	if (RB_TYPE_P(s, T_STRING))
		add_shown(t, RSTRING_PTR(s), (size_t)RSTRING_LEN(s), limit);
	RB_GC_GUARD(s);
}

/* --- each step calls the app's methods, so each may fail on its own --- */

static VALUE message_of(VALUE error)
{
	return rb_obj_as_string(rb_funcall(error, rb_intern("message"), 0));
}

static VALUE backtrace_of(VALUE error)
{
	return rb_check_array_type(rb_funcall(error, rb_intern("backtrace"), 0));
}

static VALUE cause_of(VALUE error)
{
	return rb_funcall(error, rb_intern("cause"), 0);
}

static VALUE attempt(VALUE (*fn)(VALUE error), VALUE error)
{
	int state = 0;
	VALUE value = rb_protect(fn, error, &state);

	if (!state)
		return value;
	rb_set_errinfo(Qnil);
	return Qnil;
}

static void add_error(struct text *t, VALUE error)
{
	VALUE message;

	add_word(t, rb_obj_classname(error));
	add_word(t, ": ");
	message = attempt(message_of, error);
	if (NIL_P(message))
		add_word(t, "(its message cannot be had)");
	else
		add_string(t, message, MESSAGE_MAX);
}

static void add_backtrace(struct text *t, VALUE error)
{
	VALUE lines = attempt(backtrace_of, error);

	if (!RB_TYPE_P(lines, T_ARRAY))
		return;
	for (long i = 0; i < min(RARRAY_LEN(lines), LINES_MAX); i++) {
		add_word(t, "\n\t");
		add_string(t, RARRAY_AREF(lines, i), MESSAGE_MAX);
	}
	if (RARRAY_LEN(lines) > LINES_MAX)
		add_word(t, "\n\t...");
}

static void add_causes(struct text *t, VALUE error)
{
	for (int i = 0; i < CAUSES_MAX; i++) {
		error = attempt(cause_of, error);
		if (!RTEST(rb_obj_is_kind_of(error, rb_eException)))
			return;
		add_word(t, "\ncaused by ");
		add_error(t, error);
		add_backtrace(t, error);
	}
}

static VALUE compose(VALUE arg)
{
	struct text *t = (struct text *)arg;
	bool is_error = RTEST(rb_obj_is_kind_of(t->error, rb_eException));
	char start[LOG_START_MAX];

	add(t, start, log_start(start, sizeof(start), LOG_LEVEL_ERROR));
	add_word(t, "ruby: ");
	if (is_error)
		add_error(t, t->error);
	else
		add_word(t, t->what);
	add_word(t, " method=");
	add_shown(t, t->method.p, t->method.len, PATH_MAX_LEN);
	add_word(t, " path=");
	add_shown(t, t->path.p, t->path.len, PATH_MAX_LEN);
	if (is_error) {
		add_backtrace(t, t->error);
		add_causes(t, t->error);
	}
	return Qnil;
}

void glue_log_failure(VALUE error, const char *what, struct view method, struct view path)
{
	struct text t = { .error = error, .what = what, .method = method, .path = path };
	int state = 0;

	t.p = malloc(TEXT_MAX + 1);
	if (!t.p) {
		log_error("ruby: %s, no memory to say more", what);
		return;
	}
	rb_protect(compose, (VALUE)&t, &state);
	if (state)
		rb_set_errinfo(Qnil);
	t.p[t.len++] = '\n';
	log_entry(t.p, t.len);
	free(t.p);
}
