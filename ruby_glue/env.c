/* SPDX-License-Identifier: MIT */
#include "ruby_glue/env.h"

#include <stdio.h>

#include "ruby_glue/env_conn.h"
#include "ruby_glue/env_key.h"
#include "ruby_glue/glue.h"
#include "ruby_glue/hijack.h"
#include "ruby_glue/input.h"

enum fixed {
	REQUEST_METHOD,
	SCRIPT_NAME,
	PATH_INFO,
	QUERY_STRING,
	REQUEST_URI,
	SERVER_NAME,
	SERVER_PORT,
	SERVER_PROTOCOL,
	SERVER_SOFTWARE,
	GATEWAY_INTERFACE,
	REMOTE_ADDR,
	REMOTE_PORT,
	HTTP_HOST,
	HTTP_X_REQUEST_ID,
	RACK_URL_SCHEME,
	RACK_INPUT,
	RACK_ERRORS,
	RACK_IS_HIJACK,
	RACK_HIJACK,
	RACK_EARLY_HINTS,
	RACK_RESPONSE_FINISHED,
	RACK_VERSION,
	RACK_MULTITHREAD,
	RACK_MULTIPROCESS,
	RACK_RUN_ONCE,
	HYPERION_DISPATCH_MODE,
	TEXT_EMPTY,
	TEXT_HTTP_1_0,
	TEXT_HTTP_1_1,
	TEXT_CGI_1_2,
	TEXT_HTTP,
	TEXT_HTTPS,
	TEXT_LOCALHOST,
	TEXT_LOOPBACK,
	TEXT_SOFTWARE,
	NR_FIXED,
};

static const char *const fixed_text[NR_FIXED] = {
	[REQUEST_METHOD] = "REQUEST_METHOD",
	[SCRIPT_NAME] = "SCRIPT_NAME",
	[PATH_INFO] = "PATH_INFO",
	[QUERY_STRING] = "QUERY_STRING",
	[REQUEST_URI] = "REQUEST_URI",
	[SERVER_NAME] = "SERVER_NAME",
	[SERVER_PORT] = "SERVER_PORT",
	[SERVER_PROTOCOL] = "SERVER_PROTOCOL",
	[SERVER_SOFTWARE] = "SERVER_SOFTWARE",
	[GATEWAY_INTERFACE] = "GATEWAY_INTERFACE",
	[REMOTE_ADDR] = "REMOTE_ADDR",
	[REMOTE_PORT] = "REMOTE_PORT",
	[HTTP_HOST] = "HTTP_HOST",
	[HTTP_X_REQUEST_ID] = "HTTP_X_REQUEST_ID",
	[RACK_URL_SCHEME] = "rack.url_scheme",
	[RACK_INPUT] = "rack.input",
	[RACK_ERRORS] = "rack.errors",
	[RACK_IS_HIJACK] = "rack.hijack?",
	[RACK_HIJACK] = "rack.hijack",
	[RACK_EARLY_HINTS] = "rack.early_hints",
	[RACK_RESPONSE_FINISHED] = "rack.response_finished",
	[RACK_VERSION] = "rack.version",
	[RACK_MULTITHREAD] = "rack.multithread",
	[RACK_MULTIPROCESS] = "rack.multiprocess",
	[RACK_RUN_ONCE] = "rack.run_once",
	[HYPERION_DISPATCH_MODE] = "hyperion.dispatch_mode",
	[TEXT_EMPTY] = "",
	[TEXT_HTTP_1_0] = "HTTP/1.0",
	[TEXT_HTTP_1_1] = "HTTP/1.1",
	[TEXT_CGI_1_2] = "CGI/1.2",
	[TEXT_HTTP] = "http",
	[TEXT_HTTPS] = "https",
	[TEXT_LOCALHOST] = "localhost",
	[TEXT_LOOPBACK] = "127.0.0.1",
	[TEXT_SOFTWARE] = "hyperion-bpf",
};

static const char *const method_text[NR_METHODS] = {
	[METHOD_GET] = "GET",         [METHOD_HEAD] = "HEAD",       [METHOD_POST] = "POST",
	[METHOD_PUT] = "PUT",         [METHOD_DELETE] = "DELETE",   [METHOD_PATCH] = "PATCH",
	[METHOD_OPTIONS] = "OPTIONS", [METHOD_CONNECT] = "CONNECT", [METHOD_TRACE] = "TRACE",
};

/* Objects that never die nor move. */
static struct {
	VALUE fixed[NR_FIXED];
	VALUE methods[NR_METHODS];
	VALUE template; /* what all requests share: a GET of HTTP/1.1 without a body */
	u16 default_port;
	bool ready;
} base;

/* --- the template --- */

static void set(VALUE env, enum fixed key, VALUE value)
{
	rb_hash_aset(env, base.fixed[key], value);
}

/* Rack 2 asks for more than Rack 3; nothing of it disturbs. */
static void set_rack_2(VALUE env, const struct glue_app *settings)
{
	VALUE version = rb_ary_new_from_args(2, INT2FIX(1), INT2FIX(6));

	set(env, RACK_VERSION, rb_obj_freeze(version));
	set(env, RACK_MULTITHREAD, settings->multithread ? Qtrue : Qfalse);
	set(env, RACK_MULTIPROCESS, settings->multiprocess ? Qtrue : Qfalse);
	set(env, RACK_RUN_ONCE, Qfalse);
}

static VALUE new_template(const struct glue_app *settings)
{
	VALUE env = rb_hash_new();
	ID mode;

	set(env, REQUEST_METHOD, base.methods[METHOD_GET]);
	set(env, SCRIPT_NAME, base.fixed[TEXT_EMPTY]);
	set(env, PATH_INFO, base.fixed[TEXT_EMPTY]);
	set(env, QUERY_STRING, base.fixed[TEXT_EMPTY]);
	set(env, REQUEST_URI, base.fixed[TEXT_EMPTY]);
	set(env, SERVER_NAME, base.fixed[TEXT_LOCALHOST]);
	set(env, SERVER_PORT, base.fixed[TEXT_EMPTY]);
	set(env, SERVER_PROTOCOL, base.fixed[TEXT_HTTP_1_1]);
	set(env, SERVER_SOFTWARE, base.fixed[TEXT_SOFTWARE]);
	set(env, GATEWAY_INTERFACE, base.fixed[TEXT_CGI_1_2]);
	set(env, REMOTE_ADDR, base.fixed[TEXT_LOOPBACK]);
	set(env, RACK_URL_SCHEME, base.fixed[TEXT_HTTP]);
	set(env, RACK_INPUT, glue_input_empty());
	set(env, RACK_ERRORS, rb_stderr);
	/* On the I/O thread a handler cannot wait for it. */
	set(env, RACK_IS_HIJACK, settings->inline_io ? Qfalse : Qtrue);
	if (!settings->inline_io)
		set(env, RACK_HIJACK, glue_hijack_callable());
	set(env, RACK_EARLY_HINTS, glue_early_hints_callable());
	/* Its place: a copy of the table has no room for a further key. */
	if (settings->request_id)
		set(env, HTTP_X_REQUEST_ID, base.fixed[TEXT_EMPTY]);
	set_rack_2(env, settings);
	/* Named as in the gem. */
	mode = rb_intern(settings->inline_io ? "inline_h1_no_pool" : "threadpool_h1");
	set(env, HYPERION_DISPATCH_MODE, ID2SYM(mode));
	return env;
}

void glue_env_init(const struct glue_app *settings)
{
	if (!base.ready) {
		glue_env_key_init();
		glue_env_conn_init();
		glue_input_init();
		glue_hijack_init();
		for (int i = 0; i < NR_FIXED; i++)
			base.fixed[i] = glue_fixed(fixed_text[i]);
		for (int i = METHOD_GET; i < NR_METHODS; i++)
			base.methods[i] = glue_fixed(method_text[i]);
		rb_gc_register_address(&base.template);
		base.ready = true;
	}
	base.default_port = settings->default_port;
	base.template = new_template(settings);
}

/* --- of the connection --- */

static VALUE text_of(struct view v)
{
	return rb_str_new(v.p, (long)v.len);
}

static VALUE frozen_text(struct view v)
{
	return rb_obj_freeze(text_of(v));
}

static VALUE number_text(u64 n)
{
	char digits[24];

	return rb_str_new(digits, snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n));
}

/* "host:port"; an IPv6 address has brackets (RFC 3986 3.2.2). @port.len = 0: none. */
static void split_authority(struct view authority, struct view *host, struct view *port)
{
	const char *end = authority.p + authority.len, *colon = end;

	while (colon > authority.p && colon[-1] >= '0' && colon[-1] <= '9')
		colon--;
	if (colon == authority.p || colon[-1] != ':') {
		*host = authority;
		*port = (struct view){ end, 0 };
		return;
	}
	*port = (struct view){ colon, (size_t)(end - colon) };
	*host = (struct view){ authority.p, authority.len - port->len - 1 };
}

static void set_server(VALUE env, const struct job *job)
{
	u16 number = job->server_port ? job->server_port : base.default_port;
	struct view host = { "", 0 }, port = { "", 0 };

	if (job->authority.len) {
		split_authority(job->authority, &host, &port);
		number = job->tls ? 443 : 80;
	}
	if (host.len)
		set(env, SERVER_NAME, frozen_text(host));
	if (port.len)
		set(env, SERVER_PORT, frozen_text(port));
	else
		set(env, SERVER_PORT, rb_obj_freeze(number_text(number)));
}

static void set_connection(VALUE env, const struct job *job)
{
	set_server(env, job);
	if (job->tls)
		set(env, RACK_URL_SCHEME, base.fixed[TEXT_HTTPS]);
	if (!job->peer.len)
		return;
	set(env, REMOTE_ADDR, frozen_text(job->peer));
	set(env, REMOTE_PORT, rb_obj_freeze(number_text(job->peer_port)));
}

/* --- headers --- */

static VALUE header_value(const struct job *job, const struct header *h, struct env_key key)
{
	VALUE s;

	if (key.flags & KEY_LENGTH)
		return number_text(job->body_len);
	s = text_of(h->value);
	return key.flags & KEY_STABLE ? rb_obj_freeze(s) : s;
}

/* A repeated field is the list of its values (RFC 9110 5.3). */
static VALUE joined(VALUE old, VALUE value, struct env_key key)
{
	VALUE s;

	if (key.flags & KEY_LENGTH)
		return old;
	s = rb_str_new(RSTRING_PTR(old), RSTRING_LEN(old));
	rb_str_cat_cstr(s, key.flags & KEY_COOKIE ? "; " : ", ");
	rb_str_append(s, value);
	return key.flags & KEY_STABLE ? rb_obj_freeze(s) : s;
}

/* What is worth knowing of the headers, beside that they are in env. */
struct headers {
	u64 seen; /* ids of known names */
	u64 fresh; /* bit i: header i is to be stored anew for each request */
	bool repeated;
};

static void add_header(VALUE env, const struct job *job, u32 i, struct headers *hs)
{
	const struct header *h = &job->headers[i];
	struct env_key key = glue_env_key(h->name);
	VALUE value, old = Qundef;

	if (key.flags & KEY_DROP)
		return;
	value = header_value(job, h, key);
	if (key.id == ENV_KEYS_MAX || hs->seen & (1ull << key.id) || key.flags & KEY_LENGTH)
		old = rb_hash_lookup2(env, key.name, Qundef);
	if (key.id != ENV_KEYS_MAX)
		hs->seen |= 1ull << key.id;
	if (old != Qundef) {
		hs->repeated = true;
		value = joined(old, value, key);
	}
	if (!(key.flags & KEY_STABLE) && i < 64)
		hs->fresh |= 1ull << i;
	rb_hash_aset(env, key.name, value);
}

static VALUE new_env(const struct job *job)
{
	VALUE env = rb_hash_dup(base.template);
	struct headers hs = { 0 };

	set(env, REQUEST_URI, frozen_text(job->target));
	set_connection(env, job);
	if (job->authority.len)
		set(env, HTTP_HOST, frozen_text(job->authority));
	for (u32 i = 0; i < job->nr_headers; i++)
		add_header(env, job, i, &hs);
	if (glue_env_conn_wants(job) && !hs.repeated)
		glue_env_conn_keep(job, env, hs.fresh);
	return env;
}

/* The headers of @bits over those of the request before. */
static void store_headers(VALUE env, const struct job *job, u64 bits)
{
	for (; bits; bits &= bits - 1) {
		const struct header *h = &job->headers[__builtin_ctzll(bits)];
		struct env_key key = glue_env_key(h->name);

		if (!(key.flags & KEY_DROP))
			rb_hash_aset(env, key.name, header_value(job, h, key));
	}
}

/* --- of the request --- */

static void set_request(VALUE env, const struct job *job)
{
	if (job->method == METHOD_OTHER)
		set(env, REQUEST_METHOD, text_of(job->method_name));
	else if (job->method != METHOD_GET)
		set(env, REQUEST_METHOD, base.methods[job->method]);
	set(env, RACK_RESPONSE_FINISHED, rb_ary_new());
	if (job->version_minor == 0)
		set(env, SERVER_PROTOCOL, base.fixed[TEXT_HTTP_1_0]);
	set(env, PATH_INFO, text_of(job->path));
	if (job->query.len)
		set(env, QUERY_STRING, text_of(job->query));
	if (job->request_id_made)
		set(env, HTTP_X_REQUEST_ID, text_of(job->request_id));
}

static VALUE set_input(VALUE env, const struct job *job)
{
	VALUE input = glue_input_new(job);

	set(env, RACK_INPUT, input);
	return job->body ? 0 : input;
}

VALUE glue_env_new(const struct job *job, VALUE *file)
{
	struct env_difference diff;
	VALUE env = glue_env_conn_copy(job, &diff);

	if (!env) {
		env = new_env(job);
	} else {
		store_headers(env, job, diff.headers);
		if (diff.target)
			set(env, REQUEST_URI, frozen_text(job->target));
	}
	set_request(env, job);
	if (job->body_len)
		*file = set_input(env, job);
	return env;
}
