/* SPDX-License-Identifier: MIT */
/*
 * The supervisor opens the logs, for the workers may not be allowed to, and
 * passes the descriptors on: one description each, appended to by all.
 */
#include "server/supervisor_state.h"

#include <fcntl.h>
#include <unistd.h>

#include "server/log.h"
#include "server/privileges.h"

/* By name, or what our own standard descriptor leads to. */
static int open_log(const struct supervisor *s, const char *option, const char *path, int standard)
{
	int fd = path[0] ? log_open(path) : log_open_copy(standard);

	if (fd == -EACCES && supervisor_act_as_owner(s)) {
		fd = log_open(path);
		privileges_act_as_self();
	}

	if (fd >= 0)
		return fd;
	if (!path[0]) /* it is closed: as good as nowhere */
		return log_open("/dev/null");
	log_error("log: --%s %s: %s%s", option, path, strerror(-fd),
		  fd == -ENXIO ? "; nobody reads this pipe"
			       : "; name a file that can be written, or leave it out");
	return fd;
}

int logs_open(struct supervisor *s)
{
	if (s->log_fd >= 0)
		return 0;
	s->log_fd = open_log(s, "log-file", s->conf->log_file, STDOUT_FILENO);
	s->error_fd = open_log(s, "error-log", s->conf->error_log, STDERR_FILENO);
	return s->log_fd < 0 ? s->log_fd : min(s->error_fd, 0);
}

void logs_use(struct supervisor *s)
{
	int fd = fcntl(s->error_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

	if (fd >= 0)
		log_use(fd, s->conf->error_log[0]);
}

void logs_send(const struct supervisor *s, int control_fd)
{
	struct control c = { .word = CONTROL_LOGS, .nr_fds = 2, .fds = { s->log_fd, s->error_fd } };
	int err = control_fd < 0 ? 0 : control_send(control_fd, &c);

	if (err)
		log_error("log: cannot pass the log files on: %s", strerror(-err));
}

/* What cannot be opened stays as it was. */
static int reopen(const struct supervisor *s, const char *option, const char *path, int standard,
		  int *fd)
{
	int new = path[0] ? open_log(s, option, path, standard) : -1;

	if (new < 0)
		return path[0] ? -EIO : 0;
	close(*fd);
	*fd = new;
	return 0;
}

int logs_reopen(struct supervisor *s)
{
	const struct conf *conf = s->conf;
	int err, err2;

	if (!s->served || (!conf->log_file[0] && !conf->error_log[0]))
		return 0;
	err = reopen(s, "log-file", conf->log_file, STDOUT_FILENO, &s->log_fd);
	err2 = reopen(s, "error-log", conf->error_log, STDERR_FILENO, &s->error_fd);
	logs_use(s);
	if (s->mold.state == MOLD_READY)
		logs_send(s, s->mold.control_fd);
	for (u32 i = 0; i < MAX_WORKERS; i++)
		if (s->slots.slots[i].state != SLOT_EMPTY)
			logs_send(s, s->slots.slots[i].control_fd);
	log_info("log: files opened anew");
	return err ? err : err2;
}
