/* SPDX-License-Identifier: MIT */
#include "server/conf.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "server/log.h"

#define DEFAULT_BIND "tcp://0.0.0.0:9292"
#define MAX_CONNECTIONS 10000000ull
#define RESERVED_FDS 64u /* for everything that is not a connection */

/* One setting: how it is called, what it takes, what it does. */
struct option_desc {
	const char *name;
	char letter;
	const char *arg; /* NULL: takes none */
	const char *env; /* NULL: not settable from the environment */
	const char *help;
	/* 0, or -EINVAL; then @why says what is allowed. */
	int (*set)(struct conf *conf, const char *value, const char **why);
};

static int parse_u64(const char *text, u64 low, u64 high, u64 *out)
{
	char *end;
	u64 n;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end || n < low || n > high)
		return -EINVAL;
	*out = n;
	return 0;
}

static int set_u32(u32 *out, const char *value, u64 low, u64 high, u32 scale)
{
	u64 n;

	if (parse_u64(value, low, high, &n))
		return -EINVAL;
	*out = (u32)n * scale;
	return 0;
}

static int set_bind(struct conf *conf, const char *value, const char **why)
{
	if (conf->nr_binds == MAX_BINDS) {
		*why = "at most 16 addresses";
		return -EINVAL;
	}
	if (bind_parse(value, &conf->binds[conf->nr_binds], why))
		return -EINVAL;
	conf->nr_binds++;
	return 0;
}

static int set_port(struct conf *conf, const char *value, const char **why)
{
	char uri[64];
	u64 port;

	*why = "a number from 0 to 65535";
	if (parse_u64(value, 0, 65535, &port))
		return -EINVAL;
	snprintf(uri, sizeof(uri), "tcp://0.0.0.0:%u", (u32)port);
	return set_bind(conf, uri, why);
}

static int set_workers(struct conf *conf, const char *value, const char **why)
{
	*why = "a number from 1 to 256";
	return set_u32(&conf->nr_workers, value, 1, MAX_WORKERS, 1);
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

static int set_pin(struct conf *conf, const char *value, const char **why)
{
	(void)value;
	(void)why;
	conf->pin = true;
	return 0;
}

static int set_constant(struct conf *conf, const char *value, const char **why)
{
	const char *eq = strchr(value, '=');

	*why = "PATH=TEXT with a PATH that starts with /, at most 64 of them";
	if (!eq || value[0] != '/' || conf->nr_constants == MAX_CONSTANTS)
		return -EINVAL;
	conf->constants[conf->nr_constants++] = (struct conf_constant){
		.path = value, .path_len = (size_t)(eq - value), .body = eq + 1
	};
	return 0;
}

static int set_max_connections(struct conf *conf, const char *value, const char **why)
{
	*why = "a number from 1 to 10000000";
	return set_u32(&conf->max_connections, value, 1, MAX_CONNECTIONS, 1);
}

static int set_max_header_bytes(struct conf *conf, const char *value, const char **why)
{
	*why = "bytes, from 1024 to 1048576";
	return set_u32(&conf->limits.max_header_bytes, value, KIB, MIB, 1);
}

static int set_max_body_bytes(struct conf *conf, const char *value, const char **why)
{
	*why = "a number of bytes";
	return parse_u64(value, 0, INT64_MAX, &conf->limits.max_body_bytes);
}

static int set_seconds(u32 *out, const char *value, const char **why)
{
	*why = "seconds, from 1 to 86400";
	return set_u32(out, value, 1, 86400, MSEC_PER_SEC);
}

static int set_read_timeout(struct conf *conf, const char *value, const char **why)
{
	return set_seconds(&conf->limits.read_timeout_ms, value, why);
}

static int set_request_read(struct conf *conf, const char *value, const char **why)
{
	return set_seconds(&conf->limits.max_request_read_ms, value, why);
}

static int set_idle(struct conf *conf, const char *value, const char **why)
{
	return set_seconds(&conf->limits.idle_keepalive_ms, value, why);
}

static int set_graceful(struct conf *conf, const char *value, const char **why)
{
	return set_seconds(&conf->graceful_timeout_ms, value, why);
}

static int set_log_level(struct conf *conf, const char *value, const char **why)
{
	(void)conf;
	*why = "debug, info, warn or error";
	return log_level_parse(value, &log_level);
}

static int set_log_format(struct conf *conf, const char *value, const char **why)
{
	*why = "text, json or auto";
	if (strcmp(value, "text") == 0)
		conf->log_format = LOG_FORMAT_TEXT;
	else if (strcmp(value, "json") == 0)
		conf->log_format = LOG_FORMAT_JSON;
	else if (strcmp(value, "auto") == 0)
		conf->log_format = LOG_FORMAT_AUTO;
	else
		return -EINVAL;
	return 0;
}

/* Also from the environment, where 0, false, no and off mean off. */
static int set_log_requests(struct conf *conf, const char *value, const char **why)
{
	static const char *const off[] = { "0", "false", "no", "off" };
	static const char *const on[] = { "1", "true", "yes", "on" };

	*why = "1 or 0";
	for (size_t i = 0; i < ARRAY_SIZE(off); i++) {
		if (!value || strcmp(value, on[i]) == 0) {
			conf->log_requests = true;
			return 0;
		}
		if (strcmp(value, off[i]) == 0) {
			conf->log_requests = false;
			return 0;
		}
	}
	return -EINVAL;
}

static int set_no_log_requests(struct conf *conf, const char *value, const char **why)
{
	(void)value;
	(void)why;
	conf->log_requests = false;
	return 0;
}

static int set_pidfile(struct conf *conf, const char *value, const char **why)
{
	*why = "a file name";
	conf->pidfile = value;
	return value[0] ? 0 : -EINVAL;
}

static const struct option_desc options[] = {
	{ "bind", 'b', "URI", NULL,
	  "listen on tcp://HOST:PORT, tcp://[IPv6]:PORT or unix:///PATH (repeatable; " DEFAULT_BIND
	  ")",
	  set_bind },
	{ "port", 'p', "N", NULL, "short for --bind tcp://0.0.0.0:N", set_port },
	{ "workers", 'w', "N", NULL, "worker processes (as many as CPUs that we may use)",
	  set_workers },
	{ "constant", 0, "PATH=TEXT", NULL, "answer GET PATH with TEXT (repeatable)", set_constant },
	{ "io-uring", 0, "MODE", "HYPERION_IO_URING",
	  "auto, on (refuse to start without) or off (epoll) (auto)", set_io_uring },
	{ "pin", 0, NULL, NULL, "pin each worker to a CPU", set_pin },
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
	{ "log-format", 0, "FORMAT", "HYPERION_LOG_FORMAT",
	  "text, json or auto: json unless stdout is a terminal (auto)", set_log_format },
	{ "log-requests", 0, NULL, "HYPERION_LOG_REQUESTS", "one line per request on stdout (on)",
	  set_log_requests },
	{ "no-log-requests", 0, NULL, NULL, "no such lines", set_no_log_requests },
	{ "pidfile", 0, "FILE", NULL, "write the process id there", set_pidfile },
	{ "check", 0, NULL, NULL, "check the settings, say what would run, exit", NULL },
	{ "version", 'v', NULL, NULL, "print the version", NULL },
	{ "help", 'h', NULL, NULL, "print this", NULL },
};

static void print_help(void)
{
	printf("Usage: hyperion-bpf [options]\n\n"
	       "Serves HTTP/1.1 from several worker processes.\n\nOptions (default):\n");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option_desc *o = &options[i];
		char name[64];

		snprintf(name, sizeof(name), "%s%c%s--%s%s%s", o->letter ? "-" : "",
			 o->letter ? o->letter : ' ', o->letter ? ", " : "   ", o->name,
			 o->arg ? " " : "", o->arg ? o->arg : "");
		printf("  %-34s %s\n", name, o->help);
	}
	printf("\nSignals: TERM, INT stop when all requests are answered; QUIT stops at once;\n"
	       "TTIN, TTOU one worker more or less.\n"
	       "Environment (goes before the command line):");
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (options[i].env)
			printf(" %s", options[i].env);
	printf("\n");
}

static u32 cpu_count(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return (u32)max(CPU_COUNT(&set), 1);
}

/* As many descriptors as we may have; what is left for connections. */
static u32 raise_nofile(void)
{
	struct rlimit lim = { 1024, 1024 };
	u64 nr;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
		getrlimit(RLIMIT_NOFILE, &lim);
	}
	nr = min((u64)lim.rlim_cur, MAX_CONNECTIONS);
	return (u32)(nr > 2 * RESERVED_FDS ? nr - RESERVED_FDS : nr / 2);
}

static int read_options(struct conf *conf, int argc, char **argv)
{
	struct option longs[ARRAY_SIZE(options) + 1] = { 0 };
	char shorts[ARRAY_SIZE(options) * 2 + 2] = "";
	int n = 0, c, action = CONF_RUN;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		longs[i] = (struct option){ options[i].name,
					    options[i].arg ? required_argument : no_argument, NULL,
					    (int)(256 + i) };
		if (options[i].letter)
			n += snprintf(shorts + n, sizeof(shorts) - (size_t)n, "%c%s",
				      options[i].letter, options[i].arg ? ":" : "");
	}
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct option_desc *o = NULL;
		const char *why = "";

		for (size_t i = 0; i < ARRAY_SIZE(options); i++)
			if (c == (int)(256 + i) || (options[i].letter && c == options[i].letter))
				o = &options[i];
		if (!o) {
			fprintf(stderr, "hyperion-bpf: see hyperion-bpf --help\n");
			return -EINVAL;
		}
		if (strcmp(o->name, "help") == 0) {
			print_help();
			return CONF_EXIT;
		}
		if (strcmp(o->name, "version") == 0) {
			printf("hyperion-bpf %s\n", HYPERION_VERSION);
			return CONF_EXIT;
		}
		if (strcmp(o->name, "check") == 0) {
			action = CONF_CHECK;
		} else if (o->set(conf, optarg, &why)) {
			fprintf(stderr, "hyperion-bpf: --%s %s: %s\n", o->name,
				optarg ? optarg : "", why);
			return -EINVAL;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "hyperion-bpf: %s: not an option, see hyperion-bpf --help\n",
			argv[optind]);
		return -EINVAL;
	}
	return action;
}

/* A bad value here warns and is ignored: an environment must not stop a boot. */
static void read_environment(struct conf *conf)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option_desc *o = &options[i];
		const char *value = o->env ? getenv(o->env) : NULL, *why = "";

		if (value && o->set(conf, value, &why))
			log_warn("conf: ignored %s=%s: allowed is %s", o->env, value, why);
	}
}

int conf_read(struct conf *conf, int argc, char **argv)
{
	const char *why;
	int action;

	*conf = (struct conf){
		.nr_workers = cpu_count(),
		.max_connections = raise_nofile(),
		.graceful_timeout_ms = 30 * MSEC_PER_SEC,
		.limits = LIMITS_DEFAULT,
		.log_requests = true,
	};
	action = read_options(conf, argc, argv);
	if (action < 0 || action == CONF_EXIT)
		return action;
	read_environment(conf);
	if (!conf->nr_binds && set_bind(conf, DEFAULT_BIND, &why))
		return -EINVAL;
	return action;
}
