/* SPDX-License-Identifier: MIT */
/*
 * Writes a worker's access log through its loop. Never waits for the reader:
 * what finds no room is dropped, counted, and told in the error log, at most
 * once a second and at the end.
 */
#ifndef HYPERION_SERVER_LOG_WRITER_H
#define HYPERION_SERVER_LOG_WRITER_H

#include "server/access_log.h"
#include "server/base.h"
#include "server/loop.h"
#include "server/wheel.h"

struct log_writer {
	struct access_log log;
	struct loop *loop;
	struct wheel *wheel;
	struct io io;
	int next_fd; /* takes the place of io.fd when nothing is in flight there; -1 = none */
	u64 nr_told; /* of log.dropped */
	u64 synced_ms; /* when the time of day was looked at */
	struct timer tell_timer; /* pending: told less than a second ago, or in vain */
	struct timer end_timer;
	bool ending; /* end_timer was started */
	bool given_up; /* at the end: nobody takes the rest */
};

/*
 * @format as access_format_compile() has it, or auto: text on a terminal, else
 * json. @fd stays the caller's. 0 or -errno.
 */
int log_writer_init(struct log_writer *lw, struct loop *loop, struct wheel *wheel, int fd,
		    const char *format, u32 worker) __must_check;
void log_writer_fini(struct log_writer *lw);

static inline void log_writer_add(struct log_writer *lw, const struct req *r)
{
	access_log_add(&lw->log, r);
}

/* Once per batch: begins to write what there is. */
void log_writer_flush(struct log_writer *lw);

/* @fd, which it takes over, goes under the number of the one before. */
void log_writer_reopen(struct log_writer *lw, int fd);

/* No more lines will come. true: all is written, or there was a second for it. */
bool log_writer_ended(struct log_writer *lw);

/* The last word: what is not written by now is dropped, and told. */
void log_writer_end(struct log_writer *lw);

#endif
