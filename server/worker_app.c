/* SPDX-License-Identifier: MIT */
/* A worker's side of the hand-over to the app. */
#include <stdlib.h>

#include "bpf/steer.h"
#include "server/h1.h"
#include "server/h1_answer.h"
#include "server/log.h"
#include "server/slice.h"
#include "server/spill.h"
#include "server/worker_state.h"

#define SUBMIT_MAX 256u /* jobs handed over at a time */
#define SLICE_NS (200 * NSEC_PER_USEC) /* of the I/O thread beside Ruby's */

int worker_init_app(struct worker *w, const struct worker_params *params)
{
	int err;

	list_init(&w->with_app);
	if (!params->has_app)
		return 0;
	err = app_init(&w->app, w->conf->nr_threads, w->conf->max_pending, worker_wake, w->loop);
	if (err)
		return err;
	w->app.ops = params->app_ops;
	w->app.pace.read = pace_read;
	w->app.priv = &w->app;
	/* On a shared CPU neither it nor a handler that comes back from a wait is then late. */
	if (w->conf->nr_threads && slice_set(SLICE_NS))
		log_debug("worker: the kernel knows no time slices worker=%u", w->id);
	w->has_app = true;
	w->http.has_app = true;
	w->http.max_waiting = w->conf->max_pending;
	w->http.spill_ops = &spill_ops;
	w->http.spill_priv = w->loop;
	return 0;
}

/* The job is ours again. Inline, more time has passed than our clock knows of. */
static void note_times(struct worker *w, struct req *r)
{
	r->times[REQ_T_CLAIM] = r->job.claimed_ns;
	if (r->job.answered_ns > r->job.claimed_ns)
		w->job_us = steer_job_us(w->job_us, r->job.answered_ns - r->job.claimed_ns);
	w->http.now_ns = max(w->http.now_ns, r->job.answered_ns);
}

/* What the app has answered goes to the links; true if there was any. */
static bool reap_answers(struct worker *w)
{
	struct answer *a;
	bool any = false;

	while ((a = app_reap(&w->app))) {
		struct req *r = container_of(a->job, struct req, job);
		bool last = a->flags & ANSWER_LAST;
		struct link *l = r->link;

		any = true;
		w->nr_with_app -= last;
		w->http.nr_withdrawn -= !!(a->flags & ANSWER_DROPPED);
		if (last) {
			list_del(&r->with_app);
			note_times(w, r);
		}
		if (l) {
			l->proto->answer(l, r, a);
			conn_touch(conn_of_link(l));
			continue;
		}
		answer_drop(a);
		if (last)
			req_returned(r);
	}
	return any;
}

/* What was taken back is still in the queue, but waits for nobody. */
static u32 nr_unclaimed(const struct worker *w)
{
	u32 queued = ring_count(&w->app.jobs);

	return queued - min(queued, w->http.nr_withdrawn);
}

static struct load_numbers load_of(const struct worker *w)
{
	return (struct load_numbers){
		.state = w->state == WORKER_SERVING ? STATS_WORKER_SERVING : STATS_WORKER_DRAINING,
		.accepted = w->acceptor.nr_steered,
		.kept = w->conns.nr_in[CONN_OPEN],
		.job_us = w->job_us,
	};
}

void worker_publish_load(struct worker *w)
{
	struct load_numbers n = load_of(w);
	struct app *app = &w->app;

	if (w->has_app) {
		u32 queued = min(ring_count(&app->jobs), app->nr_out);

		/* Not nr_running: a thread may just be between its pop and that. */
		n.running = app->nr_out - queued;
		n.running_ns = __atomic_load_n(&app->running_ns, __ATOMIC_RELAXED);
		n.waiting = w->http.nr_submit + nr_unclaimed(w);
		n.waiting_ns = app_waiting_ns(app);
		if (n.running && !n.running_ns)
			n.running_ns = w->http.now_ns;
		if (n.waiting && !n.waiting_ns)
			n.waiting_ns = w->http.now_ns;
	}
	worker_load_publish(&w->load, &n, w->http.now_ns);
}

/* Until they are back nothing moves here: the first one runs, the others wait for it. */
static void publish_inline(struct worker *w)
{
	struct load_numbers n = load_of(w);

	n.running = 1;
	n.running_ns = w->http.now_ns;
	n.waiting = w->http.nr_submit - 1;
	n.waiting_ns = n.waiting ? w->http.now_ns : 0;
	worker_load_publish(&w->load, &n, w->http.now_ns);
}

/* All complete requests of a batch in one go, so that one wake does for them. */
static void submit_jobs(struct worker *w)
{
	struct job *jobs[SUBMIT_MAX];
	struct list *pos;
	u32 nr = 0, taken;

	for (pos = w->http.submit.next; pos != &w->http.submit && nr < SUBMIT_MAX; pos = pos->next) {
		struct req *r = list_entry(pos, struct req, submit);

		r->job.queued_ns = w->http.now_ns;
		/* Before they go: from then on another thread may answer. */
		r->app = REQ_WITH_APP;
		jobs[nr++] = &r->job;
	}
	if (!w->conf->nr_threads)
		publish_inline(w);
	taken = app_submit(&w->app, jobs, nr, w->http.now_ns);
	for (u32 i = 0; i < nr; i++) {
		struct req *r = container_of(jobs[i], struct req, job);

		if (i >= taken) {
			r->app = REQ_FOR_APP; /* offered again */
			continue;
		}
		list_del(&r->submit);
		list_add_tail(&r->with_app, &w->with_app);
		w->http.nr_submit--;
		w->nr_with_app++;
	}
}

/* What the app had hijacked and gives back is served like what was just accepted. */
static void take_returned(struct worker *w)
{
	struct app_return *ret = app_take_returned(&w->app), *next;

	for (; ret; ret = next) {
		next = ret->next;
		if (conn_open_with(&w->conns, ret->fd, &h1_proto, ret->bytes, ret->len))
			log_limited(LOG_LEVEL_ERROR, "worker: no memory for a connection worker=%u",
				    w->id);
		free(ret);
	}
}

void worker_exchange(struct worker *w)
{
	take_returned(w);
	if (front_has_orders(w->front))
		front_carry_out(w->front);
	http_flush_lent(&w->http);
	conns_flush(&w->conns);
	for (;;) {
		bool any = reap_answers(w);

		if (any)
			conns_flush(&w->conns);
		if (!list_empty(&w->http.submit) && w->nr_with_app < w->app.max_jobs) {
			submit_jobs(w);
			any |= w->conf->nr_threads == 0;
		}
		if (!any)
			break;
	}
	w->http.nr_waiting = nr_unclaimed(w);
}
