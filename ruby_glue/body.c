/* SPDX-License-Identifier: MIT */
#include "ruby_glue/body.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ruby_glue/env_key.h"
#include "ruby_glue/head.h"
#include "ruby_glue/hijack.h"
#include "ruby_glue/pour.h"
#include "ruby_glue/stream.h"
#include "server/log.h"

#define ARRAY_WHOLE_MAX (16 * MIB) /* above this, memory is worth more than the thread */
#define PATH_IN_CACHE_MAX 1024u
#define NAMED_MAX 4096u

static struct {
	ID id_each, id_call, id_close, id_to_ary, id_to_path;
	ID id_rack, id_chunked, id_autoload;
	VALUE streaming; /* in env: do not send a file by its descriptor */
	VALUE flush; /* an element that is no piece: what came before leaves now */
	bool rack_3;
} body_names;

void glue_body_init(bool rack_3)
{
	body_names.id_each = rb_intern("each");
	body_names.id_call = rb_intern("call");
	body_names.streaming = glue_fixed("hyperion.streaming");
	body_names.id_close = rb_intern("close");
	body_names.id_to_ary = rb_intern("to_ary");
	body_names.id_to_path = rb_intern("to_path");
	body_names.id_rack = rb_intern("Rack");
	body_names.id_chunked = rb_intern("Chunked");
	body_names.id_autoload = rb_intern("autoload?");
	body_names.flush = ID2SYM(rb_intern("__hyperion_flush__"));
	body_names.rack_3 = rack_3;
}

bool glue_body_closable(VALUE body)
{
	/* An array of the app's could only by a singleton method, and then has another class. */
	if (RB_TYPE_P(body, T_ARRAY) && RBASIC_CLASS(body) == rb_cArray)
		return false;
	return rb_respond_to(body, body_names.id_close);
}

void glue_body_close(VALUE body)
{
	rb_funcallv(body, body_names.id_close, 0, NULL);
}

static void append(struct reply *r, VALUE piece, size_t off, size_t len)
{
	if (reply_need(r, len))
		rb_memerror();
	memcpy(r->p, RSTRING_PTR(piece) + off, len);
	r->p += len;
}

static void __cold bad_piece(VALUE piece)
{
	glue_bad_response("body gives %s instead of String", rb_obj_classname(piece));
}

/* 0 even when memory is out: ANSWER_END is always sent. */
static void send_end(struct reply *r)
{
	if (reply_send(r, ANSWER_END))
		rb_memerror();
}

/* What is there counts, not what the app has said about it. */
static void settle_length(struct reply *r, u64 len)
{
	if (r->content_length != LENGTH_UNKNOWN && (u64)r->content_length != len)
		log_limited(LOG_LEVEL_WARN,
			    "ruby: content-length of the app is wrong said=%lld is=%llu",
			    (long long)r->content_length, (unsigned long long)len);
	r->content_length = (s64)len;
}

/* --- files --- */

/* Regular files only: others may block, or never end. -1: take the body as it is. */
static int open_file(const char *path, u64 *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return -1;
	}
	*len = (u64)st.st_size;
	return fd;
}

/* The app has said that its each is more than the bytes of its file. */
static bool wants_each(const struct reply *r)
{
	return r->env && RTEST(rb_hash_lookup(r->env, body_names.streaming));
}

/* Rails hands on what its send_file was given, often a Pathname. */
static VALUE text_of_path(VALUE path)
{
	if (!RB_TYPE_P(path, T_STRING) && rb_respond_to(path, body_names.id_to_path))
		path = rb_funcallv(path, body_names.id_to_path, 0, NULL);
	return path;
}

/* What the app says where its body is; nil: nothing. */
static VALUE path_said(const struct reply *r, VALUE body)
{
	VALUE path;

	if (!rb_respond_to(body, body_names.id_to_path) || wants_each(r))
		return Qnil;
	path = text_of_path(rb_funcallv(body, body_names.id_to_path, 0, NULL));
	return RB_TYPE_P(path, T_STRING) ? path : Qnil;
}

static int path_of(const struct reply *r, VALUE body, u64 *len)
{
	VALUE path = path_said(r, body);

	return NIL_P(path) ? -1 : open_file(StringValueCStr(path), len);
}

#define SETTLED_S 2 /* a file's times are believed when they are this old */

/*
 * A file that has not changed just now is the I/O thread's to find: it has it
 * open, or in memory, if it is this version. What changes all the time would
 * only throw others out of the cache.
 */
static bool send_settled(struct reply *r, VALUE path)
{
	struct view name = { RSTRING_PTR(path), (size_t)RSTRING_LEN(path) };
	struct timespec now;
	struct stamp stamp;
	struct stat st;

	if (!name.len || name.p[0] != '/' || name.p[name.len - 1] == '/' ||
	    name.len >= PATH_IN_CACHE_MAX)
		return false;
	if (stat(StringValueCStr(path), &st) || !S_ISREG(st.st_mode) || !st.st_size)
		return false;
	clock_gettime(CLOCK_REALTIME, &now);
	if (st.st_ctim.tv_sec + SETTLED_S >= now.tv_sec || st.st_mtim.tv_sec + SETTLED_S >= now.tv_sec)
		return false;
	stamp = stamp_of(&st);
	settle_length(r, stamp.size);
	if (reply_send_named(r, NAMED_FILE, name, &stamp))
		rb_memerror();
	return true;
}

/* The header itself stays here; the app's body is not asked. */
static void send_named(struct reply *r)
{
	VALUE path = r->named;
	struct view name = { RSTRING_PTR(path), (size_t)RSTRING_LEN(path) };

	if (name.len > NAMED_MAX)
		name.len = NAMED_MAX; /* names nothing, and is refused */
	if (reply_send_named(r, r->named_kind, name, NULL))
		rb_memerror();
	RB_GC_GUARD(path);
}

static bool send_file(struct reply *r, VALUE body)
{
	VALUE path = path_said(r, body);
	u64 len = 0;
	int fd;

	if (NIL_P(path))
		return false;
	if (send_settled(r, path))
		return true;
	fd = open_file(StringValueCStr(path), &len);
	if (fd < 0)
		return false;
	settle_length(r, len);
	if (len) {
		reply_send_file(r, fd, len);
		return true;
	}
	close(fd);
	send_end(r);
	return true;
}

/* --- what can only be enumerated, or wants to write --- */

/* Until the body is complete this thread is at the client's pace, and not to be counted on. */
static void begin_stream(struct reply *r)
{
	if (!r->app->nr_threads)
		return;
	r->streaming = true;
	app_stream_begin(r->app);
}

static VALUE each_piece(RB_BLOCK_CALL_FUNC_ARGLIST(piece, arg))
{
	struct pour *p = (struct pour *)arg;

	if (pour_gone(p))
		rb_iter_break();
	if (piece == body_names.flush)
		pour_flush(p);
	else
		pour_piece(p, piece);
	return Qnil;
}

static void send_each(struct reply *r, VALUE body)
{
	struct pour p;

	pour_init(&p, r);
	begin_stream(r);
	/* An event stream is open before its first event; other bodies have something to send. */
	if (r->event_stream)
		pour_head(&p);
	if (!pour_gone(&p))
		rb_block_call(body, body_names.id_each, 0, NULL, each_piece, (VALUE)&p);
	pour_end(&p);
}

/* The app speaks for itself on the connection. */
static void send_hijacked(struct reply *r, VALUE callable)
{
	VALUE io;

	if (!r->app->nr_threads)
		glue_bad_response("the connection cannot be taken with threads 0");
	io = glue_hijack_take(r, true);
	rb_funcallv(callable, body_names.id_call, 1, &io);
}

/* --- arrays --- */

static u64 array_len(VALUE array)
{
	u64 len = 0;

	for (long i = 0; i < RARRAY_LEN(array); i++) {
		VALUE piece = RARRAY_AREF(array, i);

		if (!RB_TYPE_P(piece, T_STRING))
			bad_piece(piece);
		len += (u64)RSTRING_LEN(piece);
	}
	return len;
}

/* At once, so that the thread is free again. */
static void send_whole(struct reply *r, VALUE array, u64 len)
{
	if (reply_need(r, len))
		rb_memerror();
	for (long i = 0; i < RARRAY_LEN(array); i++) {
		VALUE piece = RARRAY_AREF(array, i);

		append(r, piece, 0, (size_t)RSTRING_LEN(piece));
	}
	send_end(r);
}

/* At the client's pace; the app may change the array meanwhile. */
static void send_by_pieces(struct reply *r, VALUE array)
{
	struct pour p;

	pour_init(&p, r);
	/* It is all there already: with threads 0 as well, where the answers queue. */
	p.whole = false;
	begin_stream(r);
	for (long i = 0; i < RARRAY_LEN(array) && !pour_gone(&p); i++)
		pour_piece(&p, RARRAY_AREF(array, i));
	pour_end(&p);
}

static void send_array(struct reply *r, VALUE array)
{
	u64 len = array_len(array);

	settle_length(r, len);
	if (len <= ARRAY_WHOLE_MAX)
		send_whole(r, array, len);
	else
		send_by_pieces(r, array);
	RB_GC_GUARD(array);
}

/* --- which it is --- */

static bool is_bodiless(u16 status)
{
	return status < 200 || status == 204 || status == 304;
}

/* The head of what a GET would have had (RFC 9110 9.3.2), as far as it is known. */
static void send_head(struct reply *r, VALUE body)
{
	u64 len = 0;
	int fd;

	if (r->content_length != LENGTH_UNKNOWN) {
		send_end(r);
		return;
	}
	if (RB_TYPE_P(body, T_ARRAY)) {
		len = array_len(body);
		/* Rack::Head and its like have emptied it: no word about the length. */
		r->content_length = len ? (s64)len : LENGTH_UNKNOWN;
	} else {
		fd = path_of(r, body, &len);
		if (fd >= 0) {
			close(fd);
			r->content_length = (s64)len;
		}
	}
	send_end(r);
}

static bool send_to_ary(struct reply *r, VALUE body, bool *closed)
{
	VALUE array;

	if (!body_names.rack_3 || !rb_respond_to(body, body_names.id_to_ary))
		return false;
	*closed = true; /* SPEC: "its implementation of to_ary must call close" */
	array = rb_funcallv(body, body_names.id_to_ary, 0, NULL);
	if (!RB_TYPE_P(array, T_ARRAY)) {
		if (!rb_respond_to(body, body_names.id_each))
			glue_bad_response("to_ary of the body gives %s", rb_obj_classname(array));
		/* Against the SPEC, but what Rails does with an Enumerator for a body. */
		*closed = false;
		return false;
	}
	send_array(r, array);
	return true;
}

/* Transfer-Encoding: chunked by an app in which Rack::Chunked does the framing itself. */
bool glue_body_framed(void)
{
	VALUE rack, name;

	if (!rb_const_defined(rb_cObject, body_names.id_rack))
		return false;
	rack = rb_const_get(rb_cObject, body_names.id_rack);
	name = ID2SYM(body_names.id_chunked);
	return rb_const_defined(rack, body_names.id_chunked) &&
	       NIL_P(rb_funcallv(rack, body_names.id_autoload, 1, &name));
}

bool glue_body_upgrades(u16 status, VALUE body)
{
	return unlikely(status == 101) && rb_respond_to(body, body_names.id_call);
}

void glue_body_send(struct reply *r, VALUE body, bool *closed)
{
	if (unlikely(r->partial)) {
		send_hijacked(r, r->partial);
	} else if (glue_body_upgrades(r->status, body)) {
		send_hijacked(r, body);
	} else if (is_bodiless(r->status)) {
		r->content_length = LENGTH_UNKNOWN;
		r->close |= r->status < 200; /* whatever follows would be taken for the answer */
		send_end(r);
	} else if (unlikely(r->named)) {
		send_named(r);
	} else if (r->job->method == METHOD_HEAD) {
		send_head(r, body);
	} else if (RB_TYPE_P(body, T_ARRAY)) {
		send_array(r, body);
	} else if (send_file(r, body) || send_to_ary(r, body, closed)) {
		return;
	} else if (rb_respond_to(body, body_names.id_each)) {
		send_each(r, body);
	} else if (rb_respond_to(body, body_names.id_call)) {
		*closed = true; /* the stream does it */
		begin_stream(r);
		glue_stream_call(r, body);
	} else {
		glue_bad_response("a body that is %s has neither each nor call",
				  rb_obj_classname(body));
	}
}
