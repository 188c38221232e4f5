/* SPDX-License-Identifier: MIT */
#include "tools/ctl_link.h"

#include <errno.h>
#include <glob.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX (4u << 20) /* bytes of a line; a server sends at most one MiB */

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (long long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

__attribute__((format(printf, 3, 4))) static enum ctl_outcome
fail(struct ctl_link *l, enum ctl_outcome outcome, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(l->why, sizeof(l->why), fmt, args);
	va_end(args);
	return outcome;
}

/* --- sockets that there are --- */

/*
 * The folders of instances, those that a server tries first coming first. We may not be
 * let into one of them.
 */
static void find_folders(glob_t *found)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	char pattern[PATH_MAX];
	int flags = GLOB_NOSORT;

	memset(found, 0, sizeof(*found));
	glob("/run/hyperion/*", flags, NULL, found);
	flags |= GLOB_APPEND;
	if (xdg && xdg[0] == '/' && strlen(xdg) < 256 && !strpbrk(xdg, "*?[\\")) {
		snprintf(pattern, sizeof(pattern), "%s/hyperion/*", xdg);
		glob(pattern, flags, NULL, found);
	}
	if (geteuid() == 0) {
		/* Root finds everybody's. */
		glob("/run/user/*/hyperion/*", flags, NULL, found);
		glob("/dev/shm/hyperion-*/*", flags, NULL, found);
		return;
	}
	snprintf(pattern, sizeof(pattern), "/dev/shm/hyperion-%u/*", (unsigned)geteuid());
	glob(pattern, flags, NULL, found);
}

static const char *name_of(const char *folder)
{
	return strrchr(folder, '/') + 1;
}

static void socket_in(const char *folder, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/control", folder);
}

/* A socket, or -errno. */
static int try(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int err, fd;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* Whether somebody is there, whoever may speak to them. */
static bool answers(const char *path)
{
	int fd = try(path);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -EACCES || fd == -EAGAIN;
}

static enum ctl_outcome say_unknown(struct ctl_link *l, const char *instance, const glob_t *found)
{
	char names[512] = "";
	size_t len = 0;

	for (size_t i = 0; i < found->gl_pathc; i++) {
		const char *name = name_of(found->gl_pathv[i]);
		char path[PATH_MAX];

		socket_in(found->gl_pathv[i], path);
		if (!answers(path))
			continue;
		if (len + strlen(name) + 3 < sizeof(names))
			len += (size_t)sprintf(names + len, "%s%s", len ? ", " : "", name);
	}
	return fail(l, CTL_NO_SERVER, "no server of the instance %s runs here%s%s", instance,
		    len ? "; there is " : ", and no other", names);
}

static enum ctl_outcome say_forbidden(struct ctl_link *l, const char *path)
{
	char user[64] = "?", group[64] = "?", folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	const struct passwd *pw;
	const struct group *gr;
	struct stat st;

	/* Where the folder is closed, it has the same owners. */
	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
	if (!stat(path, &st) || !stat(folder, &st)) {
		pw = getpwuid(st.st_uid);
		gr = getgrgid(st.st_gid);
		snprintf(user, sizeof(user), "%u", (unsigned)st.st_uid);
		snprintf(group, sizeof(group), "%u", (unsigned)st.st_gid);
		if (pw)
			snprintf(user, sizeof(user), "%.60s", pw->pw_name);
		if (gr)
			snprintf(group, sizeof(group), "%.60s", gr->gr_name);
	}
	return fail(l, CTL_NOT_ALLOWED,
		    "may not use %s: be root%s%s, or of the group %s to read only", path,
		    strcmp(user, "root") ? " or " : "", strcmp(user, "root") ? user : "", group);
}

/* Who listens there, as a descriptor; -1: unknown here. */
static int server_of(int fd)
{
	struct ucred who = { 0 };
	socklen_t len = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) || who.pid <= 0)
		return -1;
	return (int)syscall(SYS_pidfd_open, who.pid, 0);
}

static enum ctl_outcome connect_to(struct ctl_link *l, const char *path)
{
	int fd = try(path);

	/* Its queue is full for the moment. */
	for (; fd == -EAGAIN && now_ms() < l->until_ms; fd = try(path))
		poll(NULL, 0, 20);
	if (fd >= 0) {
		l->fd = fd;
		l->process_fd = server_of(fd);
		return CTL_FINE;
	}
	switch (fd) {
	case -EACCES:
		return say_forbidden(l, path);
	case -ECONNREFUSED:
		return fail(l, CTL_NO_SERVER,
			    "the server was killed, and left its socket behind: %s", path);
	case -ENOENT:
	case -ENOTDIR:
		return fail(l, CTL_NO_SERVER, "no server listens at %s", path);
	case -EAGAIN:
		return fail(l, CTL_FAILED, "%s: too many wait for the server, for %g s", path,
			    l->patience);
	default:
		return fail(l, CTL_FAILED, "%s: %s", path, strerror(-fd));
	}
}

enum ctl_outcome ctl_link_open(struct ctl_link *l, const char *instance, const char *path,
			       double patience)
{
	enum ctl_outcome outcome = CTL_NO_SERVER;
	bool any = false;
	glob_t found;

	*l = (struct ctl_link){
		.fd = -1,
		.process_fd = -1,
		.until_ms = now_ms() + (long long)(patience * 1000),
		.patience = patience,
	};
	if (path)
		return connect_to(l, path);
	find_folders(&found);
	/* What a killed server left in one place says nothing of the next place. */
	for (size_t i = 0; i < found.gl_pathc && outcome == CTL_NO_SERVER; i++) {
		char socket[PATH_MAX];

		if (strcmp(name_of(found.gl_pathv[i]), instance) != 0)
			continue;
		socket_in(found.gl_pathv[i], socket);
		outcome = connect_to(l, socket);
		any |= outcome != CTL_NO_SERVER || access(socket, F_OK) == 0;
	}
	if (!any)
		outcome = say_unknown(l, instance, &found);
	globfree(&found);
	return outcome;
}

/* --- lines --- */

/* Until @events of @fd; CTL_FAILED when patience is over. */
static enum ctl_outcome wait_for(struct ctl_link *l, int fd, short events)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	for (;;) {
		long long left = l->until_ms - now_ms();
		int n = poll(&pfd, 1, left > 0 ? (int)left : 0);

		if (n > 0)
			return CTL_FINE;
		if (n == 0)
			return fail(l, CTL_FAILED, "the server did not answer within %g s",
				    l->patience);
		if (errno != EINTR)
			return fail(l, CTL_FAILED, "poll: %s", strerror(errno));
	}
}

static enum ctl_outcome went(struct ctl_link *l)
{
	return fail(l, CTL_NO_SERVER, "the server went away before it answered; was it killed?");
}

/* What it refuses to read it has answered already, perhaps. */
static enum ctl_outcome send_all(struct ctl_link *l, const char *p, size_t len)
{
	while (len) {
		enum ctl_outcome outcome = wait_for(l, l->fd, POLLOUT);
		ssize_t n;

		if (outcome)
			return outcome;
		n = send(l->fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return CTL_FINE;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return fail(l, CTL_FAILED, "send: %s", strerror(errno));
		p += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return CTL_FINE;
}

static int make_room(struct ctl_link *l)
{
	size_t cap = l->rest_cap ? l->rest_cap * 2 : 65536;
	char *more;

	if (l->rest_len < l->rest_cap)
		return 0;
	more = cap > ANSWER_MAX ? NULL : realloc(l->rest, cap);
	if (!more)
		return -1;
	l->rest = more;
	l->rest_cap = cap;
	return 0;
}

/* More bytes; CTL_NO_SERVER at the end of file. */
static enum ctl_outcome receive(struct ctl_link *l)
{
	enum ctl_outcome outcome = wait_for(l, l->fd, POLLIN);
	ssize_t n;

	if (outcome)
		return outcome;
	if (make_room(l))
		return fail(l, CTL_FAILED, "the answer is too long");
	n = recv(l->fd, l->rest + l->rest_len, l->rest_cap - l->rest_len, 0);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return went(l);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return fail(l, CTL_FAILED, "recv: %s", strerror(errno));
	l->rest_len += n > 0 ? (size_t)n : 0;
	return CTL_FINE;
}

enum ctl_outcome ctl_link_ask(struct ctl_link *l, const json_t *request, json_t **answer)
{
	char *line = json_dumps(request, JSON_COMPACT), *end;
	enum ctl_outcome outcome;
	json_error_t error;
	size_t len;

	*answer = NULL;
	if (!line)
		return fail(l, CTL_FAILED, "out of memory");
	len = strlen(line);
	line[len] = '\n';
	outcome = send_all(l, line, len + 1);
	free(line);
	while (!outcome && !(l->rest_len && memchr(l->rest, '\n', l->rest_len)))
		outcome = receive(l);
	if (outcome)
		return outcome;
	end = memchr(l->rest, '\n', l->rest_len);
	len = (size_t)(end - l->rest);
	*answer = json_loadb(l->rest, len, 0, &error);
	l->rest_len -= len + 1;
	memmove(l->rest, end + 1, l->rest_len);
	if (!json_is_object(*answer) || !json_is_boolean(json_object_get(*answer, "ok"))) {
		json_decref(*answer);
		*answer = NULL;
		return fail(l, CTL_FAILED, "what answers there is no hyperion-bpf");
	}
	return CTL_FINE;
}

enum ctl_outcome ctl_link_wait_end(struct ctl_link *l)
{
	enum ctl_outcome outcome;

	while (!(outcome = receive(l)))
		l->rest_len = 0;
	if (outcome != CTL_NO_SERVER)
		return outcome;
	/* It has closed the socket, which is among the last things that it does. */
	return l->process_fd < 0 ? CTL_FINE : wait_for(l, l->process_fd, POLLIN);
}

void ctl_link_close(struct ctl_link *l)
{
	if (l->fd >= 0)
		close(l->fd);
	if (l->process_fd >= 0)
		close(l->process_fd);
	free(l->rest);
	l->rest = NULL;
	l->fd = l->process_fd = -1;
}
