/* SPDX-License-Identifier: MIT */
#include "server/stats.h"

#include <sys/mman.h>
#include <unistd.h>

#include "server/http.h"
#include "server/req.h"
#include "server/templater.h"

_Static_assert((int)STATS_METHOD_TRACE == (int)METHOD_TRACE &&
		       (int)NR_STATS_METHODS == (int)NR_METHODS,
	       "methods are numbered alike");
_Static_assert(JOB_ROUTE_MAX <= STATS_NAME_MAX, "a name fits into the table");

/* --- the maps --- */

size_t stats_map_len(enum stats_map_id id, u32 nr_slots)
{
	static const size_t one[NR_STATS_MAPS] = {
		[STATS_MAP_HEADER] = sizeof(struct stats_header),
		[STATS_MAP_ROUTES] = sizeof(struct stats_route),
		[STATS_MAP_WORKERS] = sizeof(struct stats_worker),
		[STATS_MAP_CELLS] = sizeof(struct stats_cell),
		[STATS_MAP_OWN] = sizeof(struct stats_own),
		[STATS_MAP_STEER] = sizeof(struct stats_steer),
	};
	size_t nr = 1, page = (size_t)sysconf(_SC_PAGESIZE);

	if (id == STATS_MAP_ROUTES)
		nr = STATS_ROUTES;
	else if (id == STATS_MAP_WORKERS || id == STATS_MAP_OWN || id == STATS_MAP_STEER)
		nr = nr_slots;
	else if (id == STATS_MAP_CELLS)
		nr = (size_t)nr_slots * STATS_ROUTES;
	return (nr * one[id] + page - 1) / page * page;
}

static void *map_one(struct stats_maps *m, enum stats_map_id id, int fd, u32 nr_slots)
{
	size_t len = stats_map_len(id, nr_slots);
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return NULL;
	m->len[id] = len;
	return p;
}

int stats_maps_map(struct stats_maps *m, const int fds[NR_STATS_MAPS], u32 nr_slots)
{
	memset(m, 0, sizeof(*m));
	m->header = map_one(m, STATS_MAP_HEADER, fds[STATS_MAP_HEADER], nr_slots);
	m->routes = map_one(m, STATS_MAP_ROUTES, fds[STATS_MAP_ROUTES], nr_slots);
	m->workers = map_one(m, STATS_MAP_WORKERS, fds[STATS_MAP_WORKERS], nr_slots);
	m->cells = map_one(m, STATS_MAP_CELLS, fds[STATS_MAP_CELLS], nr_slots);
	m->own = map_one(m, STATS_MAP_OWN, fds[STATS_MAP_OWN], nr_slots);
	m->steer = map_one(m, STATS_MAP_STEER, fds[STATS_MAP_STEER], nr_slots);
	if (m->header && m->routes && m->workers && m->cells && m->own && m->steer)
		return 0;
	stats_maps_close(m);
	return -ENOMEM;
}

int stats_maps_open(struct stats_maps *m, const int fds[NR_STATS_MAPS])
{
	struct stats_header *h;
	bool known;
	u32 nr_slots;

	memset(m, 0, sizeof(*m));
	h = map_one(m, STATS_MAP_HEADER, fds[STATS_MAP_HEADER], 1);
	if (!h)
		return -ENOMEM;
	nr_slots = h->nr_slots;
	known = h->magic == STATS_MAGIC && h->version == STATS_VERSION && nr_slots;
	munmap(h, m->len[STATS_MAP_HEADER]);
	return known ? stats_maps_map(m, fds, nr_slots) : -EPROTO;
}

void stats_maps_close(struct stats_maps *m)
{
	void *const p[NR_STATS_MAPS] = { m->header, m->routes, m->workers,
					 m->cells,  m->own,    m->steer };

	for (int i = 0; i < NR_STATS_MAPS; i++)
		if (p[i])
			munmap(p[i], m->len[i]);
	memset(m, 0, sizeof(*m));
}

void stats_maps_init(struct stats_maps *m, u32 nr_slots, const struct stats_header *about)
{
	struct stats_header *h = m->header;

	*h = *about;
	h->magic = STATS_MAGIC;
	h->version = STATS_VERSION;
	h->nr_slots = nr_slots;
	h->nr_routes = STATS_ROUTES;
	h->nr_buckets = HIST_BUCKETS;
	h->worker_len = sizeof(struct stats_worker);
	h->route_len = sizeof(struct stats_route);
	h->cell_len = sizeof(struct stats_cell);
	stats_routes_init(m->routes);
}

/* --- a worker --- */

void stats_init(struct stats *s, const struct stats_maps *maps, u32 slot, u64 now_ns)
{
	memset(s, 0, sizeof(*s));
	s->maps = *maps;
	if (!maps->header || slot >= maps->header->nr_slots)
		return;
	s->row = &maps->workers[slot];
	s->steer = &maps->steer[slot];
	s->cells = &maps->cells[(size_t)slot * STATS_ROUTES];
	route_index_init(&s->index, maps->routes);
	s->base = *s->row;
	stats_set(s->row->pid, (u32)getpid());
	stats_set(s->row->start_ns, now_ns);
	stats_set(s->row->seen_ns, now_ns);
	stats_add(s->row->nr_starts, 1);
	stats_set(s->row->state, STATS_WORKER_SERVING);
}

void stats_fini(struct stats *s)
{
	if (s->row) {
		stats_set(s->row->state, STATS_WORKER_NONE);
		stats_set(s->steer->state, STATS_WORKER_NONE);
	}
	stats_maps_close(&s->maps);
	s->row = NULL;
	s->steer = NULL;
}

/* --- which route --- */

static u32 find_static(struct stats *s, const struct route *route, enum method method)
{
	char text[STATS_NAME_MAX];
	struct route_name name = { .kind = STATS_ROUTE_STATIC, .method = (enum stats_method)method };

	name.name = (struct view){ text, template_name(route->path, text, sizeof(text) - 2) };
	if (route->tree) {
		memcpy(text + name.name.len, "/*", 2);
		name.name.len += 2;
	}
	return route_index_find(&s->index, &name, true);
}

void stats_claim(struct stats *s, const struct route_table *routes)
{
	const struct route *route;

	for (u32 id = 0; s->row && (route = route_at(routes, id)); id++)
		s->of_route[id] = (u16)find_static(s, route, route->method);
}

static u32 route_of_c(struct stats *s, const struct req *r)
{
	bool own = r->method == r->route->method; /* a HEAD may be answered by the GET */
	u32 id = own ? s->of_route[r->route->id] : 0;

	if (likely(id))
		return id;
	id = find_static(s, r->route, r->method);
	if (own)
		s->of_route[r->route->id] = (u16)id;
	return id;
}

static u32 route_of_app(struct stats *s, const struct req *r)
{
	char text[STATS_NAME_MAX];
	struct route_name name = { .kind = STATS_ROUTE_TEMPLATE,
				   .method = (enum stats_method)r->method };
	/* Whoever asks for what is not there must not use the table up. */
	bool claim = r->status && r->status != 404 && r->status != 405 && r->status != 410;
	u32 id;

	if (r->job.route_len) {
		struct view given = { r->job.route, r->job.route_len };

		name.kind = STATS_ROUTE_NAMED;
		name.name = (struct view){ text, template_name(given, text, sizeof(text)) };
		return route_index_find(&s->index, &name, true);
	}
	name.name = (struct view){ text, template_path(r->job.path, text, sizeof(text)) };
	id = route_index_find(&s->index, &name, claim);
	return id == STATS_OTHER && !claim ? STATS_NOT_FOUND : id;
}

static u32 route_of(struct stats *s, const struct req *r)
{
	u32 id;

	if (!r->route && !r->has_job)
		return r->status == 404 || r->status == 405 || r->status == 501 ? STATS_NOT_FOUND
										: STATS_REFUSED;
	id = r->route ? route_of_c(s, r) : route_of_app(s, r);
	if (unlikely(id == STATS_OTHER))
		stats_add(s->row->routes_overflowed, 1);
	return id;
}

/* --- what is counted --- */

static const u64 bounds_ns[NR_STATS_BOUNDS] = STATS_BOUNDS_NS;

static inline u32 bound_of(u64 ns)
{
	u32 i = 0;

	while (i < NR_STATS_BOUNDS && ns > bounds_ns[i])
		i++;
	return i;
}

static inline void add_time(struct stats_cell *c, enum stats_time which, u64 from, u64 to)
{
	u64 ns = to > from ? to - from : 0;
	u32 *bucket = &c->hist[which][hist_index(ns)];

	stats_add(*bucket, 1);
	stats_add(c->sum_ns[which], ns);
}

void stats_request(struct stats *s, const struct req *r)
{
	u64 sent = r->times[REQ_T_SENT], end = sent ? sent : r->http->now_ns;
	u64 start = r->times[REQ_T_START], ns = end > start ? end - start : 0;
	u32 class = sent ? min(r->status / 100u, STATS_CLASSES - 1) : 0;
	struct stats_cell *c;
	u32 *by_bound;

	if (unlikely(!s->row))
		return;
	c = &s->cells[route_of(s, r)];
	by_bound = &c->by_bound[class][bound_of(ns)];
	stats_add(c->requests, 1);
	stats_add(c->status[class], 1);
	stats_add(c->class_sum_ns[class], ns);
	stats_add(*by_bound, 1);
	stats_add(c->bytes_out, r->bytes_out);
	stats_add(c->bytes_in, r->body_len);
	add_time(c, STATS_TOTAL, start, end);
	if (r->has_job && r->job.claimed_ns) {
		u64 answered = r->job.answered_ns ? r->job.answered_ns : end;

		stats_add(c->app_requests, 1);
		add_time(c, STATS_QUEUE, r->times[REQ_T_READY], r->job.claimed_ns);
		add_time(c, STATS_APP, r->job.claimed_ns, answered);
	}
	if (sent)
		add_time(c, STATS_SEND, r->times[REQ_T_ANSWER], sent);
}

static u32 batch_of(u32 events)
{
	return events ? min(hist_log2(events) + 1, STATS_BATCHES - 1) : 0;
}

void stats_turn(struct stats *s, u64 from_ns, u64 to_ns, u32 events)
{
	struct stats_worker *w = s->row;
	u64 ns = to_ns > from_ns ? to_ns - from_ns : 0;

	if (!w)
		return;
	stats_add(w->turns, 1);
	stats_add(w->events, events);
	stats_add(w->busy_ns, ns);
	stats_add(w->batches[batch_of(events)], 1);
	stats_set(w->seen_ns, to_ns);
	if (unlikely(ns >= STATS_STALL_NS))
		stats_add(w->stalls, 1);
	if (unlikely(ns > w->max_turn_ns))
		stats_set(w->max_turn_ns, ns);
}
