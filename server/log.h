/* SPDX-License-Identifier: MIT */
/*
 * The error log: one line per event, area first, key=value tail ("listen:
 * port busy addr=0.0.0.0:9292"), on stderr or where log_use() says. Not for
 * requests: those go to the access log.
 *
 * Nothing here waits. What a full pipe does not take is dropped, counted, and
 * said when there is room again. Our own O_NONBLOCK would do, but stdout and
 * stderr are shared with whoever else has them open.
 */
#ifndef HYPERION_SERVER_LOG_H
#define HYPERION_SERVER_LOG_H

#include "server/base.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

extern enum log_level log_level; /* __atomic once there are threads: by these two */

static inline enum log_level log_level_get(void)
{
	return __atomic_load_n(&log_level, __ATOMIC_RELAXED);
}

static inline void log_level_set(enum log_level level)
{
	__atomic_store_n(&log_level, level, __ATOMIC_RELAXED);
}

/* 0, or -EINVAL when @name is no level. */
int log_level_parse(const char *name, enum log_level *out) __must_check;
const char *log_level_name(enum log_level level);

/* false: it was dropped. What its level keeps away was not. */
bool log_line(enum log_level level, const char *fmt, ...) __printf(2, 3);

/* What a line begins with, for the makers of entries; its length, at most LOG_START_MAX. */
#define LOG_START_MAX 64u
size_t log_start(char *p, size_t room, enum log_level level);

/* An entry of whole lines; from any thread. false: all of it or its end was dropped. */
bool log_entry(const char *p, size_t len);

#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)

/*
 * From now on to @fd, which is the log's; the one before is closed, in one
 * step for those who write meanwhile. @dated: lines begin with the time, as in
 * a file. -1: to stderr again.
 */
void log_use(int fd, bool dated);

/* Where it goes; only to pass it on. */
int log_fd(void);

/*
 * For a log that may be a pipe: the same one with O_NONBLOCK, a new descriptor
 * (CLOEXEC) with a description of its own; else just a copy. -errno.
 */
int log_open_copy(int fd) __must_check;

/*
 * Opens @path for lines at its end, not waiting for the reader of a pipe
 * either; CLOEXEC. -errno.
 */
int log_open(const char *path) __must_check;

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
