/* SPDX-License-Identifier: MIT */
/* What the supervisor tells a worker, and how it ends. */
#include <poll.h>
#include <unistd.h>

#include "server/control.h"
#include "server/log.h"
#include "server/worker_state.h"

static void stop(struct worker *w)
{
	if (w->state == WORKER_STOPPING)
		return;
	w->state = WORKER_STOPPING;
	acceptor_stop(&w->acceptor, ACCEPTOR_OFF);
	rebalance_stop(&w->rebalance);
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
	rebalance_stop(&w->rebalance);
	conns_shutdown(&w->conns);
	wheel_add(&w->wheel, &w->drain_timer, worker_now_ms(w) + w->conf->graceful_timeout_ms);
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
		else if (c.word == CONTROL_INBOXES)
			rebalance_open(&w->rebalance, c.fds, c.nr_fds);
		else if (c.word == CONTROL_LEVEL)
			log_level_set((enum log_level)c.number);
		else if (c.word == CONTROL_TRACE)
			worker_trace(w, &c);
	}
	if (n == -EAGAIN && loop_poll(w->loop, io, POLLIN) == -EINPROGRESS)
		return;
	/* The supervisor is gone: nobody will replace or stop us. */
	drain(w);
}

static const struct io_ops control_ops = { .ready = control_ready };

int worker_init_control(struct worker *w, int fd)
{
	int err = loop_add_plain(w->loop, &w->control, fd, &control_ops);

	timer_init(&w->drain_timer, drained_too_long);
	if (!err && loop_poll(w->loop, &w->control, POLLIN) != -EINPROGRESS)
		err = -EIO;
	return err;
}
