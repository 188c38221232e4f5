/* SPDX-License-Identifier: MIT */
/* What server.rb and page_cache.rb ask for in front of the app. */
#include <ruby.h>
#include <ruby/thread.h>

#include "ruby_glue/direct.h"
#include "ruby_glue/internal.h"
#include "server/front.h"
#include "server/log.h"

static struct front *front;

void glue_set_front(struct front *f)
{
	front = f;
}

/* --- one call of front.h --- */

struct call {
	int (*fn)(struct call *c);
	int result;
	bool ran;
	struct view path;
	enum method method;
	struct handler *handler;
	bool immutable;
	u64 number;
	struct front_tree tree;
	struct preload preload;
};

static void *run_call(void *arg)
{
	struct call *c = arg;

	c->result = c->fn(c);
	c->ran = true;
	return NULL;
}

/*
 * While nobody else serves, the GVL makes us alone with it. Later it waits for
 * the I/O thread, which with threads 0 may need the GVL. That ends by itself soon
 * enough; what other threads send to this one waits until then.
 */
static int call(struct call *c)
{
	if (!front)
		rb_raise(rb_eRuntimeError, "this process serves nothing");
	if (glue_forked_by_app())
		return -ESHUTDOWN; /* of a child nobody asks anything */
	if (!front->shared)
		run_call(c);
	while (!c->ran) {
		rb_nogvl(run_call, c, RUBY_UBF_IO, NULL, RB_NOGVL_INTR_FAIL);
		if (!c->ran)
			rb_thread_check_ints();
	}
	if (c->result == -ETIMEDOUT)
		log_limited(LOG_LEVEL_WARN,
			    "ruby: an order of the app still waits for the I/O thread wait_ms=%u",
			    FRONT_WAIT_MS);
	if (c->result == -ENOMEM)
		rb_memerror();
	return c->result;
}

static int do_route(struct call *c)
{
	return front_route(front, c->method, c->path, c->handler);
}

static struct view view_of_string(VALUE s)
{
	return (struct view){ RSTRING_PTR(s), (size_t)RSTRING_LEN(s) };
}

static const struct {
	const char *name;
	enum method method;
} methods[] = {
	{ "GET", METHOD_GET },         { "HEAD", METHOD_HEAD },     { "POST", METHOD_POST },
	{ "PUT", METHOD_PUT },         { "DELETE", METHOD_DELETE }, { "PATCH", METHOD_PATCH },
	{ "OPTIONS", METHOD_OPTIONS },
};

static enum method method_of(VALUE name)
{
	const char *text = StringValueCStr(name);

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (strcmp(text, methods[i].name) == 0)
			return methods[i].method;
	rb_raise(rb_eArgError, "method %s", text);
}

/* true, or false: there are too many. */
static VALUE add_route(VALUE method, VALUE path, struct handler *handler)
{
	struct call c = {
		.fn = do_route,
		.method = method_of(method),
		.path = view_of_string(path),
		.handler = handler,
	};
	int err;

	if (!handler)
		rb_memerror();
	err = call(&c);
	RB_GC_GUARD(path);
	if (err && err != -ENOSPC && err != -ETIMEDOUT && err != -ESHUTDOWN)
		rb_raise(rb_eArgError, "path %" PRIsVALUE, path);
	return err == -ENOSPC ? Qfalse : Qtrue;
}

/* Internal.route_static(method, path, body, content_type) */
static VALUE route_static(VALUE self, VALUE method, VALUE path, VALUE body, VALUE type)
{
	StringValue(path);
	StringValue(body);
	StringValue(type);
	return add_route(method, path,
			 handler_constant(200, view_of_string(type), VIEW(""), view_of_string(body)));
}

/* Internal.route_direct(method, path, handler) */
static VALUE route_direct(VALUE self, VALUE method, VALUE path, VALUE handler)
{
	StringValue(path);
	return add_route(method, path, handler_direct(glue_direct_add(handler)));
}

/* --- files --- */

static int call_for(VALUE path, struct call *c)
{
	int result;

	StringValue(path);
	c->path = view_of_string(path);
	result = call(c);
	RB_GC_GUARD(path);
	return result;
}

static int do_cache(struct call *c)
{
	return front_cache(front, c->path, c->immutable, &c->number);
}

/* Internal.cache_file(path, bytes): of the file; nil: it is not cached. */
static VALUE cache_file(VALUE self, VALUE path, VALUE bytes)
{
	struct call c = { .fn = do_cache, .number = NUM2ULL(bytes) };

	return call_for(path, &c) ? Qnil : ULL2NUM(c.number);
}

static int do_look(struct call *c)
{
	return front_look(front, c->path);
}

static VALUE cache_look(VALUE self, VALUE path)
{
	static const char *const names[] = {
		[FRONT_MISSING] = "missing", [FRONT_OK] = "ok", [FRONT_STALE] = "stale"
	};
	struct call c = { .fn = do_look };
	int look = call_for(path, &c);

	return ID2SYM(rb_intern(names[look < 0 ? FRONT_MISSING : look]));
}

static int do_mark(struct call *c)
{
	return front_mark(front, c->path, c->immutable);
}

static VALUE cache_mark(VALUE self, VALUE path, VALUE immutable)
{
	struct call c = { .fn = do_mark, .immutable = RTEST(immutable) };

	return call_for(path, &c) == 1 ? Qtrue : Qfalse;
}

static int do_clear(struct call *c)
{
	return front_clear(front);
}

static VALUE cache_clear(VALUE self)
{
	struct call c = { .fn = do_clear };

	call(&c);
	return Qnil;
}

static int do_size(struct call *c)
{
	return front_size(front, &c->number);
}

static VALUE cache_size(VALUE self)
{
	struct call c = { .fn = do_size };

	return call(&c) ? INT2FIX(0) : ULL2NUM(c.number);
}

static int do_recheck(struct call *c)
{
	return front_recheck(front, &c->number);
}

/* Internal.cache_recheck(milliseconds), nil only asks: what it is then. */
static VALUE cache_recheck(VALUE self, VALUE ms)
{
	struct call c = { .fn = do_recheck, .number = UINT64_MAX };

	if (!NIL_P(ms))
		c.number = NUM2ULL(ms) * NSEC_PER_MSEC;
	call(&c);
	return ULL2NUM(c.number / NSEC_PER_MSEC);
}

static int do_preload(struct call *c)
{
	return front_preload_logged(front, c->path.p, c->immutable, &c->preload);
}

/* Internal.cache_preload(dir, immutable): how many files. */
static VALUE cache_preload(VALUE self, VALUE dir, VALUE immutable)
{
	const char *text = StringValueCStr(dir);
	struct call c = { .fn = do_preload, .path = view_of(text), .immutable = RTEST(immutable) };

	call(&c);
	RB_GC_GUARD(dir);
	return UINT2NUM(c.preload.nr_files);
}

/* --- a Rails app's public folder, before there are threads beside this one --- */

/* Internal.serve_tree(prefix, dir, lines): what is no file there stays the app's. */
static VALUE serve_tree(VALUE self, VALUE prefix, VALUE dir, VALUE lines)
{
	const struct front_tree tree = {
		.prefix = StringValueCStr(prefix),
		.dir = StringValueCStr(dir),
		.lines = StringValueCStr(lines),
		.fallthrough = true,
	};
	int err;

	if (!front || front->shared)
		return Qfalse;
	err = front_add_tree(front, &tree);
	if (err)
		log_warn("static: cannot serve %s: %s", tree.dir, strerror(-err));
	return err ? Qfalse : Qtrue;
}

/* Internal.tree?(prefix): is there one already? */
static VALUE has_tree(VALUE self, VALUE prefix)
{
	struct view path = view_of_string(StringValue(prefix));
	const struct route *r;
	u32 ignored;

	if (!front)
		return Qfalse;
	r = route_find(front->routes, METHOD_GET, path, &ignored);
	return r && r->tree && view_eq(r->path, path) ? Qtrue : Qfalse;
}

int glue_serve_assets(bool preload)
{
	VALUE whether = preload ? Qtrue : Qfalse;

	return glue_call(NULL, "serve_assets", 1, &whether);
}

void glue_init_server(VALUE module)
{
	rb_define_singleton_method(module, "route_static", route_static, 4);
	rb_define_singleton_method(module, "route_direct", route_direct, 3);
	rb_define_singleton_method(module, "cache_file", cache_file, 2);
	rb_define_singleton_method(module, "cache_look", cache_look, 1);
	rb_define_singleton_method(module, "cache_mark", cache_mark, 2);
	rb_define_singleton_method(module, "cache_clear", cache_clear, 0);
	rb_define_singleton_method(module, "cache_size", cache_size, 0);
	rb_define_singleton_method(module, "cache_recheck", cache_recheck, 1);
	rb_define_singleton_method(module, "cache_preload", cache_preload, 2);
	rb_define_singleton_method(module, "serve_tree", serve_tree, 3);
	rb_define_singleton_method(module, "tree?", has_tree, 1);
}
