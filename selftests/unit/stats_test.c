/* SPDX-License-Identifier: MIT */
/* What is counted for a request, and how all of it is written down. */
#include "server/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "selftests/harness/harness.h"
#include "server/http.h"
#include "server/metrics.h"
#include "server/req.h"

#define NR_SLOTS 3u
#define START NSEC_PER_SEC

/* Maps as a supervisor makes them, two workers on them. */
FIXTURE(stats)
{
	int fds[NR_STATS_MAPS];
	struct stats_maps maps;
	struct stats *a, *b;
	struct http http;
	struct req req;
	struct route route;
};

FIXTURE_SETUP(stats)
{
	static const struct stats_header about = { .pid = 4711, .server = "1.2.3", .instance = "x" };
	struct stats_maps mine;

	for (int i = 0; i < NR_STATS_MAPS; i++) {
		self->fds[i] = memfd_create("stats", MFD_CLOEXEC);
		ASSERT_GE(self->fds[i], 0);
		ASSERT_EQ(ftruncate(self->fds[i],
				    (off_t)stats_map_len((enum stats_map_id)i, NR_SLOTS)),
			  0);
	}
	ASSERT_OK(stats_maps_map(&self->maps, self->fds, NR_SLOTS));
	stats_maps_init(&self->maps, NR_SLOTS, &about);
	self->a = calloc(1, sizeof(*self->a));
	self->b = calloc(1, sizeof(*self->b));
	ASSERT_TRUE(self->a && self->b);
	ASSERT_OK(stats_maps_open(&mine, self->fds));
	stats_init(self->a, &mine, 0, START);
	ASSERT_OK(stats_maps_open(&mine, self->fds));
	stats_init(self->b, &mine, 1, START);
	self->route = (struct route){ .id = 5, .method = METHOD_GET, .path = VIEW("/a\"b") };
	self->http.now_ns = START + 40 * NSEC_PER_MSEC;
	self->req.http = &self->http;
	self->req.method = METHOD_GET;
	self->req.status = 200;
	self->req.bytes_out = 100;
	self->req.body_len = 7;
	self->req.times[REQ_T_START] = START;
	self->req.times[REQ_T_READY] = START + 1 * NSEC_PER_MSEC;
	self->req.times[REQ_T_ANSWER] = START + 20 * NSEC_PER_MSEC;
	self->req.times[REQ_T_SENT] = START + 30 * NSEC_PER_MSEC;
}

FIXTURE_TEARDOWN(stats)
{
	stats_fini(self->a);
	stats_fini(self->b);
	stats_maps_close(&self->maps);
	free(self->a);
	free(self->b);
	for (int i = 0; i < NR_STATS_MAPS; i++)
		close(self->fds[i]);
}

/* The cell of a worker for the route of that name; NULL: there is no such route. */
static struct stats_cell *cell(struct self_stats *self, u32 worker, const char *name)
{
	for (u32 i = 0; i < STATS_ROUTES; i++) {
		const struct stats_route *r = &self->maps.routes[i];

		if (r->state == STATS_ROUTE_READY &&
		    view_eq((struct view){ r->name, r->name_len }, view_of(name)))
			return &self->maps.cells[worker * STATS_ROUTES + i];
	}
	return NULL;
}

static void make_job(struct req *r, const char *path)
{
	r->has_job = true;
	r->job.path = view_of(path);
	r->job.claimed_ns = START + 3 * NSEC_PER_MSEC;
	r->job.answered_ns = START + 19 * NSEC_PER_MSEC;
}

static u32 bucket(const struct stats_cell *c, enum stats_time which, u64 ns)
{
	return c->hist[which][hist_index(ns)];
}

TEST_F(stats, a_static_route)
{
	struct stats_cell *c;

	self->req.route = &self->route;
	stats_request(self->a, &self->req);
	stats_request(self->a, &self->req);
	c = cell(self, 0, "/a\"b");
	ASSERT_NOT_NULL(c);
	EXPECT_EQ(c->requests, 2);
	EXPECT_EQ(c->app_requests, 0);
	EXPECT_EQ(c->status[2], 2);
	EXPECT_EQ(c->bytes_out, 200);
	EXPECT_EQ(c->bytes_in, 14);
	EXPECT_EQ(bucket(c, STATS_TOTAL, 30 * NSEC_PER_MSEC), 2);
	EXPECT_EQ(bucket(c, STATS_SEND, 10 * NSEC_PER_MSEC), 2);
	EXPECT_EQ(c->sum_ns[STATS_TOTAL], 60 * NSEC_PER_MSEC);
	EXPECT_EQ(c->sum_ns[STATS_QUEUE] + c->sum_ns[STATS_APP], 0);
	/* le=0.05 */
	EXPECT_EQ(c->by_bound[2][5], 2);
	EXPECT_EQ(c->class_sum_ns[2], 60 * NSEC_PER_MSEC);
	EXPECT_EQ(cell(self, 1, "/a\"b")->requests, 0);
}

TEST_F(stats, a_head_of_a_get_is_a_row_of_its_own)
{
	u32 nr = 0;

	self->req.route = &self->route;
	stats_request(self->a, &self->req);
	self->req.method = METHOD_HEAD;
	stats_request(self->a, &self->req);
	stats_request(self->a, &self->req);
	for (u32 i = STATS_ROUTES_BEGIN; i < STATS_ROUTES; i++)
		if (self->maps.cells[i].requests) {
			nr++;
			EXPECT_EQ(self->maps.cells[i].requests,
				  self->maps.routes[i].method == STATS_METHOD_HEAD ? 2 : 1);
		}
	EXPECT_EQ(nr, 2);
}

TEST_F(stats, the_app)
{
	struct stats_cell *c;

	make_job(&self->req, "/users/7");
	stats_request(self->b, &self->req);
	c = cell(self, 1, "/users/:id");
	ASSERT_NOT_NULL(c);
	EXPECT_EQ(c->app_requests, 1);
	EXPECT_EQ(bucket(c, STATS_QUEUE, 2 * NSEC_PER_MSEC), 1);
	EXPECT_EQ(bucket(c, STATS_APP, 16 * NSEC_PER_MSEC), 1);
	EXPECT_EQ(cell(self, 0, "/users/:id")->requests, 0);
}

TEST_F(stats, an_answer_that_was_cut)
{
	struct stats_cell *c;

	make_job(&self->req, "/cut");
	self->req.times[REQ_T_SENT] = 0;
	stats_request(self->a, &self->req);
	c = cell(self, 0, "/cut");
	EXPECT_EQ(c->status[0], 1);
	EXPECT_EQ(c->status[2], 0);
	/* Until now. */
	EXPECT_EQ(bucket(c, STATS_TOTAL, 40 * NSEC_PER_MSEC), 1);
	EXPECT_EQ(c->sum_ns[STATS_SEND], 0);
}

TEST_F(stats, what_is_not_there_gets_no_name)
{
	static const u16 statuses[] = { 404, 405, 410 };

	make_job(&self->req, "/wp-login");
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++) {
		self->req.status = statuses[i];
		stats_request(self->a, &self->req);
	}
	EXPECT_NULL(cell(self, 0, "/wp-login"));
	EXPECT_EQ(self->maps.cells[STATS_NOT_FOUND].status[4], 3);
	/* But who has one keeps it. */
	self->req.status = 200;
	stats_request(self->a, &self->req);
	self->req.status = 404;
	stats_request(self->a, &self->req);
	EXPECT_EQ(cell(self, 0, "/wp-login")->requests, 2);
	self->req.has_job = false;
	self->req.status = 400;
	stats_request(self->a, &self->req);
	EXPECT_EQ(self->maps.cells[STATS_REFUSED].requests, 1);
	EXPECT_EQ(self->a->row->routes_overflowed, 0);
}

TEST_F(stats, a_row_without_maps_and_beyond_them)
{
	struct stats_maps none = { 0 };
	struct stats *s = calloc(1, sizeof(*s));

	ASSERT_NOT_NULL(s);
	stats_init(s, &none, 0, START);
	stats_request(s, &self->req);
	stats_turn(s, START, START + 1, 1);
	stats_init(s, &self->maps, NR_SLOTS, START);
	EXPECT_NULL(s->row);
	stats_request(s, &self->req);
	free(s);
}

TEST_F(stats, maps_of_another_version)
{
	struct stats_maps m;

	self->maps.header->version++;
	EXPECT_EQ(stats_maps_open(&m, self->fds), -EPROTO);
	self->maps.header->version--;
	self->maps.header->magic = 0;
	EXPECT_EQ(stats_maps_open(&m, self->fds), -EPROTO);
}

TEST_F(stats, turns)
{
	const struct stats_worker *w = self->a->row;

	stats_turn(self->a, START, START + STATS_STALL_NS - 1, 0);
	stats_turn(self->a, START, START + STATS_STALL_NS, 1);
	stats_turn(self->a, START, START + 10, 5000000);
	stats_turn(self->a, START + 10, START, 3);
	EXPECT_EQ(w->turns, 4);
	EXPECT_EQ(w->stalls, 1);
	EXPECT_EQ(w->max_turn_ns, STATS_STALL_NS);
	EXPECT_EQ(w->busy_ns, 2 * STATS_STALL_NS + 9);
	EXPECT_EQ(w->batches[0], 1);
	EXPECT_EQ(w->batches[1], 1);
	EXPECT_EQ(w->batches[2], 1);
	EXPECT_EQ(w->batches[STATS_BATCHES - 1], 1);
}

/* --- the text --- */

static bool says(const struct text *t, const char *line)
{
	return memmem(t->p, t->len, line, strlen(line));
}

TEST_F(stats, exposition)
{
	struct text t = { 0 };

	self->req.route = &self->route;
	stats_request(self->a, &self->req);
	stats_request(self->b, &self->req);
	self->req.times[REQ_T_SENT] = START + 11 * NSEC_PER_SEC;
	stats_request(self->b, &self->req);
	metrics_write(&t, &self->maps, METRICS_PROMETHEUS);
	ASSERT_FALSE(t.failed);
#define LABELS "{method=\"GET\",path=\"/a\\\"b\",status=\"2xx\""
	EXPECT_TRUE(says(&t, "\n# TYPE hyperion_request_duration_seconds histogram\n"));
	EXPECT_TRUE(
		says(&t, "\nhyperion_request_duration_seconds_bucket" LABELS ",le=\"0.025\"} 0\n"));
	EXPECT_TRUE(
		says(&t, "\nhyperion_request_duration_seconds_bucket" LABELS ",le=\"0.05\"} 2\n"));
	EXPECT_TRUE(
		says(&t, "\nhyperion_request_duration_seconds_bucket" LABELS ",le=\"10.0\"} 2\n"));
	EXPECT_TRUE(
		says(&t, "\nhyperion_request_duration_seconds_bucket" LABELS ",le=\"+Inf\"} 3\n"));
	EXPECT_TRUE(says(&t, "\nhyperion_request_duration_seconds_sum" LABELS "} 11.06\n"));
	EXPECT_TRUE(says(&t, "\nhyperion_request_duration_seconds_count" LABELS "} 3\n"));
	EXPECT_TRUE(says(&t, "\nhyperion_requests_total{mode=\"static\"} 3\n"));
	EXPECT_TRUE(says(&t, "\n# TYPE hyperion_requests_total counter\n"));
	EXPECT_FALSE(says(&t, "# EOF"));
	text_free(&t);
	metrics_write(&t, &self->maps, METRICS_OPENMETRICS);
	EXPECT_TRUE(says(&t, "\n# TYPE hyperion_requests counter\n"));
	EXPECT_TRUE(t.len > 6 && memcmp(t.p + t.len - 6, "# EOF\n", 6) == 0);
	text_free(&t);
}

/* A name that stands twice (its claimer was interrupted) is one route for who reads. */
TEST_F(stats, a_name_that_stands_twice)
{
	struct text t = { 0 };

	self->req.route = &self->route;
	stats_request(self->a, &self->req);
	self->maps.routes[STATS_ROUTES_BEGIN + 1] = self->maps.routes[STATS_ROUTES_BEGIN];
	memcpy(&self->maps.cells[STATS_ROUTES_BEGIN + 1], &self->maps.cells[STATS_ROUTES_BEGIN],
	       sizeof(struct stats_cell));
	metrics_write(&t, &self->maps, METRICS_PROMETHEUS);
	EXPECT_TRUE(says(&t, "\nhyperion_request_duration_seconds_count" LABELS "} 2\n"));
	text_free(&t);
}

static void write_pages(void *arg)
{
	const struct stats_maps *maps = arg;
	struct text t = { 0 };

	metrics_write(&t, maps, METRICS_JSON);
	metrics_write(&t, maps, METRICS_PROMETHEUS);
	/* A page that is not whole says so. */
	EXPECT_TRUE(t.failed || (says(&t, "\"routes\":[{") && says(&t, "\nhyperion_workers{")));
	text_free(&t);
}

TEST_F(stats, memory_that_fails)
{
	self->req.route = &self->route;
	stats_request(self->a, &self->req);
	EXPECT_GT(for_each_failing_alloc(write_pages, &self->maps), 3);
}

TEST(seconds)
{
	static const struct {
		u64 ns;
		const char *text;
	} rows[] = {
		{ 0, "0.0" },
		{ 1, "0.000000001" },
		{ 2500000, "0.0025" },
		{ NSEC_PER_SEC, "1.0" },
		{ 10 * NSEC_PER_SEC + 120000000, "10.12" },
		{ UINT64_MAX, "18446744073.709551615" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct text t = { 0 };

		text_seconds(&t, rows[i].ns);
		EXPECT_VIEW_EQ(((struct view){ t.p, t.len }), rows[i].text);
		text_free(&t);
	}
}

TEST(accepted)
{
	static const struct {
		const char *accept;
		enum metrics_format format;
	} rows[] = {
		{ "", METRICS_PROMETHEUS },
		{ "*/*", METRICS_PROMETHEUS },
		{ "text/plain", METRICS_PROMETHEUS },
		{ "application/openmetrics-text", METRICS_OPENMETRICS },
		{ "Application/OpenMetrics-Text; version=1.0.0", METRICS_OPENMETRICS },
		{ "text/plain, application/openmetrics-text;q=0.5", METRICS_OPENMETRICS },
		{ "application/openmetrics-text;q=0, */*", METRICS_PROMETHEUS },
		{ "application/openmetrics-text;q=0.000", METRICS_PROMETHEUS },
		{ "application/openmetrics-text;q=0.001", METRICS_OPENMETRICS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		EXPECT_EQ(metrics_accepted(view_of(rows[i].accept)), rows[i].format);
}
