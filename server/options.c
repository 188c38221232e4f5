/* SPDX-License-Identifier: MIT */
#include "server/options.h"

#include <stdio.h>

#include "server/access_format.h"
#include "server/conf_files.h"
#include "server/log.h"
#include "server/option_value.h"
#include "server/options_guard.h"

#define MAX_CONNECTIONS 10000000ull

/*
 * Settings that are one field of struct conf: set_FIELD(), set_no_FIELD(). Each
 * ends in a declaration that takes the semicolon.
 */
#define SET_TEXT(field)                                                                            \
	static int set_##field(struct conf *conf, const char *value, const char **why)             \
	{                                                                                          \
		return option_text(conf->field, sizeof(conf->field), value, why);                  \
	}                                                                                          \
	struct conf
#define SET_BOOL(field)                                                                            \
	static int set_##field(struct conf *conf, const char *value, const char **why)             \
	{                                                                                          \
		return option_bool(&conf->field, value, why);                                      \
	}                                                                                          \
	struct conf
#define SET_OFF(field)                                                                             \
	static int set_no_##field(struct conf *conf, const char *value, const char **why)          \
	{                                                                                          \
		(void)value;                                                                       \
		(void)why;                                                                         \
		conf->field = false;                                                               \
		return 0;                                                                          \
	}                                                                                          \
	struct conf

SET_TEXT(config);
SET_TEXT(rackup);
SET_TEXT(environment);
SET_TEXT(user);
SET_TEXT(group);
SET_TEXT(log_file);
SET_TEXT(error_log);
SET_TEXT(admin_token_file);
SET_TEXT(admin_host);
SET_TEXT(pidfile);
SET_TEXT(control_group);

SET_BOOL(pin);
SET_BOOL(preload);
SET_BOOL(rebalance);
SET_BOOL(no_app);
SET_BOOL(no_preload_static);
SET_BOOL(request_id);
SET_BOOL(log_requests);
SET_BOOL(no_bpf);
SET_BOOL(observe);

SET_OFF(preload);
SET_OFF(rebalance);
SET_OFF(request_id);
SET_OFF(observe);
SET_OFF(log_requests);

static int set_bind(struct conf *conf, const char *value, const char **why)
{
	struct bind twin;

	/* The addresses of the command line replace those of the config file. */
	if (conf->binds_layer != conf->layer)
		conf->nr_binds = 0;
	conf->binds_layer = conf->layer;
	if (conf->nr_binds == MAX_BINDS) {
		*why = "at most 16 addresses";
		return -EINVAL;
	}
	if (bind_parse(value, &conf->binds[conf->nr_binds], why))
		return -EINVAL;
	conf->nr_binds++;
	if (!bind_twin(&conf->binds[conf->nr_binds - 1], &twin))
		return 0;
	if (conf->nr_binds == MAX_BINDS) {
		*why = "at most 16 addresses, where an interface is two";
		return -EINVAL;
	}
	conf->binds[conf->nr_binds++] = twin;
	return 0;
}

static int set_port(struct conf *conf, const char *value, const char **why)
{
	char uri[64];
	u64 port;

	*why = "a number from 1 to 65535";
	if (option_u64(value, 1, 65535, &port))
		return -EINVAL;
	snprintf(uri, sizeof(uri), "tcp://0.0.0.0:%u", (u32)port);
	return set_bind(conf, uri, why);
}

static int set_workers(struct conf *conf, const char *value, const char **why)
{
	*why = "a number from 1 to 256";
	return option_u32(&conf->nr_workers, value, 1, MAX_WORKERS, 1);
}

static int set_io_uring(struct conf *conf, const char *value, const char **why)
{
	*why = "auto, on or off";
	if (strcmp(value, "auto") == 0)
		conf->io_uring = IO_URING_AUTO;
	else if (strcmp(value, "on") == 0)
		conf->io_uring = IO_URING_ON;
	else if (strcmp(value, "off") == 0)
		conf->io_uring = IO_URING_OFF;
	else
		return -EINVAL;
	return 0;
}

static int set_threads(struct conf *conf, const char *value, const char **why)
{
	*why = "a number from 0 (handlers run on the I/O thread) to 256";
	return option_u32(&conf->nr_threads, value, 0, 256, 1);
}

static int set_max_pending(struct conf *conf, const char *value, const char **why)
{
	*why = "a number from 1 to 1000000";
	return option_u32(&conf->max_pending, value, 1, 1000000, 1);
}

static int set_max_in_flight(struct conf *conf, const char *value, const char **why)
{
	u32 *nr = &conf->limits.max_in_flight;

	*why = "a number from 1 to 1000, auto (a quarter of the threads) or off";
	if (strcmp(value, "off") == 0)
		*nr = 0;
	else if (strcmp(value, "auto") == 0)
		*nr = MAX_IN_FLIGHT_AUTO;
	else
		return option_u32(nr, value, 1, 1000, 1);
	return 0;
}

static int set_max_request(struct conf *conf, const char *value, const char **why)
{
	*why = "seconds, from 1 to 86400, or off";
	if (strcmp(value, "off") == 0) {
		conf->limits.max_request_ms = 0;
		return 0;
	}
	return option_u32(&conf->limits.max_request_ms, value, 1, 86400, MSEC_PER_SEC);
}

static int set_static(struct conf *conf, const char *value, const char **why)
{
	return conf_add_tree(conf, value, (struct conf_tree){ .immutable = false }, why);
}

static int set_static_immutable(struct conf *conf, const char *value, const char **why)
{
	return conf_add_tree(conf, value, (struct conf_tree){ .immutable = true }, why);
}

static int set_static_internal(struct conf *conf, const char *value, const char **why)
{
	return conf_add_tree(conf, value, (struct conf_tree){ .internal = true }, why);
}

static int set_preload_static(struct conf *conf, const char *value, const char **why)
{
	return conf_add_preload(conf, value, true, why);
}

static int set_preload_static_mutable(struct conf *conf, const char *value, const char **why)
{
	return conf_add_preload(conf, value, false, why);
}

static int set_static_recheck(struct conf *conf, const char *value, const char **why)
{
	*why = "seconds, from 0 to 86400";
	return option_u32(&conf->static_recheck_ms, value, 0, 86400, MSEC_PER_SEC);
}

static int set_tcp_congestion(struct conf *conf, const char *value, const char **why)
{
	*why = "a congestion control that the kernel has and lets us use, like cubic";
	if (!value[0] || strlen(value) >= CONGESTION_LEN || !congestion_exists(value))
		return -EINVAL;
	memcpy(conf->tcp_congestion, value, strlen(value) + 1);
	return 0;
}

static int set_max_connections(struct conf *conf, const char *value, const char **why)
{
	*why = "a number from 1 to 10000000";
	return option_u32(&conf->max_connections, value, 1, MAX_CONNECTIONS, 1);
}

static int set_max_header_bytes(struct conf *conf, const char *value, const char **why)
{
	*why = "bytes, from 1024 to 1048576";
	return option_u32(&conf->limits.max_header_bytes, value, KIB, MIB, 1);
}

static int set_max_body_bytes(struct conf *conf, const char *value, const char **why)
{
	*why = "a number of bytes";
	return option_u64(value, 0, INT64_MAX, &conf->limits.max_body_bytes);
}

static int set_read_timeout(struct conf *conf, const char *value, const char **why)
{
	return option_seconds(&conf->limits.read_timeout_ms, value, why);
}

static int set_request_read(struct conf *conf, const char *value, const char **why)
{
	return option_seconds(&conf->limits.max_request_read_ms, value, why);
}

static int set_idle(struct conf *conf, const char *value, const char **why)
{
	return option_seconds(&conf->limits.idle_keepalive_ms, value, why);
}

static int set_graceful(struct conf *conf, const char *value, const char **why)
{
	return option_seconds(&conf->graceful_timeout_ms, value, why);
}

static int set_log_level(struct conf *conf, const char *value, const char **why)
{
	(void)conf;
	*why = "debug, info, warn or error";
	return log_level_parse(value, &log_level);
}

static int set_log_format(struct conf *conf, const char *value, const char **why)
{
	struct access_format scratch;
	size_t len = strlen(value);

	if (strcmp(value, "auto") != 0 && access_format_compile(&scratch, value, why))
		return -EINVAL;
	*why = "a template of at most 1023 bytes";
	if (len >= sizeof(conf->log_format))
		return -EINVAL;
	memcpy(conf->log_format, value, len + 1);
	return 0;
}

static int set_instance(struct conf *conf, const char *value, const char **why)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	size_t len = strlen(value);

	*why = "a name of letters, digits, - and _, at most 63 of them";
	if (!len || len >= sizeof(conf->instance) || strspn(value, allowed) != len)
		return -EINVAL;
	memcpy(conf->instance, value, len + 1);
	return 0;
}

static int set_admin_token(struct conf *conf, const char *value, const char **why)
{
	size_t len = strlen(value);

	*why = "visible ASCII characters, at most 255 of them";
	for (size_t i = 0; i < len; i++)
		if (value[i] <= 0x20 || value[i] >= 0x7f)
			return -EINVAL;
	if (!len || len >= sizeof(conf->admin_token))
		return -EINVAL;
	memcpy(conf->admin_token, value, len + 1);
	return 0;
}

static int set_admin_port(struct conf *conf, const char *value, const char **why)
{
	u64 port;

	*why = "a number from 1 to 65535";
	if (option_u64(value, 1, 65535, &port))
		return -EINVAL;
	conf->admin_port = (u16)port;
	return 0;
}

const struct option_desc options[] = {
	{ "bind", 'b', "URI",
	  NULL, "tcp://HOST:PORT, tcp://[IPv6]:PORT, tcp://%IFACE:PORT or unix:///PATH (repeatable; tcp://0.0.0.0:9292)",
	  set_bind },
	{ "port", 'p', "N", NULL, "short for --bind tcp://0.0.0.0:N", set_port },
	{ "workers", 'w', "N", NULL, "worker processes (as many as CPUs that we may use)",
	  set_workers },
	{ "threads", 't', "N", NULL,
	  "Ruby threads per worker; 0 = handlers run on the I/O thread (5)", set_threads },
	{ "config", 'C', "FILE", NULL, "settings in Ruby (config/hyperion.rb if there is one)",
	  set_config },
	{ "environment", 'e', "NAME", NULL,
	  "RACK_ENV; development checks the app by Rack::Lint (RACK_ENV or development)",
	  set_environment },
	{ "rackup", 0, "FILE", NULL, "the app, as the argument without an option (config.ru)",
	  set_rackup },
	{ "no-app", 0, NULL, NULL, "serve without Ruby: constants and files only", set_no_app },
	{ "preload", 0, NULL, NULL, "load the app once, before the workers are forked (on)",
	  set_preload },
	{ "no-preload", 0, NULL, NULL, "load the app in each worker", set_no_preload },
	{ "user", 0, "NAME", NULL,
	  "run Ruby and the workers as this user (started by root: the owner of the rackup file)",
	  set_user },
	{ "group", 0, "NAME", NULL, "... and this group (the user's)", set_group },
	{ "max-pending", 0, "N", NULL, "requests per worker that wait for a Ruby thread (4096)",
	  set_max_pending },
	{ "max-in-flight-per-conn", 0, "N", "HYPERION_MAX_IN_FLIGHT_PER_CONN",
	  "requests of one connection at the app at a time, more get 503; auto: threads / 4 (off)",
	  set_max_in_flight },
	{ "max-request-seconds", 0, "S", NULL,
	  "seconds until the app has answered, else 503, or cut within the answer (off)",
	  set_max_request },
	{ "constant", 0, "PATH=TEXT", NULL, "answer GET PATH with TEXT (repeatable)",
	  conf_add_constant },
	{ "static", 0, "PREFIX=DIR", NULL, "serve the files of DIR under PREFIX (repeatable)",
	  set_static },
	{ "static-immutable", 0, "PREFIX=DIR", NULL,
	  "... that never change: clients may keep them for a year", set_static_immutable },
	{ "static-internal", 0, "PREFIX=DIR", NULL,
	  "... that only the app may name, by the header X-Accel-Redirect: PREFIX/...",
	  set_static_internal },
	{ "sendfile-root", 0, "DIR", NULL,
	  "the app may name files below it by the header X-Sendfile: PATH (repeatable)",
	  conf_add_sendfile_root },
	{ "preload-static", 0, "DIR",
	  NULL, "read the files of DIR before serving, and do not look at them again (repeatable; a Rails app's assets)",
	  set_preload_static },
	{ "preload-static-mutable", 0, "DIR", NULL, "... but look at them again",
	  set_preload_static_mutable },
	{ "no-preload-static", 0, NULL, NULL,
	  "read none before serving, a Rails app's assets included", set_no_preload_static },
	{ "static-recheck", 0, "S", NULL, "seconds until a file is looked at again (5)",
	  set_static_recheck },
	{ "io-uring", 0, "MODE", "HYPERION_IO_URING",
	  "auto, on (refuse to start without) or off (epoll) (auto)", set_io_uring },
	{ "pin", 0, NULL, NULL, "pin each worker to a CPU", set_pin },
	{ "tcp-congestion", 0, "NAME",
	  NULL, "congestion control of TCP connections; one address: tcp://...?congestion=NAME (the system's)",
	  set_tcp_congestion },
	{ "max-connections", 0, "N", NULL,
	  "open connections per worker (what RLIMIT_NOFILE allows)", set_max_connections },
	{ "max-header-bytes", 0, "N", NULL, "longest request head (65536)", set_max_header_bytes },
	{ "max-body-bytes", 0, "N", NULL, "longest request body (16777216)", set_max_body_bytes },
	{ "read-timeout", 0, "S", NULL,
	  "seconds for a request head, or the next piece of a body (30)", set_read_timeout },
	{ "max-request-read-seconds", 0, "S", NULL, "seconds for a whole request (60)",
	  set_request_read },
	{ "idle-keepalive", 0, "S", NULL, "seconds that a connection may idle between requests (5)",
	  set_idle },
	{ "graceful-timeout", 0, "S", NULL, "seconds that a graceful stop waits for requests (30)",
	  set_graceful },
	{ "log-level", 0, "LEVEL", "HYPERION_LOG_LEVEL", "debug, info, warn or error (info)",
	  set_log_level },
	{ "log-format", 0, "FORMAT",
	  "HYPERION_LOG_FORMAT", "text, json, common, combined, {method} {path} ..., or auto: json unless to a terminal (auto)",
	  set_log_format },
	{ "log-requests", 0, NULL, "HYPERION_LOG_REQUESTS", "one line per request (on)",
	  set_log_requests },
	{ "no-log-requests", 0, NULL, NULL, "no such lines", set_no_log_requests },
	{ "log-file", 0, "FILE", NULL, "the access log goes there; HUP opens it anew (stdout)",
	  set_log_file },
	{ "error-log", 0, "FILE", NULL, "the server's own messages go there (stderr)", set_error_log },
	{ "request-id", 0, NULL, NULL, "every request of the app has an X-Request-Id (on)",
	  set_request_id },
	{ "no-request-id", 0, NULL, NULL, "... only those whose clients send one", set_no_request_id },
	{ "pidfile", 0, "FILE", NULL, "write the process id there", set_pidfile },
	{ "instance", 0, "NAME", "HYPERION_INSTANCE",
	  "name of this server, the one that hyperion-top knows it by (default)", set_instance },
	{ "control-group", 0, "NAME", NULL,
	  "members may read by hyperion-ctl (the group that Ruby runs as)", set_control_group },
	{ "admin-token", 0, "TOKEN", "HYPERION_ADMIN_TOKEN",
	  "serve /-/metrics, /-/stats and /-/quit to who sends it (none)", set_admin_token },
	{ "admin-token-file", 0, "FILE", NULL,
	  "the token is the first line of FILE, which others may not read", set_admin_token_file },
	{ "admin-listener-port", 0, "N", NULL, "serve these pages there, and only there (none)",
	  set_admin_port },
	{ "admin-listener-host", 0, "HOST", NULL, "... at this address (127.0.0.1)", set_admin_host },
	{ "attach", 0, "IFACE",
	  NULL, "count, and drop what is unwanted, before it gets in through IFACE: the guard (repeatable)",
	  set_attach },
	{ "guard-mode", 0, "MODE", NULL, "... by native or generic XDP, tcx or clsact (auto)",
	  set_guard_mode },
	{ "guard-deny", 0, "CIDR", NULL, "drop what comes from there (repeatable)", set_guard_deny },
	{ "guard-allow", 0, "CIDR", NULL,
	  "... but not from there: of both the longer prefix counts (repeatable)", set_guard_allow },
	{ "guard-syn-rate", 0, "N", NULL,
	  "new connections per second from one source prefix, more are dropped (off)",
	  set_guard_syn_rate },
	{ "guard-syn-burst", 0, "N", NULL, "... so many at once (a second's)", set_guard_syn_burst },
	{ "guard-syn-prefix-v4", 0, "BITS", NULL, "bits of an IPv4 source that count (32)",
	  set_guard_syn_prefix_v4 },
	{ "guard-syn-prefix-v6", 0, "BITS", NULL, "bits of an IPv6 source that count (64)",
	  set_guard_syn_prefix_v6 },
	{ "rebalance", 0, NULL, NULL,
	  "connections go from a worker whose requests wait to one that has less to do (on)",
	  set_rebalance },
	{ "no-rebalance", 0, NULL, NULL, "they stay", set_no_rebalance },
	{ "observe", 0, NULL, NULL, "round-trip times, retransmits and waits for accept, by BPF",
	  set_observe },
	{ "no-observe", 0, NULL, NULL, "... not (the default)", set_no_observe },
	{ "no-bpf", 0, NULL, NULL, "no BPF: the kernel picks workers, statistics in shared memory",
	  set_no_bpf },
	{ "check", 0, NULL, NULL, "check the settings, say what would run, exit", NULL },
	{ "version", 'v', NULL, NULL, "print the version", NULL },
	{ "help", 'h', NULL, NULL, "print this", NULL },
};

const size_t nr_options = ARRAY_SIZE(options);

const struct option_desc *option_find(const char *name)
{
	for (size_t i = 0; i < nr_options; i++) {
		const char *a = name, *b = options[i].name;

		while (*a && (*a == *b || (*a == '_' && *b == '-')))
			a++, b++;
		if (!*a && !*b)
			return &options[i];
	}
	return NULL;
}

void options_print_help(void)
{
	printf("Usage: hyperion-bpf [options] [config.ru]\n\n"
	       "Serves a Rack app over HTTP/1.1 from several worker processes.\n\n"
	       "Options (default):\n");
	for (size_t i = 0; i < nr_options; i++) {
		const struct option_desc *o = &options[i];
		char name[64];

		snprintf(name, sizeof(name), "%s%c%s--%s%s%s", o->letter ? "-" : "",
			 o->letter ? o->letter : ' ', o->letter ? ", " : "   ", o->name,
			 o->arg ? " " : "", o->arg ? o->arg : "");
		printf("  %-34s %s\n", name, o->help);
	}
	printf("\nSignals: TERM, INT stop when all requests are answered; QUIT stops at once;\n"
	       "HUP opens the log files anew; TTIN, TTOU one worker more or less.\n"
	       "Environment (goes before the command line):\n");
	for (size_t i = 0; i < nr_options; i++)
		if (options[i].env)
			printf("  %s\n", options[i].env);
}
