/* SPDX-License-Identifier: MIT */
#include "server/access_log.h"

#include <stdlib.h>

#include "server/fail.h"

int access_log_init(struct access_log *log, const char *format, u32 worker)
{
	const char *why;

	*log = (struct access_log){ .worker = worker, .piece_max = ACCESS_LOG_LEN };
	if (access_format_compile(&log->format, format, &why))
		return -EINVAL;
	access_clock_sync(&log->clock);
	log->filling = mem_alloc(ACCESS_LOG_LEN);
	log->writing = mem_alloc(ACCESS_LOG_LEN);
	if (log->filling && log->writing)
		return 0;
	access_log_fini(log);
	return -ENOMEM;
}

void access_log_fini(struct access_log *log)
{
	free(log->filling);
	free(log->writing);
	log->filling = log->writing = NULL;
}

void access_log_add(struct access_log *log, const struct req *r)
{
	if (ACCESS_LOG_LEN - log->filled < ACCESS_LINE_MAX) {
		log->dropped++;
		return;
	}
	log->filled += access_format_line(&log->format, &log->clock, log->worker, r,
					  log->filling + log->filled);
}

struct view access_log_next(struct access_log *log)
{
	const char *from, *end;
	size_t n;

	if (!log->write_len && log->filled) {
		char *p = log->writing;

		log->writing = log->filling;
		log->filling = p;
		log->write_off = 0;
		log->write_len = log->filled;
		log->filled = 0;
	}
	from = log->writing + log->write_off;
	n = min(log->write_len, log->piece_max);
	if (n < log->write_len) {
		end = memrchr(from, '\n', n);
		n = end ? (size_t)(end + 1 - from) : n;
	}
	return (struct view){ from, n };
}

void access_log_written(struct access_log *log, size_t n)
{
	log->write_off += n;
	log->write_len -= n;
}

static u64 lines_in(const char *p, size_t len)
{
	const char *end = p + len;
	u64 n = 0;

	while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
		p++;
		n++;
	}
	return n;
}

void access_log_lost(struct access_log *log, size_t n)
{
	log->dropped += lines_in(log->writing + log->write_off, n);
	access_log_written(log, n);
}

void access_log_give_up(struct access_log *log)
{
	access_log_lost(log, log->write_len);
	log->dropped += lines_in(log->filling, log->filled);
	log->filled = 0;
}
