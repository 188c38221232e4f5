/* SPDX-License-Identifier: MIT */
/* The app's own numbers of several workers become one set of families. */
#include "server/metrics_own.h"

#include <stdlib.h>

#include "selftests/harness/fail.h"
#include "selftests/harness/harness.h"

#define NR_SLOTS 3u

FIXTURE(own)
{
	struct stats_header header;
	struct stats_worker workers[NR_SLOTS];
	struct stats_own *own;
	struct stats_maps maps;
	struct text text;
};

FIXTURE_SETUP(own)
{
	self->own = calloc(NR_SLOTS, sizeof(*self->own));
	ASSERT_TRUE(self->own);
	self->header.nr_slots = NR_SLOTS;
	self->workers[0].state = self->workers[1].state = STATS_WORKER_SERVING;
	self->maps = (struct stats_maps){
		.header = &self->header,
		.workers = self->workers,
		.own = self->own,
	};
}

FIXTURE_TEARDOWN(own)
{
	text_free(&self->text);
	free(self->own);
}

static void publish(struct self_own *self, u32 slot, const char *text)
{
	struct stats_own *own = &self->own[slot];

	own->turn++;
	own->len[own->turn % 2] = (u32)strlen(text);
	memcpy(own->text[own->turn % 2], text, strlen(text));
}

static const char *written(struct self_own *self, bool open)
{
	self->text.len = 0;
	metrics_own(&self->text, &self->maps, open);
	text_put(&self->text, (struct view){ "", 1 });
	return self->text.p;
}

TEST_F(own, nobody_has_any)
{
	EXPECT_STREQ(written(self, false), "");
}

TEST_F(own, counters_are_summed_also_of_the_dead)
{
	publish(self, 0, "#\ta\tSo many.\nc\ta\tk=\"1\"\t2\nc\ta\tk=\"2\"\t0.25\n");
	publish(self, 1, "old\n");
	publish(self, 1, "c\ta\tk=\"1\"\t3\n");
	publish(self, 2, "c\ta\tk=\"1\"\t1e3\nc\ta\t\t7\n");
	EXPECT_STREQ(written(self, false), "# HELP a_total So many.\n# TYPE a_total counter\n"
					   "a_total 7\na_total{k=\"1\"} 1005\n"
					   "a_total{k=\"2\"} 0.25\n");
	EXPECT_STREQ(written(self, true), "# HELP a So many.\n# TYPE a counter\n"
					  "a_total 7\na_total{k=\"1\"} 1005\n"
					  "a_total{k=\"2\"} 0.25\n");
}

TEST_F(own, gauges_are_those_of_workers_that_run)
{
	publish(self, 0, "g\tb\t\t-1.5\ng\tb\tx=\"y\"\t0.1\n");
	publish(self, 1, "g\tb\t\t12345678901234567890\n");
	publish(self, 2, "g\tb\t\t3\ng\tc\t\t3\n");
	EXPECT_STREQ(written(self, false), "# TYPE b gauge\nb{worker=\"0\"} -1.5\n"
					   "b{worker=\"1\"} 1.2345678901234567e+19\n"
					   "b{x=\"y\",worker=\"0\"} 0.1\n");
}

TEST_F(own, histograms_are_summed_where_their_bounds_are_the_same)
{
	publish(self, 0, "h\tc\tx=\"y\"\t10.5\t0.5 2\t1 2 3\n");
	publish(self, 1, "h\tc\tx=\"y\"\t1\t0.5 2\t1 0 0\n");
	publish(self, 2, "h\tc\tx=\"y\"\t1\t0.5 3\t1 0 0\n");
	EXPECT_STREQ(written(self, false),
		     "# TYPE c histogram\nc_bucket{x=\"y\",le=\"0.5\"} 2\n"
		     "c_bucket{x=\"y\",le=\"2\"} 4\nc_bucket{x=\"y\",le=\"+Inf\"} 7\n"
		     "c_sum{x=\"y\"} 11.5\nc_count{x=\"y\"} 7\n");
}

TEST_F(own, two_versions_of_an_app)
{
	publish(self, 0, "c\ta\t\t1\n");
	publish(self, 1, "g\ta\t\t5\n");
	EXPECT_STREQ(written(self, false), "# TYPE a_total counter\na_total 1\n");
}

TEST_F(own, what_is_no_line_is_left_out)
{
	publish(self, 0,
		"\nc\nc\ta\nc\ta\t\nc\ta\t\t1\t2\nx\ta\t\t1\ncc\ta\t\t1\nc\t\t\t1\nh\tb\t\t1\t1\n"
		"#\tz\thelp alone\nc\ty\t\t1\nc\tx\t\t1 no end");
	EXPECT_STREQ(written(self, false), "# TYPE y_total counter\ny_total 1\n");
	self->own[0].len[self->own[0].turn % 2] = STATS_OWN_TEXT + 1;
	EXPECT_STREQ(written(self, false), "");
}

TEST_F(own, memory_is_out)
{
	publish(self, 0, "c\ta\t\t1\n");
	for (u32 nth = 1; nth <= 3; nth++) {
		text_free(&self->text);
		self->text = (struct text){ 0 };
		fail_nth_alloc(nth);
		metrics_own(&self->text, &self->maps, false);
		fail_nth_alloc(0);
		EXPECT_TRUE(self->text.failed);
	}
}
