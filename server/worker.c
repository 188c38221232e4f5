/* SPDX-License-Identifier: MIT */
#include "server/worker.h"

#include <stdlib.h>
#include <unistd.h>

#include "server/clock.h"
#include "server/control.h"
#include "server/front_conf.h"
#include "server/h1.h"
#include "server/log.h"
#include "server/title.h"
#include "server/worker_state.h"
#include "server/worker_stats.h"

#define TITLE_MS 1000 /* how often the process title may change */

_Static_assert(MAX_BINDS <= ACCEPTOR_MAX, "an acceptor has room for all addresses");

static void update_clock(struct worker *w)
{
	w->http.now_ns = monotonic_ns();
	date_set(&w->http.date, clock_ns(CLOCK_REALTIME_COARSE) / NSEC_PER_SEC);
}

void worker_wake(void *loop)
{
	loop_wake(loop);
}

static void touch(struct link *l)
{
	conn_touch(conn_of_link(l));
}

static void conn_closed(struct conns *cs)
{
	acceptor_conn_closed(&container_of(cs, struct worker, conns)->acceptor);
}

static void request_done(struct http *http, struct req *r)
{
	struct worker *w = container_of(http, struct worker, http);

	stats_request(&w->stats, r);
	if (w->logs)
		log_writer_add(&w->log, r);
}

/* Without an app there is no mold that has made it. */
static int init_front(struct worker *w, struct front *made)
{
	int err;

	w->front = made;
	if (!made) {
		err = front_init(&w->own_front);
		if (err)
			return err;
		w->front = &w->own_front;
		err = front_configure(w->front, w->conf);
		if (err)
			return err;
		front_preload_configured(w->front, w->conf);
	}
	return admin_add_routes(w->conf, w->front->routes);
}

static enum page_result page(struct http *http, struct req *r, struct answer *answer)
{
	return admin_page(&container_of(http, struct worker, http)->admin, r, answer);
}

static void init_admin(struct worker *w, int control_fd)
{
	admin_init(&w->admin, w->conf, &w->http, &w->stats.maps, control_fd, worker_wake, w->loop);
	w->http.page = page;
	w->http.admin_port = w->conf->admin_port;
}

static int init_log(struct worker *w, int fd)
{
	int err;

	if (w->conf->request_id) {
		err = reqid_init(&w->ids);
		if (err)
			return err;
		w->http.ids = &w->ids;
	}
	if (!w->conf->log_requests)
		return 0;
	err = log_writer_init(&w->log, w->loop, &w->wheel, fd, w->conf->log_format, w->id);
	if (err)
		return err;
	w->logs = true;
	w->http.keep = w->log.log.format.keep;
	return 0;
}

static u32 busy_threads(const struct worker *w)
{
	return w->has_app ? __atomic_load_n(&w->app.nr_running, __ATOMIC_RELAXED) : 0;
}

static void write_title(struct worker *w)
{
	w->title_conns = w->conns.nr;
	w->title_busy = busy_threads(w);
	if (w->has_app)
		title_set("worker %u%s [%u of %u threads busy, %u connections]", w->id,
			  w->http.draining ? " draining" : "", w->title_busy, w->conf->nr_threads,
			  w->title_conns);
	else
		title_set("worker %u%s [%u connections]", w->id,
			  w->http.draining ? " draining" : "", w->title_conns);
}

static void title_due(struct timer *t)
{
	write_title(container_of(t, struct worker, title_timer));
}

/* A change is shown within a second; an idle worker is not woken for it again. */
static void update_title(struct worker *w)
{
	if (!w->title_timer.pending &&
	    (w->conns.nr != w->title_conns || busy_threads(w) != w->title_busy))
		wheel_add(&w->wheel, &w->title_timer, worker_now_ms(w) + TITLE_MS);
}

static int init(struct worker *w, const struct worker_params *params)
{
	struct loop_config config = { .kind = params->backend == WORKER_URING ? LOOP_URING
									      : LOOP_EPOLL };
	int err = init_front(w, params->front);

	w->uses_uring = params->backend == WORKER_URING;
	if (err)
		return err;
	err = loop_new(&w->loop, &config);
	if (err)
		return err;
	packer_init(&w->packer, &w->front->files, worker_wake, w->loop);
	http_init(&w->http, &w->conf->limits, w->front->routes);
	w->http.done = request_done;
	w->http.named = &w->front->named;
	w->http.touch = touch;
	w->http.find_peer = conn_find_peer;
	update_clock(w);
	worker_stats_init(&w->stats, params->stats_fds, w->id, w->http.now_ns);
	stats_claim(&w->stats, w->front->routes);
	worker_load_init(&w->load, w->stats.steer, params->has_app ? w->conf->nr_threads : 1);
	if (w->stats.row) {
		stats_set(w->stats.row->uses_uring, w->uses_uring);
		stats_set(w->stats.row->nr_threads, params->has_app ? w->conf->nr_threads : 0);
	}
	wheel_init(&w->wheel, worker_now_ms(w));
	conns_init(&w->conns, w->loop, &w->http, &w->wheel);
	w->conns.closed = conn_closed;
	timer_init(&w->title_timer, title_due);
	init_admin(w, params->control_fd);
	err = worker_init_control(w, params->control_fd);
	if (!err)
		err = init_log(w, params->log_fd);
	if (!err)
		err = worker_init_app(w, params);
	rebalance_init(&w->rebalance, w->id, &w->conns, w->has_app ? &w->app : NULL, &w->stats,
		       &h1_proto, w->conf->max_connections);
	acceptor_init(&w->acceptor, &w->conns, &h1_proto, w->id, w->conf->max_connections);
	w->acceptor.row = w->stats.row;
	w->acceptor.observe_fd = w->stats.row ? params->observe_fd : -1;
	for (u32 i = 0; !err && i < w->conf->nr_binds; i++)
		err = acceptor_add(&w->acceptor, params->listeners[i]);
	return err;
}

/* --- the loop --- */

static s64 time_to_wait(const struct worker *w)
{
	s64 ms = wheel_next(&w->wheel);
	u64 at = ms < 0 ? UINT64_MAX : (w->wheel.now_ms + (u64)ms) * NSEC_PER_MSEC;
	u64 due = http_lent_due_ns(&w->http);

	if (due)
		at = min(at, due);
	if (at == UINT64_MAX)
		return -1;
	return at > w->http.now_ns ? (s64)(at - w->http.now_ns) : 0;
}

/* Sleeps until there is something to do; 0 or -errno. */
static int wait_for_events(struct worker *w)
{
	s64 timeout, look = -1;
	int err;

	if (w->has_app) {
		/* A hold is a sleep outside of the loop: what is queued leaves before it. */
		if (app_would_hold(&w->app, w->http.now_ns))
			loop_submit(w->loop);
		look = app_before_wait(&w->app, w->http.now_ns);
		if (look == 0) {
			/* Answers came during a hold: they leave with the enter below. */
			update_clock(w);
			worker_exchange(w);
		}
	}
	worker_publish_load(w);
	timeout = time_to_wait(w);
	if (look >= 0 && (timeout < 0 || look < timeout))
		timeout = look;
	err = loop_wait(w->loop, timeout);
	if (w->has_app)
		app_after_wait(&w->app);
	return err;
}

static bool finished(struct worker *w)
{
	if (w->state == WORKER_SERVING || w->conns.nr || !acceptor_closed(&w->acceptor))
		return false;
	/* Handlers whose clients are gone may end, too, while there is time. */
	if (w->state == WORKER_STOPPING)
		return true;
	return !w->nr_with_app && list_empty(&w->http.submit) && rebalance_done(&w->rebalance) &&
	       (!w->logs || log_writer_ended(&w->log));
}

static void update_stats(struct worker *w, u64 from_ns, u32 events)
{
	const struct worker_numbers n = {
		.conns = &w->conns,
		.app = w->has_app ? &w->app : NULL,
		.nr_with_app = w->nr_with_app,
		.draining = w->http.draining,
		.accept_errors = w->acceptor.nr_errors,
		.log_dropped = w->log.log.dropped,
	};
	u64 now = monotonic_ns();

	stats_turn(&w->stats, from_ns, now, events);
	worker_stats_publish(&w->stats, &n, now);
}

static int serve(struct worker *w)
{
	while (!finished(w)) {
		int err = wait_for_events(w);
		u64 from_ns;
		u32 events;

		if (err) {
			log_error("worker: the loop failed: %s worker=%u", strerror(-err), w->id);
			return 1;
		}
		update_clock(w);
		from_ns = w->http.now_ns;
		conns_turn(&w->conns);
		events = loop_dispatch(w->loop);
		packer_reap(&w->packer);
		wheel_advance(&w->wheel, worker_now_ms(w));
		admin_deliver(&w->admin);
		/* What epoll sends is sent within this turn: it took as long as the turn until here. */
		if (!w->uses_uring)
			w->http.now_ns = monotonic_ns();
		conns_flush(&w->conns);
		if (w->has_app)
			worker_exchange(w);
		if (w->logs)
			log_writer_flush(&w->log);
		update_title(w);
		rebalance_turn(&w->rebalance);
		update_stats(w, from_ns, events);
	}
	if (w->logs)
		log_writer_end(&w->log);
	return 0;
}

static void say_stats(const struct worker *w)
{
	const struct http_stats *s = &w->http.stats;

	log_debug("worker: served worker=%u requests=%llu refused=%llu cut=%llu "
		  "pending_rejections=%llu per_conn_rejections=%llu overtime=%llu",
		  w->id, (unsigned long long)s->requests, (unsigned long long)s->refused,
		  (unsigned long long)s->status[0], (unsigned long long)s->pending_rejections,
		  (unsigned long long)s->per_conn_rejections, (unsigned long long)s->overtime);
}

static void fini(struct worker *w)
{
	packer_fini(&w->packer);
	/* What is still in flight ends with the ring, before its memory goes. */
	admin_fini(&w->admin);
	loop_free(w->loop);
	conns_fini(&w->conns);
	http_fini(&w->http);
	if (w->logs)
		log_writer_fini(&w->log);
	front_fini(w->front);
	worker_stats_fini(&w->stats);
	if (w->has_app)
		app_fini(&w->app);
	free(w);
}

int worker_run(const struct worker_params *params)
{
	struct worker *w = aligned_alloc(64, sizeof(*w));
	int err = -ENOMEM, status;

	if (w) {
		memset(w, 0, sizeof(*w));
		w->id = params->id;
		w->conf = params->conf;
		err = init(w, params);
	}
	if (err) {
		log_error("worker: cannot start: %s worker=%u", strerror(-err), params->id);
		return 1;
	}
	if (w->has_app && params->started)
		params->started(params->arg, &w->app, loop_fd(w->loop), &w->rebalance);
	front_open(w->front, &w->http, worker_wake, w->loop);
	write_title(w);
	control_say(params->control_fd, CONTROL_READY, w->id);
	status = serve(w);
	front_close(w->front);
	say_stats(w);
	if (w->has_app && params->stopped)
		params->stopped(params->arg);
	/* So that a sanitizer sees what is left; with handlers still running it just exits. */
	if (status == 0 && !w->has_app)
		fini(w);
	return status;
}
