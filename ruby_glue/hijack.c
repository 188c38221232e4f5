/* SPDX-License-Identifier: MIT */
#include "ruby_glue/hijack.h"

#include <fcntl.h>
#include <ruby/io.h>
#include <ruby/thread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ruby_glue/env_key.h"
#include "ruby_glue/head.h"
#include "server/fail.h"

#define WAIT_NS NSEC_PER_SEC
#define EARLY_HINTS 103

static struct {
	VALUE hijack, early_hints;
	VALUE key_io, key_buffered;
	bool ready;
} hijacks;

/* The request that a thread handles. Nothing of Ruby: replies are on the stack or marked. */
static __thread struct reply *current;

/* Whose connections come back; a process serves one. */
static struct app *serving;

struct reply *glue_hijack_enter(struct reply *r)
{
	struct reply *before = current;

	current = r;
	if (r)
		serving = r->app;
	return before;
}

VALUE glue_hijack_callable(void)
{
	return hijacks.hijack;
}

VALUE glue_early_hints_callable(void)
{
	return hijacks.early_hints;
}

/* --- taking --- */

static void *wait_hijack(void *h)
{
	app_wait_hijack(h, WAIT_NS);
	return NULL;
}

static VALUE wait_once(VALUE h)
{
	rb_nogvl(wait_hijack, (void *)h, RUBY_UBF_IO, NULL, 0);
	return Qnil;
}

/*
 * What is raised meanwhile (a timeout) has to wait: @h is on our stack, and the
 * descriptor would be lost. For rb_jump_tag(), 0 = nothing was.
 */
static int wait_for(struct hijack *h)
{
	int state = 0, last;

	while (!__atomic_load_n(&h->done, __ATOMIC_ACQUIRE)) {
		rb_protect(wait_once, (VALUE)h, &last);
		state = last ? last : state;
	}
	return state;
}

static VALUE class_named(const char *name)
{
	rb_require("socket");
	return rb_const_get(rb_cObject, rb_intern(name));
}

struct taken {
	struct hijack *h;
	struct reply *r;
	VALUE io;
};

static VALUE make_io(VALUE arg)
{
	struct taken *t = (struct taken *)arg;
	VALUE class = class_named(t->r->job->peer.len ? "TCPSocket" : "UNIXSocket");
	VALUE fd = INT2NUM(t->h->fd);

	t->io = rb_funcallv(class, rb_intern("for_fd"), 1, &fd);
	t->h->fd = -1; /* the IO's */
	rb_funcall(t->io, rb_intern("sync="), 1, Qtrue);
	if (!t->r->env)
		return Qnil; /* of a direct handler, which has none */
	rb_hash_aset(t->r->env, hijacks.key_io, t->io);
	rb_hash_aset(t->r->env, hijacks.key_buffered, rb_str_new(t->h->rest, (long)t->h->rest_len));
	return Qnil;
}

VALUE glue_hijack_take(struct reply *r, bool with_head)
{
	struct hijack h = { .fd = -1 };
	struct taken t = { .h = &h, .r = r, .io = Qnil };
	int state = 0;

	if (reply_hijack(r, &h, with_head))
		rb_memerror();
	state = wait_for(&h);
	r->io = Qnil; /* whatever happens, there will be no answer */
	if (h.fd < 0 && !state)
		rb_raise(rb_eIOError, "rack.hijack: the client is gone");
	if (!state)
		rb_protect(make_io, (VALUE)&t, &state);
	free(h.rest);
	if (h.fd >= 0)
		close(h.fd);
	if (state)
		rb_jump_tag(state);
	r->io = t.io;
	return t.io;
}

static VALUE call_hijack(VALUE self)
{
	struct reply *r = current;

	if (!r)
		rb_raise(rb_eRuntimeError,
			 "rack.hijack has to be called by the thread that handles the request");
	if (r->io && !NIL_P(r->io))
		return r->io;
	if (r->io || r->head_sent || r->stream || job_gone(r->job))
		rb_raise(rb_eIOError, "rack.hijack: the answer has begun, or the client is gone");
	return glue_hijack_take(r, false);
}

/* --- early hints --- */

struct hints {
	struct reply reply;
	VALUE headers;
};

static VALUE send_hints(VALUE arg)
{
	struct hints *hints = (struct hints *)arg;

	glue_head_write(&hints->reply, hints->headers);
	if (hints->reply.block && reply_inform(&hints->reply, EARLY_HINTS))
		rb_memerror();
	return Qnil;
}

static VALUE call_early_hints(VALUE self, VALUE headers)
{
	struct hints hints = { .headers = headers };
	struct reply *r = current;
	int state = 0;

	if (!r || r->head_sent || r->io || r->stream || r->job->version_minor == 0)
		return Qnil;
	reply_init(&hints.reply, r->app, r->job);
	/* Lines go into memory of their own: the room is for the answer. */
	hints.reply.start = hints.reply.head_end = hints.reply.p = hints.reply.end = NULL;
	rb_protect(send_hints, (VALUE)&hints, &state);
	reply_fini(&hints.reply);
	if (state)
		rb_jump_tag(state);
	return Qnil;
}

/* --- giving back --- */

/* What Ruby has read of it and the app has not. */
static VALUE drain_buffer(VALUE io)
{
	VALUE bytes = rb_str_new(NULL, 0);
	rb_io_t *fptr;

	GetOpenFile(io, fptr);
	while (rb_io_read_pending(fptr)) {
		VALUE piece = rb_funcall(io, rb_intern("readpartial"), 1, INT2FIX(65536));

		rb_str_append(bytes, piece);
	}
	return bytes;
}

/*
 * Hyperion::Server.give_back(io, bytes = ""): a hijacked connection is an
 * ordinary one again; @bytes were read of it and belong to its next request.
 */
static VALUE give_back(int argc, VALUE *argv, VALUE self)
{
	VALUE io, bytes;
	struct app_return *ret;
	struct stat st;
	rb_io_t *fptr;
	size_t len;
	int fd;

	rb_check_arity(argc, 1, 2);
	io = rb_io_get_io(argv[0]);
	bytes = argc < 2 || NIL_P(argv[1]) ? rb_str_new(NULL, 0) : rb_str_dup(StringValue(argv[1]));
	if (!serving)
		rb_raise(rb_eRuntimeError, "give_back: this process serves no requests");
	GetOpenFile(io, fptr);
	if (fstat(fptr->fd, &st) || !S_ISSOCK(st.st_mode))
		rb_raise(rb_eArgError, "give_back: not a socket");
	rb_str_append(bytes, drain_buffer(io));
	rb_io_flush(io);
	GetOpenFile(io, fptr);
	len = (size_t)RSTRING_LEN(bytes);
	ret = mem_alloc(sizeof(*ret) + len);
	if (!ret)
		rb_memerror();
	fd = fcntl(fptr->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
		int err = errno;

		if (fd >= 0)
			close(fd);
		free(ret);
		rb_syserr_fail(err, "give_back");
	}
	memcpy(ret->bytes, RSTRING_PTR(bytes), len);
	ret->len = len;
	ret->fd = fd;
	rb_io_close(io);
	app_give(serving, ret);
	RB_GC_GUARD(bytes);
	return Qnil;
}

void glue_hijack_init(void)
{
	VALUE module = rb_define_module("Hyperion"), class;

	if (hijacks.ready)
		return;
	class = rb_define_class_under(module, "Hijack", rb_cObject);
	rb_define_method(class, "call", call_hijack, 0);
	hijacks.hijack = rb_obj_freeze(rb_obj_alloc(class));
	rb_gc_register_mark_object(hijacks.hijack);
	class = rb_define_class_under(module, "EarlyHints", rb_cObject);
	rb_define_method(class, "call", call_early_hints, 1);
	hijacks.early_hints = rb_obj_freeze(rb_obj_alloc(class));
	rb_gc_register_mark_object(hijacks.early_hints);
	rb_define_singleton_method(rb_define_module_under(module, "Server"), "give_back", give_back,
				   -1);
	hijacks.key_io = glue_fixed("rack.hijack_io");
	hijacks.key_buffered = glue_fixed("hyperion.hijack_buffered");
	hijacks.ready = true;
}
