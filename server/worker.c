/* SPDX-License-Identifier: MIT */
#include "server/worker.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/acceptor.h"
#include "server/admin.h"
#include "server/app.h"
#include "server/clock.h"
#include "server/conn.h"
#include "server/control.h"
#include "server/front_conf.h"
#include "server/h1.h"
#include "server/h1_answer.h"
#include "server/log.h"
#include "server/log_writer.h"
#include "server/loop.h"
#include "server/packer.h"
#include "server/slice.h"
#include "server/spill.h"
#include "server/title.h"
#include "server/wheel.h"
#include "server/worker_stats.h"

#define TITLE_MS 1000 /* how often the process title may change */
#define SUBMIT_MAX 256u /* jobs handed over at a time */
#define SLICE_NS (200 * NSEC_PER_USEC) /* of the I/O thread beside Ruby's */

enum worker_state {
	WORKER_SERVING,
	WORKER_DRAINING, /* no new connections; the others finish */
	WORKER_STOPPING, /* connections are being cut */
};

_Static_assert(MAX_BINDS <= ACCEPTOR_MAX, "an acceptor has room for all addresses");

struct worker {
	u32 id;
	const struct conf *conf;
	enum worker_state state;
	struct loop *loop;
	struct front *front, own_front; /* NULL until it stands */
	struct packer packer;
	struct http http;
	struct wheel wheel;
	struct conns conns;
	struct acceptor acceptor;
	struct io control;
	struct timer drain_timer, title_timer;
	u32 title_conns, title_busy; /* what the title says */
	bool logs; /* requests */
	struct log_writer log;
	struct reqid ids;
	bool has_app;
	u32 nr_with_app; /* jobs that the app has */
	bool uses_uring;
	struct stats stats;
	struct admin admin;
	struct app app;
};

static void update_clock(struct worker *w)
{
	w->http.now_ns = monotonic_ns();
	date_set(&w->http.date, clock_ns(CLOCK_REALTIME_COARSE) / NSEC_PER_SEC);
}

static u64 now_ms(const struct worker *w)
{
	return w->http.now_ns / NSEC_PER_MSEC;
}

static void conn_closed(struct conns *cs)
{
	acceptor_conn_closed(&container_of(cs, struct worker, conns)->acceptor);
}

static void stop(struct worker *w)
{
	if (w->state == WORKER_STOPPING)
		return;
	w->state = WORKER_STOPPING;
	acceptor_stop(&w->acceptor, ACCEPTOR_OFF);
	conns_close(&w->conns);
}

static void drain(struct worker *w)
{
	if (w->state != WORKER_SERVING)
		return;
	w->state = WORKER_DRAINING;
	w->http.draining = true;
	w->title_conns = UINT32_MAX; /* so that the title will say so */
	acceptor_stop(&w->acceptor, ACCEPTOR_DRAINING);
	conns_shutdown(&w->conns);
	wheel_add(&w->wheel, &w->drain_timer, now_ms(w) + w->conf->graceful_timeout_ms);
}

static void drained_too_long(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, drain_timer);

	log_warn("worker: graceful_timeout is over, cutting connections worker=%u connections=%u",
		 w->id, w->conns.nr);
	stop(w);
}

/* The supervisor has opened the logs anew. */
static void take_logs(struct worker *w, const struct control *c)
{
	if (c->nr_fds != 2) {
		for (u32 i = 0; i < c->nr_fds; i++)
			close(c->fds[i]);
		return;
	}
	log_use(c->fds[1], w->conf->error_log[0]);
	if (w->logs)
		log_writer_reopen(&w->log, c->fds[0]);
	else
		close(c->fds[0]);
}

static void control_ready(struct io *io, int revents)
{
	struct worker *w = container_of(io, struct worker, control);
	struct control c;
	int n;

	(void)revents;
	while ((n = control_recv(io->fd, &c, false)) > 0) {
		if (c.word == CONTROL_DRAIN)
			drain(w);
		else if (c.word == CONTROL_STOP)
			stop(w);
		else if (c.word == CONTROL_LOGS)
			take_logs(w, &c);
	}
	if (n == -EAGAIN && loop_poll(w->loop, io, POLLIN) == -EINPROGRESS)
		return;
	/* The supervisor is gone: nobody will replace or stop us. */
	drain(w);
}

static void request_done(struct http *http, struct req *r)
{
	struct worker *w = container_of(http, struct worker, http);

	stats_request(&w->stats, r);
	if (w->logs)
		log_writer_add(&w->log, r);
}

static const struct io_ops control_ops = { .ready = control_ready };

static void touch(struct link *l)
{
	conn_touch(conn_of_link(l));
}

static void wake_loop(void *arg)
{
	loop_wake(arg);
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
	admin_init(&w->admin, w->conf, &w->http, &w->stats.maps, control_fd, wake_loop, w->loop);
	w->http.page = page;
	w->http.admin_port = w->conf->admin_port;
	w->http.touch = touch;
	w->http.find_peer = conn_find_peer;
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
	w->http.find_peer = conn_find_peer;
	if (!w->conf->log_requests)
		return 0;
	err = log_writer_init(&w->log, w->loop, &w->wheel, fd, w->conf->log_format, w->id);
	if (err)
		return err;
	w->logs = true;
	w->http.keep = w->log.log.format.keep;
	return 0;
}

/* --- the app --- */

static int init_app(struct worker *w, const struct worker_params *params)
{
	int err;

	if (!params->has_app)
		return 0;
	err = app_init(&w->app, w->conf->nr_threads, w->conf->max_pending, wake_loop, w->loop);
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
		if (last)
			note_times(w, r);
		if (l) {
			l->proto->answer(l, r, a);
			touch(l);
			continue;
		}
		answer_drop(a);
		if (last)
			req_returned(r);
	}
	return any;
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
	taken = app_submit(&w->app, jobs, nr, w->http.now_ns);
	for (u32 i = 0; i < nr; i++) {
		struct req *r = container_of(jobs[i], struct req, job);

		if (i >= taken) {
			r->app = REQ_FOR_APP; /* offered again */
			continue;
		}
		list_del(&r->submit);
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

/* Jobs out, answers in, until both lie still. Inline, each round runs handlers. */
static void exchange(struct worker *w)
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
	w->http.nr_waiting = ring_count(&w->app.jobs);
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
		wheel_add(&w->wheel, &w->title_timer, now_ms(w) + TITLE_MS);
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
	packer_init(&w->packer, &w->front->files, wake_loop, w->loop);
	http_init(&w->http, &w->conf->limits, w->front->routes);
	w->http.done = request_done;
	w->http.named = &w->front->named;
	update_clock(w);
	worker_stats_init(&w->stats, params->stats_fds, w->id, w->http.now_ns);
	stats_claim(&w->stats, w->front->routes);
	if (w->stats.row) {
		stats_set(w->stats.row->uses_uring, params->backend == WORKER_URING);
		stats_set(w->stats.row->nr_threads, params->has_app ? w->conf->nr_threads : 0);
	}
	wheel_init(&w->wheel, now_ms(w));
	conns_init(&w->conns, w->loop, &w->http, &w->wheel);
	w->conns.closed = conn_closed;
	timer_init(&w->drain_timer, drained_too_long);
	timer_init(&w->title_timer, title_due);
	init_admin(w, params->control_fd);
	err = loop_add_plain(w->loop, &w->control, params->control_fd, &control_ops);
	if (!err && loop_poll(w->loop, &w->control, POLLIN) != -EINPROGRESS)
		err = -EIO;
	if (!err)
		err = init_log(w, params->log_fd);
	if (!err)
		err = init_app(w, params);
	acceptor_init(&w->acceptor, &w->conns, &h1_proto, w->id, w->conf->max_connections);
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
			exchange(w);
		}
	}
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
	return !w->nr_with_app && list_empty(&w->http.submit) &&
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
		wheel_advance(&w->wheel, now_ms(w));
		admin_deliver(&w->admin);
		/* What epoll sends is sent within this turn: it took as long as the turn until here. */
		if (!w->uses_uring)
			w->http.now_ns = monotonic_ns();
		conns_flush(&w->conns);
		if (w->has_app)
			exchange(w);
		if (w->logs)
			log_writer_flush(&w->log);
		update_title(w);
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
	stats_fini(&w->stats);
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
		params->started(params->arg, &w->app, loop_fd(w->loop));
	front_open(w->front, &w->http, wake_loop, w->loop);
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
