/* SPDX-License-Identifier: MIT */
#include "ruby_glue/route.h"

#include "ruby_glue/env_key.h"
#include "ruby_glue/internal.h"
#include "server/log.h"
#include "server/templater.h"

static struct {
	VALUE ours, rails;
	VALUE templater; /* of the config file; nil: none */
	ID id_template;
} keys;

void glue_route_init(void)
{
	keys.ours = glue_fixed("hyperion.route");
	keys.rails = glue_fixed("action_dispatch.route_uri_pattern");
	keys.id_template = rb_intern("template");
	keys.templater = rb_funcall(glue_module(), rb_intern("path_templater"), 0);
	rb_gc_register_mark_object(keys.templater);
}

/* Internal.template(path): by the server's own rules. */
static VALUE internal_template(VALUE self, VALUE path)
{
	char name[JOB_ROUTE_MAX];
	struct view v;

	(void)self;
	StringValue(path);
	v = (struct view){ RSTRING_PTR(path), (size_t)RSTRING_LEN(path) };
	return rb_str_new(name, (long)template_path(v, name, sizeof(name)));
}

void glue_init_route(VALUE module)
{
	rb_define_singleton_method(module, "template", internal_template, 1);
}

static struct view text_of(VALUE value)
{
	if (!RB_TYPE_P(value, T_STRING))
		return VIEW("");
	return (struct view){ RSTRING_PTR(value), (size_t)RSTRING_LEN(value) };
}

/* "/users/:id(.:format)": Rails says so of nearly every route. */
static struct view without_format(struct view v)
{
	static const struct view format = VIEW("(.:format)");

	if (v.len > format.len && memcmp(v.p + v.len - format.len, format.p, format.len) == 0)
		v.len -= format.len;
	return v;
}

/* A rule that raises costs the request its name, nothing else. */
static VALUE call_templater(VALUE arg)
{
	const struct job *job = (const struct job *)arg;
	VALUE path = rb_str_new(job->path.p, (long)job->path.len);

	return rb_funcallv(keys.templater, keys.id_template, 1, &path);
}

static void name_by_rules(struct job *job)
{
	int state = 0;
	VALUE name = rb_protect(call_templater, (VALUE)job, &state);

	if (state) {
		log_limited(LOG_LEVEL_WARN, "ruby: path_templater raised class=%s",
			    rb_obj_classname(rb_errinfo()));
		rb_set_errinfo(Qnil);
	} else if (RB_TYPE_P(name, T_STRING) && RSTRING_LEN(name)) {
		job_name_route(job, text_of(name));
	}
	RB_GC_GUARD(name);
}

void glue_route_note(struct job *job, VALUE env)
{
	struct view name;

	if (NIL_P(env))
		return;
	name = text_of(rb_hash_lookup(env, keys.ours));
	if (!name.len)
		name = without_format(text_of(rb_hash_lookup(env, keys.rails)));
	if (name.len)
		job_name_route(job, name);
	else if (!NIL_P(keys.templater))
		name_by_rules(job);
}
