/* SPDX-License-Identifier: MIT */
#include "ruby_glue/finished.h"

#include "ruby_glue/env_key.h"
#include "ruby_glue/failure.h"
#include "ruby_glue/internal.h"

/* What is kept of a request, as an Array. */
enum entry { ENV, STATUS, HEADERS, ERROR, CALLABLES, READY, SENT, NR_ENTRY };

static struct {
	VALUE key, request_method, path_info;
	VALUE waiting; /* token => entry */
	VALUE client_gone; /* Hyperion::ClientGone */
	ID id_call;
	u64 last_token;
} finished;

void glue_finished_init(void)
{
	VALUE module = rb_define_module("Hyperion");

	if (finished.key)
		return;
	finished.key = glue_fixed("rack.response_finished");
	finished.request_method = glue_fixed("REQUEST_METHOD");
	finished.path_info = glue_fixed("PATH_INFO");
	finished.id_call = rb_intern("call");
	finished.waiting = rb_hash_new();
	rb_gc_register_mark_object(finished.waiting);
	finished.client_gone = rb_define_class_under(module, "ClientGone", rb_eIOError);
	rb_gc_register_mark_object(finished.client_gone);
}

struct made {
	const struct reply *r;
	VALUE callables;
	u64 token;
};

static VALUE make_entry(VALUE arg)
{
	struct made *m = (struct made *)arg;
	const struct reply *r = m->r;
	VALUE entry = rb_ary_new_capa(NR_ENTRY);

	rb_ary_store(entry, ENV, r->env);
	rb_ary_store(entry, STATUS, r->status ? INT2FIX(r->status) : Qnil);
	rb_ary_store(entry, HEADERS, r->headers ? r->headers : Qnil);
	rb_ary_store(entry, ERROR, r->error ? r->error : Qnil);
	rb_ary_store(entry, CALLABLES, rb_ary_dup(m->callables));
	rb_ary_store(entry, READY, Qfalse);
	rb_ary_store(entry, SENT, Qnil);
	rb_hash_aset(finished.waiting, ULL2NUM(finished.last_token + 1), entry);
	m->token = ++finished.last_token;
	return Qnil;
}

u64 glue_finished_token(const struct reply *r)
{
	struct made m = { .r = r };

	if (!r->env)
		return 0;
	m.callables = rb_hash_lookup(r->env, finished.key);
	if (!RB_TYPE_P(m.callables, T_ARRAY) || !RARRAY_LEN(m.callables))
		return 0;
	return glue_protect(make_entry, (VALUE)&m, NULL) ? 0 : m.token;
}

static VALUE text_in_env(VALUE env, VALUE key)
{
	VALUE text = RB_TYPE_P(env, T_HASH) ? rb_hash_lookup(env, key) : Qnil;

	return RB_TYPE_P(text, T_STRING) ? text : Qnil;
}

static struct view view_of_text(VALUE text)
{
	if (NIL_P(text))
		return VIEW("?");
	return (struct view){ RSTRING_PTR(text), (size_t)RSTRING_LEN(text) };
}

struct told {
	VALUE callable;
	VALUE argv[4];
};

static VALUE tell(VALUE arg)
{
	struct told *t = (struct told *)arg;

	return rb_funcallv(t->callable, finished.id_call, 4, t->argv);
}

/* One that raises keeps no other from being told. */
static void tell_one(struct told *t)
{
	VALUE error, method, path;
	int state = 0;

	rb_protect(tell, (VALUE)t, &state);
	if (!state)
		return;
	error = rb_errinfo();
	rb_set_errinfo(Qnil);
	method = text_in_env(t->argv[0], finished.request_method);
	path = text_in_env(t->argv[0], finished.path_info);
	glue_log_failure(RTEST(rb_obj_is_kind_of(error, rb_eException)) ? error : Qnil,
			 "a jump out of rack.response_finished", view_of_text(method),
			 view_of_text(path));
	RB_GC_GUARD(method);
	RB_GC_GUARD(path);
}

static VALUE new_client_gone(VALUE unused)
{
	return rb_exc_new_cstr(finished.client_gone,
			       "the client left before it had the whole answer");
}

/* The last that was registered is told first, as the specification has it. */
static void tell_all(VALUE entry)
{
	VALUE callables = RARRAY_AREF(entry, CALLABLES);
	struct told t = { .argv = { RARRAY_AREF(entry, ENV), RARRAY_AREF(entry, STATUS),
				    RARRAY_AREF(entry, HEADERS), RARRAY_AREF(entry, ERROR) } };

	if (NIL_P(t.argv[3]) && RARRAY_AREF(entry, SENT) == Qfalse &&
	    glue_protect(new_client_gone, Qnil, &t.argv[3]))
		return;
	for (long i = RARRAY_LEN(callables) - 1; i >= 0; i--) {
		t.callable = RARRAY_AREF(callables, i);
		tell_one(&t);
	}
	RB_GC_GUARD(callables);
}

struct change {
	u64 token;
	enum entry field;
	VALUE value;
	VALUE entry; /* what is complete, nil = nothing */
};

/* Both have to have happened; whoever comes second does the work. */
static VALUE change(VALUE arg)
{
	struct change *c = (struct change *)arg;
	VALUE key = ULL2NUM(c->token), entry = rb_hash_lookup(finished.waiting, key);

	if (NIL_P(entry))
		return Qnil;
	rb_ary_store(entry, c->field, c->value);
	if (RTEST(RARRAY_AREF(entry, READY)) && !NIL_P(RARRAY_AREF(entry, SENT))) {
		rb_hash_delete(finished.waiting, key);
		c->entry = entry;
	}
	return Qnil;
}

static void change_and_tell(struct change *c)
{
	c->entry = Qnil;
	if (!glue_protect(change, (VALUE)c, NULL) && !NIL_P(c->entry))
		tell_all(c->entry);
	RB_GC_GUARD(c->entry);
}

void glue_finished_ready(u64 token)
{
	struct change c = { .token = token, .field = READY, .value = Qtrue };

	if (token)
		change_and_tell(&c);
}

void glue_finished_sent(u64 token, bool sent)
{
	struct change c = { .token = token & ~FINISHED_ALONE,
			    .field = SENT,
			    .value = sent ? Qtrue : Qfalse };

	if (token & FINISHED_ALONE)
		glue_finished_ready(c.token);
	change_and_tell(&c);
}

void glue_finished_failed(u64 token, VALUE error)
{
	struct change c = { .token = token, .field = ERROR, .value = error };

	if (token && error)
		change_and_tell(&c);
}
