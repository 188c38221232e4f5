/* SPDX-License-Identifier: MIT */
#include "server/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum log_level log_level = LOG_LEVEL_INFO;

static const char *const level_names[] = {
	[LOG_LEVEL_DEBUG] = "debug",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_ERROR] = "error",
};

int log_level_parse(const char *name, enum log_level *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n, m;

	if (level < log_level)
		return;
	n = snprintf(line, sizeof(line), "[%d] %s: ", (int)getpid(), level_names[level]);
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (m < 0)
		return;
	n = min(n + m, (int)sizeof(line) - 2);
	line[n++] = '\n';
	/* One write: lines of several processes stay whole. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nowhere left to say it */
}

bool log_limit_pass(struct log_limit *l, u32 burst, char tail[LOG_TAIL_LEN])
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	if ((u64)ts.tv_sec != l->second) {
		l->second = (u64)ts.tv_sec;
		l->passed = 0;
	}
	if (l->passed >= burst) {
		l->dropped++;
		return false;
	}
	l->passed++;
	tail[0] = '\0';
	if (l->dropped)
		snprintf(tail, LOG_TAIL_LEN, " suppressed=%u", l->dropped);
	l->dropped = 0;
	return true;
}
