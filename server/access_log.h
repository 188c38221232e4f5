/* SPDX-License-Identifier: MIT */
/*
 * One line per request, formatted when its answer was sent, collected in one
 * of two buffers while the other is being written. When both are full lines
 * are dropped and counted: a log that nobody reads delays nobody.
 */
#ifndef HYPERION_SERVER_ACCESS_LOG_H
#define HYPERION_SERVER_ACCESS_LOG_H

#include "server/base.h"
#include "server/req.h"

enum access_format { ACCESS_TEXT, ACCESS_JSON };

#define ACCESS_LOG_LEN (64 * KIB)
#define ACCESS_LINE_MAX 2048u /* longer targets are cut */

struct access_log {
	enum access_format format;
	u32 worker;
	u64 realtime_ns; /* what to add to CLOCK_MONOTONIC for the time of day */
	char *filling, *writing; /* ACCESS_LOG_LEN bytes each */
	size_t filled;
	size_t write_off, write_len; /* what is left of the buffer being written */
	size_t piece_max; /* of what is offered at once, in whole lines */
	u64 dropped; /* lines */
};

int access_log_init(struct access_log *log, enum access_format format, u32 worker) __must_check;
void access_log_fini(struct access_log *log);

void access_log_add(struct access_log *log, const struct req *r);

/*
 * The bytes to write next, empty when there are none. A pipe that several
 * workers share takes at most PIPE_BUF bytes in one piece (pipe(7)); more would
 * mix their lines, so for a pipe set piece_max to that.
 */
struct view access_log_next(struct access_log *log);

void access_log_written(struct access_log *log, size_t n);

#endif
