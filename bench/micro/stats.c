/* SPDX-License-Identifier: MIT */
/*
 * What counting one request costs: a constant route, a path of the app's that the
 * templater names, the same in a full table; and what a batch adds. ns, the best
 * of some rounds. The claim: 40 ns for a request in all.
 */
#include "server/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "server/http.h"
#include "server/req.h"

#define ROUNDS 40
#define PER_ROUND 20000
#define NR_SLOTS 12u

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static bool make_maps(struct stats_maps *m)
{
	static const struct stats_header about;

	m->header = aligned_alloc(64, sizeof(*m->header));
	m->routes = calloc(STATS_ROUTES, sizeof(*m->routes));
	m->workers = calloc(NR_SLOTS, sizeof(*m->workers));
	m->cells = calloc((size_t)NR_SLOTS * STATS_ROUTES, sizeof(*m->cells));
	if (!m->header || !m->routes || !m->workers || !m->cells)
		return false;
	stats_maps_init(m, NR_SLOTS, &about);
	return true;
}

/* Nothing that a compiler could see through. */
static void run(struct stats *s, struct req *reqs, u32 nr)
{
	for (u32 i = 0; i < PER_ROUND; i++) {
		struct req *r = &reqs[i % nr];

		r->times[REQ_T_SENT] += 1000;
		stats_request(s, r);
	}
}

static void measure(const char *what, struct stats *s, struct req *reqs, u32 nr)
{
	double best = 0;

	for (int round = 0; round < ROUNDS; round++) {
		u64 ns = now_ns();

		run(s, reqs, nr);
		ns = now_ns() - ns;
		if (!round || (double)ns / PER_ROUND < best)
			best = (double)ns / PER_ROUND;
		for (u32 i = 0; i < nr; i++)
			reqs[i].times[REQ_T_SENT] = reqs[i].times[REQ_T_ANSWER] + 20000;
	}
	printf("%-44s %6.1f ns/request\n", what, best);
}

static void measure_turns(struct stats *s)
{
	double best = 0, clock = 0;

	for (int round = 0; round < ROUNDS; round++) {
		u64 ns = now_ns(), from = ns;

		for (u32 i = 0; i < PER_ROUND; i++) {
			u64 to = now_ns();

			stats_turn(s, from, to, i % 16);
			from = to;
		}
		ns = now_ns() - ns;
		if (!round || (double)ns / PER_ROUND < best)
			best = (double)ns / PER_ROUND;
	}
	for (int round = 0; round < ROUNDS; round++) {
		u64 ns = now_ns(), sum = 0;

		for (u32 i = 0; i < PER_ROUND; i++)
			sum += now_ns();
		ns = now_ns() - ns + (sum == 1);
		if (!round || (double)ns / PER_ROUND < clock)
			clock = (double)ns / PER_ROUND;
	}
	printf("%-44s %6.1f ns/turn (the clock %.1f)\n", "a turn of the loop", best, clock);
}

#define NR_REQS 64u

static void fill(struct req *r, struct http *http, u32 i)
{
	memset(r, 0, sizeof(*r));
	r->http = http;
	r->status = 200;
	r->method = METHOD_GET;
	r->bytes_out = 200;
	r->times[REQ_T_START] = 1000000;
	r->times[REQ_T_READY] = 1001000;
	r->times[REQ_T_ANSWER] = 1100000 + i * 3000;
	r->times[REQ_T_SENT] = r->times[REQ_T_ANSWER] + 20000;
}

static void fill_app(struct req *r, const char *path)
{
	r->has_job = true;
	r->job.path = view_of(path);
	r->job.claimed_ns = r->times[REQ_T_READY] + 30000;
	r->job.answered_ns = r->times[REQ_T_ANSWER];
}

int main(void)
{
	static struct req reqs[NR_REQS];
	static char paths[NR_REQS][64];
	static struct stats s;
	struct route route = { .id = 3, .method = METHOD_GET, .path = VIEW("/hello") };
	struct http http = { 0 };
	struct stats_maps maps;

	if (!make_maps(&maps))
		return 1;
	stats_init(&s, &maps, 1, now_ns());
	for (u32 i = 0; i < NR_REQS; i++) {
		fill(&reqs[i], &http, i);
		reqs[i].route = &route;
	}
	measure("a constant route", &s, reqs, NR_REQS);
	for (u32 i = 0; i < NR_REQS; i++) {
		reqs[i].route = NULL;
		fill_app(&reqs[i], "/");
	}
	measure("the app: /", &s, reqs, NR_REQS);
	for (u32 i = 0; i < NR_REQS; i++) {
		snprintf(paths[i], sizeof(paths[i]), "/users/%u/posts/%u", 1000 + i, i);
		fill_app(&reqs[i], paths[i]);
	}
	measure("the app: /users/:id/posts/:id", &s, reqs, NR_REQS);
	for (u32 i = 0; i < 300; i++) {
		snprintf(paths[0], sizeof(paths[0]), "/name-%c%c", 'a' + i % 26, 'a' + i / 26);
		fill_app(&reqs[0], paths[0]);
		stats_request(&s, &reqs[0]);
	}
	for (u32 i = 0; i < NR_REQS; i++) {
		snprintf(paths[i], sizeof(paths[i]), "/nobody/has/asked/for/%c%c", 'a' + i % 26,
			 'a' + i / 26);
		fill_app(&reqs[i], paths[i]);
	}
	measure("the app: an unknown name, a full table", &s, reqs, NR_REQS);
	measure_turns(&s);
	return 0;
}
