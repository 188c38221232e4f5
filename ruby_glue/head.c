/* SPDX-License-Identifier: MIT */
#include "ruby_glue/head.h"

#include <stdarg.h>

#include "ruby_glue/body.h"
#include "server/log.h"

static struct {
	VALUE error; /* Hyperion::ResponseError */
	ID id_each, id_to_i, id_call;
	bool rack_2;
} head;

void glue_head_init(bool rack_2)
{
	VALUE module = rb_define_module("Hyperion");

	head.error = rb_define_class_under(module, "ResponseError", rb_eStandardError);
	rb_gc_register_mark_object(head.error);
	head.id_each = rb_intern("each");
	head.id_to_i = rb_intern("to_i");
	head.id_call = rb_intern("call");
	head.rack_2 = rack_2;
}

void glue_bad_response(const char *fmt, ...)
{
	VALUE message;
	va_list ap;

	va_start(ap, fmt);
	message = rb_vsprintf(fmt, ap);
	va_end(ap);
	rb_exc_raise(rb_exc_new_str(head.error, message));
}

/* Rack 2 takes whatever has to_i. */
u16 glue_status(VALUE status)
{
	VALUE n = status;

	if (!RB_FIXNUM_P(n) && rb_respond_to(n, head.id_to_i) && !NIL_P(n))
		n = rb_funcallv(n, head.id_to_i, 0, NULL);
	if (!RB_FIXNUM_P(n) || FIX2LONG(n) < 100 || FIX2LONG(n) > 599) {
		VALUE shown = rb_inspect(status);

		glue_bad_response("status %s is not within 100..599", StringValueCStr(shown));
	}
	return (u16)FIX2LONG(n);
}

/* --- names (RFC 9110 5.1, 5.6.2) --- */

enum special {
	LINE,
	DATE,
	REQUEST_ID,
	CONNECTION,
	CONTENT_LENGTH,
	CONTENT_TYPE,
	TRANSFER_ENCODING,
	TRAILER,
	HIJACK, /* rack.hijack */
	SENDFILE, /* x-sendfile: a path */
	ACCEL_REDIRECT, /* x-accel-redirect: a URI of a tree of files */
	NOT_OURS, /* hop-by-hop, or for the server alone */
};

static const bool is_token[256] = {
	['!'] = true,         ['#'] = true,         ['$'] = true, ['%'] = true,
	['&'] = true,         ['\''] = true,        ['*'] = true, ['+'] = true,
	['-'] = true,         ['.'] = true,         ['^'] = true, ['_'] = true,
	['`'] = true,         ['|'] = true,         ['~'] = true, ['0' ... '9'] = true,
	['A' ... 'Z'] = true, ['a' ... 'z'] = true,
};

static enum special special_of(struct view name)
{
	if (name.len > 5 && memcmp(name.p, "rack.", 5) == 0)
		return view_eq(name, VIEW("rack.hijack")) ? HIJACK : NOT_OURS;
	switch (name.len) {
	case 4:
		return view_ieq(name, VIEW("date")) ? DATE : LINE;
	case 7:
		return view_ieq(name, VIEW("trailer")) ? TRAILER : LINE;
	case 10:
		if (view_ieq(name, VIEW("connection")))
			return CONNECTION;
		if (view_ieq(name, VIEW("x-sendfile")))
			return SENDFILE;
		return view_ieq(name, VIEW("keep-alive")) ? NOT_OURS : LINE;
	case 12:
		if (view_ieq(name, VIEW("content-type")))
			return CONTENT_TYPE;
		return view_ieq(name, VIEW("x-request-id")) ? REQUEST_ID : LINE;
	case 14:
		return view_ieq(name, VIEW("content-length")) ? CONTENT_LENGTH : LINE;
	case 16:
		return view_ieq(name, VIEW("x-accel-redirect")) ? ACCEL_REDIRECT : LINE;
	case 17:
		return view_ieq(name, VIEW("transfer-encoding")) ? TRANSFER_ENCODING : LINE;
	}
	return LINE;
}

static void __cold bad_name(VALUE name)
{
	VALUE shown = rb_inspect(name);

	glue_bad_response("header name %s is not a token", StringValueCStr(shown));
}

static void __cold bad_value(VALUE name)
{
	VALUE shown = rb_inspect(name);

	glue_bad_response("header %s has CR, LF or NUL in its value", StringValueCStr(shown));
}

static void check_name(VALUE name)
{
	const u8 *p = (const u8 *)RSTRING_PTR(name);
	long len = RSTRING_LEN(name);
	bool good = len > 0;

	for (long i = 0; i < len; i++)
		good &= is_token[p[i]];
	if (unlikely(!good))
		bad_name(name);
}

/* --- values --- */

static char *put(char *p, const char *from, size_t len)
{
	memcpy(p, from, len);
	return p + len;
}

/* Writes before it checks: what was written is forgotten when this raises. */
static void write_line(struct reply *r, VALUE name, const char *value, size_t len)
{
	size_t name_len = (size_t)RSTRING_LEN(name);
	bool bad = false;
	char *p;

	if (reply_need(r, name_len + len + 4))
		rb_memerror();
	p = put(r->p, RSTRING_PTR(name), name_len);
	p = put(p, ": ", 2);
	for (size_t i = 0; i < len; i++) {
		char c = value[i];

		bad |= c == '\r' || c == '\n' || c == '\0';
		p[i] = c;
	}
	if (unlikely(bad))
		bad_value(name);
	r->p = put(p + len, "\r\n", 2);
}

static void write_lines(struct reply *r, VALUE name, VALUE value)
{
	const char *p = RSTRING_PTR(value), *end = p + RSTRING_LEN(value), *lf;

	while (head.rack_2 && (lf = memchr(p, '\n', (size_t)(end - p)))) {
		write_line(r, name, p, (size_t)(lf - p));
		p = lf + 1;
	}
	write_line(r, name, p, (size_t)(end - p));
}

/* Digits only; anything else is as if the header were missing. */
static s64 parse_length(VALUE value)
{
	const char *p = RSTRING_PTR(value);
	long len = RSTRING_LEN(value);
	s64 n = 0;

	for (long i = 0; i < len; i++)
		if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, p[i] - '0', &n))
			return LENGTH_UNKNOWN;
	return len ? n : LENGTH_UNKNOWN;
}

static void set_length(struct reply *r, VALUE value)
{
	r->content_length = parse_length(value);
	if (r->content_length == LENGTH_UNKNOWN)
		log_limited(LOG_LEVEL_WARN, "ruby: content-length of the app is no number len=%ld",
			    RSTRING_LEN(value));
}

/* The head is the last that this server says on the connection. */
static bool given_away(const struct reply *r)
{
	return r->partial || r->status == 101;
}

/* Connection is a list; the only word of the app that counts is "close". */
static bool has_close(VALUE value)
{
	const char *p = RSTRING_PTR(value), *end = p + RSTRING_LEN(value);

	while (p < end) {
		const char *start = p, *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma ? comma : end;

		p = stop + 1;
		while (start < stop && (*start == ' ' || *start == '\t'))
			start++;
		while (stop > start && (stop[-1] == ' ' || stop[-1] == '\t'))
			stop--;
		if (view_ieq((struct view){ start, (size_t)(stop - start) }, VIEW("close")))
			return true;
	}
	return false;
}

/* Chunked asks for what an unknown length does by itself. */
static void take_coding(struct reply *r, VALUE name, VALUE value)
{
	struct view v = { RSTRING_PTR(value), (size_t)RSTRING_LEN(value) };

	if (r->raw)
		write_lines(r, name, value);
	else if (view_ieq(v, VIEW("chunked")) && r->job->version_minor >= 1)
		r->raw = r->again = glue_body_framed();
	RB_GC_GUARD(value);
}

static bool begins_with(VALUE value, struct view start)
{
	return (size_t)RSTRING_LEN(value) >= start.len &&
	       view_ieq((struct view){ RSTRING_PTR(value), start.len }, start);
}

static void write_value(struct reply *r, VALUE name, enum special special, VALUE value)
{
	if (NIL_P(value))
		return;
	value = rb_obj_as_string(value);
	switch (special) {
	case CONTENT_LENGTH:
		if (given_away(r))
			write_lines(r, name, value);
		else
			set_length(r, value);
		break;
	case CONNECTION:
		r->close |= has_close(value);
		r->has_connection = true;
		if (given_away(r))
			write_lines(r, name, value);
		break;
	case TRANSFER_ENCODING:
		take_coding(r, name, value);
		break;
	case TRAILER:
		if (!given_away(r))
			glue_bad_response(
				"trailers are not supported: leave out the header Trailer");
		write_lines(r, name, value);
		break;
	case CONTENT_TYPE:
		r->event_stream = begins_with(value, VIEW("text/event-stream"));
		write_lines(r, name, value);
		break;
	case SENDFILE:
		r->named = value;
		r->named_kind = NAMED_SENDFILE;
		break;
	case ACCEL_REDIRECT:
		r->named = value;
		r->named_kind = NAMED_URI;
		break;
	case HIJACK:
	case NOT_OURS:
		break;
	case DATE:
		r->has_date = true;
		write_lines(r, name, value);
		break;
	case REQUEST_ID:
		r->has_request_id = true;
		write_lines(r, name, value);
		break;
	case LINE:
		write_lines(r, name, value);
		break;
	}
	RB_GC_GUARD(value);
}

/* Partial hijack: known now, but lines before it may have been taken for ours. */
static void take_callable(struct reply *r, VALUE callable)
{
	if (r->partial || !RTEST(callable) || !r->app->nr_threads)
		return;
	if (!rb_respond_to(callable, head.id_call))
		glue_bad_response("the header rack.hijack is %s, which has no call",
				  rb_obj_classname(callable));
	r->partial = callable;
	r->raw = r->again = true;
}

static void write_header(struct reply *r, VALUE name, VALUE value)
{
	enum special special;

	name = rb_obj_as_string(name);
	check_name(name);
	special = special_of((struct view){ RSTRING_PTR(name), (size_t)RSTRING_LEN(name) });
	if (unlikely(special == HIJACK)) {
		take_callable(r, value);
		return;
	}
	if (!RB_TYPE_P(value, T_ARRAY)) {
		write_value(r, name, special, value);
	} else {
		for (long i = 0; i < RARRAY_LEN(value); i++)
			write_value(r, name, special, RARRAY_AREF(value, i));
	}
	RB_GC_GUARD(name);
}

static int each_pair(VALUE name, VALUE value, VALUE arg)
{
	write_header((struct reply *)arg, name, value);
	return ST_CONTINUE;
}

/* Rack 2: anything that yields pairs. */
static VALUE each_yielded(RB_BLOCK_CALL_FUNC_ARGLIST(pair, arg))
{
	VALUE name = pair, value = argc > 1 ? argv[1] : Qnil;

	if (argc < 2 && RB_TYPE_P(pair, T_ARRAY) && RARRAY_LEN(pair) == 2) {
		name = RARRAY_AREF(pair, 0);
		value = RARRAY_AREF(pair, 1);
	}
	write_header((struct reply *)arg, name, value);
	return Qnil;
}

static void write_all(struct reply *r, VALUE headers)
{
	if (RB_TYPE_P(headers, T_HASH))
		rb_hash_foreach(headers, each_pair, (VALUE)r);
	else if (!rb_respond_to(headers, head.id_each))
		glue_bad_response("headers that are %s have no each", rb_obj_classname(headers));
	else
		rb_block_call(headers, head.id_each, 0, NULL, each_yielded, (VALUE)r);
}

void glue_head_write(struct reply *r, VALUE headers)
{
	static const char close[] = "connection: close\r\n";

	r->raw |= r->status == 101;
	write_all(r, headers);
	if (unlikely(r->again)) {
		r->again = r->close = r->has_date = r->has_request_id = r->has_connection = false;
		r->named = 0;
		r->content_length = LENGTH_UNKNOWN;
		reply_reset(r);
		write_all(r, headers);
	}
	if (unlikely(given_away(r)) && !r->has_connection) {
		if (reply_need(r, sizeof(close)))
			rb_memerror();
		r->p = put(r->p, close, sizeof(close) - 1);
	}
	reply_head_done(r);
}
