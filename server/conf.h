/* SPDX-License-Identifier: MIT */
/*
 * The settings of one run: environment before command line before defaults.
 * Read once, then immutable.
 */
#ifndef HYPERION_SERVER_CONF_H
#define HYPERION_SERVER_CONF_H

#include "server/access_log.h"
#include "server/base.h"
#include "server/http.h"
#include "server/listen.h"

#define HYPERION_VERSION "0.1.0"
#define MAX_BINDS 16u
#define MAX_WORKERS 256u
#define MAX_CONSTANTS 64u

enum io_uring_mode { IO_URING_AUTO, IO_URING_ON, IO_URING_OFF };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct conf_constant {
	const char *path; /* not NUL-terminated: path_len */
	size_t path_len;
	const char *body;
};

struct conf {
	struct bind binds[MAX_BINDS];
	u32 nr_binds;
	u32 nr_workers;
	u32 max_connections; /* per worker */
	u32 graceful_timeout_ms;
	struct limits limits;
	enum io_uring_mode io_uring;
	enum log_format log_format;
	bool log_requests;
	bool pin;
	const char *pidfile;
	struct conf_constant constants[MAX_CONSTANTS];
	u32 nr_constants;
};

enum conf_action { CONF_RUN, CONF_CHECK, CONF_EXIT };

/*
 * Reads environment and command line. CONF_EXIT: help or version was printed.
 * -EINVAL: what is wrong was said on stderr.
 */
int conf_read(struct conf *conf, int argc, char **argv) __must_check;

#endif
