/* SPDX-License-Identifier: MIT */
/*
 * The error log: one line per event on stderr, area first, key=value tail
 * ("listen: port busy addr=0.0.0.0:9292"). Not for requests: those go to the
 * access log.
 */
#ifndef HYPERION_SERVER_LOG_H
#define HYPERION_SERVER_LOG_H

#include "server/base.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

extern enum log_level log_level;

/* 0, or -EINVAL when @name is no level. */
int log_level_parse(const char *name, enum log_level *out) __must_check;
const char *log_level_name(enum log_level level);

void log_line(enum log_level level, const char *fmt, ...) __printf(2, 3);

#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)

/*
 * At most @burst lines per second from one call site; what was left out is
 * counted and said with the next line that passes.
 */
struct log_limit {
	u64 second;
	u32 passed, dropped;
};

/* @tail gets " suppressed=N", or "" when none were left out. */
#define LOG_TAIL_LEN 32
bool log_limit_pass(struct log_limit *l, u32 burst, char tail[LOG_TAIL_LEN]);

#define log_limited(level, fmt, ...)                                                               \
	do {                                                                                       \
		static struct log_limit _limit;                                                    \
		char _tail[LOG_TAIL_LEN];                                                          \
		if (log_limit_pass(&_limit, 10, _tail))                                            \
			log_line(level, fmt "%s", __VA_ARGS__, _tail);                             \
	} while (0)

#endif
