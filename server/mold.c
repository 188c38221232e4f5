/* SPDX-License-Identifier: MIT */
#include "server/mold.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "bpf/abi.h"
#include "ruby_glue/glue.h"
#include "server/child.h"
#include "server/conf.h"
#include "server/control.h"
#include "server/front_conf.h"
#include "server/log.h"
#include "server/privileges.h"
#include "server/rebalance.h"
#include "server/spawn.h"
#include "server/stats.h"
#include "server/title.h"
#include "server/worker.h"

#define STOP_GRACE_MS 1000u /* for handlers that still run when the worker ends */

struct mold {
	int control_fd;
	int log_fd; /* of the access log */
	struct conf *conf;
	struct conf_settings settings;
	struct front *front;
	const struct control *order; /* being carried out, with descriptors of a worker's; or NULL */
	bool forked; /* at least once */
};

/* A worker with Ruby: its main thread, seen from the I/O thread. */
struct ruby_worker {
	struct worker_params params;
	int started_fd, stopped_fd; /* eventfds */
	struct app *app; /* NULL until started, or if it could not */
	int loop_fd; /* of the I/O thread's ring or epoll set; -1 = none yet */
	const struct rebalance *rebalance; /* NULL until started */
	int status;
};

static void signal_fd(int fd)
{
	u64 one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		log_error("worker: eventfd: %s", strerror(errno));
}

/* --- a worker --- */

static void io_started(void *arg, struct app *app, int loop_fd, const struct rebalance *rb)
{
	struct ruby_worker *rw = arg;

	rw->app = app;
	rw->loop_fd = loop_fd;
	rw->rebalance = rb;
	signal_fd(rw->started_fd);
}

static void io_stopped(void *arg)
{
	struct ruby_worker *rw = arg;

	signal_fd(rw->stopped_fd);
}

static void *io_thread(void *arg)
{
	struct ruby_worker *rw = arg;

	rw->status = worker_run(&rw->params);
	/* Also when it could not start: then app is NULL. */
	signal_fd(rw->started_fd);
	return NULL;
}

/* A plain thread that no signal interrupts; Ruby's are Ruby's. */
static int start_io_thread(struct ruby_worker *rw, pthread_t *thread)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(thread, NULL, io_thread, rw);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

static int serve_threaded(struct ruby_worker *rw)
{
	u32 nr_threads = rw->params.conf->nr_threads;
	pthread_t thread;
	int err = start_io_thread(rw, &thread);

	if (err) {
		log_error("worker: cannot start the I/O thread: %s", strerror(-err));
		return 1;
	}
	glue_wait_readable(rw->started_fd);
	if (rw->app && glue_serve(rw->app, nr_threads, rw->stopped_fd, STOP_GRACE_MS))
		rw->status = 1;
	pthread_join(thread, NULL);
	return rw->status;
}

static void io_inline(void *arg)
{
	struct ruby_worker *rw = arg;

	rw->status = worker_run(&rw->params);
}

static int serve_inline(struct ruby_worker *rw)
{
	return glue_serve_inline(io_inline, rw) ? 1 : rw->status;
}

static struct glue_app app_settings(const struct conf *conf)
{
	return (struct glue_app){
		.rackup = conf->rackup,
		.environment = conf->environment,
		.inline_io = conf->nr_threads == 0,
		.request_id = conf->request_id,
		.multithread = conf->nr_threads > 1,
		.multiprocess = conf->nr_workers > 1,
		.default_port = 80,
	};
}

static void forked_from_worker(void *arg)
{
	const struct ruby_worker *rw = arg;

	child_close_inherited(rw->params.conf, rw->loop_fd);
	if (rw->rebalance)
		rebalance_forked(rw->rebalance);
	close(rw->params.control_fd);
	child_close_logs(rw->params.log_fd);
}

static u32 nr_stats_fds(const struct control *c)
{
	switch (c->text_len > 1 ? c->text[1] : '-') {
	case 's':
		return NR_STATS_MAPS;
	case 'o': /* and what observes connections */
		return NR_STATS_MAPS + 1;
	default:
		return 0;
	}
}

/* Its file may be the supervisor's alone to read. */
static void take_token(struct conf *conf, const struct control *c)
{
	size_t len = c->text_len > 2 ? min(c->text_len - 2, sizeof(conf->admin_token) - 1) : 0;

	memcpy(conf->admin_token, c->text + 2, len);
	conf->admin_token[len] = '\0';
}

/* A mapping of Ruby's own: its threads may count longer than the I/O thread has the other. */
static void lend_stats(const struct worker_params *params)
{
	struct stats_maps maps;

	/* That they are not there or not usable is said by the I/O thread. */
	if (!params->stats_fds || stats_maps_open(&maps, params->stats_fds))
		return;
	if (params->id < maps.header->nr_slots)
		glue_set_stats(&maps.workers[params->id], &maps.own[params->id]);
	else
		stats_maps_close(&maps);
}

/* The addresses are those of the sockets that came, whatever the config file says by now. */
static int take_listeners(struct conf *conf, const struct control *c)
{
	conf->nr_binds = c->nr_fds - 1 - nr_stats_fds(c);
	for (u32 b = 0; b < conf->nr_binds; b++)
		if (bind_take(c->fds[b + 1], &conf->binds[b]))
			return -EINVAL;
	return 0;
}

/* The app, and what it has to have in memory before the first request. */
static int load_app(struct mold *m, const struct glue_app *app)
{
	if (glue_load_app(app))
		return -1;
	front_preload_configured(m->front, m->conf);
	return glue_serve_assets(!m->conf->no_preload_static && !m->conf->nr_preloads);
}

static int worker_life(struct mold *m, const struct control *c)
{
	static const struct app_ops ops = { .run = glue_run_jobs, .trace = glue_trace };
	struct glue_app app = app_settings(m->conf);
	struct ruby_worker rw = {
		.params = {
			.id = c->number,
			.conf = m->conf,
			.backend = c->text_len && c->text[0] == 'u' ? WORKER_URING : WORKER_EPOLL,
			.listeners = c->fds + 1,
			.control_fd = c->fds[0],
			.log_fd = m->log_fd,
			.stats_fds = nr_stats_fds(c) ? c->fds + c->nr_fds - nr_stats_fds(c) : NULL,
			.observe_fd = nr_stats_fds(c) > NR_STATS_MAPS ? c->fds[c->nr_fds - 1] : -1,
			.has_app = true,
			.front = m->front,
			.started = io_started,
			.stopped = io_stopped,
			.app_ops = &ops,
			.arg = &rw,
		},
		.started_fd = eventfd(0, EFD_CLOEXEC),
		.stopped_fd = eventfd(0, EFD_CLOEXEC),
		.loop_fd = -1,
	};
	int status = 1;

	close(m->control_fd);
	glue_set_fork_cleanup(forked_from_worker, &rw);
	control_say(rw.params.control_fd, CONTROL_HELLO, rw.params.id);
	title_set("worker %u starting", rw.params.id);
	if (m->conf->pin)
		spawn_pin(rw.params.id);
	take_token(m->conf, c);
	lend_stats(&rw.params);
	if (take_listeners(m->conf, c) || rw.started_fd < 0 || rw.stopped_fd < 0 ||
	    (!m->conf->preload && load_app(m, &app)) || glue_worker_boot(rw.params.id))
		return glue_end(1);
	/* From here on the app's threads are not alone with it. */
	front_share(m->front);
	status = m->conf->nr_threads ? serve_threaded(&rw) : serve_inline(&rw);
	if (glue_worker_shutdown(rw.params.id))
		status = 1;
	return glue_end(status);
}

/* --- the mold --- */

static const char *take_setting(void *arg, const char *key, const char *value)
{
	struct mold *m = arg;
	const char *why = conf_check_setting(key, value);

	if (!why && conf_settings_add(&m->settings, key, value))
		why = "settable only with memory left";
	return why;
}

static void send_settings(const struct mold *m)
{
	for (size_t off = 0; off < m->settings.len;) {
		const char *key = m->settings.p + off;
		size_t len = strlen(key) + 1;
		struct control c = { .word = CONTROL_SETTING };

		len += strlen(key + len) + 1;
		if (len <= sizeof(c.text)) {
			memcpy(c.text, key, len);
			c.text_len = (u32)len;
			control_send(m->control_fd, &c);
		}
		off += len;
	}
	control_say(m->control_fd, CONTROL_SETTLED, 0);
}

static int refuse(const struct mold *m, int status)
{
	control_say(m->control_fd, CONTROL_FAILED, (u32)status);
	return glue_end(status);
}

/* The next order; false: the supervisor is gone. */
static bool next_order(const struct mold *m, struct control *c)
{
	int n;

	do {
		glue_wait_readable(m->control_fd);
		n = control_recv(m->control_fd, c, false);
	} while (n == -EAGAIN);
	return n > 0;
}

static void close_fds(const struct control *c)
{
	for (u32 i = 0; i < c->nr_fds; i++)
		close(c->fds[i]);
}

static void forked_from_mold(void *arg)
{
	const struct mold *m = arg;

	close(m->control_fd);
	child_close_logs(m->log_fd);
	if (m->order)
		close_fds(m->order);
}

static void take_logs(struct mold *m, const struct control *c)
{
	if (c->nr_fds != 2) {
		close_fds(c);
		return;
	}
	if (m->log_fd > STDERR_FILENO)
		close(m->log_fd);
	m->log_fd = c->fds[0];
	log_use(c->fds[1], m->conf->error_log[0]);
}

/* 0: on with the next order; else this process's exit status plus one. */
static int fork_worker(struct mold *m, const struct control *c)
{
	int who = 1;

	m->order = c;
	if (c->nr_fds >= 2 + nr_stats_fds(c) && c->nr_fds <= MAX_BINDS + 1 + nr_stats_fds(c)) {
		/* What it was to close would be shared by all workers. */
		if (!m->forked && glue_before_fork())
			return refuse(m, 1) + 1;
		m->forked = true;
		who = glue_fork();
	}
	if (who == 0)
		return worker_life(m, c) + 1;
	/* A failed fork shows as the end of file on the worker's control socket. */
	m->order = NULL;
	close_fds(c);
	return 0;
}

static void say_loaded(const struct mold *m)
{
	struct control c = { .word = CONTROL_LOADED };

	c.text_len = (u32)snprintf(c.text, sizeof(c.text), "%s", glue_ruby_version());
	control_send(m->control_fd, &c);
}

static int take_orders(struct mold *m)
{
	struct glue_app app = app_settings(m->conf);
	struct control c;

	while (next_order(m, &c)) {
		int left;

		switch (c.word) {
		case CONTROL_LOAD:
			if (m->conf->preload && load_app(m, &app))
				return refuse(m, 1);
			say_loaded(m);
			title_set("mold");
			break;
		case CONTROL_LOGS:
			take_logs(m, &c);
			break;
		case CONTROL_LEVEL:
			log_level_set((enum log_level)c.number);
			break;
		case CONTROL_FORK:
			left = fork_worker(m, &c);
			if (left)
				return left - 1;
			break;
		default:
			close_fds(&c);
			return glue_end(0);
		}
	}
	return glue_end(0);
}

int mold_run(int control_fd, int argc, char **argv)
{
	static struct conf conf; /* outlives all: workers are forked below this frame */
	static struct front front;
	struct mold m = {
		.control_fd = control_fd,
		.log_fd = STDOUT_FILENO,
		.conf = &conf,
		.front = &front,
	};
	int action;

	unsetenv(MOLD_ENV);
	fcntl(control_fd, F_SETFD, FD_CLOEXEC);
	title_set("mold loading");
	if (conf_read(&conf, NULL, argc, argv) < 0)
		return 2;
	/* Root has got them all by exec(), others what the file grants; only who says --user root means it. */
	if ((geteuid() != 0 || !conf.user[0]) && privileges_drop()) {
		log_error("mold: cannot give capabilities up");
		control_say(control_fd, CONTROL_FAILED, 1);
		return 1;
	}
	if (glue_boot(argc, argv, conf.rackup)) {
		control_say(control_fd, CONTROL_FAILED, 1);
		return 1;
	}
	spawn_release_signals();
	glue_set_fork_cleanup(forked_from_mold, &m);
	if (front_init(&front))
		return refuse(&m, 1);
	glue_set_front(&front);
	if (conf.config[0] && glue_read_config(conf.config, take_setting, &m))
		return refuse(&m, 2);
	action = conf_read(&conf, &m.settings, argc, argv);
	if (action < 0)
		return refuse(&m, 2);
	if (front_configure(&front, &conf))
		return refuse(&m, 1);
	/* To check the app is to load it, and there will be no worker to do so. */
	conf.preload |= action == CONF_CHECK;
	send_settings(&m);
	return take_orders(&m);
}
