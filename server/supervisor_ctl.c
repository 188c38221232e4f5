/* SPDX-License-Identifier: MIT */
#include "server/supervisor_ctl.h"

#include <grp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/log.h"
#include "server/supervisor_state.h"

#define TRACE_MS 2000u /* for a backtrace, unless the request says */

struct command {
	const char *name;
	const char *takes;
	const char *help;
	bool reads; /* may be asked by who may only read */
	void (*run)(struct ctl_call *call);
};

/* --- answers --- */

void ctl_say(struct ctl_call *call, const char *fmt, ...)
{
	char text[CTL_WHY_LEN];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (!call->body)
		call->body = json_object();
	json_object_set_new(call->body, "message", ctl_string(text, strlen(text)));
}

void ctl_set_number(struct ctl_call *call, const char *key, u64 n)
{
	if (!call->body)
		call->body = json_object();
	json_object_set_new(call->body, key, json_integer((json_int_t)n));
}

/* Only a server that serves can change. */
static bool serves(struct ctl_call *call)
{
	const struct supervisor *s = call->s;

	if (s->stop != STOP_NONE)
		ctl_request_fail(&call->request, CTL_REFUSED, "the server stops");
	else if (!s->served)
		ctl_request_fail(&call->request, CTL_REFUSED,
				 "the server starts, it does not serve yet");
	return !call->request.failed;
}

/* --- the commands --- */

static void run_status(struct ctl_call *call)
{
	if (!ctl_request_complete(&call->request))
		return;
	call->body = supervisor_status(call->s);
	if (!call->body)
		ctl_request_fail(&call->request, CTL_INTERNAL, "out of memory");
}

static void run_workers(struct ctl_call *call)
{
	struct ctl_request *r = &call->request;
	struct supervisor *s = call->s;
	s64 wanted = s->nr_wanted;
	u32 before;

	if (ctl_request_has(r, "by"))
		wanted += ctl_request_number(r, "by", -(s64)MAX_WORKERS, MAX_WORKERS);
	else
		wanted = ctl_request_number(r, "to", 1, MAX_WORKERS);
	if (!ctl_request_complete(r) || !serves(call))
		return;
	if (wanted < 1 || wanted > MAX_WORKERS) {
		ctl_request_fail(r, CTL_REFUSED, "there are %u workers, and there may be 1 to %u",
				 s->nr_wanted, MAX_WORKERS);
		return;
	}
	/* One by one, and never longer than each of them changes anything. */
	do {
		before = s->nr_wanted;
		if (before != wanted)
			workers_change(s, before < wanted ? 1 : -1);
	} while (s->nr_wanted != before);
	if (before != wanted) {
		ctl_request_fail(
			r, CTL_REFUSED,
			"there is no room for more: %u workers now; the error log says why", before);
		return;
	}
	ctl_set_number(call, "workers", s->nr_wanted);
	ctl_say(call, "workers=%u", s->nr_wanted);
}

static void run_drain(struct ctl_call *call)
{
	struct ctl_request *r = &call->request;
	u32 id = (u32)ctl_request_number(r, "worker", 0, MAX_WORKERS - 1);
	pid_t pid = call->s->slots.slots[id].pid;

	if (!ctl_request_complete(r) || !serves(call))
		return;
	switch (workers_drain(call->s, id)) {
	case -ENOENT:
		ctl_request_fail(r, CTL_NOT_FOUND, "there is no worker %u", id);
		return;
	case -EALREADY:
		ctl_request_fail(r, CTL_REFUSED, "worker %u is leaving already", id);
		return;
	case -EAGAIN:
		ctl_request_fail(r, CTL_REFUSED, "worker %u is only starting", id);
		return;
	default:
		ctl_set_number(call, "worker", id);
		ctl_set_number(call, "pid", (u64)pid);
		ctl_say(call, "worker %u (pid %d) finishes what it has, then it is replaced", id,
			(int)pid);
	}
}

static void run_log_level(struct ctl_call *call)
{
	struct supervisor *s = call->s;
	struct ctl_request *r = &call->request;
	enum log_level level = LOG_LEVEL_INFO;
	char name[16];

	ctl_request_text(r, "level", name, sizeof(name));
	if (!r->failed && log_level_parse(name, &level))
		ctl_request_fail(r, CTL_BAD_ARGUMENT,
				 "log-level: \"level\" is debug, info, warn or error");
	if (!ctl_request_complete(r))
		return;
	log_level_set(level);
	/* A mold that is not ready yet hears of it when it is. */
	if (s->mold.state == MOLD_READY)
		control_say(s->mold.control_fd, CONTROL_LEVEL, level);
	for (u32 i = 0; i < MAX_WORKERS; i++)
		if (s->slots.slots[i].control_fd >= 0)
			control_say(s->slots.slots[i].control_fd, CONTROL_LEVEL, level);
	ctl_say(call, "log-level=%s", log_level_name(level));
}

static void run_backtrace(struct ctl_call *call)
{
	struct ctl_request *r = &call->request;
	u32 worker = (u32)ctl_request_number(r, "worker", 0, MAX_WORKERS - 1);
	u32 timeout_ms = TRACE_MS;

	if (ctl_request_has(r, "timeout_ms"))
		timeout_ms = (u32)ctl_request_number(r, "timeout_ms", 100, 30000);
	if (ctl_request_complete(r))
		call->kept = trace_start(call->s, call->client, r, worker, timeout_ms);
}

static void run_reopen_logs(struct ctl_call *call)
{
	const struct conf *conf = call->s->conf;

	if (!ctl_request_complete(&call->request) || !serves(call))
		return;
	if (!conf->log_file[0] && !conf->error_log[0])
		ctl_say(call, "no log goes to a file (--log-file, --error-log)");
	else if (logs_reopen(call->s))
		ctl_request_fail(
			&call->request, CTL_REFUSED,
			"a log cannot be opened and stays as it was; the error log says why");
	else
		ctl_say(call, "log files opened anew");
}

static void run_stop(struct ctl_call *call)
{
	if (!ctl_request_complete(&call->request))
		return;
	supervisor_stop(call->s, call->s->served ? STOP_DRAIN : STOP_NOW);
	ctl_say(call, "stopping, requests are finished first");
}

static void run_quit(struct ctl_call *call)
{
	if (!ctl_request_complete(&call->request))
		return;
	supervisor_stop(call->s, STOP_NOW);
	ctl_say(call, "stopping at once");
}

static void run_help(struct ctl_call *call);

static const struct command commands[] = {
	{ "status", "", "what runs, and how it is", true, run_status },
	{ "workers", "by: -256...256, or to: 1...256", "more workers, or fewer", false, run_workers },
	{ "drain", "worker: number", "finishes what it has and is replaced", false, run_drain },
	{ "log-level", "level: debug, info, warn, error", "of all processes", false, run_log_level },
	{ "backtrace", "worker: number, timeout_ms: 100...30000 (2000)", "of its Ruby threads",
	  false, run_backtrace },
	{ "deny", "cidr, seconds: 1...31622400 (for good)", "the guard drops what comes from there",
	  false, ctl_run_deny },
	{ "allow", "cidr, seconds: 1...31622400 (for good)", "... but lets that pass", false,
	  ctl_run_allow },
	{ "forget", "cidr", "neither denied nor allowed any more", false, ctl_run_forget },
	{ "lists", "", "what the guard denies and allows", true, ctl_run_lists },
	{ "reopen-logs", "", "log files by their names once more", false, run_reopen_logs },
	{ "stop", "", "stops when all requests are answered", false, run_stop },
	{ "quit", "", "stops at once", false, run_quit },
	{ "help", "", "these commands", true, run_help },
};

static void run_help(struct ctl_call *call)
{
	json_t *list = json_array();

	if (!ctl_request_complete(&call->request)) {
		json_decref(list);
		return;
	}
	for (const struct command *c = commands; c < commands + ARRAY_SIZE(commands); c++)
		json_array_append_new(list,
				      json_pack("{s:s,s:s,s:s,s:b}", "command", c->name, "takes",
						c->takes, "help", c->help, "changes", !c->reads));
	call->body = json_pack("{s:o}", "commands", list);
}

/* --- a line --- */

static void carry_out(struct ctl_call *call)
{
	const struct ctl_client *client = call->client;
	struct ctl_request *r = &call->request;

	for (const struct command *c = commands; c < commands + ARRAY_SIZE(commands); c++) {
		if (strcmp(c->name, r->command) != 0)
			continue;
		if (!c->reads && !client->may_change) {
			ctl_request_fail(
				r, CTL_FORBIDDEN,
				"%s is for root and the user that runs the server (uid %u), "
				"not for uid %u",
				c->name, (u32)call->s->ctl.socket.owner, (u32)client->uid);
			return;
		}
		c->run(call);
		if (!c->reads && !r->failed)
			log_info("control: %s uid=%u pid=%d", c->name, (u32)client->uid,
				 (int)client->pid);
		return;
	}
	ctl_request_fail(r, CTL_UNKNOWN, "there is no command %s; help lists them", r->command);
}

static void take_line(void *arg, struct ctl_client *client, const char *line, size_t line_len)
{
	struct supervisor *s = arg;
	struct ctl_call call = { .s = s, .client = client };
	size_t len = 0;
	char *text;

	ctl_request_parse(&call.request, line, line_len);
	if (!call.request.failed)
		carry_out(&call);
	if (call.kept)
		return;
	text = ctl_answer_line(&call.request, call.body, &len);
	ctl_answer(client, text, len, supervisor_clock_ms());
	ctl_request_release(&call.request);
}

/* --- */

void supervisor_ctl_init(struct supervisor *s)
{
	ctl_init(&s->ctl.socket);
	s->ctl.socket.line = take_line;
	s->ctl.socket.arg = s;
}

/* Who may read: --control-group, else the group that Ruby runs as. */
static gid_t reading_group(const struct supervisor *s)
{
	const struct group *gr;

	if (!s->conf->control_group[0])
		return s->runas.change ? s->runas.gid : getegid();
	gr = getgrnam(s->conf->control_group);
	if (gr)
		return gr->gr_gid;
	log_warn(
		"conf: --control-group %s: there is no such group; only root and the server's user "
		"may use the control socket",
		s->conf->control_group);
	return getegid();
}

/* Members of another group have to get to it; what else is there says itself who may read it. */
static void open_folder(const struct supervisor *s)
{
	if (s->conf->control_group[0] && chmod(s->stats.folder, 0751))
		log_warn("control: %s: %s", s->stats.folder, strerror(errno));
}

void supervisor_ctl_open(struct supervisor *s)
{
	int err = -ENOENT;

	if (s->stats.folder[0])
		open_folder(s);
	if (s->stats.folder[0])
		err = ctl_open(&s->ctl.socket, s->stats.folder, reading_group(s));
	if (err)
		log_warn("control: no socket for hyperion-ctl: %s%s%s", strerror(-err),
			 s->stats.folder[0] ? " in " : "", s->stats.folder);
}

void supervisor_ctl_close(struct supervisor *s)
{
	trace_fini(s);
	ctl_close(&s->ctl.socket);
}

nfds_t supervisor_ctl_poll(const struct supervisor *s, struct pollfd *fds)
{
	return ctl_poll(&s->ctl.socket, fds);
}

u64 supervisor_ctl_due_ms(const struct supervisor *s)
{
	u64 a = ctl_due_ms(&s->ctl.socket), b = trace_due_ms(s);

	return !a ? b : !b ? a : min(a, b);
}

void supervisor_ctl_turn(struct supervisor *s)
{
	u64 now_ms = supervisor_clock_ms();

	trace_expire(s, now_ms);
	ctl_turn(&s->ctl.socket, now_ms);
}
