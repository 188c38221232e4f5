/* SPDX-License-Identifier: MIT */
/*
 * One line per request, formatted when its answer was sent, collected in one
 * of two buffers while the other is being written. When both are full lines
 * are dropped and counted: a log that nobody reads delays nobody.
 */
#ifndef HYPERION_SERVER_ACCESS_LOG_H
#define HYPERION_SERVER_ACCESS_LOG_H

#include "server/access_format.h"
#include "server/base.h"
#include "server/req.h"

#define ACCESS_LOG_LEN (64 * KIB)

struct access_log {
	struct access_format format;
	struct access_clock clock;
	u32 worker;
	char *filling, *writing; /* ACCESS_LOG_LEN bytes each */
	size_t filled;
	size_t write_off, write_len; /* what is left of the buffer being written */
	size_t piece_max; /* of what is offered at once, in whole lines */
	u64 dropped; /* lines */
};

/* @format as access_format_compile() has it. 0, -EINVAL or -ENOMEM. */
int access_log_init(struct access_log *log, const char *format, u32 worker) __must_check;
void access_log_fini(struct access_log *log);

void access_log_add(struct access_log *log, const struct req *r);

/*
 * The bytes to write next, empty when there are none. A pipe that several
 * workers share takes at most PIPE_BUF bytes in one piece (pipe(7)); more would
 * mix their lines, so for a pipe set piece_max to that.
 */
struct view access_log_next(struct access_log *log);

void access_log_written(struct access_log *log, size_t n);

/* The next @n bytes are given up; their lines count as dropped. */
void access_log_lost(struct access_log *log, size_t n);

/* The same with everything that is left. */
void access_log_give_up(struct access_log *log);

static inline bool access_log_empty(const struct access_log *log)
{
	return !log->filled && !log->write_len;
}

#endif
