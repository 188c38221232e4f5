/* SPDX-License-Identifier: MIT */
#include "ruby_glue/direct.h"

#include <unistd.h>

#include "ruby_glue/env_key.h"
#include "ruby_glue/internal.h"

static struct {
	VALUE handlers; /* number - 1 => what answers call */
	VALUE request_class, http_1_0;
	ID iv_head, iv_body, iv_http_version;
} direct;

void glue_direct_init(void)
{
	VALUE hyperion = rb_define_module("Hyperion");

	direct.request_class = rb_const_get(hyperion, rb_intern("Request"));
	direct.http_1_0 = glue_fixed("HTTP/1.0");
	direct.iv_head = rb_intern("@head");
	direct.iv_body = rb_intern("@body");
	direct.iv_http_version = rb_intern("@http_version");
}

u32 glue_direct_add(VALUE handler)
{
	if (!direct.handlers) {
		direct.handlers = rb_ary_new();
		rb_gc_register_mark_object(direct.handlers);
	}
	rb_ary_push(direct.handlers, handler);
	return (u32)RARRAY_LEN(direct.handlers);
}

VALUE glue_direct_handler(u32 number)
{
	return rb_ary_entry(direct.handlers, (long)number - 1);
}

/* --- the request --- */

static char *put(char *p, struct view v)
{
	memcpy(p, v.p, v.len);
	p[v.len] = '\n';
	return p + v.len + 1;
}

/* Lines, which request.rb takes apart when somebody asks: no field has a line feed in it. */
static VALUE head_text(const struct job *job)
{
	size_t len = job->method_name.len + job->path.len + job->query.len + job->peer.len + 4;
	VALUE text;
	char *p;

	for (u32 i = 0; i < job->nr_headers; i++)
		len += job->headers[i].name.len + job->headers[i].value.len + 2;
	text = rb_str_new(NULL, (long)len);
	p = put(RSTRING_PTR(text), job->method_name);
	p = put(p, job->path);
	p = put(p, job->query);
	p = put(p, job->peer);
	for (u32 i = 0; i < job->nr_headers; i++) {
		p = put(p, job->headers[i].name);
		p = put(p, job->headers[i].value);
	}
	return text;
}

static VALUE body_text(const struct job *job)
{
	VALUE text;
	u64 off = 0;

	if (job->body)
		return rb_str_new(job->body, (long)job->body_len);
	text = rb_str_new(NULL, (long)job->body_len);
	while (off < job->body_len) {
		ssize_t n = pread(job->body_fd, RSTRING_PTR(text) + off, job->body_len - off,
				  (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			rb_sys_fail("the body of a request");
		off += (u64)n;
	}
	return text;
}

VALUE glue_direct_request(const struct job *job)
{
	VALUE request = rb_obj_alloc(direct.request_class);

	rb_ivar_set(request, direct.iv_head, head_text(job));
	if (job->body_len)
		rb_ivar_set(request, direct.iv_body, body_text(job));
	if (job->version_minor == 0)
		rb_ivar_set(request, direct.iv_http_version, direct.http_1_0);
	return request;
}

void glue_direct_started(VALUE request)
{
	rb_funcall(glue_module(), rb_intern("direct_started"), 1, request);
}

static VALUE line_of(VALUE request)
{
	return rb_funcall(glue_module(), rb_intern("line_of"), 1, request);
}

void glue_direct_line(VALUE request, VALUE *method, VALUE *path)
{
	VALUE line;

	*method = *path = Qnil;
	if (glue_protect(line_of, request, &line))
		return;
	*method = rb_ary_entry(line, 0);
	*path = rb_ary_entry(line, 1);
}
