/* SPDX-License-Identifier: MIT */
#include "server/log.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum log_level log_level = LOG_LEVEL_INFO;

/* Process-wide, as the level: the number of a descriptor stays the same once it is not stderr's. */
static int out_fd = STDERR_FILENO;
static bool out_dated;
static u64 nr_dropped; /* entries not yet spoken of; __atomic, any thread */

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

/* --- where it goes --- */

int log_fd(void)
{
	return __atomic_load_n(&out_fd, __ATOMIC_RELAXED);
}

void log_use(int fd, bool dated)
{
	int old = log_fd();

	if (fd < 0) {
		__atomic_store_n(&out_fd, STDERR_FILENO, __ATOMIC_RELAXED);
		if (old != STDERR_FILENO)
			close(old);
	} else if (old == STDERR_FILENO) {
		__atomic_store_n(&out_fd, fd, __ATOMIC_RELAXED);
	} else {
		/* The old number: another thread may be about to write to it. */
		dup3(fd, old, O_CLOEXEC);
		close(fd);
	}
	__atomic_store_n(&out_dated, fd >= 0 && dated, __ATOMIC_RELAXED);
}

int log_open(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);

	return fd < 0 ? -errno : fd;
}

int log_open_copy(int fd)
{
	char path[32];
	struct stat st;
	int copy = -1;

	if (fstat(fd, &st))
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (S_ISFIFO(st.st_mode))
		copy = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK);
	if (copy < 0)
		copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	return copy < 0 ? -errno : copy;
}

/* --- writing --- */

/* The next piece that is taken as a whole: whole lines as far as they fit. */
static size_t piece_of(const char *p, size_t len, bool regular)
{
	const char *end;

	if (regular || len <= PIPE_BUF)
		return len;
	end = memrchr(p, '\n', PIPE_BUF);
	return end ? (size_t)(end + 1 - p) : PIPE_BUF;
}

static bool has_room(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };

	return poll(&pfd, 1, 0) == 1;
}

/* The bytes that were taken. POLLOUT of a pipe means room for PIPE_BUF bytes. */
static size_t write_some(const char *p, size_t len)
{
	int fd = log_fd();
	struct stat st;
	bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	size_t done = 0;

	while (done < len && (regular || has_room(fd))) {
		size_t piece = piece_of(p + done, len - done, regular);
		ssize_t n = write(fd, p + done, piece);

		if (n <= 0 && errno != EINTR)
			break;
		if (n > 0)
			done += (size_t)n;
	}
	return done;
}

size_t log_start(char *p, size_t room, enum log_level level)
{
	struct timespec ts;
	size_t n = 0;
	struct tm tm;

	if (__atomic_load_n(&out_dated, __ATOMIC_RELAXED)) {
		clock_gettime(CLOCK_REALTIME, &ts);
		gmtime_r(&ts.tv_sec, &tm);
		n = strftime(p, room, "%Y-%m-%dT%H:%M:%SZ ", &tm);
	}
	return n + (size_t)snprintf(p + n, room - n, "[%d] %s: ", (int)getpid(), level_names[level]);
}

/* What was dropped comes before what follows it. false: there is still no room. */
static bool tell_dropped(void)
{
	char line[160];
	u64 nr;
	size_t n;

	if (likely(!__atomic_load_n(&nr_dropped, __ATOMIC_RELAXED)))
		return true;
	/* Taken by one thread only. */
	nr = __atomic_exchange_n(&nr_dropped, 0, __ATOMIC_RELAXED);
	if (!nr)
		return true;
	n = log_start(line, LOG_START_MAX, LOG_LEVEL_WARN);
	n += (size_t)snprintf(line + n, sizeof(line) - n,
			      "log: %llu entries of the error log dropped, nobody read it\n",
			      (unsigned long long)nr);
	if (write_some(line, n))
		return true;
	__atomic_fetch_add(&nr_dropped, nr, __ATOMIC_RELAXED);
	return false;
}

bool log_entry(const char *p, size_t len)
{
	if (tell_dropped() && write_some(p, len) == len)
		return true;
	__atomic_fetch_add(&nr_dropped, 1, __ATOMIC_RELAXED);
	return false;
}

bool log_line(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n, m;

	if (level < log_level_get())
		return true;
	n = (int)log_start(line, LOG_START_MAX, level);
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (m < 0)
		return true;
	n = min(n + m, (int)sizeof(line) - 2);
	line[n++] = '\n';
	/* One write: lines of several processes stay whole. */
	return log_entry(line, (size_t)n);
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
