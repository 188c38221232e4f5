/* SPDX-License-Identifier: MIT */
/* What is said once all workers serve: what runs, where, as whom, and what is most likely a mistake. */
#include "server/supervisor_state.h"

#include <arpa/inet.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/log.h"

#define MANY_PER_CPU 4u /* workers; more than that only wait for each other */

static bool is_development(const struct conf *conf)
{
	return !conf->no_app && strcmp(conf->environment, "development") == 0;
}

static const char *backend(const struct supervisor *s)
{
	/* Why io_uring was refused has been said. */
	if (s->conf->io_uring == IO_URING_OFF)
		return "epoll (as set)";
	return s->backend == WORKER_URING ? "io_uring" : "epoll";
}

static void say_who(const struct supervisor *s)
{
	const struct conf *conf = s->conf;
	const struct passwd *pw = getpwuid(s->runas.uid);
	char uid[16];

	snprintf(uid, sizeof(uid), "%u", (u32)s->runas.uid);
	log_info("Ruby %s serves %s as user=%s%s", s->ruby, conf->rackup, pw ? pw->pw_name : uid,
		 s->runas.uid == 0 && !s->runas.powers
			 ? " (its owner; without root's capabilities: --user root keeps them, "
			   "--user names another)"
			 : "");
}

/* --- mistakes --- */

/* Systemd starts services, and who serves the web's own ports has guests. */
static bool is_public(const struct conf *conf)
{
	if (getenv("NOTIFY_SOCKET"))
		return true;
	for (u32 b = 0; b < conf->nr_binds; b++) {
		const struct bind *bind = &conf->binds[b];
		u16 port = bind->addr.any.sa_family == AF_INET    ? ntohs(bind->addr.in.sin_port)
			   : bind->addr.any.sa_family == AF_INET6 ? ntohs(bind->addr.in6.sin6_port)
								  : 0;

		if (port == 80 || port == 443)
			return true;
	}
	return false;
}

static void check_environment(const struct conf *conf)
{
	if (!is_development(conf))
		return;
	if (is_public(conf))
		log_warn("conf: --environment development: clients are shown source code when the "
			 "app raises, and Rack::Lint checks each request; -e production does "
			 "neither");
	else if (conf->nr_workers > 1)
		log_info("conf: what the app keeps in memory differs between %u workers; "
			 "-w 1 is simpler while you develop",
			 conf->nr_workers);
}

static void check_knobs(const struct conf *conf)
{
	u32 nr_cpus = conf_cpu_count();

	if (conf->nr_workers > MANY_PER_CPU * nr_cpus)
		log_warn("conf: --workers %u on %u CPUs: each costs memory, and they wait for each "
			 "other; for handlers that wait, --threads costs less",
			 conf->nr_workers, nr_cpus);
	if (conf->no_app)
		return;
	if (!conf->nr_threads && conf->limits.max_request_ms)
		log_warn("conf: --max-request-seconds has no effect with --threads 0: nobody looks "
			 "at the clock while a handler runs");
	if (conf->limits.max_in_flight > conf->limits.max_pipelined)
		log_warn("conf: --max-in-flight-per-conn %u is never reached: a connection has at "
			 "most %u requests open",
			 conf->limits.max_in_flight, conf->limits.max_pipelined);
}

void supervisor_warn(const struct supervisor *s)
{
	check_environment(s->conf);
	check_knobs(s->conf);
}

void supervisor_hello(const struct supervisor *s)
{
	const struct conf *conf = s->conf;

	for (u32 b = 0; b < conf->nr_binds; b++)
		if (!bind_is_twin(&conf->binds[b]))
			log_info("listening on %s", conf->binds[b].text);
	log_info("hyperion-bpf %s workers=%u threads=%u loop=%s environment=%s pid=%d",
		 HYPERION_VERSION, s->nr_wanted, conf->no_app ? 0 : conf->nr_threads, backend(s),
		 conf->environment, (int)getpid());
	if (!conf->no_app)
		say_who(s);
}
