/* SPDX-License-Identifier: MIT */
#include "ruby_glue/stats.h"

#include <ruby/encoding.h>

#include "bpf/abi.h"
#include "ruby_glue/gvl.h"
#include "ruby_glue/internal.h"

size_t glue_gc_seen;

static struct {
	struct stats_worker *row; /* NULL: nobody counts */
	struct stats_own *own;
	u64 gc_count,
		gc_ns; /* what to add to this process's: of the row's earlier workers, less the mold's */
	VALUE time; /* :time, or 0: this Ruby does not know it */
} stats;

#define NS_PER_MS 1000000ull

/* --- the garbage collector --- */

static u64 gc_ns(void)
{
	return stats.time ? rb_gc_stat(stats.time) * NS_PER_MS : 0;
}

void glue_gc_changed(void)
{
	glue_gc_seen = rb_gc_count();
	if (!stats.row || glue_forked_by_app())
		return;
	__atomic_store_n(&stats.row->gc_count, stats.gc_count + glue_gc_seen, __ATOMIC_RELAXED);
	__atomic_store_n(&stats.row->gc_ns, stats.gc_ns + gc_ns(), __ATOMIC_RELAXED);
}

static VALUE try_time(VALUE unused)
{
	VALUE key = ID2SYM(rb_intern("time"));

	rb_gc_stat(key); /* Ruby before 3.1 raises */
	return key;
}

void glue_set_stats(struct stats_worker *row, struct stats_own *own)
{
	int state = 0;
	VALUE key = rb_protect(try_time, Qnil, &state);

	if (state)
		rb_set_errinfo(Qnil);
	else
		stats.time = key;
	glue_gc_seen = rb_gc_count();
	stats.gc_count = row->gc_count - glue_gc_seen;
	stats.gc_ns = row->gc_ns - gc_ns();
	stats.row = row;
	stats.own = own;
	__atomic_store_n(&row->has_gvl_wait, glue_gvl_watch((u64 *)&row->gvl_wait_ns),
			 __ATOMIC_RELAXED);
}

/* --- the app's own numbers --- */

/* Internal.own_metrics: what the last worker of this place has published; nil: there is no place. */
static VALUE own_metrics(VALUE self)
{
	const struct stats_own *own = stats.own;
	u32 turn, len;

	(void)self;
	if (!own || glue_forked_by_app())
		return Qnil;
	turn = __atomic_load_n(&own->turn, __ATOMIC_RELAXED) % 2;
	len = own->len[turn];
	return rb_utf8_str_new(own->text[turn], len <= STATS_OWN_TEXT ? (long)len : 0);
}

/* Internal.publish_own_metrics(text, dropped): false if nobody reads it, or it is too long. */
static VALUE publish(VALUE self, VALUE text, VALUE dropped)
{
	struct stats_own *own = stats.own;
	u64 nr = NUM2ULL(dropped);
	u32 turn;

	(void)self;
	StringValue(text);
	if (!own || glue_forked_by_app() || (size_t)RSTRING_LEN(text) > STATS_OWN_TEXT)
		return Qfalse;
	turn = own->turn + 1;
	memcpy(own->text[turn % 2], RSTRING_PTR(text), (size_t)RSTRING_LEN(text));
	__atomic_store_n(&own->len[turn % 2], (u32)RSTRING_LEN(text), __ATOMIC_RELAXED);
	__atomic_store_n(&own->dropped, own->dropped + nr, __ATOMIC_RELAXED);
	/* Release pairs with the acquire of a scrape. */
	__atomic_store_n(&own->turn, turn, __ATOMIC_RELEASE);
	return Qtrue;
}

void glue_init_stats(VALUE internal)
{
	rb_define_const(internal, "OWN_METRICS_ROOM", UINT2NUM(STATS_OWN_TEXT));
	rb_define_singleton_method(internal, "own_metrics", own_metrics, 0);
	rb_define_singleton_method(internal, "publish_own_metrics", publish, 2);
}
