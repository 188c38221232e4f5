/* SPDX-License-Identifier: MIT */
#include "server/supervisor_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/log.h"
#include "server/spawn.h"

#define LEAVE_MS 5000u /* for the exit handlers of an app that could not be loaded */

void mold_start(struct supervisor *s)
{
	struct mold *m = &s->mold;
	int err;

	if (s->conf->no_app || m->state != MOLD_NONE || s->stop != STOP_NONE ||
	    supervisor_clock_ms() < m->start_at_ms)
		return;
	err = spawn_mold(&s->runas, s->argv, &s->old_mask, &m->pid, &m->control_fd);
	if (err) {
		log_error("supervisor: cannot start the mold: %s", strerror(-err));
		if (!s->served)
			supervisor_fail(s, 1);
		m->start_at_ms = supervisor_back_off(&m->backoff_ms);
		return;
	}
	m->state = MOLD_SETTLING;
}

static void mold_settled(struct supervisor *s)
{
	/* A replacement reads the file again; what it says now is for the next start. */
	if (!s->listening) {
		int action = conf_read(s->conf, &s->settings, s->argc, s->argv);

		if (action < 0 || supervisor_listen(s)) {
			supervisor_fail(s, action < 0 ? 2 : 1);
			return;
		}
	}
	s->mold.state = MOLD_LOADING;
	control_say(s->mold.control_fd, CONTROL_LOAD, 0);
}

static void take_setting(struct supervisor *s, const struct control *c)
{
	size_t key_len = strnlen(c->text, c->text_len);

	if (!s->listening && c->text_len > key_len + 1 && c->text[c->text_len - 1] == '\0' &&
	    conf_settings_add(&s->settings, c->text, c->text + key_len + 1))
		supervisor_fail(s, 1);
}

void mold_read(struct supervisor *s)
{
	struct mold *m = &s->mold;
	struct control c;
	int n;

	while (m->state != MOLD_NONE && m->control_fd >= 0 &&
	       (n = control_recv(m->control_fd, &c, false)) != -EAGAIN) {
		if (n <= 0) {
			close(m->control_fd);
			m->control_fd = -1;
			return;
		}
		switch (c.word) {
		case CONTROL_SETTING:
			take_setting(s, &c);
			break;
		case CONTROL_SETTLED:
			mold_settled(s);
			break;
		case CONTROL_LOADED:
			m->state = MOLD_READY;
			/* Before its first order to fork; an app that does not load says so on stderr. */
			if (s->listening)
				logs_send(s, m->control_fd);
			/* It may have been changed since the settings were read. */
			control_say(m->control_fd, CONTROL_LEVEL, log_level_get());
			m->backoff_ms = 0;
			snprintf(s->ruby, sizeof(s->ruby), "%.*s", (int)c.text_len, c.text);
			if (s->action == CONF_CHECK)
				supervisor_checked(s);
			break;
		case CONTROL_FAILED:
			/* It ends by itself: what the app has for its exit still runs. */
			m->state = MOLD_LEAVING;
			m->kill_at_ms = supervisor_clock_ms() + LEAVE_MS;
			/* The first one decides; a replacement is tried again. */
			if (!s->served)
				supervisor_fail(s, (int)c.number);
			break;
		default:
			break;
		}
	}
}

void mold_died(struct supervisor *s, int status)
{
	struct mold *m = &s->mold;

	/* Its last words, if it has just said them. */
	mold_read(s);
	if (m->control_fd >= 0)
		close(m->control_fd);
	m->control_fd = -1;
	m->state = MOLD_NONE;
	m->pid = 0;
	m->kill_at_ms = 0;
	if (s->stop != STOP_NONE)
		return;
	log_warn("supervisor: the mold died (%s %d)%s", WIFSIGNALED(status) ? "signal" : "status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
		 s->served ? ", starting another; workers go on" : " before anything was served");
	if (!s->served) {
		supervisor_fail(s,
				WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
		return;
	}
	m->start_at_ms = supervisor_back_off(&m->backoff_ms);
}

void mold_stop(struct supervisor *s)
{
	struct mold *m = &s->mold;

	/* Before it waits for orders it does not listen, and has nothing to lose. */
	if (m->state == MOLD_READY)
		control_say(m->control_fd, CONTROL_STOP, 0);
	else if (m->state == MOLD_SETTLING || m->state == MOLD_LOADING)
		kill(m->pid, SIGKILL);
	if (m->state != MOLD_NONE)
		m->state = MOLD_LEAVING;
}
