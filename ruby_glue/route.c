/* SPDX-License-Identifier: MIT */
#include "ruby_glue/route.h"

#include "ruby_glue/env_key.h"

static struct {
	VALUE ours, rails;
} keys;

void glue_route_init(void)
{
	keys.ours = glue_fixed("hyperion.route");
	keys.rails = glue_fixed("action_dispatch.route_uri_pattern");
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
}
