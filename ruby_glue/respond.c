/* SPDX-License-Identifier: MIT */
#include "ruby_glue/respond.h"

#include "ruby_glue/body.h"
#include "ruby_glue/direct.h"
#include "ruby_glue/env.h"
#include "ruby_glue/env_key.h"
#include "ruby_glue/error_page.h"
#include "ruby_glue/failure.h"
#include "ruby_glue/finished.h"
#include "ruby_glue/head.h"
#include "ruby_glue/hijack.h"
#include "ruby_glue/input.h"
#include "ruby_glue/internal.h"
#include "ruby_glue/reply.h"
#include "ruby_glue/route.h"
#include "ruby_glue/runtime.h"
#include "ruby_glue/stats.h"
#include "ruby_glue/stream.h"
#include "server/clock.h"

static struct {
	VALUE app; /* lives as long as boot.c's */
	VALUE request_method, path_info;
	ID id_call;
	struct glue_stats stats;
} respond;

/* A request on its way; on the C stack, where the GC finds the VALUEs. */
struct run {
	struct reply reply; /* until a stream has taken it over */
	VALUE env, answer, body;
	VALUE file; /* rack.input that we have opened */
	VALUE direct; /* the request that a direct handler was given */
	VALUE request; /* that observers were told of */
	VALUE error; /* what the app or its body raised first */
	bool body_closed;
	bool stream_failed;
	bool forked;
};

void glue_stats(struct glue_stats *out)
{
	out->requests = __atomic_load_n(&respond.stats.requests, __ATOMIC_RELAXED);
	out->errors = __atomic_load_n(&respond.stats.errors, __ATOMIC_RELAXED);
}

/* The GVL makes us the only writer. */
static void count(u64 *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* --- set-up --- */

static int rack_major(void)
{
	VALUE rack, release;

	if (!rb_const_defined(rb_cObject, rb_intern("Rack")))
		return 3;
	rack = rb_const_get(rb_cObject, rb_intern("Rack"));
	if (!rb_const_defined(rack, rb_intern("RELEASE")))
		return 3;
	release = rb_const_get(rack, rb_intern("RELEASE"));
	return atoi(StringValueCStr(release));
}

static VALUE init(VALUE unused)
{
	bool rack_3 = rack_major() >= 3;

	glue_env_init(glue_app_settings());
	glue_head_init(!rack_3);
	glue_body_init(rack_3);
	glue_finished_init();
	glue_stream_init();
	glue_hijack_init();
	glue_route_init();
	glue_direct_init();
	respond.request_method = glue_fixed("REQUEST_METHOD");
	respond.path_info = glue_fixed("PATH_INFO");
	respond.id_call = rb_intern("call");
	return Qnil;
}

int glue_respond_init(void)
{
	respond.app = glue_app();
	return glue_protect(init, Qnil, NULL);
}

/* --- what goes wrong --- */

static struct view text_of(VALUE value)
{
	if (!RB_TYPE_P(value, T_STRING))
		return VIEW("?");
	return (struct view){ RSTRING_PTR(value), (size_t)RSTRING_LEN(value) };
}

/*
 * After the last answer the job is gone, and only env still knows the request. A
 * stream may have sent that, at any time.
 */
static void log_failure(struct run *run, VALUE error, const char *what)
{
	const struct job *job = run->reply.job;
	VALUE method, path;

	count(&respond.stats.errors);
	if (!run->reply.done && !run->reply.stream) {
		glue_log_failure(error, what, job->method_name, job->path);
		return;
	}
	if (!NIL_P(run->direct)) {
		glue_direct_line(run->direct, &method, &path);
		glue_log_failure(error, what, text_of(method), text_of(path));
		RB_GC_GUARD(method);
		RB_GC_GUARD(path);
		return;
	}
	method = NIL_P(run->env) ? Qnil : rb_hash_lookup(run->env, respond.request_method);
	path = NIL_P(run->env) ? Qnil : rb_hash_lookup(run->env, respond.path_info);
	glue_log_failure(error, what, text_of(method), text_of(path));
	RB_GC_GUARD(method);
	RB_GC_GUARD(path);
}

static void put(struct reply *r, struct view v)
{
	memcpy(r->p, v.p, v.len);
	r->p += v.len;
}

/* @page: of glue_error_page(), or nil. */
static void send_500(struct reply *r, VALUE page)
{
	static const struct view name = VIEW("content-type: "), end = VIEW("\r\n");
	struct view type = VIEW("text/plain"), text = VIEW("Internal Server Error");

	if (!NIL_P(page)) {
		type = text_of(RARRAY_AREF(page, 0));
		text = text_of(RARRAY_AREF(page, 1));
	}
	reply_reset(r);
	r->status = 500;
	/* What the answer that failed had said of itself is not true of this one. */
	r->has_date = r->has_request_id = r->raw = false;
	r->content_length = (s64)text.len;
	if (reply_need(r, name.len + type.len + end.len + text.len)) {
		reply_abort(r);
		return;
	}
	put(r, name);
	put(r, type);
	put(r, end);
	reply_head_done(r);
	if (r->job->method != METHOD_HEAD)
		put(r, text);
	if (reply_send(r, ANSWER_END))
		reply_abort(r);
	RB_GC_GUARD(page);
}

/* A child has our memory but not our threads: what it would send would be sent twice. */
static void check_forked(struct run *run)
{
	run->forked = glue_forked_by_app();
}

static void fail_reply(struct reply *r)
{
	if (r->done)
		return;
	/* A connection that the app has taken is not ours to answer on. */
	if (r->head_sent || r->io)
		reply_abort(r);
	else
		send_500(r, glue_error_page(r->env, r->error));
}

/* Logged once; the client learns of it if it can still be told. True: the thread has to end. */
static bool fail(struct run *run)
{
	VALUE error = rb_errinfo();
	/* Only exceptions are objects; a kill and a throw leave marks of the VM's own. */
	bool killed = RB_FIXNUM_P(error);
	bool jump = RB_SPECIAL_CONST_P(error) || RB_BUILTIN_TYPE(error) == T_IMEMO;

	rb_set_errinfo(Qnil);
	check_forked(run);
	if (run->forked)
		return false;
	if (!jump && RTEST(rb_obj_is_kind_of(error, rb_eException)))
		run->reply.error = error;
	if (NIL_P(run->error) && !jump)
		run->error = error;
	if (!run->reply.stream && !run->reply.done)
		glue_route_note(run->reply.job, run->env);
	log_failure(run, jump ? Qnil : error,
		    killed ? "the app has killed its thread" : "a jump out of the app");
	/* A stream is failed in finish(), with its lock. */
	run->stream_failed = run->reply.stream;
	if (!run->reply.stream)
		fail_reply(&run->reply);
	RB_GC_GUARD(error);
	return killed;
}

/* --- the way through --- */

/* What follows may take its time; while jobs are queued, the I/O thread looks for itself. */
static void flush_answers(const struct run *run)
{
	if (!ring_count(&run->reply.app->jobs))
		app_flush(run->reply.app);
}

static VALUE close_body(VALUE arg)
{
	struct run *run = (struct run *)arg;

	run->body_closed = true;
	flush_answers(run);
	glue_body_close(run->body);
	return Qnil;
}

static VALUE close_file(VALUE arg)
{
	struct run *run = (struct run *)arg;
	VALUE file = run->file;

	run->file = 0;
	glue_input_done(file);
	return Qnil;
}

static VALUE tell_observers(VALUE arg)
{
	struct run *run = (struct run *)arg;

	flush_answers(run);
	glue_request_ended(run->request, run->env, run->answer, run->error);
	return Qnil;
}

static void take_answer(struct run *run)
{
	VALUE answer = run->answer;

	if (!RB_TYPE_P(answer, T_ARRAY))
		answer = run->answer = rb_check_array_type(answer);
	if (NIL_P(answer) || RARRAY_LEN(answer) != 3)
		glue_bad_response("the app's answer is not [status, headers, body]");
	run->body = RARRAY_AREF(answer, 2);
	run->body_closed = !glue_body_closable(run->body);
}

/* After a full hijack: what the app returns is no answer; its body is still to be closed. */
static void take_ignored(struct run *run)
{
	VALUE answer = rb_check_array_type(run->answer);

	reply_abort(&run->reply);
	if (NIL_P(answer) || RARRAY_LEN(answer) != 3)
		return;
	run->body = RARRAY_AREF(answer, 2);
	run->body_closed = !glue_body_closable(run->body);
}

static void call_app(struct run *run)
{
	run->env = run->reply.env = glue_env_new(run->reply.job, &run->file);
	if (unlikely(glue_runtime_watched))
		run->request = glue_request_started(run->env);
	run->answer = rb_funcallv(respond.app, respond.id_call, 1, &run->env);
}

/* Without env, and without what is around the app. */
static void call_direct(struct run *run)
{
	const struct job *job = run->reply.job;

	run->direct = glue_direct_request(job);
	if (unlikely(glue_runtime_watched)) {
		run->request = run->direct;
		glue_direct_started(run->request);
	}
	run->answer = rb_funcallv(glue_direct_handler(job->direct), respond.id_call, 1, &run->direct);
}

static VALUE pass(VALUE arg)
{
	struct run *run = (struct run *)arg;
	struct reply *r = &run->reply;

	if (unlikely(r->job->direct))
		call_direct(run);
	else
		call_app(run);
	check_forked(run);
	if (run->forked)
		return Qnil;
	glue_route_note(r->job, run->env);
	if (unlikely(r->io)) {
		take_ignored(run);
		return Qnil;
	}
	take_answer(run);
	r->status = glue_status(RARRAY_AREF(run->answer, 0));
	r->headers = RARRAY_AREF(run->answer, 1);
	glue_head_write(r, r->headers);
	glue_body_send(r, run->body, &run->body_closed);
	if (unlikely(r->io))
		reply_abort(r);
	if (!run->body_closed)
		close_body(arg);
	return Qnil;
}

static VALUE stream_returned(VALUE arg)
{
	struct run *run = (struct run *)arg;

	glue_stream_returned(run->reply.stream, run->stream_failed ? fail_reply : NULL,
			     run->reply.error);
	return Qnil;
}

/* What is raised from outside while the stream's lock is waited for makes it fail, too. */
static bool return_stream(struct run *run)
{
	bool killed = false;

	for (int i = 0; i < 3; i++) {
		int state = 0;

		rb_protect(stream_returned, (VALUE)run, &state);
		if (!state)
			break;
		killed |= fail(run);
	}
	return killed;
}

/* What has to happen however the request went. True: the thread has to end. */
static bool finish(struct run *run)
{
	bool killed = false;
	int state = 0;

	if (unlikely(run->reply.stream) && !run->forked) {
		killed |= return_stream(run);
	} else if (!run->forked) {
		reply_end_streaming(&run->reply);
	}
	if (!run->body_closed && !run->forked) {
		rb_protect(close_body, (VALUE)run, &state);
		killed |= state && fail(run);
	}
	if (unlikely(!NIL_P(run->request)) && !run->forked) {
		rb_protect(tell_observers, (VALUE)run, &state);
		killed |= state && fail(run);
	}
	if (run->file) {
		rb_protect(close_file, (VALUE)run, &state);
		killed |= state && fail(run);
	}
	if (unlikely(run->reply.token) && !run->forked)
		glue_finished_ready(run->reply.token);
	return killed;
}

/* The job of a request whose answer has left, or never will. */
static enum respond_end tell_sent(struct app *app, struct job *job, u64 *end_ns)
{
	int err;

	glue_finished_sent(job->token, job->sent);
	job->first = (struct answer){ .job = job, .flags = ANSWER_END, .fd = -1 };
	err = app_answer(app, &job->first);
	(void)err; /* a last answer always fits */
	*end_ns = monotonic_ns();
	return RESPOND_GO_ON;
}

enum respond_end glue_respond(struct app *app, struct job *job, u64 *end_ns)
{
	struct run run = {
		.env = Qnil,
		.answer = Qnil,
		.body = Qnil,
		.direct = Qnil,
		.request = Qnil,
		.error = Qnil,
		.body_closed = true,
	};
	struct reply *before;
	bool killed = false;
	int state = 0;

	if (unlikely(job->kind == JOB_SENT))
		return tell_sent(app, job, end_ns);
	count(&respond.stats.requests);
	reply_init(&run.reply, app, job);
	before = glue_hijack_enter(&run.reply);
	if (job_gone(job)) {
		reply_abort(&run.reply);
	} else {
		rb_protect(pass, (VALUE)&run, &state);
		if (state)
			killed = fail(&run);
		killed |= finish(&run);
	}
	glue_hijack_enter(before);
	glue_gc_look();
	reply_fini(&run.reply);
	/* An answer that goes on without this thread has no end yet. */
	*end_ns = run.reply.done_ns ? run.reply.done_ns : monotonic_ns();
	if (run.forked)
		return RESPOND_FORKED;
	return killed ? RESPOND_KILLED : RESPOND_GO_ON;
}
