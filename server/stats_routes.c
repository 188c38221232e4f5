/* SPDX-License-Identifier: MIT */
#include "server/stats_routes.h"

#define LOOKS 1000 /* at an entry whose name is being written, which takes some 20 ns */

static u32 hash_of(const struct route_name *name)
{
	u64 h = 14695981039346656037ull ^ name->method;
	const char *p = name->name.p;
	size_t left = name->name.len;

	while (left) {
		u64 word = 0;
		size_t n = min(left, sizeof(word));

		memcpy(&word, p, n);
		h = (h ^ word) * 0x9e3779b97f4a7c15ull;
		h ^= h >> 32;
		p += n;
		left -= n;
	}
	return (u32)h;
}

static void write_entry(struct stats_route *r, const struct route_name *name, u32 hash)
{
	r->hash = hash;
	r->kind = (u8)name->kind;
	r->method = (u8)name->method;
	r->name_len = (u16)name->name.len;
	memcpy(r->name, name->name.p, name->name.len);
	/* Pairs with the acquire in state_of(). */
	__atomic_store_n(&r->state, STATS_ROUTE_READY, __ATOMIC_RELEASE);
}

static u32 state_of(const struct stats_route *r)
{
	u32 state = __atomic_load_n(&r->state, __ATOMIC_ACQUIRE);

	for (int i = 0; state == STATS_ROUTE_CLAIMED && i < LOOKS; i++)
		state = __atomic_load_n(&r->state, __ATOMIC_ACQUIRE);
	return state;
}

static bool is_it(const struct stats_route *r, const struct route_name *name, u32 hash)
{
	return r->hash == hash && r->method == name->method && r->name_len == name->name.len &&
	       memcmp(r->name, name->name.p, name->name.len) == 0;
}

void stats_routes_init(struct stats_route routes[STATS_ROUTES])
{
	static const struct route_name special[STATS_ROUTES_BEGIN] = {
		[STATS_OTHER] = { .name = VIEW("other") },
		[STATS_NOT_FOUND] = { .name = VIEW("(not found)") },
		[STATS_REFUSED] = { .name = VIEW("(refused)") },
	};

	for (u32 i = 0; i < STATS_ROUTES_BEGIN; i++)
		write_entry(&routes[i], &special[i], hash_of(&special[i]));
}

void route_index_init(struct route_index *x, struct stats_route routes[STATS_ROUTES])
{
	memset(x, 0, sizeof(*x));
	x->routes = routes;
	x->nr_seen = STATS_ROUTES_BEGIN;
}

static u32 lookup(const struct route_index *x, const struct route_name *name, u32 hash)
{
	for (u32 b = hash % ROUTE_INDEX_LEN; x->buckets[b]; b = (b + 1) % ROUTE_INDEX_LEN) {
		u32 id = x->buckets[b] - 1u;

		if (is_it(&x->routes[id], name, hash))
			return id;
	}
	return STATS_OTHER;
}

static void add(struct route_index *x, u32 id)
{
	u32 b = x->routes[id].hash % ROUTE_INDEX_LEN;

	while (x->buckets[b])
		b = (b + 1) % ROUTE_INDEX_LEN;
	x->buckets[b] = (u16)(id + 1);
}

/*
 * An entry that its claimer has not written by now (it died, or does not run) is
 * given up; the name may then stand twice, and whoever reads adds both.
 */
u32 route_index_find(struct route_index *x, const struct route_name *name, bool claim)
{
	u32 hash = hash_of(name), id = lookup(x, name, hash);

	for (; id == STATS_OTHER && x->nr_seen < STATS_ROUTES; x->nr_seen++) {
		struct stats_route *r = &x->routes[x->nr_seen];
		u32 state = state_of(r);

		if (state == STATS_ROUTE_FREE) {
			if (!claim)
				break;
			if (__atomic_compare_exchange_n(&r->state, &state, STATS_ROUTE_CLAIMED,
							false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
				write_entry(r, name, hash);
			state = state_of(r);
		}
		if (state != STATS_ROUTE_READY)
			continue;
		add(x, x->nr_seen);
		if (is_it(r, name, hash))
			id = x->nr_seen;
	}
	return id;
}
