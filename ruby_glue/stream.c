/* SPDX-License-Identifier: MIT */
#include "ruby_glue/stream.h"

#include "ruby_glue/body.h"
#include "ruby_glue/env_key.h"
#include "ruby_glue/finished.h"
#include "ruby_glue/internal.h"
#include "ruby_glue/pour.h"
#include "server/log.h"

struct stream {
	struct reply reply;
	struct pour pour;
	VALUE body, input, lock;
	bool closed; /* by the app, or because it failed */
};

static struct {
	VALUE class, closed_error, key_input;
	ID id_call;
} names;

/* --- the object --- */

static void mark_stream(void *p)
{
	struct stream *s = p;
	VALUE values[] = { s->body,          s->input,       s->lock,          s->reply.env,
			   s->reply.headers, s->reply.error, s->reply.partial, s->reply.io };

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (values[i])
			rb_gc_mark(values[i]);
}

/* Nobody can close it any more: the client sees that the answer is not complete. */
static void free_stream(void *p)
{
	struct stream *s = p;

	if (!s->reply.done && s->reply.job && !glue_forked_by_app()) {
		s->reply.env = 0; /* no Ruby runs during a collection */
		if (s->reply.token)
			s->reply.token |= FINISHED_ALONE;
		reply_abort(&s->reply);
		app_flush(s->reply.app);
		log_limited(LOG_LEVEL_WARN, "ruby: a stream was dropped without close pid=%d",
			    (int)getpid());
	}
	reply_fini(&s->reply);
	xfree(s);
}

static const rb_data_type_t stream_type = {
	.wrap_struct_name = "Hyperion::Stream",
	.function = { .dmark = mark_stream, .dfree = free_stream },
};

static struct stream *stream_of(VALUE self)
{
	return rb_check_typeddata(self, &stream_type);
}

/* --- closing --- */

static VALUE close_body(VALUE self)
{
	struct stream *s = stream_of(self);
	VALUE body = s->body;

	s->body = Qnil;
	if (glue_body_closable(body))
		glue_body_close(body);
	return Qnil;
}

static VALUE tell_ready(VALUE self)
{
	struct stream *s = stream_of(self);
	u64 token = s->reply.token;

	s->reply.token = 0;
	glue_finished_ready(token);
	return Qnil;
}

/* However it ended: the body is closed, then those who asked are told. */
static VALUE over(VALUE self)
{
	struct stream *s = stream_of(self);

	reply_end_streaming(&s->reply);
	app_flush(s->reply.app);
	rb_ensure(close_body, self, tell_ready, self);
	return Qnil;
}

static VALUE end_pour(VALUE self)
{
	pour_end(&stream_of(self)->pour);
	return Qnil;
}

/* 0 for what is no exception: a kill, a throw. */
static VALUE raised(void)
{
	VALUE error = rb_errinfo();

	if (RB_SPECIAL_CONST_P(error) || RB_BUILTIN_TYPE(error) == T_IMEMO)
		return 0;
	return error;
}

static VALUE end_answer(VALUE self)
{
	struct stream *s = stream_of(self);
	int state = 0;

	rb_protect(end_pour, self, &state);
	if (!state)
		return Qnil;
	s->reply.error = raised();
	glue_finished_failed(s->reply.token, s->reply.error);
	if (!s->reply.done)
		reply_abort(&s->reply);
	rb_jump_tag(state);
}

static VALUE do_close(VALUE self)
{
	struct stream *s = stream_of(self);

	if (s->closed)
		return Qnil;
	s->closed = true;
	return rb_ensure(end_answer, self, over, self);
}

struct locked {
	VALUE self;
	VALUE (*fn)(VALUE arg);
	VALUE arg;
};

static VALUE run_locked(VALUE arg)
{
	const struct locked *l = (const struct locked *)arg;

	return l->fn(l->arg);
}

/* Several threads may write: each piece goes whole. */
static VALUE with_lock(VALUE self, VALUE (*fn)(VALUE arg), VALUE arg)
{
	struct locked l = { self, fn, arg };

	return rb_mutex_synchronize(stream_of(self)->lock, run_locked, (VALUE)&l);
}

static VALUE stream_close(VALUE self)
{
	/* Also by the body, while that is being closed. */
	if (stream_of(self)->closed)
		return Qnil;
	return with_lock(self, do_close, self);
}

/* --- writing --- */

struct written {
	VALUE self;
	int argc;
	VALUE *argv;
};

static void check_open(const struct stream *s)
{
	if (s->closed || s->pour.stopped)
		rb_raise(rb_eIOError, "closed stream");
	if (pour_gone(&s->pour))
		rb_exc_raise(rb_exc_new_cstr(names.closed_error, "the client is gone"));
}

static VALUE do_write(VALUE arg)
{
	const struct written *w = (const struct written *)arg;
	struct stream *s = stream_of(w->self);
	size_t len = 0;

	for (int i = 0; i < w->argc; i++) {
		VALUE text = rb_obj_as_string(w->argv[i]);

		check_open(s);
		pour_piece(&s->pour, text);
		len += (size_t)RSTRING_LEN(text);
		RB_GC_GUARD(text);
	}
	return SIZET2NUM(len);
}

static VALUE stream_write(int argc, VALUE *argv, VALUE self)
{
	struct written w = { self, argc, argv };

	/* Before the lock: the body may be closed by this very thread. */
	check_open(stream_of(self));
	return with_lock(self, do_write, (VALUE)&w);
}

static VALUE stream_append(VALUE self, VALUE text)
{
	stream_write(1, &text, self);
	return self;
}

static VALUE do_flush(VALUE self)
{
	struct stream *s = stream_of(self);

	check_open(s);
	pour_flush(&s->pour);
	return self;
}

static VALUE stream_flush(VALUE self)
{
	check_open(stream_of(self));
	return with_lock(self, do_flush, self);
}

static VALUE stream_closed_p(VALUE self)
{
	const struct stream *s = stream_of(self);

	return s->closed || pour_gone(&s->pour) ? Qtrue : Qfalse;
}

/* What the client sent: complete before the app was called. */
static VALUE stream_read(int argc, VALUE *argv, VALUE self)
{
	VALUE input = stream_of(self)->input;

	if (NIL_P(input))
		rb_raise(rb_eIOError, "the request body has been closed for reading");
	return rb_funcallv(input, rb_intern("read"), argc, argv);
}

static VALUE stream_close_read(VALUE self)
{
	stream_of(self)->input = Qnil;
	return Qnil;
}

void glue_stream_init(void)
{
	VALUE module = rb_define_module("Hyperion"), class;

	if (names.class)
		return;
	class = rb_define_class_under(module, "Stream", rb_cObject);
	rb_undef_alloc_func(class);
	rb_define_method(class, "write", stream_write, -1);
	rb_define_method(class, "<<", stream_append, 1);
	rb_define_method(class, "flush", stream_flush, 0);
	rb_define_method(class, "close", stream_close, 0);
	rb_define_method(class, "close_write", stream_close, 0);
	rb_define_method(class, "close_read", stream_close_read, 0);
	rb_define_method(class, "closed?", stream_closed_p, 0);
	rb_define_method(class, "read", stream_read, -1);
	names.class = class;
	/* What apps expect of a socket whose other end has gone. */
	names.closed_error = rb_const_get(rb_mErrno, rb_intern("EPIPE"));
	rb_gc_register_mark_object(names.closed_error);
	names.key_input = glue_fixed("rack.input");
	names.id_call = rb_intern("call");
}

/* --- the call --- */

static VALUE new_stream(struct reply *r, VALUE body)
{
	struct stream *s;
	VALUE self = TypedData_Make_Struct(names.class, struct stream, &stream_type, s);

	s->lock = rb_mutex_new();
	s->body = body;
	s->input = r->env ? rb_hash_lookup(r->env, names.key_input) : Qnil;
	s->reply = *r;
	pour_init(&s->pour, &s->reply);
	r->stream = self;
	/* What it had is the stream's. */
	r->block = r->last = r->lent = NULL;
	return self;
}

void glue_stream_call(struct reply *r, VALUE body)
{
	VALUE self = new_stream(r, body);
	struct stream *s = stream_of(self);

	pour_head(&s->pour);
	rb_funcallv(body, names.id_call, 1, &self);
}

/* The app goes on elsewhere: this thread is free. */
static void goes_on(struct stream *s)
{
	reply_end_streaming(&s->reply);
	/* Now, as it cannot be done for a stream that the GC finds unclosed. */
	s->reply.token = glue_finished_token(&s->reply);
}

struct failure {
	VALUE self, error;
	void (*fail)(struct reply *r);
};

static VALUE fail_answer(VALUE arg)
{
	const struct failure *f = (const struct failure *)arg;
	struct stream *s = stream_of(f->self);

	if (s->closed)
		return Qnil;
	s->closed = true;
	s->reply.error = f->error;
	if (!s->reply.done)
		f->fail(&s->reply);
	return over(f->self);
}

void glue_stream_returned(VALUE stream, void (*fail)(struct reply *r), VALUE error)
{
	struct stream *s = stream_of(stream);

	if (fail && !s->closed) {
		struct failure f = { stream, error, fail };

		/* Who writes just now lets go of the job first: it is gone with its last answer. */
		s->pour.stopped = true;
		with_lock(stream, fail_answer, (VALUE)&f);
	} else if (!s->closed && !s->reply.app->nr_threads) {
		log_limited(
			LOG_LEVEL_WARN,
			"ruby: threads 0 needs a stream that is closed when call returns pid=%d",
			(int)getpid());
		stream_close(stream);
	} else if (!s->closed) {
		goes_on(s);
	}
}
