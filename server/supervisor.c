/* SPDX-License-Identifier: MIT */
#include "server/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/control.h"
#include "server/log.h"
#include "server/loop.h"
#include "server/worker.h"

#define BACKOFF_MIN_MS 100u /* before a worker that died is replaced ... */
#define BACKOFF_MAX_MS 5000u /* ... doubled while they die before they are ready */

struct slot {
	pid_t pid; /* 0 = empty */
	int control_fd;
	bool ready, leaving;
	u32 backoff_ms;
	u64 start_at_ms; /* when an empty slot is filled again; 0 = never */
	int listeners[MAX_BINDS];
};

enum stop_state { STOP_NONE, STOP_DRAIN, STOP_NOW };

struct supervisor {
	const struct conf *conf;
	bool uring;
	int signal_fd;
	sigset_t old_mask;
	enum stop_state stop;
	u32 nr_wanted;
	struct slot slots[MAX_WORKERS];
};

static u64 clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * MSEC_PER_SEC + (u64)ts.tv_nsec / NSEC_PER_MSEC;
}

int supervisor_pick_backend(const struct conf *conf, bool *uring)
{
	const char *why = "";
	int err;

	*uring = false;
	if (conf->io_uring == IO_URING_OFF)
		return 0;
	err = loop_probe_uring(&why);
	*uring = !err;
	if (!err)
		return 0;
	if (conf->io_uring == IO_URING_ON) {
		log_error("io_uring: %s; --io-uring on needs it, auto would use epoll", why);
		return err;
	}
	log_info("io_uring: %s; using epoll", why);
	return 0;
}

static void listen_failed(const struct bind *b, int err)
{
	const char *hint = "";

	if (err == -EADDRINUSE)
		hint = "; another process listens there, choose another --bind or stop it";
	else if (err == -EACCES)
		hint = "; ports below 1024 need CAP_NET_BIND_SERVICE, paths write permission";
	else if (err == -EADDRNOTAVAIL)
		hint = "; no interface of this host has that address";
	log_error("listen: --bind %s: %s%s", b->text, strerror(-err), hint);
}

/*
 * One socket per address and slot, so that the kernel spreads connections.
 * The first of an address is bound alone first: SO_REUSEPORT would let a
 * second server of the same user in without a word.
 */
static int claim_addresses(const struct conf *conf)
{
	for (u32 b = 0; b < conf->nr_binds; b++) {
		int fd;

		if (bind_is_unix(&conf->binds[b]))
			continue;
		fd = bind_listen(&conf->binds[b], 1);
		if (fd < 0) {
			listen_failed(&conf->binds[b], fd);
			return fd;
		}
		close(fd);
	}
	return 0;
}

static void close_slot_listeners(struct supervisor *s, struct slot *slot)
{
	for (u32 b = 0; b < s->conf->nr_binds; b++) {
		bool shared = bind_is_unix(&s->conf->binds[b]) && slot != &s->slots[0];

		if (slot->listeners[b] >= 0 && !shared)
			close(slot->listeners[b]);
		slot->listeners[b] = -1;
	}
}

static int open_slot(struct supervisor *s, u32 id)
{
	struct slot *slot = &s->slots[id];

	for (u32 b = 0; b < s->conf->nr_binds; b++) {
		const struct bind *bind = &s->conf->binds[b];
		int fd = bind_is_unix(bind) && id > 0 ? s->slots[0].listeners[b]
						      : bind_listen(bind, MAX_WORKERS);

		if (fd < 0) {
			listen_failed(bind, fd);
			return fd;
		}
		slot->listeners[b] = fd;
	}
	return 0;
}

static void nothing(int sig)
{
	(void)sig;
}

/*
 * A terminal's Ctrl-C reaches the whole group, but a worker stops only by its
 * control socket. Handlers rather than SIG_IGN, which children inherit.
 */
static void ignore_signals(void)
{
	static const int signals[] = { SIGINT,  SIGTERM, SIGHUP,  SIGQUIT,
				       SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU };
	struct sigaction sa = { .sa_handler = nothing, .sa_flags = SA_RESTART };

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &sa, NULL);
}

static void pin_to_cpu(u32 id)
{
	cpu_set_t have, want;
	u32 left;

	if (sched_getaffinity(0, sizeof(have), &have) || CPU_COUNT(&have) == 0)
		return;
	left = id % (u32)CPU_COUNT(&have);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &have) || left--)
			continue;
		CPU_ZERO(&want);
		CPU_SET(cpu, &want);
		sched_setaffinity(0, sizeof(want), &want);
		return;
	}
}

static _Noreturn void become_worker(struct supervisor *s, u32 id, int control_fd)
{
	struct slot *mine = &s->slots[id];
	struct worker_params params = {
		.id = id,
		.conf = s->conf,
		.backend = s->uring ? WORKER_URING : WORKER_EPOLL,
		.listeners = mine->listeners,
		.control_fd = control_fd,
	};

	ignore_signals();
	sigprocmask(SIG_SETMASK, &s->old_mask, NULL);
	close(s->signal_fd);
	for (u32 i = 0; i < MAX_WORKERS; i++) {
		if (i == id)
			continue;
		if (s->slots[i].pid)
			close(s->slots[i].control_fd);
		for (u32 b = 0; b < s->conf->nr_binds; b++)
			if (!bind_is_unix(&s->conf->binds[b]) && s->slots[i].listeners[b] >= 0)
				close(s->slots[i].listeners[b]);
	}
	if (s->conf->pin)
		pin_to_cpu(id);
	exit(worker_run(&params));
}

static int start_worker(struct supervisor *s, u32 id)
{
	struct slot *slot = &s->slots[id];
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	pid = fork();
	if (pid < 0) {
		int err = -errno;

		close(pair[0]);
		close(pair[1]);
		return err;
	}
	if (pid == 0) {
		close(pair[0]);
		become_worker(s, id, pair[1]);
	}
	close(pair[1]);
	slot->pid = pid;
	slot->control_fd = pair[0];
	slot->ready = slot->leaving = false;
	slot->start_at_ms = 0;
	return 0;
}

static void later(struct slot *slot)
{
	slot->backoff_ms =
		slot->backoff_ms ? min(slot->backoff_ms * 2, BACKOFF_MAX_MS) : BACKOFF_MIN_MS;
	slot->start_at_ms = clock_ms() + slot->backoff_ms;
}

static void fill_slots(struct supervisor *s)
{
	for (u32 i = 0; s->stop == STOP_NONE && i < s->nr_wanted; i++) {
		struct slot *slot = &s->slots[i];
		int err;

		if (slot->pid || clock_ms() < slot->start_at_ms)
			continue;
		if (slot->listeners[0] < 0 && open_slot(s, i)) {
			close_slot_listeners(s, slot);
			s->nr_wanted = i;
			return;
		}
		err = start_worker(s, i);
		if (err) {
			log_error("supervisor: fork failed: %s worker=%u", strerror(-err), i);
			later(slot);
		}
	}
}

static void say_exit(const struct slot *slot, u32 id, int status)
{
	if (WIFSIGNALED(status))
		log_warn("supervisor: worker killed by signal %d (%s) worker=%u pid=%d",
			 WTERMSIG(status), strsignal(WTERMSIG(status)), id, (int)slot->pid);
	else if (!slot->leaving || WEXITSTATUS(status))
		log_warn("supervisor: worker exited with status %d worker=%u pid=%d",
			 WEXITSTATUS(status), id, (int)slot->pid);
}

static void reap(struct supervisor *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (u32 i = 0; i < MAX_WORKERS; i++) {
			struct slot *slot = &s->slots[i];

			if (slot->pid != pid)
				continue;
			say_exit(slot, i, status);
			close(slot->control_fd);
			slot->pid = 0;
			/* One that had served is replaced at once, one that never came up is not. */
			if (slot->ready)
				slot->backoff_ms = 0;
			else
				later(slot);
			break;
		}
	}
}

static void tell(struct slot *slot, enum control_word word)
{
	if (!slot->pid)
		return;
	slot->leaving = true;
	control_send(slot->control_fd, word);
}

static void stop_all(struct supervisor *s, enum stop_state stop)
{
	if (stop <= s->stop)
		return;
	log_info(stop == STOP_DRAIN ? "supervisor: stopping, requests are finished first"
				    : "supervisor: stopping at once");
	s->stop = stop;
	/* Ours go first: a listener that nobody serves must not take connections. */
	for (u32 i = MAX_WORKERS; i-- > 0;)
		close_slot_listeners(s, &s->slots[i]);
	for (u32 i = 0; i < MAX_WORKERS; i++)
		tell(&s->slots[i], stop == STOP_DRAIN ? CONTROL_DRAIN : CONTROL_STOP);
}

static void change_workers(struct supervisor *s, int by)
{
	if (s->stop != STOP_NONE || s->nr_wanted + (u32)by < 1 || s->nr_wanted + (u32)by > MAX_WORKERS)
		return;
	s->nr_wanted += (u32)by;
	log_info("supervisor: workers=%u", s->nr_wanted);
	if (by < 0) {
		struct slot *slot = &s->slots[s->nr_wanted];

		/* Its share of the group ends with the last copy of its listeners. */
		tell(slot, CONTROL_DRAIN);
		close_slot_listeners(s, slot);
	}
}

static void read_signal(struct supervisor *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGTERM:
		case SIGINT:
			stop_all(s, STOP_DRAIN);
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

static bool any_alive(const struct supervisor *s)
{
	for (u32 i = 0; i < MAX_WORKERS; i++)
		if (s->slots[i].pid)
			return true;
	return false;
}

static int next_start_ms(const struct supervisor *s)
{
	u64 now = clock_ms(), best = 0;

	for (u32 i = 0; s->stop == STOP_NONE && i < s->nr_wanted; i++) {
		const struct slot *slot = &s->slots[i];

		if (slot->pid)
			continue;
		if (slot->start_at_ms <= now)
			return 0;
		if (!best || slot->start_at_ms < best)
			best = slot->start_at_ms;
	}
	return best ? (int)(best - now) : -1;
}

static void read_control(struct slot *slot)
{
	enum control_word word;
	int n;

	while ((n = control_recv(slot->control_fd, &word)) > 0)
		if (word == CONTROL_READY)
			slot->ready = true;
}

static void watch(struct supervisor *s)
{
	struct pollfd fds[MAX_WORKERS + 1];
	struct slot *slots[MAX_WORKERS + 1];

	while (s->stop == STOP_NONE || any_alive(s)) {
		nfds_t n = 0;

		fill_slots(s);
		fds[n++] = (struct pollfd){ .fd = s->signal_fd, .events = POLLIN };
		for (u32 i = 0; i < MAX_WORKERS; i++) {
			struct slot *slot = &s->slots[i];

			/* Once it is ready there is nothing more to hear from it. */
			if (!slot->pid || slot->ready)
				continue;
			slots[n] = slot;
			fds[n++] = (struct pollfd){ .fd = slot->control_fd, .events = POLLIN };
		}
		if (poll(fds, n, next_start_ms(s)) < 0 && errno != EINTR)
			break;
		for (nfds_t i = 1; i < n; i++)
			if (fds[i].revents & POLLIN)
				read_control(slots[i]);
		read_signal(s);
		reap(s);
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
	sigprocmask(SIG_BLOCK, &set, &s->old_mask);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signal_fd < 0 ? -errno : 0;
}

static int write_pidfile(const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f) {
		log_error("supervisor: --pidfile %s: %s", path, strerror(errno));
		return -errno;
	}
	fprintf(f, "%d\n", (int)getpid());
	return fclose(f) ? -errno : 0;
}

static void say_hello(const struct supervisor *s)
{
	const struct conf *conf = s->conf;

	for (u32 b = 0; b < conf->nr_binds; b++)
		log_info("listening on %s", conf->binds[b].text);
	log_info("hyperion-bpf %s workers=%u loop=%s pid=%d", HYPERION_VERSION, s->nr_wanted,
		 s->uring ? "io_uring" : "epoll", (int)getpid());
}

static void clean_up(struct supervisor *s)
{
	for (u32 b = 0; b < s->conf->nr_binds; b++)
		bind_unlink(&s->conf->binds[b]);
	if (s->conf->pidfile)
		unlink(s->conf->pidfile);
	close(s->signal_fd);
}

int supervisor_run(const struct conf *conf)
{
	struct supervisor *s = calloc(1, sizeof(*s));

	if (!s)
		return 1;
	s->conf = conf;
	s->nr_wanted = conf->nr_workers;
	for (u32 i = 0; i < MAX_WORKERS; i++)
		for (u32 b = 0; b < MAX_BINDS; b++)
			s->slots[i].listeners[b] = -1;
	if (supervisor_pick_backend(conf, &s->uring) || claim_addresses(conf) || init_signals(s) ||
	    (conf->pidfile && write_pidfile(conf->pidfile))) {
		free(s);
		return 1;
	}
	for (u32 i = 0; i < s->nr_wanted; i++) {
		if (open_slot(s, i)) {
			clean_up(s);
			free(s);
			return 1;
		}
	}
	say_hello(s);
	watch(s);
	clean_up(s);
	free(s);
	return 0;
}
