/* SPDX-License-Identifier: MIT */
#include "ruby_glue/env_conn.h"

#include <stdlib.h>

#define CONNS 1024u /* a power of two */
#define STRIKES_MAX 8u /* requests of others that collide with an entry before one takes it over */
#define HEADERS_MAX 64u /* bits of a u64 */
#define BYTES_MAX 4096u /* of names and values */
#define MISSES_MAX 4u /* header names that differ; then the newest are kept instead */

struct entry {
	u32 conn_idx, conn_gen;
	u32 nr_headers;
	u8 misses, strikes;
	bool used; /* conn_idx and conn_gen are set */
	VALUE env; /* 0: seen once, nothing kept yet */
	u64 fresh;
	struct header *headers; /* one block with the bytes behind them */
	struct view target, authority, peer; /* in that block */
	bool tls;
};

static struct entry entries[CONNS];

static void mark_entries(void *unused)
{
	(void)unused;
	for (u32 i = 0; i < CONNS; i++)
		if (entries[i].env)
			rb_gc_mark(entries[i].env);
}

static const rb_data_type_t entries_type = {
	.wrap_struct_name = "hyperion/connections",
	.function = { .dmark = mark_entries },
};

void glue_env_conn_init(void)
{
	rb_gc_register_mark_object(rb_data_typed_object_wrap(rb_cObject, entries, &entries_type));
}

static struct entry *entry_of(const struct job *job)
{
	return &entries[job->conn_idx % CONNS];
}

static bool belongs(const struct entry *e, const struct job *job)
{
	return e->used && e->conn_idx == job->conn_idx && e->conn_gen == job->conn_gen;
}

static void take(struct entry *e, const struct job *job)
{
	free(e->headers);
	*e = (struct entry){ .conn_idx = job->conn_idx, .conn_gen = job->conn_gen, .used = true };
}

/* The same names in the same order; notes whose values changed. */
static bool same_names(const struct entry *e, const struct job *job, u64 *changed)
{
	u64 bits = 0;

	if (e->nr_headers != job->nr_headers)
		return false;
	for (u32 i = 0; i < e->nr_headers; i++) {
		if (!view_eq(e->headers[i].name, job->headers[i].name))
			return false;
		if (!view_eq(e->headers[i].value, job->headers[i].value))
			bits |= 1ull << i;
	}
	*changed = bits;
	return true;
}

VALUE glue_env_conn_copy(const struct job *job, struct env_difference *diff)
{
	struct entry *e = entry_of(job);

	if (!belongs(e, job) || !e->env)
		return 0;
	if (!same_names(e, job, &diff->headers) || !view_eq(e->authority, job->authority) ||
	    !view_eq(e->peer, job->peer) || e->tls != job->tls) {
		e->misses++;
		return 0;
	}
	e->strikes = 0;
	diff->headers |= e->fresh;
	diff->target = !view_eq(e->target, job->target);
	return rb_hash_dup(e->env);
}

static size_t bytes_of(const struct job *job)
{
	size_t len = job->target.len + job->authority.len + job->peer.len;

	for (u32 i = 0; i < job->nr_headers; i++)
		len += job->headers[i].name.len + job->headers[i].value.len;
	return len;
}

bool glue_env_conn_wants(const struct job *job)
{
	struct entry *e = entry_of(job);

	if (!belongs(e, job)) {
		/* Another generation: the connection that it was kept for is gone. */
		if (!e->used || e->conn_idx == job->conn_idx || ++e->strikes > STRIKES_MAX)
			take(e, job);
		return false;
	}
	if (job->nr_headers > HEADERS_MAX)
		return false;
	return (!e->env || e->misses >= MISSES_MAX) && bytes_of(job) <= BYTES_MAX;
}

static struct view put(char **p, struct view v)
{
	struct view copy = { *p, v.len };

	if (v.len)
		memcpy(*p, v.p, v.len);
	*p += v.len;
	return copy;
}

void glue_env_conn_keep(const struct job *job, VALUE env, u64 fresh)
{
	struct entry *e = entry_of(job);
	VALUE copy = rb_hash_dup(env);
	struct header *headers = malloc(job->nr_headers * sizeof(*headers) + bytes_of(job));
	char *p = (char *)(headers + job->nr_headers);

	if (!headers)
		return;
	take(e, job);
	for (u32 i = 0; i < job->nr_headers; i++) {
		headers[i].name = put(&p, job->headers[i].name);
		headers[i].value = put(&p, job->headers[i].value);
	}
	e->target = put(&p, job->target);
	e->authority = put(&p, job->authority);
	e->peer = put(&p, job->peer);
	e->headers = headers;
	e->nr_headers = job->nr_headers;
	e->fresh = fresh;
	e->tls = job->tls;
	e->env = copy;
}
