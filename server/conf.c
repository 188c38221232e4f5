/* SPDX-License-Identifier: MIT */
#include "server/conf.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/cgroup.h"
#include "server/log.h"
#include "server/options.h"

#define DEFAULT_CONFIG "config/hyperion.rb"
#define MAX_OPTIONS 96u
#define MAX_CONNECTIONS 10000000ull
#define RESERVED_FDS 64u /* for everything that is not a connection */

u32 conf_cpu_count(void)
{
	u32 n = 1, quota = cgroup_cpu_count();
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = (u32)max(CPU_COUNT(&set), 1);
	if (quota && quota < n)
		n = quota;
	return min(n, MAX_WORKERS);
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

static void set_defaults(struct conf *conf)
{
	const char *env = getenv("RACK_ENV");

	*conf = (struct conf){
		.nr_workers = conf_cpu_count(),
		.nr_threads = 5,
		.max_connections = raise_nofile(),
		.max_pending = 4096,
		.graceful_timeout_ms = 30 * MSEC_PER_SEC,
		.limits = LIMITS_DEFAULT,
		.static_recheck_ms = 5 * MSEC_PER_SEC,
		.log_requests = true,
		.request_id = true,
		.log_format = "auto",
		.preload = true,
		.rebalance = true,
		.rackup = "config.ru",
		.instance = "default",
		.admin_host = "127.0.0.1",
	};
	snprintf(conf->environment, sizeof(conf->environment), "%s",
		 env && env[0] ? env : "development");
	if (access(DEFAULT_CONFIG, R_OK) == 0)
		snprintf(conf->config, sizeof(conf->config), "%s", DEFAULT_CONFIG);
}

static int bad_option(const struct option_desc *o, const char *value, const char *why)
{
	fprintf(stderr, "hyperion-bpf: --%s %s: allowed is %s\n", o->name, value ? value : "", why);
	return -EINVAL;
}

/* One option of the command line; CONF_RUN to go on. */
static int take_option(struct conf *conf, const struct option_desc *o, const char *value)
{
	const char *why = "";

	if (o->set)
		return o->set(conf, value, &why) ? bad_option(o, value, why) : CONF_RUN;
	switch (o->letter) {
	case 'h':
		options_print_help();
		return CONF_EXIT;
	case 'v':
		printf("hyperion-bpf %s\n", HYPERION_VERSION);
		return CONF_EXIT;
	default:
		return CONF_CHECK;
	}
}

static int read_options(struct conf *conf, int argc, char **argv)
{
	struct option longs[MAX_OPTIONS + 1] = { 0 };
	char shorts[MAX_OPTIONS * 2 + 1] = "";
	int n = 0, c, action = CONF_RUN;

	for (size_t i = 0; i < nr_options; i++) {
		const struct option_desc *o = &options[i];

		longs[i] = (struct option){ o->name, o->arg ? required_argument : no_argument, NULL,
					    (int)(256 + i) };
		if (o->letter)
			n += snprintf(shorts + n, sizeof(shorts) - (size_t)n, "%c%s", o->letter,
				      o->arg ? ":" : "");
	}
	optind = 0; /* GNU: begin anew, the command line is read twice */
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct option_desc *o = NULL;
		int did;

		for (size_t i = 0; i < nr_options; i++)
			if (c == (int)(256 + i) || (options[i].letter && c == options[i].letter))
				o = &options[i];
		if (!o) {
			fprintf(stderr, "hyperion-bpf: see hyperion-bpf --help\n");
			return -EINVAL;
		}
		did = take_option(conf, o, optarg);
		if (did < 0 || did == CONF_EXIT)
			return did;
		action = max(action, did);
	}
	if (argc - optind > 1) {
		fprintf(stderr, "hyperion-bpf: %s: one rackup file at most, after %s\n",
			argv[optind + 1], argv[optind]);
		return -EINVAL;
	}
	if (optind < argc && take_option(conf, option_find("rackup"), argv[optind]) < 0)
		return -EINVAL;
	return action;
}

/* A bad value here warns and is ignored: an environment must not stop a boot. */
static void read_environment(struct conf *conf)
{
	for (size_t i = 0; i < nr_options; i++) {
		const struct option_desc *o = &options[i];
		const char *value = o->env ? getenv(o->env) : NULL, *why = "";

		if (value && o->set(conf, value, &why))
			log_warn("conf: ignored %s=%s: allowed is %s", o->env, value, why);
	}
}

int conf_settings_add(struct conf_settings *s, const char *key, const char *value)
{
	size_t klen = strlen(key) + 1, vlen = strlen(value) + 1;
	char *p = realloc(s->p, s->len + klen + vlen);

	if (!p)
		return -ENOMEM;
	memcpy(p + s->len, key, klen);
	memcpy(p + s->len + klen, value, vlen);
	s->p = p;
	s->len += klen + vlen;
	return 0;
}

static void read_settings(struct conf *conf, const struct conf_settings *s)
{
	for (size_t off = 0; off < s->len;) {
		const char *key = s->p + off, *value = key + strlen(key) + 1, *why;
		const struct option_desc *o = option_find(key);

		/* They were checked where they stand, in the file. */
		if (o && o->set && o->set(conf, value, &why))
			log_warn("conf: ignored %s %s: allowed is %s", key, value, why);
		off += strlen(key) + strlen(value) + 2;
	}
}

const char *conf_check_setting(const char *key, const char *value)
{
	/* Known only to the command line: needed before the file is read. */
	static const char *const only_args[] = { "user", "group", "config", "no-app" };
	const struct option_desc *o = option_find(key);
	const char *why = "";
	struct conf *scratch;
	int err;

	if (!o || !o->set)
		return "no such setting";
	for (size_t i = 0; i < ARRAY_SIZE(only_args); i++)
		if (strcmp(o->name, only_args[i]) == 0)
			return "set on the command line only";
	scratch = calloc(1, sizeof(*scratch));
	if (!scratch)
		return "settable only with memory left";
	err = o->set(scratch, value, &why);
	free(scratch);
	return err ? why : NULL;
}

/* Who starts us in the place of another server (`rails server`) has other defaults. */
static int set_default_binds(struct conf *conf)
{
	const char *env = getenv("HYPERION_DEFAULT_BIND"), *why;
	char uris[256], *rest = uris, *uri;

	snprintf(uris, sizeof(uris), "%s", env ? env : "");
	while ((uri = strsep(&rest, ",")))
		if (*uri && option_find("bind")->set(conf, uri, &why))
			log_warn("conf: ignored HYPERION_DEFAULT_BIND=%s: allowed is %s", uri, why);
	return conf->nr_binds ? 0 : option_find("port")->set(conf, "9292", &why);
}

static void complete_binds(struct conf *conf)
{
	for (u32 i = 0; i < conf->nr_binds; i++)
		if (!conf->binds[i].congestion[0] && !bind_is_unix(&conf->binds[i]))
			memcpy(conf->binds[i].congestion, conf->tcp_congestion, CONGESTION_LEN);
}

/* The last one, and not in the place of the default. */
static int add_admin_bind(struct conf *conf)
{
	bool v6 = strchr(conf->admin_host, ':');
	const char *why = "at most 16 addresses";
	char uri[CONF_TEXT_LEN + 32];

	if (!conf->admin_port)
		return 0;
	snprintf(uri, sizeof(uri), v6 ? "tcp://[%s]:%u" : "tcp://%s:%u", conf->admin_host,
		 conf->admin_port);
	if (conf->nr_binds < MAX_BINDS && !bind_parse(uri, &conf->binds[conf->nr_binds], &why)) {
		conf->nr_binds++;
		return 0;
	}
	fprintf(stderr, "hyperion-bpf: --admin-listener-host %s: allowed is %s\n", conf->admin_host,
		why);
	return -EINVAL;
}

int conf_read(struct conf *conf, const struct conf_settings *settings, int argc, char **argv)
{
	int action;

	set_defaults(conf);
	conf->layer = CONF_FILE;
	if (settings)
		read_settings(conf, settings);
	conf->layer = CONF_ARGS;
	action = read_options(conf, argc, argv);
	if (action < 0 || action == CONF_EXIT)
		return action;
	conf->layer = CONF_ENV;
	read_environment(conf);
	conf->layer = CONF_DEFAULT;
	if (conf->limits.max_in_flight == MAX_IN_FLIGHT_AUTO)
		conf->limits.max_in_flight = max(conf->nr_threads / 4, 1u);
	if (!conf->nr_binds && set_default_binds(conf))
		return -EINVAL;
	complete_binds(conf);
	return add_admin_bind(conf) ? -EINVAL : action;
}
