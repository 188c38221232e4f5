/* SPDX-License-Identifier: MIT */
#include "server/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/admin.h"
#include "server/clock.h"
#include "server/log.h"
#include "server/loop.h"
#include "server/notify.h"
#include "server/pidfile.h"
#include "server/supervisor_state.h"
#include "server/title.h"

#define BACKOFF_MIN_MS 100u /* before one that died is replaced ... */
#define BACKOFF_MAX_MS 5000u /* ... doubled while they die before they are ready */
#define KILL_AFTER_MS 5000u /* after the time that a worker has for itself */

u64 supervisor_clock_ms(void)
{
	return monotonic_ns() / NSEC_PER_MSEC;
}

u64 supervisor_back_off(u32 *ms)
{
	*ms = *ms ? min(*ms * 2, BACKOFF_MAX_MS) : BACKOFF_MIN_MS;
	return supervisor_clock_ms() + *ms;
}

/* Which backend the workers will use; 0 or -errno. */
static int pick_backend(struct supervisor *s)
{
	const char *why = "";
	int err;

	s->backend = WORKER_EPOLL;
	if (s->conf->io_uring == IO_URING_OFF)
		return 0;
	err = loop_probe_uring(&why);
	if (!err) {
		s->backend = WORKER_URING;
		return 0;
	}
	if (s->conf->io_uring == IO_URING_ON) {
		log_error("io_uring: %s; --io-uring on needs it, auto would use epoll", why);
		return err;
	}
	log_info("io_uring: %s; using epoll", why);
	return 0;
}

void supervisor_stop(struct supervisor *s, enum stop_state stop)
{
	u32 wait = stop == STOP_DRAIN ? s->conf->graceful_timeout_ms : 0;

	if (stop <= s->stop)
		return;
	if (s->stop == STOP_NONE)
		notify("STOPPING=1");
	if (s->served)
		log_info(stop == STOP_DRAIN ? "supervisor: stopping, requests are finished first"
					    : "supervisor: stopping at once");
	s->stop = stop;
	s->kill_at_ms = supervisor_clock_ms() + wait + KILL_AFTER_MS;
	for (u32 i = 0; i < MAX_WORKERS; i++)
		steering_leaves(s, i);
	/* Ours go first: a listener that nobody serves must not take connections. */
	slots_close(&s->slots);
	workers_tell(s, stop == STOP_DRAIN ? CONTROL_DRAIN : CONTROL_STOP);
	mold_stop(s);
}

void supervisor_fail(struct supervisor *s, int status)
{
	if (s->stop == STOP_NONE)
		s->status = status;
	supervisor_stop(s, STOP_NOW);
}

/* --- from settings to serving --- */

static int open_stats(struct supervisor *s)
{
	const struct stats_area_config config = {
		.instance = s->conf->instance,
		.version = HYPERION_VERSION,
		.no_bpf = s->conf->no_bpf,
		.group = s->runas.change ? s->runas.gid : getegid(),
		.nr_workers = s->conf->nr_workers,
		.nr_threads = s->conf->no_app ? 0 : s->conf->nr_threads,
	};

	return stats_area_open(&s->stats, &config);
}

int supervisor_listen(struct supervisor *s)
{
	int err = pick_backend(s);

	s->nr_wanted = s->conf->nr_workers;
	slots_init(&s->slots, s->conf, s->nr_passed);
	if (!err)
		err = admin_read_token(s->conf);
	if (!err)
		err = logs_open(s);
	if (!err)
		err = slots_claim(&s->slots);
	if (!err)
		err = guard_check(&s->conf->guard);
	if (err || s->action == CONF_CHECK)
		return err;
	err = open_stats(s);
	if (!err)
		err = supervisor_guard(s);
	if (err)
		return err;
	post_open(s);
	observing_open(s);
	supervisor_ctl_open(s);
	s->listening = true;
	for (u32 i = 0; !err && i < s->nr_wanted; i++)
		err = slot_open(&s->slots, i);
	if (!err)
		steering_open(s);
	if (!err && s->conf->pidfile[0]) {
		err = pidfile_write(s->conf->pidfile);
		s->has_pidfile = !err;
	}
	return err ? err : supervisor_drop_privileges(s);
}

void supervisor_serves(struct supervisor *s)
{
	s->served = true;
	logs_use(s);
	supervisor_warn(s);
	supervisor_hello(s);
	notify("READY=1");
}

void supervisor_checked(struct supervisor *s)
{
	supervisor_warn(s);
	for (u32 b = 0; b < s->conf->nr_binds; b++)
		if (!bind_is_twin(&s->conf->binds[b]))
			printf("bind %s\n", s->conf->binds[b].text);
	printf("workers %u\nthreads %u\nloop %s\nenvironment %s\nthe settings are right%s\n",
	       s->nr_wanted, s->conf->nr_threads, s->backend == WORKER_URING ? "io_uring" : "epoll",
	       s->conf->environment, s->conf->no_app ? "" : ", the app loads");
	supervisor_stop(s, STOP_NOW);
}

/* --- the loop --- */

static void reap(struct supervisor *s)
{
	int status;
	pid_t pid;

	/* Children that are neither were forked by the app and left to us. */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == s->mold.pid)
			mold_died(s, status);
		else
			workers_died(s, pid, status);
	}
}

static void read_signals(struct supervisor *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGTERM:
		case SIGINT:
			supervisor_stop(s, s->served ? STOP_DRAIN : STOP_NOW);
			break;
		case SIGQUIT:
			supervisor_stop(s, STOP_NOW);
			break;
		case SIGHUP:
			logs_reopen(s);
			break;
		case SIGTTIN:
			workers_change(s, 1);
			break;
		case SIGTTOU:
			workers_change(s, -1);
			break;
		default:
			break;
		}
	}
}

static void kill_late(struct supervisor *s)
{
	if (s->mold.kill_at_ms && supervisor_clock_ms() >= s->mold.kill_at_ms) {
		s->mold.kill_at_ms = 0;
		kill(s->mold.pid, SIGKILL);
	}
	if (!s->kill_at_ms || supervisor_clock_ms() < s->kill_at_ms)
		return;
	s->kill_at_ms = 0;
	for (u32 i = 0; i < MAX_WORKERS; i++) {
		struct slot *slot = &s->slots.slots[i];

		if (slot->state == SLOT_EMPTY || !slot->pid)
			continue;
		log_warn("supervisor: killing a worker that does not stop worker=%u pid=%d", i,
			 (int)slot->pid);
		kill(slot->pid, SIGKILL);
	}
	if (s->mold.state != MOLD_NONE)
		kill(s->mold.pid, SIGKILL);
}

static u64 earlier(u64 a, u64 b)
{
	return !a ? b : !b ? a : min(a, b);
}

/* Until something has to be started or killed; -1 = for ever. */
static int time_to_wait(struct supervisor *s)
{
	u64 now = supervisor_clock_ms(), at = earlier(s->kill_at_ms, s->mold.kill_at_ms);

	at = earlier(at, supervisor_guard_sweep(s));
	at = earlier(at, supervisor_ctl_due_ms(s));

	for (u32 i = 0; workers_can_start(s) && i < s->nr_wanted; i++)
		if (s->slots.slots[i].state == SLOT_EMPTY)
			at = earlier(at, max(s->slots.slots[i].start_at_ms, now));
	if (!s->conf->no_app && s->mold.state == MOLD_NONE && s->stop == STOP_NONE)
		at = earlier(at, max(s->mold.start_at_ms, now));
	if (s->stop == STOP_NONE)
		at = earlier(at, steering_look_at(s));
	if (!at)
		return -1;
	return at > now ? (int)min(at - now, 60000ull) : 0;
}

static void wait_for_news(struct supervisor *s)
{
	struct pollfd fds[MAX_WORKERS + INBOX_MAX + CTL_CLIENTS + 3];
	nfds_t n = 0;

	fds[n++] = (struct pollfd){ .fd = s->signal_fd, .events = POLLIN };
	if (s->mold.state != MOLD_NONE && s->mold.control_fd >= 0)
		fds[n++] = (struct pollfd){ .fd = s->mold.control_fd, .events = POLLIN };
	for (u32 i = 0; i < MAX_WORKERS; i++)
		if (s->slots.slots[i].control_fd >= 0)
			fds[n++] = (struct pollfd){ .fd = s->slots.slots[i].control_fd,
						    .events = POLLIN };
	n += post_poll(s, fds + n);
	n += supervisor_ctl_poll(s, fds + n);
	if (poll(fds, n, time_to_wait(s)) < 0 && errno != EINTR)
		log_error("supervisor: poll: %s", strerror(errno));
}

static bool finished(const struct supervisor *s)
{
	return s->stop != STOP_NONE && !slots_any(&s->slots) && s->mold.state == MOLD_NONE;
}

static void watch(struct supervisor *s)
{
	while (!finished(s)) {
		mold_start(s);
		workers_start(s);
		if (finished(s))
			break;
		wait_for_news(s);
		mold_read(s);
		/* What a process said before it died comes before its death. */
		workers_read(s);
		read_signals(s);
		reap(s);
		post_pass_on(s);
		kill_late(s);
		steering_look(s);
		supervisor_ctl_turn(s);
	}
}

static int init_signals(struct supervisor *s)
{
	static const int signals[] = { SIGTERM, SIGINT,  SIGQUIT, SIGCHLD, SIGHUP,
				       SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	/* Not read: a log that nobody reads any more must not end us. */
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, &s->old_mask);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? -errno : 0;
}

static void clean_up(struct supervisor *s)
{
	slots_close(&s->slots);
	steering_close(s);
	guard_close(&s->guard);
	post_close(s);
	supervisor_ctl_close(s);
	observe_close(&s->observe);
	stats_area_close(&s->stats);
	if (s->listening)
		supervisor_remove_files(s);
	if (s->signal_fd >= 0)
		close(s->signal_fd);
	free(s->settings.p);
	free(s);
}

static int find_app(struct supervisor *s)
{
	const struct conf *conf = s->conf;

	if (conf->no_app)
		return runas_find(&s->runas, conf->user, conf->group, "") ? 2 : 0;
	if (access(conf->rackup, R_OK)) {
		log_error(
			"conf: %s: %s; name the rackup file, or use --no-app to serve without one: "
			"hyperion-bpf path/to/config.ru",
			conf->rackup, strerror(errno));
		return 1;
	}
	if (conf->config[0] && access(conf->config, R_OK)) {
		log_error("conf: --config %s: %s", conf->config, strerror(errno));
		return 2;
	}
	return runas_find(&s->runas, conf->user, conf->group, conf->rackup) ? 2 : 0;
}

int supervisor_run(struct conf *conf, enum conf_action action, int argc, char **argv)
{
	struct supervisor *s = calloc(1, sizeof(*s));
	char pid[16];
	int status;

	if (!s)
		return 1;
	s->conf = conf;
	s->action = action;
	s->argc = argc;
	s->argv = argv;
	s->signal_fd = s->mold.control_fd = s->log_fd = s->error_fd = -1;
	s->started_ms = supervisor_clock_ms();
	stats_area_init(&s->stats);
	guard_init(&s->guard);
	supervisor_ctl_init(s);
	/* Before anything is executed: they must not leak. */
	s->nr_passed = notify_listen_fds();
	slots_init(&s->slots, conf, 0);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("HYPERION_MASTER_PID", pid, 1);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	title_set("supervisor");
	s->status = find_app(s);
	if (!s->status && init_signals(s))
		s->status = 1;
	if (!s->status && conf->no_app) {
		s->status = supervisor_listen(s) ? 1 : 0;
		if (!s->status && action == CONF_CHECK)
			supervisor_checked(s);
	}
	if (!s->status)
		watch(s);
	status = s->status;
	clean_up(s);
	return status;
}
