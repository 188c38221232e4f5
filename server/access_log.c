/* SPDX-License-Identifier: MIT */
#include "server/access_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "server/fail.h"

static u64 clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

int access_log_init(struct access_log *log, enum access_format format, u32 worker)
{
	*log = (struct access_log){ .format = format, .worker = worker, .piece_max = ACCESS_LOG_LEN };
	log->realtime_ns = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
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

/*
 * Bytes that could end the line or the JSON string, or steer a terminal,
 * become \xHH (text) or \u00HH (JSON).
 */
static size_t put_escaped(char *p, size_t room, struct view v, bool json)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;

	for (size_t i = 0; i < v.len && n + 6 <= room; i++) {
		u8 c = (u8)v.p[i];

		if (c == '"' || c == '\\') {
			p[n++] = '\\';
			p[n++] = (char)c;
		} else if (c > 0x20 && c < 0x7f) {
			p[n++] = (char)c;
		} else if (json) {
			memcpy(p + n, "\\u00", 4);
			p[n + 4] = hex[c >> 4];
			p[n + 5] = hex[c & 15];
			n += 6;
		} else {
			memcpy(p + n, "\\x", 2);
			p[n + 2] = hex[c >> 4];
			p[n + 3] = hex[c & 15];
			n += 4;
		}
	}
	return n;
}

static size_t put_time(char *p, size_t room, u64 ns)
{
	time_t second = (time_t)(ns / NSEC_PER_SEC);
	struct tm tm;

	gmtime_r(&second, &tm);
	return (size_t)snprintf(p, room, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900,
				tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
				(u32)(ns % NSEC_PER_SEC / NSEC_PER_MSEC));
}

static double ms_between(u64 from, u64 to)
{
	return to > from ? (double)(to - from) / 1e6 : 0.0;
}

static size_t format_line(const struct access_log *log, const struct req *r, char *p)
{
	bool json = log->format == ACCESS_JSON, cut = !r->times[REQ_T_SENT];
	size_t room = ACCESS_LINE_MAX, tail = 200, n = 0;
	u64 start = r->times[REQ_T_START];

	n += (size_t)snprintf(p, room, json ? "{\"time\":\"" : "time=");
	n += put_time(p + n, room - n, start + log->realtime_ns);
	n += (size_t)snprintf(p + n, room - n, json ? "\",\"method\":\"" : " method=");
	n += put_escaped(p + n, 64, r->method_name, json);
	n += (size_t)snprintf(p + n, room - n, json ? "\",\"path\":\"" : " path=\"");
	n += put_escaped(p + n, room - n - tail, r->target, json);
	n += (size_t)snprintf(p + n, room - n,
			      json ? "\",\"status\":%u,\"bytes\":%llu,\"total_ms\":%.3f,"
				     "\"worker\":%u,\"sent\":%s}\n"
				   : "\" status=%u bytes=%llu total_ms=%.3f worker=%u sent=%s\n",
			      r->status, (unsigned long long)r->bytes_out,
			      ms_between(start, r->times[REQ_T_SENT]), log->worker,
			      cut ? "false" : "true");
	return n;
}

void access_log_add(struct access_log *log, const struct req *r)
{
	if (ACCESS_LOG_LEN - log->filled < ACCESS_LINE_MAX) {
		log->dropped++;
		return;
	}
	log->filled += format_line(log, r, log->filling + log->filled);
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
