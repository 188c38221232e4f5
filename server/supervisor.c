/* SPDX-License-Identifier: MIT */
#include "server/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/control.h"
#include "server/log.h"
#include "server/loop.h"
#include "server/notify.h"
#include "server/pidfile.h"
#include "server/runas.h"
#include "server/slot.h"
#include "server/spawn.h"
#include "server/title.h"
#include "server/worker.h"

#define BACKOFF_MIN_MS 100u /* before one that died is replaced ... */
#define BACKOFF_MAX_MS 5000u /* ... doubled while they die before they are ready */
#define SETTLED_MS 1000u /* one that has served for so long is replaced at once */
#define KILL_AFTER_MS 5000u /* after the time that a worker has for itself */

enum mold_state {
	MOLD_NONE,
	MOLD_SETTLING, /* reads the config file */
	MOLD_LOADING, /* loads the app */
	MOLD_READY, /* forks */
	MOLD_LEAVING, /* was told to go, or goes by itself */
};

enum stop_state { STOP_NONE, STOP_DRAIN, STOP_NOW };

struct mold {
	enum mold_state state;
	pid_t pid;
	int control_fd;
	u32 backoff_ms;
	u64 start_at_ms;
};

struct supervisor {
	struct conf *conf;
	enum conf_action action;
	int argc;
	char **argv;
	struct runas runas;
	struct conf_settings settings;
	enum worker_backend backend;
	int signal_fd;
	sigset_t old_mask;
	enum stop_state stop;
	u64 kill_at_ms; /* 0 = never */
	int status; /* to exit with */
	bool listening, has_pidfile;
	bool served; /* all workers were ready once */
	u32 nr_passed; /* sockets from systemd */
	u32 nr_wanted;
	struct mold mold;
	struct slots slots;
};

static u64 clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * MSEC_PER_SEC + (u64)ts.tv_nsec / NSEC_PER_MSEC;
}

static u64 back_off(u32 *ms)
{
	*ms = *ms ? min(*ms * 2, BACKOFF_MAX_MS) : BACKOFF_MIN_MS;
	return clock_ms() + *ms;
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

static void tell(struct slot *slot, enum control_word word)
{
	if (slot->state == SLOT_EMPTY)
		return;
	slot->state = SLOT_LEAVING;
	if (slot->control_fd >= 0)
		control_say(slot->control_fd, word, 0);
}

static void stop_mold(struct mold *m)
{
	/* Before it waits for orders it does not listen, and has nothing to lose. */
	if (m->state == MOLD_READY)
		control_say(m->control_fd, CONTROL_STOP, 0);
	else if (m->state == MOLD_SETTLING || m->state == MOLD_LOADING)
		kill(m->pid, SIGKILL);
	if (m->state != MOLD_NONE)
		m->state = MOLD_LEAVING;
}

static void stop_all(struct supervisor *s, enum stop_state stop)
{
	u32 wait = stop == STOP_DRAIN ? s->conf->graceful_timeout_ms : 0;

	if (stop <= s->stop)
		return;
	if (s->served)
		log_info(stop == STOP_DRAIN ? "supervisor: stopping, requests are finished first"
					    : "supervisor: stopping at once");
	notify("STOPPING=1");
	s->stop = stop;
	s->kill_at_ms = clock_ms() + wait + KILL_AFTER_MS;
	/* Ours go first: a listener that nobody serves must not take connections. */
	slots_close(&s->slots);
	for (u32 i = 0; i < MAX_WORKERS; i++)
		tell(&s->slots.slots[i], stop == STOP_DRAIN ? CONTROL_DRAIN : CONTROL_STOP);
	stop_mold(&s->mold);
}

/* It cannot serve at all. */
static void fail(struct supervisor *s, int status)
{
	if (s->stop == STOP_NONE)
		s->status = status;
	stop_all(s, STOP_NOW);
}

/* --- listening, and the workers --- */

static void say_hello(const struct supervisor *s)
{
	const struct conf *conf = s->conf;

	for (u32 b = 0; b < conf->nr_binds; b++)
		log_info("listening on %s", conf->binds[b].text);
	log_info("hyperion-bpf %s workers=%u threads=%u loop=%s environment=%s pid=%d",
		 HYPERION_VERSION, s->nr_wanted, conf->no_app ? 0 : conf->nr_threads,
		 s->backend == WORKER_URING ? "io_uring" : "epoll", conf->environment, (int)getpid());
}

/* The settings are known: everything that can fail before the app is loaded. */
static int begin_listening(struct supervisor *s)
{
	int err = pick_backend(s);

	s->nr_wanted = s->conf->nr_workers;
	slots_init(&s->slots, s->conf, s->nr_passed);
	if (!err)
		err = slots_claim(&s->slots);
	if (err || s->action == CONF_CHECK)
		return err;
	s->listening = true;
	for (u32 i = 0; !err && i < s->nr_wanted; i++)
		err = slot_open(&s->slots, i);
	if (!err && s->conf->pidfile[0]) {
		err = pidfile_write(s->conf->pidfile);
		s->has_pidfile = !err;
	}
	return err;
}

/* A worker without Ruby is our own child. */
static int fork_plain(struct supervisor *s, u32 id, int control_fd)
{
	struct slot *slot = &s->slots.slots[id];
	struct worker_params params = {
		.id = id,
		.conf = s->conf,
		.backend = s->backend,
		.listeners = slot->listeners,
		.control_fd = control_fd,
	};

	return spawn_worker(&s->runas, &params, &s->old_mask, &slot->pid);
}

static int ask_mold(struct supervisor *s, u32 id, int control_fd)
{
	struct control c = { .word = CONTROL_FORK, .number = id };

	c.fds[c.nr_fds++] = control_fd;
	for (u32 b = 0; b < s->conf->nr_binds; b++)
		c.fds[c.nr_fds++] = s->slots.slots[id].listeners[b];
	c.text[0] = s->backend == WORKER_URING ? 'u' : 'e';
	c.text_len = 1;
	return control_send(s->mold.control_fd, &c);
}

static int start_worker(struct supervisor *s, u32 id)
{
	struct slot *slot = &s->slots.slots[id];
	int pair[2], err = control_pair(pair);

	if (err)
		return err;
	slot->pid = 0;
	err = s->conf->no_app ? fork_plain(s, id, pair[1]) : ask_mold(s, id, pair[1]);
	close(pair[1]);
	if (err) {
		close(pair[0]);
		return err;
	}
	slot->control_fd = pair[0];
	slot->state = SLOT_STARTING;
	slot->ready_at_ms = 0;
	return 0;
}

static bool can_start(const struct supervisor *s)
{
	return s->stop == STOP_NONE && s->listening &&
	       (s->conf->no_app || s->mold.state == MOLD_READY);
}

static void fill_slots(struct supervisor *s)
{
	for (u32 i = 0; can_start(s) && i < s->nr_wanted; i++) {
		struct slot *slot = &s->slots.slots[i];
		int err;

		if (slot->state != SLOT_EMPTY || clock_ms() < slot->start_at_ms)
			continue;
		if (slot_open(&s->slots, i)) {
			s->nr_wanted = max(i, 1u);
			return;
		}
		err = start_worker(s, i);
		if (err) {
			log_error("supervisor: cannot start a worker: %s worker=%u", strerror(-err),
				  i);
			slot->start_at_ms = back_off(&slot->backoff_ms);
		}
	}
}

/* Nobody is in the slot any more. */
static void empty_slot(struct supervisor *s, struct slot *slot)
{
	if (slot->control_fd >= 0)
		close(slot->control_fd);
	slot->control_fd = -1;
	slot->state = SLOT_EMPTY;
	slot->pid = 0;
	if (slot->ready_at_ms) {
		u64 lived = clock_ms() - slot->ready_at_ms;

		slot->backoff_ms = 0;
		slot->start_at_ms = lived < SETTLED_MS ? back_off(&slot->backoff_ms) : 0;
		return;
	}
	slot->start_at_ms = back_off(&slot->backoff_ms);
	if (!s->served && s->stop == STOP_NONE) {
		log_error("supervisor: a worker died while starting; nothing was served");
		fail(s, 1);
	}
}

static void say_exit(const struct supervisor *s, const struct slot *slot, int status)
{
	u32 id = (u32)(slot - s->slots.slots);

	if (WIFSIGNALED(status))
		log_warn("supervisor: worker killed by signal %d (%s) worker=%u pid=%d",
			 WTERMSIG(status), strsignal(WTERMSIG(status)), id, (int)slot->pid);
	else if (slot->state != SLOT_LEAVING || WEXITSTATUS(status))
		log_warn("supervisor: worker exited with status %d worker=%u pid=%d",
			 WEXITSTATUS(status), id, (int)slot->pid);
}

static void became_ready(struct supervisor *s, struct slot *slot)
{
	if (slot->state == SLOT_STARTING)
		slot->state = SLOT_READY;
	slot->ready_at_ms = clock_ms();
	for (u32 i = 0; i < s->nr_wanted; i++)
		if (!s->slots.slots[i].ready_at_ms)
			return;
	if (s->served)
		return;
	s->served = true;
	say_hello(s);
	notify("READY=1");
}

static void read_worker(struct supervisor *s, struct slot *slot)
{
	struct control c;
	int n;

	while (slot->control_fd >= 0 && (n = control_recv(slot->control_fd, &c, false)) != -EAGAIN) {
		if (n <= 0) {
			/* With a known pid the wait for it says how it ended. */
			close(slot->control_fd);
			slot->control_fd = -1;
			if (!slot->pid)
				empty_slot(s, slot);
			return;
		}
		if (c.word == CONTROL_HELLO)
			slot->pid = c.pid;
		else if (c.word == CONTROL_READY)
			became_ready(s, slot);
	}
}

static void change_workers(struct supervisor *s, int by)
{
	u32 wanted = s->nr_wanted + (u32)by;

	if (s->stop != STOP_NONE || !s->served || wanted < 1 || wanted > MAX_WORKERS)
		return;
	s->nr_wanted = wanted;
	log_info("supervisor: workers=%u", wanted);
	if (by > 0)
		return;
	/* Its share of the group ends with the last copy of its listeners. */
	tell(&s->slots.slots[wanted], CONTROL_DRAIN);
	slot_close(&s->slots, wanted);
}

/* --- the mold --- */

static void start_mold(struct supervisor *s)
{
	struct mold *m = &s->mold;
	int err;

	if (s->conf->no_app || m->state != MOLD_NONE || s->stop != STOP_NONE ||
	    clock_ms() < m->start_at_ms)
		return;
	err = spawn_mold(&s->runas, s->argv, &s->old_mask, &m->pid, &m->control_fd);
	if (err) {
		log_error("supervisor: cannot start the mold: %s", strerror(-err));
		if (!s->served)
			fail(s, 1);
		m->start_at_ms = back_off(&m->backoff_ms);
		return;
	}
	m->state = MOLD_SETTLING;
}

static void mold_settled(struct supervisor *s)
{
	/* A replacement reads the file again; what it says now is for the next start. */
	if (!s->listening) {
		int action = conf_read(s->conf, &s->settings, s->argc, s->argv);

		if (action < 0 || begin_listening(s)) {
			fail(s, action < 0 ? 2 : 1);
			return;
		}
	}
	s->mold.state = MOLD_LOADING;
	control_say(s->mold.control_fd, CONTROL_LOAD, 0);
}

static void check_done(struct supervisor *s)
{
	for (u32 b = 0; b < s->conf->nr_binds; b++)
		printf("bind %s\n", s->conf->binds[b].text);
	printf("workers %u\nthreads %u\nloop %s\nenvironment %s\nthe settings are right%s\n",
	       s->nr_wanted, s->conf->nr_threads, s->backend == WORKER_URING ? "io_uring" : "epoll",
	       s->conf->environment, s->conf->no_app ? "" : ", the app loads");
	stop_all(s, STOP_NOW);
}

static void take_setting(struct supervisor *s, const struct control *c)
{
	size_t key_len = strnlen(c->text, c->text_len);

	if (!s->listening && c->text_len > key_len + 1 && c->text[c->text_len - 1] == '\0' &&
	    conf_settings_add(&s->settings, c->text, c->text + key_len + 1))
		fail(s, 1);
}

static void read_mold(struct supervisor *s)
{
	struct mold *m = &s->mold;
	struct control c;
	int n;

	while (m->state != MOLD_NONE && m->control_fd >= 0 &&
	       (n = control_recv(m->control_fd, &c, false)) != -EAGAIN) {
		if (n <= 0) {
			close(m->control_fd);
			m->control_fd = -1;
			return;
		}
		switch (c.word) {
		case CONTROL_SETTING:
			take_setting(s, &c);
			break;
		case CONTROL_SETTLED:
			mold_settled(s);
			break;
		case CONTROL_LOADED:
			m->state = MOLD_READY;
			m->backoff_ms = 0;
			if (s->action == CONF_CHECK)
				check_done(s);
			break;
		case CONTROL_FAILED:
			/* It ends by itself: what the app has for its exit still runs. */
			m->state = MOLD_LEAVING;
			/* The first one decides; a replacement is tried again. */
			if (!s->served)
				fail(s, (int)c.number);
			break;
		default:
			break;
		}
	}
}

static void mold_died(struct supervisor *s, int status)
{
	struct mold *m = &s->mold;

	if (m->control_fd >= 0)
		close(m->control_fd);
	m->control_fd = -1;
	m->state = MOLD_NONE;
	m->pid = 0;
	if (s->stop != STOP_NONE)
		return;
	log_warn("supervisor: the mold died (%s %d)%s", WIFSIGNALED(status) ? "signal" : "status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
		 s->served ? ", starting another; workers go on" : " before anything was served");
	if (!s->served) {
		fail(s, WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
		return;
	}
	m->start_at_ms = back_off(&m->backoff_ms);
}

/* --- the loop --- */

/* It may have died just behind our last look at what it says. */
static struct slot *find_slot(struct supervisor *s, pid_t pid)
{
	struct slot *slot = slots_find(&s->slots, pid);

	for (u32 i = 0; !slot && i < MAX_WORKERS; i++) {
		if (s->slots.slots[i].state == SLOT_EMPTY || s->slots.slots[i].pid)
			continue;
		read_worker(s, &s->slots.slots[i]);
		slot = slots_find(&s->slots, pid);
	}
	return slot;
}

static void reap(struct supervisor *s)
{
	int status;
	pid_t pid;

	/* Children that are neither were forked by the app and left to us. */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct slot *slot = find_slot(s, pid);

		if (pid == s->mold.pid) {
			mold_died(s, status);
		} else if (slot) {
			say_exit(s, slot, status);
			empty_slot(s, slot);
		}
	}
}

static void read_signals(struct supervisor *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGTERM:
		case SIGINT:
			stop_all(s, s->served ? STOP_DRAIN : STOP_NOW);
			break;
		case SIGQUIT:
			stop_all(s, STOP_NOW);
			break;
		case SIGTTIN:
			change_workers(s, 1);
			break;
		case SIGTTOU:
			change_workers(s, -1);
			break;
		default:
			break;
		}
	}
}

static void kill_late(struct supervisor *s)
{
	if (!s->kill_at_ms || clock_ms() < s->kill_at_ms)
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
static int time_to_wait(const struct supervisor *s)
{
	u64 now = clock_ms(), at = s->kill_at_ms;

	for (u32 i = 0; can_start(s) && i < s->nr_wanted; i++)
		if (s->slots.slots[i].state == SLOT_EMPTY)
			at = earlier(at, max(s->slots.slots[i].start_at_ms, now));
	if (!s->conf->no_app && s->mold.state == MOLD_NONE && s->stop == STOP_NONE)
		at = earlier(at, max(s->mold.start_at_ms, now));
	if (!at)
		return -1;
	return at > now ? (int)min(at - now, 60000ull) : 0;
}

static void wait_for_news(struct supervisor *s)
{
	struct pollfd fds[MAX_WORKERS + 2];
	nfds_t n = 0;

	fds[n++] = (struct pollfd){ .fd = s->signal_fd, .events = POLLIN };
	if (s->mold.state != MOLD_NONE && s->mold.control_fd >= 0)
		fds[n++] = (struct pollfd){ .fd = s->mold.control_fd, .events = POLLIN };
	for (u32 i = 0; i < MAX_WORKERS; i++)
		if (s->slots.slots[i].control_fd >= 0)
			fds[n++] = (struct pollfd){ .fd = s->slots.slots[i].control_fd,
						    .events = POLLIN };
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
		start_mold(s);
		fill_slots(s);
		if (finished(s))
			break;
		wait_for_news(s);
		read_mold(s);
		/* What a process said before it died comes before its death. */
		for (u32 i = 0; i < MAX_WORKERS; i++)
			read_worker(s, &s->slots.slots[i]);
		read_signals(s);
		reap(s);
		kill_late(s);
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
	if (s->listening) {
		for (u32 b = s->slots.nr_inherited; b < s->conf->nr_binds; b++)
			bind_unlink(&s->conf->binds[b]);
		if (s->has_pidfile)
			pidfile_remove(s->conf->pidfile);
	}
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
			"conf: %s: %s; name the rackup file, or use --no-app to serve without one",
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
	s->signal_fd = s->mold.control_fd = -1;
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
		s->status = begin_listening(s) ? 1 : 0;
		if (!s->status && action == CONF_CHECK)
			check_done(s);
	}
	if (!s->status)
		watch(s);
	status = s->status;
	clean_up(s);
	return status;
}
