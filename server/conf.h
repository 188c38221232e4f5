/* SPDX-License-Identifier: MIT */
/*
 * The settings of one run: environment before command line before config file
 * before defaults. Plain bytes without pointers into anything but argv; read
 * at start, then immutable.
 */
#ifndef HYPERION_SERVER_CONF_H
#define HYPERION_SERVER_CONF_H

#include "server/base.h"
#include "server/guard.h"
#include "server/http.h"
#include "server/listen.h"
#include "server/named.h"

#define MAX_BINDS 16u
#define MAX_WORKERS 256u
#define MAX_CONSTANTS 64u
#define MAX_TREES 32u
#define MAX_PRELOADS 32u
#define CONF_TEXT_LEN 256u
#define CONF_FORMAT_LEN 1024u
#define MAX_IN_FLIGHT_AUTO UINT32_MAX /* while settings are read: follows the threads */
#define INSTANCE_LEN 64u

enum io_uring_mode { IO_URING_AUTO, IO_URING_ON, IO_URING_OFF };
enum conf_layer { CONF_DEFAULT, CONF_FILE, CONF_ARGS, CONF_ENV };

struct conf_constant {
	const char *path; /* in argv; not NUL-terminated: path_len */
	size_t path_len;
	const char *body;
};

struct conf_tree {
	char prefix[CONF_TEXT_LEN];
	char dir[CONF_TEXT_LEN];
	bool immutable; /* its files never change */
	bool internal; /* only the app may name them */
};

struct conf_preload {
	char dir[CONF_TEXT_LEN];
	bool immutable;
};

struct conf {
	enum conf_layer layer, binds_layer; /* which is being read, which gave the binds */
	struct bind binds[MAX_BINDS];
	u32 nr_binds;
	char tcp_congestion[CONGESTION_LEN]; /* of the addresses that do not say; "": the system's */
	u32 nr_workers;
	u32 nr_threads; /* Ruby threads per worker; 0 = on the I/O thread */
	u32 max_connections; /* per worker */
	u32 max_pending; /* requests per worker that wait for the app */
	u32 graceful_timeout_ms;
	struct limits limits;
	enum io_uring_mode io_uring;
	bool log_requests, request_id;
	char log_format[CONF_FORMAT_LEN]; /* auto, or as access_format_compile() has it */
	char log_file[CONF_TEXT_LEN], error_log[CONF_TEXT_LEN]; /* "" = stdout, stderr */
	bool pin;
	bool no_app, preload, rebalance;
	bool no_bpf;
	bool observe; /* connections, by bpf/observe.bpf.c */
	char instance[INSTANCE_LEN];
	char control_group[CONF_TEXT_LEN]; /* "" = the one that Ruby runs as */
	char admin_token[CONF_TEXT_LEN], admin_token_file[CONF_TEXT_LEN]; /* "" = none */
	char admin_host[CONF_TEXT_LEN];
	u16 admin_port; /* 0 = no listener of its own */
	char config[CONF_TEXT_LEN]; /* "" = none */
	char rackup[CONF_TEXT_LEN];
	char environment[CONF_TEXT_LEN];
	char user[CONF_TEXT_LEN], group[CONF_TEXT_LEN]; /* "" = not said */
	char pidfile[CONF_TEXT_LEN]; /* "" = none */
	struct conf_constant constants[MAX_CONSTANTS];
	u32 nr_constants;
	struct conf_tree trees[MAX_TREES];
	u32 nr_trees;
	u32 static_recheck_ms; /* how long a file is believed to be as it was */
	struct conf_preload preloads[MAX_PRELOADS];
	u32 nr_preloads;
	bool no_preload_static; /* not even what was found to be worth it */
	char sendfile_roots[MAX_SENDFILE_ROOTS][CONF_TEXT_LEN]; /* what X-Sendfile may name */
	u32 nr_sendfile_roots;
	struct guard_settings guard;
};

/* The CPUs that we may use: affinity, and the share that a cgroup grants. */
u32 conf_cpu_count(void);

enum conf_action { CONF_RUN, CONF_CHECK, CONF_EXIT };

/* What a config file says, in its order: "key\0value\0key\0value\0...". */
struct conf_settings {
	char *p;
	size_t len;
};

int conf_settings_add(struct conf_settings *s, const char *key, const char *value) __must_check;

/*
 * Reads @settings (of a config file; may be NULL), command line and
 * environment. CONF_EXIT: help or version was printed. -EINVAL: what is wrong
 * was said on stderr.
 */
int conf_read(struct conf *conf, const struct conf_settings *settings, int argc,
	      char **argv) __must_check;

/* One setting of a config file: NULL, or what is allowed. */
const char *conf_check_setting(const char *key, const char *value);

#endif
